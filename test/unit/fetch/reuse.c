/* Unit tests of reuse.c: where the blocks of a new version lie in the old one. Its files are
 * played: each byte of the old one is there but for those in `holes`. */
#include "test/unit/check.h"

#include <stdlib.h>
#include <stdint.h>
#include <unistd.h>

#define BLOCKS 30000

static uint8_t old_digests[BLOCKS][32], new_digests[BLOCKS][32];
static uint64_t old_blocks, new_blocks;
static bool holes[BLOCKS];
static unsigned pieces; /* of pieces of the old digests */
static unsigned seeks;

static long played_pread(int fd, void *out, size_t size, long at)
{
	size_t end = old_blocks * 32, from = (size_t)(at - 4096);

	(void)fd;
	pieces++;
	if (from >= end)
		return 0;
	size = size < end - from ? size : end - from;
	memcpy(out, (uint8_t *)old_digests + from, size);
	return (long)size;
}

static long played_lseek(int fd, long at, int whence)
{
	(void)fd;
	seeks++;
	while (at < (long)old_blocks * 4096 && holes[at / 4096] != (whence == SEEK_HOLE))
		at += 4096;
	return at < (long)old_blocks * 4096 || whence == SEEK_HOLE ? at : -1;
}

#define pread(fd, out, size, at) played_pread(fd, out, size, at)
#define lseek(fd, at, whence)	 played_lseek(fd, at, whence)
#include "fetch/reuse.c"
#undef pread
#undef lseek

#include "test/unit/stubs.h"

/* What is not called here. */
struct capacity capacity;
struct file *files;
const struct frontend *frontend;
struct turn turn;
struct read_request *reads;
unsigned reads_used;

void fd_close(int *fd)
{
	*fd = -1;
}

void state_remove_root(const struct state *state)
{
	(void)state;
}

int tree_open(const char *root, const struct verity *like)
{
	(void)root, (void)like;
	return -1;
}

const char *state_root(const struct state *s)
{
	(void)s;
	return NULL;
}

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	(void)volume, (void)cookie, (void)cookie_size;
	return 0;
}

static struct tree new_tree = {.verity.levels = 1};
static unsigned forgotten;

struct tree *image_tree(const struct image *image)
{
	(void)image;
	return &new_tree;
}

bool image_before(const struct image *image, struct before *before)
{
	(void)image, (void)before;
	return true;
}

void image_forget_before(const struct image *image)
{
	(void)image;
	forgotten++;
}

int64_t file_hole(const struct file *f, uint64_t from, uint64_t end, uint64_t *hole_end)
{
	(void)f, (void)from, (void)end, (void)hole_end;
	return -1;
}

ssize_t file_write(
	struct file *f, const void *pages, size_t size, uint64_t offset, struct file_fault *fault)
{
	(void)f, (void)pages, (void)size, (void)offset, (void)fault;
	return -EIO;
}

void reads_advance(unsigned file, uint64_t from, uint64_t to)
{
	(void)file, (void)from, (void)to;
}

uint64_t reads_first_end(unsigned file, uint64_t from, uint64_t to)
{
	(void)file, (void)from, (void)to;
	return UINT64_MAX;
}

bool reads_wait(unsigned file)
{
	(void)file;
	return false;
}

const uint8_t *tree_leaves(struct tree *t, uint64_t block, uint64_t *lacks)
{
	(void)t, (void)block, (void)lacks;
	return NULL;
}

bool tree_covers(struct tree *t, uint64_t block, uint64_t *lacks)
{
	(void)t, (void)block, (void)lacks;
	return false;
}

static void fill(uint8_t digest[32])
{
	for (int i = 0; i < 32; i++)
		digest[i] = (uint8_t)rand();
}

static void start(uint64_t blocks)
{
	memset(&reuse, 0, sizeof(reuse));
	memset(holes, 0, sizeof(holes));
	reuse.digests = 4096;
	pieces = seeks = 0;
	old_blocks = blocks;
	new_blocks = 0;
	for (uint64_t i = 0; i < blocks; i++)
		fill(old_digests[i]);
}

/* The next blocks of the new version are those of the old one from `from` on; -1: they are new. */
static void add(int64_t from, uint64_t count)
{
	for (; count > 0 && new_blocks < BLOCKS; count--, new_blocks++)
		if (from < 0)
			fill(new_digests[new_blocks]);
		else
			memcpy(new_digests[new_blocks], old_digests[from++], 32);
}

/* Looks up the units in order, or from place to place. Returns how many blocks are found; those
 * must be right. */
static uint64_t look(bool in_order)
{
	struct verity new = {.data_blocks = new_blocks};
	uint64_t units = (new_blocks + UNIT - 1) / UNIT, step = in_order ? 1 : 7919, all = 0;

	for (uint64_t n = 0, unit = 0; n < units; n++, unit = (unit + step) % units) {
		look_up(&new, new_digests[unit * UNIT], unit * UNIT);
		for (uint64_t i = 0; i < UNIT; i++) {
			uint64_t block = unit * UNIT + i, place = reuse.old[i];

			CHECK(!place ||
				(block < new_blocks && place <= old_blocks && !holes[place - 1] &&
					memcmp(old_digests[place - 1], new_digests[block], 32) ==
						0));
			all += place > 0;
		}
	}
	return all;
}

static void test_places(void)
{
	begin_test("reuse: an image that did not change, one block longer, one block shorter");
	start(1000);
	add(0, 1000);
	CHECK(look(true) == 1000);
	CHECK(pieces == 32, "%u", pieces); /* one for each unit */
	start(1000);
	add(-1, 1);
	add(0, 1000);
	CHECK(look(true) == 1000);
	start(1000);
	add(1, 999);
	CHECK(look(false) == 999);
	begin_test("reuse: an image of another content has nothing, and no byte behind the digests "
		   "counts");
	start(100);
	add(-1, 500);
	CHECK(look(true) == 0);
	begin_test("reuse: what is not cached is not found, and known");
	start(1000);
	holes[10] = holes[999] = true;
	add(0, 1000);
	CHECK(look(true) == 998 && reuse.unread == 1u << 999 % UNIT);
	CHECK(seeks == 2 + 1 + 2 + 1, "%u", seeks); /* two for each part of data, one for a hole */
	begin_test("reuse: blocks that are alike: any of them, the nearest");
	start(1000);
	for (int i = 100; i < 900; i++)
		memset(old_digests[i], 0, 32);
	add(0, 1000);
	CHECK(look(true) == 1000 && reuse.shift[255] == 0);
}

static void test_edges(void)
{
	begin_test("reuse: as far as the window reaches, and not farther");
	for (int far = 0; far < 2; far++) {
		start(3 * WINDOW);
		add(WINDOW + (far ? 200 : 0), UNIT);
		CHECK(look(true) == (far ? 0 : UNIT));
	}
	begin_test("reuse: what was found tells where the next blocks are, beyond the window");
	start(BLOCKS);
	for (int i = 0; i < 5; i++) {
		add(-1, 3000);
		add(i * 2000, 2000);
	}
	CHECK(look(true) == 10000, "%llu", (unsigned long long)look(true));
}

/* As two builds of a root file system: some hundred runs of new, lost and moved blocks. */
static void test_builds(void)
{
	begin_test("reuse: two builds: at least 99 per cent of what both have, in any order");
	for (int in_order = 0; in_order < 2; in_order++) {
		uint64_t shared = 0, found;
		int64_t at = 0;

		srand(1);
		start(BLOCKS * 9 / 10);
		while (at < (int64_t)old_blocks && new_blocks < BLOCKS) {
			uint64_t run = (uint64_t)rand() % 200 + 1, fresh = (uint64_t)rand() % 50;

			run = run < old_blocks - (uint64_t)at ? run : old_blocks - (uint64_t)at;
			run = run < BLOCKS - new_blocks ? run : BLOCKS - new_blocks;
			add(at, run);
			shared += run;
			at += (int64_t)run + rand() % 40;
			add(-1, fresh);
		}
		found = look(in_order);
		CHECK(found * 100 >= shared * 99, "%llu of %llu", (unsigned long long)found,
			(unsigned long long)shared);
	}
}

static int refusal; /* errno of open_before() */

static int open_before(unsigned file, const struct before *before)
{
	(void)file, (void)before;
	errno = refusal;
	return -1;
}

static bool end_before(unsigned file, const struct before *before, bool remove)
{
	(void)file, (void)before, (void)remove;
	return false;
}

static void test_refused(void)
{
	static const struct frontend front = {.open_before = open_before, .end_before = end_before};
	static const struct {
		int error;
		bool again;
		unsigned forgotten;
	} rows[] = {{EAGAIN, true, 0}, {ENOENT, false, 1}, {EPIPE, false, 0}, {EMFILE, false, 0}};

	begin_test("reuse: an old version that is gone is forgotten, one that cannot be opened is "
		   "not");
	frontend = &front;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		static struct image image;
		static struct file file;

		file = (struct file){.used = true, .image = &image, .updates = true};
		files = &file;
		start(1000);
		forgotten = 0;
		refusal = rows[i].error;
		CHECK(!reuse_is_for(&file) && !reuse.file, "row %zu", i);
		CHECK(file.updates == rows[i].again && forgotten == rows[i].forgotten, "row %zu",
			i);
	}
}

int main(void)
{
	test_refused();
	test_places();
	test_edges();
	test_builds();
	return finish_tests();
}
