/* trust/x509.h - whether a certificate chain proves that the server is the one that was asked for
 * (RFC 5280, RFC 6125). BearSSL hands us the certificates, and verifies each signature for us. What
 * is not understood is refused.
 *
 * The rules:
 * - The server sends its own certificate first, and each is signed by the next one; the last one
 *   needed is signed by a trusted root, which the server need not send. No other order is tried, no
 *   other path searched.
 * - The server's certificate is X.509 v3, has a subject alternative name for the host (a dNSName,
 *   where "*" may stand for the whole left-most label if two or more labels follow; an iPAddress
 *   for an IP address; never the common name), is no CA, and may sign if it says what its key may
 *   do.
 * - The others are v3, marked as CA, allow a chain of this length, and may certify if they say what
 *   their keys may do. So are trusted roots. A root need not be self-signed: an intermediate in the
 *   file is trusted as it stands.
 * - Every certificate, trusted roots included, is within its dates. Extended key usage, where
 *   present, has serverAuth; anyExtendedKeyUsage does not count, as for OpenSSL and Mozilla:
 *   "anything" does not say "a TLS server". There are no name constraints (they are not checked
 *   here), no extension twice, no unknown critical one; keys are RSA of 2048 to 4096 bits, or EC on
 *   P-256, P-384 or P-521.
 * - Signatures are RSA PKCS#1 or ECDSA with SHA-256, SHA-384 or SHA-512.
 * - A server's certificate that lies in the file itself, byte for byte, is trusted directly, and
 *   then may be marked as CA (`openssl req -x509` does that). All other rules hold for it too.
 * - Pins add to these rules, or stand in their place.
 *
 * Roots are not kept in memory: the bundle is read again for each certificate. A root of more than
 * a third of the caller's memory is passed over; a server's certificate may have two thirds.
 */
#ifndef TRUST_X509_H
#define TRUST_X509_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "trust/peer_info.h"

/* Certificates in a chain. */
#define X509_CHAIN_MAX 10

/* A key: an RSA modulus and exponent. A signature is never longer. */
#define X509_KEY_MAX (512 + 8)

/* Pins of servers' keys. With `only`, the key is all that counts, in place of the bundle, the names
 * and the dates: the server proves in the handshake that it holds the key's other half, which makes
 * it the server, whatever its certificate says and whatever CA signed it. The key's kind and size
 * still count, and the certificate's form. */
struct x509_pins {
	const uint8_t (*list)[PIN_SIZE];
	size_t count; /* 0: any key will do; none, with `only` */
	bool only;
};

/* The state of one look at a chain. Internal, but for the first group. */
struct x509 {
	const br_x509_class *vtable; /* must be first: BearSSL knows us by it */

	/* the caller may set these after x509_init() */
	struct tls_peer_info *peer; /* describe the certificates there, also of a refused chain */
	struct x509_pins pins;	    /* the server's key must be one of these as well */
	bool or_later; /* no clock has been set, `now` is only the earliest time that it can be: a
			* certificate that begins later may have begun, one that had expired by
			* then has expired */

	const char *host;
	uint8_t address[16];
	size_t address_size; /* 4 or 16; 0: host is a name */
	int64_t now;
	int bundle;
	char *why;
	size_t why_size;

	uint8_t *raw; /* the certificate under examination */
	size_t raw_room, raw_size, announced;
	uint8_t *decoded; /* one from the bundle */
	size_t decoded_room;

	unsigned depth; /* certificates looked at: 0 is the server's */
	bool trusted, refused;
	bool self_issued, namesake; /* of the last one; a root has its issuer's name, not its key */
	bool pin_fits;
	char pin[BASE64_SIZE(PIN_SIZE)]; /* of the server's key */

	/* the server's key */
	br_x509_pkey pkey;
	uint8_t key[X509_KEY_MAX];

	/* of the last certificate: its issuer, and what has to be verified by that key */
	char issuer[64];	 /* for people */
	uint8_t issuer_hash[32]; /* of the name */
	int key_type, hash_id;	 /* BearSSL's */
	uint8_t hash[64];	 /* of what is signed */
	uint8_t signature[X509_KEY_MAX];
	size_t signature_size;
};

/* Prepares to check one chain for `host`, an IP address if `literal`, at `now` (seconds since
 * 1970). `bundle` is the descriptor of a PEM file; `memory` is working space, whose size limits
 * that of a certificate (see above); on failure a sentence is written on `why`. All are borrowed
 * until the chain has been judged. Returns false if a literal is no address. */
bool x509_init(struct x509 *x, const char *host, bool literal, int64_t now, int bundle,
	void *memory, size_t size, char *why, size_t why_size);

#endif
