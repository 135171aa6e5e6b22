/* kernel/nbd_devices.h - the keeper's part of the second front end: it configures the block devices,
 * and holds for each place of the table (nbd_table.h) what has to outlive a worker, our end of its
 * socket pair and a pipe. All of them are made before a process is forked that may need them.
 */
#ifndef KERNEL_NBD_DEVICES_H
#define KERNEL_NBD_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "daemon/conf.h"
#include "daemon/inherit.h"
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

/* The number of the image in handover.h and store.h. */
uint64_t nbd_key(const char *name);

/* Has a free place wait for a worker that opens the image. `device`: /dev/nbdN; -1: any. */
void nbd_want(unsigned place, const char *name, int device, bool configured);

/* ---- in the keeper ---- */

/* Once, at the start, as root. `kept` are KEPT_MAX descriptors of an earlier program, -1 where there
 * are none, as nbd_kept() gives them; `resumed`: it was in this process. Otherwise devices that
 * have outlived an earlier daemon are taken over. False, and `why` has the reason: there is no NBD,
 * or another daemon serves the image of a line. */
bool nbd_begin(
	const struct conf *conf, const int kept[KEPT_MAX], bool resumed, char *why, size_t size);

/* The descriptors that a program which takes this one's place needs. */
void nbd_kept(int kept[KEPT_MAX]);

/* Before a process is forked, and in it. `reload`: its workers have read the configuration anew. */
void nbd_before_fork(bool reload);
void nbd_forked(void);

/* Does what the worker asks for in the table. */
void nbd_look(void);

/* Whether every image that is to be attached has its device, or was told as waiting or refused. */
bool nbd_are_settled(void);

/* How many devices are claimed: mounted, or with a partition that is, or part of another one. */
unsigned nbd_count_claimed(void);

/* At the end: gives up the devices that are not claimed. The others wait for the next daemon. */
void nbd_end(void);

/* Obeys a line of the control socket: "attach NAME", "attach NAME /dev/nbdN" or "detach NAME".
 * Returns the answer, valid until the next call; NULL: nbd_answer() has it later. *reload: workers
 * have to be forked anew for it. */
const char *nbd_obey(const char *line, bool *reload);
const char *nbd_answer(void);
void nbd_give_up(void);

#endif
