#include "net/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/text.h"
#include "net/dns_packet.h"

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif

/* Times in milliseconds. */
#define SERVER_WAIT   1000 /* until the next server is asked */
#define TCP_WAIT      3000 /* the same, once an answer has to come over TCP */
#define FAMILY_WAIT   300  /* for the other family, once one has addresses */
#define TTL_LEAST     5000
#define TTL_MOST      (3600 * 1000)
#define NO_NAME_HOLDS 10000
#define SILENCE_HOLDS 3000
#define STALE_AFTER   1800  /* RFC 8767's client response timer ... */
#define STALE_HOLDS   30000 /* ... and failure recheck timer */

#define ROUNDS	      3
#define DATAGRAMS_MAX 16 /* read from one socket at a time, so that a flood cannot hold us */
#define PINS_MAX      URLS_MAX

/* The two questions that are asked about each name. */
enum family { V4, V6, FAMILIES };

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

/* IPv6 and IPv4 alternate, and neither can crowd out the other. Returns their count. */
static size_t interleave(
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

struct resolvers {
	union address server[DNS_SERVERS_MAX];
	size_t count;
	char search[HOST_MAX]; /* empty: none */
};

static struct resolvers from_resolv;
static struct resolvers from_pnp; /* 127.0.0.1 until the kernel has named a server */
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

static void parse_resolv_line(struct resolvers *r, char *line)
{
	char *word = word_take(&line);
	char *value = word ? word_take(&line) : NULL;
	struct wire domain;

	if (!value)
		return;
	if (!strcmp(word, "nameserver") && r->count < DNS_SERVERS_MAX)
		r->count += parse_server(&r->server[r->count], value);
	else if ((!strcmp(word, "search") || !strcmp(word, "domain")) &&
		 strlen(value) < sizeof(r->search) && dns_write_name(&domain, value))
		strcpy(r->search, value);
}

/* Reads a file's servers and search domain. False, and *out stays, if it names no server. */
static bool read_resolvers(struct resolvers *out, int fd)
{
	struct lines lines = {.fd = fd};
	struct resolvers said = {.count = 0};
	char *line;

	while ((line = bare_line(&lines)))
		parse_resolv_line(&said, line);
	if (said.count > 0)
		*out = said;
	return said.count > 0;
}

/* Its descriptor stays open: the path may lead elsewhere after a change of the root directory. */
static bool read_pnp(void)
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

const char *dns_pin_check(const char *line)
{
	struct pin p;

	return parse_pin(&p, line);
}

const char *dns_pin(const char *line)
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
	const char *tail = host + size - 9;

	return size >= 9 && !strncasecmp(tail, "localhost", 9) && (size == 9 || tail[-1] == '.') &&
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

/* ---- names known by asking ---- */

struct name {
	char host[HOST_MAX]; /* empty: a free slot */
	int64_t used;
	union address good[DNS_ADDRESSES_MAX];
	size_t count; /* of the last good addresses */
	int64_t good_until;
	enum dns_result failure; /* of the last question; DNS_FOUND: it was none */
	int64_t failure_until;
};

struct question {
	struct name *name; /* NULL: a free slot */
	const struct resolvers *from;
	bool searching; /* the search domain is put behind the name */
	struct query query[FAMILIES];
	struct found found[FAMILIES];
	enum answer answer[FAMILIES]; /* ANSWER_FOREIGN: none yet */
	unsigned step; /* servers asked before; the next is this modulo their count */
	int64_t started, next;
	int fd[DNS_SERVERS_MAX]; /* connected: the kernel drops what anyone else sends */
	int tcp;		 /* the server whose fd is TCP; -1: none */
	bool tcp_sent;
	size_t have; /* bytes of `in` */
	unsigned char in[2 + DNS_MESSAGE_MAX];
};

static struct name names[DNS_NAMES_MAX];
static struct question questions[DNS_QUESTIONS_MAX];
static int64_t now; /* as dns_lookup() or dns_run() was told it last */

static void begin(struct question *q);

static void close_server(struct question *q, int server)
{
	fd_close(&q->fd[server]);
	if (q->tcp == server)
		q->tcp = -1;
}

static void close_all(struct question *q)
{
	for (int i = 0; i < DNS_SERVERS_MAX; i++)
		close_server(q, i);
}

static bool unanswered(const struct question *q, enum family f)
{
	return q->answer[f] == ANSWER_FOREIGN;
}

static bool has_addresses(const struct question *q)
{
	return q->answer[V4] == ANSWER_FOUND || q->answer[V6] == ANSWER_FOUND;
}

static int current_server(const struct question *q)
{
	return (int)(q->step % q->from->count);
}

/* `failure`: DNS_FOUND if it is none. */
static void end_question(struct question *q, enum dns_result failure, int64_t until)
{
	q->name->failure = failure;
	q->name->failure_until = until;
	close_all(q);
	q->name = NULL;
}

/* While one family's answer is missing, the other's must not hold for long: perhaps there is a
 * route only to addresses of the missing family. In milliseconds. */
static int64_t time_to_live(const struct question *q)
{
	int64_t ttl = TTL_MOST;

	for (int f = 0; f < FAMILIES; f++) {
		if (unanswered(q, f))
			return TTL_LEAST;
		if (q->answer[f] == ANSWER_FOUND && q->found[f].ttl * INT64_C(1000) < ttl)
			ttl = q->found[f].ttl * INT64_C(1000);
	}
	return ttl < TTL_LEAST ? TTL_LEAST : ttl;
}

static void finish(struct question *q)
{
	struct name *n = q->name;

	if (has_addresses(q)) {
		n->count = interleave(n->good, q->found, 0);
		n->good_until = now + time_to_live(q);
		end_question(q, DNS_FOUND, now);
	} else if (q->searching) {
		q->searching = false;
		begin(q);
	} else {
		end_question(q, DNS_NO_SUCH_NAME, now + NO_NAME_HOLDS);
	}
}

/* ---- asking ---- */

/* Sends the queries without an answer to the server of this step. The kernel picks a random port
 * for each new socket. */
static bool ask_server(struct question *q)
{
	const int server = current_server(q);
	unsigned char message[DNS_QUERY_MAX];
	bool sent = true;

	if (q->fd[server] < 0)
		q->fd[server] = connect_socket(&q->from->server[server], SOCK_DGRAM);
	if (q->fd[server] < 0)
		return false;
	for (int f = 0; f < FAMILIES; f++)
		if (unanswered(q, f)) {
			size_t len = dns_write_query(message, &q->query[f]);

			sent &= send(q->fd[server], message, len, MSG_NOSIGNAL) == (ssize_t)len;
		}
	if (!sent)
		close_server(q, server);
	return sent;
}

static void ask_of(struct question *q, const struct resolvers *from)
{
	const char *host = q->name->host;

	q->from = from;
	q->searching = from->search[0] && !strchr(host, '.') &&
		       strlen(host) + 1 + strlen(from->search) < HOST_MAX;
	begin(q);
}

static void give_up(struct question *q)
{
	int64_t holds = q->name->count ? STALE_HOLDS : SILENCE_HOLDS;

	if (q->from == &from_resolv && read_pnp() &&
		memcmp(&from_pnp, q->from, offsetof(struct resolvers, search)) != 0)
		ask_of(q, &from_pnp);
	else
		end_question(q, DNS_NO_SERVER_ANSWERED, now + holds);
}

/* Asks the next server to which a query can be sent. `early`: this one has failed, its time is not
 * over. Then a new round still waits for that time, so that refusing servers are not asked in a
 * loop. */
static void go_on(struct question *q, bool early)
{
	const size_t count = q->from->count;

	if (has_addresses(q)) {
		finish(q);
		return;
	}
	do {
		if (early && (q->step + 1) % count == 0)
			return;
		if (q->tcp >= 0)
			close_server(q, q->tcp);
		q->step++;
		q->next = now + SERVER_WAIT;
		if (q->step >= ROUNDS * count) {
			give_up(q);
			return;
		}
		early = true;
	} while (!ask_server(q));
}

static bool set_queries(struct question *q)
{
	static const uint16_t types[FAMILIES] = {[V4] = TYPE_A, [V6] = TYPE_AAAA};
	char text[2 * HOST_MAX];
	uint16_t ids[FAMILIES];

	snprintf(text, sizeof(text), "%s%s%s", q->name->host, q->searching ? "." : "",
		q->searching ? q->from->search : "");
	/* Early in a boot only the insecure kind does not block, and it is good enough here. */
	if (getrandom(ids, sizeof(ids), GRND_INSECURE) != sizeof(ids) &&
		getrandom(ids, sizeof(ids), 0) != sizeof(ids))
		return false;
	for (int f = 0; f < FAMILIES; f++) {
		q->query[f].id = ids[f];
		q->query[f].type = types[f];
		if (!dns_write_name(&q->query[f].name, text))
			return false;
	}
	return true;
}

/* Asks q->name of q->from, from the start. */
static void begin(struct question *q)
{
	close_all(q);
	q->step = 0;
	q->next = now + SERVER_WAIT;
	memset(q->found, 0, sizeof(q->found));
	memset(q->answer, 0, sizeof(q->answer));
	if (!set_queries(q))
		end_question(q, DNS_NO_SERVER_ANSWERED, now + SILENCE_HOLDS);
	else if (!ask_server(q))
		go_on(q, true);
}

static void start_question(struct question *q, struct name *n)
{
	for (int i = 0; i < DNS_SERVERS_MAX; i++)
		q->fd[i] = -1;
	q->tcp = -1;
	q->name = n;
	q->started = now;
	if (from_resolv.count == 0)
		read_pnp();
	ask_of(q, from_resolv.count ? &from_resolv : &from_pnp);
}

/* ---- being answered ---- */

static void server_failed(struct question *q, int server)
{
	close_server(q, server);
	if (server == current_server(q))
		go_on(q, true);
}

static void start_tcp(struct question *q, int server)
{
	if (q->tcp >= 0)
		return;
	close_server(q, server);
	q->fd[server] = connect_socket(&q->from->server[server], SOCK_STREAM);
	if (q->fd[server] < 0) {
		server_failed(q, server);
		return;
	}
	q->tcp = server;
	q->tcp_sent = false;
	q->have = 0;
	q->next = now + TCP_WAIT;
}

static void take_answer(struct question *q, int server, const struct dns_message *m)
{
	enum answer a = ANSWER_FOREIGN;
	struct found found;
	int f = -1;

	while (a == ANSWER_FOREIGN && ++f < FAMILIES)
		if (unanswered(q, f))
			a = dns_read_answer(&found, &q->query[f], m);
	if (a == ANSWER_FOUND || a == ANSWER_NONE) {
		q->answer[f] = a;
		q->found[f] = found;
		if (!unanswered(q, V4) && !unanswered(q, V6))
			finish(q);
		else if (has_addresses(q) && q->next > now + FAMILY_WAIT)
			q->next = now + FAMILY_WAIT;
	} else if (a == ANSWER_TRUNCATED && server != q->tcp) {
		start_tcp(q, server);
	} else if (a != ANSWER_FOREIGN && server == current_server(q)) {
		go_on(q, true);
	}
}

static void run_udp(struct question *q, int server)
{
	const struct name *n = q->name;
	const int fd = q->fd[server];
	unsigned char message[1500];

	/* An answer may end the question, or its use of this socket. */
	for (int i = 0;
		i < DATAGRAMS_MAX && q->name == n && q->fd[server] == fd && q->tcp != server; i++) {
		ssize_t got = recv(fd, message, sizeof(message), 0);

		if (got < 0) {
			if (errno != EAGAIN && errno != EINTR)
				server_failed(q, server);
			return;
		}
		take_answer(q, server, &(struct dns_message){message, (size_t)got});
	}
}

static bool send_tcp(struct question *q)
{
	unsigned char out[FAMILIES * (2 + DNS_QUERY_MAX)];
	size_t len = 0;
	ssize_t sent;

	for (int f = 0; f < FAMILIES; f++)
		if (unanswered(q, f)) {
			size_t size = dns_write_query(out + len + 2, &q->query[f]);

			put16(out + len, (unsigned)size);
			len += 2 + size;
		}
	sent = send(q->fd[q->tcp], out, len, MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR; /* still connecting */
	q->tcp_sent = true;
	return sent == (ssize_t)len; /* a new socket has room for these few bytes */
}

/* Takes the complete messages off q->in. False: a message is larger than that. */
static bool take_tcp_messages(struct question *q)
{
	const struct name *n = q->name;
	const int server = q->tcp;

	while (q->name == n && q->tcp == server && q->have >= 2) {
		size_t len = get16(q->in);
		unsigned char message[DNS_MESSAGE_MAX];

		if (len > DNS_MESSAGE_MAX)
			return false;
		if (q->have < 2 + len)
			return true;
		memcpy(message, q->in + 2, len);
		q->have -= 2 + len;
		memmove(q->in, q->in + 2 + len, q->have);
		take_answer(q, server, &(struct dns_message){message, len});
	}
	return true;
}

static void run_tcp(struct question *q)
{
	const int server = q->tcp;
	bool good = q->tcp_sent || send_tcp(q);

	if (good && q->tcp_sent) {
		ssize_t got = recv(q->fd[server], q->in + q->have, sizeof(q->in) - q->have, 0);

		good = got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
		q->have += got > 0 ? (size_t)got : 0;
		good = good && take_tcp_messages(q);
	}
	if (!good)
		server_failed(q, server);
}

/* ---- the caller's side ---- */

void dns_init(void)
{
	struct lines lines = {.fd = open_file(hosts_path)};
	char *line, loopback[] = "127.0.0.1";
	int fd = open_file(resolv_path);

	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name)
			end_question(&questions[i], DNS_FOUND, 0);
	if (from_pnp.count == 0)
		from_pnp.count = parse_server(&from_pnp.server[0], loopback);
	from_resolv.count = pin_count = hosts_size = 0;
	while ((line = bare_line(&lines)))
		add_hosts_line(line);
	read_resolvers(&from_resolv, fd);
	read_pnp();
	fd_close(&lines.fd);
	fd_close(&fd);
}

static struct name *find_name(const char *host)
{
	for (size_t i = 0; i < DNS_NAMES_MAX; i++)
		if (!strcasecmp(names[i].host, host))
			return &names[i];
	return NULL;
}

static struct question *question_about(const struct name *n)
{
	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name == n)
			return &questions[i];
	return NULL;
}

/* Gives a new name a slot: a free one, or that of the name whose last use is longest ago. None is
 * taken from a name under question; NULL: all are. */
static struct name *take_name(const char *host)
{
	struct name *oldest = NULL;

	for (struct name *n = names; n < names + DNS_NAMES_MAX; n++)
		if (!question_about(n) &&
			(!oldest || !n->host[0] || (oldest->host[0] && n->used < oldest->used)))
			oldest = n;
	if (oldest) {
		memset(oldest, 0, sizeof(*oldest));
		strcpy(oldest->host, host);
	}
	return oldest;
}

static enum dns_result give_good(
	const struct name *n, uint16_t port, union address out[DNS_ADDRESSES_MAX], size_t *count)
{
	for (size_t i = 0; i < n->count; i++) {
		out[i] = n->good[i];
		out[i].in4.sin_port = htons(port);
	}
	*count = n->count;
	return DNS_FOUND;
}

static enum dns_result lookup_asked(
	const char *host, uint16_t port, union address out[DNS_ADDRESSES_MAX], size_t *count)
{
	struct name *n = find_name(host);
	struct question *q;

	if (!n)
		n = take_name(host);
	if (!n)
		return DNS_WAIT;
	n->used = now;
	if (n->count && now < n->good_until)
		return give_good(n, port, out, count);
	q = question_about(n);
	if (!q && now >= n->failure_until) {
		q = question_about(NULL);
		if (!q)
			return DNS_WAIT;
		start_question(q, n);
		q = question_about(n); /* none if it has failed at once */
	}
	if (n->count &&
		(n->failure == DNS_NO_SERVER_ANSWERED || (q && now >= q->started + STALE_AFTER)))
		return give_good(n, port, out, count);
	return q ? DNS_WAIT : n->failure;
}

enum dns_result dns_lookup(const char *host, uint16_t port, int64_t time,
	union address out[DNS_ADDRESSES_MAX], size_t *count)
{
	struct found found[FAMILIES] = {0};
	struct wire name;

	now = time;
	if (find_pinned(found, host, port) || add_literal(found, host) ||
		find_localhost(found, host) || find_in_hosts(found, host)) {
		*count = interleave(out, found, port);
		return DNS_FOUND;
	}
	if (strlen(host) >= HOST_MAX || !dns_write_name(&name, host))
		return DNS_NO_SUCH_NAME;
	return lookup_asked(host, port, out, count);
}

size_t dns_poll(struct pollfd out[DNS_POLL_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++) {
		const struct question *q = &questions[i];

		for (int s = 0; q->name && s < DNS_SERVERS_MAX; s++)
			if (q->fd[s] >= 0)
				out[n++] = (struct pollfd){.fd = q->fd[s],
					.events = s == q->tcp && !q->tcp_sent ? POLLOUT : POLLIN};
	}
	return n;
}

int64_t dns_next(void)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name && questions[i].next < next)
			next = questions[i].next;
	return next;
}

static void run_question(struct question *q)
{
	for (int s = 0; q->name && s < DNS_SERVERS_MAX; s++)
		if (s == q->tcp)
			run_tcp(q);
		else if (q->fd[s] >= 0)
			run_udp(q, s);
	if (q->name && now >= q->next)
		go_on(q, false);
}

void dns_run(int64_t time)
{
	now = time;
	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name)
			run_question(&questions[i]);
}
