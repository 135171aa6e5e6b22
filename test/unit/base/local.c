/* Unit test of local.c: whose a socket is, what is replaced, and a queue that is full. */
#include <fcntl.h>

#include "test/unit/check.h"

#include "base/fd.c"
#include "base/local.c"

static char path[] = "/tmp/local-test-XXXXXX/socket";

static void test_listen(void)
{
	char why[200];
	struct stat s;
	int first;

	begin_test("local: the socket is its owner's alone");
	umask(0);
	first = local_listen(path, why, sizeof(why));
	CHECK(first >= 0 && stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
	CHECK(umask(022) == 0);
	CHECK(fcntl(first, F_GETFD) == FD_CLOEXEC);

	begin_test("local: one that is answered at is left alone, an old one is replaced");
	CHECK(local_listen(path, why, sizeof(why)) < 0);
	CHECK(strstr(why, "another daemon answers there"), "%s", why);
	close(first);
	first = local_listen(path, why, sizeof(why));
	CHECK(first >= 0, "%s", why);
	close(first);

	begin_test("local: another file is not");
	path[23] = 'f';
	close(open(path, O_CREAT | O_WRONLY, 0600));
	CHECK(local_listen(path, why, sizeof(why)) < 0 && strstr(why, "in use"), "%s", why);
	CHECK(unlink(path) == 0);
	path[23] = 's';
	CHECK(local_listen("/nonexistent/s", why, sizeof(why)) < 0 &&
			strstr(why, "/nonexistent/s: No such"),
		"%s", why);
}

static void test_connect(void)
{
	char why[200], byte;
	int listener, fd, client, n = 0;

	begin_test("local: no socket, one without a listener, none to be taken");
	unlink(path);
	CHECK(local_connect(path, 0) < 0 && errno == ENOENT);
	listener = local_listen(path, why, sizeof(why));
	CHECK(local_accept(listener) < 0 && errno == 0);
	close(listener);
	CHECK(local_connect(path, 0) < 0 && errno == ECONNREFUSED);
	CHECK(local_accept(listener) < 0 && errno == EBADF);

	begin_test("local: both ends, and a queue that is full");
	listener = local_listen(path, why, sizeof(why));
	fd = local_connect(path, SOCK_NONBLOCK);
	client = local_accept(listener);
	CHECK(fd >= 0 && client >= 0 && fcntl(client, F_GETFD) == FD_CLOEXEC);
	CHECK(read(client, &byte, 1) < 0 && errno == EAGAIN && read(fd, &byte, 1) < 0);
	while (local_connect(path, SOCK_NONBLOCK) >= 0)
		n++;
	CHECK(errno == EAGAIN && n >= QUEUE, "%d", n);
	CHECK(local_listen(path, why, sizeof(why)) < 0 && strstr(why, "another daemon"), "%s", why);
}

int main(void)
{
	path[22] = '\0';
	if (!mkdtemp(path))
		return 99;
	path[22] = '/';
	test_listen();
	test_connect();
	unlink(path);
	path[22] = '\0';
	rmdir(path);
	return finish_tests();
}
