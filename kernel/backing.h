/* kernel/backing.h - whether the cache directory's file system can hold a cache.
 *
 * The kernel checks some of it when the cache is bound, but not what matters most: it takes for
 * cached what SEEK_DATA calls data (fs/cachefiles/io.c), and a file system without holes calls all
 * of a file so. Then every byte that is not cached would read as zero.
 */
#ifndef KERNEL_BACKING_H
#define KERNEL_BACKING_H

#include <stdbool.h>
#include <stddef.h>

/* Once, at the start, before the cache is bound. False: it cannot, and `why` has the reason and the
 * remedy. What cannot be found out is left to the kernel. */
bool backing_check(const char *dir, char *why, size_t size);

#endif
