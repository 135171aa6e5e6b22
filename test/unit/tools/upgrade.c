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

static volatile pid_t client;

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	client = info->si_pid;
}

static void play_keeper(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	const struct timespec long_time = {20, 0}, test_time = {0, 300000000};

	sigaction(SIGUSR2, &action, NULL);
	for (;;) {
		client = 0;
		nanosleep(&long_time, NULL);
		if (!client)
			_exit(1);
		nanosleep(&test_time, NULL); /* another client may ask meanwhile */
		kill(client, UPGRADE_DONE);
	}
}

int main(void)
{
	char path[] = "/tmp/upgrade-test-XXXXXX", text[32];
	pid_t keeper = fork(), clients[3];
	int fd = mkstemp(path), status;

	begin_test("upgrade: several at once are answered in turn");
	if (keeper == 0)
		play_keeper();
	usleep(200000);
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
