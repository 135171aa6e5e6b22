/* trust/sha512.c - SHA-384 and SHA-512 (FIPS 180-4) under BearSSL's names.
 *
 * The linker takes them instead of BearSSL's, which are four times as large for being faster.
 * Only certificates and the keys of AES-256 are made by them.
 */
#include <bearssl.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BLOCK  128 /* bytes that are compressed at a time */
#define ROUNDS 80

/* The first 64 bits of the fractions of the first 80 primes' cube roots. */
static const uint64_t constants[ROUNDS] = {
	/* clang-format off */
	0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
	0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
	0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
	0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
	0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
	0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
	0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
	0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
	0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
	0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
	0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
	0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
	0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
	0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
	0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
	0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
	0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
	0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
	0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
	0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
	/* clang-format on */
};

static uint64_t rotate(uint64_t x, int n)
{
	return x >> n | x << (64 - n);
}

/* Section 6.4.2. The variables a to h are at x, which each round moves down by one. */
static void compress(uint64_t *state, const uint8_t *block)
{
	uint64_t w[ROUNDS], variables[ROUNDS + 8], *x = variables + ROUNDS;

	memcpy(x, state, 64);
	memcpy(w, block, BLOCK);
	for (int i = 0; i < ROUNDS; i++, x--) {
		uint64_t sum;

		if (i < 16)
			w[i] = be64toh(w[i]);
		else
			w[i] = w[i - 16] + w[i - 7] +
			       (rotate(w[i - 15], 1) ^ rotate(w[i - 15], 8) ^ w[i - 15] >> 7) +
			       (rotate(w[i - 2], 19) ^ rotate(w[i - 2], 61) ^ w[i - 2] >> 6);
		sum = x[7] + constants[i] + w[i] + (x[6] ^ (x[4] & (x[5] ^ x[6]))) +
		      (rotate(x[4], 14) ^ rotate(x[4], 18) ^ rotate(x[4], 41));
		x[3] += sum;
		x[-1] = sum + ((x[0] & x[1]) | (x[2] & (x[0] | x[1]))) +
			(rotate(x[0], 28) ^ rotate(x[0], 34) ^ rotate(x[0], 39));
	}
	for (int i = 0; i < 8; i++)
		state[i] += x[i];
}

/* BearSSL's context is the same for both: the class, a block that is not full yet, the count of
 * bytes, the state. */
typedef br_sha512_context context;

static void begin(const br_hash_class **class, const br_hash_class *own, const uint64_t *state)
{
	context *c = (context *)class;

	c->vtable = own;
	c->count = 0;
	memcpy(c->val, state, sizeof(c->val));
}

static void begin_384(const br_hash_class **class)
{
	static const uint64_t state[8] = {0xcbbb9d5dc1059ed8, 0x629a292a367cd507,
		0x9159015a3070dd17, 0x152fecd8f70e5939, 0x67332667ffc00b31, 0x8eb44a8768581511,
		0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4};

	begin(class, &br_sha384_vtable, state);
}

static void begin_512(const br_hash_class **class)
{
	static const uint64_t state[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b,
		0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
		0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

	begin(class, &br_sha512_vtable, state);
}

static void add_bytes(const br_hash_class **class, const void *data, size_t len)
{
	context *c = (context *)class;

	for (const uint8_t *p = data; len > 0; len--) {
		c->buf[c->count++ % BLOCK] = *p++;
		if (c->count % BLOCK == 0)
			compress(c->val, c->buf);
	}
}

static uint64_t put_state(const br_hash_class *const *class, void *out)
{
	const context *c = (const context *)class;
	uint64_t words[8];

	for (int i = 0; i < 8; i++)
		words[i] = htobe64(c->val[i]);
	memcpy(out, words, sizeof(words));
	return c->count;
}

/* `count` is a multiple of BLOCK. */
static void take_state(const br_hash_class **class, const void *state, uint64_t count)
{
	context *c = (context *)class, other;

	memcpy(other.val, state, sizeof(other.val));
	put_state(&other.vtable, c->val); /* big-endian words are turned back by the same */
	c->count = count;
}

/* Section 5.1.2: a bit, zeros, and the count of bits at a block's end. */
static void put_digest(const br_hash_class *const *class, void *out, size_t size)
{
	context c = *(const context *)class;
	uint64_t words[8], bits[2] = {0, htobe64(c.count * 8)};

	add_bytes(&c.vtable, "\x80", 1);
	while (c.count % BLOCK != BLOCK - sizeof(bits))
		add_bytes(&c.vtable, "", 1);
	add_bytes(&c.vtable, bits, sizeof(bits));
	put_state(&c.vtable, words);
	memcpy(out, words, size);
}

/* A context whose state was taken over need not have a class: BearSSL sets none there. */
static void put_384(const br_hash_class *const *class, void *out)
{
	put_digest(class, out, br_sha384_SIZE);
}

static void put_512(const br_hash_class *const *class, void *out)
{
	put_digest(class, out, br_sha512_SIZE);
}

#define CLASS(id, size, begin, put)                                                                \
	{                                                                                          \
		sizeof(context),                                                                   \
			BR_HASHDESC_ID(id) | BR_HASHDESC_OUT(size) | BR_HASHDESC_STATE(64) |       \
				BR_HASHDESC_LBLEN(7) | BR_HASHDESC_MD_PADDING |                    \
				BR_HASHDESC_MD_PADDING_BE | BR_HASHDESC_MD_PADDING_128,            \
			begin, add_bytes, put, put_state, take_state                               \
	}

const br_hash_class br_sha384_vtable = CLASS(br_sha384_ID, br_sha384_SIZE, begin_384, put_384);
const br_hash_class br_sha512_vtable = CLASS(br_sha512_ID, br_sha512_SIZE, begin_512, put_512);
