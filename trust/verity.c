#include "trust/verity.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "trust/sha256.h"

/* ---- the root hash ---- */

bool verity_root_parse(uint8_t root[VERITY_DIGEST], const char *text, size_t size)
{
	if (size == VERITY_HEX + 1 && text[VERITY_HEX] == '\n')
		size--;
	if (size != VERITY_HEX)
		return false;
	for (size_t i = 0; i < VERITY_HEX; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0)
			return false;
		root[i / 2] = (uint8_t)(root[i / 2] << 4 | digit);
	}
	return true;
}

char *verity_root_text(char out[VERITY_HEX + 1], const uint8_t root[VERITY_DIGEST])
{
	for (size_t i = 0; i < VERITY_HEX; i++)
		out[i] = "0123456789abcdef"[root[i / 2] >> (i % 2 ? 0 : 4) & 15];
	out[VERITY_HEX] = '\0';
	return out;
}

/* ---- the superblock ---- */

/* Where its parts are (cryptsetup's struct verity_sb); all numbers are little-endian. */
enum {
	FORMAT = 8,
	HASH_TYPE = 12,
	ALGORITHM = 32,
	DATA_BLOCK_SIZE = 64,
	HASH_BLOCK_SIZE = 68,
	DATA_BLOCKS = 72,
	SALT_SIZE = 80,
	SALT = 88,
};

static uint64_t number_at(const uint8_t *p, unsigned bytes)
{
	uint64_t n = 0;

	while (bytes > 0)
		n = n << 8 | p[--bytes];
	return n;
}

/* Those that have one value here. */
static bool fixed_parts_fit(const uint8_t *superblock, char *why, size_t why_size)
{
	static const struct {
		uint16_t at, value;
		const char *name;
	} parts[] = {
		{FORMAT, 1, "format"},
		{HASH_TYPE, 1, "hash type"},
		{DATA_BLOCK_SIZE, VERITY_BLOCK, "data block size"},
		{HASH_BLOCK_SIZE, VERITY_BLOCK, "hash block size"},
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		unsigned found = (unsigned)number_at(superblock + parts[i].at, 4);

		if (found != parts[i].value)
			return fail(why, why_size, "%s %u instead of %u", parts[i].name, found,
				parts[i].value);
	}
	return memcmp(superblock + ALGORITHM, "sha256", 7) == 0 ||
	       fail(why, why_size, "a hash algorithm other than sha256");
}

bool verity_superblock(struct verity *v, const uint8_t *superblock, size_t size,
	uint64_t image_size, char *why, size_t why_size)
{
	uint64_t blocks;
	size_t salt_size;

	if (size < VERITY_SUPERBLOCK || memcmp(superblock, "verity\0\0", 8) != 0)
		return fail(why, why_size, "no superblock of dm-verity");
	if (!fixed_parts_fit(superblock, why, why_size))
		return false;
	blocks = number_at(superblock + DATA_BLOCKS, 8);
	if (image_size == 0)
		image_size = blocks * VERITY_BLOCK;
	if (blocks == 0 || blocks != image_size / VERITY_BLOCK || image_size % VERITY_BLOCK != 0)
		return fail(why, why_size,
			"a tree of %llu blocks of %d bytes for an image of %llu bytes",
			(unsigned long long)blocks, VERITY_BLOCK, (unsigned long long)image_size);
	salt_size = number_at(superblock + SALT_SIZE, 2);
	if (salt_size > VERITY_SALT_MAX)
		return fail(
			why, why_size, "a salt of %zu bytes, over %d", salt_size, VERITY_SALT_MAX);
	v->data_blocks = blocks;
	v->salt_size = (uint16_t)salt_size;
	memset(v->salt, 0, sizeof(v->salt));
	memcpy(v->salt, superblock + SALT, salt_size);
	for (v->levels = 0; (blocks - 1) >> 7 * v->levels != 0;)
		v->levels++;
	return true;
}

const uint8_t *verity_salt(const uint8_t *superblock)
{
	return superblock + SALT;
}

/* ---- the tree ---- */

uint64_t verity_level_blocks(const struct verity *v, unsigned level)
{
	return ((v->data_blocks - 1) >> 7 * (level + 1)) + 1;
}

/* The blocks of the superblock, and of this level and those above it. */
static uint64_t blocks_down_to(const struct verity *v, unsigned level)
{
	uint64_t blocks = 1;

	for (; level < v->levels; level++)
		blocks += verity_level_blocks(v, level);
	return blocks;
}

uint64_t verity_level_begin(const struct verity *v, unsigned level)
{
	return blocks_down_to(v, level + 1);
}

uint64_t verity_tree_blocks(const struct verity *v)
{
	return blocks_down_to(v, 0);
}

void verity_position(const struct verity *v, unsigned level, uint64_t data_block, uint64_t *block,
	unsigned *entry)
{
	uint64_t digest = data_block >> 7 * level;

	assert(level < v->levels && data_block < v->data_blocks);
	*block = verity_level_begin(v, level) + digest / VERITY_DIGESTS;
	*entry = digest % VERITY_DIGESTS;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	while (size > 0 && bytes[size - 1] == 0)
		size--;
	return size == 0;
}

bool verity_block_ends(const struct verity *v, unsigned level, uint64_t block, const uint8_t *bytes)
{
	uint64_t all = level == 0 ? v->data_blocks : verity_level_blocks(v, level - 1);
	uint64_t left = all - (block - verity_level_begin(v, level)) * VERITY_DIGESTS;
	size_t end = (size_t)left * VERITY_DIGEST;

	return left > VERITY_DIGESTS || (!is_zero(bytes + end - VERITY_DIGEST, VERITY_DIGEST) &&
						is_zero(bytes + end, VERITY_BLOCK - end));
}

bool verity_block_fits(const struct verity *v, const void *block, const uint8_t *digest)
{
	uint8_t found[VERITY_DIGEST];

	sha256_salted(found, v->salt, v->salt_size, block, VERITY_BLOCK);
	return memcmp(found, digest, VERITY_DIGEST) == 0;
}
