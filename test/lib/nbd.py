"""A kernel's network block devices, as far as a daemon sees them: drivers/block/nbd.c of Linux 6.1 to 7.3.

    with Nbd() as n:
        ...                                 # a program says CONNECT (lib/nbd_control.py) and serves
        r = n[0].read(4096, 8192)           # READ on /dev/nbd0
        n.wait_done(r); r.data

The devices outlive the programs that serve them. A test may leave the replies in the socket, or take them in pieces:
Device.let(), piece.
Events that no test may see are put on Nbd.violations; leaving the `with` looks at it.
"""
import collections
import errno
import os
import select
import shutil
import socket
import struct
import tempfile
import threading
import time

REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
TAGS = 128                      # requests of a device without an answer
SECTOR = 512


class Timeout(AssertionError):
    """A condition has not become true in its time."""


class Request:
    """One request. Its state is "waiting" (for a tag or a socket), "sent" or "done"."""

    def __init__(self, kind, offset, length):
        self.kind, self.offset, self.length = kind, offset, length
        self.state = "waiting"
        self.tag = self.handle = None
        self.link = None            # the socket on which it was sent
        self.timer = None           # when its timer fires
        self.error = None           # of the reply: 0 or an errno; EIO if the device fails it
        self.data = b""
        self.sendings = self.answers = 0
        self.began = time.monotonic()
        self.time = None            # of the answer

    def bytes(self):
        return struct.pack(">IIQQI", REQUEST_MAGIC, self.kind, self.handle, self.offset, self.length)

    def __repr__(self):
        what = f"request {self.kind} {self.offset}+{self.length} handle {self.handle or 0:#x}"
        return f"{what} ({self.state}, {self.error})"


class Link:
    """A socket that a program has given: the kernel's end."""

    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(True)
        self.dead = False

    def end(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Device:
    """/dev/nbdN.

    claimed     a mount, or another program, has it: O_EXCL fails
    hangs       its open() has no end
    piece       the most that is taken at once from the socket, with `pause` seconds in between
    """

    def __init__(self, driver, index):
        self.driver, self.index = driver, index
        self.claimed = self.hangs = False
        self.budget, self.piece, self.pause = None, 1 << 20, 0
        self.received = 0           # bytes of replies
        self.tags = [None] * TAGS
        self.cookies = [0] * TAGS
        self.waiting = collections.deque()
        self.folder = os.path.join(driver.sys, "devices/virtual/block", f"nbd{index}")
        os.makedirs(os.path.join(self.folder, "queue"))
        os.symlink(f"../devices/virtual/block/nbd{index}", os.path.join(driver.sys, "block", f"nbd{index}"))
        self.clear()

    def __repr__(self):
        return f"nbd{self.index}"

    def clear(self):
        """As it is without a configuration (nbd_config_put())."""
        self.size = self.block = self.pid = 0
        self.backend = None
        self.link = None
        self.bound = False          # NBD_RT_BOUND: it can be reconfigured
        self.publish()

    @property
    def connected(self):
        return self.link is not None

    def publish(self):
        """Its files below /sys/block, of which some are there while it is connected only."""
        files = {"size": self.size // SECTOR, "ro": int(self.connected), "pid": self.pid or None,
                 "backend": self.backend, "queue/io_timeout": 30000, "queue/logical_block_size": self.block or SECTOR}
        for name, value in files.items():
            path = os.path.join(self.folder, name)
            if value is None:
                if os.path.exists(path):
                    os.unlink(path)
                continue
            with open(path + ".new", "w") as file:
                file.write(f"{value}\n")
            os.rename(path + ".new", path)

    def let(self, count):
        """Takes only so many more bytes of replies from the socket; None: all."""
        with self.driver.changed:
            self.budget = count
            self.driver.changed.notify_all()

    def wait_let(self, timeout=10):
        """Waits until they have been taken."""
        self.driver.wait(lambda: self.budget == 0, timeout, f"{self}: the last of the bytes")

    # -- requests --------------------------------------------------------------------------------

    def read(self, offset, length):
        return self.ask(READ, offset, length)

    def ask(self, kind, offset, length):
        """Any request. It waits while all tags are taken, and for a socket while the one before is dead."""
        request = Request(kind, offset, length)
        with self.driver.changed:
            self.waiting.append(request)
            self._start()
        return request

    def again(self, request):
        """The same bytes once more, as no kernel does."""
        with self.driver.changed:
            self.raw(request.bytes())

    def raw(self, data):
        """Any bytes on the socket."""
        self.link.socket.sendall(data)

    def _start(self):
        while self.waiting and self.bound and None in self.tags:
            request = self.waiting.popleft()
            request.tag = self.tags.index(None)
            self.tags[request.tag] = request
            self._send(request)

    def _send(self, request):
        """Sends it, or lets it wait for RECONFIGURE (wait_for_reconnect())."""
        if self.link.dead:
            return
        self.cookies[request.tag] += 1
        request.handle = self.cookies[request.tag] << 32 | request.tag
        request.link, request.state = self.link, "sent"
        request.timer = time.monotonic() + self.driver.io_timeout
        request.sendings += 1
        self.driver.event(f"{self}: {request}")
        try:
            self.raw(request.bytes())
        except OSError:             # the thread that receives will see why
            request.link = None

    def fire(self, now):
        """The requests' timers with TIMEOUT 0 (nbd_xmit_timeout()): what went out on another socket is sent anew."""
        for request in self.tags:
            if request and request.timer and now >= request.timer:
                request.timer = now + self.driver.io_timeout
                if request.link is not self.link:
                    self._send(request)

    def _finish(self, request, error, data=b""):
        self.tags[request.tag] = None
        request.state, request.error, request.data = "done", error, data
        request.time = time.monotonic()
        self.driver.event(f"{self}: answer to {request}")
        self._start()
        self.driver.changed.notify_all()

    # -- replies ---------------------------------------------------------------------------------

    def connect(self, fd):
        """A socket, for a device without one or in place of one that is dead. The driver's lock is held."""
        if self.link:
            self.link.socket.close()
        self.link, self.bound = Link(fd), True
        threading.Thread(target=self._receive, args=(self.link,), daemon=True).start()
        for request in self.tags:
            if request and request.state == "waiting":
                self._send(request)
        self._start()

    def disconnect(self):
        """NBD_CMD_DISCONNECT. What waits fails, and the device is free when nobody has it open."""
        if not self.link.dead:
            try:
                self.link.socket.sendall(struct.pack(">IIQQI", REQUEST_MAGIC, DISC, 0, 0, 0))
            except OSError:
                pass
        self.link.end()
        self.link.dead = True
        self.bound = False
        for request in [*filter(None, self.tags), *self.waiting]:
            if request.tag is not None:
                self.tags[request.tag] = None
            request.state, request.error = "done", errno.EIO
        self.waiting.clear()
        if not self.claimed:
            self.clear()

    def _take(self, link, count):
        """The next bytes of the replies, as the budget lets them through."""
        out = bytearray()
        while len(out) < count:
            select.select([link.socket], [], [])
            with self.driver.changed:
                self.driver.changed.wait_for(lambda: self.budget is None or self.budget > 0 or link.dead)
                most = min(count - len(out), self.piece, count if self.budget is None else self.budget)
            part = link.socket.recv(most) if most > 0 else b""
            if not part:
                raise EOFError(len(out))
            out += part
            with self.driver.changed:
                self.received += len(part)
                if self.budget is not None:
                    self.budget -= len(part)
                self.driver.changed.notify_all()
            if self.pause:
                time.sleep(self.pause)
        return bytes(out)

    def _reply(self, link):
        """One reply. Returns whether the next one may come (nbd_read_reply(), nbd_handle_reply())."""
        magic, error, handle = struct.unpack(">IIQ", self._take(link, 16))
        with self.driver.changed:
            tag = handle & 0xFFFFFFFF
            request = self.tags[tag] if tag < TAGS else None
            if magic != REPLY_MAGIC:
                return self.driver.violation(f"{self}: a reply with the magic {magic:#x}")
            if not request or request.handle != handle or request.link is not link:
                return self.driver.violation(f"{self}: a reply to {handle:#x}, which does not wait: {request}")
            request.answers += 1
        data = self._take(link, request.length) if request.kind == READ and not error else b""
        with self.driver.changed:
            if link is self.link and self.tags[tag] is request:
                self._finish(request, error, data)
        return True

    def _receive(self, link):
        try:
            while self._reply(link):
                pass
        except EOFError as partial:
            if partial.args[0] and not link.dead and not self.driver.may_break:
                self.driver.violation(f"{self}: the socket has ended after {partial} bytes of a part of a reply")
        except OSError as error:
            if not link.dead:
                self.driver.event(f"{self}: {error}")
        ended = time.monotonic()            # the kernel sees the end a little later
        while time.monotonic() < ended + self.driver.notice:
            time.sleep(0.02)
        with self.driver.changed:
            if not link.dead:
                self.driver.event(f"{self}: the socket is dead")
            link.dead = True
            link.end()
            self.driver.changed.notify_all()


class Nbd:
    """The driver: devices by their number, and a folder in place of /sys.

    io_timeout  seconds until a request of a dead socket is sent anew (30 in a kernel)
    notice      seconds from the end of a socket to its being dead
    may_break   the socket may end within a reply: all processes are killed
    """

    def __init__(self, devices=4):
        self.changed = threading.Condition(threading.RLock())
        self.io_timeout, self.notice, self.may_break = 1.0, 0.05, False
        self.violations = []
        self.events = []            # (seconds, text)
        self.start_time = time.monotonic()
        self.sys = tempfile.mkdtemp(prefix="sys-")
        os.makedirs(os.path.join(self.sys, "block"))
        for name in ("loop0", "sda", "nbdx", "nbd99999999999"):         # neighbours, some without any file
            os.makedirs(os.path.join(self.sys, "devices/virtual/block", name))
            os.symlink(f"../devices/virtual/block/{name}", os.path.join(self.sys, "block", name))
        self.devices = [Device(self, index) for index in range(devices)]
        self.ended = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def __getitem__(self, index):
        return self.devices[index]

    def event(self, text):
        self.events.append((time.monotonic() - self.start_time, text))

    def violation(self, text):
        """Returns False."""
        self.violations.append(text)
        self.event(f"violation: {text}")
        return False

    def device(self, index, create=False):
        """The device of a number. `create` makes those that are missing; else None."""
        while create and index >= len(self.devices):
            self.devices.append(Device(self, len(self.devices)))
        return self.devices[index] if index < len(self.devices) else None

    def _tick(self):
        while not self.ended.wait(0.02):
            with self.changed:
                now = time.monotonic()
                for d in self.devices:
                    if d.bound:
                        d.fire(now)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.ended.set()
        with self.changed:
            for d in self.devices:
                if d.link:
                    d.link.dead = True
                    d.link.end()
            self.changed.notify_all()
        shutil.rmtree(self.sys, ignore_errors=True)
        if kind is None:
            self.check_clean()
        elif hasattr(error, "add_note"):
            error.add_note(self.report())

    def check_clean(self):
        if self.violations:
            mistake = AssertionError(f"{len(self.violations)} violations: {self.violations[0]}")
            mistake.add_note(self.report())
            raise mistake

    def report(self):
        lines = [f"{t:7.3f} {text}" for t, text in self.events[-40:]]
        return "\n".join(["events of the block devices:", *lines])

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, condition, timeout, what):
        """Waits until condition() is true; it is called whenever something changes here, and ten times a second."""
        end = time.monotonic() + timeout
        with self.changed:
            while not condition():
                left = end - time.monotonic()
                if left <= 0:
                    raise Timeout(f"{what}: not after {timeout} s")
                self.changed.wait(min(left, 0.1))

    def wait_done(self, *requests, timeout=20):
        for request in requests:
            self.wait(lambda r=request: r.state == "done", timeout, f"answer to {request}")

    def connected(self):
        return [d for d in self.devices if d.connected]

    def find(self, name):
        """The device whose backend is the image of that name; None."""
        for d in self.devices:
            if d.backend and d.backend.startswith(f"cachefilesd-mini:{name}:"):
                return d
        return None
