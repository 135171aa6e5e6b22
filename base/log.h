/* base/log.h - the log: one line an event, to standard error, syslog or the kernel's log, never
 * blocking.
 *
 * The daemon may serve the file system that the reader of its log runs from. So a line that cannot
 * be written at once is dropped and counted, and a line before the next one says how many were. A
 * line is dropped too if its format was used too often: 50 times at once, and then once every 250
 * ms; LOG_LEVEL_DEBUG drops none for that.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

/* Values of syslog(3). */
enum log_level {
	LOG_LEVEL_ERR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* Sets where lines go, and the least important level that is written; at first standard error and
 * LOG_LEVEL_INFO. Syslog is the datagram socket /dev/log (RFC 3164 section 4.1, without the time,
 * which the receiver adds); it is opened here, so that it outlives a change of the root directory.
 * Without it, as in an initramfs, lines go to the kernel's log, /dev/kmsg, until syslog is there:
 * that is tried once a minute. Without either they go to standard error. */
void log_open(bool to_stderr, enum log_level least);

/* Call before log_open() when an initramfs starts us: syslog is not used. The journal of an
 * initramfs hides our messages from the console, and ends with it. */
void log_avoid_syslog(void);

/* In between, errors also go to what is standard error now, since a start that fails has to tell
 * the person who made it. Each process that is forked in between calls log_started() too: it would
 * hold the other end of a pipe open. */
void log_starting(void);
void log_started(void);

/* Lines dropped since the start. */
unsigned long log_dropped(void);

/* Writes one line, formatted as by printf, without a newline at its end. Bytes other than printable
 * ASCII are written as \xNN, so that nothing from the network can forge a line or steer a terminal.
 * A line over 900 bytes is cut and ends in "...": /dev/kmsg takes no more than 976. Keeps errno. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)	 log_line(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Exit statuses of a program that ends early, as classic cachefilesd has them. */
enum { EXIT_SYSTEM = 1, EXIT_USAGE = 2, EXIT_INTERNAL = 3 };

/* Logs why, as an error, and ends the program. */
void die(int status, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Tells the caller why instead, by a text of at most `size` bytes. Returns false. */
#define fail(why, size, ...) (snprintf(why, size, __VA_ARGS__), false)

#endif
