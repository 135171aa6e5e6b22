#include "trust/origins.h"

#include <stddef.h>

/* An origin and its state in two bits; 0: the place is free. */
static uint64_t own_origins[ORIGINS_MAX];
static volatile uint64_t *origins = own_origins;
static unsigned next_origin;

static volatile uint64_t *find_origin(uint64_t origin)
{
	for (size_t i = 0; i < ORIGINS_MAX; i++)
		if (origins[i] >> 2 == origin >> 2)
			return &origins[i];
	return NULL;
}

enum origin_state origin_state(uint64_t origin)
{
	volatile uint64_t *place = find_origin(origin);
	unsigned state = place ? *place & 3 : ORIGIN_UNKNOWN;

	return state <= ORIGIN_DOUBTED ? (enum origin_state)state : ORIGIN_UNKNOWN;
}

void origin_set(uint64_t origin, enum origin_state state)
{
	volatile uint64_t *place = find_origin(origin);

	if (!place && state == ORIGIN_UNKNOWN)
		return;
	if (!place)
		place = find_origin(0); /* a free one */
	if (!place)
		place = &origins[next_origin++ % ORIGINS_MAX];
	*place = state == ORIGIN_UNKNOWN ? 0 : (origin & ~(uint64_t)3) | state;
}

void origins_keep(volatile uint64_t *memory)
{
	origins = memory;
}
