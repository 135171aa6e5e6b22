/* p7s.c - unit tests of signatures of a root hash, and of the keys that may make them.
 *
 *   p7s KEYS SIGNATURE ROOTHASH
 *
 * For test/client/test_p7s.py: judges files instead of running the tests, and prints one line,
 * which begins with "signer: ", "fault: " or "keys: ". A signature that fits is also tried cut at
 * each byte.
 */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "base/text.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#include "trust/p7s.c"

#include <sys/mman.h>

#include "test/unit/check.h"
#include "test/unit/signatures.h"
#include "test/unit/stubs.h"

static char why[200];
static uint8_t root[VERITY_DIGEST];
static bool fits; /* the last signature */

/* Loads keys out of a file with these texts. */
static bool load(const char *first, const char *second)
{
	int fd = memfd_create("keys", 0);
	char path[64];
	bool good;

	if (dprintf(fd, "%s%s", first, second) < 0)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	good = p7s_load_keys(path, why, sizeof(why));
	CHECK(good == (p7s_keys() > 0));
	close(fd);
	return good;
}

static uint8_t *decode(const char *pem, size_t *size)
{
	struct pem p = {.fd = memfd_create("pem", 0)};
	static uint8_t out[4096];

	if (write(p.fd, pem, strlen(pem)) != (ssize_t)strlen(pem) ||
		!pem_next(&p, NULL, out, sizeof(out), size) || *size > sizeof(out))
		abort();
	close(p.fd);
	return out;
}

/* Judges a copy in memory of its own: the signer, or the fault. */
static const char *judge(const uint8_t *p7s, size_t size)
{
	uint8_t *copy = memcpy(malloc(size + 1), p7s, size);
	const char *fault, *signer = p7s_signer(copy, size, root, &fault);

	CHECK(!signer == (fault != NULL));
	free(copy);
	fits = signer;
	return signer ? signer : fault;
}

static void test_keys(void)
{
	static char text[20000];

	begin_test("p7s: keys of certificates and bare ones, several in a file");
	CHECK(load(ec_cert_pem, "") && p7s_keys() == 1, "%s", why);
	CHECK(load(rsa_public_pem, "") && p7s_keys() == 1, "%s", why);
	CHECK(load(ec_cert_pem, rsa_public_pem) && p7s_keys() == 2, "%s", why);
	CHECK(p7s_load_keys("", why, sizeof(why)) && p7s_keys() == 0);

	begin_test("p7s: a file of keys that is of no use is refused with a sentence");
	CHECK(!p7s_load_keys("/nonexistent", why, sizeof(why)) &&
		strstr(why, "/nonexistent: No such"));
	CHECK(!load("", "") && strstr(why, " has no certificate and no public key"), "%s", why);
	CHECK(!load(ec_p7s, "") && strstr(why, "has no certificate"), "%s", why);
	for (int i = 0; i <= VERITY_KEYS_MAX; i++) {
		CHECK(load(text, rsa_public_pem) == (i < VERITY_KEYS_MAX), "%s", why);
		strcat(text, rsa_public_pem);
	}
	CHECK(strstr(why, "has more than 4 keys"), "%s", why);
	strcpy(text, ec_cert_pem);
	text[100] = '!';
	CHECK(!load(rsa_public_pem, text) && strstr(why, "is broken"), "%s", why);
	text[100] = ec_cert_pem[100];
	memset(text + 60, 'A', 40);
	CHECK(!load(text, "") && strstr(why, "is malformed"), "%s", why);
	strcpy(text, "-----BEGIN CERTIFICATE-----\n");
	memset(text + strlen(text), 'A', 6000);
	strcat(text, "\n-----END CERTIFICATE-----\n");
	CHECK(!load(text, "") && strstr(why, "too long"), "%s", why);
}

/* A SubjectPublicKeyInfo of RSA with this modulus, as PEM. */
static const char *rsa_key(const uint8_t *modulus, size_t size)
{
	static char text[2000];
	uint8_t der[700] = {0x30, 0x82, 0, 0, 0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1,
		1, 1, 5, 0, 3, 0x82, 0, 0, 0, 0x30, 0x82, 0, 0, 2, 0x82, 0, 0};
	static const uint8_t exponent[] = {2, 3, 1, 0, 1};
	const size_t lengths[][2] = {{2, size + 33}, {21, size + 14}, {26, size + 9}, {30, size}};

	if (size < 256) /* not the shortest form of its length */
		der[29] = 0x81, der[30] = (uint8_t)size;
	for (size_t i = 0; i < (size < 256 ? 3 : 4); i++) {
		der[lengths[i][0]] = (uint8_t)(lengths[i][1] >> 8);
		der[lengths[i][0] + 1] = (uint8_t)lengths[i][1];
	}
	memcpy(der + 32, modulus, size);
	memcpy(der + 32 + size, exponent, sizeof(exponent));
	strcpy(text, "-----BEGIN PUBLIC KEY-----\n");
	base64_encode(text + strlen(text), der, size + 37);
	return strcat(text, "\n-----END PUBLIC KEY-----\n");
}

static void test_moduli(void)
{
	uint8_t n[520] = {0};

	begin_test("p7s: an RSA key whose modulus is 0, even, short or long is refused");
	n[1] = 0x80;
	n[256] = 1;
	CHECK(load(rsa_key(n, 257), ""), "%s", why);
	n[256] = 2;
	CHECK(!load(rsa_key(n, 257), "") && strstr(why, "impossible RSA key"), "%s", why);
	n[256] = 1;
	CHECK(!load(rsa_key(n + 1, 256), ""), "negative");
	n[0] = n[1];
	n[1] = 0;
	CHECK(!load(rsa_key(n, 257), ""), "negative");
	memset(n, 0, sizeof(n));
	CHECK(!load(rsa_key(n, 257), ""), "%s", why);
	CHECK(!load(rsa_key(n, 1), ""), "%s", why);
	n[1] = 0x80;
	n[512] = 1;
	CHECK(load(rsa_key(n, 513), ""), "%s", why);
	n[513] = 1;
	CHECK(!load(rsa_key(n, 514), "") && strstr(why, "more than 4096 bits"), "%s", why);
}

static void test_good(void)
{
	static const char *const good[] = {ec_p7s, certs_p7s, rsa_p7s};
	size_t size;

	begin_test("p7s: a signature of the root hash by one of the keys");
	for (int i = 0; i < 3; i++) {
		uint8_t *p7s = decode(good[i], &size);
		const char *ours = i < 2 ? "Images" : "public key /proc/self/fd/";
		bool is_rsa = i == 2;

		CHECK(load(is_rsa ? rsa_public_pem : ec_cert_pem, ""));
		CHECK(strncmp(judge(p7s, size), ours, strlen(ours)) == 0, "%s", judge(p7s, size));
		CHECK(load(rsa_public_pem, ec_cert_pem));
		CHECK(strncmp(judge(p7s, size), ours, strlen(ours)) == 0, "%s", judge(p7s, size));
		CHECK(load(is_rsa ? ec_cert_pem : rsa_public_pem, ""));
		CHECK(strstr(judge(p7s, size), "does not fit"), "another key");
		CHECK(p7s_load_keys("", why, sizeof(why)));
		CHECK(strstr(judge(p7s, size), "does not fit"), "no key");
		load(rsa_public_pem, ec_cert_pem);
		root[31] ^= 1;
		CHECK(strstr(judge(p7s, size), "does not fit"), "another root hash");
		root[31] ^= 1;
	}
}

/* Every bit, but for those that nothing depends on: versions, what is said of the signer, and
 * certificates. */
static void test_changed(void)
{
	static const char *const good[] = {ec_p7s, rsa_p7s, certs_p7s};

	begin_test("p7s: a signature cut or changed anywhere is read within its bounds");
	load(rsa_public_pem, ec_cert_pem);
	for (int i = 0; i < 3; i++) {
		size_t size, taken = 0;
		uint8_t *p7s = decode(good[i], &size);

		for (size_t cut = 0; cut < size; cut++)
			CHECK(strstr(judge(p7s, cut), "is no detached"), "%d: cut at %zu", i, cut);
		p7s[size] = 0;
		CHECK(strstr(judge(p7s, size + 1), "is no detached"), "%d: a byte too many", i);
		for (size_t at = 0; at < size; at++) {
			p7s[at] ^= 1 << at % 8;
			judge(p7s, size);
			taken += fits;
			p7s[at] ^= 1 << at % 8;
		}
		CHECK(taken > 0 && taken < size - (i == 1 ? 256 : 64), "%d: %zu", i, taken);
	}
}

static int judge_files(char **argv)
{
	static uint8_t p7s[20000];
	int fd = open(argv[2], O_RDONLY);
	ssize_t size = read(fd, p7s, sizeof(p7s));
	const char *said;

	if (size < 0 || !verity_root_parse(root, argv[3], strlen(argv[3])))
		abort();
	if (!p7s_load_keys(argv[1], why, sizeof(why)))
		return printf("keys: %s\n", why) < 0;
	said = judge(p7s, (size_t)size);
	printf("%s: %s\n", fits ? "signer" : "fault", said);
	if (!fits)
		size = 0;
	for (size_t cut = 0; cut < (size_t)size; cut++)
		CHECK(strstr(judge(p7s, cut), "is no detached") && !fits, "cut at %zu", cut);
	return check_failed > 0;
}

int main(int argc, char **argv)
{
	if (argc == 4)
		return judge_files(argv);
	verity_root_parse(root, signed_root, VERITY_HEX);
	test_keys();
	test_moduli();
	test_good();
	test_changed();
	return finish_tests();
}
