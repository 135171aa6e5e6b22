"""A stand-in for /dev/cachefiles in on-demand mode, without a kernel that has it and without root.

A program is started under seccomp user notification (lib/seccomp.py). Its open() of /dev/cachefiles gets a descriptor
of this process, and its system calls on that one and on those of the cache files are answered as Linux's fs/cachefiles
would (lib/cachefiles.py), or as wrongly as a test wants.

    with StandIn([daemon, "-n", "-s", url]) as k:
        k.wait_bound()
        f = k.opened("erofs,img", b"img")       # OPEN, copen; f.size
        r = k.read(f, 0, 4096)                  # READ
        k.wait_complete(r)                      # its ioctl; bytes of data from its start
        f.bytes(0, 4096)

The program is a keeper, which opens the device, and a worker, its child, whose first command is "restore"; another
worker that writes it has taken the place of the one before. Each must have one thread: a descriptor's number is free
for the next OPEN as soon as its close() is seen.

Events that no test may see are put on k.violations. Leaving the `with` looks at it, and at how the program ends on
SIGTERM. Every wait has its time.
"""
import contextlib
import fcntl
import os
import re
import select
import shutil
import signal
import struct
import tempfile
import termios
import threading
import time

from lib.cachefiles import CLOSE, READ, File, Kernel, Request
from lib.machines import Target
from lib.seccomp import MEMORY


class Timeout(AssertionError):
    """A condition has not become true in its time."""


class StandIn(Kernel):
    """Runs `argv` with a /dev/cachefiles made here; "{cache}" in it becomes an empty directory.

    layout      "mainline" or "v8": the messages (lib/cachefiles.py)
    old         a kernel before 6.8: POLLIN while any request has no answer, writes at a wrong offset are
                rounded down, no reopen, no restore, request ids reused at once
    open_error, bind_error  an errno for the program's open() of the device, its "bind ondemand"
    window      the number of writes to a file after its copen that fail with ENOBUFS
    release     the release that uname() reports to the program
    watch_memory  collects brk(), mmap(), mremap(), munmap() made after bind in memory_calls
    drain       reads the program's standard error (if not, it fills up)
    keep        leaves the cache for a later run, which gets this object as `after`: its cookies find their
                files again unless another size is reported for them
    pass_fds    descriptors that the program inherits
    expect_exit the status that leaving the `with` demands; None: any

    on_write, an attribute, is called as on_write(file, offset, length) for each write. It returns None to go on, -errno
    to fail, or a number of bytes to store and return (if larger than length: all are stored, and that is returned).
    """

    def __init__(self, argv, layout="mainline", old=False, open_error=0, bind_error=0, window=0, release=None,
                 watch_memory=False, drain=True, expect_exit=0, env=None, keep=False, after=None, pass_fds=()):
        super().__init__(layout, old, open_error, bind_error, window, release)
        self.drain, self.expect_exit, self.keep = drain, expect_exit, keep
        self.files = []
        self.stderr_bytes = b""
        self.status = None
        self.directory = after.directory if after else tempfile.mkdtemp(prefix="standin-")
        self.cache = os.path.join(self.directory, "cache-dir")
        os.makedirs(self.cache, exist_ok=True)
        # (volume, cookie): (path, reported size) of the files of earlier runs
        self.stored = dict(after.stored) if after else {}
        argv = Target.emulator + [os.path.abspath(argv[0])] + [a.replace("{cache}", self.cache) for a in argv[1:]]
        env = dict(os.environ if env is None else env)
        env.setdefault("ASAN_OPTIONS", "detect_leaks=0:exitcode=99")
        env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1:exitcode=99")
        further = [*self.further_calls(), *(MEMORY if watch_memory else []), *(["uname"] if release else [])]
        self.start(argv, env, further, self.folders(), pass_fds)
        self.threads = [threading.Thread(target=self.serve, daemon=True),
                        threading.Thread(target=self._wait, daemon=True)]
        if drain:
            self.threads.append(threading.Thread(target=self._read_stderr, daemon=True))
        for thread in self.threads:
            thread.start()

    # -- start and end ---------------------------------------------------------------------------

    @staticmethod
    def further_calls():
        """System calls that a subclass answers, too."""
        return []

    def folders(self):
        """{path: folder} that the program finds in another place."""
        return {}

    def _read_stderr(self):
        fd, part = self.process.stderr.fileno(), True
        while part:
            select.select([fd], [], [])
            with self.changed:
                part = os.read(fd, 65536)
                self.stderr_bytes += part
                self.changed.notify_all()

    def _wait(self):
        status = self.process.wait()
        with self.changed:
            # Open descriptors are closed in the order of their numbers: the device first.
            if self.device_open:
                self._device_closed()
            for fd in sorted(self.by_fd):
                self._file_closed(fd)
            self.status = status
            self._event(f"exit status {status}")
            self.changed.notify_all()

    def stop(self, timeout=10):
        """Sends SIGTERM. Returns the exit status; SIGKILL and a violation if the end takes longer."""
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
        if self.worker and self.status != 0:    # a worker that has lost its keeper goes on
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
        """Raises if anything has happened that no test may see."""
        found = re.search(r"(?m)^.*(AddressSanitizer|runtime error:|internal error|assertion).*$", self.stderr)
        if found:
            raise AssertionError(f"on standard error: {found[0]}")
        if self.violations:
            raise AssertionError(f"{len(self.violations)} violations: {self.violations[0]}")

    def report(self):
        """The last events, and the end of the program's standard error."""
        def cut(lines, count):
            return ([f"... {len(lines) - count} lines"] if len(lines) > count else []) + lines[-count:]
        events = [f"{t:7.3f} {text}" for t, text in self.events]
        return "\n".join(["events:"] + cut(events, 30) + ["standard error:"] + cut(self.stderr.splitlines(), 30) +
                         [f"violation: {v}" for v in self.violations[:10]])

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, condition, timeout, what):
        """Waits until condition() is true; it is called whenever something changes."""
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
        """The size of the answer to OPEN, or the negative errno."""
        request = f.open_request
        self.wait(lambda: request.state == "done", timeout, f"copen of {f}")
        return request.result

    def wait_complete(self, request, timeout=10):
        """The number of bytes of data at the start of READ's range when it was answered."""
        self.wait(lambda: request.state == "done", timeout, f"answer to {request}")
        return request.result

    def wait_taken(self, *requests, timeout=10):
        """Waits until the program has read these messages (no arguments: all)."""
        if requests:
            self.wait(lambda: all(r.state != "new" for r in requests), timeout, f"read() of {requests[0]}")
        else:
            self.wait(lambda: not self.queue, timeout, "read() of everything queued")

    def wait_closed(self, f, timeout=10):
        """Waits until the program has closed the file's descriptor."""
        self.wait(lambda: f.fd is None, timeout, f"close() of {f}")

    def wait_exit(self, timeout=10):
        self.wait(lambda: self.status is not None, timeout, "exit")
        return self.status

    def wait_log(self, pattern, timeout=10):
        """Waits until standard error has something that matches. Returns the match."""
        try:
            self.wait(lambda: re.search(pattern, self.stderr), timeout, f"log line /{pattern}/")
        except Timeout:
            if self.status is not None:
                self.wait_log_end()         # perhaps it is there by now
            if not re.search(pattern, self.stderr):
                raise
        return re.search(pattern, self.stderr)

    def wait_log_read(self):
        """Waits until all that was written so far is in `stderr`."""
        self.wait(lambda: fcntl.ioctl(self.process.stderr, termios.FIONREAD, bytes(4)) == bytes(4), 10, "the log")

    def wait_log_end(self):
        """After the exit: waits until all of standard error is in `stderr`."""
        self.threads[2].join(5)

    # -- looking ---------------------------------------------------------------------------------

    @property
    def stderr(self):
        return self.stderr_bytes.decode("utf-8", "replace")

    def cpu(self):
        """Seconds of the worker's processor time."""
        return time.clock_gettime((~self.worker << 3) | 2)

    def proc(self, name):
        """The file /proc/PID/NAME of the worker, once it serves."""
        self.wait(lambda: self.worker, 10, "a worker")
        with open(f"/proc/{self.worker}/{name}") as f:
            return f.read()

    def memory(self):
        """VmData, VmPeak, VmSize, VmRSS, VmLck… of the worker, in KiB."""
        return {k: int(v) for k, v in re.findall(r"(?m)^(\w+):\s+(\d+) kB$", self.proc("status"))}

    def fd_flags(self, fd):
        """Flags of a descriptor in the program, O_CLOEXEC among them."""
        return int(re.search(r"flags:\s+(\d+)", self.proc(f"fdinfo/{fd}"))[1], 8)

    def signal(self, number):
        self.process.send_signal(number)

    # -- the kernel's requests -------------------------------------------------------------------

    def open(self, volume, cookie, same=None, request=True):
        """OPEN of a cookie in a volume (str, without its NUL), once bound. `same`: a File whose backing file it shares.
        `request` False: no message."""
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

    def request_open(self, f):
        """The message for a file that open() has made without one."""
        with self.changed:
            self._queue_open(f)

    def opened(self, volume, cookie, timeout=10, **more):
        """open(), and its copen, which must be a size."""
        f = self.open(volume, cookie, **more)
        size = self.wait_copen(f, timeout)
        assert size >= 0, f"OPEN of {cookie!r} refused: {size}"
        return f

    def read(self, f, offset, length):
        """READ of a range of the file."""
        with self.changed:
            return self._enqueue(Request(READ, f, offset, length))

    def close(self, f):
        """CLOSE: the cookie is withdrawn, and the file's pending requests are given up
        (cachefiles_ondemand_clean_object())."""
        with self.changed:
            f.state = "dropping"
            for request in list(self.pending.values()):
                if request.file is f and request.opcode != CLOSE:
                    self._give_up(request)
            return self._enqueue(Request(CLOSE, f))

    def closed(self, f):
        """close(), and waits until the program has closed the file's descriptor."""
        self.close(f)
        self.wait_closed(f)

    def raw(self, message):
        """Any bytes as a message, once bound."""
        self.wait_bound()
        with self.changed:
            self.queue.append(bytes(message))
            self._wake()

    def read_error(self, number, request=None):
        """The next read() fails. `request` fails with it, as OPEN does when there is no descriptor for it
        (cachefiles_ondemand_daemon_read())."""
        with self.changed:
            self.queue.append((-number, request))
            if request in self.queue:
                self.queue.remove(request)
            self._wake()

    def deliver_again(self, request):
        """Delivers the same message once more, as "restore" does."""
        with self.changed:
            if request.state != "done":
                request.state = "new"
            self.queue.append(request)
            self._wake()

    def kill_reader(self, request):
        """The task that waited for READ is gone: the kernel drops the request (cachefiles_ondemand_send_req())."""
        with self.changed:
            self._give_up(request)

    def wake(self):
        """POLLIN without a message: read() will give 0."""
        with self.changed:
            os.write(self.device, struct.pack("=Q", 1))

    def die(self):
        """The cache is dead, as after cachefiles_io_error(): requests are flushed, read() gives 0, poll() nothing,
        write() EIO."""
        with self.changed:
            self.dead = True
            self._event("the cache dies")
            self.queue.clear()
            for request in list(self.pending.values()):
                self._give_up(request)
            self._settle()
