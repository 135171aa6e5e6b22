/* base/dir.h - walking through folders without the C library's opendir(), which allocates.
 */
#ifndef BASE_DIR_H
#define BASE_DIR_H

#include <stdbool.h>

/* The longest name, with its NUL. */
#define FOLDER_NAME 256

/* Opens a folder in another one to be read; a link is not followed. -1: it cannot be. */
int folder_open(int folder, const char *name);

/* Calls see() for each name in a folder but "." and "..", until that returns false. A name that is
 * removed meanwhile may be seen or not. A descriptor can be read through more than once. */
void folder_each(
	int folder, bool (*see)(void *context, int folder, const char *name), void *context);

#endif
