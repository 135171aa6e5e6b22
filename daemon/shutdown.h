/* daemon/shutdown.h - the last program of a machine whose root is an image:
 * /run/initramfs/shutdown, which systemd runs in its own place, from memory, once it has unmounted
 * what it can (bootup(7), systemd's ROOT_STORAGE_DAEMONS). It ends the daemon, which has the root
 * open, and unmounts root and cache; only then is the cache's file system in order.
 *
 * It is this same program, the one of an initramfs that needs no libraries.
 */
#ifndef DAEMON_SHUTDOWN_H
#define DAEMON_SHUTDOWN_H

#include <stdbool.h>

/* Whether this process is that one: number 1, by the name that systemd gives it. */
bool shutdown_is_meant(const char *name);

/* `verb` is systemd's: reboot, poweroff, halt or kexec. */
_Noreturn void shutdown_run(const char *verb);

#endif
