/* fetch/verify.h - what has to be known of an image before it is opened, where images are verified:
 * its root hash, from the configuration or signed beside the image, and the top of its tree. */
#ifndef FETCH_VERIFY_H
#define FETCH_VERIFY_H

#include <stdbool.h>

#include "daemon/conf.h"
#include "fetch/file.h"
#include "fetch/transfer.h"

/* Why an image is not opened that has no root hash. */
extern const char verify_no_root[];

/* Once, at start. `conf` stays borrowed. */
void verify_init(const struct conf *conf);

/* An OPEN of the image has come, which is not open yet: takes its root hash, if the configuration
 * has it. */
void verify_begin(struct image *image);

/* The same, of an image that the worker before us has opened when it was not to be verified: it is
 * not, since a change of the configuration must not take the file system of a running machine
 * away. */
void verify_waive(struct image *image);

/* For a file that is being opened, requests what has to be known besides its first bytes. False:
 * these must not be requested yet, or the image is given up. */
bool verify_ready(struct file *f);

/* Of an image with a signed root hash, of which a block does not fit, requests the root hash again,
 * at most once in a minute: it may have been replaced. */
void verify_doubt(struct file *f);

/* The root hash or its signature has come. */
void verify_take(const struct transfer_result *result);

/* Whether an image that no server gives a root hash for may be opened all the same, which is
 * logged; or for which none can be reached. */
bool verify_allows(struct image *image);

/* The loop's: fetches the rest of the trees when nothing else is to do, for the next update and for
 * when no server answers. And when it has to be called again. */
void verify_run(void);
int64_t verify_next(void);

/* Takes a signed root hash, that of the version that was opened last in place of one that a server
 * has sent since, and the top of the tree from the disk. False: the image cannot be opened without
 * a server. */
bool verify_recall(struct image *image);

/* It is not opened by what verify_recall() took: a root hash that is not the configuration's is
 * asked of a server again, and the image's transfers, which it was to judge, end. */
void verify_retract(struct image *image);

#endif
