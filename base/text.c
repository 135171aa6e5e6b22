#include "base/text.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

#include "base/minmax.h"

const char token_characters[] =
	"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

bool number_take(const char **at, const char *end, uint64_t most, uint64_t *out)
{
	const char *begin = *at;

	for (*out = 0; *at < end && **at >= '0' && **at <= '9'; ++*at) {
		unsigned digit = (unsigned)(**at - '0');

		if (*out > (most - digit) / 10)
			return false;
		*out = *out * 10 + digit;
	}
	return *at > begin;
}

int64_t leading_number(const char *text)
{
	uint64_t n;

	return number_take(&text, text + strlen(text), INT64_MAX, &n) ? (int64_t)n : 0;
}

int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int percent_take(const char **at, const char *end)
{
	const char *p = (*at)++;

	if (*p != '%')
		return (unsigned char)*p;
	if (end - p < 3 || hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
		return -1;
	*at += 2;
	return hex_digit(p[1]) << 4 | hex_digit(p[2]);
}

/* The edit distance of optimal string alignment: table[i][j] is that of the first i bytes of the
 * one and the first j of the other. */
bool word_is_nearer(const char *word, size_t size, const char *ours, unsigned *distance)
{
	unsigned char table[WORD_MAX + 1][WORD_MAX + 1];
	size_t width = strlen(ours), n = 0;

	if (size > WORD_MAX)
		return false;
	for (size_t i = 0; i <= size; i++)
		for (size_t j = 0; j <= width; j++) {
			n = i + j;
			if (i > 0 && j > 0) {
				unsigned char *last = table[i - 1];
				char c = (char)tolower((unsigned char)word[i - 1]);

				n = min_u64(last[j], table[i][j - 1]) + 1;
				n = min_u64(n, last[j - 1] + (c != ours[j - 1]));
				if (i > 1 && j > 1 && c == ours[j - 2] &&
					word[i - 2] == ours[j - 1])
					n = min_u64(n, table[i - 2][j - 2] + 1u);
			}
			table[i][j] = (unsigned char)n;
		}
	if (n * 4 > width + 2 || n >= *distance)
		return false;
	*distance = (unsigned)n;
	return true;
}

char *word_take(char **text)
{
	char *word = *text + strspn(*text, " \t\r\n");
	size_t size = strcspn(word, " \t\r\n");

	*text = word + size;
	if (**text)
		*(*text)++ = '\0';
	return size > 0 ? word : NULL;
}

char *lines_next(struct lines *l)
{
	bool too_long = false;
	ssize_t got;

	while ((got = pread(l->fd, l->text, sizeof(l->text) - 1, l->offset)) > 0) {
		char *newline = memchr(l->text, '\n', (size_t)got);
		size_t size = newline ? (size_t)(newline - l->text) : (size_t)got;
		bool whole = newline || (size_t)got < sizeof(l->text) - 1;

		l->offset += (off_t)size + (newline != NULL);
		l->text[size] = '\0';
		if (whole && !too_long)
			return l->text;
		too_long = !whole;
	}
	return NULL;
}
