#include "tools/check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/date.h"
#include "base/minmax.h"
#include "base/page.h"
#include "base/units.h"
#include "net/dns.h"
#include "image/erofs.h"
#include "fetch/mirror.h"
#include "tools/check_verity.h"
#include "tools/probe.h"
#include "tools/report.h"

#define ROUND_TRIPS	5
#define THROUGHPUT_TIME 2000000 /* microseconds */

static struct image *image;
static uint64_t throughput_size;  /* bytes that measure it at most; 0: it is not measured */
static bool is_device;		  /* front nbd: the image may hold any file system */
static uint64_t throughput_bytes; /* that were received for it */

/* ---- the server ---- */

static void say_addresses(void)
{
	const struct url *to = probe->target.proxy ? probe->target.proxy : &probe->target.url;
	union address a[DNS_ADDRESSES_MAX];
	char text[DNS_ADDRESSES_MAX * (INET6_ADDRSTRLEN + 2)], time[32];
	size_t n, used = 0;

	report_say(probe->target.proxy ? "proxy" : "host", "%s", to->host);
	/* http.c has just looked up the same name, so the answer is known. */
	if (dns_lookup(url_dns_name(to), to->port, clock_us() / 1000, a, &n) == DNS_FOUND) {
		for (size_t i = 0; i < n; i++) {
			used += (size_t)snprintf(text + used, 3, "%s", i > 0 ? ", " : "");
			used += strlen(address_text(text + used, &a[i]));
		}
		report_say("addresses", "%s", text);
	}
	if (probe->peer.any.sa_family == 0)
		return;
	report_say("connected", "to %s port %u in %s", address_text(text, &probe->peer),
		(unsigned)to->port, measure_time(time, probe->connect_took));
}

static void say_certificate(const struct tls_cert *c)
{
	const char *name = report_is_json() ? NULL : "certificate";
	char from[DATE_SIZE], to[DATE_SIZE];
	int64_t days = (c->not_after - (int64_t)time(NULL)) / 86400;

	if (c->fault) {
		report_say(name, "%s", c->fault);
		return;
	}
	report_say(name, "%s, issued by %s, %s (%u bits), valid %s to %s (%lld days left)",
		c->subject, c->issuer, c->key, c->bits, date_text(from, c->not_before),
		date_text(to, c->not_after), (long long)days);
}

static void say_tls(void)
{
	int64_t left;

	if (probe->tls.version)
		report_say("tls", "%s, %s%s%s (%s)", probe->tls.version,
			probe->tls.cipher ? probe->tls.cipher : "?", probe->tls.curve ? ", " : "",
			probe->tls.curve ? probe->tls.curve : "", probe->tls.version_why);
	if (probe->tls.certs == 0)
		return;
	if (report_is_json())
		report_member("certificates");
	report_json("[", true);
	for (size_t i = 0; i < probe->tls.certs && i < TLS_CERTS_MAX; i++)
		say_certificate(&probe->tls.cert[i]);
	report_json("]", false);
	report_say("names", "%s", probe->tls.names);
	if (probe->tls.pin[0])
		report_say("pin", "%s", probe->tls.pin);
	left = probe->tls.cert[0].not_after - (int64_t)time(NULL);
	report_number("days left", left / 86400);
	if (!probe->tls.cert[0].fault && left > 0 && left < 14 * 86400)
		report_judge(0, "the certificate expires in %lld days", (long long)left / 86400);
}

static void say_url(unsigned hops)
{
	char text[URL_MAX + 300];

	url_text(text, sizeof(text), &probe->target.url);
	report_json(hops > 0 ? "},{" : "{\"hops\":[{", true);
	if (hops == 0)
		report_say("url", "%s", text);
	else
		report_say("redirect", "%d to %s", probe->http.response.status, text);
}

/* Follows the redirects to the file's own server, and requests the superblock. With HTTP_REDIRECT
 * probe->why is the reason. */
static enum http_event reach(void)
{
	for (unsigned hops = 0;; hops++) {
		enum http_event event;

		probe->why = "too many redirects, a loop?";
		if (!mirror_target(
			    &probe->target, image, PART_IMAGE, clock_us() / 1000, &probe->why))
			return HTTP_REDIRECT;
		say_url(hops);
		memset(&probe->peer, 0, sizeof(probe->peer));
		memset(&probe->tls, 0, sizeof(probe->tls));
		event = probe_ask(0, EROFS_HEAD - 1, 0, probe_answer_timeout());
		if (hops == 0 || probe->peer.any.sa_family) {
			say_addresses();
			say_tls();
		}
		if (event != HTTP_REDIRECT || hops == REDIRECT_HOPS)
			return event;
		mirror_redirected(image, PART_IMAGE, probe->target.mirror, &probe->http.location);
	}
}

/* ---- the file ---- */

static void say_validator(const struct response *r)
{
	const char *value = r->etag[0] ? r->etag : r->last_modified;

	report_say("validator", "%s%s",
		r->etag[0] ? "ETag "
		: *value   ? "Last-Modified "
			   : "none",
		value);
	if (check_verity_is_due())
		return; /* the root hash is the version */
	if (r->etag[0] && !r->etag_is_strong)
		report_judge(0, "its ETag is weak, so versions that differ a little may share it");
	else if (!*value)
		report_judge(0, "%s", image_no_version);
}

/* Whatever head came, even a refused one. */
static void say_response(const struct response *r, bool kept)
{
	int64_t size = r->total >= 0 ? r->total : r->length;

	report_say("status", "%d, HTTP/1.%d", r->status, r->minor);
	if (r->status != 200 && r->status != 206)
		return;
	report_say("ranges", r->status == 206 ? "honoured" : "ignored");
	say_validator(r);
	report_say("encoding", "%s", r->encoding[0] ? r->encoding : "none");
	if (size >= 0) {
		report_say("size", "%lld bytes", (long long)size);
		report_number("size bytes", size);
	}
	report_say("connection", kept ? "kept alive" : "closed after the answer");
	if (!kept)
		report_judge(0, "the server closes the connection after each answer");
}

static void say_image(void)
{
	const char *head = probe->buffer, *kind = erofs_file_kind(head, probe->bytes);
	bool is_compressed = erofs_kind(head, probe->bytes) == EROFS_COMPRESSED;
	uint32_t block = erofs_block_size(head);

	if (strcmp(kind, "EROFS") != 0) {
		report_say("image", "not EROFS: %s", kind);
		if (is_device)
			return;
		report_judge(kind == erofs_unknown ? CHECK_UNKNOWN : 1,
			kind == erofs_unknown ? "the server is fit, but the file is no EROFS image "
						"that we know, at best a blob of one"
					      : "NOT fit: the file is %s: pack its files with "
						"mkfs.erofs",
			kind);
		return;
	}
	report_say("image", "EROFS, blocks of %u bytes, %s, %u extra devices", (unsigned)block,
		is_compressed ? "compressed" : "not compressed", erofs_extra_devices(head));
	report_number("block bytes", block);
	if (is_compressed && !is_device)
		report_judge(0,
			"compressed: cachefiles takes it from Linux 6.9 on, and fetches it whole");
	if (block == page_size())
		return;
	report_judge(1,
		"NOT fit: blocks of %u bytes cannot be mounted on this machine, whose pages have "
		"%zu: mkfs.erofs -b %zu",
		(unsigned)block, page_size(), page_size());
}

/* Small requests with the validator, as the daemon sends them. Not of the first byte: busybox takes
 * the range 0-0, which the daemon never requests, for the whole file. */
static enum http_event say_round_trip(void)
{
	const uint64_t at = image->pinned.size > 1;
	int64_t times[ROUND_TRIPS];
	char time[32];

	probe->why = "a redirect out of turn";
	if (!mirror_target(&probe->target, image, PART_IMAGE, clock_us() / 1000, &probe->why))
		return HTTP_REDIRECT;
	for (int n = 0; n < ROUND_TRIPS; n++) {
		enum http_event event = probe_ask(at, at, 0, probe_answer_timeout());
		int i = n;

		if (event != HTTP_END)
			return event;
		for (; i > 0 && times[i - 1] > probe->request_took; i--)
			times[i] = times[i - 1];
		times[i] = probe->request_took;
	}
	report_say("round trip", "%s, the median of %d%s",
		measure_time(time, times[ROUND_TRIPS / 2]), ROUND_TRIPS,
		probe->http.fd < 0 ? ", each with a new connection" : "");
	report_number("round trip microseconds", times[ROUND_TRIPS / 2]);
	return HTTP_END;
}

/* On a slow link the time runs out, as it is meant to. */
static enum http_event say_throughput(void)
{
	enum http_event event =
		probe_ask(0, min_u64(image->pinned.size, throughput_size) - 1, 0, THROUGHPUT_TIME);
	char rate[32], time[32];
	uint64_t bytes = probe->bytes;

	throughput_bytes = bytes;
	if (event == HTTP_FAILED || event == HTTP_REDIRECT || bytes == 0)
		return event;
	report_say("throughput", "%s, %llu bytes in %s",
		measure_rate(rate, bytes, probe->request_took), (unsigned long long)bytes,
		measure_time(time, probe->request_took));
	report_number("bytes per second", (int64_t)bytes * 1000000 / (probe->request_took + 1));
	return HTTP_END;
}

/* ---- the verdict ---- */

/* Returns the exit status. */
static int judge(enum http_event event)
{
	enum outcome outcome = OUTCOME_TIMED_OUT;
	char server[REQUEST_SERVER_MAX] = "";
	const char *why = probe->why;

	if (event == HTTP_FAILED) {
		why = probe->http.why;
		outcome = probe->http.outcome;
		http_server(&probe->http, server);
	} else if (event == HTTP_REDIRECT) {
		outcome = OUTCOME_REFUSED;
	} else {
		why = "the answer takes too long";
	}
	if (event != HTTP_END)
		report_judge(1, "NOT fit: %s%s (%s%s%s)", check_part_words(), why, server,
			*server ? "; " : "", outcomes[outcome].words);
	return report_end(probe->received, throughput_bytes);
}

static int inspect(void)
{
	enum http_event event;
	struct response r;

	event = reach();
	r = probe->http.response;
	report_json("}]", false);
	if (r.status)
		say_response(&r, probe->http.fd >= 0);
	if (event != HTTP_END)
		return judge(event);
	image_pin(image, &r);
	event = probe_fetch(
		PART_IMAGE, 0, probe->bytes, (size_t)min_u64(EROFS_HEAD, image->pinned.size));
	if (event == HTTP_END) {
		say_image();
		event = check_verity(image->pinned.size);
	}
	if (event == HTTP_END)
		event = say_round_trip();
	if (event == HTTP_END && throughput_size > 0)
		event = say_throughput();
	return judge(event);
}

/* Cuts memory off. */
static void *cut(char **memory, size_t size)
{
	void *first = *memory;

	*memory += round_to(size, 16);
	return first;
}

size_t check_memory(const struct conf *c)
{
	return probe_memory() + check_verity_memory(c) + REPORT_MEMORY + image_memory_each(c) +
	       4 * 16;
}

int check_run(const struct conf *c, uint64_t size, bool json, void *memory)
{
	char *next = memory, name[KEY_MAX];
	int status;

	throughput_size = size;
	is_device = c->front == FRONT_NBD;
	mirrors_init(c);
	images_init(c, cut(&next, image_memory_each(c))); /* one place */
	image = image_get("", name, url_name(name, sizeof(name), c->url[0]));
	probe_init(c, image, cut(&next, probe_memory()));
	check_verity_init(c, image, cut(&next, check_verity_memory(c)));
	report_init(json, next);
	status = inspect();
	http_close(&probe->http);
	return status;
}
