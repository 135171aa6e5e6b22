/* trust/tls13_messages.h - what the messages of a TLS 1.3 handshake say (RFC 8446 section 4): bytes
 * that may be forged are taken apart, ours are written. Pure, but for what a struct tls13_long
 * notes; the results point into the input. */
#ifndef TRUST_TLS13_MESSAGES_H
#define TRUST_TLS13_MESSAGES_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/der.h"

/* Errors that BearSSL, whose numbers are below 64 and from 256 on, does not have. */
enum {
	TLS13_ERR_DOWNGRADE = 64, /* somebody has talked the server into an older version */
	TLS13_ERR_IDLE,		  /* the server sends nothing of use */
	TLS13_ERR_OLD_KEYS,	  /* the server does not renew its keys */
	TLS13_ERR_NO_SIGNATURE,	  /* our own key does not sign, or there are no random bytes */
	TLS13_ERR_COOKIE,	  /* a HelloRetryRequest's cookie is too long */
};

/* What is wrong: the alert that the server gets, and the error, one of the above or BearSSL's. */
#define TLS13_FAULT(alert, error) ((alert) << 8 | (error))
enum tls13_fault {
	TLS13_GOOD = 0,
	TLS13_OUT_OF_TURN = TLS13_FAULT(10, BR_ERR_UNEXPECTED),
	TLS13_IDLE = TLS13_FAULT(10, TLS13_ERR_IDLE),
	TLS13_NOT_TLS = TLS13_FAULT(10, BR_ERR_UNKNOWN_TYPE),
	TLS13_FORGED = TLS13_FAULT(20, BR_ERR_BAD_MAC),
	TLS13_TOO_LARGE = TLS13_FAULT(22, BR_ERR_TOO_LARGE),
	TLS13_BAD_CERTIFICATE =
		TLS13_FAULT(46, BR_ERR_X509_NOT_TRUSTED), /* x509.c has its reason */
	TLS13_ILLEGAL = TLS13_FAULT(47, BR_ERR_BAD_HANDSHAKE),
	TLS13_DOWNGRADE = TLS13_FAULT(47, TLS13_ERR_DOWNGRADE),
	TLS13_BAD_SUITE = TLS13_FAULT(47, BR_ERR_BAD_CIPHER_SUITE),
	TLS13_BAD_SHARE = TLS13_FAULT(47, BR_ERR_INVALID_ALGORITHM),
	TLS13_BAD_SCHEME = TLS13_FAULT(47, BR_ERR_WRONG_KEY_USAGE),
	TLS13_MALFORMED = TLS13_FAULT(50, BR_ERR_BAD_HANDSHAKE),
	TLS13_NO_CERTIFICATE = TLS13_FAULT(50, BR_ERR_X509_EMPTY_CHAIN),
	TLS13_BAD_ALERT = TLS13_FAULT(50, BR_ERR_BAD_ALERT),
	TLS13_BAD_SIGNATURE = TLS13_FAULT(51, BR_ERR_BAD_SIGNATURE),
	TLS13_BAD_FINISHED = TLS13_FAULT(51, BR_ERR_BAD_FINISHED),
	TLS13_OTHER_VERSION = TLS13_FAULT(70, BR_ERR_UNSUPPORTED_VERSION),
	TLS13_NO_SIGNATURE = TLS13_FAULT(80, TLS13_ERR_NO_SIGNATURE),
	TLS13_NO_RANDOM = TLS13_FAULT(80, BR_ERR_NO_RANDOM),
	TLS13_OLD_KEYS = TLS13_FAULT(80, TLS13_ERR_OLD_KEYS),
	TLS13_LONG_COOKIE = TLS13_FAULT(80, TLS13_ERR_COOKIE),
	TLS13_MISSING = TLS13_FAULT(109, BR_ERR_BAD_HANDSHAKE),
	TLS13_UNASKED = TLS13_FAULT(110, BR_ERR_EXTRA_EXTENSION),
};

/* Handshake messages (section 4). */
enum {
	TLS13_CLIENT_HELLO = 1,
	TLS13_SERVER_HELLO = 2,
	TLS13_NEW_SESSION_TICKET = 4,
	TLS13_ENCRYPTED_EXTENSIONS = 8,
	TLS13_CERTIFICATE = 11,
	TLS13_CERTIFICATE_REQUEST = 13,
	TLS13_CERTIFICATE_VERIFY = 15,
	TLS13_FINISHED = 20,
	TLS13_KEY_UPDATE = 24,
	TLS13_MESSAGE_HASH = 254
};

/* Writes bytes, or a message's head. Returns the end. */
uint8_t *tls13_put(uint8_t *p, struct der bytes);
uint8_t *tls13_put_head(uint8_t *p, unsigned type, size_t size);

/* A ClientHello, whole, with our share of the group; a cookie of no bytes is none. */
#ifndef TLS13_SESSION_SIZE /* a test has none */
#define TLS13_SESSION_SIZE 32
#endif
struct tls13_offer {
	const char *host; /* NULL: none is named */
	uint8_t random[32], session[TLS13_SESSION_SIZE];
	bool gcm_first;
	unsigned group; /* BearSSL's number, and TLS's */
};
uint8_t *tls13_write_hello(
	uint8_t *out, const struct tls13_offer *offer, struct der share, struct der cookie);

/* Its size but for the host, the share and the cookie. */
#define TLS13_HELLO_SIZE 153

/* A ServerHello or HelloRetryRequest. Whether suite, group and session are those of our offer, and
 * whether there are enough of them, is for the caller to judge. */
struct tls13_hello {
	bool retry;
	unsigned suite;
	int group; /* -1: none is named */
	struct der session, share, cookie;
};
enum tls13_fault tls13_read_hello(struct tls13_hello *out, struct der body);

/* EncryptedExtensions; of ours, two may be answered here, a name only if we sent one. */
enum tls13_fault tls13_read_extensions(struct der body, bool named);

/* A signature_algorithms extension (section 4.2.3): the least of its schemes that lies between two,
 * or is one of them; 0: none does. */
enum tls13_fault tls13_read_schemes(
	struct der extension, unsigned first, unsigned last, unsigned *scheme);

/* CertificateVerify. */
enum tls13_fault tls13_read_verify(unsigned *scheme, struct der *signature, struct der body);

/* The messages that can be long are read as they come: Certificate (4.4.2), whose certificates go
 * to the checker, which is told all but the end of the chain; CertificateRequest (4.3.2), whose
 * signature_algorithms are kept; NewSessionTicket (4.6.1), of which nothing is. */
#define TLS13_SEEN_MAX 32 /* extensions in one message */
struct tls13_long {
	size_t have; /* bytes of the signature_algorithms that are kept */

	/* internal */
	unsigned type, part;
	const br_x509_class **x509;
	uint8_t *keep;
	size_t room;
	size_t left;		   /* of the message, behind the part under way, */
	size_t block;		   /* of its extensions, behind that, */
	size_t part_left;	   /* of its bytes, and */
	size_t number_have;	   /* what has come of its number */
	bool certs, kept, keeping; /* a certificate, the schemes have come; they come now */
	size_t number;
	unsigned seen;
	uint16_t types[TLS13_SEEN_MAX]; /* of the extensions that have come */
};

/* One of these types and of `size` bytes begins. A request's schemes are put into keep[0..room). */
void tls13_long_begin(struct tls13_long *l, unsigned type, size_t size, const br_x509_class **x509,
	const char *host, uint8_t *keep, size_t room);

/* Some of it has come, not more than its size in all; or all of it has. */
enum tls13_fault tls13_long_take(struct tls13_long *l, struct der data);
enum tls13_fault tls13_long_end(const struct tls13_long *l);

#endif
