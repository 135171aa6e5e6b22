/* daemon/memory.h - how the memory is divided: from `memory` and `connections` of the configuration, once
 * at start, to the sizes of the tables.
 */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"

struct capacity {
	unsigned connections; /* 1 to CONNECTIONS_MAX */
	size_t buffer;	      /* bytes of a connection's body buffer: what one pwrite() carries, a
			       * multiple of the page size */
	unsigned files;	      /* cache files that the kernel holds open: OPEN beyond it is refused
			       * (ENFILE), since waiting would also hold up the CLOSE that makes room
			       */
	unsigned reads;	      /* READs that wait, one blocked reader each. When full, the device is
			       * left alone. */
};

extern struct capacity capacity; /* read only, but for memory_divide() */

/* What things cost, in bytes. */
struct memory_costs {
	size_t fixed;	   /* what is there without any of them: the program, its stack */
	size_t connection; /* each, without its buffer */
	size_t file, read; /* each */
};

/* Divides `memory` bytes; if the configuration has none, MEMORY_DEFAULT, and more where that many
 * connections need it. The more there is, the more connections, the larger the buffers and tables.
 * On failure returns false and fills `why` with what is too little for what. */
bool memory_divide(const struct conf *conf, const struct memory_costs *costs, char *why, size_t size);

#endif
