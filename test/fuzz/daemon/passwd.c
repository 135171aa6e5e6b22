/* Fuzz harness of passwd.c: a line of a file that others write. */
#include <stdlib.h>

#include "daemon/passwd.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t uid = 0, gid = 0;
	char text[64];

	if (passwd_match((const char *)data, size, "cache", &uid, &gid) &&
		(uid == UINT32_MAX || gid == UINT32_MAX || memcmp(data, "cache:", 6) != 0))
		abort();
	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	passwd_numbers(text, &uid, &gid);
	return 0;
}
