/* trust/peer_info.h - a TLS session and the server's certificates described, for --check. */
#ifndef TRUST_PEER_INFO_H
#define TRUST_PEER_INFO_H

#include <stddef.h>
#include <stdint.h>

#define TLS_CERTS_MAX 6

/* A pin: SHA-256 of a SubjectPublicKeyInfo; and its text, "sha256//BASE64" with a NUL. */
#define PIN_SIZE 32
#define PIN_TEXT 53

/* Texts out of certificates are printable ASCII, without quotes and backslashes. */
struct tls_cert {
	char subject[64], issuer[64];  /* the last common name, else the organization */
	int64_t not_before, not_after; /* seconds since 1970 */
	const char *key;	       /* "RSA", "ECDSA P-256", ...; "unknown" */
	unsigned bits;		       /* of the key; 0: unknown */
	const char *fault;	       /* of its form, or NULL; the rest is what could be read */
};

struct tls_peer_info {
	/* NULL until the handshake has agreed on them; kept if it fails later */
	const char *version; /* "TLS 1.2" */
	const char *version_why;
	const char *cipher; /* as IANA names it, without its "TLS_" */
	const char *curve;  /* of the key exchange: "X25519", "P-256", ... */

	size_t certs;	    /* that the server sent, its own first */
	char names[160];    /* that the server's own is for: "a.test, *.b.test, address 1.2.3.4" */
	char pin[PIN_TEXT]; /* of the server's key; empty: none seen */
	struct tls_cert cert[TLS_CERTS_MAX]; /* the first of them */
};

#endif
