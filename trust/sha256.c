#include "trust/sha256.h"

#include <bearssl.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define BY_HARDWARE	  "SHA-NI"
#define WITH_INSTRUCTIONS __attribute__((target("sha,ssse3")))
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(__AARCH64EB__) &&                                           \
	(defined(__ARM_FEATURE_SHA2) || !defined(__clang__))
/* GCC has the intrinsics of an extension in a function alone; clang, where -march names it. */
#define BY_HARDWARE "ARMv8 CE"
#ifdef __clang__
#define WITH_INSTRUCTIONS
#else
#define WITH_INSTRUCTIONS __attribute__((target("+crypto")))
#endif
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

#define BLOCK 64 /* bytes that are compressed at a time */

#ifdef BY_HARDWARE
/* ---- the compression of FIPS 180-4 section 6.2.2 ---- */

/* BearSSL's own table is static there; GCC's -flto makes one of the two. */
static const uint32_t constants[64] __attribute__((aligned(16))) = {
	/* clang-format off */
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
	/* clang-format on */
};

#define for_each_block(i) _Pragma("GCC unroll 4") for (unsigned i = 0; i < 4; i++)

#ifdef __x86_64__
static bool find_instructions(void)
{
	unsigned a, b, c, d;

	if (__get_cpuid_max(0, NULL) < 7)
		return false;
	__cpuid_count(7, 0, a, b, c, d);
	if (!(b & bit_SHA))
		return false;
	__cpuid_count(1, 0, a, b, c, d);
	return c & bit_SSSE3;
}

/* Lanes are named from the lowest. Sixteen rounds, then the schedule's words for the next sixteen;
 * the last need none. In a row there are no moves, which would take a third more time. What is left
 * is each round's wait for the one before; still, two messages in turns take as long. */
static WITH_INSTRUCTIONS void compress(uint32_t *state, const uint8_t *data, size_t count)
{
	const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i *s = (__m128i *)state;
	__m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128(s), 0x1b);
	__m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(s + 1), 0x1b);
	__m128i hgdc = _mm_unpacklo_epi64(hgfe, dcba), feba = _mm_unpackhi_epi64(hgfe, dcba);

	for (; count > 0; count--, data += BLOCK) {
		__m128i w[4], x = feba, y = hgdc;

		for_each_block (i)
			w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)data + i), order);
		for (const __m128i *k = (const __m128i *)constants;; k += 4) {
			for_each_block (i) {
				__m128i sum = _mm_add_epi32(w[i], k[i]);

				y = _mm_sha256rnds2_epu32(y, x, sum);
				x = _mm_sha256rnds2_epu32(x, y, _mm_shuffle_epi32(sum, 0x0e));
			}
			if (k == (const __m128i *)constants + 12)
				break;
			for_each_block (i) {
				__m128i w3 = w[(i + 3) % 4],
					next = _mm_add_epi32(
						_mm_sha256msg1_epu32(w[i], w[(i + 1) % 4]),
						_mm_alignr_epi8(w3, w[(i + 2) % 4], 4));

				w[i] = _mm_sha256msg2_epu32(next, w3);
			}
		}
		feba = _mm_add_epi32(feba, x);
		hgdc = _mm_add_epi32(hgdc, y);
	}
	hgfe = _mm_unpacklo_epi64(hgdc, feba);
	dcba = _mm_unpackhi_epi64(hgdc, feba);
	_mm_storeu_si128(s, _mm_shuffle_epi32(dcba, 0x1b));
	_mm_storeu_si128(s + 1, _mm_shuffle_epi32(hgfe, 0x1b));
}
#else
static bool find_instructions(void)
{
	return getauxval(AT_HWCAP) & HWCAP_SHA2;
}

/* Four rounds compute the schedule's words for those sixteen later (the last for nothing). Sixteen
 * in a row need no moves, which cost a processor that keeps the order of instructions. */
static WITH_INSTRUCTIONS void compress(uint32_t *state, const uint8_t *data, size_t count)
{
	uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);

	for (; count > 0; count--, data += BLOCK) {
		uint32x4_t w[4], x = abcd, y = efgh;

		for_each_block (i)
			w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
		for (const uint32_t *k = constants; k < constants + 64; k += 16)
			for_each_block (i) {
				uint32x4_t sum = vaddq_u32(w[i], vld1q_u32(k + 4 * i)), old = x;

				w[i] = vsha256su1q_u32(vsha256su0q_u32(w[i], w[(i + 1) % 4]),
					w[(i + 2) % 4], w[(i + 3) % 4]);
				x = vsha256hq_u32(x, y, sum);
				y = vsha256h2q_u32(y, old, sum);
			}
		abcd = vaddq_u32(abcd, x);
		efgh = vaddq_u32(efgh, y);
	}
	vst1q_u32(state, abcd);
	vst1q_u32(state + 4, efgh);
}
#endif

static enum { UNKNOWN, ABSENT, PRESENT } instructions;

/* The processor is asked once: under a hypervisor that takes as long as some blocks. */
static bool has_instructions(void)
{
	if (instructions == UNKNOWN)
		instructions = find_instructions() ? PRESENT : ABSENT;
	return instructions == PRESENT;
}

/* ---- the message around it (section 5.1.1) ---- */

/* BearSSL's context has what is needed: the state, a block that is not full yet, and the count of
 * bytes. Whole blocks are compressed where they are. */
static void add_bytes(br_sha256_context *c, const uint8_t *data, size_t len)
{
	for (size_t size; len > 0; data += size, len -= size) {
		size_t fill = c->count % BLOCK;

		if (fill == 0 && len >= BLOCK) {
			size = len - len % BLOCK;
			compress(c->val, data, len / BLOCK);
		} else {
			size = len < BLOCK - fill ? len : BLOCK - fill;
			memcpy(c->buf + fill, data, size);
			if (fill + size == BLOCK)
				compress(c->val, c->buf, 1);
		}
		c->count += size;
	}
}

/* A bit, zeros, and the count of bits at a block's end. */
static void end_message(br_sha256_context *c, uint8_t *digest)
{
	uint8_t padding[BLOCK + sizeof(uint64_t)] = {0x80};
	size_t size = (BLOCK - sizeof(uint64_t) - 1 - c->count) % BLOCK + 1;
	uint64_t bits = htobe64(c->count * 8);

	memcpy(padding + size, &bits, sizeof(bits));
	add_bytes(c, padding, size + sizeof(bits));
	for (unsigned i = 0; i < SHA256_SIZE; i += 4) {
		uint32_t word = htobe32(c->val[i / 4]);

		memcpy(digest + i, &word, 4);
	}
}
#endif

void sha256_salted(unsigned char digest[SHA256_SIZE], const void *salt, size_t salt_len,
	const void *data, size_t len)
{
	br_sha256_context c;

	br_sha256_init(&c);
#ifdef BY_HARDWARE
	if (has_instructions()) {
		add_bytes(&c, salt, salt_len);
		add_bytes(&c, data, len);
		end_message(&c, digest);
		return;
	}
#endif
	br_sha256_update(&c, salt, salt_len);
	br_sha256_update(&c, data, len);
	br_sha256_out(&c, digest);
}

const char *sha256_name(void)
{
#ifdef BY_HARDWARE
	if (has_instructions())
		return BY_HARDWARE;
#endif
	return "BearSSL";
}
