/* net/url.h - http and https URLs (RFC 3986, RFC 9110 section 4.2): parse, resolve, expand. Pure;
 * what parses returns NULL, or a static sentence that says what is wrong. */
#ifndef NET_URL_H
#define NET_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct url {
	bool https;
	bool literal;	      /* the host is an IP address */
	bool absolute;	      /* a dot ended the host: it is no part of a name in a domain */
	uint16_t port;	      /* 1 to 65535 */
	char host[HOST_MAX];  /* lower case; an IPv6 address without its brackets */
	char userinfo[256];   /* percent-decoded "user:password", or empty; never to be logged */
	char target[URL_MAX]; /* path and query as the request line carries them: begins with '/' */
};

/* The bytes of it that count, which reach to the end of its target. */
size_t url_size(const struct url *u);

/* The reason that an URL is over one of our limits: compare its address. */
extern const char url_too_long[];

/* Parses an absolute URL. A fragment is dropped; bytes that a URL cannot hold (controls, blanks,
 * non-ASCII) are refused. */
const char *url_parse(struct url *out, const char *text);

/* Resolves a Location field against the URL that it came from (RFC 3986 section 5): absolute,
 * scheme-relative, absolute-path, relative-path and query-only references, dot segments removed.
 * Bytes that no URL can hold are percent-encoded, as browsers do, and a '%' that encodes none.
 * Userinfo is carried over only to the same scheme, host and port; https to http is refused. */
const char *url_resolve(struct url *out, const struct url *base, const char *reference);

/* Puts a suffix behind the path. */
const char *url_extend(struct url *u, const char *suffix);

/* Whether the query has a parameter by which storage services and caches sign a URL, such as
 * X-Amz-Signature, sig, access_token or hdnts. */
bool url_is_signed(const struct url *u);

/* The host as DNS is asked for it: with the dot of one that is absolute. Good until the
 * next call. */
const char *url_dns_name(const struct url *u);

/* Whether two URLs name the same origin: scheme, host, port. */
bool url_same_origin(const struct url *a, const struct url *b);

/* Writes the URL for a person, without userinfo and query, which may be secrets; cut if longer than
 * `size`. Returns `out`. */
const char *url_text(char *out, size_t size, const struct url *u);

/* The same for a text that may be no URL: "..." stands where userinfo or a query may have been. */
const char *url_redacted(char *out, size_t size, const char *text);

/* Writes "host:port", the port left out where it is the scheme's own, an IPv6 address in brackets:
 * the value of a Host field. Returns `out`; AUTHORITY_MAX bytes always suffice. */
#define AUTHORITY_MAX (HOST_MAX + 16)
const char *url_authority(char *out, size_t size, const struct url *u);

/* Builds the URL text of an image: %c in `base` stands for the cookie key (but %c and a hexadecimal
 * digit is a percent-encoded byte, and is kept like the others), %v for the volume or domain. To a
 * base without %c that ends in '/' the cookie key is appended. Keys are any bytes; those outside
 * RFC 3986's "unreserved" are percent-encoded, but '/' of a cookie key stays, since an image may
 * lie in a folder. A key with a segment "." or ".." is refused, and a text that does not fit. */
const char *url_expand(char *out, size_t size, const char *base, const void *cookie,
	size_t cookie_size, const char *volume);

/* Copies the last segment of the path of a text that url_parse() takes, up to `max` bytes, without
 * a NUL: the name of the one file there, "/" for a folder. Returns its size. */
size_t url_name(char *out, size_t max, const char *text);

/* Whether such a base names the same file whatever the keys are. */
bool url_is_file(const char *base);

#endif
