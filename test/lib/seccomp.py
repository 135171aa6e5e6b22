"""Runs a program and answers some of its system calls: seccomp user notification (seccomp_unotify(2), Linux 5.9).

Notified are open() and its like, and the calls on descriptors from DEVICE_FD on, which this process has put there. All
other calls are the real kernel's. The program needs no privileges, and neither does this process, unless folders of the
program are to be others: then it gets a mount namespace of its own.
"""
import array
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import select
import socket
import struct
import subprocess
import sys
import threading

# -- system calls by architecture ----------------------------------------------------------------

ARCHITECTURES = {
    "x86_64": (0xC000003E, dict(
        read=0, write=1, open=2, close=3, lseek=8, mmap=9, munmap=11, brk=12, ioctl=16, pwrite64=18,
        mremap=25, dup=32, dup2=33, sendfile=40, socket=41, bind=49, uname=63, fcntl=72, fsync=74,
        fdatasync=75, ftruncate=77, openat=257, splice=275, sync_file_range=277, fallocate=285, dup3=292, pwritev=296,
        seccomp=317, fsopen=430, fsconfig=431, close_range=436)),
    "aarch64": (0xC00000B7, dict(
        read=63, write=64, close=57, lseek=62, mmap=222, munmap=215, brk=214, ioctl=29, pwrite64=68,
        mremap=216, dup=23, sendfile=71, splice=76, sync_file_range=84, socket=198, bind=200, uname=160, fcntl=25,
        fsync=82, fdatasync=83, ftruncate=46, openat=56, fallocate=47, dup3=24, pwritev=70, seccomp=277, fsopen=430,
        fsconfig=431, close_range=436)),
}
AUDIT_ARCH, SYSCALL = ARCHITECTURES[platform.machine()]
NAME = {number: name for name, number in SYSCALL.items()}

ALWAYS = ["open", "openat", "close_range"]
BY_FIRST_ARGUMENT = ["read", "write", "close", "lseek", "ioctl", "pwrite64", "pwritev", "dup", "dup2", "dup3",
                     "fcntl", "fsync", "fdatasync", "ftruncate", "fallocate", "sendfile"]
MEMORY = ["mmap", "munmap", "brk", "mremap"]
MOUNTS = ["fsopen", "fsconfig"]

DEVICE_FD = 1000                    # the lowest descriptor whose calls are notified
FILE_LIMIT = 4096                   # soft RLIMIT_NOFILE of the program, where the hard one allows
PAGE = 4096

NOTIF_RECV, NOTIF_SEND, NOTIF_ID_VALID, NOTIF_ADDFD = 0xC0502100, 0xC0182101, 0x40082102, 0xC0182103
CONTINUE = 1
NO_ANSWER = object()                # the value of a call that never returns
ADDFD_SETFD = 1

# -- the child: it sets the filter, hands its listener over, and becomes the program --------------


def bpf_program(more):
    """The struct sock_filter[] that selects the notified calls, and their number. `more`: names of further calls, all
    of which are notified; of socket(), those of the family AF_NETLINK."""
    load, jump_eq, jump_ge, ret = 0x20, 0x15, 0x35, 0x06
    notify, allow = 0x7FC00000, 0x7FFF0000
    out = [(load, 0, 0, 4), (jump_eq, 1, 0, AUDIT_ARCH), (ret, 0, 0, allow), (load, 0, 0, 0)]
    low = 16 if sys.byteorder == "little" else 20
    for name in ALWAYS + more:
        if name == "socket":
            out += [(jump_eq, 0, 4, SYSCALL[name]), (load, 0, 0, low), (jump_eq, 0, 1, socket.AF_NETLINK),
                    (ret, 0, 0, notify), (ret, 0, 0, allow)]
        elif name in SYSCALL:
            out += [(jump_eq, 0, 1, SYSCALL[name]), (ret, 0, 0, notify)]
    for name in BY_FIRST_ARGUMENT:
        if name in SYSCALL:
            out += [(jump_eq, 0, 4, SYSCALL[name]), (load, 0, 0, low), (jump_ge, 0, 1, DEVICE_FD),
                    (ret, 0, 0, notify), (ret, 0, 0, allow)]
    out.append((ret, 0, 0, allow))
    return len(out), b"".join(struct.pack("=HBBI", *i) for i in out)


def mount_folders(libc, folders):
    """In a mount namespace of its own: other folders at these paths."""
    unshare_mounts, private, bind, every = 0x20000, 0x40000, 0x1000, 0x4000
    steps = [lambda: libc.unshare(unshare_mounts), lambda: libc.mount(b"none", b"/", None, every | private, None)]
    steps += [lambda p=path, f=folder: libc.mount(f.encode(), p.encode(), None, bind, None)
              for path, folder in folders.items()]
    if any(step() < 0 for step in steps):
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")


def child(argv):
    """seccomp.py --child SOCKET JSON PROGRAM ARGUMENT...; JSON is [names for bpf_program(), {path: folder}]"""
    sock = socket.socket(fileno=int(argv[0]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = FILE_LIMIT if hard == resource.RLIM_INFINITY else min(FILE_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    more, folders = json.loads(argv[1])
    count, code = bpf_program(more)
    code = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    program = Program(count, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if folders:
        mount_folders(libc, folders)
    new_listener, wait_killable = 8, 32
    libc.prctl(38, 1, 0, 0, 0)          # PR_SET_NO_NEW_PRIVS
    listener = -1
    # Without WAIT_KILLABLE_RECV (Linux 5.19) a signal restarts a call that has been answered.
    for flags in (new_listener | wait_killable, new_listener):
        listener = libc.syscall(SYSCALL["seccomp"], 1, flags, ctypes.byref(program))
        if listener >= 0:
            break
    if listener < 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    sock.sendmsg([b"L"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.execv(argv[2], argv[2:])


# -- the parent ------------------------------------------------------------------------------------

class Notified:
    """A program and the answers to its calls. A subclass has call(cookie, name, arguments), which returns the value of
    a system call, -errno, NO_ANSWER, or None to let the real kernel do it; and violation(text) for events that must not
    happen. self.changed is held during a call, and self.caller is the pid of the calling process."""

    def __init__(self):
        self.changed = threading.Condition()
        self.caller = None
        self.mem = {}               # pid: its memory

    def start(self, argv, env, more=(), folders=None, pass_fds=()):
        """Starts the program, with its standard error in a pipe. `more`: further calls that are notified (MEMORY,
        MOUNTS, "uname", "splice", ...). `folders`: {path: the folder that the program finds there}. It inherits
        pass_fds."""
        ours, theirs = socket.socketpair()
        # -I -S: the child is this file, and needs nothing but the standard library.
        command = [sys.executable, "-I", "-S", os.path.abspath(__file__), "--child", str(theirs.fileno()),
                   json.dumps([list(more), folders or {}])] + argv
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno(), *pass_fds], env=env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.pid = self.process.pid
        theirs.close()
        ours.settimeout(60)     # python3 itself has to start
        try:
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        except OSError:
            fds = []
        ours.close()
        if not fds:
            self.process.kill()
            text = self.process.communicate()[1]
            raise RuntimeError(f"cannot start under seccomp: {text.decode()}")
        self.listener = fds[0]
        os.set_inheritable(self.listener, False)

    def serve(self):
        """Answers calls until no process has the filter any more."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        while True:
            ready = poll.poll()
            if not ready[0][1] & select.POLLIN:     # POLLHUP: all processes have ended
                return
            buffer = bytearray(80)
            try:
                fcntl.ioctl(self.listener, NOTIF_RECV, buffer)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):     # the caller was killed meanwhile
                    continue
                return
            cookie, pid, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", buffer)
            try:
                with self.changed:
                    self.caller = pid
                    value = self.call(cookie, NAME.get(number), arguments)
                    self.changed.notify_all()
            except OSError as error:            # the program's memory, or the disk
                value = -(error.errno or errno.EIO)
                if self._waits(cookie):
                    self.violation(f"{NAME.get(number)}: {error}")
            except Exception as error:          # a mistake here must not hang the program
                value = -errno.EIO
                self.violation(f"stand-in: {NAME.get(number)}: {error!r}")
            if value is NO_ANSWER:
                continue
            if value is None:
                response = struct.pack("=QqiI", cookie, 0, 0, CONTINUE)
            else:
                response = struct.pack("=QqiI", cookie, max(value, 0), min(value, 0), 0)
            try:
                fcntl.ioctl(self.listener, NOTIF_SEND, response)
            except OSError:
                pass                            # the caller was killed meanwhile

    def _waits(self, cookie):
        """Whether the caller still waits: it may have been killed meanwhile."""
        try:
            fcntl.ioctl(self.listener, NOTIF_ID_VALID, struct.pack("=Q", cookie))
        except OSError:
            return False
        return True

    def _memory_fd(self):
        # Opened once, after exec: it stays usable when the program gives up its privileges.
        if self.caller not in self.mem:
            self.mem[self.caller] = os.open(f"/proc/{self.caller}/mem", os.O_RDWR)
        return self.mem[self.caller]

    def _peek(self, address, length):
        part = os.pread(self._memory_fd(), length, address)
        if not part:                # the memory of a program in whose place another one has been executed
            os.close(self.mem.pop(self.caller))
            part = os.pread(self._memory_fd(), length, address)
        return part

    def get(self, address, length):
        out = b""
        while len(out) < length:
            part = self._peek(address + len(out), length - len(out))
            if not part:
                raise OSError(errno.EFAULT, "short read of memory")
            out += part
        return out

    def get_string(self, address):
        out = b""
        while b"\0" not in out and len(out) < PAGE:
            step = 256 - (address + len(out)) % 256     # never across a page that may be missing
            out += self._peek(address + len(out), step)
        return out.split(b"\0")[0]

    def put(self, address, data):
        if os.pwrite(self._memory_fd(), data, address) != len(data):
            raise OSError(errno.EFAULT, "short write of memory")

    def install(self, cookie, source, at, flags):
        """Puts this process's descriptor `source` at number `at` of the program; None: at a free one. Returns it."""
        how, at = (0, 0) if at is None else (ADDFD_SETFD, at)
        return fcntl.ioctl(self.listener, NOTIF_ADDFD, bytearray(struct.pack("=QIIII", cookie, how, source, at, flags)))


if __name__ == "__main__" and sys.argv[1:2] == ["--child"]:
    child(sys.argv[2:])
