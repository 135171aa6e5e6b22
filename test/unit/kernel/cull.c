/* Unit tests of cull.c: the walk, what goes first, what never goes. The kernel is a pipe: it takes
 * the commands and removes nothing, so that each walk finds all files again. */
#include "test/unit/check.h"

#include <stdarg.h>

#include "base/clock.h"

static int64_t passed, set; /* seconds since the start; and by which the clock was set */
#define time(at)   ((time)(at) + (time_t)(passed + set))
#define clock_ms() ((clock_ms)() + passed * 1000)

#include "kernel/cull.c"
#undef time
#include "base/text.c"
#include "base/dir.c"
#include "base/fd.c"
#include "kernel/cached.c"
#include "image/state.c"
#include "trust/sha256.c"
#include "trust/verity.c"
#define is_plain is_plain_file
#include "kernel/store.c"
#include "kernel/stored.c"
#undef is_plain

bool backing_check_store(const char *path, char *why, size_t size)
{
	(void)path, (void)why, (void)size;
	return true;
}

static volatile uint64_t culls;
volatile uint64_t *stats_culls = &culls;
static char said[8][300];
static size_t lines;

void log_started(void)
{
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	(void)level;
	va_start(args, format);
	vsnprintf(said[lines++ % 8], sizeof(said[0]), format, args);
	va_end(args);
}

void sandbox_drop_rights(enum sandbox_role role)
{
	(void)role;
}

void sandbox_enter(enum sandbox_role role)
{
	(void)role;
}

static char dir[] = "/tmp/cull-test-XXXXXX";
static struct conf conf;
static int commands[2];

static void shell(const char *format, ...)
{
	char command[600];
	va_list args;
	int n = snprintf(command, sizeof(command), "cd %s && ", dir);

	va_start(args, format);
	vsnprintf(command + n, sizeof(command) - (size_t)n, format, args);
	va_end(args);
	CHECK(system(command) == 0, "%s", command);
}

static uint64_t counted; /* bytes of cache files, in the last look's walk */

/* What was said to the kernel in one look: the commands one after the other. */
static const char *looked(void)
{
	static char text[4096];
	struct culler c = {.conf = &conf, .device = commands[1], .worker = -1};
	ssize_t n;

	c.root = open(dir, O_RDONLY | O_DIRECTORY);
	c.cache = dir_open(c.root, "cache");
	inspect(&c);
	counted = c.bytes;
	CHECK(write(commands[1], ".", 1) == 1);
	n = read(commands[0], text, sizeof(text) - 1);
	text[n > 0 ? n - 1 : 0] = '\0';
	close(c.root);
	close(c.cache);
	return text;
}

/* A cache file of 8 KiB, used so many seconds after 1970. */
static void make(const char *volume, const char *fan, const char *name, int used)
{
	shell("mkdir -p 'cache/%s/%s' && head -c8192 /dev/zero >'cache/%s/%s/%s' && touch -d @%d "
	      "'cache/%s/%s/%s'",
		volume, fan, volume, fan, name, used, volume, fan, name);
}

static void test_order(void)
{
	char expected[600] = "";
	const char *all;

	begin_test("cull: within the budget nothing goes");
	conf = (struct conf){.bstop = 0, .bcull = 0, .brun = 0};
	strcpy(conf.dir, dir);
	make("Ierofs,a", "@00", "Da", 300);
	make("Ierofs,b", "@ff", "Db", 100);
	make("Ierofs,b", "@fe", "Dc", 200);
	CHECK(strcmp(looked(), "") == 0 &&
		counted == 0); /* with room enough, nothing is walked through */
	conf.budget = 24 << 10;
	CHECK(strcmp(looked(), "") == 0 && counted == 24 << 10);

	begin_test("cull: beyond it what was not used for longest, and no more than has to");
	conf.budget = (24 << 10) - 1;
	CHECK(strcmp(looked(), "cull Db") == 0, "%s", looked());
	conf.budget = 8 << 10;
	all = looked();
	CHECK(strncmp(all, "cull Dbcull Dc", 14) == 0, "%s", all);

	begin_test("cull: what is remembered of an image tells when it was used, not its file");
	state_open(dir);
	state_store(&(struct state){0}, (struct state_key){"erofs,b", "b", 1}, "");
	conf.budget = (24 << 10) - 1;
	all = looked();
	CHECK(strncmp(all, "cull Dc", 7) == 0, "%s", all);
	shell("test -e cachefilesd-mini/*");
	conf.budget = 1;
	looked();
	shell("test ! -e cachefilesd-mini/*"); /* gone with it */

	begin_test("cull: more than one walk finds, each once, in order");
	shell("rm -r cache/*");
	for (int i = 0; i < 3 * CANDIDATES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "D%d", i);
		make("Imany", i % 2 ? "@01" : "@02", name, 1000 + i);
		snprintf(expected + strlen(expected), 20, "cull D%d", i);
	}
	all = looked();
	CHECK(strcmp(all, expected) == 0, "%s\n# %s", all, expected);
	lines = 0;
	conf.nocull = true;
	CHECK(strcmp(looked(), "") == 0);
	CHECK(lines == 1 && strstr(said[0], "budget: ") && strstr(said[0], "nocull"), "%s",
		said[0]);
	conf.nocull = false;
}

static void test_confined(void)
{
	begin_test("cull: no links, no folders, no names that are none of the kernel's");
	shell("rm -r cache/* && mkdir -p outside/@00 && echo x >outside/@00/Dx && ln -s ../outside "
	      "cache/Ilink && mkdir -p cache/Ia/@00/Dfolder cache/I/@00 cache/Xb/@00 cache/Ia/@123 "
	      "cache/Ia/x00");
	shell("ln -s /etc/passwd cache/Ia/@00/Dlink && ln -s ../../outside/@00 cache/Ia/@01 && "
	      "mkfifo cache/Ia/@00/Dfifo");
	make("Ia", "@00", "D\n..", 1);
	make("Ia", "@00", "Xx", 1);
	make("Ia", "@123", "Dx", 1);
	make("Ia", "x00", "Dx", 1);
	make("Xb", "@00", "Dx", 1);
	make("Ia", "@00", "Dright", 1);
	CHECK(strcmp(looked(), "cull Drightcull I") == 0, "%s",
		looked()); /* "I": an empty volume */

	begin_test("cull: the graveyard is emptied, and nothing that it leads to");
	shell("mkdir -p graveyard/1/2/3 && echo x >graveyard/1/2/3/x && echo x >graveyard/y && "
	      "ln -s ../outside graveyard/link");
	conf.budget = 0;
	looked();
	shell("test -z \"$(ls graveyard)\" && test -e outside/@00/Dx");
}

/* ---- the files of block devices ---- */

#define AA "00000000000000aa"
#define BB "00000000000000bb"
#define CC "00000000000000cc"

static uint64_t used_image, used_version;

static bool is_used(uint64_t of_image, uint64_t version)
{
	return of_image == used_image && version == used_version;
}

/* One look at them. */
static void look_at_stored(void)
{
	struct culler c = {.conf = &conf, .device = -1, .worker = -1, .in_use = is_used};

	c.root = open(dir, O_RDONLY | O_DIRECTORY);
	c.cache = dir_open(c.root, ".");
	inspect(&c);
	counted = c.bytes;
	close(c.root);
	close(c.cache);
}

/* A file of 8 KiB, used so many seconds after 1970. */
static void make_stored(const char *name, int used)
{
	shell("head -c8192 /dev/zero >cachefilesd-mini/%s && touch -d @%d cachefilesd-mini/%s",
		name, used, name);
}

/* All that is there, in order. */
static bool are_stored(const char *names)
{
	char command[600];

	snprintf(command, sizeof(command), "cd %s/cachefilesd-mini && test \"$(echo *)\" = '%s'",
		dir, names);
	return system(command) == 0;
}

static void test_stored(void)
{
	begin_test("cull: of block devices what was not used for longest, and its state");
	shell("rm -rf cache/* cachefilesd-mini/*");
	make_stored(AA "." AA, 300);
	make_stored(AA "." BB, 100);
	make_stored(BB "." AA, 200);
	make_stored(CC "." CC, 50);
	shell("cd cachefilesd-mini && touch " AA " " BB " " CC " lock");
	used_image = used_version = 0xcc;
	conf = (struct conf){.budget = 32 << 10};
	strcpy(conf.dir, dir);
	look_at_stored();
	CHECK(counted == 32 << 10 && are_stored(AA " " AA "." AA " " AA "." BB " " BB " " BB "." AA
						   " " CC " " CC "." CC " lock"));
	conf.budget = (32 << 10) - 1; /* the oldest is in use */
	lines = 0;
	look_at_stored();
	CHECK(counted == 24 << 10 &&
		are_stored(AA " " AA "." AA " " BB " " BB "." AA " " CC " " CC "." CC " lock"));
	CHECK(lines == 1 && strstr(said[0], AA "." BB ": culled, 8192 bytes"), "%s", said[0]);
	conf.budget = 16 << 10;
	look_at_stored();
	CHECK(are_stored(AA " " AA "." AA " " CC " " CC "." CC " lock"));
	conf.budget = 1;
	lines = 0;
	look_at_stored();
	CHECK(counted == 8192 && are_stored(CC " " CC "." CC " lock"));
	CHECK(lines == 2 && strstr(said[1], "all images are in use"), "%s", said[1]);

	begin_test("cull: of block devices no names that are none, no links, no folders");
	used_image = 0;
	shell("cd cachefilesd-mini && rm * && mkdir " AA "." AA " && ln -s ../outside " AA "." BB
	      " && mkfifo " AA "." CC);
	make_stored(BB ":" BB, 1);
	make_stored(BB "." BB "0", 1);
	make_stored(BB "." BB ".new", 1);
	make_stored(BB, 1);
	look_at_stored();
	CHECK(counted == 0 && are_stored(AA "." AA " " AA "." BB " " AA "." CC " " BB " " BB "." BB
					    ".new " BB "." BB "0 " BB ":" BB));
	make_stored("0000000000000xyz." BB, 1);
	look_at_stored();
	shell("test -d cachefilesd-mini/" AA "." AA " && test -e cachefilesd-mini/" BB);

	begin_test("cull: of block devices more than one walk finds");
	shell("cd cachefilesd-mini && rm -r *");
	for (int i = 0; i < 3 * CANDIDATES; i++) {
		char name[40];

		snprintf(name, sizeof(name), "%016d." AA, i);
		make_stored(name, 1000 + i);
	}
	conf.budget = 8192;
	look_at_stored();
	CHECK(are_stored("0000000000000023." AA) && counted == 8192);
	conf.nocull = true;
	conf.budget = 1;
	look_at_stored();
	CHECK(are_stored("0000000000000023." AA));
}

static void test_limits(void)
{
	struct statfs s = {.f_blocks = 1000, .f_bavail = 50, .f_files = 100, .f_ffree = 5};

	begin_test("cull: the kernel's limits");
	CHECK(!is_below(&s, 5, 5) && is_below(&s, 6, 5) && is_below(&s, 5, 6));
	CHECK(cull_limit(199, 50) == 50); /* as the kernel rounds */
}

static void test_marks(void)
{
	struct culler c = {.mark_age = MARK_AGE};

	begin_test("cull: a mark that is old enough goes, no younger one and none of another boot");
	shell("mkdir -p cachefilesd-mini && cd cachefilesd-mini && rm -rf *");
	state_open(dir);
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = {AA STATE_MARK, BB STATE_MARK, CC STATE_MARK};
		char name[64];

		snprintf(name, sizeof(name), "%s", names[i]);
		CHECK(symlinkat(i == 1 ? "another" : boot, state_folder(), name) == 0);
	}
	shell("touch -hd '-20 seconds' cachefilesd-mini/" AA STATE_MARK
	      " cachefilesd-mini/" BB STATE_MARK);
	shell("touch cachefilesd-mini/" AA " cachefilesd-mini/" AA STATE_PROOF);
	dir_each(state_folder(), ".", see_mark, &c);
	CHECK(c.marked);
	shell("cd cachefilesd-mini && test \"$(echo *)\" = '" AA " " AA STATE_PROOF
	      " " BB STATE_MARK " " CC STATE_MARK "'");
	c = (struct culler){.mark_age = 0}; /* at the end */
	dir_each(state_folder(), ".", see_mark, &c);
	CHECK(!c.marked);
	shell("cd cachefilesd-mini && test \"$(echo *)\" = '" AA " " AA STATE_PROOF
	      " " BB STATE_MARK "'");
}

/* Lets seconds pass, and looks at the marks. Returns whether AA's is there still. */
static bool has_mark_after(struct culler *c, int64_t seconds)
{
	struct stat st;

	passed += seconds;
	c->marked = false;
	see_clock(c);
	dir_each(state_folder(), ".", see_mark, c);
	return fstatat(state_folder(), AA STATE_MARK, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void make_mark(void)
{
	struct timespec now = {.tv_sec = time(NULL) + passed + set};

	unlinkat(state_folder(), AA STATE_MARK, 0);
	CHECK(symlinkat(boot, state_folder(), AA STATE_MARK) == 0);
	CHECK(utimensat(state_folder(), AA STATE_MARK, (struct timespec[2]){now, now},
		      AT_SYMLINK_NOFOLLOW) == 0);
}

static void test_clock(void)
{
	static const int64_t steps[] = {1000000000, 30, -30, -1000000000};
	struct culler c = {.mark_age = MARK_AGE};

	begin_test("cull: where the clock is set, a mark goes no earlier, and not never");
	make_mark();
	CHECK(has_mark_after(&c, 0) && c.marked);
	CHECK(has_mark_after(&c, MARK_AGE - 2) && c.marked);
	CHECK(!has_mark_after(&c, 3) && !c.marked);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		make_mark();
		set += steps[i];
		CHECK(has_mark_after(&c, 2) && c.marked, "%zu", i);
		CHECK(has_mark_after(&c, MARK_AGE - 1) && c.marked, "%zu", i);
		CHECK(!has_mark_after(&c, 2) && !c.marked, "%zu", i);
	}
}

int main(void)
{
	CHECK(mkdtemp(dir) && pipe(commands) == 0);
	shell("mkdir cache graveyard");
	test_limits();
	test_order();
	test_confined();
	test_stored();
	test_marks();
	test_clock();
	shell("cd / && rm -r %s", dir);
	return finish_tests();
}
