/* Unit tests of trace.c. */
#include "test/unit/check.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "image/trace.c"

#define PAGE 4096

static unsigned warnings;
static char warning[300];

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(warning, sizeof(warning), format, args);
	va_end(args);
	warnings += level == LOG_LEVEL_WARNING;
}

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
	if (!trace_parse(t, copy, size, whole, &why))
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

/* ---- files ---- */

static char dir[] = "/tmp/trace-test-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* The content, or "none". Static. */
static const char *content(const char *name)
{
	static char text[65536 + 1];
	FILE *f = fopen(in_dir(name), "r");

	if (!f)
		return "none";
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	return text;
}

#define FIRST_LINE "# cachefilesd-mini trace: OFFSET LENGTH in bytes, in the order of first touch\n"

static void check_round_trip(const struct trace *t, int fd)
{
	static struct trace_extent again[TRACE_EXTENTS_MAX];
	struct trace parsed = empty(again, TRACE_EXTENTS_MAX, t->page, t->image_size);
	char why[300] = "";
	const char *reason = "";
	const char *text;

	CHECK(trace_write(t, fd, "round", why, sizeof(why)), "%s", why);
	text = content("round");
	CHECK(strlen(text) <= BUFFER_DEFAULT);
	CHECK(trace_parse(&parsed, text, strlen(text), false, &reason), "%s", reason);
	CHECK(parsed.left_out == 0 && parsed.count == t->count);
	CHECK(memcmp(again, t->extents, t->count * sizeof(*again)) == 0);
}

static void test_write(void)
{
	struct trace t;
	char why[300] = "";
	struct stat st;
	struct rlimit old, small;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	begin_test("trace: what is written is parsed to the same");
	for (unsigned seed = 1; seed <= 20; seed++) {
		/* some tables are full, one of them of the longest numbers */
		uint64_t base = seed == 20 ? ((uint64_t)UINT32_MAX - 2 * MODEL) * 65536 : 0;

		srandom(seed);
		t = empty(table, TRACE_EXTENTS_MAX, seed % 2 ? PAGE : 65536, UINT64_MAX);
		for (unsigned n = 0; n < 200 * seed; n++)
			trace_touch(&t, base + below(MODEL) * t.page, below(seed < 10 ? 1 : 40000));
		check_round_trip(&t, fd);
	}
	t = empty(table, 8, PAGE, 5000);
	trace_touch(&t, 4500, 500);
	check_round_trip(&t, fd);
	CHECK(strcmp(content("round"), FIRST_LINE "4096 4096\n") == 0);

	begin_test("trace: no draft is left, what was in its place is not followed");
	CHECK(access(in_dir("round.new"), F_OK) != 0);
	CHECK(symlink("victim", in_dir("round.new")) == 0);
	check_round_trip(&t, fd);
	CHECK(strcmp(content("victim"), "none") == 0);
	CHECK(mkfifo(in_dir("round.new"), 0600) == 0);
	check_round_trip(&t, fd);
	CHECK(lstat(in_dir("round"), &st) == 0 && S_ISREG(st.st_mode));

	begin_test("trace: a full disk leaves the old file and no draft");
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){100, old.rlim_max};
	trace_touch(&t, 0, 1);
	for (rlim_t n = 0; n < 90; n += 10) {
		small.rlim_cur = n;
		setrlimit(RLIMIT_FSIZE, &small);
		CHECK(!trace_write(&t, fd, "round", why, sizeof(why)));
		setrlimit(RLIMIT_FSIZE, &old);
		CHECK(strcmp(why, "round: File too large") == 0, "%s", why);
		CHECK(strcmp(content("round"), FIRST_LINE "4096 4096\n") == 0);
		CHECK(access(in_dir("round.new"), F_OK) != 0);
	}
	CHECK(mkdir(in_dir("folder"), 0700) == 0);
	CHECK(!trace_write(&t, fd, "folder", why, sizeof(why)));
	CHECK(access(in_dir("folder.new"), F_OK) != 0);
	CHECK(rmdir(in_dir("folder")) == 0);
	CHECK(unlink(in_dir("round")) == 0);
	close(fd);
}

static void *memory;

static bool init(const char *path, char *why, size_t size)
{
	if (folder >= 0)
		close(folder);
	free(memory);
	memory = calloc(1, trace_memory(true));
	recorders = NULL;
	write_at = INT64_MAX;
	warnings = 0;
	return trace_record_init(path, PAGE, memory, why, size);
}

static void test_record_folder(void)
{
	char path[100], why[5000] = "", name[300];
	int a, b;

	begin_test("trace record: not configured");
	CHECK(trace_memory(false) == 0 && trace_memory(true) < 20 << 10);
	CHECK(trace_record_open("a", 1) == -1);
	trace_record_touch(0, 0, 1);
	trace_record_close(0);
	CHECK(trace_record_flush(0) == INT64_MAX);

	begin_test("trace record: a folder, a file for each image");
	snprintf(path, sizeof(path), "%s/", dir);
	CHECK(init(path, why, sizeof(why)), "%s", why);
	a = trace_record_open("a", 1);
	b = trace_record_open("x/../b\n\xc3\xa4", 9);
	CHECK(a >= 0 && b >= 0 && a != b);
	CHECK(trace_record_flush(1000) == INT64_MAX);
	trace_record_touch(a, 0, 1);
	trace_record_touch(-1, 0, 1);
	CHECK(trace_record_flush(1000) == 6000);
	trace_record_touch(b, 8192, 1);
	CHECK(trace_record_flush(3000) == 6000);
	CHECK(trace_record_flush(5999) == 6000);
	CHECK(strcmp(content("a.trace"), "none") == 0);
	CHECK(trace_record_flush(6000) == INT64_MAX);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 4096\n") == 0);
	CHECK(strcmp(content("x_.._b___.trace"), FIRST_LINE "8192 4096\n") == 0);
	trace_record_touch(a, 100, 1); /* nothing new */
	CHECK(trace_record_flush(6500) == INT64_MAX);
	trace_record_touch(a, 4096, 1);
	CHECK(trace_record_flush(7000) == 12000);

	begin_test("trace record: a third image finds no slot; the same name neither");
	CHECK(trace_record_open("c", 1) == -1 && warnings == 1);
	trace_record_close(b);
	CHECK(trace_record_open("a", 1) == -1 && warnings == 2);

	begin_test("trace record: closing writes; opened again it goes on, until it is replaced");
	trace_record_close(a);
	trace_record_close(a);
	trace_record_touch(a, 1 << 20, 1);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 8192\n") == 0);
	CHECK(trace_record_flush(13000) == INT64_MAX);
	CHECK(trace_record_open("a", 1) == a);
	trace_record_touch(a, 1 << 20, 1);
	trace_record_close(a);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 8192\n1048576 4096\n") == 0);
	CHECK(trace_record_open("c", 1) == b); /* it has the least */
	CHECK(trace_record_open("d", 1) == a);
	trace_record_close(a);
	trace_record_close(b);
	CHECK(strcmp(content("c.trace"), "none") == 0); /* untouched */
	CHECK(trace_record_open("a", 1) >= 0);
	trace_record_touch(a, 0, 1);
	trace_record_touch(b, 0, 1);
	trace_record_close(a);
	trace_record_close(b);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 4096\n") == 0);

	begin_test("trace record: long names, empty names, dots");
	warnings = 0;
	memset(name, 'n', sizeof(name));
	CHECK(trace_record_open(name, 246) == -1 && warnings == 1);
	CHECK(strstr(warning, "too long"));
	a = trace_record_open(name, 245);
	trace_record_touch(a, 0, 1);
	trace_record_close(a);
	strcpy(name + 245, ".trace");
	CHECK(strcmp(content(name), FIRST_LINE "0 4096\n") == 0 && unlink(in_dir(name)) == 0);
	a = trace_record_open("", 0);
	trace_record_touch(a, 0, 1);
	trace_record_close(a);
	CHECK(unlink(in_dir(".trace")) == 0);
	a = trace_record_open("..", 2);
	trace_record_touch(a, 0, 1);
	trace_record_close(a);
	CHECK(unlink(in_dir("...trace")) == 0);
	CHECK(unlink(in_dir("a.trace")) == 0 && unlink(in_dir("x_.._b___.trace")) == 0);
	CHECK(warnings == 1);

	CHECK(init(path, why, sizeof(why)), "%s", why);
	a = trace_record_open("", 0); /* as the first */
	trace_record_touch(a, 0, 1);
	trace_record_close(a);
	CHECK(unlink(in_dir(".trace")) == 0);

	begin_test("trace record: a full table is told once");
	a = trace_record_open("full", 4);
	for (uint64_t i = 0; i < TRACE_EXTENTS_MAX; i++)
		trace_record_touch(a, i << 20, 1);
	CHECK(warnings == 0);
	for (uint64_t i = 5000; i < 5010; i++)
		trace_record_touch(a, i << 20, 1);
	CHECK(warnings == 1 && strstr(warning, "full"), "%s", warning);
	trace_record_close(a);
	CHECK(unlink(in_dir("full.trace")) == 0);
}

static void test_record_file(void)
{
	char path[100], why[5000] = "", long_path[248] = "/";
	int a;

	begin_test("trace record: a file, for the first image of which something is touched");
	snprintf(path, sizeof(path), "%s/boot", dir);
	CHECK(init(path, why, sizeof(why)), "%s", why);
	CHECK(trace_record_open("untouched", 9) == 0);
	CHECK(trace_record_open("a", 1) == -1);
	trace_record_close(0);
	CHECK(trace_record_open("a/b", 3) == 0);
	CHECK(trace_record_open("c", 1) == -1);
	trace_record_touch(0, 4096, 4096);
	trace_record_close(0);
	CHECK(trace_record_open("c", 1) == -1);
	CHECK(strcmp(content("boot"), FIRST_LINE "4096 4096\n") == 0);
	CHECK(trace_record_open("a/b", 3) == 0);
	CHECK(warnings == 0);

	begin_test("trace record: what is no file is not replaced by one");
	CHECK(symlink("boot", in_dir("link")) == 0);
	snprintf(path, sizeof(path), "%s/link", dir);
	CHECK(!init(path, why, sizeof(why)) && strstr(why, "/link: is not a file"), "%s", why);
	CHECK(trace_record_open("a/b", 3) == -1);
	CHECK(unlink(in_dir("link")) == 0);
	snprintf(path, sizeof(path), "%s/boot", dir);
	CHECK(init(path, why, sizeof(why)), "%s", why);
	CHECK(trace_record_open("a/b", 3) == 0);
	trace_record_touch(0, 4096, 4096);

	begin_test("trace record: the file system's root is moved away, the folder vanishes");
	a = open("/", O_RDONLY | O_DIRECTORY);
	CHECK(chdir("/proc") == 0);
	trace_record_touch(0, 0, 1);
	CHECK(trace_record_flush(0) == 5000 && trace_record_flush(5000) == INT64_MAX);
	CHECK(strcmp(content("boot"), FIRST_LINE "0 8192\n") == 0);
	CHECK(unlink(in_dir("boot")) == 0 && rmdir(dir) == 0);
	trace_record_touch(0, 1 << 20, 1);
	CHECK(trace_record_flush(5000) == 10000 && warnings == 0);
	CHECK(trace_record_flush(10000) == INT64_MAX && warnings == 1);
	CHECK(strcmp(warning, "trace record: boot: No such file or directory") == 0, "%s", warning);
	trace_record_touch(0, 1 << 21, 1);
	trace_record_close(0);
	CHECK(warnings == 1);
	close(a);

	begin_test("trace record: a folder that is not there is told at start");
	CHECK(!init(path, why, sizeof(why)));
	CHECK(strstr(why, path) && strstr(why, "No such file or directory"), "%s", why);
	CHECK(trace_record_open("a", 1) == -1);
	CHECK(!init("/etc/passwd/", why, sizeof(why)) && strstr(why, "Not a directory"), "%s", why);
	memset(long_path + 1, 'x', sizeof(long_path) - 2);
	CHECK(!init(long_path, why, sizeof(why)) && strstr(why, strerror(ENAMETOOLONG)), "%s", why);
}

int main(void)
{
	CHECK(mkdtemp(dir));
	test_good();
	test_malformed();
	test_cut();
	test_full();
	test_random();
	test_touch();
	test_write();
	test_record_folder();
	test_record_file();
	free(memory);
	return finish_tests();
}
