/* fetch/mirror.h - the servers of an image: which url line is asked next and when, redirects, the
 * proxy, credentials, and what failures lead to. Mirrors are url lines, numbered from 0. Times are
 * monotonic milliseconds and come as arguments. */
#ifndef FETCH_MIRROR_H
#define FETCH_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/outcome.h"
#include "net/url.h"
#include "daemon/conf.h"
#include "image/image.h"

/* Once, at start. `conf` stays borrowed. */
void mirrors_init(const struct conf *conf);

/* In the place of a mirror's number, where that of a server is meant: what `verity URL` and `trace
 * URL` name. It is never set aside, and no mirror is for what it does. */
#define ELSEWHERE URLS_MAX

/* Where a request goes. */
struct mirror_target {
	unsigned mirror;
	uint8_t server;		 /* the same, or ELSEWHERE */
	bool redirected;	 /* url is a redirect's target */
	bool trusted;		 /* url has the origin of the url line: header lines may be sent */
	const struct url *proxy; /* NULL: none */
	char userinfo[USERINFO_MAX]; /* the URL's own, or of the netrc file; empty: none */
	struct url url;
};

/* Chooses the mirror: the first that has the pinned version and no backoff, else the one whose
 * backoff ends first; then the part's URL, or where that redirected to. False when the image's name
 * makes no URL, with *why a static sentence; else *why stays. */
bool mirror_target(struct mirror_target *out, struct image *image, enum image_part part,
	int64_t now, const char **why);

/* Whether a request for the image may begin now. */
bool mirror_may_be_asked(const struct image *image, int64_t now);

/* Remembers where a mirror has redirected to, REDIRECTS_BYTES_MAX bytes in all; forgets an
 * image's. */
void mirror_redirected(
	struct image *image, enum image_part part, unsigned mirror, const struct url *url);
void mirror_forget_redirect(const struct image *image);

/* Whether the last attempt at each mirror of the image has not reached its server; whether it has
 * said that another try is of no use. */
bool mirrors_are_unreachable(const struct image *image);
bool mirrors_refuse(const struct image *image);

/* "mirror 1", for a person. Returns `out`. */
#define MIRROR_WORDS 24
const char *mirror_words(char out[MIRROR_WORDS], unsigned server);

/* Whether requests may be sent to a server before earlier ones have their responses (RFC 9112
 * section 9.3.2); and that it has failed at that, so that it gets one at a time for a while. */
bool mirror_takes_pipelining(unsigned server, int64_t now);
void mirror_refuses_pipelining(unsigned server, int64_t now);

/* A server has sent a body without Content-Length; and whether it has done so lately, so that it is
 * asked, one request at a time, for at most as many bytes as can be held until the body's end. */
void mirror_sends_no_length(unsigned server, int64_t now);
bool mirror_needs_buffer(unsigned server, int64_t now);

/* A request goes to a server; bytes of a body came; a response is as it should be. */
void mirror_asked(struct image *image, unsigned server);
void mirror_received(struct image *image, unsigned server, size_t size);
void mirror_works(struct image *image, unsigned mirror, unsigned server, int64_t now);

/* Why the last attempt at the image has failed, and which server is to blame, for a person; cut if
 * another image has failed since. */
#define MIRROR_WHY_MAX 512
const char *mirror_why(const struct image *image);

struct failure {
	enum outcome outcome;
	const char *why; /* copied */
	unsigned mirror;
	bool redirected;     /* a redirect's target failed, not the mirror's own URL */
	int64_t began;	     /* when the attempt began */
	int64_t retry_after; /* milliseconds that the server asked for; 0: none */
	bool several;	     /* the server has other addresses */
	unsigned server;
};

/* A body broke off after some bytes: its mirror is quarantined. */
void mirror_interrupted(struct image *image, const struct failure *failure, int64_t now);

/* A mirror has sent bytes that are not the image's: it is quarantined, for longer each time. */
void mirror_lied(struct image *image, const struct failure *failure, int64_t now);

/* No server can help: an OPEN that waits for the image fails. `why` is copied. */
void mirror_give_up(struct image *image, enum outcome outcome, const char *why);

/* An attempt has failed: sets backoff and quarantine, logs the first failure, and may set the
 * image's `refused` or `changed`. After this and the one above, the next attempt at a mirror begins
 * at its own URL. */
void mirror_failed(struct image *image, const struct failure *failure, int64_t now);

/* While the image's servers fail, logs once a minute what READs wait for. */
void mirror_log_waiting(struct image *image, int64_t now);

/* The time-out of an OPEN or READ whose servers fail; INT64_MAX: never. */
int64_t mirror_timeout(void);

/* A delay in milliseconds that doubles from `first` to `last` with the failures (1 or more), less a
 * jitter of up to a half, so that many machines that fail together do not come back together. */
int64_t retry_delay(int64_t first, int64_t last, unsigned failures);

/* For status.c. */
struct mirror_stats {
	uint64_t requests, received; /* as in struct image_stats */
	uint64_t failures[OUTCOMES];
	uint64_t set_aside; /* milliseconds that its quarantine still lasts */
};
struct mirror_stats *mirror_at(unsigned mirror, int64_t now);

#endif
