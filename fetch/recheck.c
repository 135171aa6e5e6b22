#include "fetch/recheck.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/page.h"
#include "base/stats.h"
#include "image/trace.h"
#include "fetch/mirror.h"
#include "fetch/pool.h"
#include "fetch/prefetch.h"
#include "fetch/reads.h"
#include "fetch/refused.h"

/* Blocks in a turn: a small processor hashes them in some 2 milliseconds. */
#define BLOCKS 16

/* Milliseconds between two turns in the background, or while something is waited for. */
#define AGAIN 20

static const struct conf *conf;
static int64_t next;

/* One file is checked at a time. */
static struct file *current; /* NULL: none */
static int cache = -1;	     /* its descriptor */
static size_t extent;	     /* of its trace: the next one */
static uint64_t end;	     /* of the range that is being checked; UINT64_MAX: of all */

void recheck_init(const struct conf *c)
{
	conf = c;
}

/* Of a cache file that is in use the check before the OPEN was done then. */
void recheck_begin(struct file *f)
{
	bool boot = conf->cache_check == CHECK_BOOT;

	if (!frontend->cached || !image_tree(f->image))
		return;
	if (image_is_live(f->image))
		f->image->check = boot ? CHECK_LATER : CHECK_DONE;
	else if (boot || conf->cache_check == CHECK_ALL ||
		 (conf->cache_check == CHECK_CUT && image_mark(f->image, false)))
		f->image->check = CHECK_FIRST;
}

void recheck_end(struct file *f)
{
	f->image->check = CHECK_DONE;
	if (current != f)
		return;
	fd_close(&cache);
	current = NULL;
}

/* All of it has been checked: a mark of this boot, for what was punched, takes the old one's place.
 */
static void finish(struct file *f)
{
	struct image *image = f->image;
	if (image->unfit > 0)
		log_warning("%s: %llu blocks of the cache do not fit the root hash: they are "
			    "fetched anew",
			image_name(image), (unsigned long long)image->unfit);
	image_mark(image, true);
	frontend->marked();
	recheck_end(f);
}

/* What is cached cannot be opened, read or mended: it is not used before it can be. */
static bool give_up(struct file *f)
{
	const char *why = "its cache cannot be checked";

	log_warning("%s: %s: %m", image_name(f->image), why);
	if (f->image->check == CHECK_FIRST)
		mirror_give_up(f->image, OUTCOME_UNVERIFIED, why);
	else
		recheck_end(f);
	return false;
}

/* The page at image->checked does not fit, or cannot be judged. Returns whether to go on behind
 * it. */
static bool drop(struct file *f)
{
	struct image *image = f->image;
	uint64_t page = page_down(image->checked);
	bool later = image->check == CHECK_LATER;
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (later) {
		if (pool_cover(number_of(f), page) || refused_waits(number_of(f), page) ||
			!pool_ask(f, page, page + page_size(), NEED_AGAIN))
			return false;
		refused_add(number_of(f), page); /* the disk may not keep the new bytes either */
	}
	image->unfit++;
	stats.cache_unfit++;
	if (later)
		return false;
	if (fallocate(cache, punch, (off_t)page, (off_t)page_size()) == 0 &&
		lseek(cache, (off_t)page, SEEK_HOLE) == (off_t)page)
		return true;
	return give_up(f);
}

/* A block of the tree has to come first. Without a server the page is dropped before the OPEN is
 * answered: what can be judged is of use all the same. */
static bool lacks(struct file *f, uint64_t block)
{
	struct image *image = f->image;
	if (image->check == CHECK_FIRST && conf->offline && image->failures > 0 &&
		mirrors_are_unreachable(image))
		return drop(f);
	if (mirror_may_be_asked(image, turn.ms))
		pool_ask_tree(f, block);
	return false;
}

/* Opens what is cached. False: it has to wait; or there is none, and nothing is to be done. */
static bool begin(struct file *f)
{
	if (current)
		fd_close(&cache);
	current = NULL;
	cache = frontend->cached(number_of(f));
	if (cache >= 0) {
		current = f;
		extent = 0;
		end = 0;
		return true;
	}
	if (errno == ENOENT)
		f->image->check = CHECK_DONE;
	return errno != ENOENT && errno != EAGAIN && give_up(f);
}

/* Begins the next range, or ends the check, or what of it comes first: that is the trace, of
 * boot. */
static void next_range(struct file *f)
{
	struct image *image = f->image;
	const struct trace *trace = prefetch_trace(f);

	if (end == UINT64_MAX) {
		finish(f);
		return;
	}
	end = UINT64_MAX;
	if (image->check == CHECK_LATER || conf->cache_check != CHECK_BOOT || !trace)
		return;
	if (extent < trace->count) {
		const struct trace_extent *e = &trace->extents[extent++];

		image->checked = (uint64_t)e->page * page_size();
		end = image->checked + (uint64_t)e->pages * page_size();
		return;
	}
	image->check = CHECK_LATER;
	image->checked = 0;
}

/* Checks the block that is cached at f->image->checked or next behind it. False: it has to wait. */
static bool go_on(struct file *f)
{
	struct image *image = f->image;
	off_t data = lseek(cache, (off_t)image->checked, SEEK_DATA);
	enum tree_verdict verdict = TREE_UNFIT; /* as what the disk cannot read is */
	uint8_t bytes[VERITY_BLOCK];
	uint64_t lacking;

	if (data < 0 && errno != ENXIO)
		return give_up(f);
	if (data < 0 || (uint64_t)data >= end) {
		next_range(f);
		return true;
	}
	/* A file system with small blocks may begin its data within one of ours. */
	image->checked = (uint64_t)data / VERITY_BLOCK * VERITY_BLOCK;
	if (pread(cache, bytes, sizeof(bytes), (off_t)image->checked) == sizeof(bytes))
		verdict = tree_judge(
			image_tree(image), image->checked / VERITY_BLOCK, bytes, &lacking);
	if (verdict == TREE_LACKS ? !lacks(f, lacking) : verdict == TREE_UNFIT && !drop(f))
		return false;
	image->checked += VERITY_BLOCK;
	if (f->opening) {
		f->since = turn.ms; /* the time-out is for servers */
		next = turn.ms;
	}
	return true;
}

/* The file to go on with: one whose OPEN waits, else, if nobody waits for anything, another. */
static struct file *choose(void)
{
	struct file *later = NULL;

	for (struct file *f = files; f < end_of_files(); f++) {
		if (!f->used || f->image->check == CHECK_DONE)
			continue;
		next = turn.ms + AGAIN;
		if (f->image->check == CHECK_FIRST && f->trace != TRACE_ASKED)
			return f;
		if (f->image->check == CHECK_LATER && reads_used == 0 && pool_may_prefetch(f))
			later = f;
	}
	return later;
}

struct file *recheck_run(void)
{
	enum image_check check;
	struct file *f;

	next = INT64_MAX;
	f = choose();
	if (!f)
		return NULL;
	check = f->image->check;
	for (int i = 0; i < BLOCKS && f->image->check == check; i++)
		if (current != f ? !begin(f) : !go_on(f))
			break;
	return check == CHECK_FIRST && f->image->check != check ? f : NULL;
}

int64_t recheck_next(void)
{
	return next;
}
