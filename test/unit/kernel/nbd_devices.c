/* Unit test of nbd_devices.c: identifiers, what is taken over, tables that anybody may have
 * written, and the lines of the control socket. */
#include "test/unit/check.h"
#include "test/unit/kernel/nbd_keeper.h"

static const struct conf no_lines;
static char why[300];
static int none[KEPT_MAX];

static void fresh(void)
{
	for (unsigned n = 0; n < DEVICES_MAX; n++)
		close_descriptors(n);
	fd_close(&netlink);
	fd_close(&dev);
	for (int i = 0; i < DISKS; i++) {
		fd_close(&held[i]);
		disks[i] = (struct disk){.size = "2048"};
	}
	memset(&played_table, 0, sizeof(played_table));
	memset(none, -1, sizeof(none));
	connect_error = reconfigure_error = 0;
	is_dropped = false;
	stored = removed = connects = 0;
	asked = DEVICES_MAX;
}

static bool begin(const struct conf *c)
{
	why[0] = '\0';
	return nbd_begin(c, none, false, why, sizeof(why));
}

/* ---- identifiers ---- */

static void round_trip(const char *name, uint64_t size, uint64_t version)
{
	struct nbd_place *p = &played_table.places[0];
	char out[IDENTIFIER_MAX];
	uint64_t size_read, version_read;

	table = &played_table;
	p->told = size;
	p->version = version;
	snprintf(table->texts[0].name, sizeof(table->texts[0].name), "%s", name);
	identify(out, 0);
	CHECK(strlen(out) < IDENTIFIER_MAX - 1, "%s", out);
	CHECK(!strncmp(out, "cachefilesd-mini:", 17));
	CHECK(parse_identifier(out + 17, &size_read, &version_read) == strlen(name), "%s", out);
	CHECK(size_read == size && version_read == version, "%s", out);
}

static void test_identifiers(void)
{
	static const char *const wrong[] = {"", ":", "a", "a:", "a:1", "a:1.",
		":1.0000000000000000", "a:.0000000000000000", "a:1.000000000000000",
		"a:1.00000000000000000", "a:1.000000000000000g", "a:1.0000000000000000 ",
		"a:-1.0000000000000000", "a: 1.0000000000000000", "a:1:0000000000000000",
		"a:1.0000000000000000:", "a:9223372036854775808.0000000000000000",
		"a:1.-000000000000001"};
	uint64_t size, version;
	char longest[KEY_MAX + 1], text[600];

	begin_test("nbd_devices: an identifier says name, size and version");
	round_trip("img", 1, 0);
	round_trip("a:b.c:1.0123456789abcdef", INT64_MAX, UINT64_MAX);
	round_trip(".", 0, 1);
	round_trip(":::", 4096, 0xfedcba9876543210);
	memset(longest, 'x', KEY_MAX);
	longest[KEY_MAX] = '\0';
	round_trip(longest, INT64_MAX, UINT64_MAX);

	begin_test("nbd_devices: identifiers that are none of ours");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CHECK(parse_identifier(wrong[i], &size, &version) == 0, "%s", wrong[i]);
	snprintf(text, sizeof(text), "x%s:1.0000000000000000", longest);
	CHECK(parse_identifier(text, &size, &version) == 0);
}

/* ---- the start ---- */

static void test_take_over(void)
{
	struct conf c = {.attach = {{"a:b", -1}}, .attaches = 1};

	begin_test("nbd_devices: a device of a line is taken over");
	fresh();
	disks[1].backend = "cachefilesd-mini:a:b:77.000000000000dead";
	disks[0].backend = "cachefilesd-mini:a:77.00000000000000aa"; /* not of a line */
	disks[2].backend = "nbd-server:a:77.0000000000000000";
	disks[3].backend = "cachefilesd-mini:gone:77.000000000000dead"; /* no cache file */
	CHECK(begin(&c), "%s", why);
	CHECK(played_table.places[0].state == NBD_CONNECTED && played_table.places[0].device == 1 &&
		!strcmp(played_table.texts[0].name, "a:b") && played_table.places[0].told == 77 &&
		played_table.places[0].version == 0xdead &&
		played_table.places[0].size == 1048576 && played_table.take_lines);
	CHECK(played_table.places[1].state == NBD_CONNECTED && played_table.places[1].device == 0);
	CHECK(played_table.places[2].state == NBD_FREE && stored == 6);
	CHECK(!strcmp(last_identifier, disks[0].backend), "%s", last_identifier);
	CHECK(count_claimed() == 0);
	disks[1].claimed = true;
	CHECK(count_claimed() == 1);

	begin_test("nbd_devices: another daemon serves it");
	fresh();
	disks[1].backend = "cachefilesd-mini:a:b:77.000000000000aaaa";
	is_dropped = true;
	CHECK(!begin(&c) && strstr(why, "attach a:b: another daemon serves it as /dev/nbd1"), "%s",
		why);
	CHECK(played_table.places[0].state == NBD_FREE && descriptors[0].socket < 0);

	begin_test("nbd_devices: sizes that the kernel would not tell");
	fresh();
	disks[0].backend = "cachefilesd-mini:x:1.0000000000000000";
	disks[0].size = "-5";
	disks[1] =
		(struct disk){"cachefilesd-mini:y:1.0000000000000000", "18014398509481985", false};
	disks[2] = (struct disk){"cachefilesd-mini:z:1.0000000000000000", "", false};
	CHECK(begin(&no_lines) && played_table.places[0].state == NBD_FREE);
}

/* What a service manager or an earlier program gives. */
static void test_kept(void)
{
	int kept[KEPT_MAX];

	begin_test("nbd_devices: a place is what the table says only with its descriptors");
	fresh();
	CHECK(begin(&no_lines));
	leave(kept);
	for (size_t i = 0; i < KEPT_MAX; i++)
		CHECK(kept[i] >= 0);
	nbd_want(0, "img", 1, true);
	played_table.places[0].state = NBD_CONNECTED;
	nbd_want(1, "other", 2, true);
	played_table.places[1].state = NBD_CONNECTED;
	nbd_want(2, "third", 3, true);
	played_table.places[3].state = 12345;
	played_table.places[4].state = NBD_REFUSED;
	fd_close(&kept[1 + 3 * 1 + 2]);
	disks[1].backend = "x";
	CHECK(nbd_begin(&no_lines, kept, true, why, sizeof(why)), "%s", why);
	CHECK(played_table.places[0].state == NBD_CONNECTED && descriptors[0].socket == kept[1]);
	CHECK(descriptors[0].generation == played_table.places[0].generation);
	CHECK(played_table.places[1].state == NBD_FREE);
	CHECK(played_table.places[2].state == NBD_WANTED);
	CHECK(played_table.places[3].state == NBD_FREE && played_table.places[4].state == NBD_FREE);

	begin_test("nbd_devices: only the keeper has the kernel's ends");
	forked();
	CHECK(theirs[2] == -1 && netlink == -1 && descriptors[2].socket >= 0);
}

/* ---- the table ---- */

static void test_hostile_table(void)
{
	char name[KEY_MAX + 10];

	begin_test("nbd_devices: a table that anybody may have written");
	fresh();
	srand(1);
	for (unsigned i = 0; i < 200; i++) {
		unsigned char *bytes = (unsigned char *)&played_table;
		int kept[KEPT_MAX];
		bool reload;

		begin(&no_lines);
		leave(kept);
		for (size_t j = 0; j < sizeof(played_table); j++)
			bytes[j] = (unsigned char)(i < 3 ? (int)i * 127 : rand());
		for (unsigned n = 0; n < DEVICES_MAX; n++)
			if (i % 4) /* a state that there is */
				played_table.places[n].state = (unsigned)rand() % 6;
		CHECK(nbd_begin(&no_lines, kept, true, why, sizeof(why)));
		for (unsigned n = 0; n < DEVICES_MAX; n++) {
			CHECK(played_table.places[n].state <= NBD_CONNECTED);
			CHECK(strlen(played_table.texts[n].name) <= KEY_MAX);
			played_table.places[n].unwanted = false; /* each would take a process */
		}
		look();
		are_settled();
		snprintf(name, sizeof(name), "attach a%u", i);
		obey(name, &reload);
		give_answer();
		give_up();
		fresh();
	}
}

/* ---- the control socket ---- */

static const char *say(const char *line, bool *reload)
{
	char text[600];

	*reload = false;
	snprintf(text, sizeof(text), "%s", line);
	return obey(text, reload);
}

#define CHECK_ANSWER(line, expected)                                                               \
	do {                                                                                       \
		const char *got = say(line, &reload);                                              \
		CHECK(got && !strcmp(got, expected), "%s: %s", line, got ? got : "nothing yet");   \
		CHECK(!reload);                                                                    \
	} while (0)

static void test_lines(void)
{
	bool reload;
	const char *got;

	begin_test("nbd_devices: lines that are wrong");
	fresh();
	CHECK(begin(&no_lines));
	CHECK_ANSWER("front", "ok nbd");
	CHECK_ANSWER("", "no such command");
	CHECK_ANSWER("attach", "no such command");
	CHECK_ANSWER("attach ", "no needs a name");
	CHECK_ANSWER("attach x /dev/sda", "no needs a device");
	CHECK_ANSWER("detach x", "no it is not attached");

	begin_test("nbd_devices: attach: a worker is needed, then the device is told");
	CHECK(!say("attach img", &reload) && reload);
	CHECK(!give_answer() && !are_settled());
	played_table.take_lines = false; /* the worker's */
	played_table.places[0].told = 5;
	played_table.places[0].version = 0xab;
	played_table.places[0].size = 4096;
	played_table.places[0].state = NBD_SIZED;
	CHECK(!give_answer());
	look();
	got = give_answer();
	CHECK(got && !strcmp(got, "ok /dev/nbd2") && !give_answer(), "%s", got);
	CHECK(!strcmp(last_identifier, "cachefilesd-mini:img:5.00000000000000ab"));
	CHECK(stored == 3 && theirs[0] == -1 && are_settled());
	CHECK_ANSWER("attach img", "ok /dev/nbd2");
	CHECK_ANSWER("attach img /dev/nbd2", "ok /dev/nbd2");
	CHECK_ANSWER("attach img /dev/nbd3", "no it is attached as /dev/nbd2");

	begin_test("nbd_devices: detach: not while it is in use");
	disks[2] = (struct disk){last_identifier, "8", true};
	got = say("detach img", &reload);
	CHECK(got && strstr(got, "no /dev/nbd2 is in use: unmount it first"), "%s", got);
	CHECK(count_claimed() == 1 && removed == 0);
	disks[2].claimed = false;
	CHECK(count_claimed() == 0);
	CHECK_ANSWER("detach img", "ok detached");
	CHECK(removed == 3 && played_table.places[0].state == NBD_FREE);
	CHECK(descriptors[0].socket == -1 &&
		descriptors[0].generation != played_table.places[0].generation);
}

static void test_refusals(void)
{
	bool reload;
	const char *got;
	char line[40];

	begin_test("nbd_devices: attach: refused by the kernel, by the server, for the device");
	fresh();
	CHECK(begin(&no_lines));
	disks[1].backend = "someone";
	CHECK(!say("attach img /dev/nbd1", &reload) && reload);
	played_table.places[0].state = NBD_SIZED;
	connect_error = EBUSY;
	look();
	got = give_answer();
	CHECK(got && !strcmp(got, "no /dev/nbd1 is in use (by process 4321)"), "%s", got);
	CHECK(played_table.places[0].state == NBD_FREE);
	CHECK(!say("attach img", &reload));
	played_table.places[0].state = NBD_SIZED;
	connect_error = ENOENT;
	look();
	got = give_answer();
	CHECK(got && strstr(got, "load the module (modprobe nbd)"), "%s", got);
	CHECK(!say("attach img", &reload));
	give_up();
	got = give_answer();
	CHECK(got && !strcmp(got, "no the configuration cannot be read: see the log"), "%s", got);

	begin_test("nbd_devices: attach: another device has the image");
	disks[3].backend = "cachefilesd-mini:img:5.00000000000000ab";
	CHECK(!say("attach img", &reload));
	played_table.places[0].state = NBD_SIZED;
	connects = 0;
	look();
	got = give_answer();
	CHECK(got && strstr(got, "no /dev/nbd3 has it already") && connects == 0, "%s", got);

	begin_test("nbd_devices: attach: all places are taken");
	for (int i = 0; i < DEVICES_MAX; i++) {
		snprintf(line, sizeof(line), "attach x%d", i);
		CHECK(!say(line, &reload) && reload);
	}
	got = say("attach y", &reload);
	CHECK(got && !strncmp(got, "no all places", 13) && !reload, "%s", got);
}

int main(void)
{
	test_identifiers();
	test_take_over();
	test_kept();
	test_hostile_table();
	test_lines();
	test_refusals();
	return finish_tests();
}
