#include "net/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- pieces ---- */

static bool is_unreserved(unsigned char c)
{
	return c < 0x80 && (isalnum(c) || strchr("-._~", c) != NULL) && c != '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Every byte a URL may hold: printable ASCII without the blank and the delimiters of RFC 3986
 * appendix C that never stand in one. */
static bool has_only_url_bytes(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text >= 0x7f || strchr("\"<>\\^`{|}", *text))
			return false;
	return true;
}

static bool percent_decode(char *out, size_t size, const char *in, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = in[i];
		if (c == '%') {
			if (len - i < 3 || hex_digit(in[i + 1]) < 0 || hex_digit(in[i + 2]) < 0)
				return false;
			c = (char)(hex_digit(in[i + 1]) << 4 | hex_digit(in[i + 2]));
			i += 2;
		}
		if (c == '\0' || n + 1 >= size)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

static bool fail(const char **why, const char *reason)
{
	*why = reason;
	return false;
}

/* ---- authority ---- */

static bool parse_port(uint16_t *out, const char *text, size_t len)
{
	unsigned port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	*out = (uint16_t)port;
	return port >= 1 && port <= 65535;
}

static bool is_address(int family, const char *text)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(family, text, address) == 1;
}

static bool is_host_name(const char *name)
{
	for (const char *p = name; *p; p++) {
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_' && *p != '.')
			return false;
		if (*p == '.' && (p == name || p[1] == '.' || p[1] == '\0'))
			return false;
	}
	return true;
}

/* A name whose last label is a number would be an address to other programs (127.1, 0x7f.1). */
static bool looks_like_address(const char *name)
{
	const char *label = strrchr(name, '.');

	label = label ? label + 1 : name;
	return isdigit((unsigned char)*label) &&
	       label[strspn(label, "0123456789abcdefxABCDEFX")] == '\0';
}

static bool set_host(
	struct url *out, const char *text, size_t len, bool bracketed, const char **why)
{
	if (len > 1 && !bracketed && text[len - 1] == '.')
		len--; /* the root's dot: the same name, and certificates do not carry it */
	if (len == 0)
		return fail(why, "the host is missing");
	if (len >= sizeof(out->host))
		return fail(why, "the host is too long");
	for (size_t i = 0; i < len; i++)
		out->host[i] = (char)tolower((unsigned char)text[i]);
	out->host[len] = '\0';
	out->literal = is_address(bracketed ? AF_INET6 : AF_INET, out->host);
	if (bracketed && !out->literal)
		return fail(why, "what stands in brackets is not an IPv6 address");
	if (!out->literal && (!is_host_name(out->host) || looks_like_address(out->host)))
		return fail(why, "the host is neither a name nor an IP address");
	return true;
}

static bool parse_authority(struct url *out, const char *text, size_t len, const char **why)
{
	const char *at = memrchr(text, '@', len);
	const char *host, *colon;
	size_t host_len;
	bool bracketed;

	out->userinfo[0] = '\0';
	if (at) {
		if (!percent_decode(
			    out->userinfo, sizeof(out->userinfo), text, (size_t)(at - text)))
			return fail(
				why, "the user name and password are too long or badly encoded");
		len -= (size_t)(at + 1 - text);
		text = at + 1;
	}
	bracketed = len > 0 && *text == '[';
	host = bracketed ? text + 1 : text;
	if (bracketed) {
		const char *end = memchr(text, ']', len);
		if (!end)
			return fail(why, "the bracket of the IPv6 address is not closed");
		host_len = (size_t)(end - host);
		colon = end + 1 < text + len ? end + 1 : NULL;
		if (colon && *colon != ':')
			return fail(why, "something stands between the IPv6 address and the port");
	} else {
		colon = memchr(text, ':', len);
		host_len = colon ? (size_t)(colon - text) : len;
	}
	out->port = out->https ? 443 : 80;
	if (colon && colon + 1 < text + len &&
		!parse_port(&out->port, colon + 1, (size_t)(text + len - colon - 1)))
		return fail(why, "the port is not a number from 1 to 65535");
	return set_host(out, host, host_len, bracketed, why);
}

/* ---- path ---- */

/* Every percent sign begins a pair of hexadecimal digits. */
static bool is_well_encoded(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '%' &&
			(len - i < 3 || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0))
			return false;
	return true;
}

/* Removes "." and ".." segments of the path in place; the query stays (RFC 3986 section 5.2.4). */
static void remove_dot_segments(char *target)
{
	char *query = strchrnul(target, '?');
	char *in = target, *out = target;

	while (in < query) {
		char *end = in + 1; /* *in is the '/' before the segment */
		size_t len;

		while (end < query && *end != '/')
			end++;
		len = (size_t)(end - in - 1);
		if (len == 2 && memcmp(in + 1, "..", 2) == 0) {
			while (out > target && *--out != '/')
				;
			if (end == query)
				*out++ = '/';
		} else if (len == 1 && in[1] == '.') {
			if (end == query)
				*out++ = '/';
		} else {
			memmove(out, in, (size_t)(end - in));
			out += end - in;
		}
		in = end;
	}
	if (out == target)
		*out++ = '/';
	memmove(out, query, strlen(query) + 1);
}

/* Sets the target from `len` bytes of path and query, a '/' put before them if they have none. */
static bool set_target(struct url *out, const char *text, size_t len, const char **why)
{
	size_t slash = len == 0 || *text != '/';

	if (len + slash >= sizeof(out->target))
		return fail(why, "the path is too long");
	if (!is_well_encoded(text, len))
		return fail(why, "a percent sign is not followed by two hexadecimal digits");
	memmove(out->target + slash, text, len);
	if (slash)
		out->target[0] = '/';
	out->target[len + slash] = '\0';
	remove_dot_segments(out->target);
	return true;
}

/* ---- the public functions ---- */

bool url_parse(struct url *out, const char *text, const char **why)
{
	const char *authority;
	size_t authority_len, target_len;

	if (!has_only_url_bytes(text))
		return fail(why, "a byte stands in it that a URL cannot hold");
	if (strncasecmp(text, "https://", 8) == 0)
		out->https = true;
	else if (strncasecmp(text, "http://", 7) == 0)
		out->https = false;
	else
		return fail(why, "it does not begin with http:// or https://");
	authority = text + (out->https ? 8 : 7);
	authority_len = strcspn(authority, "/?#");
	if (!parse_authority(out, authority, authority_len, why))
		return false;
	target_len = strcspn(authority + authority_len, "#");
	return set_target(out, authority + authority_len, target_len, why);
}

/* Path and query of a relative reference, put behind the base's folder or path. */
static bool resolve_path(
	struct url *out, const struct url *base, const char *reference, const char **why)
{
	size_t base_len = strcspn(base->target, "?");
	size_t len = strcspn(reference, "#");
	char joined[2 * URL_MAX];

	if (*reference == '/' || len >= URL_MAX)
		return set_target(out, reference, len, why);
	if (len == 0)
		base_len = strlen(base->target); /* the same document: the query too */
	else if (*reference != '?')
		while (base->target[base_len - 1] != '/')
			base_len--;
	memcpy(joined, base->target, base_len);
	memcpy(joined + base_len, reference, len);
	return set_target(out, joined, base_len + len, why);
}

bool url_resolve(struct url *out, const struct url *base, const char *reference, const char **why)
{
	size_t scheme = strspn(
		reference, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-.");

	if (!has_only_url_bytes(reference))
		return fail(why, "a byte stands in it that a URL cannot hold");
	if (scheme > 0 && reference[scheme] == ':') {
		if (!url_parse(out, reference, why))
			return false;
	} else if (strncmp(reference, "//", 2) == 0) {
		size_t len = strcspn(reference + 2, "/?#");
		out->https = base->https;
		if (!parse_authority(out, reference + 2, len, why))
			return false;
		if (!set_target(out, reference + 2 + len, strcspn(reference + 2 + len, "#"), why))
			return false;
	} else {
		out->https = base->https;
		out->literal = base->literal;
		out->port = base->port;
		memcpy(out->host, base->host, sizeof(out->host));
		out->userinfo[0] = '\0';
		if (!resolve_path(out, base, reference, why))
			return false;
	}
	if (base->https && !out->https)
		return fail(why, "it leads from https to http");
	if (out->userinfo[0] == '\0' && url_same_origin(out, base))
		memcpy(out->userinfo, base->userinfo, sizeof(out->userinfo));
	return true;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

const char *url_authority(char *out, size_t size, const struct url *u)
{
	bool v6 = strchr(u->host, ':') != NULL;
	char port[8] = "";

	if (u->port != (u->https ? 443 : 80))
		snprintf(port, sizeof(port), ":%u", (unsigned)u->port);
	snprintf(out, size, "%s%s%s%s", v6 ? "[" : "", u->host, v6 ? "]" : "", port);
	return out;
}

const char *url_text(char *out, size_t size, const struct url *u)
{
	char authority[HOST_MAX + 16];

	snprintf(out, size, "%s://%s%s", u->https ? "https" : "http",
		url_authority(authority, sizeof(authority), u), u->target);
	return out;
}

/* ---- expanding a BASE ---- */

struct text {
	char *at, *end; /* the next byte, and the place of the NUL at the latest */
	bool full;
};

static void put(struct text *t, char c)
{
	if (t->at < t->end)
		*t->at++ = c;
	else
		t->full = true;
}

static void put_encoded(struct text *t, const unsigned char *key, size_t len, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		if (is_unreserved(key[i]) || (keep_slash && key[i] == '/')) {
			put(t, (char)key[i]);
		} else {
			put(t, '%');
			put(t, digits[key[i] >> 4]);
			put(t, digits[key[i] & 15]);
		}
	}
}

/* A segment "." or ".." would climb out of the folder that the configuration names. */
static bool has_dot_segment(const char *key, size_t len)
{
	size_t begin = 0;

	for (size_t i = 0; i <= len; i++) {
		if (i < len && key[i] != '/')
			continue;
		if ((i - begin == 1 || i - begin == 2) && key[begin] == '.' && key[i - 1] == '.')
			return true;
		begin = i + 1;
	}
	return false;
}

bool url_expand(char *out, size_t size, const char *base, const void *cookie, size_t cookie_size,
	const char *volume, const char **why)
{
	struct text t = {.at = out, .end = out + size - 1};
	size_t len = strlen(base), volume_len = strlen(volume);
	bool placed = false;

	if (has_dot_segment(cookie, cookie_size) || has_dot_segment(volume, volume_len))
		return fail(why, "the name has a segment \".\" or \"..\"");
	for (const char *p = base; *p; p++) {
		if (p[0] == '%' && p[1] == 'c' && hex_digit(p[2]) < 0) {
			put_encoded(&t, cookie, cookie_size, true);
			placed = true;
			p++;
		} else if (p[0] == '%' && p[1] == 'v') {
			put_encoded(&t, (const unsigned char *)volume, volume_len, false);
			p++;
		} else {
			put(&t, *p);
		}
	}
	if (!placed && base[len - 1] == '/')
		put_encoded(&t, cookie, cookie_size, true);
	*t.at = '\0';
	return t.full ? fail(why, "the URL of this name is too long") : true;
}
