#include "fetch/flush.h"

#include <errno.h>
#include <string.h>

#include "base/page.h"
#include "fetch/mirror.h"
#include "fetch/reads.h"
#include "fetch/unasked.h"

/* Milliseconds. */
#define WRITE_SOON    2	   /* until a cache file that is not ready is written to again */
#define WRITE_AGAIN   20   /* the same for one that is full */
#define WRITE_TIMEOUT 5000 /* a cache file that is full for this long fails its READs */

/* How many bytes of the buffer can be written now: whole pages. Once the range is complete the
 * image's last page gets zeros behind the image's end. */
static size_t writable(struct transfer *t)
{
	size_t size = (size_t)page_up(t->buffered);

	if (t->provisional)
		return (size_t)page_down(t->attempted - t->base);
	if (t->part == PART_TREE)
		return t->buffered / VERITY_BLOCK * VERITY_BLOCK;
	if (t->state != TRANSFER_WRITING || t->base + t->buffered < t->image->pinned.size)
		return (size_t)page_down(t->buffered);
	memset(t->buffer + t->buffered, 0, size - t->buffered);
	return size;
}

/* -EAGAIN: the cache file may become ready, or space free, in a while. */
static int write_refused(struct transfer *t, int error)
{
	struct file *f = &files[t->file];

	if (f->full_since == 0)
		f->full_since = turn.ms;
	if (t->write_since == 0)
		t->write_since = turn.ms;
	t->write_after = turn.ms + (turn.ms - t->write_since < 100 ? WRITE_SOON : WRITE_AGAIN);
	files[t->file].full |= turn.ms - t->write_since >= WRITE_TIMEOUT;
	if (error != -EAGAIN && error != -ENOSPC && error != -EDQUOT)
		return error;
	if (turn.ms - f->full_since < WRITE_TIMEOUT || mirror_timeout() == INT64_MAX)
		return -EAGAIN;
	return error == -EAGAIN ? -ENOBUFS : error;
}

/* [from, t->base) is written, of which READs may be waiting for a part. */
static void count_ahead(const struct transfer *t, uint64_t from)
{
	unsigned file = (unsigned)t->file;
	uint64_t ahead = t->base - from - reads_waited_for(file, from, t->base);

	if (t->planned & 1) {
		t->image->stats.planned += ahead;
		return;
	}
	t->image->stats.ahead += ahead;
	if (ahead > 0 && frontend->hears_all)
		unasked_fetched(file, from, t->base);
}

/* A block of the tree has come, or has to be asked for again: those that wait for one look anew. */
static void wake_waiting(int file)
{
	for_each_transfer (t)
		t->started |= t->lacks && t->file == file;
}

void flush_skip(struct transfer *t, size_t size)
{
	size_t taken = size < t->buffered ? size : t->buffered;

	memmove(t->buffer, t->buffer + taken, t->buffered - taken);
	t->buffered -= taken;
	t->base += size;
}

int flush(struct transfer *t, struct file_fault *fault)
{
	size_t size;

	while ((size = writable(t)) > 0) {
		struct file *f = &files[t->file];
		ssize_t n = file_write(f, t->buffer, size, t->base, fault);

		if (n == -EINPROGRESS && t->part == PART_TREE)
			n = VERITY_BLOCK; /* dropped: what it lacks may come behind it */
		t->lacks = n == -EINPROGRESS ? fault->lacks + 1 : 0;
		if (t->lacks)
			return -EAGAIN;
		if (n == -EBADMSG)
			return -EBADMSG;
		if (n < 0)
			return write_refused(t, (int)n);
		t->write_since = 0;
		flush_skip(t, (size_t)n);
		if (t->part == PART_TREE) {
			wake_waiting(t->file);
			continue;
		}
		count_ahead(t, t->base - (uint64_t)n);
		reads_advance(number_of(f), t->base - (uint64_t)n, t->base);
	}
	return 0;
}
