/* Unit tests of filemap.c: inodes made by hand, random bytes, and images of mkfs.erofs where it is
 * at hand, whose map is compared with what dump.erofs says. */
#include "test/unit/check.h"

#include "image/filemap.c"

#include <unistd.h>

/* The number of each inode's directory. */
static unsigned (*owner_of)(uint64_t inode);

unsigned dirwalk_owner(struct dirwalk *w, uint64_t inode)
{
	(void)w;
	return owner_of(inode);
}

#define META  16 /* pages with inodes, at the image's beginning */
#define INODE 4096
#define MAX   1000

static uint8_t made[META * UNIT];
static struct filemap *map;
static struct filemap_image image;

/* ---- inodes made by hand ---- */

#define LAYOUTS(n)	((n) << 1)
#define EXTENDED_FORMAT (1 | LAYOUTS(LAYOUT_PLAIN))
#define FILE_		0100644

static void start(void)
{
	memset(made, 0, sizeof(made));
	memset(map, 0, filemap_size(MAX));
	filemap_init(map, MAX);
	image = (struct filemap_image){.number = 3, .block = 4096, .size = 1 << 30};
}

static void put(uint64_t at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		made[at + i] = (uint8_t)(value >> 8 * i);
}

static void make_inode(uint64_t at, unsigned format, uint64_t size, uint32_t first)
{
	memset(made + at, 0, format & 1 ? EXTENDED : SLOT);
	put(at, format, 2);
	put(at + 4, FILE_, 2);
	put(at + 8, size, format & 1 ? 8 : 4);
	put(at + 16, first, 4);
	put(at + (format & 1 ? 44 : 6), 1, 2);
}

/* In memory of its own, so that a read beyond it is seen. */
static void feed(uint64_t from, uint64_t end)
{
	uint8_t *piece = malloc(end - from);

	memcpy(piece, made + from, end - from);
	filemap_feed(map, &image, piece, from, end - from);
	free(piece);
}

static void feed_all(void)
{
	feed(0, sizeof(made));
}

/* Whether [first, end), in units, is an extent of the image. */
static bool has(unsigned number, uint64_t first, uint64_t end)
{
	uint64_t from = 0, to = 0;

	for (uint64_t unit = first; unit < end; unit++)
		if (!filemap_find(map, number, unit * UNIT + UNIT - 1, &from, &to) ||
			from != first * UNIT || to != end * UNIT)
			return false;
	return filemap_find(map, number, first * UNIT, &from, &to);
}

/* The only one. */
static bool has_only(uint64_t first, uint64_t end)
{
	return map->count == 1 && has(3, first, end);
}

static void check_valid(void)
{
	CHECK(map->count <= map->max);
	for (size_t i = 0; i < map->count; i++) {
		const struct extent *e = &map->extents[i], *next = e + 1;

		CHECK(e->units > 0 && e->from > 0);
		CHECK(e->image != image.number ||
			end_of(e) <= image.size / UNIT + (image.size % UNIT > 0));
		CHECK(i + 1 == map->count || e->image < next->image ||
			(e->image == next->image && end_of(e) <= next->from));
	}
}

static void test_plain(void)
{
	begin_test("filemap: plain files and inline tails, compact and extended, with attributes");
	for (unsigned i = 0; i < 8; i++) {
		unsigned format = i & 1, attributes = i >> 1 & 3;

		start();
		make_inode(INODE, format | LAYOUTS(LAYOUT_PLAIN), 10000, 100);
		make_inode(INODE + 128, format | LAYOUTS(LAYOUT_INLINE), 10000, 200);
		make_inode(INODE + 256, format | LAYOUTS(LAYOUT_INLINE), 4095, 300);
		make_inode(INODE + 384, format | LAYOUTS(LAYOUT_PLAIN), 8192, 400);
		make_inode(INODE + 512, format | LAYOUTS(LAYOUT_PLAIN), 0, 500);
		for (unsigned n = 0; n < 5; n++)
			put(INODE + n * 128 + 2, attributes, 2);
		feed_all();
		CHECK(map->count == 3 && has(3, 100, 103) && has(3, 200, 202) && has(3, 400, 402),
			"%u: %zu", i, map->count);
		feed_all();
		CHECK(map->count == 3, "twice");
	}

	begin_test("filemap: blocks of 512 bytes to 64 KiB");
	for (image.block = 512; image.block <= 65536; image.block *= 2) {
		uint32_t block = image.block;

		start();
		image.block = block;
		make_inode(INODE, LAYOUTS(LAYOUT_PLAIN), 3 * block + 1, 101);
		feed_all();
		CHECK(has_only(101ull * block / UNIT, (105ull * block + UNIT - 1) / UNIT), "%u",
			block);
	}

	begin_test("filemap: a file of gibibytes has several extents; nothing lies behind 1 TiB");
	start();
	image.size = UINT64_MAX;
	make_inode(INODE, EXTENDED_FORMAT, 1ull << 31, FROM_MAX - (1u << 22));
	feed_all();
	CHECK(map->count == 3);
	for (uint64_t from = FROM_MAX - (1u << 22), end; from < FROM_MAX - (1u << 22) + (1u << 19);
		from = end) {
		end = min_u64(from + UNITS_MAX, FROM_MAX - (1u << 22) + (1u << 19));
		CHECK(has(3, from, end));
	}
	make_inode(INODE, EXTENDED_FORMAT, 1ull << 63, 1000);
	make_inode(INODE + 64, EXTENDED_FORMAT, UINT64_MAX, 1000);
	make_inode(INODE + 128, EXTENDED_FORMAT, 8192, UINT32_MAX);
	make_inode(INODE + 192, EXTENDED_FORMAT, 8192, FROM_MAX);
	feed_all();
	CHECK(map->count == 3);
}

/* A table of chunks behind the inode at INODE. */
static void make_chunks(unsigned attributes, unsigned each, const uint32_t *firsts, unsigned count)
{
	uint64_t at = INODE + 32 + (attributes ? 12 + (attributes - 1) * 4 : 0);

	put(INODE + 2, attributes, 2);
	for (at = (at + each - 1) / each * each; count > 0; count--, at += each)
		put(at + each - 4, *firsts++, 4);
}

static void test_chunks(void)
{
	static const uint32_t firsts[] = {100, 104, 108, NO_BLOCK, 200, 300, 304};

	begin_test("filemap: chunks: runs, holes, the last one; both tables, with attributes");
	for (unsigned i = 0; i < 8; i++) {
		unsigned each = i & 1 ? 8 : 4;

		start();
		make_inode(INODE, LAYOUTS(LAYOUT_CHUNKS), 25 * UNIT + 1,
			2 | (i & 1 ? CHUNK_INDEXES : 0));
		make_chunks(i >> 1, each, firsts, 7);
		feed_all();
		CHECK(map->count == 3 && has(3, 100, 112) && has(3, 200, 204) && has(3, 300, 306),
			"%u: %zu", i, map->count);
	}

	begin_test("filemap: chunks in another device, a table that is cut off, unknown bits");
	start();
	make_inode(INODE, LAYOUTS(LAYOUT_CHUNKS), 25 * UNIT + 1, 2 | CHUNK_INDEXES);
	make_chunks(0, 8, firsts, 7);
	put(INODE + 32 + 8 + 2, 1, 2);
	feed_all();
	CHECK(map->count == 4 && has(3, 100, 104) && has(3, 108, 112), "%zu", map->count);
	start();
	make_inode(2 * INODE - 64, LAYOUTS(LAYOUT_CHUNKS), 25 * UNIT + 1, 2);
	put(2 * INODE - 64 + 2, 3, 2); /* 20 bytes of attributes */
	for (unsigned n = 0; n < 7; n++)
		put(2 * INODE - 12 + 4 * n, firsts[n], 4);
	feed(INODE, 2 * INODE);
	CHECK(has_only(100, 112));
	start();
	make_inode(INODE, LAYOUTS(LAYOUT_CHUNKS), 25 * UNIT + 1, 2 | 0x40);
	make_chunks(0, 4, firsts, 7);
	feed_all();
	CHECK(map->count == 0);
	put(INODE + 16, 0x1f, 4);
	feed_all();
	CHECK(has_only(100, 126), "one chunk for all");
}

static void test_compressed(void)
{
	begin_test("filemap: compressed files with a full index");
	for (unsigned kind = 0; kind < 4; kind++) {
		start();
		make_inode(INODE, LAYOUTS(LAYOUT_FULL), 100000, 7);
		put(INODE + 2, 2, 2); /* 16 bytes of attributes */
		put(INODE + 48 + 16, kind, 2);
		put(INODE + 48 + 20, 500, 4);
		feed_all();
		CHECK(kind == CLUSTER_BEHIND ? map->count == 0 : has_only(500, 507), "%u", kind);
	}

	begin_test(
		"filemap: compressed files with a packed index: of 4 bytes, of 2, large clusters");
	for (unsigned i = 0; i < 16; i++) {
		bool is_large = i & 1, advises_2b = i & 2, is_aligned = i & 4, is_long = i & 8;
		bool is_2b = advises_2b && is_aligned && is_long;
		uint64_t at = INODE + 32, header = at + (is_aligned ? 56 : 32);

		start();
		make_inode(at, LAYOUTS(LAYOUT_COMPACT), is_long ? 15 * UNIT + 1 : 15 * UNIT, 7);
		put(at + 2, is_aligned ? 4 : 0, 2); /* 24 bytes of attributes */
		put(header + 4, (is_large ? 2 : 0) | advises_2b, 2);
		put(header + 8 + (is_2b ? 32 : 8) - 4, 500, 4);
		feed_all();
		CHECK(is_large ? has_only(500, 507) : has_only(501, 508), "%u", i);
	}

	begin_test("filemap: an index behind the piece's end is left out");
	start();
	make_inode(2 * INODE - 64, LAYOUTS(LAYOUT_COMPACT), 100000, 7);
	put(2 * INODE - 64 + 32 + 8 + 4, 500, 4);
	feed(INODE, 2 * INODE);
	CHECK(map->count == 0);
	feed_all();
	CHECK(has_only(501, 508));
}

static void test_refused(void)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		const char *what;
	} wrong[] = {
		{0, 2, 0x10, "unknown bits"},
		{0, 2, LAYOUTS(5), "an unknown layout"},
		{4, 2, 0040755, "a directory"},
		{4, 2, 0120777, "a symbolic link"},
		{6, 2, 0, "no link"},
		{8, 4, 0, "no size"},
		{16, 4, 0, "the superblock's block"},
		{16, 4, 1, "its own block"},
		{16, 4, (1 << 18) - 2, "blocks beyond the image"},
		{16, 4, UINT32_MAX, "no block"},
		{28, 1, 1, "reserved bytes"},
	};

	begin_test("filemap: what cannot be a file's inode");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		start();
		make_inode(INODE, LAYOUTS(LAYOUT_PLAIN), 10000, (1 << 18) - 3);
		put(INODE + wrong[i].at, wrong[i].value, wrong[i].bytes);
		feed_all();
		CHECK(map->count == 0, "%s", wrong[i].what);
	}
	start();
	make_inode(INODE, LAYOUTS(LAYOUT_PLAIN), 10000, (1 << 18) - 3);
	feed_all();
	CHECK(has_only((1 << 18) - 3, 1 << 18), "right");
	for (unsigned at = 44; at < 64; at++) {
		start();
		make_inode(INODE, EXTENDED_FORMAT, 10000, 100);
		put(INODE + at, at == 44 ? 0 : 1, 1);
		feed_all();
		CHECK(map->count == (at > 44 && at < 48), "%u", at);
	}
	start();
	make_inode(2 * INODE - 32, EXTENDED_FORMAT, 10000, 100);
	feed(INODE, 2 * INODE);
	CHECK(map->count == 0, "half an inode");
	image.size = 4095;
	feed_all();
	CHECK(map->count == 0, "an image without a block");
}

static void test_table(void)
{
	uint64_t from, end;

	begin_test("filemap: an extent that others have in part is cut");
	start();
	add(map, 3, 0, 100, 110);
	add(map, 3, 0, 120, 130);
	add(map, 3, 0, 105, 125);
	add(map, 3, 0, 100, 110);
	add(map, 3, 0, 90, 140);
	CHECK(map->count == 4 && has(3, 90, 100) && has(3, 100, 110) && has(3, 110, 120) &&
		has(3, 120, 130));
	check_valid();

	begin_test("filemap: it is found from its first byte to its last, in its image only");
	CHECK(filemap_find(map, 3, 90 * UNIT, &from, &end) && from == 90 * UNIT);
	CHECK(filemap_find(map, 3, 100 * UNIT - 1, &from, &end) && end == 100 * UNIT);
	CHECK(filemap_find(map, 3, 100 * UNIT, &from, &end) && from == 100 * UNIT);
	CHECK(filemap_find(map, 3, 130 * UNIT - 1, &from, &end) && end == 130 * UNIT);
	CHECK(!filemap_find(map, 3, 90 * UNIT - 1, &from, &end));
	CHECK(!filemap_find(map, 3, 130 * UNIT, &from, &end));
	CHECK(!filemap_find(map, 3, 0, &from, &end) &&
		!filemap_find(map, 3, UINT64_MAX, &from, &end));
	CHECK(!filemap_find(map, 2, 100 * UNIT, &from, &end));
	CHECK(!filemap_find(map, 4, 100 * UNIT, &from, &end));

	begin_test("filemap: several images; one that is forgotten leaves the others");
	for (unsigned number = 0; number < FILES_MAX; number += FILES_MAX - 1) {
		add(map, number, 0, 95, 105);
		CHECK(has(number, 95, 105));
	}
	add(map, 4, 0, 1, 2);
	filemap_forget(map, 3);
	CHECK(map->count == 3 && !filemap_find(map, 3, 100 * UNIT, &from, &end));
	filemap_forget(map, 3);
	CHECK(has(0, 95, 105) && has(4, 1, 2) && has(FILES_MAX - 1, 95, 105));
	filemap_forget(map, FILES_MAX - 1);
	filemap_forget(map, 0);
	CHECK(map->count == 1 && has(4, 1, 2));

	begin_test("filemap: what does not fit is left out, and fits when another image is gone");
	for (unsigned i = 0; i < MAX + 10; i++)
		add(map, 3, 0, 10 + 2 * i, 11 + 2 * i);
	CHECK(map->count == MAX && has(4, 1, 2) && has(3, 10, 11));
	check_valid();
	filemap_forget(map, 4);
	add(map, 5, 0, 7, 8);
	CHECK(map->count == MAX && has(5, 7, 8));
	start();
	filemap_init(map, 0);
	make_inode(INODE, LAYOUTS(LAYOUT_PLAIN), 10000, 100);
	feed_all();
	CHECK(map->count == 0 && !filemap_find(map, 3, 100 * UNIT, &from, &end));
}

/* ---- pieces in any order, and random bytes ---- */

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* Files in the image's order, none of whose inodes lies in two pages. */
static void make_many(void)
{
	uint32_t first = META;

	for (unsigned at = 0; at < sizeof(made); at += 128) {
		uint32_t blocks = 1 + random_below(9);

		switch (random_below(4)) {
		case 0:
			make_inode(at, LAYOUTS(LAYOUT_PLAIN), blocks * UNIT, first);
			break;
		case 1:
			make_inode(at, 1 | LAYOUTS(LAYOUT_INLINE), blocks * UNIT + 9, first);
			break;
		case 2:
			make_inode(at, LAYOUTS(LAYOUT_CHUNKS), 2 * blocks * UNIT, random_below(5));
			for (unsigned n = 0; n < 2 * blocks; n++)
				put(at + 32 + n * 4, first + n, 4);
			break;
		case 3:
			make_inode(at, LAYOUTS(LAYOUT_COMPACT), 4 * blocks * UNIT, blocks);
			put(at + 32 + 8 + 4, first - 1, 4);
			break;
		}
		first += 2 * blocks + 16;
	}
}

static void test_order(void)
{
	static struct extent whole[MAX];
	size_t count;

	begin_test("filemap: inodes that pass by in any order and in pieces make the same map");
	for (unsigned run = 0; run < 50; run++) {
		bool seen[META] = {false};
		unsigned left = META;

		start();
		make_many();
		feed_all();
		check_valid();
		count = map->count;
		CHECK(count >= META * 32, "%zu", count);
		memcpy(whole, map->extents, sizeof(whole));
		filemap_forget(map, 3);
		while (left > 0) {
			unsigned from = random_below(META), end = from;

			for (; end < META && !seen[end] && (end == from || random_below(2)); end++)
				seen[end] = true;
			left -= end - from;
			feed(from * UNIT, end * UNIT);
		}
		CHECK(map->count == count &&
			memcmp(whole, map->extents, count * sizeof(*whole)) == 0);
	}
}

static void test_hostile(void)
{
	begin_test("filemap: random bytes, and inodes of random bytes");
	for (unsigned run = 0; run < 200; run++) {
		start();
		image.block = 512u << random_below(8);
		image.size =
			run % 2 ? 1 << 20 : (uint64_t)random_below(UINT32_MAX) << random_below(33);
		for (size_t i = 0; i < sizeof(made); i++)
			made[i] = (uint8_t)random_below(256);
		for (unsigned at = 0; run % 4 > 0 && at < sizeof(made); at += SLOT) {
			put(at, random_below(16), 2);
			put(at + 4, FILE_, 2);
			put(at + 8, random_below(1 << random_below(31)), run % 4);
			put(at + 16, random_below(1 << random_below(31)), run % 4);
			put(at + 28, 0, 4);
		}
		for (unsigned from = 0, end; from < sizeof(made); from = end) {
			end = from + UNIT * (1 + random_below(4));
			feed(from, end < sizeof(made) ? end : sizeof(made) - random_below(UNIT));
		}
		check_valid();
	}
}

static void test_overlapping_tables(void)
{
	begin_test("filemap: tables of chunks that overlap are read up to a number of entries");
	start();
	for (unsigned at = 0; at < sizeof(made); at += SLOT)
		make_inode(at, LAYOUTS(LAYOUT_CHUNKS), UINT32_MAX, 0);
	feed_all();
	CHECK(map->entries == 0);
	check_valid();
}

static void test_overlapping_files(void)
{
	uint64_t size = (uint64_t)UNITS_MAX * UNIT;

	begin_test("filemap: a file of several extents ends where the map has one of them already");
	start();
	image.size = 1ull << 40;
	make_inode(INODE, EXTENDED_FORMAT, size, 1000);
	make_inode(INODE + 64, EXTENDED_FORMAT, 3 * size, 1000);
	feed_all();
	CHECK(has_only(1000, 1000 + UNITS_MAX));
	make_inode(INODE + 128, EXTENDED_FORMAT, 3 * size, 900);
	feed_all();
	CHECK(map->count == 4 && has(3, 900, 1000) && has(3, 1000, 1000 + UNITS_MAX));
}

/* ---- images of mkfs.erofs ---- */

#define WITH  "filemap: mkfs.erofs"
#define FILES (sizeof(sizes) / sizeof(sizes[0]))

static const unsigned sizes[] = {
	1, 4095, 4096, 4097, 61440, 61441, 65536, 65537, 70000, 131072, 300000, 2000000};
static char tree[] = "/tmp/filemap-XXXXXX";

/* Text of few letters, which compresses; every third file has lines that do not. */
static void make_tree(void)
{
	char path[64];

	if (!mkdtemp(tree))
		exit(99);
	for (unsigned i = 0; i < FILES; i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/%u", tree, i);
		f = fopen(path, "w");
		for (unsigned n = 0; f && n < sizes[i]; n++)
			fputc((int)(i % 3 && n >> 13 & 1 ? random_below(256)
							 : 'a' + random_below(4)),
				f);
		if (!f || fclose(f) != 0)
			exit(99);
	}
}

/* Notes whose each block of the image is, as dump.erofs says; a tail behind its inode lies in no
 * whole block. */
static void ask_dump(uint8_t *owners, size_t units)
{
	char line[256];

	for (unsigned i = 0; i < FILES; i++) {
		unsigned long long from, end;
		FILE *f;

		snprintf(line, sizeof(line), "dump.erofs -e --path=/%u %s.erofs", i, tree);
		f = popen(line, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, " %*u: %*u.. %*u | %*u : %llu.. %llu", &from, &end) == 2 &&
				from % UNIT == 0)
				for (; from < end && from / UNIT < units; from += UNIT)
					owners[from / UNIT] = (uint8_t)(i + 1);
		if (!f || pclose(f) != 0)
			exit(99);
	}
}

static void compare(const uint8_t *owners, size_t units)
{
	uint64_t from, end;
	unsigned owned = 0;

	for (size_t unit = 0; unit < units; unit++) {
		bool found = filemap_find(map, 3, unit * UNIT, &from, &end);

		CHECK(found == (owners[unit] > 0), "block %zu of file %d", unit, owners[unit] - 1);
		CHECK(!found || (owners[from / UNIT] == owners[unit] &&
					owners[end / UNIT - 1] == owners[unit]),
			"block %zu of file %d", unit, owners[unit] - 1);
		owned += found;
	}
	CHECK(owned > 400, "%u blocks", owned);
}

static void test_mkfs(const char *name)
{
	char command[300], path[64];
	uint8_t *bytes, *owners;
	size_t size;
	FILE *f;

	begin_test(name);
	snprintf(path, sizeof(path), "%s.erofs", tree);
	snprintf(command, sizeof(command), "mkfs.erofs %s %s %s >/dev/null 2>&1",
		name + sizeof(WITH) - 1, path, tree);
	if (system("command -v dump.erofs >/dev/null") != 0 || system(command) != 0) {
		printf("# cannot be made here\n");
		return;
	}
	f = fopen(path, "r");
	fseek(f, 0, SEEK_END);
	size = (size_t)ftell(f);
	rewind(f);
	bytes = malloc(size);
	owners = calloc(size / UNIT + 1, 1);
	CHECK(fread(bytes, 1, size, f) == size);
	fclose(f);
	start();
	image.size = size;
	filemap_feed(map, &image, bytes, 0, size);
	check_valid();
	ask_dump(owners, size / UNIT);
	compare(owners, size / UNIT);
	free(bytes);
	free(owners);
	unlink(path);
}

static void remove_tree(void)
{
	char path[64];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%u", tree, i);
		unlink(path);
	}
	rmdir(tree);
}

#define MOST (64 * UNIT)

/* Ten files of directory 7 from block 100 on, three blocks apart, between two of others. */
static unsigned owner_by_slot(uint64_t inode)
{
	unsigned slot = (unsigned)(inode - INODE) / 64;

	return slot < 2 || slot >= 12 ? 5 : slot == 6 ? 9 : 7;
}

static unsigned all_of_one(uint64_t inode)
{
	return inode > 0 ? 7 : 0;
}

static void test_directory(void)
{
	uint64_t from, end;

	begin_test("filemap: the small files of a directory; one whose directory was overwritten");
	start();
	image.walk = (struct dirwalk *)map; /* not looked into */
	owner_of = owner_by_slot;
	for (unsigned i = 0; i < 14; i++)
		make_inode(INODE + i * 64, EXTENDED_FORMAT, 2 * UNIT, 100 + i * 3);
	feed_all();
	for (unsigned i = 0; i < 14; i++) {
		bool is_inside = i >= 2 && i < 12;
		unsigned owner =
			filemap_directory(map, 3, (100 + i * 3) * UNIT + 5, MOST, &from, &end);

		CHECK(owner == (is_inside ? 7 : 5), "%u: %u", i, owner);
		CHECK(from == (is_inside ? 106u : i < 2 ? 100 : 136) * UNIT, "%u", i);
		CHECK(end == (is_inside ? 135u : i < 2 ? 105 : 141) * UNIT, "%u", i);
	}
	CHECK(filemap_directory(map, 3, 102 * UNIT, MOST, &from, &end) == 0, "no file's");
	CHECK(filemap_directory(map, 4, 100 * UNIT, MOST, &from, &end) == 0, "another image's");
	CHECK(filemap_directory(map, 3, 0, MOST, &from, &end) == 0);

	begin_test("filemap: neighbours in another image, or of no known directory, say nothing");
	start();
	add(map, 2, 5, 200, 201);
	add(map, 3, 7, 100, 101);
	add(map, 3, 5, 101, 102);
	CHECK(filemap_directory(map, 3, 100 * UNIT, MOST, &from, &end) == 7);
	CHECK(from == 100 * UNIT && end == 101 * UNIT);
	add(map, 3, 0, 201, 202);
	add(map, 3, 6, 202, 203);
	add(map, 3, 0, 203, 204);
	CHECK(filemap_directory(map, 3, 202 * UNIT, MOST, &from, &end) == 6);
	CHECK(from == 202 * UNIT && end == 203 * UNIT);

	begin_test(
		"filemap: a file that is not small ends the range; without a walk there is none");
	start();
	image.walk = (struct dirwalk *)map;
	owner_of = all_of_one;
	for (unsigned i = 0; i < 9; i++)
		make_inode(INODE + i * 64, EXTENDED_FORMAT, (i == 4 ? 65 : 2) * UNIT, 100 + i * 70);
	feed_all();
	CHECK(filemap_directory(map, 3, 240 * UNIT, MOST, &from, &end) == 7);
	CHECK(from == 100 * UNIT && end == 312 * UNIT);
	CHECK(filemap_directory(map, 3, 450 * UNIT, MOST, &from, &end) == 7);
	CHECK(from == 450 * UNIT && end == 662 * UNIT);
	start();
	feed_all();
	make_inode(INODE, EXTENDED_FORMAT, 2 * UNIT, 100);
	feed_all();
	CHECK(filemap_directory(map, 3, 100 * UNIT, MOST, &from, &end) == 0);
}

int main(void)
{
	map = malloc(filemap_size(MAX));
	test_plain();
	test_chunks();
	test_compressed();
	test_refused();
	test_table();
	test_order();
	test_directory();
	test_hostile();
	test_overlapping_tables();
	test_overlapping_files();
	make_tree();
	test_mkfs(WITH " -Eforce-inode-compact");
	test_mkfs(WITH " -Eforce-inode-extended");
	test_mkfs(WITH " --chunksize=16384");
	test_mkfs(WITH " --chunksize=4096 -Eforce-chunk-indexes");
	test_mkfs(WITH " -zlz4hc");
	test_mkfs(WITH " -zlz4hc -C65536");
	test_mkfs(WITH " -zlz4hc -Elegacy-compress");
	test_mkfs(WITH " -zlz4hc -Eforce-inode-compact");
	remove_tree();
	free(map);
	return finish_tests();
}
