/* tools/check_verity.h - the part of --check that is about the image's root hash and tree. Without
 * a `roothash` or a `verity-key` it requests nothing. */
#ifndef TOOLS_CHECK_VERITY_H
#define TOOLS_CHECK_VERITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/conf.h"
#include "http.h"
#include "image/image.h"

/* Once, before anything is pinned. `conf` and `image` stay borrowed, and `memory` of
 * check_verity_memory() bytes, all zero. */
size_t check_verity_memory(const struct conf *conf);
void check_verity_init(const struct conf *conf, struct image *image, void *memory);

/* Whether the image has to have a root hash. */
bool check_verity_is_due(void);

/* Reports on the root hash, whose it is, the tree's form, and whether a sample of the image fits.
 * `size` is the image's. Returns HTTP_END, also when it does not fit; else as probe_fetch().
 */
enum http_event check_verity(uint64_t size);

/* What the last request was for, as the beginning of a reason why it failed. */
const char *check_part_words(void);

#endif
