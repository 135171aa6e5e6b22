/* trust/cert.h - an X.509 certificate taken apart (RFC 5280 section 4.1), its parts in words, and
 * the signatures that keys make. Whether to trust it is not decided here. The results point
 * into the certificate's bytes. */
#ifndef TRUST_CERT_H
#define TRUST_CERT_H

#include <bearssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/der.h"
#include "trust/peer_info.h"

struct cert {
	struct der raw;
	struct der issuer, subject; /* whole elements */
	struct der key;		    /* SubjectPublicKeyInfo, whole */
	struct der covered;	    /* the signed part (TBSCertificate), whole */
	struct der algorithm;	    /* the signature's, its OID, */
	struct der parameters;	    /* and what is behind that */
	struct der signature;
	int64_t not_before, not_after;
	bool v1, v3;

	/* extensions */
	struct der names; /* subjectAltName, its inside; left == 0: none */
	bool ca;
	int path; /* -1: no limit */
	bool usage_present, may_sign, may_certify;
	bool for_servers;	/* serverAuth, or no extended key usage */
	struct der constraints; /* name constraints, the extension's value; at is NULL: none */
};

/* The two kinds of keys that can be used. */
#define OID_RSA	    "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
#define OID_RSA_PSS "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" /* of signatures only */
#define OID_EC	    "\x2a\x86\x48\xce\x3d\x02\x01"

/* Takes a certificate apart. Returns NULL, or what is wrong with its form as the end of a sentence
 * ("is malformed"): extensions only in v3, none twice, none that is critical and unknown. Then some
 * parts may be set all the same; those that are not have no bytes left. */
const char *cert_parse(struct cert *c, const uint8_t *raw, size_t size);

/* A SubjectPublicKeyInfo as BearSSL takes it: RSA keys of 2048 to 4096 bits, EC keys on P-256,
 * P-384 or P-521. Returns NULL, or why it cannot be used, as the end of a sentence. */
const char *cert_key(br_x509_pkey *out, struct der info);

/* BearSSL's number of the curve that an OID (its inside) stands for; 0: it has none. */
int cert_curve(struct der oid);

/* The kind of any key, for people, and its size (0: unknown). */
const char *cert_describe_key(struct der info, unsigned *bits);

/* SHA-256, SHA-384 or SHA-512, by BearSSL's number (br_sha256_ID to br_sha512_ID), or NULL. Of a
 * signature this is added to it if that is RSA-PSS. */
#define CERT_PSS      0x100
#define CERT_HASH_MAX 64
struct cert_hash {
	const br_hash_class *class;
	const uint8_t *oid; /* as br_rsa_pkcs1_vrfy takes it */
	size_t size;
};
const struct cert_hash *cert_hash(int id);

/* Hashes bytes with one of the three. */
void cert_digest(uint8_t *out, int hash_id, struct der data);

/* The pin of the certificate's key. */
void cert_pin(uint8_t out[PIN_SIZE], const struct cert *c);

/* The kind of a signature by its algorithm's OID, in BearSSL's numbers. Returns NULL, or why it is
 * not taken, as the end of a sentence about what is signed. */
const char *cert_signature_kind(struct der oid, int *key_type, int *hash_id);

/* The same of a certificate's signature, which may also be RSA-PSS with the one set of parameters
 * for each hash that TLS has: MGF1 with the same, and a salt as long as it. */
const char *cert_own_signature_kind(const struct cert *c, int *key_type, int *hash_id);

/* X25519, P-256, P-384 and P-521. On x86-64 the first two are computed by code that the others need
 * as well: it saves eight kilobytes of a file whose size is limited, and an operation still takes
 * no more than 1.4 ms. Elsewhere time is dearer. */
extern const br_ec_impl *const cert_curves;

/* Whether the key has made this signature of a hash; RSA's is PKCS#1 v1.5, or PSS if hash_id says
 * so; ECDSA's is in DER. */
bool cert_verify(const br_x509_pkey *key, int hash_id, const uint8_t *hash,
	const uint8_t *signature, size_t size);

/* For people, in bytes that can do no harm in a log: a distinguished name in short (its last common
 * name, else its organization), and the first few names that a certificate is for. */
const char *cert_short_name(char *out, size_t size, struct der name);
void cert_list_names(char *out, size_t size, struct der names);

#endif
