/* Unit tests of recorder.c: the files of a trace, and which image is recorded. */
#include "test/unit/check.h"

#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/page.h"

#include "base/fd.c"
#include "base/text.c"
#include "image/trace.c"

/* Whatever pages this machine has. */
#define PAGE	    4096
#define page_size() ((size_t)PAGE)
#include "image/recorder.c"

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

static struct trace_extent table[TRACE_EXTENTS_MAX];

static struct trace empty(struct trace_extent *extents, size_t max, size_t page, uint64_t size)
{
	memset(extents, 0, max * sizeof(*extents));
	return (struct trace){.extents = extents, .max = max, .page = page, .image_size = size};
}

#define MODEL 4000 /* pages of an image */

static uint64_t below(uint64_t n)
{
	return (uint64_t)random() % n;
}

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

static void check_round_trip(const struct trace *t)
{
	static struct trace_extent again[TRACE_EXTENTS_MAX];
	struct trace parsed = empty(again, TRACE_EXTENTS_MAX, t->page, t->image_size);
	const char *text, *why;

	CHECK(write_trace(t, "round") == 0);
	text = content("round");
	CHECK(strlen(text) <= BUFFER_DEFAULT);
	why = trace_parse(&parsed, text, strlen(text), false);
	CHECK(!why, "%s", why);
	CHECK(parsed.left_out == 0 && parsed.count == t->count);
	CHECK(memcmp(again, t->extents, t->count * sizeof(*again)) == 0);
}

static void test_write(void)
{
	struct trace t;
	struct stat st;
	struct rlimit old, small;

	folder = open(dir, O_RDONLY | O_DIRECTORY);
	begin_test("trace: what is written is parsed to the same");
	for (unsigned seed = 1; seed <= 20; seed++) {
		/* some tables are full, one of them of the longest numbers */
		uint64_t base = seed == 20 ? ((uint64_t)UINT32_MAX - 2 * MODEL) * 65536 : 0;

		srandom(seed);
		t = empty(table, TRACE_EXTENTS_MAX, seed % 2 ? PAGE : 65536, UINT64_MAX);
		for (unsigned n = 0; n < 200 * seed; n++)
			trace_touch(&t, base + below(MODEL) * t.page, below(seed < 10 ? 1 : 40000));
		check_round_trip(&t);
	}
	t = empty(table, 8, PAGE, 5000);
	trace_touch(&t, 4500, 500);
	check_round_trip(&t);
	CHECK(strcmp(content("round"), FIRST_LINE "4096 4096\n") == 0);

	begin_test("trace: no draft is left, what was in its place is not followed");
	CHECK(access(in_dir("round.new"), F_OK) != 0);
	CHECK(symlink("victim", in_dir("round.new")) == 0);
	check_round_trip(&t);
	CHECK(strcmp(content("victim"), "none") == 0);
	CHECK(mkfifo(in_dir("round.new"), 0600) == 0);
	check_round_trip(&t);
	CHECK(lstat(in_dir("round"), &st) == 0 && S_ISREG(st.st_mode));

	begin_test("trace: a full disk leaves the old file and no draft");
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){100, old.rlim_max};
	trace_touch(&t, 0, 1);
	for (rlim_t n = 0; n < 90; n += 10) {
		small.rlim_cur = n;
		setrlimit(RLIMIT_FSIZE, &small);
		CHECK(write_trace(&t, "round") == EFBIG);
		setrlimit(RLIMIT_FSIZE, &old);
		CHECK(strcmp(content("round"), FIRST_LINE "4096 4096\n") == 0);
		CHECK(access(in_dir("round.new"), F_OK) != 0);
	}
	CHECK(mkdir(in_dir("folder"), 0700) == 0);
	CHECK(write_trace(&t, "folder") == EISDIR);
	CHECK(access(in_dir("folder.new"), F_OK) != 0);
	CHECK(rmdir(in_dir("folder")) == 0);
	CHECK(unlink(in_dir("round")) == 0);
}

static void *memory;

static bool init(const char *path, char *why, size_t size)
{
	if (folder >= 0)
		close(folder);
	free(memory);
	memory = calloc(1, recorder_memory());
	recorders = NULL;
	write_at = INT64_MAX;
	warnings = 0;
	return recorder_init(path, memory, why, size);
}

static void test_record_nothing(void)
{
	begin_test("trace record: not configured");
	CHECK(recorder_memory() < 20 << 10);
	CHECK(recorder_open("a", 1) == -1);
	recorder_touch(0, 0, 1);
	recorder_close(0);
	CHECK(recorder_flush(0) == INT64_MAX);
}

static void init_folder(void)
{
	static char path[100]; /* recorder.c borrows it */
	char why[5000] = "";

	snprintf(path, sizeof(path), "%s/", dir);
	CHECK(init(path, why, sizeof(why)), "%s", why);
}

/* Slots a and b are open, and no other is free. */
static void test_record_slots(int a, int b)
{
	begin_test("trace record: a third image finds no slot; the same name neither");
	CHECK(recorder_open("c", 1) == -1 && warnings == 1);
	recorder_close(b);
	CHECK(recorder_open("a", 1) == -1 && warnings == 2);

	begin_test("trace record: closing writes; opened again it goes on, until it is replaced");
	recorder_close(a);
	recorder_close(a);
	recorder_touch(a, 1 << 20, 1);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 8192\n") == 0);
	CHECK(recorder_flush(13000) == INT64_MAX);
	CHECK(recorder_open("a", 1) == a);
	recorder_touch(a, 1 << 20, 1);
	recorder_close(a);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 8192\n1048576 4096\n") == 0);
	CHECK(recorder_open("c", 1) == b); /* it has the least */
	CHECK(recorder_open("d", 1) == a);
	recorder_close(a);
	recorder_close(b);
	CHECK(strcmp(content("c.trace"), "none") == 0); /* untouched */
	CHECK(recorder_open("a", 1) >= 0);
	recorder_touch(a, 0, 1);
	recorder_touch(b, 0, 1);
	recorder_close(a);
	recorder_close(b);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 4096\n") == 0);
}

static void test_record_folder(void)
{
	int a, b;

	begin_test("trace record: a folder, a file for each image");
	init_folder();
	a = recorder_open("a", 1);
	b = recorder_open("x/../b\n\xc3\xa4", 9);
	CHECK(a >= 0 && b >= 0 && a != b);
	CHECK(recorder_flush(1000) == INT64_MAX);
	recorder_touch(a, 0, 1);
	recorder_touch(-1, 0, 1);
	CHECK(recorder_flush(1000) == 6000);
	recorder_touch(b, 8192, 1);
	CHECK(recorder_flush(3000) == 6000);
	CHECK(recorder_flush(5999) == 6000);
	CHECK(strcmp(content("a.trace"), "none") == 0);
	CHECK(recorder_flush(6000) == INT64_MAX);
	CHECK(strcmp(content("a.trace"), FIRST_LINE "0 4096\n") == 0);
	CHECK(strcmp(content("x_.._b___.trace"), FIRST_LINE "8192 4096\n") == 0);
	recorder_touch(a, 100, 1); /* nothing new */
	CHECK(recorder_flush(6500) == INT64_MAX);
	recorder_touch(a, 4096, 1);
	CHECK(recorder_flush(7000) == 12000);
	test_record_slots(a, b);
}

static void test_record_names(void)
{
	char name[300];
	int a;

	begin_test("trace record: long names, empty names, dots");
	warnings = 0;
	memset(name, 'n', sizeof(name));
	CHECK(recorder_open(name, 246) == -1 && warnings == 1);
	CHECK(strstr(warning, "too long"));
	a = recorder_open(name, 245);
	recorder_touch(a, 0, 1);
	recorder_close(a);
	strcpy(name + 245, ".trace");
	CHECK(strcmp(content(name), FIRST_LINE "0 4096\n") == 0 && unlink(in_dir(name)) == 0);
	a = recorder_open("", 0);
	recorder_touch(a, 0, 1);
	recorder_close(a);
	CHECK(unlink(in_dir(".trace")) == 0);
	a = recorder_open("..", 2);
	recorder_touch(a, 0, 1);
	recorder_close(a);
	CHECK(unlink(in_dir("...trace")) == 0);
	CHECK(unlink(in_dir("a.trace")) == 0 && unlink(in_dir("x_.._b___.trace")) == 0);
	CHECK(warnings == 1);

	init_folder();
	a = recorder_open("", 0); /* as the first */
	recorder_touch(a, 0, 1);
	recorder_close(a);
	CHECK(unlink(in_dir(".trace")) == 0);
}

static void test_record_full(void)
{
	int a;

	begin_test("trace record: a full table is told once");
	a = recorder_open("full", 4);
	for (uint64_t i = 0; i < TRACE_EXTENTS_MAX; i++)
		recorder_touch(a, i << 20, 1);
	CHECK(warnings == 0);
	for (uint64_t i = 5000; i < 5010; i++)
		recorder_touch(a, i << 20, 1);
	CHECK(warnings == 1 && strstr(warning, "full"), "%s", warning);
	recorder_close(a);
	CHECK(unlink(in_dir("full.trace")) == 0);
}

static void test_record_file(void)
{
	char path[100], why[5000] = "", long_path[248] = "/";
	int a;

	begin_test("trace record: a file, for the first image of which something is touched");
	snprintf(path, sizeof(path), "%s/boot", dir);
	CHECK(init(path, why, sizeof(why)), "%s", why);
	CHECK(recorder_open("untouched", 9) == 0);
	CHECK(recorder_open("a", 1) == -1);
	recorder_close(0);
	CHECK(recorder_open("a/b", 3) == 0);
	CHECK(recorder_open("c", 1) == -1);
	recorder_touch(0, 4096, 4096);
	recorder_close(0);
	CHECK(recorder_open("c", 1) == -1);
	CHECK(strcmp(content("boot"), FIRST_LINE "4096 4096\n") == 0);
	CHECK(recorder_open("a/b", 3) == 0);
	CHECK(warnings == 0);

	begin_test("trace record: what is no file is not replaced by one");
	CHECK(symlink("boot", in_dir("link")) == 0);
	snprintf(path, sizeof(path), "%s/link", dir);
	CHECK(!init(path, why, sizeof(why)) && strstr(why, "/link: is not a file"), "%s", why);
	CHECK(recorder_open("a/b", 3) == -1);
	CHECK(unlink(in_dir("link")) == 0);
	snprintf(path, sizeof(path), "%s/boot", dir);
	CHECK(init(path, why, sizeof(why)), "%s", why);
	CHECK(recorder_open("a/b", 3) == 0);
	recorder_touch(0, 4096, 4096);

	begin_test("trace record: the file system's root is moved away, the folder vanishes");
	a = open("/", O_RDONLY | O_DIRECTORY);
	CHECK(chdir("/proc") == 0);
	recorder_touch(0, 0, 1);
	CHECK(recorder_flush(0) == 5000 && recorder_flush(5000) == INT64_MAX);
	CHECK(strcmp(content("boot"), FIRST_LINE "0 8192\n") == 0);
	CHECK(unlink(in_dir("boot")) == 0 && rmdir(dir) == 0);
	recorder_touch(0, 1 << 20, 1);
	CHECK(recorder_flush(5000) == 10000 && warnings == 0);
	CHECK(recorder_flush(10000) == INT64_MAX && warnings == 1);
	CHECK(strcmp(warning, "trace record: boot: No such file or directory") == 0, "%s", warning);
	recorder_touch(0, 1 << 21, 1);
	recorder_close(0);
	CHECK(warnings == 1);
	close(a);

	begin_test("trace record: a folder that is not there is told at start");
	CHECK(!init(path, why, sizeof(why)));
	CHECK(strstr(why, path) && strstr(why, "No such file or directory"), "%s", why);
	CHECK(recorder_open("a", 1) == -1);
	CHECK(!init("/etc/passwd/", why, sizeof(why)) && strstr(why, "Not a directory"), "%s", why);
	memset(long_path + 1, 'x', sizeof(long_path) - 2);
	CHECK(!init(long_path, why, sizeof(why)) && strstr(why, strerror(ENAMETOOLONG)), "%s", why);
}

int main(void)
{
	CHECK(mkdtemp(dir));
	test_write();
	test_record_nothing();
	test_record_folder();
	test_record_names();
	test_record_full();
	test_record_file();
	free(memory);
	return finish_tests();
}
