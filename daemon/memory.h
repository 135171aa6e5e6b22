/* daemon/memory.h - the memory: divided once, at the start, from `memory` and `connections` of the
 * configuration to the sizes of the tables; and locked. */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"

/* Sizes of the tables, and what happens when one is full. */
struct capacity {
	unsigned connections; /* 1 to CONNECTIONS_MAX */
	size_t buffer;	      /* bytes of a connection's buffer, which one pwrite() carries: a
			       * multiple of the page size */
	unsigned files;	      /* cache files that the kernel holds open. A further OPEN is refused
			       * (ENFILE): to let it wait would also hold up the CLOSE */
	size_t extents; /* in the map of files (filemap.h): a further one is left out; 0: it is off
			 */
	unsigned reads; /* READs that wait, one blocked reader each. A further one is left in
			 * the device */
};

extern struct capacity capacity; /* written by memory_divide() only */

/* What one of each costs, in bytes. */
struct memory_costs {
	size_t fixed;	   /* the program and its stack, without any of them */
	size_t given_way;  /* of it, for which open images give way */
	size_t connection; /* without its buffer */
	size_t file, read, extent;
	unsigned files; /* that are in use, and have to have room */
};

/* Divides `memory` bytes. If the configuration has none these are MEMORY_DEFAULT, or more where
 * `connections` needs it. More memory makes more connections, larger buffers and larger tables. On
 * failure returns false and fills why. */
bool memory_divide(
	const struct conf *conf, const struct memory_costs *costs, char *why, size_t size);

/* Locks the program up to the linker's symbol `end`, and all that is mapped, now or later, once it
 * is touched: no page may have to be read from a file system that waits for us. Of the `size` bytes
 * at `sparse` (0: none), which are written before, pages that were never touched take no memory.
 * False and errno: it cannot. */
bool memory_lock(const char *end, const void *sparse, size_t size);

/* How many bytes these pages have: those that are all zero. */
size_t memory_untouched(const void *sparse, size_t size);

#endif
