#include "base/units.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/minmax.h"

char *measure_bytes(char out[32], uint64_t bytes)
{
	static const char units[] = "kMGT";
	unsigned unit = 0;

	for (; bytes >= 1000000 && unit < 3; unit++)
		bytes /= 1000;
	snprintf(out, 32, "%llu.%llu %cB", (unsigned long long)bytes / 1000,
		(unsigned long long)bytes / 100 % 10, units[unit]);
	return out;
}

char *measure_rate(char out[32], uint64_t bytes, int64_t microseconds)
{
	bytes = min_u64(bytes, UINT64_MAX / 1000000) * 1000000;
	measure_bytes(out, bytes / ((uint64_t)microseconds + 1));
	return strcat(out, "/s");
}

char *measure_time(char out[32], int64_t microseconds)
{
	bool long_time = microseconds >= 1000000;
	long long hundredths = microseconds / (long_time ? 10000 : 10);

	snprintf(out, 32, "%lld.%02lld %s", hundredths / 100, hundredths % 100,
		long_time ? "s" : "ms");
	return out;
}

char *measure_seconds(char out[32], uint64_t seconds)
{
	snprintf(out, 32, "%llu:%02u:%02u", (unsigned long long)seconds / 3600,
		(unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60));
	return out;
}
