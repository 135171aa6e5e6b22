/* net/response.h - a response taken apart: its head (RFC 9112 sections 4 and 5) and the chunked
 * coding of its body (section 7.1). Pure functions over the caller's buffers; what is ambiguous is
 * refused, never guessed. */
#ifndef NET_RESPONSE_H
#define NET_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/limits.h"

struct response {
	int status;	 /* 100 to 999 */
	int minor;	 /* HTTP/1.minor */
	bool closing;	 /* Connection: close */
	bool keep_alive; /* Connection: keep-alive */
	bool persistent; /* what both and the version come to (RFC 9112 section 9.3) */
	bool chunked;	 /* Transfer-Encoding: chunked, the only coding taken */
	int64_t length;	 /* Content-Length; -1: none */
	bool has_range;	 /* Content-Range: bytes first-last/total */
	uint64_t first;	 /* first <= last < total */
	uint64_t last;
	int64_t total;	     /* the file's size, from either form of Content-Range; -1: unknown */
	bool multipart;	     /* Content-Type: multipart/...: the body is not the file's bytes */
	bool html;	     /* Content-Type: text/html */
	bool etag_is_strong; /* an entity-tag without W/ */
	int64_t retry_after; /* Retry-After in seconds, a date counted from the Date field;
			      * -1: none */
	int64_t date, retry_date; /* Date, and a date in Retry-After, in seconds since 1970; -1:
				   * none */
	const char *location;	  /* Location, inside the head; NULL: none */
	size_t location_size;	  /* its bytes; no NUL follows */
	unsigned seen;		  /* response.c's: a bit for each field that has come */
	bool to_connect;	  /* it answers CONNECT */

	char encoding[24]; /* the first of Content-Encoding that changes bytes, cut to fit; empty:
			    * none. "aws-chunked" tells how they came to the server once */
	char schemes[48];  /* of WWW-Authenticate and Proxy-Authenticate, those that fit */
	char last_modified[DATE_MAX]; /* as sent; empty: none */
	char etag[VALIDATOR_MAX]; /* with its quotes; a longer one as a weak one with a hash; empty:
				   * none */
};

/* Parses a head at the beginning of `text`. Returns its size, the empty line included; 0 if `size`
 * bytes do not hold all of it yet; -1 if it is malformed, and then *why is a static sentence.
 * Refused are: folded and nameless fields, blanks before the colon, NUL and other controls, each
 * of the fields above that comes twice (but for the lists Connection and Content-Encoding, and for
 * Date and Retry-After, of which the first counts), a listed Content-Length, Content-Length beside
 * Transfer-Encoding, codings other than chunked, numbers over 2^63 - 1, lines that end in LF beside
 * others in CRLF. One empty line before it is skipped. */
ssize_t response_parse(struct response *out, const char *text, size_t size, const char **why);

/* The same for the answer to CONNECT: of a 2xx Content-Length and Transfer-Encoding are ignored
 * (RFC 9110 section 9.3.6). */
ssize_t response_parse_connect(
	struct response *out, const char *text, size_t size, const char **why);

/* Whether it leads to another URL (RFC 9110 section 15.4). */
static inline bool response_redirects(const struct response *r)
{
	return (r->status >= 301 && r->status <= 303) || r->status == 307 || r->status == 308;
}

/* Whether the body ends before the connection does. */
static inline bool response_is_delimited(const struct response *r)
{
	return r->chunked || r->length >= 0;
}

/* What Retry-After asks for, in milliseconds; 0: nothing. A date is counted by the server's clock,
 * or by ours if it sent none. */
int64_t response_retry_after(const struct response *r);

/* A decoder's place in a chunked body; all zero at the beginning of the body. */
struct chunked {
	uint64_t left; /* bytes of this chunk's data still to come */
	unsigned state;
	unsigned line; /* bytes of this line or trailer section so far: an endless one is refused */
	bool ended;    /* CHUNKED_END has been returned */
};

enum chunked_result { CHUNKED_MORE, CHUNKED_END, CHUNKED_MALFORMED };

/* Decodes from in[0..in_size) to out[0..room) until either is used up or the body ends. *used bytes
 * of `in` have become *made bytes of `out`. After CHUNKED_END the bytes from *used on are not part
 * of the body. Behind a chunk's size only CRLF, or well-formed extensions before it, are taken. */
enum chunked_result chunked_decode(struct chunked *c, const char *in, size_t in_size, size_t *used,
	char *out, size_t room, size_t *made);

#endif
