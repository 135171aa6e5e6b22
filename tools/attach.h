/* tools/attach.h - --attach and --detach: asks the running daemon at its control socket (control.h)
 * for a block device, or to take one away. */
#ifndef TOOLS_ATTACH_H
#define TOOLS_ATTACH_H

#include <stdbool.h>

/* `word` is "attach" or "detach"; the arguments are NAME, and for "attach" perhaps /dev/nbdN, NULL
 * behind the last. Waits for the answer, which may be the image's server's, for as long as it
 * takes, and prints it. Returns the exit status; a failure has been logged. */
int attach_run(const char *path, const char *word, char *const *arguments);

/* Whether the daemon that answers there, if any, has block devices as its front end. */
bool attach_is_front(const char *path);

#endif
