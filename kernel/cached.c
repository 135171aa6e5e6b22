#include "kernel/cached.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/dir.h"
#include "base/fd.h"
#include "base/hash.h"

#define FLAGS (O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* The hash of the keys that were asked for; 0: there is no answer to come. */
static uint64_t asked;

int cached_open(
	int socket, uint64_t size, const char *volume, const void *cookie, size_t cookie_size)
{
	struct pollfd answer = {.fd = socket, .events = POLLIN};
	size_t first = strlen(volume) + 1, all = sizeof(size) + first + cookie_size;
	struct cached_request request = {.size = size};
	uint64_t key, before = asked;
	int fd;

	memcpy(request.keys, volume, first);
	memcpy(request.keys + first, cookie, cookie_size);
	key = hash_more(HASH_BEGIN, &request, all);
	if (asked && poll(&answer, 1, 0) == 1) {
		asked = 0;
		fd = fd_receive(socket);
		if (before == key)
			return fd;
		fd_close(&fd); /* its file was closed meanwhile */
	}
	if (!asked) {
		if (send(socket, &request, all, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return -1;
		asked = key;
	}
	errno = EAGAIN;
	return -1;
}

/* ---- in the culler ---- */

/* A file's name, as cachefiles_cook_key() of fs/cachefiles/key.c makes it. Not the one of
 * hexadecimal digits, which some keys of 1, 2 or 4 bytes get, or with control bytes: it is not
 * found. */
static void name_of(char *out, const uint8_t *key, size_t size)
{
	static const char letters[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
	size_t n = 0;

	while (n < size && key[n] > ' ' && key[n] != '/' && key[n] < 128)
		n++;
	*out++ = n == size ? 'D' : 'E';
	if (n == size) {
		memcpy(out, key, size);
		out += size;
	} else {
		*out++ = (char)('0' + (3 - size % 3) % 3);
		/* Six bits after six, the lowest first, of whole threes of bytes. */
		for (n = 0; n < (size + 2) / 3 * 24; n += 6) {
			size_t at = n / 8;
			unsigned two = (at < size ? key[at] : 0) | (at + 1 < size ? key[at + 1] : 0)
									   << 8;

			*out++ = letters[two >> n % 8 & 63];
		}
	}
	*out = '\0';
}

/* The file cache/IVOLUME/@FAN/NAME: which of 256 folders it is in only the kernel's hash says.
 * Linux 6.1 makes it with a mode by which its owner may not open it either. */
static int find(int cache, const char *volume, const char *name)
{
	char path[2 * DIR_NAME];
	int fd = -1, folder;

	snprintf(path, sizeof(path), "I%.255s", volume);
	folder = dir_open(cache, path);
	errno = folder < 0 ? errno : ENOENT;
	for (unsigned fan = 0; folder >= 0 && fd < 0 && errno == ENOENT && fan < 256; fan++) {
		snprintf(path, sizeof(path), "@%02x/%s", fan, name);
		fd = openat(folder, path, FLAGS);
		if (fd < 0 && errno == EACCES && syscall(SYS_fchmodat, folder, path, 0600) == 0)
			fd = openat(folder, path, FLAGS);
	}
	fd_close(&folder);
	return fd;
}

/* Whether the kernel has stored that size with the file: struct cachefiles_xattr of
 * fs/cachefiles/xattr.c begins with it, big-endian. Only the file's owner may look. */
static bool has_size(int fd, uint64_t size)
{
	uint64_t bytes[32] = {0};

	syscall(SYS_fgetxattr, fd, "user.CacheFiles.cache", bytes, sizeof(bytes));
	return size == 0 || be64toh(bytes[0]) == size;
}

void cached_answer(int socket, int cache, struct cached_request *request, size_t size)
{
	char *const end = (char *)request + size;
	char name[4 * (KEY_MAX + 2) / 3 + 4], *cookie, error;
	int fd = -1;

	*end = '\0';
	errno = ENOENT;
	cookie = end > request->keys ? request->keys + strlen(request->keys) + 1 : end + 1;
	if (cookie <= end && end - cookie <= KEY_MAX && !strchr(request->keys, '/')) {
		name_of(name, (const uint8_t *)cookie, (size_t)(end - cookie));
		fd = find(cache, request->keys, name);
	}
	if (fd >= 0 && !has_size(fd, request->size)) {
		fd_close(&fd);
		errno = ENOENT;
	}
	error = fd >= 0 ? 0 : errno == ENAMETOOLONG ? ENOENT : (char)errno;
	/* Blocks that a power cut left allocated and not written would be data for the kernel, and
	 * zeros, once they were read ahead. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	fd_send(socket, NULL, 0, &error, 1, fd);
	fd_close(&fd);
}
