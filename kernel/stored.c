#include "kernel/stored.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/dir.h"
#include "image/state.h"

void stored_name(char out[STORED_NAME], uint64_t image, uint64_t version)
{
	snprintf(out, STORED_NAME, "%016llx.%016llx", (unsigned long long)image,
		(unsigned long long)version);
}

/* `context` is the beginning of a name, IMAGE and the dot, which becomes empty if a file has it. */
static bool see_version(void *context, int folder, const char *name)
{
	char *image = context;

	(void)folder;
	if (strncmp(name, image, strlen(image)) == 0 && strlen(name) == 33)
		*image = '\0';
	return *image;
}

bool stored_remove(uint64_t image, uint64_t version)
{
	char name[34], other[34];

	stored_name(name, image, version);
	if (unlinkat(state_folder(), name, 0) < 0 && errno != ENOENT)
		return false;
	name[17] = '\0';
	strcpy(other, name);
	dir_each(state_folder(), ".", see_version, other);
	if (*other) {
		name[16] = '\0';
		state_remove(name);
	}
	return true;
}
