#include "trust/tls13_sign.h"

#include <string.h>

#include "trust/cert.h"
#include "trust/pss.h"

/* A scheme has the hash in one byte, by BearSSL's number, and the kind in the other: 8 before it
 * (rsa_pss_rsae) or 3 behind it (ecdsa). */
#define RSA_PSS(hash_id) (0x0800u | (unsigned)(hash_id))
#define ECDSA(hash_id)	 ((unsigned)(hash_id) << 8 | 3)

void tls13_schemes(int key_type, int curve, unsigned *first, unsigned *last)
{
	bool is_rsa = key_type == BR_KEYTYPE_RSA;

	*first = is_rsa ? RSA_PSS(br_sha256_ID)
			: ECDSA((unsigned)curve - BR_EC_secp256r1 + br_sha256_ID);
	*last = is_rsa ? RSA_PSS(br_sha512_ID) : *first;
}

/* As cert_verify() has it: the hash, and whether it is PSS. */
static int kind_of(unsigned scheme)
{
	return (int)(scheme >> 8 == 8 ? (scheme & 0xff) | CERT_PSS : scheme >> 8);
}

/* The hash of what is signed. */
static void hash_to_sign(uint8_t *out, int kind, bool servers, struct der transcript)
{
	uint8_t content[64 + 34 + TLS13_HASH_MAX];

	memset(content, ' ', 64);
	memcpy(content + 64, "TLS 1.3, server CertificateVerify", 34); /* with its NUL */
	if (!servers)
		memcpy(content + 64 + 9, "client", 6);
	memcpy(content + 64 + 34, transcript.at, transcript.left);
	cert_digest(out, kind & ~CERT_PSS, (struct der){content, 64 + 34 + transcript.left});
}

enum tls13_fault tls13_verify(const br_x509_pkey *key, struct der transcript, struct der body)
{
	uint8_t hash[CERT_HASH_MAX];
	struct der signature;
	unsigned scheme, first = 1, last = 0;

	if (tls13_read_verify(&scheme, &signature, body))
		return TLS13_MALFORMED;
	if (key)
		tls13_schemes(key->key_type, key->key.ec.curve, &first, &last);
	if (scheme < first || scheme > last)
		return TLS13_BAD_SCHEME;
	hash_to_sign(hash, kind_of(scheme), true, transcript);
	return cert_verify(key, kind_of(scheme), hash, signature.at, signature.left)
		       ? TLS13_GOOD
		       : TLS13_BAD_SIGNATURE;
}

size_t tls13_sign(const struct client_identity *own, unsigned scheme, struct der transcript,
	tls13_random *random, uint8_t *signature)
{
	int kind = kind_of(scheme);
	const br_hash_class *class = cert_hash(kind & ~CERT_PSS)->class;
	uint8_t hash[CERT_HASH_MAX], salt[CERT_HASH_MAX];

	hash_to_sign(hash, kind, false, transcript);
	if (!(kind & CERT_PSS))
		return br_ecdsa_i31_sign_asn1(cert_curves, class, hash, &own->ec, signature);
	return random(salt, sizeof(salt)) ? pss_sign(&own->rsa, class, hash, salt, signature) : 0;
}

/* The byte of our Certificate at this place. */
static uint8_t chain_byte(const struct client_identity *own, size_t certs, size_t size, size_t at)
{
	const uint8_t head[] = {TLS13_CERTIFICATE, 0, (uint8_t)((size + 4) >> 8),
		(uint8_t)(size + 4), 0, /* no context, as the request had none */
		0, (uint8_t)(size >> 8), (uint8_t)size};
	size_t entry = 0;

	if (at < sizeof(head))
		return head[at];
	at -= sizeof(head);
	for (const br_x509_certificate *c = own->cert; certs > 0; certs--, c++, at -= entry) {
		entry = 3 + c->data_len + 2;
		if (at < 3)
			return (uint8_t)(c->data_len >> (16 - 8 * at));
		if (at < entry)
			return at < 3 + c->data_len ? c->data[at - 3] : 0; /* no extensions */
	}
	return 0;
}

size_t tls13_write_chain(const struct client_identity *own, size_t from, uint8_t *out, size_t room)
{
	size_t size = 0, n = 0, certs = own ? own->certs : 0;

	_Static_assert(CLIENT_CHAIN_MAX + 5 * CLIENT_CERTS_MAX < 0xfff0, "two bytes are enough");
	for (size_t i = 0; i < certs; i++)
		size += 3 + own->cert[i].data_len + 2;
	for (; n < room && from + n < 8 + size; n++)
		out[n] = chain_byte(own, certs, size, from + n);
	return n;
}
