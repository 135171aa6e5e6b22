#include "daemon/conf.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/text.h"
#include "daemon/values.h"
#include "net/names.h"
#include "net/no_proxy.h"
#include "net/url.h"

#define TEXT_(x) #x
#define TEXT(x)	 TEXT_(x)

#ifndef VERSION
#define VERSION "0" /* a unit test or fuzzer that is compiled without the Makefile */
#endif

#define TIMEOUT_DEFAULT 60
#define TIMEOUT_MAX	86400

struct value {
	const struct keyword *keyword;
	const char *name; /* the keyword's */
	const char *text; /* never empty where the keyword takes a value */
	const char *why;  /* of a mistake, static; NULL where the keyword's `takes` says all */
};

struct keyword {
	bool (*parse)(struct conf *c, struct value *v); /* false on a mistake */
	const char *takes;				/* for the message; NULL: no value */
	uint16_t offset, size;				/* of the member in struct conf */
	unsigned least : 8, most : 23;			/* of a number; of the first word */
	unsigned once : 1;
};
_Static_assert(sizeof(struct conf) <= UINT16_MAX, "struct keyword's offset and size");

static const char *const attached_already = "it is attached already";
static const char *const second_time = "it is given a second time";

/* ---- values: parse_X() sets what the keyword names ---- */

static bool mistake(struct value *v, const char *why)
{
	v->why = why;
	return false;
}

static void *member(struct conf *c, const struct value *v)
{
	return (char *)c + v->keyword->offset;
}

static bool parse_text(struct conf *c, struct value *v)
{
	size_t len = strlen(v->text);

	if (len >= v->keyword->size)
		return mistake(v, value_too_long);
	memcpy(member(c, v), v->text, len + 1);
	return true;
}

static bool parse_absolute_path(struct conf *c, struct value *v)
{
	/* The kernel would look from the daemon's working directory. */
	return v->text[0] == '/' && parse_text(c, v);
}

static bool ends_in_blank(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t');
}

/* Sets the keyword's member, if it has one. */
static bool set(struct conf *c, const struct value *v, uint64_t n)
{
	if (v->keyword->size == sizeof(bool))
		*(bool *)member(c, v) = n;
	else if (v->keyword->size == sizeof(unsigned)) /* or an enum */
		*(unsigned *)member(c, v) = (unsigned)n;
	else if (v->keyword->size == sizeof(uint64_t))
		*(uint64_t *)member(c, v) = n;
	return true;
}

/* One of the words of `takes`, "A or B", "A, B or C": the first is the number `least`, each other
 * one more. */
static bool parse_word(struct conf *c, struct value *v)
{
	const char *word = v->keyword->takes;

	for (unsigned n = v->keyword->least;; n++) {
		size_t len = strcspn(word, ", ");

		if (strlen(v->text) == len && memcmp(v->text, word, len) == 0)
			return set(c, v, n);
		if (!word[len])
			return false;
		word += len + strlen(word[len] == ',' ? ", " : " or ");
	}
}

/* log.h has no level 5. */
static bool parse_log(struct conf *c, struct value *v)
{
	if (!parse_word(c, v))
		return false;
	c->log += c->log > LOG_LEVEL_WARNING;
	return true;
}

/* Decimal digits only: no sign, no blank. */
static bool take_number(const struct value *v, const char *text, const char *behind, uint64_t *n)
{
	const struct keyword *k = v->keyword;

	return number_take(&text, text + strlen(text), k->most, n) && *n >= k->least &&
	       strcmp(text, behind) == 0;
}

/* The classic's cull table has no member: it is checked and then forgotten, since cull.c needs no
 * table that grows with the cache, and is not asked by the kernel. */
static bool parse_number(struct conf *c, struct value *v)
{
	uint64_t n;

	return take_number(v, v->text, "", &n) && set(c, v, n);
}

static bool parse_share(struct conf *c, struct value *v)
{
	uint64_t n;

	return take_number(v, v->text, "%", &n) && set(c, v, n);
}

static bool parse_mask(struct conf *c, struct value *v)
{
	return value_is_mask(v->text) && parse_text(c, v);
}

static bool parse_nocull(struct conf *c, struct value *v)
{
	return set(c, v, true);
}

/* Checked and then forgotten, as the cull table. */
static bool parse_thresholds(struct conf *c, struct value *v)
{
	(void)c;
	return value_is_thresholds(v->text);
}

static bool parse_bind(struct conf *c, struct value *v)
{
	(void)c;
	return mistake(v, "it is implied, leave this line out");
}

static bool parse_retry(struct conf *c, struct value *v)
{
	uint64_t seconds;

	if (strcmp(v->text, "hard") == 0) {
		c->retry = RETRY_HARD;
		return true;
	}
	if (strncmp(v->text, "soft ", 5) != 0 || !take_number(v, v->text + 5, "", &seconds))
		return false;
	c->retry = RETRY_SOFT;
	c->timeout = (unsigned)seconds;
	return true;
}

/* Copies what a URL's line has to keep, in place of a member of its own, which would have to be as
 * large as the longest. */
static void *keep(struct conf *c, struct value *v, const void *bytes, size_t size)
{
	char *to = c->url_bytes + c->url_used;

	if (size > sizeof(c->url_bytes) - c->url_used) {
		v->why = "all URLs and names together are too long";
		return NULL;
	}
	c->url_used += size;
	c->url_used += -c->url_used % _Alignof(struct url);
	return memcpy(to, bytes, size);
}

static bool parse_proxy(struct conf *c, struct value *v)
{
	struct url proxy;

	if (strncasecmp(v->text, "http://", 7) != 0)
		return mistake(v, "only http:// proxies are taken: no TLS to a proxy, no SOCKS");
	v->why = url_parse(&proxy, v->text);
	if (v->why)
		return false;
	proxy.target[0] = '\0';
	c->proxy = c->https_proxy = keep(c, v, &proxy, url_size(&proxy));
	return c->proxy != NULL;
}

static bool parse_no_proxy(struct conf *c, struct value *v)
{
	v->why = no_proxy_check(v->text);
	return !v->why && parse_text(c, v);
}

static bool parse_header(struct conf *c, struct value *v)
{
	size_t used = strlen(c->fields);

	if (!value_is_field(v->text, &v->why))
		return false;
	if (used + strlen(v->text) + 3 > sizeof(c->fields))
		return mistake(v, "all header lines together are too long");
	sprintf(c->fields + used, "%s\r\n", v->text);
	return true;
}

/* The URL of an image with this key and volume. */
static bool expand(struct url *out, struct value *v, const char *key)
{
	char expanded[URL_MAX];

	if (strlen(v->text) >= URL_MAX)
		return mistake(v, url_too_long);
	v->why = url_expand(expanded, sizeof(expanded), v->text, key, 1, key);
	if (!v->why)
		v->why = url_parse(out, expanded);
	return !v->why;
}

/* With any key the URL must lead to the same server: a "http://" would otherwise take the key for a
 * host. */
static bool parse_url(struct conf *c, struct value *v)
{
	struct url x, y;

	if (c->urls == URLS_MAX)
		return mistake(v, "there are " TEXT(URLS_MAX) " already, which is the most");
	if (!expand(&x, v, "x") || !expand(&y, v, "y"))
		return false;
	if (!url_same_origin(&x, &y))
		return mistake(v, "the host is missing, or is to come from an image's name");
	c->url[c->urls] = keep(c, v, v->text, strlen(v->text) + 1);
	if (!c->url[c->urls])
		return false;
	c->urls++;
	return true;
}

static bool parse_user_agent(struct conf *c, struct value *v)
{
	size_t len = strlen(v->text);

	for (size_t i = 0; i < len; i++)
		if (v->text[i] < ' ' || v->text[i] > '~')
			return mistake(v, "a header field can hold printable ASCII only");
	if (ends_in_blank(v->text))
		return mistake(v, "it ends in a blank, which a header field cannot");
	return parse_text(c, v);
}

/* One pin or, as curl has it, several with ';' between them. */
static bool parse_key_pin(struct conf *c, struct value *v)
{
	const char *p = v->text;

	for (;; p++) {
		if (c->pins == KEY_PINS_MAX)
			return mistake(
				v, "there are " TEXT(KEY_PINS_MAX) " already, which is the most");
		if (strncmp(p, "sha256//", 8) != 0)
			return false;
		p = value_key_pin(c->pin[c->pins], p + 8);
		if (!p || (*p && *p != ';'))
			return mistake(v, "44 digits of base64 are to follow sha256//");
		c->pins++;
		if (!*p)
			return true;
	}
}

static bool parse_bytes(struct conf *c, struct value *v)
{
	uint64_t bytes;

	return value_bytes(&bytes, v->text) && bytes >= v->keyword->least && set(c, v, bytes);
}

static bool parse_memory(struct conf *c, struct value *v)
{
	return parse_bytes(c, v) && c->memory >= MEMORY_MIN;
}

/* Such a path fits a socket's address. Whether it was given stands behind it. */
static bool parse_socket(struct conf *c, struct value *v)
{
	char *path = member(c, v);
	bool *given = (bool *)(path + v->keyword->size);

#define BEHIND(path, given) (offsetof(struct conf, given) == offsetof(struct conf, path) + 108)
	_Static_assert(BEHIND(status, status_given) && BEHIND(control, control_given), "it does");
#undef BEHIND
	*given = strcmp(v->text, "none") != 0;
	if (*given)
		return parse_absolute_path(c, v);
	*path = '\0';
	return true;
}

const char *conf_attach_parse(char *text, int *device)
{
	size_t before, len = strlen(text);
	const char *digits, *end = text + len, *last = value_last_word(text, &before);
	uint64_t n;

	*device = -1;
	if (strncmp(last, "/dev/", 5) == 0) {
		digits = strncmp(last, "/dev/nbd", 8) == 0 ? last + 8 : end;
		if (!number_take(&digits, end, ATTACH_DEVICE_MAX, &n) || *digits)
			return "its last word is no /dev/nbdN";
		*device = (int)n;
		len = before;
		text[len] = '\0';
	}
	return value_name(text, len);
}

static bool parse_attach(struct conf *c, struct value *v)
{
	struct conf_attach *end = c->attach + c->attaches;
	char *name = keep(c, v, v->text, strlen(v->text) + 1);
	int device;

	if (!name || (v->why = conf_attach_parse(name, &device)))
		return false;
	for (struct conf_attach *a = c->attach; a < end; a++)
		if (strcmp(a->name, name) == 0 || (device >= 0 && a->device == device))
			return mistake(v, attached_already);
	if (c->attaches == DEVICES_MAX)
		return mistake(v, "there are " TEXT(DEVICES_MAX) " already, which is the most");
	*end = (struct conf_attach){name, device};
	c->attaches++;
	return true;
}

/* Sets the root hash of a name that has none yet; it is kept. */
static bool add_roothash(struct conf *c, struct value *v, size_t len, struct conf_roothash new)
{
	char *name;

	if (c->roothashes == ROOTHASHES_MAX)
		return mistake(v, "there are " TEXT(ROOTHASHES_MAX) " already, which is the most");
	if (len > 0) {
		new.name = name = keep(c, v, v->text, len + 1);
		if (!name)
			return false;
		name[len] = '\0';
	}
	c->roothash[c->roothashes++] = new;
	return true;
}

/* HEX, or NAME and HEX; HEX may be HEX:BYTES. */
static bool parse_roothash(struct conf *c, struct value *v)
{
	size_t i = 0, len;
	struct conf_roothash new = {.name = NULL}, *same = c->roothash;

	if (!value_root(new.root, &new.bytes, value_last_word(v->text, &len)))
		return false;
	if (len > 0 && (v->why = value_name(v->text, len)))
		return false;
	for (; i < c->roothashes; i++, same++)
		if (same->name ? !strncmp(same->name, v->text, len) && !same->name[len] : len == 0)
			break;
	if (i == c->roothashes)
		return add_roothash(c, v, len, new);
	if (i >= c->roothashes_filed)
		return mistake(v, second_time);
	/* What the file says, -o may say otherwise, once: it is none of the file's then. */
	new.name = same->name;
	*same = c->roothash[--c->roothashes_filed];
	c->roothash[c->roothashes_filed] = new;
	return true;
}

/* A URL as on a url line. */
static bool take_place(struct conf *c, struct value *v, const char **place)
{
	struct url parsed;

	if (!expand(&parsed, v, "x"))
		return false;
	*place = keep(c, v, v->text, strlen(v->text) + 1);
	return *place != NULL;
}

static bool parse_verity(struct conf *c, struct value *v)
{
	bool allow = strcmp(v->text, "allow") == 0;

	if (!allow && strcmp(v->text, "require") != 0)
		return strstr(v->text, "://") && take_place(c, v, &c->verity_url);
	c->verity = allow ? VERITY_ALLOW : VERITY_REQUIRE;
	return true;
}

/* A path, `record` before it; `none`; or a URL. */
static bool parse_trace(struct conf *c, struct value *v)
{
	c->trace_none = strcmp(v->text, "none") == 0;
	if (c->trace_none)
		return true;
	if (strncmp(v->text, "record ", 7) == 0) {
		const char *path = v->text + 7 + strspn(v->text + 7, " \t");

		if (*path != '/')
			return mistake(v, "the file to record needs an absolute path");
		if (strlen(path) >= sizeof(c->trace_record))
			return mistake(v, value_too_long);
		strcpy(c->trace_record, path);
		return true;
	}
	return take_place(c, v, &c->trace);
}

static bool parse_resolve(struct conf *c, struct value *v)
{
	if (c->resolves == URLS_MAX)
		return mistake(v, "there are " TEXT(URLS_MAX) " already, which is the most");
	if (strlen(v->text) >= sizeof(c->resolve[0]))
		return mistake(v, value_too_long);
	v->why = names_pin_check(v->text);
	if (v->why)
		return false;
	strcpy(c->resolve[c->resolves++], v->text);
	return true;
}

/* ---- words ---- */

#define MEMBER(m) .offset = offsetof(struct conf, m), .size = sizeof(((struct conf *)0)->m)

static const char *const share = "a share from 0% to 99%, such as 7%";
static const char *const socket_path = "none, or an absolute path of at most 107 bytes";
static const char *const most_connections = "a number from 1 to " TEXT(CONNECTIONS_MAX);
static const char *const most_seconds = "a number of seconds from 1 to " TEXT(TIMEOUT_MAX);

#define KEYWORD_LIST(E)                                                                            \
	E("dir", parse_absolute_path, "an absolute path", MEMBER(dir), .once = true)               \
	E("tag", parse_text, "a name", MEMBER(tag), .once = true)                                  \
	E("secctx", parse_text, "a security context", MEMBER(secctx), .once = true)                \
	E("debug", parse_mask, "a bit mask such as 7 or 0x7", MEMBER(debug))                       \
	E("brun", parse_share, share, MEMBER(brun), 0, 99)                                         \
	E("bcull", parse_share, share, MEMBER(bcull), 0, 99)                                       \
	E("bstop", parse_share, share, MEMBER(bstop), 0, 99)                                       \
	E("frun", parse_share, share, MEMBER(frun), 0, 99)                                         \
	E("fcull", parse_share, share, MEMBER(fcull), 0, 99)                                       \
	E("fstop", parse_share, share, MEMBER(fstop), 0, 99)                                       \
	E("culltable", parse_number, "a number from 12 to 20", .least = 12, .most = 20)            \
	E("nocull", parse_nocull, NULL, MEMBER(nocull))                                            \
	E("resume_thresholds", parse_thresholds,                                                   \
		.takes = "two numbers, either of which may be '-'")                                \
	E("bind", parse_bind, .takes = "nothing")                                                  \
	E("url", parse_url, .takes = "an http or https URL")                                       \
	E("ca", parse_text, "the path of a PEM file", MEMBER(ca))                                  \
	E("pin", parse_key_pin, .takes = "sha256//BASE64, as --check shows it")                    \
	E("pin-only", parse_word, "no or yes", MEMBER(pin_only))                                   \
	E("cert", parse_text, "the path of a PEM file", MEMBER(cert))                              \
	E("key", parse_text, "the path of a PEM file", MEMBER(key))                                \
	E("roothash", parse_roothash,                                                              \
		.takes = "NAME and 64 hexadecimal digits, or these alone, or these with :BYTES")   \
	E("verity", parse_verity, .takes = "require, allow or a URL")                              \
	E("verity-key", parse_text, "the path of a PEM file", MEMBER(verity_key))                  \
	E("cache-check", parse_word, "cut, never, boot or all", MEMBER(cache_check))               \
	E("reuse", parse_text, "a name", MEMBER(reuse))                                            \
	E("fallback", parse_word, "no or yes", MEMBER(fallback))                                   \
	E("tls", parse_word, "any, 1.2 or 1.3", MEMBER(tls))                                       \
	E("tls-clock", parse_word, "build or strict", MEMBER(clock_strict))                        \
	E("connections", parse_number, most_connections, MEMBER(connections), 1, CONNECTIONS_MAX)  \
	E("budget", parse_bytes, "bytes, such as 500M", MEMBER(budget), .least = 1)                \
	E("memory", parse_memory, "bytes, 576K or more", MEMBER(memory))                           \
	E("prefetch", parse_word, "none or all", MEMBER(prefetch_all))                             \
	E("read-ahead", parse_word, "auto, thrifty or none", MEMBER(read_ahead))                   \
	E("prefetch-rate", parse_bytes, "bytes a second, such as 500K", MEMBER(prefetch_rate), 1)  \
	E("trace", parse_trace, .takes = "none, a URL, or record and an absolute path")            \
	E("compressed", parse_word, "auto, whole or lazy", MEMBER(compressed))                     \
	E("timeout", parse_number, most_seconds, MEMBER(timeout), 1, TIMEOUT_MAX)                  \
	E("user", parse_text, "a name of /etc/passwd, or UID:GID", MEMBER(user))                   \
	E("user-agent", parse_user_agent, "a text for the header field", MEMBER(user_agent))       \
	E("abi", parse_word, "auto, mainline or v8", MEMBER(abi))                                  \
	E("resolve", parse_resolve, .takes = "HOST:PORT:ADDRESS")                                  \
	E("retry", parse_retry, "hard, or soft and a number of seconds", .least = 1,               \
		.most = TIMEOUT_MAX)                                                               \
	E("offline", parse_word, "deny or allow", MEMBER(offline))                                 \
	E("proxy", parse_proxy, .takes = "an http URL")                                            \
	E("no-proxy", parse_no_proxy, "hosts with commas between them", MEMBER(no_proxy))          \
	E("header", parse_header, .takes = "a header field: Name: value")                          \
	E("netrc", parse_text, "the path of a file as curl's .netrc", MEMBER(netrc))               \
	E("status", parse_socket, socket_path, MEMBER(status))                                     \
	E("control", parse_socket, socket_path, MEMBER(control))                                   \
	E("front", parse_word, "auto, cachefiles or nbd", MEMBER(front))                           \
	E("attach", parse_attach, .takes = "NAME, or NAME /dev/nbdN")                              \
	E("log", parse_log, "error, warning, info or debug", MEMBER(log), LOG_LEVEL_ERR)

#define ROW(name, ...)	{__VA_ARGS__},
#define NAME(name, ...) name "\0"

static const struct keyword keywords[] = {KEYWORD_LIST(ROW)};
static const char *const names = KEYWORD_LIST(NAME);

_Static_assert(MEMORY_MIN == 576 << 10, "as its row says");
_Static_assert(
	sizeof(keywords) <= 64 * sizeof(*keywords), "struct conf's `given` has a bit for each");

static bool find_keyword(struct value *v, const char *word, size_t len)
{
	v->keyword = keywords;
	for (v->name = names; *v->name; v->name += strlen(v->name) + 1, v->keyword++)
		if (strncmp(v->name, word, len) == 0 && !v->name[len])
			return true;
	return false;
}

static bool has_control_byte(const char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
			return true;
	return false;
}

static bool complain(const struct value *v, const char *where, char *why, size_t size)
{
	const struct keyword *k = v->keyword;
	char shown[128];

	if (k->parse == parse_header) /* what stands behind its name may be a token */
		snprintf(shown, sizeof(shown), "%.*s", (int)strcspn(v->text, ": \t"), v->text);
	else
		url_redacted(shown, sizeof(shown), v->text);
	if (v->why)
		return fail(why, size, "%s: %s '%s': %s", where, v->name, shown, v->why);
	if (!k->takes)
		return fail(why, size, "%s: %s '%s': takes no value", where, v->name, shown);
	if (!*v->text)
		return fail(why, size, "%s: %s: needs %s", where, v->name, k->takes);
	return fail(why, size, "%s: %s '%s': needs %s%s", where, v->name, shown, k->takes,
		ends_in_blank(v->text) ? ", without a blank at its end" : "");
}

/* Says no more of the line: what stands behind the word may be a secret. */
static bool complain_of_word(
	const char *word, size_t len, const char *where, char *why, size_t size)
{
	const char *nearest = NULL, *scheme = strstr(word, "://");
	unsigned distance = UINT_MAX;
	char text[CONF_LINE_MAX], shown[128];

	for (const char *name = names; *name; name += strlen(name) + 1)
		if (word_is_nearer(word, len, name, &distance))
			nearest = name;
	if (scheme && scheme < word + len) /* a URL, with which url_redacted() can deal */
		len = strcspn(word, " \t");
	snprintf(text, sizeof(text), "%.*s", (int)len, word);
	url_redacted(shown, sizeof(shown), text);
	return fail(why, size, "%s: '%s': unknown word%s%s%s", where, shown,
		nearest ? "; is '" : "", nearest ? nearest : "", nearest ? "' meant?" : "");
}

static bool take_value(struct conf *c, struct value *v)
{
	const struct keyword *k = v->keyword;
	uint64_t bit = (uint64_t)1 << (k - keywords);

	if (*v->text == '=')
		return mistake(v, "a blank, and no '=', stands between a word and its value");
	if (has_control_byte(v->text))
		return mistake(v, value_control_byte);
	if (k->parse != parse_bind && !k->takes != !*v->text)
		return false;
	if (k->once && (c->given & bit))
		return mistake(v, second_time);
	if (!k->parse(c, v))
		return false;
	c->given |= bit;
	return true;
}

void conf_mistake(struct conf *c, const char *why)
{
	if (c->mistakes++ > 0)
		log_err("%s", why);
}

bool conf_line(struct conf *c, const char *where, const char *line, char *why, size_t size)
{
	const char *word = line + strspn(line, " \t");
	size_t len = strcspn(word, " \t=");
	struct value v = {.text = word + len + strspn(word + len, " \t")};
	bool known = find_keyword(&v, word, len);

	if (!*word || *word == '#' || (known && take_value(c, &v)))
		return true;
	conf_mistake(c, why);
	return known ? complain(&v, where, why, size)
		     : complain_of_word(word, len, where, why, size);
}

bool conf_url(struct conf *c, const char *url, bool exact, char *why, size_t size)
{
	char line[URL_MAX + 8]; /* a longer URL is still too long when it is cut to fit */

	snprintf(line, sizeof(line), "url %s", url);
	if (!conf_line(c, "argument", line, why, size))
		return false;
	if (exact && c->url_used + _Alignof(struct url) <= sizeof(c->url_bytes)) {
		strcat((char *)c->url[c->urls - 1], "#"); /* kept last, in url_bytes */
		c->url_used += _Alignof(struct url);
	}
	return true;
}

bool conf_attach_url(struct conf *c, const char *url, char *why, size_t size)
{
	struct value v = {.why = NULL};
	struct url parsed;

	if (!url_is_file(url) || url_parse(&parsed, url))
		return false;
	parsed.target[strcspn(parsed.target, "?")] = '\0';
	find_keyword(&v, "attach", 6);
	v.text = strrchr(parsed.target, '/') + 1;
	if (!*v.text || parse_attach(c, &v) || v.why == attached_already || v.why == value_too_long)
		return true;
	conf_mistake(c, why);
	complain(&v, "argument", why, size);
	return true;
}

/* ---- the whole ---- */

/* Writes only over words that are not 0: untouched pages take no memory in the keeper. */
static void clear(struct conf *c)
{
	volatile unsigned *words = (volatile unsigned *)c;

	_Static_assert(sizeof(*c) % sizeof(*words) == 0, "it has members of that kind");
	for (size_t i = 0; i < sizeof(*c) / sizeof(*words); i++)
		if (words[i])
			words[i] = 0;
}

void conf_init(struct conf *c)
{
	clear(c);
	strcpy(c->dir, "/var/cache/fscache");
	c->brun = c->frun = 7;
	c->bcull = c->fcull = 5;
	c->bstop = c->fstop = 1;
	c->timeout = TIMEOUT_DEFAULT;
	c->log = LOG_LEVEL_INFO;
	strcpy(c->status, "/run/cachefilesd-mini.status");
	strcpy(c->control, "/run/cachefilesd-mini.control");
	strcpy(c->user_agent, "cachefilesd-mini/" VERSION);
}

static bool check_limits(char kind, int run, int cull, int stop, char *why, size_t size)
{
	return (stop < cull && cull < run) ||
	       fail(why, size,
		       "%cstop %d%%, %ccull %d%%, %crun %d%%: each must be less than the next, "
		       "as 1%%, 5%%, 7%% are",
		       kind, stop, kind, cull, kind, run);
}

bool conf_verifies(const struct conf *c)
{
	return c->roothashes > 0 || c->verity_key[0];
}

bool conf_check(const struct conf *c, char *why, size_t size)
{
	if (c->urls == 0)
		return fail(why, size, "no url is given: nothing to fetch from");
	if (c->pin_only && c->pins == 0)
		return fail(why, size, "pin-only yes, but no pin is given: nothing to trust");
	if (c->key[0] && !c->cert[0])
		return fail(why, size, "key %.200s: it is of no use without its cert", c->key);
	if ((c->verity || c->verity_url) && !conf_verifies(c))
		return fail(why, size,
			"verity, but nothing to verify by: give a roothash or a verity-key too");
	for (size_t i = 0; c->front == FRONT_CACHEFILES && i < c->attaches; i++)
		if (c->attach[i].device >= 0)
			return fail(why, size, "attach %s: front cachefiles has no block devices",
				c->attach[i].name);
	return check_limits('b', c->brun, c->bcull, c->bstop, why, size) &&
	       check_limits('f', c->frun, c->fcull, c->fstop, why, size);
}
