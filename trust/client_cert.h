/* trust/client_cert.h - who we are, to a server that asks: a certificate chain and its private key, read
 * once at start into fixed memory. */
#ifndef TRUST_CLIENT_CERT_H
#define TRUST_CLIENT_CERT_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads PEM files, which may be the same one: certificates, ours first and the others in the order
 * in which each is signed by the next; and a key, not encrypted: RSA of 2048 to 4096 bits or EC on
 * P-256, P-384 or P-521, in PKCS#8 or the traditional form. The key must be the first
 * certificate's. Warns of a key file that others can read. An empty cert_file: there is none (any
 * more). On failure returns false and fills why. */
bool client_cert_load(const char *cert_file, const char *key_file, char *why, size_t size);

/* A server asks: BearSSL's `auth_types` say which signatures it accepts. Chooses the chain and the
 * signature's form, or nothing (then returns false): none is loaded, or the server takes no such.
 */
bool client_cert_choose(uint32_t auth_types, br_ssl_client_certificate *choices);

/* Replaces the hash in `data` by its signature; returns its length, 0 on failure. */
size_t client_cert_sign(int hash_id, size_t hash_size, uint8_t *data, size_t room);

#endif
