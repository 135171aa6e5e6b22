/* daemon/passwd.h - one line of /etc/passwd. Pure: the C library's getpwnam() allocates, and asks others.
 */
#ifndef DAEMON_PASSWD_H
#define DAEMON_PASSWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a line (its newline may be left out) is that of user `name`, in the form
 * NAME:PASSWORD:UID:GID:..., and its numbers, which are below UINT32_MAX. */
bool passwd_match(const char *line, size_t size, const char *name, uint32_t *uid, uint32_t *gid);

/* "UID:GID", as an argument. */
bool passwd_numbers(const char *text, uint32_t *uid, uint32_t *gid);

#endif
