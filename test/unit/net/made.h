/* made.h - a DNS message that is made by hand, and the records in it. Include it behind the
 * sources. */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct made {
	unsigned char bytes[3000];
	size_t len;
};

enum { ANSWERED = 0x8180 };

static void add16(struct made *m, unsigned n)
{
	put16(m->bytes + m->len, n);
	m->len += 2;
}

static void add_name(struct made *m, const char *name)
{
	struct wire w;

	if (!dns_write_name(&w, name))
		exit(99);
	memcpy(m->bytes + m->len, w.bytes, w.len);
	m->len += w.len;
}

/* NULL for the owner: a pointer to the question. */
static void add_record_head(
	struct made *m, const char *owner, unsigned type, unsigned class, unsigned ttl)
{
	if (owner)
		add_name(m, owner);
	else
		add16(m, 0xc000 | DNS_HEADER_SIZE);
	add16(m, type);
	add16(m, class);
	add16(m, ttl >> 16);
	add16(m, ttl & 0xffff);
}

static void add_data(struct made *m, const void *data, size_t len)
{
	add16(m, (unsigned)len);
	memcpy(m->bytes + m->len, data, len);
	m->len += len;
}

static void add_address(struct made *m, const char *owner, const char *text, unsigned ttl)
{
	unsigned char bytes[16];
	bool v6 = strchr(text, ':') != NULL;

	inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes);
	add_record_head(m, owner, v6 ? TYPE_AAAA : TYPE_A, CLASS_IN, ttl);
	add_data(m, bytes, v6 ? 16 : 4);
}
