/* kernel/cachefiles.h - /dev/cachefiles in on-demand mode: commands, messages, anonymous fds,
 * answers. It follows Documentation/filesystems/caching/cachefiles.rst and fs/cachefiles/ of the
 * kernel's source. */
#ifndef KERNEL_CACHEFILES_H
#define KERNEL_CACHEFILES_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"
#include "fetch/frontend.h"

/* For fetch_init(). */
extern const struct frontend cachefiles_frontend;

/* Once, at the start: memory for capacity.files cache files, all zero, aligned to 8. */
size_t cachefiles_memory_each(void);
void cachefiles_init(void *memory);

/* At the start, as root: opens the device and binds the cache. `inherited`, if not -1, is a device
 * that is open already; *was_bound: with a cache, whose settings stay. Returns its descriptor; on
 * failure -1, and fills why with the thing, the reason and the remedy. */
int cachefiles_bind(
	const struct conf *conf, int inherited, bool *was_bound, char *why, size_t size);

/* ---- in the worker ---- */

/* Begins to serve the bound device, after fetch_init(). The kernel sends the requests again that an
 * earlier worker has left unanswered, and reopens its files when they are read. A kernel without
 * `restore` does neither: then this is logged, and these requests fail. `first`: there was no
 * earlier worker. On failure returns false and fills why. */
bool cachefiles_serve(const struct conf *conf, int device, bool first, char *why, size_t size);

/* The descriptor to poll for POLLIN: an edge-triggered epoll set that holds the device, because
 * kernels before 6.8 keep POLLIN up as long as any request is unanswered, even one already read. */
int cachefiles_fd(void);

/* Reads messages until there is none or fetch_full(). To be called when the descriptor is readable,
 * and while cachefiles_behind(): messages may be left unread. */
void cachefiles_run(void);
bool cachefiles_behind(void);

/* Whether the kernel has given the cache up (a backing I/O error), as the answer to the last
 * command says. cachefiles_check() gives a harmless one; to be called now and then. */
void cachefiles_check(void);
bool cachefiles_is_dead(void);

/* Fails the READs that wait, and closes the anonymous fds: the v8 kernel needs that before the
 * device is closed, which the keeper does later. Mounted images of this cache are broken then. */
void cachefiles_close(void);

/* How many cache files the kernel has open. */
unsigned cachefiles_open_files(void);

#endif
