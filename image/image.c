#include "image/image.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "daemon/memory.h"
#include "base/clock.h"
#include "daemon/handover.h"
#include "base/log.h"
#include "net/netrc.h"
#include "image/state.h"

/* Milliseconds. */
#define BACKOFF_FIRST	 200 /* between attempts at an image, doubled each time */
#define BACKOFF_LAST	 5000
#define QUARANTINE_FIRST 1000 /* a mirror that failed, for all images, while there are others */
#define QUARANTINE_LAST	 60000
#define RETRY_AFTER_MAX	 60000 /* what a server may ask for */
#define TELL_EVERY	 60000
#define ONE_BY_ONE	 600000 /* no pipelining with a server that stumbled over it */

/* How long ago a server may have been asked, in seconds, before that is written down anew. */
#define CHECKED_EVERY 86400

/* Where an image's mirror has redirected to. */
struct redirect {
	struct image *image; /* NULL: free */
	unsigned mirror;
	struct url url;
	uint64_t used; /* larger is later */
};

/* How a url line has done lately, whatever was asked of it. */
struct health {
	unsigned failures;
	int64_t until; /* its quarantine */
};

static const struct conf *conf;
static struct image *images; /* capacity.files, and one more for a trace */
static struct redirect redirects[REDIRECTS_MAX];
static struct health health[URLS_MAX];
static struct mirror_stats mirrors[URLS_MAX];
static int64_t one_by_one[URLS_MAX]; /* until then no pipelining with this mirror */
static struct url proxy;	     /* an empty host: none */
static uint64_t sequence;

size_t image_memory_each(void)
{
	return sizeof(struct image);
}

void images_init(const struct conf *c, void *memory)
{
	const char *why;

	conf = c;
	images = memory;
	if (c->proxy[0])
		url_parse(&proxy, c->proxy, &why); /* checked by conf.c */
}

/* ---- the table ---- */

static struct image *get(const char *volume, const void *cookie, size_t cookie_size, bool is_trace)
{
	struct image *free = NULL;

	for (struct image *i = images; i <= images + capacity.files; i++) {
		if (!i->used)
			free = i;
		else if (i->is_trace == is_trace && i->cookie_size == cookie_size &&
			 memcmp(i->cookie, cookie, cookie_size) == 0 &&
			 strcmp(i->volume, volume) == 0)
			return i;
	}
	*free = (struct image){.used = true, .is_trace = is_trace, .cookie_size = cookie_size};
	memcpy(free->volume, volume, strlen(volume) + 1);
	memcpy(free->cookie, cookie, cookie_size);
	return free;
}

struct image *image_get(const char *volume, const void *cookie, size_t cookie_size)
{
	return get(volume, cookie, cookie_size, false);
}

struct image *image_get_trace(const struct image *image)
{
	static const char suffix[] = ".trace";
	size_t size = image->cookie_size, more = conf->trace[0] ? 0 : sizeof(suffix) - 1;
	char name[KEY_MAX];

	if (size + more > sizeof(name))
		return NULL;
	memcpy(name, image->cookie, size);
	memcpy(name + size, suffix, more);
	return get(image->volume, name, size + more, true);
}

void image_free(struct image *image)
{
	image_forget_redirect(image);
	image->used = false;
}

bool image_is_compressed(const struct image *image)
{
	if (image->kind != EROFS_NONE)
		return image->kind == EROFS_COMPRESSED;
	for (const struct image *i = images; i <= images + capacity.files; i++)
		if (i->used && i->kind == EROFS_COMPRESSED && strcmp(i->volume, image->volume) == 0)
			return true;
	return false;
}

/* ---- redirects ---- */

static const struct url *redirect_of(const struct image *image)
{
	for (struct redirect *r = redirects; r < redirects + REDIRECTS_MAX; r++)
		if (r->image == image && r->mirror == image->mirror) {
			r->used = ++sequence;
			return &r->url;
		}
	return NULL;
}

void image_forget_redirect(struct image *image)
{
	for (struct redirect *r = redirects; r < redirects + REDIRECTS_MAX; r++)
		if (r->image == image)
			r->image = NULL;
}

void image_redirected(struct image *image, unsigned mirror, const struct url *url)
{
	struct redirect *oldest = redirects;

	image_forget_redirect(image);
	for (struct redirect *r = redirects; r < redirects + REDIRECTS_MAX; r++)
		if (!r->image || (oldest->image && r->used < oldest->used))
			oldest = r;
	*oldest = (struct redirect){
		.image = image, .mirror = mirror, .url = *url, .used = ++sequence};
}

/* ---- mirrors ---- */

static int64_t penalty_until(const struct image *image, unsigned mirror)
{
	return later(image->penalty[mirror], health[mirror].until);
}

/* The mirrors' order is the configuration's; one with a penalty stands behind those without. */
static unsigned best_mirror(const struct image *image, int64_t now)
{
	unsigned best = image->mirror;
	int64_t best_until = INT64_MAX;

	for (unsigned m = 0; m < conf->urls; m++) {
		int64_t until = later(penalty_until(image, m), now);

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
	const char *entry = conf->no_proxy;

	if (!proxy.host[0])
		return NULL;
	while (*entry) {
		size_t size = strcspn(entry += strspn(entry, ", "), ", ");

		if (is_in_domain(url->host, entry, size))
			return NULL;
		entry += size;
	}
	return &proxy;
}

/* A URL without a user name of its own gets the one that the netrc file has for its host. */
static void add_credentials(struct url *url)
{
	const char *userinfo = netrc_lookup(url->host);

	if (!url->userinfo[0] && userinfo)
		snprintf(url->userinfo, sizeof(url->userinfo), "%s", userinfo);
}

bool image_target(struct image_target *out, struct image *image, int64_t now, const char **why)
{
	char text[URL_MAX + 512];
	const struct url *redirect;
	struct url own;
	bool elsewhere = image->is_trace && conf->trace[0];

	image->mirror = best_mirror(image, now);
	if (!url_expand(text, sizeof(text), elsewhere ? conf->trace : conf->url[image->mirror],
		    image->cookie, image->cookie_size, volume_name(image), why) ||
		!url_parse(&own, text, why))
		return false;
	add_credentials(&own);
	redirect = redirect_of(image);
	out->url = redirect ? *redirect : own;
	out->mirror = image->mirror;
	out->redirected = redirect != NULL;
	out->trusted = !elsewhere && url_same_origin(&out->url, &own);
	out->proxy = proxy_for(&out->url);
	return true;
}

/* A failure that says something of the mirror itself, not just of this image on it. */
static bool is_transport(enum outcome outcome)
{
	return outcome == OUTCOME_TIMED_OUT || outcome == OUTCOME_UNREACHABLE ||
	       outcome == OUTCOME_UNTRUSTED || outcome == OUTCOME_BUSY;
}

/* Alone, a mirror is not quarantined: one image that fails should not slow the others down. */
static void quarantine(unsigned mirror, int64_t now)
{
	struct health *h = &health[mirror];

	if (conf->urls == 1 || now < h->until)
		return;
	h->until = now + retry_delay(QUARANTINE_FIRST, QUARANTINE_LAST, ++h->failures);
	log_debug("mirror %u: set aside for %lld ms", mirror + 1, (long long)(h->until - now));
}

bool image_takes_pipelining(unsigned mirror, int64_t now)
{
	return now >= one_by_one[mirror];
}

void image_refuses_pipelining(unsigned mirror, int64_t now)
{
	one_by_one[mirror] = now + ONE_BY_ONE;
	log_info("mirror %u: does not bear pipelined requests; one at a time for the next %d min",
		mirror + 1, ONE_BY_ONE / 60000);
}

/* ---- how asking goes ---- */

int64_t retry_delay(int64_t first, int64_t last, unsigned failures)
{
	int64_t delay = first;
	unsigned char random = 0;

	for (; failures > 1 && delay < last; failures--)
		delay = delay > last / 2 ? last : delay * 2;
	(void)!getrandom(&random, 1, GRND_NONBLOCK);
	return delay - delay / 1024 * random;
}

int64_t image_patience(void)
{
	return conf->retry == RETRY_HARD ? INT64_MAX : (int64_t)conf->timeout * 1000;
}

const char *image_validator(const struct image *image)
{
	if (image->etag_is_strong)
		return image->etag;
	return image->last_modified[0] ? image->last_modified : NULL;
}

void image_pin(struct image *image, const struct response *response)
{
	image->size = (uint64_t)response->total;
	memcpy(image->etag, response->etag, sizeof(image->etag));
	image->etag_is_strong = response->etag_is_strong;
	memcpy(image->last_modified, response->last_modified, sizeof(image->last_modified));
}

static struct state_key key_of(const struct image *image)
{
	return (struct state_key){image->volume, image->cookie, image->cookie_size};
}

/* The size that the kernel was told of the image's cache file by a worker before this one, which
 * is open since; -1: it is not. */
static int64_t opened_before(const struct image *image)
{
	return opened_files_size(opened_files_key(image->volume, image->cookie, image->cookie_size));
}

static const char *version_text(const struct state *s)
{
	return s->etag[0] ? s->etag : s->last_modified[0] ? s->last_modified : "no validator";
}

/* Whether what is remembered still says it all. */
static bool is_up_to_date(const struct state *before, const struct state *now)
{
	return state_is_same(before, now) && before->kind == now->kind &&
	       now->checked >= before->checked && now->checked - before->checked < CHECKED_EVERY;
}

void image_settle(struct image *image, const char *url)
{
	struct state_key key = key_of(image);
	struct state before, now = {.size = image->size,
				     .kind = image->kind,
				     .etag_is_strong = image->etag_is_strong,
				     .checked = (int64_t)time(NULL)};
	bool known = state_load(&before, key);
	int64_t live = opened_before(image);

	memcpy(now.etag, image->etag, sizeof(now.etag));
	memcpy(now.last_modified, image->last_modified, sizeof(now.last_modified));
	now.told = image->reported_size = state_reported_size(&now, known ? &before : NULL);
	if (live >= 0 && now.told != (uint64_t)live) {
		image->reported_size = (uint64_t)live;
		image->changed = true;
		log_err("%.*s: the server has another version than the one that is mounted; what "
			"is not cached of it cannot be read until it is mounted anew",
			IMAGE_NAME(image));
		return;
	}
	if (known && now.told != before.told)
		log_warning(
			"%.*s: was replaced on the server since it was opened last: %s, %llu "
			"bytes, became %s, %llu bytes; what is cached of the old one is dropped",
			IMAGE_NAME(image), version_text(&before), (unsigned long long)before.size,
			version_text(&now), (unsigned long long)now.size);
	if (known && is_up_to_date(&before, &now))
		state_touch(key);
	else
		state_store(&now, key, url);
}

static void pin_state(struct image *image, const struct state *s)
{
	image->size = s->size;
	image->reported_size = s->told;
	image->kind = s->kind;
	image->etag_is_strong = s->etag_is_strong;
	memcpy(image->etag, s->etag, sizeof(image->etag));
	memcpy(image->last_modified, s->last_modified, sizeof(image->last_modified));
	image->not_before = 0; /* what is cached of it can be looked for at once */
	state_touch(key_of(image));
}

bool image_recall(struct image *image)
{
	struct state s;

	image->unknown = image->unknown || !state_load(&s, key_of(image));
	if (!image->unknown)
		pin_state(image, &s);
	return !image->unknown;
}

bool image_reopen(struct image *image)
{
	int64_t live = opened_before(image);
	struct state s;

	if (live < 0 || !state_load(&s, key_of(image)) || s.told != (uint64_t)live)
		return false;
	pin_state(image, &s);
	return true;
}

bool image_may_be_asked(const struct image *image, int64_t now)
{
	return !image->changed && now >= image->not_before;
}

bool image_is_unreachable(const struct image *image)
{
	return image->unreached == (1u << conf->urls) - 1;
}

void image_works(struct image *image, unsigned mirror, int64_t now)
{
	if (image->failures > 0)
		log_info("%.*s: answered again after %lld s, %u READs failed meanwhile",
			IMAGE_NAME(image), (long long)(now - image->failing_since) / 1000,
			image->reads_failed);
	image->failures = 0;
	image->unreached = 0;
	image->not_before = 0;
	image->penalty[mirror] = 0;
	health[mirror] = (struct health){0};
}

static void note_failure(struct image *image, const struct failure *f, int64_t now)
{
	image->stats.failures++;
	mirrors[f->mirror].failures[f->outcome]++;
	image->last_failure = now;
	image->last_began = f->began;
	image->outcome = f->outcome;
	image->unreached &= ~(1u << f->mirror);
	if (f->outcome == OUTCOME_TIMED_OUT || f->outcome == OUTCOME_UNREACHABLE)
		image->unreached |= 1u << f->mirror;
	snprintf(image->why, sizeof(image->why), "%s", f->why);
}

void image_cut(struct image *image, const struct failure *f, int64_t now)
{
	note_failure(image, f, now);
	quarantine(f->mirror, now);
}

static void version_changed(struct image *image, unsigned mirror, const char *why)
{
	unsigned all = (1u << conf->urls) - 1;

	if (image->mirrors_out & 1u << mirror)
		return;
	image->mirrors_out |= 1u << mirror;
	if (image->mirrors_out != all) {
		log_warning("%.*s: %s; mirror %u is not asked for it again", IMAGE_NAME(image), why,
			mirror + 1);
		return;
	}
	image->changed = true;
	log_err("%.*s: %s; what is not cached of it cannot be read until it is mounted anew",
		IMAGE_NAME(image), why);
}

static void tell_failure(const struct image *image)
{
	if (image->failures > 1)
		log_debug("%.*s: %s (failure %u)", IMAGE_NAME(image), image->why, image->failures);
	else if (conf->retry == RETRY_HARD)
		log_warning("%.*s: %s; trying again until it works", IMAGE_NAME(image), image->why);
	else
		log_warning("%.*s: %s; trying again for up to %u s", IMAGE_NAME(image), image->why,
			conf->timeout);
}

static bool is_final(enum outcome outcome)
{
	return outcome == OUTCOME_LIMIT ||
	       (conf->retry != RETRY_HARD &&
		       (outcome == OUTCOME_NOT_FOUND || outcome == OUTCOME_DENIED ||
			       outcome == OUTCOME_REFUSED || outcome == OUTCOME_UNTRUSTED));
}

/* Turns to the mirror to ask next, and sets when: at once if one is left that has not failed. */
static void penalize(struct image *image, const struct failure *f, int64_t now)
{
	int64_t delay = retry_delay(BACKOFF_FIRST, BACKOFF_LAST, image->failures);
	unsigned next;

	if (f->retry_after > delay)
		delay = f->retry_after < RETRY_AFTER_MAX ? f->retry_after : RETRY_AFTER_MAX;
	image->penalty[f->mirror] = now + delay;
	if (is_transport(f->outcome))
		quarantine(f->mirror, now);
	next = best_mirror(image, now);
	image->not_before = later(now, image->penalty[next]);
	if (next != f->mirror)
		image_forget_redirect(image);
}

void image_failed(struct image *image, const struct failure *f, int64_t now)
{
	note_failure(image, f, now);
	if (f->outcome == OUTCOME_CHANGED && image->ready) {
		version_changed(image, f->mirror, f->why);
		return;
	}
	if (now < image->penalty[f->mirror])
		return; /* several requests fail together: that is one failure */
	if (image->failures++ == 0) {
		image->failing_since = image->told = now;
		image->reads_failed = 0;
	}
	penalize(image, f, now);
	if (f->outcome == OUTCOME_DENIED && netrc_reload())
		return; /* a token that was renewed */
	image->refused = !image->ready && is_final(f->outcome) && image->failures >= conf->urls;
	if (!image->refused)
		tell_failure(image);
}

void image_tell(struct image *image, int64_t now)
{
	if (image->failures == 0 || now - image->told < TELL_EVERY)
		return;
	image->told = now;
	log_warning("%.*s: waiting for %lld s: %s", IMAGE_NAME(image),
		(long long)(now - image->failing_since) / 1000, image->why);
}

/* ---- counters ---- */

/* A trace may lie on no mirror. */
static bool is_on_mirror(const struct image *image)
{
	return !image->is_trace || !conf->trace[0];
}

void image_asked(struct image *image, unsigned mirror)
{
	image->stats.requests++;
	mirrors[mirror].requests += is_on_mirror(image);
}

void image_received(struct image *image, unsigned mirror, size_t size)
{
	image->stats.received += size;
	if (is_on_mirror(image))
		mirrors[mirror].received += size;
}

struct image *image_at(unsigned place, int64_t now)
{
	struct image *image = &images[place];

	if (!image->used || image->is_trace)
		return NULL;
	image->stats.failing = image->failures ? (uint64_t)(now - image->failing_since) : 0;
	return image;
}

const struct mirror_stats *mirror_at(unsigned mirror, int64_t now)
{
	mirrors[mirror].set_aside = (uint64_t)(later(health[mirror].until, now) - now);
	return &mirrors[mirror];
}
