#include "test/bench/replay/link.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/minmax.h"
#include "net/connect.h"
#include "net/dns.h"

#define SEGMENT	   1448 /* bytes of a packet beside 66 of Ethernet, IP and TCP */
#define HEADERS	   66
#define WINDOW_MAX (4 << 20)
#define REST	   200000 /* the least time-out of Linux: after it a window is halved */
#define FDS_MAX	   64
#define RESPONSES  64 /* of a connection, not read to their end */
#define PACKETS	   (1 << 17)

struct response {
	char head[512];
	size_t head_size;
	uint64_t begin, from, end; /* its place in the stream; the bytes of the file */
	const char *file;
};

/* Offsets in the stream of a connection's responses only grow. */
struct connection {
	unsigned number;
	int64_t connected_at;
	int low_water;
	char request[HEAD_MAX + 1];
	size_t request_size;
	struct response responses[RESPONSES];
	unsigned first, count;
	uint64_t made, ready, sent, acknowledged, arrived, read;
	uint64_t window;
	int64_t sent_at;
};

struct packet {
	int64_t at;
	int fd;
	unsigned number; /* of the connection: the descriptor may be another's by then */
	uint64_t bytes;
};

/* Packets that arrive in the order in which they were sent. */
static struct queue {
	struct packet packets[PACKETS];
	unsigned first, count;
} requests, segments, acknowledgements;

int64_t now;
struct link the_link;
static struct connection connections[FDS_MAX];
static int64_t free_at; /* the pipe to the client */

double link_goodput(void)
{
	return the_link.rate * SEGMENT / (SEGMENT + HEADERS);
}

static void put(struct queue *q, int64_t at, int fd, uint64_t bytes)
{
	assert(q->count < PACKETS);
	q->packets[(q->first + q->count++) % PACKETS] =
		(struct packet){at, fd, connections[fd].number, bytes};
}

/* ---- the server ---- */

static void send_on(int fd)
{
	struct connection *c = &connections[fd];
	uint64_t first = the_link.window * SEGMENT;

	for (int64_t rested = now - c->sent_at - REST - the_link.round_trip;
		rested > 0 && c->sent == c->acknowledged && c->window > first; rested -= REST)
		c->window = max_u64(c->window / 2, first);
	while (c->sent < c->ready) {
		uint64_t bytes = min_u64(SEGMENT, c->ready - c->sent);

		if (c->sent + bytes - c->acknowledged > c->window)
			return;
		free_at = free_at > now ? free_at : now;
		free_at += (int64_t)((double)(bytes + HEADERS) * 1e6 / the_link.rate);
		put(&segments, free_at + the_link.round_trip / 2, fd, bytes);
		c->sent += bytes;
		c->sent_at = now;
	}
}

/* A response is put together when its request is sent, and leaves when that arrives. */
static void answer(int fd, const char *request)
{
	struct connection *c = &connections[fd];
	struct response *r = &c->responses[(c->first + c->count++) % RESPONSES];
	unsigned long long from = 0, last = 0;
	const char *range = strstr(request, "\r\nRange: bytes=");
	bool tree = the_link.tree && strncmp(request, "GET /image.verity ", 18) == 0;
	bool found = tree || strncmp(request, "GET /image HTTP/1.1\r\n", 21) == 0;
	uint64_t size = tree ? the_link.tree_size : the_link.size;

	assert(c->count <= RESPONSES && range);
	sscanf(range, "\r\nRange: bytes=%llu-%llu", &from, &last);
	last = min_u64(last, size - 1);
	r->begin = c->made;
	r->file = tree ? the_link.tree : the_link.file;
	r->from = r->end = 0;
	if (found && from <= last) {
		r->from = from;
		r->end = last + 1;
		the_link.requests++;
		the_link.bytes += r->end - r->from;
		if (the_link.asked)
			the_link.asked(c->number, r->from, r->end);
	}
	r->head_size = (size_t)snprintf(r->head, sizeof(r->head),
		"HTTP/1.1 %s\r\n"
		"Server: nginx/1.22.1\r\n"
		"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		"Content-Type: application/octet-stream\r\n"
		"Content-Length: %llu\r\n"
		"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		"Connection: keep-alive\r\n"
		"ETag: \"0123456789abcdef\"\r\n"
		"Content-Range: bytes %llu-%llu/%llu\r\n"
		"\r\n",
		found ? "206 Partial Content" : "404 Not Found",
		(unsigned long long)(r->end - r->from), from, last, (unsigned long long)size);
	c->made += r->head_size + r->end - r->from;
	put(&requests, now + the_link.round_trip / 2, fd, r->head_size + r->end - r->from);
}

/* ---- the loop's ---- */

static uint64_t readable(const struct connection *c)
{
	return c->arrived - c->read;
}

unsigned link_poll(struct pollfd *set, size_t count)
{
	unsigned ready = 0;

	for (size_t i = 0; i < count; i++) {
		const struct connection *c = &connections[set[i].fd];

		set[i].revents = 0;
		if (readable(c) >= (uint64_t)c->low_water)
			set[i].revents |= set[i].events & POLLIN;
		if (now >= c->connected_at)
			set[i].revents |= set[i].events & POLLOUT;
		ready += set[i].revents != 0;
	}
	return ready;
}

/* The queue whose first packet arrives first. */
static struct queue *next_queue(void)
{
	struct queue *const all[] = {&requests, &segments, &acknowledgements};
	struct queue *best = NULL;

	for (size_t i = 0; i < 3; i++)
		if (all[i]->count > 0 && (!best || all[i]->packets[all[i]->first].at <
							   best->packets[best->first].at))
			best = all[i];
	return best;
}

int64_t link_next(void)
{
	const struct queue *q = next_queue();
	int64_t next = q ? q->packets[q->first].at : INT64_MAX;

	for (const struct connection *c = connections; c < connections + FDS_MAX; c++)
		if (c->connected_at > now && c->connected_at < next)
			next = c->connected_at;
	return next;
}

void link_step(void)
{
	struct queue *q = next_queue();
	struct packet p;
	struct connection *c;

	if (!q || q->packets[q->first].at > now)
		return; /* a connection was made */
	p = q->packets[q->first];
	q->first = (q->first + 1) % PACKETS;
	q->count--;
	c = &connections[p.fd];
	if (c->number != p.number)
		return;
	if (q == &segments) {
		c->arrived += p.bytes;
		put(&acknowledgements, now + the_link.round_trip / 2, p.fd, p.bytes);
		return;
	}
	if (q == &requests) {
		c->ready += p.bytes;
	} else {
		if (2 * (c->sent - c->acknowledged) > c->window)
			c->window = min_u64(c->window + p.bytes, WINDOW_MAX);
		c->acknowledged += p.bytes;
	}
	send_on(p.fd);
}

/* ---- in the place of the C library's ---- */

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *into, size_t room, int flags);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);

ssize_t __wrap_send(int fd, const void *bytes, size_t size, int flags)
{
	struct connection *c = &connections[fd];
	char *end;

	(void)flags;
	assert(size <= HEAD_MAX - c->request_size);
	memcpy(c->request + c->request_size, bytes, size);
	c->request_size += size;
	c->request[c->request_size] = '\0';
	while ((end = strstr(c->request, "\r\n\r\n"))) {
		*end = '\0';
		answer(fd, c->request);
		end += 4;
		c->request_size -= (size_t)(end - c->request);
		memmove(c->request, end, c->request_size + 1);
	}
	return (ssize_t)size;
}

/* The part of the response that is read now. */
static size_t copy(const struct connection *c, const struct response *r, char *into, uint64_t most)
{
	uint64_t at = c->read - r->begin, size;

	if (at < r->head_size) {
		size = min_u64(most, r->head_size - at);
		memcpy(into, r->head + at, (size_t)size);
		return (size_t)size;
	}
	at += r->from - r->head_size;
	size = min_u64(most, r->end - at);
	memcpy(into, r->file + at, (size_t)size);
	return (size_t)size;
}

ssize_t __wrap_recv(int fd, void *into, size_t room, int flags)
{
	struct connection *c = &connections[fd];
	size_t got = 0;

	while (got < room && readable(c) > 0 && !(flags & MSG_PEEK)) {
		const struct response *r = &c->responses[c->first];
		size_t n = copy(c, r, (char *)into + got, min_u64(room - got, readable(c)));

		got += n;
		c->read += n;
		if (c->read == r->begin + r->head_size + r->end - r->from) {
			c->first = (c->first + 1) % RESPONSES;
			c->count--;
		}
	}
	if (got == 0)
		errno = EAGAIN;
	return got > 0 ? (ssize_t)got : -1;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	(void)level, (void)size;
	if (name == SO_RCVLOWAT)
		connections[fd].low_water = *(const int *)value;
	return 0;
}

/* ---- in the place of net/connect.c and net/dns.c ---- */

int __wrap_race_start(struct race *r, int64_t ms);
int __wrap_race_run(struct race *r, int64_t ms);
int64_t __wrap_race_next(const struct race *r, int64_t looked);
enum dns_result __wrap_dns_lookup(const char *host, uint16_t port, int64_t ms,
	union address out[DNS_ADDRESSES_MAX], size_t *count);

/* The descriptor is a real one, so that it can be closed. */
int __wrap_race_start(struct race *r, int64_t ms)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)ms;
	assert(fd >= 0 && fd < FDS_MAX);
	memset(&connections[fd], 0, sizeof(connections[fd]));
	connections[fd].number = ++the_link.connections;
	connections[fd].connected_at = now + the_link.round_trip;
	connections[fd].low_water = 1;
	connections[fd].window = the_link.window * SEGMENT;
	r->attempt.fd = fd;
	r->before.fd = -1;
	return EINPROGRESS;
}

int __wrap_race_run(struct race *r, int64_t ms)
{
	(void)ms;
	return now >= connections[r->attempt.fd].connected_at ? 0 : EINPROGRESS;
}

int64_t __wrap_race_next(const struct race *r, int64_t looked)
{
	(void)r, (void)looked;
	return INT64_MAX;
}

enum dns_result __wrap_dns_lookup(const char *host, uint16_t port, int64_t ms,
	union address out[DNS_ADDRESSES_MAX], size_t *count)
{
	(void)host, (void)port, (void)ms;
	memset(out, 0, sizeof(out[0]));
	*count = 1;
	return DNS_FOUND;
}
