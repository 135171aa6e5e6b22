#!/usr/bin/python3
"""A fleet of devices that boot behind one line, without a cache and with those of docs/fleet.md.

    test/fleet/test_fleet.py [--short] [-k WORD] [--devices N] [CLIENT]      (default: ./cachefilesd-mini, 50 devices)

A device is our daemon with a stand-in for its kernel; it replays the READs of a boot. The origin is an nginx behind a
line that all share. The caches have the document's configurations. Prints TAP and the document's tables. `--short`: few
devices, a small image, nginx alone.
"""
import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from fleet import boot, caches, devices
from fleet.link import Link
from lib import httpserver, nginx, tap
from lib.ports import free_port
from scenarios.common import Program, check, choose_folder, daemon

RTT, RATE = 0.020, 100e6 / 8 * 0.956        # a link of 100 Mbit/s, less what TCP and IP take
APART = 0.5                                 # seconds from device to device, where they are switched on in turn
FEW = 4                                     # devices are enough where nothing is measured
OUTAGE = 3.0                                # seconds
WINDOW = 0.05                               # seconds, in which attempts are counted
PIECES = [1 << n for n in range(16, 23)]    # bytes
MB = 1e6


class Site:
    """An origin that has the image, and the line to it."""

    def __init__(self, folder, files, touched):
        self.folder = folder
        self.caches = 0
        os.makedirs(f"{folder}/www")
        self.reads = boot.make(folder, files, touched)
        with open(f"{folder}/image", "rb") as file:
            self.data = file.read()
        os.remove(f"{folder}/image")
        shutil.rmtree(f"{folder}/tree")
        self.put(self.data, 1e9)
        os.makedirs(f"{folder}/origin")
        self.origin = nginx.Nginx(f"{folder}/origin", "$uri $status $body_bytes_sent $http_range")
        self.port = free_port()
        self.link = Link(self.port, RTT, RATE)
        self.url = f"http://127.0.0.1:{self.link.port}/"

    def __enter__(self):
        self.origin.start(f"server {{ listen 127.0.0.1:{self.port}; root {self.folder}/www; }}", [self.port])
        self.link.__enter__()
        return self

    def __exit__(self, *_):
        self.link.__exit__()
        self.origin.kill()

    def cache(self, kind):
        """A new one, empty."""
        self.caches += 1
        return kind(f"{self.folder}/{self.caches}", self.link.port) if kind else contextlib.nullcontext()

    def put(self, data, modified, name="image"):
        """A file on the origin, and when it was modified."""
        new = f"{self.folder}/www/new"
        with open(new, "wb") as file:
            file.write(data)
        os.utime(new, (modified, modified))
        os.rename(new, f"{self.folder}/www/{name}")

    def put_trace(self, wanted):
        trace = f"{self.folder}/www/image.trace"
        if wanted:
            self.put("".join(f"{at} {size}\n" for at, size in self.reads).encode(), 1e9, "image.trace")
        elif os.path.exists(trace):
            os.remove(trace)

    def told(self, cache):
        """How a device is told to use it: the url that is asked first, and directives."""
        if not cache:
            return self.url, []
        if cache.is_proxy:
            return self.url, [f"proxy http://127.0.0.1:{cache.port}"]
        return f"http://127.0.0.1:{cache.port}/", [f"url {self.url}", *cache.directives]

    def boot(self, cache, count, apart=0, **more):
        """Boots the fleet. Returns its Figures."""
        before = len(self.origin.lines())
        url, directives = self.told(cache)
        found = devices.run(devices.Job(url, self.data, self.reads, apart, directives, **more), count)
        return Figures(found, self.origin.lines()[before:], len(self.data))


class Figures:
    """What became of the devices, and what the origin was asked for meanwhile."""

    def __init__(self, found, lines, size):
        self.found, self.size = found, size
        self.ranges = [line[3] for line in lines if line[0] == "/image"]
        self.traces = sum(line[0] == "/image.trace" for line in lines)
        self.origin = sum(int(line[2]) for line in lines if line[0] == "/image")
        self.seconds = [one["seconds"] for one in found]

    def sum(self, name):
        return int(sum(one[name] for one in self.found))

    def row(self):
        hits = max(0, 1 - self.origin / self.sum("received"))
        return (f"{self.origin / MB:.1f} | {self.origin / self.size:.2f} | {len(self.ranges)} | {self.traces} | "
                f"{100 * hits:.1f} % | {statistics.median(self.seconds):.1f} | {max(self.seconds):.1f}")

    def pieces(self):
        """Rows: what a cache would fetch that has the ranges as they are, or pieces of the image of some sizes."""
        asked = [tuple(map(int, re.findall(r"\d+", text))) for text in self.ranges]
        once = set(asked)
        total = sum(last + 1 - first for first, last in once)
        yield f"| the ranges | {total / MB:.1f} | {len(asked) / len(once):.1f} |"
        for size in PIECES:
            touched = [range(first // size, last // size + 1) for first, last in asked]
            count, once = sum(map(len, touched)), set().union(*touched)
            yield f"| {size >> 10} KiB | {len(once) * size / MB:.1f} | {count / len(once):.1f} |"

    def check(self, patient=False):
        """Demands that each device has the image's bytes, and unless it is patient at the first attempt."""
        assert not self.sum("wrong"), f"wrong bytes of {self.sum('wrong')} READs"
        assert patient or not self.sum("failures"), f"{self.sum('failures')} failed attempts"


# ---- tests ----

def boots(site, kind, apart, count, rows):
    site.put_trace(kind and kind.trace)
    with site.cache(kind) as cache:
        cold = site.boot(cache, count, apart)
        how = "alone" if count == 1 else "in turn" if apart else "at once"
        rows.append(f"| {kind.name if kind else 'none'} | {how} | {cold.row()} |")
        cold.check(kind and kind.is_whole)
        if not cache:
            tap.note("\n".join(cold.pieces()))
            return
        assert cold.origin < 1.05 * len(site.data), f"{cold.origin} bytes of the image came from the origin"
        assert len(set(cold.ranges)) == len(cold.ranges), "the origin was asked twice for the same bytes"
        warm = site.boot(cache, min(count, FEW))
        warm.check()
        assert not warm.ranges and not warm.traces, "the origin was asked for what is in the cache"


def survives(site, kind, count):
    """The cache dies in the middle of the boot; the origin is the second url line."""
    with site.cache(kind) as cache:
        figures = site.boot(cache, count, halfway=lambda: cache.signal(signal.SIGKILL))
    figures.check(patient=True)
    assert figures.sum("failures"), "no device has noticed"


def is_replaced(site, kind):
    """The cache goes on with the old version, or READs fail; the bytes are never mixed."""
    half = len(site.reads) // 2
    results = []
    # nginx says nothing to what it has parts of: then each READ takes all of its time.
    timeout = f"timeout {60 if kind.is_whole else 5}"
    with contextlib.ExitStack() as stack:
        url, directives = site.told(stack.enter_context(site.cache(kind)))
        k = stack.enter_context(daemon(url, timeout, *directives, traced=True))
        f = k.opened("erofs,image", b"image")
        try:
            for place, (offset, length) in enumerate(site.reads[:half + 8]):
                if place == half:
                    site.put(bytes(byte ^ 1 for byte in site.data), 1.1e9)
                results.append(k.wait_complete(k.read(f, offset, length), 90) > 0)
        finally:
            site.put(site.data, 1e9)
        check(f, site.data)
        assert all(results[:half]), "READs failed before"
        assert all(results) or "the image on the server was replaced" in k.stderr, k.stderr


def comes_back(count):
    """All are switched on at once, and at first the server is too busy for any of them."""
    data = httpserver.image("small", 65536)
    times = []

    def busy(request):
        if request.path != "/image":
            return {}
        times.append(request.time)
        return {"status": 503} if request.time < times[0] + OUTAGE else {}

    with httpserver.Server({"/image": data}) as server:
        server.rule = busy
        devices.run(devices.Job(server.url, data, [(0, 4096)]), count)
    again = sorted(times)[count:]
    most = max(sum(at <= other < at + WINDOW for other in again) for at in again)
    tap.note(f"{len(again)} further attempts, at most {most} of {count} devices within {WINDOW} s")
    assert most < count * 3 / 4


# ---- all of them ----

def tests(site, count, short):
    """Yields (name, function, arguments...)."""
    rows = []
    for kind in [caches.Nginx] if short else [None, caches.Nginx, caches.LargeSlices, caches.OneConnection,
                                              caches.Trace, caches.Varnish, caches.Squid]:
        name = kind.name if kind else "no cache"
        yield f"{name}: {count} devices at once", boots, site, kind, 0, count, rows
        if not short:
            yield f"{name}: {count} devices in turn", boots, site, kind, APART, count, rows
            yield f"{name}: one device", boots, site, kind, 0, 1, rows
    tap.note("\n".join(rows))
    for kind in [caches.Nginx] if short else [caches.Nginx, caches.Varnish]:
        yield f"{kind.name}: it dies while devices boot, and they go on", survives, site, kind, min(count, FEW)
    if short:
        return
    for kind in caches.Nginx, caches.Varnish, caches.Squid:
        yield f"{kind.name}: the image is replaced", is_replaced, site, kind
    yield f"{count} devices at once at a server that is too busy: they do not come back in step", comes_back, count


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("client", nargs="?", default=f"{sys.path[0]}/../cachefilesd-mini")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--devices", type=int)
    parser.add_argument("-k", metavar="WORD", default="", help="only tests whose name matches")
    a = parser.parse_args()
    Program.path = os.path.abspath(a.client)
    choose_folder()
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        tempfile.tempdir = folder
        os.chmod(folder, 0o755)
        with Site(folder, *((600, 20) if a.short else (2264, 66))) as site:
            tap.note(f"an image of {len(site.data) / MB:.0f} MB; a boot reads {sum(n for _, n in site.reads) / MB:.1f}")
            for name, *call in tests(site, a.devices or (8 if a.short else 50), a.short):
                if re.search(a.k, name):
                    tap.result(f"fleet: {name}", *tap.attempt(*call, below=sys.path[0]))
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
