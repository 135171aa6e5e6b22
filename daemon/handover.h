/* daemon/handover.h - what outlives a worker, in memory that its keeper, the worker and the next
 * one share: the cache directory that is bound, the layout of the kernel's messages, and the cache
 * files that the kernel holds open, with the size that was reported to it for each.
 *
 * Why the sizes: when a worker dies, the kernel reopens its files (Linux 6.8, 6.6.35, 6.1.95 and
 * later). Such an OPEN has to be answered with the size of the first one; another would make the
 * kernel throw the cache away at the next mount.
 *
 * Only workers write, but for the directory, which the keeper obeys, and the files of block
 * devices, which come and go with the keeper's. A worker may be killed between any two
 * instructions: the next one finds each file either whole or not at all. The memory may come from
 * another process, so all of it is checked: at worst a file is not known.
 *
 * Without handover_make() or handover_take() nothing is remembered and no file is known.
 */
#ifndef DAEMON_HANDOVER_H
#define DAEMON_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Makes that memory, empty, with `extra` bytes for handover_extra(). Returns its descriptor (a
 * memfd, close-on-exec), by which a program that takes this one's place gets it. -1: the kernel has
 * no memfd (no tmpfs), and the memory outlives workers but not the program; or there is no memory,
 * as if this had not been called. */
int handover_make(size_t extra);

/* Takes the memory that another process has made; in that of the first version there is no room for
 * a directory and for numbers. False: it is none, or of another layout, or has not `extra` bytes.
 */
bool handover_take(int fd, size_t extra);

/* Bytes that are the caller's, all 0 at first; NULL: there are none. What it finds there may have
 * been written by anybody. */
void *handover_extra(void);

/* The cache directory, noted by the process that binds it; "": not known. */
void handover_bound(const char *dir);
const char *handover_dir(void);

/* In a worker, before it may be taken over: it cannot write the directory any more. */
void handover_protect(void);

/* HANDOVER_NUMBERS numbers that are the caller's, all 0 at first; NULL: there is no memory. What it
 * finds there may have been written by anybody. */
#define HANDOVER_NUMBERS 256
volatile uint64_t *handover_numbers(void);

/* What a file takes of the memory, in bytes. */
size_t handover_memory_each(void);

/* A worker begins, before it reports a size. Returns how many there were before it. */
unsigned handover_begin(void);

/* The layout of the kernel's messages, once learnt; ABI_AUTO: not yet. */
enum conf_abi handover_abi(void);
void handover_learnt(enum conf_abi abi);

/* A cache file's number in the functions below, made of its keys. */
uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size);

/* `size` bytes are about to be reported to the kernel in answer to the file's OPEN; `verified`: its
 * image has a root hash. Without a free place the file takes that of one that this worker has not
 * seen, or else is not remembered. */
void opened_files_add(uint64_t key, uint64_t size, bool verified);

/* Numbers of the file's image, all 0 at first, of whatever the caller counts; NULL: it is not
 * known. */
#define HANDOVER_COUNTS 12
volatile uint64_t *opened_files_counts(uint64_t key);

/* The file in a place, 0 to FILES_MAX - 1; 0: none. */
uint64_t opened_files_at(unsigned place);

/* The file's CLOSE has come, or it turns out to be opened for the first time. */
void opened_files_remove(uint64_t key);

/* The size that was reported, to be reported again; -1: the file was not open. */
int64_t opened_files_size(uint64_t key);

/* Whether it was opened with a root hash, then or by an earlier worker: the disk is no authority
 * for that. */
bool opened_files_verified(uint64_t key);

/* How many files are open, or were when they were last heard of. */
unsigned opened_files_count(void);

#endif
