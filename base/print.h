/* base/print.h - standard output, through a buffer of 1 KiB. */
#ifndef BASE_PRINT_H
#define BASE_PRINT_H

#include <stdbool.h>

/* As printf(3), with the conversions that format.c knows. Nothing writes the buffer at exit(3). */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes what the buffer holds. False and errno: that, or something before, could not be written;
 * nothing is written from then on. */
bool print_flush(void);

#endif
