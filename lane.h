/* lane.h - lanes: connections with a buffer each, and the ranges that they fetch and write. A lane
 * asks for its ranges one behind the other, goes on where a body breaks off, at other mirrors if
 * need be, and follows redirects. What to ask for is fetch.h's matter.
 *
 * Times are monotonic milliseconds.
 */
#ifndef LANE_H
#define LANE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "image.h"
#include "limits.h"

/* What lane.c asks of fetch.c. A file is a number of front->write(). */
struct lane_user {
	/* The image's size and version are pinned; these are its first bytes, EROFS_HEAD of them
	 * if it has so many, from `url`. Returns the file to write them to, or -1. */
	int (*opened)(struct image *image, const void *head, size_t size, const struct url *url);

	/* What lane_ask_text() was asked for, at most a buffer of it; `whole` if there are no
	 * more. Or NULL and why there is none. */
	void (*text)(
		struct image *image, const char *text, size_t size, bool whole, const char *why);

	/* Whole pages, and at the image's end its last bytes, that are to be written. */
	void (*passing)(unsigned file, const void *bytes, uint64_t offset, size_t size);

	/* [from, to) is written: whole pages. */
	void (*written)(unsigned file, uint64_t from, uint64_t to);

	/* Of those who wait for a byte of [from, to): up to where the first to be content needs
	 * them, which may lie behind `to`. UINT64_MAX: nobody waits. */
	uint64_t (*waited_for)(unsigned file, uint64_t from, uint64_t to);

	/* What was asked for from `from` on does not come: it has to be asked for again. */
	void (*dropped)(unsigned file, uint64_t from);

	/* The cache file takes no bytes: a negative errno, -ENOBUFS for the kernel's own limit. */
	void (*unwritable)(unsigned file, int error);

	/* An attempt at an image has come to nothing; image_failed() has been told. */
	void (*failed)(struct image *image, enum image_verdict verdict);
};

/* Bytes that a lane takes beside its buffer. */
size_t lanes_memory_each(void);

/* Once, at start. `memory` is aligned to a page, all zero, and has room for budget.connections
 * lanes with their buffers. */
struct front;
void lanes_init(const struct conf *conf, const struct front *front, const struct lane_user *user,
	void *memory);

/* Asks for an image's size and first bytes, or for a small text. False when no lane is free. */
bool lane_ask_size(struct image *image);
bool lane_ask_text(struct image *image);

/* Asks for [from, end) of an opened image, `from` at a page's boundary, to be written to the file,
 * in the lane where it comes soonest: on an idle connection, or behind other ranges of the file,
 * but not more than `behind`. False when there is none. */
bool lane_ask(struct image *image, unsigned file, uint64_t from, uint64_t end, unsigned behind);

/* Takes a lane from a server that sends nothing, for an image that has none: lane_ask() finds it
 * free then. */
void lanes_steal(const struct image *image);

/* How many lanes work for the image. */
unsigned lanes_of(const struct image *image);

/* The end, rounded up to pages, of the range under way that holds the byte at `pos`; 0: none. */
uint64_t lanes_cover(unsigned file, uint64_t pos);

/* When the lane that fetches the byte at `pos` last got a page's worth of bytes; 0: never. */
int64_t lanes_progress(unsigned file, uint64_t pos);

/* Where the first range under way begins behind `from` and before `end`, or `end`. */
uint64_t lanes_until(unsigned file, uint64_t from, uint64_t end);

/* Whether a range of the file is under way. */
bool lanes_busy(unsigned file);

/* Bytes that are asked for and have not come, but for those of servers that send nothing. */
uint64_t lanes_outstanding(void);

/* Drops what is under way for a file, or for an image that is given up. */
void lanes_drop_file(unsigned file);
void lanes_drop_image(const struct image *image);

/* Connections that are there or being made. */
unsigned lanes_connected(void);

/* Closes the connections that have nothing to do. */
void lanes_hang_up(void);

/* The loop's three: see fetch.h. lanes_start() lets those that have just begun get as far as they
 * can without waiting, and returns whether there were any: some may be free again. */
size_t lanes_poll(struct pollfd out[CONNECTIONS_MAX]);
int64_t lanes_next(void);
void lanes_run(const struct pollfd *polled, int64_t us);
bool lanes_start(void);

#endif
