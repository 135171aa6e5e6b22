/* Unit tests of net/dns_packet.c: what a message says, and that a malformed one says nothing. */
#include "net/dns_packet.c"

#include "test/unit/check.h"
#include "test/unit/net/made.h"

static void add_header(struct made *m, unsigned id, unsigned flags, unsigned answers)
{
	m->len = 0;
	add16(m, id);
	add16(m, flags);
	add16(m, 1);
	add16(m, answers);
	add16(m, 0);
	add16(m, 0);
}

static void add_question(struct made *m, const char *name, unsigned type)
{
	add_name(m, name);
	add16(m, type);
	add16(m, CLASS_IN);
}

/* An answer to query_for("img.example", TYPE_A). */
static void begin_answer(struct made *m, unsigned answers)
{
	add_header(m, 0x1234, ANSWERED, answers);
	add_question(m, "img.example", TYPE_A);
}

static void add_alias(struct made *m, const char *owner, const char *target, unsigned ttl)
{
	struct wire w;

	dns_write_name(&w, target);
	add_record_head(m, owner, TYPE_CNAME, CLASS_IN, ttl);
	add_data(m, w.bytes, w.len);
}

static struct query query_for(const char *name, unsigned type)
{
	struct query q = {.id = 0x1234, .type = (uint16_t)type};

	dns_write_name(&q.name, name);
	return q;
}

/* From an allocation of the exact size, so that a read behind it is caught. */
static enum answer judge(
	struct found *out, const struct query *q, const unsigned char *bytes, size_t len)
{
	unsigned char *copy = malloc(len ? len : 1);

	memcpy(copy, bytes, len);
	enum answer a = dns_read_answer(out, q, &(struct dns_message){copy, len});
	free(copy);
	return a;
}

static enum answer judge_made(struct found *out, const struct query *q, const struct made *m)
{
	return judge(out, q, m->bytes, m->len);
}

/* The same message, but for one byte. */
static enum answer judge_changed(
	const struct query *q, const struct made *good, size_t at, unsigned char value)
{
	struct made m = *good;
	struct found out;

	m.bytes[at] = value;
	return judge_made(&out, q, &m);
}

static void check_truncations(const struct query *q, const struct made *m)
{
	struct found out;

	for (size_t len = 0; len < m->len; len++) {
		enum answer a = judge(&out, q, m->bytes, len);

		CHECK(a == ANSWER_FAILED || a == ANSWER_FOREIGN, "%zu of %zu: %d", len, m->len, a);
	}
}

static void test_query(void)
{
	static const unsigned char want[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\7example\0\0\1\0\1";
	struct query q = query_for("A.Example", TYPE_A);
	unsigned char out[DNS_QUERY_MAX];
	struct wire w;
	char label[65];

	begin_test("dns_packet: the query's bytes");
	CHECK(dns_write_query(out, &q) == sizeof(want) - 1);
	CHECK(!memcmp(out, want, sizeof(want) - 1));

	begin_test("dns_packet: names that do not fit RFC 1035 are refused");
	memset(label, 'a', sizeof(label));
	label[64] = '\0';
	CHECK(!dns_write_name(&w, label));
	CHECK(dns_write_name(&w, label + 1));
	CHECK(!dns_write_name(&w, ""));
	CHECK(!dns_write_name(&w, "."));
	CHECK(!dns_write_name(&w, "a..b"));
	CHECK(!dns_write_name(&w, ".a"));
	char name[300] = "";
	for (int i = 0; i < 126; i++)
		strcat(name, "a.");
	strcat(name, "a"); /* 253 bytes */
	CHECK(dns_write_name(&w, name) && w.len == 255);
	strcat(name, "a");
	CHECK(!dns_write_name(&w, name));
}

static void test_found(void)
{
	struct query q = query_for("img.example", TYPE_A);
	struct found out;
	struct made m;

	begin_test("dns_packet: addresses are found, whatever the letters' case; the least TTL "
		   "counts");
	begin_answer(&m, 2);
	m.bytes[DNS_HEADER_SIZE + 1] = 'I';
	add_address(&m, NULL, "192.0.2.1", 300);
	add_address(&m, "IMG.example", "192.0.2.2", 20);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FOUND);
	CHECK(out.count == 2 && out.ttl == 20);
	CHECK(!memcmp(out.bytes[1], "\xc0\0\2\2", 4));
	check_truncations(&q, &m);

	begin_test("dns_packet: AAAA");
	struct query q6 = query_for("img.example", TYPE_AAAA);
	add_header(&m, 0x1234, ANSWERED, 1);
	add_question(&m, "img.example", TYPE_AAAA);
	add_address(&m, NULL, "2001:db8::1", 60);
	CHECK(judge_made(&out, &q6, &m) == ANSWER_FOUND && out.count == 1);
	check_truncations(&q6, &m);

	begin_test("dns_packet: more addresses than kept; a TTL with its top bit set is none");
	begin_answer(&m, 30);
	for (int i = 0; i < 30; i++)
		add_address(&m, NULL, "192.0.2.1", 0x80000001);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FOUND);
	CHECK(out.count == DNS_ADDRESSES_MAX && out.ttl == 0);
}

static void test_chain(void)
{
	struct query q = query_for("img.example", TYPE_A);
	struct found out;
	struct made m;

	begin_test(
		"dns_packet: a CNAME chain is followed in any order, addresses of others are left");
	begin_answer(&m, 4);
	add_address(&m, "c.cdn.example", "192.0.2.7", 300);
	add_alias(&m, "b.cdn.example", "c.cdn.example", 7);
	add_address(&m, "evil.example", "192.0.2.66", 300);
	add_alias(&m, NULL, "b.cdn.example", 300);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FOUND);
	CHECK(out.count == 1 && out.bytes[0][3] == 7 && out.ttl == 7);
	check_truncations(&q, &m);

	begin_test("dns_packet: a CNAME loop ends");
	begin_answer(&m, 2);
	add_alias(&m, NULL, "b.example", 7);
	add_alias(&m, "b.example", "img.example", 7);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);

	begin_test("dns_packet: a chain without an address is no address");
	begin_answer(&m, 1);
	add_alias(&m, NULL, "b.example", 7);
	CHECK(judge_made(&out, &q, &m) == ANSWER_NONE);

	begin_test("dns_packet: a label with a NUL or a dot in it is another name");
	begin_answer(&m, 2);
	m.bytes[m.len++] = 11;
	memcpy(m.bytes + m.len, "img.example", 12);
	m.len += 12;
	add16(&m, TYPE_A);
	add16(&m, CLASS_IN);
	add16(&m, 0);
	add16(&m, 9);
	add_data(&m, "\xc0\0\2\x42", 4);
	memcpy(m.bytes + m.len,
		"\3img\x0c"
		"example\0evil",
		18);
	m.len += 18 - 1;
	m.bytes[m.len++] = 0;
	add16(&m, TYPE_A);
	add16(&m, CLASS_IN);
	add16(&m, 0);
	add16(&m, 9);
	add_data(&m, "\xc0\0\2\x42", 4);
	CHECK(judge_made(&out, &q, &m) == ANSWER_NONE);
}

static void test_forged(void)
{
	struct query q = query_for("img.example", TYPE_A);
	struct found out;
	struct made good, m;

	begin_answer(&good, 1);
	add_address(&good, NULL, "192.0.2.1", 300);

	begin_test("dns_packet: another id, a query, another opcode: as if it had not come");
	CHECK(judge_changed(&q, &good, 0, 0x13) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 1, 0x35) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 2, 0x01) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 2, 0x89) == ANSWER_FOREIGN);

	begin_test("dns_packet: another question: name, type, class, count");
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 1, 'x') == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 13 + 1, TYPE_AAAA) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 13 + 3, 3) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 5, 2) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 5, 0) == ANSWER_FOREIGN);

	begin_test("dns_packet: a record of another class is left out");
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 13 + 4 + 5, 3) == ANSWER_NONE);

	begin_test("dns_packet: an address of the wrong size is malformed");
	begin_answer(&m, 1);
	add_record_head(&m, NULL, TYPE_A, CLASS_IN, 9);
	add_data(&m, "12345", 5);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);

	begin_test("dns_packet: return codes");
	CHECK(judge_changed(&q, &good, 3, 0x83) == ANSWER_NONE);
	CHECK(judge_changed(&q, &good, 3, 0x82) == ANSWER_FAILED);
	CHECK(judge_changed(&q, &good, 3, 0x85) == ANSWER_FAILED);
	CHECK(judge_changed(&q, &good, 2, 0x83) == ANSWER_TRUNCATED);
	m = good;
	m.bytes[3] = 0x85;
	m.bytes[5] = 0;
	CHECK(judge(&out, &q, m.bytes, DNS_HEADER_SIZE) == ANSWER_FAILED);

	begin_test("dns_packet: an empty answer counts from one who knows or asks others");
	begin_answer(&m, 0);
	CHECK(judge_made(&out, &q, &m) == ANSWER_NONE);
	m.bytes[3] = 0;
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);
	m.bytes[2] |= 4;
	CHECK(judge_made(&out, &q, &m) == ANSWER_NONE);
}

static void test_pointers(void)
{
	struct query q = query_for("img.example", TYPE_A);
	struct found out;
	struct made head, m;

	begin_test("dns_packet: pointers to themselves, forwards, in circles, to the end are "
		   "malformed");
	begin_answer(&head, 1);
	for (size_t to = head.len; to < head.len + 40; to++) {
		m = head;
		add16(&m, 0xc000 | (unsigned)to);
		memset(m.bytes + m.len, 0, 30);
		m.len += 14;
		CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED, "%zu", to);
	}
	m = head;
	m.bytes[m.len++] = 1;
	m.bytes[m.len++] = 'a';
	add16(&m, 0xc000 | (unsigned)head.len); /* back to the name's own begin */
	memset(m.bytes + m.len, 0, 14);
	m.len += 14;
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);

	begin_test("dns_packet: reserved label types are malformed");
	for (unsigned type = 0x40; type <= 0x80; type += 0x40) {
		m = head;
		add16(&m, type << 8);
		memset(m.bytes + m.len, 0, 80);
		m.len += 80;
		CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);
	}

	begin_test("dns_packet: a message of pointers only costs little");
	begin_answer(&m, 0xffff);
	while (m.len < sizeof(m.bytes) - 40)
		add_alias(&m, NULL, "img.example", 1);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);
}

int main(void)
{
	test_query();
	test_found();
	test_chain();
	test_forged();
	test_pointers();
	return finish_tests();
}
