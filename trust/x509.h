/* trust/x509.h - whether a certificate chain proves that the server is the one that was asked for
 * (RFC 5280, RFC 6125). BearSSL hands us the certificates, and verifies each signature for us. What
 * is not understood is refused.
 *
 * The rules:
 * - The server sends its own certificate first. The others may stand in any order, and twice; those
 *   that are of no use are passed over. A chain is looked for: each is signed by the next one, the
 *   last by a trusted root, which the server need not send.
 * - The server's certificate is X.509 v3, has a subject alternative name for the host (a dNSName,
 *   where "*" may stand for the whole left-most label if two or more labels follow; an iPAddress
 *   for an IP address; never the common name), is no CA, and may sign if it says what its key may
 *   do.
 * - The others are v3, marked as CA, allow a chain of this length (self-issued CAs do not count),
 *   and may certify if they say what their keys may do. So are trusted roots, but for self-issued
 *   ones of v1, as OpenSSL has it. A root need not be self-signed: an intermediate in the file is
 *   trusted as it stands.
 * - Every certificate, trusted roots included, is within its dates. Extended key usage, where
 *   present, has serverAuth; anyExtendedKeyUsage does not count, as for OpenSSL and Mozilla:
 *   "anything" does not say "a TLS server". There is no extension twice, no unknown critical one;
 *   keys are RSA of 2048 to 4096 bits, or EC on P-256, P-384 or P-521.
 * - The name constraints of CAs, trusted roots included, allow each subject alternative name below
 *   them, but for those of self-issued CAs (constraints.h). The server's certificate has none.
 * - Signatures are RSA PKCS#1, RSA-PSS or ECDSA with SHA-256, SHA-384 or SHA-512.
 * - A server's certificate that lies in the file itself, byte for byte, is trusted directly, and
 *   then may be marked as CA (`openssl req -x509` does that). All other rules hold for it too.
 * - Pins add to these rules, or stand in their place.
 *
 * Roots are not kept in memory: the bundle is read again for each certificate of the chain. What
 * the server sends has two thirds of the caller's memory, and the rest is for one root; those that
 * do not fit are passed over.
 */
#ifndef TRUST_X509_H
#define TRUST_X509_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "trust/der.h"
#include "trust/peer_info.h"

/* Certificates in a chain; of a server that are kept while it is looked for; and signatures that
 * are verified for it, besides those by trusted roots. */
#define X509_CHAIN_MAX	10
#define X509_CERTS_MAX	32
#define X509_VERIFY_MAX 16

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

	uint8_t *memory;	/* the server's certificates, then one of the bundle */
	size_t room, size;	/* of the memory: for the former, and in all */
	size_t used;		/* by the certificates that are kept */
	size_t come, announced; /* bytes of the one behind them */
	unsigned sent, certs;	/* certificates: those of the server, and those kept */

	char *why;
	size_t why_size;
	const char *host;
	int64_t now;
	int bundle;
	bool trusted, refused, pin_fits;
	bool dropped; /* not all of the certificates had room */
	bool capped;  /* a chain would have been longer than X509_CHAIN_MAX */

	unsigned length;	  /* of the chain so far */
	uint32_t visited;	  /* bits of the kept ones that are in it, or lead nowhere */
	unsigned verify, compare; /* how many signatures and names may still be looked at */

	/* of the last certificate in it: what has to be verified by the issuer's key */
	int key_type, hash_id; /* BearSSL's */
	struct der signature;

	/* for people: the last one's issuer, for which there was no key; or the first for which a
	 * root had the name, but another key */
	bool self_issued, namesake, own;
	char issuer[64];
	char fault[128];

	/* arrays are last, since code is shorter for what is near the beginning */
	size_t address_size; /* 4 or 16; 0: host is a name */
	uint8_t address[16];
	br_x509_pkey pkey;		 /* the server's */
	char pin[BASE64_SIZE(PIN_SIZE)]; /* and its pin */
	uint8_t path[X509_CHAIN_MAX];	 /* the chain: which of the kept ones */
	uint8_t hash[64];		 /* that the signature covers */
	struct der cert[X509_CERTS_MAX];
};

/* Prepares to check one chain for `host`, an IP address if `literal`, at `now` (seconds since
 * 1970). `bundle` is the descriptor of a PEM file; `memory` is working space, whose size limits
 * that of a certificate (see above); on failure a sentence is written on `why`. All are borrowed
 * until the chain has been judged. Returns false if a literal is no address. */
bool x509_init(struct x509 *x, const char *host, bool literal, int64_t now, int bundle,
	void *memory, size_t size, char *why, size_t why_size);

#endif
