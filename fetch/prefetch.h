/* fetch/prefetch.h - bytes that no READ waits for yet: which parts of an image are fetched ahead of
 * its readers, and when. Its sources are sequential streams (readahead.h), the image's boot trace
 * (trace.h), the neighbourhood of READs (cluster.h), the image's directories (dirwalk.h), and in
 * the background the rest of it. */
#ifndef FETCH_PREFETCH_H
#define FETCH_PREFETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/file.h"

/* Once, at start: prefetch_memory() bytes, all zero, aligned to 16, for images of which the map has
 * so many extents, capacity.extents then. `conf` stays borrowed. */
size_t prefetch_memory(size_t extents);
void prefetch_init(const struct conf *conf, void *memory);

/* A cache file is open, f->whole is settled, and its OPEN is about to be answered. */
void prefetch_open(struct file *f);

/* The first bytes of the image, EROFS_HEAD at least, by which its directories are found. */
void prefetch_begin(const struct image *image, const void *head);

void prefetch_close(struct file *f);

/* A READ of the whole pages of [from, end) of the file has come. */
void prefetch_read(struct file *f, uint64_t from, uint64_t end);

/* The text of a trace has come, all of it or not; size 0: there is none. */
void prefetch_text(const char *text, size_t size, bool whole);

/* The file's trace, if it is the one that is played; none of it is, as long as its OPEN waits. */
const struct trace *prefetch_trace(const struct file *f);

/* Requests traces, and then ranges of all sources, as far as there are transfers for them and no
 * READ is held up; nothing unless it may, as while one waits for a transfer. A call does a bounded
 * number of steps: true when more are left. */
bool prefetch_run(bool may);

/* When prefetch_run() has to be called again at the latest, since it holds something back. */
int64_t prefetch_next(void);

/* Once in a turn of the loop: logs how far whole images are filled. */
void prefetch_log(void);

/* Whether the image is being filled whole. */
bool prefetch_is_filling(const struct file *f);

#endif
