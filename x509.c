/* x509.c - see x509.h. */
#include "x509.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base64.h"
#include "cert.h"
#include "der.h"
#include "pem.h"

/* ---- what a certificate must be; the answers are NULL, or the end of a sentence ---- */

static const char *signature_fault(struct der oid)
{
	if (oid.left == 9 && memcmp(oid.at, "\x2a\x86\x48\x86\xf7\x0d\x01\x01", 8) == 0) {
		if (oid.at[8] >= 11 && oid.at[8] <= 13)
			return NULL;
		if (oid.at[8] == 5)
			return "is signed with SHA-1, which proves nothing any more";
		if (oid.at[8] == 10)
			return "is signed with RSA-PSS, which BearSSL does not have";
	}
	if (oid.left == 8 && memcmp(oid.at, "\x2a\x86\x48\xce\x3d\x04\x03", 7) == 0 &&
		oid.at[7] >= 2 && oid.at[7] <= 4)
		return NULL;
	if (IS_OID(oid, "\x2a\x86\x48\xce\x3d\x04\x01"))
		return "is signed with SHA-1, which proves nothing any more";
	if (IS_OID(oid, "\x2b\x65\x70"))
		return "is signed with Ed25519, which BearSSL does not have";
	return "is signed with an algorithm that is unknown or weak";
}

/* What holds for every certificate alike, roots included. */
static const char *common_fault(const struct cert *c)
{
	br_x509_pkey key;

	if (c->constrained)
		return "has name constraints, which nobody here can check";
	if (!c->for_servers)
		return "is not meant for TLS servers (extended key usage)";
	return cert_key(&key, c->key);
}

static const char *ca_fault(const struct cert *c)
{
	if (!c->v3 || !c->ca)
		return "is not marked as a CA";
	if (c->usage_present && !c->may_certify)
		return "may not sign certificates (key usage)";
	return common_fault(c);
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

#define NAMES_TEXT sizeof(((struct tls_facts *)0)->names)

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

/* ---- anchors ---- */

/* Copies a key out of the bundle's certificate, which the next one will overwrite. */
static void keep_key(uint8_t room[X509_KEY_MAX], br_x509_pkey *key)
{
	if (key->key_type == BR_KEYTYPE_RSA) {
		br_rsa_public_key *rsa = &key->key.rsa;

		memcpy(room, rsa->n, rsa->nlen);
		memcpy(room + rsa->nlen, rsa->e, rsa->elen);
		rsa->n = room;
		rsa->e = room + rsa->nlen;
	} else {
		memcpy(room, key->key.ec.q, key->key.ec.qlen);
		key->key.ec.q = room;
	}
}

/* Adds a certificate of the bundle to the anchors under the name `dn`, which outlives it. */
static void add_anchor(struct x509 *x, const struct cert *root, struct der dn, unsigned flags)
{
	br_x509_trust_anchor *anchor = &x->anchor[x->anchors];

	if (cert_key(&anchor->pkey, root->key))
		return;
	anchor->dn.data = (uint8_t *)dn.at;
	anchor->dn.len = dn.left;
	anchor->flags = flags;
	keep_key(x->key[x->anchors++], &anchor->pkey);
}

/* Why a certificate of the bundle cannot vouch for the one under examination. */
static const char *root_fault(const struct x509 *x, const struct cert *root)
{
	if (x->now > root->not_after)
		return "has expired";
	if (x->now < root->not_before)
		return "is not valid yet";
	if (root->path >= 0 && (unsigned)root->path < x->depth)
		return "does not allow a chain of this length";
	return ca_fault(root);
}

/* Looks at one certificate of the bundle. Returns whether the search is over. */
static bool consider_root(struct x509 *x, const struct cert *c, size_t size)
{
	const char *fault;
	struct cert root;

	/* Most have another subject; what is wrong with those is nobody's business. */
	fault = cert_parse(&root, x->decoded, size);
	if (x->depth == 0 && der_same(root.raw, c->raw)) {
		x->anchors = 0;
		add_anchor(x, &root, c->subject, 0);
		return true;
	}
	if (!der_same(root.subject, c->issuer))
		return false;
	if (!fault)
		fault = root_fault(x, &root);
	if (fault)
		note_root(x, &root, fault);
	else if (x->anchors < X509_ANCHORS_MAX)
		add_anchor(x, &root, c->issuer, BR_X509_TA_CA);
	return false;
}

/* Finds the roots that bear the name of c's issuer; or c itself, if it is the server's: then
 * *direct. */
static void find_anchors(struct x509 *x, const struct cert *c, bool *direct)
{
	struct pem p = {.fd = x->bundle};
	size_t size = 0;

	x->anchors = 0;
	*direct = false;
	while (!*direct && pem_next(&p, "CERTIFICATE", x->decoded, x->decoded_room, &size))
		if (size <= x->decoded_room)
			*direct = consider_root(x, c, size);
	x->minimal.trust_anchors = x->anchor;
	x->minimal.trust_anchors_num = x->anchors;
}

/* ---- one certificate of the chain ---- */

static bool dates_hold(struct x509 *x, const struct cert *c)
{
	if (x->now >= c->not_before && x->now <= c->not_after)
		return true;
	begin_refusal(x, c);
	if (x->now > c->not_after)
		say_date(x, " has expired: it was valid until", c->not_after);
	else
		say_date(x, " is not valid yet: it begins on", c->not_before);
	say_date(x, ", and the clock says", x->now);
	return false;
}

static bool is_for_host(struct x509 *x, const struct cert *c)
{
	char names[NAMES_TEXT];

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

/* What a server's own certificate must be, besides its names. */
static const char *leaf_fault(const struct cert *c, bool direct)
{
	if (!c->v3)
		return "is not X.509 v3";
	if (c->ca && !direct)
		return "is marked as a CA's";
	if (c->usage_present && !c->may_sign)
		return "may not sign (key usage), as every cipher here needs";
	return common_fault(c);
}

/* Hands the certificate to BearSSL. To it a critical extended key usage is unknown and thus fatal;
 * we have checked it, so BearSSL is shown a subject key identifier in its place, which it passes
 * over, while the hash that the signature covers is made of the true bytes. */
static void feed(struct x509 *x, const struct cert *c)
{
	br_x509_minimal_context *m = &x->minimal;
	const br_x509_class **ctx = &m->vtable;
	size_t before = c->disguise ? (size_t)(c->disguise - x->raw) : 0;

	br_x509_minimal_vtable.start_cert(ctx, (uint32_t)x->raw_size);
	if (c->disguise) {
		br_x509_minimal_vtable.append(ctx, x->raw, before);
		m->do_mhash = 0;
		br_x509_minimal_vtable.append(ctx, (const uint8_t *)"\x55\x1d\x0e", 3);
		br_multihash_update(&m->mhash, c->disguise, 3);
		m->do_mhash = 1;
		before += 3;
	}
	br_x509_minimal_vtable.append(ctx, x->raw + before, x->raw_size - before);
	br_x509_minimal_vtable.end_cert(ctx);
}

/* Compares the server's key with the pins, and keeps its own for people to copy. */
static void look_at_pin(struct x509 *x, const struct cert *c)
{
	uint8_t pin[PIN_SIZE];

	cert_pin(pin, c);
	base64_encode(x->pin, pin, sizeof(pin));
	x->pin_fits = false;
	for (size_t i = 0; i < x->pins; i++)
		x->pin_fits = x->pin_fits || memcmp(pin, x->pin_list[i], sizeof(pin)) == 0;
}

static void refuse_pin(struct x509 *x)
{
	x->refused = true;
	x->why[0] = '\0';
	say(x, "the server's key is not a pinned one: it is sha256//%s", x->pin);
}

/* The rule of x509_pin() with `only`: the key is all. */
static void examine_key(struct x509 *x, const struct cert *c)
{
	br_x509_pkey *key = &x->anchor[0].pkey;
	const char *fault = cert_key(key, c->key);

	if (fault)
		refuse(x, c, fault);
	else if (!x->pin_fits)
		refuse_pin(x);
	else
		keep_key(x->key[0], key);
	x->trusted_by_pin = !x->refused;
}

static void examine(struct x509 *x)
{
	const char *fault;
	struct cert c;
	bool direct;

	fault = cert_parse(&c, x->raw, x->raw_size);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	if (x->depth == 0)
		look_at_pin(x, &c);
	if (x->pin_only) {
		examine_key(x, &c);
		return;
	}
	if (!dates_hold(x, &c) || (x->depth == 0 && !is_for_host(x, &c)))
		return;
	find_anchors(x, &c, &direct);
	fault = x->depth == 0 ? leaf_fault(&c, direct) : ca_fault(&c);
	if (!fault && !direct)
		fault = signature_fault(c.signature);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	x->self_issued = der_same(c.issuer, c.subject);
	cert_short_name(x->issuer, sizeof(x->issuer), c.issuer);
	feed(x, &c);
}

/* ---- BearSSL's side: br_x509_class ---- */

static struct x509 *self(const br_x509_class **ctx)
{
	return (struct x509 *)(void *)ctx;
}

/* Once trusted or refused, the rest of the chain does not matter. */
static bool settled(const struct x509 *x)
{
	return x->refused || x->trusted_by_pin || x->minimal.err != 0;
}

static void start_chain(const br_x509_class **ctx, const char *server_name)
{
	struct x509 *x = self(ctx);

	/* The name is compared by us: BearSSL knows no addresses, and would accept a common name.
	 */
	(void)server_name;
	br_x509_minimal_vtable.start_chain(&x->minimal.vtable, NULL);
	x->depth = 0;
	x->refused = x->trusted_by_pin = false;
	x->issuer[0] = '\0';
	x->why[0] = '\0';
}

static void start_cert(const br_x509_class **ctx, uint32_t length)
{
	struct x509 *x = self(ctx);

	x->raw_size = x->announced = 0;
	if (settled(x) && !x->facts)
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

static void append(const br_x509_class **ctx, const unsigned char *data, size_t size)
{
	struct x509 *x = self(ctx);

	if (size <= x->announced - x->raw_size) {
		memcpy(x->raw + x->raw_size, data, size);
		x->raw_size += size;
	} else if (!settled(x)) {
		refuse(x, NULL, "is malformed");
	}
}

/* The server's own certificate has more to tell. */
static void note_own(struct tls_facts *f, const struct cert *c)
{
	uint8_t pin[PIN_SIZE];

	if (c->names.left > 0)
		cert_list_names(f->names, sizeof(f->names), c->names);
	cert_pin(pin, c);
	base64_encode(stpcpy(f->pin, "sha256//"), pin, sizeof(pin));
}

static void note_facts(struct x509 *x)
{
	struct tls_cert *out = &x->facts->cert[x->facts->certs];
	struct cert c;

	if (x->facts->certs++ >= TLS_CERTS_MAX)
		return;
	out->key = "unknown";
	out->fault = cert_parse(&c, x->raw, x->raw_size);
	if (c.key.left == 0)
		return;
	cert_short_name(out->subject, sizeof(out->subject), c.subject);
	cert_short_name(out->issuer, sizeof(out->issuer), c.issuer);
	out->not_before = c.not_before;
	out->not_after = c.not_after;
	out->key = cert_describe_key(c.key, &out->bits);
	if (x->facts->certs == 1)
		note_own(x->facts, &c);
}

static void end_cert(const br_x509_class **ctx)
{
	struct x509 *x = self(ctx);

	if (x->facts)
		note_facts(x);
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
	if (x->anchors)
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
	unsigned error;

	if (x->refused)
		return BR_ERR_X509_NOT_TRUSTED;
	if (x->trusted_by_pin)
		return BR_ERR_OK;
	error = br_x509_minimal_vtable.end_chain(&x->minimal.vtable);
	if (error == BR_ERR_X509_NOT_TRUSTED)
		explain_distrust(x);
	else
		x->why[0] = '\0';
	if (error == BR_ERR_OK && x->pins > 0 && !x->pin_fits) {
		refuse_pin(x);
		return BR_ERR_X509_NOT_TRUSTED;
	}
	return error;
}

static const br_x509_pkey *get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	const struct x509 *x = (const struct x509 *)(const void *)ctx;

	if (x->trusted_by_pin) {
		if (usages)
			*usages = BR_KEYTYPE_SIGN;
		return &x->anchor[0].pkey;
	}
	/* BearSSL's own would also give the key of a chain that nobody vouches for. */
	if (x->refused || x->minimal.err != BR_ERR_X509_OK)
		return NULL;
	return br_x509_minimal_vtable.get_pkey(
		(const br_x509_class *const *)&x->minimal.vtable, usages);
}

static const br_x509_class class = {
	.context_size = sizeof(struct x509),
	.start_chain = start_chain,
	.start_cert = start_cert,
	.append = append,
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
	x->vtable = &class;
	x->host = host;
	x->now = now;
	x->bundle = bundle;
	x->why = why;
	x->why_size = why_size;
	x->decoded_room = size / 3;
	x->decoded = memory;
	x->raw_room = size - x->decoded_room;
	x->raw = x->decoded + x->decoded_room;
	br_x509_minimal_init(&x->minimal, &br_sha256_vtable, NULL, 0);
	br_x509_minimal_set_minrsa(&x->minimal, 256);
	/* BearSSL counts days from the year 0. */
	br_x509_minimal_set_time(
		&x->minimal, (uint32_t)(now / 86400 + 719528), (uint32_t)(now % 86400));
	return !literal || set_address(x);
}

void x509_pin(struct x509 *x, const uint8_t (*pins)[PIN_SIZE], size_t count, bool only)
{
	x->pin_list = pins;
	x->pins = count;
	x->pin_only = only;
}
