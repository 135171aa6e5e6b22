#include "fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ahead.h"
#include "budget.h"
#include "clock.h"
#include "erofs.h"
#include "holes.h"
#include "image.h"
#include "lane.h"
#include "link.h"
#include "log.h"
#include "measure.h"
#include "outcome.h"
#include "stats.h"
#include "trace.h"
#include "walk.h"

/* Milliseconds. */
#define WRITE_AGAIN    20    /* the cache file is not ready, or full */
#define WRITE_PATIENCE 5000  /* full for so long: the READ fails */
#define TICK	       250   /* how often waiting READs are looked at */
#define PROGRESS       10000 /* how often the filling of a whole image is told */
#define FULL_AGAIN     10000 /* filling in the background, after the cache was full */

/* A walk through the directories asks for so much of an image at most, and for a share of it. */
#define WALK_BYTES (16 << 20)
#define WALK_SHARE 8

/* Two of its ranges with a gap of so much are asked for as one: a request costs as much. */
#define WALK_GAP (32 << 10)

/* What nobody waits for yet is put behind so few ranges that somebody else can still be. */
#define BEHIND (HTTP_AHEAD_MAX / 2)

/* So often in a turn of the loop what is free is given work. */
#define ROUNDS 16

/* Of a trace, so many extents are looked at for some with a gap of so few bytes to the next one. */
#define TRACE_LOOK 128
#define TRACE_GAP  (16 << 10)

/* While a stream holds the link is its own: so long after its last READ, in milliseconds, what only
 * may be wanted is not asked for. */
#define STREAM_HOLDS 100

/* So many ranges that need not be asked for are stepped over in a turn of the loop. */
#define STEPS 64

/* Zones of images that were read lately: what is near is fetched when the link has nothing else to
 * carry. */
#define ZONE  (512 << 10)
#define ZONES 64

/* Pieces of an image that are counted in a turn of the loop. */
#define COUNT_STEPS 128

/* What is fetched with a READ of metadata, in all. */
#define METADATA_CLUSTER (20 << 10)

/* For each byte that is asked for where there is no stream, so many are fetched besides; and some
 * more at first. */
#define CREDIT_RATIO 3
#define CREDIT_SHARE 16 /* of the image, at first */
#define CREDIT_MAX   (8 << 20)

enum trace_state {
	TRACE_NONE,
	TRACE_WANTED, /* it is to be asked for when its turn comes */
	TRACE_ASKED,
	TRACE_PLAYED,
};

/* A cache file in which an image is wanted. */
struct file {
	bool used;
	bool opening; /* front->opened() is owed */
	struct image *image;
	int64_t since; /* the OPEN, or the filling's last progress */
	int recorder;  /* -1: its READs are not recorded */
	enum trace_state trace;
	int64_t credit; /* bytes that may be fetched near READs */

	/* an image that is written whole */
	bool fill;	  /* it is to be */
	bool whole;	  /* before any READ is completed */
	bool filled;	  /* it is */
	uint64_t cursor;  /* what lies before it is written or asked for */
	uint64_t written; /* bytes, since `told` */
	int64_t fill_after;
	int64_t told;
	int64_t full_told; /* that the cache takes no bytes; 0: never */
};

struct read {
	bool used;
	unsigned file;
	uint32_t id;
	uint64_t pos, end; /* what is still missing, whole pages */
	int64_t came;
	int64_t since; /* its arrival or last progress */
	uint64_t sequence;
};

/* The neighbourhood of a READ. What lies behind the READ comes first, then what lies before it. */
struct zone {
	unsigned file;
	uint64_t number;
	uint64_t turn; /* larger is later; 0: never */
	uint64_t at;   /* up to here it is asked for */
	uint64_t from; /* where the READ began */
	bool before;   /* it is at what lies before */
	bool over;
};

static const struct conf *conf;
static const struct front *front;
static enum fetch_whole whole_rule;
static size_t page;
static char *zeros;	   /* one page */
static struct file *files; /* budget.files */
static struct read *reads; /* budget.reads */
static unsigned reads_used;
static uint64_t sequence;
static struct zone zones[ZONES];
static int64_t streamed_at; /* when a stream was last seen to hold */
static int64_t clock_now;   /* of this turn of the loop */
static bool unfinished;	    /* lanes may be free for more, without anything to wait for */
static int64_t record_next; /* when trace.c wants its turn */

/* The walk through the directories of one image at a time. */
static struct walk *walk;
static int walked; /* the file; -1: none */
static struct {
	uint64_t from, end;
	bool again; /* although it is cached */
} step;		    /* the range that it has named and that is not asked for yet */

/* The trace that is played, one at a time. */
static struct {
	struct image *image; /* the trace itself, while it is asked for */
	int file;	     /* -1: none */
	struct trace trace;
	size_t next; /* of its extents */
} player;

/* ---- numbers ---- */

static uint64_t page_down(uint64_t n)
{
	return n & ~(uint64_t)(page - 1);
}

static uint64_t page_up(uint64_t n)
{
	return page_down(n + page - 1);
}

static uint64_t least_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t image_end(const struct image *image)
{
	return page_up(image->size);
}

static struct file *end_of_files(void)
{
	return files + budget.files;
}

static struct read *end_of_reads(void)
{
	return reads + budget.reads;
}

static unsigned number_of(const struct file *f)
{
	return (unsigned)(f - files);
}

/* ---- images ---- */

/* Frees an image that no file wants any more, with what is under way for it. */
static void release_image(struct image *image)
{
	for (const struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->image == image)
			return;
	lanes_drop_image(image);
	image_free(image);
}

/* ---- what is cached ---- */

/* As front->hole(), which is asked only for what is not known. */
static int64_t find_hole(const struct file *f, uint64_t from, uint64_t end, uint64_t *hole_end)
{
	uint64_t known = holes_end(number_of(f), from);
	int64_t hole = (int64_t)from;

	if (known == 0) {
		hole = front->hole(number_of(f), from, image_end(f->image), &known);
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

/* ---- READs ---- */

static void note_failed_read(struct image *image)
{
	stats.reads_failed++;
	image->stats.reads_failed++;
}

static void end_read(struct read *r, bool answered)
{
	r->used = false;
	reads_used--;
	if (answered)
		stats_answered(clock_now - r->came);
	else
		note_failed_read(files[r->file].image);
	front->complete(r->file, r->id);
}

static void fail_reads_of(unsigned file)
{
	for (struct read *r = reads; r < end_of_reads(); r++)
		if (r->used && r->file == file)
			end_read(r, false);
}

/* Whether no READ of the file is completed yet. */
static bool is_held(const struct file *f)
{
	return f->whole && !f->filled;
}

/* [from, to) of the file is written now. */
static void advance_reads(unsigned file, uint64_t from, uint64_t to)
{
	files[file].since = clock_now;
	if (is_held(&files[file]))
		return;
	for (struct read *r = reads; r < end_of_reads(); r++) {
		if (!r->used || r->file != file || r->pos < from || r->pos >= to)
			continue;
		r->pos = to;
		r->since = clock_now;
		if (r->pos >= r->end)
			end_read(r, true);
	}
}

/* Behind the image's end there is nothing to fetch: one page of zeros, and the kernel asks again
 * for what more it wants. */
static void serve_tail(struct read *r)
{
	ssize_t n = front->write(r->file, zeros, page, r->pos);

	if (n != -EAGAIN || clock_now - r->since >= WRITE_PATIENCE)
		end_read(r, n > 0);
}

/* ---- OPENs ---- */

static void refuse_open(struct file *f)
{
	struct image *image = f->image;

	log_err("%.*s: cannot be opened: %s (%s)", IMAGE_NAME(image), image->why,
		outcome_words(image->outcome));
	f->used = f->opening = false;
	stats.opens_refused++;
	front->opened((unsigned)(f - files), image->outcome, 0);
	release_image(image);
}

static void refuse_opens(struct image *image)
{
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->opening && f->image == image)
			refuse_open(f);
}

/* Nothing of the image is missing. */
static void file_filled(struct file *f)
{
	f->filled = true;
	log_info("%.*s: all %llu bytes are cached", IMAGE_NAME(f->image),
		(unsigned long long)f->image->size);
	advance_reads(number_of(f), 0, image_end(f->image));
	lanes_hang_up();
}

static void file_opened(struct file *f)
{
	struct image *image = f->image;

	f->opening = false;
	f->credit = (int64_t)least_of(CREDIT_MAX, image->size / CREDIT_SHARE);
	f->whole = whole_rule == WHOLE_ALWAYS ||
		   (whole_rule == WHOLE_COMPRESSED && image_is_compressed(image));
	f->fill = f->whole || (front->is_cache && conf->prefetch_all);
	f->since = f->told = clock_now;
	if (f->whole)
		log_info("%.*s: all %llu bytes are fetched before the first READ is answered: %s",
			IMAGE_NAME(image), (unsigned long long)image->size,
			whole_rule == WHOLE_ALWAYS
				? "this kernel returns zeros from partly cached ranges (v8)"
			: conf->compressed == COMPRESSED_WHOLE
				? "compressed whole"
				: "this kernel mishandles partly cached compressed images (6.9 and "
				  "later)");
	if (conf->trace_record[0])
		f->recorder = trace_record_open(image->cookie, image->cookie_size);
	else if (front->is_cache && !f->fill && !conf->trace_none && image->failures == 0)
		f->trace = TRACE_WANTED;
	front->opened(number_of(f), OUTCOME_OK, front->is_cache ? image->told_size : image->size);
}

static bool is_recording(const struct file *f)
{
	return f->recorder >= 0;
}

/* Only what is recorded has to be asked for by the kernel. */
static void start_walk(const struct image *image, const void *head)
{
	if (walked >= 0)
		return;
	for (const struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->image == image && !f->fill && !is_recording(f) &&
			front->is_cache &&
			walk_start(walk, head, image->size, page, WALK_GAP,
				least_of(WALK_BYTES, image->size / WALK_SHARE))) {
			walked = (int)number_of(f);
			step.from = step.end = 0;
			return;
		}
}

/* ---- what lane.c tells ---- */

/* Answers the OPENs that wait for the image. Returns one of their files, -1 if none did. */
static int answer_opens(struct image *image)
{
	int file = -1;

	image->ready = true;
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->opening && f->image == image) {
			file_opened(f);
			file = (int)number_of(f);
		}
	return file;
}

static int image_opened(struct image *image, const void *head, size_t size, const struct url *url)
{
	char text[URL_MAX + 300];
	int file;

	image->kind = erofs_kind(head, size);
	log_info("%.*s: %llu bytes at %s, %s", IMAGE_NAME(image), (unsigned long long)image->size,
		url_text(text, sizeof(text), url),
		image->kind == EROFS_NONE    ? "not EROFS (a data blob?)"
		: image->kind == EROFS_PLAIN ? "plain EROFS"
					     : "compressed EROFS");
	if (!image->etag[0] && !image->last_modified[0])
		log_warning("%.*s: the server sends neither ETag nor Last-Modified: an image that "
			    "is replaced by one of the same size would not be noticed",
			IMAGE_NAME(image));
	if (front->is_cache)
		image_settle(image, text);
	file = answer_opens(image);
	if (image->kind != EROFS_NONE)
		start_walk(image, head);
	return front->is_cache ? file : -1;
}

static void bytes_pass(unsigned file, const void *bytes, uint64_t offset, size_t size)
{
	if (walked == (int)file)
		walk_see(walk, bytes, offset, size);
}

static void bytes_written(unsigned file, uint64_t from, uint64_t to)
{
	files[file].written += to - from;
	files[file].image->stats.written += to - from;
	holes_fill(file, from, to);
	advance_reads(file, from, to);
}

/* A READ is completed at once when its last byte is here: what comes behind can wait. */
static uint64_t waited_for(unsigned file, uint64_t from, uint64_t to)
{
	uint64_t end = UINT64_MAX;

	if (is_held(&files[file]))
		return end;
	for (const struct read *r = reads; reads_used > 0 && r < end_of_reads(); r++)
		if (r->used && r->file == file && r->end > from && r->pos < to)
			end = least_of(end, least_of(r->end, files[file].image->size));
	return end;
}

static void range_dropped(unsigned file, uint64_t from)
{
	if (files[file].cursor > from)
		files[file].cursor = page_down(from);
}

/* Those who wait for bytes get an error, now; what nobody waits for is tried again later. */
static void file_unwritable(unsigned file, int error)
{
	struct file *f = &files[file];

	if (f->full_told == 0 || clock_now - f->full_told >= 60000) {
		f->full_told = clock_now;
		log_err("%.*s: cannot write to the cache: %s; its readers get an error",
			IMAGE_NAME(f->image),
			error == -ENOBUFS  ? "less space is free than bstop demands"
			: error == -ENOSPC ? "its file system is full"
					   : strerror(-error));
	}
	f->fill_after = clock_now + FULL_AGAIN;
	if (walked == (int)file)
		walked = -1;
	if (player.file == (int)file)
		player.file = -1;
	ahead_forget(file);
	fail_reads_of(file);
}

/* With `offline allow` an image whose servers cannot be reached is opened from what is cached. */
static void open_offline(struct image *image)
{
	if (image->ready || !conf->offline || !front->is_cache || !image_is_unreachable(image) ||
		!image_recall(image))
		return;
	log_warning("%.*s: opened offline, its %llu bytes as they were when they were cached: %s",
		IMAGE_NAME(image), (unsigned long long)image->size, image->why);
	answer_opens(image);
}

static void attempt_failed(struct image *image, enum image_verdict verdict)
{
	switch (verdict) {
	case IMAGE_RETRY:
		open_offline(image);
		break;
	case IMAGE_REFUSED:
		refuse_opens(image);
		break;
	case IMAGE_CHANGED:
		for (struct file *f = files; f < end_of_files(); f++)
			if (f->used && f->image == image)
				fail_reads_of(number_of(f));
		break;
	}
}

/* ---- the boot trace ---- */

static struct file *asker_of_trace(void)
{
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->trace == TRACE_ASKED)
			return f;
	return NULL;
}

static void take_trace(struct file *f, const char *text, size_t size, bool whole)
{
	const char *why;

	player.next = 0;
	player.trace.count = player.trace.left_out = 0;
	player.trace.image_size = f->image->size;
	if (!trace_parse(&player.trace, text, size, whole, &why)) {
		log_warning("%.*s: its trace is not used: line %u: %s", IMAGE_NAME(f->image),
			player.trace.line, why);
		return;
	}
	player.file = (int)number_of(f);
	log_info("%.*s: its trace of %zu ranges is fetched first", IMAGE_NAME(f->image),
		player.trace.count);
	if (player.trace.left_out > 0 || !whole)
		log_warning(
			"%.*s: the trace is too long: its end is left out", IMAGE_NAME(f->image));
	if (walked == player.file)
		walked = -1; /* the trace knows better */
}

/* The trace has come, or there is none; that is no failure. */
static void trace_came(
	struct image *trace, const char *text, size_t size, bool whole, const char *why)
{
	struct file *f = asker_of_trace();

	player.image = NULL;
	image_free(trace);
	if (!f)
		return;
	f->trace = TRACE_PLAYED;
	if (text)
		take_trace(f, text, size, whole);
	else
		log_debug("%.*s: no trace: %s", IMAGE_NAME(f->image), why);
}

static void start_traces(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || f->trace != TRACE_WANTED || player.image || player.file >= 0)
			continue;
		player.image = image_get_trace(f->image);
		f->trace = TRACE_ASKED;
		if (!player.image) {
			f->trace = TRACE_NONE;
		} else if (!lane_ask_text(player.image)) {
			f->trace = TRACE_WANTED;
			image_free(player.image);
			player.image = NULL;
			return;
		}
	}
}

static void forget_trace(unsigned file)
{
	if (player.file == (int)file)
		player.file = -1;
	if (files[file].trace == TRACE_ASKED && player.image) {
		lanes_drop_image(player.image);
		image_free(player.image);
		player.image = NULL;
	}
}

/* ---- what somebody waits for ---- */

static bool may_ask(const struct image *image)
{
	return !image->changed && clock_now >= image->not_before;
}

/* Starts asking for the size of images that are being opened. */
static void start_opens(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		struct image *image = f->image;

		if (!f->used || !f->opening || !may_ask(image) || lanes_of(image) > 0)
			continue;
		if (lane_ask_size(image))
			continue;
		lanes_steal(image);
		lane_ask_size(image);
	}
}

/* The READ to serve next: of the image with the fewest lanes, the oldest. */
static struct read *next_read(void)
{
	struct read *best = NULL;
	unsigned best_lanes = 0;

	for (struct read *r = reads; r < end_of_reads(); r++) {
		const struct file *f = &files[r->file];
		unsigned n;

		if (!r->used || is_held(f) || !may_ask(f->image) || lanes_cover(r->file, r->pos))
			continue;
		n = lanes_of(f->image);
		if (!best || n < best_lanes || (n == best_lanes && r->sequence < best->sequence)) {
			best = r;
			best_lanes = n;
		}
	}
	return best;
}

/* Whether a READ of another image waits that no lane works for: then none takes more work. */
static bool is_another_starved(const struct image *image)
{
	for (const struct read *r = reads; reads_used > 0 && r < end_of_reads(); r++)
		if (r->used && files[r->file].image != image && may_ask(files[r->file].image) &&
			!is_held(&files[r->file]) && lanes_of(files[r->file].image) == 0)
			return true;
	for (const struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->opening && f->image != image && may_ask(f->image) &&
			lanes_of(f->image) == 0)
			return true;
	return false;
}

/* Asks for [from, end) of the file, less what is under way. Returns where what was asked for ends,
 * 0 when there is no lane. */
static uint64_t ask(struct file *f, uint64_t from, uint64_t end, unsigned behind)
{
	if (is_another_starved(f->image))
		behind = 0;
	end = lanes_until(number_of(f), from, end);
	return lane_ask(f->image, number_of(f), from, least_of(end, f->image->size), behind) ? end
											     : 0;
}

/* The zone of the byte at `pos`; a new one takes the place of the one read longest ago. */
static struct zone *zone_of(unsigned file, uint64_t pos)
{
	struct zone *oldest = zones;

	for (struct zone *z = zones; z < zones + ZONES; z++) {
		if (z->turn > 0 && z->file == file && z->number == pos / ZONE)
			return z;
		if (z->turn < oldest->turn)
			oldest = z;
	}
	*oldest = (struct zone){.file = file, .number = pos / ZONE};
	return oldest;
}

/* Metadata is read page by page (fs/erofs/data.c), files by more. */
static bool is_metadata(const struct read *r)
{
	return r->end - r->pos == page;
}

/* How far to fetch for a READ. What the link carries in a round trip costs hardly more than the
 * READ alone. What is wanted of the metadata next the walk knows better, and of all a trace. */
static uint64_t cluster_end(const struct file *f, const struct read *r)
{
	uint64_t n = page_up(is_metadata(r) ? METADATA_CLUSTER : link_round_trip_bytes());

	if (r->end - r->pos >= n || f->credit <= 0 || player.file == (int)r->file)
		return r->end;
	return least_of(
		least_of(r->pos + n, r->end + page_up((uint64_t)f->credit)), image_end(f->image));
}

/* [r->pos, end) is asked for. */
static void note_cluster(const struct read *r, uint64_t end)
{
	struct zone *z;

	if (end > r->end) {
		files[r->file].credit -= (int64_t)(end - r->end);
		ahead_asked(r->file, r->end, end);
	}
	if (is_metadata(r))
		return;
	z = zone_of(r->file, r->pos);
	z->turn = ++sequence;
	z->from = r->pos;
	z->at = end;
	z->before = z->over = false;
}

/* Asks for the first hole in the READ's range. Returns false when no lane is free. */
static bool start_read(struct read *r)
{
	struct file *f = &files[r->file];
	bool ahead = front->is_cache && !is_recording(f);
	uint64_t end = ahead ? cluster_end(f, r) : r->end;
	uint64_t hole_end = end;
	int64_t hole = find_hole(f, r->pos, end, &hole_end);

	if (hole < 0)
		hole = (int64_t)r->pos; /* it cannot tell: fetch all of it */
	if (page_down((uint64_t)hole) > r->pos) {
		advance_reads(r->file, r->pos, page_down((uint64_t)hole));
		return true; /* what it waits for now may be under way */
	}
	end = ask(f, r->pos, page_up(hole_end), HTTP_AHEAD_MAX);
	if (end == 0) {
		lanes_steal(f->image);
		end = ask(f, r->pos, page_up(hole_end), HTTP_AHEAD_MAX);
	}
	if (end == 0)
		return false;
	if (ahead)
		note_cluster(r, end);
	return true;
}

static void start_reads(void)
{
	struct read *r;

	for (r = reads; r < end_of_reads(); r++) {
		const struct file *f = &files[r->file];
		if (r->used && !is_held(f) && r->pos >= image_end(f->image))
			serve_tail(r);
	}
	while (reads_used > 0 && (r = next_read()) && start_read(r))
		;
}

/* ---- what nobody waits for yet ---- */

static bool is_filling(const struct file *f)
{
	return f->used && !f->opening && f->fill && !f->filled && !f->image->changed;
}

/* Whether the file can be asked for ahead of its readers now. */
static bool may_fetch_ahead(const struct file *f)
{
	return f->used && !f->opening && may_ask(f->image) && clock_now >= f->fill_after &&
	       !is_another_starved(f->image);
}

/* Where the next request from here on ends: pieces are written by whole buffers, whose boundaries
 * are those of the kernel's read-ahead too. */
static uint64_t piece_end(uint64_t from)
{
	uint64_t unit = budget.buffer, end = from + page_down(link_piece());

	return end / unit > from / unit ? end / unit * unit : end;
}

/* Asks for the first piece of [from, end) that is neither cached nor under way. Returns how far the
 * range is done with then: `from` when nothing can be asked for now. */
static uint64_t ask_piece(struct file *f, uint64_t from, uint64_t end)
{
	unsigned file = number_of(f);
	uint64_t hole_end = end, to = lanes_cover(file, from);
	int64_t hole;

	if (to)
		return to;
	hole = find_hole(f, from, end, &hole_end);
	if (hole < 0) {
		f->fill_after = clock_now + WRITE_AGAIN;
		return from;
	}
	if ((uint64_t)hole >= end)
		return page_up(end);
	if (page_down((uint64_t)hole) > from)
		return page_down((uint64_t)hole);
	to = ask(f, from, least_of(page_up(hole_end), piece_end(from)), BEHIND);
	return to ? to : from;
}

/* Each of these asks for one piece, or steps over what need not be asked for. They return false
 * when there is nothing that they could do now. */

static bool fetch_ahead_of_streams(void)
{
	unsigned file;
	uint64_t from, end, to;

	if (!ahead_next(&file, &from, &end))
		return false;
	if (!may_fetch_ahead(&files[file]) || is_recording(&files[file])) {
		ahead_forget(file);
		return true;
	}
	to = ask_piece(&files[file], from, end);
	ahead_asked(file, from, to);
	return to > from;
}

/* A request costs as much as some pages: extents that come soon and lie close behind this one are
 * taken with it. */
static void join_near(struct trace_extent *e)
{
	const struct trace_extent *end = player.trace.extents + player.trace.count;
	uint32_t gap = (uint32_t)(TRACE_GAP / page);
	bool joined;

	if (end - e > TRACE_LOOK)
		end = e + TRACE_LOOK;
	do {
		joined = false;
		for (struct trace_extent *o = e + 1; o < end; o++)
			if (o->pages > 0 && o->page >= e->page &&
				o->page - e->page <= (uint64_t)e->pages + gap) {
				if (o->page - e->page + o->pages > e->pages)
					e->pages = o->page - e->page + o->pages;
				o->pages = 0;
				joined = true;
			}
	} while (joined);
}

static bool play_trace(void)
{
	struct trace_extent *e = &player.trace.extents[player.next];
	struct file *f = &files[player.file < 0 ? 0 : player.file];
	uint64_t from, end, to;

	if (player.file < 0 || !may_fetch_ahead(f))
		return false;
	if (player.next == player.trace.count) {
		player.file = -1;
		return true;
	}
	if (e->pages == 0) {
		player.next++;
		return true;
	}
	join_near(e);
	from = (uint64_t)e->page * page;
	end = from + (uint64_t)e->pages * page;
	to = ask_piece(f, from, least_of(end, image_end(f->image)));
	if (to == from)
		return false;
	e->page = (uint32_t)(to / page);
	if (to >= least_of(end, image_end(f->image)))
		player.next++;
	else
		e->pages = (uint32_t)((end - to) / page);
	return true;
}

static bool next_step(void)
{
	step.again = false;
	if (walk_next(walk, &step.from, &step.end))
		return true;
	step.again = walk_missed(walk, &step.from, &step.end);
	return step.again;
}

static bool walk_on(void)
{
	struct file *f = &files[walked < 0 ? 0 : walked];
	uint64_t to;

	if (walked < 0 || !may_fetch_ahead(f) || f->trace == TRACE_ASKED ||
		f->trace == TRACE_WANTED)
		return false;
	if (step.from >= step.end && !next_step()) {
		if (walk_is_over(walk) || !lanes_busy((unsigned)walked))
			walked = -1;
		return false;
	}
	if (step.again)
		to = ask(f, step.from, page_up(step.end), BEHIND);
	else
		to = ask_piece(f, step.from, page_up(step.end));
	if (to <= step.from)
		return false;
	step.from = to;
	return true;
}

/* The zone that was read last and of which something is left. */
static struct zone *next_zone(void)
{
	struct zone *best = NULL;

	for (struct zone *z = zones; z < zones + ZONES; z++)
		if (z->turn > 0 && !z->over && (!best || z->turn > best->turn) &&
			files[z->file].credit > 0 && may_fetch_ahead(&files[z->file]))
			best = z;
	return best;
}

static bool fetch_near(void)
{
	struct zone *z = next_zone();
	struct file *f;
	uint64_t to, end, before = lanes_outstanding();

	if (!z)
		return false;
	f = &files[z->file];
	end = z->before ? z->from : least_of((z->number + 1) * ZONE, image_end(f->image));
	if (z->at >= end) {
		z->over = z->before;
		z->before = true;
		z->at = z->number * ZONE;
		return true;
	}
	to = ask_piece(f, z->at, end);
	if (to == z->at)
		return false;
	z->at = to;
	f->credit -= (int64_t)(lanes_outstanding() - before);
	return true;
}

/* Nothing is left to ask for from the cursor on: looks once more from the beginning. */
static void check_filled(struct file *f)
{
	uint64_t hole_end, end = image_end(f->image);
	int64_t hole;

	if (lanes_busy(number_of(f)))
		return;
	hole = find_hole(f, 0, end, &hole_end);
	if (hole < 0)
		f->fill_after = clock_now + WRITE_AGAIN;
	else if ((uint64_t)hole < end)
		f->cursor = page_down((uint64_t)hole);
	else
		file_filled(f);
}

/* Spreads what is fetched in the background over time; what somebody waits for is not. */
static void keep_rate(struct file *f, uint64_t bytes)
{
	if (!f->whole && conf->prefetch_rate > 0)
		f->fill_after = clock_now + (int64_t)(bytes * 1000 / conf->prefetch_rate);
}

static bool fill_on(struct file *f)
{
	uint64_t to, end = image_end(f->image), before = lanes_outstanding();

	if (f->cursor >= end) {
		check_filled(f);
		return f->cursor < end;
	}
	to = ask_piece(f, f->cursor, end);
	if (to == f->cursor)
		return false;
	f->cursor = to;
	keep_rate(f, lanes_outstanding() - before);
	return true;
}

static bool fill_files(void)
{
	static unsigned turn; /* each file has its turn */

	for (unsigned i = 0; i < budget.files; i++) {
		struct file *f = &files[turn++ % budget.files];

		if (is_filling(f) && may_fetch_ahead(f) && fill_on(f))
			return true;
	}
	return false;
}

static void tell_progress(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		char rate[32];

		if (!is_filling(f) || clock_now - f->told < PROGRESS)
			continue;
		log_info("%.*s: %llu of %llu bytes are asked for or cached, %s",
			IMAGE_NAME(f->image), (unsigned long long)f->cursor,
			(unsigned long long)f->image->size,
			measure_rate(rate, f->written, (clock_now - f->told) * 1000));
		f->told = clock_now;
		f->written = 0;
	}
}

/* So little is under way at any time that who comes to wait does not wait long for it. The order
 * is that of how likely it is that somebody will. */
static void start_ahead(void)
{
	uint64_t most = link_window(LINK_QUEUE), less = link_window(LINK_QUEUE_SHORT);

	for (int i = 0; i < STEPS && lanes_outstanding() < most; i++) {
		if (fetch_ahead_of_streams() || play_trace())
			continue;
		if (clock_now - streamed_at < STREAM_HOLDS || lanes_outstanding() >= less ||
			(!fetch_near() && !walk_on() && !fill_files()))
			return;
	}
}

/* ---- patience ---- */

/* Since when the READ has waited without any byte of it coming. */
static int64_t waiting_since(const struct read *r)
{
	const struct file *f = &files[r->file];
	int64_t since = later(r->since, lanes_progress(r->file, r->pos));

	return is_held(f) ? later(since, f->since) : since;
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
	for (struct read *r = reads; r < end_of_reads() && reads_used > 0; r++) {
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
		end_read(r, false);
	}
	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || !f->opening)
			continue;
		image_tell(f->image, clock_now);
		if (f->image->last_failure >= f->since && clock_now - f->since >= image_patience())
			refuse_open(f);
	}
}

/* ---- the public functions ---- */

static const struct lane_user lane_user = {.opened = image_opened,
	.text = trace_came,
	.passing = bytes_pass,
	.written = bytes_written,
	.waited_for = waited_for,
	.dropped = range_dropped,
	.unwritable = file_unwritable,
	.failed = attempt_failed};

static size_t round_to(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* The first that is not cut from `memory` yet: `count` times `size` bytes. */
static void *cut(char **memory, size_t count, size_t size)
{
	void *first = *memory;

	*memory += round_to(count * size, 16);
	return first;
}

void fetch_costs(struct budget_costs *costs)
{
	costs->connection = lanes_memory_each();
	costs->file = sizeof(struct file) + image_memory_each();
	costs->read = sizeof(struct read);
	costs->fixed = (size_t)getpagesize() + walk_size() +
		       TRACE_EXTENTS_MAX * sizeof(struct trace_extent) + image_memory_each() + 64;
}

size_t fetch_memory(void)
{
	struct budget_costs costs;

	fetch_costs(&costs);
	return costs.fixed + budget.connections * (budget.buffer + costs.connection) +
	       budget.files * costs.file + budget.reads * costs.read;
}

void fetch_init(const struct conf *c, const struct front *f, void *memory)
{
	char *next = memory;

	conf = c;
	front = f;
	page = (size_t)getpagesize();
	zeros = cut(&next, 1, page);
	lanes_init(c, f, &lane_user, next);
	next += budget.connections * (budget.buffer + lanes_memory_each());
	images_init(c, cut(&next, budget.files + 1, image_memory_each()));
	files = cut(&next, budget.files, sizeof(struct file));
	reads = cut(&next, budget.reads, sizeof(struct read));
	walk = cut(&next, 1, walk_size());
	player.trace = (struct trace){.max = TRACE_EXTENTS_MAX, .page = page};
	player.trace.extents = cut(&next, TRACE_EXTENTS_MAX, sizeof(struct trace_extent));
	player.file = walked = -1;
}

void fetch_set_whole(enum fetch_whole whole)
{
	whole_rule = whole;
}

void fetch_open(unsigned file, const char *volume, const void *cookie, size_t cookie_size)
{
	struct image *image = image_get(volume, cookie, cookie_size);

	files[file] = (struct file){
		.used = true, .opening = true, .image = image, .since = clock_now, .recorder = -1};
	if (image->ready)
		file_opened(&files[file]);
	else if (front->is_cache && image_reopen(image))
		answer_opens(image);
}

static void forget_zones(unsigned file)
{
	for (struct zone *z = zones; z < zones + ZONES; z++)
		if (z->file == file)
			z->turn = 0;
}

void fetch_close(unsigned file)
{
	struct file *f = &files[file];

	for (struct read *r = reads; r < end_of_reads(); r++)
		if (r->used && r->file == file) {
			r->used = false;
			reads_used--;
		}
	lanes_drop_file(file);
	ahead_forget(file);
	holes_forget(file);
	forget_zones(file);
	forget_trace(file);
	if (walked == (int)file)
		walked = -1;
	if (is_recording(f))
		trace_record_close(f->recorder);
	f->used = false;
	release_image(f->image);
}

static void drop_read(uint32_t id)
{
	for (struct read *r = reads; r < end_of_reads(); r++)
		if (r->used && r->id == id) {
			r->used = false;
			reads_used--;
		}
}

void fetch_read(unsigned file, uint32_t id, uint64_t offset, uint64_t size)
{
	struct file *f = &files[file];
	struct image *image = f->image;
	uint64_t end = image_end(image);
	struct read *r = reads;

	drop_read(id);
	image->stats.reads++;
	image->stats.read_bytes += size;
	if (image->changed || size == 0 || offset > INT64_MAX - (uint64_t)page ||
		size > INT64_MAX - (uint64_t)page - offset) {
		note_failed_read(image);
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
		.came = clock_now,
		.since = clock_now,
		.sequence = ++sequence};
	if (r->pos < end && r->end > end)
		r->end = end; /* the kernel asks again for what lies behind the image */
	reads_used++;
	if (is_recording(f)) {
		trace_record_touch(f->recorder, r->pos, r->end - r->pos);
	} else if (front->is_cache && r->pos < end) {
		f->credit += CREDIT_RATIO * (int64_t)(r->end - r->pos);
		if (f->credit > CREDIT_MAX)
			f->credit = CREDIT_MAX;
		if (ahead_read(file, r->pos, r->end, r->end, page_down(4 * link_window(LINK_QUEUE)),
			    end))
			streamed_at = clock_now;
	}
}

enum outcome fetch_outcome(unsigned file, const char **why)
{
	const struct image *image = files[file].image;

	*why = image->why;
	return image->changed ? OUTCOME_CHANGED : image->outcome;
}

/* ---- for status.c ---- */

void fetch_look(void)
{
	stats.open_files = 0;
	for (const struct file *f = files; f < end_of_files(); f++)
		stats.open_files += f->used;
	stats.reads_waiting = reads_used;
	stats.connections = lanes_connected();
	stats.link_rate = link_rate();
	stats.link_round_trip = link_round_trip_time();
}

const char *const fetch_state_words[FETCH_STATES] = {
	[STATE_OPENING] = "opening",
	[STATE_TRACE] = "trace",
	[STATE_WALK] = "walk",
	[STATE_FILLING] = "filling",
	[STATE_RECORDING] = "recording",
	[STATE_CACHED] = "cached",
	[STATE_CHANGED] = "changed",
};

static struct file *file_of(const struct image *image)
{
	struct file *f = files;

	while (f < end_of_files() && (!f->used || f->image != image))
		f++;
	return f < end_of_files() ? f : NULL;
}

unsigned fetch_states(const struct image *image)
{
	const struct file *f = file_of(image);

	if (!f)
		return 0;
	return (unsigned)f->opening << STATE_OPENING |
	       (unsigned)(f->trace == TRACE_ASKED || player.file == (int)number_of(f))
		       << STATE_TRACE |
	       (unsigned)(walked == (int)number_of(f)) << STATE_WALK |
	       (unsigned)is_filling(f) << STATE_FILLING |
	       (unsigned)is_recording(f) << STATE_RECORDING | (unsigned)f->filled << STATE_CACHED |
	       (unsigned)image->changed << STATE_CHANGED;
}

bool fetch_count_cached(struct image *image)
{
	const struct file *f = file_of(image);
	struct image_stats *s = &image->stats;

	for (int i = 0; i < COUNT_STEPS && f && s->cached_to < image->size; i++) {
		uint64_t hole_end = image->size;
		int64_t hole = front->hole(number_of(f), s->cached_to, image->size, &hole_end);

		if (hole < 0)
			return true; /* it cannot tell now */
		s->cached += (uint64_t)hole - s->cached_to;
		s->cached_to = (uint64_t)hole < image->size ? hole_end : image->size;
	}
	return !f || s->cached_to >= image->size;
}

void fetch_stop(void)
{
	for (struct read *r = reads; r < end_of_reads(); r++)
		if (r->used)
			end_read(r, false);
}

bool fetch_full(void)
{
	return reads_used == budget.reads;
}

size_t fetch_poll(struct pollfd out[CONNECTIONS_MAX])
{
	return lanes_poll(out);
}

int64_t fetch_next(void)
{
	int64_t next = unfinished ? clock_now : reads_used > 0 ? clock_now + TICK : INT64_MAX;

	next = sooner(next, sooner(lanes_next(), record_next));
	for (const struct file *f = files; f < end_of_files(); f++) {
		bool filling = is_filling(f);

		if (f->used && f->fill_after > clock_now)
			next = sooner(next, f->fill_after);
		if (!f->used || !(f->opening || filling || reads_used > 0))
			continue;
		if (f->opening || filling)
			next = sooner(next, clock_now + TICK);
		if (f->image->not_before > clock_now)
			next = sooner(next, f->image->not_before);
	}
	return next;
}

void fetch_run(const struct pollfd *polled, int64_t now)
{
	clock_now = now;
	lanes_run(polled, now);
	expire();
	unfinished = true;
	for (int i = 0; i < ROUNDS && unfinished; i++) {
		start_opens();
		start_reads();
		start_traces();
		start_ahead();
		unfinished = lanes_start();
	}
	tell_progress();
	record_next = trace_record_flush(now);
}
