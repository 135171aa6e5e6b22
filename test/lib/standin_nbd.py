"""The stand-in for the kernel of a daemon whose front end is NBD, without such a kernel.

    with Nbd() as n, Server({"/img": data}) as s, NbdStandIn([daemon, "-n", "-s", "-o", "attach img", s.url], n) as k:
        d = k.attached("img")
        r = n.get(d, 4096, 8192)

The program is in a mount namespace of its own, whose /sys is that of lib/nbd.py: so root alone can start it. Its
netlink socket is one of this process (lib/nbd_control.py), as is /dev/nbdN.
"""
import contextlib
import errno
import os
import re
import signal
import socket
import sys

from lib import tap
from lib.nbd_control import Control
from lib.seccomp import MOUNTS, NO_ANSWER
from lib.standin import StandIn

NETLINK_GENERIC = 16
FSCONFIG_CREATE = 6
CACHE_FILE = re.compile(rb"[0-9a-f]+\.[0-9a-f]+")


class NbdStandIn(StandIn):
    """Runs `argv` with the devices `nbd`. Attributes as of StandIn, and:

    control     the netlink family (lib/nbd_control.py)
    cachefiles  whether there is a /dev/cachefiles
    mount_error (step, errno) of the attempt to mount: "fsopen", "fsconfig" or "create". A kernel with EROFS over
                fscache has ("create", ENOBUFS) before a cache is bound
    """

    def __init__(self, argv, nbd, cachefiles=False, mount_error=("create", errno.ENOBUFS), control=None, **more):
        if os.geteuid():
            raise tap.Skip("only root has a mount namespace")
        self.nbd = nbd
        self.control = control or Control(nbd)
        self.mount_error = mount_error
        self.mounting = set()               # descriptors of fsopen()
        self.cache_opens = []               # (pid, path, flags) of cache files
        self.netlink_fds = []               # their numbers in the program
        more.setdefault("open_error", 0 if cachefiles else errno.ENOENT)
        super().__init__(argv, **more)

    @staticmethod
    def further_calls():
        return [*MOUNTS, "socket", "bind"]

    def folders(self):
        return {"/sys": self.nbd.sys}

    # -- system calls ----------------------------------------------------------------------------

    def call(self, cookie, name, a):
        if name in ("open", "openat"):
            path, flags = (a[0], a[1]) if name == "open" else (a[1], a[2])
            return self._open(cookie, self.get_string(path), flags) or super().call(cookie, name, a)
        if name == "socket":
            return self._netlink(cookie, a[1], a[2])
        if name == "bind":                  # of a socket of ours that is none of netlink
            return 0 if self.get(a[1], 2) == socket.AF_NETLINK.to_bytes(2, sys.byteorder) else None
        if name == "fsopen":
            return self._fsopen(cookie, self.get_string(a[0]))
        if name == "fsconfig" and a[0] in self.mounting:
            step = "create" if a[1] == FSCONFIG_CREATE else "fsconfig"
            return -self.mount_error[1] if step == self.mount_error[0] else 0
        return super().call(cookie, name, a)

    def _open(self, cookie, path, flags):
        """None: as without NBD."""
        match = re.fullmatch(rb"(?:/dev/)?nbd(\d+)", path)     # from the folder /dev, or with it
        if match:
            device = self.nbd.device(int(match[1]))
            if not device:
                return -errno.ENOENT
            if device.hangs:
                return NO_ANSWER
            if flags & os.O_EXCL and device.claimed:
                return -errno.EBUSY
            source = os.open(os.devnull, os.O_RDONLY)
            try:
                return self.install(cookie, source, None, flags & os.O_CLOEXEC)
            finally:
                os.close(source)
        if CACHE_FILE.fullmatch(os.path.basename(path)):
            self.cache_opens.append((self.caller, path, flags))
            self.worker = self.caller
            self._event(f"process {self.caller} opens {path!r}, flags {flags:#o}")
        return None

    def _netlink(self, cookie, kind, protocol):
        if protocol != NETLINK_GENERIC:
            return None
        if kind & 15 != socket.SOCK_RAW:
            self.violation(f"a netlink socket of the type {kind:#x}")
        theirs = self.control.open()
        try:
            self.netlink_fds.append(self.install(cookie, theirs, None, kind & socket.SOCK_CLOEXEC))
            return self.netlink_fds[-1]
        finally:
            os.close(theirs)

    def _fsopen(self, cookie, kind):
        if kind != b"erofs" or self.mount_error[0] == "fsopen":
            return -self.mount_error[1] if kind == b"erofs" else -errno.ENODEV
        source = os.open(os.devnull, os.O_RDWR)
        try:
            fd = self.install(cookie, source, None, os.O_CLOEXEC)
        finally:
            os.close(source)
        self.mounting.add(fd)
        return fd

    # -- for the tests ---------------------------------------------------------------------------

    def children(self):
        """The keeper's processes: the worker, another one that prepares itself, one that holds the configuration."""
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as file:
                return [int(pid) for pid in file.read().split()]
        except FileNotFoundError:
            return []

    def signal(self, number):
        """To the keeper; SIGKILL to all, which stop first, so that none sees the end of another."""
        processes = [self.pid] + (self.children() if number == signal.SIGKILL else [])
        for one in [signal.SIGSTOP, number] if number == signal.SIGKILL else [number]:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, one)

    def stop(self, timeout=40):
        """Each device is looked at before the end."""
        return super().stop(timeout)

    def attached(self, name, timeout=30):
        """The device that the image gets."""
        self.wait(lambda: self.nbd.find(name), timeout, f"a device for {name}")
        return self.nbd.find(name)

    def cache_file(self):
        """The path of the last cache file that was opened, whose folder is that of the states."""
        name = os.path.basename(self.cache_opens[-1][1]).decode()
        return os.path.join(self.cache, "cachefilesd-mini", name)

    def check_clean(self):
        super().check_clean()
        self.nbd.check_clean()
