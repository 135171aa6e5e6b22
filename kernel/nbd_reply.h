/* kernel/nbd_reply.h - the replies to block devices: each goes through the place's pipe, so that
 * what is left there after a worker's death tells how much of it has been sent (nbd.h). */
#ifndef KERNEL_NBD_REPLY_H
#define KERNEL_NBD_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/nbd_devices.h"
#include "kernel/nbd_table.h"

/* The data of a reply go through our memory up to this many bytes; it is that of most metadata. */
#define NBD_SMALL 4096

/* The bytes of a reply before its data; that of an error has no others. */
#define NBD_REPLY_SIZE 16

/* What this worker does about a request. */
enum { UNHANDED, HANDED, COLD, READY, FAILED };

/* What this worker knows of a place. */
struct device {
	bool used;	   /* the image is open, or is being opened, as file of fetch.h */
	bool ended;	   /* no request comes any more */
	bool partial;	   /* the socket has what cannot be taken yet */
	bool blocked;	   /* the socket takes no bytes */
	bool broken;	   /* there is no cache file: to be closed */
	int cache;	   /* the cache file; -1: not open yet */
	unsigned to_probe; /* this many of `probed` are still to be fetched, before they are asked
			      for */
	size_t piped;	   /* bytes in the pipe */
	int64_t open_again, told_at;

	/* To be answered: READY; COLD, once the disk has brought the data; FAILED, by an error. */
	uint8_t slots[NBD_SLOTS];
};

/* By place, as many as can be used. */
extern struct device *nbd_devices;

static inline volatile struct nbd_place *place(unsigned n)
{
	return &nbd_table()->places[n];
}

static inline volatile struct nbd_text *texts(unsigned n)
{
	return &nbd_table()->texts[n];
}

static inline volatile struct nbd_slot *slots(unsigned n)
{
	return nbd_table()->slots[n];
}

/* As frontend->hole(): what the file system has said it is not asked again, as no hole appears in a
 * cache file. To be forgotten when a place gets another file. */
int64_t nbd_hole(unsigned n, uint64_t offset, uint64_t end, uint64_t *hole_end);
bool nbd_has_hole(unsigned n, uint64_t from, uint64_t end);
void nbd_forget_holes(void);

/* In a new worker: ends a reply that an earlier one has sent whole, before requests are taken,
 * which may get its slot. */
void nbd_resume_reply(unsigned n);

/* Sends replies until there is none, or the socket takes no bytes, or the disk is slow. */
void nbd_send_replies(unsigned n);

/* When nbd_send_replies() has to be called again for all, as a slow disk may have brought data. */
extern int64_t nbd_look_again;

#endif
