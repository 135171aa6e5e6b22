"""The common part of the scenarios: their registration, the daemon with its server, the checks of READs.

A scenario starts its own servers and its own daemon against the stand-in for /dev/cachefiles (test/lib/standin.py). It
ends by SIGTERM, on which the daemon must exit with 0 and without anything on StandIn.violations.
"""
import contextlib
import errno
import glob
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from lib.cachefiles import CLOSE, OPEN, READ
from lib.find import TOP
from lib.httpserver import Server, image
from lib.machines import Target, pack
from lib.seccomp import PAGE
from lib.standin import StandIn

KIB, MIB = 1024, 1024 * 1024

SCENARIOS = []          # (name, function, arguments)


class Program:
    """The program under test, as test/scenarios/run sets it."""
    path = None
    has_sanitizers = False

    @classmethod
    def run(cls, *words):
        """Runs it outside the stand-in. Returns its exit status, output and errors."""
        done = subprocess.run([*Target.emulator, cls.path, *words], capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout, done.stderr


def choose_folder():
    """Temporary files lie in memory if there is room: a disk's file system may report a hole for a moment where data
    are being written back."""
    if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 1024 * MIB:
        tempfile.tempdir = "/dev/shm"


def scenario(function):
    """Decorator: one scenario, called as its function."""
    SCENARIOS.append((function.__name__, function, ()))
    return function


def each(*values):
    """Decorator: one scenario for each value, the function's argument."""
    def decorate(function):
        for value in values:
            SCENARIOS.append((f"{function.__name__} ({value})", function, (value,)))
        return function
    return decorate


def takes_long(function):
    """Decorator: these scenarios begin first, since they take longest."""
    function.is_slow = True
    return function


# -- the daemon and its numbers ------------------------------------------------------------------

def constant(name):
    """The value of a #define of the daemon's source."""
    values = set()
    for path in glob.glob(f"{TOP}/../*.[ch]") + glob.glob(f"{TOP}/../*/*.[ch]"):
        with open(path) as file:
            values.update(re.findall(rf"(?m)^#define {name}\s+(\d+)", file.read()))
    value, = values
    return int(value)


def limit(table):
    """The size of a table as --version prints it: "connections", "open images", "waiting READs"."""
    return int(re.search(rf"(\d+) {table}", Program.run("--version")[1])[1])


def daemon(url, *directives, options=(), traced=False, program=None, **more):
    """The daemon in the stand-in, with an empty directory. It requests no trace, which the server's script would not
    expect, unless `traced` or a directive says so; and its sockets are not those of the whole machine."""
    argv = [program or Program.path, "-n", "-s", "--force", *options]
    return StandIn(argv + words(*directives, traced=traced) + [url.url if isinstance(url, Server) else url], **more)


def words(*directives, traced=False):
    """The options of a daemon with these directives, and of those that are always given."""
    always = [] if traced else ["trace none"]
    for directive in (*always, "status none", "control none", "dir {cache}"):
        if not any(d.startswith(directive.split()[0] + " ") for d in directives):
            directives = (directive, *directives)
    return [x for d in directives for x in ("-o", d)]


@contextlib.contextmanager
def serving(data, *directives, knobs=None, **more):
    """A server with the image /img, a daemon, and the file that it has opened for the image."""
    with Server({"/img": data}, **(knobs or {})) as s, daemon(s, *directives, **more) as k:
        yield s, k, k.opened("erofs,img", b"img")


def kill_worker(k, number=signal.SIGKILL, timeout=30):
    """Kills the worker and waits until another one serves."""
    before = k.worker
    os.kill(before, number)
    k.wait(lambda: k.worker != before, timeout, "another worker")


def reload(k):
    """Sends SIGHUP and waits until another worker serves."""
    before = k.worker
    k.signal(signal.SIGHUP)
    k.wait(lambda: k.worker != before, 30, "another worker")


def still_serves(k, server, name="after"):
    """Demands that a new image opens, reads and closes."""
    data = image(name, 20000)
    server.images[f"/{name}"] = data
    f = k.opened("erofs," + name, name.encode())
    need(k, f, data, 4096, 8192)
    k.closed(f)


# -- sizes and bytes -----------------------------------------------------------------------------

def fnv(text):
    """FNV-1a, 64 bits."""
    value = 14695981039346656037
    for byte in text.encode("latin-1"):
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return value


def reported(data, etag=None, modified="Wed, 06 Apr 2022 07:55:52 GMT"):
    """The size of an image that is reported to the kernel: its own and a hash of its version (image/state.h)."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"' if etag is None else etag
    version = etag if etag.startswith('"') else etag + modified
    return len(data) + (1 + fnv(version) % ((1 << 24) - 1) if version else 0)


def large(name, size):
    """Like image(), but made quickly: random bytes of this size would take a second, in which no other scenario goes
    on. The bytes repeat, but no two pages are alike."""
    part = image(name, MIB + 12345)
    return (part * (size // len(part) + 1))[:size]


def padded(data, start, end):
    """The image's bytes as the cache file has them: zeros behind its end."""
    return data[start:end].ljust(end - start, b"\0")


def check(f, data):
    """Demands that no byte that is present is wrong."""
    for start, end in f.extents():
        have, want = f.bytes(start, end - start), padded(data, start, end)
        if have != want:
            at = next(i for i in range(len(have)) if have[i] != want[i])
            raise AssertionError(f"wrong byte at {start + at} of {f} (present: {start}-{end})")


# -- OPEN and READ -------------------------------------------------------------------------------

def need(k, f, data, offset, length, timeout=10):
    """READ. Demands that it is answered with all the image's bytes of the range, and that no byte is wrong."""
    r = k.read(f, offset, length)
    got(k, r, data, timeout)
    return r


def got(k, r, data, timeout=10):
    """Waits for a READ and demands the same as need()."""
    have = k.wait_complete(r, timeout)
    assert not r.flushed, f"{r} was flushed"
    want = max(0, min(r.length, len(data) - r.offset))
    assert have >= want, f"{r}: {have} bytes there, not {want}"
    check(r.file, data)
    return r


def recovers(k, f, data, offset, length, timeout=15):
    """need() after a failure. One more READ may fail: it may meet the end of an old attempt."""
    end = time.monotonic() + timeout
    while k.wait_complete(k.read(f, offset, length), timeout) < min(length, len(data) - offset):
        assert time.monotonic() < end, f"READs still fail {timeout} s after the server is back"
        time.sleep(0.2)
    check(f, data)


def fails(k, f, offset, length, timeout):
    """READ. Demands that it is answered without any data."""
    have = k.wait_complete(k.read(f, offset, length), timeout)
    assert have == 0, f"{have} bytes there"


def touch(k, f, data, offset, length, timeout=20):
    """Reads as a program does: the kernel sends a READ only for uncached bytes. Returns whether it did."""
    if f.filled(offset, length) >= min(length, len(data) - offset):
        return False
    r = k.read(f, offset, length)
    assert k.wait_complete(r, timeout) >= min(length, len(data) - offset), r
    return True


def prefilled(k, volume, cookie, data, *ranges):
    """OPEN of a cache file in which an earlier session has cached these ranges."""
    f = k.open(volume, cookie, request=False)
    os.ftruncate(f.own, (len(data) + PAGE - 1) // PAGE * PAGE)
    for start, end in ranges:
        os.pwrite(f.own, padded(data, start, end), start)
    k.request_open(f)
    assert k.wait_copen(f) == reported(data)
    return f


def refused(k, f, *numbers, timeout=10):
    """Demands that OPEN is answered with one of these errnos (none given: any), and the descriptor closed."""
    size = k.wait_copen(f, timeout)
    assert size < 0, f"OPEN of {f.cookie!r} accepted with size {size}"
    if numbers:
        assert -size in numbers, f"OPEN of {f.cookie!r} refused with {errno.errorcode.get(-size)}"
    k.wait_closed(f, 5)


# -- messages ------------------------------------------------------------------------------------

def open_message(k, identity, fd, volume, cookie, **wrong):
    """An OPEN. Any of its fields may be another: volume_size, cookie_size, length, flags, opcode."""
    volume_size, cookie_size = wrong.get("volume_size", len(volume)), wrong.get("cookie_size", len(cookie))
    body = pack("IIII", volume_size, cookie_size, fd, wrong.get("flags", 0)) + volume + cookie
    return header(k, identity, wrong.get("opcode", OPEN), len(body), 77, **wrong) + body


def header(k, identity, opcode, body, object_id, **wrong):
    size = 16 if k.layout == "mainline" else 12
    words = [identity, opcode, wrong.get("length", size + body)] + ([object_id] if size == 16 else [])
    return pack(f"{len(words)}I", *words)


def read_message(k, identity, handle, offset, length):
    body = pack("QQ", offset, length) + (b"" if k.layout == "mainline" else pack("II", handle, 0))
    return header(k, identity, READ, len(body), handle) + body


def close_message(k, identity, handle):
    body = b"" if k.layout == "mainline" else pack("I", handle)
    return header(k, identity, CLOSE, len(body), handle) + body


# -- the server's log ----------------------------------------------------------------------------

def after_the_probe(**knobs):
    """A Server.rule: these knobs, but not for the request of a few pages by which OPEN finds the size."""
    return lambda r: knobs if not r.range or r.range[0] > 0 or r.range[1] is None or r.range[1] >= 65536 else {}


def spans(server, path="/img"):
    """[start, end) of the requests for the image, without the first one, which only finds its size."""
    asked = [r for r in server.requests if r.path == path and r.range]
    return [(r.range[0], r.range[1] + 1) for r in asked[1:]]


def all_once(server, path="/img"):
    """Demands that no byte was requested twice. Returns the number of bytes requested."""
    ranges = sorted(spans(server, path))
    twice = [(a, b) for a, b in zip(ranges, ranges[1:]) if b[0] < a[1]]
    assert not twice, f"{len(twice)} overlapping requests of {len(ranges)}: {twice[:3]}"
    return sum(b - a for a, b in ranges)


def joined(ranges):
    """The ranges; those that follow each other without a gap are one."""
    out = []
    for a, b in ranges:
        if out and out[-1][1] == a:
            a = out.pop()[0]
        out.append((a, b))
    return out


def quiet(server, looks=20, timeout=15):
    """Waits until all requested bytes have been sent, and no new request comes. It counts looks: seconds would include
    those in which the whole machine stands still."""
    end = time.monotonic() + timeout
    before, same = None, 0
    while same < looks:
        now = (len(server.requests), sum(r.sent for r in server.requests))
        before, same = now, same + 1 if now == before else 0
        assert time.monotonic() < end, f"still asks after {timeout} s: {server.requests[-1]}"
        time.sleep(0.02)
