/* Unit tests of trace.c: texts and touches become tables. */
#include "test/unit/check.h"

#include "base/text.c"
#include "image/trace.c"

#define PAGE 4096

/* ---- playing ---- */

static struct trace_extent table[TRACE_EXTENTS_MAX];

static struct trace empty(struct trace_extent *extents, size_t max, size_t page, uint64_t size)
{
	memset(extents, 0, max * sizeof(*extents));
	return (struct trace){.extents = extents, .max = max, .page = page, .image_size = size};
}

/* What became of a text, as "PAGE+PAGES ..." or "LINE: REASON". */
static const char *outcome_of(struct trace *t, const char *text, size_t size, bool whole)
{
	static char out[2000];
	char *copy = malloc(size); /* so that a byte too many is seen */
	const char *why;
	size_t n = 0;

	memcpy(copy, text, size);
	out[0] = '\0';
	why = trace_parse(t, copy, size, whole);
	if (why)
		snprintf(out, sizeof(out), "%u: %s", t->line, why);
	for (size_t i = 0; i < t->count; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%u+%u", i ? " " : "",
			t->extents[i].page, t->extents[i].pages);
	free(copy);
	return out;
}

static const char *parsed(const char *text, uint64_t image_size)
{
	struct trace t = empty(table, 8, PAGE, image_size);

	return outcome_of(&t, text, strlen(text), true);
}

#define PARSES(text, image_size, expected)                                                         \
	do {                                                                                       \
		const char *got = parsed(text, image_size);                                        \
		CHECK(strcmp(got, expected) == 0, "%s", got);                                      \
	} while (0)

#define TWO_NUMBERS "it is not two numbers of 64 bits"
#define NO_LENGTH   "the length is 0, or the end beyond 64 bits"

static void test_good(void)
{
	begin_test("trace: lines, blanks, comments, rounded out to pages");
	PARSES("", 1 << 20, "");
	PARSES("0 4096\n", 1 << 20, "0+1");
	PARSES("0 4096", 1 << 20, "0+1");
	PARSES("# x\r\n\r\n \t40960\t \t1 \r\n\n#\n  # y\n4095 2\n", 1 << 20, "10+1 0+2");
	PARSES("8191 1\n20000 20000\n", 1 << 20, "1+1 4+6");
	PARSES("00000000000000000000000000000 4096\n", 1 << 20, "0+1");

	begin_test("trace: clipped to the image");
	PARSES("0 4096\n1048576 1\n8192 4096\n", 1 << 20, "0+1 2+1");
	PARSES("4096 18446744073709547520\n", 1 << 20, "1+255");
	PARSES("18446744073709551615 1\n0 1\n", 1 << 20, "0+1");
	PARSES("4096 100000\n", 5000, "1+1");
	PARSES("4999 1\n", 5000, "1+1");
	PARSES("5000 1\n", 5000, ""); /* in the last page, behind the image's end */
	PARSES("0 1\n", 0, "");
	PARSES("0 18446744073709551615\n", UINT64_MAX, "0+4294967295");
	PARSES("17592186040320 8192\n", UINT64_MAX, ""); /* page 2^32 - 1: its end would not fit */
	PARSES("17592186036224 8192\n", UINT64_MAX, "4294967294+1");

	begin_test("trace: neighbours are merged");
	PARSES("0 4096\n4096 4096\n", 1 << 20, "0+2");
	PARSES("0 8192\n4096 8192\n", 1 << 20, "0+3");
	PARSES("0 16384\n4096 4096\n", 1 << 20, "0+4");
	PARSES("8192 4096\n0 8192\n", 1 << 20, "0+3");
	PARSES("0 4096\n12288 4096\n4096 8192\n", 1 << 20, "0+4"); /* and the one before that */
	PARSES("0 4096\n40960 4096\n0 4096\n", 1 << 20, "0+1 10+1 0+1");
}

static void test_malformed(void)
{
	static const char *const bad[] = {"0", "0 ", "a", "0 a", "0 1 2", "0 1x", "0x 1", "-1 1",
		"0 -1", "+0 1", "0,1", "1e3 1", "0 1 #", "0 1\r\r", "\r0 1", "0\v1", "0\f1",
		"18446744073709551616 1", "0 18446744073709551616", "99999999999999999999999 1",
		"<!DOCTYPE html>", "\xef\xbb\xbf# x"};
	char line[100];

	begin_test("trace: one malformed line refuses all");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(line, sizeof(line), "# x\n0 4096\n%s\n8192 1\n", bad[i]);
		PARSES(line, 1 << 20, "3: " TWO_NUMBERS);
	}
	PARSES("0 0\n", 1 << 20, "1: " NO_LENGTH);
	PARSES("99999999999 0\n", 1 << 20, "1: " NO_LENGTH);
	PARSES("\n18446744073709551615 2\n", 1 << 20, "2: " NO_LENGTH);
	CHECK(strcmp(outcome_of(&(struct trace){.extents = table,
					.max = 8,
					.page = PAGE,
					.image_size = 1 << 20},
			     "0 1\0\n", 5, true),
		      "1: " TWO_NUMBERS) == 0);
}

static void test_cut(void)
{
	static const char text[] = "# c\n40960 4096\n\r\n0 4096\r\n81920 4096\n";
	static const size_t ends[] = {15, 25, 36}; /* of the lines with an extent */
	static const char *const expected[] = {"", "10+1", "10+1 0+1", "10+1 0+1 20+1"};

	begin_test("trace: cut at every byte");
	for (size_t size = 0; size < sizeof(text); size++) {
		struct trace t = empty(table, 8, PAGE, 1 << 20);
		size_t lines = (size >= ends[0]) + (size >= ends[1]) + (size >= ends[2]);
		const char *got = outcome_of(&t, text, size, false);

		CHECK(strcmp(got, expected[lines]) == 0, "at %zu: %s", size, got);
	}
	for (size_t size = 0; size < sizeof(text) - 1; size++) {
		struct trace t = empty(table, 8, PAGE, 1 << 20);

		outcome_of(&t, text, size, true);
		CHECK(t.count <= 3);
	}
}

static void test_full(void)
{
	static const char text[] = "0 1\n40960 1\n8192 1\n12288 1\n49152 1\n0 1\n";
	struct trace t = empty(table, 3, PAGE, 1 << 20);

	begin_test("trace: more than there is room for");
	CHECK(strcmp(outcome_of(&t, text, strlen(text), true), "0+1 10+1 2+2") == 0);
	CHECK(t.left_out == 2, "%zu", t.left_out);
	CHECK(table[3].pages == 0);
	t = empty(table, 0, PAGE, 1 << 20);
	CHECK(strcmp(outcome_of(&t, text, strlen(text), true), "") == 0 && t.left_out == 6);

	begin_test("trace: pages of 64 KiB");
	t = empty(table, 8, 65536, 1 << 20);
	CHECK(strcmp(outcome_of(&t, text, strlen(text), true), "0+1") == 0);
	t = empty(table, 8, 65536, UINT64_MAX);
	CHECK(strcmp(outcome_of(&t, "281474976579584 65536\n281474976645120 65536\n", 44, true),
		      "4294967294+1") == 0);
}

/* ---- recording ---- */

#define MODEL 4000 /* pages of the model's image */

static unsigned touched[MODEL]; /* the touch that was a page's first; 0: none */

static void touch_model(unsigned when, uint64_t offset, uint64_t length)
{
	if (length == 0)
		return;
	for (uint64_t p = offset / PAGE; p <= (offset + length - 1) / PAGE && p < MODEL; p++)
		if (!touched[p])
			touched[p] = when;
}

static uint64_t below(uint64_t n)
{
	return (uint64_t)random() % n;
}

/* While the table is not full: each touched page is in it exactly once, no other is, and what an
 * extent has was touched before what the next one has. */
static void check_exact(const struct trace *t)
{
	static unsigned char seen[MODEL];
	unsigned latest = 0;

	memset(seen, 0, sizeof(seen));
	for (size_t i = 0; i < t->count; i++) {
		unsigned newest = latest;

		for (uint32_t p = t->extents[i].page; p < end_of(t->extents[i]); p++) {
			CHECK(p < MODEL && touched[p] && !seen[p] && touched[p] >= latest,
				"page %u of extent %zu", p, i);
			seen[p] = 1;
			if (touched[p] > newest)
				newest = touched[p];
		}
		latest = newest;
	}
	for (size_t p = 0; p < MODEL; p++)
		CHECK(!touched[p] || seen[p], "page %zu", p);
}

/* When gaps were closed: each touched page is there. */
static void check_covered(const struct trace *t)
{
	uint32_t stop;

	for (uint32_t p = 0; p < MODEL; p++)
		CHECK(!touched[p] || has_page(t, p, &stop), "page %u", p);
}

static void test_random(void)
{
	static struct trace_extent exact[MODEL];
	struct trace t;

	begin_test("trace: random touches against a model");
	for (unsigned seed = 1; seed <= 60; seed++) {
		uint64_t longest = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 40000 : 2000000;

		srandom(seed);
		memset(touched, 0, sizeof(touched));
		t = empty(exact, MODEL, PAGE, (uint64_t)MODEL * PAGE);
		for (unsigned n = 1; n < 40 * seed; n++) {
			uint64_t offset = below((uint64_t)MODEL * PAGE);
			uint64_t length = below(longest) + (seed % 2);
			size_t count = t.count;
			bool changed = trace_touch(&t, offset, length);

			CHECK(changed || count == t.count);
			touch_model(n, offset, length);
			CHECK(!trace_touch(&t, offset, length));
		}
		check_exact(&t);
		CHECK(t.left_out == 0);
	}

	begin_test("trace: random touches, a table that is too small");
	for (unsigned seed = 1; seed <= 60; seed++) {
		srandom(seed);
		memset(touched, 0, sizeof(touched));
		memset(exact, 0, sizeof(exact));
		t = empty(exact, 10 * seed, PAGE, (uint64_t)MODEL * PAGE);
		for (unsigned n = 1; n < 2000 && t.left_out == 0; n++) {
			uint64_t offset = below((uint64_t)MODEL * PAGE);

			trace_touch(&t, offset, 40000);
			if (t.left_out == 0)
				touch_model(n, offset, 40000);
		}
		check_covered(&t);
		CHECK(t.count <= t.max && exact[t.max].pages == 0);
		for (size_t i = 1; i < t.count; i++)
			CHECK(gap_of(t.extents[i - 1], t.extents[i]) > 0);
	}
}

static void test_touch(void)
{
	struct trace t = empty(table, 3, PAGE, UINT64_MAX);

	begin_test("trace: the smallest gap is closed, one that is too large never");
	CHECK(trace_touch(&t, 0, 1) && trace_touch(&t, 30 * PAGE, 1) &&
		trace_touch(&t, 20 * PAGE, 1));
	CHECK(t.count == 3);
	CHECK(trace_touch(&t, 1000 * PAGE, 1)); /* gaps of 29 and of 9 pages */
	CHECK(t.count == 3 && table[1].page == 20 && table[1].pages == 11);
	CHECK(trace_touch(&t, 1001 * PAGE, 1)); /* needs no room */
	CHECK(t.count == 3 && table[1].page == 20 && table[2].pages == 2);
	CHECK(!trace_touch(&t, 25 * PAGE, PAGE)); /* was in the gap */
	CHECK(trace_touch(&t, 2000 * PAGE, 1) && t.count == 3);
	CHECK(table[0].page == 0 && table[0].pages == 31 && table[1].page == 1000);
	CHECK(t.left_out == 0);
	CHECK(!trace_touch(&t, 3000 * PAGE, 1)); /* 969 and 998 pages: over TRACE_GAP_MAX */
	CHECK(t.left_out == 1 && t.count == 3);
	CHECK(trace_touch(&t, 2001 * PAGE, 1) && t.left_out == 1);

	for (uint64_t gap = TRACE_GAP_MAX / PAGE; gap <= TRACE_GAP_MAX / PAGE + 1; gap++) {
		t = empty(table, 2, PAGE, UINT64_MAX);
		CHECK(trace_touch(&t, 0, PAGE) && trace_touch(&t, (gap + 1) * PAGE, PAGE));
		CHECK(trace_touch(&t, 1 << 30, 1) == (gap == TRACE_GAP_MAX / PAGE));
	}

	begin_test("trace: touches from outside of everything");
	t = empty(table, 3, PAGE, UINT64_MAX);
	CHECK(!trace_touch(&t, 0, 0));
	CHECK(!trace_touch(&t, UINT64_MAX, 1));
	CHECK(trace_touch(&t, 1ull << 43, UINT64_MAX) && t.count == 1);
	CHECK(end_of(table[0]) == UINT32_MAX);
	CHECK(trace_touch(&t, 0, UINT64_MAX) && t.count == 1);
	CHECK(table[0].page == 0 && table[0].pages == UINT32_MAX);
}

int main(void)
{
	test_good();
	test_malformed();
	test_cut();
	test_full();
	test_random();
	test_touch();
	return finish_tests();
}
