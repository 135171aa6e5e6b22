/* image/erofs.h - the little that the daemon must know of an EROFS image (fs/erofs/erofs_fs.h). Pure. */
#ifndef IMAGE_EROFS_H
#define IMAGE_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes from the image's beginning the functions below want to see: the superblock lies at
 * byte 1024 and is 128 bytes long. */
#define EROFS_HEAD 1152

enum erofs_kind {
	EROFS_NONE,	  /* no superblock: a data blob, or not EROFS at all */
	EROFS_PLAIN,	  /* an image without compressed files */
	EROFS_COMPRESSED, /* an image that may have compressed files */
};

enum erofs_kind erofs_kind(const void *head, size_t size);

/* Of a head whose kind is not EROFS_NONE: the bytes of a block, 0 when they make no sense; how many
 * extra devices (blobs) it has beside itself. */
uint32_t erofs_block_size(const void *head);
unsigned erofs_extra_devices(const void *head);

#endif
