#include "http.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"

/* RFC 8305 section 5: the next address is tried beside one that has not answered for so long. */
#define ATTEMPT_DELAY 250

/* What is less than http_wait_for() said is looked at so often all the same, in milliseconds; for
 * fewer bytes it is not worth its system call, and more may be a window's worth. */
#define LOW_WATER_TICK 50
#define LOW_WATER_MIN  (8 << 10)
#define LOW_WATER_MAX  (64 << 10)

/* Two attempts that race are looked at so often, since only the newer one is polled. */
#define RACE_TICK 25

/* The low-speed rule: fewer bytes a second than this, over the request's stall time, are none. */
#define LOW_SPEED 512

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

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_connection(struct http *h)
{
	h->unwanted = 0;
	close_fd(&h->fd);
	close_fd(&h->rival);
	h->persists = false;
}

/* Of the request under way and those behind it nothing is sent, and nothing has come. */
static void begin_anew(struct http *h)
{
	h->head_size = h->head_done = 0;
	h->sent = h->pipelined_sent = 0;
	h->pipelined = false;
}

/* Whether requests behind the one under way are out, were it in part. */
static bool is_followed(const struct http *h)
{
	return h->pipelined_sent > 0 || (h->state != HTTP_SENDING && h->sent > 0);
}

__attribute__((format(printf, 3, 4))) static enum http_event fail(
	struct http *h, enum outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(h->why, sizeof(h->why), format, args);
	va_end(args);
	h->outcome = outcome;
	h->retry_after = 0;
	h->followed = is_followed(h);
	http_close(h);
	return HTTP_FAILED;
}

static enum http_event fail_errno(struct http *h, const char *doing)
{
	return fail(h, errno == ETIMEDOUT ? OUTCOME_TIMED_OUT : OUTCOME_UNREACHABLE, "%s: %s",
		doing, strerror(errno));
}

/* The connection is gone. One that was kept alive may have been closed at any time while it was
 * idle, or behind any response: that is no failure, what was not answered goes out again on a fresh
 * one (RFC 9112 sections 9.3.1 and 9.3.2). */
static enum http_event lost(struct http *h, const char *doing)
{
	bool answered = h->state == HTTP_READING || (h->state == HTTP_AWAITING && h->head_size > 0);

	if (h->fresh || answered || (h->url.https && h->scratch_size < TLS_SCRATCH_MIN))
		return fail(h, OUTCOME_UNREACHABLE, "the connection was lost %s", doing);
	close_connection(h);
	begin_anew(h);
	h->state = HTTP_RESOLVING;
	return HTTP_AGAIN;
}

static bool is_tls(const struct http *h)
{
	return h->url.https && !h->tunnelling;
}

/* Whether nothing lies behind the response. */
static bool is_quiet(const struct http *h)
{
	return h->head_done == h->head_size &&
	       (h->unwanted > 0 || !(is_tls(h) && tls_pending(h->tls)));
}

/* The response is over; keeps the connection if nothing of another one can be on it. */
static void finish(struct http *h, bool reusable)
{
	if (!reusable || !h->response.persistent || is_followed(h) || !is_quiet(h))
		close_connection(h);
	h->aheads = 0;
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

		if (*got > 0)
			return IO_OK;
		if (want == TLS_OK || want == TLS_FAILED)
			return want == TLS_OK ? IO_END : IO_FAILED;
		h->events = (short)want;
		return IO_WAIT;
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
	if (is_tls(h)) {
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

/* The host that the socket is connected to: the proxy if there is one. */
static const struct url *peer(const struct http *h)
{
	return h->via ? h->via : &h->url;
}

static enum http_event resolve(struct http *h, int64_t now)
{
	const struct url *to = peer(h);

	switch (dns_lookup(to->host, to->port, now, h->address, &h->addresses)) {
	case DNS_WAIT:
		h->events = 0;
		return HTTP_WAIT;
	case DNS_NO_SUCH_NAME:
		return fail(h, OUTCOME_UNREACHABLE, "%s: no such host name", to->host);
	case DNS_NO_SERVER_ANSWERED:
		return fail(h, OUTCOME_UNREACHABLE, "%s: no name server answered", to->host);
	case DNS_FOUND:
		break;
	}
	h->next_address = 0;
	h->progress = now;
	return connect_next(h, now);
}

/* Begins to connect to an address. Returns the socket, or -1. */
static int begin_connect(const union address *a)
{
	socklen_t size = a->any.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in4);
	int one = 1, error;
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, &a->any, size) == 0 || errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* Tries the addresses from next_address on until one begins to connect; an attempt that is under
 * way becomes the rival, and the one before that is given up. */
static enum http_event connect_next(struct http *h, int64_t now)
{
	errno = EADDRNOTAVAIL;
	while (h->next_address < h->addresses) {
		int fd = begin_connect(&h->address[h->next_address++]);

		if (fd < 0)
			continue;
		if (h->fd >= 0) {
			close_fd(&h->rival);
			h->rival = h->fd;
			h->rival_address = h->fd_address;
		}
		h->fd = fd;
		h->fd_address = h->next_address - 1;
		h->state = HTTP_CONNECTING;
		h->events = POLLOUT;
		h->next_attempt = now + ATTEMPT_DELAY;
		h->fresh = true;
		return HTTP_WAIT;
	}
	return h->fd >= 0 ? HTTP_WAIT : fail_errno(h, "connecting");
}

/* 0: connected; EINPROGRESS: not yet; else what is wrong, and the attempt is over. */
static int look_at_attempt(int *fd)
{
	struct pollfd p = {.fd = *fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int error = 0;

	if (*fd < 0)
		return EBADF;
	if (poll(&p, 1, 0) == 0)
		return EINPROGRESS;
	getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error)
		close_fd(fd);
	return error;
}

static enum http_event connected(struct http *h, int64_t now)
{
	close_fd(&h->rival);
	dns_prefer(peer(h)->host, &h->address[h->fd_address]);
	h->progress = now;
	h->low_water = 1;
	h->drained = false;
	h->state = HTTP_SENDING;
	h->tunnelling = h->url.https && h->via;
	if (is_tls(h)) {
		tls_start(h->tls, h->url.host, h->url.literal, h->scratch, h->scratch_size);
		h->state = HTTP_HANDSHAKING;
	}
	return HTTP_AGAIN;
}

/* The attempt before goes on in the place of the newer one. */
static void promote_rival(struct http *h)
{
	close_fd(&h->fd);
	h->fd = h->rival;
	h->fd_address = h->rival_address;
	h->rival = -1;
}

static enum http_event finish_connect(struct http *h, int64_t now)
{
	int error = look_at_attempt(&h->fd), rival_error;

	if (error == 0)
		return connected(h, now);
	rival_error = look_at_attempt(&h->rival);
	if (rival_error == 0 || h->fd < 0)
		promote_rival(h);
	if (rival_error == 0)
		return connected(h, now);
	if (h->next_address < h->addresses && (h->fd < 0 || now >= h->next_attempt))
		return connect_next(h, now);
	if (h->fd >= 0)
		return HTTP_WAIT;
	errno = error;
	return fail_errno(h, "connecting");
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

/* "Basic …" of the userinfo as a whole field, or nothing. */
static const char *credentials_field(char *out, size_t size, const char *name, const struct url *u)
{
	char encoded[BASE64_SIZE(sizeof(u->userinfo))];

	out[0] = '\0';
	if (u->userinfo[0]) {
		base64_encode(encoded, u->userinfo, strlen(u->userinfo));
		snprintf(out, size, "%s: Basic %s\r\n", name, encoded);
	}
	return out;
}

/* RFC 9110 section 9.3.6. */
static int write_connect(const struct http *h, char out[HEAD_MAX])
{
	bool v6 = strchr(h->url.host, ':') != NULL;
	char to[HOST_MAX + 16], credentials[512];

	snprintf(to, sizeof(to), "%s%s%s:%u", v6 ? "[" : "", h->url.host, v6 ? "]" : "",
		(unsigned)h->url.port);
	return snprintf(out, HEAD_MAX,
		"CONNECT %s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"User-Agent: %s\r\n"
		"%s"
		"\r\n",
		to, to, h->request.user_agent,
		credentials_field(credentials, sizeof(credentials), "Proxy-Authorization", h->via));
}

/* To a proxy the target is the whole URL (RFC 9112 section 3.2.2). */
static int write_get(const struct http *h, char *out, size_t size, uint64_t first, uint64_t last)
{
	const struct http_request *r = &h->request;
	bool by_proxy = h->via && !h->url.https;
	char authority[HOST_MAX + 16], credentials[512], proxy_credentials[512] = "";

	url_authority(authority, sizeof(authority), &h->url);
	if (by_proxy)
		credentials_field(proxy_credentials, sizeof(proxy_credentials),
			"Proxy-Authorization", h->via);
	return snprintf(out, size,
		"GET %s%s%s HTTP/1.1\r\n"
		"Host: %s\r\n"
		"Range: bytes=%llu-%llu\r\n"
		"%s%s%s"
		"Accept-Encoding: identity\r\n"
		"Cache-Control: no-transform\r\n"
		"User-Agent: %s\r\n"
		"%s%s%s"
		"\r\n",
		by_proxy ? "http://" : "", by_proxy ? authority : "", h->url.target, authority,
		(unsigned long long)first, (unsigned long long)last,
		r->if_range ? "If-Range: " : "", r->if_range ? r->if_range : "",
		r->if_range ? "\r\n" : "", r->user_agent,
		credentials_field(credentials, sizeof(credentials), "Authorization", &h->url),
		proxy_credentials, r->fields ? r->fields : "");
}

/* Sends what is missing of a request: IO_OK when all is out. It is the same text each time, so that
 * only the place in it is kept. */
static enum io send_current(struct http *h)
{
	char text[HEAD_MAX];
	size_t size, done;
	enum io io;

	/* All parts of a request are bounded: URL_MAX, HOST_MAX, VALIDATOR_MAX, FIELDS_MAX. */
	size = (size_t)(h->tunnelling ? write_connect(h, text)
				      : write_get(h, text, sizeof(text), h->request.first,
						h->request.last));
	do {
		io = stream_write(h, text + h->sent, size - h->sent, &done);
		h->sent += done;
	} while (io == IO_OK && h->sent < size);
	if (io == IO_OK)
		h->sent = 0;
	return io;
}

/* The request is out, and of its response there is what came behind the one before. */
static void await(struct http *h, int64_t now)
{
	h->interim = 0;
	h->window_began = now;
	h->window_bytes = h->head_size;
	h->state = HTTP_AWAITING;
}

static enum http_event send_request(struct http *h, int64_t now)
{
	size_t before = h->sent;
	enum io io = send_current(h);

	if (h->sent != before)
		h->progress = now;
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io != IO_OK)
		return lost(h, "while the request was sent");
	await(h, now);
	h->drained = true; /* the answer takes a round trip */
	return HTTP_AGAIN;
}

/* Sends the requests behind the one under way. Returns the events that the rest waits for. */
static short send_ahead(struct http *h)
{
	while (h->persists && h->pipelined_sent < h->aheads) {
		char text[HEAD_MAX];
		size_t sizes[PIPELINE_MAX], size = 0, done;
		unsigned count = 0;
		enum io io;

		/* As many at once as fit: a packet for each would cost both sides more. */
		for (unsigned i = h->pipelined_sent; i < h->aheads; i++, count++) {
			sizes[count] = (size_t)write_get(h, text + size, sizeof(text) - size,
				h->ahead[i].first, h->ahead[i].last);
			if (sizes[count] >= sizeof(text) - size)
				break;
			size += sizes[count];
		}
		io = stream_write(h, text + h->sent, size - h->sent, &done);
		h->sent += done;
		for (unsigned i = 0; i < count && h->sent >= sizes[i]; i++) {
			h->sent -= sizes[i];
			h->pipelined_sent++;
		}
		if (io == IO_WAIT)
			return h->events;
		if (io != IO_OK)
			break; /* the reader will notice, behind what has come */
	}
	return 0;
}

/* The next request is the one under way now. */
static void advance(struct http *h, int64_t now)
{
	h->pipelined = is_followed(h);
	h->request.first = h->ahead[0].first;
	h->request.last = h->ahead[0].last;
	memmove(h->ahead, h->ahead + 1, --h->aheads * sizeof(*h->ahead));
	h->head_size -= h->head_done;
	memmove(h->head, h->head + h->head_done, h->head_size);
	h->head_done = 0;
	h->fresh = false;
	h->was_ahead = true;
	h->progress = now;
	h->state = HTTP_SENDING;
	if (h->pipelined_sent == 0)
		return;
	h->pipelined_sent--;
	await(h, now);
}

/* ---- the response's head ---- */

/* Steps over a short body that nobody wants, and leaves what is still to come of it for later. */
static bool skip_body(struct http *h)
{
	const struct response *r = &h->response;
	size_t here = h->head_size - h->head_done;

	if (r->chunked || r->length < 0 || r->length > HEAD_MAX)
		return false;
	if (here > (size_t)r->length)
		here = (size_t)r->length;
	h->head_done += here;
	h->unwanted = (size_t)r->length - here;
	return true;
}

static enum http_event judge_redirect(struct http *h)
{
	char reference[URL_MAX];
	const char *why = "its Location is missing or too long";

	if (!h->response.location || h->response.location_size >= sizeof(reference))
		return fail(h, OUTCOME_REFUSED, "redirect (%d): %s", h->response.status, why);
	memcpy(reference, h->response.location, h->response.location_size);
	reference[h->response.location_size] = '\0';
	why = url_resolve(&h->location, &h->url, reference);
	if (why)
		return fail(h, OUTCOME_REFUSED, "redirect (%d) to %s: %s", h->response.status,
			reference, why);
	finish(h, skip_body(h));
	return HTTP_REDIRECT;
}

/* Whether the response is of another version than the pinned one. A 206 has to carry the ETag that
 * a 200 would have (RFC 9110 section 15.3.7), so that a missing one is another one. Beside a weak
 * one, which an image may share with its successor, Last-Modified has to be the same as well. */
static bool is_other_version(const struct http *h)
{
	const struct http_request *q = &h->request;
	const struct response *r = &h->response;

	if (q->etag && strcmp(r->etag, q->etag) != 0)
		return true;
	if (!q->if_range || (q->etag && strcmp(q->if_range, q->etag) == 0))
		return false; /* nothing is pinned, or the strong ETag */
	return r->last_modified[0] && strcmp(r->last_modified, q->if_range) != 0;
}

static enum http_event fail_changed(struct http *h)
{
	const struct http_request *q = &h->request;
	const struct response *r = &h->response;
	bool by_etag = q->etag && strcmp(r->etag, q->etag) != 0;
	const char *now = by_etag && r->etag[0] ? r->etag : r->last_modified;

	return fail(h, OUTCOME_CHANGED, "the image on the server was replaced: %s became %s",
		by_etag ? q->etag : q->if_range, now[0] ? now : "one without a validator");
}

/* The whole file in answer to a range: with If-Range the server may have another version; else it
 * knows no ranges. */
static enum http_event judge_whole(struct http *h)
{
	if (h->response.html)
		return fail(h, OUTCOME_REFUSED,
			"a web page came instead of the image: a captive portal or proxy?");
	/* Without any version it may be a page of maintenance: not the image's end. */
	if (is_other_version(h) && (h->response.etag[0] || h->response.last_modified[0]))
		return fail_changed(h);
	return fail(h, OUTCOME_REFUSED, "the server ignores range requests (it answered 200)");
}

/* Whether the body ends before the connection does. */
static bool is_delimited(const struct response *r)
{
	return r->chunked || r->length >= 0;
}

static enum http_event judge_partial(struct http *h)
{
	const struct response *r = &h->response;
	unsigned long long first = h->request.first, last = h->request.last;

	if (r->encoded)
		return fail(h, OUTCOME_REFUSED, "the server compressed it (Content-Encoding)");
	if (r->multipart)
		return fail(h, OUTCOME_REFUSED, "a multipart 206 for a single range");
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
		return fail_changed(h);
	memset(&h->chunked, 0, sizeof(h->chunked));
	h->chunked_end = false;
	h->persists = r->persistent && r->minor > 0 && is_delimited(r);
	h->state = HTTP_READING;
	return HTTP_STARTED;
}

/* 412 and 416: there is no such range, or no such version any more. */
static enum http_event judge_absent(struct http *h)
{
	const struct http_request *q = &h->request;
	const char *pinned = q->etag ? q->etag : q->if_range;
	int status = h->response.status;

	if (!pinned && q->first == 0)
		return fail(
			h, OUTCOME_REFUSED, "the file on the server is empty (status %d)", status);
	if (h->response.total < 0)
		return fail(h, OUTCOME_CHANGED,
			"the image on the server was replaced: %s became another (status %d)",
			pinned ? pinned : "it", status);
	return fail(h, OUTCOME_CHANGED,
		"the image on the server was replaced: %s became one of %lld bytes (status %d)",
		pinned ? pinned : "it", (long long)h->response.total, status);
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

/* What Retry-After asks for, in milliseconds. A date is counted by the server's clock, or by ours
 * if it sent none. */
static int64_t retry_after(const struct response *r)
{
	int64_t seconds = r->retry_after;

	if (seconds < 0 && r->retry_date >= 0)
		seconds = r->retry_date - (int64_t)time(NULL);
	if (seconds < 0)
		return 0;
	return seconds < INT64_MAX / 1000 ? seconds * 1000 : INT64_MAX;
}

/* After an error the connection stays: whoever asks for what may not be there should not pay for a
 * new one. Not after others: a 204 or 304 has no body, whatever Content-Length it has (RFC 9112
 * section 6.3), and one that was skipped all the same would be the next response. */
static enum http_event judge_status(struct http *h)
{
	h->retry_after = retry_after(&h->response);
	h->outcome = status_outcome(h->response.status);
	snprintf(h->why, sizeof(h->why), "the server answered with status %d", h->response.status);
	h->followed = is_followed(h);
	finish(h, h->response.status >= 400 && skip_body(h));
	return HTTP_FAILED;
}

/* The proxy's answer to CONNECT: from here on the bytes are the server's. */
static enum http_event judge_tunnel(struct http *h)
{
	int status = h->response.status;

	if (status == 407)
		return fail(h, OUTCOME_DENIED,
			"the proxy %s wants a user name and password (status 407)", h->via->host);
	if (status < 200 || status > 299)
		return fail(h, OUTCOME_UNREACHABLE,
			"the proxy %s does not connect to %s (status %d)", h->via->host,
			h->url.host, status);
	if (h->head_done != h->head_size)
		return fail(h, OUTCOME_REFUSED, "the proxy %s sent bytes before TLS began",
			h->via->host);
	h->tunnelling = false;
	h->head_size = h->head_done = 0;
	tls_start(h->tls, h->url.host, h->url.literal, h->scratch, h->scratch_size);
	h->state = HTTP_HANDSHAKING;
	return HTTP_AGAIN;
}

static enum http_event judge(struct http *h)
{
	int status = h->response.status;

	if (h->tunnelling)
		return judge_tunnel(h);
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
		return judge_absent(h);
	default:
		return judge_status(h);
	}
}

/* Looks at what has come of the head. */
static enum http_event parse_head(struct http *h)
{
	const char *why = "";
	ssize_t size;

	/* Interim responses are skipped, all that are there at once. */
	while ((size = response_parse(&h->response, h->head, h->head_size, &why)) > 0 &&
		h->response.status < 200 && h->response.status != 101 &&
		++h->interim <= INTERIM_MAX) {
		h->head_size -= (size_t)size;
		memmove(h->head, h->head + size, h->head_size);
	}
	if (size < 0)
		return fail(h, OUTCOME_REFUSED, "malformed response: %s", why);
	if (size > 0 && h->response.status == 101)
		return fail(
			h, OUTCOME_REFUSED, "the server switches protocols unasked (status 101)");
	if (size > 0 && h->response.status < 200)
		return fail(h, OUTCOME_REFUSED, "interim responses without end");
	if (size == 0 && h->head_size == sizeof(h->head))
		return fail(h, OUTCOME_REFUSED, "the response's head is longer than %d bytes",
			HEAD_MAX);
	h->head_done = size > 0 ? (size_t)size : h->head_size;
	return size > 0 ? judge(h) : HTTP_AGAIN;
}

static enum http_event read_head(struct http *h, int64_t now)
{
	size_t got;
	enum io io;

	if (h->head_done < h->head_size) /* it came behind the response before */
		return parse_head(h);
	io = stream_read(h, h->head + h->head_size, sizeof(h->head) - h->head_size, &got);
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io == IO_FAILED && is_tls(h) && tls_untrusted(h->tls))
		return fail_tls(h);
	if (io != IO_OK)
		return lost(h, "before the response's head was complete");
	h->progress = now;
	h->window_bytes += got;
	h->head_size += got;
	return parse_head(h);
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
	char spare;
	size_t used;
	enum io io = refill(h);

	if (io != IO_OK)
		return io;
	if (h->left == 0) { /* only the coding's end may come: one byte more is too many */
		buffer = &spare;
		room = 1;
	}
	switch (chunked_decode(&h->chunked, h->head + h->head_done, h->head_size - h->head_done,
		&used, buffer, room, got)) {
	case CHUNKED_END:
		h->chunked_end = true;
		break;
	case CHUNKED_MALFORMED:
		return IO_MALFORMED;
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

/* Without a request of ours for it, what lies behind the body makes the connection useless. */
static enum http_event end_body(struct http *h, int64_t now)
{
	bool lasts = h->response.persistent && is_delimited(&h->response);

	if (h->aheads > 0 && lasts && (h->pipelined_sent > 0 || is_quiet(h)))
		advance(h, now);
	else
		finish(h, lasts);
	return HTTP_END;
}

static enum http_event read_body(
	struct http *h, char *buffer, size_t room, size_t *got, int64_t now)
{
	bool chunked = h->response.chunked;
	enum io io;

	if (h->left == 0 && (!chunked || h->chunked_end))
		return end_body(h, now);
	if (room == 0 && h->left > 0) {
		h->events = 0; /* the buffer is full: that is not the server's fault */
		h->progress = h->window_began = now;
		h->window_bytes = 0;
		return HTTP_WAIT;
	}
	io = chunked ? read_chunked(h, buffer, room, got) : read_plain(h, buffer, room, got);
	if (io == IO_WAIT)
		return HTTP_WAIT;
	if (io == IO_MALFORMED)
		return fail(h, OUTCOME_REFUSED, "malformed response: a chunk is wrong");
	if (io != IO_OK)
		return fail(h, OUTCOME_UNREACHABLE,
			"the connection was lost %llu bytes before the end",
			(unsigned long long)h->left);
	h->progress = now;
	h->window_bytes += *got;
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
	h->fd = h->rival = -1;
	h->state = HTTP_IDLE;
}

bool http_is_connected(const struct http *h, const struct url *url, const struct url *proxy)
{
	if (h->fd < 0 || h->unwanted > 0 || !url_same_origin(&h->url, url))
		return false;
	return proxy ? h->via && url_same_origin(h->via, proxy) : !h->via;
}

void http_start(struct http *h, const struct http_request *request, void *scratch,
	size_t scratch_size, int64_t now)
{
	if (!http_is_connected(h, request->url, request->proxy))
		close_connection(h);
	watch_idle(h); /* what lies there already would be taken for the answer */
	h->request = *request;
	h->url = *request->url;
	h->via = request->proxy;
	h->scratch = scratch;
	h->scratch_size = scratch_size;
	h->aheads = 0;
	h->was_ahead = false;
	begin_anew(h);
	h->progress = now;
	h->tunnelling = false;
	h->fresh = false;
	h->state = h->fd < 0 ? HTTP_RESOLVING : HTTP_SENDING;
}

bool http_pipeline(struct http *h, uint64_t first, uint64_t last)
{
	if (h->state == HTTP_IDLE || h->aheads == PIPELINE_MAX)
		return false;
	h->ahead[h->aheads++] = (struct http_range){first, last};
	return true;
}

unsigned http_queued(const struct http *h)
{
	return h->aheads;
}

void http_close(struct http *h)
{
	close_connection(h);
	h->aheads = 0;
	h->state = HTTP_IDLE;
}

/* Whatever arrives on an idle connection, its end most likely, makes it useless. */
static enum http_event watch_idle(struct http *h)
{
	char byte;
	size_t got;

	while (h->fd >= 0 && h->unwanted > 0) {
		enum io io = stream_read(h, h->head, h->unwanted, &got);

		if (io == IO_WAIT)
			return HTTP_WAIT;
		if (io != IO_OK)
			close_connection(h);
		else
			h->unwanted -= got;
	}
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

static bool is_answering(const struct http *h)
{
	return h->state == HTTP_AWAITING || h->state == HTTP_READING;
}

/* A byte now and then is as bad as none: what comes in a stall time must be worth waiting for. */
static bool is_too_slow(struct http *h, int64_t now)
{
	int64_t length = now - h->window_began;
	bool slow = h->window_bytes < (uint64_t)h->request.stall * LOW_SPEED / 1000;

	if (!is_answering(h) || length < h->request.stall)
		return false;
	if (!slow) {
		h->window_began = now;
		h->window_bytes = 0;
	}
	return slow;
}

static enum http_event check_time(struct http *h, int64_t now)
{
	if (now - h->progress >= h->request.stall)
		return fail(h, OUTCOME_TIMED_OUT, "no byte came for %lld s",
			(long long)(h->request.stall / 1000));
	if (is_too_slow(h, now))
		return fail(h, OUTCOME_TIMED_OUT, "only %llu bytes came in %lld s",
			(unsigned long long)h->window_bytes, (long long)(h->request.stall / 1000));
	return HTTP_WAIT;
}

enum http_event http_run(struct http *h, char *buffer, size_t room, size_t *got, int64_t now)
{
	enum http_event event;

	h->looked = now;
	if (h->was_ahead && (h->state == HTTP_SENDING || h->state == HTTP_AWAITING)) {
		h->scratch = buffer;
		h->scratch_size = room;
	}
	do {
		short sending = is_answering(h) ? send_ahead(h) : 0;

		*got = 0;
		event = step(h, buffer, room, got, now);
		if (event == HTTP_WAIT)
			h->events |= sending;
	} while (event == HTTP_AGAIN);
	if (event == HTTP_WAIT && h->state != HTTP_IDLE)
		return check_time(h, now);
	return event;
}

/* Of a response whose request was sent ahead nothing but what was asked for is expected. In steps
 * of two, since each change is a system call. */
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
	return h->fd;
}

short http_events(const struct http *h)
{
	return h->events;
}

int64_t http_next(const struct http *h)
{
	int64_t next = h->progress + h->request.stall;

	switch (h->state) {
	case HTTP_IDLE:
		return INT64_MAX;
	case HTTP_CONNECTING:
		if (h->next_address < h->addresses)
			next = sooner(next, h->next_attempt);
		return h->rival >= 0 ? sooner(next, h->looked + RACE_TICK) : next;
	case HTTP_AWAITING:
	case HTTP_READING:
		if (h->low_water > 1)
			next = sooner(next, h->looked + LOW_WATER_TICK);
		return sooner(next, h->window_began + h->request.stall);
	default:
		return next;
	}
}
