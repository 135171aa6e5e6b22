#include "image/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/state.h"

/* Blocks that are requested first: the upper levels of an image of up to 0.9 GB lie in them. */
#define FIRST_BLOCKS 8

/* A block in memory, which has been checked. */
struct slot {
	const struct tree *tree; /* NULL: none */
	uint64_t block, used;
	uint8_t bytes[VERITY_BLOCK];
};
_Static_assert(sizeof(struct slot) <= TREE_SLOT, "the memory of a slot");

static struct slot *slots, *end_of_slots;
static uint64_t uses;

void trees_init(void *memory, size_t count)
{
	slots = memory;
	end_of_slots = slots + count;
}

void tree_root(struct tree *t, const uint8_t root[VERITY_DIGEST])
{
	tree_forget(t);
	*t = (struct tree){.rooted = true};
	memcpy(t->verity.root, root, VERITY_DIGEST);
}

uint64_t tree_image_size(const struct tree *t)
{
	return t->verity.data_blocks * VERITY_BLOCK;
}

void tree_pin(struct tree *t, uint64_t size)
{
	if (size != 0 && (t->known || t->begun) && tree_image_size(t) != size)
		tree_doubt(t);
	t->size = size;
}

uint64_t tree_blocks(const struct tree *t)
{
	return t->begun ? verity_tree_blocks(&t->verity) : FIRST_BLOCKS;
}

void tree_forget(struct tree *t)
{
	for (struct slot *s = slots; s < end_of_slots; s++)
		if (s->tree == t)
			s->tree = NULL;
}

void tree_doubt(struct tree *t)
{
	tree_forget(t);
	t->known = t->begun = t->ended = false;
	t->looked = true;
}

static struct slot *find(const struct tree *t, uint64_t block)
{
	for (struct slot *s = slots; s < end_of_slots; s++)
		if (s->tree == t && s->block == block) {
			s->used = ++uses;
			return s;
		}
	return NULL;
}

uint64_t tree_room(const struct tree *t)
{
	uint64_t count = (uint64_t)(end_of_slots - slots);

	return count > t->verity.levels ? count - t->verity.levels : 1;
}

bool tree_holds(const struct tree *t, uint64_t block)
{
	return find(t, block);
}

/* The slot that was used longest ago, for another block. */
static struct slot *reuse(void)
{
	struct slot *oldest = slots;

	for (struct slot *s = slots; s < end_of_slots; s++)
		if (!s->tree || (oldest->tree && s->used < oldest->used))
			oldest = s;
	oldest->tree = NULL;
	return oldest;
}

static void fill(struct slot *s, const struct tree *t, uint64_t block)
{
	s->tree = t;
	s->block = block;
	s->used = ++uses;
}

/* ---- the file ---- */

/* To be written, what is not a plain file is made anew, and one that belongs to another user: it is
 * one of an earlier `user`. Without a folder there is none. */
static int open_file(const uint8_t root[VERITY_DIGEST], int flags)
{
	char name[STATE_ROOT_NAME];
	int fd;

	state_root_name(name, root, STATE_TREE);
	flags |= O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	do
		fd = openat(state_folder(), name, flags, 0600);
	while (fd < 0 && (errno == EACCES || errno == ELOOP || errno == ENXIO) && flags & O_CREAT &&
		unlinkat(state_folder(), name, 0) == 0);
	return fd;
}

int tree_open(const char *hex, const struct verity *like)
{
	uint8_t root[VERITY_DIGEST], superblock[VERITY_SUPERBLOCK];
	int fd = hex && verity_root_parse(root, hex, VERITY_HEX) ? open_file(root, O_RDONLY) : -1;

	if (fd >= 0 && (pread(fd, superblock, sizeof(superblock), 0) != sizeof(superblock) ||
			       memcmp(verity_salt(superblock), like->salt, VERITY_SALT_MAX) != 0))
		fd_close(&fd);
	return fd;
}

static bool read_block(const struct tree *t, uint64_t block, void *bytes)
{
	int fd = open_file(t->verity.root, O_RDONLY);
	bool whole = fd >= 0 &&
		     pread(fd, bytes, VERITY_BLOCK, (off_t)(block * VERITY_BLOCK)) == VERITY_BLOCK;

	fd_close(&fd);
	return whole;
}

/* If it cannot be written it is fetched again when it is needed again. */
static void write_block(const struct tree *t, uint64_t block, const void *bytes)
{
	int fd = open_file(t->verity.root, O_WRONLY | O_CREAT);

	if (fd >= 0)
		(void)!pwrite(fd, bytes, VERITY_BLOCK, (off_t)(block * VERITY_BLOCK));
	fd_close(&fd);
}

/* ---- checked blocks ---- */

/* Whether a hash block is what stands in its place: it has its digest, and as many digests as the
 * superblock tells. */
static bool is_right(const struct tree *t, unsigned level, uint64_t block, const void *bytes,
	const uint8_t *wanted)
{
	return verity_block_fits(&t->verity, bytes, wanted) &&
	       verity_block_ends(&t->verity, level, block, bytes);
}

/* The digest at a level that covers a data block, from a checked block; good until another block is
 * looked for. NULL: block *lacks is not there. The tree is known, or begun. */
static const uint8_t *digest(struct tree *t, unsigned level, uint64_t data_block, uint64_t *lacks)
{
	uint8_t wanted[VERITY_DIGEST];
	const uint8_t *above;
	struct slot *s;
	uint64_t block;
	unsigned entry;

	if (level == t->verity.levels)
		return t->verity.root;
	verity_position(&t->verity, level, data_block, &block, &entry);
	s = find(t, block);
	if (!s) {
		above = digest(t, level + 1, data_block, lacks);
		if (!above)
			return NULL;
		memcpy(wanted, above, sizeof(wanted));
		s = reuse();
		*lacks = block;
		if (!read_block(t, block, s->bytes) || !is_right(t, level, block, s->bytes, wanted))
			return NULL;
		fill(s, t, block);
	}
	return s->bytes + entry * VERITY_DIGEST;
}

/* As long as the image's size is not known it is taken from the superblock, against which the
 * image's is checked later. */
static bool begin(struct tree *t, const uint8_t *superblock, const char **why)
{
	static char text[128];

	tree_forget(t);
	*why = text;
	if (!verity_superblock(
		    &t->verity, superblock, VERITY_SUPERBLOCK, t->size, text, sizeof(text)))
		return false;
	if (t->told > 0 && t->told != tree_image_size(t)) {
		*why = "its image is not of the size that `roothash` has";
		return false;
	}
	t->begun = true;
	t->known = t->verity.levels == 0;
	t->ended = false;
	return true;
}

/* Whether the top is there, and the number of blocks is proved: the path to the last one has as
 * many digests at each level as it makes, and no more. Of another number one of these blocks would
 * differ. */
static bool has_end(struct tree *t, uint64_t *lacks)
{
	t->ended = t->ended || digest(t, 0, t->verity.data_blocks - 1, lacks);
	return t->ended;
}

/* Once for a tree, looks in the file for its beginning, and for what proves that. */
static bool is_known(struct tree *t, uint64_t *lacks)
{
	const char *why;

	if (!t->known && !t->looked) {
		struct slot *s = reuse();

		t->looked = true;
		t->known =
			read_block(t, 0, s->bytes) && begin(t, s->bytes, &why) && has_end(t, lacks);
		t->begun = t->known;
	}
	*lacks = t->begun; /* block 1, the top, follows the superblock */
	return t->known;
}

bool tree_covers(struct tree *t, uint64_t block, uint64_t *lacks)
{
	return is_known(t, lacks) && has_end(t, lacks) &&
	       (block >= t->verity.data_blocks || digest(t, 0, block, lacks));
}

const uint8_t *tree_leaves(struct tree *t, uint64_t block, uint64_t *lacks)
{
	return is_known(t, lacks) ? digest(t, 0, block, lacks) : NULL;
}

enum tree_verdict tree_judge(struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks)
{
	if (!tree_covers(t, block, lacks))
		return TREE_LACKS;
	if (block >= t->verity.data_blocks ||
		verity_block_fits(&t->verity, bytes, digest(t, 0, block, lacks)))
		return TREE_FITS;
	/* Without a level nothing but this block has proved the superblock. */
	t->known = t->begun = t->verity.levels > 0;
	return TREE_UNFIT;
}

/* The level of a hash block, and the first data block that is below it. */
static bool place(const struct verity *v, uint64_t block, unsigned *level, uint64_t *data_block)
{
	for (unsigned i = 0; i < v->levels; i++) {
		uint64_t first = verity_level_begin(v, i);

		if (block < first || block - first >= verity_level_blocks(v, i))
			continue;
		*level = i;
		*data_block = (block - first) << 7 * (i + 1);
		return true;
	}
	return false;
}

enum tree_verdict tree_take(
	struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks, const char **why)
{
	const uint8_t *above;
	uint64_t data_block;
	struct slot *s;
	unsigned level;

	*lacks = 0;
	*why = "";
	if (block == 0) {
		if (t->known)
			return TREE_FITS;
		if (!begin(t, bytes, why))
			return TREE_UNFIT;
		write_block(t, 0, bytes);
		return TREE_FITS;
	}
	if (!t->begun)
		return TREE_LACKS;
	if (!place(&t->verity, block, &level, &data_block) || find(t, block))
		return TREE_FITS;
	above = digest(t, level + 1, data_block, lacks);
	if (!above)
		return TREE_LACKS;
	if (!is_right(t, level, block, bytes, above)) {
		/* Until its end is proved the superblock may be the lie. */
		if (!t->ended)
			tree_doubt(t);
		return TREE_UNFIT;
	}
	t->known = true;
	s = reuse();
	memcpy(s->bytes, bytes, VERITY_BLOCK);
	fill(s, t, block);
	write_block(t, block, bytes);
	return TREE_FITS;
}
