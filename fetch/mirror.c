#include "fetch/mirror.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "daemon/memory.h"
#include "net/netrc.h"
#include "net/no_proxy.h"

/* Milliseconds. */
#define BACKOFF_FIRST	  200 /* between attempts at an image, doubled with each failure */
#define BACKOFF_LAST	  5000
#define QUARANTINE_FIRST  1000 /* of a mirror that failed, for all images, doubled likewise */
#define QUARANTINE_LAST	  60000
#define RETRY_AFTER_MAX	  60000 /* what a server may ask for */
#define LOG_EVERY	  60000
#define NO_PIPELINING_FOR 600000 /* with a server that has failed at it */
#define NO_LENGTH_FOR	  600000 /* with a server that sent a body without Content-Length */

/* Where an image's mirror has redirected to. */
struct redirect {
	const struct image *image;
	enum image_part part;
	unsigned mirror;
	size_t size;	/* up to the next one */
	struct url url; /* its last bytes may be missing, see url_size() */
};

static const struct conf *conf;
static _Alignas(struct redirect) char redirects[REDIRECTS_BYTES_MAX]; /* the oldest first */
static size_t redirects_end;

/* A server, for all images. */
static struct mirror {
	unsigned failures; /* in a row */
	unsigned lies;
	int64_t quarantined_until;
	int64_t no_pipelining_until, no_length_until;
	struct mirror_stats stats;
} mirrors[URLS_MAX + 1]; /* by url line, and ELSEWHERE */

void mirrors_init(const struct conf *c)
{
	char text[URL_MAX + 512];
	struct url url;

	conf = c;
	/* Later the netrc file might lie in the file system that we serve. */
	for (size_t m = 0; m < c->urls; m++)
		if (!url_expand(text, sizeof(text), c->url[m], "x", 1, "x") &&
			!url_parse(&url, text))
			netrc_lookup(url.host, url.userinfo);
}

/* ---- redirects ---- */

static struct redirect *redirect_at(size_t at)
{
	return (struct redirect *)(void *)(redirects + at);
}

static void drop_redirect(size_t at)
{
	size_t next = at + redirect_at(at)->size;

	memmove(redirects + at, redirects + next, redirects_end - next);
	redirects_end -= next - at;
}

static struct redirect *redirect_of(const struct image *image, enum image_part part)
{
	for (size_t at = 0; at < redirects_end; at += redirect_at(at)->size)
		if (redirect_at(at)->image == image && redirect_at(at)->part == part)
			return redirect_at(at);
	return NULL;
}

void mirror_forget_redirect(const struct image *image)
{
	for (size_t at = 0; at < redirects_end;)
		if (redirect_at(at)->image == image)
			drop_redirect(at);
		else
			at += redirect_at(at)->size;
}

void mirror_redirected(
	struct image *image, enum image_part part, unsigned mirror, const struct url *url)
{
	size_t size = offsetof(struct redirect, url) + url_size(url);
	struct redirect *new = redirect_of(image, part);

	size += -size % _Alignof(struct redirect);
	if (new)
		drop_redirect((size_t)((char *)new - redirects));
	while (sizeof(redirects) - redirects_end < size)
		drop_redirect(0);
	new = redirect_at(redirects_end);
	redirects_end += size;
	new->image = image;
	new->part = part;
	new->mirror = mirror;
	new->size = size;
	memcpy(&new->url, url, url_size(url));
}

/* ---- mirrors ---- */

/* As bits. */
static unsigned all_mirrors(void)
{
	return (1u << conf->urls) - 1;
}

static int64_t backoff_until(const struct image *image, unsigned mirror)
{
	return later(image->backoff[mirror], mirrors[mirror].quarantined_until);
}

/* The first in the configuration's order that has no backoff, else the one whose backoff ends
 * first. */
static unsigned best_mirror(const struct image *image, int64_t now)
{
	unsigned best = image->mirror;
	int64_t best_until = INT64_MAX;

	for (unsigned m = 0; m < conf->urls; m++) {
		int64_t until = later(backoff_until(image, m), now);

		if (!(image->mirrors_out & 1u << m) && until < best_until) {
			best = m;
			best_until = until;
		}
	}
	return best;
}

/* The volume key without EROFS's prefix: the domain, or the image's own name. */
static const char *volume_name(const struct image *image)
{
	return strncmp(image->volume, "erofs,", 6) == 0 ? image->volume + 6 : image->volume;
}

static bool has_name_in_query(const char *base)
{
	for (const char *at = strchrnul(base, '?'); *at; at++)
		if (at[0] == '%' && at[1] == 'c' && hex_digit(at[2]) < 0)
			return true;
	return false;
}

/* What stands behind the image's name in the part's URL. */
static const char *suffix_of(const struct image *image, enum image_part part)
{
	static const char *const suffixes[] = {
		[PART_IMAGE] = "",
		[PART_TREE] = TREE_SUFFIX,
		[PART_ROOTHASH] = ROOTHASH_SUFFIX,
		[PART_SIGNATURE] = SIGNATURE_SUFFIX,
	};

	return image->is_trace && !conf->trace ? TRACE_SUFFIX : suffixes[part];
}

/* The URL that a url line makes of the image's name. A part's has its suffix behind the name if
 * that stands in the query, else behind the path. A trace, which is not needed, is not asked for
 * where a signature in the query may be good for the image only. Its name has its suffix already.
 */
static const char *own_url(struct url *out, const struct image *image, enum image_part part)
{
	const char *base = image->is_trace && conf->trace	    ? conf->trace
			   : part != PART_IMAGE && conf->verity_url ? conf->verity_url
								    : conf->url[image->mirror];
	const char *suffix = suffix_of(image, part), *why;
	bool in_query = has_name_in_query(base);
	size_t more = strlen(suffix), size = image->cookie_size - (image->is_trace ? more : 0);
	char text[URL_MAX + 512], name[KEY_MAX + 16];

	memcpy(name, image->cookie, size);
	memcpy(name + size, suffix, more);
	why = url_expand(
		text, sizeof(text), base, name, size + (in_query ? more : 0), volume_name(image));
	if (!why)
		why = url_parse(out, text);
	if (!why && more > 0 && image->is_trace && url_is_signed(out))
		why = "the image's URL is signed for no other file";
	return why || more == 0 || in_query ? why : url_extend(out, suffix);
}

/* Whether the part lies on no mirror, but where a line of the configuration says. */
static bool is_elsewhere(const struct image *image, enum image_part part)
{
	return (image->is_trace && conf->trace) || (part != PART_IMAGE && conf->verity_url);
}

bool mirror_target(struct mirror_target *out, struct image *image, enum image_part part,
	int64_t now, const char **why)
{
	const struct redirect *redirect;
	const char *fault, *userinfo = NULL;
	const struct url *to;
	struct url own;
	bool is_own_origin, elsewhere = is_elsewhere(image, part);

	image->mirror = best_mirror(image, now);
	fault = own_url(&own, image, part);
	if (fault) {
		*why = fault;
		return false;
	}
	redirect = redirect_of(image, part);
	to = redirect && redirect->mirror == image->mirror ? &redirect->url : &own;
	memcpy(&out->url, to, url_size(to));
	is_own_origin = url_same_origin(&out->url, &own);
	if (is_own_origin && strcmp(out->url.userinfo, own.userinfo) == 0)
		userinfo = netrc_lookup(own.host, own.userinfo);
	snprintf(out->userinfo, sizeof(out->userinfo), "%s",
		userinfo ? userinfo : out->url.userinfo);
	out->mirror = image->mirror;
	out->server = elsewhere ? ELSEWHERE : (uint8_t)image->mirror;
	out->redirected = to != &own;
	out->trusted = is_own_origin && !elsewhere;
	out->proxy = out->url.https ? conf->https_proxy : conf->proxy;
	if (no_proxy_has(conf->no_proxy, &out->url))
		out->proxy = NULL;
	return true;
}

/* Whether the failure is the mirror's own, and not only of this image on it. */
static bool is_transport(enum outcome outcome)
{
	return outcome == OUTCOME_TIMED_OUT || outcome == OUTCOME_UNREACHABLE ||
	       outcome == OUTCOME_UNTRUSTED || outcome == OUTCOME_BUSY;
}

/* Alone, a mirror is not quarantined: one image that fails should not slow the others down. */
static void quarantine(unsigned server, unsigned *failures, int64_t now)
{
	struct mirror *m = &mirrors[server];
	int64_t delay;

	if (conf->urls == 1 || server == ELSEWHERE || now < m->quarantined_until)
		return;
	delay = retry_delay(QUARANTINE_FIRST, QUARANTINE_LAST, ++*failures);
	m->quarantined_until = now + delay;
	log_debug("mirror %u: set aside for %lld ms", server + 1, (long long)delay);
}

const char *mirror_words(char out[MIRROR_WORDS], unsigned server)
{
	snprintf(out, MIRROR_WORDS, server == ELSEWHERE ? "verity or trace URL" : "mirror %u",
		server + 1);
	return out;
}

bool mirror_takes_pipelining(unsigned server, int64_t now)
{
	return now >= mirrors[server].no_pipelining_until && !mirror_needs_buffer(server, now);
}

void mirror_refuses_pipelining(unsigned server, int64_t now)
{
	char words[MIRROR_WORDS];

	mirrors[server].no_pipelining_until = now + NO_PIPELINING_FOR;
	log_info("%s: does not bear pipelined requests; one at a time for the next %d min",
		mirror_words(words, server), NO_PIPELINING_FOR / 60000);
}

bool mirror_needs_buffer(unsigned server, int64_t now)
{
	return now < mirrors[server].no_length_until;
}

void mirror_sends_no_length(unsigned server, int64_t now)
{
	char words[MIRROR_WORDS];

	if (!mirror_needs_buffer(server, now))
		log_info(
			"%s: sends bodies without Content-Length; asked for at most %zu bytes at a "
			"time for the next %d min",
			mirror_words(words, server), capacity.buffer, NO_LENGTH_FOR / 60000);
	mirrors[server].no_length_until = now + NO_LENGTH_FOR;
}

/* ---- attempts ---- */

/* Less than half of the delay. A kernel before 5.6 may have no bytes yet, which are not awaited. */
static int64_t jitter(int64_t delay)
{
	uint16_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_INSECURE) < 0)
		(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return delay * random / (2 << 16);
}

int64_t retry_delay(int64_t first, int64_t last, unsigned failures)
{
	int64_t delay = first;

	for (; failures > 1 && delay < last; failures--)
		delay = delay > last / 2 ? last : delay * 2;
	return delay - jitter(delay);
}

int64_t mirror_timeout(void)
{
	return conf->retry == RETRY_HARD ? INT64_MAX : (int64_t)conf->timeout * 1000;
}

bool mirror_may_be_asked(const struct image *image, int64_t now)
{
	return !image->changed && now >= image->not_before;
}

bool mirrors_are_unreachable(const struct image *image)
{
	return image->unreached == all_mirrors();
}

bool mirrors_refuse(const struct image *image)
{
	return image->refused_by == all_mirrors();
}

void mirror_works(struct image *image, unsigned mirror, unsigned server, int64_t now)
{
	if (image->failures > 0)
		log_info("%s: answered again after %lld s, %u READs failed meanwhile",
			image_name(image), (long long)(now - image->failing_since) / 1000,
			image->reads_failed);
	image->failures = 0;
	image->unreached = 0;
	image->not_before = 0;
	image->backoff[mirror] = 0;
	image->doubted &= ~(1u << mirror);
	image->refused_by &= ~(1u << mirror);
	mirrors[server].failures = 0;
	/* That a response begins well says nothing of one that lies. */
	if (mirrors[server].lies == 0)
		mirrors[server].quarantined_until = 0;
}

/* The whole text of the failure that came last; an image keeps only its beginning. */
static struct {
	const struct image *of;
	char text[MIRROR_WHY_MAX];
} last_why;

const char *mirror_why(const struct image *image)
{
	size_t size = strlen(image->why);
	bool is_last =
		last_why.of == image && size > 0 && strncmp(last_why.text, image->why, size) == 0;

	return is_last ? last_why.text : image->why;
}

static void note_failure(struct image *image, const struct failure *f, int64_t now)
{
	image->stats.failures++;
	mirrors[f->server].stats.failures[f->outcome]++;
	image->last_failure = now;
	image->last_began = f->began;
	image->outcome = f->outcome;
	image->failed_server = f->server;
	image->unreached &= ~(1u << f->mirror);
	if (f->outcome == OUTCOME_TIMED_OUT || f->outcome == OUTCOME_UNREACHABLE)
		image->unreached |= 1u << f->mirror;
	snprintf(image->why, sizeof(image->why), "%s", f->why);
	snprintf(last_why.text, sizeof(last_why.text), "%s", f->why);
	last_why.of = image;
	if (f->redirected)
		mirror_forget_redirect(image);
}

void mirror_interrupted(struct image *image, const struct failure *f, int64_t now)
{
	note_failure(image, f, now);
	quarantine(f->server, &mirrors[f->server].failures, now);
}

void mirror_lied(struct image *image, const struct failure *f, int64_t now)
{
	note_failure(image, f, now);
	quarantine(f->server, &mirrors[f->server].lies, now);
	if (image->logged_at != 0 && now - image->logged_at < LOG_EVERY) {
		log_debug("%s: %s", image_name(image), f->why);
		return;
	}
	image->logged_at = now;
	log_warning("%s: %s: refused", image_name(image), f->why);
}

void mirror_give_up(struct image *image, enum outcome outcome, const char *why)
{
	image->outcome = outcome;
	image->refused = true;
	snprintf(image->why, sizeof(image->why), "%s", why);
}

static void version_changed(struct image *image, unsigned mirror, const char *why)
{
	if (image->mirrors_out & 1u << mirror)
		return;
	image->mirrors_out |= 1u << mirror;
	if (image->mirrors_out != all_mirrors()) {
		log_warning("%s: %s; mirror %u is not asked for it again", image_name(image), why,
			mirror + 1);
		return;
	}
	image->changed = true;
	log_err("%s: %s; what is not cached of it cannot be read until it is mounted again",
		image_name(image), why);
}

static void log_failure(const struct image *image)
{
	if (image->failures > 1)
		log_debug("%s: %s", image_name(image), mirror_why(image));
	else if (conf->retry == RETRY_HARD)
		log_warning("%s: %s; trying again until it works", image_name(image),
			mirror_why(image));
	else if (image->doubted && !image->ready)
		log_info("%s: %s; trying again", image_name(image), mirror_why(image));
	else
		log_warning("%s: %s; trying again for up to %u s", image_name(image),
			mirror_why(image), conf->timeout);
}

/* Whether the outcome says that asking again is of no use. */
static bool is_refusal(enum outcome outcome)
{
	return outcome == OUTCOME_LIMIT || outcome == OUTCOME_NOT_FOUND ||
	       outcome == OUTCOME_DENIED || outcome == OUTCOME_REFUSED ||
	       outcome == OUTCOME_UNTRUSTED || outcome == OUTCOME_UNVERIFIED;
}

/* Whether the failure is the mirror's last word. What a redirect's target says, what a cache
 * without the bytes may answer, and what only one of the server's addresses may be to blame for,
 * has to come twice in a row. */
static bool is_last_word(struct image *image, const struct failure *f)
{
	unsigned bit = 1u << f->mirror;
	bool refusal = is_refusal(f->outcome) || (f->outcome == OUTCOME_CHANGED && image->ready);
	bool doubtful = f->redirected || f->several || f->outcome == OUTCOME_REFUSED ||
			f->outcome == OUTCOME_UNTRUSTED || f->outcome == OUTCOME_UNVERIFIED;
	bool last = refusal && (!doubtful || (image->doubted & bit));

	image->doubted = refusal ? image->doubted | bit : image->doubted & ~bit;
	image->refused_by = last ? image->refused_by | bit : image->refused_by & ~bit;
	return last;
}

/* Sets when the next mirror may be asked: at once if one is left without a backoff. A server has
 * told many machines the same time to come back. */
static void back_off(struct image *image, const struct failure *f, int64_t now)
{
	int64_t delay = retry_delay(BACKOFF_FIRST, BACKOFF_LAST, image->failures);
	int64_t told = sooner(f->retry_after, RETRY_AFTER_MAX);
	unsigned next;

	image->backoff[f->mirror] = now + later(delay, told + jitter(told));
	if (is_transport(f->outcome))
		quarantine(f->server, &mirrors[f->server].failures, now);
	/* Of another size, or a tree that is cut: as bytes that do not fit. */
	if (f->outcome == OUTCOME_UNVERIFIED && image->ready)
		quarantine(f->server, &mirrors[f->server].lies, now);
	next = best_mirror(image, now);
	image->not_before = later(now, image->backoff[next]);
}

void mirror_failed(struct image *image, const struct failure *f, int64_t now)
{
	bool changed = f->outcome == OUTCOME_CHANGED && image->ready;

	note_failure(image, f, now);
	if (changed && !f->redirected) {
		version_changed(image, f->mirror, f->why);
		return;
	}
	if (now < image->backoff[f->mirror])
		return; /* several requests fail together: that is one failure */
	if (image->failures++ == 0) {
		image->failing_since = image->logged_at = now;
		image->reads_failed = 0;
	}
	back_off(image, f, now);
	if (f->outcome == OUTCOME_DENIED && netrc_reload())
		return; /* a token that was renewed */
	if (is_last_word(image, f) && changed)
		version_changed(image, f->mirror, f->why);
	image->refused = !image->ready && mirrors_refuse(image) &&
			 (conf->retry != RETRY_HARD || f->outcome == OUTCOME_LIMIT);
	if (!image->refused && !image->changed)
		log_failure(image);
}

void mirror_log_waiting(struct image *image, int64_t now)
{
	if (image->failures == 0 || now - image->logged_at < LOG_EVERY)
		return;
	image->logged_at = now;
	log_warning("%s: waiting for %lld s: %s", image_name(image),
		(long long)(now - image->failing_since) / 1000, mirror_why(image));
}

/* ---- counters ---- */

void mirror_asked(struct image *image, unsigned server)
{
	image->stats.requests++;
	mirrors[server].stats.requests++;
}

void mirror_received(struct image *image, unsigned server, size_t size)
{
	image->stats.received += size;
	mirrors[server].stats.received += size;
}

struct mirror_stats *mirror_at(unsigned mirror, int64_t now)
{
	struct mirror *m = &mirrors[mirror];

	m->stats.set_aside = (uint64_t)(later(m->quarantined_until, now) - now);
	return &m->stats;
}
