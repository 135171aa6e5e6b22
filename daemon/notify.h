/* daemon/notify.h - a service manager that speaks systemd's protocols: sd_notify(3) and the descriptors
 * that it hands over, sd_listen_fds(3). Without one ($NOTIFY_SOCKET, $LISTEN_FDS) nothing is done.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether there is one to notify. */
bool notify_is_wanted(void);

/* Sends lines "NAME=VALUE", with a descriptor (-1: none). Never blocks. Returns whether it was
 * taken.
 */
bool notify_send(const char *lines, int fd);

/* The descriptor of that name among those handed over, close-on-exec from now on; -1: none. */
int notify_handed_over(const char *name);

/* How often it wants to hear WATCHDOG=1 at the latest, in milliseconds; 0: not at all. */
int64_t notify_watchdog(void);

#endif
