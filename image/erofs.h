/* image/erofs.h - the superblock of an EROFS image (fs/erofs/erofs_fs.h), as far as we use it.
 * Pure. */
#ifndef IMAGE_EROFS_H
#define IMAGE_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What nearly every image has for its blocks, in bytes. */
#define EROFS_BLOCK 4096

/* The functions below take an image's first EROFS_HEAD bytes: its superblock has 128, from byte
 * 1024. */
#define EROFS_HEAD 1152

enum erofs_kind {
	EROFS_NONE,	  /* no superblock: a data blob, or not EROFS at all */
	EROFS_PLAIN,	  /* an image without compressed files */
	EROFS_COMPRESSED, /* an image that may have compressed files */
};

/* EROFS_NONE also for a head of fewer bytes. */
enum erofs_kind erofs_kind(const void *head, size_t size);

/* If the kind is not EROFS_NONE: the bytes of a block, 0 if the image has a senseless number; the
 * number of extra devices (blobs). */
uint32_t erofs_block_size(const void *head);
unsigned erofs_extra_devices(const void *head);

/* What a file is that begins with these bytes, for a person; erofs_unknown: none that we know, such
 * as a blob of an image. */
extern const char erofs_unknown[];
const char *erofs_file_kind(const void *head, size_t size);

/* A little-endian number of `count` bytes, as all of EROFS has them. */
static inline uint64_t erofs_number(const uint8_t *bytes, unsigned count)
{
	uint64_t value = 0;

	while (count-- > 0)
		value = value << 8 | bytes[count];
	return value;
}

#endif
