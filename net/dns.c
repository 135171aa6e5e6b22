#include "net/dns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/fd.h"
#include "base/random.h"
#include "net/names.h"

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

#define ROUNDS	      3	 /* after which the caller is told */
#define LATE_ROUNDS   9	 /* after which no answer counts any more */
#define DATAGRAMS_MAX 16 /* read from one socket at a time, so that a flood cannot hold us */

/* ---- names known by asking ---- */

struct name {
	int64_t used;
	size_t count; /* of the last good addresses */
	int64_t good_until;
	enum dns_result failure; /* of the last question; DNS_FOUND: it was none */
	int64_t failure_until;
	union address good[DNS_ADDRESSES_MAX];
	char host[HOST_MAX]; /* empty: a free slot */
};

struct question {
	struct name *name; /* NULL: a free slot */
	const struct resolvers *from;
	unsigned candidate;	/* of the names that `search` makes of it, the one asked for */
	enum dns_result said;	/* a server's failure at it; DNS_FOUND: there was none */
	enum dns_result before; /* the same of a candidate before, at which all servers failed */
	unsigned out[FAMILIES]; /* servers that have failed: a bit each */
	bool late;		/* the caller has been told that no server answered */
	enum answer answer[FAMILIES]; /* ANSWER_FOREIGN: none yet */
	unsigned step; /* servers asked before; the next is this modulo their count */
	int64_t started, next;
	int fd[DNS_SERVERS_MAX]; /* connected: the kernel drops what anyone else sends */
	int tcp;		 /* the server whose fd is TCP; -1: none */
	bool tcp_sent;
	size_t have; /* bytes of `in` */

	/* Large members are last, since code is shorter for what is near the beginning. */
	struct query query[FAMILIES];
	struct found found[FAMILIES];
	unsigned char in[2 + DNS_MESSAGE_MAX];
};

static struct name names[DNS_NAMES_MAX];
static struct question questions[DNS_QUESTIONS_MAX];
static int64_t now; /* the last argument of dns_lookup() or dns_run(): net/ knows no `turn` */

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

/* How long a temporary failure holds. */
static int64_t holds(const struct name *n)
{
	return n->count ? STALE_HOLDS : SILENCE_HOLDS;
}

/* Writes the current candidate. Without a domain it is the first if it has enough dots, else the
 * last. False: it is too long, which the host's own name is not, or a dot ends the host. */
static bool write_candidate(struct wire *out, const struct question *q)
{
	const char *host = q->name->host, *domain = q->from->search;
	unsigned dots = 0, place = q->candidate;
	char text[2 * HOST_MAX];

	for (const char *c = host; *c; c++)
		dots += *c == '.';
	if (place == (dots < q->from->ndots ? q->from->searches : 0))
		return dns_write_name(out, host);
	for (place -= dots >= q->from->ndots; place > 0; place--)
		domain += strlen(domain) + 1;
	snprintf(text, sizeof(text), "%s.%.*s", host, HOST_MAX - 1, domain);
	return dns_write_name(out, text);
}

/* Moves on to a candidate that can be written: the current one, or one behind it. */
static bool find_candidate(struct question *q)
{
	while (q->candidate <= q->from->searches && !write_candidate(&q->query[V4].name, q))
		q->candidate++;
	return q->candidate <= q->from->searches;
}

/* All that this candidate has to say is there. */
static void finish(struct question *q)
{
	struct name *n = q->name;

	if (unanswered(q, V4) || unanswered(q, V6))
		q->before = q->said;
	if (has_addresses(q)) {
		n->count = names_interleave(n->good, q->found, 0);
		n->good_until = now + time_to_live(q);
		end_question(q, DNS_FOUND, now);
	} else if (q->candidate++, find_candidate(q)) {
		begin(q);
	} else if (q->before) {
		end_question(q, q->before, now + holds(n));
	} else {
		end_question(q, DNS_NO_SUCH_NAME, now + NO_NAME_HOLDS);
	}
}

/* ---- asking ---- */

/* The server has failed both questions. */
static void drop_server(struct question *q, int server)
{
	q->out[V4] |= 1u << server;
	q->out[V6] |= 1u << server;
	close_server(q, server);
}

/* Sends the queries without an answer to the server of this step. The kernel picks a random port
 * for each new socket. */
static bool ask_server(struct question *q)
{
	const int server = current_server(q);
	unsigned char message[DNS_QUERY_MAX];
	bool sent;

	if (server == q->tcp)
		return true; /* its answer is on its way */
	if (q->fd[server] < 0)
		q->fd[server] = connect_socket(&q->from->server[server], SOCK_DGRAM);
	sent = q->fd[server] >= 0;
	for (int f = 0; f < FAMILIES && sent; f++)
		if (unanswered(q, f)) {
			size_t len = dns_write_query(message, &q->query[f]);

			sent = send(q->fd[server], message, len, MSG_NOSIGNAL) == (ssize_t)len;
		}
	if (!sent)
		drop_server(q, server);
	return sent;
}

static void ask_of(struct question *q, const struct resolvers *from)
{
	q->from = from;
	q->candidate = 0;
	q->before = DNS_FOUND;
	find_candidate(q);
	begin(q);
}

static bool all_failed(const struct question *q)
{
	unsigned all = (1u << q->from->count) - 1;

	return (!unanswered(q, V4) || q->out[V4] == all) &&
	       (!unanswered(q, V6) || q->out[V6] == all);
}

/* Whether the question goes on as it is. While a server has said nothing at all it does, since an
 * answer that comes late is better than none. */
static bool goes_on(struct question *q)
{
	enum dns_result failure;

	if (q->from == &from_resolv && names_read_pnp() &&
		memcmp(&from_pnp, q->from, offsetof(struct resolvers, searches)) != 0) {
		ask_of(q, &from_pnp);
		return false;
	}
	if (all_failed(q) && q->said) {
		finish(q);
		return false;
	}
	failure = q->said ? q->said : DNS_NO_SERVER_ANSWERED;
	if (all_failed(q) || q->step >= LATE_ROUNDS * q->from->count) {
		end_question(q, failure, now + (q->late && !q->name->count ? 0 : holds(q->name)));
		return false;
	}
	q->late = true;
	q->name->failure = failure;
	return true;
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
		if (early && (q->step + 1) % count == 0) {
			if (all_failed(q) && q->said && q->candidate < q->from->searches)
				finish(q); /* as libc has it, this does not end the search */
			return;
		}
		q->step++;
		q->next = now + SERVER_WAIT;
		if (q->step % (ROUNDS * count) == 0 && !goes_on(q))
			return;
		early = true;
	} while (!ask_server(q));
}

static bool set_queries(struct question *q)
{
	static const uint16_t types[FAMILIES] = {[V4] = TYPE_A, [V6] = TYPE_AAAA};
	uint16_t ids[FAMILIES];

	q->query[V6].name = q->query[V4].name;
	/* Early in a boot only the insecure kind does not block, and it is good enough here. */
	if (getrandom(ids, sizeof(ids), GRND_INSECURE) != sizeof(ids) &&
		getrandom(ids, sizeof(ids), 0) != sizeof(ids))
		return false;
	for (int f = 0; f < FAMILIES; f++) {
		q->query[f].id = ids[f];
		q->query[f].type = types[f];
	}
	return true;
}

/* Asks for the candidate, from the start. */
static void begin(struct question *q)
{
	close_all(q);
	q->step = 0;
	q->next = now + SERVER_WAIT;
	q->late = false;
	q->said = DNS_FOUND;
	memset(q->out, 0, sizeof(q->out));
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
		names_read_pnp();
	ask_of(q, from_resolv.count ? &from_resolv : &from_pnp);
}

/* ---- being answered ---- */

static void server_failed(struct question *q, int server)
{
	if (server == q->tcp)
		q->said = DNS_ANSWER_UNUSABLE;
	drop_server(q, server);
	if (server == current_server(q))
		go_on(q, true);
}

static void start_tcp(struct question *q, int server)
{
	if (q->tcp >= 0)
		close_server(q, q->tcp);
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
	} else if (a == ANSWER_TRUNCATED && q->tcp != server) {
		start_tcp(q, server);
	} else if (a != ANSWER_FOREIGN) {
		q->said = found.rcode == RCODE_FAILED	 ? DNS_SERVER_FAILED
			  : found.rcode == RCODE_REFUSED ? DNS_SERVER_REFUSED
							 : DNS_ANSWER_UNUSABLE;
		q->out[f] |= 1u << server;
		if (server == current_server(q))
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
	for (size_t i = 0; i < DNS_QUESTIONS_MAX; i++)
		if (questions[i].name)
			end_question(&questions[i], DNS_FOUND, 0);
	names_read();
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

/* A late question gives way. NULL: each is needed. */
static struct question *free_question(void)
{
	struct question *free = question_about(NULL);

	for (struct question *q = questions; !free && q < questions + DNS_QUESTIONS_MAX; q++)
		if (q->late) {
			free = q;
			end_question(q, DNS_NO_SERVER_ANSWERED, now);
		}
	return free;
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
		q = free_question();
		if (!q)
			return DNS_WAIT;
		start_question(q, n);
		q = question_about(n); /* none if it has failed at once */
	}
	if (n->count &&
		(n->failure >= DNS_NO_SERVER_ANSWERED || (q && now >= q->started + STALE_AFTER)))
		return give_good(n, port, out, count);
	return q && !q->late ? DNS_WAIT : n->failure;
}

enum dns_result dns_lookup(const char *host, uint16_t port, int64_t time,
	union address out[DNS_ADDRESSES_MAX], size_t *count)
{
	struct found found[FAMILIES] = {0};
	struct wire name;

	now = time;
	if (names_find(found, host, port)) {
		*count = names_interleave(out, found, port);
		return DNS_FOUND;
	}
	if (strlen(host) >= HOST_MAX || !dns_write_name(&name, host))
		return DNS_NO_SUCH_NAME;
	return lookup_asked(host, port, out, count);
}

const char *dns_failure(enum dns_result failure)
{
	return failure == DNS_NO_SUCH_NAME	? "no such host name"
	       : failure == DNS_SERVER_FAILED	? "the name server failed to find it (SERVFAIL)"
	       : failure == DNS_SERVER_REFUSED	? "the name server refuses to find it (REFUSED)"
	       : failure == DNS_ANSWER_UNUSABLE ? "the name server's answer is of no use"
						: "no name server answered";
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
