/* tools/status.h - the status socket: whoever connects gets one text of all that is counted, and its end.
 * Nothing is read from him.
 *
 * The text is Prometheus' (exposition format 0.0.4); its last line is the comment "# EOF", so that
 * one that was cut off can be told. Names of images are anybody's: bytes of them that are not
 * printable ASCII, '"' and '\' are written as \xNN, with the '\' doubled as the format has it. Of
 * URLs, user name, password and query are left out.
 *
 * It is made row by row as the socket takes it, out of one buffer: one client at a time is served,
 * the next ones wait in the socket's queue, and one that does not take all of it in time is
 * dropped.
 */
#ifndef TOOLS_STATUS_H
#define TOOLS_STATUS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Makes the socket at `path`, for its owner alone, in place of one that nobody answers at. Returns
 * its descriptor to listen on, or -1 and in `why` what is wrong. */
int status_open(const char *path, char *why, size_t size);

/* Serves on that descriptor from now on, or with -1 nobody. `conf` stays borrowed. */
void status_init(const struct conf *conf, int listener, int64_t now);

/* The loop's three, as in fetch.h: status_poll() writes one entry, with a descriptor of -1 when
 * there is nothing to wait for. */
void status_poll(struct pollfd *out);
int64_t status_next(void);
void status_run(const struct pollfd *polled, int64_t now);

#endif
