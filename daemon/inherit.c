#include "daemon/inherit.h"

#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "daemon/notify.h"

/* What a program leaves in the environment of the one that takes its place: numbers. Every version
 * reads them: never change their order. */
#define LEGACY	    "CACHEFILESD_MINI_KEEPS"
#define ENVIRON_MAX 64

/* Seven that the first version has, one more, and the front end's. */
#define NUMBERS (8 + KEPT_MAX)

/* A number and the comma behind it. */
static int take_number(const char **text)
{
	int64_t n = **text >= '0' && **text <= '9' ? leading_number(*text) : -1;

	*text += strcspn(*text, ",");
	*text += **text == ',';
	return n > INT_MAX ? -1 : (int)n;
}

static void keep_over_exec(const struct inherited *e, bool keep)
{
	const int fds[] = {e->device, e->state, e->status, e->channel, e->control};

	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds) + KEPT_MAX; i++) {
		int fd = i < KEPT_MAX ? e->kept[i] : fds[i - KEPT_MAX];

		if (fd >= 0)
			fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
	}
}

void inherit_name(char out[INHERIT_NAME], unsigned i)
{
	static const char *const kinds[] = {"socket", "in", "out"};

	snprintf(out, INHERIT_NAME, "%s%u", kinds[(i - 1) % 3], (i - 1) / 3);
}

void inherit_take(struct inherited *e, int device)
{
	const char *text = getenv(LEGACY);
	char name[INHERIT_NAME];
	int stored = 0;
	int *const numbers[] = {&e->device, &e->state, &e->status, &e->worker, &e->channel,
		&e->upgrade_client, &stored, &e->control};

	*e = (struct inherited){.device = device,
		.state = -1,
		.status = -1,
		.announce = -1,
		.control = -1,
		.resumed = text != NULL,
		.channel = -1};
	memset(e->kept, -1, sizeof(e->kept));
	for (size_t i = 0; text && *text && i < NUMBERS; i++)
		*(i < 8 ? numbers[i] : &e->kept[i - 8]) = take_number(&text);
	e->stored = stored > 0;
	if (!e->resumed && e->device < 0) {
		e->device = notify_handed_over("device");
		e->state = notify_handed_over("state");
		for (unsigned i = 1; i < KEPT_MAX; i++) {
			inherit_name(name, i);
			e->kept[i] = notify_handed_over(name);
		}
	}
	keep_over_exec(e, false);
}

void inherit_leave(const struct inherited *e, const char *program, char *const argv[])
{
	char legacy[sizeof(LEGACY) + NUMBERS * 11], *environment[ENVIRON_MAX + 2];
	size_t n = 0, size;

	size = (size_t)snprintf(legacy, sizeof(legacy), LEGACY "=%d,%d,%d,%d,%d,%d,%d,%d,",
		e->device, e->state, e->status, e->worker, e->channel, e->upgrade_client, e->stored,
		e->control);
	for (size_t i = 0; i < KEPT_MAX; i++)
		size += (size_t)snprintf(legacy + size, sizeof(legacy) - size, "%d,", e->kept[i]);
	for (char **old = environ; *old && n < ENVIRON_MAX; old++)
		if (strncmp(*old, LEGACY "=", sizeof(LEGACY)) != 0)
			environment[n++] = *old;
	environment[n++] = legacy;
	environment[n] = NULL;
	keep_over_exec(e, true);
	execve(program, argv, environment);
	keep_over_exec(e, false);
}

bool inherit_store(const struct inherited *e)
{
	return (e->device < 0 || notify_send("FDSTORE=1\nFDNAME=device\nFDPOLL=0", e->device)) &&
	       e->state >= 0 && notify_send("FDSTORE=1\nFDNAME=state\nFDPOLL=0", e->state);
}
