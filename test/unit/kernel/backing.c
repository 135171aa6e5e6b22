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

/* One page is written; `spread` bytes before and behind it count as data too. */
static bool is_written;
static off_t spread_before, spread_behind;

static off_t played_lseek(int fd, off_t offset, int whence)
{
	const off_t middle = 4 << 20, size = getpagesize();

	if (is_written) {
		CHECK((offset == 0 && whence == SEEK_DATA) ||
			(offset == middle && whence == SEEK_HOLE));
		return whence == SEEK_DATA ? middle - spread_before : middle + size + spread_behind;
	}
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

/* The block device that holds the directory, and its ext4's options; NULL: there is none. */
static const char *link_to, *options;

static ssize_t played_readlink(const char *path, char *out, size_t size)
{
	CHECK(!strncmp(path, "/sys/dev/block/", 15) && strchr(path + 15, ':'), "%s", path);
	if (!link_to)
		return -1;
	CHECK(strlen(link_to) < size);
	memcpy(out, link_to, strlen(link_to));
	return (ssize_t)strlen(link_to);
}

static ssize_t played_read_file(const char *path, char *text, size_t size)
{
	CHECK(!strcmp(path, "/proc/fs/ext4/vda1/options"), "%s", path);
	return options ? snprintf(text, size, "%s", options) : -1;
}

#include "base/fd.c"

#define fstatfs	     played_fstatfs
#define lseek	     played_lseek
#define fsetxattr    played_fsetxattr
#define readlink     played_readlink
#define fd_read_file played_read_file
#include "kernel/backing.c"

static bool refused(const char *reason)
{
	char why[300] = "";
	bool good = backing_check("/tmp", true, why, sizeof(why));

	return !good && strstr(why, "/tmp: ") && strstr(why, reason) &&
	       strstr(why, "needs a directory on ext4, xfs");
}

static bool is_good_store(const char *device, const char *ext4)
{
	char why[300] = "";
	bool good;

	link_to = device;
	options = ext4;
	good = backing_check_store("/tmp", why, sizeof(why));
	CHECK(good || (strstr(why, "dir /tmp: this ext4 has no journal or data=writeback") &&
			      strstr(why, ": a cache needs a directory on ext4")),
		"%s", why);
	return good;
}

static void test_ext4(void)
{
	const char *const disk = "../../devices/pci0000:00/virtio0/block/vda/vda1";

	begin_test("backing: our own files on an ext4 that may show stale blocks");
	CHECK(is_good_store(disk, "rw\ndelalloc\ndata=ordered\nstripe=0\n"));
	CHECK(is_good_store(disk, "rw\ndata=journal\n"));
	CHECK(!is_good_store(disk, "rw\ndelalloc\ndata=writeback\n"));
	CHECK(!is_good_store(disk, "rw\ndelalloc\n")); /* no journal */
	CHECK(is_good_store(disk, NULL));	       /* no ext4 */
	CHECK(is_good_store(NULL, "rw"));
	CHECK(is_good_store("../../devices/virtual/block/zram0", "rw"));
	CHECK(is_good_store("../../devices/virtual/block/ram1", "rw"));
	CHECK(is_good_store("nonsense", "rw"));
}

static void test_store(void)
{
	static const struct {
		off_t before, behind;
	} wrong[] = {{4 << 20, 4 << 20}, {4096, 0}, {0, 4096}, {-4096, 0}, {2 << 20, 2 << 20}};
	char why[300] = "";

	begin_test("backing: our own files, also in memory and without attributes");
	is_written = true;
	type = TMPFS_MAGIC;
	CHECK(backing_check_store("/tmp", why, sizeof(why)), "%s", why);
	type = 0;

	begin_test("backing: our own files where a page makes data of what is beside it");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		spread_before = wrong[i].before;
		spread_behind = wrong[i].behind;
		CHECK(!backing_check_store("/tmp", why, sizeof(why)), "%zu", i);
		CHECK(strstr(why, "dir /tmp: the file system calls holes data") &&
				strstr(why, "f2fs (or tmpfs)"),
			"%s", why);
	}
	spread_before = spread_behind = 0;

	begin_test("backing: our own files in no directory");
	CHECK(!backing_check_store("/nonexistent", why, sizeof(why)));
	CHECK(strstr(why, "dir /nonexistent: No such directory (mkdir -p -m 700 makes it): a cache "
			  "needs"),
		"%s", why);
	CHECK(!backing_check_store("/dev/null", why, sizeof(why)));
	CHECK(!backing_check_store("/proc", why, sizeof(why)));
	test_ext4();
}

int main(void)
{
	char why[300] = "";

	begin_test("backing: a good file system");
	has_holes = has_attributes = true;
	CHECK(backing_check("/tmp", true, why, sizeof(why)) && !why[0], "%s", why);

	begin_test("backing: none");
	CHECK(!backing_check("/nonexistent", false, why, sizeof(why)));
	CHECK(strstr(why, "dir /nonexistent: No such directory (mkdir -p -m 700 makes it): a cache "
			  "needs"),
		"%s", why);
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
	CHECK(refused("ext2, UBIFS"));

	begin_test("backing: one without user extended attributes");
	has_holes = true;
	has_attributes = false;
	CHECK(refused("extended attributes"));

	begin_test("backing: one with large blocks");
	has_attributes = true;
	block = getpagesize() * 2;
	CHECK(refused("larger than the machine's pages"));
	test_store();
	return finish_tests();
}
