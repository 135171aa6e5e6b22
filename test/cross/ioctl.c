/* ioctl.c - linked into the daemon that the stand-in tests run under qemu-user
 * (test/test_cross.py).
 *
 * qemu-user passes on no ioctl that it does not know. cachefiles' own, with its number as it was
 * compiled, goes as a lseek() from where no file has one; test/standin.py takes it from there.
 */
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#define WHENCE 0x98

int __real_ioctl(int fd, int request, ...);
int __wrap_ioctl(int fd, int request, ...);

int __wrap_ioctl(int fd, int request, ...)
{
	unsigned long argument;
	va_list args;

	va_start(args, request);
	argument = va_arg(args, unsigned long);
	va_end(args);
	if ((request >> 8 & 0xff) != WHENCE)
		return __real_ioctl(fd, request, argument);
	return (int)lseek(
		fd, (off_t)((uint64_t)(uint32_t)request << 32 | (uint32_t)argument), WHENCE);
}
