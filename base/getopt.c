/* base/getopt.c - getopt_long() for this program, under the C library's names.
 *
 * The linker takes it instead of the library's, which is six times as large. Short options are
 * ASCII; no argument is optional; `index` is not set. The rest is as in getopt_long(3): the start
 * of a long name stands for the only one that begins so, and what is no option is moved behind
 * those that are.
 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *optarg;
int optind = 1, optopt;

static int letter = 1; /* the next one in argv[optind], if that has short options */

static int complain(char *const *argv, const char *what, const char *option, size_t size)
{
	dprintf(STDERR_FILENO, "%s: %s: %.*s\n", argv[0], what, (int)size, option);
	return '?';
}

static int take_short(char *const *argv, const char *shorts)
{
	char *c = argv[optind] + letter++, *rest = c + 1;
	const char *known = *c != ':' ? strchr(shorts, *c) : NULL;

	optopt = (unsigned char)*c;
	if (!*rest || (known && known[1] == ':')) {
		optind++;
		letter = 1;
	}
	if (!known)
		return complain(argv, "unrecognized option", c, 1);
	if (known[1] == ':' && !(optarg = *rest ? rest : argv[optind++]))
		return complain(argv, "option requires an argument", c, 1);
	return optopt;
}

static int take_long(char *const *argv, const struct option *longs)
{
	char *option = argv[optind++] + 2;
	size_t size = strcspn(option, "=");
	const struct option *found = NULL;
	bool several = false;

	for (const struct option *o = longs; o->name; o++)
		if (strncmp(o->name, option, size) == 0) {
			several = found && o->name[size];
			found = o;
			if (!o->name[size])
				break;
		}
	optopt = 0;
	if (!found || several)
		return complain(argv, found ? "option is ambiguous" : "unrecognized option", option,
			strlen(option));
	optopt = found->val;
	if (option[size]) {
		if (!found->has_arg)
			return complain(argv, "option does not take an argument", option, size);
		optarg = option + size + 1;
	} else if (found->has_arg && !(optarg = argv[optind++])) {
		return complain(argv, "option requires an argument", option, size);
	}
	if (!found->flag)
		return found->val;
	*found->flag = found->val;
	return 0;
}

int getopt_long(
	int count, char *const *argv, const char *shorts, const struct option *longs, int *index)
{
	int first = optind, option, result = -1;

	(void)count, (void)index;
	while (argv[optind] && (argv[optind][0] != '-' || !argv[optind][1]))
		optind++;
	option = optind;
	if (!argv[option]) {
		optind = first;
		return -1;
	}
	optarg = NULL;
	if (argv[option][1] != '-')
		result = take_short(argv, shorts);
	else if (argv[option][2])
		result = take_long(argv, longs);
	else
		optind++;
	for (; option < optind && option < count; option++, first++) {
		char *moved = argv[option];

		memmove((char **)argv + first + 1, argv + first,
			(size_t)(option - first) * sizeof(*argv));
		((char **)argv)[first] = moved;
	}
	optind = first;
	return result;
}
