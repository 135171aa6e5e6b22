/* daemon/control.h - the keeper's control socket: root asks for something in one line, and gets one
 * line as the answer. What the lines mean the keeper knows.
 *
 * A line has at most CONTROL_LINE_MAX bytes with its newline. One client at a time is served; the
 * next ones wait in the socket's queue. One that is neither root nor our own user is dropped, and
 * so is one whose line is not here in two seconds, or is too long, or whose answer cannot be sent
 * at once. The answer may take as long as it will.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

enum control_event {
	CONTROL_NONE,
	CONTROL_LINE, /* control_line() has it, and control_answer() is to be called */
	CONTROL_GONE, /* the client of that line has hung up: there is nobody to answer any more */
};

/* Serves on that descriptor of local_listen() from now on; -1: on none. Before all others. */
void control_init(int listener);

/* In a process that has just been forked: closes what it must not have. */
void control_leave(void);

/* For the loop, as in fetch.h: control_poll() writes one entry, whose descriptor is -1 when there
 * is nothing to wait for. */
void control_poll(struct pollfd *out);
int64_t control_next(void);
enum control_event control_run(const struct pollfd *polled, int64_t now);

/* The line without its newline, the caller's to change until the answer. */
char *control_line(void);

/* Sends the answer, "ok TEXT" or "no TEXT", and ends the connection. Between CONTROL_LINE and
 * CONTROL_GONE, once. The text has no newline, and is cut at 590 bytes. */
void control_answer(bool done, const char *text);

#endif
