#include "tools/show.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/print.h"
#include "base/units.h"
#include "tools/call.h"
#include "tools/exposition.h"

/* Enough for FILES_MAX images; the kernel gives memory only for the part that is used. */
#define TEXT_MAX    (8 << 20)
#define METRICS_MAX 32768

#define ANSWER_TIME 10000 /* milliseconds without a byte */
#define BAR	    30
#define CELL	    25 /* three of them, with the gaps, are 80 columns */

struct answer {
	struct metrics metrics;
	int64_t at; /* when it was asked for, in microseconds */
};

static struct answer before, now;
static bool json;

/* ---- the socket ---- */

static bool receive(int fd, const char *path, char *text, struct metrics *out)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	size_t size = 0;
	ssize_t n = -1;
	unsigned line;

	while (size < TEXT_MAX && poll(&ready, 1, ANSWER_TIME) == 1 &&
		(n = read(fd, text + size, TEXT_MAX - size)) > 0)
		size += (size_t)n;
	if (size == 0)
		return call_failed(path, n < 0 ? "it says nothing" : "it hung up");
	line = metrics_parse(out, text);
	if (line > 0)
		log_err("%s: what came is wrong or cut off at line %u", path, line);
	return line == 0;
}

static bool ask(const char *path, struct answer *out)
{
	const size_t table = METRICS_MAX * sizeof(struct metric);
	int fd = call_daemon(path, SOCK_NONBLOCK);
	char *memory = mmap(NULL, table + TEXT_MAX + 1, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0)
		return false;
	if (memory == MAP_FAILED)
		return call_failed(path, strerror(errno));
	out->metrics = (struct metrics){.metric = (struct metric *)memory, .max = METRICS_MAX};
	out->at = clock_us();
	return receive(fd, path, memory + table, &out->metrics);
}

/* ---- an object: an image, a mirror, or the daemon ---- */

static unsigned column;	    /* of the table's three */
static const char *between; /* goes before the next member of the JSON object */

static void put_member(const char *name, const char *value, const char *quote)
{
	print("%s%s\":%s%s%s", between, name, quote, value, quote);
	between = ",\n\"";
}

/* Metrics with a detail become an object in the object, with a member for each detail. */
static void put_json(const struct metric *m, const char *detail, bool first, bool last)
{
	if (detail && first) {
		print("%s%s\":{", between, m->name);
		between = "\"";
	}
	put_member(detail ? detail : m->name, m->value, "");
	if (detail && last)
		print("}");
}

/* The name on the left, the value on the right. */
static void put_cell(const char *name, const char *value)
{
	int left = CELL - (int)strlen(value);

	print("%s%-*.*s%s", column++ % 3 == 0 ? "\n " : "  ", left, left - 1, name, value);
}

/* The bytes counted between the two answers. */
static void put_rate(const struct metric *m)
{
	uint64_t bytes = metric_number(m, 0);
	uint64_t old = metric_number(metric_find(&before.metrics, m->name, m), 0);
	uint64_t milliseconds = (uint64_t)(now.at - before.at) / 1000 + 1;
	char value[32];

	measure_bytes(value, bytes > old ? (bytes - old) * 1000 / milliseconds : 0);
	put_cell("rate", strcat(value, "/s"));
}

/* Whether the name has this end, which is cut off. */
static bool cut(char *name, const char *end)
{
	size_t size = strlen(name), n = strlen(end);
	bool there = size > n && strcmp(name + size - n, end) == 0;

	if (there)
		name[size - n] = '\0';
	return there;
}

/* Of a name, leaves out the first `skip` bytes, and a unit that the value shows. */
static void put_number(const struct metric *m, size_t skip)
{
	char name[40], value[32];

	snprintf(name, sizeof(name), "%s", m->name);
	cut(name, "_total");
	snprintf(value, sizeof(value), "%s%s", m->value, cut(name, "_seconds") ? " s" : "");
	if (cut(name, "_bytes"))
		measure_bytes(value, metric_number(m, 0));
	else if (cut(name, "_bytes_per_second"))
		strcat(measure_bytes(value, metric_number(m, 0)), "/s");
	for (char *p = name; *p; p++)
		*p = *p == '_' ? ' ' : *p;
	put_cell(name + (skip < strlen(name) ? skip : 0), value);
	if (strstr(m->name, "_received"))
		put_rate(m);
}

/* Of a histogram, only the buckets that have more than the one before. */
static void put_detail(const struct metric *m, const char *detail, bool first)
{
	bool is_time = strcmp(m->label[0].name, "le") == 0;
	char name[40];

	if (is_time && metric_number(m, 0) == (first ? 0 : metric_number(m - 1, 0)))
		return;
	snprintf(name, sizeof(name), is_time ? "READs in %s s" : "%s", detail);
	put_cell(name, m->value);
}

static bool goes_with(const struct metric *a, const struct metric *b)
{
	return strcmp(a->name, b->name) == 0 && metric_is_of(a, b);
}

/* At most `room` bytes of a label's text, without the backslashes of escapes. Returns how many. */
static int put_label(const char *text, int room)
{
	int n = 0;

	for (; *text && n < room; text++, n++) {
		text += *text == '\\';
		print("%c", *text);
	}
	print(" ");
	return n;
}

/* The label behind the first `depth` is a detail. */
static void put_metric(const struct metric *m, unsigned depth)
{
	const struct metric *begin = now.metrics.metric, *end = begin + now.metrics.count;
	const char *detail = m->label[depth].value;
	bool first = m == begin || !goes_with(m, m - 1),
	     last = m + 1 == end || !goes_with(m, m + 1);

	if (json) {
		put_json(m, detail, first, last);
	} else if (detail && strcmp(m->label[depth].name, "error") == 0) {
		print("\n last error %s s ago: ", m->value);
		put_label(detail, 256);
		column = 0;
	} else if (detail && strcmp(m->label[depth].name, "roothash") == 0) {
		print("\n verified: ");
		put_label(detail, 64);
		column = 0;
	} else if (detail) {
		put_detail(m, detail, first);
	} else {
		put_number(m, depth > 0 ? strlen(m->label[0].name) + 1 : 0);
	}
}

static void put_bar(const struct metric *image)
{
	uint64_t whole = metric_number(image, 0);
	uint64_t part = metric_number(metric_find(&now.metrics, "image_cached_bytes", image), 0);
	int percent = part >= whole && whole > 0 ? 100 : (int)(part / (whole / 100 + 1));

	print("\n [");
	for (int i = 0; i < BAR; i++)
		print(i * 100 < percent * BAR ? "#" : ".");
	print("] %d%%", percent);
}

static void put_title(const struct metric *object, bool is_image)
{
	int room = 70;

	between = "{\"";
	for (unsigned i = 0; i < METRIC_LABELS && object->label[i].name; i++)
		if (json)
			put_member(object->label[i].name, object->label[i].value, "\"");
		else
			room -= put_label(object->label[i].value, room);
	if (is_image && !json)
		put_bar(object);
}

/* One object for each metric of this name. Its first `depth` labels identify the object; a further
 * label is itself the information (build_info{version}). */
static void put_objects(const char *name, unsigned depth, const char *front, const char *behind)
{
	const struct metric *begin = now.metrics.metric, *end = begin + now.metrics.count;

	for (const struct metric *object = begin; object < end; object++) {
		if (strcmp(object->name, name) != 0)
			continue;
		print("%s", front);
		put_title(object, depth > 1);
		column = 0;
		for (const struct metric *m = begin; m < end; m++)
			if (metric_is_of(m, object) && (m != object || depth > 1))
				put_metric(m, metric_label(object, "volume") ? 2 : depth > 0);
		print("%s", behind);
		if (json)
			front = ",\n";
	}
}

int show_run(const char *path, bool as_json)
{
	json = as_json;
	if (!json && (!ask(path, &before) || poll(NULL, 0, 1000) < 0))
		return 1;
	if (!ask(path, &now))
		return 1;
	put_objects("build_info", 0, json ? "" : "cachefilesd-mini ", json ? "" : "\n");
	put_objects("mirror_info", 1, json ? ",\n\"mirrors\":[" : "mirror ", json ? "}" : "\n");
	put_objects("image_size_bytes", 2, json ? "],\n\"images\":[" : "", json ? "}" : "\n");
	if (json)
		print("]}\n");
	return 0;
}
