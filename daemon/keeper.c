#include "daemon/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel/cachefiles.h"
#include "base/clock.h"
#include "daemon/handover.h"
#include "base/log.h"
#include "daemon/notify.h"
#include "daemon/sandbox.h"

/* A worker that dies is followed at once by the next; when that dies too, later and later, until
 * one has lived for a while. In milliseconds, as all times. */
#define BACK_OFF_FIRST 100
#define BACK_OFF_LAST  10000
#define LIVED	       30000

/* How long a worker may take to leave before it is killed, and to prepare itself when nobody
 * serves: what it reads may lie on a file system that hangs on us. */
#define LEAVE_TIME 10000

/* What is unmounted is gone only a little later, and until then a signal to stop waits. Then it has
 * to be sent once more within this time. */
#define UNMOUNT_TIME 1000
#define UNMOUNT_LOOK 50
#define TWICE_TIME   10000

/* Words on the channel between keeper and worker, a byte each. They are understood by other
 * versions of this program, which take over at an upgrade: never change one. */
enum word {
	READY = 'r',
	ALIVE = 'a',
	CACHE_LOST = 'd',
	GO = 'g',
	GO_FIRST = 'f',
	LEAVE = 'l',
	STOP = 's',
};

/* What an earlier program in our place leaves: the numbers of struct inherited with ','
 * between, in the environment. */
#define LEGACY	    "CACHEFILESD_MINI_KEEPS"
#define ENVIRON_MAX 64

/* That somebody waits for the answer to SIGUSR2: its value; and the answers. */
#define ASKED	       0x63666d
#define ANSWER_DONE    SIGUSR1
#define ANSWER_REFUSED SIGUSR2
#define ANSWER_TIME    60

struct worker {
	pid_t pid;   /* 0: none */
	int channel; /* -1: none */
	bool ready, reads_anew;
	int64_t since;	   /* its turn began, or it was forked */
	int64_t killed_at; /* it has been told to go; INT64_MAX: not */
};

static const struct options *options;
static const struct keeper_calls *calls;
static char program_path[PROGRAM_PATH_MAX]; /* where we were started from */
static struct inherited inherited;
static int volumes = -1, announce = -1;
static int run_folder = -1; /* /run, if an initramfs has started us */
static bool loaded, is_first, cache_lost, stopping;
static int exit_status = -1; /* once the keeper is to end */
static struct worker serving = {.channel = -1, .killed_at = INT64_MAX};
static struct worker next = {.channel = -1, .killed_at = INT64_MAX};
static int64_t now, retry_at, back_off, watchdog;

static int64_t stop_asked = INT64_MIN / 2, stop_look = INT64_MAX;

/* The new program's own test: a child, what it says, and who waits. */
static struct {
	pid_t pid; /* 0: none */
	int output;
	char text[256];
	size_t said;
	pid_t asker;
	int64_t killed_at; /* if it has not ended by then */
} trial = {.output = -1, .killed_at = INT64_MAX};

static sigset_t while_waiting; /* the signals that are blocked then */
static volatile sig_atomic_t hup, usr2, term;
static volatile pid_t usr2_sender;

static void say(int channel, enum word word)
{
	char byte = (char)word;

	if (channel >= 0)
		(void)!send(channel, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void drop_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- signals ---- */

static void on_signal(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (signal == SIGHUP) {
		hup = 1;
	} else if (signal == SIGUSR2) {
		usr2 = 1;
		usr2_sender = info->si_code == SI_QUEUE && info->si_value.sival_int == ASKED
				      ? info->si_pid
				      : 0;
	} else if (signal != SIGCHLD) {
		term = 1;
	}
}

static const int caught[] = {SIGCHLD, SIGHUP, SIGUSR2, SIGTERM, SIGINT};
#define CAUGHT (sizeof(caught) / sizeof(*caught))

/* Signals are only taken while the keeper waits. Blocked ones stay so over execve(2). */
static void catch_signals(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < CAUGHT; i++)
		sigaddset(&blocked, caught[i]);
	sigprocmask(SIG_BLOCK, &blocked, &while_waiting);
	for (size_t i = 0; i < CAUGHT; i++) {
		sigdelset(&while_waiting, caught[i]);
		sigaction(caught[i], &action, NULL);
	}
	signal(SIGPIPE, SIG_IGN);
}

static void uncatch_signals(void)
{
	sigset_t all;

	for (size_t i = 0; i < CAUGHT; i++)
		signal(caught[i], caught[i] == SIGCHLD ? SIG_DFL : SIG_IGN);
	sigemptyset(&all);
	for (size_t i = 0; i < CAUGHT; i++)
		sigaddset(&all, caught[i]);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
}

/* ---- whether images are mounted ---- */

/* Lines of /proc/fs/fscache/volumes that end in a key of EROFS. The kernel has them of all mount
 * namespaces. */
static unsigned count_volumes(void)
{
	static const char mark[] = " erofs,";
	char text[1024];
	size_t kept = 0;
	ssize_t n;
	unsigned count = 0;
	off_t at = 0;

	while ((n = pread(volumes, text + kept, sizeof(text) - 1 - kept, at)) > 0) {
		const char *found = text;

		at += n;
		kept += (size_t)n;
		text[kept] = '\0';
		for (; (found = strstr(found, mark)); found++)
			count++;
		n = (ssize_t)(kept < sizeof(mark) - 2 ? kept : sizeof(mark) - 2);
		memmove(text, text + kept - n, (size_t)n);
		kept = (size_t)n;
	}
	return count;
}

/* The kernel's list has a mount that still waits for its OPEN, too; and among those that were
 * answered may be one that was unmounted while there was no worker. */
static unsigned mounted(void)
{
	unsigned answered = opened_files_count(), listed = volumes < 0 ? answered : count_volumes();

	return listed < answered ? listed : answered;
}

/* ---- the worker's side ---- */

static int channel = -1;
static int64_t alive_next;
static volatile sig_atomic_t orphan_stop;

int keeper_fd(void)
{
	return channel;
}

static void on_orphan_stop(int signal)
{
	(void)signal;
	orphan_stop = 1;
}

static enum keeper_word orphaned(void)
{
	if (channel >= 0) {
		log_err("the keeper has died: nobody will take this worker's place; start anew "
			"when no image is mounted");
		signal(SIGTERM, on_orphan_stop);
		signal(SIGINT, on_orphan_stop);
		drop_fd(&channel);
	}
	return orphan_stop ? KEEPER_STOP : KEEPER_NOTHING;
}

enum keeper_word keeper_says(void)
{
	char byte;
	ssize_t n = channel < 0 ? 0 : recv(channel, &byte, 1, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return orphaned();
	if (n == 1 && byte == LEAVE)
		return KEEPER_LEAVE;
	return n == 1 && byte == STOP ? KEEPER_STOP : KEEPER_NOTHING;
}

int64_t keeper_alive(int64_t time)
{
	if (!watchdog || channel < 0)
		return channel < 0 ? time + 1000 : INT64_MAX;
	if (time >= alive_next) {
		say(channel, ALIVE);
		alive_next = time + watchdog / 4;
	}
	return alive_next;
}

void keeper_lost_cache(void)
{
	say(channel, CACHE_LOST);
}

/* Waits for the worker's turn. Returns whether the cache has just been bound. */
static bool wait_for_turn(void)
{
	char byte;
	ssize_t n;

	say(channel, READY);
	do
		n = recv(channel, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n != 1 || (byte != GO && byte != GO_FIRST))
		_exit(0);
	return byte == GO_FIRST;
}

__attribute__((noreturn)) static void become_worker(int end)
{
	bool reads_anew = next.reads_anew;
	char why[512];

	channel = end;
	uncatch_signals();
	drop_fd(&serving.channel);
	drop_fd(&trial.output);
	drop_fd(&announce);
	if (reads_anew && !calls->load(why, sizeof(why)))
		die(EXIT_USAGE, "%s", why);
	calls->prepare();
	bool first = wait_for_turn();
	_exit(calls->work(first));
}

/* ---- the keeper's: beginning and ending workers ---- */

static void retry_later(void)
{
	back_off = back_off ? back_off * 2 : BACK_OFF_FIRST;
	if (back_off > BACK_OFF_LAST)
		back_off = BACK_OFF_LAST;
	retry_at = now + back_off;
}

/* A boot leaves the root that we were started in behind, emptied; but /run goes along with it. What
 * our paths mean from then on lies beside that. */
static void follow_root(void)
{
	int root = run_folder < 0 ? -1 : openat(run_folder, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root >= 0 && (fchdir(root) < 0 || chroot(".") < 0))
		log_warning("the booted system's root: %s", strerror(errno));
	drop_fd(&root);
}

static void begin_worker(bool reads_anew)
{
	int ends[2];

	follow_root();
	retry_at = INT64_MAX;
	next = (struct worker){
		.channel = -1, .reads_anew = reads_anew, .since = now, .killed_at = INT64_MAX};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
		next.pid = _Fork(); /* fork() would link the locks of threads, which we have not */
		if (next.pid == 0) {
			close(ends[0]);
			become_worker(ends[1]);
		}
		close(ends[1]);
		next.channel = ends[0];
		if (next.pid > 0)
			return;
	}
	log_err("no new worker: %s", strerror(errno));
	next.pid = 0;
	drop_fd(&next.channel);
	if (!serving.pid)
		retry_later();
}

static void end_worker(struct worker *w, enum word word)
{
	if (!w->pid || w->killed_at != INT64_MAX)
		return;
	say(w->channel, word);
	w->killed_at = now + LEAVE_TIME;
}

static void answer(pid_t *asker, bool done)
{
	if (*asker)
		kill(*asker, done ? ANSWER_DONE : ANSWER_REFUSED);
	*asker = 0;
}

/* It serves: whoever has started us may know. */
static void announce_start(void)
{
	static const char yes = 'y';

	if (announce >= 0)
		(void)!write(announce, &yes, 1);
	drop_fd(&announce);
	notify_send("READY=1\nSTATUS=serving", -1);
}

/* It is the turn of the one that is ready, since nobody serves. */
static void change_over(void)
{
	char why[512];
	bool read_anew = next.reads_anew;

	serving = next;
	serving.since = now;
	serving.killed_at = INT64_MAX;
	next = (struct worker){.channel = -1, .killed_at = INT64_MAX};
	say(serving.channel, is_first ? GO_FIRST : GO);
	if (is_first)
		announce_start();
	is_first = false;
	answer(&trial.asker, true);
	/* Those that come after it are to have what it has read. */
	if (read_anew && !(loaded = calls->load(why, sizeof(why))))
		log_err("%s", why);
}

/* ---- what has happened ---- */

static void hear(struct worker *w)
{
	char byte;
	ssize_t n;

	while (w->channel >= 0 && (n = recv(w->channel, &byte, 1, MSG_DONTWAIT)) >= 0) {
		if (n == 0)
			drop_fd(&w->channel);
		else if (byte == READY)
			w->ready = true;
		else if (byte == ALIVE)
			notify_send("WATCHDOG=1", -1);
		else if (byte == CACHE_LOST)
			cache_lost = true;
	}
}

static void describe_end(char *text, size_t size, int status)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "signal %d", WTERMSIG(status));
	else
		snprintf(text, size, "exit status %d", WEXITSTATUS(status));
}

static void worker_died(int status)
{
	char how[32];

	describe_end(how, sizeof(how), status);
	if (next.pid && !next.ready)
		next.killed_at = now + LEAVE_TIME;
	if (now - serving.since >= LIVED || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		back_off = 0;
	if (serving.killed_at != INT64_MAX) {
		back_off = 0; /* it was told to */
		retry_at = now;
	} else if (next.pid || !back_off) {
		log_err("the worker has died (%s): a new one takes its place", how);
		back_off = BACK_OFF_FIRST / 2;
		retry_at = now;
	} else {
		retry_later();
		log_err("the worker has died again (%s): a new one takes its place in %u ms", how,
			(unsigned)back_off);
	}
}

static void candidate_died(int status)
{
	char how[32];

	describe_end(how, sizeof(how), status);
	answer(&trial.asker, false);
	if (serving.pid) {
		log_err("the new worker has ended before its turn (%s): the old one goes on", how);
	} else {
		retry_later();
		log_err("the new worker has ended before its turn (%s): the next in %u ms", how,
			(unsigned)back_off);
	}
}

static void serving_ended(int status)
{
	hear(&serving);
	drop_fd(&serving.channel);
	serving.pid = 0;
	if (cache_lost) {
		notify_send("FDSTOREREMOVE=1\nFDNAME=device", -1);
		exit_status = EXIT_SYSTEM;
	} else if (stopping) {
		exit_status = 0;
	} else {
		worker_died(status);
	}
	serving.killed_at = INT64_MAX;
}

static void next_ended(int status)
{
	drop_fd(&next.channel);
	next.pid = 0;
	next.ready = false;
	if (is_first)
		exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_INTERNAL;
	else if (!stopping)
		candidate_died(status);
}

/* ---- a new program ---- */

__attribute__((noreturn)) static void try_program(int output)
{
	char *argv[options->argc + 2];
	const char *reason;

	argv[0] = options->argv[0];
	argv[1] = "--test";
	memcpy(argv + 2, options->argv + 1,
		(size_t)options->argc * sizeof(*argv)); /* and its NULL */
	uncatch_signals();
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	execve(program_path, argv, environ);
	reason = strerror(errno);
	(void)!write(output, reason, strlen(reason));
	_exit(EXIT_SYSTEM);
}

static void refuse_upgrade(const char *why)
{
	log_err("upgrade: %s: %s: all stays as it was", program_path, why);
	answer(&trial.asker, false);
}

/* The program is run once beside us, to see that it is ours and takes our configuration. */
static void begin_trial(pid_t asker)
{
	int ends[2] = {-1, -1};

	follow_root();
	trial.asker = asker;
	trial.said = 0;
	trial.killed_at = now + LEAVE_TIME;
	if (pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
		trial.pid = _Fork();
	if (ends[1] >= 0 && trial.pid == 0)
		try_program(ends[1]);
	drop_fd(&ends[1]);
	trial.output = ends[0];
	if (trial.pid > 0)
		return;
	trial.pid = 0;
	trial.killed_at = INT64_MAX;
	drop_fd(&trial.output);
	refuse_upgrade(strerror(errno));
}

/* Returns whether there may be more. What it leaves behind may have the other end still. */
static bool hear_trial(void)
{
	ssize_t n;

	if (trial.output < 0)
		return false;
	n = read(trial.output, trial.text + trial.said, sizeof(trial.text) - 1 - trial.said);
	if (n > 0)
		trial.said += (size_t)n;
	else if (n == 0) /* the end, or no room */
		drop_fd(&trial.output);
	return n > 0;
}

static void keep_over_exec(const int *fds, size_t n, bool keep)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			fcntl(fds[i], F_SETFD, keep ? 0 : FD_CLOEXEC);
}

/* Returns only if that fails. */
static void become_program(void)
{
	char legacy[128], *environment[ENVIRON_MAX + 2];
	const int fds[] = {inherited.device, inherited.state, inherited.status, serving.channel};
	size_t n = 0;

	snprintf(legacy, sizeof(legacy), LEGACY "=%d,%d,%d,%d,%d,%d,%d,", inherited.device,
		inherited.state, inherited.status, (int)serving.pid, serving.channel, (int)trial.asker,
		inherited.stored);
	for (char **e = environ; *e && n < ENVIRON_MAX; e++)
		if (strncmp(*e, LEGACY "=", sizeof(LEGACY)) != 0)
			environment[n++] = *e;
	environment[n++] = legacy;
	environment[n] = NULL;
	log_info("upgrade: going on as %s", program_path);
	keep_over_exec(fds, sizeof(fds) / sizeof(*fds), true);
	execve(program_path, options->argv, environment);
	keep_over_exec(fds, sizeof(fds) / sizeof(*fds), false);
}

static void trial_ended(int status)
{
	while (hear_trial())
		;
	drop_fd(&trial.output);
	trial.pid = 0;
	trial.killed_at = INT64_MAX;
	trial.text[trial.said] = '\0';
	trial.text[strcspn(trial.text, "\n")] = '\0';
	if (stopping)
		return;
	if (status != 0 ||
		strncmp(trial.text, KEEPER_TEST_PASSED, sizeof(KEEPER_TEST_PASSED) - 1) != 0) {
		refuse_upgrade(trial.said ? trial.text : "it is no cachefilesd-mini");
		return;
	}
	become_program();
	refuse_upgrade(strerror(errno));
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == serving.pid)
			serving_ended(status);
		else if (pid == next.pid)
			next_ended(status);
		else if (pid == trial.pid)
			trial_ended(status);
	}
}

/* ---- the end ---- */

static void stop(void)
{
	stopping = true;
	stop_look = INT64_MAX;
	if (inherited.stored)
		log_info("stopping; the service manager holds the device, and images can be read "
			 "again when the service has started again");
	else
		log_info("stopping; images that are still mounted cannot be read any more");
	if (next.pid)
		kill(next.pid, SIGKILL);
	end_worker(&serving, inherited.stored ? LEAVE : STOP);
	if (!serving.pid)
		exit_status = 0;
}

static void asked_to_stop(void)
{
	if (stopping)
		return;
	if (options->force || inherited.stored || now - stop_asked < TWICE_TIME) {
		stop();
		return;
	}
	stop_asked = now;
	stop_look = now;
}

static void look_whether_to_stop(void)
{
	unsigned n = mounted();

	if (n == 0) {
		stop();
	} else if (now < stop_asked + UNMOUNT_TIME) {
		stop_look = now + UNMOUNT_LOOK;
	} else {
		stop_look = INT64_MAX;
		log_warning(
			"not stopping: it would break %u mounted image%s; unmount first, or send "
			"the signal once more within %d seconds",
			n, n == 1 ? "" : "s", TWICE_TIME / 1000);
	}
}

/* ---- the loop ---- */

static void obey_signals(void)
{
	if (term) {
		term = 0;
		asked_to_stop();
	}
	if (stopping || next.pid || trial.pid || is_first)
		return;
	if (hup) {
		hup = 0;
		begin_worker(true);
	} else if (usr2) {
		usr2 = 0;
		begin_trial(usr2_sender);
	}
}

/* Returns when the next of it is due. */
static int64_t see_to_workers(void)
{
	int64_t due = stop_look;

	if (stopping)
		return serving.killed_at;
	if (next.pid && next.ready && serving.pid)
		end_worker(&serving, LEAVE);
	else if (next.pid && next.ready)
		change_over();
	else if (!next.pid && !serving.pid && now >= retry_at)
		begin_worker(!loaded);
	if (!next.pid && !serving.pid)
		due = sooner(due, retry_at);
	return due;
}

static void kill_the_late(pid_t pid, int64_t *killed_at)
{
	if (pid && now >= *killed_at) {
		log_warning("process %d takes too long and is killed", (int)pid);
		kill(pid, SIGKILL);
		*killed_at = INT64_MAX - 1;
	}
}

static void wait_for(int64_t until)
{
	struct pollfd set[] = {{.fd = serving.channel, .events = POLLIN},
		{.fd = next.channel, .events = POLLIN}, {.fd = trial.output, .events = POLLIN}};
	struct timespec timeout;

	until = until > now ? until - now : 0;
	timeout.tv_sec = (time_t)(until / 1000);
	timeout.tv_nsec = (long)(until % 1000) * 1000000;
	if (ppoll(set, 3, until >= INT64_MAX / 2 ? NULL : &timeout, &while_waiting) > 0 &&
		set[2].revents)
		hear_trial();
}

static int keep(void)
{
	while (exit_status < 0) {
		int64_t due;

		now = clock_ms();
		hear(&serving);
		hear(&next);
		reap();
		obey_signals();
		if (stop_look <= now)
			look_whether_to_stop();
		due = sooner(see_to_workers(), stop_look);
		kill_the_late(serving.pid, &serving.killed_at);
		kill_the_late(next.pid, &next.killed_at);
		kill_the_late(trial.pid, &trial.killed_at);
		due = sooner(due, trial.killed_at);
		if (exit_status < 0)
			wait_for(sooner(due, sooner(serving.killed_at, next.killed_at)));
	}
	return exit_status;
}

/* ---- the beginning ---- */

/* The keeper's code and data are in memory from the start, and stay there. */
static void stay_alive(void)
{
	extern const char __executable_start[], edata[]; /* the linker's: program and data */

	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 ||
		mlock(__executable_start, (size_t)(edata - __executable_start)) < 0)
		log_warning("the keeper's memory cannot be locked: %s", strerror(errno));
}

static bool write_number(const char *path, int flags, long number)
{
	char text[32];
	int size = snprintf(text, sizeof(text), "%ld\n", number);
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	bool written = fd >= 0 && write(fd, text, (size_t)size) == size;

	drop_fd(&fd);
	return written;
}

/* The caller's process waits for the first worker's turn, so that its exit status tells. */
static void go_to_background(void)
{
	int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
	pid_t pid;
	char byte;

	if (pipe2(ends, O_CLOEXEC) < 0 || (pid = _Fork()) < 0)
		die(EXIT_SYSTEM, "fork: %s", strerror(errno));
	if (pid > 0) {
		close(ends[1]);
		if (read(ends[0], &byte, 1) == 1)
			_exit(0);
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
									   : EXIT_INTERNAL);
	}
	close(ends[0]);
	announce = ends[1];
	setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		if (!options->to_stderr)
			dup2(null, STDERR_FILENO);
		close(null);
	}
	if (chdir("/") < 0)
		log_warning("chdir /: %s", strerror(errno));
}

static void write_pid_file(void)
{
	const char *path = options->pid_file;

	if (!options->pid_file_given && options->foreground)
		return;
	if (write_number(path, O_CREAT | O_TRUNC, (long)getpid()))
		return;
	if (options->pid_file_given)
		die(EXIT_SYSTEM, "%s: %s", path, strerror(errno));
	log_warning("%s: %s", path, strerror(errno));
}

/* What is replaced later gets " (deleted)" behind its path, so this is asked at the start. */
static void find_program(void)
{
	ssize_t n = readlink("/proc/self/exe", program_path, sizeof(program_path) - 1);

	if (n <= 0)
		snprintf(program_path, sizeof(program_path), "%s", options->argv[0]);
}

static void store(void)
{
	inherited.stored = notify_send("FDSTORE=1\nFDNAME=device\nFDPOLL=0", inherited.device) &&
			inherited.state >= 0 &&
			notify_send("FDSTORE=1\nFDNAME=state\nFDPOLL=0", inherited.state);
}

static int take_number(const char **text)
{
	char *end;
	long n = strtol(*text, &end, 10);

	*text = *end ? end + 1 : end;
	return n < INT_MIN || n > INT_MAX ? -1 : (int)n;
}

void keeper_inherits(struct inherited *e, const struct options *o)
{
	const char *text = getenv(LEGACY);

	catch_signals();
	*e = (struct inherited){.device = o->device, .state = -1, .status = -1, .channel = -1};
	if (text) {
		e->resumed = true;
		e->device = take_number(&text);
		e->state = take_number(&text);
		e->status = take_number(&text);
		e->worker = take_number(&text);
		e->channel = take_number(&text);
		e->asker = take_number(&text);
		e->stored = take_number(&text) > 0;
	} else if (e->device < 0) {
		e->device = notify_handed_over("device");
		e->state = notify_handed_over("state");
	}
	keep_over_exec((int[]){e->device, e->state, e->status, e->channel}, 4, false);
}

int keeper_run(const struct options *o, const struct keeper_calls *program,
	const struct inherited *begun_with, bool has_loaded)
{
	options = o;
	calls = program;
	inherited = *begun_with;
	loaded = has_loaded;
	is_first = !inherited.resumed;
	find_program();
	if (is_first && !o->foreground)
		go_to_background();
	if (is_first)
		write_pid_file();
	volumes = open("/proc/fs/fscache/volumes", O_RDONLY | O_CLOEXEC);
	if (o->argv[0][0] == '@') {
		run_folder = open("/run", O_PATH | O_DIRECTORY | O_CLOEXEC);
		sandbox_allow_chroot();
	}
	watchdog = notify_watchdog();
	if (!write_number("/proc/self/oom_score_adj", 0, -1000))
		log_warning("oom_score_adj: %s", strerror(errno));
	stay_alive();
	now = clock_ms();
	if (!is_first) {
		serving = (struct worker){.pid = inherited.worker,
			.channel = inherited.channel,
			.since = now,
			.killed_at = INT64_MAX};
		trial.asker = inherited.asker;
	} else {
		store();
	}
	sandbox_drop_rights(SANDBOX_KEEPER);
	if (is_first) /* else the earlier program's filter is in force */
		sandbox_enter(SANDBOX_KEEPER);
	begin_worker(!loaded);
	return keep();
}

/* ---- --upgrade ---- */

static pid_t read_pid(const char *path)
{
	char text[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		die(EXIT_SYSTEM, "%s: %s", path, strerror(errno));
	text[n] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}

int keeper_upgrade(const struct options *o)
{
	pid_t pid = read_pid(o->pid_file);
	struct timespec second = {.tv_sec = 1};
	sigset_t answers;
	int answer = -1;

	if (pid <= 1 || !cachefiles_is_held_by(pid))
		die(EXIT_SYSTEM, "%s: process %d does not hold the device", o->pid_file, (int)pid);
	sigemptyset(&answers);
	sigaddset(&answers, ANSWER_DONE);
	sigaddset(&answers, ANSWER_REFUSED);
	sigprocmask(SIG_BLOCK, &answers, NULL);
	if (sigqueue(pid, SIGUSR2, (union sigval){.sival_int = ASKED}) < 0)
		die(EXIT_SYSTEM, "process %d: %s", (int)pid, strerror(errno));
	for (int i = 0; i < ANSWER_TIME && answer < 0 && kill(pid, 0) == 0; i++)
		answer = sigtimedwait(&answers, NULL, &second);
	if (answer == ANSWER_DONE)
		return 0;
	die(EXIT_SYSTEM, "process %d %s; its log says why", (int)pid,
		answer == ANSWER_REFUSED ? "goes on as it was" : "does not answer");
}
