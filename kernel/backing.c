#include "kernel/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* A file of one hole, larger than what any file system keeps inside its inode. */
#define HOLE (1 << 20)

/* Why the file system of this empty file cannot hold a cache; NULL: it can. */
static const char *mistake(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (long)fs.f_bsize > getpagesize())
		return "its blocks are larger than the machine's pages";
	if (ftruncate(fd, HOLE) == 0 && (lseek(fd, 0, SEEK_DATA) >= 0 || errno != ENXIO))
		return "it calls holes data (as ext2 and UBIFS do), so that what is not cached "
		       "would be read as zeros";
	if (fsetxattr(fd, "user.cachefilesd-mini", "", 0, 0) < 0 && errno == EOPNOTSUPP)
		return "it has no user extended attributes";
	return NULL;
}

bool backing_check(const char *dir, char *why, size_t size)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const char *wrong = fd < 0 ? NULL : mistake(fd);

	fd_close(&fd);
	return !wrong ||
	       fail(why, size,
		       "%s: its file system cannot hold a cache: %s; use ext4, xfs, btrfs or f2fs",
		       dir, wrong);
}
