#include "fetch/transfer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/page.h"
#include "image/erofs.h"
#include "fetch/bandwidth.h"
#include "fetch/flush.h"
#include "fetch/reads.h"
#include "fetch/refused.h"

/* Milliseconds. */
#define STALL_MAX   10000 /* a request without a byte for this long has failed, */
#define STALL_MIN   1000  /* or for a third of the time-out of READs, but at least this long */
#define PAUSE_FIRST 100	  /* before the rest of a body that was cut again and again */
#define PAUSE_LAST  2000
#define WRITE_SOON  2 /* until a cache file that is not ready is looked at again */

/* Bytes in flight on other connections that delay a response by next to nothing. */
#define BESIDE (32 << 10)

/* After this many bodies in a row that were cut, the rest is not requested at once. */
#define INTERRUPTIONS_AT_ONCE 3

/* A 206 of fewer bytes than this counts as a cut body, where there is room for more. */
#define TINY_PART 64

/* A sentence that names a block and the root hash. */
#define UNFIT_WORDS 256

static const char *const cut_tree = "the file ends before the tree does";

static const struct conf *conf;
struct transfer *transfers;

/* ---- numbers ---- */

static uint64_t position(const struct transfer *t)
{
	return t->base + t->buffered;
}

static uint64_t range_end(const struct transfer *t)
{
	return t->ranges[0].end;
}

/* Where the part begins in the file's offsets. */
static uint64_t part_base(const struct transfer *t)
{
	return t->part == PART_TREE ? TREE_BASE : 0;
}

bool transfer_is_for(const struct transfer *t, unsigned file)
{
	return t->state != TRANSFER_FREE && t->file == (int)file;
}

uint64_t transfer_outstanding(const struct transfer *t)
{
	uint64_t n = 0;

	if (t->state == TRANSFER_FREE || t->state == TRANSFER_ENDED)
		return 0;
	for (unsigned i = 0; i < t->count; i++)
		n += t->ranges[i].end - t->ranges[i].from;
	/* A last page that is left out ends behind the image. */
	return n - min_u64(n, position(t) - t->ranges[0].from);
}

/* As transfers_outstanding(), of all but this one. */
static uint64_t outstanding_beside(const struct transfer *one)
{
	uint64_t n = 0;

	for_each_transfer (t)
		n += t == one || transfer_is_stalled(t) ? 0 : transfer_outstanding(t);
	return n;
}

uint64_t transfers_outstanding(void)
{
	return outstanding_beside(NULL);
}

/* ---- the ends of a transfer's work ---- */

void transfer_free(struct transfer *t)
{
	if (t->http.state != HTTP_IDLE)
		http_close(&t->http);
	t->state = TRANSFER_FREE;
	t->lacks = 0;
	t->freed = turn.ms;
}

void transfer_drop(struct transfer *t)
{
	uint64_t from = t->base;

	transfer_free(t);
	if (t->file < 0)
		return;
	file_dropped(&files[t->file], from);
	for (unsigned i = 1; i < t->count; i++)
		file_dropped(&files[t->file], t->ranges[i].from);
}

/* The failure of an attempt, with the server that is to blame for it. */
static struct failure blame(const struct transfer *t, enum outcome outcome, const char *why)
{
	static char text[MIRROR_WHY_MAX];
	char server[REQUEST_SERVER_MAX];
	size_t size = strlen(http_server(&t->http, server)), room = sizeof(text) - 64;

	http_blame(&t->http);
	size = size < room / 2 ? size : room / 2;
	snprintf(text, sizeof(text), size ? "%s%.*s (%.*s)" : "%s%.*s", transfer_parts[t->part],
		(int)(room - size), why, (int)size, server);
	return (struct failure){
		.outcome = outcome,
		/* Where the image's name makes no URL, no server was asked. */
		.why = outcome == OUTCOME_LIMIT && why != t->http.why ? why : text,
		.mirror = t->mirror,
		.redirected = t->redirected,
		.began = t->asked_at,
		.retry_after = outcome == OUTCOME_BUSY ? t->http.retry_after : 0,
		.several = t->http.race.count > 1,
		.server = t->server,
	};
}

/* READs that wait for its ranges are told that they have been tried. */
static void tried(const struct transfer *t)
{
	for (unsigned i = 0; t->file >= 0 && i < t->count; i++)
		reads_tried((unsigned)t->file, t->ranges[i].from, t->ranges[i].end, t->asked_at);
}

/* Whether the server denies that there is a block of a tree which has begun. */
static bool is_cut(const struct transfer *t)
{
	return t->part == PART_TREE && t->http.response.status == 416 &&
	       image_tree(t->image)->begun;
}

/* An attempt has failed; its transfer is free already. */
static void attempt_failed(struct transfer *t, enum outcome outcome, const char *why)
{
	if (t->file != TEXT_ONLY) {
		/* Where bytes are verified, who names another size lies, and may be right again. */
		struct tree *tree = image_tree(t->image);
		bool lies = outcome == OUTCOME_CHANGED && tree, cut = is_cut(t);
		struct failure failure =
			blame(t, lies || cut ? OUTCOME_UNVERIFIED : outcome, cut ? cut_tree : why);

		if (tree && !t->image->ready)
			tree->doubted = true;
		tried(t);
		mirror_failed(t->image, &failure, turn.ms);
		return;
	}
	log_debug("%s: there is none: %s", image_name(t->image), why);
	t->buffered = 0;
	t->state = TRANSFER_ENDED;
}

/* ---- writing ---- */

/* Forgets what came of a body that has not ended as it has to. */
static void drop_provisional(struct transfer *t)
{
	assert(!t->provisional || t->base <= t->attempted);
	if (t->provisional)
		t->buffered = (size_t)(t->attempted - t->base);
	t->provisional = false;
}

/* The file takes no bytes: its READs fail. */
static void write_failed(struct transfer *t, int error)
{
	transfer_drop(t);
	file_unwritable(&files[t->file], error);
	reads_fail((unsigned)t->file, OUTCOME_NO_SPACE);
}

/* ---- asking ---- */

static void request_failed(struct transfer *t, enum outcome outcome, const char *why);
static void unfit(struct transfer *t, const struct file_fault *fault);

/* Hands the ranges behind the first one to the connection. */
static void ask_ahead(struct transfer *t)
{
	unsigned next;

	if (t->http.state == HTTP_IDLE || !mirror_takes_pipelining(t->server, turn.ms))
		return;
	while ((next = 1 + t->http.queued) < t->count &&
		http_pipeline(&t->http, t->ranges[next].from - part_base(t),
			t->ranges[next].end - 1 - part_base(t)))
		mirror_asked(t->image, t->server);
}

/* Whether the image's version is known: an open image's is, and that of one whose first bytes have
 * begun to come. */
static bool is_pinned(const struct transfer *t)
{
	return t->part == PART_IMAGE && (t->file >= 0 || t->buffered > 0);
}

/* Of bytes that are verified, one block is from one mirror, which is to blame for it. */
static void change_mirror(struct transfer *t, unsigned mirror)
{
	if (t->mirror != mirror && image_tree(t->image) && t->part != PART_ROOTHASH)
		t->buffered = 0;
}

/* Makes room in the buffer for an answer of the target. False: the transfer is not to ask now. */
static bool make_room(struct transfer *t, const struct mirror_target *target)
{
	struct file_fault fault;
	int error;
	bool full;

	change_mirror(t, target->mirror);
	error = t->buffered > 0 && t->file >= 0 ? flush(t, &fault) : 0;
	/* The space behind a partial page that is kept serves the TLS handshake. */
	full = capacity.buffer - t->buffered < (target->url.https ? TLS_SCRATCH_MIN : 1);
	if (error == -EBADMSG) {
		unfit(t, &fault);
		return false;
	}
	if (error && error != -EAGAIN) {
		write_failed(t, error);
		return false;
	}
	if (full && error) {
		t->state = TRANSFER_PAUSED;
		t->resume = t->lacks ? turn.ms + WRITE_SOON : t->write_after;
		return false;
	}
	if (full)
		t->buffered = 0;
	if (full && t->goes_on && position(t) <= t->attempted) {
		request_failed(t, OUTCOME_REFUSED, "the server sends too little at a time");
		return false;
	}
	return true;
}

/* Requests the missing part of the first range from the target. */
static void ask_target(struct transfer *t, const struct mirror_target *target)
{
	struct image *image = t->image;
	struct http_request request = {
		.url = &target->url,
		.userinfo = target->userinfo,
		.proxy = target->proxy,
		.fields = target->trusted ? conf->fields : NULL,
		.last = range_end(t) - 1 - part_base(t),
		.size = is_pinned(t) ? image->pinned.size : 0,
		.validator = is_pinned(t) ? image_validator(image) : NULL,
		.etag = is_pinned(t) && image->pinned.etag[0] && !image_tree(image)
				? image->pinned.etag
				: NULL,
		.user_agent = conf->user_agent,
		/* One request that stalls does not use up the whole time-out. */
		.stall = (int64_t)clamp_u64((uint64_t)mirror_timeout() / 3, STALL_MIN, STALL_MAX),
	};

	if (!make_room(t, target))
		return;
	request.first = position(t) - part_base(t);
	request.goes_on = t->goes_on && t->mirror == target->mirror;
	if (mirror_needs_buffer(target->server, turn.ms))
		request.last = min_u64(request.last, t->base - part_base(t) + capacity.buffer - 1);
	t->attempted = position(t);
	t->provisional = false;
	t->state = TRANSFER_ASKING;
	t->mirror = target->mirror;
	t->server = target->server;
	t->redirected = target->redirected;
	t->remembered = target->redirected && t->hops == 0;
	t->started = true;
	t->asked_at = turn.ms;
	t->measured = 0;
	/* A connection that has rested begins slowly again (RFC 5681 section 4.1). */
	if (http_is_connected(&t->http, &target->url, target->proxy) && !transfer_is_stalled(t) &&
		outstanding_beside(t) <= BESIDE)
		t->measured = turn.us;
	mirror_asked(image, t->server);
	t->http.response.status = 0; /* for is_cut(): a connection may fail before there is one */
	http_start(&t->http, &request, turn.ms);
	ask_ahead(t);
}

/* The same, from the mirror that is best now. */
static void ask(struct transfer *t)
{
	struct mirror_target target;
	const char *why;

	if (mirror_target(&target, t->image, t->part, turn.ms, &why))
		ask_target(t, &target);
	else
		request_failed(t, OUTCOME_LIMIT, why);
}

static void begin_range(struct transfer *t)
{
	t->base = t->credited = t->attempted = t->ranges[0].from;
	t->buffered = 0;
	t->interruptions = 0;
	t->goes_on = false;
}

static void add_range(struct transfer *t, struct range range)
{
	const struct file *f = t->file >= 0 ? &files[t->file] : NULL;

	if (f && t->part == PART_IMAGE && (f->fill || f->trace == TRACE_PLAYING))
		t->planned |= 1u << t->count;
	t->ranges[t->count++] = range;
}

void transfer_start(struct transfer *t, const struct mirror_target *target,
	struct transfer_work work, struct range range)
{
	t->image = work.image;
	t->part = work.part;
	t->file = work.file;
	t->lacks = 0;
	t->count = t->planned = 0;
	add_range(t, range);
	t->hops = 0;
	t->provisional = false;
	t->data_at = 0;
	t->write_after = t->write_since = 0;
	begin_range(t);
	if (target)
		ask_target(t, target);
	else
		ask(t);
}

/* Whether the next range begins where the first, which is here, ends: both are written together. */
static bool goes_straight_on(const struct transfer *t)
{
	return t->count > 1 && t->ranges[1].from == range_end(t) && t->buffered < capacity.buffer;
}

/* The first range is written, or joined to the next, whose response may be coming already. */
static void next_range(struct transfer *t)
{
	if (--t->count == 0) {
		transfer_free(t);
		return;
	}
	memmove(t->ranges, t->ranges + 1, t->count * sizeof(t->ranges[0]));
	t->planned >>= 1;
	if (position(t) == t->ranges[0].from)
		t->attempted = position(t);
	else
		begin_range(t);
	t->interruptions = 0;
	t->goes_on = false;
	t->state = TRANSFER_ASKING;
	t->started = true;
	if (t->http.state == HTTP_IDLE) {
		ask(t);
		return;
	}
	t->remembered = t->redirected;
	t->asked_at = turn.ms;
	t->measured = 0;
	ask_ahead(t);
}

/* The first bytes, which came with an image's size, are written unless they are cached. The file
 * cannot tell before the kernel has taken the answer to the OPEN. */
static void check_head(struct transfer *t)
{
	uint64_t hole_end;
	int64_t hole = frontend->hole((unsigned)t->file, 0, page_up(t->buffered), &hole_end);

	assert(t->state == TRANSFER_HEAD);
	files[t->file].read |= hole == 0 && !frontend->hears_all; /* a mount reads on at once */
	if (hole == 0)
		t->state = TRANSFER_WRITING;
	else if (hole > 0)
		transfer_free(t);
	else
		t->write_after = turn.ms + WRITE_SOON;
}

/* Whether a tree's file has ended in the midst of a block, or before the top: else the same would
 * be requested again at once. */
static bool is_cut_tree(const struct transfer *t)
{
	const struct tree *tree = image_tree(t->image);

	return t->part == PART_TREE && (t->buffered > 0 || (tree->begun && !tree->known));
}

/* Writes what has come; in TRANSFER_WRITING that is all of the first range. */
static void write_on(struct transfer *t)
{
	struct file_fault fault;
	int error = flush(t, &fault);

	t->held |= error == -EAGAIN;
	if (error == -EAGAIN)
		return;
	if (error == -EBADMSG)
		unfit(t, &fault);
	else if (error)
		write_failed(t, error);
	else if (t->state == TRANSFER_WRITING && is_cut_tree(t))
		transfer_fail(t, OUTCOME_UNVERIFIED, cut_tree);
	else if (t->state == TRANSFER_WRITING)
		next_range(t);
}

void transfer_write_head(struct transfer *t, int file)
{
	uint64_t end = position(t) < t->image->pinned.size ? page_down(t->buffered) : t->buffered;

	assert(t->state == TRANSFER_ENDED && t->file == HEAD_ONLY);
	if (file < 0 || end == 0) {
		transfer_free(t);
		return;
	}
	t->file = file;
	t->buffered = (size_t)end;
	t->ranges[0] = (struct range){0, end};
	t->planned = 1;
	t->state = TRANSFER_HEAD;
}

void transfer_fail(struct transfer *t, enum outcome outcome, const char *why)
{
	struct file_fault fault;

	if (t->file >= 0)
		flush(t, &fault);
	transfer_drop(t);
	attempt_failed(t, outcome, why);
}

void transfer_append(struct transfer *t, struct range range)
{
	assert(t->state == TRANSFER_ASKING && t->count < RANGES);
	add_range(t, range);
	t->started = true;
	ask_ahead(t);
}

/* ---- what goes wrong ---- */

/* The body broke off: what has come is kept, and the rest requested from the byte behind it. */
static void body_interrupted(struct transfer *t, enum outcome outcome, const char *why)
{
	struct failure failure = blame(t, outcome, why);

	tried(t);
	mirror_interrupted(t->image, &failure, turn.ms);
	log_debug("%s: %s; going on at byte %llu", image_name(t->image), failure.why,
		(unsigned long long)position(t));
	t->state = TRANSFER_PAUSED;
	t->resume = turn.ms;
	t->interruptions = position(t) - t->attempted < page_size() ? t->interruptions + 1 : 0;
	if (t->interruptions > INTERRUPTIONS_AT_ONCE)
		t->resume += retry_delay(
			PAUSE_FIRST, PAUSE_LAST, t->interruptions - INTERRUPTIONS_AT_ONCE);
}

/* The end of what is needed of the first range. Of a file that is all. Of an image that is opened
 * it is the bytes that show its kind; of a text, as much as leaves room for another request's
 * handshake. */
static uint64_t wanted_end(const struct transfer *t)
{
	uint64_t end = range_end(t), total = (uint64_t)t->http.response.total;

	if (t->part != PART_IMAGE)
		return min_u64(end, part_base(t) + total);
	if (t->file == HEAD_ONLY && !image_tree(t->image))
		end = EROFS_HEAD;
	if (t->file == TEXT_ONLY)
		end -= TLS_SCRATCH_MIN;
	return min_u64(end, t->image->pinned.size);
}

static const char *unfit_words(
	char out[UNFIT_WORDS], const struct transfer *t, const struct file_fault *fault)
{
	char root[VERITY_HEX + 1];

	snprintf(out, UNFIT_WORDS, "block %llu does not fit the root hash %s%s%s",
		(unsigned long long)fault->block,
		verity_root_text(root, image_tree(t->image)->verity.root), *fault->why ? ": " : "",
		fault->why);
	return out;
}

/* Whether a superblock was judged by the size that another mirror has told: one of the two lies. */
static bool is_disputed(const struct transfer *t, const struct file_fault *fault)
{
	if (t->part != PART_TREE || fault->block > 0)
		return false;
	for_each_transfer (o)
		if (o->state != TRANSFER_FREE && o->image == t->image && o->part == PART_IMAGE &&
			o->buffered > 0 && o->mirror != t->mirror)
			return true;
	return false;
}

void transfer_unfit(struct transfer *t, const struct file_fault *fault)
{
	struct image *image = t->image;
	char why[UNFIT_WORDS];

	/* Then both are asked of the one that is best now. */
	if (!is_disputed(t, fault))
		transfer_fail(t, OUTCOME_UNVERIFIED, unfit_words(why, t, fault));
	/* The size that the image's first bytes came with may be the lie. */
	for_each_transfer (o)
		if (o->state != TRANSFER_FREE && o->image == image)
			transfer_free(o);
	tree_pin(image_tree(image), 0);
}

/* A block does not fit the root hash: its mirror is set aside, and the rest of the range asked of
 * the next one. Where bytes may be written in any order, the page is left to those who want it. */
static void unfit(struct transfer *t, const struct file_fault *fault)
{
	struct file *f = &files[t->file];
	char why[UNFIT_WORDS];
	struct failure failure;
	bool begins; /* of a tree the superblock, or the top that has to prove it */

	if (!t->image->ready) {
		transfer_unfit(t, fault);
		return;
	}
	failure = blame(t, OUTCOME_UNVERIFIED, unfit_words(why, t, fault));
	mirror_lied(t->image, &failure, turn.ms);
	reads_tried((unsigned)t->file, t->base, t->base + page_size(), t->asked_at);
	image_tree(t->image)->doubted = true;
	http_close(&t->http);
	begins = t->part == PART_TREE && !image_tree(t->image)->known;
	t->resume = refused_add((unsigned)t->file, begins ? TREE_BASE : t->base);
	/* Of a mirror of which nothing fits not all is to be prefetched. */
	if (f->misfits++ > 0)
		f->ahead_after = turn.ms + retry_delay(PAUSE_FIRST, STALL_MAX, f->misfits);
	drop_provisional(t);
	if (begins) {
		transfer_drop(t);
		return;
	}
	if (t->part == PART_TREE) {
		flush_skip(t, VERITY_BLOCK);
	} else if (frontend->any_order) {
		file_dropped(f, t->base);
		flush_skip(t, page_size());
	} else {
		t->buffered = 0;
		t->state = TRANSFER_PAUSED;
		return;
	}
	t->started = true;
	if (t->state != TRANSFER_WRITING && position(t) >= range_end(t))
		t->state = TRANSFER_WRITING;
	if (t->state == TRANSFER_WRITING)
		return;
	t->state = TRANSFER_PAUSED;
	t->resume = turn.ms;
}

/* Whether the server may have stumbled over requests that came before their turn. */
static bool blames_pipelining(const struct transfer *t, enum outcome outcome)
{
	return (t->http.pipelined || t->http.followed) &&
	       (outcome == OUTCOME_REFUSED || outcome == OUTCOME_TIMED_OUT) &&
	       mirror_takes_pipelining(t->server, turn.ms);
}

static void ask_one_by_one(struct transfer *t)
{
	mirror_refuses_pipelining(t->server, turn.ms);
	http_close(&t->http);
	ask(t);
}

static void request_failed(struct transfer *t, enum outcome outcome, const char *why)
{
	struct image *image = t->image;
	bool broke_off = outcome == OUTCOME_UNREACHABLE || outcome == OUTCOME_TIMED_OUT;
	bool moved;

	drop_provisional(t);
	moved = position(t) > t->attempted;
	t->goes_on = false;
	if (blames_pipelining(t, outcome)) {
		mirror_forget_redirect(image);
		ask_one_by_one(t);
	} else if (t->remembered && mirror_may_be_asked(image, turn.ms)) {
		/* A signed URL has expired, a mirror is gone: the origin gives another. */
		log_debug("%s: where it was redirected to: %s", image_name(image), why);
		http_blame(&t->http);
		mirror_forget_redirect(image);
		ask(t);
	} else if (t->file == HEAD_ONLY && broke_off && t->buffered > 0 &&
		   position(t) >= wanted_end(t)) {
		t->state = TRANSFER_ENDED; /* enough to know it by */
	} else if (t->file >= 0 && broke_off && moved) {
		body_interrupted(t, outcome, why);
	} else {
		transfer_fail(t, outcome, why);
	}
}

/* ---- what the server says ---- */

/* A mirror that answers works; but what proves an image that is being opened has to fit as well. */
static void works(struct transfer *t)
{
	if (t->image->ready || !image_tree_place(t->image))
		mirror_works(t->image, t->mirror, t->server, turn.ms);
}

/* A body without Content-Length has to fit into the buffer, as it is written only once it has
 * ended. Else the server is asked again, for less. */
static void hold_back(struct transfer *t)
{
	const struct response *response = &t->http.response;

	mirror_sends_no_length(t->server, turn.ms);
	t->provisional = response->last - response->first < capacity.buffer - t->buffered;
	if (t->provisional)
		return;
	http_close(&t->http);
	ask(t);
}

static void response_began(struct transfer *t)
{
	if (t->measured)
		bandwidth_rtt_seen(turn.us - t->measured, turn.us);
	if (t->part == PART_IMAGE && !is_pinned(t))
		image_pin(t->image, &t->http.response);
	t->hops = 0;
	t->remembered = false;
	if (t->http.response.length < 0) {
		hold_back(t);
		return;
	}
	works(t);
	ask_ahead(t);
}

static void redirected(struct transfer *t)
{
	char text[URL_MAX + 300];

	if (++t->hops > REDIRECT_HOPS) {
		mirror_forget_redirect(t->image);
		snprintf(text, sizeof(text), "more than %d redirects, a loop? The last one was to ",
			REDIRECT_HOPS);
		url_text(text + strlen(text), sizeof(text) - strlen(text), &t->http.location);
		request_failed(t, OUTCOME_REFUSED, text);
		return;
	}
	mirror_redirected(t->image, t->part, t->mirror, &t->http.location);
	ask(t);
}

static void take_data(struct transfer *t, size_t got)
{
	t->buffered += got;
	mirror_received(t->image, t->server, got);
	if (t->held)
		bandwidth_interrupted();
	else
		bandwidth_received(got, transfers_outstanding(), turn.us);
	/* Less than a page is no progress: a server may let bytes trickle without end. */
	if (position(t) >= t->credited + page_size()) {
		t->credited = position(t);
		t->data_at = turn.ms;
	}
	/* The image's last page is padded when it is written, so it has to be complete by then. */
	if (t->file >= 0 && turn.ms >= t->write_after &&
		(t->buffered == capacity.buffer || t->part == PART_TREE ||
			(position(t) < t->image->pinned.size &&
				reads_first_end((unsigned)t->file, t->base, position(t)) <=
					position(t))))
		write_on(t);
}

/* The response is complete, but may hold less than was requested. A server that sends next to
 * nothing each time counts as one whose bodies break off, so that it does not go on for ever. */
static void response_ended(struct transfer *t)
{
	uint64_t got = position(t) - t->attempted;
	bool all = position(t) >= wanted_end(t);

	if (t->provisional)
		works(t);
	t->provisional = false;
	t->goes_on = !all;
	if (t->measured && transfers_outstanding() == 0)
		bandwidth_answered(got, turn.us - t->measured);
	if (all && t->file < 0)
		t->state = TRANSFER_ENDED;
	else if (all && goes_straight_on(t))
		next_range(t);
	else if (all)
		t->state = TRANSFER_WRITING;
	else if (t->http.state != HTTP_IDLE)
		ask_one_by_one(t); /* the rest would come out of turn */
	else if (got < TINY_PART && t->file == TEXT_ONLY)
		request_failed(t, OUTCOME_REFUSED, "the server sends next to nothing of a range");
	else if (got < TINY_PART && t->buffered < capacity.buffer)
		body_interrupted(t, OUTCOME_REFUSED, "the server sends next to nothing of a range");
	else
		ask(t);
}

/* One step of a request under way. Returns false when it has to wait. */
static bool ask_on(struct transfer *t)
{
	size_t got, room = capacity.buffer - t->buffered;
	enum http_event event = http_run(&t->http, t->buffer + t->buffered, room, &got, turn.ms);

	if (event == HTTP_STARTED)
		response_began(t);
	else if (event == HTTP_DATA)
		take_data(t, got);
	else if (event == HTTP_END)
		response_ended(t);
	else if (event == HTTP_REDIRECT)
		redirected(t);
	else if (event == HTTP_FAILED)
		request_failed(t, t->http.outcome, t->http.why);
	if (event == HTTP_WAIT && room > 0)
		t->held = false;
	return event != HTTP_WAIT;
}

void transfer_run(struct transfer *t)
{
	size_t got;

	t->started = false;
	t->slot = -1;
	if (t->state == TRANSFER_FREE)
		http_run(&t->http, NULL, 0, &got, turn.ms);
	if (t->state == TRANSFER_PAUSED && turn.ms >= t->resume)
		ask(t);
	if (t->state == TRANSFER_ASKING && (t->write_since || t->lacks) &&
		turn.ms >= t->write_after)
		write_on(t);
	if (t->state == TRANSFER_HEAD && turn.ms >= t->write_after)
		check_head(t);
	do {
		while (t->state == TRANSFER_ASKING && ask_on(t))
			;
		if (t->state == TRANSFER_WRITING && turn.ms >= t->write_after)
			write_on(t);
	} while (t->state == TRANSFER_ASKING && t->started && !(t->started = false));
}

/* ---- the public functions ---- */

size_t transfers_memory_each(void)
{
	return round_to(sizeof(struct transfer), 16) + round_to(tls_size(), 16);
}

void transfers_init(const struct conf *c, void *memory)
{
	char *buffer = memory, *tls;

	conf = c;
	transfers = (struct transfer *)(buffer + capacity.connections * capacity.buffer);
	tls = (char *)transfers + round_to(capacity.connections * sizeof(struct transfer), 16);
	for_each_transfer (t) {
		t->buffer = buffer;
		buffer += capacity.buffer;
		http_init(&t->http, tls);
		tls += round_to(tls_size(), 16);
		t->slot = -1;
	}
}
