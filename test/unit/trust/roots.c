/* roots.c - unit tests of the bundle of trusted roots. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/roots.c"

#include <stdlib.h>
#include <sys/mman.h>

#include "test/unit/check.h"
#include "test/unit/stubs.h"

static char why[256];

static bool trust(const char *text)
{
	int fd = memfd_create("pem", 0);
	char path[64];
	bool good;

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	good = roots_open(path, why, sizeof(why));
	close(fd);
	return good;
}

#define BLOCK(label, text) "-----BEGIN " label "-----\n" text "\n-----END " label "-----\n"

/* How many certificates roots_next() finds, and the bytes of the last one. */
static unsigned count(const char *text, size_t *size)
{
	struct pem p = {.fd = memfd_create("pem", 0)};
	unsigned found = 0;
	uint8_t raw[64];

	if (write(p.fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	while (roots_next(&p, raw, sizeof(raw), size))
		found++;
	close(p.fd);
	return found;
}

/* A "certificate" of 3 bytes, 30 01 41, and OpenSSL's trust settings in base64. */
static bool is_taken(const char *settings)
{
	char text[200];
	size_t size = 0;

	snprintf(text, sizeof(text), BLOCK("TRUSTED CERTIFICATE", "MAFB%s"), settings);
	return count(text, &size) == 1 && size == 3;
}

static void test_forms(void)
{
	size_t size;

	begin_test("roots: the forms of a certificate in a bundle");
	CHECK(count(BLOCK("CERTIFICATE", "MAFB"), &size) == 1 && size == 3);
	CHECK(count(BLOCK("X509 CERTIFICATE", "MAFB"), &size) == 1 && size == 3);
	CHECK(count("\xef\xbb\xbf" BLOCK("CERTIFICATE", "MAFB"), &size) == 1);
	CHECK(count("\xef\xbb" BLOCK("CERTIFICATE", "MAFB"), &size) == 0);
	CHECK(count("\n\xef\xbb\xbf" BLOCK("CERTIFICATE", "MAFB"), &size) == 0);
	CHECK(count(BLOCK("X509 CRL", "MAFB") BLOCK("", "MAFB") BLOCK("CERTIFICATES", "MAFB"),
		      &size) == 0);
	CHECK(count("-----BEGIN CERTIFICATE-----\nMAFB\n-----END X509 CERTIFICATE-----\n", &size) ==
		0);

	begin_test("roots: OpenSSL's trust settings");
	CHECK(is_taken("") && is_taken("MAA="), "none");
	CHECK(is_taken("MAwwCgYIKwYBBQUHAwE="), "for servers");
	CHECK(!is_taken("MAwwCgYIKwYBBQUHAwI="), "for clients");
	CHECK(is_taken("MBYwFAYIKwYBBQUHAwIGCCsGAQUFBwMB"), "for clients and servers");
	CHECK(!is_taken("MAygCgYIKwYBBQUHAwE="), "not for servers");
	CHECK(is_taken("MAygCgYIKwYBBQUHAwI="), "not for clients");
	CHECK(!is_taken("MBQwCgYIKwYBBQUHAwGgBgYEVR0lAA=="), "for servers, not for anything");
	CHECK(is_taken("MBwwCgYIKwYBBQUHAwGgCgYIKwYBBQUHAwIMAm1l"), "not for clients, and a name");
	CHECK(is_taken("MAgwBgYEVR0lAA=="), "for anything");
	CHECK(!is_taken("MAigBgYEVR0lAA=="), "not for anything");
	CHECK(!is_taken("MAQwAgYA"), "for something unknown");
	CHECK(is_taken("MASgAgYA"), "not for something unknown");
	CHECK(!is_taken("MAIwAA=="), "for nothing");
	CHECK(!is_taken("AAAA") && !is_taken("MAUwAA==") && !is_taken("MAQwBQYA"), "malformed");
}

static void test_warnings(void)
{
	begin_test("roots: a bundle's other parts are told of");
	warnings = 0;
	CHECK(trust("words\n" BLOCK("CERTIFICATE", "AAAA")) && warnings == 0);
	CHECK(trust(BLOCK("CERTIFICATE", "AAAA") BLOCK("X509 CRL", "AAAA")
			BLOCK("PRIVATE KEY", "AAAA")));
	CHECK(warnings == 1 && strstr(logged, ": 2 (the first is X509 CRL); broken: 0"), "%s",
		logged);
	CHECK(trust(BLOCK("CERTIFICATE", "AAAA") BLOCK("CERTIFICATE", "$")));
	CHECK(warnings == 2 && strstr(logged, ": 0; broken: 1"), "%s", logged);
	CHECK(trust(BLOCK("CERTIFICATE", "AAAA") BLOCK("TRUSTED CERTIFICATE", "MAFBAAAA")));
	CHECK(warnings == 3 && strstr(logged, ": 1 (the first is TRUSTED"), "%s", logged);
}

int main(void)
{
	test_forms();
	test_warnings();
	bundle = -1;
	begin_test("roots: a bundle is taken only if it holds a certificate");
	CHECK(!roots_open("/nonexistent", why, sizeof(why)));
	CHECK(strstr(why, "/nonexistent: No such"), "%s", why);
	CHECK(!roots_open("/", why, sizeof(why)) && strstr(why, "no certificate"), "%s", why);
	CHECK(!roots_open("/dev/null", why, sizeof(why)) && strstr(why, "no certificate"));
	CHECK(!trust("") && !trust("junk\n"));
	CHECK(roots_fd() == -1);
	CHECK(trust("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
	CHECK(roots_fd() >= 0);
	CHECK(!trust("junk\n") && roots_fd() >= 0, "the former one is kept");
	return finish_tests();
}
