#include "fetch/file.h"

#include <errno.h>
#include <string.h>

#include "fetch/holes.h"
#include "base/log.h"

/* Milliseconds. */
#define FULL_AGAIN 10000 /* after the cache was full */
#define TELL_EVERY 60000

struct file *files;

int64_t file_hole(const struct file *f, uint64_t from, uint64_t end, uint64_t *hole_end)
{
	uint64_t known = holes_end(number_of(f), from);
	int64_t hole = (int64_t)from;

	if (known == 0) {
		hole = frontend->hole(number_of(f), from, image_end(f->image), &known);
		if (hole < 0)
			return hole;
		if ((uint64_t)hole < image_end(f->image))
			holes_learn(number_of(f), (uint64_t)hole, known);
		if ((uint64_t)hole >= end)
			return (int64_t)end;
	}
	*hole_end = least_of(known, end);
	return hole;
}

ssize_t file_write(struct file *f, const void *pages, size_t size, uint64_t offset)
{
	ssize_t n = frontend->write(number_of(f), pages, size, offset);
	uint64_t left = offset < f->image->size ? f->image->size - offset : 0;

	if (n <= 0 || left == 0)
		return n;
	f->since = turn.ms;
	f->written += (uint64_t)n;
	f->image->stats.written += (uint64_t)n;
	holes_fill(number_of(f), offset, offset + (uint64_t)n);
	if (f->walk)
		dirwalk_feed(f->walk, pages, offset, (size_t)least_of((uint64_t)n, left));
	return n;
}

void file_dropped(struct file *f, uint64_t from)
{
	if (f->cursor > from)
		f->cursor = page_down(from);
}

void file_unwritable(struct file *f, int error)
{
	f->ahead_after = turn.ms + FULL_AGAIN;
	if (f->full_told != 0 && turn.ms - f->full_told < TELL_EVERY)
		return;
	f->full_told = turn.ms;
	log_err("%.*s: cannot write to the cache: %s; its readers get an error",
		IMAGE_NAME(f->image),
		error == -ENOBUFS  ? "less space is free than bstop demands"
		: error == -ENOSPC ? "its file system is full"
				   : strerror(-error));
}
