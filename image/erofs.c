#include "image/erofs.h"

#define SUPER_OFFSET	       1024
#define SUPER_MAGIC	       0xe0f5e1e2u
#define SUPER_BLOCK_BITS       12
#define SUPER_FEATURE_INCOMPAT 80
#define SUPER_LZ4_MAX_DISTANCE 84
#define SUPER_EXTRA_DEVICES    86

/* feature_incompat bits that only images with compressed files have: LZ4_0PADDING, which mkfs.erofs
 * sets for all of them, COMPR_CFGS, ZTAILPACKING, FRAGMENTS and DEDUPE. The chunked file's and the
 * device table's bits tell nothing. */
#define INCOMPAT_COMPRESSION (0x1u | 0x2u | 0x10u | 0x20u)
#define INCOMPAT_DEVICES     0x8u

static uint32_t le32_at(const unsigned char *bytes, size_t offset)
{
	const unsigned char *p = bytes + offset;

	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum erofs_kind erofs_kind(const void *head, size_t size)
{
	uint32_t incompat, lz4_max_distance;

	if (size < EROFS_HEAD || le32_at(head, SUPER_OFFSET) != SUPER_MAGIC)
		return EROFS_NONE;
	incompat = le32_at(head, SUPER_OFFSET + SUPER_FEATURE_INCOMPAT);
	lz4_max_distance = le32_at(head, SUPER_OFFSET + SUPER_LZ4_MAX_DISTANCE) & 0xffff;
	return (incompat & INCOMPAT_COMPRESSION) || lz4_max_distance ? EROFS_COMPRESSED
								     : EROFS_PLAIN;
}

uint32_t erofs_block_size(const void *head)
{
	unsigned bits = ((const unsigned char *)head)[SUPER_OFFSET + SUPER_BLOCK_BITS];

	return bits >= 9 && bits <= 16 ? 1u << bits : 0;
}

unsigned erofs_extra_devices(const void *head)
{
	if (!(le32_at(head, SUPER_OFFSET + SUPER_FEATURE_INCOMPAT) & INCOMPAT_DEVICES))
		return 0;
	return le32_at(head, SUPER_OFFSET + SUPER_EXTRA_DEVICES) & 0xffff;
}
