/* net/netrc.h - user names and passwords by host, in the form of curl's and ftp's .netrc, so that they
 * need not stand in a URL or on a command line.
 */
#ifndef NET_NETRC_H
#define NET_NETRC_H

#include <stdbool.h>
#include <stddef.h>

/* Reads the file, at start or anew; an empty path: there is none (any more). Its words are machine,
 * login, password and default, separated by blanks and newlines; others are refused. NETRC_MAX
 * machines at most. On failure returns false and fills why, which never repeats a value. A file
 * that others may read is told to the log. */
bool netrc_load(const char *path, char *why, size_t size);

/* Reads it again if it was written since, through the descriptor that is kept: the path may by now
 * lead into the file system we serve, so a file put in its place is not seen. Returns whether there
 * is something new. */
bool netrc_reload(void);

/* "user:password" of the host, or of `default`; NULL if there is none. Static. */
const char *netrc_lookup(const char *host);

#endif
