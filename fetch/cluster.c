#include "fetch/cluster.h"

#include "base/minmax.h"
#include "fetch/bandwidth.h"
#include "fetch/pool.h"
#include "fetch/readahead.h"
#include "image/filemap.h"

/* Bytes that are in no known file: a place for each REGION of them. And the number of places that
 * are remembered. */
#define REGION (512 << 10)
#define PLACES 48

/* Of a file of at most SMALL bytes all is fetched. LARGE is the most that counts as a file that the
 * link brings within a second: on a fast link too, a larger one is a data base or a disk image. */
#define SMALL (256 << 10)
#define LARGE (16 << 20)

/* What a READ earns for each of its bytes, in a file that is not large. */
#define FILE_RATIO 4

/* The most that is fetched with a READ of metadata, the READ included. */
#define METADATA_CLUSTER (20 << 10)

/* Credit of the bytes that are in no known file. */
#define CREDIT_RATIO 3	       /* for each byte that is read outside of streams */
#define CREDIT_SHARE 16	       /* at first: this share of the image */
#define CREDIT_MAX   (8 << 20) /* the most that is kept */
#define EARN_MAX     8	       /* the most READs that one READ stands for */

/* A file, or a region. The bytes behind the READ come first, then those before it. */
struct place {
	unsigned file;
	bool is_region;
	bool before; /* `at` is among the bytes before the READ */
	bool over;   /* nothing is left */
	uint64_t begin, end;
	uint64_t turn;	/* of its last READ; 0: the entry is free */
	uint64_t at;	/* requested or cached up to here */
	uint64_t from;	/* where the READ began */
	uint64_t asked; /* bytes requested, in all */
	int64_t earned; /* bytes that may still be requested, of a file */
};

static struct place places[PLACES];
static struct place *current; /* of cluster_next() */
static uint64_t reads_seen;

bool is_metadata(const struct file *f, uint64_t from, uint64_t end)
{
	uint64_t extent, extent_end;

	return end - from == page_size() && !file_extent(f, from, &extent, &extent_end);
}

/* What the place of the byte would be. */
static struct place bounds(const struct file *f, uint64_t pos)
{
	struct place p = {.file = number_of(f)};

	if (file_extent(f, pos, &p.begin, &p.end))
		return p;
	p.is_region = true;
	p.begin = pos / REGION * REGION;
	p.end = min_u64(p.begin + REGION, image_end(f->image));
	return p;
}

static struct place *find_place(const struct file *f, uint64_t pos)
{
	struct place like = bounds(f, pos);

	for (struct place *p = places; p < places + PLACES; p++)
		if (p->turn > 0 && p->file == like.file && p->begin == like.begin &&
			p->is_region == like.is_region)
			return p;
	return NULL;
}

/* The same; a new one takes the place of the one read longest ago. */
static struct place *place_of(const struct file *f, uint64_t pos)
{
	struct place *oldest = find_place(f, pos);

	if (oldest)
		return oldest;
	oldest = places;
	for (struct place *p = places; p < places + PLACES; p++)
		if (p->turn < oldest->turn)
			oldest = p;
	*oldest = bounds(f, pos);
	return oldest;
}

/* Where the bytes are counted that may be requested there. */
static int64_t *purse(struct place *p)
{
	return p->is_region ? &files[p->file].credit : &p->earned;
}

void cluster_open(struct file *f)
{
	f->credit = (int64_t)min_u64(CREDIT_MAX, f->image->pinned.size / CREDIT_SHARE);
}

void cluster_close(const struct file *f)
{
	for (struct place *p = places; p < places + PLACES; p++)
		if (p->file == number_of(f))
			p->turn = 0;
}

/* The kernel sends a READ only for uncached bytes. Where half of a place is cached, each READ
 * stands for about two reads, and earns for two. */
static uint64_t stands_for(const struct place *p, uint64_t bytes)
{
	uint64_t size = p->end - p->begin, least = size / EARN_MAX + 1;
	uint64_t left = p->asked + least < size ? size - p->asked : least;

	return min_u64(bytes, CREDIT_MAX) * size / left;
}

static uint64_t earned(const struct place *p, uint64_t bytes)
{
	uint64_t size = p->end - p->begin;

	if (p->is_region)
		return CREDIT_RATIO * stands_for(p, bytes);
	if (size <= SMALL)
		return size;
	if (size <= (bandwidth_is_starting() ? LARGE : min_u64(bandwidth_rate(), LARGE)))
		return max_u64(bandwidth_per_rtt(), FILE_RATIO * stands_for(p, bytes));
	return stands_for(p, bytes) / 2;
}

void cluster_earn(struct file *f, uint64_t from, uint64_t end)
{
	struct place *p;
	int64_t most;

	if (is_recording(f) || is_tracing(f) || is_metadata(f, from, end))
		return;
	p = place_of(f, from);
	most = p->is_region ? CREDIT_MAX : (int64_t)(p->end - p->begin);
	*purse(p) += (int64_t)earned(p, end - from);
	if (*purse(p) > most)
		*purse(p) = most;
	p->turn = ++reads_seen;
	p->from = from;
	p->at = end;
	p->before = p->over = false;
}

/* For metadata the directory walk predicts better than a cluster; a trace, better than either. A
 * round trip's worth of bytes costs hardly more time than the READ alone. */
uint64_t cluster_end(const struct file *f, uint64_t from, uint64_t end)
{
	struct place *p = find_place(f, from);
	uint64_t n = page_up(bandwidth_per_rtt()), most = image_end(f->image);
	int64_t may = f->credit;

	if (is_recording(f) || is_tracing(f))
		return end;
	if (is_metadata(f, from, end)) {
		n = page_up(METADATA_CLUSTER);
	} else if (p) {
		may = *purse(p);
		most = p->is_region ? most : max_u64(p->end, end);
		n = p->is_region ? n : max_u64(n, SMALL);
	}
	if (end - from >= n || may <= 0)
		return end;
	return min_u64(min_u64(from + n, end + page_up((uint64_t)may)), most);
}

void cluster_asked(struct file *f, uint64_t from, uint64_t end, uint64_t asked)
{
	struct place *p = find_place(f, from);
	bool is_of_metadata = is_metadata(f, from, end);

	if (asked > end) {
		*(p && !is_of_metadata ? purse(p) : &f->credit) -= (int64_t)(asked - end);
		readahead_asked(number_of(f), end, asked);
	}
	if (!p || is_recording(f) || is_tracing(f) || is_of_metadata)
		return;
	p->at = asked;
	p->asked += asked - from;
}

static struct place *next_place(void)
{
	struct place *best = NULL;

	for (struct place *p = places; p < places + PLACES; p++)
		if (p->turn > 0 && !p->over && (!best || p->turn > best->turn) && *purse(p) > 0 &&
			pool_may_prefetch(&files[p->file]))
			best = p;
	return best;
}

bool cluster_next(struct file **f, uint64_t *from, uint64_t *end)
{
	while ((current = next_place())) {
		*f = &files[current->file];
		*from = current->at;
		*end = current->before ? current->from : current->end;
		if (*from < *end)
			return true;
		current->over = current->before;
		current->before = true;
		current->at = current->begin;
	}
	return false;
}

void cluster_advance(uint64_t to, uint64_t bytes)
{
	current->at = to;
	current->asked += bytes;
	*purse(current) -= (int64_t)bytes;
}
