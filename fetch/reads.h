/* fetch/reads.h - the READs that wait, each for the whole pages of [pos, end) of its file. */
#ifndef FETCH_READS_H
#define FETCH_READS_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/file.h"

struct read_request {
	bool used;
	uint8_t kind; /* enum read_kind */
	bool tried;   /* an attempt at its next byte has failed */
	unsigned file;
	uint32_t id;	   /* the front end's */
	uint64_t pos, end; /* the bytes that are still missing */
	uint64_t asked;	   /* of [pos, end) what is before it is in flight or cached */
	uint64_t tree;	   /* where the block of the tree is that has to come first; 0: none */
	int64_t came;
	int64_t since;	   /* when it came, `pos` last moved, or the first attempt began */
	uint64_t sequence; /* larger came later */
};

extern struct read_request *reads; /* capacity.reads */
extern unsigned reads_used;
extern int64_t reads_last; /* when the last one came, of cached bytes too where that is known */

/* The first one at or behind `r` in the table; NULL: none. */
struct read_request *reads_at(struct read_request *r);

#define for_each_read(r) for (struct read_request *r = reads_at(reads); r; r = reads_at(r + 1))

/* reads_used must be less than capacity.reads. */
void reads_add(unsigned file, uint32_t id, uint64_t from, uint64_t end, enum read_kind kind);

/* Answers it. OUTCOME_OK: all its bytes are there. */
void read_end(struct read_request *r, enum outcome outcome);

/* Answers a READ that is not in the table: it fails. */
void read_refuse(unsigned file, uint32_t id, enum outcome outcome);

/* Forgets it without an answer. */
void read_drop(struct read_request *r);

/* [from, to) of the file is written: answers the READs that miss nothing any more. */
void reads_advance(unsigned file, uint64_t from, uint64_t to);

/* Of the READs that miss bytes of [from, to): the smallest end. When the bytes up to there are
 * written one of them can be answered. May lie beyond `to`; UINT64_MAX: no READ misses any. */
uint64_t reads_first_end(unsigned file, uint64_t from, uint64_t to);

/* An attempt at [from, to) of the file, or of its tree at TREE_BASE, has failed. For READs that had
 * to wait for their first one, the time-out counts from when it began. */
void reads_tried(unsigned file, uint64_t from, uint64_t to, int64_t began);

/* How many bytes of [from, to) READs wait for that have come. */
uint64_t reads_waited_for(unsigned file, uint64_t from, uint64_t to);

/* Fails all of the file. */
void reads_fail(unsigned file, enum outcome outcome);

/* Whether one of the file waits. */
bool reads_wait(unsigned file);

#endif
