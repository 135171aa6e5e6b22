/* Unit tests of cull.c: the walk, what goes first, what never goes. The kernel is a pipe: it takes
 * the commands and removes nothing, so that each walk finds all files again. */
#include "test/unit/check.h"

#include <stdarg.h>

#include "kernel/cull.c"
#include "base/text.c"
#include "base/dir.c"
#include "base/fd.c"
#include "image/state.c"

struct stats stats;
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

static void test_limits(void)
{
	struct statvfs s = {.f_blocks = 1000, .f_bavail = 50, .f_files = 100, .f_ffree = 5};

	begin_test("cull: the kernel's limits");
	CHECK(!is_below(&s, 5, 5) && is_below(&s, 6, 5) && is_below(&s, 5, 6));
	CHECK(cull_limit(199, 50) == 50); /* as the kernel rounds */
}

int main(void)
{
	CHECK(mkdtemp(dir) && pipe(commands) == 0);
	shell("mkdir cache graveyard");
	test_limits();
	test_order();
	test_confined();
	shell("cd / && rm -r %s", dir);
	return finish_tests();
}
