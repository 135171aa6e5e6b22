#include "tls.h"

#include <bearssl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/minmax.h"
#include "base/words.h"
#include "trust/cert.h"
#include "trust/ciphers.h"
#include "trust/client_cert.h"
#include "trust/origins.h"
#include "trust/roots.h"
#include "trust/tls13.h"
#include "trust/tls_words.h"
#include "trust/x509.h"

/* When this program was built, in seconds since 1970: no clock that is set is earlier. */
#ifndef BUILD_TIME
#define BUILD_TIME 1793491200 /* 2026-11-01 */
#endif

/* A record of 16 KiB with its header and GCM's or Poly1305's additions; BearSSL's least output, and
 * TLS 1.3's. */
#define INPUT_SIZE  16709
#define OUTPUT_SIZE (512 + 85)
_Static_assert(INPUT_SIZE >= TLS13_IN_SIZE && OUTPUT_SIZE <= TLS13_OUT_SIZE, "they share the two");

/* A record of handshake messages (RFC 5246 section 6.2.1). */
#define RECORD_HANDSHAKE 22

/* Reads from the socket in one call: some 2 MB of full records, or 128 empty ones. */
#define READS_PER_CALL 256

/* How a server has refused us, by an alert. */
struct refusal {
	uint8_t alert;
	bool newer;	   /* by 1.3 */
	bool asked, shown; /* our certificate, as in struct client_cert */
};

struct tls {
	union {
		br_ssl_client_context client; /* by 1.2 */
		struct tls13 newer;	      /* by 1.3 */
	};
	bool is_newer; /* which of the two */

	/* The server is to be asked once more, by the other version, as it seems to refuse this one
	 * by the alert; or it has been, and is: `first` says that. */
	bool may_again, again, second;
	struct refusal first;
	uint64_t origin; /* a hash of its name and port */
	enum origin_state known;

	struct x509 *x509; /* in the scratch area; NULL once the handshake is over */
	bool established;  /* the handshake succeeded */
	bool failed, untrusted;
	bool ended, ended_cleanly; /* the peer ended the stream, and said so */
	bool wants_renegotiation;
	struct client_cert own;
	char host[HOST_MAX];
	char why[256];

	uint8_t output[TLS13_OUT_SIZE];
	uint8_t input[INPUT_SIZE];
};
_Static_assert(sizeof(struct tls13) <= sizeof(br_ssl_client_context), "it takes no more memory");

static struct x509_pins pins;
static bool clock_strict;
static enum tls_versions versions;
static struct tls_peer_info *peer_info; /* where to describe sessions, or NULL */

size_t tls_size(void)
{
	return sizeof(struct tls);
}

void tls_pin(const uint8_t (*list)[PIN_SIZE], size_t count, bool only)
{
	pins = (struct x509_pins){list, count, only};
}

void tls_clock(bool strict)
{
	clock_strict = strict;
}

void tls_speak(enum tls_versions which)
{
	versions = which;
}

/* ---- either engine ---- */

/* Calls a function that both have. */
#define ENGINE(t, call, ...)                                                                       \
	((t)->is_newer ? tls13_##call(&(t)->newer, ##__VA_ARGS__)                                  \
		       : br_ssl_engine_##call(&(t)->client.eng, ##__VA_ARGS__))

static int engine_error(const struct tls *t)
{
	return t->is_newer ? (int)t->newer.error : br_ssl_engine_last_error(&t->client.eng);
}

/* Whether the server has sent close_notify. */
static bool said_goodbye(const struct tls *t)
{
	return t->is_newer ? t->newer.state == TLS13_ENDED : t->client.eng.shutdown_recv;
}

/* ---- failures ---- */

static const char *const renegotiation = "the server wants to renegotiate, which is refused here";

/* Of two failures by both versions, the first. */
static void say_first(struct tls *t)
{
	size_t used = strlen(t->why);

	snprintf(t->why + used, sizeof(t->why) - used, "; by TLS 1.%d, alert %d",
		t->first.newer ? 3 : 2, t->first.alert);
}

/* Ends the session; the first reason stays. */
__attribute__((format(printf, 3, 4))) static enum tls_want tls_fail(
	struct tls *t, bool untrusted, const char *format, ...)
{
	size_t used = 0;
	va_list list;

	if (t->failed)
		return TLS_FAILED;
	t->failed = true;
	t->untrusted = untrusted && !t->established;
	if (t->wants_renegotiation)
		used = (size_t)snprintf(t->why, sizeof(t->why), "%s: ", renegotiation);
	va_start(list, format);
	vsnprintf(t->why + used, sizeof(t->why) - used, format, list);
	va_end(list);
	if (t->second && !t->established)
		say_first(t);
	return TLS_FAILED;
}

/* By an alert, may the server like the other version better? 1.3 is spoken where 1.2 is refused;
 * where 1.3 was spoken before, 1.2 counts only if the server does not have 1.3 any more, as its
 * answer will tell. Others can forge an alert: at worst they lead us to 1.3. */
static void consider_other(struct tls *t, struct refusal now)
{
	if (versions != TLS_ANY || t->established || t->second)
		return;
	t->first = now;
	t->may_again = tls_alert_is_about_version(now.alert) &&
		       (!now.newer || (t->known == ORIGIN_NEWER && !t->newer.secure));
	if (t->may_again && now.newer)
		origin_set(t->origin, ORIGIN_DOUBTED);
}

static const char *meaning(struct refusal r)
{
	if (r.alert == 70)
		return r.newer ? "the server speaks no TLS 1.3: "
			       : "the server speaks no TLS 1.2 (tls): ";
	if (r.shown && tls_alert_is_about_client(r.alert))
		return "the server refuses our certificate (cert): ";
	if (r.asked && tls_alert_is_about_client(r.alert))
		return "the server demands a client's certificate (cert, key) of a kind that is "
		       "not configured here: ";
	if (!tls_alert_is_about_version(r.alert))
		return "";
	return "the server may demand what BearSSL lacks (post-quantum, Ed25519; in 1.2 PSS, "
	       "extended master secret), or have no TLS 1.2 or 1.3 with AEAD and its curves "
	       "(X25519, P-256 to P-521): ";
}

/* By 1.3 the server judges our certificate after our side of the handshake is done: the alert comes
 * in place of the first data. Of two refusals, that of a version at all says less. */
static enum tls_want fail_alert(struct tls *t, int alert)
{
	struct refusal now = {(uint8_t)alert, t->is_newer, t->own.asked, t->own.shown}, first;
	bool lasting = alert != 90; /* user_canceled may pass */

	if (t->is_newer) {
		now.asked = t->newer.asked;
		now.shown = t->newer.scheme != 0;
		if (!t->newer.data_came && now.asked && tls_alert_is_about_client(alert))
			t->established = false;
	}
	consider_other(t, now);
	if (t->second && alert == 70) {
		first = t->first;
		t->first = now;
		now = first;
	}
	return tls_fail(t, lasting, "%sthe server sent TLS alert %d, %s",
		t->established ? "" : meaning(now), now.alert, tls_alert_name(now.alert));
}

static bool share_was_zero; /* by multiply() below: why the engine fails next */

static bool is_about_certificates(int error)
{
	return error > BR_ERR_X509_OK && error <= BR_ERR_X509_NOT_TRUSTED;
}

/* The engine gave up, or has nothing more to say. */
static enum tls_want engine_closed(struct tls *t)
{
	int error = engine_error(t);
	const char *words = tls_error_words(error);

	if (error == BR_ERR_OK && t->established) {
		t->ended = true;
		t->ended_cleanly = said_goodbye(t);
		return TLS_OK;
	}
	if (error == BR_ERR_OK)
		return tls_fail(t, false, "the server closed the session during the TLS handshake");
	if (error >= BR_ERR_RECV_FATAL_ALERT && error < BR_ERR_SEND_FATAL_ALERT)
		return fail_alert(t, error - BR_ERR_RECV_FATAL_ALERT);
	if (is_about_certificates(error) && t->why[0]) { /* x509.c has said it */
		t->failed = t->untrusted = true;
		if (t->second)
			say_first(t);
		return TLS_FAILED;
	}
	if (!t->established && memcmp(t->input, "HTTP/", 5) == 0)
		words = "the server speaks HTTP without TLS on this port: the URL needs http:// or "
			"another port";
	if (error == BR_ERR_INVALID_ALGORITHM && share_was_zero)
		words = "the server's share of the X25519 key exchange makes it worthless";
	share_was_zero = false;
	if (error == BR_ERR_UNSUPPORTED_VERSION)
		consider_other(t, (struct refusal){.alert = 70, .newer = t->is_newer});
	if (words)
		return tls_fail(t, true, "%s", words);
	return tls_fail(t, true, "the server's TLS %s is malformed (BearSSL error %d)",
		is_about_certificates(error) ? "certificate" : "handshake", error);
}

/* ---- describing the session ---- */

#define SUITE(E, name) E(BR_TLS_##name, #name)
#define SUITE_NAMES(E)                                                                             \
	SUITE(E, ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)                                        \
	SUITE(E, ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)                                          \
	SUITE(E, ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)                                              \
	SUITE(E, ECDHE_RSA_WITH_AES_128_GCM_SHA256)                                                \
	SUITE(E, ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)                                              \
	SUITE(E, ECDHE_RSA_WITH_AES_256_GCM_SHA384)
static const uint16_t suites[] = {SUITE_NAMES(WORDS_NUMBER)};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

void tls_describe(struct tls_peer_info *where)
{
	peer_info = where;
}

/* Where the server has marked its random so, it would have spoken 1.3 if we had. */
static bool has_newer(const struct tls *t)
{
	return memcmp(t->client.eng.server_random + 24, "DOWNGRD", 7) == 0;
}

static void describe_session(const struct tls *t)
{
	const br_ssl_engine_context *e = &t->client.eng;

	if (!peer_info)
		return;
	peer_info->version_why = versions == TLS_12   ? "as tls 1.2 says"
				 : versions == TLS_13 ? "as tls 1.3 says"
				 : t->is_newer	      ? "the server refuses 1.2"
				 : has_newer(t)	      ? "it is tried first; the server has 1.3 too"
						      : "it is tried first";
	if (t->is_newer) {
		if (!t->newer.suite)
			return;
		peer_info->version = "TLS 1.3";
		peer_info->cipher = t->newer.suite->name;
		peer_info->curve = tls_curve_name((int)t->newer.offer.group);
		return;
	}
	if (br_ssl_engine_get_version(e) == BR_TLS12)
		peer_info->version = "TLS 1.2";
	peer_info->cipher = words_find(suites, SUITE_NAMES(WORDS_TEXT), e->session.cipher_suite);
	peer_info->curve = tls_curve_name(e->ecdhe_curve);
}

/* ---- starting ---- */

/* The time that certificates are judged by, in seconds since 1970, by tls_clock()'s rule. False:
 * there is none. */
static bool read_clock(int64_t *seconds, bool *or_later)
{
	static bool warned;
	struct timespec clock = {0};

	clock_gettime(CLOCK_REALTIME, &clock);
	*seconds = clock.tv_sec;
	*or_later = clock.tv_sec < (int64_t)BUILD_TIME;
	if (!*or_later)
		return true;
	if (clock_strict && !pins.only)
		return false;
	*seconds = BUILD_TIME;
	if (!warned && !pins.only) {
		log_warning("the clock is not set: certificates that had expired by the date of "
			    "this program's build are refused, no others for their dates");
		warned = true;
	}
	return true;
}

void tls_ciphers(char *out, size_t size)
{
	struct ciphers c = ciphers_best();

	snprintf(out, size, "%s, %s, %s", c.names[0], c.names[1], c.names[2]);
}

/* AES in hardware makes GCM the fastest; in software ChaCha20 is, by far. */
static void set_suites(br_ssl_engine_context *e, bool gcm_first)
{
	uint16_t ids[SUITES];

	for (size_t i = 0; i < SUITES; i++)
		ids[i] = suites[(i + (gcm_first ? 2 : 0)) % SUITES];
	br_ssl_engine_set_suites(e, ids, SUITES);
}

static void set_ciphers(br_ssl_engine_context *e)
{
	struct ciphers c = ciphers_best();

	br_ssl_engine_set_gcm(e, &br_sslrec_in_gcm_vtable, &br_sslrec_out_gcm_vtable);
	br_ssl_engine_set_aes_ctr(e, c.aes);
	br_ssl_engine_set_ghash(e, c.ghash);
	br_ssl_engine_set_chapol(e, &br_sslrec_in_chapol_vtable, &br_sslrec_out_chapol_vtable);
	br_ssl_engine_set_chacha20(e, c.chacha20);
	br_ssl_engine_set_poly1305(e, c.poly1305);
	set_suites(e, c.hardware_gcm);
}

/* A secret of X25519 that is all zero comes of a share of small order, whatever our key is: RFC
 * 8422 section 5.11 has it refused, and BearSSL does not. */
static uint32_t multiply(
	unsigned char *point, size_t size, const unsigned char *k, size_t k_size, int curve)
{
	uint32_t good = cert_curves->mul(point, size, k, k_size, curve);
	uint8_t any = 0;

	for (size_t i = 0; i < size; i++)
		any |= point[i];
	share_was_zero = good && any == 0;
	return good & (any != 0);
}

/* br_ssl_client_init_full() would do this, but links CBC, whose decryption overflows the heap.
 * Signatures are the same on all machines: i31, and for RSA no i62, which would save a millisecond
 * of a handshake. */
static void set_algorithms(struct tls *t)
{
	static br_ec_impl ec;
	br_ssl_engine_context *e = &t->client.eng;

	br_ssl_engine_set_versions(e, BR_TLS12, BR_TLS12);
	for (int id = br_sha256_ID; id <= br_sha512_ID; id++) /* no MD5 and no SHA-1 */
		br_ssl_engine_set_hash(e, id, cert_hash(id)->class);
	br_ssl_engine_set_prf_sha256(e, br_tls12_sha256_prf);
	br_ssl_engine_set_prf_sha384(e, br_tls12_sha384_prf);
	set_ciphers(e);
	br_ssl_engine_set_rsavrfy(e, br_rsa_i31_pkcs1_vrfy);
	ec = *cert_curves;
	ec.mul = multiply;
	br_ssl_engine_set_ec(e, &ec);
	br_ssl_engine_set_ecdsa(e, br_ecdsa_i31_vrfy_asn1);
	br_ssl_engine_set_x509(e, &t->x509->vtable);
	br_ssl_engine_add_flags(e, BR_OPT_NO_RENEGOTIATION);
}

/* Early in a boot this waits until the kernel has random bytes: nothing is safe without them. */
static bool random_bytes(void *out, size_t size)
{
	for (size_t have = 0; have < size;) {
		ssize_t n = getrandom((uint8_t *)out + have, size - have, 0);

		if (n < 0 && errno != EINTR)
			return false;
		have += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static bool seed(br_ssl_engine_context *e)
{
	uint8_t bytes[32];

	if (!random_bytes(bytes, sizeof(bytes)))
		return false;
	e->rng_os_rand_done = 1; /* BearSSL need not look for more */
	br_ssl_engine_inject_entropy(e, bytes, sizeof(bytes));
	explicit_bzero(bytes, sizeof(bytes));
	return true;
}

static void set_buffers(struct tls *t)
{
	br_ssl_engine_context *e = &t->client.eng;

	br_ssl_engine_set_buffers_bidi(e, t->input, sizeof(t->input), t->output, OUTPUT_SIZE);
	/* BearSSL would ask the server for records as small as our output buffer; our input takes
	 * the largest. What we send stays limited by the buffer. */
	e->log_max_frag_len = 14;
	e->max_frag_len = 16384;
}

/* A dot at the end is for DNS only: certificates and SNI are without. */
static bool set_server_name(struct tls *t, const char *host)
{
	size_t size = strlen(host);

	if (size > 1 && host[size - 1] == '.')
		size--;
	if (size == 0 || size >= sizeof(t->host))
		return false;
	memcpy(t->host, host, size);
	t->host[size] = '\0';
	return true;
}

/* Lays the certificate checker out in the scratch area. False: the session has failed. */
static bool set_checker(
	struct tls *t, const char *host, bool literal, uint8_t *scratch, size_t size)
{
	size_t skip = -(uintptr_t)scratch % 16 + sizeof(struct x509);
	int64_t seconds;
	bool or_later;

	t->x509 = (struct x509 *)(void *)(scratch + skip - sizeof(struct x509));
	if (!read_clock(&seconds, &or_later)) {
		tls_fail(t, true,
			"the clock is not set, and by \"tls-clock strict\" no certificate is "
			"trusted until it is");
		return false;
	}
	if (!set_server_name(t, host) ||
		!x509_init(t->x509, t->host, literal, seconds, roots_fd(), scratch + skip,
			size - skip, t->why, sizeof(t->why))) {
		tls_fail(t, true, "%.100s is neither a host name nor an address", host);
		return false;
	}
	t->x509->pins = pins;
	t->x509->or_later = or_later;
	t->x509->peer = peer_info;
	return true;
}

static void start_newer(struct tls *t, bool literal)
{
	static struct ciphers ciphers;
	struct tls13_setup setup = {
		.host = literal ? NULL : t->host,
		.x509 = &t->x509->vtable,
		.ciphers = &ciphers,
		.identity = client_cert_identity(),
		.random = random_bytes,
		.in = t->input,
		.out = t->output,
	};

	ciphers = ciphers_best();
	tls13_start(&t->newer, &setup);
}

static void start_older(struct tls *t, bool literal)
{
	set_algorithms(t);
	if (!seed(&t->client.eng)) {
		tls_fail(t, false, "no random bytes: %m");
		return;
	}
	set_buffers(t);
	br_ssl_client_set_client_certificate(&t->client, &t->own.vtable);
	if (!br_ssl_client_reset(&t->client, literal ? NULL : t->host, 0))
		engine_closed(t);
}

/* 1.2 first, unless the server is known to refuse it; after tls_again() the other one. */
static void choose_version(struct tls *t, const char *host, unsigned port)
{
	uint64_t origin = hash_more(hash_more(HASH_BEGIN, host, strlen(host)), &port, sizeof(port));

	t->second = t->again && origin == t->origin;
	t->again = t->may_again = false;
	t->origin = origin;
	t->known = versions == TLS_ANY ? origin_state(origin) : ORIGIN_UNKNOWN;
	if (t->second)
		t->is_newer = !t->is_newer;
	else
		t->is_newer = versions == TLS_13 || t->known == ORIGIN_NEWER;
}

void tls_start(struct tls *t, const char *host, unsigned port, bool literal, void *scratch,
	size_t scratch_size)
{
	choose_version(t, host, port);
	memset(&t->client, 0, sizeof(t->client));
	t->x509 = NULL;
	t->established = t->failed = t->untrusted = t->ended = t->ended_cleanly = false;
	t->wants_renegotiation = false;
	t->own = (struct client_cert){.vtable = &client_cert_class};
	t->why[0] = '\0';
	t->input[0] = 0; /* see engine_closed() */
	if (peer_info)
		memset(peer_info, 0, sizeof(*peer_info));
	if ((roots_fd() < 0 && !pins.only) || scratch_size < TLS_SCRATCH_MIN) {
		tls_fail(t, true, "no trusted roots, or no room to check certificates");
		return;
	}
	if (!set_checker(t, host, literal, scratch, scratch_size))
		return;
	if (t->is_newer)
		start_newer(t, literal);
	else
		start_older(t, literal);
}

bool tls_again(struct tls *t)
{
	t->again = t->may_again;
	return t->again;
}

/* A record that has left in part goes first, and then close_notify may find no room. */
static void say_goodbye(struct tls *t, int fd)
{
	size_t size;
	const uint8_t *data;

	ENGINE(t, close);
	data = ENGINE(t, sendrec_buf, &size);
	if (size > 0)
		send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void tls_end(struct tls *t, int fd)
{
	if (t->established && !t->failed && !t->ended)
		say_goodbye(t, fd);
	explicit_bzero(&t->client, sizeof(t->client));
	explicit_bzero(t->input, sizeof(t->input));
	t->ended = true;
}

/* ---- the pump ---- */

/* Judges a failed send() or recv(). `when_full`: what to wait for, if it is only that. */
static enum tls_want socket_error(struct tls *t, enum tls_want when_full)
{
	if (errno == EAGAIN || errno == EINTR)
		return when_full;
	if (t->established && said_goodbye(t)) {
		/* The peer has said goodbye; that it does not wait for ours is no failure. */
		t->ended = t->ended_cleanly = true;
		return TLS_OK;
	}
	return tls_fail(t, false, "the connection broke: %m");
}

/* Sends some of the engine's records to the peer. */
static enum tls_want send_some(struct tls *t, int fd)
{
	size_t size;
	const uint8_t *data = ENGINE(t, sendrec_buf, &size);
	ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	/* A server that has closed may have sent the reason, or an answer: that is read next. */
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		n = (ssize_t)size;
	if (n < 0)
		return socket_error(t, TLS_WANT_WRITE);
	ENGINE(t, sendrec_ack, (size_t)n);
	return TLS_OK;
}

/* A handshake message after the handshake: BearSSL declines, and the server may go on or not. */
static void note_renegotiation(struct tls *t)
{
	t->wants_renegotiation = true;
	snprintf(t->why, sizeof(t->why), "%s", renegotiation);
}

static enum tls_want receive_some(struct tls *t, int fd)
{
	size_t room;
	uint8_t *buffer = ENGINE(t, recvrec_buf, &room);
	ssize_t n = recv(fd, buffer, room, MSG_DONTWAIT);

	if (n < 0)
		return socket_error(t, TLS_WANT_READ);
	if (n == 0) {
		if (!t->established)
			return tls_fail(t, false,
				"the server closed the connection during the TLS handshake");
		t->ended = true;
		return TLS_OK;
	}
	ENGINE(t, recvrec_ack, (size_t)n);
	if (t->established && !t->is_newer && t->client.eng.record_type_in == RECORD_HANDSHAKE)
		note_renegotiation(t);
	/* The room is not filled: the record's end is still to come. */
	return (size_t)n < room ? TLS_WANT_READ : TLS_OK;
}

/* Moves records in both directions until the engine offers one of the `aim` states
 * (br_ssl_engine_current_state) or, if aim is 0, has nothing to send. TLS_OK: it does, or t->ended.
 * Each read from the socket costs one of *reads; after the last, other connections have their turn.
 * A socket that takes nothing does not keep data from being read: the server may wait for that. */
static enum tls_want pump(struct tls *t, int fd, unsigned aim, int *reads)
{
	bool stuck = false;

	while (!t->failed && !t->ended) {
		unsigned state = ENGINE(t, current_state);
		enum tls_want want;

		if (state == BR_SSL_CLOSED)
			return engine_closed(t);
		if (state & aim)
			return TLS_OK;
		if ((state & BR_SSL_SENDREC) && !stuck) {
			want = send_some(t, fd);
			if (want == TLS_WANT_WRITE && t->is_newer && t->newer.state >= TLS13_ENDED)
				return engine_closed(t); /* a last word is not worth waiting */
			stuck = want == TLS_WANT_WRITE && aim == BR_SSL_RECVAPP;
			if (stuck)
				continue;
		} else if (aim == 0) {
			return TLS_OK;
		} else if (state & BR_SSL_RECVREC) {
			if (--*reads < 0)
				return TLS_WANT_READ;
			want = receive_some(t, fd);
		} else if (stuck) {
			return TLS_WANT_WRITE;
		} else {
			return tls_fail(t, true, "the TLS engine is stuck");
		}
		if (want != TLS_OK)
			return want;
	}
	return t->failed ? TLS_FAILED : TLS_OK;
}

static enum tls_want settle_newer(struct tls *t)
{
	if (versions == TLS_ANY)
		origin_set(t->origin, ORIGIN_NEWER);
	return TLS_OK;
}

static enum tls_want settle_older(struct tls *t)
{
	br_ssl_engine_context *e = &t->client.eng;

	br_ssl_engine_set_x509(e, NULL);
	e->record_type_in = 0; /* of the last message of the handshake */
	if (e->reneg != 2)
		return tls_fail(t, true,
			"the server has no secure renegotiation (RFC 5746): others could put "
			"words of theirs before ours");
	if (t->known == ORIGIN_UNKNOWN && !t->second)
		return TLS_OK;
	origin_set(t->origin, has_newer(t) ? ORIGIN_NEWER : ORIGIN_UNKNOWN);
	return has_newer(t) ? tls_fail(t, false, "%s", tls_error_words(TLS13_ERR_DOWNGRADE))
			    : TLS_OK;
}

enum tls_want tls_handshake(struct tls *t, int fd)
{
	int reads = READS_PER_CALL;
	enum tls_want want;

	want = pump(t, fd, BR_SSL_SENDAPP, &reads);
	if (want == TLS_WANT_READ || want == TLS_WANT_WRITE)
		return want;
	describe_session(t);
	/* The scratch area is the caller's again; certificates are not needed any more. */
	t->x509 = NULL;
	if (want == TLS_OK)
		want = t->is_newer ? settle_newer(t) : settle_older(t);
	t->established = want == TLS_OK;
	return want;
}

enum tls_want tls_write(struct tls *t, int fd, const void *data, size_t len, size_t *done)
{
	int reads = READS_PER_CALL;
	enum tls_want want;
	uint8_t *buffer;
	size_t room;

	for (*done = 0; *done < len; *done += room) {
		want = pump(t, fd, BR_SSL_SENDAPP, &reads);
		if (want != TLS_OK)
			return want;
		if (t->ended)
			return tls_fail(t, false, "the server has closed the session");
		buffer = ENGINE(t, sendapp_buf, &room);
		room = (size_t)min_u64(room, len - *done);
		memcpy(buffer, (const uint8_t *)data + *done, room);
		ENGINE(t, sendapp_ack, room);
	}
	ENGINE(t, flush, 0);
	return pump(t, fd, 0, &reads);
}

enum tls_want tls_read(struct tls *t, int fd, void *buffer, size_t room, size_t *got)
{
	int reads = READS_PER_CALL;
	enum tls_want want = TLS_OK;
	const uint8_t *data;
	size_t size;

	for (*got = 0; *got < room; *got += size) {
		want = pump(t, fd, BR_SSL_RECVAPP, &reads);
		if (want != TLS_OK || t->ended)
			break;
		data = ENGINE(t, recvapp_buf, &size);
		size = (size_t)min_u64(size, room - *got);
		memcpy((uint8_t *)buffer + *got, data, size);
		ENGINE(t, recvapp_ack, size);
	}
	/* The next call finds the same reason to stop. */
	return *got > 0 ? TLS_OK : want;
}

bool tls_pending(const struct tls *t)
{
	size_t size;

	return !t->failed && !t->ended && ENGINE(t, recvapp_buf, &size);
}

/* `ixa` counts what has come of a record's header; between records it is 0. */
bool tls_is_at_rest(const struct tls *t)
{
	const br_ssl_engine_context *e = &t->client.eng;

	if (t->is_newer)
		return !t->failed && !t->ended && tls13_is_at_rest(&t->newer);
	return !t->failed && !t->ended && e->err == BR_ERR_OK && !e->shutdown_recv &&
	       e->application_data == 1 && e->ixa == 0;
}

/* At most a full record's data is in the record under way; each byte of data behind it takes more
 * than one byte on the wire. */
size_t tls_needs(const struct tls *t, size_t bytes)
{
	size_t record = 1;

	ENGINE(t, recvrec_buf, &record);
	return bytes > BR_SSL_BUFSIZE_INPUT ? record + bytes - BR_SSL_BUFSIZE_INPUT : record;
}

bool tls_closed_cleanly(const struct tls *t)
{
	return t->ended_cleanly;
}

bool tls_untrusted(const struct tls *t)
{
	return t->untrusted;
}

const char *tls_why(const struct tls *t)
{
	return t->why;
}
