#include "trust/p7s.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "trust/cert.h"
#include "trust/der.h"
#include "trust/pem.h"

/* The largest certificate with a key in it. */
#define CERT_SIZE_MAX 4096

/* A SubjectPublicKeyInfo of RSA with 4096 bits takes 556 bytes at most. */
struct key {
	char name[80];
	uint16_t size;
	uint8_t info[558];
};

static struct key keys[VERITY_KEYS_MAX];
static size_t count;

/* ---- the keys; a fault is the end of a sentence, or NULL ---- */

/* Adds the key of a certificate, or a bare one. */
static const char *add_key(struct der der, bool bare, const char *path)
{
	struct key *key = &keys[count];
	const char *fault = NULL;
	struct cert c = {.key = der};
	br_x509_pkey pkey;

	if (bare) {
		snprintf(key->name, sizeof(key->name), "public key %s", path);
	} else {
		fault = cert_parse(&c, der.at, der.left);
		cert_short_name(key->name, sizeof(key->name), c.subject);
	}
	if (!fault)
		fault = cert_key(&pkey, c.key);
	if (fault)
		return fault;
	if (c.key.left > sizeof(key->info))
		return "has a key that is too long";
	key->size = (uint16_t)c.key.left;
	memcpy(key->info, c.key.at, c.key.left);
	count++;
	return NULL;
}

static const char *add_keys(int fd, const char *path)
{
	struct pem p = {.fd = fd};
	uint8_t block[CERT_SIZE_MAX];
	struct der der = {block, 0};

	while (pem_next(&p, NULL, block, sizeof(block), &der.left)) {
		bool bare = strcmp(p.label, "PUBLIC KEY") == 0;
		const char *fault;

		if (!bare && strcmp(p.label, "CERTIFICATE") != 0)
			continue;
		if (count == VERITY_KEYS_MAX)
			return "has too many keys";
		fault = der.left > sizeof(block) ? "has a certificate that is too long"
						 : add_key(der, bare, path);
		if (fault)
			return fault;
	}
	if (p.broken > 0)
		return "is broken: not all of it is PEM";
	return count > 0 ? NULL : "has no certificate and no public key in PEM form";
}

bool p7s_load_keys(const char *path, char *why, size_t size)
{
	const char *fault;
	int fd;

	count = 0;
	if (!*path)
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return fail(why, size, "%s: %s", path, strerror(errno));
	fault = add_keys(fd, path);
	fd_close(&fd);
	if (!fault)
		return true;
	count = 0;
	return fail(why, size, "%s %s", path, fault);
}

size_t p7s_keys(void)
{
	return count;
}

/* ---- the signature ---- */

static const char malformed[] = "is no detached CMS signature in DER";

/* RFC 5652 section 5.3, SignerInfo: what is needed of it. */
struct signer {
	struct der hash, algorithm; /* OIDs */
	struct der signature;
	bool attributes;
};

/* An AlgorithmIdentifier, whose parameters do not matter for the kinds that are taken. */
static bool take_algorithm(struct der *in, struct der *oid)
{
	struct der body;

	return der_get(in, DER_SEQUENCE, &body) && der_get(&body, DER_OID, oid);
}

static bool skip_optional(struct der *in, unsigned tag, bool *present)
{
	struct der body;

	*present = der_next_is(in, tag);
	return !*present || der_get(in, tag, &body);
}

static bool take_signer(struct der *in, struct signer *s)
{
	struct der body, part;
	bool unsigned_ones;
	unsigned tag;

	if (!der_get(in, DER_SEQUENCE, &body) || !der_get(&body, DER_INTEGER, &part) ||
		!der_any(&body, &tag, &part) || !take_algorithm(&body, &s->hash) ||
		!skip_optional(&body, DER_CONSTRUCTED | 0, &s->attributes) ||
		!take_algorithm(&body, &s->algorithm) ||
		!der_get(&body, DER_OCTET_STRING, &s->signature) ||
		!skip_optional(&body, DER_CONSTRUCTED | 1, &unsigned_ones))
		return false;
	s->attributes |= unsigned_ones;
	return body.left == 0;
}

/* RFC 5652 sections 3 and 5.1: a ContentInfo with a SignedData. Takes its one signer. */
static const char *take_p7s(struct der in, struct signer *s)
{
	struct der info, oid, wrapper, data, part, content, signers;
	bool ignored;

	if (!der_get(&in, DER_SEQUENCE, &info) || in.left || !der_get(&info, DER_OID, &oid) ||
		!IS_OID(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02") ||
		!der_get(&info, DER_CONSTRUCTED | 0, &wrapper) || info.left ||
		!der_get(&wrapper, DER_SEQUENCE, &data) || wrapper.left ||
		!der_get(&data, DER_INTEGER, &part) || !der_get(&data, DER_SET, &part) ||
		!der_get(&data, DER_SEQUENCE, &content) || !der_get(&content, DER_OID, &oid) ||
		!skip_optional(&data, DER_CONSTRUCTED | 0, &ignored) || /* certificates */
		!skip_optional(&data, DER_CONSTRUCTED | 1, &ignored) || /* revocation lists */
		!der_get(&data, DER_SET, &signers) || data.left)
		return malformed;
	if (content.left > 0)
		return "has its content inside: it must be detached";
	if (!take_signer(&signers, s))
		return malformed;
	return signers.left ? "has more than one signer" : NULL;
}

/* Why a signature of this kind cannot be verified. Sets the kind of key that it needs. */
static const char *kind_fault(const struct signer *s, int *key_type)
{
	int hash_id = br_sha256_ID;
	const char *fault = NULL;

	if (IS_OID(s->algorithm, OID_RSA))
		*key_type = BR_KEYTYPE_RSA;
	else
		fault = cert_signature_kind(s->algorithm, key_type, &hash_id);
	if (fault)
		return fault;
	if (s->attributes)
		return "has attributes: it must be made without (-noattr)";
	if (hash_id != br_sha256_ID || !IS_OID(s->hash, "\x60\x86\x48\x01\x65\x03\x04\x02\x01"))
		return "is made with another digest than SHA-256";
	return NULL;
}

const char *p7s_signer(
	const uint8_t *p7s, size_t size, const uint8_t root[VERITY_DIGEST], const char **fault)
{
	char digits[VERITY_HEX + 1];
	uint8_t hash[CERT_HASH_MAX];
	br_x509_pkey pkey;
	struct signer s;
	int key_type;

	*fault = take_p7s((struct der){p7s, size}, &s);
	if (!*fault)
		*fault = kind_fault(&s, &key_type);
	if (*fault)
		return NULL;
	verity_root_text(digits, root);
	cert_digest(hash, br_sha256_ID, (struct der){(uint8_t *)digits, VERITY_HEX});
	for (size_t i = 0; i < count; i++)
		if (!cert_key(&pkey, (struct der){keys[i].info, keys[i].size}) &&
			pkey.key_type == key_type &&
			cert_verify(&pkey, br_sha256_ID, hash, s.signature.at, s.signature.left))
			return keys[i].name;
	*fault = "does not fit the root hash and any key of verity-key";
	return NULL;
}
