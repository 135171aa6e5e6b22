/* http.c - unit tests of pipelining, plain and over TLS: http.c and tls.c against a scripted server
 * at the other end of a socket pair. test/client/test_client.py and test/client/hostile have the
 * rest of HTTP. */
#include "base/base64.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/constraints.c"
#include "trust/x509.c"
#include "trust/client_cert.c"

#include "base/text.c"
#include "net/request.c"
#include "net/response.c"
#include "net/url.c"
#include "trust/roots.c"
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

#define RANGES 12
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

/* ---- the client ---- */

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

/* ---- what goes well ---- */

static void test_ahead(void)
{
	begin_test("the requests behind are sent before the first body has ended");
	for (unsigned count = 2; count <= 9; count++) {
		reset(good);
		server.hold = 120;
		server.hold_for = count;
		CHECK(fetches(count), "%u: %s", count, h.why);
		CHECK(pipelined == count - 1 && server.connections == 1, "%u", pipelined);
		CHECK(h.state == HTTP_IDLE && h.fd >= 0 && starts == 1);
	}

	begin_test("a kept-alive connection takes them before the first head has come");
	server.hold = server.out_size;
	server.hold_for = server.requests + 9;
	fill = 0;
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 1 && pipelined == 16, "%u", pipelined);

	begin_test("the queue is filled up again as it empties");
	reset(good);
	CHECK(fetches(RANGES) && pipelined == RANGES - 1, "%u: %s", pipelined, h.why);

	begin_test("the queue has an end, and takes nothing when there is no request");
	reset(good);
	CHECK(!http_pipeline(&h, 0, 1) && h.queued == 0);
	ask(NULL, 0, 9);
	CHECK(h.queued == PIPELINE_MAX && !http_pipeline(&h, 0, 1));
	http_close(&h);
	CHECK(h.queued == 0 && !http_pipeline(&h, 0, 1));
}

static void chunked(unsigned n, uint64_t first, uint64_t last)
{
	uint64_t middle = (first + last) / 2;

	if (n % 2)
		reply("HTTP/1.1 103 Early Hints\r\n\r\n");
	head(first, last, "Transfer-Encoding: chunked\r\n");
	reply("%x\r\n", (unsigned)(middle - first));
	body(first, middle - 1);
	reply("\r\n%x;x=y\r\n", (unsigned)(last - middle + 1));
	body(middle, last);
	reply("\r\n0\r\nTrailer: x\r\n\r\n");
}

/* Three answers in two pieces, cut at every byte. */
static void test_splits(answer *a, bool tls)
{
	size_t begin, cut = 1;

	do {
		(tls ? reset_tls : reset)(a);
		CHECK(fetch(NULL, 1) == 1, "%s", h.why);
		fill = 0;
		begin = server.hold = server.out_size;
		server.hold_for = 4;
		server.cut = begin + cut;
		CHECK(fetches(3), "%zu: %s", cut, h.why);
		CHECK(pipelined == 2 && server.connections == 1, "%zu", cut);
	} while (begin + ++cut < server.out_size && !check_bad);
}

static void test_pieces(answer *a, bool tls)
{
	static const size_t rooms[] = {1, 7, 100, 65536};

	for (size_t piece = 1; piece < 40; piece += 6)
		for (int i = 0; i < 4; i++) {
			(tls ? reset_tls : reset)(a);
			server.piece = piece;
			room_limit = rooms[i];
			CHECK(fetches(4), "%zu: %s", piece, h.why);
			CHECK(pipelined == 3 && server.connections == 1, "%zu", piece);
		}
}

static void old(unsigned n, uint64_t first, uint64_t last)
{
	size_t begin = server.out_size;

	good(n, first, last);
	memcpy(server.out + begin, "HTTP/1.0", 8);
}

static void old_kept(unsigned n, uint64_t first, uint64_t last)
{
	char fields[80];

	(void)n;
	snprintf(fields, sizeof(fields), "Connection: keep-alive\r\nContent-Length: %d\r\n",
		(int)(last - first + 1));
	reply("HTTP/1.0 206 OK\r\nContent-Range: bytes %d-%d/%d\r\n%s\r\n", (int)first, (int)last,
		TOTAL, fields);
	body(first, last);
}

static void closing_third(unsigned n, uint64_t first, uint64_t last)
{
	char fields[80];

	snprintf(fields, sizeof(fields), "%sContent-Length: %d\r\n",
		n == 2 ? "Connection: close\r\n" : "", (int)(last - first + 1));
	head(first, last, fields);
	body(first, last);
	server.closing = n == 2;
}

static void old_littered(unsigned n, uint64_t first, uint64_t last)
{
	old_kept(n, first, last);
	reply("x");
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

static void mute_after_two(unsigned n, uint64_t first, uint64_t last)
{
	good(n, first, last);
	server.closing = n == 1;
}

static void mute_after_one(unsigned n, uint64_t first, uint64_t last)
{
	good(n, first, last);
	server.closing = true;
}

static void test_ends(void)
{
	begin_test("Connection: close in the middle: the rest is asked for anew");
	reset(closing_third);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 3 && starts == 3, "%u %u", server.connections, starts);

	begin_test("HTTP/1.0: nothing ahead, kept alive or not");
	reset(old);
	CHECK(fetches(3) && server.connections == 3 && pipelined == 0 && starts == 3, "%s", h.why);
	reset(old_kept);
	CHECK(fetches(9) && server.connections == 1 && pipelined == 0 && starts == 1, "%s", h.why);
	reset(old_littered);
	CHECK(fetches(3) && server.connections == 3 && starts == 3, "%s", h.why);

	begin_test("a body that ends with the connection: nothing ahead");
	reset(endless);
	server.hold = 120;
	server.hold_for = 2;
	CHECK(fetch(NULL, 2) == 0 && server.requests == 1 && h.outcome == OUTCOME_TIMED_OUT);
	reset(until_close);
	CHECK(fetches(3) && server.connections == 3 && starts == 3, "%s", h.why);

	begin_test("closed without a word: what was not answered goes out again");
	reset(mute_after_two);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 5 && starts == 1 && pipelined == 4, "%u", server.connections);
	reset(mute_after_one);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 9 && starts == 1 && pipelined == 0, "%u", server.connections);

	begin_test("but only once, if the next connection is as mute");
	reset(mute_after_two);
	server.answering = 1;
	CHECK(fetch(NULL, 9) == 2 && is_right(2) && h.outcome == OUTCOME_UNREACHABLE, "%s", h.why);
	CHECK(server.connections == 2 && h.fd < 0 && h.queued == 0 && !h.pipelined);

	begin_test("and nothing ahead of its first answer");
	reset(mute_after_two);
	server.hold_new = 2;
	CHECK(fetch(NULL, 9) == 2 && h.outcome == OUTCOME_TIMED_OUT, "%s", h.why);
	CHECK(server.connections == 2 && server.requests == 1);
}

/* ---- what goes wrong ---- */

static bool refused(answer *a, unsigned done, const char *what)
{
	reset(a);
	server.hold_for = 5;
	server.hold = 300; /* in the first body */
	if (fetch(NULL, 5) == done && is_right(done) && strstr(h.why, what) && h.fd < 0 &&
		h.state == HTTP_IDLE && h.queued == 0)
		return true;
	printf("# after %u: %s\n", done, h.why);
	return false;
}

static void reversed(unsigned n, uint64_t first, uint64_t last)
{
	static uint64_t kept[2];

	if (n == 1) {
		kept[0] = first;
		kept[1] = last;
		return;
	}
	good(n, first, last);
	if (n == 2)
		good(n, kept[0], kept[1]);
}

static void shifted(unsigned n, uint64_t first, uint64_t last)
{
	if (n == 0)
		good(n, first, last);
	good(n, first, last);
}

static void littered(unsigned n, uint64_t first, uint64_t last)
{
	good(n, first, last);
	reply("x");
}

static void littered_last(unsigned n, uint64_t first, uint64_t last)
{
	good(n, first, last);
	if (n == 4)
		reply("x");
}

static void busy_third(unsigned n, uint64_t first, uint64_t last)
{
	if (n == 2)
		reply("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
	else
		good(n, first, last);
}

static void absent_first(unsigned n, uint64_t first, uint64_t last)
{
	if (n == 0)
		reply("HTTP/1.1 404 Absent\r\nContent-Length: 5\r\n\r\nsorry");
	else
		good(n, first, last);
}

/* Content-Length tells of a body that does not come. */
static void not_modified_first(unsigned n, uint64_t first, uint64_t last)
{
	if (server.connections == 1)
		reply("HTTP/1.1 304 Same\r\nContent-Length: 50\r\n\r\n");
	else
		good(n, first, last);
}

static void short_third(unsigned n, uint64_t first, uint64_t last)
{
	size_t begin = server.out_size;

	good(n, first, last);
	server.closing = n == 2;
	if (n == 2)
		server.out_size -= (server.out_size - begin) / 2;
}

static void half_a_head(unsigned n, uint64_t first, uint64_t last)
{
	if (n < 2)
		good(n, first, last);
	else if (n == 2)
		reply("HTTP/1.1 206 OK\r\nContent-Ra");
	server.closing = n == 2;
}

static void interim_flood(unsigned n, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; n == 2 && i <= INTERIM_MAX; i++)
		reply("HTTP/1.1 102 x\r\n\r\n");
	good(n, first, last);
}

static void mute_third(unsigned n, uint64_t first, uint64_t last)
{
	if (n != 2)
		good(n, first, last);
}

static void redirecting_third(unsigned n, uint64_t first, uint64_t last)
{
	if (n > 2)
		return;
	if (n == 2)
		reply("HTTP/1.1 302 x\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
	else
		good(n, first, last);
}

static void redirecting(unsigned n, uint64_t first, uint64_t last)
{
	(void)n;
	redirecting_third(2, first, last);
}

/* What a server of TLS says to a request in the clear. */
static void alarmed(unsigned n, uint64_t first, uint64_t last)
{
	(void)n, (void)first, (void)last;
	memcpy(server.out + server.out_size, "\x15\x03\x01\x00\x02\x02\x28", 7);
	server.out_size += 7;
}

static void bad_request(unsigned n, uint64_t first, uint64_t last)
{
	(void)n, (void)first, (void)last;
	reply("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

static void never(unsigned n, uint64_t first, uint64_t last)
{
	(void)n, (void)first, (void)last;
}

static int low_water(void)
{
	int n;
	socklen_t size = sizeof(n);

	return getsockopt(h.fd, SOL_SOCKET, SO_RCVLOWAT, &n, &size) == 0 ? n : -1;
}

static void test_low_water(void)
{
	reset(good);
	ranges[0] = (struct http_range){0, 49999};
	ask(NULL, 0, 1);
	while (next_event(100) != HTTP_DATA)
		;
	http_wait_for(&h, 49000);
	CHECK(low_water() == 32768 && http_next(&h) <= clock_now + LOW_WATER_TICK);
	http_wait_for(&h, 20000);
	CHECK(low_water() == 16384);
	http_wait_for(&h, 50000); /* more than is to come */
	CHECK(low_water() == 1);
	http_wait_for(&h, 100);
	CHECK(low_water() == 1);
}

static void test_refusals(void)
{
	int64_t begun;

	begin_test("wrong answers to pipelined requests end in a sentence, and no connection");
	CHECK(refused(reversed, 1, "wrong Content-Range") && h.pipelined && h.followed);
	CHECK(refused(shifted, 1, "wrong Content-Range") && h.pipelined);
	CHECK(refused(littered, 1, "malformed response") && h.pipelined);
	CHECK(refused(busy_third, 2, "503") && h.retry_after == 7000 && h.pipelined);
	CHECK(refused(half_a_head, 2, "before the response's head was complete") && h.pipelined);
	CHECK(refused(interim_flood, 2, "interim responses without end"));
	CHECK(refused(alarmed, 0, "it is TLS: the URL needs https://"));
	for (unsigned port = 80; port <= 8443; port += 8443 - 80) {
		reset(bad_request);
		url.port = (uint16_t)port;
		CHECK(fetch(NULL, 1) == 0 && !strstr(h.why, "https://") == (port == 80), "%s",
			h.why);
		reset(good);
		url.port = (uint16_t)port;
		server.answering = 0;
		CHECK(fetch(NULL, 1) == 0 && !strstr(h.why, "https://") == (port == 80), "%s",
			h.why);
	}
	reset(short_third);
	CHECK(fetch(NULL, 5) == 2 && strstr(h.why, "bytes before the end"), "%s", h.why);
	CHECK(h.pipelined && h.followed);

	begin_test("a byte too many behind the last costs the connection");
	reset(littered_last);
	CHECK(fetches(5) && h.fd < 0 && server.connections == 1, "%s", h.why);

	begin_test("an answer that does not come is waited for as long as any other");
	reset(mute_third);
	CHECK(fetch(NULL, 2) == 2);
	begun = clock_now;
	ask(NULL, 2, 3);
	fill = 0;
	while (next_event(sizeof(buffer)) != HTTP_FAILED)
		;
	CHECK(h.outcome == OUTCOME_TIMED_OUT && clock_now - begun == 5000, "%s", h.why);

	begin_test("a redirect in the middle ends all that was sent behind it");
	reset(redirecting_third);
	CHECK(fetch(NULL, 5) == 2 && is_right(2) && !strcmp(h.location.target, "/other"));
	CHECK(h.fd < 0 && h.state == HTTP_IDLE && h.queued == 0);
	reset(redirecting);
	CHECK(fetch(NULL, 5) == 0 && h.fd >= 0 && h.queued == 0, "nothing was sent");
	CHECK(server.requests == 1);

	begin_test("the connection outlives a 404 with a body, but not a 304, which has none");
	reset(absent_first);
	CHECK(fetch(NULL, 1) == 0 && h.fd >= 0 && h.outcome == OUTCOME_NOT_FOUND, "%s", h.why);
	CHECK(fetches(1) && server.connections == 1, "%s", h.why);
	reset(not_modified_first);
	CHECK(fetch(NULL, 1) == 0 && h.fd < 0 && h.outcome == OUTCOME_REFUSED, "%s", h.why);
	CHECK(fetches(1) && server.connections == 2, "%s", h.why);

	begin_test("what lies on a kept connection is not the answer to the next request");
	reset(littered_last);
	CHECK(fetch(NULL, 5) == 5, "%s", h.why);
	reset(good);
	CHECK(fetch(NULL, 1) == 1 && h.fd >= 0);
	CHECK(send(server.fd, "HTTP/1.1 206 x\r\n\r\n", 18, 0) == 18);
	fill = 0;
	CHECK(fetches(1) && server.connections == 2, "%s", h.why);

	begin_test("poll(2) tells of what was waited for, or a little later of less");
	test_low_water();

	begin_test("a failure where none was sent behind says so");
	reset(littered);
	server.answer = never;
	CHECK(fetch(NULL, 5) == 0 && !h.followed && !h.pipelined, "%s", h.why);
}

/* ---- writes that get stuck ---- */

static char long_field[FIELDS_MAX];

static void test_stuck(bool tls)
{
	enum http_event event;

	(tls ? reset_tls : reset)(good);
	server.tcp = true;
	server.hold = 120;
	server.hold_for = 1000;
	ask(long_field, 0, 9);
	while ((event = next_event(100)) != HTTP_STARTED)
		CHECK(event == HTTP_WAIT, "%s", h.why);
	server.deaf = true;
	server.hold_for = 0;
	while ((event = next_event(100)) == HTTP_DATA)
		;
	CHECK(event == HTTP_END && is_right(1), "read while the rest cannot be sent: %s", h.why);
	CHECK(h.sent > 0 && h.pipelined_sent < 7, "%zu %u", h.sent, h.pipelined_sent);
	server.deaf = false;
	for (int done = 1; done < 9 && event != HTTP_FAILED;)
		done += (event = next_event(sizeof(buffer) - fill)) == HTTP_END;
	CHECK(is_right(9) && server.connections == 1, "%s", h.why);
	CHECK(pipelined >= 7, "%u", pipelined);
}

static void test_stuck_events(bool tls)
{
	size_t got;

	(tls ? reset_tls : reset)(good);
	server.tcp = true;
	server.hold = 120;
	server.hold_for = 1000;
	ask(long_field, 0, 9);
	while (next_event(100) != HTTP_STARTED)
		;
	server.deaf = true;
	fill += h.head_size - h.head_done; /* what has come already */
	CHECK(http_run(&h, buffer, 0, &got, clock_now) == HTTP_WAIT);
	CHECK(http_events(&h) == POLLOUT, "%d", http_events(&h));
	while (http_run(&h, buffer, 100, &got, clock_now) == HTTP_DATA)
		;
	CHECK(http_events(&h) == (POLLIN | POLLOUT), "%d", http_events(&h));
	CHECK(h.sent > 0 || h.pipelined_sent > 0);
	server.deaf = false;
	while (serve())
		http_run(&h, buffer, 0, &got, clock_now);
	CHECK(http_run(&h, buffer, 0, &got, clock_now) == HTTP_WAIT && h.pipelined_sent == 8);
	CHECK(http_events(&h) == 0, "%d", http_events(&h));
}

/* The server answers and closes before it has heard of what it would be asked for next. */
static void test_gone_before(bool tls)
{
	enum http_event event;

	(tls ? reset_tls : reset)(good);
	server.hold = 120;
	server.hold_for = 1000;
	ask(long_field, 0, 9);
	while (next_event(100) != HTTP_STARTED)
		;
	server.hold_for = 0;
	while (serve())
		;
	hang_up();
	while ((event = next_event(100)) == HTTP_DATA)
		;
	CHECK(event == HTTP_END && is_right(1), "%s", h.why);
	for (int done = 1; done < 9 && event != HTTP_FAILED;)
		done += (event = next_event(sizeof(buffer) - fill)) == HTTP_END;
	CHECK(is_right(9) && server.connections == 2, "%s", h.why);
}

/* What waits in part when the connection goes, goes out again from its beginning. */
static void test_stuck_and_gone(bool tls)
{
	(tls ? reset_tls : reset)(good);
	server.tcp = true;
	server.hold = 120;
	server.hold_for = 1000;
	ask(long_field, 0, 9);
	while (next_event(100) != HTTP_STARTED)
		;
	server.deaf = true;
	server.hold_for = 0;
	while (next_event(sizeof(buffer) - fill) != HTTP_END)
		;
	hang_up();
	server.deaf = false;
	for (int done = 1; done < 9;) {
		enum http_event event = next_event(sizeof(buffer) - fill);

		if (event == HTTP_FAILED)
			break;
		done += event == HTTP_END;
	}
	CHECK(is_right(9) && server.connections == 2, "%s", h.why);
}

/* ---- TLS ---- */

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

/* Behind the second answer, a refusal, lies one to the request that comes next. */
static void absent_and_more(unsigned n, uint64_t first, uint64_t last)
{
	if (n != 1) {
		good(n, first, last);
		return;
	}
	reply("HTTP/1.1 404 Absent\r\nContent-Length: 9\r\n\r\nnot there");
	head(ranges[0].first, ranges[0].last, "Content-Length: 100\r\n");
	for (unsigned i = 0; i < 100; i++)
		reply("X");
}

/* As far as both sides can go. */
static void run_on(void)
{
	size_t got;

	for (int i = 0; i < 4; i++) {
		http_run(&h, buffer, sizeof(buffer), &got, clock_now);
		while (serve())
			;
	}
}

/* A record ends behind `cut` bytes of the answer, and `more` bytes of the next one come with it. */
static void test_unasked(size_t cut, size_t more)
{
	reset_tls(absent_and_more);
	CHECK(fetch(NULL, 1) == 1, "%s", h.why);
	server.cut = server.sent + cut;
	server.wire = 5 + cut + 16 + more; /* ChaCha20-Poly1305 */
	ask(NULL, 0, 1);
	run_on();
	if (cut >= 51 && more > 0) /* the refusal's bytes are all there */
		CHECK(h.state == HTTP_IDLE && h.fd < 0, "cut %zu, %zu more", cut, more);
	server.wire = SIZE_MAX;
	run_on();
	CHECK(h.state == HTTP_IDLE && h.outcome == OUTCOME_NOT_FOUND, "%s", h.why);
	CHECK(h.fd < 0, "cut %zu, %zu more", cut, more);
	fill = 0;
	CHECK(fetches(1) && server.connections == 2, "cut %zu, %zu more: %s", cut, more, h.why);
}

/* BearSSL's server says nothing any more when that is declined. */
static void renegotiating(unsigned n, uint64_t first, uint64_t last)
{
	good(n, first, last);
	if (n == 1)
		CHECK(br_ssl_engine_renegotiate(&server.context.eng));
}

static void test_tls(void)
{
	begin_test("over TLS: ahead, in pieces");
	reset_tls(good);
	server.hold = 120;
	server.hold_for = 9;
	CHECK(fetches(9) && pipelined == 8 && server.connections == 1, "%s", h.why);
	test_pieces(good, true);
	test_pieces(chunked, true);

	begin_test("over TLS: the server closes without a word");
	reset_tls(mute_after_two);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 5 && starts == 1, "%u", server.connections);
	reset_tls(closing_third);
	CHECK(fetches(9) && server.connections == 3 && starts == 3, "%s", h.why);

	begin_test("over TLS: a body that ends with the connection needs its close_notify");
	reset_tls(until_close);
	CHECK(fetch(NULL, 1) == 0 && h.outcome == OUTCOME_UNREACHABLE, "%s", h.why);

	begin_test("over TLS: what lies behind an answer is not that to the next request");
	for (size_t cut = 1; cut < 60; cut += 6)
		test_unasked(cut, 0);
	for (size_t more = 0; more < 6; more++)
		test_unasked(51, more);
	test_unasked(51, 40);
	test_unasked(50, 40);
	test_unasked(200, 40);

	begin_test("over TLS: a server that wants to renegotiate is refused, which is said");
	reset_tls(renegotiating);
	CHECK(fetch(NULL, 2) == 1 && h.outcome == OUTCOME_TIMED_OUT, "%s", h.why);
	CHECK(strstr(h.why, "no byte came") && strstr(h.why, "renegotiate"), "%s", h.why);
	reset_tls(good);
	CHECK(refused(littered, 1, "malformed response") && !strstr(h.why, "TLS"), "%s", h.why);

	begin_test("over TLS: without room for a handshake it is a failure");
	reset_tls(mute_after_two);
	room_limit = TLS_SCRATCH_MIN - 1;
	CHECK(fetch(NULL, 9) == 2 && is_right(2) && h.pipelined, "%s", h.why);
	CHECK(h.outcome == OUTCOME_UNREACHABLE && server.connections == 1);
}

int main(void)
{
	memset(long_field, 'x', sizeof(long_field));
	memcpy(long_field, "X: ", 3);
	memcpy(long_field + sizeof(long_field) - 3, "\r\n", 3);
	trust_server();
	server.fd = h.fd = -1;

	test_ahead();
	begin_test("cut at every byte: plain bodies");
	test_splits(good, false);
	begin_test("cut at every byte: chunked, with interim responses");
	test_splits(chunked, false);
	begin_test("in small pieces, into small buffers");
	test_pieces(good, false);
	test_pieces(chunked, false);
	test_ends();
	test_refusals();
	for (int tls = 0; tls < 2; tls++) {
		begin_test(tls ? "over TLS: a stuck write" : "a stuck write does not stop reading");
		test_stuck(tls);
		test_stuck_events(tls);
		test_stuck_and_gone(tls);
		test_gone_before(tls);
	}
	test_tls();
	reset(never);
	return finish_tests();
}
