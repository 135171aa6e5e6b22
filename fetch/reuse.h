/* fetch/reuse.h - an update: of the blocks of an image that is verified, those that the version
 * before it (image/before.h) has as well are taken from that one's cache file.
 *
 * They are found by their digests: a block lies as far from its old place as those near it, or else
 * within WINDOW blocks of there. The old version's tree and cache file only say where to look: each
 * block is read, checked against the new root hash and written by file_write(). The old tree's file
 * may have holes: it has the digests of all that is cached, which was checked by them.
 *
 * READs look there first, as does all that is prefetched (pool_ask()); the rest is copied while no
 * READ waits. Then the old file is removed. One image at a time is updated so. It makes way for one
 * that is read while it is not read itself, and goes on later. */
#ifndef FETCH_REUSE_H
#define FETCH_REUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/file.h"

/* Whether blocks can be taken for an open file. */
bool reuse_is_for(struct file *f);

/* Whether it is about to be known, so that nothing should be requested for it. */
bool reuse_is_opening(const struct file *f);

/* Takes blocks from `from` on, the digest of which is there: returns the end of what has been
 * written. Otherwise returns `from`, and *end becomes the end of what has to be requested; `from`:
 * nothing in this turn. Offsets are whole pages, `from` is before *end.
 *
 * A guess is passed over as if it were written where the old version has the block, but has not
 * cached it: its readers did not want it. Unless the last READ was of such a block, as its reader
 * is another. */
uint64_t reuse_take(struct file *f, uint64_t from, uint64_t *end, enum need need);

void reuse_close(struct file *f);

/* The loop's: copies a part of the rest. And when it has to be called again. */
void reuse_run(void);
int64_t reuse_next(void);

#endif
