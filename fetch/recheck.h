/* fetch/recheck.h - what is cached of a verified image is read back and compared with its tree, as
 * `cache-check` says: after a cut of the power (its mark of state.h), or before it is used. A page
 * that does not fit is punched as long as the OPEN is not answered. Later it is requested again,
 * and the right bytes are written over it: cachefiles looks for a hole and then reads, so that a
 * hole made in between would read as zeros.
 */
#ifndef FETCH_RECHECK_H
#define FETCH_RECHECK_H

#include <stdint.h>

#include "daemon/conf.h"
#include "fetch/file.h"

/* Once, at start. `conf` stays borrowed. */
void recheck_init(const struct conf *conf);

/* The image of the file is known: sets its `check` to what has to be done. */
void recheck_begin(struct file *f);

/* Goes on by a bounded number of blocks; must be called at the end of each turn. Returns a file
 * whose OPEN can be answered now, or NULL. */
struct file *recheck_run(void);

/* When to call it again. */
int64_t recheck_next(void);

/* The file is closed. */
void recheck_end(struct file *f);

#endif
