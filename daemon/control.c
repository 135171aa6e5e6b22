#include "daemon/control.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/local.h"

#define LINE_TIME 2000 /* milliseconds for a client to send its line */

enum state {
	IDLE,	 /* no client is here */
	READING, /* its line comes; without a client (-1): none could be taken, for a while */
	WAITING, /* it waits for its answer */
};

static struct {
	enum state state;
	int listener, fd;
	int64_t until; /* of READING */
	size_t size;   /* of what has come */
	char line[CONTROL_LINE_MAX];
} c;

static void hang_up(void)
{
	fd_close(&c.fd);
	c.state = IDLE;
}

static bool may_ask(void)
{
	struct ucred peer;

	return getsockopt(c.fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof(peer)}) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void take_client(int64_t now)
{
	c.fd = local_accept(c.listener);
	if (c.fd < 0 && !errno)
		return;
	c.state = READING;
	c.until = now + LINE_TIME;
	c.size = 0;
	if (c.fd >= 0 && !may_ask())
		hang_up();
}

static enum control_event read_line(void)
{
	ssize_t n = recv(c.fd, c.line + c.size, sizeof(c.line) - c.size, MSG_DONTWAIT);
	char *end;

	if (n > 0)
		c.size += (size_t)n;
	end = memchr(c.line, '\n', c.size);
	if (end) {
		*end = '\0';
		c.state = WAITING;
		return CONTROL_LINE;
	}
	if (n <= 0 || c.size == sizeof(c.line))
		hang_up();
	return CONTROL_NONE;
}

void control_init(int listener)
{
	c.listener = listener;
	c.fd = -1;
	c.state = IDLE;
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
	return c.state == READING ? c.until : INT64_MAX;
}

enum control_event control_run(const struct pollfd *polled, int64_t now)
{
	if (now >= control_next()) {
		hang_up();
	} else if (polled->revents && c.state == IDLE) {
		take_client(now);
	} else if (polled->revents && c.state == READING) {
		return read_line();
	} else if (polled->revents) {
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

void control_answer(bool done, const char *text)
{
	char line[CONTROL_LINE_MAX];
	int size = snprintf(line, sizeof(line), "%s %.590s\n", done ? "ok" : "no", text);

	assert(c.state == WAITING);
	send(c.fd, line, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
	hang_up();
}
