/* replay.c - `replay [-r MS] [-b MBIT] [-w SEGMENTS] [-o LINE]... [-v TREE -c DIR] [-l] IMAGE
 * READS`: readers that wait for each of their READs, and the engine (fetch/, image/, http.c) on the
 * link of link.h, in virtual time. Prints a line of JSON. With -v the image is verified, for which
 * a line `roothash image HEX` is needed; its tree is kept in DIR.
 *
 * READS has lines "READER THINK OFFSET LENGTH ...": after THINK microseconds of its own the reader
 * wants these bytes. As cachefiles does, it asks for each hole among them, one after the other; for
 * none, where they are cached.
 *
 * With -l there is a line before for each READ and request, for a person or a program:
 *	read BEGUN MILLISECONDS READER OFFSET LENGTH IN_FLIGHT	when it is over
 *	get BEGUN CONNECTION OFFSET LENGTH
 * BEGUN is in milliseconds; IN_FLIGHT is how many of its first bytes were when it came. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/conf.h"
#include "daemon/memory.h"
#include "fetch/fetch.h"
#include "fetch/pool.h"
#include "image/state.h"
#include "test/bench/replay/link.h"

#define READERS	  16
#define THE_IMAGE 0   /* the number of its file */
#define TURN	  20  /* microseconds of a turn of the loop, */
#define WAKE	  100 /* and from a READ's answer until its reader runs again */
#define TOO_LONG  600000000
#define START	  1000000     /* 0 means never to parts of the engine */
#define PROGRAM	  (400 << 10) /* what it takes of `memory`: see --version */

/* By page. */
static struct {
	bool *cached, *read;
	uint64_t count;
} pages;

struct want {
	int64_t think;
	uint64_t from, end;
};

static struct reader {
	struct want *wants;
	size_t count, next;
	int64_t runs_at; /* INT64_MAX: it waits */
	uint64_t asked_from, asked_end, in_flight;
	int64_t asked_at;
} readers[READERS];

static struct conf conf;
static bool is_open, logs;
static const char *cache; /* a folder */
static uint64_t reads_sent;
static int64_t waited;

static void broken(const char *what, const char *why)
{
	fprintf(stderr, "replay: %s: %s\n", what, why);
	exit(1);
}

static double milliseconds(int64_t microseconds)
{
	return (double)microseconds / 1e3;
}

/* ---- the front end ---- */

static void opened(unsigned file, enum outcome outcome, uint64_t size)
{
	(void)file, (void)size;
	if (outcome != OUTCOME_OK)
		broken("OPEN", outcomes[outcome].words);
	is_open = true;
	for (struct reader *r = readers; r < readers + READERS; r++)
		r->runs_at = r->count > 0 ? now + r->wants[0].think : INT64_MAX;
}

/* A wrong byte would make all figures worthless. */
static ssize_t write_pages(unsigned file, const void *bytes, size_t size, uint64_t offset)
{
	size_t inside = (size_t)min_u64(size, the_link.size - offset);

	(void)file;
	if (memcmp(bytes, the_link.file + offset, inside) != 0)
		broken("write", "bytes that are not the image's");
	for (uint64_t p = offset / page_size(); p < (offset + size) / page_size(); p++)
		pages.cached[p] = true;
	return (ssize_t)size;
}

static int64_t hole(unsigned file, uint64_t offset, uint64_t end, uint64_t *hole_end)
{
	uint64_t p = offset / page_size(), last = page_up(end) / page_size();

	(void)file;
	while (p < last && pages.cached[p])
		p++;
	if (p >= last)
		return (int64_t)end;
	offset = offset > p * page_size() ? offset : p * page_size();
	while (p < last && !pages.cached[p])
		p++;
	*hole_end = min_u64(end, p * page_size());
	return (int64_t)offset;
}

static void complete(unsigned file, uint32_t id, enum outcome outcome)
{
	struct reader *r = &readers[id];

	(void)file;
	if (outcome != OUTCOME_OK)
		broken("READ", outcomes[outcome].words);
	r->runs_at = now + WAKE;
	waited += now - r->asked_at;
	if (logs)
		printf("read %.1f %.1f %u %llu %llu %llu\n", milliseconds(r->asked_at - START),
			milliseconds(now - r->asked_at), id, (unsigned long long)r->asked_from,
			(unsigned long long)(r->asked_end - r->asked_from),
			(unsigned long long)r->in_flight);
}

static const struct frontend front = {.any_order = true,
	.size_is_version = false,
	.opened = opened,
	.write = write_pages,
	.hole = hole,
	.complete = complete};

/* ---- readers ---- */

static uint64_t in_flight(uint64_t from, uint64_t end)
{
	uint64_t at = from, to;

	while (at < end && (to = pool_cover(THE_IMAGE, at)))
		at = to;
	return min_u64(at, end) - from;
}

static void ask(struct reader *r, uint64_t from, uint64_t end)
{
	r->asked_from = from;
	r->asked_end = end;
	r->asked_at = now;
	r->in_flight = in_flight(from, end);
	r->runs_at = INT64_MAX;
	reads_sent++;
	fetch_read(THE_IMAGE, (uint32_t)(r - readers), from, end - from, READ_USUAL);
}

/* Goes on to the next byte that is not cached. */
static void read_on(struct reader *r)
{
	while (r->runs_at <= now) {
		const struct want *w = &r->wants[r->next];
		uint64_t end, from = (uint64_t)hole(0, w->from, w->end, &end);

		if (from < w->end) {
			ask(r, from, end);
			return;
		}
		r->runs_at =
			++r->next < r->count ? r->runs_at + r->wants[r->next].think : INT64_MAX;
	}
}

static int64_t readers_next(void)
{
	int64_t next = INT64_MAX;

	for (const struct reader *r = readers; r < readers + READERS && is_open; r++)
		next = sooner(next, r->runs_at);
	return next;
}

/* Whether there was a READ. */
static bool readers_run(void)
{
	uint64_t before = reads_sent;

	for (struct reader *r = readers; r < readers + READERS && is_open; r++)
		if (!fetch_full())
			read_on(r);
	return reads_sent > before;
}

static bool readers_are_done(void)
{
	for (const struct reader *r = readers; r < readers + READERS; r++)
		if (r->next < r->count)
			return false;
	return true;
}

static void load_reads(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned long long reader, think, offset, length;

	if (!f)
		broken(path, strerror(errno));
	while (fscanf(f, "%llu %llu %llu %llu%*[^\n]", &reader, &think, &offset, &length) == 4) {
		struct reader *r = &readers[reader];

		assert(reader < READERS && offset + length <= pages.count * page_size());
		if (r->count % 1024 == 0)
			r->wants = realloc(r->wants, (r->count + 1024) * sizeof(*r->wants));
		r->wants[r->count++] =
			(struct want){(int64_t)think, page_down(offset), page_up(offset + length)};
		for (uint64_t p = offset / page_size(); p * page_size() < offset + length; p++)
			pages.read[p] = true;
	}
	if (!feof(f))
		broken(path, "a line that is not four numbers");
	fclose(f);
}

/* ---- the loop ---- */

static void loop(void)
{
	struct pollfd set[CONNECTIONS_MAX];

	while (!is_open || !readers_are_done()) {
		size_t n = fetch_poll(set);
		int64_t timer = fetch_next(), next = readers_next();

		next = sooner(next, timer < TOO_LONG * 10LL ? timer * 1000 : INT64_MAX);
		while (!link_poll(set, n) && link_next() <= next) {
			now = later(now, link_next());
			link_step();
		}
		if (!link_poll(set, n))
			now = later(now, next);
		if (now > START + TOO_LONG)
			broken("the readers", "they wait for ever");
		fetch_run(set, now);
		if (readers_run())
			fetch_run(NULL, now);
		now += TURN;
	}
}

static void asked(unsigned connection, uint64_t from, uint64_t end)
{
	printf("get %.1f %u %llu %llu\n", milliseconds(now - START), connection,
		(unsigned long long)from, (unsigned long long)(end - from));
}

/* ---- the start ---- */

static const char *load(const char *path, uint64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *file;
	struct stat s;

	if (fd < 0 || fstat(fd, &s) < 0)
		broken(path, strerror(errno));
	*size = (uint64_t)s.st_size;
	file = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		broken(path, strerror(errno));
	return file;
}

static void load_image(const char *path)
{
	the_link.file = load(path, &the_link.size);
	pages.count = page_up(the_link.size) / page_size();
	pages.cached = calloc(pages.count, 1);
	pages.read = calloc(pages.count, 1);
}

static void configure(const char *line)
{
	char why[512];

	if (!conf_line(&conf, "-o", line, why, sizeof(why)))
		broken(line, why);
}

static void start_engine(void)
{
	struct memory_costs costs = {0};
	char why[256];

	fetch_costs(&conf, &costs);
	costs.fixed += PROGRAM;
	if (!memory_divide(&conf, &costs, why, sizeof(why)))
		broken("memory", why);
	if (!conf.memory && capacity.buffer != BUFFER_DEFAULT)
		broken("memory", "PROGRAM is not as in the daemon");
	fetch_init(&conf, &front, aligned_alloc(page_size(), page_up(fetch_memory(&conf))));
	if (the_link.tree)
		state_open(cache); /* where the tree is kept */
	fetch_run(NULL, now);
	fetch_open(THE_IMAGE, "erofs,image", "image", 5);
	fetch_run(NULL, now);
}

static void report(void)
{
	uint64_t needed = 0;

	for (uint64_t p = 0; p < pages.count; p++)
		needed += pages.read[p] ? page_size() : 0;
	printf("{\"seconds\": %.3f, \"bytes\": %llu, \"requests\": %llu, \"connections\": %u, "
	       "\"reads\": %llu, \"waited\": %.3f, \"needed\": %llu, \"limit\": %.3f}\n",
		(double)(now - START) / 1e6, (unsigned long long)the_link.bytes,
		(unsigned long long)the_link.requests, the_link.connections,
		(unsigned long long)reads_sent, (double)waited / 1e6, (unsigned long long)needed,
		(double)needed / link_goodput());
}

int main(int argc, char **argv)
{
	int option;

	log_open(true, LOG_LEVEL_WARNING);
	conf_init(&conf);
	configure("url http://server/");
	the_link.round_trip = 20000;
	the_link.rate = 12.5e6;
	the_link.window = 10;
	while ((option = getopt(argc, argv, "r:b:w:o:v:c:l")) != -1) {
		if (option == 'r')
			the_link.round_trip = (int64_t)(atof(optarg) * 1e3);
		else if (option == 'b')
			the_link.rate = atof(optarg) * 125e3;
		else if (option == 'w')
			the_link.window = strtoul(optarg, NULL, 10);
		else if (option == 'o')
			configure(optarg);
		else if (option == 'v')
			the_link.tree = load(optarg, &the_link.tree_size);
		else if (option == 'c')
			cache = optarg;
		else if (option == 'l')
			logs = true;
		else
			return 2;
	}
	if (argc - optind != 2)
		broken("usage",
			"replay [-r MS] [-b MBIT] [-w SEGMENTS] [-o LINE]... [-v TREE] [-l] "
			"IMAGE READS");
	if (logs)
		the_link.asked = asked;
	now = START;
	load_image(argv[optind]);
	load_reads(argv[optind + 1]);
	start_engine();
	loop();
	report();
	return 0;
}
