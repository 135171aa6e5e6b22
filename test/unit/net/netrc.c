/* Unit tests of net/netrc.c. */
#include "test/unit/check.h"

#include "base/fd.c"
#include "base/text.c"
#include "net/netrc.c"
#include "test/unit/stubs.h"

static bool load(const char *text, size_t text_size, mode_t mode, char *why, size_t size)
{
	char path[] = "/tmp/netrc-test-XXXXXX";
	int fd = mkstemp(path);
	bool good;

	fchmod(fd, mode);
	CHECK(write(fd, text, text_size) == (ssize_t)text_size);
	close(fd);
	good = netrc_load(path, why, size);
	unlink(path);
	return good;
}

static bool loads(const char *text)
{
	char why[200];

	return load(text, strlen(text), 0600, why, sizeof(why));
}

static const char *found(const char *host)
{
	const char *userinfo = netrc_lookup(host);

	return userinfo ? userinfo : "nothing";
}

int main(void)
{
	char why[200], big[NETRC_FILE_MAX + 2], path[64];
	struct stat later;
	int fd;

	snprintf(path, sizeof(path), "/tmp/netrc-test-%d", (int)getpid());

	begin_test("netrc: machines and a default");
	CHECK(loads("machine a.example login u password p\n"
		    "machine B.example\n\tlogin v\n\tpassword q\n"
		    "machine no.login\n"
		    "default login w password r"));
	CHECK(strcmp(found("a.example"), "u:p") == 0, "%s", found("a.example"));
	CHECK(strcmp(found("b.EXAMPLE"), "v:q") == 0, "%s", found("b.EXAMPLE"));
	CHECK(strcmp(found("c.example"), "w:r") == 0, "%s", found("c.example"));
	CHECK(loads("machine a login u") && strcmp(found("a"), "u:") == 0, "%s", found("a"));
	CHECK(loads("") && !netrc_lookup("a"));

	begin_test("netrc: mistakes");
	CHECK(!loads("login u"));
	CHECK(!loads("machine a password p login u"));
	CHECK(!loads("machine a login"));
	CHECK(!loads("machine"));
	CHECK(!loads("machine a macdef x"));
	CHECK(!loads("machine 1 machine 2 machine 3 machine 4 machine 5 machine 6 machine 7 "
		     "machine 8 machine 9"));
	memset(big, 'x', sizeof(big));
	memcpy(big, "machine ", 8);
	CHECK(!load(big, 300, 0600, why, sizeof(why)));
	CHECK(!load(big, sizeof(big), 0600, why, sizeof(why)));
	CHECK(!load("machine a\0b", 11, 0600, why, sizeof(why)));
	CHECK(!netrc_load("/nonexistent", why, sizeof(why)) && strstr(why, "/nonexistent"));

	begin_test(
		"netrc: a mistake's message holds no secret; a file that others may read is told");
	CHECK(!load("machine a login u passwort s3cret", 33, 0600, why, sizeof(why)));
	CHECK(!strstr(why, "s3cret"), "%s", why);
	warnings = 0;
	CHECK(load("machine a login u password p", 28, 0644, why, sizeof(why)) && warnings == 1);

	begin_test("netrc: a file that was written again is read again, once");
	CHECK(!netrc_reload());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(write(fd, "machine a login u password old", 30) == 30);
	CHECK(netrc_load(path, why, sizeof(why)) && strcmp(found("a"), "u:old") == 0);
	CHECK(!netrc_reload());
	CHECK(pwrite(fd, "machine a login u password new", 30, 0) == 30);
	CHECK(fstat(fd, &later) == 0 && later.st_size == 30);
	later.st_mtim.tv_sec += 2; /* some machines' emulators tell whole seconds only */
	CHECK(futimens(fd, (struct timespec[2]){later.st_atim, later.st_mtim}) == 0);
	CHECK(netrc_reload() && strcmp(found("a"), "u:new") == 0);
	CHECK(!netrc_reload());
	close(fd);
	unlink(path);
	return finish_tests();
}
