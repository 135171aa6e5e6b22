/* base/log.h - telling people: one line an event, to standard error or syslog, never blocking.
 *
 * The daemon may serve the file system that the reader of its log runs from, so a line that
 * cannot be handed over at once is dropped and counted; the next line that passes is preceded by
 * one that says how many. So is a line whose kind, that is its format, came too often of late: 50
 * at once, and then one every 250 ms, unless LOG_LEVEL_DEBUG asks for all.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

/* Values of syslog(3). */
enum log_level {
	LOG_LEVEL_ERR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* Where lines go from now on, and the least important level that is still told. Until this is
 * called: standard error, LOG_LEVEL_INFO. Syslog is the datagram socket /dev/log (RFC 3164 form,
 * the time left to the receiver); it is opened here, so that it outlives a change of the root
 * directory. Where there is none (an initramfs) lines go to the kernel's log by /dev/kmsg, and
 * where that is missing too, to standard error. From the kernel's log they turn to syslog once
 * there is one, which is looked for once a minute. */
void log_open(bool to_stderr, enum log_level least);

/* Before log_open(), where an initramfs starts us: no syslog. The one of an initramfs, as systemd
 * has it, keeps from the console what is waited for, and is gone after the boot. */
void log_avoid_syslog(void);

/* How many lines have been dropped since the start. */
unsigned long log_dropped(void);

/* One line, formatted as by printf, without a newline at its end. Every byte that is not printable
 * ASCII is written as \xNN, so that nothing from the network can forge a line or steer a terminal.
 * A line over 900 bytes is cut and ends in "...": /dev/kmsg takes no more than 976. Keeps errno. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)	 log_line(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* What a program that ends early ends with: classic cachefilesd's exit statuses. */
enum { EXIT_SYSTEM = 1, EXIT_USAGE = 2, EXIT_INTERNAL = 3 };

/* Says why, as an error, and ends the program. */
void die(int status, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
