#include "fetch/mirror.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/memory.h"
#include "net/netrc.h"

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
	const struct image *image; /* NULL: free */
	unsigned mirror;
	struct url url;
	uint64_t used; /* larger is later */
};

static const struct conf *conf;
static struct redirect redirects[REDIRECTS_MAX];
static struct url proxy;	  /* an empty host: none */
static const struct url *proxies; /* instead, for http and https; NULL: `proxy` it is */

/* A url line, for all images. */
static struct mirror {
	unsigned failures; /* in a row */
	int64_t quarantined_until;
	int64_t no_pipelining_until, no_length_until;
	struct mirror_stats stats;
} mirrors[URLS_MAX];

void mirrors_init(const struct conf *c)
{
	conf = c;
	if (c->proxy[0])
		url_parse(&proxy, c->proxy); /* checked by conf.c */
}

void mirrors_set_proxies(const struct url both[2])
{
	proxies = both;
}

/* ---- redirects ---- */

static uint64_t uses; /* of redirects, all in all */

static const struct url *redirect_of(const struct image *image)
{
	for (struct redirect *r = redirects; r < redirects + REDIRECTS_MAX; r++)
		if (r->image == image && r->mirror == image->mirror) {
			r->used = ++uses;
			return &r->url;
		}
	return NULL;
}

void mirror_forget_redirect(const struct image *image)
{
	for (struct redirect *r = redirects; r < redirects + REDIRECTS_MAX; r++)
		if (r->image == image)
			r->image = NULL;
}

void mirror_redirected(struct image *image, unsigned mirror, const struct url *url)
{
	struct redirect *oldest = redirects;

	mirror_forget_redirect(image);
	for (struct redirect *r = redirects; r < redirects + REDIRECTS_MAX; r++)
		if (!r->image || (oldest->image && r->used < oldest->used))
			oldest = r;
	*oldest = (struct redirect){.image = image, .mirror = mirror, .url = *url, .used = ++uses};
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

/* Whether an entry of the no-proxy list names the host: itself, or a domain that it is in. */
static bool is_in_domain(const char *host, const char *domain, size_t size)
{
	size_t host_size = strlen(host);

	while (size > 0 && *domain == '.')
		domain++, size--;
	if (size == 1 && *domain == '*')
		return true;
	if (size == 0 || host_size < size ||
		strncasecmp(host + host_size - size, domain, size) != 0)
		return false;
	return host_size == size || host[host_size - size - 1] == '.';
}

static const struct url *proxy_for(const struct url *url)
{
	const struct url *by = proxies ? &proxies[url->https] : &proxy;
	const char *entry = conf->no_proxy;

	while (*entry) {
		size_t size = strcspn(entry += strspn(entry, ", "), ", ");

		if (is_in_domain(url->host, entry, size))
			return NULL;
		entry += size;
	}
	return by->host[0] ? by : NULL;
}

/* A URL without a user name of its own gets the one that the netrc file has for its host. */
static void add_credentials(struct url *url)
{
	const char *userinfo = netrc_lookup(url->host);

	if (!url->userinfo[0] && userinfo)
		snprintf(url->userinfo, sizeof(url->userinfo), "%s", userinfo);
}

bool mirror_target(struct mirror_target *out, struct image *image, int64_t now, const char **why)
{
	char text[URL_MAX + 512];
	const struct url *redirect;
	struct url own;
	bool elsewhere = image->is_trace && conf->trace[0];
	const char *fault;

	image->mirror = best_mirror(image, now);
	fault = url_expand(text, sizeof(text), elsewhere ? conf->trace : conf->url[image->mirror],
		image->cookie, image->cookie_size, volume_name(image));
	if (fault || (fault = url_parse(&own, text))) {
		*why = fault;
		return false;
	}
	add_credentials(&own);
	redirect = redirect_of(image);
	out->url = redirect ? *redirect : own;
	out->mirror = image->mirror;
	out->redirected = redirect != NULL;
	out->trusted = !elsewhere && url_same_origin(&out->url, &own);
	out->proxy = proxy_for(&out->url);
	return true;
}

/* Whether the failure is the mirror's own, and not only of this image on it. */
static bool is_transport(enum outcome outcome)
{
	return outcome == OUTCOME_TIMED_OUT || outcome == OUTCOME_UNREACHABLE ||
	       outcome == OUTCOME_UNTRUSTED || outcome == OUTCOME_BUSY;
}

/* Alone, a mirror is not quarantined: one image that fails should not slow the others down. */
static void quarantine(unsigned mirror, int64_t now)
{
	struct mirror *m = &mirrors[mirror];
	int64_t delay;

	if (conf->urls == 1 || now < m->quarantined_until)
		return;
	delay = retry_delay(QUARANTINE_FIRST, QUARANTINE_LAST, ++m->failures);
	m->quarantined_until = now + delay;
	log_debug("mirror %u: set aside for %lld ms", mirror + 1, (long long)delay);
}

bool mirror_takes_pipelining(unsigned mirror, int64_t now)
{
	return now >= mirrors[mirror].no_pipelining_until && !mirror_needs_buffer(mirror, now);
}

void mirror_refuses_pipelining(unsigned mirror, int64_t now)
{
	mirrors[mirror].no_pipelining_until = now + NO_PIPELINING_FOR;
	log_info("mirror %u: does not bear pipelined requests; one at a time for the next %d min",
		mirror + 1, NO_PIPELINING_FOR / 60000);
}

bool mirror_needs_buffer(unsigned mirror, int64_t now)
{
	return now < mirrors[mirror].no_length_until;
}

void mirror_sends_no_length(unsigned mirror, int64_t now)
{
	if (!mirror_needs_buffer(mirror, now))
		log_info("mirror %u: sends bodies without Content-Length; asked for at most %zu "
			 "bytes at a time for the next %d min",
			mirror + 1, capacity.buffer, NO_LENGTH_FOR / 60000);
	mirrors[mirror].no_length_until = now + NO_LENGTH_FOR;
}

/* ---- attempts ---- */

int64_t retry_delay(int64_t first, int64_t last, unsigned failures)
{
	int64_t delay = first;
	unsigned char random = 0;

	for (; failures > 1 && delay < last; failures--)
		delay = delay > last / 2 ? last : delay * 2;
	(void)!getrandom(&random, 1, GRND_NONBLOCK);
	return delay - delay / 1024 * random;
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

void mirror_works(struct image *image, unsigned mirror, int64_t now)
{
	if (image->failures > 0)
		log_info("%.*s: answered again after %lld s, %u READs failed meanwhile",
			IMAGE_NAME(image), (long long)(now - image->failing_since) / 1000,
			image->reads_failed);
	image->failures = 0;
	image->unreached = 0;
	image->not_before = 0;
	image->backoff[mirror] = 0;
	image->doubted &= ~(1u << mirror);
	image->refused_by &= ~(1u << mirror);
	mirrors[mirror].failures = 0;
	mirrors[mirror].quarantined_until = 0;
}

static void note_failure(struct image *image, const struct failure *f, int64_t now)
{
	image->stats.failures++;
	mirrors[f->mirror].stats.failures[f->outcome]++;
	image->last_failure = now;
	image->last_began = f->began;
	image->outcome = f->outcome;
	image->unreached &= ~(1u << f->mirror);
	if (f->outcome == OUTCOME_TIMED_OUT || f->outcome == OUTCOME_UNREACHABLE)
		image->unreached |= 1u << f->mirror;
	snprintf(image->why, sizeof(image->why), "%s", f->why);
	if (f->redirected)
		mirror_forget_redirect(image);
}

void mirror_interrupted(struct image *image, const struct failure *f, int64_t now)
{
	note_failure(image, f, now);
	quarantine(f->mirror, now);
}

static void version_changed(struct image *image, unsigned mirror, const char *why)
{
	if (image->mirrors_out & 1u << mirror)
		return;
	image->mirrors_out |= 1u << mirror;
	if (image->mirrors_out != all_mirrors()) {
		log_warning("%.*s: %s; mirror %u is not asked for it again", IMAGE_NAME(image), why,
			mirror + 1);
		return;
	}
	image->changed = true;
	log_err("%.*s: %s; what is not cached of it cannot be read until it is mounted again",
		IMAGE_NAME(image), why);
}

static void log_failure(const struct image *image)
{
	if (image->failures > 1)
		log_debug("%.*s: %s (failure %u)", IMAGE_NAME(image), image->why, image->failures);
	else if (image->doubted && !image->ready)
		log_info("%.*s: %s; trying again", IMAGE_NAME(image), image->why);
	else if (conf->retry == RETRY_HARD)
		log_warning("%.*s: %s; trying again until it works", IMAGE_NAME(image), image->why);
	else
		log_warning("%.*s: %s; trying again for up to %u s", IMAGE_NAME(image), image->why,
			conf->timeout);
}

/* Whether the outcome says that asking again is of no use. */
static bool is_refusal(enum outcome outcome)
{
	return outcome == OUTCOME_LIMIT ||
	       (conf->retry != RETRY_HARD &&
		       (outcome == OUTCOME_NOT_FOUND || outcome == OUTCOME_DENIED ||
			       outcome == OUTCOME_REFUSED || outcome == OUTCOME_UNTRUSTED));
}

/* Whether the failure is the mirror's last word. What a redirect's target says, what a cache
 * without the bytes may answer, and what only one of the server's addresses may be to blame for,
 * has to come twice in a row. */
static bool is_last_word(struct image *image, const struct failure *f)
{
	unsigned bit = 1u << f->mirror;
	bool refusal = is_refusal(f->outcome) || (f->outcome == OUTCOME_CHANGED && image->ready);
	bool doubtful =
		f->redirected || f->outcome == OUTCOME_REFUSED || f->outcome == OUTCOME_UNTRUSTED;
	bool last = refusal && (!doubtful || (image->doubted & bit));

	image->doubted = refusal ? image->doubted | bit : image->doubted & ~bit;
	image->refused_by = last ? image->refused_by | bit : image->refused_by & ~bit;
	return last;
}

/* Sets when the next mirror may be asked: at once if one is left without a backoff. */
static void back_off(struct image *image, const struct failure *f, int64_t now)
{
	int64_t delay = retry_delay(BACKOFF_FIRST, BACKOFF_LAST, image->failures);
	unsigned next;

	image->backoff[f->mirror] = now + later(delay, sooner(f->retry_after, RETRY_AFTER_MAX));
	if (is_transport(f->outcome))
		quarantine(f->mirror, now);
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
	image->refused = !image->ready && image->refused_by == all_mirrors();
	if (!image->refused && !image->changed)
		log_failure(image);
}

void mirror_log_waiting(struct image *image, int64_t now)
{
	if (image->failures == 0 || now - image->logged_at < LOG_EVERY)
		return;
	image->logged_at = now;
	log_warning("%.*s: waiting for %lld s: %s", IMAGE_NAME(image),
		(long long)(now - image->failing_since) / 1000, image->why);
}

/* ---- counters ---- */

/* A trace may lie on no mirror. */
static bool is_on_mirror(const struct image *image)
{
	return !image->is_trace || !conf->trace[0];
}

void mirror_asked(struct image *image, unsigned mirror)
{
	image->stats.requests++;
	mirrors[mirror].stats.requests += is_on_mirror(image);
}

void mirror_received(struct image *image, unsigned mirror, size_t size)
{
	image->stats.received += size;
	if (is_on_mirror(image))
		mirrors[mirror].stats.received += size;
}

const struct mirror_stats *mirror_at(unsigned mirror, int64_t now)
{
	struct mirror *m = &mirrors[mirror];

	m->stats.set_aside = (uint64_t)(later(m->quarantined_until, now) - now);
	return &m->stats;
}
