/* kernel/nbd.h - the worker's part of the second front end: images as block devices of the kernel's
 * network block device driver (drivers/block/nbd.c; the protocol is the NBD project's
 * doc/proto.md). No network is used: the driver's socket is one end of a socket pair, and this
 * worker serves the other, as the keeper has made them (nbd_devices.h).
 *
 * Every request is answered exactly once, whatever kills a worker. Requests are copied to the shared
 * table (nbd_table.h) before they are taken from the socket, and a new worker drains the socket
 * before it answers anything. A reply goes through a pipe that the keeper holds too: splice(2) moves
 * bytes out of it exactly as they enter the socket, so that what is left in it tells the next worker
 * how much of the reply has been sent.
 */
#ifndef KERNEL_NBD_H
#define KERNEL_NBD_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "daemon/conf.h"
#include "fetch/frontend.h"
#include "image/image.h"

/* For fetch_init(). A file's number is its place in the table. */
extern const struct frontend nbd_frontend;

/* Begins to serve, after fetch_init(): goes on with the requests and the reply of an earlier worker,
 * and brings the places in line with the attach lines if the keeper says so. `conf` stays
 * borrowed. */
void nbd_serve(const struct conf *conf, int64_t now);

/* The loop's three. nbd_poll() writes at most DEVICES_MAX entries and returns their number;
 * nbd_run() takes them back with their revents, and then fetch_run() has to be called if it returns
 * true. */
size_t nbd_poll(struct pollfd out[DEVICES_MAX]);
int64_t nbd_next(void);
bool nbd_run(const struct pollfd *polled, int64_t now);

/* Whether a file of store.h is that of a device: for cull.h, in any process of ours. */
bool nbd_in_use(uint64_t image, uint64_t version);

/* How many images are open. */
unsigned nbd_open_files(void);

/* The number of the image's device; -1: it has none. */
int nbd_device_of(const struct image *image);

#endif
