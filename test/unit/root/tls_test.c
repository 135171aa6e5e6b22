/* tls.c - unit tests of what tls.c does without a real server; test/client/test_tls.py has the
 * servers. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "base/words.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/ciphers.c"
#include "trust/constraints.c"
#include "trust/x509.c"

#undef BUILD_TIME
#define BUILD_TIME 32503680000 /* 3000-01-01: no clock is that late */
#include "trust/client_cert.c"
#include "trust/roots.c"
#include "trust/origins.c"
#include "trust/tls13.c"
#include "trust/tls13_keys.c"
#include "trust/tls13_messages.c"
#include "trust/tls13_sign.c"
#include "trust/tls_words.c"
#include "tls.c"

#include <sys/mman.h>

#include "test/unit/certs.h"
#include "test/unit/check.h"
#include "test/unit/stubs.h"

static char why[256];

static struct tls session;
static uint64_t scratch[TLS_SCRATCH_MIN / 8];
static int ends[2];

static void start(void)
{
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
	tls_start(&session, "example.test", 443, false, scratch, sizeof(scratch));
}

static void stop(void)
{
	close(ends[0]);
	close(ends[1]);
}

static void test_clock(void)
{
	begin_test(
		"tls: a clock before the build's date is told once, or is a failure, or no matter");
	start();
	stop();
	start();
	stop();
	CHECK(warnings == 1, "%d", warnings);
	CHECK(session.x509->now == BUILD_TIME && session.x509->or_later);
	tls_clock(true);
	start();
	CHECK(tls_handshake(&session, ends[0]) == TLS_FAILED && tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), "the clock is not set"), "%s", tls_why(&session));
	stop();
	tls_pin((const uint8_t[1][PIN_SIZE]){{0}}, 1, true);
	start();
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ, "%s", tls_why(&session));
	stop();
	tls_pin(NULL, 0, false);
	tls_clock(false);
	CHECK(warnings == 1, "%d", warnings);
}

static void test_start(void)
{
	char name[300];

	begin_test("tls: a session that cannot start says so in the handshake");
	memset(name, 'a', sizeof(name));
	name[254] = '\0';
	tls_start(&session, name, 443, false, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && strstr(tls_why(&session), "neither"));
	tls_start(&session, "", 443, false, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED);
	tls_start(&session, "a.test", 443, true, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && strstr(tls_why(&session), "neither"));
	tls_start(&session, "a.test", 443, false, scratch, sizeof(scratch) - 1);
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && tls_untrusted(&session));
	tls_start(&session, "a.test", 443, false, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && !tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), "connection broke"), "%s", tls_why(&session));
}

static bool holds(const uint8_t *data, size_t size, const char *text)
{
	return memmem(data, size, text, strlen(text)) != NULL;
}

static void test_hello(void)
{
	uint8_t hello[1000];
	ssize_t size;

	begin_test("tls: the ClientHello");
	start();
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ);
	size = recv(ends[1], hello, sizeof(hello), 0);
	CHECK(size > 60 && hello[0] == 22 && hello[9] == 3 && hello[10] == 3, "TLS 1.2");
	CHECK(hello[43] == 0 && hello[45] == 12, "six suites");
	CHECK(holds(hello, (size_t)size, "example.test"));
	for (ssize_t i = 46; i < 46 + 12; i += 2)
		CHECK((hello[i] == 0xc0 && (hello[i + 1] >= 0x2b && hello[i + 1] <= 0x30)) ||
				(hello[i] == 0xcc &&
					(hello[i + 1] == 0xa8 || hello[i + 1] == 0xa9)),
			"%02x%02x", hello[i], hello[i + 1]);
	stop();

	begin_test("tls: no SNI for an address");
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
	tls_start(&session, "192.0.2.1", 443, true, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ);
	size = recv(ends[1], hello, sizeof(hello), 0);
	CHECK(size > 60 && !holds(hello, (size_t)size, "192.0.2.1"));
	stop();
}

/* How many bytes of `size` one call of tls_handshake() takes from the socket. */
static size_t taken(const uint8_t *data, size_t size, enum tls_want *want)
{
	static uint8_t left[1 << 17];
	ssize_t n;

	start();
	if (send(ends[1], data, size, MSG_DONTWAIT) != (ssize_t)size)
		abort();
	*want = tls_handshake(&session, ends[0]);
	n = recv(ends[0], left, sizeof(left), 0);
	stop();
	return size - (n > 0 ? (size_t)n : 0);
}

static void test_bounds(void)
{
	static uint8_t flood[7 * 2000];
	enum tls_want want;
	size_t n;

	begin_test("tls: one call takes a bounded number of records");
	for (size_t i = 0; i < sizeof(flood); i += 5)
		memcpy(flood + i, "\x16\x03\x03\x00\x00", 5);
	n = taken(flood, sizeof(flood), &want);
	CHECK(want == TLS_WANT_READ && n == 5 * READS_PER_CALL, "%zu", n);
	for (size_t i = 0; i < sizeof(flood); i += 7)
		memcpy(flood + i, "\x15\x03\x03\x00\x02\x01\x70", 7);
	n = taken(flood, sizeof(flood), &want);
	CHECK(want == TLS_WANT_READ && n == 7 * READS_PER_CALL / 2, "%zu", n);
}

static void test_alerts(void)
{
	enum tls_want want;

	begin_test("tls: every fatal alert ends the handshake with a sentence");
	for (int alert = 0; alert < 256; alert++) {
		uint8_t record[] = {0x15, 3, 3, 0, 2, 2, (uint8_t)alert};
		char number[24];

		taken(record, sizeof(record), &want);
		snprintf(number, sizeof(number), "alert %d,", alert);
		CHECK(want == TLS_FAILED && strstr(tls_why(&session), number), "%s",
			tls_why(&session));
		CHECK(tls_untrusted(&session) == (alert != 90), "%d", alert);
	}
}

/* Begins a session, whose hello is answered by an alert. Returns which version it was of. */
static unsigned refuse_hello(unsigned alert)
{
	uint8_t record[] = {0x15, 3, 3, 0, 2, 2, (uint8_t)alert}, hello[1000];
	ssize_t size;

	start();
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ);
	size = recv(ends[1], hello, sizeof(hello), 0);
	CHECK(send(ends[1], record, sizeof(record), 0) == (ssize_t)sizeof(record));
	CHECK(tls_handshake(&session, ends[0]) == TLS_FAILED);
	stop();
	for (ssize_t i = 0; i + 7 <= size; i++)
		if (memcmp(hello + i, "\0\x2b\0\x03\x02\x03\x04", 7) == 0)
			return 13;
	return 12;
}

static void test_versions(void)
{
	bool refuses;

	begin_test(
		"tls: a server that refuses 1.2 is asked once more by 1.3, and both reasons told");
	for (unsigned alert = 0; alert < 256; alert++) {
		char text[24];

		refuses = alert == 40 || alert == 70 || alert == 71 || alert == 80;
		CHECK(refuse_hello(alert) == 12, "%u", alert);
		CHECK(tls_again(&session) == refuses, "%u", alert);
		if (!refuses)
			continue;
		snprintf(text, sizeof(text), "alert %u", alert);
		CHECK(refuse_hello(47) == 13 && !tls_again(&session), "%u", alert);
		CHECK(strstr(tls_why(&session), "alert 47") && strstr(tls_why(&session), text),
			"%s", tls_why(&session));
		CHECK(refuse_hello(alert) == 12 && tls_again(&session), "%u", alert);
		CHECK(refuse_hello(70) == 13 && !tls_again(&session), "%u", alert);
		CHECK(strstr(tls_why(&session), "alert 70") && strstr(tls_why(&session), text),
			"%s", tls_why(&session));
	}
	CHECK(refuse_hello(70) == 12, "unless it is meant to be");
	CHECK(refuse_hello(70) == 12 && tls_again(&session));
	tls_start(&session, "other.test", 443, false, scratch, sizeof(scratch));
	CHECK(!session.is_newer && !session.second, "another host");
	CHECK(refuse_hello(70) == 12 && tls_again(&session));
	tls_start(&session, "example.test", 444, false, scratch, sizeof(scratch));
	CHECK(!session.is_newer && !session.second, "another port");

	begin_test(
		"tls: where 1.3 was spoken it is first, and 1.2 is asked only if that is refused");
	CHECK(refuse_hello(48) == 12);
	origin_set(session.origin, ORIGIN_NEWER);
	for (unsigned alert = 0; alert < 256; alert++) {
		/* As a server of 1.2 only may find no suite of its own, and say handshake_failure.
		 */
		refuses = tls_alert_is_about_version((int)alert);
		origin_set(session.origin, ORIGIN_NEWER);
		if (alert == 90) /* user_canceled ends nothing in 1.3 */
			continue;
		CHECK(refuse_hello(alert) == 13 && tls_again(&session) == refuses, "%u", alert);
		CHECK(origin_state(session.origin) == (refuses ? ORIGIN_DOUBTED : ORIGIN_NEWER));
		if (refuses)
			CHECK(refuse_hello(70) == 12 && !tls_again(&session), "%u", alert);
	}
	origin_set(session.origin, ORIGIN_DOUBTED);
	CHECK(refuse_hello(70) == 12 && tls_again(&session), "the next attempt");
	CHECK(refuse_hello(70) == 13 && !tls_again(&session));
	CHECK(origin_state(session.origin) == ORIGIN_DOUBTED);
	origin_set(session.origin, ORIGIN_UNKNOWN);

	begin_test("tls: an alert behind the ServerHello is no sign that 1.3 is refused");
	for (int secure = 1; secure >= 0; secure--) {
		origin_set(session.origin, ORIGIN_NEWER);
		start();
		CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ && session.is_newer);
		session.newer.secure = secure;
		session.newer.state = TLS13_BROKEN;
		session.newer.error = BR_ERR_RECV_FATAL_ALERT + 40;
		CHECK(tls_handshake(&session, ends[0]) == TLS_FAILED);
		CHECK(tls_again(&session) == !secure, "%d", secure);
		stop();
	}
	refuse_hello(48);

	begin_test("tls: one version only");
	tls_speak(TLS_12);
	origin_set(session.origin, ORIGIN_NEWER);
	CHECK(refuse_hello(70) == 12 && !tls_again(&session));
	tls_speak(TLS_13);
	origin_set(session.origin, ORIGIN_UNKNOWN);
	CHECK(refuse_hello(70) == 13 && !tls_again(&session));
	tls_speak(TLS_ANY);
}

static void test_no_tls(void)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	enum tls_want want;

	begin_test("tls: a server without TLS is told from one that speaks it badly");
	taken((const uint8_t *)answer, sizeof(answer) - 1, &want);
	CHECK(want == TLS_FAILED && tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), "HTTP without TLS"), "%s", tls_why(&session));
	taken((const uint8_t *)"SSH-2.0-x", 9, &want);
	CHECK(want == TLS_FAILED && !strstr(tls_why(&session), "HTTP"), "%s", tls_why(&session));
}

static void test_junk(void)
{
	uint8_t junk[64];
	enum tls_want want;
	unsigned seed = 1;

	begin_test("tls: junk ends in a sentence, or waits");
	for (int round = 0; round < 3000; round++) {
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		if (round % 2)
			memcpy(junk, "\x16\x03\x03\x00\x3b\x02\x00\x00\x37\x03\x03", 11);
		if (round % 3 == 0)
			memcpy(junk, "\x16\x03\x03\x00\x3b", 5);
		taken(junk, sizeof(junk), &want);
		CHECK(want == TLS_WANT_READ || (want == TLS_FAILED && tls_why(&session)[0]));
	}
}

/* ---- a whole session, with BearSSL as the server ---- */

static br_ssl_server_context server;
static uint8_t server_buffer[BR_SSL_BUFSIZE_BIDI];

static bool without_renegotiation; /* the server does as if it had not heard of RFC 5746 */
static uint8_t share[32];	   /* that it sends in place of its own for X25519 */
static bool has_share;

/* BearSSL's policy, between the ClientHello and the ServerHello. */
static const br_ssl_server_policy_class *policy;

static int choose_without(const br_ssl_server_policy_class **ctx,
	const br_ssl_server_context *context, br_ssl_server_choices *choices)
{
	if (without_renegotiation)
		server.eng.reneg = 1;
	return policy->choose(ctx, context, choices);
}

static size_t make_share(unsigned char *point, const unsigned char *k, size_t k_size, int curve)
{
	size_t size = br_ec_all_m31.mulgen(point, k, k_size, curve);

	if (has_share && curve == BR_EC_curve25519)
		memcpy(point, share, size);
	return size;
}

static void start_server(void)
{
	static const uint8_t seed[32];
	static br_ssl_server_policy_class chooser;
	static br_ec_impl ec;
	br_ssl_engine_context *e = &server.eng;

	br_ssl_server_init_minf2c(&server, own.cert, own.certs, &own.ec);
	policy = server.chain_handler.vtable;
	chooser = *policy;
	chooser.choose = choose_without;
	server.chain_handler.vtable = &chooser;
	ec = br_ec_all_m31;
	ec.mulgen = make_share;
	if (has_share)
		ec.supported_curves = 1u << BR_EC_curve25519;
	br_ssl_engine_set_ec(e, &ec);
	br_ssl_engine_set_buffer(e, server_buffer, sizeof(server_buffer), 1);
	br_ssl_engine_inject_entropy(e, seed, sizeof(seed));
	br_ssl_server_reset(&server);
}

/* Moves what there is to move between the server and its end of the socket. */
static void serve(void)
{
	br_ssl_engine_context *e = &server.eng;
	ssize_t n = 1;
	uint8_t *data;
	size_t size;

	while (n > 0) {
		unsigned state = br_ssl_engine_current_state(e);

		n = 0;
		if (state & BR_SSL_SENDREC) {
			data = br_ssl_engine_sendrec_buf(e, &size);
			n = send(ends[1], data, size, 0);
			if (n > 0)
				br_ssl_engine_sendrec_ack(e, (size_t)n);
		} else if (state & BR_SSL_RECVREC) {
			data = br_ssl_engine_recvrec_buf(e, &size);
			n = recv(ends[1], data, size, 0);
			if (n > 0)
				br_ssl_engine_recvrec_ack(e, (size_t)n);
		}
	}
}

/* The server takes all that has come, data too. */
static void take_all(void)
{
	size_t size;

	for (serve(); br_ssl_engine_recvapp_buf(&server.eng, &size); serve())
		br_ssl_engine_recvapp_ack(&server.eng, size);
}

/* Sends `count` equal records with the session's key: type 23 is data, 21 an alert. All in one
 * call, since the kernel counts every call's overhead against the socket's buffer. */
static void send_records(int count, int type, const char *text)
{
	static uint8_t all[1 << 16];
	size_t used = 0;

	while (count-- > 0) {
		uint8_t buffer[200], *record = buffer + 50;
		size_t size = strlen(text);

		memcpy(record, text, size);
		record = server.eng.out.vtable->encrypt(
			&server.eng.out.vtable, type, BR_TLS12, record, &size);
		if (size > sizeof(all) - used)
			abort();
		memcpy(all + used, record, size);
		used += size;
	}
	if (send(ends[1], all, used, 0) != (ssize_t)used)
		abort();
}

static enum tls_want open_session(void)
{
	enum tls_want want = TLS_WANT_READ;

	start();
	start_server();
	for (int i = 0; i < 20 && (want == TLS_WANT_READ || want == TLS_WANT_WRITE); i++) {
		want = tls_handshake(&session, ends[0]);
		serve();
	}
	return want;
}

/* The same certificate serves as the server's and, in a file, as ours. */
static void load_identity(void)
{
	int fd = memfd_create("pem", 0);
	char path[64];

	if (write(fd, cert_pem, strlen(cert_pem)) < 0 || write(fd, key_pem, strlen(key_pem)) < 0)
		abort();
	fchmod(fd, 0600);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(client_cert_load(path, path, why, sizeof(why)), "%s", why);
	close(fd);
}

static const char pin_text[] = "sha256//iurjEMgTtRvvCcrFxs8VEXtpKG2ui1iK3TrMhrWcsn8=";

static void test_pins(void)
{
	static struct tls_peer_info seen;
	uint8_t pin[2][PIN_SIZE] = {{0}};
	struct cert c;

	begin_test("tls: a pinned key is enough where only pins count, and a must where they are "
		   "added");
	load_identity();
	CHECK(!cert_parse(&c, own.cert[0].data, own.cert[0].data_len));
	cert_pin(pin[1], &c);
	tls_describe(&seen);
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 2, true);
	CHECK(open_session() == TLS_OK, "%s", tls_why(&session));
	CHECK(!strcmp(seen.pin, pin_text), "%s", seen.pin);
	CHECK(!strcmp(seen.names, "example.test") && seen.certs == 1);
	CHECK(!strcmp(seen.version, "TLS 1.2") && seen.curve);
	CHECK(!strcmp(seen.cipher, "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"));
	CHECK(!strcmp(seen.cert[0].key, "ECDSA P-256") && seen.cert[0].bits == 256);
	CHECK(seen.cert[0].not_before == 1577836800 && seen.cert[0].not_after == 2208988800);
	stop();
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 1, true);
	CHECK(open_session() == TLS_FAILED && tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), pin_text), "%s", tls_why(&session));
	CHECK(!strcmp(seen.pin, pin_text) && seen.certs == 1, "described all the same");
	stop();
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 0, true);
	CHECK(open_session() == TLS_FAILED && tls_untrusted(&session));
	stop();
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 2, false);
	CHECK(open_session() == TLS_FAILED && strstr(tls_why(&session), "expired"),
		"the CA's rules hold: %s", tls_why(&session));
	CHECK(strstr(tls_why(&session), "the clock is not set"), "%s", tls_why(&session));
	stop();
	tls_describe(NULL);

	begin_test("tls: a pin does not help who lacks the key");
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 2, true);
	own.ec.x[5] ^= 1;
	CHECK(open_session() == TLS_FAILED && tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), "does not hold"), "%s", tls_why(&session));
	own.ec.x[5] ^= 1;
	stop();
	tls_pin(NULL, 0, false);
}

static void test_weak_handshakes(void)
{
	/* 0 and 1, with and without the bit that does not count; then p - 1, p and p + 1: their
	 * first and last bytes */
	static const uint8_t ends[3][2] = {{0xec, 0x7f}, {0xed, 0x7f}, {0xee, 0x7f}};
	uint8_t pin[1][PIN_SIZE];
	struct cert c;

	CHECK(!cert_parse(&c, own.cert[0].data, own.cert[0].data_len));
	cert_pin(pin[0], &c);
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 1, true);

	begin_test("tls: a server without secure renegotiation is refused, by name");
	without_renegotiation = true;
	CHECK(open_session() == TLS_FAILED && tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), "RFC 5746"), "%s", tls_why(&session));
	stop();
	without_renegotiation = false;

	begin_test("tls: X25519 shares that make the secret zero are refused, by name");
	has_share = true;
	for (int i = 0; i < 7; i++) {
		memset(share, i < 4 ? 0 : 0xff, sizeof(share));
		share[0] = i < 4 ? (uint8_t)(i % 2) : ends[i - 4][0];
		share[31] = i < 4 ? (uint8_t)(i / 2 * 0x80) : ends[i - 4][1];
		CHECK(open_session() == TLS_FAILED && tls_untrusted(&session), "%d", i);
		CHECK(strstr(tls_why(&session), "X25519"), "%d: %s", i, tls_why(&session));
		stop();
	}
	CHECK(!share_was_zero);
	memset(share, 9, sizeof(share));
	CHECK(open_session() != TLS_OK && !strstr(tls_why(&session), "X25519"),
		"another one's, which is good: %s", tls_why(&session));
	stop();
	has_share = false;
	CHECK(open_session() == TLS_OK, "%s", tls_why(&session));
	stop();
	tls_pin(NULL, 0, false);
}

/* Pins the key of the server above, and nothing else. */
static void pin_server(void)
{
	static uint8_t pin[1][PIN_SIZE];
	struct cert c;

	CHECK(!cert_parse(&c, own.cert[0].data, own.cert[0].data_len));
	cert_pin(pin[0], &c);
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 1, true);
}

/* BearSSL, as a server, has no mark: it is put into the session afterwards. */
static void test_downgrade(void)
{
	begin_test("tls: a try by 1.2 after 1.3 minds the server's mark, whatever is remembered");
	pin_server();
	for (int marked = 0; marked < 2; marked++) {
		origin_set(session.origin, ORIGIN_NEWER);
		CHECK(refuse_hello(70) == 13 && tls_again(&session));
		origin_set(session.origin, ORIGIN_UNKNOWN);
		CHECK(open_session() == TLS_OK && !session.is_newer, "%s", tls_why(&session));
		if (marked)
			memcpy(session.client.eng.server_random + 24, "DOWNGRD\1", 8);
		CHECK(settle_older(&session) == (marked ? TLS_FAILED : TLS_OK));
		CHECK(origin_state(session.origin) == (marked ? ORIGIN_NEWER : ORIGIN_UNKNOWN));
		stop();
	}
	CHECK(strstr(tls_why(&session), "keeps the server from"), "%s", tls_why(&session));
	origin_set(session.origin, ORIGIN_UNKNOWN);
	tls_pin(NULL, 0, false);
}

/* Whether the session's end sends something, which the server then takes. */
static bool says_goodbye(void)
{
	uint8_t byte;
	bool said;

	tls_end(&session, ends[0]);
	said = recv(ends[1], &byte, 1, MSG_PEEK) == 1;
	serve();
	return said;
}

static void test_end(void)
{
	static const uint8_t zeros[sizeof(session.input)];
	static char hello[1000], buffer[16];
	size_t got;

	begin_test("tls: the end of a session is said to the server once, and wipes the data");
	pin_server();
	CHECK(open_session() == TLS_OK, "%s", tls_why(&session));
	send_records(1, 23, "data");
	CHECK(tls_read(&session, ends[0], buffer, 4, &got) == TLS_OK && got == 4);
	CHECK(memmem(session.input, sizeof(session.input), "data", 4));
	CHECK(says_goodbye() && server.eng.shutdown_recv && !server.eng.err);
	CHECK(!memcmp(session.input, zeros, sizeof(zeros)));
	CHECK(!says_goodbye());
	stop();

	begin_test("tls: it is not said before the handshake's end, nor after a failure");
	start();
	CHECK(!says_goodbye());
	stop();
	start();
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ);
	CHECK(recv(ends[1], hello, sizeof(hello), 0) > 0 && !says_goodbye());
	stop();
	CHECK(open_session() == TLS_OK, "%s", tls_why(&session));
	send(ends[1], "\x17\x03\x03\x00\x14--------------------", 25, 0);
	CHECK(tls_read(&session, ends[0], buffer, 4, &got) == TLS_FAILED);
	serve();
	CHECK(!says_goodbye());
	stop();

	begin_test("tls: records that wait go before it, or it is left out");
	CHECK(open_session() == TLS_OK, "%s", tls_why(&session));
	while (tls_write(&session, ends[0], hello, sizeof(hello), &got) == TLS_OK)
		;
	CHECK(tls_why(&session)[0] == '\0', "%s", tls_why(&session));
	take_all();
	CHECK(says_goodbye());
	take_all();
	CHECK(!server.eng.err, "%d", server.eng.err);
	stop();
	tls_pin(NULL, 0, false);
}

static void test_alert_and_gone(void)
{
	static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 40}; /* fatal: handshake_failure */

	begin_test("tls: a server that says why and closes before we have sent is heard");
	start();
	CHECK(write(ends[1], alert, sizeof(alert)) == sizeof(alert));
	close(ends[1]);
	CHECK(tls_handshake(&session, ends[0]) == TLS_FAILED);
	CHECK(strstr(tls_why(&session), "handshake_failure"), "%s", tls_why(&session));
	ends[1] = -1;
	stop();
}

static void test_after_handshake(void)
{
	static uint8_t left[1 << 17];
	uint8_t pin[1][PIN_SIZE];
	char buffer[16];
	struct cert c;
	size_t got;

	begin_test("tls: floods of empty records after the handshake are taken in portions");
	CHECK(!cert_parse(&c, own.cert[0].data, own.cert[0].data_len));
	cert_pin(pin[0], &c);
	tls_pin((const uint8_t(*)[PIN_SIZE])pin, 1, true);
	CHECK(open_session() == TLS_OK, "%s", tls_why(&session));
	send_records(1000, 23, "");
	send_records(1, 23, "data");
	CHECK(tls_read(&session, ends[0], buffer, sizeof(buffer), &got) == TLS_WANT_READ);
	CHECK(got == 0);
	CHECK(recv(ends[0], left, sizeof(left), MSG_PEEK) > 800 * 21, "some were left");
	for (int i = 0; i < 20 && got == 0; i++)
		tls_read(&session, ends[0], buffer, sizeof(buffer), &got);
	CHECK(got == 4 && !memcmp(buffer, "data", 4), "%zu", got);

	begin_test("tls: so are warnings, and what follows them arrives");
	send_records(1000, 21, "\x01\x5a");
	send_records(1, 23, "more");
	CHECK(tls_read(&session, ends[0], buffer, sizeof(buffer), &got) == TLS_WANT_READ);
	for (int i = 0; i < 20 && got == 0; i++)
		tls_read(&session, ends[0], buffer, sizeof(buffer), &got);
	CHECK(got == 4 && !memcmp(buffer, "more", 4), "%zu: %s", got, tls_why(&session));

	begin_test("tls: a forged record ends the session, not as a matter of trust");
	send(ends[1], "\x17\x03\x03\x00\x14--------------------", 25, 0);
	CHECK(tls_read(&session, ends[0], buffer, sizeof(buffer), &got) == TLS_FAILED);
	CHECK(got == 0 && !tls_untrusted(&session) && strstr(tls_why(&session), "BAD_MAC"), "%s",
		tls_why(&session));
	stop();
	tls_pin(NULL, 0, false);
}

static void trust(const char *text)
{
	int fd = memfd_create("pem", 0);
	char path[64];

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(roots_open(path, why, sizeof(why)), "%s", why);
	close(fd);
}

int main(void)
{
	trust(root_pem);
	test_start();
	test_clock();
	test_hello();
	test_bounds();
	test_alerts();
	test_versions();
	test_no_tls();
	test_junk();
	test_pins();
	test_weak_handshakes();
	test_downgrade();
	test_end();
	test_alert_and_gone();
	test_after_handshake();
	CHECK(tls_size() <= 25000, "%zu", tls_size());
	return finish_tests();
}
