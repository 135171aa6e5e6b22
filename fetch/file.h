/* fetch/file.h - the cache files that are open, what is known to be in them, and file_write(), through
 * which every byte goes to the front end. */
#ifndef FETCH_FILE_H
#define FETCH_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/memory.h"
#include "fetch/frontend.h"
#include "image/image.h"
#include "base/page.h"
#include "image/dirwalk.h"

enum trace_state {
	TRACE_NONE,
	TRACE_WANTED, /* it is to be asked for when its turn comes */
	TRACE_ASKED,
	TRACE_PLAYED,
};

struct file {
	bool used;
	bool opening; /* frontend->opened() is owed */
	struct image *image;
	int64_t since; /* the OPEN, or the filling's last progress */
	int recorder;  /* -1: its READs are not recorded */

	/* prefetch.c's: */
	struct dirwalk *walk; /* reads the directories that are written; NULL: none does */
	enum trace_state trace;
	int64_t credit;	     /* bytes that may be fetched near READs */
	int64_t ahead_after; /* until then nothing that nobody waits for is asked for */

	/* an image that is written whole */
	bool fill;	    /* it is to be */
	bool whole;	    /* before any READ is completed */
	bool filled;	    /* it is */
	uint64_t cursor;    /* what lies before it is written or asked for */
	uint64_t written;   /* bytes, since `told` */
	int64_t fill_after; /* the rate allows for no more before */
	int64_t told;
	int64_t full_told; /* that the cache takes no bytes; 0: never */
};

/* capacity.files of them, by their numbers. */
extern struct file *files;

static inline unsigned number_of(const struct file *f)
{
	return (unsigned)(f - files);
}

static inline struct file *end_of_files(void)
{
	return files + capacity.files;
}

static inline bool is_recording(const struct file *f)
{
	return f->recorder >= 0;
}

static inline uint64_t least_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Whole pages. */
static inline uint64_t image_end(const struct image *image)
{
	return page_up(image->size);
}

/* Whether no READ of the file is completed yet. */
static inline bool is_held(const struct file *f)
{
	return f->whole && !f->filled;
}

/* As frontend->hole(), which is asked only for what is not known. */
int64_t file_hole(const struct file *f, uint64_t from, uint64_t end, uint64_t *hole_end);

/* Writes whole pages of the image, as frontend->write(): the one way of a byte to the front end. */
ssize_t file_write(struct file *f, const void *pages, size_t size, uint64_t offset);

/* What was asked for from `from` on does not come: it has to be asked for again. */
void file_dropped(struct file *f, uint64_t from);

/* The cache file takes no bytes (a negative errno, -ENOBUFS for the kernel's own limit): nothing
 * that nobody waits for is asked for during a while. */
void file_unwritable(struct file *f, int error);

#endif
