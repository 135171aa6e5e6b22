/* base/outcome.h - how an attempt to open or fetch can end, by what a person can do about it. */
#ifndef BASE_OUTCOME_H
#define BASE_OUTCOME_H

enum outcome {
	OUTCOME_OK,
	OUTCOME_NOT_FOUND,   /* 404, 410: no such image */
	OUTCOME_DENIED,	     /* 401, 403, 407 */
	OUTCOME_CHANGED,     /* the server has another version than the one pinned at OPEN */
	OUTCOME_REFUSED,     /* the reply may hold other bytes than those asked for */
	OUTCOME_TIMED_OUT,   /* no answer, or no further byte, in time */
	OUTCOME_UNREACHABLE, /* no address, no route, refused, reset, closed */
	OUTCOME_UNTRUSTED,   /* the certificate does not prove the server's name, or TLS failed */
	OUTCOME_UNVERIFIED,  /* the bytes do not fit the root hash, or there is none */
	OUTCOME_BUSY,	     /* 408, 425, 429, 5xx: the server may answer later */
	OUTCOME_NO_SPACE,    /* the cache is full */
	OUTCOME_LIMIT,	     /* one of our own tables is full, or a URL too long */
	OUTCOMES
};

/* By outcome. The exit statuses of --get are 0 for OUTCOME_OK, else 4 or more (1 to 3 are
 * EXIT_SYSTEM and so on, log.h), but 14, which is --check's. The manual has them, so they never
 * change. */
extern const struct outcome_form {
	int error; /* the errno for the kernel, positive; 0 for OUTCOME_OK */
	int exit_status;
	const char *words; /* for a log line */
} outcomes[];

#endif
