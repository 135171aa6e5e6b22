#include "daemon/sandbox.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/dir.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#define W SANDBOX_WORKER
#define C SANDBOX_CULLER
#define T SANDBOX_TOOL

/* The C library has no kernel headers. These are from include/uapi/linux/: */

/* filter.h, seccomp.h, audit.h */
struct sock_filter {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

struct sock_fprog {
	unsigned short len;
	const struct sock_filter *filter;
};

#define LOAD_WORD	   0x20 /* BPF_LD | BPF_W | BPF_ABS */
#define JUMP_EQUAL	   0x15 /* BPF_JMP | BPF_JEQ | BPF_K */
#define RETURN		   0x06 /* BPF_RET | BPF_K */
#define AT_NUMBER	   0
#define AT_ARCHITECTURE	   4
#define AT_ARGUMENT(n)	   (16 + 8 * (n) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0))
#define RET_ALLOW	   0x7fff0000
#define RET_LOG		   0x7ffc0000
#define RET_ERRNO	   0x00050000
#define SET_MODE_FILTER	   1
#define ARCHITECTURE_64BIT 0x80000000
#define ARCHITECTURE_LE	   0x40000000

/* cachefiles.h */
#define CACHEFILES_READ_COMPLETE _IOW(0x98, 1, int)

/* capability.h */
#define CAPABILITY_VERSION  0x20080522
#define CAP_DAC_READ_SEARCH 2 /* secrets and configuration that are not root's own, at SIGHUP */
#define CAP_KILL	    5 /* a worker that is another user */
#define CAP_SETGID	    6 /* a new worker becomes that user */
#define CAP_SETUID	    7
#define CAP_SETPCAP	    8  /* and empties its bounding set */
#define CAP_SYS_CHROOT	    18 /* the root that an initramfs leaves for */
#define CAP_SYS_ADMIN	    21 /* block devices */
#define CAPABILITIES_MAX    64

#define HOLDER_CAPABILITIES                                                                        \
	(1u << CAP_DAC_READ_SEARCH | 1u << CAP_SETGID | 1u << CAP_SETUID | 1u << CAP_SETPCAP)

/* landlock.h; its system calls have the same numbers everywhere. */
struct landlock_ruleset {
	uint64_t fs, net, scoped;
};

struct landlock_path_beneath {
	uint64_t access;
	int32_t folder;
} __attribute__((packed));

#define NR_CREATE_RULESET 444
#define NR_ADD_RULE	  445
#define NR_RESTRICT_SELF  446
#define RULESET_VERSION	  1
#define RULE_PATH_BENEATH 1
#define NET_BIND_TCP	  1
#define SCOPE_ALL	  3 /* abstract sockets, signals */
#define FS_WRITE_FILE	  (1 << 1)
#define FS_READ_FILE	  (1 << 2)
#define FS_READ_DIR	  (1 << 3)
#define FS_REMOVE_FILE	  (1 << 5)
#define FS_MAKE_REG	  (1 << 8)
#define FS_MAKE_SYM	  (1 << 12)
#define FS_TRUNCATE	  (1 << 14)

#define FOLDERS_MAX 4

/* ---- the system calls ---- */

#ifdef __NR_setresuid32
#define NR_GETEUID   __NR_geteuid32
#define NR_SETRESUID __NR_setresuid32
#define NR_SETRESGID __NR_setresgid32
#define NR_SETGROUPS __NR_setgroups32
#define NR_FCHOWN    __NR_fchown32
#else
#define NR_GETEUID   __NR_geteuid
#define NR_SETRESUID __NR_setresuid
#define NR_SETRESGID __NR_setresgid
#define NR_SETGROUPS __NR_setgroups
#define NR_FCHOWN    __NR_fchown
#endif

/* A system call that is allowed. The roles are beside the keeper's, whose filter its children
 * inherit. */
struct call {
	uint16_t number : 13, roles : 3;
};

/* The same if one of its arguments is `value`. */
struct checked_call {
	uint32_t value;
	uint16_t number;
	uint8_t roles, argument;
};

/* The network: no other families, no raw packets. The socket to syslog is made before this table is
 * in force; another one could reach D-Bus or the service manager, which obey root. The keeper's
 * tell the service manager, and are a new program's to syslog. Then to complete a READ; how much of
 * a reply a pipe holds; for a tool, whether it writes to a terminal. */
static const struct checked_call checked_calls[] = {
	{AF_INET, __NR_socket, W | T, 0},
	{AF_INET6, __NR_socket, W | T, 0},
	{AF_UNIX, __NR_socket, 0, 0},
	{CACHEFILES_READ_COMPLETE, __NR_ioctl, W, 1},
	{FIONREAD, __NR_ioctl, W, 1},
	{TIOCGWINSZ, __NR_ioctl, T, 1},
};

#define ANY(name, roles)                                                                           \
	{                                                                                          \
		__NR_##name, roles                                                                 \
	}
#define KEEPERS(number)                                                                            \
	{                                                                                          \
		number, 0                                                                          \
	}

/* A call that works on a descriptor or on the process itself is confined by what is open. Where an
 * architecture has several calls for one thing, the C library takes the newest. */
static const struct call calls[] = {
	/* The device, cache files, connections, files opened at the start. */
	ANY(read, W | C | T),
	ANY(write, W | C | T),
	ANY(writev, T),	     /* stdio's */
	ANY(pread64, W | T), /* the bundle of roots, netrc, /proc/net/pnp */
	ANY(pwrite64, W),
#ifdef __NR__llseek
	ANY(_llseek, W),
#else
	ANY(lseek, W),
#endif
	ANY(close, W | C | T),
	ANY(splice, W),	 /* replies to a block device */
	ANY(preadv2, W), /* their data, if they are in memory */
#ifdef __NR_sync_file_range2
	ANY(sync_file_range2, W), /* whether the disk has lost any */
#else
	ANY(sync_file_range, W), /* whether the disk has lost any */
#endif
#ifdef __NR_arm_fadvise64_64
	ANY(arm_fadvise64_64, W),
#endif
#ifdef __NR_fadvise64_64
	ANY(fadvise64_64, W),
#endif
#ifdef __NR_fadvise64
	ANY(fadvise64, W),
#endif
#ifdef __NR_ftruncate64
	ANY(ftruncate64, W | T), /* cache files; the file of --output */
#endif
#ifdef __NR_ftruncate
	ANY(ftruncate, W | T),
#endif
#ifdef __NR_fcntl64
	ANY(fcntl64, W | T),
#else
	ANY(fcntl, W | T),
#endif
#ifdef __NR_fstat64
	ANY(fstat64, W | T),
#endif
#ifdef __NR_fstat
	ANY(fstat, W | T), /* whether netrc has changed */
#endif
#ifdef __NR_newfstatat
	ANY(newfstatat, W | C),
#endif
#ifdef __NR_fstatat64
	ANY(fstatat64, W | C),
#endif
	ANY(statx, W | C | T),

	/* Connections, name servers, syslog. */
	ANY(connect, W | C | T), /* the culler: to a new syslog daemon */
	ANY(sendto, W | C | T),
	ANY(recvfrom, W | C | T),
	ANY(getsockopt, W | T),
	ANY(getpeername, T),
	ANY(sendmsg, C), /* a descriptor of a cache file */
	ANY(recvmsg, W),
	ANY(accept4, W), /* clients of the status socket, opened at the start */
	ANY(setsockopt, W | T),
	ANY(shutdown, W), /* to the culler: the end */

/* Waiting. */
#ifdef __NR_poll
	ANY(poll, W | C | T),
#endif
#ifdef __NR_ppoll_time64
	ANY(ppoll_time64, W | C | T),
#endif
	ANY(ppoll, W | C | T),
	ANY(epoll_create1, W),
	ANY(epoll_ctl, W),
#ifdef __NR_epoll_wait
	ANY(epoll_wait, W),
#endif
	ANY(epoll_pwait, W),
	ANY(restart_syscall, W | C | T),

/* Time, chance, names. */
#ifdef __NR_clock_gettime64
	ANY(clock_gettime64, W | C | T),
#else
	ANY(clock_gettime, W | C | T),
#endif
	ANY(getrandom, W | T),
	ANY(getpid, W | C | T), /* in lines for syslog */
	ANY(uname, W),		/* which kernel it is: cachefiles.c */

	/* Files below the allowed folders: traces, state files; the cache, to be scanned. */
	ANY(openat, W | C),
#ifdef __NR_renameat
	ANY(renameat, W),
#endif
	ANY(renameat2, W),
	ANY(unlinkat, W | C),
	ANY(fsync, W),
	ANY(fdatasync, W),
	ANY(symlinkat, W), /* marks */
	ANY(readlinkat, W | C),
	ANY(fchmodat, C),  /* of a cache file that may not be opened */
	ANY(fgetxattr, C), /* which version is in a cache file */
	ANY(syncfs, C),	   /* what marks stand for */
	ANY(fallocate, W), /* of a cache file what does not fit */
	ANY(utimensat, W),
	ANY(getdents64, W | C),
	ANY(fchdir, C),
#ifdef __NR_fstatfs64
	ANY(fstatfs64, W | C),
#else
	ANY(fstatfs, W | C),
#endif

	/* Signals, the end. */
	ANY(rt_sigaction, W | C),
	ANY(rt_sigprocmask, W | C),
	ANY(rt_sigreturn, W | C | T),
#ifdef __NR_sigreturn
	ANY(sigreturn, W | C | T),
#endif
	ANY(exit, W | C | T),
	ANY(exit_group, W | C | T),

/* The keeper forks, ends and reaps workers, which prepare themselves, tells the service manager,
 * and becomes another program, whose start has calls of its own. */
#ifdef __NR_fork
	KEEPERS(__NR_fork),
#endif
#ifdef __NR_open
	KEEPERS(__NR_open),
#endif
#ifdef __NR_dup2
	KEEPERS(__NR_dup2),
#endif
#ifdef __NR_mmap2
	KEEPERS(__NR_mmap2),
#else
	KEEPERS(__NR_mmap),
#endif
#ifdef __NR_access
	KEEPERS(__NR_access),
#endif
#ifdef __NR_readlink
	KEEPERS(__NR_readlink),
#endif
#ifdef __NR_arch_prctl
	KEEPERS(__NR_arch_prctl),
#endif
#ifdef __NR_set_thread_area
	KEEPERS(__NR_set_thread_area),
#endif
	KEEPERS(__NR_clone),
	KEEPERS(__NR_gettid),
	KEEPERS(__NR_execve),
	KEEPERS(__NR_wait4),
	KEEPERS(__NR_kill),
	KEEPERS(__NR_socketpair),
	KEEPERS(__NR_pipe2),
	KEEPERS(__NR_dup3),
	KEEPERS(__NR_mprotect),
	KEEPERS(__NR_munmap),
	KEEPERS(__NR_madvise),
	KEEPERS(__NR_mlock),
	KEEPERS(__NR_mlockall),
	KEEPERS(__NR_memfd_create),
	KEEPERS(__NR_faccessat),
	KEEPERS(__NR_prlimit64),
	KEEPERS(__NR_prctl),
	KEEPERS(__NR_seccomp),
	KEEPERS(__NR_capset),
	KEEPERS(NR_GETEUID),
	KEEPERS(NR_SETRESUID),
	KEEPERS(NR_SETRESGID),
	KEEPERS(NR_SETGROUPS),
	KEEPERS(NR_FCHOWN),
	KEEPERS(__NR_fchmod),
	KEEPERS(NR_CREATE_RULESET),
	KEEPERS(NR_ADD_RULE),
	KEEPERS(NR_RESTRICT_SELF),
	KEEPERS(__NR_set_tid_address),
	KEEPERS(__NR_chroot),
	KEEPERS(__NR_getsockname),
	KEEPERS(__NR_pidfd_open),
	KEEPERS(__NR_pidfd_send_signal),
};

#define CALLS	      (sizeof(calls) / sizeof(*calls))
#define CHECKED_CALLS (sizeof(checked_calls) / sizeof(*checked_calls))

/* A call that is not in the table fails, with an error that the caller handles as any other: a call
 * that only some C library makes on some architecture is no death, and an intruder gains nothing.
 * The sanitizers make system calls of their own, which are let through, and look into /proc at the
 * end. */
#if defined(__SANITIZE_ADDRESS__) && !defined(SANDBOX_DENIES)
#define SANITIZED      true
#define SANDBOX_DENIES RET_LOG
#else
#define SANITIZED false
#endif
#ifndef SANDBOX_DENIES /* a unit test's own */
#define SANDBOX_DENIES (RET_ERRNO | EPERM)
#endif

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__i386__)
#define MACHINE EM_386
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__arm__)
#define MACHINE EM_ARM
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__mips__)
#define MACHINE EM_MIPS
#elif defined(__s390x__)
#define MACHINE EM_S390
#endif

#ifdef MACHINE
#define ARCHITECTURE                                                                               \
	(MACHINE | (sizeof(long) == 8 ? ARCHITECTURE_64BIT : 0) |                                  \
		(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ARCHITECTURE_LE : 0))
#else
#define ARCHITECTURE 0 /* another one: there is no filter */
#endif

struct program {
	struct sock_filter code[5 + 5 * CHECKED_CALLS + 2 * CALLS + 2];
	unsigned short size;
};

static void put(struct program *p, uint16_t code, uint32_t k, uint8_t jump_true, uint8_t jump_false)
{
	p->code[p->size++] =
		(struct sock_filter){.code = code, .jt = jump_true, .jf = jump_false, .k = k};
}

/* The call is allowed if the word that was loaded is this one. */
static void put_allowed(struct program *p, uint32_t word)
{
	put(p, JUMP_EQUAL, word, 0, 1);
	put(p, RETURN, RET_ALLOW, 0, 0);
}

static void put_checked(struct program *p, const struct checked_call *c)
{
	put(p, JUMP_EQUAL, c->number, 0, 4);
	put(p, LOAD_WORD, (uint32_t)AT_ARGUMENT(c->argument), 0, 0);
	put_allowed(p, c->value);
	put(p, LOAD_WORD, AT_NUMBER, 0, 0);
}

static void filter_calls(enum sandbox_role role)
{
	struct program p;
	struct sock_fprog filter = {.filter = p.code};

	p.size = 0;
	put(&p, LOAD_WORD, AT_ARCHITECTURE, 0, 0);
	put(&p, JUMP_EQUAL, ARCHITECTURE, 1, 0);
	put(&p, RETURN, SANDBOX_DENIES, 0, 0);
	put(&p, LOAD_WORD, AT_NUMBER, 0, 0);
	/* First, as the kernel remembers which calls are always allowed: the others. */
	for (const struct checked_call *c = checked_calls; c < checked_calls + CHECKED_CALLS; c++)
		if (role == SANDBOX_KEEPER || c->roles & role)
			put_checked(&p, c);
	for (const struct call *c = calls; c < calls + CALLS; c++)
		if (role == SANDBOX_KEEPER || c->roles & role)
			put_allowed(&p, c->number);
#ifdef __ARM_NR_set_tls /* its number is larger than any other */
	if (role == SANDBOX_KEEPER)
		put_allowed(&p, __ARM_NR_set_tls);
#endif
	put(&p, RETURN, SANDBOX_DENIES, 0, 0);
	filter.len = p.size;
	if (!ARCHITECTURE || syscall(SYS_seccomp, SET_MODE_FILTER, 0, &filter) < 0)
		log_warning("system calls are not filtered: %s",
			ARCHITECTURE ? strerror(errno) : "unknown architecture");
}

/* ---- users and capabilities ---- */

static uint32_t user, group; /* 0: root */

/* Takes "UID:GID" off the front of a text. Returns what follows, or NULL. UINT32_MAX is no id:
 * it would leave an id as it is. */
static const char *take_ids(const char *text, uint64_t *uid, uint64_t *gid)
{
	const char *end = text + strlen(text);
	bool good = number_take(&text, end, UINT32_MAX - 1, uid) && *text++ == ':' &&
		    number_take(&text, end, UINT32_MAX - 1, gid);

	return good ? text : NULL;
}

/* The ids of a line NAME:PASSWORD:UID:GID:... of /etc/passwd, if it is that of `name`. The C
 * library's getpwnam() allocates, and asks others. */
static bool passwd_match(const char *line, const char *name, uint64_t *uid, uint64_t *gid)
{
	size_t len = strlen(name);

	if (len == 0 || strncmp(line, name, len) != 0 || line[len] != ':')
		return false;
	line = strchr(line + len + 1, ':');
	line = line ? take_ids(line + 1, uid, gid) : NULL;
	return line && (!*line || *line == ':');
}

bool sandbox_user(const char *name, char *why, size_t size)
{
	struct lines l = {.fd = -1};
	uint64_t uid = 0, gid = 0;
	const char *rest = take_ids(name, &uid, &gid);
	bool found = !*name || (rest && !*rest);

	if (!found) {
		l.fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NOCTTY);
		for (char *line; !found && (line = lines_next(&l));)
			found = passwd_match(line, name, &uid, &gid);
		fd_close(&l.fd);
	}
	user = found ? (uint32_t)uid : 0;
	group = found ? (uint32_t)gid : 0;
	return found || fail(why, size, "user %s: not in /etc/passwd", name);
}

static bool let_in(int fd, mode_t mode)
{
	return fchmod(fd, mode) == 0 && fchown(fd, (uid_t)-1, group) == 0;
}

/* Only root's own files, and not by a link to another one: a worker may have put that there. */
static bool share_file(void *unused, int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	(void)unused;
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
		let_in(fd, 0660);
	fd_close(&fd);
	return true;
}

bool sandbox_share(int folder)
{
	struct stat st;

	if (!user || (fstat(folder, &st) == 0 && st.st_uid == user))
		return true;
	syscall(NR_SETGROUPS, 1, &group);
	if (!let_in(folder, 0770))
		return false;
	dir_each(folder, ".", share_file, NULL);
	return true;
}

/* setrlimit() would link code that sets it for every thread. */
static bool raise_limit(int which, rlim_t least)
{
	struct rlimit limit;

	if (prlimit(0, which, NULL, &limit) < 0 || limit.rlim_cur >= least)
		return true;
	if (limit.rlim_max < least)
		limit.rlim_max = least;
	limit.rlim_cur = least;
	return prlimit(0, which, &limit, NULL) == 0;
}

void sandbox_raise_limits(unsigned descriptors)
{
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY); /* if it cannot, memory_lock() tells */
	if (!raise_limit(RLIMIT_NOFILE, descriptors))
		log_warning("fewer than %u descriptors may be open (ulimit -n): with many images "
			    "mounted, mounting more will fail",
			descriptors);
}

static void keep_capabilities(uint32_t kept)
{
	struct {
		uint32_t version;
		int pid;
	} header = {.version = CAPABILITY_VERSION};
	struct {
		uint32_t effective, permitted, inheritable;
	} sets[2] = {{.effective = kept, .permitted = kept}};

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, sets) < 0 && geteuid() == 0)
		log_warning("capabilities cannot be given up: %m");
}

/* The C library's functions would link code that sets them for every thread. */
static void become_user(void)
{
	if (!user)
		return;
	if (syscall(NR_SETGROUPS, 0, NULL) < 0 || syscall(NR_SETRESGID, group, group, group) < 0 ||
		syscall(NR_SETRESUID, user, user, user) < 0)
		die(EXIT_SYSTEM, "becoming user %u: %m", user);
}

static uint32_t keeper_capabilities = HOLDER_CAPABILITIES | 1u << CAP_KILL;

void sandbox_allow_chroot(void)
{
	keeper_capabilities |= 1u << CAP_SYS_CHROOT;
}

void sandbox_allow_devices(void)
{
	keeper_capabilities |= 1u << CAP_SYS_ADMIN;
}

void sandbox_drop_rights(enum sandbox_role role)
{
	static const struct rlimit none = {0, 0};
	uint32_t kept = role == SANDBOX_KEEPER	 ? keeper_capabilities
			: role == SANDBOX_HOLDER ? HOLDER_CAPABILITIES
						 : 0;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prlimit(0, RLIMIT_CORE, &none, NULL);
	for (int c = 0; c < CAPABILITIES_MAX; c++)
		if (c >= 32 || !(kept >> c & 1))
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	if (role == SANDBOX_WORKER || role == SANDBOX_TOOL)
		become_user();
	keep_capabilities(kept);
	/* No core dump by a handler either, and no access by way of /proc. A process without any
	 * special right stays open: the tests look into their daemon. */
	if (!SANITIZED && (geteuid() == 0 || user))
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* ---- paths ---- */

static int folders[FOLDERS_MAX];
static size_t folder_count;

void sandbox_allow_folder(int folder)
{
	if (folder >= 0 && folder_count < FOLDERS_MAX)
		folders[folder_count++] = folder;
}

/* Everything that this kernel's Landlock can forbid, but for connecting. */
static struct landlock_ruleset all_of(long version)
{
	unsigned kinds = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;

	return (struct landlock_ruleset){.fs = (UINT64_C(1) << kinds) - 1,
		.net = version >= 4 ? NET_BIND_TCP : 0,
		.scoped = version >= 6 ? SCOPE_ALL : 0};
}

/* Forbids all paths but those below the folders that are allowed. */
static void forbid_paths(void)
{
	long version = syscall(NR_CREATE_RULESET, NULL, 0, RULESET_VERSION);
	struct landlock_ruleset rules = all_of(version);
	size_t size = version >= 6 ? sizeof(rules) : version >= 4 ? 16 : 8;
	struct landlock_path_beneath rule = {FS_WRITE_FILE | FS_READ_FILE | FS_READ_DIR |
						     FS_REMOVE_FILE | FS_MAKE_REG | FS_MAKE_SYM |
						     (version >= 3 ? FS_TRUNCATE : 0),
		-1};
	int fd;

	if (version < 1) {
		log_debug("this kernel has no Landlock: paths stay open to the worker");
		return;
	}
	fd = (int)syscall(NR_CREATE_RULESET, &rules, size, 0);
	for (size_t i = 0; i < folder_count; i++) {
		rule.folder = folders[i];
		if (syscall(NR_ADD_RULE, fd, RULE_PATH_BENEATH, &rule, 0) < 0)
			log_warning("Landlock: a folder: %m");
	}
	if (syscall(NR_RESTRICT_SELF, fd, 0) < 0)
		log_warning("Landlock: %m");
	close(fd);
}

void sandbox_enter(enum sandbox_role role)
{
	if (!SANITIZED && (role == SANDBOX_WORKER || role == SANDBOX_TOOL))
		forbid_paths();
	filter_calls(role);
}
