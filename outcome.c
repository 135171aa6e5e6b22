/* outcome.c - how an attempt can end: the one table of errnos and words. */
#include "outcome.h"

#include <errno.h>
#include <stddef.h>

static const struct {
	int error;
	const char *words;
} table[] = {
	[OUTCOME_OK] = {0, "done"},
	[OUTCOME_NOT_FOUND] = {ENOENT, "not found on the server"},
	[OUTCOME_DENIED] = {EACCES, "denied by the server"},
	[OUTCOME_CHANGED] = {ESTALE, "changed on the server"},
	[OUTCOME_REFUSED] = {EREMOTEIO, "reply refused"},
	[OUTCOME_TIMED_OUT] = {ETIMEDOUT, "timed out"},
	[OUTCOME_UNREACHABLE] = {EHOSTUNREACH, "server unreachable"},
	[OUTCOME_UNTRUSTED] = {EKEYREJECTED, "server not trusted"},
	[OUTCOME_BUSY] = {EAGAIN, "server busy"},
	[OUTCOME_NO_SPACE] = {ENOSPC, "cache full"},
	[OUTCOME_LIMIT] = {ENFILE, "over one of our limits"},
};

static const size_t outcomes = sizeof(table) / sizeof(table[0]);

int outcome_errno(enum outcome o)
{
	return (size_t)o < outcomes ? table[o].error : EIO;
}

const char *outcome_words(enum outcome o)
{
	return (size_t)o < outcomes ? table[o].words : "unknown outcome";
}
