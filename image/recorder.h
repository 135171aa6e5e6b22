/* image/recorder.h - `trace record PATH`: recording the boot traces (trace.h) of TRACE_RECORDERS
 * images at the same time.
 *
 * A PATH that ends in '/' is a folder: the trace of the image NAME becomes NAME.trace in it. Names
 * come from the kernel, so '/' and bytes other than printable ASCII become '_'. Any other PATH is
 * the file itself, for the first image that is opened and read; others are not recorded.
 *
 * The folder is opened at the start, and files are reached through it, since the path may lead into
 * the file system that we serve later on. Writing waits for the disk, and the whole daemon with it.
 * Only the kernel's READs are seen, so a trace is whole only if nothing of the image was cached; of
 * an image without a READ no file is written.
 *
 * Without recorder_init() the other functions do nothing.
 */
#ifndef IMAGE_RECORDER_H
#define IMAGE_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Once, at the start. `memory` has recorder_memory() bytes, all zero and aligned as malloc() does;
 * `path` is absolute; both stay borrowed. False, with the reason in `why`: there is no such folder,
 * or nothing can be written to it. */
size_t recorder_memory(void);
bool recorder_init(const char *path, void *memory, char *why, size_t size);

/* The folder that is written to, open; -1: nothing is recorded. */
int recorder_folder(void);

/* Before the first recorder_open(): a worker before this one has written the files that are there
 * now, and their traces are continued. A file that is no trace counts as empty. */
void recorder_continue(void);

/* An image is opened. Returns its recorder's slot; -1: it is not recorded, which is logged unless
 * PATH is another image's file. An image that is opened again continues its trace, unless its slot
 * was needed for another one. */
int recorder_open(const void *name, size_t name_size);

/* These two ignore -1 and a closed slot. Closing writes what is not written yet: close all slots
 * before the end. The first of several failures is logged. */
void recorder_touch(int slot, uint64_t offset, uint64_t length);
void recorder_close(int slot);

/* Writes what has changed, TRACE_WRITE_EVERY milliseconds after the first change. Call it after
 * each recorder_touch(), and at the time that it returns; INT64_MAX: never. */
int64_t recorder_flush(int64_t now);

/* Writes what has changed, at the end of a worker whose images stay open. */
void recorder_leave(void);

#endif
