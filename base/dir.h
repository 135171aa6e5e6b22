/* base/dir.h - reading folders without the C library's opendir(), which allocates. */
#ifndef BASE_DIR_H
#define BASE_DIR_H

#include <stdbool.h>

/* The longest name, with its NUL. */
#define DIR_NAME 256

/* Opens a folder in another one for reading, and follows no link. -1: errno says why not. */
int dir_open(int parent, const char *name);

/* Opens a folder in the same way, and calls see() for each name in it except "." and "..", until
 * that returns false. It is a call, since the entries lie in dir_each()'s own memory while it
 * reads. A name that is removed meanwhile may be seen or not. False and errno: the folder cannot be
 * opened. */
bool dir_each(int parent, const char *name,
	bool (*see)(void *context, int folder, const char *name), void *context);

#endif
