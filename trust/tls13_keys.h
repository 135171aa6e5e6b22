/* trust/tls13_keys.h - the secrets of a TLS 1.3 session (RFC 8446 section 7), and the encryption of
 * its records by them (section 5.2). */
#ifndef TRUST_TLS13_KEYS_H
#define TRUST_TLS13_KEYS_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/ciphers.h"
#include "trust/der.h"

/* The three suites, in the order in which they are offered where the processor has GCM. */
#define TLS13_SUITES   3
#define TLS13_HASH_MAX 48
struct tls13_suite {
	uint16_t number;
	uint8_t key_size, hash_size;
	const br_hash_class *hash;
	const char *name;
};
extern const struct tls13_suite tls13_suites[TLS13_SUITES];

/* One direction: its traffic secret, and the keys that are made of it. */
struct tls13_keys {
	const struct tls13_suite *suite;
	const struct ciphers *ciphers;
	uint64_t records; /* that were en- or decrypted by these keys */
	uint8_t secret[TLS13_HASH_MAX];
	uint8_t iv[12], h[16]; /* h is GHASH's key */
	union {
		br_aes_gen_ctr_keys aes;
		uint8_t chacha20[32];
	};
};

/* The key exchange: a private key of a group (BearSSL's number, which is TLS's), our share, whose
 * size is returned, and what both sides agree on (7.4.2), whose size is returned. 0: the server's
 * share is none, or makes a secret of zeros, which everybody knows. */
#define TLS13_PRIVATE_MAX 66
#define TLS13_SHARE_MAX	  133
typedef bool tls13_random(void *out, size_t size); /* secret bytes; false: there are none */
bool tls13_make_private_key(uint8_t key[TLS13_PRIVATE_MAX], unsigned group, tls13_random *random);
size_t tls13_make_share(uint8_t share[TLS13_SHARE_MAX], const uint8_t *key, unsigned group);
size_t tls13_agree(
	uint8_t out[TLS13_SHARE_MAX], const uint8_t *key, unsigned group, struct der share);

/* HKDF-Expand-Label: makes `size` bytes, the hash's size at most, of a secret of that size, which
 * `out` may be. `hash` is the context, of that size too, or NULL for none. */
void tls13_expand(const struct tls13_suite *suite, uint8_t *out, size_t size, const uint8_t *secret,
	const char *label, const uint8_t *hash);

/* The key schedule's middle column without a pre-shared key: the Handshake Secret, of what was
 * agreed upon; and of that, in its place, the Master Secret. */
void tls13_handshake_secret(
	const struct tls13_suite *suite, uint8_t *secret, const uint8_t *shared, size_t size);
void tls13_master_secret(const struct tls13_suite *suite, uint8_t *secret);

/* Finished (4.4.4), of a traffic secret and the hash of the transcript before it. */
void tls13_finished(const struct tls13_suite *suite, uint8_t out[TLS13_HASH_MAX],
	const uint8_t *secret, const uint8_t *hash);

/* Makes the keys of k->secret, for these ciphers and the suite; tls13_renew() makes the next secret
 * and its keys (7.2). */
void tls13_set_keys(
	struct tls13_keys *k, const struct tls13_suite *suite, const struct ciphers *ciphers);
void tls13_renew(struct tls13_keys *k);

/* Encrypts or decrypts the next record in place; `header` has its 5 bytes. The tag is that of what
 * was encrypted: before anything of a decrypted record is looked at, the caller compares it. */
void tls13_protect(struct tls13_keys *k, bool encrypt, const uint8_t *header, uint8_t *data,
	size_t size, uint8_t tag[16]);

/* Whether secrets are the same, in a time that does not depend on them. */
bool tls13_same(const uint8_t *a, const uint8_t *b, size_t size);

#endif
