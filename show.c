#include "show.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "measure.h"
#include "sample.h"

/* Enough for FILES_MAX images: only what is used is ever taken. */
#define TEXT_MAX    (8 << 20)
#define SAMPLES_MAX 32768

#define ANSWER_TIME 10000 /* milliseconds without a byte */
#define BAR	    30

/* One answer of the daemon. */
struct answer {
	struct samples samples;
	int64_t at; /* microseconds */
	char *text;
};

static struct answer before, now;

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
	line = samples_parse(&out->samples, out->text);
	if (line > 0)
		log_err("%s: what came is wrong or cut off at line %u", path, line);
	return line == 0;
}

static bool ask(const char *path, struct answer *out)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	out->samples.max = SAMPLES_MAX;
	out->samples.sample = map(SAMPLES_MAX * sizeof(struct sample));
	out->text = map(TEXT_MAX + 1);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (!out->samples.sample || !out->text || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return complain(path, strerror(errno));
	out->at = measure_clock();
	return hear(fd, path, out);
}

/* ---- as JSON ---- */

static unsigned labels_of(const struct sample *s)
{
	unsigned n = 0;

	while (n < SAMPLE_LABELS && s->label[n].name.at)
		n++;
	return n;
}

static void put_text(const char *before, struct slice text, const char *behind)
{
	printf("%s%.*s%s", before, (int)text.size, text.at, behind);
}

/* Members for all samples of the same thing as `key`. Those with a further label become one object,
 * a member for each value of it, but for what is only told for the sake of that label. */
static void put_members(const struct sample *key, const char *between)
{
	unsigned depth = labels_of(key);
	struct slice open = {NULL, 0};

	for (size_t i = 0; i < now.samples.count; i++) {
		const struct sample *s = &now.samples.sample[i];
		struct slice detail = {NULL, 0};

		if (!sample_is_of(s, key))
			continue;
		if (depth < SAMPLE_LABELS)
			detail = s->label[depth].value;
		if (open.at && !slice_is_same(s->name, open)) {
			printf("}");
			open.at = NULL;
		}
		printf("%s", between);
		between = ",\n ";
		if (slice_is(s->name, "mirror_info") || slice_is(s->name, "build_info")) {
			put_text("\"", s->label[depth].name, "\":");
			put_text("\"", detail, "\"");
			continue;
		}
		if (!open.at)
			put_text("\"", s->name, detail.at ? "\":{" : "\":");
		if (detail.at) {
			put_text("\"", detail, "\":");
			open = s->name;
		}
		put_text("", s->value, "");
	}
	printf(open.at ? "}" : "");
}

/* A list of all that have a sample of this name, which has no further label. */
static void put_list(const char *list, const char *name)
{
	const char *between = "";

	printf(",\n\"%s\":[", list);
	for (size_t i = 0; i < now.samples.count; i++) {
		const struct sample *s = &now.samples.sample[i];

		if (!slice_is(s->name, name))
			continue;
		printf("%s\n{", between);
		for (unsigned k = 0; k < labels_of(s); k++) {
			put_text("\"", s->label[k].name, "\":");
			put_text("\"", s->label[k].value, "\",");
		}
		put_members(s, "");
		between = "},";
	}
	printf("%s]", *between ? "}" : "");
}

static void show_json(void)
{
	static struct sample none;

	printf("{");
	put_members(&none, "");
	put_list("mirrors", "mirror_requests_total");
	put_list("images", "image_size_bytes");
	fputs("}\n", stdout);
}

/* ---- for a person ---- */

/* What is shown of each thing: {X...} is replaced as put_field() says. */
static const char head[] =
	"cachefilesd-mini {Vversion}, up {Nuptime_seconds} s, {Nopen_files} cache files open\n"
	"READs: {Nread_seconds_count} answered{P50}{P99}, {Nreads_failed_total} failed, "
	"{Nreads_waiting} waiting\n"
	"link: {Blink_bytes_per_second}/s, round trip {Nlink_round_trip_seconds} s, "
	"{Nconnections} connections\n"
	"so far: {Nopens_total} OPENs, {Nopens_refused_total} refused, {Nrestores_total} restores, "
	"{Nculls_total} culls, {Nlog_dropped_total} log lines dropped\n";

static const char mirror[] =
	"mirror {Vmirror}: {Lmirror_info}\n"
	"  {Nmirror_requests_total} requests, {Bmirror_received_bytes_total}, "
	"{Rmirror_received_bytes_total}, set aside for {Nmirror_set_aside_seconds} s"
	"{Lmirror_failures_total}\n";

static const char image[] =
	"{Vimage} {Vvolume}\n"
	"  {%}  {Bimage_cached_bytes} of {Bimage_size_bytes}, {Rimage_received_bytes_total}\n"
	"  {Nimage_requests_total} requests, {Bimage_received_bytes_total}, "
	"{Nimage_failures_total} failures; {H} was there before\n"
	"  {Nimage_reads_total} READs for {Bimage_read_bytes_total}, "
	"{Nimage_reads_failed_total} failed{Limage_state}\n";

static uint64_t number(const struct answer *answer, const char *name, const struct sample *of)
{
	return sample_number(sample_find(&answer->samples, name, of), 0);
}

/* At most `width` bytes, without the escapes' backslashes. */
static void put_label(struct slice text, int width)
{
	for (size_t i = 0; i < text.size && width > 0; i++, width--) {
		i += text.at[i] == '\\';
		printf("%c", text.at[i]);
	}
}

static void put_amount(uint64_t bytes)
{
	static const char units[] = "kMGT";
	unsigned unit = 0;

	for (; bytes >= 999950 && unit < 3; unit++)
		bytes /= 1000;
	printf("%llu.%llu %cB", (unsigned long long)bytes / 1000,
		(unsigned long long)bytes / 100 % 10, units[unit]);
}

/* What came between the two answers. */
static void put_rate(const char *name, const struct sample *of)
{
	uint64_t then = number(&before, name, of), bytes = number(&now, name, of);
	uint64_t milliseconds = (uint64_t)(now.at - before.at) / 1000 + 1;

	put_amount(bytes > then ? (bytes - then) * 1000 / milliseconds : 0);
	printf("/s");
}

static void put_bar(const struct sample *of)
{
	uint64_t whole = number(&now, "image_size_bytes", of);
	uint64_t part = number(&now, "image_cached_bytes", of);
	int percent = part >= whole ? 100 : (int)(part / (whole / 100 + 1));

	printf("[");
	for (int i = 0; i < BAR; i++)
		printf("%c", i * 100 < percent * BAR ? '#' : '.');
	printf("] %3d%%", percent);
}

/* All samples of the name, by their last label; a url in its place, others each in a line. */
static void put_details(const char *name, const struct sample *of)
{
	for (size_t i = 0; i < now.samples.count; i++) {
		const struct sample *s = &now.samples.sample[i];
		unsigned depth = labels_of(of);

		if (!slice_is(s->name, name) || !sample_is_of(s, of) || depth == SAMPLE_LABELS)
			continue;
		if (!slice_is(s->label[depth].name, "url"))
			printf("\n    ");
		put_label(s->label[depth].value, 68);
		if (sample_number(s, 0) != 1)
			put_text(": ", s->value, "");
	}
}

/* The class of times that so many per cent of the READs lie in or below. */
static void put_percentile(const char *percent, const struct sample *of)
{
	uint64_t all = number(&now, "read_seconds_count", of);
	uint64_t least = *percent == '5' ? all / 2 : all - all / 100;

	for (size_t i = 0; i < now.samples.count && all > 0; i++) {
		const struct sample *s = &now.samples.sample[i];

		if (!slice_is(s->name, "read_seconds_bucket") || sample_number(s, 0) < least)
			continue;
		printf(", %s%% within ", percent);
		put_label(s->label[0].value, 9);
		printf(" s");
		return;
	}
}

static void put_field(char kind, const char *name, const struct sample *of)
{
	const struct sample *s = sample_find(&now.samples, name, of);
	uint64_t cached, written;

	switch (kind) {
	case 'N': /* the number as it stands */
		if (s)
			put_text("", s->value, "");
		break;
	case 'B':
		put_amount(sample_number(s, 0));
		break;
	case 'R':
		put_rate(name, of);
		break;
	case 'V':
		put_label(sample_label(of, name), 38);
		break;
	case 'L':
		put_details(name, of);
		break;
	case 'P':
		put_percentile(name, of);
		break;
	case 'H': /* what is cached and was not written by us, but in an earlier session */
		cached = number(&now, "image_cached_bytes", of);
		written = number(&now, "image_written_bytes_total", of);
		put_amount(cached > written ? cached - written : 0);
		break;
	case '%':
		put_bar(of);
	}
}

static void show(const char *shown, const struct sample *of)
{
	char name[40];

	for (; *shown; shown++) {
		size_t n = strcspn(shown, "}");

		if (*shown != '{') {
			printf("%c", *shown);
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)n - 2, shown + 2);
		put_field(shown[1], name, of);
		shown += n;
	}
}

static void show_each(const char *shown, const char *name)
{
	for (size_t i = 0; i < now.samples.count; i++)
		if (slice_is(now.samples.sample[i].name, name))
			show(shown, &now.samples.sample[i]);
}

int show_run(const char *path, bool json)
{
	if (!json && (!ask(path, &before) || poll(NULL, 0, 1000) < 0))
		return 1;
	if (!ask(path, &now))
		return 1;
	if (json) {
		show_json();
		return 0;
	}
	show_each(head, "build_info");
	show_each(mirror, "mirror_requests_total");
	show_each(image, "image_size_bytes");
	return 0;
}
