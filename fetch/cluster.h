/* fetch/cluster.h - what is fetched with a READ and after it: the rest of the file that the READ
 * lies in, as far as the file deserves it, and never beyond its end.
 *
 * A file is known by its extent (filemap.h). Of a small one the rest is fetched at once, and so is
 * the rest of a small directory once two of its small files were read in a row. Of a larger file
 * each READ earns as much as costs hardly more time than the READ itself; a large one, such as a
 * database or a disk image, earns little, since it is often read in a small part. Bytes that are in
 * no known file are taken for files of REGION bytes, which earn credit of their image. Offsets are
 * whole pages. */
#ifndef FETCH_CLUSTER_H
#define FETCH_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "fetch/file.h"

/* Whether a READ is one of metadata: EROFS reads that page by page (fs/erofs/data.c), and files in
 * larger READs. */
bool is_metadata(const struct file *f, uint64_t from, uint64_t end);

/* A file is open, and has the first credit; and it is closed. */
void cluster_open(struct file *f);
void cluster_close(const struct file *f);

/* A READ of [from, end) has come: the file that it lies in earns. */
void cluster_earn(struct file *f, uint64_t from, uint64_t end);

/* The end of the range to request for a READ that misses [from, end); at least `end`. */
uint64_t cluster_end(const struct file *f, uint64_t from, uint64_t end);

/* [from, asked) has been requested for that READ. */
void cluster_asked(struct file *f, uint64_t from, uint64_t end, uint64_t asked);

/* The next range of a file that has earned it: of the file read last. False: there is none now.
 * It is returned again until cluster_advance(), which says that it is cached or in flight up to
 * `to`, `bytes` of it newly requested. */
bool cluster_next(struct file **f, uint64_t *from, uint64_t *end);
void cluster_advance(uint64_t to, uint64_t bytes);

#endif
