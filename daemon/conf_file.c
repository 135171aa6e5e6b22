#include "daemon/conf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

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
	conf_mistake(c, r->why);
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
			conf_mistake(c, r->why);
			return fail(r->why, r->size, "%s:%u: the line is too long", r->path,
				r->line + 1);
		}
		memmove(buffer, line, have);
	}
	if (got < 0) {
		conf_mistake(c, r->why);
		return fail(r->why, r->size, "%s: %m", r->path);
	}
	return (have == 0 || take_line(c, r, buffer, have)) && good;
}

bool conf_file(struct conf *c, const char *path, char *why, size_t size, bool *missing)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	bool good;

	*missing = fd < 0 && errno == ENOENT;
	if (fd < 0) {
		conf_mistake(c, why);
		return fail(why, size, "%s: %m", path);
	}
	good = read_lines(c, fd, &(struct reader){.path = path, .why = why, .size = size});
	close(fd);
	c->given = 0; /* the command line may say otherwise */
	c->roothashes_filed = c->roothashes;
	return good;
}
