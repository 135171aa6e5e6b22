/* Unit test of nbd.c: requests as the kernel sends them and as it never would, replies byte by
 * byte, and images that open late or not at all. What kills do is nbd_kill.c's. */
#include "test/unit/kernel/nbd_peers.h"

static void step(void)
{
}

/* What both do until all is answered is as it should be. */
static void check_play(void)
{
	begin_worker();
	play();
	CHECK(!kernel->wrong[0], "%s", kernel->wrong);
	CHECK(kernel->answers == kernel->count, "%u of %u", kernel->answers, kernel->count);
	CHECK(shared_table->places[0].reply.slot == NBD_SLOTS);
	for (unsigned i = 0; i < NBD_SLOTS; i++)
		CHECK(!shared_table->slots[0][i].waiting, "%u", i);
	close_image(0);
}

/* Turns until both have nothing to do, or a hundred. */
static void go_on(void)
{
	for (unsigned i = 0; i < 100; i++) {
		bool some = kernel_turn();

		if (!worker_turn() && !some)
			break;
	}
	CHECK(!kernel->wrong[0], "%s", kernel->wrong);
}

static void ask_many(unsigned count)
{
	static const uint32_t lengths[] = {512, 4096, 131072, 1024, 4608, 132096, 8192, 3584};

	for (unsigned i = 0; i < count; i++)
		ask(i * UINT64_C(17920) % (DEVICE_SIZE - 132096) / 512 * 512, lengths[i % 8]);
}

static void test_requests(void)
{
	static const enum when all[] = {AT_ONCE, LATER, ONE_EACH_TIME};

	for (unsigned i = 0; i < 3; i++) {
		begin_test(i == 0   ? "nbd: READs that end at once"
			   : i == 1 ? "nbd: READs that end later"
				    : "nbd: READs that end one by one, the newest first");
		begin_world(0);
		opens = i == 0 ? AT_ONCE : LATER;
		reads = all[i];
		ask_many(60);
		check_play();
	}

	begin_test("nbd: as many requests as the kernel has tags, again and again");
	begin_world(0);
	ask_many(500);
	check_play();

	begin_test("nbd: requests and replies in pieces");
	begin_world(4608);
	ask_many(30);
	kernel->in_halves = true;
	kernel->gulp = 700;
	piece = 333;
	check_play();

	begin_test("nbd: fetch.h takes few READs at a time");
	begin_world(0);
	capacity.reads = 3;
	ask_many(100);
	check_play();
	capacity.reads = 1000;

	begin_test("nbd: a reply that is larger than the pipe");
	begin_world(0);
	ask(512, 3 << 20);
	check_play();
}

/* The error for it is exact, and its neighbours get their data. */
static void check_refused(const char *name, uint64_t from, uint32_t length)
{
	begin_test(name);
	begin_world(0);
	ask(0, 512);
	ask(from, length)->fails = true;
	ask(4096, 512);
	check_play();
}

static void test_errors(void)
{
	check_refused("nbd: no bytes", 0, 0);
	check_refused("nbd: behind the end", DEVICE_SIZE, 512);
	check_refused("nbd: across the end", DEVICE_SIZE - 512, 1024);
	check_refused("nbd: far behind the end", UINT64_MAX - 511, 512);
	check_refused("nbd: a sum that overflows", UINT64_MAX, 2);
	check_refused("nbd: more than there is", 0, UINT32_MAX);

	begin_test("nbd: the last byte, which is behind the image");
	begin_world(0);
	ask(DEVICE_SIZE - 1, 1);
	ask(IMAGE_SIZE - 1, 2);
	check_play();

	begin_test("nbd: types that a device which is read-only has not");
	begin_world(0);
	ask(0, 512);
	for (unsigned type = 3; type < 8; type++) {
		struct asked *a = ask(0, 512);

		a->type = type;
		a->fails = true;
	}
	ask(0, 512)->type = 1u << 16; /* a flag */
	check_play();

	begin_test("nbd: READs that fail");
	begin_world(0);
	reads_fail = true;
	ask(0, 512)->fails = true;
	ask(0, 131072)->fails = true;
	check_play();

	begin_test("nbd: an image that cannot be opened any more");
	begin_world(0);
	open_outcome = OUTCOME_UNREACHABLE;
	ask(0, 512)->fails = true;
	check_play();
	CHECK(!strncmp(shared_table->texts[0].why, "the server: it is gone (", 24));

	begin_test("nbd: what is cached of an image that cannot be opened any more");
	for (int refused = 0; refused < 2; refused++) {
		begin_world(0);
		is_live = true;
		opens = refused ? LATER : NEVER;
		open_outcome = OUTCOME_UNVERIFIED;
		begin_worker();
		CHECK(pwrite(cache_file, content, 65536, 0) == 65536);
		ask(0, 512);
		ask(4096, 61440);
		ask(61440, 8192)->fails = true;
		ask(8192, 512);
		go_on();
		CHECK(kernel->answers == (refused ? 4 : 3) && reads_begun == 0);
		if (!refused)
			end_open(0);
		go_on();
		ask(0, 65536);
		go_on();
		CHECK(kernel->answers == 5 && reads_begun == 0);
		open_outcome = OUTCOME_OK;
		open_image(0, turn.ms);
		end_open(0);
		ask(61440, 8192);
		reads = LATER;
		play();
		CHECK(kernel->answers == 6, "%u", kernel->answers);
		CHECK(!kernel->wrong[0], "%s", kernel->wrong);
		close_image(0);
	}
}

/* What ends the service of a device: `bytes` are the kernel's, of a socket that then goes on. */
static void check_end(const void *bytes, size_t size, const char *says)
{
	begin_world(0);
	begin_worker();
	ask(0, 512);
	go_on();
	CHECK(kernel->answers == 1);
	logged[0] = '\0';
	CHECK(send(kernels_end, bytes, size, 0) == (ssize_t)size);
	ask(512, 512)->may_fail = true;
	go_on();
	CHECK(strstr(logged, "/dev/nbd5") && strstr(logged, says), "%s", logged);
	CHECK(kernel->answers == 1 && nbd_devices[0].ended);
	close_image(0);
}

static void test_ends(void)
{
	const uint32_t good[7] = {htonl(0x25609513), 0, 1, 2, 0, 0, htonl(512)};
	uint32_t bytes[7];

	begin_test("nbd: bad magic");
	memcpy(bytes, good, 28);
	bytes[0] = 0x25609513 ^ 1;
	check_end(bytes, 28, "makes no sense");
	begin_test("nbd: WRITE");
	memcpy(bytes, good, 28);
	bytes[1] = htonl(1);
	check_end(bytes, 28, "makes no sense");

	begin_test("nbd: DISC, and the kernel closes its socket: the keeper looks");
	begin_world(0);
	begin_worker();
	ask(0, 512);
	go_on();
	bytes[1] = htonl(2);
	CHECK(send(kernels_end, bytes, 28, 0) == 28);
	go_on();
	CHECK(!nbd_devices[0].ended);
	words = 0;
	logged[0] = '\0';
	shutdown(kernels_end, SHUT_RDWR);
	go_on();
	CHECK(nbd_devices[0].ended && words == 1 && !logged[0], "%s", logged);
	close_image(0);
}

static void test_partial(void)
{
	const uint32_t bytes[7] = {htonl(0x25609513), 0, 1, 2, 0, 0, htonl(512)};

	begin_test("nbd: half a header waits for the other half, and takes no time meanwhile");
	begin_world(0);
	begin_worker();
	go_on();
	CHECK(send(kernels_end, bytes, 13, 0) == 13);
	worker_turn();
	CHECK(nbd_devices[0].partial && next_time() == turn.ms + LOOK_AGAIN);
	CHECK(send(kernels_end, (const char *)bytes + 13, 15, 0) == 15);
	worker_turn();
	CHECK(!nbd_devices[0].partial && reads_begun == 1);
	close_image(0);

	begin_test("nbd: more requests than the kernel has tags wait");
	begin_world(0);
	reads = NEVER;
	begin_worker();
	ask_many(129);
	kernel->depth = 1000;
	go_on();
	CHECK(nbd_devices[0].partial && next_time() == turn.ms + LOOK_AGAIN && reads_begun == 128);
	reads = LATER;
	play();
	CHECK(!kernel->wrong[0] && kernel->answers == 129, "%s", kernel->wrong);
	close_image(0);

	begin_test("nbd: a handle that waits already is the same request");
	begin_world(0);
	reads = NEVER;
	begin_worker();
	go_on();
	CHECK(send(kernels_end, bytes, 28, 0) == 28 && send(kernels_end, bytes, 28, 0) == 28);
	go_on();
	CHECK(reads_begun == 1);
	close_image(0);
}

/* ---- a device that is not there yet ---- */

static void test_opens(void)
{
	struct nbd_place *p;

	begin_test("nbd: an image gives the device its size, and both ends are fetched");
	begin_world(0);
	p = &shared_table->places[0];
	p->state = NBD_WANTED;
	p->size = p->version = 0;
	words = 0;
	opens = NEVER; /* a server has to be asked */
	begin_worker();
	opens = LATER;
	for (int i = 0; i < 5; i++)
		worker_turn();
	CHECK(p->state == NBD_SIZED && p->size == DEVICE_SIZE && p->version == IMAGE_SIZE + 1 &&
		p->told == IMAGE_SIZE + 77 && !p->waits && words > 0);
	CHECK(reads_begun > 10 && !nbd_has_hole(0, 64 << 10, 176 << 10) &&
		!nbd_has_hole(0, DEVICE_SIZE - 8192, DEVICE_SIZE) &&
		nbd_has_hole(0, 0, DEVICE_SIZE));

	begin_test("nbd: the file system is asked once how far the data go");
	fill_cache(0, IMAGE_SIZE);
	nbd_forget_holes();
	holes_asked = 0;
	for (uint64_t at = 0, n = 0; n < 50; n++, at = (at + 7 * 4096) % (IMAGE_SIZE / 2))
		CHECK(!nbd_has_hole(0, at, at + 4096));
	CHECK(!nbd_has_hole(0, 0, DEVICE_SIZE) && holes_asked == 1, "%u", holes_asked);
	close_image(0);

	begin_test("nbd: a server that does not answer is told after a while");
	begin_world(0);
	p->state = NBD_WANTED;
	opens = NEVER;
	words = 0;
	begin_worker();
	CHECK(next_time() <= turn.ms + WAIT_TIME && !p->waits);
	for (int i = 0; i < 5; i++)
		worker_turn();
	CHECK(p->waits && words > 0 && p->state == NBD_WANTED);
	close_image(0);

	begin_test("nbd: one that a person has asked for is given up");
	begin_world(0);
	p->state = NBD_WANTED;
	p->configured = false;
	open_outcome = OUTCOME_NOT_FOUND;
	begin_worker();
	worker_turn();
	CHECK(p->state == NBD_REFUSED && strstr(shared_table->texts[0].why, "it is gone"));
	close_image(0);

	begin_test("nbd: no cache file");
	begin_world(0);
	p->state = NBD_WANTED;
	no_store = true;
	begin_worker();
	for (int i = 0; i < 3; i++)
		worker_turn();
	CHECK(p->state == NBD_WANTED && p->waits && strstr(shared_table->texts[0].why, "No space"));
	CHECK(next_time() == INT64_MAX || next_time() > turn.ms);
}

/* What has opened is of no use to what the place is for by now. */
static void check_late(const char *name, enum outcome outcome)
{
	struct nbd_place *p, before;

	begin_test(name);
	begin_world(0);
	p = &shared_table->places[0];
	p->state = NBD_WANTED;
	p->size = p->version = 0;
	opens = NEVER;
	begin_worker();
	p->generation++;
	nbd_want(0, "another", 6, false);
	before = *p;
	words = 0;
	open_outcome = outcome;
	end_open(0);
	CHECK(memcmp(p, &before, sizeof(before)) == 0 && !shared_table->texts[0].why[0]);
	CHECK(words == 0 && nbd_devices[0].used == !outcome);
	worker_turn();
	CHECK(memcmp(p, &before, sizeof(before)) == 0 && !nbd_devices[0].used);
}

/* The keeper takes a place away while a worker is about to say that its image is open. */
static void check_released(const char *name, enum nbd_state state)
{
	struct nbd_place *p;

	begin_test(name);
	begin_world(0);
	p = &shared_table->places[0];
	p->state = state;
	opens = NEVER;
	begin_worker();
	words = open_files = 0;
	releases = true;
	end_open(0);
	releases = false;
	CHECK(p->state == NBD_FREE && words == 0 && open_files == 0);
	look_after(0, turn.ms);
	CHECK(p->state == NBD_FREE && !nbd_devices[0].used);
}

static void test_late_opens(void)
{
	check_released("nbd: a place is released while its image opens", NBD_WANTED);
	check_released("nbd: a device is detached while a new worker opens it", NBD_CONNECTED);
	check_late("nbd: an image opens when its place is another's", OUTCOME_OK);
	check_late("nbd: an image cannot be opened when its place is another's", OUTCOME_NOT_FOUND);
}

/* Bytes that anybody may have written. */
static void test_hostile_table(void)
{
	begin_test("nbd: a table that anybody may have written");
	srand(1);
	for (unsigned i = 0; i < 300; i++) {
		struct nbd_place *p;
		struct nbd_slot *s;

		begin_world(0);
		p = &shared_table->places[0];
		s = shared_table->slots[0];
		for (size_t j = 0; j < sizeof(*p); j++)
			((unsigned char *)p)[j] = (unsigned char)(rand() >> 5);
		for (size_t j = 0; j < sizeof(*s) * NBD_SLOTS; j++)
			((unsigned char *)s)[j] = (unsigned char)(rand() >> 5);
		p->state = NBD_CONNECTED; /* what check_place() leaves */
		p->generation = 0;
		p->version = IMAGE_SIZE + 1;
		p->size = DEVICE_SIZE;
		strcpy(shared_table->texts[0].name, "img");
		if (i % 2)
			p->reply.slot %= NBD_SLOTS + 1;
		if (i % 3)
			p->reply.phase %= 4;
		for (unsigned j = 0; j < NBD_SLOTS; j++) {
			if (i % 5)
				s[j].waiting = 0;
			else if (s[j].length) /* fetch.h checks it */
				s[j].from = s[j].length = 0;
		}
		begin_worker();
		for (int j = 0; j < 20; j++)
			worker_turn();
		close_image(0);
	}
}

static void test_slow_disk(void)
{
	begin_test("nbd: a small READ of what a slow disk has: the disk is told to bring it");
	begin_world(0);
	opens = reads = AT_ONCE;
	ask(8192, 4096);
	disk = ASLEEP;
	slow_until = INT64_MAX;
	check_play();
	CHECK(disk == AWAKE);
	disk = NO_DISK;
	slow_until = 0;
}

int main(void)
{
	test_requests();
	test_errors();
	test_ends();
	test_partial();
	test_opens();
	test_late_opens();
	test_hostile_table();
	test_slow_disk();
	return finish_tests();
}
