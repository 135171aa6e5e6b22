#include "fetch/cluster.h"

#include "base/minmax.h"
#include "fetch/bandwidth.h"
#include "fetch/pool.h"
#include "fetch/readahead.h"

/* Bytes that are in no known file: a place for each REGION of them. And the number of places that
 * are remembered. */
#define REGION (512 << 10)
#define PLACES 48

/* A file of at most SMALL bytes is fetched whole, and so is one of at most WHOLE that the link
 * brings in a fifth of a second. A file of more than LARGE may be a database or a disk image. */
#define SMALL	    (256 << 10)
#define WHOLE	    (2 << 20)
#define WHOLE_SHARE 5 /* of the bytes of a second */
#define LARGE	    (16 << 20)

/* The small files of a directory, together with what lies between them. */
#define SMALL_DIRECTORY (768 << 10)

/* The most that is fetched with a READ of metadata, the READ included, where no directory walk
 * knows more. */
#define METADATA_CLUSTER (20 << 10)

/* Credit of the bytes that are in no known file. */
#define CREDIT_RATIO 3	       /* for each byte that is read outside of streams */
#define CREDIT_SHARE 16	       /* at first: this share of the image */
#define CREDIT_MAX   (8 << 20) /* the most that is kept */

/* A file, a region, or the small files of a directory. The bytes behind the READ come first, then
 * those before it. */
struct place {
	unsigned file;
	unsigned directory; /* its number (dirwalk.h); 0: it is none */
	bool is_region;
	bool before; /* `at` is among the bytes before the READ */
	bool over;   /* nothing is left */
	uint64_t begin, end;
	uint64_t turn;	/* of its last READ; 0: the entry is free */
	uint64_t at;	/* requested or cached up to here */
	uint64_t from;	/* where the READ began */
	int64_t earned; /* bytes that may still be requested; not of a region */
	unsigned reads; /* of a directory: files that were read */
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

static struct place *find_like(const struct place *like)
{
	for (struct place *p = places; p < places + PLACES; p++)
		if (p->turn > 0 && p->file == like->file && p->begin == like->begin &&
			p->end == like->end && p->is_region == like->is_region &&
			p->directory == like->directory)
			return p;
	return NULL;
}

static struct place *find_place(const struct file *f, uint64_t pos)
{
	struct place like = bounds(f, pos);

	return find_like(&like);
}

/* The same; a new one takes the place of the one read longest ago. */
static struct place *place_like(const struct place *like)
{
	struct place *oldest = find_like(like);

	if (oldest)
		return oldest;
	oldest = places;
	for (struct place *p = places; p < places + PLACES; p++)
		if (p->turn < oldest->turn)
			oldest = p;
	*oldest = *like;
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

/* A round trip's worth of bytes costs hardly more time than the READ alone. */
static uint64_t earned(const struct place *p, uint64_t bytes)
{
	uint64_t size = p->end - p->begin;

	if (p->is_region)
		return CREDIT_RATIO * min_u64(bytes, CREDIT_MAX);
	if (size <= max_u64(SMALL, min_u64(WHOLE, bandwidth_rate() / WHOLE_SHARE)))
		return size;
	return size <= LARGE ? bandwidth_per_rtt() : bytes / 2;
}

static void begin_at(struct place *p, uint64_t from, uint64_t end, uint64_t turn)
{
	p->turn = turn;
	p->from = from;
	p->at = end;
	p->before = p->over = false;
}

/* The place of a directory, of which [from, end) is known by now. */
static struct place *directory_place(
	const struct file *f, unsigned number, uint64_t from, uint64_t end)
{
	struct place like = {.file = number_of(f), .directory = number, .begin = from, .end = end};

	for (struct place *p = places; p < places + PLACES; p++)
		if (p->turn > 0 && p->directory == number && p->file == like.file &&
			p->begin < end && from < p->end) {
			p->begin = from;
			p->end = end;
			return p;
		}
	return place_like(&like);
}

/* The small file, which has the byte at `pos`, is read first: where pages are larger than blocks,
 * its place may begin in another one. Files of one directory that are read one after the other are
 * a sequence: of a small directory the rest is fetched then, of another once the round trips of its
 * READs have cost the time in which the link brings all of it. */
static void earn_directory(const struct file *f, uint64_t pos, const struct place *small)
{
	static const struct place *last;
	uint64_t from, end;
	unsigned number = file_directory(f, pos, SMALL, &from, &end);
	struct place *p = number > 0 ? directory_place(f, number, from, end) : NULL;

	if (p) {
		uint64_t paid = ++p->reads * bandwidth_per_rtt();

		/* The last one's entry may be another directory's by now, of one READ. */
		if (p == last && p->reads > 1 &&
			end - from <= max_u64(SMALL_DIRECTORY, min_u64(paid, LARGE)))
			p->earned = (int64_t)(end - from);
		begin_at(p, small->begin, small->end, reads_seen++);
	}
	last = p;
}

void cluster_earn(struct file *f, uint64_t from, uint64_t end)
{
	struct place *p, like;
	int64_t most;

	if (is_recording(f) || is_tracing(f) || is_metadata(f, from, end))
		return;
	like = bounds(f, from);
	reads_seen++;
	if (!like.is_region && like.end - like.begin <= SMALL && !find_like(&like))
		earn_directory(f, from, &like);
	p = place_like(&like);
	most = p->is_region ? CREDIT_MAX : (int64_t)(p->end - p->begin);
	*purse(p) += (int64_t)earned(p, end - from);
	if (*purse(p) > most)
		*purse(p) = most;
	begin_at(p, from, end, reads_seen);
}

/* For metadata the directory walk predicts better than a cluster; a trace, better than either. */
uint64_t cluster_end(const struct file *f, uint64_t from, uint64_t end)
{
	struct place *p = find_place(f, from);
	uint64_t n = page_up(bandwidth_per_rtt()), most = image_end(f->image);
	int64_t may = f->credit;

	if (is_recording(f) || is_tracing(f))
		return end;
	if (is_metadata(f, from, end)) {
		n = f->walk ? 0 : page_up(METADATA_CLUSTER);
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
	/* Else a large file would be passed over to its end, digest by digest. */
	if (!current->is_region)
		bytes += files[current->file].passed;
	*purse(current) -= (int64_t)bytes;
}
