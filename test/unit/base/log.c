/* Unit test of log.c: escapes, cuts, drops, and where lines go. */
#include "base/fd.c"
#include "base/log.c"
#include "test/unit/check.h"

static int reader;

/* Lines dropped of which the log has not told yet. */
static unsigned long untold(void)
{
	return dropped - dropped_told;
}

/* Makes standard error a pipe; its output is then read from `reader`. */
static int pipe_stderr(int saved)
{
	int p[2];

	fflush(stdout);
	if (pipe2(p, O_NONBLOCK) < 0)
		exit(99);
	if (saved < 0)
		saved = dup(STDERR_FILENO);
	/* The daemon's own end is a blocking one, as it is in life. */
	fcntl(p[1], F_SETFL, 0);
	dup2(p[1], STDERR_FILENO);
	close(p[1]);
	if (reader > 0)
		close(reader);
	reader = p[0];
	return saved;
}

static const char *heard(int fd)
{
	static char buffer[1 << 20];
	ssize_t n = 0;
	ssize_t got;

	while ((got = read(fd, buffer + n, sizeof(buffer) - 1 - (size_t)n)) > 0)
		n += got;
	buffer[n] = '\0';
	return buffer;
}

static void test_text(void)
{
	char out[TEXT_MAX + 1];

	begin_test("log: plain text is kept");
	escape(out, "https://[::1]/a?b=%20~ \\ \"");
	CHECK(!strcmp(out, "https://[::1]/a?b=%20~ \\ \""), "%s", out);

	begin_test("log: control bytes, DEL and non-ASCII become \\xNN");
	escape(out, "a\nb\r\x1b[31m\x7f\xc2\x9b\t");
	CHECK(!strcmp(out, "a\\x0ab\\x0d\\x1b[31m\\x7f\\xc2\\x9b\\x09"), "%s", out);
}

static void test_cut(void)
{
	char out[TEXT_MAX + 1];
	char in[2 * TEXT_MAX];

	begin_test("log: what just fits is whole, one byte more is cut with dots");
	memset(in, 'x', sizeof(in));
	in[TEXT_MAX] = '\0';
	escape(out, in);
	CHECK(strlen(out) == TEXT_MAX && !strchr(out, '.'));
	in[TEXT_MAX] = 'x';
	in[TEXT_MAX + 1] = '\0';
	escape(out, in);
	CHECK(strlen(out) == TEXT_MAX && !strcmp(out + TEXT_MAX - 4, "x..."));

	begin_test("log: a cut never tears an escape");
	for (size_t lead = 0; lead < 8; lead++) {
		memset(in, '\n', TEXT_MAX);
		memset(in, 'x', lead);
		in[TEXT_MAX] = '\0';
		escape(out, in);
		size_t n = strlen(out);
		CHECK(n <= TEXT_MAX && (n - 3 - lead) % 4 == 0, "%zu", n);
		CHECK(!strcmp(out + n - 7, "\\x0a..."), "%s", out + n - 7);
	}
}

static void test_stderr(void)
{
	char big[4000];

	begin_test("log: standard error gets one prefixed line; errno stays");
	errno = EXDEV;
	log_info("%s %d", "hello", 7);
	CHECK(errno == EXDEV);
	CHECK(!strcmp(heard(reader), "cachefilesd-mini: hello 7\n"));

	begin_test("log: levels below the least are not told");
	log_debug("secret");
	CHECK(!strcmp(heard(reader), ""));
	log_open(true, LOG_LEVEL_DEBUG);
	log_debug("told");
	CHECK(!strcmp(heard(reader), "cachefilesd-mini: told\n"));

	begin_test("log: a long line is cut to 900 bytes and stays one line");
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_info("%s", big);
	const char *h = heard(reader);
	CHECK(strlen(h) == strlen("cachefilesd-mini: \n") + TEXT_MAX, "%zu", strlen(h));
	CHECK(strchr(h, '\n') == h + strlen(h) - 1);
}

static void test_full_pipe(void)
{
	begin_test("log: a full pipe drops lines at once, and the next that passes says how many");
	alarm(20);
	int sent = 0;
	while (untold() < 5 && sent < 100000) {
		log_info("a line that fills the pipe, %d", sent);
		sent++;
	}
	alarm(0);
	CHECK(untold() == 5, "%lu", untold());
	CHECK(strstr(heard(reader), "dropped") == NULL);
	log_info("after");
	CHECK(!strcmp(heard(reader), "cachefilesd-mini: 5 log lines dropped here: the log did not "
				     "take them, or too many "
				     "of a kind came\n"
				     "cachefilesd-mini: after\n"));
	CHECK(untold() == 0);

	begin_test("log: a pipe without a reader is no SIGPIPE");
	close(reader);
	reader = -1;
	log_info("nobody");
	CHECK(untold() == 1);
	pipe_stderr(0);
	log_info("again");
	CHECK(strstr(heard(reader), "1 log line dropped") != NULL);
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		exit(99);
	return fd;
}

static void test_syslog(const char *folder)
{
	static char path[100];
	char want[200];

	begin_test("log: syslog gets <PRI>name[pid]: text, without a newline");
	snprintf(path, sizeof(path), "%s/log", folder);
	syslog_path = path;
	int server = listen_at(path);
	log_open(false, LOG_LEVEL_DEBUG); /* as many lines of a kind as we like */
	log_err("broken\n%s", "x");
	snprintf(want, sizeof(want), "<27>cachefilesd-mini[%d]: broken\\x0ax", (int)getpid());
	CHECK(!strcmp(heard(server), want));

	begin_test("log: a full socket drops and counts");
	alarm(20);
	for (int i = 0; i < 100000 && untold() < 3; i++)
		log_info("line %d", i);
	alarm(0);
	CHECK(untold() == 3);
	heard(server);
	log_info("now");
	CHECK(untold() == 0 && strstr(heard(server), "3 log lines dropped"));

	begin_test("log: a new syslog daemon is found, asked for at most once a minute");
	close(server);
	log_info("lost");
	CHECK(untold() == 1);
	server = listen_at(path);
	log_info("too early");
	CHECK(untold() == 2);
	reconnect_at = 0;
	log_info("back");
	CHECK(untold() == 0 && strstr(heard(server), "2 log lines dropped"));
	close(server);
	unlink(path);
}

static void test_fall_back(const char *folder)
{
	static char path[100];
	char want[200];

	begin_test("log: without /dev/log, /dev/kmsg");
	snprintf(path, sizeof(path), "%s/kmsg", folder);
	kmsg_path = path;
	close(open(path, O_CREAT | O_WRONLY, 0600));
	log_open(false, LOG_LEVEL_INFO);
	log_warning("w");
	int fd = open(path, O_RDONLY);
	snprintf(want, sizeof(want), "<28>cachefilesd-mini[%d]: w\n", (int)getpid());
	CHECK(!strcmp(heard(fd), want));

	begin_test("log: while the daemon starts, errors go to its standard error too");
	log_starting();
	log_err("why");
	log_warning("less");
	CHECK(!strcmp(heard(reader), "cachefilesd-mini: why\n"));
	log_started();
	log_err("later");
	CHECK(!*heard(reader));
	CHECK(strstr(heard(fd), "later") != NULL);
	CHECK(truncate(path, 0) == 0);

	begin_test("log: not to syslog where it is avoided");
	int server = listen_at(syslog_path);
	avoids_syslog = true;
	log_open(false, LOG_LEVEL_INFO);
	reconnect_at = 0;
	log_warning("avoided");
	lseek(fd, 0, SEEK_SET); /* opened anew, a file is written from its beginning */
	CHECK(strstr(heard(fd), "avoided") && !*heard(server));
	avoids_syslog = false;

	begin_test("log: from /dev/kmsg to syslog once there is one, looked for once a minute");
	reconnect_at = clock_ms() + RECONNECT_MS;
	log_warning("early");
	CHECK(strstr(heard(fd), "early") && !*heard(server));
	reconnect_at = 0;
	log_warning("late");
	CHECK(!strstr(heard(fd), "late"));
	CHECK(strstr(heard(server), "]: late") != NULL);
	CHECK(target == TO_SYSLOG && fcntl(syslog_fd, F_GETFD) == FD_CLOEXEC);
	close(server);
	unlink(syslog_path);
	close(fd);
	unlink(path);

	begin_test("log: without either, standard error");
	log_open(false, LOG_LEVEL_INFO);
	log_info("here");
	CHECK(!strcmp(heard(reader), "cachefilesd-mini: here\n"));
}

static unsigned lines_of(const char *text, const char *word)
{
	unsigned n = 0;

	while ((text = strstr(text, word)) != NULL) {
		text += strlen(word);
		n++;
	}
	return n;
}

static void test_rate(void)
{
	static const char flood[] = "flood %d";
	const char *text;

	memset(kinds, 0, sizeof(kinds));
	log_open(true, LOG_LEVEL_INFO);
	begin_test(
		"log: of one kind of line 50 at once are told, of others all; then how many were "
		"not");
	unsigned long in_all = log_dropped();
	for (int i = 0; i < 70; i++) {
		log_info(flood, i);
		if (i % 10 == 9)
			log_info("rare %d", i);
	}
	text = heard(reader);
	CHECK(lines_of(text, ": flood") == KIND_BURST, "%u", lines_of(text, ": flood"));
	CHECK(lines_of(text, ": rare") == 7);
	CHECK(strstr(text, "flood 49\n") && !strstr(text, "flood 50"));
	CHECK(strstr(text, ": 10 log lines dropped here"), "%s", text);
	CHECK(log_dropped() - in_all == 20);

	begin_test("log: a kind that came too often is told again, one line each 250 ms");
	for (unsigned i = 0; i < KINDS; i++)
		if (kinds[i].format == flood)
			kinds[i].next -= 2 * KIND_EACH; /* as if two of these times had passed */
	for (int i = 0; i < 10; i++)
		log_info(flood, i);
	CHECK(lines_of(heard(reader), ": flood") == 2);

	begin_test("log: many kinds do not hide one that comes too often");
	memset(kinds, 0, sizeof(kinds));
	for (int i = 0; i < KIND_BURST + 9; i++) {
		static char formats[3 * KINDS][4]; /* each an address of its own */

		log_info("often");
		for (unsigned k = 0; k < 3; k++)
			log_line(LOG_LEVEL_INFO, formats[((unsigned)i * 3 + k) % (3 * KINDS)], 0);
	}
	CHECK(lines_of(heard(reader), ": often") == KIND_BURST);

	begin_test("log: with debug all are told");
	log_open(true, LOG_LEVEL_DEBUG);
	for (int i = 0; i < 2 * KIND_BURST; i++)
		log_info("all");
	CHECK(lines_of(heard(reader), ": all") == 2 * KIND_BURST);
}

int main(void)
{
	char folder[] = "/tmp/log-test-XXXXXX";
	int saved = pipe_stderr(-1);

	if (!mkdtemp(folder))
		return 99;
	test_text();
	test_cut();
	test_stderr();
	test_full_pipe();
	test_syslog(folder);
	test_fall_back(folder);
	test_rate();
	rmdir(folder);
	dup2(saved, STDERR_FILENO);
	return finish_tests();
}
