/* Unit tests of bandwidth.c: against a simulated way to a server, and with numbers that no way has.
 */
#include "test/unit/check.h"

#include "fetch/bandwidth.c"

#define REQUESTS 4096
#define MS	 1000

static void start(void)
{
	rate = RATE_FIRST;
	measured = false;
	steady = 0;
	least[0] = least[1] = epoch_began = 0;
	memset(&sample, 0, sizeof(sample));
}

/* ---- a server behind a link, which answers requests in their order ---- */

static struct {
	double bytes_a_second;
	int64_t round_trip;
	struct {
		int64_t asked;
		uint64_t size, left;
		bool alone, begun;
	} queue[REQUESTS];
	unsigned first, last;
	uint64_t outstanding, received;
	double credit;	   /* bytes that the link could have carried by now */
	int64_t now, step; /* microseconds */
} sim;

static void simulate(double megabits, int64_t round_trip_us)
{
	memset(&sim, 0, sizeof(sim));
	sim.now = 1000000;
	sim.bytes_a_second = megabits * 1e6 / 8;
	sim.round_trip = round_trip_us;
	sim.step = round_trip_us < 10 * MS ? MS / 10 : MS;
}

static void request(uint64_t size)
{
	unsigned i = sim.last++ % REQUESTS;

	sim.queue[i].asked = sim.now;
	sim.queue[i].size = sim.queue[i].left = size;
	sim.queue[i].alone = sim.outstanding == 0;
	sim.queue[i].begun = false;
	sim.outstanding += size;
}

/* One step of time: what arrives in it is told to bandwidth.c. */
static void step(void)
{
	sim.now += sim.step;
	sim.credit += sim.bytes_a_second * (double)sim.step / 1e6;
	while (sim.first != sim.last) {
		unsigned i = sim.first % REQUESTS;
		uint64_t n = sim.queue[i].left;

		if (sim.now < sim.queue[i].asked + sim.round_trip)
			break;
		if (!sim.queue[i].begun && sim.queue[i].alone)
			bandwidth_rtt_seen(sim.now - sim.queue[i].asked, sim.now);
		if (!sim.queue[i].begun && sim.queue[i].alone)
			sim.credit = sim.bytes_a_second * (double)sim.step / 1e6; /* it was idle */
		sim.queue[i].begun = true;
		if ((double)n > sim.credit)
			n = (uint64_t)sim.credit;
		sim.credit -= (double)n;
		sim.queue[i].left -= n;
		sim.outstanding -= n;
		sim.received += n;
		if (n > 0)
			bandwidth_received(n, sim.outstanding, sim.now);
		if (sim.queue[i].left > 0)
			return;
		if (sim.queue[i].alone && sim.outstanding == 0)
			bandwidth_answered(sim.queue[i].size, sim.now - sim.queue[i].asked);
		sim.first++;
	}
	sim.credit = 0; /* the link has nothing to carry */
}

/* As prefetch.c does when a file is fetched in the background. */
static void fill_for(int64_t milliseconds)
{
	for (int64_t end = sim.now + milliseconds * MS; sim.now < end;) {
		while (sim.outstanding < bandwidth_window(QUEUE_LONG))
			request(bandwidth_piece());
		step();
	}
}

static void drain(void)
{
	while (sim.outstanding > 0)
		step();
}

/* READs, one when the one before is answered, `pause` milliseconds between them. */
static void read_alone(unsigned count, uint64_t size, int64_t pause)
{
	for (unsigned i = 0; i < count; i++) {
		request(size);
		drain();
		for (int64_t end = sim.now + pause * MS; sim.now < end;)
			step();
	}
}

/* What the window is to be on this link. */
static double window_of(double megabits, int64_t round_trip_us)
{
	double n = megabits * 1e6 / 8 * ((double)round_trip_us / 1e6 + QUEUE_LONG / 1e3);

	return n < 32 << 10 ? 32 << 10 : n > 16 << 20 ? 16 << 20 : n;
}

static bool is_about(double have, double want, double factor)
{
	return have <= want * factor && have >= want / factor;
}

static const struct {
	const char *name;
	double megabits;
	int64_t round_trip;
} links[] = {
	{"1 Mbit/s, 100 ms", 1, 100 * MS},
	{"8 Mbit/s, 50 ms", 8, 50 * MS},
	{"20 Mbit/s, 100 ms", 20, 100 * MS},
	{"100 Mbit/s, 20 ms", 100, 20 * MS},
	{"100 Mbit/s, 200 ms", 100, 200 * MS},
	{"1 Gbit/s, 2 ms", 1000, 2 * MS},
};
#define LINKS (sizeof(links) / sizeof(links[0]))

static void check_bounds(void)
{
	uint64_t window = bandwidth_window(QUEUE_LONG), piece = bandwidth_piece(),
		 trip = bandwidth_per_rtt();

	CHECK(window >= 32 << 10 && window <= 16 << 20, "%llu", (unsigned long long)window);
	CHECK(bandwidth_window(QUEUE_SHORT) >= 32 << 10 && bandwidth_window(QUEUE_SHORT) <= window);
	CHECK(trip >= 16 << 10 && trip <= 1 << 20, "%llu", (unsigned long long)trip);
	CHECK(piece >= 16 << 10 && piece <= 1 << 20 && piece <= window, "%llu of %llu",
		(unsigned long long)piece, (unsigned long long)window);
}

static void test_first(void)
{
	begin_test("bandwidth: before anything is measured, a slow link is assumed");
	start();
	check_bounds();
	CHECK(bandwidth_window(QUEUE_LONG) <= 64 << 10, "%llu",
		(unsigned long long)bandwidth_window(QUEUE_LONG));
	CHECK(bandwidth_per_rtt() <= 64 << 10);
}

static void test_converges(void)
{
	for (size_t i = 0; i < LINKS; i++) {
		static char name[100];
		double want = window_of(links[i].megabits, links[i].round_trip);

		end_test(); /* its name is written over */
		snprintf(name, sizeof(name), "bandwidth: the window of %s is found", links[i].name);
		begin_test(name);
		start();
		simulate(links[i].megabits, links[i].round_trip);
		read_alone(1, 4096, 0);
		fill_for(10000);
		check_bounds();
		CHECK(is_about((double)bandwidth_window(QUEUE_LONG), want, 1.4), "%llu, not %.0f",
			(unsigned long long)bandwidth_window(QUEUE_LONG), want);
		/* The link was never idle for long. */
		CHECK((double)sim.received > sim.bytes_a_second * 10 * 0.6, "%.0f of %.0f",
			(double)sim.received, sim.bytes_a_second * 10);
		/* So nobody who comes to wait now waits for long. */
		CHECK((double)sim.outstanding / sim.bytes_a_second <
				(double)links[i].round_trip / 1e6 + 2 * QUEUE_LONG / 1e3 + 0.3,
			"%llu outstanding", (unsigned long long)sim.outstanding);
	}
}

static void test_starting(void)
{
	begin_test("bandwidth: it is starting until the rate is found, whatever comes before that");
	for (size_t i = 0; i < LINKS; i++) {
		start();
		simulate(links[i].megabits, links[i].round_trip);
		read_alone(20, 4096, 5);
		CHECK(bandwidth_is_starting(), "%s", links[i].name);
		CHECK(rate >= RATE_FIRST / 2 || (double)rate >= sim.bytes_a_second / 2,
			"%s: small READs made it %llu bytes/s", links[i].name,
			(unsigned long long)rate);
		fill_for(10000);
		CHECK(!bandwidth_is_starting(), "%s", links[i].name);
	}
}

static void test_changes(void)
{
	begin_test("bandwidth: one that becomes slower, or faster, is followed");
	for (size_t i = 0; i < LINKS; i++)
		for (size_t j = 0; j < LINKS; j++) {
			double want = window_of(links[j].megabits, links[j].round_trip);

			if (links[i].round_trip != links[j].round_trip)
				continue;
			start();
			simulate(links[i].megabits, links[i].round_trip);
			read_alone(1, 4096, 0);
			fill_for(5000);
			sim.bytes_a_second = links[j].megabits * 1e6 / 8;
			fill_for(60000);
			CHECK(is_about((double)bandwidth_window(QUEUE_LONG), want, 1.4),
				"%s, then %s: %llu, not %.0f", links[i].name, links[j].name,
				(unsigned long long)bandwidth_window(QUEUE_LONG), want);
		}
	for (int down = 0; down < 2; down++) {
		start();
		simulate(down ? 100 : 2, 30 * MS);
		read_alone(1, 4096, 0);
		fill_for(5000);
		sim.bytes_a_second = (down ? 2 : 100) * 1e6 / 8;
		fill_for(60000);
		CHECK(is_about((double)bandwidth_window(QUEUE_LONG),
			      window_of(down ? 2 : 100, 30 * MS), 1.4),
			"%s: %llu", down ? "down" : "up",
			(unsigned long long)bandwidth_window(QUEUE_LONG));
	}

	begin_test("bandwidth: a round trip that becomes longer is followed when it is seen");
	start();
	simulate(50, 10 * MS);
	read_alone(20, 4096, 100);
	sim.round_trip = 100 * MS;
	read_alone(200, 4096, 100);
	fill_for(10000);
	CHECK(is_about((double)bandwidth_window(QUEUE_LONG), window_of(50, 100 * MS), 1.5),
		"%llu, not %.0f", (unsigned long long)bandwidth_window(QUEUE_LONG),
		window_of(50, 100 * MS));
	sim.round_trip = 10 * MS;
	drain();
	read_alone(2, 4096, 100);
	CHECK(is_about((double)bandwidth_window(QUEUE_LONG), window_of(50, 10 * MS), 1.5),
		"%llu, not %.0f", (unsigned long long)bandwidth_window(QUEUE_LONG),
		window_of(50, 10 * MS));
}

static void test_gaps(void)
{
	for (size_t i = 0; i < LINKS; i++) {
		static char name[100];
		double want = window_of(links[i].megabits, links[i].round_trip);

		end_test(); /* its name is written over */
		snprintf(name, sizeof(name), "bandwidth: idle times do not change it: %s",
			links[i].name);
		begin_test(name);
		start();
		simulate(links[i].megabits, links[i].round_trip);
		read_alone(1, 4096, 0);
		fill_for(5000);
		for (int n = 0; n < 50; n++) {
			drain();
			for (int64_t end = sim.now + (n % 10) * 37 * MS; sim.now < end;)
				step();
			fill_for(n % 7 * 40);
		}
		CHECK(is_about((double)bandwidth_window(QUEUE_LONG), want, 1.5), "%llu, not %.0f",
			(unsigned long long)bandwidth_window(QUEUE_LONG), want);
		drain();
		sim.now += (int64_t)3600 * 1000000; /* an hour */
		fill_for(2000);
		CHECK(is_about((double)bandwidth_window(QUEUE_LONG), want, 1.5),
			"%llu, not %.0f, after an hour",
			(unsigned long long)bandwidth_window(QUEUE_LONG), want);
	}
}

/* What is known from them is rough; it must not be absurd. */
static void test_small(void)
{
	for (size_t i = 0; i < LINKS; i++) {
		static char name[100];
		double want = window_of(links[i].megabits, links[i].round_trip), first;

		end_test(); /* its name is written over */
		snprintf(name, sizeof(name), "bandwidth: only small answers: %s", links[i].name);
		begin_test(name);
		start();
		simulate(links[i].megabits, links[i].round_trip);
		read_alone(300, 4096, 5);
		check_bounds();
		/* They may be too short to tell less than what was assumed at first. */
		first = (double)RATE_FIRST * ((double)links[i].round_trip / 1e6 + QUEUE_LONG / 1e3);
		CHECK((double)bandwidth_window(QUEUE_LONG) <= want * 1.5 ||
				(double)bandwidth_window(QUEUE_LONG) <= first * 1.1,
			"of 4 KiB: %llu, not %.0f",
			(unsigned long long)bandwidth_window(QUEUE_LONG), want);
		read_alone(300, 128 << 10, 5);
		check_bounds();
		CHECK(is_about((double)bandwidth_window(QUEUE_LONG), want, 3.5),
			"of 128 KiB: %llu, not %.0f",
			(unsigned long long)bandwidth_window(QUEUE_LONG), want);
	}
	begin_test("bandwidth: a slow link is not kept for fast after answers out of a buffer");
	start();
	simulate(4, 60 * MS);
	read_alone(1, 4096, 0);
	for (int n = 0; n < 3; n++) { /* 200 KB in a millisecond, after a rest */
		bandwidth_received(100000, 100000, sim.now += 500 * MS);
		bandwidth_received(100000, 0, sim.now += MS);
	}
	CHECK((double)bandwidth_window(QUEUE_LONG) < 2 * window_of(4, 60 * MS), "%llu",
		(unsigned long long)bandwidth_window(QUEUE_LONG));
	fill_for(30000);
	CHECK(is_about((double)bandwidth_window(QUEUE_LONG), window_of(4, 60 * MS), 1.4), "%llu",
		(unsigned long long)bandwidth_window(QUEUE_LONG));
}

/* The server is near, and the daemon slow to look: a turn of its loop gets all that it had asked
 * for. */
static void test_bursts(void)
{
	begin_test("bandwidth: whole windows that come at once make it grow as well");
	start();
	simulate(1000, 2 * MS);
	sim.step = 3 * MS;
	read_alone(1, 4096, 0);
	fill_for(10000);
	CHECK((double)bandwidth_window(QUEUE_LONG) > window_of(1000, 2 * MS) / 4, "%llu, not %.0f",
		(unsigned long long)bandwidth_window(QUEUE_LONG), window_of(1000, 2 * MS));
}

/* All that is asked for comes within a round trip, before more is: a reader that waits for each
 * piece.
 */
static void test_short_way(void)
{
	begin_test("bandwidth: a short way is measured over many of its round trips");
	start();
	simulate(1000, 2 * MS);
	for (unsigned i = 0; i < 500; i++) {
		request(16 << 10);
		request(16 << 10);
		drain();
	}
	CHECK((double)bandwidth_window(QUEUE_LONG) > window_of(100, 2 * MS), "%llu",
		(unsigned long long)bandwidth_window(QUEUE_LONG));
}

static const int64_t numbers[] = {
	0, 1, 7, 8, 9, 999, 20000, 100001, INT32_MAX, (int64_t)1 << 50, INT64_MAX / 4};
static const uint64_t sizes[] = {
	0, 1, 4096, UINT32_MAX, (uint64_t)1 << 44, (uint64_t)1 << 50, UINT64_MAX / 2, UINT64_MAX};

/* Each number with each size, alone. */
static void try_pairs(void)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			int64_t n = numbers[i];
			uint64_t size = sizes[j];

			start();
			bandwidth_answered(size, n);
			check_bounds();
			bandwidth_rtt_seen(n, n);
			check_bounds();
			bandwidth_answered(size, n);
			check_bounds();
			bandwidth_received(size, size, n);
			bandwidth_received(size, UINT64_MAX, n + 1);
			bandwidth_received(size, 0, n + 1);
			bandwidth_received(size, size, n + 30 * MS);
			bandwidth_received(size, size, n + 60 * MS);
			check_bounds();
		}
}

/* All of them behind each other, in an order of no sense. */
static void try_rows(void)
{
	unsigned seed = 1;

	start();
	for (int n = 0; n < 20000; n++) {
		int64_t a;
		uint64_t b;

		seed = seed * 1103515245 + 12345;
		a = numbers[seed / 65536 % (sizeof(numbers) / sizeof(numbers[0]))];
		seed = seed * 1103515245 + 12345;
		b = sizes[seed / 65536 % (sizeof(sizes) / sizeof(sizes[0]))];
		switch (seed / 65536 % 3) {
		case 0:
			bandwidth_rtt_seen(a, a);
			break;
		case 1:
			bandwidth_answered(b, a);
			break;
		default:
			bandwidth_received(b, b / 2, n * (int64_t)7000);
		}
		check_bounds();
	}
}

static void test_absurd(void)
{
	begin_test("bandwidth: numbers that no link has do no harm");
	try_pairs();
	try_rows();

	begin_test("bandwidth: and it finds the right window again after them");
	simulate(20, 50 * MS);
	sim.now = INT64_MAX / 2;
	read_alone(3, 4096, 6000);
	fill_for(120000);
	CHECK(is_about((double)bandwidth_window(QUEUE_LONG), window_of(20, 50 * MS), 1.5),
		"%llu, not %.0f", (unsigned long long)bandwidth_window(QUEUE_LONG),
		window_of(20, 50 * MS));
}

static void test_nothing(void)
{
	begin_test("bandwidth: nothing that comes leaves the window where it is, or at its least");
	start();
	for (int n = 0; n < 1000; n++)
		bandwidth_received(0, 0, n * (int64_t)50000);
	check_bounds();
	for (int n = 0; n < 1000; n++)
		bandwidth_received(0, 1 << 30, (1000 + n) * (int64_t)50000);
	check_bounds();
	simulate(20, 50 * MS);
	sim.now = 200 * 1000000;
	read_alone(1, 4096, 0);
	fill_for(10000);
	CHECK(is_about((double)bandwidth_window(QUEUE_LONG), window_of(20, 50 * MS), 1.4),
		"%llu, not %.0f", (unsigned long long)bandwidth_window(QUEUE_LONG),
		window_of(20, 50 * MS));
}

int main(void)
{
	test_first();
	test_converges();
	test_starting();
	test_changes();
	test_gaps();
	test_small();
	test_bursts();
	test_short_way();
	test_absurd();
	test_nothing();
	return finish_tests();
}
