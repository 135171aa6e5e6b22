/* xstate.c - lets the test kernel run on processors whose extended state (XSAVE) is larger than
 * the 2,696 bytes for which user-mode Linux has room, as with AMX. The machine's kernel takes a
 * process's state only as a whole (xstateregs_set() in arch/x86/kernel/fpu/regset.c): the part that
 * user-mode Linux knows of is put over all of the present one. test/lib/guest.py preloads it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define WHOLE (64 << 10)

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request request, ...);
	static char whole[WHOLE];
	struct iovec all = {whole, WHOLE}, *part;
	va_list arguments;
	void *address;
	pid_t pid;

	va_start(arguments, request);
	pid = va_arg(arguments, pid_t);
	address = va_arg(arguments, void *);
	part = va_arg(arguments, void *);
	va_end(arguments);
	if (!next)
		*(void **)&next = dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
		return next(request, pid, address, part);
	if (next(PTRACE_GETREGSET, pid, address, &all) < 0)
		return -1;
	memcpy(whole, part->iov_base, part->iov_len < all.iov_len ? part->iov_len : all.iov_len);
	return next(PTRACE_SETREGSET, pid, address, &all);
}
