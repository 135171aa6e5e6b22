/* Unit tests of sandbox.c: in children, what a process may do when it has entered. The host's
 * kernel has to have seccomp filters, and to show Landlock, that too. */
#include "test/unit/check.h"

#define SANDBOX_DENIES (0x00050000 | EPERM) /* as the daemon has it, and not for the sanitizers */
#include "base/dir.c"
#include "base/fd.c"
#include "base/local.c"
#include "base/log.c"
#include "base/text.c"
#include "daemon/control.c"
#include "daemon/sandbox.c"

#include <netinet/in.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* Runs `attempt` in a child that has entered as `role`. Returns its errno, 0 for success. */
static int as(enum sandbox_role role, int (*attempt)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		sandbox_drop_rights(role);
		sandbox_enter(role);
		errno = 0;
		syscall(SYS_exit_group, attempt() < 0 ? errno : 0);
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int pipes[2], folder;

static int try_write(void)
{
	return (int)write(pipes[1], "x", 1);
}

/* A line to a syslog daemon that was started anew: log.c connects its socket again. */
static int try_log(void)
{
	reconnect_at = 0;
	log_warning("after the restart");
	return log_dropped() == 0 ? 0 : -1;
}

static int try_unix(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* Answers the client that waits at a socket of before. */
static int try_control(void)
{
	struct pollfd p;

	for (int i = 0; i < 3; i++) {
		control_poll(&p);
		if (fd_poll(&p, 1, 0, 5000, NULL) == 1 && control_run(&p, 0) == CONTROL_LINE) {
			control_answer(true, "");
			return 0;
		}
	}
	return -1;
}

static int try_pair(void)
{
	int ends[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
}

static int try_inet(void)
{
	return socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int try_packet(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int try_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int try_exec(void)
{
	char *argv[] = {"true", NULL};

	return execve("/bin/true", argv, argv + 1);
}

static int try_fork(void)
{
	return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int try_mmap(void)
{
#ifdef SYS_mmap2
	return syscall(SYS_mmap2, 0, 4096, 7, 34, -1, 0) < 0 ? -1 : 0;
#else
	return syscall(SYS_mmap, 0, 4096, 7, 34, -1, 0) < 0 ? -1 : 0;
#endif
}

static int try_ioctl(void)
{
	return ioctl(pipes[0], 0x5421 /* FIONBIO */, NULL);
}

static int try_kill(void)
{
	return kill(getppid(), 0);
}

static int try_path(void)
{
	return (int)syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static int try_make(void)
{
	int fd = (int)syscall(SYS_openat, folder, "made", O_WRONLY | O_CREAT | O_EXCL, 0600);

	return fd < 0 || renameat(folder, "made", folder, "renamed") < 0 ||
			       unlinkat(folder, "renamed", 0) < 0
		       ? -1
		       : 0;
}

static int try_climb(void)
{
	return (int)syscall(SYS_openat, folder, "../other", O_WRONLY | O_CREAT, 0600);
}

static int try_bind(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a));
}

static void test_worker(void)
{
	begin_test("sandbox: what a worker needs");
	CHECK(as(SANDBOX_WORKER, try_write) == 0);
	CHECK(as(SANDBOX_WORKER, try_inet) == 0);
	begin_test("sandbox: what a worker does not");
	CHECK(as(SANDBOX_WORKER, try_packet) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_netlink) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_unix) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_pair) == EPERM);
	CHECK(as(SANDBOX_TOOL, try_unix) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_exec) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_fork) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_mmap) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_ioctl) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_kill) == EPERM);
	CHECK(as(SANDBOX_WORKER, try_bind) == EPERM);
}

static void test_keeper(void)
{
	begin_test("sandbox: the keeper begins and ends others, and opens no packet sockets");
	CHECK(as(SANDBOX_KEEPER, try_exec) == 0);
	CHECK(as(SANDBOX_KEEPER, try_kill) == 0);
	CHECK(as(SANDBOX_KEEPER, try_path) == 0);
	CHECK(as(SANDBOX_KEEPER, try_unix) == 0);
	CHECK(as(SANDBOX_KEEPER, try_packet) == EPERM);
	CHECK(as(SANDBOX_KEEPER, try_netlink) == EPERM);
}

static void test_control(void)
{
	char path[] = "/tmp/sandbox.XXXXXX", why[200], answer[8];
	int client;

	begin_test("sandbox: the keeper answers at its control socket");
	CHECK(mkstemp(path) >= 0 && unlink(path) == 0);
	control_init(local_listen(path, why, sizeof(why)));
	client = local_connect(path, 0);
	CHECK(write(client, "front\n", 6) == 6);
	CHECK(as(SANDBOX_KEEPER, try_control) == 0);
	CHECK(recv(client, answer, sizeof(answer), MSG_DONTWAIT) == 4 &&
		!memcmp(answer, "ok \n", 4));
	control_leave();
	close(client);
	unlink(path);
}

static void test_tool(void)
{
	begin_test("sandbox: a tool opens no files and no device");
	CHECK(as(SANDBOX_TOOL, try_inet) == 0);
	CHECK(as(SANDBOX_TOOL, try_path) == EPERM);
	CHECK(as(SANDBOX_TOOL, try_exec) == EPERM);
	CHECK(as(SANDBOX_CULLER, try_inet) == EPERM);
	CHECK(as(SANDBOX_CULLER, try_write) == 0);
	CHECK(as(SANDBOX_CULLER, try_unix) == EPERM);
}

static int listen_as_syslog(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && chmod(path, 0666) == 0);
	return fd;
}

static void test_syslog(void)
{
	char path[] = "/tmp/sandbox.XXXXXX/log", text[200] = "";
	int daemon;

	begin_test("sandbox: a new syslog daemon is found by the socket that was open before");
	*strrchr(path, '/') = '\0';
	CHECK(mkdtemp(path) != NULL && chmod(path, 0755) == 0);
	path[strlen(path)] = '/';
	syslog_path = path;
	daemon = listen_as_syslog(path);
	log_open(false, LOG_LEVEL_INFO);
	for (enum sandbox_role role = SANDBOX_WORKER; role <= SANDBOX_CULLER; role <<= 1) {
		close(daemon);
		daemon = listen_as_syslog(path);
		CHECK(as(role, try_log) == 0);
		CHECK(recv(daemon, text, sizeof(text) - 1, 0) > 0 &&
			strstr(text, "after the restart"));
	}
	log_open(true, LOG_LEVEL_INFO);
	close(daemon);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

/* In a process with no more rights than the keeper keeps, as under a unit's bounding set. */
static int share(void)
{
	int old, made;

	if (!sandbox_share(folder))
		return -1;
	sandbox_drop_rights(SANDBOX_WORKER);
	old = openat(folder, "old", O_RDWR);
	made = openat(folder, "new", O_WRONLY | O_CREAT, 0600);
	return old < 0 || made < 0 || renameat(folder, "new", folder, "old") < 0 ? -1 : 0;
}

static void test_share(void)
{
	char path[] = "/tmp/sandbox.XXXXXX", why[100];
	struct stat st;

	if (geteuid() != 0)
		return;
	begin_test("sandbox: the user gets at root's folder and the files there, also at a SIGHUP");
	CHECK(mkdtemp(path) != NULL);
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(openat(folder, "old", O_WRONLY | O_CREAT, 0600));
	CHECK(sandbox_user("nobody", why, sizeof(why)));
	CHECK(as(SANDBOX_KEEPER, share) == 0);
	CHECK(as(SANDBOX_KEEPER, share) == 0, "again");
	close(openat(AT_FDCWD, "/tmp/sandbox.other", O_WRONLY | O_CREAT | O_TRUNC, 0600));
	CHECK(symlinkat("/tmp/sandbox.other", folder, "link") == 0);
	CHECK(linkat(AT_FDCWD, "/tmp/sandbox.other", folder, "hard", 0) == 0);
	CHECK(as(SANDBOX_KEEPER, share) == 0);
	CHECK(stat("/tmp/sandbox.other", &st) == 0 && (st.st_mode & 0777) == 0600, "by a link");
	unlink("/tmp/sandbox.other");
	unlinkat(folder, "link", 0);
	unlinkat(folder, "hard", 0);
	CHECK(sandbox_user("", why, sizeof(why)) && sandbox_share(folder));
	unlinkat(folder, "old", 0);
	close(folder);
	rmdir(path);
}

static void test_paths(void)
{
	char path[] = "/tmp/sandbox.XXXXXX/folder";

	begin_test("sandbox: a worker's paths are below the folders that are allowed");
	*strrchr(path, '/') = '\0';
	CHECK(mkdtemp(path) != NULL);
	path[strlen(path)] = '/';
	CHECK(mkdir(path, 0700) == 0);
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (syscall(NR_CREATE_RULESET, NULL, 0, RULESET_VERSION) < 1) {
		printf("# this kernel has no Landlock\n");
	} else {
		CHECK(as(SANDBOX_WORKER, try_path) == EACCES);
		CHECK(as(SANDBOX_WORKER, try_make) == EACCES);
		sandbox_allow_folder(folder);
		CHECK(as(SANDBOX_WORKER, try_make) == 0);
		CHECK(as(SANDBOX_WORKER, try_climb) == EACCES);
		CHECK(as(SANDBOX_WORKER, try_path) == EACCES);
	}
	rmdir(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static int no_core(void)
{
	struct rlimit limit;

	prlimit(0, RLIMIT_CORE, NULL, &limit);
	return limit.rlim_max == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -1;
}

static int has_capability(int c)
{
	struct {
		uint32_t version;
		int pid;
	} header = {.version = CAPABILITY_VERSION};
	struct {
		uint32_t effective, permitted, inheritable;
	} sets[2];

	if (syscall(SYS_capget, &header, sets) < 0)
		return -1;
	return (sets[0].permitted >> c & 1) || prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1;
}

static int drops(enum sandbox_role role, int (*look)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		sandbox_drop_rights(role);
		_exit(look() ? 1 : 0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int has_sys_admin(void)
{
	return has_capability(21);
}

static int lacks_kill(void)
{
	return !has_capability(CAP_KILL);
}

static int has_any(void)
{
	for (int c = 0; c < 32; c++)
		if (has_capability(c))
			return 1;
	return 0;
}

static int is_root(void)
{
	uid_t r, e, s;

	getresuid(&r, &e, &s);
	return r == 0 || e == 0 || s == 0 || getegid() == 0 || getgroups(0, NULL) != 0 ||
	       setuid(0) == 0;
}

static void test_rights(void)
{
	char why[100];

	begin_test("sandbox: users");
	CHECK(sandbox_user("", why, sizeof(why)) && user == 0);
	CHECK(sandbox_user("12:34", why, sizeof(why)) && user == 12 && group == 34);
	CHECK(sandbox_user("nobody", why, sizeof(why)) && user == 65534);
	CHECK(!sandbox_user("no-such-user", why, sizeof(why)) && strstr(why, "no-such-user"));
	sandbox_user("", why, sizeof(why));

	begin_test("sandbox: no core dumps, no new privileges");
	CHECK(as(SANDBOX_KEEPER, no_core) == 0);
	if (geteuid() != 0) {
		printf("# capabilities are only looked at by root\n");
		return;
	}
	begin_test("sandbox: capabilities, also out of reach");
	CHECK(drops(SANDBOX_WORKER, has_any) == 0);
	CHECK(drops(SANDBOX_KEEPER, has_sys_admin) == 0);
	CHECK(drops(SANDBOX_KEEPER, lacks_kill) == 0);
	CHECK(sandbox_user("nobody", why, sizeof(why)));
	CHECK(drops(SANDBOX_WORKER, has_any) == 0);
	CHECK(drops(SANDBOX_WORKER, is_root) == 0);
	CHECK(drops(SANDBOX_KEEPER, lacks_kill) == 0);
	sandbox_user("", why, sizeof(why));

	begin_test("sandbox: capabilities for devices");
	sandbox_allow_devices();
	CHECK(drops(SANDBOX_KEEPER, has_sys_admin) == 1);
	CHECK(drops(SANDBOX_HOLDER, has_sys_admin) == 0);
	CHECK(drops(SANDBOX_HOLDER, lacks_kill) == 1);
}

static uint64_t uid, gid;

/* From memory of just that size, so that the sanitizer sees what reads beyond. */
static bool match(const char *line, size_t size, const char *name)
{
	char *copy = strndup(line, size);
	bool matches;

	uid = gid = 77;
	matches = passwd_match(copy, name, &uid, &gid);
	free(copy);
	return matches;
}

static bool takes(const char *text)
{
	const char *rest = take_ids(text, &uid, &gid);

	return rest && !*rest;
}

static void test_passwd(void)
{
	static const char line[] = "cache:x:107:4294967294:Cache,,,:/nonexistent:/usr/sbin/nologin";

	begin_test("passwd: the user's line");
	CHECK(match(line, strlen(line), "cache") && uid == 107 && gid == 4294967294);
	CHECK(match("cache::1:2", 10, "cache") && uid == 1 && gid == 2);
	CHECK(!match(line, strlen(line), "cach") && !match(line, strlen(line), "cache:x"));
	CHECK(!match(line, strlen(line), "cachet") && !match(line, strlen(line), ""));
	CHECK(!match("", 0, "cache") && !match("", 0, ""));

	begin_test("passwd: cut at every byte: no, or the same numbers");
	for (size_t n = 0; n < strlen(line); n++)
		if (match(line, n, "cache"))
			CHECK(uid == 107 && n > strlen("cache:x:107:"), "cut to %zu", n);

	begin_test("passwd: numbers that are none");
	CHECK(!match("cache:x::2:", 11, "cache"));
	CHECK(!match("cache:x:-1:2:", 13, "cache"));
	CHECK(!match("cache:x:4294967295:2:", 21, "cache"));
	CHECK(!match("cache:x:99999999999999999999999:2:", 34, "cache"));
	CHECK(!match("cache:x:1:2x:", 13, "cache"));
	CHECK(!match("cache:x:1 :2:", 13, "cache"));

	begin_test("passwd: UID:GID");
	CHECK(takes("107:12") && uid == 107 && gid == 12);
	CHECK(!takes("107") && !takes("107:"));
	CHECK(!takes("107:1x") && !takes(""));
	CHECK(!takes("107:4294967295"));
}

int main(void)
{
	CHECK(pipe(pipes) == 0);
	test_passwd();
	test_rights();
	test_worker();
	test_keeper();
	test_control();
	test_tool();
	test_syslog();
	test_share();
	test_paths();
	return finish_tests();
}
