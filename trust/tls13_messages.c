#include "trust/tls13_messages.h"

#include <string.h>

#include "base/bytes.h"
#include "base/minmax.h"

/* The extensions that we offer (section 4.2), and where a reader of a list puts them. */
enum { NAME, GROUPS, SCHEMES, VERSIONS, COOKIE, SHARE, OFFERED };
static const uint8_t offered[OFFERED] = {0, 10, 13, 43, 44, 51};

/* ---- reading: if more is taken than there is, `at` becomes NULL, and stays so ---- */

/* At most 34 bytes are looked at without asking whether they were there. */
static const uint8_t *take(struct der *in, size_t size)
{
	static const uint8_t zeros[34];
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
	return get16(take(in, 2));
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

/* A vector of at least one number of two bytes, and nothing else. */
static bool is_list(struct der in)
{
	struct der list = take_vector(&in);

	return is_whole(in) && list.left > 0 && list.left % 2 == 0;
}

/* ---- extensions ---- */

#define MAY(extension) (1u << (extension))

/* Whether an extension may be in a message, of which those that may be in it are given. What we
 * know, but not there, is illegal; what we have not offered is not asked for (section 4.2). */
static enum tls13_fault judge_extension(unsigned type, unsigned may, size_t *which)
{
	for (*which = 0; *which < OFFERED; ++*which)
		if (offered[*which] == type)
			return may & MAY(*which) ? TLS13_GOOD : TLS13_ILLEGAL;
	return TLS13_UNASKED;
}

/* Takes a list of them apart, each once; those that have not come have no `at`. */
static enum tls13_fault read_list(struct der list, unsigned may, struct der out[OFFERED])
{
	enum tls13_fault fault = TLS13_GOOD, now;

	while (list.at && list.left > 0) {
		unsigned type = take16(&list);
		struct der body = take_vector(&list);
		size_t which;

		now = judge_extension(type, may, &which);
		if (now == TLS13_GOOD && out[which].at)
			now = TLS13_ILLEGAL;
		if (now == TLS13_GOOD)
			out[which] = body;
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

/* The version of before does not count where there is a newer one (section 4.2.1), but SSL 3.0 is
 * nowhere (section D.5). */
enum tls13_fault tls13_read_hello(struct tls13_hello *out, struct der body)
{
	struct der x[OFFERED] = {{NULL, 0}}, list = {body.at, 0};
	const uint8_t *before = take(&body, 2 + 32), *random = before + 2;
	enum tls13_fault fault;
	bool has_share, has_cookie, is_compressed;

	out->retry = memcmp(random, retry_random, 32) == 0;
	out->session = take_part(&body, take8(&body));
	out->suite = take16(&body);
	is_compressed = take8(&body) != 0;
	if (body.left > 0)
		list = take_vector(&body);
	if (!is_whole(body))
		return TLS13_MALFORMED;
	fault = read_list(list, MAY(VERSIONS) | MAY(SHARE) | (out->retry ? MAY(COOKIE) : 0), x);
	if (fault == TLS13_MALFORMED)
		return fault;
	if (!x[VERSIONS].at)
		return other_version(random);
	if (get16(before) == 0x0300)
		return TLS13_OTHER_VERSION;
	if (take16(&x[VERSIONS]) != 0x0304 || is_compressed)
		fault = fault ? fault : TLS13_ILLEGAL;
	has_share = x[SHARE].at;
	has_cookie = x[COOKIE].at;
	out->group = has_share ? (int)take16(&x[SHARE]) : -1;
	out->share = has_share && !out->retry ? take_vector(&x[SHARE]) : (struct der){NULL, 0};
	out->cookie = take_vector(&x[COOKIE]);
	if (!is_whole(x[VERSIONS]) || (has_share && !is_whole(x[SHARE])) ||
		(has_cookie && (!is_whole(x[COOKIE]) || out->cookie.left == 0)))
		return TLS13_MALFORMED;
	return fault;
}

enum tls13_fault tls13_read_extensions(struct der body, bool named)
{
	struct der list = take_vector(&body), x[OFFERED] = {{NULL, 0}};
	enum tls13_fault fault = read_list(list, MAY(NAME) | MAY(GROUPS), x);

	/* The groups that the server has are not for us to use before we are connected. */
	if (!is_whole(body) || x[NAME].left > 0 || (x[GROUPS].at && !is_list(x[GROUPS])))
		return TLS13_MALFORMED;
	return !fault && x[NAME].at && !named ? TLS13_UNASKED : fault;
}

enum tls13_fault tls13_read_schemes(
	struct der extension, unsigned first, unsigned last, unsigned *scheme)
{
	*scheme = 0;
	if (!is_list(extension))
		return TLS13_MALFORMED;
	take16(&extension);
	while (extension.left > 0) {
		unsigned one = take16(&extension);

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

/* ---- those that can be long ---- */

/* Their parts: each is a number of so many bytes, most of them of the bytes that follow it. */
enum { TIMES, NONCE, TICKET, CERT, CHAIN, REQUEST, EXTENSIONS, ONE_EXTENSION, END };
static const uint8_t number_size[END] = {
	[TIMES] = 8, /* a ticket's lifetime, and what hides its age */
	[NONCE] = 1,
	[TICKET] = 2,
	[CERT] = 3,
	[CHAIN] = 4,   /* behind a context of no bytes */
	[REQUEST] = 3, /* the same */
	[EXTENSIONS] = 2,
	[ONE_EXTENSION] = 4, /* with its type before its size */
};

static unsigned next_part(const struct tls13_long *l)
{
	if (l->part <= CERT)
		return l->part < TICKET ? l->part + 1 : EXTENSIONS;
	if (l->block > 0)
		return ONE_EXTENSION;
	return l->left > 0 ? CERT : END;
}

void tls13_long_begin(struct tls13_long *l, unsigned type, size_t size, const br_x509_class **x509,
	const char *host, uint8_t *keep, size_t room)
{
	*l = (struct tls13_long){
		.type = type, .x509 = x509, .keep = keep, .room = room, .left = size};
	l->part = type == TLS13_CERTIFICATE	      ? CHAIN
		  : type == TLS13_CERTIFICATE_REQUEST ? REQUEST
						      : TIMES;
	if (type == TLS13_CERTIFICATE)
		(*x509)->start_chain(x509, host);
}

/* Of a chain we have asked for none; elsewhere those that are unknown are ignored. */
static enum tls13_fault begin_extension(struct tls13_long *l, unsigned type, size_t size)
{
	bool request = l->type == TLS13_CERTIFICATE_REQUEST;
	size_t which;
	enum tls13_fault fault = judge_extension(type, request ? MAY(SCHEMES) : 0, &which);

	l->keeping = !fault;
	l->kept |= l->keeping;
	if (fault == TLS13_ILLEGAL || l->type == TLS13_CERTIFICATE)
		return fault;
	for (unsigned i = 0; i < l->seen; i++)
		if (l->types[i] == type)
			return TLS13_ILLEGAL;
	if (l->seen == TLS13_SEEN_MAX || (l->keeping && size > l->room))
		return TLS13_ILLEGAL;
	l->types[l->seen++] = (uint16_t)type;
	return TLS13_GOOD;
}

/* The number of a part has come. Only a certificate's extensions do not end with the message. */
static enum tls13_fault begin_part(struct tls13_long *l)
{
	bool is_extension = l->part == ONE_EXTENSION, is_cert = l->part == CERT, good = true;
	size_t n = is_extension ? l->number & 0xffff : l->number;

	if (l->part == TIMES)
		return TLS13_GOOD;
	if (l->part == REQUEST && n > 0xffff) /* its context has bytes */
		return TLS13_MALFORMED;
	if (l->part >= CHAIN && l->part <= EXTENSIONS) {
		good = n == l->left || (l->type == TLS13_CERTIFICATE && l->part == EXTENSIONS);
		l->block = l->part == CHAIN ? 0 : n;
		return good && n <= l->left ? TLS13_GOOD : TLS13_MALFORMED;
	}
	if (is_extension)
		good = 4 + n <= l->block;
	else if (is_cert || l->part == TICKET)
		good = n > 0;
	if (!good || n > l->left)
		return TLS13_MALFORMED;
	l->left -= n;
	l->part_left = n;
	l->certs |= is_cert;
	if (is_cert)
		(*l->x509)->start_cert(l->x509, (uint32_t)n);
	if (!is_extension)
		return TLS13_GOOD;
	l->block -= 4 + n;
	return begin_extension(l, (unsigned)(l->number >> 16), n);
}

static void take_bytes(struct tls13_long *l, struct der data)
{
	l->part_left -= data.left;
	if (l->part == CERT) {
		(*l->x509)->append(l->x509, data.at, data.left);
		if (l->part_left == 0)
			(*l->x509)->end_cert(l->x509);
	} else if (l->part == ONE_EXTENSION && l->keeping) {
		tls13_put(l->keep + l->have, data);
		l->have += data.left;
	}
}

enum tls13_fault tls13_long_take(struct tls13_long *l, struct der data)
{
	enum tls13_fault fault = TLS13_GOOD;

	while (!fault && data.left > 0) {
		if (l->part_left > 0) {
			size_t n = (size_t)min_u64(data.left, l->part_left);

			take_bytes(l, take_part(&data, n));
		} else {
			l->number = l->number << 8 | take8(&data);
			l->left--;
			if (++l->number_have < number_size[l->part])
				continue;
			fault = begin_part(l);
			l->number = l->number_have = 0;
		}
		if (l->part_left == 0)
			l->part = next_part(l);
	}
	return fault;
}

enum tls13_fault tls13_long_end(const struct tls13_long *l)
{
	if (l->part != END)
		return TLS13_MALFORMED;
	if (l->type == TLS13_CERTIFICATE && !l->certs)
		return TLS13_NO_CERTIFICATE;
	return l->type == TLS13_CERTIFICATE_REQUEST && !l->kept ? TLS13_MISSING : TLS13_GOOD;
}

/* ---- ours ---- */

uint8_t *tls13_put(uint8_t *p, struct der bytes)
{
	memcpy(p, bytes.at, bytes.left);
	return p + bytes.left;
}

uint8_t *tls13_put_head(uint8_t *p, unsigned type, size_t size)
{
	return put16(put16(p, (size_t)type << 8), size);
}

/* An extension that is one vector, of bytes behind something. */
static uint8_t *put_extension(uint8_t *p, unsigned which, struct der before, struct der bytes)
{
	p = put16(p, offered[which]);
	p = put16(p, before.left + bytes.left + 4);
	p = put16(p, before.left + bytes.left + 2);
	p = tls13_put(p, before);
	return tls13_put(put16(p, bytes.left), bytes);
}

uint8_t *tls13_write_hello(
	uint8_t *out, const struct tls13_offer *offer, struct der share, struct der cookie)
{
	static const uint8_t suites[] = {0x13, 3, 0x13, 1, 0x13, 2, 0x13, 3}, host_name[] = {0};
	static const uint8_t fixed[] = {0, 43, 0, 3, 2, 3, 4,	/* supported_versions: 1.3 */
		0, 10, 0, 10, 0, 8, 0, 29, 0, 23, 0, 24, 0, 25, /* groups: X25519, P-256... */
		0, 13, 0, 20, 0, 18, /* signature_algorithms, as cert_verify() has them: */
		4, 3, 5, 3, 6, 3,    /* ECDSA with its curve's hash */
		8, 4, 8, 5, 8, 6,    /* RSA-PSS */
		4, 1, 5, 1, 6, 1};   /* PKCS#1, in certificates */
	uint8_t group[2], *p = out + 4, *extensions;

	p = put16(p, 0x0303);
	p = tls13_put(p, (struct der){offer->random, 32});
	*p++ = TLS13_SESSION_SIZE;
	p = tls13_put(p, (struct der){offer->session, TLS13_SESSION_SIZE});
	p = put16(p, 6);
	p = tls13_put(p, (struct der){suites + (offer->gcm_first ? 2 : 0), 6});
	p = put16(p, 0x0100); /* no compression */
	extensions = p;
	p = tls13_put(p + 2, (struct der){fixed, sizeof(fixed)});
	if (offer->host)
		p = put_extension(p, NAME, (struct der){host_name, 1},
			(struct der){(const uint8_t *)offer->host, strlen(offer->host)});
	if (cookie.left > 0) {
		p = put16(put16(p, offered[COOKIE]), cookie.left + 2);
		p = tls13_put(put16(p, cookie.left), cookie);
	}
	put16(group, offer->group);
	p = put_extension(p, SHARE, (struct der){group, 2}, share);
	put16(extensions, (size_t)(p - extensions) - 2);
	tls13_put_head(out, TLS13_CLIENT_HELLO, (size_t)(p - out) - 4);
	return p;
}
