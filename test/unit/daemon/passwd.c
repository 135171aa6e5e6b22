/* Unit tests of passwd.c: lines whole, cut, and such as no passwd file has. */
#include "test/unit/check.h"

#include "daemon/passwd.c"

static uint32_t uid, gid;

/* From memory of just that size, so that the sanitizer sees what reads beyond. */
static bool match(const char *line, size_t size, const char *name)
{
	char *copy = malloc(size + (size == 0));
	bool matches;

	memcpy(copy, line, size);
	uid = gid = 77;
	matches = passwd_match(copy, size, name, &uid, &gid);
	free(copy);
	return matches;
}

static void test_match(void)
{
	static const char line[] =
		"cache:x:107:4294967294:Cache,,,:/nonexistent:/usr/sbin/nologin\n";

	begin_test("passwd: the user's line");
	CHECK(match(line, strlen(line), "cache") && uid == 107 && gid == 4294967294);
	CHECK(match(line, strlen(line) - 1, "cache"));
	CHECK(match("cache::1:2", 10, "cache") && uid == 1 && gid == 2);
	CHECK(!match(line, strlen(line), "cach") && !match(line, strlen(line), "cache:x"));
	CHECK(!match(line, strlen(line), "cachet") && !match(line, strlen(line), ""));
	CHECK(!match("", 0, "cache") && !match("", 0, ""));

	begin_test("passwd: cut at every byte: no, or the same numbers");
	for (size_t n = 0; n < strlen(line); n++)
		if (match(line, n, "cache"))
			CHECK(uid == 107 && n > strlen("cache:x:107:"), "cut to %zu", n);

	begin_test("passwd: numbers that are none");
	CHECK(!match("cache:x::2:", 11, "cache"));
	CHECK(!match("cache:x:-1:2:", 13, "cache"));
	CHECK(!match("cache:x:4294967295:2:", 21, "cache"));
	CHECK(!match("cache:x:99999999999999999999999:2:", 34, "cache"));
	CHECK(!match("cache:x:1:2x:", 13, "cache"));
	CHECK(!match("cache:x:1 :2:", 13, "cache"));
}

static void test_numbers(void)
{
	begin_test("passwd: UID:GID");
	CHECK(passwd_numbers("107:12", &uid, &gid) && uid == 107 && gid == 12);
	CHECK(!passwd_numbers("107", &uid, &gid) && !passwd_numbers("107:", &uid, &gid));
	CHECK(!passwd_numbers("107:1x", &uid, &gid) && !passwd_numbers("", &uid, &gid));
	CHECK(!passwd_numbers("107:4294967295", &uid, &gid));
}

int main(void)
{
	test_match();
	test_numbers();
	return finish_tests();
}
