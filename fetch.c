#include "fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "erofs.h"
#include "http.h"
#include "image.h"
#include "log.h"
#include "outcome.h"

/* Milliseconds. */
#define STALL_MAX      10000 /* an attempt without a byte for so long has failed */
#define STALL_MIN      1000
#define PAUSE_FIRST    100 /* before a lane goes on whose body was cut again and again */
#define PAUSE_LAST     2000
#define WRITE_AGAIN    20    /* the cache file is not ready, or full */
#define WRITE_PATIENCE 5000  /* full for so long: the READ fails */
#define STEAL_AFTER    1000  /* a lane without a byte for so long is given to another image */
#define TICK	       250   /* how often waiting READs are looked at */
#define PROGRESS       10000 /* how often the filling of a whole image is told */

/* Bodies cut after some bytes: so often the rest is asked for at once. */
#define CUTS_AT_ONCE 3

/* A 206 of fewer bytes than this, of a page or more, is hardly an answer. */
#define TINY_PART 64

/* One range request while an image is written whole. */
#define FILL_SIZE (1 << 20)

#define NO_FILE (-1)

/* A cache file in which an image is wanted. */
struct file {
	bool used;
	bool opening; /* front->opened() is owed */
	struct image *image;
	int64_t since; /* the OPEN, or the filling's last progress */

	/* an image that is written whole */
	bool whole, filled;
	uint64_t cursor; /* what lies before it is written or asked for */
	int64_t fill_after;
	int64_t told;
};

struct read {
	bool used;
	unsigned file;
	uint32_t id;
	uint64_t pos, end; /* what is still missing, whole pages */
	int64_t since;	   /* its arrival or last progress */
	uint64_t sequence;
};

enum lane_state {
	LANE_FREE,
	LANE_ASKING,  /* the request is under way */
	LANE_PAUSED,  /* between two requests for the same range */
	LANE_WRITING, /* all bytes are here, the last are not written yet */
};

/* A connection, its buffer, and the range that it fetches. */
struct lane {
	struct http http;
	char *buffer; /* CONN_BUFFER bytes, page-aligned */
	enum lane_state state;
	struct image *image;
	int file;	    /* NO_FILE: the image's size is asked for */
	uint64_t base;	    /* where in the image buffer[0] belongs: a page's boundary */
	size_t fill;	    /* bytes in the buffer */
	uint64_t end;	    /* end of the range, at most the image's size */
	uint64_t attempted; /* base + fill when the request under way began */
	unsigned cuts;	    /* requests in a row that ended early */
	unsigned hops;	    /* redirects in a row */
	bool redirected;    /* asks a redirect's target, not the configured URL */
	unsigned mirror;    /* the url line that is asked */
	int64_t asked_at;   /* when the request began */
	int64_t data_at;    /* when the last page's worth of bytes came; 0: none yet */
	uint64_t credited;  /* how far the range had come then */
	int64_t resume;	    /* LANE_PAUSED: when to go on */
	int64_t write_after;
	int64_t write_since; /* when writing first failed; 0: it does not */
	int64_t freed;
	int slot;     /* its place in the poll set of this turn; -1: none */
	bool started; /* this turn: it has to run once without waiting */
};

static const struct conf *conf;
static const struct front *front;
static enum fetch_whole whole_rule;
static size_t page;
static char *zeros; /* one page */
static struct file files[FILES_MAX];
static struct read reads[READS_MAX];
static struct lane *lanes;
static unsigned reads_used;
static uint64_t sequence;
static int64_t clock_now; /* of this turn of the loop */

/* ---- numbers ---- */

static uint64_t page_down(uint64_t n)
{
	return n & ~(uint64_t)(page - 1);
}

static uint64_t page_up(uint64_t n)
{
	return page_down(n + page - 1);
}

static size_t round_to(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* ---- images and their lanes ---- */

static struct lane *end_of_lanes(void)
{
	return lanes + conf->connections;
}

static void free_lane(struct lane *lane)
{
	if (lane->http.state != HTTP_IDLE)
		http_close(&lane->http);
	lane->state = LANE_FREE;
	lane->freed = clock_now;
}

/* Frees an image that no file wants any more, with what is under way for it. */
static void release_image(struct image *image)
{
	for (const struct file *f = files; f < files + FILES_MAX; f++)
		if (f->used && f->image == image)
			return;
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state != LANE_FREE && lane->image == image)
			free_lane(lane);
	image_free(image);
}

static uint64_t image_end(const struct image *image)
{
	return page_up(image->size);
}

/* ---- READs ---- */

static void end_read(struct read *r)
{
	r->used = false;
	reads_used--;
	front->complete(r->file, r->id);
}

static void end_reads_of(unsigned file)
{
	for (struct read *r = reads; r < reads + READS_MAX; r++)
		if (r->used && r->file == file)
			end_read(r);
}

/* [from, to) of the file is written now. */
static void advance_reads(unsigned file, uint64_t from, uint64_t to)
{
	files[file].since = clock_now;
	if (files[file].whole && !files[file].filled)
		return;
	for (struct read *r = reads; r < reads + READS_MAX; r++) {
		if (!r->used || r->file != file || r->pos < from || r->pos >= to)
			continue;
		r->pos = to;
		r->since = clock_now;
		if (r->pos >= r->end)
			end_read(r);
	}
}

/* Behind the image's end there is nothing to fetch: one page of zeros, and the kernel asks again
 * for what more it wants. */
static void serve_tail(struct read *r)
{
	ssize_t n = front->write(r->file, zeros, page, r->pos);

	if (n != -EAGAIN || clock_now - r->since >= WRITE_PATIENCE)
		end_read(r);
}

/* ---- failures ---- */

static void refuse_open(struct file *f)
{
	struct image *image = f->image;

	log_err("%.*s: cannot be opened: %s (%s)", IMAGE_NAME(image), image->why,
		outcome_words(image->outcome));
	f->used = f->opening = false;
	front->opened((unsigned)(f - files), image->outcome, 0);
	release_image(image);
}

static void refuse_opens(struct image *image)
{
	for (struct file *f = files; f < files + FILES_MAX; f++)
		if (f->used && f->opening && f->image == image)
			refuse_open(f);
}

static struct failure failure_of(const struct lane *lane, enum outcome outcome, const char *why)
{
	return (struct failure){
		.outcome = outcome,
		.why = why,
		.mirror = lane->mirror,
		.began = lane->asked_at,
		.retry_after = outcome == OUTCOME_BUSY ? lane->http.retry_after : 0,
	};
}

/* An attempt of the lane at its image has come to nothing. */
static void attempt_failed(const struct lane *lane, enum outcome outcome, const char *why)
{
	struct image *image = lane->image;
	struct failure failure = failure_of(lane, outcome, why);

	switch (image_failed(image, &failure, clock_now)) {
	case IMAGE_RETRY:
		break;
	case IMAGE_REFUSED:
		refuse_opens(image);
		break;
	case IMAGE_CHANGED:
		for (unsigned file = 0; file < FILES_MAX; file++)
			if (files[file].used && files[file].image == image)
				end_reads_of(file);
		break;
	}
}

/* ---- lanes: the way of the bytes ---- */

static uint64_t lane_pos(const struct lane *lane)
{
	return lane->base + lane->fill;
}

static void lane_failed(struct lane *lane, enum outcome outcome, const char *why);
static void image_opened(struct lane *lane);

/* How many bytes of the buffer can be written now: whole pages, and at the image's end the last
 * one with zeros behind it. */
static size_t writable(struct lane *lane)
{
	size_t size = (size_t)page_up(lane->fill);

	if (lane_pos(lane) < lane->image->size)
		return (size_t)page_down(lane->fill);
	memset(lane->buffer + lane->fill, 0, size - lane->fill);
	return size;
}

/* The cache file may become ready, or space free, in a while. */
static int write_refused(struct lane *lane, int error)
{
	if (lane->write_since == 0)
		lane->write_since = clock_now;
	lane->write_after = clock_now + WRITE_AGAIN;
	if (error != -EAGAIN && error != -ENOSPC)
		return error;
	if (clock_now - lane->write_since < WRITE_PATIENCE)
		return -EAGAIN;
	return error == -EAGAIN ? -ENOBUFS : error;
}

/* Writes what it can. Returns 0, -EAGAIN when it has to be called again later, or what is wrong. */
static int flush(struct lane *lane)
{
	size_t size;

	while ((size = writable(lane)) > 0) {
		ssize_t n = front->write((unsigned)lane->file, lane->buffer, size, lane->base);
		size_t taken;

		if (n < 0)
			return write_refused(lane, (int)n);
		lane->write_since = 0;
		taken = (size_t)n < lane->fill ? (size_t)n : lane->fill;
		memmove(lane->buffer, lane->buffer + taken, lane->fill - taken);
		lane->fill -= taken;
		lane->base += (uint64_t)n;
		advance_reads((unsigned)lane->file, lane->base - (uint64_t)n, lane->base);
	}
	return 0;
}

/* The cache file takes no bytes: those who wait for them get an error, now. */
static void write_failed(struct lane *lane, int error)
{
	struct image *image = lane->image;
	unsigned file = (unsigned)lane->file;

	log_err("%.*s: cannot write to the cache: %s; its readers get an error", IMAGE_NAME(image),
		error == -ENOBUFS  ? "less space is free than bstop demands"
		: error == -ENOSPC ? "its file system is full"
				   : strerror(-error));
	free_lane(lane);
	end_reads_of(file);
}

/* One attempt that stalls does not use up all of the patience. */
static int64_t stall_time(void)
{
	int64_t third = image_patience() / 3;

	return third > STALL_MAX ? STALL_MAX : third < STALL_MIN ? STALL_MIN : third;
}

/* Sends the request for what is missing of the lane's range. */
static void ask(struct lane *lane)
{
	struct image *image = lane->image;
	struct image_target target;
	struct http_request request = {
		.url = &target.url,
		.last = lane->end - 1,
		.if_range = image->ready ? image_validator(image) : NULL,
		.etag = image->ready && image->etag[0] ? image->etag : NULL,
		.user_agent = conf->user_agent,
		.stall = stall_time(),
	};
	const char *why;
	size_t scratch;
	int error = lane->fill > 0 ? flush(lane) : 0;

	if (error && error != -EAGAIN) {
		write_failed(lane, error);
		return;
	}
	/* The space behind a partial page that is kept serves the TLS handshake. */
	scratch = round_to(lane->fill, 16);
	if (CONN_BUFFER - scratch < TLS_SCRATCH_MIN)
		lane->fill = scratch = 0;
	request.first = lane_pos(lane);
	lane->attempted = lane_pos(lane);
	if (!image_target(&target, image, clock_now, &why)) {
		lane_failed(lane, OUTCOME_LIMIT, why);
		return;
	}
	lane->state = LANE_ASKING;
	lane->mirror = target.mirror;
	lane->redirected = target.redirected;
	request.proxy = target.proxy;
	if (target.trusted)
		request.fields = conf->fields;
	lane->started = true;
	lane->asked_at = clock_now;
	http_start(&lane->http, &request, lane->buffer + scratch, CONN_BUFFER - scratch, clock_now);
}

static void start_lane(
	struct lane *lane, struct image *image, int file, uint64_t from, uint64_t end)
{
	lane->image = image;
	lane->file = file;
	lane->base = from;
	lane->fill = 0;
	lane->end = end;
	lane->cuts = lane->hops = 0;
	lane->data_at = 0;
	lane->credited = from;
	lane->write_after = lane->write_since = 0;
	ask(lane);
}

/* Writes what has come; a lane whose range is complete is free then. */
static void write_lane(struct lane *lane)
{
	int error = flush(lane);

	if (error == -EAGAIN)
		return;
	if (error)
		write_failed(lane, error);
	else if (lane->state == LANE_WRITING)
		free_lane(lane);
}

/* Frees a lane whose range is not complete; the whole pages that have come are kept. */
static void give_up_lane(struct lane *lane)
{
	if (lane->file != NO_FILE) {
		flush(lane);
		if (files[lane->file].cursor > lane->base)
			files[lane->file].cursor = lane->base;
	}
	free_lane(lane);
}

/* The body broke off. What has come is kept, to the byte, and the rest asked for, in the same lane.
 */
static void lane_cut(struct lane *lane, enum outcome outcome, const char *why)
{
	struct failure failure = failure_of(lane, outcome, why);

	image_cut(lane->image, &failure, clock_now);
	log_debug("%.*s: %s; going on at byte %llu", IMAGE_NAME(lane->image), why,
		(unsigned long long)lane_pos(lane));
	lane->state = LANE_PAUSED;
	lane->resume = clock_now;
	lane->cuts = lane_pos(lane) - lane->attempted < page ? lane->cuts + 1 : 0;
	if (lane->cuts > CUTS_AT_ONCE)
		lane->resume += retry_delay(PAUSE_FIRST, PAUSE_LAST, lane->cuts - CUTS_AT_ONCE);
}

static void lane_failed(struct lane *lane, enum outcome outcome, const char *why)
{
	struct image *image = lane->image;
	bool moved = lane_pos(lane) > lane->attempted;
	bool broke_off = outcome == OUTCOME_UNREACHABLE || outcome == OUTCOME_TIMED_OUT;

	if (lane->redirected && lane->hops == 0 &&
		(outcome == OUTCOME_NOT_FOUND || outcome == OUTCOME_DENIED)) {
		/* The target was remembered: a signed URL that has expired. Its origin gives
		 * another. */
		image_forget_redirect(image);
		ask(lane);
		return;
	}
	if (lane->file != NO_FILE && lane_pos(lane) == lane->end)
		lane->state = LANE_WRITING; /* only the end of the body was wrong */
	else if (lane->file == NO_FILE && broke_off && lane->fill >= EROFS_HEAD)
		image_opened(lane); /* enough to know it by */
	else if (lane->file != NO_FILE && broke_off && moved)
		lane_cut(lane, outcome, why);
	else {
		give_up_lane(lane);
		attempt_failed(lane, outcome, why);
	}
}

/* ---- lanes: what the server says ---- */

static void file_opened(struct file *f)
{
	struct image *image = f->image;

	f->opening = false;
	f->whole = whole_rule == WHOLE_ALWAYS ||
		   (whole_rule == WHOLE_COMPRESSED && image_is_compressed(image));
	f->since = f->told = clock_now;
	if (f->whole)
		log_info("%.*s: all %llu bytes are fetched before the first READ is answered, "
			 "since this kernel %s",
			IMAGE_NAME(image), (unsigned long long)image->size,
			whole_rule == WHOLE_ALWAYS
				? "returns zeros from partly cached ranges (v8)"
				: "mishandles partly cached compressed images (6.9 and later)");
	front->opened((unsigned)(f - files), OUTCOME_OK, image->size);
}

/* The size is known: the lane's buffer holds the image's beginning. */
static void image_opened(struct lane *lane)
{
	struct image *image = lane->image;
	char text[URL_MAX + 300];

	image->kind = erofs_kind(lane->buffer, lane->fill);
	image->ready = true;
	log_info("%.*s: %llu bytes at %s, %s", IMAGE_NAME(image), (unsigned long long)image->size,
		url_text(text, sizeof(text), &lane->http.url),
		image->kind == EROFS_NONE    ? "not EROFS (a data blob?)"
		: image->kind == EROFS_PLAIN ? "plain EROFS"
					     : "compressed EROFS");
	if (!image->etag[0] && !image->last_modified[0])
		log_warning("%.*s: the server sends neither ETag nor Last-Modified: an image that "
			    "is replaced by one of the same size would not be noticed",
			IMAGE_NAME(image));
	free_lane(lane);
	for (struct file *f = files; f < files + FILES_MAX; f++)
		if (f->used && f->opening && f->image == image)
			file_opened(f);
}

static void lane_started(struct lane *lane)
{
	struct image *image = lane->image;
	const struct response *response = &lane->http.response;
	char why[128];

	if (lane->file == NO_FILE) {
		image_pin(image, response);
	} else if ((uint64_t)response->total != image->size) {
		snprintf(why, sizeof(why),
			"the image on the server was replaced: %llu bytes became %lld",
			(unsigned long long)image->size, (long long)response->total);
		http_close(&lane->http);
		lane_failed(lane, OUTCOME_CHANGED, why);
		return;
	}
	lane->hops = 0;
	image_works(image, lane->mirror, clock_now);
}

static void lane_redirected(struct lane *lane)
{
	char text[URL_MAX + 300];

	if (++lane->hops > REDIRECT_HOPS) {
		image_forget_redirect(lane->image);
		snprintf(text, sizeof(text), "more than %d redirects, a loop? The last one was to ",
			REDIRECT_HOPS);
		url_text(text + strlen(text), sizeof(text) - strlen(text), &lane->http.location);
		lane_failed(lane, OUTCOME_REFUSED, text);
		return;
	}
	image_redirected(lane->image, lane->mirror, &lane->http.location);
	ask(lane);
}

static void lane_data(struct lane *lane, size_t got)
{
	lane->fill += got;
	/* A page is progress; less may be a server that lets bytes trickle without end. */
	if (lane_pos(lane) >= lane->credited + page) {
		lane->credited = lane_pos(lane);
		lane->data_at = clock_now;
	}
	if (lane->fill == CONN_BUFFER && clock_now >= lane->write_after)
		write_lane(lane);
}

/* The response is over: all of it, or the server gave less than was asked for. Next to nothing of a
 * page and more is as good as a body that breaks off: it must not go on for ever. */
static void lane_ended(struct lane *lane)
{
	uint64_t asked = lane->end - lane->attempted, got = lane_pos(lane) - lane->attempted;

	if (lane->file == NO_FILE)
		image_opened(lane);
	else if (got == asked)
		lane->state = LANE_WRITING;
	else if (got < TINY_PART && asked >= page)
		lane_cut(lane, OUTCOME_REFUSED, "the server sends next to nothing of a range");
	else
		ask(lane);
}

/* One step of a request under way. Returns false when it has to wait. */
static bool ask_on(struct lane *lane)
{
	size_t got;

	switch (http_run(&lane->http, lane->buffer + lane->fill, CONN_BUFFER - lane->fill, &got,
		clock_now)) {
	case HTTP_WAIT:
		return false;
	case HTTP_STARTED:
		lane_started(lane);
		return true;
	case HTTP_DATA:
		lane_data(lane, got);
		return true;
	case HTTP_END:
		lane_ended(lane);
		return true;
	case HTTP_REDIRECT:
		lane_redirected(lane);
		return true;
	case HTTP_FAILED:
		lane_failed(lane, lane->http.outcome, lane->http.why);
		return true;
	}
	return false;
}

/* Whether there is something to do for the lane in this turn. */
static bool is_due(const struct lane *lane, const struct pollfd *polled)
{
	if (lane->started || (polled && lane->slot >= 0 && polled[lane->slot].revents))
		return true;
	switch (lane->state) {
	case LANE_FREE:
		return false;
	case LANE_PAUSED:
		return clock_now >= lane->resume;
	case LANE_WRITING:
		return clock_now >= lane->write_after;
	case LANE_ASKING:
		return lane->http.state == HTTP_RESOLVING || clock_now >= http_next(&lane->http) ||
		       (lane->write_since && clock_now >= lane->write_after);
	}
	return false;
}

static void run_lane(struct lane *lane)
{
	size_t got;

	lane->started = false;
	if (lane->state == LANE_PAUSED && clock_now >= lane->resume)
		ask(lane);
	if (lane->state == LANE_ASKING && lane->write_since && clock_now >= lane->write_after)
		write_lane(lane);
	while (lane->state == LANE_ASKING && ask_on(lane))
		;
	if (lane->state == LANE_WRITING && clock_now >= lane->write_after)
		write_lane(lane);
	if (lane->state == LANE_FREE)
		http_run(&lane->http, NULL, 0, &got, clock_now);
}

/* ---- who gets a lane ---- */

static unsigned lanes_of(const struct image *image)
{
	unsigned n = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		n += lane->state != LANE_FREE && lane->image == image;
	return n;
}

static bool is_stalled(const struct lane *lane)
{
	return lane->state == LANE_PAUSED ||
	       (lane->state == LANE_ASKING && clock_now - lane->http.progress >= STEAL_AFTER);
}

/* Takes a lane from a server that sends nothing, for an image that has none. */
static struct lane *steal_lane(const struct image *image)
{
	if (lanes_of(image) > 0)
		return NULL;
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->image != image && is_stalled(lane)) {
			give_up_lane(lane);
			attempt_failed(lane, OUTCOME_TIMED_OUT,
				"the server sends nothing while others wait");
			return lane;
		}
	return NULL;
}

/* The best lane for a request to the image's server: one connected to it, else one not connected,
 * else the one idle longest. */
static struct lane *find_lane(struct image *image)
{
	struct lane *best = NULL;
	struct image_target target;
	const char *why;
	int best_rank = 3;

	if (!image_target(&target, image, clock_now, &why))
		target.url.host[0] = '\0'; /* ask() will say so */
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		int rank = http_is_connected(&lane->http, &target.url, target.proxy) ? 0
			   : lane->http.fd < 0					     ? 1
										     : 2;
		if (lane->state == LANE_FREE &&
			(rank < best_rank ||
				(rank == best_rank && best && lane->freed < best->freed))) {
			best = lane;
			best_rank = rank;
		}
	}
	return best ? best : steal_lane(image);
}

/* The lane that fetches the byte at `pos` of the file. */
static const struct lane *covering_lane(unsigned file, uint64_t pos)
{
	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state != LANE_FREE && lane->file == (int)file && lane->base <= pos &&
			pos < page_up(lane->end))
			return lane;
	return NULL;
}

/* Where the lanes of the file begin next behind `from`, at most `end`. */
static uint64_t free_until(unsigned file, uint64_t from, uint64_t end)
{
	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state != LANE_FREE && lane->file == (int)file && lane->base > from &&
			lane->base < end)
			end = lane->base;
	return end;
}

static bool may_ask(const struct image *image)
{
	return !image->changed && clock_now >= image->not_before;
}

/* Starts asking for the size of images that are being opened. */
static void start_opens(void)
{
	for (struct file *f = files; f < files + FILES_MAX; f++) {
		struct image *image = f->image;
		struct lane *lane;

		if (!f->used || !f->opening || !may_ask(image) || lanes_of(image) > 0)
			continue;
		lane = find_lane(image);
		if (lane)
			start_lane(lane, image, NO_FILE, 0, page > EROFS_HEAD ? page : EROFS_HEAD);
	}
}

/* The READ to serve next: of the image with the fewest lanes, the oldest. */
static struct read *next_read(void)
{
	struct read *best = NULL;
	unsigned best_lanes = 0;

	for (struct read *r = reads; r < reads + READS_MAX; r++) {
		const struct file *f = &files[r->file];
		unsigned n;

		if (!r->used || (f->whole && !f->filled) || !may_ask(f->image) ||
			covering_lane(r->file, r->pos))
			continue;
		n = lanes_of(f->image);
		if (!best || n < best_lanes || (n == best_lanes && r->sequence < best->sequence)) {
			best = r;
			best_lanes = n;
		}
	}
	return best;
}

/* Starts a lane for the first hole in the READ's range. Returns false when no lane is free. */
static bool start_read(struct read *r)
{
	struct image *image = files[r->file].image;
	uint64_t hole_end = r->end;
	int64_t hole = front->hole(r->file, r->pos, r->end, &hole_end);
	struct lane *lane;

	if (hole < 0)
		hole = (int64_t)r->pos; /* it cannot tell: fetch all of it */
	if ((uint64_t)hole > r->pos) {
		advance_reads(r->file, r->pos, page_down((uint64_t)hole));
		if (page_down((uint64_t)hole) > r->pos || !r->used)
			return true;
	}
	lane = find_lane(image);
	if (!lane)
		return false;
	hole_end = free_until(r->file, r->pos, page_up(hole_end));
	start_lane(
		lane, image, (int)r->file, r->pos, hole_end < image->size ? hole_end : image->size);
	return true;
}

static void start_reads(void)
{
	struct read *r;

	for (r = reads; r < reads + READS_MAX; r++) {
		const struct file *f = &files[r->file];
		if (r->used && !(f->whole && !f->filled) && r->pos >= image_end(f->image))
			serve_tail(r);
	}
	while (reads_used > 0 && (r = next_read()) && start_read(r))
		;
}

/* ---- images that are written whole ---- */

static bool is_filling(const struct file *f)
{
	return f->used && !f->opening && f->whole && !f->filled && !f->image->changed;
}

/* One lane is kept for READs, if there is more than one. */
static bool may_fill(void)
{
	unsigned busy = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		busy += lane->state != LANE_FREE;
	return busy == 0 || busy + 1 < conf->connections;
}

static void file_filled(struct file *f)
{
	f->filled = true;
	log_info("%.*s: all %llu bytes are cached", IMAGE_NAME(f->image),
		(unsigned long long)f->image->size);
	advance_reads((unsigned)(f - files), 0, image_end(f->image));
}

/* Nothing is left to ask for from the cursor on: looks once more from the beginning. */
static void check_filled(struct file *f)
{
	unsigned file = (unsigned)(f - files);
	uint64_t hole_end, end = image_end(f->image);
	int64_t hole;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state != LANE_FREE && lane->file == (int)file)
			return;
	hole = front->hole(file, 0, end, &hole_end);
	if (hole < 0)
		f->fill_after = clock_now + WRITE_AGAIN;
	else if ((uint64_t)hole < end)
		f->cursor = page_down((uint64_t)hole);
	else
		file_filled(f);
}

/* Gives the next piece to a lane. Returns false when there is none now. */
static bool fill_on(struct file *f)
{
	unsigned file = (unsigned)(f - files);
	uint64_t from, hole_end, end = image_end(f->image);
	const struct lane *covering;
	struct lane *lane;
	int64_t hole =
		f->cursor < end ? front->hole(file, f->cursor, end, &hole_end) : (int64_t)end;

	if (hole < 0) {
		f->fill_after = clock_now + WRITE_AGAIN;
		return false;
	}
	from = page_down((uint64_t)hole);
	if (from >= end) {
		f->cursor = end;
		check_filled(f);
		return f->cursor < end;
	}
	covering = covering_lane(file, from);
	if (covering) {
		f->cursor = page_up(covering->end);
		return true;
	}
	lane = find_lane(f->image);
	if (!lane)
		return false;
	hole_end = page_up(hole_end) < from + FILL_SIZE ? page_up(hole_end) : from + FILL_SIZE;
	hole_end = free_until(file, from, hole_end);
	f->cursor = hole_end;
	start_lane(lane, f->image, (int)file, from,
		hole_end < f->image->size ? hole_end : f->image->size);
	return true;
}

static void fill_files(void)
{
	for (struct file *f = files; f < files + FILES_MAX; f++) {
		if (!is_filling(f))
			continue;
		while (!f->filled && may_ask(f->image) && clock_now >= f->fill_after &&
			may_fill() && fill_on(f))
			;
		if (!f->filled && clock_now - f->told >= PROGRESS) {
			f->told = clock_now;
			log_info("%.*s: %llu of %llu bytes are asked for or cached",
				IMAGE_NAME(f->image), (unsigned long long)f->cursor,
				(unsigned long long)f->image->size);
		}
	}
}

/* ---- patience ---- */

/* Since when the READ has waited without any byte of it coming. */
static int64_t waiting_since(const struct read *r)
{
	const struct lane *lane = covering_lane(r->file, r->pos);
	const struct file *f = &files[r->file];
	int64_t since = r->since;

	if (lane && lane->data_at > since)
		since = lane->data_at;
	if (f->whole && !f->filled && f->since > since)
		since = f->since;
	return since;
}

/* A READ fails when its image's servers have failed for all of the time-out: its own, or that of a
 * spell which had begun before it came, once an attempt that began after it has failed as well. */
static bool has_expired(const struct read *r)
{
	const struct image *image = files[r->file].image;

	if (image->last_failure >= r->since && clock_now - waiting_since(r) >= image_patience())
		return true;
	return image->failures > 0 && image->last_began >= r->since &&
	       clock_now - image->failing_since >= image_patience();
}

static void expire(void)
{
	for (struct read *r = reads; r < reads + READS_MAX && reads_used > 0; r++) {
		struct image *image = r->used ? files[r->file].image : NULL;

		if (!r->used)
			continue;
		image_tell(image, clock_now);
		if (!has_expired(r))
			continue;
		if (image->reads_failed++ == 0)
			log_err("%.*s: the READ of %llu bytes at %llu failed after %u s: %s",
				IMAGE_NAME(image), (unsigned long long)(r->end - r->pos),
				(unsigned long long)r->pos, conf->timeout, image->why);
		end_read(r);
	}
	for (struct file *f = files; f < files + FILES_MAX; f++) {
		if (!f->used || !f->opening)
			continue;
		image_tell(f->image, clock_now);
		if (f->image->last_failure >= f->since && clock_now - f->since >= image_patience())
			refuse_open(f);
	}
}

/* ---- the public functions ---- */

size_t fetch_memory(const struct conf *c, size_t *alignment)
{
	size_t unit = (size_t)sysconf(_SC_PAGESIZE);

	*alignment = unit;
	return unit + c->connections * CONN_BUFFER +
	       c->connections * (round_to(sizeof(struct lane), 16) + round_to(tls_size(), 16));
}

void fetch_init(const struct conf *c, const struct front *f, void *memory)
{
	char *next = memory;

	conf = c;
	front = f;
	images_init(c);
	page = (size_t)sysconf(_SC_PAGESIZE);
	zeros = next;
	next += page;
	lanes = (struct lane *)(next + c->connections * CONN_BUFFER);
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		lane->buffer = next;
		next += CONN_BUFFER;
	}
	next = (char *)lanes + round_to(c->connections * sizeof(struct lane), 16);
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		http_init(&lane->http, next);
		lane->slot = -1;
		next += round_to(tls_size(), 16);
	}
}

void fetch_set_whole(enum fetch_whole whole)
{
	whole_rule = whole;
}

void fetch_open(unsigned file, const char *volume, const void *cookie, size_t cookie_size)
{
	struct image *image = image_get(volume, cookie, cookie_size);

	files[file] =
		(struct file){.used = true, .opening = true, .image = image, .since = clock_now};
	if (image->ready)
		file_opened(&files[file]);
}

void fetch_close(unsigned file)
{
	struct file *f = &files[file];

	for (struct read *r = reads; r < reads + READS_MAX; r++)
		if (r->used && r->file == file) {
			r->used = false;
			reads_used--;
		}
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state != LANE_FREE && lane->file == (int)file)
			free_lane(lane);
	f->used = false;
	release_image(f->image);
}

static void drop_read(uint32_t id)
{
	for (struct read *r = reads; r < reads + READS_MAX; r++)
		if (r->used && r->id == id) {
			r->used = false;
			reads_used--;
		}
}

void fetch_read(unsigned file, uint32_t id, uint64_t offset, uint64_t size)
{
	const struct image *image = files[file].image;
	uint64_t end = image_end(image);
	struct read *r = reads;

	drop_read(id);
	if (image->changed || size == 0 || offset > INT64_MAX - (uint64_t)page ||
		size > INT64_MAX - (uint64_t)page - offset) {
		front->complete(file, id);
		return;
	}
	while (r->used)
		r++;
	*r = (struct read){.used = true,
		.file = file,
		.id = id,
		.pos = page_down(offset),
		.end = page_up(offset + size),
		.since = clock_now,
		.sequence = ++sequence};
	if (r->pos < end && r->end > end)
		r->end = end; /* the kernel asks again for what lies behind the image */
	reads_used++;
}

enum outcome fetch_outcome(unsigned file, const char **why)
{
	const struct image *image = files[file].image;

	*why = image->why;
	return image->changed ? OUTCOME_CHANGED : image->outcome;
}

void fetch_stop(void)
{
	for (struct read *r = reads; r < reads + READS_MAX; r++)
		if (r->used)
			end_read(r);
}

bool fetch_full(void)
{
	return reads_used == READS_MAX;
}

size_t fetch_poll(struct pollfd out[CONNECTIONS_MAX])
{
	size_t n = 0;

	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		lane->slot = -1;
		if (http_fd(&lane->http) < 0 || http_events(&lane->http) == 0 ||
			lane->state == LANE_PAUSED || lane->state == LANE_WRITING)
			continue;
		lane->slot = (int)n;
		out[n++] = (struct pollfd){
			.fd = http_fd(&lane->http), .events = http_events(&lane->http)};
	}
	return n;
}

static int64_t lane_next(const struct lane *lane)
{
	switch (lane->state) {
	case LANE_FREE:
		break;
	case LANE_PAUSED:
		return lane->resume;
	case LANE_WRITING:
		return lane->write_after;
	case LANE_ASKING:
		return lane->write_since ? sooner(lane->write_after, http_next(&lane->http))
					 : http_next(&lane->http);
	}
	return INT64_MAX;
}

int64_t fetch_next(void)
{
	int64_t next = reads_used > 0 ? clock_now + TICK : INT64_MAX;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		next = sooner(next, lane_next(lane));
	for (const struct file *f = files; f < files + FILES_MAX; f++) {
		if (!f->used || !(f->opening || is_filling(f) || reads_used > 0))
			continue;
		if (f->opening || is_filling(f))
			next = sooner(next, clock_now + TICK);
		if (f->image->not_before > clock_now)
			next = sooner(next, f->image->not_before);
		if (f->fill_after > clock_now)
			next = sooner(next, f->fill_after);
	}
	return next;
}

void fetch_run(const struct pollfd *polled, int64_t now)
{
	clock_now = now;
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (is_due(lane, polled))
			run_lane(lane);
	expire();
	start_opens();
	start_reads();
	fill_files();
	/* Those that have just begun get as far as they can before the loop waits. */
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->started)
			run_lane(lane);
}
