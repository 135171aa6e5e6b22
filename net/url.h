/* net/url.h - http and https URLs (RFC 3986, RFC 9110 section 4.2): parse, resolve, expand. Pure. */
#ifndef NET_URL_H
#define NET_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct url {
	bool https;
	bool literal;	      /* the host is an IP address */
	char host[HOST_MAX];  /* lower case; an IPv6 address without its brackets */
	uint16_t port;	      /* 1 to 65535 */
	char target[URL_MAX]; /* path and query as the request line carries them: begins with '/' */
	char userinfo[256];   /* percent-decoded "user:password", or empty; never to be logged */
};

/* Parses an absolute URL. A fragment is dropped; bytes that a URL cannot hold (controls, blanks,
 * non-ASCII) are refused. On failure returns false and *why is a static sentence. */
bool url_parse(struct url *out, const char *text, const char **why);

/* Resolves a Location field against the URL that it came from (RFC 3986 section 5): absolute,
 * scheme-relative, absolute-path, relative-path and query-only references, dot segments removed.
 * Userinfo is carried over only to the same scheme, host and port; https to http is refused. */
bool url_resolve(struct url *out, const struct url *base, const char *reference, const char **why);

/* Whether two URLs name the same origin: scheme, host, port. */
bool url_same_origin(const struct url *a, const struct url *b);

/* Writes the URL without userinfo for a person; cut if longer than `size`. Returns `out`. */
const char *url_text(char *out, size_t size, const struct url *u);

/* Writes "host:port", the port left out where it is the scheme's own, an IPv6 address in brackets:
 * the value of a Host field. Returns `out`; size HOST_MAX + 16 always suffices. */
const char *url_authority(char *out, size_t size, const struct url *u);

/* Builds the URL text of an image: %c in `base` stands for the cookie key (but %c and a hexadecimal
 * digit is a percent-encoded byte, and is kept like the others), %v for the volume or domain; to a
 * base without %c that ends in '/' the cookie key is appended. Keys are any bytes; those outside
 * RFC 3986's "unreserved" are percent-encoded, but '/' of a cookie key stays, since an image may
 * lie in a folder. A key with a segment "." or ".." is refused. Returns false, with *why a static
 * sentence, when it is refused or does not fit. */
bool url_expand(char *out, size_t size, const char *base, const void *cookie, size_t cookie_size,
	const char *volume, const char **why);

#endif
