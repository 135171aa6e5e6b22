/* fetch/prefetch.h - what nobody waits for yet: which parts of an image are fetched ahead of its readers,
 * and when. Streams (ahead.h), the image's boot trace (trace.h), what is near to what was read, its
 * directories (dirwalk.h), and in the background all of it.
 */
#ifndef FETCH_PREFETCH_H
#define FETCH_PREFETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/file.h"

/* Once, at start: prefetch_memory() bytes, all zero, aligned to 16; the configuration stays
 * borrowed. */
size_t prefetch_memory(void);
void prefetch_init(const struct conf *conf, void *memory);

/* A cache file is open, whether it is written whole is set, and its OPEN is about to be answered.
 */
void prefetch_open(struct file *f);

/* The first bytes of the image, EROFS_HEAD at least, by which its directories are found. */
void prefetch_begin(const struct image *image, const void *head);

void prefetch_close(struct file *f);

/* A READ of the whole pages of [from, end) of the file has come. */
void prefetch_read(struct file *f, uint64_t from, uint64_t end);

/* Up to where to fetch for a READ of which [from, end) is missing: `end` at least. What the link
 * carries in a round trip costs hardly more than the READ alone. And that [from, asked) was. */
uint64_t prefetch_cluster(const struct file *f, uint64_t from, uint64_t end);
void prefetch_clustered(struct file *f, uint64_t from, uint64_t end, uint64_t asked);

/* The trace that was asked for has come, all of it or not; size 0: there is none. */
void prefetch_text(struct image *trace, const char *text, size_t size, bool whole);

/* Asks for traces that are wanted, and then for what else there is, as far as there are lanes for
 * it and nobody who waits is held up. A call does a bounded number of steps: true when more are to
 * be done at once. */
bool prefetch_run(void);

/* When prefetch_run() has to be called again at the latest, since it holds something back. */
int64_t prefetch_next(void);

/* Once in a turn of the loop: tells how far the filling of whole images is. */
void prefetch_tell(void);

/* What is going on. */
bool prefetch_is_filling(const struct file *f);
bool prefetch_is_walking(const struct file *f);
bool prefetch_is_tracing(const struct file *f);

#endif
