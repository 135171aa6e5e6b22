/* base/local.h - local sockets (unix(7)) with a path, at which the daemon is asked: both ends. */
#ifndef BASE_LOCAL_H
#define BASE_LOCAL_H

#include <stddef.h>

/* Makes a socket at `path`, for its owner alone; replaces one without a listener. Returns its
 * descriptor to listen on, which does not block, or -1 with the reason in `why`. */
int local_listen(const char *path, char *why, size_t size);

/* Takes a client of such a socket. Returns a descriptor that does not block, or -1 and errno: 0 if
 * there is none to be taken. */
int local_accept(int listener);

/* Connects to `path`, with flags of socket(2): SOCK_NONBLOCK or 0. Without it a full queue is
 * waited for. Returns a descriptor, or -1 and errno. */
int local_connect(const char *path, int flags);

#endif
