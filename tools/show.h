/* tools/show.h - --status: asks the daemon that runs at its status socket, and shows the answer. */
#ifndef TOOLS_SHOW_H
#define TOOLS_SHOW_H

#include <stdbool.h>

/* For a person, after a second, in which rates are measured, or as one JSON object: to standard
 * output. Returns the exit status: 0, or 1 after a sentence on standard error. */
int show_run(const char *path, bool json);

#endif
