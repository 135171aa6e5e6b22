/* net/no_proxy.h - the list of hosts that are asked without the proxy, as curl has it. Pure.
 *
 * Commas or blanks part its entries: a host name, which stands for the hosts in that domain too, a
 * dot before it or not; an IPv4 or IPv6 address, with or without brackets, of its own or with /BITS
 * for all that begin with them; or '*' for all hosts.
 */
#ifndef NET_NO_PROXY_H
#define NET_NO_PROXY_H

#include <stdbool.h>

#include "net/url.h"

/* NULL; or a static sentence, if an entry is none of these, and thus without effect. */
const char *no_proxy_check(const char *list);

/* Whether the list names the URL's host. */
bool no_proxy_has(const char *list, const struct url *url);

#endif
