/* tools/check.h - `--check URL`: a report on a server and a file, as this device sees them. */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include <stddef.h>

#include "daemon/conf.h"

/* Bytes that check_run() works in. */
size_t check_memory(void);

/* Requests conf->url[0] as the daemon would, following redirects but trying nothing twice, and
 * writes a report to standard output: lines "name: value", with the verdict as the last. Call
 * dns_init() before, and ignore SIGPIPE; `memory` has check_memory() bytes, all zero and aligned
 * to 16. Whatever a server or a certificate says is escaped. Returns the exit status: 0 if the
 * server and the file are fit for the daemon, even with warnings, else 1. */
int check_run(const struct conf *conf, void *memory);

#endif
