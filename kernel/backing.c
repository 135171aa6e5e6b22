#include "kernel/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* A file of one hole, larger than what any file system keeps inside its inode. */
#define HOLE (1 << 20)

/* f_type of file systems without sync_fs(): include/uapi/linux/magic.h */
#define TMPFS_MAGIC 0x01021994
#define RAMFS_MAGIC 0x858458f6

/* Why the file system of this empty file cannot hold a cache; NULL: it can. */
static const char *mistake(int fd, bool alone)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (long)fs.f_bsize > getpagesize())
		return "the file system's blocks are larger than the machine's pages";
	if (alone && ((uint32_t)fs.f_type == TMPFS_MAGIC || (uint32_t)fs.f_type == RAMFS_MAGIC))
		return "the file system is in memory, which the kernel refuses";
	if (ftruncate(fd, HOLE) == 0 && (lseek(fd, 0, SEEK_DATA) >= 0 || errno != ENXIO))
		return "the file system calls holes data (as ext2 and UBIFS do), so that what is "
		       "not cached "
		       "would be read as zeros";
	if (fsetxattr(fd, "user.cachefilesd-mini", "", 0, 0) < 0 && errno == EOPNOTSUPP)
		return "the file system has no user extended attributes";
	return NULL;
}

bool backing_check(const char *dir, bool alone, char *why, size_t size)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	bool is_hidden = errno == EACCES || errno == EPERM;
	const char *wrong = NULL;

	if (fd >= 0)
		wrong = mistake(fd, alone);
	else if (errno == ENOENT || errno == ENOTDIR || (alone && !is_hidden))
		wrong = strerror(errno);
	fd_close(&fd);
	return !wrong ||
	       fail(why, size, "dir %s: %s: a cache needs a directory on ext4, xfs, btrfs or f2fs",
		       dir, wrong);
}
