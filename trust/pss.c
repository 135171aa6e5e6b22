#include "trust/pss.h"

#include <string.h>

#include "trust/der.h"

#define PSS_HASH_MAX 64

static size_t pss_hash_size(const br_hash_class *class)
{
	return class->desc >> BR_HASHDESC_OUT_OFF & BR_HASHDESC_OUT_MASK;
}

static void pss_digest(const br_hash_class *class, uint8_t *out, const void *data, size_t size)
{
	br_hash_compat_context c;

	class->init(&c.vtable);
	class->update(&c.vtable, data, size);
	class->out(&c.vtable, out);
}

/* The parts of an encoded message, whose first bits are 0: DB, the digest, and the byte 0xbc. */
struct pss_parts {
	uint8_t *db, *digest;
	size_t h, db_size;
	uint8_t top; /* the bits of DB's first byte that are used */
};

/* A message is one bit shorter than the modulus, and `em` as long as that: its first byte is none
 * of the message's if 8 divides that. */
static struct pss_parts pss_parts(uint8_t *em, unsigned bits, const br_hash_class *class)
{
	unsigned skip = --bits % 8 == 0;
	struct pss_parts p = {.db = em + skip, .h = pss_hash_size(class)};

	p.db_size = (bits + 7) / 8 - p.h - 1;
	p.digest = p.db + p.db_size;
	p.top = (uint8_t)(0xff >> (-bits % 8));
	return p;
}

/* XORs MGF1 of the digest (appendix B.2.1) to DB. */
static void pss_mask(const struct pss_parts *p, const br_hash_class *class)
{
	uint8_t seed[PSS_HASH_MAX + 4] = {0}, block[PSS_HASH_MAX];

	memcpy(seed, p->digest, p->h);
	for (size_t i = 0; i < p->db_size; i++) {
		if (i % p->h == 0) {
			pss_digest(class, block, seed, p->h + 4);
			seed[p->h + 3]++;
		}
		p->db[i] ^= block[i % p->h];
	}
	p->db[0] &= p->top;
}

/* Section 9.1.1. */
static void pss_encode(uint8_t em[PSS_SIZE_MAX], unsigned bits, const br_hash_class *class,
	const uint8_t *hash, const uint8_t *salt)
{
	struct pss_parts p = pss_parts(em, bits, class);
	uint8_t message[8 + 2 * PSS_HASH_MAX] = {0};

	memcpy(message + 8, hash, p.h);
	memcpy(message + 8 + p.h, salt, p.h);
	memset(em, 0, PSS_SIZE_MAX);
	pss_digest(class, p.digest, message, 8 + 2 * p.h);
	p.digest[p.h] = 0xbc;
	memcpy(p.digest - p.h, salt, p.h);
	p.digest[-(ptrdiff_t)p.h - 1] = 1;
	pss_mask(&p, class);
}

/* Only the salt is taken out of the message: one that is encoded again with it has to be the same.
 * Nothing is secret here. */
bool pss_verify(const br_rsa_public_key *key, const br_hash_class *class, const uint8_t *hash,
	const uint8_t *signature, size_t size)
{
	unsigned bits = der_bit_length((struct der){key->n, key->nlen});
	uint8_t em[PSS_SIZE_MAX], copy[PSS_SIZE_MAX], salt[PSS_HASH_MAX];
	struct pss_parts p;

	/* The shortest message has a digest, a salt and two bytes. */
	if (bits < 8 * (2 * pss_hash_size(class) + 3) || bits > 8 * PSS_SIZE_MAX ||
		size != (bits + 7) / 8)
		return false;
	memcpy(em, signature, size);
	if (!br_rsa_i31_public(em, size, key))
		return false;
	memcpy(copy, em, size);
	p = pss_parts(copy, bits, class);
	pss_mask(&p, class);
	memcpy(salt, p.digest - p.h, p.h);
	pss_encode(copy, bits, class, hash, salt);
	return memcmp(copy, em, size) == 0;
}

size_t pss_sign(const br_rsa_private_key *key, const br_hash_class *class, const uint8_t *hash,
	const uint8_t *salt, uint8_t signature[PSS_SIZE_MAX])
{
	pss_encode(signature, key->n_bitlen, class, hash, salt);
	return br_rsa_i31_private(signature, key) ? (key->n_bitlen + 7) / 8 : 0;
}
