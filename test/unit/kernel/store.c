/* Unit test of store.c: what tells versions apart, what may lie under a file's name, holes, the
 * limits, and the lock. */
#include "test/unit/check.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/wait.h>

static struct statfs space; /* f_frsize 0: that of the disk */

static int played_fstatfs(int fd, struct statfs *out)
{
	if (!space.f_frsize)
		return fstatfs(fd, out);
	*out = space;
	return 0;
}

#define fstatfs played_fstatfs
#include "kernel/store.c"
#include "kernel/stored.c"
#undef fstatfs
#include "base/dir.c"
#include "base/fd.c"
#include "base/text.c"
#include "image/state.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#include "test/unit/stubs.h"

static bool is_bad;
static unsigned inspections;

bool backing_check_store(const char *dir, char *why, size_t size)
{
	return !is_bad || fail(why, size, "dir %s: bad", dir);
}

uint64_t cull_limit(uint64_t all, int percent)
{
	return all / 100 * (uint64_t)percent;
}

void cull_inspect(void)
{
	inspections++;
}

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	(void)volume, (void)cookie, (void)cookie_size;
	return 0;
}

static char dir[] = "/tmp/store-test-XXXXXX";
#define NAME "00000000000000ab.00000000000000cd"

static void shell(const char *format, ...)
{
	char command[600];
	va_list args;
	int n = snprintf(command, sizeof(command), "cd %s/cachefilesd-mini && ", dir);

	va_start(args, format);
	vsnprintf(command + n, sizeof(command) - (size_t)n, format, args);
	va_end(args);
	CHECK(system(command) == 0, "%s", command);
}

/* ---- versions ---- */

static uint64_t version(const char *etag, bool is_strong, const char *last_modified, uint64_t size)
{
	struct state s = {.etag_is_strong = is_strong, .size = size};

	snprintf(s.etag, sizeof(s.etag), "%s", etag);
	snprintf(s.last_modified, sizeof(s.last_modified), "%s", last_modified);
	s.checked = rand();
	s.reported_size = (uint64_t)rand();
	return store_version(&s);
}

static void test_versions(void)
{
	const char *const date = "Thu, 01 Jan 1970 00:00:00 GMT";
	const uint64_t all[] = {version("\"a\"", true, "", 1), version("\"a\"", true, "", 2),
		version("\"b\"", true, "", 1), version("\"a\"", false, "", 1),
		version("\"a\"", false, date, 1), version("", false, date, 1),
		version("", false, "", 1), version("", false, "", 256),
		version("", false, "", 65537)};

	begin_test("store: size, ETag and date tell versions apart");
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (size_t j = 0; j < i; j++)
			CHECK(all[i] != all[j], "%zu %zu", i, j);

	begin_test("store: and nothing else does");
	CHECK(version("\"a\"", true, date, 1) == version("\"a\"", true, "", 1));
	CHECK(version("\"a\"", false, date, 1) == version("\"a\"", false, date, 1));
}

/* ---- files ---- */

/* Opens the file: it has to be a plain one of its own, with this size. Whether it has data. */
static bool is_filled(uint64_t size)
{
	int fd = store_open(0xab, 0xcd, size);
	struct stat st = {0}, named = {0};
	bool filled;

	CHECK(fd >= 0, "%s", strerror(errno));
	CHECK(fstat(fd, &st) == 0 && lstat("/dev/null", &named) == 0 &&
		fstatat(state_folder(), NAME, &named, AT_SYMLINK_NOFOLLOW) == 0);
	CHECK(S_ISREG(st.st_mode) && st.st_ino == named.st_ino && st.st_nlink == 1);
	CHECK((uint64_t)st.st_size == size && (st.st_mode & 0777) == 0600 && st.st_mtime > 1000000);
	CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) && store_has(0xab, 0xcd));
	filled = lseek(fd, 0, SEEK_DATA) == 0;
	close(fd);
	return filled;
}

static void test_files(void)
{
	begin_test("store: a file is made, found again, and touched");
	CHECK(!store_has(0xab, 0xcd));
	CHECK(!is_filled(8192));
	shell("head -c 8192 /dev/zero >" NAME " && touch -d @1000 " NAME);
	CHECK(is_filled(8192) && !store_has(0xab, 0xce) && !store_has(0xac, 0xcd));

	begin_test("store: a file of another size gets the right one");
	shell("head -c 100 /dev/zero >" NAME);
	CHECK(is_filled(8192));
	shell("head -c 20000 /dev/zero >" NAME);
	CHECK(is_filled(8192));

	begin_test("store: a link, a pipe, a socket and a hard link are replaced, not followed");
	shell("rm " NAME " && echo kept >../outside && ln -s ../outside " NAME);
	CHECK(!is_filled(8192));
	shell("rm " NAME " && ln -s ../nowhere " NAME);
	CHECK(!is_filled(8192));
	shell("test ! -e ../nowhere && rm " NAME " && ln ../outside " NAME);
	CHECK(!is_filled(8192));
	shell("rm " NAME " && mkfifo " NAME);
	CHECK(!is_filled(8192));
	shell("rm " NAME);
	mknodat(state_folder(), NAME, S_IFSOCK | 0600, 0);
	CHECK(!is_filled(8192));
	shell("test \"$(cat ../outside)\" = kept");

	begin_test("store: a folder is not");
	shell("rm " NAME " && mkdir " NAME);
	CHECK(store_open(0xab, 0xcd, 8192) == -1 && errno == EISDIR, "%s", strerror(errno));
	shell("rmdir " NAME);

	begin_test("store: a size that no file has");
	errno = 0;
	CHECK(store_open(0xab, 0xcd, UINT64_MAX) == -1 && errno == EINVAL, "%s", strerror(errno));
}

/* Too many descriptors: that says nothing about the file. */
static void test_full_table(void)
{
	struct rlimit before, none = {0};

	begin_test("store: a file that cannot be opened now is not lost");
	shell("rm -f " NAME " && umask 077 && head -c 8192 /dev/zero >" NAME);
	getrlimit(RLIMIT_NOFILE, &before);
	none.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
	CHECK(store_open(0xab, 0xcd, 8192) == -1 && errno == EMFILE, "%s", strerror(errno));
	setrlimit(RLIMIT_NOFILE, &before);
	CHECK(is_filled(8192));
}

/* ---- bytes ---- */

static void test_holes(void)
{
	static const char pages[65536] = "x";
	const size_t page = page_size();
	uint64_t end = 0;
	int fd;

	begin_test("store: holes are what was not written");
	shell("rm " NAME);
	fd = store_open(0xab, 0xcd, 16 * page);
	CHECK(store_hole(fd, 0, 16 * page, &end) == 0 && end == 16 * page);
	CHECK(store_write(fd, pages, page, 2 * page) == (ssize_t)page);
	CHECK(store_write(fd, pages, page, 15 * page) == (ssize_t)page);
	CHECK(store_hole(fd, 0, 16 * page, &end) == 0 && end == 2 * page);
	CHECK(store_hole(fd, 0, page, &end) == 0 && end == page);
	CHECK(store_hole(fd, 2 * page, 3 * page, &end) == (int64_t)(3 * page));
	CHECK(store_hole(fd, 2 * page + 512, 16 * page, &end) == (int64_t)(3 * page) &&
		end == 15 * page);
	CHECK(store_hole(fd, 15 * page, 16 * page, &end) == (int64_t)(16 * page));
	CHECK(store_hole(fd, 16 * page, 17 * page, &end) == (int64_t)(16 * page) &&
		end == 17 * page);
	CHECK(store_hole(fd, UINT64_MAX, UINT64_MAX, &end) == -1);
	close(fd);
	CHECK(store_hole(-1, 0, page, &end) == -1);

	begin_test("store: a write that fails, or takes less than a page");
	CHECK(store_write(-1, pages, page, 0) < 0);
	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	CHECK(store_write(fd, pages, page, 0) == -ENOSPC);
	close(fd);
}

/* The free space is asked for anew after 8 MiB. */
static void test_limits(void)
{
	static const char pages[1 << 20];
	static const struct conf percent = {.bstop = 10, .fstop = 10};
	int fd = store_open(0xab, 0xcd, 64 << 20), i = 0;

	begin_test("store: nothing is written below bstop and fstop, and the culler is asked");
	store_limits(&percent);
	space = (struct statfs){.f_frsize = 4096,
		.f_blocks = 100000,
		.f_bavail = 10000,
		.f_files = 1000,
		.f_ffree = 500};
	while (i < 20 && store_write(fd, pages, sizeof(pages), (uint64_t)i << 20) > 0)
		i++; /* what was allowed before */
	CHECK(i <= 8, "%d", i);
	inspections = 0;
	CHECK(store_write(fd, pages, 4096, 0) == -EAGAIN && inspections == 1);
	space.f_bavail = 10003;
	CHECK(store_write(fd, pages, 16384, 0) == -EAGAIN);
	CHECK(store_write(fd, pages, 12288, 0) == 12288);
	space.f_bavail = 90000;
	space.f_ffree = 99;
	CHECK(store_write(fd, pages, 4096, 0) == -EAGAIN);
	space.f_files = space.f_ffree = 0; /* a file system that does not count them */
	inspections = 0;
	for (i = 0; i < 9; i++)
		CHECK(store_write(fd, pages, sizeof(pages), 0) == sizeof(pages));
	CHECK(inspections == 2, "%u", inspections);
	space.f_frsize = 0;
	close(fd);
}

static void test_lock(void)
{
	char why[300] = "", expected[40];
	int ready[2], status = -1;
	pid_t pid;

	begin_test("store: one daemon for a directory, and the other one is named");
	if (pipe(ready) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		bool good = store_begin(dir, why, sizeof(why));

		if (write(ready[1], "", good) == 1)
			pause();
		_exit(0);
	}
	close(ready[1]);
	CHECK(read(ready[0], why, 1) == 1);
	CHECK(!store_begin(dir, why, sizeof(why)));
	snprintf(expected, sizeof(expected), ": process %d uses it: stop that", (int)pid);
	CHECK(strstr(why, expected) && strstr(why, dir), "%s", why);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(store_begin(dir, why, sizeof(why)), "%s", why);
	is_bad = true;
	CHECK(!store_begin(dir, why, sizeof(why)) && strstr(why, ": bad"), "%s", why);
	shell("rm lock && ln -s ../outside lock");
	is_bad = false;
	CHECK(!store_begin(dir, why, sizeof(why)) && strstr(why, "dir /tmp/store-test-"), "%s",
		why);
	close(ready[0]);
}

int main(void)
{
	static const struct conf none;

	CHECK(mkdtemp(dir));
	state_open(dir);
	store_limits(&none);
	test_versions();
	test_files();
	test_full_table();
	test_holes();
	test_limits();
	test_lock();
	shell("cd / && rm -r %s", dir);
	return finish_tests();
}
