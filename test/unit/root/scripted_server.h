/* scripted_server.h - http.c and tls.c, whose connections are socket pairs with a scripted server
 * at the other end. A test includes it in place of the sources. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/ciphers.c"
#include "trust/constraints.c"
#include "trust/x509.c"
#include "trust/client_cert.c"

#include "base/text.c"
#include "base/words.c"
#include "net/request.c"
#include "net/response.c"
#include "net/url.c"
#include "trust/roots.c"
#include "trust/origins.c"
#include "trust/tls13.c"
#include "trust/tls13_keys.c"
#include "trust/tls13_messages.c"
#include "trust/tls13_sign.c"
#include "trust/tls_words.c"
#include "tls.c"

static int server_socket(int domain, int type, int protocol);
static int server_connect(int fd, const struct sockaddr *address, socklen_t size);
static ssize_t client_send(int fd, const void *data, size_t size, int flags);
#define socket(...)  server_socket(__VA_ARGS__)
#define send(...)    client_send(__VA_ARGS__)
#define connect(...) server_connect(__VA_ARGS__)
#include "net/connect.c"
#include "http.c"

#include <sys/mman.h>

#include "test/unit/certs.h"
#include "test/unit/check.h"
#include "test/unit/stubs.h"

#define RANGES (PIPELINE_MAX + 4)
#define TOTAL  1000000

/* ---- the server ---- */

/* Says what comes in answer to a connection's n-th request (from 0), with reply() and body(). */
typedef void answer(unsigned n, uint64_t first, uint64_t last);

static struct {
	/* the script */
	answer *answer;
	bool tls;
	size_t piece;	    /* bytes in a send */
	size_t cut;	    /* none goes beyond this place */
	size_t hold;	    /* a connection's bytes from here on wait ... */
	unsigned hold_for;  /* ... for this many requests on it */
	unsigned hold_new;  /* hold and hold_for become 0 and this with the second connection */
	bool deaf;	    /* it reads nothing, whatever comes */
	bool tcp;	    /* with small buffers */
	size_t wire;	    /* bytes of TLS records that may still leave */
	unsigned answering; /* connections that say anything at all, the others close at once */

	/* its state */
	unsigned connections;
	int fd;		   /* -1: closed */
	unsigned requests; /* on this connection */
	char in[65536], out[65536];
	size_t in_size, out_size, sent;
	bool closing; /* when all is sent */
	br_ssl_server_context context;
	uint8_t records[BR_SSL_BUFSIZE_BIDI];
} server;

static char byte_at(uint64_t offset)
{
	return (char)(offset * 7 + (offset >> 8) * 13 + 5);
}

static void reply(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void reply(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	server.out_size += (size_t)vsnprintf(
		server.out + server.out_size, sizeof(server.out) - server.out_size, format, list);
	va_end(list);
}

static void head(uint64_t first, uint64_t last, const char *fields)
{
	reply("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %llu-%llu/%d\r\n%s\r\n",
		(unsigned long long)first, (unsigned long long)last, TOTAL, fields);
}

static void body(uint64_t first, uint64_t last)
{
	while (first <= last)
		server.out[server.out_size++] = byte_at(first++);
}

static void good(unsigned n, uint64_t first, uint64_t last)
{
	char field[64];

	(void)n;
	snprintf(field, sizeof(field), "Content-Length: %d\r\n", (int)(last - first + 1));
	head(first, last, field);
	body(first, last);
}

/* Plain sends take but a part where a socket's buffer gets full. */
static ssize_t client_send(int fd, const void *data, size_t size, int flags)
{
	return (send)(fd, data, server.tcp && size > 700 ? 700 : size, flags);
}

static void start_tls_server(void)
{
	static const uint8_t seed_bytes[32];
	br_ssl_engine_context *e = &server.context.eng;

	br_ssl_server_init_minf2c(&server.context, own.cert, own.certs, &own.ec);
	br_ssl_engine_set_buffer(e, server.records, sizeof(server.records), 1);
	br_ssl_engine_inject_entropy(e, seed_bytes, sizeof(seed_bytes));
	br_ssl_server_reset(&server.context);
}

static void hang_up(void)
{
	if (server.fd >= 0)
		close(server.fd);
	server.fd = -1;
}

static void make_tcp_pair(int pair[2])
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(name);
	int listener = (socket)(AF_INET, SOCK_STREAM, 0), small = 4096;

	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(listener, (struct sockaddr *)&name, size) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *)&name, &size) != 0)
		abort();
	pair[0] = (socket)(AF_INET, SOCK_STREAM, 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	if ((connect)(pair[0], (struct sockaddr *)&name, size) != 0)
		abort();
	pair[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	close(listener);
}

static int server_socket(int domain, int type, int protocol)
{
	int pair[2];

	(void)domain, (void)type, (void)protocol;
	if (server.tcp)
		make_tcp_pair(pair);
	else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0)
		abort();
	hang_up();
	server.fd = pair[1];
	server.requests = 0;
	server.in_size = server.out_size = server.sent = 0;
	server.closing = false;
	if (server.connections == 1 && server.hold_new) {
		server.hold = 0;
		server.hold_for = server.hold_new;
	}
	if (++server.connections > server.answering)
		hang_up();
	else if (server.tls)
		start_tls_server();
	return pair[0];
}

static int server_connect(int fd, const struct sockaddr *address, socklen_t size)
{
	(void)fd, (void)address, (void)size;
	return 0;
}

static void read_requests(void)
{
	char *end;

	while ((end = memmem(server.in, server.in_size, "\r\n\r\n", 4))) {
		size_t size = (size_t)(end + 4 - server.in);
		unsigned long long first, last;
		char *range = memmem(server.in, size, "Range: bytes=", 13);

		if (memcmp(server.in, "GET /image HTTP/1.1\r\n", 21) != 0 || !range ||
			sscanf(range + 13, "%llu-%llu", &first, &last) != 2)
			abort();
		server.in_size -= size;
		memmove(server.in, server.in + size, server.in_size);
		if (!server.closing)
			server.answer(server.requests, first, last);
		server.requests++;
	}
}

/* How many bytes may be sent now. */
static size_t sendable(void)
{
	size_t end = server.out_size;

	if (server.requests < server.hold_for && server.hold < end)
		end = server.hold;
	if (server.sent < server.cut && server.cut < end)
		end = server.cut;
	end -= end < server.sent ? end : server.sent;
	return end < server.piece ? end : server.piece;
}

/* Moves records, and data in and out of them. Returns whether any moved. */
static bool serve_tls(void)
{
	br_ssl_engine_context *e = &server.context.eng;
	unsigned state = br_ssl_engine_current_state(e);
	size_t size, before = server.in_size + server.sent;
	uint8_t *data;
	ssize_t n = 0;

	if (state & BR_SSL_RECVAPP) {
		data = br_ssl_engine_recvapp_buf(e, &size);
		memcpy(server.in + server.in_size, data, size);
		server.in_size += size;
		br_ssl_engine_recvapp_ack(e, size);
	}
	if ((state & BR_SSL_SENDAPP) && sendable() > 0) {
		data = br_ssl_engine_sendapp_buf(e, &size);
		size = size < sendable() ? size : sendable();
		memcpy(data, server.out + server.sent, size);
		server.sent += size;
		br_ssl_engine_sendapp_ack(e, size);
		br_ssl_engine_flush(e, 0);
	}
	if ((data = br_ssl_engine_sendrec_buf(e, &size)) && server.wire > 0 &&
		(n = (send)(server.fd, data, size < server.wire ? size : server.wire,
			 MSG_NOSIGNAL)) > 0) {
		br_ssl_engine_sendrec_ack(e, (size_t)n);
		server.wire -= (size_t)n;
	} else if (!server.deaf && (data = br_ssl_engine_recvrec_buf(e, &size)) &&
		   (n = recv(server.fd, data, size, 0)) > 0)
		br_ssl_engine_recvrec_ack(e, (size_t)n);
	return n > 0 || server.in_size + server.sent != before;
}

static bool serve_plain(void)
{
	ssize_t in = -1, out = -1;

	if (!server.deaf)
		in = recv(server.fd, server.in + server.in_size, sizeof(server.in) - server.in_size,
			0);
	server.in_size += in > 0 ? (size_t)in : 0;
	if (sendable() > 0)
		out = (send)(server.fd, server.out + server.sent, sendable(), MSG_NOSIGNAL);
	server.sent += out > 0 ? (size_t)out : 0;
	return in > 0 || out > 0;
}

/* Returns whether it has done anything. */
static bool serve(void)
{
	bool moved;

	if (server.fd < 0)
		return false;
	moved = server.tls ? serve_tls() : serve_plain();
	read_requests();
	if (!moved && server.closing && server.sent == server.out_size) {
		hang_up();
		return true;
	}
	return moved || (!server.tls && sendable() > 0 && !server.deaf);
}

static void endless(unsigned n, uint64_t first, uint64_t last)
{
	(void)n;
	head(first, last, "");
	body(first, last);
}

static void until_close(unsigned n, uint64_t first, uint64_t last)
{
	endless(n, first, last);
	server.closing = true;
}

/* ---- the client ---- */

/* The server has our own certificate, and its key is pinned. */
static void trust_server(void)
{
	static uint8_t pin[1][PIN_SIZE];
	int fd = memfd_create("pem", 0);
	char path[64], text[256];
	struct cert c;

	if (write(fd, cert_pem, strlen(cert_pem)) < 0 || write(fd, key_pem, strlen(key_pem)) < 0)
		abort();
	fchmod(fd, 0600);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!client_cert_load(path, path, text, sizeof(text)) ||
		cert_parse(&c, own.cert[0].data, own.cert[0].data_len))
		abort();
	close(fd);
	cert_pin(pin[0], &c);
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 1, true);
}

static struct http h;
static struct tls session;
static struct url url;
static int64_t clock_now;
static char buffer[131072]; /* what has come, one range behind the other */
static size_t fill;
static struct http_range ranges[RANGES];
static unsigned pipelined; /* responses begun whose request was sent ahead */
static unsigned starts;	   /* http_start() */
static size_t room_limit;  /* for one call */

static void reset(answer *a)
{
	char text[] = "http://example.test/image";

	http_close(&h);
	hang_up();
	memset(&server, 0, sizeof(server));
	server.answer = a;
	server.piece = sizeof(server.out);
	server.wire = SIZE_MAX;
	server.answering = 99;
	server.fd = -1;
	memset(&h, 0, sizeof(h));
	http_init(&h, &session);
	if (url_parse(&url, text))
		abort();
	clock_now = 1000000;
	fill = pipelined = starts = 0;
	room_limit = sizeof(buffer);
	for (unsigned i = 0; i < RANGES; i++) {
		ranges[i].first = (uint64_t)(RANGES - i) * 4096;
		ranges[i].last = ranges[i].first + 99 + 211 * i;
	}
}

static void reset_tls(answer *a)
{
	reset(a);
	server.tls = true;
	url.https = true;
	url.port = 443;
}

static void ask(const char *fields, unsigned from, unsigned count)
{
	struct http_request r = {
		.url = &url, .fields = fields, .user_agent = "unit", .stall = 5000};

	r.first = ranges[from].first;
	r.last = ranges[from].last;
	starts++;
	http_start(&h, &r, clock_now);
	for (unsigned i = from + 1; i < count && h.queued < PIPELINE_MAX; i++)
		if (!http_pipeline(&h, ranges[i].first, ranges[i].last))
			abort();
}

/* Goes on to the next event. http_run() is called only when poll(2) or its own time asks for that,
 * so that what it does not wait for ends in a timeout. */
static enum http_event next_event(size_t room)
{
	enum http_event event;
	unsigned idle = 0;
	size_t got;

	while ((event = http_run(&h, buffer + fill,
			h.state < HTTP_SENDING ? sizeof(buffer) - fill : room, &got, clock_now)) ==
		HTTP_WAIT) {
		bool moved = false, ready;

		do {
			struct pollfd p = {.fd = http_fd(&h), .events = http_events(&h)};

			ready = h.state == HTTP_RESOLVING || poll(&p, 1, 0) > 0;
			if (!ready && !(moved = serve()) && server.tcp)
				ready = poll(&p, 1, 500) > 0; /* TCP takes its time */
		} while (!ready && moved);
		idle = moved || serve() ? 0 : idle + 1;
		if (!ready)
			clock_now = http_next(&h);
		if (idle > 20) {
			CHECK(false, "http_run() is called for nothing");
			abort();
		}
	}
	if (event == HTTP_STARTED)
		pipelined += h.pipelined;
	if (event == HTTP_DATA)
		fill += got;
	return event;
}

static bool is_right(unsigned count)
{
	size_t at = 0;

	for (unsigned i = 0; i < count; i++)
		for (uint64_t n = ranges[i].first; n <= ranges[i].last; n++)
			if (at == fill || buffer[at++] != byte_at(n))
				return false;
	return at == fill;
}

/* Fetches all of the ranges, asking again where the connection ended. Returns how many were. */
static unsigned fetch(const char *fields, unsigned count)
{
	unsigned done = 0;

	while (done < count) {
		enum http_event event;

		if (h.state == HTTP_IDLE)
			ask(fields, done, count);
		event = next_event(
			room_limit < sizeof(buffer) - fill ? room_limit : sizeof(buffer) - fill);
		if (event == HTTP_FAILED || event == HTTP_REDIRECT)
			break;
		if (event != HTTP_END)
			continue;
		done++;
		if (h.state != HTTP_IDLE)
			CHECK(h.request.first == ranges[done].first &&
				h.request.last == ranges[done].last);
		if (h.state == HTTP_AWAITING)
			CHECK(h.window_bytes == 0 && h.window_began == clock_now &&
				h.progress == clock_now && h.interim == 0);
		while (h.state != HTTP_IDLE && done + 1 + h.queued < count)
			if (!http_pipeline(&h, ranges[done + 1 + h.queued].first,
				    ranges[done + 1 + h.queued].last))
				break;
	}
	return done;
}

static bool fetches(unsigned count)
{
	return fetch(NULL, count) == count && is_right(count);
}
