/* image/trace.h - the boot trace of an image: the order in which its bytes are first touched. It is
 * recorded on one machine, published beside the image, and played on others, which then fetch what
 * will be wanted before it is asked for.
 *
 * The file is text: one extent a line, OFFSET and LENGTH in bytes, decimal, parted by blanks or
 * tabs. Lines end in '\n' or "\r\n"; empty ones and those that begin with '#' mean nothing.
 *
 * In memory extents are counted in pages. Two that follow each other and touch or overlap are one:
 * nothing is gained by parting what is fetched in one go. So an extent's pages were touched before
 * those of the next, but may have been touched in any order among themselves.
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

/* The first four members are the caller's to set, before anything else; the rest begins as zero. */
struct trace {
	struct trace_extent *extents; /* a table of max */
	size_t max;
	size_t page;	     /* the system's page size, a power of two */
	uint64_t image_size; /* bytes; UINT64_MAX: not known */
	size_t count;
	size_t left_out; /* extents for which there was no room */
	unsigned line;	 /* of a text that was refused: where, counted from 1 */
};

/* ---- playing: pure ---- */

/* Appends the extents of a text from anywhere, rounded out to pages. When not `whole` the text was
 * cut, and a last line without its newline does not count. What reaches beyond the image's end is
 * clipped, and what begins behind it skipped, since an image may have shrunk; likewise what 32
 * bits cannot count (an image over 16 TiB). When the table is full, further extents are left out.
 * Some may lie in earlier ones that are not their neighbours: whoever fetches finds no hole there.
 *
 * A line that is not two numbers, a length of 0 and numbers over 64 bits refuse the whole text: it
 * is no trace. Then returns false, count is 0, `line` is set and *why is a static sentence. */
bool trace_parse(struct trace *t, const char *text, size_t size, bool whole, const char **why);

/* ---- recording ---- */

/* Appends the pages of [offset, offset + length) that are not in the table yet. Returns whether
 * something has changed.
 *
 * When the table is full, the smallest gap between extents that follow each other is closed, and
 * others of its size: the trace gets coarser, and what lies in the gap counts as touched. No gap
 * over TRACE_GAP_MAX bytes is closed, so that playing never fetches much that nobody wanted: then
 * the new extent is left out. */
bool trace_touch(struct trace *t, uint64_t offset, uint64_t length);

/* Writes the table as the file `name` of the folder: as NAME.new (one that is there is removed),
 * which is renamed when it is on disk, so that one sees the old file or the new one, whole.
 * trace_parse() makes the same table of it. On failure returns false, fills why, and leaves the old
 * file. */
bool trace_write(const struct trace *t, int folder, const char *name, char *why, size_t size);

/* ---- `trace record PATH`: TRACE_RECORDERS images at most are recorded at the same time ----
 *
 * PATH ends in '/': the trace of the image NAME becomes NAME.trace in that folder. Names come from
 * the kernel, so bytes other than printable ASCII, and '/', become '_'. Any other PATH is the file
 * itself, for the first image that is opened (and not closed untouched); others are not recorded.
 *
 * The folder is opened at start and all is looked up from there, since the path may lead into the
 * file system we serve later on. Writing waits for the disk, and everything else with it. Only what
 * the kernel asks for is seen, so a trace is recorded with a cache that has nothing of the image;
 * where nothing is touched, no file is written.
 *
 * Without trace_record_init() the other functions do nothing. */

/* Bytes of memory that trace_record_init() takes: any alignment that malloc() would give. */
size_t trace_memory(bool recording);

/* Once, at start. `memory` has trace_memory(true) bytes, all zero; `path` is absolute and stays
 * borrowed, as the memory does. On failure (no such folder, or it cannot be written to) returns
 * false and fills why. */
bool trace_record_init(const char *path, size_t page, void *memory, char *why, size_t size);

/* The folder that is written to, open; -1: nothing is recorded. */
int trace_record_folder(void);

/* Before the first is opened: a worker before this one has recorded what lies in the files now, and
 * each goes on with that. A file that is no trace counts as empty. */
void trace_record_go_on(void);

/* An image is opened. Returns its recorder's slot, or -1: it is not recorded, which is logged where
 * it is not meant to be so. One that was closed goes on with its trace when it is opened again,
 * unless another image got the slot. */
int trace_record_open(const void *name, size_t name_size);

/* The next two do nothing with -1, or a slot that is closed. Closing writes what was not written:
 * before the end, all slots have to be closed. Failures are logged, once. */
void trace_record_touch(int slot, uint64_t offset, uint64_t length);
void trace_record_close(int slot);

/* Writes what has changed, TRACE_WRITE_EVERY milliseconds after the first change. From the loop, at
 * least after each trace_record_touch(), and at the time that it returns: INT64_MAX for never. */
int64_t trace_record_flush(int64_t now);

#endif
