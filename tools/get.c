#include "tools/get.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/units.h"
#include "fetch/pool.h"
#include "net/dns.h"
#include "net/url.h"

#define PROGRESS_EVERY 250000 /* microseconds */
#define PROGRESS_WIDTH 78
#define PIPE_SIZE      (1 << 20) /* bytes; what a program without privileges may have */

static bool opened, complete;
static enum outcome open_outcome;
static uint64_t file_size;
static uint64_t begin, next, end; /* the bytes asked for: the first, the next to write, their end */
static uint64_t filled;		  /* whole pages have come up to here */
static int64_t began;		  /* when the first byte was asked for; microseconds, as these: */
static int64_t next_progress;	  /* INT64_MAX: none is shown */
static int64_t held;		  /* how long standard output has kept us waiting in all */
static char name[KEY_MAX + 1];
static const char *output = "standard output";
static bool is_file;

/* ---- progress ---- */

/* Leaves the cursor at the line's beginning, so that log lines and the shell overwrite it. */
static void show_line(const char *text)
{
	char line[PROGRESS_WIDTH + 3];
	int n = snprintf(line, sizeof(line), "\r%-*.*s\r", PROGRESS_WIDTH, PROGRESS_WIDTH, text);

	(void)!write(STDERR_FILENO, line, (size_t)n);
}

static void show_progress(void)
{
	int64_t now = clock_us();
	uint64_t done = next - begin, whole = end - begin;
	uint64_t rate = done * 1000 / (uint64_t)((now - began) / 1000 + 1);
	char text[200], t[4][32];

	if (now < next_progress)
		return;
	next_progress = now + PROGRESS_EVERY;
	snprintf(text, sizeof(text), "%.24s: %s of %s, %u %%, %s, %s left", name,
		measure_bytes(t[0], done), measure_bytes(t[1], whole),
		(unsigned)(done * 100 / whole), measure_rate(t[2], done, now - began),
		rate > 0 ? measure_seconds(t[3], (whole - done) / rate) : "-:--:--");
	show_line(text);
}

static void end_progress(void)
{
	if (next_progress != INT64_MAX)
		show_line("");
	next_progress = INT64_MAX;
}

/* ---- standard output ---- */

__attribute__((noreturn)) static void output_failed(void)
{
	int error = errno;

	end_progress();
	if (error != EPIPE)
		log_err("%s: %s", output, strerror(error));
	exit(1);
}

static void put(const char *bytes, size_t size)
{
	int64_t since = clock_us();

	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, bytes, size);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
		else if (n < 0 && errno != EINTR)
			output_failed();
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
		}
	}
	held += clock_us() - since;
}

/* ---- the front end: one file, and one READ, whose pages come in order ---- */

static void take_opened(unsigned file, enum outcome outcome, uint64_t size)
{
	(void)file;
	opened = true;
	open_outcome = outcome;
	file_size = size;
}

static ssize_t take_pages(unsigned file, const void *pages, size_t size, uint64_t offset)
{
	uint64_t to = min_u64(offset + size, end);

	(void)file;
	if (offset > next)
		return -EIO; /* a gap: it cannot be, and must not be written */
	if (to > next) {
		put((const char *)pages + (next - offset), (size_t)(to - next));
		next = to;
	}
	filled = offset + size;
	return (ssize_t)size;
}

static int64_t find_hole(unsigned file, uint64_t offset, uint64_t until, uint64_t *hole_end)
{
	(void)file;
	if (filled >= until)
		return (int64_t)until;
	*hole_end = until;
	return (int64_t)max_u64(offset, filled);
}

static void take_complete(unsigned file, uint32_t id, enum outcome outcome)
{
	(void)file;
	(void)id;
	(void)outcome; /* fetch_outcome() has it too */
	complete = true;
}

const struct frontend get_frontend = {
	.opened = take_opened, .write = take_pages, .hole = find_hole, .complete = take_complete};

/* ---- the run ---- */

/* The client's clock stands still while standard output keeps us waiting: that is not the server's
 * fault. */
static int64_t client_clock(void)
{
	return clock_us() - held;
}

static void run_until(const bool *done)
{
	struct pollfd set[DNS_POLL_MAX + CONNECTIONS_MAX];
	int64_t now = client_clock();

	fetch_run(NULL, now);
	while (!*done) {
		size_t fetch = dns_poll(set);
		size_t n = fetch + fetch_poll(set + fetch);
		int64_t progress = (now + PROGRESS_EVERY) / 1000;

		fd_poll(set, n, now / 1000, sooner(progress, sooner(fetch_next(), dns_next())),
			NULL);
		now = client_clock();
		dns_run(now / 1000);
		fetch_run(set + fetch, now);
		show_progress();
	}
}

static int verdict(void)
{
	const char *why;
	enum outcome outcome = fetch_outcome(0, &why);

	if (next == end) {
		/* Some file systems report only now that a write has failed. */
		if (close(STDOUT_FILENO) < 0)
			output_failed();
		return 0;
	}
	if (outcome == OUTCOME_OK) {
		log_err("%s: only %llu of %llu bytes came", name,
			(unsigned long long)(next - begin), (unsigned long long)(end - begin));
		outcome = OUTCOME_REFUSED; /* a size over INT64_MAX, for example */
	}
	return outcomes[outcome].exit_status;
}

void get_output(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_NOCTTY | O_CLOEXEC, 0666);

	output = path;
	is_file = true;
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
		die(EXIT_SYSTEM, "%s: %m", output);
	close(fd);
}

int get_run(const struct conf *conf, uint64_t offset, uint64_t length)
{
	next_progress = INT64_MAX;
	/* A pipe that a single buffer fills has us wait for its reader with each. */
	fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_SIZE);
	fetch_run(NULL, client_clock()); /* sets its time */
	fetch_open(0, "", name, url_name(name, sizeof(name) - 1, conf->url[0]));
	run_until(&opened);
	if (open_outcome != OUTCOME_OK)
		return outcomes[open_outcome].exit_status;
	if (offset > file_size) {
		log_err("%s: OFFSET %llu is beyond the end: it has %llu bytes", name,
			(unsigned long long)offset, (unsigned long long)file_size);
		return 2;
	}
	if (is_file)
		(void)!ftruncate(STDOUT_FILENO, 0); /* a device cannot be cut */
	begin = next = offset;
	end = offset + min_u64(length, file_size - offset);
	began = clock_us();
	if (isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO))
		next_progress = began;
	if (next < end) {
		fetch_read(0, 0, offset, end - offset, READ_USUAL);
		run_until(&complete);
	}
	pool_hang_up();
	end_progress();
	return verdict();
}
