/* tls13_cases.h - what the unit tests of trust/tls13.c share: a state of client and server
 * that can be entered again, and checks. */
#ifndef TLS13_CASES_H
#define TLS13_CASES_H

#include "test/unit/trust/tls13_sources.h"

#include "test/unit/check.h"
#include "test/unit/stubs.h"
#include "test/unit/trust/tls13_server.h"

/* Sends data of ours, all at once or in part. */
static void client_sends(const void *data, size_t size)
{
	size_t room, n;

	while (size > 0) {
		uint8_t *out = tls13_sendapp_buf(&client, &room);

		if (!out)
			return;
		n = size < room ? size : room;
		memcpy(out, data, n);
		tls13_sendapp_ack(&client, n);
		data = (const uint8_t *)data + n;
		size -= n;
		if (size == 0)
			tls13_flush(&client, 0);
		srv_hear();
	}
}

static bool has_received(const char *text)
{
	return received_size == strlen(text) && !memcmp(received, text, received_size);
}

/* The session is over by a fault: this alert is what the server gets, this is our error. */
static void check_refused(const char *about, size_t number, int alert, unsigned error)
{
	CHECK(client.state == TLS13_BROKEN && srv.alert == alert && client.error == error,
		"%s %zu: alert %d, error %u, state %d", about, number, srv.alert, client.error,
		client.state);
	CHECK(!srv.wrong && !judge.misused && received_size == 0, "%s %zu", about, number);
	CHECK(tls13_current_state(&client) == BR_SSL_CLOSED, "%s %zu", about, number);
}

/* A state that is entered once, and then again and again. */
static struct {
	__typeof__(client) client;
	__typeof__(srv) srv;
	__typeof__(judge) judge;
	uint8_t in[TLS13_IN_SIZE], out[TLS13_OUT_SIZE];
	uint64_t seed;
} kept;

static void keep(void)
{
	kept.client = client;
	kept.srv = srv;
	kept.judge = judge;
	kept.seed = seed;
	memcpy(kept.in, client_in, sizeof(client_in));
	memcpy(kept.out, client_out, sizeof(client_out));
}

static void again(void)
{
	client = kept.client;
	srv = kept.srv;
	judge = kept.judge;
	seed = kept.seed;
	memcpy(client_in, kept.in, sizeof(client_in));
	memcpy(client_out, kept.out, sizeof(client_out));
	received_size = 0;
}

static void enter(enum tls13_state state)
{
	srv.suite = 0x1303;
	client_setup.host = "example.test";
	srv.scheme = 0x0403;
	set_judge(srv.scheme);
	srv_start();
	srv_until(state);
	CHECK(client.state == state && !srv.wrong, "%d: %d, error %u", state, client.state,
		client.error);
}

#endif
