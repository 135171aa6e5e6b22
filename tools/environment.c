#include "tools/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes the value of the first of these variables, NULL behind the last, that is not empty, as the
 * value of this word of the configuration. False: it is a mistake. */
static bool take(struct conf *c, const char *const *names, const char *word, char *why, size_t size)
{
	const char *name, *value = NULL;
	char line[URL_MAX + 16]; /* a longer value is still too long when it is cut to fit */

	for (; *names && (!value || !*value); names++)
		value = getenv(name = *names);
	if (!value || !*value)
		return true;
	snprintf(line, sizeof(line), "%s %s%s", word,
		*word == 'n' || strstr(value, "://") ? "" : "http://", value);
	return conf_line(c, name, line, why, size);
}

bool environment_take(struct conf *c, char *why, size_t size)
{
	static const char *const https[] = {
		"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	static const char *const http[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};
	const struct url *for_http;

	if (!c->no_proxy[0] && !take(c, none, "no-proxy", why, size))
		return false;
	if (c->proxy)
		return true;
	if (!take(c, http, "proxy", why, size))
		return false;
	for_http = c->proxy;
	c->proxy = c->https_proxy = NULL;
	if (!take(c, https, "proxy", why, size))
		return false;
	c->proxy = for_http;
	return true;
}
