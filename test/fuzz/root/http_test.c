/* Fuzz harness of http.c as a whole, with a server whose whole stream is the input: some requests
 * are made of it, in pieces of any size. Delivered may be only what the stream holds as the body of
 * the range that was promised, and every request must come to an end. Four bytes set the scene:
 * flags and a phase, the size of the pieces, the room for the body, the range and how many more are
 * asked for ahead. */
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "base/text.c"
#include "net/request.c"
#include "net/response.c"
#include "net/url.c"

static int server_socket(int domain, int type, int protocol);
static int server_connect(int fd, const struct sockaddr *address, socklen_t size);
#define socket	server_socket
#define connect server_connect
#include "net/connect.c"
#include "http.c"

#include "test/unit/stubs.h"

#define STREAM_MAX 65536
#define REQUESTS   6
#define STALL	   5000

enum flags { PINNED = 1, HTTPS = 2, SILENT = 4, FULL_BUFFERS = 8, PROXY = 16, HASTY = 128 };

/* ---- the server ---- */

static struct {
	const char *stream;
	size_t size, sent;
	size_t response; /* where the response under way, or the next one, begins */
	size_t piece, pieces;
	size_t pause, pause_of; /* a pause is made there, in the response that begins there */
	int fd;
	bool tunnel;	 /* TLS through a proxy, whose answer to CONNECT comes first */
	bool to_connect; /* that is the next response */
} server;

static int64_t now;

/* A connection continues with what the one before it has not been sent. */
static int server_socket(int domain, int type, int protocol)
{
	int pair[2];

	(void)domain, (void)type, (void)protocol;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
		abort();
	if (server.fd >= 0)
		close(server.fd);
	server.fd = pair[1];
	server.response = server.sent;
	server.to_connect = server.tunnel;
	return pair[0];
}

static int server_connect(int fd, const struct sockaddr *address, socklen_t size)
{
	(void)fd, (void)address, (void)size;
	return 0;
}

/* Reads the head of the response, the interim ones before it skipped. Returns the place behind it,
 * or 0 if there is no head. */
static size_t find_body(struct response *r)
{
	const char *why;
	size_t at = server.response;
	ssize_t n;

	do {
		n = (server.to_connect ? response_parse_connect : response_parse)(
			r, server.stream + at, server.size - at, &why);
		if (n <= 0)
			return 0;
		at += (size_t)n;
	} while (r->status < 200);
	return at;
}

/* Where the response ends, for a server that waits for the next request before it goes on. */
static size_t find_end(void)
{
	static char decoded[STREAM_MAX];
	struct response r;
	struct chunked c = {0};
	size_t at = find_body(&r), left = server.size - at, used = left, made;

	if (at == 0)
		return server.size;
	if (r.chunked)
		chunked_decode(&c, server.stream + at, left, &used, decoded, STREAM_MAX, &made);
	else if (r.length < (int64_t)left)
		used = r.length > 0 ? (size_t)r.length : 0;
	return at + used;
}

/* How much is sent before a pause: to the end of the response, or, behind it, all. */
static size_t before_pause(bool hasty)
{
	if (server.pause_of != server.response) {
		server.pause_of = server.response;
		server.pause = find_end();
	}
	return (!hasty && server.sent < server.pause ? server.pause : server.size) - server.sent;
}

/* Sends one piece; they grow, or a run of single bytes would take too long. At the stream's end the
 * server closes, or says nothing more while time goes by. */
static void serve(unsigned flags)
{
	char request[4096];
	size_t left = before_pause(flags & HASTY);
	ssize_t n;

	while (recv(server.fd, request, sizeof(request), 0) > 0)
		;
	if (left == 0) {
		now += 1000;
		if (!(flags & SILENT))
			shutdown(server.fd, SHUT_WR);
		return;
	}
	n = send(server.fd, server.stream + server.sent, left < server.piece ? left : server.piece,
		MSG_NOSIGNAL);
	server.sent += n > 0 ? (size_t)n : 0;
	if (++server.pieces % 64 == 0)
		server.piece *= 2;
}

/* ---- stubs ---- */

/* TLS here is plain text. It begins behind a proxy's answer. */
void tls_start(
	struct tls *t, const char *host, unsigned port, bool literal, void *scratch, size_t size)
{
	struct response r;

	(void)t, (void)host, (void)port, (void)literal, (void)scratch, (void)size;
	if (server.tunnel && (server.response = find_body(&r)) == 0)
		abort(); /* http.c has taken it as a head; the same below */
	server.to_connect = false;
}

bool tls_again(struct tls *t)
{
	(void)t;
	return false;
}

void tls_end(struct tls *t, int fd)
{
	(void)t, (void)fd;
}

enum tls_want tls_handshake(struct tls *t, int fd)
{
	(void)t, (void)fd;
	return TLS_OK;
}

enum tls_want tls_write(struct tls *t, int fd, const void *data, size_t len, size_t *done)
{
	ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

	(void)t;
	*done = n > 0 ? (size_t)n : 0;
	return *done == len ? TLS_OK : n < 0 && errno != EAGAIN ? TLS_FAILED : TLS_WANT_WRITE;
}

enum tls_want tls_read(struct tls *t, int fd, void *buffer, size_t room, size_t *got)
{
	ssize_t n = recv(fd, buffer, room, 0);

	(void)t;
	*got = n > 0 ? (size_t)n : 0;
	return n >= 0 ? TLS_OK : errno == EAGAIN ? TLS_WANT_READ : TLS_FAILED;
}

bool tls_pending(const struct tls *t)
{
	(void)t;
	return false;
}

bool tls_is_at_rest(const struct tls *t)
{
	(void)t;
	return true;
}

bool tls_closed_cleanly(const struct tls *t)
{
	(void)t;
	return true;
}

size_t tls_needs(const struct tls *t, size_t bytes)
{
	(void)t;
	return bytes;
}

bool tls_untrusted(const struct tls *t)
{
	(void)t;
	return false;
}

const char *tls_why(const struct tls *t)
{
	(void)t;
	return "stub";
}

/* ---- what a response holds, read in one piece ---- */

static struct {
	size_t end; /* where the next response would begin */
	size_t size;
	bool complete; /* it is all there, and just what was promised */
	char bytes[STREAM_MAX];
} body;

/* `closes`: the connection ends behind the stream, as a body needs it that nothing else delimits.
 */
static void read_reference(uint64_t promised, bool closes)
{
	struct response r;
	size_t at = find_body(&r), left = server.size - at, used;
	struct chunked c = {0};

	if (at == 0)
		abort();
	if (!r.chunked) {
		body.size = left < promised ? left : (size_t)promised;
		memcpy(body.bytes, server.stream + at, body.size);
		body.end = at + body.size;
		body.complete =
			body.size == promised && (r.length >= 0 || (closes && left == promised));
		return;
	}
	body.complete = chunked_decode(&c, server.stream + at, left, &used, body.bytes, STREAM_MAX,
				&body.size) == CHUNKED_END &&
			body.size == promised;
	body.end = at + used;
}

/* ---- the client ---- */

static struct http h;

static void check_started(const struct http_request *r, unsigned flags)
{
	const struct response *s = &h.response;

	if (h.state != HTTP_READING || s->status != 206 || !s->has_range || s->encoding[0])
		abort();
	if (s->first != r->first || s->last > r->last || s->total <= (int64_t)s->last)
		abort();
	if (s->length >= 0 && (uint64_t)s->length != s->last - s->first + 1)
		abort();
	if (r->etag && strcmp(s->etag, r->etag) != 0)
		abort();
	if (r->validator && !(r->etag && strcmp(r->validator, r->etag) == 0) &&
		s->last_modified[0] && strcmp(s->last_modified, r->validator) != 0)
		abort();
	read_reference(s->last - s->first + 1, !(flags & SILENT));
}

static void check_end(uint64_t delivered)
{
	if (h.state != HTTP_IDLE && h.state != HTTP_SENDING && h.state != HTTP_AWAITING)
		abort();
	if ((h.state == HTTP_IDLE && h.queued > 0) ||
		delivered != h.response.last - h.response.first + 1)
		abort();
	if (!body.complete || delivered != body.size)
		abort();
	server.response = body.end;
}

/* A body that is all there is no reason to fail. Only a status that refuses leaves the connection.
 */
static void check_failed(void)
{
	if (body.complete)
		abort();
	if (h.state != HTTP_IDLE || h.queued > 0 || h.outcome == OUTCOME_OK || !h.why[0])
		abort();
	if (http_fd(&h) < 0)
		return;
	if (h.response.status < 400)
		abort();
	server.response = find_end();
}

/* Where a redirect leads must be a URL like any other; an empty body leaves the connection. */
static void check_redirect(const struct url *from)
{
	char text[URL_MAX + HOST_MAX + 64];
	struct url again;
	struct response r;

	if (h.state != HTTP_IDLE || h.queued > 0 || (from->https && !h.location.https) ||
		url_parse(&again, url_text(text, sizeof(text), &h.location)) ||
		!url_same_origin(&again, &h.location) || (server.response = find_body(&r)) == 0)
		abort();
}

/* Ranges of 100 bytes, one behind the other. */
static void start(const struct http_request *r, unsigned ahead)
{
	uint64_t next = r->last + 1;

	http_start(&h, r, now);
	for (; ahead > 0 && http_pipeline(&h, next, next + 99); ahead--)
		next += 100;
}

/* One request to its end; *delivered tells how many bytes of the range came. */
static enum http_event fetch(const struct http_request *r, unsigned flags, char *buffer,
	size_t room, uint64_t *delivered)
{
	size_t got, calls = 0;
	enum http_event event;

	*delivered = 0;
	body.complete = false;
	for (;;) {
		/* A full buffer counts as progress: not for ever then. */
		bool endless = (flags & SILENT) && server.sent == server.size;
		bool full = (flags & FULL_BUFFERS) && !endless && (calls + (flags >> 5)) % 3 == 0;

		event = http_run(&h, buffer, full ? 0 : room, &got, now);
		if (++calls > 4 * STREAM_MAX || (event == HTTP_DATA && got > (full ? 0 : room)))
			abort();
		if (event == HTTP_WAIT && h.state == HTTP_IDLE)
			abort();
		if (event == HTTP_WAIT && server.fd >= 0) {
			http_wait_for(&h, room);
			serve(flags);
		}
		if (event == HTTP_STARTED)
			check_started(r, flags);
		if (event != HTTP_WAIT && event != HTTP_STARTED && event != HTTP_DATA)
			return event;
		if (event != HTTP_DATA)
			continue;
		if (*delivered + got > body.size ||
			*delivered + got > h.response.last - h.response.first + 1 ||
			memcmp(body.bytes + *delivered, buffer, got) != 0)
			abort();
		*delivered += got;
	}
}

/* Pins what came as fetch.c does. */
static void pin(struct http_request *r)
{
	static char etag[VALIDATOR_MAX], validator[VALIDATOR_MAX];

	strcpy(etag, h.response.etag);
	strcpy(validator, h.response.etag_is_strong ? etag : h.response.last_modified);
	r->etag = etag[0] ? etag : NULL;
	r->validator = validator[0] ? validator : NULL;
}

/* The range to go on with, which is given if it was asked for ahead. */
static void next_range(struct http_request *r, uint64_t delivered)
{
	if (h.state != HTTP_IDLE) {
		if (h.request.first != r->last + 1)
			abort();
		r->first = h.request.first;
		r->last = h.request.last;
		return;
	}
	r->first += delivered;
	if (r->first > r->last)
		r->last = r->first + 99;
}

static void run_requests(
	struct http_request *r, unsigned flags, unsigned ahead, char *buffer, size_t room)
{
	static struct url url;
	uint64_t delivered;

	url = *r->url;
	r->url = &url;
	for (int i = 0; i < REQUESTS; i++) {
		server.tunnel = r->proxy && url.https;
		if (h.state == HTTP_IDLE)
			start(r, ahead);
		switch (fetch(r, flags, buffer, room, &delivered)) {
		case HTTP_REDIRECT:
			check_redirect(&url);
			url = h.location;
			break;
		case HTTP_END:
			check_end(delivered);
			if (h.state == HTTP_IDLE)
				pin(r);
			break;
		default:
			check_failed();
		}
		next_range(r, delivered);
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const uint64_t lasts[] = {0, 99, 4095, 65535, (uint64_t)INT64_MAX - 1000};
	struct url url = {.host = "example.org", .port = 80, .target = "/i"};
	struct url proxy = {.host = "192.0.2.1", .literal = true, .port = 3128, .target = "/"};
	struct http_request r = {.url = &url, .user_agent = "fuzz", .stall = STALL};
	char *buffer;
	size_t room;

	if (size < 4 || size > STREAM_MAX)
		return 0;
	url.https = data[0] & HTTPS;
	r.proxy = data[0] & PROXY ? &proxy : NULL;
	r.validator = r.etag = data[0] & PINNED ? "\"v1\"" : NULL;
	r.first = data[3] & 8 ? 1000 : 0;
	r.last = r.first + lasts[(data[3] & 7) % 5];
	room = 1 + (size_t)data[2] * data[2];
	buffer = malloc(room);

	server.stream = (const char *)data + 4;
	server.size = size - 4;
	server.sent = server.response = server.pieces = 0;
	server.pause_of = SIZE_MAX;
	server.piece = data[1] ? data[1] : STREAM_MAX;
	server.fd = -1;
	now = 1000000;
	memset(&h, 0, sizeof(h));
	http_init(&h, NULL);
	run_requests(&r, data[0], data[3] >> 4, buffer, room);
	http_close(&h);
	if (server.fd >= 0)
		close(server.fd);
	free(buffer);
	return 0;
}
