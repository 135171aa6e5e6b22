#include "trust/p7s.h"

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

_Static_assert(VERITY_KEYS_MAX == 4, "as a sentence below says");
static struct key keys[VERITY_KEYS_MAX];
static size_t count;

/* ---- the keys; a fault is the end of a sentence, or NULL ---- */

static const char *const too_long = "has a key that is too long";

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
		return too_long;
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
			return "has more than 4 keys";
		fault = der.left > sizeof(block) ? too_long : add_key(der, bare, path);
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
	fd = fd_open(path, why, size);
	if (fd < 0)
		return false;
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

static const char *const no_signature = "is no detached CMS signature in DER";
static const char *const cut_off = "is too long: it must be made without certificates (-nocerts)";

/* What stands in a signature, in its order (RFC 5652 sections 3, 5.1 and 5.3: a ContentInfo with a
 * SignedData with a SignerInfo). Where an element has parts of its own that are looked at, it is
 * the last in its place. */
enum {
	INFO,
	TYPE,
	WRAPPER,
	DATA,
	DATA_VERSION,
	HASHES,
	CONTENT,
	CERTIFICATES,
	REVOCATIONS,
	SIGNERS,
	SIGNER,
	SIGNER_VERSION,
	SIGNER_ID,
	HASH,
	ATTRIBUTES,
	KIND,
	SIGNATURE,
	UNSIGNED_ATTRIBUTES,
	ELEMENTS,
};

#define ANY_TAG 0

static const struct {
	uint8_t tag;
	enum __attribute__((packed)) { MUST, MAY, INTO } how;
} elements[ELEMENTS] = {
	[INFO] = {DER_SEQUENCE, INTO},
	[TYPE] = {DER_OID, MUST},
	[WRAPPER] = {DER_CONSTRUCTED | 0, INTO},
	[DATA] = {DER_SEQUENCE, INTO},
	[DATA_VERSION] = {DER_INTEGER, MUST},
	[HASHES] = {DER_SET, MUST},
	[CONTENT] = {DER_SEQUENCE, MUST},
	[CERTIFICATES] = {DER_CONSTRUCTED | 0, MAY},
	[REVOCATIONS] = {DER_CONSTRUCTED | 1, MAY},
	[SIGNERS] = {DER_SET, INTO},
	[SIGNER] = {DER_SEQUENCE, INTO},
	[SIGNER_VERSION] = {DER_INTEGER, MUST},
	[SIGNER_ID] = {ANY_TAG, MUST},
	[HASH] = {DER_SEQUENCE, MUST},
	[ATTRIBUTES] = {DER_CONSTRUCTED | 0, MAY},
	[KIND] = {DER_SEQUENCE, MUST},
	[SIGNATURE] = {DER_OCTET_STRING, MUST},
	[UNSIGNED_ATTRIBUTES] = {DER_CONSTRUCTED | 1, MAY},
};

/* Takes a signature apart: the insides of its elements. Those that may be missing have no `at`. */
static const char *take_apart(struct der in, struct der part[ELEMENTS])
{
	unsigned tag;

	for (int i = 0; i < ELEMENTS; i++) {
		part[i].at = NULL;
		if (elements[i].tag == ANY_TAG ? !der_any(&in, &tag, &part[i])
					       : !der_get(&in, elements[i].tag, &part[i]))
			if (elements[i].how != MAY)
				return no_signature;
		if (elements[i].how != INTO)
			continue;
		if (in.left > 0)
			return i == SIGNER ? "has more than one signer" : no_signature;
		in = part[i];
	}
	return in.left > 0 ? no_signature : NULL;
}

/* Why a signature that has these parts cannot be verified. Sets the kind of key that it needs. */
static const char *form_fault(struct der part[ELEMENTS], int *key_type)
{
	int hash_id = br_sha256_ID;
	const char *fault = NULL;
	struct der content, hash, algorithm;

	if (!IS_OID(part[TYPE], "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02") ||
		!der_get(&part[CONTENT], DER_OID, &content) ||
		!der_get(&part[HASH], DER_OID, &hash) || !der_get(&part[KIND], DER_OID, &algorithm))
		return no_signature;
	if (part[CONTENT].left > 0)
		return "has its content inside: it must be detached";
	if (IS_OID(algorithm, OID_RSA))
		*key_type = BR_KEYTYPE_RSA;
	else
		fault = cert_signature_kind(algorithm, key_type, &hash_id);
	if (fault)
		return fault;
	if (part[ATTRIBUTES].at || part[UNSIGNED_ATTRIBUTES].at)
		return "has attributes: it must be made without (-noattr)";
	if (hash_id != br_sha256_ID || !IS_OID(hash, "\x60\x86\x48\x01\x65\x03\x04\x02\x01"))
		return "is made with another digest than SHA-256";
	return NULL;
}

const char *p7s_signer(
	const uint8_t *p7s, size_t size, const uint8_t root[VERITY_DIGEST], const char **fault)
{
	struct der part[ELEMENTS];
	char digits[VERITY_HEX + 1];
	uint8_t hash[CERT_HASH_MAX];
	br_x509_pkey pkey;
	int key_type = 0;

	*fault = size < PROOF_MAX ? take_apart((struct der){p7s, size}, part) : cut_off;
	if (!*fault)
		*fault = form_fault(part, &key_type);
	if (*fault)
		return NULL;
	verity_root_text(digits, root);
	cert_digest(hash, br_sha256_ID, (struct der){(uint8_t *)digits, VERITY_HEX});
	for (size_t i = 0; i < count; i++)
		if (!cert_key(&pkey, (struct der){keys[i].info, keys[i].size}) &&
			pkey.key_type == key_type &&
			cert_verify(&pkey, br_sha256_ID, hash, part[SIGNATURE].at,
				part[SIGNATURE].left))
			return keys[i].name;
	*fault = "does not fit the root hash and any key of verity-key";
	return NULL;
}
