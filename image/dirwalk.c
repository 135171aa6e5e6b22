#include "image/dirwalk.h"

#include <string.h>

#include "base/limits.h"
#include "base/minmax.h"
#include "image/erofs.h"

/* Fields of the superblock: offsets in the image. */
#define ROOT_NID	 (1024 + 14)
#define META_BLOCK	 (1024 + 40)
#define FEATURE_INCOMPAT (1024 + 80)

/* The features of Linux 6.12. Newer ones may change fields that the walk reads. */
#define INCOMPAT_KNOWN 0x7fu

/* An inode's number counts slots from the beginning of the metadata. All that the walk reads of an
 * inode lies in its first slot, hence in one block. */
#define INODE_SLOT     32
#define INODE_EXTENDED 64
#define FORMAT_LAYOUT  (7 << 1)
#define LAYOUT_PLAIN   (0 << 1)
#define LAYOUT_INLINE  (2 << 1)
#define MODE_KIND      0170000
#define MODE_DIRECTORY 0040000

#define ENTRY	       12
#define ENTRY_NAME     8
#define ENTRY_KIND     10
#define KIND_DIRECTORY 2

/* Bytes that have to pass by: the inode of a directory (size 0), or entries: whole blocks and the
 * rest of the last one, or the tail behind an inode, within one block. */
struct awaited {
	uint64_t from;
	uint32_t size;
	uint8_t owner; /* the directory's number */
} __attribute__((packed));

/* In pages. */
struct range {
	uint32_t from, end;
};

/* A page is remembered by its number modulo PAGES, which is 64 MiB of 4 KiB pages. Two pages with
 * the same remainder may cost a needless fetch. */
#define PAGES 16384

/* Directories are numbered modulo NUMBERS, from 1 on. An inode's is remembered in the place that a
 * hash of the inode's number gives, until another inode takes the place. */
#define NUMBERS	    255
#define OWNERS_EACH (DIRWALK_EXTENT - sizeof(uint32_t))

/* So many pages with inodes are remembered without a map of files, and one more for each of its
 * extents. */
#define INODES_LEAST 256

/* `ranges` is a ring: the `unnamed` before `next` are the queue. Those before them have been named,
 * and are kept until they are overwritten, so that they are not named again. */
struct dirwalk {
	uint64_t image_size, meta, limit;
	uint64_t readable; /* bytes of entries that may still be read: bounds the work */
	uint32_t block, page;
	unsigned awaiting, next, unnamed;
	struct awaited awaited[DIRWALK_MAX];
	struct range ranges[DIRWALK_MAX];
	uint64_t cursor, called; /* the page to look at next for inodes, and how many are to come */
	unsigned directories;	 /* that were read */
	uint32_t readable_here; /* as `readable`, in this piece: more only if directories overlap */
	uint8_t passed[PAGES / 8]; /* a bit for each page that passed by */

	/* Pages with inodes of no directory, that were not named and have not passed by since:
	 * sorted. Behind them in memory are the `owners_max` numbers of inodes' directories. */
	size_t known;
	size_t known_max, owners_max; /* they stay */
	uint32_t inodes[];
};

static bool is_set(const uint8_t *bits, uint64_t page)
{
	return bits[page % PAGES / 8] >> page % 8 & 1;
}

static void set(uint8_t *bits, uint64_t page)
{
	bits[page % PAGES / 8] |= (uint8_t)(1u << page % 8);
}

static void clear(uint8_t *bits, uint64_t page)
{
	bits[page % PAGES / 8] &= (uint8_t) ~(1u << page % 8);
}

size_t dirwalk_size(size_t extents)
{
	return sizeof(struct dirwalk) + INODES_LEAST * sizeof(uint32_t) + extents * DIRWALK_EXTENT;
}

struct dirwalk *dirwalk_init(void *memory, size_t extents)
{
	struct dirwalk *w = memory;

	w->known_max = INODES_LEAST + extents;
	w->owners_max = extents * OWNERS_EACH;
	return w;
}

/* The place in `inodes` of the first page that is not before this one. */
static size_t place(const struct dirwalk *w, uint64_t page)
{
	size_t low = 0, high = w->known;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (w->inodes[middle] < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The page has inodes of files. */
static void know_inodes(struct dirwalk *w, uint64_t page)
{
	size_t at = place(w, page);

	if (w->known == w->known_max || (at < w->known && w->inodes[at] == page))
		return;
	memmove(&w->inodes[at + 1], &w->inodes[at], (w->known - at) * sizeof(*w->inodes));
	w->inodes[at] = (uint32_t)page;
	w->known++;
}

/* Forgets `count` pages, from that place on. */
static void forget_inodes(struct dirwalk *w, size_t at, size_t count)
{
	memmove(&w->inodes[at], &w->inodes[at + count],
		(w->known - at - count) * sizeof(*w->inodes));
	w->known -= count;
}

static uint8_t *owner_at(struct dirwalk *w, uint64_t inode)
{
	uint32_t hash = (uint32_t)inode * 2654435761u;

	return (uint8_t *)&w->inodes[w->known_max] + ((uint64_t)hash * w->owners_max >> 32);
}

static void set_owner(struct dirwalk *w, uint64_t inode, unsigned owner)
{
	if (w->owners_max > 0)
		*owner_at(w, inode) = (uint8_t)owner;
}

/* Bytes that pass by. */
struct piece {
	const uint8_t *bytes;
	uint64_t from, end;
};

/* ---- ranges to name ---- */

static struct range *unnamed_at(struct dirwalk *w, unsigned i)
{
	return &w->ranges[(w->next + DIRWALK_MAX - w->unnamed + i) % DIRWALK_MAX];
}

/* Whether no page lies between them. */
static bool touch(const struct range *a, const struct range *b)
{
	return a->from < a->end && a->from <= b->end && b->from <= a->end;
}

static void join(struct range *a, const struct range *b)
{
	a->from = (uint32_t)min_u64(a->from, b->from);
	a->end = (uint32_t)max_u64(a->end, b->end);
}

/* Cuts off either end what another range has of it. */
static struct range without_known(const struct dirwalk *w, struct range range)
{
	for (const struct range *r = w->ranges; r < w->ranges + DIRWALK_MAX; r++) {
		if (r->from <= range.from && range.from < r->end)
			range.from = r->end;
		if (r->from < range.end && range.end <= r->end)
			range.end = r->from;
	}
	return range;
}

/* Queues the pages of [from, from + size). False: there is no room, so they must not be awaited. */
static bool queue(struct dirwalk *w, uint64_t from, uint64_t size)
{
	struct range range = {
		(uint32_t)(from / w->page), (uint32_t)((from + size + w->page - 1) / w->page)};

	range = without_known(w, range);
	if (range.from >= range.end)
		return true;
	for (unsigned i = w->unnamed; i-- > 0;) {
		if (touch(unnamed_at(w, i), &range)) {
			join(unnamed_at(w, i), &range);
			return true;
		}
	}
	if (w->unnamed == DIRWALK_MAX)
		return false;
	w->ranges[w->next] = range;
	w->next = (w->next + 1) % DIRWALK_MAX;
	w->unnamed++;
	return true;
}

/* ---- bytes awaited ---- */

static void await(struct dirwalk *w, uint64_t from, uint64_t size, unsigned owner)
{
	if (w->awaiting < DIRWALK_MAX)
		w->awaited[w->awaiting++] = (struct awaited){from, (uint32_t)size, (uint8_t)owner};
}

static void expect_inode(struct dirwalk *w, uint64_t number, bool is_directory, unsigned owner)
{
	uint64_t from = w->meta + number * INODE_SLOT;

	if (number >= (w->image_size - w->meta) / INODE_SLOT)
		return;
	if (!is_directory) {
		know_inodes(w, from / w->page);
		set_owner(w, number, owner);
	} else if (queue(w, from, INODE_SLOT)) {
		await(w, from, 0, 0);
	}
}

static void expect_entries(struct dirwalk *w, uint64_t from, uint64_t size, unsigned owner)
{
	if (size > 0 && from < w->image_size && size <= w->image_size - from &&
		queue(w, from, size))
		await(w, from, size, owner);
}

/* ---- bytes that pass by ---- */

static void read_inode(struct dirwalk *w, const uint8_t *inode, uint64_t at)
{
	unsigned format = (unsigned)erofs_number(inode, 2),
		 attributes = (unsigned)erofs_number(inode + 2, 2);
	bool is_extended = format & 1;
	uint64_t size = erofs_number(inode + 8, is_extended ? 8 : 4), tail = 0;
	uint64_t behind = at + (is_extended ? INODE_EXTENDED : INODE_SLOT);
	unsigned owner;

	if ((erofs_number(inode + 4, 2) & MODE_KIND) != MODE_DIRECTORY || size > UINT32_MAX)
		return;
	if (attributes > 0)
		behind += 12 + (attributes - 1) * 4;
	if ((format & FORMAT_LAYOUT) == LAYOUT_INLINE && size > 0)
		tail = (size - 1) % w->block + 1;
	else if ((format & FORMAT_LAYOUT) != LAYOUT_PLAIN)
		return;
	if (behind <= w->image_size)
		queue(w, at, behind - at);
	owner = w->directories++ % NUMBERS + 1;
	expect_entries(w, erofs_number(inode + 16, 4) * w->block, size - tail, owner);
	expect_entries(w, behind, tail, owner);
}

/* "." or "..", which lead back. Only a block's last name may end with a NUL. */
static bool is_dots(const uint8_t *name, size_t size)
{
	if (size == 0 || name[0] != '.')
		return false;
	if (size == 1 || name[1] == 0)
		return true;
	return name[1] == '.' && (size == 2 || name[2] == 0);
}

/* A block of a directory, or its tail. */
static void read_entries(struct dirwalk *w, unsigned owner, const uint8_t *bytes, size_t size)
{
	size_t names = size < ENTRY ? 0 : (size_t)erofs_number(bytes + ENTRY_NAME, 2);

	if (names > size || size > w->readable || size > w->readable_here)
		return;
	w->readable -= size;
	w->readable_here -= (uint32_t)size;
	for (size_t entry = 0; entry + ENTRY <= names; entry += ENTRY) {
		const uint8_t *e = bytes + entry;
		bool is_last = entry + 2 * ENTRY > names;
		size_t name = (size_t)erofs_number(e + ENTRY_NAME, 2);
		size_t end = is_last ? size : (size_t)erofs_number(e + ENTRY + ENTRY_NAME, 2);

		if (name < end && end <= size && !is_dots(bytes + name, end - name))
			expect_inode(w, erofs_number(e, 8), e[ENTRY_KIND] == KIND_DIRECTORY, owner);
	}
}

static void read_blocks(
	struct dirwalk *w, unsigned owner, const struct piece *piece, uint64_t from, uint64_t to)
{
	for (uint64_t next; from < to; from = next) {
		next = min_u64((from / w->block + 1) * w->block, to);
		read_entries(w, owner, piece->bytes + (from - piece->from), (size_t)(next - from));
	}
}

/* Reads the whole blocks of awaited[i] that lie in the piece, and keeps waiting for the rest.
 * False: none does. */
static bool read_awaited(struct dirwalk *w, unsigned i, const struct piece *piece)
{
	struct awaited a = w->awaited[i];
	uint64_t end = a.from + (a.size > 0 ? a.size : INODE_SLOT);
	uint64_t from = a.from, to = end;

	if (from < piece->from)
		from = (piece->from + w->block - 1) / w->block * w->block;
	if (to > piece->end)
		to = piece->end / w->block * w->block;
	if (from >= to)
		return false;
	w->awaited[i] = w->awaited[--w->awaiting];
	if (a.size == 0) {
		read_inode(w, piece->bytes + (from - piece->from), from);
		return true;
	}
	if (a.from < from)
		await(w, a.from, from - a.from, a.owner);
	if (to < end)
		await(w, to, end - to, a.owner);
	read_blocks(w, a.owner, piece, from, to);
	return true;
}

void dirwalk_feed(struct dirwalk *w, const void *bytes, uint64_t offset, size_t size)
{
	const struct piece piece = {bytes, offset, offset + size};
	size_t first = place(w, offset / w->page);

	w->readable_here = (uint32_t)size;
	forget_inodes(w, first, place(w, (piece.end + w->page - 1) / w->page) - first);
	for (uint64_t at = offset; at < piece.end; at += w->page)
		set(w->passed, at / w->page);

	/* A directory found in the piece may lie in it too: it is appended to `awaited`, or takes
	 * the place of what was just read. */
	for (unsigned i = 0; i < w->awaiting;)
		if (!read_awaited(w, i, &piece))
			i++;
}

/* ---- the walk ---- */

bool dirwalk_start(
	struct dirwalk *w, const void *head, uint64_t image_size, size_t page, uint64_t limit)
{
	const uint8_t *super = head;
	uint32_t block;

	memset(w, 0, offsetof(struct dirwalk, known_max));
	memset(&w->inodes[w->known_max], 0, w->owners_max);
	if (erofs_kind(head, EROFS_HEAD) == EROFS_NONE ||
		erofs_number(super + FEATURE_INCOMPAT, 4) > INCOMPAT_KNOWN)
		return false;
	block = erofs_block_size(head);
	w->meta = erofs_number(super + META_BLOCK, 4) * block;
	if (block == 0 || block > page || image_size / page >= UINT32_MAX || w->meta > image_size)
		return false;
	w->image_size = image_size;
	w->block = block;
	w->page = (uint32_t)page;
	w->limit = limit;
	w->readable = limit / 2;
	expect_inode(w, erofs_number(super + ROOT_NID, 2), true, 0);
	return w->awaiting > 0;
}

/* Joins the queue's ranges that touch it, and those that touch the result. */
static void join_touching(struct dirwalk *w, struct range *range)
{
	for (unsigned i = 1; i < w->unnamed; i++) {
		struct range *other = unnamed_at(w, i);

		if (touch(other, range)) {
			join(range, other);
			*other = (struct range){0, 0};
			i = 0;
		}
	}
}

unsigned dirwalk_owner(struct dirwalk *w, uint64_t inode)
{
	return w->owners_max > 0 ? *owner_at(w, (inode - w->meta) / INODE_SLOT) : 0;
}

void dirwalk_call(struct dirwalk *w, uint64_t offset, uint64_t pages)
{
	w->cursor = offset / w->page;
	w->called = pages;
}

bool dirwalk_inodes(const struct dirwalk *w, uint64_t *from)
{
	size_t at = place(w, *from / w->page);

	if (at == w->known)
		return false;
	*from = (uint64_t)w->inodes[at] * w->page;
	return true;
}

/* The next pages of inodes that were called for: those behind the cursor, then from the image's
 * beginning. Such that lie side by side become one range. */
static bool next_inodes(struct dirwalk *w, struct range *range)
{
	size_t at = place(w, w->cursor), count = 0;

	if (w->called == 0 || w->known == 0)
		return false;
	if (at == w->known)
		at = 0;
	do
		count++;
	while (at + count < w->known && count < w->called &&
		w->inodes[at + count] == w->inodes[at + count - 1] + 1);
	*range = (struct range){w->inodes[at], w->inodes[at + count - 1] + 1};
	w->cursor = range->end;
	w->called -= count;
	forget_inodes(w, at, count);
	return true;
}

/* The range in bytes, as far as the limit allows. */
static bool name(struct dirwalk *w, const struct range *r, uint64_t *from, uint64_t *end)
{
	*from = (uint64_t)r->from * w->page;
	*end = min_u64((uint64_t)r->end * w->page, w->image_size);
	if (*end - *from > w->limit)
		*end = *from + w->limit / w->page * w->page;
	if (*from >= *end) {
		w->unnamed = w->awaiting = 0;
		w->called = 0;
		return false;
	}
	w->limit -= *end - *from;
	return true;
}

bool dirwalk_next(struct dirwalk *w, uint64_t *from, uint64_t *end)
{
	struct range inodes;

	for (; w->unnamed > 0; w->unnamed--) {
		struct range *r = unnamed_at(w, 0);

		if (r->from == r->end)
			continue; /* it was joined to another */
		join_touching(w, r);
		if (!name(w, r, from, end))
			return false;
		w->unnamed--;
		return true;
	}
	return next_inodes(w, &inodes) && name(w, &inodes, from, end);
}

bool dirwalk_reread(struct dirwalk *w, uint64_t *from, uint64_t *end)
{
	for (unsigned i = 0; i < w->awaiting && w->limit >= w->page; i++) {
		uint64_t page = w->awaited[i].from / w->page;

		if (!is_set(w->passed, page))
			continue;
		clear(w->passed, page); /* until it passes by again */
		*from = page * w->page;
		*end = min_u64(*from + w->page, w->image_size);
		w->limit -= w->page;
		return true;
	}
	return false;
}

bool dirwalk_is_over(const struct dirwalk *w)
{
	return w->unnamed == 0 && w->awaiting == 0;
}
