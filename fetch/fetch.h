/* fetch/fetch.h - the scheduler: answers OPENs and READs of a front end by range requests, each as
 * soon as its bytes are written, and fails those whose servers fail for too long.
 *
 * A file is a cache file that the front end has open for an image. The front end numbers its files,
 * 0 to capacity.files - 1.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "daemon/conf.h"
#include "daemon/memory.h"
#include "fetch/frontend.h"

/* Which images are cached whole before the first of their READs is answered. */
enum fetch_whole {
	WHOLE_NEVER,
	WHOLE_COMPRESSED, /* for kernels whose EROFS mishandles a bio that is half
			   * cached (6.9 and later) */
	WHOLE_ALWAYS,	  /* for v8 kernels, which return zeros for the gaps of a half
			   * cached range */
};

/* The memory that connections, files and READs cost here; `fixed` is the rest of it. */
void fetch_costs(const struct conf *conf, struct memory_costs *costs);

/* Bytes of memory that fetch_init() cuts its tables from, after memory_divide(). */
size_t fetch_memory(const struct conf *conf);

/* Once, at start. `memory` has fetch_memory() bytes, all zero and aligned to a page; the other
 * pointers stay borrowed. */
void fetch_init(const struct conf *conf, const struct frontend *frontend, void *memory);

/* May be called again once the kernel's layout is known. `unreadable`: the kernel opens no
 * compressed file of an image, and the log says so at the OPEN of such an image. */
void fetch_set_whole(enum fetch_whole whole, bool unreadable);

/* An OPEN of a file. The keys are copied. frontend->opened() answers, now or later. */
void fetch_open(unsigned file, const char *volume, const void *cookie, size_t cookie_size);

/* Forgets the file: its READs and requests are dropped without an answer. */
void fetch_close(unsigned file);

/* A READ of [offset, offset + size), which may lie anywhere and is rounded out to pages.
 * frontend->complete() answers exactly once. A READ with the id of one that waits takes its place,
 * since the kernel reuses an id only when it has dropped the old request. fetch_full() must be
 * false. */
void fetch_read(unsigned file, uint32_t id, uint64_t offset, uint64_t size, enum read_kind kind);

/* A READ that the front end answers itself, as all its bytes are cached. */
void fetch_hit(unsigned file, uint64_t offset, uint64_t size);

/* The last failure of the image of an open file, with a sentence for a person in *why that is valid
 * until the next fetch_run(). OUTCOME_OK: nothing has failed. */
enum outcome fetch_outcome(unsigned file, const char **why);

/* For status.c: sets the members of stats that are as of now (stats.h). */
void fetch_look(void);

/* For status.c: the states of an image, a bit each, and their words. */
enum fetch_state {
	STATE_OPENING,
	STATE_TRACE,
	STATE_WALK,
	STATE_FILLING,
	STATE_RECORDING,
	STATE_CACHED,
	STATE_CHANGED,
	STATE_UNREAD,
	STATE_FULL,
	FETCH_STATES
};
extern const char *const fetch_state_words[FETCH_STATES];
struct image;
unsigned fetch_states(const struct image *image);

/* Counts the cached bytes of the image in its stats.cached, from *to on. A call is bounded, since
 * it may take some system calls for each piece; false: more is left. */
bool fetch_count_cached(struct image *image, uint64_t *to);

/* Before the end: fails every READ that waits. */
void fetch_stop(void);

/* Whether the table of READs is full: then the front end must not take another. */
bool fetch_full(void);

/* The loop's three. fetch_poll() writes at most CONNECTIONS_MAX entries and returns their number;
 * fetch_run() takes them back with their revents; NULL: nothing was polled. `us`, in monotonic
 * microseconds, is the time of the turn for all functions here, so call it first in a turn. One
 * look at the clock serves a whole turn, since it may cost as much as any system call. */
size_t fetch_poll(struct pollfd out[CONNECTIONS_MAX]);
int64_t fetch_next(void);
void fetch_run(const struct pollfd *polled, int64_t us);

#endif
