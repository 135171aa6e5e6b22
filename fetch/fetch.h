/* fetch/fetch.h - the cache files that are open, the READs that wait, the range requests that
 * satisfy them, and the writing. What lies on the servers, and how often it is asked for, is
 * image.h's.
 *
 * A file is one cache file in which an image is wanted; the front end numbers them, 0 to
 * capacity.files - 1.
 */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/memory.h"
#include "daemon/conf.h"
#include "fetch/frontend.h"
#include "base/limits.h"

/* Which images are written whole before a READ of theirs is completed. */
enum fetch_whole {
	WHOLE_NEVER,
	WHOLE_COMPRESSED, /* kernels whose EROFS mishandles a bio that is half cached (6.9 and
			     later) */
	WHOLE_ALWAYS,	  /* the v8 kernel returns a half cached range with zeros in the gaps */
};

/* What connections, files and READs cost here: all members but `fixed` are set, and that to what
 * the rest takes. */
void fetch_costs(struct memory_costs *costs);

/* Bytes of memory that fetch_init() cuts its tables from: as memory_divide() has divided it. */
size_t fetch_memory(void);

/* Once, at start. `memory` has fetch_memory() bytes, all zero and aligned to a page; the other
 * pointers stay borrowed. */
void fetch_init(const struct conf *conf, const struct frontend *frontend, void *memory);

/* May be said again when it is learnt. */
void fetch_set_whole(enum fetch_whole whole);

/* A cache file wants its image. The keys are copied. frontend->opened() answers, now or later. */
void fetch_open(unsigned file, const char *volume, const void *cookie, size_t cookie_size);

/* Forgets the file: its READs and requests are dropped without an answer. */
void fetch_close(unsigned file);

/* A READ of [offset, offset + size) waits; rounded out to pages, and may lie anywhere.
 * frontend->complete() answers exactly once. A READ with the id of one that still waits takes its
 * place (the kernel gives an id again only when it has dropped the old request). fetch_full() must
 * be false. */
void fetch_read(unsigned file, uint32_t id, uint64_t offset, uint64_t size);

/* What went wrong last with the image of an open file, and in *why a sentence for a person that
 * stays valid until the next fetch_run(). OUTCOME_OK when nothing ever did. */
enum outcome fetch_outcome(unsigned file, const char **why);

/* For status.c: sets what stats.h has from here as of now. */
void fetch_look(void);

/* What is done for an image, a bit by each of these, and its words. */
enum fetch_state {
	STATE_OPENING,
	STATE_TRACE,
	STATE_WALK,
	STATE_FILLING,
	STATE_RECORDING,
	STATE_CACHED,
	STATE_CHANGED,
	FETCH_STATES
};
extern const char *const fetch_state_words[FETCH_STATES];
struct image;
unsigned fetch_states(const struct image *image);

/* Goes on counting what is cached of the image in its stats.cached, from stats.cached_to on; false
 * when more is left. That may take a few system calls for each piece, so each call is bounded. */
bool fetch_count_cached(struct image *image);

/* Completes every READ that waits, as failed; before the end. */
void fetch_stop(void);

/* Whether the table of READs is full: leave the device alone until it is not. */
bool fetch_full(void);

/* The loop's three. fetch_poll() writes at most CONNECTIONS_MAX entries and returns their number;
 * fetch_run() takes them back with their revents, or NULL when nothing was polled. `us` is in
 * monotonic microseconds, and holds for the other functions until the next fetch_run(): call it
 * before them in a turn of the loop. One look at the clock has to do for a turn: it may cost as
 * much as any system call. */
size_t fetch_poll(struct pollfd out[CONNECTIONS_MAX]);
int64_t fetch_next(void);
void fetch_run(const struct pollfd *polled, int64_t us);

#endif
