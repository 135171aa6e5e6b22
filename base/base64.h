/* base/base64.h - base64 (RFC 4648 section 4). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>

/* A digit's value; -1: it is none. */
int base64_value(int c);

/* Writes the digits of `size` bytes, padded with '=', and a NUL. */
#define BASE64_SIZE(size) (((size) + 2) / 3 * 4 + 1)
void base64_encode(char *out, const void *bytes, size_t size);

#endif
