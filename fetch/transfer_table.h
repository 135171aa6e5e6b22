/* fetch/transfer_table.h - the table of transfers: what each is doing, for transfer.h and for those
 * who look at it. */
#ifndef FETCH_TRANSFER_TABLE_H
#define FETCH_TRANSFER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "http.h"
#include "daemon/memory.h"
#include "image/image.h"

/* The ranges of a transfer: the one that is coming and those behind it. */
#define RANGES (1 + PIPELINE_MAX)

/* Instead of a file's number. */
#define HEAD_ONLY (-1) /* the image's size, version and first bytes */
#define TEXT_ONLY (-2) /* a small text */

enum transfer_state {
	TRANSFER_FREE,
	TRANSFER_ASKING,  /* requests are under way */
	TRANSFER_PAUSED,  /* between two requests for the same range */
	TRANSFER_HEAD,	  /* first bytes of an image: the file must tell whether it has them */
	TRANSFER_WRITING, /* all bytes of the range are here, the last are not written yet */
	TRANSFER_ENDED,	  /* transfers_run() has to return what came of HEAD_ONLY or TEXT_ONLY */
};

struct range {
	uint64_t from, end; /* whole pages, except at the image's end */
};

/* Members are for transfer.c to write, and for pool.c to read. */
struct transfer {
	/* with the life of the memory; `http` is below */
	char *buffer;  /* capacity.buffer bytes, aligned to a page */
	int64_t freed; /* when it became free */
	enum transfer_state state;
	int slot; /* its place in the poll set of this turn; -1: none */

	/* with the life of its work */
	struct image *image;
	int64_t data_at;     /* when the last page's worth of bytes came; 0: none yet */
	int64_t write_after; /* writing is tried again then */
	int64_t write_since; /* when writing first failed; 0: it does not fail */
	uint64_t lacks;	     /* 1 + the block of the tree that has to come before it is written */
	enum image_part part;
	int file;	  /* a number, HEAD_ONLY or TEXT_ONLY */
	unsigned count;	  /* of `ranges` below; the first is the one that is coming */
	unsigned hops;	  /* redirects in a row */
	uint32_t planned; /* bit by range: a trace or the configuration asks for it */
	bool started;	  /* it has to run once without waiting */
	bool held;	  /* its buffer was not written: bytes may wait in its socket */

	/* with the life of the first range */
	uint64_t base;		/* the offset of buffer[0] in the image, at a page's boundary */
	size_t buffered;	/* bytes in the buffer */
	uint64_t credited;	/* how far the range had come at data_at */
	int64_t resume;		/* PAUSED: when to go on */
	unsigned interruptions; /* requests in a row that ended early */
	bool goes_on;		/* the last response was short: the next request has the rest */

	/* with the life of the request */
	uint64_t attempted; /* the first byte that it asks for */
	int64_t asked_at;   /* when it began, in milliseconds */
	int64_t measured;   /* the same in microseconds; 0: much else was under way */
	unsigned mirror;    /* the url line that is asked */
	uint8_t server;	    /* the same, or ELSEWHERE */
	bool redirected;    /* it goes to a redirect's target, not to the configured URL */
	bool remembered;    /* to that of an earlier redirect, and is not answered yet */
	bool provisional;   /* what came from `attempted` on counts once the body has ended */

	/* Large members are last, since code is shorter for what is near the beginning. */
	struct range ranges[RANGES];
	struct http http;
};
_Static_assert(RANGES <= 32, "a bit of `planned` for each");

/* capacity.connections of them. */
extern struct transfer *transfers;

#define for_each_transfer(t)                                                                       \
	for (struct transfer *t = transfers; t < transfers + capacity.connections; t++)

#endif
