#include "fetch/transfer.h"

#include "base/clock.h"
#include "fetch/reads.h"

/* Milliseconds, see transfer_is_stalled(). */
#define PREEMPT_AFTER 1000

/* ---- what one is for ---- */

const char *const transfer_parts[] = {
	[PART_IMAGE] = "",
	[PART_TREE] = "its tree (" TREE_SUFFIX "): ",
	[PART_ROOTHASH] = "its root hash (" ROOTHASH_SUFFIX "): ",
	[PART_SIGNATURE] = "its signature (" SIGNATURE_SUFFIX "): ",
};

/* ---- whether one waits ---- */

bool transfer_is_stalled(const struct transfer *t)
{
	return (t->state == TRANSFER_PAUSED && t->write_since == 0) ||
	       (t->state == TRANSFER_ASKING && turn.ms - t->http.progress >= PREEMPT_AFTER);
}

bool transfer_waits_to_write(const struct transfer *t)
{
	int64_t since = t->lacks ? t->data_at : t->write_since;

	return t->state != TRANSFER_FREE && since != 0 && turn.ms - since >= PREEMPT_AFTER;
}

/* ---- when one runs ---- */

/* Whether an image's first bytes have to wait for what they are judged by. */
static bool waits_for_tree(const struct transfer *t)
{
	struct tree *tree = t->part == PART_IMAGE ? image_tree(t->image) : NULL;
	uint64_t lacks;

	return tree && !tree_covers(tree, 0, &lacks);
}

static int64_t next_time(const struct transfer *t)
{
	if (t->state == TRANSFER_FREE)
		return INT64_MAX;
	if (t->started)
		return 0;
	if (t->state == TRANSFER_PAUSED)
		return t->resume;
	if (t->state == TRANSFER_ENDED)
		return waits_for_tree(t) ? INT64_MAX : 0;
	if (t->state == TRANSFER_WRITING && t->lacks)
		return INT64_MAX;
	if (t->state != TRANSFER_ASKING)
		return t->write_after;
	return t->write_since ? sooner(t->write_after, http_next(&t->http)) : http_next(&t->http);
}

/* Whether the transfer has something to do in this turn. */
static bool is_due(const struct transfer *t, const struct pollfd *polled)
{
	return t->started || (polled && t->slot >= 0 && polled[t->slot].revents) ||
	       (t->state != TRANSFER_ENDED && turn.ms >= next_time(t)) ||
	       (t->state == TRANSFER_ASKING && t->http.state == HTTP_RESOLVING);
}

/* ---- the loop's three ---- */

/* How many more bytes it takes until the transfer has something to do. A response that is measured
 * is looked at from its first byte on. */
static size_t enough(const struct transfer *t)
{
	uint64_t pos = t->base + t->buffered,
		 end = min_u64(t->ranges[0].end, t->base + capacity.buffer), wanted;

	if (t->file < 0 || t->part == PART_TREE || pos >= end ||
		(t->measured && t->http.state == HTTP_AWAITING))
		return 1;
	wanted = reads_first_end((unsigned)t->file, t->base, end);
	return (size_t)((wanted > pos && wanted < end ? wanted : end) - pos);
}

size_t transfers_poll(struct pollfd out[CONNECTIONS_MAX])
{
	size_t n = 0;

	for_each_transfer (t) {
		t->slot = -1;
		if (http_fd(&t->http) < 0 || http_events(&t->http) == 0 ||
			t->state == TRANSFER_PAUSED || t->state == TRANSFER_WRITING)
			continue;
		if (t->state == TRANSFER_ASKING)
			http_wait_for(&t->http, enough(t));
		t->slot = (int)n;
		out[n++] =
			(struct pollfd){.fd = http_fd(&t->http), .events = http_events(&t->http)};
	}
	return n;
}

int64_t transfers_next(void)
{
	int64_t next = INT64_MAX;

	for_each_transfer (t)
		next = sooner(next, next_time(t));
	return next;
}

static enum transfer_event take_result(struct transfer *t, struct transfer_result *out)
{
	bool is_text = t->file == TEXT_ONLY;

	*out = (struct transfer_result){
		.image = t->image,
		.part = t->part,
		.bytes = t->buffer,
		.size = t->buffered,
		.whole = (uint64_t)t->http.response.total == t->buffered,
		.url = &t->http.url,
		.transfer = t,
	};
	if (is_text)
		transfer_free(t);
	if (t->part != PART_IMAGE)
		return TRANSFER_PROOF;
	return is_text ? TRANSFER_TEXT : TRANSFER_OPENED;
}

enum transfer_event transfers_run(const struct pollfd *polled, struct transfer_result *out)
{
	for_each_transfer (t) {
		if (is_due(t, polled))
			transfer_run(t);
		if (t->state == TRANSFER_ENDED && !waits_for_tree(t))
			return take_result(t, out);
	}
	return TRANSFERS_WAIT;
}

bool transfers_unfinished(void)
{
	for_each_transfer (t)
		if (t->started || (t->state == TRANSFER_ENDED && !waits_for_tree(t)))
			return true;
	return false;
}
