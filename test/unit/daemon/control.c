/* Unit test of control.c: lines that come in pieces, too long or never, clients that leave, and
 * those that have to wait for their turn. */
#include <fcntl.h>

#include "test/unit/check.h"

#include "base/fd.c"
#include "base/local.c"

static bool foreign; /* the client is another user's */

static int peer_of(int fd, int level, int name, void *value, socklen_t *size)
{
	int result = getsockopt(fd, level, name, value, size);

	if (foreign)
		((struct ucred *)value)->uid = 12345;
	return result;
}

#define getsockopt peer_of
#include "daemon/control.c"
#undef getsockopt

static char path[] = "/tmp/control-test-XXXXXX/socket";
static int64_t now;

static enum control_event turn(void)
{
	struct pollfd p;

	control_poll(&p);
	if (p.fd < 0 || poll(&p, 1, 0) < 1)
		p.revents = 0;
	return control_run(&p, now);
}

/* As many turns as anything needs. Returns the last event that was one. */
static enum control_event turns(void)
{
	enum control_event event = CONTROL_NONE, last = CONTROL_NONE;

	for (int i = 0; i < 10; i++)
		if ((event = turn()) != CONTROL_NONE)
			last = event;
	return last;
}

static int call(const char *text)
{
	int fd = local_connect(path, SOCK_NONBLOCK);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		exit(99);
	return fd;
}

/* What a client has got; closes its end. */
static const char *got(int fd)
{
	static char text[2000];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	close(fd);
	return n < 0 ? errno == ECONNRESET ? "" : strerror(errno) : text;
}

static void test_answers(void)
{
	char text[700], line[CONTROL_LINE_MAX + 1];
	int fd;

	begin_test("control: a line and its answer");
	CHECK(control_next() == INT64_MAX && turns() == CONTROL_NONE);
	fd = call("attach my image /dev/nbd3\n");
	CHECK(turns() == CONTROL_LINE && !strcmp(control_line(), "attach my image /dev/nbd3"));
	now += 600000; /* the answer may take minutes */
	CHECK(turns() == CONTROL_NONE && control_next() == INT64_MAX);
	control_answer(true, "/dev/nbd3");
	CHECK(!strcmp(got(fd), "ok /dev/nbd3\n"));

	begin_test("control: the longest line, in pieces");
	memset(line, 'x', sizeof(line));
	line[CONTROL_LINE_MAX - 1] = '\0';
	fd = call("");
	for (size_t i = 0; i < CONTROL_LINE_MAX - 1; i++)
		CHECK(write(fd, line + i, 1) == 1 && turns() == CONTROL_NONE);
	CHECK(write(fd, "\n", 1) == 1 && turns() == CONTROL_LINE);
	CHECK(!strcmp(control_line(), line) && turns() == CONTROL_NONE);
	control_answer(false, "x");
	CHECK(!strcmp(got(fd), "no x\n"));

	begin_test("control: a long answer is cut; what follows a line does not count");
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fd = call("front\nattach y\n");
	CHECK(turns() == CONTROL_LINE && !strcmp(control_line(), "front"));
	control_answer(false, text);
	CHECK(read(fd, line, sizeof(line)) == 594 && !strncmp(line, "no yyy", 6));
	CHECK(line[592] == 'y' && line[593] == '\n');
	close(fd);
	CHECK(turns() == CONTROL_NONE);
}

static void test_drops(void)
{
	char line[CONTROL_LINE_MAX + 1];
	int fd;

	begin_test("control: a line that is too long, or ends before its newline");
	memset(line, 'x', sizeof(line));
	line[CONTROL_LINE_MAX] = '\0';
	fd = call(line);
	CHECK(turns() == CONTROL_NONE && !strcmp(got(fd), ""));
	fd = call("attach x");
	shutdown(fd, SHUT_WR);
	CHECK(turns() == CONTROL_NONE && !strcmp(got(fd), ""));
	CHECK(c.state == IDLE);

	begin_test("control: a line that does not come in two seconds");
	fd = call("attach x");
	CHECK(turns() == CONTROL_NONE && control_next() == now + 2000);
	now += 1999;
	CHECK(turns() == CONTROL_NONE && c.state == READING);
	now++;
	CHECK(turns() == CONTROL_NONE && c.state == IDLE && !strcmp(got(fd), ""));

	begin_test("control: a client that hangs up before its answer, or only sends no more");
	fd = call("attach x\n");
	CHECK(turns() == CONTROL_LINE);
	close(fd);
	CHECK(turns() == CONTROL_GONE && c.state == IDLE);
	fd = call("attach x\n");
	shutdown(fd, SHUT_WR);
	CHECK(turns() == CONTROL_LINE && turns() == CONTROL_NONE);
	control_answer(true, "");
	CHECK(!strcmp(got(fd), "ok \n"));

	begin_test("control: another user");
	foreign = true;
	fd = call("attach x\n");
	CHECK(turns() == CONTROL_NONE && !strcmp(got(fd), ""));
	foreign = false;
}

static void test_queue(void)
{
	struct pollfd p;
	int first = call("attach a\n"), second = call("attach b\n"), listener = c.listener;

	begin_test("control: the second client waits until the first has its answer");
	CHECK(turns() == CONTROL_LINE && !strcmp(control_line(), "attach a"));
	CHECK(turns() == CONTROL_NONE && !strcmp(control_line(), "attach a"));
	control_answer(true, "a");
	CHECK(turns() == CONTROL_LINE && !strcmp(control_line(), "attach b"));
	control_answer(true, "b");
	CHECK(!strcmp(got(first), "ok a\n") && !strcmp(got(second), "ok b\n"));

	begin_test("control: one that cannot be taken is tried for later");
	c.listener = open("/dev/null", O_RDONLY);
	control_poll(&p);
	p.revents = POLLIN;
	CHECK(control_run(&p, now) == CONTROL_NONE && control_next() == now + 2000);
	control_poll(&p);
	CHECK(p.fd < 0);
	now += 2000;
	CHECK(turn() == CONTROL_NONE && c.state == IDLE && control_next() == INT64_MAX);
	close(c.listener);
	c.listener = listener;

	begin_test("control: a process that was forked has nothing of it; no socket at all");
	first = call("attach a\n");
	CHECK(turns() == CONTROL_LINE);
	control_leave();
	CHECK(fcntl(listener, F_GETFD) < 0 && !strcmp(got(first), ""));
	control_init(-1);
	control_poll(&p);
	CHECK(p.fd == -1 && control_next() == INT64_MAX && turns() == CONTROL_NONE);
}

int main(void)
{
	char why[200], *end = strrchr(path, '/');
	int listener;

	*end = '\0';
	if (!mkdtemp(path))
		return 99;
	*end = '/';
	listener = local_listen(path, why, sizeof(why));
	if (listener < 0)
		return 99;
	control_init(listener);
	test_answers();
	test_drops();
	test_queue();
	unlink(path);
	*end = '\0';
	rmdir(path);
	return finish_tests();
}
