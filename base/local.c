#include "base/local.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

#define QUEUE 8 /* clients that wait for their turn */

/* Of connect(2) or bind(2). */
static bool use(int (*call)(int, const struct sockaddr *, socklen_t), int fd, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	return call(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

int local_connect(const char *path, int flags)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (!use(connect, fd, path))
		fd_close(&fd);
	return fd;
}

/* Removes a socket without a listener, but nothing else. */
static void remove_old(const char *path)
{
	struct stat s;

	if (lstat(path, &s) == 0 && S_ISSOCK(s.st_mode))
		unlink(path);
}

int local_listen(const char *path, char *why, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const char *fault = NULL;
	mode_t mask = umask(0177);

	if (use(connect, fd, path) || errno == EAGAIN)
		fault = "another daemon answers there";
	else if (errno == ECONNREFUSED)
		remove_old(path);
	if (!fault && (!use(bind, fd, path) || listen(fd, QUEUE) < 0))
		fault = strerror(errno);
	umask(mask);
	if (!fault)
		return fd;
	fd_close(&fd);
	snprintf(why, size, "%s: %s", path, fault);
	return fd;
}

int local_accept(int listener)
{
	/* The C library's function would bring its code for kernels without the system call. */
	int fd = (int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
		errno = 0;
	return fd;
}
