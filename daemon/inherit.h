/* daemon/inherit.h - what a program finds open when it begins, and leaves to the one that takes its
 * place. */
#ifndef DAEMON_INHERIT_H
#define DAEMON_INHERIT_H

#include <stdbool.h>

#include "base/limits.h"

/* Descriptors that a front end has of its own: three for each device, and one more. */
#define KEPT_MAX (1 + 3 * DEVICES_MAX)

/* Descriptors are -1 where there are none. */
struct inherited {
	int device;	    /* /dev/cachefiles, bound */
	int state;	    /* handover.h's memory */
	int status;	    /* the socket to listen on */
	int announce;	    /* of a new daemon: a byte is written to it once a worker serves */
	int control;	    /* control.h's socket to listen on */
	int kept[KEPT_MAX]; /* the front end's */

	/* of an earlier program in this process, if that is `resumed` */
	bool resumed;
	int worker, channel; /* its worker, a child of ours: pid, and our end of its channel */
	int upgrade_client;  /* the pid that waits for our answer; 0: none */
	bool stored;	     /* a service manager holds the descriptors */
};

/* Takes what another process has handed over: an earlier program in this process, a service
 * manager, or a process that has started us with -F (`device`, else -1). Once, before any
 * descriptor is opened. */
void inherit_take(struct inherited *inherited, int device);

/* Becomes another program, which takes this over. Returns only if that fails, with errno. */
void inherit_leave(const struct inherited *inherited, const char *program, char *const argv[]);

/* The name of kept[i], i from 1 on, in a service manager's store; kept[0] is not in it. */
#define INHERIT_NAME 16
void inherit_name(char out[INHERIT_NAME], unsigned i);

/* Has a service manager hold what the next daemon needs. False: there is none. */
bool inherit_store(const struct inherited *inherited);

#endif
