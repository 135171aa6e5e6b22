/* Unit tests of file.c: it never takes for a hole what is written, and learns from it which bytes
 * are files. */
#include "test/unit/check.h"

#include "fetch/file.c"
#include "image/erofs.c"
#include "image/filemap.c"

const struct frontend *frontend;
struct turn turn;
struct capacity capacity;

void log_line(enum log_level level, const char *format, ...)
{
	(void)level, (void)format;
}

void dirwalk_feed(struct dirwalk *w, const void *bytes, uint64_t offset, size_t size)
{
	(void)w, (void)bytes, (void)offset, (void)size;
}

unsigned dirwalk_owner(struct dirwalk *w, uint64_t inode)
{
	(void)w, (void)inode;
	return 0;
}

static struct tree *image_has; /* NULL: it is not verified */

struct tree *image_tree(const struct image *image)
{
	(void)image;
	return image_has;
}

static bool lacks_root;

bool image_lacks_root(const struct image *image)
{
	(void)image;
	return lacks_root;
}

static unsigned marks;

bool image_mark(const struct image *image, bool make)
{
	(void)image;
	marks += make;
	return false;
}

static void marked(void)
{
}

/* A verdict for each block: 'f' fits, 'u' unfit, 'l' lacks block 7 of the tree. */
static const char *verdicts = "";
static unsigned judged; /* bit by block */

static enum tree_verdict verdict_of(uint64_t block, uint64_t *lacks)
{
	judged |= 1u << block;
	*lacks = 7;
	return verdicts[block] == 'f'	? TREE_FITS
	       : verdicts[block] == 'u' ? TREE_UNFIT
					: TREE_LACKS;
}

enum tree_verdict tree_judge(struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks)
{
	CHECK(t == image_has && *(const uint8_t *)bytes == block);
	return verdict_of(block, lacks);
}

enum tree_verdict tree_take(
	struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks, const char **why)
{
	CHECK(t == image_has && *(const uint8_t *)bytes == block);
	*why = "a reason";
	return verdict_of(block, lacks);
}

#define FILES 3
#define SIZE  512

static bool written[FILES][SIZE];

static void start(void)
{
	memset(holes, 0, sizeof(holes));
	memset(written, 0, sizeof(written));
}

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* What lseek() would say of the place. */
static void look(unsigned file, uint64_t from)
{
	uint64_t to = from;

	while (to < SIZE && !written[file][to])
		to++;
	if (to > from)
		holes_learn(file, from, to);
}

static void fill(unsigned file, uint64_t from, uint64_t to)
{
	memset(written[file] + from, 1, to - from);
	holes_fill(file, from, to);
}

static bool is_true(unsigned file)
{
	for (uint64_t at = 0; at < SIZE; at++)
		for (uint64_t i = at; i < holes_end(file, at); i++)
			if (i >= SIZE || written[file][i])
				return false;
	return true;
}

static void test_random(void)
{
	begin_test("file: what is written is no hole, whatever comes in which order");
	for (unsigned run = 0; run < 200; run++) {
		start();
		for (unsigned step = 0; step < 200; step++) {
			unsigned file = random_below(FILES);
			uint64_t from = random_below(SIZE), size = 1 + random_below(8);

			if (random_below(3) == 0)
				look(file, from);
			else
				fill(file, from, from + size < SIZE ? from + size : SIZE);
			CHECK(is_true(file), "run %u, step %u", run, step);
		}
	}
}

static ssize_t write_all(unsigned file, const void *pages, size_t size, uint64_t offset)
{
	(void)file, (void)pages, (void)offset;
	return (ssize_t)size;
}

static void test_map(void)
{
	static const struct frontend front = {.write = write_all};
	static struct image image = {.pinned.size = 1 << 20};
	static uint8_t bytes[8192];
	struct file f = {.used = true, .image = &image, .block = EROFS_BLOCK};
	struct file_fault fault;
	uint64_t from, end;

	begin_test("file: what is written says which bytes are a file's, until it is closed");
	frontend = &front;
	files = &f;
	files_map(calloc(1, filemap_size(4)), 4);
	bytes[4096 + 5] = 0x81; /* an inode of 10,000 bytes from block 16 on */
	bytes[4096 + 6] = 1;
	bytes[4096 + 8] = 10000 & 0xff;
	bytes[4096 + 9] = 10000 >> 8;
	bytes[4096 + 16] = 16;
	CHECK(file_write(&f, bytes, sizeof(bytes), 0, &fault) == sizeof(bytes));
	CHECK(file_extent(&f, 17 * 4096 + 1, &from, &end) && from == 16 * 4096 && end == 19 * 4096);
	CHECK(!file_extent(&f, 19 * 4096, &from, &end));
	file_close(&f);
	CHECK(!file_extent(&f, 16 * 4096, &from, &end));

	begin_test("file: the superblock's blocks count; what is no EROFS has no files");
	bytes[1024 + 12] = 9;
	CHECK(file_write(&f, bytes, sizeof(bytes), 0, &fault) == sizeof(bytes) && f.block == 512);
	CHECK(file_extent(&f, 2 * 4096, &from, &end) && from == 2 * 4096 && end == 5 * 4096);
	file_close(&f);
	f.block = 0;
	CHECK(file_write(&f, bytes, sizeof(bytes), 0, &fault) == sizeof(bytes) && f.block == 0);
	CHECK(!file_extent(&f, 2 * 4096, &from, &end));
	free(map);
}

static uint64_t wrote_at;
static size_t wrote;

static ssize_t note_write(unsigned file, const void *bytes, size_t size, uint64_t offset)
{
	(void)file, (void)bytes;
	wrote_at = offset;
	wrote = size;
	return (ssize_t)size;
}

/* What file_write() makes of four blocks with these verdicts, at a block's number. */
static ssize_t write_judged(const char *v, uint64_t base, unsigned block, struct file_fault *fault)
{
	static const struct frontend front = {.write = note_write};
	static struct image image = {.pinned.size = 1 << 20};
	static struct tree tree;
	static struct file f = {.used = true, .image = &image};
	uint8_t bytes[4 * VERITY_BLOCK] = {0};

	for (unsigned i = 0; i < 4; i++)
		bytes[i * VERITY_BLOCK] = (uint8_t)(block + i);
	frontend = &front;
	files = &f;
	image_has = &tree;
	verdicts = v;
	judged = 0;
	wrote = 0;
	return file_write(&f, bytes, sizeof(bytes), base + block * VERITY_BLOCK, fault);
}

static void test_verified(void)
{
	static struct image image = {.pinned.size = 1 << 20};
	static uint8_t bytes[VERITY_BLOCK];
	struct file f = {.used = false};
	struct file_fault fault;

	begin_test("file: of an image that is verified only what fits is written");
	CHECK(write_judged("ffff", 0, 0, &fault) == 4 * VERITY_BLOCK);
	CHECK(wrote_at == 0 && wrote == 4 * VERITY_BLOCK && judged == 15);
	CHECK(write_judged("xffuf", 0, 1, &fault) == 2 * VERITY_BLOCK && fault.block == 3);
	CHECK(wrote_at == VERITY_BLOCK && wrote == 2 * VERITY_BLOCK && judged == 14);
	CHECK(write_judged("uffff", 0, 0, &fault) == -EBADMSG && fault.block == 0 && wrote == 0);
	CHECK(*fault.why == '\0');
	CHECK(write_judged("lffff", 0, 0, &fault) == -EINPROGRESS && fault.lacks == 7 && !wrote);
	CHECK(write_judged("fluff", 0, 0, &fault) == VERITY_BLOCK && wrote == VERITY_BLOCK);

	begin_test("file: blocks of its tree are judged one by one, and reach no front end");
	CHECK(write_judged("ffff", TREE_BASE, 0, &fault) == VERITY_BLOCK && judged == 1);
	CHECK(write_judged("fuff", TREE_BASE, 0, &fault) == VERITY_BLOCK && judged == 1,
		"what does not fit is judged once, where that is told");
	CHECK(write_judged("xufff", TREE_BASE, 1, &fault) == -EBADMSG && fault.block == 1);
	CHECK(strcmp(fault.why, "a reason") == 0);
	CHECK(write_judged("xlfff", TREE_BASE, 1, &fault) == -EINPROGRESS && fault.lacks == 7);
	CHECK(wrote == 0 && marks == 0);

	begin_test("file: before the first byte of a verified image is written it gets a mark, if "
		   "there is a cache");
	f.used = true;
	f.image = &image;
	verdicts = "f";
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == VERITY_BLOCK && marks == 0);
	files = &f;
	frontend = &(struct frontend){.write = note_write, .marked = marked};
	verdicts = "u";
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == -EBADMSG && marks == 0);
	verdicts = "f";
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == VERITY_BLOCK && marks == 1);
	turn.ms += MARK_EVERY - 1;
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == VERITY_BLOCK && marks == 1);
	turn.ms++;
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == VERITY_BLOCK && marks == 2);
	image_has = NULL;
	turn.ms += MARK_EVERY;
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == VERITY_BLOCK && marks == 2);

	begin_test("file: nothing is written while the root hash is not known");
	lacks_root = true;
	wrote = 0;
	CHECK(file_write(&f, bytes, VERITY_BLOCK, 0, &fault) == -EAGAIN && wrote == 0);
	lacks_root = false;
}

int main(void)
{
	begin_test("file: a hole is known from where it was learnt to its end");
	start();
	CHECK(holes_end(0, 0) == 0);
	holes_learn(0, 10, 100);
	CHECK(holes_end(0, 9) == 0 && holes_end(0, 10) == 100 && holes_end(0, 99) == 100);
	CHECK(holes_end(0, 100) == 0 && holes_end(1, 50) == 0);

	begin_test("file: writing cuts it: at its beginning, its end, and in two");
	holes_fill(0, 0, 20);
	holes_fill(0, 90, 200);
	CHECK(holes_end(0, 19) == 0 && holes_end(0, 20) == 90 && holes_end(0, 90) == 0);
	holes_fill(0, 40, 50);
	CHECK(holes_end(0, 20) == 40 && holes_end(0, 40) == 0 && holes_end(0, 50) == 90);
	holes_fill(0, 0, UINT64_MAX);
	CHECK(holes_end(0, 20) == 0 && holes_end(0, 50) == 0);

	begin_test("file: when the table is full the largest are known");
	start();
	for (unsigned n = 0; n < HOLES_MAX; n++)
		holes_learn(0, 100 * n, 100 * n + 50);
	holes_learn(0, 100 * HOLES_MAX, 100 * HOLES_MAX + 10);
	CHECK(holes_end(0, 100 * HOLES_MAX) == 0 && holes_end(0, 0) == 50);
	holes_learn(0, 100 * HOLES_MAX, 100 * HOLES_MAX + 60);
	CHECK(holes_end(0, 100 * HOLES_MAX) == 100 * HOLES_MAX + 60);

	test_random();
	test_map();
	test_verified();
	return finish_tests();
}
