#include "net/no_proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

struct entry {
	enum { ALL, DOMAIN, ADDRESS } kind;
	int family;
	unsigned char bytes[16];
	uint64_t bits;
	char text[HOST_MAX + 8]; /* DOMAIN: without a dot at either end */
};

/* Takes the next entry off the list. False: there is no more. */
static bool next_entry(const char **list, struct entry *e)
{
	size_t size = strcspn(*list += strspn(*list, ", "), ", ");

	snprintf(e->text, sizeof(e->text), "%.*s", (int)size, *list);
	*list += size;
	return size > 0;
}

static bool parse_address(struct entry *e, const char *bits)
{
	char *text = e->text, *end = strchr(text, '\0') - 1;

	if (*text == '[' && *end == ']') {
		*end = '\0';
		text++;
	}
	e->kind = ADDRESS;
	e->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	e->bits = e->family == AF_INET ? 32 : 128;
	return inet_pton(e->family, text, e->bytes) == 1 &&
	       (!bits || (number_take(&bits, strchr(bits, '\0'), e->bits, &e->bits) && !*bits));
}

static bool parse_domain(struct entry *e)
{
	char text[sizeof(e->text) + 8], *end = strchr(e->text, '\0');
	struct url url;

	if (end[-1] == '.')
		end[-1] = '\0';
	if (e->text[0] == '.')
		memmove(e->text, e->text + 1, strlen(e->text));
	e->kind = DOMAIN;
	snprintf(text, sizeof(text), "http://%s", e->text);
	return !strpbrk(e->text, ":/@?#%") && !url_parse(&url, text);
}

static bool parse(struct entry *e)
{
	char *slash = strchr(e->text, '/');

	e->kind = ALL;
	if (strcmp(e->text, "*") == 0)
		return true;
	if (slash)
		*slash++ = '\0';
	return *e->text && (parse_address(e, slash) || (!slash && parse_domain(e)));
}

static bool has_bits(const struct entry *e, const char *host)
{
	unsigned char bytes[16];
	size_t whole = e->bits / 8;
	unsigned rest = 8 - e->bits % 8;

	return inet_pton(e->family, host, bytes) == 1 && memcmp(bytes, e->bytes, whole) == 0 &&
	       (rest == 8 || bytes[whole] >> rest == e->bytes[whole] >> rest);
}

static bool is_in_domain(const char *host, const char *domain)
{
	size_t host_size = strlen(host), size = strlen(domain);
	const char *tail = host + host_size - size;

	return host_size >= size && strcasecmp(tail, domain) == 0 &&
	       (tail == host || tail[-1] == '.');
}

const char *no_proxy_check(const char *list)
{
	struct entry e;

	while (next_entry(&list, &e))
		if (!parse(&e))
			return "an entry is neither a host, a domain, an address, nor one with "
			       "/BITS; "
			       "ports, and '*' beside other letters, are not understood";
	return NULL;
}

bool no_proxy_has(const char *list, const struct url *url)
{
	struct entry e;

	while (next_entry(&list, &e))
		if (parse(&e) && (e.kind == ALL || (e.kind == ADDRESS && has_bits(&e, url->host)) ||
					 (e.kind == DOMAIN && !url->literal &&
						 is_in_domain(url->host, e.text))))
			return true;
	return false;
}
