/* daemon/conf_file.h - reads the configuration file, whose form conf.h describes. */
#ifndef DAEMON_CONF_FILE_H
#define DAEMON_CONF_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"

/* Reads a file, to its end whatever mistakes its lines have. On failure returns false and fills
 * why; *missing: there is no such file. */
bool conf_file(struct conf *c, const char *path, char *why, size_t size, bool *missing);

#endif
