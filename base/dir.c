#include "base/dir.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dirent64 { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

int folder_open(int folder, const char *name)
{
	return openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void folder_each(
	int folder, bool (*see)(void *context, int folder, const char *name), void *context)
{
	_Alignas(8) char entries[1024];
	bool more = true;
	long size;

	lseek(folder, 0, SEEK_SET);
	while (more && (size = syscall(SYS_getdents64, folder, entries, sizeof(entries))) > 0) {
		const struct dirent64 *entry;

		for (long at = 0; more && at < size; at += entry->reclen) {
			entry = (const struct dirent64 *)(entries + at);
			if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0 &&
				strlen(entry->name) < FOLDER_NAME)
				more = see(context, folder, entry->name);
		}
	}
}
