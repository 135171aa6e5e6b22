#include "base/base64.h"

#include <stdint.h>

/* By ranges rather than a search in the digits: each handshake reads a whole bundle of roots. */
int base64_value(int c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

void base64_encode(char *out, const void *bytes, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *in = bytes;

	for (size_t i = 0; i < size; i += 3) {
		size_t have = size - i < 3 ? size - i : 3;
		unsigned bits = (unsigned)in[i] << 16;

		bits |= have > 1 ? (unsigned)in[i + 1] << 8 : 0;
		bits |= have > 2 ? in[i + 2] : 0;
		for (size_t digit = 0; digit < 4; digit++, bits <<= 6)
			*out++ = digit <= have ? digits[bits >> 18 & 63] : '=';
	}
	*out = '\0';
}
