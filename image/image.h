/* image/image.h - what lies on the servers under one name: its URL on each mirror, the version that is
 * pinned, and how asking for it goes. Times are monotonic milliseconds and come as arguments.
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "image/erofs.h"
#include "net/response.h"
#include "base/limits.h"
#include "base/outcome.h"
#include "net/url.h"

/* All members are for fetch.c and status.c to read; those of the two groups before the last are
 * written by image.c alone. */
struct image {
	bool used;
	char volume[KEY_MAX + 1];
	unsigned char cookie[KEY_MAX];
	size_t cookie_size;
	bool is_trace; /* of another image; image.c's own */
	enum erofs_kind kind;
	unsigned reads_failed; /* in this spell of failures */

	/* what is pinned */
	bool ready;   /* all of this is known */
	bool unknown; /* nothing is remembered of it */
	uint64_t size;
	uint64_t reported_size;	  /* what the kernel is told as its size: see state.h */
	char etag[VALIDATOR_MAX]; /* weak or not; empty: none */
	bool etag_is_strong;
	char last_modified[DATE_MAX]; /* empty: none */
	bool changed;		      /* no mirror has the pinned version any more */

	/* how asking goes */
	unsigned mirror;	   /* the url line asked last */
	unsigned mirrors_out;	   /* bit by url line: it has another version */
	int64_t penalty[URLS_MAX]; /* by url line: until when another one is preferred */
	unsigned unreached; /* bit by url line: when asked last, its server was not reached */
	unsigned failures;  /* in a row; 0: it answers */
	bool refused;	    /* asking again will not help: an OPEN that waits fails */
	int64_t failing_since;
	int64_t last_failure;
	int64_t last_began; /* when the attempt that failed last had begun */
	int64_t not_before; /* no request earlier */
	int64_t told;	    /* when the log said last that it is waited for */
	enum outcome outcome;
	char why[160]; /* of the last failure */

	/* what status.c tells: since the first OPEN, but for the last three */
	struct image_stats {
		uint64_t requests, received; /* bytes of bodies */
		uint64_t written;	     /* bytes, to the cache */
		uint64_t failures;	     /* attempts that came to nothing, bodies cut off */
		uint64_t reads, reads_failed, read_bytes;
		uint64_t cached, cached_to; /* fetch_count_cached()'s */
		uint64_t failing;	    /* milliseconds */
	} stats;
};

/* For log lines: "%.*s" takes it. */
#define IMAGE_NAME(image) (int)(image)->cookie_size, (const char *)(image)->cookie

/* Once, at start. `conf` stays borrowed; `memory` is that of capacity.files + 1 images, all zero. */
size_t image_memory_each(void);
void images_init(const struct conf *conf, void *memory);

/* The image of these keys: the one that is there, or a new one. There are capacity.files places. */
struct image *image_get(const char *volume, const void *cookie, size_t cookie_size);

/* The trace that may lie beside an image, or where `trace URL` says: an image of its own, for as
 * long as it is asked for. NULL when its name would be too long. */
struct image *image_get_trace(const struct image *image);

/* Forgets an image that no file wants any more. */
void image_free(struct image *image);

/* Whether EROFS may read compressed data from it: known from its superblock, and of a blob, which
 * has none, from the other images of its volume. */
bool image_is_compressed(const struct image *image);

/* Where to ask for an image now. */
struct image_target {
	struct url url;
	unsigned mirror;	 /* the url line */
	bool redirected;	 /* url is a redirect's target, remembered or just learnt */
	bool trusted;		 /* it has the origin of the url line: header lines may be sent */
	const struct url *proxy; /* NULL: ask directly */
};

/* Chooses the mirror: the first that has the pinned version and no penalty, else the one whose
 * penalty ends first; then its URL, or where it redirected to. False when the name makes no URL,
 * with *why a static sentence. */
bool image_target(struct image_target *out, struct image *image, int64_t now, const char **why);

/* Remembers where a mirror has redirected to; REDIRECTS_MAX are remembered in all. */
void image_redirected(struct image *image, unsigned mirror, const struct url *url);
void image_forget_redirect(struct image *image);

/* The pinned version for If-Range: the strong ETag, else Last-Modified, else NULL. */
const char *image_validator(const struct image *image);

/* Pins size and version from a response that named them. */
void image_pin(struct image *image, const struct response *response);

/* Of an image whose size, version and kind have just been learnt: settles what size the kernel is
 * told, by what is remembered of it, and remembers it (state.h). `url` is only for people. */
void image_settle(struct image *image, const char *url);

/* Pins what is remembered instead, with nobody asked. False when nothing is. */
bool image_recall(struct image *image);

/* The same for an image whose cache file was open before this worker began (handover.h): whatever
 * lies on the servers now, the first request that its version does not answer will show it. */
bool image_reopen(struct image *image);

/* Whether it may be asked for now. */
bool image_may_be_asked(const struct image *image, int64_t now);

/* Whether no server of the image could be reached when it was asked last. */
bool image_is_unreachable(const struct image *image);

/* A request to `mirror` has been answered as it should be. */
void image_works(struct image *image, unsigned mirror, int64_t now);

struct failure {
	enum outcome outcome;
	const char *why; /* copied */
	unsigned mirror;
	int64_t began;	     /* when the attempt began */
	int64_t retry_after; /* milliseconds that the server asked for; 0: none */
};

/* Whether requests may be sent to a mirror before the answers to those before them have come
 * (RFC 9112 section 9.3.2), and that one has been seen not to bear it: not for a while then. */
bool image_takes_pipelining(unsigned mirror, int64_t now);
void image_refuses_pipelining(unsigned mirror, int64_t now);

/* What status.c tells of a mirror. */
struct mirror_stats {
	uint64_t requests, received; /* as struct image_stats has it */
	uint64_t failures[OUTCOME_LIMIT + 1];
	uint64_t set_aside; /* milliseconds that its quarantine still lasts */
};

/* A request goes to a mirror; bytes of a body came from it. */
void image_asked(struct image *image, unsigned mirror);
void image_received(struct image *image, unsigned mirror, size_t size);

/* The image in a place of the table, 0 to capacity.files, NULL when there is none or a trace; and a
 * mirror. */
struct image *image_at(unsigned place, int64_t now);
const struct mirror_stats *mirror_at(unsigned mirror, int64_t now);

/* A body broke off after some bytes: another mirror is preferred for a while. */
void image_cut(struct image *image, const struct failure *failure, int64_t now);

/* An attempt has come to nothing: penalties are set, and the log told the first time. `refused` or
 * `changed` may be true then. */
void image_failed(struct image *image, const struct failure *failure, int64_t now);

/* Says once a minute what is waited for, while it fails. */
void image_tell(struct image *image, int64_t now);

/* The time-out of an OPEN or READ whose servers fail, INT64_MAX when it is waited for ever. */
int64_t image_patience(void);

/* A delay that doubles from `first` to `last` with the failures (1 or more), less a jitter of up to
 * a quarter, so that many machines do not come back at once. */
int64_t retry_delay(int64_t first, int64_t last, unsigned failures);

#endif
