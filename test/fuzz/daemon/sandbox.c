/* Fuzz harness of sandbox.c: a line of /etc/passwd, a file that others write. */
#include <stdlib.h>

#include "base/dir.c"
#include "base/fd.c"
#include "base/text.c"
#include "daemon/sandbox.c"

void log_line(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

void die(int status, const char *format, ...)
{
	(void)format;
	exit(status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t uid = 0, gid = 0;
	char *text = strndup((const char *)data, size);

	if (passwd_match(text, "cache", &uid, &gid) &&
		(uid >= UINT32_MAX || gid >= UINT32_MAX || memcmp(text, "cache:", 6) != 0))
		abort();
	take_ids(text, &uid, &gid);
	free(text);
	return 0;
}
