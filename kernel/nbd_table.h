/* kernel/nbd_table.h - the block devices, in the memory of handover.h: what outlives a worker, and
 * how keeper and worker tell each other what to do.
 *
 * A request that a worker has read is nobody's but its: the kernel sends none again on a socket
 * that lives. And a reply must be sent once, whole. So every step that a worker makes is written
 * here first, in an order in which each step may be repeated; what of a reply is in the socket, the
 * pipe tells that the keeper holds (see nbd_reply.h).
 *
 * A worker may be killed between any two instructions. The memory may come from another process:
 * what is read from it is checked.
 */
#ifndef KERNEL_NBD_TABLE_H
#define KERNEL_NBD_TABLE_H

#include <stdint.h>

#include "base/limits.h"

enum nbd_state {
	NBD_FREE,
	NBD_WANTED,    /* a worker opens the image */
	NBD_SIZED,     /* its size and version are known: the keeper configures the device */
	NBD_CONNECTED, /* the kernel has the device */
	NBD_REFUSED,   /* `why` says what for; it may be tried again */
};

/* The kernel has at most this many requests without an answer on one socket: its number of tags. */
#define NBD_SLOTS 128

/* A request that waits for its answer. `state` is written last. */
struct nbd_slot {
	uint64_t handle, from;
	uint32_t length;  /* 0: one that makes no sense, and gets an error */
	uint32_t waiting; /* NBD_MENDED: its data could not be read once, and were fetched anew */
};

#define NBD_MENDED 2

/* The reply that is being sent. */
enum nbd_phase {
	NBD_IDLE,    /* `position` bytes of it are in the socket; what is in the pipe is dropped */
	NBD_FILLING, /* bytes up to `end` are being put into the pipe */
	NBD_FILLED,  /* bytes up to `end` are in the pipe or, from its front, in the socket */
};

struct nbd_reply {
	uint32_t slot; /* NBD_SLOTS: there is none */
	uint32_t phase;
	uint64_t position, end;
	uint64_t total; /* bytes, with the header; no data follow that of an error */
};

struct nbd_place {
	uint32_t state;
	uint32_t generation; /* of its socket and pipe: a process that has others leaves it alone */
	int32_t device;	     /* /dev/nbdN; -1: not known yet, any is right */
	uint8_t configured;  /* by an attach line */
	uint8_t unwanted;    /* the line is gone: to be detached if nobody has it open */
	uint8_t waits;	     /* it was told that its image cannot be opened yet */
	uint8_t keeps; /* of the cache file of the version before, which is read (nbd.c); 0: none */
	uint64_t told; /* identifies the version, see state.h */
	uint64_t version; /* store_version() */
	uint64_t size;	  /* of the device, in bytes: a multiple of 4096 */
	struct nbd_reply reply;
};

/* A worker may leave out a NUL: the keeper takes no byte behind. */
struct nbd_text {
	char name[KEY_MAX + 1];
	char why[256];
};

/* What is often looked at comes first, so that unused places take no memory besides. */
struct nbd_table {
	uint32_t take_lines; /* the next worker brings the places in line with its attach lines */
	uint32_t usable;     /* the number of places, from the first on, that workers can use */
	struct nbd_place places[DEVICES_MAX];
	struct nbd_text texts[DEVICES_MAX];
	struct nbd_slot slots[DEVICES_MAX][NBD_SLOTS];
};

#endif
