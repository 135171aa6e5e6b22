/* tls13.c - unit tests of the handshake behind the hellos: the server's flight wrong in one place,
 * and our own certificate. */
#include "test/unit/trust/tls13_cases.h"

#define BAD   BR_ERR_BAD_HANDSHAKE
#define EXTRA BR_ERR_EXTRA_EXTENSION

/* A message that is wrong, in hex, and what the server gets for it; 0: it is right. */
struct message_case {
	const char *about, *body;
	int alert;
	unsigned error;
};

/* Sends each of them, of this type, in this state. */
static void check_messages(
	enum tls13_state state, unsigned type, const struct message_case *cases, size_t count)
{
	static uint8_t body[2000];

	enter(state);
	keep();
	for (size_t i = 0; i < count; i++) {
		again();
		srv_message(type, body, unhex(body, cases[i].body));
		if (cases[i].alert > 0)
			check_refused(cases[i].about, i, cases[i].alert, cases[i].error);
		else
			CHECK((client.state > state || state == TLS13_OPEN) &&
					client.state != TLS13_BROKEN && !srv.wrong,
				"%s: %u", cases[i].about, client.error);
	}
}

#define CHECK_MESSAGES(state, type, cases)                                                         \
	check_messages(state, type, cases, sizeof(cases) / sizeof(*(cases)))

static void test_extensions(void)
{
	static const struct message_case cases[] = {
		{"none", "0000", 0, 0},
		{"a server's groups", "000a000a000600040017001d", 0, 0},
		{"the name taken", "000400000000", 0, 0},
		{"both", "000c00000000000a00040002001d", 0, 0},
		{"nothing", "", 50, BAD},
		{"half a length", "00", 50, BAD},
		{"a byte behind the list", "000000", 50, BAD},
		{"a list that is cut", "0001", 50, BAD},
		{"half an extension", "00020000", 50, BAD},
		{"an extension that is cut", "00050000000200", 50, BAD},
		{"a name with content", "0005000000010a", 50, BAD},
		{"groups of no bytes", "0004000a0000", 50, BAD},
		{"an empty list of groups", "0006000a00020000", 50, BAD},
		{"half a group", "0007000a0003000100", 50, BAD},
		{"groups that are cut", "0008000a00040004001d", 50, BAD},
		{"the name twice", "00080000000000000000", 47, BAD},
		{"groups twice", "0010000a00040002001d000a00040002001d", 47, BAD},
		{"ALPN", "0009001000050003026832", 110, EXTRA},
		{"a smaller record", "00050001000101", 110, EXTRA},
		{"record_size_limit", "0006001c00024001", 110, EXTRA},
		{"early data", "0004002a0000", 110, EXTRA},
		{"an encrypted hello", "0004fe0d0000", 110, EXTRA},
		{"an unknown one", "00040a0a0000", 110, EXTRA},
		{"status_request", "000400050000", 110, EXTRA},
		{"a key share", "0008003300040000001d", 47, BAD},
		{"a version", "0006002b00020304", 47, BAD},
		{"a cookie", "0007002c0003000161", 47, BAD},
		{"signature_algorithms", "0008000d000400020403", 47, BAD},
	};

	begin_test("tls13: EncryptedExtensions that are right, or wrong in one place");
	CHECK_MESSAGES(TLS13_EXTENSIONS, 8, cases);

	begin_test("tls13: a name that we have not sent cannot be taken");
	client_setup.host = NULL;
	srv_start();
	srv_until(TLS13_EXTENSIONS);
	srv_message(8, "\0\4\0\0\0\0", 6);
	check_refused("name", 0, 110, EXTRA);
}

static void test_request(void)
{
	static const struct message_case cases[] = {
		{"as it should be", "00000a000d0006000404030804", 0, 0},
		{"with names of CAs", "000012 002f00040002 3000 000d0006000404030804", 0, 0},
		{"with what is unknown", "00000e 0a0a0000 000d0006000404030804", 0, 0},
		{"only schemes that are unknown", "000008000d000400020807", 0, 0},
		{"nothing", "", 50, BAD},
		{"half", "0000", 50, BAD},
		{"no extensions", "000000", 109, BAD},
		{"none about signatures", "000006002f00020000", 109, BAD},
		{"no schemes", "000006000d00020000", 50, BAD},
		{"half a scheme", "000007000d0003000104", 50, BAD},
		{"an odd number of bytes", "000009000d00050003040308", 50, BAD},
		{"schemes with a byte behind them", "000009000d00050002040308", 50, BAD},
		{"a list that is cut", "000009000d000500040403", 50, BAD},
		{"the schemes twice", "000010000d000400020403000d000400020403", 47, BAD},
		{"another one twice", "000012 2a2a0000 000d0006000404030804 2a2a0000", 47, BAD},
		{"names of CAs twice",
			"00001a 002f00040002 3000 000d0006000404030804 002f00040002 3000", 47, BAD},
		{"a name", "00000e 00000000 000d0006000404030804", 47, BAD},
		{"groups", "000012 000a00040002001d 000d0006000404030804", 47, BAD},
		{"a version", "000010 002b00020304 000d0006000404030804", 47, BAD},
		{"a cookie", "000011 002c0003000161 000d0006000404030804", 47, BAD},
		{"a share", "000010 00330002001d 000d0006000404030804", 47, BAD},
		{"a byte behind the list", "000008000d00040002040300", 50, BAD},
		{"an extension that is cut", "000008000d000500020403", 50, BAD},
		{"a context", "0161000a000d0006000404030804", 50, BAD},
	};

	uint8_t body[3 + 10 + 4 * TLS13_SEEN_MAX] = {0};

	begin_test("tls13: a CertificateRequest that is right, or wrong in one place");
	CHECK_MESSAGES(TLS13_REQUEST, 13, cases);

	begin_test("tls13: a CertificateRequest has 32 extensions at most");
	for (unsigned i = 0; i < TLS13_SEEN_MAX; i++)
		srv_put16(body + 13 + 4 * i, 0x2000 + i);
	memcpy(body + 3, srv_request_body + 3, 10);
	for (size_t count = TLS13_SEEN_MAX - 1; count <= TLS13_SEEN_MAX; count++) {
		again();
		srv_put16(body + 1, 10 + 4 * count);
		srv_message(13, body, 3 + 10 + 4 * count);
		if (count < TLS13_SEEN_MAX)
			CHECK(client.state == TLS13_CHAIN, "%zu: %u", count, client.error);
		else
			check_refused("count", count, 47, BAD);
	}
}

/* The context's length and the list's, read as one number, are right for it. */
static void test_long_request(void)
{
	static uint8_t body[3 + 0x10000] = {1, 0, 0, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4, 0x2a, 0x2a};

	begin_test("tls13: a CertificateRequest of 64 KiB with a context is refused as well");
	enter(TLS13_REQUEST);
	srv_put16(body + 15, 0x10000 - 10 - 2 * 4 - 9);
	srv_put16(srv_put16(body + 3 + 0x10000 - 9 - 4, 0x3a3a), 9);
	srv_message(13, body, sizeof(body));
	check_refused("a context", 0, 50, BAD);
}

static void test_certificate(void)
{
	static const struct message_case cases[] = {
		{"one", "00 000006 000001 61 0000", 0, 0},
		{"three", "00 000012 000001610000 000001620000 000001630000", 0, 0},
		{"nothing", "", 50, BAD},
		{"half a head", "000000", 50, BAD},
		{"no certificate", "00000000", 50, BR_ERR_X509_EMPTY_CHAIN},
		{"an empty one", "00 000005 000000 0000", 50, BAD},
		{"an empty one behind", "00 00000b 000001610000 0000000000", 50, BAD},
		{"no extensions' length", "00 000004 00000161", 50, BAD},
		{"half of it", "00 000005 00000161 00", 50, BAD},
		{"a certificate beyond the list", "00 000006 000004 61 0000", 50, BAD},
		{"one beyond the message", "00 000007 000004 61626364", 50, BAD},
		{"a huge one", "00 000006 ffffff 61 0000", 50, BAD},
		{"a list that is longer", "00 000007 000001 61 0000", 50, BAD},
		{"a list that is shorter", "00 000005 000001 61 0000", 50, BAD},
		{"a context", "0161 000006 000001 61 0000", 50, BAD},
		{"a status", "00 00000f 000001 61 0009 0005000501000001 61", 110, EXTRA},
		{"an unknown extension", "00 00000a 000001 61 0004 0a0a0000", 110, EXTRA},
		{"a name", "00 00000a 000001 61 0004 00000000", 47, BAD},
		{"half an extension", "00 000008 000001 61 0002 0a0a", 50, BAD},
		{"an extension beyond its list", "00 00000b 000001 61 0004 0a0a0001 61", 50, BAD},
	};

	begin_test("tls13: a Certificate that is right, or wrong in one place");
	CHECK_MESSAGES(TLS13_REQUEST, 11, cases);
	CHECK_MESSAGES(TLS13_CHAIN, 11, cases);
}

/* 4.6.1 */
static void test_ticket(void)
{
	static const struct message_case cases[] = {
		{"the shortest", "00000100 01020304 00 0001 61 0000", 0, 0},
		{"with a nonce", "00000100 01020304 020000 0001 61 0000", 0, 0},
		{"with early data", "00000100 01020304 00 0001 61 0008 002a000400001000", 0, 0},
		{"with what is unknown", "00000100 01020304 00 0001 61 0004 2a2a0000", 0, 0},
		{"nothing", "", 50, BAD},
		{"half a lifetime", "0000", 50, BAD},
		{"no nonce", "00000100 01020304", 50, BAD},
		{"a nonce that is cut", "00000100 01020304 0200", 50, BAD},
		{"no ticket", "00000100 01020304 00", 50, BAD},
		{"an empty one", "00000100 01020304 00 0000 0000", 50, BAD},
		{"a ticket that is cut", "00000100 01020304 00 0002 61", 50, BAD},
		{"one beyond the message", "00000100 01020304 00 0005 61 0000", 50, BAD},
		{"no extensions", "00000100 01020304 00 0001 61", 50, BAD},
		{"half their length", "00000100 01020304 00 0001 61 00", 50, BAD},
		{"extensions that are cut", "00000100 01020304 00 0001 61 0004 2a2a00", 50, BAD},
		{"a byte behind them", "00000100 01020304 00 0001 61 0000 00", 50, BAD},
		{"one beyond their list", "00000100 01020304 00 0001 61 0004 2a2a0001", 50, BAD},
		{"one twice", "00000100 01020304 00 0001 61 0008 2a2a0000 2a2a0000", 47, BAD},
		{"a share", "00000100 01020304 00 0001 61 0006 00330002001d", 47, BAD},
	};

	begin_test("tls13: a NewSessionTicket that is right, or wrong in one place");
	CHECK_MESSAGES(TLS13_OPEN, 4, cases);
}

static void test_chains(void)
{
	begin_test(
		"tls13: a chain that is not trusted ends the session, and nobody asks for its key");
	enter(TLS13_REQUEST);
	judge.error = BR_ERR_X509_EXPIRED;
	srv_message(11, "\0\0\0\6\0\0\1a\0\0", 10);
	CHECK(client.state == TLS13_BROKEN && srv.alert == 46 && !judge.misused);

	begin_test("tls13: chains of ten and a certificate of 40 KB, in records of any size");
	for (size_t size = 1; size < 17000; size = size * 5 + 2) {
		static uint8_t body[50000];
		unsigned certs = size % 2 ? 10 : 1;
		size_t each = certs == 10 ? 1500 : 40000, n;
		const uint8_t *message;
		size_t all;

		enter(TLS13_REQUEST);
		n = srv_certificate_body(body, certs, each);
		message = srv_say(11, body, n);
		all = 4 + n;
		for (size_t at = 0; at < all; at += n) {
			n = all - at < size ? all - at : size;
			n = n < 16384 ? n : 16384;
			srv_record(22, message + at, n);
		}
		CHECK(judge.certs == certs && judge.bytes == certs * each && !judge.misused);
		srv_until(TLS13_OPEN);
		CHECK(client.state == TLS13_OPEN && srv.finished, "%zu: %u", size, client.error);
	}

	begin_test("tls13: a Certificate of more than 128 KiB is refused before it has come");
	enter(TLS13_REQUEST);
	srv_record(22, "\x0b\x02\0\0", 4);
	check_refused("long", 0, 47, BAD);
	CHECK(judge.bytes == 0);
}

/* ---- CertificateVerify, 4.4.3 ---- */

static void say_verify(unsigned scheme, unsigned named, const char *context)
{
	uint8_t body[700];
	size_t size = srv_verify_body(body, scheme, context);

	srv_put16(body, named);
	srv_message(15, body, size);
}

/* With each key, each scheme that there is (11.3 of RFC 8446): only its own is right. */
static void test_schemes(void)
{
	static const unsigned all[] = {0x0201, 0x0203, 0x0401, 0x0403, 0x0501, 0x0503, 0x0601,
		0x0603, 0x0804, 0x0805, 0x0806, 0x0807, 0x0808, 0x0809, 0x080a, 0x080b, 0x0303,
		0x0703, 0x0803, 0x0402, 0x0904, 0x1804, 0x0404, 0x0800, 0, 0xffff};
	static const unsigned keys[] = {0x0403, 0x0503, 0x0603, 0x0804};

	begin_test("tls13: each kind of key signs by its own schemes, and by no other");
	for (size_t k = 0; k < 4; k++) {
		enter(TLS13_PROOF);
		set_judge(keys[k]);
		keep();
		for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
			bool is_rsa = keys[k] == 0x0804, fits = all[i] == keys[k];

			fits |= is_rsa && (all[i] == 0x0805 || all[i] == 0x0806);
			again();
			say_verify(fits ? all[i] : keys[k], all[i], srv_context);
			if (fits)
				CHECK(client.state == TLS13_END, "key %x, scheme %x: %u", keys[k],
					all[i], client.error);
			else
				check_refused("scheme", all[i], 47, BR_ERR_WRONG_KEY_USAGE);
		}
	}
}

static void test_verify(void)
{
	static const unsigned keys[] = {0x0403, 0x0503, 0x0603, 0x0804, 0x0806};
	static const struct message_case cases[] = {
		{"nothing", "", 50, BAD},
		{"a scheme", "0403", 50, BAD},
		{"half a length", "040300", 50, BAD},
		{"no signature", "04030000", 51, BR_ERR_BAD_SIGNATURE},
		{"a signature that is cut", "040300023000 00", 50, BAD},
		{"one that is longer", "0403000230", 50, BAD},
		{"no numbers", "040300023000", 51, BR_ERR_BAD_SIGNATURE},
		{"zeros", "040300083006020100020100", 51, BR_ERR_BAD_SIGNATURE},
	};
	uint8_t body[700];

	begin_test("tls13: a CertificateVerify that is wrong in one place");
	CHECK_MESSAGES(TLS13_PROOF, 15, cases);
	for (size_t k = 0; k < 5; k++) {
		enter(TLS13_PROOF);
		srv.scheme = keys[k];
		set_judge(keys[k]);
		keep();
		say_verify(keys[k], keys[k], "TLS 1.3, client CertificateVerify");
		check_refused("a client's", k, 51, BR_ERR_BAD_SIGNATURE);
		again();
		say_verify(keys[k], keys[k], "TLS 1.3, server CertificateVerifx");
		check_refused("another context", k, 51, BR_ERR_BAD_SIGNATURE);
		again();
		srv.log[40] ^= 1; /* in the client's random */
		say_verify(keys[k], keys[k], srv_context);
		check_refused("another session", k, 51, BR_ERR_BAD_SIGNATURE);
		for (size_t i = 0; i < 20; i++) {
			size_t size, bit;

			again();
			size = srv_verify_body(body, keys[k], srv_context);
			bit = 8 * 4 + i * (8 * (size - 4)) / 20 +
			      5; /* no leading bit, that might be 0 */
			body[bit / 8] ^= 1 << bit % 8;
			srv_message(15, body, size);
			check_refused("a bit", bit, 51, BR_ERR_BAD_SIGNATURE);
		}
	}
}

static void test_finished(void)
{
	uint8_t body[65];

	begin_test("tls13: a Finished that is wrong in one bit, or of another size");
	for (srv.suite = 0x1302; srv.suite <= 0x1303; srv.suite++) {
		size_t size;

		srv.scheme = 0x0403;
		set_judge(srv.scheme);
		srv_start();
		srv_until(TLS13_END);
		keep();
		size = srv_finished_body(body);
		for (size_t bit = 0; bit < 8 * size; bit++) {
			again();
			body[bit / 8] ^= 1 << bit % 8;
			srv_message(20, body, size);
			check_refused("bit", bit, 51, BR_ERR_BAD_FINISHED);
			body[bit / 8] ^= 1 << bit % 8;
		}
		for (size_t n = 0; n <= 64; n++) {
			if (n == size)
				continue;
			again();
			srv_message(20, body, n);
			CHECK(client.state == TLS13_BROKEN && (srv.alert == 50 || srv.alert == 51),
				"%zu: %d", n, srv.alert);
		}
		again();
		srv.send.secret[3] ^= 1; /* as if it had the keys, but not their secret */
		srv_message(20, body, srv_finished_body(body));
		check_refused("another secret", 0, 51, BR_ERR_BAD_FINISHED);
	}
}

/* No data before the server's Finished, whatever keys they have. */
static void test_early_data(void)
{
	begin_test("tls13: data before Finished are refused");
	for (int i = 0; i < 5; i++) {
		enter(TLS13_EXTENSIONS + i);
		srv_record(23, "data", 4);
		check_refused("state", (size_t)client.state, 10, BR_ERR_UNEXPECTED);
	}
}

/* ---- our certificate ---- */

static struct client_identity identity;
static uint8_t identity_bytes[9000];

/* A chain of so many certificates, with a key: RSA of so many bits, or on a curve. */
static void set_identity(size_t certs, size_t size, unsigned key)
{
	size_t xlen;

	memset(identity_bytes, 'i', sizeof(identity_bytes));
	identity.certs = certs;
	for (size_t i = 0; i < certs; i++)
		identity.cert[i] = (br_x509_certificate){identity_bytes + i * size, size};
	if (key >= 2048) {
		identity.key_type = BR_KEYTYPE_RSA;
		identity.rsa = rsa_key(key)->private;
	} else {
		br_ec_all_m31.order((int)key, &xlen);
		identity.key_type = BR_KEYTYPE_EC;
		identity.ec = (br_ec_private_key){(int)key, (uint8_t *)(uintptr_t)ec_key, xlen};
	}
	client_setup.identity = &identity;
}

static size_t size_of(const br_hash_class *class)
{
	return class->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK;
}

/* What the client signed is right: its CertificateVerify is `verify`, said after `logged` bytes of
 * the transcript. */
static bool has_signed(const uint8_t *verify, size_t size, size_t logged, unsigned scheme)
{
	uint8_t content[64 + 34 + 48], hash[64];
	int id;
	const br_hash_class *class = srv_scheme_hash(scheme, &id);
	br_hash_compat_context c;

	if (size < 8 || verify[4] != scheme >> 8 || verify[5] != (scheme & 0xff) ||
		8u + (size_t)(verify[6] << 8 | verify[7]) != size)
		return false;
	memset(content, ' ', 64);
	memcpy(content + 64, "TLS 1.3, client CertificateVerify", 34);
	srv_digest(content + 98, srv.log, logged);
	class->init(&c.vtable);
	class->update(&c.vtable, content, 98 + srv.hash_size);
	class->out(&c.vtable, hash);
	if ((scheme & 0xff) == 3) {
		uint8_t point[133];
		br_ec_public_key key = {SRV_P256 + (int)(scheme >> 8) - 4, point, 0};
		size_t xlen;

		br_ec_all_m31.order(key.curve, &xlen);
		key.qlen = br_ec_all_m31.mulgen(point, ec_key, xlen, key.curve);
		return br_ecdsa_i31_vrfy_asn1(
			&br_ec_all_m31, hash, size_of(class), &key, verify + 8, size - 8);
	}
	return pss_verify(
		&rsa_key(identity.rsa.n_bitlen)->public, class, hash, verify + 8, size - 8);
}

/* The key, its chain, the schemes that the server takes, and that by which we sign; 0: an empty
 * Certificate. */
static const struct {
	unsigned key;
	size_t certs, size;
	const char *request;
	unsigned scheme;
} identities[] = {
	{SRV_P256, 1, 300, "0403", 0x0403},
	{SRV_P256, 4, 2000, "08040806040306030503", 0x0403},
	{SRV_P384, 2, 507, "040305030603", 0x0503},
	{SRV_P521, 1, 508, "04030603", 0x0603},
	{2048, 1, 509, "0804", 0x0804},
	{2048, 3, 1000, "04010806080508040403", 0x0804},
	{2049, 2, 2000, "0401 0806", 0x0806},
	{2048, 1, 1, "0805", 0x0805},
	{SRV_P256, 1, 300, "0503", 0},
	{SRV_P256, 1, 300, "08040805", 0},
	{SRV_P384, 1, 300, "0403", 0},
	{2048, 1, 300, "0401 0501 0403", 0},
	{2048, 1, 300, "0809080a080b0807", 0},
};

static void test_identities(void)
{

	begin_test("tls13: our certificate, by the schemes that the server takes");
	for (size_t i = 0; i < sizeof(identities) / sizeof(*identities); i++) {
		uint8_t body[100] = {0, 0};
		size_t n = unhex(body + 9, identities[i].request), at, logged;

		srv_put16(srv_put16(srv_put16(srv_put16(body + 1, n + 6), 13), n + 2), n);
		set_identity(identities[i].certs, identities[i].size, identities[i].key);
		srv.chunk = i % 3 ? 0 : 7;
		enter(TLS13_REQUEST);
		srv_message(13, body, 9 + n);
		srv_until(TLS13_END);
		logged = srv.logged;
		srv_until(TLS13_OPEN);
		logged += 4 + srv.hash_size; /* the server's Finished */
		CHECK(client.state == TLS13_OPEN && srv.finished && !srv.wrong, "%zu: %u", i,
			client.error);
		CHECK(client.asked && srv.certificates == 1 &&
				client.scheme == identities[i].scheme,
			"%zu", i);
		CHECK(srv.verifies == (identities[i].scheme != 0), "%zu", i);
		at = logged + 4 + srv.chain_size;
		if (identities[i].scheme)
			CHECK(srv.chain_size == 4 + identities[i].certs *
								(identities[i].size + 5) &&
					has_signed(srv.log + at,
						4u + (size_t)(srv.log[at + 2] << 8 |
							      srv.log[at + 3]),
						at, identities[i].scheme),
				"%zu: %zu", i, srv.chain_size);
		else
			CHECK(srv.chain_size == 4 && !memcmp(srv.chain, "\0\0\0\0", 4), "%zu", i);
	}
	srv.chunk = 0;
}

static void test_no_identity(void)
{
	begin_test("tls13: without a certificate the answer is an empty one");
	client_setup.identity = NULL;
	srv.asks = true;
	CHECK(srv_open(0x1302, SRV_X25519, 0x0804) && srv.certificates == 1 && srv.verifies == 0);
	CHECK(srv.chain_size == 4 && client.asked && client.scheme == 0);
	client_sends("GET", 3);
	srv_record(23, "answer", 6);
	CHECK(srv.data_size == 3 && !memcmp(srv.data, "GET", 3) && has_received("answer"));
	srv.asks = false;

	begin_test("tls13: a certificate is asked for in the handshake only");
	set_identity(1, 300, SRV_P256);
	CHECK(srv_open(0x1301, SRV_X25519, 0x0403) && srv.certificates == 0 && !client.asked);
	srv_message(13, srv_request_body, sizeof(srv_request_body));
	check_refused("later", 0, 10, BR_ERR_UNEXPECTED);
	client_setup.identity = NULL;
}

static void test_no_random(void)
{
	begin_test("tls13: without random bytes nothing is sent but an alert");
	for (int calls = 0; calls < 3; calls++) {
		random_left = calls;
		srv_start();
		CHECK(client.state == TLS13_BROKEN && client.error == BR_ERR_NO_RANDOM &&
			srv.hellos == 0);
	}
	random_left = 3;
	srv.group = SRV_P256;
	srv_start();
	srv_retry(SRV_P256, NULL);
	check_refused("for the second key", 0, 80, BR_ERR_NO_RANDOM);
	CHECK(srv.hellos == 1);
	srv.group = SRV_X25519;
	set_identity(1, 300, 2048);
	srv.asks = true;
	random_left = 3;
	enter(TLS13_END);
	srv_finished();
	CHECK(client.state == TLS13_BROKEN && !srv.finished, "for the salt");
	srv.asks = false;
	client_setup.identity = NULL;
	random_left = -1;
}

int main(void)
{
	test_extensions();
	test_request();
	test_long_request();
	test_certificate();
	test_ticket();
	test_chains();
	test_schemes();
	test_verify();
	test_finished();
	test_early_data();
	test_identities();
	test_no_identity();
	test_no_random();
	return finish_tests();
}
