#include "image/trace.h"

#include <string.h>

#include "base/minmax.h"
#include "base/text.h"

/* ---- the table ---- */

static uint32_t end_of(struct trace_extent e)
{
	return e.page + e.pages;
}

static struct trace_extent extent(uint64_t page, uint64_t end)
{
	return (struct trace_extent){(uint32_t)page, (uint32_t)(end - page)};
}

/* Pages between two extents; 0 if they touch or overlap. */
static uint32_t gap_of(struct trace_extent a, struct trace_extent b)
{
	if (b.page > end_of(a))
		return b.page - end_of(a);
	return a.page > end_of(b) ? a.page - end_of(b) : 0;
}

static struct trace_extent join(struct trace_extent a, struct trace_extent b)
{
	return extent(min_u64(a.page, b.page), max_u64(end_of(a), end_of(b)));
}

/* Puts an extent behind the others, or joins it with the last one if at most `gap` pages lie
 * between them. The result may touch the one before that, and so on. False: there is no room. */
static bool append(struct trace *t, struct trace_extent e, uint32_t gap)
{
	size_t n = t->count;

	while (n > 0 && gap_of(t->extents[n - 1], e) <= gap)
		e = join(t->extents[--n], e);
	if (n == t->max)
		return false;
	t->extents[n] = e;
	t->count = n + 1;
	return true;
}

/* The pages of a range of bytes; false if none is in the image. */
static bool round_out(
	const struct trace *t, uint64_t offset, uint64_t length, struct trace_extent *out)
{
	uint64_t whole = t->image_size / t->page + (t->image_size % t->page != 0);
	uint64_t pages = min_u64(whole, UINT32_MAX), page = offset / t->page, last;

	if (length == 0 || offset >= t->image_size || page >= pages)
		return false;
	last = (length - 1 > UINT64_MAX - offset ? UINT64_MAX : offset + length - 1) / t->page;
	*out = extent(page, min_u64(last + 1, pages));
	return true;
}

/* ---- playing ---- */

static bool skip_blanks(const char **p, const char *end)
{
	const char *begin = *p;

	while (*p < end && (**p == ' ' || **p == '\t'))
		++*p;
	return *p > begin;
}

static const char *take_line(struct trace *t, const char *p, const char *end)
{
	struct trace_extent e;
	uint64_t offset, length;
	bool good;

	if (end > p && end[-1] == '\r')
		end--;
	skip_blanks(&p, end);
	if (p == end || *p == '#')
		return NULL;
	good = number_take(&p, end, UINT64_MAX, &offset) && skip_blanks(&p, end) &&
	       number_take(&p, end, UINT64_MAX, &length);
	skip_blanks(&p, end);
	if (!good || p < end)
		return "it is not two numbers of 64 bits";
	if (length == 0 || length - 1 > UINT64_MAX - offset)
		return "the length is 0, or the end beyond 64 bits";
	if (round_out(t, offset, length, &e) && !append(t, e, 0))
		t->left_out++;
	return NULL;
}

const char *trace_parse(struct trace *t, const char *text, size_t size, bool whole)
{
	const char *end = text + size, *newline, *why;

	for (t->line = 1; text < end; t->line++) {
		newline = memchr(text, '\n', (size_t)(end - text));
		if (!newline && !whole)
			break;
		why = take_line(t, text, newline ? newline : end);
		if (why) {
			t->count = 0;
			return why;
		}
		text = newline ? newline + 1 : end;
	}
	return NULL;
}

/* ---- recording ---- */

/* Whether the table has the page. Then *stop becomes the end of its extent, else the next page that
 * the table has, if that lies before the *stop given. */
static bool has_page(const struct trace *t, uint32_t page, uint32_t *stop)
{
	for (size_t i = 0; i < t->count; i++) {
		struct trace_extent e = t->extents[i];

		if (e.page <= page && page < end_of(e)) {
			*stop = end_of(e);
			return true;
		}
		if (e.page > page && e.page < *stop)
			*stop = e.page;
	}
	return false;
}

/* Closes the smallest gaps between neighbours, if they are small enough. */
static void make_room(struct trace *t)
{
	uint64_t smallest = UINT32_MAX;
	size_t count = t->count;

	for (size_t i = 1; i < count; i++)
		smallest = min_u64(smallest, gap_of(t->extents[i - 1], t->extents[i]));
	if (smallest > TRACE_GAP_MAX / t->page)
		return;
	t->count = 0;
	for (size_t i = 0; i < count; i++)
		append(t, t->extents[i], (uint32_t)smallest);
}

static bool record(struct trace *t, struct trace_extent e)
{
	bool has_room = append(t, e, 0);

	if (!has_room) {
		make_room(t);
		has_room = append(t, e, 0);
	}
	t->left_out += !has_room;
	return has_room;
}

bool trace_touch(struct trace *t, uint64_t offset, uint64_t length)
{
	struct trace_extent e;
	uint32_t stop;
	bool changed = false;

	if (!round_out(t, offset, length, &e))
		return false;
	for (uint32_t page = e.page; page < end_of(e); page = stop) {
		stop = end_of(e);
		if (!has_page(t, page, &stop))
			changed |= record(t, extent(page, stop));
	}
	return changed;
}
