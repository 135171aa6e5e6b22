/* trust/sha256.h - SHA-256 (FIPS 180-4) of a salted block, as dm-verity takes it, by the
 * processor's own instructions where it has them, else by BearSSL.
 */
#ifndef TRUST_SHA256_H
#define TRUST_SHA256_H

#include <stddef.h>

#define SHA256_SIZE 32 /* bytes of a digest */

/* The digest of the salt, then the data: both of any length, at any address, and only read. The
 * digest may lie in either. It cannot fail, and nothing is kept. */
void sha256_salted(unsigned char digest[SHA256_SIZE], const void *salt, size_t salt_len,
	const void *data, size_t len);

/* What computes it here: "SHA-NI", "ARMv8 CE" or "BearSSL"; constant. */
const char *sha256_name(void);

#endif
