/* tls13.c - RFC 8448's traces, played by the whole client: its hellos and private keys are put in
 * the place of ours, and then each record of the server's is taken, and each of ours is the RFC's.
 */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/ciphers.c"
#include "trust/client_cert.c"
#include "trust/pss.c"
#include "trust/tls13_keys.c"
#include "trust/tls13_messages.c"

/* The RFC's server has a key of 1024 bits, which pss_verify() refuses. */
static bool verify_1024(const br_x509_pkey *key, int hash_id, const uint8_t *hash,
	const uint8_t *signature, size_t size)
{
	uint8_t em[PSS_SIZE_MAX], copy[PSS_SIZE_MAX];
	struct pss_parts p = pss_parts(copy, 1024, &br_sha256_vtable);

	if (hash_id != (br_sha256_ID | CERT_PSS) || size != 128)
		return false;
	memcpy(em, signature, size);
	if (!br_rsa_i31_public(em, size, &key->key.rsa))
		return false;
	memcpy(copy, em, size);
	pss_mask(&p, &br_sha256_vtable);
	memcpy(copy + 256, p.digest - 32, 32);
	pss_encode(copy, 1024, &br_sha256_vtable, hash, memcpy(em + 256, copy + 256, 32));
	return memcmp(copy, em, size) == 0;
}
#define cert_verify verify_1024
#include "trust/tls13_sign.c"

/* Its clients offer record_size_limit, which we do not. */
static enum tls13_fault any_extensions(struct der body, bool named)
{
	return body.left > 0 && named ? TLS13_GOOD : TLS13_MALFORMED;
}
#define tls13_read_extensions any_extensions

/* And they name no session. */
#undef TLS13_SESSION_SIZE
#define TLS13_SESSION_SIZE 0
#undef fail
#include "trust/tls13.c"

#include "test/unit/check.h"
#include "test/unit/hex.h"
#include "test/unit/rfc8448.h"
#include "test/unit/stubs.h"
#include "test/unit/trust/tls13_client.h"

static uint8_t record[2000];

static void start_trace(const char *hello)
{
	static uint8_t n[128], e[] = {1, 0, 1};
	size_t size = unhex(record, hello);

	set_judge(0x0804);
	judge.key.key.rsa = (br_rsa_public_key){n, unhex(n, rfc8448_modulus), e, sizeof(e)};
	client_setup.host = "server";
	start_client();
	client.out_start = client.out_size = 0;
	br_multihash_init(&client.transcript);
	br_multihash_update(&client.transcript, record + 5, size - 5);
}

static void server_says(const char *hex)
{
	size_t size = unhex(record, hex), n;

	for (size_t at = 0; at < size; at += n) {
		uint8_t *in = tls13_recvrec_buf(&client, &n);

		n = n < size - at ? n : size - at;
		if (n == 0 || !(tls13_current_state(&client) & BR_SSL_RECVREC))
			abort();
		memcpy(in, record + at, n);
		tls13_recvrec_ack(&client, n);
	}
}

/* Whether all that the client has to send is this record, behind a change_cipher_spec or not. */
static bool client_says(const char *hex, bool ccs)
{
	size_t size = unhex(record, hex), n, skip = ccs ? 6 : 0;
	uint8_t *out = tls13_sendrec_buf(&client, &n);
	bool same = n == size + skip && !memcmp(out + skip, record, size) &&
		    (!ccs || !memcmp(out, "\x14\3\3\0\1\1", 6));

	tls13_sendrec_ack(&client, n);
	return same;
}

static void test_simple(void)
{
	uint8_t *data;
	size_t n;

	begin_test("tls13: RFC 8448 section 3, a simple handshake");
	start_trace(rfc8448_simple_hello);
	unhex(client.secret.handshake.private_key, rfc8448_simple_key);
	server_says(rfc8448_simple_server_hello);
	CHECK(client.state == TLS13_EXTENSIONS, "%u", client.error);
	server_says(rfc8448_simple_flight);
	CHECK(client.state == TLS13_OPEN && judge.certs == 1, "%u", client.error);
	CHECK(client_says(rfc8448_simple_answer, true));
	server_says(rfc8448_simple_ticket);
	data = tls13_sendapp_buf(&client, &n);
	for (uint8_t i = 0; i < 50; i++)
		data[i] = i;
	tls13_sendapp_ack(&client, 50);
	tls13_flush(&client, 0);
	CHECK(client_says(rfc8448_simple_data, false));
	server_says(rfc8448_simple_server_data);
	data = tls13_recvapp_buf(&client, &received_size);
	memcpy(received, data, received_size);
	CHECK(received_size == 50 && received[0] == 0 && received[49] == 49);
	tls13_recvapp_ack(&client, received_size);
	server_says(rfc8448_simple_server_alert);
	CHECK(client.state == TLS13_ENDED && client.error == BR_ERR_OK);
	CHECK(client_says(rfc8448_simple_alert, false));
}

static void test_retry(void)
{
	br_multihash_context expected;
	uint8_t hash[2][64], first[4 + 32] = {254, 0, 0, 32}, second[600], *own;
	size_t size, n;

	begin_test("tls13: RFC 8448 section 5, a HelloRetryRequest");
	start_trace(rfc8448_retry_hello);
	br_multihash_out(&client.transcript, br_sha256_ID, first + 4);
	server_says(rfc8448_retry_request);
	CHECK(client.state == TLS13_SECOND_HELLO && client.offer.group == BR_EC_secp256r1);

	/* Our second hello, behind a change_cipher_spec and its record's header. */
	own = tls13_sendrec_buf(&client, &n);
	memcpy(&expected, &client.transcript, sizeof(expected));
	br_multihash_init(&expected);
	br_multihash_update(&expected, first, sizeof(first));
	size = unhex(record, rfc8448_retry_request);
	br_multihash_update(&expected, record + 5, size - 5);
	CHECK(memmem(own, n, record + 5 + 51, 116), "the cookie");
	size = unhex(second, rfc8448_retry_second_hello);
	br_multihash_context theirs = expected;

	br_multihash_update(&expected, own + 6 + 5, n - 6 - 5);
	br_multihash_out(&expected, br_sha256_ID, hash[0]);
	br_multihash_out(&client.transcript, br_sha256_ID, hash[1]);
	CHECK(!memcmp(hash[0], hash[1], 32), "the first hello's hash in its place (4.4.1)");
	tls13_sendrec_ack(&client, n);

	br_multihash_update(&theirs, second + 5, size - 5);
	client.transcript = theirs;
	unhex(client.secret.handshake.private_key, rfc8448_retry_key);
	server_says(rfc8448_retry_server_hello);
	CHECK(client.state == TLS13_EXTENSIONS, "%u", client.error);
	server_says(rfc8448_retry_flight);
	CHECK(client.state == TLS13_OPEN, "%u", client.error);
	CHECK(client_says(rfc8448_retry_answer, false));
}

int main(void)
{
	test_simple();
	test_retry();
	return finish_tests();
}
