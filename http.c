#include "http.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/minmax.h"

/* SO_RCVLOWAT is not set below LOW_WATER_MIN, where it is not worth its system call, nor above
 * LOW_WATER_MAX: with half of the first receive window or more, Linux lets that window never grow,
 * and a connection carries one in a round trip. Fewer bytes than it are looked at every
 * LOW_WATER_TICK milliseconds all the same. */
#define LOW_WATER_TICK 50
#define LOW_WATER_MIN  (8 << 10)
#define LOW_WATER_MAX  (16 << 10)

/* The low-speed rule: fewer bytes a second than this, over the stall time, count as none. */
#define LOW_SPEED 512

/* Interim (1xx) responses before the final one; more are an attack. */
#define INTERIM_MAX 8

/* A step that has moved the state and has nothing to tell yet. */
#define HTTP_AGAIN ((enum http_event) - 1)

/* ---- ends ---- */

static void close_connection(struct http *h)
{
	if (h->state == HTTP_CONNECTING)
		race_end(&h->race);
	if (h->fd >= 0 && h->url.https)
		tls_end(h->tls, h->fd);
	fd_close(&h->fd);
	h->to_skip = 0;
	h->persists = false;
}

/* Nothing is sent yet of the request under way and those behind it, and nothing has come. */
static void begin_again(struct http *h)
{
	h->head_size = h->head_done = 0;
	h->sent = h->pipelined_sent = 0;
	h->pipelined = false;
}

static enum http_event connect_again(struct http *h)
{
	close_connection(h);
	begin_again(h);
	h->state = HTTP_RESOLVING;
	return HTTP_AGAIN;
}

/* Whether a response is awaited or read. */
static bool is_answering(const struct http *h)
{
	return h->state == HTTP_PROXY_AWAITING || h->state == HTTP_AWAITING ||
	       h->state == HTTP_READING;
}

/* Whether requests behind the one under way are out, even if only in part. */
static bool is_followed(const struct http *h)
{
	return h->pipelined_sent > 0 || (is_answering(h) && h->sent > 0);
}

static bool is_tls(const struct http *h)
{
	return h->url.https && h->state != HTTP_PROXY_SENDING && h->state != HTTP_PROXY_AWAITING;
}

/* `why` holds the sentence, to which TLS may have something to add. */
static enum http_event fail_as_said(struct http *h, enum outcome outcome)
{
	const char *why = h->fd >= 0 && is_tls(h) ? tls_why(h->tls) : "";
	size_t used = strlen(h->why);

	if (*why)
		snprintf(h->why + used, sizeof(h->why) - used, "%sTLS: %s", used ? "; " : "", why);
	h->outcome = outcome;
	h->retry_after = 0;
	h->followed = is_followed(h);
	http_close(h);
	return HTTP_FAILED;
}

__attribute__((format(printf, 3, 4))) static enum http_event http_fail(
	struct http *h, enum outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(h->why, sizeof(h->why), format, args);
	va_end(args);
	return fail_as_said(h, outcome);
}

static enum http_event fail_tls(struct http *h)
{
	h->why[0] = '\0';
	return fail_as_said(h, tls_untrusted(h->tls) ? OUTCOME_UNTRUSTED : OUTCOME_UNREACHABLE);
}

/* The connection is gone. The server may close one that is kept alive at any time while it is idle,
 * and behind any response: that is no failure, the requests without an answer go out again on a
 * fresh one (RFC 9112 sections 9.3.1 and 9.3.2). */
static enum http_event lost(struct http *h, const char *doing)
{
	bool answered = h->state == HTTP_READING || (h->state == HTTP_AWAITING && h->head_size > 0);

	if (h->fresh || answered || (h->url.https && h->scratch_size < TLS_SCRATCH_MIN))
		return http_fail(h, OUTCOME_UNREACHABLE, "the connection was lost %s%s", doing,
			h->fresh && h->head_size == 0 ? request_hint(&h->request) : "");
	return connect_again(h);
}

/* Whether nothing lies behind the response. */
static bool is_quiet(const struct http *h)
{
	return h->head_done == h->head_size &&
	       (h->to_skip > 0 || !is_tls(h) || tls_is_at_rest(h->tls));
}

/* The response is over; keeps the connection if nothing of another one can be on it. */
static void finish(struct http *h, bool reusable)
{
	if (!reusable || !h->response.persistent || is_followed(h) || !is_quiet(h))
		close_connection(h);
	h->fresh = false;
	h->queued = 0;
	h->events = POLLIN;
	h->state = HTTP_IDLE;
}

/* ---- the stream: plain or TLS ---- */

enum io { IO_OK, IO_WAIT, IO_END, IO_FAILED, IO_MALFORMED };

static enum io plain_io(struct http *h, ssize_t n, short events)
{
	if (n > 0)
		return IO_OK;
	if (n == 0)
		return IO_END;
	if (errno != EAGAIN && errno != EINTR)
		return IO_FAILED;
	h->events = events;
	return IO_WAIT;
}

static enum io tls_io(struct http *h, enum tls_want want, enum io ok)
{
	if (want == TLS_OK || want == TLS_FAILED)
		return want == TLS_OK ? ok : IO_FAILED;
	h->events = (short)want;
	return IO_WAIT;
}

static enum io stream_read(struct http *h, char *buffer, size_t room, size_t *got)
{
	bool drained = h->drained && !(is_tls(h) && tls_pending(h->tls));
	ssize_t n;

	*got = 0;
	h->drained = false;
	if (drained) {
		h->events = POLLIN;
		return IO_WAIT;
	}
	if (is_tls(h)) {
		enum tls_want want = tls_read(h->tls, h->fd, buffer, room, got);

		return *got > 0 ? IO_OK : tls_io(h, want, IO_END);
	}
	n = recv(h->fd, buffer, room, 0);
	*got = n > 0 ? (size_t)n : 0;
	h->drained = n > 0 && *got < room;
	return plain_io(h, n, POLLIN);
}

static enum io stream_write(struct http *h, const char *data, size_t size, size_t *done)
{
	ssize_t n;

	*done = 0;
	if (is_tls(h))
		return tls_io(h, tls_write(h->tls, h->fd, data, size, done), IO_OK);
	n = send(h->fd, data, size, MSG_NOSIGNAL);
	*done = n > 0 ? (size_t)n : 0;
	return plain_io(h, n, POLLOUT);
}

/* ---- connecting ---- */

/* The host that the socket leads to: the proxy if there is one. */
static const struct url *peer(const struct http *h)
{
	return h->request.proxy ? h->request.proxy : &h->url;
}

/* Waits for the race, whose result is given, or fails. */
static enum http_event await_connection(struct http *h, int error)
{
	h->events = POLLOUT;
	h->state = HTTP_CONNECTING;
	if (error == EINPROGRESS)
		return HTTP_WAIT;
	return http_fail(h, error == ETIMEDOUT ? OUTCOME_TIMED_OUT : OUTCOME_UNREACHABLE,
		"connecting: %s", strerror(error));
}

static enum http_event resolve(struct http *h)
{
	const struct url *to = peer(h);
	enum dns_result result;

	assert(h->state == HTTP_RESOLVING && h->fd < 0);
	h->race.count = 0;
	result = dns_lookup(url_dns_name(to), to->port, h->now, h->race.address, &h->race.count);
	if (result == DNS_WAIT) {
		h->events = 0;
		return HTTP_WAIT;
	}
	if (result != DNS_FOUND)
		return http_fail(h, OUTCOME_UNREACHABLE, "%s: %s", to->host, dns_failure(result));
	h->progress = h->now;
	return await_connection(h, race_start(&h->race, h->now));
}

static enum http_event begin_tls(struct http *h)
{
	tls_start(h->tls, h->url.host, h->url.port, h->url.literal, h->scratch, h->scratch_size);
	h->state = HTTP_HANDSHAKING;
	return HTTP_AGAIN;
}

static enum http_event finish_connect(struct http *h)
{
	int error;

	assert(h->state == HTTP_CONNECTING && h->fd < 0);
	error = race_run(&h->race, h->now);
	if (error)
		return await_connection(h, error);
	h->fd = h->race.attempt.fd;
	h->progress = h->now;
	h->low_water = 1;
	h->drained = false;
	h->fresh = true;
	h->state = h->url.https && h->request.proxy ? HTTP_PROXY_SENDING : HTTP_SENDING;
	return is_tls(h) ? begin_tls(h) : HTTP_AGAIN;
}

static enum http_event shake_hands(struct http *h)
{
	enum io io = tls_io(h, tls_handshake(h->tls, h->fd), IO_OK);

	assert(h->state == HTTP_HANDSHAKING);
	if (io == IO_FAILED && h->scratch_size >= TLS_SCRATCH_MIN && tls_again(h->tls))
		return connect_again(h);
	if (io != IO_OK)
		return io == IO_WAIT ? HTTP_WAIT : fail_tls(h);
	h->progress = h->now;
	h->state = HTTP_SENDING;
	return HTTP_AGAIN;
}

/* ---- the request ---- */

/* The low-speed rule begins to count. */
static void begin_window(struct http *h)
{
	h->window_began = h->now;
	h->window_bytes = 0;
}

/* The request is out; the bytes behind the response before begin its response. */
static void await(struct http *h)
{
	h->interim = 0;
	if (!h->request.goes_on)
		begin_window(h);
	h->state = h->state == HTTP_PROXY_SENDING ? HTTP_PROXY_AWAITING : HTTP_AWAITING;
}

/* The request's text is the same each time, so that only the place in it is kept. */
static enum http_event send_request(struct http *h)
{
	const struct http_request *q = &h->request;
	char text[HEAD_MAX];
	size_t size, done;
	enum io io;

	assert(h->state == HTTP_SENDING || h->state == HTTP_PROXY_SENDING);
	size = h->state == HTTP_SENDING ? request_range(text, sizeof(text), q, q->first, q->last)
					: request_tunnel(text, sizeof(text), q);
	if (size >= sizeof(text))
		return http_fail(h, OUTCOME_LIMIT, "the request's head is longer than %d bytes",
			HEAD_MAX - 1);
	do {
		io = stream_write(h, text + h->sent, size - h->sent, &done);
		h->sent += done;
		if (io == IO_OK || done > 0)
			h->progress = h->now;
	} while (io == IO_OK && h->sent < size);
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io != IO_OK)
		return lost(h, "while the request was sent");
	h->sent = 0;
	if (h->state == HTTP_SENDING)
		request_log(&h->request, h->request.first, h->request.last);
	await(h);
	h->drained = true; /* the answer takes a round trip */
	return HTTP_AGAIN;
}

/* Sends the requests behind the one under way. Returns the events that the rest waits for. */
static short send_queued(struct http *h)
{
	while (h->persists && h->pipelined_sent < h->queued) {
		char text[HEAD_MAX];
		size_t sizes[PIPELINE_MAX], size = 0, done;
		unsigned count = request_ranges(text, sizeof(text), &h->request,
			h->queue + h->pipelined_sent, h->queued - h->pipelined_sent, sizes);
		enum io io;

		if (count == 0)
			break; /* it is too long, as send_request() will find */
		for (unsigned i = 0; i < count; i++)
			size += sizes[i];
		io = stream_write(h, text + h->sent, size - h->sent, &done);
		h->sent += done;
		for (unsigned i = 0; i < count && h->sent >= sizes[i]; i++) {
			h->sent -= sizes[i];
			request_log(&h->request, h->queue[h->pipelined_sent].first,
				h->queue[h->pipelined_sent].last);
			h->pipelined_sent++;
		}
		if (io == IO_WAIT)
			return h->events;
		if (io != IO_OK)
			break; /* the reader will notice, behind the bytes that have come */
	}
	return 0;
}

/* The next request becomes the one under way. */
static void advance(struct http *h)
{
	h->pipelined = is_followed(h);
	h->request.first = h->queue[0].first;
	h->request.last = h->queue[0].last;
	h->request.goes_on = false;
	memmove(h->queue, h->queue + 1, --h->queued * sizeof(*h->queue));
	h->head_size -= h->head_done;
	memmove(h->head, h->head + h->head_done, h->head_size);
	h->head_done = 0;
	h->fresh = false;
	h->progress = h->now;
	h->state = HTTP_SENDING;
	if (h->pipelined_sent == 0)
		return;
	h->pipelined_sent--;
	await(h);
}

/* ---- the response's head ---- */

/* Steps over the body of a response that is of no use, if it is short; the rest of it that has not
 * come yet is for watch_idle(). False: the body is too long, or its end unknown. */
static bool skip_body(struct http *h)
{
	const struct response *r = &h->response;
	size_t here = h->head_size - h->head_done;

	if (r->chunked || r->length < 0 || r->length > HEAD_MAX)
		return false;
	here = (size_t)min_u64(here, (uint64_t)r->length);
	h->head_done += here;
	h->to_skip = (size_t)r->length - here;
	return true;
}

/* The head gives way to the URL that it leads to. */
static enum http_event follow_redirect(struct http *h)
{
	const struct response *r = &h->response;
	char *reference, shown[160];
	const char *why;

	if (!r->location || r->location_size == 0)
		return http_fail(h, OUTCOME_REFUSED, "redirect (%d) without a Location", r->status);
	reference = h->head + (r->location - h->head);
	reference[r->location_size] = '\0';
	url_redacted(shown, sizeof(shown), reference);
	why = url_resolve(&h->location, &h->url, reference);
	if (why)
		return http_fail(h, why == url_too_long ? OUTCOME_LIMIT : OUTCOME_REFUSED,
			"redirect (%d): %s: %s", r->status, why, shown);
	race_judge(&h->race, true);
	finish(h, skip_body(h));
	return HTTP_REDIRECT;
}

static enum http_event begin_body(struct http *h)
{
	const struct response *r = &h->response;

	h->left = r->last - r->first + 1;
	memset(&h->chunked, 0, sizeof(h->chunked));
	h->persists = r->persistent && r->minor > 0 && response_is_delimited(r);
	race_judge(&h->race, true);
	h->state = HTTP_READING;
	return HTTP_STARTED;
}

/* The proxy has connected: from here on the bytes are the server's. */
static enum http_event begin_tunnel(struct http *h)
{
	if (h->head_done != h->head_size)
		return http_fail(h, OUTCOME_REFUSED, "the proxy %s sent bytes before TLS began",
			h->request.proxy->host);
	h->head_size = h->head_done = 0;
	return begin_tls(h);
}

/* A status that refuses leaves the connection as it is, so that a request for what may not be there
 * does not cost a new one. Not so a 204 or 304, which has no body whatever Content-Length it has
 * (RFC 9112 section 6.3): if one was skipped, it would be the next response. */
static enum http_event judge(struct http *h)
{
	bool tunnels = h->state == HTTP_PROXY_AWAITING;
	enum outcome outcome;

	log_debug("from %s: %d", peer(h)->host, h->response.status);
	if (!tunnels && response_redirects(&h->response))
		return follow_redirect(h);
	outcome = request_judge(&h->request, &h->response, h->why);
	if (outcome == OUTCOME_OK)
		return tunnels ? begin_tunnel(h) : begin_body(h);
	if (h->response.status < 400 || tunnels)
		return fail_as_said(h, outcome);
	h->outcome = outcome;
	h->retry_after = response_retry_after(&h->response);
	h->followed = is_followed(h);
	finish(h, skip_body(h));
	return HTTP_FAILED;
}

/* Looks at the part of the head that has come. */
static enum http_event parse_head(struct http *h)
{
	bool to_proxy = h->state == HTTP_PROXY_AWAITING;
	const char *why = "";
	ssize_t size;

	/* Interim responses are skipped, all that are there at once. */
	while ((size = (to_proxy ? response_parse_connect : response_parse)(
			&h->response, h->head, h->head_size, &why)) > 0 &&
		h->response.status < 200 && h->response.status != 101 &&
		++h->interim <= INTERIM_MAX) {
		h->head_size -= (size_t)size;
		memmove(h->head, h->head + size, h->head_size);
	}
	if (size < 0)
		return http_fail(h, OUTCOME_REFUSED, "malformed response: %s", why);
	if (size > 0 && h->response.status == 101)
		return http_fail(h, OUTCOME_REFUSED, "unasked switch of protocols (status 101)");
	if (size > 0 && h->response.status < 200)
		return http_fail(h, OUTCOME_REFUSED, "interim responses without end");
	if (size == 0 && h->head_size == sizeof(h->head))
		return http_fail(h,
			response_redirects(&h->response) ? OUTCOME_LIMIT : OUTCOME_REFUSED,
			"the response's head is longer than %d bytes", HEAD_MAX);
	h->head_done = size > 0 ? (size_t)size : h->head_size;
	return size > 0 ? judge(h) : HTTP_AGAIN;
}

static enum http_event read_head(struct http *h)
{
	size_t got;
	enum io io;

	assert(h->state == HTTP_AWAITING || h->state == HTTP_PROXY_AWAITING);
	if (h->head_done < h->head_size) /* it came behind the response before */
		return parse_head(h);
	io = stream_read(h, h->head + h->head_size, sizeof(h->head) - h->head_size, &got);
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io == IO_FAILED && is_tls(h) && tls_untrusted(h->tls))
		return fail_tls(h);
	if (io != IO_OK)
		return lost(h, "before the response's head was complete");
	h->progress = h->now;
	h->head_size += got;
	return parse_head(h);
}

/* ---- the body ---- */

/* The head buffer takes the raw bytes of the body, once those in it have been looked at. */
static enum io read_chunked(struct http *h, char *buffer, size_t room, size_t *got)
{
	size_t used;

	if (h->head_done == h->head_size) {
		enum io io = stream_read(h, h->head, sizeof(h->head), &h->head_size);

		h->head_done = 0;
		if (io != IO_OK)
			return io;
	}
	if (chunked_decode(&h->chunked, h->head + h->head_done, h->head_size - h->head_done, &used,
		    buffer, room, got) == CHUNKED_MALFORMED)
		return IO_MALFORMED;
	h->head_done += used;
	return IO_OK;
}

static enum io read_plain(struct http *h, char *buffer, size_t room, size_t *got)
{
	size_t ready = h->head_size - h->head_done;

	if (ready == 0)
		return stream_read(h, buffer, room, got);
	*got = ready < room ? ready : room;
	memcpy(buffer, h->head + h->head_done, *got);
	h->head_done += *got;
	return IO_OK;
}

/* Bytes behind the body that no request of ours has asked for make the connection useless. */
static enum http_event end_body(struct http *h)
{
	bool lasts = h->response.persistent && response_is_delimited(&h->response);

	if (h->queued > 0 && lasts && (h->pipelined_sent > 0 || is_quiet(h)))
		advance(h);
	else
		finish(h, lasts);
	return HTTP_END;
}

/* The body did not go on. Of one that the connection's end delimits that may be its own end, which
 * in TLS a close_notify has to tell (RFC 9112 section 9.8). */
static enum http_event stop_body(struct http *h, enum io io)
{
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io == IO_MALFORMED)
		return http_fail(h, OUTCOME_REFUSED, "malformed response: a chunk is wrong");
	if (io == IO_END && h->left == 0 && !response_is_delimited(&h->response) &&
		(!is_tls(h) || tls_closed_cleanly(h->tls)))
		return end_body(h);
	if (h->left == 0)
		return http_fail(h, OUTCOME_UNREACHABLE,
			"the connection was lost before the end of the body was announced");
	return http_fail(h, OUTCOME_UNREACHABLE,
		"the connection was lost %llu bytes before the end", (unsigned long long)h->left);
}

static enum http_event read_body(struct http *h, char *buffer, size_t room, size_t *got)
{
	bool chunked = h->response.chunked;
	char spare;
	enum io io;

	assert(h->state == HTTP_READING);
	if (h->left == 0 && (h->chunked.ended || h->response.length >= 0))
		return end_body(h);
	if (room == 0 && h->left > 0) {
		h->events = 0; /* the buffer is full: that is not the server's fault */
		h->progress = h->now;
		begin_window(h);
		return HTTP_WAIT;
	}
	if (h->left == 0) { /* only the body's end may come: one byte more is too many */
		buffer = &spare;
		room = 1;
	} else if (!chunked) {
		room = (size_t)min_u64(room, h->left);
	}
	io = chunked ? read_chunked(h, buffer, room, got) : read_plain(h, buffer, room, got);
	if (io != IO_OK)
		return stop_body(h, io);
	h->progress = h->now;
	h->window_bytes += *got;
	if (*got > h->left || (h->chunked.ended && *got < h->left))
		return http_fail(h, OUTCOME_REFUSED,
			"the %s and Content-Range contradict each other",
			chunked ? "chunks" : "body");
	h->left -= *got;
	return *got > 0 ? HTTP_DATA : HTTP_AGAIN;
}

/* ---- no request ---- */

/* Reads the rest of a body that was skipped. Anything else on an idle connection, its end most
 * likely, makes it useless: a response would be taken for that to the next request. */
static enum http_event watch_idle(struct http *h)
{
	char byte;
	size_t got;

	assert(h->state == HTTP_IDLE);
	while (h->fd >= 0 && h->to_skip > 0) {
		enum io io = stream_read(h, h->head, h->to_skip, &got);

		if (io == IO_WAIT)
			return HTTP_WAIT;
		if (io != IO_OK)
			close_connection(h);
		else
			h->to_skip -= got;
	}
	if (h->fd >= 0 && (!is_quiet(h) || recv(h->fd, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN))
		close_connection(h);
	return HTTP_WAIT;
}

/* ---- the public functions ---- */

void http_init(struct http *h, void *tls)
{
	h->tls = tls;
	h->fd = -1;
}

bool http_is_connected(const struct http *h, const struct url *url, const struct url *proxy)
{
	const struct url *via = h->request.proxy;

	if (h->fd < 0 || h->to_skip > 0 || race_has_failed(&h->race) ||
		!url_same_origin(&h->url, url))
		return false;
	return proxy ? via && url_same_origin(via, proxy) : !via;
}

void http_start(struct http *h, const struct http_request *request, int64_t now)
{
	assert(h->state == HTTP_IDLE && request->first <= request->last);
	if (!http_is_connected(h, request->url, request->proxy))
		close_connection(h);
	watch_idle(h); /* bytes that lie there already would be taken for the answer */
	h->url = *request->url;
	h->request = *request;
	h->request.url = &h->url;
	if (request->userinfo)
		h->request.userinfo = strcpy(h->userinfo, request->userinfo);
	h->queued = 0;
	begin_again(h);
	h->progress = now;
	h->state = h->fd < 0 ? HTTP_RESOLVING : HTTP_SENDING;
}

bool http_pipeline(struct http *h, uint64_t first, uint64_t last)
{
	assert(first <= last);
	if (h->state == HTTP_IDLE || h->queued == PIPELINE_MAX)
		return false;
	h->queue[h->queued++] = (struct http_range){first, last};
	return true;
}

void http_close(struct http *h)
{
	close_connection(h);
	h->queued = 0;
	h->state = HTTP_IDLE;
}

void http_blame(const struct http *h)
{
	race_judge(&h->race, false);
}

const char *http_server(const struct http *h, char out[REQUEST_SERVER_MAX])
{
	const struct race *r = &h->race;

	return request_server(
		out, &h->request, r->count > 0 ? &r->address[r->attempt.address] : NULL);
}

/* The state diagram: one function for each state, or for two that differ in the peer only. It goes
 * as far as it can without waiting, sets the next state and tells what happened. */
static enum http_event step(struct http *h, char *buffer, size_t room, size_t *got)
{
	switch (h->state) {
	case HTTP_IDLE:
		return watch_idle(h);
	case HTTP_RESOLVING:
		return resolve(h);
	case HTTP_CONNECTING:
		return finish_connect(h);
	case HTTP_HANDSHAKING:
		return shake_hands(h);
	case HTTP_PROXY_SENDING:
	case HTTP_SENDING:
		return send_request(h);
	case HTTP_PROXY_AWAITING:
	case HTTP_AWAITING:
		return read_head(h);
	case HTTP_READING:
		return read_body(h, buffer, room, got);
	}
	return HTTP_WAIT;
}

/* A byte now and then is as bad as none: the bytes of a stall time must be worth the wait. */
static enum http_event check_time(struct http *h)
{
	int64_t stall = h->request.stall;
	bool window_ends = is_answering(h) && h->now - h->window_began >= stall;

	if (h->now - h->progress >= stall && h->state == HTTP_RESOLVING)
		return http_fail(h, OUTCOME_TIMED_OUT, "looking up %s takes more than %lld s",
			peer(h)->host, (long long)(stall / 1000));
	if (h->now - h->progress >= stall)
		return http_fail(
			h, OUTCOME_TIMED_OUT, "no byte came for %lld s", (long long)(stall / 1000));
	if (window_ends && h->window_bytes < (uint64_t)stall * LOW_SPEED / 1000)
		return http_fail(h, OUTCOME_TIMED_OUT, "only %llu bytes came in %lld s",
			(unsigned long long)h->window_bytes, (long long)(stall / 1000));
	if (window_ends)
		begin_window(h);
	return HTTP_WAIT;
}

enum http_event http_run(struct http *h, char *buffer, size_t room, size_t *got, int64_t now)
{
	enum http_event event;

	h->now = now;
	h->scratch = buffer;
	h->scratch_size = room;
	do {
		short sending = is_answering(h) ? send_queued(h) : 0;

		*got = 0;
		event = step(h, buffer, room, got);
		if (event == HTTP_WAIT)
			h->events |= sending;
	} while (event == HTTP_AGAIN);
	return event == HTTP_WAIT && h->state != HTTP_IDLE ? check_time(h) : event;
}

/* A response whose request was pipelined is expected to be the 206. The low water mark doubles or
 * halves, since each change is a system call. */
void http_wait_for(struct http *h, size_t bytes)
{
	bool certain = h->state == HTTP_READING ? !h->response.chunked && h->left >= bytes
						: h->state == HTTP_AWAITING && h->pipelined;
	int low_water = LOW_WATER_MAX;

	if (certain && is_tls(h))
		bytes = tls_needs(h->tls, bytes);
	while ((size_t)low_water > bytes)
		low_water /= 2;
	if (!certain || low_water < LOW_WATER_MIN)
		low_water = 1;
	if (low_water == h->low_water || h->fd < 0)
		return;
	if (setsockopt(h->fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water)) == 0)
		h->low_water = low_water;
}

int http_fd(const struct http *h)
{
	return h->state == HTTP_CONNECTING ? h->race.attempt.fd : h->fd;
}

short http_events(const struct http *h)
{
	return h->events;
}

int64_t http_next(const struct http *h)
{
	int64_t next = h->progress + h->request.stall;

	if (h->state == HTTP_IDLE)
		return INT64_MAX;
	if (h->state == HTTP_CONNECTING)
		return sooner(next, race_next(&h->race, h->now));
	if (!is_answering(h))
		return next;
	if (h->low_water > 1)
		next = sooner(next, h->now + LOW_WATER_TICK);
	return sooner(next, h->window_began + h->request.stall);
}
