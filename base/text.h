/* base/text.h - taking text apart: numbers, hexadecimal digits, percent-encoded bytes, words, and
 * the lines of a file. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Takes a decimal number, at most `most` (9 or more), off the front of the text from *at to `end`.
 * False: no digit stands there, or the number is larger; *at is then anywhere in its digits. */
bool number_take(const char **at, const char *end, uint64_t most, uint64_t *out);

/* The decimal number that a text begins with; 0 if it begins with none, or with one over INT64_MAX.
 */
int64_t leading_number(const char *text);

/* What a token may have: RFC 9110 section 5.6.2. */
extern const char token_characters[];

/* The value of a hexadecimal digit, or -1 if it is none. */
int hex_digit(char c);

/* Takes a byte off the front of the text from *at to `end`, which is not empty, and decodes it if
 * it is percent-encoded (RFC 3986 section 2.1). Returns 0 to 255; -1: a '%' has no two digits. */
int percent_take(const char **at, const char *end);

/* Whether a misspelt word may stand for one of ours, which has at most WORD_MAX bytes: whether few
 * letters are wrong, missing, too many or in wrong order, and fewer than *distance, which is then
 * set. Its first value is UINT_MAX. */
#define WORD_MAX 31
bool word_is_nearer(const char *word, size_t size, const char *ours, unsigned *distance);

/* Takes the next word off a text, and writes a NUL behind it. Words are parted by blanks and line
 * ends. NULL: there is no more. */
char *word_take(char **text);

/* A place in a file. Zero all but the descriptor, whose own offset is neither used nor moved. */
struct lines {
	int fd;
	off_t offset;
	char text[1024];
};

/* The next line without its newline, which the last one need not have; NULL at the end. It is the
 * caller's to change, until the next call. A line over 1,022 bytes is passed over. */
char *lines_next(struct lines *l);

#endif
