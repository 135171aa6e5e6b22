/* tools/status.h - the status socket: each client gets one text with all counters, and the
 * connection ends. Nothing is read from a client.
 *
 * The text is in Prometheus' exposition format 0.0.4. Its last line is the comment "# EOF", by
 * which a text that was cut off is told. Images may have any names: their bytes that are not
 * printable ASCII, '"' and '\' are written as \xNN, with the '\' doubled as the format has it. URLs
 * are written without user name, password and query.
 *
 * The text is made row by row, in one buffer, as the socket takes it. One client at a time is
 * served, and dropped if it does not take the text in time; the next ones wait in the socket's
 * queue.
 */
#ifndef TOOLS_STATUS_H
#define TOOLS_STATUS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Serves on that descriptor of local_listen() from now on; -1: on none. `conf` and
 * `front` stay borrowed. Goes on with the counters of the worker before. */
struct front;
void status_init(const struct conf *conf, const struct front *front, int listener, int64_t now);

/* Leaves the counters to the next worker, whose status_init() takes them. */
void status_keep(void);

/* Before the culler begins, in a worker: where it counts. */
void status_share(void);

/* For the loop, as in fetch.h: status_poll() writes one entry, whose descriptor is -1 when there is
 * nothing to wait for. */
void status_poll(struct pollfd *out);
int64_t status_next(void);
void status_run(const struct pollfd *polled, int64_t now);

#endif
