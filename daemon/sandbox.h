/* daemon/sandbox.h - least privilege: what a process of ours may still do once it has begun.
 *
 * The keeper is root, for as long as new workers may have to read secrets, with the capabilities
 * that this and ending a worker of another user need, and no others. The culler is root too, since
 * the kernel's cache files are root's, but has no capability. Every other process is the user of
 * the configuration (root, if none is named) and has none either. All: no new privileges,
 * no core dump, not to be looked into by other processes of its user, and only the system calls of
 * the table in sandbox.c. The worker also: no path but below the folders that are named (Landlock,
 * Linux 5.13 and later).
 *
 * What the kernel does not have is left out.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

enum sandbox_role {
	SANDBOX_KEEPER = 1,
	SANDBOX_WORKER = 2,
	SANDBOX_CULLER = 4, /* removes cache files, from a working directory of its own */
	SANDBOX_TOOL = 8,   /* --get and --check: whoever runs them, and no device */
};

/* `user` of the configuration: a name of /etc/passwd, or UID:GID; empty: root. Looked up at the
 * start, or anew. On failure returns false and fills why. */
bool sandbox_user(const char *user, char *why, size_t size);

/* Hands a file or folder that was made for the worker to that user. */
bool sandbox_give(int fd);

/* Hands a folder to that user, and leaves it to root without capabilities as well. */
bool sandbox_share(int folder);

/* In the keeper, before a worker is forked: raises what limits there are while it may. */
void sandbox_raise_limits(unsigned descriptors);

/* In a keeper that an initramfs has started, before it drops its rights: it may still follow the
 * boot to another root. */
void sandbox_allow_chroot(void);

/* Becomes that user, for good, without any capability; keeper and culler stay root. Whatever is
 * opened or made from then on is so with that user's rights. */
void sandbox_drop_rights(enum sandbox_role role);

/* A folder below which files may be made, read, renamed and removed from then on. */
void sandbox_allow_folder(int folder);

/* The rest, at the end of all preparations. */
void sandbox_enter(enum sandbox_role role);

#endif
