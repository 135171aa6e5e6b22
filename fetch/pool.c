#include "fetch/pool.h"

#include <assert.h>

#include "base/clock.h"
#include "base/page.h"
#include "fetch/bandwidth.h"
#include "fetch/reads.h"
#include "fetch/refused.h"
#include "fetch/reuse.h"
#include "fetch/transfer.h"

/* A new connection costs this many round trips, where a transfer is chosen. */
#define CONNECT_ROUND_TRIPS 3

/* Blocks of a tree that are requested at once where data is read in order: they stand for 2 MiB,
 * and half of TREE_SLOTS. */
#define TREE_RUN 4

/* A range that no READ waits for is pipelined behind at most this many others, so that room is left
 * for one. */
#define BEHIND (PIPELINE_MAX - 4)

/* The cost of a request for the server, in bytes of the link: small requests are not free. */
#define REQUEST_COST 8192

unsigned pool_count(const struct image *image)
{
	unsigned n = 0;

	for_each_transfer (t)
		n += t->state != TRANSFER_FREE && t->image == image;
	return n;
}

void pool_preempt(const struct image *image)
{
	if (pool_count(image) > 0)
		return;
	for_each_transfer (t) {
		if (t->image == image)
			continue;
		if (transfer_waits_to_write(t)) {
			transfer_drop(t);
			return;
		}
		if (transfer_is_stalled(t)) {
			transfer_fail(
				t, OUTCOME_TIMED_OUT, "the server sends nothing while others wait");
			return;
		}
	}
}

/* The best free transfer for a request to the target: one that is connected to it, else one without
 * a connection, else the one that has been free longest. */
static struct transfer *find_idle(const struct mirror_target *target, bool *connected)
{
	struct transfer *best = NULL;
	int best_rank = 3;

	for_each_transfer (t) {
		int rank = target && http_is_connected(&t->http, &target->url, target->proxy) ? 0
			   : t->http.fd < 0						      ? 1
											      : 2;
		if (t->state == TRANSFER_FREE &&
			(rank < best_rank ||
				(rank == best_rank && best && t->freed < best->freed))) {
			best = t;
			best_rank = rank;
		}
	}
	*connected = best_rank == 0;
	return best;
}

/* Whether a range can be appended to those of the transfer. */
static bool can_follow(const struct transfer *t, struct transfer_work work, unsigned behind)
{
	return t->state == TRANSFER_ASKING && t->file == work.file && t->image == work.image &&
	       t->part == work.part && t->count <= behind && t->count < RANGES &&
	       mirror_takes_pipelining(t->server, turn.ms);
}

/* Bytes that come before a range that is appended to those of the transfer: all busy transfers
 * share the link. */
static uint64_t bytes_before(const struct transfer *t, unsigned busy)
{
	uint64_t n = (transfer_outstanding(t) + t->count * REQUEST_COST) * busy;

	if (t->http.state < HTTP_SENDING)
		n += CONNECT_ROUND_TRIPS * bandwidth_per_rtt();
	return n;
}

static struct transfer *find_busy(struct transfer_work work, unsigned behind, uint64_t *before)
{
	struct transfer *best = NULL;
	unsigned busy = 0;

	for_each_transfer (t)
		busy += t->state != TRANSFER_FREE;
	*before = UINT64_MAX;
	for_each_transfer (t) {
		uint64_t n = can_follow(t, work, behind) ? bytes_before(t, busy) : UINT64_MAX;

		if (n < *before) {
			best = t;
			*before = n;
		}
	}
	return best;
}

/* Whether a READ or OPEN of another image waits without a transfer: then none takes more work. */
static bool is_another_starved(const struct image *image)
{
	for_each_read (r) {
		const struct file *f = &files[r->file];

		if (f->image != image && mirror_may_be_asked(f->image, turn.ms) && !is_held(f) &&
			pool_count(f->image) == 0)
			return true;
	}
	for (const struct file *f = files; f < end_of_files(); f++)
		if (f->used && f->opening && f->image != image &&
			mirror_may_be_asked(f->image, turn.ms) && pool_count(f->image) == 0)
			return true;
	return false;
}

bool pool_may_prefetch(const struct file *f)
{
	return f->used && !f->opening && !reuse_is_opening(f) &&
	       mirror_may_be_asked(f->image, turn.ms) && turn.ms >= f->ahead_after &&
	       !is_another_starved(f->image);
}

/* Where to ask. NULL: the image's name makes no URL; the attempt then fails with the reason. */
static const struct mirror_target *find_target(
	struct mirror_target *target, struct transfer_work work)
{
	const char *why;

	return mirror_target(target, work.image, work.part, turn.ms, &why) ? target : NULL;
}

/* The first byte in flight behind `from` and before `end`, or `end`. */
static uint64_t free_until(unsigned file, uint64_t from, uint64_t end)
{
	for_each_transfer (t)
		for (unsigned i = 0; transfer_is_for(t, file) && i < t->count; i++) {
			uint64_t begin = i == 0 ? t->base : t->ranges[i].from;

			if (begin > from && begin < end)
				end = begin;
		}
	return end;
}

/* Whether data would take the last transfer, in which blocks of the tree could be requested. */
static bool is_kept_for_tree(struct transfer_work work)
{
	unsigned idle = 0;

	if (work.part != PART_IMAGE || capacity.connections == 1 || !image_tree(work.image))
		return false;
	for_each_transfer (t) {
		if (t->state != TRANSFER_FREE && t->part == PART_TREE)
			return false;
		idle += t->state == TRANSFER_FREE;
	}
	return idle == 1;
}

/* Gives the range to the transfer in which its bytes come soonest. */
static bool ask(struct transfer_work work, struct range range, unsigned behind)
{
	struct mirror_target space;
	const struct mirror_target *target = find_target(&space, work);
	bool connected;
	uint64_t before;
	struct transfer *idle = find_idle(target, &connected), *busy;

	assert(range.from < range.end);
	if (idle && is_kept_for_tree(work))
		idle = NULL;
	busy = find_busy(work, is_another_starved(work.image) ? 0 : behind, &before);
	/* A second transfer with blocks of a tree would take the place of one with data. */
	if (busy && idle && work.part == PART_IMAGE &&
		(connected || before > CONNECT_ROUND_TRIPS * bandwidth_per_rtt()))
		busy = NULL;
	if (!busy && !idle)
		return false;
	if (busy)
		transfer_append(busy, range);
	else
		transfer_start(idle, target, work, range);
	return true;
}

/* More would take the place of those that came before, which no file may have either. */
static uint64_t tree_run(const struct tree *tree)
{
	return min_u64(TREE_RUN, tree_room(tree));
}

/* How many blocks of the file's tree are in flight. */
static uint64_t blocks_coming(const struct file *f)
{
	uint64_t n = 0;

	for_each_transfer (t)
		if (transfer_is_for(t, number_of(f)) && t->part == PART_TREE)
			n += round_to(transfer_outstanding(t), VERITY_BLOCK) / VERITY_BLOCK;
	return n;
}

bool pool_ask_blocks(struct file *f, uint64_t block, uint64_t count)
{
	uint64_t at = TREE_BASE + block * VERITY_BLOCK, end = at + count * VERITY_BLOCK;

	if (pool_cover(number_of(f), at))
		return true;
	if (refused_waits(number_of(f), at))
		return false;
	end = min_u64(end, TREE_BASE + tree_blocks(image_tree(f->image)) * VERITY_BLOCK);
	return ask((struct transfer_work){f->image, PART_TREE, (int)number_of(f)},
		(struct range){at, free_until(number_of(f), at, end)}, PIPELINE_MAX);
}

bool pool_ask_tree(struct file *f, uint64_t block)
{
	const struct tree *tree = image_tree(f->image);
	/* With those in flight no more than memory holds beside each other. */
	uint64_t coming = blocks_coming(f), run = tree_run(tree);
	/* Behind one that is coming or was used lately, the next ones are wanted too. */
	bool more =
		block > 0 && (pool_cover(number_of(f), TREE_BASE + (block - 1) * VERITY_BLOCK) ||
				     tree_holds(tree, block - 1));

	return pool_ask_blocks(f, block,
		block == 0	       ? tree_blocks(tree)
		: more && run > coming ? run - coming
				       : 1);
}

static bool waits_for_block(const struct file *f, uint64_t block)
{
	return refused_waits(number_of(f), TREE_BASE + block * VERITY_BLOCK);
}

bool pool_is_refused(const struct file *f, uint64_t pos)
{
	struct tree *tree = image_tree(f->image);
	uint64_t lacks;

	if (!tree || refused_next() == INT64_MAX)
		return false;
	return refused_waits(number_of(f), pos) ||
	       (!tree_covers(tree, pos / VERITY_BLOCK, &lacks) && waits_for_block(f, lacks));
}

bool pool_ask_digest(struct file *f, uint64_t offset)
{
	struct tree *tree = image_tree(f->image);
	uint64_t lacks;

	return !tree || tree_covers(tree, offset / VERITY_BLOCK, &lacks) || pool_ask_tree(f, lacks);
}

/* The end of what can be requested of [from, end): the blocks of the tree that its beginning is
 * verified by are there, or requested before it; `from`: nothing. */
static uint64_t covered_until(struct file *f, uint64_t from, uint64_t end)
{
	struct tree *tree = image_tree(f->image);
	uint64_t first = tree ? min_u64(end, (from / TREE_UNIT + tree_run(tree)) * TREE_UNIT) : 0;

	for (uint64_t at = from; at < first; at = (at / TREE_UNIT + 1) * TREE_UNIT)
		if (!pool_ask_digest(f, at))
			return at;
	/* With one connection a longer range would have to be broken off for the next blocks. */
	return tree && capacity.connections == 1 ? first : end;
}

uint64_t pool_ask(struct file *f, uint64_t from, uint64_t end, enum need need)
{
	struct transfer_work work = {f->image, PART_IMAGE, (int)number_of(f)};
	struct range range = {from, 0};
	unsigned behind = need == NEED_READ ? PIPELINE_MAX : need == NEED_AGAIN ? 0 : BEHIND;
	uint64_t lacks, to;

	if (reuse_is_for(f)) {
		if (!tree_covers(image_tree(f->image), from / VERITY_BLOCK, &lacks))
			return pool_ask_tree(f, lacks) ? TREE_BASE + lacks * VERITY_BLOCK : 0;
		to = reuse_take(f, from, &end, need);
		if (to > from || end == from)
			return to;
	}
	end = free_until(number_of(f), from, covered_until(f, from, end));
	range.end = min_u64(end, f->image->pinned.size);
	return end > from && ask(work, range, behind) ? end : 0;
}

static bool ask_first(struct transfer_work work, uint64_t size)
{
	struct mirror_target space;
	const struct mirror_target *target = find_target(&space, work);
	bool connected;
	struct transfer *t = find_idle(target, &connected);

	if (t)
		transfer_start(t, target, work, (struct range){0, size});
	return t;
}

bool pool_ask_head(struct image *image)
{
	return ask_first((struct transfer_work){image, PART_IMAGE, HEAD_ONLY},
		page_size() > EROFS_HEAD ? page_size() : EROFS_HEAD);
}

bool pool_asks_head(const struct image *image)
{
	for_each_transfer (t)
		if (t->state != TRANSFER_FREE && t->image == image && t->file == HEAD_ONLY)
			return true;
	return false;
}

void pool_drop_head(const struct image *image)
{
	for_each_transfer (t)
		if (t->state == TRANSFER_ENDED && t->image == image && t->file == HEAD_ONLY)
			transfer_free(t);
}

bool pool_ask_proof(struct image *image, enum image_part part)
{
	return ask_first((struct transfer_work){image, part, HEAD_ONLY}, PROOF_MAX);
}

bool pool_ask_text(struct image *image)
{
	return ask_first((struct transfer_work){image, PART_IMAGE, TEXT_ONLY}, capacity.buffer);
}

/* What a long range is verified by is requested when it has come near. */
static void ask_tree_ahead(const struct transfer *t)
{
	uint64_t end, lacks;
	struct tree *tree;

	if (t->state == TRANSFER_FREE || t->file < 0 || t->part != PART_IMAGE)
		return;
	tree = image_tree(t->image);
	end = tree ? t->base + min_u64(2, tree_run(tree)) * TREE_UNIT : 0;
	for (uint64_t at = t->base; end < t->ranges[0].end && at < end; at += TREE_UNIT)
		if (!tree_covers(tree, at / VERITY_BLOCK, &lacks))
			pool_ask_tree(&files[t->file], lacks);
}

void pool_ask_lacking(void)
{
	for_each_transfer (t)
		ask_tree_ahead(t);
	for_each_transfer (t) {
		struct file *f = t->file >= 0 ? &files[t->file] : NULL;
		uint64_t block = t->lacks - 1, at = TREE_BASE + block * VERITY_BLOCK;

		if (t->state == TRANSFER_FREE || !t->lacks || t->started || !f ||
			pool_cover(number_of(f), at) || !mirror_may_be_asked(f->image, turn.ms) ||
			(!waits_for_block(f, block) && pool_ask_tree(f, block)))
			continue;
		/* What holds the only transfers back must come first; what may not come for a while
		 * must not hold others back. */
		transfer_drop(t);
		pool_ask_tree(f, block);
	}
}

/* ---- ranges in flight ---- */

uint64_t pool_cover(unsigned file, uint64_t pos)
{
	for_each_transfer (t)
		for (unsigned i = 0; transfer_is_for(t, file) && i < t->count; i++) {
			const struct range *r = &t->ranges[i];

			if ((i == 0 ? t->base : r->from) <= pos && pos < page_up(r->end))
				return page_up(r->end);
		}
	return 0;
}

int64_t pool_progress(unsigned file, uint64_t pos)
{
	int64_t latest = 0;

	for_each_transfer (t)
		for (unsigned i = 0; transfer_is_for(t, file) && i < t->count; i++)
			if (t->ranges[i].from <= pos && pos < page_up(t->ranges[i].end))
				latest = later(latest, t->data_at);
	return latest;
}

bool pool_is_busy(unsigned file)
{
	for_each_transfer (t)
		if (transfer_is_for(t, file))
			return true;
	return false;
}

void pool_drop_file(unsigned file)
{
	for_each_transfer (t)
		if (transfer_is_for(t, file))
			transfer_free(t);
}

void pool_drop_image(const struct image *image)
{
	for_each_transfer (t)
		if (t->state != TRANSFER_FREE && t->image == image)
			transfer_free(t);
}

unsigned pool_connections(void)
{
	unsigned n = 0;

	for_each_transfer (t)
		n += http_fd(&t->http) >= 0;
	return n;
}

void pool_hang_up(void)
{
	for_each_transfer (t)
		if (t->state == TRANSFER_FREE)
			http_close(&t->http);
}
