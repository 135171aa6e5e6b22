/* net/netrc.h - user names and passwords by host, in the form of curl's and ftp's .netrc, so that
 * they need not stand in a URL or on a command line. */
#ifndef NET_NETRC_H
#define NET_NETRC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/limits.h"

/* Opens and checks the file, in place of one before; an empty path: there is none. It has at most
 * NETRC_FILE_MAX bytes. As for curl its words are machine, default, login, password, account and
 * macdef in any case, the last two without effect, and what stands before the first machine or
 * default is skipped. Blanks and newlines part them. A value may stand in double quotes, in which a
 * backslash makes the next byte an ordinary one. '#' before a word begins a comment. Other words
 * are refused, as is a value over its size in limits.h. On failure returns false and fills why,
 * which names the line but never repeats a value. If others may read the file, a warning says so.
 */
bool netrc_load(const char *path, char *why, size_t size);

/* Looks whether the file was written since, and if so checks it, and forgets what was looked up.
 * Its descriptor is kept, since the path may by now lead into the file system that we serve; so a
 * new file at the path is not seen. Returns whether it was written, and without a mistake. */
bool netrc_reload(void);

/* "user:password" of the host, or of `default`, at most USERINFO_MAX bytes with its NUL; NULL if
 * there is none. The host is in lower case, the user that of its URL; empty: any will do; with a
 * password: NULL. Good until the next call. The file is read for it once, and again when more than
 * NETRC_KNOWN_MAX bytes were looked up since. */
const char *netrc_lookup(const char *host, const char *user);

#endif
