#include "daemon/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/memory.h"
#include "daemon/sandbox.h"

/* Milliseconds for a holder to fork, which reads nothing. */
#define HOLDER_TIME 1000

static int channel = -1;
static int64_t watchdog, alive_next;
static volatile sig_atomic_t orphan_stop;

void send_word(int to, enum word word)
{
	char byte = (char)word;

	if (to >= 0)
		(void)!send(to, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

enum word receive_word(int from, int flags)
{
	unsigned char byte;
	ssize_t n;

	do
		n = recv(from, &byte, 1, flags);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return (enum word)byte;
	return n < 0 && errno == EAGAIN ? WORD_NONE : WORD_END;
}

int worker_fd(void)
{
	return channel;
}

static void on_orphan_stop(int signal)
{
	(void)signal;
	orphan_stop = 1;
}

static void become_orphan(void)
{
	log_err("the keeper has died: no other will take this worker's place; end it (process %d) "
		"when no image is mounted, and start again",
		(int)getpid());
	signal(SIGTERM, on_orphan_stop);
	signal(SIGINT, on_orphan_stop);
	fd_close(&channel);
}

enum word worker_word(void)
{
	enum word word = receive_word(channel, MSG_DONTWAIT);

	if (word == WORD_END && channel >= 0)
		become_orphan();
	if (word == WORD_END)
		return orphan_stop ? WORD_STOP : WORD_NONE;
	return word == WORD_LEAVE || word == WORD_STOP ? word : WORD_NONE;
}

int64_t worker_alive(int64_t now)
{
	if (channel < 0)
		return now + 1000;
	if (!watchdog)
		return INT64_MAX;
	if (now >= alive_next) {
		send_word(channel, WORD_ALIVE);
		alive_next = now + watchdog / 4;
	}
	return alive_next;
}

void worker_tell(enum word word)
{
	send_word(channel, word);
}

void worker_run(int end, const struct worker_calls *calls, int64_t watchdog_time)
{
	enum word word;

	channel = end;
	watchdog = watchdog_time;
	calls->prepare();
	send_word(channel, WORD_READY);
	word = receive_word(channel, 0);
	if (word != WORD_GO && word != WORD_GO_FIRST)
		_exit(0);
	log_started();
	_exit(calls->work(word == WORD_GO_FIRST));
}

const char *worker_end(int status)
{
	static char text[32];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
	else
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	return text;
}

int holder_run(int end, const struct worker_calls *calls)
{
	extern const char edata[]; /* the linker's: the end of program and data */
	char why[512];
	int fd;

	prctl(PR_SET_NAME, "cachefilesd-con");
	sandbox_drop_rights(SANDBOX_HOLDER);
	if (!calls->load(why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
	memory_lock(edata, NULL, 0); /* if it cannot, the keeper has told it */
	send_word(end, WORD_READY);
	while ((fd = fd_receive(end)) >= 0) {
		pid_t between = _Fork(), pid;

		if (between == 0) {
			pid = _Fork();
			if (pid == 0) {
				close(end);
				prctl(PR_SET_NAME, "cachefilesd-min");
				return fd;
			}
			send(end, &pid, sizeof(pid), MSG_NOSIGNAL);
			_exit(0); /* the keeper inherits the worker */
		}
		close(fd);
		waitpid(between, NULL, 0);
	}
	if (errno == EPERM)
		die(EXIT_SYSTEM, "the program before the upgrade has forbidden what this takes: "
				 "start the daemon again when no image is mounted");
	_exit(0);
}

pid_t holder_fork(int holder, int end)
{
	struct pollfd p = {.fd = holder, .events = POLLIN};
	pid_t pid;

	errno = ETIMEDOUT;
	if (!fd_send(holder, NULL, 0, "", 1, end) || poll(&p, 1, HOLDER_TIME) != 1 ||
		recv(holder, &pid, sizeof(pid), MSG_DONTWAIT) != sizeof(pid))
		return -1;
	return pid;
}
