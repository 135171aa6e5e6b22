#include "net/connect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"

/* RFC 8305 section 8, in milliseconds: the usual delay, and the longest one, for an address that
 * has failed behind the handshake and could win again. */
#define ATTEMPT_DELAY 250
#define FAILED_DELAY  2000

/* How often the attempt before the newest is looked at, in milliseconds. */
#define RACE_TICK 25

const char *address_text(char out[INET6_ADDRSTRLEN], const union address *a)
{
	const void *bytes = a->any.sa_family == AF_INET6 ? (const void *)&a->in6.sin6_addr
							 : (const void *)&a->in4.sin_addr;

	out[0] = '\0';
	inet_ntop(a->any.sa_family, bytes, out, INET6_ADDRSTRLEN);
	return out;
}

/* ---- which address is tried first ---- */

/* What has become of addresses, the port included. */
static struct known {
	union address address;
	int64_t mark; /* its size grows with the time; below 0: good, above: failed; 0: free */
} known[ADDRESSES_KNOWN];
static int64_t marks;

static struct known *find_known(const union address *a)
{
	for (struct known *k = known; k < known + ADDRESSES_KNOWN; k++)
		if (k->mark && memcmp(&k->address, a, sizeof(*a)) == 0)
			return k;
	return NULL;
}

static int64_t mark_of(const union address *a)
{
	const struct known *k = find_known(a);

	return k ? k->mark : 0;
}

/* The place of an address: its own, or that of the one that was judged longest ago. */
static struct known *place_of(const union address *a)
{
	struct known *oldest = find_known(a);

	if (oldest)
		return oldest;
	oldest = known;
	for (struct known *k = known; k < known + ADDRESSES_KNOWN; k++)
		if (llabs(k->mark) < llabs(oldest->mark))
			oldest = k;
	return oldest;
}

void race_judge(const struct race *r, bool good)
{
	const union address *a = &r->address[r->attempt.address];

	if (r->count < 2 || r->attempt.fd < 0)
		return;
	marks++;
	*place_of(a) = (struct known){*a, good ? -marks : marks};
}

bool race_has_failed(const struct race *r)
{
	return r->count > 1 && mark_of(&r->address[r->attempt.address]) > 0;
}

/* ---- connecting ---- */

int connect_socket(const union address *to, int type)
{
	socklen_t size = to->any.sa_family == AF_INET ? sizeof(to->in4) : sizeof(to->in6);
	int fd = socket(to->any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &to->any, size) < 0 && errno != EINPROGRESS)
		fd_close(&fd);
	return fd;
}

void race_end(struct race *r)
{
	fd_close(&r->attempt.fd);
	fd_close(&r->before.fd);
}

/* Tries addresses until one begins to connect. */
static int try_next(struct race *r, int64_t now)
{
	int error = EADDRNOTAVAIL, one = 1;

	while (r->next < r->count) {
		int fd = connect_socket(&r->address[r->next++], SOCK_STREAM);

		if (fd < 0) {
			error = errno;
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (r->attempt.fd >= 0) {
			fd_close(&r->before.fd);
			r->before = r->attempt;
		}
		r->attempt = (struct attempt){fd, r->next - 1};
		r->next_at = now + (r->next < r->count && mark_of(&r->address[r->next]) > 0
						   ? FAILED_DELAY
						   : ATTEMPT_DELAY);
		return EINPROGRESS;
	}
	return r->attempt.fd >= 0 ? EINPROGRESS : error;
}

/* A sort that keeps the order of equals. */
static void put_in_order(struct race *r)
{
	for (size_t i = 1; i < r->count; i++) {
		union address a = r->address[i];
		size_t to = i;

		for (; to > 0 && mark_of(&r->address[to - 1]) > mark_of(&a); to--)
			r->address[to] = r->address[to - 1];
		r->address[to] = a;
	}
}

int race_start(struct race *r, int64_t now)
{
	put_in_order(r);
	r->next = 0;
	r->attempt = r->before = (struct attempt){-1, 0};
	return try_next(r, now);
}

/* Returns 0 if connected, EINPROGRESS if not yet; else why not, and the attempt is over. */
static int look_at(struct attempt *a)
{
	struct pollfd p = {.fd = a->fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int error = 0;

	if (a->fd < 0)
		return EBADF;
	if (poll(&p, 1, 0) == 0)
		return EINPROGRESS;
	getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error)
		fd_close(&a->fd);
	return error;
}

int race_run(struct race *r, int64_t now)
{
	int error = look_at(&r->attempt), error_before = error ? look_at(&r->before) : EBADF;

	if (error_before == 0 || r->attempt.fd < 0) {
		fd_close(&r->attempt.fd);
		r->attempt = r->before;
		r->before.fd = -1;
	}
	if (error == 0 || error_before == 0) {
		fd_close(&r->before.fd);
		return 0;
	}
	if (r->next < r->count && (r->attempt.fd < 0 || now >= r->next_at))
		return try_next(r, now);
	return r->attempt.fd >= 0 ? EINPROGRESS : error;
}

int64_t race_next(const struct race *r, int64_t looked)
{
	int64_t next = r->next < r->count ? r->next_at : INT64_MAX;

	return r->before.fd >= 0 ? sooner(next, looked + RACE_TICK) : next;
}
