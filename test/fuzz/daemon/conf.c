/* Fuzz harness of conf.c, and with it of url.c and of the pins of names.c: the lines of a file.
 * What was taken must keep to the ranges that conf.h promises. */
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
#include "test/unit/stubs.h"

/* Of two root hashes. */
static void check_names(const char *a, const char *b)
{
	if (a && (!*a || strlen(a) > KEY_MAX))
		abort();
	if (a && b ? strcmp(a, b) == 0 : a == b)
		abort();
}

static void check_promises(const struct conf *c)
{
	static const size_t max = CONF_LINE_MAX;

	if (c->urls > URLS_MAX || c->pins > KEY_PINS_MAX || c->resolves > URLS_MAX ||
		c->connections > CONNECTIONS_MAX || c->timeout < 1 || c->timeout > 86400 ||
		c->abi > ABI_V8 || strnlen(c->dir, max) == max || strnlen(c->ca, max) == max ||
		c->dir[0] != '/' || c->attaches > DEVICES_MAX)
		abort();
	for (size_t i = 0; i < c->attaches; i++)
		if (!c->attach[i].name[0] || strlen(c->attach[i].name) > KEY_MAX ||
			c->attach[i].device < -1 || c->attach[i].device > ATTACH_DEVICE_MAX)
			abort();
	if (c->roothashes > ROOTHASHES_MAX || c->verity > VERITY_ALLOW ||
		strnlen(c->verity_key, max) == max)
		abort();
	for (size_t i = 0; i < c->roothashes; i++)
		for (size_t j = i; j < c->roothashes; j++)
			check_names(c->roothash[i].name, i == j ? "" : c->roothash[j].name);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	static struct conf c;
	char line[CONF_LINE_MAX + 100];
	char why[256];

	conf_init(&c);
	while (size > 0) {
		const unsigned char *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;
		size_t kept = len < sizeof(line) ? len : sizeof(line) - 1;

		memcpy(line, data, kept);
		line[kept] = '\0';
		if (!conf_line(&c, "F:1", line, why, sizeof(why)) && strncmp(why, "F:1: ", 5) != 0)
			abort();
		check_promises(&c);
		if (len == 0) /* what follows is the command line's */
			c.roothashes_filed = c.roothashes;
		data += len + (end != NULL);
		size -= len + (end != NULL);
	}
	conf_check(&c, why, sizeof(why));
	return 0;
}
