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

#include "base/log.h"
#include "daemon/passwd.h"

#define K SANDBOX_KEEPER
#define W SANDBOX_WORKER
#define C SANDBOX_CULLER
#define T SANDBOX_TOOL

/* The kernel's headers are not among the C library's. include/uapi/linux/: */

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
#define CAPABILITIES_MAX    64

#define KEEPER_CAPABILITIES                                                                        \
	(1u << CAP_DAC_READ_SEARCH | 1u << CAP_KILL | 1u << CAP_SETGID | 1u << CAP_SETUID |        \
		1u << CAP_SETPCAP)

/* landlock.h; its system calls have the same numbers everywhere. */
struct landlock_ruleset {
	uint64_t fs, net, scoped;
};

struct landlock_path_beneath {
	uint64_t access;
	int32_t folder;
} __attribute__((packed));

#define SYS_CREATE_RULESET 444
#define SYS_ADD_RULE	   445
#define SYS_RESTRICT_SELF  446
#define RULESET_VERSION	   1
#define RULE_PATH_BENEATH  1
#define NET_BIND_TCP	   1
#define SCOPE_ALL	   3 /* abstract sockets, signals */
#define FS_WRITE_FILE	   (1 << 1)
#define FS_READ_FILE	   (1 << 2)
#define FS_READ_DIR	   (1 << 3)
#define FS_REMOVE_FILE	   (1 << 5)
#define FS_MAKE_REG	   (1 << 8)
#define FS_TRUNCATE	   (1 << 14)

#define FOLDERS_MAX 4

/* ---- the system calls ---- */

/* A call whose argument is not as it should be is refused as if the row were not there. */
struct row {
	uint32_t number;
	unsigned char roles;  /* beside the keeper, which needs all: children inherit its filter */
	signed char argument; /* which has to be `value`; -1: none is looked at */
	uint32_t value;
};

#define ANY(name, roles)                                                                           \
	{                                                                                          \
		__NR_##name, roles, -1, 0                                                          \
	}
#define EQUAL(name, roles, n, value)                                                               \
	{                                                                                          \
		__NR_##name, roles, n, value                                                       \
	}

/* Of those that work on a descriptor or on the process itself, what they do is given by what is
 * open. Where an architecture has several calls for one thing, the C library takes the newest.
 * Calls with arguments to check come first: the kernel remembers that the others are always
 * allowed. */
static const struct row table[] = {
	/* Network, syslog, the service manager: no other families, no raw packets. */
	EQUAL(socket, W | T, 0, AF_INET),
	EQUAL(socket, W | T, 0, AF_INET6),
	EQUAL(socket, W | T, 0, AF_UNIX),

	/* A READ is completed by it; of a tool: whether it writes to a terminal. */
	EQUAL(ioctl, W, 1, CACHEFILES_READ_COMPLETE),
	EQUAL(ioctl, T, 1, TIOCGWINSZ),

	/* The device, cache files, connections, files that were opened at the start. */
	ANY(read, W | C | T),
	ANY(write, W | C | T),
	ANY(writev, T),	     /* stdio's */
	ANY(pread64, W | T), /* the bundle of roots, netrc, /proc/net/pnp */
	ANY(pwrite64, W),
#ifdef __NR__llseek
	ANY(_llseek, W | C),
#else
	ANY(lseek, W | C),
#endif
	ANY(close, W | C | T),
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
#ifdef __NR_statx
	ANY(statx, W | C | T),
#endif

	/* Connections, name servers, syslog. */
	ANY(connect, W | C | T), /* the culler: to a new syslog daemon */
	ANY(sendto, W | C | T),
	ANY(recvfrom, W | C | T),
	ANY(sendmsg, 0),
	ANY(getsockopt, W | T),
	ANY(getpeername, T),
	ANY(accept4, W), /* clients of the status socket, which listens already */
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

	/* Files below the folders that are allowed: traces, what is remembered; the cache, to be
	 * walked through. */
	ANY(openat, W | C),
#ifdef __NR_open
	ANY(open, 0),
#endif
#ifdef __NR_renameat
	ANY(renameat, W),
#endif
#ifdef __NR_renameat2
	ANY(renameat2, W),
#endif
	ANY(unlinkat, W | C),
	ANY(fsync, W),
	ANY(fdatasync, W),
	ANY(utimensat, W),
	ANY(getdents64, C),
	ANY(fchdir, C),
	ANY(chroot, K),
#ifdef __NR_fstatfs64
	ANY(fstatfs64, C),
#else
	ANY(fstatfs, C),
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

/* The keeper: begins, ends and buries workers, which prepare themselves; becomes another
 * program, whose start has calls of its own. */
#ifdef __NR_fork
	ANY(fork, 0),
#endif
	ANY(clone, 0),
	ANY(gettid, 0),
	ANY(execve, 0),
	ANY(wait4, 0),
	ANY(kill, 0),
	ANY(socketpair, 0),
	ANY(pipe2, 0),
#ifdef __NR_dup2
	ANY(dup2, 0),
#endif
	ANY(dup3, 0),
#ifdef __NR_mmap2
	ANY(mmap2, 0),
#else
	ANY(mmap, 0),
#endif
	ANY(mprotect, 0),
	ANY(munmap, 0),
	ANY(madvise, 0),
	ANY(mlock, 0),
	ANY(mlockall, 0),
	ANY(memfd_create, 0),
#ifdef __NR_ftruncate64
	ANY(ftruncate64, 0),
#endif
#ifdef __NR_ftruncate
	ANY(ftruncate, 0),
#endif
#ifdef __NR_access
	ANY(access, 0),
#endif
	ANY(faccessat, 0),
#ifdef __NR_readlink
	ANY(readlink, 0),
#endif
	ANY(readlinkat, 0),
	ANY(prlimit64, 0),
	ANY(prctl, 0),
	ANY(seccomp, 0),
	ANY(capset, 0),
#ifdef __NR_geteuid32
	ANY(geteuid32, 0),
#else
	ANY(geteuid, 0),
#endif
#ifdef __NR_setresuid32
	ANY(setresuid32, 0),
	ANY(setresgid32, 0),
	ANY(setgroups32, 0),
#else
	ANY(setresuid, 0),
	ANY(setresgid, 0),
	ANY(setgroups, 0),
#endif
	{SYS_CREATE_RULESET, 0, -1, 0},
	{SYS_ADD_RULE, 0, -1, 0},
	{SYS_RESTRICT_SELF, 0, -1, 0},
	ANY(set_tid_address, 0),
#ifdef __NR_arch_prctl
	ANY(arch_prctl, 0),
#endif
#ifdef __NR_set_thread_area
	ANY(set_thread_area, 0),
#endif
#ifdef __ARM_NR_set_tls
	{__ARM_NR_set_tls, 0, -1, 0},
#endif
};

#define ROWS (sizeof(table) / sizeof(*table))

/* What is not in the table fails, with an error that the caller handles as any other, so that a
 * call that somebody's C library makes on an architecture we have not seen is no death. For an
 * intruder it comes to the same. A test build says otherwise. */
#ifdef SANDBOX_DENIES
#define RET_DENIED SANDBOX_DENIES
#elif defined(__SANITIZE_ADDRESS__)
#define RET_DENIED RET_LOG
#else
#define RET_DENIED (RET_ERRNO | EPERM)
#endif

/* The sanitizers make system calls of their own, which are let through above, and at the end they
 * look into /proc. */
#if defined(__SANITIZE_ADDRESS__) && !defined(SANDBOX_DENIES)
#define SANITIZED true
#else
#define SANITIZED false
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
#define ARCHITECTURE 0 /* whatever it is, there is no filter */
#endif

struct program {
	struct sock_filter code[5 + 5 * ROWS];
	unsigned short size;
};

static void put(struct program *p, uint16_t code, uint32_t k, uint8_t jump_true, uint8_t jump_false)
{
	p->code[p->size++] =
		(struct sock_filter){.code = code, .jt = jump_true, .jf = jump_false, .k = k};
}

static void put_row(struct program *p, const struct row *r)
{
	bool looks = r->argument >= 0;

	put(p, JUMP_EQUAL, r->number, 0, looks ? 4 : 1);
	if (looks) {
		put(p, LOAD_WORD, (uint32_t)AT_ARGUMENT(r->argument), 0, 0);
		put(p, JUMP_EQUAL, r->value, 0, 1);
	}
	put(p, RETURN, RET_ALLOW, 0, 0);
	if (looks)
		put(p, LOAD_WORD, AT_NUMBER, 0, 0);
}

static void fill_program(struct program *p, enum sandbox_role role)
{
	p->size = 0;
	put(p, LOAD_WORD, AT_ARCHITECTURE, 0, 0);
	put(p, JUMP_EQUAL, ARCHITECTURE, 1, 0);
	put(p, RETURN, RET_DENIED, 0, 0);
	put(p, LOAD_WORD, AT_NUMBER, 0, 0);
	for (const struct row *r = table; r < table + ROWS; r++)
		if (role == SANDBOX_KEEPER || r->roles & role)
			put_row(p, r);
	put(p, RETURN, RET_DENIED, 0, 0);
}

static void filter_calls(enum sandbox_role role)
{
	struct program p;
	struct sock_fprog filter = {.filter = p.code};

	fill_program(&p, role);
	filter.len = p.size;
	if (!ARCHITECTURE || syscall(SYS_seccomp, SET_MODE_FILTER, 0, &filter) < 0)
		log_warning("system calls are not filtered: %s",
			ARCHITECTURE ? strerror(errno) : "unknown architecture");
}

/* ---- users and capabilities ---- */

static uint32_t user, group; /* 0: root */

static bool find_user(int fd, const char *name)
{
	char text[512];
	size_t kept = 0;
	ssize_t n;
	bool skips = false; /* the rest of a line that is too long */

	while ((n = read(fd, text + kept, sizeof(text) - kept)) > 0) {
		char *end, *line = text;

		kept += (size_t)n;
		for (; (end = memchr(line, '\n', kept)); line = end + 1) {
			if (!skips && passwd_match(line, (size_t)(end - line), name, &user, &group))
				return true;
			skips = false;
			kept -= (size_t)(end + 1 - line);
		}
		memmove(text, line, kept);
		if (kept == sizeof(text)) {
			skips = true;
			kept = 0;
		}
	}
	return !skips && passwd_match(text, kept, name, &user, &group);
}

bool sandbox_user(const char *name, char *why, size_t size)
{
	int fd;
	bool found;

	user = group = 0;
	if (!*name || passwd_numbers(name, &user, &group))
		return true;
	fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NOCTTY);
	found = fd >= 0 && find_user(fd, name);
	if (fd >= 0)
		close(fd);
	if (!found)
		snprintf(why, size, "user %s: not in /etc/passwd", name);
	return found;
}

bool sandbox_give(int fd)
{
	return !user || fchown(fd, user, group) == 0;
}

bool sandbox_share(int folder)
{
	return !user || (fchown(folder, user, 0) == 0 && fchmod(folder, 0770) == 0);
}

/* setrlimit() would link what sets it for every thread. */
static bool raise_limit(int which, rlim_t wanted)
{
	struct rlimit limit;

	if (prlimit(0, which, NULL, &limit) < 0 || limit.rlim_cur >= wanted)
		return true;
	if (limit.rlim_max < wanted)
		limit.rlim_max = wanted;
	limit.rlim_cur = wanted;
	return prlimit(0, which, &limit, NULL) == 0;
}

void sandbox_raise_limits(unsigned descriptors)
{
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY); /* if not, locking says so */
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
		log_warning("capabilities cannot be given up: %s", strerror(errno));
}

#ifdef SYS_setresuid32
#define SYS_SETRESUID SYS_setresuid32
#define SYS_SETRESGID SYS_setresgid32
#define SYS_SETGROUPS SYS_setgroups32
#else
#define SYS_SETRESUID SYS_setresuid
#define SYS_SETRESGID SYS_setresgid
#define SYS_SETGROUPS SYS_setgroups
#endif

/* The C library's would link what sets them for every thread. */
static void become_user(void)
{
	if (!user)
		return;
	if (syscall(SYS_SETGROUPS, 0, NULL) < 0 ||
		syscall(SYS_SETRESGID, group, group, group) < 0 ||
		syscall(SYS_SETRESUID, user, user, user) < 0)
		die(EXIT_SYSTEM, "becoming user %u: %s", user, strerror(errno));
}

static uint32_t keeper_capabilities = KEEPER_CAPABILITIES;

void sandbox_allow_chroot(void)
{
	keeper_capabilities |= 1u << CAP_SYS_CHROOT;
}

void sandbox_drop_rights(enum sandbox_role role)
{
	static const struct rlimit none = {0, 0};
	uint32_t kept = role == SANDBOX_KEEPER ? keeper_capabilities : 0;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prlimit(0, RLIMIT_CORE, &none, NULL);
	for (int c = 0; c < CAPABILITIES_MAX; c++)
		if (c >= 32 || !(kept >> c & 1))
			prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
	if (role != SANDBOX_KEEPER && role != SANDBOX_CULLER)
		become_user();
	keep_capabilities(kept);
	/* No core dump by a handler either, and nobody looks into us by way of /proc. Not where we
	 * have no rights that others lack: the tests look into a daemon of theirs. */
	if (!SANITIZED && (geteuid() == 0 || user))
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* ---- paths ---- */

static int folders[FOLDERS_MAX];
static size_t folder_count;

void sandbox_allow_folder(int folder)
{
	if (folder_count < FOLDERS_MAX)
		folders[folder_count++] = folder;
}

/* A folder's files may be read, written, made and removed, and itself be listed. */
static uint64_t folder_access(long version)
{
	return FS_WRITE_FILE | FS_READ_FILE | FS_READ_DIR | FS_REMOVE_FILE | FS_MAKE_REG |
	       (version >= 3 ? FS_TRUNCATE : 0);
}

/* All that this kernel's Landlock can forbid, but for connecting. */
static struct landlock_ruleset all_of(long version)
{
	unsigned kinds = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;

	return (struct landlock_ruleset){.fs = (UINT64_C(1) << kinds) - 1,
		.net = version >= 4 ? NET_BIND_TCP : 0,
		.scoped = version >= 6 ? SCOPE_ALL : 0};
}

static void forbid_paths(void)
{
	long version = syscall(SYS_CREATE_RULESET, NULL, 0, RULESET_VERSION);
	struct landlock_ruleset rules = all_of(version);
	size_t size = version >= 6 ? sizeof(rules) : version >= 4 ? 16 : 8;
	int fd;

	if (version < 1) {
		log_debug("this kernel has no Landlock: paths stay open to the worker");
		return;
	}
	fd = (int)syscall(SYS_CREATE_RULESET, &rules, size, 0);
	for (size_t i = 0; i < folder_count; i++) {
		struct landlock_path_beneath rule = {folder_access(version), folders[i]};

		if (syscall(SYS_ADD_RULE, fd, RULE_PATH_BENEATH, &rule, 0) < 0)
			log_warning("Landlock: a folder: %s", strerror(errno));
	}
	if (syscall(SYS_RESTRICT_SELF, fd, 0) < 0)
		log_warning("Landlock: %s", strerror(errno));
	close(fd);
}

void sandbox_enter(enum sandbox_role role)
{
	if (!SANITIZED && (role == SANDBOX_WORKER || role == SANDBOX_TOOL))
		forbid_paths();
	filter_calls(role);
}
