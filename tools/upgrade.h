/* tools/upgrade.h - --upgrade: has the running daemon go on as the program that lies now where it
 * was started from (keeper.h). */
#ifndef TOOLS_UPGRADE_H
#define TOOLS_UPGRADE_H

/* Asks the keeper of the pid file, and waits for its answer. Returns the exit status. */
int upgrade_run(const char *pid_file);

#endif
