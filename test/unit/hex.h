/* hex.h - hex digits of the unit tests' constants. */
#ifndef HEX_H
#define HEX_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Writes the bytes, between which may be spaces. Returns their number. */
static size_t unhex(uint8_t *out, const char *hex)
{
	size_t size = 0;

	while (*hex) {
		char digits[3] = {hex[0], hex[1], 0};

		if (*hex == ' ') {
			hex++;
			continue;
		}
		out[size++] = (uint8_t)strtoul(digits, NULL, 16);
		hex += 2;
	}
	return size;
}

#endif
