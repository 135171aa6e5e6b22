/* lookup.h - a look-up whose result is a text, with files that the test writes in place of the
 * system's. Include it behind the sources and check.h. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/dns-test-XXXXXX";

static void make_folder(void)
{
	if (!mkdtemp(folder))
		exit(99);
}

static void remove_folder(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	if (system(command) != 0)
		exit(99);
}

static const char *put_file(const char *name, const char *text)
{
	static char paths[3][100];
	static int n;
	char *path = paths[n++ % 3];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		exit(99);
	close(fd);
	return path;
}

static void reset(const char *hosts_text, const char *resolv_text, const char *pnp_text)
{
	memset(names, 0, sizeof(names));
	memset(&from_pnp, 0, sizeof(from_pnp));
	if (pnp_fd >= 0)
		close(pnp_fd);
	pnp_fd = -1;
	hosts_path = put_file("hosts", hosts_text);
	resolv_path = put_file("resolv.conf", resolv_text);
	pnp_path = put_file("pnp", pnp_text);
	dns_init();
}

static const char *text_of(const union address *a)
{
	static char out[8][80];
	static int n;
	char *t = out[n++ % 8];
	char address[64];

	if (a->any.sa_family == AF_INET)
		snprintf(t, 80, "%s:%u",
			inet_ntop(AF_INET, &a->in4.sin_addr, address, sizeof(address)),
			ntohs(a->in4.sin_port));
	else
		snprintf(t, 80, "[%s]:%u",
			inet_ntop(AF_INET6, &a->in6.sin6_addr, address, sizeof(address)),
			ntohs(a->in6.sin6_port));
	return t;
}

/* The result as text: addresses parted by blanks, or the failure's name. */
static const char *lookup(const char *host, uint16_t port, int64_t now)
{
	static const char *const words[] = {"?", "wait", "no such name", "no server answered",
		"SERVFAIL", "REFUSED", "unusable"};
	static char out[1000];
	union address addresses[DNS_ADDRESSES_MAX];
	size_t count = 99;
	enum dns_result r = dns_lookup(host, port, now, addresses, &count);

	if (r != DNS_FOUND)
		return words[r];
	CHECK(count >= 1 && count <= DNS_ADDRESSES_MAX);
	out[0] = '\0';
	for (size_t i = 0; i < count; i++)
		sprintf(out + strlen(out), "%s%s", i ? " " : "", text_of(&addresses[i]));
	return out;
}

#define CHECK_LOOKUP(host, port, now, want)                                                        \
	do {                                                                                       \
		const char *is = lookup(host, port, now);                                          \
		CHECK(!strcmp(is, want), "%s: %s, not %s", host, is, want);                        \
	} while (0)
