"""A kernel's cachefiles in on-demand mode, as far as a daemon sees it: /dev/cachefiles and cache files.

It follows fs/cachefiles/daemon.c (commands, poll, read), fs/cachefiles/ondemand.c (OPEN, copen, READ, CLOSE, reopen,
restore) and fs/cachefiles/io.c (writes) of Linux 6.12; `old` is a kernel before 6.8, and the layout "v8" that of the
patch series of 6 April 2022. The device's descriptor is an eventfd, so that poll() and epoll on it work by themselves;
a cache file's is a real file.
"""
import errno
import os
import re
import struct
import time

from lib.holes import data_ranges
from lib.machines import Target, pack
from lib.seccomp import DEVICE_FD, MEMORY, PAGE, Notified

DEVICE = "/dev/cachefiles"
OPEN, CLOSE, READ = 0, 1, 2
IOCTL_WHENCE = 0x98                 # of a lseek that stands for an ioctl: test/cross/calls.c
GONE = 0xFFFFFFFF                   # object id of a file whose descriptor is closed
LIMITS = {"brun": 7, "bcull": 5, "bstop": 1, "frun": 7, "fcull": 5, "fstop": 1}


class Request:
    """One request of the kernel. Its state is "new", "read" (by the program) or "done"."""

    def __init__(self, opcode, file, offset=0, length=0):
        self.opcode, self.file, self.offset, self.length = opcode, file, offset, length
        self.id = None
        self.state = "new"
        self.result = None          # OPEN: the size or -errno; READ: StandIn.wait_complete()
        self.flushed = False        # the kernel gave up on it
        self.deliveries = 0
        self.answers = 0
        self.time = None            # of the answer
        self.done_at_bytes = None   # READ: bytes of data in the whole file when it was answered

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
        self.fd = None              # its number in the program
        self.object_id = None
        self.state = "close"        # close, open, reopening, dropping
        self.size = None
        self.stored_size = None     # of an earlier run's cache file
        self.open_request = None
        self.held = []              # READs that wait for a reopen
        self.busy_writes = 0        # the number of writes that still fail with ENOBUFS
        self.writes = []            # (offset, length, returned)

    def __repr__(self):
        return f"{self.cookie!r}@{self.fd}#{self.number}"

    def bytes(self, offset, length):
        """The file's bytes there; holes and the bytes beyond its end are zeros."""
        return os.pread(self.own, length, offset).ljust(length, b"\0")

    def extents(self):
        """[(start, end)] of the bytes that the kernel takes for present."""
        return data_ranges(self.own)

    def filled(self, offset, length):
        """The number of bytes of data from `offset` on, at most `length`."""
        for start, end in self.extents():
            if start <= offset < end:
                return min(end, offset + length) - offset
        return 0

    def present(self):
        """The number of bytes of data in the whole file."""
        return sum(end - start for start, end in self.extents())


class Kernel(Notified):
    """The device and its cache. Attributes as lib.standin.StandIn describes them."""

    def __init__(self, layout, old, open_error, bind_error, window, release):
        super().__init__()
        self.layout, self.old, self.window = layout, old, window
        self.open_error, self.bind_error, self.release = open_error, bind_error, release
        self.on_write = None
        self.device = None          # this process's end of the eventfd, once opened
        self.device_open = False
        self.bound = False
        self.dead = False
        self.commands = []          # (text, errno) as written to the device
        self.settings = dict(LIMITS)
        self.queue = []             # for read(), in order: Request, bytes, -errno, (-errno, Request)
        self.pending = {}           # id: Request without an answer, read or not
        self.answered = {}          # id: Request; tells a second answer from a wrong one
        self.next_id = 0
        self.next_object = 1
        self.by_fd = {}             # descriptor in the program: File
        self.events = []            # (seconds, text)
        self.violations = []
        self.memory_calls = []
        self.device_reads = 0
        self.device_writes = 0
        self.closings = []          # descriptors in the order of close()
        self.worker = None          # the pid that serves the device
        self.start_time = time.monotonic()

    # -- requests --------------------------------------------------------------------------------

    def message(self, request):
        """The bytes of the message of a request, as this kernel would send it now."""
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
                body += pack("II", f.fd if f.fd is not None else GONE, 0)[:8 if Target.padded else 4]
        if mainline:
            object_id = f.object_id if f.object_id is not None else GONE
            return pack("IIII", request.id, request.opcode, 16 + len(body), object_id) + body
        return pack("III", request.id, request.opcode, 12 + len(body)) + body

    def _event(self, text):
        self.events.append((time.monotonic() - self.start_time, text))

    def violation(self, text):
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
        """A new edge, even if POLLIN is there already."""
        if self.device is not None:
            os.write(self.device, struct.pack("=Q", 1))

    def _settle(self):
        """Takes POLLIN away if no request keeps it (cachefiles_daemon_poll())."""
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
        if request in self.queue:                           # delivered again and answered before
            self.queue.remove(request)
        self.answered[request.id] = request
        request.answers += 1
        request.state, request.result = "done", result
        request.time = time.monotonic()
        self._event(f"answer to {request}")
        self._settle()
        self.changed.notify_all()

    # -- system calls ----------------------------------------------------------------------------

    def call(self, cookie, name, a):
        """lib.seccomp.Notified has the meaning of the value."""
        if name in ("open", "openat"):
            path, flags = (a[0], a[1]) if name == "open" else (a[1], a[2])
            if self.get_string(path) == DEVICE.encode():
                return self._open_device(cookie, flags)
            return None
        if name in MEMORY:
            if self.caller == self.worker:
                self.memory_calls.append(f"{name}({', '.join(hex(x) for x in a)})")
            return None
        if name == "uname":
            fields = list(os.uname())
            fields[2] = self.release
            self.put(a[0], b"".join(x.encode()[:64].ljust(65, b"\0") for x in fields + ["(none)"]))
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

    # -- the device ------------------------------------------------------------------------------

    def _open_device(self, cookie, flags):
        if self.open_error:
            return -self.open_error
        if self.device_open or self.by_fd:
            return -errno.EBUSY
        if self.device is not None:
            os.close(self.device)
        self.device = eventfd()
        self.install(cookie, self.device, DEVICE_FD, flags & os.O_CLOEXEC)
        self.device_open = True
        self.bound, self.dead = False, False
        self.settings = dict(LIMITS)
        self._event(f"open, flags {flags:#o}")
        if flags & os.O_ACCMODE != os.O_RDWR:
            self.violation(f"device opened with flags {flags:#o}, not O_RDWR")
        return DEVICE_FD

    def _device_call(self, cookie, name, a):
        if name == "close":
            if self.caller == self.pid:         # the other processes have copies
                self._close(DEVICE_FD)
            return None
        if name == "read":
            self.device_reads += 1
            return self._device_read(cookie, a[1], a[2])
        if name == "write":
            self.device_writes += 1
            if a[2] > PAGE - 1:
                return -errno.EOPNOTSUPP
            data = self.get(a[1], a[2])
            value = self._command(data)
            self.commands.append((data.split(b"\n")[0].decode("utf-8", "replace"), -value))
            self._event(f"command {data!r}: {errno.errorcode.get(-value, 'done')}")
            return value or len(data)
        if name == "ioctl":
            return -errno.ENOTTY
        if name == "lseek":
            return 0
        if name in ("dup", "dup2", "dup3") or name == "fcntl" and a[1] in (0, 1030):
            self.violation(f"{name} of the device: the stand-in cannot follow it")
            return -errno.EMFILE
        return None if name == "fcntl" else -errno.EINVAL

    def _take_worker(self):
        """Closes the cache files of the worker before, which has ended with its descriptors."""
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
                self.put(address, item)
                return len(item)
            f = item.file
            if item.opcode == READ and f.state in ("close", "reopening") and not self.old:
                self.queue.remove(item)                     # until the reopen is answered
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
            self.violation(f"read() with a buffer of {count} bytes")
            return -errno.EMSGSIZE
        if request.opcode == OPEN:
            self.next_object += 1
            source = os.open(f.path, os.O_WRONLY)
            try:
                self.install(cookie, source, fd, 0)
            finally:
                os.close(source)
            self.by_fd[fd] = f
        self.put(address, message)
        self.queue.remove(request)
        request.deliveries += 1
        if request.state == "new":
            request.state = "read"
        if request.opcode == CLOSE:                         # read() completes it
            self._answer(request, 0)
        self._event(f"read(): {request}")
        self._settle()
        return len(message)

    def _command(self, data):
        """A command's 0 or -errno (cachefiles_daemon_write())."""
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
        if not self.bound and word != "restore":
            self.violation(f"unknown command before bind: {text!r}")
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
                self.violation("bind without ondemand")
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
        """cachefiles_ondemand_copen()."""
        id_text, comma, size_text = rest.partition(",")
        identity = number(id_text, False)
        if not comma or identity is None:
            self.violation(f"copen {rest!r}")
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
            self.violation(f"copen {rest!r}")
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
        """READs that waited for a reopen go on; after a refusal they cause the next one (ondemand_object_worker())."""
        held, f.held = f.held, []
        if held and not well:
            f.state = "close"
        for request in held:
            self.queue.append(request)
            self._wake()

    def _late(self, what, identity, opcode):
        """An answer for which no request waits: normal after a flush, wrong as a second one."""
        before = self.answered.get(identity)
        self._event(f"{what} {identity}: nothing waits for it")
        if before is not None and before.opcode == opcode and before.answers >= before.deliveries:
            self.violation(f"{what}: {before} answered twice")

    def _device_closed(self):
        self.device_open = False
        self.closings.append(DEVICE_FD)
        self.bound = False
        self.queue.clear()
        for request in list(self.pending.values()):         # cachefiles_daemon_release()
            self._give_up(request)

    # -- cache files -----------------------------------------------------------------------------

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
            if self.old:                                    # from 6.8 on the READs cause a reopen instead
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
            vector = struct.unpack(f"={a[2] * 2}Q", self.get(a[1], a[2] * 16))
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
            self.violation("write() on a cache file, not pwrite()")
            return -errno.EINVAL
        if name in ("dup", "dup2", "dup3") or name == "fcntl" and a[1] in (0, 1030):
            self.violation(f"{name} of a cache file: the stand-in cannot follow it")
            return -errno.EMFILE
        if name == "fallocate":
            return -errno.ENODEV
        if name in ("fsync", "fdatasync", "ftruncate", "sendfile"):
            return -errno.EINVAL
        return None

    @staticmethod
    def _published(f):
        """Whether the file can be written: not before the kernel has taken copen (object->file is NULL then); a
        reopened one always."""
        if f.state in ("dropping",) or f.size is None:
            return False
        if f.busy_writes > 0:
            f.busy_writes -= 1
            return False
        return True

    def _write(self, f, vector, offset):
        """cachefiles_ondemand_fd_write_iter()."""
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
            self.violation(f"pwrite of {length} bytes")
            return -errno.EINVAL
        if any(address % PAGE for address, _ in vector):
            self.violation(f"pwrite from {vector[0][0]:#x}")
            return -errno.EINVAL
        if offset < 0:
            return -errno.EINVAL
        if offset % PAGE:
            self.violation(f"pwrite at {offset}")
            if not self.old:
                return -errno.ENOBUFS
            offset -= offset % PAGE
        asked = self.on_write(f, offset, length) if self.on_write else None
        if asked is not None and asked <= 0:
            return asked
        data = b"".join(self.get(address, n) for address, n in vector)
        if asked is not None:
            data = data[:asked]
        try:
            os.pwrite(f.own, data, offset)
        except OSError as error:                            # EFBIG, or our disk is full
            return -error.errno
        return length if asked is None else asked

    def _complete(self, f, command, identity):
        """The ioctl by which READ is completed (cachefiles_ondemand_fd_ioctl())."""
        if command != Target.read_complete:
            self.violation(f"ioctl {command:#x} on a cache file")
            return -errno.EINVAL
        request = self.pending.get(identity)
        if request is None or request.opcode != READ:
            self._late("ioctl", identity, READ)
            return -errno.EINVAL
        if request.file is not f or not request.deliveries:
            self.violation(f"{request} completed on {f}")
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
