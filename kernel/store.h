/* kernel/store.h - the cache files of images that are served as block devices: one sparse file for
 * each version of an image, in DIR/cachefilesd-mini/ beside the state files, whose holes are what
 * is not cached. It is found again by its name, which is made of the image's keys and of its
 * version, so that no byte of another version can get into it. */
#ifndef KERNEL_STORE_H
#define KERNEL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "image/state.h"

/* At the start, as root: whether the file system of `dir` can hold such files, and whether no other
 * daemon uses it: a lock is held there until this process ends. False, and `why` has the reason and
 * the remedy. */
bool store_begin(const char *dir, char *why, size_t size);

/* In the worker: the limits bstop and fstop of the configuration, which stays borrowed. */
struct conf;
void store_limits(const struct conf *conf);

/* What tells versions of an image apart: a hash of size and validator, with this bit if that is a
 * root hash. */
#define STORE_VERIFIED (1ull << 63)
uint64_t store_version(const struct state *state);

/* Whether the file is there. `image`: opened_files_key() of its keys. */
bool store_has(uint64_t image, uint64_t version);

/* Opens the file of that version, or makes it, with `size` bytes. Returns its descriptor, or -1 and
 * errno. Its time of modification is that of the last call or the last write. */
int store_open(uint64_t image, uint64_t version, uint64_t size);

/* Opens the file of that version to be read; -1 and errno: it is not there. */
int store_open_before(uint64_t image, uint64_t version);

/* As frontend->write() and frontend->hole(), for the file of a descriptor; store_hole() also for
 * one of the kernel's cache. */
ssize_t store_write(int fd, const void *pages, size_t size, uint64_t offset);
int64_t store_hole(int fd, uint64_t offset, uint64_t end, uint64_t *hole_end);

#endif
