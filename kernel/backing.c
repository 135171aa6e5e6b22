#include "kernel/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* A file of one hole, larger than what any file system keeps inside its inode. */
#define HOLE (1 << 20)

/* The smallest page of any machine. */
#define MIN_PAGE 4096

/* f_type of file systems without sync_fs(): include/uapi/linux/magic.h */
#define TMPFS_MAGIC 0x01021994
#define RAMFS_MAGIC 0x858458f6

/* What is not cached would be read as zeros. */
static const char calls_holes_data[] =
	"the file system calls holes data (as ext2, UBIFS and tmpfs with huge pages do)";

/* Why the file system of this empty file cannot hold a cache; NULL: it can. */
static const char *mistake(int fd, bool alone)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (long)fs.f_bsize > getpagesize())
		return "the file system's blocks are larger than the machine's pages";
	if (alone && ((uint32_t)fs.f_type == TMPFS_MAGIC || (uint32_t)fs.f_type == RAMFS_MAGIC))
		return "the file system is in memory, which the kernel refuses";
	if (ftruncate(fd, HOLE) == 0 && (lseek(fd, 0, SEEK_DATA) >= 0 || errno != ENXIO))
		return calls_holes_data;
	if (fsetxattr(fd, "user.cachefilesd-mini", "", 0, 0) < 0 && errno == EOPNOTSUPP)
		return "the file system has no user extended attributes";
	return NULL;
}

static const char *explain(void)
{
	return errno == ENOENT ? "No such directory (mkdir -p -m 700 makes it)" : strerror(errno);
}

static bool judged(const char *dir, const char *wrong, const char *more, char *why, size_t size)
{
	return !wrong ||
	       fail(why, size,
		       "dir %s: %s: a cache needs a directory on ext4, xfs, btrfs or f2fs%s", dir,
		       wrong, more);
}

bool backing_check(const char *dir, bool alone, char *why, size_t size)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	bool is_hidden = errno == EACCES || errno == EPERM;
	const char *wrong = NULL;

	if (fd >= 0)
		wrong = mistake(fd, alone);
	else if (errno == ENOENT || errno == ENOTDIR || (alone && !is_hidden))
		wrong = explain();
	fd_close(&fd);
	return judged(dir, wrong, "", why, size);
}

/* ---- our own files ---- */

/* Whether SEEK_DATA finds exactly the one page that is written in the middle of a hole. A tmpfs
 * with huge=always calls 2 MiB around it data. */
static bool finds_page(int fd)
{
	const off_t size = getpagesize(), middle = 4 * HOLE;
	char bytes[MIN_PAGE] = "";

	for (off_t at = 0; at < size; at += MIN_PAGE)
		if (pwrite(fd, bytes, sizeof(bytes), middle + at) != sizeof(bytes))
			return false;
	return ftruncate(fd, 8 * HOLE) == 0 && lseek(fd, 0, SEEK_DATA) == middle &&
	       lseek(fd, middle, SEEK_HOLE) == middle + size;
}

/* Whether an ext4 may call blocks data after a power cut that were never written. What it does
 * about that only its own list of options says, in which no journal shows as no "data=". A disk in
 * memory knows no power cut. */
static bool is_unordered(int fd)
{
	char path[80], link[512], options[4096];
	const char *name;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return false;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	n = readlink(path, link, sizeof(link) - 1);
	if (n <= 0)
		return false;
	link[n] = '\0';
	name = strrchr(link, '/');
	if (!name || strncmp(name, "/zram", 5) == 0 || strncmp(name, "/ram", 4) == 0)
		return false;
	snprintf(path, sizeof(path), "/proc/fs/ext4%.32s/options", name);
	return fd_read_file(path, options, sizeof(options)) > 0 &&
	       !strstr(options, "data=ordered") && !strstr(options, "data=journal");
}

bool backing_check_store(const char *dir, char *why, size_t size)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const char *wrong = NULL;

	if (fd < 0)
		wrong = explain();
	else if (!finds_page(fd))
		wrong = calls_holes_data;
	else if (is_unordered(fd))
		wrong = "this ext4 has no journal or data=writeback, and may show stale blocks "
			"after a power cut";
	fd_close(&fd);
	return judged(dir, wrong, " (or tmpfs)", why, size);
}
