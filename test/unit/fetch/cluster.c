/* Unit tests of cluster.c: what is fetched with a READ and after it, of files of any size, of bytes
 * in no known file, and of metadata. */
#include "test/unit/check.h"

#include "fetch/cluster.c"

#define KIB   ((uint64_t)1 << 10)
#define MIB   ((uint64_t)1 << 20)
#define PAGE  (4 * KIB)
#define IMAGE (128 * MIB)

struct capacity capacity = {.files = 2};
static struct image image = {.pinned.size = IMAGE - 100};
static struct file made[2];
struct file *files = made;
static uint64_t rate, per_rtt;
static bool may_prefetch;

/* Files of the image. */
static const struct {
	uint64_t from, end;
} extents[] = {
	{MIB, MIB + 200 * KIB},
	{MIB + 200 * KIB, MIB + 204 * KIB},
	{2 * MIB, 6 * MIB},
	{32 * MIB, 64 * MIB},
	{8 * MIB, 9 * MIB},
	/* a small directory; and a larger one, of eight */
	{16 * MIB, 16 * MIB + 100 * KIB},
	{16 * MIB + 100 * KIB, 16 * MIB + 200 * KIB},
	{16 * MIB + 300 * KIB, 16 * MIB + 400 * KIB},
	{20 * MIB, 20 * MIB + 200 * KIB},
	{21 * MIB, 21 * MIB + 200 * KIB},
	{22 * MIB, 22 * MIB + 200 * KIB},
	{23 * MIB, 23 * MIB + 200 * KIB},
	/* two in one page of 16 KiB */
	{110 * MIB, 110 * MIB + 4 * KIB},
	{110 * MIB + 4 * KIB, 110 * MIB + 44 * KIB},
};
#define SMALL_FILE  extents[0]
#define MEDIUM_FILE extents[2]
#define LARGE_FILE  extents[3]
#define WHOLE_FILE  extents[4]
#define DIRECTORY   (extents + 5) /* three files */
#define LARGER	    (extents + 8) /* four files, and as many that are not read */
#define NEIGHBOURS  (extents + 12)
#define NOWHERE	    (100 * MIB) /* bytes in no known file */

static uint64_t unit = PAGE; /* files are found in whole ones */

bool file_extent(const struct file *f, uint64_t offset, uint64_t *from, uint64_t *end)
{
	for (size_t i = 0; f == files && i < sizeof(extents) / sizeof(extents[0]); i++)
		if (offset >= extents[i].from && offset < extents[i].end) {
			*from = extents[i].from / unit * unit;
			*end = (extents[i].end + unit - 1) / unit * unit;
			return true;
		}
	return false;
}

static uint64_t looked_at; /* by file_directory() */

unsigned file_directory(
	const struct file *f, uint64_t offset, uint64_t most, uint64_t *from, uint64_t *end)
{
	bool is_small = offset >= DIRECTORY[0].from && offset < DIRECTORY[2].end;

	CHECK(f == files && most == SMALL);
	looked_at = offset;
	*from = is_small ? DIRECTORY[0].from : LARGER[0].from;
	*end = is_small ? DIRECTORY[2].end : 24 * MIB;
	if (!is_small && (offset < LARGER[0].from || offset >= 24 * MIB))
		return 0;
	return is_small ? 3 : 4;
}

uint64_t bandwidth_rate(void)
{
	return rate;
}

uint64_t bandwidth_per_rtt(void)
{
	return per_rtt;
}

bool pool_may_prefetch(const struct file *f)
{
	(void)f;
	return may_prefetch;
}

void readahead_asked(unsigned file, uint64_t from, uint64_t to)
{
	CHECK(file < 2 && from < to);
}

static bool cached[IMAGE / PAGE];
static uint64_t fetched;

static void start(void)
{
	memset(places, 0, sizeof(places));
	memset(cached, 0, sizeof(cached));
	reads_seen = fetched = 0;
	rate = 12 * MIB;
	per_rtt = 64 * KIB;
	may_prefetch = true;
	for (unsigned i = 0; i < 2; i++)
		made[i] = (struct file){.used = true, .number = i, .image = &image, .recorder = -1};
}

/* Bytes of the range that were not cached. */
static uint64_t fetch(uint64_t from, uint64_t end)
{
	uint64_t n = 0;

	CHECK(from % PAGE == 0 && end % PAGE == 0 && from < end && end <= IMAGE);
	for (; from < end; from += PAGE) {
		n += cached[from / PAGE] ? 0 : PAGE;
		cached[from / PAGE] = true;
	}
	fetched += n;
	return n;
}

/* As fetch.c: a READ comes; the end of what is requested for it. */
static uint64_t read_at(uint64_t from, uint64_t end)
{
	uint64_t to;

	cluster_earn(files, from, end);
	to = cluster_end(files, from, end);
	CHECK(to >= end);
	fetch(from, to);
	cluster_asked(files, from, end, to);
	return to;
}

/* As prefetch.c, piece by piece, until nothing is left. All of it lies in [least, most). */
static uint64_t fetch_rest(uint64_t least, uint64_t most)
{
	struct file *f;
	uint64_t from, end, n, sum = 0;

	for (unsigned steps = 0; cluster_next(&f, &from, &end); steps++) {
		CHECK(f == files && from >= least && end <= most && steps < 100000, "%llu to %llu",
			(unsigned long long)from, (unsigned long long)end);
		if (steps >= 100000)
			break;
		end = min_u64(end, from + 64 * KIB);
		n = fetch(from, end);
		sum += n;
		cluster_advance(end, n);
	}
	return sum;
}

static void test_small(void)
{
	uint64_t from = SMALL_FILE.from + 100 * KIB;

	begin_test("cluster: of a small file all is fetched, behind the READ first, and no more");
	start();
	CHECK(read_at(from, from + 16 * KIB) == SMALL_FILE.end);
	CHECK(fetch_rest(SMALL_FILE.from, from) == 100 * KIB);
	CHECK(fetched == 200 * KIB);
	start();
	CHECK(read_at(SMALL_FILE.end - PAGE, SMALL_FILE.end) == SMALL_FILE.end);
	CHECK(fetch_rest(SMALL_FILE.from, SMALL_FILE.end - PAGE) == 196 * KIB);
	start();
	CHECK(read_at(SMALL_FILE.end, SMALL_FILE.end + PAGE) == SMALL_FILE.end + PAGE);
	CHECK(fetch_rest(0, 0) == 0, "a file of one page");

	begin_test("cluster: a READ whose bytes are in flight fetches its file too");
	start();
	cluster_earn(files, from, from + 16 * KIB);
	CHECK(fetch_rest(SMALL_FILE.from, SMALL_FILE.end) == 184 * KIB);

	begin_test("cluster: a READ beyond its file's end gets all that it asks for");
	start();
	CHECK(read_at(SMALL_FILE.end - 8 * KIB, SMALL_FILE.end + 32 * KIB) ==
		SMALL_FILE.end + 32 * KIB);

	begin_test(
		"cluster: nothing is fetched after a READ while others wait, or of a closed file");
	start();
	read_at(from, from + 16 * KIB);
	may_prefetch = false;
	CHECK(fetch_rest(0, 0) == 0);
	may_prefetch = true;
	cluster_close(files + 1);
	CHECK(next_place() != NULL);
	cluster_close(files);
	CHECK(fetch_rest(0, 0) == 0);
}

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* Random READs of what is not cached, of so much of a file; what was fetched. */
static uint64_t read_randomly(uint64_t begin, uint64_t end, uint64_t bytes)
{
	start();
	for (uint64_t n = 0; n < bytes; n += 16 * KIB) {
		uint64_t from =
			begin + random_below((uint32_t)((end - begin) / (16 * KIB))) * 16 * KIB;

		if (cached[from / PAGE])
			continue;
		read_at(from, from + 16 * KIB);
		fetch_rest(begin, end);
		CHECK(made[0].credit == 0 &&
			*purse(find_place(files, from)) <= (int64_t)(end - begin));
	}
	return fetched;
}

static void test_larger(void)
{
	uint64_t from = MEDIUM_FILE.from + MIB, few, many;

	begin_test("cluster: a file that the link brings soon is fetched whole");
	start();
	read_at(WHOLE_FILE.from + 512 * KIB, WHOLE_FILE.from + 528 * KIB);
	fetch_rest(WHOLE_FILE.from, WHOLE_FILE.end);
	CHECK(fetched == MIB);
	start();
	rate = MIB;
	read_at(WHOLE_FILE.from + 512 * KIB, WHOLE_FILE.from + 528 * KIB);
	CHECK(fetch_rest(0, 0) == 0 && fetched == 80 * KIB);

	begin_test("cluster: a medium file earns a round trip's worth with each READ");
	start();
	CHECK(read_at(from, from + 16 * KIB) == from + 80 * KIB);
	CHECK(fetch_rest(0, 0) == 0);
	CHECK(read_at(from + MIB, from + MIB + 64 * KIB) == from + MIB + 128 * KIB);
	few = read_randomly(MEDIUM_FILE.from, MEDIUM_FILE.end, 64 * KIB);
	CHECK(few >= 256 * KIB && few <= MIB, "%llu", (unsigned long long)few);
	many = read_randomly(MEDIUM_FILE.from, MEDIUM_FILE.end, 2 * MIB);
	CHECK(many >= 3 * MIB, "%llu", (unsigned long long)many);

	begin_test("cluster: a large one earns little");
	start();
	from = LARGE_FILE.from + MIB;
	CHECK(read_at(from, from + 16 * KIB) == from + 24 * KIB);
	CHECK(fetch_rest(0, 0) == 0);
	many = read_randomly(LARGE_FILE.from, LARGE_FILE.end, 4 * MIB);
	CHECK(many <= 6 * MIB + 512 * KIB, "%llu", (unsigned long long)many);

	begin_test("cluster: nothing lies behind the end of a larger file either");
	for (unsigned i = 2; i < 4; i++)
		for (unsigned n = 0; n < 9; n++) {
			start();
			from = extents[i].end - (1 + n) * 16 * KIB;
			CHECK(read_at(from, from + 16 * KIB) <= extents[i].end);
			fetch_rest(extents[i].from, extents[i].end);
		}
}

static void test_regions(void)
{
	uint64_t begin = NOWHERE / REGION * REGION, from = begin + 256 * KIB;
	int64_t credit;

	begin_test("cluster: bytes in no known file: the READ's round trip, then its region");
	start();
	cluster_open(files);
	credit = files->credit;
	CHECK(credit == (int64_t)(image.pinned.size / CREDIT_SHARE));
	CHECK(read_at(from, from + 16 * KIB) == from + 64 * KIB);
	CHECK(fetch_rest(begin, begin + REGION) == REGION - 64 * KIB);
	CHECK(files->credit == (int64_t)min_u64(CREDIT_MAX, (uint64_t)credit + 3 * 16 * KIB) -
				       (int64_t)(REGION - 16 * KIB));

	begin_test("cluster: their credit is used up, earned again, and has a bound");
	start();
	files->credit = 0;
	CHECK(read_at(from, from + 16 * KIB) == from + 64 * KIB && files->credit == 0);
	CHECK(fetch_rest(0, 0) == 0);
	files->credit = -(int64_t)MIB;
	CHECK(read_at(from + REGION, from + REGION + 16 * KIB) == from + REGION + 16 * KIB);
	CHECK(fetch_rest(0, 0) == 0);
	for (unsigned n = 0; n < 100; n++)
		cluster_earn(files, from, from + 8 * MIB);
	CHECK(files->credit == CREDIT_MAX);
	cluster_earn(files, from, UINT64_MAX / PAGE * PAGE);
	CHECK(files->credit == CREDIT_MAX);

	begin_test("cluster: the last region ends with the image");
	start();
	cluster_open(files);
	CHECK(read_at(IMAGE - 16 * KIB, IMAGE) == IMAGE);
	fetch_rest(IMAGE - REGION, IMAGE);
}

static void test_metadata(void)
{
	begin_test("cluster: a page in no known file is metadata, and gets a few pages beside it, "
		   "unless the directory walk knows more");
	start();
	cluster_open(files);
	CHECK(is_metadata(files, NOWHERE, NOWHERE + PAGE));
	CHECK(!is_metadata(files, NOWHERE, NOWHERE + 2 * PAGE));
	CHECK(!is_metadata(files, SMALL_FILE.from, SMALL_FILE.from + PAGE));
	CHECK(read_at(NOWHERE, NOWHERE + PAGE) == NOWHERE + METADATA_CLUSTER);
	CHECK(fetch_rest(0, 0) == 0);
	files->walk = (struct dirwalk *)&image; /* not looked into */
	CHECK(read_at(NOWHERE + MIB, NOWHERE + MIB + PAGE) == NOWHERE + MIB + PAGE);
}

/* Reads one page of each file, after one of a file elsewhere if it is to be `apart`. */
static void read_files(unsigned first, unsigned count, bool apart)
{
	for (unsigned i = first; i < first + count; i++) {
		if (apart) {
			cluster_earn(files, SMALL_FILE.from, SMALL_FILE.from + PAGE);
			find_place(files, SMALL_FILE.from)->turn = 0; /* a new one again */
		}
		cluster_earn(files, extents[i].from, extents[i].from + PAGE);
	}
}

static void test_directory(void)
{
	begin_test(
		"cluster: of a small directory the rest is fetched with the second file in a row");
	start();
	read_files(6, 1, false);
	CHECK(fetch_rest(DIRECTORY[1].from, DIRECTORY[1].end) > 0);
	CHECK(!cached[DIRECTORY[0].from / PAGE]);
	read_files(5, 1, false);
	fetch_rest(DIRECTORY[0].from, DIRECTORY[2].end);
	CHECK(fetched == 400 * KIB - PAGE, "%llu", (unsigned long long)fetched);

	begin_test("cluster: not if files of other directories are read between them");
	start();
	read_files(5, 3, true);
	fetch_rest(SMALL_FILE.from, DIRECTORY[2].end);
	CHECK(!cached[(DIRECTORY[1].end + 50 * KIB) / PAGE]);

	begin_test(
		"cluster: of a larger one once its READs have cost as much time as all of it does");
	start();
	per_rtt = MIB;
	read_files(8, 3, false);
	fetch_rest(LARGER[0].from, LARGER[2].end);
	CHECK(!cached[LARGER[3].from / PAGE]);
	read_files(11, 1, false);
	fetch_rest(LARGER[0].from, 24 * MIB);
	CHECK(fetched >= 4 * MIB - 4 * PAGE, "%llu", (unsigned long long)fetched);

	begin_test("cluster: a directory is looked for where the READ begins, not where its place "
		   "does");
	start();
	cluster_earn(files, DIRECTORY[0].from + PAGE, DIRECTORY[0].from + 2 * PAGE);
	CHECK(looked_at == DIRECTORY[0].from + PAGE);

	begin_test("cluster: a directory is forgotten with its file");
	start();
	read_files(5, 2, false);
	cluster_close(files);
	CHECK(fetch_rest(0, 0) == 0);
	read_files(6, 1, false);
	CHECK(fetch_rest(DIRECTORY[1].from, DIRECTORY[1].end) > 0, "the first in a row");
}

static void test_large_pages(void)
{
	uint64_t from = NEIGHBOURS[0].from;

	begin_test("cluster: a file whose first page is also another's is fetched to its own end");
	start();
	unit = 16 * KIB;
	CHECK(read_at(from, from + unit) == from + unit);
	CHECK(read_at(from + unit, from + 2 * unit) == from + 3 * unit);
	unit = PAGE;
}

static void test_none(void)
{
	uint64_t from = MEDIUM_FILE.from;

	begin_test("cluster: where no READ earns, thrifty or none, nothing is fetched");
	start();
	CHECK(cluster_end(files, from, from + 16 * KIB) == from + 16 * KIB);
	CHECK(cluster_end(files, NOWHERE, NOWHERE + PAGE) == NOWHERE + PAGE);
	CHECK(cluster_end(files, NOWHERE, NOWHERE + 16 * KIB) == NOWHERE + 16 * KIB);
	cluster_asked(files, from, from + 16 * KIB, from + 16 * KIB);
	cluster_asked(files, NOWHERE, NOWHERE + PAGE, NOWHERE + PAGE);
	CHECK(fetch_rest(0, 0) == 0);

	begin_test("cluster: nor while a trace is recorded or played");
	for (unsigned i = 0; i < 2; i++) {
		start();
		cluster_open(files);
		files->recorder = i ? 0 : -1;
		files->trace = i ? TRACE_PLAYED : TRACE_PLAYING;
		CHECK(read_at(from, from + 16 * KIB) == from + 16 * KIB);
		CHECK(fetch_rest(0, 0) == 0);
	}
}

static void test_many(void)
{
	struct file *f;
	uint64_t at, end;

	begin_test("cluster: of more places than are remembered the one read last comes first");
	start();
	cluster_open(files);
	for (unsigned n = 0; n < 2 * PLACES; n++)
		read_at(64 * MIB + n * REGION, 64 * MIB + n * REGION + 16 * KIB);
	files->credit = CREDIT_MAX;
	CHECK(cluster_next(&f, &at, &end) && end == 64 * MIB + 2 * PLACES * REGION);
	CHECK(!find_place(files, 64 * MIB + (PLACES - 1) * REGION));
	CHECK(find_place(files, 64 * MIB + PLACES * REGION));
}

int main(void)
{
	test_small();
	test_larger();
	test_regions();
	test_metadata();
	test_directory();
	test_large_pages();
	test_none();
	test_many();
	return finish_tests();
}
