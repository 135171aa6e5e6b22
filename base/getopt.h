/* base/getopt.h - options of a command line, as getopt_long(3) takes them, in a sixth of its size.
 *
 * Short options are ASCII; no argument is optional; a long option's value is returned. The rest is
 * as there: the start of a long name stands for the only one that begins so, what is no option is
 * moved behind those that are, and what is wrong is said. optarg, optind and optopt are those of
 * <unistd.h>.
 */
#ifndef BASE_GETOPT_H
#define BASE_GETOPT_H

#include <stdbool.h>
#include <stdint.h>

struct long_option {
	char name[8];  /* "" behind the last */
	uint8_t value; /* to return */
	bool has_argument;
};

/* Takes the next option. -1: there is no more; '?': it is wrong. */
int getopt_next(int count, char *const *argv, const char *shorts, const struct long_option *longs);

#endif
