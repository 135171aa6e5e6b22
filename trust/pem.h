/* trust/pem.h - the blocks of a PEM file (RFC 7468), read a piece at a time; what is not a whole block of
 * the label that is asked for is passed over. */
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
	uint8_t block[2048];
};

/* Decodes the next block with this label ("CERTIFICATE"), if there is one. A *size over `room` says
 * that it did not fit, and what is in `out` is cut. */
bool pem_next(struct pem *p, const char *label, uint8_t *out, size_t room, size_t *size);

/* How many blocks with this label a file holds, in form only. */
size_t pem_count(int fd, const char *label);

#endif
