/* x509.c - unit tests of the certificate checker. Signatures, dates and chains as servers send them
 * are tried by test/client/test_tls.py; here are the parts, and certificates that are cut, changed
 * and forged. */
#include "base/base64.c"
#include "base/date.c"
#include "base/fd.c"
#include "trust/der.c"
#include "trust/pem.c"
#include "trust/cert.c"
#include "trust/pss.c"
#include "trust/constraints.c"
#include "trust/roots.c"
#include "trust/x509.c"

#include <fcntl.h>
#include <sys/mman.h>

#include "test/unit/certs.h"
#include "test/unit/check.h"
#include "test/unit/stubs.h"

/* Signed by the root of certs.h, for example.test, *.wild.test and 127.0.0.1, its extended key
 * usage critical. Valid from 2020 to 2040. */
static const char leaf_pem[] = "-----BEGIN CERTIFICATE-----\n"
			       "MIIBxzCCAW2gAwIBAgIUVA0emfx2GRRmjjSU176DasHWgiIwCgYIKoZIzj0EAwIw\n"
			       "HjENMAsGA1UECgwEVGVzdDENMAsGA1UEAwwEcm9vdDAeFw0yMDAxMDEwMDAwMDBa\n"
			       "Fw00MDAxMDEwMDAwMDBaMA8xDTALBgNVBAMMBHVuaXQwWTATBgcqhkjOPQIBBggq\n"
			       "hkjOPQMBBwNCAARW8vHPxKmTdrcweJ4R+Az1P8bo2UG7KH71CwbRJyMb8EYUpqCJ\n"
			       "E6649ddtuRsrxxeWsDN3G4RTtwKRqUJfKcnWo4GXMIGUMA4GA1UdDwEB/wQEAwIH\n"
			       "gDAWBgNVHSUBAf8EDDAKBggrBgEFBQcDATAqBgNVHREEIzAhggxleGFtcGxlLnRl\n"
			       "c3SCCyoud2lsZC50ZXN0hwR/AAABMB0GA1UdDgQWBBSJn0u+5rf8ZjFaUtLfFYHf\n"
			       "MZ/VSTAfBgNVHSMEGDAWgBRqD1u1UqzXF6mNEdZyEwfQ/YIYgTAKBggqhkjOPQQD\n"
			       "AgNIADBFAiBe6duwzyZ+iNp1CKg8knNj/qpf88gljKZ8H0V9IcckPwIhANPYVpA3\n"
			       "O1pBojuYglZkCwdyZdWO1i42sektmrwBYNSw\n"
			       "-----END CERTIFICATE-----\n";

#define NOW 1800000000 /* 2027 */

static int file_of(const char *text, size_t size)
{
	int fd = memfd_create("pem", 0);

	if (fd < 0 || write(fd, text, size) != (ssize_t)size)
		abort();
	return fd;
}

static size_t decode(const char *pem, uint8_t *out, size_t room)
{
	struct pem p = {.fd = file_of(pem, strlen(pem))};
	size_t size = 0;

	if (!pem_next(&p, "CERTIFICATE", out, room, &size) || size > room)
		abort();
	close(p.fd);
	return size;
}

/* ---- the whole, by BearSSL's interface ---- */

static char why[256];
static br_x509_pkey key;

struct chain {
	const char *host;
	bool literal;
	int64_t now;
	int bundle;
	const uint8_t *cert;
	size_t size, announced, piece;
	bool or_later;
};

/* Judges a chain of one certificate, in a memory of its own so that the sanitizer sees every step
 * aside. */
static bool trusted(const struct chain *c)
{
	struct x509 *x = malloc(sizeof(*x));
	uint8_t *memory = malloc(6000);
	bool known = x509_init(
		x, c->host, c->literal, c->now, c->bundle, memory, 6000, why, sizeof(why));
	const br_x509_class **ctx = &x->vtable;
	unsigned error;
	bool good;

	x->or_later = c->or_later;
	x509_class.start_chain(ctx, c->host);
	x509_class.start_cert(ctx, (uint32_t)c->announced);
	for (size_t at = 0; at < c->size; at += c->piece)
		x509_class.append(
			ctx, c->cert + at, c->size - at < c->piece ? c->size - at : c->piece);
	x509_class.end_cert(ctx);
	error = x509_class.end_chain(ctx);
	good = error == 0;
	CHECK(good == (x509_class.get_pkey((const br_x509_class *const *)ctx, NULL) != NULL));
	CHECK((why[0] == '\0') == good || error != BR_ERR_X509_NOT_TRUSTED, "%s", why);
	free(memory);
	free(x);
	return known && good;
}

static void test_chain(void)
{
	uint8_t leaf[1000];
	size_t size = decode(leaf_pem, leaf, sizeof(leaf));
	int roots = file_of(root_pem, strlen(root_pem));
	const struct chain base = {"example.test", false, NOW, roots, leaf, size, size, 256, false};
	struct chain c = base;

	begin_test("x509: a chain is judged by host, date and roots");
	CHECK(trusted(&c), "%s", why);
	c.piece = 1;
	CHECK(trusted(&c), "%s", why);
	c.host = "x.wild.test";
	CHECK(trusted(&c), "%s", why);
	c.host = "wild.test";
	CHECK(!trusted(&c));
	c.host = "";
	CHECK(!trusted(&c));
	c.host = "127.0.0.1";
	CHECK(!trusted(&c));
	c.literal = true;
	CHECK(trusted(&c), "%s", why);
	c.host = "::ffff:127.0.0.1";
	CHECK(!trusted(&c));
	c.host = "example.test";
	CHECK(!trusted(&c));
	c = base;
	c.now = 1577836799; /* the second before 2020 */
	CHECK(!trusted(&c) && strstr(why, "not valid yet"), "%s", why);
	c.or_later = true;
	CHECK(trusted(&c), "%s", why);
	c.or_later = false;
	c.now++;
	CHECK(trusted(&c), "%s", why);
	c.now = 2208988800; /* 2040, the certificate's last second */
	CHECK(trusted(&c), "%s", why);
	c.now++;
	CHECK(!trusted(&c) && strstr(why, "until 2040-01-01"), "%s", why);
	c.or_later = true;
	CHECK(!trusted(&c) && strstr(why, "until 2040-01-01"), "%s", why);
	c = base;
	c.bundle = file_of("", 0);
	CHECK(!trusted(&c) && strstr(why, "unknown CA"), "%s", why);
	close(c.bundle);
	c.bundle = -1;
	CHECK(!trusted(&c) && strstr(why, "unknown CA"), "%s", why);
	c.bundle = file_of(leaf_pem, strlen(leaf_pem));
	CHECK(trusted(&c), "the certificate itself in the bundle: %s", why);
	close(c.bundle);
	close(roots);
}

static void test_cut(void)
{
	uint8_t leaf[1000];
	size_t size = decode(leaf_pem, leaf, sizeof(leaf));
	int roots = file_of(root_pem, strlen(root_pem));
	struct chain c = {"example.test", false, NOW, roots, leaf, size, size, 256, false};

	begin_test("x509: a certificate that is cut or longer than announced is refused");
	for (c.size = 0; c.size < size; c.size++) {
		c.announced = c.size;
		CHECK(!trusted(&c), "%zu", c.size);
		c.announced = size;
		CHECK(!trusted(&c), "%zu", c.size);
	}
	c.announced = size - 1;
	CHECK(!trusted(&c));
	c.announced = 0;
	CHECK(!trusted(&c));
	c.announced = 0xffffff;
	CHECK(!trusted(&c) && strstr(why, "too long"), "%s", why);
	close(roots);
}

/* Whatever byte is changed, the signature or the identity with the pinned one is lost. */
static void test_changed(void)
{
	uint8_t leaf[1000];
	size_t size = decode(leaf_pem, leaf, sizeof(leaf));
	struct chain c = {"example.test", false, NOW, -1, leaf, size, size, 256, false};

	begin_test("x509: a certificate with any byte changed is refused");
	for (int pinned = 0; pinned < 2; pinned++) {
		const char *text = pinned ? leaf_pem : root_pem;

		c.bundle = file_of(text, strlen(text));
		CHECK(trusted(&c), "%s", why);
		for (size_t i = 0; i < size; i++) {
			for (unsigned flip = 1; flip < 256; flip <<= pinned ? 1 : 3) {
				leaf[i] ^= (uint8_t)flip;
				CHECK(!trusted(&c), "byte %zu ^ %02x", i, flip);
				leaf[i] ^= (uint8_t)flip;
			}
		}
		close(c.bundle);
	}
}

/* The leaf and `count` others behind it, each the same junk with a number in it. */
static unsigned trusted_among(unsigned count, size_t size, const char *bundle)
{
	uint8_t leaf[1000], junk[3000] = "\x30\x82", *memory = malloc(6000);
	int roots = file_of(bundle, strlen(bundle));
	size_t leaf_size = decode(leaf_pem, leaf, sizeof(leaf));
	const br_x509_class **ctx;
	unsigned error;
	struct x509 x;

	x509_init(&x, "example.test", false, NOW, roots, memory, 6000, why, sizeof(why));
	ctx = &x.vtable;
	x509_class.start_chain(ctx, "");
	for (unsigned i = 0; i <= count; i++) {
		junk[4] = (uint8_t)i;
		x509_class.start_cert(ctx, (uint32_t)(i ? size : leaf_size));
		x509_class.append(ctx, i ? junk : leaf, i ? size : leaf_size);
		x509_class.end_cert(ctx);
	}
	error = x509_class.end_chain(ctx);
	CHECK(x.certs <= X509_CERTS_MAX && x.used <= x.room && x.sent == count + 1);
	close(roots);
	free(memory);
	return error == 0 ? x.certs : 0;
}

static void test_others(void)
{
	struct x509 x = {.vtable = &x509_class, .why = why, .why_size = sizeof(why)};

	begin_test("x509: what else the server sends is kept if there is room, and harmless");
	CHECK(trusted_among(0, 9, root_pem) == 1 && trusted_among(3, 9, root_pem) == 4);
	CHECK(trusted_among(100, 9, root_pem) == X509_CERTS_MAX);
	CHECK(trusted_among(10, 3000, root_pem) == 2 && trusted_among(10, 1000, root_pem) == 4);
	CHECK(trusted_among(3, 1000, "") == 0 && !strstr(why, "no room"), "%s", why);
	CHECK(trusted_among(10, 1000, "") == 0 && strstr(why, "no room"), "%s", why);
	CHECK(trusted_among(40, 9, "") == 0 && strstr(why, "no room"), "%s", why);
	start_chain(&x.vtable, "");
	CHECK(end_chain(&x.vtable) == BR_ERR_X509_EMPTY_CHAIN);
}

/* ---- taking certificates apart ---- */

static void test_parse(void)
{
	uint8_t leaf[1000];
	size_t size = decode(leaf_pem, leaf, sizeof(leaf));
	struct cert c;

	begin_test("x509: a certificate is taken apart");
	CHECK(cert_parse(&c, leaf, size) == NULL);
	CHECK(c.v3 && !c.ca && c.path == -1 && c.may_sign && !c.may_certify && c.for_servers);
	CHECK(c.not_before == 1577836800 && c.not_after == 2208988800);
	CHECK(leaf_fault(&c, false, &key) == NULL &&
		IS_OID(c.algorithm, "\x2a\x86\x48\xce\x3d\x04\x03\x02"));
	CHECK(ca_fault(&c, false, &key) != NULL);
	size = decode(root_pem, leaf, sizeof(leaf));
	CHECK(cert_parse(&c, leaf, size) == NULL && c.ca && c.may_certify && !c.may_sign);
	CHECK(ca_fault(&c, false, &key) == NULL && der_same(c.issuer, c.subject));
	CHECK(leaf_fault(&c, false, &key) && leaf_fault(&c, true, &key));

	begin_test("x509: a certificate cut at any byte is malformed");
	for (size_t cut = 0; cut < size; cut++) {
		uint8_t *copy = malloc(cut + 1);

		memcpy(copy, leaf, cut);
		CHECK(cert_parse(&c, copy, cut) != NULL, "%zu", cut);
		/* the outer length repaired, so that the inside is reached */
		if (cut >= 4 + 0x80) {
			copy[2] = (uint8_t)((cut - 4) >> 8);
			copy[3] = (uint8_t)(cut - 4);
			copy[1] = copy[2] ? 0x82 : 0x81;
			CHECK(cert_parse(&c, copy, cut) != NULL, "%zu", cut);
		}
		free(copy);
	}
}

#define DER(bytes) ((struct der){(const uint8_t *)(bytes), sizeof(bytes) - 1})

static bool takes(struct der in)
{
	struct der body;
	unsigned tag;

	return der_any(&in, &tag, &body) && in.left == 0;
}

static void test_der(void)
{
	char most[0x80 + 3] = "\x04\x81\x80";
	struct der in, body;
	bool value;

	begin_test("x509: DER elements");
	CHECK(takes(DER("\x04\x00")));
	CHECK(takes(DER("\x04\x02xy")));
	CHECK(takes((struct der){(uint8_t *)most, sizeof(most)}));
	CHECK(!takes((struct der){(uint8_t *)most, sizeof(most) - 1}));
	CHECK(!takes(DER("")));
	CHECK(!takes(DER("\x04")));
	CHECK(!takes(DER("\x04\x01")));
	CHECK(!takes(DER("\x04\x81\x01x")), "not the shortest form");
	CHECK(!takes(DER("\x04\x82\x00\x01x")), "not the shortest form");
	CHECK(!takes(DER("\x30\x80\x00\x00")), "indefinite");
	CHECK(!takes(DER("\x04\x83\xff\xff\xff")));
	CHECK(!takes(DER("\x04\x84\x01\x00\x00\x00")));
	CHECK(!takes(DER("\x04\x88\xff\xff\xff\xff\xff\xff\xff\xff")));
	CHECK(!takes(DER("\x04\xff")));
	CHECK(!takes(DER("\x1f\x01\x00")), "a tag of several bytes");

	in = DER("\x01\x01\xff\x01\x01\x00\x01\x01\x01");
	CHECK(der_boolean(&in, &value) && value && der_boolean(&in, &value) && !value);
	CHECK(!der_boolean(&in, &value));
	in = DER("\x02\x02\x00\x80\x02\x01\x00\x02\x02\x00\x7f");
	CHECK(der_unsigned(&in, &body) && body.left == 1 && body.at[0] == 0x80);
	CHECK(der_unsigned(&in, &body) && body.left == 1 && body.at[0] == 0);
	CHECK(!der_unsigned(&in, &body), "a needless zero");
	in = DER("\x02\x01\x80");
	CHECK(!der_unsigned(&in, &body), "negative");
	in = DER("\x03\x02\x01\x00");
	CHECK(!der_bytes(&in, &body), "unused bits");
}

static int64_t time_of(struct der in)
{
	int64_t seconds;

	return der_time(&in, &seconds) ? seconds : -1;
}

static void test_time(void)
{
	begin_test("x509: dates");
	CHECK(time_of(DER("\x17\x0d"
			  "700101000000Z")) == 0);
	CHECK(time_of(DER("\x17\x0d"
			  "491231235959Z")) == 2524607999);
	CHECK(time_of(DER("\x17\x0d"
			  "500101000000Z")) == -631152000);
	CHECK(time_of(DER("\x18\x0f"
			  "20500101000000Z")) == 2524608000);
	CHECK(time_of(DER("\x18\x0f"
			  "20000301000000Z")) == 951868800);
	CHECK(time_of(DER("\x18\x0f"
			  "20000229120000Z")) == 951825600);
	CHECK(time_of(DER("\x18\x0f"
			  "99991231235959Z")) == 253402300799);
	CHECK(time_of(DER("\x17\x0d"
			  "700101000000+")) == -1);
	CHECK(time_of(DER("\x17\x0d"
			  "701301000000Z")) == -1);
	CHECK(time_of(DER("\x17\x0d"
			  "700001000000Z")) == -1);
	CHECK(time_of(DER("\x17\x0d"
			  "700132000000Z")) == -1);
	CHECK(time_of(DER("\x17\x0d"
			  "700101240000Z")) == -1);
	CHECK(time_of(DER("\x17\x0d"
			  "700101006000Z")) == -1);
	CHECK(time_of(DER("\x17\x0d"
			  "7001010000 0Z")) == -1);
	CHECK(time_of(DER("\x17\x0b"
			  "7001010000Z")) == -1);
	CHECK(time_of(DER("\x17\x0f"
			  "20500101000000Z")) == -1);
	CHECK(time_of(DER("\x18\x0d"
			  "700101000000Z")) == -1);
	CHECK(time_of(DER("\x18\x11"
			  "20500101000000.0Z")) == -1);
}

/* ---- extensions ---- */

static const char *extension(struct cert *c, uint8_t number, struct der value)
{
	const uint8_t oid[] = {0x55, 0x1d, number};

	*c = (struct cert){.v3 = true, .path = -1, .for_servers = true};
	return parse_extension(c, (struct der){oid, 3}, false, value);
}

static void test_extensions(void)
{
	struct cert c;

	begin_test("x509: extensions");
	CHECK(!extension(&c, KEY_USAGE, DER("\x03\x02\x05\xa0")) && c.may_sign && !c.may_certify);
	CHECK(!extension(&c, KEY_USAGE, DER("\x03\x02\x05\x20")) && !c.may_sign && c.usage_present);
	CHECK(strstr(leaf_fault(&c, false, &key), "may not sign"));
	CHECK(!extension(&c, KEY_USAGE, DER("\x03\x03\x07\x06\x80")) && c.may_certify);
	CHECK(extension(&c, KEY_USAGE, DER("\x03\x01\x00")) != NULL);
	CHECK(extension(&c, KEY_USAGE, DER("\x03\x02\x08\x80")) != NULL);
	CHECK(extension(&c, KEY_USAGE, DER("\x03\x02\x00\x80z")) != NULL);
	CHECK(extension(&c, KEY_USAGE, DER("")) != NULL);

	CHECK(!extension(&c, BASIC_CONSTRAINTS, DER("\x30\x00")) && !c.ca);
	CHECK(!extension(&c, BASIC_CONSTRAINTS, DER("\x30\x03\x01\x01\xff")) && c.ca && c.path < 0);
	CHECK(!extension(&c, BASIC_CONSTRAINTS, DER("\x30\x06\x01\x01\xff\x02\x01\x00")) &&
		c.path == 0);
	CHECK(extension(&c, BASIC_CONSTRAINTS, DER("\x30\x03\x02\x01\x00")) != NULL,
		"a path and no CA");
	CHECK(extension(&c, BASIC_CONSTRAINTS, DER("\x30\x06\x01\x01\xff\x02\x01\xff")) != NULL);
	CHECK(extension(&c, BASIC_CONSTRAINTS, DER("\x30\x03\x01\x01\x01")) != NULL);
	CHECK(extension(&c, BASIC_CONSTRAINTS, DER("\x30\x03\x01\x01\xffz")) != NULL);

	CHECK(!extension(&c, EXTENDED_KEY_USAGE, DER("\x30\x06\x06\x04\x55\x1d\x25\x00")) &&
		!c.for_servers);
	CHECK(extension(&c, EXTENDED_KEY_USAGE, DER("\x30\x00")) != NULL);
	CHECK(extension(&c, EXTENDED_KEY_USAGE, DER("\x30\x03\x02\x01\x00")) != NULL);

	CHECK(!extension(&c, SUBJECT_ALT_NAME,
		      DER("\x30\x03\x82\x01"
			  "a")) &&
		c.names.left == 3);
	CHECK(extension(&c, SUBJECT_ALT_NAME, DER("\x30\x00")) != NULL);
	CHECK(extension(&c, SUBJECT_ALT_NAME,
		      DER("\x30\x03\x82\x02"
			  "a")) != NULL);
	CHECK(extension(&c, SUBJECT_ALT_NAME,
		      DER("\x30\x03\x16\x01"
			  "a")) != NULL,
		"no GeneralName");
	CHECK(!extension(&c, NAME_CONSTRAINTS, DER("")) && c.constraints.at);
	CHECK(!parse_policies(DER("\x30\x05\x30\x03\x06\x01\x2a")));
	CHECK(!parse_policies(DER("\x30\x13\x30\x11\x06\x01\x2a\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01"
				  "\x05\x05\x07\x02\x01")));
	CHECK(parse_policies(DER("\x30\x13\x30\x11\x06\x01\x2a\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01"
				 "\x05\x05\x07\x02\x03")) != NULL);
	CHECK(parse_policies(DER("\x30\x00")) != NULL);
	CHECK(!extension(&c, 99, DER("")));
	CHECK(parse_extension(&c, DER("\x55\x1d\x63"), true, DER("")) != NULL);
	CHECK(parse_extension(&c, DER("\x55\x1d"), true, DER("")) != NULL);
}

static void test_extension_lists(void)
{
	struct cert c = {.v3 = true, .path = -1, .for_servers = true};

	begin_test("x509: lists of extensions");
#define ONE "\x30\x07\x06\x03\x2a\x03\x04\x04\x00"
#define TWO "\x30\x07\x06\x03\x2a\x03\x05\x04\x00"
	CHECK(parse_extensions(&c, DER(ONE)) == NULL);
	CHECK(parse_extensions(&c, DER(ONE TWO)) == NULL);
	CHECK(strstr(parse_extensions(&c, DER(ONE TWO ONE)), "twice"));
	CHECK(parse_extensions(&c, DER("")) != NULL);
	CHECK(parse_extensions(&c, DER("\x30\x0a\x06\x03\x2a\x03\x04\x01\x01\x00\x04\x00")) ==
		NULL);
	CHECK(strstr(parse_extensions(&c, DER("\x30\x0a\x06\x03\x2a\x03\x04\x01\x01\xff\x04\x00")),
		"critical"));
}

/* ---- keys ---- */

/* The SubjectPublicKeyInfo of an RSA key: modulus of `size` bytes, the first `top`. */
static const char *rsa(size_t size, uint8_t top, uint8_t last, const char *exponent)
{
	uint8_t der[1100] = "\x30\x82--"
			    "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82";
	size_t e = (size_t)exponent[1] + 2, zero = top >> 7, n = 4 + zero + size, at = 21;
	br_x509_pkey key;

#define PUT16(value) (der[at++] = (uint8_t)((value) >> 8), der[at++] = (uint8_t)(value))
	PUT16(n + e + 5);
	der[at++] = 0;
	der[at++] = 0x30;
	der[at++] = 0x82;
	PUT16(n + e);
	der[at++] = 0x02;
	der[at++] = 0x82;
	PUT16(size + zero);
	at += zero;
	memset(der + at, 0x55, size);
	der[at] = top;
	der[at + size - 1] = last;
	memcpy(der + at + size, exponent, e);
	at += size + e;
	der[2] = (uint8_t)((at - 4) >> 8);
	der[3] = (uint8_t)(at - 4);
	return cert_key(&key, (struct der){der, at});
}

static void test_keys(void)
{
	begin_test("x509: keys");
	CHECK(rsa(256, 0x80, 1, "\x02\x03\x01\x00\x01") == NULL);
	CHECK(rsa(512, 0x80, 1, "\x02\x01\x03") == NULL);
	CHECK(strstr(rsa(256, 0x7f, 1, "\x02\x01\x03"), "weak"), "2047 bits");
	CHECK(strstr(rsa(513, 0x01, 1, "\x02\x01\x03"), "more than 4096"));
	CHECK(strstr(rsa(256, 0x80, 2, "\x02\x01\x03"), "weak"), "even modulus");
	CHECK(strstr(rsa(256, 0x80, 1, "\x02\x01\x01"), "weak"), "exponent 1");
	CHECK(strstr(rsa(256, 0x80, 1, "\x02\x01\x04"), "weak"), "even exponent");
	CHECK(rsa(256, 0x80, 1, "\x02\x00") != NULL);
}

/* ---- names ---- */

static bool fits(const char *pattern, const char *host)
{
	/* exact memory: what is read beyond the pattern, the sanitizer tells */
	size_t size = strlen(pattern);
	uint8_t *copy = malloc(size + !size);
	bool result;

	memcpy(copy, pattern, size);
	result = name_matches((struct der){copy, size}, host);
	free(copy);
	return result;
}

static void test_names(void)
{
	begin_test("x509: names");
	CHECK(fits("a.test", "a.test") && fits("A.Test", "a.tEST"));
	CHECK(!fits("a.test", "b.test") && !fits("a.test", "a.test.") &&
		!fits("a.test.", "a.test"));
	CHECK(!fits("a.test", "a.tes") && !fits("", "") && !fits("", "a") && !fits("a", ""));
	CHECK(fits("*.b.test", "a.b.test") && fits("*.B.test", "A.b.test"));
	CHECK(!fits("*.b.test", "b.test") && !fits("*.b.test", ".b.test"));
	CHECK(!fits("*.b.test", "c.a.b.test") && !fits("*.b.test", "*") && !fits("*.b.test", ""));
	CHECK(!fits("*.test", "a.test") && !fits("*.", "a.") && !fits("*", "a") &&
		!fits("**", "a"));
	CHECK(!fits("*.test.", "a.test.") && !fits("*..test", "a..test") && !fits("*.", "a"));
	CHECK(!fits("a*.b.test", "aa.b.test") && !fits("*a.b.test", "aa.b.test"));
	CHECK(!fits("a.*.test", "a.b.test") && !fits("*.*.test", "a.b.test"));
	CHECK(!fits("*b.test.x", "ab.test.x"));
	CHECK(!name_matches(DER("a.test\0.b"), "a.test") &&
		!name_matches(DER("a.test\0"), "a.test"));
}

static void test_words(void)
{
	char out[16];

	begin_test("x509: names for people hold no harm");
	CHECK(!strcmp(plain(out, sizeof(out), DER("a\n\x1b[1m\"\\\xc3\xa9")), "a??[1m????"), "%s",
		out);
	CHECK(!strcmp(plain(out, sizeof(out), DER("0123456789abcdefgh")), "0123456789abcde"));
	CHECK(!strcmp(cert_short_name(out, sizeof(out), DER("\x30\x00")), "(no name)"));
	CHECK(!strcmp(cert_short_name(out, sizeof(out), DER("junk")), "(no name)"));
#define PAIR(kind, text) "\x31\x0a\x30\x08\x06\x03\x55\x04" kind "\x0c\x01" text
	CHECK(!strcmp(
		cert_short_name(out, sizeof(out),
			DER("\x30\x24" PAIR("\x0a", "o") PAIR("\x03", "c") PAIR("\x0a", "p"))),
		"c"));
	CHECK(!strcmp(cert_short_name(out, sizeof(out), DER("\x30\x0c" PAIR("\x0a", "o"))), "o"));
}

/* ---- PEM ---- */

static size_t count(const char *text, size_t size)
{
	struct pem p = {.fd = file_of(text, size)};
	size_t found = 0, length;

	while (pem_next(&p, "CERTIFICATE", NULL, 0, &length))
		found++;
	close(p.fd);
	return found;
}

#define COUNT(text) count(text, sizeof(text) - 1)
#define BEGIN	    "-----BEGIN CERTIFICATE-----"
#define END	    "-----END CERTIFICATE-----"

static void test_pem(void)
{
	static char many[40000];
	size_t size = 0;
	uint8_t out[8];

	begin_test("x509: PEM bundles");
	CHECK(COUNT("") == 0 && COUNT("\n\n\n") == 0 && COUNT(BEGIN) == 0);
	CHECK(COUNT(BEGIN "\nAAAA\n" END) == 1);
	CHECK(COUNT(BEGIN "\r\nAAAA\r\n" END "\r\n") == 1);
	CHECK(COUNT(BEGIN "  \n A A\tA A \n\n" END "\t\n") == 1);
	CHECK(COUNT(BEGIN "\nAAAA" END "\n") == 1);
	CHECK(COUNT("text " BEGIN "\nAAAA\n" END "\n") == 0);
	CHECK(COUNT(BEGIN "x\nAAAA\n" END "\n") == 0);
	CHECK(COUNT(BEGIN "\nAA$A\n" END "\n" BEGIN "\nAAA=\n" END "\n") == 1);
	CHECK(COUNT(BEGIN "\nAA=A\n" END "\n") == 0);
	CHECK(COUNT(BEGIN "\n" END "\n") == 0);
	CHECK(COUNT(BEGIN "\nAAAA\n" BEGIN "\nAAAA\n" END "\n") == 1, "an END is missing");
	CHECK(COUNT(BEGIN "\nAAAA\n-----END X-----\n" BEGIN "\nAAAA\n" END "\n") == 1);
	CHECK(COUNT(BEGIN "\nAA-AA\nAAAA\n" END "\n") == 0, "an END without its BEGIN");
	CHECK(COUNT("-----BEGIN TRUSTED CERTIFICATE-----\nAAAA\n-----END TRUSTED "
		    "CERTIFICATE-----\n") == 0);
	CHECK(COUNT(BEGIN "\n\0\n" END "\n\0\n" BEGIN "\nAAAA\n" END "\n") == 1);
	CHECK(!pem_next(&(struct pem){.fd = -1}, "CERTIFICATE", NULL, 0, &size));

	CHECK(decode(BEGIN "\nAP+/\n" END, out, sizeof(out)) == 3 && !memcmp(out, "\0\xff\xbf", 3));
	CHECK(decode(BEGIN "\nYWI=\n" END, out, sizeof(out)) == 2 && !memcmp(out, "ab", 2));
	CHECK(decode(BEGIN "\nYQ==\n" END, out, sizeof(out)) == 1 && out[0] == 'a');

	/* every offset of a marker against the blocks that the file is read in */
	for (size_t i = 0; i < 200; i++)
		size += (size_t)sprintf(many + size, "%.*s\n" BEGIN "\nAAAA\n" END "\n",
			(int)(i % 50), "##################################################");
	CHECK(count(many, size) == 200, "%zu", count(many, size));

	begin_test("x509: a bundle cut at any byte");
	for (size_t cut = 0; cut < strlen(root_pem); cut++)
		CHECK(count(root_pem, cut) == (cut >= strlen(root_pem) - 1), "%zu", cut);
}

int main(void)
{
	test_der();
	test_time();
	test_parse();
	test_extensions();
	test_extension_lists();
	test_keys();
	test_names();
	test_words();
	test_pem();
	test_chain();
	test_cut();
	test_changed();
	test_others();
	return finish_tests();
}
