/* fetch/transfer.h - lanes: connections with a buffer each, and the ranges that they fetch and write. A lane
 * asks for its ranges one behind the other, goes on where a body breaks off, at other mirrors if
 * need be, and follows redirects. What to ask for is fetch.h's matter.
 *
 * Times are monotonic milliseconds.
 */
#ifndef FETCH_TRANSFER_H
#define FETCH_TRANSFER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/file.h"
#include "image/image.h"
#include "base/limits.h"

/* Bytes that a lane takes beside its buffer. */
size_t lanes_memory_each(void);

/* Once, at start. `memory` is aligned to a page, all zero, and has room for capacity.connections
 * lanes with their buffers. */
void lanes_init(const struct conf *conf, void *memory);

/* Asks for an image's size and first bytes, or for a small text: lanes_run() returns LANE_OPENED or
 * LANE_TEXT. False when no lane is free. */
bool lane_ask_size(struct image *image);
bool lane_ask_text(struct image *image);

/* Asks for [from, end) of the file, less what is under way, `from` at a page's boundary, in the
 * lane where it comes soonest: on an idle connection, or behind other ranges of the file, but not
 * more than `behind`. Returns where what was asked for ends, 0 when there is no lane. */
uint64_t lane_ask(struct file *f, uint64_t from, uint64_t end, unsigned behind);

/* Whether the file can be asked for ahead of its readers now: nobody else waits for want of it. */
bool lanes_may_ask_ahead(const struct file *f);

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

/* The loop's three: see fetch.h. lanes_run() lets each lane get as far as it can without waiting,
 * and returns at the first of these events; it is called again until there is none. With NULL, only
 * those that have just begun and those whose time has come are run. */
enum lane_event {
	LANES_WAIT,  /* for a descriptor or lanes_next() */
	LANE_OPENED, /* lane_ask_size(): the size and version of the image are pinned */
	LANE_TEXT,   /* lane_ask_text(): it is over */
};

/* `bytes` and `url` are good until something else is asked for. */
struct lane_result {
	struct image *image;
	const char
		*bytes; /* OPENED: the image's first ones, EROFS_HEAD of them if it has so many */
	size_t size;	/* TEXT: 0 when there is none, at most a buffer */
	bool whole;	/* TEXT: there is no more of it */
	const struct url *url; /* OPENED: where they come from */
	struct lane *lane;     /* OPENED: for lane_write_head() */
};

size_t lanes_poll(struct pollfd out[CONNECTIONS_MAX]);
int64_t lanes_next(void);
enum lane_event lanes_run(const struct pollfd *polled, struct lane_result *out);

/* Must follow LANE_OPENED: the first bytes belong to the file too, and are written if they are not
 * cached; -1: they do not. */
void lane_write_head(struct lane *lane, int file);

/* Whether lanes_run(NULL) has something to do. */
bool lanes_unfinished(void);

#endif
