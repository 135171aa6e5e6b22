/* kernel/nbd_devices.h - the keeper's part of the second front end: it configures the block
 * devices, and holds for each place of the table (nbd_table.h) what has to outlive a worker, our
 * end of its socket pair and a pipe. All of them are made before a process is forked that may need
 * them.
 */
#ifndef KERNEL_NBD_DEVICES_H
#define KERNEL_NBD_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "daemon/conf.h"
#include "daemon/inherit.h"
#include "daemon/keeper.h"
#include "kernel/nbd_table.h"

/* The descriptors of a place, -1 where there are none; and which they are: a process has those that
 * were there when it was forked. */
struct nbd_descriptors {
	int socket, pipe_in, pipe_out;
	uint32_t generation;
};

/* In any process. */
struct nbd_table *nbd_table(void);
const struct nbd_descriptors *nbd_descriptors(unsigned place);

/* The number of places, from the first on, that have to have room: those that are taken. */
unsigned nbd_places(void);

/* The number of the image in handover.h and store.h. */
uint64_t nbd_key(const char *name);

/* Has a free place wait for a worker that opens the image. `device`: /dev/nbdN; -1: any. */
void nbd_want(unsigned place, const char *name, int device, bool configured);

/* ---- in the keeper ---- */

/* The bytes of handover_extra() that the table takes; and those that are touched for so many. */
#define NBD_TABLE_SIZE sizeof(struct nbd_table)
#define NBD_TABLE_USED(count)                                                                      \
	(offsetof(struct nbd_table, texts) +                                                       \
		(count) * (sizeof(struct nbd_text) + sizeof(struct nbd_slot[NBD_SLOTS])))

/* Once, at the start, as root. `kept` are descriptors of an earlier program (inherit.h): the
 * netlink socket, and three for each place; `resumed`: it was in this process. Otherwise devices
 * that have outlived an earlier daemon are taken over. False, and `why` has the reason: there is no
 * NBD, or another daemon serves the image of a line. */
bool nbd_begin(
	const struct conf *conf, const int kept[KEPT_MAX], bool resumed, char *why, size_t size);

extern const struct keeper_front nbd_keeper;

#endif
