/* kernel/cull.h - space for the cache: a helper process that removes the cache files of images that were
 * not used for longest, never those in use, and empties the graveyard.
 *
 * It removes when the files of the cache take more than `budget` of the configuration, until they
 * do not, and when less is free than bcull or fcull say, until brun and frun are reached, as
 * classic cachefilesd does (the kernel leaves it to its daemon: Documentation/filesystems/caching/
 * cachefiles.rst, "Cache culling"). A file that is in its first session has no name and is not
 * seen.
 *
 * It is a process of its own because the commands `cull` and `inuse` take a name in the working
 * directory of whoever writes them, and the kernel does not look whether that is in the cache at
 * all. So only it has the device and a working directory besides "/", goes nowhere but by openat()
 * from the cache downwards, follows no link, and listens to nothing but that it is to look.
 */
#ifndef KERNEL_CULL_H
#define KERNEL_CULL_H

#include "daemon/conf.h"

/* Once in a worker, as root, before anything is received that a copy must not hold: forks the
 * helper, which ends with its parent. A failure is a warning. */
void cull_start(const struct conf *conf, int device);

/* Has the helper look, a second later, with all that asks until then; and counts what it has
 * removed before. Never waits. */
void cull_look(void);

/* At the end of the worker: waits for the helper's, which would hold the device. */
void cull_stop(void);

#endif
