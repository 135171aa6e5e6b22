#include "kernel/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/page.h"
#include "daemon/conf.h"
#include "kernel/backing.h"
#include "kernel/cull.h"
#include "kernel/stored.h"

/* The free space is looked at again after this many bytes at the latest. */
#define LOOK_EVERY (8 << 20)

#define LOCK "lock"

static const struct conf *limits;

bool store_begin(const char *dir, char *why, size_t size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd;

	if (!backing_check_store(dir, why, size))
		return false;
	fd = openat(state_folder(), LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(why, size, "dir %s: %m", dir);
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return true;
	fcntl(fd, F_GETLK, &lock);
	return fail(why, size,
		"dir %s: process %d uses it: stop that daemon first, or give another dir", dir,
		(int)lock.l_pid);
}

void store_limits(const struct conf *conf)
{
	limits = conf;
}

uint64_t store_version(const struct state *s)
{
	uint64_t hash = hash_more(HASH_BEGIN, s->etag, strlen(s->etag) + 1);

	if (!s->etag_is_strong)
		hash = hash_more(hash, s->last_modified, strlen(s->last_modified) + 1);
	hash = hash_more(hash, &s->size, sizeof(s->size));
	/* So that no server can choose an ETag by which its bytes pass for verified ones later. */
	return state_is_verified(s) ? hash | STORE_VERIFIED : hash & ~STORE_VERIFIED;
}

bool store_has(uint64_t image, uint64_t version)
{
	struct stat st;
	char name[34];

	stored_name(name, image, version);
	/* The C library's faccessat() would bring a child that looks with the effective rights. */
	return fstatat(state_folder(), name, &st, 0) == 0;
}

static bool is_plain(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

int store_open_before(uint64_t image, uint64_t version)
{
	char name[34];

	stored_name(name, image, version);
	return openat(state_folder(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* A power cut may leave blocks that were allocated and never written. SEEK_HOLE calls those a hole
 * only as long as none of their pages is in memory, and then data, which are zeros: so they go
 * before anything is read. */
static void drop_unwritten(int fd, uint64_t size)
{
	uint64_t end = 0;
	int64_t hole;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* another program may have read them */
	while ((hole = store_hole(fd, end, size, &end)) >= 0 && (uint64_t)hole < size)
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, hole, (off_t)end - hole);
}

/* What is not a plain file is made anew, and one that belongs to another user: it is one of an
 * earlier `user`. */
int store_open(uint64_t image, uint64_t version, uint64_t size)
{
	const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	char name[34];
	int fd;

	stored_name(name, image, version);
	fd = openat(state_folder(), name, flags, 0600);
	if (fd >= 0 && !is_plain(fd)) {
		fd_close(&fd);
		errno = ELOOP;
	}
	if (fd < 0 && (errno == EACCES || errno == ELOOP || errno == ENXIO) &&
		unlinkat(state_folder(), name, 0) == 0)
		fd = openat(state_folder(), name, flags, 0600);
	if (fd >= 0 && ftruncate(fd, (off_t)size) < 0)
		fd_close(&fd);
	if (fd >= 0)
		drop_unwritten(fd, size);
	/* The C library's function would bring its conversion between two forms of times. */
	if (fd >= 0)
		syscall(SYS_utimensat, fd, NULL, NULL, 0);
	return fd;
}

/* How many bytes may be written until the free space has to be looked at again; 0: none. */
static uint64_t allowed(int fd)
{
	struct statfs s;
	uint64_t stop, free;

	if (fstatfs(fd, &s) < 0)
		return LOOK_EVERY;
	stop = cull_limit(s.f_blocks, limits->bstop) * s.f_frsize;
	free = (uint64_t)s.f_bavail * s.f_frsize;
	if (free <= stop || (s.f_files && s.f_ffree < cull_limit(s.f_files, limits->fstop)))
		return 0;
	return min_u64(free - stop, LOOK_EVERY);
}

ssize_t store_write(int fd, const void *pages, size_t size, uint64_t offset)
{
	static uint64_t left; /* bytes until allowed() is asked again */
	ssize_t n;

	if (left < size) {
		left = allowed(fd);
		cull_inspect();
	}
	if (left < size)
		return -EAGAIN;
	n = pwrite(fd, pages, size, (off_t)offset);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	left -= (uint64_t)n;
	/* A part of a page at the end is written again. */
	n = (ssize_t)page_down((uint64_t)n);
	return n > 0 ? n : -EAGAIN;
}

int64_t store_hole(int fd, uint64_t offset, uint64_t end, uint64_t *hole_end)
{
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);
	off_t data;

	if (hole < 0 && errno == ENXIO)
		hole = (off_t)offset; /* at or behind the end of the cache file */
	if (hole < 0)
		return -1;
	if ((uint64_t)hole >= end)
		return (int64_t)end;
	data = lseek(fd, hole, SEEK_DATA);
	*hole_end = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
	return hole;
}
