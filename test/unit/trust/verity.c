/* verity.c - unit tests of dm-verity's tree: root hashes, superblocks, where each digest lies, and
 * trees built by these places, which are those of veritysetup(8) to the byte. */
#include "base/text.c"
#include "trust/sha256.c"
#include "trust/verity.c"

#include <stdlib.h>

#include "test/unit/check.h"
#include "test/unit/trees.h"

static char why[200];

/* Reads it out of memory of its own. */
static bool take(struct verity *v, const uint8_t *superblock, size_t size, uint64_t image_size)
{
	uint8_t *copy = memcpy(malloc(size + 1), superblock, size);
	bool good;

	strcpy(why, "?");
	good = verity_superblock(v, copy, size, image_size, why, sizeof(why));
	free(copy);
	return good;
}

static void test_root(void)
{
	static const char hex[] =
		"00112233445566778899aabbccddeeff0123456789abcdefABCDEF0123456789\n\n";
	uint8_t root[32];
	char text[65], bad[66];

	begin_test("verity: a root hash has 64 digits, of either case, and one newline at most");
	CHECK(verity_root_parse(root, hex, 64) && verity_root_parse(root, hex, 65));
	CHECK(root[1] == 0x11 && root[15] == 0xff && root[24] == 0xab && root[31] == 0x89);
	CHECK(strcmp(verity_root_text(text, root),
		      "00112233445566778899aabbccddeeff0123456789abcdefabcdef0123456789") == 0);
	for (size_t size = 0; size <= 66; size++)
		CHECK(verity_root_parse(root, hex, size) == (size == 64 || size == 65), "%zu",
			size);
	for (int i = 0; i < 65; i++)
		for (int c = 0; c < 256; c++) {
			bool digit = strchr("0123456789abcdefABCDEF", c) && c;

			memcpy(bad, hex, 65);
			bad[i] = (char)c;
			CHECK(verity_root_parse(root, bad, 65) == (i < 64 ? digit : c == '\n'),
				"%d %d", i, c);
		}
	memcpy(bad, hex, 64);
	memcpy(bad, "0x", 2);
	CHECK(!verity_root_parse(root, bad, 64));
}

static void test_superblock(void)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		const char *words;
	} lies[] = {
		{0, 1, 'V', "no superblock of dm-verity"},
		{6, 2, 1, "no superblock of dm-verity"},
		{8, 4, 2, "format 2 instead of 1"},
		{8, 4, 0, "format 0 instead of 1"},
		{12, 4, 0, "hash type 0 instead of 1"},
		{12, 4, 0x01000001, "hash type 16777217 instead of 1"},
		{32, 4, 0x31616873, "a hash algorithm other than sha256"},
		{38, 1, '-', "a hash algorithm other than sha256"},
		{64, 4, 1024, "data block size 1024 instead of 4096"},
		{64, 4, 0, "data block size 0 instead of 4096"},
		{68, 4, 512, "hash block size 512 instead of 4096"},
		{72, 8, 1001, "a tree of 1001 blocks of 4096 bytes for an image of 4096000 bytes"},
		{72, 8, 0, "a tree of 0 blocks of 4096 bytes for an image of 4096000 bytes"},
		{72, 8, 1000 + (1ull << 52),
			"a tree of 4503599627371496 blocks of 4096 bytes for an image of 4096000 "
			"bytes"},
		{80, 2, 257, "a salt of 257 bytes, over 256"},
		{80, 2, 65535, "a salt of 65535 bytes, over 256"},
	};
	uint8_t good[VERITY_SUPERBLOCK], bad[VERITY_SUPERBLOCK];
	struct verity v = {0}, before;

	begin_test("verity: a superblock that lies is refused by name, and nothing is set");
	memset(v.root, 7, sizeof(v.root));
	fill_superblock(good, 1000, 256);
	CHECK(take(&v, good, sizeof(good), 4096000), "%s", why);
	CHECK(v.data_blocks == 1000 && v.levels == 2 && v.salt_size == 256 && v.salt[255] == 255);
	CHECK(v.root[0] == 7 && v.root[31] == 7, "the root hash is the caller's");
	before = v;
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		memcpy(bad, good, sizeof(bad));
		put(bad + lies[i].at, lies[i].value, lies[i].bytes);
		CHECK(!take(&v, bad, sizeof(bad), 4096000), "%s", lies[i].words);
		CHECK(strcmp(why, lies[i].words) == 0, "%s", why);
	}
	for (size_t size = 0; size < sizeof(good); size++)
		CHECK(!take(&v, good, size, 4096000) && strstr(why, "no superblock"), "%zu", size);
	CHECK(!take(&v, good, sizeof(good), 4096001) && strstr(why, "4096001"), "%s", why);
	CHECK(!take(&v, good, sizeof(good), 4095999) && strstr(why, "4095999"), "%s", why);
	CHECK(!take(&v, good, sizeof(good), 4100096));
	fill_superblock(bad, 0, 32);
	CHECK(!take(&v, bad, sizeof(bad), 0) && strstr(why, "a tree of 0 blocks"), "%s", why);
	put(bad + 72, (UINT64_C(1) << 52) + 5, 8);
	CHECK(!take(&v, bad, sizeof(bad), 0), "of more bytes than there are numbers");
	CHECK(memcmp(&v, &before, sizeof(v)) == 0);

	begin_test("verity: a superblock alone, of an image whose size is not known");
	fill_superblock(good, 1001, 0);
	CHECK(take(&v, good, sizeof(good), 0) && v.data_blocks == 1001 && v.salt_size == 0);
}

/* The numbers of hash blocks by the rule itself: 128 digests in each, until there is one. */
static void check_levels(uint64_t data_blocks)
{
	uint64_t blocks[16], below = data_blocks, total = 1, begin = 1, block;
	uint8_t superblock[VERITY_SUPERBLOCK];
	unsigned levels = 0, entry;
	struct verity v;

	fill_superblock(superblock, data_blocks, 0);
	CHECK(take(&v, superblock, sizeof(superblock), data_blocks * 4096), "%s", why);
	for (; below > 1; total += below) {
		below = below / 128 + (below % 128 != 0);
		blocks[levels++] = below;
	}
	CHECK(v.levels == levels && levels <= VERITY_LEVELS_MAX, "%llu: %u",
		(unsigned long long)data_blocks, v.levels);
	CHECK(verity_tree_blocks(&v) == total);
	for (unsigned level = levels; level-- > 0; begin += blocks[level]) {
		uint64_t last = data_blocks - 1;

		CHECK(verity_level_begin(&v, level) == begin);
		CHECK(verity_level_blocks(&v, level) == blocks[level]);
		verity_position(&v, level, 0, &block, &entry);
		CHECK(block == begin && entry == 0);
		verity_position(&v, level, last, &block, &entry);
		for (unsigned i = 0; i < level; i++)
			last /= 128;
		CHECK(block == begin + blocks[level] - 1 && block == begin + last / 128 &&
			entry == last % 128);
	}
	CHECK(begin == total, "no gap at the end");
}

static void test_levels(void)
{
	static const uint64_t edges[] = {1, 2, 127, 128, 129, 255, 256, 257, 1000, 16383, 16384,
		16385, 81058, 2097151, 2097152, 2097153, 24414063, 1ull << 28, (1ull << 28) + 1,
		1ull << 35, (1ull << 35) + 1, 1ull << 42, 1ull << 49, (1ull << 49) + 1,
		(1ull << 51) - 1, 1ull << 51, (1ull << 52) - 1};

	begin_test("verity: levels and places, from one block to 2^64 bytes");
	for (size_t i = 0; i < sizeof(edges) / sizeof(*edges); i++)
		check_levels(edges[i]);
	for (uint64_t n = 1; n < 40000; n += 1 + n / 50)
		check_levels(n);
}

/* Climbs from a data block to the root hash. */
static bool proved(const struct verity *v, const uint8_t *tree, uint64_t n, const uint8_t *data)
{
	const uint8_t *below = data;

	for (unsigned level = 0; level < v->levels; level++) {
		uint64_t block;
		unsigned entry;

		verity_position(v, level, n, &block, &entry);
		if (!verity_block_fits(
			    v, below, tree + block * VERITY_BLOCK + entry * VERITY_DIGEST))
			return false;
		below = tree + block * VERITY_BLOCK;
	}
	return verity_block_fits(v, below, v->root);
}

/* Of the file without its first block, in hexadecimal digits. */
static void digest_tree(char out[65], const struct verity *v, const uint8_t *tree)
{
	uint8_t digest[32];

	sha256_salted(
		digest, NULL, 0, tree + VERITY_BLOCK, (verity_tree_blocks(v) - 1) * VERITY_BLOCK);
	verity_root_text(out, digest);
}

static void test_veritysetup(void)
{
	/* By veritysetup 2.6.1, of images whose blocks have their number, from 1 on, as 4 bytes,
	 * then zeros: the root hash, and the SHA-256 of the file without its first block. The
	 * images have no, one, two and three levels. */
	static const struct {
		uint64_t blocks;
		unsigned salt_size;
		const char *root, *tree;
	} made[] = {
		{1, 0, "f0c500e2401e1aee33d11ae25ae14e574820fbdb1731670af1888f88f3c17794",
			"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{128, 32, "05436cbae6d688e2d5d7c4f2e4c68d20e063683b1f2652c18b3c464314daa37d",
			"9f81a758e4bfbed46ec2fd1490df408f8320455d28817691d73305f7985dba0d"},
		{129, 20, "777fbdcce84ed96f6bd53d5f528a9bcdbcf097765f28e9b6ea4dfd16dfe42590",
			"11b725ff9d2671c40093993a51e7c16ebda8f2c33956a33b3d2c9f9e0dd799bc"},
		{16385, 256, "5e04c9b9dedf41cdcb43c48048812eb4215ee5fe33bfbf035fac68b73b498eb2",
			"23b3c515653b4c720c54c3c644f3359216e50649349379e6ae189a3f7de45269"},
	};
	uint8_t superblock[VERITY_SUPERBLOCK], *tree;
	char text[65];
	struct verity v;

	begin_test("verity: the tree and the root hash are veritysetup's");
	for (size_t i = 0; i < sizeof(made) / sizeof(*made); i++) {
		fill_superblock(superblock, made[i].blocks, made[i].salt_size);
		CHECK(take(&v, superblock, sizeof(superblock), made[i].blocks * 4096), "%s", why);
		CHECK(v.levels == i);
		tree = make_tree(&v, 1);
		CHECK(strcmp(verity_root_text(text, v.root), made[i].root) == 0, "%s", text);
		digest_tree(text, &v, tree);
		CHECK(strcmp(text, made[i].tree) == 0, "%s", text);
		free(tree);
	}
}

static void test_proof(void)
{
	uint8_t superblock[VERITY_SUPERBLOCK], *tree, data[VERITY_BLOCK];
	struct verity v, salted;

	begin_test("verity: a changed bit of data, tree, salt or root hash does not fit");
	fill_superblock(superblock, 129, 32);
	take(&v, superblock, sizeof(superblock), 129 * 4096);
	tree = make_tree(&v, 1);
	for (uint64_t n = 0; n < 129; n++)
		CHECK(proved(&v, tree, n, data_block(n)) &&
			!proved(&v, tree, n, data_block(n + 1)));
	memcpy(data, data_block(128), VERITY_BLOCK);
	for (unsigned bit = 0; bit < VERITY_BLOCK * 8; bit += 61) {
		data[bit / 8] ^= 1 << bit % 8;
		CHECK(!proved(&v, tree, 128, data));
		data[bit / 8] ^= 1 << bit % 8;
		for (unsigned block = 1; block < 4; block++) { /* the second covers others */
			tree[block * VERITY_BLOCK + bit / 8] ^= 1 << bit % 8;
			CHECK(proved(&v, tree, 128, data) == (block == 2));
			tree[block * VERITY_BLOCK + bit / 8] ^= 1 << bit % 8;
		}
	}
	for (unsigned i = 0; i < 32; i++) {
		salted = v;
		salted.salt[i] ^= 0x80;
		CHECK(!proved(&salted, tree, 128, data));
		salted = v;
		salted.salt_size = (uint16_t)i;
		CHECK(!proved(&salted, tree, 128, data));
		salted = v;
		salted.root[i] ^= 1;
		CHECK(!proved(&salted, tree, 128, data));
	}
	free(tree);
}

int main(void)
{
	test_root();
	test_superblock();
	test_levels();
	test_veritysetup();
	test_proof();
	return finish_tests();
}
