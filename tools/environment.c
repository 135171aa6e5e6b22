#include "tools/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fetch/mirror.h"

/* The value of the first of these variables, NULL behind the last, that is not empty; *name is then
 * that one. NULL: none is. */
static const char *look(const char *const *names, const char **name)
{
	const char *value = NULL;

	for (; *names && (!value || !*value); names++)
		value = getenv(*name = *names);
	return value && *value ? value : NULL;
}

/* As in the configuration, but the scheme may be missing. What it holds may be a password. */
static bool take_proxy(
	const char *const *names, struct url *out, bool https, char *why, size_t size)
{
	const char *name, *value = look(names, &name), *fault;
	char text[URL_MAX];

	if (!value)
		return true;
	snprintf(text, sizeof(text), "%s%s", strstr(value, "://") ? "" : "http://", value);
	fault = url_parse(out, text);
	if (!fault && out->https)
		fault = "TLS to a proxy is not supported: its URL begins with http://";
	if (fault)
		return fail(why, size, "the variable %s: %s", name, fault);
	mirrors_set_proxy(https, out);
	return true;
}

bool environment_take(struct conf *conf, struct url proxies[2], char *why, size_t size)
{
	static const char *const http[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const https[] = {
		"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};
	char line[sizeof(conf->no_proxy) + 16];
	const char *name, *value = conf->no_proxy[0] ? NULL : look(none, &name);

	snprintf(line, sizeof(line), "no-proxy %s", value ? value : "");
	if (value && !conf_line(conf, name, line, why, size))
		return false;
	return conf->proxy[0] || (take_proxy(http, &proxies[0], false, why, size) &&
					 take_proxy(https, &proxies[1], true, why, size));
}
