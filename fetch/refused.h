/* fetch/refused.h - the pages and blocks of trees that did not fit the root hash when they came
 * last, and when they may be requested again. Offsets are bytes of a file; a tree's begin at
 * TREE_BASE. */
#ifndef FETCH_REFUSED_H
#define FETCH_REFUSED_H

#include <stdbool.h>
#include <stdint.h>

/* The bytes at `offset` were refused. Returns when they may be requested again: at once the first
 * time, since another mirror may have them, then later and later. The one that has been refused
 * longest ago is forgotten when the table, REFUSED_MAX, is full. */
int64_t refused_add(unsigned file, uint64_t offset);

/* Whether they may not be requested now. */
bool refused_waits(unsigned file, uint64_t offset);

/* The next time at which some may; INT64_MAX: none waits. */
int64_t refused_next(void);

/* Forgets those of a file. */
void refused_forget(unsigned file);

#endif
