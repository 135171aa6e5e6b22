/* sha256.c - unit tests of SHA-256 beside BearSSL's: every length of salt and of data round the
 * edges of a block, at the beginning and the end of memory that must not be left. By the
 * processor's instructions, and as if it had none. */
#ifdef __x86_64__
#include <cpuid.h>
#include <stddef.h>

static unsigned last_leaf = 7, hidden_1, hidden_7; /* bits of ecx of leaf 1, of ebx of leaf 7 */

static unsigned visible_cpuid_max(void)
{
	unsigned last = __get_cpuid_max(0, NULL);

	return last < last_leaf ? last : last_leaf;
}

static void visible_cpuid(unsigned leaf, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
{
	__cpuid_count(leaf, 0, *a, *b, *c, *d);
	*b &= leaf == 7 ? ~hidden_7 : ~0U;
	*c &= leaf == 1 ? ~hidden_1 : ~0U;
}
#define __get_cpuid_max(leaf, signature) visible_cpuid_max()
#undef __cpuid_count
#define __cpuid_count(leaf, subleaf, a, b, c, d) visible_cpuid(leaf, &(a), &(b), &(c), &(d))
#endif

#include "test/unit/processors.h"

#include "trust/sha256.c"

#include "test/unit/check.h"

#define SALT_MAX 256
#define DATA_MAX 8192

/* Of random bytes. */
static uint8_t *fill_zone(size_t size, uint8_t **end)
{
	uint8_t *zone = make_zone(size, end);

	for (uint8_t *p = zone; p < *end; p++)
		*p = (uint8_t)next_random();
	return zone;
}

static uint8_t *salts, *salts_end, *blocks, *blocks_end;

static void theirs(uint8_t *digest, const void *salt, size_t salt_len, const void *data, size_t len)
{
	br_sha256_context c;

	br_sha256_init(&c);
	br_sha256_update(&c, salt, salt_len);
	br_sha256_update(&c, data, len);
	br_sha256_out(&c, digest);
}

static void check_at(const uint8_t *salt, size_t salt_len, const uint8_t *data, size_t len)
{
	uint8_t ours[1 + SHA256_SIZE + 1] = {0x5a}, expected[SHA256_SIZE];

	ours[sizeof(ours) - 1] = 0xa5;
	sha256_salted(ours + 1, salt, salt_len, data, len);
	theirs(expected, salt, salt_len, data, len);
	CHECK(memcmp(ours + 1, expected, sizeof(expected)) == 0, "salt of %zu bytes, %zu bytes",
		salt_len, len);
	CHECK(ours[0] == 0x5a && ours[sizeof(ours) - 1] == 0xa5);
}

/* At the zones' beginnings and ends, and at an address that is not aligned. */
static void check_lengths(size_t salt_len, size_t len)
{
	check_at(salts, salt_len, blocks, len);
	check_at(salts_end - salt_len, salt_len, blocks_end - len, len);
	check_at(salts + 1 + len % 64, salt_len, blocks + 1 + salt_len % 64, len);
}

/* ---- the tests ---- */

static void test_lengths(void)
{
	static const size_t edges[] = {0, 1, 31, 32, 33, 55, 56, 63, 64, 65, 119, 127, 128, 256};
	static const size_t sizes[] = {
		0, 1, 8, 55, 56, 63, 64, 65, 127, 128, 512, 4095, 4096, 4097, 8000};

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		for (size_t len = 0; len <= 300; len++)
			check_lengths(edges[i], len);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t salt_len = 0; salt_len <= SALT_MAX; salt_len++)
			check_lengths(salt_len, sizes[i]);
	for (unsigned i = 0; i < 2000; i++)
		check_lengths(next_random() % (SALT_MAX + 1), next_random() % (DATA_MAX - 64));
}

/* All 0, all 1 and one bit: what random bytes never are. */
static void test_values(void)
{
	static uint8_t data[4096];

	for (unsigned i = 0; i < 3 * 64; i++) {
		memset(data, i % 3 == 1 ? 0xff : 0, sizeof(data));
		if (i % 3 == 2)
			data[next_random() % sizeof(data)] = (uint8_t)(1 << i % 8);
		check_at(data, i, data, sizeof(data));
	}
}

/* FIPS 180-2 appendix B: "abc", and a message of 56 bytes. */
static void test_examples(void)
{
	static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41,
		0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
		0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	static const uint8_t longer[] = {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0,
		0x26, 0x93, 0x0c, 0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff, 0x21, 0x67,
		0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1};
	uint8_t digest[SHA256_SIZE];

	sha256_salted(digest, NULL, 0, "abc", 3);
	CHECK(memcmp(digest, abc, sizeof(digest)) == 0);
	sha256_salted(digest, "abc", 3, NULL, 0);
	CHECK(memcmp(digest, abc, sizeof(digest)) == 0);
	sha256_salted(digest, "a", 1, "bc", 2);
	CHECK(memcmp(digest, abc, sizeof(digest)) == 0);
	sha256_salted(
		digest, "abcdbcde", 8, "cdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 48);
	CHECK(memcmp(digest, longer, sizeof(digest)) == 0);
}

static void test_place(void)
{
	uint8_t salt[SHA256_SIZE], data[4096], expected[SHA256_SIZE];

	memcpy(salt, salts, sizeof(salt));
	memcpy(data, blocks, sizeof(data));
	theirs(expected, salt, sizeof(salt), data, sizeof(data));
	sha256_salted(data + 5, salt, sizeof(salt), data, sizeof(data));
	CHECK(memcmp(data + 5, expected, sizeof(expected)) == 0);
	memcpy(data, blocks, sizeof(data));
	sha256_salted(salt, salt, sizeof(salt), data, sizeof(data));
	CHECK(memcmp(salt, expected, sizeof(expected)) == 0);
}

static void begin(const char *what)
{
	static char text[100];

	end_test(); /* its name is there until now */
	snprintf(text, sizeof(text), "sha256: %s: %s", sha256_name(), what);
	begin_test(text);
}

static void test_all(void)
{
	begin("the examples of FIPS 180-2");
	test_examples();
	begin("salts and data of all lengths");
	test_lengths();
	begin("blocks of equal bytes, and of one bit");
	test_values();
	begin("the digest lies in the salt or in the data");
	test_place();
}

/* ---- the choice ---- */

#ifdef BY_HARDWARE
static bool is_found(void)
{
	instructions = UNKNOWN;
	return strcmp(sha256_name(), BY_HARDWARE) == 0;
}

/* Leaves the processor without its instructions. */
static void test_choice(void)
{
	begin_test("sha256: the instructions are used where all that it takes is there");
#ifdef __x86_64__
	hidden_1 = bit_SSSE3;
	CHECK(!is_found());
	hidden_1 = 0;
	last_leaf = 6;
	CHECK(!is_found());
	last_leaf = 7;
	CHECK(is_found());
	hidden_7 = bit_SHA;
	CHECK(!is_found());
#else
	CHECK(is_found());
	hidden = HWCAP_SHA2;
	CHECK(!is_found());
#endif
	CHECK(strcmp(sha256_name(), "BearSSL") == 0);
}
#endif

int main(void)
{
	salts = fill_zone(SALT_MAX + 65, &salts_end);
	blocks = fill_zone(DATA_MAX, &blocks_end);
	test_all();
#ifdef BY_HARDWARE
	if (instructions == PRESENT) {
		test_choice();
		test_all();
	}
#endif
	return finish_tests();
}
