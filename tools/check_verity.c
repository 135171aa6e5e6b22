#include "tools/check_verity.h"

#include "base/minmax.h"
#include "fetch/transfer.h"
#include "fetch/verify.h"
#include "tools/probe.h"
#include "tools/report.h"
#include "trust/p7s.h"

/* Blocks of the image that are looked at: the first, the last, and others at equal distances. They
 * and their paths cost about 40 round trips. */
#define SAMPLE 16

static const struct conf *conf;
static struct tree *tree;     /* the image's; NULL: nothing is verified */
static enum http_event event; /* of the last request */
static const char *fault;     /* the end of the sentence why what came is not taken */

size_t check_verity_memory(const struct conf *c)
{
	return conf_verifies(c) ? TREE_SLOTS * TREE_SLOT : 0;
}

void check_verity_init(const struct conf *c, struct image *image, void *memory)
{
	conf = c;
	tree = image_tree_place(image);
	if (!tree)
		return;
	trees_init(memory, TREE_SLOTS);
	verify_init(c);
	verify_begin(image);
}

bool check_verity_is_due(void)
{
	return tree && conf->verity != VERITY_ALLOW;
}

const char *check_part_words(void)
{
	return transfer_parts[probe->part];
}

/* All below return whether all is well; if not, `event` or `fault` tells why. */
static bool fetch(enum image_part part, uint64_t first, size_t size)
{
	event = probe_fetch(part, first, 0, size);
	return event == HTTP_END;
}

static bool refuse(const char *why)
{
	fault = why;
	return false;
}

/* ---- the root hash ---- */

/* Sets the one beside the image, if one of our keys has signed it. */
static bool find_signed_root(void)
{
	uint8_t root[VERITY_DIGEST];
	const char *signer;

	if (!fetch(PART_ROOTHASH, 0, PROOF_MAX))
		return false;
	if (!verity_root_parse(root, probe->buffer, probe->bytes))
		return refuse("it is not 64 hexadecimal digits");
	if (!fetch(PART_SIGNATURE, 0, PROOF_MAX))
		return false;
	signer = p7s_signer((const uint8_t *)probe->buffer, probe->bytes, root, &fault);
	if (!signer)
		return false;
	report_say("signed by", "%s", signer);
	tree_root(tree, root);
	return true;
}

static bool find_root(void)
{
	char text[VERITY_HEX + 1];

	if (tree->rooted)
		report_say("given by", "the configuration");
	else if (p7s_keys() == 0)
		return refuse(verify_no_root);
	else if (!find_signed_root())
		return false;
	report_say("root hash", "%s", verity_root_text(text, tree->verity.root));
	return true;
}

/* An image without a root hash is opened only by `verity allow`. */
static void allow(void)
{
	if (event == HTTP_FAILED)
		fault = probe->http.why;
	if (!fault)
		return;
	report_judge(0, "it is not verified: %s%s", check_part_words(), fault);
	event = HTTP_END;
}

/* ---- the tree ---- */

static bool see_tree(uint64_t block)
{
	const char *why = "it is cut off";
	uint64_t lacks;

	if (!fetch(PART_TREE, block * VERITY_BLOCK, VERITY_BLOCK))
		return false;
	if (probe->bytes == VERITY_BLOCK &&
		tree_take(tree, block, probe->buffer, &lacks, &why) == TREE_FITS)
		return true;
	return refuse(*why ? why : "it does not fit the root hash");
}

/* The superblock, and the top, which proves it. */
static bool see_top(uint64_t size)
{
	char text[URL_MAX];

	tree_pin(tree, size);
	if (!see_tree(0))
		return false;
	report_say("tree", "%s", url_text(text, sizeof(text), &probe->target.url));
	report_say("geometry", "%llu blocks of %d bytes, %u levels, a salt of %u bytes",
		(unsigned long long)tree->verity.data_blocks, VERITY_BLOCK, tree->verity.levels,
		tree->verity.salt_size);
	return tree->known || see_tree(1);
}

/* A block of the image, and before it those of the tree that it is verified by. */
static bool see_block(uint64_t block)
{
	uint64_t lacks;

	while (!tree_covers(tree, block, &lacks))
		if (!see_tree(lacks))
			return false;
	if (!fetch(PART_IMAGE, block * VERITY_BLOCK, VERITY_BLOCK))
		return false;
	return (probe->bytes == VERITY_BLOCK &&
		       tree_judge(tree, block, probe->buffer, &lacks) == TREE_FITS) ||
	       refuse("it does not fit the root hash");
}

static void see_sample(void)
{
	uint64_t last = tree->verity.data_blocks - 1, count = min_u64(last, SAMPLE - 1) + 1;
	uint64_t block = 0;
	unsigned seen = 0;

	while (seen < count && see_block(block))
		block = ++seen * last / max_u64(count - 1, 1);
	report_say("sample", "%u of %u blocks fit", seen, (unsigned)count);
	if (seen < count)
		report_say("not fit", "block %llu", (unsigned long long)block);
}

enum http_event check_verity(uint64_t size)
{
	event = HTTP_END;
	if (!tree)
		return event;
	if (find_root()) {
		if (see_top(size))
			see_sample();
	} else if (conf->verity == VERITY_ALLOW) {
		allow();
		return event;
	}
	if (event == HTTP_END && fault)
		report_judge(1, "NOT fit: %s%s", check_part_words(), fault);
	return event;
}
