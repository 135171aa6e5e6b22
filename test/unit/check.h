/* check.h - the unit tests' one tool: a check, told as a TAP line. A test is one file that includes
 * the source under test, so that its static functions can be reached. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failed;

/* Says "ok" or "not ok" for a group of checks; begin_test() names it. */
static const char *check_name;
static bool check_bad;

static void end_test(void)
{
	if (check_name)
		printf("%s - %s\n", check_bad ? "not ok" : "ok", check_name);
	check_name = NULL;
}

static void begin_test(const char *name)
{
	end_test();
	setvbuf(stdout, NULL, _IOLBF, 0); /* so that a crash loses no line */
	check_name = name;
	check_bad = false;
}

static int finish_tests(void)
{
	end_test();
	return check_failed ? 1 : 0;
}

#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("# %s:%d: %s:", __FILE__, __LINE__, #condition);                    \
			printf(" " __VA_ARGS__);                                                   \
			printf("\n");                                                              \
			check_bad = true;                                                          \
			check_failed++;                                                            \
		}                                                                                  \
	} while (0)

#endif
