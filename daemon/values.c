#include "daemon/values.h"

#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "base/limits.h"
#include "base/text.h"
#include "net/url.h"

/* A pebibyte; more would be a mistake, and could overflow. */
#define BYTES_MAX (UINT64_C(1) << 50)

const char value_too_long[] = "it is too long";
const char value_control_byte[] = "it holds a control byte";

/* As the kernel reads it: 32 bits, written as 10, 0xa or 012. */
bool value_is_mask(const char *p)
{
	int base = *p != '0' ? 10 : (p[1] | 0x20) == 'x' ? 16 : 8;
	uint64_t n = 0;

	p += base == 16 ? 2 : 0;
	do {
		int digit = hex_digit(*p);

		if (digit < 0 || digit >= base)
			return false;
		n = n * (unsigned)base + (unsigned)digit;
		if (n > UINT32_MAX)
			return false;
	} while (*++p);
	return true;
}

/* A number or "-". */
static bool take_threshold(const char **at)
{
	uint64_t n;

	if (**at != '-')
		return number_take(at, *at + strlen(*at), UINT64_MAX, &n);
	++*at;
	return true;
}

bool value_is_thresholds(const char *at)
{
	size_t blanks;

	if (!take_threshold(&at) || (blanks = strspn(at, " \t")) == 0)
		return false;
	at += blanks;
	return take_threshold(&at) && !*at;
}

bool value_is_field(const char *text, const char **why)
{
	static const char *const ours[] = {"Host", "Range", "If-Range", "Accept-Encoding",
		"Connection", "Content-Length", "Transfer-Encoding"};
	size_t name = strspn(text, token_characters);

	if (name == 0 || text[name] != ':')
		return false;
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strlen(ours[i]) == name && strncasecmp(text, ours[i], name) == 0) {
			*why = "this field is written by the daemon itself";
			return false;
		}
	return true;
}

const char *value_key_pin(uint8_t out[PIN_SIZE], const char *text)
{
	unsigned bits = 0;

	_Static_assert(PIN_SIZE == 32, "the last digit has 2 bits that are none of the pin's");
	for (unsigned i = 0; i < 43; i++) {
		int digit = base64_value((unsigned char)text[i]);

		if (digit < 0)
			return NULL;
		bits = bits << 6 | (unsigned)digit;
		if (i % 4 > 0)
			out[i / 4 * 3 + i % 4 - 1] = (uint8_t)(bits >> (6 - i % 4 * 2));
	}
	return bits & 3 || text[43] != '=' ? NULL : text + 44;
}

bool value_bytes(uint64_t *bytes, const char *text)
{
	static const char units[] = "KMG";
	const char *unit, *at = text;

	if (!number_take(&at, at + strlen(at), BYTES_MAX, bytes))
		return false;
	if (*at && (unit = strchr(units, *at))) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		if (*bytes > BYTES_MAX >> shift)
			return false;
		*bytes <<= shift;
		at++;
	}
	return !*at;
}

const char *value_name(const char *name, size_t len)
{
	char out[3 * KEY_MAX + 1];

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return value_control_byte;
	if (len == 0 || name[len - 1] == ' ')
		return "no name, or it ends in a blank";
	if (len > KEY_MAX)
		return value_too_long;
	return url_expand(out, sizeof(out), "", name, len, "");
}

const char *value_last_word(const char *text, size_t *before)
{
	const char *blank = strrchr(text, ' '), *last = blank ? blank + 1 : text, *end = last;

	while (end > text && end[-1] == ' ')
		end--;
	*before = (size_t)(end - text);
	return last;
}

bool value_root(uint8_t root[32], uint64_t *bytes, const char *hex)
{
	for (unsigned i = 0; i < 64; i++) {
		int digit = hex_digit(hex[i]);

		if (digit < 0)
			return false;
		root[i / 2] = (uint8_t)(root[i / 2] << 4 | digit);
	}
	*bytes = 0;
	return !hex[64] || (hex[64] == ':' && value_bytes(bytes, hex + 65) && *bytes > 0);
}
