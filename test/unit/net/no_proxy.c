/* Unit tests of net/no_proxy.c. */
#include "test/unit/check.h"

#include "base/text.c"
#include "net/no_proxy.c"
#include "net/url.c"

static bool has(const char *list, const char *url)
{
	struct url u;

	return !url_parse(&u, url) && no_proxy_has(list, &u);
}

int main(void)
{
	static const char *const bad[] = {"127.*", "*.example", "host:80", "127.0.0.1:80",
		"[::1]:80", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/8x", "host/8", "/8",
		"10.", "192.168", "http://h", "u@h", "a..b", ".", "..", "[10.0.0.1", "h*", "a,b:1",
		"[]"};

	begin_test("no-proxy: hosts, domains, all");
	CHECK(!has("", "http://h/") && !has(" , ,", "http://h/"));
	CHECK(has("*", "http://h/") && has("a, *", "http://h/") && has("*", "http://[::1]/"));
	CHECK(has("x.org, h", "http://H/") && has("H", "http://h:8080/"));
	CHECK(has(".example.org", "http://a.example.org/"));
	CHECK(has("example.org", "http://example.org/") &&
		has(".example.org.", "http://example.org/"));
	CHECK(has("example.org.", "http://a.b.example.org/"));
	CHECK(!has("example.org", "http://badexample.org/") &&
		!has("a.example.org", "http://example.org/"));

	begin_test("no-proxy: addresses and their networks");
	CHECK(has("10.0.0.1", "http://10.0.0.1/") && !has("10.0.0.1", "http://10.0.0.2/"));
	CHECK(has("::1", "http://[::1]/") && has("[0::1]", "http://[::1]/"));
	CHECK(has("127.0.0.0/8", "http://127.255.0.1/") &&
		!has("127.0.0.0/8", "http://128.0.0.1/"));
	CHECK(has("10.1.2.3/9", "http://10.127.0.0/") && !has("10.1.2.3/9", "http://10.128.0.0/"));
	CHECK(has("10.0.0.0/0", "http://1.2.3.4/") && !has("10.0.0.0/0", "http://[::1]/"));
	CHECK(!has("10.0.0.0/0", "http://h/") && has("1.2.3.4/32", "http://1.2.3.4/"));
	CHECK(!has("1.2.3.4/31", "http://1.2.3.6/") && has("1.2.3.4/31", "http://1.2.3.5/"));
	CHECK(has("2001:db8::/33", "http://[2001:db8:7fff::1]/"));
	CHECK(!has("2001:db8::/33", "http://[2001:db8:8000::1]/"));
	CHECK(has("[fe80::]/10", "http://[fea0::1]/") && has("::/128,::1/128", "http://[::1]/"));

	begin_test("no-proxy: entries that would be without effect");
	CHECK(!no_proxy_check("*, a, .b.c, d., 10.0.0.1, 10.0.0.0/8 ::1,[::1],fe80::/10"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(no_proxy_check(bad[i]), "%s", bad[i]);
		CHECK(!has(bad[i], "http://127.0.0.1:80/") && !has(bad[i], "http://a.example/"),
			"%s", bad[i]);
	}
	return finish_tests();
}
