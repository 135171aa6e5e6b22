/* base/bytes.h - numbers of two bytes in network byte order. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stddef.h>

static inline unsigned get16(const unsigned char *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Returns what is behind it. */
static inline unsigned char *put16(unsigned char *p, size_t n)
{
	p[0] = (unsigned char)(n >> 8);
	p[1] = (unsigned char)n;
	return p + 2;
}

#endif
