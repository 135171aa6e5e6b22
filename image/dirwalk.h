/* image/dirwalk.h - the names of an EROFS image before they are asked for: reads the directories that pass
 * by on their way into the cache, and tells which blocks hold the inodes and the entries that a
 * reader of the tree will want next (fs/erofs/erofs_fs.h; Documentation/filesystems/erofs.rst).
 *
 * A lookup costs a round trip for each directory and each inode of its path, since the kernel
 * cannot ask for what it has not been told of. The walk goes breadth first from the root, one
 * image at a time, within fixed tables and a limit of bytes. It never reads the cache: a
 * directory that was cached before the walk began ends the walk there. What it gets from a hostile
 * image costs time, never correctness: it only ever names ranges of the image. No I/O.
 */
#ifndef IMAGE_DIRWALK_H
#define IMAGE_DIRWALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dirwalk;

/* Bytes of a struct dirwalk, aligned to 8; the caller owns the memory. */
size_t dirwalk_size(void);

/* Begins at the root of the image whose first EROFS_HEAD bytes are `head` and that has `image_size`
 * bytes. Ranges that dirwalk_next() gives are whole pages of `page` bytes (a power of two); two whose
 * gap is at most `gap` bytes may be joined to one; at most `limit` bytes are named in all. False
 * when there is nothing to walk: not EROFS, nonsense in the superblock. */
bool dirwalk_start(struct dirwalk *w, const void *head, uint64_t image_size, size_t page, uint64_t gap,
	uint64_t limit);

/* Bytes of the image, in whole blocks unless the image ends, that are about to be written to the
 * cache: whatever directory inodes and entries the walk waits for in them are read. */
void dirwalk_feed(struct dirwalk *w, const void *bytes, uint64_t offset, size_t size);

/* The next range to be fetched, [*from, *end) within the image and whole pages but for the image's
 * end. False when there is none now: what was named has to pass by first, or dirwalk_is_over(). */
bool dirwalk_next(struct dirwalk *w, uint64_t *from, uint64_t *end);

/* Asked when dirwalk_next() has none: a page that has passed by before the walk knew that there is a
 * directory in it. It is to be fetched again although it is cached, for dirwalk_feed(). It counts
 * against the limit. False when there is none. Without it the directory's children are left out. */
bool dirwalk_reread(struct dirwalk *w, uint64_t *from, uint64_t *end);

/* Nothing is left to be named or waited for. Where directories were cached before, and so never
 * pass by, it does not come true: the caller ends the walk when it has nothing else under way. */
bool dirwalk_is_over(const struct dirwalk *w);

#endif
