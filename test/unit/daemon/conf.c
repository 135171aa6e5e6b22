/* Unit test of conf.c: every word, its good and its bad values, the whole. */
#include "test/unit/daemon/conf.h"

/* Takes the line in a fresh configuration. */
static bool take_fresh(const char *line)
{
	conf_init(&c);
	return take(line);
}

/* A mistake is told with where, the word, and what is wrong. */
#define CHECK_BAD(line, says)                                                                      \
	do {                                                                                       \
		CHECK(!take_fresh(line), "%s", line);                                              \
		CHECK(!strncmp(why, "F:1: ", 5) && strstr(why, says), "%s: '%s'", line, why);      \
	} while (0)

/* A directive that chooses one of some values. */
#define CHECK_CHOICE(line, member, value)                                                          \
	do {                                                                                       \
		CHECK_GOOD(line);                                                                  \
		CHECK(c.member == (value), "%s: %d", line, (int)c.member);                         \
	} while (0)

static void test_defaults(void)
{
	begin_test("conf: defaults");
	conf_init(&c);
	CHECK(!strcmp(c.dir, "/var/cache/fscache"));
	CHECK(!c.tag[0] && !c.secctx[0] && !c.debug[0] && !c.ca[0]);
	CHECK(c.brun == 7 && c.bcull == 5 && c.bstop == 1);
	CHECK(c.frun == 7 && c.fcull == 5 && c.fstop == 1);
	CHECK(c.urls == 0 && c.resolves == 0 && c.abi == ABI_AUTO);
	CHECK(c.connections == 0 && c.timeout == 60);
	CHECK(!strncmp(c.user_agent, "cachefilesd-mini/", 17));
}

static void test_form(void)
{
	begin_test("conf: blank lines, comments, leading blanks, blanks between");
	conf_init(&c);
	CHECK_GOOD("");
	CHECK_GOOD(" \t ");
	CHECK_GOOD("# dir x");
	CHECK_GOOD("  #");
	CHECK_GOOD(" \tbrun \t 9%");
	CHECK(c.brun == 9);

	begin_test("conf: unknown words, with a password in them or not");
	CHECK_BAD("Dir /x", "'Dir': unknown word");
	CHECK_BAD("dirs /x", "unknown word");
	CHECK_BAD("di", "unknown word");
	CHECK_BAD("foo=7%", "'foo': unknown word");
	CHECK_BAD("urls http://me:secret@h/", "'urls': unknown word");
	CHECK_BAD("http://me:secret@h/", "'http://...@h/': unknown word");
	CHECK_BAD("http://h/?sig=secret", "'http://h/?...': unknown word");
	CHECK_BAD("http://me:sec=ret@h/", "'http://...@h/': unknown word");
	CHECK_BAD("headers X-Token: secret", "'headers': unknown word");
	CHECK_BAD("headers=X-Token:secret", "'headers': unknown word");

	begin_test("conf: the nearest word is suggested, if one is near");
	CHECK_BAD("Dir /x", "; is 'dir' meant?");
	CHECK_BAD("no_proxy x", "; is 'no-proxy' meant?");
	CHECK_BAD("prefecth all", "; is 'prefetch' meant?");
	CHECK_BAD("memroy=1M", "; is 'memory' meant?");
	CHECK(!take_fresh("foo") && !strstr(why, "meant"), "%s", why);
	CHECK(!take_fresh("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz") &&
		!strstr(why, "meant"));
}

static void test_messages(void)
{
	begin_test("conf: a message fits any buffer; a long value is cut in it");
	char line[CONF_LINE_MAX * 2];
	char small[20];
	memset(line, 'z', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	memcpy(line, "connections ", 12);
	conf_init(&c);
	CHECK(!conf_line(&c, "-o", line, small, sizeof(small)) && strlen(small) == 19);
	CHECK(!conf_line(&c, "-o", line, why, sizeof(why)) && strlen(why) < 200);
	memcpy(line, "dir /", 5);
	CHECK_BAD(line, "too long");
}

static void test_policy(void)
{
	begin_test("conf: retry");
	conf_init(&c);
	CHECK(c.retry == RETRY_AUTO);
	CHECK_GOOD("retry hard");
	CHECK(c.retry == RETRY_HARD && c.timeout == 60);
	CHECK_GOOD("retry soft 7");
	CHECK(c.retry == RETRY_SOFT && c.timeout == 7);
	CHECK_BAD("retry soft", "hard, or soft and a number");
	CHECK_BAD("retry soft 0", "hard, or soft and a number");
	CHECK_BAD("retry harder", "hard, or soft and a number");

	begin_test("conf: header, whose value no message repeats");
	CHECK_GOOD("header X-Token: secret");
	CHECK_GOOD("header A:");
	CHECK(!strcmp(c.fields, "X-Token: secret\r\nA:\r\n"));
	CHECK_BAD("header Authorization secret", "header 'Authorization': needs a header field");
	CHECK_BAD("header range: secret", "header 'range': this field is written");
	CHECK_BAD("header X\t: secret", "header 'X': ");
	CHECK_BAD("header X: secret\r\nY: secret", "control byte");
	CHECK(!strstr(why, "secret"));

	begin_test("conf: proxy, no-proxy, netrc");
	CHECK_GOOD("proxy http://me:pw@proxy:3128");
	CHECK_BAD("proxy https://me:secret@proxy/", "only http:// proxies are taken");
	CHECK_BAD("proxy socks5://proxy:1080", "only http:// proxies are taken");
	CHECK(!strstr(why, "secret"));
	CHECK_GOOD("no-proxy a.test,b.test, 10.0.0.0/8");
	CHECK_BAD("no-proxy a.test,*.example", "no-proxy 'a.test,*.example': an entry is neither");
	CHECK_BAD("no-proxy host:80", "ports");
	CHECK_GOOD("netrc /etc/netrc");
	CHECK_BAD("netrc", "needs the path");
}

static void test_values(void)
{
	begin_test("conf: a '=' between a word and its value, whatever the word takes");
	conf_init(&c);
	CHECK_BAD("dir=/tmp", "dir '=/tmp': a blank, and no '=', stands between");
	CHECK_BAD("brun = 7%", "a blank, and no '='");
	CHECK_BAD("tag =x", "a blank, and no '='");
	CHECK_BAD("nocull=", "a blank, and no '='");
	CHECK_BAD("header=X-Token: secret", "a blank, and no '='");
	CHECK(!strstr(why, "secret"));
	CHECK_BAD("url=http://me:secret@h/", "a blank, and no '='");
	CHECK(!strstr(why, "secret"));
	CHECK_GOOD("url http://h/?a=b");

	begin_test("conf: numbers of bytes, with a unit or without, up to a pebibyte");
	CHECK_GOOD("budget 500000000");
	CHECK(c.budget == 500000000);
	CHECK_GOOD("budget 4294967296");
	CHECK(c.budget == UINT64_C(4294967296));
	CHECK_GOOD("budget 429496729");
	CHECK_GOOD("budget 1125899906842624");
	CHECK(c.budget == UINT64_C(1) << 50);
	CHECK_BAD("budget 1125899906842625", "needs bytes");
	CHECK_GOOD("budget 1048576G");
	CHECK(c.budget == UINT64_C(1) << 50);
	CHECK_BAD("budget 1048577G", "needs bytes");
	CHECK_BAD("budget 17179869184G", "needs bytes");
	CHECK_BAD("budget 18446744073709551616", "needs bytes");
	CHECK_BAD("budget 5 M", "needs bytes");
	CHECK_GOOD("prefetch-rate 500000000");
	CHECK_GOOD("memory 1000000000");

	begin_test("conf: control bytes");
	CHECK_BAD("dir /x\r", "control byte");
	CHECK_BAD("tag a\x1b[m", "control byte");
	CHECK_BAD("nocull\r", "unknown word");
	CHECK_BAD("ca /x\x7f", "control byte");

	begin_test("conf: bind is implied");
	CHECK_BAD("bind", "implied");
	CHECK_BAD("bind ondemand", "implied");
}

static void test_classic(void)
{
	begin_test("conf: dir, tag, secctx: blanks kept, once, not empty, not too long");
	conf_init(&c);
	CHECK_GOOD("dir /a b ");
	CHECK(!strcmp(c.dir, "/a b "));
	CHECK(!take("dir /x") && strstr(why, "second time"), "%s", why);
	CHECK(!strcmp(c.dir, "/a b "));
	CHECK_GOOD("tag my cache");
	CHECK(!strcmp(c.tag, "my cache"));
	CHECK(!take("tag other") && strstr(why, "second time"));
	CHECK_GOOD("secctx system_u:object_r:cachefiles_kernel_t:s0");
	CHECK(!strcmp(c.secctx, "system_u:object_r:cachefiles_kernel_t:s0"));
	CHECK(!take("secctx x") && strstr(why, "second time"));
	CHECK_BAD("dir", "needs an absolute path");
	CHECK_BAD("dir cache", "absolute");
	CHECK_BAD("tag ", "needs a name");
	char longest[100] = "tag ";
	memset(longest + 4, 't', 63);
	CHECK(take_fresh(longest));
	longest[4 + 63] = 't';
	CHECK_BAD(longest, "too long");

	begin_test("conf: limits");
	conf_init(&c);
	CHECK_GOOD("brun 20%");
	CHECK_GOOD("bcull 10%");
	CHECK_GOOD("bstop 0%");
	CHECK_GOOD("frun 99%");
	CHECK_GOOD("fcull 08%");
	CHECK_GOOD("fstop 3%");
	CHECK_GOOD("fstop 2%");
	CHECK(c.brun == 20 && c.bcull == 10 && c.bstop == 0);
	CHECK(c.frun == 99 && c.fcull == 8 && c.fstop == 2);
	CHECK_BAD("brun", "needs a share");
	CHECK_BAD("brun 7", "brun '7': needs a share from 0% to 99%");
	CHECK_BAD("brun 100%", "from 0% to 99%");
	CHECK_BAD("brun 4294967303%", "from 0% to 99%");
	CHECK_BAD("brun -1%", "from 0%");
	CHECK_BAD("brun %", "from 0%");
	CHECK_BAD("brun 7 %", "from 0%");
	CHECK_BAD("brun 7%%", "from 0%");
	CHECK_BAD("brun 7% ", "without a blank at its end");
}

static void test_classic_values(void)
{
	begin_test("conf: debug");
	conf_init(&c);
	CHECK_GOOD("debug 7");
	CHECK_GOOD("debug 0xFfffffff");
	CHECK(!strcmp(c.debug, "0xFfffffff"));
	CHECK_GOOD("debug 017");
	CHECK_BAD("debug -1", "bit mask");
	CHECK_BAD("debug 0x100000000", "bit mask");
	CHECK_BAD("debug 99999999999999999999999", "bit mask");
	CHECK_BAD("debug 7x", "bit mask");
	CHECK_BAD("debug 08", "bit mask");
	CHECK_BAD("debug 0x", "bit mask");
	CHECK_BAD("debug 00000000000000000007", "too long");

	begin_test("conf: memory names the least that it takes");
	CHECK_BAD("memory 500K", "needs bytes, 576K or more");
	CHECK_GOOD("memory 576K");

	begin_test("conf: culltable, nocull, resume_thresholds are checked");
	conf_init(&c);
	CHECK_GOOD("culltable 12");
	CHECK_GOOD("culltable 20");
	CHECK_GOOD("nocull");
	CHECK_GOOD("nocull ");
	CHECK_GOOD("resume_thresholds 5 6");
	CHECK_GOOD("resume_thresholds - \t 18446744073709551615");
	CHECK_GOOD("resume_thresholds 5 -");
	CHECK_BAD("culltable 11", "12 to 20");
	CHECK_BAD("culltable 21", "12 to 20");
	CHECK_BAD("culltable", "12 to 20");
	CHECK_BAD("nocull yes", "takes no value");
	CHECK_BAD("resume_thresholds 5", "two numbers");
	CHECK_BAD("resume_thresholds 5 6 7", "two numbers");
	CHECK_BAD("resume_thresholds 5 x", "two numbers");
	CHECK_BAD("resume_thresholds -5 6", "two numbers");
	CHECK_BAD("resume_thresholds 5 18446744073709551616", "two numbers");
}

static void test_ours(void)
{
	begin_test("conf: connections, timeout; the last counts");
	conf_init(&c);
	CHECK_GOOD("connections 1");
	CHECK_GOOD("connections 16");
	CHECK_GOOD("timeout 86400");
	CHECK_GOOD("timeout 1");
	CHECK(c.connections == 16 && c.timeout == 1);
	CHECK_BAD("connections 0", "from 1 to 16");
	CHECK_BAD("connections 17", "connections '17': needs a number from 1 to 16");
	CHECK_BAD("connections +4", "from 1 to 16");
	CHECK_BAD("connections 4 ", "without a blank");
	CHECK_BAD("connections 0x4", "from 1 to 16");
	CHECK_BAD("timeout 0", "1 to 86400");
	CHECK_BAD("timeout 86401", "1 to 86400");
	CHECK_BAD("timeout 10s", "1 to 86400");

	begin_test("conf: user-agent");
	conf_init(&c);
	CHECK_GOOD("user-agent my agent/1.0 (x)");
	CHECK(!strcmp(c.user_agent, "my agent/1.0 (x)"));
	CHECK_BAD("user-agent", "needs a text");
	CHECK_BAD("user-agent caf\xc3\xa9", "ASCII");
	CHECK_BAD("user-agent a\tb", "ASCII");
	CHECK_BAD("user-agent a ", "blank");
}

static void test_sockets(void)
{
	char line[8 + 108 + 1] = "status /";

	begin_test("conf: status");
	conf_init(&c);
	CHECK(!strcmp(c.status, "/run/cachefilesd-mini.status") && !c.status_given);
	CHECK_GOOD("status /run/x/s");
	CHECK(!strcmp(c.status, "/run/x/s") && c.status_given);
	CHECK_GOOD("status none");
	CHECK(!c.status[0] && !c.status_given);
	CHECK_BAD("status", "needs none, or an absolute path");
	CHECK_BAD("status socket", "needs none, or an absolute path");
	memset(line + 8, 'x', 107);
	CHECK(!take_fresh(line) && strstr(why, "too long"), "%s", why);
	line[7 + 107] = '\0';
	CHECK(take_fresh(line) && strlen(c.status) == 107, "%s", why);

	begin_test("conf: control");
	conf_init(&c);
	CHECK(!strcmp(c.control, "/run/cachefilesd-mini.control") && !c.control_given);
	CHECK_GOOD("control /run/x/c");
	CHECK(!strcmp(c.control, "/run/x/c") && c.control_given && !c.status_given);
	CHECK_GOOD("control none");
	CHECK(!c.control[0] && !c.control_given && c.status[0]);
	CHECK_BAD("control socket", "control 'socket': needs none, or an absolute path");
}

static void check_attached(size_t i, const char *name, int device)
{
	CHECK(i < c.attaches && !strcmp(c.attach[i].name, name) && c.attach[i].device == device,
		"%zu of %zu: '%s' %d", i, c.attaches, name, device);
}

static void test_attach(void)
{
	char line[300] = "attach ";

	begin_test("conf: attach");
	conf_init(&c);
	CHECK_GOOD("attach debian.erofs");
	CHECK_GOOD("attach my image /dev/nbd0");
	CHECK_GOOD("attach \t a/b   /dev/nbd65535");
	CHECK_GOOD("attach caf\xc3\xa9/dev/nbd0");
	CHECK_GOOD("attach ...");
	check_attached(0, "debian.erofs", -1);
	check_attached(1, "my image", 0);
	check_attached(2, "a/b", 65535);
	check_attached(3, "caf\xc3\xa9/dev/nbd0", -1);
	check_attached(4, "...", -1);
	memset(line + 7, 'x', 255);
	CHECK_GOOD(line);
	check_attached(5, line + 7, -1);
	line[7 + 255] = 'x';
	CHECK_BAD(line, "too long");
	CHECK(c.attaches == 0);

	begin_test("conf: attach: no name, no device");
	CHECK_BAD("attach", "attach: needs NAME, or NAME /dev/nbdN");
	CHECK_BAD("attach /dev/nbd0", "attach '/dev/nbd0': no name");
	CHECK_BAD("attach .", "has a segment");
	CHECK_BAD("attach .. /dev/nbd1", "has a segment");
	CHECK_BAD("attach a/../b", "has a segment");
	CHECK_BAD("attach x ", "ends in a blank");
	CHECK_BAD("attach x /dev/nbd0 ", "ends in a blank");
	CHECK_BAD("attach a\tb", "control byte");
	CHECK_BAD("attach a\x7f", "control byte");
	CHECK_BAD("attach x /dev/sda", "attach 'x /dev/sda': its last word is no /dev/nbdN");
	CHECK_BAD("attach x /dev/", "no /dev/nbdN");
	CHECK_BAD("attach x /dev/nbd", "no /dev/nbdN");
	CHECK_BAD("attach x /dev/nbd0p1", "no /dev/nbdN");
	CHECK_BAD("attach x /dev/nbd65536", "no /dev/nbdN");
	CHECK_BAD("attach x /dev/nbd-1", "no /dev/nbdN");
}

static void test_attach_twice(void)
{
	char line[32];

	begin_test("conf: attach: a name or a device twice, and the most");
	conf_init(&c);
	CHECK_GOOD("attach x /dev/nbd1");
	CHECK(!take("attach x") && strstr(why, "attached already"), "%s", why);
	CHECK(!take("attach y /dev/nbd1") && strstr(why, "attached already"), "%s", why);
	CHECK_GOOD("attach y");
	CHECK_GOOD("attach z");
	while (c.attaches < DEVICES_MAX) {
		sprintf(line, "attach %zu", c.attaches);
		CHECK_GOOD(line);
	}
	CHECK(!take("attach w") && strstr(why, "16 already, which is the most"), "%s", why);

	begin_test("conf: front, which cachefiles has no devices");
	conf_init(&c);
	CHECK(c.front == FRONT_AUTO);
	CHECK_GOOD("url http://h/");
	CHECK_CHOICE("front nbd", front, FRONT_NBD);
	CHECK_GOOD("attach x");
	CHECK_GOOD("attach y /dev/nbd1");
	CHECK(conf_check(&c, why, sizeof(why)));
	CHECK_GOOD("front auto");
	CHECK(c.front == FRONT_AUTO && conf_check(&c, why, sizeof(why)));
	CHECK_GOOD("front cachefiles");
	CHECK(c.front == FRONT_CACHEFILES && !conf_check(&c, why, sizeof(why)) &&
			!strcmp(why, "attach y: front cachefiles has no block devices"),
		"%s", why);
	c.attaches = 1;
	CHECK(conf_check(&c, why, sizeof(why)));
	CHECK_BAD("front ublk", "needs auto, cachefiles or nbd");
}

/* Returns whether the URL names one file. */
static bool attach_url(const char *url)
{
	why[0] = '\0';
	return conf_attach_url(&c, url, why, sizeof(why));
}

static void test_attach_url(void)
{
	char url[300] = "http://h/";

	begin_test("conf: a URL of the command line that names one file attaches it");
	conf_init(&c);
	CHECK(!attach_url("http://h/") && !attach_url("http://h/a/") && !attach_url("http://h/%c"));
	CHECK(!attach_url("http://h/%v/x.img") && !attach_url("http://h/x.img?sig=/"));
	CHECK(attach_url("http://me:pw@h/") == false && c.attaches == 0);
	CHECK(attach_url("http://h/x/disk.img?sig=a/b#c") && attach_url("https://h/caf%c3%a9"));
	check_attached(0, "disk.img", -1);
	check_attached(1, "caf%c3%a9", -1);
	CHECK_GOOD("attach y.img /dev/nbd3");
	CHECK(attach_url("http://i/disk.img") && attach_url("http://i/y.img"));
	CHECK(c.attaches == 3 && c.mistakes == 0);

	begin_test("conf: a URL whose last part is no name, or one too many");
	memset(url + 9, 'x', 256);
	CHECK(attach_url(url) && attach_url("http://h") && attach_url("http://h/?x"));
	CHECK(c.attaches == 3 && c.mistakes == 0);
	c.attaches = DEVICES_MAX;
	memcpy(&c.attach[3], &c.attach[0], sizeof(c.attach[0]));
	for (size_t i = 4; i < DEVICES_MAX; i++)
		c.attach[i] = c.attach[3];
	CHECK(attach_url("http://h/new.img") && c.mistakes == 1);
	CHECK(!strcmp(why, "argument: attach 'new.img': there are 16 already, which is the most"),
		"%s", why);
}

static void test_choices(void)
{
	begin_test("conf: log");
	conf_init(&c);
	CHECK(c.log == LOG_LEVEL_INFO);
	CHECK_CHOICE("log error", log, LOG_LEVEL_ERR);
	CHECK_CHOICE("log warning", log, LOG_LEVEL_WARNING);
	CHECK_CHOICE("log info", log, LOG_LEVEL_INFO);
	CHECK_CHOICE("log debug", log, LOG_LEVEL_DEBUG);
	CHECK_BAD("log", "needs error, warning, info or debug");
	CHECK_BAD("log notice", "needs error, warning, info or debug");

	begin_test("conf: compressed");
	conf_init(&c);
	CHECK(c.compressed == COMPRESSED_AUTO);
	CHECK_CHOICE("compressed lazy", compressed, COMPRESSED_LAZY);
	CHECK_CHOICE("compressed whole", compressed, COMPRESSED_WHOLE);
	CHECK_CHOICE("compressed auto", compressed, COMPRESSED_AUTO);
	CHECK_BAD("compressed", "needs auto, whole or lazy");
	CHECK_BAD("compressed parts", "needs auto, whole or lazy");
	CHECK_BAD("compressed lazy whole", "needs auto, whole or lazy");

	begin_test("conf: read-ahead");
	conf_init(&c);
	CHECK(c.read_ahead == READ_AHEAD_AUTO);
	CHECK_CHOICE("read-ahead thrifty", read_ahead, READ_AHEAD_THRIFTY);
	CHECK_CHOICE("read-ahead none", read_ahead, READ_AHEAD_NONE);
	CHECK_CHOICE("read-ahead auto", read_ahead, READ_AHEAD_AUTO);
	CHECK_BAD("read-ahead", "needs auto, thrifty or none");
	CHECK_BAD("read-ahead 128K", "needs auto, thrifty or none");
	CHECK_BAD("readahead none", "; is 'read-ahead' meant?");

	begin_test("conf: abi, ca");
	conf_init(&c);
	CHECK_CHOICE("abi v8", abi, ABI_V8);
	CHECK_CHOICE("abi mainline", abi, ABI_MAINLINE);
	CHECK_CHOICE("abi auto", abi, ABI_AUTO);
	CHECK_GOOD("ca /etc/my roots.pem");
	CHECK(!strcmp(c.ca, "/etc/my roots.pem"));
	CHECK_BAD("abi v9", "needs auto, mainline or v8");
	CHECK_BAD("ca", "PEM");
}

static void test_lists(void)
{
	static char line[URL_MAX + 100];

	begin_test("conf: urls add up to the most there are");
	conf_init(&c);
	CHECK_GOOD("url https://a.example/images/");
	CHECK_GOOD("url http://user:pw@[::1]:8080/%v/%c.erofs?x=%20");
	CHECK(c.urls == 2 && !strcmp(c.url[1], "http://user:pw@[::1]:8080/%v/%c.erofs?x=%20"));
	while (c.urls < URLS_MAX)
		CHECK_GOOD("url http://b/");
	CHECK(!take("url http://b/") && strstr(why, "8 already"), "%s", why);

	begin_test("conf: URLs of one line fill another's room only up to a limit");
	conf_init(&c);
	strcpy(line, "url http://a/");
	memset(line + 13, 'x', URL_MAX);
	line[4 + URL_MAX - 1] = '\0';
	CHECK_GOOD(line);
	CHECK_GOOD("url http://b/");
	CHECK(!take(line) && strstr(why, "all URLs and names"), "%s", why);
	CHECK_GOOD("trace http://t/%c");
	CHECK_GOOD("proxy http://me:pw@proxy:3128/x");
	CHECK(c.urls == 2 && !strcmp(c.url[0], line + 4) && !strcmp(c.url[1], "http://b/"));
	CHECK(!strcmp(c.trace, "http://t/%c"));
	CHECK(!strcmp(c.proxy->host, "proxy") && c.proxy->port == 3128 &&
		!strcmp(c.proxy->userinfo, "me:pw"));

	begin_test("conf: bad urls are refused, their passwords not shown");
	CHECK_BAD("url", "needs an http or https URL");
	CHECK_BAD("url ftp://a/", "url 'ftp://a/': ");
	CHECK_BAD("url a.example", "url 'a.example': ");
	CHECK_BAD("url http://", "host");
	CHECK_BAD("url http://%c/", "host");
	CHECK_BAD("url https://%v.example/", "host");
	CHECK_BAD("url http://a/ b", "");
	CHECK_BAD("url http://a/ ", "");
	CHECK_BAD("url http://me:sec/ret@h:99999/", "url 'http://...@h:99999/'");
	CHECK(!strstr(why, "sec") && !strstr(why, "me:"), "%s", why);
	CHECK_BAD("url http://h:99999/a?sig=sec", "url 'http://h:99999/a?...'");
	CHECK_BAD("trace ftp://h/a?sig=sec", "trace 'ftp://h/a?...'");
	CHECK(c.urls == 0);
	strcpy(line, "url http://a/");
	memset(line + 13, 'x', URL_MAX);
	line[13 + URL_MAX] = '\0';
	CHECK_BAD(line, "longer than");
	line[4 + URL_MAX - 1] = '\0';
	CHECK(take_fresh(line), "%s", why);
}

static void test_resolve(void)
{
	begin_test("conf: resolve");
	conf_init(&c);
	CHECK_GOOD("resolve a.example:443:192.0.2.1");
	CHECK_GOOD("resolve a.example:443:2001:db8::1");
	CHECK(c.resolves == 2 && !strcmp(c.resolve[1], "a.example:443:2001:db8::1"));
	while (c.resolves < URLS_MAX)
		CHECK_GOOD("resolve a.example:443:192.0.2.1");
	CHECK(!take("resolve a.example:443:192.0.2.1") && strstr(why, "already"));
	CHECK_BAD("resolve a.example", "HOST:PORT:ADDRESS");
	CHECK_BAD("resolve a.example:443:b.example", "address");
	CHECK_BAD("resolve a.example:443:192.0.2.1 ", "address");
}

#define PIN_A "sha256//iurjEMgTtRvvCcrFxs8VEXtpKG2ui1iK3TrMhrWcsn8="
#define PIN_0 "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static void test_trust(void)
{
	begin_test("conf: pin: one, several, too many, malformed");
	conf_init(&c);
	CHECK_GOOD("pin " PIN_A);
	CHECK(c.pins == 1 && c.pin[0][0] == 0x8a && c.pin[0][1] == 0xea && c.pin[0][31] == 0x7f);
	CHECK_GOOD("pin " PIN_0 ";" PIN_A);
	CHECK(c.pins == 3 && c.pin[1][0] == 0 && !memcmp(c.pin[2], c.pin[0], PIN_SIZE));
	for (int i = 3; i < KEY_PINS_MAX; i++)
		CHECK_GOOD("pin " PIN_0);
	CHECK(!take("pin " PIN_0) && strstr(why, "8 already"), "%s", why);
	CHECK(c.pins == KEY_PINS_MAX);
	CHECK_BAD("pin", "needs sha256//BASE64");
	CHECK_BAD("pin md5//AAAA", "needs sha256//BASE64");
	CHECK_BAD("pin sha256//", "44 digits");
	CHECK_BAD("pin sha256//AAAA", "44 digits");
	CHECK_BAD("pin sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "44 digits");
	CHECK_BAD("pin sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", "44 digits");
	CHECK_BAD("pin sha256//-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "44 digits");
	CHECK_BAD("pin " PIN_0 "=", "44 digits");
	CHECK_BAD("pin " PIN_0 ";", "needs sha256//BASE64");
	CHECK_BAD("pin " PIN_0 " ", "44 digits");

	begin_test("conf: pin-only, tls-clock, cert, key");
	conf_init(&c);
	CHECK(!c.pin_only && !c.clock_strict && !c.cert[0] && !c.key[0]);
	CHECK_GOOD("pin-only yes");
	CHECK(c.pin_only);
	CHECK_GOOD("url https://h/");
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "no pin"), "%s", why);
	CHECK_GOOD("pin " PIN_0);
	CHECK(conf_check(&c, why, sizeof(why)), "%s", why);
	CHECK_GOOD("pin-only no");
	CHECK(!c.pin_only);
	CHECK_GOOD("tls-clock strict");
	CHECK(c.clock_strict);
	CHECK_GOOD("tls-clock build");
	CHECK(c.tls == TLS_ANY, "%d", c.tls);
	CHECK_GOOD("tls 1.2");
	CHECK_GOOD("tls 1.3");
	CHECK(c.tls == TLS_13, "%d", c.tls);
	CHECK(!c.clock_strict);
	CHECK_GOOD("key /k e y");
	CHECK(!strcmp(c.key, "/k e y"));
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "key /k e y"), "%s", why);
	CHECK_GOOD("cert /c");
	CHECK(conf_check(&c, why, sizeof(why)), "%s", why);
	CHECK_BAD("pin-only", "needs no or yes");
	CHECK_BAD("pin-only maybe", "needs no or yes");
	CHECK_BAD("tls-clock server", "needs build or strict");
	CHECK_BAD("tls 1.1", "needs any, 1.2 or 1.3");

	begin_test("conf: cache-check");
	conf_init(&c);
	CHECK(c.cache_check == CHECK_CUT);
	CHECK_CHOICE("cache-check never", cache_check, CHECK_NEVER);
	CHECK_CHOICE("cache-check boot", cache_check, CHECK_BOOT);
	CHECK_CHOICE("cache-check all", cache_check, CHECK_ALL);
	CHECK_CHOICE("cache-check cut", cache_check, CHECK_CUT);
	CHECK_BAD("cache-check always", "needs cut, never, boot or all");
	CHECK_BAD("cert", "needs the path");
}

static void test_roothash(void)
{
	char line[400] = "roothash ";

	begin_test("conf: roothash, of a name and of all the others");
	conf_init(&c);
	CHECK(c.roothashes == 0 && !conf_verifies(&c));
	CHECK_GOOD("roothash debian.erofs " ROOT_0);
	CHECK(conf_verifies(&c));
	CHECK_GOOD("roothash my  image   " ROOT_A);
	CHECK_GOOD("roothash " ROOT_A);
	CHECK_GOOD("roothash my " ROOT_0);
	CHECK_GOOD("roothash " ROOT_A " " ROOT_A);
	check_roothash(0, "debian.erofs", 0, 0xff);
	check_roothash(1, "my  image", 1, 0xfe);
	check_roothash(2, NULL, 1, 0xfe);
	check_roothash(3, "my", 0, 0xff);
	check_roothash(4, ROOT_A, 1, 0xfe);
	CHECK(c.roothash[1].root[1] == 0x23 && c.roothash[1].root[8] == 0xab);
	CHECK_GOOD("roothash sized " ROOT_0 ":12K");
	CHECK(c.roothash[5].bytes == 12288 && c.roothash[4].bytes == 0);
	memset(line + 9, 'x', 255);
	strcpy(line + 9 + 255, " " ROOT_0);
	CHECK_GOOD(line);
	CHECK(c.roothashes == 7 && strlen(c.roothash[6].name) == KEY_MAX);
	strcpy(line + 9 + 255, "x " ROOT_0);
	CHECK_BAD(line, "too long");
	CHECK(c.roothashes == 0);

	begin_test("conf: roothash: no hash, no name");
	CHECK_BAD("roothash", "needs NAME and 64 hexadecimal digits, or these alone");
	CHECK_BAD("roothash x", "roothash 'x': needs NAME and 64 hexadecimal digits");
	CHECK_BAD("roothash x " ROOT_0 " ", "needs NAME and 64 hexadecimal digits");
	CHECK_BAD("roothash x " ROOT_0 "0", "needs NAME and 64 hexadecimal digits");
	CHECK_BAD("roothash " ROOT_0 " x", "needs NAME and 64 hexadecimal digits");
	CHECK_BAD("roothash 0x" ROOT_0, "needs NAME and 64 hexadecimal digits");
	CHECK_BAD("roothash x\t" ROOT_0, "needs NAME and 64 hexadecimal digits");
	CHECK_BAD("roothash x " ROOT_0 ":", "or these with :BYTES");
	CHECK_BAD("roothash x " ROOT_0 ":1x", "or these with :BYTES");
	CHECK_BAD("roothash x " ROOT_0 ":0", "or these with :BYTES");
	CHECK_BAD("roothash x\t " ROOT_0, "control byte");
	CHECK_BAD("roothash .. " ROOT_0, "has a segment");
	strcpy(line, "roothash x " ROOT_0);
	for (size_t len = 10; line[len]; len++) {
		char last = line[len];

		line[len] = '\0';
		CHECK(!take_fresh(line) && c.roothashes == 0, "%s", line);
		line[len] = 'g';
		CHECK(!take_fresh(line) && c.roothashes == 0, "%s", line);
		line[len] = last;
	}
	CHECK(take_fresh(line) && c.roothashes == 1);
}

static void test_roothash_twice(void)
{
	char line[100];

	begin_test("conf: roothash: a name twice, and the most");
	conf_init(&c);
	CHECK_GOOD("roothash x " ROOT_0);
	CHECK(!take("roothash x " ROOT_0) && strstr(why, "second time"), "%s", why);
	CHECK_GOOD("roothash " ROOT_0);
	CHECK(!take("roothash " ROOT_A) && strstr(why, "second time"), "%s", why);
	while (c.roothashes < ROOTHASHES_MAX) {
		sprintf(line, "roothash %zu " ROOT_A, c.roothashes);
		CHECK_GOOD(line);
	}
	CHECK(!take("roothash y " ROOT_A) && strstr(why, "16 already, which is the most"), "%s",
		why);
	CHECK(!take("roothash x " ROOT_A) && strstr(why, "second time"), "%s", why);
	check_roothash(0, "x", 0, 0xff);
}

static void test_verity(void)
{
	begin_test("conf: verity, verity-key");
	conf_init(&c);
	CHECK_GOOD("url http://h/");
	CHECK(c.verity == VERITY_AUTO && !c.verity_url && !c.verity_key[0]);
	CHECK(conf_check(&c, why, sizeof(why)));
	CHECK_CHOICE("verity require", verity, VERITY_REQUIRE);
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "give a roothash or"), "%s", why);
	CHECK_GOOD("verity-key /etc/my key.pem");
	CHECK(!strcmp(c.verity_key, "/etc/my key.pem") && conf_verifies(&c));
	CHECK(conf_check(&c, why, sizeof(why)));
	CHECK_GOOD("verity http://v/%c.erofs?x=1");
	CHECK(c.verity == VERITY_REQUIRE && !strcmp(c.verity_url, "http://v/%c.erofs?x=1"));
	CHECK_GOOD("verity allow");
	CHECK(c.verity == VERITY_ALLOW && c.verity_url && conf_check(&c, why, sizeof(why)));
	CHECK_BAD("verity", "needs require, allow or a URL");
	CHECK_BAD("verity yes", "verity 'yes': needs require, allow or a URL");
	CHECK_BAD("verity require ", "without a blank");
	CHECK_BAD("verity ftp://h/a?sig=sec", "verity 'ftp://h/a?...'");
	CHECK_BAD("verity-key", "needs the path");

	begin_test("conf: verity by a URL or with allow, but nothing to verify by");
	conf_init(&c);
	CHECK_GOOD("url http://h/");
	CHECK_GOOD("verity http://h/");
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "nothing to verify"), "%s", why);
	conf_init(&c);
	CHECK_GOOD("url http://h/");
	CHECK_GOOD("verity allow");
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "nothing to verify"), "%s", why);
	CHECK_GOOD("roothash " ROOT_0);
	CHECK(conf_check(&c, why, sizeof(why)));
}

static void test_whole(void)
{
	begin_test("conf: the whole: a url, and stop < cull < run");
	conf_init(&c);
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "url"));
	take("url http://h/");
	CHECK(conf_check(&c, why, sizeof(why)));
	take("bcull 7%");
	CHECK(!conf_check(&c, why, sizeof(why)));
	CHECK(!strncmp(why, "bstop 1%, bcull 7%, brun 7%: ", 29), "%s", why);
	take("brun 8%");
	CHECK(conf_check(&c, why, sizeof(why)));
	take("fstop 5%");
	CHECK(!conf_check(&c, why, sizeof(why)) && strstr(why, "fstop 5%"));
}

/* Each line of the sample configuration (make build/cachefilesd.conf) that has a value without
 * capitals and without a choice. */
static void test_sample(void)
{
	struct conf defaults;
	FILE *sample = fopen("build/cachefilesd.conf", "r");
	char line[CONF_LINE_MAX];
	int lines = 0;

	begin_test("conf: the sample has the defaults");
	CHECK(sample, "no build/cachefilesd.conf here");
	conf_init(&c);
	while (sample && fgets(line, sizeof(line), sample)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '#' || !strchr("abcdefghijklmnopqrstuvwxyz", line[1]) ||
			!strchr(line, ' ') || strpbrk(line, "|ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
			continue;
		CHECK(conf_line(&c, "sample", line + 1, why, sizeof(why)), "%s", why);
		lines++;
	}
	CHECK(lines > 20, "%d lines", lines);
	/* But for what only remembers that a line was there. */
	c.given = 0;
	c.status_given = c.control_given = false;
	conf_init(&defaults);
	CHECK(memcmp(&c, &defaults, sizeof(c)) == 0);
	if (sample)
		fclose(sample);
}

int main(void)
{
	test_defaults();
	test_form();
	test_messages();
	test_values();
	test_policy();
	test_classic();
	test_classic_values();
	test_ours();
	test_sockets();
	test_attach();
	test_attach_twice();
	test_attach_url();
	test_choices();
	test_lists();
	test_resolve();
	test_trust();
	test_roothash();
	test_roothash_twice();
	test_verity();
	test_whole();
	test_sample();
	return finish_tests();
}
