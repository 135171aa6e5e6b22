/* net/dns_packet.h - a question and its answers as they go over the wire (RFC 1035 section 4).
 * Pure.
 *
 * Messages are written and read by hand. musl's ns_parserr() would do, but for its dn_expand(),
 * which copies a label's bytes as they are: a label that holds a NUL or a dot then compares equal
 * to another name. Here names are compared in their wire form, and malformed messages are never
 * used.
 */
#ifndef NET_DNS_PACKET_H
#define NET_DNS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/limits.h"

#define DNS_WIRE_MAX	255
#define DNS_HEADER_SIZE 12
#define DNS_QUERY_MAX	(DNS_HEADER_SIZE + DNS_WIRE_MAX + 4)

enum { TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28, CLASS_IN = 1 };

/* Addresses of one family, in network byte order. */
struct found {
	size_t count;
	uint32_t ttl;	/* seconds, of the shortest-lived record on the way */
	unsigned rcode; /* of the message that they came in (RFC 1035 section 4.1.1) */
	unsigned char bytes[DNS_ADDRESSES_MAX][16];
};

enum { RCODE_OK = 0, RCODE_FAILED = 2, RCODE_NO_NAME = 3, RCODE_REFUSED = 5 };

/* Adds one, of `size` bytes; those beyond DNS_ADDRESSES_MAX are dropped. */
void dns_add_found(struct found *to, const void *bytes, size_t size);

struct dns_message {
	const unsigned char *bytes;
	size_t len;
};

/* A name as it stands in a message, uncompressed and in lower case. */
struct wire {
	unsigned char bytes[DNS_WIRE_MAX];
	size_t len;
};

/* Writes a host name as it goes over the wire. False if it has an empty or overlong label. */
bool dns_write_name(struct wire *out, const char *name);

struct query {
	struct wire name;
	uint16_t id;
	uint16_t type;
};

/* Writes a query. Returns its size. */
size_t dns_write_query(unsigned char out[DNS_QUERY_MAX], const struct query *q);

enum answer {
	ANSWER_FOREIGN,	  /* to another query: to be ignored */
	ANSWER_FAILED,	  /* the server does not know, or its message is malformed */
	ANSWER_TRUNCATED, /* incomplete: all of it comes over TCP */
	ANSWER_NONE,	  /* no such name, or no address of this family */
	ANSWER_FOUND,
};

/* Judges a message that came from the server that was asked. `out` is set if ANSWER_FOUND; its
 * rcode also if ANSWER_FAILED. */
enum answer dns_read_answer(struct found *out, const struct query *q, const struct dns_message *m);

#endif
