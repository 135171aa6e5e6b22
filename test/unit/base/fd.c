/* Unit tests of fd.c: small files, and the time that fd_poll() waits. */
#include "test/unit/check.h"

#include "base/fd.c"

#include "base/clock.h"

static void test_files(void)
{
	char path[] = "/tmp/fd-test-XXXXXX", text[8];
	int fd = mkstemp(path);

	begin_test("fd: a number is written, and read as far as there is room");
	CHECK(fd >= 0 && fd_write_number(path, O_TRUNC, -123456));
	CHECK(fd_read_file(path, text, sizeof(text)) == 7 && !strcmp(text, "-123456"), "%s", text);
	CHECK(fd_read_file(path, text, 3) == 2 && !strcmp(text, "-1"), "%s", text);
	unlink(path);

	begin_test("fd: what cannot be read or written leaves errno, and an empty text");
	CHECK(fd_read_file(path, text, sizeof(text)) == -1 && errno == ENOENT && !text[0]);
	CHECK(fd_read_file("/", text, sizeof(text)) == -1 && errno == EISDIR && !text[0]);
	CHECK(!fd_write_number(path, 0, 1) && errno == ENOENT);

	begin_test("fd: closed once, errno kept");
	errno = EILSEQ;
	fd_close(&fd);
	CHECK(fd == -1 && errno == EILSEQ);
	fd_close(&fd);
	CHECK(fd == -1 && errno == EILSEQ);
}

static void test_poll(void)
{
	int ends[2];
	struct pollfd p = {.events = POLLIN, .revents = POLLIN};
	int64_t now = clock_ms();

	begin_test("fd: waits until the time, not at all for one that is past");
	CHECK(pipe(ends) == 0);
	p.fd = ends[0];
	CHECK(fd_poll(&p, 1, now, now - 5, NULL) == 0 && !p.revents);
	CHECK(fd_poll(&p, 1, now, now + 30, NULL) == 0 && clock_ms() >= now + 29);
	CHECK(write(ends[1], "", 1) == 1);
	CHECK(fd_poll(&p, 1, now, INT64_MAX, NULL) == 1 && p.revents == POLLIN);
}

int main(void)
{
	test_files();
	test_poll();
	return finish_tests();
}
