/* tools/check.h - `--check URL`: one look at a server from the device, told to a person. */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include <stddef.h>

#include "daemon/conf.h"

/* Bytes that check_run() works in. */
size_t check_memory(void);

/* Asks for conf->url[0] as the daemon would, following redirects but trying nothing twice, and
 * writes a report to standard output: lines "name: value", the last of which is the verdict.
 * dns_init() must have been called, and SIGPIPE be ignored; `memory` has check_memory() bytes, all
 * zero and aligned to 16. Returns the exit status: 0 if the server and the file are fit for the
 * daemon, even with warnings, else 1. */
int check_run(const struct conf *conf, void *memory);

#endif
