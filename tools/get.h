/* tools/get.h - `--get URL [OFFSET [LENGTH]]`: a file's bytes to standard output, by the same client and
 * with the same care as an image's: a second user of fetch.h beside /dev/cachefiles.
 *
 * The version is pinned with the first answer, so what comes out is of one version, in order and
 * without a gap; after an error it is a correct beginning of what was asked for.
 */
#ifndef TOOLS_GET_H
#define TOOLS_GET_H

#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/fetch.h"

/* What fetch_init() is given. */
extern const struct frontend get_frontend;

/* Writes [offset, offset + length), cut at the file's end, of conf->url[0]; the other urls are its
 * mirrors, where the URL's last segment is appended to one that ends in '/'. dns_init() and
 * fetch_init() must have been called, and SIGPIPE be ignored. Blocks while standard output takes no
 * bytes. Returns the exit status: 0, 1 (standard output; a reader that has gone is not worth a
 * line), 2 (`offset` is beyond the end), or the outcome's. Errors are logged. While standard error
 * is a terminal and standard output is none, the former shows how far it is. */
int get_run(const struct conf *conf, uint64_t offset, uint64_t length);

#endif
