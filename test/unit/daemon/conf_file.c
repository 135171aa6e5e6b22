/* Unit test of conf_file.c: the file's form, and what it leaves to the command line. */
#include "test/unit/daemon/conf.h"

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

int main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		return 99;
	close(fd);
	test_file();
	test_file_mistakes();
	test_file_roothash();
	test_file_sizes();
	unlink(path);
	return finish_tests();
}
