#include "tools/exposition.h"

#include <string.h>

/* More digits are no number here. */
#define DIGITS_MAX 20

/* Takes a name and the byte behind it, which is returned, and becomes a NUL in the text. Returns a
 * NUL if there is no name. */
static char take_name(const char **out, char **text)
{
	char *end = *text + strspn(*text, "abcdefghijklmnopqrstuvwxyz_"), behind = *end;

	if (end == *text || !behind)
		return '\0';
	*out = *text;
	*end = '\0';
	*text = end + 1;
	return behind;
}

/* Takes a text up to its closing quote, and the quote. */
static bool take_quoted(const char **out, char **text)
{
	char *p = *text;

	for (; *p != '"'; p++)
		if (*p < ' ' || *p > '~' || (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n'))
			return false;
	*out = *text;
	*p = '\0';
	*text = p + 1;
	return true;
}

static bool take_digits(char **text)
{
	size_t n = strspn(*text, "0123456789");

	*text += n;
	return n > 0 && n <= DIGITS_MAX;
}

/* Takes a number without needless zeros before it, as JSON has it, and the line's end. */
static bool take_value(const char **out, char **text)
{
	const char *v = *out = *text;

	if (!take_digits(text) || (**text == '.' && (++*text, !take_digits(text))))
		return false;
	if (**text != '\n' || (v[0] == '0' && v[1] != '.' && v[1] != '\n'))
		return false;
	*(*text)++ = '\0';
	return true;
}

static bool take_line(struct metric *m, char **text)
{
	char behind;

	*m = (struct metric){0};
	if (strncmp(*text, METRIC_PREFIX, sizeof(METRIC_PREFIX) - 1) != 0)
		return false;
	*text += sizeof(METRIC_PREFIX) - 1;
	behind = take_name(&m->name, text);
	if (behind == '{') {
		for (unsigned i = 0; i == 0 || behind == ','; i++) {
			if (i == METRIC_LABELS || take_name(&m->label[i].name, text) != '=' ||
				*(*text)++ != '"' || !take_quoted(&m->label[i].value, text))
				return false;
			behind = *(*text)++;
		}
		if (behind != '}')
			return false;
		behind = *(*text)++;
	}
	return behind == ' ' && take_value(&m->value, text);
}

unsigned metrics_parse(struct metrics *out, char *text)
{
	out->count = 0;
	for (unsigned line = 1;; line++) {
		if (strncmp(text, "# EOF\n", 6) == 0)
			return text[6] ? line : 0;
		if (*text == '#') {
			text += strcspn(text, "\n");
			if (*text++ != '\n')
				return line;
		} else if (out->count == out->max ||
			   !take_line(&out->metric[out->count++], &text)) {
			return line;
		}
	}
}

const char *metric_label(const struct metric *m, const char *name)
{
	for (size_t i = 0; i < METRIC_LABELS && m->label[i].name; i++)
		if (strcmp(m->label[i].name, name) == 0)
			return m->label[i].value;
	return NULL;
}

bool metric_is_of(const struct metric *m, const struct metric *other)
{
	static const char *const names[] = {"image", "volume", "mirror"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *a = metric_label(m, names[i]), *b = metric_label(other, names[i]);

		if (!a != !b || (a && strcmp(a, b) != 0))
			return false;
	}
	return true;
}

const struct metric *metric_find(
	const struct metrics *all, const char *name, const struct metric *other)
{
	for (size_t i = 0; i < all->count; i++)
		if (strcmp(all->metric[i].name, name) == 0 && metric_is_of(&all->metric[i], other))
			return &all->metric[i];
	return NULL;
}

uint64_t metric_number(const struct metric *m, unsigned decimals)
{
	const char *p = m ? m->value : "";
	uint64_t n = 0;

	for (; *p && *p != '.'; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	for (p += *p == '.'; decimals > 0; decimals--)
		n = n * 10 + (*p ? (uint64_t)(*p++ - '0') : 0);
	return n;
}
