#include "fetch/prefetch.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/units.h"
#include "image/trace.h"
#include "fetch/bandwidth.h"
#include "fetch/cluster.h"
#include "fetch/mirror.h"
#include "fetch/pool.h"
#include "fetch/readahead.h"
#include "fetch/reads.h"
#include "fetch/reuse.h"
#include "fetch/transfer.h"

/* Milliseconds. */
#define WRITE_AGAIN  20	   /* until a cache file that is not ready is looked at again */
#define PROGRESS     10000 /* between two log lines about an image that is filled */
#define STREAM_HOLDS 100   /* a stream goes on for this long after its last READ or prefetch */
#define WALK_WAITS   10000 /* for a device's first reader, if another image is opened */

/* With `read-ahead thrifty` a stream is fetched ahead by this share of what was read in it. */
#define THRIFTY_SHARE 32

/* The directory walk requests at most this many bytes of an image, and this share of it. */
#define WALK_BYTES (16 << 20)
#define WALK_SHARE 10

/* Look this many extents ahead in a trace for neighbours; join two across a gap of at most this
 * many bytes. */
#define TRACE_LOOK 128
#define TRACE_GAP  (16 << 10)

/* Ranges that are looked at in one call of prefetch_run(). */
#define STEPS 64

static const struct conf *conf;
static int64_t streamed_at;	       /* the last READ or prefetch of a stream */
static int64_t held_until = INT64_MAX; /* prefetching is held back until then */

/* The directories of one image at a time. */
static struct dirwalk *walk;
static struct file *walked; /* NULL: none */
static struct {
	uint64_t from, end;
	bool again; /* although it is cached */
} wanted;	    /* the range that the walk has named last, less what is requested of it */
static struct {
	int fd;		 /* of its cache file; -1: it has not been opened, */
	bool tried;	 /* or cannot be */
	uint64_t inodes; /* its pages before have been looked for inodes of files */
} cached = {.fd = -1};	 /* what was cached of the image that is walked */

/* One trace at a time. */
static struct {
	struct image *image; /* the trace itself, while it is requested */
	struct file *file;   /* NULL: none is played */
	struct trace trace;
	size_t next; /* of its extents */
	size_t tree; /* the first one by which nothing of the tree was requested */
} player;

static void end_walk(struct file *f)
{
	if (walked == f) {
		walked = NULL;
		fd_close(&cached.fd);
	}
	f->walk = NULL;
	f->walking = false;
}

/* ---- the boot trace ---- */

static void drop_trace_image(void)
{
	mirror_forget_redirect(player.image);
	image_free(player.image);
	player.image = NULL;
}

static void take_trace(struct file *f, const char *text, size_t size, bool whole)
{
	const char *why;

	player.next = player.tree = 0;
	player.trace.count = player.trace.left_out = 0;
	player.trace.image_size = f->image->pinned.size;
	why = trace_parse(&player.trace, text, size, whole);
	if (why) {
		log_warning("%s: its trace is not used: line %u: %s", image_name(f->image),
			player.trace.line, why);
		return;
	}
	player.file = f;
	f->trace = TRACE_PLAYING;
	log_info("%s: its trace of %zu ranges is fetched first", image_name(f->image),
		player.trace.count);
	if (player.trace.left_out > 0 || !whole)
		log_warning("%s: the trace is too long: its end is left out", image_name(f->image));
	end_walk(f); /* the trace knows better */
}

void prefetch_text(const char *text, size_t size, bool whole)
{
	drop_trace_image();
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->trace == TRACE_ASKED) {
			f->trace = TRACE_PLAYED;
			if (size > 0)
				take_trace(f, text, size, whole);
			return;
		}
}

static void start_traces(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || f->trace != TRACE_WANTED || player.image || player.file)
			continue;
		player.image = image_get_trace(f->image);
		f->trace = TRACE_ASKED;
		if (!player.image) {
			f->trace = TRACE_NONE;
		} else if (!pool_ask_text(player.image)) {
			f->trace = TRACE_WANTED;
			drop_trace_image();
			return;
		}
	}
}

static void forget_trace(struct file *f)
{
	if (player.file == f)
		player.file = NULL;
	if (f->trace == TRACE_ASKED && player.image) {
		pool_drop_image(player.image);
		drop_trace_image();
	}
}

const struct trace *prefetch_trace(const struct file *f)
{
	return player.file == f ? &player.trace : NULL;
}

/* ---- pieces ---- */

/* The end of the next request from here on: at a buffer's boundary, since pieces are written by
 * whole buffers, and the kernel's read-ahead has the same boundaries. */
static uint64_t piece_end(uint64_t from)
{
	uint64_t unit = capacity.buffer, end = from + page_up(bandwidth_piece());

	return end / unit > from / unit ? end / unit * unit : end;
}

/* Requests the first piece of [from, end) that is neither cached nor in flight. Returns up to where
 * the range is cached or in flight now, or must not be requested; `from`: nothing can be requested
 * now. */
static uint64_t ask_piece(struct file *f, uint64_t from, uint64_t end, enum need need)
{
	unsigned file = number_of(f);
	uint64_t hole_end = end, to = pool_cover(file, from);
	int64_t hole;

	if (to)
		return to;
	if (pool_is_refused(f, from))
		return from + page_size();
	hole = file_hole(f, from, end, &hole_end);
	if (hole < 0) {
		f->ahead_after = turn.ms + WRITE_AGAIN;
		return from;
	}
	if ((uint64_t)hole >= end)
		return page_up(end);
	if (page_down((uint64_t)hole) > from)
		return page_down((uint64_t)hole);
	to = pool_ask(f, from, min_u64(page_up(hole_end), piece_end(from)), need);
	return to && to < TREE_BASE ? to : from;
}

/* Each of the following requests one piece, or steps over one that need not be requested. They
 * return false when they have nothing to do now. */

static bool fetch_ahead_of_streams(void)
{
	unsigned file;
	uint64_t from, end, to;

	if (!readahead_next(&file, &from, &end))
		return false;
	if (!pool_may_prefetch(&files[file]) || is_recording(&files[file])) {
		readahead_forget(file);
		return true;
	}
	to = ask_piece(&files[file], from, end, NEED_GUESS);
	readahead_asked(file, from, to);
	if (to > from)
		streamed_at = turn.ms;
	return to > from;
}

/* Takes the extents that come soon and lie close behind this one with it: a request costs as much
 * as some pages. */
static void join_near(struct trace_extent *e)
{
	const struct trace_extent *end = player.trace.extents + player.trace.count;
	uint32_t gap = (uint32_t)(TRACE_GAP / page_size());
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

/* A block of the tree says whether the version before has what the trace names. So that each does
 * not have to be waited for in turn, they are requested at once. */
static void ask_digests(struct file *f)
{
	while (player.tree < player.trace.count &&
		pool_ask_digest(f, (uint64_t)player.trace.extents[player.tree].page * page_size()))
		player.tree++;
}

static bool play_trace(void)
{
	struct trace_extent *e = &player.trace.extents[player.next];
	struct file *f = player.file;
	uint64_t from, end, to;

	if (!f || !pool_may_prefetch(f))
		return false;
	if (player.next == player.trace.count) {
		f->trace = TRACE_PLAYED;
		player.file = NULL;
		start_traces(); /* no event may be left that would bring us here again */
		return true;
	}
	if (reuse_is_for(f))
		ask_digests(f);
	if (e->pages == 0) {
		player.next++;
		return true;
	}
	join_near(e);
	from = (uint64_t)e->page * page_size();
	end = from + (uint64_t)e->pages * page_size();
	to = ask_piece(f, from, min_u64(end, image_end(f->image)), NEED_SURE);
	if (to == from)
		return false;
	e->page = (uint32_t)(to / page_size());
	if (to >= min_u64(end, image_end(f->image)))
		player.next++;
	else
		e->pages = (uint32_t)((end - to) / page_size());
	return true;
}

static bool next_step(void)
{
	wanted.again = false;
	if (dirwalk_next(walk, &wanted.from, &wanted.end))
		return true;
	wanted.again = dirwalk_reread(walk, &wanted.from, &wanted.end);
	return wanted.again;
}

/* Shows the walk what was cached before it began. False: it cannot be read yet. */
static bool read_cached(struct file *f, uint64_t from, uint64_t to)
{
	char block[VERITY_BLOCK];

	if (!cached.tried) {
		cached.fd = frontend->cached ? frontend->cached(number_of(f)) : -1;
		cached.tried = cached.fd >= 0 || !frontend->cached || errno != EAGAIN;
		if (!cached.tried)
			held_until = turn.ms + WRITE_AGAIN;
	}
	for (; from < to && pread(cached.fd, block, sizeof(block), (off_t)from) == sizeof(block);
		from += sizeof(block))
		file_learn(f, block, from, sizeof(block));
	return cached.tried;
}

/* Once all directories are known: reads a page, if it is cached, of the inodes of files. One at a
 * time, as the disk has others to serve. */
static void read_inodes(struct file *f)
{
	uint64_t from = cached.inodes, hole_end;

	if (!dirwalk_is_over(walk) || !dirwalk_inodes(walk, &from) ||
		(file_hole(f, from, from + page_size(), &hole_end) > (int64_t)from &&
			!read_cached(f, from, from + page_size())))
		return;
	cached.inodes = from + page_size();
	held_until = turn.ms + 1;
}

static bool walk_on(void)
{
	struct file *f = walked;
	uint64_t to;

	if (!f || !f->read || !pool_may_prefetch(f) || f->trace == TRACE_ASKED)
		return false;
	if (wanted.from >= wanted.end && !next_step()) {
		read_inodes(f);
		if (dirwalk_is_over(walk) || !pool_is_busy(number_of(f)))
			f->walking = false;
		return false;
	}
	if (wanted.again)
		to = pool_ask(f, wanted.from, page_up(wanted.end), NEED_SURE);
	else
		to = ask_piece(f, wanted.from, page_up(wanted.end), NEED_SURE);
	if (to <= wanted.from || to >= TREE_BASE)
		return false;
	if (!pool_cover(number_of(f), wanted.from)) {
		to = min_u64(to, wanted.from + capacity.buffer);
		if (!read_cached(f, wanted.from, to))
			return false;
	}
	wanted.from = to;
	return true;
}

static bool fetch_near(void)
{
	struct file *f;
	uint64_t from, end, to, before = transfers_outstanding();

	if (!cluster_next(&f, &from, &end))
		return false;
	f->passed = 0;
	to = ask_piece(f, from, end, NEED_GUESS);
	if (to == from)
		return false;
	cluster_advance(to, transfers_outstanding() - before);
	return true;
}

/* ---- whole images ---- */

bool prefetch_is_filling(const struct file *f)
{
	return f->used && !f->opening && f->fill && !f->filled && !f->image->changed;
}

static void all_cached(struct file *f)
{
	f->filled = true;
	log_info("%s: all %llu bytes are cached", image_name(f->image),
		(unsigned long long)f->image->pinned.size);
	reads_advance(number_of(f), 0, image_end(f->image));
	pool_hang_up();
}

/* Nothing is left from the cursor on: looks once more from the beginning. */
static void check_filled(struct file *f)
{
	uint64_t hole_end, end = image_end(f->image);
	int64_t hole;

	if (pool_is_busy(number_of(f)))
		return;
	hole = file_hole(f, 0, end, &hole_end);
	if (hole < 0)
		f->ahead_after = turn.ms + WRITE_AGAIN;
	else if ((uint64_t)hole >= end)
		all_cached(f);
	else if (!pool_is_refused(f, page_down((uint64_t)hole)))
		f->cursor = page_down((uint64_t)hole);
}

/* Spreads background filling over time, unless READs wait for it. */
static void keep_rate(struct file *f, uint64_t bytes)
{
	if (!f->whole && conf->prefetch_rate > 0)
		f->fill_after = turn.ms + (int64_t)(bytes * 1000 / conf->prefetch_rate);
}

static bool fill_on(struct file *f)
{
	uint64_t to, end = image_end(f->image), before = transfers_outstanding();

	if (f->cursor >= end) {
		check_filled(f);
		return f->cursor < end;
	}
	to = ask_piece(f, f->cursor, end, NEED_SURE);
	if (to == f->cursor)
		return false;
	f->cursor = to;
	keep_rate(f, transfers_outstanding() - before);
	return true;
}

static bool fill_files(void)
{
	static unsigned place; /* files take turns */

	for (unsigned i = 0; i < capacity.files; i++) {
		struct file *f = &files[place++ % capacity.files];

		if (prefetch_is_filling(f) && pool_may_prefetch(f) && f->trace != TRACE_ASKED &&
			turn.ms >= f->fill_after && fill_on(f))
			return true;
	}
	return false;
}

void prefetch_log(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		char rate[32];

		if (!prefetch_is_filling(f) || f->written == 0 || turn.ms - f->logged_at < PROGRESS)
			continue;
		log_info("%s: %llu of %llu bytes are asked for or cached, %s", image_name(f->image),
			(unsigned long long)f->cursor, (unsigned long long)f->image->pinned.size,
			measure_rate(rate, f->written, (turn.ms - f->logged_at) * 1000));
		f->logged_at = turn.ms;
		f->written = 0;
	}
}

/* ---- the public functions ---- */

size_t prefetch_memory(size_t extents)
{
	return round_to(dirwalk_size(extents), 16) +
	       TRACE_EXTENTS_MAX * sizeof(struct trace_extent);
}

void prefetch_init(const struct conf *c, void *memory)
{
	conf = c;
	walk = dirwalk_init(memory, capacity.extents);
	player.trace = (struct trace){.max = TRACE_EXTENTS_MAX, .page = page_size()};
	player.trace.extents =
		(void *)((char *)memory + round_to(dirwalk_size(capacity.extents), 16));
}

void prefetch_open(struct file *f)
{
	f->logged_at = turn.ms;
	if (conf->read_ahead == READ_AHEAD_AUTO)
		cluster_open(f);
	if (!is_recording(f) && !f->whole && !conf->trace_none && f->image->failures == 0)
		f->trace = TRACE_WANTED;
}

void prefetch_begin(const struct image *image, const void *head)
{
	if (conf->read_ahead != READ_AHEAD_AUTO ||
		(walked && walked->walking &&
			(walked->read || turn.ms - walked->since < WALK_WAITS)))
		return;
	if (walked)
		end_walk(walked);
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->image == image && !f->whole && !is_recording(f) &&
			dirwalk_start(walk, head, image->pinned.size, page_size(),
				min_u64(WALK_BYTES, image->pinned.size / WALK_SHARE))) {
			walked = f;
			f->walk = walk;
			f->walking = true;
			wanted.from = wanted.end = 0;
			cached.tried = false;
			cached.inodes = 0;
			return;
		}
}

void prefetch_close(struct file *f)
{
	readahead_forget(number_of(f));
	cluster_close(f);
	forget_trace(f);
	end_walk(f);
}

/* An inode is looked up: others may be next. Two round trips' worth of them cost hardly more time
 * than the READ itself. */
static void read_metadata(struct file *f, uint64_t from)
{
	if (f->walk)
		dirwalk_call(f->walk, from, 2 * bandwidth_per_rtt() / page_size() + 1);
}

static unsigned stream_share(void)
{
	return conf->read_ahead == READ_AHEAD_THRIFTY ? THRIFTY_SHARE : 1;
}

void prefetch_read(struct file *f, uint64_t from, uint64_t end)
{
	uint64_t begin, file_end;

	if (conf->read_ahead == READ_AHEAD_NONE)
		return;
	if (conf->read_ahead == READ_AHEAD_AUTO)
		cluster_earn(f, from, end);
	if (is_metadata(f, from, end)) {
		read_metadata(f, from);
		return;
	}
	if (!file_extent(f, from, &begin, &file_end))
		file_end = image_end(f->image);
	/* READs of inodes also move forward, but the bytes between them are not read: they make no
	 * stream. Nor does anything while a trace is played, which knows better. */
	if (!is_tracing(f) &&
		readahead_read(number_of(f), from, end, end, stream_share(),
			page_down(4 * bandwidth_window(QUEUE_LONG)), file_end, image_end(f->image)))
		streamed_at = turn.ms;
}

/* The bytes in flight are bounded, so that a new READ waits behind few of them. The sources are
 * tried in the order of how likely their bytes are to be read. */
bool prefetch_run(bool may)
{
	uint64_t most = bandwidth_window(QUEUE_LONG);
	uint64_t less = bandwidth_is_starting() ? most : bandwidth_window(QUEUE_SHORT);

	held_until = INT64_MAX;
	if (!may)
		return false;
	start_traces();
	for (int i = 0; i < STEPS; i++) {
		if (transfers_outstanding() >= most)
			return false;
		if (fetch_ahead_of_streams() || play_trace())
			continue;
		if (transfers_outstanding() >= less)
			return false;
		if (fetch_near())
			continue;
		if (turn.ms - streamed_at < STREAM_HOLDS) {
			held_until = streamed_at + STREAM_HOLDS;
			return false;
		}
		if (!walk_on() && !fill_files())
			return false;
	}
	return true;
}

int64_t prefetch_next(void)
{
	return held_until;
}
