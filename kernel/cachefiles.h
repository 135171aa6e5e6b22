/* kernel/cachefiles.h - /dev/cachefiles in on-demand mode: commands, messages, anonymous fds,
 * answers. It follows Documentation/filesystems/caching/cachefiles.rst and fs/cachefiles/ of the
 * kernel's source. */
#ifndef KERNEL_CACHEFILES_H
#define KERNEL_CACHEFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"
#include "kernel/front.h"

extern const struct front cachefiles_front;

/* Whether this kernel has no on-demand mode for EROFS, as far as can be seen before a cache is
 * bound: there is no device, or EROFS does not know what it would be mounted by. Then `why` has the
 * reason. */
bool cachefiles_is_absent(char *why, size_t size);

/* At the start, as root: opens the device and binds the cache. `inherited`, if not -1, is a device
 * that is open already; *was_bound: with a cache, whose settings stay. Returns its descriptor; on
 * failure -1, and fills why with the thing, the reason and the remedy; errno is EINVAL if the
 * kernel has no on-demand mode. */
int cachefiles_bind(
	const struct conf *conf, int inherited, bool *was_bound, char *why, size_t size);

#endif
