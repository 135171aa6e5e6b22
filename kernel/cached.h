/* kernel/cached.h - a descriptor of a cache file of /dev/cachefiles. The anonymous descriptors that
 * come with OPENs cannot be read, and the worker may be no root and has no path to the cache: so
 * the culler, a process that can open it (cull.h), is asked for the file by its keys, by way of the
 * socket between both, and sends its descriptor.
 *
 * A file has a name, under which it is found, from the end of its first session on. Keys that the
 * kernel has to encode in its name (fs/cachefiles/key.c) are not found.
 */
#ifndef KERNEL_CACHED_H
#define KERNEL_CACHED_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/* A request, with its NUL behind the volume. */
#define CACHED_REQUEST_MAX (2 * KEY_MAX + 2)

/* In the worker: asks for the file with these keys, and returns its descriptor, open for reading
 * and writing, which is the caller's. Never waits: -1 and EAGAIN, as long as the answer has not
 * come; else there is no such file, or no culler. One request is under way at a time; one for
 * another file waits for its turn. `socket`: cull_socket(). */
int cached_open(int socket, const char *volume, const void *cookie, size_t cookie_size);

/* The size that the kernel has stored with the file, which says of which version it is (state.h);
 * 0: none. */
uint64_t cached_size(int fd);

/* In the culler: answers a request of `size` bytes, with room for one more, from a worker that may
 * be hostile. `cache`: the folder of that name. */
void cached_answer(int socket, int cache, char *request, size_t size);

#endif
