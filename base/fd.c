#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int kept_errno = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = kept_errno;
}

int fd_poll(struct pollfd *set, size_t n, int64_t now, int64_t until, const sigset_t *mask)
{
	int64_t left = until > now ? until - now : 0;
	struct timespec timeout = {(time_t)(left / 1000), (long)(left % 1000) * 1000000};
	int ready = ppoll(set, n, until >= INT64_MAX / 2 ? NULL : &timeout, mask);

	for (size_t i = 0; ready < 0 && i < n; i++)
		set[i].revents = 0; /* a signal */
	return ready < 0 ? 0 : ready;
}

ssize_t fd_read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd, used = 0;

	while (n >= 0 && (n = read(fd, text + used, size - 1 - (size_t)used)) > 0)
		used += n;
	fd_close(&fd);
	text[used] = '\0';
	return n < 0 ? -1 : used;
}

bool fd_write_number(const char *path, int flags, long number)
{
	char text[32];
	int size = snprintf(text, sizeof(text), "%ld\n", number);
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	bool written = fd >= 0 && write(fd, text, (size_t)size) == size;

	fd_close(&fd);
	return written;
}
