#include "trust/tls13_keys.h"

#include <string.h>

#include "trust/cert.h"

const struct tls13_suite tls13_suites[TLS13_SUITES] = {
	{0x1301, 16, 32, &br_sha256_vtable, "AES_128_GCM_SHA256"},
	{0x1302, 32, 48, &br_sha384_vtable, "AES_256_GCM_SHA384"},
	{0x1303, 32, 32, &br_sha256_vtable, "CHACHA20_POLY1305_SHA256"},
};

static bool is_chacha20(const struct tls13_suite *suite)
{
	return suite == &tls13_suites[2];
}

/* ---- the key exchange ---- */

static size_t key_size(unsigned group)
{
	size_t size;

	cert_curves->order((int)group, &size);
	return size;
}

/* A number below the group's order; for X25519, any at all. No branch depends on a number that is
 * kept. */
bool tls13_make_private_key(uint8_t key[TLS13_PRIVATE_MAX], unsigned group, tls13_random *random)
{
	size_t size;
	const uint8_t *order = cert_curves->order((int)group, &size);
	unsigned below;

	do {
		if (!random(key, size))
			return false;
		if (group == BR_EC_secp521r1)
			key[0] &= 1;
		below = 0; /* the borrow of key - order */
		for (size_t i = size; i-- > 0;)
			below = ((unsigned)(key[i] - order[i]) - below) >> 8 & 1;
	} while (group != BR_EC_curve25519 && !below);
	return true;
}

size_t tls13_make_share(uint8_t share[TLS13_SHARE_MAX], const uint8_t *key, unsigned group)
{
	return cert_curves->mulgen(share, key, key_size(group), (int)group);
}

size_t tls13_agree(
	uint8_t out[TLS13_SHARE_MAX], const uint8_t *key, unsigned group, struct der share)
{
	size_t size, start;
	uint8_t any = 0;
	bool good;

	cert_curves->generator((int)group, &size);
	if (share.left != size)
		return 0;
	memcpy(out, share.at, size);
	good = cert_curves->mul(out, size, key, key_size(group), (int)group);
	start = cert_curves->xoff((int)group, &size);
	memmove(out, out + start, size);
	for (size_t i = 0; i < size; i++)
		any |= out[i];
	return good && any ? size : 0;
}

/* ---- the key schedule ---- */

/* HMAC with a key of the hash's size, which the result may take the place of. */
static void hmac(const struct tls13_suite *suite, uint8_t *out, const uint8_t *key,
	const void *data, size_t size)
{
	br_hmac_key_context k;
	br_hmac_context h;

	br_hmac_key_init(&k, suite->hash, key, suite->hash_size);
	br_hmac_init(&h, &k, 0);
	br_hmac_update(&h, data, size);
	br_hmac_out(&h, out);
	explicit_bzero(&k, sizeof(k));
	explicit_bzero(&h, sizeof(h));
}

/* Of HKDF-Expand's blocks (RFC 5869 section 2.3) the first is enough. */
void tls13_expand(const struct tls13_suite *suite, uint8_t *out, size_t size, const uint8_t *secret,
	const char *label, const uint8_t *hash)
{
	size_t length = strlen(label), hash_size = hash ? suite->hash_size : 0;
	uint8_t info[2 + 1 + 6 + 12 + 1 + TLS13_HASH_MAX + 1] = {0}, block[TLS13_HASH_MAX];

	info[1] = (uint8_t)size;
	info[2] = (uint8_t)(6 + length);
	memcpy(info + 3, "tls13 ", 6);
	memcpy(info + 9, label, length);
	info[9 + length] = (uint8_t)hash_size;
	if (hash)
		memcpy(info + 10 + length, hash, hash_size);
	info[10 + length + hash_size] = 1;
	hmac(suite, block, secret, info, 11 + length + hash_size);
	memcpy(out, block, size);
	explicit_bzero(block, sizeof(block));
}

static const uint8_t zeros[TLS13_HASH_MAX];

/* HKDF-Extract with the secret that is derived from the one at hand as its salt. */
static void extract(
	const struct tls13_suite *suite, uint8_t *secret, const uint8_t *input, size_t size)
{
	br_hash_compat_context c;
	uint8_t empty[TLS13_HASH_MAX];

	suite->hash->init(&c.vtable);
	suite->hash->out(&c.vtable, empty);
	tls13_expand(suite, secret, suite->hash_size, secret, "derived", empty);
	hmac(suite, secret, secret, input, size);
}

void tls13_handshake_secret(
	const struct tls13_suite *suite, uint8_t *secret, const uint8_t *shared, size_t size)
{
	hmac(suite, secret, zeros, zeros, suite->hash_size);
	extract(suite, secret, shared, size);
}

void tls13_master_secret(const struct tls13_suite *suite, uint8_t *secret)
{
	extract(suite, secret, zeros, suite->hash_size);
}

void tls13_finished(const struct tls13_suite *suite, uint8_t out[TLS13_HASH_MAX],
	const uint8_t *secret, const uint8_t *hash)
{
	tls13_expand(suite, out, suite->hash_size, secret, "finished", NULL);
	hmac(suite, out, out, hash, suite->hash_size);
}

void tls13_set_keys(
	struct tls13_keys *k, const struct tls13_suite *suite, const struct ciphers *ciphers)
{
	uint8_t key[32];

	k->suite = suite;
	k->ciphers = ciphers;
	k->records = 0;
	tls13_expand(suite, key, suite->key_size, k->secret, "key", NULL);
	tls13_expand(suite, k->iv, sizeof(k->iv), k->secret, "iv", NULL);
	if (is_chacha20(suite)) {
		memcpy(k->chacha20, key, sizeof(key));
	} else {
		ciphers->aes->init(&k->aes.vtable, key, suite->key_size);
		/* The block of zeros, encrypted: as the key stream's, of a counter that is 0. */
		memset(k->h, 0, sizeof(k->h));
		k->aes.vtable->run(&k->aes.vtable, zeros, 0, k->h, sizeof(k->h));
	}
	explicit_bzero(key, sizeof(key));
}

void tls13_renew(struct tls13_keys *k)
{
	tls13_expand(k->suite, k->secret, k->suite->hash_size, k->secret, "traffic upd", NULL);
	tls13_set_keys(k, k->suite, k->ciphers);
}

/* ---- records ---- */

/* XORs a big-endian number to the 8 bytes before `end`. */
static void add_number(uint8_t *end, uint64_t n)
{
	for (; n > 0; n >>= 8)
		*--end ^= (uint8_t)n;
}

/* AES-GCM as NIST SP 800-38D has it, with the counter's block 1 for the tag, the data from 2 on. */
static void protect_gcm(const struct tls13_keys *k, bool encrypt, const uint8_t *nonce,
	const uint8_t *header, uint8_t *data, size_t size, uint8_t tag[16])
{
	const br_block_ctr_class *const *aes = &k->aes.vtable;
	uint8_t lengths[16] = {0};

	lengths[7] = 5 * 8;
	add_number(lengths + 16, size * 8);
	memset(tag, 0, 16);
	if (encrypt)
		(*aes)->run(aes, nonce, 2, data, size);
	k->ciphers->ghash(tag, k->h, header, 5);
	k->ciphers->ghash(tag, k->h, data, size);
	k->ciphers->ghash(tag, k->h, lengths, sizeof(lengths));
	if (!encrypt)
		(*aes)->run(aes, nonce, 2, data, size);
	(*aes)->run(aes, nonce, 1, tag, 16);
}

void tls13_protect(struct tls13_keys *k, bool encrypt, const uint8_t *header, uint8_t *data,
	size_t size, uint8_t tag[16])
{
	uint8_t nonce[12];

	memcpy(nonce, k->iv, sizeof(nonce));
	add_number(nonce + 12, k->records++);
	if (is_chacha20(k->suite))
		k->ciphers->poly1305(k->chacha20, nonce, data, size, header, 5, tag,
			k->ciphers->chacha20, encrypt);
	else
		protect_gcm(k, encrypt, nonce, header, data, size, tag);
}

bool tls13_same(const uint8_t *a, const uint8_t *b, size_t size)
{
	uint8_t differ = 0;

	for (size_t i = 0; i < size; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}
