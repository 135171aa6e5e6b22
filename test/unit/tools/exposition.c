/* Unit test of exposition.c: texts that are of the status socket, and texts that are not. */
#include "test/unit/check.h"

#include "tools/exposition.c"

static struct metric table[8];
static struct metrics all = {.metric = table, .max = 8};

static const char good[] =
	"# TYPE cachefilesd_build_info gauge\n"
	"cachefilesd_build_info{version=\"0.1\"} 1\n"
	"cachefilesd_uptime_seconds 12.034\n"
	"cachefilesd_image_size_bytes{image=\"a\\\\x22\\\"\\n\",volume=\"erofs,d\"} "
	"18446744073709551\n"
	"cachefilesd_image_size_bytes{image=\"b\"} 0\n"
	"cachefilesd_image_state{image=\"b\",state=\"walk\"} 1\n"
	"# EOF\n";

/* Of a copy, since parsing changes the text. */
static unsigned parse(const char *text)
{
	static char copy[1000];

	snprintf(copy, sizeof(copy), "%s", text);
	return metrics_parse(&all, copy);
}

static void test_good(void)
{
	const struct metric *b = &table[3];

	begin_test("metric: names, labels and values of a text");
	CHECK(parse(good) == 0);
	CHECK(all.count == 5);
	CHECK(strcmp(table[0].name, "build_info") == 0);
	CHECK(strcmp(metric_label(&table[0], "version"), "0.1") == 0);
	CHECK(!metric_label(&table[0], "image"));
	CHECK(strcmp(metric_label(&table[2], "image"), "a\\\\x22\\\"\\n") == 0);
	CHECK(strcmp(metric_label(&table[2], "volume"), "erofs,d") == 0);
	CHECK(strcmp(table[2].value, "18446744073709551") == 0);

	begin_test("metric: what belongs to what");
	CHECK(metric_find(&all, "image_state", b) == &table[4]);
	CHECK(metric_find(&all, "image_state", &table[2]) == NULL);
	CHECK(metric_find(&all, "image_size_bytes", &table[4]) == b);
	CHECK(metric_find(&all, "uptime_seconds", &table[0]) == &table[1]);
	CHECK(metric_find(&all, "uptime_seconds", b) == NULL);

	begin_test("metric: numbers in units, thousandths and millionths");
	CHECK(metric_number(&table[1], 0) == 12);
	CHECK(metric_number(&table[1], 3) == 12034);
	CHECK(metric_number(&table[1], 6) == 12034000);
	CHECK(metric_number(&table[2], 0) == 18446744073709551);
	CHECK(metric_number(NULL, 3) == 0);
}

static void test_cut(void)
{
	size_t size = sizeof(good) - 1;

	begin_test(
		"metric: cut at any byte it is refused, and no byte behind the cut is looked at");
	for (size_t cut = 0; cut < size; cut++) {
		char *part = malloc(cut + 1);

		memcpy(part, good, cut);
		part[cut] = '\0';
		CHECK(metrics_parse(&all, part) > 0, "at %zu", cut);
		free(part);
	}
}

static void test_bad(void)
{
	static const char *const bad[] = {"", "x", "cachefilesd_ 1", "other_name 1",
		"cachefilesd_a", "cachefilesd_a ", "cachefilesd_a  1", "cachefilesd_a 1 ",
		"cachefilesd_a -1", "cachefilesd_a NaN", "cachefilesd_a +Inf", "cachefilesd_a 1e9",
		"cachefilesd_a 1.", "cachefilesd_a .1", "cachefilesd_a 01", "cachefilesd_a 00.1",
		"cachefilesd_a 123456789012345678901", "cachefilesd_a 1 1700000000",
		"cachefilesd_a{} 1", "cachefilesd_a{b} 1", "cachefilesd_a{b=} 1",
		"cachefilesd_a{b=c} 1", "cachefilesd_a{b=\"c\" 1", "cachefilesd_a{b=\"c\",} 1",
		"cachefilesd_a{b=\"c\"}1", "cachefilesd_a{=\"c\"} 1", "cachefilesd_a{b=\"c} 1",
		"cachefilesd_a{b=\"\\x\"} 1", "cachefilesd_a{b=\"\\",
		"cachefilesd_a{b=\"\x1b[2J\"} 1", "cachefilesd_a{b=\"\xc3\xbc\"} 1",
		"cachefilesd_a{b=\"\x7f\"} 1", "cachefilesd_a{a=\"\",b=\"\",c=\"\",d=\"\"} 1",
		"cachefilesd_A 1", "cachefilesd_a 1\n# EOF\nx", "cachefilesd_a 1\n\n"};
	char text[200];

	begin_test("metric: what is wrong is refused, by the number of its line");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned line;

		snprintf(text, sizeof(text), "cachefilesd_good 1\n%s\n# EOF\n", bad[i]);
		line = parse(text);
		CHECK(line >= 2 && line <= 4, "%u: %s", line, bad[i]);
	}

	begin_test("metric: as many as there is room for, and not one more");
	text[0] = '\0';
	for (size_t i = 0; i < all.max; i++)
		strcat(text, "cachefilesd_a 1\n");
	strcat(text, "# EOF\n");
	CHECK(parse(text) == 0 && all.count == all.max);
	strcpy(text + strlen(text) - 6, "cachefilesd_a 1\n# EOF\n");
	CHECK(parse(text) == all.max + 1 && all.count == all.max);
}

int main(void)
{
	test_good();
	test_cut();
	test_bad();
	return finish_tests();
}
