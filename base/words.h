/* base/words.h - tables of texts for numbers, without pointers, which would take more than most of
 * the texts. Such a table is a macro LIST(E) that stands for E(NUMBER, "text") of each; a number
 * has 16 bits, and no text is empty.
 */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* For a list's E: the numbers of words_find(), and its texts. */
#define WORDS_NUMBER(number, text) number,
#define WORDS_TEXT(number, text)   text "\0"

/* The text of a number, static; NULL: it has none. */
const char *words_find(const uint16_t *numbers, const char *texts, int number);

#endif
