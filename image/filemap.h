/* image/filemap.h - the map of files: which bytes of an EROFS image belong to one file, learned
 * from the inodes that pass by on their way into the cache (fs/erofs/erofs_fs.h;
 * Documentation/filesystems/erofs.rst). Pure; offsets are bytes.
 *
 * Inodes are found without a directory: each slot of a page that could be the inode of a regular
 * file, by all of its fields, is taken for one. So the map needs no order in which pages come, and
 * goes on after a restart with what passes by then. A page of other bytes, or a hostile image, may
 * put extents into it that are no file's: that costs time, never correctness.
 *
 * A file without blocks of its own, whose bytes all lie behind its inode, is not in the map. Of a
 * file of chunks the map has the runs of chunks that lie together, as far as their table passed by
 * in the same piece as the inode; those in another device are left out. Of a compressed file it has
 * the first block and the number of blocks.
 */
#ifndef IMAGE_FILEMAP_H
#define IMAGE_FILEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/dirwalk.h"
#include "image/erofs.h"

/* Bytes of a map of so many extents; what does not fit is left out. */
#define FILEMAP_EXTENT 8
size_t filemap_size(size_t extents);

struct filemap;

/* A map for so many extents in filemap_size() bytes, all zero and aligned to 8. */
struct filemap *filemap_init(void *memory, size_t extents);

/* An image: `number` is its file's, less than FILES_MAX. */
struct filemap_image {
	unsigned number;
	uint32_t block; /* bytes: 512 to 65536, a power of two */
	uint64_t size;
	struct dirwalk *walk; /* knows of which directory an inode is; NULL: none does */
};

/* Bytes of the image, from a multiple of 4 KiB on, are about to be written to the cache. */
void filemap_feed(struct filemap *m, const struct filemap_image *image, const void *bytes,
	uint64_t offset, size_t size);

/* The extent that has the byte at `offset`, in whole units of 4 KiB. False: none has it. */
bool filemap_find(
	const struct filemap *m, unsigned number, uint64_t offset, uint64_t *from, uint64_t *end);

/* The range of the small files, of at most `most` bytes each, that lie around the file that has the
 * byte at `offset`, and are of its directory. Returns the directory's number, 0: it is not known.
 */
unsigned filemap_directory(const struct filemap *m, unsigned number, uint64_t offset, uint64_t most,
	uint64_t *from, uint64_t *end);

/* Forgets the image. */
void filemap_forget(struct filemap *m, unsigned number);

#endif
