/* fetch/pool.h - the pool of transfers: which of them gets a range, and which ranges are in flight.
 * Offsets are bytes; `pos` is any byte of a file. */
#ifndef FETCH_POOL_H
#define FETCH_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "image/image.h"
#include "fetch/file.h"

/* Requests an image's size and first bytes, or a small text: transfers_run() returns
 * TRANSFER_OPENED or TRANSFER_TEXT. False when no transfer is free. */
bool pool_ask_head(struct image *image);
bool pool_asks_head(const struct image *image);

/* Gives up first bytes that have come, and wait for what they are judged by. */
void pool_drop_head(const struct image *image);
bool pool_ask_text(struct image *image);

/* Requests what proves an image's root hash: transfers_run() returns TRANSFER_PROOF. */
bool pool_ask_proof(struct image *image, enum image_part part);

/* Requests a block of the file's tree, with some behind it where data is read in order, unless it
 * is in flight. False: it cannot be now. */
bool pool_ask_tree(struct file *f, uint64_t block);

/* The same, of `count` blocks. Not all of them may stay in memory. */
bool pool_ask_blocks(struct file *f, uint64_t block, uint64_t count);

/* Whether the byte at `pos` must not be requested now: it, or the block of the tree that comes
 * before it, did not fit when it came last (refused.h). */
bool pool_is_refused(const struct file *f, uint64_t pos);

/* Requests the block of the file's tree by which the byte at `offset` is verified, unless it is
 * there. False: it cannot be now. */
bool pool_ask_digest(struct file *f, uint64_t offset);

/* Requests the blocks of trees that transfers wait for with data that has come, or will. Must be
 * called in each turn. */
void pool_ask_lacking(void);

/* Requests [from, end) of the file up to the first byte that is in flight, and before it what is
 * lacking of the tree. `from` is at a page's boundary. It takes the transfer in which the bytes
 * come soonest: an idle connection, or one with some ranges of the same file before this one, fewer
 * if no READ waits for them. Returns the end of the request, 0 when there is no such transfer. What
 * the version before has (reuse.h) is taken from it instead, or is a bad guess, and the end of that
 * returned. To know that, a block of the tree may have to come before: returns where that is
 * requested, TREE_BASE or more; or, in a turn in which enough was taken, `from`. */
uint64_t pool_ask(struct file *f, uint64_t from, uint64_t end, enum need need);

/* Whether bytes that no READ waits for may be requested for the file: no READ or OPEN of another
 * image is left without a transfer by it. */
bool pool_may_prefetch(const struct file *f);

/* For an image without a transfer: frees one whose server sends nothing. */
void pool_preempt(const struct image *image);

/* How many transfers work for the image. */
unsigned pool_count(const struct image *image);

/* The end, rounded up to pages, of the range in flight that holds `pos`; 0: none holds it. */
uint64_t pool_cover(unsigned file, uint64_t pos);

/* When the transfer that fetches `pos` last got a page's worth of bytes; 0: never. */
int64_t pool_progress(unsigned file, uint64_t pos);

/* Whether a range of the file is in flight. */
bool pool_is_busy(unsigned file);

/* Frees the transfers of a file, or of an image that is given up. */
void pool_drop_file(unsigned file);
void pool_drop_image(const struct image *image);

/* Connections that exist or are being made. */
unsigned pool_connections(void);

/* Closes the connections without work. */
void pool_hang_up(void);

#endif
