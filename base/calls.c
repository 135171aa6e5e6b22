/* base/calls.c - system calls under the C library's names, where the library does more.
 *
 * The linker takes these instead of the library's. Those make up for what kernels before 2.6.27
 * lacked, for descriptors of O_PATH, and for structures that differ from the kernel's on other
 * architectures; and they read the clock from the kernel's page, though a turn of the loop reads
 * it once. On machines with 32 bits the library chooses between an old call and a new one, and on
 * MIPS the kernel's structures are others: there it is left to do that.
 *
 * On x86-64 base/x86_64.S has all calls; here is what belongs to them.
 */
#include <limits.h>

#if defined(__x86_64__) && !defined(__GLIBC__)
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Shared with base/x86_64.S. */
extern int call_error;	  /* of the last call that failed: errno */
void signal_return(void); /* where a signal's handler returns to */

int call_error;
char **environ;

/* There is one thread. */
int *__errno_location(void)
{
	return &call_error;
}

int getpagesize(void)
{
	return 4096;
}

int sigemptyset(sigset_t *set)
{
	*set = (sigset_t){0};
	return 0;
}

int sigaddset(sigset_t *set, int number)
{
	*(unsigned long *)set |= 1UL << (number - 1);
	return 0;
}

int sigdelset(sigset_t *set, int number)
{
	*(unsigned long *)set &= ~(1UL << (number - 1));
	return 0;
}

/* What was in force before is not told. */
int sigaction(int number, const struct sigaction *restrict new, struct sigaction *restrict old)
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} action = {new->sa_handler, (unsigned)new->sa_flags | SA_RESTORER, signal_return,
		*(const unsigned long *)&new->sa_mask};

	(void)old;
	return (int)syscall(SYS_rt_sigaction, number, &action, NULL, sizeof(action.mask));
}

/* As above: returned is the new handler. */
void (*signal(int number, void (*handler)(int)))(int)
{
	sigaction(number, &(struct sigaction){.sa_handler = handler, .sa_flags = SA_RESTART}, NULL);
	return handler;
}

int sigqueue(pid_t pid, int number, const union sigval value)
{
	siginfo_t info = {.si_signo = number, .si_code = SI_QUEUE};

	info.si_pid = getpid();
	info.si_uid = getuid();
	info.si_value = value;
	return (int)syscall(SYS_rt_sigqueueinfo, pid, number, &info);
}

#elif LONG_MAX > INT_MAX && !defined(__mips__)
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- files ---- */

/* Of a mode that is not given any value may be read: the kernel does not look at it. */
int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
	va_list args;
	long value;

	va_start(args, command);
	value = va_arg(args, long);
	va_end(args);
	return (int)syscall(SYS_fcntl, fd, command, value);
}

/* LoongArch has had neither at first: there the library asks for statx(). */
#if defined(SYS_newfstatat) && defined(SYS_fstat)
int fstatat(int folder, const char *restrict path, struct stat *restrict out, int flags)
{
	return (int)syscall(SYS_newfstatat, folder, path, out, flags);
}

int fstat(int fd, struct stat *out)
{
	return (int)syscall(SYS_fstat, fd, out);
}
#endif

int fchmod(int fd, mode_t mode)
{
	return (int)syscall(SYS_fchmod, fd, mode);
}

int fchown(int fd, uid_t user, gid_t group)
{
	return (int)syscall(SYS_fchown, fd, user, group);
}

int fchdir(int fd)
{
	return (int)syscall(SYS_fchdir, fd);
}

ssize_t readlinkat(int folder, const char *restrict path, char *restrict out, size_t size)
{
	return syscall(SYS_readlinkat, folder, path, out, size);
}

ssize_t readlink(const char *restrict path, char *restrict out, size_t size)
{
	return readlinkat(AT_FDCWD, path, out, size);
}

/* ---- sockets and pipes ---- */

int socket(int family, int type, int protocol)
{
	return (int)syscall(SYS_socket, family, type, protocol);
}

int socketpair(int family, int type, int protocol, int ends[2])
{
	return (int)syscall(SYS_socketpair, family, type, protocol, ends);
}

int pipe2(int ends[2], int flags)
{
	return (int)syscall(SYS_pipe2, ends, flags);
}

/* ---- waiting, and processes ---- */

/* The kernel leaves the rest of the time in *timeout. No caller reads it. */
int ppoll(struct pollfd *set, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	return (int)syscall(SYS_ppoll, set, n, timeout, mask, _NSIG / 8);
}

int epoll_create1(int flags)
{
	return (int)syscall(SYS_epoll_create1, flags);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
	return (int)syscall(SYS_epoll_pwait, epoll, events, most, timeout, NULL, 0);
}

/* The library's takes the lock of abort() and repairs what it knows of threads. This program has
 * one thread, and calls neither abort() nor raise(). */
#if defined(SYS_fork) && !defined(__GLIBC__)
pid_t _Fork(void)
{
	return (pid_t)syscall(SYS_fork);
}
#endif

/* ---- the clock ---- */

int clock_gettime(clockid_t clock, struct timespec *t)
{
	return (int)syscall(SYS_clock_gettime, clock, t);
}
#endif

#if LONG_MAX > INT_MAX && !defined(__mips__)
time_t time(time_t *out)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (out)
		*out = t.tv_sec;
	return t.tv_sec;
}
#endif
