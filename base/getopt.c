#include "base/getopt.h"

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

static int take_long(char *const *argv, const struct long_option *longs)
{
	char *option = argv[optind++] + 2;
	size_t size = strcspn(option, "=");
	const struct long_option *found = NULL;
	bool several = false;

	for (const struct long_option *o = longs; *o->name; o++)
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
	optopt = found->value;
	if (option[size]) {
		if (!found->has_argument)
			return complain(argv, "option does not take an argument", option, size);
		optarg = option + size + 1;
	} else if (found->has_argument && !(optarg = argv[optind++])) {
		return complain(argv, "option requires an argument", option, size);
	}
	return found->value;
}

int getopt_next(int count, char *const *argv, const char *shorts, const struct long_option *longs)
{
	int first = optind, option, result = -1;

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
