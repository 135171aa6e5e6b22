/* Fuzz harness of tree.c: servers and a disk that lie. Each two bytes of the input are a step: a
 * block of the right tree or a changed one comes, the file is changed, memory is forgotten, the
 * image's size is pinned. Whatever came before, no data fits but the image's. */
#include "base/fd.c"
#include "base/text.c"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* The file, in memory. */
static uint8_t file[64 * 4096];
static size_t file_size;

static ssize_t played_pread(int fd, void *out, size_t size, off_t at)
{
	(void)fd;
	if ((size_t)at + size > file_size)
		return 0;
	memcpy(out, file + at, size);
	return (ssize_t)size;
}

static ssize_t played_pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	(void)fd;
	if ((size_t)at + size > sizeof(file))
		return -1;
	memcpy(file + at, bytes, size);
	if ((size_t)at + size > file_size)
		file_size = (size_t)at + size;
	return (ssize_t)size;
}

#define openat(d, n, flags, m) ((void)(flags), 1000) /* of a descriptor that is not open */
#define pread(fd, p, n, at)    played_pread(fd, p, n, at)
#define pwrite(fd, p, n, at)   played_pwrite(fd, p, n, at)
#include "image/tree.c"
#undef openat

#include "trust/sha256.c"
#include "trust/verity.c"
#include "test/unit/trees.h"

int state_folder(void)
{
	return 0;
}

void state_root_name(
	char out[STATE_ROOT_NAME], const uint8_t root[VERITY_DIGEST], const char *suffix)
{
	(void)root, (void)suffix;
	out[0] = '\0';
}

void log_line(enum log_level level, const char *format, ...)
{
	(void)level, (void)format;
}

static const uint64_t sizes[] = {1, 100, 300, 3000}; /* of no, one and two levels */
static struct verity made[4];
static uint8_t *trees[4];

static void make_all(void)
{
	char why[100];

	for (unsigned i = 0; i < 4; i++) {
		uint8_t superblock[VERITY_SUPERBLOCK];

		fill_superblock(superblock, sizes[i], 8 * i);
		if (!verity_superblock(&made[i], superblock, sizeof(superblock),
			    sizes[i] * VERITY_BLOCK, why, sizeof(why)))
			abort();
		trees[i] = make_tree(&made[i], 1);
		memcpy(trees[i], superblock, sizeof(superblock));
	}
}

/* A block of the tree comes; with `change` one of its first 128 bytes is another. */
static void deliver(struct tree *t, unsigned of, uint64_t block, unsigned change)
{
	uint8_t bytes[VERITY_BLOCK];
	uint64_t lacks;
	const char *why;

	memcpy(bytes, trees[of] + block % verity_tree_blocks(&made[of]) * VERITY_BLOCK,
		sizeof(bytes));
	if (change)
		bytes[(change * 7) % 128] ^= change;
	tree_take(t, block, bytes, &lacks, &why);
}

static void check(struct tree *t, unsigned of, uint64_t block, bool pinned)
{
	bool is_right = block < sizes[of];
	uint64_t lacks = UINT64_MAX;
	enum tree_verdict verdict = tree_judge(t, block, data_block(block), &lacks);

	if (pinned && t->known && t->verity.data_blocks != sizes[of])
		abort();
	if (verdict == TREE_UNFIT && is_right && pinned && made[of].levels > 0)
		abort();
	/* Another number of blocks, but for that of a tree with fewer levels. */
	if (verdict != TREE_LACKS && t->verity.levels >= made[of].levels &&
		t->verity.data_blocks != sizes[of])
		abort();
	verdict = tree_judge(t, block, data_block(block + 1), &lacks);
	if (verdict == TREE_FITS && is_right && (pinned || block < t->verity.data_blocks))
		abort();
	if (verdict == TREE_LACKS && lacks == UINT64_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static uint8_t memory[TREE_SLOTS_MIN * TREE_SLOT] __attribute__((aligned(8)));
	struct tree t = {.rooted = false};
	unsigned of = size > 0 ? data[0] % 4 : 0;
	bool pinned = false;

	if (!trees[0])
		make_all();
	memset(memory, 0, sizeof(memory));
	trees_init(memory, TREE_SLOTS_MIN);
	file_size = 0;
	tree_root(&t, made[of].root);
	for (size_t i = 1; i + 1 < size; i += 2) {
		unsigned step = data[i] % 8, n = data[i + 1];

		if (step == 0)
			deliver(&t, of, n % 32, n);
		else if (step == 1)
			deliver(&t, n % 4, n % 32, 0);
		else if (step == 2 && file_size > 0)
			file[(n * 101u) % file_size] ^= 1;
		else if (step == 3 && n % 2)
			tree_doubt(&t);
		else if (step == 3)
			tree_root(&t, made[of].root), pinned = false;
		else if (step == 4)
			tree_pin(&t, sizes[of] * VERITY_BLOCK), pinned = true;
		else if (step == 5)
			deliver(&t, of, n % 32, 0);
		else
			check(&t, of, n * 13 % (sizes[of] + 3), pinned);
	}
	return 0;
}
