/* base/stats.h - the daemon's counters, which the status socket shows: plain increments, no system
 * call. Those of an image are in image.h, those of a mirror in mirror.h. */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stdint.h>

/* Classes of the histogram of READs, by upper end in milliseconds; one more has the rest. */
#define READ_TIMES 15
extern const uint16_t stats_read_times[READ_TIMES];

struct stats {
	/* since the start */
	uint64_t opens, opens_refused;
	uint64_t read_times[READ_TIMES + 1]; /* READs answered with all their bytes, by class */
	uint64_t read_milliseconds;	     /* the time that these took together */
	uint64_t reads_failed;
	uint64_t cache_unfit; /* blocks of the cache that did not fit their image's root hash */
	uint64_t restores;    /* workers that took the cache over from the one before */

	/* images removed from the cache: set from stats_culls when a client connects */
	uint64_t culls;

	/* set by status.c when a client connects */
	uint64_t uptime; /* milliseconds */
	uint64_t open_files, reads_waiting, connections;
	uint64_t bandwidth_rate, bandwidth_rtt; /* bytes a second, microseconds */
	uint64_t log_dropped;
};

extern struct stats stats;

/* Where the culler counts, a process of its own, which a change of worker may outrun: in memory
 * that both share and that outlives them. NULL: it does not count. */
extern volatile uint64_t *stats_culls;

/* A READ was answered with all its bytes, this time after it came. */
void stats_answered(int64_t milliseconds);

#endif
