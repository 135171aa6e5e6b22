#include "daemon/shutdown.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

#define OLD_ROOT "/oldroot"		     /* systemd's src/shutdown/shutdown.c */
#define PID_FILE "/run/cachefilesd-mini/pid" /* contrib/initramfs/cachefilesd-boot.sh */
#define END_TIME 100			     /* tenths of a second for the daemon to end */

bool shutdown_is_meant(const char *name)
{
	return getpid() == 1 && strcmp(name, "/shutdown") == 0;
}

/* Unmounts what a line of proc_pid_mountinfo(5) tells: its fifth word is the mount point. */
static bool unmount_line(char *line, bool tell)
{
	for (int word = 1; line && word < 5; word++)
		if ((line = strchr(line, ' ')))
			line++;
	if (!line || strncmp(line, OLD_ROOT, sizeof(OLD_ROOT) - 1) != 0)
		return false;
	line[strcspn(line, " ")] = '\0';
	if (umount2(line, 0) == 0)
		return true;
	if (tell)
		log_warning("%s is still mounted: %s", line, strerror(errno));
	return false;
}

/* From the end, as the last may be mounted on an earlier one. Returns whether any was unmounted. */
static bool unmount(bool tell)
{
	char text[32768];
	ssize_t left = fd_read_file("/proc/self/mountinfo", text, sizeof(text));
	bool some = false;

	while (left > 0) {
		text[--left] = '\0'; /* the newline */
		while (left > 0 && text[left - 1] != '\n')
			left--;
		some = unmount_line(text + left, tell) || some;
	}
	return some;
}

/* The keeper's parent is systemd's process 1, that is this one. While images are mounted it takes
 * more than one SIGTERM. If it does not end, nor would its worker: then every process has to. */
static void end_daemon(void)
{
	char text[32];
	pid_t pid;
	int i = 0;

	fd_read_file(PID_FILE, text, sizeof(text));
	pid = (pid_t)leading_number(text);
	if (pid <= 1)
		return;
	do {
		kill(pid, SIGTERM);
		poll(NULL, 0, 100);
	} while (waitpid(pid, NULL, WNOHANG) == 0 && ++i < END_TIME);
	if (i == END_TIME)
		for (kill(-1, SIGKILL); i > 0 && waitpid(-1, NULL, WNOHANG) >= 0; i--)
			poll(NULL, 0, 100);
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
