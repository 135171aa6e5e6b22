"""Garbage from the device, and errors of system calls."""
import errno
import random
import tempfile
import time

from lib import certs
from lib.cachefiles import GONE
from scenarios.common import (KIB, MIB, Server, after_the_probe, close_message, daemon, each, fails, got, header, image,
                              limit, need, open_message, pack, quiet, read_message, recovers, refused, scenario,
                              serving, still_serves)


def garbage(k, rng, count):
    """Messages that no kernel sends. The descriptor numbers in them are not open."""
    far = 60000
    for size in range(1, 41):       # 0 bytes mean that there is no message
        yield bytes(size)
        yield b"\xff" * size
        yield rng.randbytes(size)
    for opcode in (0, 1, 2, 3, 4, 255, 0xFFFFFFFF):
        for length in (0, 1, 12, 15, 16, 17, 28, 32, 36, 1024, 0xFFFFFFFF):
            yield header(k, 5, opcode, 0, 9999, length=length) + rng.randbytes(rng.randrange(0, 40))
    for wrong in ({"volume_size": 0xFFFFFFFF}, {"cookie_size": 0xFFFFFFFF}, {"volume_size": 0x80000000},
                  {"volume_size": 0xFFFFFFF0, "cookie_size": 0x20}, {"volume_size": 0}, {"cookie_size": 0},
                  {"volume_size": 0, "cookie_size": 0}, {"volume_size": 5}, {"cookie_size": 200},
                  {"length": 0}, {"length": 2000}, {"flags": 1}, {"flags": 0x666F7265}):
        yield open_message(k, 6, far, b"erofs,img\0", b"img", **wrong)
    yield open_message(k, 6, far, b"erofs,img", b"img")                    # no NUL
    yield open_message(k, 6, far, b"erofs,\0mg\0", b"img")
    yield open_message(k, 6, far, b"nfs,img\0", b"img")
    yield open_message(k, 6, far, b"\0", b"img")
    yield open_message(k, 6, far, b"erofs,img\0", b"")
    yield open_message(k, 6, 0xFFFFFFFF, b"erofs,img\0", b"img")
    yield open_message(k, 6, far, b"erofs," + b"v" * 400 + b"\0", b"img")
    yield open_message(k, 6, far, b"erofs,img\0", b"c" * 600)
    yield open_message(k, 6, far, b"erofs,img\0", b"c" * 255)
    yield b"\0" * 1024
    yield b"\xff" * 1024
    for _ in range(count):
        size = rng.choice((12, 16, 28, 32, 36, 40, rng.randrange(1, 1025)))
        message = bytearray(rng.randbytes(size))
        if size >= 16 and rng.random() < 0.7:
            message[4:8] = pack("I", rng.choice((0, 1, 2, 3)))
            message[8:12] = pack("I", size)
            message[12:16] = pack("I", rng.choice((9999, GONE, rng.randrange(100000, 1 << 32))))
        yield bytes(message)


@each("mainline", "v8")
def garbage_from_the_device(layout):
    """short, long, inconsistent and random messages: the daemon lives and serves"""
    rng = random.Random(f"garbage {layout}")
    data = image(1, 300000)
    with serving(data, layout=layout, options=["-d"]) as (s, k, f):
        need(k, f, data, 0, 4096)
        for n, message in enumerate(garbage(k, rng, 2500)):
            k.raw(message)
            if n % 500 == 0:
                k.wait_taken(timeout=20)
                need(k, f, data, (n // 500 + 1) * 8192, 8192)
        k.wait_taken(timeout=20)
        need(k, f, data, 100 * KIB, 65536)
        assert f.fd is not None
        still_serves(k, s)


@each("mainline", "v8")
def garbage_first(layout):
    """garbage before the first OPEN does not decide the layout"""
    rng = random.Random(f"first {layout}")
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, layout=layout, old=True) as k:
        k.wait_bound()
        other = "v8" if layout == "mainline" else "mainline"
        for message in garbage(k, rng, 200):
            k.raw(message)
        k.raw(close_message(k, 3, GONE))
        k.layout = other
        k.raw(close_message(k, 3, GONE))
        k.raw(read_message(k, 4, GONE, 0, 4096))
        k.wait_taken(timeout=20)
        k.layout = layout
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 4096, 65536)
        k.closed(f)


@each("no NUL", "a cookie beyond the end", "a wrong length", "the first message", "of v8")
def malformed_open(what):
    """an OPEN that makes no sense: it is refused, and its descriptor closed, so that the volume can be mounted again"""
    data = image(1, 300000)
    layout, header_size = ("v8", 12) if what == "of v8" else ("mainline", 16)

    def spoil(request):
        message = bytearray(sound(request))
        if what == "a wrong length":
            message[8:12] = pack("I", len(message) + 1)
        elif what == "a cookie beyond the end":
            message[header_size + 4:header_size + 8] = pack("I", 200)
        else:
            message[header_size + 16 + len("erofs,img")] = 255
        return bytes(message)

    with Server({"/img": data, "/after": data}) as s, daemon(s, layout=layout) as k:
        k.wait_bound()
        if what != "the first message":
            need(k, k.opened("erofs,after", b"after"), data, 0, 4096)
        sound, k.message = k.message, spoil
        f = k.open("erofs,img", b"img")
        refused(k, f, errno.EIO)
        k.message = sound
        need(k, k.opened("erofs,img", b"img"), data, 0, 4096)


@scenario
def read_errors():
    """EMFILE, ENFILE, ENOMEM, EEXIST, EINTR, EFAULT, EIO from read(): the daemon goes on"""
    data = image(1, 300000)
    with serving(data) as (s, k, f):
        for n, name in enumerate(("EMFILE", "ENFILE", "ENOMEM", "EEXIST", "EINTR", "EFAULT", "EIO", "EAGAIN")):
            k.read_error(getattr(errno, name))
            need(k, f, data, n * 32 * KIB, 4096)
        lost = k.open("erofs,lost", b"lost", request=False)
        k.request_open(lost)
        k.read_error(errno.EMFILE, lost.open_request)
        need(k, f, data, 290816, 4096)
        still_serves(k, s)


@each("mainline", "v8")
def write_window(layout):
    """ENOBUFS for a while after copen: the data gets there"""
    data = image(1, 300000)
    with serving(data, layout=layout, window=5) as (s, k, f):
        need(k, f, data, 0, 65536)
        need(k, f, data, 131072, 65536)
        assert f.busy_writes == 0


@each("ENOSPC", "EDQUOT", "ENOBUFS", "EIO")
def writes_fail(name):
    """writes that keep failing: READ is answered without data in bounded time, the log says why, it goes on"""
    data = image(1, 300000)
    with serving(data) as (s, k, f):
        k.on_write = lambda file, offset, length: -getattr(errno, name)
        fails(k, f, 131072, 65536, 12)      # OPEN has brought the first page
        k.wait_log("cannot write to the cache")
        calls = len(f.writes)
        assert calls < 2000, f"{calls} pwrite()s"
        k.on_write = None
        recovers(k, f, data, 131072, 65536)
        if name != "EIO":
            k.wait_log("img: the cache takes bytes again")


@scenario
def write_refused_at_the_end():
    """a write that is refused while the end of the body is to come: the image does not count as replaced"""
    data, refusals = image(1, 60000), []

    def refuse(file, offset, length):
        """All writes behind the first pages, and one when all bytes have been sent."""
        if offset < 40960 or (refusals and refusals[-1]):
            return None
        refusals.append(max(r.range[0] + r.sent for r in s.requests) == 60000)
        return -errno.ENOBUFS

    with Server({"/img": data}) as s, daemon(s) as k:
        s.rule = after_the_probe(chunked=65536, rate=40000)     # the end comes 50 ms after the last bytes
        k.on_write = refuse
        f = k.opened("erofs,img", b"img")
        for r in [k.read(f, 40960, 20480), k.read(f, 40960, 4096)]:
            got(k, r, data)
        quiet(s)
        assert all(r.range[0] <= r.range[1] for r in s.requests), s.requests
        assert "replaced" not in k.stderr, k.stderr


@scenario
def read_behind_a_full_end():
    """a READ behind the image's end while the cache is full: nothing is requested for it, and it is answered"""
    data = image(1, 60000)
    with serving(data) as (s, k, f):
        need(k, f, data, 0, 61440)
        count = len(s.requests)
        k.on_write = lambda file, offset, length: -errno.ENOBUFS
        r = k.read(f, 65536, 4096)
        k.wait_taken(r)
        time.sleep(1)
        k.on_write = None
        k.wait_complete(r)
        assert len(s.requests) == count, f"{len(s.requests) - count} requests: {s.requests[-1]}"
        assert "replaced" not in k.stderr, k.stderr


@each("connections 1", "connections 2", "chunked")
def full_cache_of_one_image(how):
    """READs that wait for room in the cache, for ever, do not keep another image from being opened and read"""
    data, other = image(1, 3 * MIB), image(2, 100000)
    knobs = {"chunked": 10000} if how == "chunked" else {}
    with Server({"/img": data, "/other": other}, **knobs) as s, \
            daemon(s, "retry hard", "connections 2" if how == "chunked" else how) as k:
        f = k.opened("erofs,img", b"img")
        k.on_write = lambda file, offset, length: -errno.ENOSPC if file is f else None
        waiting = [k.read(f, n * 512 * KIB + 65536, 65536) for n in range(limit("connections"))]
        k.wait(lambda: len(f.writes) >= 1, 10, "a write")
        g = k.opened("erofs,other", b"other", timeout=20)
        need(k, g, other, 0, 100000, timeout=20)
        k.on_write = None
        for r in waiting:
            got(k, r, data, 20)


@each("chunked", "short answers", "plain")
def full_cache_is_named(how):
    """a cache that stays full fails the READ by its own reason, whatever way the server has: few requests, no log flood"""
    data = image(1, MIB)
    knobs = {"chunked": {"chunked": 10000}, "short answers": {"short": 65536}, "plain": {}}[how]
    with serving(data, "retry soft 5", knobs=knobs) as (s, k, f):
        k.on_write = lambda file, offset, length: -errno.ENOSPC
        asked, lines = len(s.requests), k.stderr.count("\n")
        fails(k, f, 262144, 262144, 12)
        k.wait_log("cannot write to the cache")
        assert len(s.requests) - asked <= 8, f"{len(s.requests) - asked} requests"
        assert k.stderr.count("\n") - lines <= 4, k.stderr
        k.on_write = None
        recovers(k, f, data, 262144, 262144)


@each("connections 1", "connections 2")
def full_cache_of_many_images(how):
    """more images than connections wait for room in the cache: each READ ends in bounded time"""
    data = [image(n, MIB) for n in range(3)]
    with Server({f"/{n}": data[n] for n in range(3)}) as s, daemon(s, "retry soft 5", how) as k:
        files = [k.opened(f"erofs,{n}", b"%d" % n) for n in range(3)]
        k.on_write = lambda file, offset, length: -errno.ENOBUFS
        for r in [k.read(f, 524288, 65536) for f in files]:
            k.wait_complete(r, 20)
        k.on_write = None
        for n, f in enumerate(files):
            recovers(k, f, data[n], 524288, 65536)


@scenario
def full_cache_and_a_cut():
    """a body over TLS that is cut with a full buffer while the cache takes nothing: waiting costs no time of the processor"""
    data = image(1, MIB)
    with tempfile.TemporaryDirectory() as work:
        certs.make_ca(work)
        certs.make_server(work, "ec")
        with Server({"/img": data}, tls=certs.server_context(work, "ec")) as s, daemon(s, f"ca {work}/ca.pem") as k:
            f = k.opened("erofs,img", b"img", timeout=20)
            k.on_write = lambda file, offset, length: -errno.ENOBUFS
            s.next({"cut": 60000}, {"delay": 3})
            before = k.cpu()
            r = k.read(f, 262144, 262144)
            time.sleep(3)
            used = k.cpu() - before
            k.on_write = None
            got(k, r, data, 25)
            assert used < 1, f"{used} s of the processor's time"


@scenario
def writes_short():
    """short writes are continued, at a page"""
    data = image(1, MIB)
    rng = random.Random(5)
    with Server({"/img": data}) as s, daemon(s) as k:
        k.on_write = lambda file, offset, length: rng.choice((512, 4096, 4608, 8192, length, length // 2 or 512))
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, MIB, timeout=20)


@scenario
def writes_longer():
    """a return value larger than what was asked for"""
    data = image(1, MIB + 5)
    with Server({"/img": data}) as s, daemon(s) as k:
        k.on_write = lambda file, offset, length: length + 65536
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, MIB + 5)


@scenario
def writes_of_an_old_kernel():
    """a kernel that rounds misaligned offsets down without a word (6.1): right bytes"""
    data = image(1, 300001)
    with serving(data, old=True, release="6.1.192") as (s, k, f):
        for offset, length in ((512, 512), (70000 // 512 * 512, 1024), (0, 131072), (299520, 512)):
            need(k, f, data, offset, length)
