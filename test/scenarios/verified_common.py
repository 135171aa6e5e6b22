"""The common part of the scenarios of images that are verified: both front ends as one."""
import contextlib
import os
import random
import time

from lib import exposition
from lib.nbd import Nbd
from lib.verity import BLOCK, Tree
from scenarios import common, nbd_common
from scenarios.common import KIB, MIB, PAGE, Server, check, daemon, image, padded

FRONTS = ("cachefiles", "nbd")
SIZE = 3 * MIB + 5 * BLOCK      # of an image: two levels, seven blocks of digests


class Made:
    """An image with its tree."""

    def __init__(self, name, size=SIZE, salt=b"salt"):
        self.data = image(name, size)
        self.tree = Tree(self.data, salt)

    def files(self, name="img"):
        return {f"/{name}": self.data, f"/{name}.verity": self.tree.file}

    def directive(self, name="img"):
        return f"roothash {name} {self.tree.root}"


class Cachefiles:
    """An image that is open; read() returns whether all of the READ was there, and demands that no byte is wrong."""

    def __init__(self, k, data, name="img"):
        self.k, self.data, self.name = k, data, name
        self.f = k.opened(f"erofs,{name}", name.encode(), timeout=30)

    def ask(self, offset, length):
        return self.k.read(self.f, offset, length)

    def done(self, r, timeout=30):
        have = self.k.wait_complete(r, timeout)
        end = min(r.offset + have, len(self.data))
        assert have == 0 or self.f.bytes(r.offset, end - r.offset) == self.data[r.offset:end], f"{r}: a wrong byte"
        return have >= min(r.length, len(self.data) - r.offset)

    def check(self):
        """Demands that no wrong byte is in the cache."""
        check(self.f, self.data)


class Device(Cachefiles):
    """The same for a device."""

    def __init__(self, k, data, name="img"):
        self.k, self.data, self.name = k, data, name
        self.d = k.attached(name, timeout=30)

    def ask(self, offset, length):
        return self.d.read(offset, length)

    def done(self, r, timeout=30):
        self.d.driver.wait_done(r, timeout=timeout)
        if r.error:
            return False
        assert r.data == padded(self.data, r.offset, r.offset + r.length), f"{r}: a wrong byte"
        return True

    def check(self):
        pass        # each READ has been


class Opened:
    """What reads an image by READs of either front end."""

    def __init__(self, one):
        self.one, self.k, self.size = one, one.k, len(one.data)

    def read(self, offset, length, timeout=30):
        return self.one.done(self.one.ask(offset, length), timeout)

    def need(self, offset=0, length=PAGE, timeout=30):
        assert self.read(offset, length, timeout), f"no bytes at {offset}"

    def recovers(self, offset, timeout=15):
        """need() after a failure: READs may fail for a while."""
        end = time.monotonic() + timeout
        while not self.read(offset, PAGE, timeout):
            assert time.monotonic() < end, f"READs still fail after {timeout} s"

    def need_all(self, step=128 * KIB, depth=4, seed=None, timeout=60):
        """READs the whole image, in order or, with a seed, anywhere; `depth` at once."""
        places, waiting = list(range(0, self.size, step)), []
        if seed is not None:
            random.Random(seed).shuffle(places)
        for at in places:
            waiting.append(self.one.ask(at, min(step, self.size - at)))
            if len(waiting) >= depth:
                assert self.one.done(waiting.pop(0), timeout)
        for r in waiting:
            assert self.one.done(r, timeout)
        self.one.check()

    def metrics(self):
        return exposition.Metrics(exposition.ask(f"{self.k.cache}/status"))

    def refused(self, mirror):
        """How many blocks of a mirror did not fit."""
        return self.metrics().get("mirror_failures_total", mirror=str(mirror), reason="not verified") or 0


@contextlib.contextmanager
def started(front, server, *directives, attach=("img",), **more):
    """The daemon with one of the front ends, and its status socket."""
    directives = ("status {cache}/status", *directives)
    if front == "cachefiles":
        with daemon(server, *directives, **more) as k:
            yield k
    else:
        with Nbd() as n, nbd_common.blocks(server, n, *directives, attach=attach, **more) as k:
            yield k


def opened(front, k, data, name="img"):
    return Opened((Cachefiles if front == "cachefiles" else Device)(k, data, name))


@contextlib.contextmanager
def serving(front, made, *directives, knobs=None, roots=True, **more):
    """A server with the image and its tree, the daemon, and the image, which is open."""
    with Server(made.files(), **(knobs or {})) as s:
        roothash = [made.directive()] if roots else []
        with started(front, s, *roothash, *directives, **more) as k:
            yield s, opened(front, k, made.data)


def kill_worker(front, k):
    (common if front == "cachefiles" else nbd_common).kill_worker(k)


def tree_files(k):
    """The files of trees that lie beside the state."""
    folder = os.path.join(k.cache, "cachefilesd-mini")
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".verity")]
