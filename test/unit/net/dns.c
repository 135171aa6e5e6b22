/* Unit tests of net/dns.c and net/dns_packet.c: messages, files, pins, and the whole against
 * servers on loopback. */
#include "base/fd.c"
#include "base/text.c"
#include "net/connect.c"
#include "net/dns.c"
#include "net/dns_packet.c"
#include "net/names.c"

#include <stdlib.h>

#include "test/unit/check.h"

/* ---- messages made here ---- */

struct made {
	unsigned char bytes[3000];
	size_t len;
};

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

enum { ANSWERED = 0x8180 };

/* An answer to query_for("img.example", TYPE_A). */
static void begin_answer(struct made *m, unsigned answers)
{
	add_header(m, 0x1234, ANSWERED, answers);
	add_question(m, "img.example", TYPE_A);
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

	begin_test("dns: the query's bytes");
	CHECK(dns_write_query(out, &q) == sizeof(want) - 1);
	CHECK(!memcmp(out, want, sizeof(want) - 1));

	begin_test("dns: names that do not fit RFC 1035 are refused");
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

	begin_test("dns: addresses are found, whatever the letters' case; the least TTL counts");
	begin_answer(&m, 2);
	m.bytes[DNS_HEADER_SIZE + 1] = 'I';
	add_address(&m, NULL, "192.0.2.1", 300);
	add_address(&m, "IMG.example", "192.0.2.2", 20);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FOUND);
	CHECK(out.count == 2 && out.ttl == 20);
	CHECK(!memcmp(out.bytes[1], "\xc0\0\2\2", 4));
	check_truncations(&q, &m);

	begin_test("dns: AAAA");
	struct query q6 = query_for("img.example", TYPE_AAAA);
	add_header(&m, 0x1234, ANSWERED, 1);
	add_question(&m, "img.example", TYPE_AAAA);
	add_address(&m, NULL, "2001:db8::1", 60);
	CHECK(judge_made(&out, &q6, &m) == ANSWER_FOUND && out.count == 1);
	check_truncations(&q6, &m);

	begin_test("dns: more addresses than kept; a TTL with its top bit set is none");
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

	begin_test("dns: a CNAME chain is followed in any order, addresses of others are left");
	begin_answer(&m, 4);
	add_address(&m, "c.cdn.example", "192.0.2.7", 300);
	add_alias(&m, "b.cdn.example", "c.cdn.example", 7);
	add_address(&m, "evil.example", "192.0.2.66", 300);
	add_alias(&m, NULL, "b.cdn.example", 300);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FOUND);
	CHECK(out.count == 1 && out.bytes[0][3] == 7 && out.ttl == 7);
	check_truncations(&q, &m);

	begin_test("dns: a CNAME loop ends");
	begin_answer(&m, 2);
	add_alias(&m, NULL, "b.example", 7);
	add_alias(&m, "b.example", "img.example", 7);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);

	begin_test("dns: a chain without an address is no address");
	begin_answer(&m, 1);
	add_alias(&m, NULL, "b.example", 7);
	CHECK(judge_made(&out, &q, &m) == ANSWER_NONE);

	begin_test("dns: a label with a NUL or a dot in it is another name");
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

	begin_test("dns: another id, a query, another opcode: as if it had not come");
	CHECK(judge_changed(&q, &good, 0, 0x13) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 1, 0x35) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 2, 0x01) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 2, 0x89) == ANSWER_FOREIGN);

	begin_test("dns: another question: name, type, class, count");
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 1, 'x') == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 13 + 1, TYPE_AAAA) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 13 + 3, 3) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 5, 2) == ANSWER_FOREIGN);
	CHECK(judge_changed(&q, &good, 5, 0) == ANSWER_FOREIGN);

	begin_test("dns: a record of another class is left out");
	CHECK(judge_changed(&q, &good, DNS_HEADER_SIZE + 13 + 4 + 5, 3) == ANSWER_NONE);

	begin_test("dns: an address of the wrong size is malformed");
	begin_answer(&m, 1);
	add_record_head(&m, NULL, TYPE_A, CLASS_IN, 9);
	add_data(&m, "12345", 5);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);

	begin_test("dns: return codes");
	CHECK(judge_changed(&q, &good, 3, 0x83) == ANSWER_NONE);
	CHECK(judge_changed(&q, &good, 3, 0x82) == ANSWER_FAILED);
	CHECK(judge_changed(&q, &good, 3, 0x85) == ANSWER_FAILED);
	CHECK(judge_changed(&q, &good, 2, 0x83) == ANSWER_TRUNCATED);
	m = good;
	m.bytes[3] = 0x85;
	m.bytes[5] = 0;
	CHECK(judge(&out, &q, m.bytes, DNS_HEADER_SIZE) == ANSWER_FAILED);

	begin_test("dns: an empty answer counts from one who knows or asks others");
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

	begin_test("dns: pointers to themselves, forwards, in circles, to the end are malformed");
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

	begin_test("dns: reserved label types are malformed");
	for (unsigned type = 0x40; type <= 0x80; type += 0x40) {
		m = head;
		add16(&m, type << 8);
		memset(m.bytes + m.len, 0, 80);
		m.len += 80;
		CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);
	}

	begin_test("dns: a message of pointers only costs little");
	begin_answer(&m, 0xffff);
	while (m.len < sizeof(m.bytes) - 40)
		add_alias(&m, NULL, "img.example", 1);
	CHECK(judge_made(&out, &q, &m) == ANSWER_FAILED);
}

/* ---- files ---- */

static char folder[] = "/tmp/dns-test-XXXXXX";

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

static void test_files(void)
{
	begin_test("dns: resolv.conf");
	reset("",
		"# c\nnameserver 192.0.2.1 # x\n\tnameserver\t2001:db8::1\r\nnameserver nonsense\n"
		"search a.example b.example\noptions rotate ndots:5\nnameserver\nnameserver "
		"192.0.2.3\n"
		"nameserver 192.0.2.4\nnameserver 192.0.2.5",
		"");
	CHECK(from_resolv.count == 4, "%zu", from_resolv.count);
	CHECK(!strcmp(text_of(&from_resolv.server[0]), "192.0.2.1:53"));
	CHECK(!strcmp(text_of(&from_resolv.server[1]), "[2001:db8::1]:53"));
	CHECK(!strcmp(text_of(&from_resolv.server[3]), "192.0.2.4:53"));
	CHECK(from_resolv.searches == 2 && from_resolv.ndots == 5 &&
		!memcmp(from_resolv.search, "a.example\0b.example", 20));

	begin_test(
		"dns: search and domain: the last line, six domains, none that no name can have");
	reset("", "nameserver 192.0.2.1\nsearch . a b..c d e f g h i\noptions ndots:99 ndots:x\n",
		"");
	CHECK(from_resolv.searches == 6 && !memcmp(from_resolv.search, "a\0d\0e\0f\0g\0h", 12));
	CHECK(from_resolv.ndots == 15);
	reset("", "nameserver 192.0.2.1\nsearch a b\ndomain c\noptions ndots:0\n", "");
	CHECK(from_resolv.searches == 1 && !strcmp(from_resolv.search, "c"));
	CHECK(from_resolv.ndots == 0);
	reset("", "nameserver 192.0.2.1\nsearch a b\nsearch .\n", "");
	CHECK(from_resolv.searches == 0 && from_resolv.ndots == 1);

	begin_test("dns: a link-local server's interface; a last line without newline; bad search");
	reset("", "search a..b\nnameserver fe80::1%lo", "");
	CHECK(from_resolv.count == 1 &&
		from_resolv.server[0].in6.sin6_scope_id == if_nametoindex("lo"));
	CHECK(from_resolv.searches == 0);

	begin_test("dns: the kernel's pnp");
	reset("", "", "#PROTO: DHCP\ndomain x.example\nnameserver 10.0.2.3\nbootserver 10.0.2.2\n");
	CHECK(from_resolv.count == 0 && from_pnp.count == 1 &&
		!strcmp(from_pnp.search, "x.example"));

	begin_test("dns: hosts");
	reset("127.0.0.1 localhost\n# 1.2.3.4 commented\n192.0.2.1\timg.example  IMG # other\n"
	      "2001:db8::5 img.example\n192.0.2.2 img.example\nnonsense bad.example\n192.0.2.9\n"
	      "fe80::1%lo zoned\n192.0.2.3 last",
		"", "");
	CHECK_LOOKUP("img.example", 80, 0, "[2001:db8::5]:80 192.0.2.1:80 192.0.2.2:80");
	CHECK_LOOKUP("img", 443, 0, "192.0.2.1:443");
	CHECK_LOOKUP("last", 1, 0, "192.0.2.3:1");
	CHECK(!memcmp(hosts + hosts_size - 15, "192.0.2.3\0last\n", 15));
	struct found found[FAMILIES] = {0};
	CHECK(!find_in_hosts(found, "commented") && !find_in_hosts(found, "other") &&
		!find_in_hosts(found, "im") && !find_in_hosts(found, "img.exampl") &&
		!find_in_hosts(found, "bad.example") && !find_in_hosts(found, "zoned"));

	begin_test("dns: a hosts file larger than what is kept, and a very long line");
	static char big[20000];
	memset(big, 'x', 3000);
	strcpy(big + 3000, "\n");
	for (int i = 0; i < 500; i++)
		sprintf(big + strlen(big), "192.0.2.1 host%d\n", i);
	reset(big, "", "");
	CHECK_LOOKUP("host0", 1, 0, "192.0.2.1:1");
	CHECK_LOOKUP("host200", 1, 0, "192.0.2.1:1");
	CHECK(hosts_size <= sizeof(hosts) && hosts[hosts_size - 1] == '\n');
	CHECK(!find_in_hosts(found, "host499"));
}

static void test_without_question(void)
{
	begin_test("dns: literals and localhost, whatever hosts says");
	reset("192.0.2.66 localhost www.localhost 192.0.2.7\n", "nameserver 127.0.0.9\n", "");
	CHECK_LOOKUP("192.0.2.7", 80, 0, "192.0.2.7:80");
	CHECK_LOOKUP("2001:db8::7", 80, 0, "[2001:db8::7]:80");
	CHECK_LOOKUP("localhost", 80, 0, "[::1]:80 127.0.0.1:80");
	CHECK_LOOKUP("www.LocalHost", 80, 0, "[::1]:80 127.0.0.1:80");
	CHECK_LOOKUP("", 80, 0, "no such name");
	CHECK_LOOKUP("a..b", 80, 0, "no such name");
	CHECK(dns_next() == INT64_MAX);
}

static void test_pins(void)
{
	static const char *const bad[] = {"", "a", "a:80", ":80:1.2.3.4", "a:0:1.2.3.4",
		"a:65536:1.2.3.4", "a:+80:1.2.3.4", "a: 80:1.2.3.4", "a:80:", "a:80:b",
		"a:80:1.2.3", "a:80:1.2.3.4 ", "a:80:[1.2.3.4]", "a:80:[::1", "a b:80:1.2.3.4",
		"a..b:80:1.2.3.4", "a:8080808080808080808080:1.2.3.4", "a:80x:1.2.3.4",
		"a:80:[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:]"};

	begin_test("dns: malformed pins are refused with a reason");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK(names_pin(bad[i]), "%s", bad[i]);
		CHECK(names_pin_check(bad[i]), "%s", bad[i]);
	}
	CHECK(pin_count == 0);

	begin_test("dns: pins answer for their host and port only, and add up");
	reset("192.0.2.1 img.example\n", "", "");
	CHECK(!names_pin("IMG.example:443:192.0.2.9"));
	CHECK(!names_pin("img.example:443:[2001:db8::9]"));
	CHECK(!names_pin("img.example:8443:2001:db8::8"));
	CHECK_LOOKUP("img.example", 443, 0, "[2001:db8::9]:443 192.0.2.9:443");
	CHECK_LOOKUP("img.example", 8443, 0, "[2001:db8::8]:8443");
	CHECK_LOOKUP("img.example", 80, 0, "192.0.2.1:80");

	begin_test("dns: a dot at the end does not matter for pins and files");
	CHECK(!names_pin("dot.example.:443:192.0.2.8"));
	CHECK_LOOKUP("img.example.", 443, 0, "[2001:db8::9]:443 192.0.2.9:443");
	CHECK_LOOKUP("dot.example", 443, 0, "192.0.2.8:443");
	CHECK_LOOKUP("dot.example.", 443, 0, "192.0.2.8:443");
	CHECK_LOOKUP("img.example.", 80, 0, "192.0.2.1:80");
	CHECK_LOOKUP("a.localhost.", 80, 0, "[::1]:80 127.0.0.1:80");

	begin_test("dns: a full table of pins says so");
	while (pin_count < PINS_MAX)
		CHECK(!names_pin("x:1:1.2.3.4"));
	CHECK(names_pin("x:1:1.2.3.4"));
	CHECK(!names_pin_check("x:1:1.2.3.4"));
	pin_count = 0;
}

/* ---- live, against servers on loopback ---- */

enum mode {
	SILENT,
	GOOD,
	TRUNCATES,
	NO_NAME,
	SERVER_FAILS,
	REFUSES,
	LAME, /* no error, no address, no recursion */
	FORGES,
	ONLY_V4,
	BARE_ONLY,
	ONLY_IN_C, /* names of three labels whose second is "c" */
	FAILS_IN_A /* the same for "a", and no other name is there but those of ONLY_IN_C */
};

static struct fake {
	int udp, listener, tcp;
	enum mode mode;
	unsigned ttl;
	int asked, asked_tcp;
} fakes[2];

static void listen_at(struct fake *f, bool on)
{
	struct sockaddr_in a;
	socklen_t size = sizeof(a);
	const int one = 1;

	close(f->listener);
	f->listener = on ? socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
	setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	getsockname(f->udp, (struct sockaddr *)&a, &size);
	if (on &&
		(bind(f->listener, (struct sockaddr *)&a, size) < 0 || listen(f->listener, 5) < 0))
		exit(99);
}

static void start_fakes(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t size = sizeof(a);

	for (unsigned i = 0; i < 2; i++) {
		struct fake *f = &fakes[i];

		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i);
		f->tcp = f->listener = -1;
		f->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (bind(f->udp, (struct sockaddr *)&a, sizeof(a)) < 0)
			exit(99);
		getsockname(f->udp, (struct sockaddr *)&a, &size);
		listen_at(f, true);
	}
	server_port = ntohs(a.sin_port);
}

static bool held; /* the fakes read nothing: what comes waits for them */

/* Writes the answer that the fake gives to a query; returns false for none. */
static bool answer_query(
	const struct fake *f, const unsigned char *query, size_t len, bool tcp, struct made *m)
{
	const bool v6 = query[len - 3] == TYPE_AAAA;
	const bool bare = query[DNS_HEADER_SIZE + 1 + query[DNS_HEADER_SIZE]] == 0;
	const unsigned char *second = query + DNS_HEADER_SIZE + 1 + query[DNS_HEADER_SIZE];
	const bool in_c = second[0] == 1 && second[1] == 'c';
	enum mode mode = f->mode;

	if (mode == SILENT)
		return false;
	memcpy(m->bytes, query, len);
	m->len = len;
	put16(m->bytes + 2, ANSWERED);
	if (mode == SERVER_FAILS || (mode == FAILS_IN_A && second[0] == 1 && second[1] == 'a')) {
		m->bytes[3] |= RCODE_FAILED;
	} else if (mode == NO_NAME || (mode == BARE_ONLY && !bare) ||
		   ((mode == ONLY_IN_C || mode == FAILS_IN_A) && !in_c)) {
		m->bytes[3] |= RCODE_NO_NAME;
	} else if (mode == REFUSES) {
		m->bytes[3] |= RCODE_REFUSED;
	} else if (mode == LAME) {
		m->bytes[3] &= 0x7f;
	} else if (mode == TRUNCATES && !tcp) {
		m->bytes[2] |= 2;
	} else if (mode == ONLY_V4 && v6) {
		return false;
	} else {
		put16(m->bytes + 6, 1);
		add_address(m, NULL,
			v6    ? "2001:db8::1"
			: tcp ? "192.0.2.200"
			      : "192.0.2.1",
			f->ttl);
		if (mode == FORGES)
			m->bytes[1] ^= 1;
	}
	return true;
}

static void serve_udp(struct fake *f)
{
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	unsigned char query[600];
	struct made m;
	ssize_t got;

	while ((got = recvfrom(f->udp, query, sizeof(query), 0, (struct sockaddr *)&from, &size)) >
		0) {
		f->asked++;
		if (answer_query(f, query, (size_t)got, false, &m))
			sendto(f->udp, m.bytes, m.len, 0, (struct sockaddr *)&from, size);
		if (f->mode == FORGES) { /* the right answer, from a wrong place */
			m.bytes[1] ^= 1;
			int other = socket(AF_INET, SOCK_DGRAM, 0);
			sendto(other, m.bytes, m.len, 0, (struct sockaddr *)&from, size);
			close(other);
		}
	}
}

static void serve_tcp(struct fake *f)
{
	unsigned char in[1200];
	struct made m;
	ssize_t got;

	if (f->tcp < 0)
		f->tcp = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK);
	if (f->tcp < 0)
		return;
	got = read(f->tcp, in, sizeof(in));
	if (got == 0) {
		close(f->tcp);
		f->tcp = -1;
	}
	for (ssize_t at = 0; at + 2 < got; at += 2 + (ssize_t)get16(in + at)) {
		unsigned char length[2];

		f->asked_tcp++;
		if (!answer_query(f, in + at + 2, get16(in + at), true, &m))
			continue;
		put16(length, (unsigned)m.len);
		/* In pieces, as a network may bring them. */
		if (write(f->tcp, length, 1) != 1)
			exit(99);
		usleep(2000);
		dns_run(0);
		if (write(f->tcp, length + 1, 1) != 1 || write(f->tcp, m.bytes, 5) != 5)
			exit(99);
		usleep(2000);
		dns_run(0);
		if (write(f->tcp, m.bytes + 5, m.len - 5) != (ssize_t)m.len - 5)
			exit(99);
	}
}

/* Lets the servers and dns.c work at one artificial time until nothing more happens. */
static void settle(int64_t now)
{
	struct pollfd p[DNS_POLL_MAX + 6];

	for (int turns = 0; turns < 200; turns++) {
		size_t n = dns_poll(p);

		CHECK(n <= DNS_POLL_MAX);
		for (int i = 0; i < 2; i++) {
			p[n++] = (struct pollfd){.fd = fakes[i].udp, .events = POLLIN};
			p[n++] = (struct pollfd){.fd = fakes[i].listener, .events = POLLIN};
			p[n++] = (struct pollfd){.fd = fakes[i].tcp, .events = POLLIN};
		}
		if (held)
			n -= 6;
		if (poll(p, n, 30) == 0)
			return;
		for (int i = 0; i < 2 && !held; i++) {
			serve_udp(&fakes[i]);
			serve_tcp(&fakes[i]);
		}
		dns_run(now);
	}
	CHECK(false, "the loop spins");
}

/* Runs the times that dns_next() names up to `until`. */
static void pass_time(int64_t until)
{
	int guard = 0;

	while (dns_next() <= until && guard++ < 100) {
		int64_t now = dns_next();

		dns_run(now);
		settle(now);
	}
	CHECK(guard < 100);
}

static void modes(enum mode first, enum mode second, unsigned ttl)
{
	for (int i = 0; i < 2; i++) {
		fakes[i].mode = i ? second : first;
		fakes[i].asked = fakes[i].asked_tcp = 0;
		fakes[i].ttl = ttl;
	}
}

struct step {
	enum {
		STOP,
		LOOK,
		SETTLE,
		PASS,
		NEXT,
		ASKED,
		ASKED_TCP,
		MODES,
		TTL,
		ANSWER,
		LISTEN,
		HOLD
	} does;
	int64_t at;
	const char *result; /* of a look-up behind it; NULL: none */
	const char *host;   /* in place of the case's */
	int first, second;  /* of the two fakes: how often they were asked, or their new modes */
};

#define LOOK(time, ...)                                                                            \
	{                                                                                          \
		LOOK, .at = time, __VA_ARGS__                                                      \
	}
#define SETTLE(time, ...)                                                                          \
	{                                                                                          \
		SETTLE, .at = time, __VA_ARGS__                                                    \
	}
#define PASS(time, ...)                                                                            \
	{                                                                                          \
		PASS, .at = time, __VA_ARGS__                                                      \
	}
#define NEXT(time)                                                                                 \
	{                                                                                          \
		NEXT, .at = time                                                                   \
	}
#define TTL(seconds)                                                                               \
	{                                                                                          \
		TTL, .at = seconds                                                                 \
	}
#define LISTEN(on)                                                                                 \
	{                                                                                          \
		LISTEN, .at = on                                                                   \
	}
#define HOLD(on)                                                                                   \
	{                                                                                          \
		HOLD, .at = on                                                                     \
	}
#define TWO(what, a, b)                                                                            \
	{                                                                                          \
		what, .first = a, .second = b                                                      \
	}

#define SERVERS "nameserver 127.0.0.1\nnameserver 127.0.0.2\n"
#define BOTH	"[2001:db8::1]:80 192.0.2.1:80"
#define BY_TCP	"[2001:db8::1]:80 192.0.2.200:80"
#define SILENCE "no server answered"

/* Each begins with a look-up at 0 that has to wait. */
static const struct live {
	const char *name, *resolv, *pnp;
	enum mode modes[2];
	unsigned ttl;
	const char *host;
	struct step steps[24];
} lives[] = {
	{"dns: asked and found, both families, then from memory for the time to live", SERVERS, "",
		{GOOD, SILENT}, 60, "a.example",
		{NEXT(1000), SETTLE(0, BOTH), LOOK(59999, BOTH, "A.EXAMPLE"), TWO(ASKED, 2, 0),
			NEXT(INT64_MAX), LOOK(60000, "wait"), SETTLE(60000, BOTH),
			TWO(ASKED, 4, 0)}},
	{"dns: a TTL of 0 holds 5 seconds, a huge one an hour", SERVERS, "", {GOOD, SILENT}, 0,
		"a.example",
		{SETTLE(0), LOOK(4999, BOTH), LOOK(5000, "wait"), TTL(0x7fffffff), SETTLE(5000),
			LOOK(3604999, BOTH), LOOK(3605000, "wait"), SETTLE(3605000)}},
	{"dns: the first server is silent, the second answers", SERVERS, "", {SILENT, GOOD}, 60,
		"b.example",
		{SETTLE(0), SETTLE(999), TWO(ASKED, 2, 0), PASS(1000, BOTH), TWO(ASKED, 2, 2)}},
	{"dns: the first server fails, the second is asked at once", SERVERS, "",
		{SERVER_FAILS, GOOD}, 60, "b.example", {SETTLE(0, BOTH)}},
	{"dns: nobody listens at the first server, the second is asked at once",
		"nameserver 127.0.0.3\nnameserver 127.0.0.2\n", "", {SILENT, GOOD}, 60, "b.example",
		{SETTLE(0, BOTH)}},
	{"dns: only failing servers are asked three times each, then left alone a while", SERVERS,
		"", {SERVER_FAILS, SERVER_FAILS}, 60, "b.example",
		{SETTLE(0, "wait"), PASS(2999, "wait"), PASS(3000, "SERVFAIL"), TWO(ASKED, 6, 6),
			LOOK(5999, "SERVFAIL"), LOOK(6000, "wait"), SETTLE(6000)}},
	{"dns: what came is told: a refusal, an answer of no use", SERVERS, "", {REFUSES, REFUSES},
		60, "b.example",
		{SETTLE(0), PASS(3000, "REFUSED"), TWO(MODES, LAME, LAME), LOOK(6000, "wait"),
			SETTLE(6000), PASS(9000, "unusable")}},
	{"dns: one server fails, the other is silent: what came is told, and the other asked on",
		SERVERS, "", {SERVER_FAILS, SILENT}, 60, "b.example",
		{SETTLE(0), PASS(3000, "SERVFAIL"), TWO(MODES, SERVER_FAILS, GOOD),
			PASS(4000, BOTH)}},
	{"dns: one server fails, the other has no such name: that counts", SERVERS, "",
		{SERVER_FAILS, NO_NAME}, 60, "b.example", {SETTLE(0, "no such name")}},
	{"dns: nothing answers at all, is told, and asked on for a while", SERVERS, "",
		{SILENT, SILENT}, 60, "b.example",
		{PASS(5999, "wait"), PASS(6000, SILENCE), NEXT(7000), PASS(17999, SILENCE),
			PASS(18000), NEXT(INT64_MAX), LOOK(18000, "wait")}},
	{"dns: an answer that comes after all rounds counts", "nameserver 127.0.0.1\n", "",
		{SILENT, SILENT}, 60, "late.example",
		{HOLD(true), PASS(3000, SILENCE), TWO(MODES, GOOD, SILENT), HOLD(false),
			SETTLE(3500, BOTH), NEXT(INT64_MAX)}},
	{"dns: so does one that comes late over TCP", "nameserver 127.0.0.1\n", "",
		{TRUNCATES, SILENT}, 60, "late.example",
		{{.does = ANSWER}, HOLD(true), PASS(5000, SILENCE), HOLD(false),
			SETTLE(5500, BY_TCP), NEXT(INT64_MAX)}},
	{"dns: a late question gives way to another name's", "nameserver 127.0.0.1\n", "",
		{SILENT, SILENT}, 60, "late.example",
		{LOOK(0, "wait", "other.example"), PASS(3000, SILENCE), TWO(MODES, GOOD, SILENT),
			LOOK(3000, "wait", "third.example"), SETTLE(3000, BOTH, "third.example")}},
	{"dns: a truncated answer is had over TCP", SERVERS, "", {TRUNCATES, SILENT}, 60,
		"t.example", {SETTLE(0, BY_TCP), TWO(ASKED, 2, 0), TWO(ASKED_TCP, 2, 0)}},
	{"dns: TCP refused: the next server is asked", SERVERS, "", {TRUNCATES, GOOD}, 60,
		"t.example", {LISTEN(false), SETTLE(0, BOTH), LISTEN(true)}},
	{"dns: TCP silent: the next server after three seconds", SERVERS, "", {TRUNCATES, GOOD}, 60,
		"t.example",
		{{.does = ANSWER}, TWO(MODES, SILENT, GOOD), SETTLE(0), NEXT(TCP_WAIT),
			PASS(TCP_WAIT, BOTH)}},
	{"dns: TCP silent: the next server may be asked over TCP, too", SERVERS, "",
		{TRUNCATES, TRUNCATES}, 60, "t.example",
		{{.does = ANSWER}, TWO(MODES, SILENT, TRUNCATES), PASS(TCP_WAIT, BY_TCP),
			TWO(ASKED_TCP, 2, 2)}},
	{"dns: no such name, remembered for ten seconds", SERVERS, "", {NO_NAME, SILENT}, 60,
		"n.example",
		{SETTLE(0), LOOK(9999, "no such name"), TWO(ASKED, 2, 0), LOOK(10000, "wait"),
			TWO(MODES, GOOD, SILENT), SETTLE(10000, BOTH)}},
	{"dns: forged answers (wrong id, or from elsewhere) are as if not come", SERVERS, "",
		{FORGES, GOOD}, 60, "f.example", {SETTLE(0, "wait"), PASS(1000, BOTH)}},
	{"dns: one family is waited for a moment only, and then asked for again soon", SERVERS, "",
		{ONLY_V4, SILENT}, 600, "o.example",
		{SETTLE(0, "wait"), NEXT(FAMILY_WAIT), PASS(FAMILY_WAIT, "192.0.2.1:80"),
			LOOK(FAMILY_WAIT + TTL_LEAST, "wait"), SETTLE(FAMILY_WAIT + TTL_LEAST)}},
	{"dns: a name without a dot: first with the search domain, then bare",
		"search s.example\nnameserver 127.0.0.1\n", "", {GOOD, SILENT}, 60, "short",
		{SETTLE(0, BOTH), TWO(ASKED, 2, 0), TWO(MODES, BARE_ONLY, SILENT),
			LOOK(0, "wait", "other"), SETTLE(0, BOTH, "other"), TWO(ASKED, 4, 0)}},
	{"dns: each search domain in turn", "search a b c\nnameserver 127.0.0.1\n", "",
		{ONLY_IN_C, SILENT}, 60, "short", {SETTLE(0, BOTH), TWO(ASKED, 6, 0)}},
	{"dns: a domain's SERVFAIL does not end the search, nor is it there in the end",
		"search a b c\nnameserver 127.0.0.1\n", "", {FAILS_IN_A, SILENT}, 60, "short",
		{SETTLE(0, BOTH), TWO(ASKED, 6, 0)}},
	{"dns: where the rest has no such name, a SERVFAIL is told",
		"search a b\nnameserver 127.0.0.1\n", "", {FAILS_IN_A, SILENT}, 60, "short",
		{SETTLE(0, "SERVFAIL"), TWO(ASKED, 6, 0)}},
	{"dns: a name with a dot is asked for bare, then with the domains",
		"search b c\nnameserver 127.0.0.1\n", "", {ONLY_IN_C, SILENT}, 60, "a.x",
		{SETTLE(0, "no such name"), TWO(ASKED, 6, 0), LOOK(0, "wait", "x.c"),
			SETTLE(0, BOTH, "x.c"), TWO(ASKED, 8, 0)}},
	{"dns: ndots: a name with fewer dots begins with the domains",
		"search x c\noptions ndots:2\nnameserver 127.0.0.1\n", "", {ONLY_IN_C, SILENT}, 60,
		"a.c", {SETTLE(0, BOTH), TWO(ASKED, 2, 0)}},
	{"dns: last good addresses, two seconds after the time to live with dead servers", SERVERS,
		"", {GOOD, GOOD}, 10, "s.example",
		{SETTLE(0), LOOK(9999, BOTH), TWO(MODES, SILENT, SILENT), LOOK(10000, "wait"),
			PASS(11000, "wait"), PASS(12000, BOTH), PASS(16000), LOOK(16000, BOTH),
			PASS(28000), NEXT(INT64_MAX), LOOK(57999, BOTH), NEXT(INT64_MAX)}},
	{"dns: then asked again behind the last good ones, and believed", SERVERS, "", {GOOD, GOOD},
		10, "s.example",
		{SETTLE(0), TWO(MODES, SILENT, SILENT), LOOK(10000, "wait"), PASS(28000),
			LOOK(58000, BOTH), NEXT(59000), TWO(MODES, NO_NAME, NO_NAME),
			PASS(59000, "no such name")}},
	{"dns: no route to a server is like no answer from it",
		"nameserver 255.255.255.255\nnameserver 127.0.0.2\n", "", {GOOD, GOOD}, 10,
		"r.example", {SETTLE(0, BOTH)}},
	{"dns: pnp where resolv.conf names no server, read again at each question", "# nothing\n",
		"nameserver 127.0.0.2\n", {SILENT, GOOD}, 60, "p.example", {SETTLE(0, BOTH)}},
	{"dns: pnp when resolv.conf's servers are dead", "nameserver 127.0.0.1\n",
		"nameserver 127.0.0.2\n", {SILENT, GOOD}, 60, "p.example",
		{PASS(2999, "wait"), PASS(3000, BOTH)}},
	{"dns: without any server, 127.0.0.1", "", "", {GOOD, SILENT}, 60, "p.example",
		{SETTLE(0, BOTH)}},
};

static void take_step(const struct live *l, const struct step *s)
{
	switch (s->does) {
	case SETTLE:
		settle(s->at);
		break;
	case PASS:
		pass_time(s->at);
		break;
	case NEXT:
		CHECK(dns_next() == s->at, "%lld", (long long)dns_next());
		break;
	case ASKED:
		CHECK(fakes[0].asked == s->first && fakes[1].asked == s->second, "%d %d",
			fakes[0].asked, fakes[1].asked);
		break;
	case ASKED_TCP:
		CHECK(fakes[0].asked_tcp == s->first && fakes[1].asked_tcp == s->second);
		break;
	case MODES:
		modes(s->first, s->second, l->ttl);
		break;
	case TTL:
		fakes[0].ttl = (unsigned)s->at;
		break;
	case ANSWER: /* the first fake by UDP, and no more */
		usleep(1000);
		serve_udp(&fakes[0]);
		usleep(1000);
		dns_run(0);
		break;
	case HOLD:
		held = s->at;
		break;
	case LISTEN:
		listen_at(&fakes[0], s->at);
		break;
	default:
		break;
	}
	if (s->result)
		CHECK_LOOKUP(s->host ? s->host : l->host, 80, s->at, s->result);
}

static void test_live(void)
{
	for (const struct live *l = lives; l < lives + sizeof(lives) / sizeof(lives[0]); l++) {
		begin_test(l->name);
		reset("", l->resolv, "");
		put_file("pnp", l->pnp);
		modes(l->modes[0], l->modes[1], l->ttl);
		CHECK_LOOKUP(l->host, 80, 0, "wait");
		for (const struct step *s = l->steps; s->does != STOP; s++)
			take_step(l, s);
	}
}

static void test_live_tables(void)
{
	char name[32];

	begin_test("dns: more names than questions wait for their turn, more than slots push out");
	reset("", SERVERS, "");
	modes(GOOD, SILENT, 60);
	for (int i = 0; i < DNS_NAMES_MAX + 3; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		CHECK_LOOKUP(name, 80, i, "wait");
	}
	struct pollfd p[DNS_POLL_MAX];
	CHECK(dns_poll(p) == DNS_QUESTIONS_MAX);
	for (int i = 0; i < DNS_NAMES_MAX + 3; i++) {
		snprintf(name, sizeof(name), "n%d.example", i);
		lookup(name, 80, 100 + i);
		settle(100 + i);
		CHECK_LOOKUP(name, 80, 100 + i, BOTH);
	}

	begin_test("dns: reading the files anew drops what is under way and starts again");
	CHECK_LOOKUP("again.example", 80, 200, "wait");
	resolv_path = "/nonexistent";
	dns_init();
	CHECK(dns_poll(p) == 0 && dns_next() == INT64_MAX);
	CHECK_LOOKUP("again.example", 80, 200, "wait");
	settle(200);
	CHECK_LOOKUP("again.example", 80, 200, BOTH);
}

int main(void)
{
	char command[100];

	if (!mkdtemp(folder))
		return 99;
	test_query();
	test_found();
	test_chain();
	test_forged();
	test_pointers();
	test_files();
	test_without_question();
	test_pins();
	start_fakes();
	test_live();
	test_live_tables();
	snprintf(command, sizeof(command), "rm -r %s", folder);
	if (system(command) != 0)
		return 99;
	return finish_tests();
}
