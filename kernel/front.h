/* kernel/front.h - a front end, as the program's start and its loop see it: /dev/cachefiles, or
 * block devices. What fetch/ and the keeper see of it are structures of their own. */
#ifndef KERNEL_FRONT_H
#define KERNEL_FRONT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "daemon/conf.h"
#include "daemon/keeper.h"
#include "daemon/memory.h"
#include "fetch/frontend.h"
#include "image/image.h"

#define FRONT_POLL_MAX DEVICES_MAX

struct front {
	const char *name; /* as the word `front` has it */
	const struct frontend *frontend;
	const struct keeper_front *keeper;

	/* Bytes of memory for so many files; and that memory, all zero, aligned to 8, for
	 * capacity.files: in a worker that is still root, before it is in its sandbox. */
	size_t (*memory)(unsigned files);
	void (*prepare)(const struct conf *conf, int device, void *memory);

	/* In a worker whose turn has come, after fetch_init(). `first`: there was no earlier one.
	 * On failure returns false and fills why. */
	bool (*serve)(const struct conf *conf, int device, bool first, char *why, size_t size);

	/* The loop's three. poll() writes at most FRONT_POLL_MAX entries and returns their number;
	 * run() takes them back with their revents: true, fetch_run() has to be called again. */
	size_t (*poll)(struct pollfd *out);
	int64_t (*next)(void);
	bool (*run)(const struct pollfd *polled, int64_t now);

	/* Before the end in order. */
	void (*close)(void);

	/* The N of the image's /dev/nbdN; -1: it has none yet. NULL: none ever has. */
	int (*device_of)(const struct image *image);
};

#endif
