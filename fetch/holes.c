#include "fetch/holes.h"

#include "base/limits.h"

/* An empty one is free. Those of a file do not overlap. */
static struct hole {
	unsigned file;
	uint64_t from, to;
} holes[HOLES_MAX];

static struct hole *const end_of_holes = holes + HOLES_MAX;

uint64_t holes_end(unsigned file, uint64_t offset)
{
	for (const struct hole *h = holes; h < end_of_holes; h++)
		if (h->file == file && h->from <= offset && offset < h->to)
			return h->to;
	return 0;
}

/* Takes the place of the smallest, if that is smaller. */
static void add(unsigned file, uint64_t from, uint64_t to)
{
	struct hole *smallest = holes;

	for (struct hole *h = holes; h < end_of_holes; h++)
		if (h->to - h->from < smallest->to - smallest->from)
			smallest = h;
	if (to > from && to - from > smallest->to - smallest->from)
		*smallest = (struct hole){file, from, to};
}

void holes_learn(unsigned file, uint64_t from, uint64_t to)
{
	holes_fill(file, from, to); /* so that none overlap */
	add(file, from, to);
}

void holes_fill(unsigned file, uint64_t from, uint64_t to)
{
	for (struct hole *h = holes; h < end_of_holes; h++) {
		struct hole old = *h;

		if (h->file != file || h->from >= to || h->to <= from)
			continue;
		h->to = old.from < from ? from : old.from;
		add(file, to, old.to);
	}
}

void holes_forget(unsigned file)
{
	holes_fill(file, 0, UINT64_MAX);
}
