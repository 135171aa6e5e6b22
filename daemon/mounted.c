#include "daemon/mounted.h"

#include <fcntl.h>
#include <string.h>

#include "base/text.h"
#include "daemon/handover.h"

static int volumes = -1; /* /proc/fs/fscache/volumes */

void mounted_init(void)
{
	volumes = open("/proc/fs/fscache/volumes", O_RDONLY | O_CLOEXEC);
}

/* Lines that end in a key of EROFS. The kernel has them of all mount namespaces. */
static unsigned count_volumes(void)
{
	struct lines l = {.fd = volumes};
	unsigned count = 0;

	for (const char *line; (line = lines_next(&l));)
		count += strstr(line, " erofs,") != NULL;
	return count;
}

/* Either count may be too high: the kernel's list has mounts whose OPEN is unanswered, ours has
 * images that were unmounted while no worker ran. The smaller one counts. */
unsigned mounted_count(void)
{
	unsigned opened = opened_files_count(), listed = volumes < 0 ? opened : count_volumes();

	return listed < opened ? listed : opened;
}
