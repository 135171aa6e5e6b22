/* kernel/stored.h - the names of store.h's files, for those that remove them. */
#ifndef KERNEL_STORED_H
#define KERNEL_STORED_H

#include <stdbool.h>
#include <stdint.h>

/* "IMAGE.VERSION", 16 hexadecimal digits each, and a NUL. */
#define STORED_NAME 34
void stored_name(char out[STORED_NAME], uint64_t image, uint64_t version);

/* Removes the file of that version, and with the last one what is remembered of the image. False
 * and errno: it cannot be. */
bool stored_remove(uint64_t image, uint64_t version);

#endif
