/* trust/tls13.h - a TLS 1.3 client (RFC 8446) in the shape of BearSSL's engine for TLS 1.2: bytes
 * in, bytes out, no input or output of its own, nothing allocated. BearSSL has the arithmetic, and
 * an br_x509_class says whom to trust.
 *
 * X25519, or P-256, P-384, P-521 where the server asks for one of these (HelloRetryRequest);
 * AES-GCM and ChaCha20-Poly1305; RSA-PSS and ECDSA; our own certificate; new keys whenever either
 * side wants them, and before those at hand are worn out (section 5.5). Not resumption, pre-shared
 * keys, early data, ALPN; of a new session's tickets nothing is kept. No data is sent or delivered
 * before the server's Finished has been verified.
 */
#ifndef TRUST_TLS13_H
#define TRUST_TLS13_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/ciphers.h"
#include "trust/client_cert.h"
#include "trust/tls13_keys.h"
#include "trust/tls13_messages.h"

/* The largest record (section 5.2); and of ours, a second ClientHello with a cookie of 500 bytes.
 */
#define TLS13_IN_SIZE  (5 + 16384 + 256)
#define TLS13_OUT_SIZE 1056

/* A handshake message of the server, but for those that are looked at piece by piece. */
#define TLS13_MESSAGE_MAX 1024

/* With whom and what to speak: all is borrowed until the session has ended, `identity` and `x509`
 * until tls13_current_state() first has BR_SSL_SENDAPP. */
struct tls13_setup {
	uint8_t *in, *out; /* TLS13_IN_SIZE and TLS13_OUT_SIZE bytes */
	const char *host;  /* for SNI; NULL: none. Below HOST_MAX bytes */
	const br_x509_class **x509;
	const struct ciphers *ciphers;
	const struct client_identity *identity; /* NULL: none */
	tls13_random *random;
};

/* What the session waits for. trust/tls13.c has one table of the messages that may come in each
 * state, and one switch over them. */
enum tls13_state {
	TLS13_HELLO,	    /* a ServerHello, or a HelloRetryRequest */
	TLS13_SECOND_HELLO, /* a ServerHello, after that */
	TLS13_EXTENSIONS,   /* EncryptedExtensions */
	TLS13_REQUEST,	    /* a CertificateRequest, or a Certificate */
	TLS13_CHAIN,	    /* a Certificate */
	TLS13_PROOF,	    /* a CertificateVerify */
	TLS13_END,	    /* a Finished */
	TLS13_ANSWER_CHAIN, /* room in the output for our certificate, */
	TLS13_ANSWER_PROOF, /* for the signature, */
	TLS13_ANSWER_END,   /* and for our Finished */
	TLS13_OPEN,	    /* data; tickets and new keys */
	TLS13_ENDED,	    /* nothing: the server said close_notify */
	TLS13_BROKEN,	    /* nothing */
	TLS13_STATES
};

/* Internal, but for the first group. The order is by use, since code is shorter for what is near
 * the beginning. */
struct tls13 {
	enum tls13_state state;
	/* BearSSL's number or one of ours (tls13_messages.h), with alerts as BearSSL has them;
	 * BR_ERR_OK: none, or the end of the session by close_notify */
	unsigned error;
	const struct tls13_suite *suite; /* NULL: none is chosen yet */
	unsigned scheme;		 /* by which we sign; 0: nothing */
	bool asked;			 /* the server wants a certificate of ours */
	bool data_came;			 /* and so the server has accepted our part */

	bool ccs;      /* a change_cipher_spec has been sent */
	bool secure;   /* records are encrypted, in both directions */
	bool renew;    /* the server wants new keys of ours */
	bool waiting;  /* we have asked for new keys of the server's */
	unsigned idle; /* records in a row that brought nothing */

	/* The handshake message under way: `left` of its body is to come, `have` is in message[].
	 */
	uint8_t header[4];
	size_t header_have, have, left;

	/* In `out`: out_size bytes from out_start on are to be sent, or app_out bytes are to become
	 * a record. In `in`: in_have of in_need bytes of a record; or app_size bytes of data at
	 * `app`. */
	size_t out_start, out_size, app_out;
	size_t in_have, in_need, app_size;
	uint8_t *app;

	struct tls13_setup with;
	size_t chain_at;	  /* how much of our Certificate has been sent */
	struct tls13_offer offer; /* its group is the one at hand: offered, or chosen */

	struct tls13_secrets {
		struct tls13_keys receive, send;
		struct {
			uint8_t schedule[TLS13_HASH_MAX];
			uint8_t next_send[TLS13_HASH_MAX];
			uint8_t private_key[TLS13_PRIVATE_MAX];
		} handshake; /* of no use after it */
	} secret;

	uint8_t hash[TLS13_HASH_MAX]; /* of the transcript, when it was last asked for */
	br_multihash_context transcript;
	struct tls13_long list; /* the message under way, if it is one that can be long */
	uint8_t message[TLS13_MESSAGE_MAX];
};

/* Begins a session. What goes wrong here is in `error`, as always. */
void tls13_start(struct tls13 *t, const struct tls13_setup *setup);

/* BR_SSL_CLOSED, or one or more of BR_SSL_SENDREC, _RECVREC, _SENDAPP, _RECVAPP: which of the
 * calls below may be made. They are those of BearSSL's engine (bearssl_ssl.h). */
unsigned tls13_current_state(const struct tls13 *t);

/* Whether the session lasts, and nothing of a record, a message or data is left. */
bool tls13_is_at_rest(const struct tls13 *t);

uint8_t *tls13_recvrec_buf(const struct tls13 *t, size_t *room);
void tls13_recvrec_ack(struct tls13 *t, size_t size);
uint8_t *tls13_sendrec_buf(const struct tls13 *t, size_t *size);
void tls13_sendrec_ack(struct tls13 *t, size_t size);
uint8_t *tls13_recvapp_buf(const struct tls13 *t, size_t *size);
void tls13_recvapp_ack(struct tls13 *t, size_t size);
uint8_t *tls13_sendapp_buf(const struct tls13 *t, size_t *room);
void tls13_sendapp_ack(struct tls13 *t, size_t size);
void tls13_flush(struct tls13 *t, int force); /* which must be 0 */
void tls13_close(struct tls13 *t);

#endif
