#include "fetch/recheck.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/page.h"
#include "base/stats.h"
#include "fetch/mirror.h"
#include "fetch/pool.h"
#include "fetch/prefetch.h"
#include "fetch/reads.h"
#include "fetch/refused.h"

/* Blocks in a turn: a small processor hashes them in some 2 milliseconds. */
#define BLOCKS 16

/* Milliseconds. */
#define LATER_EVERY 4	  /* between two turns of a check in the background */
#define ASK_AGAIN   5	  /* until a descriptor is asked for again */
#define LOOK_AGAIN  250	  /* until what waits is looked at again */
#define TRACE_WAIT  10000 /* an OPEN waits so long for the trace */
#define UNMARK	    10000 /* nothing has been written for so long */

static const struct conf *conf;
static int64_t next, later_at;

/* One file is checked at a time. */
static struct file *current; /* NULL: none */
static int cache = -1;	     /* its descriptor */
static size_t extent;	     /* of its trace: the next one */
static uint64_t end;	     /* of the range that is being checked; UINT64_MAX: of all */

void recheck_init(const struct conf *c)
{
	conf = c;
}

void recheck_begin(struct file *f)
{
	enum state_mark mark;
	bool live = image_is_live(f->image), wanted;

	if (!frontend->cached || !image_tree(f->image))
		return;
	mark = image_look(f->image);
	f->marked = mark == MARK_SET;
	f->check_old = mark == MARK_OLD;
	/* Of a cache file that is in use the check before its OPEN was done then. */
	wanted = live ? conf->cache_check == CHECK_BOOT
		      : conf->cache_check >= CHECK_BOOT ||
				 (conf->cache_check == CHECK_CUT && f->check_old);
	if (wanted)
		f->check = live ? CHECK_LATER : CHECK_FIRST;
}

/* ---- the end ---- */

static void leave(void)
{
	fd_close(&cache);
	current = NULL;
}

void recheck_end(struct file *f)
{
	if (current == f)
		leave();
	f->check = CHECK_DONE;
	if (!f->marked)
		return;
	image_unmark(f->image);
	f->marked = false;
	frontend->unmarked();
}

/* All of it has been checked. */
static void finish(struct file *f)
{
	const char *when = f->check_old ? " after an end that was not in order" : "";

	if (f->unfit > 0)
		log_warning("%.*s: %llu blocks of the cache did not stand the check against the "
			    "root hash%s; they are fetched anew",
			IMAGE_NAME(f->image), (unsigned long long)f->unfit, when);
	else if (cache >= 0)
		log_info("%.*s: the cache stands the check against the root hash%s",
			IMAGE_NAME(f->image), when);
	f->check = CHECK_DONE;
	image_mark(f->image); /* in place of the old one, until this is synced */
	f->marked = true;
	leave();
}

/* ---- a block ---- */

static void count_unfit(struct file *f)
{
	stats.cache_unfit += !f->check_unfit;
	f->unfit += !f->check_unfit;
	f->check_unfit = true;
}

/* Before the OPEN is answered. */
static bool punch(struct file *f, uint64_t page)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	off_t at = (off_t)page;

	count_unfit(f);
	if (fallocate(cache, mode, at, (off_t)page_size()) == 0 &&
		lseek(cache, at, SEEK_HOLE) == at)
		return true;
	mirror_give_up(f->image, OUTCOME_UNVERIFIED,
		"what is cached does not fit its root hash, and cannot be removed");
	return false;
}

/* While it is in use. Returns whether what is there may stay: it has changed meanwhile, or it is a
 * hole by now. */
static bool replace(struct file *f, uint64_t page)
{
	uint64_t hole_end;

	if (file_hole(f, page, page + page_size(), &hole_end) == (int64_t)page)
		return true;
	count_unfit(f);
	if (!pool_cover(number_of(f), page) && !refused_waits(number_of(f), page) &&
		pool_ask(f, page, page + page_size(), 0))
		refused_add(number_of(f), page); /* a disk may not keep what is written, either */
	return false;
}

/* A block of the tree has to come first. Without a server the page is dropped before the OPEN is
 * answered: what can be checked is of use all the same. */
static bool lacks(struct file *f, uint64_t page, uint64_t block)
{
	if (f->check == CHECK_FIRST && conf->offline && f->image->failures > 0 &&
		mirrors_are_unreachable(f->image))
		return punch(f, page);
	if (mirror_may_be_asked(f->image, turn.ms))
		pool_ask_tree(f, block);
	return false;
}

/* Checks the block that is cached at f->checked or next behind it. False: it has to wait. */
static bool check_block(struct file *f)
{
	off_t data = lseek(cache, (off_t)f->checked, SEEK_DATA);
	uint8_t bytes[VERITY_BLOCK];
	enum tree_verdict verdict = TREE_UNFIT;
	uint64_t lacking, page;
	bool good = true;

	/* Holes of a file system with small blocks may end within one of ours. */
	f->checked =
		data < 0 ? end : max_u64(f->checked, (uint64_t)data / VERITY_BLOCK * VERITY_BLOCK);
	if (f->checked >= end)
		return true;
	page = page_down(f->checked);
	/* What the disk cannot read does not fit. */
	if (pread(cache, bytes, sizeof(bytes), (off_t)f->checked) == sizeof(bytes))
		verdict = tree_judge(
			image_tree(f->image), f->checked / VERITY_BLOCK, bytes, &lacking);
	if (verdict == TREE_LACKS)
		good = lacks(f, page, lacking);
	else if (verdict == TREE_UNFIT)
		good = f->check == CHECK_FIRST ? punch(f, page) : replace(f, page);
	if (!good)
		return false;
	f->check_unfit = false;
	f->checked += VERITY_BLOCK;
	if (f->opening)
		f->since = turn.ms; /* the time-out is for servers */
	return true;
}

/* ---- a turn ---- */

/* Begins the next range, or ends the check, or what of it comes first. */
static void next_range(struct file *f)
{
	if (f->check == CHECK_FIRST && conf->cache_check == CHECK_BOOT && end != UINT64_MAX) {
		if (prefetch_trace(f, extent, &f->checked, &end)) {
			extent++;
			return;
		}
		f->checked = 0;
		if (extent > 0)
			f->check = CHECK_LATER;
	}
	if (end == UINT64_MAX)
		finish(f);
	end = UINT64_MAX;
}

static bool open_cache(struct file *f)
{
	if (current == f)
		return true;
	leave();
	cache = frontend->cached(number_of(f));
	if (cache < 0 && errno == EAGAIN) {
		next = turn.ms + ASK_AGAIN;
		return false;
	}
	if (cache < 0 && errno != ENOENT) {
		mirror_give_up(f->image, OUTCOME_UNVERIFIED, "what is cached cannot be read back");
		return false;
	}
	current = f;
	extent = 0;
	end = cache < 0 ? UINT64_MAX : 0;
	f->checked = cache < 0 ? UINT64_MAX : f->checked;
	return true;
}

/* The file to go on with: one whose OPEN waits, else, if nobody waits for anything, another. */
static struct file *choose(void)
{
	struct file *later = NULL;

	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || f->check == CHECK_DONE)
			continue;
		next = sooner(next, turn.ms + LOOK_AGAIN);
		if (f->check == CHECK_LATER) {
			if (reads_used == 0 && pool_may_prefetch(f) && (!later || f == current))
				later = f;
		} else if (f == current || conf->cache_check != CHECK_BOOT ||
			   !prefetch_awaits_trace(f) || turn.ms - f->since >= TRACE_WAIT) {
			return f;
		}
	}
	return later;
}

static void look_after_marks(void)
{
	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || !f->marked || f->check != CHECK_DONE)
			continue;
		if (turn.ms - f->since >= UNMARK)
			recheck_end(f);
		else
			next = sooner(next, f->since + UNMARK);
	}
}

struct file *recheck_run(void)
{
	struct file *f;
	enum file_check check;

	next = INT64_MAX;
	look_after_marks();
	f = choose();
	if (!f)
		return NULL;
	check = f->check;
	if (check == CHECK_LATER && turn.ms < later_at) {
		next = sooner(next, later_at);
		return NULL;
	}
	if (!open_cache(f))
		return NULL;
	for (int i = 0; i < BLOCKS && f->check == check; i++)
		if (f->checked >= end)
			next_range(f);
		else if (!check_block(f))
			return NULL; /* choose() has set when to look again */
	later_at = turn.ms + LATER_EVERY;
	next = f->check == CHECK_LATER ? sooner(next, later_at) : turn.ms;
	return check == CHECK_FIRST && f->check != CHECK_FIRST ? f : NULL;
}

int64_t recheck_next(void)
{
	return next;
}
