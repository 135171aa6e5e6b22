/* tls13.c - unit tests with sessions that were recorded from OpenSSL, one for each suite: whole, in
 * pieces, cut at each byte, and with each bit turned, with ciphers and without.
 *
 *   tls13_sessions PORT KEY
 *
 * Records a session with a server on this port instead, and prints it as a row for
 * tls13_sessions.h: after a change of our hello they have to be made again (see there). KEY is the
 * server's: "rsa" or "ec".
 */
#include "test/unit/trust/tls13_sources.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/unit/check.h"
#include "test/unit/stubs.h"
#include "test/unit/trust/tls13_client.h"
#include "test/unit/trust/tls13_off.h"
#include "test/unit/trust/tls13_sessions.h"

#define REQUEST "GET /image HTTP/1.0\r\n\r\n"

static bool request_sent;

/* The same as in the recording, in which the server's key is that of the tests. */
static void start_session(bool is_rsa, bool ciphers)
{
	client_setup.host = "example.test";
	judge.error = 0;
	judge.misused = judge.ended = false;
	set_judge(is_rsa ? 0x0804 : 0x0403);
	request_sent = false;
	start_client();
	if (!ciphers)
		client_ciphers = no_ciphers;
}

/* Moves what there is to move; our request leaves as soon as it may. What the client says goes to
 * `out`, if that is a socket. Returns false when it needs more of the server's bytes. */
static bool move(int out)
{
	unsigned state = tls13_current_state(&client);
	size_t n;
	uint8_t *data;

	if (state & BR_SSL_SENDREC) {
		data = tls13_sendrec_buf(&client, &n);
		if (out >= 0 && send(out, data, n, 0) != (ssize_t)n)
			abort();
		tls13_sendrec_ack(&client, n);
	} else if (state & BR_SSL_RECVAPP) {
		data = tls13_recvapp_buf(&client, &n);
		memcpy(received + received_size, data, n);
		received_size += n;
		tls13_recvapp_ack(&client, n);
	} else if ((state & BR_SSL_SENDAPP) && !request_sent) {
		request_sent = true;
		data = tls13_sendapp_buf(&client, &n);
		memcpy(data, REQUEST, strlen(REQUEST));
		tls13_sendapp_ack(&client, strlen(REQUEST));
		tls13_flush(&client, 0);
	} else {
		return false;
	}
	return true;
}

/* Feeds bytes in pieces. */
static void play(const uint8_t *data, size_t size, size_t piece)
{
	size_t at = 0, n;

	for (;;) {
		if (move(-1))
			continue;
		if (!(tls13_current_state(&client) & BR_SSL_RECVREC) || at == size)
			return;
		uint8_t *in = tls13_recvrec_buf(&client, &n);

		n = n < piece ? n : piece;
		n = n < size - at ? n : size - at;
		memcpy(in, data + at, n);
		at += n;
		tls13_recvrec_ack(&client, n);
	}
}

/* ---- a recorded session ---- */

static uint8_t session[20000], opened_session[20000];
static size_t session_size, opened; /* its size, and where the server's Finished ends */

static void load(size_t i)
{
	session_size = unhex(session, sessions[i].bytes);
}

static bool is_whole_session(void)
{
	return client.state == TLS13_ENDED && received_size > 100 && !judge.misused &&
	       !memcmp(received, "HTTP/1.0 200 ok\r\n", 17);
}

/* What the records hold, with tags of zeros, goes to opened_session[]: the client decrypts in
 * place. */
static void make_plain(bool is_rsa)
{
	size_t size;

	memcpy(opened_session, session, session_size);
	start_session(is_rsa, true);
	for (size_t at = 0; at < session_size; at += size) {
		bool secure = client.secure && session[at] == 23;

		size = 5u + (size_t)(session[at + 3] << 8 | session[at + 4]);
		play(session + at, size, SIZE_MAX);
		if (!secure)
			continue;
		memcpy(opened_session + at + 5, client_in + 5, size - 5 - 16);
		memset(opened_session + at + size - 16, 0, 16);
	}
	CHECK(is_whole_session());
}

static void check_pieces(size_t i)
{
	begin_test("tls13: a recorded session, whole and in pieces of 1 to 39 bytes");
	for (size_t piece = 1; piece < 40; piece++) {
		start_session(sessions[i].is_rsa, true);
		play(session, session_size, piece);
		CHECK(is_whole_session(), "%s: %zu: state %d, error %u", sessions[i].name, piece,
			client.state, client.error);
	}
	start_session(sessions[i].is_rsa, true);
	play(session, session_size, SIZE_MAX);
	CHECK(is_whole_session(), "%s: state %d, error %u", sessions[i].name, client.state,
		client.error);
	CHECK(client.suite->number == sessions[i].suite && client.offer.group == sessions[i].group);
}

/* Cut anywhere it waits; data are never there before Finished, nor a part of a record's. */
static void check_cuts(size_t i)
{
	size_t size, have = 0;

	begin_test("tls13: a recorded session, cut at each byte");
	start_session(sessions[i].is_rsa, true);
	opened = 0;
	for (size_t at = 0; at < session_size; at += size) {
		size = 5u + (size_t)(session[at + 3] << 8 | session[at + 4]);
		for (size_t cut = 0; cut < size; cut++) {
			CHECK(client.state < TLS13_ENDED && client.error == BR_ERR_OK, "%zu: %u",
				at + cut, client.error);
			CHECK((client.state == TLS13_OPEN) == (opened > 0), "%zu", at + cut);
			CHECK(received_size == have && (have == 0 || opened > 0), "%zu", at + cut);
			play(session + at + cut, 1, 1);
		}
		if (client.state == TLS13_OPEN && opened == 0)
			opened = at + size;
		have = received_size;
	}
	CHECK(is_whole_session() && opened > 500);
}

/* Which bits may differ without a word: the minor version in the header of a record that is not
 * encrypted (5.1), and, without ciphers, of any. */
static bool may_differ(const uint8_t *bytes, size_t bit, bool ciphers)
{
	size_t at = 0, byte = bit / 8;

	while (at + 5u + (size_t)(bytes[at + 3] << 8 | bytes[at + 4]) <= byte)
		at += 5u + (size_t)(bytes[at + 3] << 8 | bytes[at + 4]);
	return byte == at + 2 && (!ciphers || bytes[at] != 23);
}

/* The client where a record begins: so each of its bits costs no more than that record. */
static struct {
	__typeof__(client) client;
	__typeof__(judge) judge;
	uint8_t out[TLS13_OUT_SIZE];
	size_t received;
	bool sent;
	uint64_t seed;
} kept;

static void keep(void)
{
	kept.client = client;
	kept.judge = judge;
	kept.received = received_size;
	kept.sent = request_sent;
	kept.seed = seed;
	memcpy(kept.out, client_out, sizeof(client_out));
}

static void again(void)
{
	client = kept.client;
	judge = kept.judge;
	received_size = kept.received;
	request_sent = kept.sent;
	memcpy(client_out, kept.out, sizeof(client_out));
	seed = kept.seed;
}

/* Turns a bit of the record that begins at `start`, before which the client is kept. */
static void check_bit(uint8_t *bytes, size_t start, size_t bit, bool ciphers)
{
	static const char head[] = "HTTP/1.0 200 ok\r\n";
	bool no_matter = may_differ(bytes, bit, ciphers);

	again();
	bytes[bit / 8] ^= 1 << bit % 8;
	play(bytes + start, session_size - start, SIZE_MAX);
	bytes[bit / 8] ^= 1 << bit % 8;
	if (bit / 8 < opened && !no_matter)
		CHECK(client.state != TLS13_OPEN && client.state != TLS13_ENDED &&
				received_size == 0,
			"byte %zu of %zu", bit / 8, opened);
	else
		CHECK(no_matter || client.state != TLS13_ENDED, "byte %zu", bit / 8);
	CHECK(received_size == 0 || !memcmp(received, head, strlen(head)), "byte %zu", bit / 8);
	CHECK(!judge.misused, "byte %zu", bit / 8);
}

/* Without ciphers only the handshake proves anything, and at a higher cost: one bit of each byte.
 */
static void check_bits(size_t i, uint8_t *bytes, bool ciphers)
{
	size_t size, end = ciphers ? session_size : opened, step = ciphers ? 1 : 9;

	begin_test(ciphers ? "tls13: a recorded session with each bit turned"
			   : "tls13: the same without ciphers, up to its Finished");
	start_session(sessions[i].is_rsa, ciphers);
	move(-1);
	for (size_t at = 0; at < end; at += size) {
		size = 5u + (size_t)(bytes[at + 3] << 8 | bytes[at + 4]);
		keep();
		for (size_t bit = 8 * at; bit < 8 * (at + size); bit += step)
			check_bit(bytes, at, bit, ciphers);
		again();
		play(bytes + at, size, SIZE_MAX);
	}
	CHECK(client.state == (ciphers ? TLS13_ENDED : TLS13_OPEN), "%d", client.state);
}

static int record(int port, bool is_rsa)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	ssize_t got = 1;
	size_t n;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)))
		return 1;
	start_session(is_rsa, true);
	for (session_size = 0; got > 0;) {
		if (move(sock))
			continue;
		if (!(tls13_current_state(&client) & BR_SSL_RECVREC))
			break;
		uint8_t *in = tls13_recvrec_buf(&client, &n);

		got = recv(sock, in, n, 0);
		if (got > 0) {
			memcpy(session + session_size, in, (size_t)got);
			session_size += (size_t)got;
			tls13_recvrec_ack(&client, (size_t)got);
		}
	}
	fprintf(stderr, "state %d, error %u, %zu bytes of data\n", client.state, client.error,
		received_size);
	printf("\t{\"\", 0x%x, %u, %s,", client.suite ? client.suite->number : 0,
		client.offer.group, is_rsa ? "true" : "false");
	for (size_t i = 0; i < session_size; i++)
		printf("%s%02x", i % 44 ? "" : i ? "\"\n\t\t\"" : "\n\t\t\"", session[i]);
	printf("\"},\n");
	return client.state != TLS13_ENDED;
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return record(atoi(argv[1]), !strcmp(argv[2], "rsa"));
	for (size_t i = 0; i < sizeof(sessions) / sizeof(*sessions); i++) {
		load(i);
		check_pieces(i);
		check_cuts(i);
		check_bits(i, session, true);
		make_plain(sessions[i].is_rsa);
		check_bits(i, opened_session, false);
	}
	return finish_tests();
}
