#include "base/stats.h"

const uint16_t stats_read_times[READ_TIMES] = {
	1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000};

struct stats stats;
volatile uint64_t *stats_culls;

void stats_answered(int64_t milliseconds)
{
	unsigned i = 0;

	while (i < READ_TIMES && milliseconds > stats_read_times[i])
		i++;
	stats.read_times[i]++;
	stats.read_milliseconds += (uint64_t)milliseconds;
}
