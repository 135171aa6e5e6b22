"""The common part of the scenarios of the second front end: the daemon with its devices, the checks of READs."""
import contextlib
import os
import random
import signal
import threading
import time

from lib.nbd import Nbd
from lib.standin_nbd import NbdStandIn
from scenarios.common import KIB, Program, Server, padded, words

SECTOR = 512


def blocks(url, n, *directives, attach=("img",), options=(), traced=False, force=False, program=None, prefix=(),
           stand_in=NbdStandIn, **more):
    """The daemon with `attach` lines of these images, in the stand-in with the devices `n`, and an empty directory.
    `prefix`: words of a program that becomes it."""
    argv = [*prefix, program or Program.path, "-n", "-s", *(["--force"] if force else []), *options]
    directives = (*directives, *(f"attach {name}" for name in attach))
    argv += words("control {cache}/control", *directives, traced=traced)
    return stand_in(argv + [url.url if isinstance(url, Server) else url], n, **more)


@contextlib.contextmanager
def attached(data, *directives, knobs=None, **more):
    """A server with the image /img, a daemon, and the device of the image."""
    with Nbd() as n, Server({"/img": data}, **(knobs or {})) as s, blocks(s, n, *directives, **more) as k:
        yield s, k, k.attached("img")


def whole(data):
    """The size of the device of an image."""
    return (len(data) + 4095) // 4096 * 4096


# -- READ ----------------------------------------------------------------------------------------

def right(r, data):
    """Demands that an answered READ has the image's bytes, and zeros behind its end."""
    assert r.error == 0, f"{r}: error {r.error}"
    want = padded(data, r.offset, r.offset + r.length)
    if r.data != want:
        at = next((i for i in range(len(want)) if r.data[i:i + 1] != want[i:i + 1]), len(want))
        raise AssertionError(f"{r}: {len(r.data)} bytes, wrong from {r.offset + at} on")


def got(d, r, data, timeout=20):
    """Waits for READs, and demands that they are right."""
    for one in r if isinstance(r, list) else [r]:
        d.driver.wait_done(one, timeout=timeout)
        right(one, data)


def need(d, data, offset, length, timeout=20):
    """READ. Demands that it is answered, and right."""
    r = d.read(offset, length)
    got(d, r, data, timeout)
    return r


def fails(d, offset, length, timeout=20):
    """READ. Demands that it fails."""
    r = d.read(offset, length)
    d.driver.wait_done(r, timeout=timeout)
    assert r.error, f"{r} has not failed"


def recovers(d, data, offset, length, timeout=15):
    """need() after a failure: READs may fail for a while."""
    end = time.monotonic() + timeout
    while True:
        r = d.read(offset, length)
        d.driver.wait_done(r, timeout=timeout)
        if not r.error:
            return right(r, data)
        assert time.monotonic() < end, f"READs still fail after {timeout} s: {r}"
        time.sleep(0.2)


class Load:
    """Reads at random places, `depth` at once, from a thread, while the `with` lasts. Each must be right."""

    def __init__(self, d, data, seed=1, depth=16, largest=128 * 1024):
        self.d, self.data, self.depth, self.largest = d, data, depth, largest
        self.random = random.Random(f"load {seed}")
        self.done, self.wrong, self.longest = 0, None, 0.0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _ask(self):
        length = self.random.randrange(1, self.largest // SECTOR + 1) * SECTOR
        return self.d.read(self.random.randrange(0, self.d.size - length + 1) // SECTOR * SECTOR, length)

    def _run(self):
        try:
            waiting = []
            while waiting or not self.stopped.is_set():
                while len(waiting) < self.depth and not self.stopped.is_set():
                    waiting.append(self._ask())
                r = waiting.pop(0)
                self.d.driver.wait_done(r, timeout=40)
                right(r, self.data)
                self.done += 1
                self.longest = max(self.longest, r.time - r.began)
        except AssertionError as wrong:
            self.wrong = wrong

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stopped.set()
        self.thread.join(60)
        if kind is None and self.wrong:
            raise self.wrong
        assert kind or not self.thread.is_alive(), "READs without an end"


# -- the daemon's processes ----------------------------------------------------------------------

def kill_worker(k, number=signal.SIGKILL, timeout=30):
    """Kills the worker and waits until another one has opened a cache file."""
    before = k.worker
    with contextlib.suppress(ProcessLookupError):       # another one is about to take its place
        os.kill(before, number)
    k.wait(lambda: k.worker != before, timeout, "another worker")


def kill_all(k):
    """Kills every process, as the kernel does when memory is short, and waits until the kernel has seen it."""
    k.expect_exit = None
    k.nbd.may_break = True
    k.signal(signal.SIGKILL)
    k.wait_exit()
    for d in k.nbd.connected():
        d.let(None)
        k.nbd.wait(lambda d=d: d.link.dead, 10, f"the end of the socket of {d}")
    k.nbd.may_break = False


def reload(k):
    """Sends SIGHUP and waits until the new configuration is in force."""
    k.wait_log_read()       # --attach has the configuration read too
    before = k.stderr.count("reloaded: ")
    k.signal(signal.SIGHUP)
    k.wait(lambda: k.stderr.count("reloaded: ") > before, 30, "a reload")


def tool(k, option, *arguments):
    """Runs --attach or --detach with the daemon's control socket. Returns its exit status, output and errors."""
    k.wait(lambda: os.path.exists(f"{k.cache}/control"), 10, "the control socket")
    done = Program.run("-f", "/dev/null", "-o", f"control {k.cache}/control", option, *arguments)
    k.nbd.event(f"{option} {' '.join(arguments)}: {done}")
    return done


def disconnected(k):
    """Ends the daemon, and demands that no device is left."""
    assert k.stop(40) == 0, k.status
    assert not k.nbd.connected(), k.nbd.connected()


# Places in which libblkid looks for signatures, (KiB, KiB): the latter ones from the end. They are all, as strace
# shows with util-linux 2.38, but for 80 KiB at 176 and the one of md_place().
PROBED = [(0, 176), *((at, 4) for at in (256, 512, 1024, 2048, 4096, -4, -8, -32, -128, -132, -200, -296, -340, -368,
                                         -456, -476, -488, -496, -1544))]


def md_place(size):
    return size // 65536 * 65536 - 65536


def read_as_blkid(d, data):
    """READs what libblkid reads of a device. Returns how many bytes that is."""
    places = {d.size + start * KIB if start < 0 else start * KIB for start, _ in PROBED[1:]} | {md_place(d.size)}
    for at in sorted(places):
        need(d, data, at, 4096)
    need(d, data, 0, 128 * KIB)
    need(d, data, 128 * KIB, 128 * KIB)
    return 4096 * len(places) + 256 * KIB


def both_ends(server, data, path="/img"):
    """Whether that has been fetched which udev will read."""
    asked = [(r.range[0], r.range[0] + r.sent) for r in server.requests if r.path == path and r.range]
    size = whole(data)
    places = [(size + start * KIB if start < 0 else start * KIB, length * KIB) for start, length in PROBED]
    return all(any(a <= at < b for a, b in asked) for start, length in places
               for at in range(start, min(start + length, len(data)), 4096) if 0 <= start)
