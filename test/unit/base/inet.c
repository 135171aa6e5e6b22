/* Unit test of inet.c: against the C library's functions. Its own are renamed for that. */
#include <arpa/inet.h>
#include <net/if.h>

#define inet_pton      own_inet_pton
#define inet_ntop      own_inet_ntop
#define if_nametoindex own_if_nametoindex
#include "base/inet.c"
#undef inet_pton
#undef inet_ntop
#undef if_nametoindex
#include "base/text.c"
#include "test/unit/check.h"

static void read_same(int family, const char *text)
{
	uint8_t ours[16] = {0}, theirs[16] = {0};
	int o = own_inet_pton(family, text, ours), t = inet_pton(family, text, theirs);

#ifdef __GLIBC__ /* others read more than addresses */
	CHECK(o == t && (o != 1 || !memcmp(ours, theirs, 16)), "'%s': %d, not %d", text, o, t);
#else
	CHECK(o != 1 || (t == 1 && !memcmp(ours, theirs, 16)), "'%s'", text);
#endif
}

static void write_same(int family, const uint8_t *bytes)
{
	char ours[INET6_ADDRSTRLEN], theirs[INET6_ADDRSTRLEN];

	own_inet_ntop(family, bytes, ours, sizeof(ours));
	inet_ntop(family, bytes, theirs, sizeof(theirs));
#ifndef __GLIBC__ /* of two runs of zeros others leave out the last */
	if (family == AF_INET)
#endif
		CHECK(!strcmp(ours, theirs), "'%s', not '%s'", ours, theirs);
}

static void test_some(void)
{
	static const char *const texts[] = {"::", "::1", "1::", ":::", ":", "", ":1",
		"1:", "::1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "::1:2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7:8::", "1:2:3:4::5:6:7:8", "fe80::12345", "FE80::aBcD",
		"::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4",
		"1:2:3:4:5::1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "::1.2.3", "::1.2.3.4:5",
		"::1.2.3.4.5", "::a.2.3.4", "::01.2.3.4", "1.2.3.4", "0.0.0.0", "255.255.255.255",
		"256.1.1.1", "1.2.3.04", "1.2.3", "1.2.3.4.", "1.2.3.4 ", ".1.2.3", "1..2.3",
		"::1%1", "::g", "1.2.3.1000", "99999999999.1.1.1"};

	begin_test("inet: addresses are read");
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		read_same(AF_INET, texts[i]);
		read_same(AF_INET6, texts[i]);
	}
}

static void test_random(void)
{
	srand(1);
	begin_test("inet: any text is read");
	for (int n = 0; n < 500000; n++) {
		static const char *const parts[] = {"1", "0", "::", ":", "a", "ffff", ".", "25",
			"1:2:3:4", ".1.2", ":5:6", "f:"};
		char text[128] = "";

		for (int i = rand() % 9; i >= 0; i--)
			strcat(text, parts[rand() % 12]);
		read_same(AF_INET, text);
		read_same(AF_INET6, text);
	}

	begin_test("inet: any address is written");
	for (int n = 0; n < 500000; n++) {
		uint8_t bytes[16];

		for (int i = 0; i < 16; i++)
			bytes[i] = (uint8_t)(rand() % 3 ? 0 : rand());
		if (n % 8 == 0)
			memcpy(bytes, (uint8_t[12]){[10] = 255, 255}, 12);
		write_same(AF_INET, bytes);
		if (zeros(bytes, 0) != 6) /* the C library writes ::1.2.3.4 */
			write_same(AF_INET6, bytes);
	}
}

static void test_interfaces(void)
{
	begin_test("inet: interfaces are numbered");
	CHECK(own_if_nametoindex("lo") == if_nametoindex("lo"));
	CHECK(own_if_nametoindex("") == 0);
	CHECK(own_if_nametoindex("lo2345678901234567890") == 0);
}

int main(void)
{
	test_interfaces();
	test_some();
	test_random();
	return finish_tests();
}
