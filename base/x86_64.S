/* base/x86_64.S - the program's start, and system calls under the C library's names, on x86-64.
 *
 * The linker takes these instead of the library's; base/calls.c has what is more than a call. The
 * library's start prepares what this program does not have: threads, functions to run at the end,
 * the kernel's clock page. Where the library repeats a call that a signal has interrupted, or
 * checks arguments before the kernel does, this program does not need it.
 *
 * A call is four bytes here: the low byte of its number, and a short jump to where it is made,
 * which reaches 128 bytes in both directions. Arguments lie where the kernel expects them, but
 * for the fourth. The GNU C library is left as it is.
 */
#include <features.h>
#if defined(__x86_64__) && !defined(__GLIBC__)
#include <sys/syscall.h>

	.text

	.macro	KERNEL name, number, by=low
	.globl	\name
\name:
	mov	$(\number & 255), %al
	.if	\number < 256
	jmp	\by
	.else
	jmp	high
	.endif
	.endm

	.globl	memset
memset:
	mov	%rdi, %r8
	mov	%esi, %eax
	mov	%rdx, %rcx
	rep stosb
	mov	%r8, %rax
	ret

	KERNEL	mkdirat, SYS_mkdirat
	KERNEL	fstatat, SYS_newfstatat
	KERNEL	unlinkat, SYS_unlinkat
	KERNEL	renameat, SYS_renameat
	KERNEL	symlinkat, SYS_symlinkat
	KERNEL	splice, SYS_splice
	KERNEL	fallocate, SYS_fallocate
	KERNEL	epoll_create1, SYS_epoll_create1
	KERNEL	pipe2, SYS_pipe2
	KERNEL	prlimit, SYS_prlimit64
	KERNEL	syncfs, SYS_syncfs
	KERNEL	sync_file_range, SYS_sync_file_range
	KERNEL	getrandom, SYS_getrandom
	KERNEL	memfd_create, SYS_memfd_create

	.globl	ppoll
ppoll:	/* (set, n, timeout, mask, size of *mask): the kernel leaves the rest of the time in *timeout */
	push	$8
	pop	%r8
	KERNEL	ppoll_sized, SYS_ppoll

	.globl	open
open:	/* (AT_FDCWD, path, flags, mode) */
	call	shift
	KERNEL	openat, SYS_openat

	.globl	readlink
readlink: /* (AT_FDCWD, path, out, size) */
	call	shift
	KERNEL	readlinkat, SYS_readlinkat

shift:
	mov	%rdx, %rcx
	mov	%rsi, %rdx
	mov	%rdi, %rsi
	push	$-100 /* AT_FDCWD */
	pop	%rdi
	ret

	.globl	syscall
syscall:
	mov	%edi, %eax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %rcx
	mov	%r9, %r8
	mov	8(%rsp), %r9
	jmp	enter

high:	/* 256 + %al */
	movzbl	%al, %eax
	inc	%ah
	jmp	enter
low:	/* %al */
	movzbl	%al, %eax
enter:
	mov	%rcx, %r10
	syscall
	cmp	$-4095, %rax
	jb	done
	neg	%eax
	mov	%eax, call_error(%rip)
	or	$-1, %rax
done:
	ret

	KERNEL	read, SYS_read
	KERNEL	write, SYS_write
	KERNEL	close, SYS_close
	KERNEL	fstat, SYS_fstat
	KERNEL	poll, SYS_poll
	KERNEL	lseek, SYS_lseek
	KERNEL	mmap, SYS_mmap
	KERNEL	mprotect, SYS_mprotect
	KERNEL	munmap, SYS_munmap
	KERNEL	ioctl, SYS_ioctl
	KERNEL	pread, SYS_pread64
	KERNEL	pwrite, SYS_pwrite64
	KERNEL	access, SYS_access
	KERNEL	dup2, SYS_dup2
	KERNEL	pause, SYS_pause
	KERNEL	getpid, SYS_getpid
	KERNEL	socket, SYS_socket
	KERNEL	connect, SYS_connect
	KERNEL	shutdown, SYS_shutdown
	KERNEL	bind, SYS_bind
	KERNEL	listen, SYS_listen
	KERNEL	getsockname, SYS_getsockname
	KERNEL	getpeername, SYS_getpeername
	KERNEL	socketpair, SYS_socketpair
far:	/* for the following */
	jmp	low

	KERNEL	setsockopt, SYS_setsockopt, far
	KERNEL	getsockopt, SYS_getsockopt, far
	KERNEL	signal_return, SYS_rt_sigreturn, far
	KERNEL	_Fork, SYS_fork, far /* the library's is for threads */
	KERNEL	execve, SYS_execve, far
	KERNEL	kill, SYS_kill, far
	KERNEL	uname, SYS_uname, far
	KERNEL	fcntl, SYS_fcntl, far
	KERNEL	flock, SYS_flock, far
	KERNEL	fsync, SYS_fsync, far
	KERNEL	fdatasync, SYS_fdatasync, far
	KERNEL	ftruncate, SYS_ftruncate, far
	KERNEL	chdir, SYS_chdir, far
	KERNEL	fchdir, SYS_fchdir, far
	KERNEL	unlink, SYS_unlink, far
	KERNEL	fchmod, SYS_fchmod, far
	KERNEL	fchown, SYS_fchown, far
	KERNEL	umask, SYS_umask, far
	KERNEL	getuid, SYS_getuid, far
	KERNEL	geteuid, SYS_geteuid, far
	KERNEL	setsid, SYS_setsid, far
	KERNEL	personality, SYS_personality, far
	KERNEL	fstatfs, SYS_fstatfs, far
	KERNEL	mlock, SYS_mlock, far
	KERNEL	mlockall, SYS_mlockall, far
	KERNEL	prctl, SYS_prctl, far
farther: /* as above */
	jmp	low

	KERNEL	chroot, SYS_chroot, farther
	KERNEL	sync, SYS_sync, farther
	KERNEL	mount, SYS_mount, farther
	KERNEL	umount2, SYS_umount2, farther
	KERNEL	fsetxattr, SYS_fsetxattr, farther
	KERNEL	epoll_ctl, SYS_epoll_ctl, farther
	KERNEL	epoll_wait, SYS_epoll_wait, farther
	KERNEL	clock_gettime, SYS_clock_gettime, farther
	/* Its result is -1 and errno: nobody asks. */
	KERNEL	posix_fadvise, SYS_fadvise64, farther

	.globl	send
send:	/* (socket, bytes, size, flags, NULL, 0) */
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	KERNEL	sendto, SYS_sendto, farther

	.globl	recv
recv:	/* (socket, bytes, size, flags, NULL, NULL) */
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	KERNEL	recvfrom, SYS_recvfrom, farther

	.globl	waitpid
waitpid: /* (pid, status, options, NULL) */
	xor	%ecx, %ecx
	KERNEL	wait4, SYS_wait4, farther

	.globl	sigprocmask
sigprocmask: /* (how, set, old, size of a set) */
	push	$8
	pop	%rcx
	KERNEL	rt_sigprocmask, SYS_rt_sigprocmask, farther

	.globl	sigtimedwait
sigtimedwait: /* (set, info, timeout, size of a set) */
	push	$8
	pop	%rcx
	KERNEL	rt_sigtimedwait, SYS_rt_sigtimedwait, farther

	.globl	reboot
reboot:	/* (LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, how) */
	mov	%edi, %edx
	mov	$672274793, %esi
	mov	$0xfee1dead, %edi
	KERNEL	reboot_magic, SYS_reboot, farther

	.globl	_start
_start:
	xor	%ebp, %ebp /* for debuggers: there is no caller */
	pop	%rdi /* argc */
	mov	%rsp, %rsi /* argv, and behind its NULL the environment */
	lea	8(%rsi,%rdi,8), %rdx
	mov	%rdx, environ(%rip)
	push	%rax /* the stack is aligned to 16 bytes */
#if defined(__SSP__) || defined(__SSP_STRONG__) || defined(__SSP_ALL__)
	call	guard_stack
#endif
	call	main
	mov	%eax, %edi
	.globl	_exit
_exit:
	KERNEL	exit, SYS_exit_group, farther

#if defined(__SSP__) || defined(__SSP_STRONG__) || defined(__SSP_ALL__)
/* For compilers that guard the stack: their random word is at %fs:40. Registers of _start's. */
guard_stack:
	push	%rdi
	push	%rsi
	mov	%rdx, %rsi
1:	lodsq /* the environment, and behind its NULL the kernel's own */
	test	%rax, %rax
	jnz	1b
2:	lodsq
	cmp	$25, %rax /* AT_RANDOM: where 16 random bytes are */
	lodsq
	jne	2b
	mov	(%rax), %rax
	mov	%rax, guard+40(%rip)
	lea	guard(%rip), %rsi
	mov	$0x1002, %edi /* ARCH_SET_FS */
	mov	$SYS_arch_prctl, %eax
	syscall
	pop	%rsi
	pop	%rdi
	ret
	.comm	guard, 48, 16
#endif
#endif
	.section .note.GNU-stack, "", %progbits
