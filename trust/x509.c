#include "trust/x509.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/date.h"
#include "trust/cert.h"
#include "trust/constraints.h"
#include "trust/der.h"
#include "trust/roots.h"

/* ---- the rules; a fault is the end of a sentence, or NULL ---- */

/* Of these more can be said. */
static const char *const out_of_dates = "is out of its dates";
static const char *const self_signed = "is self-signed, and not one of the trusted ones";

static bool is_self_issued(const struct cert *c)
{
	return der_same(c->issuer, c->subject);
}

/* The rules for every certificate, roots included. Sets its key. */
static const char *common_fault(const struct cert *c, br_x509_pkey *key)
{
	if (!c->for_servers)
		return "is not meant for TLS servers (extended key usage)";
	return cert_key(key, c->key);
}

/* `root`: it is trusted as it stands, and may be from the time before v3. */
static const char *ca_fault(const struct cert *c, bool root, br_x509_pkey *key)
{
	bool old = root && c->v1 && is_self_issued(c);

	if (!(c->v3 && c->ca) && !old)
		return "is not marked as a CA";
	if (c->usage_present && !c->may_certify)
		return "may not sign certificates (key usage)";
	if (c->constraints.at && constraints_fault(c->constraints))
		return constraints_fault(c->constraints);
	return common_fault(c, key);
}

/* The rules for a server's own certificate, but for its names. `direct`: it lies in the bundle. */
static const char *leaf_fault(const struct cert *c, bool direct, br_x509_pkey *key)
{
	if (!c->v3)
		return "is not X.509 v3";
	if (c->ca && !direct)
		return is_self_issued(c) ? self_signed : "is marked as a CA's";
	if (c->usage_present && !c->may_sign)
		return "may not sign (key usage), as every cipher here needs";
	if (c->constraints.at)
		return "has name constraints, which only a CA may have";
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
	char date[DATE_SIZE];

	say(x, "%s %s", before, date_text(date, seconds));
}

/* ---- refusing ---- */

static bool has_begun(const struct x509 *x, const struct cert *c)
{
	return x->now >= c->not_before || x->or_later;
}

static const char *date_fault(const struct x509 *x, const struct cert *c)
{
	return has_begun(x, c) && x->now <= c->not_after ? NULL : out_of_dates;
}

static void say_dates(struct x509 *x, const struct cert *c)
{
	if (x->now > c->not_after)
		say_date(x, " has expired: it was valid until", c->not_after);
	else
		say_date(x, " is not valid yet: it begins on", c->not_before);
	say_date(x,
		x->or_later ? ", and the clock is not set: it is later than"
			    : ", and the clock says",
		x->now);
}

/* The fault of a certificate that the server sent, in place of whatever was said before. `which`
 * counts them from 0, the server's own. */
static void say_fault(struct x509 *x, const struct cert *c, unsigned which, const char *fault)
{
	char name[64];

	x->why[0] = '\0';
	if (which == 0)
		say(x, "the server's certificate");
	else if (c && c->subject.left)
		say(x, "the CA certificate \"%s\" that the server sent",
			cert_short_name(name, sizeof(name), c->subject));
	else
		say(x, "certificate %u that the server sent", which + 1);
	if (fault == out_of_dates)
		say_dates(x, c);
	else
		say(x, " %s", fault);
	if (fault == self_signed)
		say(x, ": name a file with it (ca FILE), or its key (pin sha256//%s, pin-only yes)",
			x->pin);
}

/* Of the server's own certificate, which ends it all. */
static void refuse(struct x509 *x, const struct cert *c, const char *fault)
{
	x->refused = true;
	say_fault(x, c, 0, fault);
}

/* Of another one: said only if no chain is found, and the first is. */
static void note(struct x509 *x, const struct cert *c, unsigned which, const char *fault)
{
	if (x->why[0] == '\0')
		say_fault(x, c, which, fault);
}

/* The same of a root that was found. */
static void note_root(struct x509 *x, const struct cert *root, const char *fault)
{
	char name[64];

	if (x->why[0])
		return;
	say(x, "the trusted root \"%s\" %s", cert_short_name(name, sizeof(name), root->subject),
		fault);
	if (x->now > root->not_after)
		say_date(x, " on", root->not_after);
}

/* ---- signatures ---- */

/* Notes the signature, and the hash of the bytes that the issuer has to have signed. */
static const char *note_signature(struct x509 *x, const struct cert *c)
{
	const char *fault = cert_own_signature_kind(c, &x->key_type, &x->hash_id);

	if (fault) {
		x->key_type = 0; /* so that no key verifies it */
		return fault;
	}
	cert_digest(x->hash, x->hash_id, c->covered);
	x->signature = c->signature;
	return NULL;
}

/* Whether the noted signature was made with this key. */
static bool verifies(const struct x509 *x, const br_x509_pkey *key)
{
	return key->key_type == x->key_type &&
	       cert_verify(key, x->hash_id, x->hash, x->signature.at, x->signature.left);
}

/* ---- what is above the chain so far ---- */

static void open_cert(const struct x509 *x, unsigned at, struct cert *c)
{
	struct der raw = x->cert[x->path[at]];

	cert_parse(c, raw.at, raw.left); /* it had no fault before */
}

/* Whether a CA above the chain so far allows its length, for which self-issued CAs do not count. */
static const char *length_broken(const struct x509 *x, const struct cert *ca)
{
	int cas = 0;
	struct cert c;

	for (unsigned i = 1; ca->path >= 0 && i < x->length; i++) {
		open_cert(x, i, &c);
		cas += !is_self_issued(&c);
	}
	return ca->path >= 0 && ca->path < cas ? "does not allow a chain of this length" : NULL;
}

/* Whether a CA above the chain so far allows the names in it. */
static const char *constraints_broken(struct x509 *x, const struct cert *ca)
{
	char name[80];
	struct cert c;
	struct der bad;

	if (!ca->constraints.at)
		return NULL;
	for (unsigned i = 0; i < x->length; i++) {
		open_cert(x, i, &c);
		if (i > 0 && is_self_issued(&c))
			continue;
		if (constraints_allow(ca->constraints, c.names, &x->compare, &bad))
			continue;
		if (x->compare == 0)
			return "has too many name constraints";
		cert_list_names(name, sizeof(name), bad);
		snprintf(x->fault, sizeof(x->fault), "has name constraints that forbid %s", name);
		return x->fault;
	}
	return NULL;
}

/* ---- roots ---- */

/* Why a certificate of the bundle cannot vouch for the chain. Sets its key. */
static const char *root_fault(const struct x509 *x, const struct cert *root, br_x509_pkey *key)
{
	if (x->now > root->not_after)
		return "has expired";
	if (!has_begun(x, root))
		return "is not valid yet";
	return ca_fault(root, true, key);
}

/* Looks at one certificate of the bundle. Returns whether it makes `c` trusted. */
static bool consider_root(struct x509 *x, const struct cert *c, struct der raw)
{
	br_x509_pkey key;
	const char *fault;
	struct cert root;

	/* The faults of those with another subject, which most are, do not matter. */
	fault = cert_parse(&root, raw.at, raw.left);
	if (!der_same(root.subject, c->issuer))
		return false;
	if (!fault)
		fault = root_fault(x, &root, &key);
	if (!fault)
		fault = length_broken(x, &root);
	if (!fault) {
		x->namesake = true;
		if (!verifies(x, &key))
			return false;
		fault = constraints_broken(x, &root);
	}
	if (fault)
		note_root(x, &root, fault);
	return !fault;
}

/* Looks in the bundle for a root that has signed `c`, the last in the chain; or for `c` itself, if
 * it is the server's: then also *direct. */
static bool find_root(struct x509 *x, const struct cert *c, bool *direct)
{
	struct pem p = {.fd = x->bundle};
	uint8_t *decoded = x->memory + x->used;
	size_t size = 0, room = x->size - x->used;
	bool found = false;

	*direct = false;
	if (!x->namesake) {
		cert_short_name(x->issuer, sizeof(x->issuer), c->issuer);
		x->self_issued = is_self_issued(c);
		x->own = x->length == 1;
	}
	while (!found && roots_next(&p, decoded, room, &size)) {
		struct der raw = {decoded, size};

		if (size > room)
			continue;
		*direct = x->length == 1 && der_same(raw, c->raw);
		found = *direct || consider_root(x, c, raw);
	}
	return found;
}

/* ---- the chain ---- */

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
	cert_list_names(names, sizeof(names), c->names);
	refuse(x, c, "is not for");
	say(x, " %s%s; it is for %s", x->address_size ? "address " : "", x->host, names);
	return false;
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
	const char *fault = cert_key(&x->pkey, c->key);

	if (fault)
		refuse(x, c, fault);
	else if (!x->pin_fits)
		refuse_pin(x);
	x->trusted = !x->refused;
}

/* Why a certificate that the server sent cannot be the next one of the chain, whose name fits. */
static const char *issuer_fault(struct x509 *x, const struct cert *c)
{
	br_x509_pkey key;
	const char *fault = date_fault(x, c);

	if (!fault)
		fault = ca_fault(c, false, &key);
	if (!fault)
		fault = length_broken(x, c);
	if (fault)
		return fault;
	if (x->verify == 0)
		return "is one too many to look at";
	x->verify--;
	if (!verifies(x, &key))
		return "has not signed the one before it: the signature is wrong";
	return constraints_broken(x, c);
}

/* Adds the issuer of the last one, if the server sent it; another one at each call. */
static bool add_issuer(struct x509 *x, const struct cert *last)
{
	bool was_said = x->why[0];
	const char *fault;
	struct cert c;

	for (unsigned i = 1; i < x->certs; i++) {
		if (x->visited >> i & 1)
			continue;
		fault = cert_parse(&c, x->cert[i].at, x->cert[i].left);
		if (!der_same(c.subject, last->issuer))
			continue;
		if (x->length == X509_CHAIN_MAX) {
			x->capped = true;
			return false;
		}
		if (!fault)
			fault = issuer_fault(x, &c);
		if (fault) {
			note(x, &c, i, fault);
			continue;
		}
		if (!was_said) /* of others, which do not matter then */
			x->why[0] = '\0';
		x->visited |= 1u << i;
		x->path[x->length++] = (uint8_t)i;
		return true;
	}
	return false;
}

/* Looks for a chain from the server's certificate, whose issuer is no root, to one. Each of the
 * others is in it once at most: what lies above it does not depend on what is below it, but for
 * limits of length and names, for which no longer way is tried. */
static bool find_chain(struct x509 *x)
{
	bool is_new = false, direct;

	while (x->length > 0) {
		const char *fault;
		struct cert last;

		open_cert(x, x->length - 1, &last);
		fault = note_signature(x, &last);
		if (fault)
			note(x, &last, x->path[x->length - 1], fault);
		else if (is_new && find_root(x, &last, &direct))
			return true;
		is_new = !fault && add_issuer(x, &last);
		if (!is_new)
			x->length--;
	}
	return false;
}

static void examine(struct x509 *x)
{
	const char *fault, *signature_fault;
	bool direct;
	struct cert c;

	fault = cert_parse(&c, x->cert[0].at, x->cert[0].left);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	look_at_pin(x, &c);
	if (x->pins.only) {
		examine_key(x, &c);
		return;
	}
	fault = date_fault(x, &c);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	if (!is_for_host(x, &c))
		return;
	signature_fault = note_signature(x, &c);
	x->trusted = find_root(x, &c, &direct);
	fault = leaf_fault(&c, direct, &x->pkey);
	if (!fault && !direct)
		fault = signature_fault;
	if (fault)
		refuse(x, &c, fault);
	else if (!x->trusted)
		x->trusted = find_chain(x);
}

/* ---- BearSSL's side: br_x509_class ---- */

static struct x509 *self(const br_x509_class **ctx)
{
	return (struct x509 *)(void *)ctx;
}

static void start_chain(const br_x509_class **ctx, const char *server_name)
{
	struct x509 *x = self(ctx);

	(void)server_name; /* x509_init() has it */
	x->sent = x->certs = 0;
	x->used = 0;
	x->path[0] = 0;
	x->length = x->visited = 1;
	x->verify = X509_VERIFY_MAX;
	x->compare = CONSTRAINTS_COMPARED_MAX;
	x->trusted = x->refused = x->namesake = x->dropped = x->capped = false;
	x->why[0] = '\0';
}

static void start_cert(const br_x509_class **ctx, uint32_t length)
{
	struct x509 *x = self(ctx);

	x->come = 0;
	x->announced = length <= x->room - x->used ? length : 0;
	if (x->sent++ == 0 && length > x->room)
		refuse(x, NULL, "is too long");
}

static void append_bytes(const br_x509_class **ctx, const unsigned char *data, size_t size)
{
	struct x509 *x = self(ctx);

	if (size <= x->announced - x->come) {
		memcpy(x->memory + x->used + x->come, data, size);
		x->come += size;
	} else {
		x->announced = x->come = 0;
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

static void describe_cert(struct x509 *x, struct der raw)
{
	struct tls_cert *out;
	struct cert c;

	if (x->peer->certs++ >= TLS_CERTS_MAX)
		return;
	out = &x->peer->cert[x->peer->certs - 1];
	out->key = "unknown";
	out->fault = cert_parse(&c, raw.at, raw.left);
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
	bool whole = x->come > 0 && x->come == x->announced;
	struct der raw = {x->memory + x->used, x->come};

	if (x->peer)
		describe_cert(x, raw);
	if (x->refused)
		return;
	if (x->sent == 1 && !whole)
		refuse(x, NULL, "is malformed");
	if (!whole || x->certs == X509_CERTS_MAX) {
		x->dropped = true;
		return;
	}
	x->cert[x->certs++] = raw;
	x->used += raw.left;
}

static void explain_distrust(struct x509 *x)
{
	if (x->why[0])
		return;
	if (x->namesake)
		say(x, "unknown CA: a trusted root is named \"%s\", but has another key",
			x->issuer);
	else if (x->self_issued && x->own)
		refuse(x, NULL, self_signed);
	else if (x->own)
		say(x,
			"unknown CA: the issuer is \"%s\"; either it is not trusted here, or the "
			"server does not send its CA's certificate",
			x->issuer);
	else
		say(x, "unknown CA: the issuer is \"%s\"", x->issuer);
	if (x->capped)
		say(x, "; its chain has more than %d certificates", X509_CHAIN_MAX);
	if (x->dropped)
		say(x, "; there was no room for all that the server sent");
}

static unsigned end_chain(const br_x509_class **ctx)
{
	struct x509 *x = self(ctx);

	if (x->sent == 0)
		return BR_ERR_X509_EMPTY_CHAIN;
	if (!x->refused)
		examine(x);
	if (x->trusted && x->pins.count > 0 && !x->pin_fits)
		refuse_pin(x);
	if (x->refused)
		return BR_ERR_X509_NOT_TRUSTED;
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
	x->memory = memory;
	x->size = size;
	x->room = size - size / 3;
	return !literal || set_address(x);
}
