/* Fuzz harness of trace.c: a trace from a web server. The first bytes choose the image, the page
 * and the table's room; what is taken must lie in the image, merged, and of a text that is cut
 * off nothing else is taken than of the whole one. What was taken is then recorded, one touch after
 * the other.
 */
#include "base/text.c"
#include "image/trace.c"

#include <stdlib.h>

#define ROOM 40

static void check_promises(const struct trace *t, bool good)
{
	if (t->count > t->max || (!good && (t->count > 0 || t->line == 0)))
		abort();
	for (size_t i = 0; i < t->count; i++) {
		struct trace_extent e = t->extents[i];
		uint64_t end = (uint64_t)e.page + e.pages;

		if (e.pages == 0 || end > UINT32_MAX ||
			e.page * (uint64_t)t->page >= t->image_size ||
			(end - 1) * t->page >= t->image_size)
			abort();
		if (i > 0 && gap_of(t->extents[i - 1], e) == 0)
			abort();
	}
}

static void check_contains(const struct trace *all, const struct trace *some)
{
	uint32_t stop;

	for (size_t i = 0; i < some->count; i++)
		if (!has_page(all, some->extents[i].page, &stop) ||
			!has_page(all, end_of(some->extents[i]) - 1, &stop))
			abort();
}

/* All that is recorded is there, unless there was no room for it. */
static void record_all(const struct trace *t)
{
	struct trace_extent extents[ROOM];
	struct trace all = *t;

	all.extents = extents;
	all.count = all.left_out = 0;
	for (size_t i = 0; i < t->count; i++)
		trace_touch(&all, t->extents[i].page * (uint64_t)t->page,
			t->extents[i].pages * (uint64_t)t->page);
	check_promises(&all, true);
	if (all.left_out == 0)
		check_contains(&all, t);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	struct trace_extent extents[ROOM], cut_extents[ROOM];
	struct trace t = {.extents = extents}, cut;
	char *text;
	bool good, whole_is_good;

	if (size < 4)
		return 0;
	t.max = data[0] % (ROOM + 1);
	t.page = (size_t)4096 << data[1] % 5;
	t.image_size = UINT64_MAX >> data[2] % 64;
	t.image_size -= t.image_size >= data[3] ? data[3] : 0;
	data += 4;
	size -= 4;
	text = malloc(size);
	if (size > 0)
		memcpy(text, data, size);

	cut = t;
	cut.extents = cut_extents;
	whole_is_good = !trace_parse(&t, text, size, true);
	check_promises(&t, whole_is_good);
	record_all(&t);

	good = !trace_parse(&cut, text, size / 2, false);
	check_promises(&cut, good);
	if (whole_is_good && !good)
		abort();
	if (whole_is_good && t.left_out == 0)
		check_contains(&t, &cut);
	free(text);
	return 0;
}
