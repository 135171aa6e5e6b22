/* net/dns.c - a small stub resolver: files, questions under way, names known. */
#include "net/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

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

/* Variables only so that the unit test can point them elsewhere. */
static const char *hosts_path = "/etc/hosts";
static const char *resolv_path = "/etc/resolv.conf";
static const char *pnp_path = "/proc/net/pnp";
static uint16_t server_port = 53;

/* ---- addresses ---- */

static void set_address(union address *out, enum family f, const void *bytes, uint16_t port)
{
	memset(out, 0, sizeof(*out));
	if (f == V4) {
		out->in4.sin_family = AF_INET;
		out->in4.sin_port = htons(port);
		memcpy(&out->in4.sin_addr, bytes, 4);
	} else {
		out->in6.sin6_family = AF_INET6;
		out->in6.sin6_port = htons(port);
		memcpy(&out->in6.sin6_addr, bytes, 16);
	}
}

static void set_port(union address *a, uint16_t port)
{
	if (a->any.sa_family == AF_INET)
		a->in4.sin_port = htons(port);
	else
		a->in6.sin6_port = htons(port);
}

static socklen_t address_size(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->in4) : sizeof(a->in6);
}

/* Adds an IP literal to the list of its family. */
static bool add_literal(struct found found[FAMILIES], const char *text)
{
	unsigned char bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1)
		dns_add_found(&found[V4], bytes, 4);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		dns_add_found(&found[V6], bytes, 16);
	else
		return false;
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

static struct resolvers from_resolv, from_pnp, from_nothing;
static int pnp_fd = -1;

static char hosts[DNS_HOSTS_MAX]; /* lines "ADDRESS NAME NAME...\n" */
static size_t hosts_size;

/* Hands out the file's lines, cut at a comment; a line over 1,023 bytes is passed over. */
static void each_line(int fd, void (*take)(char *line))
{
	char buffer[1024];
	off_t offset = 0;
	bool too_long = false;
	ssize_t got;

	while ((got = pread(fd, buffer, sizeof(buffer) - 1, offset)) > 0) {
		char *newline = memchr(buffer, '\n', (size_t)got);
		size_t len = newline ? (size_t)(newline - buffer) : (size_t)got;
		bool whole = newline || (size_t)got < sizeof(buffer) - 1;

		offset += (off_t)len + (newline != NULL);
		buffer[len] = '\0';
		buffer[strcspn(buffer, "#;")] = '\0';
		if (whole && !too_long)
			take(buffer);
		too_long = !whole;
	}
}

/* Takes the next word off *text; NULL at the end. */
static char *next_word(char **text)
{
	char *word = *text + strspn(*text, " \t\r");
	size_t len = strcspn(word, " \t\r");

	*text = word + len;
	if (word[len])
		*(*text)++ = '\0';
	return len ? word : NULL;
}

static void take_hosts_line(char *line)
{
	size_t end = hosts_size;
	char *word;

	while ((word = next_word(&line))) {
		size_t len = strlen(word);

		if (len + 1 > sizeof(hosts) - end)
			return;
		memcpy(hosts + end, word, len);
		hosts[end + len] = ' ';
		end += len + 1;
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
	char *word = next_word(&line);
	char *value = word ? next_word(&line) : NULL;
	struct wire domain;

	if (!value)
		return;
	if (!strcmp(word, "nameserver")) {
		if (r->count < DNS_SERVERS_MAX && parse_server(&r->server[r->count], value))
			r->count++;
	} else if (!strcmp(word, "search") || !strcmp(word, "domain")) {
		if (strlen(value) < sizeof(r->search) && dns_write_name(&domain, value))
			strcpy(r->search, value);
	}
}

static struct resolvers reading;

static void take_resolv_line(char *line)
{
	parse_resolv_line(&reading, line);
}

/* Reads what a file says about servers, if it names any. */
static bool read_resolvers(struct resolvers *out, int fd)
{
	memset(&reading, 0, sizeof(reading));
	if (fd >= 0)
		each_line(fd, take_resolv_line);
	if (reading.count == 0)
		return false;
	*out = reading;
	return true;
}

static int open_file(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
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

static bool bad_pin(const char **why, const char *reason)
{
	*why = reason;
	return false;
}

static bool parse_pin_address(struct pin *out, const char *text)
{
	struct found found[FAMILIES] = {0};
	size_t len = strlen(text);

	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
		if (!memchr(text, ':', len))
			return false;
	}
	if (len >= sizeof(out->address))
		return false;
	memcpy(out->address, text, len);
	out->address[len] = '\0';
	return add_literal(found, out->address);
}

static bool parse_pin(struct pin *out, const char *line, const char **why)
{
	const char *colon = strchr(line, ':');
	struct wire name;
	size_t len = colon ? (size_t)(colon - line) : 0;
	unsigned long port;
	char *end;

	if (!colon || !strchr(colon + 1, ':'))
		return bad_pin(why, "it is not of the form HOST:PORT:ADDRESS");
	if (len >= sizeof(out->host))
		return bad_pin(why, "the host name is too long");
	memcpy(out->host, line, len);
	out->host[len] = '\0';
	if (strpbrk(out->host, " \t/[]@") || !dns_write_name(&name, out->host))
		return bad_pin(why, "the host is not a name");
	port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != ':' || port < 1 || port > 65535)
		return bad_pin(why, "the port is not a number from 1 to 65535");
	out->port = (uint16_t)port;
	if (!parse_pin_address(out, end + 1))
		return bad_pin(why, "the address is neither an IPv4 nor an IPv6 address");
	return true;
}

bool dns_pin_check(const char *line, const char **why)
{
	struct pin p;

	return parse_pin(&p, line, why);
}

bool dns_pin(const char *line, const char **why)
{
	if (pin_count == PINS_MAX)
		return bad_pin(why, "there are too many of them");
	if (!parse_pin(&pins[pin_count], line, why))
		return false;
	pin_count++;
	return true;
}

static bool find_pinned(struct found found[FAMILIES], const char *host, uint16_t port)
{
	bool any = false;

	for (size_t i = 0; i < pin_count; i++)
		if (pins[i].port == port && !strcasecmp(pins[i].host, host))
			any |= add_literal(found, pins[i].address);
	return any;
}

/* RFC 6761 section 6.3: never asked about, whatever the files say. */
static bool find_localhost(struct found found[FAMILIES], const char *host)
{
	const char *tail = strrchr(host, '.');

	return !strcasecmp(tail ? tail + 1 : host, "localhost") && add_literal(found, "::1") &&
	       add_literal(found, "127.0.0.1");
}

/* Whether one of the names in a line of `hosts`, from `at` to `end`, is `host`. */
static bool line_names(const char *at, const char *end, const char *host)
{
	const size_t len = strlen(host);

	while (at < end) {
		const char *word = at + 1;

		at = memchr(word, ' ', (size_t)(end - word));
		if (!at)
			at = end;
		if ((size_t)(at - word) == len && !strncasecmp(word, host, len))
			return true;
	}
	return false;
}

static bool find_in_hosts(struct found found[FAMILIES], const char *host)
{
	const char *line = hosts;
	bool any = false;

	while (line < hosts + hosts_size) {
		const char *end = memchr(line, '\n', (size_t)(hosts + hosts_size - line));
		size_t len = strcspn(line, " \n");
		char address[INET6_ADDRSTRLEN];

		if (len < sizeof(address) && line_names(line + len, end, host)) {
			memcpy(address, line, len);
			address[len] = '\0';
			any |= add_literal(found, address);
		}
		line = end + 1;
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
	bool searching; /* with the search domain behind the name */
	struct query query[FAMILIES];
	struct found found[FAMILIES];
	enum answer answer[FAMILIES]; /* ANSWER_FOREIGN: none yet */
	unsigned step;		      /* counts servers asked: server is step modulo their count */
	int64_t started, next;
	int fd[DNS_SERVERS_MAX]; /* connected: the kernel drops what anyone else sends */
	int tcp;		 /* the server whose fd is TCP, or -1 */
	bool tcp_sent;
	size_t have;
	unsigned char in[2 + DNS_MESSAGE_MAX];
};

static struct name names[DNS_NAMES_MAX];
static struct question questions[DNS_QUESTIONS_MAX];

static void begin(struct question *q, int64_t now);
static void ask_of(struct question *q, const struct resolvers *from, int64_t now);

static void close_server(struct question *q, int server)
{
	if (q->fd[server] >= 0)
		close(q->fd[server]);
	q->fd[server] = -1;
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

/* DNS_FOUND for `failure` is none. */
static void end_question(struct question *q, enum dns_result failure, int64_t until)
{
	q->name->failure = failure;
	q->name->failure_until = until;
	close_all(q);
	q->name = NULL;
}

/* While one family's answer is missing, the other's must not hold for long: the host's network may
 * have no route but the missing one's. */
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

static void finish(struct question *q, int64_t now)
{
	struct name *n = q->name;

	if (!has_addresses(q)) {
		if (q->searching) {
			q->searching = false;
			begin(q, now);
		} else {
			end_question(q, DNS_NO_SUCH_NAME, now + NO_NAME_HOLDS);
		}
		return;
	}
	n->count = interleave(n->good, q->found, 0);
	n->good_until = now + time_to_live(q);
	end_question(q, DNS_FOUND, now);
}

/* ---- asking ---- */

static int connect_to(const union address *server, int type)
{
	int fd = socket(server->any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, &server->any, address_size(server)) < 0 &&
		errno != EINPROGRESS) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Sends what is not answered yet to the server of this step. The kernel picks a random port for
 * each new socket. */
static bool ask_server(struct question *q)
{
	const int server = current_server(q);
	unsigned char message[DNS_QUERY_MAX];
	bool sent = true;

	if (q->fd[server] < 0)
		q->fd[server] = connect_to(&q->from->server[server], SOCK_DGRAM);
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

static bool same_servers(const struct resolvers *a, const struct resolvers *b)
{
	return a->count == b->count &&
	       !memcmp(a->server, b->server, a->count * sizeof(a->server[0]));
}

static void give_up(struct question *q, int64_t now)
{
	if (q->from == &from_resolv && read_pnp() && !same_servers(&from_pnp, q->from)) {
		ask_of(q, &from_pnp, now);
		return;
	}
	end_question(
		q, DNS_NO_SERVER_ANSWERED, now + (q->name->count ? STALE_HOLDS : SILENCE_HOLDS));
}

/* On to the next server that can be sent to. `early`, because this one failed instead of being
 * silent: then a new round still waits for its time, lest a refusing server be asked in a loop. */
static void go_on(struct question *q, int64_t now, bool early)
{
	const size_t count = q->from->count;

	if (has_addresses(q)) {
		finish(q, now);
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
			give_up(q, now);
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

	strcpy(text, q->name->host);
	if (q->searching) {
		strcat(text, ".");
		strcat(text, q->from->search);
	}
	/* Early in a boot only the insecure kind does not block, and it does for this. */
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
static void begin(struct question *q, int64_t now)
{
	close_all(q);
	q->step = 0;
	q->next = now + SERVER_WAIT;
	memset(q->found, 0, sizeof(q->found));
	memset(q->answer, 0, sizeof(q->answer));
	if (!set_queries(q))
		end_question(q, DNS_NO_SERVER_ANSWERED, now + SILENCE_HOLDS);
	else if (!ask_server(q))
		go_on(q, now, true);
}

static void ask_of(struct question *q, const struct resolvers *from, int64_t now)
{
	const char *host = q->name->host;

	q->from = from;
	q->searching = from->search[0] && !strchr(host, '.') &&
		       strlen(host) + 1 + strlen(from->search) < HOST_MAX;
	begin(q, now);
}

static void start_question(struct question *q, struct name *n, int64_t now)
{
	for (int i = 0; i < DNS_SERVERS_MAX; i++)
		q->fd[i] = -1;
	q->tcp = -1;
	q->name = n;
	q->started = now;
	if (from_resolv.count)
		ask_of(q, &from_resolv, now);
	else if (read_pnp() || from_pnp.count)
		ask_of(q, &from_pnp, now);
	else
		ask_of(q, &from_nothing, now);
}

/* ---- being answered ---- */

static void server_failed(struct question *q, int server, int64_t now)
{
	close_server(q, server);
	if (server == current_server(q))
		go_on(q, now, true);
}

static void start_tcp(struct question *q, int server, int64_t now)
{
	if (q->tcp >= 0)
		return;
	close_server(q, server);
	q->fd[server] = connect_to(&q->from->server[server], SOCK_STREAM);
	if (q->fd[server] < 0) {
		server_failed(q, server, now);
		return;
	}
	q->tcp = server;
	q->tcp_sent = false;
	q->have = 0;
	q->next = now + TCP_WAIT;
}

static void take_answer(struct question *q, int server, const struct dns_message *m, int64_t now)
{
	struct found found;
	enum answer a = ANSWER_FOREIGN;
	int f;

	for (f = 0; f < FAMILIES && a == ANSWER_FOREIGN; f++)
		if (unanswered(q, f))
			a = dns_read_answer(&found, &q->query[f], m);
	f--;
	if (a == ANSWER_FOREIGN)
		return;
	if (a == ANSWER_TRUNCATED && server != q->tcp) {
		start_tcp(q, server, now);
		return;
	}
	if (a == ANSWER_FAILED || a == ANSWER_TRUNCATED) {
		if (server == current_server(q))
			go_on(q, now, true);
		return;
	}
	q->answer[f] = a;
	q->found[f] = found;
	if (!unanswered(q, V4) && !unanswered(q, V6))
		finish(q, now);
	else if (has_addresses(q) && q->next > now + FAMILY_WAIT)
		q->next = now + FAMILY_WAIT;
}

/* Whether the last answer left the socket that it came by as it was. */
static bool still_reading(const struct question *q, const struct name *n, int server, int fd)
{
	return q->name == n && q->fd[server] == fd && q->tcp != server;
}

static void run_udp(struct question *q, int server, int64_t now)
{
	const struct name *n = q->name;
	const int fd = q->fd[server];
	unsigned char message[1500];

	for (int i = 0; i < DATAGRAMS_MAX && still_reading(q, n, server, fd); i++) {
		ssize_t got = recv(fd, message, sizeof(message), 0);

		if (got < 0) {
			if (errno != EAGAIN && errno != EINTR)
				server_failed(q, server, now);
			return;
		}
		take_answer(q, server, &(struct dns_message){message, (size_t)got}, now);
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
	return sent == (ssize_t)len; /* a new socket takes so little at once */
}

/* Takes the whole messages off q->in. Returns false if a message is larger than it. */
static bool take_tcp_messages(struct question *q, int64_t now)
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
		take_answer(q, server, &(struct dns_message){message, len}, now);
	}
	return true;
}

static void run_tcp(struct question *q, int64_t now)
{
	const int server = q->tcp;
	ssize_t got;

	if (!q->tcp_sent && !send_tcp(q)) {
		server_failed(q, server, now);
		return;
	}
	if (!q->tcp_sent)
		return;
	got = recv(q->fd[server], q->in + q->have, sizeof(q->in) - q->have, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		q->have += (size_t)got;
	if (got <= 0 || !take_tcp_messages(q, now))
		server_failed(q, server, now);
}

/* ---- the caller's side ---- */

void dns_init(void)
{
	char loopback[] = "127.0.0.1";
	int fd;

	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name)
			end_question(&questions[i], DNS_FOUND, 0);
	from_nothing.count = parse_server(&from_nothing.server[0], loopback);
	from_resolv.count = 0;
	fd = open_file(resolv_path);
	if (fd >= 0) {
		read_resolvers(&from_resolv, fd);
		close(fd);
	}
	pin_count = 0;
	hosts_size = 0;
	fd = open_file(hosts_path);
	if (fd >= 0) {
		each_line(fd, take_hosts_line);
		close(fd);
	}
	read_pnp();
}

static struct name *find_name(const char *host)
{
	for (size_t i = 0; i < DNS_NAMES_MAX; i++)
		if (!strcasecmp(names[i].host, host))
			return &names[i];
	return NULL;
}

static bool same_address(const union address *a, const union address *b)
{
	if (a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
	return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

void dns_prefer(const char *host, const union address *address)
{
	struct name *n = find_name(host);
	union address first;
	size_t i = 0;

	while (n && i < n->count && !same_address(&n->good[i], address))
		i++;
	if (!n || i == n->count)
		return;
	first = n->good[i];
	memmove(n->good + 1, n->good, i * sizeof(first));
	n->good[0] = first;
}

static struct question *question_about(const struct name *n)
{
	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name == n)
			return &questions[i];
	return NULL;
}

/* A slot for a new name: the one that was not used for longest and is not being asked about. */
static struct name *take_name(const char *host)
{
	struct name *oldest = NULL;

	for (size_t i = 0; i < DNS_NAMES_MAX; i++) {
		struct name *n = &names[i];

		if (!question_about(n) &&
			(!oldest || !n->host[0] || (oldest->host[0] && n->used < oldest->used)))
			oldest = n;
	}
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
		set_port(&out[i], port);
	}
	*count = n->count;
	return DNS_FOUND;
}

static enum dns_result lookup_asked(const char *host, uint16_t port, int64_t now,
	union address out[DNS_ADDRESSES_MAX], size_t *count)
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
		start_question(q, n, now);
		q = question_about(n); /* none if it has failed at once */
	}
	if (n->count &&
		(n->failure == DNS_NO_SERVER_ANSWERED || (q && now >= q->started + STALE_AFTER)))
		return give_good(n, port, out, count);
	return q ? DNS_WAIT : n->failure;
}

enum dns_result dns_lookup(const char *host, uint16_t port, int64_t now,
	union address out[DNS_ADDRESSES_MAX], size_t *count)
{
	struct found found[FAMILIES] = {0};
	struct wire name;

	if (find_pinned(found, host, port) || add_literal(found, host) ||
		find_localhost(found, host) || find_in_hosts(found, host)) {
		*count = interleave(out, found, port);
		return DNS_FOUND;
	}
	if (strlen(host) >= HOST_MAX || !dns_write_name(&name, host))
		return DNS_NO_SUCH_NAME;
	return lookup_asked(host, port, now, out, count);
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

static void run_question(struct question *q, int64_t now)
{
	for (int s = 0; q->name && s < DNS_SERVERS_MAX; s++) {
		if (q->fd[s] < 0)
			continue;
		if (s == q->tcp)
			run_tcp(q, now);
		else
			run_udp(q, s, now);
	}
	if (q->name && now >= q->next)
		go_on(q, now, false);
}

void dns_run(int64_t now)
{
	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name)
			run_question(&questions[i], now);
}
