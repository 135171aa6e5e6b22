/* trust/client_cert.h - our own certificate, for servers that ask: its chain and its private key,
 * read once at the start into fixed memory. */
#ifndef TRUST_CLIENT_CERT_H
#define TRUST_CLIENT_CERT_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/limits.h"

/* Reads PEM files, which may be the same one: certificates, ours first and the others in the order
 * in which each is signed by the next; and a key, not encrypted: RSA of 2048 to 4096 bits or EC on
 * P-256, P-384 or P-521, in PKCS#8 or the traditional form. The key must be the first
 * certificate's. Warns of a key file that others can read. An empty cert_file: we have none. May be
 * called again. On failure returns false and fills why.
 *
 * The key is taken apart by der.h: BearSSL 0.6's own decoder of private keys can be made to write
 * beyond its buffer. */
bool client_cert_load(const char *cert_file, const char *key_file, char *why, size_t size);

/* A session's part, for br_ssl_client_set_client_certificate(): set the vtable to this class. */
struct client_cert {
	const br_ssl_client_certificate_class *vtable; /* must be first: BearSSL knows us by it */
	bool asked, shown; /* the server asked for our certificate, and got it */
};
extern const br_ssl_client_certificate_class client_cert_class;

/* The same for TLS 1.3, whose client signs by itself: the chain, and its key, which is one of the
 * two. NULL: none is loaded. */
struct client_identity {
	br_x509_certificate cert[CLIENT_CERTS_MAX];
	size_t certs;
	int key_type; /* BR_KEYTYPE_RSA or BR_KEYTYPE_EC */
	br_rsa_private_key rsa;
	br_ec_private_key ec;
};
const struct client_identity *client_cert_identity(void);

#endif
