/* daemon/notify.h - a service manager that speaks systemd's protocols: sd_notify(3) and, for the
 * descriptors that it hands over, sd_listen_fds(3). Without one ($NOTIFY_SOCKET, $LISTEN_FDS)
 * nothing is done. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Sends lines "NAME=VALUE", with a descriptor (-1: none). Never blocks. Returns whether the service
 * manager has taken them. */
bool notify_send(const char *lines, int fd);

/* The descriptor of that name among those handed over, close-on-exec from now on; -1: none. */
int notify_handed_over(const char *name);

/* The milliseconds, at least 4, after which the manager expects the next WATCHDOG=1; 0: it expects
 * none. */
int64_t notify_watchdog(void);

#endif
