#include "tools/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch/mirror.h"

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

static bool take_proxy(
	struct conf *c, const char *const *names, struct url *out, char *why, size_t size)
{
	if (!take(c, names, "proxy", why, size))
		return false;
	*out = (struct url){.host = ""};
	if (c->proxy[0])
		url_parse(out, c->proxy); /* checked by conf.c */
	c->proxy[0] = '\0';
	return true;
}

bool environment_take(struct conf *c, struct url proxies[2], char *why, size_t size)
{
	static const char *const https[] = {
		"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	static const char *const http[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};

	if (!c->no_proxy[0] && !take(c, none, "no-proxy", why, size))
		return false;
	if (c->proxy[0])
		return true;
	mirrors_set_proxies(proxies);
	return take_proxy(c, http, &proxies[0], why, size) &&
	       take_proxy(c, https, &proxies[1], why, size);
}
