#include "net/response.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/date.h"
#include "base/hash.h"
#include "base/minmax.h"
#include "base/text.h"

/* The longest line of a chunk's size with its extensions, and the longest trailer section. */
#define CHUNK_LINE_MAX 1024
#define TRAILER_MAX    HEAD_MAX

/* A piece of the head. */
struct span {
	const char *at, *end;
};

/* ---- spans ---- */

static size_t span_size(struct span s)
{
	return (size_t)(s.end - s.at);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
	while (s.at < s.end && is_blank(*s.at))
		s.at++;
	while (s.at < s.end && is_blank(s.end[-1]))
		s.end--;
	return s;
}

/* Takes a word, in letters of any case, off the front. */
static bool take_word(struct span *s, const char *word)
{
	size_t size = strlen(word);

	if (span_size(*s) < size || strncasecmp(s->at, word, size) != 0)
		return false;
	s->at += size;
	return true;
}

static bool span_is(struct span s, const char *word)
{
	return take_word(&s, word) && s.at == s.end;
}

/* Takes the element before the next comma off a list; false at its end. */
static bool next_element(struct span *list, struct span *element)
{
	const char *comma = memchr(list->at, ',', span_size(*list));

	if (list->at == list->end)
		return false;
	*element = trim((struct span){list->at, comma ? comma : list->end});
	list->at = comma ? comma + 1 : list->end;
	return true;
}

static bool take_number(struct span *s, uint64_t *out)
{
	return number_take(&s->at, s->end, INT64_MAX, out);
}

static bool copy_span(char *out, size_t room, struct span s)
{
	if (span_size(s) >= room)
		return false;
	memcpy(out, s.at, span_size(s));
	out[span_size(s)] = '\0';
	return true;
}

/* ---- fields; the parsers return NULL, or what is wrong ---- */

static const char *parse_content_length(struct response *r, struct span value)
{
	uint64_t n;

	if (!take_number(&value, &n) || value.at < value.end)
		return "Content-Length is not one number";
	r->length = (int64_t)n;
	return NULL;
}

static const char *parse_transfer_encoding(struct response *r, struct span value)
{
	if (!span_is(value, "chunked"))
		return "Transfer-Encoding is not just \"chunked\"";
	r->chunked = true;
	return NULL;
}

/* RFC 9110 section 14.4: "bytes first-last/total", "bytes first-last/" "*", "bytes *" "/total". */
static const char *parse_content_range(struct response *r, struct span value)
{
	uint64_t total;

	if (!take_word(&value, "bytes "))
		return "Content-Range is not in bytes";
	r->has_range = !take_word(&value, "*");
	if (r->has_range && !(take_number(&value, &r->first) && take_word(&value, "-") &&
				    take_number(&value, &r->last)))
		return "Content-Range is malformed";
	if (!take_word(&value, "/"))
		return "Content-Range is malformed";
	if (!take_word(&value, "*")) {
		if (!take_number(&value, &total))
			return "Content-Range is malformed";
		r->total = (int64_t)total;
	}
	if (value.at < value.end)
		return "Content-Range is malformed";
	if (r->has_range &&
		(r->first > r->last || (r->total >= 0 && r->last >= (uint64_t)r->total)))
		return "Content-Range contradicts itself";
	return NULL;
}

static const char *parse_connection(struct response *r, struct span value)
{
	struct span option;

	while (next_element(&value, &option)) {
		r->closing = r->closing || span_is(option, "close");
		r->keep_alive = r->keep_alive || span_is(option, "keep-alive");
	}
	return NULL;
}

static const char *parse_content_encoding(struct response *r, struct span value)
{
	struct span coding;

	while (next_element(&value, &coding))
		if (!r->encoding[0] && coding.at < coding.end && !span_is(coding, "identity") &&
			!span_is(coding, "aws-chunked"))
			snprintf(r->encoding, sizeof(r->encoding), "%.*s", (int)span_size(coding),
				coding.at);
	return NULL;
}

/* A list of challenges, each a scheme and behind a blank parameters, which make a list as well (RFC
 * 9110 section 11.6.1). */
static const char *parse_authenticate(struct response *r, struct span value)
{
	struct span challenge;

	while (next_element(&value, &challenge)) {
		size_t size = 0, used = strlen(r->schemes), room = sizeof(r->schemes) - used;

		while (challenge.at + size < challenge.end &&
			(isalnum((unsigned char)challenge.at[size]) || challenge.at[size] == '-'))
			size++;
		if (size > 0 && size + 3 <= room &&
			(challenge.at + size == challenge.end || is_blank(challenge.at[size])))
			snprintf(r->schemes + used, room, "%s%.*s", used > 0 ? ", " : "", (int)size,
				challenge.at);
	}
	return NULL;
}

static const char *parse_content_type(struct response *r, struct span value)
{
	r->multipart = take_word(&value, "multipart/");
	r->html = take_word(&value, "text/html");
	return NULL;
}

/* An entity-tag that does not fit becomes a weak one, since it cannot be sent back; a hash of it
 * keeps it as different from others as it was. FNV-1a is enough: an attacker would rather send the
 * old tag with new bytes. */
static void shorten_etag(struct response *r, struct span tag)
{
	uint64_t hash = hash_more(HASH_BEGIN, tag.at, span_size(tag));

	snprintf(r->etag, sizeof(r->etag), "W/\"%.60s~%016llx\"", tag.at + 1,
		(unsigned long long)hash);
}

/* A value that is no entity-tag counts as none. */
static const char *parse_etag(struct response *r, struct span value)
{
	bool weak = span_size(value) >= 2 && strncmp(value.at, "W/", 2) == 0;
	struct span tag = {value.at + 2 * weak, value.end};

	r->etag[0] = '\0';
	r->etag_is_strong = false;
	if (span_size(tag) < 2 || tag.at[0] != '"' || tag.end[-1] != '"' ||
		memchr(tag.at + 1, '"', span_size(tag) - 2))
		return NULL;
	if (copy_span(r->etag, sizeof(r->etag), value))
		r->etag_is_strong = !weak;
	else
		shorten_etag(r, tag);
	return NULL;
}

static const char *parse_last_modified(struct response *r, struct span value)
{
	copy_span(r->last_modified, sizeof(r->last_modified), value);
	return NULL;
}

static const char *parse_location(struct response *r, struct span value)
{
	r->location = value.at;
	r->location_size = span_size(value);
	return NULL;
}

static int digit_pair(const char *text)
{
	return (text[0] - '0') * 10 + (text[1] - '0');
}

/* RFC 9110 section 5.6.7, the form that all senders have to use: Sun, 06 Nov 1994 08:49:37 GMT.
 * Returns seconds since 1970, or -1. */
static int64_t parse_date(struct span s)
{
	static const char form[] = "?????00 ????0000 00:00:00 GMT"; /* ?: any byte, 0: a digit */
	static const char *const months = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *t = s.at;
	int month = 0;

	if (span_size(s) != sizeof(form) - 1)
		return -1;
	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if (form[i] == '0' ? !isdigit((unsigned char)t[i])
				   : form[i] != '?' && form[i] != t[i])
			return -1;
	while (month < 12 && memcmp(months + 3 * month, t + 8, 3) != 0)
		month++;
	if (month == 12)
		return -1;
	return days_since_1970(digit_pair(t + 12) * 100 + digit_pair(t + 14), month + 1,
		       digit_pair(t + 5)) *
		       86400 +
	       (digit_pair(t + 17) * 60 + digit_pair(t + 20)) * 60 + digit_pair(t + 23);
}

static const char *parse_date_field(struct response *r, struct span value)
{
	if (r->date < 0)
		r->date = parse_date(value);
	return NULL;
}

static const char *parse_retry_after(struct response *r, struct span value)
{
	uint64_t seconds;

	if (r->retry_date >= 0 || r->retry_after >= 0)
		return NULL;
	r->retry_date = parse_date(value);
	if (r->retry_date < 0 && take_number(&value, &seconds) && value.at == value.end)
		r->retry_after = (int64_t)seconds;
	return NULL;
}

/* A field that may stand once is refused the second time, even if both are equal: some recipient on
 * the way has taken the other one (RFC 9110 section 5.3). */
#define ONCE(name) name " is repeated"

static const struct {
	const char *name; /* without a sentence behind it, it is a list, or its first one counts */
	const char *(*parse)(struct response *r, struct span value);
} fields[] = {
	{ONCE("Content-Length"), parse_content_length},
	{ONCE("Transfer-Encoding"), parse_transfer_encoding},
	{ONCE("Content-Range"), parse_content_range},
	{"Connection", parse_connection},
	{"Content-Encoding", parse_content_encoding},
	{"WWW-Authenticate", parse_authenticate},
	{"Proxy-Authenticate", parse_authenticate},
	{ONCE("Content-Type"), parse_content_type},
	{ONCE("ETag"), parse_etag},
	{ONCE("Last-Modified"), parse_last_modified},
	{ONCE("Location"), parse_location},
	/* These only say when to ask again: a busy server is no wrong one for them. */
	{"Date", parse_date_field},
	{"Retry-After", parse_retry_after},
};

static bool is_token_char(char c)
{
	return c != '\0' && strchr(token_characters, c);
}

static const char *parse_field(struct response *r, struct span line)
{
	const char *colon = memchr(line.at, ':', span_size(line));
	struct span name = {line.at, colon ? colon : line.at};
	size_t size = span_size(name);

	if (is_blank(*line.at))
		return "a field is folded";
	if (name.at == name.end)
		return "a field has no name";
	for (const char *c = name.at; c < name.end; c++)
		if (!is_token_char(*c))
			return "a field's name is malformed";
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (strncasecmp(name.at, fields[i].name, size) != 0 || fields[i].name[size] > ' ')
			continue;
		if (r->to_connect && r->status / 100 == 2)
			return NULL; /* none says anything of a tunnel */
		if (fields[i].name[size] == ' ' && r->seen & 1u << i)
			return fields[i].name;
		r->seen |= 1u << i;
		return fields[i].parse(r, trim((struct span){colon + 1, line.end}));
	}
	return NULL;
}

/* ---- the head ---- */

/* RFC 9112 section 4: HTTP/1.x SP 3DIGIT SP reason. Many servers leave the last SP out. */
static const char *parse_status_line(struct response *r, struct span line)
{
	const char *t = line.at;

	if (span_size(line) < 12 || strncmp(t, "HTTP/", 5) != 0)
		return "it is not HTTP";
	if (t[5] != '1' || t[6] != '.' || (t[7] != '0' && t[7] != '1') || t[8] != ' ')
		return "it is neither HTTP/1.0 nor HTTP/1.1";
	if (t[9] < '1' || t[9] > '9' || !isdigit((unsigned char)t[10]) ||
		!isdigit((unsigned char)t[11]) || (t + 12 < line.end && t[12] != ' '))
		return "the status code is malformed";
	r->status = (t[9] - '0') * 100 + digit_pair(t + 10);
	r->minor = t[7] - '0';
	return NULL;
}

/* Takes the next line off the text, without CRLF or, as RFC 9112 section 2.2 allows, LF. */
static bool next_line(struct span *text, struct span *line)
{
	const char *end = memchr(text->at, '\n', span_size(*text));

	if (!end)
		return false;
	*line = (struct span){text->at, end};
	text->at = end + 1;
	if (line->at < line->end && line->end[-1] == '\r')
		line->end--;
	return true;
}

static bool has_control(struct span s)
{
	for (; s.at < s.end; s.at++)
		if (((unsigned char)*s.at < ' ' && *s.at != '\t') || *s.at == 0x7f)
			return true;
	return false;
}

static const char *check_head(struct response *r)
{
	if (r->chunked && r->length >= 0)
		return "Content-Length stands beside Transfer-Encoding";
	if (r->chunked && r->minor == 0)
		return "an HTTP/1.0 response has a Transfer-Encoding";
	/* The server's own clock counts, since ours may not be set. */
	if (r->retry_date >= 0 && r->date >= 0)
		r->retry_after = r->retry_date > r->date ? r->retry_date - r->date : 0;
	r->persistent = (r->minor == 1 || r->keep_alive) && !r->closing;
	return NULL;
}

/* Parses one line of the head, the first being the status line. */
static const char *parse_line(struct response *r, struct span line)
{
	if (has_control(line))
		return "a control byte stands in the head";
	return r->status == 0 ? parse_status_line(r, line) : parse_field(r, line);
}

int64_t response_retry_after(const struct response *r)
{
	int64_t seconds = r->retry_after;

	if (seconds < 0 && r->retry_date >= 0)
		seconds = r->retry_date - (int64_t)time(NULL);
	if (seconds < 0)
		return 0;
	return seconds < INT64_MAX / 1000 ? seconds * 1000 : INT64_MAX;
}

static ssize_t parse_response(struct response *out, const char *text, size_t size, const char **why)
{
	struct span rest = {text, text + size}, line = rest;
	char ending = '\0'; /* of the first line: CR or LF */
	const char *fault;

	out->length = out->total = out->date = out->retry_date = out->retry_after = -1;
	if (size > 1 && text[0] == 21 && text[1] == 3) { /* an alert: RFC 5246 section 6.2.1 */
		*why = "it is TLS: the URL needs https:// or another port";
		return -1;
	}
	while (next_line(&rest, &line)) {
		bool ends = line.at == line.end && out->status != 0;

		/* Some servers send an empty line behind an interim response. */
		if (line.at == line.end && line.at == text)
			continue;
		fault = ends ? check_head(out) : parse_line(out, line);
		if (ending && *line.end != ending)
			fault = "some lines end in CRLF, others in LF";
		ending = *line.end;
		if (fault)
			*why = fault;
		if (ends || fault)
			return fault ? -1 : rest.at - text;
	}
	return 0;
}

ssize_t response_parse(struct response *out, const char *text, size_t size, const char **why)
{
	memset(out, 0, sizeof(*out));
	return parse_response(out, text, size, why);
}

ssize_t response_parse_connect(
	struct response *out, const char *text, size_t size, const char **why)
{
	memset(out, 0, sizeof(*out));
	out->to_connect = true;
	return parse_response(out, text, size, why);
}

/* ---- chunked ---- */

enum {
	CHUNK_SIZE,
	EXTENSION,	 /* between extensions: blanks, then a semicolon */
	EXTENSION_BEGIN, /* its name comes */
	EXTENSION_NAME,
	EXTENSION_NAMED, /* blanks, then a semicolon or an equals sign */
	EXTENSION_EQUALS,
	EXTENSION_VALUE,
	EXTENSION_QUOTED,
	EXTENSION_ESCAPED,
	EXTENSION_UNQUOTED,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_CR,
	CHUNK_LF,
	TRAILER_BEGIN,
	TRAILER_LINE,
	TRAILER_LF,
	TRAILER_END_LF
};

/* Behind a chunk's size (RFC 9112 section 7.1.1): *( BWS ";" BWS name [ BWS "=" BWS value ] ) CRLF.
 * No blank stands before the CRLF. */
static bool extension_step(struct chunked *c, char b)
{
	static const struct {
		unsigned char state, blank, semicolon, equals, quote, token, end;
	} next[] = {
		{CHUNK_SIZE, EXTENSION, EXTENSION_BEGIN, 0, 0, 0, CHUNK_SIZE_LF},
		{EXTENSION, EXTENSION, EXTENSION_BEGIN, 0, 0, 0, 0},
		{EXTENSION_BEGIN, EXTENSION_BEGIN, 0, 0, 0, EXTENSION_NAME, 0},
		{EXTENSION_NAME, EXTENSION_NAMED, EXTENSION_BEGIN, EXTENSION_EQUALS, 0,
			EXTENSION_NAME, CHUNK_SIZE_LF},
		{EXTENSION_NAMED, EXTENSION_NAMED, EXTENSION_BEGIN, EXTENSION_EQUALS, 0, 0, 0},
		{EXTENSION_EQUALS, EXTENSION_EQUALS, 0, 0, EXTENSION_QUOTED, EXTENSION_VALUE, 0},
		{EXTENSION_VALUE, EXTENSION, EXTENSION_BEGIN, 0, 0, EXTENSION_VALUE, CHUNK_SIZE_LF},
		{EXTENSION_UNQUOTED, EXTENSION, EXTENSION_BEGIN, 0, 0, 0, CHUNK_SIZE_LF},
	};
	size_t i = 0;

	if (c->state == EXTENSION_QUOTED || c->state == EXTENSION_ESCAPED) {
		c->state = c->state == EXTENSION_ESCAPED ? EXTENSION_QUOTED
			   : b == '\\'			 ? EXTENSION_ESCAPED
			   : b == '"'			 ? EXTENSION_UNQUOTED
							 : EXTENSION_QUOTED;
		return b == '\t' || ((unsigned char)b >= ' ' && b != 0x7f);
	}
	while (next[i].state != c->state)
		i++;
	c->state = is_blank(b)	      ? next[i].blank
		   : b == ';'	      ? next[i].semicolon
		   : b == '='	      ? next[i].equals
		   : b == '"'	      ? next[i].quote
		   : b == '\r'	      ? next[i].end
		   : is_token_char(b) ? next[i].token
				      : 0;
	return c->state != 0;
}

/* One byte that is not chunk data. False if it cannot stand here. */
static bool chunked_step(struct chunked *c, char b)
{
	bool trailer = c->state >= TRAILER_BEGIN;

	if (++c->line > (trailer ? TRAILER_MAX : CHUNK_LINE_MAX) || b == '\0')
		return false;
	switch (c->state) {
	case CHUNK_SIZE:
		if (hex_digit(b) >= 0 && c->left >> 58 == 0) { /* sixteen digits might overflow */
			c->left = c->left << 4 | (uint64_t)hex_digit(b);
			return true;
		}
		return c->line > 1 && extension_step(c, b);
	case CHUNK_SIZE_LF:
		c->state = c->left > 0 ? CHUNK_DATA : TRAILER_BEGIN;
		c->line = 0;
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
		c->ended = b == '\n';
		return c->ended;
	}
	return extension_step(c, b);
}

enum chunked_result chunked_decode(struct chunked *c, const char *in, size_t in_size, size_t *used,
	char *out, size_t room, size_t *made)
{
	size_t i = 0, o = 0;
	enum chunked_result result = CHUNKED_MORE;

	while (!c->ended && i < in_size && result == CHUNKED_MORE) {
		if (c->state == CHUNK_DATA) {
			size_t n = (size_t)min_u64(min_u64(in_size - i, room - o), c->left);

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
	return c->ended ? CHUNKED_END : result;
}
