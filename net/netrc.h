/* net/netrc.h - user names and passwords by host, in the form of curl's and ftp's .netrc, so that
 * they need not stand in a URL or on a command line. */
#ifndef NET_NETRC_H
#define NET_NETRC_H

#include <stdbool.h>
#include <stddef.h>

/* Reads the file, in place of one that was read before; an empty path: there is none. Its words are
 * machine, login, password and default, parted by blanks and newlines; others are refused. It names
 * at most NETRC_MAX machines. On failure returns false and fills why, which never repeats a value.
 * If others may read the file, a warning says so. */
bool netrc_load(const char *path, char *why, size_t size);

/* Reads the file again if it was written since. Its descriptor is kept, since the path may by now
 * lead into the file system that we serve; so a new file at the path is not seen. Returns whether
 * the file was read again, and without a mistake. */
bool netrc_reload(void);

/* "user:password" of the host, or of `default`; NULL if there is none. Static. */
const char *netrc_lookup(const char *host);

#endif
