/* daemon/worker.h - the worker's end of the channel to its keeper (keeper.h), and the words on it.
 *
 * When the keeper has died the worker goes on serving, and the signals that would have ended the
 * keeper end it.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The words, a byte each. Other versions of this program understand them, as a worker outlives its
 * keeper's program at an upgrade: never change one. */
enum word {
	WORD_END = -1, /* no word: the other end is closed */
	WORD_NONE = 0, /* no word: none has come */

	/* from the worker */
	WORD_READY = 'r',      /* it has prepared itself, and waits for its turn */
	WORD_ALIVE = 'a',      /* its loop turns */
	WORD_CACHE_LOST = 'd', /* the kernel has given the cache up: the keeper ends with it */

	/* both ways: the front end's part there has something to look at */
	WORD_LOOK = 'v',

	/* from the keeper */
	WORD_GO = 'g',	     /* serve */
	WORD_GO_FIRST = 'f', /* serve: the cache has just been bound */
	WORD_LEAVE = 'l',    /* end at once, and answer nothing more: another takes your place */
	WORD_STOP = 's',     /* end in order: none takes your place */
};

/* For both ends. Sending never blocks, and does nothing without a channel (-1). `flags` are those
 * of recv(2): MSG_DONTWAIT or 0. */
void send_word(int channel, enum word word);
enum word receive_word(int channel, int flags);

/* What the program does for the keeper and its workers. They are calls, and not returns to the loop
 * of cachefilesd-mini.c, since a worker is a fork of the keeper that ends in them. */
struct worker_calls {
	/* Reads the configuration and all that it names. On failure returns false and fills why. */
	bool (*load)(char *why, size_t size);

	/* In a new worker: all that can be done before its turn. Ends the process on failure. */
	void (*prepare)(void);

	/* In the worker: serves the device until worker_word() ends it. Returns the exit status.
	 * `first`: the cache has just been bound. */
	int (*work)(bool first);
};

/* In a process that has just been forked: prepares it, waits for its turn and serves. `watchdog`:
 * see notify_watchdog(). */
_Noreturn void worker_run(int channel, const struct worker_calls *calls, int64_t watchdog);

/* In a process that has just been forked at SIGHUP: it reads the configuration, says WORD_READY,
 * and holds what it has read for the workers to come, which it forks as children of the keeper. So
 * nothing is read when a worker has died, and the keeper itself reads nothing at all: the files may
 * lie on a root that hangs. It ends with its channel. In each worker its channel is returned. */
int holder_run(int channel, const struct worker_calls *calls);

/* In the keeper: has the holder at the other end of `channel` fork a worker, whose channel is
 * `end`. Returns its pid, or -1 and errno. */
pid_t holder_fork(int channel, int end);

/* In words how a process has ended, by its status of waitpid(2); valid until the next call. */
const char *worker_end(int status);

/* The descriptor to poll for POLLIN before worker_word(); -1: the keeper has died, and
 * worker_word() is to be called once a second. */
int worker_fd(void);

/* WORD_LEAVE, WORD_STOP or WORD_NONE. */
enum word worker_word(void);

/* For a service manager's watchdog: tells it, by way of the keeper, that the loop turns. Returns
 * when to call it again, INT64_MAX for never. */
int64_t worker_alive(int64_t now);

/* In the worker: tells the keeper, if it lives. */
void worker_tell(enum word word);

#endif
