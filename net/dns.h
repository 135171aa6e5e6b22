/* net/dns.h - names to addresses without blocking (RFC 1035, RFC 3596).
 *
 * A look-up is repeated until it has an answer: one that has to wait says so, and is made again
 * after the loop has polled dns_poll()'s descriptors. The sources are, in this order, pins, IP
 * literals, localhost (RFC 6761), /etc/hosts, and the servers of /etc/resolv.conf.
 *
 * Both files are read once at start (a later read might lead into the file system that we serve);
 * of /etc/hosts the first DNS_HOSTS_MAX bytes are kept. /proc/net/pnp, which the kernel's ip=dhcp
 * fills, is read again whenever no other server is known or none answers. With no server at all,
 * 127.0.0.1 is asked. Of `search` and `domain` the last line counts, with DNS_SEARCH_MAX domains. A
 * name with as many dots as `options ndots:N` says (1 if it does not) is asked for as it is, and if
 * there is no such name, with each domain behind it; another one with the domains first, as
 * resolv.conf(5) has it. A server's failure does not end the search. Other options are ignored.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "net/connect.h"

enum dns_result {
	DNS_FOUND,
	DNS_WAIT,
	DNS_NO_SUCH_NAME, /* or a name without any address; remembered for 10 seconds */
	/* Temporary: the servers are asked again after 3 seconds. If one has not answered at all,
	 * it is asked on, and an answer within 9 rounds still counts. */
	DNS_NO_SERVER_ANSWERED,
	DNS_SERVER_FAILED,  /* SERVFAIL */
	DNS_SERVER_REFUSED, /* REFUSED */
	DNS_ANSWER_UNUSABLE /* malformed, or another code */
};

/* A failure in words for a person. */
const char *dns_failure(enum dns_result failure);

/* Reads the system's files, at start. May be called again to read them again, and then forgets the
 * pins. */
void dns_init(void);

/* Addresses of `host` (a name or an IP literal), their port set to `port`, in the order to try
 * them: IPv6 and IPv4 alternate (RFC 8305 section 4). `now` in milliseconds, monotonic. On
 * DNS_FOUND *count is 1 to DNS_ADDRESSES_MAX. Starts a question if none is under way; where the
 * table of questions is full, DNS_WAIT. Answers hold for their time to live, but at least 5 seconds
 * and at most an hour. The last good addresses of a name are kept: when their time is over and no
 * server answers for two seconds, they are given again (RFC 8767). */
enum dns_result dns_lookup(const char *host, uint16_t port, int64_t now,
	union address out[DNS_ADDRESSES_MAX], size_t *count);

/* The loop's three: what to poll (at most DNS_POLL_MAX entries written, their count returned), when
 * to run at the latest (INT64_MAX: never), and running, which tries every descriptor by itself. A
 * server has one second to answer, then the next is asked too. */
#define DNS_POLL_MAX (DNS_QUESTIONS_MAX * DNS_SERVERS_MAX)
size_t dns_poll(struct pollfd out[DNS_POLL_MAX]);
int64_t dns_next(void);
void dns_run(int64_t now);

#endif
