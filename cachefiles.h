/* cachefiles.h - /dev/cachefiles in on-demand mode: commands, messages, the anonymous fds, answers.
 *
 * Documentation/filesystems/caching/cachefiles.rst and fs/cachefiles/ of the kernel's source are
 * what it follows.
 */
#ifndef CACHEFILES_H
#define CACHEFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "fetch.h"

/* What fetch.c is given. */
extern const struct front cachefiles_front;

/* Once, at start: memory for budget.files cache files, all zero, aligned to 8. */
size_t cachefiles_memory_each(void);
void cachefiles_init(void *memory);

/* Opens the device and binds the cache, the commands in the order that the kernel wants. On failure
 * returns false and fills `why` with the thing, the reason and the remedy. */
bool cachefiles_bind(const struct conf *conf, char *why, size_t size);

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

/* Completes what waits, closes the anonymous fds and then the device, in the order that the v8
 * kernel needs. Mounted images of this cache are broken from then on. */
void cachefiles_close(void);

/* How many cache files the kernel has open. */
unsigned cachefiles_open_files(void);

#endif
