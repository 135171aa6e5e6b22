/* daemon/keywords.h - the words of the configuration, each with what it takes; conf.c's only. */
#ifndef DAEMON_KEYWORDS_H
#define DAEMON_KEYWORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"

struct keyword;

/* What stands in a directive. */
struct value {
	const struct keyword *keyword;
	const char *text; /* never empty where the keyword takes a value */
	const char *why;  /* of a mistake, static; NULL where the keyword's `takes` says all */
};

/* NULL: there is no such word. */
const struct keyword *keyword_find(const char *word, size_t len);

/* Sets what the word and its value say. False on a mistake: keyword_complain() knows which. */
bool keyword_take(struct conf *c, struct value *v);

/* Attaches the image with this name as a line would; the keyword is set here. A name that is
 * attached already, or is too long, is no mistake. */
bool keyword_attach(struct conf *c, struct value *v);

/* Fills why with "WHERE: ", the mistake and the value, but for passwords in it. Returns false. */
bool keyword_complain(const struct value *v, const char *where, char *why, size_t size);

/* The same for a word that is none, with the nearest one. Says no more of the line: what stands
 * behind the word may be a secret. */
bool keyword_complain_unknown(
	const char *word, size_t len, const char *where, char *why, size_t size);

#endif
