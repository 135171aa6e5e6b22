/* Unit test of inherit.c: the numbers that programs of this and of the first version leave, text
 * that is none, and the names in a service manager's store. */
#include "test/unit/check.h"

#include <errno.h>
#include <unistd.h>

static int played_execve(const char *program, char *const argv[], char *const environment[])
{
	CHECK(!strcmp(program, "/sbin/it") && !argv[0] && environment);

	errno = ENOENT;
	return -1;
}

static int keeps_over_exec(int fd);

static char left_text[2000]; /* what it gets from us */
static int kept_open;	     /* whether it gets the descriptor in front */

#define execve(program, argv, environment)                                                         \
	(note_left(environment), played_execve(program, argv, environment))
static void note_left(char *const environment[]);
#include "daemon/inherit.c"
#include "base/text.c"

static void note_left(char *const environment[])
{
	unsigned count = 0;

	for (; *environment; environment++)
		if (!strncmp(*environment, LEGACY "=", sizeof(LEGACY))) {
			snprintf(left_text, sizeof(left_text), "%s", *environment + sizeof(LEGACY));
			count++;
		}
	CHECK(count == 1);
	kept_open = keeps_over_exec(0);
}

static int keeps_over_exec(int fd)
{
	return !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* ---- the service manager ---- */

static char handed_over[64][INHERIT_NAME + 1], sent[64][80];
static unsigned asked_for, sends;

int notify_handed_over(const char *name)
{
	snprintf(handed_over[asked_for % 64], sizeof(handed_over[0]), "%s", name);
	return 100 + (int)asked_for++;
}

bool notify_send(const char *lines, int fd)
{
	snprintf(sent[sends++ % 64], sizeof(sent[0]), "%s %d", lines, fd);
	return true;
}

/* ---- tests ---- */

static struct inherited e;

static void take(const char *text)
{
	if (text)
		setenv(LEGACY, text, 1);
	else
		unsetenv(LEGACY);
	asked_for = 0;
	inherit_take(&e, -1);
}

/* Whether the front end's descriptors from kept[i] on are none. */
static bool are_none(unsigned i)
{
	while (i < KEPT_MAX && e.kept[i] == -1)
		i++;
	return i == KEPT_MAX;
}

static void test_numbers(void)
{
	begin_test("inherit: the first version's numbers");
	take("900,901,902,12345,903,77,1");
	CHECK(e.resumed && asked_for == 0);
	CHECK(e.device == 900 && e.state == 901 && e.status == 902 && e.worker == 12345 &&
		e.channel == 903 && e.upgrade_client == 77 && e.stored);
	CHECK(e.control == -1 && e.announce == -1 && are_none(0));
	take("-1,-1,-1,0,-1,0,0");
	CHECK(e.device == -1 && e.state == -1 && e.status == -1 && e.worker == 0 &&
		e.channel == -1 && e.upgrade_client == 0 && !e.stored);

	begin_test("inherit: this version's");
	take("900,901,902,12345,903,77,0,904,905,906,-1,908,");
	CHECK(e.control == 904 && e.kept[0] == 905 && e.kept[1] == 906 && e.kept[2] == -1 &&
		e.kept[3] == 908 && are_none(4) && !e.stored);

	begin_test("inherit: text that is none");
	take("");
	CHECK(e.resumed && e.device == -1 && e.state == -1 && e.channel == -1 && are_none(0));
	take(",,,,,");
	CHECK(e.worker <= 0 && e.upgrade_client == 0 && e.control == -1 && are_none(0));
	take("x,9000,-,2147483648,99999999999999999999,-5,2");
	CHECK(e.device <= 0 && e.state == 9000 && e.status == -1 && e.worker == -1 &&
		e.channel <= 0 && e.upgrade_client == -1 && e.stored);
	take("2147483647x,1 ,7");
	CHECK(e.device == 2147483647 && e.state == 1 && e.status == 7);
}

static void test_many_numbers(void)
{
	char text[4000] = "";

	begin_test("inherit: more numbers than there are");
	for (int i = 0; i < 500; i++)
		snprintf(text + strlen(text), 20, "%d,", 1000 + i);
	take(text);
	CHECK(e.device == 1000 && e.control == 1007 && e.kept[0] == 1008);
	CHECK(e.kept[KEPT_MAX - 1] == 1000 + 8 + KEPT_MAX - 1);
}

static void test_round_trip(void)
{
	struct inherited before = {.device = 0,
		.state = 2000000001,
		.status = -1,
		.control = 7,
		.announce = -1,
		.worker = 2147483647,
		.channel = 2000000002,
		.upgrade_client = 1,
		.stored = true};

	begin_test("inherit: what is left is taken, and kept open only then");
	for (int i = 0; i < (int)KEPT_MAX; i++)
		before.kept[i] = i % 5 ? 2000000003 + i : -1;
	for (int i = 0; i < 100; i++) { /* as many variables as one likes */
		char name[32];

		snprintf(name, sizeof(name), "VARIABLE%d", i);
		setenv(name, "x", 1);
	}
	take("1,2,3"); /* which is not passed on */
	inherit_leave(&before, "/sbin/it", (char *[]){NULL});
	CHECK(kept_open && !keeps_over_exec(0));
	take(left_text);
	before.resumed = true;
	CHECK(memcmp(&e, &before, sizeof(e)) == 0, "%s", left_text);
	CHECK(!keeps_over_exec(0));
}

static void test_store(void)
{
	begin_test("inherit: names in the service manager's store");
	take(NULL);
	CHECK(!e.resumed && asked_for == 2 + KEPT_MAX - 1);
	CHECK(!strcmp(handed_over[0], "device") && !strcmp(handed_over[1], "state"));
	CHECK(!strcmp(handed_over[2], "socket0") && !strcmp(handed_over[3], "in0") &&
		!strcmp(handed_over[4], "out0") && !strcmp(handed_over[5], "socket1"));
	CHECK(!strcmp(handed_over[asked_for - 1], "out15"), "%s", handed_over[asked_for - 1]);
	for (unsigned i = 0; i < asked_for; i++)
		for (unsigned j = 0; j < i; j++)
			CHECK(strcmp(handed_over[i], handed_over[j]) != 0);
	CHECK(e.device == 100 && e.state == 101 && e.kept[0] == -1 && e.kept[1] == 102 &&
		e.kept[KEPT_MAX - 1] == 100 + (int)asked_for - 1);

	begin_test("inherit: the store gets the device, if there is one, and the memory");
	sends = 0;
	CHECK(inherit_store(&e) && sends == 2 && strstr(sent[0], "FDNAME=device") &&
		strstr(sent[1], "FDNAME=state\nFDPOLL=0 101"));
	sends = 0;
	e.device = -1;
	CHECK(inherit_store(&e) && sends == 1);
	e.state = -1;
	CHECK(!inherit_store(&e) && sends == 1);
}

int main(void)
{
	test_numbers();
	test_many_numbers();
	test_round_trip();
	test_store();
	return finish_tests();
}
