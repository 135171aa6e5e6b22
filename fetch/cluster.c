#include "fetch/cluster.h"

#include "base/minmax.h"
#include "fetch/bandwidth.h"
#include "fetch/pool.h"
#include "fetch/readahead.h"

/* The size of a region, and the number of regions that are remembered. */
#define REGION	(512 << 10)
#define REGIONS 64

/* The most that is fetched with a READ of metadata, the READ included. */
#define METADATA_CLUSTER (20 << 10)

/* Credit, in bytes. */
#define CREDIT_RATIO 3	       /* for each byte that is read outside of streams */
#define CREDIT_SHARE 16	       /* at first: this share of the image */
#define CREDIT_MAX   (8 << 20) /* the most that is kept */
#define EARN_MAX     8	       /* the most READs that one READ stands for */

/* A region. The bytes behind the READ come first, then those before it. */
struct region {
	unsigned file;
	uint64_t number;
	uint64_t turn;	/* of its last READ; 0: the entry is free */
	uint64_t at;	/* requested or cached up to here */
	uint64_t from;	/* where the READ began */
	uint64_t asked; /* bytes requested, in all */
	bool before;	/* `at` is among the bytes before the READ */
	bool over;	/* nothing is left */
};

static struct region regions[REGIONS];
static struct region *current; /* of cluster_next() */

static struct region *find_region(unsigned file, uint64_t pos)
{
	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->turn > 0 && r->file == file && r->number == pos / REGION)
			return r;
	return NULL;
}

/* The same; a new one takes the place of the one read longest ago. */
static struct region *region_of(unsigned file, uint64_t pos)
{
	struct region *oldest = find_region(file, pos);

	if (oldest)
		return oldest;
	oldest = regions;
	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->turn < oldest->turn)
			oldest = r;
	*oldest = (struct region){.file = file, .number = pos / REGION};
	return oldest;
}

void cluster_open(struct file *f)
{
	f->credit = (int64_t)min_u64(CREDIT_MAX, f->image->pinned.size / CREDIT_SHARE);
}

void cluster_close(const struct file *f)
{
	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->file == number_of(f))
			r->turn = 0;
}

/* The kernel sends a READ only for uncached bytes. Where half a region is cached, each READ stands
 * for about two reads, and earns credit for two. */
void cluster_earn(struct file *f, uint64_t from, uint64_t end)
{
	const struct region *r = find_region(number_of(f), from);
	uint64_t asked = r ? r->asked : 0;
	uint64_t left = asked < REGION - REGION / EARN_MAX ? REGION - asked : REGION / EARN_MAX;

	f->credit += CREDIT_RATIO * (int64_t)(min_u64(end - from, CREDIT_MAX) * REGION / left);
	if (f->credit > CREDIT_MAX)
		f->credit = CREDIT_MAX;
}

/* For metadata the directory walk predicts better than a cluster; a trace, better than either. */
uint64_t cluster_end(const struct file *f, uint64_t from, uint64_t end)
{
	uint64_t n = page_up(is_metadata(from, end) ? METADATA_CLUSTER : bandwidth_per_rtt());

	if (is_recording(f) || is_tracing(f) || end - from >= n || f->credit <= 0)
		return end;
	return min_u64(min_u64(from + n, end + page_up((uint64_t)f->credit)), image_end(f->image));
}

void cluster_asked(struct file *f, uint64_t from, uint64_t end, uint64_t asked)
{
	static uint64_t reads;
	struct region *r;

	if (asked > end) {
		f->credit -= (int64_t)(asked - end);
		readahead_asked(number_of(f), end, asked);
	}
	if (is_recording(f) || is_tracing(f) || is_metadata(from, end))
		return;
	r = region_of(number_of(f), from);
	r->turn = ++reads;
	r->from = from;
	r->at = asked;
	r->asked += asked - from;
	r->before = r->over = false;
}

static struct region *next_region(void)
{
	struct region *best = NULL;

	for (struct region *r = regions; r < regions + REGIONS; r++)
		if (r->turn > 0 && !r->over && (!best || r->turn > best->turn) &&
			files[r->file].credit > 0 && pool_may_prefetch(&files[r->file]))
			best = r;
	return best;
}

bool cluster_next(struct file **f, uint64_t *from, uint64_t *end)
{
	while ((current = next_region())) {
		*f = &files[current->file];
		*from = current->at;
		*end = current->before
			       ? current->from
			       : min_u64((current->number + 1) * REGION, image_end((*f)->image));
		if (*from < *end)
			return true;
		current->over = current->before;
		current->before = true;
		current->at = current->number * REGION;
	}
	return false;
}

void cluster_advance(uint64_t to, uint64_t bytes)
{
	current->at = to;
	current->asked += bytes;
	files[current->file].credit -= (int64_t)bytes;
}
