/* fetch/flush.h - from a transfer's buffer to its file: whole pages are written by file_write(),
 * and the READs that wait for them answered. Only transfer.c uses it. */
#ifndef FETCH_FLUSH_H
#define FETCH_FLUSH_H

#include <stddef.h>

#include "fetch/file.h"
#include "fetch/transfer_table.h"

/* Writes what can be written of the buffer: whole pages, or blocks of a tree. Returns 0, or a
 * negative errno: -EAGAIN, to be called again at write_after or, with `lacks` set, when that block
 * of the tree is there; -EBADMSG, for the first page or block left, as file_write() has it; or
 * another: the file takes no bytes. */
int flush(struct transfer *t, struct file_fault *fault);

/* Leaves out the next `size` bytes of the file. */
void flush_skip(struct transfer *t, size_t size);

#endif
