/* Unit test of attach.c and call.c: the daemon's answers, one that is slow, hangs up, or is not
 * there. The daemon is played. */
#include "test/unit/check.h"

#include <stdarg.h>
#include <sys/wait.h>

#include "base/fd.c"
#include "base/local.c"
#include "base/text.c"

#include <stdarg.h>

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(STDOUT_FILENO, format, args);
	va_end(args);
}

#include "net/connect.c"
#include "net/names.c"
#include "net/dns_packet.c"
#include "net/no_proxy.c"
#include "net/url.c"
#include "base/base64.c"
#include "daemon/conf.c"
#include "daemon/conf_file.c"
#include "daemon/values.c"
#include "tools/call.c"
#include "tools/attach.c"
#include "test/unit/stubs.h"

void die(int status, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	_exit(status);
}

static char path[] = "/tmp/attach-test-XXXXXX/socket", printed[sizeof(path) + 4];
static char asked[1000]; /* the line that came */

/* The daemon: takes a line, and answers in two pieces, with a pause of so many milliseconds. */
static pid_t play(int listener, const char *first, const char *second, int pause, int pipe_end)
{
	pid_t pid = fork();
	int fd;
	ssize_t n;

	if (pid != 0)
		return pid;
	while ((fd = local_accept(listener)) < 0)
		poll(NULL, 0, 1);
	poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 5000);
	n = read(fd, asked, sizeof(asked));
	if (n > 0 && write(pipe_end, asked, (size_t)n) != n)
		_exit(1);
	if (first && write(fd, first, strlen(first)) < 0)
		_exit(1);
	poll(NULL, 0, pause);
	if (second && write(fd, second, strlen(second)) < 0)
		_exit(1);
	_exit(0);
}

struct run {
	int status;
	char out[200], asked[700];
};

/* What the caller gets when the daemon answers so; `word` NULL: attach_is_front(). */
static struct run run(
	const char *word, char *const *arguments, const char *first, const char *second, int pause)
{
	struct run r = {0};
	char why[200];
	int listener = local_listen(path, why, sizeof(why)), ends[2], saved = dup(STDOUT_FILENO);
	int out = open(printed, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	pid_t daemon;

	if (listener < 0 || out < 0 || pipe(ends) < 0)
		exit(99);
	daemon = play(listener, first, second, pause, ends[1]);
	close(listener);
	close(ends[1]);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	r.status = word ? attach_run(path, word, arguments) : attach_is_front(path);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	if (pread(out, r.out, sizeof(r.out) - 1, 0) < 0 ||
		read(ends[0], r.asked, sizeof(r.asked) - 1) < 0)
		exit(99);
	close(ends[0]);
	close(out);
	waitpid(daemon, NULL, 0);
	return r;
}

static void test_answers(void)
{
	char *const name[] = {"my image", NULL}, *const both[] = {"x", "/dev/nbd3", NULL};
	struct run r;

	begin_test("attach: the device is printed");
	r = run("attach", name, "ok /dev/nbd0\n", NULL, 0);
	CHECK(r.status == 0 && !strcmp(r.out, "/dev/nbd0\n"), "%d '%s'", r.status, r.out);
	CHECK(!strcmp(r.asked, "attach my image\n"), "%s", r.asked);
	r = run("attach", both, "ok /dev/n", "bd3\n", 200);
	CHECK(r.status == 0 && !strcmp(r.out, "/dev/nbd3\n"), "%d '%s'", r.status, r.out);
	CHECK(!strcmp(r.asked, "attach x /dev/nbd3\n"), "%s", r.asked);

	begin_test("attach: detach, which has nothing to print");
	r = run("detach", name, "ok \n", NULL, 0);
	CHECK(r.status == 0 && !r.out[0] && !strcmp(r.asked, "detach my image\n"), "%s", r.asked);

	begin_test("attach: a refusal is told, after some time too");
	logs = 0;
	r = run("attach", name, NULL, "no /dev/nbd0: in use\n", PATIENCE + 200);
	CHECK(r.status == 1 && !r.out[0] && logs == 1 && !strcmp(logged, "/dev/nbd0: in use"), "%s",
		logged);

	begin_test("attach: a daemon that hangs up, before its answer or in it");
	r = run("attach", name, NULL, NULL, 0);
	CHECK(r.status == 1 && !r.out[0] && strstr(logged, "no daemon answers"), "%s", logged);
	for (size_t i = 1; i < 12; i++) {
		char cut[13] = "ok /dev/nbd1";

		cut[i] = logged[0] = '\0';
		r = run("attach", name, cut, NULL, 0);
		CHECK(r.status == 1 && !r.out[0] && strstr(logged, "no daemon answers"), "%s",
			logged);
	}
}

static void test_primes(void)
{
	struct run r;

	begin_test("attach: --prime is told from a daemon without block devices");
	r = run(NULL, NULL, "ok nbd\n", NULL, 0);
	CHECK(r.status == 1 && !strcmp(r.asked, "front\n"), "%d %s", r.status, r.asked);
	r = run(NULL, NULL, "ok cachefiles\n", NULL, 0);
	CHECK(r.status == 0 && !r.out[0]);
	r = run(NULL, NULL, "no such word\n", NULL, 0);
	CHECK(r.status == 0 && !r.out[0]);
	r = run(NULL, NULL, NULL, NULL, 0);
	CHECK(r.status == 0 && !r.out[0]);
	unlink(path);
	logs = 0;
	CHECK(!attach_is_front(path) && !attach_is_front("") && logs == 0);
}

static int exit_status(char *const *arguments)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		fclose(stderr);
		_exit(attach_run(path, "attach", arguments));
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_failures(void)
{
	char *arguments[] = {"x", NULL, NULL}, name[700];
	char why[200];

	begin_test("attach: no daemon, or no socket to ask");
	CHECK(attach_run(path, "attach", arguments) == 1);
	CHECK(strstr(logged, "socket: there is no such socket"), "%s", logged);
	close(local_listen(path, why, sizeof(why)));
	CHECK(attach_run(path, "attach", arguments) == 1);
	CHECK(strstr(logged, "socket: the socket was left there"), "%s", logged);
	CHECK(attach_run("", "attach", arguments) == 1);
	CHECK(strstr(logged, "no socket to ask"), "%s", logged);

	begin_test("attach: wrong names and devices are usage errors");
	CHECK(exit_status(arguments) == EXIT_SYSTEM);
	arguments[1] = "/dev/sda";
	CHECK(exit_status(arguments) == EXIT_USAGE);
	arguments[1] = NULL;
	arguments[0] = "a\nattach b";
	CHECK(exit_status(arguments) == EXIT_USAGE);
	arguments[0] = "";
	CHECK(exit_status(arguments) == EXIT_USAGE);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	arguments[0] = name;
	CHECK(exit_status(arguments) == EXIT_USAGE);
	name[256] = '\0';
	CHECK(exit_status(arguments) == EXIT_USAGE);
	name[255] = '\0';
	CHECK(exit_status(arguments) == EXIT_SYSTEM);
}

int main(void)
{
	char *end = strrchr(path, '/');

	*end = '\0';
	if (!mkdtemp(path))
		return 99;
	sprintf(printed, "%s/out", path);
	*end = '/';
	test_answers();
	test_primes();
	test_failures();
	unlink(path);
	unlink(printed);
	*end = '\0';
	rmdir(path);
	return finish_tests();
}
