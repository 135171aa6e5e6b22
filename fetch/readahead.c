#include "fetch/readahead.h"

#include <stddef.h>

#include "base/limits.h"
#include "base/minmax.h"
#include "base/page.h"

/* Bytes that a reader may step over once its stream goes on. */
#define STRIDE (128 << 10)

/* The least that a stream that goes on is fetched ahead by. */
#define LEAST (128 << 10)

/* Beyond the end of a file a stream is fetched ahead by this share: its reader may end there. */
#define BEYOND 4

struct stream {
	bool used;
	unsigned file;
	uint64_t next;	   /* where the last READ ended */
	uint64_t frontier; /* the bytes before it are cached or in flight */
	uint64_t target;   /* the bytes before it are to be */
	uint64_t run;	   /* bytes read in sequence; 0: one READ proves nothing */
	uint64_t file_end; /* of the image's file in which the last READ lies */
	bool crosses;	   /* files are read in the image's order */
	uint64_t turn;	   /* of the last READ */
};

static struct stream streams[STREAMS_MAX];
static uint64_t reads_seen;

static bool goes_on(const struct stream *s, unsigned file, uint64_t from)
{
	return s->used && s->file == file && from >= s->next &&
	       from <= max_u64(s->frontier, s->next) + (s->run > 0 ? STRIDE : 0);
}

/* The stream that the READ goes on with, or the one to be given up for it. */
static struct stream *find(unsigned file, uint64_t from, bool *found)
{
	struct stream *oldest = streams;

	for (struct stream *s = streams; s < streams + STREAMS_MAX; s++) {
		*found = goes_on(s, file, from);
		if (*found)
			return s;
		if (!s->used || (oldest->used && s->turn < oldest->turn))
			oldest = s;
	}
	return oldest;
}

bool readahead_read(unsigned file, uint64_t from, uint64_t end, uint64_t asked, unsigned share,
	uint64_t most, uint64_t file_end, uint64_t image_end)
{
	bool found;
	struct stream *s = find(file, from, &found);

	if (!found)
		*s = (struct stream){.used = true, .file = file, .target = asked};
	else
		s->run += end - s->next;
	s->crosses |= found && from >= s->file_end;
	s->next = end;
	s->file_end = file_end;
	s->frontier = max_u64(s->frontier, asked);
	if (found) {
		uint64_t ahead = page_down(min_u64(s->run / share, most));

		s->target = end + max_u64(share == 1 ? LEAST : 0, ahead);
		if (s->target > file_end)
			s->target =
				max_u64(file_end, s->crosses ? end + page_down(ahead / BEYOND) : 0);
		s->target = min_u64(s->target, max_u64(image_end, end));
	}
	s->turn = ++reads_seen;
	return found;
}

bool readahead_next(unsigned *file, uint64_t *from, uint64_t *end)
{
	const struct stream *best = NULL;

	for (const struct stream *s = streams; s < streams + STREAMS_MAX; s++)
		if (s->used && s->frontier < s->target && (!best || s->turn > best->turn))
			best = s;
	if (!best)
		return false;
	*file = best->file;
	*from = best->frontier;
	*end = best->target;
	return true;
}

void readahead_asked(unsigned file, uint64_t from, uint64_t to)
{
	for (struct stream *s = streams; s < streams + STREAMS_MAX; s++)
		if (s->used && s->file == file && s->frontier == from)
			s->frontier = to;
}

void readahead_forget(unsigned file)
{
	for (struct stream *s = streams; s < streams + STREAMS_MAX; s++)
		if (s->used && s->file == file)
			s->used = false;
}
