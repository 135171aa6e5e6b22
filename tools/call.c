#include "tools/call.h"

#include <errno.h>
#include <string.h>

#include "base/local.h"
#include "base/log.h"

bool call_failed(const char *path, const char *why)
{
	log_err("no daemon answers at %s: %s", path, why);
	return false;
}

/* Why a connection fails, as a rule. */
static const char *remedy(int error)
{
	switch (error) {
	case ENOENT:
		return "there is no such socket: none runs, or its configuration (-f, -o) names "
		       "another one";
	case ECONNREFUSED:
		return "the socket was left there by one that has ended";
	case EACCES:
		return "only its owner may ask: start as root";
	default:
		return strerror(error);
	}
}

int call_daemon(const char *path, int flags)
{
	int fd = -1;

	if (!*path)
		log_err("the daemon of this configuration has no socket to ask (none)");
	else if ((fd = local_connect(path, flags)) < 0)
		call_failed(path, remedy(errno));
	return fd;
}
