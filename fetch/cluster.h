/* fetch/cluster.h - the neighbourhood of READs: how much is fetched together with a READ, and what
 * else of its region is fetched while the link is idle. Both are bounded by a credit that READs
 * earn, so that random READs do not fetch far more than they use. Offsets are whole pages. */
#ifndef FETCH_CLUSTER_H
#define FETCH_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/file.h"

/* EROFS reads metadata page by page (fs/erofs/data.c), and files in larger READs. */
static inline bool is_metadata(uint64_t from, uint64_t end)
{
	return end - from == page_size();
}

/* A file is open, and has the first credit; and it is closed. */
void cluster_open(struct file *f);
void cluster_close(const struct file *f);

/* A READ of [from, end) has come: the file earns credit. */
void cluster_earn(struct file *f, uint64_t from, uint64_t end);

/* The end of the range to request for a READ that misses [from, end); at least `end`. A round
 * trip's worth of bytes costs hardly more time than the READ alone. */
uint64_t cluster_end(const struct file *f, uint64_t from, uint64_t end);

/* [from, asked) has been requested for that READ. */
void cluster_asked(struct file *f, uint64_t from, uint64_t end, uint64_t asked);

/* The next range of a region where READs were: of the region read last. False: there is none now.
 * It is returned again until cluster_advance(), which says that it is cached or in flight up to
 * `to`, `bytes` of it newly requested. */
bool cluster_next(struct file **f, uint64_t *from, uint64_t *end);
void cluster_advance(uint64_t to, uint64_t bytes);

#endif
