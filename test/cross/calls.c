/* calls.c - linked into the daemon that test/cross/test_cross.py runs under qemu-user.
 *
 * qemu-user passes on only the ioctls that it knows. That of cachefiles goes, with its compiled-in
 * number, as a lseek() with a whence that no file has; test/lib/cachefiles.py takes it from there.
 *
 * It passes on mlockall(), which locks all of its own memory, some GiB. Once the daemon has given
 * up the right to lock more than the limit, the emulator gets no memory any more, and ends. So it
 * is left out.
 *
 * No processor of 64-bit ARM that it emulates is without the Crypto Extension. HIDDEN_HWCAP, a
 * number in the environment, is taken off the bits by which the kernel tells what the processor
 * has.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#define WHENCE 0x98

int __wrap_mlockall(int flags);
int __wrap_mlockall(int flags)
{
	(void)flags;
	return 0;
}

#ifndef __x86_64__ /* there it is not called, and the C library's start would have to prepare it   \
		    */
unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type)
{
	const char *hidden = getenv("HIDDEN_HWCAP");
	unsigned long value = __real_getauxval(type);

	return type == AT_HWCAP && hidden ? value & ~strtoul(hidden, NULL, 0) : value;
}
#endif

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
