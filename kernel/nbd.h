/* kernel/nbd.h - the worker's part of the second front end: images as block devices of the kernel's
 * network block device driver (drivers/block/nbd.c; the protocol is the NBD project's
 * doc/proto.md). No network is used: the driver's socket is one end of a socket pair, and this
 * worker serves the other, as the keeper has made them (nbd_devices.h).
 *
 * Every request is answered exactly once, whatever kills a worker. Requests are copied to the
 * shared table (nbd_table.h) before they are taken from the socket, and a new worker drains the
 * socket before it answers anything. A reply goes through a pipe that the keeper holds too:
 * splice(2) moves bytes out of it exactly as they enter the socket, so that what is left in it
 * tells the next worker how much of the reply has been sent.
 */
#ifndef KERNEL_NBD_H
#define KERNEL_NBD_H

#include "kernel/front.h"

extern const struct front nbd_front;

#endif
