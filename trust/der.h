/* trust/der.h - DER (X.690): taking apart bytes that may be forged. Each function checks the
 * element that it takes; on a mistake it returns false, and the rest is of no use. Pure; the
 * results point into the input. */
#ifndef TRUST_DER_H
#define TRUST_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are being read: the next one, and how many are left. */
struct der {
	const uint8_t *at;
	size_t left;
};

enum {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_OID = 0x06,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31,
	DER_CONTEXT = 0x80,	/* [n] of a primitive type */
	DER_CONSTRUCTED = 0xa0, /* [n] of a constructed one, or explicit */
};

/* Takes the next element, of any tag of one byte. Its length must be in DER's one shortest form,
 * and below 16 MiB. */
bool der_any(struct der *in, unsigned *tag, struct der *body);

bool der_next_is(const struct der *in, unsigned tag);

/* Takes the next element, which must have this tag: its inside, or the whole of it. */
bool der_get(struct der *in, unsigned tag, struct der *body);
bool der_whole(struct der *in, unsigned tag, struct der *element);

bool der_same(struct der a, struct der b);
bool der_is(struct der a, const char *bytes, size_t size);

/* Whether an OID's inside is that of a literal. */
#define IS_OID(oid, bytes) der_is(oid, bytes, sizeof(bytes) - 1)

/* An INTEGER that is not negative: its bytes, without the leading zero. */
bool der_unsigned(struct der *in, struct der *number);
unsigned der_bit_length(struct der number);

bool der_boolean(struct der *in, bool *value);

/* A BIT STRING of whole bytes. */
bool der_bytes(struct der *in, struct der *bytes);

/* UTCTime or GeneralizedTime in the one form that RFC 5280 allows, in seconds since 1970. */
bool der_time(struct der *in, int64_t *seconds);

#endif
