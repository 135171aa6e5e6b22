#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int kept_errno = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = kept_errno;
}

int fd_open(const char *path, char *why, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		snprintf(why, size, "%s: %m", path);
	return fd;
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

bool fd_send(int socket, const void *to, unsigned to_size, const void *bytes, size_t size, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = {0};
	struct cmsghdr *c = (struct cmsghdr *)control;
	struct iovec text = {(void *)(uintptr_t)bytes, size};
	struct msghdr m = {.msg_name = (void *)(uintptr_t)to,
		.msg_namelen = to_size,
		.msg_iov = &text,
		.msg_iovlen = 1};

	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	/* The C library's function would bring a copy of it all, to empty what is empty here. */
	return syscall(SYS_sendmsg, socket, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (long)size;
}

int fd_receive(int socket)
{
	int fd = -1;
	char byte = EPIPE;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = {0};
	struct iovec text = {&byte, 1};
	struct msghdr m = {.msg_iov = &text,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};

	/* The C library's function would bring its conversion of times. */
	if (syscall(SYS_recvmsg, socket, &m, MSG_CMSG_CLOEXEC) < 0)
		return -1;
	errno = byte;
	if (CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
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
