/* tools/get.h - `--get URL [OFFSET [LENGTH]]`: writes a file's bytes to standard output or, with
 * `--output FILE`, to a file. It is a front end of fetch/ beside /dev/cachefiles, so the same
 * client fetches them with the same care as an image's.
 *
 * The first answer pins the version. So the output is of one version, in order and without a gap;
 * after an error it is a correct beginning of the bytes asked for.
 */
#ifndef TOOLS_GET_H
#define TOOLS_GET_H

#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/fetch.h"

/* For fetch_init(). */
extern const struct frontend get_frontend;

/* Opens the file that takes the place of standard output. It is cut at the first good answer. Ends
 * the program if it cannot be opened. Call it before the sandbox is entered. */
void get_output(const char *path);

/* Writes [offset, offset + length), cut at the file's end, of conf->url[0]. The other urls are its
 * mirrors; to one that ends in '/' the last segment of url[0] is appended. Call dns_init() and
 * fetch_init() before, and ignore SIGPIPE. Blocks while standard output takes no bytes. Returns the
 * exit status: 0, 1 (standard output failed), 2 (`offset` is beyond the end), or the outcome's.
 * Errors are logged, except that the reader of standard output has gone. If standard error is a
 * terminal and standard output is none, the progress is shown. */
int get_run(const struct conf *conf, uint64_t offset, uint64_t length);

#endif
