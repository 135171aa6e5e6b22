/* base/units.h - measurements as text for people. Each function returns `out`. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

/* "31.2 MB": a megabyte has 1,000,000 bytes. From kB to TB. */
char *measure_bytes(char out[32], uint64_t bytes);

/* "31.2 MB/s". */
char *measure_rate(char out[32], uint64_t bytes, int64_t microseconds);

/* "0.31 ms", and from a second on "1.25 s". */
char *measure_time(char out[32], int64_t microseconds);

/* "0:02:05": hours, minutes, seconds. */
char *measure_seconds(char out[32], uint64_t seconds);

#endif
