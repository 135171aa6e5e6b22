/* base/minmax.h - the smaller and the larger of two numbers, and one kept within bounds. */
#ifndef BASE_MINMAX_H
#define BASE_MINMAX_H

#include <stdint.h>

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The number of [least, most] that is next to `n`; `least` where the range is empty. */
static inline uint64_t clamp_u64(uint64_t n, uint64_t least, uint64_t most)
{
	return n < least ? least : min_u64(n, most);
}

#endif
