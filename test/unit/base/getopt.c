/* Unit test of getopt.c: against the C library's getopt_long(). Variables of the
 * same names are renamed for that. */
#include <getopt.h>

#define optarg own_optarg
#define optind own_optind
#define optopt own_optopt
#include "base/getopt.c"
#undef optarg
#undef optind
#undef optopt
#include <fcntl.h>
#include <stdlib.h>

#include "test/unit/check.h"

static const struct option longs[] = {{"get", no_argument, NULL, 7},
	{"get-all", no_argument, NULL, 30}, {"output", required_argument, NULL, 31},
	{"test", no_argument, NULL, 32}, {NULL, 0, NULL, 0}};
static const struct long_option own_longs[] = {{"get", 7, false}, {"get-all", 30, false},
	{"output", 31, true}, {"test", 32, false}, {"", 0, false}};
static const char shorts[] = "dnp:o:";

/* What one of the two takes from words parted by '|', and what it leaves of them. */
static void take(const char *words, bool own, char *said)
{
	char text[128], *argv[16] = {"test"};
	int argc = 1, c;

	strcpy(text, words);
	for (char *word = strtok(text, "|"); word; word = strtok(NULL, "|"))
		argv[argc++] = strcmp(word, "empty") ? word : "";
	optind = 0; /* the C library's begins anew */
	own_optind = 1;
	optopt = own_optopt = 0;
	do {
		c = own ? getopt_next(argc, argv, shorts, own_longs)
			: getopt_long(argc, argv, shorts, longs, NULL);
		said += sprintf(said, "%d %s %d,", c,
			c <= 0 || c == '?' ? ""
			: own		   ? own_optarg
					   : optarg,
			c == '?' ? own ? own_optopt : optopt : 0);
	} while (c != -1 && c != '?');
	if (c == -1)
		for (int i = own ? own_optind : optind; i < argc; i++)
			said += sprintf(said, " %s", argv[i]);
}

static void check_same(const char *words)
{
	char ours[1024], theirs[1024];

	take(words, true, ours);
	take(words, false, theirs);
	CHECK(!strcmp(ours, theirs), "%s: '%s', not '%s'", words, ours, theirs);
}

static void test_some(void)
{
	begin_test("getopt: options, their arguments, and what is no option");
	check_same("-dn|-p|file|url|-pfile|-dpfile");
	check_same("url|-o|-d|--output|--get|--output=x|--output=|empty|-|--test");
	check_same("a|b|-d|c|--|-n|d");
	check_same("--get|--get-all|--get-|--out|x|--t");

	begin_test("getopt: what is wrong");
	check_same("-dx|y");
	check_same("-:");
	check_same("a|-p");
	check_same("a|--output");
	check_same("--ge");
	check_same("--get=1");
	check_same("--getter|a");
	check_same("--=|a");
}

static void test_random(void)
{
	static const char *const words[] = {"-d", "-n", "-dn", "-p", "-pa", "-do", "--get",
		"--test", "--te", "--output", "--out=b", "--", "-", "empty", "a", "b", "-x",
		"--none"};

	begin_test("getopt: any words");
	srand(1);
	for (int n = 0; n < 20000; n++) {
		char line[128] = "";

		for (int i = rand() % 9; i >= 0; i--)
			strcat(strcat(line, words[rand() % 18]), "|");
		check_same(line);
	}
}

int main(void)
{
	opterr = 0;
	dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
	test_some();
	test_random();
	return finish_tests();
}
