/* Unit tests of tree.c: each block of trees of no to four levels, from memory that is too small,
 * from a file that lies, from servers that do. */
#include "test/unit/check.h"

#include "base/fd.c"
#include "base/text.c"
#include "image/tree.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#include "test/unit/stubs.h"
#include "test/unit/trees.h"

#include <sys/stat.h>

static int folder = -1;

int state_folder(void)
{
	return folder;
}

void state_root_name(
	char out[STATE_ROOT_NAME], const uint8_t root[VERITY_DIGEST], const char *suffix)
{
	char hex[VERITY_HEX + 1];

	snprintf(out, STATE_ROOT_NAME, "%.16s%s", verity_root_text(hex, root), suffix);
}

/* ---- a server ---- */

static struct tree t;
static struct verity made;
static uint8_t *served; /* the tree's file, as it is right */
static unsigned asked;	/* blocks of it */

static void serve(uint64_t blocks, uint64_t step, size_t slot_count)
{
	static uint8_t memory[TREE_SLOTS * TREE_SLOT] __attribute__((aligned(8)));
	uint8_t superblock[VERITY_SUPERBLOCK];
	char why[100];

	fill_superblock(superblock, blocks, 32);
	CHECK(verity_superblock(
		&made, superblock, sizeof(superblock), blocks * VERITY_BLOCK, why, sizeof(why)));
	free(served);
	served = make_tree(&made, step);
	memcpy(served, superblock, sizeof(superblock));
	memset(memory, 0, sizeof(memory));
	trees_init(memory, slot_count);
	t = (struct tree){.rooted = false};
	tree_root(&t, made.root);
	asked = 0;
}

/* As after a restart. */
static void start_again(void)
{
	tree_root(&t, made.root);
	asked = 0;
}

static enum tree_verdict deliver(uint64_t block)
{
	const char *why;
	uint64_t lacks;

	return tree_take(&t, block, served + block * VERITY_BLOCK, &lacks, &why);
}

/* Sends what the tree lacks, as it says; at most two blocks for each level and the superblock. */
static bool fetch_tree(uint64_t block)
{
	uint64_t lacks;

	for (unsigned i = 0; i <= 2 * VERITY_LEVELS_MAX; i++) {
		if (tree_covers(&t, block, &lacks))
			return true;
		CHECK(lacks < verity_tree_blocks(&made), "%llu", (unsigned long long)lacks);
		asked++;
		if (deliver(lacks) == TREE_UNFIT)
			return false;
		if (lacks == 0 && made.levels > 0)
			deliver(1);
	}
	return false;
}

static enum tree_verdict judge_as(uint64_t block, uint64_t as)
{
	uint64_t lacks;

	return tree_judge(&t, as, data_block(block), &lacks);
}

static enum tree_verdict judge(uint64_t block)
{
	return judge_as(block, block);
}

/* ---- the tests ---- */

static void make_folder(void)
{
	char path[] = "/tmp/tree.XXXXXX";

	CHECK(mkdtemp(path) && (folder = open(path, O_RDONLY | O_DIRECTORY)) >= 0);
}

static const char *file_of(const struct verity *v)
{
	static char name[STATE_ROOT_NAME];

	state_root_name(name, v->root, STATE_TREE);
	return name;
}

static void remove_file(void)
{
	unlinkat(folder, file_of(&made), 0);
}

static void test_each_block(void)
{
	static const uint64_t sizes[] = {1, 2, 127, 128, 129, 1000, 16384, 16385};

	begin_test("tree: each block fits, and no other in its place");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t n = sizes[i];

		serve(n, 1, TREE_SLOTS);
		CHECK(judge(0) == TREE_LACKS && !t.known);
		for (uint64_t b = 0; b < n; b++) {
			CHECK(fetch_tree(b) && judge(b) == TREE_FITS, "%u", (unsigned)b);
			CHECK(n == 1 || judge_as((b + 1) % n, b) == TREE_UNFIT);
		}
		CHECK(t.known && tree_image_size(&t) == n * VERITY_BLOCK);
		/* The path to the last block comes early, and may have gone since. */
		CHECK(asked <= verity_tree_blocks(&made) + made.levels, "%u", asked);
		CHECK(tree_blocks(&t) == verity_tree_blocks(&made));
		CHECK(judge_as(7, n) == TREE_FITS, "behind the image's end");
	}

	begin_test(
		"tree: so many of the lowest level's blocks stay in memory as there is room for");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t slot_count = TREE_SLOTS_MIN; slot_count <= TREE_SLOTS; slot_count++) {
			serve(sizes[i], 1, slot_count);
			fetch_tree(0);
			for (uint64_t n = 0; n < tree_room(&t) && n * 128 < sizes[i]; n++)
				fetch_tree(n * 128);
			asked = 0;
			for (uint64_t n = 0; n < tree_room(&t) && n * 128 < sizes[i]; n++)
				CHECK(fetch_tree(n * 128));
			CHECK(asked == 0, "%u %u", (unsigned)i, (unsigned)slot_count);
		}

	begin_test("tree: of four levels, with as many places in memory");
	serve(2097153, 50000, TREE_SLOTS_MIN);
	CHECK(made.levels == 4 && TREE_SLOTS_MIN >= 4);
	for (uint64_t b = 0; b < 2097153; b += 50000)
		CHECK(fetch_tree(b) && judge(b) == TREE_FITS);
	CHECK(fetch_tree(2097152) && judge(2097152) == TREE_FITS && judge(1) != TREE_FITS);
}

static void test_evictions(void)
{
	uint32_t seed = 1;
	unsigned first;

	begin_test("tree: with four places and no file blocks are requested again, and fit");
	folder = -1;
	serve(16385, 1, TREE_SLOTS_MIN);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t b = (seed = seed * 1664525 + 1013904223) % 16385;

		CHECK(fetch_tree(b) && judge(b) == TREE_FITS);
		CHECK(judge_as(b + 1, b) == TREE_UNFIT);
	}
	CHECK(asked > 1000, "%u", asked);

	begin_test("tree: with a file none is requested twice, nor after a restart");
	make_folder();
	serve(16385, 1, TREE_SLOTS_MIN);
	for (uint64_t b = 0; b < 16385; b += 64)
		CHECK(fetch_tree(b));
	first = asked;
	CHECK(first <= verity_tree_blocks(&made));
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t b = (seed = seed * 1664525 + 1013904223) % 16385;

		CHECK(fetch_tree(b) && judge(b) == TREE_FITS);
	}
	CHECK(asked == first);
	start_again();
	for (uint64_t b = 0; b < 16385; b += 100)
		CHECK(fetch_tree(b) && judge(b) == TREE_FITS);
	CHECK(asked == 0, "%u", asked);
	remove_file();

	begin_test("tree: nor of one without a level");
	serve(1, 1, TREE_SLOTS_MIN);
	CHECK(fetch_tree(0) && asked == 1 && judge(0) == TREE_FITS);
	start_again();
	CHECK(fetch_tree(0) && asked == 0 && judge(0) == TREE_FITS);
	remove_file();
}

/* Changes a byte of the file. */
static void spoil(uint64_t at)
{
	int fd = openat(folder, file_of(&made), O_RDWR);
	uint8_t byte;

	CHECK(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
	byte ^= 4;
	CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
	close(fd);
}

static void fill_file(void)
{
	serve(129, 1, TREE_SLOTS_MIN);
	CHECK(fetch_tree(0) && fetch_tree(128));
	start_again();
}

static void test_lying_file(void)
{
	begin_test("tree: a block that has changed in the file is requested again, and mended");
	for (uint64_t block = 1; block <= 3; block++) {
		fill_file();
		spoil(block * VERITY_BLOCK + (block == 1 ? 5 : 31));
		CHECK(fetch_tree(0) && judge(0) == TREE_FITS);
		CHECK(fetch_tree(128) && judge(128) == TREE_FITS);
		CHECK(asked == (block == 3 ? 2 : 1),
			"with the superblock where it is the last one");
		start_again();
		CHECK(fetch_tree(0) && fetch_tree(128) && asked == 0);
		remove_file();
	}

	begin_test("tree: so is a superblock: its magic, salt, sizes");
	for (unsigned at = 0; at < 120; at++) {
		if (at >= 16 && at < 32)
			continue; /* the UUID */
		fill_file();
		spoil(at);
		tree_pin(&t, 129 * VERITY_BLOCK);
		CHECK(fetch_tree(0) && fetch_tree(128) && judge(128) == TREE_FITS, "%u", at);
		CHECK(judge_as(5, 128) == TREE_UNFIT);
		remove_file();
	}

	begin_test("tree: a file that is cut, that is none of ours, that cannot be written");
	fill_file();
	CHECK(unlinkat(folder, file_of(&made), 0) == 0);
	CHECK(symlinkat("/dev/zero", folder, file_of(&made)) == 0);
	CHECK(fetch_tree(0) && judge(0) == TREE_FITS && asked > 0);
	remove_file();
	CHECK(mkfifoat(folder, file_of(&made), 0600) == 0);
	start_again();
	CHECK(fetch_tree(0) && judge(0) == TREE_FITS && asked > 0);
	remove_file();
	CHECK(mkdirat(folder, file_of(&made), 0700) == 0);
	start_again();
	CHECK(fetch_tree(0) && judge(0) == TREE_FITS && asked > 0);
	unlinkat(folder, file_of(&made), AT_REMOVEDIR);
	for (off_t size = 0; size < 4 * VERITY_BLOCK; size += 1000) {
		int fd;

		fill_file();
		fd = openat(folder, file_of(&made), O_RDWR);
		CHECK(ftruncate(fd, size) == 0);
		close(fd);
		CHECK(fetch_tree(0) && fetch_tree(128) && judge(128) == TREE_FITS);
		CHECK(asked > 0);
		remove_file();
	}
}

static void test_lying_server(void)
{
	uint8_t right[VERITY_BLOCK];
	uint64_t lacks;
	const char *why;

	begin_test(
		"tree: a bit of each block that a server has changed is found, and the next one's "
		"taken");
	folder = -1;
	for (uint64_t block = 1; block <= 3; block++)
		for (unsigned bit = 0; bit < 8 * VERITY_BLOCK; bit += 1001) {
			serve(129, 1, TREE_SLOTS_MIN);
			served[block * VERITY_BLOCK + bit / 8] ^= 1 << bit % 8;
			CHECK(!(fetch_tree(0) && fetch_tree(128)), "%u %u", (unsigned)block, bit);
			served[block * VERITY_BLOCK + bit / 8] ^= 1 << bit % 8;
			CHECK(fetch_tree(0) && fetch_tree(128) && judge(128) == TREE_FITS);
		}

	begin_test("tree: a block in another one's place");
	serve(257, 1, TREE_SLOTS);
	CHECK(fetch_tree(0));
	CHECK(tree_take(&t, 3, served + 2 * VERITY_BLOCK, &lacks, &why) == TREE_UNFIT);
	CHECK(tree_take(&t, 3, served + 4 * VERITY_BLOCK, &lacks, &why) == TREE_UNFIT);
	CHECK(deliver(3) == TREE_FITS && deliver(4) == TREE_FITS && deliver(5) == TREE_FITS);

	begin_test("tree: a superblock with another salt: it is asked for anew");
	serve(129, 1, TREE_SLOTS);
	memcpy(right, served, sizeof(right));
	served[90] ^= 1;
	CHECK(deliver(0) == TREE_FITS && !t.known && deliver(1) == TREE_UNFIT && !t.begun);
	CHECK(deliver(1) == TREE_LACKS && deliver(2) == TREE_LACKS);
	CHECK(!tree_covers(&t, 0, &lacks) && lacks == 0);
	memcpy(served, right, sizeof(right));
	CHECK(fetch_tree(0) && judge(0) == TREE_FITS);
	served[90] ^= 1;
	CHECK(deliver(0) == TREE_FITS && fetch_tree(128) && judge(128) == TREE_FITS);

	begin_test("tree: behind its superblock the top is lacking, which comes with it");
	serve(129, 1, TREE_SLOTS);
	CHECK(!tree_covers(&t, 0, &lacks) && lacks == 0 && deliver(0) == TREE_FITS);
	CHECK(!tree_covers(&t, 0, &lacks) && lacks == 1);

	begin_test("tree: without a level the data proves the salt");
	serve(1, 1, TREE_SLOTS);
	served[90] ^= 1;
	CHECK(fetch_tree(0) && judge(0) == TREE_UNFIT && !t.known);
	served[90] ^= 1;
	CHECK(fetch_tree(0) && judge(0) == TREE_FITS);
	CHECK(judge_as(1, 0) == TREE_UNFIT && fetch_tree(0) && judge(0) == TREE_FITS);

	begin_test("tree: a superblock that is none is refused by name");
	serve(129, 1, TREE_SLOTS);
	served[12] = 0;
	CHECK(tree_take(&t, 0, served, &lacks, &why) == TREE_UNFIT &&
			strcmp(why, "hash type 0 instead of 1") == 0,
		"%s", why);
	CHECK(!t.begun && !t.known);
}

/* The tree of an image of so many blocks, whose top fits an image of 129. */
static void lie_of_size(uint64_t blocks)
{
	fill_superblock(served, blocks, 32);
}

static void test_size(void)
{
	uint64_t lacks;
	const char *why;

	begin_test(
		"tree: no other number of blocks is believed that makes as many levels, or less");
	folder = -1;
	for (uint64_t blocks = 3; blocks < 16385; blocks += blocks < 400 ? 1 : 999) {
		if (blocks == 129)
			continue;
		serve(129, 1, TREE_SLOTS);
		lie_of_size(blocks);
		CHECK(!fetch_tree(0) && !t.known && !t.begun, "%u", (unsigned)blocks);
		CHECK(judge_as(5, blocks) == TREE_LACKS, "nor what is behind its end");
		CHECK(!tree_covers(&t, 0, &lacks) && lacks == 0);
		lie_of_size(129);
		CHECK(fetch_tree(128) && judge(128) == TREE_FITS);
	}

	begin_test(
		"tree: a level less with as many digests is doubted by its user, as no data fit");
	serve(129, 1, TREE_SLOTS);
	lie_of_size(2);
	CHECK(fetch_tree(0) && tree_image_size(&t) == 2 * VERITY_BLOCK);
	CHECK(judge(0) == TREE_UNFIT, "data where a level is");
	tree_doubt(&t);
	CHECK(!tree_covers(&t, 0, &lacks) && lacks == 0);
	lie_of_size(129);
	CHECK(fetch_tree(128) && judge(128) == TREE_FITS);

	begin_test("tree: nor from a file, of which a superblock is left that lied");
	make_folder();
	serve(129, 1, TREE_SLOTS);
	CHECK(fetch_tree(0) && fetch_tree(128));
	spoil(72);
	start_again();
	CHECK(fetch_tree(128) && tree_image_size(&t) == 129 * VERITY_BLOCK && asked > 0);
	start_again();
	CHECK(fetch_tree(128) && asked == 0);
	remove_file();
	folder = -1;

	begin_test("tree: once the size is pinned nothing behind another end fits");
	serve(129, 1, TREE_SLOTS);
	tree_pin(&t, 129 * VERITY_BLOCK);
	for (uint64_t blocks = 1; blocks < 300; blocks++) {
		lie_of_size(blocks);
		CHECK((tree_take(&t, 0, served, &lacks, &why) == TREE_UNFIT) == (blocks != 129),
			"%u", (unsigned)blocks);
		CHECK(blocks == 129 || strstr(why, "528384"), "%s", why);
		if (blocks != 129)
			CHECK(judge(100) == TREE_LACKS);
		else
			start_again(), tree_pin(&t, 129 * VERITY_BLOCK);
	}
	lie_of_size(129);
	CHECK(fetch_tree(128) && judge_as(5, 128) == TREE_UNFIT);

	begin_test("tree: what was known with another size is forgotten when it is pinned");
	serve(129, 1, TREE_SLOTS);
	lie_of_size(2);
	CHECK(fetch_tree(0) && t.known);
	tree_pin(&t, 129 * VERITY_BLOCK);
	CHECK(!t.known && judge(100) == TREE_LACKS);
	serve(129, 1, TREE_SLOTS);
	CHECK(fetch_tree(0));
	tree_pin(&t, 129 * VERITY_BLOCK);
	CHECK(t.known && judge(0) == TREE_FITS);
}

static void test_several(void)
{
	struct tree other = {.rooted = false};
	uint64_t lacks;

	begin_test(
		"tree: of several one does not take another's blocks, and one is forgotten alone");
	folder = -1;
	serve(129, 1, TREE_SLOTS);
	CHECK(fetch_tree(0) && tree_holds(&t, 1) && tree_holds(&t, 2) && !tree_holds(&t, 4));
	tree_root(&other, made.root);
	CHECK(!tree_holds(&other, 1) && !tree_covers(&other, 0, &lacks));
	tree_forget(&other);
	CHECK(tree_holds(&t, 1));
	tree_forget(&t);
	CHECK(!tree_holds(&t, 1) && !tree_holds(&t, 2));
	CHECK(fetch_tree(0) && judge(0) == TREE_FITS);
	tree_root(&t, made.root);
	CHECK(!tree_holds(&t, 1) && !t.known && judge(0) == TREE_LACKS);
	CHECK(tree_blocks(&t) == FIRST_BLOCKS);
}

int main(void)
{
	test_each_block();
	test_evictions();
	test_lying_file();
	test_lying_server();
	test_size();
	test_several();
	free(served);
	return finish_tests();
}
