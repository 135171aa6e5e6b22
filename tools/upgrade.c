#include "tools/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/keeper.h"
#include "kernel/device.h"

/* Seconds. */
#define ANSWER_TIME 60
#define LOCK_TIME   5

/* The file stays locked, so that upgrades take turns: the keeper answers one at a time. Whoever may
 * read it can lock it, so the wait has an end. */
static void take_turn(int fd, const char *path)
{
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK; i++) {
		if (i == LOCK_TIME * 20)
			die(EXIT_SYSTEM, "%s: another process keeps it locked: try again", path);
		poll(NULL, 0, 50);
	}
}

static pid_t read_pid(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[32];

	if (fd >= 0)
		take_turn(fd, path);
	if (fd_read_file(path, text, sizeof(text)) < 0)
		die(EXIT_SYSTEM,
			"%s: %m: name the daemon's own with -p (with -n it writes one only if its "
			"-p says so), or send SIGUSR2 to its first process",
			path);
	return (pid_t)leading_number(text);
}

int upgrade_run(const char *pid_file)
{
	pid_t pid = read_pid(pid_file);
	struct timespec second = {.tv_sec = 1};
	sigset_t answers;
	int answer = -1;

	if (pid <= 1 || !device_is_daemon(pid))
		die(EXIT_SYSTEM, "%s: process %d is no daemon that serves images", pid_file,
			(int)pid);
	sigemptyset(&answers);
	sigaddset(&answers, UPGRADE_DONE);
	sigaddset(&answers, UPGRADE_REFUSED);
	sigprocmask(SIG_BLOCK, &answers, NULL);
	if (sigqueue(pid, SIGUSR2, (union sigval){.sival_int = UPGRADE_ASKED}) < 0)
		die(EXIT_SYSTEM, "process %d: %m", (int)pid);
	for (int i = 0; i < ANSWER_TIME && answer < 0 && kill(pid, 0) == 0; i++)
		answer = sigtimedwait(&answers, NULL, &second);
	if (answer == UPGRADE_DONE)
		return 0;
	die(EXIT_SYSTEM, "process %d %s; its log says why", (int)pid,
		answer == UPGRADE_REFUSED ? "goes on as it was" : "does not answer");
}
