#include "tools/check.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/date.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/page.h"
#include "base/print.h"
#include "base/units.h"
#include "net/dns.h"
#include "http.h"
#include "image/erofs.h"
#include "image/image.h"
#include "fetch/mirror.h"

#define ROUND_TRIPS	5
#define THROUGHPUT_TIME 2000000 /* microseconds */
#define STALL_MAX	10000	/* milliseconds, as in fetch/transfer.c */

static const struct conf *conf;
static struct image *image;
static struct http *http;
static char *buffer; /* BUFFER_DEFAULT bytes: the TLS handshake's, then the body's beginning */
static union address peer; /* of the connection; any.sa_family 0: there was none */
/* In microseconds: since when it has been connecting, 0: it is not; and what was measured. */
static int64_t connecting, connect_took, request_took;
static uint64_t bytes, received;  /* of the last request's body, and of all */
static uint64_t throughput_size;  /* bytes that measure it at most; 0: it is not measured */
static uint64_t throughput_bytes; /* that were received for it */
static int file_status;		  /* the exit status for the file */
static bool json;
static const char *between = ""; /* goes before the next JSON member */

/* Not in the program's own memory, all of which a worker locks. */
struct own {
	struct http http;
	struct mirror_target target; /* of the current request */
	struct tls_peer_info tls;
	char warnings[512], verdict[160]; /* verdict: the file's; empty: it is fit */
};
static struct own *own;

/* ---- the report ---- */

static void print_escaped(const char *text)
{
	for (; *text; text++) {
		if (json && (*text == '"' || *text == '\\'))
			print("\\");
		print("%c", *text < ' ' || *text > '~' ? '?' : *text);
	}
}

/* A member of a JSON object, or without a name of a list; its value follows. */
static void begin_member(const char *name)
{
	print("%s", between);
	between = ",";
	if (!name)
		return;
	print("\"");
	for (; *name; name++)
		print("%c", *name == ' ' ? '_' : *name);
	print("\":");
}

/* A line "name: text", or a member of the JSON object. */
__attribute__((format(printf, 2, 3))) static void say(const char *name, const char *format, ...)
{
	char text[URL_MAX + 512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (json)
		begin_member(name);
	else
		print("%s:%*s", name, 14 - (int)strlen(name), "");
	print(json ? "\"" : "");
	print_escaped(text);
	print(json ? "\"" : "\n");
	print_flush();
}

/* For programs only, which get it beside or instead of the text. */
static void say_number(const char *name, int64_t n)
{
	if (!json)
		return;
	begin_member(name);
	print("%lld", (long long)n);
}

__attribute__((format(printf, 1, 2))) static void warn(const char *format, ...)
{
	size_t used = strlen(own->warnings);
	va_list args;

	if (used > 0)
		used += (size_t)snprintf(own->warnings + used, sizeof(own->warnings) - used, "; ");
	va_start(args, format);
	vsnprintf(own->warnings + used, sizeof(own->warnings) - used, format, args);
	va_end(args);
}

/* ---- requests ---- */

/* Measures how long connecting takes: called before and after each step of http.c. */
static void watch_connecting(void)
{
	socklen_t size = sizeof(peer);

	if (http->state == HTTP_CONNECTING && !connecting)
		connecting = clock_us();
	if (!connecting || http_fd(http) < 0 || getpeername(http_fd(http), &peer.any, &size) < 0)
		return;
	connect_took = clock_us() - connecting;
	connecting = 0;
}

static void wait_for_more(int64_t now, int64_t by)
{
	struct pollfd set[DNS_POLL_MAX + 1];
	size_t n = dns_poll(set);
	int64_t next = sooner(sooner(http_next(http), dns_next()), by / 1000 + 1);

	if (http_fd(http) >= 0)
		set[n++] = (struct pollfd){.fd = http_fd(http), .events = http_events(http)};
	fd_poll(set, n, now / 1000, next, NULL);
	dns_run(clock_us() / 1000);
}

/* For a whole answer, in microseconds. http.c notices earlier if no byte comes. */
static int64_t answer_timeout(void)
{
	return (int64_t)conf->timeout * 2000000;
}

/* Requests a range and receives it, for `most` microseconds; the file's first bytes stay in the
 * buffer. Returns HTTP_END, HTTP_REDIRECT, HTTP_FAILED; anything else: the time is up. */
static enum http_event ask(uint64_t first, uint64_t last, int64_t most)
{
	struct http_request request = {.url = &own->target.url,
		.userinfo = own->target.userinfo,
		.proxy = own->target.proxy,
		.first = first,
		.last = last,
		.if_range = image_validator(image),
		.etag = image->pinned.etag[0] ? image->pinned.etag : NULL,
		.fields = own->target.trusted ? conf->fields : NULL,
		.user_agent = conf->user_agent,
		.stall = sooner((int64_t)conf->timeout * 1000, STALL_MAX)};
	int64_t began = clock_us(), now = began;
	enum http_event event = HTTP_WAIT;
	size_t got;

	memset(&http->response, 0, sizeof(http->response));
	connecting = 0;
	bytes = 0;
	http_start(http, &request, now / 1000);
	while (now - began < most) {
		size_t kept = (size_t)min_u64(first + bytes, BUFFER_DEFAULT / 2);

		watch_connecting();
		event = http_run(http, buffer + kept, BUFFER_DEFAULT - kept, &got, now / 1000);
		watch_connecting();
		bytes += got;
		received += got;
		if (event == HTTP_WAIT)
			wait_for_more(now, began + most);
		now = clock_us();
		if (event == HTTP_END || event == HTTP_REDIRECT || event == HTTP_FAILED)
			break;
	}
	request_took = now - began;
	return event;
}

/* ---- the server ---- */

static void say_addresses(void)
{
	const struct url *to = own->target.proxy ? own->target.proxy : &own->target.url;
	union address a[DNS_ADDRESSES_MAX];
	char text[DNS_ADDRESSES_MAX * (INET6_ADDRSTRLEN + 2)], time[32];
	size_t n, used = 0;

	say(own->target.proxy ? "proxy" : "host", "%s", to->host);
	/* http.c has just looked up the same name, so the answer is known. */
	if (dns_lookup(url_dns_name(to), to->port, clock_us() / 1000, a, &n) == DNS_FOUND) {
		for (size_t i = 0; i < n; i++) {
			used += (size_t)snprintf(text + used, 3, "%s", i > 0 ? ", " : "");
			used += strlen(address_text(text + used, &a[i]));
		}
		say("addresses", "%s", text);
	}
	if (peer.any.sa_family == 0)
		return;
	say("connected", "to %s port %u in %s", address_text(text, &peer), (unsigned)to->port,
		measure_time(time, connect_took));
}

static void say_certificate(const struct tls_cert *c)
{
	const char *name = json ? NULL : "certificate";
	char from[DATE_SIZE], to[DATE_SIZE];
	int64_t days = (c->not_after - (int64_t)time(NULL)) / 86400;

	if (c->fault) {
		say(name, "%s", c->fault);
		return;
	}
	say(name, "%s, issued by %s, %s (%u bits), valid %s to %s (%lld days left)", c->subject,
		c->issuer, c->key, c->bits, date_text(from, c->not_before),
		date_text(to, c->not_after), (long long)days);
}

static void say_tls(void)
{
	int64_t left;

	if (own->tls.version)
		say("tls", "%s, %s%s%s", own->tls.version, own->tls.cipher ? own->tls.cipher : "?",
			own->tls.curve ? ", " : "", own->tls.curve ? own->tls.curve : "");
	if (own->tls.certs == 0)
		return;
	if (json) {
		begin_member("certificates");
		print("[");
		between = "";
	}
	for (size_t i = 0; i < own->tls.certs && i < TLS_CERTS_MAX; i++)
		say_certificate(&own->tls.cert[i]);
	if (json)
		print("]");
	between = ",";
	say("names", "%s", own->tls.names);
	if (own->tls.pin[0])
		say("pin", "%s", own->tls.pin);
	left = own->tls.cert[0].not_after - (int64_t)time(NULL);
	say_number("days left", left / 86400);
	if (!own->tls.cert[0].fault && left > 0 && left < 14 * 86400)
		warn("the certificate expires in %lld days", (long long)left / 86400);
}

static void say_url(unsigned hops)
{
	char text[URL_MAX + 300];

	url_text(text, sizeof(text), &own->target.url);
	if (json && hops > 0)
		print("},{");
	between = "";
	if (hops == 0)
		say("url", "%s", text);
	else
		say("redirect", "%d to %s", http->response.status, text);
}

/* Follows the redirects to the file's own server, and requests the superblock. With HTTP_REDIRECT
 * *why is the reason. */
static enum http_event reach(const char **why)
{
	for (unsigned hops = 0;; hops++) {
		enum http_event event;

		*why = "too many redirects, a loop?";
		if (!mirror_target(&own->target, image, PART_IMAGE, clock_us() / 1000, why))
			return HTTP_REDIRECT;
		say_url(hops);
		memset(&peer, 0, sizeof(peer));
		memset(&own->tls, 0, sizeof(own->tls));
		event = ask(0, EROFS_HEAD - 1, answer_timeout());
		if (hops == 0 || peer.any.sa_family) {
			say_addresses();
			say_tls();
		}
		if (event != HTTP_REDIRECT || hops == REDIRECT_HOPS)
			return event;
		mirror_redirected(image, PART_IMAGE, own->target.mirror, &http->location);
	}
}

/* ---- the file ---- */

static void say_validator(const struct response *r)
{
	const char *value = r->etag[0] ? r->etag : r->last_modified;

	say("validator", "%s%s", r->etag[0] ? "ETag " : *value ? "Last-Modified " : "none", value);
	if (r->etag[0] && !r->etag_is_strong)
		warn("its ETag is weak, so versions that differ a little may share it");
	else if (!*value)
		warn("it names no version, so a replaced image is noticed by its size only");
}

/* Whatever head came, even a refused one. */
static void say_response(const struct response *r, bool kept)
{
	int64_t size = r->total >= 0 ? r->total : r->length;

	say("status", "%d, HTTP/1.%d", r->status, r->minor);
	if (r->status != 200 && r->status != 206)
		return;
	say("ranges", r->status == 206 ? "honoured" : "ignored");
	say_validator(r);
	say("encoding", "%s", r->encoding[0] ? r->encoding : "none");
	if (size >= 0) {
		say("size", "%lld bytes", (long long)size);
		say_number("size bytes", size);
	}
	say("connection", kept ? "kept alive" : "closed after the answer");
	if (!kept)
		warn("the server closes the connection after each answer");
}

/* The rest of the file's first bytes, of which a server may send any part. */
static enum http_event complete_head(void)
{
	uint64_t have = bytes, wanted = min_u64(EROFS_HEAD, image->pinned.size);
	int64_t until = clock_us() + answer_timeout();
	enum http_event event = HTTP_END;

	for (; event == HTTP_END && have < wanted; have += bytes)
		event = ask(have, wanted - 1, later(until - clock_us(), 0));
	bytes = have;
	return event;
}

static void say_image(void)
{
	const char *kind = erofs_file_kind(buffer, (size_t)bytes);
	bool is_compressed = erofs_kind(buffer, (size_t)bytes) == EROFS_COMPRESSED;
	uint32_t block = erofs_block_size(buffer);

	if (strcmp(kind, "EROFS") != 0) {
		say("image", "not EROFS: %s", kind);
		file_status = kind == erofs_unknown ? CHECK_UNKNOWN : 1;
		snprintf(own->verdict, sizeof(own->verdict),
			kind == erofs_unknown ? "the server is fit, but the file is no EROFS image "
						"that we know, at best a blob of one"
					      : "NOT fit: the file is %s: pack its files with "
						"mkfs.erofs",
			kind);
		return;
	}
	say("image", "EROFS, blocks of %u bytes, %s, %u extra devices", (unsigned)block,
		is_compressed ? "compressed" : "not compressed", erofs_extra_devices(buffer));
	say_number("block bytes", block);
	if (is_compressed)
		warn("the image is compressed: it takes Linux 6.9 or later, and is fetched whole");
	if (block == page_size())
		return;
	file_status = 1;
	snprintf(own->verdict, sizeof(own->verdict),
		"NOT fit: blocks of %u bytes cannot be mounted on this machine, whose pages have "
		"%zu: mkfs.erofs -b %zu",
		(unsigned)block, page_size(), page_size());
}

/* Small requests with the validator, as the daemon sends them. */
static enum http_event say_round_trip(void)
{
	int64_t times[ROUND_TRIPS];
	char time[32];

	for (int n = 0; n < ROUND_TRIPS; n++) {
		enum http_event event = ask(0, 0, answer_timeout());
		int i = n;

		if (event != HTTP_END)
			return event;
		for (; i > 0 && times[i - 1] > request_took; i--)
			times[i] = times[i - 1];
		times[i] = request_took;
	}
	say("round trip", "%s, the median of %d%s", measure_time(time, times[ROUND_TRIPS / 2]),
		ROUND_TRIPS, http->fd < 0 ? ", each with a new connection" : "");
	say_number("round trip microseconds", times[ROUND_TRIPS / 2]);
	return HTTP_END;
}

/* On a slow link the time runs out, as it is meant to. */
static enum http_event say_throughput(void)
{
	enum http_event event =
		ask(0, min_u64(image->pinned.size, throughput_size) - 1, THROUGHPUT_TIME);
	char rate[32], time[32];

	throughput_bytes = bytes;
	if (event == HTTP_FAILED || event == HTTP_REDIRECT || bytes == 0)
		return event;
	say("throughput", "%s, %llu bytes in %s", measure_rate(rate, bytes, request_took),
		(unsigned long long)bytes, measure_time(time, request_took));
	say_number("bytes per second", (int64_t)bytes * 1000000 / (request_took + 1));
	return HTTP_END;
}

/* ---- the verdict ---- */

/* With which all ends. Returns the exit status. */
static int conclude(int status, const char *verdict)
{
	if (!json) {
		print("verdict: ");
		print_escaped(verdict);
		print(" (fetched %llu bytes, %llu of them only for the throughput)\n",
			(unsigned long long)received, (unsigned long long)throughput_bytes);
		return status;
	}
	say("verdict", "%s", verdict);
	say_number("received bytes", (int64_t)received);
	say_number("throughput bytes", (int64_t)throughput_bytes);
	say_number("exit status", status);
	print("}\n");
	return status;
}

static int judge(enum http_event event, const char *why)
{
	enum outcome outcome = OUTCOME_TIMED_OUT;
	char text[2 * sizeof(own->warnings)], server[REQUEST_SERVER_MAX] = "";

	if (event == HTTP_END) {
		snprintf(text, sizeof(text), "%s%s%s",
			own->verdict[0] ? own->verdict : "fit for cachefilesd-mini",
			own->warnings[0] ? ", but: " : "", own->warnings);
		return conclude(file_status, text);
	}
	if (event == HTTP_FAILED) {
		why = http->why;
		outcome = http->outcome;
		http_server(http, server);
	} else if (event == HTTP_REDIRECT) {
		outcome = OUTCOME_REFUSED;
	} else {
		why = "the answer takes too long";
	}
	snprintf(text, sizeof(text), "NOT fit: %s (%s%s%s)", why, server, *server ? "; " : "",
		outcomes[outcome].words);
	return conclude(1, text);
}

static int inspect(void)
{
	const char *why;
	enum http_event event;
	struct response r;

	if (json)
		print("{\"hops\":[{");
	event = reach(&why);
	r = http->response;
	if (json)
		print("}]");
	between = ",";
	if (r.status)
		say_response(&r, http->fd >= 0);
	if (event != HTTP_END)
		return judge(event, why);
	image_pin(image, &r);
	why = "a redirect out of turn";
	event = complete_head();
	if (event == HTTP_END) {
		say_image();
		event = say_round_trip();
	}
	if (event == HTTP_END && throughput_size > 0)
		event = say_throughput();
	return judge(event, why);
}

size_t check_memory(const struct conf *c)
{
	return BUFFER_DEFAULT + round_to(tls_size(), 8) + sizeof(*own) + image_memory_each(c);
}

int check_run(const struct conf *c, uint64_t size, bool as_json, void *memory)
{
	int status;

	conf = c;
	throughput_size = size;
	json = as_json;
	buffer = memory;
	own = (void *)(buffer + BUFFER_DEFAULT + round_to(tls_size(), 8));
	http = &own->http;
	mirrors_init(conf);
	images_init(conf, own + 1); /* one place */
	image = image_get("", "", 0);
	http_init(http, buffer + BUFFER_DEFAULT);
	tls_describe(&own->tls);
	status = inspect();
	http_close(http);
	return status;
}
