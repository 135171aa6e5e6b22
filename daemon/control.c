#include "daemon/control.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/local.h"

/* Milliseconds. */
#define LINE_TIME    2000 /* for a client to send its line */
#define ACCEPT_AGAIN 1000 /* after accept() has failed, for want of descriptors for example */

enum state {
	IDLE,	 /* no client is here */
	PAUSING, /* none is taken until the time `until` */
	READING, /* its line comes, until the time `until` */
	WAITING, /* it waits for its answer */
};

static struct {
	enum state state;
	int listener, fd;
	int64_t until; /* INT64_MAX: no limit */
	size_t size;   /* of what has come */
	char line[CONTROL_LINE_MAX];
} c = {.listener = -1, .fd = -1, .until = INT64_MAX};

static void become(enum state state, int64_t until)
{
	c.state = state;
	c.until = until;
}

static void hang_up(void)
{
	fd_close(&c.fd);
	become(IDLE, INT64_MAX);
}

static bool may_ask(void)
{
	struct ucred peer;

	return getsockopt(c.fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof(peer)}) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void take_client(int64_t now)
{
	assert(c.state == IDLE);
	c.fd = local_accept(c.listener);
	c.size = 0;
	if (c.fd < 0)
		return errno ? become(PAUSING, now + ACCEPT_AGAIN) : (void)0;
	become(READING, now + LINE_TIME);
	if (!may_ask())
		hang_up();
}

static enum control_event read_line(void)
{
	ssize_t n = recv(c.fd, c.line + c.size, sizeof(c.line) - c.size, 0);
	char *end;

	assert(c.state == READING);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return CONTROL_NONE;
	if (n > 0) {
		c.size += (size_t)n;
		end = memchr(c.line, '\n', c.size);
		if (end) {
			*end = '\0';
			become(WAITING, INT64_MAX);
			return CONTROL_LINE;
		}
	}
	if (n <= 0 || c.size == sizeof(c.line))
		hang_up();
	return CONTROL_NONE;
}

void control_init(int listener)
{
	c.listener = listener;
}

void control_leave(void)
{
	fd_close(&c.listener);
	hang_up();
}

/* poll(2) tells that a client has hung up without being asked. One that only sends no more waits
 * on. */
void control_poll(struct pollfd *out)
{
	*out = (struct pollfd){.fd = c.state == IDLE ? c.listener : c.fd,
		.events = c.state == WAITING ? 0 : POLLIN};
}

int64_t control_next(void)
{
	return c.until;
}

enum control_event control_run(const struct pollfd *polled, int64_t now)
{
	if (now >= c.until) {
		hang_up();
	} else if (polled->revents && c.state == IDLE) {
		take_client(now);
	} else if (polled->revents && c.state == READING) {
		return read_line();
	} else if (polled->revents && c.state == WAITING) {
		hang_up();
		return CONTROL_GONE;
	}
	return CONTROL_NONE;
}

char *control_line(void)
{
	assert(c.state == WAITING);
	return c.line;
}

void control_answer(const char *format, ...)
{
	char text[CONTROL_LINE_MAX];
	va_list args;

	assert(c.state == WAITING);
	va_start(args, format);
	vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	strcat(text, "\n");
	send(c.fd, text, strlen(text), MSG_NOSIGNAL);
	hang_up();
}
