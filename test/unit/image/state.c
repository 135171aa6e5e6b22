/* Unit tests of state.c: reported sizes, and texts written, read back, cut at every byte and
 * changed at each. */
#include "test/unit/check.h"

#include "base/dir.c"
#include "base/fd.c"
#include "base/text.c"
#include "image/state.c"
#include "trust/sha256.c"
#include "trust/verity.c"

#include <stdarg.h>

static bool parse(struct state *out, struct state_key keys, const char *text, size_t size)
{
	struct state_names names;

	return state_parse(out, &names, text, size) && strcmp(names.volume, keys.volume) == 0 &&
	       names.cookie_size == keys.cookie_size &&
	       memcmp(names.cookie, keys.cookie, keys.cookie_size) == 0;
}

static unsigned warnings;

void log_line(enum log_level level, const char *format, ...)
{
	(void)format;
	warnings += level == LOG_LEVEL_WARNING;
}

static const struct state_key key = {"erofs,plain", "a b\n%\xff", 6};

static struct state strong(uint64_t size, const char *etag)
{
	struct state s = {.size = size, .kind = EROFS_COMPRESSED, .checked = 1700000000};

	snprintf(s.etag, sizeof(s.etag), "%s", etag);
	s.etag_is_strong = etag[0] == '"';
	strcpy(s.last_modified, "Mon, 02 Jan 2023 03:04:05 GMT");
	s.reported_size = state_reported_size(&s, NULL);
	return s;
}

static size_t formatted(char *out, const struct state *s)
{
	return state_format(out, STATE_MAX, s, key, "http://server.example/a%20b");
}

static bool equal(const struct state *a, const struct state *b)
{
	return a->size == b->size && a->reported_size == b->reported_size && a->kind == b->kind &&
	       strcmp(a->etag, b->etag) == 0 && a->etag_is_strong == b->etag_is_strong &&
	       strcmp(a->last_modified, b->last_modified) == 0 && a->checked == b->checked;
}

static void test_reported_size(void)
{
	struct state a = strong(4096, "\"1\""), b = strong(4096, "\"2\""), none = {.size = 4096};
	struct state weak = strong(4096, "W/\"1\""), later = weak;
	uint64_t edges[] = {1, 4096, STRETCH - 4096, STRETCH, STRETCH + 1, INT64_MAX - 4096};

	begin_test("state: a version has its size, another one another");
	CHECK(a.reported_size == 7539722, "%llu",
		(unsigned long long)a.reported_size); /* as it is on disks by now */
	CHECK(a.reported_size > a.size && a.reported_size - a.size < STATE_SPREAD);
	CHECK(a.reported_size != b.reported_size);
	CHECK(state_reported_size(&none, NULL) == 4096);
	CHECK(state_reported_size(&a, &a) == a.reported_size &&
		state_reported_size(&b, &a) == b.reported_size);
	strcpy(later.last_modified, "Mon, 02 Jan 2023 03:04:06 GMT");
	CHECK(!state_is_same(&weak, &later) &&
		state_reported_size(&later, NULL) != weak.reported_size);
	strcpy(b.etag, a.etag);
	strcpy(b.last_modified, "Mon, 02 Jan 2023 03:04:06 GMT");
	CHECK(state_is_same(&a, &b) && state_reported_size(&b, NULL) == a.reported_size);
	b.size++;
	CHECK(!state_is_same(&a, &b));

	begin_test("state: what another version was told as is avoided");
	b = strong(4096, "\"2\"");
	b.reported_size = a.reported_size;
	CHECK(state_reported_size(&a, &b) == a.reported_size + 1);
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		uint64_t most = edges[i] + spread(edges[i]) - 1;

		CHECK(most >= edges[i] && most < (uint64_t)INT64_MAX + 1, "%zu", i);
		CHECK(edges[i] / STRETCH == most / STRETCH, "%zu", i);
		a = strong(edges[i], "\"x\"");
		CHECK(a.reported_size >= edges[i] && a.reported_size <= most, "%zu", i);
		b = strong(edges[i], "\"y\"");
		b.reported_size = a.reported_size;
		CHECK(spread(edges[i]) == 1 || state_reported_size(&a, &b) != a.reported_size,
			"%zu", i);
	}
	none.reported_size = a.reported_size = 4096 + STATE_SPREAD - 1;
	a = none;
	strcpy(a.etag, "\"z\"");
	a.etag_is_strong = true;
	for (unsigned i = 0; i < 100; i++) {
		snprintf(a.etag, sizeof(a.etag), "\"%u\"", i);
		b = none;
		b.reported_size = state_reported_size(&a, NULL);
		CHECK(state_reported_size(&a, &b) != b.reported_size &&
			state_reported_size(&a, &b) - 4096 < STATE_SPREAD);
	}
}

static struct state verified(uint64_t size, unsigned root)
{
	struct state s = {.size = size};
	uint8_t digest[VERITY_DIGEST] = {(uint8_t)root, (uint8_t)(root >> 8)};

	strcpy(s.last_modified, "Mon, 02 Jan 2023 03:04:05 GMT");
	state_verified(&s, digest);
	s.reported_size = state_reported_size(&s, NULL);
	return s;
}

static void test_verified(void)
{
	struct state a = verified(4096, 1), b = verified(4096, 5000), s;
	uint64_t edges[] = {STRETCH - 4096, STRETCH - STATE_SPREAD, STRETCH - 2 * STATE_SPREAD,
		STRETCH - 2 * STATE_SPREAD + 4096, STRETCH, INT64_MAX - 4095};

	begin_test("state: with a root hash that is the version, and no server's validator is one");
	CHECK(state_is_verified(&a) && a.etag_is_strong && a.last_modified[0] == '\0');
	CHECK(a.etag[0] == '"' && strchr(a.etag + 1, '"') != a.etag + strlen(a.etag) - 1);
	CHECK(state_is_same(&a, &a) && !state_is_same(&a, &b));
	CHECK(state_root(&a) && strncmp(state_root(&a), "01000000", 8) == 0 &&
		strspn(state_root(&a), "0123456789abcdef") == VERITY_HEX);
	s = strong(4096, "\"verity\"");
	CHECK(!state_is_verified(&s) && !state_root(&s));
	s = strong(4096, "\"verity0101\"");
	CHECK(!state_is_verified(&s));
	s = strong(4096, "W/\"verity\"");
	CHECK(!state_is_verified(&s));

	begin_test("state: a verified version is reported as no other one can be");
	CHECK(a.reported_size != b.reported_size);
	for (unsigned i = 0; i < 1000; i++) {
		char etag[16];

		snprintf(etag, sizeof(etag), "\"%u\"", i);
		a = verified(4096, i);
		s = strong(4096, etag);
		CHECK(a.reported_size - 4096 >= STATE_SPREAD &&
			a.reported_size - 4096 < 2 * STATE_SPREAD);
		CHECK(s.reported_size - 4096 < STATE_SPREAD);
		b.reported_size = a.reported_size;
		CHECK(state_reported_size(&a, &b) != a.reported_size);
		CHECK(state_reported_size(&a, &b) - 4096 >= STATE_SPREAD);
	}

	begin_test("state: nor does it cross a multiple of 16 GiB that the image does not");
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		for (unsigned root = 0; root < 100; root++) {
			a = verified(edges[i], root);
			CHECK(a.reported_size >= edges[i] &&
					a.reported_size / STRETCH == edges[i] / STRETCH,
				"%zu: %llu", i, (unsigned long long)a.reported_size);
		}
}

/* Remembers a version with that root hash of an image. */
static struct state remember(const char *name, const uint8_t root[VERITY_DIGEST])
{
	struct state s = {.size = 4096, .reported_size = 4096};

	state_verified(&s, root);
	state_store(&s, (struct state_key){"v", name, strlen(name)}, "http://h/");
	return s;
}

/* Whether there is a tree of this root hash, and its proof. */
static bool has_root(const uint8_t root[VERITY_DIGEST])
{
	char name[STATE_ROOT_NAME];
	uint8_t byte;

	state_root_name(name, root, STATE_TREE);
	CHECK((faccessat(folder, name, F_OK, 0) == 0) == (state_load_proof(root, &byte, 1) == 1));
	return state_load_proof(root, &byte, 1) == 1;
}

static void make_root(const uint8_t root[VERITY_DIGEST])
{
	char name[STATE_ROOT_NAME];

	state_root_name(name, root, STATE_TREE);
	CHECK(write_file(name, "tree", 4));
	state_store_proof(root, "p7s", 3);
}

static void test_proof(void)
{
	static const uint8_t root[VERITY_DIGEST] = {1, 2}, other[VERITY_DIGEST] = {1, 3};
	struct state_key a = {"v", "a", 1}, b = {"v", "b", 1};
	char path[] = "/tmp/state.XXXXXX", command[64], name[STATE_NAME];
	uint8_t out[16];
	struct state s;

	begin_test("state: what proves a root hash is kept by that, cut at the reader's room");
	CHECK(mkdtemp(path) && (folder = open(path, O_RDONLY | O_DIRECTORY)) >= 0);
	CHECK(state_load_proof(root, out, sizeof(out)) == 0);
	state_store_proof(root, "0123456789", 10);
	CHECK(state_load_proof(root, out, sizeof(out)) == 10 && memcmp(out, "0123456789", 10) == 0);
	CHECK(state_load_proof(root, out, 3) == 3 && state_load_proof(other, out, 3) == 0);
	state_store_proof(root, "ab", 2);
	CHECK(state_load_proof(root, out, sizeof(out)) == 2);
	state_store_proof(root, "", 0);
	CHECK(state_load_proof(root, out, sizeof(out)) == 0);

	begin_test("state: tree and proof of a root hash stay as long as an image has it");
	make_root(root);
	make_root(other);
	remember("a", root);
	s = remember("b", root);
	state_remove_root(&s);
	CHECK(has_root(root));
	state_name(name, b);
	state_remove(name);
	CHECK(has_root(root) && has_root(other) && !state_load(&s, b));
	state_name(name, a);
	state_remove(name);
	CHECK(!has_root(root) && has_root(other));

	begin_test("state: so does that of a version before, and goes with that");
	make_root(root);
	remember("a", root);
	state_name(name, a);
	state_note_before(b, name);
	s = remember("b", other);
	state_remove(name);
	CHECK(has_root(root) && has_root(other));
	state_name(name, b);
	state_remove(name);
	CHECK(!has_root(root) && !has_root(other));
	make_root(root);
	s = strong(4096, "\"x\"");
	state_remove_root(&s);
	CHECK(has_root(root));
	close(folder);
	folder = -1;
	snprintf(command, sizeof(command), "rm -r %s", path);
	CHECK(system(command) == 0);
}

static void test_text(void)
{
	char text[STATE_MAX], again[STATE_MAX], huge[URL_MAX + 400];
	struct state s = strong(123456789, "\"obs\xe9 %41\""), out;
	struct state_key longest = {again, huge, KEY_MAX};
	size_t size = formatted(text, &s);
	const char *beginning = "cachefilesd-mini 1\nvolume erofs,plain\ncookie a b%0A%25%FF\n"
				"url http://server.example/a%20b\nsize 123456789\n";

	begin_test("state: read back as it was written");
	CHECK(size > 0 && parse(&out, key, text, size) && equal(&s, &out));
	CHECK(strncmp(text, beginning, strlen(beginning)) == 0, "%.*s", (int)size, text);
	s = strong(0, "");
	s.last_modified[0] = '\0';
	size = formatted(text, &s);
	CHECK(parse(&out, key, text, size) && equal(&s, &out));

	begin_test("state: the longest keys, URL and validators fit");
	memset(huge, 0xff, sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	memset(again, 0xff, KEY_MAX);
	again[KEY_MAX] = '\0';
	memset(s.etag, 0xff, sizeof(s.etag) - 1);
	s.etag[0] = '"';
	s.etag_is_strong = true;
	memset(s.last_modified, 0xff, sizeof(s.last_modified) - 1);
	memset(huge + KEY_MAX, 'u', sizeof(huge) - KEY_MAX - 1);
	size = state_format(text, sizeof(text), &s, longest, huge + KEY_MAX);
	CHECK(size > 0 && parse(&out, longest, text, size) && equal(&s, &out));
	CHECK(state_format(text, size - 1, &s, longest, huge + KEY_MAX) == 0);

	begin_test("state: cut off, with a byte more, with any byte changed: not there");
	s = strong(123456789, "\"x\"");
	size = formatted(text, &s);
	for (size_t cut = 0; cut < size; cut++) {
		char *copy = malloc(cut + !cut); /* the sanitizer sees a byte beyond */

		memcpy(copy, text, cut);
		CHECK(!parse(&out, key, copy, cut), "cut at %zu", cut);
		free(copy);
	}
	text[size] = '\n';
	CHECK(!parse(&out, key, text, size + 1));
	for (size_t at = 0; at < size; at++) {
		memcpy(again, text, size);
		again[at] ^= 1;
		CHECK(!parse(&out, key, again, size), "byte %zu", at);
	}
	CHECK(!parse(&out, (struct state_key){"erofs,plain", "other", 5}, text, size));
}

/* A text with these lines between the keys and a right sum. */
static bool takes(const char *lines)
{
	char text[STATE_MAX];
	struct state out;
	size_t size = (size_t)snprintf(text, sizeof(text),
		"cachefilesd-mini 1\nvolume erofs,plain\ncookie a b%%0A%%25%%FF\n%s", lines);

	size += (size_t)snprintf(text + size, sizeof(text) - size, "sum %016llx\n",
		(unsigned long long)hash_more(HASH_BEGIN, text, size));
	return parse(&out, key, text, size);
}

static void test_hostile(void)
{
#define REST "etag \"x\"\nlast-modified \nchecked 1\n"
	begin_test("state: a right sum over what makes no sense");
	CHECK(takes("url u\nsize 5\ntold 6\nkind 1\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 4\nkind 1\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 33554437\nkind 1\n" REST));
	CHECK(takes("url u\nsize 5\ntold 33554436\nkind 1\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 3\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind -1\n" REST));
	CHECK(!takes("url u\nsize 9999999999999999999\ntold 9999999999999999999\nkind 1\n" REST));
	CHECK(!takes("url u\nsize 05\ntold 6\nkind 1\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind %31\n" REST));
	CHECK(!takes("url u\nsize \ntold 6\nkind 1\n" REST));
	CHECK(!takes("size 5\nurl u\ntold 6\nkind 1\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\nextra 1\n" REST));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\n" REST "more 1\n"));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\netag x\nlast-modified \nchecked 1\n"));
	CHECK(!takes(
		"url u\nsize 5\ntold 6\nkind 1\netag \"%0D%0A\"\nlast-modified \nchecked 1\n"));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\netag \"%0\nlast-modified \nchecked 1\n"));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\netag \"%0"));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\netag \"%zz\"\nlast-modified \nchecked 1\n"));
	CHECK(!takes("url u\nsize 5\ntold 6\nkind 1\netag \"x\"\nlast-modified "
		     "123456789012345678901234567890123456789012345\nchecked 1\n"));
}

static void test_files(void)
{
	char dir[] = "/tmp/state-test-XXXXXX", path[64], name[STATE_NAME];
	struct state s = strong(5000, "\"1\""), out;
	struct stat before, after;

	begin_test("state: files");
	CHECK(!state_load(&out, key));
	state_store(&s, key, "http://h/"); /* without a folder: nothing happens */
	state_touch(key);
	CHECK(mkdtemp(dir));
	state_open(dir);
	CHECK(state_folder() >= 0 && warnings == 0);
	CHECK(!state_load(&out, key));
	state_store(&s, key, "http://h/");
	CHECK(state_load(&out, key) && equal(&s, &out) && warnings == 0);
	s.reported_size++;
	state_store(&s, key, "http://h/");
	CHECK(state_load(&out, key) && equal(&s, &out));
	state_name(name, key);
	CHECK(strlen(name) == STATE_NAME - 1);
	snprintf(path, sizeof(path), "%s/cachefilesd-mini/%s", dir, name);
	CHECK(stat(path, &before) == 0 && (before.st_mode & 07777) == 0600);
	utimensat(AT_FDCWD, path, (struct timespec[2]){{1, 0}, {1, 0}}, 0);
	state_touch(key);
	CHECK(stat(path, &after) == 0 && after.st_mtime >= before.st_mtime);

	begin_test("state: what lies in a file's place");
	unlink(path);
	CHECK(symlink("/etc/passwd", path) == 0 && !state_load(&out, key));
	state_store(&s, key, "http://h/");
	CHECK(state_load(&out, key) && lstat(path, &after) == 0 && S_ISREG(after.st_mode));
	unlink(path);
	CHECK(mkdir(path, 0700) == 0 && !state_load(&out, key) && warnings == 0);
	state_store(&s, key, "http://h/");
	CHECK(warnings == 1);
	state_store(&s, key, "http://h/");
	CHECK(warnings == 1); /* once */
	rmdir(path);
	CHECK(mkfifo(path, 0600) == 0 && !state_load(&out, key));
	unlink(path);

	begin_test("state: no folder can be made: one warning");
	warnings = 0;
	state_open("/proc/self");
	CHECK(state_folder() < 0 && warnings == 1);
	state_store(&s, key, "http://h/");
	CHECK(!state_load(&out, key) && warnings == 1);
	snprintf(path, sizeof(path), "rm -r %s", dir);
	CHECK(system(path) == 0);
}

static void test_marks(void)
{
	const struct state version = {.etag = "\"1\""}, next = {.etag = "\"2\""};
	char dir[] = "/tmp/state-test-XXXXXX", command[64], name[SUFFIXED], of[64] = "";

	begin_test("state: a mark is of this boot, or of another one");
	CHECK(mkdtemp(dir));
	state_open(dir);
	name_by_hash(name, hash_more(hash_key(key), "\"1\"", 3));
	strcat(name, STATE_MARK);
	CHECK(strlen(boot) == 37 && !state_mark(key, &version, false) && !state_is_old_mark(name));
	CHECK(!state_mark(key, &version, true) && !state_mark(key, &version, false) &&
		!state_is_old_mark(name));
	CHECK(readlinkat(folder, name, of, sizeof(of) - 1) == 37 && !strcmp(of, boot));
	for (int i = 0; i < 2; i++) {
		unlinkat(folder, name, 0);
		CHECK(symlinkat(i ? "0123456789abcdef" : "x", folder, name) == 0);
		CHECK(state_is_old_mark(name) && state_mark(key, &version, false) &&
			state_mark(key, &version, true));
		CHECK(!state_mark(key, &version, false));
	}
	unlinkat(folder, name, 0);
	CHECK(symlinkat("x", folder, name) == 0 && !state_mark(key, &next, true));
	CHECK(state_mark(key, &version, false) && !state_mark(key, &next, false));
	snprintf(command, sizeof(command), "rm -r %s", dir);
	CHECK(system(command) == 0);

	begin_test("state: without a folder there are no marks");
	fd_close(&folder);
	CHECK(!state_mark(key, &version, true) && !state_mark(key, &version, false));
}

int main(void)
{
	test_reported_size();
	test_verified();
	test_proof();
	test_text();
	test_hostile();
	test_files();
	test_marks();
	return finish_tests();
}
