/* client_cert.c - unit tests of the client's certificate and key; test/client/test_tls.py has the
 * servers that ask for one, and RSA. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/client_cert.c"

#include <sys/mman.h>

#include "test/unit/certs.h"
#include "test/unit/check.h"
#include "test/unit/stubs.h"

static const char pkcs8_pem[] = "-----BEGIN PRIVATE KEY-----\n"
				"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVvvqcg66qgIVoKra\n"
				"Cu/UzCee2UEz2KyTZSS5HIZRKA2hRANCAAThRe2kStMTZeujBoMQz9R9fFzzjmzX\n"
				"kSrNi/INWjGTnCyjXA+M9aDqDrksjQm6xNbx1qBOKBq9u2lJ2BEAocPB\n"
				"-----END PRIVATE KEY-----\n";

static const char encrypted_pem[] =
	"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
	"MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhWTGksHg9ATgICCAAw\n"
	"DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEOmTPO+BwhIzQu8WimN6sK8EgZAQ\n"
	"wnzRi3EtO7p72sCUp5iaq7AHuKYM07pcS7SBWoynDXEAvFSIi6t3VBlwbZr/T43C\n"
	"9DPSznydoidMy3mEtbYMktp9IRIgTNiOU9S9oZNoV/lzSAH694BN1C2iUxUY6bdE\n"
	"YD0TnvERL2hVbX7JYX829radwsVePbdMHuPcp2lGOzN9ZwQIsXfikyO3K/MXzD4=\n"
	"-----END ENCRYPTED PRIVATE KEY-----\n";

static const char old_encrypted_pem[] =
	"-----BEGIN EC PRIVATE KEY-----\n"
	"Proc-Type: 4,ENCRYPTED\n"
	"DEK-Info: AES-128-CBC,63D8F1DB3152653ADD8E64B1C7B1A16E\n"
	"\n"
	"PhzBQfiFQbKb7Gr1NLlJNnZ7/xLMwnIFLEpcs+CWhe3z8U78FsTFEQpxPeAtBpw8\n"
	"3tEJmB933xvfra2YX6Ww1Ki9pyyBKAhHN6EpUsErsHZuxq33KIAKw003amkbCeqm\n"
	"+U4KujpNJW+VA8msXKY8WjDvLqBBywbegz7hFUF/R+o=\n"
	"-----END EC PRIVATE KEY-----\n";

static const char rsa_pem[] = "-----BEGIN RSA PRIVATE KEY-----\n"
			      "MIIEpQIBAAKCAQEA08RluXqnWY0AVYDzVndASRxOwPhFuRzBcL+sQrDBvylpZpA3\n"
			      "SJgouTdLXN0XyZfys+pAKqjgRnADvfftXI/TzdvSleNh38eLFuc3CYZH4oMNf3id\n"
			      "XYtihuDQ5XcfonjOiJwu64pQViGcWdS0WiPy+HrhG6SE9QF7t4Up+L/g0gKGavdy\n"
			      "Qn6YdXdmiREV9ZPPVic16C8NeFv+dTjIoxo9Qgx06Qr9MY9BI7eh1WAzLab36ftJ\n"
			      "+euOSoiSKR2nx8xhYcTULz7y5Z2dGdLzC/WaYajEdkkjSa8v04y4i0DK+IGzM3z4\n"
			      "zHq9IIJyYmbf5pDO06s+YAxKWNXnFSDWRkRmZQIDAQABAoIBAAS8rfHaNoggSVOg\n"
			      "UNEsVbnM8k4Kv7SGWiVlhDrxrUPTb1ImA7aSAMcz33GyWGfgCEPSB6Fsqaeptcu4\n"
			      "Eg0yAnDma+2CapwQ4KGghnCmGlGM0O57CjofdhLCUKnxYjnGLgiMRdhq/aUPl2nD\n"
			      "Ak3J5BN+3C48HeVFJTlTtz6jPCo2bdKUaJz2NEms3TU4Ls7rwpl8YaJTvwiX/H6m\n"
			      "xMHhVRFEkKYGs7AFzEKTkodyby45r5QMHaR7PL4fYIqIXZc7blhG4PyCCpipq4B5\n"
			      "zo+LJJuFcCYA/07qGawNd91pDdh3764HdRh6qezjILzVNzcwiFf/CP6sf+evCfGy\n"
			      "QfLqJwECgYEA8iSVTGiKSvNocbiXNRrdRO0HQpiAxNbL+NB0E0GPa5gSb+ZoqWin\n"
			      "EZB7QrZlDlo13FKTGU7nNeVHztZ/FyeyrGld+OycqV4Q8tA4jlyeJVRQ+k1EI4Q/\n"
			      "s2dPdW6rHpze+AZ8SVSWImdRKz0HlN8eEqqHHVsjHkon1wqfo1MGnoUCgYEA3+LO\n"
			      "jmMREoGCDfIcRksSeiCoqSWHoO6RlAav21YAWcQ8CtgjmYIZYXPVJl1UF8ncXJk0\n"
			      "55IRDcSTxLxIoMLY0gJQ+3+SujbTiLvtrtbby+Y4EM5dIVCKRpyV/Gjo7LQIr6gW\n"
			      "10s7Jc2dQvY7T9kKvXch3ESQAynBr4UOW5uP3mECgYEAr1Dhb9L43c9iPYQipmZu\n"
			      "8iqTaRo1kU7bm6iBgjejeYk/QBmYiZ+l5sevFtwsSrnx6TU4H8jLCnCZDx6qIb+y\n"
			      "U7ZuPX5C5zWeG8+6Qwi3z9s+ThuHTBfCb0hLdYDNEHsPzJAViJpfoUUgtaeYR6dL\n"
			      "hMRG03Ba+uFB+yZL8tp4HmkCgYEAjLEa3J+kutxnvhvHaOUEV3ruglzzPk6tbThG\n"
			      "iq8gyUhn8uigdncrO/JuoA1GKyzPLeGZPWytCtndgmRPv7aySkbqXSFuM1cA14xB\n"
			      "cP3UYe3qjaUhIS5btsPv/Q5wUU9RphEbSXAdW0Q67zmNTEA4X5fdz23GkjZLYOFc\n"
			      "hHTdlAECgYEAxGn9Vtgi8CCUzpIfNH6oq4VTtbUkRGnNndV8cL7b+512FhMMPdYm\n"
			      "i8pKj1oeXnzQHBb5kQ5+legWsko9ZDcu2qU2OWSGNLNnk0ocBEOntfXeWyEm0LYS\n"
			      "bZGIFx7PdNJXnmGRVKM3mKYk9bPMKr/DsBWvwo8DwsmbCCQ/KtvCaO4=\n"
			      "-----END RSA PRIVATE KEY-----\n";

static char why[512];

/* The path of a file with this text. */
static const char *file_of(char path[64], const char *text)
{
	int fd = memfd_create("pem", 0);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, 0600))
		abort();
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return path;
}

static bool load(const char *cert, const char *key)
{
	char cert_path[64], key_path[64];
	bool good = client_cert_load(
		file_of(cert_path, cert), file_of(key_path, key), why, sizeof(why));

	close(atoi(cert_path + 14));
	close(atoi(key_path + 14));
	CHECK(good == (own.certs > 0));
	return good;
}

static void test_load(void)
{
	static char both[4096];

	begin_test("client_cert: a certificate and its key, in each form");
	CHECK(load(cert_pem, key_pem), "%s", why);
	CHECK(own.key_type == BR_KEYTYPE_EC && own.certs == 1);
	CHECK(load(cert_pem, pkcs8_pem), "%s", why);
	snprintf(both, sizeof(both), "%s%s", pkcs8_pem, cert_pem);
	CHECK(load(both, both), "%s", why);
	snprintf(both, sizeof(both),
		"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
		"-----END EC PARAMETERS-----\n%s",
		key_pem);
	CHECK(load(cert_pem, both), "%s", why);
	CHECK(warnings == 0);

	begin_test("client_cert: what cannot be used is refused with a sentence");
	CHECK(!client_cert_load("/nonexistent", "/dev/null", why, sizeof(why)) &&
		strstr(why, "/nonexistent: No such"));
	CHECK(!load("", key_pem) && strstr(why, "no certificate"), "%s", why);
	CHECK(!load(cert_pem, "") && strstr(why, "no private key"), "%s", why);
	CHECK(!load(cert_pem, cert_pem) && strstr(why, "no private key"), "%s", why);
	CHECK(!load(cert_pem, encrypted_pem) && strstr(why, "encrypted"), "%s", why);
	CHECK(!load(cert_pem, old_encrypted_pem) && strstr(why, "encrypted"), "%s", why);
	CHECK(!load(cert_pem, rsa_pem) && strstr(why, "not that of the certificate"), "%s", why);
	strcpy(both, key_pem);
	both[60] ^= 1;
	CHECK(!load(cert_pem, both) && strstr(why, "not that of the certificate"), "%s", why);
	snprintf(
		both, sizeof(both), "%s%s%s%s%s", cert_pem, cert_pem, cert_pem, cert_pem, cert_pem);
	CHECK(!load(both, key_pem) && strstr(why, "more than"), "%s", why);
}

static void test_open_key(void)
{
	char cert_path[64], key_path[64];

	begin_test("client_cert: a key that others can read is warned of");
	file_of(cert_path, cert_pem);
	file_of(key_path, key_pem);
	fchmod(atoi(key_path + 14), 0604);
	CHECK(client_cert_load(cert_path, key_path, why, sizeof(why)), "%s", why);
	CHECK(warnings == 1, "%d", warnings);
}

static size_t decode(const char *pem, const char *label, uint8_t *out, size_t room)
{
	char path[64];
	struct pem p = {.fd = atoi(file_of(path, pem) + 14)};
	size_t size = 0;

	if (!pem_next(&p, label, out, room, &size) || size > room)
		abort();
	close(p.fd);
	return size;
}

static bool parse(int form, const uint8_t *der, size_t size)
{
	struct der in = {der, size};

	return form == 0 ? parse_pkcs8(in) : form == 1 ? parse_rsa(in) : parse_ec(in, 0);
}

/* Also what only seems whole: the lengths of what encloses the cut are repaired. */
static void test_cut(void)
{
	static const char *const labels[] = {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"};
	static const char *const pems[] = {pkcs8_pem, rsa_pem, key_pem};
	uint8_t der[2000];

	begin_test("client_cert: a key cut or changed anywhere is read within its bounds");
	for (int form = 0; form < 3; form++) {
		size_t size = decode(pems[form], labels[form], der, sizeof(der));

		CHECK(parse(form, der, size), "%s", labels[form]);
		for (size_t cut = 0; cut < size; cut++) {
			uint8_t *copy = malloc(cut + 1);

			memcpy(copy, der, cut);
			CHECK(!parse(form, copy, cut), "%s %zu", labels[form], cut);
			free(copy);
		}
		for (size_t i = 0; i < size; i++)
			for (int value = 0; value < 256; value += 5) {
				uint8_t *copy = malloc(size);

				memcpy(copy, der, size);
				copy[i] = (uint8_t)value;
				parse(form, copy, size);
				free(copy);
			}
	}
}

static br_ssl_client_certificate choices;

static bool chooses(uint32_t auth_types)
{
	struct client_cert c = {.vtable = &client_cert_class};

	c.vtable->choose(&c.vtable, NULL, auth_types, &choices);
	CHECK(c.asked && c.shown == (choices.chain != NULL));
	return c.shown;
}

static size_t signs(int hash_id, size_t hash_size, uint8_t *data, size_t room)
{
	return client_cert_class.do_sign(NULL, hash_id, hash_size, data, room);
}

static void test_choose(void)
{
	uint8_t data[512] = {0};

	begin_test("client_cert: the server's wishes are met, or nothing is shown");
	load(cert_pem, key_pem);
	CHECK(chooses(1u << (8 + br_sha384_ID)));
	CHECK(choices.auth_type == BR_AUTH_ECDSA && choices.hash_id == br_sha384_ID &&
		choices.chain_len == 1);
	CHECK(!chooses(0) && choices.chain == NULL);
	CHECK(!chooses(0xff), "RSA only");
	CHECK(!chooses(1u << (8 + br_sha1_ID)), "SHA-1 only");
	CHECK(signs(br_sha256_ID, 32, data, sizeof(data)) > 60);
	CHECK(signs(br_sha256_ID, 32, data, 100) == 0, "no room");
	CHECK(signs(br_sha1_ID, 20, data, sizeof(data)) == 0);
	CHECK(!load("", ""));
	CHECK(!chooses(0xffff), "none is loaded");
}

int main(void)
{
	test_load();
	test_open_key();
	test_cut();
	test_choose();
	return finish_tests();
}
