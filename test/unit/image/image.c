/* Unit tests of image.c: the table, traces' names, and the version that is stored. */
#include "test/unit/check.h"

#include <stdarg.h>

#include "base/fd.c"
#include "image/image.c"
#include "image/before.c"
#include "base/dir.c"

#include "base/text.c"
#include "image/state.c"
#include "image/tree.c"
#include "trust/sha256.c"
#include "trust/verity.c"

static char said[4][300];
static size_t lines;

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	if (level == LOG_LEVEL_DEBUG)
		return;
	va_start(args, format);
	vsnprintf(said[lines++ % 4], sizeof(said[0]), format, args);
	va_end(args);
}

static int64_t live = -1; /* what a worker before this one has told the kernel */

uint64_t opened_files_key(const char *volume, const void *cookie, size_t cookie_size)
{
	return strcmp(volume, "erofs,img") || cookie_size != 3 || memcmp(cookie, "img", 3) ? 8 : 7;
}

int64_t opened_files_size(uint64_t key)
{
	return key == 7 ? live : -1;
}

static bool live_verified;

bool opened_files_verified(uint64_t key)
{
	return key == 7 && live_verified;
}

static uint64_t counts[HANDOVER_COUNTS], file_at_0;

volatile uint64_t *opened_files_counts(uint64_t key)
{
	return key == 7 && live >= 0 ? counts : NULL;
}

uint64_t opened_files_at(unsigned place)
{
	return place == 0 ? file_at_0 : 0;
}

static struct conf c;
struct capacity capacity = {.files = 16};
static struct {
	struct image images[17];
	struct tree trees[17];
} table;

static bool verifies;

bool conf_verifies(const struct conf *conf)
{
	(void)conf;
	return verifies;
}

static struct image *start(void)
{
	c = (struct conf){.urls = 1};
	memset(&table, 0, sizeof(table));
	lines = 0;
	images_init(&c, &table);
	return image_get("erofs,img", "img", 3);
}

static bool is_shown(const struct image *i)
{
	return image_at((unsigned)(i - table.images), 0) == i;
}

static void test_trace(void)
{
	struct image *i = start(), *trace, *same, *places[16];
	char name[KEY_MAX];

	begin_test("image: an image that is called as a trace is not one");
	trace = image_get_trace(i);
	same = image_get("erofs,img", "img.trace", 9);
	CHECK(same != trace && !same->is_trace);
	CHECK(image_get_trace(i) == trace);
	image_free(trace);
	CHECK(image_get("erofs,img", "img.trace", 9) == same);
	image_free(same);

	begin_test("image: one that only the kernel has open is shown, and begins anew");
	live = 5;
	i->refused = true;
	i->stats.reads = 3;
	image_free(i);
	CHECK(i->unread && i->refused && is_shown(i));
	i = image_get("erofs,img", "img", 3);
	CHECK(!i->unread && !i->refused && i->stats.reads == 3);
	image_free(i);
	live = -1;
	CHECK(!is_shown(i));
	i = image_get("erofs,img", "img", 3);
	CHECK(is_shown(i) && i->stats.reads == 0);
	image_free(i);
	CHECK(!is_shown(i));

	begin_test("image: a name that gets too long has no trace, unless it lies elsewhere");
	memset(name, 'n', sizeof(name));
	start();
	CHECK(image_get_trace(image_get("erofs,v", name, KEY_MAX - 6)) != NULL);
	CHECK(image_get_trace(image_get("erofs,v", name, KEY_MAX - 5)) == NULL);
	CHECK(image_get_trace(image_get("erofs,v", name, KEY_MAX)) == NULL);
	c.trace = "http://elsewhere/all.trace";
	CHECK(image_get_trace(image_get("erofs,v", name, KEY_MAX)) != NULL);

	begin_test("image: there is a place for a trace when all images are there");
	start();
	for (unsigned n = 0; n < capacity.files; n++) {
		snprintf(name, sizeof(name), "i%u", n);
		places[n] = n ? image_get("erofs,v", name, strlen(name))
			      : image_get("erofs,img", "img", 3);
		CHECK(places[n] != NULL);
	}
	trace = image_get_trace(places[0]);
	CHECK(trace && trace->is_trace && trace->used);
	for (unsigned n = 0; n < capacity.files; n++)
		CHECK(places[n] != trace && places[n]->used && !places[n]->is_trace);
	image_free(trace);
	CHECK(image_get_trace(places[capacity.files - 1]) != NULL);
}

static void test_compressed(void)
{
	begin_test("image: a blob is compressed if an image of its volume is, wherever it lies");
	for (unsigned before = 0; before < capacity.files - 1; before++) {
		struct image *i, *blob;
		char name[16];

		image_free(start());
		for (unsigned n = 0; n < before; n++) {
			snprintf(name, sizeof(name), "other%u", n);
			image_get("erofs,other", name, strlen(name))->pinned.kind = EROFS_PLAIN;
		}
		i = image_get("erofs,v", "img", 3);
		blob = image_get("erofs,v", "blob", 4);
		CHECK(!image_is_compressed(blob));
		i->pinned.kind = EROFS_COMPRESSED;
		CHECK(image_is_compressed(i) && image_is_compressed(blob), "%u before it", before);
		CHECK(before == 0 || !image_is_compressed(image_get("erofs,other", "other0", 6)));
	}
}

/* An image that a server has just described. */
static struct image *described(uint64_t size, const char *etag)
{
	struct image *i = start();
	struct response r = {.total = (int64_t)size, .etag_is_strong = etag[0] == '"'};

	strcpy(r.etag, etag);
	image_pin(i, &r);
	i->pinned.kind = EROFS_COMPRESSED;
	image_settle(i, "http://a/img");
	return i;
}

static void test_written_anew(const struct image *i)
{
	char name[STATE_NAME];

	begin_test("image: asked long ago, or by a clock that was wrong: written anew");
	state_name(name, key_of(i));
	for (int64_t checked = 1; checked < 9000000000; checked += 8000000000) {
		struct state s;

		CHECK(state_load(&s, key_of(i)));
		s.checked = checked;
		state_store(&s, key_of(i), "");
		described(6000, "\"2\"");
		CHECK(state_load(&s, key_of(i)) && s.checked >= time(NULL) - 5 &&
			s.checked <= time(NULL));
	}
}

static void test_remembered(void)
{
	char dir[] = "/tmp/image-test-XXXXXX", command[64];
	struct image *i;
	uint64_t told;

	begin_test("image: without a state the same version is told as the same size");
	told = described(5000, "\"1\"")->pinned.reported_size;
	CHECK(told > 5000 && described(5000, "\"1\"")->pinned.reported_size == told);
	CHECK(described(5000, "\"2\"")->pinned.reported_size != told && lines == 0);
	CHECK(described(5000, "")->pinned.reported_size == 5000);
	i = start();
	CHECK(!image_recall(i));

	begin_test("image: a replaced one is told as another size, and in the log");
	CHECK(mkdtemp(dir));
	state_open(dir);
	CHECK(described(5000, "\"1\"")->pinned.reported_size == told && lines == 0);
	CHECK(described(5000, "\"1\"")->pinned.reported_size == told && lines == 0);
	CHECK(described(5000, "\"2\"")->pinned.reported_size != told && lines == 1);
	CHECK(strstr(said[0], "img") && strstr(said[0], "\"1\"") && strstr(said[0], "\"2\""), "%s",
		said[0]);
	CHECK(described(6000, "\"2\"")->pinned.reported_size > 6000 && lines == 1);
	CHECK(strstr(said[0], "5000 bytes, became \"2\", 6000 bytes"), "%s", said[0]);

	begin_test("image: recalled as it was");
	i = start();
	CHECK(image_recall(i) && i->pinned.size == 6000 && i->pinned.reported_size > 6000 &&
		i->pinned.etag_is_strong && i->pinned.kind == EROFS_COMPRESSED &&
		strcmp(i->pinned.etag, "\"2\"") == 0);

	begin_test("image: one that was open before this worker is told as it was");
	told = i->pinned.reported_size;
	live = (int64_t)told;
	i = start();
	CHECK(image_reopen(i) && i->pinned.reported_size == told && i->pinned.size == 6000 &&
		!i->changed);
	i = described(6000, "\"2\"");
	CHECK(i->pinned.reported_size == told && !i->changed && lines == 0);
	i = described(6000, "\"3\"");
	CHECK(i->pinned.reported_size == told && i->changed && lines == 1, "%s", said[0]);
	live++;
	i = start();
	CHECK(!image_reopen(i));
	live = -1;
	CHECK(!image_reopen(i));
	CHECK(described(6000, "\"2\"")->pinned.reported_size == told &&
		lines == 0); /* not forgotten */
	test_written_anew(i);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);
}

/* The same with a root hash of this byte; 0: without one. */
static struct image *verified(uint8_t byte, uint64_t size)
{
	struct response r = {.total = (int64_t)size, .etag = "\"1\"", .etag_is_strong = true};
	uint8_t root[VERITY_DIGEST];
	struct image *i = start();

	memset(root, byte, sizeof(root));
	if (byte)
		image_set_root(i, root);
	image_pin(i, &r);
	image_settle(i, "http://a/img");
	return i;
}

static bool recalls(uint8_t byte)
{
	uint8_t root[VERITY_DIGEST];
	struct image *i = start();

	memset(root, byte, sizeof(root));
	if (byte)
		image_set_root(i, root);
	return image_recall(i);
}

static void test_verified(void)
{
	char dir[] = "/tmp/image-test-XXXXXX", command[64];
	uint64_t plain, told;
	struct image *i;

	begin_test(
		"image: of a verified one the root hash is the version, whatever the server says");
	CHECK(mkdtemp(dir));
	state_open(dir);
	verifies = true;
	plain = verified(0, 8192)->pinned.reported_size;
	CHECK(!image_was_verified(start()) && recalls(0) && !recalls(1));
	i = verified(1, 8192);
	told = i->pinned.reported_size;
	CHECK(told != plain && told - 8192 >= STATE_SPREAD && lines == 1, "%s", said[0]);
	CHECK(state_is_verified(&i->pinned) && image_validator(i) == NULL);
	CHECK(image_tree(i)->size == 8192, "its tree has to have this size");
	CHECK(image_was_verified(start()));

	begin_test("image: a state is recalled with its root hash only, and without one none of "
		   "these");
	CHECK(recalls(1) && !recalls(2) && !recalls(0));
	CHECK(verified(2, 8192)->pinned.reported_size != told && recalls(2) && !recalls(1));
	CHECK(verified(1, 8192)->pinned.reported_size == told);

	begin_test("image: one that is open without a root hash is not taken for another");
	i = start();
	CHECK(!image_is_open(i) && !image_is_open_unverified(i));
	live = (int64_t)told;
	CHECK(image_is_open(i) && !image_is_open_unverified(i) && !image_reopen(i));
	live = -1;
	verified(0, 8192);
	live = (int64_t)plain;
	CHECK(image_is_open(i) && image_is_open_unverified(i) && !image_was_verified(i));
	live_verified = true; /* whatever the state file says */
	CHECK(!image_is_open_unverified(i) && image_was_verified(i));
	live_verified = false;
	live++;
	CHECK(!image_is_open_unverified(i));
	live = -1;

	begin_test("image: a trace has no tree, and an image that takes its place none of the old "
		   "one");
	i = verified(1, 8192);
	CHECK(image_tree(i) && !image_tree_place(image_get_trace(i)));
	image_free(i);
	i = image_get("erofs,img", "img", 3);
	CHECK(image_tree_place(i) && !image_tree(i));
	verifies = false;
	CHECK(!image_tree_place(start()));
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);
}

int main(void)
{
	test_remembered();
	test_verified();
	test_trace();
	test_compressed();
	return finish_tests();
}
