#include "daemon/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* A quarter of it is the time between two signs of life, which has to be one. */
#define WATCHDOG_LEAST 4

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
	socklen_t size = fill_address(&a);
	int s = size ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
	bool sent = s >= 0 && fd_send(s, &a, size, lines, strlen(lines), fd);

	fd_close(&s);
	return sent;
}

/* A number of the environment; 0 if there is none. */
static int64_t number(const char *name)
{
	const char *text = getenv(name);

	return text ? leading_number(text) : 0;
}

int notify_handed_over(const char *name)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int64_t count = number("LISTEN_FDS");
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
	int64_t pid = number("WATCHDOG_PID"), time = number("WATCHDOG_USEC");

	if ((pid && pid != getpid()) || time <= 0)
		return 0;
	return time < 1000 * WATCHDOG_LEAST ? WATCHDOG_LEAST : time / 1000;
}
