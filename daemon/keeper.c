#include "daemon/keeper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/handover.h"
#include "daemon/memory.h"
#include "daemon/notify.h"
#include "daemon/sandbox.h"
#include "daemon/worker.h"

/* When a worker dies the next is forked at once; when that dies too, after a pause that doubles
 * until one has lived for LIVED. In milliseconds, as all times here. */
#define BACK_OFF_FIRST 100
#define BACK_OFF_LAST  10000
#define LIVED	       30000

/* A worker that does not leave in this time is killed. So is a new program that does not end its
 * test in it, and a worker that does not get ready in it after the one that served has died: the
 * files that it reads may lie on a file system that this daemon serves. */
#define LEAVE_TIME 10000

/* The kernel forgets an unmounted image a little late: a first SIGTERM looks for mounted images
 * every UNMOUNT_LOOK until UNMOUNT_TIME, and then warns. A second one within TWICE_TIME of that needs
 * no look. */
#define UNMOUNT_TIME 1000
#define UNMOUNT_LOOK 50
#define TWICE_TIME   10000

/* What a program leaves in the environment of the one that takes its place: numbers, see
 * become_program(). Every version reads them: never change their order. */
#define LEGACY	    "CACHEFILESD_MINI_KEEPS"
#define ENVIRON_MAX 64

/* The test of a new program is no state: beside SERVING and VACANT alike its child runs, and a
 * worker that dies meanwhile is replaced. */
enum state {
	STARTING,  /* the first worker prepares itself; if it fails, the start has failed */
	SERVING,   /* a worker serves */
	REPLACING, /* a worker serves; the next prepares itself, or waits for its end */
	VACANT,	   /* none serves; the next prepares itself, or is forked at retry_at */
	STOPPING,  /* the worker that serves, if any, ends, and the keeper with it */
	ENDED,
};

struct worker {
	pid_t pid;	   /* 0: none, or it has ended */
	int status;	   /* of waitpid(2), once it has ended; else -1 */
	int channel;	   /* -1: none */
	bool ready;	   /* it has prepared itself */
	bool reloads;	   /* it has read the configuration again */
	int64_t since;	   /* when it began to serve, or was forked */
	int64_t killed_at; /* it has to have ended or got ready by then; INT64_MAX: no limit */
};

/* killed_at of a worker that was told to leave, did not, and has been sent SIGKILL. */
#define KILLED (INT64_MAX - 1)

static const struct worker none = {.status = -1, .channel = -1, .killed_at = INT64_MAX};

static struct {
	/* from the start to the end */
	const struct options *options;
	const struct keeper_calls *calls;
	char program[PROGRAM_PATH_MAX]; /* where this program was started from */
	struct inherited inherited;
	int volumes;	/* /proc/fs/fscache/volumes; -1: none */
	int run_folder; /* /run, if an initramfs has started us; -1: not so */
	int64_t watchdog;

	enum state state;
	int64_t now;	 /* this turn's time */
	bool loaded;	 /* calls->load() has succeeded in this process */
	int exit_status; /* EXIT_SYSTEM from WORD_CACHE_LOST on */
	struct worker serving, next;

	int64_t retry_at, back_off; /* STARTING, VACANT: when to fork again; the last pause */

	/* SIGTERM has come at the first of these, and what it would break was told at the last */
	int64_t stop_asked, inspect_at, warned_at;

	/* a new program's test of itself */
	struct {
		pid_t pid; /* 0: none */
		int output;
		char text[1024]; /* what it has written, `size` bytes */
		size_t size;
		pid_t client;	   /* to be told how the upgrade ended; 0: none */
		int64_t killed_at; /* it has to have ended by then */
	} upgrade_test;

	/* signals that have come */
	sigset_t while_waiting; /* those that are blocked then */
	volatile sig_atomic_t hup, usr2, term;
	volatile pid_t usr2_sender;
} k;

/* ---- signals ---- */

static void on_signal(int signal, siginfo_t *info, void *context)
{
	bool waits = info->si_code == SI_QUEUE && info->si_value.sival_int == UPGRADE_ASKED;

	(void)context;
	if (signal == SIGHUP) {
		k.hup = 1;
	} else if (signal == SIGUSR2) {
		k.usr2 = 1;
		k.usr2_sender = waits ? info->si_pid : 0;
	} else if (signal != SIGCHLD) {
		k.term = 1;
	}
}

static const int caught[] = {SIGCHLD, SIGHUP, SIGUSR2, SIGTERM, SIGINT};
#define CAUGHT (sizeof(caught) / sizeof(*caught))

/* Signals are only taken while the keeper waits. Blocked ones stay so over execve(2). */
static void catch_signals(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
	sigset_t blocked;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	k.while_waiting = blocked;
	for (size_t i = 0; i < CAUGHT; i++) {
		sigaddset(&blocked, caught[i]);
		sigdelset(&k.while_waiting, caught[i]);
		sigaction(caught[i], &action, NULL);
	}
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void uncatch_signals(void)
{
	for (size_t i = 0; i < CAUGHT; i++)
		signal(caught[i], caught[i] == SIGCHLD ? SIG_DFL : SIG_IGN);
	sigprocmask(SIG_SETMASK, &k.while_waiting, NULL);
}

/* ---- whether images are mounted ---- */

/* Lines of /proc/fs/fscache/volumes that end in a key of EROFS. The kernel has them of all mount
 * namespaces. */
static unsigned count_volumes(void)
{
	struct lines l = {.fd = k.volumes};
	unsigned count = 0;

	for (const char *line; (line = lines_next(&l));)
		count += strstr(line, " erofs,") != NULL;
	return count;
}

/* Either count may be too high: the kernel's list has mounts whose OPEN is unanswered, ours has
 * images that were unmounted while no worker ran. The smaller one counts. */
static unsigned count_mounted(void)
{
	unsigned opened = opened_files_count(), listed = k.volumes < 0 ? opened : count_volumes();

	return listed < opened ? listed : opened;
}

/* ---- workers ---- */

static void retry_later(void)
{
	k.back_off = k.back_off ? sooner(k.back_off * 2, BACK_OFF_LAST) : BACK_OFF_FIRST;
	k.retry_at = k.now + k.back_off;
}

/* switch_root leaves and empties the root that we were started in, and moves /run to the new one.
 * So the parent of /run is the new root, in which our paths are looked up from now on. */
static void follow_root(void)
{
	int root = k.run_folder < 0 ? -1
				    : openat(k.run_folder, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root >= 0 && (fchdir(root) < 0 || chroot(".") < 0))
		log_warning("the booted system's root: %s", strerror(errno));
	fd_close(&root);
}

static bool fork_next(bool reloads)
{
	int ends[2];

	follow_root();
	k.next = none;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
		k.next.pid = _Fork(); /* fork() would link locks for threads, which we have not */
		if (k.next.pid == 0) {
			close(ends[0]);
			uncatch_signals();
			fd_close(&k.serving.channel);
			fd_close(&k.upgrade_test.output);
			fd_close(&k.inherited.announce);
			worker_run(ends[1], k.calls, reloads, k.watchdog);
		}
		close(ends[1]);
		k.next.channel = ends[0];
		k.next.reloads = reloads;
		if (k.next.pid > 0)
			return true;
	}
	log_err("no new worker: %s", strerror(errno));
	fd_close(&k.next.channel);
	k.next = none;
	if (!k.serving.pid)
		retry_later();
	return false;
}

static void end_serving(enum word word)
{
	if (!k.serving.pid || k.serving.killed_at != INT64_MAX)
		return; /* it is told already */
	send_word(k.serving.channel, word);
	k.serving.killed_at = k.now + LEAVE_TIME;
}

static void answer_client(bool done)
{
	if (k.upgrade_test.client)
		kill(k.upgrade_test.client, done ? UPGRADE_DONE : UPGRADE_REFUSED);
	k.upgrade_test.client = 0;
}

/* The worker that is ready serves from now on. */
static enum state change_over(enum word go)
{
	char why[512];

	k.serving = k.next;
	k.serving.since = k.now;
	k.serving.killed_at = INT64_MAX;
	k.next = none;
	send_word(k.serving.channel, go);
	answer_client(true);
	if (k.serving.reloads)
		log_info("reloaded: the configuration as it is now is in force");
	/* The workers after it are forked with what it has read. */
	if (k.serving.reloads && !(k.loaded = k.calls->load(why, sizeof(why))))
		log_err("%s", why);
	return SERVING;
}

static const char *describe_end(int status)
{
	static char text[32];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
	else
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	return text;
}

/* The worker that served has ended, and the keeper goes on. */
static enum state bury_serving(void)
{
	int status = k.serving.status;

	if (k.next.pid && !k.next.ready)
		k.next.killed_at = k.now + LEAVE_TIME;
	if (k.now - k.serving.since >= LIVED ||
		(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		k.back_off = 0;
	k.retry_at = k.now;
	if (k.serving.killed_at != INT64_MAX) {
		k.back_off = 0; /* it was told to leave */
	} else if (k.next.pid || !k.back_off) {
		log_err("the worker has died (%s): a new one takes its place",
			describe_end(status));
		k.back_off = BACK_OFF_FIRST / 2;
	} else {
		retry_later();
		log_err("the worker has died again (%s): a new one takes its place in %u ms",
			describe_end(status), (unsigned)k.back_off);
	}
	k.serving = none;
	return VACANT;
}

/* The next worker has ended before its turn. */
static void bury_next(void)
{
	const char *how = describe_end(k.next.status);

	k.next = none;
	answer_client(false);
	if (k.serving.pid) {
		log_err("the new worker has ended before its turn (%s): the old one goes on", how);
	} else {
		retry_later();
		log_err("the new worker has ended before its turn (%s): the next in %u ms", how,
			(unsigned)k.back_off);
	}
}

/* ---- a new program ---- */

_Noreturn static void test_program(int output)
{
	char *argv[k.options->argc + 3], device[16];
	const char *reason;

	/* The device tells that the cache is bound, so that its directory is no matter. */
	snprintf(device, sizeof(device), "-F%d", k.inherited.device);
	argv[0] = k.options->argv[0];
	argv[1] = "--test";
	argv[2] = device;
	memcpy(argv + 3, k.options->argv + 1,
		(size_t)k.options->argc * sizeof(*argv)); /* and its NULL */
	uncatch_signals();
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	execve(k.program, argv, environ);
	reason = strerror(errno);
	(void)!write(output, reason, strlen(reason));
	_exit(EXIT_SYSTEM);
}

static void refuse_upgrade(const char *why)
{
	log_err("upgrade: %s: %s: all stays as it was", k.program, why);
	answer_client(false);
}

/* Runs the program once, to see that it is ours and takes our configuration. */
static void begin_upgrade_test(pid_t client)
{
	int ends[2] = {-1, -1};
	pid_t pid = -1;

	follow_root();
	k.upgrade_test.client = client;
	if (pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
		pid = _Fork();
	if (pid == 0)
		test_program(ends[1]);
	fd_close(&ends[1]);
	if (pid < 0) {
		fd_close(&ends[0]);
		refuse_upgrade(strerror(errno));
		return;
	}
	k.upgrade_test.pid = pid;
	k.upgrade_test.output = ends[0];
	k.upgrade_test.size = 0;
	k.upgrade_test.killed_at = k.now + LEAVE_TIME;
}

/* Returns whether there may be more. A child of the program may hold the other end for ever. */
static bool read_upgrade_test(void)
{
	size_t room = sizeof(k.upgrade_test.text) - 1 - k.upgrade_test.size;
	ssize_t n;

	if (k.upgrade_test.output < 0)
		return false;
	n = read(k.upgrade_test.output, k.upgrade_test.text + k.upgrade_test.size, room);
	if (n > 0)
		k.upgrade_test.size += (size_t)n;
	else if (n == 0) /* the end, or no room */
		fd_close(&k.upgrade_test.output);
	return n > 0;
}

static void keep_over_exec(const int fds[4], bool keep)
{
	for (size_t i = 0; i < 4; i++)
		if (fds[i] >= 0)
			fcntl(fds[i], F_SETFD, keep ? 0 : FD_CLOEXEC);
}

/* Returns only if that fails. */
static void become_program(void)
{
	char legacy[128], *environment[ENVIRON_MAX + 2];
	const struct inherited *i = &k.inherited;
	const int fds[4] = {i->device, i->state, i->status, k.serving.channel};
	size_t n = 0;

	snprintf(legacy, sizeof(legacy), LEGACY "=%d,%d,%d,%d,%d,%d,%d,", i->device, i->state,
		i->status, (int)k.serving.pid, k.serving.channel, (int)k.upgrade_test.client,
		i->stored);
	for (char **e = environ; *e && n < ENVIRON_MAX; e++)
		if (strncmp(*e, LEGACY "=", sizeof(LEGACY)) != 0)
			environment[n++] = *e;
	environment[n++] = legacy;
	environment[n] = NULL;
	log_info("upgrade: going on as %s", k.program);
	keep_over_exec(fds, true);
	execve(k.program, k.options->argv, environment);
	keep_over_exec(fds, false);
}

/* Whether one of the lines says that the test was passed; others are warnings. */
static bool has_passed(const char *text)
{
	while (text && strncmp(text, KEEPER_TEST_PASSED, strlen(KEEPER_TEST_PASSED)) != 0)
		text = (text = strchr(text, '\n')) ? text + 1 : NULL;
	return text;
}

/* The last line of a text that is not empty, which names what a test has failed of. */
static const char *last_line(char *text)
{
	size_t size = strlen(text);
	char *newline;

	if (text[size - 1] == '\n')
		text[size - 1] = '\0';
	newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

static void end_upgrade_test(int status)
{
	char *text = k.upgrade_test.text;

	while (read_upgrade_test())
		;
	fd_close(&k.upgrade_test.output);
	k.upgrade_test.pid = 0;
	k.upgrade_test.killed_at = INT64_MAX;
	text[k.upgrade_test.size] = '\0';
	if (k.state == STOPPING)
		return;
	if (status != 0 || !has_passed(text)) {
		refuse_upgrade(*text ? last_line(text) : "it is no cachefilesd-mini");
		return;
	}
	become_program();
	refuse_upgrade(strerror(errno));
}

/* ---- the end ---- */

/* The worker that serves has no successor any more, in whatever state the keeper was. */
static void become_stopping(int exit_status)
{
	k.state = STOPPING;
	k.exit_status = exit_status;
	k.inspect_at = INT64_MAX;
}

static void stop(void)
{
	become_stopping(0);
	if (k.inherited.stored)
		log_info("stopping; the service manager holds the device, and images can be read "
			 "again when the service has started again");
	else
		log_info("stopping%s", count_mounted() ? "; images that are still mounted cannot be "
							 "read any more"
						       : "");
	if (k.next.pid)
		kill(k.next.pid, SIGKILL);
	end_serving(k.inherited.stored ? WORD_LEAVE : WORD_STOP);
}

/* SIGTERM has come: stops, or looks until UNMOUNT_TIME whether images are mounted. */
static void consider_stop(void)
{
	unsigned n;

	if (k.term) {
		k.term = 0;
		if (k.options->force || k.inherited.stored || k.now - k.warned_at < TWICE_TIME) {
			stop();
			return;
		}
		if (k.inspect_at == INT64_MAX) /* else one has come, and was not answered yet */
			k.stop_asked = k.inspect_at = k.now;
	}
	if (k.inspect_at > k.now)
		return;
	n = count_mounted();
	k.inspect_at = INT64_MAX;
	if (n == 0) {
		stop();
	} else if (k.now < k.stop_asked + UNMOUNT_TIME) {
		k.inspect_at = k.now + UNMOUNT_LOOK;
	} else {
		k.warned_at = k.now;
		log_warning(
			"not stopping: it would break %u mounted image%s; unmount first, or send "
			"the signal once more within %d seconds",
			n, n == 1 ? "" : "s", TWICE_TIME / 1000);
	}
}

/* ---- the states: each function acts on what has happened, and returns the next state ---- */

static enum state start(void)
{
	assert(k.state == STARTING);
	if (k.next.status >= 0) {
		k.exit_status =
			WIFEXITED(k.next.status) ? WEXITSTATUS(k.next.status) : EXIT_INTERNAL;
		log_err("not started: the first worker has ended (%s)",
			describe_end(k.next.status));
		return ENDED;
	}
	if (k.next.ready) {
		change_over(WORD_GO_FIRST);
		log_started();
		if (k.inherited.announce >= 0)
			(void)!write(k.inherited.announce, "y", 1);
		fd_close(&k.inherited.announce);
		notify_send("READY=1\nSTATUS=serving", -1);
		return SERVING;
	}
	if (!k.next.pid && k.now >= k.retry_at)
		fork_next(!k.loaded);
	return STARTING;
}

/* Takes SIGHUP or SIGUSR2, which wait while a program is tested. Returns whether the next worker
 * has been forked. */
static bool obey_signals(void)
{
	assert((k.state == SERVING || k.state == VACANT) && !k.next.pid);
	if (k.upgrade_test.pid)
		return false;
	if (k.hup) {
		k.hup = 0;
		return fork_next(true);
	}
	if (k.usr2) {
		k.usr2 = 0;
		begin_upgrade_test(k.usr2_sender);
	}
	return false;
}

static enum state serve(void)
{
	assert(k.state == SERVING);
	if (k.serving.status >= 0)
		return bury_serving();
	return obey_signals() ? REPLACING : SERVING;
}

static enum state replace(void)
{
	assert(k.state == REPLACING);
	if (k.serving.status >= 0)
		return bury_serving();
	if (k.next.status >= 0) {
		bury_next();
		return SERVING;
	}
	if (k.next.ready)
		end_serving(WORD_LEAVE);
	return REPLACING;
}

static enum state fill_vacancy(void)
{
	assert(k.state == VACANT && !k.serving.pid);
	if (k.next.status >= 0)
		bury_next();
	if (k.next.ready)
		return change_over(WORD_GO);
	if (!k.next.pid && !obey_signals() && k.now >= k.retry_at)
		fork_next(!k.loaded);
	return VACANT;
}

static enum state wait_for_end(void)
{
	assert(k.state == STOPPING);
	if (k.serving.pid)
		return STOPPING;
	if (k.exit_status)
		notify_send("FDSTOREREMOVE=1\nFDNAME=device", -1);
	return ENDED;
}

static enum state step(void)
{
	switch (k.state) {
	case STARTING:
		return start();
	case SERVING:
		return serve();
	case REPLACING:
		return replace();
	case VACANT:
		return fill_vacancy();
	case STOPPING:
		return wait_for_end();
	case ENDED:
		break;
	}
	return ENDED;
}

/* ---- the loop ---- */

static void receive_words(struct worker *w)
{
	enum word word;

	while (w->channel >= 0 && (word = receive_word(w->channel, MSG_DONTWAIT)) != WORD_NONE) {
		if (word == WORD_END)
			fd_close(&w->channel);
		else if (word == WORD_READY)
			w->ready = true;
		else if (word == WORD_ALIVE)
			notify_send("WATCHDOG=1", -1);
		else if (word == WORD_CACHE_LOST)
			become_stopping(EXIT_SYSTEM);
	}
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct worker *w = pid == k.serving.pid ? &k.serving : &k.next;

		if (pid == k.upgrade_test.pid)
			end_upgrade_test(status);
		if (pid != w->pid)
			continue;
		receive_words(w);
		fd_close(&w->channel);
		w->pid = 0;
		w->status = status;
	}
}

static void kill_the_late(pid_t pid, int64_t *killed_at)
{
	if (pid && k.now >= *killed_at) {
		log_warning("process %d takes too long and is killed", (int)pid);
		kill(pid, SIGKILL);
		*killed_at = KILLED;
	}
}

static void wait_for_events(void)
{
	struct pollfd set[] = {{.fd = k.serving.channel, .events = POLLIN},
		{.fd = k.next.channel, .events = POLLIN},
		{.fd = k.upgrade_test.output, .events = POLLIN}};
	int64_t until = sooner(k.inspect_at, k.upgrade_test.killed_at);

	until = sooner(until, sooner(k.serving.killed_at, k.next.killed_at));
	if (!k.serving.pid && !k.next.pid)
		until = sooner(until, k.retry_at);
	if (fd_poll(set, 3, k.now, until, &k.while_waiting) > 0 && set[2].revents)
		read_upgrade_test();
}

static int supervise(void)
{
	while (k.state != ENDED) {
		enum state before;

		k.now = clock_ms();
		receive_words(&k.serving);
		receive_words(&k.next);
		reap();
		if (k.state != STOPPING)
			consider_stop();
		do {
			before = k.state;
			k.state = step();
		} while (k.state != before);
		kill_the_late(k.serving.pid, &k.serving.killed_at);
		kill_the_late(k.next.pid, &k.next.killed_at);
		kill_the_late(k.upgrade_test.pid, &k.upgrade_test.killed_at);
		if (k.state != ENDED)
			wait_for_events();
	}
	return k.exit_status;
}

/* ---- the beginning ---- */

static bool store(void)
{
	return notify_send("FDSTORE=1\nFDNAME=device\nFDPOLL=0", k.inherited.device) &&
	       k.inherited.state >= 0 &&
	       notify_send("FDSTORE=1\nFDNAME=state\nFDPOLL=0", k.inherited.state);
}

void keeper_inherits(struct inherited *e, const struct options *o)
{
	int stored = 0;
	int *const numbers[] = {&e->device, &e->state, &e->status, &e->worker, &e->channel,
		&e->upgrade_client, &stored};
	const char *text = getenv(LEGACY);

	catch_signals();
	*e = (struct inherited){.device = o->device,
		.state = -1,
		.status = -1,
		.announce = -1,
		.resumed = text != NULL,
		.channel = -1};
	for (size_t i = 0; text && i < sizeof(numbers) / sizeof(*numbers); i++) {
		char *end;
		long n = strtol(text, &end, 10);

		*numbers[i] = n < INT_MIN || n > INT_MAX ? -1 : (int)n;
		text = *end ? end + 1 : end;
	}
	e->stored = stored > 0;
	if (!e->resumed && e->device < 0) {
		e->device = notify_handed_over("device");
		e->state = notify_handed_over("state");
	}
	keep_over_exec((int[]){e->device, e->state, e->status, e->channel}, false);
}

/* Notes what is not 0 at the start. */
static void begin(const struct inherited *inherited)
{
	k.inherited = *inherited;
	k.serving = k.next = none;
	k.run_folder = k.upgrade_test.output = -1;
	k.warned_at = INT64_MIN / 2;
	k.inspect_at = k.upgrade_test.killed_at = INT64_MAX;
	k.state = STARTING;
	if (!inherited->resumed)
		return;
	k.serving.pid = inherited->worker;
	k.serving.channel = inherited->channel;
	k.upgrade_test.client = inherited->upgrade_client;
	k.state = k.serving.pid ? SERVING : VACANT;
}

int keeper_run(const struct options *o, const struct keeper_calls *calls,
	const struct inherited *inherited, bool loaded)
{
	extern const char edata[]; /* the linker's: the end of program and data */

	k.options = o;
	k.calls = calls;
	k.loaded = loaded;
	begin(inherited);
	/* Now, as the path of a program that is replaced later gets " (deleted)" behind it. */
	if (readlink("/proc/self/exe", k.program, sizeof(k.program) - 1) <= 0)
		snprintf(k.program, sizeof(k.program), "%s", o->argv[0]);
	k.volumes = open("/proc/fs/fscache/volumes", O_RDONLY | O_CLOEXEC);
	if (o->argv[0][0] == '@') {
		k.run_folder = open("/run", O_PATH | O_DIRECTORY | O_CLOEXEC);
		sandbox_allow_chroot();
	}
	k.watchdog = notify_watchdog();
	if (!fd_write_number("/proc/self/oom_score_adj", 0, -1000))
		log_warning("oom_score_adj: %s", strerror(errno));
	if (!memory_lock(edata))
		log_warning("the keeper's memory cannot be locked: %s", strerror(errno));
	if (k.state == STARTING)
		k.inherited.stored = store();
	sandbox_drop_rights(SANDBOX_KEEPER);
	if (k.state == STARTING) /* else the earlier program's filter is in force */
		sandbox_enter(SANDBOX_KEEPER);
	k.now = k.serving.since = clock_ms();
	if (k.state == SERVING && fork_next(!loaded))
		k.state = REPLACING;
	return supervise();
}
