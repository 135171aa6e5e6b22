/* net/dns.h - names to addresses without blocking (RFC 1035, RFC 3596).
 *
 * Asked again and again like a cache: a look-up that has to wait says so and is asked again after
 * the loop has polled dns_poll()'s descriptors. Answered, in this order, are IP literals, pins,
 * localhost (RFC 6761), /etc/hosts, and then the servers of /etc/resolv.conf.
 *
 * Both files are read once at start (a later read might lead into the file system we serve); of
 * /etc/hosts the first DNS_HOSTS_MAX bytes are kept. /proc/net/pnp, which the kernel's ip=dhcp
 * fills, is read again whenever no server is known otherwise or none answers. With no server at
 * all, 127.0.0.1 is asked. Of `search` and `domain` the first domain is used, for a name without a
 * dot: NAME.DOMAIN is asked for, and if there is no such name NAME itself. No `options` are
 * honoured.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <netinet/in.h>

#include "base/limits.h"

union address {
	struct sockaddr any;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

enum dns_result {
	DNS_FOUND,
	DNS_WAIT,
	DNS_NO_SUCH_NAME,      /* or a name without any address; remembered for 10 seconds */
	DNS_NO_SERVER_ANSWERED /* with use; asked again after 3 seconds */
};

/* Reads the system's files. Once, at start; may be called again to read them anew, and forgets the
 * pins. */
void dns_init(void);

/* `resolve HOST:PORT:ADDRESS` pins: the address (an IPv6 one with or without brackets) is used for
 * that host and port, no question asked. Lines for the same host and port add up.
 * Returns false, *why a static sentence, on a malformed line or a full table. */
bool dns_pin(const char *line, const char **why);

/* Whether dns_pin() would take the line, were its table not full; if not, *why says why. Pure. */
bool dns_pin_check(const char *line, const char **why);

/* Addresses of `host` (a name or an IP literal), their port set to `port`, in the order to try
 * them: IPv6 and IPv4 alternate (RFC 8305 section 4). `now` in milliseconds, monotonic. On
 * DNS_FOUND *count is 1 to DNS_ADDRESSES_MAX. Starts a question where none is under way; a table
 * full of questions under way gives DNS_WAIT. Answers hold for their time to live, but at least 5
 * seconds and at most an hour. A name that was found once stays known: when its time is over and no
 * server answers for two seconds, the last good addresses are given (RFC 8767). */
enum dns_result dns_lookup(const char *host, uint16_t port, int64_t now,
	union address out[DNS_ADDRESSES_MAX], size_t *count);

/* The address that a connection to the host was made to first: given first from now on, until the
 * name is looked up anew (RFC 8305 section 4 and 5). */
void dns_prefer(const char *host, const union address *address);

/* The loop's three: what to poll (at most DNS_POLL_MAX entries written, their count returned), when
 * to run at the latest (INT64_MAX: never), and running, which tries every descriptor by itself. A
 * server has one second to answer, then the next is asked too, all of them three times. */
#define DNS_POLL_MAX (DNS_QUESTIONS_MAX * DNS_SERVERS_MAX)
size_t dns_poll(struct pollfd out[DNS_POLL_MAX]);
int64_t dns_next(void);
void dns_run(int64_t now);

#endif
