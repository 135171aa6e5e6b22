#include "fetch/prefetch.h"

#include "fetch/readahead.h"
#include "image/erofs.h"
#include "fetch/transfer.h"
#include "fetch/bandwidth.h"
#include "base/log.h"
#include "base/units.h"
#include "fetch/reads.h"
#include "image/trace.h"
#include "image/dirwalk.h"

/* Milliseconds. */
#define WRITE_AGAIN 20	  /* the cache file is not ready */
#define PROGRESS    10000 /* how often the filling of a whole image is told */

/* A walk through the directories asks for so much of an image at most, and for a share of it. */
#define WALK_BYTES (16 << 20)
#define WALK_SHARE 8

/* It rests after so many READs of data in a row: nobody looks at names then. */
#define WALK_RESTS 2

/* Two of its ranges with a gap of so much are asked for as one: a request costs as much. */
#define WALK_GAP (32 << 10)

/* What nobody waits for yet is put behind so few ranges that somebody else can still be. */
#define BEHIND (PIPELINE_MAX / 2)

/* Of a trace, so many extents are looked at for some with a gap of so few bytes to the next one. */
#define TRACE_LOOK 128
#define TRACE_GAP  (16 << 10)

/* While a stream holds the link is its own: so long after its last READ, and after what was asked
 * for ahead of it, in milliseconds, what only may be wanted is not asked for. */
#define STREAM_HOLDS 100

/* So many ranges that need not be asked for are stepped over in a turn of the loop. */
#define STEPS 64

/* Zones of images that were read lately: what is near is fetched when the link has nothing else to
 * carry. */
#define ZONE  (512 << 10)
#define ZONES 64

/* What is fetched with a READ of metadata, in all. */
#define METADATA_CLUSTER (20 << 10)

/* For each byte that is asked for where there is no stream, so many are fetched besides; and some
 * more at first. */
#define CREDIT_RATIO 3
#define CREDIT_SHARE 16 /* of the image, at first */
#define CREDIT_MAX   (8 << 20)
#define EARN_MAX     8 /* so many READs are reckoned with for one at most */

/* The neighbourhood of a READ. What lies behind the READ comes first, then what lies before it. */
struct zone {
	unsigned file;
	uint64_t number;
	uint64_t turn;	/* larger is later; 0: never */
	uint64_t at;	/* up to here it is asked for */
	uint64_t from;	/* where the READ began */
	uint64_t asked; /* bytes of it, in all */
	bool before;	/* it is at what lies before */
	bool over;
};

static const struct conf *conf;
static struct zone zones[ZONES];
static uint64_t last_turn;	       /* of a zone */
static int64_t streamed_at;	       /* when a stream was last seen to hold */
static unsigned data_reads;	       /* in a row, none of metadata between them */
static int64_t read_at;		       /* when the last one came */
static int64_t held_until = INT64_MAX; /* what is held back now has to be looked at again then */

/* The walk through the directories of one image at a time. */
static struct dirwalk *walk;
static struct file *walked; /* NULL: none */
static struct {
	uint64_t from, end;
	bool again; /* although it is cached */
} wanted;	    /* the range that it has named and that is not asked for yet */

/* The trace that is played, one at a time. */
static struct {
	struct image *image; /* the trace itself, while it is asked for */
	int file;	     /* -1: none */
	struct trace trace;
	size_t next; /* of its extents */
} player;

/* ---- near to what was read ---- */

/* The zone of the byte at `pos`; NULL: nothing was read there lately. */
static struct zone *find_zone(unsigned file, uint64_t pos)
{
	for (struct zone *z = zones; z < zones + ZONES; z++)
		if (z->turn > 0 && z->file == file && z->number == pos / ZONE)
			return z;
	return NULL;
}

/* The same; a new one takes the place of the one read longest ago. */
static struct zone *zone_of(unsigned file, uint64_t pos)
{
	struct zone *oldest = find_zone(file, pos);

	if (oldest)
		return oldest;
	oldest = zones;
	for (struct zone *z = zones; z < zones + ZONES; z++)
		if (z->turn < oldest->turn)
			oldest = z;
	*oldest = (struct zone){.file = file, .number = pos / ZONE};
	return oldest;
}

/* A READ comes only for what is not cached: where half of a zone is, another will have been
 * answered without one. */
static void earn_credit(struct file *f, uint64_t from, uint64_t end)
{
	const struct zone *z = find_zone(number_of(f), from);
	uint64_t asked = z ? z->asked : 0;
	uint64_t left = asked < ZONE - ZONE / EARN_MAX ? ZONE - asked : ZONE / EARN_MAX;

	f->credit += CREDIT_RATIO * (int64_t)(least_of(end - from, CREDIT_MAX) * ZONE / left);
	if (f->credit > CREDIT_MAX)
		f->credit = CREDIT_MAX;
}

/* Metadata is read page by page (fs/erofs/data.c), files by more. */
static bool is_metadata(uint64_t from, uint64_t end)
{
	return end - from == page_size();
}

bool prefetch_is_tracing(const struct file *f)
{
	return f->trace == TRACE_ASKED || player.file == (int)number_of(f);
}

/* What is wanted of the metadata next the walk knows better, and of all a trace. */
uint64_t prefetch_cluster(const struct file *f, uint64_t from, uint64_t end)
{
	uint64_t n = page_up(is_metadata(from, end) ? METADATA_CLUSTER : bandwidth_per_rtt());

	if (is_recording(f) || prefetch_is_tracing(f) || end - from >= n || f->credit <= 0)
		return end;
	return least_of(
		least_of(from + n, end + page_up((uint64_t)f->credit)), image_end(f->image));
}

void prefetch_clustered(struct file *f, uint64_t from, uint64_t end, uint64_t asked)
{
	struct zone *z;

	if (asked > end) {
		f->credit -= (int64_t)(asked - end);
		readahead_asked(number_of(f), end, asked);
	}
	if (is_recording(f) || prefetch_is_tracing(f) || is_metadata(from, end))
		return;
	z = zone_of(number_of(f), from);
	z->turn = ++last_turn;
	z->from = from;
	z->at = asked;
	z->asked += asked - from;
	z->before = z->over = false;
}

static void forget_zones(unsigned file)
{
	for (struct zone *z = zones; z < zones + ZONES; z++)
		if (z->file == file)
			z->turn = 0;
}

static void end_walk(struct file *f)
{
	if (walked == f)
		walked = NULL;
	f->walk = NULL;
}

/* ---- the boot trace ---- */

/* What it says comes before all that is only likely. Another image's, which may have to wait for a
 * dead server, is not waited for. */
static bool awaits_trace(const struct file *f)
{
	return f->trace == TRACE_ASKED;
}

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
	end_walk(f); /* the trace knows better */
}

void prefetch_text(struct image *trace, const char *text, size_t size, bool whole)
{
	struct file *f = asker_of_trace();

	player.image = NULL;
	image_free(trace);
	if (!f)
		return;
	f->trace = TRACE_PLAYED;
	if (size > 0)
		take_trace(f, text, size, whole);
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

/* ---- pieces ---- */

/* Where the next request from here on ends: pieces are written by whole buffers, whose boundaries
 * are those of the kernel's read-ahead too. */
static uint64_t piece_end(uint64_t from)
{
	uint64_t unit = capacity.buffer, end = from + page_down(bandwidth_piece());

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
	hole = file_hole(f, from, end, &hole_end);
	if (hole < 0) {
		f->ahead_after = turn.ms + WRITE_AGAIN;
		return from;
	}
	if ((uint64_t)hole >= end)
		return page_up(end);
	if (page_down((uint64_t)hole) > from)
		return page_down((uint64_t)hole);
	to = lane_ask(f, from, least_of(page_up(hole_end), piece_end(from)), BEHIND);
	return to ? to : from;
}

/* Each of these asks for one piece, or steps over what need not be asked for. They return false
 * when there is nothing that they could do now. */

static bool fetch_ahead_of_streams(void)
{
	unsigned file;
	uint64_t from, end, to;

	if (!readahead_next(&file, &from, &end))
		return false;
	if (!lanes_may_ask_ahead(&files[file]) || is_recording(&files[file])) {
		readahead_forget(file);
		return true;
	}
	to = ask_piece(&files[file], from, end);
	readahead_asked(file, from, to);
	if (to > from)
		streamed_at = turn.ms;
	return to > from;
}

/* A request costs as much as some pages: extents that come soon and lie close behind this one are
 * taken with it. */
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

static bool play_trace(void)
{
	struct trace_extent *e = &player.trace.extents[player.next];
	struct file *f = &files[player.file < 0 ? 0 : player.file];
	uint64_t from, end, to;

	if (player.file < 0 || !lanes_may_ask_ahead(f))
		return false;
	if (player.next == player.trace.count) {
		player.file = -1;
		start_traces(); /* no event may be left that would bring us here again */
		return true;
	}
	if (e->pages == 0) {
		player.next++;
		return true;
	}
	join_near(e);
	from = (uint64_t)e->page * page_size();
	end = from + (uint64_t)e->pages * page_size();
	to = ask_piece(f, from, least_of(end, image_end(f->image)));
	if (to == from)
		return false;
	e->page = (uint32_t)(to / page_size());
	if (to >= least_of(end, image_end(f->image)))
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

static bool walk_on(void)
{
	struct file *f = walked;
	uint64_t to;

	if (!f || !lanes_may_ask_ahead(f) || awaits_trace(f))
		return false;
	if (data_reads >= WALK_RESTS && turn.ms - read_at < STREAM_HOLDS) {
		held_until = read_at + STREAM_HOLDS;
		return false;
	}
	if (wanted.from >= wanted.end && !next_step()) {
		if (dirwalk_is_over(walk) || !lanes_busy(number_of(f)))
			end_walk(f);
		return false;
	}
	if (wanted.again)
		to = lane_ask(f, wanted.from, page_up(wanted.end), BEHIND);
	else
		to = ask_piece(f, wanted.from, page_up(wanted.end));
	if (to <= wanted.from)
		return false;
	wanted.from = to;
	return true;
}

/* The zone that was read last and of which something is left. */
static struct zone *next_zone(void)
{
	struct zone *best = NULL;

	for (struct zone *z = zones; z < zones + ZONES; z++)
		if (z->turn > 0 && !z->over && (!best || z->turn > best->turn) &&
			files[z->file].credit > 0 && lanes_may_ask_ahead(&files[z->file]))
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
	z->asked += lanes_outstanding() - before;
	f->credit -= (int64_t)(lanes_outstanding() - before);
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
	log_info("%.*s: all %llu bytes are cached", IMAGE_NAME(f->image),
		(unsigned long long)f->image->size);
	reads_advance(number_of(f), 0, image_end(f->image));
	lanes_hang_up();
}

/* Nothing is left to ask for from the cursor on: looks once more from the beginning. */
static void check_filled(struct file *f)
{
	uint64_t hole_end, end = image_end(f->image);
	int64_t hole;

	if (lanes_busy(number_of(f)))
		return;
	hole = file_hole(f, 0, end, &hole_end);
	if (hole < 0)
		f->ahead_after = turn.ms + WRITE_AGAIN;
	else if ((uint64_t)hole < end)
		f->cursor = page_down((uint64_t)hole);
	else
		all_cached(f);
}

/* Spreads what is fetched in the background over time; what somebody waits for is not. */
static void keep_rate(struct file *f, uint64_t bytes)
{
	if (!f->whole && conf->prefetch_rate > 0)
		f->fill_after = turn.ms + (int64_t)(bytes * 1000 / conf->prefetch_rate);
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
	static unsigned place; /* each file has its turn */

	for (unsigned i = 0; i < capacity.files; i++) {
		struct file *f = &files[place++ % capacity.files];

		if (prefetch_is_filling(f) && lanes_may_ask_ahead(f) && !awaits_trace(f) &&
			turn.ms >= f->fill_after && fill_on(f))
			return true;
	}
	return false;
}

void prefetch_tell(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		char rate[32];

		if (!prefetch_is_filling(f) || turn.ms - f->told < PROGRESS)
			continue;
		log_info("%.*s: %llu of %llu bytes are asked for or cached, %s",
			IMAGE_NAME(f->image), (unsigned long long)f->cursor,
			(unsigned long long)f->image->size,
			measure_rate(rate, f->written, (turn.ms - f->told) * 1000));
		f->told = turn.ms;
		f->written = 0;
	}
}

/* ---- the public functions ---- */

size_t prefetch_memory(void)
{
	return round_to(dirwalk_size(), 16) + TRACE_EXTENTS_MAX * sizeof(struct trace_extent);
}

void prefetch_init(const struct conf *c, void *memory)
{
	conf = c;
	walk = memory;
	player.trace = (struct trace){.max = TRACE_EXTENTS_MAX, .page = page_size()};
	player.trace.extents = (void *)((char *)memory + round_to(dirwalk_size(), 16));
	player.file = -1;
}

void prefetch_open(struct file *f)
{
	f->told = turn.ms;
	f->credit = (int64_t)least_of(CREDIT_MAX, f->image->size / CREDIT_SHARE);
	if (!is_recording(f) && !f->whole && !conf->trace_none && f->image->failures == 0)
		f->trace = TRACE_WANTED;
}

/* Only what is recorded has to be asked for by the kernel. */
void prefetch_begin(const struct image *image, const void *head)
{
	if (walked)
		return;
	for (struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->image == image && !f->whole && !is_recording(f) &&
			dirwalk_start(walk, head, image->size, page_size(), WALK_GAP,
				least_of(WALK_BYTES, image->size / WALK_SHARE))) {
			walked = f;
			f->walk = walk;
			wanted.from = wanted.end = 0;
			return;
		}
}

void prefetch_close(struct file *f)
{
	readahead_forget(number_of(f));
	forget_zones(number_of(f));
	forget_trace(number_of(f));
	end_walk(f);
}

void prefetch_read(struct file *f, uint64_t from, uint64_t end)
{
	earn_credit(f, from, end);
	read_at = turn.ms;
	data_reads = is_metadata(from, end) ? 0 : data_reads + 1;
	/* A reader of inodes goes on as well, but what lies between them is not what it reads; what
	 * comes next a trace knows better. */
	if (!is_metadata(from, end) && !prefetch_is_tracing(f) &&
		readahead_read(number_of(f), from, end, end, page_down(4 * bandwidth_window(QUEUE_LONG)),
			image_end(f->image)))
		streamed_at = turn.ms;
}

/* So little is under way at any time that who comes to wait does not wait long for it. The order
 * is that of how likely it is that somebody will. */
bool prefetch_run(void)
{
	uint64_t most = bandwidth_window(QUEUE_LONG);
	uint64_t less = bandwidth_is_starting() ? most : bandwidth_window(QUEUE_SHORT);

	held_until = INT64_MAX;
	start_traces();
	for (int i = 0; i < STEPS; i++) {
		if (lanes_outstanding() >= most)
			return false;
		if (fetch_ahead_of_streams() || play_trace())
			continue;
		if (turn.ms - streamed_at < STREAM_HOLDS) {
			held_until = streamed_at + STREAM_HOLDS;
			return false;
		}
		if (lanes_outstanding() >= less || (!fetch_near() && !walk_on() && !fill_files()))
			return false;
	}
	return true;
}

int64_t prefetch_next(void)
{
	return held_until;
}

bool prefetch_is_walking(const struct file *f)
{
	return f->walk != NULL;
}
