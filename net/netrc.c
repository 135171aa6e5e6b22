#include "net/netrc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

static int file = -1;
static struct stat status; /* of the file when it was read */

/* What was looked up: "user@host" and the "user:password", which may be empty, with a NUL behind
 * each. */
static char known[NETRC_KNOWN_MAX];
static size_t known_size;

/* ---- words; the functions return NULL, or what is wrong ---- */

/* A place in the file, and the word before it. */
struct scan {
	off_t offset; /* behind `bytes` */
	char bytes[512];
	size_t have, at;
	unsigned line;
	bool ended; /* there was no further word */
	char word[NETRC_PASSWORD_MAX];
};

/* The next byte, or -1. */
static int peek(struct scan *s)
{
	if (s->at == s->have) {
		ssize_t n = pread(file, s->bytes, sizeof(s->bytes), s->offset);

		s->at = 0;
		s->have = n > 0 ? (size_t)n : 0;
		s->offset += (off_t)s->have;
	}
	return s->at < s->have ? (unsigned char)s->bytes[s->at] : -1;
}

static int take(struct scan *s)
{
	int c = peek(s);

	s->at += c >= 0;
	s->line += c == '\n';
	return c;
}

static bool is_space(int c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_line(struct scan *s)
{
	for (int c = peek(s); c >= 0 && c != '\n'; c = peek(s))
		take(s);
}

/* curl's escapes in quotes. */
static int escaped(int c)
{
	return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
}

/* Takes a word, in quotes or up to a blank. A '#' before it begins a comment. */
static const char *next_word(struct scan *s)
{
	size_t size = 0;
	bool quoted;
	int c;

	while (is_space(c = peek(s)) || c == '#')
		if (c == '#')
			skip_line(s);
		else
			take(s);
	s->ended = c < 0;
	quoted = c == '"';
	if (quoted)
		take(s);
	while ((c = peek(s)) >= 0 && (quoted ? c != '"' && c != '\n' : !is_space(c))) {
		c = take(s);
		if (quoted && c == '\\')
			c = escaped(take(s));
		if (c <= 0)
			return "it is no text";
		if (size + 1 == sizeof(s->word))
			return "a word is too long";
		s->word[size++] = (char)c;
	}
	s->word[size] = '\0';
	if (quoted && peek(s) != '"')
		return "a quote is not closed";
	s->at += quoted;
	return NULL;
}

/* A macro reaches to an empty line. */
static void skip_macro(struct scan *s)
{
	do {
		skip_line(s);
		take(s);
		while (peek(s) == ' ' || peek(s) == '\t' || peek(s) == '\r')
			take(s);
	} while (peek(s) >= 0 && peek(s) != '\n');
}

/* ---- machines ---- */

struct login {
	bool given;
	bool inside; /* a machine, or the default: its words count */
	char name[NETRC_LOGIN_MAX], password[NETRC_PASSWORD_MAX];
};

static const char *take_value(struct scan *s, char *out, size_t room)
{
	const char *reason = next_word(s);

	if (!reason && s->ended)
		return "a keyword has no value";
	if (!reason && strlen(s->word) >= room)
		return "a name, login or password is too long";
	if (!reason)
		strcpy(out, s->word);
	return reason;
}

enum keyword { MACHINE, DEFAULT, LOGIN, PASSWORD, ACCOUNT, MACDEF, NONE };

/* As for curl, its letters have any case. */
static enum keyword keyword_of(const char *word)
{
	static const char keywords[NONE][9] = {
		"machine", "default", "login", "password", "account", "macdef"};
	enum keyword k = MACHINE;

	while (k < NONE && strcasecmp(word, keywords[k]) != 0)
		k++;
	return k;
}

/* Takes the value of the keyword that has been read. *ours: it is about the host that is looked up.
 */
static const char *take_keyword(
	struct scan *s, enum keyword keyword, const char *host, bool *ours, struct login *out)
{
	char other[NETRC_PASSWORD_MAX];
	const char *reason;

	switch (keyword) {
	case LOGIN:
	case PASSWORD:
		out->given |= *ours;
		if (*ours)
			return keyword == LOGIN
				       ? take_value(s, out->name, sizeof(out->name))
				       : take_value(s, out->password, sizeof(out->password));
		/* fall through */
	case ACCOUNT:
		return take_value(
			s, other, keyword == PASSWORD ? sizeof(other) : sizeof(out->name));
	case MACDEF:
		skip_macro(s);
		return NULL;
	case NONE:
		return !out->inside ? NULL
				    : "a word is none of machine, default, login and "
				      "password";
	case DEFAULT:
	case MACHINE:
		break;
	}
	out->inside = true;
	reason = keyword == MACHINE ? take_value(s, other, HOST_MAX) : NULL;
	*ours = host && !reason && (keyword == DEFAULT || strcasecmp(other, host) == 0);
	return reason;
}

static bool is_login_of(const struct login *l, const char *user)
{
	return !*user || strcmp(l->name, user) == 0;
}

/* Looks the host up: the first machine, or the default, counts that has a login or a password; for
 * a user, that has this login. NULL for the host: only checks the file. Without a reason *line is
 * without meaning. */
static const char *look_up(struct login *out, const char *host, const char *user, unsigned *line)
{
	struct scan s = {.line = 1};
	const char *reason;
	bool ours = false;

	*out = (struct login){.given = false};
	while (!(reason = next_word(&s)) && !s.ended) {
		enum keyword keyword = keyword_of(s.word);

		if (out->given && keyword <= DEFAULT) {
			if (is_login_of(out, user))
				break;
			*out = (struct login){.inside = true};
		}
		reason = take_keyword(&s, keyword, host, &ours, out);
		if (reason)
			break;
	}
	if (!is_login_of(out, user))
		*out = (struct login){.given = false};
	*line = s.line;
	explicit_bzero(&s, sizeof(s));
	return reason;
}

/* ---- the file ---- */

static void forget(void)
{
	explicit_bzero(known, known_size);
	known_size = 0;
}

/* Reads the file from its beginning to its end. */
static bool check_file(char *why, size_t size)
{
	struct login none;
	const char *reason;
	unsigned line;

	if (fstat(file, &status) < 0)
		return fail(why, size, "%m");
	if (status.st_size > NETRC_FILE_MAX)
		return fail(why, size, "it is larger than %d bytes", NETRC_FILE_MAX);
	reason = look_up(&none, NULL, "", &line);
	return !reason || fail(why, size, "line %u: %s", line, reason);
}

bool netrc_load(const char *path, char *why, size_t size)
{
	char reason[128];

	fd_close(&file);
	forget();
	if (!*path)
		return true;
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return fail(why, size, "netrc %s: %m", path);
	if (!check_file(reason, sizeof(reason)))
		return fail(why, size, "netrc %s: %s", path, reason);
	if (status.st_mode & 077)
		log_warning("%s: others may read the passwords in it (chmod 600)", path);
	return true;
}

bool netrc_reload(void)
{
	struct timespec before = status.st_mtim;
	struct stat now;
	char reason[128];

	if (file < 0 || fstat(file, &now) < 0 ||
		(now.st_mtim.tv_sec == before.tv_sec && now.st_mtim.tv_nsec == before.tv_nsec))
		return false;
	if (!check_file(reason, sizeof(reason))) {
		log_warning("netrc, read again: %s", reason);
		return false;
	}
	forget();
	return true;
}

const char *netrc_lookup(const char *host, const char *user)
{
	char key[NETRC_LOGIN_MAX + HOST_MAX];
	const char *userinfo = NULL;
	struct login login;
	unsigned line;
	size_t size;

	if (strchr(user, ':'))
		return NULL;
	snprintf(key, sizeof(key), "%s@%s", user, host);
	for (size_t at = 0; at < known_size; at = (size_t)(strchr(userinfo, '\0') + 1 - known)) {
		userinfo = strchr(known + at, '\0') + 1;
		if (strcmp(known + at, key) == 0)
			return *userinfo ? userinfo : NULL;
	}
	if (file < 0 || look_up(&login, host, user, &line))
		return NULL;
	size = strlen(key) + strlen(login.name) + strlen(login.password) + 3;
	if (size > sizeof(known) - known_size)
		forget();
	userinfo = known + known_size + strlen(key) + 1;
	snprintf(known + known_size, sizeof(known) - known_size, "%s%c%s%s%s", key, '\0',
		login.name, login.given ? ":" : "", login.password);
	known_size = (size_t)(strchr(userinfo, '\0') + 1 - known);
	explicit_bzero(&login, sizeof(login));
	return *userinfo ? userinfo : NULL;
}
