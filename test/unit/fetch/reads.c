/* Unit test of reads.c: which bytes READs wait for, what is told of them, and that each is answered
 * once. */
#include "test/unit/check.h"

#include "fetch/reads.c"

#define PAGE 4096

struct stats stats;
struct turn turn;
struct capacity capacity = {.files = 1, .reads = 4};
static struct image image;
static struct file made[1] = {{.used = true, .image = &image}};
struct file *files = made;
static struct read_request room[4];
static unsigned answered;
static uint64_t asked_from, asked_end; /* unasked_read()'s */

static void complete(unsigned file, uint32_t id, enum outcome outcome)
{
	CHECK(file == 0 && id == 7 && outcome == OUTCOME_OK);
	answered++;
}

static const struct frontend made_frontend = {.complete = complete};
const struct frontend *frontend = &made_frontend;

void stats_answered(int64_t ms)
{
	CHECK(ms == 0);
}

void unasked_read(unsigned file, uint64_t from, uint64_t end)
{
	CHECK(file == 0);
	asked_from = from;
	asked_end = end;
}

static uint64_t lacking; /* a block of the tree, by which all is verified; 0: all is there */

struct tree *image_tree(const struct image *i)
{
	(void)i;
	return NULL;
}

bool tree_covers(struct tree *t, uint64_t block, uint64_t *lacks)
{
	(void)t, (void)block;
	*lacks = lacking;
	return lacking == 0;
}

static void test_tried(void)
{
	begin_test(
		"reads: only an attempt at its next byte, or at what proves it, is one of a READ");
	reads = room;
	reads_add(0, 7, 2 * PAGE, 4 * PAGE, READ_USUAL);
	reads_tried(0, 0, 2 * PAGE, 0);
	reads_tried(0, 3 * PAGE, 4 * PAGE, 0);
	reads_tried(1, 0, 4 * PAGE, 0);
	reads_tried(0, TREE_BASE, TREE_BASE + 8 * PAGE, 0);
	lacking = 9;
	reads_tried(0, TREE_BASE, TREE_BASE + 8 * PAGE, 0);
	CHECK(!room[0].tried);
	reads_tried(0, TREE_BASE + 9 * PAGE, TREE_BASE + 10 * PAGE, 0);
	CHECK(room[0].tried);
	reads_advance(0, 2 * PAGE, 3 * PAGE);
	CHECK(!room[0].tried);
	lacking = 0;
	reads_tried(0, PAGE, 4 * PAGE, 0);
	CHECK(room[0].tried);
	CHECK(room[0].since == 0);
	read_drop(&room[0]);
	asked_end = 0;

	begin_test("reads: the time-out of a READ counts from its first attempt");
	reads_add(0, 7, 0, PAGE, READ_USUAL);
	reads_tried(0, 0, PAGE, 2900);
	CHECK(room[0].tried && room[0].since == 2900);
	reads_tried(0, 0, PAGE, 3300);
	CHECK(room[0].since == 2900);
	read_drop(&room[0]);
}

static void test_advance(void)
{
	begin_test("reads: a READ is answered with its last byte, and asks for no byte behind it");
	reads = room;
	reads_add(0, 7, 2 * PAGE, 6 * PAGE, READ_USUAL);
	CHECK(reads_waited_for(0, 0, 10 * PAGE) == 4 * PAGE);
	reads_advance(0, 0, PAGE);
	CHECK(asked_end == 0 && answered == 0);
	reads_advance(0, PAGE, 3 * PAGE);
	CHECK(asked_from == 2 * PAGE && asked_end == 3 * PAGE && answered == 0);
	reads_advance(0, 3 * PAGE, 10 * PAGE);
	CHECK(asked_from == 3 * PAGE && asked_end == 6 * PAGE && answered == 1);
	CHECK(reads_used == 0);

	begin_test("reads: what has not come yet asks for nothing");
	asked_end = 0;
	reads_add(0, 7, 0, PAGE, READ_EXPECTED);
	CHECK(reads_waited_for(0, 0, PAGE) == 0);
	reads_advance(0, 0, PAGE);
	CHECK(asked_end == 0 && answered == 2 && reads_used == 0);
}

int main(void)
{
	test_tried();
	test_advance();
	return finish_tests();
}
