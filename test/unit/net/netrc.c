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
	const char *userinfo = netrc_lookup(host, "");

	return userinfo ? userinfo : "nothing";
}

static void test_machines(void)
{
	begin_test("netrc: machines and a default");
	CHECK(loads("machine a.example login u password p\n"
		    "machine B.example\n\tlogin v\n\tpassword q\n"
		    "machine no.login\n"
		    "default login w password r"));
	CHECK(strcmp(found("a.example"), "u:p") == 0, "%s", found("a.example"));
	CHECK(strcmp(found("b.example"), "v:q") == 0, "%s", found("b.example"));
	CHECK(strcmp(found("c.example"), "w:r") == 0, "%s", found("c.example"));
	CHECK(strcmp(found("no.login"), "w:r") == 0, "%s", found("no.login"));
	CHECK(loads("machine a login u") && strcmp(found("a"), "u:") == 0, "%s", found("a"));
	CHECK(loads("") && !netrc_lookup("a", "") && !netrc_lookup("a", ""));

	begin_test("netrc: the first machine of a name counts; its words have any order");
	CHECK(loads("machine a password p login u machine a login v password q"));
	CHECK(strcmp(found("a"), "u:p") == 0, "%s", found("a"));
	CHECK(loads("machine a password p") && strcmp(found("a"), ":p") == 0, "%s", found("a"));
}

static void test_words(void)
{
	begin_test("netrc: comments, quotes, account, macdef, as curl has them");
	CHECK(loads(
		"# machine x login y\n  # more\nmachine a # x\nlogin u #login v\npassword p#q\n"));
	CHECK(strcmp(found("a"), "u:p#q") == 0, "%s", found("a"));
	CHECK(loads(
		"machine \"a\" login \"u v\" password \"# p\\\"q\\\\\\t\\r\"machine b login x"));
	CHECK(strcmp(found("a"), "u v:# p\"q\\\t\r") == 0, "%s", found("a"));
	CHECK(strcmp(found("b"), "x:") == 0, "%s", found("b"));
	CHECK(loads("machine a login u account c password p"));
	CHECK(strcmp(found("a"), "u:p") == 0, "%s", found("a"));
	CHECK(loads("machine x login y\nmacdef init\nmachine a login wrong\n\"\n\n"
		    "machine a login u password p\nmacdef last\ncd /"));
	CHECK(strcmp(found("a"), "u:p") == 0, "%s", found("a"));
	CHECK(loads("machine a login u password \"\"") && strcmp(found("a"), "u:") == 0);

	CHECK(loads("machine a login u macdef m\nx y\n\npassword p machine a login v"));
	CHECK(strcmp(found("a"), "u:p") == 0, "%s", found("a"));
	CHECK(loads("MACHINE a Login u PassWord p MacDef m\nx\n\nDEFAULT logiN v password q"));
	CHECK(strcmp(found("a"), "u:p") == 0 && strcmp(found("b"), "v:q") == 0);
	CHECK(loads("some words machine a login u password p"));
	CHECK(strcmp(found("a"), "u:p") == 0, "%s", found("a"));

	begin_test("netrc: the password of a URL's user");
	CHECK(loads("machine a login y password p machine a password q login z\n"
		    "machine a password r default login d password s"));
	CHECK(!strcmp(netrc_lookup("a", "z"), "z:q") && !strcmp(netrc_lookup("a", "y"), "y:p"));
	CHECK(!strcmp(netrc_lookup("a", "z"), "z:q") && !strcmp(found("a"), "y:p"));
	CHECK(!netrc_lookup("a", "Z") && !netrc_lookup("a", "x") && !netrc_lookup("a", "x"));
	CHECK(!strcmp(netrc_lookup("a", "d"), "d:s") && !netrc_lookup("b", "z") &&
		!netrc_lookup("a", "z:"));
}

static void test_many(void)
{
	char text[70000] = "", expected[40];

	begin_test("netrc: any number of machines, looked up in any order, up to 64 KiB");
	for (int i = 0; strlen(text) < NETRC_FILE_MAX - 100; i++)
		sprintf(text + strlen(text), "machine m%d\nlogin user%d\npassword word%d\n", i, i,
			i);
	CHECK(loads(text));
	for (int i = 0; i < 1500; i += 7) {
		char host[20];

		snprintf(host, sizeof(host), "m%d", (i * 37) % 1000);
		snprintf(expected, sizeof(expected), "user%d:word%d", (i * 37) % 1000,
			(i * 37) % 1000);
		CHECK(strcmp(found(host), expected) == 0, "%s", found(host));
		CHECK(!netrc_lookup("other", ""));
	}
}

static void test_long(void)
{
	char text[NETRC_PASSWORD_MAX + 200], word[NETRC_PASSWORD_MAX + 1], why[200];

	begin_test("netrc: the longest password and login, and one byte more");
	for (int more = 0; more <= 1; more++) {
		memset(word, 'x', sizeof(word));
		word[NETRC_PASSWORD_MAX - 1 + more] = '\0';
		snprintf(text, sizeof(text), "machine a\nlogin u\npassword %s\n", word);
		CHECK(load(text, strlen(text), 0600, why, sizeof(why)) == !more);
		CHECK(more ? strstr(why, "line 3: ") != NULL : strcmp(found("a") + 2, word) == 0,
			"%s", why);
		word[NETRC_LOGIN_MAX - 1 + more] = '\0';
		snprintf(text, sizeof(text), "machine a\n\nlogin %s\npassword p\n", word);
		CHECK(load(text, strlen(text), 0600, why, sizeof(why)) == !more);
		CHECK(more ? strstr(why, "line 3: ") != NULL : strncmp(found("a"), word, 255) == 0,
			"%s", why);
		word[HOST_MAX - 1 + more] = '\0';
		snprintf(text, sizeof(text), "machine %s", word);
		CHECK(loads(text) == !more);
	}
	begin_test("netrc: passwords of which the memory keeps one only, in turn");
	memset(word, 'y', sizeof(word));
	word[NETRC_PASSWORD_MAX - 1] = '\0';
	snprintf(text, sizeof(text), "machine a login u password v\ndefault login w password %s",
		word);
	CHECK(loads(text));
	for (int i = 0; i < 3; i++) {
		CHECK(strcmp(found("b") + 2, word) == 0 && strcmp(found("c") + 2, word) == 0);
		CHECK(strcmp(found("a"), "u:v") == 0, "%s", found("a"));
	}
}

static void test_mistakes(void)
{
	static const struct {
		const char *text, *told;
	} bad[] = {
		{"machine a login", "line 1: a keyword has no value"},
		{"\nmachine", "line 2: a keyword has no value"},
		{"machine a\nlogin u\npasswort s3cret", "line 3: a word is none of machine,"},
		{"machine a login u\nmachine b login u password \"s3cret\nmachine c",
			"line 2: a quote"},
		{"machine a login u password \"s3cret", "line 1: a quote is not closed"},
		{"machine a login u password \"s3cret\\", "line 1: it is no text"},
		{"x\nMachine a\nlogins3cret", "line 3: a word is none of"},
	};
	char why[200], big[NETRC_FILE_MAX + 2];

	begin_test("netrc: a mistake is told by its line, and the message holds no secret");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(!load(bad[i].text, strlen(bad[i].text), 0600, why, sizeof(why)), "%s",
			bad[i].text);
		CHECK(strstr(why, bad[i].told) && !strstr(why, "s3cret"), "%s", why);
	}
	CHECK(!load("machine a\0b", 11, 0600, why, sizeof(why)) && strstr(why, "no text"));
	memset(big, '\n', sizeof(big));
	CHECK(load(big, NETRC_FILE_MAX, 0600, why, sizeof(why)), "%s", why);
	CHECK(!load(big, NETRC_FILE_MAX + 1, 0600, why, sizeof(why)) && strstr(why, "65536"));
	CHECK(!netrc_load("/nonexistent", why, sizeof(why)) && strstr(why, "/nonexistent"));

	begin_test("netrc: cut at each byte, it is refused or read, never more");
	static const char whole[] =
		"machine a login \"u\\n\" password p\nmacdef m\nx\n\ndefault login v";
	for (size_t size = 0; size < sizeof(whole); size++)
		if (load(whole, size, 0600, why, sizeof(why)))
			found("a");

	begin_test("netrc: a file that others may read is told");
	warnings = 0;
	CHECK(load("machine a login u password p", 28, 0644, why, sizeof(why)) && warnings == 1);
}

static void test_reload(void)
{
	char why[200], path[64];
	struct stat later;
	int fd;

	begin_test("netrc: a file that was written again is read again, once");
	snprintf(path, sizeof(path), "/tmp/netrc-test-%d", (int)getpid());
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
	CHECK(pwrite(fd, "machine a login u passwort bad", 30, 0) == 30);
	later.st_mtim.tv_sec += 2;
	CHECK(futimens(fd, (struct timespec[2]){later.st_atim, later.st_mtim}) == 0);
	CHECK(!netrc_reload() && strcmp(found("a"), "u:new") == 0);
	close(fd);
	unlink(path);
}

int main(void)
{
	test_machines();
	test_words();
	test_many();
	test_long();
	test_mistakes();
	test_reload();
	return finish_tests();
}
