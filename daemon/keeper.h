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

#include "daemon/options.h"
#include "daemon/worker.h"

/* What was open when this program began. Descriptors are -1 where there are none. */
struct inherited {
	int device;   /* bound */
	int state;    /* handover.h's memory */
	int status;   /* the socket to listen on */
	int announce; /* of a new daemon: a byte is written to it once a worker serves */

	/* of an earlier program in this process, if that is `resumed` */
	bool resumed;
	int worker, channel; /* its worker, a child of ours: pid, and our end of its channel */
	int upgrade_client;  /* the pid that waits for our answer; 0: none */
	bool stored;	     /* a service manager holds the device */
};

/* Takes what another process has handed over: an earlier program in this process, a service
 * manager, or a process that has started us with -F (which may not have bound the device). Once,
 * before any descriptor is opened. From then on signals wait for keeper_run(). */
void keeper_inherits(struct inherited *inherited, const struct options *o);

/* Becomes the keeper. Returns the program's exit status: 0, or that of a first worker that failed
 * before its turn, or EXIT_SYSTEM when the kernel has given the cache up. `loaded`: calls->load()
 * has succeeded. */
int keeper_run(const struct options *o, const struct worker_calls *calls,
	const struct inherited *inherited, bool loaded);

/* SIGUSR2 with this value (sigqueue(3)): its sender waits for one of the two signals as answer. */
#define UPGRADE_ASKED	0x63666d
#define UPGRADE_DONE	SIGUSR1
#define UPGRADE_REFUSED SIGUSR2

#endif
