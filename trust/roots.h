/* trust/roots.h - the bundle of trusted roots: a PEM file, opened once. */
#ifndef TRUST_ROOTS_H
#define TRUST_ROOTS_H

#include <stdbool.h>
#include <stddef.h>

/* Opens the bundle, at start, and keeps it open: look-ups read this descriptor and no path, since
 * the path may by then lead into the file system that we serve. So a new file in its place is seen
 * at the next start only. NULL tries the places where systems keep theirs. May be called again. On
 * failure (no file, or no certificate in it) returns false and fills why with a sentence. */
bool roots_open(const char *path, char *why, size_t size);

/* The descriptor of the bundle, -1: none is open. */
int roots_fd(void);

#endif
