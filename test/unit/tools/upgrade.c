/* Unit test of upgrade.c: two at once. The keeper is played: it knows one client at a time. */
#include "test/unit/check.h"

#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.c"
#include "base/text.c"
#include "tools/upgrade.c"

bool device_is_daemon(int pid)
{
	return pid > 1;
}

void die(int status, const char *format, ...)
{
	(void)format;
	_exit(status);
}

/* `asked` has SIGUSR2, which is blocked. */
static void play_keeper(const sigset_t *asked)
{
	const struct timespec long_time = {20, 0}, test_time = {0, 300000000}, none = {0, 0};
	siginfo_t client, other;

	while (sigtimedwait(asked, &client, &long_time) == SIGUSR2) {
		nanosleep(&test_time, NULL); /* another client may ask meanwhile */
		if (sigtimedwait(asked, &other, &none) == SIGUSR2)
			client = other;
		kill(client.si_pid, UPGRADE_DONE);
	}
	_exit(1);
}

int main(void)
{
	char path[] = "/tmp/upgrade-test-XXXXXX", text[32];
	pid_t keeper, clients[3];
	int fd = mkstemp(path), status;
	sigset_t asked;

	begin_test("upgrade: several at once are answered in turn");
	sigemptyset(&asked);
	sigaddset(&asked, SIGUSR2);
	sigprocmask(SIG_BLOCK, &asked, NULL);
	if ((keeper = fork()) == 0)
		play_keeper(&asked);
	snprintf(text, sizeof(text), "%d\n", (int)keeper);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	alarm(30);
	for (size_t i = 0; i < 3; i++)
		if ((clients[i] = fork()) == 0)
			_exit(upgrade_run(path));
	for (size_t i = 0; i < 3; i++)
		CHECK(waitpid(clients[i], &status, 0) == clients[i] && status == 0);

	alarm(30);
	begin_test("upgrade: a stranger's lock is not waited for without an end");
	CHECK(flock(fd, LOCK_EX) == 0);
	if ((clients[0] = fork()) == 0) {
		alarm(20);
		_exit(upgrade_run(path));
	}
	CHECK(waitpid(clients[0], &status, 0) == clients[0] && WIFEXITED(status) &&
		WEXITSTATUS(status) == EXIT_SYSTEM);
	kill(keeper, SIGKILL);
	unlink(path);
	return finish_tests();
}
