/* tools/exposition.h - the text of the status socket (status.h), taken apart: Prometheus' exposition format,
 * as strictly as we write it. Nothing is copied or allocated; what is printed of it later is
 * printable ASCII, whoever wrote it.
 */
#ifndef TOOLS_EXPOSITION_H
#define TOOLS_EXPOSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define METRIC_LABELS 3

struct slice {
	const char *at; /* NULL: there is none */
	size_t size;
};

struct metric {
	struct slice name; /* without what all of ours begin with */
	struct {
		struct slice name;
		struct slice value; /* as it stands: with the escapes \\ \" \n, which JSON has too
				     */
	} label[METRIC_LABELS];
	struct slice value; /* digits, and it may be a point and digits: JSON has that too */
};

struct metrics {
	struct metric *metric;
	size_t count, max;
};

/* Parses the whole of a text, which ends in a NUL. Returns 0, or the number of the line that is
 * wrong: one that is cut off or does not end in "# EOF" is, in its last line, and one of more
 * metrics than max. */
unsigned metrics_parse(struct metrics *out, const char *text);

bool slice_is(struct slice slice, const char *text);
bool slice_is_same(struct slice a, struct slice b);

/* The value of the label of this name. */
struct slice metric_label(const struct metric *metric, const char *name);

/* Whether both are of the same image, or mirror, or of none. */
bool metric_is_of(const struct metric *metric, const struct metric *other);

/* The metric of this name that is of the same as `other`; NULL: there is none. */
const struct metric *metric_find(
	const struct metrics *all, const char *name, const struct metric *other);

/* The value in units of 1 (0 decimals), thousandths (3) or millionths (6); 0 for NULL. */
uint64_t metric_number(const struct metric *metric, unsigned decimals);

#endif
