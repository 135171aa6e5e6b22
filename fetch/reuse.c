#include "fetch/reuse.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/handover.h"
#include "image/before.h"
#include "fetch/reads.h"

/* Blocks whose old places are looked up at once: 128 KiB, as READs are. */
#define UNIT	   32
#define UNIT_BYTES ((uint64_t)UNIT * VERITY_BLOCK)

/* How far from where a block is expected it is looked for, in blocks: 16 MiB either way. */
#define WINDOW 4096

/* Old digests that are read at once there: a system call for each 16 KiB. */
#define SEARCHED 512

/* Offsets that are remembered, each of a share of the image. */
#define SHARES 256

/* Bytes that are written at once, and in a turn if no READ waits for them. */
#define STEP	   (16 << 10)
#define TURN_BYTES (256 << 10)

/* Milliseconds until a cache file that takes nothing is written to again. */
#define WRITE_AGAIN 100

/* Milliseconds until the old file is asked for again, and for how long READs wait for that. */
#define OPEN_AGAIN 10
#define OPEN_WAITS 1000

/* Milliseconds without a READ after which an image makes way for another one that is read. */
#define MAKES_WAY 1000

/* Blocks that are not what their digest says, until the old file is given up. */
#define WRONG_MAX 16

static struct {
	struct file *file; /* NULL: none is updated */
	struct before before;
	int leaves, data;      /* the files of its tree and of its image */
	off_t digests;	       /* where the digests of its blocks begin in its tree */
	int32_t shift[SHARES]; /* old block number less new one */
	uint64_t cursor;       /* what lies before it has been copied */
	int64_t read_at;       /* a READ of it was seen to wait; 0: none */
	unsigned wrong;
	size_t in_turn; /* bytes that were written in this turn, and some for each attempt */
	bool more;	/* it was enough */
	bool waits;	/* for the old file to be opened */

	/* the unit that was looked up last: the old block of each, and 1; 0: there is none */
	uint64_t unit; /* and 1; 0: none */
	uint32_t old[UNIT];
	uint32_t unread; /* a bit for each of which the old block is not cached */
	bool is_new;	 /* the last READ was of such a block */

	/* a part of the old file, which is not asked for again: data, or a hole */
	off_t part_from, part_to;
	bool part_is_data;
} reuse;

/* ---- the beginning and the end ---- */

/* `why` is NULL where its file is closed or makes way. Otherwise nothing can be taken any more: the
 * old version of the same name goes, and one of another name if it was one. */
static void stop(const char *why)
{
	const struct image *image = reuse.file->image;
	bool own = opened_files_key(image->volume, image->cookie, image->cookie_size) ==
		   reuse.before.key;
	bool gone;

	fd_close(&reuse.leaves);
	fd_close(&reuse.data);
	gone = frontend->end_before(
		number_of(reuse.file), &reuse.before, why && (own || reuse.file->taken > 0));
	if (why) {
		image_forget_before(image);
		log_info("%s: %llu bytes came from the version before: %s", image_name(image),
			(unsigned long long)reuse.file->taken * VERITY_BLOCK, why);
	}
	if (gone)
		state_remove_root(&reuse.before.state);
	reuse.file = NULL;
	reuse.in_turn = TURN_BYTES; /* another may begin in the next one */
}

static void begin(struct file *f, const struct tree *tree)
{
	reuse.file = f;
	reuse.leaves = tree_open(state_root(&reuse.before.state), &tree->verity);
	reuse.data = frontend->open_before(number_of(f), &reuse.before);
	if (reuse.data < 0 && errno == EAGAIN) {
		fd_close(&reuse.leaves);
		reuse.file = NULL;
		f->updates = reuse.waits = true;
		return;
	}
	if (reuse.data < 0 || reuse.leaves < 0)
		stop(reuse.data >= 0	  ? "no tree of it with this salt is there"
			: errno == ENOENT ? "it is gone"
					  : NULL);
	/* The levels above come before them. */
	reuse.digests = VERITY_BLOCK;
	for (uint64_t n = (reuse.before.state.size / VERITY_BLOCK - 1) / VERITY_DIGESTS; n > 0;) {
		n /= VERITY_DIGESTS;
		reuse.digests += (off_t)(n + 1) * VERITY_BLOCK;
	}
}

void reuse_close(struct file *f)
{
	if (reuse.file == f)
		stop(NULL);
}

bool reuse_is_for(struct file *f)
{
	const struct tree *tree = image_tree(f->image);

	if (reads_wait(number_of(f))) {
		if (reuse.file == f) {
			reuse.read_at = turn.ms;
		} else if (f->updates && reuse.file && turn.ms - reuse.read_at >= MAKES_WAY) {
			reuse.file->updates = true;
			stop(NULL);
		}
	}
	if (f->image->changed)
		reuse_close(f); /* its cache file is of another version */
	else if (f->updates && !reuse.file) {
		f->updates = false;
		memset(&reuse, 0, sizeof(reuse));
		if (tree && tree->verity.levels > 0 && frontend->open_before &&
			page_size() <= STEP && image_before(f->image, &reuse.before))
			begin(f, tree);
	}
	return reuse.file == f;
}

bool reuse_is_opening(const struct file *f)
{
	return reuse.waits && f->updates && turn.ms - f->since < OPEN_WAITS;
}

/* ---- where blocks are ---- */

/* Compares `count` old digests from the block `at` on with those of the unit that are `missing`. */
static void search(const uint8_t *new, uint32_t missing, uint64_t at, size_t count)
{
	uint8_t old[SEARCHED * VERITY_DIGEST];
	ssize_t size = pread(reuse.leaves, old, count * VERITY_DIGEST,
		reuse.digests + (off_t)(at * VERITY_DIGEST));

	for (const uint8_t *o = old; o < old + size; o += VERITY_DIGEST, at++)
		for (uint32_t left = missing; left; left &= left - 1) {
			unsigned i = (unsigned)__builtin_ctz(left);
			const uint8_t *n = new + i *VERITY_DIGEST;

			if (*o == *n && memcmp(o, n, VERITY_DIGEST) == 0)
				reuse.old[i] = (uint32_t)at + 1;
		}
}

/* From this share on, and as far as the offset is known no better. */
static void learn(size_t share, int32_t shift)
{
	int32_t before = reuse.shift[share];

	for (; share < SHARES && reuse.shift[share] == before; share++)
		reuse.shift[share] = shift;
}

/* Finds what is not cached of the old blocks. Most lie in a row, so that not each costs a system
 * call; and tmpfs looks for the end of data page by page. */
static void look_for_holes(void)
{
	for (unsigned i = 0; i < UNIT; i++) {
		off_t at = ((off_t)reuse.old[i] - 1) * VERITY_BLOCK;

		if (at < 0)
			continue;
		if (at < reuse.part_from || at >= reuse.part_to) {
			reuse.part_from = at;
			reuse.part_to = lseek(reuse.data, at, SEEK_DATA);
			reuse.part_is_data = reuse.part_to == at;
			if (reuse.part_is_data)
				reuse.part_to = lseek(reuse.data, at, SEEK_HOLE);
		}
		if (!reuse.part_is_data) {
			reuse.old[i] = 0;
			reuse.unread |= 1u << i;
		}
	}
}

/* Finds the places of the unit's blocks in the old file, where they are cached. */
static void look_up(const struct verity *new, const uint8_t *digests, uint64_t block)
{
	size_t share = block * SHARES / new->data_blocks;
	int64_t first = (int64_t)block + reuse.shift[share], reach = 0;
	uint32_t missing = UINT32_MAX;

	if (new->data_blocks - block < UNIT)
		missing >>= UNIT - (new->data_blocks - block);
	memset(reuse.old, 0, sizeof(reuse.old));
	reuse.unread = 0;
	for (; missing && reach <= WINDOW; reach += WINDOW) {
		int64_t at = first > reach ? first - reach : 0;
		int64_t end = first + (reach ? UNIT + reach : VERITY_DIGESTS);

		for (; at < end; at += SEARCHED)
			search(digests, missing, (uint64_t)at,
				min_u64((uint64_t)(end - at), SEARCHED));
		for (unsigned i = 0; i < UNIT; i++)
			missing &= ~((uint32_t)(reuse.old[i] > 0) << i);
	}
	for (unsigned i = 0; i < UNIT; i++)
		if (reuse.old[i])
			learn(share, (int32_t)(reuse.old[i] - 1 - i - block));
	look_for_holes();
}

/* ---- taking them ---- */

static uint32_t *place(uint64_t offset)
{
	return &reuse.old[offset / VERITY_BLOCK % UNIT];
}

/* Returns the bytes that are written; 0: they are not what was looked for; or a negative errno. */
static ssize_t copy(struct file *f, uint64_t from, uint64_t end)
{
	_Alignas(VERITY_BLOCK) char bytes[STEP];
	struct file_fault fault;
	uint64_t most = min_u64(STEP, end - from), done = 0, run;
	uint32_t old;
	ssize_t size;

	for (; done < most && (old = *place(from + done)); done += run) {
		run = VERITY_BLOCK;
		while (done + run < most && *place(from + done + run) == old + run / VERITY_BLOCK)
			run += VERITY_BLOCK;
		if (pread(reuse.data, bytes + done, run, ((off_t)old - 1) * VERITY_BLOCK) !=
			(ssize_t)run)
			break;
	}
	size = (ssize_t)page_down(done);
	if (size == 0)
		return 0;
	size = file_write(f, bytes, (size_t)size, from, &fault);
	if (size > 0) {
		f->taken += (uint32_t)(size / VERITY_BLOCK);
		reuse.in_turn += (size_t)size;
		reads_advance(number_of(f), from, from + (uint64_t)size);
	} else if (size == -EBADMSG) {
		reuse.wrong++;
		size = 0;
	} else {
		f->ahead_after = turn.ms + WRITE_AGAIN;
	}
	return size;
}

static bool has(uint32_t bits, uint64_t offset)
{
	return bits >> offset / VERITY_BLOCK % UNIT & 1;
}

uint64_t reuse_take(struct file *f, uint64_t from, uint64_t *end, enum need need)
{
	struct tree *tree = image_tree(f->image);
	uint64_t unit = from / UNIT_BYTES, lacks;
	const uint8_t *digests;
	uint32_t passes;
	ssize_t n;

	*end = min_u64(*end, (unit + 1) * UNIT_BYTES);
	if (reuse.in_turn >= TURN_BYTES &&
		reads_first_end(number_of(f), from, *end) == UINT64_MAX) {
		*end = from;
		return from;
	}
	if (reuse.unit != unit + 1) {
		digests = tree_leaves(tree, unit * UNIT, &lacks);
		if (!digests)
			return from;
		look_up(&tree->verity, digests, unit * UNIT);
		reuse.unit = unit + 1;
	}
	if (need == NEED_READ)
		reuse.is_new = has(reuse.unread, from);
	passes = need == NEED_GUESS && !reuse.is_new ? reuse.unread : 0;
	if (has(passes, from)) {
		f->passed = (uint32_t)page_size();
		return from + f->passed;
	}
	n = copy(f, from, *end);
	if (n != 0)
		return n > 0 ? from + (uint64_t)n : from;
	*place(from) = 0;
	for (uint64_t at = from + page_size(); at < *end; at += page_size())
		if (*place(at) || has(passes, at))
			*end = at;
	if (reuse.wrong == WRONG_MAX)
		stop("it is damaged");
	return from;
}

/* ---- in the background ---- */

/* Copies a piece at the cursor, or passes over one that needs nothing. False: not now. */
static bool copy_on(struct file *f)
{
	uint64_t end = (reuse.cursor / UNIT_BYTES + 1) * UNIT_BYTES, hole_end, to, lacks;
	int64_t hole = file_hole(f, reuse.cursor, end, &hole_end);

	reuse.in_turn += VERITY_BLOCK;
	if (hole < 0)
		return false;
	if ((uint64_t)hole < end) {
		/* What was requested and has not come is passed over. */
		if (f->tree_cursor <= (uint64_t)hole &&
			!tree_covers(image_tree(f->image), (uint64_t)hole / VERITY_BLOCK, &lacks))
			return false;
		to = reuse_take(f, page_down((uint64_t)hole), &end, NEED_SURE);
		if (!reuse.file || turn.ms < f->ahead_after)
			return false;
		end = to > (uint64_t)hole ? to : end;
	}
	reuse.cursor = end;
	if (end < image_end(f->image))
		return true;
	stop("all that both have");
	return false;
}

void reuse_run(void)
{
	struct file *f = files;

	while (f < end_of_files() && (!f->used || f->opening || !reuse_is_for(f)))
		f++;
	if (f < end_of_files() && reads_used == 0 && !is_tracing(f) && turn.ms >= f->ahead_after)
		while (reuse.in_turn < TURN_BYTES && copy_on(f))
			;
	reuse.more = reuse.in_turn >= TURN_BYTES;
	reuse.in_turn = 0;
}

int64_t reuse_next(void)
{
	return reuse.more ? turn.ms : reuse.waits ? turn.ms + OPEN_AGAIN : INT64_MAX;
}
