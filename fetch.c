#include "fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "erofs.h"
#include "file.h"
#include "holes.h"
#include "lane.h"
#include "link.h"
#include "log.h"
#include "outcome.h"
#include "prefetch.h"
#include "stats.h"
#include "trace.h"

/* Milliseconds. */
#define WRITE_PATIENCE 5000 /* full for so long: the READ fails */
#define TICK	       250  /* how often waiting READs are looked at */

/* So often in a turn of the loop what is free is given work. */
#define ROUNDS 16

/* Pieces of an image that are counted in a turn of the loop. */
#define COUNT_STEPS 128

struct read {
	bool used;
	unsigned file;
	uint32_t id;
	uint64_t pos, end; /* what is still missing, whole pages */
	int64_t came;
	int64_t since; /* its arrival or last progress */
	uint64_t sequence;
};

static const struct conf *conf;
static const struct front *front;
static enum fetch_whole whole_rule;
static char *zeros; /* one page */
struct file *files;
static struct read *reads; /* budget.reads */
static unsigned reads_used;
static uint64_t sequence;
static int64_t clock_now;   /* of this turn of the loop */
static bool unfinished;	    /* lanes may be free for more, without anything to wait for */
static int64_t record_next; /* when trace.c wants its turn */

static struct read *end_of_reads(void)
{
	return reads + budget.reads;
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

int64_t file_hole(const struct file *f, uint64_t from, uint64_t end, uint64_t *hole_end)
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
	ssize_t n = front->write(r->file, zeros, page_size(), r->pos);

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

void file_filled(struct file *f)
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
	f->whole = whole_rule == WHOLE_ALWAYS ||
		   (whole_rule == WHOLE_COMPRESSED && image_is_compressed(image));
	f->fill = f->whole || (front->is_cache && conf->prefetch_all);
	f->since = clock_now;
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
	if (front->is_cache)
		prefetch_open(f, clock_now);
	front->opened(number_of(f), OUTCOME_OK, front->is_cache ? image->told_size : image->size);
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
	if (front->is_cache && image->kind != EROFS_NONE)
		prefetch_begin(image, head);
	return front->is_cache ? file : -1;
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
	prefetch_pause(f, clock_now);
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

uint64_t file_ask(struct file *f, uint64_t from, uint64_t end, unsigned behind)
{
	if (is_another_starved(f->image))
		behind = 0;
	end = lanes_until(number_of(f), from, end);
	return lane_ask(f->image, number_of(f), from, least_of(end, f->image->size), behind) ? end
											     : 0;
}

bool file_may_ask_ahead(const struct file *f)
{
	return f->used && !f->opening && may_ask(f->image) && clock_now >= f->ahead_after &&
	       !is_another_starved(f->image);
}

/* Asks for the first hole in the READ's range. Returns false when no lane is free. */
static bool start_read(struct read *r)
{
	struct file *f = &files[r->file];
	uint64_t end = front->is_cache ? prefetch_cluster(f, r->pos, r->end) : r->end;
	uint64_t hole_end = end;
	int64_t hole = file_hole(f, r->pos, end, &hole_end);

	if (hole < 0)
		hole = (int64_t)r->pos; /* it cannot tell: fetch all of it */
	if (page_down((uint64_t)hole) > r->pos) {
		advance_reads(r->file, r->pos, page_down((uint64_t)hole));
		return true; /* what it waits for now may be under way */
	}
	end = file_ask(f, r->pos, page_up(hole_end), HTTP_AHEAD_MAX);
	if (end == 0) {
		lanes_steal(f->image);
		end = file_ask(f, r->pos, page_up(hole_end), HTTP_AHEAD_MAX);
	}
	if (end == 0)
		return false;
	if (front->is_cache)
		prefetch_clustered(f, r->pos, r->end, end);
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
	.text = prefetch_text,
	.passing = prefetch_see,
	.written = bytes_written,
	.waited_for = waited_for,
	.dropped = range_dropped,
	.unwritable = file_unwritable,
	.failed = attempt_failed};

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
	costs->fixed = page_size() + prefetch_memory() + image_memory_each() + 64;
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
	zeros = cut(&next, 1, page_size());
	lanes_init(c, f, &lane_user, next);
	next += budget.connections * (budget.buffer + lanes_memory_each());
	images_init(c, cut(&next, budget.files + 1, image_memory_each()));
	files = cut(&next, budget.files, sizeof(struct file));
	reads = cut(&next, budget.reads, sizeof(struct read));
	prefetch_init(c, cut(&next, 1, prefetch_memory()));
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

void fetch_close(unsigned file)
{
	struct file *f = &files[file];

	for (struct read *r = reads; r < end_of_reads(); r++)
		if (r->used && r->file == file) {
			r->used = false;
			reads_used--;
		}
	lanes_drop_file(file);
	holes_forget(file);
	prefetch_close(f);
	if (is_recording(f))
		trace_record_close(f->recorder);
	f->used = false;
	release_image(f->image);
}

bool fetch_is_awaited(unsigned file)
{
	for (const struct read *r = reads; r < end_of_reads(); r++)
		if (r->used && r->file == file)
			return true;
	return false;
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
	if (image->changed || size == 0 || offset > INT64_MAX - (uint64_t)page_size() ||
		size > INT64_MAX - (uint64_t)page_size() - offset) {
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
	if (is_recording(f))
		trace_record_touch(f->recorder, r->pos, r->end - r->pos);
	else if (front->is_cache && r->pos < end)
		prefetch_read(f, r->pos, r->end, clock_now);
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
	       (unsigned)prefetch_is_tracing(f) << STATE_TRACE |
	       (unsigned)prefetch_is_walking(f) << STATE_WALK |
	       (unsigned)prefetch_is_filling(f) << STATE_FILLING |
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

	next = sooner(next, sooner(sooner(lanes_next(), record_next), prefetch_next()));
	for (const struct file *f = files; f < end_of_files(); f++) {
		bool filling = prefetch_is_filling(f);

		if (f->used && f->ahead_after > clock_now)
			next = sooner(next, f->ahead_after);
		if (filling && f->fill_after > clock_now)
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

void fetch_run(const struct pollfd *polled, int64_t us)
{
	clock_now = us / 1000;
	lanes_run(polled, us);
	expire();
	unfinished = true;
	for (int i = 0; i < ROUNDS && unfinished; i++) {
		start_opens();
		start_reads();
		unfinished = prefetch_run(clock_now);
		unfinished |= lanes_start();
	}
	prefetch_tell(clock_now);
	record_next = trace_record_flush(clock_now);
}
