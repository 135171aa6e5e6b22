#include "fetch/fetch.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stats.h"
#include "image/erofs.h"
#include "image/recorder.h"
#include "fetch/bandwidth.h"
#include "fetch/cluster.h"
#include "fetch/file.h"
#include "fetch/mirror.h"
#include "fetch/pool.h"
#include "fetch/prefetch.h"
#include "fetch/reads.h"
#include "fetch/recheck.h"
#include "fetch/refused.h"
#include "fetch/reuse.h"
#include "fetch/transfer.h"
#include "fetch/unasked.h"
#include "fetch/verify.h"

/* Milliseconds. */
#define WRITE_TIMEOUT 5000 /* a READ whose cache file is full for this long fails */
#define TICK	      250  /* between two checks of the READs' time-outs */

/* In a turn of the loop, free transfers are given work at most this often. */
#define ROUNDS 16

/* Pieces of an image that one call of fetch_count_cached() counts. */
#define COUNT_STEPS 128

static const struct conf *conf;
const struct frontend *frontend;
struct turn turn;
static enum fetch_whole whole_rule;
static bool compressed_unreadable;
static char *zeros;	    /* one page */
static bool unfinished;	    /* there may be work without an event to wait for */
static int64_t record_next; /* when recorder_flush() has to be called */

/* ---- images ---- */

/* Frees an image that no file has open any more, with its transfers. */
static void release_image(struct image *image)
{
	for (const struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->image == image)
			return;
	pool_drop_image(image);
	mirror_forget_redirect(image);
	image_free(image);
}

/* ---- READs ---- */

/* A READ behind the image's end gets one page of zeros; the kernel reads again for more. */
static void serve_tail(struct read_request *r)
{
	struct file *f = &files[r->file];
	struct file_fault fault; /* only what proves the image's end may be lacking */
	ssize_t n = file_write(f, zeros, page_size(), r->pos, &fault);

	if (n == -EINPROGRESS) {
		if (mirror_may_be_asked(f->image, turn.ms))
			pool_ask_tree(f, fault.lacks);
		return;
	}
	if (n != -EAGAIN || turn.ms - r->since >= WRITE_TIMEOUT)
		read_end(r, n > 0 ? OUTCOME_OK : OUTCOME_NO_SPACE);
}

/* ---- OPENs ---- */

static void refuse_open(struct file *f)
{
	struct image *image = f->image;

	log_err("%s: cannot be opened: %s (%s)", image_name(image), mirror_why(image),
		outcomes[image->outcome].words);
	f->opening = false;
	stats.opens_refused++;
	frontend->opened(number_of(f), image->outcome, 0);
	fetch_close(number_of(f));
}

static void answer_open(struct file *f)
{
	const struct state *pinned = &f->image->pinned;

	f->opening = false;
	frontend->opened(number_of(f), OUTCOME_OK,
		frontend->size_is_version ? pinned->reported_size : pinned->size);
}

/* All is known of its image. */
static void file_opened(struct file *f)
{
	struct image *image = f->image;

	f->whole = whole_rule == WHOLE_ALWAYS ||
		   (whole_rule == WHOLE_COMPRESSED && image_is_compressed(image));
	if (frontend->any_order && capacity.extents > 0 && image->pinned.kind != EROFS_NONE)
		f->block = EROFS_BLOCK;
	f->fill = f->whole || (frontend->any_order && conf->prefetch_all);
	f->since = turn.ms;
	if (f->whole)
		log_info("%s: all %llu bytes are fetched before the first READ is answered: %s",
			image_name(image), (unsigned long long)image->pinned.size,
			whole_rule == WHOLE_ALWAYS
				? "this kernel returns zeros from partly cached ranges (v8)"
			: conf->compressed == COMPRESSED_WHOLE
				? "compressed whole"
				: "this kernel mishandles partly cached compressed images (6.9 and "
				  "later)");
	if (compressed_unreadable && image->pinned.kind == EROFS_COMPRESSED)
		log_warning("%s: this kernel opens none of its compressed files (EOPNOTSUPP): "
			    "use Linux 6.9 or later, or an image without compression",
			image_name(image));
	if (conf->trace_record[0])
		f->recorder = recorder_open(image->cookie, image->cookie_size);
	if (frontend->any_order)
		prefetch_open(f);
	recheck_begin(f);
	if (f->image->check != CHECK_FIRST)
		answer_open(f);
}

/* ---- results of transfers ---- */

/* Answers the OPENs that wait for the image, if nothing has to be checked before. Returns one of
 * their files, -1 if none was. */
static int answer_opens(struct image *image)
{
	int file = -1;

	image->ready = true;
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->opening && f->image == image) {
			file_opened(f);
			file = f->opening ? file : (int)number_of(f);
		}
	return file;
}

/* Whether the first block of an image fits its root hash, before anything is made of it. Its size
 * is the tree's (tree_pin()). */
static bool is_verified(const struct transfer_result *r)
{
	struct tree *tree = image_tree(r->image);
	struct file_fault fault = {.why = ""};
	enum tree_verdict verdict;

	if (image_lacks_root(r->image)) {
		transfer_free(r->transfer);
		return false;
	}
	if (!tree)
		return true;
	verdict = tree_judge(tree, 0, r->bytes, &fault.lacks);
	if (verdict == TREE_LACKS)
		transfer_free(r->transfer); /* it has gone from memory: both are requested again */
	else if (verdict == TREE_UNFIT)
		transfer_unfit(r->transfer, &fault);
	return verdict == TREE_FITS;
}

static void image_opened(const struct transfer_result *r)
{
	struct image *image = r->image;
	char text[URL_MAX + 300];
	int file;

	if (!is_verified(r))
		return;
	image->pinned.kind = erofs_kind(r->bytes, r->size);
	log_info("%s: %llu bytes, %s, at %s", image_name(image),
		(unsigned long long)image->pinned.size,
		image->pinned.kind == EROFS_NONE    ? "not EROFS (a data blob?)"
		: image->pinned.kind == EROFS_PLAIN ? "plain EROFS"
						    : "compressed EROFS",
		url_text(text, sizeof(text), r->url));
	if (!image->pinned.etag[0] && !image->pinned.last_modified[0])
		log_warning("%s: %s", image_name(image), image_no_version);
	if (frontend->size_is_version)
		image_settle(image, text);
	mirror_works(image, r->transfer->mirror, r->transfer->server, turn.ms);
	file = answer_opens(image);
	if (frontend->any_order && image->pinned.kind != EROFS_NONE)
		prefetch_begin(image, r->bytes);
	transfer_write_head(r->transfer, frontend->any_order && !image->changed ? file : -1);
}

/* With `offline allow` an image whose servers cannot be reached is opened from what is cached. */
static void open_offline(struct image *image)
{
	if (image->ready || !conf->offline || !frontend->size_is_version || image->unknown ||
		!mirrors_are_unreachable(image))
		return;
	image->unknown = !verify_recall(image) && !verify_allows(image);
	if (image->unknown || !image_recall(image)) {
		verify_retract(image);
		return;
	}
	log_warning("%s: opened offline, its %llu bytes as they were when they were cached: %s",
		image_name(image), (unsigned long long)image->pinned.size, mirror_why(image));
	answer_opens(image);
}

/* Refuses OPENs of an image that no server has, or answers them from the cache; fails READs of a
 * version that no server has any more. */
static void settle_failures(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || !f->opening)
			continue;
		if (mirrors_refuse(f->image))
			verify_allows(f->image);
		if (f->image->refused)
			refuse_open(f);
		else
			open_offline(f->image);
	}
	for_each_read (r)
		if (files[r->file].image->changed)
			read_end(r, OUTCOME_CHANGED);
}

static void run_transfers(const struct pollfd *polled)
{
	struct transfer_result result;
	enum transfer_event event;

	while ((event = transfers_run(polled, &result)) != TRANSFERS_WAIT)
		if (event == TRANSFER_OPENED)
			image_opened(&result);
		else if (event == TRANSFER_PROOF)
			verify_take(&result);
		else
			prefetch_text(result.bytes, result.size, result.whole);
	settle_failures();
}

/* ---- OPENs and READs that wait ---- */

static void ask_open(struct file *f)
{
	if (!verify_ready(f))
		pool_drop_head(f->image); /* the tree may have no other connection to come by */
	else if (!pool_asks_head(f->image))
		pool_ask_head(f->image);
}

static void ask_doubted(void)
{
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && !f->opening)
			verify_doubt(f);
}

/* Starts asking for the size of images that are being opened. */
static void start_opens(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		struct image *image = f->image;

		if (!f->used || !f->opening || image->ready || !mirror_may_be_asked(image, turn.ms))
			continue;
		ask_open(f);
		if (pool_count(image) > 0 || image->refused)
			continue;
		pool_preempt(image);
		ask_open(f);
	}
}

/* The first of the READ's bytes that are neither in flight nor known to be cached. */
static uint64_t lacking(const struct read_request *r)
{
	uint64_t at = r->pos, to;

	while (at < r->end && (to = pool_cover(r->file, at)))
		at = frontend->any_order ? max_u64(to, r->asked) : r->end;
	return at;
}

/* The READ to serve next: the oldest of the image with the fewest transfers. */
static struct read_request *next_read(void)
{
	struct read_request *best = NULL;
	unsigned best_count = 0;

	for_each_read (r) {
		const struct file *f = &files[r->file];
		uint64_t at = lacking(r);
		unsigned n;

		if (is_held(f) || at >= min_u64(r->end, image_end(f->image)) ||
			reuse_is_opening(f) || !mirror_may_be_asked(f->image, turn.ms) ||
			pool_is_refused(f, at) || (r->tree && pool_cover(r->file, r->tree)))
			continue;
		n = pool_count(f->image);
		if (!best || n < best_count || (n == best_count && r->sequence < best->sequence)) {
			best = r;
			best_count = n;
		}
	}
	return best;
}

/* Requests the first hole in what the READ lacks, and more only with its beginning. False: no
 * transfer is free. */
static bool start_read(struct read_request *r)
{
	struct file *f = &files[r->file];
	uint64_t from = lacking(r), wanted = r->end;
	bool is_rest = from > r->pos,
	     more = frontend->any_order && r->kind == READ_USUAL && !is_rest;
	uint64_t end = more ? cluster_end(f, from, wanted) : wanted;
	uint64_t hole_end = end;
	int64_t hole = file_hole(f, from, end, &hole_end);

	if (hole < 0) /* unknown: all of it, for which a rest waits for its beginning */
		hole = (int64_t)(is_rest ? page_up(r->end) : from);
	if (page_down((uint64_t)hole) > from) {
		r->asked = page_down((uint64_t)hole);
		if (from == r->pos)
			reads_advance(r->file, from, r->asked);
		return true; /* the bytes that it waits for now may be in flight */
	}
	end = pool_ask(f, from, page_up(hole_end), NEED_READ);
	if (end == 0) {
		pool_preempt(f->image);
		end = pool_ask(f, from, page_up(hole_end), NEED_READ);
	}
	if (is_rest && (end == 0 || end >= TREE_BASE))
		r->asked = r->end; /* it waits for its beginning, and no other READ for it */
	else if (end == 0)
		return false;
	else if (end >= TREE_BASE)
		r->tree = end;
	else if (more)
		cluster_asked(f, from, wanted, end);
	return true;
}

/* False: one waits until a transfer is free. */
static bool start_reads(void)
{
	struct read_request *r;

	for_each_read (tail) {
		const struct file *f = &files[tail->file];

		if (!is_held(f) && tail->pos >= image_end(f->image))
			serve_tail(tail);
	}
	while (reads_used > 0 && (r = next_read()))
		if (!start_read(r))
			return false;
	return true;
}

/* ---- time-outs ---- */

/* When the last byte came that the READ waits for. */
static int64_t waiting_since(const struct read_request *r)
{
	const struct file *f = &files[r->file];
	int64_t since = later(r->since, pool_progress(r->file, r->pos));

	return is_held(f) ? later(since, f->since) : since;
}

/* A READ fails when attempts at its bytes have failed for the whole time-out, counted from the
 * first of them; what fails elsewhere in the image, or only takes long, is no reason. If its
 * servers were failing already when it came, the count starts with that outage, but one attempt
 * begun after the READ must have failed too. */
static bool has_expired(const struct read_request *r)
{
	const struct image *image = files[r->file].image;
	bool tried = is_held(&files[r->file]) ? image->last_failure >= r->since : r->tried;

	if (tried && turn.ms - waiting_since(r) >= mirror_timeout())
		return true;
	return image->failures > 0 && image->last_began >= r->since &&
	       turn.ms - image->failing_since >= mirror_timeout();
}

static void expire(void)
{
	for_each_read (r) {
		struct image *image = files[r->file].image;

		mirror_log_waiting(image, turn.ms);
		if (!has_expired(r))
			continue;
		if (image->reads_failed++ == 0)
			log_err("%s: the READ of %llu bytes at %llu failed after %u s: %s",
				image_name(image), (unsigned long long)(r->end - r->pos),
				(unsigned long long)r->pos, conf->timeout, mirror_why(image));
		read_end(r, image->outcome);
	}
	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || !f->opening)
			continue;
		mirror_log_waiting(f->image, turn.ms);
		if (f->image->last_failure >= f->since && turn.ms - f->since >= mirror_timeout())
			refuse_open(f);
	}
}

/* ---- the public functions ---- */

/* Cuts `count` objects of `size` bytes off `memory`. */
static void *cut(char **memory, size_t count, size_t size)
{
	void *first = *memory;

	*memory += round_to(count * size, 16);
	return first;
}

/* Blocks of trees in memory. */
static size_t tree_slots(const struct conf *c)
{
	if (!conf_verifies(c))
		return 0;
	return c->memory && c->memory < MEMORY_WITH_MAP ? TREE_SLOTS_MIN : TREE_SLOTS;
}

void fetch_costs(const struct conf *c, struct memory_costs *costs)
{
	costs->connection = transfers_memory_each();
	costs->file = sizeof(struct file) + image_memory_each(c);
	costs->read = sizeof(struct read_request);
	costs->extent = FILEMAP_EXTENT + DIRWALK_EXTENT;
	costs->given_way = tree_slots(c) * TREE_SLOT;
	costs->fixed = page_size() + prefetch_memory(0) + filemap_size(0) + image_memory_each(c) +
		       costs->given_way + 112;
}

size_t fetch_memory(const struct conf *c)
{
	struct memory_costs costs;

	fetch_costs(c, &costs);
	return costs.fixed + capacity.connections * (capacity.buffer + costs.connection) +
	       capacity.files * costs.file + capacity.reads * costs.read +
	       capacity.extents * costs.extent;
}

void fetch_init(const struct conf *c, const struct frontend *f, void *memory)
{
	char *next = memory;

	conf = c;
	frontend = f;
	zeros = cut(&next, 1, page_size());
	transfers_init(c, next);
	next += capacity.connections * (capacity.buffer + transfers_memory_each());
	mirrors_init(c);
	images_init(c, cut(&next, capacity.files + 1, image_memory_each(c)));
	trees_init(cut(&next, tree_slots(c), TREE_SLOT), tree_slots(c));
	verify_init(c);
	recheck_init(c);
	files = cut(&next, capacity.files, sizeof(struct file));
	reads = cut(&next, capacity.reads, sizeof(struct read_request));
	files_map(cut(&next, 1, filemap_size(capacity.extents)), capacity.extents);
	prefetch_init(c, cut(&next, 1, prefetch_memory(capacity.extents)));
}

void fetch_set_whole(enum fetch_whole whole, bool unreadable)
{
	whole_rule = whole;
	compressed_unreadable = unreadable;
}

static void begin_open(struct image *image)
{
	bool reopens = frontend->size_is_version && image_is_open(image);

	if (reopens && image_is_open_unverified(image))
		verify_waive(image);
	else
		verify_begin(image);
	/* Else a signed root hash is asked of a server: it may be another one by now. */
	if (!reopens)
		return;
	verify_recall(image);
	if (image_reopen(image))
		answer_opens(image);
}

void fetch_open(unsigned file, const char *volume, const void *cookie, size_t cookie_size)
{
	struct image *image = image_get(volume, cookie, cookie_size);

	files[file] = (struct file){.used = true,
		.number = file,
		.opening = true,
		.image = image,
		.since = turn.ms,
		.recorder = -1,
		.updates = true};
	reads_last = turn.ms;
	if (image->ready)
		file_opened(&files[file]);
	else
		begin_open(image);
}

void fetch_close(unsigned file)
{
	struct file *f = &files[file];

	for_each_read (r)
		if (r->file == file)
			read_drop(r);
	pool_drop_file(file);
	prefetch_close(f);
	reuse_close(f);
	if (is_recording(f))
		recorder_close(f->recorder);
	unasked_read(file, 0, UINT64_MAX);
	refused_forget(file);
	recheck_end(f);
	file_close(f);
	release_image(f->image);
}

void fetch_hit(unsigned file, uint64_t offset, uint64_t size)
{
	struct image_stats *s = &files[file].image->stats;

	reads_last = turn.ms;
	s->reads++;
	s->read_bytes += size;
	stats_answered(0);
	unasked_read(file, offset, offset + size);
}

void fetch_read(unsigned file, uint32_t id, uint64_t offset, uint64_t size, enum read_kind kind)
{
	struct file *f = &files[file];
	struct image *image = f->image;
	uint64_t from = page_down(offset), end = page_up(offset + size);

	for_each_read (r)
		if (r->id == id)
			read_drop(r);
		else if (kind == READ_USUAL && r->file == file && r->kind == READ_EXPECTED &&
			 r->pos <= from && end <= r->end)
			kind = READ_ALONE;
	if (kind != READ_EXPECTED) {
		image->stats.reads++;
		image->stats.read_bytes += size;
	}
	f->read |= kind == READ_USUAL;
	if (image->changed || size == 0 || offset > INT64_MAX - (uint64_t)page_size() ||
		size > INT64_MAX - (uint64_t)page_size() - offset) {
		read_refuse(file, id, image->changed ? OUTCOME_CHANGED : OUTCOME_LIMIT);
		return;
	}
	if (from < image_end(image) && end > image_end(image))
		end = image_end(image); /* the kernel reads again behind the image's end */
	if (!reads_wait(file))
		f->full_since = 0; /* the READ gets all of the time that a full cache file has */
	reads_add(file, id, from, end, kind);
	if (is_recording(f))
		recorder_touch(f->recorder, from, end - from);
	else if (frontend->any_order && kind == READ_USUAL && from < image_end(image))
		prefetch_read(f, from, end);
}

enum outcome fetch_outcome(unsigned file, const char **why)
{
	const struct image *image = files[file].image;

	*why = mirror_why(image);
	return image->changed ? OUTCOME_CHANGED : image->outcome;
}

/* ---- for status.c ---- */

void fetch_look(void)
{
	stats.open_files = 0;
	for (const struct file *f = files; f < end_of_files(); f++)
		stats.open_files += f->used;
	stats.reads_waiting = reads_used;
	stats.connections = pool_connections();
	stats.bandwidth_rate = bandwidth_rate();
	stats.bandwidth_rtt = bandwidth_rtt();
}

const char *const fetch_state_words[FETCH_STATES] = {
	[STATE_OPENING] = "opening",
	[STATE_TRACE] = "trace",
	[STATE_WALK] = "walk",
	[STATE_FILLING] = "filling",
	[STATE_RECORDING] = "recording",
	[STATE_CACHED] = "cached",
	[STATE_CHANGED] = "changed",
	[STATE_UNREAD] = "unread",
	[STATE_FULL] = "full",
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
		return (unsigned)image->unread
		       << (image->why[0] && !image->ready ? STATE_OPENING : STATE_UNREAD);
	return (unsigned)f->full << STATE_FULL | (unsigned)f->opening << STATE_OPENING |
	       (unsigned)is_tracing(f) << STATE_TRACE |
	       (unsigned)(f->walking && f->read) << STATE_WALK |
	       (unsigned)prefetch_is_filling(f) << STATE_FILLING |
	       (unsigned)is_recording(f) << STATE_RECORDING | (unsigned)f->filled << STATE_CACHED |
	       (unsigned)image->changed << STATE_CHANGED;
}

bool fetch_count_cached(struct image *image, uint64_t *to)
{
	const struct file *f = file_of(image);

	for (int i = 0; i < COUNT_STEPS && f && *to < image->pinned.size; i++) {
		uint64_t hole_end = image->pinned.size;
		int64_t hole = frontend->hole(number_of(f), *to, image->pinned.size, &hole_end);

		if (hole < 0)
			return true; /* it cannot tell now */
		image->stats.cached += (uint64_t)hole - *to;
		*to = (uint64_t)hole < image->pinned.size ? hole_end : image->pinned.size;
	}
	return !f || *to >= image->pinned.size;
}

void fetch_stop(void)
{
	for_each_read (r)
		read_end(r, OUTCOME_UNREACHABLE);
}

bool fetch_full(void)
{
	return reads_used == capacity.reads;
}

size_t fetch_poll(struct pollfd out[CONNECTIONS_MAX])
{
	return transfers_poll(out);
}

int64_t fetch_next(void)
{
	int64_t next = unfinished ? turn.ms : reads_used > 0 ? turn.ms + TICK : INT64_MAX;

	next = sooner(next, sooner(sooner(transfers_next(), record_next), prefetch_next()));
	next = sooner(sooner(next, refused_next()), recheck_next());
	next = sooner(next, sooner(reuse_next(), verify_next()));
	for (const struct file *f = files; f < end_of_files(); f++) {
		bool filling = prefetch_is_filling(f);

		if (f->used && f->ahead_after > turn.ms)
			next = sooner(next, f->ahead_after);
		if (filling && f->fill_after > turn.ms)
			next = sooner(next, f->fill_after);
		if (!f->used || !(f->opening || filling || reads_used > 0))
			continue;
		if (f->opening || filling)
			next = sooner(next, turn.ms + TICK);
		if (f->image->not_before > turn.ms)
			next = sooner(next, f->image->not_before);
	}
	return next;
}

void fetch_run(const struct pollfd *polled, int64_t us)
{
	struct file *checked;

	turn = (struct turn){us, us / 1000};
	run_transfers(polled);
	expire();
	unfinished = true;
	for (int i = 0; i < ROUNDS && unfinished; i++) {
		start_opens();
		pool_ask_lacking();
		ask_doubted();
		unfinished = prefetch_run(start_reads());
		unfinished |= transfers_unfinished();
		run_transfers(NULL);
	}
	checked = recheck_run();
	if (checked) {
		answer_open(checked);
		unfinished = true;
	}
	reuse_run();
	verify_run();
	prefetch_log();
	record_next = recorder_flush(turn.ms);
}
