/* tls13_server.h - a server of TLS 1.3 (RFC 8446) that says whatever a test tells it, and the
 * client of trust/tls13.c before it. Its key schedule and its records are its own, of BearSSL's
 * primitives; it has nothing of the code under test but the arithmetic. Include it behind the
 * sources. */
#ifndef TLS13_SERVER_H
#define TLS13_SERVER_H

#include <bearssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/trust/tls13_client.h"

/* ---- the server's state ---- */

enum { SRV_X25519 = 29, SRV_P256 = 23, SRV_P384, SRV_P521 };

struct srv_keys {
	uint8_t secret[48], key[32], iv[12];
	uint64_t records;
};

static struct {
	/* what it is told to use */
	unsigned suite, group, scheme;
	const char *cookie;
	bool asks;    /* for a client's certificate */
	size_t chunk; /* bytes that the client gets at once; 0: all */

	/* what has been said so far, without records' headers: the transcript */
	uint8_t log[200000];
	size_t logged;

	const br_hash_class *hash;
	size_t hash_size, key_size;
	uint8_t schedule[48], shared[66];
	size_t shared_size;
	struct srv_keys send, receive;
	uint8_t app_send[48], app_receive[48];
	bool secure;
	uint8_t secret[20][48]; /* all that there have been */
	size_t secrets;

	/* what the client has said */
	uint8_t hello[3000]; /* its last ClientHello, with head */
	size_t hello_size;
	uint8_t session[32], share[133];
	size_t session_size, share_size;
	unsigned share_group, hellos;
	int alert; /* -1: none */
	bool ccs;
	bool finished;	  /* its Finished has come, and is right */
	unsigned updates; /* its KeyUpdates, of which so many ask for ours */
	unsigned update_requests, certificates, verifies;
	uint8_t data[5000], chain[10000];
	size_t data_size, chain_size;
	bool wrong; /* it said what it must not */
	/* a message that has come in part */
	uint8_t message[40000];
	size_t message_size;
} srv;

/* ---- key schedule (7.1) and records (5.2) ---- */

static void srv_digest(uint8_t *out, const void *data, size_t size)
{
	br_hash_compat_context c;
	uint8_t full[64];

	srv.hash->init(&c.vtable);
	srv.hash->update(&c.vtable, data, size);
	srv.hash->out(&c.vtable, full);
	memcpy(out, full, srv.hash_size);
}

static void srv_hmac(uint8_t *out, const void *key, size_t key_size, const void *data, size_t size)
{
	br_hmac_key_context k;
	br_hmac_context h;
	uint8_t full[64];

	br_hmac_key_init(&k, srv.hash, key, key_size);
	br_hmac_init(&h, &k, 0);
	br_hmac_update(&h, data, size);
	br_hmac_out(&h, full);
	memcpy(out, full, srv.hash_size);
}

static void srv_expand(uint8_t *out, size_t size, const uint8_t *secret, const char *label,
	const void *context, size_t context_size)
{
	uint8_t info[300], block[48];
	size_t used = 0;

	info[used++] = 0;
	info[used++] = (uint8_t)size;
	info[used++] = (uint8_t)(6 + strlen(label));
	used += (size_t)sprintf((char *)info + used, "tls13 %s", label);
	info[used++] = (uint8_t)context_size;
	if (context_size > 0)
		memcpy(info + used, context, context_size);
	used += context_size;
	info[used++] = 1;
	srv_hmac(block, secret, srv.hash_size, info, used);
	memcpy(out, block, size);
}

static void srv_note(const uint8_t *secret)
{
	if (srv.secrets == sizeof(srv.secret) / sizeof(*srv.secret))
		abort();
	memcpy(srv.secret[srv.secrets++], secret, srv.hash_size);
}

/* Derive-Secret, of all that has been said so far. */
static void srv_derive(uint8_t *out, const char *label)
{
	uint8_t hash[48];

	srv_digest(hash, srv.log, srv.logged);
	srv_expand(out, srv.hash_size, srv.schedule, label, hash, srv.hash_size);
	srv_note(out);
}

static void srv_extract(const void *input, size_t size)
{
	uint8_t empty[48], salt[48];

	srv_digest(empty, "", 0);
	srv_expand(salt, srv.hash_size, srv.schedule, "derived", empty, srv.hash_size);
	srv_hmac(srv.schedule, salt, srv.hash_size, input, size);
	srv_note(srv.schedule);
}

static void srv_set_keys(struct srv_keys *k, const uint8_t *secret)
{
	if (secret != k->secret)
		memcpy(k->secret, secret, srv.hash_size);
	srv_expand(k->key, srv.key_size, secret, "key", NULL, 0);
	srv_expand(k->iv, 12, secret, "iv", NULL, 0);
	k->records = 0;
}

static void srv_renew(struct srv_keys *k)
{
	uint8_t next[48];

	srv_expand(next, srv.hash_size, k->secret, "traffic upd", NULL, 0);
	srv_set_keys(k, next);
}

/* As tests of the messages have it: ciphers that do nothing, and a tag of zeros. */
static bool srv_plain;

static void srv_crypt(struct srv_keys *k, bool encrypt, const uint8_t *header, uint8_t *data,
	size_t size, uint8_t *tag)
{
	uint8_t nonce[12], h[16] = {0}, zero[12] = {0}, lengths[16] = {0};
	br_aes_ct_ctr_keys aes;

	memcpy(nonce, k->iv, 12);
	for (int i = 0; i < 8; i++)
		nonce[11 - i] ^= (uint8_t)(k->records >> 8 * i);
	k->records++;
	memset(tag, 0, 16);
	if (srv_plain)
		return;
	if (srv.suite == 0x1303) {
		br_poly1305_ctmul_run(
			k->key, nonce, data, size, header, 5, tag, br_chacha20_ct_run, encrypt);
		return;
	}
	br_aes_ct_ctr_init(&aes, k->key, srv.key_size);
	br_aes_ct_ctr_run(&aes, zero, 0, h, 16);
	lengths[7] = 40;
	for (int i = 0; i < 4; i++)
		lengths[15 - i] = (uint8_t)(size * 8 >> 8 * i);
	if (encrypt)
		br_aes_ct_ctr_run(&aes, nonce, 2, data, size);
	br_ghash_ctmul(tag, h, header, 5);
	br_ghash_ctmul(tag, h, data, size);
	br_ghash_ctmul(tag, h, lengths, 16);
	if (!encrypt)
		br_aes_ct_ctr_run(&aes, nonce, 2, data, size);
	br_aes_ct_ctr_run(&aes, nonce, 1, tag, 16);
}

/* ---- what the client says ---- */

static void srv_read_hello(const uint8_t *message, size_t size)
{
	size_t at = 4 + 2 + 32;

	memcpy(srv.hello, message, size);
	srv.hello_size = size;
	srv.hellos++;
	srv.session_size = message[at];
	memcpy(srv.session, message + at + 1, srv.session_size);
	at += 1 + srv.session_size;
	at += 2 + (size_t)(message[at] << 8 | message[at + 1]) + 2 + 2;
	while (at + 4 <= size) {
		unsigned type = (unsigned)message[at] << 8 | message[at + 1];
		size_t length = (size_t)(message[at + 2] << 8 | message[at + 3]);

		at += 4;
		if (type == 51) {
			srv.share_group = (unsigned)message[at + 2] << 8 | message[at + 3];
			srv.share_size = (size_t)(message[at + 4] << 8 | message[at + 5]);
			memcpy(srv.share, message + at + 6, srv.share_size);
			srv.wrong |= length != srv.share_size + 6;
		}
		at += length;
	}
	srv.wrong |= at != size;
}

static void srv_check_finished(const uint8_t *message, size_t size)
{
	uint8_t key[48], mac[48], hash[48];

	srv_digest(hash, srv.log, srv.logged);
	srv_expand(key, srv.hash_size, srv.receive.secret, "finished", NULL, 0);
	srv_hmac(mac, key, srv.hash_size, hash, srv.hash_size);
	srv.finished = size == 4 + srv.hash_size && !memcmp(message + 4, mac, srv.hash_size);
	srv.wrong |= !srv.finished;
	srv_set_keys(&srv.receive, srv.app_receive);
}

static void srv_take_message(const uint8_t *message, size_t size)
{
	bool transcript = !srv.finished;

	switch (message[0]) {
	case 1:
		srv_read_hello(message, size);
		break;
	case 11:
		srv.certificates++;
		srv.chain_size = size - 4;
		memcpy(srv.chain, message + 4, size - 4);
		break;
	case 15:
		srv.verifies++;
		break;
	case 20:
		srv_check_finished(message, size);
		break;
	case 24:
		srv.updates++;
		srv.update_requests += message[4];
		srv.wrong |= size != 5 || message[4] > 1 || !srv.finished;
		srv_renew(&srv.receive);
		transcript = false;
		break;
	default:
		srv.wrong = true;
	}
	if (transcript) {
		memcpy(srv.log + srv.logged, message, size);
		srv.logged += size;
	}
}

static void srv_take_record(unsigned type, const uint8_t *data, size_t size)
{
	if (type == 21) {
		srv.wrong |= size != 2 || data[0] != (data[1] == 0 ? 1 : 2);
		srv.alert = data[1];
	} else if (type == 23) {
		memcpy(srv.data + srv.data_size, data, size);
		srv.data_size += size;
	} else if (type == 22) {
		memcpy(srv.message + srv.message_size, data, size);
		srv.message_size += size;
		while (srv.message_size >= 4) {
			size_t whole = 4u + ((size_t)srv.message[1] << 16 |
						    (size_t)srv.message[2] << 8 | srv.message[3]);

			if (srv.message_size < whole)
				break;
			srv_take_message(srv.message, whole);
			srv.message_size -= whole;
			memmove(srv.message, srv.message + whole, srv.message_size);
		}
	} else {
		srv.wrong = true;
	}
}

/* Reads all that the client has to send. */
static void srv_hear(void)
{
	size_t size;

	while (tls13_current_state(&client) & BR_SSL_SENDREC) {
		static uint8_t record[TLS13_OUT_SIZE + 20000];
		static size_t have;
		uint8_t *out = tls13_sendrec_buf(&client, &size);
		size_t n = srv.chunk && srv.chunk < size ? srv.chunk : size, used = 0, body;

		memcpy(record + have, out, n);
		have += n;
		tls13_sendrec_ack(&client, n);
		while (have - used >= 5 &&
			have - used >= 5u + (size_t)(record[used + 3] << 8 | record[used + 4])) {
			uint8_t *header = record + used, tag[16];
			unsigned type = header[0];

			body = (size_t)(header[3] << 8 | header[4]);
			used += 5 + body;
			if (type == 20) {
				srv.wrong |= srv.ccs || body != 1 || header[5] != 1;
				srv.ccs = true;
				continue;
			}
			/* A hello that the client dislikes made no keys. */
			if (srv.secure && (type != 21 || srv.receive.records > 0)) {
				if (body < 17)
					abort();
				body -= 16;
				srv_crypt(&srv.receive, false, header, header + 5, body, tag);
				srv.wrong |= type != 23 || memcmp(tag, header + 5 + body, 16) != 0;
				type = header[5 + --body];
			}
			srv_take_record(type, header + 5, body);
		}
		have -= used;
		memmove(record, record + used, have);
	}
}

/* ---- what the server says ---- */

static size_t srv_pushed; /* bytes that the client took of the last */

/* Raw bytes for the client, as long as it reads; its data are taken from it, and its words heard.
 */
static void srv_raw(const void *data, size_t size)
{
	for (srv_pushed = 0;;) {
		unsigned state = tls13_current_state(&client);
		size_t n;

		if (state & BR_SSL_SENDREC) {
			srv_hear();
		} else if (state & BR_SSL_RECVAPP) {
			uint8_t *app = tls13_recvapp_buf(&client, &n);

			memcpy(received + received_size, app, n);
			received_size += n;
			tls13_recvapp_ack(&client, n);
		} else if ((state & BR_SSL_RECVREC) && srv_pushed < size) {
			uint8_t *in = tls13_recvrec_buf(&client, &n);

			if (n == 0)
				abort();
			if (n > size - srv_pushed)
				n = size - srv_pushed;
			if (srv.chunk && n > srv.chunk)
				n = srv.chunk;
			memcpy(in, (const uint8_t *)data + srv_pushed, n);
			srv_pushed += n;
			tls13_recvrec_ack(&client, n);
		} else {
			return;
		}
	}
}

/* Makes a record, encrypted if it is time for that, with `padding` zeros. Returns its size. */
static size_t srv_seal(uint8_t *out, unsigned type, const void *data, size_t size, size_t padding)
{
	size_t sealed = srv.secure ? size + 1 + padding + 16 : size;

	out[0] = (uint8_t)(srv.secure ? 23 : type);
	out[1] = out[2] = 3;
	out[3] = (uint8_t)(sealed >> 8);
	out[4] = (uint8_t)sealed;
	memmove(out + 5, data, size);
	if (srv.secure) {
		out[5 + size] = (uint8_t)type;
		memset(out + 5 + size + 1, 0, padding);
		srv_crypt(&srv.send, true, out, out + 5, size + 1 + padding,
			out + 5 + size + 1 + padding);
	}
	return 5 + sealed;
}

static uint8_t srv_buffer[70000];

static void srv_record(unsigned type, const void *data, size_t size)
{
	size_t all = srv_seal(srv_buffer, type, data, size, 0);

	srv_raw(srv_buffer, all);
}

/* Adds a handshake message to the transcript. Returns it, and its size. */
static uint8_t *srv_say(unsigned type, const void *body, size_t size)
{
	uint8_t *message = srv.log + srv.logged;

	message[0] = (uint8_t)type;
	message[1] = (uint8_t)(size >> 16);
	message[2] = (uint8_t)(size >> 8);
	message[3] = (uint8_t)size;
	memcpy(message + 4, body, size);
	srv.logged += 4 + size;
	return message;
}

/* The same, and sends it in records of at most 16 KiB. */
static void srv_message(unsigned type, const void *body, size_t size)
{
	const uint8_t *message = srv_say(type, body, size);
	size_t n;

	for (size_t at = 0; at < 4 + size; at += n) {
		n = 4 + size - at < 16384 ? 4 + size - at : 16384;
		srv_record(22, message + at, n);
	}
}

static uint8_t *srv_put16(uint8_t *p, size_t n)
{
	p[0] = (uint8_t)(n >> 8);
	p[1] = (uint8_t)n;
	return p + 2;
}

static void srv_choose(unsigned suite)
{
	srv.suite = suite;
	srv.hash = suite == 0x1302 ? &br_sha384_vtable : &br_sha256_vtable;
	srv.hash_size = suite == 0x1302 ? 48 : 32;
	srv.key_size = suite == 0x1301 ? 16 : 32;
}

static void srv_start(void)
{
	srv.logged = srv.hello_size = srv.data_size = srv.chain_size = srv.message_size = 0;
	srv.secure = srv.ccs = srv.finished = srv.wrong = false;
	srv.hellos = srv.updates = srv.update_requests = srv.certificates = srv.verifies = 0;
	srv.alert = -1;
	srv.secrets = 0;
	judge.misused = judge.ended = false;
	judge.certs = judge.open = 0;
	judge.bytes = 0;
	srv_choose(srv.suite ? srv.suite : 0x1303);
	if (!srv.group)
		srv.group = SRV_X25519;
	start_client();
	srv_hear();
}

/* A ServerHello's body: with this random, these extensions. */
static size_t srv_hello_body(
	uint8_t *out, const uint8_t *random, const void *extensions, size_t size)
{
	uint8_t *p = srv_put16(out, 0x0303);

	memcpy(p, random, 32);
	p[32] = (uint8_t)srv.session_size;
	memcpy(p + 33, srv.session, srv.session_size);
	p = srv_put16(p + 33 + srv.session_size, srv.suite);
	*p++ = 0;
	p = srv_put16(p, size);
	memcpy(p, extensions, size);
	return (size_t)(p - out) + size;
}

static const uint8_t srv_retry_random[32] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe,
	0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e,
	0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

static const uint8_t srv_random[32] = "a server's random, 32 bytes long";

/* HelloRetryRequest, 4.1.4; the first hello becomes a hash (4.4.1). */
static void srv_retry(unsigned group, const char *cookie)
{
	uint8_t x[1500], *p = x, body[2000], hash[4 + 48] = {254, 0, 0, (uint8_t)srv.hash_size};

	memcpy(p, "\0\x2b\0\2\3\4", 6);
	p += 6;
	if (group) {
		p = srv_put16(srv_put16(p, 51), 2);
		p = srv_put16(p, group);
	}
	if (cookie) {
		p = srv_put16(srv_put16(p, 44), strlen(cookie) + 2);
		p = srv_put16(p, strlen(cookie));
		memcpy(p, cookie, strlen(cookie));
		p += strlen(cookie);
	}
	srv_digest(hash + 4, srv.log, srv.logged);
	memcpy(srv.log, hash, 4 + srv.hash_size);
	srv.logged = 4 + srv.hash_size;
	srv_message(2, body, srv_hello_body(body, srv_retry_random, x, (size_t)(p - x)));
}

static const uint8_t srv_private[66] = {
	0, [1] = 0x5a, [2] = 1, [20] = 7, [31] = 0x11, [40] = 3, [65] = 9};

static void srv_private_key(uint8_t key[66], size_t *size)
{
	br_ec_all_m31.order((int)srv.group, size);
	memcpy(key, srv_private, 66);
}

/* The server's share of its group. */
static size_t srv_make_share(uint8_t *out)
{
	uint8_t key[66];
	size_t size;

	srv_private_key(key, &size);
	return br_ec_all_m31.mulgen(out, key, size, (int)srv.group);
}

/* The extensions of a right ServerHello. */
static size_t srv_hello_extensions(uint8_t *out)
{
	uint8_t *p = out + 6;
	size_t size;

	memcpy(out, "\0\x2b\0\2\3\4", 6);
	size = srv_make_share(p + 8);
	p = srv_put16(srv_put16(p, 51), size + 4);
	p = srv_put16(srv_put16(p, srv.group), size);
	return (size_t)(p - out) + size;
}

/* The keys of the handshake; the ServerHello is in the transcript. */
static void srv_agree(void)
{
	uint8_t key[66], point[133], zeros[48] = {0}, secret[48];
	size_t size, start;

	srv_private_key(key, &size);
	memcpy(point, srv.share, srv.share_size);
	if (!br_ec_all_m31.mul(point, srv.share_size, key, size, (int)srv.group))
		srv.wrong = true;
	start = br_ec_all_m31.xoff((int)srv.group, &srv.shared_size);
	memcpy(srv.shared, point + start, srv.shared_size);
	srv_hmac(srv.schedule, zeros, srv.hash_size, zeros, srv.hash_size);
	srv_extract(srv.shared, srv.shared_size);
	srv_derive(secret, "s hs traffic");
	srv_set_keys(&srv.send, secret);
	srv_derive(secret, "c hs traffic");
	srv_set_keys(&srv.receive, secret);
	srv.secure = true;
}

static void srv_hello(void)
{
	uint8_t x[300], body[500];
	size_t size = srv_hello_body(body, srv_random, x, srv_hello_extensions(x));

	/* The client answers at once to what it dislikes: the keys are there before. */
	const uint8_t *message = srv_say(2, body, size);
	size_t all;

	srv.secure = false;
	all = srv_seal(srv_buffer, 22, message, 4 + size, 0);
	srv_agree();
	srv_raw(srv_buffer, all);
}

static size_t srv_certificate_body(uint8_t *out, unsigned certs, size_t size)
{
	uint8_t *p = out + 4;

	for (unsigned i = 0; i < certs; i++) {
		p[0] = (uint8_t)(size >> 16);
		srv_put16(p + 1, size);
		memset(p + 3, 'c', size);
		p = srv_put16(p + 3 + size, 0);
	}
	out[0] = 0;
	out[1] = (uint8_t)((size_t)(p - out - 4) >> 16);
	srv_put16(out + 2, (size_t)(p - out - 4));
	return (size_t)(p - out);
}

static const br_hash_class *srv_scheme_hash(unsigned scheme, int *id)
{
	static const br_hash_class *const classes[] = {
		&br_sha256_vtable, &br_sha384_vtable, &br_sha512_vtable};
	unsigned i = (scheme & 0xff) == 3 ? (scheme >> 8) - 4 : (scheme & 0xff) - 4;

	i = i < 3 ? i : 0;
	*id = br_sha256_ID + (int)i;
	return classes[i];
}

/* CertificateVerify's body (4.4.3) by `scheme`, over what was said before it. */
static size_t srv_verify_body(uint8_t *out, unsigned scheme, const char *context)
{
	uint8_t content[64 + 34 + 48], hash[64],
		salt[64] = "any salt will do, as long as it is as long as the hash, or so...";
	int id, curve = SRV_P256 + (int)(scheme >> 8) - 4;
	const br_hash_class *class = srv_scheme_hash(scheme, &id);
	br_hash_compat_context c;
	size_t size;

	memset(content, ' ', 64);
	memcpy(content + 64, context, 34);
	srv_digest(content + 98, srv.log, srv.logged);
	class->init(&c.vtable);
	class->update(&c.vtable, content, 98 + srv.hash_size);
	class->out(&c.vtable, hash);
	if ((scheme & 0xff) == 3) {
		br_ec_private_key key = {curve, (uint8_t *)(uintptr_t)ec_key, 0};

		br_ec_all_m31.order(curve, &key.xlen);
		size = br_ecdsa_i31_sign_asn1(&br_ec_all_m31, class, hash, &key, out + 4);
	} else {
		size = pss_sign(&rsa_key(2048)->private, class, hash, salt, out + 4);
	}
	srv_put16(srv_put16(out, scheme), size);
	return 4 + size;
}

static const char srv_context[] = "TLS 1.3, server CertificateVerify";

static size_t srv_finished_body(uint8_t *out)
{
	uint8_t key[48], hash[48];

	srv_digest(hash, srv.log, srv.logged);
	srv_expand(key, srv.hash_size, srv.send.secret, "finished", NULL, 0);
	srv_hmac(out, key, srv.hash_size, hash, srv.hash_size);
	return srv.hash_size;
}

/* The keys of what follows; the server's Finished is in the transcript. */
static void srv_next_secrets(void)
{
	uint8_t zeros[48] = {0};

	srv_extract(zeros, srv.hash_size);
	srv_derive(srv.app_send, "s ap traffic");
	srv_derive(srv.app_receive, "c ap traffic");
}

static void srv_finished(void)
{
	uint8_t body[48];
	const uint8_t *message = srv_say(20, body, srv_finished_body(body));
	size_t all = srv_seal(srv_buffer, 22, message, 4 + srv.hash_size, 0);

	srv_next_secrets();
	srv_set_keys(&srv.send, srv.app_send);
	srv_raw(srv_buffer, all);
}

static const uint8_t srv_request_body[] = {0, 0, 10, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4};

/* A NewSessionTicket (4.6.1): with a nonce, a ticket, and what the client does not know. */
static const uint8_t srv_ticket[] = {
	0, 0, 1, 0, 1, 2, 3, 4, 1, 0, 0, 3, 'n', 'e', 'w', 0, 8, 0x2a, 0x2a, 0, 0, 0, 42, 0, 0};

/* Says one message after the other, rightly, until the client is in that state. */
static void srv_until(enum tls13_state state)
{
	static uint8_t body[3000];

	while (client.state != state && client.state < TLS13_OPEN) {
		switch (client.state) {
		case TLS13_HELLO:
			if (srv.cookie || srv.group != SRV_X25519 || state == TLS13_SECOND_HELLO)
				srv_retry(srv.group != SRV_X25519 ? srv.group : 0,
					srv.cookie || srv.group != SRV_X25519 ? srv.cookie
									      : "cookie");
			else
				srv_hello();
			break;
		case TLS13_SECOND_HELLO:
			srv_hello();
			break;
		case TLS13_EXTENSIONS:
			srv_message(8, "\0\0", 2);
			break;
		case TLS13_REQUEST:
			if (srv.asks || state == TLS13_CHAIN) {
				srv_message(13, srv_request_body, sizeof(srv_request_body));
				break;
			}
			/* fall through */
		case TLS13_CHAIN:
			srv_message(11, body, srv_certificate_body(body, 2, 500));
			break;
		case TLS13_PROOF:
			srv_message(15, body, srv_verify_body(body, srv.scheme, srv_context));
			break;
		case TLS13_END:
			srv_finished();
			break;
		default:
			return;
		}
		if (client.state == TLS13_BROKEN)
			return;
	}
}

/* A client that has a session with the server. */
static bool srv_open(unsigned suite, unsigned group, unsigned scheme)
{
	srv.suite = suite;
	srv.group = group;
	srv.scheme = scheme;
	set_judge(scheme);
	srv_start();
	srv_until(TLS13_OPEN);
	return client.state == TLS13_OPEN && srv.finished && !srv.wrong && !judge.misused;
}

#endif
