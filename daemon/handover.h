/* daemon/handover.h - what outlives a worker, in memory that its keeper, the worker and the next one
 * share: the layout that the kernel speaks, and the cache files that the kernel holds open with the
 * size that it was told for each.
 *
 * Why the sizes: when a worker dies, the kernel opens its files anew (Linux 6.8, 6.6.35, 6.1.95 and
 * later). Such an OPEN has to be answered with the size of the first one; another would make the
 * kernel throw the cache away at the next mount.
 *
 * A worker may be killed between any two instructions, and the next one has to find a table that
 * makes sense; nothing but a worker writes. What is found may have been written by anybody, so it
 * is checked: at worst a file is not known.
 *
 * Without handover_make() or handover_take() nothing is remembered and no file is known.
 */
#ifndef DAEMON_HANDOVER_H
#define DAEMON_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Makes that memory, empty. Returns its descriptor (a memfd, close-on-exec), which is all that the
 * next program needs. Where the kernel has no memfd (no tmpfs), -1: then it outlives workers, but
 * not the program. Never fails otherwise but for want of memory, when it behaves as if it had not
 * been called. */
int handover_make(void);

/* Takes the memory over that another process has made. Returns whether it is one, of this layout.
 */
bool handover_take(int fd);

/* A worker begins, before it tells anything: what others have told the kernel is the past. Returns
 * how many there were before it. */
unsigned handover_begin(void);

/* The layout of the kernel's messages, once learnt; ABI_AUTO: not yet. */
enum conf_abi handover_abi(void);
void handover_learnt(enum conf_abi abi);

/* The cache files that the kernel holds open, each by a number made of its keys. When there is no
 * room, the place of one that no living worker has seen is taken, else it is not remembered. */
uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size);

/* About to be told the kernel: a file's size in bytes, in answer to an OPEN. */
void opened_files_add(uint64_t key, uint64_t told);

/* Its CLOSE was read, or it is seen to be opened for the first time. */
void opened_files_remove(uint64_t key);

/* The size that the kernel was told, and has to be told again; -1: the file was not open before. */
int64_t opened_files_size(uint64_t key);

/* How many files are open, or were when they were last heard of. */
unsigned opened_files_count(void);

#endif
