/* trust/pss.h - RSA-PSS (RFC 8017 section 8.1), as TLS 1.3 has it (RFC 8446 section 4.2.3): MGF1
 * with the hash that the message has, and a salt as long as that. */
#ifndef TRUST_PSS_H
#define TRUST_PSS_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys have 4096 bits at most, of any number, and enough for two hashes; these have 64 bytes at
 * most. */
#define PSS_SIZE_MAX 512

/* Whether the key has made this signature of a hash. */
bool pss_verify(const br_rsa_public_key *key, const br_hash_class *class, const uint8_t *hash,
	const uint8_t *signature, size_t size);

/* Signs a hash with random bytes as many as it has. Returns the signature's size, which is the
 * key's, or 0 if the key is none. */
size_t pss_sign(const br_rsa_private_key *key, const br_hash_class *class, const uint8_t *hash,
	const uint8_t *salt, uint8_t signature[PSS_SIZE_MAX]);

#endif
