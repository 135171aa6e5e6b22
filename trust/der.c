#include "trust/der.h"

#include <string.h>

#include "base/date.h"

bool der_any(struct der *in, unsigned *tag, struct der *body)
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

bool der_next_is(const struct der *in, unsigned tag)
{
	return in->left > 0 && in->at[0] == tag;
}

bool der_get(struct der *in, unsigned tag, struct der *body)
{
	unsigned found;

	return der_next_is(in, tag) && der_any(in, &found, body);
}

bool der_whole(struct der *in, unsigned tag, struct der *element)
{
	const uint8_t *start = in->at;
	struct der body;

	if (!der_get(in, tag, &body))
		return false;
	*element = (struct der){start, (size_t)(in->at - start)};
	return true;
}

bool der_same(struct der a, struct der b)
{
	return a.left == b.left && memcmp(a.at, b.at, a.left) == 0;
}

bool der_is(struct der a, const char *bytes, size_t size)
{
	return der_same(a, (struct der){(const uint8_t *)bytes, size});
}

bool der_unsigned(struct der *in, struct der *number)
{
	if (!der_get(in, DER_INTEGER, number) || number->left == 0 || number->at[0] & 0x80)
		return false;
	if (number->at[0] == 0 && number->left > 1) {
		if (!(number->at[1] & 0x80))
			return false;
		number->at++;
		number->left--;
	}
	return true;
}

unsigned der_bit_length(struct der number)
{
	unsigned bits = (unsigned)(number.left * 8);

	for (unsigned top = number.at[0]; bits > 0 && !(top & 0x80); top <<= 1)
		bits--;
	return bits;
}

bool der_boolean(struct der *in, bool *value)
{
	struct der body;

	if (!der_get(in, DER_BOOLEAN, &body) || body.left != 1)
		return false;
	*value = body.at[0] == 0xff;
	return *value || body.at[0] == 0;
}

bool der_bytes(struct der *in, struct der *bytes)
{
	if (!der_get(in, DER_BIT_STRING, bytes) || bytes->left < 1 || bytes->at[0] != 0)
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

bool der_time(struct der *in, int64_t *seconds)
{
	int century, year, month, day, hour, minute, second;
	const uint8_t *p;
	struct der body;
	unsigned tag;

	if (!der_any(in, &tag, &body))
		return false;
	p = body.at;
	if (tag == DER_GENERALIZED_TIME && body.left == 15) {
		if (!two_digits(p, 0, 99, &century))
			return false;
		p += 2;
	} else if (tag == DER_UTC_TIME && body.left == 13) {
		century = p[0] < '5' ? 20 : 19;
	} else {
		return false;
	}
	if (!two_digits(p, 0, 99, &year) || !two_digits(p + 2, 1, 12, &month) ||
		!two_digits(p + 4, 1, 31, &day) || !two_digits(p + 6, 0, 23, &hour) ||
		!two_digits(p + 8, 0, 59, &minute) || !two_digits(p + 10, 0, 59, &second) ||
		p[12] != 'Z')
		return false;
	*seconds = days_since_1970(century * 100 + year, month, day) * 86400 +
		   (hour * 60 + minute) * 60 + second;
	return true;
}
