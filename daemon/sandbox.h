/* daemon/sandbox.h - least privilege: what a process of ours may still do once it has begun.
 *
 * The keeper stays root, as new workers may have to read secrets, with the capabilities that this
 * and ending another user's worker need, and with block devices CAP_SYS_ADMIN. So does the process
 * that holds the configuration, with those to read secrets and to make another user of a worker.
 * The culler stays root, as the kernel's cache files are root's, without capabilities. Every other
 * process becomes the user of the configuration (root, if it names none), without capabilities.
 * Each of them has no new privileges and no core dump, cannot be looked into by other processes of
 * its user, and has only the system calls of the table in sandbox.c. A worker also has no paths but
 * those below the folders that are allowed (Landlock, Linux 5.13 and later). What the kernel does
 * not know is left out.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox_role {
	SANDBOX_WORKER = 1,
	SANDBOX_CULLER = 2, /* removes cache files, from a working directory of its own */
	SANDBOX_TOOL = 4,   /* --get and --check: any user's, without a device */
	SANDBOX_KEEPER = 8,
	SANDBOX_HOLDER = 16, /* worker.h's; the keeper's filter is in force there */
};

/* Looks up `user` of the configuration: a name of /etc/passwd, or UID:GID; empty: root. May be
 * called again. On failure returns false and fills why. */
bool sandbox_user(const char *user, char *why, size_t size);

/* In a worker that is still root, before it drops its rights: lets that user into a folder of
 * root's, and at the files there, which stay root's. No capability is needed but CAP_SETGID, as
 * root may give what it owns to a group of its own. False and errno: it cannot. */
bool sandbox_share(int folder);

/* Raises the resource limits, in the keeper, before it forks a worker and drops its rights. */
void sandbox_raise_limits(unsigned descriptors);

/* In a keeper that an initramfs has started, before it drops its rights: it keeps the right to
 * follow the boot to another root. */
void sandbox_allow_chroot(void);

/* In a keeper whose front end has block devices, before it drops its rights: it keeps
 * CAP_SYS_ADMIN, which the kernel demands for each command to their driver. */
void sandbox_allow_devices(void);

/* Drops capabilities; worker and tool become that user. For good. */
void sandbox_drop_rights(enum sandbox_role role);

/* Before sandbox_enter(): files below this folder, if it is not -1, may be made, read, renamed and
 * removed. */
void sandbox_allow_folder(int folder);

/* Forbids the rest, at the end of all preparations. */
void sandbox_enter(enum sandbox_role role);

#endif
