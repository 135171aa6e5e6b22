/* Unit tests of handover.c: what one process tells is there for the next, and no content of the
 * memory makes it read or write elsewhere. */
#include "test/unit/check.h"

#include "base/fd.c"
#include "daemon/handover.c"

#include <signal.h>
#include <sys/wait.h>

static int fresh(void)
{
	int fd = handover_make(0);

	handover_begin();
	return fd;
}

static void forget(int fd)
{
	munmap((void *)shared, SIZE);
	shared = NULL;
	close(fd);
}

static void test_none(void)
{
	begin_test("handover: without memory nothing is known");
	handover_begin();
	handover_learnt(ABI_V8);
	opened_files_add(opened_files_key("erofs,a", "a", 1), 5, false);
	CHECK(handover_abi() == ABI_AUTO);
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == -1);
	opened_files_remove(opened_files_key("erofs,a", "a", 1));
	CHECK(!handover_numbers() && !*handover_dir() && !opened_files_at(0));
	handover_protect();
}

static void test_told(void)
{
	int fd = fresh();

	begin_test("handover: what was told is remembered, by both keys");
	opened_files_add(opened_files_key("erofs,a", "a", 1), 5, false);
	opened_files_add(opened_files_key("erofs,a", "b", 1), INT64_MAX, false);
	opened_files_add(opened_files_key("erofs,ab", "", 0), 0, false);
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == 5);
	CHECK(opened_files_size(opened_files_key("erofs,a", "b", 1)) == INT64_MAX);
	CHECK(opened_files_size(opened_files_key("erofs,ab", "", 0)) == 0);
	CHECK(opened_files_size(opened_files_key("erofs,a", "ab", 2)) == -1);
	CHECK(opened_files_size(opened_files_key("erofs,b", "a", 1)) == -1);
	opened_files_remove(opened_files_key("erofs,a", "a", 1));
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == -1);
	CHECK(opened_files_size(opened_files_key("erofs,a", "b", 1)) == INT64_MAX);
	opened_files_add(opened_files_key("erofs,a", "b", 1), 7, false);
	CHECK(opened_files_size(opened_files_key("erofs,a", "b", 1)) == 7);
	CHECK(!opened_files_verified(opened_files_key("erofs,a", "b", 1)));
	opened_files_add(opened_files_key("erofs,a", "b", 1), 7, true);
	opened_files_add(opened_files_key("erofs,a", "b", 1), 7, false);
	CHECK(opened_files_verified(opened_files_key("erofs,a", "b", 1)));
	opened_files_remove(opened_files_key("erofs,a", "b", 1));
	opened_files_add(opened_files_key("erofs,a", "b", 1), 7, false);
	CHECK(!opened_files_verified(opened_files_key("erofs,a", "b", 1)));
	CHECK(!opened_files_verified(opened_files_key("erofs,a", "c", 1)));
	CHECK(shared->high == 3);
	forget(fd);
}

static void test_next(void)
{
	int fd = fresh();

	begin_test("handover: the next process finds it, and the layout");
	CHECK(handover_abi() == ABI_AUTO);
	opened_files_add(opened_files_key("erofs,a", "a", 1), 5, false);
	handover_learnt(ABI_MAINLINE);
	munmap((void *)shared, SIZE);
	shared = NULL;
	CHECK(handover_take(fd, 0));
	handover_begin();
	CHECK(handover_abi() == ABI_MAINLINE);
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == 5);
	forget(fd);
}

/* A worker that is killed in the middle leaves places that are free or whole. */
static void test_killed(void)
{
	int fd = fresh();

	begin_test("handover: killed at any time: a place is free or whole");
	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();
		int64_t size;

		if (pid == 0)
			for (uint64_t n = 0;; n++) {
				opened_files_add(opened_files_key("erofs,a", "a", 1),
					n * UINT64_C(0x100000001) % INT32_MAX, false);
				opened_files_add(opened_files_key("erofs,b", "b", 1), 42, false);
				opened_files_remove(opened_files_key("erofs,b", "b", 1));
			}
		usleep((useconds_t)(i * 13 % 500));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		size = opened_files_size(opened_files_key("erofs,b", "b", 1));
		CHECK(size == -1 || size == 42, "size %lld", (long long)size);
		CHECK(shared->high <= 2);
	}
	forget(fd);
}

static void name(char out[16], int i)
{
	snprintf(out, 16, "%d", i);
}

static void test_full(void)
{
	int fd = fresh();
	char text[16];

	begin_test("handover: full: those that nobody has seen again make room, others do not");
	for (int i = 0; i < FILES_MAX; i++) {
		name(text, i);
		opened_files_add(
			opened_files_key("erofs,v", text, strlen(text)), (uint64_t)i, false);
	}
	opened_files_add(opened_files_key("erofs,w", "", 0), 1, false);
	CHECK(opened_files_size(opened_files_key("erofs,w", "", 0)) == -1);
	for (int i = 0; i < FILES_MAX; i++) {
		name(text, i);
		CHECK(opened_files_size(opened_files_key("erofs,v", text, strlen(text))) == i);
	}
	handover_begin();
	opened_files_add(opened_files_key("erofs,v", "0", 1), 0, false);
	opened_files_add(opened_files_key("erofs,w", "", 0), 1, false);
	CHECK(opened_files_size(opened_files_key("erofs,w", "", 0)) == 1);
	CHECK(opened_files_size(opened_files_key("erofs,v", "0", 1)) == 0);
	forget(fd);
}

static void test_counts(void)
{
	int fd = fresh();

	begin_test("handover: counters stay with a file that is opened anew, and begin again with "
		   "another");
	CHECK(!opened_files_counts(7) && !opened_files_at(0));
	opened_files_add(7, 5, false);
	opened_files_counts(7)[1] = 42;
	handover_numbers()[3] = 43;
	handover_begin();
	opened_files_add(7, 5, false);
	CHECK(opened_files_counts(7)[1] == 42 && handover_numbers()[3] == 43);
	CHECK(opened_files_at(0) == 7 && !opened_files_at(1) && !opened_files_at(FILES_MAX));
	opened_files_remove(7);
	CHECK(!opened_files_at(0));
	opened_files_add(8, 5, false);
	CHECK(opened_files_at(0) == 8 && opened_files_counts(8)[1] == 0);
	forget(fd);
}

static void test_dir(void)
{
	int fd = fresh(), status;
	pid_t pid;

	begin_test(
		"handover: the directory is known to the next program, and no worker can write it");
	CHECK(!*handover_dir());
	handover_bound("/var/cache/x");
	munmap((void *)shared, SIZE);
	CHECK(handover_take(fd, 0) && strcmp(handover_dir(), "/var/cache/x") == 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* not the sanitizer's */
		handover_protect();
		opened_files_add(1, 5, false);
		_exit(opened_files_size(1) != 5 || strcmp(handover_dir(), "/var/cache/x") != 0 ||
			(handover_bound("/etc"), true));
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
		WTERMSIG(status) == SIGSEGV);
	CHECK(strcmp(handover_dir(), "/var/cache/x") == 0);

	begin_test("handover: a directory that is none is not known");
	handover_bound("relative");
	CHECK(!*handover_dir());
	memset((char *)more->dir, '/', sizeof(more->dir));
	CHECK(!*handover_dir());
	forget(fd);
}

static void test_first_version(void)
{
	int fd = memfd_create("first", MFD_ALLOW_SEALING);
	struct shared old = {
		.magic = MAGIC, .layout = 1, .abi = ABI_MAINLINE, .worker = 3, .high = 1};

	begin_test("handover: memory of the first version: its files are known, and nothing behind "
		   "them");
	old.opened[0] =
		(struct opened){.key = opened_files_key("erofs,a", "a", 1), .size = 5, .worker = 3};
	CHECK(sizeof(old) == 24 + FILES_MAX * 24);
	CHECK(write(fd, &old, sizeof(old)) == sizeof(old));
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	CHECK(handover_take(fd, 0) && handover_begin() == 3 && handover_abi() == ABI_MAINLINE);
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == 5);
	opened_files_add(opened_files_key("erofs,a", "b", 1), 7, false);
	CHECK(opened_files_size(opened_files_key("erofs,a", "b", 1)) == 7);
	handover_bound("/x");
	handover_protect();
	CHECK(!*handover_dir() && !handover_numbers() && opened_files_at(0) == 0);
	CHECK(!opened_files_counts(opened_files_key("erofs,a", "a", 1)));
	munmap((void *)shared, sizeof(*shared));
	shared = NULL;
	close(fd);
}

static void test_foreign(void)
{
	int fd = memfd_create("other", MFD_ALLOW_SEALING), pipes[2];
	char path[] = "handover-test-XXXXXX";
	int file = mkstemp(path); /* here, where a file is on a disk and knows no seals */

	begin_test("handover: what is no such memory is refused, any content is borne");
	CHECK(!handover_take(-1, 0));
	CHECK(!handover_take(fd, 0));
	CHECK(pipe(pipes) == 0 && !handover_take(pipes[0], 0));
	unlink(path);
	CHECK(ftruncate(file, sizeof(*shared)) == 0);
	CHECK(pwrite(file, (uint32_t[]){MAGIC, LAYOUT}, 8, 0) == 8);
	CHECK(!handover_take(file, 0), "no seals");
	close(file);
	CHECK(ftruncate(fd, sizeof(*shared)) == 0);
	CHECK(!handover_take(fd, 0), "not sealed");
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	CHECK(!handover_take(fd, 0), "no magic");
	CHECK(!shared);
	close(fd);

	fd = fresh();
	for (size_t i = 2; i < SIZE / 4; i++)
		((volatile uint32_t *)shared)[i] = UINT32_MAX;
	CHECK(handover_abi() == ABI_AUTO);
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == -1);
	handover_begin();
	CHECK(shared->worker == 1);
	opened_files_add(opened_files_key("erofs,a", "a", 1), 5, false);
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == 5);
	opened_files_remove(opened_files_key("erofs,a", "a", 1));
	shared->opened[0].key = opened_files_key("erofs,a", "a", 1);
	shared->opened[0].size = -77;
	shared->opened[0].worker = 1;
	CHECK(opened_files_size(opened_files_key("erofs,a", "a", 1)) == -1);
	forget(fd);
}

int main(void)
{
	test_none();
	test_told();
	test_next();
	test_killed();
	test_full();
	test_counts();
	test_dir();
	test_first_version();
	test_foreign();
	return finish_tests();
}
