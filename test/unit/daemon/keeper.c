/* Unit test of keeper.c: the answer to the client of an upgrade, whose pid may be another's by
 * then. What the keeper does with its workers is tested by scenarios. */
#include "test/unit/check.h"

#include "base/dir.c"
#include "base/fd.c"
#include "base/log.c"
#include "base/text.c"
#include "daemon/handover.c"
#include "daemon/inherit.c"
#include "daemon/memory.c"
#include "daemon/mounted.c"
#include "daemon/notify.c"
#include "daemon/sandbox.c"
#include "daemon/trial.c"
#include "daemon/worker.c"
#include "daemon/keeper.c"

#include <time.h>

/* The control socket has a test of its own. */
void control_init(int listener)
{
	(void)listener;
}

void control_leave(void)
{
}

void control_poll(struct pollfd *out)
{
	*out = (struct pollfd){.fd = -1};
}

int64_t control_next(void)
{
	return INT64_MAX;
}

enum control_event control_run(const struct pollfd *polled, int64_t now)
{
	(void)polled, (void)now;
	return CONTROL_NONE;
}

char *control_line(void)
{
	return NULL;
}

void control_answer(bool done, const char *text)
{
	(void)done, (void)text;
}

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void bury(pid_t pid)
{
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
}

/* A process with this pid, which is free; -1: this user cannot choose one. */
static pid_t fork_as(pid_t wanted)
{
	for (int i = 0; i < 50; i++) {
		pid_t pid;

		if (!fd_write_number("/proc/sys/kernel/ns_last_pid", 0, wanted - 1))
			return -1;
		pid = fork_sleeper();
		if (pid == wanted)
			return pid;
		bury(pid);
	}
	return -1;
}

/* As the handler of SIGUSR2 and begin_trial() do. */
static void take_client(pid_t pid)
{
	siginfo_t info = {.si_code = SI_QUEUE};

	info.si_pid = pid;
	info.si_value.sival_int = UPGRADE_ASKED;
	on_signal(SIGUSR2, &info, NULL);
	k.client = k.asking;
	k.client_fd = k.asking_fd;
	k.asking_fd = -1;
}

static void test_client(void)
{
	const struct timespec second = {.tv_sec = 1};
	sigset_t answers;
	pid_t pid;

	begin_test("keeper: the client of an upgrade is answered");
	sigemptyset(&answers);
	sigaddset(&answers, UPGRADE_DONE);
	sigaddset(&answers, UPGRADE_REFUSED);
	sigprocmask(SIG_BLOCK, &answers, NULL);
	take_client(getpid());
	CHECK(signal_client(0));
	answer_client(true);
	CHECK(sigtimedwait(&answers, NULL, &second) == UPGRADE_DONE);
	answer_client(true);
	CHECK(sigtimedwait(&answers, NULL, &(struct timespec){0}) < 0);
	take_client(getpid());
	answer_client(false);
	CHECK(sigtimedwait(&answers, NULL, &second) == UPGRADE_REFUSED);
	sigprocmask(SIG_UNBLOCK, &answers, NULL);

	begin_test("keeper: ... but not a process that has got its pid since");
	pid = fork_sleeper();
	take_client(pid);
	bury(pid);
	CHECK(!signal_client(0));
	if (fork_as(pid) == pid) {
		answer_client(true);
		usleep(100000);
		CHECK(waitpid(pid, NULL, WNOHANG) == 0, "it was killed");
		bury(pid);
	} else {
		printf("# this user cannot choose a pid\n");
	}

	begin_test("keeper: of two clients the later one is answered, whatever else asks");
	pid = fork_sleeper();
	on_signal(SIGUSR2, &(siginfo_t){.si_code = SI_QUEUE, .si_value.sival_int = 0}, NULL);
	CHECK(k.asking_fd < 0);
	take_client(pid);
	on_signal(SIGUSR2, &(siginfo_t){.si_code = SI_USER}, NULL);
	CHECK(k.client == pid && signal_client(0));
	bury(pid);
	fd_close(&k.client_fd);
}

int main(void)
{
	begin(&(struct inherited){.device = -1, .state = -1, .status = -1, .announce = -1});
	test_client();
	return finish_tests();
}
