/* fetch/frontend.h - the front end, which presents images to their readers: /dev/cachefiles, block
 * devices, or --get. What fetch/ asks of it, and the clock of this turn of the loop. */
#ifndef FETCH_FRONTEND_H
#define FETCH_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/outcome.h"
#include "image/before.h"

/* What a front end knows of a READ. */
enum read_kind {
	READ_USUAL,
	READ_ALONE,    /* it is no sign of what is read next: nothing else is fetched with it */
	READ_EXPECTED, /* the same, and it has not come yet: no counter shows it */
};

struct frontend {
	/* Bytes beyond the READs may be written, in any order. Otherwise only what READs ask for is
	 * written, from the first byte to the last. */
	bool any_order;

	/* The size that `opened` gets also says which version it is: see state.h. Otherwise it is
	 * the image's. */
	bool size_is_version;

	/* READs of cached bytes come too, and are told by fetch_hit(). */
	bool hears_all;

	/* The answer to fetch_open(): OUTCOME_OK and a size in bytes, at most INT64_MAX; or another
	 * outcome. In that case the reason has been logged, and the file's number is free again. */
	void (*opened)(unsigned file, enum outcome outcome, uint64_t size);

	/* Writes whole pages at a page's boundary. Returns the bytes that are there now, at most
	 * `size` and whole pages, or a negative errno; -EAGAIN: try again a little later. Only
	 * file_write() calls it. */
	ssize_t (*write)(unsigned file, const void *pages, size_t size, uint64_t offset);

	/* The first hole of the file at or after `offset` and before `end`: its beginning and, in
	 * *hole_end, its end (at most `end`). Returns `end` when there is none; -1: not known yet.
	 */
	int64_t (*hole)(unsigned file, uint64_t offset, uint64_t end, uint64_t *hole_end);

	/* Opens what is cached of the version that is pinned, to be read, and to have holes punched
	 * before `opened`. Returns a descriptor, which is the caller's; -1: EAGAIN, ask
	 * again soon; ENOENT, there is none; else it cannot be opened. NULL: no cache outlives the
	 * process. */
	int (*cached)(unsigned file);

	/* A mark has been made (state.h), to be removed once the file system is synced. NULL as
	 * above. */
	void (*marked)(void);

	/* The cache file of the version of an image (before.h) that came before the file's, opened
	 * to be read; it stays until end_before(). -1: EAGAIN, ask again soon; ENOENT, it is not
	 * there; else it cannot be opened. NULL: none can be read. */
	int (*open_before)(unsigned file, const struct before *before);

	/* It is not read any more. `remove`: nor needed. Returns whether it is gone then: not if it
	 * is open for an image. */
	bool (*end_before)(unsigned file, const struct before *before, bool remove);

	/* The READ is over. OUTCOME_OK: all its bytes are written. Otherwise the bytes that were
	 * written are there, and the rest reads as an error. */
	void (*complete)(unsigned file, uint32_t id, enum outcome outcome);
};

/* The one in use, from fetch_init() on. */
extern const struct frontend *frontend;

/* The time of this turn of the loop, monotonic: fetch_run()'s argument. */
extern struct turn {
	int64_t us, ms;
} turn;

#endif
