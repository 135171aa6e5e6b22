/* origins.c - unit tests of what is remembered of servers. */
#include "trust/origins.c"

#include "test/unit/check.h"

/* Some hash of a name and port; its lowest bits do not count. */
static uint64_t origin(uint64_t n)
{
	return (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void test_states(void)
{
	uint64_t o = origin(0);

	begin_test("origins: an origin is unknown until it is set, and after it is set so");
	CHECK(origin_state(o) == ORIGIN_UNKNOWN);
	origin_set(o, ORIGIN_UNKNOWN);
	CHECK(origin_state(o) == ORIGIN_UNKNOWN);
	origin_set(o, ORIGIN_NEWER);
	CHECK(origin_state(o) == ORIGIN_NEWER && origin_state(o ^ 3) == ORIGIN_NEWER);
	CHECK(origin_state(origin(1)) == ORIGIN_UNKNOWN);
	origin_set(o, ORIGIN_DOUBTED);
	CHECK(origin_state(o) == ORIGIN_DOUBTED);
	origin_set(o, ORIGIN_NEWER);
	CHECK(origin_state(o) == ORIGIN_NEWER);
	origin_set(o, ORIGIN_UNKNOWN);
	CHECK(origin_state(o) == ORIGIN_UNKNOWN);
}

static void test_many(void)
{
	begin_test("origins: as many as there is room for, then the oldest is forgotten");
	for (uint64_t n = 0; n < ORIGINS_MAX; n++)
		origin_set(origin(n), ORIGIN_NEWER);
	for (uint64_t n = 0; n < ORIGINS_MAX; n++)
		CHECK(origin_state(origin(n)) == ORIGIN_NEWER, "%d", (int)n);
	for (uint64_t n = ORIGINS_MAX; n < 3 * ORIGINS_MAX; n++) {
		origin_set(origin(n), ORIGIN_NEWER);
		CHECK(origin_state(origin(n)) == ORIGIN_NEWER, "%d", (int)n);
		CHECK(origin_state(origin(n - ORIGINS_MAX)) == ORIGIN_UNKNOWN, "%d", (int)n);
		CHECK(origin_state(origin(n - ORIGINS_MAX + 1)) == ORIGIN_NEWER, "%d", (int)n);
	}
}

static void test_memory(void)
{
	static volatile uint64_t memory[ORIGINS_MAX];
	uint64_t o = origin(7);

	begin_test("origins: what others have written there is a state, or none");
	for (size_t i = 0; i < ORIGINS_MAX; i++)
		memory[i] = (o & ~(uint64_t)3) | 3;
	origins_keep(memory);
	CHECK(origin_state(o) == ORIGIN_UNKNOWN);
	CHECK(origin_state(0) == ORIGIN_UNKNOWN && origin_state(UINT64_MAX) == ORIGIN_UNKNOWN);
	origin_set(o, ORIGIN_NEWER);
	CHECK(origin_state(o) == ORIGIN_NEWER);
	origin_set(origin(8), ORIGIN_NEWER);
	CHECK(origin_state(origin(8)) == ORIGIN_NEWER);

	begin_test("origins: another memory knows what is in it");
	static volatile uint64_t other[ORIGINS_MAX];

	other[3] = (o & ~(uint64_t)3) | ORIGIN_DOUBTED;
	origins_keep(other);
	CHECK(origin_state(o) == ORIGIN_DOUBTED && origin_state(origin(8)) == ORIGIN_UNKNOWN);
}

int main(void)
{
	test_states();
	test_many();
	test_memory();
	return finish_tests();
}
