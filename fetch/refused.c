#include "fetch/refused.h"

#include "base/clock.h"
#include "base/limits.h"
#include "fetch/frontend.h"
#include "fetch/mirror.h"

/* Milliseconds. */
#define AGAIN_FIRST 200
#define AGAIN_LAST  5000

static struct refused {
	unsigned file, times;
	uint64_t offset;
	int64_t until; /* 0: the entry is free */
} table[REFUSED_MAX];

static struct refused *find(unsigned file, uint64_t offset)
{
	for (struct refused *r = table; r < table + REFUSED_MAX; r++)
		if (r->until && r->file == file && r->offset == offset)
			return r;
	return NULL;
}

int64_t refused_add(unsigned file, uint64_t offset)
{
	struct refused *r = find(file, offset);

	if (!r) {
		r = table;
		for (struct refused *o = table; o < table + REFUSED_MAX; o++)
			if (o->until < r->until)
				r = o;
		*r = (struct refused){.file = file, .offset = offset};
	}
	r->until = turn.ms + (r->times ? retry_delay(AGAIN_FIRST, AGAIN_LAST, r->times) : 0);
	r->times++;
	return r->until;
}

bool refused_waits(unsigned file, uint64_t offset)
{
	const struct refused *r = find(file, offset);

	return r && turn.ms < r->until;
}

int64_t refused_next(void)
{
	int64_t next = INT64_MAX;

	for (const struct refused *r = table; r < table + REFUSED_MAX; r++)
		if (r->until > turn.ms)
			next = sooner(next, r->until);
	return next;
}

void refused_forget(unsigned file)
{
	for (struct refused *r = table; r < table + REFUSED_MAX; r++)
		if (r->file == file)
			r->until = 0;
}
