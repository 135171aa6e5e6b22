/* Unit test of trial.c: which programs pass, and why others do not. */
#include "test/unit/check.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.c"
#include "daemon/trial.c"

static char program[] = "/tmp/trial-test-XXXXXX";

/* Runs a shell script as the program. Returns NULL or why it does not pass. */
static const char *judge(const char *script)
{
	static char *argv[] = {"@daemon", "-n", "http://x/", NULL};
	struct options o = {.argc = 3, .argv = argv};
	FILE *file = fopen(program, "w");
	int status;

	fprintf(file, "#!/bin/sh\n%s\n", script);
	fclose(file);
	if (trial_begin(NULL) == 0)
		trial_run(program, &o, 7);
	CHECK(waitpid(trial_pid(), &status, 0) == trial_pid());
	return trial_end(status);
}

static bool fails_of(const char *script, const char *reason)
{
	const char *why = judge(script);

	return why && strcmp(why, reason) == 0 && trial_pid() == 0 && trial_fd() < 0;
}

/* This test as the program, which prints where it was started from. */
static int print_self(void)
{
	char path[100] = "", name[17] = "";

	trial_find_self(path, sizeof(path), "x");
	prctl(PR_GET_NAME, name);
	return printf(TRIAL_PASSED "%s of %s\n", name, path) < 0;
}

static void test_copy(void)
{
	static char *argv[] = {"@daemon", NULL};
	struct options o = {.argc = 1, .argv = argv};
	char path[100] = "", expected[150];
	const char *why;
	int status;

	begin_test("trial: a copy in memory is executed, and has its name");
	CHECK(!trial_copy());
	trial_find_self(path, sizeof(path), "x");
	CHECK(path[0] == '/' && !strstr(path, "memfd"));
	if (trial_begin(path) == 0)
		trial_run(path, &o, 7);
	CHECK(waitpid(trial_pid(), &status, 0) == trial_pid());
	why = trial_end(status);
	if (why && strcmp(why, "Exec format error") == 0) {
		puts("ok - trial: # SKIP the kernel cannot execute what an emulator can");
		return;
	}
	snprintf(expected, sizeof(expected), TRIAL_PASSED "cachefilesd-min of %s\n", path);
	CHECK(status == 0 && !why && strcmp(text, expected) == 0, "%s", text);
	CHECK(access(trial_copy(), X_OK) == 0);

	begin_test("trial: ... and one that cannot be read fails");
	if (trial_begin("/none") == 0)
		trial_run("/none", &o, 7);
	CHECK(waitpid(trial_pid(), &status, 0) == trial_pid());
	CHECK(strcmp(trial_end(status), "No such file or directory") == 0, "%s", text);
	CHECK(!trial_copy());
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return print_self();
	test_copy();
	close(mkstemp(program));
	chmod(program, 0755);

	begin_test("trial: passed, also with warnings before and behind the verdict");
	CHECK(!judge("echo cachefilesd-mini 0.2: good"));
	CHECK(!judge("echo cachefilesd-mini: netrc: others may read it >&2; echo cachefilesd-mini "
		     "1: good;"
		     "echo cachefilesd-mini: more >&2"));
	CHECK(!judge("[ \"$*\" = '--test -F7 -n http://x/' ] && echo cachefilesd-mini 0.2: good"));

	begin_test("trial: not passed, with the last line as the reason");
	CHECK(fails_of("echo cachefilesd-mini 0.2: good; exit 2", "cachefilesd-mini 0.2: good"));
	CHECK(fails_of("echo cachefilesd-mini: a warning; echo cachefilesd-mini: memory 5; exit 2",
		"cachefilesd-mini: memory 5"));
	CHECK(fails_of("echo some text", "some text"));
	CHECK(fails_of("exit 0", "it is no cachefilesd-mini"));
	CHECK(fails_of("kill -9 $$", "it is no cachefilesd-mini"));
	CHECK(fails_of("echo", ""));
	CHECK(judge("yes | head -c 5000") != NULL);
	unlink(program);
	CHECK(fails_of("exit 0", "Permission denied"));
	unlink(program);
	return finish_tests();
}
