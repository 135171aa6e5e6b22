#include "fetch/verify.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "trust/p7s.h"
#include "fetch/bandwidth.h"
#include "fetch/mirror.h"
#include "fetch/pool.h"
#include "fetch/reads.h"
#include "fetch/transfer.h"

/* Milliseconds without a READ, after which nothing else is to do. */
#define IDLE 10000

/* Between two requests for a signed root hash, as blocks do not fit. */
#define DOUBT_EVERY 60000

/* Until the rest of a tree is looked at again, if nothing of it comes. */
#define AGAIN 1000

/* Blocks of it that are requested at once. */
#define RUN_MAX 64

const char verify_no_root[] = "it has no root hash: see `roothash` and `verity-key`";

static const struct conf *conf;
static int64_t tree_next = INT64_MAX; /* when the rest of a tree is looked at again */

void verify_init(const struct conf *c)
{
	conf = c;
}

static const struct conf_roothash *configured_root(const struct image *image)
{
	const struct conf_roothash *root = NULL;

	for (size_t i = 0; i < conf->roothashes; i++) {
		const char *name = conf->roothash[i].name;

		if (name && (strlen(name) != image->cookie_size ||
				    memcmp(name, image->cookie, image->cookie_size) != 0))
			continue;
		if (name || !root)
			root = &conf->roothash[i];
		if (name)
			break;
	}
	return root;
}

void verify_begin(struct image *image)
{
	struct tree *tree = image_tree_place(image);
	const struct conf_roothash *root = tree ? configured_root(image) : NULL;

	if (!root)
		return;
	image_set_root(image, root->root);
	tree->told = root->bytes;
}

void verify_waive(struct image *image)
{
	struct tree *tree = image_tree_place(image);

	if (!tree)
		return;
	tree->none = true;
	log_warning(
		"%s: was opened without being verified: it is once it is mounted or attached anew",
		image_name(image));
}

/* ---- without a root hash ---- */

static bool opens_unverified(struct image *image, const char *why)
{
	struct tree *tree = image_tree_place(image);

	if (conf->verity != VERITY_ALLOW)
		return false;
	if (image_was_verified(image)) {
		if (!tree->denied)
			log_warning("%s: verity allow does not open it unverified, since it was "
				    "verified before",
				image_name(image));
		tree->denied = true;
		return false;
	}
	log_warning(
		"%s: is opened without being verified (verity allow): %s", image_name(image), why);
	tree->none = true;
	image->refused = false;
	image->doubted = image->refused_by = image->failures = 0;
	return true;
}

bool verify_allows(struct image *image)
{
	struct tree *tree = image_tree_place(image);

	return tree && !tree->rooted && !tree->none && opens_unverified(image, mirror_why(image));
}

/* ---- what is asked for ---- */

/* Once the superblock tells how many blocks there are, the last one's leaf is known, and requested
 * before the levels above it show that it is lacking. */
static bool ask_top(struct file *f, const struct tree *tree, uint64_t lacks)
{
	uint64_t leaf;
	unsigned entry;
	bool asked = pool_ask_tree(f, lacks);

	if (asked && tree->begun && !tree->ended && tree->verity.levels > 0) {
		verity_position(&tree->verity, 0, tree->verity.data_blocks - 1, &leaf, &entry);
		pool_ask_tree(f, leaf);
	}
	return asked;
}

bool verify_ready(struct file *f)
{
	struct tree *tree = image_tree_place(f->image);
	uint64_t lacks;

	if (!tree || tree->none)
		return true;
	/* What belongs to a signed root hash cannot be had: that may be of a version before. */
	if (tree->doubted)
		verify_retract(f->image);
	if (tree->rooted) {
		return tree_covers(tree, 0, &lacks) || ask_top(f, tree, lacks);
	} else if (p7s_keys() > 0) {
		if (pool_count(f->image) == 0)
			pool_ask_proof(f->image, tree->claimed ? PART_SIGNATURE : PART_ROOTHASH);
	} else if (!opens_unverified(f->image, verify_no_root)) {
		mirror_give_up(f->image, OUTCOME_UNVERIFIED, verify_no_root);
	}
	return false;
}

void verify_doubt(struct file *f)
{
	struct tree *tree = image_tree(f->image);

	if (tree && tree->doubted && turn.ms >= tree->doubt_after && !configured_root(f->image) &&
		pool_ask_proof(f->image, PART_ROOTHASH)) {
		tree->doubted = false;
		tree->doubt_after = turn.ms + DOUBT_EVERY;
	}
}

/* ---- a signed root hash ---- */

static void unproved(const struct transfer_result *r, const char *why)
{
	image_tree_place(r->image)->claimed = false;
	transfer_fail(r->transfer, OUTCOME_UNVERIFIED, why);
}

/* `p7s` is its signature. Returns why it is not taken; NULL: it is. */
static const char *take_signed(
	struct image *image, const uint8_t *root, const uint8_t *p7s, size_t size)
{
	char text[VERITY_HEX + 1];
	const char *fault, *signer = p7s_signer(p7s, size, root, &fault);

	if (!signer)
		return fault;
	log_info("%s: root hash %s, signed by %s", image_name(image), verity_root_text(text, root),
		signer);
	image_set_root(image, root);
	return NULL;
}

void verify_take(const struct transfer_result *r)
{
	const uint8_t *bytes = (const uint8_t *)r->bytes;
	struct tree *tree = image_tree_place(r->image);
	uint8_t root[VERITY_DIGEST];
	const char *fault;

	if (r->image->ready) {
		if (verity_root_parse(root, r->bytes, r->size) &&
			memcmp(root, tree->verity.root, sizeof(root)) != 0)
			log_err("%s: %s; what is not cached of it cannot be read until it is "
				"mounted again",
				image_name(r->image),
				"it was replaced, and has another root hash on the server now");
		transfer_free(r->transfer);
		return;
	}
	if (r->part == PART_ROOTHASH) {
		tree->claimed = verity_root_parse(tree->verity.root, r->bytes, r->size);
		tree->claimer = (uint8_t)r->transfer->mirror;
		if (tree->claimed)
			transfer_free(r->transfer);
		else
			unproved(r, "it is not 64 hexadecimal digits");
		return;
	}
	memcpy(root, tree->verity.root, sizeof(root));
	fault = take_signed(r->image, root, bytes, r->size);
	if (!fault) {
		state_store_proof(root, bytes, r->size);
		transfer_free(r->transfer);
		return;
	}
	if (tree->claimer != r->transfer->mirror) {
		/* Either may lie: both are asked of the mirror that is best now. */
		tree->claimed = false;
		transfer_free(r->transfer);
		return;
	}
	unproved(r, fault);
}

void verify_retract(struct image *image)
{
	struct tree *tree = image_tree_place(image);

	if (!tree || configured_root(image))
		return;
	pool_drop_image(image); /* what is under way was to be judged by that tree */
	tree_forget(tree);
	*tree = (struct tree){.rooted = false};
}

bool verify_recall(struct image *image)
{
	struct tree *tree = image_tree_place(image);
	uint8_t root[VERITY_DIGEST], p7s[PROOF_MAX];
	uint64_t lacks;
	size_t size;

	if (!tree || tree->none)
		return true;
	if (!configured_root(image)) {
		verify_retract(image); /* a newer root hash, of which nothing was opened yet */
		size = p7s_keys() > 0 ? image_kept_proof(image, root, p7s, sizeof(p7s)) : 0;
		if (size == 0 || take_signed(image, root, p7s, size))
			return false;
	}
	return tree_covers(tree, 0, &lacks);
}

/* ---- the rest of the tree ---- */

/* How many blocks from `lacks` on, by which the bytes at the cursor are verified, can be requested
 * at once: those in a row that are not there, but for which all above them is. */
static uint64_t run_length(struct file *f, uint64_t lacks)
{
	uint64_t most = min_u64(RUN_MAX, bandwidth_window(QUEUE_SHORT) / VERITY_BLOCK), n = 1, next;

	while (n < most &&
		!tree_covers(image_tree(f->image),
			f->tree_cursor / VERITY_BLOCK + n * VERITY_DIGESTS, &next) &&
		next == lacks + n)
		n++;
	return n;
}

/* Looks at the next block, and requests it, at most twice, as the first time one above it may come.
 * What was requested in a run and is not there, since the run broke off or the disk keeps nothing,
 * is requested alone. Returns when to go on. */
static int64_t ask_rest(struct file *f)
{
	uint64_t lacks, count = 1;

	if (f->tree_asked < 2 &&
		!tree_covers(image_tree(f->image), f->tree_cursor / VERITY_BLOCK, &lacks)) {
		if (f->tree_cursor >= f->tree_run)
			count = run_length(f, lacks);
		if (pool_ask_blocks(f, lacks, count)) {
			f->tree_asked++;
			if (count > 1)
				f->tree_run = f->tree_cursor + count * TREE_UNIT;
		}
		return turn.ms + AGAIN;
	}
	f->tree_asked = 0;
	f->tree_cursor += TREE_UNIT;
	return turn.ms;
}

void verify_run(void)
{
	int64_t idle = reads_last + IDLE;

	tree_next = INT64_MAX;
	if (conf->read_ahead != READ_AHEAD_AUTO || reads_used > 0 || transfers_outstanding() > 0)
		return;
	for (struct file *f = files; f < end_of_files(); f++)
		if (pool_may_prefetch(f) && image_tree(f->image) &&
			f->tree_cursor < f->image->pinned.size)
			tree_next = sooner(tree_next, turn.ms < idle ? idle : ask_rest(f));
}

int64_t verify_next(void)
{
	return tree_next;
}
