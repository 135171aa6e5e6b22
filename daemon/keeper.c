#include "daemon/keeper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "daemon/control.h"
#include "daemon/memory.h"
#include "daemon/notify.h"
#include "daemon/sandbox.h"
#include "daemon/trial.h"
#include "daemon/worker.h"

/* When a worker dies the next is forked at once; when that dies too, after a pause that doubles
 * until one has lived for LIVED. In milliseconds, as all times here. */
#define BACK_OFF_FIRST 100
#define BACK_OFF_LAST  10000
#define LIVED	       30000

/* A worker that does not leave in this time is killed. So is one that does not get ready in it, or
 * has not read the configuration, and a new program that does not end its test: the files that they
 * read may lie on a file system that this daemon serves. */
#define LEAVE_TIME 10000

/* The kernel forgets an unmounted image a little late: a first SIGTERM looks for mounted images
 * every UNMOUNT_LOOK until UNMOUNT_TIME, and then warns. A second one within TWICE_TIME of that
 * needs no look. */
#define UNMOUNT_TIME 1000
#define UNMOUNT_LOOK 50
#define TWICE_TIME   10000

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
	bool reloads;	   /* it is the first one of a new configuration */
	int64_t since;	   /* when it began to serve, or was forked */
	int64_t killed_at; /* it has to have ended or got ready by then; INT64_MAX: no limit */
};

/* killed_at of the worker that serves once it was told to leave, did not, and has been sent
 * SIGKILL. Of others the end is not awaited: what they read may keep them from it. */
#define KILLED (INT64_MAX - 1)

static const struct worker none = {.status = -1, .channel = -1, .killed_at = INT64_MAX};

static struct {
	/* from the start to the end */
	const struct options *options;
	const struct worker_calls *calls;
	const struct keeper_front *front;
	char program[PROGRAM_PATH_MAX]; /* where this program was started from */
	struct inherited inherited;
	int run_folder; /* /run, if an initramfs has started us; -1: not so */
	int64_t watchdog;

	enum state state;
	int64_t now;	 /* this turn's time */
	bool loaded;	 /* calls->load() has succeeded in this process */
	bool announced;	 /* the start is over, and who waits for it knows */
	bool look;	 /* the front end has something to look at */
	bool answer_due; /* to the control socket's client */
	bool attach;	 /* that needs a new worker, */
	bool new_lines;	 /* which takes the attach lines too, as SIGHUP has come */
	int exit_status; /* EXIT_SYSTEM from WORD_CACHE_LOST on */
	struct worker serving, next;

	/* The configuration that was read at the last SIGHUP is in force, and the process that
	 * holds it forks the workers; and the one that reads it now. Without, the keeper forks
	 * them. */
	struct worker holder, loader;

	int64_t retry_at, back_off; /* STARTING, VACANT: when to fork again; the last pause */

	/* SIGTERM has come at the first of these, and what it would break was told at the last */
	int64_t stop_asked, inspect_at, warned_at;

	int64_t trial_ends_by; /* the test of a new program, trial.h */
	pid_t client;	       /* is to be told how the upgrade ended, if it lives: */
	int client_fd;	       /* its pidfd; -1: nobody is */

	/* signals that have come */
	sigset_t while_waiting; /* those that are blocked then */
	volatile sig_atomic_t hup, usr2, term;
	volatile pid_t asking; /* as the client */
	volatile int asking_fd;
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
		if (!waits) /* but another one may */
			return;
		if (k.asking_fd >= 0)
			close(k.asking_fd);
		k.asking = info->si_pid;
		k.asking_fd = (int)syscall(SYS_pidfd_open, info->si_pid, 0);
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
		log_warning("the booted system's root: %m");
	fd_close(&root);
}

/* It ends with its channel, if it is not in the middle of something. */
static void end_holder(struct worker *w)
{
	fd_close(&w->channel);
	if (w->pid)
		kill(w->pid, SIGKILL);
	*w = none;
}

/* Its workers go on, and the next ones have the configuration that the keeper has, until it is read
 * again. */
static void lose_holder(const char *how)
{
	log_err("the process that holds the configuration has died (%s): it is read again", how);
	end_holder(&k.holder);
	k.hup = 1;
}

/* Begins `w` as a fork of the holder `source`, or if that is none, of this process: a loader, or a
 * worker. */
static bool fork_off(struct worker *w, const struct worker *source)
{
	int ends[2];

	follow_root();
	if (k.front->before_fork)
		k.front->before_fork(source == &k.loader && k.new_lines);
	*w = none;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
		/* fork() would link locks for threads, which we have not */
		w->pid = source->pid ? holder_fork(source->channel, ends[1]) : _Fork();
		if (w->pid == 0) {
			close(ends[0]);
			uncatch_signals();
			fd_close(&k.serving.channel);
			fd_close(&k.holder.channel);
			fd_close(&k.inherited.announce);
			control_leave();
			if (k.front->forked)
				k.front->forked();
			worker_run(w == &k.loader ? holder_run(ends[1], k.calls) : ends[1], k.calls,
				k.watchdog);
		}
		close(ends[1]);
		w->channel = ends[0];
		w->reloads = source == &k.loader;
		w->killed_at = k.state == STARTING ? INT64_MAX : k.now + LEAVE_TIME;
		if (w->pid > 0)
			return true;
	}
	log_err("no new worker: %m");
	fd_close(&w->channel);
	*w = none;
	if (source == &k.holder && source->pid)
		lose_holder("it does not answer");
	if (!k.serving.pid)
		retry_later();
	return false;
}

/* The new configuration cannot be read, or no worker can begin with it. */
static void refuse_reload(const char *how)
{
	end_holder(&k.loader);
	if (k.answer_due)
		k.front->give_up();
	log_err("not reloaded: %s: the earlier configuration stays in force", how);
	if (!k.serving.pid && !k.loaded)
		retry_later();
}

static void end_serving(enum word word)
{
	if (!k.serving.pid || k.serving.killed_at != INT64_MAX)
		return; /* it is told already */
	send_word(k.serving.channel, word);
	k.serving.killed_at = k.now + LEAVE_TIME;
}

/* A pid may be that of another process by now, which the signal would kill. Signal 0: whether the
 * client lives. */
static bool signal_client(int number)
{
	return k.client_fd >= 0 &&
	       syscall(SYS_pidfd_send_signal, k.client_fd, number, NULL, 0) == 0;
}

static void answer_client(bool done)
{
	signal_client(done ? UPGRADE_DONE : UPGRADE_REFUSED);
	fd_close(&k.client_fd);
}

/* The worker that is ready serves from now on. */
static enum state change_over(enum word go)
{
	k.serving = k.next;
	k.serving.since = k.now;
	k.serving.killed_at = INT64_MAX;
	k.next = none;
	send_word(k.serving.channel, go);
	answer_client(true);
	if (k.serving.reloads) {
		end_holder(&k.holder);
		k.holder = k.loader;
		k.loader = none;
		k.hup |= !k.holder.pid; /* it has ended since */
		log_info("reloaded: the configuration as it is now is in force");
	}
	return SERVING;
}

/* The worker that served has ended, and the keeper goes on. */
static enum state bury_serving(void)
{
	int status = k.serving.status;

	if (k.now - k.serving.since >= LIVED ||
		(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		k.back_off = 0;
	k.retry_at = k.now;
	if (k.serving.killed_at != INT64_MAX) {
		k.back_off = 0; /* it was told to leave */
	} else if (k.next.pid || !k.back_off) {
		log_err("the worker has died (%s): a new one takes its place", worker_end(status));
		k.back_off = BACK_OFF_FIRST / 2;
	} else {
		retry_later();
		log_err("the worker has died again (%s): a new one takes its place in %u ms",
			worker_end(status), (unsigned)k.back_off);
	}
	k.serving = none;
	return VACANT;
}

/* The next worker has ended before its turn. */
static void bury_next(void)
{
	const char *how = worker_end(k.next.status);
	bool reloads = k.next.reloads;

	k.next = none;
	answer_client(false);
	if (!k.serving.pid)
		retry_later();
	log_err("the new worker has ended before its turn (%s): %s", how,
		!k.serving.pid			   ? "another one follows"
		: k.serving.killed_at != INT64_MAX ? "another one follows when the old one has left"
						   : "the old one goes on");
	if (reloads)
		refuse_reload("its first worker has ended");
}

/* ---- a new program ---- */

static void refuse_upgrade(const char *why)
{
	log_err("upgrade: %s: %s: all stays as it was", k.program, why);
	answer_client(false);
}

static void begin_trial(void)
{
	pid_t pid;

	follow_root();
	k.client = k.asking;
	k.client_fd = k.asking_fd;
	k.asking_fd = -1;
	pid = trial_begin(k.run_folder < 0 ? NULL : k.program);
	if (pid == 0) {
		uncatch_signals();
		trial_run(k.program, k.options, k.inherited.device);
	}
	if (pid < 0)
		refuse_upgrade(strerror(errno));
	else
		k.trial_ends_by = k.now + LEAVE_TIME;
}

/* Returns only if that fails. */
static void become_program(void)
{
	struct inherited left = k.inherited;

	left.worker = k.serving.pid;
	left.channel = k.serving.channel;
	left.upgrade_client = signal_client(0) ? (int)k.client : 0;
	if (k.front->kept)
		k.front->kept(left.kept);
	log_info("upgrade: going on as %s", k.program);
	if (trial_copy())
		inherit_leave(&left, trial_copy(), k.options->argv);
	inherit_leave(&left, k.program, k.options->argv);
}

static void end_trial(int status)
{
	const char *why = trial_end(status);

	k.trial_ends_by = INT64_MAX;
	if (k.state == STOPPING)
		return;
	if (!why) {
		become_program();
		why = strerror(errno);
	}
	refuse_upgrade(why);
}

/* ---- the end ---- */

/* The worker that serves has no successor any more, in whatever state the keeper was. */
static void become_stopping(int exit_status)
{
	k.state = STOPPING;
	k.exit_status = exit_status;
	k.inspect_at = INT64_MAX;
	end_holder(&k.holder);
	end_holder(&k.loader);
}

static void stop(void)
{
	become_stopping(0);
	if (k.front->end)
		k.front->end();
	if (k.inherited.stored)
		log_info("stopping; the service manager holds the device, and images can be read "
			 "again when the service has started again");
	else
		log_info("stopping%s", k.front->count_used()
					       ? "; images that are still mounted cannot be "
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
	n = k.front->count_used();
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
		log_err("not started: the first worker has ended (%s)", worker_end(k.next.status));
		return ENDED;
	}
	if (k.next.ready) {
		change_over(WORD_GO_FIRST);
		log_started();
		return SERVING;
	}
	if (!k.next.pid && k.now >= k.retry_at)
		fork_off(&k.next, &k.holder);
	return STARTING;
}

/* Takes SIGHUP or SIGUSR2, which wait while a configuration is read or a program is tested. Returns
 * whether the next worker has been forked: the first one of a configuration. */
static bool obey_signals(void)
{
	assert((k.state == SERVING || k.state == VACANT) && !k.next.pid);
	if (k.loader.ready)
		return fork_off(&k.next, &k.loader) || (end_holder(&k.loader), false);
	if (trial_pid() || k.loader.pid)
		return false;
	if (k.hup || k.attach) {
		k.new_lines = k.hup;
		k.hup = k.attach = 0;
		fork_off(&k.loader, &none);
	} else if (k.usr2) {
		k.usr2 = 0;
		begin_trial();
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
	if (k.next.pid || obey_signals() || k.now < k.retry_at)
		return VACANT;
	if (k.holder.pid || k.loaded)
		fork_off(&k.next, &k.holder);
	else if (!k.loader.pid)
		fork_off(&k.loader, &none);
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

/* ---- the front end ---- */

static void announce(void)
{
	if (k.announced || (k.state != SERVING && k.state != REPLACING) ||
		(k.front->are_settled && !k.front->are_settled()))
		return;
	k.announced = true;
	if (k.inherited.announce >= 0)
		(void)!write(k.inherited.announce, "y", 1);
	fd_close(&k.inherited.announce);
	notify_send("READY=1\nSTATUS=serving", -1);
}

static void look(void)
{
	if (!k.look || k.state == STOPPING)
		return;
	k.look = false;
	k.front->look();
	send_word(k.serving.channel, WORD_LOOK);
}

/* The control socket's client. */
static void obey(const struct pollfd *polled)
{
	enum control_event event = control_run(polled, k.now);
	const char *text = NULL;
	bool reload = false;

	if (event != CONTROL_NONE)
		k.answer_due = event == CONTROL_LINE;
	if (event == CONTROL_LINE)
		text = k.front->obey(control_line(), &reload);
	else if (k.answer_due)
		text = k.front->answer();
	k.attach |= reload;
	if (!text)
		return;
	control_answer(*text == 'o', text + 3); /* behind "ok " or "no " */
	k.answer_due = false;
}

/* ---- the loop ---- */

/* A worker of a holder is a child of ours, but not where no process can be a subreaper (qemu-user):
 * then the end of its channel tells. */
static void end_orphan(struct worker *w)
{
	int status = SIGKILL;

	if (!w->pid || w == &k.loader || waitpid(w->pid, &status, WNOHANG) == 0)
		return;
	w->pid = 0;
	w->status = status;
}

static void receive_words(struct worker *w)
{
	enum word word;

	while (w->channel >= 0 && (word = receive_word(w->channel, MSG_DONTWAIT)) != WORD_NONE) {
		if (word == WORD_END) {
			fd_close(&w->channel);
			end_orphan(w);
		} else if (word == WORD_READY && !w->ready) {
			w->ready = true;
			w->killed_at = INT64_MAX;
		} else if (word == WORD_ALIVE) {
			notify_send("WATCHDOG=1", -1);
		} else if (word == WORD_LOOK) {
			k.look = true;
		} else if (word == WORD_CACHE_LOST) {
			become_stopping(EXIT_SYSTEM);
		}
	}
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct worker *w = pid == k.serving.pid ? &k.serving : &k.next;

		if (pid == trial_pid())
			end_trial(status);
		if (pid == k.loader.pid) {
			k.loader.pid = 0; /* it may be another process's by now */
			refuse_reload(worker_end(status));
		}
		if (pid == k.holder.pid) {
			k.holder.pid = 0;
			lose_holder(worker_end(status));
		}
		if (pid != w->pid)
			continue;
		receive_words(w);
		fd_close(&w->channel);
		w->pid = 0;
		w->status = status;
	}
}

static bool is_late(pid_t pid, int64_t killed_at)
{
	if (!pid || k.now < killed_at)
		return false;
	log_warning("process %d takes too long and is killed", (int)pid);
	kill(pid, SIGKILL);
	return true;
}

static void kill_the_late(void)
{
	if (is_late(k.serving.pid, k.serving.killed_at))
		k.serving.killed_at = KILLED;
	if (is_late(k.next.pid, k.next.killed_at)) {
		fd_close(&k.next.channel);
		k.next.pid = 0;
		k.next.status = SIGKILL;
	}
	if (is_late(k.loader.pid, k.loader.killed_at))
		refuse_reload("what it names cannot be read");
	if (is_late(trial_pid(), k.trial_ends_by))
		end_trial(SIGKILL);
}

static void wait_for_events(struct pollfd *control)
{
	struct pollfd set[] = {{.fd = k.serving.channel, .events = POLLIN},
		{.fd = k.next.channel, .events = POLLIN}, {.fd = trial_fd(), .events = POLLIN},
		{.fd = k.loader.ready ? -1 : k.loader.channel, .events = POLLIN}, {.fd = -1}};
	int64_t until = sooner(control_next(), sooner(k.inspect_at, k.trial_ends_by));

	until = sooner(until, sooner(k.serving.killed_at, k.next.killed_at));
	until = sooner(until, k.loader.killed_at);
	if (!k.serving.pid && !k.next.pid)
		until = sooner(until, k.retry_at);
	control_poll(&set[4]);
	if (fd_poll(set, 5, k.now, until, &k.while_waiting) > 0 && set[2].revents)
		trial_read();
	*control = set[4];
}

static int supervise(void)
{
	struct pollfd control = {.fd = -1};

	while (k.state != ENDED) {
		enum state before;

		k.now = clock_ms();
		receive_words(&k.serving);
		receive_words(&k.next);
		receive_words(&k.loader);
		reap();
		kill_the_late();
		look();
		obey(&control);
		if (k.state != STOPPING)
			consider_stop();
		do {
			before = k.state;
			k.state = step();
		} while (k.state != before);
		announce();
		if (k.state != ENDED)
			wait_for_events(&control);
	}
	return k.exit_status;
}

/* ---- the beginning ---- */

void keeper_inherits(struct inherited *e, const struct options *o)
{
	catch_signals();
	inherit_take(e, o->device);
}

/* Notes what is not 0 at the start. */
static void begin(const struct inherited *inherited)
{
	k.inherited = *inherited;
	k.serving = k.next = k.holder = k.loader = none;
	k.run_folder = k.client_fd = k.asking_fd = -1;
	k.announced = inherited->resumed;
	k.look = inherited->resumed && k.front->look;
	k.warned_at = INT64_MIN / 2;
	k.inspect_at = k.trial_ends_by = INT64_MAX;
	k.state = STARTING;
	if (!inherited->resumed)
		return;
	k.serving.pid = inherited->worker;
	k.serving.channel = inherited->channel;
	k.client = inherited->upgrade_client;
	if (k.client)
		k.client_fd = (int)syscall(SYS_pidfd_open, k.client, 0);
	k.state = k.serving.pid ? SERVING : VACANT;
}

int keeper_run(const struct options *o, const struct worker_calls *calls,
	const struct keeper_front *front, const struct inherited *inherited, bool loaded)
{
	extern const char edata[]; /* the linker's: the end of program and data */

	k.options = o;
	k.calls = calls;
	k.front = front;
	k.loaded = loaded;
	begin(inherited);
	/* Now, as the path of a program that is replaced later gets " (deleted)" behind it. */
	trial_find_self(k.program, sizeof(k.program), o->argv[0]);
	if (front->kept)
		sandbox_allow_devices();
	if (o->argv[0][0] == '@') {
		k.run_folder = open("/run", O_PATH | O_DIRECTORY | O_CLOEXEC);
		sandbox_allow_chroot();
	}
	control_init(inherited->control);
	k.watchdog = notify_watchdog();
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* for the workers that a holder forks */
	if (!fd_write_number("/proc/self/oom_score_adj", 0, -1000))
		log_warning("oom_score_adj: %m");
	if (!memory_lock(edata, NULL, 0))
		log_warning("the keeper's memory cannot be locked: %m");
	if (k.state == STARTING)
		k.inherited.stored = inherit_store(&k.inherited);
	sandbox_drop_rights(SANDBOX_KEEPER);
	if (k.state == STARTING) /* else the earlier program's filter is in force */
		sandbox_enter(SANDBOX_KEEPER);
	k.now = k.serving.since = clock_ms();
	k.hup = !loaded;
	if (k.state == SERVING && loaded && fork_off(&k.next, &k.holder))
		k.state = REPLACING;
	return supervise();
}
