/* Unit test of memory.c: the division, and pages that were never touched. */
#include "test/unit/check.h"

#include <unistd.h>

static int page_bytes = 4096; /* of the division */
#define getpagesize() page_bytes
#include "daemon/memory.c"
#undef getpagesize

static _Alignas(65536) char pages[16 * 65536];

static void test_untouched(void)
{
	size_t page = page_size();

	begin_test("memory: whole pages of zeros take none");
	CHECK(memory_untouched(pages, 8 * page) == 8 * page);
	pages[0] = pages[3 * page - 1] = pages[3 * page] = 1;
	CHECK(memory_untouched(pages, 8 * page) == 5 * page);
	CHECK(memory_untouched(pages + 1, 8 * page) == 5 * page);
	CHECK(memory_untouched(pages + 1, 8 * page - 2) == 4 * page);
	CHECK(memory_untouched(pages + 1, page) == 0 && memory_untouched(pages, 0) == 0);
}

static void test_division(void)
{
	const struct memory_costs costs = {
		.fixed = 300 << 10, .connection = 20 << 10, .file = 1000, .read = 100};
	struct conf conf = {.memory = MEMORY_MIN};
	char why[200] = "";

	begin_test("memory: what is too little is told, with what is needed");
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)), "%s", why);
	CHECK(capacity.connections == 1 && capacity.files == FILES_MIN);
	conf.connections = 16;
	CHECK(!memory_divide(&conf, &costs, why, sizeof(why)));
	CHECK(strstr(why, "memory 589824: too little for 16 connections and 8 images, which take "),
		"%s", why);
	conf.memory = 0;
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)) && capacity.buffer == BUFFER_DEFAULT);
}

static void test_large_program(void)
{
	struct memory_costs costs = {
		.fixed = 535 << 10, .connection = 22 << 10, .file = 5000, .read = 100, .extent = 8};
	struct conf conf = {.memory = 0};
	unsigned least = BUFFER_MIN + 4096;
	char why[200] = "";

	begin_test("memory: where the program is large, open images give way to a handshake and a "
		   "page");
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)), "%s", why);
	CHECK(capacity.buffer == least && capacity.connections == 4);
	CHECK(capacity.files > FILES_MIN && capacity.reads == READS_PER_FILE * capacity.files);
	CHECK(base(&costs) + 4 * (least + costs.connection) <= MEMORY_DEFAULT);
	costs.fixed = 100 << 10;
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)) && capacity.buffer > least);
}

static void test_pages(void)
{
	const struct memory_costs costs = {
		.fixed = 300 << 10, .connection = 20 << 10, .file = 1000, .read = 100, .extent = 8};
	char why[200] = "";

	begin_test("memory: a buffer is whole pages, whatever the memory and the page");
	for (page_bytes = 4096; page_bytes <= 65536; page_bytes *= 4)
		for (uint64_t memory = 0; memory < 4 << 20; memory += memory ? 4096 : MEMORY_MIN) {
			struct conf conf = {.memory = memory};

			if (memory_divide(&conf, &costs, why, sizeof(why)))
				CHECK(capacity.buffer % (size_t)page_bytes == 0, "%d: %zu of %llu",
					page_bytes, capacity.buffer, (unsigned long long)memory);
		}
	page_bytes = 4096;
}

static void test_map(void)
{
	const struct memory_costs costs = {
		.fixed = 300 << 10, .connection = 20 << 10, .file = 1000, .read = 100, .extent = 8};
	struct conf conf = {.memory = MEMORY_WITH_MAP - 1};
	char why[200] = "";
	size_t buffer, files;

	begin_test("memory: there is a map of files from 704K on");
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)) && capacity.extents == 0, "%s", why);
	files = capacity.files;
	buffer = capacity.buffer;
	conf.memory++;
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)), "%s", why);
	CHECK(capacity.extents == MAP_EXTENTS && base(&costs) >= costs.fixed + MAP_EXTENTS * 8);
	CHECK(capacity.files <= files && capacity.files >= FILES_MIN);
	CHECK(capacity.buffer <= buffer);
	CHECK(base(&costs) + capacity.connections * (capacity.buffer + costs.connection) <=
		conf.memory);
	conf.memory = 0;
	CHECK(memory_divide(&conf, &costs, why, sizeof(why)) && capacity.extents == MAP_EXTENTS);
}

int main(void)
{
	test_untouched();
	test_division();
	test_large_program();
	test_pages();
	test_map();
	return finish_tests();
}
