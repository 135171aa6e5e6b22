/* fetch/reads.h - the READs that wait, each for the whole pages of [pos, end) of its file. */
#ifndef FETCH_READS_H
#define FETCH_READS_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/file.h"

struct read_request {
	bool used;
	unsigned file;
	uint32_t id;
	uint64_t pos, end; /* what is still missing, whole pages */
	int64_t came;
	int64_t since; /* its arrival or last progress */
	uint64_t sequence;
};

extern struct read_request *reads; /* capacity.reads */
extern unsigned reads_used;

/* The first that waits, at or behind `r`; NULL: none. */
struct read_request *reads_at(struct read_request *r);

#define for_each_read(r) for (struct read_request *r = reads_at(reads); r; r = reads_at(r + 1))

/* There must be room for it. */
void reads_add(unsigned file, uint32_t id, uint64_t from, uint64_t end);

/* Answers it. OUTCOME_OK: all its bytes are there. */
void read_end(struct read_request *r, enum outcome outcome);

/* Answers a READ that was not added, or no longer is: it fails. */
void read_refuse(unsigned file, uint32_t id, enum outcome outcome);

/* [from, to) of the file is written now: answers those that miss nothing any more. */
void reads_advance(unsigned file, uint64_t from, uint64_t to);

/* Up to where the first READ to be content of those that wait for a byte of [from, to) needs them,
 * which may lie behind `to`. UINT64_MAX: none waits. */
uint64_t reads_first_end(unsigned file, uint64_t from, uint64_t to);

/* Fails all of the file. */
void reads_fail(unsigned file, enum outcome outcome);

/* Forgets it without an answer. */
void read_drop(struct read_request *r);

/* Whether one of the file waits. */
bool reads_wait(unsigned file);

#endif
