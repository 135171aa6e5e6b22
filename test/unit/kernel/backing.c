/* Unit tests of backing.c: the file systems that are refused, which no test machine has, are played
 * by the three calls that show them. */
#include "test/unit/check.h"

#include <errno.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

static long block = 4096;
static unsigned type;
static bool has_holes, has_attributes;

static int played_fstatfs(int fd, struct statfs *fs)
{
	*fs = (struct statfs){.f_bsize = block, .f_type = (int)type};
	return fd < 0;
}

static off_t played_lseek(int fd, off_t offset, int whence)
{
	CHECK(fd >= 0 && offset == 0 && whence == SEEK_DATA);
	errno = ENXIO;
	return has_holes ? -1 : 0;
}

static int played_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
	CHECK(fd >= 0 && strncmp(name, "user.", 5) == 0 && value && size == 0 && flags == 0);
	errno = EOPNOTSUPP;
	return has_attributes ? 0 : -1;
}

#include "base/fd.c"

#define fstatfs	  played_fstatfs
#define lseek	  played_lseek
#define fsetxattr played_fsetxattr
#include "kernel/backing.c"

static bool refused(const char *reason)
{
	char why[300] = "";
	bool good = backing_check("/tmp", true, why, sizeof(why));

	return !good && strstr(why, "/tmp: ") && strstr(why, reason) &&
	       strstr(why, "needs a directory on ext4, xfs");
}

int main(void)
{
	char why[300] = "";

	begin_test("backing: a good file system");
	has_holes = has_attributes = true;
	CHECK(backing_check("/tmp", true, why, sizeof(why)) && !why[0], "%s", why);

	begin_test("backing: none");
	CHECK(!backing_check("/nonexistent", false, why, sizeof(why)));
	CHECK(strstr(why, "dir /nonexistent: No such file or directory: a cache needs"), "%s", why);
	CHECK(!backing_check("/dev/null", false, why, sizeof(why)) && strstr(why, "Not a dir"));

	begin_test("backing: in memory, which the kernel refuses, if it is asked");
	type = RAMFS_MAGIC;
	CHECK(refused("in memory"));
	type = TMPFS_MAGIC;
	CHECK(refused("in memory"));
	CHECK(backing_check("/tmp", false, why, sizeof(why)));
	CHECK(!backing_check("/proc", true, why, sizeof(why)) && strstr(why, "upported"), "%s",
		why);
	CHECK(backing_check("/proc", false, why, sizeof(why)));
	type = 0;

	begin_test("backing: one whose holes are data (ext2, UBIFS)");
	has_holes = false;
	CHECK(refused("ext2 and UBIFS"));

	begin_test("backing: one without user extended attributes");
	has_holes = true;
	has_attributes = false;
	CHECK(refused("extended attributes"));

	begin_test("backing: one with large blocks");
	has_attributes = true;
	block = getpagesize() * 2;
	CHECK(refused("larger than the machine's pages"));
	return finish_tests();
}
