/* Unit tests of net/url.c. */
#include "test/unit/check.h"

#include "base/text.c"
#include "net/url.c"

/* The whole URL, with its query. */
static const char *whole(const struct url *u)
{
	static char out[URL_MAX + 300];

	url_text(out, sizeof(out), u);
	strcat(out, strchrnul(u->target, '?'));
	return out;
}

static void check_parse(const char *text, const char *expected)
{
	struct url u;
	const char *why = url_parse(&u, text);

	if (why)
		CHECK(expected == NULL, "%s: refused: %s", text, why);
	else
		CHECK(expected && strcmp(whole(&u), expected) == 0, "%s became %s", text,
			whole(&u));
}

static void check_dns_name(const char *text, const char *expected)
{
	struct url u, same, to;
	char undotted[HOST_MAX + 20];

	CHECK(!url_parse(&u, text) && !url_resolve(&to, &u, "/y"));
	CHECK(strcmp(url_dns_name(&u), expected) == 0, "%s: %s", text, url_dns_name(&u));
	CHECK(strcmp(url_dns_name(&to), expected) == 0, "%s: %s", text, url_dns_name(&to));
	CHECK(!url_parse(&same, url_text(undotted, sizeof(undotted), &u)));
	CHECK(url_same_origin(&u, &same) && strcmp(u.host, same.host) == 0);
}

static void test_parse(void)
{
	begin_test("url: absolute URLs");
	check_parse("http://example.org", "http://example.org/");
	check_parse("HTTPS://Example.ORG:443/A/b?q=1#frag", "https://example.org/A/b?q=1");
	check_parse("http://h:8080?x", "http://h:8080/?x");
	check_parse("http://[2001:DB8::1]:81/x", "http://[2001:db8::1]:81/x");
	check_parse("http://192.0.2.1/", "http://192.0.2.1/");
	check_parse("http://h./x", "http://h/x");
	check_parse("http://h/a/../b/./c/..", "http://h/b/");
	check_parse("http://h/../../etc", "http://h/etc");
	check_parse("http://h/a%2fb", "http://h/a%2fb");
	check_parse("http://h:/x", "http://h/x");

	begin_test("url: a dot at the host's end is for DNS only");
	check_dns_name("http://h/", "h");
	check_dns_name("http://a.H.:81/x", "a.h.");
	check_dns_name("http://192.0.2.1./", "192.0.2.1");
	check_dns_name("http://[2001:db8::1]/", "2001:db8::1");

	begin_test("url: what is refused");
	check_parse("ftp://h/", NULL);
	check_parse("http:///x", NULL);
	check_parse("http://h:0/", NULL);
	check_parse("http://h:65536/", NULL);
	check_parse("http://h:8x/", NULL);
	check_parse("http://[::1/", NULL);
	check_parse("http://[h]/", NULL);
	check_parse("http://[::1]x/", NULL);
	check_parse("http://a b/", NULL);
	check_parse("http://h/\x7f", NULL);
	check_parse("http://h/\r\nX: y", NULL);
	check_parse("http://h/%g0", NULL);
	check_parse("http://h/%2", NULL);
	check_parse("http://a..b/", NULL);
	check_parse("http://a../", NULL);
	check_parse("http://127.1/", NULL);
	check_parse("http://0x7f000001/", NULL);
	check_parse("http://2130706433/", NULL);
}

static void test_limits(void)
{
	char text[URL_MAX + 400];
	struct url u;

	begin_test("url: lengths at their bounds");
	for (size_t size = URL_MAX - 2; size <= URL_MAX + 1; size++) {
		snprintf(text, sizeof(text), "http://h/%0*d", (int)size - 1, 0);
		CHECK(!url_parse(&u, text) == (size < URL_MAX), "target of %zu bytes", size);
	}
	for (size_t size = HOST_MAX - 2; size <= HOST_MAX + 1; size++) {
		snprintf(text, sizeof(text), "http://x%0*d/", (int)size - 1, 0);
		CHECK(!url_parse(&u, text) == (size < HOST_MAX), "host of %zu bytes", size);
	}
}

static void test_userinfo(void)
{
	struct url u, to;
	char out[300];

	begin_test("url: userinfo is decoded, never printed, and stays with its origin");
	CHECK(!url_parse(&u, "http://us%40er:p%3aw@h:81/x/y"));
	CHECK(strcmp(u.userinfo, "us@er:p:w") == 0, "%s", u.userinfo);
	CHECK(strcmp(url_text(out, sizeof(out), &u), "http://h:81/x/y") == 0, "%s", out);
	CHECK(!url_resolve(&to, &u, "/z") && strcmp(to.userinfo, "us@er:p:w") == 0);
	CHECK(!url_resolve(&to, &u, "http://h/z") && to.userinfo[0] == '\0');
	CHECK(!url_resolve(&to, &u, "//other:81/z") && to.userinfo[0] == '\0');
	CHECK(url_parse(&u, "http://a%00b@h/"));
}

static void test_shown(void)
{
	static const char *const texts[][2] = {
		{"http://h/a", "http://h/a"},
		{"http://h/a?sig=s3cret", "http://h/a?..."},
		{"http://h/a#s3cret", "http://h/a"},
		{"http://us:s3cret@h/a", "http://...@h/a"},
		{"http://us:s3/cret@h/a?s3cret", "http://...@h/a?..."},
		{"http://us:s3?cret@h/a", "http://..."},
		{"http://us:s3#cret@h/a", "http://..."},
		{"http://h/a?mail=s3cret@x", "http://..."},
		{"//us:s3cret@h/a", "...@h/a"},
		{"us:s3cret@h", "...@h"},
		{"/a?s3cret", "/a?..."},
		{"a.img", "a.img"},
		{"", ""},
	};
	struct url u;
	char out[64];

	begin_test("url: what is shown of one has neither userinfo nor query");
	CHECK(!url_parse(&u, "http://us:s3cret@h:81/a/b?sig=s3cret"));
	CHECK(!strcmp(url_text(out, sizeof(out), &u), "http://h:81/a/b"), "%s", out);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		CHECK(!strcmp(url_redacted(out, sizeof(out), texts[i][0]), texts[i][1]), "%s: %s",
			texts[i][0], out);
}

static void test_signed(void)
{
	static const char *const yes[] = {"X-Amz-Signature=a", "x=1&Signature=a", "sig=a", "SIG",
		"a&token=b", "X-Goog-Signature=a&b", "hmac=1", "md5=a&expires=1", "access_token=a",
		"hdnts=exp=1~hmac=a", "a=1&hdnea=b", "Edge-Cache-Token=a", "auth_key=1-0-0-a"};
	static const char *const no[] = {"", "x", "signal=1", "x=sig", "design=1", "ture=1",
		"a=signature", "signature2=1", "mysignature=1", "mytoken=1", "token_type=a",
		"-=", "&&"};
	char text[64];
	struct url u;

	begin_test("url: queries that are signatures, and others");
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		snprintf(text, sizeof(text), "http://h/a?%s", yes[i]);
		CHECK(!url_parse(&u, text) && url_is_signed(&u), "%s", text);
	}
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		snprintf(text, sizeof(text), "http://h/sig=1?%s", no[i]);
		CHECK(!url_parse(&u, text) && !url_is_signed(&u), "%s", text);
	}

	begin_test("url: a suffix stands behind the path");
	CHECK(!url_parse(&u, "http://h/a?b?c") && !url_extend(&u, ".x"));
	CHECK(!strcmp(u.target, "/a.x?b?c"), "%s", u.target);
	CHECK(!url_parse(&u, "http://h/a") && !url_extend(&u, ".x") && !strcmp(u.target, "/a.x"));
	memset(u.target + 1, 0x78, sizeof(u.target) - 1);
	u.target[URL_MAX - 2] = '\0';
	CHECK(!url_extend(&u, "y") && url_extend(&u, "y") == url_too_long);
}

static void check_resolve(const char *base, const char *reference, const char *expected)
{
	struct url b, u;
	const char *why = url_parse(&b, base);
	bool good = !why && !(why = url_resolve(&u, &b, reference));

	CHECK(good == (expected != NULL), "%s + %s: %s", base, reference, why);
	CHECK(!good || strcmp(whole(&u), expected) == 0, "%s + %s: %s", base, reference, whole(&u));
}

/* A reference of `size` bytes: a '/' and one byte again and again. */
static void check_long(char byte, size_t size, bool good)
{
	static char reference[URL_MAX + 1];
	struct url b, u;
	const char *why;

	memset(reference, byte, size);
	reference[0] = '/';
	reference[size] = '\0';
	CHECK(!url_parse(&b, "http://h/"));
	why = url_resolve(&u, &b, reference);
	CHECK(good ? !why : why == url_too_long, "%zu of %d: %s", size, byte, why);
}

static void test_resolve(void)
{
	const char *base = "http://a/b/c/d?q";

	begin_test("url: references (RFC 3986 section 5.4)");
	check_resolve(base, "g", "http://a/b/c/g");
	check_resolve(base, "./g", "http://a/b/c/g");
	check_resolve(base, "g/", "http://a/b/c/g/");
	check_resolve(base, "/g", "http://a/g");
	check_resolve(base, "//g", "http://g/");
	check_resolve(base, "?y", "http://a/b/c/d?y");
	check_resolve(base, "g?y", "http://a/b/c/g?y");
	check_resolve(base, "", "http://a/b/c/d?q");
	check_resolve(base, "#s", "http://a/b/c/d?q");
	check_resolve(base, "..", "http://a/b/");
	check_resolve(base, "../g", "http://a/b/g");
	check_resolve(base, "../../../g", "http://a/g");
	check_resolve(base, "https://x/y", "https://x/y");

	begin_test("url: bytes that no URL can hold are percent-encoded in a reference");
	check_resolve(base, "/a b", "http://a/a%20b");
	check_resolve(base,
		"/gr\xc3\xb6\xc3\x9f"
		"e?\xff",
		"http://a/gr%C3%B6%C3%9Fe?%FF");
	check_resolve(base, "http://h/a|b^c`d\\e\"f", "http://h/a%7Cb%5Ec%60d%5Ce%22f");
	check_resolve(base, "//h/{1}/<2>?{3}#{4}", "http://h/%7B1%7D/%3C2%3E?%7B3%7D");
	check_resolve(base, "x y/%20%7c", "http://a/b/c/x%20y/%20%7c");
	check_resolve(base, "a\tb", "http://a/b/c/a%09b");
	check_resolve(base, "/%zz?100%", "http://a/%25zz?100%25");
	check_resolve(base, "%4/%%41", "http://a/b/c/%254/%25%41");
	check_resolve(base, "http://h%/", NULL);

	begin_test("url: references at the limit of length, as they are and percent-encoded");
	check_long('x', URL_MAX - 1, true);
	check_long('x', URL_MAX, false);
	check_long(' ', (URL_MAX - 2) / 3 + 1, true);
	check_long(' ', (URL_MAX - 2) / 3 + 2, false);

	begin_test("url: references that are refused");
	check_resolve("https://a/b", "http://a/b", NULL);
	check_resolve("https://a/b", "/c", "https://a/c");
	check_resolve(base, "ftp://x/", NULL);
	check_resolve(base, "javascript:x", NULL);
	check_resolve(base, "http://h st/", NULL);
	check_resolve(base,
		"http://gr\xc3\xb6\xc3\x9f"
		"e/",
		NULL);
	check_resolve(base, "http://", NULL);
}

static void check_expand(const char *base, const char *cookie, size_t cookie_size,
	const char *volume, const char *expected)
{
	char out[URL_MAX];
	const char *why = url_expand(out, sizeof(out), base, cookie, cookie_size, volume);
	bool good = !why;

	CHECK(good == (expected != NULL), "%s: %s", base, why);
	CHECK(!good || strcmp(out, expected) == 0, "%s: %s", base, out);
}

static void test_file(void)
{
	begin_test("url: whether a base names one file");
	CHECK(url_is_file("http://h/i") && url_is_file("http://h/%c3%A9/x.img?a=/b"));
	CHECK(url_is_file("http://h/%") && url_is_file("http://h"));
	CHECK(!url_is_file("http://h/i/") && !url_is_file("http://h/%c") && !url_is_file("h?/"));
	CHECK(!url_is_file("http://h/%c/x") && !url_is_file("http://h/%c3/%v.img"));
}

/* The name of the file at a URL, of `max` bytes at most, is `expected`. */
static void check_last(const char *text, size_t max, const char *expected)
{
	char name[64];
	size_t size = url_name(name, max, text);

	CHECK(size == strlen(expected) && memcmp(name, expected, size) == 0);
}

static void test_name(void)
{
	begin_test("url: the name of the one file there");
	check_last("http://h/a/b.img?c=/d#e", 64, "b.img");
	check_last("http://h/b", 64, "b");
	check_last("http://h/a/", 64, "/");
	check_last("http://h", 64, "/");
	check_last("http://h/?a/b", 64, "/");
	check_last("http://h/a/long", 3, "lon");
	check_last("no URL", 64, "");
}

static void test_expand(void)
{
	char long_key[KEY_MAX];
	char small[40];

	begin_test("url: names put into a BASE");
	check_expand("http://h/i/", "img", 3, "v", "http://h/i/img");
	check_expand("http://h/i", "img", 3, "v", "http://h/i");
	check_expand("http://h/%v/%c.erofs", "img", 3, "dom", "http://h/dom/img.erofs");
	check_expand("http://h/%c/", "img", 3, "v", "http://h/img/");
	check_expand("http://h/%c3%A9/%v%c", "img", 3, "v", "http://h/%c3%A9/vimg");
	check_expand("http://h/", "a b/\xff%", 6, "v", "http://h/a%20b/%FF%25");
	check_expand("http://h/", "\0\n", 2, "v", "http://h/%00%0A");
	check_expand("http://h/%v/", "c", 1, "a/b", "http://h/a%2Fb/c");
	check_expand("http://h/", "..a/.b/c..", 10, "v", "http://h/..a/.b/c..");

	check_expand("", "img", 3, "v", "");

	begin_test("url: names that climb are refused");
	check_expand("http://h/i/", "..", 2, "v", NULL);
	check_expand("http://h/i/", "a/../../b", 9, "v", NULL);
	check_expand("http://h/i/", "./a", 3, "v", NULL);
	check_expand("http://h/i/%v/", "a", 1, "..", NULL);

	begin_test("url: a name that does not fit is refused");
	memset(long_key, '\xff', sizeof(long_key));
	CHECK(url_expand(small, sizeof(small), "http://h/", long_key, sizeof(long_key), "v"));
	CHECK(strlen(small) < sizeof(small));
}

int main(void)
{
	test_parse();
	test_limits();
	test_userinfo();
	test_shown();
	test_signed();
	test_resolve();
	test_expand();
	test_file();
	test_name();
	return finish_tests();
}
