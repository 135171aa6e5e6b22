/* trust/pem.h - the blocks of a PEM file (RFC 7468), read a piece at a time. */
#ifndef TRUST_PEM_H
#define TRUST_PEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A place in a file. Zero it, but for the descriptor, whose own offset is neither used nor moved.
 * The block holds the text: clear it (explicit_bzero) where that is a secret. */
struct pem {
	int fd;
	off_t offset;
	size_t at, size;
	char label[32];	 /* of the last block that began */
	unsigned broken; /* blocks that were no base64, or had no end */
	uint8_t block[2048];
};

/* Decodes the next block with this label ("CERTIFICATE"), or with any if it is NULL; false: there
 * is none. All else in the file is passed over, a byte-order mark too. If *size is over `room`, the
 * block does not fit, and `out` has its beginning. */
bool pem_next(struct pem *p, const char *label, uint8_t *out, size_t room, size_t *size);

#endif
