/* net/connect.h - sockets that are being connected: to one address, or to all of a host's in a race
 * (RFC 8305 section 5). Nothing blocks. */
#ifndef NET_CONNECT_H
#define NET_CONNECT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/limits.h"

union address {
	struct sockaddr any;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

/* As a person reads it. Returns `out`. */
const char *address_text(char out[INET6_ADDRSTRLEN], const union address *a);

/* Begins to connect a new socket of this type (SOCK_STREAM or SOCK_DGRAM), which does not block.
 * Returns it, or -1 and errno. */
int connect_socket(const union address *to, int type);

/* At most two attempts are under way at a time: where the newest has not connected after 250 ms,
 * the next address is tried beside it; after 2 s if that one has failed before. */
struct race {
	size_t count; /* of addresses */
	struct attempt {
		int fd; /* -1: none */
		size_t address;
	} attempt, before; /* the newest, to be polled for POLLOUT; and the one before it */
	size_t next;	   /* address to try */
	int64_t next_at;
	union address address[DNS_ADDRESSES_MAX]; /* the caller's, in the order to try them, in
						   * which race_start() puts known ones */
};

/* Begins with the address that was good last, ends with those that failed, the last failure last,
 * and keeps the order of the others. Returns EINPROGRESS, or an errno if none can be tried. */
int race_start(struct race *r, int64_t now);

/* Tells of the address that has won the race whether a response by it was good, which a connection
 * alone does not show; and whether the last one that was told of it was bad. ADDRESSES_KNOWN
 * addresses are remembered, of hosts that have several. */
void race_judge(const struct race *r, bool good);
bool race_has_failed(const struct race *r);

/* Goes on, while it returns EINPROGRESS. 0: `attempt` has won, and its socket is the caller's. Else
 * all have failed, and this is the last one's errno. */
int race_run(struct race *r, int64_t now);

/* When race_run() must be called at the latest, if it was called last at `looked`: the attempt
 * before the newest is not polled. INT64_MAX: never. */
int64_t race_next(const struct race *r, int64_t looked);

/* Closes the attempts of a race that was started and has not ended. */
void race_end(struct race *r);

#endif
