/* tools/exposition.h - a parser for the text of the status socket (status.h): Prometheus'
 * exposition format, as strictly as we write it. Nothing is allocated, and no text copied. */
#ifndef TOOLS_EXPOSITION_H
#define TOOLS_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRIC_PREFIX "cachefilesd_" /* of all our names */
#define METRIC_LABELS 3

/* All texts are printable ASCII, whatever wrote them, and borrowed from what was parsed. */
struct metric {
	const char *name; /* without METRIC_PREFIX */
	struct {
		const char *name;  /* NULL: no further label */
		const char *value; /* with the escapes \\ \" \n, which JSON has too */
	} label[METRIC_LABELS];
	const char *value; /* digits, or digits, a point and digits, as JSON has numbers */
};

struct metrics {
	struct metric *metric; /* a table of max */
	size_t count, max;
};

/* Parses a whole text, which ends in a NUL, and puts NULs into it. Returns 0, or the number of the
 * wrong line: in a text that is cut off or does not end in "# EOF" that is the last one, with too
 * many metrics the one that has no room. */
unsigned metrics_parse(struct metrics *out, char *text);

/* The value of the label of this name; NULL: there is none. */
const char *metric_label(const struct metric *metric, const char *name);

/* Whether both belong to the same image, to the same mirror, or to neither. */
bool metric_is_of(const struct metric *metric, const struct metric *other);

/* The metric of this name that belongs to the same as `other`; NULL: there is none. */
const struct metric *metric_find(
	const struct metrics *all, const char *name, const struct metric *other);

/* The value in units of 1 (0 decimals), thousandths (3) or millionths (6); 0 for NULL. */
uint64_t metric_number(const struct metric *metric, unsigned decimals);

#endif
