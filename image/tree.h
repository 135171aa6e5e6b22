/* image/tree.h - the tree of digests of an image that is verified (trust/verity.h): its blocks that
 * have been checked up to the root hash, some in memory, all of them in a sparse file in the folder
 * of state.h. That file is named by the root hash, and trusted no more than a server: each block is
 * checked again when it is read from it, and one that does not fit counts as not there.
 *
 * Blocks of data are numbered in the image, blocks of the tree in its file, IMAGE.verity, of which
 * block 0 is the superblock. A superblock counts once the tree's top has been found to fit with it,
 * since the root hash does not cover it; and nothing is judged by it before the last block's path
 * is there too: else a server could name another number of blocks, and what is behind it would fit.
 */
#ifndef IMAGE_TREE_H
#define IMAGE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/verity.h"

/* The tree's file lies here in the offsets of an image's file, behind all images. */
#define TREE_BASE (1ull << 63)

/* The bytes of an image that a block of digests stands for. */
#define TREE_UNIT ((uint64_t)VERITY_DIGESTS * VERITY_BLOCK)

/* Its name on the server is the image's with this behind it. */
#define TREE_SUFFIX ".verity"

struct tree {
	bool claimed;	     /* verity has a root hash that is not proved yet */
	uint8_t claimer;     /* the mirror that it came from */
	bool none;	     /* the image has none, and may be opened all the same */
	bool denied;	     /* it may not, since it was verified before, and the log says so */
	bool rooted;	     /* its root hash is known */
	bool known;	     /* its superblock too, so that verity has the image's size */
	bool begun;	     /* a superblock is there, which the next block has to prove */
	bool ended;	     /* the number of its blocks is proved */
	bool looked;	     /* for it in the file */
	bool doubted;	     /* a block did not fit, and its root hash was not requested since */
	int64_t doubt_after; /* it is not requested before, for that */
	uint64_t told; /* the bytes of the image, if its root hash came with them; 0: any number */
	uint64_t size; /* of the image, in bytes, once it is pinned; 0: it is not known */
	struct verity verity;
};

/* Once, at start: memory for so many blocks of all trees, all zero; at least TREE_SLOTS_MIN. */
#define TREE_SLOT (VERITY_BLOCK + 32)
void trees_init(void *memory, size_t slots);

/* Sets the root hash. */
void tree_root(struct tree *t, const uint8_t root[VERITY_DIGEST]);

/* The size of the image in bytes, as the tree has it, which is known. */
uint64_t tree_image_size(const struct tree *t);

/* The image's size is pinned: no superblock with another one is taken from now on, since behind the
 * end of its image everything fits. 0: it is pinned no longer. */
void tree_pin(struct tree *t, uint64_t size);

/* The blocks of the tree's file; as long as it is not known, those that are requested first. */
uint64_t tree_blocks(const struct tree *t);

enum tree_verdict {
	TREE_FITS,
	TREE_UNFIT, /* these bytes are not the image's */
	TREE_LACKS, /* block *lacks of the tree has to come first */
};

/* Judges a block of data, VERITY_BLOCK bytes. Blocks behind the image's end fit. */
enum tree_verdict tree_judge(struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks);

/* Judges a block of the tree, and keeps it if it fits. UNFIT: *why is a sentence's end. */
enum tree_verdict tree_take(
	struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks, const char **why);

/* Whether all is there that a block of data is judged by. */
bool tree_covers(struct tree *t, uint64_t block, uint64_t *lacks);

/* How many blocks of the lowest level stay in memory beside those above them and the one before;
 * at least 1. */
uint64_t tree_room(const struct tree *t);

/* Whether a block of the tree is in memory: one that was used lately. */
bool tree_holds(const struct tree *t, uint64_t block);

/* The digests of the data blocks from `block` on, as far as they lie in the same block of the tree;
 * good until another block is looked for. NULL: block *lacks of the tree has to come first. */
const uint8_t *tree_leaves(struct tree *t, uint64_t block, uint64_t *lacks);

/* Opens the file of another version's tree, to be read, which nothing verifies. `root` has the
 * VERITY_HEX digits of its root hash; NULL: it has none. -1: there is no such file, or
 * its salt is not that of `like`: then no digest of both is the same. */
int tree_open(const char *root, const struct verity *like);

/* The superblock may be a lie: it is requested again. */
void tree_doubt(struct tree *t);

/* Forgets what is in memory of it. */
void tree_forget(struct tree *t);

#endif
