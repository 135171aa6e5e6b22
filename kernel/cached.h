/* kernel/cached.h - a descriptor of a cache file of /dev/cachefiles. The anonymous descriptors that
 * come with OPENs cannot be read, and the worker may be no root and has no path to the cache: so
 * the culler, a process that can open it (cull.h), is asked for the file by its keys, by way of the
 * socket between both, and sends its descriptor.
 *
 * A file has a name, under which it is found, from the end of its first session on. Of the names
 * that the kernel makes of keys (fs/cachefiles/key.c) one is not found: that of hexadecimal digits.
 */
#ifndef KERNEL_CACHED_H
#define KERNEL_CACHED_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

/* A request: the size, and the keys with a NUL behind the volume. */
struct cached_request {
	uint64_t size;
	char keys[2 * KEY_MAX + 2]; /* and a NUL that the culler puts behind them */
};

/* In the worker: asks for the file with these keys for which the kernel has stored that size, which
 * says of which version it is (state.h); 0: any. Returns its descriptor, open for reading and
 * writing, which is the caller's. Never waits: -1 and EAGAIN, as long as the answer has not come;
 * ENOENT: there is no such file; else it cannot be opened, or there is no culler. One request is
 * under way at a time; one for another file waits for its turn. `socket`: cull_socket(). */
int cached_open(
	int socket, uint64_t size, const char *volume, const void *cookie, size_t cookie_size);

/* In the culler: answers a request of `size` bytes, more than one and at most one less than it has,
 * from a worker that may be hostile. `cache`: the folder of that name. */
void cached_answer(int socket, int cache, struct cached_request *request, size_t size);

#endif
