/* Fuzz harness of verity.c: a root hash, and a superblock as a server makes it up. The first 8
 * bytes are the image's size, the next 8 choose a data block, the rest is the tree's file. */
#include "base/text.c"
#include "trust/sha256.c"
#include "trust/verity.c"

#include <stdlib.h>

static void check_root(const unsigned char *data, size_t size)
{
	char text[VERITY_HEX + 1];
	uint8_t root[VERITY_DIGEST], again[VERITY_DIGEST];

	if (!verity_root_parse(root, (const char *)data, size))
		return;
	verity_root_text(text, root);
	if (!verity_root_parse(again, text, VERITY_HEX) || memcmp(root, again, sizeof(root)) != 0)
		abort();
}

/* A data block's digests lie in the levels' own blocks, and each level ends where the one below it
 * begins. */
static void check_places(const struct verity *v, uint64_t n)
{
	uint64_t begin = 1, block, index = n;
	unsigned entry;

	if (v->levels > VERITY_LEVELS_MAX || v->salt_size > VERITY_SALT_MAX)
		abort();
	for (unsigned level = v->levels; level-- > 0; begin += verity_level_blocks(v, level)) {
		if (verity_level_begin(v, level) != begin)
			abort();
		verity_position(v, level, n, &block, &entry);
		if (block < begin || block - begin >= verity_level_blocks(v, level) ||
			entry >= VERITY_DIGESTS)
			abort();
		if (level == v->levels - 1u && (block != 1 || verity_level_blocks(v, level) != 1))
			abort();
	}
	if (begin != verity_tree_blocks(v))
		abort();
	for (unsigned level = 0; level < v->levels; level++, index /= VERITY_DIGESTS) {
		verity_position(v, level, n, &block, &entry);
		if (entry != index % VERITY_DIGESTS ||
			block != verity_level_begin(v, level) + index / VERITY_DIGESTS)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const uint8_t block[VERITY_BLOCK];
	struct verity v = {0};
	char why[200] = "";
	uint64_t image_size, n;
	uint8_t *superblock;

	check_root(data, size);
	if (size < 16)
		return 0;
	memcpy(&image_size, data, 8);
	memcpy(&n, data + 8, 8);
	superblock = memcpy(malloc(size - 15), data + 16, size - 16);
	if (verity_superblock(&v, superblock, size - 16, image_size, why, sizeof(why))) {
		if (v.data_blocks == 0 || why[0] ||
			(image_size > 0 && v.data_blocks * VERITY_BLOCK != image_size))
			abort();
		check_places(&v, n % v.data_blocks);
		check_places(&v, v.data_blocks - 1);
		if (verity_block_fits(&v, block, v.root)) /* of zeros */
			abort();
	} else if (why[0] == '\0' || v.data_blocks || v.salt_size || v.levels) {
		abort();
	}
	free(superblock);
	return 0;
}
