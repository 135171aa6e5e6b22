/* net/names.h - what is known of names without a question: pins, IP literals, localhost (RFC 6761),
 * /etc/hosts; and whom to ask about others: /etc/resolv.conf and the kernel's /proc/net/pnp. dns.h
 * says when each is read and counts. */
#ifndef NET_NAMES_H
#define NET_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/connect.h"
#include "net/dns_packet.h"

/* The two questions that are asked about each name. */
enum family { V4, V6, FAMILIES };

struct resolvers {
	union address server[DNS_SERVERS_MAX];
	size_t count;
	unsigned searches, ndots;	   /* resolv.conf(5) */
	char search[DNS_SEARCH_BYTES_MAX]; /* a NUL behind each domain */
};

/* 127.0.0.1 stands in from_pnp until the kernel has named a server. */
extern struct resolvers from_resolv, from_pnp;

/* Reads the files, and forgets the pins. */
void names_read(void);

/* Reads /proc/net/pnp again: its descriptor is kept, since the path may lead elsewhere after a
 * change of the root directory. False, and from_pnp stays, if it names no server. */
bool names_read_pnp(void);

/* Adds the pin of a line `resolve HOST:PORT:ADDRESS`: the address (an IPv6 one with or without
 * brackets) is used for that host and port, no question asked. Pins for the same host and port add
 * up. Returns NULL; or a static sentence if the line is malformed or the table full. */
const char *names_pin(const char *line);

/* Only checks the line's form. Pure. */
const char *names_pin_check(const char *line);

/* The addresses of a host for which no server need be asked. False: there are none. */
bool names_find(struct found found[FAMILIES], const char *host, uint16_t port);

/* Writes addresses with that port in the order to try them: IPv6 and IPv4 alternate, and neither
 * can crowd out the other. Returns their count. */
size_t names_interleave(
	union address out[DNS_ADDRESSES_MAX], const struct found found[FAMILIES], uint16_t port);

#endif
