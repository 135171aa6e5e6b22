/* image/trace.h - the boot trace of an image: the order in which its bytes are first touched. It is
 * recorded on one machine (recorder.h), published beside the image, and played on others, which
 * then fetch these bytes before they are read. Pure: a table, and its text.
 *
 * The text has one extent a line, OFFSET and LENGTH in bytes, decimal, with blanks or tabs between.
 * Lines end in '\n' or "\r\n"; empty ones and those that begin with '#' are skipped.
 *
 * The table counts in pages. Neighbours in it that touch or overlap become one extent, since they
 * are fetched by one request. So the pages of an extent were touched before those of the next, but
 * in any order among themselves.
 */
#ifndef IMAGE_TRACE_H
#define IMAGE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct trace_extent {
	uint32_t page, pages; /* at least one; the end fits 32 bits too */
};

/* The caller sets the first four members before anything else; the rest begins as zero. */
struct trace {
	struct trace_extent *extents; /* a table of max */
	size_t max;
	size_t page;	     /* the system's page size, a power of two */
	uint64_t image_size; /* bytes; UINT64_MAX: not known */
	size_t count;
	size_t left_out; /* extents for which there was no room */
	unsigned line;	 /* where a text was refused, counted from 1 */
};

/* Playing: appends the extents of a text from anywhere, rounded out to pages. If not `whole` the
 * text was cut, and a last line without its newline does not count. An extent is clipped at the
 * image's end, or skipped behind it, since the image may have shrunk; likewise at page 2^32 (16 TiB
 * with pages of 4 KiB). When the table is full further extents are left out. An extent may lie
 * inside an earlier one that is not its neighbour: its bytes are cached by the time that it is
 * played.
 *
 * A line that is not two numbers, a length of 0 or a number over 64 bits refuses the whole text.
 * Returns NULL, or the reason, static; then `count` is 0 and `line` is set. */
const char *trace_parse(struct trace *t, const char *text, size_t size, bool whole);

/* Recording: appends the pages of [offset, offset + length) that are not in the table yet. Returns
 * whether the table has changed.
 *
 * When the table is full, the smallest gap between neighbours is closed, and all others of its
 * size: the trace gets coarser, and the pages of the gap count as touched. No gap over
 * TRACE_GAP_MAX bytes is closed, so that playing fetches little that is not read: then the new
 * extent is left out. */
bool trace_touch(struct trace *t, uint64_t offset, uint64_t length);

#endif
