/* tls.c - unit tests of what tls.c does without a real server; test/test_tls.py has the servers. */
#include "../../x509.c"

#undef BUILD_TIME
#define BUILD_TIME 32503680000 /* 3000-01-01: no clock is that late */
#include "../../tls.c"

#include <sys/mman.h>

#include "check.h"

static int warnings;

void log_line(enum log_level level, const char *format, ...)
{
	(void)format;
	warnings += level == LOG_LEVEL_WARNING;
}

static char why[256];

/* A bundle of one certificate, in form. */
static const char pem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

static bool trust(const char *text)
{
	int fd = memfd_create("pem", 0);
	char path[64];
	bool good;

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	good = tls_trust(path, why, sizeof(why));
	close(fd);
	return good;
}

static void test_bundle(void)
{
	begin_test("a bundle is taken only if it holds a certificate");
	CHECK(!tls_trust("/nonexistent", why, sizeof(why)) && strstr(why, "/nonexistent: No such"));
	CHECK(!tls_trust("/", why, sizeof(why)) && strstr(why, "no certificate"), "%s", why);
	CHECK(!tls_trust("/dev/null", why, sizeof(why)) && strstr(why, "no certificate"));
	CHECK(!trust("") && !trust("junk\n"));
	CHECK(bundle == -1);
	CHECK(trust(pem) && bundle >= 0);
	CHECK(!trust("junk\n") && bundle >= 0, "the former one is kept");
}

static void test_clock(void)
{
	begin_test("a clock before the build's date is told once");
	CHECK(now() == BUILD_TIME && now() == BUILD_TIME);
	CHECK(warnings == 1, "%d", warnings);
}

static struct tls session;
static uint64_t scratch[TLS_SCRATCH_MIN / 8];
static int ends[2];

static void start(void)
{
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
	tls_start(&session, "example.test", false, scratch, sizeof(scratch));
}

static void stop(void)
{
	close(ends[0]);
	close(ends[1]);
}

static void test_start(void)
{
	char name[300];

	begin_test("a session that cannot start says so in the handshake");
	memset(name, 'a', sizeof(name));
	name[254] = '\0';
	tls_start(&session, name, false, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && strstr(tls_why(&session), "neither"));
	tls_start(&session, "", false, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED);
	tls_start(&session, "a.test", true, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && strstr(tls_why(&session), "neither"));
	tls_start(&session, "a.test", false, scratch, sizeof(scratch) - 1);
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && tls_untrusted(&session));
	tls_start(&session, "a.test", false, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, -1) == TLS_FAILED && !tls_untrusted(&session));
	CHECK(strstr(tls_why(&session), "connection broke"), "%s", tls_why(&session));
}

static bool holds(const uint8_t *data, size_t size, const char *text)
{
	return memmem(data, size, text, strlen(text)) != NULL;
}

static void test_hello(void)
{
	uint8_t hello[1000];
	ssize_t size;

	begin_test("the ClientHello");
	start();
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ);
	size = recv(ends[1], hello, sizeof(hello), 0);
	CHECK(size > 60 && hello[0] == 22 && hello[9] == 3 && hello[10] == 3, "TLS 1.2");
	CHECK(hello[43] == 0 && hello[45] == 12, "six suites");
	CHECK(holds(hello, (size_t)size, "example.test"));
	for (ssize_t i = 46; i < 46 + 12; i += 2)
		CHECK((hello[i] == 0xc0 && (hello[i + 1] >= 0x2b && hello[i + 1] <= 0x30)) ||
				(hello[i] == 0xcc &&
					(hello[i + 1] == 0xa8 || hello[i + 1] == 0xa9)),
			"%02x%02x", hello[i], hello[i + 1]);
	stop();

	begin_test("no SNI for an address");
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends);
	tls_start(&session, "192.0.2.1", true, scratch, sizeof(scratch));
	CHECK(tls_handshake(&session, ends[0]) == TLS_WANT_READ);
	size = recv(ends[1], hello, sizeof(hello), 0);
	CHECK(size > 60 && !holds(hello, (size_t)size, "192.0.2.1"));
	stop();
}

/* How many bytes of `size` one call of tls_handshake() takes from the socket. */
static size_t taken(const uint8_t *data, size_t size, enum tls_want *want)
{
	static uint8_t left[1 << 17];
	ssize_t n;

	start();
	if (send(ends[1], data, size, MSG_DONTWAIT) != (ssize_t)size)
		abort();
	*want = tls_handshake(&session, ends[0]);
	n = recv(ends[0], left, sizeof(left), 0);
	stop();
	return size - (n > 0 ? (size_t)n : 0);
}

static void test_bounds(void)
{
	static uint8_t flood[7 * 2000];
	enum tls_want want;
	size_t n;

	begin_test("one call takes a bounded number of records");
	for (size_t i = 0; i < sizeof(flood); i += 5)
		memcpy(flood + i, "\x16\x03\x03\x00\x00", 5);
	n = taken(flood, sizeof(flood), &want);
	CHECK(want == TLS_WANT_READ && n == 5 * READS_PER_CALL, "%zu", n);
	for (size_t i = 0; i < sizeof(flood); i += 7)
		memcpy(flood + i, "\x15\x03\x03\x00\x02\x01\x70", 7);
	n = taken(flood, sizeof(flood), &want);
	CHECK(want == TLS_WANT_READ && n == 7 * READS_PER_CALL / 2, "%zu", n);
}

static void test_alerts(void)
{
	enum tls_want want;

	begin_test("every fatal alert ends the handshake with a sentence");
	for (int alert = 0; alert < 256; alert++) {
		uint8_t record[] = {0x15, 3, 3, 0, 2, 2, (uint8_t)alert};
		char number[24];

		taken(record, sizeof(record), &want);
		snprintf(number, sizeof(number), "alert %d,", alert);
		CHECK(want == TLS_FAILED && strstr(tls_why(&session), number), "%s",
			tls_why(&session));
		CHECK(tls_untrusted(&session) == (alert != 80 && alert != 90), "%d", alert);
	}
}

static void test_junk(void)
{
	uint8_t junk[64];
	enum tls_want want;
	unsigned seed = 1;

	begin_test("junk ends in a sentence, or waits");
	for (int round = 0; round < 3000; round++) {
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		if (round % 2)
			memcpy(junk, "\x16\x03\x03\x00\x3b\x02\x00\x00\x37\x03\x03", 11);
		if (round % 3 == 0)
			memcpy(junk, "\x16\x03\x03\x00\x3b", 5);
		taken(junk, sizeof(junk), &want);
		CHECK(want == TLS_WANT_READ || (want == TLS_FAILED && tls_why(&session)[0]));
	}
}

int main(void)
{
	test_bundle();
	test_clock();
	test_start();
	test_hello();
	test_bounds();
	test_alerts();
	test_junk();
	CHECK(tls_size() <= 25000, "%zu", tls_size());
	return finish_tests();
}
