/* fetch/holes.h - where cache files are known to have nothing: what lseek(2) has said of them, less what
 * was written since. Only we write to them, so that the kernel need not be asked again for each
 * piece of a hole. Numbers in, numbers out; files are fetch.h's. Offsets are bytes.
 *
 * HOLES_MAX are known in all. What does not fit is not known: then the kernel is asked.
 */
#ifndef FETCH_HOLES_H
#define FETCH_HOLES_H

#include <stdint.h>

/* Where the hole ends in which the byte at `offset` is known to lie; 0: it is not known. */
uint64_t holes_end(unsigned file, uint64_t offset);

/* [from, to) is a hole of the file. */
void holes_learn(unsigned file, uint64_t from, uint64_t to);

/* [from, to) has been written, were it in part. */
void holes_fill(unsigned file, uint64_t from, uint64_t to);

/* Nothing is known of the file any more. */
void holes_forget(unsigned file);

#endif
