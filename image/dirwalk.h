/* image/dirwalk.h - a walk through the directories of an EROFS image, which names the blocks that
 * lookups will read: it reads directories as they pass by on their way into the cache, and names
 * the blocks of the directories below them, and, when called for, those of their entries' other
 * inodes (fs/erofs/erofs_fs.h; Documentation/filesystems/erofs.rst). Pure.
 *
 * Without it a lookup costs a round trip for each directory and each inode of its path. The walk
 * goes breadth first from the root, one image at a time, within fixed tables and a limit of bytes.
 * What was cached before the walk began does not pass by: the caller reads it from the cache. A
 * hostile image costs time, never correctness, since only ranges of the image are named.
 */
#ifndef IMAGE_DIRWALK_H
#define IMAGE_DIRWALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dirwalk;

/* A walk for images of which the map of files has so many extents (filemap.h), in dirwalk_size()
 * bytes of memory, all zero and aligned to 8, which the caller owns. */
#define DIRWALK_EXTENT 6 /* bytes for each of them */
size_t dirwalk_size(size_t extents);
struct dirwalk *dirwalk_init(void *memory, size_t extents);

/* Begins at the root of an image of `image_size` bytes, of which `head` are the first EROFS_HEAD.
 * Named ranges are whole pages of `page` bytes (a power of two); at most `limit` bytes are named in
 * all. False if there is nothing to walk: no EROFS, or a senseless superblock. */
bool dirwalk_start(
	struct dirwalk *w, const void *head, uint64_t image_size, size_t page, uint64_t limit);

/* Bytes of the image are about to be written to the cache, in whole blocks except at its end: reads
 * the directory inodes and entries among them that the walk awaits. */
void dirwalk_feed(struct dirwalk *w, const void *bytes, uint64_t offset, size_t size);

/* The page at `offset` was looked up: calls for so many pages of inodes that are known and have not
 * passed by, those behind it first. They take the place of what was called for before. */
void dirwalk_call(struct dirwalk *w, uint64_t offset, uint64_t pages);

/* The first page, at or behind *from, of known inodes that have not passed by. False: there is
 * none.
 */
bool dirwalk_inodes(const struct dirwalk *w, uint64_t *from);

/* The number of the directory that has the file whose inode is at `inode`, from 1 to 255; 0: not
 * known. Two directories may have the same one, and some inodes another's. */
unsigned dirwalk_owner(struct dirwalk *w, uint64_t inode);

/* The next range to fetch: [*from, *end), whole pages except at the image's end. False: there is
 * none until a named range passes by, or dirwalk_is_over(). */
bool dirwalk_next(struct dirwalk *w, uint64_t *from, uint64_t *end);

/* For when dirwalk_next() has none: a page that passed by before the walk knew of a directory in
 * it. Fetch it again for dirwalk_feed(), although it is cached, or the directory's children are
 * left out. It counts against the limit. False: there is none. */
bool dirwalk_reread(struct dirwalk *w, uint64_t *from, uint64_t *end);

/* Nothing is left to name or to await. With directories that were cached before, and that cannot be
 * read, this never comes true: the caller ends the walk when none of its ranges is under way. */
bool dirwalk_is_over(const struct dirwalk *w);

#endif
