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

/* Before the cache is bound. False: it cannot, and `why` has the reason and the remedy. `alone`:
 * the kernel will not be asked, so what it would refuse is refused here (cachefiles_add_cache() of
 * fs/cachefiles/cache.c). What this user may not look at counts as good. */
bool backing_check(const char *dir, bool alone, char *why, size_t size);

/* The same for a cache of our own files (store.h), which may also lie in memory (tmpfs): a hole has
 * to be one exactly where nothing was written, also after a power cut. */
bool backing_check_store(const char *dir, char *why, size_t size);

#endif
