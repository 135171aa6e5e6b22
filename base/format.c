/* base/format.c - snprintf, vsnprintf and dprintf for this program, under the C library's names;
 * and print().
 *
 * The linker takes them instead of the library's, whose one formatter for everything (floating
 * point, wide characters) would be a twentieth of the binary. The compiler still checks formats and
 * arguments, since the names are the standard ones.
 *
 * It knows the flags - and 0, a width, a precision of strings, the sizes l, ll and z, and the
 * conversions d u x c s m %; %m is the text of errno, as syslog(3) has it.
 * test/package/test_build.sh looks for others in the sources. From an unknown one on the format
 * would be printed as it is, and no further argument used.
 */
#include "base/print.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The longest text of one dprintf(), with its NUL. */
#define DPRINTF_MAX 1024

struct job {
	const char *format; /* the rest of it */
	va_list args;
	bool prints;  /* to standard output, not to `buffer` */
	char *buffer; /* of `room` bytes, and one for a NUL */
	size_t room;
	size_t total; /* bytes so far, with those that did not fit */
};

/* Between a % and its conversion. */
struct directive {
	bool left, zeros;
	int width, precision; /* precision -1: none */
	char size;	      /* 'l', 'L' for ll, 'z', or '\0' */
};

static char out[1024]; /* standard output's buffer */
static size_t out_size;
static int out_error; /* the first */

static bool write_all(int fd, const char *text, size_t size)
{
	for (ssize_t n; size > 0; text += n, size -= (size_t)n)
		if ((n = write(fd, text, size)) < 0)
			return false;
	return true;
}

bool print_flush(void)
{
	if (!out_error && !write_all(STDOUT_FILENO, out, out_size))
		out_error = errno;
	out_size = 0;
	errno = out_error;
	return !out_error;
}

static void put(struct job *j, const char *text, size_t size)
{
	for (; size > 0; size--, j->total++) {
		char c = *text++;

		if (j->prints) {
			if (out_size == sizeof(out))
				print_flush();
			out[out_size++] = c;
		} else if (j->total < j->room) {
			j->buffer[j->total] = c;
		}
	}
}

static void pad(struct job *j, char with, int count)
{
	while (count-- > 0)
		put(j, &with, 1);
}

/* A number in the format, or for '*' from the arguments. */
static int take_number(struct job *j)
{
	int n = 0;

	if (*j->format == '*') {
		j->format++;
		return va_arg(j->args, int);
	}
	while (*j->format >= '0' && *j->format <= '9')
		n = n * 10 + (*j->format++ - '0');
	return n;
}

static struct directive take_directive(struct job *j)
{
	struct directive d = {.precision = -1};

	for (; *j->format == '-' || *j->format == '0'; j->format++)
		*(*j->format == '-' ? &d.left : &d.zeros) = true;
	d.width = take_number(j);
	if (d.width < 0) {
		d.left = true;
		d.width = -d.width;
	}
	if (*j->format == '.') {
		j->format++;
		d.precision = take_number(j);
	}
	if (*j->format == 'l' || *j->format == 'z')
		d.size = *j->format++;
	if (d.size == 'l' && *j->format == 'l') {
		d.size = 'L';
		j->format++;
	}
	return d;
}

static void put_text(struct job *j, const struct directive *d, const char *text, size_t size)
{
	int missing = size < (size_t)d->width ? d->width - (int)size : 0;

	pad(j, ' ', d->left ? 0 : missing);
	put(j, text, size);
	pad(j, ' ', d->left ? missing : 0);
}

static void put_string(struct job *j, const struct directive *d, const char *text)
{
	if (!text)
		text = "(null)";
	put_text(j, d, text, d->precision < 0 ? strlen(text) : strnlen(text, (size_t)d->precision));
}

static uint64_t take_integer(struct job *j, char size, bool is_signed)
{
	_Static_assert(sizeof(size_t) == sizeof(long), "z would need a case of its own");

	if (size == 'L')
		return va_arg(j->args, unsigned long long);
	if (size)
		return is_signed ? (uint64_t)va_arg(j->args, long) : va_arg(j->args, unsigned long);
	return is_signed ? (uint64_t)va_arg(j->args, int) : va_arg(j->args, unsigned);
}

static void put_integer(
	struct job *j, const struct directive *d, bool negative, uint64_t n, int base)
{
	char text[24];
	char *end = text + sizeof(text), *p = end;

	do
		*--p = "0123456789abcdef"[n % (unsigned)base];
	while ((n /= (unsigned)base) > 0);
	if (d->zeros && !d->left) {
		put(j, "-", negative);
		pad(j, '0', d->width - negative - (int)(end - p));
		put(j, p, (size_t)(end - p));
		return;
	}
	if (negative)
		*--p = '-';
	put_text(j, d, p, (size_t)(end - p));
}

/* False: the conversion is not known. */
static bool put_conversion(struct job *j, const struct directive *d)
{
	char c = *j->format++;
	uint64_t n;

	if (c == 'd') {
		n = take_integer(j, d->size, true);
		put_integer(j, d, n > INT64_MAX, n > INT64_MAX ? -n : n, 10);
	} else if (c == 'u' || c == 'x') {
		put_integer(j, d, false, take_integer(j, d->size, false), c == 'u' ? 10 : 16);
	} else if (c == 'c') {
		c = (char)va_arg(j->args, int);
		put_text(j, d, &c, 1);
	} else if (c == 's') {
		put_string(j, d, va_arg(j->args, const char *));
	} else if (c == 'm') {
		put_string(j, d, strerror(errno));
	} else if (c == '%') {
		put(j, "%", 1);
	} else {
		return false;
	}
	return true;
}

static int run(struct job *j)
{
	while (*j->format) {
		const char *start = j->format;
		size_t plain = strcspn(start, "%");
		struct directive d;

		put(j, start, plain);
		if (!start[plain])
			break;
		start += plain;
		j->format = start + 1;
		d = take_directive(j);
		if (!put_conversion(j, &d)) {
			put(j, start, strlen(start));
			break;
		}
	}
	return j->total > INT_MAX ? -1 : (int)j->total;
}

int vsnprintf(char *buffer, size_t size, const char *format, va_list args)
{
	struct job j = {.format = format, .buffer = buffer, .room = size > 0 ? size - 1 : 0};
	int total;

	va_copy(j.args, args);
	total = run(&j);
	va_end(j.args);
	if (size > 0)
		buffer[j.total < j.room ? j.total : j.room] = '\0';
	return total;
}

int snprintf(char *buffer, size_t size, const char *format, ...)
{
	va_list args;
	int total;

	va_start(args, format);
	total = vsnprintf(buffer, size, format, args);
	va_end(args);
	return total;
}

/* Only for texts that fit. */
int sprintf(char *buffer, const char *format, ...)
{
	va_list args;
	int total;

	va_start(args, format);
	total = vsnprintf(buffer, INT_MAX, format, args);
	va_end(args);
	return total;
}

void print(const char *format, ...)
{
	struct job j = {.format = format, .prints = true};

	va_start(j.args, format);
	run(&j);
	va_end(j.args);
}

/* Without a buffer in between. A text that is too long is an error, and nothing of it is written;
 * so is one of which a full disk takes only a part. */
int dprintf(int fd, const char *format, ...)
{
	char text[DPRINTF_MAX];
	va_list args;
	int total;

	va_start(args, format);
	total = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (total < 0 || total >= DPRINTF_MAX) {
		errno = EOVERFLOW;
		return -1;
	}
	return write_all(fd, text, (size_t)total) ? total : -1;
}
