#include "http.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* With other addresses left to try, one that does not answer is not waited for longer than this. */
#define CONNECT_PATIENCE 2000

/* Interim (1xx) responses before the final one; more are an attack. */
#define INTERIM_MAX 8

/* A step that has moved the state and has nothing to tell yet. */
#define HTTP_AGAIN ((enum http_event) - 1)

/* One function for each state: it goes as far as it can without waiting, sets the next state and
 * tells what happened. step() is the state diagram. */
static enum http_event watch_idle(struct http *h);
static enum http_event resolve(struct http *h, int64_t now);
static enum http_event connect_next(struct http *h, int64_t now);
static enum http_event finish_connect(struct http *h, int64_t now);
static enum http_event handshake(struct http *h, int64_t now);
static enum http_event send_request(struct http *h, int64_t now);
static enum http_event read_head(struct http *h, int64_t now);
static enum http_event read_body(
	struct http *h, char *buffer, size_t room, size_t *got, int64_t now);

/* ---- ends ---- */

static void close_connection(struct http *h)
{
	if (h->fd >= 0)
		close(h->fd);
	h->fd = -1;
}

__attribute__((format(printf, 3, 4))) static enum http_event fail(
	struct http *h, enum outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(h->why, sizeof(h->why), format, args);
	va_end(args);
	h->outcome = outcome;
	http_close(h);
	return HTTP_FAILED;
}

static enum http_event fail_errno(struct http *h, const char *doing)
{
	return fail(h, errno == ETIMEDOUT ? OUTCOME_TIMED_OUT : OUTCOME_UNREACHABLE, "%s: %s",
		doing, strerror(errno));
}

/* The connection is gone. One that was kept alive may have been closed at any time while it was
 * idle: that is no failure, the request goes out again on a fresh one (RFC 9112 section 9.3.1). */
static enum http_event lost(struct http *h, const char *doing)
{
	bool answered = h->state == HTTP_READING || (h->state == HTTP_AWAITING && h->head_size > 0);

	if (h->fresh || answered)
		return fail(h, OUTCOME_UNREACHABLE, "the connection was lost %s", doing);
	close_connection(h);
	h->state = HTTP_RESOLVING;
	return HTTP_AGAIN;
}

/* The response is over; keeps the connection if nothing of another one can be on it. */
static void finish(struct http *h, bool reusable)
{
	if (!reusable || !h->response.persistent || h->head_done != h->head_size)
		close_connection(h);
	h->state = HTTP_IDLE;
}

/* ---- the stream: plain or TLS ---- */

enum io { IO_OK, IO_WAIT, IO_END, IO_FAILED };

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

static enum io stream_read(struct http *h, char *buffer, size_t room, size_t *got)
{
	ssize_t n;

	*got = 0;
	if (h->url.https) {
		enum tls_want want = tls_read(h->tls, h->fd, buffer, room, got);

		if (*got > 0)
			return IO_OK;
		if (want == TLS_OK || want == TLS_FAILED)
			return want == TLS_OK ? IO_END : IO_FAILED;
		h->events = (short)want;
		return IO_WAIT;
	}
	n = recv(h->fd, buffer, room, 0);
	*got = n > 0 ? (size_t)n : 0;
	return plain_io(h, n, POLLIN);
}

static enum io stream_write(struct http *h, const char *data, size_t size, size_t *done)
{
	ssize_t n;

	*done = 0;
	if (h->url.https) {
		enum tls_want want = tls_write(h->tls, h->fd, data, size, done);

		if (want == TLS_OK || want == TLS_FAILED)
			return want == TLS_OK ? IO_OK : IO_FAILED;
		h->events = (short)want;
		return IO_WAIT;
	}
	n = send(h->fd, data, size, MSG_NOSIGNAL);
	*done = n > 0 ? (size_t)n : 0;
	return plain_io(h, n, POLLOUT);
}

/* ---- connecting ---- */

static enum http_event resolve(struct http *h, int64_t now)
{
	switch (dns_lookup(h->url.host, h->url.port, now, h->address, &h->addresses)) {
	case DNS_WAIT:
		h->events = 0;
		return HTTP_WAIT;
	case DNS_NO_SUCH_NAME:
		return fail(h, OUTCOME_UNREACHABLE, "%s: no such host name", h->url.host);
	case DNS_NO_SERVER_ANSWERED:
		return fail(h, OUTCOME_UNREACHABLE, "%s: no name server answered", h->url.host);
	case DNS_FOUND:
		break;
	}
	h->next_address = 0;
	h->progress = now;
	return connect_next(h, now);
}

/* Tries the addresses from next_address on until one begins to connect. */
static enum http_event connect_next(struct http *h, int64_t now)
{
	int one = 1;

	close_connection(h);
	errno = EADDRNOTAVAIL;
	while (h->next_address < h->addresses) {
		const union address *a = &h->address[h->next_address++];
		socklen_t size = a->any.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in4);

		h->fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (h->fd < 0)
			continue;
		setsockopt(h->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (connect(h->fd, &a->any, size) == 0 || errno == EINPROGRESS) {
			h->state = HTTP_CONNECTING;
			h->events = POLLOUT;
			h->connect_by = now + (h->next_address < h->addresses ? CONNECT_PATIENCE
									      : h->request.stall);
			h->fresh = true;
			h->head_size = h->head_done = 0;
			return HTTP_WAIT;
		}
		close_connection(h);
	}
	return fail_errno(h, "connecting");
}

static enum http_event finish_connect(struct http *h, int64_t now)
{
	struct pollfd p = {.fd = h->fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int error = 0;

	if (poll(&p, 1, 0) == 0) {
		if (now < h->connect_by)
			return HTTP_WAIT;
		error = ETIMEDOUT;
	} else {
		getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	}
	if (error) {
		if (h->next_address < h->addresses)
			return connect_next(h, now);
		errno = error;
		return fail_errno(h, "connecting");
	}
	h->progress = now;
	h->state = HTTP_SENDING;
	if (h->url.https) {
		tls_start(h->tls, h->url.host, h->url.literal, h->scratch, h->scratch_size);
		h->state = HTTP_HANDSHAKING;
	}
	return HTTP_AGAIN;
}

static enum http_event fail_tls(struct http *h)
{
	if (tls_untrusted(h->tls))
		return fail(h, OUTCOME_UNTRUSTED, "TLS: %s", tls_why(h->tls));
	return fail(h, OUTCOME_UNREACHABLE, "TLS: %s", tls_why(h->tls));
}

static enum http_event handshake(struct http *h, int64_t now)
{
	enum tls_want want = tls_handshake(h->tls, h->fd);

	if (want == TLS_FAILED)
		return fail_tls(h);
	if (want != TLS_OK) {
		h->events = (short)want;
		return HTTP_WAIT;
	}
	h->progress = now;
	h->state = HTTP_SENDING;
	return HTTP_AGAIN;
}

/* ---- the request ---- */

static void encode_base64(char *out, const char *in)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t size = strlen(in);

	for (size_t i = 0; i < size; i += 3) {
		uint32_t bits = (uint32_t)(unsigned char)in[i] << 16;
		if (i + 1 < size)
			bits |= (uint32_t)(unsigned char)in[i + 1] << 8;
		if (i + 2 < size)
			bits |= (unsigned char)in[i + 2];
		*out++ = digits[bits >> 18];
		*out++ = digits[bits >> 12 & 63];
		*out++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
		*out++ = i + 2 < size ? digits[bits & 63] : '=';
	}
	*out = '\0';
}

static void write_request(struct http *h)
{
	const struct http_request *r = &h->request;
	char authority[HOST_MAX + 16];
	char credentials[sizeof(h->url.userinfo) * 4 / 3 + 8] = "";
	int n;

	if (h->url.userinfo[0])
		encode_base64(credentials, h->url.userinfo);
	n = snprintf(h->head, sizeof(h->head),
		"GET %s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"Range: bytes=%llu-%llu\r\n"
		"%s%s%s"
		"Accept-Encoding: identity\r\n"
		"Cache-Control: no-transform\r\n"
		"User-Agent: %s\r\n"
		"%s%s%s"
		"\r\n",
		h->url.target, url_authority(authority, sizeof(authority), &h->url),
		(unsigned long long)r->first, (unsigned long long)r->last,
		r->if_range ? "If-Range: " : "", r->if_range ? r->if_range : "",
		r->if_range ? "\r\n" : "", r->user_agent,
		credentials[0] ? "Authorization: Basic " : "", credentials,
		credentials[0] ? "\r\n" : "");
	/* All parts are bounded: URL_MAX, HOST_MAX, VALIDATOR_MAX and so on fit by far. */
	h->head_size = (size_t)n;
	h->head_done = 0;
}

static enum http_event send_request(struct http *h, int64_t now)
{
	size_t done;
	enum io io;

	if (h->head_size == 0)
		write_request(h);
	io = stream_write(h, h->head + h->head_done, h->head_size - h->head_done, &done);
	h->head_done += done;
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io != IO_OK)
		return lost(h, "while the request was sent");
	h->progress = now;
	if (h->head_done < h->head_size)
		return HTTP_AGAIN;
	h->head_size = h->head_done = 0;
	h->interim = 0;
	h->state = HTTP_AWAITING;
	return HTTP_AGAIN;
}

/* ---- the response's head ---- */

static enum http_event judge_redirect(struct http *h)
{
	char reference[URL_MAX];
	const char *why = "its Location is missing or too long";

	if (!h->response.location || h->response.location_size >= sizeof(reference))
		return fail(h, OUTCOME_REFUSED, "redirect (%d): %s", h->response.status, why);
	memcpy(reference, h->response.location, h->response.location_size);
	reference[h->response.location_size] = '\0';
	if (!url_resolve(&h->location, &h->url, reference, &why))
		return fail(h, OUTCOME_REFUSED, "redirect (%d) to %s: %s", h->response.status,
			reference, why);
	finish(h, h->response.length == 0);
	return HTTP_REDIRECT;
}

/* A server that knows the pinned version answers a range request with 206 even if we send If-Range;
 * the whole image instead means that it has another version, or knows no ranges at all. */
static enum http_event judge_whole(struct http *h)
{
	const struct response *r = &h->response;

	if (r->html)
		return fail(h, OUTCOME_REFUSED,
			"a web page came instead of the image: a captive portal or proxy?");
	if (h->request.if_range && strcmp(h->request.if_range, r->etag) != 0 &&
		strcmp(h->request.if_range, r->last_modified) != 0)
		return fail(h, OUTCOME_CHANGED,
			"the image on the server was replaced: %s became %s", h->request.if_range,
			r->etag[0]	      ? r->etag
			: r->last_modified[0] ? r->last_modified
					      : "one without a validator");
	return fail(h, OUTCOME_REFUSED, "the server ignores range requests (it answered 200)");
}

/* A server that honours Range but not If-Range would mix versions: compare what it says. */
static bool is_other_version(const struct http *h)
{
	const char *pinned = h->request.if_range;
	const struct response *r = &h->response;

	if (!pinned)
		return false;
	if (pinned[0] == '"')
		return r->etag[0] && strcmp(r->etag, pinned) != 0;
	return r->last_modified[0] && strcmp(r->last_modified, pinned) != 0;
}

static enum http_event judge_partial(struct http *h)
{
	const struct response *r = &h->response;
	unsigned long long first = h->request.first, last = h->request.last;

	if (r->encoded)
		return fail(h, OUTCOME_REFUSED, "the server compressed it (Content-Encoding)");
	if (!r->has_range || r->total < 0)
		return fail(h, OUTCOME_REFUSED, "a 206 without a complete Content-Range");
	if (r->first != first || r->last > last)
		return fail(h, OUTCOME_REFUSED,
			"wrong Content-Range: bytes %llu-%llu came for %llu-%llu",
			(unsigned long long)r->first, (unsigned long long)r->last, first, last);
	h->left = r->last - r->first + 1;
	if (r->length >= 0 && (uint64_t)r->length != h->left)
		return fail(h, OUTCOME_REFUSED, "Content-Length contradicts Content-Range");
	if (is_other_version(h))
		return fail(h, OUTCOME_CHANGED,
			"the image on the server was replaced: %s became %s", h->request.if_range,
			r->etag[0] ? r->etag : r->last_modified);
	memset(&h->chunked, 0, sizeof(h->chunked));
	h->state = HTTP_READING;
	return HTTP_STARTED;
}

static enum outcome status_outcome(int status)
{
	switch (status) {
	case 404:
	case 410:
		return OUTCOME_NOT_FOUND;
	case 401:
	case 403:
	case 407:
		return OUTCOME_DENIED;
	case 408:
	case 425:
	case 429:
	case 500:
	case 502:
	case 503:
	case 504:
		return OUTCOME_BUSY;
	default:
		return OUTCOME_REFUSED;
	}
}

static enum http_event judge(struct http *h)
{
	int status = h->response.status;

	switch (status) {
	case 206:
		return judge_partial(h);
	case 200:
		return judge_whole(h);
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		return judge_redirect(h);
	case 412:
	case 416:
		if (h->request.if_range || h->request.first > 0)
			return fail(h, OUTCOME_CHANGED,
				"the image on the server was replaced (status %d, its size is now "
				"%lld)",
				status, (long long)h->response.total);
		return fail(
			h, OUTCOME_REFUSED, "the file on the server is empty (status %d)", status);
	default:
		return fail(
			h, status_outcome(status), "the server answered with status %d", status);
	}
}

static enum http_event read_head(struct http *h, int64_t now)
{
	const char *why = "";
	size_t got;
	ssize_t size;
	enum io io = stream_read(h, h->head + h->head_size, sizeof(h->head) - h->head_size, &got);

	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io == IO_FAILED && h->url.https && tls_untrusted(h->tls))
		return fail_tls(h);
	if (io != IO_OK)
		return lost(h, "before the response's head was complete");
	h->progress = now;
	h->head_size += got;
	/* Interim responses are skipped, all that are there at once. */
	while ((size = response_parse(&h->response, h->head, h->head_size, &why)) > 0 &&
		h->response.status < 200 && ++h->interim <= INTERIM_MAX) {
		h->head_size -= (size_t)size;
		memmove(h->head, h->head + size, h->head_size);
	}
	if (size < 0)
		return fail(h, OUTCOME_REFUSED, "malformed response: %s", why);
	if (size > 0 && h->response.status < 200)
		return fail(h, OUTCOME_REFUSED, "interim responses without end");
	if (size == 0 && h->head_size == sizeof(h->head))
		return fail(h, OUTCOME_REFUSED, "the response's head is longer than %d bytes",
			HEAD_MAX);
	if (size == 0)
		return HTTP_AGAIN;
	h->head_done = (size_t)size;
	return judge(h);
}

/* ---- the body ---- */

/* Fills the head buffer with raw body bytes when it has none left. */
static enum io refill(struct http *h)
{
	size_t got;
	enum io io;

	if (h->head_done < h->head_size)
		return IO_OK;
	io = stream_read(h, h->head, sizeof(h->head), &got);
	h->head_done = 0;
	h->head_size = got;
	return io;
}

static enum io read_chunked(struct http *h, char *buffer, size_t room, size_t *got)
{
	size_t used;
	enum io io = refill(h);

	if (io != IO_OK)
		return io;
	switch (chunked_decode(&h->chunked, h->head + h->head_done, h->head_size - h->head_done,
		&used, buffer, room, got)) {
	case CHUNKED_END:
		h->chunked_end = true;
		break;
	case CHUNKED_MALFORMED:
		return IO_FAILED;
	case CHUNKED_MORE:
		break;
	}
	h->head_done += used;
	return IO_OK;
}

static enum io read_plain(struct http *h, char *buffer, size_t room, size_t *got)
{
	size_t ready = h->head_size - h->head_done;

	if (room > h->left)
		room = (size_t)h->left;
	if (ready == 0)
		return stream_read(h, buffer, room, got);
	*got = ready < room ? ready : room;
	memcpy(buffer, h->head + h->head_done, *got);
	h->head_done += *got;
	return IO_OK;
}

static enum http_event read_body(
	struct http *h, char *buffer, size_t room, size_t *got, int64_t now)
{
	bool chunked = h->response.chunked;
	enum io io;

	if (h->left == 0 && (!chunked || h->chunked_end)) {
		finish(h, chunked || h->response.length >= 0);
		return HTTP_END;
	}
	if (room == 0 && h->left > 0) {
		h->events = 0; /* the buffer is full: that is not the server's fault */
		h->progress = now;
		return HTTP_WAIT;
	}
	io = chunked ? read_chunked(h, buffer, room, got) : read_plain(h, buffer, room, got);
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io != IO_OK)
		return fail(h, OUTCOME_UNREACHABLE,
			"the connection was lost %llu bytes before the end",
			(unsigned long long)h->left);
	h->progress = now;
	if (*got > h->left || (h->chunked_end && *got < h->left))
		return fail(
			h, OUTCOME_REFUSED, "the chunks and Content-Range contradict each other");
	h->left -= *got;
	return *got > 0 ? HTTP_DATA : HTTP_AGAIN;
}

/* ---- the public functions ---- */

void http_init(struct http *h, void *tls)
{
	h->tls = tls;
	h->fd = -1;
	h->state = HTTP_IDLE;
}

bool http_is_connected(const struct http *h, const struct url *url)
{
	return h->fd >= 0 && url_same_origin(&h->url, url);
}

void http_start(struct http *h, const struct http_request *request, void *scratch,
	size_t scratch_size, int64_t now)
{
	if (!http_is_connected(h, request->url))
		close_connection(h);
	h->request = *request;
	h->url = *request->url;
	h->scratch = scratch;
	h->scratch_size = scratch_size;
	h->head_size = 0;
	h->progress = now;
	h->chunked_end = false;
	h->fresh = false;
	h->state = h->fd < 0 ? HTTP_RESOLVING : HTTP_SENDING;
}

void http_close(struct http *h)
{
	close_connection(h);
	h->state = HTTP_IDLE;
}

/* Whatever arrives on an idle connection, its end most likely, makes it useless. */
static enum http_event watch_idle(struct http *h)
{
	char byte;

	h->events = POLLIN;
	if (h->fd >= 0 && (recv(h->fd, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN))
		close_connection(h);
	return HTTP_WAIT;
}

static enum http_event step(struct http *h, char *buffer, size_t room, size_t *got, int64_t now)
{
	switch (h->state) {
	case HTTP_IDLE:
		return watch_idle(h);
	case HTTP_RESOLVING:
		return resolve(h, now);
	case HTTP_CONNECTING:
		return finish_connect(h, now);
	case HTTP_HANDSHAKING:
		return handshake(h, now);
	case HTTP_SENDING:
		return send_request(h, now);
	case HTTP_AWAITING:
		return read_head(h, now);
	case HTTP_READING:
		return read_body(h, buffer, room, got, now);
	}
	return HTTP_WAIT;
}

enum http_event http_run(struct http *h, char *buffer, size_t room, size_t *got, int64_t now)
{
	enum http_event event;

	do {
		*got = 0;
		event = step(h, buffer, room, got, now);
	} while (event == HTTP_AGAIN);
	if (event == HTTP_WAIT && h->state != HTTP_IDLE && now - h->progress >= h->request.stall)
		return fail(h, OUTCOME_TIMED_OUT, "no byte came for %lld s",
			(long long)(h->request.stall / 1000));
	return event;
}

int http_fd(const struct http *h)
{
	return h->fd;
}

short http_events(const struct http *h)
{
	return h->events;
}

int64_t http_next(const struct http *h)
{
	int64_t stall = h->progress + h->request.stall;

	if (h->state == HTTP_IDLE)
		return INT64_MAX;
	return h->state == HTTP_CONNECTING && h->connect_by < stall ? h->connect_by : stall;
}
