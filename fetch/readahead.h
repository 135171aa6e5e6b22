/* fetch/readahead.h - streams: places where an image is read in sequence, found from the READs, and
 * how far ahead of each is to be fetched. Numbers in, numbers out; files are fetch.h's.
 *
 * A READ comes only for what is not cached: one at the edge of what was fetched ahead, or inside of
 * it while it is still on its way, is the sign that a stream holds.
 */
#ifndef FETCH_READAHEAD_H
#define FETCH_READAHEAD_H

#include <stdbool.h>
#include <stdint.h>

/* A READ of [from, end): it goes on with a stream, or begins one in the place of the one that was
 * unused for longest. [end, asked) is fetched together with it. A stream that holds is fetched
 * ahead by as much as was read in it so far, but at most `most` bytes, and not beyond `image_end`.
 * Returns whether it goes on with one. */
bool readahead_read(unsigned file, uint64_t from, uint64_t end, uint64_t asked, uint64_t most,
	uint64_t image_end);

/* The next range that a stream wants, of the stream that was read last. False: none now. It is
 * wanted again until readahead_asked() has been told. */
bool readahead_next(unsigned *file, uint64_t *from, uint64_t *end);

/* The file is asked for, or cached, up to `to` from the range on that readahead_next() gave last.
 */
void readahead_asked(unsigned file, uint64_t from, uint64_t to);

/* The stream cannot be followed now: it is forgotten. */
void readahead_forget(unsigned file);

#endif
