/* trust/origins.h - which servers have been found to speak TLS 1.3 and to refuse 1.2. Nothing is
 * learnt here from what has not been verified: a forged alert cannot add one. */
#ifndef TRUST_ORIGINS_H
#define TRUST_ORIGINS_H

#include <stdint.h>

/* More are forgotten, the oldest first. */
#define ORIGINS_MAX 16

/* What is known of a host and port, whose hash is `origin`, the lowest two bits of which do not
 * count. */
enum origin_state {
	ORIGIN_UNKNOWN,
	ORIGIN_NEWER,	/* a handshake by 1.3 has succeeded, where 1.2 was refused */
	ORIGIN_DOUBTED, /* the same, but now it seems to refuse 1.3: 1.2 will do if its answer does
			 * not say that it has 1.3 (RFC 8446 section 4.1.3) */
};
enum origin_state origin_state(uint64_t origin);
void origin_set(uint64_t origin, enum origin_state state);

/* Keeps them in this memory of ORIGINS_MAX numbers from now on, with what is there already, which
 * may have been written by anybody. */
void origins_keep(volatile uint64_t *memory);

#endif
