#include "kernel/device.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/dir.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

struct search {
	const char *target;
	bool found;
};

static bool see_fd(void *context, int folder, const char *name)
{
	struct search *s = context;
	size_t size = strlen(s->target);
	char target[40];

	s->found = readlinkat(folder, name, target, sizeof(target)) == (ssize_t)size &&
		   memcmp(target, s->target, size) == 0;
	return !s->found;
}

static bool has_open(int pid, const char *target)
{
	struct search s = {target, false};
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir_each(AT_FDCWD, path, see_fd, &s);
	return s.found;
}

static bool has_device(int pid)
{
	return has_open(pid, DEVICE);
}

bool device_is_daemon(int pid)
{
	return has_device(pid) || has_open(pid, "/memfd:cachefilesd-mini (deleted)");
}

static bool see_process(void *pid, int folder, const char *name)
{
	int n = (int)leading_number(name); /* 0: no process, as "self" */

	(void)folder;
	*(int *)pid = n > 0 && has_device(n) ? n : 0;
	return *(int *)pid == 0;
}

int device_user(void)
{
	int pid = 0;

	dir_each(AT_FDCWD, "/proc", see_process, &pid);
	return pid;
}

bool device_explain(char *why, size_t size)
{
	char path[64], name[32];
	int pid = device_user();

	if (pid == 0)
		return fail(why, size,
			DEVICE ": busy: a process that we cannot see holds it, or one still has a "
			       "descriptor of a cache file that came from it");
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd_read_file(path, name, sizeof(name));
	name[strcspn(name, "\n")] = '\0';
	return fail(why, size,
		DEVICE ": busy: process %d (%s) holds it; the device serves one daemon, so stop "
		       "that one first",
		pid, name);
}
