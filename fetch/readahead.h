/* fetch/readahead.h - streams: places where a file is read in sequence, found from its READs, and
 * how far ahead of each is to be fetched. Pure; offsets are bytes.
 *
 * Reads of cached bytes are not seen. So a READ at the end of the prefetched range, or inside it
 * while it is in flight, means that the sequential reader goes on.
 */
#ifndef FETCH_READAHEAD_H
#define FETCH_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

/* A READ of [from, end), of which [from, asked) is requested, goes on with a stream, or begins one
 * in the place of the stream that was read longest ago. A stream that goes on is fetched ahead by
 * the `share`th part of the bytes that were read in it so far (1: as many, and LEAST at least), at
 * most by `most`. It is not fetched beyond `file_end`, where the image's file ends in which the
 * READ lies; once it has gone on from one file to the next, by less, not beyond `image_end`.
 * Returns whether the READ goes on with a stream. */
bool readahead_read(unsigned file, uint64_t from, uint64_t end, uint64_t asked, unsigned share,
	uint64_t most, uint64_t file_end, uint64_t image_end);

/* The next range to fetch, of the stream that was read last. False: none now. It is returned again
 * until readahead_asked(). */
bool readahead_next(unsigned *file, uint64_t *from, uint64_t *end);

/* The file is cached or in flight up to `to` from the range on that readahead_next() gave last. */
void readahead_asked(unsigned file, uint64_t from, uint64_t to);

/* Forgets the file's streams. */
void readahead_forget(unsigned file);

#endif
