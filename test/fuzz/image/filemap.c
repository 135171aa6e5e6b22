/* Fuzz harness of filemap.c. The input is an image's bytes, its blocks and size: they pass by in
 * pieces, from the first to the last or the other way. The extents are sorted, lie within the
 * image, do not overlap, and each is found by each of its ends. */
#include "image/filemap.c"

#include <stdlib.h>

#define CHECK(condition) ((condition) ? (void)0 : abort())
#define EXTENTS		 100
#define OPTIONS		 4
#define MOST		 (64 * UNIT)

/* Directories of some slots each; of some inodes none is known. */
unsigned dirwalk_owner(struct dirwalk *w, uint64_t inode)
{
	(void)w;
	return (unsigned)(inode / 512 % 4);
}

static void check_map(const struct filemap *m, const struct filemap_image *image)
{
	uint64_t last = 0, from, end;

	CHECK(m->count <= EXTENTS);
	for (size_t i = 0; i < m->count; i++) {
		const struct extent *e = &m->extents[i];

		CHECK(e->image == image->number && e->units > 0 && e->from >= last);
		last = end_of(e);
		CHECK((last - 1) * UNIT < image->size);
		CHECK(filemap_find(m, image->number, (uint64_t)e->from * UNIT, &from, &end));
		CHECK(from == (uint64_t)e->from * UNIT && end == last * UNIT);
		CHECK(filemap_find(m, image->number, end - 1, &from, &end) && end == last * UNIT);
		if (filemap_directory(m, image->number, end - 1, MOST, &from, &end) > 0)
			CHECK(from <= (uint64_t)e->from * UNIT && end >= last * UNIT &&
				end < image->size + UNIT);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct filemap_image image = {.number = FILES_MAX - 1};
	size_t pieces, each;
	struct filemap *m;

	if (size < OPTIONS)
		return 0;
	m = filemap_init(calloc(1, filemap_size(EXTENTS)), EXTENTS);
	image.block = 512u << data[0] % 8;
	image.size = (uint64_t)(data[1] + 1) << data[2] % 57;
	each = (data[3] % 16 + 1) * UNIT;
	image.walk = data[3] & 0x40 ? (struct dirwalk *)m : NULL; /* not looked into */
	data += OPTIONS;
	size -= OPTIONS;
	pieces = (size + each - 1) / each;
	for (size_t n = 0; n < pieces; n++) {
		size_t from = (data[-1] & 0x80 ? n : pieces - 1 - n) * each;
		size_t left = size - from < each ? size - from : each;
		unsigned char *piece = malloc(left); /* so that a read beyond it is seen */

		memcpy(piece, data + from, left);
		filemap_feed(m, &image, piece, from, left);
		free(piece);
		check_map(m, &image);
	}
	filemap_forget(m, image.number);
	CHECK(m->count == 0);
	free(m);
	return 0;
}
