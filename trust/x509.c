#include "trust/x509.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "trust/cert.h"
#include "trust/der.h"
#include "trust/pem.h"

/* ---- the rules; a fault is the end of a sentence, or NULL ---- */

/* The kind of a signature, in BearSSL's numbers. */
static const char *signature_kind(struct der oid, int *key_type, int *hash_id)
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

static const char too_long[] = "does not allow a chain of this length";

/* The rules for every certificate, roots included. Sets its key. */
static const char *common_fault(const struct cert *c, br_x509_pkey *key)
{
	if (c->constrained)
		return "has name constraints, which are not checked here";
	if (!c->for_servers)
		return "is not meant for TLS servers (extended key usage)";
	return cert_key(key, c->key);
}

static const char *ca_fault(const struct cert *c, br_x509_pkey *key)
{
	if (!c->v3 || !c->ca)
		return "is not marked as a CA";
	if (c->usage_present && !c->may_certify)
		return "may not sign certificates (key usage)";
	return common_fault(c, key);
}

/* The rules for a server's own certificate, but for its names. `direct`: it lies in the bundle. */
static const char *leaf_fault(const struct cert *c, bool direct, br_x509_pkey *key)
{
	if (!c->v3)
		return "is not X.509 v3";
	if (c->ca && !direct)
		return "is marked as a CA's";
	if (c->usage_present && !c->may_sign)
		return "may not sign (key usage), as every cipher here needs";
	return common_fault(c, key);
}

/* ---- names ---- */

/* Whether a dNSName stands for `host`, which has no dot at its end. A "*" may only be the whole
 * left-most label; it stands for exactly one label, and two or more must follow. */
static bool name_matches(struct der pattern, const char *host)
{
	const char *p = (const char *)pattern.at, *dot;
	size_t size = pattern.left;

	if (size == 0 || *host == '\0')
		return false;
	if (memchr(p, '*', size)) {
		if (size < 3 || p[0] != '*' || p[1] != '.')
			return false;
		p++;
		size--;
		dot = memchr(p + 1, '.', size - 1);
		if (memchr(p, '*', size) || !dot || dot == p + 1 || dot == p + size - 1)
			return false;
		host = strchr(host, '.') > host ? strchr(host, '.') : "";
	}
	return strlen(host) == size && strncasecmp(p, host, size) == 0;
}

static bool names_match(const struct x509 *x, struct der names)
{
	struct der name;
	unsigned tag;

	while (der_any(&names, &tag, &name)) {
		if (tag == (DER_CONTEXT | 2) && !x->address_size && name_matches(name, x->host))
			return true;
		if (tag == (DER_CONTEXT | 7) && x->address_size && name.left == x->address_size &&
			memcmp(name.at, x->address, name.left) == 0)
			return true;
	}
	return false;
}

/* ---- words for people ---- */

static void say(struct x509 *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds to the sentence. */
static void say(struct x509 *x, const char *format, ...)
{
	size_t used = strlen(x->why);
	va_list list;

	va_start(list, format);
	vsnprintf(x->why + used, x->why_size - used, format, list);
	va_end(list);
}

static void say_date(struct x509 *x, const char *before, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm day;

	if (!gmtime_r(&t, &day))
		return;
	say(x, "%s %04d-%02d-%02d", before, day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
}

/* ---- refusing ---- */

/* The sentence's subject, in place of whatever was said before. */
static void begin_refusal(struct x509 *x, const struct cert *c)
{
	char name[64];

	x->refused = true;
	x->why[0] = '\0';
	if (x->depth == 0)
		say(x, "the server's certificate");
	else if (c && c->subject.left)
		say(x, "the CA certificate \"%s\" that the server sent",
			cert_short_name(name, sizeof(name), c->subject));
	else
		say(x, "certificate %u that the server sent", x->depth + 1);
}

static void refuse(struct x509 *x, const struct cert *c, const char *fault)
{
	begin_refusal(x, c);
	say(x, " %s", fault);
}

/* A root that was found but cannot be used: said only if no other serves. */
static void note_root(struct x509 *x, const struct cert *root, const char *fault)
{
	char name[64];

	x->why[0] = '\0';
	say(x, "the trusted root \"%s\" %s", cert_short_name(name, sizeof(name), root->subject),
		fault);
	if (x->now > root->not_after)
		say_date(x, " on", root->not_after);
}

/* ---- signatures ---- */

/* Keeps the signature, and the hash of the bytes that the issuer has to have signed, since the next
 * certificate takes this one's place in memory. */
static const char *keep_signature(struct x509 *x, const struct cert *c)
{
	const char *fault = signature_kind(c->algorithm, &x->key_type, &x->hash_id);

	if (!fault && c->signature.left > sizeof(x->signature))
		fault = "has a signature of an impossible length";
	if (fault) {
		x->key_type = 0; /* so that no key verifies it */
		return fault;
	}
	cert_digest(x->hash, x->hash_id, c->covered);
	memcpy(x->signature, c->signature.at, c->signature.left);
	x->signature_size = c->signature.left;
	cert_digest(x->issuer_hash, br_sha256_ID, c->issuer);
	cert_short_name(x->issuer, sizeof(x->issuer), c->issuer);
	x->self_issued = der_same(c->issuer, c->subject);
	return NULL;
}

/* Whether the kept signature was made with this key. */
static bool verifies(const struct x509 *x, const br_x509_pkey *key)
{
	return key->key_type == x->key_type &&
	       cert_verify(key, x->hash_id, x->hash, x->signature, x->signature_size);
}

/* ---- roots ---- */

static bool has_begun(const struct x509 *x, const struct cert *c)
{
	return x->now >= c->not_before || x->or_later;
}

/* Why a certificate of the bundle cannot vouch for the one under examination. Sets its key. */
static const char *root_fault(const struct x509 *x, const struct cert *root, br_x509_pkey *key)
{
	if (x->now > root->not_after)
		return "has expired";
	if (!has_begun(x, root))
		return "is not valid yet";
	if (root->path >= 0 && (unsigned)root->path < x->depth)
		return too_long;
	return ca_fault(root, key);
}

/* Looks at one certificate of the bundle. Returns whether it makes `c` trusted. */
static bool consider_root(struct x509 *x, const struct cert *c, size_t size)
{
	br_x509_pkey key;
	const char *fault;
	struct cert root;

	/* The faults of those with another subject, which most are, do not matter. */
	fault = cert_parse(&root, x->decoded, size);
	if (!der_same(root.subject, c->issuer))
		return false;
	if (!fault)
		fault = root_fault(x, &root, &key);
	if (fault) {
		note_root(x, &root, fault);
		return false;
	}
	x->namesake = true;
	return verifies(x, &key);
}

/* Looks in the bundle for a root that has signed `c`; or for `c` itself, if it is the server's:
 * then also *direct. */
static bool find_root(struct x509 *x, const struct cert *c, bool *direct)
{
	struct pem p = {.fd = x->bundle};
	bool found = false;
	size_t size = 0;

	x->namesake = *direct = false;
	while (!found && pem_next(&p, "CERTIFICATE", x->decoded, x->decoded_room, &size)) {
		if (size > x->decoded_room)
			continue;
		*direct = x->depth == 0 && der_same((struct der){x->decoded, size}, c->raw);
		found = *direct || consider_root(x, c, size);
	}
	return found;
}

/* ---- one certificate of the chain ---- */

static bool dates_hold(struct x509 *x, const struct cert *c)
{
	if (has_begun(x, c) && x->now <= c->not_after)
		return true;
	begin_refusal(x, c);
	if (x->now > c->not_after)
		say_date(x, " has expired: it was valid until", c->not_after);
	else
		say_date(x, " is not valid yet: it begins on", c->not_before);
	say_date(x,
		x->or_later ? ", and the clock is not set: it is later than"
			    : ", and the clock says",
		x->now);
	return false;
}

static bool is_for_host(struct x509 *x, const struct cert *c)
{
	char names[sizeof(((struct tls_peer_info *)0)->names)];

	if (c->names.left == 0) {
		refuse(x, c,
			c->v3 ? "has no subject alternative name (a common name does not count)"
			      : "is not X.509 v3, so it names no host");
		return false;
	}
	if (names_match(x, c->names))
		return true;
	begin_refusal(x, c);
	cert_list_names(names, sizeof(names), c->names);
	say(x, " is not for %s%s; it is for %s", x->address_size ? "address " : "", x->host, names);
	return false;
}

/* Copies the server's key, which has to outlive its certificate. */
static void keep_key(struct x509 *x, const br_x509_pkey *key)
{
	x->pkey = *key;
	if (key->key_type == BR_KEYTYPE_RSA) {
		br_rsa_public_key *rsa = &x->pkey.key.rsa;

		memcpy(x->key, rsa->n, rsa->nlen);
		memcpy(x->key + rsa->nlen, rsa->e, rsa->elen);
		rsa->n = x->key;
		rsa->e = x->key + rsa->nlen;
	} else {
		memcpy(x->key, key->key.ec.q, key->key.ec.qlen);
		x->pkey.key.ec.q = x->key;
	}
}

/* Compares the server's key with the pins, and keeps its own for people to copy. */
static void look_at_pin(struct x509 *x, const struct cert *c)
{
	uint8_t pin[PIN_SIZE];

	cert_pin(pin, c);
	base64_encode(x->pin, pin, sizeof(pin));
	x->pin_fits = false;
	for (size_t i = 0; i < x->pins.count; i++)
		x->pin_fits = x->pin_fits || memcmp(pin, x->pins.list[i], sizeof(pin)) == 0;
}

static void refuse_pin(struct x509 *x)
{
	x->refused = true;
	x->why[0] = '\0';
	say(x, "the server's key is not a pinned one: it is sha256//%s", x->pin);
}

/* The rule of pins.only: the key is all. */
static void examine_key(struct x509 *x, const struct cert *c)
{
	br_x509_pkey key;
	const char *fault = cert_key(&key, c->key);

	if (fault)
		refuse(x, c, fault);
	else if (!x->pin_fits)
		refuse_pin(x);
	else
		keep_key(x, &key);
	x->trusted = !x->refused;
}

/* The server's own certificate. */
static const char *examine_own(struct x509 *x, const struct cert *c)
{
	const char *signature_fault = keep_signature(x, c), *fault;
	br_x509_pkey key;
	bool direct;

	x->trusted = find_root(x, c, &direct);
	fault = leaf_fault(c, direct, &key);
	if (!fault && !direct)
		fault = signature_fault;
	if (!fault)
		keep_key(x, &key);
	return fault;
}

/* The next one up the chain. */
static const char *examine_ca(struct x509 *x, const struct cert *c)
{
	uint8_t hash[32];
	br_x509_pkey key;
	const char *fault = ca_fault(c, &key);
	bool direct;

	if (fault)
		return fault;
	cert_digest(hash, br_sha256_ID, c->subject);
	if (memcmp(hash, x->issuer_hash, sizeof(hash)) != 0)
		return "is not the issuer of the one before it: the chain is not in order";
	if (c->path >= 0 && (unsigned)c->path < x->depth - 1)
		return too_long;
	if (!verifies(x, &key))
		return "has not signed the one before it: the signature is wrong";
	fault = keep_signature(x, c);
	if (!fault)
		x->trusted = find_root(x, c, &direct);
	return fault;
}

static void examine(struct x509 *x)
{
	const char *fault;
	struct cert c;

	fault = cert_parse(&c, x->raw, x->raw_size);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	if (x->depth == 0)
		look_at_pin(x, &c);
	if (x->pins.only) {
		examine_key(x, &c);
		return;
	}
	if (!dates_hold(x, &c) || (x->depth == 0 && !is_for_host(x, &c)))
		return;
	fault = x->depth == 0 ? examine_own(x, &c) : examine_ca(x, &c);
	if (fault)
		refuse(x, &c, fault);
}

/* ---- BearSSL's side: br_x509_class ---- */

static struct x509 *self(const br_x509_class **ctx)
{
	return (struct x509 *)(void *)ctx;
}

/* Once trusted or refused, the rest of the chain does not matter. */
static bool settled(const struct x509 *x)
{
	return x->refused || x->trusted;
}

static void start_chain(const br_x509_class **ctx, const char *server_name)
{
	struct x509 *x = self(ctx);

	(void)server_name; /* x509_init() has it */
	x->depth = 0;
	x->trusted = x->refused = false;
	x->why[0] = '\0';
}

static void start_cert(const br_x509_class **ctx, uint32_t length)
{
	struct x509 *x = self(ctx);

	x->raw_size = x->announced = 0;
	if (settled(x) && !x->peer)
		return;
	if (length <= x->raw_room)
		x->announced = length;
	if (settled(x))
		return;
	if (x->depth == X509_CHAIN_MAX)
		refuse(x, NULL, "is one too many");
	else if (length > x->raw_room)
		refuse(x, NULL, "is too long");
}

static void append_bytes(const br_x509_class **ctx, const unsigned char *data, size_t size)
{
	struct x509 *x = self(ctx);

	if (size <= x->announced - x->raw_size) {
		memcpy(x->raw + x->raw_size, data, size);
		x->raw_size += size;
	} else if (!settled(x)) {
		refuse(x, NULL, "is malformed");
	}
}

static void describe_own(struct tls_peer_info *out, const struct cert *c)
{
	uint8_t pin[PIN_SIZE];

	if (c->names.left > 0)
		cert_list_names(out->names, sizeof(out->names), c->names);
	cert_pin(pin, c);
	base64_encode(stpcpy(out->pin, "sha256//"), pin, sizeof(pin));
}

static void describe_cert(struct x509 *x)
{
	struct tls_cert *out;
	struct cert c;

	if (x->peer->certs++ >= TLS_CERTS_MAX)
		return;
	out = &x->peer->cert[x->peer->certs - 1];
	out->key = "unknown";
	out->fault = cert_parse(&c, x->raw, x->raw_size);
	if (c.key.left == 0)
		return;
	cert_short_name(out->subject, sizeof(out->subject), c.subject);
	cert_short_name(out->issuer, sizeof(out->issuer), c.issuer);
	out->not_before = c.not_before;
	out->not_after = c.not_after;
	out->key = cert_describe_key(c.key, &out->bits);
	if (x->peer->certs == 1)
		describe_own(x->peer, &c);
}

static void end_cert(const br_x509_class **ctx)
{
	struct x509 *x = self(ctx);

	if (x->peer)
		describe_cert(x);
	if (settled(x))
		return;
	if (x->raw_size == x->announced)
		examine(x);
	else
		refuse(x, NULL, "is malformed");
	x->depth++;
}

static void explain_distrust(struct x509 *x)
{
	if (x->why[0])
		return;
	if (x->namesake)
		say(x, "unknown CA: a trusted root is named \"%s\", but has another key",
			x->issuer);
	else if (x->self_issued && x->depth == 1)
		say(x, "unknown CA: the server's certificate is self-signed, and not one of the "
		       "trusted ones");
	else if (x->depth == 1)
		say(x,
			"unknown CA: the issuer is \"%s\"; either it is not trusted here, or the "
			"server does not send its CA's certificate",
			x->issuer);
	else
		say(x, "unknown CA: the issuer is \"%s\"", x->issuer);
}

static unsigned end_chain(const br_x509_class **ctx)
{
	struct x509 *x = self(ctx);

	if (x->trusted && x->pins.count > 0 && !x->pin_fits)
		refuse_pin(x);
	if (x->refused)
		return BR_ERR_X509_NOT_TRUSTED;
	if (x->depth == 0)
		return BR_ERR_X509_EMPTY_CHAIN;
	if (x->trusted) {
		x->why[0] = '\0';
		return BR_ERR_OK;
	}
	explain_distrust(x);
	return BR_ERR_X509_NOT_TRUSTED;
}

/* NULL unless the chain is trusted. All that the ciphers need is that the key may sign. */
static const br_x509_pkey *get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	const struct x509 *x = (const struct x509 *)(const void *)ctx;

	if (usages)
		*usages = BR_KEYTYPE_SIGN;
	return x->trusted && !x->refused ? &x->pkey : NULL;
}

static const br_x509_class x509_class = {
	.context_size = sizeof(struct x509),
	.start_chain = start_chain,
	.start_cert = start_cert,
	.append = append_bytes,
	.end_cert = end_cert,
	.end_chain = end_chain,
	.get_pkey = get_pkey,
};

static bool set_address(struct x509 *x)
{
	if (inet_pton(AF_INET, x->host, x->address) == 1)
		x->address_size = 4;
	else if (inet_pton(AF_INET6, x->host, x->address) == 1)
		x->address_size = 16;
	return x->address_size > 0;
}

bool x509_init(struct x509 *x, const char *host, bool literal, int64_t now, int bundle,
	void *memory, size_t size, char *why, size_t why_size)
{
	memset(x, 0, sizeof(*x));
	x->vtable = &x509_class;
	x->host = host;
	x->now = now;
	x->bundle = bundle;
	x->why = why;
	x->why_size = why_size;
	x->decoded_room = size / 3;
	x->decoded = memory;
	x->raw_room = size - x->decoded_room;
	x->raw = x->decoded + x->decoded_room;
	return !literal || set_address(x);
}
