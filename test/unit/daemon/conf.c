/* Unit test of conf.c: defaults, lines, the file's form, the whole. */
#include "test/unit/daemon/conf.h"

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

/* ---- file ---- */

static char path[] = "/tmp/conf-test-XXXXXX";

static bool read_text(const char *text, size_t len)
{
	bool missing;
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (write(fd, text, len) != (ssize_t)len)
		exit(99);
	close(fd);
	conf_init(&c);
	why[0] = '\0';
	bool good = conf_file(&c, path, why, sizeof(why), &missing);
	CHECK(!missing);
	return good;
}

#define READ(text) read_text(text, sizeof(text) - 1)

static void check_message(const char *want)
{
	CHECK(!strncmp(why, path, strlen(path)) && !strcmp(why + strlen(path), want), "%s", why);
}

/* Debian's file, and a url. */
static const char classic[] = "# comment\n\ndir /var/cache/x\ntag mycache\nbrun 10%\nbcull 7%\n"
			      "bstop 3%\nfrun 10%\nfcull 7%\nfstop 3%\nculltable 12\n"
			      "  url http://h/\n";

static void test_file(void)
{
	begin_test("conf: Debian's file and a url");
	CHECK(read_text(classic, sizeof(classic) - 1), "%s", why);
	CHECK(!strcmp(c.tag, "mycache") && c.fstop == 3 && c.urls == 1);
	CHECK(read_text("", 0));

	begin_test("conf: a file's mistakes name file and line");
	CHECK(!read_text("\n# x\nconnections 99\n", 20));
	check_message(":3: connections '99': needs a number from 1 to 16");
	begin_test("conf: what a file gives once, -o may give once more");
	CHECK(read_text("dir /a\ntag a\nsecctx a\n", 22));
	CHECK(conf_line(&c, "-o", "dir /b", why, sizeof(why)) && !strcmp(c.dir, "/b"));
	CHECK(conf_line(&c, "-o", "tag b", why, sizeof(why)) && !strcmp(c.tag, "b"));
	CHECK(conf_line(&c, "-o", "secctx b", why, sizeof(why)) && !strcmp(c.secctx, "b"));
	CHECK(!conf_line(&c, "-o", "dir /c", why, sizeof(why)) && strstr(why, "second time"));
	CHECK(!read_text("dir /a\ndir /b\n", 14));
	check_message(":2: dir '/b': it is given a second time");

	begin_test("conf: a line without its newline, and one with a NUL byte");
	CHECK(!read_text("tag a\ntag b", 11));
	check_message(":2: tag 'b': it is given a second time");
	CHECK(!read_text("tag a\0b\n", 8));
	check_message(":1: the line contains a NUL byte");
	CHECK(!read_text("#\0\n", 3));
	check_message(":1: the line contains a NUL byte");
}

static void test_file_mistakes(void)
{
	begin_test("conf: all mistakes of a file are told, those before the last in the log");
	logs = 0;
	CHECK(!READ("foo 1\nbrun 1\ntag x\n\0\nfoo 2") && c.mistakes == 4 && logs == 3);
	check_message(":5: 'foo': unknown word");
	CHECK(strstr(logged, ":4: the line contains a NUL byte"), "%s", logged);
	CHECK(!strcmp(c.tag, "x"));
	CHECK(!conf_line(&c, "-o", "foo 3", why, sizeof(why)) && c.mistakes == 5 && logs == 4);
	CHECK(strstr(logged, ":5: 'foo'") && !strcmp(why, "-o: 'foo': unknown word"), "%s", why);

	begin_test("conf: CRLF, a byte-order mark, a last line without its newline");
	CHECK(READ("\xef\xbb\xbf"
		   "dir /x\r\n\r\nnocull\r\ntag y\r"),
		"%s", why);
	CHECK(!strcmp(c.dir, "/x") && !strcmp(c.tag, "y") && c.nocull);
	CHECK(!READ("tag x\r\r\n"));
	check_message(":1: tag 'x\r': it holds a control byte");
	CHECK(!READ("nocull\n\xef\xbb\xbfnocull\n"));
	check_message(":2: '\xef\xbb\xbfnocull': unknown word");
}

static void test_file_roothash(void)
{
	begin_test("conf: the root hash of a file, which -o may say otherwise, once");
	CHECK(READ("roothash x " ROOT_0 "\nroothash " ROOT_0 "\nroothash y z " ROOT_0 "\n"));
	CHECK_GOOD("roothash x " ROOT_A);
	CHECK(!take("roothash x " ROOT_A) && strstr(why, "second time"), "%s", why);
	CHECK_GOOD("roothash " ROOT_A);
	CHECK(!take("roothash " ROOT_0) && strstr(why, "second time"), "%s", why);
	CHECK_GOOD("roothash w " ROOT_A);
	CHECK_GOOD("roothash y z " ROOT_0);
	CHECK(c.roothashes == 4 && c.roothashes_filed == 0);
	check_roothash(0, "y z", 0, 0xff);
	check_roothash(1, NULL, 1, 0xfe);
	check_roothash(2, "x", 1, 0xfe);
	check_roothash(3, "w", 1, 0xfe);
	CHECK(!READ("roothash x " ROOT_0 "\nroothash x " ROOT_0 "\n"));
	check_message(":2: roothash 'x " ROOT_0 "': it is given a second time");
}

static void test_file_sizes(void)
{
	bool missing;

	begin_test("conf: a file cut at each byte is read to its last");
	for (size_t len = 0; len < sizeof(classic) - 1; len++) {
		static char dos[sizeof(classic) * 2];
		size_t size = 0;
		bool good = read_text(classic, len);

		for (size_t i = 0; i < len; i++) {
			if (classic[i] == '\n')
				dos[size++] = '\r';
			dos[size++] = classic[i];
		}
		CHECK(read_text(dos, size) == good, "%zu", len);
		CHECK(good || classic[len - 1] != '\n', "%zu", len);
	}

	begin_test("conf: the longest line, and one byte more, wherever the reads fall");
	static char text[5 * CONF_LINE_MAX];
	memset(text, '#', sizeof(text));
	text[CONF_LINE_MAX - 1] = '\n';
	text[2 * CONF_LINE_MAX - 2] = '\n';
	text[3 * CONF_LINE_MAX - 2] = '\n';
	CHECK(read_text(text, 3 * CONF_LINE_MAX - 1), "%s", why);
	text[3 * CONF_LINE_MAX - 2] = '#';
	text[3 * CONF_LINE_MAX - 1] = '\n';
	CHECK(!read_text(text, 3 * CONF_LINE_MAX));
	check_message(":3: the line is too long");

	begin_test("conf: a file that is not there, or is none");
	CHECK(!conf_file(&c, "/nonexistent/x", why, sizeof(why), &missing) && missing);
	CHECK(!strcmp(why, "/nonexistent/x: No such file or directory"), "%s", why);
	CHECK(!conf_file(&c, "/tmp", why, sizeof(why), &missing) && !missing);
	CHECK(!strcmp(why, "/tmp: Is a directory"), "%s", why);
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

int main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return 99;
	close(fd);
	test_defaults();
	test_form();
	test_messages();
	test_file();
	test_file_mistakes();
	test_file_roothash();
	test_file_sizes();
	test_whole();
	unlink(path);
	return finish_tests();
}
