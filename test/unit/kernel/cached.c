/* Unit tests of cached.c: a socket pair, of which both ends are here. */
#include "test/unit/check.h"

#include "kernel/cached.c"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include "base/dir.c"
#include "base/fd.c"

static int ends[2], cache;
static uint64_t wanted; /* size */

static void make(const char *volume, const char *fan, const char *name)
{
	char command[600];

	snprintf(command, sizeof(command), "mkdir -p 'I%s/%s' && echo '%s' > 'I%s/%s/%s'", volume,
		fan, name, volume, fan, name);
	CHECK(system(command) == 0);
}

/* Answers what has been asked. */
static void answer(void)
{
	struct cached_request request;
	ssize_t size = recv(ends[1], &request, sizeof(request) - 1, MSG_DONTWAIT);

	CHECK(size > 1);
	cached_answer(ends[1], cache, &request, (size_t)size);
}

static int ask(const char *volume, const char *cookie)
{
	return cached_open(ends[0], wanted, volume, cookie, strlen(cookie));
}

/* What the file is that is found; "": none is, and errno is `refusal`. */
static int refusal = ENOENT;

static const char *found(const char *volume, const char *cookie)
{
	static char text[300];
	int fd = ask(volume, cookie);

	CHECK(fd < 0 && errno == EAGAIN);
	CHECK(ask(volume, cookie) < 0 && errno == EAGAIN); /* it is asked for once */
	answer();
	CHECK(recv(ends[1], text, 1, MSG_DONTWAIT) < 0);
	fd = ask(volume, cookie);
	CHECK(fd >= 0 || errno == refusal);
	memset(text, 0, sizeof(text));
	if (fd >= 0)
		(void)!read(fd, text, sizeof(text) - 1);
	text[strcspn(text, "\n")] = '\0';
	fd_close(&fd);
	return text;
}

static void test_found(void)
{
	char name[KEY_MAX + 1];

	begin_test("cached: a file is found by its keys, in whichever folder it is");
	make("erofs,a", "@00", "Da");
	make("erofs,a", "@ff", "Db");
	make("erofs,b", "@3c", "E0z12p");
	make("erofs,b", "@3d", "E03jWby1Oo");
	make("erofs,b", "@3e", "E1x1yozh60");
	CHECK(strcmp(found("erofs,a", "a"), "Da") == 0);
	CHECK(strcmp(found("erofs,a", "b"), "Db") == 0);
	CHECK(strcmp(found("erofs,b", "c d"), "E0z12p") == 0);
	CHECK(strcmp(found("erofs,b", "\xc3\xa4/b c"), "E03jWby1Oo") == 0);
	CHECK(strcmp(found("erofs,b", "a bcd"), "E1x1yozh60") == 0);
	CHECK(!*found("erofs,b", "a") && !*found("erofs,c", "a") && !*found("", "a"));
	memset(name, 'n', KEY_MAX);
	name[KEY_MAX] = '\0';
	CHECK(!*found("erofs,a", name) && !*found(name, name));

	begin_test("cached: no way out of the cache, nothing but a file");
	CHECK(system("mkdir -p Ix/@00/Dfolder Ix/@01 out; echo y > out/file; ln -s ../../out/file "
		     "Ix/@00/Dlink; mkfifo Ix/@00/Dfifo; ln -s out Iout") == 0);
	CHECK(!*found("x", "x/../../../out/file") && !*found("x/../Ierofs,a", "a"));
	CHECK(!*found("..", "a"));
	refusal = EISDIR;
	CHECK(!*found("x", "folder"));
	refusal = ELOOP;
	CHECK(!*found("x", "link"));
	refusal = ENOTDIR;
	CHECK(!*found("out", "file"));
	refusal = ENOENT;
}

static void test_hostile(void)
{
	static const struct {
		const char *bytes;
		size_t size;
	} rows[] = {{"ab", 2}, {"erofs,a\0", 8}, {"\0\0", 2}, {"erofs,b\0a\0b", 11}, {"\0a", 2}};

	begin_test("cached: requests that make no sense have an answer without a file");
	for (size_t i = 2; i <= sizeof(uint64_t); i++) {
		struct cached_request request = {0};

		cached_answer(ends[1], cache, &request, i);
		CHECK(fd_receive(ends[0]) == -1 && errno == ENOENT);
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct cached_request request = {0};

		memcpy(request.keys, rows[i].bytes, rows[i].size);
		cached_answer(ends[1], cache, &request, 8 + rows[i].size);
		CHECK(fd_receive(ends[0]) == -1 && errno == ENOENT, "row %zu", i);
	}
}

static void limit_descriptors(rlim_t count)
{
	struct rlimit limit = {.rlim_cur = count, .rlim_max = 1024};

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void test_turns(void)
{
	int fd;

	begin_test("cached: one request at a time; the answer for another file is dropped");
	CHECK(ask("erofs,a", "a") < 0 && errno == EAGAIN);
	CHECK(ask("erofs,a", "b") < 0 && errno == EAGAIN);
	answer();
	CHECK(ask("erofs,a", "b") < 0 && errno == EAGAIN);
	answer();
	fd = ask("erofs,a", "b");
	CHECK(fd >= 0);
	fd_close(&fd);

	begin_test("cached: a file of another version is none");
	fd = open("Ierofs,a/@00/Da", O_RDWR);
	wanted = 0x100000203;
	CHECK(!*found("erofs,a", "a"));
	if (fsetxattr(fd, "user.CacheFiles.cache", "\0\0\0\1\0\0\2\3zero....\1\2", 18, 0) == 0) {
		CHECK(strcmp(found("erofs,a", "a"), "Da") == 0);
		wanted++;
		CHECK(!*found("erofs,a", "a"));
	}
	wanted = 0;
	fd_close(&fd);

	begin_test("cached: what cannot be opened is not what is not there");
	limit_descriptors(1);
	refusal = EMFILE;
	CHECK(!*found("erofs,a", "a"));
	limit_descriptors(1024);
	refusal = ENOENT;

	begin_test("cached: a culler that has ended is no file that is not there");
	CHECK(ask("erofs,a", "a") < 0 && errno == EAGAIN);
	close(ends[1]);
	CHECK(ask("erofs,a", "a") < 0 && errno != EAGAIN && errno != ENOENT);
	CHECK(ask("erofs,a", "a") < 0 && errno == EPIPE);
	CHECK(cached_open(-1, 0, "a", "b", 1) < 0 && errno == EBADF);
}

int main(void)
{
	char dir[] = "/tmp/cached-test-XXXXXX", command[64];

	CHECK(mkdtemp(dir) && chdir(dir) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	cache = open(".", O_RDONLY | O_DIRECTORY);
	test_found();
	test_hostile();
	test_turns();
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(chdir("/") == 0 && system(command) == 0);
	return finish_tests();
}
