/* trust/p7s.h - IMAGE.roothash.p7s: a detached signature of a root hash, CMS in DER (RFC 5652), as
 * systemd-repart, mkosi, genimage and this make it, and as Linux' dm-verity takes it:
 *
 *     openssl smime -sign -nocerts -noattr -binary -in IMAGE.roothash -inkey KEY -signer CERT
 *             -outform der -out IMAGE.roothash.p7s
 *
 * What is signed is the root hash as 64 lower-case hexadecimal digits, without a newline. So the
 * signature is verified over those, whatever IMAGE.roothash holds besides: one that was made over
 * upper-case digits, or over a newline too, is wrong.
 *
 * There is one signer, without attributes, signed or not: RSA (PKCS#1 v1.5) of 2048 to 4096 bits or
 * ECDSA on P-256, P-384 or P-521, with SHA-256. It is not looked at who the signature says has made
 * it, nor at certificates within it: a key of ours has made it, or it is worth nothing. Nor do a
 * certificate's dates and uses matter: the key in it is what the configuration names.
 */
#ifndef TRUST_P7S_H
#define TRUST_P7S_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/verity.h"

/* Reads the keys of `verity-key FILE`, once at the start, into fixed memory: each CERTIFICATE or
 * PUBLIC KEY of a PEM file, up to VERITY_KEYS_MAX. An empty path: there are none. May be called
 * again. On failure (no key, too many, one that cannot be used) there are none; returns false and
 * fills why. */
bool p7s_load_keys(const char *path, char *why, size_t size);

/* How many there are. */
size_t p7s_keys(void);

/* Whether one of the keys has signed the root hash. Returns who: the certificate's short name, or
 * "public key FILE", in printable bytes, constant. NULL: *fault tells why not, a constant that is
 * the end of a sentence whose subject is the signature ("has signed attributes ..."). Costs a
 * verification for each key of the signature's kind: up to some milliseconds on a PC, a hundred on
 * a router. One of PROOF_MAX bytes is taken for the beginning of a longer one. Nothing is
 * borrowed. */
const char *p7s_signer(
	const uint8_t *p7s, size_t size, const uint8_t root[VERITY_DIGEST], const char **fault);

#endif
