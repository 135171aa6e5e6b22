/* Unit tests of verify.c: where an image's root hash comes from, and when it may be opened without
 * one. */
#include "test/unit/check.h"

#include "base/text.c"
#include "fetch/verify.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#include "test/unit/stubs.h"

/* ---- what it uses ---- */

struct turn turn;
struct capacity capacity;
struct file *files;
int64_t reads_last;
unsigned reads_used;

bool pool_may_prefetch(const struct file *f)
{
	(void)f;
	return false;
}

uint64_t transfers_outstanding(void)
{
	return 0;
}

static struct tree tree, *place = &tree;
static bool was_verified, covered, is_good;
static size_t keys, kept, stored;
static int asked;	    /* a part, or -1 */
static enum outcome failed; /* of a transfer */
static char failed_why[200];
static bool freed, given_up;

struct tree *image_tree_place(const struct image *image)
{
	(void)image;
	return place;
}

struct tree *image_tree(const struct image *image)
{
	(void)image;
	return place && place->rooted ? place : NULL;
}

static bool dropped;

void pool_drop_image(const struct image *image)
{
	(void)image;
	dropped = true;
}

void image_set_root(struct image *image, const uint8_t root[VERITY_DIGEST])
{
	(void)image;
	place->rooted = true;
	memcpy(place->verity.root, root, VERITY_DIGEST);
}

bool image_was_verified(const struct image *image)
{
	(void)image;
	return was_verified;
}

void state_store_proof(const uint8_t root[VERITY_DIGEST], const void *p7s, size_t size)
{
	(void)root, (void)p7s;
	stored = size;
}

size_t image_kept_proof(
	const struct image *image, uint8_t root[VERITY_DIGEST], uint8_t *p7s, size_t room)
{
	(void)image;
	memset(root, 7, VERITY_DIGEST);
	memset(p7s, 7, room);
	return kept;
}

bool tree_covers(struct tree *t, uint64_t block, uint64_t *lacks)
{
	(void)t, (void)block;
	*lacks = 3;
	return covered;
}

void tree_forget(struct tree *t)
{
	(void)t;
}

bool pool_ask_tree(struct file *f, uint64_t block)
{
	(void)f;
	CHECK(block == 3);
	asked = PART_TREE;
	return true;
}

bool pool_ask_blocks(struct file *f, uint64_t block, uint64_t count)
{
	(void)f, (void)block, (void)count;
	return false;
}

uint64_t bandwidth_window(int64_t queue)
{
	return (uint64_t)queue;
}

static bool busy;

bool pool_ask_proof(struct image *image, enum image_part part)
{
	(void)image;
	if (busy)
		return false;
	asked = (int)part;
	return true;
}

unsigned pool_count(const struct image *image)
{
	(void)image;
	return 0;
}

void mirror_give_up(struct image *image, enum outcome outcome, const char *why)
{
	CHECK(outcome == OUTCOME_UNVERIFIED && strstr(why, "no root hash"));
	image->refused = given_up = true;
}

const char *mirror_why(const struct image *image)
{
	return image->why;
}

void transfer_free(struct transfer *t)
{
	(void)t;
	freed = true;
}

void transfer_fail(struct transfer *t, enum outcome outcome, const char *why)
{
	(void)t;
	failed = outcome;
	snprintf(failed_why, sizeof(failed_why), "%s", why);
}

size_t p7s_keys(void)
{
	return keys;
}

const char *p7s_signer(
	const uint8_t *p7s, size_t size, const uint8_t root[VERITY_DIGEST], const char **fault)
{
	(void)p7s, (void)size, (void)root;
	*fault = "is by another key";
	return is_good ? "somebody" : NULL;
}

/* ---- the tests ---- */

static struct conf c;
static struct image image;
static struct file file = {.image = &image};

static void start(enum conf_verity verity, size_t key_count)
{
	c = (struct conf){.verity = verity};
	verify_init(&c);
	image = (struct image){.cookie = "img", .cookie_size = 3};
	tree = (struct tree){.rooted = false};
	place = &tree;
	was_verified = covered = is_good = freed = given_up = false;
	keys = key_count;
	kept = stored = 0;
	asked = -1;
	failed = OUTCOME_OK;
	logs = warnings = 0;
}

static void add_root(const char *name, uint8_t byte)
{
	c.roothash[c.roothashes].name = name;
	memset(c.roothash[c.roothashes++].root, byte, VERITY_DIGEST);
}

static void test_configured(void)
{
	begin_test(
		"verify: a root hash by the image's name outranks the one for all, in any order");
	for (int order = 0; order < 2; order++) {
		start(VERITY_AUTO, 0);
		if (order)
			add_root(NULL, 1);
		add_root("im", 2);
		add_root("img", 3);
		add_root("imgs", 4);
		if (!order)
			add_root(NULL, 1);
		verify_begin(&image);
		CHECK(tree.rooted && tree.verity.root[0] == 3);
		memcpy(image.cookie, "abc", 3);
		verify_begin(&image);
		CHECK(tree.verity.root[31] == 1);
	}
	start(VERITY_AUTO, 0);
	add_root("other", 2);
	verify_begin(&image);
	CHECK(!tree.rooted);
	place = NULL; /* nothing is verified, or a trace */
	verify_begin(&image);
	CHECK(verify_ready(&file) && verify_recall(&image) && !verify_allows(&image));
}

static void test_ready(void)
{
	begin_test("verify: without a root hash nothing is requested, but with `allow`");
	start(VERITY_AUTO, 0);
	CHECK(!verify_ready(&file) && given_up && asked < 0);
	start(VERITY_REQUIRE, 0);
	CHECK(!verify_ready(&file) && given_up);
	start(VERITY_ALLOW, 0);
	CHECK(!verify_ready(&file) && !given_up && warnings == 1 && tree.none);
	CHECK(verify_ready(&file) && warnings == 1);
	start(VERITY_ALLOW, 0);
	was_verified = true;
	CHECK(!verify_ready(&file) && given_up && !tree.none);

	begin_test("verify: the tree beside the first bytes; root hash and signature before them");
	start(VERITY_AUTO, 1);
	CHECK(!verify_ready(&file) && asked == PART_ROOTHASH);
	tree.claimed = true;
	CHECK(!verify_ready(&file) && asked == PART_SIGNATURE);
	tree.rooted = true;
	CHECK(verify_ready(&file) && asked == PART_TREE);
	asked = -1;
	covered = true;
	CHECK(verify_ready(&file) && asked < 0);

	begin_test("verify: a signed root hash of which the tree cannot be had is asked for anew");
	tree.doubted = true;
	CHECK(!verify_ready(&file) && asked == PART_ROOTHASH && !tree.rooted && !tree.doubted);
	start(VERITY_AUTO, 1);
	add_root("img", 3);
	verify_begin(&image);
	tree.doubted = true;
	CHECK(verify_ready(&file) && asked == PART_TREE && tree.rooted,
		"the configuration's stays");
}

static struct transfer transfer;

static void take(enum image_part part, const char *bytes, size_t size)
{
	struct transfer_result r = {
		.image = &image, .part = part, .bytes = bytes, .size = size, .transfer = &transfer};

	freed = false;
	failed = OUTCOME_OK;
	verify_take(&r);
}

static void test_signed(void)
{
	static const char hex[] =
		"0101010101010101010101010101010101010101010101010101010101010101\n";

	begin_test("verify: a root hash counts once its signature is good");
	start(VERITY_AUTO, 1);
	for (size_t size = 0; size < 64; size++) {
		take(PART_ROOTHASH, hex, size);
		CHECK(failed == OUTCOME_UNVERIFIED && !freed && !tree.claimed, "%zu", size);
	}
	take(PART_ROOTHASH, hex, 65);
	CHECK(freed && tree.claimed && !tree.rooted && failed == OUTCOME_OK);
	take(PART_SIGNATURE, "sig", 3);
	CHECK(failed == OUTCOME_UNVERIFIED && !strcmp(failed_why, "is by another key"), "%s",
		failed_why);
	CHECK(!tree.claimed && !tree.rooted && stored == 0, "both are requested again");
	take(PART_ROOTHASH, hex, 64);
	transfer.mirror = 1;
	take(PART_SIGNATURE, "sig", 3);
	CHECK(freed && failed == OUTCOME_OK && !tree.claimed, "another mirror's is not its lie");
	take(PART_ROOTHASH, hex, 64);
	is_good = true;
	take(PART_SIGNATURE, "sig", 3);
	CHECK(freed && tree.rooted && tree.verity.root[5] == 1 && stored == 3);

	begin_test("verify: what was kept is proved again, and given up where it does not do");
	start(VERITY_AUTO, 1);
	is_good = covered = true;
	CHECK(!verify_recall(&image), "there is none");
	kept = 100;
	is_good = false;
	CHECK(!verify_recall(&image) && !tree.rooted);
	is_good = true;
	CHECK(verify_recall(&image) && tree.rooted && tree.verity.root[0] == 7);
	verify_retract(&image);
	CHECK(!tree.rooted);
	tree.rooted = true; /* a newer one, of which a server has sent no more */
	tree.verity.root[0] = 8;
	dropped = false;
	CHECK(verify_recall(&image) && tree.rooted && tree.verity.root[0] == 7 && dropped);
	covered = false;
	CHECK(!verify_recall(&image), "its tree is not there");
	keys = 0;
	verify_retract(&image);
	covered = true;
	CHECK(!verify_recall(&image) && !tree.rooted, "no key any more");
	add_root("img", 3);
	verify_begin(&image);
	verify_retract(&image);
	CHECK(tree.rooted, "the configuration's stays");
}

/* Returns whether the root hash is requested. */
static bool doubt(void)
{
	asked = -1;
	verify_doubt(&file);
	return asked == PART_ROOTHASH;
}

static void test_doubt(void)
{
	begin_test("verify: a signed root hash is requested again for blocks that do not fit");
	start(VERITY_AUTO, 1);
	tree.rooted = true;
	CHECK(!doubt());
	tree.doubted = busy = true;
	CHECK(!doubt());
	busy = false;
	CHECK(doubt() && !doubt(), "however many did not fit meanwhile");
	tree.doubted = true;
	turn.ms += DOUBT_EVERY - 1;
	CHECK(!doubt());
	turn.ms++;
	CHECK(doubt(), "it may have been replaced later");
	add_root("img", 3);
	tree.doubted = true;
	turn.ms += DOUBT_EVERY;
	CHECK(!doubt(), "the configuration's stays");
}

static void test_allows(void)
{
	begin_test("verify: `allow` opens what has no root hash, or none that is proved, once");
	start(VERITY_ALLOW, 1);
	image.refused = true;
	image.refused_by = image.doubted = image.failures = 1;
	CHECK(verify_allows(&image) && tree.none && warnings == 1);
	CHECK(!image.refused && !image.refused_by && !image.doubted && !image.failures);
	CHECK(!verify_allows(&image) && warnings == 1, "an image that is not there either");
	start(VERITY_REQUIRE, 1);
	CHECK(!verify_allows(&image) && !tree.none);
	start(VERITY_ALLOW, 1);
	was_verified = true;
	CHECK(!verify_allows(&image) && !tree.none, "what was verified before");
	start(VERITY_ALLOW, 1);
	tree.rooted = true;
	CHECK(!verify_allows(&image) && !tree.none, "what does not fit its root hash");
}

int main(void)
{
	test_configured();
	test_ready();
	test_signed();
	test_doubt();
	test_allows();
	return finish_tests();
}
