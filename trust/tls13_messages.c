#include "trust/tls13_messages.h"

#include <string.h>

/* Extensions (section 4.2). */
enum {
	SERVER_NAME = 0,
	SUPPORTED_GROUPS = 10,
	SUPPORTED_VERSIONS = 43,
	COOKIE = 44,
	KEY_SHARE = 51
};

/* ---- reading: if more is taken than there is, `at` becomes NULL, and stays so ---- */

/* At most 32 bytes are looked at without asking whether they were there. */
static const uint8_t *take(struct der *in, size_t size)
{
	static const uint8_t zeros[32];
	const uint8_t *p = in->at;

	if (!p || size > in->left) {
		*in = (struct der){NULL, 0};
		return zeros;
	}
	in->at += size;
	in->left -= size;
	return p;
}

static unsigned take8(struct der *in)
{
	return *take(in, 1);
}

static unsigned take16(struct der *in)
{
	const uint8_t *p = take(in, 2);

	return (unsigned)p[0] << 8 | p[1];
}

static struct der take_part(struct der *in, size_t size)
{
	const uint8_t *p = take(in, size);

	return in->at ? (struct der){p, size} : *in;
}

/* A vector behind its length of two bytes. */
static struct der take_vector(struct der *in)
{
	return take_part(in, take16(in));
}

static bool is_whole(struct der in)
{
	return in.at && in.left == 0;
}

/* ---- extensions ---- */

/* Takes a list of them apart, those of the `known` into `out`, each once; those that have not come
 * have no `at`. What we offered, but not to be answered here, is illegal (section 4.2). */
static enum tls13_fault read_list(
	struct der list, const uint8_t *known, size_t count, struct der *out)
{
	static const uint8_t offered[] = {SUPPORTED_GROUPS, TLS13_SIGNATURE_ALGORITHMS,
		SUPPORTED_VERSIONS, COOKIE, KEY_SHARE};
	enum tls13_fault fault = TLS13_GOOD, now;

	while (list.at && list.left > 0) {
		unsigned type = take16(&list);
		struct der body = take_vector(&list);
		size_t i = 0;

		while (i < count && known[i] != type)
			i++;
		if (i == count)
			now = type <= UINT8_MAX && memchr(offered, (int)type, sizeof(offered))
				      ? TLS13_ILLEGAL
				      : TLS13_UNASKED;
		else
			now = out[i].at ? TLS13_ILLEGAL : TLS13_GOOD;
		if (now == TLS13_GOOD)
			out[i] = body;
		fault = fault ? fault : now;
	}
	return list.at ? fault : TLS13_MALFORMED;
}

/* ---- the server's messages ---- */

static const uint8_t retry_random[32] = {/* SHA-256 of "HelloRetryRequest" (section 4.1.3) */
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
	0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
	0x33, 0x9c};

/* Of a server that did not choose 1.3. One that has it marks older versions in the last bytes of
 * its random (section 4.1.3): then it has not seen our hello as it was. */
static enum tls13_fault other_version(const uint8_t *random)
{
	return memcmp(random + 24, "DOWNGRD", 7) == 0 && random[31] <= 1 ? TLS13_DOWNGRADE
									 : TLS13_OTHER_VERSION;
}

enum tls13_fault tls13_read_hello(struct tls13_hello *out, struct der body)
{
	static const uint8_t known[] = {SUPPORTED_VERSIONS, KEY_SHARE, COOKIE};
	struct der x[3] = {{NULL, 0}}, list = {body.at, 0};
	unsigned version = take16(&body), compression;
	const uint8_t *random = take(&body, 32);
	enum tls13_fault fault;
	bool has_key, has_cookie;

	out->retry = memcmp(random, retry_random, 32) == 0;
	out->session = take_part(&body, take8(&body));
	out->suite = take16(&body);
	compression = take8(&body);
	if (body.left > 0)
		list = take_vector(&body);
	if (!is_whole(body))
		return TLS13_MALFORMED;
	fault = read_list(list, known, out->retry ? 3 : 2, x);
	if (fault == TLS13_MALFORMED)
		return fault;
	if (version != 0x0303 || !x[0].at)
		return other_version(random);
	if (take16(&x[0]) != 0x0304 || compression != 0)
		fault = fault ? fault : TLS13_ILLEGAL;
	has_key = x[1].at;
	has_cookie = x[2].at;
	out->group = has_key ? (int)take16(&x[1]) : -1;
	out->share = has_key && !out->retry ? take_vector(&x[1]) : (struct der){NULL, 0};
	out->cookie = take_vector(&x[2]);
	if (!is_whole(x[0]) || (has_key && !is_whole(x[1])) ||
		(has_cookie && (!is_whole(x[2]) || out->cookie.left == 0)))
		fault = TLS13_MALFORMED;
	return fault;
}

enum tls13_fault tls13_read_extensions(struct der body, bool named)
{
	static const uint8_t known[] = {SUPPORTED_GROUPS, SERVER_NAME};
	struct der list = take_vector(&body), x[2] = {{NULL, 0}};
	enum tls13_fault fault;

	if (!is_whole(body))
		return TLS13_MALFORMED;
	fault = read_list(list, known, named ? 2 : 1, x);
	/* The groups that the server has are not for us to use before we are connected. */
	return fault || x[1].left == 0 ? fault : TLS13_MALFORMED;
}

enum tls13_fault tls13_read_schemes(
	struct der extension, unsigned first, unsigned last, unsigned *scheme)
{
	struct der list = take_vector(&extension);

	*scheme = 0;
	if (!is_whole(extension) || list.left == 0 || list.left % 2)
		return TLS13_MALFORMED;
	while (list.left > 0) {
		unsigned one = take16(&list);

		if (one >= first && one <= last && (*scheme == 0 || one < *scheme))
			*scheme = one;
	}
	return TLS13_GOOD;
}

enum tls13_fault tls13_read_verify(unsigned *scheme, struct der *signature, struct der body)
{
	*scheme = take16(&body);
	*signature = take_vector(&body);
	return is_whole(body) ? TLS13_GOOD : TLS13_MALFORMED;
}

/* ---- ours ---- */

uint8_t *tls13_put16(uint8_t *p, size_t number)
{
	p[0] = (uint8_t)(number >> 8);
	p[1] = (uint8_t)number;
	return p + 2;
}

uint8_t *tls13_put(uint8_t *p, struct der bytes)
{
	memcpy(p, bytes.at, bytes.left);
	return p + bytes.left;
}

uint8_t *tls13_write_hello(uint8_t *out, const struct tls13_offer *offer)
{
	static const uint8_t suites[] = {0x13, 3, 0x13, 1, 0x13, 2, 0x13, 3};
	static const uint8_t fixed[] = {0, SUPPORTED_VERSIONS, 0, 3, 2, 3, 4, /* 1.3 */
		0, SUPPORTED_GROUPS, 0, 10, 0, 8, 0, 29, 0, 23, 0, 24, 0, 25, /* X25519, P-256... */
		0, TLS13_SIGNATURE_ALGORITHMS, 0, 20, 0, 18, /* as cert_verify() has them: */
		4, 3, 5, 3, 6, 3,			     /* ECDSA with its curve's hash */
		8, 4, 8, 5, 8, 6,			     /* RSA-PSS */
		4, 1, 5, 1, 6, 1};			     /* PKCS#1, in certificates */
	size_t host_size = offer->host ? strlen(offer->host) : 0;
	uint8_t *p = out + 4, *extensions;

	p = tls13_put16(p, 0x0303);
	p = tls13_put(p, (struct der){offer->random, 32});
	*p++ = TLS13_SESSION_SIZE;
	p = tls13_put(p, (struct der){offer->session, TLS13_SESSION_SIZE});
	p = tls13_put16(p, 6);
	p = tls13_put(p, (struct der){suites + (offer->gcm_first ? 2 : 0), 6});
	p = tls13_put16(p, 0x0100); /* no compression */
	extensions = p;
	p = tls13_put(p + 2, (struct der){fixed, sizeof(fixed)});
	if (host_size > 0) {
		p = tls13_put16(p, SERVER_NAME);
		p = tls13_put16(p, host_size + 5);
		p = tls13_put16(p, host_size + 3);
		*p++ = 0; /* a host's */
		p = tls13_put16(p, host_size);
		p = tls13_put(p, (struct der){(const uint8_t *)offer->host, host_size});
	}
	if (offer->cookie.left > 0) {
		p = tls13_put16(p, COOKIE);
		p = tls13_put16(p, offer->cookie.left + 2);
		p = tls13_put16(p, offer->cookie.left);
		p = tls13_put(p, offer->cookie);
	}
	p = tls13_put16(p, KEY_SHARE);
	p = tls13_put16(p, offer->share_size + 6);
	p = tls13_put16(p, offer->share_size + 4);
	p = tls13_put16(p, offer->group);
	p = tls13_put16(p, offer->share_size);
	tls13_put16(extensions, (size_t)(p - extensions) - 2 + offer->share_size);
	out[0] = TLS13_CLIENT_HELLO;
	out[1] = 0;
	tls13_put16(out + 2, (size_t)(p - out) - 4 + offer->share_size);
	return p;
}
