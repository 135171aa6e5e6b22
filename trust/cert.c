#include "trust/cert.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "trust/pss.h"

/* The parsers of a certificate's parts return NULL, or the end of a sentence that says what is
 * wrong. */
static const char malformed[] = "is malformed";

/* The extensions that are known here: the last byte of 2.5.29.x. */
enum {
	KEY_USAGE = 15,
	SUBJECT_ALT_NAME = 17,
	BASIC_CONSTRAINTS = 19,
	NAME_CONSTRAINTS = 30,
	CRL_DISTRIBUTION_POINTS = 31,
	CERTIFICATE_POLICIES = 32,
	EXTENDED_KEY_USAGE = 37,
};

static const char *parse_key_usage(struct cert *c, struct der value)
{
	struct der bits;

	if (!der_get(&value, DER_BIT_STRING, &bits) || value.left || bits.left < 2 ||
		bits.at[0] > 7)
		return malformed;
	c->usage_present = true;
	c->may_sign = bits.at[1] & 0x80;
	c->may_certify = bits.at[1] & 0x04;
	return NULL;
}

static const char *parse_names(struct cert *c, struct der value)
{
	struct der rest, name;
	unsigned tag;

	if (!der_get(&value, DER_SEQUENCE, &c->names) || value.left || c->names.left == 0)
		return malformed;
	for (rest = c->names; rest.left > 0;)
		if (!der_any(&rest, &tag, &name) || (tag & 0xc0) != DER_CONTEXT)
			return malformed;
	return NULL;
}

static const char *parse_basic_constraints(struct cert *c, struct der value)
{
	struct der body, path;

	if (!der_get(&value, DER_SEQUENCE, &body) || value.left)
		return malformed;
	if (der_next_is(&body, DER_BOOLEAN) && !der_boolean(&body, &c->ca))
		return malformed;
	if (body.left == 0)
		return NULL;
	if (!c->ca || !der_unsigned(&body, &path) || path.left > 1 || body.left)
		return malformed;
	c->path = path.at[0];
	return NULL;
}

static const char *parse_extended_key_usage(struct cert *c, struct der value)
{
	struct der body, purpose;

	if (!der_get(&value, DER_SEQUENCE, &body) || value.left || body.left == 0)
		return malformed;
	c->for_servers = false;
	while (body.left > 0) {
		if (!der_get(&body, DER_OID, &purpose))
			return malformed;
		if (IS_OID(purpose, "\x2b\x06\x01\x05\x05\x07\x03\x01"))
			c->for_servers = true;
	}
	return NULL;
}

/* No policy is required here, so any will do; but where they are critical, a qualifier must be one
 * of RFC 5280's, which only inform. */
static const char *parse_policies(struct der value)
{
	struct der list, policy, qualifiers, qualifier, oid;

	if (!der_get(&value, DER_SEQUENCE, &list) || value.left || list.left == 0)
		return malformed;
	while (list.left > 0) {
		if (!der_get(&list, DER_SEQUENCE, &policy) || !der_get(&policy, DER_OID, &oid))
			return malformed;
		if (policy.left == 0)
			continue;
		if (!der_get(&policy, DER_SEQUENCE, &qualifiers) || policy.left)
			return malformed;
		while (qualifiers.left > 0) {
			if (!der_get(&qualifiers, DER_SEQUENCE, &qualifier) ||
				!der_get(&qualifier, DER_OID, &oid))
				return malformed;
			if (!IS_OID(oid, "\x2b\x06\x01\x05\x05\x07\x02\x01") &&
				!IS_OID(oid, "\x2b\x06\x01\x05\x05\x07\x02\x02"))
				return "has a critical policy that is unknown here";
		}
	}
	return NULL;
}

static const char *parse_extension(struct cert *c, struct der oid, bool critical, struct der value)
{
	switch (oid.left == 3 && oid.at[0] == 0x55 && oid.at[1] == 0x1d ? oid.at[2] : 0) {
	case KEY_USAGE:
		return parse_key_usage(c, value);
	case SUBJECT_ALT_NAME:
		return parse_names(c, value);
	case BASIC_CONSTRAINTS:
		return parse_basic_constraints(c, value);
	case EXTENDED_KEY_USAGE:
		return parse_extended_key_usage(c, value);
	case NAME_CONSTRAINTS:
		c->constraints = value;
		return NULL;
	case CERTIFICATE_POLICIES:
		return critical ? parse_policies(value) : NULL;
	case CRL_DISTRIBUTION_POINTS: /* we ask for no revocation lists, wherever they may be */
		return NULL;
	}
	return critical ? "has a critical extension that is unknown here" : NULL;
}

/* Whether an extension with this OID stands in the list before `end`. */
static bool has_extension(struct der list, const uint8_t *end, struct der oid)
{
	struct der extension, other;

	while (list.at < end)
		if (!der_get(&list, DER_SEQUENCE, &extension) ||
			!der_get(&extension, DER_OID, &other) || der_same(oid, other))
			return true;
	return false;
}

static const char *parse_extensions(struct cert *c, struct der list)
{
	struct der rest = list, extension, oid, value;
	unsigned count = 0;

	while (rest.left > 0) {
		const uint8_t *start = rest.at;
		bool critical = false;
		const char *fault;

		if (!der_get(&rest, DER_SEQUENCE, &extension) ||
			!der_get(&extension, DER_OID, &oid))
			return malformed;
		if (der_next_is(&extension, DER_BOOLEAN) && !der_boolean(&extension, &critical))
			return malformed;
		if (!der_get(&extension, DER_OCTET_STRING, &value) || extension.left)
			return malformed;
		if (++count > 64)
			return "has more than 64 extensions";
		if (has_extension(list, start, oid))
			return "has the same extension twice";
		fault = parse_extension(c, oid, critical, value);
		if (fault)
			return fault;
	}
	return count ? NULL : malformed;
}

/* [0] EXPLICIT version, absent in v1. */
static bool parse_version(struct cert *c, struct der *tbs)
{
	struct der body, number;

	c->v1 = !der_next_is(tbs, DER_CONSTRUCTED | 0);
	if (c->v1)
		return true;
	if (!der_get(tbs, DER_CONSTRUCTED | 0, &body) || !der_unsigned(&body, &number) || body.left)
		return false;
	c->v3 = number.left == 1 && number.at[0] == 2;
	return number.left == 1 && number.at[0] <= 2;
}

static bool parse_validity(struct cert *c, struct der *tbs)
{
	struct der dates;

	return der_get(tbs, DER_SEQUENCE, &dates) && der_time(&dates, &c->not_before) &&
	       der_time(&dates, &c->not_after) && dates.left == 0;
}

/* The end of a TBSCertificate: the unique identifiers of v2, of no use here, and the extensions. */
static const char *parse_tail(struct cert *c, struct der *tbs)
{
	struct der body, list;

	if (der_next_is(tbs, DER_CONTEXT | 1) && !der_get(tbs, DER_CONTEXT | 1, &body))
		return malformed;
	if (der_next_is(tbs, DER_CONTEXT | 2) && !der_get(tbs, DER_CONTEXT | 2, &body))
		return malformed;
	if (tbs->left == 0)
		return NULL;
	if (!c->v3 || !der_get(tbs, DER_CONSTRUCTED | 3, &body) || tbs->left ||
		!der_get(&body, DER_SEQUENCE, &list) || body.left)
		return malformed;
	return parse_extensions(c, list);
}

const char *cert_parse(struct cert *c, const uint8_t *raw, size_t size)
{
	struct der in = {raw, size}, outer, tbs, serial, algorithm, same_algorithm, body;

	*c = (struct cert){.raw = in, .path = -1, .for_servers = true};
	if (!der_get(&in, DER_SEQUENCE, &outer) || in.left ||
		!der_whole(&outer, DER_SEQUENCE, &c->covered) ||
		!der_whole(&outer, DER_SEQUENCE, &algorithm) || !der_bytes(&outer, &c->signature) ||
		outer.left)
		return malformed;
	in = c->covered;
	if (!der_get(&in, DER_SEQUENCE, &tbs) || !parse_version(c, &tbs) ||
		!der_get(&tbs, DER_INTEGER, &serial) ||
		!der_whole(&tbs, DER_SEQUENCE, &same_algorithm) ||
		!der_whole(&tbs, DER_SEQUENCE, &c->issuer) || !parse_validity(c, &tbs) ||
		!der_whole(&tbs, DER_SEQUENCE, &c->subject) ||
		!der_whole(&tbs, DER_SEQUENCE, &c->key))
		return malformed;
	if (!der_same(algorithm, same_algorithm) || !der_get(&algorithm, DER_SEQUENCE, &body) ||
		!der_get(&body, DER_OID, &c->algorithm))
		return malformed;
	c->parameters = body;
	return parse_tail(c, &tbs);
}

/* ---- keys ---- */

static const char *parse_rsa_key(br_x509_pkey *out, struct der bytes)
{
	struct der body, n, e;

	if (!der_get(&bytes, DER_SEQUENCE, &body) || bytes.left || !der_unsigned(&body, &n) ||
		!der_unsigned(&body, &e) || body.left)
		return malformed;
	if (n.left > 512 || e.left > 8)
		return "has an RSA key of more than 4096 bits";
	if (der_bit_length(n) < 2048)
		return "has a weak key: RSA with less than 2048 bits";
	if (!(n.at[n.left - 1] & 1) || !(e.at[e.left - 1] & 1) || der_bit_length(e) < 2)
		return "has a weak key: an impossible RSA key";
	out->key_type = BR_KEYTYPE_RSA;
	out->key.rsa = (br_rsa_public_key){
		.n = (uint8_t *)n.at,
		.nlen = n.left,
		.e = (uint8_t *)e.at,
		.elen = e.left,
	};
	return NULL;
}

struct curve {
	const char *name;
	uint8_t oid[8];
	uint8_t oid_size, id;
	uint16_t bits;
};

static const struct curve curves[] = {
	{"ECDSA P-256", "\x2a\x86\x48\xce\x3d\x03\x01\x07", 8, BR_EC_secp256r1, 256},
	{"ECDSA P-384", "\x2b\x81\x04\x00\x22", 5, BR_EC_secp384r1, 384},
	{"ECDSA P-521", "\x2b\x81\x04\x00\x23", 5, BR_EC_secp521r1, 521},
};

static const struct curve *find_curve(struct der oid)
{
	for (size_t i = 0; i < sizeof(curves) / sizeof(*curves); i++)
		if (der_is(oid, (const char *)curves[i].oid, curves[i].oid_size))
			return &curves[i];
	return NULL;
}

int cert_curve(struct der oid)
{
	const struct curve *curve = find_curve(oid);

	return curve ? curve->id : 0;
}

static const char *parse_ec_key(br_x509_pkey *out, struct der oid, struct der point)
{
	const struct curve *curve = find_curve(oid);

	if (!curve)
		return "has a key on an elliptic curve that BearSSL does not have";
	if (point.left != 1 + (curve->bits + 7) / 8 * 2u || point.at[0] != 4)
		return "has an elliptic curve key in a form that BearSSL does not have";
	out->key_type = BR_KEYTYPE_EC;
	out->key.ec.curve = curve->id;
	out->key.ec.q = (uint8_t *)point.at;
	out->key.ec.qlen = point.left;
	return NULL;
}

/* Takes a SubjectPublicKeyInfo apart. */
static bool open_key(struct der info, struct der *oid, struct der *parameters, struct der *bytes)
{
	struct der body;

	return der_get(&info, DER_SEQUENCE, &body) && der_get(&body, DER_SEQUENCE, parameters) &&
	       der_get(parameters, DER_OID, oid) && der_bytes(&body, bytes) && body.left == 0;
}

const char *cert_key(br_x509_pkey *out, struct der info)
{
	struct der oid, parameters, curve, bytes;

	if (!open_key(info, &oid, &parameters, &bytes))
		return malformed;
	if (IS_OID(oid, OID_RSA))
		return parse_rsa_key(out, bytes);
	if (!IS_OID(oid, OID_EC))
		return "has a kind of key that BearSSL does not have (only RSA and ECDSA)";
	if (!der_get(&parameters, DER_OID, &curve) || parameters.left)
		return malformed;
	return parse_ec_key(out, curve, bytes);
}

const char *cert_describe_key(struct der info, unsigned *bits)
{
	struct der oid, parameters, bytes, body, n;
	const struct curve *curve;

	*bits = 0;
	if (!open_key(info, &oid, &parameters, &bytes))
		return "unknown";
	if (IS_OID(oid, OID_RSA)) {
		if (der_get(&bytes, DER_SEQUENCE, &body) && der_unsigned(&body, &n))
			*bits = der_bit_length(n);
		return "RSA";
	}
	if (IS_OID(oid, OID_EC)) {
		curve = der_get(&parameters, DER_OID, &body) ? find_curve(body) : NULL;
		*bits = curve ? curve->bits : 0;
		return curve ? curve->name : "ECDSA on an unknown curve";
	}
	return IS_OID(oid, "\x2b\x65\x70") ? "Ed25519" : "unknown";
}

/* ---- signatures ---- */

const struct cert_hash *cert_hash(int id)
{
	static const struct cert_hash hashes[] = {
		{&br_sha256_vtable, BR_HASH_OID_SHA256, 32},
		{&br_sha384_vtable, BR_HASH_OID_SHA384, 48},
		{&br_sha512_vtable, BR_HASH_OID_SHA512, 64},
	};

	id &= ~CERT_PSS;
	return id >= br_sha256_ID && id <= br_sha512_ID ? &hashes[id - br_sha256_ID] : NULL;
}

void cert_digest(uint8_t *out, int hash_id, struct der data)
{
	const br_hash_class *class = cert_hash(hash_id)->class;
	br_hash_compat_context context;

	class->init(&context.vtable);
	class->update(&context.vtable, data.at, data.left);
	class->out(&context.vtable, out);
}

void cert_pin(uint8_t out[PIN_SIZE], const struct cert *c)
{
	cert_digest(out, br_sha256_ID, c->key);
}

const char *cert_signature_kind(struct der oid, int *key_type, int *hash_id)
{
	if (oid.left == 9 && memcmp(oid.at, "\x2a\x86\x48\x86\xf7\x0d\x01\x01", 8) == 0) {
		*key_type = BR_KEYTYPE_RSA;
		*hash_id = oid.at[8] - 11 + br_sha256_ID;
		if (oid.at[8] >= 11 && oid.at[8] <= 13)
			return NULL;
		if (oid.at[8] == 5)
			return "is signed with SHA-1, which proves nothing any more";
		if (oid.at[8] == 10)
			return "is signed with RSA-PSS, which BearSSL does not have";
	}
	if (oid.left == 8 && memcmp(oid.at, "\x2a\x86\x48\xce\x3d\x04\x03", 7) == 0) {
		*key_type = BR_KEYTYPE_EC;
		*hash_id = oid.at[7] - 2 + br_sha256_ID;
		if (oid.at[7] >= 2 && oid.at[7] <= 4)
			return NULL;
	}
	if (IS_OID(oid, "\x2a\x86\x48\xce\x3d\x04\x01"))
		return "is signed with SHA-1, which proves nothing any more";
	if (IS_OID(oid, "\x2b\x65\x70"))
		return "is signed with Ed25519, which BearSSL does not have";
	return "is signed with an algorithm that is unknown or weak";
}

/* RFC 4055 section 3.1, in the one form that Mozilla's root store policy (section 5.1.1) takes for
 * each hash. */
const char *cert_own_signature_kind(const struct cert *c, int *key_type, int *hash_id)
{
	enum { HASH = 16, MASK_HASH = 46, SALT = 53, SIZE = 54 };
	uint8_t form[] =
		"\x30\x34\xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
		"\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
		"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
		"\xa2\x03\x02\x01\x20";
	uint8_t n = c->parameters.left == SIZE ? c->parameters.at[HASH] : 0; /* 1: SHA-256 */

	if (!IS_OID(c->algorithm, OID_RSA_PSS))
		return cert_signature_kind(c->algorithm, key_type, hash_id);
	form[HASH] = form[MASK_HASH] = n;
	form[SALT] = (uint8_t)(16 + 16 * n);
	if (n < 1 || n > 3 || !der_is(c->parameters, (const char *)form, SIZE))
		return "is signed with RSA-PSS of a kind that TLS does not have";
	*key_type = BR_KEYTYPE_RSA;
	*hash_id = (n - 1 + br_sha256_ID) | CERT_PSS;
	return NULL;
}

#ifdef __x86_64__
/* What br_ec_all_m31 is, with the code for any curve or any prime in place of P-256's and X25519's
 * own. */
static const br_ec_impl *curve_code(int curve)
{
	return curve == BR_EC_curve25519 ? &br_ec_c25519_i31 : &br_ec_prime_i31;
}

static const unsigned char *curve_generator(int curve, size_t *size)
{
	return curve_code(curve)->generator(curve, size);
}

static const unsigned char *curve_order(int curve, size_t *size)
{
	return curve_code(curve)->order(curve, size);
}

static size_t curve_x_offset(int curve, size_t *size)
{
	return curve_code(curve)->xoff(curve, size);
}

static uint32_t curve_multiply(
	unsigned char *point, size_t size, const unsigned char *k, size_t k_size, int curve)
{
	return curve_code(curve)->mul(point, size, k, k_size, curve);
}

static size_t curve_multiply_generator(
	unsigned char *point, const unsigned char *k, size_t k_size, int curve)
{
	return curve_code(curve)->mulgen(point, k, k_size, curve);
}

static uint32_t curve_multiply_add(unsigned char *a, const unsigned char *b, size_t size,
	const unsigned char *k, size_t k_size, const unsigned char *l, size_t l_size, int curve)
{
	return curve_code(curve)->muladd(a, b, size, k, k_size, l, l_size, curve);
}

static const br_ec_impl small_curves = {
	.supported_curves = UINT32_C(1) << BR_EC_curve25519 | UINT32_C(1) << BR_EC_secp256r1 |
			    UINT32_C(1) << BR_EC_secp384r1 | UINT32_C(1) << BR_EC_secp521r1,
	.generator = curve_generator,
	.order = curve_order,
	.xoff = curve_x_offset,
	.mul = curve_multiply,
	.mulgen = curve_multiply_generator,
	.muladd = curve_multiply_add};
const br_ec_impl *const cert_curves = &small_curves;
#else
const br_ec_impl *const cert_curves = &br_ec_all_m31;
#endif

bool cert_verify(const br_x509_pkey *key, int hash_id, const uint8_t *hash,
	const uint8_t *signature, size_t size)
{
	const struct cert_hash *h = cert_hash(hash_id);
	uint8_t found[CERT_HASH_MAX];

	if (key->key_type == BR_KEYTYPE_EC)
		return br_ecdsa_i31_vrfy_asn1(
			       cert_curves, hash, h->size, &key->key.ec, signature, size) == 1;
	if (hash_id & CERT_PSS)
		return pss_verify(&key->key.rsa, h->class, hash, signature, size);
	return br_rsa_i31_pkcs1_vrfy(signature, size, h->oid, h->size, &key->key.rsa, found) == 1 &&
	       memcmp(found, hash, h->size) == 0;
}

/* ---- words for people ---- */

/* Text out of a certificate, in bytes that can do no harm in a log. */
static const char *plain(char *out, size_t size, struct der text)
{
	size_t i;

	for (i = 0; i + 1 < size && i < text.left; i++) {
		uint8_t c = text.at[i];

		out[i] = c < 0x20 || c > 0x7e || c == '"' || c == '\\' ? '?' : (char)c;
	}
	out[i] = '\0';
	return out;
}

const char *cert_short_name(char *out, size_t size, struct der name)
{
	struct der list, set, pair, oid, value, best = {(const uint8_t *)"(no name)", 9};
	bool common = false;
	unsigned tag;

	if (!der_get(&name, DER_SEQUENCE, &list))
		list.left = 0;
	while (der_get(&list, DER_SET, &set) && der_get(&set, DER_SEQUENCE, &pair)) {
		if (!der_get(&pair, DER_OID, &oid) || !der_any(&pair, &tag, &value))
			break;
		if (IS_OID(oid, "\x55\x04\x03") || (!common && IS_OID(oid, "\x55\x04\x0a"))) {
			common = oid.at[2] == 3;
			best = value;
		}
	}
	return plain(out, size, best);
}

void cert_list_names(char *out, size_t size, struct der names)
{
	char text[INET6_ADDRSTRLEN > 80 ? INET6_ADDRSTRLEN : 80];
	unsigned tag, count = 0;
	struct der name;
	size_t used = 0;

	out[0] = '\0';
	while (der_any(&names, &tag, &name)) {
		bool address = tag == (DER_CONTEXT | 7) && (name.left == 4 || name.left == 16);

		if (tag != (DER_CONTEXT | 2) && !address)
			continue;
		if (++count > 3)
			continue;
		if (address)
			inet_ntop(name.left == 4 ? AF_INET : AF_INET6, name.at, text, sizeof(text));
		else
			plain(text, sizeof(text), name);
		snprintf(out + used, size - used, "%s%s%s", count > 1 ? ", " : "",
			address ? "address " : "", text);
		used = strlen(out);
	}
	if (count > 3)
		snprintf(out + used, size - used, " and %u more", count - 3);
	else if (count == 0)
		snprintf(out, size, "no host at all");
}
