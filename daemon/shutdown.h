/* daemon/shutdown.h - the last program of a machine whose root is an image: as /run/initramfs/shutdown, which systemd
 * runs in place of itself, in memory, once it has unmounted what it can (bootup(7), systemd's
 * ROOT_STORAGE_DAEMONS). It ends the daemon, which has the root open, and unmounts root and cache, whose file system
 * only then is in order.
 *
 * It is this same program, as it is the one thing of an initramfs that needs no libraries.
 */
#ifndef DAEMON_SHUTDOWN_H
#define DAEMON_SHUTDOWN_H

#include <stdbool.h>

/* What systemd calls it; it is process 1 then. */
bool shutdown_is_meant(const char *name);

/* `verb` is systemd's: reboot, poweroff, halt or kexec. Does not return. */
_Noreturn void shutdown_run(const char *verb);

#endif
