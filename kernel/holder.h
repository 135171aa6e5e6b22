/* kernel/holder.h - which process has the device of cachefiles open, as far as we may see. */
#ifndef KERNEL_HOLDER_H
#define KERNEL_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

#define DEVICE "/dev/cachefiles"

bool holder_is(int pid);

/* The process that holds it; 0: none that we can see. */
int holder_find(void);

/* Fills `why` with which process holds the device, and what to do about it. Returns false. */
bool holder_explain(char *why, size_t size);

#endif
