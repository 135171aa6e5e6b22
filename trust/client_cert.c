#include "trust/client_cert.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "trust/cert.h"
#include "trust/der.h"
#include "trust/pem.h"

static struct client_identity own; /* certs is 0: none is loaded */

/* What it points into, as DER. */
static struct {
	uint8_t chain[CLIENT_CHAIN_MAX];
	uint8_t key[CLIENT_KEY_MAX];
} own_bytes;

/* ---- the key ---- */

static void set_part(unsigned char **out, size_t *size, struct der number)
{
	*out = (uint8_t *)number.at;
	*size = number.left;
}

/* RFC 8017 appendix A.1.2. A signature will show whether the numbers belong together. */
static bool parse_rsa(struct der in)
{
	struct der body, version, n, e, d, p, q, dp, dq, iq;
	br_rsa_private_key *key = &own.rsa;

	if (!der_get(&in, DER_SEQUENCE, &body) || in.left || !der_unsigned(&body, &version) ||
		version.left != 1 || version.at[0] != 0 || !der_unsigned(&body, &n) ||
		!der_unsigned(&body, &e) || !der_unsigned(&body, &d) || !der_unsigned(&body, &p) ||
		!der_unsigned(&body, &q) || !der_unsigned(&body, &dp) ||
		!der_unsigned(&body, &dq) || !der_unsigned(&body, &iq) || body.left)
		return false;
	key->n_bitlen = der_bit_length(n);
	if (key->n_bitlen < 2048 || key->n_bitlen > 4096 || p.left > 256 || q.left > 256 ||
		!(p.at[p.left - 1] & 1) || !(q.at[q.left - 1] & 1) || p.left + q.left < n.left)
		return false;
	set_part(&key->p, &key->plen, p);
	set_part(&key->q, &key->qlen, q);
	set_part(&key->dp, &key->dplen, dp);
	set_part(&key->dq, &key->dqlen, dq);
	set_part(&key->iq, &key->iqlen, iq);
	own.key_type = BR_KEYTYPE_RSA;
	return true;
}

/* RFC 5915. `curve` is 0 if the key itself has to name it. */
static bool parse_ec(struct der in, int curve)
{
	struct der body, version, x, parameters, oid;

	if (!der_get(&in, DER_SEQUENCE, &body) || in.left || !der_unsigned(&body, &version) ||
		version.left != 1 || version.at[0] != 1 || !der_get(&body, DER_OCTET_STRING, &x))
		return false;
	if (der_next_is(&body, DER_CONSTRUCTED | 0)) {
		if (!der_get(&body, DER_CONSTRUCTED | 0, &parameters) ||
			!der_get(&parameters, DER_OID, &oid))
			return false;
		if (curve && curve != cert_curve(oid))
			return false;
		curve = cert_curve(oid);
	}
	if (!curve || x.left == 0 || x.left > 66)
		return false;
	own.ec.curve = curve;
	set_part(&own.ec.x, &own.ec.xlen, x);
	own.key_type = BR_KEYTYPE_EC;
	return true;
}

/* RFC 5208: either of the two, wrapped. */
static bool parse_pkcs8(struct der in)
{
	struct der body, version, algorithm, oid, key;

	if (!der_get(&in, DER_SEQUENCE, &body) || in.left || !der_unsigned(&body, &version) ||
		!der_get(&body, DER_SEQUENCE, &algorithm) || !der_get(&algorithm, DER_OID, &oid) ||
		!der_get(&body, DER_OCTET_STRING, &key))
		return false;
	if (IS_OID(oid, OID_RSA))
		return parse_rsa(key);
	return IS_OID(oid, OID_EC) && der_get(&algorithm, DER_OID, &oid) &&
	       parse_ec(key, cert_curve(oid));
}

/* Reads the key, in any of its forms. */
static bool read_key(int fd, const char *path, char *why, size_t why_size)
{
	static const char *const labels[] = {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"};
	struct pem p = {.fd = fd};
	struct der der = {own_bytes.key, 0};
	int form = 0;

	while (form < 3 &&
		!pem_next(&p, labels[form], own_bytes.key, sizeof(own_bytes.key), &der.left)) {
		p = (struct pem){.fd = fd};
		form++;
	}
	explicit_bzero(&p, sizeof(p));
	if (form == 3)
		return fail(why, why_size,
			"%s holds no private key in PEM form (one that is encrypted cannot be "
			"used)",
			path);
	if (der.left <= sizeof(own_bytes.key) && (form == 0	     ? parse_pkcs8(der)
							 : form == 1 ? parse_rsa(der)
								     : parse_ec(der, 0)))
		return true;
	return fail(why, why_size,
		"the private key in %s is of no use: RSA of 2048 to 4096 bits and EC on P-256, "
		"P-384 or P-521 are",
		path);
}

/* ---- the chain ---- */

static bool read_chain(int fd, const char *path, char *why, size_t why_size)
{
	struct pem p = {.fd = fd};
	size_t used = 0, size = 0;

	for (own.certs = 0; pem_next(&p, "CERTIFICATE", own_bytes.chain + used,
		     sizeof(own_bytes.chain) - used, &size);
		own.certs++) {
		if (own.certs == CLIENT_CERTS_MAX || size > sizeof(own_bytes.chain) - used)
			return fail(why, why_size, "%s holds more than %d certificates or %d bytes",
				path, CLIENT_CERTS_MAX, CLIENT_CHAIN_MAX);
		own.cert[own.certs].data = own_bytes.chain + used;
		own.cert[own.certs].data_len = size;
		used += size;
	}
	return own.certs > 0 || fail(why, why_size, "%s holds no certificate in PEM form", path);
}

/* ---- signatures ---- */

/* Replaces the hash in `data` by its signature; returns its length, 0 on failure. */
static size_t sign(const br_ssl_client_certificate_class **ctx, int hash_id, size_t hash_size,
	uint8_t *data, size_t room)
{
	const struct cert_hash *h = cert_hash(hash_id);
	size_t rsa_size = (own.rsa.n_bitlen + 7) / 8;
	uint8_t hash[CERT_HASH_MAX];

	(void)ctx;
	if (!h || hash_size > sizeof(hash))
		return 0;
	memcpy(hash, data, hash_size);
	if (own.key_type == BR_KEYTYPE_RSA)
		return room >= rsa_size && br_rsa_i31_pkcs1_sign(
						   h->oid, hash, hash_size, &own.rsa, data)
			       ? rsa_size
			       : 0;
	/* Two numbers of at most 66 bytes, and their heads. */
	return room < 144 ? 0 : br_ecdsa_i31_sign_asn1(cert_curves, h->class, hash, &own.ec, data);
}

/* Whether the key is the certificate's: what the one signs, the other verifies. */
static bool belong_together(const br_x509_pkey *pkey)
{
	static const uint8_t hash[32] = "any 32 bytes will do, as these d";
	uint8_t signature[512];
	size_t size;

	memcpy(signature, hash, sizeof(hash));
	size = sign(NULL, br_sha256_ID, sizeof(hash), signature, sizeof(signature));
	return size > 0 && own.key_type == pkey->key_type &&
	       cert_verify(pkey, br_sha256_ID, hash, signature, size);
}

/* ---- BearSSL's side: br_ssl_client_certificate_class ---- */

/* The server may name the CAs that it likes. */
static void ignore(const br_ssl_client_certificate_class **ctx)
{
	(void)ctx;
}

static void ignore_size(const br_ssl_client_certificate_class **ctx, size_t size)
{
	(void)ctx, (void)size;
}

static void ignore_data(
	const br_ssl_client_certificate_class **ctx, const uint8_t *data, size_t size)
{
	(void)ctx, (void)data, (void)size;
}

/* Chooses the chain, and a form of signature that the server takes (`auth_types`); or nothing, if
 * none is loaded or the server takes no such form. */
static void choose(const br_ssl_client_certificate_class **ctx, const br_ssl_client_context *client,
	uint32_t auth_types, br_ssl_client_certificate *choices)
{
	struct client_cert *c = (struct client_cert *)(void *)ctx;
	uint32_t accepted = own.key_type == BR_KEYTYPE_EC ? auth_types >> 8 : auth_types;
	int id = br_sha256_ID;

	(void)client;
	memset(choices, 0, sizeof(*choices));
	while (id <= br_sha512_ID && !(accepted >> id & 1))
		id++;
	c->asked = true;
	c->shown = own.certs > 0 && id <= br_sha512_ID;
	if (!c->shown)
		return;
	choices->auth_type = own.key_type == BR_KEYTYPE_EC ? BR_AUTH_ECDSA : BR_AUTH_RSA;
	choices->hash_id = id;
	choices->chain = own.cert;
	choices->chain_len = own.certs;
}

const br_ssl_client_certificate_class client_cert_class = {
	.context_size = sizeof(struct client_cert),
	.start_name_list = ignore,
	.start_name = ignore_size,
	.append_name = ignore_data,
	.end_name = ignore,
	.end_name_list = ignore,
	.choose = choose,
	.do_sign = sign,
};

/* ---- loading ---- */

static int open_file(const char *path, bool secret, char *why, size_t size)
{
	int fd = fd_open(path, why, size);
	struct stat st;

	if (fd >= 0 && secret && fstat(fd, &st) == 0 && st.st_mode & 0007)
		log_warning(
			"%s: the private key in it is open to every user of this machine", path);
	return fd;
}

static bool check_pair(const char *cert_file, const char *key_file, char *why, size_t size)
{
	const char *fault;
	br_x509_pkey pkey = {0};
	struct cert c;

	fault = cert_parse(&c, own.cert[0].data, own.cert[0].data_len);
	if (!fault)
		fault = cert_key(&pkey, c.key);
	if (fault)
		return fail(why, size, "the certificate in %s %s", cert_file, fault);
	return belong_together(&pkey) ||
	       fail(why, size, "the private key in %s is not that of the certificate in %s",
		       key_file, cert_file);
}

static void forget(void)
{
	explicit_bzero(&own, sizeof(own));
	explicit_bzero(&own_bytes, sizeof(own_bytes));
}

bool client_cert_load(const char *cert_file, const char *key_file, char *why, size_t size)
{
	int cert, key;
	bool good;

	if (own.certs)
		forget();
	if (!*cert_file)
		return true;
	cert = open_file(cert_file, false, why, size);
	key = cert < 0 ? -1 : open_file(key_file, true, why, size);
	good = cert >= 0 && key >= 0 && read_chain(cert, cert_file, why, size) &&
	       read_key(key, key_file, why, size) && check_pair(cert_file, key_file, why, size);
	fd_close(&cert);
	fd_close(&key);
	if (!good)
		forget();
	return good;
}

const struct client_identity *client_cert_identity(void)
{
	return own.certs > 0 ? &own : NULL;
}
