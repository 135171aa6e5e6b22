/* tls13.c - unit tests of records, alerts, new keys and ends, with a server that is wrong in one
 * place; and of what is left of the secrets. */

/* As few records as a test can count. */
#define RENEW_AT    20
#define RECORDS_MAX 40
#include "test/unit/trust/tls13_cases.h"

static uint8_t big[20000];

/* ---- sizes, 5.1, 5.2 and 5.4 ---- */

/* Sends a record with padding. */
static void say_padded(unsigned type, const void *data, size_t size, size_t padding)
{
	size_t all = srv_seal(srv_buffer, type, data, size, padding);

	srv_raw(srv_buffer, all);
}

static void test_sizes(void)
{
	static const size_t paddings[] = {1, 2, 15, 16, 17, 255, 256, 5000, 16383};

	begin_test("tls13: the largest records are taken, and no larger ones");
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 >> 3);
	enter(TLS13_OPEN);
	keep();
	srv_record(23, big, 16384);
	CHECK(received_size == 16384 && !memcmp(received, big, 16384), "%zu", received_size);
	srv_record(23, big, 1);
	CHECK(received_size == 16385);
	again();
	srv_record(23, big, 16385);
	check_refused("data", 0, 22, BR_ERR_TOO_LARGE);
	again();
	say_padded(23, big, 16384, 1);
	check_refused("padding", 0, 22, BR_ERR_TOO_LARGE);
	again();
	srv_raw("\x17\3\3\x41\1", 5);
	check_refused("a header", 0, 22, BR_ERR_TOO_LARGE);
	again();
	srv_raw("\x17\3\3\x41\0", 5);
	CHECK(client.state == TLS13_OPEN);
	for (size_t size = 0; size <= 16; size++) {
		again();
		srv_raw(memcpy(srv_buffer, (uint8_t[5]){23, 3, 3, 0, (uint8_t)size}, 5), 5);
		srv_raw(big, size);
		check_refused("too small", size, 20, BR_ERR_BAD_MAC);
	}
	enter(TLS13_HELLO);
	keep();
	srv_raw("\x16\3\3\x40\1", 5);
	check_refused("plain", 0, 22, BR_ERR_TOO_LARGE);
	again();
	srv_raw("\x16\3\3\x40\0", 5);
	CHECK(client.state == TLS13_HELLO);

	begin_test("tls13: padding is passed over, and a record of nothing else is refused");
	enter(TLS13_OPEN);
	for (size_t i = 0; i < sizeof(paddings) / sizeof(*paddings); i++) {
		received_size = 0;
		say_padded(23, "x", 1, paddings[i]);
		CHECK(has_received("x"), "%zu: %u", paddings[i], client.error);
	}
	received_size = 0;
	say_padded(23, "\0\0", 2, 5);
	CHECK(received_size == 2 && !received[0], "zeros of its own");
	keep();
	for (size_t i = 0; i < sizeof(paddings) / sizeof(*paddings); i++) {
		again();
		say_padded(0, "", 0, paddings[i]);
		check_refused("padding", paddings[i], 10, BR_ERR_UNEXPECTED);
	}
	enter(TLS13_EXTENSIONS);
	say_padded(22, "\x8\0\0\2\0\0", 6, 300);
	CHECK(client.state == TLS13_REQUEST);
}

static void test_forged(void)
{
	size_t all;

	for (unsigned suite = 0x1301; suite <= 0x1303; suite++) {
		begin_test("tls13: a record that differs in one bit, or comes twice, is refused");
		srv_open(suite, SRV_X25519, 0x0403);
		keep();
		all = srv_seal(srv_buffer, 23, "some data", 9, 0);
		for (size_t bit = 0; bit < 8 * all; bit++) {
			again();
			if (bit / 8 >= 3 &&
				bit / 8 < 5) /* the length: of more it waits for the end */
				continue;
			all = srv_seal(srv_buffer, 23, "some data", 9, 0);
			srv_buffer[bit / 8] ^= 1 << bit % 8;
			srv_raw(srv_buffer, all);
			CHECK(client.state == TLS13_BROKEN && received_size == 0, "bit %zu", bit);
			if (bit / 8 >= 5)
				check_refused("bit", bit, 20, BR_ERR_BAD_MAC);
		}
		again();
		all = srv_seal(srv_buffer, 23, "once", 4, 0);
		srv_raw(srv_buffer, all);
		CHECK(has_received("once"));
		received_size = 0;
		srv_raw(srv_buffer, all);
		check_refused("twice", 0, 20, BR_ERR_BAD_MAC);
		again();
		srv.send.records++;
		srv_record(23, "one is missing", 14);
		check_refused("a gap", 0, 20, BR_ERR_BAD_MAC);
		again();
		all = srv_seal(srv_buffer, 23, "some data", 9, 0);
		srv_buffer[4]--;
		srv_raw(srv_buffer, all - 1);
		check_refused("a byte less", 0, 20, BR_ERR_BAD_MAC);
	}
}

/* ---- messages in records, 5.1 ---- */

/* Puts the rest of the server's flight, from EncryptedExtensions on, into `out`. */
static size_t make_flight(uint8_t *out)
{
	size_t start = srv.logged;
	uint8_t body[3000];

	srv_say(8, "\0\0", 2);
	srv_say(11, body, srv_certificate_body(body, 2, 500));
	srv_say(15, body, srv_verify_body(body, srv.scheme, srv_context));
	srv_say(20, body, srv_finished_body(body));
	memcpy(out, srv.log + start, srv.logged - start);
	return srv.logged - start;
}

static void test_fragments(void)
{
	static uint8_t flight[4000];
	size_t size = 1, all = 0;

	begin_test("tls13: the flight in one record, and cut in two at each byte");
	enter(TLS13_EXTENSIONS);
	keep();
	for (size_t cut = 0; cut < size; cut++) {
		again();
		size = make_flight(flight);
		if (cut > 0)
			all = srv_seal(srv_buffer, 22, flight, cut, 0);
		else
			all = 0;
		all += srv_seal(srv_buffer + all, 22, flight + cut, size - cut, 0);
		srv_next_secrets();
		srv_raw(srv_buffer, all);
		CHECK(client.state == TLS13_OPEN && srv.finished && !srv.wrong &&
				judge.bytes == 1000,
			"%zu: %u", cut, client.error);
	}
}

static void test_key_changes(void)
{
	static uint8_t flight[4000];
	size_t size;

	begin_test("tls13: nothing may lie behind a message that changes keys");
	enter(TLS13_EXTENSIONS);
	size = make_flight(flight);
	flight[size] = 4;
	srv_record(22, flight, size + 1);
	check_refused("Finished", 0, 10, BR_ERR_UNEXPECTED);
	CHECK(!srv.finished);
	enter(TLS13_HELLO);
	size = srv_hello_extensions(flight);
	size = srv_hello_body(flight + 500, srv_random, flight, size);
	memcpy(flight, "\2\0\0", 3);
	flight[3] = (uint8_t)size;
	memcpy(flight + 4, flight + 500, size);
	flight[4 + size] = 8;
	srv_record(22, flight, size + 5);
	check_refused("ServerHello", 0, 10, BR_ERR_UNEXPECTED);
	enter(TLS13_OPEN);
	keep();
	srv_record(22, "\x18\0\0\1\0\x18", 6);
	check_refused("KeyUpdate", 0, 10, BR_ERR_UNEXPECTED);
}

static void test_between(void)
{
	begin_test("tls13: nothing may come between the parts of a message");
	enter(TLS13_OPEN);
	keep();
	for (unsigned type = 20; type <= 23; type++) {
		again();
		srv_record(22, "\4\0\0", 3);
		CHECK(!tls13_is_at_rest(&client));
		if (type == 22)
			continue;
		srv_record(type, "\1\0", type == 20 ? 1 : 2);
		check_refused("type", type, 10, BR_ERR_UNEXPECTED);
	}
	enter(TLS13_EXTENSIONS);
	srv_record(22, "\x8\0\0", 3);
	srv_raw("\x14\3\3\0\1\1", 6);
	check_refused("a plain change_cipher_spec", 0, 10, BR_ERR_UNEXPECTED);

	begin_test(
		"tls13: an empty record of a message or an alert is refused, one of data is not");
	enter(TLS13_HELLO);
	srv_record(22, "", 0);
	check_refused("plain", 0, 10, BR_ERR_UNEXPECTED);
	again();
	srv_record(22, "", 0);
	check_refused("a message", 0, 10, BR_ERR_UNEXPECTED);
	again();
	srv_record(21, "", 0);
	check_refused("an alert", 0, 10, BR_ERR_UNEXPECTED); /* 5.4 */
	again();
	srv_record(23, "", 0);
	srv_record(23, "x", 1);
	CHECK(has_received("x"));
}

/* ---- change_cipher_spec, D.4 ---- */

static void test_ccs(void)
{
	static const char *const bad[] = {"\0", "\2", "\xff"};

	begin_test("tls13: a change_cipher_spec means nothing until the server's Finished");
	for (size_t i = 0; i < 8; i++) {
		enum tls13_state state =
			(enum tls13_state[]){TLS13_HELLO, TLS13_SECOND_HELLO, TLS13_EXTENSIONS,
				TLS13_REQUEST, TLS13_CHAIN, TLS13_PROOF, TLS13_END, TLS13_OPEN}[i];

		enter(state);
		keep();
		srv_raw("\x14\3\3\0\1\1", 6);
		if (state == TLS13_OPEN) {
			check_refused("open", 0, 10, BR_ERR_UNEXPECTED);
		} else {
			srv_until(TLS13_OPEN);
			CHECK(client.state == TLS13_OPEN && srv.finished && !srv.wrong, "%d",
				state);
		}
		for (int b = 0; b < 3; b++) {
			again();
			srv_raw("\x14\3\3\0\1", 5);
			srv_raw(bad[b], 1);
			check_refused("another byte", i, 10, BR_ERR_UNEXPECTED);
		}
		again();
		srv_raw("\x14\3\3\0\2\1\1", 7);
		check_refused("two", i, 10, BR_ERR_UNEXPECTED);
		again();
		srv_raw("\x14\3\3\0\0", 5);
		check_refused("none", i, 10, BR_ERR_UNEXPECTED);
	}
}

/* ---- too much of nothing ---- */

static void test_idle(void)
{
	begin_test("tls13: a server that sends nothing of use is left after 32 records");
	for (int kind = 0; kind < 5; kind++) {
		enum tls13_state state = kind < 2 ? TLS13_EXTENSIONS : TLS13_OPEN;
		int records = 0;

		enter(state);
		for (; records < 100 && client.state == state; records++)
			if (kind == 0)
				srv_raw("\x14\3\3\0\1\1", 6);
			else if (kind == 1)
				srv_record(21, "\1\x5a", 2);
			else if (kind == 2)
				srv_record(23, "", 0);
			else if (kind == 3)
				srv_message(4, srv_ticket, sizeof(srv_ticket));
			else {
				srv_record(22, "\x18\0\0\1\0", 5);
				srv_renew(&srv.send);
			}
		CHECK(records == 33, "%d: %d", kind, records);
		check_refused("kind", (size_t)kind, 10, TLS13_ERR_IDLE);
	}

	begin_test("tls13: an end after 32 such records is the end: nothing is said without keys");
	for (unsigned alert = 0; alert < 100; alert += 40) {
		uint8_t body[] = {2, (uint8_t)alert};

		enter(TLS13_OPEN);
		for (int i = 0; i < 32; i++)
			srv_record(23, "", 0);
		srv_record(21, body, 2);
		CHECK(client.state == (alert ? TLS13_BROKEN : TLS13_ENDED), "%d", client.state);
		CHECK(client.error == (alert ? BR_ERR_RECV_FATAL_ALERT + alert : BR_ERR_OK), "%u",
			client.error);
		CHECK(srv.alert == (alert ? -1 : 0) && !srv.wrong, "%d", srv.alert);
	}

	begin_test("tls13: tickets and new keys between data are no matter");
	enter(TLS13_OPEN);
	for (int i = 0; i < 200 && client.state == TLS13_OPEN; i++) {
		for (int j = 0; j < 5; j++)
			srv_message(4, srv_ticket, sizeof(srv_ticket));
		srv_message(24, i % 2 ? "\0" : "\1", 1);
		srv_renew(&srv.send);
		srv_record(23, "x", 1);
	}
	CHECK(client.state == TLS13_OPEN && received_size == 200, "%zu", received_size);

	begin_test("tls13: a ticket of any size is passed over");
	for (size_t size = 1; size <= 0xffff; size = size * 6 + 1) {
		static uint8_t ticket[8 + 1 + 2 + 0xffff + 2];

		enter(TLS13_OPEN);
		srv_put16(ticket + 9, size);
		srv_message(4, ticket, 8 + 1 + 2 + size + 2);
		CHECK(client.state == TLS13_OPEN && tls13_is_at_rest(&client), "%zu", size);
		srv_record(23, "x", 1);
		CHECK(has_received("x"));
	}
}

/* ---- alerts, 6 ---- */

static void test_alerts(void)
{
	static const enum tls13_state states[] = {
		TLS13_HELLO, TLS13_SECOND_HELLO, TLS13_EXTENSIONS, TLS13_END, TLS13_OPEN};

	begin_test("tls13: each alert in each phase, and of each level");
	for (size_t i = 0; i < 5; i++) {
		enter(states[i]);
		keep();
		for (unsigned alert = 0; alert < 256; alert++)
			for (unsigned level = 0; level < 4; level++) {
				uint8_t body[] = {(uint8_t)level, (uint8_t)alert};

				again();
				srv_record(21, body, 2);
				if (alert == 90)
					CHECK(client.state == states[i]);
				else if (alert == 0)
					CHECK(client.state == TLS13_ENDED &&
						client.error == BR_ERR_OK);
				else
					CHECK(client.state == TLS13_BROKEN &&
						client.error == BR_ERR_RECV_FATAL_ALERT + alert);
				CHECK(srv.alert == (alert == 0 && states[i] == TLS13_OPEN ? 0
											  : -1) &&
						!srv.wrong,
					"%d: %u: %d", states[i], alert, srv.alert);
			}
		for (size_t size = 1; size < 5; size++) {
			again();
			srv_record(21, "\2\x28\2\x28", size);
			if (size != 2)
				check_refused("size", size, 50, BR_ERR_BAD_ALERT);
		}
	}
}

static void test_close(void)
{
	size_t room;

	begin_test("tls13: our close_notify ends an open session, and no other one (6.1)");
	for (int state = TLS13_HELLO; state < TLS13_ANSWER_CHAIN; state++) {
		if (state == TLS13_SECOND_HELLO)
			continue;
		enter((enum tls13_state)state);
		tls13_close(&client);
		srv_hear();
		CHECK(client.state == (enum tls13_state)state && srv.alert == -1, "%d", state);
	}
	enter(TLS13_OPEN);
	keep();
	tls13_close(&client);
	tls13_close(&client);
	CHECK(client.state == TLS13_ENDED && client.error == BR_ERR_OK && srv.alert == -1);
	srv_hear();
	CHECK(srv.alert == 0 && !srv.wrong && tls13_current_state(&client) == BR_SSL_CLOSED);
	again();
	srv_record(23, big, 16385);
	CHECK(client.state == TLS13_BROKEN && srv.alert == 22);
	tls13_close(&client);
	CHECK(client.state == TLS13_BROKEN && client.error == BR_ERR_TOO_LARGE);
	CHECK(tls13_current_state(&client) == BR_SSL_CLOSED);

	begin_test("tls13: it goes behind a record that waits, and is left out within one");
	again();
	memcpy(tls13_sendapp_buf(&client, &room), "data", 4);
	tls13_sendapp_ack(&client, 4);
	tls13_flush(&client, 0);
	tls13_sendrec_ack(&client, 0);
	tls13_close(&client);
	srv_hear();
	CHECK(srv.data_size == 4 && srv.alert == 0 && !srv.wrong, "%d", srv.alert);
	again();
	memcpy(tls13_sendapp_buf(&client, &room), "data", 4);
	tls13_sendapp_ack(&client, 4);
	tls13_close(&client);
	srv_hear();
	CHECK(client.state == TLS13_ENDED && srv.data_size == 0 && srv.alert == -1);
}

/* ---- new keys, 4.6.3 and 5.5 ---- */

static void server_renews(const char *wish)
{
	srv_message(24, wish, 1);
	srv_renew(&srv.send);
}

static void test_key_updates(void)
{
	begin_test("tls13: the server's new keys, and ours where it wants them");
	for (unsigned suite = 0x1301; suite <= 0x1303; suite++) {
		CHECK(srv_open(suite, SRV_X25519, 0x0403));
		server_renews("\0");
		srv_record(23, "a", 1);
		client_sends("one", 3);
		CHECK(has_received("a") && srv.updates == 0 && srv.data_size == 3);
		server_renews("\1");
		server_renews("\1");
		server_renews("\0");
		CHECK(srv.updates == 0, "none before we have data");
		srv_record(23, "b", 1);
		client_sends("two", 3);
		CHECK(has_received("ab") && srv.updates == 1 && srv.update_requests == 0);
		client_sends("three", 5);
		CHECK(srv.updates == 1 && !srv.wrong && srv.data_size == 11, "%zu", srv.data_size);
		CHECK(!memcmp(srv.data, "onetwothree", 11));
		srv_record(21, "\1\0", 2);
		CHECK(client.state == TLS13_ENDED && srv.alert == 0 && !srv.wrong);
	}

	begin_test("tls13: a wish that comes while our data wait for the rest of their record");
	enter(TLS13_OPEN);
	{
		size_t room;
		uint8_t *out = tls13_sendapp_buf(&client, &room);

		memcpy(out, "begun ", 6);
		tls13_sendapp_ack(&client, 6);
		server_renews("\1");
		client_sends("and ended", 9);
		CHECK(srv.updates == 1 && srv.data_size == 15 && !srv.wrong, "%zu", srv.data_size);
		CHECK(!memcmp(srv.data, "begun and ended", 15));
	}

	begin_test("tls13: a malformed KeyUpdate, and data by keys that were renewed");
	enter(TLS13_OPEN);
	keep();
	for (unsigned wish = 2; wish < 256; wish++) {
		uint8_t body = (uint8_t)wish;

		again();
		srv_message(24, &body, 1);
		check_refused("wish", wish, 47, BR_ERR_BAD_HANDSHAKE);
	}
	for (size_t size = 0; size < 4; size++) {
		again();
		srv_message(24, "\0\0\0\0", size);
		if (size != 1)
			check_refused("size", size, 50, BR_ERR_BAD_HANDSHAKE);
	}
	again();
	srv_message(24, "\0", 1);
	srv_record(23, "old", 3);
	check_refused("old keys", 0, 20, BR_ERR_BAD_MAC);
	again();
	srv_renew(&srv.send);
	srv_record(23, "new", 3);
	check_refused("new keys, unsaid", 0, 20, BR_ERR_BAD_MAC);
}

static void test_limits(void)
{
	int records = 0;

	begin_test("tls13: keys of ours are renewed before their limit");
	enter(TLS13_OPEN);
	for (int i = 0; i < 3 * RECORDS_MAX; i++)
		client_sends("x", 1);
	CHECK(client.state == TLS13_OPEN && srv.data_size == 3 * RECORDS_MAX && !srv.wrong,
		"%u: %zu", client.error, srv.data_size);
	CHECK(srv.updates >= 3 * RECORDS_MAX / (RENEW_AT + 2) && srv.update_requests == 0, "%u",
		srv.updates);

	begin_test("tls13: the server is asked for new keys once, and then left");
	enter(TLS13_OPEN);
	keep();
	for (; records < RENEW_AT + 2; records++)
		srv_record(23, "y", 1);
	client_sends("x", 1);
	client_sends("x", 1);
	CHECK(srv.updates == 1 && srv.update_requests == 1 && !srv.wrong, "%u, %u", srv.updates,
		srv.update_requests);
	server_renews("\0");
	for (; records < 100 + RENEW_AT && client.state == TLS13_OPEN; records++)
		srv_record(23, "y", 1);
	CHECK(client.error == TLS13_ERR_OLD_KEYS && records > RENEW_AT + RECORDS_MAX, "%d: %u",
		records, client.error);
	CHECK(client.state == TLS13_BROKEN && srv.alert == 80);

	begin_test("tls13: an answer to a server's wish asks for nothing (4.6.3)");
	again();
	server_renews("\1");
	for (records = 0; records < RENEW_AT + 2; records++)
		srv_record(23, "y", 1);
	client_sends("x", 1);
	CHECK(srv.updates == 1 && srv.update_requests == 0, "%u", srv.update_requests);
	client_sends("x", 1);
	CHECK(srv.updates == 2 && srv.update_requests == 1 && !srv.wrong, "%u",
		srv.update_requests);

	begin_test("tls13: a server that renews its keys when asked is never left");
	again();
	for (records = 0; records < 500 && client.state == TLS13_OPEN; records++) {
		unsigned asked = srv.update_requests;

		srv_record(23, "y", 1);
		client_sends("x", 1);
		srv.data_size = 0;
		if (srv.update_requests > asked)
			server_renews("\0");
	}
	CHECK(records == 500 && srv.update_requests >= 500 / RECORDS_MAX && !srv.wrong, "%d: %u",
		records, client.error);
}

/* ---- the output ---- */

static void test_output(void)
{
	static const size_t sizes[] = {1, 511, 512, 513, 1000, 1023, 1024, 1025, 4000};
	static char name[HOST_MAX], cookie[1000];

	begin_test("tls13: data of any size leave in their order");
	for (size_t chunk = 0; chunk < 3; chunk++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			srv.chunk = chunk * 7;
			enter(TLS13_OPEN);
			client_sends(big, sizes[i]);
			CHECK(srv.data_size == sizes[i] && !memcmp(srv.data, big, sizes[i]) &&
					!srv.wrong,
				"%zu: %zu", sizes[i], srv.data_size);
			tls13_flush(&client, 0);
			CHECK(!(tls13_current_state(&client) & BR_SSL_SENDREC), "nothing to flush");
		}
	srv.chunk = 0;

	begin_test("tls13: an alert of the server stops what we send");
	enter(TLS13_OPEN);
	memcpy(tls13_sendapp_buf(&client, &srv_pushed), "abc", 3);
	tls13_sendapp_ack(&client, 3);
	srv_record(21, "\2\x28", 2);
	CHECK(client.error == BR_ERR_RECV_FATAL_ALERT + 40 && srv.data_size == 0);
	CHECK(!tls13_sendapp_buf(&client, &srv_pushed) && srv_pushed == 0);
	tls13_flush(&client, 0);
	CHECK(tls13_current_state(&client) == BR_SSL_CLOSED);

	/* Nobody could, before he has seen our hello; but anybody may guess. */
	begin_test("tls13: answers that come before our hello has left stay within bounds");
	memset(name, 'n', HOST_MAX - 1);
	for (size_t size = 1; size < sizeof(cookie); size += size < 40 ? 1 : 97) {
		uint8_t x[1500], record[2000], *p = x;
		size_t n;

		client_setup.host = name;
		srv.session_size = 0;
		start_client();
		memcpy(p, "\0\x2b\0\2\3\4\0\x33\0\2\0\x19", 12);
		p = srv_put16(srv_put16(srv_put16(p + 12, 44), size + 2), size);
		memset(p, 'k', size);
		memcpy(srv.session, client.offer.session, 32);
		srv.session_size = 32;
		n = srv_hello_body(record + 9, srv_retry_random, x, (size_t)(p - x) + size);
		memcpy(record, "\x16\3\3", 3);
		srv_put16(record + 3, n + 4);
		record[5] = 2, record[6] = 0;
		srv_put16(record + 7, n);
		for (size_t at = 0, room;
			at < n + 9 && (tls13_current_state(&client) & BR_SSL_RECVREC);) {
			uint8_t *in = tls13_recvrec_buf(&client, &room);

			room = room < n + 9 - at ? room : n + 9 - at;
			memcpy(in, record + at, room);
			tls13_recvrec_ack(&client, room);
			at += room;
		}
		CHECK(client.out_start + client.out_size <= TLS13_OUT_SIZE);
	}
	client_setup.host = "example.test";
}

/* ---- secrets ---- */

static bool is_anywhere(const uint8_t *secret, size_t size)
{
	return memmem(&client, sizeof(client), secret, size) ||
	       memmem(client_in, sizeof(client_in), secret, size) ||
	       memmem(client_out, sizeof(client_out), secret, size);
}

/* Of the handshake nothing is left when it is over, of the rest when the session is. */
static void test_wiping(void)
{
	static const char *const ends[] = {
		"close_notify", "an alert", "a forged record", "our close_notify"};
	uint8_t key[32];

	for (unsigned suite = 0x1301; suite <= 0x1303; suite++) {
		for (int i = 0; i < 4; i++) {
			begin_test("tls13: no secret is left where its time is over");
			srv.suite = suite;
			srv.group = SRV_P256;
			srv.scheme = 0x0403;
			set_judge(srv.scheme);
			srv_start();
			srv_until(TLS13_SECOND_HELLO);
			memcpy(key, client.secret.handshake.private_key, 32);
			CHECK(is_anywhere(key, 32), "the check itself");
			srv_until(TLS13_EXTENSIONS);
			CHECK(!is_anywhere(key, 32), "the private key");
			srv_until(TLS13_OPEN);
			CHECK(client.state == TLS13_OPEN);
			for (size_t s = 0; s < srv.secrets; s++) {
				bool is_current =
					!memcmp(srv.secret[s], srv.app_send, srv.hash_size) ||
					!memcmp(srv.secret[s], srv.app_receive, srv.hash_size);

				CHECK(is_anywhere(srv.secret[s], srv.hash_size) == is_current,
					"%zu", s);
			}
			server_renews("\1");
			client_sends("x", 1);
			CHECK(!is_anywhere(srv.app_send, srv.hash_size) &&
					!is_anywhere(srv.app_receive, srv.hash_size),
				"renewed");
			CHECK(is_anywhere(srv.send.secret, srv.hash_size));
			if (i == 0)
				srv_record(21, "\1\0", 2);
			else if (i == 1)
				srv_record(21, "\2\x28", 2);
			else if (i == 2)
				srv_raw("\x17\3\3\0\x14--------------------", 25);
			else
				tls13_close(&client);
			CHECK(client.state >= TLS13_ENDED, "%s", ends[i]);
			for (size_t s = 0; s < srv.secrets; s++)
				CHECK(!is_anywhere(srv.secret[s], srv.hash_size), "%s: %zu",
					ends[i], s);
			CHECK(!is_anywhere(srv.shared, srv.shared_size));
			CHECK(!is_anywhere(srv.send.key, srv.key_size) &&
				!is_anywhere(srv.receive.key, srv.key_size));
			CHECK(!is_anywhere(srv.send.iv, 12) && !is_anywhere(srv.receive.iv, 12));
		}
	}
	srv.group = SRV_X25519;
}

int main(void)
{
	test_sizes();
	test_forged();
	test_fragments();
	test_key_changes();
	test_between();
	test_ccs();
	test_idle();
	test_alerts();
	test_close();
	test_key_updates();
	test_limits();
	test_output();
	test_wiping();
	return finish_tests();
}
