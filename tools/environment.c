#include "tools/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/no_proxy.h"
#include "net/url.h"

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

/* Takes the value of a variable as the proxy for both schemes. */
static bool take_proxy(struct conf *c, const char *name, const char *value, char *why, size_t size)
{
	char line[URL_MAX + 16]; /* a longer value is still too long when it is cut to fit */

	c->proxy = c->https_proxy = NULL;
	if (!value)
		return true;
	snprintf(line, sizeof(line), "proxy %s%s", strstr(value, "://") ? "" : "http://", value);
	return conf_line(c, name, line, why, size);
}

static bool take_no_proxy(struct conf *c, char *why, size_t size)
{
	static const char *const none[] = {"no_proxy", "NO_PROXY", NULL};
	const char *name, *list = c->no_proxy[0] ? NULL : find(none, &name);

	/* Entries without effect are no mistake here: other programs read them too. */
	return !list ||
	       snprintf(c->no_proxy, sizeof(c->no_proxy), "%s", list) < (int)sizeof(c->no_proxy) ||
	       fail(why, size, "%s: is longer than %zu bytes", name, sizeof(c->no_proxy) - 1);
}

bool environment_take(struct conf *c, char *why, size_t size)
{
	static const char *const names[][5] = {{"http_proxy", "all_proxy", "ALL_PROXY", NULL},
		{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL}};
	const char *name[2], *value[2] = {find(names[0], &name[0]), find(names[1], &name[1])};
	const struct url *for_http = NULL;
	struct url url;
	bool direct;

	if (!c->proxy && !value[0] && !value[1])
		return true;
	if (!take_no_proxy(c, why, size))
		return false;
	if (c->proxy || url_parse(&url, c->url[0])) /* conf.c has parsed it */
		return true;
	direct = no_proxy_has(c->no_proxy, &url);
	for (int https = value[0] == value[1]; https < 2; https++) { /* one for both: once */
		bool needed = !direct && (url.https == https || value[0] == value[1]);

		for_http = c->proxy;
		if (take_proxy(c, name[https], value[https], why, size))
			continue;
		if (needed)
			return false;
		log_warning("%s; it is not used", why);
		c->mistakes = 0;
	}
	if (value[0] != value[1])
		c->proxy = for_http;
	return true;
}
