/* Unit test of unasked.c: exact while the sample has room, near the truth beyond it, and zero once
 * all has been asked for; files apart from each other. */
#include "test/unit/check.h"

#include "fetch/unasked.c"

#define PAGES(n) ((uint64_t)(n)*page_size())

static struct image image_table[DEVICES_MAX];
static struct file file_table[DEVICES_MAX];
struct file *files = file_table;

static uint64_t count(unsigned file)
{
	return image_table[file].stats.unasked;
}

static void start(void)
{
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		unasked_read(i, 0, UINT64_MAX);
		image_table[i].stats.unasked = 0;
		file_table[i].image = &image_table[i];
	}
	CHECK(used == 0 && shift == 0);
}

static bool is_near(uint64_t n, uint64_t truth)
{
	return n >= truth - truth / 3 && n <= truth + truth / 3;
}

static void test_exact(void)
{
	begin_test("unasked: exact while the sample has room");
	start();
	unasked_fetched(0, PAGES(10), PAGES(20));
	unasked_fetched(15, PAGES(10), PAGES(20));
	CHECK(count(0) == PAGES(10) && count(15) == PAGES(10));
	unasked_fetched(0, PAGES(20), PAGES(25));
	CHECK(count(0) == PAGES(15));
	unasked_read(0, PAGES(12) + 512, PAGES(12) + 1024); /* a part of a page */
	CHECK(count(0) == PAGES(14));
	unasked_read(0, PAGES(12), PAGES(14));
	CHECK(count(0) == PAGES(13));
	unasked_read(0, PAGES(30), PAGES(40)); /* nothing of it was fetched on a guess */
	CHECK(count(0) == PAGES(13) && count(15) == PAGES(10));
	unasked_read(15, 0, UINT64_MAX);
	CHECK(count(0) == PAGES(13) && count(15) == 0);

	begin_test("unasked: a page that was fetched twice, and those behind the largest number");
	start();
	unasked_fetched(0, 0, PAGES(2));
	unasked_fetched(0, 0, PAGES(1));
	CHECK(count(0) == PAGES(3));
	unasked_read(0, 0, PAGES(1));
	CHECK(count(0) == PAGES(1));
	unasked_read(0, PAGES(1), PAGES(2));
	unasked_fetched(1, PAGES(1ull << PAGE_BITS), PAGES((1ull << PAGE_BITS) + 3));
	CHECK(count(0) == 0 && count(1) == 0 && used == 0);
	unasked_fetched(15, PAGES((1ull << PAGE_BITS) - 1), PAGES((1ull << PAGE_BITS) + 1));
	CHECK(count(15) == PAGES(1));
}

static void test_estimate(void)
{
	begin_test("unasked: near the truth in ranges and in scattered pages, zero at the end");
	for (unsigned pages = 1; pages <= 1 << 16; pages *= 4)
		for (unsigned stride = 1; stride <= 64; stride *= 8) {
			start();
			for (unsigned n = 1; n <= pages; n++)
				unasked_fetched(3, PAGES(n * stride), PAGES(n * stride + 1));
			CHECK(is_near(count(3), PAGES(pages)));
			for (unsigned n = 1; n <= pages; n++)
				if (n % 4)
					unasked_read(3, PAGES(n * stride), PAGES(n * stride + 1));
			CHECK(pages < 1024 ||
				(count(3) > PAGES(pages / 8) && count(3) < PAGES(pages / 2)));
			unasked_read(3, PAGES(1), PAGES(pages * stride + 1));
			CHECK(count(3) == 0 && shift == 0);
		}

	begin_test("unasked: two images share the sample");
	start();
	for (unsigned n = 1; n <= 4000; n++) {
		unasked_fetched(1, PAGES(n), PAGES(n + 1));
		if (n % 4 == 0)
			unasked_fetched(2, PAGES(n), PAGES(n + 1));
	}
	CHECK(is_near(count(1), PAGES(4000)) && count(2) > PAGES(500) && count(2) < PAGES(2000));

	begin_test("unasked: nothing is taken off what an earlier worker has left");
	start();
	image_table[4].stats.unasked = PAGES(7);
	unasked_fetched(4, PAGES(1), PAGES(3));
	unasked_read(4, 0, UINT64_MAX);
	CHECK(count(4) == PAGES(7));
}

static void test_error(void)
{
	static bool live[1 << 17];
	double squares = 0;
	unsigned runs = 0;

	begin_test("unasked: ranges at random, three of four read: wrong by a tenth");
	srand(1);
	for (; runs < 1000; runs++) {
		double truth = 0, error;

		start();
		memset(live, 0, sizeof(live));
		for (unsigned i = 0; i < 200; i++) {
			unsigned from = 1 + (unsigned)rand() % 100000,
				 end = from + 1 + (unsigned)rand() % 64;

			for (unsigned page = from; page < end; page++)
				if (!live[page])
					unasked_fetched(3, PAGES(page), PAGES(page + 1));
			if (i % 4)
				unasked_read(3, PAGES(from), PAGES(end));
			memset(live + from, i % 4 == 0, end - from);
		}
		for (unsigned page = 0; page < 1 << 17; page++)
			truth += live[page];
		error = (double)count(3) / (double)page_size() / truth - 1;
		squares += error * error;
	}
	printf("# mean square of the error: %.4f\n", squares / runs);
	CHECK(squares / runs <= 0.11 * 0.11);
}

int main(void)
{
	test_exact();
	test_estimate();
	test_error();
	return finish_tests();
}
