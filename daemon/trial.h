/* daemon/trial.h - the test of the program that shall take this one's place at an upgrade: it runs
 * once with --test and the daemon's arguments, and has to say that it is cachefilesd-mini and takes
 * the configuration.
 *
 * The program of a daemon that an initramfs has started is copied into memory first, and the copy
 * is tested and executed: from its file it would hang on the root that hangs on it, and keep that
 * mounted to the end.
 */
#ifndef DAEMON_TRIAL_H
#define DAEMON_TRIAL_H

#include <sys/types.h>

#include "daemon/options.h"

/* --test begins with this, its version follows: only such a program is taken at an upgrade. */
#define TRIAL_PASSED "cachefilesd-mini "

/* Where this program was started from, in a path that is "" before: the file, if it is a copy in
 * memory. `name`: if nothing else is known. */
void trial_find_self(char *path, size_t size, const char *name);

/* Forks the test's process, for a program to be copied into memory (NULL: it is not). Returns its
 * pid; in it 0, for trial_run(); -1 and errno. `device` tells it that the cache is bound, so that
 * its directory is no matter; -1: it has to know the other front end. */
pid_t trial_begin(const char *copied);
_Noreturn void trial_run(const char *program, const struct options *o, int device);

/* The path of a copy that has passed the test; NULL: there is none. */
const char *trial_copy(void);

/* The process of the test; 0: none runs. */
pid_t trial_pid(void);

/* The descriptor to poll for POLLIN (-1: none), and what to do then. */
int trial_fd(void);
void trial_read(void);

/* The process has ended with this status of waitpid(2), or is not awaited any more. Returns NULL if
 * the test was passed, else why not, until the next test. */
const char *trial_end(int status);

#endif
