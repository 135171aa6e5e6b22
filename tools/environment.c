#include "tools/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* The value of the first of these variables, NULL behind the last, that is not empty; NULL: there
 * is none. *name is the variable. */
static const char *find(const char *const *names, const char **name)
{
	for (; *names; names++) {
		const char *value = getenv(*name = *names);

		if (value && *value)
			return value;
	}
	return NULL;
}

static bool take_proxy(struct conf *c, const char *const *names, char *why, size_t size)
{
	const char *name, *value = find(names, &name);
	char line[URL_MAX + 16]; /* a longer value is still too long when it is cut to fit */

	c->proxy = c->https_proxy = NULL;
	if (!value)
		return true;
	snprintf(line, sizeof(line), "proxy %s%s", strstr(value, "://") ? "" : "http://", value);
	return conf_line(c, name, line, why, size);
}

bool environment_take(struct conf *c, char *why, size_t size)
{
	static const char *const https[] = {
		"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	static const char *const http[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};
	const char *name, *list = c->no_proxy[0] ? NULL : find(none, &name);
	const struct url *for_http;

	/* Entries without effect are no mistake here: other programs read them too. */
	if (list &&
		snprintf(c->no_proxy, sizeof(c->no_proxy), "%s", list) >= (int)sizeof(c->no_proxy))
		return fail(
			why, size, "%s: is longer than %zu bytes", name, sizeof(c->no_proxy) - 1);
	if (c->proxy)
		return true;
	if (!take_proxy(c, http, why, size))
		return false;
	for_http = c->proxy;
	if (!take_proxy(c, https, why, size))
		return false;
	c->proxy = for_http;
	return true;
}
