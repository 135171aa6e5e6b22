/* Unit tests of net/dns.c: questions and answers, against servers on loopback. */
#include "base/fd.c"
#include "base/text.c"
#include "net/connect.c"
#include "net/dns.c"
#include "net/dns_packet.c"
#include "net/names.c"

#include "test/unit/check.h"
#include "test/unit/net/lookup.h"
#include "test/unit/net/made.h"

/* ---- servers on loopback ---- */

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
#define LABEL	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa." /* of 63 bytes */
#define LONG	LABEL LABEL LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
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
	{"dns: a domain that makes the name too long is passed over",
		"search " LONG " c " LONG "\nnameserver 127.0.0.1\n", "", {ONLY_IN_C, SILENT}, 60,
		"short",
		{SETTLE(0, BOTH), TWO(ASKED, 2, 0), LOOK(0, "wait", "a.b"),
			SETTLE(0, "no such name", "a.b"), TWO(ASKED, 6, 0)}},
	{"dns: a name with a dot at its end is asked for as it is",
		"search a c\noptions ndots:3\n"
		"nameserver 127.0.0.1\n",
		"", {ONLY_IN_C, SILENT}, 60, "a.", {SETTLE(0, "no such name"), TWO(ASKED, 2, 0)}},
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
	make_folder();
	start_fakes();
	test_live();
	test_live_tables();
	remove_folder();
	return finish_tests();
}
