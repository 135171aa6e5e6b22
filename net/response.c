#include "net/response.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/date.h"
#include "base/hash.h"

/* Longest chunk-size line with its extensions, and longest trailer section. */
#define CHUNK_LINE_MAX 1024
#define TRAILER_MAX    HEAD_MAX

/* A piece of the head: not NUL-terminated. */
struct span {
	const char *at;
	size_t size;
};

static bool fail(const char **why, const char *reason)
{
	*why = reason;
	return false;
}

/* ---- spans ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
	while (s.size > 0 && is_blank(s.at[0]))
		s.at++, s.size--;
	while (s.size > 0 && is_blank(s.at[s.size - 1]))
		s.size--;
	return s;
}

static bool span_is(struct span s, const char *word)
{
	return s.size == strlen(word) && strncasecmp(s.at, word, s.size) == 0;
}

/* Takes the element before the next comma off a list; false at its end. */
static bool next_element(struct span *list, struct span *element)
{
	const char *comma;

	if (list->size == 0)
		return false;
	comma = memchr(list->at, ',', list->size);
	element->at = list->at;
	element->size = comma ? (size_t)(comma - list->at) : list->size;
	list->at += element->size + (comma != NULL);
	list->size -= element->size + (comma != NULL);
	*element = trim(*element);
	return true;
}

/* Takes a decimal number up to 2^63 - 1 off the front. */
static bool take_number(struct span *s, uint64_t *out)
{
	uint64_t n = 0;
	size_t digits = 0;

	while (digits < s->size && isdigit((unsigned char)s->at[digits])) {
		unsigned digit = (unsigned)(s->at[digits] - '0');
		if (n > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
		digits++;
	}
	s->at += digits;
	s->size -= digits;
	*out = n;
	return digits > 0;
}

static bool take_char(struct span *s, char c)
{
	if (s->size == 0 || *s->at != c)
		return false;
	s->at++;
	s->size--;
	return true;
}

static bool copy_span(char *out, size_t room, struct span s)
{
	if (s.size >= room)
		return false;
	memcpy(out, s.at, s.size);
	out[s.size] = '\0';
	return true;
}

/* ---- fields ---- */

static bool parse_content_length(struct response *r, struct span value, const char **why)
{
	uint64_t n;

	if (r->length >= 0)
		return fail(why, "Content-Length is repeated");
	if (!take_number(&value, &n) || value.size > 0)
		return fail(why, "Content-Length is not one number");
	r->length = (int64_t)n;
	return true;
}

static bool parse_transfer_encoding(struct response *r, struct span value, const char **why)
{
	if (r->chunked || !span_is(value, "chunked"))
		return fail(why, "Transfer-Encoding is not just \"chunked\"");
	r->chunked = true;
	return true;
}

/* RFC 9110 section 14.4: "bytes first-last/total", "bytes first-last/" "*", "bytes *" "/total". */
static bool parse_content_range(struct response *r, struct span value, const char **why)
{
	uint64_t total;
	bool range;

	if (r->has_range || r->total >= 0)
		return fail(why, "Content-Range is repeated");
	if (value.size < 6 || strncasecmp(value.at, "bytes ", 6) != 0)
		return fail(why, "Content-Range is not in bytes");
	value.at += 6;
	value.size -= 6;
	range = !take_char(&value, '*');
	if (range && !(take_number(&value, &r->first) && take_char(&value, '-') &&
			     take_number(&value, &r->last)))
		return fail(why, "Content-Range is malformed");
	if (!take_char(&value, '/'))
		return fail(why, "Content-Range is malformed");
	if (!take_char(&value, '*')) {
		if (!take_number(&value, &total))
			return fail(why, "Content-Range is malformed");
		r->total = (int64_t)total;
	}
	if (value.size > 0)
		return fail(why, "Content-Range is malformed");
	if (range && (r->first > r->last || (r->total >= 0 && r->last >= (uint64_t)r->total)))
		return fail(why, "Content-Range contradicts itself");
	r->has_range = range;
	return true;
}

static bool parse_connection(struct response *r, struct span value, const char **why)
{
	struct span option;

	(void)why;
	while (next_element(&value, &option)) {
		if (span_is(option, "close"))
			r->closing = true;
		else if (span_is(option, "keep-alive"))
			r->keep_alive = true;
	}
	return true;
}

static bool parse_content_encoding(struct response *r, struct span value, const char **why)
{
	(void)why;
	if (value.size > 0 && !span_is(value, "identity"))
		r->encoded = true;
	return true;
}

static bool parse_content_type(struct response *r, struct span value, const char **why)
{
	(void)why;
	r->multipart = value.size >= 10 && strncasecmp(value.at, "multipart/", 10) == 0;
	r->html = value.size >= 9 && strncasecmp(value.at, "text/html", 9) == 0;
	return true;
}

/* An entity-tag without room for it: weak, since it cannot be sent back, but as different from
 * others as it was (FNV-1a, 64 bits; an attacker would rather send the old tag with new bytes). */
static void shorten_etag(struct response *r, struct span tag)
{
	uint64_t hash = hash_more(HASH_BEGIN, tag.at, tag.size);

	snprintf(r->etag, sizeof(r->etag), "W/\"%.60s~%016llx\"", tag.at + 1,
		(unsigned long long)hash);
}

static bool parse_etag(struct response *r, struct span value, const char **why)
{
	bool weak = value.size >= 2 && strncmp(value.at, "W/", 2) == 0;
	struct span tag = {value.at + 2 * weak, value.size - 2 * weak};

	(void)why;
	r->etag[0] = '\0';
	r->etag_is_strong = false;
	if (tag.size < 2 || tag.at[0] != '"' || tag.at[tag.size - 1] != '"' ||
		memchr(tag.at + 1, '"', tag.size - 2))
		return true; /* not an entity-tag: as if there were none */
	if (copy_span(r->etag, sizeof(r->etag), value))
		r->etag_is_strong = !weak;
	else
		shorten_etag(r, tag);
	return true;
}

static bool parse_last_modified(struct response *r, struct span value, const char **why)
{
	(void)why;
	copy_span(r->last_modified, sizeof(r->last_modified), value);
	return true;
}

static bool parse_location(struct response *r, struct span value, const char **why)
{
	(void)why;
	r->location = value.at;
	r->location_size = value.size;
	return true;
}

/* Takes a number of exactly `digits` digits and the text behind it off the front. */
static bool take_fixed(struct span *s, size_t digits, const char *behind, int64_t *out)
{
	struct span number = {s->at, digits};
	size_t size = strlen(behind);
	uint64_t n;

	if (s->size < digits + size || !take_number(&number, &n) || number.size > 0 ||
		memcmp(s->at + digits, behind, size) != 0)
		return false;
	s->at += digits + size;
	s->size -= digits + size;
	*out = (int64_t)n;
	return true;
}

/* RFC 9110 section 5.6.7, the form that all senders have to use: Sun, 06 Nov 1994 08:49:37 GMT.
 * Returns seconds since 1970, or -1. */
static int64_t parse_date(struct span s)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int64_t day, month = 0, year, hour, minute, second;

	if (s.size != 29)
		return -1;
	s.at += 5;
	s.size -= 5;
	if (!take_fixed(&s, 2, " ", &day))
		return -1;
	while (month < 12 && memcmp(months + 3 * month, s.at, 3) != 0)
		month++;
	s.at += 4;
	s.size -= 4;
	if (month == 12 || !take_fixed(&s, 4, " ", &year) || !take_fixed(&s, 2, ":", &hour) ||
		!take_fixed(&s, 2, ":", &minute) || !take_fixed(&s, 2, " GMT", &second))
		return -1;
	return days_since_1970((int)year, (int)month + 1, (int)day) * 86400 + hour * 3600 +
	       minute * 60 + second;
}

static bool parse_date_field(struct response *r, struct span value, const char **why)
{
	(void)why;
	r->date = parse_date(value);
	return true;
}

static bool parse_retry_after(struct response *r, struct span value, const char **why)
{
	uint64_t seconds;

	(void)why;
	r->retry_date = parse_date(value);
	if (r->retry_date < 0 && take_number(&value, &seconds) && value.size == 0)
		r->retry_after = (int64_t)seconds;
	return true;
}

static const struct {
	const char *name;
	bool (*parse)(struct response *r, struct span value, const char **why);
} fields[] = {
	{"Content-Length", parse_content_length},
	{"Transfer-Encoding", parse_transfer_encoding},
	{"Content-Range", parse_content_range},
	{"Connection", parse_connection},
	{"Content-Encoding", parse_content_encoding},
	{"Content-Type", parse_content_type},
	{"ETag", parse_etag},
	{"Last-Modified", parse_last_modified},
	{"Location", parse_location},
	{"Date", parse_date_field},
	{"Retry-After", parse_retry_after},
};

static bool is_token_char(unsigned char c)
{
	return c < 0x80 && (isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c)));
}

static bool parse_field(struct response *r, struct span line, const char **why)
{
	const char *colon = memchr(line.at, ':', line.size);
	struct span name = {line.at, colon ? (size_t)(colon - line.at) : 0};
	struct span value;

	if (name.size == 0)
		return fail(why, is_blank(*line.at) ? "a field is folded" : "a field has no name");
	for (size_t i = 0; i < name.size; i++)
		if (!is_token_char((unsigned char)name.at[i]))
			return fail(why, is_blank(*line.at) ? "a field is folded"
							    : "a field's name is malformed");
	value.at = colon + 1;
	value.size = line.size - name.size - 1;
	value = trim(value);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (span_is(name, fields[i].name))
			return fields[i].parse(r, value, why);
	return true;
}

/* ---- the head ---- */

/* RFC 9112 section 4: HTTP/1.x SP 3DIGIT SP reason; servers that leave the last SP out are common.
 */
static bool parse_status_line(struct response *r, struct span line, const char **why)
{
	const char *t = line.at;

	if (line.size < 12 || strncmp(t, "HTTP/", 5) != 0)
		return fail(why, "it is not HTTP");
	if (t[5] != '1' || t[6] != '.' || (t[7] != '0' && t[7] != '1') || t[8] != ' ')
		return fail(why, "it is neither HTTP/1.0 nor HTTP/1.1");
	if (t[9] < '1' || t[9] > '5' || !isdigit((unsigned char)t[10]) ||
		!isdigit((unsigned char)t[11]) || (line.size > 12 && t[12] != ' '))
		return fail(why, "the status code is malformed");
	r->status = (t[9] - '0') * 100 + (t[10] - '0') * 10 + (t[11] - '0');
	r->minor = t[7] - '0';
	return true;
}

/* Takes the next line off the text, without CRLF or, as RFC 9112 section 2.2 allows, LF. */
static bool next_line(struct span *text, struct span *line)
{
	const char *end = memchr(text->at, '\n', text->size);

	if (!end)
		return false;
	line->at = text->at;
	line->size = (size_t)(end - text->at);
	text->size -= line->size + 1;
	text->at = end + 1;
	if (line->size > 0 && line->at[line->size - 1] == '\r')
		line->size--;
	return true;
}

static bool has_control(struct span s)
{
	for (size_t i = 0; i < s.size; i++)
		if (((unsigned char)s.at[i] < ' ' && s.at[i] != '\t') || s.at[i] == 0x7f)
			return true;
	return false;
}

static bool check_head(struct response *r, const char **why)
{
	if (r->chunked && r->length >= 0)
		return fail(why, "Content-Length stands beside Transfer-Encoding");
	if (r->chunked && r->minor == 0)
		return fail(why, "an HTTP/1.0 response has a Transfer-Encoding");
	/* The server's own clock counts, since ours may not be set. */
	if (r->retry_date >= 0 && r->date >= 0)
		r->retry_after = r->retry_date > r->date ? r->retry_date - r->date : 0;
	r->persistent = (r->minor == 1 || r->keep_alive) && !r->closing;
	return true;
}

/* Takes one line of the head, the first being the status line. */
static bool parse_line(struct response *r, struct span line, const char **why)
{
	if (has_control(line))
		return fail(why, "a control byte stands in the head");
	return r->status == 0 ? parse_status_line(r, line, why) : parse_field(r, line, why);
}

ssize_t response_parse(struct response *out, const char *text, size_t size, const char **why)
{
	struct span rest = {text, size}, line;

	memset(out, 0, sizeof(*out));
	out->length = -1;
	out->total = -1;
	out->date = out->retry_date = out->retry_after = -1;
	while (next_line(&rest, &line)) {
		if (line.size == 0 && out->status != 0)
			return check_head(out, why) ? rest.at - text : -1;
		if (!parse_line(out, line, why))
			return -1;
	}
	return 0;
}

/* ---- chunked ---- */

enum {
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_CR,
	CHUNK_LF,
	TRAILER_BEGIN,
	TRAILER_LINE,
	TRAILER_LF,
	TRAILER_END_LF,
	CHUNK_DONE
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool chunk_size_digit(struct chunked *c, char b)
{
	if (c->left >> 58)
		return false; /* sixteen of these digits would overflow */
	c->left = c->left << 4 | (uint64_t)hex_digit(b);
	c->digits++;
	return true;
}

static void chunk_size_end(struct chunked *c)
{
	c->state = c->left > 0 ? CHUNK_DATA : TRAILER_BEGIN;
	c->line = 0;
	c->digits = 0;
}

/* One byte that is not chunk data. False if it cannot stand here. */
static bool chunked_step(struct chunked *c, char b)
{
	bool trailer = c->state >= TRAILER_BEGIN;

	if (++c->line > (trailer ? TRAILER_MAX : CHUNK_LINE_MAX) || b == '\0')
		return false;
	switch (c->state) {
	case CHUNK_SIZE:
		if (hex_digit(b) >= 0)
			return chunk_size_digit(c, b);
		if (c->digits == 0)
			return false;
		if (b != '\r' && b != ';' && !is_blank(b))
			return false;
		c->state = b == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
		return true;
	case CHUNK_EXTENSION:
		if (b == '\r')
			c->state = CHUNK_SIZE_LF;
		return b != '\n';
	case CHUNK_SIZE_LF:
		chunk_size_end(c);
		return b == '\n';
	case CHUNK_CR:
		c->state = CHUNK_LF;
		return b == '\r';
	case CHUNK_LF:
		c->state = CHUNK_SIZE;
		c->line = 0;
		return b == '\n';
	case TRAILER_BEGIN:
		c->state = b == '\r' ? TRAILER_END_LF : TRAILER_LINE;
		return b != '\n';
	case TRAILER_LINE:
		if (b == '\r')
			c->state = TRAILER_LF;
		return b != '\n';
	case TRAILER_LF:
		c->state = TRAILER_BEGIN;
		return b == '\n';
	case TRAILER_END_LF:
		if (b == '\n')
			c->state = CHUNK_DONE;
		return b == '\n';
	}
	return false;
}

enum chunked_result chunked_decode(struct chunked *c, const char *in, size_t in_size, size_t *used,
	char *out, size_t room, size_t *made)
{
	size_t i = 0, o = 0;
	enum chunked_result result = CHUNKED_MORE;

	while (c->state != CHUNK_DONE && i < in_size && result == CHUNKED_MORE) {
		if (c->state == CHUNK_DATA) {
			size_t n = in_size - i < room - o ? in_size - i : room - o;
			if (n > c->left)
				n = (size_t)c->left;
			if (n == 0)
				break;
			memcpy(out + o, in + i, n);
			i += n;
			o += n;
			c->left -= n;
			if (c->left == 0)
				c->state = CHUNK_CR;
		} else if (!chunked_step(c, in[i++])) {
			result = CHUNKED_MALFORMED;
		}
	}
	*used = i;
	*made = o;
	return c->state == CHUNK_DONE ? CHUNKED_END : result;
}
