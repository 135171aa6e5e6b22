/* tls13_client.h - a client of trust/tls13.c for tests, with the same random numbers in each run,
 * which trusts what it is told to trust. Include it behind the sources. */
#ifndef TLS13_CLIENT_H
#define TLS13_CLIENT_H

#include <bearssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "test/unit/rsa_keys.h"

/* ---- whom the client trusts: any chain, or none, and it notes what it was told ---- */

static struct judge {
	const br_x509_class *vtable;
	br_x509_pkey key;
	unsigned error; /* that end_chain() returns */
	unsigned certs, open;
	size_t bytes;
	bool ended, misused;
	char host[300];
} judge;

static void judge_start(const br_x509_class **ctx, const char *host)
{
	struct judge *j = (struct judge *)(void *)ctx;

	j->certs = j->open = 0;
	j->bytes = 0;
	j->ended = false;
	snprintf(j->host, sizeof(j->host), "%s", host ? host : "(none)");
}

static size_t judge_left; /* of the certificate under way */

static void judge_start_cert(const br_x509_class **ctx, uint32_t size)
{
	struct judge *j = (struct judge *)(void *)ctx;

	j->misused |= j->open != 0 || size == 0;
	j->open = 1;
	judge_left = size;
}

static void judge_append(const br_x509_class **ctx, const unsigned char *data, size_t size)
{
	struct judge *j = (struct judge *)(void *)ctx;

	(void)data;
	j->misused |= !j->open || size > judge_left;
	judge_left -= size;
	j->bytes += size;
}

static void judge_end_cert(const br_x509_class **ctx)
{
	struct judge *j = (struct judge *)(void *)ctx;

	j->misused |= !j->open || judge_left != 0;
	j->open = 0;
	j->certs++;
}

static unsigned judge_end(const br_x509_class **ctx)
{
	struct judge *j = (struct judge *)(void *)ctx;

	j->misused |= j->open || j->ended;
	j->ended = true;
	return j->error;
}

/* Nobody may ask for the key of a chain that was refused, or is not whole. */
static const br_x509_pkey *judge_key(const br_x509_class *const *ctx, unsigned *usages)
{
	struct judge *j = (struct judge *)(void *)ctx;

	j->misused |= !j->ended || j->error;
	if (usages)
		*usages = BR_KEYTYPE_SIGN;
	return &j->key;
}

static const br_x509_class judge_class = {sizeof(struct judge), judge_start, judge_start_cert,
	judge_append, judge_end_cert, judge_end, judge_key};

/* A private key on each of the three curves. */
static const uint8_t ec_key[66] = {
	0, [1] = 0x56, [2] = 0xfb, [30] = 0x3d, [47] = 0x1c, [65] = 0x77};

/* The server's key is one of ours, for a scheme: 0x0403, 0x0503 or 0x0603; else RSA. */
static void set_judge(unsigned scheme)
{
	static uint8_t point[133];
	int curve = BR_EC_secp256r1 + (int)(scheme >> 8) - 4;
	size_t size;

	judge.error = 0;
	if ((scheme & 0xff) == 3) {
		br_ec_all_m31.order(curve, &size);
		judge.key.key_type = BR_KEYTYPE_EC;
		judge.key.key.ec.curve = curve;
		judge.key.key.ec.q = point;
		judge.key.key.ec.qlen = br_ec_all_m31.mulgen(point, ec_key, size, curve);
	} else {
		judge.key.key_type = BR_KEYTYPE_RSA;
		judge.key.key.rsa = rsa_key(2048)->public;
	}
}

/* ---- the client ---- */

static uint64_t seed;
static int random_left = -1; /* calls that succeed; -1: all */

/* The same numbers in each run. */
static bool fixed_random(void *out, size_t size)
{
	if (random_left == 0)
		return false;
	random_left -= random_left > 0;
	for (size_t i = 0; i < size; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(seed >> 56);
	}
	return true;
}

static struct tls13 client;
static uint8_t client_in[TLS13_IN_SIZE], client_out[TLS13_OUT_SIZE];
static struct ciphers client_ciphers;
static bool gcm_first = true; /* in the hello, which is the same on all machines */
static struct tls13_setup client_setup;

static uint8_t received[1 << 17]; /* data that the client delivered */
static size_t received_size;

static void start_client(void)
{
	seed = 42;
	received_size = 0;
	client_ciphers = ciphers_best();
	client_ciphers.hardware_gcm = gcm_first;
	judge.vtable = &judge_class;
	client_setup.x509 = &judge.vtable;
	client_setup.ciphers = &client_ciphers;
	client_setup.random = fixed_random;
	client_setup.in = client_in;
	client_setup.out = client_out;
	memset(&client, 0xa5, sizeof(client)); /* nothing may depend on what was there before */
	tls13_start(&client, &client_setup);
}

#endif
