/* For the unit tests of conf.c and conf_file.c: what takes a line, and looks at the message. */
#ifndef TEST_UNIT_DAEMON_CONF_H
#define TEST_UNIT_DAEMON_CONF_H

#include "base/fd.c"
#include "base/text.c"
#include "net/connect.c"
#include "net/names.c"
#include "net/dns_packet.c"
#include "net/no_proxy.c"
#include "net/url.c"
#include "base/base64.c"
#include "daemon/conf.c"
#include "daemon/conf_file.c"
#include "daemon/values.c"
#include "test/unit/check.h"
#include "test/unit/stubs.h"

static struct conf c;
static char why[600];

static bool take(const char *line)
{
	why[0] = '\0';
	return conf_line(&c, "F:1", line, why, sizeof(why));
}

#define CHECK_GOOD(line) CHECK(take(line), "%s: %s", line, why)

#define ROOT_0 "00000000000000000000000000000000000000000000000000000000000000ff"
#define ROOT_A "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdef01Fe"

static void check_roothash(size_t i, const char *name, int first, int last)
{
	const struct conf_roothash *r = &c.roothash[i];

	CHECK(i < c.roothashes && (r->name ? name && !strcmp(r->name, name) : !name) &&
			r->root[0] == first && r->root[31] == last,
		"%zu of %zu: %s %d %d", i, c.roothashes, r->name, r->root[0], r->root[31]);
}

#endif
