#include "daemon/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/keywords.h"
#include "net/url.h"

#ifndef VERSION
#define VERSION "0" /* a unit test or fuzzer that is compiled without the Makefile */
#endif

#define TIMEOUT_DEFAULT 60

/* Counts a mistake, which the caller tells next; `why` has the one before, if any. */
static void count_mistake(struct conf *c, const char *why)
{
	if (c->mistakes++ > 0)
		log_err("%s", why);
}

bool conf_line(struct conf *c, const char *where, const char *line, char *why, size_t size)
{
	const char *word = line + strspn(line, " \t");
	size_t len = strcspn(word, " \t=");
	struct value v = {.keyword = keyword_find(word, len)};

	if (!*word || *word == '#')
		return true;
	v.text = word + len + strspn(word + len, " \t");
	if (v.keyword && keyword_take(c, &v))
		return true;
	count_mistake(c, why);
	return v.keyword ? keyword_complain(&v, where, why, size)
			 : keyword_complain_unknown(word, len, where, why, size);
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
	struct value v;
	struct url parsed;

	if (!url_is_file(url) || url_parse(&parsed, url))
		return false;
	parsed.target[strcspn(parsed.target, "?")] = '\0';
	v.text = strrchr(parsed.target, '/') + 1;
	if (!*v.text || keyword_attach(c, &v))
		return true;
	count_mistake(c, why);
	keyword_complain(&v, "argument", why, size);
	return true;
}

/* ---- file ---- */

struct reader {
	const char *path;
	unsigned line; /* its number */
	char *why;
	size_t size;
};

/* The line has `len` bytes, and room for one more. */
static bool take_line(struct conf *c, struct reader *r, char *line, size_t len)
{
	char where[512];

	if (++r->line == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3, len -= 3; /* a byte-order mark */
	if (len > 0 && line[len - 1] == '\r')
		len--;
	line[len] = '\0';
	snprintf(where, sizeof(where), "%.480s:%u", r->path, r->line);
	if (strlen(line) == len)
		return conf_line(c, where, line, r->why, r->size);
	count_mistake(c, r->why);
	return fail(r->why, r->size, "%s: the line contains a NUL byte", where);
}

static bool read_lines(struct conf *c, int fd, struct reader *r)
{
	char buffer[CONF_LINE_MAX];
	bool good = true;
	size_t have = 0;
	ssize_t got;

	while ((got = read(fd, buffer + have, sizeof(buffer) - have)) > 0) {
		char *line = buffer, *end;

		have += (size_t)got;
		for (; (end = memchr(line, '\n', have)); line = end + 1) {
			have -= (size_t)(end + 1 - line);
			good &= take_line(c, r, line, (size_t)(end - line));
		}
		if (have == sizeof(buffer)) {
			count_mistake(c, r->why);
			return fail(r->why, r->size, "%s:%u: the line is too long", r->path,
				r->line + 1);
		}
		memmove(buffer, line, have);
	}
	if (got < 0) {
		count_mistake(c, r->why);
		return fail(r->why, r->size, "%s: %s", r->path, strerror(errno));
	}
	return (have == 0 || take_line(c, r, buffer, have)) && good;
}

bool conf_file(struct conf *c, const char *path, char *why, size_t size, bool *missing)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	bool good;

	*missing = fd < 0 && errno == ENOENT;
	if (fd < 0) {
		count_mistake(c, why);
		return fail(why, size, "%s: %s", path, strerror(errno));
	}
	good = read_lines(c, fd, &(struct reader){.path = path, .why = why, .size = size});
	close(fd);
	c->given = 0; /* the command line may say otherwise */
	c->roothashes_filed = c->roothashes;
	return good;
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
			return fail(
				why, size, "front cachefiles: no device for %s", c->attach[i].name);
	return check_limits('b', c->brun, c->bcull, c->bstop, why, size) &&
	       check_limits('f', c->frun, c->fcull, c->fstop, why, size);
}
