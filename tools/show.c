#include "tools/show.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "tools/exposition.h"

/* Enough for FILES_MAX images: only what is used is ever taken. */
#define TEXT_MAX    (8 << 20)
#define SAMPLES_MAX 32768

#define ANSWER_TIME 10000 /* milliseconds without a byte */
#define BAR	    30
#define CELL	    25 /* three of them make 80 columns with what is between */

/* One answer of the daemon. */
struct answer {
	struct metrics metrics;
	int64_t at; /* microseconds */
	char *text;
};

static struct answer before, now;
static bool json;

/* ---- asking ---- */

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static bool complain(const char *path, const char *why)
{
	log_err("no daemon answers at %s: %s", path, why);
	return false;
}

/* Takes all that comes to its end. */
static bool hear(int fd, const char *path, struct answer *out)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	size_t size = 0;
	ssize_t n = -1;
	unsigned line;

	while (size < TEXT_MAX && poll(&ready, 1, ANSWER_TIME) == 1 &&
		(n = read(fd, out->text + size, TEXT_MAX - size)) > 0)
		size += (size_t)n;
	if (size == 0)
		return complain(path, n < 0 ? "it says nothing" : "it hung up");
	line = metrics_parse(&out->metrics, out->text);
	if (line > 0)
		log_err("%s: what came is wrong or cut off at line %u", path, line);
	return line == 0;
}

static bool ask(const char *path, struct answer *out)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	out->metrics.max = SAMPLES_MAX;
	out->metrics.metric = map(SAMPLES_MAX * sizeof(struct metric));
	out->text = map(TEXT_MAX + 1);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (!out->metrics.metric || !out->text || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return complain(path, strerror(errno));
	out->at = clock_us();
	return hear(fd, path, out);
}

/* ---- a thing: an image, a mirror, or the daemon ---- */

static unsigned column;	    /* of the table's three */
static const char *between; /* what stands before the next member of JSON's object */

static void put_text(const char *front, struct slice text, const char *behind)
{
	printf("%s%.*s%s", front, (int)text.size, text.at, behind);
}

static void put_member(struct slice name, struct slice value, const char *quote)
{
	put_text(between, name, "\":");
	put_text(quote, value, quote);
	between = ",\n\"";
}

/* Samples with a detail become an object in the object, with a member for each of them. */
static void put_json(const struct metric *s, struct slice detail, bool first, bool last)
{
	if (!detail.at) {
		put_member(s->name, s->value, "");
		return;
	}
	if (first) {
		put_text(between, s->name, "\":{");
		between = "\"";
	}
	put_member(detail, s->value, "");
	if (last)
		printf("}");
}

static void put_amount(char out[32], uint64_t bytes, const char *behind)
{
	static const char units[] = "kMGT";
	unsigned unit = 0;

	for (; bytes >= 999950 && unit < 3; unit++)
		bytes /= 1000;
	snprintf(out, 32, "%llu.%llu %cB%s", (unsigned long long)bytes / 1000,
		(unsigned long long)bytes / 100 % 10, units[unit], behind);
}

/* The name to the left, the value to the right. */
static void put_cell(const char *name, const char *value)
{
	int left = CELL - (int)strlen(value);

	printf("%s%-*.*s%s", column++ % 3 == 0 ? "\n " : "  ", left, left - 1, name, value);
}

/* What came between the two answers. */
static void put_rate(const struct metric *s, const struct metric *then)
{
	uint64_t bytes = metric_number(s, 0), old = metric_number(then, 0);
	uint64_t milliseconds = (uint64_t)(now.at - before.at) / 1000 + 1;
	char value[32];

	put_amount(value, bytes > old ? (bytes - old) * 1000 / milliseconds : 0, "/s");
	put_cell("rate", value);
}

/* Whether the name ends so, which is cut off then. */
static bool cut(char *name, const char *end)
{
	size_t size = strlen(name), n = strlen(end);
	bool there = size > n && strcmp(name + size - n, end) == 0;

	if (there)
		name[size - n] = '\0';
	return there;
}

/* Names lose the thing's, and their unit where the value shows it. */
static void put_number(const struct metric *s, size_t skip)
{
	const struct metric *then;
	char name[40], value[32];
	bool received;

	snprintf(name, sizeof(name), "%.*s", (int)s->name.size, s->name.at);
	then = metric_find(&before.metrics, name, s);
	received = strstr(name, "_received");
	cut(name, "_total");
	snprintf(value, sizeof(value), "%.*s%s", (int)s->value.size, s->value.at,
		cut(name, "_seconds") ? " s" : "");
	if (cut(name, "_bytes"))
		put_amount(value, metric_number(s, 0), "");
	else if (cut(name, "_bytes_per_second"))
		put_amount(value, metric_number(s, 0), "/s");
	for (char *p = name; *p; p++)
		*p = *p == '_' ? ' ' : *p;
	put_cell(name + (skip < strlen(name) ? skip : 0), value);
	if (received)
		put_rate(s, then);
}

/* Of a histogram, only classes that have more than the one before. */
static void put_detail(const struct metric *s, struct slice detail, bool first)
{
	bool is_time = slice_is(s->label[0].name, "le");
	char name[40], value[32];

	if (is_time && metric_number(s, 0) == (first ? 0 : metric_number(s - 1, 0)))
		return;
	snprintf(name, sizeof(name), is_time ? "READs in %.*s s" : "%.*s", (int)detail.size,
		detail.at);
	snprintf(value, sizeof(value), "%.*s", (int)s->value.size, s->value.at);
	put_cell(name, value);
}

static bool goes_with(const struct metric *a, const struct metric *b)
{
	return slice_is_same(a->name, b->name) && metric_is_of(a, b);
}

static void put_sample(const struct metric *s, unsigned depth)
{
	const struct metric *begin = now.metrics.metric, *end = begin + now.metrics.count;
	struct slice detail = s->label[depth].value;
	bool first = s == begin || !goes_with(s, s - 1),
	     last = s + 1 == end || !goes_with(s, s + 1);

	if (json)
		put_json(s, detail, first, last);
	else if (detail.at)
		put_detail(s, detail, first);
	else
		put_number(s, depth > 0 ? s->label[0].name.size + 1 : 0);
}

/* A text of a label without its escapes' backslashes, at most so much of it. Returns how much. */
static int put_label(struct slice text, int room)
{
	int n = 0;

	for (size_t i = 0; i < text.size && n < room; i++, n++) {
		i += text.at[i] == '\\';
		printf("%c", text.at[i]);
	}
	printf(" ");
	return n;
}

static void put_bar(const struct metric *image)
{
	uint64_t whole = metric_number(image, 0);
	uint64_t part = metric_number(metric_find(&now.metrics, "image_cached_bytes", image), 0);
	int percent = part >= whole ? 100 : (int)(part / (whole / 100 + 1));

	printf("\n [");
	for (int i = 0; i < BAR; i++)
		printf("%c", i * 100 < percent * BAR ? '#' : '.');
	printf("] %d%%", percent);
}

static void put_title(const struct metric *thing, bool is_image)
{
	int room = 70;

	between = "{\"";
	for (unsigned i = 0; i < METRIC_LABELS && thing->label[i].name.at; i++)
		if (json)
			put_member(thing->label[i].name, thing->label[i].value, "\"");
		else
			room -= put_label(thing->label[i].value, room);
	if (is_image && !json)
		put_bar(thing);
}

/* All that have a metric of this name. Its labels, at most `depth`, are what tells them apart; a
 * further one is another fact, for whose sake alone the metric is there. */
static void put_things(const char *name, unsigned depth, const char *front, const char *behind)
{
	for (size_t i = 0; i < now.metrics.count; i++) {
		const struct metric *s, *thing = &now.metrics.metric[i];

		if (!slice_is(thing->name, name))
			continue;
		printf("%s", front);
		put_title(thing, depth > 1);
		column = 0;
		for (s = now.metrics.metric; s < now.metrics.metric + now.metrics.count; s++)
			if (metric_is_of(s, thing) && (s != thing || depth > 1))
				put_sample(s, metric_label(thing, "volume").at ? 2 : depth > 0);
		printf("%s", behind);
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
	put_things("build_info", 0, json ? "" : "cachefilesd-mini ", json ? "" : "\n");
	put_things("mirror_info", 1, json ? ",\n\"mirrors\":[" : "mirror ", json ? "}" : "\n");
	put_things("image_size_bytes", 2, json ? "],\n\"images\":[" : "", json ? "}" : "\n");
	if (json)
		fputs("]}\n", stdout);
	return 0;
}
