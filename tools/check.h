/* tools/check.h - `--check URL`: a report on a server and a file, as this device sees them. */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"

/* Bytes that check_run() works in. */
size_t check_memory(const struct conf *conf);

/* Requests conf->url[0] as the daemon would, following redirects but trying nothing twice, and
 * writes a report to standard output: lines "name: value", with the verdict as the last, or one
 * JSON object. At most `size` bytes are read, for at most 2 seconds, to measure the throughput, and
 * some 1,200 besides. Call dns_init() before, and ignore SIGPIPE; `memory` has check_memory()
 * bytes, all zero and aligned to 16. Whatever a server or a certificate says is escaped. Returns
 * the exit status: 0 if the server is fit for the daemon and the file to be mounted here, even with
 * warnings; CHECK_UNKNOWN if only the file is not, and of no kind that is known; else 1. */
#define CHECK_UNKNOWN 14 /* no outcome has it: see outcome.h */
int check_run(const struct conf *conf, uint64_t size, bool json, void *memory);

#endif
