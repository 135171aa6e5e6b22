/* trees.h - images by number, and trees of digests over them as veritysetup(8) makes them
 * (test/unit/trust/verity.c), for unit tests and fuzz harnesses. Include it behind
 * trust/verity.c. */
#include <stdlib.h>

static void put(uint8_t *at, uint64_t n, unsigned bytes)
{
	for (; bytes > 0; bytes--, n >>= 8)
		*at++ = (uint8_t)n;
}

/* As veritysetup writes it. The salt is 0, 1, 2... */
static void fill_superblock(uint8_t out[VERITY_SUPERBLOCK], uint64_t blocks, unsigned salt_size)
{
	memset(out, 0, VERITY_SUPERBLOCK);
	memcpy(out, "verity", 6);
	put(out + 8, 1, 4);
	put(out + 12, 1, 4);
	memset(out + 16, 0xee, 16); /* the UUID, which does not matter */
	memcpy(out + 32, "sha256", 6);
	put(out + 64, 4096, 4);
	put(out + 68, 4096, 4);
	put(out + 72, blocks, 8);
	put(out + 80, salt_size, 2);
	for (unsigned i = 0; i < salt_size && i < 256; i++)
		out[88 + i] = (uint8_t)i;
}

/* Block n of the images. */
static const uint8_t *data_block(uint64_t n)
{
	static uint8_t block[VERITY_BLOCK];

	put(block, n + 1, 4);
	return block;
}

/* Puts a block's digest where it belongs. */
static void put_digest(
	const struct verity *v, uint8_t *tree, unsigned level, uint64_t n, const uint8_t *bytes)
{
	uint64_t block;
	unsigned entry;

	verity_position(v, level, n, &block, &entry);
	sha256_salted(tree + block * VERITY_BLOCK + entry * VERITY_DIGEST, v->salt, v->salt_size,
		bytes, VERITY_BLOCK);
}

/* Makes the tree's file with the places that verity.c tells, but for the superblock, and the root
 * hash of it: over each data block whose number `step` divides, and over the last one; the others'
 * digests are wrong. */
static uint8_t *make_tree(struct verity *v, uint64_t step)
{
	uint8_t *tree = calloc(verity_tree_blocks(v), VERITY_BLOCK);
	uint64_t last = v->data_blocks - 1, block;
	unsigned entry;

	for (unsigned level = 0; level < v->levels; level++) {
		uint64_t stride = 1ull << 7 * level;

		if (stride < step)
			stride = step;
		for (uint64_t n = 0; n <= last;
			n = n < last && last - n < stride ? last : n + stride) {
			if (level > 0)
				verity_position(v, level - 1, n, &block, &entry);
			put_digest(v, tree, level, n,
				level > 0 ? tree + block * VERITY_BLOCK : data_block(n));
		}
	}
	sha256_salted(v->root, v->salt, v->salt_size,
		v->levels ? tree + VERITY_BLOCK : data_block(0), VERITY_BLOCK);
	return tree;
}
