/* Fuzz harness of the TLS 1.3 client: what a server sends. So that all of the client is reached, it
 * is without ciphers, curves and signatures, and takes every tag and every Finished for right. The
 * first byte says how: bit 0: the server's key is RSA; bit 1: we have a certificate; bits 2 and 3:
 * in what pieces the bytes come. The seeds are recorded sessions. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/ciphers.c"
#include "trust/client_cert.c"
#include "trust/pss.c"

/* Points are what they are; sizes and the like are the curves'. */
static size_t any_generator(unsigned char *point, const unsigned char *k, size_t size, int curve)
{
	size_t length;
	const uint8_t *g = cert_curves->generator(curve, &length);

	(void)k, (void)size;
	memcpy(point, g, length);
	return length;
}

static uint32_t any_product(
	unsigned char *point, size_t size, const unsigned char *k, size_t k_size, int curve)
{
	(void)k, (void)k_size, (void)curve;
	return size > 0 && point[0] != 0xff;
}

static const unsigned char *any_order(int curve, size_t *size)
{
	return cert_curves->order(curve, size);
}

static const unsigned char *the_generator(int curve, size_t *size)
{
	return cert_curves->generator(curve, size);
}

static size_t any_offset(int curve, size_t *size)
{
	return cert_curves->xoff(curve, size);
}

static const br_ec_impl any_curves = {.generator = the_generator,
	.order = any_order,
	.xoff = any_offset,
	.mul = any_product,
	.mulgen = any_generator};

static bool any_verify(const br_x509_pkey *key, int hash_id, const uint8_t *hash,
	const uint8_t *signature, size_t size)
{
	return key && cert_hash(hash_id) && hash && size > 0 && signature[0] != 0xff;
}

static size_t any_sign(const br_rsa_private_key *key, const br_hash_class *class,
	const uint8_t *hash, const uint8_t *salt, uint8_t signature[PSS_SIZE_MAX])
{
	(void)class, (void)hash, (void)salt;
	memset(signature, 's', PSS_SIZE_MAX);
	return key->n_bitlen / 8;
}

static bool any_same(const uint8_t *a, const uint8_t *b, size_t size)
{
	return size > 0 && a != b;
}

#define cert_curves (&any_curves)
#include "trust/tls13_keys.c"
#include "trust/tls13_messages.c"
#define cert_verify any_verify
#define pss_sign    any_sign
#define tls13_same  any_same
#include "trust/tls13_sign.c"
#undef fail
#include "trust/tls13.c"

#include "test/unit/stubs.h"
#include "test/unit/trust/tls13_client.h"
#include "test/unit/trust/tls13_off.h"

static struct client_identity *own_identity(void)
{
	static uint8_t chain[700];
	static struct client_identity own = {.certs = 2, .key_type = BR_KEYTYPE_RSA};

	own.cert[0] = own.cert[1] = (br_x509_certificate){chain, sizeof(chain)};
	own.rsa.n_bitlen = 4096;
	return &own;
}

static void start(unsigned char how)
{
	static struct judge judges[2];
	static struct client_identity *own;

	if (!own) {
		own = own_identity();
		for (int i = 0; i < 2; i++) {
			set_judge(i ? 0x0804 : 0x0403);
			judges[i] = judge;
		}
	}
	judge = judges[how & 1];
	judge.misused = judge.ended = false;
	client_setup.host = "example.test";
	client_setup.identity = how & 2 ? own : NULL;
	start_client();
	client_ciphers = no_ciphers;
}

/* Moves what there is to move, but the server's bytes. */
static bool move(void)
{
	unsigned state = tls13_current_state(&client);
	uint8_t *data;
	size_t n;

	if (client.out_start + client.out_size > TLS13_OUT_SIZE || client.in_have > TLS13_IN_SIZE ||
		judge.misused)
		abort();
	if (state & BR_SSL_SENDREC) {
		data = tls13_sendrec_buf(&client, &n);
		tls13_sendrec_ack(&client, n > 100 ? 100 : n);
	} else if (state & BR_SSL_RECVAPP) {
		data = tls13_recvapp_buf(&client, &n);
		if ((client.state != TLS13_OPEN && client.state != TLS13_ENDED) ||
			data + n > client_in + TLS13_IN_SIZE)
			abort();
		tls13_recvapp_ack(&client, n > 5000 ? 5000 : n);
		if (tls13_current_state(&client) & BR_SSL_SENDAPP) {
			data = tls13_sendapp_buf(&client, &n);
			memset(data, 'x', n);
			tls13_sendapp_ack(&client, n > 3 ? 3 : n);
			tls13_flush(&client, 0);
		}
	} else {
		return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static const size_t pieces[] = {SIZE_MAX, 1, 7, 100};
	size_t at = 1, n;

	if (size == 0)
		return 0;
	start(data[0]);
	while (move() || (at < size && (tls13_current_state(&client) & BR_SSL_RECVREC))) {
		uint8_t *in;

		if (!(tls13_current_state(&client) & BR_SSL_RECVREC) || at == size)
			continue;
		in = tls13_recvrec_buf(&client, &n);
		n = n < size - at ? n : size - at;
		n = n < pieces[data[0] >> 2 & 3] ? n : pieces[data[0] >> 2 & 3];
		memcpy(in, data + at, n);
		at += n;
		tls13_recvrec_ack(&client, n);
	}
	if ((client.state == TLS13_BROKEN) != (client.error != BR_ERR_OK) ||
		(client.state == TLS13_OPEN && !judge.ended))
		abort();
	return 0;
}
