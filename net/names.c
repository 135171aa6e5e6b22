#include "net/names.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/text.h"

#define PINS_MAX  URLS_MAX
#define NDOTS_MAX 15

/* Variables, since the unit test lets them lead elsewhere. */
static const char *hosts_path = "/etc/hosts";
static const char *resolv_path = "/etc/resolv.conf";
static const char *pnp_path = "/proc/net/pnp";
static uint16_t server_port = 53;

/* ---- addresses ---- */

/* sin_port and sin6_port lie in the same place. */
static void set_address(union address *out, enum family f, const void *bytes, uint16_t port)
{
	memset(out, 0, sizeof(*out));
	out->any.sa_family = f == V4 ? AF_INET : AF_INET6;
	out->in4.sin_port = htons(port);
	if (f == V4)
		memcpy(&out->in4.sin_addr, bytes, 4);
	else
		memcpy(&out->in6.sin6_addr, bytes, 16);
}

/* Adds an IP literal to the list of its family. */
static bool add_literal(struct found found[FAMILIES], const char *text)
{
	unsigned char bytes[16];
	enum family f = inet_pton(AF_INET, text, bytes) == 1 ? V4 : V6;

	if (f == V6 && inet_pton(AF_INET6, text, bytes) != 1)
		return false;
	dns_add_found(&found[f], bytes, f == V4 ? 4 : 16);
	return true;
}

size_t names_interleave(
	union address out[DNS_ADDRESSES_MAX], const struct found found[FAMILIES], uint16_t port)
{
	size_t n = 0;

	for (size_t i = 0; i < DNS_ADDRESSES_MAX; i++) {
		if (i < found[V6].count && n < DNS_ADDRESSES_MAX)
			set_address(&out[n++], V6, found[V6].bytes[i], port);
		if (i < found[V4].count && n < DNS_ADDRESSES_MAX)
			set_address(&out[n++], V4, found[V4].bytes[i], port);
	}
	return n;
}

/* ---- files ---- */

struct resolvers from_resolv, from_pnp;
static int pnp_fd = -1;

/* Of each line of /etc/hosts the address and the names: a NUL stands behind each word, but '\n'
 * behind the last one. */
static char hosts[DNS_HOSTS_MAX];
static size_t hosts_size;

static int open_file(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* The next line, cut at a comment. */
static char *bare_line(struct lines *lines)
{
	char *line = lines_next(lines);

	if (line)
		line[strcspn(line, "#;")] = '\0';
	return line;
}

static void add_hosts_line(char *line)
{
	size_t end = hosts_size;
	char *word;

	while ((word = word_take(&line))) {
		size_t size = strlen(word) + 1;

		if (size > sizeof(hosts) - end)
			return;
		memcpy(hosts + end, word, size);
		end += size;
	}
	if (end > hosts_size)
		hosts[end - 1] = '\n';
	hosts_size = end;
}

/* An address, of IPv6's link-local ones with its interface: fe80::1%eth0. */
static bool parse_server(union address *out, char *text)
{
	struct found found[FAMILIES] = {0};
	char *zone = strchr(text, '%');
	enum family f;

	if (zone)
		*zone++ = '\0';
	if (!add_literal(found, text))
		return false;
	f = found[V4].count ? V4 : V6;
	set_address(out, f, found[f].bytes[0], server_port);
	if (zone && f == V6)
		out->in6.sin6_scope_id = if_nametoindex(zone);
	return true;
}

/* Domains that no name can have, such as systemd's ".", are passed over. */
static void parse_search(struct resolvers *r, char *line)
{
	size_t used = 0, size;
	struct wire domain;
	char *word;

	r->searches = 0;
	while (r->searches < DNS_SEARCH_MAX && (word = word_take(&line))) {
		size = strlen(word) + 1;
		if (!dns_write_name(&domain, word) || size > sizeof(r->search) - used)
			continue;
		memcpy(r->search + used, word, size);
		used += size;
		r->searches++;
	}
}

static void parse_options(struct resolvers *r, char *line)
{
	uint64_t n;

	for (char *word; (word = word_take(&line));) {
		const char *at = word + 6;

		if (!strncmp(word, "ndots:", 6) &&
			number_take(&at, at + strlen(at), UINT32_MAX, &n))
			r->ndots = (unsigned)(n < NDOTS_MAX ? n : NDOTS_MAX);
	}
}

static void parse_resolv_line(struct resolvers *r, char *line)
{
	char *word = word_take(&line);
	char *value;

	if (!word)
		return;
	if (!strcmp(word, "search") || !strcmp(word, "domain"))
		parse_search(r, line);
	else if (!strcmp(word, "options"))
		parse_options(r, line);
	else if (!strcmp(word, "nameserver") && r->count < DNS_SERVERS_MAX &&
		 (value = word_take(&line)))
		r->count += parse_server(&r->server[r->count], value);
}

/* Reads a file's servers and search domains. False, and *out stays, if it names no server. */
static bool read_resolvers(struct resolvers *out, int fd)
{
	struct lines lines = {.fd = fd};
	struct resolvers said = {.ndots = 1};
	char *line;

	while ((line = bare_line(&lines)))
		parse_resolv_line(&said, line);
	if (said.count > 0)
		*out = said;
	return said.count > 0;
}

bool names_read_pnp(void)
{
	if (pnp_fd < 0)
		pnp_fd = open_file(pnp_path);
	return read_resolvers(&from_pnp, pnp_fd);
}

/* ---- names known without a question ---- */

struct pin {
	char host[HOST_MAX];
	uint16_t port;
	char address[INET6_ADDRSTRLEN];
};

static struct pin pins[PINS_MAX];
static size_t pin_count;

static const char *parse_pin(struct pin *out, const char *line)
{
	const char *at = strchr(line, ':'), *end = line + strlen(line);
	size_t size = at ? (size_t)(at++ - line) : 0;
	struct found found[FAMILIES] = {0};
	struct wire name;
	uint64_t port;

	if (!at || !strchr(at, ':'))
		return "it is not of the form HOST:PORT:ADDRESS";
	if (size >= sizeof(out->host))
		return "the host name is too long";
	memcpy(out->host, line, size);
	out->host[size] = '\0';
	if (strpbrk(out->host, " \t/[]@") || !dns_write_name(&name, out->host))
		return "the host is not a name";
	if (!number_take(&at, end, 65535, &port) || port < 1 || *at++ != ':')
		return "the port is not a number from 1 to 65535";
	out->port = (uint16_t)port;
	if (*at == '[' && end[-1] == ']' && strchr(at, ':'))
		at++, end--;
	size = (size_t)snprintf(out->address, sizeof(out->address), "%.*s", (int)(end - at), at);
	if (size >= sizeof(out->address) || !add_literal(found, out->address))
		return "the address is neither an IPv4 nor an IPv6 address";
	return NULL;
}

const char *names_pin_check(const char *line)
{
	struct pin p;

	return parse_pin(&p, line);
}

const char *names_pin(const char *line)
{
	const char *why = pin_count == PINS_MAX ? "there are too many of them"
						: parse_pin(&pins[pin_count], line);

	pin_count += !why;
	return why;
}

/* A dot at the end of a name is for DNS only. */
static size_t length_without_dot(const char *host)
{
	size_t size = strlen(host);

	return size > 1 && host[size - 1] == '.' ? size - 1 : size;
}

static bool find_pinned(struct found found[FAMILIES], const char *host, uint16_t port)
{
	size_t size = length_without_dot(host);
	bool any = false;

	for (size_t i = 0; i < pin_count; i++)
		if (pins[i].port == port && length_without_dot(pins[i].host) == size &&
			!strncasecmp(pins[i].host, host, size))
			any |= add_literal(found, pins[i].address);
	return any;
}

/* RFC 6761 section 6.3: no server is asked about it, whatever the files say. */
static bool find_localhost(struct found found[FAMILIES], const char *host)
{
	size_t size = length_without_dot(host);
	const char *tail = size < 9 ? "" : host + size - 9;

	return !strncasecmp(tail, "localhost", 9) && (size == 9 || tail[-1] == '.') &&
	       add_literal(found, "::1") && add_literal(found, "127.0.0.1");
}

static bool find_in_hosts(struct found found[FAMILIES], const char *host)
{
	const char *address = NULL; /* of the line; empty: it has been added */
	size_t size, len = length_without_dot(host);
	bool any = false;

	for (const char *word = hosts; word < hosts + hosts_size; word += size + 1) {
		size = strcspn(word, "\n");
		if (!address) {
			address = word;
		} else if (size == len && strncasecmp(word, host, len) == 0) {
			any |= add_literal(found, address);
			address = "";
		}
		if (word[size] == '\n')
			address = NULL;
	}
	return any;
}

bool names_find(struct found found[FAMILIES], const char *host, uint16_t port)
{
	return find_pinned(found, host, port) || add_literal(found, host) ||
	       find_localhost(found, host) || find_in_hosts(found, host);
}

void names_read(void)
{
	struct lines lines = {.fd = open_file(hosts_path)};
	char *line, loopback[] = "127.0.0.1";
	int fd = open_file(resolv_path);

	if (from_pnp.count == 0)
		from_pnp.count = parse_server(&from_pnp.server[0], loopback);
	from_resolv.count = pin_count = hosts_size = 0;
	while ((line = bare_line(&lines)))
		add_hosts_line(line);
	read_resolvers(&from_resolv, fd);
	names_read_pnp();
	fd_close(&lines.fd);
	fd_close(&fd);
}
