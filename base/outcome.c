#include "base/outcome.h"

#include <errno.h>

const struct outcome_form outcomes[] = {
	[OUTCOME_OK] = {0, 0, "done"},
	[OUTCOME_NOT_FOUND] = {ENOENT, 4, "not found on the server"},
	[OUTCOME_DENIED] = {EACCES, 5, "denied by the server"},
	[OUTCOME_CHANGED] = {ESTALE, 6, "changed on the server"},
	[OUTCOME_REFUSED] = {EREMOTEIO, 7, "reply refused"},
	[OUTCOME_TIMED_OUT] = {ETIMEDOUT, 8, "timed out"},
	[OUTCOME_UNREACHABLE] = {EHOSTUNREACH, 9, "server unreachable"},
	[OUTCOME_UNTRUSTED] = {EKEYREJECTED, 10, "server not trusted"},
	[OUTCOME_UNVERIFIED] = {EIO, 10, "not verified"},
	[OUTCOME_BUSY] = {EAGAIN, 11, "server busy"},
	[OUTCOME_NO_SPACE] = {ENOSPC, 12, "cache full"},
	[OUTCOME_LIMIT] = {ENFILE, 13, "over one of our limits"},
};
