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
#define CACHE	 "/cachefilesd-mini" /* there, below /run/initramfs, which is the root now */
#define END_TIME 100		     /* tenths of a second for the daemon to end, or the cache */

bool shutdown_is_meant(const char *name)
{
	return getpid() == 1 && strcmp(name, "/shutdown") == 0;
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
	int i = 0;

	/* The cache is the daemon's to its end, as are /run and /dev below the root; without them
	 * the root goes at once, and the daemon finds its images unmounted. */
	mount(OLD_ROOT "/run/initramfs" CACHE, CACHE, NULL, MS_MOVE, NULL);
	umount2(OLD_ROOT, MNT_DETACH);
	end_daemon();
	while (umount2(CACHE, 0) < 0 && errno == EBUSY && ++i < END_TIME)
		poll(NULL, 0, 100);
	if (i == END_TIME)
		log_warning("the cache is still mounted: %m");
	sync();
	for (size_t n = 0; n < sizeof(ends) / sizeof(*ends); n++)
		if (strcmp(verb, ends[n].verb) == 0)
			reboot(ends[n].how);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
