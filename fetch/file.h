/* fetch/file.h - the cache files that are open, what is known to be in them, and file_write(), the
 * one way of a byte to the front end. Offsets are bytes. */
#ifndef FETCH_FILE_H
#define FETCH_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/minmax.h"
#include "base/page.h"
#include "daemon/memory.h"
#include "image/dirwalk.h"
#include "image/filemap.h"
#include "image/image.h"
#include "fetch/frontend.h"

enum trace_state {
	TRACE_NONE,
	TRACE_WANTED, /* to be requested when its turn comes */
	TRACE_ASKED,
	TRACE_PLAYING,
	TRACE_PLAYED,
};

/* Why bytes of a file are requested. */
enum need {
	NEED_AGAIN, /* what is cached of them does not fit */
	NEED_SURE,  /* they will be read, or all of the image is wanted */
	NEED_GUESS, /* others that are near them are read */
	NEED_READ,  /* a READ waits for them */
};

struct file {
	bool used;
	bool opening;	 /* frontend->opened() is owed */
	unsigned number; /* by which others name it: its place in the table */
	struct image *image;
	int64_t since;		/* the OPEN, or the last byte written */
	int64_t full_since;	/* it takes no bytes since then; 0: it does */
	int64_t full_logged_at; /* that the cache takes no bytes; 0: never */
	bool full;		/* it has taken none for a while */
	unsigned misfits;	/* pages and blocks of its tree in a row that did not fit */
	bool read;		/* its readers have begun, as far as is known */
	int recorder;		/* of its boot trace; -1: none */

	bool updates;	      /* blocks may be taken from the version before */
	uint32_t passed;      /* bytes that a guess was not requested for */
	uint64_t tree_cursor; /* for its bytes before, the tree is there or was requested */
	uint64_t tree_run;    /* for its bytes before, it was requested in a run */
	uint8_t tree_asked;   /* how often its next block has been requested */
	uint32_t taken;	      /* blocks that came from the version before */

	/* prefetching */
	struct dirwalk *walk; /* reads the directories that are written; NULL: none does */
	bool walking;	      /* it has directories to name */
	uint32_t block;	      /* bytes of the image's blocks; 0: none are looked for in it */
	enum trace_state trace;
	int64_t credit;	     /* bytes that may be fetched near READs */
	int64_t ahead_after; /* nothing is prefetched before */

	/* an image that is filled whole */
	bool fill;	    /* it is to be filled */
	bool whole;	    /* before any READ is completed */
	bool filled;	    /* all of it is cached */
	uint64_t cursor;    /* the bytes before it are cached or in flight */
	int64_t fill_after; /* prefetch-rate allows for no more before */
	int64_t logged_at;  /* the progress */
	uint64_t written;   /* bytes, since logged_at */
};

/* capacity.files of them, by their numbers. */
extern struct file *files;

static inline unsigned number_of(const struct file *f)
{
	return f->number;
}

static inline struct file *end_of_files(void)
{
	return files + capacity.files;
}

static inline bool is_recording(const struct file *f)
{
	return f->recorder >= 0;
}

/* The end of the image, rounded up to pages. */
static inline uint64_t image_end(const struct image *image)
{
	return page_up(image->pinned.size);
}

/* Whether its READs wait until all of it is cached. */
static inline bool is_held(const struct file *f)
{
	return f->whole && !f->filled;
}

/* Whether its trace decides what is prefetched. */
static inline bool is_tracing(const struct file *f)
{
	return f->trace == TRACE_ASKED || f->trace == TRACE_PLAYING;
}

/* Once, at start: memory for the map of so many extents, all zero, aligned to 8. */
void files_map(void *memory, size_t extents);

/* The extent of the image's file that has the byte at `offset`, in whole pages; false: none is
 * known. */
bool file_extent(const struct file *f, uint64_t offset, uint64_t *from, uint64_t *end);

/* The range of the image's files that lie around the one with the byte at `offset`, are of its
 * directory, and have at most `most` bytes each. Returns the directory's number (dirwalk.h), 0: it
 * is not known. */
unsigned file_directory(
	const struct file *f, uint64_t offset, uint64_t most, uint64_t *from, uint64_t *end);

/* As frontend->hole(), which is called only for what is not known. */
int64_t file_hole(const struct file *f, uint64_t from, uint64_t end, uint64_t *hole_end);

/* Learns of the image's directories and files from bytes of it, which begin and end at a block's
 * boundary or at its end. file_write() does; else only what was cached before has to be shown. */
void file_learn(struct file *f, const void *bytes, uint64_t offset, size_t size);

/* What hinders file_write(). */
struct file_fault {
	uint64_t block;	 /* of the image or of its tree: the one that is not kept */
	uint64_t lacks;	 /* EINPROGRESS: the block of the tree that has to come before */
	const char *why; /* EBADMSG: what is known of it besides; empty: nothing */
};

/* Writes whole pages of the image, as frontend->write(), and notes that they are there; or keeps
 * whole blocks of its tree, at TREE_BASE and behind. Of an image that is verified only what fits
 * the root hash. Returns the bytes that are there now, or a negative errno: what frontend->write()
 * says; -EBADMSG: the first page or block does not fit; -EINPROGRESS: a block of the tree has to
 * come before; -EAGAIN: also while the root hash is not known (image_lacks_root()). */
ssize_t file_write(
	struct file *f, const void *pages, size_t size, uint64_t offset, struct file_fault *fault);

/* The request for the bytes from `from` on was dropped: they have to be requested again. */
void file_dropped(struct file *f, uint64_t from);

/* The cache file takes no bytes (a negative errno, -ENOBUFS for the kernel's own limit):
 * prefetching rests for a while. */
void file_unwritable(struct file *f, int error);

/* Forgets the file, but not its image. */
void file_close(struct file *f);

#endif
