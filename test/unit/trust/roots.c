/* roots.c - unit tests of the bundle of trusted roots. */
#include "base/base64.c"
#include "base/fd.c"
#include "trust/pem.c"
#include "trust/roots.c"

#include <stdlib.h>
#include <sys/mman.h>

#include "test/unit/check.h"

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

int main(void)
{
	begin_test("a bundle is taken only if it holds a certificate");
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
