/* Unit test of format.c: against the C library's functions. Its own are renamed for that. */
#include <inttypes.h>
#include <stdio.h>

#define vsnprintf own_vsnprintf
#define snprintf  own_snprintf
#define dprintf	  own_dprintf
#include "base/format.c"
#undef vsnprintf
#undef snprintf
#undef dprintf
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "test/unit/check.h"

/* The same directive and arguments to both, with room for all of it, for a part, and for nothing.
 */
#define SAME(...)                                                                                  \
	do {                                                                                       \
		static const size_t sizes[] = {200, 7, 1, 0};                                      \
		for (size_t i = 0; i < 4; i++) {                                                   \
			char ours[200] = "untouched", theirs[200] = "untouched";                   \
			int o = own_snprintf(ours, sizes[i], __VA_ARGS__);                         \
			int t = snprintf(theirs, sizes[i], __VA_ARGS__);                           \
			CHECK(o == t && !strcmp(ours, theirs), "%zu: %d '%s', not %d '%s'",        \
				sizes[i], o, ours, t, theirs);                                     \
		}                                                                                  \
	} while (0)

#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-zero-length"

static void test_texts(void)
{
	static const char torn[] = {'a', 'b', 'c'}; /* no NUL */

	begin_test("format: plain text, %% and %c");
	SAME("");
	SAME("plain text");
	SAME("100%%");
	SAME("%%%%a%%");
	SAME("%c%c", 'a', '%');
	SAME("%3c|%-3c|", 'a', 'b');

	begin_test("format: %s with width and precision");
	SAME("%s", "");
	SAME("<%s> and <%s>", "one", "another");
	SAME("%10s|%-10s|%2s", "right", "left", "longer");
	SAME("%.3s|%.0s|%.s|%.9s", "abcdef", "abcdef", "abcdef", "abcdef");
	SAME("%-8.*s|%*s|%*s|", 2, "abc", 14, "", -6, "ab");
	SAME("%.*s", -1, "all of it");
	SAME("%.*s", 3, torn);
}

static void test_integers(void)
{
	static const long long numbers[] = {
		0, 1, -1, 9, 10, -10, 123456789, INT_MAX, INT_MIN, UINT_MAX, INT64_MAX, INT64_MIN};

	begin_test("format: %m");
	errno = ENOENT;
	SAME("%m");
	errno = EACCES;
	SAME("%s: %m: %d", "/path", 7);
	SAME("<%20m> <%-40m> <%.4m>");

	begin_test("format: integers of every size");
	for (size_t n = 0; n < sizeof(numbers) / sizeof(*numbers); n++) {
		long long v = numbers[n];

		SAME("%d %u %x", (int)v, (unsigned)v, (unsigned)v);
		SAME("%ld %lu %lx", (long)v, (unsigned long)v, (unsigned long)v);
		SAME("%lld %llu %llx", v, (unsigned long long)v, (unsigned long long)v);
		SAME("%zd %zu %zx", (ssize_t)v, (size_t)v, (size_t)v);
		SAME("%5d|%-5d|%05d|%02d", (int)v, (int)v, (int)v, (int)v);
		SAME("%016llx %024lld", (unsigned long long)v, v);
		SAME("%" PRId64 " %" PRIu32 " %0*d", (int64_t)v, (uint32_t)v, 6, (int)v);
	}
}

static void test_unknown(void)
{
	/* Not seen by the compiler, which would rightly complain. */
	static const char *const unknown[] = {"%f %s", "%5.2g", "%+d", "%n", "%hhd", "%", "%l"};
	char out[40];

	begin_test("format: from an unknown conversion on, the format itself is written");
	for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
		char format[40], expected[40];

		snprintf(format, sizeof(format), "%%d: %s", unknown[i]);
		snprintf(expected, sizeof(expected), "7: %s", unknown[i]);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
		own_snprintf(out, sizeof(out), format, 7);
#pragma GCC diagnostic pop
		CHECK(!strcmp(out, expected), "'%s', not '%s'", out, expected);
	}
}

static void test_print(void)
{
	char heard[2048] = "";
	FILE *file = tmpfile();
	struct rlimit old, small;
	int n, kept = dup(STDOUT_FILENO);

	begin_test("format: print, of any length; dprintf, of a limited one");
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	print("%1200s:%d\n", "x", 42);
	n = (int)lseek(fileno(file), 0, SEEK_CUR);
	CHECK(print_flush() && n == 1024, "%d", n);
	dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
	print("lost");
	CHECK(!print_flush() && errno == ENOSPC);
	dup2(kept, STDOUT_FILENO);
	close(kept);
	print("not printed");
	errno = 0;
	CHECK(!print_flush() && errno == ENOSPC);
	rewind(file);
	CHECK(fread(heard, 1, sizeof(heard), file) == 1204);
	CHECK(!strcmp(heard + 1199, "x:42\n"), "%s", heard);
	n = own_dprintf(fileno(file), "%d,", 43);
	CHECK(n == 3 && own_dprintf(fileno(file), "%1024s", "x") == -1, "%d", n);
	n = (int)pread(fileno(file), heard, sizeof(heard), 1204);
	CHECK(n == 3 && !memcmp(heard, "43,", 3), "%d", n);

	begin_test("format: dprintf fails when only a part is taken");
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 1210;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	n = own_dprintf(fileno(file), "%s", "too long");
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK(n == -1 && errno == EFBIG && lseek(fileno(file), 0, SEEK_CUR) == 1210, "%d", n);
	fclose(file);
}

int main(void)
{
	test_texts();
	test_integers();
	test_unknown();
	test_print();
	return finish_tests();
}
