#include "tools/exposition.h"

#include <string.h>

#define PREFIX "cachefilesd_"

/* What still has meaning as a number here. */
#define DIGITS_MAX 20

/* Takes the bytes at *p that are of the set. */
static struct slice take(const char **p, const char *set)
{
	struct slice taken = {*p, strspn(*p, set)};

	*p += taken.size;
	return taken;
}

static struct slice take_name(const char **p)
{
	return take(p, "abcdefghijklmnopqrstuvwxyz_");
}

/* A text to its closing quote, which is taken too. */
static bool take_quoted(struct slice *out, const char **text)
{
	const char *p = *text;

	for (; *p != '"'; p++)
		if (*p < ' ' || *p > '~' || (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n'))
			return false;
	*out = (struct slice){*text, (size_t)(p - *text)};
	*text = p + 1;
	return true;
}

/* What stands behind a '{' or ','. */
static bool take_label(struct metric *s, unsigned i, const char **p)
{
	if (i == METRIC_LABELS)
		return false;
	++*p;
	s->label[i].name = take_name(p);
	if (s->label[i].name.size == 0 || strncmp(*p, "=\"", 2) != 0)
		return false;
	*p += 2;
	return take_quoted(&s->label[i].value, p);
}

static bool take_digits(const char **p)
{
	size_t n = take(p, "0123456789").size;

	return n > 0 && n <= DIGITS_MAX;
}

/* As JSON has it: without needless zeros before it. */
static bool take_value(struct slice *out, const char **text)
{
	const char *p = *text;
	bool good = take_digits(&p) && (*p != '.' || (p++, take_digits(&p)));

	*out = (struct slice){*text, (size_t)(p - *text)};
	*text = p;
	return good && (out->at[0] != '0' || out->size == 1 || out->at[1] == '.');
}

/* The line is taken without its end. */
static bool take_line(struct metric *s, const char **p)
{
	*s = (struct metric){0};
	if (strncmp(*p, PREFIX, sizeof(PREFIX) - 1) != 0)
		return false;
	*p += sizeof(PREFIX) - 1;
	s->name = take_name(p);
	if (**p == '{') {
		for (unsigned i = 0; i == 0 || **p == ','; i++)
			if (!take_label(s, i, p))
				return false;
		if (*(*p)++ != '}')
			return false;
	}
	return s->name.size > 0 && *(*p)++ == ' ' && take_value(&s->value, p);
}

unsigned metrics_parse(struct metrics *out, const char *text)
{
	out->count = 0;
	for (unsigned line = 1;; line++) {
		if (strncmp(text, "# EOF\n", 6) == 0)
			return text[6] ? line : 0;
		if (*text == '#')
			text += strcspn(text, "\n");
		else if (out->count == out->max || !take_line(&out->metric[out->count++], &text))
			return line;
		if (*text++ != '\n')
			return line;
	}
}

bool slice_is_same(struct slice a, struct slice b)
{
	return a.size == b.size && memcmp(a.at, b.at, a.size) == 0;
}

bool slice_is(struct slice slice, const char *text)
{
	return slice_is_same(slice, (struct slice){text, strlen(text)});
}

struct slice metric_label(const struct metric *s, const char *name)
{
	for (size_t i = 0; i < METRIC_LABELS && s->label[i].name.at; i++)
		if (slice_is(s->label[i].name, name))
			return s->label[i].value;
	return (struct slice){NULL, 0};
}

bool metric_is_of(const struct metric *s, const struct metric *other)
{
	static const char *const names[] = {"image", "volume", "mirror"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct slice a = metric_label(s, names[i]), b = metric_label(other, names[i]);

		if (!a.at != !b.at || (a.at && !slice_is_same(a, b)))
			return false;
	}
	return true;
}

const struct metric *metric_find(
	const struct metrics *all, const char *name, const struct metric *other)
{
	for (size_t i = 0; i < all->count; i++)
		if (slice_is(all->metric[i].name, name) && metric_is_of(&all->metric[i], other))
			return &all->metric[i];
	return NULL;
}

uint64_t metric_number(const struct metric *s, unsigned decimals)
{
	const char *p = s ? s->value.at : NULL, *end = s ? p + s->value.size : NULL;
	uint64_t n = 0;

	for (; p < end && *p != '.'; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	if (p < end)
		p++;
	for (; decimals > 0; decimals--)
		n = n * 10 + (p < end ? (uint64_t)(*p++ - '0') : 0);
	return n;
}
