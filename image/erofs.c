#include "image/erofs.h"

#include <string.h>

#define EROFS_SUPER_MAGIC_V1 0xe0f5e1e2u

/* Offsets in the image. */
#define MAGIC		 1024
#define BLOCK_BITS	 (1024 + 12)
#define FEATURE_INCOMPAT (1024 + 80)
#define LZ4_MAX_DISTANCE (1024 + 84)
#define EXTRA_DEVICES	 (1024 + 86)

/* feature_incompat bits that only images with compressed files have: LZ4_0PADDING, which mkfs.erofs
 * sets for all of them, COMPR_CFGS, ZTAILPACKING, FRAGMENTS and DEDUPE. The bits of chunked files
 * and of the device table say nothing about compression. */
#define INCOMPAT_COMPRESSION (0x1u | 0x2u | 0x10u | 0x20u)
#define INCOMPAT_DEVICES     0x8u

enum erofs_kind erofs_kind(const void *head, size_t size)
{
	const uint8_t *h = head;

	if (size < EROFS_HEAD || erofs_number(h + MAGIC, 4) != EROFS_SUPER_MAGIC_V1)
		return EROFS_NONE;
	if (erofs_number(h + FEATURE_INCOMPAT, 4) & INCOMPAT_COMPRESSION ||
		erofs_number(h + LZ4_MAX_DISTANCE, 2) > 0)
		return EROFS_COMPRESSED;
	return EROFS_PLAIN;
}

uint32_t erofs_block_size(const void *head)
{
	unsigned bits = ((const uint8_t *)head)[BLOCK_BITS];

	return bits >= 9 && bits <= 16 ? 1u << bits : 0;
}

unsigned erofs_extra_devices(const void *head)
{
	const uint8_t *h = head;
	bool has_devices = erofs_number(h + FEATURE_INCOMPAT, 4) & INCOMPAT_DEVICES;

	return has_devices ? (unsigned)erofs_number(h + EXTRA_DEVICES, 2) : 0;
}

const char erofs_unknown[] = "unknown";

const char *erofs_file_kind(const void *head, size_t size)
{
	static const struct {
		unsigned short at, bytes;
		const char *magic, *kind;
	} others[] = {
		{0, 4, "hsqs", "squashfs"},
		{1080, 2, "\x53\xef", "ext2, ext3 or ext4"},
		{510, 2, "\x55\xaa", "a partition table or boot sector"},
	};

	if (erofs_kind(head, size) != EROFS_NONE)
		return "EROFS";
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (size >= EROFS_HEAD && memcmp((const char *)head + others[i].at, others[i].magic,
						  others[i].bytes) == 0)
			return others[i].kind;
	return erofs_unknown;
}
