/* daemon/keeper.h - the keeper is the supervisor: the process that was started. It holds the device
 * and the memory of handover.h, and sees to it that one of its children, a worker, serves the
 * device. A worker is forked with all that the keeper has read at its start, since the binary and
 * the configuration may lie on a file system that this daemon serves: nothing is read when a worker
 * has died.
 *
 * At SIGHUP another child, the holder, reads the configuration again. From then on it forks the
 * workers, with what it has read. One that does not succeed in ten seconds changes nothing.
 *
 * A worker is replaced in one way, whatever the cause: it has died; a new holder; SIGUSR2 (the
 * keeper becomes, by execve(2), the program that lies now where it was started from, and forks a
 * worker with its code). The new worker prepares itself and says that it is ready; the old one, if
 * it lives, is told to leave; once it has ended, the new one serves. Meanwhile the kernel keeps the
 * requests (Linux 6.8, 6.6.35, 6.1.95 and later), and readers see a pause.
 *
 * SIGTERM and SIGINT end the keeper, in order. While images are mounted, which would be broken, it
 * warns, and takes a second signal within ten seconds; or --force, or a service manager that holds
 * the device.
 */
#ifndef DAEMON_KEEPER_H
#define DAEMON_KEEPER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "daemon/inherit.h"
#include "daemon/options.h"
#include "daemon/worker.h"

/* The keeper's part of the front end, and what it does in the keeper's process. All but the first
 * two are NULL for one that holds nothing there. */
struct keeper_front {
	/* How many images are in use, so that an end would break or stop them. */
	unsigned (*count_used)(void);

	/* Obeys a line of the control socket, and may change it. Returns the answer, valid until
	 * the next call; NULL: answer() has it later. *reload: a new worker is needed for it. */
	const char *(*obey)(char *line, bool *reload);
	const char *(*answer)(void);
	void (*give_up)(void); /* the configuration could not be read: answer() says so */

	/* Before a process is forked, and in it. `new_lines`: a worker is to bring what is attached
	 * in line with the configuration. */
	void (*before_fork)(bool new_lines);
	void (*forked)(void);

	void (*look)(void);		  /* WORD_LOOK has come */
	bool (*are_settled)(void);	  /* the start is over: all images have been tried */
	void (*end)(void);		  /* before the last worker ends in order */
	void (*kept)(int kept[KEPT_MAX]); /* for inherit.h */
};

/* Takes what another process has handed over (inherit.h). From then on signals wait for
 * keeper_run(). */
void keeper_inherits(struct inherited *inherited, const struct options *o);

/* Becomes the keeper. Returns the program's exit status: 0, or that of a first worker that failed
 * before its turn, or EXIT_SYSTEM when the kernel has given the cache up. `loaded`: calls->load()
 * has succeeded. */
int keeper_run(const struct options *o, const struct worker_calls *calls,
	const struct keeper_front *front, const struct inherited *inherited, bool loaded);

/* SIGUSR2 with this value (sigqueue(3)): its sender waits for one of the two signals as answer. */
#define UPGRADE_ASKED	0x63666d
#define UPGRADE_DONE	SIGUSR1
#define UPGRADE_REFUSED SIGUSR2

#endif
