#include "fetch/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/memory.h"
#include "base/clock.h"
#include "image/erofs.h"
#include "http.h"
#include "fetch/bandwidth.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/page.h"
#include "fetch/reads.h"

/* Milliseconds. */
#define STALL_MAX      10000 /* an attempt without a byte for so long has failed */
#define STALL_MIN      1000
#define PAUSE_FIRST    100 /* before a lane goes on whose body was cut again and again */
#define PAUSE_LAST     2000
#define WRITE_SOON     2    /* the cache file is not ready */
#define WRITE_AGAIN    20   /* or full */
#define WRITE_PATIENCE 5000 /* full for so long: it is unwritable, but with `retry hard` */
#define STEAL_AFTER    1000 /* a lane without a byte for so long is given to another image */

/* Bodies cut after some bytes: so often the rest is asked for at once. */
#define CUTS_AT_ONCE 3

/* A 206 of fewer bytes than this, of a page or more, is hardly an answer. */
#define TINY_PART 64

/* To connect and greet takes some round trips: so many, as far as choosing a lane goes. */
#define CONNECT_ROUND_TRIPS 3

/* What a request costs a server, as bytes of the link: small ones are not free. */
#define REQUEST_COST 8192

/* What a lane fetches that is no file. */
#define SIZE_ONLY (-1)
#define TEXT_ONLY (-2)

/* Ranges of a lane: the one that is coming and those behind it. */
#define RANGES (1 + PIPELINE_MAX)

enum lane_state {
	LANE_FREE,
	LANE_ASKING,  /* requests are under way */
	LANE_PAUSED,  /* between two requests for the same range */
	LANE_WRITING, /* all bytes of the range are here, the last are not written yet */
	LANE_ENDED,   /* lanes_run() has to return what came of SIZE_ONLY or TEXT_ONLY */
};

struct range {
	uint64_t from, end; /* whole pages, but for the image's end */
};

/* A connection, its buffer, and the ranges that it fetches. */
struct lane {
	struct http http;
	char *buffer; /* capacity.buffer bytes, page-aligned */
	enum lane_state state;
	struct image *image;
	int file; /* or SIZE_ONLY, TEXT_ONLY */
	struct range ranges[RANGES];
	unsigned count;	    /* of the ranges; the first is the one that is coming */
	uint64_t base;	    /* where in the image buffer[0] belongs: a page's boundary */
	size_t fill;	    /* bytes in the buffer */
	uint64_t attempted; /* base + fill when the request under way began */
	unsigned cuts;	    /* requests in a row that ended early */
	unsigned hops;	    /* redirects in a row */
	bool redirected;    /* asks a redirect's target, not the configured URL */
	unsigned mirror;    /* the url line that is asked */
	int64_t asked_at;   /* when the request began */
	int64_t measured;   /* microseconds: the same, if nothing else was under way; 0: not so */
	int64_t data_at;    /* when the last page's worth of bytes came; 0: none yet */
	uint64_t credited;  /* how far the range had come then */
	int64_t resume;	    /* LANE_PAUSED: when to go on */
	int64_t write_after;
	int64_t write_since; /* when writing first failed; 0: it does not */
	int64_t freed;
	int slot;	/* its place in the poll set of this turn; -1: none */
	bool started;	/* this turn: it has to run once without waiting */
	bool beginning; /* LANE_WRITING: what came while the image was opened */
};

static const struct conf *conf;
static struct lane *lanes;

/* ---- numbers ---- */

static struct lane *end_of_lanes(void)
{
	return lanes + capacity.connections;
}

static uint64_t lane_pos(const struct lane *lane)
{
	return lane->base + lane->fill;
}

static uint64_t lane_end(const struct lane *lane)
{
	return lane->ranges[0].end;
}

static bool is_for_file(const struct lane *lane, unsigned file)
{
	return lane->state != LANE_FREE && lane->file == (int)file;
}

static bool is_stalled(const struct lane *lane)
{
	return lane->state == LANE_PAUSED ||
	       (lane->state == LANE_ASKING && turn.ms - lane->http.progress >= STEAL_AFTER);
}

/* Bytes that the lane has asked for and not got. */
static uint64_t outstanding(const struct lane *lane)
{
	uint64_t n = 0;

	if (lane->state == LANE_FREE || lane->state == LANE_ENDED)
		return 0;
	for (unsigned i = 0; i < lane->count; i++)
		n += lane->ranges[i].end - lane->ranges[i].from;
	return n - (lane_pos(lane) - lane->ranges[0].from);
}

/* ---- the ends of a lane's work ---- */

static void free_lane(struct lane *lane)
{
	if (lane->http.state != HTTP_IDLE)
		http_close(&lane->http);
	lane->state = LANE_FREE;
	lane->freed = turn.ms;
}

/* Frees a lane whose ranges are not complete. */
static void drop_lane(struct lane *lane)
{
	uint64_t from = lane->base;

	free_lane(lane);
	if (lane->file < 0)
		return;
	file_dropped(&files[lane->file], from);
	for (unsigned i = 1; i < lane->count; i++)
		file_dropped(&files[lane->file], lane->ranges[i].from);
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

/* An attempt of the lane at its image has come to nothing; the lane is free already. */
static void attempt_failed(struct lane *lane, enum outcome outcome, const char *why)
{
	struct failure failure = failure_of(lane, outcome, why);

	if (lane->file != TEXT_ONLY) {
		image_failed(lane->image, &failure, turn.ms);
		return;
	}
	log_debug("%.*s: there is none: %s", IMAGE_NAME(lane->image), why);
	lane->fill = 0;
	lane->state = LANE_ENDED;
}

/* ---- writing ---- */

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
		lane->write_since = turn.ms;
	lane->write_after =
		turn.ms + (turn.ms - lane->write_since < 100 ? WRITE_SOON : WRITE_AGAIN);
	if (error != -EAGAIN && error != -ENOSPC)
		return error;
	if (turn.ms - lane->write_since < WRITE_PATIENCE || image_patience() == INT64_MAX)
		return -EAGAIN;
	return error == -EAGAIN ? -ENOBUFS : error;
}

/* Writes what it can. Returns 0, -EAGAIN when it has to be called again later, or what is wrong. */
static int flush(struct lane *lane)
{
	size_t size;

	while ((size = writable(lane)) > 0) {
		struct file *f = &files[lane->file];
		ssize_t n = file_write(f, lane->buffer, size, lane->base);
		size_t taken;

		if (n < 0)
			return write_refused(lane, (int)n);
		lane->write_since = 0;
		taken = (size_t)n < lane->fill ? (size_t)n : lane->fill;
		memmove(lane->buffer, lane->buffer + taken, lane->fill - taken);
		lane->fill -= taken;
		lane->base += (uint64_t)n;
		reads_advance(number_of(f), lane->base - (uint64_t)n, lane->base);
	}
	return 0;
}

static void write_failed(struct lane *lane, int error)
{
	drop_lane(lane);
	file_unwritable(&files[lane->file], error);
	reads_fail((unsigned)lane->file, OUTCOME_NO_SPACE);
}

/* ---- asking ---- */

/* One attempt that stalls does not use up all of the patience. */
static int64_t stall_time(void)
{
	int64_t third = image_patience() / 3;

	return third > STALL_MAX ? STALL_MAX : third < STALL_MIN ? STALL_MIN : third;
}

static void lane_failed(struct lane *lane, enum outcome outcome, const char *why);

/* Hands the ranges behind the first one to the connection. */
static void ask_ahead(struct lane *lane)
{
	unsigned next;

	if (lane->http.state == HTTP_IDLE || !image_takes_pipelining(lane->mirror, turn.ms))
		return;
	while ((next = 1 + http_queued(&lane->http)) < lane->count &&
		http_pipeline(&lane->http, lane->ranges[next].from, lane->ranges[next].end - 1))
		image_asked(lane->image, lane->mirror);
}

/* Sends the request for what is missing of the lane's first range to the target. */
static void ask_target(struct lane *lane, const struct image_target *target)
{
	struct image *image = lane->image;
	struct http_request request = {
		.url = &target->url,
		.proxy = target->proxy,
		.fields = target->trusted ? conf->fields : NULL,
		.last = lane_end(lane) - 1,
		.if_range = image->ready ? image_validator(image) : NULL,
		.etag = image->ready && image->etag[0] ? image->etag : NULL,
		.user_agent = conf->user_agent,
		.stall = stall_time(),
	};
	size_t scratch;
	int error = lane->fill > 0 && lane->file >= 0 ? flush(lane) : 0;

	if (error && error != -EAGAIN) {
		write_failed(lane, error);
		return;
	}
	/* The space behind a partial page that is kept serves the TLS handshake. */
	scratch = round_to(lane->fill, 16);
	if (capacity.buffer - scratch < TLS_SCRATCH_MIN)
		lane->fill = scratch = 0;
	request.first = lane_pos(lane);
	lane->attempted = lane_pos(lane);
	lane->state = LANE_ASKING;
	lane->mirror = target->mirror;
	lane->redirected = target->redirected;
	lane->started = true;
	lane->asked_at = turn.ms;
	lane->measured = 0;
	if (http_is_connected(&lane->http, &target->url, target->proxy) &&
		lanes_outstanding() == outstanding(lane))
		lane->measured = turn.us;
	image_asked(image, lane->mirror);
	http_start(&lane->http, &request, lane->buffer + scratch, capacity.buffer - scratch, turn.ms);
	ask_ahead(lane);
}

/* The same to where the image is to be asked for now. */
static void ask(struct lane *lane)
{
	struct image_target target;
	const char *why;

	if (image_target(&target, lane->image, turn.ms, &why))
		ask_target(lane, &target);
	else
		lane_failed(lane, OUTCOME_LIMIT, why);
}

/* Begins with the lane's first range. */
static void begin_range(struct lane *lane)
{
	lane->base = lane->credited = lane->attempted = lane->ranges[0].from;
	lane->fill = 0;
	lane->cuts = 0;
}

/* `target`: where to ask; NULL: there is none, and the attempt fails. */
static void start_lane(struct lane *lane, const struct image_target *target, struct image *image,
	int file, struct range range)
{
	lane->image = image;
	lane->file = file;
	lane->ranges[0] = range;
	lane->count = 1;
	lane->hops = 0;
	lane->beginning = false;
	lane->data_at = 0;
	lane->write_after = lane->write_since = 0;
	begin_range(lane);
	if (target)
		ask_target(lane, target);
	else
		ask(lane);
}

/* The first range is here. If the next one begins where it ends, both are written together. */
static bool goes_straight_on(const struct lane *lane)
{
	return lane->count > 1 && lane->ranges[1].from == lane_end(lane) &&
	       lane->fill < capacity.buffer;
}

/* The first range is done with: on with the next, whose answer may be coming already. */
static void next_range(struct lane *lane)
{
	if (--lane->count == 0) {
		free_lane(lane);
		return;
	}
	memmove(lane->ranges, lane->ranges + 1, lane->count * sizeof(lane->ranges[0]));
	if (lane_pos(lane) == lane->ranges[0].from)
		lane->attempted = lane_pos(lane);
	else
		begin_range(lane);
	lane->cuts = 0;
	lane->state = LANE_ASKING;
	lane->started = true;
	if (lane->http.state == HTTP_IDLE) {
		ask(lane);
		return;
	}
	lane->asked_at = turn.ms;
	lane->measured = 0;
	ask_ahead(lane);
}

/* Whether the beginning is still to be written: not while it cannot be told, as before the kernel
 * has taken the answer to its OPEN. */
static bool is_wanted(struct lane *lane)
{
	uint64_t hole_end;
	int64_t hole = frontend->hole((unsigned)lane->file, 0, page_up(lane->fill), &hole_end);

	if (hole == 0)
		lane->beginning = false;
	else if (hole > 0)
		free_lane(lane);
	else
		lane->write_after = turn.ms + WRITE_SOON;
	return hole == 0;
}

/* Writes what has come; a range that is complete is done with then. */
static void write_lane(struct lane *lane)
{
	int error;

	if (lane->beginning && !is_wanted(lane))
		return;
	error = flush(lane);
	if (error == -EAGAIN)
		return;
	if (error)
		write_failed(lane, error);
	else if (lane->state == LANE_WRITING)
		next_range(lane);
}

void lane_write_head(struct lane *lane, int file)
{
	uint64_t end = lane_pos(lane) < lane->image->size ? page_down(lane->fill) : lane->fill;

	if (file < 0 || end == 0) {
		free_lane(lane);
		return;
	}
	lane->file = file;
	lane->fill = (size_t)end;
	lane->ranges[0] = (struct range){0, end};
	lane->state = LANE_WRITING;
	lane->beginning = true;
}

/* Frees a lane whose range is not complete; the whole pages that have come are kept. */
static void give_up_lane(struct lane *lane)
{
	if (lane->file >= 0)
		flush(lane);
	drop_lane(lane);
}

/* ---- what goes wrong ---- */

/* The body broke off. What has come is kept, to the byte, and the rest asked for, in the same lane.
 */
static void lane_cut(struct lane *lane, enum outcome outcome, const char *why)
{
	struct failure failure = failure_of(lane, outcome, why);

	image_cut(lane->image, &failure, turn.ms);
	log_debug("%.*s: %s; going on at byte %llu", IMAGE_NAME(lane->image), why,
		(unsigned long long)lane_pos(lane));
	lane->state = LANE_PAUSED;
	lane->resume = turn.ms;
	lane->cuts = lane_pos(lane) - lane->attempted < page_size() ? lane->cuts + 1 : 0;
	if (lane->cuts > CUTS_AT_ONCE)
		lane->resume += retry_delay(PAUSE_FIRST, PAUSE_LAST, lane->cuts - CUTS_AT_ONCE);
}

/* The server may have stumbled over requests that came before their turn. */
static bool blames_pipelining(const struct lane *lane, enum outcome outcome)
{
	return (lane->http.pipelined || lane->http.followed) &&
	       (outcome == OUTCOME_REFUSED || outcome == OUTCOME_TIMED_OUT) &&
	       image_takes_pipelining(lane->mirror, turn.ms);
}

static void ask_one_by_one(struct lane *lane)
{
	image_refuses_pipelining(lane->mirror, turn.ms);
	http_close(&lane->http);
	ask(lane);
}

static void lane_failed(struct lane *lane, enum outcome outcome, const char *why)
{
	struct image *image = lane->image;
	bool moved = lane_pos(lane) > lane->attempted;
	bool broke_off = outcome == OUTCOME_UNREACHABLE || outcome == OUTCOME_TIMED_OUT;

	if (blames_pipelining(lane, outcome)) {
		ask_one_by_one(lane);
	} else if (lane->redirected && lane->hops == 0 &&
		   (outcome == OUTCOME_NOT_FOUND || outcome == OUTCOME_DENIED)) {
		/* The target was remembered: a signed URL that has expired. Its origin gives
		 * another. */
		image_forget_redirect(image);
		ask(lane);
	} else if (lane->file >= 0 && lane_pos(lane) == lane_end(lane)) {
		lane->state = LANE_WRITING; /* only the end of the body was wrong */
	} else if (lane->file == SIZE_ONLY && broke_off && lane->fill >= EROFS_HEAD) {
		lane->state = LANE_ENDED; /* enough to know it by */
	} else if (lane->file >= 0 && broke_off && moved) {
		lane_cut(lane, outcome, why);
	} else {
		give_up_lane(lane);
		attempt_failed(lane, outcome, why);
	}
}

/* ---- what the server says ---- */

static void lane_started(struct lane *lane)
{
	struct image *image = lane->image;
	const struct response *response = &lane->http.response;
	char why[128];

	if (lane->measured)
		bandwidth_rtt_seen(turn.us - lane->measured, turn.us);
	if (lane->file < 0) {
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
	image_works(image, lane->mirror, turn.ms);
	ask_ahead(lane);
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
	image_received(lane->image, lane->mirror, got);
	bandwidth_received(got, lanes_outstanding(), turn.us);
	/* A page is progress; less may be a server that lets bytes trickle without end. */
	if (lane_pos(lane) >= lane->credited + page_size()) {
		lane->credited = lane_pos(lane);
		lane->data_at = turn.ms;
	}
	/* The image's last page is padded when it is written: nothing of it may be missing then. */
	if (lane->file >= 0 && turn.ms >= lane->write_after &&
		(lane->fill == capacity.buffer ||
			(lane_pos(lane) < lane->image->size &&
				reads_first_end((unsigned)lane->file, lane->base, lane_pos(lane)) <=
					lane_pos(lane))))
		write_lane(lane);
}

/* The response is over: all of it, or the server gave less than was asked for. Next to nothing of a
 * page and more is as good as a body that breaks off: it must not go on for ever. */
static void lane_ended(struct lane *lane)
{
	uint64_t asked = lane_end(lane) - lane->attempted, got = lane_pos(lane) - lane->attempted;

	if (lane->measured && lanes_outstanding() == 0)
		bandwidth_answered(got, turn.us - lane->measured);
	if (lane->file < 0)
		lane->state = LANE_ENDED;
	else if (got == asked && goes_straight_on(lane))
		next_range(lane);
	else if (got == asked)
		lane->state = LANE_WRITING;
	else if (lane->http.state != HTTP_IDLE)
		ask_one_by_one(lane); /* the rest would come out of turn */
	else if (got < TINY_PART && asked >= page_size())
		lane_cut(lane, OUTCOME_REFUSED, "the server sends next to nothing of a range");
	else
		ask(lane);
}

/* One step of a request under way. Returns false when it has to wait. */
static bool ask_on(struct lane *lane)
{
	size_t got;

	switch (http_run(&lane->http, lane->buffer + lane->fill, capacity.buffer - lane->fill, &got,
		turn.ms)) {
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
	case LANE_ENDED:
		return false;
	case LANE_PAUSED:
		return turn.ms >= lane->resume;
	case LANE_WRITING:
		return turn.ms >= lane->write_after;
	case LANE_ASKING:
		return lane->http.state == HTTP_RESOLVING || turn.ms >= http_next(&lane->http) ||
		       (lane->write_since && turn.ms >= lane->write_after);
	}
	return false;
}

static void run_lane(struct lane *lane)
{
	size_t got;

	lane->started = false;
	lane->slot = -1;
	if (lane->state == LANE_FREE)
		http_run(&lane->http, NULL, 0, &got, turn.ms);
	if (lane->state == LANE_PAUSED && turn.ms >= lane->resume)
		ask(lane);
	if (lane->state == LANE_ASKING && lane->write_since && turn.ms >= lane->write_after)
		write_lane(lane);
	do {
		while (lane->state == LANE_ASKING && ask_on(lane))
			;
		if (lane->state == LANE_WRITING && turn.ms >= lane->write_after)
			write_lane(lane);
	} while (lane->state == LANE_ASKING && lane->started && !(lane->started = false));
}

/* ---- who gets a lane ---- */

unsigned lanes_of(const struct image *image)
{
	unsigned n = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		n += lane->state != LANE_FREE && lane->image == image;
	return n;
}

void lanes_steal(const struct image *image)
{
	if (lanes_of(image) > 0)
		return;
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->image != image && is_stalled(lane)) {
			give_up_lane(lane);
			attempt_failed(lane, OUTCOME_TIMED_OUT,
				"the server sends nothing while others wait");
			return;
		}
}

/* The best idle lane for a request to the target: one connected to it, else one not connected, else
 * the one idle longest. */
static struct lane *find_idle(const struct image_target *target, bool *connected)
{
	struct lane *best = NULL;
	int best_rank = 3;

	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		int rank = target && http_is_connected(&lane->http, &target->url, target->proxy) ? 0
			   : lane->http.fd < 0							 ? 1
					       : 2;
		if (lane->state == LANE_FREE &&
			(rank < best_rank ||
				(rank == best_rank && best && lane->freed < best->freed))) {
			best = lane;
			best_rank = rank;
		}
	}
	*connected = best_rank == 0;
	return best;
}

/* Whether a further range can be put behind those of the lane. */
static bool can_follow(
	const struct lane *lane, const struct image *image, unsigned file, unsigned behind)
{
	return is_for_file(lane, file) && lane->image == image && lane->count <= behind &&
	       lane->count < RANGES && lane->state == LANE_ASKING &&
	       image_takes_pipelining(lane->mirror, turn.ms);
}

/* What comes before a range that is put behind those of the lane, in bytes: all busy lanes share
 * the link. */
static uint64_t bytes_before(const struct lane *lane, unsigned busy)
{
	uint64_t n = (outstanding(lane) + lane->count * REQUEST_COST) * busy;

	if (lane->http.state < HTTP_SENDING)
		n += CONNECT_ROUND_TRIPS * bandwidth_per_rtt();
	return n;
}

static struct lane *find_busy(
	const struct image *image, unsigned file, unsigned behind, uint64_t *before)
{
	struct lane *best = NULL;
	unsigned busy = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		busy += lane->state != LANE_FREE;
	*before = UINT64_MAX;
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		uint64_t n = can_follow(lane, image, file, behind) ? bytes_before(lane, busy)
								   : UINT64_MAX;

		if (n < *before) {
			best = lane;
			*before = n;
		}
	}
	return best;
}

/* Whether a READ or OPEN of another image waits that no lane works for: then none takes more work.
 */
static bool is_another_starved(const struct image *image)
{
	for_each_read(r)
	{
		const struct file *f = &files[r->file];

		if (f->image != image && image_may_be_asked(f->image, turn.ms) && !is_held(f) &&
			lanes_of(f->image) == 0)
			return true;
	}
	for (const struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->opening && f->image != image &&
			image_may_be_asked(f->image, turn.ms) && lanes_of(f->image) == 0)
			return true;
	return false;
}

bool lanes_may_ask_ahead(const struct file *f)
{
	return f->used && !f->opening && image_may_be_asked(f->image, turn.ms) &&
	       turn.ms >= f->ahead_after && !is_another_starved(f->image);
}

/* Where to ask for the image; NULL when its name makes no URL, which the attempt will tell. */
static const struct image_target *find_target(struct image_target *target, struct image *image)
{
	const char *why;

	return image_target(target, image, turn.ms, &why) ? target : NULL;
}

uint64_t lane_ask(struct file *f, uint64_t from, uint64_t end, unsigned behind)
{
	struct image_target space;
	const struct image_target *target = find_target(&space, f->image);
	bool connected;
	uint64_t before;
	unsigned file = number_of(f);
	struct lane *idle = find_idle(target, &connected), *busy;
	struct range range = {from, least_of(end = lanes_until(file, from, end), f->image->size)};

	busy = find_busy(f->image, file, is_another_starved(f->image) ? 0 : behind, &before);
	if (busy && idle && (connected || before > CONNECT_ROUND_TRIPS * bandwidth_per_rtt()))
		busy = NULL;
	if (!busy && !idle)
		return 0;
	if (busy) {
		busy->ranges[busy->count++] = range;
		busy->started = true;
		ask_ahead(busy);
	} else {
		start_lane(idle, target, f->image, (int)file, range);
	}
	return end;
}

static bool ask_beginning(struct image *image, int file, uint64_t size)
{
	struct image_target space;
	const struct image_target *target = find_target(&space, image);
	bool connected;
	struct lane *lane = find_idle(target, &connected);

	if (lane)
		start_lane(lane, target, image, file, (struct range){0, size});
	return lane;
}

bool lane_ask_size(struct image *image)
{
	return ask_beginning(image, SIZE_ONLY, page_size() > EROFS_HEAD ? page_size() : EROFS_HEAD);
}

bool lane_ask_text(struct image *image)
{
	return ask_beginning(image, TEXT_ONLY, capacity.buffer);
}

/* ---- what is under way ---- */

uint64_t lanes_cover(unsigned file, uint64_t pos)
{
	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		for (unsigned i = 0; is_for_file(lane, file) && i < lane->count; i++) {
			const struct range *r = &lane->ranges[i];

			if ((i == 0 ? lane->base : r->from) <= pos && pos < page_up(r->end))
				return page_up(r->end);
		}
	return 0;
}

int64_t lanes_progress(unsigned file, uint64_t pos)
{
	int64_t latest = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		for (unsigned i = 0; is_for_file(lane, file) && i < lane->count; i++)
			if (lane->ranges[i].from <= pos && pos < page_up(lane->ranges[i].end))
				latest = later(latest, lane->data_at);
	return latest;
}

uint64_t lanes_until(unsigned file, uint64_t from, uint64_t end)
{
	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		for (unsigned i = 0; is_for_file(lane, file) && i < lane->count; i++) {
			uint64_t begin = i == 0 ? lane->base : lane->ranges[i].from;

			if (begin > from && begin < end)
				end = begin;
		}
	return end;
}

bool lanes_busy(unsigned file)
{
	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (is_for_file(lane, file))
			return true;
	return false;
}

uint64_t lanes_outstanding(void)
{
	uint64_t n = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		n += is_stalled(lane) ? 0 : outstanding(lane);
	return n;
}

void lanes_drop_file(unsigned file)
{
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (is_for_file(lane, file))
			free_lane(lane);
}

void lanes_drop_image(const struct image *image)
{
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state != LANE_FREE && lane->image == image)
			free_lane(lane);
}

unsigned lanes_connected(void)
{
	unsigned n = 0;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		n += http_fd(&lane->http) >= 0;
	return n;
}

void lanes_hang_up(void)
{
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->state == LANE_FREE)
			http_close(&lane->http);
}

/* ---- memory and the loop ---- */

size_t lanes_memory_each(void)
{
	return round_to(sizeof(struct lane), 16) + round_to(tls_size(), 16);
}

void lanes_init(const struct conf *c, void *memory)
{
	char *buffer = memory;
	char *tls;

	conf = c;
	lanes = (struct lane *)(buffer + capacity.connections * capacity.buffer);
	tls = (char *)lanes + round_to(capacity.connections * sizeof(struct lane), 16);
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		lane->buffer = buffer;
		buffer += capacity.buffer;
		http_init(&lane->http, tls);
		tls += round_to(tls_size(), 16);
		lane->slot = -1;
	}
}

/* How many more bytes it takes until the lane has something to do. The first of an answer that is
 * measured are waited for as such. */
static size_t enough(const struct lane *lane)
{
	uint64_t pos = lane_pos(lane), end = lane_end(lane), wanted;

	if (lane->file < 0 || pos >= end || (lane->measured && lane->http.state == HTTP_AWAITING))
		return 1;
	if (end > lane->base + capacity.buffer)
		end = lane->base + capacity.buffer;
	wanted = reads_first_end((unsigned)lane->file, lane->base, end);
	return (size_t)((wanted > pos && wanted < end ? wanted : end) - pos);
}

size_t lanes_poll(struct pollfd out[CONNECTIONS_MAX])
{
	size_t n = 0;

	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		lane->slot = -1;
		if (http_fd(&lane->http) < 0 || http_events(&lane->http) == 0 ||
			lane->state == LANE_PAUSED || lane->state == LANE_WRITING)
			continue;
		if (lane->state == LANE_ASKING)
			http_wait_for(&lane->http, enough(lane));
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
	case LANE_ENDED:
		return 0;
	case LANE_ASKING:
		return lane->write_since ? sooner(lane->write_after, http_next(&lane->http))
					 : http_next(&lane->http);
	}
	return INT64_MAX;
}

int64_t lanes_next(void)
{
	int64_t next = INT64_MAX;

	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		next = sooner(next, lane_next(lane));
	return next;
}

static enum lane_event take_result(struct lane *lane, struct lane_result *out)
{
	bool is_text = lane->file == TEXT_ONLY;

	*out = (struct lane_result){
		.image = lane->image,
		.bytes = lane->buffer,
		.size = lane->fill,
		.whole = (uint64_t)lane->http.response.total == lane->fill,
		.url = &lane->http.url,
		.lane = lane,
	};
	if (is_text)
		free_lane(lane);
	return is_text ? LANE_TEXT : LANE_OPENED;
}

enum lane_event lanes_run(const struct pollfd *polled, struct lane_result *out)
{
	for (struct lane *lane = lanes; lane < end_of_lanes(); lane++) {
		if (is_due(lane, polled))
			run_lane(lane);
		if (lane->state == LANE_ENDED)
			return take_result(lane, out);
	}
	return LANES_WAIT;
}

bool lanes_unfinished(void)
{
	for (const struct lane *lane = lanes; lane < end_of_lanes(); lane++)
		if (lane->started || lane->state == LANE_ENDED)
			return true;
	return false;
}
