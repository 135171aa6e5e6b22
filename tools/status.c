#include "tools/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/local.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/stats.h"
#include "daemon/handover.h"
#include "daemon/memory.h"
#include "image/image.h"
#include "fetch/bandwidth.h"
#include "fetch/fetch.h"
#include "fetch/mirror.h"
#include "kernel/front.h"
#include "tools/exposition.h"
#include "trust/origins.h"

/* Milliseconds. */
#define CLIENT_TIME  5000 /* for a client to take the whole text */
#define ACCEPT_AGAIN 1000 /* after accept() has failed, for want of descriptors for example */

#define BUFFERS 4 /* sent in a turn of the loop at most */

#define URL_SHOWN   200					  /* bytes of a URL */
#define ERROR_SHOWN 256					  /* bytes of an error */
#define ROW_MAX	    (2 * 5 * KEY_MAX + ERROR_SHOWN + 160) /* a byte of both keys may take five */

/* A family has one row, or one for each of these. */
enum rows { ONCE, VERSIONS, TIMES, MIRRORS, URLS, REASONS, IMAGES, STATES, ERRORS, DEVICES, ROOTS };

struct family {
	uint16_t offset; /* of its number in struct stats, mirror_stats or image */
	uint8_t rows;
	uint8_t decimals; /* 3: the number is in thousandths, 6: in millionths */
};

#define NO_NUMBER UINT16_MAX
#define STATS(m)  offsetof(struct stats, m), ONCE
#define MIRROR(m) offsetof(struct mirror_stats, m), MIRRORS
#define IMAGE(m)  offsetof(struct image, m), IMAGES

/* FAMILY(name, the members of its struct family). */
#define FAMILY_LIST(FAMILY)                                                                        \
	FAMILY("build_info", NO_NUMBER, VERSIONS, 0)                                               \
	FAMILY("uptime_seconds", STATS(uptime), 3)                                                 \
	FAMILY("open_files", STATS(open_files), 0)                                                 \
	FAMILY("opens_total", STATS(opens), 0)                                                     \
	FAMILY("opens_refused_total", STATS(opens_refused), 0)                                     \
	FAMILY("reads_waiting", STATS(reads_waiting), 0)                                           \
	FAMILY("reads_failed_total", STATS(reads_failed), 0)                                       \
	FAMILY("read_seconds", NO_NUMBER, TIMES, 0)                                                \
	FAMILY("connections", STATS(connections), 0)                                               \
	FAMILY("link_bytes_per_second", STATS(bandwidth_rate), 0)                                  \
	FAMILY("round_trip_seconds", STATS(bandwidth_rtt), 6)                                      \
	FAMILY("restores_total", STATS(restores), 0)                                               \
	FAMILY("cache_unfit_blocks_total", STATS(cache_unfit), 0)                                  \
	FAMILY("culls_total", STATS(culls), 0)                                                     \
	FAMILY("log_dropped_total", STATS(log_dropped), 0)                                         \
	FAMILY("mirror_info", NO_NUMBER, URLS, 0)                                                  \
	FAMILY("mirror_requests_total", MIRROR(requests), 0)                                       \
	FAMILY("mirror_received_bytes_total", MIRROR(received), 0)                                 \
	FAMILY("mirror_failures_total", offsetof(struct mirror_stats, failures), REASONS, 0)       \
	FAMILY("mirror_set_aside_seconds", MIRROR(set_aside), 3)                                   \
	FAMILY("image_size_bytes", IMAGE(pinned.size), 0)                                          \
	FAMILY("image_device", NO_NUMBER, DEVICES, 0)                                              \
	FAMILY("image_cached_bytes", IMAGE(stats.cached), 0)                                       \
	FAMILY("image_requests_total", IMAGE(stats.requests), 0)                                   \
	FAMILY("image_received_bytes_total", IMAGE(stats.received), 0)                             \
	FAMILY("image_written_bytes_total", IMAGE(stats.written), 0)                               \
	FAMILY("image_ahead_bytes_total", IMAGE(stats.ahead), 0)                                   \
	FAMILY("image_planned_bytes_total", IMAGE(stats.planned), 0)                               \
	FAMILY("image_unasked_bytes", offsetof(struct image, stats.unasked), DEVICES, 0)           \
	FAMILY("image_failures_total", IMAGE(stats.failures), 0)                                   \
	FAMILY("image_failing_seconds", IMAGE(stats.failing), 3)                                   \
	FAMILY("image_reads_total", IMAGE(stats.reads), 0)                                         \
	FAMILY("image_read_bytes_total", IMAGE(stats.read_bytes), 0)                               \
	FAMILY("image_reads_failed_total", IMAGE(stats.reads_failed), 0)                           \
	FAMILY("image_state", NO_NUMBER, STATES, 0)                                                \
	FAMILY("image_verified", NO_NUMBER, ROOTS, 0)                                              \
	FAMILY("image_last_error_seconds", NO_NUMBER, ERRORS, 3)

#define MEMBERS(name, ...) {__VA_ARGS__},
#define NAME(name, ...)	   name "\0"

static const struct family families[] = {FAMILY_LIST(MEMBERS)};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

static const struct conf *conf;
static const struct front *front;
static int64_t started, clock_now;
static int listener = -1;
static int64_t accept_after;

static struct {
	bool here;
	int fd;
	int64_t until;	      /* when it is dropped */
	unsigned family, row; /* to make next; row 0 is the family's # TYPE */
	const char *name;     /* of that family, those of the next ones behind it */
	bool counting;	      /* the cached bytes of the image of that row, */
	uint64_t counted;     /* up to here */
	unsigned labels;      /* of the row being made, so far */
	char text[ROW_MAX + 512];
	size_t size, sent; /* of the text */
} client;

/* ---- a row ---- */

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
	size_t room = sizeof(client.text) - client.size;
	va_list args;

	va_start(args, format);
	client.size += (size_t)vsnprintf(client.text + client.size, room, format, args);
	va_end(args);
}

static void put_escaped(const void *bytes, size_t size)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < size; i++)
		put(p[i] < ' ' || p[i] > '~' || p[i] == '"' || p[i] == '\\' ? "\\\\x%02x" : "%c",
			p[i]);
}

static void put_label(const char *name, const void *bytes, size_t size)
{
	put("%c%s=\"", client.labels++ ? ',' : '{', name);
	put_escaped(bytes, size);
	put("\"");
}

static void put_text_label(const char *name, const char *text)
{
	put_label(name, text, strlen(text));
}

static void put_decimal(uint64_t n, unsigned decimals)
{
	uint64_t unit = decimals == 6 ? 1000000 : 1000;

	if (decimals == 0)
		put("%llu", (unsigned long long)n);
	else
		put("%llu.%0*llu", (unsigned long long)(n / unit), (int)decimals,
			(unsigned long long)(n % unit));
}

/* Rows of the histogram: 0 to READ_TIMES are cumulative buckets, then the sum, then the count. */
static const char *suffix_of(const struct family *f, unsigned row)
{
	if (f->rows != TIMES)
		return "";
	return row <= READ_TIMES ? "_bucket" : row == READ_TIMES + 1 ? "_sum" : "_count";
}

static void put_time(unsigned row)
{
	char text[16] = "+Inf";
	unsigned ms = row < READ_TIMES ? stats_read_times[row] : 0;

	if (ms > 0)
		snprintf(text, sizeof(text), "%u.%03u", ms / 1000, ms % 1000);
	if (row <= READ_TIMES)
		put_text_label("le", text);
}

static uint64_t times_value(unsigned row)
{
	uint64_t n = 0;

	if (row == READ_TIMES + 1)
		return stats.read_milliseconds;
	for (unsigned i = 0; i <= row && i <= READ_TIMES; i++)
		n += stats.read_times[i];
	return n;
}

/* Without possible secrets: user name, password and query. */
static void put_url(const char *url)
{
	const char *host = strstr(url, "://") + 3; /* conf.c has parsed it */
	const char *at = memrchr(host, '@', strcspn(host, "/?#"));
	char shown[URL_SHOWN + 1];

	snprintf(shown, sizeof(shown), "%.*s%.*s", (int)(host - url), url,
		(int)strcspn(at ? at + 1 : host, "?#"), at ? at + 1 : host);
	put_text_label("url", shown);
}

static void put_mirror(unsigned mirror)
{
	char number[12];

	snprintf(number, sizeof(number), "%u", mirror + 1);
	put_text_label("mirror", number);
}

/* With the volume where it is not the one that EROFS makes of the image's name. */
static void put_image(const struct image *image)
{
	const char *own = image->volume + 6; /* behind "erofs," */

	put_label("image", image->cookie, image->cookie_size);
	if (strncmp(image->volume, "erofs,", 6) != 0 || strlen(own) != image->cookie_size ||
		memcmp(own, image->cookie, image->cookie_size) != 0)
		put_text_label("volume", image->volume);
}

/* Rows of a family for each image or mirror, and in all; rows with the number 0 may be left out. */
static unsigned details_of(const struct family *f)
{
	return f->rows == REASONS ? OUTCOMES : f->rows == STATES ? FETCH_STATES : 1;
}

static unsigned rows_of(const struct family *f)
{
	unsigned things = f->rows >= IMAGES    ? capacity.files + 1
			  : f->rows >= MIRRORS ? (unsigned)conf->urls
			  : f->rows == TIMES   ? READ_TIMES + 3
					       : 1;

	return things * details_of(f);
}

/* The cached bytes of an image are counted when its row is made. False: that is not done yet. */
static bool count_cached(const struct family *f, struct image *image)
{
	if (f->offset != offsetof(struct image, stats.cached))
		return true;
	if (image->unread)
		return true; /* as it was counted last */
	if (!client.counting)
		image->stats.cached = client.counted = 0;
	client.counting = !fetch_count_cached(image, &client.counted);
	return !client.counting;
}

static void put_error(const struct image *image)
{
	char text[ERROR_SHOWN + 1], words[MIRROR_WORDS];

	snprintf(text, sizeof(text), "%s: %s: %.220s", mirror_words(words, image->failed_server),
		outcomes[image->outcome].words, mirror_why(image));
	for (char *p = text; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
			*p = '?';
	put_text_label("error", text);
}

static int device_of(const struct image *image)
{
	return front->device_of ? front->device_of(image) : -1;
}

static void put_device(const struct image *image)
{
	char text[24];

	snprintf(text, sizeof(text), "/dev/nbd%d", device_of(image));
	put_text_label("device", text);
}

static void put_labels(const struct family *f, unsigned thing, unsigned detail)
{
	if (f->rows == VERSIONS) {
		put_text_label("version", VERSION);
		put_text_label("front", front->name);
		if (conf->fallback)
			put_text_label("role", "fallback");
	} else if (f->rows == TIMES)
		put_time(thing);
	else if (f->rows == URLS)
		put_url(conf->url[thing]);
	else if (f->rows == REASONS)
		put_text_label("reason", outcomes[detail].words);
	else if (f->rows == STATES)
		put_text_label("state", fetch_state_words[detail]);
}

/* False: the row cannot be made yet. */
static bool put_row(const struct family *f, unsigned row)
{
	unsigned thing = row / details_of(f), detail = row % details_of(f);
	struct image *image = f->rows >= IMAGES ? image_at(thing, clock_now) : NULL;
	const void *base = image;
	uint64_t n = 1;

	if (f->rows >= IMAGES && !image)
		return true;
	if (f->rows < IMAGES)
		base = f->rows >= MIRRORS ? (const void *)mirror_at(thing, clock_now) : &stats;
	if (image && !count_cached(f, image))
		return false;
	if (f->offset != NO_NUMBER)
		memcpy(&n, (const char *)base + f->offset + detail * sizeof(n), sizeof(n));
	if (f->rows == STATES)
		n = fetch_states(image) >> detail & 1;
	else if (f->rows == ERRORS)
		n = image->why[0] ? (uint64_t)(clock_now - image->last_failure) : UINT64_MAX;
	else if (f->rows == DEVICES && device_of(image) < 0)
		return true;
	else if (f->rows == ROOTS && !state_root(&image->pinned))
		return true;
	else if (f->rows == TIMES)
		n = times_value(row);
	if (n == UINT64_MAX)
		return true;
	if (n == 0 && details_of(f) > 1)
		return true;
	client.labels = 0;
	put(METRIC_PREFIX "%s%s", client.name, suffix_of(f, row));
	if (image)
		put_image(image);
	else if (f->rows >= MIRRORS)
		put_mirror(thing);
	if (f->rows == ERRORS)
		put_error(image);
	else if (f->rows == DEVICES && f->offset == NO_NUMBER)
		put_device(image);
	else if (f->rows == ROOTS)
		put_label("roothash", state_root(&image->pinned), VERITY_HEX);
	put_labels(f, thing, detail);
	put(client.labels ? "} " : " ");
	put_decimal(n, f->rows == TIMES && row == READ_TIMES + 1 ? 3 : f->decimals);
	put("\n");
	return true;
}

static void put_type(const struct family *f)
{
	size_t size = strlen(client.name);

	put("# TYPE " METRIC_PREFIX "%s %s\n", client.name,
		f->rows == TIMES				   ? "histogram"
		: memcmp(client.name + size - 6, "_total", 6) == 0 ? "counter"
								   : "gauge");
}

/* Makes rows while the buffer has room for the longest. */
static void fill(void)
{
	client.size = client.sent = 0;
	while (client.family < FAMILIES && client.size + ROW_MAX <= sizeof(client.text)) {
		const struct family *f = &families[client.family];

		if (client.row == 0)
			put_type(f);
		else if (!put_row(f, client.row - 1))
			return;
		if (++client.row > rows_of(f)) {
			client.row = 0;
			client.family++;
			client.name += strlen(client.name) + 1;
		}
	}
	if (client.family == FAMILIES && client.size + ROW_MAX <= sizeof(client.text)) {
		put("# EOF\n");
		client.family++;
	}
}

/* ---- the client ---- */

static void hang_up(void)
{
	close(client.fd);
	client.here = false;
}

static void serve(void)
{
	for (int i = 0; i < BUFFERS; i++) {
		ssize_t n;

		if (client.sent == client.size && client.family <= FAMILIES)
			fill();
		if (client.sent == client.size) {
			if (client.family > FAMILIES)
				hang_up();
			return;
		}
		n = send(client.fd, client.text + client.sent, client.size - client.sent,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			hang_up();
		if (n < 0)
			return;
		client.sent += (size_t)n;
	}
}

static void take_client(void)
{
	int fd = local_accept(listener);

	if (fd < 0) {
		if (errno)
			accept_after = clock_now + ACCEPT_AGAIN;
		return;
	}
	client.here = true;
	client.fd = fd;
	client.until = clock_now + CLIENT_TIME;
	client.family = client.row = 0;
	client.name = FAMILY_LIST(NAME);
	client.size = client.sent = 0;
	client.counting = false;
	stats.uptime = (uint64_t)(clock_now - started);
	stats.log_dropped = log_dropped();
	stats.culls = stats_culls ? *stats_culls : 0;
	fetch_look();
}

/* ---- the public functions ---- */

/* In the memory of handover.h: the start, the link, the daemon's counters, the url lines' counters
 * with a hash of the line, as a new configuration may have others; and the servers of origins.h,
 * always at the end. */
#define KEPT_STATS (offsetof(struct stats, uptime) / sizeof(uint64_t))
#define KEPT_CULLS (offsetof(struct stats, culls) / sizeof(uint64_t))
_Static_assert(KEPT_CULLS == KEPT_STATS - 1, "what the culler writes is the last");
#define KEPT_MIRROR  (sizeof(struct mirror_stats) / sizeof(uint64_t) + 1)
#define KEPT_MIRRORS (3 + KEPT_STATS)
#define KEPT_ORIGINS (HANDOVER_NUMBERS - ORIGINS_MAX)
_Static_assert(KEPT_MIRRORS + URLS_MAX * KEPT_MIRROR <= KEPT_ORIGINS, "all of them");

static uint64_t hash_url(size_t i)
{
	return hash_more(HASH_BEGIN, conf->url[i], strlen(conf->url[i]));
}

void status_keep(void)
{
	volatile uint64_t *kept = handover_numbers();

	if (!kept)
		return;
	kept[0] = (uint64_t)started;
	bandwidth_keep(kept + 1);
	memcpy((void *)(kept + 3), &stats, KEPT_CULLS * sizeof(*kept));
	kept += KEPT_MIRRORS;
	for (unsigned i = 0; i < conf->urls; i++, kept += KEPT_MIRROR) {
		kept[0] = hash_url(i);
		memcpy((void *)(kept + 1), mirror_at(i, clock_now), sizeof(struct mirror_stats));
	}
	images_keep();
}

static void resume(void)
{
	volatile uint64_t *kept = handover_numbers();
	uint64_t restores = stats.restores;

	if (!kept || !kept[0])
		return;
	started = min_u64(kept[0], (uint64_t)started);
	bandwidth_resume(kept + 1);
	memcpy(&stats, (void *)(kept + 3), KEPT_CULLS * sizeof(*kept));
	stats.restores = restores;
	kept += KEPT_MIRRORS;
	for (unsigned i = 0; i < conf->urls; i++, kept += KEPT_MIRROR)
		if (kept[0] == hash_url(i))
			memcpy(mirror_at(i, clock_now), (void *)(kept + 1),
				sizeof(struct mirror_stats));
	images_resume();
}

void status_share(void)
{
	volatile uint64_t *kept = handover_numbers();

	stats_culls = kept ? kept + 3 + KEPT_CULLS : NULL;
	if (kept)
		origins_keep(kept + KEPT_ORIGINS);
}

void status_init(const struct conf *c, const struct front *f, int fd, int64_t now)
{
	front = f;
	conf = c;
	listener = fd;
	started = now;
	resume();
}

void status_poll(struct pollfd *out)
{
	*out = (struct pollfd){.fd = client.fd, .events = POLLOUT};
	if (!client.here) {
		out->fd = clock_now >= accept_after ? listener : -1;
		out->events = POLLIN;
	}
}

int64_t status_next(void)
{
	if (client.here)
		return client.until;
	return clock_now < accept_after ? accept_after : INT64_MAX;
}

void status_run(const struct pollfd *polled, int64_t now)
{
	clock_now = now;
	if (client.here && now >= client.until)
		hang_up();
	else if (!client.here && polled->revents)
		take_client();
	if (client.here && polled->revents)
		serve();
}
