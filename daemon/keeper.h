/* daemon/keeper.h - the process that was started. It holds the device and the memory of handover.h, and
 * sees to it that a worker serves the device: one of its children, forked from it with all that was
 * read at the start. The binary and the configuration may lie on a file system that hangs on us, so
 * nothing is read when a worker has died.
 *
 * A worker is replaced by one procedure, whatever the cause: it died; SIGHUP (the new one reads the
 * configuration afresh); SIGUSR2 (the keeper becomes the program that lies now where it was started
 * from, by execve(2), and has its new code serve). The new one prepares itself and says that it is
 * ready, the old one, if there is one, is told to leave, and when that has ended it is the new
 * one's turn. Between them the kernel keeps the requests (Linux 6.8, 6.6.35, 6.1.95 and later):
 * readers see a pause.
 *
 * SIGTERM and SIGINT end it, in order. While images are mounted, which stopping would break, only a
 * second one within ten seconds does, unless --force was given or a service manager holds the
 * device.
 */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/options.h"

/* What the keeper has the program do. */
struct keeper_calls {
	/* Reads the configuration and all that it names. On failure returns false and fills why. */
	bool (*load)(char *why, size_t size);

	/* In a new worker: all that can be done before its turn. Ends the process on failure. */
	void (*prepare)(void);

	/* In the worker: serves the device until keeper_says() tells what to do. Returns its exit
	 * status. `first`: the cache has just been bound. */
	int (*work)(bool first);
};

/* What the keeper has. Descriptors are -1 where there are none. */
struct inherited {
	int device; /* bound */
	int state;  /* handover.h's */
	int status; /* the socket to listen on */

	/* from an earlier program in our place, if that is `resumed` */
	bool resumed;
	int worker, channel; /* its worker, a child of ours: pid, and our end of its channel */
	int asker;	     /* the pid that waits for our answer; 0: none */
	bool stored;	     /* a service manager holds the device */
};

/* Takes what another process has handed over: an earlier program in our place, a service manager,
 * or whoever has started us with -F (then the device may not be bound yet). Once, before any
 * descriptor is opened. From then on signals wait for keeper_run(). */
void keeper_inherits(struct inherited *inherited, const struct options *o);

/* Becomes the keeper. Returns the program's exit status: 0, or that of a first worker that failed
 * before its turn, or EXIT_SYSTEM when the kernel has given the cache up. `loaded`: calls->load()
 * has succeeded. Without -n the caller's process waits for the first worker and then ends here. */
int keeper_run(const struct options *o, const struct keeper_calls *calls,
	const struct inherited *inherited, bool loaded);

/* --upgrade: asks the keeper of the pid file, and waits. Returns the exit status. */
int keeper_upgrade(const struct options *o);

/* --test says this in front of its version, so that a program that is none of ours is not taken. */
#define KEEPER_TEST_PASSED "cachefilesd-mini "

/* ---- in the worker ---- */

enum keeper_word {
	KEEPER_NOTHING,
	KEEPER_LEAVE, /* end at once: another takes your place, answer nothing any more */
	KEEPER_STOP,  /* end in order: no one takes your place */
};

/* The descriptor to poll for POLLIN, and then what was said. When the keeper has died the worker
 * goes on, and the signals that would have ended the keeper end it. The descriptor is -1 then, and
 * keeper_says() is to be asked once a second. */
int keeper_fd(void);
enum keeper_word keeper_says(void);

/* For a service manager's watchdog: tells it, by way of the keeper, that the loop turns. To be
 * called at the time that it returns, INT64_MAX for never. */
int64_t keeper_alive(int64_t now);

/* The kernel has given the cache up: the end of all. */
void keeper_lost_cache(void);

#endif
