/* x509.c - see x509.h. */
#include "x509.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* ---- DER (X.690): what is left to read of some bytes; every step checks what it takes ---- */

struct der {
	const uint8_t *at;
	size_t left;
};

enum {
	BOOLEAN = 0x01,
	INTEGER = 0x02,
	BIT_STRING = 0x03,
	OCTET_STRING = 0x04,
	OID = 0x06,
	UTC_TIME = 0x17,
	GENERALIZED_TIME = 0x18,
	SEQUENCE = 0x30,
	SET = 0x31,
	CONTEXT = 0x80,	    /* [n] of a primitive type */
	CONSTRUCTED = 0xa0, /* [n] of a constructed one, or explicit */
};

/* Takes the next element, of whatever tag. Lengths must be in DER's one shortest form. */
static bool der_any(struct der *in, unsigned *tag, struct der *body)
{
	size_t head = 2, size, digits;

	if (in->left < 2 || (in->at[0] & 0x1f) == 0x1f)
		return false;
	size = in->at[1];
	if (size > 0x7f) {
		digits = size & 0x7f;
		if (digits < 1 || digits > 3 || in->left - 2 < digits || in->at[2] == 0)
			return false;
		for (size = 0; digits > 0; digits--)
			size = size << 8 | in->at[head++];
		if (size < 0x80)
			return false;
	}
	if (size > in->left - head)
		return false;
	*tag = in->at[0];
	*body = (struct der){in->at + head, size};
	in->at += head + size;
	in->left -= head + size;
	return true;
}

static bool der_next_is(const struct der *in, unsigned tag)
{
	return in->left > 0 && in->at[0] == tag;
}

static bool der_get(struct der *in, unsigned tag, struct der *body)
{
	unsigned found;

	return der_next_is(in, tag) && der_any(in, &found, body);
}

/* The same, but the element as a whole, its tag and length included. */
static bool der_whole(struct der *in, unsigned tag, struct der *element)
{
	const uint8_t *start = in->at;
	struct der body;

	if (!der_get(in, tag, &body))
		return false;
	*element = (struct der){start, (size_t)(in->at - start)};
	return true;
}

static bool der_same(struct der a, struct der b)
{
	return a.left == b.left && memcmp(a.at, b.at, a.left) == 0;
}

static bool der_is(struct der a, const char *bytes, size_t size)
{
	return a.left == size && memcmp(a.at, bytes, size) == 0;
}

#define IS_OID(oid, bytes) der_is(oid, bytes, sizeof(bytes) - 1)

/* An unsigned INTEGER's bytes, without its leading zero. */
static bool der_unsigned(struct der *in, struct der *number)
{
	if (!der_get(in, INTEGER, number) || number->left == 0 || number->at[0] & 0x80)
		return false;
	if (number->at[0] == 0 && number->left > 1) {
		if (!(number->at[1] & 0x80))
			return false;
		number->at++;
		number->left--;
	}
	return true;
}

static bool der_boolean(struct der *in, bool *value)
{
	struct der body;

	if (!der_get(in, BOOLEAN, &body) || body.left != 1)
		return false;
	*value = body.at[0] == 0xff;
	return *value || body.at[0] == 0;
}

/* A BIT STRING of whole bytes. */
static bool der_bytes(struct der *in, struct der *bytes)
{
	if (!der_get(in, BIT_STRING, bytes) || bytes->left < 1 || bytes->at[0] != 0)
		return false;
	bytes->at++;
	bytes->left--;
	return true;
}

static bool two_digits(const uint8_t *p, int least, int most, int *value)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*value = (p[0] - '0') * 10 + (p[1] - '0');
	return *value >= least && *value <= most;
}

/* Days since 1970 in the Gregorian calendar, for years from 0 on. */
static int64_t days_until(int year, int month, int day)
{
	int64_t y = year - (month <= 2), m = (month + 9) % 12;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* UTCTime or GeneralizedTime in the one form that RFC 5280 allows, to seconds since 1970. */
static bool der_time(struct der *in, int64_t *seconds)
{
	int century, year, month, day, hour, minute, second;
	const uint8_t *p;
	struct der body;
	unsigned tag;

	if (!der_any(in, &tag, &body))
		return false;
	p = body.at;
	if (tag == GENERALIZED_TIME && body.left == 15) {
		if (!two_digits(p, 0, 99, &century))
			return false;
		p += 2;
	} else if (tag == UTC_TIME && body.left == 13) {
		century = p[0] < '5' ? 20 : 19;
	} else {
		return false;
	}
	if (!two_digits(p, 0, 99, &year) || !two_digits(p + 2, 1, 12, &month) ||
		!two_digits(p + 4, 1, 31, &day) || !two_digits(p + 6, 0, 23, &hour) ||
		!two_digits(p + 8, 0, 59, &minute) || !two_digits(p + 10, 0, 59, &second) ||
		p[12] != 'Z')
		return false;
	*seconds = days_until(century * 100 + year, month, day) * 86400 +
		   (hour * 60 + minute) * 60 + second;
	return true;
}

/* ---- a certificate taken apart (RFC 5280 section 4.1) ---- */

struct cert {
	struct der raw;
	struct der issuer, subject; /* whole elements */
	struct der key;		    /* SubjectPublicKeyInfo, its inside */
	struct der signature;	    /* the algorithm's OID */
	int64_t not_before, not_after;
	bool v3;

	/* extensions */
	struct der names; /* subjectAltName, its inside; left == 0: none */
	bool ca;
	int path; /* -1: no limit */
	bool usage_present, may_sign, may_certify;
	bool for_servers;	 /* serverAuth, or no extended key usage */
	const uint8_t *disguise; /* the OID of a critical extended key usage, see feed() */
	bool constrained;
};

/* The parsers of a certificate's parts return NULL, or what is wrong as the end of a sentence. */
static const char malformed[] = "is malformed";

/* The extensions that are looked at: the last byte of 2.5.29.x. */
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

	if (!der_get(&value, BIT_STRING, &bits) || value.left || bits.left < 2 || bits.at[0] > 7)
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

	if (!der_get(&value, SEQUENCE, &c->names) || value.left || c->names.left == 0)
		return malformed;
	for (rest = c->names; rest.left > 0;)
		if (!der_any(&rest, &tag, &name) || (tag & 0xc0) != CONTEXT)
			return malformed;
	return NULL;
}

static const char *parse_basic_constraints(struct cert *c, struct der value)
{
	struct der body, path;

	if (!der_get(&value, SEQUENCE, &body) || value.left)
		return malformed;
	if (der_next_is(&body, BOOLEAN) && !der_boolean(&body, &c->ca))
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

	if (!der_get(&value, SEQUENCE, &body) || value.left || body.left == 0)
		return malformed;
	c->for_servers = false;
	while (body.left > 0) {
		if (!der_get(&body, OID, &purpose))
			return malformed;
		if (IS_OID(purpose, "\x2b\x06\x01\x05\x05\x07\x03\x01"))
			c->for_servers = true;
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
		if (critical)
			c->disguise = oid.at;
		return parse_extended_key_usage(c, value);
	case NAME_CONSTRAINTS:
		c->constrained = true;
		return NULL;
	case CRL_DISTRIBUTION_POINTS: /* we ask for no revocation lists, wherever they may be */
	case CERTIFICATE_POLICIES:    /* BearSSL refuses a critical one with an unknown qualifier */
		return NULL;
	}
	return critical ? "has a critical extension that is unknown here" : NULL;
}

/* Whether an extension with this OID stands in the list before `end`. */
static bool has_extension(struct der list, const uint8_t *end, struct der oid)
{
	struct der extension, other;

	while (list.at < end)
		if (!der_get(&list, SEQUENCE, &extension) || !der_get(&extension, OID, &other) ||
			der_same(oid, other))
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

		if (!der_get(&rest, SEQUENCE, &extension) || !der_get(&extension, OID, &oid))
			return malformed;
		if (der_next_is(&extension, BOOLEAN) && !der_boolean(&extension, &critical))
			return malformed;
		if (!der_get(&extension, OCTET_STRING, &value) || extension.left)
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

	if (!der_next_is(tbs, CONSTRUCTED | 0))
		return true;
	if (!der_get(tbs, CONSTRUCTED | 0, &body) || !der_unsigned(&body, &number) || body.left)
		return false;
	c->v3 = number.left == 1 && number.at[0] == 2;
	return number.left == 1 && number.at[0] <= 2;
}

static bool parse_validity(struct cert *c, struct der *tbs)
{
	struct der dates;

	return der_get(tbs, SEQUENCE, &dates) && der_time(&dates, &c->not_before) &&
	       der_time(&dates, &c->not_after) && dates.left == 0;
}

/* The end of a TBSCertificate: the unique identifiers of v2, which nobody uses, and the extensions.
 */
static const char *parse_tail(struct cert *c, struct der *tbs)
{
	struct der body, list;

	if (der_next_is(tbs, CONTEXT | 1) && !der_get(tbs, CONTEXT | 1, &body))
		return malformed;
	if (der_next_is(tbs, CONTEXT | 2) && !der_get(tbs, CONTEXT | 2, &body))
		return malformed;
	if (tbs->left == 0)
		return NULL;
	if (!c->v3 || !der_get(tbs, CONSTRUCTED | 3, &body) || tbs->left ||
		!der_get(&body, SEQUENCE, &list) || body.left)
		return malformed;
	return parse_extensions(c, list);
}

static const char *parse_cert(struct cert *c, const uint8_t *raw, size_t size)
{
	struct der in = {raw, size}, outer, tbs, serial, algorithm, same_algorithm, body, bits;

	*c = (struct cert){.raw = in, .path = -1, .for_servers = true};
	if (!der_get(&in, SEQUENCE, &outer) || in.left || !der_get(&outer, SEQUENCE, &tbs) ||
		!der_whole(&outer, SEQUENCE, &algorithm) || !der_bytes(&outer, &bits) || outer.left)
		return malformed;
	if (!parse_version(c, &tbs) || !der_get(&tbs, INTEGER, &serial) ||
		!der_whole(&tbs, SEQUENCE, &same_algorithm) ||
		!der_whole(&tbs, SEQUENCE, &c->issuer) || !parse_validity(c, &tbs) ||
		!der_whole(&tbs, SEQUENCE, &c->subject) || !der_get(&tbs, SEQUENCE, &c->key))
		return malformed;
	if (!der_same(algorithm, same_algorithm) || !der_get(&algorithm, SEQUENCE, &body) ||
		!der_get(&body, OID, &c->signature))
		return malformed;
	return parse_tail(c, &tbs);
}

/* ---- keys and signature algorithms ---- */

static unsigned bit_length(struct der number)
{
	unsigned bits = (unsigned)(number.left * 8);

	for (unsigned top = number.at[0]; bits > 0 && !(top & 0x80); top <<= 1)
		bits--;
	return bits;
}

static const char *parse_rsa_key(br_x509_pkey *out, struct der bytes)
{
	struct der body, n, e;

	if (!der_get(&bytes, SEQUENCE, &body) || bytes.left || !der_unsigned(&body, &n) ||
		!der_unsigned(&body, &e) || body.left)
		return malformed;
	if (n.left > 512 || e.left > 8)
		return "has an RSA key of more than 4096 bits";
	if (bit_length(n) < 2048)
		return "has a weak key: RSA with less than 2048 bits";
	if (!(n.at[n.left - 1] & 1) || !(e.at[e.left - 1] & 1) || bit_length(e) < 2)
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

static const char *parse_ec_key(br_x509_pkey *out, struct der curve, struct der point)
{
	size_t size;

	out->key_type = BR_KEYTYPE_EC;
	if (IS_OID(curve, "\x2a\x86\x48\xce\x3d\x03\x01\x07")) {
		out->key.ec.curve = BR_EC_secp256r1;
		size = 65;
	} else if (IS_OID(curve, "\x2b\x81\x04\x00\x22")) {
		out->key.ec.curve = BR_EC_secp384r1;
		size = 97;
	} else if (IS_OID(curve, "\x2b\x81\x04\x00\x23")) {
		out->key.ec.curve = BR_EC_secp521r1;
		size = 133;
	} else {
		return "has a key on an elliptic curve that BearSSL does not have";
	}
	if (point.left != size || point.at[0] != 4)
		return "has an elliptic curve key in a form that BearSSL does not have";
	out->key.ec.q = (uint8_t *)point.at;
	out->key.ec.qlen = size;
	return NULL;
}

/* The key as BearSSL takes it; points into the certificate. */
static const char *parse_key(br_x509_pkey *out, struct der info)
{
	struct der algorithm, oid, curve, bytes;

	if (!der_get(&info, SEQUENCE, &algorithm) || !der_get(&algorithm, OID, &oid) ||
		!der_bytes(&info, &bytes) || info.left)
		return malformed;
	if (IS_OID(oid, "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"))
		return parse_rsa_key(out, bytes);
	if (!IS_OID(oid, "\x2a\x86\x48\xce\x3d\x02\x01"))
		return "has a kind of key that BearSSL does not have (only RSA and ECDSA)";
	if (!der_get(&algorithm, OID, &curve) || algorithm.left)
		return malformed;
	return parse_ec_key(out, curve, bytes);
}

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
	return parse_key(&key, c->key);
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
		if (tag == (CONTEXT | 2) && !x->address_size && name_matches(name, x->host))
			return true;
		if (tag == (CONTEXT | 7) && x->address_size && name.left == x->address_size &&
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

/* A distinguished name in short: its last common name, else its organization. */
static const char *short_name(char *out, size_t size, struct der name)
{
	struct der list, set, pair, oid, value, best = {(const uint8_t *)"(no name)", 9};
	bool common = false;
	unsigned tag;

	if (!der_get(&name, SEQUENCE, &list))
		list.left = 0;
	while (der_get(&list, SET, &set) && der_get(&set, SEQUENCE, &pair)) {
		if (!der_get(&pair, OID, &oid) || !der_any(&pair, &tag, &value))
			break;
		if (IS_OID(oid, "\x55\x04\x03") || (!common && IS_OID(oid, "\x55\x04\x0a"))) {
			common = oid.at[2] == 3;
			best = value;
		}
	}
	return plain(out, size, best);
}

static void say_date(struct x509 *x, const char *before, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm day;

	if (!gmtime_r(&t, &day))
		return;
	say(x, "%s %04d-%02d-%02d", before, day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
}

/* The first few names that a certificate is for. */
static void say_names(struct x509 *x, struct der names)
{
	char text[INET6_ADDRSTRLEN > 80 ? INET6_ADDRSTRLEN : 80];
	unsigned tag, count = 0;
	struct der name;

	while (der_any(&names, &tag, &name)) {
		bool address = tag == (CONTEXT | 7) && (name.left == 4 || name.left == 16);

		if (tag != (CONTEXT | 2) && !address)
			continue;
		if (++count > 3)
			continue;
		if (address)
			inet_ntop(name.left == 4 ? AF_INET : AF_INET6, name.at, text, sizeof(text));
		else
			plain(text, sizeof(text), name);
		say(x, "%s%s%s", count > 1 ? ", " : "; it is for ", address ? "address " : "",
			text);
	}
	if (count > 3)
		say(x, " and %u more", count - 3);
	else if (count == 0)
		say(x, "; it names no host at all");
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
			short_name(name, sizeof(name), c->subject));
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
	say(x, "the trusted root \"%s\" %s", short_name(name, sizeof(name), root->subject), fault);
	if (x->now > root->not_after)
		say_date(x, " on", root->not_after);
}

/* ---- the PEM bundle (RFC 7468), read in blocks; what is no certificate in it is passed over ----
 */

struct pem {
	int fd;
	off_t offset;
	size_t at, size;
	uint8_t block[2048];
};

static int pem_char(struct pem *p)
{
	if (p->at == p->size) {
		ssize_t n;

		do
			n = pread(p->fd, p->block, sizeof(p->block), p->offset);
		while (n < 0 && errno == EINTR);
		if (n <= 0)
			return -1;
		p->offset += n;
		p->size = (size_t)n;
		p->at = 0;
	}
	return p->block[p->at++];
}

enum pem_line { PEM_END_OF_FILE, PEM_OTHER, PEM_BEGIN, PEM_END };

/* Reads the rest of a line, of which `first` has been read. */
static enum pem_line pem_line(struct pem *p, int first)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----",
			  end[] = "-----END CERTIFICATE-----";
	char line[sizeof(begin)];
	size_t size = 0;
	int c;

	if (first < 0)
		return PEM_END_OF_FILE;
	for (c = first; c >= 0 && c != '\n'; c = pem_char(p)) {
		bool trailing = size >= sizeof(end) - 1 && (c == ' ' || c == '\t' || c == '\r');

		if (!trailing && size < sizeof(line))
			line[size++] = (char)c;
	}
	if (size == sizeof(begin) - 1 && memcmp(line, begin, size) == 0)
		return PEM_BEGIN;
	if (size == sizeof(end) - 1 && memcmp(line, end, size) == 0)
		return PEM_END;
	return PEM_OTHER;
}

static int base64_value(int c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes what follows a BEGIN line, up to the next line that begins with '-', and tells which line
 * that is: END only if all between was base64. *size may exceed room; then out is cut. */
static enum pem_line pem_body(struct pem *p, uint8_t *out, size_t room, size_t *size)
{
	unsigned bits = 0, held = 0;
	bool padded = false, good = true;
	enum pem_line line;
	int c;

	*size = 0;
	while ((c = pem_char(p)) >= 0 && c != '-') {
		int value = base64_value(c);

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		padded = padded || c == '=';
		if (padded || value < 0) {
			good = good && c == '=';
			continue;
		}
		bits = bits << 6 | (unsigned)value;
		held += 6;
		if (held >= 8) {
			held -= 8;
			if (*size < room)
				out[*size] = (uint8_t)(bits >> held);
			++*size;
		}
	}
	line = pem_line(p, c);
	return line == PEM_END && !good ? PEM_OTHER : line;
}

/* The next certificate of the bundle, decoded. A *size over room says that it did not fit. */
static bool pem_next(struct pem *p, uint8_t *out, size_t room, size_t *size)
{
	enum pem_line line = PEM_OTHER;

	while (line != PEM_END_OF_FILE) {
		if (line == PEM_BEGIN)
			line = pem_body(p, out, room, size);
		else
			line = pem_line(p, pem_char(p));
		if (line == PEM_END && *size > 0)
			return true;
	}
	return false;
}

size_t x509_count(int bundle)
{
	struct pem p = {.fd = bundle};
	size_t count = 0, size = 0;

	while (pem_next(&p, NULL, 0, &size))
		count++;
	return count;
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

	if (parse_key(&anchor->pkey, root->key))
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
	fault = parse_cert(&root, x->decoded, size);
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
 * *pinned. */
static void find_anchors(struct x509 *x, const struct cert *c, bool *pinned)
{
	struct pem p = {.fd = x->bundle};
	size_t size = 0;

	x->anchors = 0;
	*pinned = false;
	while (!*pinned && pem_next(&p, x->decoded, x->decoded_room, &size))
		if (size <= x->decoded_room)
			*pinned = consider_root(x, c, size);
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
	say_date(x, ", and today is", x->now);
	return false;
}

static bool is_for_host(struct x509 *x, const struct cert *c)
{
	if (c->names.left == 0) {
		refuse(x, c,
			c->v3 ? "has no subject alternative name (a common name does not count)"
			      : "is not X.509 v3, so it names no host");
		return false;
	}
	if (names_match(x, c->names))
		return true;
	begin_refusal(x, c);
	say(x, " is not for %s%s", x->address_size ? "address " : "", x->host);
	say_names(x, c->names);
	return false;
}

/* What a server's own certificate must be, besides its names. */
static const char *leaf_fault(const struct cert *c, bool pinned)
{
	if (!c->v3)
		return "is not X.509 v3";
	if (c->ca && !pinned)
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

static void examine(struct x509 *x)
{
	const char *fault;
	struct cert c;
	bool pinned;

	fault = parse_cert(&c, x->raw, x->raw_size);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	if (!dates_hold(x, &c) || (x->depth == 0 && !is_for_host(x, &c)))
		return;
	find_anchors(x, &c, &pinned);
	fault = x->depth == 0 ? leaf_fault(&c, pinned) : ca_fault(&c);
	if (!fault && !pinned)
		fault = signature_fault(c.signature);
	if (fault) {
		refuse(x, &c, fault);
		return;
	}
	x->self_issued = der_same(c.issuer, c.subject);
	short_name(x->issuer, sizeof(x->issuer), c.issuer);
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
	return x->refused || x->minimal.err != 0;
}

static void start_chain(const br_x509_class **ctx, const char *server_name)
{
	struct x509 *x = self(ctx);

	/* The name is compared by us: BearSSL knows no addresses, and would accept a common name.
	 */
	(void)server_name;
	br_x509_minimal_vtable.start_chain(&x->minimal.vtable, NULL);
	x->depth = 0;
	x->refused = false;
	x->issuer[0] = '\0';
	x->why[0] = '\0';
}

static void start_cert(const br_x509_class **ctx, uint32_t length)
{
	struct x509 *x = self(ctx);

	if (settled(x))
		return;
	x->announced = length;
	x->raw_size = 0;
	if (x->depth == X509_CHAIN_MAX)
		refuse(x, NULL, "is one too many");
	else if (length > x->raw_room)
		refuse(x, NULL, "is too long");
}

static void append(const br_x509_class **ctx, const unsigned char *data, size_t size)
{
	struct x509 *x = self(ctx);

	if (settled(x))
		return;
	if (size > x->announced - x->raw_size) {
		refuse(x, NULL, malformed);
		return;
	}
	memcpy(x->raw + x->raw_size, data, size);
	x->raw_size += size;
}

static void end_cert(const br_x509_class **ctx)
{
	struct x509 *x = self(ctx);

	if (settled(x))
		return;
	if (x->raw_size == x->announced)
		examine(x);
	else
		refuse(x, NULL, malformed);
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
	error = br_x509_minimal_vtable.end_chain(&x->minimal.vtable);
	if (error == BR_ERR_X509_NOT_TRUSTED)
		explain_distrust(x);
	else
		x->why[0] = '\0';
	return error;
}

static const br_x509_pkey *get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	const struct x509 *x = (const struct x509 *)(const void *)ctx;

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
