#include "trust/ciphers.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#if defined(__aarch64__) && !defined(__AARCH64EB__)
#define IS_ARM64
#include <arm_neon.h>
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

/* NEON and SSE2 are parts of the two architectures: nothing has to be asked for at run time. */
#if defined(IS_ARM64) || defined(__x86_64__)
#define HAS_VECTORS

/* ---- what the stream ciphers share ---- */

#define PARALLEL 4 /* blocks that are computed side by side */

/* XORs the next PARALLEL blocks of the key stream to data. */
typedef void xor_blocks(void *state, uint8_t *data);

/* XORs the key stream to all of data, its end by way of a copy. Inlined, so that `next` is too. */
static inline __attribute__((always_inline)) void xor_stream(
	xor_blocks *next, void *state, size_t block, uint8_t *data, size_t len)
{
	uint8_t copy[PARALLEL * 64];

	for (; len >= PARALLEL * block; data += PARALLEL * block, len -= PARALLEL * block)
		next(state, data);
	if (len > 0) {
		memcpy(copy, data, len);
		next(state, copy);
		memcpy(data, copy, len);
	}
}

/* ---- ChaCha20 (RFC 8439): each lane of a vector has its own block ---- */

typedef uint32_t lanes __attribute__((vector_size(4 * PARALLEL)));
typedef uint16_t halves __attribute__((vector_size(4 * PARALLEL)));
typedef lanes unaligned_lanes __attribute__((aligned(1), may_alias));

#ifdef __clang__
#define PICK(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

/* Of two instructions, where the compiler makes three of the shifts. */
#ifdef IS_ARM64
#define ROTATE(x, n) (lanes) vsriq_n_u32((uint32x4_t)((x) << (n)), (uint32x4_t)(x), 32 - (n))
#else
#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#endif

static inline lanes rotate_16(lanes x)
{
	return (lanes)PICK(halves, (halves)x, (halves)x, 1, 0, 3, 2, 5, 4, 7, 6);
}

#define QUARTER_ROUND(a, b, c, d)                                                                  \
	(x[a] += x[b], x[d] = rotate_16(x[d] ^ x[a]), x[c] += x[d], x[b] ^= x[c],                  \
		x[b] = ROTATE(x[b], 12), x[a] += x[b], x[d] ^= x[a], x[d] = ROTATE(x[d], 8),       \
		x[c] += x[d], x[b] ^= x[c], x[b] = ROTATE(x[b], 7))

static void xor_chacha20(void *state, uint8_t *data)
{
	lanes *in = state, x[16];

#pragma GCC unroll 16
	for (int i = 0; i < 16; i++)
		x[i] = in[i];
	for (int i = 0; i < 10; i++) {
		QUARTER_ROUND(0, 4, 8, 12);
		QUARTER_ROUND(1, 5, 9, 13);
		QUARTER_ROUND(2, 6, 10, 14);
		QUARTER_ROUND(3, 7, 11, 15);
		QUARTER_ROUND(0, 5, 10, 15);
		QUARTER_ROUND(1, 6, 11, 12);
		QUARTER_ROUND(2, 7, 8, 13);
		QUARTER_ROUND(3, 4, 9, 14);
	}
	/* Four words, each of all blocks, become four words in a row of each block. */
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += 4) {
		lanes a = x[i] + in[i], b = x[i + 1] + in[i + 1];
		lanes c = x[i + 2] + in[i + 2], d = x[i + 3] + in[i + 3];
		lanes ac = PICK(lanes, a, c, 0, 4, 1, 5), bd = PICK(lanes, b, d, 0, 4, 1, 5);
		unaligned_lanes *out = (unaligned_lanes *)(data + 4 * i);

		out[0] ^= PICK(lanes, ac, bd, 0, 4, 1, 5);
		out[4] ^= PICK(lanes, ac, bd, 2, 6, 3, 7);
		ac = PICK(lanes, a, c, 2, 6, 3, 7);
		bd = PICK(lanes, b, d, 2, 6, 3, 7);
		out[8] ^= PICK(lanes, ac, bd, 0, 4, 1, 5);
		out[12] ^= PICK(lanes, ac, bd, 2, 6, 3, 7);
	}
	in[12] += PARALLEL;
}

static uint32_t chacha20_x4_run(
	const void *key, const void *iv, uint32_t counter, void *data, size_t len)
{
	uint32_t words[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	lanes state[16];

	memcpy(words + 4, key, 32);
	memcpy(words + 13, iv, 12);
	for (int i = 0; i < 16; i++)
		state[i] = words[i] + (lanes){0};
	state[12] = counter + (lanes){0, 1, 2, 3};
	xor_stream(xor_chacha20, state, 64, data, len);
	return counter + (uint32_t)((len + 63) / 64);
}
#endif

#ifdef __SIZEOF_INT128__
/* ---- Poly1305 (RFC 8439) in words of 64 bits ---- */

typedef unsigned __int128 wide;

struct poly1305 {
	uint64_t r[2], h[3]; /* h[2] is below 2^63 */
};

/* What h has above 2^130, 5 times. */
static inline uint64_t excess(uint64_t h2)
{
	return (h2 & ~(uint64_t)3) + (h2 >> 2);
}

/* h = (h + each block) * r modulo 2^130 - 5. RFC 8439 makes r[1] a multiple of 4, so that a product
 * with it that counts 2^128 times is the product with 5/4 of it: 2^130 is 5. What a product has
 * above 2^130 is brought below with the next block, so that carries run once for both. GCC keeps
 * sums of 128 bits on the stack, where each block would wait for the one before. */
static void poly1305_blocks(struct poly1305 *s, const uint8_t *data, size_t count)
{
	uint64_t r0 = s->r[0], r1 = s->r[1], folded = r1 + (r1 >> 2);
	uint64_t h0 = s->h[0], h1 = s->h[1], h2 = s->h[2];

	for (; count > 0; count--, data += 16) {
		uint64_t block[2], carry;
		wide low, high;

		memcpy(block, data, 16);
		carry = __builtin_add_overflow(h0, le64toh(block[0]), &h0);
		carry += __builtin_add_overflow(h0, excess(h2), &h0);
		h2 = (h2 & 3) + 1;
		h2 += __builtin_add_overflow(h1, le64toh(block[1]), &h1);
		h2 += __builtin_add_overflow(h1, carry, &h1);

		low = (wide)h0 * r0 + (wide)h1 * folded;
		high = (wide)h0 * r1 + (wide)h1 * r0 + (uint64_t)(low >> 64) + h2 * folded;
		h0 = (uint64_t)low;
		h1 = (uint64_t)high;
		h2 = h2 * r0 + (uint64_t)(high >> 64);
	}
	s->h[0] = h0;
	s->h[1] = h1;
	s->h[2] = h2;
}

/* Zeros fill the last block. */
static void poly1305_add(struct poly1305 *s, const uint8_t *data, size_t len)
{
	uint8_t last[16] = {0};

	poly1305_blocks(s, data, len / 16);
	if (len % 16 > 0) {
		memcpy(last, data + len - len % 16, len % 16);
		poly1305_blocks(s, last, 1);
	}
}

/* The tag: h, brought below the modulus, plus the second half of the key. */
static void poly1305_end(const struct poly1305 *s, const uint64_t *key, void *tag)
{
	wide low = (wide)s->h[0] + excess(s->h[2]), high = (wide)s->h[1] + (uint64_t)(low >> 64);
	uint64_t h0 = (uint64_t)low, h1 = (uint64_t)high;
	uint64_t h2 = (s->h[2] & 3) + (uint64_t)(high >> 64), over, out[2]; /* h is below 2^131 */

	/* h + 5 reaches 2^130 where h reaches the modulus, and without its bit 130 is what is left.
	 */
	low = (wide)h0 + 5;
	high = (wide)h1 + (uint64_t)(low >> 64);
	over = -((h2 + (uint64_t)(high >> 64)) >> 2);
	low = (wide)(((uint64_t)low & over) | (h0 & ~over)) + le64toh(key[0]);
	high = (wide)(((uint64_t)high & over) | (h1 & ~over)) + le64toh(key[1]) +
	       (uint64_t)(low >> 64);
	out[0] = htole64((uint64_t)low);
	out[1] = htole64((uint64_t)high);
	memcpy(tag, out, sizeof(out));
}

static void poly1305_mul64_run(const void *key, const void *iv, void *data, size_t len,
	const void *aad, size_t aad_len, void *tag, br_chacha20_run chacha20, int encrypt)
{
	uint64_t own_key[4] = {0}, lengths[2] = {htole64(aad_len), htole64(len)};
	struct poly1305 s = {0};

	chacha20(key, iv, 0, own_key, sizeof(own_key));
	s.r[0] = le64toh(own_key[0]) & 0x0ffffffc0fffffff;
	s.r[1] = le64toh(own_key[1]) & 0x0ffffffc0ffffffc;
	if (encrypt)
		chacha20(key, iv, 1, data, len);
	poly1305_add(&s, aad, aad_len);
	poly1305_add(&s, data, len);
	poly1305_add(&s, (const uint8_t *)lengths, sizeof(lengths));
	if (!encrypt)
		chacha20(key, iv, 1, data, len);
	poly1305_end(&s, own_key + 2, tag);
}
#endif

/* ---- what the processor has for AES and GHASH ---- */

/* GCC has the intrinsics of an extension in a function alone; clang, on ARM, where -march names
 * it. */
#if defined(__x86_64__)
#define HARDWARE_GCM	  "aes_x86ni, ghash_pclmul"
#define WITH_INSTRUCTIONS __attribute__((target("aes,pclmul,ssse3")))
#elif defined(IS_ARM64) && (defined(__ARM_FEATURE_AES) || !defined(__clang__))
#define HARDWARE_GCM "aes_armce, ghash_armce"
#ifdef __clang__
#define WITH_INSTRUCTIONS
#else
#define WITH_INSTRUCTIONS __attribute__((target("+crypto")))
#endif
#endif

#ifdef HARDWARE_GCM
typedef uint8_t bytes __attribute__((vector_size(16)));
typedef uint64_t pair __attribute__((vector_size(16)));
typedef bytes unaligned_bytes __attribute__((aligned(1), may_alias));

#define for_each_block(i) _Pragma("GCC unroll 4") for (unsigned i = 0; i < PARALLEL; i++)

#ifdef __x86_64__
static bool has_instructions(void)
{
	unsigned a, b, c = 0, d;

	__get_cpuid(1, &a, &b, &c, &d);
	return c & bit_AES && c & bit_PCLMUL && c & bit_SSSE3;
}

/* Lane 0 of AESKEYGENASSIST is SubWord of the operand's lane 1. */
static WITH_INSTRUCTIONS uint32_t aes_subword(uint32_t word)
{
	__m128i columns = _mm_set1_epi32((int)word);

	return (uint32_t)_mm_cvtsi128_si32(_mm_aeskeygenassist_si128(columns, 0));
}

/* `last` is the last round key but one. */
static WITH_INSTRUCTIONS inline void aes_encrypt(
	bytes x[PARALLEL], const unaligned_bytes *key, const unaligned_bytes *last)
{
	for_each_block (i)
		x[i] ^= *key;
	do {
		key++;
		for_each_block (i)
			x[i] = (bytes)_mm_aesenc_si128((__m128i)x[i], (__m128i)*key);
	} while (key != last);
	key++;
	for_each_block (i)
		x[i] = (bytes)_mm_aesenclast_si128((__m128i)x[i], (__m128i)*key);
}

/* Products of the lower and of the higher halves, without carries. */
static WITH_INSTRUCTIONS inline pair multiply_low(pair a, pair b)
{
	return (pair)_mm_clmulepi64_si128((__m128i)a, (__m128i)b, 0x00);
}

static WITH_INSTRUCTIONS inline pair multiply_high(pair a, pair b)
{
	return (pair)_mm_clmulepi64_si128((__m128i)a, (__m128i)b, 0x11);
}
#else
static bool has_instructions(void)
{
	const unsigned long needed = HWCAP_AES | HWCAP_PMULL;

	return (getauxval(AT_HWCAP) & needed) == needed;
}

/* SubWord (FIPS 197 section 5.2): AESE's ShiftRows moves nothing where all columns are the same. */
static WITH_INSTRUCTIONS uint32_t aes_subword(uint32_t word)
{
	uint8x16_t columns = vreinterpretq_u8_u32(vdupq_n_u32(word));

	return vgetq_lane_u32(vreinterpretq_u32_u8(vaeseq_u8(columns, vdupq_n_u8(0))), 0);
}

static WITH_INSTRUCTIONS inline void aes_encrypt(
	bytes x[PARALLEL], const unaligned_bytes *key, const unaligned_bytes *last)
{
	do {
		for_each_block (i)
			x[i] = (bytes)vaesmcq_u8(vaeseq_u8((uint8x16_t)x[i], (uint8x16_t)*key));
		key++;
	} while (key != last);
	for_each_block (i)
		x[i] = (bytes)vaeseq_u8((uint8x16_t)x[i], (uint8x16_t)*key) ^ key[1];
}

static WITH_INSTRUCTIONS inline pair multiply_low(pair a, pair b)
{
	return (pair)vmull_p64((poly64_t)a[0], (poly64_t)b[0]);
}

static WITH_INSTRUCTIONS inline pair multiply_high(pair a, pair b)
{
	return (pair)vmull_high_p64((poly64x2_t)a, (poly64x2_t)b);
}
#endif

/* ---- AES-CTR ---- */

struct aes_stream {
	const br_aes_x86ni_ctr_keys *keys;
	lanes next; /* the next block of the counter, its four words turned round */
};

static const br_block_ctr_class aes_vtable;

/* The key expansion of FIPS 197 section 5.2 for a key of n words. BearSSL's context for x86 has in
 * it what is needed everywhere: the round keys and their number. */
static WITH_INSTRUCTIONS void aes_init(
	const br_block_ctr_class **context, const void *key, size_t len)
{
	br_aes_x86ni_ctr_keys *keys = (br_aes_x86ni_ctr_keys *)context;
	uint32_t words[4 * 15], rcon = 1;
	size_t n = len / 4, i;

	keys->vtable = &aes_vtable;
	keys->num_rounds = (unsigned)n + 6;
	memcpy(words, key, len);
	for (i = n; i < 4 * (n + 7); i++) {
		uint32_t word = words[i - 1];

		if (i % n == 0 || (n > 6 && i % n == 4))
			word = aes_subword(word);
		if (i % n == 0) {
			word = (word >> 8 | word << 24) ^ rcon;
			rcon = rcon << 1 ^ (rcon >> 7) * 0x11b;
		}
		words[i] = words[i - n] ^ word;
	}
	memcpy(keys->skey.skni, words, 4 * i);
}

static WITH_INSTRUCTIONS inline lanes turn_words(lanes x)
{
	return (lanes)PICK(
		bytes, (bytes)x, (bytes)x, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

static WITH_INSTRUCTIONS void xor_aes(void *state, uint8_t *data)
{
	struct aes_stream *s = state;
	const unaligned_bytes *key = (const unaligned_bytes *)s->keys->skey.skni;
	unaligned_bytes *out = (unaligned_bytes *)data;
	bytes x[PARALLEL];

	for_each_block (i) {
		x[i] = (bytes)turn_words(s->next);
		s->next += (lanes){0, 0, 0, 1};
	}
	aes_encrypt(x, key, key + s->keys->num_rounds - 1);
	for_each_block (i)
		out[i] ^= x[i];
}

static WITH_INSTRUCTIONS uint32_t aes_run(const br_block_ctr_class *const *context, const void *iv,
	uint32_t counter, void *data, size_t len)
{
	struct aes_stream s = {(const br_aes_x86ni_ctr_keys *)context, {0}};

	memcpy(&s.next, iv, 12);
	s.next = turn_words(s.next);
	s.next[3] = counter;
	xor_stream(xor_aes, &s, 16, data, len);
	return counter + (uint32_t)((len + 15) / 16);
}

static const br_block_ctr_class aes_vtable = {
	sizeof(br_aes_x86ni_ctr_keys), 16, 4, aes_init, aes_run};

/* ---- GHASH by way of POLYVAL (RFC 8452 appendix A) ---- */

/* NIST SP 800-38D section 6.3 has the lowest coefficient of a polynomial in the highest bit of the
 * first byte. A block whose bytes are turned round is POLYVAL's, with the modulus x^128 + x^127 +
 * x^126 + x^121 + 1, if the key is multiplied by x once. A product of POLYVAL's counts x^-128. */
struct product {
	pair low, middle, high; /* 64 bits apart */
};

static WITH_INSTRUCTIONS inline pair load_turned(const void *block)
{
	bytes x = *(const unaligned_bytes *)block;

	return (pair)PICK(bytes, x, x, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

static WITH_INSTRUCTIONS inline pair swap(pair a)
{
	return PICK(pair, a, a, 1, 0);
}

/* By Karatsuba: `middle` is the product of the sums of the halves, in which low and high are too.
 * Inlined here and below, so that the sums stay in registers. */
static WITH_INSTRUCTIONS inline __attribute__((always_inline)) void add_product(
	struct product *sum, pair a, pair b)
{
	sum->low ^= multiply_low(a, b);
	sum->middle ^= multiply_low(a ^ swap(a), b ^ swap(b));
	sum->high ^= multiply_high(a, b);
}

/* Twice a multiple of the modulus is added that makes the lowest quarter 0, which is left out. */
static WITH_INSTRUCTIONS inline __attribute__((always_inline)) pair reduce(const struct product *p)
{
	const pair modulus = {(uint64_t)0xc2 << 56};
	pair middle = p->middle ^ p->low ^ p->high;

	middle ^= swap(p->low) ^ multiply_low(p->low, modulus);
	return p->high ^ swap(middle) ^ multiply_low(middle, modulus);
}

/* The key times x. */
static WITH_INSTRUCTIONS inline pair load_key(const void *key)
{
	pair h = load_turned(key);
	uint64_t over = h[1] >> 63;

	return (pair){h[0] << 1 ^ over, (h[1] << 1 | h[0] >> 63) ^ (over * 0xc2) << 56};
}

static WITH_INSTRUCTIONS __attribute__((noinline)) pair ghash_multiply(pair a, pair b)
{
	struct product p = {{0}, {0}, {0}};

	add_product(&p, a, b);
	return reduce(&p);
}

static WITH_INSTRUCTIONS void ghash(void *y, const void *h, const void *data, size_t len)
{
	const uint8_t *p = data;
	pair sum = load_turned(y), power[PARALLEL]; /* h^4, h^3, h^2, h */

	power[PARALLEL - 1] = load_key(h);
	for (int i = PARALLEL - 1; i > 0; i--)
		power[i - 1] = ghash_multiply(power[i], power[PARALLEL - 1]);
	for (; len >= 16 * PARALLEL; p += 16 * PARALLEL, len -= 16 * PARALLEL) {
		struct product all = {{0}, {0}, {0}};

		for_each_block (i) {
			add_product(&all, sum ^ load_turned(p + 16 * i), power[i]);
			sum = (pair){0};
		}
		sum = reduce(&all);
	}
	for (size_t size; len > 0; p += size, len -= size) {
		uint8_t block[16] = {0};

		size = len < 16 ? len : 16;
		memcpy(block, p, size);
		sum = ghash_multiply(sum ^ load_turned(block), power[PARALLEL - 1]);
	}
	*(unaligned_bytes *)y = (bytes)load_turned(&sum);
}
#endif

/* ---- the choice ---- */

/* One of the two in hardware would gain little, and hardly a processor has only one. */
static bool find_hardware_gcm(struct ciphers *c)
{
#ifdef HARDWARE_GCM
	c->aes = &aes_vtable;
	c->ghash = ghash;
	c->names[0] = HARDWARE_GCM;
	return has_instructions();
#else
	c->aes = br_aes_x86ni_ctr_get_vtable();
	c->ghash = br_ghash_pclmul_get();
	c->names[0] = "aes_x86ni, ghash_pclmul";
	return c->aes && c->ghash;
#endif
}

/* BearSSL's own choice (br_ssl_engine_set_default_aes_gcm() and its like) would also link those
 * that the architecture never runs. */
struct ciphers ciphers_best(void)
{
	struct ciphers c;

	c.hardware_gcm = find_hardware_gcm(&c);
#ifdef __SIZEOF_INT128__
	if (!c.hardware_gcm) {
		c.aes = &br_aes_ct64_ctr_vtable;
		c.ghash = br_ghash_ctmul64;
		c.names[0] = "aes_ct64, ghash_ctmul64";
	}
	c.poly1305 = poly1305_mul64_run;
	c.names[2] = "poly1305_mul64";
#else
	if (!c.hardware_gcm) {
		c.aes = &br_aes_ct_ctr_vtable;
		c.ghash = br_ghash_ctmul;
		c.names[0] = "aes_ct, ghash_ctmul";
	}
	c.poly1305 = br_poly1305_ctmul_run;
	c.names[2] = "poly1305_ctmul";
#endif
#ifdef HAS_VECTORS
	c.chacha20 = chacha20_x4_run;
	c.names[1] = "chacha20_x4";
#else
	c.chacha20 = br_chacha20_sse2_get();
	c.names[1] = "chacha20_sse2";
	if (!c.chacha20) {
		c.chacha20 = br_chacha20_ct_run;
		c.names[1] = "chacha20_ct";
	}
#endif
	return c;
}
