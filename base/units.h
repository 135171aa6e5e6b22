/* base/units.h - measurements as text for people. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>
#include <stdio.h>

/* Writes "31.2 MB/s": a megabyte has 1,000,000 bytes. Returns `out`. */
static inline const char *measure_rate(char out[32], uint64_t bytes, int64_t microseconds)
{
	uint64_t kilobytes = bytes * 1000 / (uint64_t)(microseconds + 1);

	snprintf(out, 32, "%llu.%llu MB/s", (unsigned long long)kilobytes / 1000,
		(unsigned long long)kilobytes / 100 % 10);
	return out;
}

/* Writes "0.31 ms". Returns `out`. */
static inline const char *measure_time(char out[32], int64_t microseconds)
{
	snprintf(out, 32, "%lld.%02lld ms", (long long)microseconds / 1000,
		(long long)microseconds / 10 % 100);
	return out;
}

#endif
