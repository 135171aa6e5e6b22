#include "fetch/reads.h"

#include "base/clock.h"
#include "base/stats.h"
#include "fetch/unasked.h"

struct read_request *reads;
unsigned reads_used;
int64_t reads_last;

struct read_request *reads_at(struct read_request *r)
{
	for (; reads_used > 0 && r < reads + capacity.reads; r++)
		if (r->used)
			return r;
	return NULL;
}

void reads_add(unsigned file, uint32_t id, uint64_t from, uint64_t end, enum read_kind kind)
{
	static uint64_t sequence;
	struct read_request *r = reads;

	while (r->used)
		r++;
	*r = (struct read_request){.used = true,
		.kind = (uint8_t)kind,
		.file = file,
		.id = id,
		.pos = from,
		.end = end,
		.came = turn.ms,
		.since = turn.ms,
		.sequence = ++sequence};
	reads_used++;
	reads_last = turn.ms;
}

void read_drop(struct read_request *r)
{
	r->used = false;
	reads_used--;
}

void read_refuse(unsigned file, uint32_t id, enum outcome outcome)
{
	stats.reads_failed++;
	files[file].image->stats.reads_failed++;
	frontend->complete(file, id, outcome);
}

void read_end(struct read_request *r, enum outcome outcome)
{
	read_drop(r);
	if (outcome == OUTCOME_OK || r->kind == READ_EXPECTED) {
		if (r->kind != READ_EXPECTED)
			stats_answered(turn.ms - r->came);
		frontend->complete(r->file, r->id, outcome);
	} else {
		read_refuse(r->file, r->id, outcome);
	}
}

void reads_advance(unsigned file, uint64_t from, uint64_t to)
{
	if (is_held(&files[file]))
		return;
	for_each_read (r) {
		if (r->file != file || r->pos < from || r->pos >= to)
			continue;
		if (r->kind != READ_EXPECTED)
			unasked_read(file, r->pos, min_u64(r->end, to));
		r->pos = to;
		r->since = turn.ms;
		r->tried = false;
		if (r->pos >= r->end)
			read_end(r, OUTCOME_OK);
	}
}

uint64_t reads_first_end(unsigned file, uint64_t from, uint64_t to)
{
	uint64_t end = UINT64_MAX;

	if (is_held(&files[file]))
		return end;
	for_each_read (r)
		if (r->file == file && r->end > from && r->pos < to)
			end = min_u64(end, min_u64(r->end, files[file].image->pinned.size));
	return end;
}

void reads_tried(unsigned file, uint64_t from, uint64_t to, int64_t began)
{
	for_each_read (r) {
		uint64_t at = r->pos, lacks;

		if (r->file != file)
			continue;
		if (from >= TREE_BASE &&
			!tree_covers(image_tree(files[file].image), at / VERITY_BLOCK, &lacks))
			at = TREE_BASE + lacks * VERITY_BLOCK;
		if (from > at || at >= to)
			continue;
		if (!r->tried)
			r->since = later(r->since, began);
		r->tried = true;
	}
}

uint64_t reads_waited_for(unsigned file, uint64_t from, uint64_t to)
{
	uint64_t n = 0;

	for_each_read (r) {
		uint64_t begin = max_u64(r->pos, from), end = min_u64(r->end, to);

		if (r->file == file && r->kind != READ_EXPECTED && begin < end)
			n += end - begin;
	}
	return min_u64(n, to - from); /* two may wait for the same bytes */
}

void reads_fail(unsigned file, enum outcome outcome)
{
	for_each_read (r)
		if (r->file == file)
			read_end(r, outcome);
}

bool reads_wait(unsigned file)
{
	for_each_read (r)
		if (r->file == file)
			return true;
	return false;
}
