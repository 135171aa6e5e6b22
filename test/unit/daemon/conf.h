/* For the unit tests of conf.c and keywords.c: what takes a line, and looks at the message. */
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
#include "daemon/keywords.c"
#include "test/unit/check.h"
#include "test/unit/stubs.h"

static struct conf c;
static char why[600];

static bool take(const char *line)
{
	why[0] = '\0';
	return conf_line(&c, "F:1", line, why, sizeof(why));
}

/* Takes the line in a fresh configuration. */
static bool take_fresh(const char *line)
{
	conf_init(&c);
	return take(line);
}

#define CHECK_GOOD(line) CHECK(take(line), "%s: %s", line, why)

/* A mistake is told with where, the word, and what is wrong. */
#define CHECK_BAD(line, says)                                                                      \
	do {                                                                                       \
		CHECK(!take_fresh(line), "%s", line);                                              \
		CHECK(!strncmp(why, "F:1: ", 5) && strstr(why, says), "%s: '%s'", line, why);      \
	} while (0)

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
