/* base/libc.c - some of the C library's functions under its names, most of them for texts.
 *
 * The linker takes them instead of the library's, which look at eight bytes at a time and are large
 * for that. Texts are short here. strerror() knows the errors that this program can meet.
 */
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/words.h"

/* In brackets: they may be macros too. */
int(tolower)(int c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

int(isalnum)(int c)
{
	return isalpha(c) || isdigit(c);
}

char *strchrnul(const char *text, int c)
{
	while (*text && *text != (char)c)
		text++;
	return (char *)text;
}

char *strchr(const char *text, int c)
{
	text = strchrnul(text, c);
	return *text == (char)c ? (char *)text : NULL;
}

size_t strlen(const char *text)
{
	return (size_t)(strchrnul(text, '\0') - text);
}

size_t strspn(const char *text, const char *those)
{
	const char *p = text;

	while (*p && strchr(those, *p))
		p++;
	return (size_t)(p - text);
}

size_t strcspn(const char *text, const char *those)
{
	const char *p = text;

	while (*p && !strchr(those, *p))
		p++;
	return (size_t)(p - text);
}

void *memchr(const void *bytes, int c, size_t size)
{
	for (const unsigned char *p = bytes; size > 0; p++, size--)
		if (*p == (unsigned char)c)
			return (void *)p;
	return NULL;
}

void *memrchr(const void *bytes, int c, size_t size)
{
	for (const unsigned char *p = bytes; size-- > 0;)
		if (p[size] == (unsigned char)c)
			return (void *)(p + size);
	return NULL;
}

char *strrchr(const char *text, int c)
{
	return memrchr(text, c, strlen(text) + 1);
}

size_t strnlen(const char *text, size_t size)
{
	const char *end = memchr(text, '\0', size);

	return end ? (size_t)(end - text) : size;
}

char *strpbrk(const char *text, const char *those)
{
	text += strcspn(text, those);
	return *text ? (char *)text : NULL;
}

char *strsep(char **rest, const char *those)
{
	char *text = *rest, *end = text ? strpbrk(text, those) : NULL;

	if (end)
		*end++ = '\0';
	*rest = end;
	return text;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const unsigned char *p = a, *q = b;

	for (; size > 0; p++, q++, size--)
		if (*p != *q)
			return *p - *q;
	return 0;
}

int strncmp(const char *a, const char *b, size_t size)
{
	for (; size > 0; a++, b++, size--)
		if (*a != *b || !*a)
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, PTRDIFF_MAX);
}

int strncasecmp(const char *a, const char *b, size_t size)
{
	for (; size > 0; a++, b++, size--) {
		int difference = tolower((unsigned char)*a) - tolower((unsigned char)*b);

		if (difference || !*a)
			return difference;
	}
	return 0;
}

int strcasecmp(const char *a, const char *b)
{
	return strncasecmp(a, b, PTRDIFF_MAX);
}

char *strstr(const char *text, const char *part)
{
	size_t size = strlen(part);

	for (; strncmp(text, part, size) != 0; text++)
		if (!*text)
			return NULL;
	return (char *)text;
}

char *stpcpy(char *out, const char *text)
{
	while ((*out = *text++))
		out++;
	return out;
}

/* Not by stpcpy(): for that whose result is not used the compiler calls strcpy(). */
char *strcpy(char *out, const char *text)
{
	return memcpy(out, text, strlen(text) + 1);
}

char *strcat(char *out, const char *text)
{
	strcpy(strchrnul(out, '\0'), text);
	return out;
}

char *getenv(const char *name)
{
	size_t size = strlen(name);

	for (char **e = environ; *e; e++)
		if (strncmp(*e, name, size) == 0 && (*e)[size] == '=')
			return *e + size + 1;
	return NULL;
}

/* Its errno tells nothing. */
int isatty(int fd)
{
	struct winsize size;

	return ioctl(fd, TIOCGWINSZ, &size) == 0;
}

/* In the C library's words. */
#define ERRORS(E)                                                                                  \
	E(EPERM, "Operation not permitted")                                                        \
	E(ENOENT, "No such file or directory")                                                     \
	E(ESRCH, "No such process")                                                                \
	E(EINTR, "Interrupted system call")                                                        \
	E(EIO, "I/O error")                                                                        \
	E(ENXIO, "No such device or address")                                                      \
	E(ENOEXEC, "Exec format error")                                                            \
	E(EBADF, "Bad file descriptor")                                                            \
	E(EAGAIN, "Resource temporarily unavailable")                                              \
	E(ENOMEM, "Out of memory")                                                                 \
	E(EACCES, "Permission denied")                                                             \
	E(ENOTBLK, "Block device required")                                                        \
	E(EBUSY, "Resource busy")                                                                  \
	E(EEXIST, "File exists")                                                                   \
	E(ENODEV, "No such device")                                                                \
	E(ENOTDIR, "Not a directory")                                                              \
	E(EISDIR, "Is a directory")                                                                \
	E(EINVAL, "Invalid argument")                                                              \
	E(ENFILE, "Too many open files in system")                                                 \
	E(EMFILE, "No file descriptors available")                                                 \
	E(ETXTBSY, "Text file busy")                                                               \
	E(EFBIG, "File too large")                                                                 \
	E(ENOSPC, "No space left on device")                                                       \
	E(EROFS, "Read-only file system")                                                          \
	E(EPIPE, "Broken pipe")                                                                    \
	E(ENAMETOOLONG, "Filename too long")                                                       \
	E(ENOSYS, "Function not implemented")                                                      \
	E(ELOOP, "Symbolic link loop")                                                             \
	E(EPROTO, "Protocol error")                                                                \
	E(EOVERFLOW, "Value too large for data type")                                              \
	E(EOPNOTSUPP, "Not supported")                                                             \
	E(EPROTONOSUPPORT, "Protocol not supported")                                               \
	E(EAFNOSUPPORT, "Address family not supported by protocol")                                \
	E(EADDRINUSE, "Address in use")                                                            \
	E(EADDRNOTAVAIL, "Address not available")                                                  \
	E(ENETDOWN, "Network is down")                                                             \
	E(ENETUNREACH, "Network unreachable")                                                      \
	E(ECONNABORTED, "Connection aborted")                                                      \
	E(ECONNRESET, "Connection reset by peer")                                                  \
	E(ENOBUFS, "No buffer space available")                                                    \
	E(ETIMEDOUT, "Operation timed out")                                                        \
	E(ECONNREFUSED, "Connection refused")                                                      \
	E(EHOSTDOWN, "Host is down")                                                               \
	E(EHOSTUNREACH, "Host is unreachable")                                                     \
	E(ESTALE, "Stale file handle")                                                             \
	E(EDQUOT, "Quota exceeded")

char *strerror(int error)
{
	static const uint16_t numbers[] = {ERRORS(WORDS_NUMBER)};
	static char other[20];
	const char *text = words_find(numbers, ERRORS(WORDS_TEXT), error);

	if (text)
		return (char *)text;
	snprintf(other, sizeof(other), "error %d", error);
	return other;
}
