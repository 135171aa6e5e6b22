#include "fetch/pool.h"

#include <assert.h>

#include "base/clock.h"
#include "base/page.h"
#include "fetch/bandwidth.h"
#include "fetch/reads.h"
#include "fetch/transfer.h"

/* A new connection costs this many round trips, where a transfer is chosen. */
#define CONNECT_ROUND_TRIPS 3

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
static bool can_follow(
	const struct transfer *t, const struct image *image, unsigned file, unsigned behind)
{
	return t->state == TRANSFER_ASKING && t->file == (int)file && t->image == image &&
	       t->count <= behind && t->count < RANGES &&
	       mirror_takes_pipelining(t->mirror, turn.ms);
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

static struct transfer *find_busy(
	const struct image *image, unsigned file, unsigned behind, uint64_t *before)
{
	struct transfer *best = NULL;
	unsigned busy = 0;

	for_each_transfer (t)
		busy += t->state != TRANSFER_FREE;
	*before = UINT64_MAX;
	for_each_transfer (t) {
		uint64_t n =
			can_follow(t, image, file, behind) ? bytes_before(t, busy) : UINT64_MAX;

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
	return f->used && !f->opening && mirror_may_be_asked(f->image, turn.ms) &&
	       turn.ms >= f->ahead_after && !is_another_starved(f->image);
}

/* Where to ask for the image. NULL: its name makes no URL; the attempt then fails with the reason.
 */
static const struct mirror_target *find_target(struct mirror_target *target, struct image *image)
{
	const char *why;

	return mirror_target(target, image, turn.ms, &why) ? target : NULL;
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

uint64_t pool_ask(struct file *f, uint64_t from, uint64_t end, unsigned behind)
{
	struct mirror_target space;
	const struct mirror_target *target = find_target(&space, f->image);
	bool connected;
	uint64_t before;
	unsigned file = number_of(f);
	struct transfer *idle = find_idle(target, &connected), *busy;
	struct range range = {
		from, min_u64(end = free_until(file, from, end), f->image->pinned.size)};

	assert(range.from < range.end);
	busy = find_busy(f->image, file, is_another_starved(f->image) ? 0 : behind, &before);
	if (busy && idle && (connected || before > CONNECT_ROUND_TRIPS * bandwidth_per_rtt()))
		busy = NULL;
	if (!busy && !idle)
		return 0;
	if (busy)
		transfer_append(busy, range);
	else
		transfer_start(idle, target, f->image, (int)file, range);
	return end;
}

static bool ask_first(struct image *image, int file, uint64_t size)
{
	struct mirror_target space;
	const struct mirror_target *target = find_target(&space, image);
	bool connected;
	struct transfer *t = find_idle(target, &connected);

	if (t)
		transfer_start(t, target, image, file, (struct range){0, size});
	return t;
}

bool pool_ask_head(struct image *image)
{
	return ask_first(image, HEAD_ONLY, page_size() > EROFS_HEAD ? page_size() : EROFS_HEAD);
}

bool pool_ask_text(struct image *image)
{
	return ask_first(image, TEXT_ONLY, capacity.buffer);
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
