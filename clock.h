/* clock.h - points in time: monotonic milliseconds, INT64_MAX for never. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

static inline int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

#endif
