/* tools/environment.h - the proxies that the environment names for --get and --check, by the
 * variables of curl: http_proxy, https_proxy, all_proxy and no_proxy, all but the first also in
 * capitals (a web server sets HTTP_PROXY from a request's field). The daemon ignores them. */
#ifndef TOOLS_ENVIRONMENT_H
#define TOOLS_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/conf.h"

/* Takes them into `conf`, where that has no words for them. If the one for conf->url[0] cannot be
 * used returns false and fills why; one that only a redirect may lead to is warned of. */
bool environment_take(struct conf *conf, char *why, size_t size);

#endif
