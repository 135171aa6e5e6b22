/* Fuzz harness of dirwalk.c. The input is an image's head, its size and what to do: pieces of the
 * image pass by in any order, or as they are named. Whatever is named lies within the image, in
 * whole pages, within the limit, and it ends. */
#include "image/erofs.c"
#include "image/dirwalk.c"

#include <stdlib.h>
#include <string.h>

#define CHECK(condition) ((condition) ? (void)0 : abort())
#define STEPS		 2000
#define OPTIONS		 4
#define EXTENTS		 64

static struct {
	uint8_t *bytes;
	uint64_t size, page, left;
	unsigned steps;
} image;

/* In memory of its own, so that a read beyond it is seen. */
static void see(struct dirwalk *w, uint64_t from, uint64_t end)
{
	size_t size = (size_t)(end - from);
	uint8_t *piece = malloc(size);

	memcpy(piece, image.bytes + from, size);
	dirwalk_feed(w, piece, from, size);
	free(piece);
}

static void check_range(uint64_t from, uint64_t end, uint64_t most)
{
	CHECK(from < end && end <= image.size && from % image.page == 0);
	CHECK(end % image.page == 0 || end == image.size);
	CHECK(end - from <= most && end - from <= image.left);
	image.left -= end - from;
	CHECK(image.steps-- > 0);
}

static void follow(struct dirwalk *w, bool again)
{
	uint64_t from, end, to;

	for (;;) {
		if (dirwalk_next(w, &from, &end))
			check_range(from, end, image.left);
		else if (again && dirwalk_reread(w, &from, &end))
			check_range(from, end, image.page);
		else
			return;
		for (; from < end; from = to) {
			to = end - from > 2 * image.page ? from + 2 * image.page : end;
			see(w, from, to);
		}
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static struct dirwalk *w;
	uint64_t at;

	if (!w)
		w = dirwalk_init(calloc(1, dirwalk_size(EXTENTS)), EXTENTS);
	if (size < OPTIONS + EROFS_HEAD)
		return 0;
	image.page = (uint64_t)512 << data[0] % 8;
	at = (uint64_t)data[1] << 9;
	image.size = size - OPTIONS;
	image.left = data[2] & 0x80 ? 2 * image.size : (uint64_t)data[2] << 9;
	image.steps = STEPS + (unsigned)(image.left / 512);
	image.bytes = malloc(image.size);
	memcpy(image.bytes, data + OPTIONS, image.size);
	if (dirwalk_start(w, image.bytes, image.size, image.page, image.left)) {
		dirwalk_call(w, at, data[3] & 8 ? data[1] : UINT64_MAX);
		if (data[3] & 1)
			see(w, 0, image.size);
		for (uint64_t end = image.size / image.page * image.page;
			(data[3] & 2) && end >= image.page; end -= image.page)
			see(w, end - image.page, end);
		follow(w, data[3] & 4);
		for (at = 0; dirwalk_inodes(w, &at); at += image.page)
			CHECK(at % image.page == 0 && at < image.size);
	} else {
		CHECK(dirwalk_is_over(w) && !dirwalk_next(w, &at, &at));
	}
	CHECK(w->awaiting <= DIRWALK_MAX && w->unnamed == 0 && w->next < DIRWALK_MAX);
	free(image.bytes);
	return 0;
}
