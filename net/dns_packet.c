#include "net/dns_packet.h"

#include <string.h>

#define CHAIN_MAX 16 /* CNAMEs followed in one answer */

void dns_add_found(struct found *to, const void *bytes, size_t size)
{
	if (to->count < DNS_ADDRESSES_MAX)
		memcpy(to->bytes[to->count++], bytes, size);
}

/* ---- names in messages ---- */

static unsigned char lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool dns_write_name(struct wire *out, const char *name)
{
	out->len = 0;
	while (*name) {
		size_t len = strcspn(name, ".");

		if (len == 0 || len > 63 || out->len + 1 + len + 1 > DNS_WIRE_MAX)
			return false;
		out->bytes[out->len++] = (unsigned char)len;
		while (len--)
			out->bytes[out->len++] = lower((unsigned char)*name++);
		name += *name == '.';
	}
	out->bytes[out->len++] = 0;
	return out->len > 1;
}

/* Reads the name at *at and moves *at behind it. A pointer must lead to a place before the name,
 * and each further one to a place before the last, so that no chain of them is endless. */
static bool read_name(struct wire *out, const struct dns_message *m, size_t *at)
{
	size_t p = *at;
	size_t lowest = *at;
	bool jumped = false;

	for (out->len = 0; p < m->len;) {
		size_t label = m->bytes[p];

		if (label >= 0xc0) {
			if (p + 1 >= m->len)
				return false;
			if (!jumped)
				*at = p + 2;
			jumped = true;
			p = (label & 0x3f) << 8 | m->bytes[p + 1];
			if (p >= lowest)
				return false;
			lowest = p;
			continue;
		}
		if (label > 63 || label >= m->len - p || out->len + 1 + label > DNS_WIRE_MAX)
			return false;
		for (size_t i = 0; i <= label; i++)
			out->bytes[out->len++] = i ? lower(m->bytes[p + i]) : m->bytes[p];
		p += 1 + label;
		if (label == 0) {
			if (!jumped)
				*at = p;
			return true;
		}
	}
	return false;
}

static bool same_name(const struct wire *a, const struct wire *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* ---- messages ---- */

struct record {
	struct wire owner;
	unsigned type, class;
	uint32_t ttl;
	size_t data, size;
};

size_t dns_write_query(unsigned char out[DNS_QUERY_MAX], const struct query *q)
{
	unsigned char *tail = out + DNS_HEADER_SIZE + q->name.len;

	memset(out, 0, DNS_HEADER_SIZE);
	put16(out, q->id);
	out[2] = 0x01; /* recursion desired */
	put16(out + 4, 1);
	memcpy(out + DNS_HEADER_SIZE, q->name.bytes, q->name.len);
	put16(tail, q->type);
	put16(tail + 2, CLASS_IN);
	return DNS_HEADER_SIZE + q->name.len + 4;
}

static bool read_record(struct record *r, const struct dns_message *m, size_t *at)
{
	const unsigned char *p;

	if (!read_name(&r->owner, m, at) || m->len - *at < 10)
		return false;
	p = m->bytes + *at;
	r->type = get16(p);
	r->class = get16(p + 2);
	r->ttl = (uint32_t)get16(p + 4) << 16 | get16(p + 6);
	r->size = get16(p + 8);
	r->data = *at + 10;
	if (r->size > m->len - r->data)
		return false;
	if (r->ttl > INT32_MAX)
		r->ttl = 0; /* RFC 2181 section 8 */
	*at = r->data + r->size;
	return true;
}

static bool read_alias(struct wire *target, const struct dns_message *m, const struct record *r)
{
	size_t at = r->data;

	return read_name(target, m, &at) && at == r->data + r->size;
}

/* Collects the addresses of *name among the records from `at` on. If it is an alias, *aliased is
 * set, and *name becomes its target. Returns false if a record is malformed. */
static bool scan_records(struct found *out, struct wire *name, bool *aliased, unsigned type,
	const struct dns_message *m, size_t at)
{
	const size_t size = type == TYPE_A ? 4 : 16;
	struct wire target;
	struct record r;

	*aliased = false;
	for (unsigned left = get16(m->bytes + 6); left > 0; left--) {
		if (!read_record(&r, m, &at))
			return false;
		if (r.class != CLASS_IN || !same_name(&r.owner, name) ||
			(r.type != type && r.type != TYPE_CNAME))
			continue;
		if (r.type == type && r.size == size)
			dns_add_found(out, m->bytes + r.data, size);
		else if (r.type == TYPE_CNAME && read_alias(&target, m, &r))
			*aliased = true;
		else
			return false;
		if (r.ttl < out->ttl)
			out->ttl = r.ttl;
	}
	if (*aliased)
		*name = target;
	return true;
}

/* Follows the aliases, in any order of the records. */
static enum answer follow_chain(
	struct found *out, const struct query *q, const struct dns_message *m, size_t at)
{
	struct wire name = q->name;
	bool aliased;

	for (int hops = 0; hops <= CHAIN_MAX; hops++) {
		if (!scan_records(out, &name, &aliased, q->type, m, at))
			return ANSWER_FAILED;
		if (out->count)
			return ANSWER_FOUND;
		if (!aliased)
			return ANSWER_NONE;
	}
	return ANSWER_FAILED;
}

/* Whether the message repeats the query; *at is then where its records begin. */
static bool repeats(const struct query *q, const struct dns_message *m, size_t *at)
{
	struct wire name;

	*at = DNS_HEADER_SIZE;
	if (get16(m->bytes + 4) != 1 || !read_name(&name, m, at) || m->len - *at < 4)
		return false;
	*at += 4;
	return same_name(&name, &q->name) && get16(m->bytes + *at - 4) == q->type &&
	       get16(m->bytes + *at - 2) == CLASS_IN;
}

enum answer dns_read_answer(struct found *out, const struct query *q, const struct dns_message *m)
{
	const unsigned char *header = m->bytes;
	enum answer a;
	unsigned rcode;
	size_t at;

	out->count = out->rcode = 0;
	out->ttl = UINT32_MAX;
	if (m->len < DNS_HEADER_SIZE || get16(header) != q->id || (header[2] & 0xf8) != 0x80)
		return ANSWER_FOREIGN;
	rcode = out->rcode = header[3] & 0x0f;
	if (!repeats(q, m, &at)) /* some servers refuse without repeating it */
		return get16(header + 4) == 0 && rcode != RCODE_OK ? ANSWER_FAILED : ANSWER_FOREIGN;
	if (header[2] & 0x02)
		return ANSWER_TRUNCATED;
	if (rcode == RCODE_NO_NAME)
		return ANSWER_NONE;
	if (rcode != RCODE_OK)
		return ANSWER_FAILED;
	a = follow_chain(out, q, m, at);
	/* From a server that is neither an authority nor asks others, no address means nothing. */
	if (a == ANSWER_NONE && !(header[2] & 0x04) && !(header[3] & 0x80))
		return ANSWER_FAILED;
	return a;
}
