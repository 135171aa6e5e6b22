"""A stand-in for /dev/cachefiles in on-demand mode, without a kernel that has it and without root.

A program is started under seccomp user notification: its open() of /dev/cachefiles gets a descriptor
that we made, and its system calls on that descriptor, and on those of the cache files that we hand
it, are answered here as Linux's fs/cachefiles would (or as wrongly as a test wants).  The descriptor is an
eventfd, so that poll() and epoll on it work by themselves.  Everything else the program does is the
real system's business.

    with StandIn([daemon, "-n", "-s", url]) as k:
        k.wait_bound()
        f = k.opened("erofs,img", b"img")       # OPEN, copen; f.size
        r = k.read(f, 0, 4096)                  # READ
        k.wait_complete(r)                      # its ioctl; bytes of data from its start
        f.bytes(0, 4096)

The program is a keeper, which opens the device, and a worker, its child, whose first command is
"restore"; another worker that gives it has taken the place of one that is gone. Each must have one thread: a descriptor's
number is free for the next OPEN as soon as its close() is seen.

What happens behind the test's back and must not is put on k.violations, which leaving the `with`
looks at, as it does at how the program ends on SIGTERM.  Every wait has its time.

Section numbers in comments are those of the team's notes on the kernel, kept outside this tree.
"""
import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

# -- the machine: system calls by architecture ---------------------------------------------------

MACHINES = {
    "x86_64": (0xC000003E, dict(
        read=0, write=1, open=2, close=3, lseek=8, mmap=9, munmap=11, brk=12, ioctl=16, pwrite64=18,
        mremap=25, dup=32, dup2=33, sendfile=40, uname=63, fcntl=72, fsync=74, fdatasync=75,
        ftruncate=77, openat=257, fallocate=285, dup3=292, pwritev=296, seccomp=317, close_range=436)),
    "aarch64": (0xC00000B7, dict(
        read=63, write=64, close=57, lseek=62, mmap=222, munmap=215, brk=214, ioctl=29, pwrite64=68,
        mremap=216, dup=23, sendfile=71, uname=160, fcntl=25, fsync=82, fdatasync=83, ftruncate=46,
        openat=56, fallocate=47, dup3=24, pwritev=70, seccomp=277, close_range=436)),
}
AUDIT_ARCH, SYSCALL = MACHINES[platform.machine()]
NAME = {number: name for name, number in SYSCALL.items()}

ALWAYS = ["open", "openat", "close_range"]
BY_FIRST_ARGUMENT = ["read", "write", "close", "lseek", "ioctl", "pwrite64", "pwritev", "dup", "dup2", "dup3",
                     "fcntl", "fsync", "fdatasync", "ftruncate", "fallocate", "sendfile"]
MEMORY = ["mmap", "munmap", "brk", "mremap"]

DEVICE = "/dev/cachefiles"
DEVICE_FD = 1000                    # the lowest descriptor that the filter looks at
FILE_LIMIT = 4096                   # soft RLIMIT_NOFILE of the program, where the hard one allows
PAGE = 4096

OPEN, CLOSE, READ = 0, 1, 2
READ_COMPLETE = 0x40049801
IOCTL_WHENCE = 0x98                 # of a lseek that stands for an ioctl: test/cross/ioctl.c
GONE = 0xFFFFFFFF                   # object id of a file whose descriptor is closed

NOTIF_RECV, NOTIF_SEND, NOTIF_ADDFD = 0xC0502100, 0xC0182101, 0xC0182103
CONTINUE = 1
ADDFD_SETFD = 1

# -- the program's machine, where it is not ours -------------------------------------------------

EMULATOR = []                       # what runs the program; qemu-user makes its calls as ours
ORDER = "="                         # of the bytes in messages
PADDED = True                       # v8's READ: numbers of 64 bits are aligned to 8 bytes


def emulate(machine):
    """From now on programs are of another machine, one of machines.MACHINES."""
    global EMULATOR, ORDER, PADDED, READ_COMPLETE
    EMULATOR, ORDER = [shutil.which(machine.qemu)], ">" if machine.big_endian else "<"
    PADDED, READ_COMPLETE = machine.v8_padded, machine.read_complete


def pack(form, *values):
    """Bytes as the program's machine has them."""
    return struct.pack(ORDER + form, *values)


# -- the child: sets the filter, hands its listener over, becomes the program --------------------


def bpf_program(traps_memory, traps_uname):
    """struct sock_filter[]: which calls are notified."""
    load, jump_eq, jump_ge, ret = 0x20, 0x15, 0x35, 0x06
    notify, allow = 0x7FC00000, 0x7FFF0000
    out = [(load, 0, 0, 4), (jump_eq, 1, 0, AUDIT_ARCH), (ret, 0, 0, allow), (load, 0, 0, 0)]
    names = ALWAYS + (MEMORY if traps_memory else []) + (["uname"] if traps_uname else [])
    for name in names:
        if name in SYSCALL:
            out += [(jump_eq, 0, 1, SYSCALL[name]), (ret, 0, 0, notify)]
    low = 16 if sys.byteorder == "little" else 20
    for name in BY_FIRST_ARGUMENT:
        if name in SYSCALL:
            out += [(jump_eq, 0, 4, SYSCALL[name]), (load, 0, 0, low), (jump_ge, 0, 1, DEVICE_FD),
                    (ret, 0, 0, notify), (ret, 0, 0, allow)]
    out.append((ret, 0, 0, allow))
    return len(out), b"".join(struct.pack("=HBBI", *i) for i in out)


def child(argv):
    """standin.py --child SOCKET TRAPS_MEMORY TRAPS_UNAME PROGRAM ARGUMENT..."""
    sock = socket.socket(fileno=int(argv[0]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = FILE_LIMIT if hard == resource.RLIM_INFINITY else min(FILE_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    count, code = bpf_program(argv[1] == "1", argv[2] == "1")
    code = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    program = Program(count, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    new_listener, wait_killable = 8, 32
    libc.prctl(38, 1, 0, 0, 0)          # PR_SET_NO_NEW_PRIVS
    listener = -1
    # Without WAIT_KILLABLE_RECV (Linux 5.19) a signal restarts a call that was already answered.
    for flags in (new_listener | wait_killable, new_listener):
        listener = libc.syscall(SYSCALL["seccomp"], 1, flags, ctypes.byref(program))
        if listener >= 0:
            break
    if listener < 0:
        sys.exit(f"standin: seccomp: {os.strerror(ctypes.get_errno())}")
    sock.sendmsg([b"L"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.execv(argv[3], argv[3:])


# -- what tests hold in their hands --------------------------------------------------------------

class Timeout(AssertionError):
    """What was waited for did not happen."""


class Request:
    """One request of the kernel.  state: "new", "read" (by the program), "done"."""

    def __init__(self, opcode, file, offset=0, length=0):
        self.opcode, self.file, self.offset, self.length = opcode, file, offset, length
        self.id = None
        self.state = "new"
        self.result = None          # OPEN: the size or -errno; READ: see wait_complete()
        self.flushed = False        # the kernel gave up on it
        self.deliveries = 0
        self.answers = 0
        self.time = None            # of the answer
        self.done_at_bytes = None   # READ: the data of the whole file when it was answered

    def __repr__(self):
        what = ["OPEN", "CLOSE", "READ"][self.opcode]
        where = f" {self.offset}+{self.length}" if self.opcode == READ else ""
        return f"{what} {self.id} of {self.file}{where} ({self.state}, {self.result})"


class File:
    """A cache file: an object of the kernel, its anonymous descriptor and the real file behind it."""

    def __init__(self, volume, cookie, path, number):
        self.volume, self.cookie, self.number = volume, cookie, number
        self.path = path
        self.own = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.fd = None              # in the program
        self.object_id = None
        self.state = "close"        # close, open, reopening, dropping
        self.size = None
        self.stored_size = None     # of an earlier run's cache file
        self.open_request = None
        self.held = []              # READs that wait for a reopen
        self.busy_writes = 0        # as many writes still fail with ENOBUFS (3.3)
        self.writes = []            # (offset, length, returned)

    def __repr__(self):
        return f"{self.cookie!r}@{self.fd}#{self.number}"

    def bytes(self, offset, length):
        """What the file holds there; holes and what lies beyond its end read as zeros."""
        return os.pread(self.own, length, offset).ljust(length, b"\0")

    def extents(self):
        """[(start, end)] of what the kernel takes for present (SEEK_DATA, SEEK_HOLE)."""
        out, at, end = [], 0, os.fstat(self.own).st_size
        while at < end:
            try:
                start = os.lseek(self.own, at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(self.own, start, os.SEEK_HOLE)
            out.append((start, at))
        return out

    def filled(self, offset, length):
        """Length of the data that is there from `offset` on, at most `length`."""
        for start, end in self.extents():
            if start <= offset < end:
                return min(end, offset + length) - offset
        return 0

    def present(self):
        """Bytes present in all."""
        return sum(end - start for start, end in self.extents())


# -- the kernel's side ---------------------------------------------------------------------------

LIMITS = {"brun": 7, "bcull": 5, "bstop": 1, "frun": 7, "fcull": 5, "fstop": 1}


class StandIn:
    """Runs `argv` with a /dev/cachefiles of our making; "{cache}" in it becomes an empty directory.

    layout      "mainline" or "v8": the messages (1.1, 1.2)
    old         a kernel before 6.8: POLLIN while anything is pending (2.3), writes at a wrong offset
                rounded down (3.5), no reopen, no restore, request ids reused at once
    open_error, bind_error  an errno for the program's open() of the device, its "bind ondemand"
    window      writes to a file after its copen that fail with ENOBUFS
    release     what uname() tells the program
    watch_memory  collect brk(), mmap(), mremap(), munmap() made after bind in memory_calls
    drain       read the program's standard error (if not, it fills up)
    keep        leaves the cache for a later run, which gets this object as `after`: its cookies find their
                files again unless another size is told of them (3.2)
    expect_exit the status that leaving the `with` demands; None: any
    on_write    called as on_write(file, offset, length) for each write: None to go on, -errno to fail,
                a number of bytes to store and return (if larger than length: all stored, that returned)
    """

    def __init__(self, argv, layout="mainline", old=False, open_error=0, bind_error=0, window=0, release=None,
                 watch_memory=False, drain=True, expect_exit=0, env=None, keep=False, after=None):
        self.layout, self.old, self.window = layout, old, window
        self.open_error, self.bind_error = open_error, bind_error
        self.release, self.watch_memory, self.drain = release, watch_memory, drain
        self.expect_exit = expect_exit
        self.on_write = None
        self.env = dict(os.environ if env is None else env)
        self.env.setdefault("ASAN_OPTIONS", "detect_leaks=0:exitcode=99")
        self.env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1:exitcode=99")

        self.changed = threading.Condition()
        self.device = None          # our end of the eventfd, once opened
        self.device_open = False
        self.bound = False
        self.dead = False
        self.commands = []          # (text, errno) as written to the device
        self.settings = dict(LIMITS)
        self.queue = []             # what read() takes from, in order: Request, bytes, -errno, (-errno, Request)
        self.pending = {}           # id: Request, read or not, without an answer
        self.answered = {}          # id: Request, for telling a second answer from a wrong one
        self.next_id = 0
        self.next_object = 1
        self.by_fd = {}             # descriptor in the program: File
        self.files = []
        self.events = []            # (seconds, text)
        self.violations = []
        self.memory_calls = []
        self.device_reads = 0
        self.device_writes = 0
        self.closings = []          # descriptors in the order of close()
        self.stderr_bytes = b""
        self.status = None
        self.mem = {}               # pid: its memory
        self.worker = None          # the pid that serves the device
        self.keep = keep
        self.directory = after.directory if after else tempfile.mkdtemp(prefix="standin-")
        self.cache = os.path.join(self.directory, "cache-dir")
        os.makedirs(self.cache, exist_ok=True)
        # (volume, cookie): (path, size told) of the files that runs before this one have left
        self.stored = dict(after.stored) if after else {}
        self.argv = EMULATOR + [os.path.abspath(argv[0])] + [a.replace("{cache}", self.cache) for a in argv[1:]]
        self.start_time = time.monotonic()
        self._start()

    # -- start and end ---------------------------------------------------------------------------

    def _start(self):
        ours, theirs = socket.socketpair()
        # -I -S: the child is this file once more, and needs nothing but the standard library.
        command = [sys.executable, "-I", "-S", os.path.abspath(__file__), "--child", str(theirs.fileno()),
                   "1" if self.watch_memory else "0", "1" if self.release else "0"] + self.argv
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
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
        self.threads = [threading.Thread(target=self._serve, daemon=True),
                        threading.Thread(target=self._wait, daemon=True)]
        if self.drain:
            self.threads.append(threading.Thread(target=self._read_stderr, daemon=True))
        for thread in self.threads:
            thread.start()

    def _read_stderr(self):
        while True:
            part = os.read(self.process.stderr.fileno(), 65536)
            if not part:
                return
            with self.changed:
                self.stderr_bytes += part
                self.changed.notify_all()

    def _wait(self):
        status = self.process.wait()
        with self.changed:
            # What was still open closes in the order of the numbers: the device first.
            if self.device_open:
                self._device_closed()
            for fd in sorted(self.by_fd):
                self._file_closed(fd)
            self.status = status
            self._event(f"exit status {status}")
            self.changed.notify_all()

    def stop(self, timeout=10):
        """SIGTERM, its exit status; SIGKILL and a violation if that takes longer."""
        if self.status is None:
            self.signal(signal.SIGTERM)
            try:
                return self.wait_exit(timeout)
            except Timeout:
                self.violations.append(f"still running {timeout} s after SIGTERM")
                self.signal(signal.SIGKILL)
                self.wait_exit(timeout)
        return self.status

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                status = self.stop()
                self.check_clean()
                if self.expect_exit is not None and status != self.expect_exit:
                    raise AssertionError(f"exit status {status}, not {self.expect_exit}")
            elif self.status is None:
                self.signal(signal.SIGKILL)
                self.wait_exit(10)
        except AssertionError as mistake:
            error = mistake
            raise
        finally:
            if self.drain:
                self.threads[2].join(2)
            if error is not None and hasattr(error, "add_note"):
                error.add_note(self.report())
            self._release()

    def _release(self):
        if self.worker and self.status != 0:    # one that has lost its keeper goes on
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.worker, signal.SIGKILL)
        for thread in self.threads[:2]:
            thread.join(2)
        for f in self.files:
            os.close(f.own)
        for fd in (self.device, self.listener, *self.mem.values()):
            if fd is not None:
                os.close(fd)
        self.process.stderr.close()
        self.stored.update({(f.volume, f.cookie): (f.path, f.size) for f in self.files if f.size is not None})
        if not self.keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def check_clean(self):
        """Raises if anything happened that no test may see."""
        found = re.search(r"(?m)^.*(AddressSanitizer|runtime error:|internal error|assertion).*$", self.stderr)
        if found:
            raise AssertionError(f"on standard error: {found[0]}")
        if self.violations:
            raise AssertionError(f"{len(self.violations)} violations: {self.violations[0]}")

    def report(self):
        """The last events, and what the program said."""
        def cut(lines, count):
            return ([f"... {len(lines) - count} lines"] if len(lines) > count else []) + lines[-count:]
        events = [f"{t:7.3f} {text}" for t, text in self.events]
        return "\n".join(["events:"] + cut(events, 30) + ["standard error:"] + cut(self.stderr.splitlines(), 30) +
                         [f"violation: {v}" for v in self.violations[:10]])

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, condition, timeout, what):
        """Waits until condition(), looked at whenever something changes."""
        with self.changed:
            end = time.monotonic() + timeout
            while not condition():
                left = end - time.monotonic()
                if left <= 0:
                    raise Timeout(f"{what}: not after {timeout} s")
                if self.status is not None:
                    raise Timeout(f"{what}: the program has ended, status {self.status}")
                self.changed.wait(min(left, 0.5))

    def wait_bound(self, timeout=10):
        self.wait(lambda: self.bound, timeout, "bind")

    def wait_copen(self, f, timeout=10):
        """The size that OPEN was answered with, or the negative errno."""
        request = f.open_request
        self.wait(lambda: request.state == "done", timeout, f"copen of {f}")
        return request.result

    def wait_complete(self, request, timeout=10):
        """How many bytes of data READ's range began with when it was answered."""
        self.wait(lambda: request.state == "done", timeout, f"answer to {request}")
        return request.result

    def wait_taken(self, *requests, timeout=10):
        """Until the program has read these messages (no arguments: all)."""
        if requests:
            self.wait(lambda: all(r.state != "new" for r in requests), timeout, f"read() of {requests[0]}")
        else:
            self.wait(lambda: not self.queue, timeout, "read() of everything queued")

    def wait_closed(self, f, timeout=10):
        """Until the program has closed the file's descriptor."""
        self.wait(lambda: f.fd is None, timeout, f"close() of {f}")

    def wait_exit(self, timeout=10):
        self.wait(lambda: self.status is not None, timeout, "exit")
        return self.status

    def wait_log(self, pattern, timeout=10):
        """Until standard error has something that matches; the match."""
        self.wait(lambda: re.search(pattern, self.stderr), timeout, f"log line /{pattern}/")
        return re.search(pattern, self.stderr)

    def wait_log_end(self):
        """After the exit: until all that it said is in `stderr`."""
        self.threads[2].join(5)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def stderr(self):
        return self.stderr_bytes.decode("utf-8", "replace")

    def cpu(self):
        """Seconds of processor time that the worker has used."""
        return time.clock_gettime((~self.worker << 3) | 2)

    def proc(self, name):
        """Of the worker, once it serves."""
        self.wait(lambda: self.worker, 10, "a worker")
        with open(f"/proc/{self.worker}/{name}") as f:
            return f.read()

    def memory(self):
        """VmData, VmPeak, VmSize, VmRSS, VmLck… in KiB."""
        return {k: int(v) for k, v in re.findall(r"(?m)^(\w+):\s+(\d+) kB$", self.proc("status"))}

    def fd_flags(self, fd):
        """Flags of a descriptor in the program, O_CLOEXEC among them."""
        return int(re.search(r"flags:\s+(\d+)", self.proc(f"fdinfo/{fd}"))[1], 8)

    def signal(self, number):
        self.process.send_signal(number)

    # -- the kernel's requests -------------------------------------------------------------------

    def open(self, volume, cookie, same=None, request=True):
        """OPEN of a cookie in a volume (str, without its NUL), once bound.  `same`: a File whose backing file
        it shares.  `request` False: no message."""
        self.wait_bound()
        with self.changed:
            path, stored = self.stored.pop((volume, cookie), (None, None))
            if path is None:
                path = same.path if same else tempfile.mktemp(dir=self.directory)
            f = File(volume, cookie, path, len(self.files))
            f.stored_size = stored
            self.files.append(f)
            if request:
                self._queue_open(f)
            return f

    def opened(self, volume, cookie, timeout=10, **more):
        """open(), and its copen, which must be a size."""
        f = self.open(volume, cookie, **more)
        size = self.wait_copen(f, timeout)
        assert size >= 0, f"OPEN of {cookie!r} refused: {size}"
        return f

    def read(self, f, offset, length):
        """READ."""
        with self.changed:
            return self._enqueue(Request(READ, f, offset, length))

    def close(self, f):
        """CLOSE: the cookie is withdrawn; what is pending of the file is given up (3.6)."""
        with self.changed:
            f.state = "dropping"
            for request in list(self.pending.values()):
                if request.file is f and request.opcode != CLOSE:
                    self._give_up(request)
            return self._enqueue(Request(CLOSE, f))

    def raw(self, message):
        """Any bytes as a message, once bound."""
        self.wait_bound()
        with self.changed:
            self.queue.append(bytes(message))
            self._wake()

    def read_error(self, number, request=None):
        """The next read() fails; `request` with it, as OPEN does when it cannot get a descriptor (1.5)."""
        with self.changed:
            self.queue.append((-number, request))
            if request in self.queue:
                self.queue.remove(request)
            self._wake()

    def deliver_again(self, request):
        """The same message once more, as after "restore"."""
        with self.changed:
            if request.state != "done":
                request.state = "new"
            self.queue.append(request)
            self._wake()

    def kill_reader(self, request):
        """The task that waited for READ is gone (3.4)."""
        with self.changed:
            self._give_up(request)

    def wake(self):
        """POLLIN without a message (2.3)."""
        with self.changed:
            os.write(self.device, struct.pack("=Q", 1))

    def die(self):
        """The cache is dead: requests flushed, read() gives 0, nothing to poll, writes EIO (2.3)."""
        with self.changed:
            self.dead = True
            self._event("the cache dies")
            self.queue.clear()
            for request in list(self.pending.values()):
                self._give_up(request)
            self._settle()

    def message(self, request):
        """The bytes of a message as this kernel would send it now."""
        f = request.file
        mainline = self.layout == "mainline"
        if request.opcode == OPEN:
            volume = f.volume.encode("utf-8", "surrogateescape") + b"\0"
            body = pack("IIII", len(volume), len(f.cookie), f.fd, 0) + volume + f.cookie
        elif request.opcode == CLOSE:
            body = b"" if mainline else pack("I", f.fd if f.fd is not None else GONE)
        else:
            body = pack("QQ", request.offset, request.length)
            if not mainline:
                body += pack("II", f.fd if f.fd is not None else GONE, 0)[:8 if PADDED else 4]
        if mainline:
            object_id = f.object_id if f.object_id is not None else GONE
            return pack("IIII", request.id, request.opcode, 16 + len(body), object_id) + body
        return pack("III", request.id, request.opcode, 12 + len(body)) + body

    # -- inside: requests ------------------------------------------------------------------------

    def _event(self, text):
        self.events.append((time.monotonic() - self.start_time, text))

    def _violation(self, text):
        self.violations.append(text)
        self._event(f"violation: {text}")

    def _queue_open(self, f):
        f.open_request = Request(OPEN, f)
        self._enqueue(f.open_request)

    def _enqueue(self, request):
        if self.old:
            request.id = next(i for i in range(len(self.pending) + 1) if i not in self.pending)
        else:
            request.id = self.next_id
            self.next_id += 1
        self.answered.pop(request.id, None)
        self.pending[request.id] = request
        self.queue.append(request)
        self._event(f"{request}")
        self._wake()
        return request

    def _wake(self):
        """A new edge; also if POLLIN was there already."""
        if self.device is not None:
            os.write(self.device, struct.pack("=Q", 1))

    def _settle(self):
        """Takes POLLIN away if nothing keeps it."""
        if self.device is None:
            return
        if self.queue or (self.old and self.pending and not self.dead):
            return
        try:
            os.read(self.device, 8)
        except BlockingIOError:
            pass

    def _give_up(self, request):
        """The kernel completes a request by itself, with an error."""
        self.pending.pop(request.id, None)
        if request in self.queue:
            self.queue.remove(request)
        if request.state != "done":
            request.state, request.flushed = "done", True
            request.result = -errno.EIO if request.opcode == OPEN else 0
        self._settle()
        self.changed.notify_all()

    def _answer(self, request, result):
        self.pending.pop(request.id, None)
        if request in self.queue:                           # delivered again, answered before
            self.queue.remove(request)
        self.answered[request.id] = request
        request.answers += 1
        request.state, request.result = "done", result
        request.time = time.monotonic()
        self._event(f"answer to {request}")
        self._settle()
        self.changed.notify_all()

    # -- inside: notifications -------------------------------------------------------------------

    def _serve(self):
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        while True:
            ready = poll.poll()
            if not ready[0][1] & select.POLLIN:     # POLLHUP: no process has the filter any more
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
                    value = self._call(cookie, NAME.get(number), arguments)
                    self.changed.notify_all()
            except OSError as error:            # the program's memory, or the disk
                value = -(error.errno or errno.EIO)
                self._violation(f"{NAME.get(number)}: {error}")
            except Exception as error:          # a mistake of ours must not hang the program
                value = -errno.EIO
                self._violation(f"stand-in: {NAME.get(number)}: {error!r}")
            if value is None:
                response = struct.pack("=QqiI", cookie, 0, 0, CONTINUE)
            else:
                response = struct.pack("=QqiI", cookie, max(value, 0), min(value, 0), 0)
            try:
                fcntl.ioctl(self.listener, NOTIF_SEND, response)
            except OSError:
                pass                            # it was killed meanwhile

    def _memory_fd(self):
        # Opened once, after exec: still good when the program gives up its privileges.
        if self.caller not in self.mem:
            self.mem[self.caller] = os.open(f"/proc/{self.caller}/mem", os.O_RDWR)
        return self.mem[self.caller]

    def _get(self, address, length):
        out = b""
        while len(out) < length:
            part = os.pread(self._memory_fd(), length - len(out), address + len(out))
            if not part:
                raise OSError(errno.EFAULT, "short read of memory")
            out += part
        return out

    def _get_string(self, address):
        out = b""
        while b"\0" not in out and len(out) < PAGE:
            step = 256 - (address + len(out)) % 256     # never across a page that may be missing
            out += os.pread(self._memory_fd(), step, address + len(out))
        return out.split(b"\0")[0]

    def _put(self, address, data):
        if os.pwrite(self._memory_fd(), data, address) != len(data):
            raise OSError(errno.EFAULT, "short write of memory")

    def _install(self, cookie, source, at, flags):
        """Puts our descriptor `source` at number `at` of the program."""
        fcntl.ioctl(self.listener, NOTIF_ADDFD, struct.pack("=QIIII", cookie, ADDFD_SETFD, source, at, flags))

    def _call(self, cookie, name, a):
        """One system call: its value, -errno, or None to let the real kernel do it."""
        if name in ("open", "openat"):
            path, flags = (a[0], a[1]) if name == "open" else (a[1], a[2])
            if self._get_string(path) == DEVICE.encode():
                return self._open_device(cookie, flags)
            return None
        if name in MEMORY:
            if self.caller == self.worker:
                self.memory_calls.append(f"{name}({', '.join(hex(x) for x in a)})")
            return None
        if name == "uname":
            fields = list(os.uname())
            fields[2] = self.release
            self._put(a[0], b"".join(x.encode()[:64].ljust(65, b"\0") for x in fields + ["(none)"]))
            return 0
        if name == "close_range":
            first, last, flags = a[0] & 0xFFFFFFFF, a[1] & 0xFFFFFFFF, a[2]
            if not flags & 4:                   # CLOSE_RANGE_CLOEXEC closes nothing
                for fd in [DEVICE_FD] + sorted(self.by_fd):
                    if first <= fd <= last:
                        self._close(fd)
            return None
        fd = a[0] & 0xFFFFFFFF
        if fd == DEVICE_FD and self.device_open:
            return self._device_call(cookie, name, a)
        if fd in self.by_fd:
            return self._file_call(self.by_fd[fd], name, a)
        return None

    # -- inside: the device ----------------------------------------------------------------------

    def _open_device(self, cookie, flags):
        if self.open_error:
            return -self.open_error
        if self.device_open or self.by_fd:
            return -errno.EBUSY
        if self.device is not None:
            os.close(self.device)
        self.device = eventfd()
        self._install(cookie, self.device, DEVICE_FD, flags & os.O_CLOEXEC)
        self.device_open = True
        self.bound, self.dead = False, False
        self.settings = dict(LIMITS)
        self._event(f"open, flags {flags:#o}")
        if flags & os.O_ACCMODE != os.O_RDWR:
            self._violation(f"device opened with flags {flags:#o}, not O_RDWR")
        return DEVICE_FD

    def _device_call(self, cookie, name, a):
        if name == "close":
            if self.caller == self.pid:         # others have copies
                self._close(DEVICE_FD)
            return None
        if name == "read":
            self.device_reads += 1
            return self._device_read(cookie, a[1], a[2])
        if name == "write":
            self.device_writes += 1
            if a[2] > PAGE - 1:
                return -errno.EOPNOTSUPP
            data = self._get(a[1], a[2])
            value = self._command(data)
            self.commands.append((data.split(b"\n")[0].decode("utf-8", "replace"), -value))
            self._event(f"command {data!r}: {errno.errorcode.get(-value, 'done')}")
            return value or len(data)
        if name == "ioctl":
            return -errno.ENOTTY
        if name == "lseek":
            return 0
        if name in ("dup", "dup2", "dup3") or name == "fcntl" and a[1] in (0, 1030):
            self._violation(f"{name} of the device: the stand-in cannot follow it")
            return -errno.EMFILE
        return None if name == "fcntl" else -errno.EINVAL

    def _take_worker(self):
        """Descriptors of cache files die with the worker that had them."""
        if self.caller != self.worker:
            for fd in sorted(self.by_fd):
                self._file_closed(fd)
            self.worker = self.caller

    def _device_read(self, cookie, address, count):
        if not self.bound or self.dead:
            self._settle()
            return 0
        while self.queue:
            item = self.queue[0]
            if isinstance(item, tuple):                     # an error
                self.queue.pop(0)
                if item[1] is not None:
                    self._give_up(item[1])
                self._settle()
                self._event(f"read(): {errno.errorcode[-item[0]]}")
                return item[0]
            if isinstance(item, bytes):                     # anything
                self.queue.pop(0)
                self._settle()
                if len(item) > count:
                    return -errno.EMSGSIZE
                self._put(address, item)
                return len(item)
            f = item.file
            if item.opcode == READ and f.state in ("close", "reopening") and not self.old:
                self.queue.remove(item)                     # until the reopen is answered (3.7)
                f.held.append(item)
                if f.state == "close":
                    f.state = "reopening"
                    self._queue_open(f)
                continue
            return self._deliver(cookie, item, address, count)
        self._settle()
        return 0

    def _deliver(self, cookie, request, address, count):
        f = request.file
        if request.opcode == OPEN:
            if f.fd is not None:
                self.queue.remove(request)                  # "never get a new fd if the id is valid"
                self._give_up(request)
                return -errno.EEXIST
            fd = DEVICE_FD + 1
            while fd in self.by_fd:
                fd += 1
            f.fd = fd
            f.object_id = self.next_object
        message = self.message(request)
        if len(message) > count:
            if request.opcode == OPEN:
                f.fd = f.object_id = None
            self._violation(f"read() with a buffer of {count} bytes")
            return -errno.EMSGSIZE
        if request.opcode == OPEN:
            self.next_object += 1
            source = os.open(f.path, os.O_WRONLY)
            try:
                self._install(cookie, source, fd, 0)
            finally:
                os.close(source)
            self.by_fd[fd] = f
        self._put(address, message)
        self.queue.remove(request)
        request.deliveries += 1
        if request.state == "new":
            request.state = "read"
        if request.opcode == CLOSE:                         # complete by being read (3.6)
            self._answer(request, 0)
        self._event(f"read(): {request}")
        self._settle()
        return len(message)

    def _command(self, data):
        """0 or -errno (2.1, 2.2)."""
        if b"\0" in data:
            return -errno.EINVAL
        if data[:1] == b"\n":
            return -errno.EINVAL
        if self.dead:
            return -errno.EIO
        text = data.split(b"\n")[0].decode("utf-8", "replace")
        word, _, rest = text.partition(" ")
        rest = rest.lstrip()
        if word in LIMITS:
            return self._limit(word, rest)
        if word in ("dir", "tag", "secctx"):
            if not rest:
                return -errno.EINVAL
            if word in self.settings:
                return -errno.EEXIST if word != "secctx" else -errno.EINVAL
            self.settings[word] = rest
            return 0
        if word == "debug":
            return 0 if number(rest, False) is not None else -errno.EINVAL
        if word == "bind":
            return self._bind(rest)
        if word == "copen" and self.settings.get("ondemand"):
            return self._copen(rest)
        if word == "restore":
            self._take_worker()                 # its first command
        if word == "restore" and self.layout != "v8" and not self.old and self.settings.get("ondemand"):
            for request in self.pending.values():
                if request not in self.queue:
                    self.queue.append(request)
                    request.state = "new"
                    self._wake()
            return 0
        if word in ("cull", "inuse"):
            if "/" in rest or not rest:
                return -errno.EINVAL
            return -errno.ENOENT if self.bound else -errno.EIO
        if not self.bound:
            self._violation(f"unknown command before bind: {text!r}")
        return -errno.EOPNOTSUPP

    def _limit(self, word, rest):
        match = re.fullmatch(r"(\d+)%", rest)
        if not match:
            return -errno.EINVAL
        value, kind = int(match[1]), word[0]
        run, cull, stop = (self.settings[kind + x] for x in ("run", "cull", "stop"))
        right = {"run": cull < value < 100, "cull": stop < value < run, "stop": 0 <= value < cull}
        if not right[word[1:]]:
            return -errno.EINVAL
        self.settings[word] = value
        return 0

    def _bind(self, rest):
        if self.bound:
            return -errno.EBUSY
        if rest != "ondemand":
            if not rest:
                self._violation("bind without ondemand")
            return -errno.EINVAL
        if self.bind_error:
            return -self.bind_error
        self.settings["ondemand"] = True
        if "dir" not in self.settings:
            return -errno.EINVAL
        if not os.path.isdir(self.settings["dir"]):
            return -errno.ENOENT
        for name in ("cache", "graveyard"):
            os.makedirs(os.path.join(self.settings["dir"], name), exist_ok=True)
        self.bound = True
        return 0

    def _copen(self, rest):
        """3.2"""
        id_text, comma, size_text = rest.partition(",")
        identity = number(id_text, False)
        if not comma or identity is None:
            self._violation(f"copen {rest!r}")
            return -errno.EINVAL
        request = self.pending.get(identity)
        if request is None or request.opcode != OPEN or request.state != "read":
            self._late("copen", identity, OPEN)
            return -errno.EINVAL
        f = request.file
        if f.fd is None:
            self._answer(request, -errno.EBADFD)
            self._reopened(f, False)
            return 0
        size = number(size_text, True)
        if size is None or size < -4095:
            self._violation(f"copen {rest!r}")
            self._answer(request, -errno.EINVAL)
            self._reopened(f, False)
            return -errno.EINVAL
        if size >= 0:
            f.size = size
            if f.stored_size not in (None, size):
                self._event(f"{f} is stale: {f.stored_size} became {size}")
                os.ftruncate(f.own, 0)                      # as good as another file
            f.stored_size = None
            whole = (size + PAGE - 1) // PAGE * PAGE
            if os.fstat(f.own).st_size < whole:
                os.ftruncate(f.own, whole)
            f.busy_writes = self.window
            if f.state != "dropping":
                f.state = "open"
        self._answer(request, size)
        self._reopened(f, size >= 0)
        return 0

    def _reopened(self, f, well):
        """READs that waited for a reopen go on; after a refusal they ask for the next (3.7)."""
        held, f.held = f.held, []
        if held and not well:
            f.state = "close"
        for request in held:
            self.queue.append(request)
            self._wake()

    def _late(self, what, identity, opcode):
        """An answer that nothing waits for: normal after a flush, wrong the second time (5.4, 7)."""
        before = self.answered.get(identity)
        self._event(f"{what} {identity}: nothing waits for it")
        if before is not None and before.opcode == opcode and before.answers >= before.deliveries:
            self._violation(f"{what}: {before} answered twice")

    def _device_closed(self):
        self.device_open = False
        self.closings.append(DEVICE_FD)
        self.bound = False
        self.queue.clear()
        for request in list(self.pending.values()):         # 3.8
            self._give_up(request)

    # -- inside: cache files ---------------------------------------------------------------------

    def _close(self, fd):
        if fd == DEVICE_FD:
            if self.device_open:
                self._event("close of the device")
                self._device_closed()
        else:
            self._file_closed(fd)

    def _file_closed(self, fd):
        f = self.by_fd.pop(fd)
        self._event(f"close of {f}")
        self.closings.append(fd)
        f.fd = f.object_id = None
        if f.state == "open":
            f.state = "close"
            if self.old:                                    # 3.7, last lines
                for request in list(self.pending.values()):
                    if request.opcode == READ and (request.file is f or self.layout == "v8"):
                        self._give_up(request)
        self.changed.notify_all()

    def _file_call(self, f, name, a):
        if name == "close":
            self._file_closed(f.fd)
            return None
        if name == "pwrite64":
            return self._write(f, [(a[1], a[2])], signed(a[3]))
        if name == "pwritev":
            vector = struct.unpack(f"={a[2] * 2}Q", self._get(a[1], a[2] * 16))
            return self._write(f, list(zip(vector[::2], vector[1::2])), signed(a[3]))
        if name == "ioctl":
            return self._complete(f, a[1] & 0xFFFFFFFF, a[2])
        if name == "lseek" and a[2] & 0xFFFFFFFF == IOCTL_WHENCE:
            return self._complete(f, a[1] >> 32, a[1] & 0xFFFFFFFF)
        if name == "lseek":
            if not self._published(f):
                return -errno.ENOBUFS
            try:
                return os.lseek(f.own, signed(a[1]), a[2] & 0xFFFFFFFF)
            except OSError as error:
                return -error.errno
        if name == "write":
            self._violation("write() on a cache file, not pwrite()")
            return -errno.EINVAL
        if name in ("dup", "dup2", "dup3") or name == "fcntl" and a[1] in (0, 1030):
            self._violation(f"{name} of a cache file: the stand-in cannot follow it")
            return -errno.EMFILE
        if name == "fallocate":
            return -errno.ENODEV
        if name in ("fsync", "fdatasync", "ftruncate", "sendfile"):
            return -errno.EINVAL
        return None

    @staticmethod
    def _published(f):
        """Whether the file can be written by now (3.3): an opened one can while it is opened anew."""
        if f.state in ("dropping",) or f.size is None:
            return False
        if f.busy_writes > 0:
            f.busy_writes -= 1
            return False
        return True

    def _write(self, f, vector, offset):
        """3.5"""
        length = sum(n for _, n in vector)
        value = self._write_value(f, vector, offset, length)
        f.writes.append((offset, length, value))
        self._event(f"pwrite {f} {offset}+{length}: {errno.errorcode.get(-value, value)}")
        return value

    def _write_value(self, f, vector, offset, length):
        if not self._published(f):
            return -errno.ENOBUFS
        if length == 0:
            return 0
        if length % PAGE:
            self._violation(f"pwrite of {length} bytes")
            return -errno.EINVAL
        if any(address % PAGE for address, _ in vector):
            self._violation(f"pwrite from {vector[0][0]:#x}")
            return -errno.EINVAL
        if offset < 0:
            return -errno.EINVAL
        if offset % PAGE:
            self._violation(f"pwrite at {offset}")
            if not self.old:
                return -errno.ENOBUFS
            offset -= offset % PAGE
        asked = self.on_write(f, offset, length) if self.on_write else None
        if asked is not None and asked <= 0:
            return asked
        data = b"".join(self._get(address, n) for address, n in vector)
        if asked is not None:
            data = data[:asked]
        try:
            os.pwrite(f.own, data, offset)
        except OSError as error:                            # EFBIG, or our disk is full
            return -error.errno
        return length if asked is None else asked

    def _complete(self, f, command, identity):
        """3.4"""
        if command != READ_COMPLETE:
            self._violation(f"ioctl {command:#x} on a cache file")
            return -errno.EINVAL
        request = self.pending.get(identity)
        if request is None or request.opcode != READ:
            self._late("ioctl", identity, READ)
            return -errno.EINVAL
        if request.file is not f or not request.deliveries:
            self._violation(f"{request} completed on {f}")
            return -errno.EINVAL
        request.done_at_bytes = f.present()
        self._answer(request, f.filled(request.offset, request.length))
        return 0


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def number(text, negative):
    """kstrtol() or kstrtoul() of base 0; None if it is no number."""
    match = re.fullmatch(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)", text)
    if not match or (match[1] == "-" and not negative):
        return None
    digits = match[2]
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    value = int(digits, base) * (-1 if match[1] == "-" else 1)
    return value if -(1 << 63) <= value < 1 << 63 else None


def eventfd():
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


if __name__ == "__main__" and sys.argv[1:2] == ["--child"]:
    child(sys.argv[2:])
