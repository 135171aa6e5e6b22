#include "daemon/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* $NOTIFY_SOCKET is a path, or '@' and a name in the abstract space. Returns 0 if it is neither. */
static socklen_t fill_address(struct sockaddr_un *a)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(a->sun_path) || (path[0] != '/' && path[0] != '@'))
		return 0;
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(a->sun_path, path, len);
	if (path[0] == '@')
		a->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

bool notify_send(const char *lines, int fd)
{
	struct sockaddr_un a;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = {0};
	struct iovec text = {(void *)(uintptr_t)lines, strlen(lines)};
	struct msghdr m = {.msg_name = &a, .msg_iov = &text, .msg_iovlen = 1};
	int s;
	bool sent;

	m.msg_namelen = fill_address(&a);
	s = m.msg_namelen ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
	if (s < 0)
		return false;
	if (fd >= 0) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	sent = sendmsg(s, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)text.iov_len;
	close(s);
	return sent;
}

/* A number of the environment; 0 if there is none. */
static long number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtol(text, NULL, 10) : 0;
}

int notify_handed_over(const char *name)
{
	const char *names = getenv("LISTEN_FDNAMES");
	long count = number("LISTEN_FDS");
	size_t len = strlen(name);

	if (number("LISTEN_PID") != getpid() || count < 1 || count > 64 || !names)
		return -1;
	for (int fd = FIRST_FD; fd < FIRST_FD + count; fd++) {
		size_t size = strcspn(names, ":");

		if (size == len && memcmp(names, name, len) == 0)
			return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : fd;
		names += size + (names[size] == ':');
	}
	return -1;
}

int64_t notify_watchdog(void)
{
	long pid = number("WATCHDOG_PID");

	return pid && pid != getpid() ? 0 : number("WATCHDOG_USEC") / 1000;
}
