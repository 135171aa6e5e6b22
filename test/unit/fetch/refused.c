/* Unit tests of refused.c: when what did not fit may be requested again. */
#include "test/unit/check.h"

#include "fetch/refused.c"

struct turn turn = {.ms = 1000};

int64_t retry_delay(int64_t first, int64_t last, unsigned failures)
{
	int64_t delay = first << (failures - 1);

	return delay < last ? delay : last;
}

static void test_delays(void)
{
	int64_t wanted[] = {0, 200, 400, 800, 1600, 3200, 5000, 5000};

	begin_test("refused: at once the first time, then later and later, up to a bound");
	CHECK(!refused_waits(1, 4096) && refused_next() == INT64_MAX);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		CHECK(refused_add(1, 4096) == turn.ms + wanted[i], "%zu", i);
		CHECK(refused_waits(1, 4096) == (wanted[i] > 0));
		CHECK(refused_next() == (wanted[i] > 0 ? turn.ms + wanted[i] : INT64_MAX));
		CHECK(!refused_waits(1, 0) && !refused_waits(2, 4096) && !refused_waits(1, 4097));
		turn.ms += wanted[i];
		CHECK(!refused_waits(1, 4096) && refused_next() == INT64_MAX);
	}

	begin_test("refused: of several the next one's time; a file's are forgotten with it");
	refused_forget(1);
	CHECK(refused_add(1, 4096) == turn.ms, "it begins anew");
	for (unsigned file = 1; file <= 2; file++) {
		refused_add(file, 8192);
		refused_add(file, 8192);
	}
	refused_add(2, 8192);
	CHECK(refused_next() == turn.ms + 200);
	refused_forget(1);
	CHECK(!refused_waits(1, 8192) && refused_waits(2, 8192));
	CHECK(refused_next() == turn.ms + 400);
	refused_forget(2);
	CHECK(refused_next() == INT64_MAX);
}

static void test_full(void)
{
	begin_test("refused: a full table forgets the one that may be requested first");
	for (unsigned n = 0; n < REFUSED_MAX; n++) {
		refused_add(3, n);
		turn.ms++;
		refused_add(3, n);
	}
	CHECK(refused_waits(3, 0) && refused_waits(3, REFUSED_MAX - 1));
	refused_add(3, REFUSED_MAX);
	CHECK(!refused_waits(3, 0) && refused_waits(3, 1) && refused_waits(3, REFUSED_MAX - 1));
	CHECK(refused_add(3, REFUSED_MAX) > turn.ms, "and keeps the new one");
	refused_forget(3);
}

int main(void)
{
	test_delays();
	test_full();
	return finish_tests();
}
