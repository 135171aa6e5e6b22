#include "fetch/file.h"

#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"

/* Milliseconds. */
#define FULL_AGAIN 10000 /* prefetching rests after the cache was full */
#define LOG_EVERY  60000

struct file *files;

static struct filemap *map;

void files_map(void *memory, size_t extents)
{
	map = filemap_init(memory, extents);
}

bool file_extent(const struct file *f, uint64_t offset, uint64_t *from, uint64_t *end)
{
	if (!filemap_find(map, number_of(f), offset, from, end))
		return false;
	*from = page_down(*from);
	*end = page_up(*end);
	return true;
}

void file_learn(struct file *f, const void *bytes, uint64_t offset, size_t size)
{
	struct filemap_image image = {
		.number = number_of(f), .size = f->image->pinned.size, .walk = f->walk};

	if (offset == 0 && size >= EROFS_HEAD && f->block > 0 && erofs_block_size(bytes) > 0)
		f->block = erofs_block_size(bytes);
	if (f->walk)
		dirwalk_feed(f->walk, bytes, offset, size);
	image.block = f->block;
	if (f->block > 0)
		filemap_feed(map, &image, bytes, offset, size);
}

/* ---- holes ---- */

/* The answers of frontend->hole(), less the bytes that were written since. Only we write to cache
 * files, so the kernel need not be asked again for each part of a hole. An empty entry is free;
 * those of one file do not overlap. What the table has no room for is asked again. */
static struct hole {
	unsigned file;
	uint64_t from, to;
} holes[HOLES_MAX];

static struct hole *const end_of_holes = holes + HOLES_MAX;

/* The end of the known hole in which the byte at `offset` lies; 0: none is known. */
static uint64_t holes_end(unsigned file, uint64_t offset)
{
	for (const struct hole *h = holes; h < end_of_holes; h++)
		if (h->file == file && h->from <= offset && offset < h->to)
			return h->to;
	return 0;
}

/* It takes the place of the smallest, if that is smaller. */
static void holes_add(unsigned file, uint64_t from, uint64_t to)
{
	struct hole *smallest = holes;

	for (struct hole *h = holes; h < end_of_holes; h++)
		if (h->to - h->from < smallest->to - smallest->from)
			smallest = h;
	if (to > from && to - from > smallest->to - smallest->from)
		*smallest = (struct hole){file, from, to};
}

/* [from, to) has been written, perhaps in part. */
static void holes_fill(unsigned file, uint64_t from, uint64_t to)
{
	for (struct hole *h = holes; h < end_of_holes; h++) {
		struct hole old = *h;

		if (h->file != file || h->from >= to || h->to <= from)
			continue;
		h->to = old.from < from ? from : old.from;
		holes_add(file, to, old.to);
	}
}

static void holes_learn(unsigned file, uint64_t from, uint64_t to)
{
	holes_fill(file, from, to); /* so that none overlap */
	holes_add(file, from, to);
}

unsigned file_directory(
	const struct file *f, uint64_t offset, uint64_t most, uint64_t *from, uint64_t *end)
{
	unsigned owner = filemap_directory(map, number_of(f), offset, most, from, end);

	*from = page_down(*from);
	*end = page_up(*end);
	return owner;
}

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
	*hole_end = min_u64(known, end);
	return hole;
}

/* ---- writing ---- */

/* How many of the bytes fit, in whole blocks; if not all, *error says what stops there. Of a tree
 * one block is taken at a time, since what is known of the tree is another after one that does not
 * fit: judged again, that would only be one that came too early. */
static size_t judge(const struct file *f, const char *bytes, size_t size, uint64_t offset,
	struct file_fault *fault, int *error)
{
	struct tree *tree = image_tree(f->image);
	enum tree_verdict verdict = TREE_FITS;
	size_t done = 0;

	while (tree && done < size) {
		uint64_t at = offset + done;

		fault->why = "";
		if (at >= TREE_BASE)
			verdict = tree_take(tree, fault->block = (at - TREE_BASE) / VERITY_BLOCK,
				bytes + done, &fault->lacks, &fault->why);
		else
			verdict = tree_judge(tree, fault->block = at / VERITY_BLOCK, bytes + done,
				&fault->lacks);
		if (verdict != TREE_FITS)
			break;
		done += VERITY_BLOCK;
		if (at >= TREE_BASE)
			break;
	}
	*error = verdict == TREE_LACKS ? -EINPROGRESS : tree ? -EBADMSG : -EAGAIN;
	return tree || image_lacks_root(f->image) ? done : size;
}

/* Before the first byte, and again as long as bytes come. */
static void mark(struct file *f)
{
	if (!frontend->marked || !image_tree(f->image) || turn.ms < f->image->mark_after)
		return;
	image_mark(f->image, true);
	frontend->marked();
	f->image->mark_after = turn.ms + MARK_EVERY;
}

ssize_t file_write(
	struct file *f, const void *pages, size_t size, uint64_t offset, struct file_fault *fault)
{
	uint64_t left = offset < f->image->pinned.size ? f->image->pinned.size - offset : 0;
	int error;
	size_t fit = judge(f, pages, size, offset, fault, &error);
	ssize_t n;

	if (fit > 0)
		f->misfits = 0;
	if (offset >= TREE_BASE)
		return fit > 0 ? (ssize_t)fit : error;
	if (page_down(fit) == 0)
		return error;
	mark(f);
	n = frontend->write(number_of(f), pages, (size_t)page_down(fit), offset);
	if (n <= 0 || left == 0)
		return n;
	f->full_since = 0;
	if (f->full)
		log_info("%s: the cache takes bytes again", image_name(f->image));
	f->full = false;
	f->since = turn.ms;
	f->written += (uint64_t)n;
	f->image->stats.written += (uint64_t)n;
	holes_fill(number_of(f), offset, offset + (uint64_t)n);
	file_learn(f, pages, offset, (size_t)min_u64((uint64_t)n, left));
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
	f->full_since = 0;
	if (f->full_logged_at != 0 && turn.ms - f->full_logged_at < LOG_EVERY)
		return;
	f->full_logged_at = turn.ms;
	log_err("%s: cannot write to the cache: %s; its readers get an error", image_name(f->image),
		error == -ENOBUFS  ? "less space is free than bstop demands"
		: error == -ENOSPC ? "its file system is full"
				   : strerror(-error));
}

void file_close(struct file *f)
{
	holes_fill(number_of(f), 0, UINT64_MAX);
	filemap_forget(map, number_of(f));
	f->used = false;
}
