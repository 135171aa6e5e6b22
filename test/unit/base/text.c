/* Unit tests of base/text.c. */
#include "base/text.c"

#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "test/unit/check.h"

static void test_numbers(void)
{
	static const struct {
		const char *text;
		uint64_t most;
		bool good;
		uint64_t number;
		size_t taken;
	} cases[] = {
		{"0", 9, true, 0, 1},
		{"007x", 9, true, 7, 3},
		{"10", 9, false, 0, 0},
		{"65535:", 65535, true, 65535, 5},
		{"65536", 65535, false, 0, 0},
		{"9223372036854775807", INT64_MAX, true, INT64_MAX, 19},
		{"9223372036854775808", INT64_MAX, false, 0, 0},
		{"18446744073709551615", UINT64_MAX, true, UINT64_MAX, 20},
		{"18446744073709551616", UINT64_MAX, false, 0, 0},
		{"99999999999999999999", UINT64_MAX, false, 0, 0},
		{"", 9, false, 0, 0},
		{"-1", 9, false, 0, 0},
		{" 1", 9, false, 0, 0},
	};

	begin_test("text: numbers, and their bounds");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *text = cases[i].text, *at = text;
		uint64_t n = 0;
		bool good = number_take(&at, text + strlen(text), cases[i].most, &n);

		CHECK(good == cases[i].good, "%s", text);
		CHECK(!good || (n == cases[i].number && at == text + cases[i].taken), "%s", text);
	}
}

static void test_leading_number(void)
{
	begin_test("text: the number that a text begins with");
	CHECK(leading_number("42") == 42 && leading_number("42\n") == 42 &&
		leading_number("6.9-rc1") == 6);
	CHECK(leading_number("9223372036854775807") == INT64_MAX);
	CHECK(leading_number("9223372036854775808") == 0);
	CHECK(leading_number("") == 0 && leading_number("self") == 0 && leading_number("-1") == 0);
}

static void test_nearer(void)
{
	static const struct {
		const char *word, *ours;
		unsigned distance; /* UINT_MAX: too far */
	} cases[] = {
		{"dir", "dir", 0},
		{"DIR", "dir", 0},
		{"dri", "dir", 1},
		{"di", "dir", 1},
		{"dirr", "dir", 1},
		{"dix", "dir", 1},
		{"c", "ca", 1},
		{"drx", "dir", UINT_MAX},
		{"", "dir", UINT_MAX},
		{"memroy", "memory", 1},
		{"no_proxy", "no-proxy", 1},
		{"prefecth_rate", "prefetch-rate", 2},
		{"prefix-ratio", "prefetch-rate", UINT_MAX},
	};
	char longest[1000];
	unsigned distance = 1;

	begin_test("text: a misspelt word and ours");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *word = cases[i].word;
		unsigned n = UINT_MAX;
		bool nearer = word_is_nearer(word, strlen(word), cases[i].ours, &n);

		CHECK(n == cases[i].distance && nearer == (n != UINT_MAX), "%s: %u", word, n);
	}
	CHECK(!word_is_nearer("dri", 3, "dir", &distance) && distance == 1);
	CHECK(word_is_nearer("dir=x", 3, "dir", &distance) && distance == 0);
	memset(longest, 'x', sizeof(longest));
	distance = UINT_MAX;
	CHECK(!word_is_nearer(longest, sizeof(longest), "dir", &distance));
}

static int percent(const char *text, size_t size, size_t *taken)
{
	const char *at = text;
	int c = percent_take(&at, text + size);

	*taken = (size_t)(at - text);
	return c;
}

static void test_percent(void)
{
	size_t taken;

	begin_test("text: hexadecimal digits and percent-encoded bytes");
	CHECK(hex_digit('0') == 0 && hex_digit('9') == 9 && hex_digit('a') == 10);
	CHECK(hex_digit('F') == 15 && hex_digit('g') == -1 && hex_digit('@') == -1);
	CHECK(hex_digit('\0') == -1 && hex_digit('\x10') == -1 && hex_digit('\xe1') == -1);
	CHECK(percent("%2Fx", 4, &taken) == '/' && taken == 3);
	CHECK(percent("\xff", 1, &taken) == 255 && taken == 1);
	CHECK(percent("%00", 3, &taken) == 0);
	CHECK(percent("%2F", 2, &taken) == -1 && percent("%", 1, &taken) == -1);
	CHECK(percent("%g0", 3, &taken) == -1 && percent("%0g", 3, &taken) == -1);
}

static void test_words(void)
{
	char text[] = " \t one\r\ntwo  three", *rest = text, *word;

	begin_test("text: words");
	CHECK((word = word_take(&rest)) && !strcmp(word, "one"));
	CHECK((word = word_take(&rest)) && !strcmp(word, "two"));
	CHECK((word = word_take(&rest)) && !strcmp(word, "three"));
	CHECK(!word_take(&rest) && !word_take(&rest));
}

static void test_lines(void)
{
	struct lines lines = {.fd = memfd_create("text", 0)};
	char longest[1023], *line;

	begin_test("text: the lines of a file, without those that are too long");
	memset(longest, 'x', sizeof(longest));
	for (size_t size = sizeof(longest) - 1; size <= sizeof(longest); size++)
		if (write(lines.fd, longest, size) != (ssize_t)size ||
			write(lines.fd, "\n", 1) != 1)
			abort();
	for (int i = 0; i < 3; i++)
		if (write(lines.fd, longest, sizeof(longest)) < 0)
			abort();
	if (write(lines.fd, "\n\nlast", 6) != 6)
		abort();
	CHECK((line = lines_next(&lines)) && strlen(line) == sizeof(longest) - 1);
	CHECK((line = lines_next(&lines)) && !strcmp(line, ""));
	CHECK((line = lines_next(&lines)) && !strcmp(line, "last"));
	CHECK(!lines_next(&lines) && !lines_next(&(struct lines){.fd = -1}));
	close(lines.fd);
}

int main(void)
{
	test_numbers();
	test_leading_number();
	test_nearer();
	test_percent();
	test_words();
	test_lines();
	return finish_tests();
}
