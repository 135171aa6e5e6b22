/* trust/verity.h - a tree of digests over an image, as dm-verity has it (format 1, hash type 1,
 * SHA-256, blocks of 4096 bytes; cryptsetup's lib/verity, Linux' drivers/md/dm-verity-target.c).
 * Pure; all numbers may come from a server.
 *
 * The tree's file is a superblock, which is block 0, and then hash blocks of 128 digests each,
 * level by level, the top level first. A digest of level 0 is that of a data block, one of level i
 * + 1 that of a hash block of level i; the root hash is that of the top level's one block. An image
 * of one block has no level: then the root hash is that of the data block.
 *
 * The superblock is not under the root hash. What a lie in it could change is refused here (other
 * types and sizes) or makes every block unfit (the salt).
 */
#ifndef TRUST_VERITY_H
#define TRUST_VERITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

enum {
	VERITY_BLOCK = 4096,	 /* bytes of a data block or a hash block */
	VERITY_DIGEST = 32,	 /* bytes of a digest */
	VERITY_DIGESTS = 128,	 /* digests in a hash block */
	VERITY_LEVELS_MAX = 8,	 /* for an image of up to 2^64 - 1 bytes */
	VERITY_SUPERBLOCK = 512, /* bytes */
	VERITY_HEX = 64,	 /* digits of a root hash */
};

/* A tree. 304 bytes, of which VERITY_SALT_MAX are the salt. Callers read the first three. */
struct verity {
	uint64_t data_blocks; /* 1 to 2^52 - 1 */
	uint8_t root[VERITY_DIGEST];
	uint8_t levels; /* 0 to VERITY_LEVELS_MAX */
	uint16_t salt_size;
	uint8_t salt[VERITY_SALT_MAX];
};

/* Takes a root hash from a line of the configuration or from IMAGE.roothash: 64 hexadecimal digits
 * of either case, then nothing or one newline. False: it is none; *root is then undefined. */
bool verity_root_parse(uint8_t root[VERITY_DIGEST], const char *text, size_t size);

/* Its 64 digits in lower case, and a NUL. Returns out. */
char *verity_root_text(char out[VERITY_HEX + 1], const uint8_t root[VERITY_DIGEST]);

/* Takes the superblock, the first `size` bytes of the tree's file, for an image of `image_size`
 * bytes; 0: of as many as the superblock says. Sets all of v but the root hash, which it leaves
 * alone. False: `why` tells what is wrong, such as "hash type 0 instead of 1", in printable bytes,
 * and v is as it was. The salt is copied; nothing is borrowed. */
bool verity_superblock(struct verity *v, const uint8_t *superblock, size_t size,
	uint64_t image_size, char *why, size_t why_size);

/* The salt in a superblock, VERITY_SALT_MAX bytes, zeros behind its own. */
const uint8_t *verity_salt(const uint8_t *superblock);

/* The first block of a level in the tree's file, and the number of its blocks. `level` is below
 * v->levels. */
uint64_t verity_level_begin(const struct verity *v, unsigned level);
uint64_t verity_level_blocks(const struct verity *v, unsigned level);

/* The blocks of the tree's file, the superblock included; at least 1. */
uint64_t verity_tree_blocks(const struct verity *v);

/* Where the digest is that covers a data block (below v->data_blocks) at a level (below v->levels):
 * the block of the tree's file, and the digest's number in it (0 to 127), at byte *entry *
 * VERITY_DIGEST. So the hash block at level i is itself covered by the digest at level i + 1 of the
 * same data block, and at the top level by the root hash. */
void verity_position(const struct verity *v, unsigned level, uint64_t data_block, uint64_t *block,
	unsigned *entry);

/* Whether a hash block of a level, by its number in the tree's file, ends as it should: the last
 * one of its level has as many digests as are left for it, and zeros behind them. The path to the
 * last data block proves v->data_blocks so, but not v->levels: to a tree with a level less, hash
 * blocks are the data. */
bool verity_block_ends(
	const struct verity *v, unsigned level, uint64_t block, const uint8_t *bytes);

/* Whether a data block or hash block of VERITY_BLOCK bytes has this digest. The digest may lie in
 * a hash block. The zeros behind a hash block's last digest are under its digest as well. */
bool verity_block_fits(const struct verity *v, const void *block, const uint8_t *digest);

#endif
