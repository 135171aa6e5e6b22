/* kernel/cull.h - space for the cache: the culler, a process that removes the cache files of the
 * images that were not used for longest, never those in use, and empties the graveyard.
 *
 * It removes files while those of the cache take more than `budget` of the configuration; and when
 * less is free than bcull or fcull say, until brun and frun are reached, as classic cachefilesd
 * does (the kernel leaves it to its daemon: Documentation/filesystems/caching/cachefiles.rst,
 * "Cache culling"). A file in its first session has no name and is not seen.
 *
 * It is a process of its own because the commands `cull` and `inuse` take a name in the working
 * directory of their writer, and the kernel does not check that it lies in the cache. So only the
 * culler has the device and a working directory besides "/". It goes by openat() from the cache
 * downwards, follows no link, and listens to two requests: to inspect the cache, and to open one of
 * its files (cached.h).
 *
 * Before it inspects the cache, and at its end, it syncs the cache's file system for images with
 * marks (state.h), which may take seconds.
 *
 * The cache files of block devices (store.h) it removes itself.
 */
#ifndef KERNEL_CULL_H
#define KERNEL_CULL_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Once in a worker, as root, before anything is received that a copy must not hold: forks the
 * culler, which ends with its parent. A failure is a warning. `device` is that of cachefiles; or
 * -1, and in_use() tells whether a file of store.h is open. */
void cull_start(
	const struct conf *conf, int device, bool (*in_use)(uint64_t image, uint64_t version));

/* How many of `all` blocks or inodes have to be free, as the kernel computes it. */
uint64_t cull_limit(uint64_t all, int percent);

/* Has the culler inspect the cache, a second later, once for all requests until then. Never
 * waits. */
void cull_inspect(void);

/* The worker's end of the socket to it, for cached.h; -1: there is no culler. */
int cull_socket(void);

/* At the end of the worker: waits for the end of the culler, which would hold the device. */
void cull_stop(void);

#endif
