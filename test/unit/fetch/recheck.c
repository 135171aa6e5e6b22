/* Unit tests of recheck.c: what is checked under which word, what becomes of a block that does not
 * fit, and when a mark goes. The tree is a byte: a block fits that is full of it. */
#include "test/unit/check.h"

#include <fcntl.h>
#include <sys/socket.h>

static _Bool fallocate_fails;
#define fallocate(fd, mode, at, size) (fallocate_fails ? -1 : (fallocate)(fd, mode, at, size))

#include "fetch/recheck.c"
#include "base/fd.c"
#include "test/unit/stubs.h"

#define BLOCK VERITY_BLOCK
#define COUNT 40 /* blocks of the image */
#define RIGHT 'r'

const struct frontend *frontend;
struct turn turn;
struct capacity capacity = {.files = 2};
struct file *files;
struct stats stats;
unsigned reads_used;

static struct file table[2];
static struct image images[2];
static struct tree trees[2];
static struct conf settings;
static bool old_mark;
static bool live, unreachable, may_ask = true, may_prefetch = true, covered;
static unsigned marks, synced, opens, asked, tree_asked;
static uint64_t asked_at;
static unsigned refusals;
static bool waits;
static int lacking = -1, give_ups; /* a block whose tree is lacking */
static int refusal;		   /* errno of cached() */
static bool plays;
static struct trace_extent extents[] = {{8, 2}, {2, 1}};
static const struct trace trace = {.extents = extents, .count = 2};

struct tree *image_tree(const struct image *image)
{
	return trees + (image - images);
}

bool image_is_live(const struct image *image)
{
	(void)image;
	return live;
}

bool image_mark(const struct image *image, bool make)
{
	(void)image;
	marks += make;
	return old_mark;
}

enum tree_verdict tree_judge(struct tree *t, uint64_t block, const void *bytes, uint64_t *lacks)
{
	const uint8_t *b = bytes;

	(void)t;
	*lacks = 5;
	if ((int)block == lacking)
		return TREE_LACKS;
	for (size_t i = 0; i < BLOCK; i++)
		if (b[i] != RIGHT)
			return TREE_UNFIT;
	return TREE_FITS;
}

uint64_t pool_cover(unsigned file, uint64_t pos)
{
	(void)file;
	return covered ? pos + 1 : 0;
}

uint64_t pool_ask(struct file *f, uint64_t from, uint64_t to, enum need need)
{
	(void)f, (void)need;
	asked++;
	asked_at = from;
	covered = true;
	return to;
}

bool pool_ask_tree(struct file *f, uint64_t block)
{
	(void)f;
	CHECK(block == 5);
	tree_asked++;
	return true;
}

bool pool_may_prefetch(const struct file *f)
{
	(void)f;
	return may_prefetch;
}

int64_t refused_add(unsigned file, uint64_t offset)
{
	(void)file, (void)offset;
	refusals++;
	return turn.ms;
}

bool refused_waits(unsigned file, uint64_t offset)
{
	(void)file, (void)offset;
	return waits;
}

void mirror_give_up(struct image *image, enum outcome outcome, const char *why)
{
	(void)image, (void)why;
	CHECK(outcome == OUTCOME_UNVERIFIED);
	give_ups++;
}

bool mirror_may_be_asked(const struct image *image, int64_t now)
{
	(void)image, (void)now;
	return may_ask;
}

bool mirrors_are_unreachable(const struct image *image)
{
	(void)image;
	return unreachable;
}

const struct trace *prefetch_trace(const struct file *f)
{
	(void)f;
	return plays ? &trace : NULL;
}

static int disk;

int64_t file_hole(const struct file *f, uint64_t from, uint64_t to, uint64_t *hole_end)
{
	off_t hole = lseek(disk, (off_t)from, SEEK_HOLE);

	(void)f;
	*hole_end = to;
	return (uint64_t)hole < to ? hole : (int64_t)to;
}

static int cached(unsigned file)
{
	(void)file;
	opens++;
	errno = refusal;
	return refusal ? -1 : dup(disk);
}

static void marked(void)
{
	synced++;
}

static const struct frontend front = {.cached = cached, .marked = marked};

/* ---- */

static void put_block(int block, char byte)
{
	char bytes[BLOCK];

	memset(bytes, byte, sizeof(bytes));
	CHECK(pwrite(disk, bytes, BLOCK, block * BLOCK) == BLOCK);
}

static bool is_there(int block)
{
	uint64_t to;

	return file_hole(table, (uint64_t)block * BLOCK, (uint64_t)(block + 1) * BLOCK, &to) !=
	       block * BLOCK;
}

/* All blocks are cached and right but for those that are given. */
static void start(enum conf_cache_check word, const int *bad)
{
	static char path[] = "/dev/shm/recheck-XXXXXX";

	if (current)
		recheck_end(current);
	if (disk > 0)
		close(disk);
	strcpy(path, "/dev/shm/recheck-XXXXXX");
	disk = mkstemp(path);
	unlink(path);
	for (int i = 0; i < COUNT; i++)
		put_block(i, RIGHT);
	for (; bad && *bad >= 0; bad++)
		put_block(*bad, 'w');
	settings = (struct conf){.cache_check = word};
	stats = (struct stats){0};
	memset(images, 0, sizeof(images));
	memset(table, 0, sizeof(table));
	for (int i = 0; i < 2; i++)
		table[i].image = &images[i];
	table[0].used = table[0].opening = true;
	files = table;
	frontend = &front;
	recheck_init(&settings);
	marks = synced = opens = asked = tree_asked = 0;
	give_ups = refusal = 0;
	lacking = -1;
	plays = old_mark = false;
	live = unreachable = covered = false;
	may_ask = may_prefetch = true;
	refusals = 0;
	waits = false;
	reads_used = 0;
	turn = (struct turn){1000000, 1000};
	logged[0] = '\0';
}

/* Runs until the OPEN can be answered, at most so many turns. */
static bool answers(int turns)
{
	while (turns-- > 0) {
		struct file *f = recheck_run();

		if (f) {
			CHECK(f == table);
			f->opening = false;
			return true;
		}
		turn.ms += 5;
	}
	return false;
}

static const int two[] = {3, 20, -1};

/* Where no data can be looked for. */
static void use_socket(void)
{
	close(disk);
	disk = socket(AF_UNIX, SOCK_STREAM, 0);
}

static void test_words(void)
{
	static const struct {
		enum conf_cache_check word;
		bool mark;
		bool live;
		enum image_check check;
	} rows[] = {{CHECK_NEVER, true, false, CHECK_DONE}, {CHECK_CUT, true, false, CHECK_FIRST},
		{CHECK_CUT, false, false, CHECK_DONE}, {CHECK_CUT, false, false, CHECK_DONE},
		{CHECK_ALL, false, false, CHECK_FIRST}, {CHECK_BOOT, false, false, CHECK_FIRST},
		{CHECK_ALL, true, true, CHECK_DONE}, {CHECK_CUT, true, true, CHECK_DONE},
		{CHECK_BOOT, false, true, CHECK_LATER}};

	begin_test("recheck: which word begins a check, before the OPEN is answered or later");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		start(rows[i].word, NULL);
		old_mark = rows[i].mark;
		live = rows[i].live;
		recheck_begin(table);
		CHECK(images[0].check == rows[i].check, "row %zu", i);
	}
}

static void test_first(void)
{
	begin_test(
		"recheck: before the OPEN is answered, what does not fit is punched and counted");
	start(CHECK_ALL, two);
	recheck_begin(table);
	CHECK(!recheck_run() && recheck_next() == turn.ms); /* a bounded number of blocks a turn */
	CHECK(answers(10) && images[0].check == CHECK_DONE && opens == 1);
	CHECK(!is_there(3) && !is_there(20) && is_there(4) && is_there(COUNT - 1));
	CHECK(stats.cache_unfit == 2 && images[0].unfit == 2 && strstr(logged, "2 blocks"));
	CHECK(asked == 0 && marks == 1 && synced == 1);

	begin_test("recheck: holes are stepped over; nothing is cached, nothing is checked");
	start(CHECK_ALL, NULL);
	CHECK(ftruncate(disk, 0) == 0 && ftruncate(disk, COUNT * BLOCK) == 0);
	put_block(30, 'w');
	recheck_begin(table);
	CHECK(answers(2) && stats.cache_unfit == 1 && !is_there(30));
	start(CHECK_ALL, two);
	refusal = ENOENT;
	recheck_begin(table);
	CHECK(answers(2) && stats.cache_unfit == 0 && !logged[0]);

	begin_test(
		"recheck: a descriptor that comes later is asked for again; one that never comes "
		"refuses the OPEN");
	start(CHECK_ALL, two);
	refusal = EAGAIN;
	recheck_begin(table);
	CHECK(!answers(3) && recheck_next() > turn.ms - 5 && opens == 3);
	refusal = 0;
	CHECK(answers(10));
	begin_test("recheck: what cannot be punched refuses the OPEN");
	start(CHECK_ALL, two);
	fallocate_fails = true;
	recheck_begin(table);
	CHECK(!answers(5) && give_ups > 0 && is_there(3));
	fallocate_fails = false;

	begin_test("recheck: so does what cannot be opened or read, and the old mark stays");
	start(CHECK_ALL, two);
	refusal = EPIPE;
	recheck_begin(table);
	CHECK(!answers(5) && give_ups > 0 && marks == 0 && strstr(logged, "checked: Broken pipe"));
	start(CHECK_ALL, two);
	use_socket();
	recheck_begin(table);
	CHECK(!answers(5) && give_ups > 0 && marks == 0);
}

static void test_lacks(void)
{
	begin_test("recheck: a block of the tree that is lacking is requested, and waited for");
	start(CHECK_ALL, NULL);
	lacking = 7;
	recheck_begin(table);
	CHECK(!answers(10) && tree_asked > 0 && images[0].checked == 7 * BLOCK);
	CHECK(recheck_next() > turn.ms - 5 && is_there(7));
	lacking = -1;
	CHECK(answers(10) && stats.cache_unfit == 0);

	begin_test(
		"recheck: offline, what cannot be judged is dropped before the OPEN is answered");
	start(CHECK_ALL, NULL);
	settings.offline = unreachable = true;
	images[0].failures = 1;
	lacking = 7;
	recheck_begin(table);
	CHECK(answers(10) && !is_there(7) && is_there(8) && stats.cache_unfit == 1);
}

static void test_later(void)
{
	begin_test(
		"recheck: while it is in use, what does not fit is requested again, not punched");
	start(CHECK_BOOT, two);
	live = true;
	table->opening = false;
	recheck_begin(table);
	CHECK(!answers(3) && images[0].checked == 3 * BLOCK && asked == 1 && asked_at == 3 * BLOCK);
	CHECK(is_there(3) && stats.cache_unfit == 1 && refusals == 1);
	waits = true; /* a disk that keeps nothing is not written to all the time */
	covered = false;
	CHECK(!answers(3) && asked == 1 && stats.cache_unfit == 1);
	waits = false;
	put_block(3, RIGHT);
	CHECK(!answers(5) && images[0].checked == 20 * BLOCK && stats.cache_unfit == 2);
	put_block(20, RIGHT);
	CHECK(!answers(10) && images[0].check == CHECK_DONE && strstr(logged, "2 blocks"));

	begin_test("recheck: in the background what cannot be opened is told, once");
	start(CHECK_BOOT, two);
	live = true;
	table->opening = false;
	refusal = EMFILE;
	recheck_begin(table);
	CHECK(!answers(3) && opens == 1 && images[0].check == CHECK_DONE && give_ups == 0);
	CHECK(strstr(logged, "its cache cannot be checked: ") && marks == 0);

	begin_test("recheck: in the background it rests while READs wait, and between its turns");
	start(CHECK_BOOT, NULL);
	live = true;
	table->opening = false;
	recheck_begin(table);
	reads_used = 1;
	CHECK(!answers(3) && opens == 0);
	reads_used = 0;
	CHECK(!recheck_run() && images[0].checked > 0 && recheck_next() == turn.ms + AGAIN);
	may_prefetch = false;
	uint64_t before = images[0].checked;
	CHECK(!recheck_run() && images[0].checked == before);
}

static void test_trace(void)
{
	static const int bad[] = {9, 30, -1};

	begin_test("recheck: of boot the trace comes before the OPEN is answered, the rest later");
	start(CHECK_BOOT, bad);
	plays = true;
	table->trace = TRACE_ASKED;
	recheck_begin(table);
	CHECK(!answers(3) && opens == 0); /* the trace is still to come */
	table->trace = TRACE_PLAYING;
	CHECK(answers(2) && images[0].check == CHECK_LATER && images[0].unfit == 1);
	CHECK(!is_there(9) && is_there(30));
	put_block(9, RIGHT); /* as it was fetched */
	CHECK(!answers(10) && asked_at == 30 * BLOCK && is_there(30));
	put_block(30, RIGHT);
	CHECK(!answers(10) && images[0].check == CHECK_DONE && images[0].unfit == 2);

	begin_test("recheck: without a trace boot is all");
	start(CHECK_BOOT, bad);
	recheck_begin(table);
	CHECK(answers(10) && images[0].check == CHECK_DONE && !is_there(9) && !is_there(30));
}

static void test_preempted(void)
{
	begin_test("recheck: an OPEN that waits comes before a check in the background, which goes "
		   "on where it was");
	start(CHECK_BOOT, NULL);
	live = true;
	table[1] = (struct file){.used = true, .number = 1, .image = &images[1]};
	recheck_begin(&table[1]);
	CHECK(!recheck_run() && images[1].checked > 0);
	live = false;
	uint64_t before = images[1].checked;
	recheck_begin(table);
	CHECK(answers(10) && images[1].checked == before);
	CHECK(!answers(10) && images[1].check == CHECK_DONE && stats.cache_unfit == 0);
}

static void test_end(void)
{
	begin_test("recheck: a file that is closed meanwhile keeps its old mark");
	start(CHECK_CUT, NULL);
	old_mark = true;
	recheck_begin(table);
	recheck_run();
	CHECK(current == table);
	recheck_end(table);
	CHECK(marks == 0 && !current && images[0].check == CHECK_DONE);
}

int main(void)
{
	test_words();
	test_first();
	test_lacks();
	test_later();
	test_trace();
	test_preempted();
	test_end();
	return finish_tests();
}
