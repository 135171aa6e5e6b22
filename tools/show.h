/* tools/show.h - `--status`: reads the running daemon's status socket, and shows what it says. */
#ifndef TOOLS_SHOW_H
#define TOOLS_SHOW_H

#include <stdbool.h>

/* Writes to standard output: as one JSON object, or for a person, after a second in which rates are
 * measured. Returns the exit status: 0, or 1 after a sentence on standard error. */
int show_run(const char *path, bool json);

#endif
