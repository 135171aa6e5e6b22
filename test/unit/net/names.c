/* Unit tests of net/names.c: files, pins, and what else needs no question. */
#include "base/fd.c"
#include "base/text.c"
#include "net/connect.c"
#include "net/dns.c"
#include "net/dns_packet.c"
#include "net/names.c"

#include "test/unit/check.h"
#include "test/unit/net/lookup.h"

static void test_resolvers(void)
{
	begin_test("names: resolv.conf");
	reset("",
		"# c\nnameserver 192.0.2.1 # x\n\tnameserver\t2001:db8::1\r\nnameserver nonsense\n"
		"search a.example b.example\noptions rotate ndots:5\nnameserver\nnameserver "
		"192.0.2.3\n"
		"nameserver 192.0.2.4\nnameserver 192.0.2.5",
		"");
	CHECK(from_resolv.count == 4, "%zu", from_resolv.count);
	CHECK(!strcmp(text_of(&from_resolv.server[0]), "192.0.2.1:53"));
	CHECK(!strcmp(text_of(&from_resolv.server[1]), "[2001:db8::1]:53"));
	CHECK(!strcmp(text_of(&from_resolv.server[3]), "192.0.2.4:53"));
	CHECK(from_resolv.searches == 2 && from_resolv.ndots == 5 &&
		!memcmp(from_resolv.search, "a.example\0b.example", 20));

	begin_test(
		"names: search and domain: the last line, six domains, none that no name can have");
	reset("", "nameserver 192.0.2.1\nsearch . a b..c d e f g h i\noptions ndots:99 ndots:x\n",
		"");
	CHECK(from_resolv.searches == 6 && !memcmp(from_resolv.search, "a\0d\0e\0f\0g\0h", 12));
	CHECK(from_resolv.ndots == 15);
	reset("", "nameserver 192.0.2.1\nsearch a b\ndomain c\noptions ndots:0\n", "");
	CHECK(from_resolv.searches == 1 && !strcmp(from_resolv.search, "c"));
	CHECK(from_resolv.ndots == 0);
	reset("", "nameserver 192.0.2.1\nsearch a b\nsearch .\n", "");
	CHECK(from_resolv.searches == 0 && from_resolv.ndots == 1);

	begin_test(
		"names: a link-local server's interface; a last line without newline; bad search");
	reset("", "search a..b\nnameserver fe80::1%lo", "");
	CHECK(from_resolv.count == 1 &&
		from_resolv.server[0].in6.sin6_scope_id == if_nametoindex("lo"));
	CHECK(from_resolv.searches == 0);

	begin_test("names: the kernel's pnp");
	reset("", "", "#PROTO: DHCP\ndomain x.example\nnameserver 10.0.2.3\nbootserver 10.0.2.2\n");
	CHECK(from_resolv.count == 0 && from_pnp.count == 1 &&
		!strcmp(from_pnp.search, "x.example"));
}

static void test_hosts(void)
{
	begin_test("names: hosts");
	reset("127.0.0.1 localhost\n# 1.2.3.4 commented\n192.0.2.1\timg.example  IMG # other\n"
	      "2001:db8::5 img.example\n192.0.2.2 img.example\nnonsense bad.example\n192.0.2.9\n"
	      "fe80::1%lo zoned\n192.0.2.3 last",
		"", "");
	CHECK_LOOKUP("img.example", 80, 0, "[2001:db8::5]:80 192.0.2.1:80 192.0.2.2:80");
	CHECK_LOOKUP("img", 443, 0, "192.0.2.1:443");
	CHECK_LOOKUP("last", 1, 0, "192.0.2.3:1");
	CHECK(!memcmp(hosts + hosts_size - 15, "192.0.2.3\0last\n", 15));
	struct found found[FAMILIES] = {0};
	CHECK(!find_in_hosts(found, "commented") && !find_in_hosts(found, "other") &&
		!find_in_hosts(found, "im") && !find_in_hosts(found, "img.exampl") &&
		!find_in_hosts(found, "bad.example") && !find_in_hosts(found, "zoned"));

	begin_test("names: a hosts file larger than what is kept, and a very long line");
	static char big[20000];
	memset(big, 'x', 3000);
	strcpy(big + 3000, "\n");
	for (int i = 0; i < 500; i++)
		sprintf(big + strlen(big), "192.0.2.1 host%d\n", i);
	reset(big, "", "");
	CHECK_LOOKUP("host0", 1, 0, "192.0.2.1:1");
	CHECK_LOOKUP("host200", 1, 0, "192.0.2.1:1");
	CHECK(hosts_size <= sizeof(hosts) && hosts[hosts_size - 1] == '\n');
	CHECK(!find_in_hosts(found, "host499"));
}

static void test_without_question(void)
{
	begin_test("names: literals and localhost, whatever hosts says");
	reset("192.0.2.66 localhost www.localhost 192.0.2.7\n", "nameserver 127.0.0.9\n", "");
	CHECK_LOOKUP("192.0.2.7", 80, 0, "192.0.2.7:80");
	CHECK_LOOKUP("2001:db8::7", 80, 0, "[2001:db8::7]:80");
	CHECK_LOOKUP("localhost", 80, 0, "[::1]:80 127.0.0.1:80");
	CHECK_LOOKUP("www.LocalHost", 80, 0, "[::1]:80 127.0.0.1:80");
	CHECK_LOOKUP("", 80, 0, "no such name");
	CHECK_LOOKUP("a..b", 80, 0, "no such name");
	CHECK(dns_next() == INT64_MAX);
}

static void test_pins(void)
{
	static const char *const bad[] = {"", "a", "a:80", ":80:1.2.3.4", "a:0:1.2.3.4",
		"a:65536:1.2.3.4", "a:+80:1.2.3.4", "a: 80:1.2.3.4", "a:80:", "a:80:b",
		"a:80:1.2.3", "a:80:1.2.3.4 ", "a:80:[1.2.3.4]", "a:80:[::1", "a b:80:1.2.3.4",
		"a..b:80:1.2.3.4", "a:8080808080808080808080:1.2.3.4", "a:80x:1.2.3.4",
		"a:80:[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:]"};

	begin_test("names: malformed pins are refused with a reason");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(names_pin(bad[i]), "%s", bad[i]);
		CHECK(names_pin_check(bad[i]), "%s", bad[i]);
	}
	CHECK(pin_count == 0);

	begin_test("names: pins answer for their host and port only, and add up");
	reset("192.0.2.1 img.example\n", "", "");
	CHECK(!names_pin("IMG.example:443:192.0.2.9"));
	CHECK(!names_pin("img.example:443:[2001:db8::9]"));
	CHECK(!names_pin("img.example:8443:2001:db8::8"));
	CHECK_LOOKUP("img.example", 443, 0, "[2001:db8::9]:443 192.0.2.9:443");
	CHECK_LOOKUP("img.example", 8443, 0, "[2001:db8::8]:8443");
	CHECK_LOOKUP("img.example", 80, 0, "192.0.2.1:80");

	begin_test("names: a dot at the end does not matter for pins and files");
	CHECK(!names_pin("dot.example.:443:192.0.2.8"));
	CHECK_LOOKUP("img.example.", 443, 0, "[2001:db8::9]:443 192.0.2.9:443");
	CHECK_LOOKUP("dot.example", 443, 0, "192.0.2.8:443");
	CHECK_LOOKUP("dot.example.", 443, 0, "192.0.2.8:443");
	CHECK_LOOKUP("img.example.", 80, 0, "192.0.2.1:80");
	CHECK_LOOKUP("a.localhost.", 80, 0, "[::1]:80 127.0.0.1:80");

	begin_test("names: a full table of pins says so");
	while (pin_count < PINS_MAX)
		CHECK(!names_pin("x:1:1.2.3.4"));
	CHECK(names_pin("x:1:1.2.3.4"));
	CHECK(!names_pin_check("x:1:1.2.3.4"));
	pin_count = 0;
}

int main(void)
{
	make_folder();
	test_resolvers();
	test_hosts();
	test_without_question();
	test_pins();
	remove_folder();
	return finish_tests();
}
