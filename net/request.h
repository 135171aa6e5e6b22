/* net/request.h - a request for a range of a file (RFC 9110 section 14.2): its text (RFC 9112
 * section 3), and what a response means for it (RFC 9110 sections 13 to 15). */
#ifndef NET_REQUEST_H
#define NET_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/outcome.h"
#include "net/connect.h"
#include "net/response.h"
#include "net/url.h"

struct http_request {
	const struct url *url;
	const struct url *proxy; /* asked instead of the URL's host, by plain HTTP; NULL: none.
				  * Borrowed for as long as the connection lives */
	uint64_t first, last;	 /* the bytes asked for, both included */
	uint64_t size;		 /* of the pinned version; 0: none is pinned */
	const char *validator;	 /* the pinned version's strong ETag or Last-Modified, or NULL */
	const char *etag;	 /* the ETag, weak or not, that every response must have, or NULL */
	const char *userinfo;	 /* in place of the URL's own; NULL: that */
	const char *fields;	 /* more header fields, CRLF behind each; NULL: none */
	const char *user_agent;
	int64_t stall; /* milliseconds without a byte, or with next to none, until it fails */
	bool goes_on;  /* it asks for the rest of a range whose response was short: the milliseconds
			* with next to none go on too */
};

/* Writes the request for the bytes first to last of the file that `r` is for. Returns its size; if
 * that is not below `size`, the text is cut. */
size_t request_range(
	char *out, size_t size, const struct http_request *r, uint64_t first, uint64_t last);

/* Writes as many of `count` requests as fit whole, one behind the other: a packet for each would
 * cost both sides more. sizes[] gets the size of each. Returns their number. */
struct http_range {
	uint64_t first, last;
};
unsigned request_ranges(char *out, size_t size, const struct http_request *r,
	const struct http_range *ranges, unsigned count, size_t *sizes);

/* A request for a tunnel to the URL's host through the proxy (RFC 9110 section 9.3.6). */
size_t request_tunnel(char *out, size_t size, const struct http_request *r);

/* Judges a final response but for redirects. OUTCOME_OK: a 2xx to CONNECT, or a 206 with exactly
 * the range that was asked for, or the beginning of it, of the pinned version; its body is to be
 * read. OUTCOME_CHANGED: it has another size or validator than that version; a response that only
 * lacks them is OUTCOME_REFUSED. Else a sentence for a person is written on `why`, in at most
 * JUDGED_SIZE bytes. */
#define JUDGED_SIZE 256
enum outcome request_judge(
	const struct http_request *q, const struct response *r, char why[JUDGED_SIZE]);

/* What a server may want that has closed the connection or answered 400 to a request in the clear,
 * as the end of a sentence; empty for port 80, which is never one of TLS. */
const char *request_hint(const struct http_request *q);

/* Where a request goes, for a person: the host, the proxy if there is one, and the address (NULL:
 * none was found) that was tried. Empty without an address and a proxy. Returns `out`. */
#define REQUEST_SERVER_MAX (HOST_MAX + AUTHORITY_MAX + INET6_ADDRSTRLEN + 32)
const char *request_server(
	char out[REQUEST_SERVER_MAX], const struct http_request *r, const union address *address);

/* For -d: a request for this range has been sent. */
void request_log(const struct http_request *r, uint64_t first, uint64_t last);

#endif
