#include "daemon/shutdown.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define OLD_ROOT "/oldroot"			/* systemd's src/shutdown/shutdown.c */
#define PID_FILE "/run/cachefilesd-mini/pid"	/* contrib/initramfs/cachefilesd-boot.sh */
#define PATIENCE 100				/* tenths of a second for the daemon to end */

bool shutdown_is_meant(const char *name)
{
	return getpid() == 1 && strcmp(name, "/shutdown") == 0;
}

static size_t read_file(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + used, room - 1 - used)) > 0)
		used += (size_t)n;
	if (fd >= 0)
		close(fd);
	text[used] = '\0';
	return used;
}

/* One line of proc_pid_mountinfo(5); the fifth word is where. */
static bool unmount_line(char *line, bool tell)
{
	for (int word = 1; line && word < 5; word++) {
		line = strchr(line, ' ');
		line = line ? line + 1 : NULL;
	}
	if (!line || strncmp(line, OLD_ROOT, sizeof(OLD_ROOT) - 1) != 0)
		return false;
	line[strcspn(line, " ")] = '\0';
	if (umount2(line, 0) == 0)
		return true;
	if (tell)
		log_warning("%s is still mounted: %s", line, strerror(errno));
	return false;
}

/* From the end, since the last one may be mounted on an earlier one. Returns whether it got any further. */
static bool unmount(bool tell)
{
	char text[32768];
	size_t left = read_file("/proc/self/mountinfo", text, sizeof(text));
	bool some = false;

	while (left > 0) {
		text[--left] = '\0'; /* the newline */
		while (left > 0 && text[left - 1] != '\n')
			left--;
		some = unmount_line(text + left, tell) || some;
	}
	return some;
}

/* The keeper has systemd's process 1 for a parent, that is us. While images are mounted one SIGTERM is not enough
 * for it. If it does not go, its worker would not either: then all that is left has to. */
static void end_daemon(void)
{
	const struct timespec tenth = {.tv_nsec = 100000000};
	char text[32];
	pid_t pid;
	int i = 0;

	read_file(PID_FILE, text, sizeof(text));
	pid = (pid_t)strtol(text, NULL, 10);
	if (pid <= 1)
		return;
	do {
		kill(pid, SIGTERM);
		nanosleep(&tenth, NULL);
	} while (waitpid(pid, NULL, WNOHANG) == 0 && ++i < PATIENCE);
	if (i == PATIENCE)
		for (kill(-1, SIGKILL); i > 0 && waitpid(-1, NULL, WNOHANG) >= 0; i--)
			nanosleep(&tenth, NULL);
}

void shutdown_run(const char *verb)
{
	static const struct {
		const char *verb;
		int how;
	} ends[] = {{"poweroff", RB_POWER_OFF}, {"halt", RB_HALT_SYSTEM}, {"kexec", RB_KEXEC}};

	while (unmount(false))
		;
	end_daemon();
	while (unmount(false))
		;
	unmount(true);
	sync();
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (strcmp(verb, ends[i].verb) == 0)
			reboot(ends[i].how);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
