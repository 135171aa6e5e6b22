/* Unit tests of before.c: which of the remembered images is the version before. */
#include "test/unit/check.h"

#include <stdio.h>
#include <unistd.h>

#include "image/before.c"

#include "base/dir.c"
#include "base/fd.c"
#include "base/text.c"
#include "image/state.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#include "test/unit/stubs.h"

static struct state_key named(const char *name)
{
	return (struct state_key){"erofs,x", name, strlen(name)};
}

/* Remembers an image that was opened then, with a root hash that begins with this byte, or none. */
static void remember(const char *name, time_t when, int root)
{
	struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
	struct state s = {.size = 4096, .reported_size = 4096};
	uint8_t hash[VERITY_DIGEST] = {(uint8_t)root};
	char file[STATE_NAME];

	if (root)
		state_verified(&s, hash);
	state_store(&s, named(name), "http://x/");
	state_name(file, named(name));
	utimensat(folder, file, times, 0);
}

/* The first byte of the root hash of what is found; 0: nothing. */
static int find_before(const char *name, const char *pattern)
{
	char found[STATE_NAME];
	struct state_names names;
	struct state s;

	if (!before_find(found, named(name), pattern))
		return 0;
	CHECK(state_read(&s, found, &names) && state_root(&s));
	return state_root(&s)[1] - '0';
}

static void test_digits(void)
{
	static const struct {
		const char *name, *other;
		bool fits;
	} rows[] = {{"img-2", "img-1", true}, {"img-10", "img-9", true}, {"img-9", "img-10", true},
		{"a1.2.3b", "a10.0.30b", true}, {"1", "22", true}, {"img", "img", true},
		{"img-2", "img-", false}, {"img-", "img-2", false}, {"img-2", "img-x", false},
		{"img-2", "img-2x", false}, {"img-2x", "img-2", false}, {"a1b", "a1c", false},
		{"a1b2", "a1b", false}, {"", "", true}, {"", "1", false}, {"1", "", false}};

	begin_test("before: names that differ only in digits, each run of them in one");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct search s = {.pattern = rows[i].name, .digits = true};

		s.end = s.pattern + strlen(s.pattern);
		CHECK(fits(&s, rows[i].other, rows[i].other + strlen(rows[i].other)) ==
				rows[i].fits,
			"%s %s", rows[i].name, rows[i].other);
	}
}

static void test_pattern(void)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} rows[] = {{"a*c", "ac", true}, {"a*c", "abbbc", true}, {"a*c", "abcd", false},
		{"a*a", "a", false}, {"*", "", true}, {"*", "x", true}, {"*x", "x", true},
		{"x*", "x", true}, {"x*", "y", false}, {"abc", "abc", true}, {"abc", "ab", false},
		{"abc", "abcd", false}, {"a1", "a2", false}, {"a**", "a*", true},
		{"a**", "ab", false}};

	begin_test("before: a pattern, whose first '*' stands for any bytes, also none");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct search s = {.pattern = rows[i].pattern};

		s.end = s.pattern + strlen(s.pattern);
		CHECK(fits(&s, rows[i].name, rows[i].name + strlen(rows[i].name)) == rows[i].fits,
			"%s %s", rows[i].pattern, rows[i].name);
	}
}

static void test_find(void)
{
	char path[] = "/tmp/before.XXXXXX";

	begin_test("before: what was opened last of those that fit and were verified");
	CHECK(mkdtemp(path) && (folder = open(path, O_RDONLY | O_DIRECTORY)) >= 0);
	CHECK(find_before("img-4", "") == 0);
	remember("img-1", 1000, 1);
	remember("img-2", 3000, 2);
	remember("img-3", 2000, 3);
	remember("img-9", 4000, 0);
	remember("other", 5000, 5);
	CHECK(find_before("img-4", "") == 2);
	CHECK(find_before("img-4", "img-1") == 1);
	CHECK(find_before("img-4", "oth*r") == 5);
	CHECK(find_before("img-4", "*") == 5);
	CHECK(find_before("image-4", "") == 0 && find_before("image-4", "img*-3") == 3);
	close(folder);
	folder = -1;
}

int main(void)
{
	test_digits();
	test_pattern();
	test_find();
	return finish_tests();
}
