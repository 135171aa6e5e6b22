#include "image/filemap.h"

#include <string.h>

#include "base/limits.h"
#include "base/minmax.h"

#define UNIT 4096

/* An inode's first member, i_format, has a bit for its size and three for its layout. */
#define SLOT	       32
#define EXTENDED       64
#define FORMAT_KNOWN   0xfu
#define LAYOUT(format) ((format) >> 1 & 7)
#define LAYOUT_PLAIN   0
#define LAYOUT_FULL    1 /* compressed, an index of 8 bytes for each cluster */
#define LAYOUT_INLINE  2
#define LAYOUT_COMPACT 3 /* compressed, the index packed */
#define LAYOUT_CHUNKS  4
#define MODE_KIND      0170000u
#define MODE_REGULAR   0100000u

/* i_u of a file of chunks: the logarithm of a chunk's blocks, and whether the table has 8 bytes for
 * each, with a device, or 4. */
#define CHUNK_BITS    0x1fu
#define CHUNK_INDEXES 0x20u
#define NO_BLOCK      UINT32_MAX

/* struct z_erofs_map_header: its bytes, and h_advise. */
#define MAP_HEADER     8
#define ADVISE	       4
#define ADVISE_2B      0x1u
#define ADVISE_BIG     0x6u
#define CLUSTER_KIND   3
#define CLUSTER_BEHIND 2 /* of a cluster that does not begin with a block */

/* In units. Sorted by image and first unit; none overlap. */
struct extent {
	uint64_t from : 28, units : 18, owner : 8, image : 10;
};
_Static_assert(sizeof(struct extent) == FILEMAP_EXTENT && FILES_MAX <= 1 << 10, "they fit");
#define FROM_MAX  ((1u << 28) - 1) /* what lies behind 1 TiB is left out */
#define UNITS_MAX ((1u << 18) - 1) /* a larger file has several extents */

/* Files whose directory is not remembered, among those of one. */
#define OTHERS 2

struct filemap {
	size_t max, count;
	size_t entries; /* of tables of chunks that may still be read in this piece */
	struct extent extents[];
};

size_t filemap_size(size_t extents)
{
	return sizeof(struct filemap) + extents * sizeof(struct extent);
}

struct filemap *filemap_init(void *memory, size_t extents)
{
	struct filemap *m = memory;

	m->max = extents;
	return m;
}

/* ---- the table ---- */

/* The place of the first extent that begins at the unit or behind it. */
static size_t place(const struct filemap *m, unsigned image, uint64_t unit)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct extent *e = &m->extents[middle];

		if (e->image < image || (e->image == image && e->from < unit))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t end_of(const struct extent *e)
{
	return (uint64_t)e->from + e->units;
}

static bool is_of(const struct filemap *m, size_t i, unsigned image)
{
	return i < m->count && m->extents[i].image == image;
}

/* What another extent has already is cut off. False: nothing is left of it, or there is no room. */
static bool add(struct filemap *m, unsigned image, unsigned owner, uint64_t from, uint64_t end)
{
	size_t at = place(m, image, from);

	if (at > 0 && is_of(m, at - 1, image))
		from = max_u64(from, end_of(&m->extents[at - 1]));
	if (is_of(m, at, image))
		end = min_u64(end, m->extents[at].from);
	if (from >= end || m->count == m->max)
		return false;
	memmove(&m->extents[at + 1], &m->extents[at], (m->count - at) * sizeof(*m->extents));
	m->extents[at] = (struct extent){.from = from & FROM_MAX,
		.units = (end - from) & UNITS_MAX,
		.owner = owner & 0xff,
		.image = image & 0x3ff};
	m->count++;
	return true;
}

/* ---- inodes ---- */

/* A slot that may be an inode, and what can be seen behind it. */
struct inode {
	const uint8_t *bytes;
	size_t room; /* bytes from there to the end of the piece */
	uint64_t at; /* its offset in the image */
	unsigned layout;
	uint64_t size;	/* of the file */
	uint32_t first; /* i_u */
	size_t behind;	/* where its own bytes and its attributes end */
	unsigned owner; /* the number of its directory; 0: not known */
};

static bool is_zero(const uint8_t *bytes, size_t size)
{
	while (size > 0 && bytes[size - 1] == 0)
		size--;
	return size == 0;
}

/* Whether it can be the inode of a regular file. */
static bool read_inode(struct inode *i)
{
	const uint8_t *b = i->bytes;
	unsigned format = (unsigned)erofs_number(b, 2), attributes;
	bool is_extended = format & 1;

	if ((erofs_number(b + 4, 2) & MODE_KIND) != MODE_REGULAR || format > FORMAT_KNOWN ||
		i->room < (is_extended ? EXTENDED : SLOT))
		return false;
	if (is_extended ? erofs_number(b + 44, 4) == 0 || !is_zero(b + 48, 16)
			: erofs_number(b + 6, 2) == 0 || !is_zero(b + 28, 4))
		return false; /* no link leads to it, or what is reserved is not zero */
	attributes = (unsigned)erofs_number(b + 2, 2);
	i->layout = LAYOUT(format);
	i->size = erofs_number(b + 8, is_extended ? 8 : 4);
	i->first = (uint32_t)erofs_number(b + 16, 4);
	i->behind = is_extended ? EXTENDED : SLOT;
	if (attributes > 0)
		i->behind += 12 + (attributes - 1) * 4;
	return i->size > 0;
}

/* [first, first + count) are blocks of the file whose inode it is. */
static void add_blocks(struct filemap *m, const struct filemap_image *image, const struct inode *i,
	uint64_t first, uint64_t count)
{
	uint64_t from = first * image->block, end = from + count * image->block;

	if (first == 0 || count == 0 || count > image->size / image->block ||
		from >= image->size / image->block * image->block || end > image->size ||
		(from <= i->at && i->at < end))
		return;
	end = (end + UNIT - 1) / UNIT;
	from /= UNIT;
	/* What the map has already ends it: each slot of a page may claim to be a file of 1 TiB. */
	while (from < end && end <= FROM_MAX &&
		add(m, image->number, i->owner, from, min_u64(end, from + UNITS_MAX)))
		from += UNITS_MAX;
}

static size_t align_to(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* A run of chunks becomes an extent. */
static void add_chunks(struct filemap *m, const struct filemap_image *image, const struct inode *i)
{
	size_t each = i->first & CHUNK_INDEXES ? 8 : 4, at = align_to(i->behind, each);
	uint64_t chunk = 1ull << (i->first & CHUNK_BITS), left, run = 0, count = 0;

	if (i->first & 0xffffffff & ~(CHUNK_BITS | CHUNK_INDEXES))
		return;
	left = i->size / image->block + (i->size % image->block > 0);
	for (; left > 0 && at + each <= i->room && m->entries > 0; at += each, m->entries--) {
		const uint8_t *entry = i->bytes + at;
		uint64_t blocks = min_u64(left, chunk);
		uint32_t first = (uint32_t)erofs_number(entry + each - 4, 4);
		bool is_here = first != NO_BLOCK && (each == 4 || erofs_number(entry + 2, 2) == 0);

		if (!is_here || first != run + count) {
			add_blocks(m, image, i, run, count);
			run = first;
			count = 0;
		}
		if (is_here)
			count += blocks;
		left -= blocks;
	}
	add_blocks(m, image, i, run, count);
}

/* The block in which the first cluster begins. Of a packed index each pack, of 2 or 16 clusters,
 * has the number of the block before its first one in its last bytes (fs/erofs/zmap.c). */
static void add_compressed(
	struct filemap *m, const struct filemap_image *image, const struct inode *i)
{
	size_t header = align_to(i->behind, 8), index = header + MAP_HEADER, pack = 8;
	unsigned advise;

	if (i->room < index + 32)
		return;
	advise = (unsigned)erofs_number(i->bytes + header + ADVISE, 2);
	if (i->layout == LAYOUT_FULL) {
		const uint8_t *entry = i->bytes + index + 8;

		if ((entry[0] & CLUSTER_KIND) != CLUSTER_BEHIND)
			add_blocks(m, image, i, erofs_number(entry + 4, 4), i->first);
		return;
	}
	if (advise & ADVISE_2B && (i->at + index) % 32 == 0 &&
		i->size > 15 * (uint64_t)image->block)
		pack = 32;
	add_blocks(m, image, i,
		erofs_number(i->bytes + index + pack - 4, 4) + !(advise & ADVISE_BIG), i->first);
}

static void take_inode(struct filemap *m, const struct filemap_image *image, struct inode i)
{
	uint64_t blocks;

	if (!read_inode(&i))
		return;
	blocks = i.size / image->block;
	switch (i.layout) {
	case LAYOUT_PLAIN:
		add_blocks(m, image, &i, i.first, blocks + (i.size % image->block > 0));
		break;
	case LAYOUT_INLINE:
		add_blocks(m, image, &i, i.first, blocks);
		break;
	case LAYOUT_CHUNKS:
		add_chunks(m, image, &i);
		break;
	case LAYOUT_FULL:
	case LAYOUT_COMPACT:
		add_compressed(m, image, &i);
		break;
	}
}

/* ---- the public functions ---- */

void filemap_feed(struct filemap *m, const struct filemap_image *image, const void *bytes,
	uint64_t offset, size_t size)
{
	uint64_t from, end;

	m->entries = size / 4; /* more only if tables overlap, which would take long */
	for (size_t at = 0; at + SLOT <= size; at += SLOT) {
		if (at % UNIT == 0 && filemap_find(m, image->number, offset + at, &from, &end)) {
			at += (size_t)min_u64(end - (offset + at), size - at) - SLOT;
			continue; /* a file's own bytes */
		}
		take_inode(m, image,
			(struct inode){.bytes = (const uint8_t *)bytes + at,
				.room = size - at,
				.at = offset + at,
				.owner =
					image->walk ? dirwalk_owner(image->walk, offset + at) : 0});
	}
}

bool filemap_find(
	const struct filemap *m, unsigned number, uint64_t offset, uint64_t *from, uint64_t *end)
{
	size_t at = place(m, number, offset / UNIT + 1);
	const struct extent *e = at > 0 ? &m->extents[at - 1] : NULL;

	if (!e || e->image != number || offset / UNIT >= end_of(e))
		return false;
	*from = (uint64_t)e->from * UNIT;
	*end = end_of(e) * UNIT;
	return true;
}

unsigned filemap_directory(const struct filemap *m, unsigned number, uint64_t offset, uint64_t most,
	uint64_t *from, uint64_t *end)
{
	size_t at = place(m, number, offset / UNIT + 1) - 1, first = at, last = at;
	unsigned owner;

	if (!filemap_find(m, number, offset, from, end) || m->extents[at].owner == 0)
		return 0;
	owner = m->extents[at].owner;
	if (at > 0 && is_of(m, at - 1, number) && is_of(m, at + 1, number) &&
		m->extents[at - 1].owner == m->extents[at + 1].owner &&
		m->extents[at + 1].owner > 0)
		owner = m->extents[at + 1].owner; /* its own may have been overwritten */
	for (size_t i = at; is_of(m, i, number) && i <= last + OTHERS; i++) {
		if (m->extents[i].units * (uint64_t)UNIT > most)
			break;
		if (m->extents[i].owner == owner)
			last = i;
	}
	for (size_t i = at; is_of(m, i, number) && i + OTHERS >= first; i--) {
		if (m->extents[i].units * (uint64_t)UNIT > most)
			break;
		if (m->extents[i].owner == owner)
			first = i;
	}
	*from = (uint64_t)m->extents[first].from * UNIT;
	*end = end_of(&m->extents[last]) * UNIT;
	return owner;
}

void filemap_forget(struct filemap *m, unsigned number)
{
	size_t from = place(m, number, 0), end = place(m, number + 1, 0);

	memmove(&m->extents[from], &m->extents[end], (m->count - end) * sizeof(*m->extents));
	m->count -= end - from;
}
