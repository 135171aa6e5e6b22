/* kernel/device.h - which process has the device of cachefiles open, as far as we may see. */
#ifndef KERNEL_DEVICE_H
#define KERNEL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#define DEVICE "/dev/cachefiles"

/* Whether the process is a daemon of ours, with whatever front end: then it has the device, or the
 * memory of handover.h. */
bool device_is_daemon(int pid);

/* The process; 0: none that we can see. */
int device_user(void);

/* Fills `why` with which process has the device, and what to do about it. Returns false. */
bool device_explain(char *why, size_t size);

#endif
