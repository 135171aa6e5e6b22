/* trust/roots.h - the bundle of trusted roots: a PEM file, opened once. */
#ifndef TRUST_ROOTS_H
#define TRUST_ROOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/pem.h"

/* Opens the bundle, at start, and keeps it open: look-ups read this descriptor and no path, since
 * the path may by then lead into the file system that we serve. So a new file in its place is seen
 * at the next start only. NULL tries the places where systems keep theirs. May be called again. A
 * warning tells what else than certificates is in it. On failure (no file, or no certificate in
 * it) returns false and fills why with a sentence. */
bool roots_open(const char *path, char *why, size_t size);

/* The next certificate of a bundle, as pem_next(): of a CERTIFICATE, an X509 CERTIFICATE, or a
 * TRUSTED CERTIFICATE, OpenSSL's own form, unless that says that it is not for TLS servers. */
bool roots_next(struct pem *p, uint8_t *out, size_t room, size_t *size);

/* The descriptor of the bundle, -1: none is open. */
int roots_fd(void);

#endif
