/* image/image.h - what is known of an image: its keys, the version that is pinned, how attempts at
 * it go, and what is counted of it. Times are monotonic milliseconds and come as arguments. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/outcome.h"
#include "net/response.h"
#include "daemon/conf.h"
#include "image/before.h"
#include "image/state.h"
#include "image/tree.h"

/* Whether what is cached of an image has to be checked (fetch/recheck.h). */
enum image_check {
	CHECK_DONE,
	CHECK_FIRST, /* before its OPEN is answered */
	CHECK_LATER,
};

/* Members are for all to read. */
struct image {
	size_t cookie_size;
	bool used;
	bool is_trace; /* of another image */
	/* the kernel has it open, and no file: it was mounted before this worker began, and not
	 * read since, or it could not be opened again */
	bool unread;

	/* the version, written by image.c */
	bool ready;   /* all of it is known; set when its OPENs are answered */
	bool unknown; /* no state of it is stored by which it could be opened offline */
	bool changed; /* no mirror has the pinned version any more */

	/* attempts, written by mirror.c */
	bool refused;	       /* no further attempt will help: an OPEN that waits fails */
	unsigned mirror;       /* the url line asked last */
	unsigned mirrors_out;  /* bit by url line: it has another version */
	unsigned doubted;      /* bit by url line: the last attempt was refused */
	unsigned refused_by;   /* bit by url line: and another try is of no use */
	unsigned unreached;    /* bit by url line: the last attempt did not reach its server */
	unsigned failures;     /* in a row; 0: it answers */
	unsigned reads_failed; /* since then */
	enum outcome outcome;
	unsigned failed_server; /* in the last failed attempt */
	int64_t not_before;	/* no request earlier */
	int64_t failing_since;
	int64_t last_failure;
	int64_t last_began; /* when the attempt that failed last had begun */
	int64_t logged_at;  /* when the log said last what is waited for */

	/* if it is verified: the check of its cache, written by recheck.c; its mark, by file.c */
	enum image_check check;
	uint64_t checked;   /* up to here */
	uint64_t unfit;	    /* blocks that did not fit */
	int64_t mark_after; /* its mark is good until then (state.h) */

	/* Large members are last, since code is shorter for what is near the beginning:
	 * the pinned version, written by image.c, except for its kind, which fetch.c finds */
	struct state pinned;

	/* for status.c: since the first OPEN, except for `cached`, `failing`, `unasked` */
	struct image_stats {
		uint64_t requests, received; /* bytes of bodies */
		uint64_t written;	     /* bytes, to the cache */
		uint64_t failures;	     /* failed attempts, bodies that broke off */
		uint64_t reads, reads_failed, read_bytes;
		uint64_t cached;  /* fetch_count_cached()'s */
		uint64_t failing; /* milliseconds */
		uint64_t unasked; /* unasked.h's estimate */
		/* bytes written that no READ waited for then: fetched on a guess, or because a
		 * trace or the configuration says so */
		uint64_t ahead, planned;
	} stats;

	/* attempts, written by mirror.c */
	int64_t backoff[URLS_MAX]; /* by url line: until when another one is preferred */
	char why[160]; /* of the last failure, and whose; empty: none. See mirror_why() */
	/* the names */
	unsigned char cookie[KEY_MAX + 1]; /* a NUL behind it, as it may hold others */
	char volume[KEY_MAX + 1];
};

/* What is requested of an image: itself, or what lies beside it and has a suffix behind its name,
 * or lies where `verity URL` says. */
enum image_part { PART_IMAGE, PART_TREE, PART_ROOTHASH, PART_SIGNATURE };
#define ROOTHASH_SUFFIX	 ".roothash"
#define SIGNATURE_SUFFIX ROOTHASH_SUFFIX ".p7s"

/* For log lines. */
static inline const char *image_name(const struct image *image)
{
	return (const char *)image->cookie;
}

/* Once, at the start. `memory` has room for capacity.files + 1 images, all zero; `conf` stays
 * borrowed. */
size_t image_memory_each(const struct conf *conf);
void images_init(const struct conf *conf, void *memory);

/* The image with these keys, or a new one. There are capacity.files places. */
struct image *image_get(const char *volume, const void *cookie, size_t cookie_size);

/* The trace that may lie beside an image, or where `trace URL` says: an image of its own, until
 * image_free(). Beside it has TRACE_SUFFIX in its name. NULL when that would be too long. */
#define TRACE_SUFFIX ".trace"
struct image *image_get_trace(const struct image *image);

/* Forgets an image that no file has open any more, except for status.c if the kernel has. */
void image_free(struct image *image);

/* Whether EROFS may read compressed data from it: known from its superblock, and of a blob, which
 * has none, from the other images of its volume. */
bool image_is_compressed(const struct image *image);

/* What follows where a server sends no version. */
extern const char image_no_version[];

/* The pinned version's strong ETag, else Last-Modified, else NULL. */
const char *image_validator(const struct image *image);

/* The tree by which its bytes are verified; NULL: they are not. The second is not NULL for an image
 * without a root hash, unless nothing is verified. The third: it has to be verified, and its root
 * hash is not known. Setting the root hash, before anything is pinned. */
struct tree *image_tree(const struct image *image);
struct tree *image_tree_place(const struct image *image);
bool image_lacks_root(const struct image *image);
void image_set_root(struct image *image, const uint8_t root[VERITY_DIGEST]);

/* The root hash of the version that was opened last, and its signature, both untrusted. Returns the
 * size of that, 0 when there is none. */
size_t image_kept_proof(
	const struct image *image, uint8_t root[VERITY_DIGEST], uint8_t *p7s, size_t room);

/* Whether the version that was opened last had a root hash; whether the worker before us has opened
 * the image, and the kernel has it open still; and that without a root hash. */
bool image_was_verified(const struct image *image);
bool image_is_open(const struct image *image);
bool image_is_open_unverified(const struct image *image);

/* state_mark() of an image. */
bool image_mark(const struct image *image, bool make);

/* Whether its cache file was open before this worker began, and is still. */
bool image_is_live(const struct image *image);

/* Pins size and version from a response that named them. Of an image that is verified the root hash
 * is the version, whatever the server says. */
void image_pin(struct image *image, const struct response *response);

/* For an image whose size, version and kind have just been pinned: settles the size that is
 * reported to the kernel, by the stored state, and stores the new state (state.h). `url` is only
 * for people. */
void image_settle(struct image *image, const char *url);

/* The version that came before the one that is open, whose blocks are still wanted; remembered, and
 * found again by a later run, until it is forgotten. False: there is none. */
bool image_before(const struct image *image, struct before *before);
void image_forget_before(const struct image *image);

/* Pins the stored state instead, without a request. False when there is none. */
bool image_recall(struct image *image);

/* The same for an image that the worker before us had open (handover.h). If its version has
 * changed, the first request will show it. */
bool image_reopen(struct image *image);

/* Leaves the counters of the open images to the next worker; and in that, shows them and their
 * images before those are read again. */
void images_keep(void);
void images_resume(void);

/* The image in a place of the table, 0 to capacity.files, with stats.failing as of now; NULL: there
 * is none, or a trace. */
struct image *image_at(unsigned place, int64_t now);

#endif
