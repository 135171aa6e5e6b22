/* Unit tests of dirwalk.c: images made by hand, and by mkfs.erofs where it is at hand. What is
 * named is compared with what a plain reader of the whole tree needs. With an image as argument its
 * walk is told. */
#include "test/unit/check.h"

#include "image/erofs.c"
#include "image/dirwalk.c"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 65536

/* An image, and of each of its pages: is it needed, was it seen. */
struct image {
	uint8_t *bytes;
	uint64_t size;
	size_t page;
	bool *needed, *seen;
	unsigned directories, inodes;
};

static struct image image_of(uint8_t *bytes, uint64_t size, size_t page)
{
	struct image image = {.bytes = bytes, .size = size, .page = page};

	image.needed = calloc(size / page + 1, sizeof(bool));
	image.seen = calloc(size / page + 1, sizeof(bool));
	return image;
}

static void forget(struct image *image)
{
	free(image->needed);
	free(image->seen);
}

/* ---- a plain reader ---- */

static uint64_t number_at(const struct image *image, uint64_t at, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)image->bytes[at + i] << 8 * i;
	return value;
}

static void need(struct image *image, uint64_t at, uint64_t size)
{
	for (uint64_t i = at / image->page; i * image->page < at + size; i++)
		image->needed[i] = true;
}

static void need_inode(struct image *image, uint64_t nid);

static void need_entries(struct image *image, uint64_t at, uint64_t size)
{
	unsigned count = (unsigned)number_at(image, at + 8, 2) / 12;

	need(image, at, size);
	for (unsigned i = 0; i < count; i++) {
		const char *name = (char *)image->bytes + at + number_at(image, at + i * 12 + 8, 2);
		uint64_t end = i + 1 < count ? number_at(image, at + i * 12 + 20, 2) : size;
		size_t length = strnlen(name, end - number_at(image, at + i * 12 + 8, 2));

		if ((length != 1 || name[0] != '.') && (length != 2 || memcmp(name, "..", 2) != 0))
			need_inode(image, number_at(image, at + i * 12, 8));
	}
}

static void need_inode(struct image *image, uint64_t nid)
{
	uint64_t block = 1u << image->bytes[1024 + 12];
	uint64_t at = number_at(image, 1024 + 40, 4) * block + nid * 32;
	unsigned format = image->bytes[at], xattrs = (unsigned)number_at(image, at + 2, 2);
	uint64_t own = (format & 1) ? 64 : 32,
		 size = number_at(image, at + 8, (format & 1) ? 8 : 4);
	uint64_t data = number_at(image, at + 16, 4) * block;

	image->inodes++;
	need(image, at, own);
	if (number_at(image, at + 4, 2) >> 12 != 4)
		return;
	image->directories++;
	for (; size > 0; size -= size < block ? size : block, data += block) {
		if (size <= block && (format >> 1 & 7) == 2)
			need_entries(image, at + own + (xattrs ? 12 + (xattrs - 1) * 4 : 0), size);
		else
			need_entries(image, data, size < block ? size : block);
	}
}

static unsigned missing(const struct image *image)
{
	unsigned count = 0;

	for (uint64_t i = 0; i < image->size / image->page; i++)
		count += image->needed[i] && !image->seen[i];
	return count;
}

/* ---- a walk, and what it cost ---- */

struct cost {
	uint64_t named, fetched;
	unsigned ranges, again, rounds;
	bool over;
};

/* What is not cached of a range passes by. */
static void fetch(
	struct dirwalk *w, struct image *image, uint64_t from, uint64_t end, struct cost *cost)
{
	for (uint64_t at = from, to; at < end; at = to) {
		to = at + image->page < end ? at + image->page : end;
		if (image->seen[at / image->page])
			continue;
		while (to < end && to - at < PIECE && !image->seen[to / image->page])
			to = to + image->page < end ? to + image->page : end;
		for (uint64_t page = at; page < to; page += image->page)
			image->seen[page / image->page] = true;
		dirwalk_feed(w, image->bytes + at, at, (size_t)(to - at));
		cost->fetched += to - at;
	}
}

#define EXTENTS 4096

static struct dirwalk *made_walk(void)
{
	return dirwalk_init(calloc(1, dirwalk_size(EXTENTS)), EXTENTS);
}

/* In each round all that is named is asked for at once. */
static struct cost follow(struct image *image, uint64_t limit)
{
	static struct {
		uint64_t from, end;
	} ranges[100000];
	struct dirwalk *w = made_walk();
	struct cost cost = {0};
	unsigned count = 1;

	if (!dirwalk_start(w, image->bytes, image->size, image->page, limit))
		count = 0;
	else
		dirwalk_call(w, 0, UINT64_MAX);
	while (count > 0) {
		for (count = 0; dirwalk_next(w, &ranges[count].from, &ranges[count].end); count++) {
			CHECK(ranges[count].from % image->page == 0);
			CHECK(ranges[count].end % image->page == 0 ||
				ranges[count].end == image->size);
			CHECK(ranges[count].from < ranges[count].end &&
				ranges[count].end <= image->size);
			cost.named += ranges[count].end - ranges[count].from;
		}
		for (unsigned i = 0; i < count; i++)
			fetch(w, image, ranges[i].from, ranges[i].end, &cost);
		cost.ranges += count;
		for (uint64_t from, end; dirwalk_reread(w, &from, &end); count++, cost.again++) {
			image->seen[from / image->page] = false;
			fetch(w, image, from, end, &cost);
			cost.named += end - from;
		}
		cost.rounds += count > 0;
	}
	CHECK(cost.named <= limit);
	cost.over = dirwalk_is_over(w);
	free(w);
	return cost;
}

static void tell(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct image image;
	struct cost cost;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(path);
		exit(1);
	}
	image = image_of(mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0),
		(uint64_t)st.st_size, 4096);
	cost = follow(&image, image.size);
	need_inode(&image, number_at(&image, 1024 + 14, 2));
	printf("%s: %u directories, %u inodes: %llu named, %llu fetched, %u ranges, %u again, "
	       "%u rounds, %u pages missing%s\n",
		path, image.directories, image.inodes, (unsigned long long)cost.named,
		(unsigned long long)cost.fetched, cost.ranges, cost.again, cost.rounds,
		missing(&image), cost.over ? "" : ", not over");
	forget(&image);
}

/* ---- images made by hand ---- */

#define BLOCK  4096
#define BLOCKS 3000

static uint8_t made[BLOCKS * BLOCK];

static void put(uint64_t at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		made[at + i] = (uint8_t)(value >> 8 * i);
}

/* Blocks of 1 << bits bytes, the metadata from `meta` on. */
static void make_super(unsigned bits, unsigned meta, unsigned root)
{
	memset(made, 0, sizeof(made));
	put(1024, 0xe0f5e1e2, 4);
	put(1024 + 12, bits, 1);
	put(1024 + 14, root, 2);
	put(1024 + 40, meta, 4);
}

static void make_inode(uint64_t at, unsigned format, unsigned mode, uint64_t size, unsigned data)
{
	put(at, format, 2);
	put(at + 4, mode, 2);
	put(at + 8, size, (format & 1) ? 8 : 4);
	put(at + 16, data, 4);
}

#define COMPACT	 0
#define EXTENDED 1
#define PLAIN	 0
#define INLINE	 4
#define FOLDER	 0040755
#define FILE_	 0100644

/* `count` children from nid `first`, `step` apart, all of them directories or all files. */
static unsigned make_entries(
	uint64_t at, unsigned count, uint64_t first, uint64_t step, bool folders)
{
	unsigned name = (count + 2) * 12;

	for (unsigned i = 0; i < count + 2; i++) {
		put(at + i * 12, i < 2 ? 0x123456789 : first + (i - 2) * step, 8);
		put(at + i * 12 + 8, name, 2);
		put(at + i * 12 + 10, folders || i < 2 ? 2 : 1, 1);
		memcpy(made + at + name, i == 0 ? "." : i == 1 ? ".." : "..x", i < 2 ? i + 1 : 3);
		name += i < 2 ? i + 1 : 3;
	}
	return name;
}

static struct image made_image(void)
{
	return image_of(made, sizeof(made), 4096);
}

/* A walk through what was made names all that is needed. */
static void check_made(void)
{
	struct image image = made_image();
	struct cost cost = follow(&image, image.size);

	need_inode(&image, number_at(&image, 1024 + 14, 2));
	CHECK(missing(&image) == 0, "%u of %u inodes", missing(&image), image.inodes);
	CHECK(cost.over);
	CHECK(image.inodes > 1);
	forget(&image);
}

/* All inodes are called for. */
static bool starts(struct dirwalk *w, size_t page, uint64_t limit)
{
	if (!dirwalk_start(w, made, sizeof(made), page, limit))
		return false;
	dirwalk_call(w, 0, UINT64_MAX);
	return true;
}

static void test_start(struct dirwalk *w)
{
	uint64_t from, end;

	begin_test("dirwalk: what cannot be walked");
	CHECK(dirwalk_size(0) <= 13056 && dirwalk_size(3072) <= 32768);
	make_super(12, 0, 36);
	CHECK(starts(w, 4096, 1 << 20) && !dirwalk_is_over(w));
	CHECK(dirwalk_next(w, &from, &end) && from == 0 && end == 4096);
	CHECK(!dirwalk_next(w, &from, &end) && !dirwalk_reread(w, &from, &end) &&
		!dirwalk_is_over(w));
	dirwalk_feed(w, made, 0, 4096); /* the root is no directory */
	CHECK(dirwalk_is_over(w));
	CHECK(starts(w, 65536, 1 << 20) && !starts(w, 2048, 1 << 20));
	put(1024 + 80, 0x80, 4);
	CHECK(!starts(w, 4096, 1 << 20) && dirwalk_is_over(w));
	make_super(8, 0, 36);
	CHECK(!starts(w, 4096, 1 << 20));
	make_super(12, BLOCKS, 0);
	CHECK(!starts(w, 4096, 1 << 20));
	put(1024 + 40, UINT32_MAX, 4);
	CHECK(!starts(w, 4096, 1 << 20));
	CHECK(!dirwalk_start(w, made, UINT64_MAX, 4096, 1 << 20));
	memset(made, 0, BLOCK);
	CHECK(!starts(w, 4096, 1 << 20) && dirwalk_is_over(w) && !dirwalk_next(w, &from, &end));
}

/* /: inline, in block 2, children (directories) far off, each with files elsewhere. */
static void make_tree(unsigned bits, unsigned format)
{
	uint64_t root = (3u << bits) + 64;

	make_super(bits, 3, 2);
	make_inode(root, format | INLINE, FOLDER, 0, 0);
	put(root + 8, make_entries(root + ((format & 1) ? 64 : 32), 5, 20000, 1280, true), 4);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t at = (3u << bits) + (20000 + i * 1280) * 32;

		make_inode(at, format | PLAIN, FOLDER, 3u << bits, 30 + i * 3);
		for (unsigned block = 0; block < 3; block++)
			make_entries((30 + i * 3 + block) << bits, 9, 40000 + i * 999 + block * 333,
				130, false);
	}
}

static void test_layouts(void)
{
	begin_test("dirwalk: layouts");
	for (unsigned format = COMPACT; format <= EXTENDED; format++) {
		for (unsigned bits = 9; bits <= 12; bits++) {
			make_tree(bits, format);
			check_made();
		}
	}
	begin_test("dirwalk: an inode across two blocks, its xattrs and tail behind it");
	make_super(12, 0, 127);
	make_inode(4096 - 32, EXTENDED | INLINE, FOLDER, 0, 0);
	put(4096 - 32 + 2, 11, 2);
	put(4096 - 32 + 8, make_entries(4096 + 32 + 52, 3, 9000, 128, true), 8);
	check_made();
}

static bool names(struct dirwalk *w, unsigned first, unsigned end)
{
	uint64_t from, to;

	return dirwalk_next(w, &from, &to) && from == first * BLOCK && to == end * BLOCK;
}

static void test_order(struct dirwalk *w)
{
	uint64_t from, end;
	static const unsigned order[] = {1, 3, 0, 2};

	begin_test("dirwalk: a directory's blocks pass by in any order, and twice");
	make_super(12, 0, 36);
	make_inode(36 * 32, COMPACT | PLAIN, FOLDER, 4 * BLOCK, 10);
	for (unsigned i = 0; i < 4; i++)
		make_entries((10 + i) * BLOCK, 2, (100 + i * 10) * 128, 1, false);
	CHECK(starts(w, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
	CHECK(names(w, 10, 14) && !dirwalk_next(w, &from, &end));
	for (unsigned i = 0; i < 4; i++) {
		unsigned block = order[i];

		dirwalk_feed(w, made + (10 + block) * BLOCK, (10 + block) * BLOCK, BLOCK);
		CHECK(names(w, 100 + block * 10, 101 + block * 10));
		dirwalk_feed(w, made + (10 + block) * BLOCK, (10 + block) * BLOCK, BLOCK);
		CHECK(!dirwalk_next(w, &from, &end));
		CHECK(dirwalk_is_over(w) == (i == 3));
	}
	CHECK(starts(w, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 65536); /* all at once: named all the same */
	CHECK(names(w, 10, 14));
	for (unsigned i = 0; i < 4; i++)
		CHECK(names(w, 100 + i * 10, 101 + i * 10));
	CHECK(dirwalk_is_over(w));
}

static void test_ranges(struct dirwalk *w)
{
	uint64_t from, end;

	begin_test("dirwalk: pages side by side are joined, none is named twice, within the limit");
	make_super(12, 0, 36);
	make_inode(36 * 32, COMPACT | INLINE, FOLDER, 0, 0);
	put(36 * 32 + 8, make_entries(37 * 32, 9, 10 * 128, 2 * 128 - 1, false), 4);
	CHECK(starts(w, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096); /* pages 10, 11, 13, 15, ... */
	CHECK(names(w, 10, 12) && names(w, 13, 14) && names(w, 15, 16));
	put(36 * 32 + 8, make_entries(37 * 32, 9, 10 * 128, 128, false), 4);
	CHECK(starts(w, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
	CHECK(names(w, 10, 19) && dirwalk_is_over(w) && !dirwalk_next(w, &from, &end));
	CHECK(starts(w, 4096, 5 * BLOCK + 7) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
	CHECK(names(w, 10, 14) && !dirwalk_next(w, &from, &end) && dirwalk_is_over(w));
	put(36 * 32 + 8, make_entries(37 * 32, 99, 10 * 128, 1, false), 4);
	CHECK(starts(w, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
	CHECK(names(w, 10, 11) && !dirwalk_next(w, &from, &end));
}

static void test_missed(struct dirwalk *w)
{
	uint64_t from, end;

	begin_test("dirwalk: a directory that has passed by before it was known");
	make_super(12, 0, 36);
	make_inode(36 * 32, COMPACT | INLINE, FOLDER, 0, 0);
	put(36 * 32 + 8, make_entries(37 * 32, 1, 10 * 128, 1, true), 4);
	make_inode(10 * BLOCK, COMPACT | INLINE, FOLDER, 0, 0);
	put(10 * BLOCK + 8, make_entries(10 * BLOCK + 32, 1, 20 * 128, 1, false), 4);
	CHECK(starts(w, 4096, 1 << 20));
	dirwalk_feed(w, made + 10 * BLOCK, 10 * BLOCK, BLOCK);
	dirwalk_feed(w, made, 0, BLOCK);
	CHECK(names(w, 0, 1) && names(w, 10, 11) && !dirwalk_next(w, &from, &end));
	CHECK(dirwalk_reread(w, &from, &end) && from == 10 * BLOCK && end == 11 * BLOCK);
	CHECK(!dirwalk_reread(w, &from, &end));
	dirwalk_feed(w, made + 10 * BLOCK, 10 * BLOCK, BLOCK);
	CHECK(!dirwalk_reread(w, &from, &end) && names(w, 20, 21) && dirwalk_is_over(w));
}

/* The root's files have their inodes in pages 10, 20, 30, 40 and 41. */
static void make_files(struct dirwalk *w)
{
	make_super(12, 0, 36);
	make_inode(36 * 32, COMPACT | INLINE, FOLDER, 0, 0);
	put(36 * 32 + 8, make_entries(37 * 32, 5, 10 * 128, 10 * 128, false), 4);
	put(37 * 32 + 6 * 12, 41 * 128, 8);
	CHECK(dirwalk_start(w, made, sizeof(made), 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
}

/* The first such page at or behind this one, 0 if there is none. */
static uint64_t inodes_from(struct dirwalk *w, uint64_t page)
{
	uint64_t from = page * 4096;

	return dirwalk_inodes(w, &from) ? from / 4096 : 0;
}

static void test_call(struct dirwalk *w)
{
	uint64_t from, end;

	begin_test("dirwalk: inodes of files when they are called for: those behind, then all");
	make_files(w);
	CHECK(!dirwalk_next(w, &from, &end) && dirwalk_is_over(w));
	CHECK(inodes_from(w, 0) == 10 && inodes_from(w, 10) == 10 && inodes_from(w, 11) == 20);
	CHECK(inodes_from(w, 41) == 41 && inodes_from(w, 42) == 0);
	dirwalk_call(w, 25 * BLOCK + 7, 2);
	CHECK(names(w, 30, 31) && names(w, 40, 41) && !dirwalk_next(w, &from, &end));
	dirwalk_call(w, 25 * BLOCK, 2);
	CHECK(names(w, 41, 42) && names(w, 10, 11) && !dirwalk_next(w, &from, &end));
	dirwalk_call(w, 0, 100);
	CHECK(names(w, 20, 21) && !dirwalk_next(w, &from, &end), "none is left");

	begin_test("dirwalk: a call takes the place of the one before; none for what passed by");
	make_files(w);
	dirwalk_feed(w, made + 30 * BLOCK, 30 * BLOCK, BLOCK);
	dirwalk_call(w, 15 * BLOCK, 4);
	CHECK(names(w, 20, 21));
	dirwalk_call(w, 0, 1);
	CHECK(names(w, 10, 11) && !dirwalk_next(w, &from, &end));
	dirwalk_call(w, 20 * BLOCK, 4);
	CHECK(names(w, 40, 42) && !dirwalk_next(w, &from, &end));

	begin_test("dirwalk: pages are called for, not ranges");
	make_files(w);
	dirwalk_call(w, 40 * BLOCK, 3);
	CHECK(names(w, 40, 42) && names(w, 10, 11) && !dirwalk_next(w, &from, &end));
}

/* Children far from each other, whose pages have the same place among PAGES. */
static void test_far(struct dirwalk *w)
{
	uint64_t from, end, page = 10 + PAGES;

	begin_test("dirwalk: pages of inodes that are 64 MiB apart are both named, as they are");
	make_super(12, 0, 36);
	make_inode(36 * 32, COMPACT | INLINE, FOLDER, 0, 0);
	put(36 * 32 + 8, make_entries(37 * 32, 4, 10 * 128, PAGES * 128, false), 4);
	CHECK(dirwalk_start(w, made, UINT64_C(1) << 40, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
	dirwalk_call(w, page * BLOCK, 2);
	CHECK(names(w, page, page + 1) && names(w, page + PAGES, page + PAGES + 1));
	dirwalk_call(w, 0, 9);
	CHECK(names(w, 10, 11));
	CHECK(names(w, 10 + 3 * PAGES, 11 + 3 * PAGES) && !dirwalk_next(w, &from, &end));

	begin_test("dirwalk: of more pages of inodes than it can remember some are named");
	put(36 * 32 + 8, make_entries(37 * 32, 100, 10 * 128, 128 * 3, false), 4);
	w = dirwalk_init(calloc(1, dirwalk_size(0)), 0);
	w->known_max = 50;
	CHECK(dirwalk_start(w, made, UINT64_C(1) << 40, 4096, 1 << 20) && names(w, 0, 1));
	dirwalk_feed(w, made, 0, 4096);
	CHECK(w->known == 50);
	dirwalk_call(w, 0, UINT64_MAX);
	for (unsigned i = 0; i < 50; i++)
		CHECK(names(w, 10 + 3 * i, 11 + 3 * i), "%u", i);
	CHECK(!dirwalk_next(w, &from, &end) && dirwalk_owner(w, 10 * BLOCK) == 0);
	free(w);
}

/* Directories a and b in the root, each with inodes of files. */
static void test_owner(struct dirwalk *w)
{
	unsigned a, b, same = 0;

	begin_test(
		"dirwalk: of which directory an inode is; without a map of files it is not known");
	for (unsigned i = 0; i < 2; i++) {
		if (i == 1)
			w = dirwalk_init(calloc(1, dirwalk_size(0)), 0);
		make_super(12, 0, 36);
		make_inode(36 * 32, COMPACT | INLINE, FOLDER, 0, 0);
		put(36 * 32 + 8, make_entries(37 * 32, 2, 2 * 128, 128, true), 4);
		for (unsigned n = 2; n < 4; n++) {
			make_inode(n * BLOCK, COMPACT | INLINE, FOLDER, 0, 0);
			put(n * BLOCK + 8,
				make_entries(n * BLOCK + 32, 20, n * 10 * 128, 64, false), 4);
		}
		CHECK(starts(w, 4096, 1 << 20) && names(w, 0, 1));
		dirwalk_feed(w, made, 0, 4 * BLOCK);
		a = dirwalk_owner(w, 20 * BLOCK);
		b = dirwalk_owner(w, 30 * BLOCK);
		CHECK(i == 1 ? a == 0 && b == 0 : a > 0 && b > 0 && a != b);
		for (unsigned n = 0; n < 20; n++)
			same += dirwalk_owner(w, 20 * BLOCK + n * 2048) == a;
	}
	CHECK(same >= 20 + 18, "%u", same); /* a few may be overwritten */
	free(w);
}

/* It ends, whatever is in there; follow() checks what is named. */
static void check_end(void)
{
	struct image image = made_image();

	follow(&image, image.size);
	forget(&image);
}

static void test_hostile(struct dirwalk *w)
{
	begin_test("dirwalk: a directory in itself, more of them than fit, numbers beyond");
	make_super(12, 0, 36);
	make_inode(36 * 32, COMPACT | INLINE, FOLDER, 0, 0);
	put(36 * 32 + 8, make_entries(37 * 32, 100, 36, 0, true), 4);
	CHECK(dirwalk_start(w, made, UINT64_C(1) << 43, 4096, 16 << 20));
	dirwalk_feed(w, made, 0, 4096);
	CHECK(w->readable >= (8 << 20) - 4096 && w->awaiting <= DIRWALK_MAX);
	check_end();
	for (unsigned step = 128; step < 1300; step *= 3) {
		make_super(12, 0, 36);
		make_inode(36 * 32, COMPACT | PLAIN, FOLDER, 8 * BLOCK, 2);
		for (unsigned i = 0; i < 8; i++)
			make_entries((2 + i) * BLOCK, 200, 2000 + i * 10 * step, step, true);
		check_end();
	}
	for (uint64_t number = 1; number != 0; number <<= 1) {
		make_entries(2 * BLOCK, 200, number - 1, number, true);
		put(36 * 32 + 16, number, 4);
		check_end();
		put(36 * 32 + 16, 2, 4);
		put(36 * 32, EXTENDED, 2);
		put(36 * 32 + 8, number, 8);
		check_end();
		put(36 * 32 + 8, 8 * BLOCK, 8);
		put(2 * BLOCK + 8, number, 2);
		put(2 * BLOCK + 44, number - 1, 2);
		check_end();
	}
}

/* ---- images of mkfs.erofs ---- */

#define WITH "walk: mkfs.erofs"

static void test_mkfs(const char *name)
{
	char path[] = "/tmp/walk-XXXXXX", command[300];
	int fd = mkstemp(path);
	struct stat st;

	begin_test(name);
	snprintf(command, sizeof(command),
		"d=/usr/share/zoneinfo; [ -d $d ] || d=.; mkfs.erofs %s %s $d >/dev/null 2>&1",
		name + sizeof(WITH) - 1, path);
	if (system("command -v mkfs.erofs >/dev/null") != 0 || system(command) != 0) {
		printf("# cannot be made here\n");
	} else if (fstat(fd, &st) == 0) {
		uint8_t *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

		struct image image = image_of(bytes, (uint64_t)st.st_size, 4096);
		struct cost cost = follow(&image, image.size * 2);
		uint64_t needed = 0;

		need_inode(&image, number_at(&image, 1024 + 14, 2));
		for (uint64_t i = 0; i < image.size / 4096; i++)
			needed += image.needed[i] ? 4096 : 0;
		CHECK(missing(&image) == 0, "%u", missing(&image));
		CHECK(cost.over);
		CHECK(cost.fetched <= needed + cost.again * 4096);
		CHECK(cost.rounds <= 12, "%u", cost.rounds);
		forget(&image);
		munmap(bytes, (size_t)st.st_size);
	}
	unlink(path);
	close(fd);
}

int main(int argc, char **argv)
{
	struct dirwalk *w = made_walk();

	for (int i = 1; i < argc; i++)
		tell(argv[i]);
	test_start(w);
	test_layouts();
	test_order(w);
	test_ranges(w);
	test_missed(w);
	test_call(w);
	test_far(w);
	test_owner(w);
	test_hostile(w);
	test_mkfs(WITH);
	test_mkfs(WITH " -x -1");
	test_mkfs(WITH " -E force-inode-extended");
	test_mkfs(WITH " -E force-inode-compact,nosbcrc");
	test_mkfs(WITH " --chunksize=4096");
	test_mkfs(WITH " -z lz4");
	free(w);
	return finish_tests();
}
