/* tls13.c - unit tests of the TLS 1.3 client: sessions with a server that is right, or wrong in one
 * place. What a server may say, and which alert it gets else, is taken from RFC 8446. */
#include "test/unit/trust/tls13_cases.h"

/* ---- right sessions ---- */

static void check_exchange(void)
{
	static const char text[] = "GET / HTTP/1.1\r\n\r\n";

	client_sends(text, strlen(text));
	CHECK(srv.data_size == strlen(text) && !memcmp(srv.data, text, strlen(text)), "%zu",
		srv.data_size);
	srv_record(23, "answer", 6);
	CHECK(has_received("answer"));
	CHECK(tls13_is_at_rest(&client) && client.data_came);
	srv_record(21, "\1\0", 2);
	CHECK(client.state == TLS13_ENDED && client.error == BR_ERR_OK && srv.alert == 0);
	CHECK(tls13_current_state(&client) == BR_SSL_CLOSED && !tls13_is_at_rest(&client));
	CHECK(!srv.wrong && !judge.misused);
}

static void test_sessions(void)
{
	static const unsigned suites[] = {0x1301, 0x1302, 0x1303},
			      groups[] = {SRV_X25519, SRV_P256, SRV_P384, SRV_P521},
			      schemes[] = {0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806};

	begin_test("tls13: a session with each suite, group and scheme");
	for (int i = 0; i < 12; i++) {
		srv.cookie = i % 3 == 1 ? "a cookie, which comes back" : NULL;
		srv.chunk = i % 2 ? 0 : (size_t)(1 + 3 * i);
		CHECK(srv_open(suites[i % 3], groups[i / 3], schemes[i / 2]),
			"%d: state %d, error %u", i, client.state, client.error);
		CHECK(client.suite->number == suites[i % 3] && client.offer.group == groups[i / 3]);
		CHECK(srv.hellos == (i / 3 > 0 || srv.cookie ? 2u : 1u), "%d: %u", i, srv.hellos);
		CHECK(srv.ccs, "for middleboxes");
		CHECK(judge.certs == 2 && judge.bytes == 1000 &&
			!strcmp(judge.host, "example.test"));
		if (srv.cookie)
			CHECK(memmem(srv.hello, srv.hello_size, srv.cookie, strlen(srv.cookie)));
		check_exchange();
	}
	srv.cookie = NULL;
	srv.chunk = 0;
	srv.group = SRV_X25519;
}

static void test_hello(void)
{
	static const uint8_t offer[] = {0x13, 3, 0x13, 1, 0x13, 2, 0x13, 3};
	uint8_t first[3000];
	char name[HOST_MAX + 1];

	begin_test("tls13: the ClientHello");
	client_setup.host = "example.test";
	srv.scheme = 0x0403;
	set_judge(srv.scheme);
	srv_start();
	CHECK(srv.hellos == 1 && !srv.wrong && srv.share_group == SRV_X25519 && !srv.ccs);
	CHECK(srv.session_size == 32 && srv.hello[4] == 3 && srv.hello[5] == 3);
	CHECK(memmem(srv.hello, srv.hello_size, "example.test", 12));
	CHECK(memmem(srv.hello, srv.hello_size, "\0\x2b\0\3\2\3\4", 7), "1.3 only");
	CHECK(memmem(srv.hello, srv.hello_size, offer + 2, 6), "GCM first");
	gcm_first = false;
	srv_start();
	CHECK(memmem(srv.hello, srv.hello_size, offer, 6), "ChaCha20 first");
	gcm_first = true;
	client_setup.host = NULL;
	srv_start();
	CHECK(!memmem(srv.hello, srv.hello_size, "example.test", 12) && !srv.wrong);

	begin_test("tls13: the second hello is the first, but for share and cookie (4.1.2)");
	memset(name, 'n', sizeof(name));
	name[HOST_MAX - 1] = '\0';
	client_setup.host = name;
	srv.group = SRV_P521;
	srv_start();
	memcpy(first, srv.hello, srv.hello_size);
	srv_retry(SRV_P521, NULL);
	CHECK(srv.hellos == 2 && !srv.wrong && srv.share_group == SRV_P521 && srv.ccs);
	CHECK(!memcmp(first + 4, srv.hello + 4, 2 + 32 + 1 + 32 + 8 + 2),
		"random, session, suites");
	srv_until(TLS13_OPEN);
	CHECK(client.state == TLS13_OPEN && srv.finished, "%u", client.error);
	client_setup.host = "example.test";
	srv.group = SRV_X25519;
	srv_start();
	memcpy(first, srv.share, srv.share_size);
	srv_retry(0, "cookie");
	CHECK(srv.hellos == 2 && !memcmp(first, srv.share, srv.share_size), "only a cookie is new");
	srv_until(TLS13_OPEN);
	CHECK(client.state == TLS13_OPEN && srv.finished && !srv.wrong, "%u", client.error);
}

/* ---- what may come when ---- */

static const enum tls13_state waiting_states[] = {TLS13_HELLO, TLS13_SECOND_HELLO, TLS13_EXTENSIONS,
	TLS13_REQUEST, TLS13_CHAIN, TLS13_PROOF, TLS13_END, TLS13_OPEN};
#define WAITING (sizeof(waiting_states) / sizeof(*waiting_states))

/* Section 4: which messages may come in each of these states (appendix A.1). */
static bool may_come(enum tls13_state state, unsigned type)
{
	switch (state) {
	case TLS13_HELLO:
	case TLS13_SECOND_HELLO:
		return type == 2;
	case TLS13_EXTENSIONS:
		return type == 8;
	case TLS13_REQUEST:
		return type == 11 || type == 13;
	case TLS13_CHAIN:
		return type == 11;
	case TLS13_PROOF:
		return type == 15;
	case TLS13_END:
		return type == 20;
	case TLS13_OPEN:
		return type == 4 || type == 24;
	default:
		return false;
	}
}

/* A message of that type which is right in itself. */
static void say_type(unsigned type)
{
	static uint8_t body[3000];

	switch (type) {
	case 2:
		if (client.state <= TLS13_SECOND_HELLO)
			srv_hello();
		else
			srv_message(2, body, srv_hello_body(body, srv_random, "\0\x2b\0\2\3\4", 6));
		break;
	case 8:
		srv_message(8, "\0\0", 2);
		break;
	case 11:
		srv_message(11, body, srv_certificate_body(body, 2, 500));
		break;
	case 13:
		srv_message(13, srv_request_body, sizeof(srv_request_body));
		break;
	case 15:
		srv_message(15, body, srv_verify_body(body, srv.scheme, srv_context));
		break;
	case 20:
		srv_finished();
		break;
	case 24:
		srv_message(24, "\0", 1);
		break;
	case 4:
		srv_message(4, srv_ticket, sizeof(srv_ticket));
		break;
	default:
		srv_message(type, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	}
}

static void test_messages(void)
{
	begin_test("tls13: each type of message in each state");
	for (size_t i = 0; i < WAITING; i++) {
		enum tls13_state state = waiting_states[i];

		enter(state);
		keep();
		for (unsigned type = 0; type < 256; type++) {
			again();
			say_type(type);
			if (may_come(state, type)) {
				CHECK(client.state != TLS13_BROKEN, "state %d, type %u: error %u",
					state, type, client.error);
				CHECK((client.state != state) == (state != TLS13_OPEN));
				srv_until(TLS13_OPEN);
				CHECK(client.state == TLS13_OPEN && !srv.wrong);
			} else {
				check_refused("message in state", 1000u * state + type, 10,
					BR_ERR_UNEXPECTED);
			}
		}
	}
}

/* 5: records of each type, encrypted or not, in each state. */
static void test_types(void)
{
	begin_test("tls13: each type of record in each state");
	for (size_t i = 0; i < WAITING; i++) {
		enum tls13_state state = waiting_states[i];

		enter(state);
		keep();
		for (unsigned type = 0; type < 256; type++) {
			bool is_open = state == TLS13_OPEN, is_tls = type >= 20 && type <= 23;

			again();
			if (!srv.secure && type != 21 && type != 22) {
				srv_record(type, "\1", 1);
				if (type == 20)
					CHECK(client.state == state);
				else
					check_refused("record in state", 1000u * state + type, 10,
						is_tls ? BR_ERR_UNEXPECTED : BR_ERR_UNKNOWN_TYPE);
			} else if (srv.secure && type != 21 && type != 22) {
				srv_record(type, "\1", 1);
				if (type == 23 && is_open)
					CHECK(has_received("\1") && client.state == state);
				else
					check_refused("encrypted record in state",
						1000u * state + type, 10, BR_ERR_UNEXPECTED);
				again();
				srv.secure = false;
				srv_record(type, "\1", 1);
				if (type == 20 && !is_open)
					CHECK(client.state == state);
				else if (type != 23)
					CHECK(srv.alert >= 0 || client.state == TLS13_BROKEN,
						"plain %u", type);
			}
		}
	}
}

/* ---- ServerHello, 4.1.3 ---- */

struct hello_case {
	const char *about;
	int alert;
	unsigned error;
	unsigned version; /* 0: 0x0303 */
	unsigned suite;	  /* 0: the right one */
	int compression;
	int session;		/* what is added to its size; 100: another one */
	const char *extensions; /* hex; "S" stands for the right share, "V" for the version */
	const char *random;
};

#define SHARE "S"
#define V13   "002b00020304"

/* Sends a ServerHello, or HelloRetryRequest, that is as the case says. */
static void say_hello(const struct hello_case *c)
{
	uint8_t x[1500], body[2000], share[300], *p = body;
	size_t size = 0, share_size = srv_hello_extensions(share);

	for (const char *hex = c->extensions; hex && *hex;) {
		if (*hex == 'S') {
			memcpy(x + size, share + 6, share_size - 6);
			size += share_size - 6;
			hex++;
		} else {
			char two[3] = {hex[0], hex[1], 0};

			size += unhex(x + size, two);
			hex += 2;
		}
	}
	p = srv_put16(p, c->version ? c->version : 0x0303);
	memcpy(p, c->random ? c->random : (const char *)srv_random, 32);
	p += 32;
	*p++ = (uint8_t)(srv.session_size + (size_t)(c->session == 100 ? 0 : c->session));
	memcpy(p, srv.session, 32);
	p[32] = 7;
	p[5] ^= c->session == 100;
	p += p[-1];
	p = srv_put16(p, c->suite ? c->suite : srv.suite);
	*p++ = (uint8_t)c->compression;
	if (c->extensions) {
		p = srv_put16(p, size);
		memcpy(p, x, size);
		p += size;
	}
	srv_message(2, body, (size_t)(p - body));
}

#define RETRY (const char *)srv_retry_random
#define OLD   "0123456789abcdef01234567DOWNGRD\1"
#define OLDER "0123456789abcdef01234567DOWNGRD"
#define BAD   BR_ERR_BAD_HANDSHAKE
#define EXTRA BR_ERR_EXTRA_EXTENSION

static const struct hello_case hello_cases[] = {
	{"no extensions at all", 70, BR_ERR_UNSUPPORTED_VERSION, 0, 0, 0, 0, NULL, NULL},
	{"an empty list of them", 70, BR_ERR_UNSUPPORTED_VERSION, 0, 0, 0, 0, "", NULL},
	{"no version", 70, BR_ERR_UNSUPPORTED_VERSION, 0, 0, 0, 0, SHARE, NULL},
	{"TLS 1.2", 70, BR_ERR_UNSUPPORTED_VERSION, 0, 0xc02b, 0, 0, "ff01000100", NULL},
	{"TLS 1.2 of a server that has 1.3", 47, TLS13_ERR_DOWNGRADE, 0, 0xc02b, 0, 0, NULL, OLD},
	{"TLS 1.1 of one", 47, TLS13_ERR_DOWNGRADE, 0x0302, 0xc013, 0, 0, NULL, OLDER},
	{"version 1.2 in the new one", 47, BAD, 0, 0, 0, 0, "002b00020303" SHARE, NULL},
	{"a draft's version", 47, BAD, 0, 0, 0, 0, "002b00027f1c" SHARE, NULL},
	{"a version of one byte", 50, BAD, 0, 0, 0, 0, "002b000103" SHARE, NULL},
	{"a version of three bytes", 50, BAD, 0, 0, 0, 0, "002b0003030400" SHARE, NULL},
	{"two versions", 47, BAD, 0, 0, 0, 0, V13 V13 SHARE, NULL},
	{"no share", 109, BAD, 0, 0, 0, 0, V13, NULL},
	{"two shares", 47, BAD, 0, 0, 0, 0, V13 SHARE SHARE, NULL},
	{"a share with a byte behind it", 50, BAD, 0, 0, 0, 0, V13 "00330006001d0001ffff", NULL},
	{"a share that is cut", 50, BAD, 0, 0, 0, 0, V13 "00330005001d0002ff", NULL},
	{"an empty share", 47, BR_ERR_INVALID_ALGORITHM, 0, 0, 0, 0, V13 "00330004001d0000", NULL},
	{"only a group", 50, BAD, 0, 0, 0, 0, V13 "00330002001d", NULL},
	{"a share of one byte", 47, BR_ERR_INVALID_ALGORITHM, 0, 0, 0, 0, V13 "00330005001d0001ff",
		NULL},
	{"a share of a group not offered", 47, BR_ERR_INVALID_ALGORITHM, 0, 0, 0, 0,
		V13 "00330005001e0001ff", NULL},
	{"a share of a group that has no share yet", 47, BR_ERR_INVALID_ALGORITHM, 0, 0, 0, 0,
		V13 "0033000500170001ff", NULL},
	{"group 0", 47, BR_ERR_INVALID_ALGORITHM, 0, 0, 0, 0, V13 "0033000500000001ff", NULL},
	{"a cookie", 47, BAD, 0, 0, 0, 0, V13 SHARE "002c0003000161", NULL},
	{"ALPN", 110, EXTRA, 0, 0, 0, 0,
		V13 SHARE "00100005000302"
			  "6832",
		NULL},
	{"a pre-shared key", 110, EXTRA, 0, 0, 0, 0, V13 SHARE "002900020000", NULL},
	{"an extended master secret", 110, EXTRA, 0, 0, 0, 0, V13 SHARE "00170000", NULL},
	{"renegotiation_info", 110, EXTRA, 0, 0, 0, 0, V13 SHARE "ff01000100", NULL},
	{"an unknown extension", 110, EXTRA, 0, 0, 0, 0, V13 SHARE "1a1a0000", NULL},
	{"a name", 47, BAD, 0, 0, 0, 0, V13 SHARE "00000000", NULL},
	{"supported_groups", 47, BAD, 0, 0, 0, 0, V13 SHARE "000a00040002001d", NULL},
	{"signature_algorithms", 47, BAD, 0, 0, 0, 0, V13 SHARE "000d000400020403", NULL},
	{"half an extension", 50, BAD, 0, 0, 0, 0, V13 SHARE "1a1a00", NULL},
	{"an extension beyond the end", 50, BAD, 0, 0, 0, 0,
		V13 SHARE "1a1a000101"
			  "002c0009",
		NULL},
	{"compression", 47, BAD, 0, 0, 1, 0, V13 SHARE, NULL},
	{"another session", 47, BAD, 0, 0, 0, 100, V13 SHARE, NULL},
	{"no session", 47, BAD, 0, 0, 0, -32, V13 SHARE, NULL},
	{"a part of the session", 47, BAD, 0, 0, 0, -1, V13 SHARE, NULL},
	{"a session of 33 bytes", 47, BAD, 0, 0, 0, 1, V13 SHARE, NULL},
	{"a suite not offered", 47, BR_ERR_BAD_CIPHER_SUITE, 0, 0x1304, 0, 0, V13 SHARE, NULL},
	{"a suite of TLS 1.2", 47, BR_ERR_BAD_CIPHER_SUITE, 0, 0xcca9, 0, 0, V13 SHARE, NULL},
	{"suite 0x1300", 47, BR_ERR_BAD_CIPHER_SUITE, 0, 0x1300, 0, 0, V13 SHARE, NULL},
	{"suite 0", 47, BR_ERR_BAD_CIPHER_SUITE, 0, 0x10000, 0, 0, V13 SHARE, NULL},
	/* HelloRetryRequests */
	{"a retry that changes nothing", 47, BAD, 0, 0, 0, 0, V13, RETRY},
	{"a retry for the group at hand", 47, BAD, 0, 0, 0, 0, V13 "00330002001d", RETRY},
	{"the same with a cookie", 47, BAD, 0, 0, 0, 0, V13 "00330002001d002c0003000161", RETRY},
	{"a retry for a group not offered", 47, BAD, 0, 0, 0, 0, V13 "00330002001e", RETRY},
	{"a retry for ML-KEM", 47, BAD, 0, 0, 0, 0, V13 "0033000211ec", RETRY},
	{"a retry for group 0", 47, BAD, 0, 0, 0, 0, V13 "003300020000", RETRY},
	{"a retry with a share", 50, BAD, 0, 0, 0, 0, V13 "003300050017000101", RETRY},
	{"a retry with half a group", 50, BAD, 0, 0, 0, 0, V13 "0033000117", RETRY},
	{"an empty cookie", 50, BAD, 0, 0, 0, 0,
		V13 "00330002"
		    "0017"
		    "002c00020000",
		RETRY},
	{"a cookie of no bytes", 50, BAD, 0, 0, 0, 0, V13 "003300020017002c0000", RETRY},
	{"a cookie with a byte behind it", 50, BAD, 0, 0, 0, 0, V13 "002c000400016100", RETRY},
	{"two cookies", 47, BAD, 0, 0, 0, 0, V13 "002c0003000161002c0003000161", RETRY},
	{"a retry without version", 70, BR_ERR_UNSUPPORTED_VERSION, 0, 0, 0, 0, "003300020017",
		RETRY},
	{"a retry with a pre-shared key", 110, EXTRA, 0, 0, 0, 0, V13 "003300020017002900020000",
		RETRY},
	{"a retry with a name", 47, BAD, 0, 0, 0, 0, V13 "00330002001700000000", RETRY},
	{"a retry with another session", 47, BAD, 0, 0, 0, 100, V13 "003300020017", RETRY},
	{"a retry with compression", 47, BAD, 0, 0, 1, 0, V13 "003300020017", RETRY},
	{"a retry with a suite not offered", 47, BR_ERR_BAD_CIPHER_SUITE, 0, 0x1304, 0, 0,
		V13 "003300020017", RETRY},
};

static void test_hellos(void)
{
	begin_test("tls13: a ServerHello or HelloRetryRequest that is wrong in one place");
	enter(TLS13_HELLO);
	keep();
	for (size_t i = 0; i < sizeof(hello_cases) / sizeof(*hello_cases); i++) {
		again();
		say_hello(&hello_cases[i]);
		check_refused(hello_cases[i].about, i, hello_cases[i].alert, hello_cases[i].error);
		CHECK(srv.hellos == 1);
	}

	begin_test("tls13: the old place of the version does not count (4.2.1)");
	for (unsigned version = 0x0301; version <= 0x0304; version++) {
		const struct hello_case c = {"", 0, 0, version, 0, 0, 0, V13 SHARE, NULL};

		again();
		say_hello(&c);
		CHECK(client.state == TLS13_EXTENSIONS, "%x: %u", version, client.error);
	}

	begin_test("tls13: but SSL 3.0 in it is refused (D.5)");
	for (int turn = 0; turn < 2; turn++) {
		const struct hello_case c = {"", 0, 0, 0x0300, 0, 0, 0,
			turn ? V13 "003300020017" : V13 SHARE, turn ? RETRY : NULL};

		again();
		say_hello(&c);
		check_refused("SSL 3.0", (size_t)turn, 70, BR_ERR_UNSUPPORTED_VERSION);
		CHECK(srv.hellos == 1);
	}

	begin_test("tls13: a ServerHello cut at each byte, or with a byte more");
	for (int turn = 0; turn < 2; turn++) {
		uint8_t x[300], body[500];
		size_t size = srv_hello_body(
			body, turn ? srv_retry_random : srv_random, x, srv_hello_extensions(x));

		for (size_t cut = 0; cut <= size + 1; cut++) {
			again();
			if (cut == size || cut == 70) /* there it has no extensions */
				continue;
			srv_message(2, body, cut);
			check_refused("a hello cut", cut, 50, BAD);
		}
	}
}

static void test_second_hellos(void)
{
	static const struct hello_case second = {"", 0, 0, 0, 0, 0, 0, V13 "003300020018", RETRY};
	struct hello_case c = {"", 0, 0, 0, 0, 0, 0, V13 SHARE, NULL};

	begin_test(
		"tls13: after a HelloRetryRequest another one, suite or group is refused (4.1.4)");
	srv.group = SRV_P256;
	enter(TLS13_SECOND_HELLO);
	keep();
	say_hello(&second);
	check_refused(__func__, __LINE__, 10, BR_ERR_UNEXPECTED);
	again();
	c.suite = 0x1301;
	say_hello(&c);
	check_refused(__func__, __LINE__, 47, BR_ERR_BAD_CIPHER_SUITE);
	again();
	c.suite = 0;
	srv.group = SRV_X25519;
	say_hello(&c);
	check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
	again();
	srv.group = SRV_P384;
	say_hello(&c);
	check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
	again();
	c.session = 100;
	say_hello(&c);
	check_refused(__func__, __LINE__, 47, BAD);
	srv.group = SRV_X25519;

	begin_test("tls13: a cookie of any size comes back whole, or is refused by name");
	enter(TLS13_HELLO);
	keep();
	for (size_t size = 1, longest = 0; size < 1200; size += size < 400 ? 37 : 1) {
		static char cookie[1200];

		again();
		memset(cookie, 'k', size);
		cookie[size] = '\0';
		srv.group = SRV_P521;
		srv_retry(SRV_P521, cookie);
		if (client.state == TLS13_SECOND_HELLO) {
			CHECK(longest == 0 && srv.hellos == 2 && !srv.wrong, "%zu", size);
			CHECK(memmem(srv.hello, srv.hello_size, cookie, size));
		} else {
			longest = longest ? longest : size;
			CHECK(size > 500, "%zu", size);
			if (size < 900) /* longer ones are no message that we take */
				check_refused(__func__, __LINE__, 80, TLS13_ERR_COOKIE);
		}
	}
	srv.group = SRV_X25519;
}

/* ---- shares, 4.2.8 and 7.4 ---- */

static void say_share(const uint8_t *share, size_t size)
{
	uint8_t x[400], *p = x, body[600];

	memcpy(p, "\0\x2b\0\2\3\4", 6);
	p = srv_put16(srv_put16(p + 6, 51), size + 4);
	p = srv_put16(srv_put16(p, srv.group), size);
	memcpy(p, share, size);
	srv_message(2, body, srv_hello_body(body, srv_random, x, (size_t)(p - x) + size));
}

static void test_shares(void)
{
	/* Of order 8 (RFC 7748 section 6.1 says what their secret is). */
	static const char *const order8[] = {
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"};
	static const uint8_t first[3] = {0xec, 0xed, 0xee};
	uint8_t share[140];
	size_t size;

	begin_test("tls13: X25519 shares that make the secret zero are refused");
	enter(TLS13_HELLO);
	keep();
	for (int i = 0; i < 14; i++) {
		memset(share, i < 4 ? 0 : 0xff, 32);
		if (i < 4)
			share[0] = i % 2, share[31] = (uint8_t)(i / 2 * 0x80);
		else if (i < 10)
			share[0] = first[i % 3], share[31] = i < 7 ? 0x7f : 0xff;
		else
			unhex(share, order8[i % 2]), share[31] |= i < 12 ? 0x80 : 0;
		again();
		say_share(share, 32);
		check_refused("share", (size_t)i, 47, BR_ERR_INVALID_ALGORITHM);
	}

	begin_test("tls13: shares that are no point of their curve are refused");
	for (srv.group = SRV_P256; srv.group <= SRV_P521; srv.group++) {
		enter(TLS13_SECOND_HELLO);
		size = srv_make_share(share);
		keep();
		for (size_t i = 0; i < size; i += size / 7) {
			share[i] ^= 1;
			again();
			say_share(share, size);
			check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
			share[i] ^= 1;
		}
		for (int form = 0; form < 8; form++) {
			uint8_t head = share[0];

			again();
			share[0] = (uint8_t)form;
			if (form != 4) {
				say_share(share, size);
				check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
			}
			share[0] = head;
			again();
			say_share(share, size - 1 - (size_t)form);
			check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
		}
		again();
		memset(share + 1, 0, size - 1);
		say_share(share, size);
		check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
		again();
		say_share(share, 1);
		check_refused(__func__, __LINE__, 47, BR_ERR_INVALID_ALGORITHM);
	}
	srv.group = SRV_X25519;
}

int main(void)
{
	test_hello();
	test_sessions();
	test_messages();
	test_types();
	test_hellos();
	test_second_hellos();
	test_shares();
	return finish_tests();
}
