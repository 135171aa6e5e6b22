/* pss.c - unit tests of RSA-PSS, with signatures by openssl(1), and with encoded messages that are
 * wrong in one place, which no library makes. */
#include "base/date.c"
#include "trust/der.c"
#include "trust/pss.c"

#include "test/unit/check.h"
#include "test/unit/hex.h"
#include "test/unit/pss_vectors.h"
#include "test/unit/rsa_keys.h"

static const char message[] = "RSA-PSS, as TLS 1.3 has it";

static const br_hash_class *class_of(int id)
{
	return id == br_sha256_ID   ? &br_sha256_vtable
	       : id == br_sha384_ID ? &br_sha384_vtable
				    : &br_sha512_vtable;
}

static void test_openssl(void)
{
	begin_test("pss: openssl's signatures, and those with another salt or mask");
	for (size_t i = 0; i < sizeof(pss_signatures) / sizeof(*pss_signatures); i++) {
		const br_rsa_public_key *key = &rsa_key(pss_signatures[i].bits)->public;
		const br_hash_class *class = class_of(pss_signatures[i].hash);
		uint8_t hash[64], signature[PSS_SIZE_MAX];
		size_t size = unhex(signature, pss_signatures[i].signature);

		pss_digest(class, hash, message, sizeof(message) - 1);
		CHECK(pss_verify(key, class, hash, signature, size) == pss_signatures[i].good,
			"%u bits: %s", pss_signatures[i].bits, pss_signatures[i].about);
		if (!pss_signatures[i].good)
			continue;
		for (int id = br_sha256_ID; id <= br_sha512_ID; id++)
			CHECK(pss_verify(key, class_of(id), hash, signature, size) ==
					(id == pss_signatures[i].hash),
				"%zu: by another hash", i);
		CHECK(!pss_verify(&rsa_key(pss_signatures[i].bits ^ 1)->public, class, hash,
			      signature, size),
			"%zu: by another key", i);
		CHECK(!pss_verify(key, class, hash, signature, size - 1), "%zu: a byte less", i);
		CHECK(!pss_verify(key, class, hash, signature, size + 1), "%zu: a byte more", i);
		CHECK(!pss_verify(key, class, hash, signature, 0), "%zu: nothing", i);
		for (size_t bit = 0; bit < 8 * size; bit += 97) {
			signature[bit / 8] ^= 1 << bit % 8;
			CHECK(!pss_verify(key, class, hash, signature, size), "%zu: bit %zu", i,
				bit);
			signature[bit / 8] ^= 1 << bit % 8;
		}
		hash[31] ^= 1;
		CHECK(!pss_verify(key, class, hash, signature, size), "%zu: another hash", i);
	}
}

/* An encoded message (RFC 8017 section 9.1.1), with its faults. */
struct fault {
	const char *about;
	size_t salt;	   /* its length, less than the hash's or more */
	uint8_t separator; /* the byte before the salt, 1 */
	uint8_t padding;   /* the byte before that, 0 */
	uint8_t trailer;   /* 0xbc */
	uint8_t first;	   /* in the padding's first byte, 0 */
	uint8_t top;	   /* in the bits that are not DB's, 0 */
};

/* MGF1 with SHA-256 on DB. */
static void mask_db(uint8_t *db, size_t size, const uint8_t *h)
{
	uint8_t block[32], input[36];

	memcpy(input, h, 32);
	for (size_t i = 0; i < size; i++) {
		if (i % 32 == 0) {
			memcpy(input + 32, (uint8_t[4]){0, 0, 0, (uint8_t)(i / 32)}, 4);
			pss_digest(&br_sha256_vtable, block, input, sizeof(input));
		}
		db[i] ^= block[i % 32];
	}
}

/* Signs a message made by the fault, with SHA-256 and a salt of equal bytes. */
static bool sign_salted(
	uint8_t *out, const uint8_t *hash, unsigned bits, const struct fault *f, uint8_t fill)
{
	size_t size = (bits + 7) / 8, skip = bits % 8 == 1, db_size = size - skip - 33;
	uint8_t *db = out + skip, *h = db + db_size, m[8 + 32 + 64] = {0}, salt[64];

	memset(salt, fill, sizeof(salt));
	memcpy(m + 8, hash, 32);
	memcpy(m + 40, salt, f->salt);
	memset(out, 0, size);
	pss_digest(&br_sha256_vtable, h, m, 40 + f->salt);
	memcpy(h - f->salt, salt, f->salt);
	h[-(ptrdiff_t)f->salt - 1] = f->separator;
	h[-(ptrdiff_t)f->salt - 2] = f->padding;
	db[0] |= f->first;
	mask_db(db, db_size, h);
	h[32] = f->trailer;
	if (bits % 8 != 1)
		db[0] &= (uint8_t)(0xff >> (8 - (bits - 1) % 8));
	out[0] |= f->top;
	return br_rsa_i31_private(out, &rsa_key(bits)->private);
}

/* With the first salt by which the message is below the modulus. */
static size_t sign_wrongly(uint8_t *out, const uint8_t *hash, unsigned bits, const struct fault *f)
{
	for (uint8_t fill = 1; fill != 0; fill++)
		if (sign_salted(out, hash, bits, f, fill))
			return (bits + 7) / 8;
	return 0;
}

static void test_encodings(void)
{
	static const struct fault faults[] = {
		{"none", 32, 1, 0, 0xbc, 0, 0},
		{"a salt of 31 bytes", 31, 1, 0, 0xbc, 0, 0},
		{"a salt of 33 bytes", 33, 1, 0, 0xbc, 0, 0},
		{"no salt", 0, 1, 0, 0xbc, 0, 0},
		{"a salt of 64 bytes", 64, 1, 0, 0xbc, 0, 0},
		{"separator 0", 32, 0, 0, 0xbc, 0, 0},
		{"separator 2", 32, 2, 0, 0xbc, 0, 0},
		{"separator 0x81", 32, 0x81, 0, 0xbc, 0, 0},
		{"padding 1 at its end", 32, 1, 1, 0xbc, 0, 0},
		{"padding 1 at its beginning", 32, 1, 0, 0xbc, 1, 0},
		{"trailer 0xcc, of X9.31", 32, 1, 0, 0xcc, 0, 0},
		{"trailer 0xbd", 32, 1, 0, 0xbd, 0, 0},
		{"trailer 0", 32, 1, 0, 0, 0, 0},
		{"the top bit", 32, 1, 0, 0xbc, 0, 1},
	};
	uint8_t hash[32], signature[PSS_SIZE_MAX];

	begin_test("pss: an encoded message that is wrong in one place, of 2048 and 2049 bits");
	pss_digest(&br_sha256_vtable, hash, message, sizeof(message) - 1);
	for (size_t i = 0; i < 2 * sizeof(faults) / sizeof(*faults); i++) {
		struct fault f = faults[i / 2];
		unsigned bits = 2048 + i % 2;
		size_t size;

		/* The one bit beyond the message: the first of 2048, the last of the byte before
		 * 2049's. */
		if (f.top)
			f.top = bits == 2048 ? 0x80 : 1;
		size = sign_wrongly(signature, hash, bits, &f);
		CHECK(size == (bits + 7) / 8, "%s: %zu", f.about, size);
		CHECK(pss_verify(&rsa_key(bits)->public, &br_sha256_vtable, hash, signature,
			      size) == (i / 2 == 0),
			"%u bits: %s", bits, f.about);
	}
}

static void test_sign(void)
{
	uint8_t hash[64], salt[64], signature[PSS_SIZE_MAX];

	begin_test("pss: what we sign is what we verify");
	memset(salt, 0xa7, sizeof(salt));
	for (unsigned bits = 2048; bits <= 2049; bits++)
		for (int id = br_sha256_ID; id <= br_sha512_ID; id++) {
			const br_hash_class *class = class_of(id);
			size_t size;

			pss_digest(class, hash, message, sizeof(message) - 1);
			memset(signature, 0xff, sizeof(signature));
			size = pss_sign(&rsa_key(bits)->private, class, hash, salt, signature);
			CHECK(size == (bits + 7) / 8, "%u: %zu", bits, size);
			CHECK(pss_verify(&rsa_key(bits)->public, class, hash, signature, size),
				"%u bits, hash %d", bits, id);
		}
}

static void test_keys(void)
{
	static const uint8_t sizes[] = {0, 1, 16, 33, 64, 127, 128, 255};
	uint8_t hash[64] = {0}, signature[600] = {0}, n[600], e[] = {1, 0, 1};
	br_rsa_public_key key = {n, 0, e, sizeof(e)};

	begin_test("pss: keys and signatures of any size are within bounds");
	memset(n, 0xff, sizeof(n));
	for (size_t i = 0; i < sizeof(sizes); i++) {
		key.nlen = sizes[i];
		CHECK(!pss_verify(&key, &br_sha512_vtable, hash, signature, sizes[i]), "%d",
			sizes[i]);
		CHECK(!pss_verify(&key, &br_sha512_vtable, hash, signature, 256));
	}
	for (size_t size = 500; size <= 600; size++) {
		key.nlen = size;
		CHECK(!pss_verify(&key, &br_sha256_vtable, hash, signature, size), "%zu", size);
	}
}

int main(void)
{
	test_openssl();
	test_encodings();
	test_sign();
	test_keys();
	return finish_tests();
}
