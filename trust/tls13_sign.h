/* trust/tls13_sign.h - CertificateVerify's signatures (RFC 8446 sections 4.2.3 and 4.4.3): RSA-PSS,
 * and ECDSA with the hash that belongs to the curve. PKCS#1 v1.5 is for certificates only. And our
 * own Certificate. */
#ifndef TRUST_TLS13_SIGN_H
#define TRUST_TLS13_SIGN_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/client_cert.h"
#include "trust/der.h"
#include "trust/tls13_keys.h"
#include "trust/tls13_messages.h"

/* The schemes by which a key may sign, from the first to the last: a curve (BearSSL's number) has
 * one of its own. */
void tls13_schemes(int key_type, int curve, unsigned *first, unsigned *last);

/* Judges a CertificateVerify: whether the key (NULL: there is none) may sign by its scheme, and has
 * signed the transcript, of which the hash is given. */
enum tls13_fault tls13_verify(const br_x509_pkey *key, struct der transcript, struct der body);

/* Signs by one of our key's schemes. Returns the signature's size, at most 512 bytes, or 0 on
 * failure. */
size_t tls13_sign(const struct client_identity *own, unsigned scheme, struct der transcript,
	tls13_random *random, uint8_t *signature);

/* Writes our Certificate (section 4.4.2) from its byte `from` on, at most `room` bytes; without an
 * identity an empty one. Returns how many: fewer than that at its end. */
size_t tls13_write_chain(const struct client_identity *own, size_t from, uint8_t *out, size_t room);

#endif
