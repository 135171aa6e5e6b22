/* http.c - unit tests of answers that are refused or end a connection, plain and over TLS.
 * test/client/test_client.py and test/client/hostile have the rest of HTTP. */
#include "test/unit/root/scripted_server.h"

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
	CHECK(low_water() == 16384 && http_next(&h) <= clock_now + LOW_WATER_TICK);
	http_wait_for(&h, 10000);
	CHECK(low_water() == 8192);
	http_wait_for(&h, 50000); /* more than is to come */
	CHECK(low_water() == 1);
	http_wait_for(&h, 100);
	CHECK(low_water() == 1);
}

static void test_refusals(void)
{
	begin_test(
		"http: wrong answers to pipelined requests end in a sentence, and no connection");
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
}

static void test_ends(void)
{
	int64_t begun;

	begin_test("http: a byte too many behind the last costs the connection");
	reset(littered_last);
	CHECK(fetches(5) && h.fd < 0 && server.connections == 1, "%s", h.why);

	begin_test("http: an answer that does not come is waited for as long as any other");
	reset(mute_third);
	CHECK(fetch(NULL, 2) == 2);
	begun = clock_now;
	ask(NULL, 2, 3);
	fill = 0;
	while (next_event(sizeof(buffer)) != HTTP_FAILED)
		;
	CHECK(h.outcome == OUTCOME_TIMED_OUT && clock_now - begun == 5000, "%s", h.why);

	begin_test("http: a redirect in the middle ends all that was sent behind it");
	reset(redirecting_third);
	CHECK(fetch(NULL, 5) == 2 && is_right(2) && !strcmp(h.location.target, "/other"));
	CHECK(h.fd < 0 && h.state == HTTP_IDLE && h.queued == 0);
	reset(redirecting);
	CHECK(fetch(NULL, 5) == 0 && h.fd >= 0 && h.queued == 0, "nothing was sent");
	CHECK(server.requests == 1);
}

static void test_kept(void)
{
	begin_test(
		"http: the connection outlives a 404 with a body, but not a 304, which has none");
	reset(absent_first);
	CHECK(fetch(NULL, 1) == 0 && h.fd >= 0 && h.outcome == OUTCOME_NOT_FOUND, "%s", h.why);
	CHECK(fetches(1) && server.connections == 1, "%s", h.why);
	reset(not_modified_first);
	CHECK(fetch(NULL, 1) == 0 && h.fd < 0 && h.outcome == OUTCOME_REFUSED, "%s", h.why);
	CHECK(fetches(1) && server.connections == 2, "%s", h.why);

	begin_test("http: what lies on a kept connection is not the answer to the next request");
	reset(littered_last);
	CHECK(fetch(NULL, 5) == 5, "%s", h.why);
	reset(good);
	CHECK(fetch(NULL, 1) == 1 && h.fd >= 0);
	CHECK(send(server.fd, "HTTP/1.1 206 x\r\n\r\n", 18, 0) == 18);
	fill = 0;
	CHECK(fetches(1) && server.connections == 2, "%s", h.why);

	begin_test("http: poll(2) tells of what was waited for, or a little later of less");
	test_low_water();

	begin_test("http: a failure where none was sent behind says so");
	reset(littered);
	server.answer = never;
	CHECK(fetch(NULL, 5) == 0 && !h.followed && !h.pipelined, "%s", h.why);
}

/* ---- TLS ---- */

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
	begin_test("http: over TLS: a body that ends with the connection needs its close_notify");
	reset_tls(until_close);
	CHECK(fetch(NULL, 1) == 0 && h.outcome == OUTCOME_UNREACHABLE, "%s", h.why);

	begin_test("http: over TLS: what lies behind an answer is not that to the next request");
	for (size_t cut = 1; cut < 60; cut += 6)
		test_unasked(cut, 0);
	for (size_t more = 0; more < 6; more++)
		test_unasked(51, more);
	test_unasked(51, 40);
	test_unasked(50, 40);
	test_unasked(200, 40);

	begin_test("http: over TLS: a server that wants to renegotiate is refused, which is said");
	reset_tls(renegotiating);
	CHECK(fetch(NULL, 2) == 1 && h.outcome == OUTCOME_TIMED_OUT, "%s", h.why);
	CHECK(strstr(h.why, "no byte came") && strstr(h.why, "renegotiate"), "%s", h.why);
	reset_tls(good);
	CHECK(refused(littered, 1, "malformed response") && !strstr(h.why, "TLS"), "%s", h.why);
}

int main(void)
{
	trust_server();
	server.fd = h.fd = -1;

	test_refusals();
	test_ends();
	test_kept();
	test_tls();
	reset(never);
	return finish_tests();
}
