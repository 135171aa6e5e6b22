#include "image/before.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/dir.h"

struct search {
	char *found; /* the name of its file */
	const char *pattern, *end;
	bool digits; /* a run of digits stands for any other; else a '*' for any bytes */
	time_t opened;
};

static const char *skip_digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

static bool fits(const struct search *s, const char *name, const char *end)
{
	const char *p = s->pattern;

	for (; p < s->end; p++, name++) {
		if (s->digits && skip_digits(p, s->end) > p && skip_digits(name, end) > name) {
			p = skip_digits(p, s->end) - 1;
			name = skip_digits(name, end) - 1;
		} else if (!s->digits && *p == '*') {
			size_t rest = (size_t)(s->end - p - 1);

			return (size_t)(end - name) >= rest && !memcmp(end - rest, p + 1, rest);
		} else if (name == end || *p != *name) {
			return false;
		}
	}
	return name == end;
}

static bool see(void *context, int folder, const char *name)
{
	struct search *s = context;
	struct state_names names;
	struct state state;
	struct stat file;
	const char *cookie = (const char *)names.cookie;

	if (strlen(name) == STATE_NAME - 1 &&
		fstatat(folder, name, &file, AT_SYMLINK_NOFOLLOW) == 0 &&
		file.st_mtime > s->opened && state_read(&state, name, &names) &&
		state_is_verified(&state) && fits(s, cookie, cookie + names.cookie_size)) {
		s->opened = file.st_mtime;
		strcpy(s->found, name);
	}
	return true;
}

bool before_find(char name[STATE_NAME], struct state_key key, const char *pattern)
{
	struct search s = {.found = name, .pattern = pattern, .digits = !*pattern};

	if (s.digits)
		s.pattern = key.cookie;
	s.end = s.pattern + (s.digits ? key.cookie_size : strlen(pattern));
	dir_each(state_folder(), ".", see, &s);
	return s.opened > 0;
}
