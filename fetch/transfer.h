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
#include "daemon/conf.h"
#include "fetch/file.h"
#include "fetch/mirror.h"
#include "fetch/transfer_table.h"

/* Bytes that a transfer takes beside its buffer. */
size_t transfers_memory_each(void);

/* Once, at start. `memory` is zero and aligned to a page, and has room for capacity.connections
 * transfers with their buffers. `conf` stays borrowed. */
void transfers_init(const struct conf *conf, void *memory);

/* Whether the transfer works for the file. */
bool transfer_is_for(const struct transfer *t, unsigned file);

/* Whether its server has sent nothing, or its cache file taken nothing, since that is full or a
 * block of the tree is lacking, for PREEMPT_AFTER. */
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

/* What an attempt was for, before the reason why it has failed; by part. */
extern const char *const transfer_parts[];

/* Ends an attempt that has failed: writes the whole pages that have come, and tells the mirror. */
void transfer_fail(struct transfer *t, enum outcome outcome, const char *why);

/* The same for the first bytes of an image that is being opened, or its tree, that do not fit the
 * root hash; all that was requested of it is given up. */
void transfer_unfit(struct transfer *t, const struct file_fault *fault);

/* Must follow TRANSFER_OPENED: the first bytes also belong to the file, and are written unless it
 * has them; -1: they belong to none. */
void transfer_write_head(struct transfer *t, int file);

/* Lets it get as far as it can without waiting. Only transfers.c calls it, which has the functions
 * below. */
void transfer_run(struct transfer *t);

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
