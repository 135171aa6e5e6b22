#include "kernel/prime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "kernel/device.h"

/* include/uapi/linux/mount.h */
#define FSOPEN_CLOEXEC	    1
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_CMD_CREATE 6

/* NAME with its options is shorter than this. */
#define NAME_LENGTH 1024

static const char *remedy(int error)
{
	switch (error) {
	case EPERM:
		return "start as root (CAP_SYS_ADMIN)";
	case ENODEV:
	case EINVAL:
	case ENOTBLK:
		return "this kernel's EROFS has no on-demand mode: it needs "
		       "CONFIG_EROFS_FS_ONDEMAND";
	case EBUSY:
	case EEXIST:
		return "it is mounted: unmount it first";
	case ENOBUFS:
	case EIO:
		return device_user() ? "the daemon could not open it; its log says why"
				     : "no process holds " DEVICE ": start the daemon first";
	default:
		return strerror(error);
	}
}

int prime_visit(const char *name)
{
	char options[NAME_LENGTH + 5], *option, *next = options;
	int fs, error = 0;

	if (snprintf(options, sizeof(options), "fsid=%s", name) >= (int)sizeof(options))
		return ENAMETOOLONG;
	fs = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return errno;
	while (!error && (option = strsep(&next, ","))) {
		char *value = strchr(option, '=');

		if (value)
			*value++ = '\0';
		if (!value)
			error = EINVAL;
		else if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, option, value, 0) < 0)
			error = errno;
	}
	if (!error && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		error = errno;
	close(fs);
	return error;
}

int prime_run(const char *dir, char *const *names)
{
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0;

	for (; folder >= 0 && *names; names++) {
		int error = prime_visit(*names);

		/* The second mount waits until the kernel is through with the first. */
		if (!error)
			error = prime_visit(*names);
		if (error) {
			log_err("%s: %s", *names, remedy(error));
			status = 1;
		}
	}
	if (folder < 0 || syncfs(folder) < 0) {
		log_err("%s: %m", dir);
		status = 1;
	}
	return status;
}
