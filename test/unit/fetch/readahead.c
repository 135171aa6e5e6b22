/* Unit tests of readahead.c: which READs are streams, and how far ahead of them is fetched. */
#include "test/unit/check.h"

#include "fetch/readahead.c"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

/* A READ of a file that ends with the image. */
static bool reads(unsigned file, uint64_t from, uint64_t end, uint64_t asked, uint64_t most,
	uint64_t image_end)
{
	return readahead_read(file, from, end, asked, 1, most, image_end, image_end);
}

static void start(void)
{
	memset(streams, 0, sizeof(streams));
	reads_seen = 0;
}

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* The stream that was read last. */
static const struct stream *last_read(void)
{
	const struct stream *last = streams;

	for (const struct stream *s = streams; s < streams + STREAMS_MAX; s++)
		if (s->used && s->turn > last->turn)
			last = s;
	return last;
}

/* As prefetch.c: all that streams want is asked for at once. Bytes asked for. */
static uint64_t ask_all(void)
{
	unsigned file;
	uint64_t from, end, n = 0;

	while (readahead_next(&file, &from, &end)) {
		CHECK(from < end, "%llu to %llu", (unsigned long long)from,
			(unsigned long long)end);
		n += end - from;
		readahead_asked(file, from, end);
	}
	return n;
}

static void test_sequential(void)
{
	unsigned file;
	uint64_t from, end;

	begin_test("readahead: one READ is no stream, two in sequence are");
	start();
	CHECK(!readahead_next(&file, &from, &end));
	CHECK(!reads(3, 0, 16 * KIB, 16 * KIB, 8 * MIB, 64 * MIB));
	CHECK(!readahead_next(&file, &from, &end));
	CHECK(reads(3, 16 * KIB, 32 * KIB, 32 * KIB, 8 * MIB, 64 * MIB));
	CHECK(readahead_next(&file, &from, &end) && file == 3 && from == 32 * KIB);
	CHECK(end >= from + LEAST && end <= from + 4 * LEAST, "%llu", (unsigned long long)end);

	begin_test(
		"readahead: a range is wanted until it is asked for, and then what is behind it");
	for (int i = 0; i < 3; i++)
		CHECK(readahead_next(&file, &from, &end) && from == 32 * KIB);
	readahead_asked(3, 32 * KIB, 64 * KIB);
	CHECK(readahead_next(&file, &from, &end) && from == 64 * KIB);
	readahead_asked(7, 64 * KIB, 128 * KIB); /* another file's */
	CHECK(readahead_next(&file, &from, &end) && from == 64 * KIB);
	readahead_asked(3, from, end);
	CHECK(!readahead_next(&file, &from, &end));

	begin_test("readahead: what is fetched together with a READ is not wanted again");
	start();
	reads(3, 0, 16 * KIB, 100 * KIB, 8 * MIB, 64 * MIB);
	CHECK(!readahead_next(&file, &from, &end));
	CHECK(reads(3, 16 * KIB, 32 * KIB, 32 * KIB, 8 * MIB, 64 * MIB));
	CHECK(readahead_next(&file, &from, &end) && from == 100 * KIB);
}

static void test_window(void)
{
	uint64_t pos = 0, frontier, reach, last = 0, most = 2 * MIB;
	unsigned count = 0;

	begin_test(
		"readahead: the window grows with what was read, at most doubles, and is capped");
	start();
	reads(0, 0, 16 * KIB, 16 * KIB, most, 64 * MIB);
	for (pos = 16 * KIB; pos < 32 * MIB; pos = last_read()->frontier, count++) {
		CHECK(reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, most, 64 * MIB));
		ask_all();
		frontier = last_read()->frontier;
		reach = frontier - (pos + 16 * KIB);
		CHECK(reach >= LEAST && reach <= most, "%llu", (unsigned long long)reach);
		CHECK(reach <= LEAST || reach <= pos + 16 * KIB, "more than was read");
		CHECK(reach >= last, "%llu after %llu", (unsigned long long)reach,
			(unsigned long long)last);
		CHECK(last == 0 || reach <= 2 * last + 32 * KIB);
		last = reach;
	}
	CHECK(last == most, "%llu", (unsigned long long)last);
	CHECK(count < 64, "%u READs of 32 MiB", count);

	begin_test("readahead: READs inside of what is on its way keep a stream going");
	start();
	for (pos = 0; pos < 4 * MIB; pos += 16 * KIB) {
		bool goes = reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, most, 64 * MIB);

		CHECK(goes || pos == 0, "%llu", (unsigned long long)pos);
		ask_all();
		CHECK(last_read()->frontier <= pos + 16 * KIB + most);
	}
	CHECK(last_read()->frontier == pos + most);

	begin_test("readahead: a window that gets smaller takes nothing back");
	frontier = last_read()->frontier;
	CHECK(reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, 256 * KIB, 64 * MIB));
	CHECK(ask_all() == 0 && last_read()->frontier == frontier);
	CHECK(reads(0, frontier, frontier + 16 * KIB, frontier + 16 * KIB, 256 * KIB, 64 * MIB));
	CHECK(ask_all() == 256 * KIB);

	begin_test("readahead: no room at all still lets streams be found");
	start();
	reads(0, 0, 16 * KIB, 16 * KIB, 0, 64 * MIB);
	CHECK(reads(0, 16 * KIB, 32 * KIB, 32 * KIB, 0, 64 * MIB));
	CHECK(ask_all() <= LEAST);
}

static void test_strides(void)
{
	uint64_t pos;

	begin_test("readahead: a stream that holds may step over a little, one READ may not");
	start();
	reads(0, 0, 16 * KIB, 16 * KIB, 8 * MIB, 64 * MIB);
	CHECK(!reads(0, 20 * KIB, 36 * KIB, 36 * KIB, 8 * MIB, 64 * MIB));
	start();
	reads(0, 0, 16 * KIB, 16 * KIB, 8 * MIB, 64 * MIB);
	reads(0, 16 * KIB, 32 * KIB, 32 * KIB, 8 * MIB, 64 * MIB);
	ask_all();
	pos = last_read()->frontier + 64 * KIB;
	CHECK(reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, 8 * MIB, 64 * MIB));
	CHECK(last_read()->frontier >= pos + 16 * KIB);
	pos = last_read()->frontier + 4 * MIB;
	CHECK(!reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, 8 * MIB, 64 * MIB));

	begin_test("readahead: READs backwards are no stream");
	start();
	for (pos = 4 * MIB; pos > 0; pos -= 16 * KIB)
		CHECK(!reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, 8 * MIB, 64 * MIB));
	CHECK(ask_all() == 0);
}

static void test_several(void)
{
	unsigned found = 0, file;
	uint64_t from, end;

	begin_test("readahead: as many streams as there are places, in one file and in several");
	for (unsigned all_one = 0; all_one < 2; all_one++) {
		start();
		found = 0;
		for (uint64_t pos = 0; pos < 3 * MIB; pos += 32 * KIB)
			for (unsigned s = 0; s < STREAMS_MAX; s++) {
				uint64_t at = pos + (all_one ? s * 8 * MIB : 0);

				found += reads(all_one ? 0 : s, at, at + 32 * KIB, at + 32 * KIB,
					1 * MIB, 256 * MIB);
				ask_all();
			}
		CHECK(found == STREAMS_MAX * (3 * MIB / (32 * KIB) - 1), "%u", found);
		for (unsigned s = 0; s < STREAMS_MAX; s++)
			CHECK(streams[s].frontier == streams[s].next + MIB);
	}

	begin_test("readahead: what was read last is wanted first");
	start();
	for (unsigned s = 0; s < 4; s++)
		for (unsigned n = 0; n < 2; n++)
			reads(s, n * 16 * KIB, (n + 1) * 16 * KIB, (n + 1) * 16 * KIB, MIB,
				64 * MIB);
	for (unsigned s = 4; s-- > 0;) {
		CHECK(readahead_next(&file, &from, &end) && file == s, "%u", file);
		readahead_asked(file, from, end);
	}
	CHECK(!readahead_next(&file, &from, &end));

	begin_test("readahead: a further stream takes the place of the one unused for longest");
	start();
	for (unsigned s = 0; s < STREAMS_MAX; s++)
		for (unsigned n = 0; n < 2; n++)
			reads(s, n * 16 * KIB, (n + 1) * 16 * KIB, (n + 1) * 16 * KIB, MIB,
				64 * MIB);
	CHECK(reads(0, 32 * KIB, 48 * KIB, 48 * KIB, MIB, 64 * MIB)); /* now 1 is oldest */
	CHECK(!reads(99, 0, 16 * KIB, 16 * KIB, MIB, 64 * MIB));
	CHECK(reads(0, 48 * KIB, 64 * KIB, 64 * KIB, MIB, 64 * MIB));
	CHECK(reads(2, 32 * KIB, 48 * KIB, 48 * KIB, MIB, 64 * MIB));
	CHECK(!reads(1, 32 * KIB, 48 * KIB, 48 * KIB, MIB, 64 * MIB));

	begin_test(
		"readahead: a single READ does not push out a stream while others prove nothing");
	start();
	for (uint64_t pos = 0; pos < MIB; pos += 16 * KIB) {
		bool goes = reads(0, pos, pos + 16 * KIB, pos + 16 * KIB, MIB, 64 * MIB);

		CHECK(goes || pos == 0, "%llu", (unsigned long long)pos);
		for (unsigned n = 0; n < STREAMS_MAX - 1; n++) {
			uint64_t at = 128 * MIB + (uint64_t)random_below(100000) * 64 * KIB;

			reads(1, at, at + 4 * KIB, at + 4 * KIB, MIB, (uint64_t)1 << 40);
		}
	}
}

/* READs of 16 KiB at random pages of an image. Per cent that were taken for a stream's. */
static unsigned random_reads(uint64_t image, unsigned count, uint64_t beside, uint64_t *asked)
{
	unsigned found = 0;

	start();
	*asked = 0;
	for (unsigned i = 0; i < count; i++) {
		uint64_t pos = random_below((uint32_t)(image / (4 * KIB)) - 4) * 4 * KIB;

		found += reads(0, pos, pos + 16 * KIB, pos + 16 * KIB + beside, 8 * MIB, image);
		*asked += ask_all();
	}
	return found * 100 / count;
}

static void test_random(void)
{
	uint64_t asked;
	unsigned found;

	begin_test("readahead: random READs do not look like streams");
	found = random_reads(1024 * MIB, 2000, 0, &asked);
	CHECK(found <= 2, "%u %%", found);
	CHECK(asked <= 2000 * 16 * KIB, "%llu", (unsigned long long)asked);
	found = random_reads(1024 * MIB, 2000, 64 * KIB, &asked);
	CHECK(found <= 2, "%u %% with clusters", found);
	CHECK(asked <= 2000 * 16 * KIB, "%llu", (unsigned long long)asked);
	found = random_reads(64 * MIB, 1000, 0, &asked);
	CHECK(found <= 10, "%u %% of 64 MiB", found);
	CHECK(asked <= 4 * 1000 * 16 * KIB, "%llu", (unsigned long long)asked);
}

static void test_forget(void)
{
	unsigned file;
	uint64_t from, end;

	begin_test("readahead: a file that is closed is forgotten, others are not");
	start();
	for (unsigned s = 0; s < 3; s++)
		for (unsigned n = 0; n < 2; n++)
			reads(s, n * 16 * KIB, (n + 1) * 16 * KIB, (n + 1) * 16 * KIB, MIB,
				64 * MIB);
	readahead_forget(2);
	CHECK(readahead_next(&file, &from, &end) && file == 1);
	CHECK(!reads(2, 32 * KIB, 48 * KIB, 48 * KIB, MIB, 64 * MIB), "its number is used again");
	CHECK(reads(1, 32 * KIB, 48 * KIB, 48 * KIB, MIB, 64 * MIB));
	readahead_forget(1);
	readahead_forget(0);
	CHECK(!readahead_next(&file, &from, &end));
	readahead_asked(1, 48 * KIB, 64 * KIB);
	readahead_forget(77);
	CHECK(!readahead_next(&file, &from, &end));
}

static void test_end(void)
{
	uint64_t size = 3 * MIB + 4 * KIB, pos;

	begin_test("readahead: nothing is wanted behind the image's end");
	start();
	for (pos = 0; pos < size; pos += 4 * KIB) {
		reads(0, pos, pos + 4 * KIB, pos + 4 * KIB, 64 * MIB, size);
		ask_all();
		CHECK(last_read()->frontier <= size, "%llu",
			(unsigned long long)last_read()->frontier);
	}
	CHECK(last_read()->frontier == size);
	start();
	reads(0, 0, 4 * KIB, 4 * KIB, MIB, 8 * KIB);
	CHECK(reads(0, 4 * KIB, 8 * KIB, 8 * KIB, MIB, 8 * KIB));
	CHECK(ask_all() == 0);

	begin_test("readahead: numbers at the end of what 63 bits count");
	start();
	pos = INT64_MAX / (4 * KIB) * (4 * KIB) - 64 * KIB;
	reads(0, pos, pos + 4 * KIB, pos + 4 * KIB, UINT64_MAX / 4, pos + 64 * KIB);
	CHECK(reads(
		0, pos + 4 * KIB, pos + 8 * KIB, pos + 8 * KIB, UINT64_MAX / 4, pos + 64 * KIB));
	CHECK(ask_all() == 56 * KIB);
	/* A READ longer than the image, as prefetch.c hands it over. */
	start();
	reads(0, 0, 1 * MIB, 1 * MIB, 8 * MIB, 1 * MIB);
	CHECK(!reads(0, 0, 1 * MIB, 1 * MIB, 8 * MIB, 1 * MIB));
	CHECK(ask_all() == 0);
}

/* As reads(), READ after READ from `from` on; how far it was asked for. */
static uint64_t read_through(uint64_t from, uint64_t end, unsigned share, uint64_t file_end)
{
	for (; from < end; from += 16 * KIB) {
		readahead_read(0, from, from + 16 * KIB, from + 16 * KIB, share, 8 * MIB, file_end,
			64 * MIB);
		ask_all();
	}
	return last_read()->frontier;
}

static void test_files(void)
{
	begin_test("readahead: a stream ends with its file, until it has gone on with another");
	start();
	CHECK(read_through(0, 768 * KIB, 1, MIB) == MIB);
	CHECK(read_through(768 * KIB, MIB, 1, MIB) == MIB);
	CHECK(read_through(MIB, MIB + 16 * KIB, 1, 2 * MIB) == 2 * MIB);
	CHECK(read_through(MIB + 16 * KIB, 2 * MIB, 1, 2 * MIB) == 2 * MIB + 508 * KIB);
	CHECK(read_through(2 * MIB, 2 * MIB + 256 * KIB, 1, 3 * MIB) == 3 * MIB);

	begin_test("readahead: and a new stream has to show it anew");
	CHECK(read_through(32 * MIB, 33 * MIB, 1, 33 * MIB) == 33 * MIB);

	begin_test("readahead: a file behind a gap is another's too");
	start();
	CHECK(read_through(0, MIB, 1, MIB) == MIB);
	CHECK(read_through(MIB + 64 * KIB, MIB + 80 * KIB, 1, MIB + 256 * KIB) > MIB + 256 * KIB);

	begin_test("readahead: a READ beyond its file's end asks for nothing more");
	start();
	CHECK(read_through(0, 128 * KIB, 1, 120 * KIB) == 128 * KIB);
}

static void test_share(void)
{
	uint64_t frontier = 0;

	begin_test("readahead: a share of what was read, in whole pages, without a least");
	start();
	for (uint64_t pos = 0; pos < 8 * MIB; pos += 16 * KIB) {
		frontier = read_through(pos, pos + 16 * KIB, 32, 64 * MIB);
		CHECK(frontier <= pos + 16 * KIB + pos / 32, "%llu", (unsigned long long)pos);
		CHECK(frontier % (4 * KIB) == 0, "%llu", (unsigned long long)pos);
	}
	CHECK(frontier >= 8 * MIB + 252 * KIB);
	CHECK(read_through(8 * MIB, 9 * MIB, 32, 9 * MIB) == 9 * MIB);
}

int main(void)
{
	test_sequential();
	test_window();
	test_strides();
	test_several();
	test_random();
	test_forget();
	test_end();
	test_files();
	test_share();
	return finish_tests();
}
