/* daemon/trial.h - the test of the program that shall take this one's place at an upgrade: it runs
 * once with --test and the daemon's arguments, and has to say that it is cachefilesd-mini and takes
 * the configuration. */
#ifndef DAEMON_TRIAL_H
#define DAEMON_TRIAL_H

#include <sys/types.h>

#include "daemon/options.h"

/* --test begins with this, its version follows: only such a program is taken at an upgrade. */
#define TRIAL_PASSED "cachefilesd-mini "

/* Forks the test's process. Returns its pid; in it 0, for trial_run(); -1 and errno. `device` tells
 * it that the cache is bound, so that its directory is no matter; -1: it has to know the other
 * front end. */
pid_t trial_begin(void);
_Noreturn void trial_run(const char *program, const struct options *o, int device);

/* The process of the test; 0: none runs. */
pid_t trial_pid(void);

/* The descriptor to poll for POLLIN (-1: none), and what to do then. */
int trial_fd(void);
void trial_read(void);

/* The process has ended with this status of waitpid(2), or is not awaited any more. Returns NULL if
 * the test was passed, else why not, until the next test. */
const char *trial_end(int status);

#endif
