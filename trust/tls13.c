/* "4.1.3" and the like are sections of RFC 8446. */
#include "trust/tls13.h"

#include <string.h>

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

/* Certificates in all, as a message; and a request for ours. */
#define CHAIN_MAX   0x1ffff
#define REQUEST_MAX (3 + 0xffff)

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

#define MESSAGE(type) (UINT32_C(1) << (type))

static const uint32_t expected[TLS13_STATES] = {
	[TLS13_HELLO] = MESSAGE(TLS13_SERVER_HELLO),
	[TLS13_SECOND_HELLO] = MESSAGE(TLS13_SERVER_HELLO),
	[TLS13_EXTENSIONS] = MESSAGE(TLS13_ENCRYPTED_EXTENSIONS),
	[TLS13_REQUEST] = MESSAGE(TLS13_CERTIFICATE_REQUEST) | MESSAGE(TLS13_CERTIFICATE),
	[TLS13_CHAIN] = MESSAGE(TLS13_CERTIFICATE),
	[TLS13_PROOF] = MESSAGE(TLS13_CERTIFICATE_VERIFY),
	[TLS13_END] = MESSAGE(TLS13_FINISHED),
	[TLS13_OPEN] = MESSAGE(TLS13_NEW_SESSION_TICKET) | MESSAGE(TLS13_KEY_UPDATE),
};

/* After these, other keys count: nothing may follow them in their record (5.1). */
static const uint32_t changes_keys =
	MESSAGE(TLS13_SERVER_HELLO) | MESSAGE(TLS13_FINISHED) | MESSAGE(TLS13_KEY_UPDATE);

static bool is_one_of(uint32_t messages, unsigned type)
{
	return type < 32 && (messages >> type & 1);
}

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
	size_t sealed = size + (t->secure ? SECURED : 0);

	if (5 + sealed > out_room(t))
		return;
	memmove(body, data, size);
	header[0] = (uint8_t)(t->secure ? DATA : type);
	tls13_put16(header + 1, t->state == TLS13_HELLO ? 0x0301 : 0x0303);
	tls13_put16(header + 3, sealed);
	if (t->secure) {
		body[size] = (uint8_t)type;
		tls13_protect(t->suite, t->with.ciphers, &t->secret.send, true, header, body,
			size + 1, body + size + 1);
	}
	t->out_size += 5 + sealed;
}

/* Middlebox compatibility (D.4): once, before all that is encrypted. */
static void send_ccs(struct tls13 *t)
{
	static const uint8_t record[] = {CCS, 3, 3, 0, 1, 1};

	if (t->ccs || sizeof(record) > out_room(t))
		return;
	t->ccs = true;
	memcpy(out_end(t), record, sizeof(record));
	t->out_size += sizeof(record);
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

static void go_on(struct tls13 *t, enum tls13_fault fault, enum tls13_state next)
{
	if (fault)
		break_off(t, fault);
	else
		t->state = next;
}

/* ---- the transcript, and what is made of it ---- */

static void add_to_transcript(struct tls13 *t, const void *data, size_t size)
{
	br_multihash_update(&t->transcript, data, size);
}

static void transcript_hash(const struct tls13 *t, uint8_t out[TLS13_HASH_MAX])
{
	int id = t->suite->hash_size == 32 ? br_sha256_ID : br_sha384_ID;

	br_multihash_out(&t->transcript, id, out);
}

/* Both sides' secrets for the next phase, of the transcript so far. */
static void make_secrets(
	struct tls13 *t, uint8_t *receive, const char *server, uint8_t *send, const char *client)
{
	uint8_t hash[TLS13_HASH_MAX];

	transcript_hash(t, hash);
	tls13_expand(
		t->suite, receive, t->suite->hash_size, t->secret.handshake.schedule, server, hash);
	tls13_expand(
		t->suite, send, t->suite->hash_size, t->secret.handshake.schedule, client, hash);
}

static void set_keys(struct tls13 *t)
{
	tls13_set_keys(t->suite, t->with.ciphers, &t->secret.receive);
	tls13_set_keys(t->suite, t->with.ciphers, &t->secret.send);
}

/* ---- ClientHello, and the key exchange ---- */

static bool make_key(struct tls13 *t, unsigned group)
{
	t->group = group;
	return tls13_make_private_key(t->secret.handshake.private_key, group, t->with.random);
}

static void send_client_hello(struct tls13 *t, struct der cookie)
{
	uint8_t *message = out_end(t) + 5, *share;

	_Static_assert(
		TLS13_OUT_SIZE >= 6 + 5 + TLS13_HELLO_SIZE + HOST_MAX + TLS13_SHARE_MAX + 500,
		"a change_cipher_spec, and the longest hello with a cookie of 500 bytes");
	_Static_assert(
		TLS13_OUT_SIZE >= 6 + 2 * (5 + TLS13_HELLO_SIZE + HOST_MAX) + 32 + TLS13_SHARE_MAX,
		"the same without a cookie, behind a first hello that has not left yet");
	t->offer.share_size = tls13_share_size(t->group);
	if (cookie.left > out_room(t) - 5 - TLS13_HELLO_SIZE - HOST_MAX - t->offer.share_size) {
		break_off(t, TLS13_LONG_COOKIE);
		return;
	}
	t->offer.group = t->group;
	t->offer.cookie = cookie;
	share = tls13_write_hello(message, &t->offer);
	tls13_make_share(share, t->secret.handshake.private_key, t->group);
	share += t->offer.share_size;
	add_to_transcript(t, message, (size_t)(share - message));
	seal(t, HANDSHAKE, message, (size_t)(share - message));
}

/* 4.1.4, 4.4.1 */
static void take_retry(struct tls13 *t, const struct tls13_hello *h)
{
	uint8_t hash[4 + TLS13_HASH_MAX] = {TLS13_MESSAGE_HASH, 0, 0, t->suite->hash_size};
	bool is_new = h->group >= BR_EC_secp256r1 && h->group <= BR_EC_secp521r1;

	if (t->state != TLS13_HELLO) {
		break_off(t, TLS13_OUT_OF_TURN);
		return;
	}
	/* One for the group that we have sent, for none of ours, or that changes nothing. */
	if (!is_new && (h->group != -1 || h->cookie.left == 0)) {
		break_off(t, TLS13_ILLEGAL);
		return;
	}
	transcript_hash(t, hash + 4);
	br_multihash_init(&t->transcript);
	add_to_transcript(t, hash, 4 + t->suite->hash_size);
	add_to_transcript(t, t->header, sizeof(t->header));
	add_to_transcript(t, t->message, t->have);
	t->state = TLS13_SECOND_HELLO;
	if (is_new && !make_key(t, (unsigned)h->group)) {
		break_off(t, TLS13_NO_RANDOM);
		return;
	}
	send_ccs(t);
	send_client_hello(t, h->cookie);
}

/* The suites are numbered from 0x1301 on. A second hello must choose the same one (4.1.4). */
static bool choose_suite(struct tls13 *t, unsigned number)
{
	unsigned i = number - tls13_suites[0].number;

	if (i >= TLS13_SUITES || (t->suite && t->suite != &tls13_suites[i]))
		return false;
	t->suite = &tls13_suites[i];
	return true;
}

static void take_hello(struct tls13 *t, struct der body)
{
	struct tls13_hello h;
	uint8_t point[TLS13_SHARE_MAX];
	size_t size = 0;
	enum tls13_fault fault = tls13_read_hello(&h, body);

	if (!fault && (h.session.left != TLS13_SESSION_SIZE ||
			      memcmp(h.session.at, t->offer.session, TLS13_SESSION_SIZE) != 0))
		fault = TLS13_ILLEGAL;
	if (!fault && !choose_suite(t, h.suite))
		fault = TLS13_BAD_SUITE;
	if (!fault && h.retry) {
		take_retry(t, &h);
		return;
	}
	if (!fault && h.group < 0)
		fault = TLS13_MISSING;
	if (fault) {
		break_off(t, fault);
		return;
	}
	if ((unsigned)h.group == t->group)
		size = tls13_agree(point, t->secret.handshake.private_key, t->group, h.share);
	explicit_bzero(t->secret.handshake.private_key, sizeof(t->secret.handshake.private_key));
	if (size == 0) {
		break_off(t, TLS13_BAD_SHARE);
		return;
	}
	add_to_transcript(t, t->header, sizeof(t->header));
	add_to_transcript(t, body.at, body.left);
	tls13_handshake_secret(t->suite, t->secret.handshake.schedule, point, size);
	explicit_bzero(point, sizeof(point));
	make_secrets(
		t, t->secret.receive.secret, "s hs traffic", t->secret.send.secret, "c hs traffic");
	set_keys(t);
	t->secure = true;
	t->state = TLS13_EXTENSIONS;
}

/* ---- the server's other messages ---- */

static enum tls13_fault judge_verify(struct tls13 *t, struct der body)
{
	const br_x509_pkey *key = (*t->with.x509)->get_pkey(t->with.x509, NULL);
	struct der signature;
	unsigned scheme;

	if (tls13_read_verify(&scheme, &signature, body))
		return TLS13_MALFORMED;
	if (!key || !tls13_fits(key, scheme))
		return TLS13_BAD_SCHEME;
	return tls13_verify(key, scheme, (struct der){t->before, t->suite->hash_size}, signature)
		       ? TLS13_GOOD
		       : TLS13_BAD_SIGNATURE;
}

static enum tls13_fault judge_request(struct tls13 *t)
{
	const struct client_identity *own = t->with.identity;
	unsigned first = 0, last = 0;

	if (own)
		tls13_own_schemes(own, &first, &last);
	t->asked = true;
	return tls13_read_schemes((struct der){t->message, t->list.have}, first, last, &t->scheme);
}

/* The keys to come are of the transcript up to here. */
static void take_finished(struct tls13 *t, struct der body)
{
	uint8_t mac[TLS13_HASH_MAX];

	tls13_finished(t->suite, mac, t->secret.receive.secret, t->before);
	if (body.left != t->suite->hash_size) {
		break_off(t, TLS13_MALFORMED);
		return;
	}
	if (!tls13_same(mac, body.at, body.left)) {
		break_off(t, TLS13_BAD_FINISHED);
		return;
	}
	tls13_master_secret(t->suite, t->secret.handshake.schedule);
	make_secrets(t, t->secret.handshake.next_receive, "s ap traffic",
		t->secret.handshake.next_send, "c ap traffic");
	t->state = t->asked ? TLS13_ANSWER_CHAIN : TLS13_ANSWER_END;
	send_ccs(t);
}

static void take_key_update(struct tls13 *t, struct der body)
{
	if (body.left != 1) {
		break_off(t, TLS13_MALFORMED);
		return;
	}
	if (body.at[0] > 1) {
		break_off(t, TLS13_ILLEGAL);
		return;
	}
	tls13_renew(t->suite, t->with.ciphers, &t->secret.receive);
	t->waiting = false;
	t->renew |= body.at[0];
}

/* ---- our answer, a record at a time ---- */

static void send_message(struct tls13 *t, uint8_t *message, size_t size)
{
	add_to_transcript(t, message, size);
	seal(t, HANDSHAKE, message, size);
}

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

static void send_proof(struct tls13 *t)
{
	uint8_t *message = out_end(t) + 5, now[TLS13_HASH_MAX];
	size_t size;

	transcript_hash(t, now);
	size = tls13_sign(t->with.identity, t->scheme, (struct der){now, t->suite->hash_size},
		t->with.random, message + 8);
	if (size == 0) {
		break_off(t, TLS13_NO_SIGNATURE);
		return;
	}
	tls13_put16(message, TLS13_CERTIFICATE_VERIFY << 8);
	tls13_put16(message + 2, 4 + size);
	tls13_put16(message + 4, t->scheme);
	tls13_put16(message + 6, size);
	send_message(t, message, 8 + size);
	t->state = TLS13_ANSWER_END;
}

/* With it the keys of the handshake have had their time. */
static void send_finished(struct tls13 *t)
{
	struct tls13_secrets *s = &t->secret;
	uint8_t *message = out_end(t) + 5, now[TLS13_HASH_MAX];

	transcript_hash(t, now);
	tls13_put16(message, TLS13_FINISHED << 8);
	tls13_put16(message + 2, t->suite->hash_size);
	tls13_finished(t->suite, message + 4, s->send.secret, now);
	send_message(t, message, 4u + t->suite->hash_size);
	memcpy(s->receive.secret, s->handshake.next_receive, TLS13_HASH_MAX);
	memcpy(s->send.secret, s->handshake.next_send, TLS13_HASH_MAX);
	explicit_bzero(&s->handshake, sizeof(s->handshake));
	set_keys(t);
	t->state = TLS13_OPEN;
}

/* ---- the stream of messages ---- */

static bool is_request(const struct tls13 *t)
{
	return t->header[0] == TLS13_CERTIFICATE_REQUEST;
}

/* These two are read as they come. */
static bool is_list(const struct tls13 *t)
{
	return is_request(t) || t->header[0] == TLS13_CERTIFICATE;
}

static enum tls13_fault judge_list(struct tls13 *t)
{
	enum tls13_fault fault = tls13_list_end(&t->list);

	if (fault || is_request(t))
		return fault ? fault : judge_request(t);
	return (*t->with.x509)->end_chain(t->with.x509) ? TLS13_BAD_CERTIFICATE : TLS13_GOOD;
}

/* Of the transcript is what comes in the handshake; a hello only once it has been understood. */
static bool is_noted(const struct tls13 *t)
{
	return t->header[0] != TLS13_SERVER_HELLO && t->state != TLS13_OPEN;
}

static void begin_message(struct tls13 *t)
{
	unsigned type = t->header[0];
	size_t most = is_request(t)				       ? REQUEST_MAX
		      : is_list(t) || type == TLS13_NEW_SESSION_TICKET ? CHAIN_MAX
								       : sizeof(t->message);

	t->left = (size_t)t->header[1] << 16 | (size_t)t->header[2] << 8 | t->header[3];
	t->have = 0;
	if (!is_one_of(expected[t->state], type)) {
		break_off(t, TLS13_OUT_OF_TURN);
		return;
	}
	if (t->left > most) {
		break_off(t, TLS13_ILLEGAL);
		return;
	}
	/* These two are about the messages before them. */
	if (type == TLS13_CERTIFICATE_VERIFY || type == TLS13_FINISHED)
		transcript_hash(t, t->before);
	if (is_noted(t))
		add_to_transcript(t, t->header, sizeof(t->header));
	if (is_list(t))
		break_off(t, tls13_list_begin(&t->list, is_request(t) ? NULL : t->with.x509,
				     t->offer.host, t->left, t->message, sizeof(t->message)));
}

static void continue_message(struct tls13 *t, const uint8_t *data, size_t size)
{
	t->left -= size;
	if (is_noted(t))
		add_to_transcript(t, data, size);
	if (is_list(t)) {
		break_off(t, tls13_list_take(&t->list, (struct der){data, size}));
	} else if (t->header[0] != TLS13_NEW_SESSION_TICKET) {
		memcpy(t->message + t->have, data, size);
		t->have += size;
	}
}

/* The state diagram: what a message that has come does in each state, or what is to be sent in it.
 * The table above has let no other one come. */
static void run_state(struct tls13 *t)
{
	struct der body = {t->message, t->have};

	switch (t->state) {
	case TLS13_HELLO:
	case TLS13_SECOND_HELLO:
		take_hello(t, body);
		break;
	case TLS13_EXTENSIONS:
		go_on(t, tls13_read_extensions(body, t->offer.host), TLS13_REQUEST);
		break;
	case TLS13_REQUEST:
	case TLS13_CHAIN:
		go_on(t, judge_list(t), is_request(t) ? TLS13_CHAIN : TLS13_PROOF);
		break;
	case TLS13_PROOF:
		go_on(t, judge_verify(t, body), TLS13_END);
		break;
	case TLS13_END:
		take_finished(t, body);
		break;
	case TLS13_ANSWER_CHAIN:
		send_chain(t);
		break;
	case TLS13_ANSWER_PROOF:
		send_proof(t);
		break;
	case TLS13_ANSWER_END:
		send_finished(t);
		break;
	case TLS13_OPEN:
		if (t->header[0] == TLS13_KEY_UPDATE)
			take_key_update(t, body);
		break;
	case TLS13_ENDED:
	case TLS13_BROKEN:
	case TLS13_STATES:
		break;
	}
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
		run_state(t);
}

static void take_handshake(struct tls13 *t, const uint8_t *data, size_t size)
{
	if (size == 0)
		break_off(t, TLS13_OUT_OF_TURN);
	while (size > 0 && t->state != TLS13_BROKEN) {
		size_t n = (size_t)min_u64(sizeof(t->header) - t->header_have, size);

		if (n > 0) {
			memcpy(t->header + t->header_have, data, n);
			t->header_have += n;
			if (t->header_have == sizeof(t->header))
				begin_message(t);
		} else {
			n = (size_t)min_u64(t->left, size);
			continue_message(t, data, n);
		}
		data += n;
		size -= n;
		if (t->header_have < sizeof(t->header) || t->left > 0 || t->state == TLS13_BROKEN)
			continue;
		if (size > 0 && is_one_of(changes_keys, t->header[0])) {
			break_off(t, TLS13_OUT_OF_TURN);
			return;
		}
		t->header_have = 0;
		run_state(t);
	}
}

/* ---- the stream of records ---- */

/* Decrypts the record at hand. False: it is refused. Else its type and size. */
static bool open_record(struct tls13 *t, unsigned *type, size_t *size)
{
	uint8_t *data = t->with.in + 5, tag[16];
	size_t n = *size - 16;

	if (t->secret.receive.records >= RECORDS_MAX)
		return break_off(t, TLS13_OLD_KEYS), false;
	tls13_protect(
		t->suite, t->with.ciphers, &t->secret.receive, false, t->with.in, data, n, tag);
	if (!tls13_same(tag, data + n, sizeof(tag)))
		return break_off(t, TLS13_FORGED), false;
	if (n > 16384 + 1)
		return break_off(t, TLS13_TOO_LARGE), false;
	while (n > 0 && data[n - 1] == 0)
		n--;
	if (n == 0)
		return break_off(t, TLS13_OUT_OF_TURN), false;
	*type = data[n - 1];
	*size = n - 1;
	return true;
}

/* 6: all but two end the session; the server's reason is kept as BearSSL does. */
static void take_alert(struct tls13 *t, const uint8_t *data, size_t size)
{
	if (size != 2) {
		break_off(t, TLS13_BAD_ALERT);
	} else if (data[1] == CLOSE_NOTIFY) {
		if (t->state == TLS13_OPEN)
			send_alert(t, 1, CLOSE_NOTIFY);
		end_session(t, TLS13_ENDED, BR_ERR_OK);
	} else if (data[1] != USER_CANCELED) { /* which a close_notify is to follow */
		t->out_size = 0;
		end_session(t, TLS13_BROKEN, BR_ERR_RECV_FATAL_ALERT + data[1]);
	}
}

/* D.4: it means nothing, and may come until the server's Finished. */
static void take_ccs(struct tls13 *t, const uint8_t *data, size_t size)
{
	if (t->state == TLS13_OPEN || size != 1 || data[0] != 1)
		break_off(t, TLS13_OUT_OF_TURN);
}

static void take_record(struct tls13 *t)
{
	unsigned type = t->with.in[0];
	size_t size = t->in_need - 5;
	const uint8_t *data = t->with.in + 5;
	bool useful = false, plain = type == CCS;

	if (t->secure && !plain && !open_record(t, &type, &size))
		return;
	if (t->header_have > 0 && type != HANDSHAKE) {
		break_off(t, TLS13_OUT_OF_TURN); /* a message was not ended (5.1) */
	} else if (plain) {
		take_ccs(t, data, size);
	} else if (type == HANDSHAKE) {
		useful = t->state != TLS13_OPEN;
		take_handshake(t, data, size);
	} else if (type == ALERT) {
		take_alert(t, data, size);
	} else if (type == DATA && t->state == TLS13_OPEN) {
		t->app = t->with.in + 5;
		t->app_size = size;
		useful = size > 0;
		t->data_came |= useful;
	} else {
		break_off(t, TLS13_OUT_OF_TURN);
	}
	t->idle = useful ? 0 : t->idle + 1;
	if (t->idle > IDLE_MAX)
		break_off(t, TLS13_IDLE);
}

/* A header has come: how long is the record? Its version means nothing (5.1), but in what is no TLS
 * at all. What is encrypted has a tag and a type. */
static void take_header(struct tls13 *t)
{
	const uint8_t *in = t->with.in;
	size_t size = (size_t)in[3] << 8 | in[4];

	if (in[0] < CCS || in[0] > DATA || in[1] != 3)
		break_off(t, TLS13_NOT_TLS);
	else if (t->secure && in[0] != DATA && in[0] != CCS)
		break_off(t, TLS13_OUT_OF_TURN);
	else if (size > (t->secure ? 16384 + 256 : 16384))
		break_off(t, TLS13_TOO_LARGE);
	else if (t->secure && in[0] == DATA && size < SECURED)
		break_off(t, TLS13_FORGED);
	t->in_need += size;
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
		send_client_hello(t, (struct der){NULL, 0});
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
		take_header(t);
	if (t->state == TLS13_BROKEN || t->in_have < t->in_need)
		return;
	take_record(t);
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
 * the server's are answered by one KeyUpdate (4.6.3). */
void tls13_flush(struct tls13 *t, int force)
{
	struct tls13_secrets *s = &t->secret;
	bool both = s->receive.records >= RENEW_AT && !t->waiting;
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
		tls13_renew(t->suite, t->with.ciphers, &s->send);
		t->renew = false;
		t->waiting |= both;
	}
	seal(t, DATA, t->with.out + RENEW_SIZE + 5, size);
}
