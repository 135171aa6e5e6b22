/* http.c - unit tests of pipelining, plain and over TLS: what is asked for ahead, and what becomes
 * of it when a connection ends or a write gets stuck. */
#include "test/unit/root/scripted_server.h"

static void test_ahead(void)
{
	begin_test("http: the requests behind are sent before the first body has ended");
	for (unsigned count = 2; count <= 9; count++) {
		reset(good);
		server.hold = 120;
		server.hold_for = count;
		CHECK(fetches(count), "%u: %s", count, h.why);
		CHECK(pipelined == count - 1 && server.connections == 1, "%u", pipelined);
		CHECK(h.state == HTTP_IDLE && h.fd >= 0 && starts == 1);
	}

	begin_test("http: a kept-alive connection takes them before the first head has come");
	server.hold = server.out_size;
	server.hold_for = server.requests + 9;
	fill = 0;
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 1 && pipelined == 16, "%u", pipelined);

	begin_test("http: the queue is filled up again as it empties");
	reset(good);
	CHECK(fetches(RANGES) && pipelined == RANGES - 1, "%u: %s", pipelined, h.why);

	begin_test("http: the queue has an end, and takes nothing when there is no request");
	reset(good);
	CHECK(!http_pipeline(&h, 0, 1) && h.queued == 0);
	ask(NULL, 0, PIPELINE_MAX + 1);
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

/* ---- connections that end ---- */

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
	begin_test("http: Connection: close in the middle: the rest is asked for anew");
	reset(closing_third);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 3 && starts == 3, "%u %u", server.connections, starts);

	begin_test("http: HTTP/1.0: nothing ahead, kept alive or not");
	reset(old);
	CHECK(fetches(3) && server.connections == 3 && pipelined == 0 && starts == 3, "%s", h.why);
	reset(old_kept);
	CHECK(fetches(9) && server.connections == 1 && pipelined == 0 && starts == 1, "%s", h.why);
	reset(old_littered);
	CHECK(fetches(3) && server.connections == 3 && starts == 3, "%s", h.why);

	begin_test("http: a body that ends with the connection: nothing ahead");
	reset(endless);
	server.hold = 120;
	server.hold_for = 2;
	CHECK(fetch(NULL, 2) == 0 && server.requests == 1 && h.outcome == OUTCOME_TIMED_OUT);
	reset(until_close);
	CHECK(fetches(3) && server.connections == 3 && starts == 3, "%s", h.why);

	begin_test("http: closed without a word: what was not answered goes out again");
	reset(mute_after_two);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 5 && starts == 1 && pipelined == 4, "%u", server.connections);
	reset(mute_after_one);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 9 && starts == 1 && pipelined == 0, "%u", server.connections);

	begin_test("http: but only once, if the next connection is as mute");
	reset(mute_after_two);
	server.answering = 1;
	CHECK(fetch(NULL, 9) == 2 && is_right(2) && h.outcome == OUTCOME_UNREACHABLE, "%s", h.why);
	CHECK(server.connections == 2 && h.fd < 0 && h.queued == 0 && !h.pipelined);

	begin_test("http: and nothing ahead of its first answer");
	reset(mute_after_two);
	server.hold_new = 2;
	CHECK(fetch(NULL, 9) == 2 && h.outcome == OUTCOME_TIMED_OUT, "%s", h.why);
	CHECK(server.connections == 2 && server.requests == 1);
}

/* ---- writes that get stuck ---- */

static char long_field[FIELDS_MAX];

/* Asks for nine ranges. The first response has begun, and stays incomplete. */
static void begin_held(bool tls, bool tcp)
{
	enum http_event event;

	(tls ? reset_tls : reset)(good);
	server.tcp = tcp;
	server.hold = 120;
	server.hold_for = 1000;
	ask(long_field, 0, 9);
	while ((event = next_event(100)) != HTTP_STARTED)
		CHECK(event == HTTP_WAIT, "%s", h.why);
}

static void test_stuck(bool tls)
{
	enum http_event event;

	begin_held(tls, true);
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

	begin_held(tls, true);
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

	begin_held(tls, false);
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
	begin_held(tls, true);
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

static void test_tls(void)
{
	begin_test("http: over TLS: ahead, in pieces");
	reset_tls(good);
	server.hold = 120;
	server.hold_for = 9;
	CHECK(fetches(9) && pipelined == 8 && server.connections == 1, "%s", h.why);
	test_pieces(good, true);
	test_pieces(chunked, true);

	begin_test("http: over TLS: the server closes without a word");
	reset_tls(mute_after_two);
	CHECK(fetches(9), "%s", h.why);
	CHECK(server.connections == 5 && starts == 1, "%u", server.connections);
	reset_tls(closing_third);
	CHECK(fetches(9) && server.connections == 3 && starts == 3, "%s", h.why);

	begin_test("http: over TLS: without room for a handshake it is a failure");
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
	begin_test("http: cut at every byte: plain bodies");
	test_splits(good, false);
	begin_test("http: cut at every byte: chunked, with interim responses");
	test_splits(chunked, false);
	begin_test("http: in small pieces, into small buffers");
	test_pieces(good, false);
	test_pieces(chunked, false);
	test_ends();
	for (int tls = 0; tls < 2; tls++) {
		begin_test(tls ? "http: over TLS: a stuck write"
			       : "http: a stuck write does not stop reading");
		test_stuck(tls);
		test_stuck_events(tls);
		test_stuck_and_gone(tls);
		test_gone_before(tls);
	}
	test_tls();
	reset(good);
	return finish_tests();
}
