#include "net/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/minmax.h"
#include "base/text.h"

/* ---- pieces ---- */

static bool is_unreserved(unsigned char c)
{
	return c < 0x80 && (isalnum(c) || strchr("-._~", c) != NULL) && c != '\0';
}

/* Printable ASCII without the blank and the delimiters of RFC 3986 appendix C. */
static bool is_url_byte(char c)
{
	return c > ' ' && c < 0x7f && !strchr("\"<>\\^`{|}", c);
}

_Static_assert(URL_MAX == 4864, "as the sentence says");
const char url_too_long[] = "it is longer than 4863 bytes";

size_t url_size(const struct url *u)
{
	return offsetof(struct url, target) + strlen(u->target) + 1;
}

static bool percent_decode(char *out, size_t size, const char *at, const char *end)
{
	size_t n = 0;

	while (at < end) {
		int c = percent_take(&at, end);

		if (c <= 0 || n + 1 >= size)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return true;
}

struct text {
	char *at, *end; /* the next byte, and the place of the NUL at the latest */
	bool full;
};

static void put_byte(struct text *t, char c)
{
	if (t->at < t->end)
		*t->at++ = c;
	else
		t->full = true;
}

static void put_encoded(struct text *t, const unsigned char *key, size_t len, bool keep_slash)
{
	static const char *const digits = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		if (is_unreserved(key[i]) || (keep_slash && key[i] == '/')) {
			put_byte(t, (char)key[i]);
		} else {
			put_byte(t, '%');
			put_byte(t, digits[key[i] >> 4]);
			put_byte(t, digits[key[i] & 15]);
		}
	}
}

/* ---- authority; the parsers return NULL, or what is wrong ---- */

static bool parse_port(uint16_t *out, const char *text, const char *end)
{
	uint64_t port;

	if (end - text > 5 || !number_take(&text, end, 65535, &port) || text < end)
		return false;
	*out = (uint16_t)port;
	return port >= 1;
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

static const char *set_host(struct url *out, const char *text, size_t len, bool bracketed)
{
	struct in6_addr address;

	out->absolute = len > 1 && !bracketed && text[len - 1] == '.';
	len -= out->absolute; /* the root's dot: the same name, and certificates do not carry it */
	if (len == 0)
		return "the host is missing";
	if (len >= sizeof(out->host))
		return "the host is too long";
	for (size_t i = 0; i < len; i++)
		out->host[i] = (char)tolower((unsigned char)text[i]);
	out->host[len] = '\0';
	out->literal = inet_pton(bracketed ? AF_INET6 : AF_INET, out->host, &address) == 1;
	if (bracketed && !out->literal)
		return "the brackets hold no IPv6 address";
	if (!out->literal && (!is_host_name(out->host) || looks_like_address(out->host)))
		return "the host is neither a name nor an IP address";
	return NULL;
}

static const char *parse_authority(struct url *out, const char *text, size_t len)
{
	const char *end = text + len, *at = memrchr(text, '@', len), *host_end, *port;
	bool bracketed;

	out->userinfo[0] = '\0';
	if (at && !percent_decode(out->userinfo, sizeof(out->userinfo), text, at))
		return "user name and password are too long or badly encoded";
	if (at)
		text = at + 1;
	bracketed = text < end && *text == '[';
	text += bracketed;
	host_end = memchr(text, bracketed ? ']' : ':', (size_t)(end - text));
	if (bracketed && !host_end)
		return "the bracket of the IPv6 address is not closed";
	host_end = host_end ? host_end : end;
	port = host_end + bracketed;
	if (port < end && *port != ':')
		return "the port is not right behind the IPv6 address";
	out->port = out->https ? 443 : 80;
	if (end - port > 1 && !parse_port(&out->port, port + 1, end))
		return "the port is not a number from 1 to 65535";
	return set_host(out, text, (size_t)(host_end - text), bracketed);
}

/* ---- path ---- */

static bool is_well_encoded(const char *at, const char *end)
{
	while (at < end)
		if (percent_take(&at, end) < 0)
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
static const char *set_target(struct url *out, const char *text, size_t len)
{
	size_t slash = len == 0 || *text != '/';

	if (len + slash >= sizeof(out->target))
		return url_too_long;
	if (!is_well_encoded(text, text + len))
		return "a percent sign without two hexadecimal digits";
	memmove(out->target + slash, text, len);
	if (slash)
		out->target[0] = '/';
	out->target[len + slash] = '\0';
	remove_dot_segments(out->target);
	return NULL;
}

/* ---- the public functions ---- */

/* Parses what follows the "//" behind a scheme. */
static const char *parse_after_scheme(struct url *out, const char *text)
{
	size_t authority = strcspn(text, "/?#");
	const char *why = parse_authority(out, text, authority);

	text += authority;
	return why ? why : set_target(out, text, strcspn(text, "#"));
}

const char *url_parse(struct url *out, const char *text)
{
	for (const char *c = text; *c; c++)
		if (!is_url_byte(*c))
			return "it holds a byte that no URL can hold";
	out->https = strncasecmp(text, "https://", 8) == 0;
	if (!out->https && strncasecmp(text, "http://", 7) != 0)
		return "it does not begin with http:// or https://";
	return parse_after_scheme(out, text + 7 + out->https);
}

/* Path and query of a relative reference, put behind the base's folder or path. */
static const char *resolve_path(struct url *out, const struct url *base, const char *reference)
{
	size_t base_len = strcspn(base->target, "?");
	size_t len = strcspn(reference, "#");

	if (*reference == '/')
		return set_target(out, reference, len);
	if (len == 0)
		base_len = strlen(base->target); /* the same document: the query too */
	else if (*reference != '?')
		while (base->target[base_len - 1] != '/')
			base_len--;
	if (base_len + len >= sizeof(out->target))
		return url_too_long;
	memcpy(out->target, base->target, base_len);
	memcpy(out->target + base_len, reference, len);
	return set_target(out, out->target, base_len + len);
}

/* Percent-encodes the bytes that no URL can hold, and as other programs do a '%' that encodes none.
 * False: it does not fit. */
static bool encode(char out[URL_MAX], const char *text)
{
	struct text t = {.at = out, .end = out + URL_MAX - 1};

	for (; *text; text++)
		if (is_url_byte(*text) &&
			(*text != '%' || (hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0)))
			put_byte(&t, *text);
		else
			put_encoded(&t, (const unsigned char *)text, 1, false);
	*t.at = '\0';
	return !t.full;
}

const char *url_resolve(struct url *out, const struct url *base, const char *location)
{
	char reference[URL_MAX];
	const char *why = url_too_long;
	size_t scheme;

	if (!encode(reference, location))
		return why;
	/* Of these only a scheme may be before a colon (RFC 3986 section 4.2). */
	scheme = strspn(reference, token_characters);
	if (scheme > 0 && reference[scheme] == ':') {
		why = url_parse(out, reference);
	} else if (strncmp(reference, "//", 2) == 0) {
		out->https = base->https;
		why = parse_after_scheme(out, reference + 2);
	} else {
		memcpy(out, base, offsetof(struct url, target));
		why = resolve_path(out, base, reference);
	}
	if (!why && base->https && !out->https)
		why = "it leads from https to http";
	if (!why && out->userinfo[0] == '\0' && url_same_origin(out, base))
		memcpy(out->userinfo, base->userinfo, sizeof(out->userinfo));
	return why;
}

const char *url_extend(struct url *u, const char *suffix)
{
	size_t size = strlen(suffix);
	char *query = strchrnul(u->target, '?');

	if (strlen(u->target) + size >= sizeof(u->target))
		return url_too_long;
	memmove(query + size, query, strlen(query) + 1);
	memcpy(query, suffix, size);
	return NULL;
}

bool url_is_signed(const struct url *u)
{
	static const char names[][10] = {
		"signature", "token", "sig", "sign", "hmac", "md5", "hdnts", "hdnea", "auth_key"};
	const char *end;

	for (const char *at = strchrnul(u->target, '?'); *at; at = end) {
		at++;
		end = at + strcspn(at, "&");
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			size_t size = strlen(names[i]), name = strcspn(at, "=&");
			bool ends = name > size && strchr("-_", at[name - size - 1]);

			if ((name == size || ends) &&
				strncasecmp(at + name - size, names[i], size) == 0)
				return true;
		}
	}
	return false;
}

/* The longest name loses its dot, but is too long for a search domain as well. */
const char *url_dns_name(const struct url *u)
{
	static char name[HOST_MAX];
	char *end = stpcpy(name, u->host);

	if (u->absolute && !u->literal && end < name + HOST_MAX - 1)
		strcpy(end, ".");
	return name;
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
	char authority[AUTHORITY_MAX];

	snprintf(out, size, "%s://%s%.*s", u->https ? "https" : "http",
		url_authority(authority, sizeof(authority), u), (int)strcspn(u->target, "?"),
		u->target);
	return out;
}

const char *url_redacted(char *out, size_t size, const char *text)
{
	const char *end = text + strcspn(text, "?#"), *at = strrchr(text, '@');
	const char *scheme = strstr(text, "://");
	int kept = at && scheme && scheme < at && scheme - text < 30 ? (int)(scheme - text) + 3 : 0;

	if (at > end) /* '?' may be a password's */
		at = end = "";
	snprintf(out, size, "%.*s%s%.*s%s", kept, text, at ? "..." : "",
		(int)(end - (at ? at : text)), at ? at : text, *end == '?' ? "?..." : "");
	return out;
}

/* ---- expanding a BASE ---- */

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

const char *url_expand(char *out, size_t size, const char *base, const void *cookie,
	size_t cookie_size, const char *volume)
{
	struct text t = {.at = out, .end = out + size - 1};
	size_t len = strlen(base), volume_len = strlen(volume);
	bool placed = false;

	if (has_dot_segment(cookie, cookie_size) || has_dot_segment(volume, volume_len))
		return "the name has a segment \".\" or \"..\"";
	for (const char *p = base; *p; p++) {
		if (p[0] == '%' && p[1] == 'c' && hex_digit(p[2]) < 0) {
			put_encoded(&t, cookie, cookie_size, true);
			placed = true;
			p++;
		} else if (p[0] == '%' && p[1] == 'v') {
			put_encoded(&t, (const unsigned char *)volume, volume_len, false);
			p++;
		} else {
			put_byte(&t, *p);
		}
	}
	if (!placed && len > 0 && base[len - 1] == '/')
		put_encoded(&t, cookie, cookie_size, true);
	*t.at = '\0';
	return t.full ? "the URL of this name is too long" : NULL;
}

bool url_is_file(const char *base)
{
	for (const char *p = base; (p = strchr(p, '%')); p++)
		if (p[1] == 'v' || (p[1] == 'c' && hex_digit(p[2]) < 0))
			return false;
	return base[strlen(base) - 1] != '/';
}

size_t url_name(char *out, size_t max, const char *text)
{
	struct url url;
	size_t end, from;

	if (url_parse(&url, text))
		return 0;
	end = from = strcspn(url.target, "?");
	while (from > 1 && url.target[from - 1] != '/')
		from--;
	if (from == end)
		from--;
	end = from + (size_t)min_u64(end - from, max);
	memcpy(out, url.target + from, end - from);
	return end - from;
}
