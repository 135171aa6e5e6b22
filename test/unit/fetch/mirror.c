/* Unit tests of mirror.c: the order of mirrors, backoff, redirects, credentials; time is an
 * argument. */
#include "test/unit/check.h"

#include <stdarg.h>

#include "base/fd.c"
#include "base/text.c"
#include "net/no_proxy.c"
#include "net/url.c"

#include "base/random.h"

/* As before the kernel has random bytes: only the insecure ones do not wait. */
static bool has_booted = true;
static bool is_steady; /* there is no jitter */
static ssize_t early_random(void *out, size_t size, unsigned flags)
{
	if (is_steady) {
		memset(out, 0, size);
		return (ssize_t)size;
	}
	if (!has_booted && flags != GRND_INSECURE) {
		errno = EAGAIN;
		return -1;
	}
	return getrandom(out, size, flags);
}
#define getrandom early_random

#include "fetch/mirror.c"

#include "image/image.c"
#include "image/before.c"
#include "base/dir.c"

#include "image/state.c"
#include "image/tree.c"
#include "trust/sha256.c"
#include "trust/verity.c"

static char said[4][300];
static size_t lines;

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level == LOG_LEVEL_DEBUG)
		return;
	va_start(args, format);
	vsnprintf(said[lines++ % 4], sizeof(said[0]), format, args);
	va_end(args);
}

const char *netrc_lookup(const char *host, const char *user)
{
	if (strcmp(host, "with.netrc") != 0 || strchr(user, ':'))
		return NULL;
	return !*user ? "user:pw" : !strcmp(user, "z") ? "z:zpw" : NULL;
}

bool netrc_reload(void)
{
	return false;
}

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	(void)volume, (void)cookie, (void)cookie_size;
	return 0;
}

int64_t opened_files_size(uint64_t key)
{
	(void)key;
	return -1;
}

bool opened_files_verified(uint64_t key)
{
	(void)key;
	return false;
}

volatile uint64_t *opened_files_counts(uint64_t key)
{
	(void)key;
	return NULL;
}

uint64_t opened_files_at(unsigned place)
{
	(void)place;
	return 0;
}

static struct conf c;
struct capacity capacity = {.files = 16};
static struct image table[17];

static bool verifies;

bool conf_verifies(const struct conf *conf)
{
	(void)conf;
	return verifies;
}

static struct image *start(size_t urls, enum conf_retry retry)
{
	static const char *const bases[] = {"http://a/", "http://b/", "http://c/"};

	c = (struct conf){.urls = urls, .retry = retry, .timeout = 60};
	for (size_t i = 0; i < urls; i++)
		c.url[i] = bases[i];
	memset(table, 0, sizeof(table));
	memset(mirrors, 0, sizeof(mirrors));
	redirects_end = 0;
	lines = 0;
	mirrors_init(&c);
	images_init(&c, table);
	return image_get("erofs,img", "img", 3);
}

static unsigned asked(struct image *image, int64_t now)
{
	struct mirror_target target;
	const char *why;

	CHECK(mirror_target(&target, image, PART_IMAGE, now, &why), "%s", why);
	return target.mirror;
}

/* What is asked for a part. */
static const struct mirror_target *target_of(struct image *image, enum image_part part)
{
	static struct mirror_target target;
	const char *why = "";

	memset(&target, 0, sizeof(target));
	CHECK(mirror_target(&target, image, part, 0, &why), "%s", why);
	return &target;
}

/* Whether another attempt is due. */
static bool fails(struct image *image, unsigned mirror, enum outcome outcome, int64_t now)
{
	struct failure f = {outcome, "because", mirror, false, now - 10, 0, false, mirror};

	mirror_failed(image, &f, now);
	return !image->refused && !image->changed;
}

static void test_order(void)
{
	struct image *i = start(3, RETRY_SOFT), *other;

	is_steady = true;
	begin_test("image: mirrors in order, one that failed set aside for all, and back again");
	CHECK(asked(i, 1000) == 0);
	CHECK(fails(i, 0, OUTCOME_UNREACHABLE, 1000));
	CHECK(i->not_before <= 1000, "the next mirror is asked at once");
	CHECK(asked(i, 1000) == 1);
	other = image_get("erofs,other", "other", 5);
	CHECK(asked(other, 1000) == 1);
	mirror_works(i, 1, 1, 1100);
	CHECK(asked(i, 2500) == 0, "its quarantine of a second is over");
	fails(i, 0, OUTCOME_TIMED_OUT, 2500);
	CHECK(asked(i, 3600) == 1, "the second one is longer");
	CHECK(asked(i, 5000) == 0);
	mirror_works(i, 0, 0, 5000);
	CHECK(mirrors[0].failures == 0);
	is_steady = false;
}

static void test_all_down(void)
{
	struct image *i = start(2, RETRY_SOFT);

	is_steady = true;
	begin_test("image: all mirrors down: a delay, and the one asked whose penalty ends first");
	fails(i, 0, OUTCOME_UNREACHABLE, 1000);
	fails(i, 1, OUTCOME_UNREACHABLE, 1010);
	CHECK(i->not_before > 1010 && i->not_before <= 1010 + 2 * BACKOFF_FIRST);
	CHECK(asked(i, i->not_before) == 0);
	is_steady = false;
}

static void test_not_of_the_mirror(void)
{
	struct image *i = start(2, RETRY_SOFT), *other;

	begin_test("image: 404 says nothing of the mirror, and is final when all have said it");
	CHECK(fails(i, 0, OUTCOME_NOT_FOUND, 1000));
	other = image_get("erofs,other", "other", 5);
	CHECK(asked(i, 1000) == 1 && asked(other, 1000) == 0);
	CHECK(!fails(i, 1, OUTCOME_NOT_FOUND, 1000) && i->refused);
	i = start(1, RETRY_HARD);
	CHECK(fails(i, 0, OUTCOME_NOT_FOUND, 1000));
	CHECK(!fails(i, 0, OUTCOME_LIMIT, 9000) && i->refused);
	CHECK(mirror_timeout() == INT64_MAX);
}

static void test_changed(void)
{
	struct image *i = start(2, RETRY_SOFT);

	begin_test(
		"image: a mirror with another version is out; without any left, so is the image");
	i->ready = true;
	CHECK(fails(i, 1, OUTCOME_CHANGED, 1000));
	CHECK(strstr(said[0], "mirror 2 is not asked") != NULL, "%s", said[0]);
	CHECK(fails(i, 1, OUTCOME_CHANGED, 1000) && lines == 1);
	fails(i, 0, OUTCOME_UNREACHABLE, 1000);
	CHECK(asked(i, 1000) == 0, "still not the one that is out");
	CHECK(!fails(i, 0, OUTCOME_CHANGED, 3000) && i->changed);
}

static bool target_fails(struct image *image, enum outcome outcome, int64_t now)
{
	struct failure f = {outcome, "because", 0, true, now - 10, 0, false, 0};

	mirror_failed(image, &f, now);
	return !image->refused && !image->changed;
}

static void test_addresses(void)
{
	begin_test("image: what one of several addresses says is not final before another one");
	for (enum outcome o = OUTCOME_NOT_FOUND; o <= OUTCOME_DENIED; o++) {
		struct image *i = start(1, RETRY_SOFT);
		struct failure f = {.outcome = o, .why = "because", .several = true};

		mirror_failed(i, &f, 1000);
		CHECK(!i->refused && i->not_before > 1000);
		mirror_failed(i, &f, 2000);
		CHECK(i->refused);
	}
}

static void test_doubts(void)
{
	struct image *i = start(1, RETRY_SOFT);

	begin_test("image: what need not last is final only if it comes twice in a row");
	CHECK(fails(i, 0, OUTCOME_REFUSED, 1000));
	CHECK(lines == 1 && strstr(said[0], "trying again") && !strstr(said[0], "for up"), "%s",
		said[0]);
	CHECK(!fails(i, 0, OUTCOME_REFUSED, 2000) && i->refused);
	i = start(1, RETRY_SOFT);
	CHECK(fails(i, 0, OUTCOME_UNTRUSTED, 1000));
	CHECK(fails(i, 0, OUTCOME_BUSY, 2000));
	CHECK(fails(i, 0, OUTCOME_REFUSED, 4000));
	CHECK(!fails(i, 0, OUTCOME_NOT_FOUND, 9000) && i->refused);
	i = start(1, RETRY_HARD);
	for (int n = 1; n < 5; n++)
		CHECK(fails(i, 0, OUTCOME_REFUSED, n * 10000));

	begin_test("image: what a redirect's target says is never final by itself");
	for (enum outcome o = OUTCOME_NOT_FOUND; o <= OUTCOME_DENIED; o++) {
		i = start(1, RETRY_SOFT);
		CHECK(target_fails(i, o, 1000));
		CHECK(!target_fails(i, o, 2000) && i->refused);
		i = start(1, RETRY_SOFT);
		CHECK(target_fails(i, o, 1000));
		mirror_works(i, 0, 0, 1500);
		CHECK(target_fails(i, o, 2000));
	}
	for (int hard = 0; hard < 2; hard++) {
		i = start(1, hard ? RETRY_HARD : RETRY_SOFT);
		i->ready = true;
		CHECK(target_fails(i, OUTCOME_CHANGED, 1000));
		CHECK(target_fails(i, OUTCOME_CHANGED, 1001), "the same failure");
		CHECK(!target_fails(i, OUTCOME_CHANGED, 2000) && i->changed);
	}

	begin_test("image: a mirror that may still have it is waited for");
	i = start(2, RETRY_SOFT);
	CHECK(fails(i, 0, OUTCOME_NOT_FOUND, 1000) && fails(i, 1, OUTCOME_BUSY, 1001));
	CHECK(fails(i, 0, OUTCOME_NOT_FOUND, 2000) && fails(i, 1, OUTCOME_TIMED_OUT, 2001));
	CHECK(!fails(i, 1, OUTCOME_DENIED, 9000) && i->refused);
}

static void test_delays(void)
{
	struct image *i = start(1, RETRY_SOFT);
	int64_t now = 1000, last = 0;

	begin_test("image: delays double up to a bound, less a jitter");
	for (int n = 0; n < 12; n++) {
		fails(i, 0, OUTCOME_UNREACHABLE, now);
		last = i->not_before - now;
		CHECK(last >= BACKOFF_FIRST / 2 && last <= BACKOFF_LAST, "%d", (int)last);
		now = i->not_before;
	}
	CHECK(last >= BACKOFF_LAST / 2);
	CHECK(retry_delay(100, INT64_MAX >> 16, 4000000000u) > 0);

	begin_test(
		"image: what a server asks for is honoured up to a minute, and half of it later");
	i = start(1, RETRY_SOFT);
	mirror_failed(i, &(struct failure){OUTCOME_BUSY, "503", 0, false, 0, 7000, false, 0}, 1000);
	CHECK(i->not_before >= 8000 && i->not_before <= 8000 + 7000 / 2);
	now = i->not_before;
	mirror_failed(
		i, &(struct failure){OUTCOME_BUSY, "503", 0, false, 0, INT64_MAX, false, 0}, now);
	CHECK(i->not_before >= now + RETRY_AFTER_MAX);
	CHECK(i->not_before <= now + RETRY_AFTER_MAX * 3 / 2);

	begin_test("image: requests that fail together are one failure");
	i = start(1, RETRY_SOFT);
	fails(i, 0, OUTCOME_UNREACHABLE, 1000);
	fails(i, 0, OUTCOME_UNREACHABLE, 1001);
	CHECK(i->failures == 1);
}

/* How far apart 200 machines come back that have failed at the same time, `failures` times. */
static int64_t spread_of(unsigned failures, int64_t retry_after)
{
	struct failure f = {OUTCOME_BUSY, "503", 0, false, 0, retry_after, false, 0};
	int64_t first = INT64_MAX, last = 0;

	for (int machine = 0; machine < 200; machine++) {
		struct image *i = start(1, RETRY_SOFT);

		i->failures = failures - 1;
		mirror_failed(i, &f, 1000);
		first = sooner(first, i->not_before);
		last = later(last, i->not_before);
	}
	return last - first;
}

static void test_out_of_step(void)
{
	begin_test("image: machines that fail together come back over half of the delay, from the "
		   "first attempt on");
	for (int early = 0; early < 2; early++) {
		has_booted = !early;
		CHECK(spread_of(1, 0) > BACKOFF_FIRST / 3);
		CHECK(spread_of(3, 0) > 4 * BACKOFF_FIRST / 3);
		CHECK(spread_of(9, 0) > BACKOFF_LAST / 3);
		CHECK(spread_of(1, 10000) > 10000 / 3);
	}
	has_booted = true;
	CHECK(start(1, RETRY_SOFT)->not_before == 0, "a first attempt waits for nothing");
}

static void test_told(void)
{
	struct image *i = start(1, RETRY_HARD);

	begin_test("image: what is waited for is told at once, and then once a minute");
	mirror_log_waiting(i, 500);
	CHECK(lines == 0);
	fails(i, 0, OUTCOME_NOT_FOUND, 1000);
	CHECK(lines == 1 && strstr(said[0], "until it works") != NULL, "%s", said[0]);
	for (int64_t now = 1000; now < 1000 + 3 * LOG_EVERY; now += 250)
		mirror_log_waiting(i, now);
	CHECK(lines == 3 && strstr(said[1], "waiting for 60 s: because") != NULL, "%s", said[1]);
	mirror_works(i, 0, 0, 200000);
	CHECK(lines == 4 && strstr(said[3], "answered again") != NULL);
}

static void test_no_proxy(void)
{
	struct image *i = start(1, RETRY_SOFT);
	struct url proxy;

	begin_test("image: the proxy, but for hosts of no-proxy");
	CHECK(!url_parse(&proxy, "http://proxy:3128/"));
	c.proxy = &proxy;
	CHECK(target_of(i, PART_IMAGE)->proxy == &proxy);
	strcpy(c.no_proxy, "b, a");
	CHECK(!target_of(i, PART_IMAGE)->proxy);
}

static void redirect(struct image *image, enum image_part part, const char *text)
{
	struct url to;

	CHECK(!url_parse(&to, text), "%s", text);
	mirror_redirected(image, part, 0, &to);
}

static void test_redirects(void)
{
	struct image *i = start(1, RETRY_SOFT), *more[4];
	const struct mirror_target *target;
	struct url to;
	char name[16], longest[URL_MAX];

	begin_test("image: redirects are remembered, the oldest given up, and trusted on their "
		   "origin only");
	redirect(i, PART_IMAGE, "http://elsewhere/x");
	target = target_of(i, PART_IMAGE);
	CHECK(target->redirected && !target->trusted);
	redirect(i, PART_IMAGE, "http://a/other");
	target = target_of(i, PART_IMAGE);
	CHECK(target->redirected && target->trusted);
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "http://a/", 9);
	longest[3000] = '\0';
	CHECK(!url_parse(&to, longest));
	for (int n = 0; n < 4; n++) {
		snprintf(name, sizeof(name), "i%d", n);
		more[n] = image_get("erofs,v", name, strlen(name));
		mirror_redirected(more[n], PART_IMAGE, 0, &to);
	}
	CHECK(!target_of(i, PART_IMAGE)->redirected);
	CHECK(!target_of(more[0], PART_IMAGE)->redirected);
	CHECK(target_of(more[1], PART_IMAGE)->redirected);
	CHECK(target_of(more[2], PART_IMAGE)->redirected);
	target = target_of(more[3], PART_IMAGE);
	CHECK(target->redirected && !strcmp(target->url.target, to.target));
	mirror_forget_redirect(more[2]);
	image_free(more[2]);
	more[2] = image_get("erofs,v", "new", 3);
	CHECK(!target_of(more[2], PART_IMAGE)->redirected);
	CHECK(target_of(more[3], PART_IMAGE)->redirected);
	mirror_redirected(i, PART_IMAGE, 0, &to);
	fails(i, 0, OUTCOME_BUSY, 1000);
	CHECK(target_of(i, PART_IMAGE)->redirected, "its own URL failed");
	for (int n = 0; n < 2; n++) {
		struct failure f = {OUTCOME_BUSY, "503", 0, true, 0, 0, false, 0};

		mirror_redirected(i, PART_IMAGE, 0, &to);
		n ? mirror_failed(i, &f, 9000) : mirror_interrupted(i, &f, 9000);
		CHECK(!target_of(i, PART_IMAGE)->redirected);
	}
}

static void test_credentials(void)
{
	struct image *i = start(1, RETRY_SOFT);

	begin_test("image: the netrc file's credentials, unless the URL has a password");
	c.url[0] = "http://with.netrc/";
	CHECK(!strcmp(target_of(i, PART_IMAGE)->userinfo, "user:pw"));
	c.url[0] = "http://me@with.netrc/";
	CHECK(!strcmp(target_of(i, PART_IMAGE)->userinfo, "me"));
	c.url[0] = "http://z@with.netrc/";
	CHECK(!strcmp(target_of(i, PART_IMAGE)->userinfo, "z:zpw"));
	c.url[0] = "http://z:@with.netrc/";
	CHECK(!strcmp(target_of(i, PART_IMAGE)->userinfo, "z:"));
	c.url[0] = "http://without.netrc/";
	CHECK(target_of(i, PART_IMAGE)->userinfo[0] == '\0');
}

static void check_url(struct image *image, const char *want, bool trusted)
{
	struct mirror_target target;
	char text[URL_MAX + 300];
	const char *why;

	CHECK(mirror_target(&target, image, PART_IMAGE, 1000, &why), "%s", why);
	CHECK(strcmp(url_text(text, sizeof(text), &target.url), want) == 0, "%s", text);
	CHECK(target.trusted == trusted);
}

/* The path and query of the trace of an image at `base`; NULL: it is not asked for. */
static void check_trace(const char *base, const char *want)
{
	struct image *i = start(1, RETRY_SOFT);
	struct mirror_target target;
	const char *why = "";
	bool asked;

	c.url[0] = base;
	asked = mirror_target(&target, image_get_trace(i), PART_IMAGE, 0, &why);
	CHECK(asked == (want != NULL), "%s: %s", base, why);
	CHECK(!want || strcmp(target.url.target, want) == 0, "%s", target.url.target);
	CHECK(want || strstr(why, "signed"), "%s", why);
	CHECK(mirror_target(&target, i, PART_IMAGE, 0, &why), "%s", why);
}

static void test_trace(void)
{
	struct image *i = start(2, RETRY_SOFT), *trace;

	begin_test("image: a trace lies beside its image, on the mirror that is asked then");
	trace = image_get_trace(i);
	CHECK(trace && trace != i && trace->is_trace && !i->is_trace);
	check_url(trace, "http://a/img.trace", true);
	fails(i, 0, OUTCOME_UNREACHABLE, 900);
	check_url(trace, "http://b/img.trace", true);

	begin_test(
		"image: of a url line with %c, of one file, and with a query: behind path or name");
	check_trace("http://a/%c.erofs", "/img.erofs.trace");
	check_trace("http://a/%c/image?x=%v", "/img/image.trace?x=img");
	check_trace("http://a/one.erofs", "/one.erofs.trace");
	check_trace("http://a/one.erofs?v=1", "/one.erofs.trace?v=1");
	check_trace("http://a/get?file=%c", "/get?file=img.trace");
	check_trace("http://a/%c?file=%c&v=%v", "/img.trace?file=img.trace&v=img");
	check_trace("http://a/%c?x=%c3%A9", "/img.trace?x=%c3%A9");
	check_trace("http://a/one.erofs#x", "/one.erofs.trace");

	begin_test("image: a signed URL has no trace beside it");
	check_trace("http://a/one.erofs?X-Amz-Date=1&X-Amz-Signature=ab", NULL);
	check_trace("http://a/%c?sv=2&sig=ab%3D", NULL);

	begin_test("image: a trace from elsewhere has the image's name and no header lines");
	i = start(2, RETRY_SOFT);
	c.trace = "http://elsewhere/%v/%c.boot";
	check_url(image_get_trace(i), "http://elsewhere/img/img.boot", false);
	check_url(i, "http://a/img", true);
	c.trace = "http://a/t/%c"; /* the origin of the url line, but not asked for */
	check_url(image_get_trace(i), "http://a/t/img", false);
}

/* `text` with another one in the place of each '$'. */
static void replace(char *out, const char *text, const char *other)
{
	for (; *text; text++)
		if (*text == '$')
			out = stpcpy(out, other);
		else
			*out++ = *text;
	*out = '\0';
}

/* The path and query of each part of an image at `base`, with its suffix for each '$' in `want`. */
static void check_parts(const char *base, const char *elsewhere, const char *want)
{
	static const char *const suffixes[] = {"", ".verity", ".roothash", ".roothash.p7s"};

	for (enum image_part part = PART_TREE; part <= PART_SIGNATURE; part++) {
		struct image *i = start(1, RETRY_SOFT);
		struct mirror_target target;
		char path[URL_MAX];
		const char *why = "";

		c.url[0] = base;
		c.verity_url = elsewhere;
		CHECK(mirror_target(&target, i, part, 0, &why), "%s: %s", base, why);
		replace(path, want, suffixes[part]);
		CHECK(strcmp(target.url.target, path) == 0, "%s", target.url.target);
		CHECK(target.trusted == !elsewhere);
		CHECK(mirror_target(&target, i, PART_IMAGE, 0, &why), "%s", why);
		CHECK(!strstr(target.url.target, suffixes[part]) && target.trusted);
	}
}

static void test_parts(void)
{
	begin_test("image: tree, root hash and signature lie beside it: behind path or name");
	check_parts("http://a/%c.erofs", NULL, "/img.erofs$");
	check_parts("http://a/", NULL, "/img$");
	check_parts("http://a/one.erofs?v=1", NULL, "/one.erofs$?v=1");
	check_parts("http://a/%c/image?x=%v", NULL, "/img/image$?x=img");
	check_parts("http://a/get?file=%c", NULL, "/get?file=img$");
	check_parts("http://a/%c?file=%c&v=%v", NULL, "/img$?file=img$&v=img");

	begin_test(
		"image: a query that may be good for all of them goes with each, or `verity URL`");
	check_parts("http://a/one.erofs?token=ab", NULL, "/one.erofs$?token=ab");
	check_parts("http://a/%c?sv=2&sig=ab%3D", NULL, "/img$?sv=2&sig=ab%3D");
	check_parts("http://a/one.erofs?X-Amz-Date=1&X-Amz-Signature=ab", "http://b/", "/img$");
	check_parts("http://a/", "http://b/t/%v/%c.t", "/t/img/img.t$");
	check_parts("http://a/", "http://a/%c?n=%c", "/img$?n=img$");
	check_parts("http://a/", "http://b/%c?sv=2&sig=ab%3D", "/img$?sv=2&sig=ab%3D");
}

static void test_redirected_parts(void)
{
	struct image *i = start(2, RETRY_SOFT);
	const struct mirror_target *target;

	begin_test("image: each part has a redirect of its own, which go together");
	redirect(i, PART_IMAGE, "http://data/x");
	redirect(i, PART_TREE, "http://trees/y");
	CHECK(!strcmp(target_of(i, PART_IMAGE)->url.host, "data"));
	target = target_of(i, PART_TREE);
	CHECK(!strcmp(target->url.host, "trees"));
	CHECK(target->redirected && !target->trusted);
	CHECK(!target_of(i, PART_ROOTHASH)->redirected);
	mirror_forget_redirect(i);
	CHECK(!target_of(i, PART_IMAGE)->redirected);
	CHECK(!target_of(i, PART_TREE)->redirected);
}

static void lies(struct image *image, unsigned mirror, int64_t now)
{
	struct failure f = {
		OUTCOME_UNVERIFIED, "block 7", mirror, false, now - 10, 0, false, mirror};

	mirror_lied(image, &f, now);
}

static void test_lies(void)
{
	struct image *i = start(2, RETRY_SOFT), *other = image_get("erofs,o", "o", 1);
	int64_t now = 1000, last = 0;

	is_steady = true;
	begin_test("image: a mirror that lies is set aside for all images, for longer each time");
	i->ready = true;
	for (int n = 0; n < 9; n++) {
		int64_t until;

		CHECK(asked(i, now) == 0);
		lies(i, 0, now);
		until = now + (int64_t)mirror_at(0, now)->set_aside;
		CHECK(until - now > last || until - now == QUARANTINE_LAST, "%d", (int)last);
		CHECK(asked(i, now) == 1 && asked(other, now) == 1 && asked(i, until - 1) == 1);
		CHECK(mirror_may_be_asked(i, now), "the other one is asked at once");
		last = until - now;
		now = until;
	}
	CHECK(last == QUARANTINE_LAST);
	CHECK(mirror_at(0, now)->failures[OUTCOME_UNVERIFIED] == 9 && i->stats.failures == 9);

	begin_test("image: a response that begins well does not end it, as that of a failure");
	lies(i, 0, now);
	mirror_works(i, 0, 0, now + 1);
	CHECK(asked(i, now + 1) == 1);
	i = start(2, RETRY_SOFT);
	fails(i, 0, OUTCOME_UNREACHABLE, 1000);
	CHECK(asked(i, 1001) == 1);
	mirror_works(i, 0, 0, 1002);
	CHECK(asked(i, 1003) == 0);

	begin_test("image: so is one that lies of the size of an open image, not one of an OPEN's");
	for (int ready = 0; ready < 2; ready++) {
		i = start(2, RETRY_SOFT);
		i->ready = ready;
		fails(i, 0, OUTCOME_UNVERIFIED, 1000);
		CHECK((mirror_at(0, 1000)->set_aside > 0) == ready);
		CHECK(mirror_at(1, 1000)->set_aside == 0);
	}

	begin_test("image: a mirror alone is not set aside; lies are told once a minute");
	i = start(1, RETRY_SOFT);
	for (now = 1000; now < 1000 + 2 * LOG_EVERY; now += 250)
		lies(i, 0, now);
	CHECK(mirror_at(0, now)->set_aside == 0 && mirror_may_be_asked(i, now));
	CHECK(lines == 2 && strstr(said[0], "block 7: refused"), "%zu %s", lines, said[0]);

	begin_test(
		"image: what does not fit at an OPEN is final when it comes twice, of each mirror");
	i = start(2, RETRY_SOFT);
	CHECK(fails(i, 0, OUTCOME_UNVERIFIED, 1000) && fails(i, 1, OUTCOME_UNVERIFIED, 1001));
	CHECK(fails(i, 0, OUTCOME_UNVERIFIED, 9000));
	CHECK(!fails(i, 1, OUTCOME_UNVERIFIED, 9001) && i->refused);
	i = start(1, RETRY_HARD);
	for (int n = 1; n < 5; n++) {
		CHECK(fails(i, 0, OUTCOME_UNVERIFIED, n * 10000));
		CHECK(mirrors_refuse(i) == (n > 1), "it is asked again, and known all the same");
	}
	is_steady = false;
}

static void test_elsewhere(void)
{
	struct image *i = start(2, RETRY_SOFT);
	struct failure f = {OUTCOME_UNREACHABLE, "no route", 0, false, 900, 0, false, ELSEWHERE};

	begin_test("image: what the host of `verity URL` does is not the mirror's");
	is_steady = true;
	c.verity_url = "http://trees/";
	CHECK(target_of(i, PART_IMAGE)->server == 0 &&
		target_of(i, PART_TREE)->server == ELSEWHERE);
	i->ready = true;
	mirror_failed(i, &f, 1000);
	f.outcome = OUTCOME_UNVERIFIED;
	mirror_lied(i, &f, 1000);
	mirror_interrupted(i, &f, 1000);
	mirror_failed(i, &f, 9000);
	mirror_asked(i, ELSEWHERE);
	mirror_received(i, ELSEWHERE, 7);
	mirror_refuses_pipelining(ELSEWHERE, 9000);
	CHECK(strstr(said[(lines - 1) % 4], "verity or trace URL: does not bear"), "%s",
		said[(lines - 1) % 4]);
	mirror_sends_no_length(ELSEWHERE, 9000);
	for (unsigned m = 0; m < 2; m++) {
		static const struct mirror_stats none;

		CHECK(memcmp(mirror_at(m, 9000), &none, sizeof(none)) == 0, "mirror %u", m);
		CHECK(mirror_takes_pipelining(m, 9000) && !mirror_needs_buffer(m, 9000));
	}
	CHECK(!mirror_takes_pipelining(ELSEWHERE, 9000) && mirror_needs_buffer(ELSEWHERE, 9000));
	CHECK(i->stats.failures == 4 && i->stats.requests == 1 && i->stats.received == 7);
	begin_test("image: and that it answers does not take a mirror back that was set aside");
	fails(i, 1, OUTCOME_UNREACHABLE, 20000);
	mirror_works(i, 1, ELSEWHERE, 20001);
	CHECK(mirror_at(1, 20001)->set_aside > 0);
	is_steady = false;
}

static void test_pipelining(void)
{
	begin_test("image: a mirror that does not bear pipelining is spared it for a while, and it "
		   "is said");
	start(2, RETRY_SOFT);
	CHECK(mirror_takes_pipelining(0, 1000) && mirror_takes_pipelining(1, 1000));
	mirror_refuses_pipelining(1, 1000);
	CHECK(lines == 1 && strstr(said[0], "mirror 2") && strstr(said[0], "10 min"), "%s",
		said[0]);
	CHECK(mirror_takes_pipelining(0, 1000));
	CHECK(!mirror_takes_pipelining(1, 1000) &&
		!mirror_takes_pipelining(1, 1000 + NO_PIPELINING_FOR - 1));
	CHECK(mirror_takes_pipelining(1, 1000 + NO_PIPELINING_FOR));
}

static void test_unreachable(void)
{
	struct image *i = start(2, RETRY_SOFT);

	begin_test("image: unreachable when each mirror was, and none has answered since");
	CHECK(!mirrors_are_unreachable(i));
	fails(i, 0, OUTCOME_UNREACHABLE, 1000);
	fails(i, 0, OUTCOME_TIMED_OUT, 5000);
	CHECK(!mirrors_are_unreachable(i));
	fails(i, 1, OUTCOME_TIMED_OUT, 5000);
	CHECK(mirrors_are_unreachable(i));
	fails(i, 1, OUTCOME_NOT_FOUND, 9000);
	CHECK(!mirrors_are_unreachable(i));
	fails(i, 1, OUTCOME_UNREACHABLE, 19000);
	CHECK(mirrors_are_unreachable(i));
	mirror_works(i, 1, 1, 20000);
	CHECK(!mirrors_are_unreachable(i));
}

int main(void)
{
	test_unreachable();
	test_order();
	test_all_down();
	test_not_of_the_mirror();
	test_changed();
	test_addresses();
	test_doubts();
	test_delays();
	test_out_of_step();
	test_told();
	test_no_proxy();
	test_redirects();
	test_credentials();
	test_trace();
	test_parts();
	test_redirected_parts();
	test_lies();
	test_elsewhere();
	test_pipelining();
	return finish_tests();
}
