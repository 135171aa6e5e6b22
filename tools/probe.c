#include "tools/probe.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/minmax.h"
#include "base/page.h"
#include "net/dns.h"

#define STALL_MAX 10000 /* milliseconds, as in fetch/transfer.c */

struct probe *probe;
static const struct conf *conf;
static struct image *image;

size_t probe_memory(void)
{
	return BUFFER_DEFAULT + round_to(tls_size(), 8) + round_to(sizeof(*probe), 16);
}

void probe_init(const struct conf *c, struct image *i, void *memory)
{
	conf = c;
	image = i;
	probe = memory;
	probe->buffer = (char *)memory + round_to(sizeof(*probe), 16);
	http_init(&probe->http, probe->buffer + BUFFER_DEFAULT);
	tls_describe(&probe->tls);
}

/* Measures how long connecting takes: called before and after each step of http.c. */
static void watch_connecting(void)
{
	socklen_t size = sizeof(probe->peer);
	int fd = http_fd(&probe->http);

	if (probe->http.state == HTTP_CONNECTING && !probe->connecting)
		probe->connecting = clock_us();
	if (!probe->connecting || fd < 0 || getpeername(fd, &probe->peer.any, &size) < 0)
		return;
	probe->connect_took = clock_us() - probe->connecting;
	probe->connecting = 0;
}

static void wait_for_more(int64_t now, int64_t by)
{
	struct pollfd set[DNS_POLL_MAX + 1];
	size_t n = dns_poll(set);
	int64_t next = sooner(sooner(http_next(&probe->http), dns_next()), by / 1000 + 1);

	if (http_fd(&probe->http) >= 0)
		set[n++] = (struct pollfd){
			.fd = http_fd(&probe->http), .events = http_events(&probe->http)};
	fd_poll(set, n, now / 1000, next, NULL);
	dns_run(clock_us() / 1000);
}

int64_t probe_answer_timeout(void)
{
	return (int64_t)conf->timeout * 2000000;
}

enum http_event probe_ask(uint64_t first, uint64_t last, size_t place, int64_t most)
{
	bool by_version = probe->part == PART_IMAGE && !image_tree(image);
	struct http_request request = {.url = &probe->target.url,
		.userinfo = probe->target.userinfo,
		.proxy = probe->target.proxy,
		.first = first,
		.last = last,
		.validator = by_version ? image_validator(image) : NULL,
		.etag = by_version && image->pinned.etag[0] ? image->pinned.etag : NULL,
		.fields = probe->target.trusted ? conf->fields : NULL,
		.user_agent = conf->user_agent,
		.stall = sooner((int64_t)conf->timeout * 1000, STALL_MAX)};
	int64_t began = clock_us(), now = began;
	enum http_event event = HTTP_WAIT;
	struct http *http = &probe->http;
	size_t got;

	memset(&http->response, 0, sizeof(http->response));
	probe->connecting = 0;
	probe->bytes = 0;
	http_start(http, &request, now / 1000);
	while (now - began < most) {
		size_t kept = (size_t)min_u64(place + probe->bytes, BUFFER_DEFAULT / 2);

		watch_connecting();
		event = http_run(
			http, probe->buffer + kept, BUFFER_DEFAULT - kept, &got, now / 1000);
		watch_connecting();
		probe->bytes += got;
		probe->received += got;
		if (event == HTTP_WAIT)
			wait_for_more(now, began + most);
		now = clock_us();
		if (event == HTTP_END || event == HTTP_REDIRECT || event == HTTP_FAILED)
			break;
	}
	probe->request_took = now - began;
	return event;
}

enum http_event probe_fetch(enum image_part part, uint64_t first, size_t have, size_t size)
{
	int64_t until = clock_us() + probe_answer_timeout();
	enum http_event event = HTTP_END;
	uint64_t end = first + size;
	unsigned hops = 0;

	probe->part = part;
	while (event == HTTP_END && first + have < end) {
		probe->why = "too many redirects, a loop?";
		if (!mirror_target(&probe->target, image, part, clock_us() / 1000, &probe->why))
			return HTTP_REDIRECT;
		event = probe_ask(first + have, end - 1, have, later(until - clock_us(), 0));
		if (event == HTTP_REDIRECT && hops++ < REDIRECT_HOPS) {
			mirror_redirected(image, part, probe->target.mirror, &probe->http.location);
			event = HTTP_END;
			continue;
		}
		have += probe->bytes;
		if (event == HTTP_END)
			end = min_u64(end, (uint64_t)probe->http.response.total);
	}
	probe->bytes = have;
	return event;
}
