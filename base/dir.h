/* base/dir.h - reading folders without the C library's opendir(), which allocates. */
#ifndef BASE_DIR_H
#define BASE_DIR_H

#include <stdbool.h>

/* The longest name, with its NUL. */
#define FOLDER_NAME 256

/* Opens a folder in another one for reading, and follows no link. -1: errno says why not. */
int folder_open(int folder, const char *name);

/* Calls see() for each name in a folder except "." and "..", until that returns false. A name that
 * is removed meanwhile may be seen or not. The same descriptor can be used again. */
void folder_each(
	int folder, bool (*see)(void *context, int folder, const char *name), void *context);

#endif
