/* kernel/nbd_netlink.h - the control of NBD devices: the commands of the generic netlink family
 * "nbd" (drivers/block/nbd.c, include/uapi/linux/nbd-netlink.h). The kernel carries a command out
 * before it answers. It demands CAP_SYS_ADMIN of who opens the socket and of who sends. */
#ifndef KERNEL_NBD_NETLINK_H
#define KERNEL_NBD_NETLINK_H

#include <stdint.h>

/* Opens the socket, close-on-exec. -1 and errno. */
int nbd_netlink_open(void);

/* Configures /dev/nbdINDEX, read-only, of `size` bytes, a multiple of 4096, with sectors of 512
 * bytes; -1 in *index: the first that is free, whose number is then written there. The kernel takes
 * a reference of its own to `socket`, a connected stream socket; the other end gets the requests.
 * No request ever times out, and one that finds no socket waits for nbd_reconfigure(). `identifier`
 * is shown in /sys/block/nbdINDEX/backend. Returns 0 or a positive errno: EBUSY, the device is in
 * use; ENOENT, the kernel's module is not loaded. */
int nbd_connect(int netlink, int *index, uint64_t size, int socket, const char *identifier);

/* Gives a device whose socket is dead another one. Also returns 0 when no socket of it is dead:
 * then the kernel has dropped `socket`, and the other end is hung up once our own copy is closed.
 */
int nbd_reconfigure(int netlink, int index, int socket, const char *identifier);

/* Ends a device for good: requests that wait fail. */
int nbd_disconnect(int netlink, int index);

#endif
