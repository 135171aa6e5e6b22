#include "base/dir.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

struct dirent64 { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

int dir_open(int parent, const char *name)
{
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

bool dir_each(int parent, const char *name,
	bool (*see)(void *context, int folder, const char *name), void *context)
{
	_Alignas(8) char entries[1024];
	int folder = dir_open(parent, name);
	bool more = folder >= 0;
	long size;

	if (!more)
		return false;
	while (more && (size = syscall(SYS_getdents64, folder, entries, sizeof(entries))) > 0) {
		const struct dirent64 *entry;

		for (long at = 0; more && at < size; at += entry->reclen) {
			entry = (const struct dirent64 *)(entries + at);
			if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0 &&
				strlen(entry->name) < DIR_NAME)
				more = see(context, folder, entry->name);
		}
	}
	fd_close(&folder);
	return true;
}
