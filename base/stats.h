/* base/stats.h - what the daemon counts of its work, for status.h to tell: plain increments, no system
 * call. What belongs to an image or a mirror is counted in image.h.
 */
#ifndef BASE_STATS_H
#define BASE_STATS_H

#include <stdint.h>

/* Classes of the time that a READ took, by their upper ends in milliseconds; one more for the rest.
 */
#define READ_TIMES 15
extern const uint16_t stats_read_times[READ_TIMES];

struct stats {
	/* since the start */
	uint64_t opens, opens_refused;
	uint64_t read_times[READ_TIMES + 1]; /* READs that were answered with all their bytes */
	uint64_t read_milliseconds;	     /* of all of them */
	uint64_t reads_failed;
	uint64_t restores; /* a new process has taken the kernel's requests over */
	uint64_t culls;	   /* images that were thrown out of the cache */

	/* as they were when status.c looked */
	uint64_t uptime; /* milliseconds */
	uint64_t open_files, reads_waiting, connections;
	uint64_t bandwidth_rate, bandwidth_rtt_seen; /* bytes a second, microseconds */
	uint64_t log_dropped;
};

extern struct stats stats;

/* A READ was answered so long after it came. */
void stats_answered(int64_t milliseconds);

#endif
