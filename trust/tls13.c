/* "4.1.3" and the like are sections of RFC 8446. */
#include "trust/tls13.h"

#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/minmax.h"
#include "trust/pss.h"
#include "trust/tls13_sign.h"

/* Records in a row without data or a handshake's bytes: tickets, new keys, no data, alerts. */
#define IDLE_MAX 32

/* 5.5: AES-GCM's keys are good for 2^24.5 full records. At half of 2^24 new ones are made, or asked
 * for with our next data; at 2^24 a session ends. A test has less. */
#ifndef RENEW_AT
#define RENEW_AT    (UINT64_C(1) << 23)
#define RECORDS_MAX (UINT64_C(1) << 24)
#endif

/* A message that is read as it comes. */
#define LONGEST 0x1ffff

#define SECURED (1 + 16) /* what encryption adds to a record: its type, and the tag */

/* Room for a KeyUpdate's record is kept before each record of data. */
#define RENEW_SIZE (5 + 5 + SECURED)

/* A piece of our chain; each record of our answer has no more, and a message's head. */
#define CHAIN_PIECE 512
#define ANSWER_SIZE (5 + 8 + CHAIN_PIECE + SECURED)

#define DATA_MAX (TLS13_OUT_SIZE - RENEW_SIZE - 5 - SECURED)

/* Content types (5.1). */
enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23 };

enum { CLOSE_NOTIFY = 0, USER_CANCELED = 90 };

/* ---- what may come when ---- */

#define IN(state) (1 << TLS13_##state)

static const struct {
	uint16_t states;   /* in which it may come */
	bool changes_keys; /* so that nothing may follow it in its record (5.1) */
	bool is_long;	   /* it is read as it comes */
} messages[] = {
	[TLS13_SERVER_HELLO] = {IN(HELLO) | IN(SECOND_HELLO), true, false},
	[TLS13_NEW_SESSION_TICKET] = {IN(OPEN), false, true},
	[TLS13_ENCRYPTED_EXTENSIONS] = {IN(EXTENSIONS), false, false},
	[TLS13_CERTIFICATE] = {IN(REQUEST) | IN(CHAIN), false, true},
	[TLS13_CERTIFICATE_REQUEST] = {IN(REQUEST), false, true},
	[TLS13_CERTIFICATE_VERIFY] = {IN(PROOF), false, false},
	[TLS13_FINISHED] = {IN(END), true, false},
	[TLS13_KEY_UPDATE] = {IN(OPEN), true, false},
};

/* ---- records of ours, and ends ---- */

static uint8_t *out_end(const struct tls13 *t)
{
	return t->with.out + t->out_start + t->out_size;
}

static size_t out_room(const struct tls13 *t)
{
	return TLS13_OUT_SIZE - t->out_start - t->out_size;
}

/* Appends a record to the output. The data may lie there in its place already. Without room nothing
 * is sent, which only happens to an alert. */
static void seal(struct tls13 *t, unsigned type, const void *data, size_t size)
{
	uint8_t *header = out_end(t), *body = header + 5;
	bool secure = t->secure && type != CCS;
	size_t sealed = size + (secure ? SECURED : 0);

	if (5 + sealed > out_room(t))
		return;
	memmove(body, data, size);
	header[0] = (uint8_t)(secure ? DATA : type);
	put16(header + 1, t->state == TLS13_HELLO ? 0x0301 : 0x0303);
	put16(header + 3, sealed);
	if (secure) {
		body[size] = (uint8_t)type;
		tls13_protect(&t->secret.send, true, header, body, size + 1, body + size + 1);
	}
	t->out_size += 5 + sealed;
}

/* Middlebox compatibility (D.4): once, before all that is encrypted. */
static void send_ccs(struct tls13 *t)
{
	if (!t->ccs)
		seal(t, CCS, "\1", 1);
	t->ccs = true;
}

static void end_session(struct tls13 *t, enum tls13_state state, unsigned error)
{
	t->state = state;
	t->error = error;
	explicit_bzero(&t->secret, sizeof(t->secret));
}

static void send_alert(struct tls13 *t, uint8_t level, uint8_t alert)
{
	const uint8_t body[2] = {level, alert};

	if (t->app_out > 0) /* its place is taken by data that wait for the rest */
		return;
	if (t->secure)
		send_ccs(t);
	seal(t, ALERT, body, sizeof(body));
}

/* The first fault ends the session; the server hears of it. After an end there are no keys. */
static void break_off(struct tls13 *t, enum tls13_fault fault)
{
	if (fault == TLS13_GOOD || t->state >= TLS13_ENDED)
		return;
	send_alert(t, 2, (uint8_t)(fault >> 8));
	end_session(t, TLS13_BROKEN, fault & 0xff);
}

/* ---- the transcript, and what is made of it ---- */

static const uint8_t *transcript_hash(struct tls13 *t)
{
	int id = t->suite->hash_size == 32 ? br_sha256_ID : br_sha384_ID;

	br_multihash_out(&t->transcript, id, t->hash);
	return t->hash;
}

/* A traffic secret, of the transcript so far. */
static void make_secret(struct tls13 *t, uint8_t *out, const char *label)
{
	tls13_expand(t->suite, out, t->suite->hash_size, t->secret.handshake.schedule, label,
		transcript_hash(t));
}

/* ---- our messages, each in its record's place in the output ---- */

static void send_message(struct tls13 *t, const uint8_t *message, size_t size)
{
	br_multihash_update(&t->transcript, message, size);
	seal(t, HANDSHAKE, message, size);
}

static bool make_key(struct tls13 *t, unsigned group)
{
	t->offer.group = group;
	return tls13_make_private_key(t->secret.handshake.private_key, group, t->with.random);
}

static enum tls13_fault send_client_hello(struct tls13 *t, struct der cookie)
{
	uint8_t *message = out_end(t) + 5, bytes[TLS13_SHARE_MAX];
	struct der share = {bytes, 0};

	_Static_assert(
		TLS13_OUT_SIZE >= 6 + 5 + TLS13_HELLO_SIZE + HOST_MAX + TLS13_SHARE_MAX + 500,
		"a change_cipher_spec, and the longest hello with a cookie of 500 bytes");
	_Static_assert(
		TLS13_OUT_SIZE >= 6 + 2 * (5 + TLS13_HELLO_SIZE + HOST_MAX) + 32 + TLS13_SHARE_MAX,
		"the same without a cookie, behind a first hello that has not left yet");
	share.left = tls13_make_share(bytes, t->secret.handshake.private_key, t->offer.group);
	if (cookie.left > out_room(t) - 5 - TLS13_HELLO_SIZE - HOST_MAX - share.left)
		return TLS13_LONG_COOKIE;
	send_message(t, message,
		(size_t)(tls13_write_hello(message, &t->offer, share, cookie) - message));
	return TLS13_GOOD;
}

/* A record at a time. */
static void send_chain(struct tls13 *t)
{
	const struct client_identity *own = t->scheme ? t->with.identity : NULL;
	uint8_t *message = out_end(t) + 5;
	size_t size = tls13_write_chain(own, t->chain_at, message, CHAIN_PIECE);

	if (size > 0)
		send_message(t, message, size);
	t->chain_at += size;
	if (size < CHAIN_PIECE)
		t->state = own ? TLS13_ANSWER_PROOF : TLS13_ANSWER_END;
}

static enum tls13_fault send_proof(struct tls13 *t)
{
	uint8_t *message = out_end(t) + 5, *p;
	struct der hash = {transcript_hash(t), t->suite->hash_size};
	size_t size = tls13_sign(t->with.identity, t->scheme, hash, t->with.random, message + 8);

	if (size == 0)
		return TLS13_NO_SIGNATURE;
	p = tls13_put_head(message, TLS13_CERTIFICATE_VERIFY, 4 + size);
	put16(put16(p, t->scheme), size);
	send_message(t, message, 8 + size);
	t->state = TLS13_ANSWER_END;
	return TLS13_GOOD;
}

/* With it the keys of the handshake have had their time. */
static void send_finished(struct tls13 *t)
{
	struct tls13_secrets *s = &t->secret;
	uint8_t *message = out_end(t) + 5;

	tls13_finished(t->suite, tls13_put_head(message, TLS13_FINISHED, t->suite->hash_size),
		s->send.secret, transcript_hash(t));
	send_message(t, message, 4u + t->suite->hash_size);
	memcpy(s->send.secret, s->handshake.next_send, TLS13_HASH_MAX);
	explicit_bzero(&s->handshake, sizeof(s->handshake));
	tls13_set_keys(&s->send, t->suite, t->with.ciphers);
	t->state = TLS13_OPEN;
}

/* ---- the server's messages ---- */

/* 4.1.4, 4.4.1 */
static enum tls13_fault take_retry(struct tls13 *t, const struct tls13_hello *h)
{
	const uint8_t head[4] = {TLS13_MESSAGE_HASH, 0, 0, t->suite->hash_size};
	bool is_new = h->group >= BR_EC_secp256r1 && h->group <= BR_EC_secp521r1;

	if (t->state != TLS13_HELLO)
		return TLS13_OUT_OF_TURN;
	/* One for the group that we have sent, for none of ours, or that changes nothing. */
	if (!is_new && (h->group != -1 || h->cookie.left == 0))
		return TLS13_ILLEGAL;
	transcript_hash(t);
	br_multihash_init(&t->transcript);
	br_multihash_update(&t->transcript, head, sizeof(head));
	br_multihash_update(&t->transcript, t->hash, t->suite->hash_size);
	br_multihash_update(&t->transcript, t->header, sizeof(t->header));
	br_multihash_update(&t->transcript, t->message, t->have);
	t->state = TLS13_SECOND_HELLO;
	if (is_new && !make_key(t, (unsigned)h->group))
		return TLS13_NO_RANDOM;
	send_ccs(t);
	return send_client_hello(t, h->cookie);
}

/* The suites are numbered from 0x1301 on. A second hello must choose the same one (4.1.4). */
static enum tls13_fault take_hello(struct tls13 *t, struct der body)
{
	struct tls13_secrets *s = &t->secret;
	struct tls13_hello h;
	uint8_t point[TLS13_SHARE_MAX];
	size_t size = 0, suite;
	enum tls13_fault fault = tls13_read_hello(&h, body);

	if (fault)
		return fault;
	if (!der_same(h.session, (struct der){t->offer.session, TLS13_SESSION_SIZE}))
		return TLS13_ILLEGAL;
	suite = (size_t)h.suite - tls13_suites[0].number;
	if (suite >= TLS13_SUITES || (t->suite && t->suite != &tls13_suites[suite]))
		return TLS13_BAD_SUITE;
	t->suite = &tls13_suites[suite];
	if (h.retry)
		return take_retry(t, &h);
	if (h.group < 0)
		return TLS13_MISSING;
	if ((unsigned)h.group == t->offer.group)
		size = tls13_agree(point, s->handshake.private_key, t->offer.group, h.share);
	explicit_bzero(s->handshake.private_key, sizeof(s->handshake.private_key));
	if (size == 0)
		return TLS13_BAD_SHARE;
	br_multihash_update(&t->transcript, t->header, sizeof(t->header));
	br_multihash_update(&t->transcript, body.at, body.left);
	tls13_handshake_secret(t->suite, s->handshake.schedule, point, size);
	explicit_bzero(point, sizeof(point));
	make_secret(t, s->receive.secret, "s hs traffic");
	make_secret(t, s->send.secret, "c hs traffic");
	tls13_set_keys(&s->receive, t->suite, t->with.ciphers);
	tls13_set_keys(&s->send, t->suite, t->with.ciphers);
	t->secure = true;
	t->state = TLS13_EXTENSIONS;
	return TLS13_GOOD;
}

/* A request's schemes are in message[]. */
static enum tls13_fault judge_list(struct tls13 *t)
{
	const struct client_identity *own = t->with.identity;
	enum tls13_fault fault = tls13_long_end(&t->list);
	unsigned first = 0, last = 0;

	if (fault)
		return fault;
	if (t->header[0] == TLS13_CERTIFICATE)
		return (*t->with.x509)->end_chain(t->with.x509) ? TLS13_BAD_CERTIFICATE
								: TLS13_GOOD;
	t->asked = true;
	if (own)
		tls13_schemes(own->key_type, own->ec.curve, &first, &last);
	return tls13_read_schemes((struct der){t->message, t->list.have}, first, last, &t->scheme);
}

/* The secrets to come are of the transcript up to here. The server has new keys from here on, we
 * have them after our Finished. */
static enum tls13_fault take_finished(struct tls13 *t, struct der body)
{
	struct tls13_secrets *s = &t->secret;
	uint8_t mac[TLS13_HASH_MAX];

	if (body.left != t->suite->hash_size)
		return TLS13_MALFORMED;
	tls13_finished(t->suite, mac, s->receive.secret, t->hash);
	if (!tls13_same(mac, body.at, body.left))
		return TLS13_BAD_FINISHED;
	tls13_master_secret(t->suite, s->handshake.schedule);
	make_secret(t, s->receive.secret, "s ap traffic");
	make_secret(t, s->handshake.next_send, "c ap traffic");
	tls13_set_keys(&s->receive, t->suite, t->with.ciphers);
	t->state = t->asked ? TLS13_ANSWER_CHAIN : TLS13_ANSWER_END;
	send_ccs(t);
	return TLS13_GOOD;
}

static enum tls13_fault take_key_update(struct tls13 *t, struct der body)
{
	if (body.left != 1)
		return TLS13_MALFORMED;
	if (body.at[0] > 1)
		return TLS13_ILLEGAL;
	tls13_renew(&t->secret.receive);
	t->waiting = false;
	t->renew |= body.at[0];
	return TLS13_GOOD;
}

static enum tls13_fault go_on(struct tls13 *t, enum tls13_fault fault, enum tls13_state next)
{
	if (!fault)
		t->state = next;
	return fault;
}

/* The state diagram: what a message that has come does in each state, or what is to be sent in it.
 * The table above has let no other one come. */
static enum tls13_fault run_state(struct tls13 *t)
{
	struct der body = {t->message, t->have};

	switch (t->state) {
	case TLS13_HELLO:
	case TLS13_SECOND_HELLO:
		return take_hello(t, body);
	case TLS13_EXTENSIONS:
		return go_on(t, tls13_read_extensions(body, t->offer.host), TLS13_REQUEST);
	case TLS13_REQUEST:
	case TLS13_CHAIN:
		return go_on(t, judge_list(t),
			t->header[0] == TLS13_CERTIFICATE ? TLS13_PROOF : TLS13_CHAIN);
	case TLS13_PROOF:
		return go_on(t,
			tls13_verify((*t->with.x509)->get_pkey(t->with.x509, NULL),
				(struct der){t->hash, t->suite->hash_size}, body),
			TLS13_END);
	case TLS13_END:
		return take_finished(t, body);
	case TLS13_ANSWER_CHAIN:
		send_chain(t);
		return TLS13_GOOD;
	case TLS13_ANSWER_PROOF:
		return send_proof(t);
	case TLS13_ANSWER_END:
		send_finished(t);
		return TLS13_GOOD;
	case TLS13_OPEN:
		return t->header[0] == TLS13_KEY_UPDATE ? take_key_update(t, body)
							: tls13_long_end(&t->list);
	case TLS13_ENDED:
	case TLS13_BROKEN:
	case TLS13_STATES:
		break;
	}
	return TLS13_OUT_OF_TURN;
}

static bool is_our_turn(const struct tls13 *t)
{
	return t->state >= TLS13_ANSWER_CHAIN && t->state <= TLS13_ANSWER_END;
}

/* Goes on with our answer while the output has room for the longest part. */
static void take_turn(struct tls13 *t)
{
	_Static_assert(PSS_SIZE_MAX <= CHAIN_PIECE, "a signature is no longer than a piece");
	_Static_assert(ANSWER_SIZE + 6 <= TLS13_OUT_SIZE, "one fits behind a change_cipher_spec");
	while (is_our_turn(t) && out_room(t) >= ANSWER_SIZE)
		break_off(t, run_state(t));
}

/* ---- the stream of messages ---- */

static enum tls13_fault begin_message(struct tls13 *t)
{
	unsigned type = t->header[0];

	t->left = (size_t)t->header[1] << 16 | get16(t->header + 2);
	t->have = 0;
	if (type >= sizeof(messages) / sizeof(*messages) ||
		!(messages[type].states >> t->state & 1))
		return TLS13_OUT_OF_TURN;
	if (t->left > (messages[type].is_long ? LONGEST : sizeof(t->message)))
		return TLS13_ILLEGAL;
	if (messages[type].is_long)
		tls13_long_begin(&t->list, type, t->left, t->with.x509, t->offer.host, t->message,
			sizeof(t->message));
	return TLS13_GOOD;
}

static enum tls13_fault continue_message(struct tls13 *t, struct der data)
{
	t->left -= data.left;
	if (messages[t->header[0]].is_long)
		return tls13_long_take(&t->list, data);
	tls13_put(t->message + t->have, data);
	t->have += data.left;
	return TLS13_GOOD;
}

/* CertificateVerify and Finished are about the transcript before them. Of it is what comes in the
 * handshake; a hello only once it has been understood. */
static enum tls13_fault take_handshake(struct tls13 *t, const uint8_t *data, size_t size)
{
	enum tls13_fault fault = size > 0 ? TLS13_GOOD : TLS13_OUT_OF_TURN;

	while (!fault && size > 0) {
		size_t missing = sizeof(t->header) - t->header_have;
		size_t n = (size_t)min_u64(missing > 0 ? missing : t->left, size);

		if (t->header_have == 0 && t->suite)
			transcript_hash(t);
		if (missing > 0) {
			memcpy(t->header + t->header_have, data, n);
			t->header_have += n;
			fault = n == missing ? begin_message(t) : TLS13_GOOD;
		} else {
			fault = continue_message(t, (struct der){data, n});
		}
		if (t->header[0] != TLS13_SERVER_HELLO && t->state != TLS13_OPEN)
			br_multihash_update(&t->transcript, data, n);
		data += n;
		size -= n;
		if (fault || t->header_have < sizeof(t->header) || t->left > 0)
			continue;
		if (size > 0 && messages[t->header[0]].changes_keys)
			return TLS13_OUT_OF_TURN;
		t->header_have = 0;
		fault = run_state(t);
	}
	return fault;
}

/* ---- the stream of records ---- */

/* Decrypts the record at hand: then its type and size are known. */
static enum tls13_fault open_record(struct tls13 *t, unsigned *type, size_t *size)
{
	uint8_t *data = t->with.in + 5, tag[16];
	size_t n = *size - sizeof(tag);

	if (t->secret.receive.records >= RECORDS_MAX)
		return TLS13_OLD_KEYS;
	tls13_protect(&t->secret.receive, false, t->with.in, data, n, tag);
	if (!tls13_same(tag, data + n, sizeof(tag)))
		return TLS13_FORGED;
	if (n > 16384 + 1)
		return TLS13_TOO_LARGE;
	while (n > 0 && data[n - 1] == 0)
		n--;
	if (n == 0 || data[n - 1] == CCS)
		return TLS13_OUT_OF_TURN;
	*type = data[n - 1];
	*size = n - 1;
	return TLS13_GOOD;
}

/* 6.1 */
void tls13_close(struct tls13 *t)
{
	if (t->state == TLS13_OPEN) {
		send_alert(t, 1, CLOSE_NOTIFY);
		end_session(t, TLS13_ENDED, BR_ERR_OK);
	}
}

/* 6: all but two end the session; the server's reason is kept as BearSSL does. */
static enum tls13_fault take_alert(struct tls13 *t, const uint8_t *data, size_t size)
{
	if (size != 2)
		return size > 0 ? TLS13_BAD_ALERT : TLS13_OUT_OF_TURN; /* 5.4 */
	if (data[1] == CLOSE_NOTIFY) {
		if (t->state == TLS13_OPEN)
			send_alert(t, 1, CLOSE_NOTIFY);
		end_session(t, TLS13_ENDED, BR_ERR_OK);
	} else if (data[1] != USER_CANCELED) { /* which a close_notify is to follow */
		t->out_size = 0;
		end_session(t, TLS13_BROKEN, BR_ERR_RECV_FATAL_ALERT + data[1]);
	}
	return TLS13_GOOD;
}

static enum tls13_fault take_content(struct tls13 *t, unsigned type, uint8_t *data, size_t size)
{
	switch (type) {
	case HANDSHAKE:
		return take_handshake(t, data, size);
	case ALERT:
		return take_alert(t, data, size);
	case CCS: /* D.4: it means nothing, and may come until the server's Finished */
		return t->state == TLS13_OPEN || size != 1 || data[0] != 1 ? TLS13_OUT_OF_TURN
									   : TLS13_GOOD;
	case DATA:
		if (t->state != TLS13_OPEN)
			return TLS13_OUT_OF_TURN;
		t->app = data;
		t->app_size = size;
		t->data_came |= size > 0;
		return TLS13_GOOD;
	default:
		return TLS13_OUT_OF_TURN;
	}
}

static enum tls13_fault take_record(struct tls13 *t)
{
	unsigned type = t->with.in[0];
	size_t size = t->in_need - 5;
	enum tls13_fault fault = TLS13_GOOD;
	bool useful;

	if (t->secure && type != CCS)
		fault = open_record(t, &type, &size);
	if (!fault && t->header_have > 0 && type != HANDSHAKE)
		fault = TLS13_OUT_OF_TURN; /* a message was not ended (5.1) */
	useful = type == HANDSHAKE ? t->state != TLS13_OPEN : type == DATA && size > 0;
	t->idle = useful ? 0 : t->idle + 1;
	if (!fault)
		fault = take_content(t, type, t->with.in + 5, size);
	return !fault && t->idle > IDLE_MAX ? TLS13_IDLE : fault;
}

/* A header has come: how long is the record? Its version means nothing (5.1), but in what is no TLS
 * at all. What is encrypted has a tag and a type. */
static enum tls13_fault take_header(struct tls13 *t)
{
	const uint8_t *in = t->with.in;
	size_t size = get16(in + 3);

	if (in[0] < CCS || in[0] > DATA || in[1] != 3)
		return TLS13_NOT_TLS;
	if (t->secure && in[0] != DATA && in[0] != CCS)
		return TLS13_OUT_OF_TURN;
	if (size > (t->secure ? 16384 + 256 : 16384))
		return TLS13_TOO_LARGE;
	if (t->secure && in[0] == DATA && size < SECURED)
		return TLS13_FORGED;
	t->in_need += size;
	return TLS13_GOOD;
}

/* ---- the calls ---- */

void tls13_start(struct tls13 *t, const struct tls13_setup *setup)
{
	memset(t, 0, sizeof(*t));
	t->with = *setup;
	t->in_need = 5;
	t->offer.host = setup->host;
	t->offer.gcm_first = setup->ciphers->hardware_gcm;
	br_multihash_setimpl(&t->transcript, br_sha256_ID, &br_sha256_vtable);
	br_multihash_setimpl(&t->transcript, br_sha384_ID, &br_sha384_vtable);
	br_multihash_init(&t->transcript);
	if (setup->random(t->offer.random, sizeof(t->offer.random)) &&
		setup->random(t->offer.session, sizeof(t->offer.session)) &&
		make_key(t, BR_EC_curve25519))
		break_off(t, send_client_hello(t, (struct der){NULL, 0}));
	else
		break_off(t, TLS13_NO_RANDOM);
}

unsigned tls13_current_state(const struct tls13 *t)
{
	unsigned state = t->out_size > 0 ? BR_SSL_SENDREC : 0;

	if (t->app_size > 0)
		state |= BR_SSL_RECVAPP;
	else if (t->state >= TLS13_ENDED)
		return state ? state : BR_SSL_CLOSED;
	else if (!is_our_turn(t))
		state |= BR_SSL_RECVREC;
	if (t->state == TLS13_OPEN && t->out_size == 0)
		state |= BR_SSL_SENDAPP;
	return state;
}

bool tls13_is_at_rest(const struct tls13 *t)
{
	return t->state == TLS13_OPEN && t->app_size == 0 && t->in_have == 0 && t->header_have == 0;
}

uint8_t *tls13_recvrec_buf(const struct tls13 *t, size_t *room)
{
	*room = t->in_need - t->in_have;
	return t->with.in + t->in_have;
}

void tls13_recvrec_ack(struct tls13 *t, size_t size)
{
	t->in_have += size;
	if (t->in_have == 5 && t->in_need == 5)
		break_off(t, take_header(t));
	if (t->state == TLS13_BROKEN || t->in_have < t->in_need)
		return;
	break_off(t, take_record(t));
	t->in_have = 0;
	t->in_need = 5;
	take_turn(t);
}

uint8_t *tls13_sendrec_buf(const struct tls13 *t, size_t *size)
{
	*size = t->out_size;
	return t->with.out + t->out_start;
}

void tls13_sendrec_ack(struct tls13 *t, size_t size)
{
	t->out_start += size;
	t->out_size -= size;
	if (t->out_size == 0)
		t->out_start = 0;
	take_turn(t);
}

uint8_t *tls13_recvapp_buf(const struct tls13 *t, size_t *size)
{
	*size = t->app_size;
	return t->app_size > 0 ? t->app : NULL;
}

void tls13_recvapp_ack(struct tls13 *t, size_t size)
{
	t->app += size;
	t->app_size -= size;
}

uint8_t *tls13_sendapp_buf(const struct tls13 *t, size_t *room)
{
	bool may = t->state == TLS13_OPEN && t->out_size == 0;

	*room = may ? DATA_MAX - t->app_out : 0;
	return may ? t->with.out + RENEW_SIZE + 5 + t->app_out : NULL;
}

void tls13_sendapp_ack(struct tls13 *t, size_t size)
{
	t->app_out += size;
	if (t->app_out == DATA_MAX)
		tls13_flush(t, 0);
}

/* New keys of ours go just before the data: no write ever starts from reading. Several wishes of
 * the server's are answered by one KeyUpdate, which asks for nothing (4.6.3): the next one may. */
void tls13_flush(struct tls13 *t, int force)
{
	struct tls13_secrets *s = &t->secret;
	bool both = !t->renew && s->receive.records >= RENEW_AT && !t->waiting;
	uint8_t message[5] = {TLS13_KEY_UPDATE, 0, 0, 1, both};
	size_t size = t->app_out;

	(void)force;
	if (size == 0 || t->out_size > 0 || t->state != TLS13_OPEN)
		return;
	t->app_out = 0;
	t->out_start = RENEW_SIZE;
	if (t->renew || both || s->send.records >= RENEW_AT) {
		t->out_start = 0;
		seal(t, HANDSHAKE, message, sizeof(message));
		tls13_renew(&s->send);
		t->renew = false;
		t->waiting |= both;
	}
	seal(t, DATA, t->with.out + RENEW_SIZE + 5, size);
}
