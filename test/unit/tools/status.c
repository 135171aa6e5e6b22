/* Unit test of status.c: the rows of hostile names, secrets left out, a text that is taken in
 * pieces of any size, and slow, stuck and vanished readers. */
#include <fcntl.h>

#include "test/unit/check.h"

#include "base/fd.c"
#include "base/local.c"
#include "base/outcome.c"
#include "daemon/handover.c"
#include "tools/exposition.c"
#include "base/stats.c"
#include "tools/status.c"
#include "trust/origins.c"

struct capacity capacity = {.files = 4};
const char *const fetch_state_words[FETCH_STATES] = {
	"opening", "trace", "walk", "filling", "recording", "cached", "changed", "unread", "full"};
static struct conf c;
static const struct front front_cachefiles = {.name = "cachefiles"};
static struct image images[5];

static int first_device(const struct image *image)
{
	return image == &images[4] ? 0 : -1;
}

static const struct front front_nbd = {.name = "nbd", .device_of = first_device};
static struct mirror_stats mirror;
static int count_calls;

struct image *image_at(unsigned place, int64_t now)
{
	(void)now;
	if (place > capacity.files)
		abort();
	return images[place].used ? &images[place] : NULL;
}

const char *mirror_words(char out[MIRROR_WORDS], unsigned server)
{
	snprintf(out, MIRROR_WORDS, "mirror %u", server + 1);
	return out;
}

const char *mirror_why(const struct image *image)
{
	return image->why;
}

/* Instead of state.c's. */
const char *state_root(const struct state *s)
{
	return s->etag[0] == 'v' ? s->etag + 1 : NULL;
}

struct mirror_stats *mirror_at(unsigned number, int64_t now)
{
	(void)now;
	if (number >= c.urls)
		abort();
	return &mirror;
}

unsigned fetch_states(const struct image *image)
{
	return image == &images[4] ? 1u << STATE_WALK | 1u << STATE_CHANGED : 0;
}

/* Takes three turns for the image in place 4, and shows when it begins again. */
bool fetch_count_cached(struct image *image, uint64_t *to)
{
	count_calls++;
	image->stats.cached += 100;
	return image != &images[4] || ++*to == 3;
}

void images_keep(void)
{
}

void images_resume(void)
{
}

void bandwidth_keep(volatile uint64_t numbers[2])
{
	(void)numbers;
}

void bandwidth_resume(const volatile uint64_t numbers[2])
{
	(void)numbers;
}

void fetch_look(void)
{
	stats.open_files = 2;
}

unsigned long log_dropped(void)
{
	return 7;
}

static void set_image(unsigned place, const char *volume, const void *cookie, size_t size)
{
	images[place] =
		(struct image){.used = true, .cookie_size = size, .pinned.size = 1000 + place};
	memcpy(images[place].cookie, cookie, size);
	strcpy(images[place].volume, volume);
}

static void start(void)
{
	memset(&client, 0, sizeof(client));
	memset(images, 0, sizeof(images));
	memset(&mirror, 0, sizeof(mirror));
	memset(&stats, 0, sizeof(stats));
	c = (struct conf){.urls = 1};
	c.url[0] = "http://a/";
	status_init(&c, &front_cachefiles, -1, 1000);
	clock_now = 3500;
}

static char text[1 << 20];
static struct metric metrics[1000];
static struct metrics all = {.metric = metrics, .max = 1000};

/* The text, buffer by buffer, without a socket. */
static const char *whole_text(void)
{
	size_t n = 0;

	client.family = client.row = 0;
	client.name = FAMILY_LIST(NAME);
	while (client.family <= FAMILIES) {
		fill();
		CHECK(client.size < sizeof(client.text) && n + client.size < sizeof(text));
		memcpy(text + n, client.text, client.size);
		n += client.size;
	}
	text[n] = '\0';
	return text;
}

/* Of a copy, since parsing changes the text. */
static unsigned parse(const char *from)
{
	static char copy[sizeof(text)];

	strcpy(copy, from);
	return metrics_parse(&all, copy);
}

static const char *value_of(const char *name, const char *label, const char *of)
{
	CHECK(parse(text) == 0);
	for (size_t i = 0; i < all.count; i++)
		if (strcmp(metrics[i].name, name) == 0 &&
			(!label || (metric_label(&metrics[i], label) &&
					   strcmp(metric_label(&metrics[i], label), of) == 0)))
			return metrics[i].value;
	return "none";
}

static void test_rows(void)
{
	begin_test("status: counters, times with their point, a histogram that adds up");
	start();
	stats.opens = 18446744073709ull;
	stats.bandwidth_rtt = 20012;
	stats_answered(0);
	stats_answered(1);
	stats_answered(2);
	stats_answered(60000);
	stats_answered(60001);
	mirror.failures[OUTCOME_TIMED_OUT] = 3;
	mirror.failures[OUTCOME_UNVERIFIED] = 4;
	mirror.set_aside = 1002;
	whole_text();
	CHECK(!strcmp(value_of("opens_total", NULL, NULL), "18446744073709"));
	CHECK(!strcmp(value_of("round_trip_seconds", NULL, NULL), "0.020012"));
	CHECK(!strcmp(value_of("read_seconds_bucket", "le", "0.001"), "2"));
	CHECK(!strcmp(value_of("read_seconds_bucket", "le", "0.002"), "3"));
	CHECK(!strcmp(value_of("read_seconds_bucket", "le", "20.000"), "3"));
	CHECK(!strcmp(value_of("read_seconds_bucket", "le", "60.000"), "4"));
	CHECK(!strcmp(value_of("read_seconds_bucket", "le", "+Inf"), "5"));
	CHECK(!strcmp(value_of("read_seconds_count", NULL, NULL), "5"));
	CHECK(!strcmp(value_of("read_seconds_sum", NULL, NULL), "120.004"));
	CHECK(!strcmp(value_of("mirror_failures_total", "reason", "timed out"), "3"));
	CHECK(!strcmp(value_of("mirror_failures_total", "reason", "not verified"), "4"));
	CHECK(!strcmp(value_of("mirror_failures_total", "reason", "server busy"), "none"));
	CHECK(!strcmp(value_of("mirror_set_aside_seconds", "mirror", "1"), "1.002"));

	begin_test("status: images in any place, by name and, where it says more, volume; states");
	start();
	set_image(4, "erofs,img", "img", 3);
	set_image(1, "erofs,domain", "img", 3);
	images[4].stats.written = 9000;
	memset(images[4].pinned.etag, 'v', 1 + VERITY_HEX);
	images[4].stats.ahead = 8000;
	images[4].stats.planned = 500;
	images[4].stats.unasked = 4096;
	whole_text();
	CHECK(strstr(text, "_image_size_bytes{image=\"img\",volume=\"erofs,domain\"} 1001\n"));
	CHECK(strstr(text, "_image_size_bytes{image=\"img\"} 1004\n"));
	CHECK(strstr(text, "_image_state{image=\"img\",state=\"walk\"} 1\n"));
	CHECK(strstr(text, "_image_state{image=\"img\",state=\"changed\"} 1\n"));
	CHECK(!strstr(text, "state=\"filling\""));
	CHECK(strstr(text, "_image_verified{image=\"img\",roothash=\"vvvvvv") &&
		!strstr(text, "_image_verified{image=\"img\",volume"));
	CHECK(strstr(text, "_image_written_bytes_total{image=\"img\"} 9000\n"));
	CHECK(strstr(text, "_image_ahead_bytes_total{image=\"img\"} 8000\n"));
	CHECK(strstr(text, "_image_planned_bytes_total{image=\"img\"} 500\n"));
	CHECK(!strstr(text, "_image_unasked_bytes{") && !strstr(text, "_image_device{"));
	front = &front_nbd;
	whole_text();
	CHECK(strstr(text, "_image_unasked_bytes{image=\"img\"} 4096\n"));
	CHECK(strstr(text, "_image_device{image=\"img\",device=\"/dev/nbd0\"} 1\n"));
	CHECK(!strstr(text, "_image_unasked_bytes{image=\"img\",volume"));
	CHECK(strstr(text, "# TYPE cachefilesd_image_unasked_bytes gauge\n"));
	CHECK(strstr(text, "# TYPE cachefilesd_image_planned_bytes_total counter\n"));

	begin_test("status: what is cached is counted anew each time, over several turns");
	CHECK(strstr(text, "_image_cached_bytes{image=\"img\"} 300\n"));
	whole_text();
	CHECK(strstr(text, "_image_cached_bytes{image=\"img\"} 300\n"));
}

static void test_names(void)
{
	unsigned char bytes[KEY_MAX];
	char volume[KEY_MAX + 1], *row;

	begin_test("status: every byte of a name, escaped so that it is the only one to give it");
	start();
	for (unsigned i = 0; i < KEY_MAX; i++)
		bytes[i] = (unsigned char)i;
	set_image(0, "erofs,x", bytes, KEY_MAX);
	whole_text();
	CHECK(parse(text) == 0);
	row = strstr(text, "image=\"\\\\x00\\\\x01");
	CHECK(row && strstr(row, "\\\\x1f !\\\\x22#") && strstr(row, "[\\\\x5c]"));
	CHECK(row && strstr(row, "~\\\\x7f\\\\x80"));

	begin_test("status: the longest row there can be fits the buffer");
	memset(bytes, 0xff, sizeof(bytes));
	memset(volume, 0xfe, KEY_MAX);
	volume[KEY_MAX] = '\0';
	for (unsigned i = 0; i <= capacity.files; i++) {
		set_image(i, volume, bytes, KEY_MAX);
		images[i].cookie[0] = (unsigned char)i;
		images[i].pinned.size = images[i].stats.failing = images[i].stats.reads =
			UINT64_MAX;
		images[i].outcome = OUTCOME_UNREACHABLE;
		memset(images[i].why, i % 2 ? '\\' : 'x', sizeof(images[i].why) - 1);
		images[i].last_failure = INT64_MIN / 2;
		images[i].pinned.etag[0] = 'v'; /* of a state file that lies */
		memset(images[i].pinned.etag + 1, 0xff, VERITY_HEX);
	}
	for (const char *line = whole_text(), *end; (end = strchr(line, '\n')); line = end + 1)
		CHECK(end + 1 - line <= ROW_MAX, "%zu", (size_t)(end + 1 - line));
	CHECK(parse(text) == 0 && all.count > 50);
}

static void test_kept(void)
{
	int fd = handover_make(0);
	volatile uint64_t *kept = handover_numbers();

	begin_test("status: the next worker goes on with the numbers, of the same url lines");
	start();
	status_share();
	stats.opens = 5;
	stats.read_times[READ_TIMES] = 6;
	mirror.requests = 7;
	*stats_culls = 1;
	status_keep();
	*stats_culls += 2; /* the culler outlives its worker */
	memset(&mirror, 0, sizeof(mirror));
	memset(&stats, 0, sizeof(stats));
	stats.restores = 3;
	status_init(&c, &front_cachefiles, -1, 2000);
	CHECK(started == 1000 && stats.opens == 5 && stats.read_times[READ_TIMES] == 6);
	CHECK(stats.restores == 3 && mirror.requests == 7 && *stats_culls == 3);
	c.url[0] = "http://b/";
	mirror.requests = 0;
	status_init(&c, &front_cachefiles, -1, 2000);
	CHECK(mirror.requests == 0);

	begin_test("status: any numbers are borne");
	for (size_t i = 0; i < HANDOVER_NUMBERS; i++)
		kept[i] = UINT64_MAX;
	status_init(&c, &front_cachefiles, -1, 2000);
	CHECK(started == 2000);
	whole_text();
	CHECK(parse(text) == 0);
	munmap((void *)shared, sizeof(*shared));
	shared = NULL;
	more = NULL;
	status_share();
	close(fd);
	start();
}

static void test_urls(void)
{
	static const char *const urls[][2] = {
		{"http://a/", "http://a/"},
		{"https://u:p@a:1/x/?t=1", "https://a:1/x/"},
		{"https://u:p@ss@a/%c#f", "https://a/%c"},
		{"http://a/b@c/", "http://a/b@c/"},
		{"http://a?x@y", "http://a"},
		{"http://u:p@[::1]:80/\"\\", "http://[::1]:80/\\\\x22\\\\x5c"},
	};

	static char longest[URL_MAX];

	begin_test("status: a url without user, password, query and fragment");
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		start();
		c.url[0] = urls[i][0];
		whole_text();
		CHECK(!strcmp(value_of("mirror_info", "url", urls[i][1]), "1"), "%s", urls[i][0]);
	}
	start();
	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest, "http://u:p@", 11);
	c.url[0] = longest;
	whole_text();
	CHECK(parse(text) == 0 && !strstr(text, "u:p"));
}

/* ---- the socket ---- */

static char path[] = "/tmp/status-test-XXXXXX/socket";

static int call(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(a.sun_path, path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		exit(99);
	return fd;
}

static void one_turn(void)
{
	struct pollfd p;

	status_poll(&p);
	if (p.fd < 0 || poll(&p, 1, 0) < 1)
		p.revents = 0;
	status_run(&p, clock_now);
}

static void test_reading(void)
{
	char got[1 << 16], part[700];
	size_t size = 0;
	ssize_t n;
	int fd;

	begin_test("status: a reader in small steps gets the text that another gets at once");
	set_image(4, "erofs,img", "img", 3);
	whole_text();
	fd = call();
	one_turn();
	setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
	for (int i = 0; i < 1000 && client.here; i++) {
		one_turn();
		fcntl(fd, F_SETFL, O_NONBLOCK);
		while ((n = read(fd, part, sizeof(part))) > 0) {
			memcpy(got + size, part, (size_t)n);
			size += (size_t)n;
		}
	}
	CHECK(read(fd, part, 1) == 0);
	got[size] = '\0';
	CHECK(parse(got) == 0);
	CHECK(strstr(got, "_log_dropped_total 7\n") && strstr(got, "_open_files 2\n"));
	CHECK(strstr(got, "_uptime_seconds 2.500\n") != NULL);
	CHECK(size > strlen(text) - 20 && size < strlen(text) + 20);
	close(fd);
}

static void fill_up(void)
{
	for (unsigned i = 0; i <= capacity.files; i++)
		set_image(i, "erofs,x", "0123456789", 10 - i);
}

static void test_stuck(void)
{
	int stuck, next, gone;
	char part[100];

	begin_test("status: one that reads nothing holds up nobody but the next, and him for 5 s");
	fill_up();
	stuck = call();
	next = call();
	one_turn();
	setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
	for (int i = 0; i < 100; i++)
		one_turn();
	CHECK(client.here);
	CHECK(status_next() == clock_now + CLIENT_TIME);
	CHECK(recv(next, part, sizeof(part), MSG_DONTWAIT) < 0);
	clock_now += CLIENT_TIME;
	one_turn();
	CHECK(!client.here && status_next() == INT64_MAX);
	for (int i = 0; i < 100; i++)
		one_turn();
	CHECK(recv(next, part, sizeof(part), MSG_DONTWAIT) == sizeof(part));
	CHECK(!client.here);
	close(stuck);
	close(next);

	begin_test("status: one that hangs up or writes is no trouble");
	gone = call();
	one_turn();
	one_turn();
	close(gone);
	for (int i = 0; i < 5; i++)
		one_turn();
	CHECK(!client.here);
	gone = call();
	CHECK(write(gone, "GET / HTTP/1.1\r\n\r\n", 18) == 18);
	close(gone);
	for (int i = 0; i < 50; i++)
		one_turn();
	CHECK(!client.here);

	begin_test("status: nothing is waited for when nobody calls");
	CHECK(status_next() == INT64_MAX);
}

static void open_socket(void)
{
	char why[200];
	int fd;

	path[23] = '\0';
	if (!mkdtemp(path))
		exit(99);
	path[23] = '/';
	fd = local_listen(path, why, sizeof(why));
	if (fd < 0)
		exit(99);
	status_init(&c, &front_cachefiles, fd, 1000);
}

int main(void)
{
	test_rows();
	test_names();
	test_kept();
	test_urls();
	start();
	open_socket();
	test_reading();
	test_stuck();
	unlink(path);
	path[23] = '\0';
	rmdir(path);
	return finish_tests();
}
