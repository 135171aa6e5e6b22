#include "kernel/cached.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/dir.h"
#include "base/fd.h"
#include "base/hash.h"

/* The hash of the keys that were asked for; 0: there is no answer to come. */
static uint64_t asked;

/* Takes the answer, if it is there. */
static int receive(int socket)
{
	struct pollfd p = {.fd = socket, .events = POLLIN};
	char byte;
	int fd;

	errno = EAGAIN;
	if (poll(&p, 1, 0) != 1)
		return -1;
	asked = 0;
	fd = fd_receive(socket);
	if (fd < 0 && errno == 0)
		errno = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 ? EPIPE : ENOENT;
	return fd;
}

int cached_open(int socket, const char *volume, const void *cookie, size_t cookie_size)
{
	char request[CACHED_REQUEST_MAX];
	size_t first = strlen(volume) + 1;
	uint64_t key;
	int fd;

	memcpy(request, volume, first);
	memcpy(request + first, cookie, cookie_size);
	key = hash_more(HASH_BEGIN, request, first + cookie_size);
	if (asked) {
		bool ours = asked == key;

		fd = receive(socket);
		if (ours || asked)
			return fd;
		fd_close(&fd); /* its file was closed meanwhile */
	}
	if (send(socket, request, first + cookie_size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
		asked = key;
		errno = EAGAIN;
	}
	return -1;
}

/* struct cachefiles_xattr of fs/cachefiles/xattr.c begins with it, big-endian. */
uint64_t cached_size(int fd)
{
	uint8_t bytes[256];
	uint64_t size = 0;

	if (syscall(SYS_fgetxattr, fd, "user.CacheFiles.cache", bytes, sizeof(bytes)) < 8)
		return 0;
	for (int i = 0; i < 8; i++)
		size = size << 8 | bytes[i];
	return size;
}

/* ---- in the culler ---- */

/* The file cache/IVOLUME/@FAN/DCOOKIE: which of 256 folders it is in only the kernel's hash says.
 */
static int find(int cache, const char *volume, const char *cookie)
{
	char name[DIR_NAME + 1], path[sizeof("@ff/D") + DIR_NAME];
	struct stat st;
	int fd = -1, folder;

	snprintf(name, sizeof(name), "I%s", volume);
	folder = dir_open(cache, name);
	for (unsigned fan = 0; folder >= 0 && fd < 0 && fan < 256; fan++) {
		snprintf(path, sizeof(path), "@%02x/D%s", fan, cookie);
		fd = openat(folder, path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	}
	fd_close(&folder);
	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
		fd_close(&fd);
	return fd;
}

void cached_answer(int socket, int cache, const char *request, size_t size)
{
	size_t first = strnlen(request, size) + 1;
	char volume[KEY_MAX + 1], cookie[KEY_MAX + 1];
	int fd = -1;

	if (first < size && first <= sizeof(volume) && size - first < sizeof(cookie)) {
		memcpy(volume, request, first);
		memcpy(cookie, request + first, size - first);
		cookie[size - first] = '\0';
		if (!strchr(volume, '/') && !strchr(cookie, '/') &&
			strlen(cookie) == size - first && strlen(cookie) + 2 <= DIR_NAME)
			fd = find(cache, volume, cookie);
	}
	fd_send(socket, NULL, 0, "", 1, fd);
	fd_close(&fd);
}
