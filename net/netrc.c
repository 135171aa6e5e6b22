#include "net/netrc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

struct machine {
	char host[HOST_MAX];		   /* empty: default */
	char userinfo[2 * NETRC_WORD_MAX]; /* "login:password" */
};

static struct machine machines[NETRC_MAX];
static size_t count;
static int file = -1;
static struct stat status; /* of the file when it was read */

/* The parsers return NULL, or what is wrong. */
static const char *take_machine(const char *host)
{
	if (strlen(host) >= HOST_MAX)
		return "a machine's name is too long";
	if (count == NETRC_MAX)
		return "more machines than there is room for (NETRC_MAX)";
	machines[count].userinfo[0] = '\0';
	strcpy(machines[count++].host, host);
	return NULL;
}

static const char *take_value(const char *keyword, const char *value)
{
	struct machine *m;
	size_t used;

	if (count == 0)
		return "login or password comes before the first machine";
	m = &machines[count - 1];
	if (strlen(value) >= NETRC_WORD_MAX)
		return "a login or password is too long";
	used = strlen(m->userinfo);
	if (used == 0 && strcmp(keyword, "password") == 0)
		return "a password comes before its login";
	snprintf(m->userinfo + used, sizeof(m->userinfo) - used, "%s%s", value,
		used == 0 ? ":" : "");
	return NULL;
}

static const char *parse(char *text)
{
	const char *keyword, *value, *reason = NULL;

	while (!reason && (keyword = word_take(&text))) {
		if (strcmp(keyword, "default") == 0)
			reason = take_machine("");
		else if (!(value = word_take(&text)))
			reason = "a keyword has no value";
		else if (strcmp(keyword, "machine") == 0)
			reason = take_machine(value);
		else if (strcmp(keyword, "login") == 0 || strcmp(keyword, "password") == 0)
			reason = take_value(keyword, value);
		else
			reason = "a word is neither machine, login, password nor default";
	}
	return reason;
}

/* Reads the open file from its beginning into the table. */
static const char *read_file(void)
{
	char text[NETRC_FILE_MAX + 1];
	const char *reason;
	ssize_t n = pread(file, text, sizeof(text), 0);

	if (n < 0 || fstat(file, &status) < 0)
		return strerror(errno);
	if (n == sizeof(text) || memchr(text, '\0', (size_t)n))
		return "it is too large, or no text";
	text[n] = '\0';
	count = 0;
	reason = parse(text);
	explicit_bzero(text, sizeof(text));
	return reason;
}

bool netrc_load(const char *path, char *why, size_t size)
{
	const char *reason;

	fd_close(&file);
	if (count)
		explicit_bzero(machines, sizeof(machines));
	count = 0;
	if (!*path)
		return true;
	file = open(path, O_RDONLY | O_CLOEXEC);
	reason = file < 0 ? strerror(errno) : read_file();
	if (reason)
		return fail(why, size, "netrc %s: %s", path, reason);
	if (status.st_mode & 077)
		log_warning("%s: others may read the passwords in it (chmod 600)", path);
	return true;
}

bool netrc_reload(void)
{
	struct stat now;
	const char *reason;

	if (file < 0 || fstat(file, &now) < 0 ||
		(now.st_mtim.tv_sec == status.st_mtim.tv_sec &&
			now.st_mtim.tv_nsec == status.st_mtim.tv_nsec))
		return false;
	reason = read_file();
	if (reason)
		log_warning("netrc, read again: %s", reason);
	return !reason;
}

const char *netrc_lookup(const char *host)
{
	for (size_t i = 0; i < count; i++)
		if (machines[i].userinfo[0] &&
			(!machines[i].host[0] || strcasecmp(machines[i].host, host) == 0))
			return machines[i].userinfo;
	return NULL;
}
