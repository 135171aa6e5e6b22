/* kernel/cachefiles.h - /dev/cachefiles in on-demand mode: commands, messages, the anonymous fds, answers.
 *
 * Documentation/filesystems/caching/cachefiles.rst and fs/cachefiles/ of the kernel's source are
 * what it follows.
 */
#ifndef KERNEL_CACHEFILES_H
#define KERNEL_CACHEFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/fetch.h"

/* What fetch.c is given. */
extern const struct frontend cachefiles_frontend;

/* Once, at start: memory for capacity.files cache files, all zero, aligned to 8. */
size_t cachefiles_memory_each(void);
void cachefiles_init(void *memory);

/* ---- at the start, as root ---- */

/* Opens the device and binds the cache, the commands in the order that the kernel wants.
 * `inherited`, if not -1, is the device in place of one that is opened, and may be bound already.
 * Returns its descriptor; on failure -1, and fills `why` with the thing, the reason and the remedy.
 */
int cachefiles_bind(const struct conf *conf, int inherited, char *why, size_t size);

/* Whether a process has the device open, as far as we may see. */
bool cachefiles_is_held_by(int pid);

/* ---- in the worker ---- */

/* Takes up the service of the bound device, after fetch_init(): the kernel sends again what a
 * worker before us has left unanswered, and opens its files anew when they are read. A kernel that
 * knows no `restore` does not: then this is told, and what was left unanswered is answered as
 * failed. `first`: there was none before us. On failure returns false and fills why. */
bool cachefiles_serve(const struct conf *conf, int device, bool first, char *why, size_t size);

/* The descriptor to poll for POLLIN: an edge-triggered epoll set that holds the device, because
 * kernels before 6.8 keep POLLIN up as long as any request is unanswered, even one already read. */
int cachefiles_fd(void);

/* Reads messages until there is none or fetch_full(). To be called when the descriptor is readable,
 * and after fetch_full() has become false again. */
void cachefiles_run(void);

/* Whether messages may be left unread since fetch_full() was true. */
bool cachefiles_behind(void);

/* Whether the kernel has given the cache up (a backing I/O error): seen from the answer to any
 * command. cachefiles_check() gives a harmless one, an unknown word; to be called now and then. */
void cachefiles_check(void);
bool cachefiles_is_dead(void);

/* Completes what waits, and closes the anonymous fds: the v8 kernel needs that before the device is
 * closed, and so the keeper closes that later. Mounted images of this cache are broken then. */
void cachefiles_close(void);

/* How many cache files the kernel has open. */
unsigned cachefiles_open_files(void);

#endif
