/* tools/call.h - calls the running daemon at one of its sockets. */
#ifndef TOOLS_CALL_H
#define TOOLS_CALL_H

#include <stdbool.h>

/* Connects to the socket that the configuration names (empty: none), with the flags of
 * local_connect(). Returns a descriptor, or -1 when no daemon answers, which has been logged. */
int call_daemon(const char *path, int flags);

/* Logs that none does. Returns false. */
bool call_failed(const char *path, const char *why);

#endif
