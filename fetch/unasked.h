/* fetch/unasked.h - how many bytes were fetched on a guess and have been asked for by no READ
 * since, in stats.unasked of their image.
 *
 * It takes a front end that hears all READs (frontend.h). Memory of every page would be too much:
 * a sample is remembered, of all images together. The number is exact while all such pages fit it,
 * else an estimate. A worker finds the number of the worker before, and takes nothing off that. */
#ifndef FETCH_UNASKED_H
#define FETCH_UNASKED_H

#include <stdint.h>

/* [from, end) of a file, whole pages, has been fetched on a guess. */
void unasked_fetched(unsigned file, uint64_t from, uint64_t end);

/* A READ asks for bytes of [from, end), or the file is forgotten. */
void unasked_read(unsigned file, uint64_t from, uint64_t end);

#endif
