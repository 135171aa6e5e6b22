#include "daemon/passwd.h"

#include <string.h>

/* Takes a number off the text, up to `end`. UINT32_MAX is nobody's: it would leave an id as it is.
 */
static bool take_number(const char **text, const char *end, uint32_t *out)
{
	uint64_t n = 0;
	const char *at = *text;

	for (; at < end && *at >= '0' && *at <= '9' && n < UINT32_MAX; at++)
		n = n * 10 + (uint64_t)(*at - '0');
	if (at == *text || n >= UINT32_MAX)
		return false;
	*text = at;
	*out = (uint32_t)n;
	return true;
}

static bool take_colon(const char **text, const char *end)
{
	return *text < end && *(*text)++ == ':';
}

bool passwd_match(const char *line, size_t size, const char *name, uint32_t *uid, uint32_t *gid)
{
	const char *end = line + size, *at = line + strlen(name);

	if (!*name || strlen(name) >= size || memcmp(line, name, strlen(name)) != 0 || *at++ != ':')
		return false;
	at = memchr(at, ':', (size_t)(end - at));
	return at && take_colon(&at, end) && take_number(&at, end, uid) && take_colon(&at, end) &&
	       take_number(&at, end, gid) && (at == end || *at == ':' || *at == '\n');
}

bool passwd_numbers(const char *text, uint32_t *uid, uint32_t *gid)
{
	const char *end = text + strlen(text);

	return take_number(&text, end, uid) && take_colon(&text, end) &&
	       take_number(&text, end, gid) && text == end;
}
