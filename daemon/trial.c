#include "daemon/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* Of the link in /proc to a file in memory, around its name. */
#define MEMORY	"/memfd:"
#define DELETED " (deleted)"

static pid_t process;
static int output = -1, child_output = -1, copy = -1;
static char text[384]; /* what the program has written, `used` bytes */
static size_t used;

void trial_find_self(char *path, size_t size, const char *name)
{
	size_t length;

	if (readlink("/proc/self/exe", path, size - 1) <= 0)
		snprintf(path, size, "%s", name);
	length = strlen(path);
	if (strncmp(path, MEMORY, strlen(MEMORY)) != 0 || length < strlen(MEMORY DELETED))
		return;
	path[length - strlen(DELETED)] = '\0';
	memmove(path, path + strlen(MEMORY), length - strlen(MEMORY DELETED) + 1);
	prctl(PR_SET_NAME, "cachefilesd-min"); /* which is the descriptor's number */
}

pid_t trial_begin(const char *copied)
{
	int ends[2];
	pid_t pid = -1;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	fd_close(&copy);
	copy = copied ? memfd_create(copied, MFD_CLOEXEC) : -1;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	output = ends[0];
	child_output = ends[1];
	used = 0;
	pid = _Fork();
	if (pid == 0)
		return 0;
	fd_close(&child_output);
	if (pid < 0)
		fd_close(&output);
	else
		process = pid;
	return pid;
}

/* In the test's process, as the file may lie on a root that hangs. */
static bool fill_copy(const char *program)
{
	int from = open(program, O_RDONLY | O_CLOEXEC);
	char piece[4096];
	ssize_t n = -1;

	while (from >= 0 && (n = read(from, piece, sizeof(piece))) > 0 &&
		write(copy, piece, (size_t)n) == n)
		;
	fd_close(&from);
	return n == 0;
}

const char *trial_copy(void)
{
	static char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
	return copy < 0 ? NULL : path;
}

void trial_run(const char *program, const struct options *o, int device)
{
	char *argv[o->argc + 3], number[16] = "-ofront nbd";
	const char *reason;

	if (device >= 0)
		snprintf(number, sizeof(number), "-F%d", device);
	argv[0] = o->argv[0];
	argv[1] = "--test";
	argv[2] = number;
	memcpy(argv + 3, o->argv + 1, (size_t)o->argc * sizeof(*argv)); /* and its NULL */
	dup2(child_output, STDOUT_FILENO);
	dup2(child_output, STDERR_FILENO);
	if (copy < 0 || fill_copy(program)) {
		if (copy >= 0)
			execve(trial_copy(), argv, environ);
		execve(program, argv, environ);
	}
	reason = strerror(errno);
	(void)!write(child_output, reason, strlen(reason));
	_exit(EXIT_SYSTEM);
}

pid_t trial_pid(void)
{
	return process;
}

int trial_fd(void)
{
	return output;
}

/* A child of the program may hold the other end for ever. */
void trial_read(void)
{
	ssize_t n = 1;

	while (output >= 0 && n > 0) {
		n = read(output, text + used, sizeof(text) - 1 - used);
		if (n > 0)
			used += (size_t)n;
		else if (n == 0) /* the end, or no room */
			fd_close(&output);
	}
}

/* Whether a line says that the test was passed; others are warnings. */
static bool has_passed(void)
{
	static const char passed[] = "\n" TRIAL_PASSED;

	return strncmp(text, passed + 1, strlen(passed + 1)) == 0 || strstr(text, passed);
}

/* The last line names what a test has failed of. */
static const char *last_line(void)
{
	char *newline;

	if (text[used - 1] == '\n')
		text[used - 1] = '\0';
	newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

const char *trial_end(int status)
{
	trial_read();
	fd_close(&output);
	process = 0;
	text[used] = '\0';
	if (status == 0 && has_passed())
		return NULL;
	fd_close(&copy);
	return *text ? last_line() : "it is no cachefilesd-mini";
}
