/* fetch/transfer.h - a transfer: one connection with its buffer, and the ranges that it fetches one
 * behind the other. It goes on where a body breaks off, at another mirror if need be, follows
 * redirects, and writes the bytes by file_write(). pool.h chooses the transfer for a range. */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "http.h"
#include "daemon/conf.h"
#include "daemon/memory.h"
#include "fetch/file.h"
#include "fetch/mirror.h"

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
	/* with the life of the memory */
	struct http http;
	char *buffer; /* capacity.buffer bytes, aligned to a page */
	enum transfer_state state;
	int64_t freed; /* when it became free */
	int slot;      /* its place in the poll set of this turn; -1: none */

	/* with the life of its work */
	struct image *image;
	enum image_part part;
	int file; /* a number, HEAD_ONLY or TEXT_ONLY */
	struct range ranges[RANGES];
	unsigned count;	     /* of ranges; the first is the one that is coming */
	unsigned hops;	     /* redirects in a row */
	bool started;	     /* it has to run once without waiting */
	uint32_t planned;    /* bit by range: a trace or the configuration asks for it */
	int64_t data_at;     /* when the last page's worth of bytes came; 0: none yet */
	int64_t write_after; /* writing is tried again then */
	int64_t write_since; /* when writing first failed; 0: it does not fail */
	uint64_t lacks;	     /* 1 + the block of the tree that has to come before it is written */

	/* with the life of the first range */
	uint64_t base;		/* the offset of buffer[0] in the image, at a page's boundary */
	size_t buffered;	/* bytes in the buffer */
	uint64_t credited;	/* how far the range had come at data_at */
	unsigned interruptions; /* requests in a row that ended early */
	bool goes_on;		/* the last response was short: the next request has the rest */
	int64_t resume;		/* PAUSED: when to go on */

	/* with the life of the request */
	unsigned mirror;    /* the url line that is asked */
	bool redirected;    /* it goes to a redirect's target, not to the configured URL */
	bool remembered;    /* to that of an earlier redirect, and is not answered yet */
	uint64_t attempted; /* the first byte that it asks for */
	bool provisional;   /* what came from `attempted` on counts once the body has ended */
	int64_t asked_at;   /* when it began, in milliseconds */
	int64_t measured;   /* the same in microseconds; 0: much else was under way */
};
_Static_assert(RANGES <= 32, "a bit of `planned` for each");

/* capacity.connections of them. */
extern struct transfer *transfers;

#define for_each_transfer(t)                                                                       \
	for (struct transfer *t = transfers; t < transfers + capacity.connections; t++)

/* Bytes that a transfer takes beside its buffer. */
size_t transfers_memory_each(void);

/* Once, at start. `memory` is zero and aligned to a page, and has room for capacity.connections
 * transfers with their buffers. `conf` stays borrowed. */
void transfers_init(const struct conf *conf, void *memory);

/* Whether the transfer works for the file. */
bool transfer_is_for(const struct transfer *t, unsigned file);

/* Whether its server has sent nothing, or its cache file taken nothing, since that is full or a block
 * of the tree is lacking, for PREEMPT_AFTER. */
bool transfer_is_stalled(const struct transfer *t);
bool transfer_waits_to_write(const struct transfer *t);

/* Bytes in flight: those that it has requested and not got; of all transfers, except those whose
 * server sends nothing. */
uint64_t transfer_outstanding(const struct transfer *t);
uint64_t transfers_outstanding(void);

/* Begins work in a free transfer: [range.from, range.end) of a part of an image for `file`; of a
 * tree it is at TREE_BASE. `target` is where to ask; NULL: the image's name makes no URL, and the
 * attempt fails. */
struct transfer_work {
	struct image *image;
	enum image_part part;
	int file;
};
void transfer_start(struct transfer *t, const struct mirror_target *target,
	struct transfer_work work, struct range range);

/* Puts a range behind those of a transfer in TRANSFER_ASKING that has fewer than RANGES. */
void transfer_append(struct transfer *t, struct range range);

/* Makes it free. What came and is not written is lost; the second also takes back that its ranges
 * were requested. */
void transfer_free(struct transfer *t);
void transfer_drop(struct transfer *t);

/* Ends an attempt that has failed: writes the whole pages that have come, and tells the mirror. */
void transfer_fail(struct transfer *t, enum outcome outcome, const char *why);

/* The same for the first bytes of an image that is being opened, or its tree, that do not fit the root
 * hash; all that was requested of it is given up. */
void transfer_unfit(struct transfer *t, const struct file_fault *fault);

/* Must follow TRANSFER_OPENED: the first bytes also belong to the file, and are written unless it
 * has them; -1: they belong to none. */
void transfer_write_head(struct transfer *t, int file);

enum transfer_event {
	TRANSFERS_WAIT,	 /* for a descriptor, or until transfers_next() */
	TRANSFER_OPENED, /* of HEAD_ONLY: the image's size and version are pinned */
	TRANSFER_TEXT,	 /* of TEXT_ONLY: it is over */
	TRANSFER_PROOF,	 /* of HEAD_ONLY: an image's root hash, or the signature of one; must be
			  * followed by transfer_free() or transfer_fail() */
};

/* `bytes` and `url` are good until something else is requested. */
struct transfer_result {
	struct image *image;
	enum image_part part;
	const char *bytes;	   /* OPENED: the image's first bytes, EROFS_HEAD if it has them */
	size_t size;		   /* of `bytes`, at most a buffer. TEXT: 0 when there is none */
	bool whole;		   /* TEXT: there is no more of it */
	const struct url *url;	   /* OPENED: where they come from */
	struct transfer *transfer; /* OPENED, PROOF */
};

/* The loop's three: see fetch.h. transfers_run() lets each transfer get as far as it can without
 * waiting, and returns at the first event; call it until it returns TRANSFERS_WAIT. With NULL only
 * those run that have just started or whose time has come. */
size_t transfers_poll(struct pollfd out[CONNECTIONS_MAX]);
int64_t transfers_next(void);
enum transfer_event transfers_run(const struct pollfd *polled, struct transfer_result *out);

/* Whether transfers_run(NULL) has something to do. */
bool transfers_unfinished(void);

#endif
