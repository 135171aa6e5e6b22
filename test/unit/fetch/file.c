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
	CHECK(file_write(&f, bytes, sizeof(bytes), 0) == sizeof(bytes));
	CHECK(file_extent(&f, 17 * 4096 + 1, &from, &end) && from == 16 * 4096 && end == 19 * 4096);
	CHECK(!file_extent(&f, 19 * 4096, &from, &end));
	file_close(&f);
	CHECK(!file_extent(&f, 16 * 4096, &from, &end));

	begin_test("file: the superblock's blocks count; what is no EROFS has no files");
	bytes[1024 + 12] = 9;
	CHECK(file_write(&f, bytes, sizeof(bytes), 0) == sizeof(bytes) && f.block == 512);
	CHECK(file_extent(&f, 2 * 4096, &from, &end) && from == 2 * 4096 && end == 5 * 4096);
	file_close(&f);
	f.block = 0;
	CHECK(file_write(&f, bytes, sizeof(bytes), 0) == sizeof(bytes) && f.block == 0);
	CHECK(!file_extent(&f, 2 * 4096, &from, &end));
	free(map);
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
	return finish_tests();
}
