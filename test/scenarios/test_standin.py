#!/usr/bin/python3
"""The real daemon against the stand-in for /dev/cachefiles: test/scenarios/test_standin.py [-k PATTERN] [-j N] [--machine TRIPLET] [DAEMON]

Prints TAP.  Each scenario starts its own daemon and its own servers, and ends by SIGTERM, on which
the daemon must exit with 0 and without anything on StandIn.violations.
"""
import argparse
import concurrent.futures
import contextlib
import errno
import faulthandler
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import exposition, standin
from lib.httpserver import Server, image
from lib.machines import MACHINES
from lib.standin import CLOSE, DEVICE_FD, GONE, OPEN, PAGE, READ, StandIn, pack

HERE = os.path.dirname(os.path.abspath(__file__))
KIB, MIB = 1024, 1024 * 1024
REACHED_LATE = {-errno.ETIMEDOUT, -errno.ECONNREFUSED, -errno.EHOSTUNREACH, -errno.ENETUNREACH,
                -errno.EIO, -errno.EAGAIN}

SCENARIOS = []
DAEMON = None
ASAN = False


def scenario(function):
    SCENARIOS.append((function.__name__, function, ()))
    return function


def each(*values):
    """One scenario for each value, which it is given."""
    def decorate(function):
        for value in values:
            SCENARIOS.append((f"{function.__name__} ({value})", function, (value,)))
        return function
    return decorate


class Skip(Exception):
    """Cannot be shown with this program."""


# -- what the scenarios share --------------------------------------------------------------------

def constant(name, source):
    """A number of the daemon's source."""
    with open(os.path.join(HERE, "..", "..", source)) as f:
        return int(re.search(rf"(?m)^#define {name}\s+(\d+)", f.read())[1])


def limit(what):
    """The size of a table, as --version tells it: "connections", "open images", "waiting READs"."""
    told = subprocess.run([*standin.EMULATOR, DAEMON, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(re.search(rf"(\d+) {what}", told)[1])


def daemon(url, *directives, options=(), traced=False, **more):
    """The daemon, its directory an empty one and without a trace, which would be a request that the
    server's script does not expect, unless `traced` or the directives say otherwise."""
    argv = [DAEMON, "-n", "-s", "--force", *options]
    if not traced and not any(d.startswith("trace ") for d in directives):
        argv += ["-o", "trace none"]
    if not any(d.startswith("status ") for d in directives):
        argv += ["-o", "status none"]       # not the one place in the system where all look
    if not any(d.startswith("dir ") for d in directives):
        argv += ["-o", "dir {cache}"]
    for directive in directives:
        argv += ["-o", directive]
    return StandIn(argv + [url.url if isinstance(url, Server) else url], **more)


def fnv(text):
    value = 14695981039346656037
    for byte in text.encode("latin-1"):
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return value


def told(data, etag=None, modified="Wed, 06 Apr 2022 07:55:52 GMT"):
    """The size that the kernel is told of an image: its own and a hash of its version (state.h)."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"' if etag is None else etag
    version = etag if etag.startswith('"') else etag + modified
    return len(data) + (1 + fnv(version) % ((1 << 24) - 1) if version else 0)


def padded(data, start, end):
    """The image as the cache file has it: zeros behind its end."""
    return data[start:end].ljust(end - start, b"\0")


def check(f, data):
    """No byte that is present is wrong."""
    for start, end in f.extents():
        have, want = f.bytes(start, end - start), padded(data, start, end)
        if have != want:
            at = next(i for i in range(len(have)) if have[i] != want[i])
            raise AssertionError(f"wrong byte at {start + at} of {f} (present: {start}-{end})")


def need(k, f, data, offset, length, timeout=10):
    """READ, answered with all the data that the image has there, and it is right."""
    r = k.read(f, offset, length)
    got(k, r, data, timeout)
    return r


def got(k, r, data, timeout=10):
    """Waits for READ and demands what need() does."""
    have = k.wait_complete(r, timeout)
    assert not r.flushed, f"{r} was flushed"
    want = max(0, min(r.length, len(data) - r.offset))
    assert have >= want, f"{r}: {have} bytes there, not {want}"
    check(r.file, data)
    return r


def recovers(k, f, data, offset, length, timeout=6):
    """need(), after a failure: a READ that meets the end of an old attempt may fail once more."""
    end = time.monotonic() + timeout
    while k.wait_complete(k.read(f, offset, length), timeout) < min(length, len(data) - offset):
        assert time.monotonic() < end, f"READs still fail {timeout} s after the server is back"
        time.sleep(0.2)
    check(f, data)


def refused(k, f, *numbers, timeout=10):
    """OPEN is answered with one of these negative errnos (none given: any), and its fd closed."""
    size = k.wait_copen(f, timeout)
    assert size < 0, f"OPEN of {f.cookie!r} accepted with size {size}"
    if numbers:
        assert -size in numbers, f"OPEN of {f.cookie!r} refused with {errno.errorcode.get(-size)}"
    k.wait_closed(f, 5)


def open_message(k, identity, fd, volume, cookie, **wrong):
    """An OPEN, any field of it changed: volume_size, cookie_size, length, flags, opcode."""
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


def after_the_probe(**knobs):
    """Server.rule: these knobs, but not for the request of a few pages by which OPEN finds the size."""
    return lambda r: knobs if not r.range or r.range[0] > 0 or r.range[1] is None or r.range[1] >= 65536 else {}


def still_serves(k, server, name="after"):
    """An image that was not asked for before opens, reads and closes."""
    data = image(name, 20000)
    server.images[f"/{name}"] = data
    f = k.opened("erofs," + name, name.encode())
    need(k, f, data, 4096, 8192)
    k.close(f)
    k.wait_closed(f)


# -- start ---------------------------------------------------------------------------------------

@scenario
def bind_sequence():
    """limits, tag, secctx, then dir, then bind ondemand; the values are those given"""
    with Server() as s, daemon(s, "tag mytag", "secctx system_u:system_r:x_t:s0", "brun 60%", "bcull 50%", "bstop 40%",
                               "frun 6%", "fcull 3%", "fstop 0%") as k:
        k.wait_bound()
        done = [text for text, error in k.commands if not error]
        failed = [c for c in k.commands if c[1]]
        assert not failed, f"failed commands: {failed}"
        bind = done.index("bind ondemand")
        assert done[bind - 1] == f"dir {k.cache}", done
        assert done[bind + 1:] in ([], ["restore"]), done   # the worker may have begun already
        want = dict(brun=60, bcull=50, bstop=40, frun=6, fcull=3, fstop=0, tag="mytag",
                    secctx="system_u:system_r:x_t:s0")
        have = {name: k.settings.get(name) for name in want}
        assert have == want, have


@scenario
def bind_limits():
    """limits that the kernel takes only in the right order, as each is checked against the others"""
    with Server() as s:
        for run, cull, stop in ((99, 98, 97), (2, 1, 0), (8, 7, 6), (6, 2, 0), (50, 3, 2), (90, 6, 5), (4, 3, 2)):
            with daemon(s, f"brun {run}%", f"bcull {cull}%", f"bstop {stop}%") as k:
                k.wait_bound()
                have = tuple(k.settings[x] for x in ("brun", "bcull", "bstop"))
                assert have == (run, cull, stop), (have, k.commands)


@each("EBUSY", "ENOENT", "EPERM", "EACCES")
def open_error(name):
    """/dev/cachefiles cannot be opened: status 1, the thing and the remedy are named"""
    remedy = {"EBUSY": r"(?i)busy|in use|another|holds|held", "ENOENT": r"(?i)modprobe|CONFIG_CACHEFILES|module",
              "EPERM": r"(?i)CAP_SYS_ADMIN|root", "EACCES": r"(?i)CAP_SYS_ADMIN|root|permission"}[name]
    with Server() as s, daemon(s, open_error=getattr(errno, name), expect_exit=1) as k:
        assert k.wait_exit() == 1
        k.wait_log_end()
        assert "/dev/cachefiles" in k.stderr, "does not name /dev/cachefiles"
        assert re.search(remedy, k.stderr), f"nothing like {remedy}"


@each("EINVAL", "ENOENT", "EOPNOTSUPP", "ENOBUFS", "EBUSY")
def bind_error(name):
    """bind fails: status 1, the thing and the remedy are named; EINVAL is a kernel without on-demand mode"""
    remedy = {"EINVAL": r"CONFIG_CACHEFILES_ONDEMAND", "ENOENT": r"{cache}", "EOPNOTSUPP": r"(?i)file ?system|{cache}",
              "ENOBUFS": r"(?i)space|{cache}", "EBUSY": r"(?i)tag|busy|in use|already"}[name]
    with Server() as s, daemon(s, bind_error=getattr(errno, name), expect_exit=1) as k:
        assert k.wait_exit() == 1
        k.wait_log_end()
        remedy = remedy.replace("{cache}", re.escape(k.cache))
        assert re.search(remedy, k.stderr), f"nothing like {remedy}"


@scenario
def directory_is_missing():
    """a dir that is not there: status 1, and it is named"""
    with Server() as s, daemon(s, "dir /nonexistent/fscache", expect_exit=1) as k:
        assert k.wait_exit() == 1
        k.wait_log_end()
        assert "/nonexistent/fscache" in k.stderr


# -- OPEN, READ, both layouts --------------------------------------------------------------------

@each("mainline", "v8")
def read_sizes(layout):
    """READs small and large, overlapping, at the tail: right bytes, each answered once"""
    data = image("sizes", 3 * MIB + 1234)
    with Server({"/img": data}) as s, daemon(s, layout=layout) as k:
        f = k.opened("erofs,img", b"img")
        assert f.size == told(data), f.size
        tail = len(data) // PAGE * PAGE
        reads = [need(k, f, data, *r) for r in (
            (0, 4096), (4096, 16384), (8192, 131072), (131072, MIB), (1000 * PAGE - PAGE, 3 * PAGE),
            (MIB, MIB), (tail, PAGE), (tail - 4 * PAGE, 5 * PAGE), (0, 16384))]
        assert f.bytes(tail, PAGE) == padded(data, tail, tail + PAGE)
        assert all(r.answers == 1 for r in reads)


@each("mainline", "v8")
def image_tails(layout):
    """images of 1, 4095, 4096, 4097 and 10000 bytes: the last page is whole, zeros behind the end"""
    sizes = (1, 4095, 4096, 4097, 10000)
    images = {f"/i{n}": image(n, n) for n in sizes}
    with Server(images) as s, daemon(s, layout=layout) as k:
        for n in sizes:
            f = k.opened("erofs,i%d" % n, b"i%d" % n)
            assert f.size == told(images[f"/i{n}"]), f.size
            last = (n - 1) // PAGE * PAGE
            r = need(k, f, images[f"/i{n}"], last, PAGE)
            assert r.result == PAGE, f"{r.result} bytes of the last page of {n} are there"


@scenario
def past_the_end():
    """READs across and past the end, of no length, with numbers that overflow: all answered"""
    data = image("past", 100000)
    with Server({"/img": data}) as s, daemon(s, "timeout 2") as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 98304, MIB)
        need(k, f, data, 0, 1 << 40)
        for offset, length in ((102400, 4096), (1 << 30, 131072), (1 << 62, 4096), ((1 << 63) - 4096, 4096),
                               ((1 << 64) - 4096, 8192), (4096, (1 << 64) - 4096), (0, 0)):
            r = k.read(f, offset, length)
            k.wait_complete(r)
        check(f, data)
        still_serves(k, s)


@each("mainline", "v8")
def small_blocks(layout):
    """READ offsets of 512-byte blocks are rounded out to pages"""
    data = image("blocks", 300001)
    with Server({"/img": data}) as s, daemon(s, layout=layout) as k:
        f = k.opened("erofs,img", b"img")
        for offset, length in ((512, 512), (5120, 1024), (12288 - 512, 1024), (299520, 512), (65536 + 1536, 65536)):
            need(k, f, data, offset, length)


@scenario
def zeros_are_written():
    """a part of the image that is all zeros is data, not a hole"""
    data = image("z", 8192) + bytes(200000) + image("y", 8192)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 4096, 131072)
        need(k, f, data, 135168, len(data) - 135168)


@each("auto", "v8")
def v8_fills_whole_images(abi):
    """v8: the whole image is there before the first answer, and the log says so (1.3)"""
    data = image("whole", 2 * MIB + 77)
    with Server({"/img": data}) as s, daemon(s, f"abi {abi}", layout="v8", old=True) as k:
        f = k.opened("erofs,img", b"img")
        r = k.read(f, MIB, 4096)
        got(k, r, data)
        k.wait_log(r"(?i)v8|whole", 2)
        assert r.done_at_bytes >= len(data), f"{r.done_at_bytes} of {len(data)} bytes at the first answer"
        r = need(k, f, data, 0, 131072)
        assert s.bytes_sent() < 2 * len(data), "fetched more than once"


@scenario
def lengths_that_fit_both_layouts():
    """a first OPEN of the released layout whose lengths also add up in v8 (1.4): object id = cookie size + 4"""
    data = image("both", 9000)
    with Server({"/img": data}) as s, daemon(s) as k:
        k.next_object = 7
        f = k.opened("erofs,erofs,", b"img")
        need(k, f, data, 0, 9000)
        need(k, k.opened("erofs,two", b"img"), data, 4096, 4096)


@scenario
def abi_mainline_forced():
    """-o 'abi mainline' with mainline messages"""
    data = image("forced", 50000)
    with Server({"/img": data}) as s, daemon(s, "abi mainline") as k:
        need(k, k.opened("erofs,img", b"img"), data, 0, 50000)


def erofs_image(features, size=MIB):
    """Bytes that begin like an EROFS image with this feature_incompat."""
    data = bytearray(image(f"erofs{features}", size))
    data[1024:1152] = bytes(128)
    struct.pack_into("<I", data, 1024, 0xE0F5E1E2)
    struct.pack_into("<I", data, 1024 + 80, features)
    return bytes(data)


@each("6.9.0", "6.12.117", "7.1.3")
def compressed_image(release):
    """an LZ4 image on Linux 6.9 and later is there as a whole before the first answer (5.3)"""
    data = erofs_image(1)
    with Server({"/img": data}) as s, daemon(s, release=release) as k:
        f = k.opened("erofs,img", b"img")
        r = need(k, f, data, 0, 4096)
        assert r.done_at_bytes >= len(data), f"{r.done_at_bytes} of {len(data)} bytes at the first answer"
        k.wait_log(r"(?i)whole|compress", 2)
        need(k, f, data, 500000, 70000)


@scenario
def blob_of_a_compressed_image():
    """so is a blob without a superblock of the same volume"""
    data, blob = erofs_image(1), image("blob", MIB)
    with Server({"/img": data, "/blob": blob}) as s, daemon(s, release="6.12.117") as k:
        f = k.opened("erofs,dom", b"img")
        g = k.opened("erofs,dom", b"blob")
        r = need(k, g, blob, 512 * KIB, 4096)
        assert r.done_at_bytes >= len(blob), f"{r.done_at_bytes} of {len(blob)} bytes at the first answer"
        need(k, f, data, 0, 4096)


@each("5.19.17", "6.1.192", "6.8.12")
def compressed_image_before(release):
    """and on an earlier one it need not be"""
    data = erofs_image(1)
    with Server({"/img": data}) as s, daemon(s, release=release) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        need(k, f, data, 500000, 70000)


@each("mainline", "v8")
def many_images(layout):
    """eight images, twenty READs each, all at once"""
    images = {f"/i{n}": image(n, 400000 + n * 1001) for n in range(8)}
    with Server(images) as s, daemon(s, layout=layout) as k:
        files = [k.open(f"erofs,i{n}", b"i%d" % n) for n in range(8)]
        for f in files:
            assert k.wait_copen(f) > 0
        rng = random.Random(1)
        reads = [k.read(rng.choice(files), rng.randrange(0, 95) * PAGE, rng.choice((4096, 16384, 65536)))
                 for _ in range(160)]
        for r in reads:
            got(k, r, images[f"/{r.file.cookie.decode()}"], 20)


@scenario
def more_reads_than_the_table():
    """more READs than the table holds wait and are answered"""
    count = limit("waiting READs") + 190
    data = image("table", count * PAGE)
    with Server({"/img": data}, delay=0.001) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        s.default["delay"] = 0.3
        order = list(range(count))
        random.Random(2).shuffle(order)
        reads = [k.read(f, n * PAGE, PAGE) for n in order]
        time.sleep(0.5)
        s.default["delay"] = 0
        for r in reads:
            k.wait_complete(r, 30)
            assert r.result == PAGE and r.answers == 1, r
        check(f, data)
        assert f.present() >= len(data)


@each("mainline", "v8")
def more_opens_than_the_table(layout):
    """more OPENs than the table holds are refused, the others work, and CLOSE makes room"""
    most = limit("open images")
    data = image("o", 5000)
    with Server() as s, daemon(s, layout=layout) as k:
        s.images = {f"/i{n}": data for n in range(most + 12)}
        files = [k.open(f"erofs,i{n}", b"i%d" % n) for n in range(most + 12)]
        sizes = [k.wait_copen(f, 20) for f in files]
        good = [f for f, size in zip(files, sizes) if size == told(data)]
        bad = [f for f, size in zip(files, sizes) if size < 0]
        assert len(good) == most and len(bad) == 12, (len(good), len(bad))
        for f in bad:
            k.wait_closed(f)
        need(k, good[0], data, 0, 5000)
        need(k, good[-1], data, 4096, 4096)
        for f in good[:20]:
            k.close(f)
        for f in good[:20]:
            k.wait_closed(f)
        still_serves(k, s)


@scenario
def opened_and_closed_many_times():
    """400 times OPEN, READ, CLOSE: nothing is used up"""
    data = image("times", 5000)
    with Server({"/img": data}) as s, daemon(s) as k:
        for _ in range(400):
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            k.close(f)
            k.wait_closed(f)
        assert s.connections < 50, f"{s.connections} connections"


@scenario
def anonymous_fds_are_cloexec():
    """every cache file's descriptor gets FD_CLOEXEC (5.4, 11)"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        assert k.fd_flags(f.fd) & os.O_CLOEXEC, "the anonymous fd is inherited by exec()"
        assert k.fd_flags(DEVICE_FD) & os.O_CLOEXEC, "the device is inherited by exec()"


# -- one slow server, another image --------------------------------------------------------------

@scenario
def hanging_server():
    """an image on a server that hangs does not delay one on another server"""
    slow, good = image("slow", MIB), image("good", MIB)
    with Server({"/slow": slow}) as other, Server({"/good": good}) as s, daemon(s, "timeout 10") as k:
        s.paths["/slow"] = {"redirect": (307, other.url + "slow")}
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,good", b"good")
        need(k, f, slow, 0, 4096)
        other.default["delay"] = 1000
        reads = [k.read(f, n * 100 * KIB // PAGE * PAGE + PAGE, 4096) for n in range(8)]
        time.sleep(0.3)
        for n in range(5):
            need(k, g, good, n * 150 * KIB // PAGE * PAGE, 65536, timeout=2)
        other.default["delay"] = 0
        other.stop()
        other.start()
        for r in reads:
            got(k, r, slow, 15)


def kill_worker(k):
    """Until another one serves."""
    before = k.worker
    os.kill(before, signal.SIGKILL)
    k.wait(lambda: k.worker != before, 10, "another worker")


@scenario
def worker_killed():
    """the worker is killed: READs that wait are delivered to the next, files are opened anew with the same size"""
    data = image(1, MIB)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        size = f.size
        for n in range(5):
            s.default["delay"] = 1000
            r = k.read(f, n * 128 * KIB + 64 * KIB, 4096)
            k.wait_taken(r)
            kill_worker(k)
            s.default["delay"] = 0
            s.stop()
            s.start()
            got(k, r, data, 15)
            assert f.size == size, f"{f.size}, at first {size}"
        need(k, f, data, 0, MIB)
        k.close(f)
        k.wait_closed(f)


@scenario
def worker_killed_in_an_outage():
    """... while the server is away: READs fail after the time-out, none hangs, and all is well when it is back"""
    data = image(1, MIB)
    with Server({"/img": data}) as s, daemon(s, "timeout 1") as k:
        f = k.opened("erofs,img", b"img")
        s.stop()
        kill_worker(k)
        for n in range(3):
            assert k.wait_complete(k.read(f, n * 128 * KIB + 512 * KIB, 4096), 8) == 0
        s.start()
        recovers(k, f, data, 512 * KIB, 4096, 12)
        need(k, f, data, 0, MIB)
        k.close(f)
        k.wait_closed(f)


@each("old", "v8")
def worker_killed_without_restore(way):
    """... by a kernel that has no "restore": an OPEN that waited is answered, the next one is served"""
    data = image(1, MIB)
    layout = "v8" if way == "v8" else "mainline"
    with Server({"/img": data, "/slow": data}) as s, daemon(s, old=True, layout=layout) as k:
        k.wait_log("cannot hand its requests to another worker")
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        s.default["delay"] = 1000
        waits = k.open("erofs,slow", b"slow")
        k.wait_taken(waits.open_request)
        kill_worker(k)
        k.wait_log("images that were mounted before cannot be read any more")
        s.default["delay"] = 0
        s.stop()
        s.start()
        assert k.wait_copen(waits) < 0
        again = k.opened("erofs,again", b"img")
        need(k, again, data, 0, 4096)


@scenario
def worker_dies_at_once():
    """a worker that dies again and again is followed by the next later and later, and the log says of what"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s) as k:
        k.wait(lambda: k.worker, 10, "a worker")
        for _ in range(4):
            before = k.worker
            os.kill(before, signal.SIGABRT)
            k.wait(lambda: k.worker != before, 10, "another worker")
        k.wait_log(r"died again \(signal 6\): a new one takes its place in 400 ms")
        still_serves(k, s)


@scenario
def more_images_than_memory_over_deaths():
    """workers are killed, and images unmounted meanwhile without a CLOSE: the next worker still serves"""
    if ASAN:
        raise Skip("a sanitizer takes more than the least memory")
    data = image(1, 5000)
    with Server() as s, daemon(s, "memory 512K") as k:
        s.images = {f"/i{n}": data for n in range(24)}
        for turn in range(3):
            files = [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(8 * turn, 8 * turn + 8)]
            kill_worker(k)
        need(k, files[0], data, 0, 5000)


@scenario
def more_files_opened_anew_than_the_table():
    """... and others were mounted before the old ones are read again: all are read, none is asked for in a circle"""
    if ASAN:
        raise Skip("a sanitizer takes more than the least memory")
    data = image(1, 64 * KIB)
    with Server() as s, daemon(s, "memory 512K") as k:
        s.images = {f"/i{n}": data for n in range(12)}
        files = [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(8)]
        kill_worker(k)
        files += [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(8, 12)]
        for offset in 0, 16 * KIB:
            for f in files:
                need(k, f, data, offset, 4096)


@scenario
def worker_killed_while_the_next_cannot_read():
    """... while the next one, after SIGHUP, waits for its configuration: it is not waited for"""
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        path = os.path.join(folder, "conf")
        with open(path, "w") as file:
            file.write(f"url {s.url}\n")
        with daemon("-d", options=["-f", path]) as k:
            f = k.opened("erofs,img", b"img")
            os.remove(path)
            os.mkfifo(path)     # as a root file system that hangs on us
            k.signal(signal.SIGHUP)
            time.sleep(0.5)
            before = k.worker
            os.kill(before, signal.SIGKILL)
            k.wait(lambda: k.worker != before, 20, "another worker")
            need(k, f, data, 65536, 4096)


@each("leaves a child behind", "never ends", "says too much")
def upgrade_to_something_else(what):
    """... is refused in time, and uses no processor time; all goes on"""
    # Nothing but the shell's own commands: the stand-in cannot follow another execve().
    script = {"leaves a child behind": "(read x <PIPE) & exit 0", "never ends": "read x <PIPE",
              "says too much": "while :; do echo much much much much; done"}[what]
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        program, pipe = os.path.join(folder, "program"), os.path.join(folder, "pipe")
        os.mkfifo(pipe)
        shutil.copy(DAEMON, program)
        argv = [program, "-n", "-s", "--force", "-o", "trace none", "-o", "status none", "-o", "dir {cache}", s.url]
        with StandIn(argv) as k:
            f = k.opened("erofs,img", b"img")
            with open(program + ".new", "w") as file:
                file.write("#!/bin/sh\n" + script.replace("PIPE", pipe) + "\n")
            os.chmod(program + ".new", 0o755)
            os.rename(program + ".new", program)
            k.signal(signal.SIGUSR2)
            try:
                time.sleep(0.5)
                used = time.clock_gettime((~k.pid << 3) | 2)
                kill_worker(k)
                need(k, f, data, 65536, 4096)
                k.wait_log("upgrade: .*: all stays as it was", 5 if what == "leaves a child behind" else 15)
                used = time.clock_gettime((~k.pid << 3) | 2) - used
                assert used < 0.5, f"the keeper has used {used:.1f} s"
            finally:
                with contextlib.suppress(OSError):      # ends who still reads it
                    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


@scenario
def reloaded_with_another_dir():
    """SIGHUP with another `dir`: culling stays in the one that was bound"""
    data = image(1, 300000)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        path, dirs = os.path.join(folder, "conf"), [os.path.join(folder, name) for name in ("bound", "other")]
        for directory in dirs:
            os.makedirs(os.path.join(directory, "cache"))

        def configure(directory):
            with open(path, "w") as file:
                file.write(f"url {s.url}\ndir {directory}\n")

        def culls_there():
            children = k.proc(f"task/{k.worker}/children").split()
            return [os.readlink(f"/proc/{child}/cwd") for child in children] == [dirs[0] + "/cache"]

        configure(dirs[0])
        with StandIn([DAEMON, "-n", "-s", "--force", "-f", path, "-o", "trace none", "-o", "status none"]) as k:
            k.opened("erofs,img", b"img")
            k.wait(culls_there, 5, "a culler in the cache")
            for _ in range(2):      # the second by what the keeper has read
                configure(dirs[1])
                before = k.worker
                k.signal(signal.SIGHUP)
                k.wait(lambda: k.worker != before, 10, "another worker")
                k.wait(culls_there, 5, "a culler in the cache")
            k.signal(signal.SIGHUP)
            kill_worker(k)
            k.wait(culls_there, 5, "a culler in the cache")
            assert os.listdir(dirs[1]) == ["cache"], os.listdir(dirs[1])


@scenario
def culler_killed():
    """the process that culls is killed: the log says it, all else goes on, and SIGHUP begins another"""
    data = image(1, 5000)

    def cullers():
        return k.proc(f"task/{k.worker}/children").split()

    with Server({"/img": data, "/two": data, "/after": data}) as s, daemon(s) as k:
        k.opened("erofs,img", b"img")
        os.kill(int(cullers()[0]), signal.SIGKILL)
        time.sleep(0.2)
        f = k.opened("erofs,two", b"two")
        k.wait_log("the process that culls has ended")
        need(k, f, data, 0, 5000)
        before = k.worker
        k.signal(signal.SIGHUP)
        k.wait(lambda: k.worker != before, 10, "another worker")
        assert len(cullers()) == 1, cullers()
        still_serves(k, s)


INITRAMFS = "/etc/initrd-release"


@scenario
def started_by_an_initramfs():
    """where /etc/initrd-release is, `retry hard` is the default: nothing is refused, it waits; systemd spares it"""
    if not os.path.exists(INITRAMFS):
        # In a mount namespace of its own, whose /etc has that file and no other.
        shell = f'mount -t tmpfs none /etc && touch {INITRAMFS} && exec "$@"'
        inside = ["unshare", "-rm", "sh", "-c", shell, "sh"]
        if subprocess.run([*inside, "true"], capture_output=True).returncode:
            raise Skip("no mount namespace here")
        again = subprocess.run([*inside, sys.executable, *sys.argv[:1], "-k", "initramfs", DAEMON],
                               capture_output=True, text=True, timeout=40)
        assert again.returncode == 0, again.stdout
        return
    with Server({"/img": image(1, 5000)}) as s:
        s.stop()
        with daemon(s, "timeout 1") as k:
            k.wait_bound()
            assert k.proc("cmdline").startswith("@"), k.proc("cmdline")
            f = k.open("erofs,img", b"img")
            k.wait_log("until it works", 5)
            time.sleep(3)
            s.start()
            assert k.wait_copen(f, 15) == told(s.images["/img"])


@scenario
def hanging_image():
    """nor do more hanging READs than there are connections, on the same server"""
    slow, good = image("slow", 4 * MIB), image("good", MIB)
    with Server({"/slow": slow, "/good": good}) as s, daemon(s, "timeout 20", "connections 3") as k:
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,good", b"good")
        s.paths["/slow"] = {"delay": 1000}
        reads = [k.read(f, n * 300 * KIB // PAGE * PAGE, 4096) for n in range(1, 11)]
        time.sleep(0.3)
        need(k, g, good, 0, 65536, timeout=3)
        need(k, g, good, 300 * PAGE - 50 * PAGE, 65536, timeout=3)
        h = k.open("erofs,good2", b"good2")
        refused(k, h, errno.ENOENT, timeout=3)
        k.close(f)
        k.wait_closed(f)
        assert all(r.flushed for r in reads)


# -- OPEN fails ----------------------------------------------------------------------------------

@each(404, 410, 401, 403)
def open_refused_by_the_server(status):
    """404 and 410 are ENOENT, 401 and 403 EACCES, at once"""
    with Server({"/img": image(1, 5000)}, status=status) as s, daemon(s, "timeout 30") as k:
        refused(k, k.open("erofs,img", b"img"), errno.ENOENT if status in (404, 410) else errno.EACCES, timeout=5)
        s.default.clear()
        still_serves(k, s)


UNTRUSTED = {
    "200": {"ignore_range": True},
    "no Content-Range": {"content_range": ""},
    "another range": {"content_range": "bytes 4096-8191/100000"},
    "no size": {"content_range": "bytes 0-4095/*"},
    "nonsense": {"content_range": "bytes banana"},
    "a size that overflows": {"content_range": "bytes 0-4095/99999999999999999999999"},
    "end before start": {"content_range": "bytes 4095-0/100000"},
    "end past the size": {"content_range": "bytes 0-4095/100"},
    "gzip": {"encoding": "gzip"},
    "two lengths": {"headers": ["Content-Length: 17"]},
    "not HTTP": {"raw": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"},
    "HTTP/2.0": {"raw": b"HTTP/2.0 206 OK\r\n\r\n"},
    "no end of the head": {"raw": b"HTTP/1.1 206 Partial\r\nX: " + b"x" * 20000},
}


@each(*UNTRUSTED)
def open_reply_untrusted(name):
    """a reply to OPEN that proves nothing is refused"""
    with Server({"/img": image(1, 100000)}, **UNTRUSTED[name]) as s, daemon(s, "timeout 2") as k:
        refused(k, k.open("erofs,img", b"img"))
        s.default.clear()
        still_serves(k, s)


@each("refused", "hangs", "drops", "resets", "500", "503")
def open_server_down(how):
    """a server that is down for longer than the time-out: OPEN fails, in time, and later works"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s, "timeout 2") as k:
        k.wait_bound()
        s.default = {"hangs": {"delay": 1000}, "drops": {"drop": True}, "resets": {"reset": True},
                     "500": {"status": 500}, "503": {"status": 503}}.get(how, {})
        if how == "refused":
            s.stop()
        start = time.monotonic()
        f = k.open("erofs,img", b"img")
        size = k.wait_copen(f, 10)
        assert size in REACHED_LATE | {-errno.EBUSY}, errno.errorcode.get(-size, size)
        if how == "hangs":
            assert size == -errno.ETIMEDOUT, errno.errorcode.get(-size)
        assert time.monotonic() - start > 1, "gave up at once"
        k.wait_closed(f)
        s.default = {}
        if how == "refused":
            s.start()
        still_serves(k, s)


@scenario
def open_server_comes_back():
    """a server that is back within the time-out: OPEN succeeds"""
    data = image(1, 5000)
    with Server({"/img": data}) as s, daemon(s, "timeout 8") as k:
        k.wait_bound()
        s.stop()
        f = k.open("erofs,img", b"img")
        time.sleep(1)
        s.start()
        assert k.wait_copen(f) == told(data)
        need(k, f, data, 0, 4096)


@scenario
def empty_image():
    """an image of no bytes gets an answer"""
    with Server({"/img": b""}) as s, daemon(s, "timeout 2") as k:
        f = k.open("erofs,img", b"img")
        size = k.wait_copen(f)
        assert size <= 0, size
        still_serves(k, s)


# -- keys, URLs, requests ------------------------------------------------------------------------

@scenario
def keys():
    """keys with blanks, '%', '/', '?', '#', other bytes, 200 bytes: percent-encoded, and found"""
    names = [b"with space", b"100%", b"%41", b"dir/sub/img", b"what?x=y", b"a#b", b"x+y&z", b"n" * 200,
             "größe".encode(), b"\xff\xfe\x01", b"a:b@c", b"~user", b"quote\"<>", b"back\\slash"]
    images = {"/" + n.decode("utf-8", "surrogateescape"): image(n, 5000 + len(n)) for n in names}
    with Server(images) as s, daemon(s) as k:
        for n in names:
            path = "/" + n.decode("utf-8", "surrogateescape")
            f = k.open("erofs,dom", n)
            size = k.wait_copen(f)
            assert size == told(images[path]), f"{n!r}: {size}, requests {s.requests[-2:]}"
            need(k, f, images[path], 4096, 904)


@scenario
def keys_that_climb():
    """a key with a segment '..' is refused"""
    with Server({"/img": image(1, 5000), "/": image(2, 5000)}) as s, daemon(s.url + "a/b/") as k:
        for name in (b"../img", b"..", b".", b"x/../../../img", b"../../img"):
            refused(k, k.open("erofs,dom", name))
        assert not any(".." in r.target for r in s.requests), s.requests
        still_serves(k, Climbed(s, "/a/b"))


class Climbed:
    """A server's images seen from a folder of it."""

    def __init__(self, server, folder):
        self.images = self
        self.server, self.folder = server, folder

    def __setitem__(self, path, data):
        self.server.images[self.folder + path] = data


@scenario
def volume_in_the_url():
    """%v is the domain or image of the volume key, %c the cookie key"""
    data = image(1, 5000)
    with Server({"/v/dom/blob.img": data, "/v/a b/blob.img": data}) as s, daemon(s.url + "v/%v/%c.img") as k:
        assert k.wait_copen(k.open("erofs,dom", b"blob")) == told(data)
        assert k.wait_copen(k.open("erofs,a b", b"blob")) == told(data)


@scenario
def requests_as_they_go_out():
    """Host, Range, no coding wanted, the user agent asked for, one request a READ, userinfo sent but not logged"""
    data = image(1, 50000)
    with Server({"/img": data}) as s:
        url = s.url.replace("http://", "http://joe:s%33cret@")
        with daemon(url, "user-agent test/1", options=["-d"]) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            for r in s.requests:
                h = r.headers
                assert r.method == "GET" and r.version == "HTTP/1.1", r
                assert h.get("host") == f"127.0.0.1:{s.port}", h
                assert r.range is not None, h
                assert h.get("accept-encoding") == "identity", h
                assert h.get("user-agent") == "test/1", h
                assert h.get("authorization") == "Basic am9lOnMzY3JldA==", h
        assert not re.search("s%33cret|s3cret|am9lOnMz", k.stderr), "the password is in the log"


@scenario
def one_range_asked_for_once():
    """READs of one range at the same time, and overlapping ones: no byte is asked for twice"""
    data = image(1, MIB)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        del s.requests[:]
        s.default["delay"] = 0.3
        for r in [k.read(f, *span) for span in ((65536, 65536),) * 4 + ((98304, 65536), (65536, 4096))]:
            got(k, r, data)
        ranges = sorted(r.range for r in s.requests)
        assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:])), ranges


@scenario
def ipv6():
    """an IPv6 literal"""
    data = image(1, 50000)
    try:
        s = Server({"/img": data}, host="::1")
    except OSError:
        raise Skip("no IPv6 here")
    with s, daemon(s) as k:
        need(k, k.opened("erofs,img", b"img"), data, 0, 50000)
        assert s.requests[0].headers.get("host") == f"[::1]:{s.port}"


# -- HTTP, well ----------------------------------------------------------------------------------

WAYS = {
    "chunked": {"chunked": 1000}, "chunks of one byte": {"chunked": 1}, "HTTP/1.0": {"http10": True},
    "Connection: close": {"close": True}, "closed when idle": {"idle_close": 0.05},
    "closed after each reply": {"idle_close": 0}, "no validators": {"etag": "", "last_modified": ""},
    "weak ETag": {"etag": 'W/"x"'}, "long ETag": {"etag": '"' + "e" * 500 + '"'},
    "slow": {"rate": 400000}, "many headers": {"headers": [f"X-{n}: {'x' * 50}" for n in range(60)]},
}


@each(*WAYS)
def server_of_another_way(name):
    """servers that are right in another way"""
    size = 20000 if name == "chunks of one byte" else 200000
    data = image("ways", size)
    with Server({"/img": data}, **WAYS[name]) as s, daemon(s, "timeout 10") as k:
        f = k.opened("erofs,img", b"img")
        for offset in range(0, size, max(PAGE, size // 5 // PAGE * PAGE)):
            need(k, f, data, offset, 20480)
            time.sleep(0.07 if name == "closed when idle" else 0)


@scenario
def kept_alive():
    """fifty READs, one after another, go over one connection"""
    data = image(1, 50 * PAGE)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        for n in range(50):
            need(k, f, data, (n * 7 % 50) * PAGE, PAGE)
        assert s.connections <= limit("connections"), f"{s.connections} connections"


@scenario
def stale_connection():
    """a kept-alive connection that the server has closed costs neither an error nor a wait"""
    data = image(1, 50 * PAGE)
    with Server({"/img": data}, idle_close=0.1) as s, daemon(s, "timeout 5") as k:
        f = k.opened("erofs,img", b"img")
        for n in range(5):
            time.sleep(0.2)
            start = time.monotonic()
            need(k, f, data, n * 9 * PAGE, PAGE)
            assert time.monotonic() - start < 0.7, "waited"


@each(301, 302, 303, 307, 308)
def redirected(status):
    """redirects are followed, to another port and within the server"""
    data = image(1, 100000)
    with Server({"/there/img": data}) as other, Server() as s, daemon(s) as k:
        s.paths["/img"] = {"redirect": (status, "/hop?x=1")}
        s.paths["/hop"] = {"redirect": (status, other.url + "there/img")}
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 65536)
        need(k, f, data, 65536, 34464)


@scenario
def redirected_relative():
    """a relative Location"""
    data = image(1, 100000)
    with Server({"/a/c/img": data}) as s, daemon(s.url + "a/b/") as k:
        s.paths["/a/b/img"] = {"redirect": (302, "../c/img")}
        need(k, k.opened("erofs,img", b"img"), data, 0, 65536)


@each("loop", "404", "no location", "ftp")
def redirected_nowhere(where):
    """redirects that lead nowhere are refused"""
    with Server() as s, daemon(s, "timeout 2") as k:
        target = {"loop": "/img", "404": "/missing", "no location": "", "ftp": "ftp://127.0.0.1/img"}[where]
        s.paths["/img"] = {"redirect": (302, target)}
        refused(k, k.open("erofs,img", b"img"), *([errno.ENOENT] if where == "404" else []))
        assert len(s.requests) < 100, f"{len(s.requests)} requests"
        still_serves(k, s)


@scenario
def redirect_target_expires():
    """a redirect's target that ends with 403 is asked for anew (signed URLs)"""
    data = image(1, 300000)
    with Server({"/signed1": data, "/signed2": data}) as other, Server() as s, daemon(s, "timeout 5") as k:
        s.paths["/img"] = {"redirect": (307, other.url + "signed1")}
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        other.paths["/signed1"] = {"status": 403}
        s.paths["/img"] = {"redirect": (307, other.url + "signed2")}
        need(k, f, data, 200704, 4096)


# -- HTTP, badly ---------------------------------------------------------------------------------

@scenario
def read_fails_for_good():
    """500 for longer than the time-out: READ is answered without data, one line says so, the daemon goes on"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, "timeout 2") as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        before = len(k.stderr.splitlines())
        s.default["status"] = 500
        start = time.monotonic()
        r = k.read(f, 200704, 4096)
        assert k.wait_complete(r, 8) == 0
        assert time.monotonic() - start > 1, "gave up at once"
        time.sleep(0.2)
        lines = k.stderr.splitlines()[before:]
        assert any("img" in x and "500" in x for x in lines), f"no line names image and reason: {lines}"
        assert len(lines) <= 6, f"{len(lines)} lines for one failure"
        requests = len([x for x in s.requests if x.status == 500])
        assert 2 <= requests < 60, f"{requests} attempts"
        s.default.clear()
        recovers(k, f, data, 200704, 4096)


@each("refused", "500", "hangs", "resets")
def read_server_comes_back(how):
    """a server that is back within the time-out: right data, nothing lost"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, "timeout 10") as k:
        f = k.opened("erofs,img", b"img")
        s.default = {"500": {"status": 500}, "hangs": {"delay": 1000}, "resets": {"reset": True}}.get(how, {})
        if how == "refused":
            s.stop()
        reads = [k.read(f, n * 50 * KIB // PAGE * PAGE, 8192) for n in range(5)]
        time.sleep(1)
        s.default = {}
        if how in ("refused", "hangs"):
            s.stop()
            s.start()
        for r in reads:
            got(k, r, data, 15)


@each("mainline", "v8")
def bodies_cut_off(layout):
    """bodies that end early: right data, and what came is not fetched again"""
    data = image("cut", MIB)
    cuts = (0, 1, 4095, 4096, 4097, 300000, 65536, 200001)
    with Server({"/img": data}) as s, daemon(s, "timeout 20", "connections 1", layout=layout) as k:
        f = k.opened("erofs,img", b"img")
        before = len(s.requests)
        s.next(*({"cut": n} for n in cuts))
        got(k, k.read(f, 0, MIB), data, 20)
        sent = s.bytes_sent("/img", before)
        assert sent <= MIB + len(cuts) * PAGE, f"{sent} bytes sent for {MIB}"


@scenario
def chunked_cut_off():
    """a chunked body that ends early, and one with broken chunks"""
    data = image("cut", MIB)
    with Server({"/img": data}) as s, daemon(s, "timeout 20") as k:
        f = k.opened("erofs,img", b"img")
        head = b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-%d/%d\r\nTransfer-Encoding: chunked\r\n\r\n"
        s.next({"chunked": 10000, "cut": 123456}, {"raw": head % (MIB - 1, MIB) + b"zz\r\nabc"},
               {"raw": head % (MIB - 1, MIB) + b"fffffffffffffffff\r\nabc"})
        got(k, k.read(f, 0, MIB), data, 20)


@scenario
def stalled_body():
    """a body that stops coming: the READ ends in time, with right bytes or none"""
    data = image("stall", MIB)
    with Server({"/img": data}) as s, daemon(s, "timeout 2") as k:
        f = k.opened("erofs,img", b"img")
        s.next({"stall": 100000})
        r = k.read(f, 0, MIB)
        k.wait_complete(r, 12)
        check(f, data)
        recovers(k, f, data, 0, MIB)


@scenario
def stalled_for_ever():
    """a server that sends the first bytes and no more, every time: answered without data"""
    data = image("stall", MIB)
    with Server({"/img": data}) as s, daemon(s, "timeout 2") as k:
        f = k.opened("erofs,img", b"img")
        s.default["stall"] = 10
        r = k.read(f, 65536, 65536)
        assert k.wait_complete(r, 12) == 0
        s.default.clear()
        recovers(k, f, data, 65536, 65536)


@scenario
def short_parts():
    """206s of less than was asked for: the rest is asked for"""
    data = image("short", 300000)
    with Server({"/img": data}, short=10000) as s, daemon(s, "timeout 10") as k:
        f = k.opened("erofs,img", b"img")
        assert f.size == told(data)
        need(k, f, data, 0, 131072)
        need(k, f, data, 196608, len(data) - 196608)


@each("ignore_range", "content_range", "encoding", "more bytes", "other size")
def read_reply_wrong(how):
    """a reply to READ that proves nothing: right bytes or none; then it goes on"""
    data = image("wrong", 300000)
    knobs = {"ignore_range": {"ignore_range": True}, "content_range": {"content_range": "bytes 0-4095/300000"},
             "encoding": {"encoding": "gzip"}, "other size": {"content_range": "bytes 65536-131071/300001"},
             "more bytes": {"content_range": "bytes 65536-393215/300000"}}[how]
    with Server({"/img": data}) as s, daemon(s, "timeout 2") as k:
        f = k.opened("erofs,img", b"img")
        s.default = knobs
        r = k.read(f, 65536, 65536)
        k.wait_complete(r, 10)
        check(f, data)
        s.default = {}
        still_serves(k, s)


@each("etag", "size", "last_modified", "shrunk", "412")
def image_changed(how):
    """another image under the same name: no byte of it gets into the file, and the log says so"""
    data, other = image("old", 300000), image("new", 300000)
    knobs = {"etag": {"image": other}, "size": {"image": other + b"more"}, "412": {"status": 412},
             "last_modified": {"image": other, "etag": "", "last_modified": "Thu, 07 Apr 2022 07:55:52 GMT"},
             "shrunk": {"image": other[:1000]}}[how]
    with Server({"/img": data}, **({"etag": ""} if how == "last_modified" else {})) as s:
        with daemon(s, "timeout 2") as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            s.paths["/img"] = knobs
            r = k.read(f, 131072, 65536)
            assert k.wait_complete(r, 10) == 0
            check(f, data)
            k.wait_log(r"(?i)chang|replaced|version|differ|another|412", 2)
            still_serves(k, s)


# -- ahead of the readers ------------------------------------------------------------------------

def spans(server, path="/img"):
    """[start, end) of the requests for the image, but for the first, which only asks for its size."""
    asked = [r for r in server.requests if r.path == path and r.range]
    return [(r.range[0], r.range[1] + 1) for r in asked[1:]]


def all_once(server, path="/img"):
    """Demands that no byte was asked for twice.  Bytes asked for."""
    ranges = sorted(spans(server, path))
    twice = [(a, b) for a, b in zip(ranges, ranges[1:]) if b[0] < a[1]]
    assert not twice, f"{len(twice)} overlapping requests of {len(ranges)}: {twice[:3]}"
    return sum(b - a for a, b in ranges)


def joined(ranges):
    """Those that follow each other without a gap as one."""
    out = []
    for a, b in ranges:
        if out and out[-1][1] == a:
            a = out.pop()[0]
        out.append((a, b))
    return out


def quiet(server, looks=20, timeout=15):
    """Waits until all that was asked for has been sent, and nothing more is asked for.  Looks are counted, not
    seconds: those in which the whole machine stood still say nothing."""
    end = time.monotonic() + timeout
    before, same = None, 0
    while same < looks:
        now = (len(server.requests), sum(r.sent for r in server.requests))
        before, same = now, same + 1 if now == before else 0
        assert time.monotonic() < end, f"still asks after {timeout} s: {server.requests[-1]}"
        time.sleep(0.02)


def large(name, size):
    """As image(), but quickly: making all of it would hold up the other scenarios for a second.  It repeats itself,
    but no two pages of it are alike."""
    part = image(name, MIB + 12345)
    return (part * (size // len(part) + 1))[:size]


def touch(k, f, data, offset, length):
    """What a reader does to the kernel: a READ of what is not cached.  Whether there was one."""
    if f.filled(offset, length) >= min(length, len(data) - offset):
        return False
    r = k.read(f, offset, length)
    assert k.wait_complete(r, 20) >= min(length, len(data) - offset), r
    return True


def prefilled(k, volume, cookie, data, *ranges):
    """OPEN of a cache file in which these ranges are cached since an earlier session."""
    f = k.open(volume, cookie, request=False)
    os.ftruncate(f.own, (len(data) + PAGE - 1) // PAGE * PAGE)
    for start, end in ranges:
        os.pwrite(f.own, padded(data, start, end), start)
    with k.changed:
        k._queue_open(f)
    assert k.wait_copen(f) == told(data)
    return f


@each("mainline", "connections 1")
def sequential_reads(how):
    """READs in sequence: each byte is fetched once, ahead, in few requests, and not too far ahead"""
    data, length = large("sequence", 12 * MIB + 77), 16 * KIB
    with Server({"/img": data}) as s, daemon(s, *([how] if how != "mainline" else [])) as k:
        f = k.opened("erofs,img", b"img")
        half = 2 * MIB
        read = max(n + length for n in range(0, half, length) if touch(k, f, data, n, length))
        quiet(s)
        fetched = all_once(s)
        assert fetched >= read + 64 * KIB, f"{fetched} bytes fetched for READs up to {read}: not ahead"
        assert fetched <= 2 * half + 256 * KIB, f"{fetched} bytes fetched for {half}"
        for n in range(half, len(data), length):
            touch(k, f, data, n, length)
        quiet(s)
        assert len(data) - PAGE <= all_once(s) <= len(data), all_once(s)
        assert len(s.requests) < len(data) // length // 2, f"{len(s.requests)} requests"
        assert f.present() >= len(data)
        check(f, data)


@scenario
def streams_side_by_side():
    """six places of one image read in sequence, in turns: each is fetched ahead"""
    data, length, places = large("side", 24 * MIB), 16 * KIB, 6
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        for n in range(0, MIB, length):
            for place in range(places):
                touch(k, f, data, place * 4 * MIB + n, length)
        quiet(s)
        fetched = all_once(s)
        assert places * MIB < fetched <= places * (2 * MIB + 512 * KIB), fetched
        assert fetched / len(s.requests) > 1.25 * length, f"{len(s.requests)} requests for {fetched} bytes"
        check(f, data)


@each("loopback", "1 MiB/s")
def random_reads(link):
    """READs at random places of a large image: little more is fetched than was asked for"""
    # prefetch.c's CREDIT_RATIO: three bytes for each that readers want, in READs or, as it reckons from how much of a
    # zone is there, without one; and a sixteenth of the image at first.
    count = 120 if link == "loopback" else 30
    data, length = large("random", 64 * MIB), 16 * KIB
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        s.pace = 0 if link == "loopback" else MIB
        rng = random.Random(7)
        for _ in range(count):
            touch(k, f, data, rng.randrange(len(data) // PAGE - 4) * PAGE, length)
        quiet(s)
        fetched, most = all_once(s), 4 * count * length + len(data) // 16 + MIB
        assert fetched <= most, f"{fetched} bytes for {count * length}, more than {most}"
        check(f, data)


@scenario
def a_read_beside_a_stream():
    """what lies near a READ waits while a stream holds the link, and is fetched then, without another event"""
    data, length = large("aside", 64 * MIB), 16 * KIB
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        for n in range(0, MIB, length):
            touch(k, f, data, n, length)
        touch(k, f, data, 32 * MIB, length)
        quiet(s)
        near = f.filled(32 * MIB, 256 * KIB)
        assert near >= 256 * KIB, f"only {near} bytes near the READ"
        check(f, data)


@scenario
def inode_reads():
    """READs of single pages, each further on, as a walk through inodes makes them: what lies between is left"""
    data = large("inodes", 64 * MIB)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        reads = sum(touch(k, f, data, n, PAGE) for n in (10 * PAGE, 15 * PAGE, *range(25 * PAGE, 16 * MIB, 25 * PAGE)))
        quiet(s)
        fetched, most = all_once(s), reads * 5 * PAGE + MIB
        assert fetched <= most, f"{fetched} bytes for {reads} pages, more than {most}"
        check(f, data)


@each("READs", "prefetch all", "trace")
def cached_already(how):
    """what was cached in an earlier session is not fetched"""
    data = image("cached", 4 * MIB + 5000)
    tail = len(data) // PAGE * PAGE
    cached = [(0, 3 * PAGE), (5 * PAGE, 6 * PAGE), (512 * KIB, 1536 * KIB), (2 * MIB + PAGE, 2 * MIB + 9 * PAGE),
              (3 * MIB, 3 * MIB + PAGE), (tail, tail + PAGE)]
    cached += [(n, n + PAGE) for n in range(3500 * KIB // PAGE * PAGE, 3700 * KIB, 2 * PAGE)]
    words = {"READs": [], "prefetch all": ["prefetch all"], "trace": []}[how]
    with Server({"/img": data, "/img.trace": b"0 9000000\n"}) as s, daemon(s, *words, traced=how == "trace") as k:
        k.wait_bound()
        f = prefilled(k, "erofs,img", b"img", data, *cached)
        if how == "READs":
            for n in range(0, len(data), 16 * KIB):
                touch(k, f, data, n, 16 * KIB)
        quiet(s)
        all_once(s)
        again = [(a, b) for a, b in spans(s) for c, d in cached if a < d and c < b]
        assert not again, f"cached, and fetched: {again[:5]}"
        assert f.present() >= len(data), f.extents()
        check(f, data)


@scenario
def whole_image_is_cached():
    """an image that is cached as a whole: prefetch all finds nothing to do, and says so"""
    data = image("there", MIB + 5)
    with Server({"/img": data}) as s, daemon(s, "prefetch all") as k:
        k.wait_bound()
        prefilled(k, "erofs,img", b"img", data, (0, MIB + PAGE))
        k.wait_log(f"all {len(data)} bytes are cached")
        assert not spans(s), s.requests


@scenario
def each_read_has_its_own_end():
    """READs of a range on its way join it, and are answered when their own last byte is there"""
    data = image("own", 2 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1") as k:
        f = k.opened("erofs,img", b"img")
        s.default["rate"] = 128 * KIB
        wide = k.read(f, 0, 256 * KIB)
        k.wait_taken(wide)
        first, middle = k.read(f, 0, PAGE), k.read(f, 128 * KIB, PAGE)
        for r in (first, middle, wide):
            got(k, r, data, 30)
        all_once(s)
        # The bytes between them take a second each.
        assert first.time < middle.time - 0.4 and middle.time < wide.time - 0.4, (first.time, middle.time, wide.time)
        assert first.done_at_bytes <= 128 * KIB, first.done_at_bytes
        assert middle.done_at_bytes <= 224 * KIB, middle.done_at_bytes


@scenario
def reads_across_two_ranges():
    """READs that begin in a range on its way and end behind it, or begin before it"""
    data = image("across", 2 * MIB)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        s.default["rate"] = 512 * KIB
        reads = [k.read(f, *span) for span in ((MIB, 128 * KIB), (MIB - 64 * KIB, 128 * KIB), (MIB + 64 * KIB, 128 * KIB),
                                               (MIB - 128 * KIB, 512 * KIB), (MIB + PAGE, PAGE))]
        for r in reads:
            got(k, r, data, 30)
        all_once(s)


# -- pipelining ----------------------------------------------------------------------------------

ONE_AT_A_TIME = "does not bear pipelined requests"


def read_on(k, f, data, length=64 * KIB):
    """All of the image in sequence, several READs at a time, as the kernel's read-ahead does."""
    for n in range(0, len(data), 4 * length):
        reads = [k.read(f, m, length) for m in range(n, min(n + 4 * length, len(data)), length)]
        for r in reads:
            got(k, r, data, 40)


@scenario
def pipelined():
    """requests are sent before the answer before them is complete, once the connection has shown that it lasts"""
    data = image("pipe", 4 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1") as k:
        f = k.opened("erofs,img", b"img")
        s.pace = 4 * MIB
        read_on(k, f, data)
        all_once(s)
        assert not s.requests[0].pipelined
        early = sum(r.pipelined for r in s.requests)
        assert early >= len(s.requests) // 3, f"{early} of {len(s.requests)} requests were early"
        most = max(r.behind for r in s.requests)
        assert most <= constant("PIPELINE_MAX", "base/limits.h"), most
        assert s.connections <= 2, s.connections
        assert ONE_AT_A_TIME not in k.stderr


CLOSING = {
    "each, saying so": lambda r: {"close": True},
    "each, silently": lambda r: {"idle_close": 0},
    "each, HTTP/1.0": lambda r: {"http10": True},
    "every 2nd, silently": lambda r: {"idle_close": 0} if r.number % 2 == 0 else {},
    "every 3rd, saying so": lambda r: {"close": True} if r.number % 3 == 0 else {},
    "every 3rd, silently": lambda r: {"idle_close": 0} if r.number % 3 == 0 else {},
    "every 7th, silently": lambda r: {"idle_close": 0} if r.number % 7 == 0 else {},
    "when pipelined": lambda r: {"drop": True} if r.pipelined else {},
    "with RST when pipelined": lambda r: {"reset": True} if r.pipelined else {},
    "in the middle of a pipelined answer": lambda r: {"cut": 10000} if r.pipelined else {},
}


@each(*CLOSING)
def pipelining_and_closing(when):
    """servers that close the connection after an answer, with requests waiting behind it: right bytes"""
    data = image("closing", 2 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 2", "timeout 20") as k:
        f = k.opened("erofs,img", b"img")
        s.pace = 8 * MIB
        s.rule = CLOSING[when]
        read_on(k, f, data)
        quiet(s)
        assert s.bytes_sent("/img") <= 3 * len(data), s.bytes_sent("/img")


BREAKING = {
    "garbage": {"raw": b"\x15\x03\x01\x00\x02\x02\x28 what is this?\r\n\r\n"},
    "wrong range": {"content_range": "bytes 4096-8191/2097152"},
    "never": {"delay": 1000},
    "400": {"status": 400},
    "200": {"ignore_range": True},
    "part of a head": {"raw": b"HTTP/1.1 206 Partial Content\r\nContent-Ra"},
}


@each(*BREAKING)
def pipelining_is_not_borne(how):
    """a server that stumbles over early requests: right bytes, one request at a time from then on, which is logged"""
    data = image("stumbling", 2 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1", "timeout 12") as k:
        f = k.opened("erofs,img", b"img")
        s.pace = 4 * MIB
        s.rule = lambda r: BREAKING[how] if r.pipelined else {}
        read_on(k, f, data)
        if how != "part of a head":     # that may as well be a broken connection
            k.wait_log(ONE_AT_A_TIME, 5)
            s.rule = None
            before = len(s.requests)
            g = k.opened("erofs,two", b"img")
            read_on(k, g, data)
            early = [r for r in s.requests[before:] if r.pipelined]
            assert not early, f"{len(early)} requests are early still"
        assert len(re.findall(ONE_AT_A_TIME, k.stderr)) <= 1, "logged more than once"


@scenario
def pipelined_short_parts():
    """a server that gives less than was asked for, and answers what is behind it: right bytes"""
    data = image("short", 2 * MIB)
    with Server({"/img": data}, short=10000) as s, daemon(s, "connections 1", "timeout 20") as k:
        f = k.opened("erofs,img", b"img")
        s.pace = 8 * MIB
        read_on(k, f, data)


# -- prefetch all --------------------------------------------------------------------------------

@each("mainline", "v8")
def prefetch_all(layout):
    """an image becomes whole without any READ; it is said, and no connection is held then"""
    data, other = image("all", 5 * MIB + 123), image("other", 4097)
    with Server({"/img": data, "/two": other}) as s, daemon(s, "prefetch all", layout=layout) as k:
        f, g = k.opened("erofs,img", b"img"), k.opened("erofs,two", b"two")
        k.wait_log(f"img: all {len(data)} bytes are cached", 20)
        k.wait_log(f"two: all {len(other)} bytes are cached", 20)
        assert len(data) - PAGE <= all_once(s) <= len(data) and all_once(s, "/two") <= len(other)
        assert f.present() >= len(data) and g.present() >= len(other)
        check(f, data)
        check(g, other)
        end = time.monotonic() + 5
        while s.open and time.monotonic() < end:
            time.sleep(0.05)
        assert not s.open, f"{len(s.open)} connections are held"
        cpu = k.cpu()
        time.sleep(1)
        assert k.cpu() - cpu < 0.02, "is not idle then"


@scenario
def prefetch_all_behind_the_trace():
    """what the trace says comes before the rest"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, "prefetch all", "connections 1",
                                                                           traced=True) as k:
        f = k.opened("erofs,img", b"img")
        k.wait_log(f"img: all {len(data)} bytes are cached", 20)
        first, size = [], 0
        for span in spans(s):
            if size < sum(b - a for a, b in TRACE):
                first.append(span)
                size += span[1] - span[0]
        assert joined(first) == TRACE, first
        check(f, data)


@scenario
def prefetch_none():
    """without it nothing is fetched that nobody reads"""
    data = image("none", MIB)
    with Server({"/img": data}) as s, daemon(s) as k:
        k.opened("erofs,img", b"img")
        time.sleep(1)
        assert not spans(s), s.requests


@scenario
def prefetch_ends_at_close():
    """CLOSE ends it"""
    data = large("ends", 16 * MIB)
    with Server({"/img": data}) as s, daemon(s, "prefetch all") as k:
        s.rule = lambda r: {}
        s.pace = MIB
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: f.present() > 256 * KIB, 20, "prefetching")
        k.close(f)
        k.wait_closed(f)
        time.sleep(0.3)
        count = len(s.requests)
        quiet(s)
        assert len(s.requests) == count, f"{len(s.requests) - count} requests after CLOSE"
        still_serves(k, s)


@scenario
def prefetch_rate():
    """prefetch-rate is kept; READs are not held to it"""
    data, rate = image("rate", 1200 * KIB), 200 * KIB
    with Server({"/img": data}) as s, daemon(s, "prefetch all", "prefetch-rate 200K") as k:
        f = k.opened("erofs,img", b"img")
        k.wait_log("bytes are cached", 40)
        asked = [r for r in s.requests if r.path == "/img"][1:]
        seconds = asked[-1].time - asked[0].time
        have = sum(r.range[1] + 1 - r.range[0] for r in asked[:-1]) / seconds
        assert 0.7 * rate < have < 1.3 * rate, f"{have:.0f} bytes a second, not {rate}"
        all_once(s)
        check(f, data)
    with Server({"/img": data}) as s, daemon(s, "prefetch all", "prefetch-rate 16K") as k:
        f = k.opened("erofs,img", b"img")
        start = time.monotonic()
        for n in range(0, 512 * KIB, 64 * KIB):
            need(k, f, data, n, 64 * KIB)
        assert time.monotonic() - start < 10, "READs are slowed down"    # 512 KiB would take 32 s


@each("ENOSPC", "ENOBUFS")
def prefetch_into_a_full_cache(name):
    """a cache that is full interrupts it; it goes on later, without a READ"""
    data = image("full", 3 * MIB)
    with Server({"/img": data}) as s, daemon(s, "prefetch all") as k:
        full = time.monotonic() + 8
        k.on_write = lambda file, offset, length: \
            -getattr(errno, name) if offset >= MIB and time.monotonic() < full else None
        f = k.opened("erofs,img", b"img")
        k.wait_log(r"cannot write to the cache", 20)
        count = len(s.requests)
        k.wait_log(f"all {len(data)} bytes are cached", 60)
        check(f, data)
        assert count < 200, f"{count} requests while the cache was full"
        assert s.bytes_sent("/img") < 4 * len(data), s.bytes_sent("/img")
        assert k.stderr.count("cannot write to the cache") == 1, "is said more than once a minute"


@scenario
def read_while_it_is_prefetched():
    """on a slow link, a READ waits for little more than its own bytes while the image is prefetched"""
    data = large("slow link", 24 * MIB)
    with Server({"/img": data}) as s, daemon(s, "prefetch all") as k:
        s.pace = MIB
        f = k.opened("erofs,img", b"img")
        time.sleep(3)
        rng, took = random.Random(4), []
        for _ in range(9):
            at = rng.randrange(12 * MIB // PAGE, 23 * MIB // PAGE) * PAGE
            start = time.monotonic()
            need(k, f, data, at, 16 * KIB, timeout=20)
            took.append(time.monotonic() - start)
            time.sleep(0.2)
        all_once(s)
        # 16 to 64 KiB of its own, and 30 ms of the link: 0.1 s. Prefetched data of a second: 1 s.
        assert sorted(took)[4] < 0.5, [f"{x:.2f}" for x in took]
        assert f.present() > 2 * MIB, f"only {f.present()} bytes were prefetched meanwhile"


@scenario
def prefetch_beside_a_hanging_server():
    """prefetch all of two images on two servers, one of which hangs: the other is filled, and its READs are served"""
    slow, good = image("slow", 4 * MIB), large("good", 8 * MIB)
    with Server({"/slow": slow}) as other, Server({"/good": good}) as s:
        with daemon(s, "prefetch all", "timeout 20") as k:
            s.paths["/slow"] = {"redirect": (307, other.url + "slow")}
            other.rule = after_the_probe(delay=1000)
            f = k.opened("erofs,slow", b"slow")
            time.sleep(0.5)
            reads = [k.read(f, n * 400 * KIB // PAGE * PAGE + PAGE, 4096) for n in range(8)]
            s.pace = 4 * MIB
            g = k.opened("erofs,good", b"good")
            for n in range(5):
                need(k, g, good, n * 1500 * KIB // PAGE * PAGE, 65536, timeout=5)
            k.wait_log("good: all", 30)
            assert all_once(s, "/good") >= len(good) - PAGE
            other.rule = None
            other.stop()
            other.start()
            for r in reads:
                got(k, r, slow, 20)
            k.wait_log("slow: all", 30)


@scenario
def no_image_starves():
    """READs of six images while all six are prefetched over a slow link: each is served, and each is filled"""
    images = {f"/i{n}": image(n, 2 * MIB) for n in range(6)}
    with Server(images) as s, daemon(s, "prefetch all") as k:
        s.pace = 2 * MIB
        files = [k.open(f"erofs,i{n}", b"i%d" % n) for n in range(6)]
        for f in files:
            k.wait_copen(f, 20)
        rng, took = random.Random(8), {f: [] for f in files}
        for _ in range(6):
            start = time.monotonic()
            reads = [k.read(f, rng.randrange(1, 480) * PAGE, 16 * KIB) for f in files for _ in range(2)]
            for r in reads:
                got(k, r, images["/" + r.file.cookie.decode()], 20)
                took[r.file].append(r.time - start)
        # Each turn asks for 12 x 16 KiB, 0.1 s of the link, and what is fetched together with them.
        worst = {f.cookie: max(x) for f, x in took.items()}
        assert max(worst.values()) < 4, worst
        for n, f in enumerate(files):
            k.wait_log(f"i{n}: all", 60)
            assert f.present() >= 2 * MIB
            assert all_once(s, f"/i{n}") >= 2 * MIB - PAGE


# -- the boot trace ------------------------------------------------------------------------------

TRACE = [(40960, 45056), (4096, 8192), (MIB, MIB + 300 * KIB), (262144, 266240), (3 * MIB, 3 * MIB + PAGE)]


def trace_text(extents=None):
    return "".join(f"{a} {b - a}\n" for a, b in extents or TRACE).encode()


def traces_asked(server):
    return [r for r in server.requests if "trace" in r.path]


@each("beside", "url", "url of another server", "redirect", "chunked", "HTTP/1.0", "as a whole")
def trace_is_played(how):
    """the ranges of the trace are fetched in its order, without any READ"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, Server() as other:
        words = ["connections 1", "header X-Token: secret"]
        source, path = s, "/img.trace"
        if how == "url":
            path = "/t/img.trace"
            words.append(f"trace {s.url}t/%c.trace")
        elif how == "url of another server":
            source, path = other, "/boot/img.trace"
            words.append(f"trace {other.url}boot/%c.trace")
        elif how == "redirect":
            source = other
            s.paths[path] = {"redirect": (302, other.url + "img.trace")}
        source.images[path] = trace_text()
        source.paths[path] = {"chunked": {"chunked": 10}, "HTTP/1.0": {"http10": True}}.get(how, {})
        if how == "as a whole":
            source.images[path] = b"# a comment\r\n\r\n" + trace_text().replace(b"\n", b"\r\n").rstrip()
        with daemon(s, *words, traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: f.present() >= sum(b - a for a, b in TRACE), 10, "the trace's ranges")
            quiet(s)
            assert joined(spans(s)) == TRACE, spans(s)
            check(f, data)
            assert len(traces_asked(source)) == 1, traces_asked(source)
            assert s.requests[0].headers.get("x-token") == "secret"
            assert all("x-token" not in r.headers for r in other.requests), "a token goes to another server"
            need(k, f, data, 2 * MIB, PAGE)


@scenario
def trace_of_another_server_without_credentials():
    """nor does it get the password of the url line"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, Server({"/img.trace": trace_text()}) as other:
        url = s.url.replace("http://", "http://joe:secret@")
        with daemon(url, f"trace {other.url}%c.trace") as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: f.present() >= sum(b - a for a, b in TRACE), 10, "the trace's ranges")
            assert all("authorization" in r.headers for r in s.requests), s.requests
            assert all("authorization" not in r.headers for r in other.requests)


@scenario
def trace_none():
    """trace none: nobody is asked for one"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, "trace none") as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 2 * MIB, PAGE)
        quiet(s)
        assert not traces_asked(s) and all_once(s) < MIB


@each(404, 403, 410)
def trace_is_missing(status):
    """no trace: nothing happens, nothing is said, and the connection is kept"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1", traced=True) as k:
        s.paths["/img.trace"] = {"status": status}
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: traces_asked(s), 5, "asking for the trace")
        time.sleep(0.3)
        need(k, f, data, 2 * MIB, PAGE)
        assert len(traces_asked(s)) == 1, traces_asked(s)
        assert "trace" not in k.stderr.replace("img.trace", "trace"), "there is a word of it in the log"
        assert s.connections == 1, f"{s.connections} connections: the answer cost one"


BAD_ANSWERS = {
    "500": {"status": 500}, "503": {"status": 503}, "drops": {"drop": True}, "resets": {"reset": True},
    "not HTTP": {"raw": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"}, "gzip": {"encoding": "gzip"}, "200": {"ignore_range": True},
    "wrong range": {"content_range": "bytes 5-9/10"}, "cut": {"cut": 20}, "loop": {"redirect": (302, "/img.trace")},
    "redirect to nowhere": {"redirect": (302, "ftp://127.0.0.1/")}, "empty": {"image": b""},
}


@each(*BAD_ANSWERS)
def trace_answered_badly(how):
    """answers that are no trace: the image is served all the same, and soon"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, "timeout 20", traced=True) as k:
        s.paths["/img.trace"] = BAD_ANSWERS[how]
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 2 * MIB, 64 * KIB, timeout=5)
        k.wait(lambda: traces_asked(s), 5, "asking for the trace")
        quiet(s)
        need(k, f, data, 3 * MIB + 512 * KIB, 64 * KIB, timeout=5)
        check(f, data)
        # A redirect's hops and one that was lost on a kept-alive connection are asked for again.
        assert len(traces_asked(s)) <= constant("REDIRECT_HOPS", "base/limits.h") + 2, traces_asked(s)


@scenario
def trace_hangs():
    """a server that never answers for the trace: READs are served, even on the only connection"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1", "timeout 30", traced=True) as k:
        s.paths["/img.trace"] = {"delay": 1000}
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: traces_asked(s), 5, "asking for the trace")
        need(k, f, data, MIB, 64 * KIB, timeout=8)
        still_serves(k, s)


@scenario
def closed_while_the_trace_comes():
    """CLOSE while the trace is on its way, and while it is played; the next OPEN gets its own"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, traced=True) as k:
        for knobs in ({"delay": 0.5}, {"rate": 100}, {}):
            s.paths["/img.trace"] = knobs
            f = k.opened("erofs,img", b"img")
            time.sleep(0.1)
            k.close(f)
            k.wait_closed(f)
        s.paths["/img.trace"] = {}
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: f.present() >= sum(b - a for a, b in TRACE), 10, "the trace's ranges")
        check(f, data)


@scenario
def reads_beside_a_trace():
    """READs of what the trace does not name: nothing is fetched around them, the trace knows better"""
    data, length = large("beside", 64 * MIB), 16 * KIB
    with Server({"/img": data, "/img.trace": trace_text([(32 * MIB, 40 * MIB)])}) as s:
        s.paths["/img.trace"] = {"delay": 0.3}
        with daemon(s, traced=True) as k:
            f = k.opened("erofs,img", b"img")
            reads = sum(touch(k, f, data, n, length) for n in range(MIB, 24 * MIB, MIB))
            k.wait(lambda: f.present() >= 8 * MIB, 20, "the trace's range")
            quiet(s)
            fetched, most = all_once(s), 8 * MIB + reads * length + MIB
            assert fetched <= most, f"{fetched} bytes for a trace of 8 MiB and {reads} READs, more than {most}"
            check(f, data)


@scenario
def traces_of_several_images():
    """ten images with traces, opened together: all are played"""
    images = {f"/i{n}": image(n, 2 * MIB) for n in range(10)}
    want = [(MIB, MIB + 64 * KIB), (8192, 16384)]
    with Server(images) as s, daemon(s, traced=True) as k:
        s.images.update({f"/i{n}.trace": trace_text(want) for n in range(10)})
        files = [k.open(f"erofs,i{n}", b"i%d" % n) for n in range(10)]
        for n, f in enumerate(files):
            k.wait(lambda: f.present() >= sum(b - a for a, b in want), 20, f"the trace of i{n}")
            assert all_once(s, f"/i{n}") == sum(b - a for a, b in want)
            check(f, images[f"/i{n}"])


HOSTILE = {
    "garbage": lambda rng: rng.randbytes(5000),
    "text": lambda rng: b"<html><title>Not Found</title></html>\n",
    "numbers": lambda rng: b"1 2 3\n-5 7\n",
    "too large": lambda rng: b"0 4096\n99999999999999999999999 4096\n",
    "overflow": lambda rng: b"18446744073709547520 8192\n",
    "beyond the end": lambda rng: b"".join(b"%d 4096\n" % (5 * MIB + n * PAGE) for n in range(500)) + b"4190000 99999999\n",
    "a megabyte": lambda rng: b"".join(b"%d 512\n" % rng.randrange(4 * MIB) for _ in range(95000)),
    "a megabyte in one line": lambda rng: b"0 " + b"9" * MIB,
    "a megabyte of comments": lambda rng: b"#" * 1000 + b"\n#" * 500000,
    "overlapping": lambda rng: b"".join(b"%d 1000000\n" % (n * 3001) for n in range(100)),
    "overlapping backwards": lambda rng: b"".join(b"%d 1000000\n" % ((100 - n) * 3001) for n in range(100)),
    "whole, a thousand times": lambda rng: b"0 4194304\n4096 1\n" * 1000,
    "to and fro": lambda rng: b"0 4096\n4190208 4096\n" * 600,
    "each second page": lambda rng: b"".join(b"%d 4096\n" % (n * 8192) for n in range(511, -1, -1)),
    "NUL": lambda rng: b"0 4096\n\0\n8192 4096\n",
}


@each(*HOSTILE)
def hostile_trace(name):
    """traces that are wrong, or meant to harm: no byte is fetched twice, READs are served"""
    data = image("hostile", 4 * MIB)
    with Server({"/img": data, "/img.trace": HOSTILE[name](random.Random(3))}) as s:
        with daemon(s, traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: traces_asked(s), 5, "asking for the trace")
            need(k, f, data, 2 * MIB + PAGE, 64 * KIB, timeout=10)
            quiet(s)
            need(k, f, data, 3 * MIB + 5 * PAGE, 64 * KIB, timeout=10)
            assert all_once(s) <= len(data)
            check(f, data)
            sent = sum(r.range[1] + 1 - r.range[0] for r in traces_asked(s) if r.range)
            assert len(traces_asked(s)) == 1 and sent <= 128 * KIB, traces_asked(s)
            assert len(k.stderr.splitlines()) < 20, f"{len(k.stderr.splitlines())} lines in the log"



@scenario
def metadata_and_files():
    """a READ of one page, which is metadata, brings little beside it; a larger one, of a file, what is near"""
    data = image("metadata", 16 * MIB)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        quiet(s)
        need(k, f, data, 10 * MIB, PAGE)
        quiet(s)
        assert all_once(s) <= 20 * KIB, spans(s)
        need(k, f, data, 4 * MIB, 4 * PAGE)
        quiet(s)
        assert joined(sorted(spans(s)))[0] == (4 * MIB, 4 * MIB + 512 * KIB), spans(s)
        check(f, data)


@scenario
def trace_near_extents():
    """what comes soon in a trace and lies near is one request; what lies far or before is not"""
    data = image("near", 4 * MIB)
    extents = [(MIB, MIB + PAGE), (3 * MIB, 3 * MIB + PAGE), (MIB + 3 * PAGE, MIB + 4 * PAGE),
               (MIB - 2 * PAGE, MIB - PAGE), (MIB + 9 * PAGE, MIB + 10 * PAGE)]
    with Server({"/img": data, "/img.trace": trace_text(extents)}) as s:
        with daemon(s, "connections 1", traced=True) as k:
            f = k.opened("erofs,img", b"img")
            want = [(MIB, MIB + 4 * PAGE), (3 * MIB, 3 * MIB + PAGE), (MIB - 2 * PAGE, MIB - PAGE),
                    (MIB + 9 * PAGE, MIB + 10 * PAGE)]
            k.wait(lambda: f.present() >= sum(b - a for a, b in want), 10, "the trace's ranges")
            quiet(s)
            assert joined(spans(s)) == want, spans(s)
            check(f, data)


@each("file", "folder")
def trace_is_recorded(where):
    """trace record: the order of the READs is in the file after CLOSE; played by another daemon, it is the same"""
    data = image("recorded", 4 * MIB)
    order = [(40960, 4096), (4096, 4096), (MIB, 16384), (MIB + 16384, 16384), (4096, 4096), (3 * MIB + 512, 512),
             (len(data) - PAGE, PAGE), (2 * MIB, 4096)]
    want = [(40960, 45056), (4096, 8192), (MIB, MIB + 32768), (3 * MIB, 3 * MIB + PAGE), (4 * MIB - PAGE, 4 * MIB),
            (2 * MIB, 2 * MIB + PAGE)]
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data, "/two": data}) as s:
        path = folder + ("/img.trace" if where == "folder" else "/boot")
        with daemon(s, f"trace record {folder}/" if where == "folder" else f"trace record {path}") as k:
            f = k.opened("erofs,img", b"img")
            for offset, length in order:
                need(k, f, data, offset, length)
            assert not traces_asked(s)
            fetched = joined(sorted(spans(s)))
            assert fetched == joined(sorted(want)), f"more is fetched than is recorded: {fetched}"
            g = k.opened("erofs,two", b"two")
            need(k, g, data, MIB, PAGE)
            k.close(f)
            k.wait_closed(f)
            k.close(g)
            k.wait_closed(g)
            k.wait(lambda: os.path.exists(path), 5, "the trace's file")
            time.sleep(0.1)
            with open(path, "rb") as file:
                text = file.read()
            lines = [tuple(map(int, x.split())) for x in text.decode().splitlines() if x and x[0] != "#"]
            assert [(a, a + b) for a, b in lines] == want, lines
            there = sorted(os.listdir(folder))
            assert there == (["img.trace", "two.trace"] if where == "folder" else ["boot"]), there
        del s.requests[:]
        s.images["/img.trace"] = text
        with daemon(s, "connections 1", traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: f.present() >= sum(b - a for a, b in want), 10, "the trace's ranges")
            quiet(s)
            assert joined(spans(s)) == want, spans(s)
            check(f, data)


@scenario
def trace_record_over_a_death():
    """the worker is killed while a trace is recorded: the next one goes on with it"""
    data = image("recorded", MIB)
    pages = [n * 37 % 251 * PAGE for n in range(0, 250, 3)]     # a text of more than a buffer
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        path = folder + "/img.trace"

        def recorded():
            with contextlib.suppress(FileNotFoundError), open(path) as file:
                return [int(line.split()[0]) for line in file if line[0] != "#"]

        with daemon(s, f"trace record {folder}/") as k:
            f = k.opened("erofs,img", b"img")
            for page in pages[:-2]:
                need(k, f, data, page, PAGE)
            k.wait(lambda: recorded() == pages[:-2], 10, "the trace's file")
            kill_worker(k)
            for page in pages[-2:]:
                need(k, f, data, page, PAGE)
            k.close(f)
            k.wait_closed(f)
            k.wait(lambda: recorded() == pages, 10, "the whole trace")
        with open(path, "w") as file:
            file.write("no trace\n" * 500)
        with daemon(s, f"trace record {folder}/") as k:
            k.wait(lambda: k.worker, 10, "a worker")
            kill_worker(k)
            f = k.opened("erofs,img", b"img")
            need(k, f, data, PAGE, PAGE)
            k.close(f)
            k.wait_closed(f)
            k.wait(lambda: recorded() == [PAGE], 10, "a new trace")


@scenario
def trace_record_at_the_end():
    """a trace is written as well when the daemon ends with its image open; none where nothing was read"""
    data = image("recorded", MIB)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data, "/two": data}) as s:
        with daemon(s, f"trace record {folder}/") as k:
            f = k.opened("erofs,img", b"img")
            k.opened("erofs,two", b"two")
            need(k, f, data, 65536, 4096)
            assert k.stop() == 0
            assert os.listdir(folder) == ["img.trace"], os.listdir(folder)
            with open(folder + "/img.trace") as file:
                assert "65536 4096" in file.read()


@scenario
def trace_record_with_prefetch_all():
    """what is recorded is what is read, even while all is prefetched"""
    data = image("recorded", MIB)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        with daemon(s, f"trace record {folder}/t", "prefetch all", "prefetch-rate 16K") as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 512 * KIB, 4096)
            k.close(f)
            k.wait_closed(f)
            k.wait(lambda: os.path.exists(folder + "/t"), 5, "the trace's file")
            with open(folder + "/t") as file:
                lines = [x for x in file.read().splitlines() if x[0] != "#"]
            assert lines == ["524288 4096"], lines


# -- CLOSE, fds, ids -----------------------------------------------------------------------------

@each("mainline", "v8")
def close_closes(layout):
    """CLOSE closes the descriptor; one for an unknown object or for -1 does nothing"""
    data = image(1, 50000)
    with Server({"/img": data, "/two": data}) as s, daemon(s, layout=layout) as k:
        f, g = k.opened("erofs,img", b"img"), k.opened("erofs,two", b"two")
        for handle in (GONE, 0, 4711, DEVICE_FD if layout == "v8" else 99, 1, 2):
            k.raw(close_message(k, 900, handle))
        k.wait_taken()
        k.close(f)
        k.wait_closed(f)
        need(k, g, data, 0, 50000)
        assert g.fd is not None and k.device_open


@each("mainline", "v8")
def close_while_open_is_unanswered(layout):
    """CLOSE before copen: the descriptor is closed, nothing is left behind"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s, layout=layout) as k:
        k.wait_bound()
        # The first OPEN tells the daemon the layout.
        k.opened("erofs,x", b"img")
        s.default["delay"] = 1.5
        f = k.open("erofs,img", b"img")
        k.wait_taken(f.open_request)
        k.close(f)
        k.wait_closed(f, 5)
        s.default["delay"] = 0
        still_serves(k, s)
        time.sleep(1.6)
        still_serves(k, s, "later")


@each("mainline", "v8")
def fd_number_used_again(layout):
    """CLOSE with fetches in flight, then OPEN with the same number: no byte of the old image in the new file"""
    old, new = image("old", 2 * MIB), image("new", 2 * MIB)
    with Server({"/old": old, "/new": new}) as s, daemon(s, layout=layout) as k:
        for turn in range(4):
            s.paths["/old"] = {}
            f = k.opened("erofs,old", b"old")
            number = f.fd
            s.paths["/old"] = ({"rate": 2 * MIB}, {"delay": 0.5}, {"stall": 100000}, {"rate": MIB})[turn]
            reads = [k.read(f, n * 256 * KIB, 131072) for n in range(8)]
            time.sleep(0.15)
            k.close(f)
            g = k.open("erofs,new", b"new")
            assert k.wait_copen(g) == told(new)
            k.wait_closed(f)
            assert g.fd == number or turn < 0, f"{g.fd}, not {number}"
            more = [k.read(g, n * 256 * KIB, 65536) for n in range(8)]
            for r in more:
                got(k, r, new, 10)
            if turn == 1:
                time.sleep(0.5)
            check(g, new)
            assert all(r.state == "done" for r in reads)
            k.close(g)
            k.wait_closed(g)


@scenario
def open_of_a_live_key():
    """a second OPEN of a key is answered with the same size, even while the server is away or changed (0.8, 5.4.1)"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, "timeout 5") as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        s.paths["/img"] = {"image": image(2, 400000)}
        g = k.open("erofs,img", b"img", same=f)
        assert k.wait_copen(g) == told(data), g.size
        s.paths["/img"] = {}
        s.stop()
        h = k.open("erofs,img", b"img")
        assert k.wait_copen(h, 3) == told(data)
        s.start()
        for x in (h, g, f):
            need(k, x, data, 131072, 8192)
        k.close(f)
        k.wait_closed(f)
        need(k, g, data, 200704, 8192)
        k.close(g)
        k.wait_closed(g)
        need(k, h, data, 200704 - PAGE, 8192)


@each("READs", "prefetch all")
def one_of_two_files_closed(how):
    """CLOSE of one of two files of an image, with fetches in flight: none of it gets into the file that has its number next"""
    data, new = image("twice", 4 * MIB), image("next", 2 * MIB)
    words = ["prefetch all"] if how == "prefetch all" else []
    with Server({"/img": data, "/new": new}) as s, daemon(s, *words) as k:
        f, g = k.opened("erofs,img", b"img"), k.opened("erofs,img", b"img")
        s.paths["/img"] = {"rate": 256 * KIB}
        number, reads = f.fd, [k.read(f, n * 512 * KIB, 128 * KIB) for n in range(4)]
        k.wait(lambda: f.present() > 0, 10, "data")
        k.close(f)
        k.wait_closed(f)
        h = k.opened("erofs,new", b"new")
        assert h.fd == number, f"{h.fd}, not {number}"
        for n in range(8):
            need(k, h, new, n * 256 * KIB, 64 * KIB)
        s.paths["/img"] = {}
        need(k, g, data, MIB, 64 * KIB, timeout=20)
        time.sleep(0.5)
        check(h, new)
        check(g, data)
        assert all(r.state == "done" for r in reads)


@scenario
def same_blob_in_two_volumes():
    """one cookie key in two volumes: two files, both right"""
    data = image(1, 100000)
    with Server({"/blob": data}) as s, daemon(s) as k:
        f, g = k.opened("erofs,one", b"blob"), k.opened("erofs,two", b"blob")
        a, b = k.read(f, 0, 65536), k.read(g, 0, 65536)
        got(k, a, data)
        got(k, b, data)
        k.close(f)
        k.wait_closed(f)
        need(k, g, data, 65536, 20000)


@scenario
def read_again():
    """a READ delivered twice, before and after its answer; a reader that was killed"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        s.default["delay"] = 0.4
        r = k.read(f, 0, 8192)
        k.wait_taken(r)
        k.deliver_again(r)
        got(k, r, data)
        k.deliver_again(r)
        k.wait_taken()
        r = k.read(f, 65536, 8192)
        k.wait_taken(r)
        k.kill_reader(r)
        time.sleep(0.6)
        s.default["delay"] = 0
        need(k, f, data, 131072, 8192)


@each("mainline", "v8")
def read_of_an_unknown_object(layout):
    """a READ for an object that was never opened, and for -1"""
    data = image(1, 50000)
    with Server({"/img": data}) as s, daemon(s, layout=layout) as k:
        f = k.opened("erofs,img", b"img")
        for handle in (GONE, 0, 4711, 1 << 31, 2):
            k.raw(read_message(k, 700, handle, 0, 4096))
        k.wait_taken()
        need(k, f, data, 0, 50000)


@scenario
def nothing_to_read():
    """POLLIN, and read() gives 0 (2.3)"""
    data = image(1, 50000)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        reads = k.device_reads
        for _ in range(20):
            k.wake()
            time.sleep(0.01)
        need(k, f, data, 0, 50000)
        assert k.device_reads - reads < 100, f"{k.device_reads - reads} read()s"


# -- garbage -------------------------------------------------------------------------------------

def garbage(k, rng, count):
    """Messages that no kernel sends.  Descriptor numbers in them are ones that are not open."""
    far = 60000
    for size in range(1, 41):       # none of 0 bytes: that says "nothing there"
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
    with Server({"/img": data}) as s, daemon(s, layout=layout, options=["-d"]) as k:
        f = k.opened("erofs,img", b"img")
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
        k.close(f)
        k.wait_closed(f)


# -- errors of calls -----------------------------------------------------------------------------

@scenario
def read_errors():
    """EMFILE, ENFILE, ENOMEM, EEXIST, EINTR, EFAULT, EIO from read(): the daemon goes on"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        for n, name in enumerate(("EMFILE", "ENFILE", "ENOMEM", "EEXIST", "EINTR", "EFAULT", "EIO", "EAGAIN")):
            k.read_error(getattr(errno, name))
            need(k, f, data, n * 32 * KIB, 4096)
        lost = k.open("erofs,lost", b"lost", request=False)
        k._queue_open(lost)
        k.read_error(errno.EMFILE, lost.open_request)
        need(k, f, data, 290816, 4096)
        still_serves(k, s)


@each("mainline", "v8")
def write_window(layout):
    """ENOBUFS for a while after copen (3.3): the data gets there"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, layout=layout, window=5) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 65536)
        need(k, f, data, 131072, 65536)
        assert f.busy_writes == 0


@each("ENOSPC", "ENOBUFS", "EIO")
def writes_fail(name):
    """writes that keep failing: READ is answered without data in bounded time, the log says why, it goes on"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, "timeout 2") as k:
        f = k.opened("erofs,img", b"img")
        k.on_write = lambda file, offset, length: -getattr(errno, name)
        before = len(k.stderr)
        r = k.read(f, 131072, 65536)      # the first page comes with the OPEN
        assert k.wait_complete(r, 12) == 0
        time.sleep(0.1)
        assert k.stderr[before:].strip(), "nothing in the log"
        calls = len(f.writes)
        assert calls < 2000, f"{calls} pwrite()s"
        k.on_write = None
        recovers(k, f, data, 131072, 65536)


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
    """a return value larger than what was asked for (1.3)"""
    data = image(1, MIB + 5)
    with Server({"/img": data}) as s, daemon(s) as k:
        k.on_write = lambda file, offset, length: length + 65536
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, MIB + 5)


@scenario
def writes_of_an_old_kernel():
    """a kernel that rounds misaligned offsets down without a word (6.1): right bytes"""
    data = image(1, 300001)
    with Server({"/img": data}) as s, daemon(s, old=True, release="6.1.192") as k:
        f = k.opened("erofs,img", b"img")
        for offset, length in ((512, 512), (70000 // 512 * 512, 1024), (0, 131072), (299520, 512)):
            need(k, f, data, offset, length)


# -- processor time, memory ----------------------------------------------------------------------

@each("mainline", "v8")
def no_spin_on_old_kernels(layout):
    """POLLIN for as long as a READ is unanswered (2.3): no processor time, few read()s"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, "timeout 20", layout=layout, old=True) as k:
        s.rule = after_the_probe(delay=6)
        f = k.opened("erofs,img", b"img")
        r = k.read(f, 65536, 4096)
        k.wait_taken(r)
        time.sleep(0.2)
        cpu, reads = k.cpu(), k.device_reads
        time.sleep(2)
        cpu, reads = k.cpu() - cpu, k.device_reads - reads
        assert r.state == "read", r
        assert cpu < 0.05, f"{cpu:.3f} s of processor time in 2 s"
        assert reads <= 20, f"{reads} read()s in 2 s"
        s.rule = None
        got(k, r, data)
        need(k, f, data, 131072, 65536)


@scenario
def old_kernel_wakes():
    """and requests that come meanwhile are seen at once"""
    data, slow = image(1, 300000), image(2, 300000)
    with Server({"/img": data, "/slow": slow}) as s, daemon(s, "timeout 20", old=True) as k:
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,img", b"img")
        s.paths["/slow"] = {"delay": 3}
        r = k.read(f, 0, 4096)
        k.wait_taken(r)
        for n in range(10):
            time.sleep(0.02)
            need(k, g, data, n * 28672, 4096, timeout=1)
        got(k, r, slow)


@scenario
def idle():
    """an idle daemon uses no processor time"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 65536)
        time.sleep(0.5)
        cpu = k.cpu()
        time.sleep(2)
        cpu = k.cpu() - cpu
        assert cpu < 0.005, f"{cpu:.4f} s of processor time in 2 s"


@scenario
def no_memory_is_allocated():
    """no brk(), mmap(), mremap(), munmap() after start, whatever happens; resident memory stays below 1 MiB"""
    if ASAN:
        raise Skip("a sanitizer allocates")
    data = image(1, 2 * MIB)
    with Server({f"/i{n}": data for n in range(10)}) as s, daemon(s, "timeout 2", watch_memory=True) as k:
        k.wait_bound()
        time.sleep(0.2)
        k.memory_calls.clear()
        before = k.memory()
        files = [k.opened(f"erofs,i{n}", b"i%d" % n) for n in range(10)]
        for f in files:
            for n in range(4):
                k.read(f, n * 512 * KIB, 256 * KIB)
        for f in files:
            need(k, f, data, 2 * MIB - 65536, 65536, timeout=20)
        refused(k, k.open("erofs,x", b"missing"), errno.ENOENT)
        for n, message in enumerate(garbage(k, random.Random(9), 50)):
            k.raw(message)
        s.default["status"] = 500
        k.wait_complete(k.read(files[0], 768 * KIB, 4096))
        s.default = {}
        for f in files:
            k.close(f)
        for f in files:
            k.wait_closed(f)
        after = k.memory()
        assert not k.memory_calls, k.memory_calls[:5]
        grown = {x: after[x] - before[x] for x in ("VmData", "VmSize", "VmPeak") if after[x] != before[x]}
        assert not grown, grown
        assert after["VmRSS"] <= 1024, f"VmRSS {after['VmRSS']} KiB"


@scenario
def standard_error_is_full():
    """nobody reads the log: the daemon never waits for it"""
    data = image(1, 300000)
    with Server({"/img": data}) as s, daemon(s, options=["-d"], drain=False) as k:
        f = k.opened("erofs,img", b"img")
        rng = random.Random(3)
        for n in range(3000):
            k.raw(rng.randbytes(24))
        k.wait_taken(timeout=20)
        need(k, f, data, 0, 65536)
        still_serves(k, s)


# -- death ---------------------------------------------------------------------------------------

@each("an OPEN in flight", "a READ in flight", "idle")
def cache_dies(when):
    """the cache dies (2.3): the daemon notices, says so, exits with 1"""
    data = image(1, 300000)
    with Server({"/img": data, "/two": data}) as s, daemon(s, "timeout 5", expect_exit=1) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        s.default["delay"] = 0.5
        if when == "an OPEN in flight":
            g = k.open("erofs,two", b"two")
            k.wait_taken(g.open_request)
        elif when == "a READ in flight":
            r = k.read(f, 65536, 4096)
            k.wait_taken(r)
        k.die()
        # copen gives EIO; otherwise only a look now and then can tell.
        k.wait_exit(5 if when == "an OPEN in flight" else constant("ALIVE_EVERY", "cachefilesd-mini.c") / 1000 + 3)
        k.wait_log_end()
        assert re.search(r"(?i)dead|died|EIO|I/O error|cache", k.stderr), "nothing about it in the log"


@each("mainline", "v8")
def terminated(layout):
    """SIGTERM: pending READs are answered, cache files closed before the device, status 0"""
    data = image(1, 300000)
    with Server({"/img": data, "/two": data, "/three": data}) as s, daemon(s, layout=layout, old=layout == "v8") as k:
        s.rule = after_the_probe(delay=1000)
        files = [k.opened("erofs," + n, n.encode()) for n in ("img", "two", "three")]
        reads = [k.read(f, 65536 + n * PAGE * 9, 4096) for f in files for n in range(3)]
        k.wait_taken(*reads)
        s.default["delay"] = 1000
        k.open("erofs,four", b"four")
        k.wait_taken()
        start = time.monotonic()
        assert k.stop() == 0, k.status
        assert time.monotonic() - start < 3, "slow to end"
        missing = [r for r in reads if r.answers != 1]
        assert not missing, f"{len(missing)} READs unanswered: {missing[0]}"
        assert k.closings[-1] == DEVICE_FD and len(k.closings) >= 4, f"closed in the order {k.closings}"


@each("SIGINT", "SIGHUP", "SIGPIPE")
def other_signals(name):
    """SIGINT ends it as SIGTERM does; SIGHUP and SIGPIPE do not kill it by surprise"""
    with Server({"/img": image(1, 5000)}) as s, daemon(s) as k:
        k.opened("erofs,img", b"img")
        k.signal(getattr(signal, name))
        if name == "SIGINT":
            assert k.wait_exit() == 0
        else:
            time.sleep(0.2)
            assert k.status in (None, 0), k.status
            if k.status is None:
                still_serves(k, s)


# -- the status socket ---------------------------------------------------------------------------

def status_path(k):
    return os.path.join(k.cache, "status")


def watched(url, *directives, **more):
    """The daemon with its status socket beside the cache."""
    return daemon(url, "status {cache}/status", *directives, **more)


def metrics(k):
    return exposition.Metrics(exposition.ask(status_path(k)))


def until(k, condition, timeout=15):
    """Waits until condition(metrics), which it returns. The stand-in answers the daemon meanwhile."""
    end = time.monotonic() + timeout
    while not condition(m := metrics(k)):
        assert time.monotonic() < end, f"not within {timeout} s: {m.samples}"
        time.sleep(0.1)
    return m


def show(path, *options):
    done = subprocess.run([*standin.EMULATOR, DAEMON, "-f", "/dev/null", "-o", f"status {path}", "--status", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


@scenario
def status_agrees():
    """the status socket's numbers are those of the server's log, of the READs and of the cache file"""
    data = image("status", 3 * MIB)
    with Server({"/img": data}) as s, watched(s) as k:
        f = k.opened("erofs,img", b"img")
        for n in range(20):
            need(k, f, data, n * 100 * KIB // PAGE * PAGE, 16 * KIB)
        quiet(s)
        m = metrics(k)
        sent = sum(r.sent for r in s.requests)
        assert m.get("mirror_requests_total", mirror="1") == len(s.requests), (m.samples, len(s.requests))
        assert m.get("image_requests_total", image="img") == len(s.requests)
        assert m.get("mirror_received_bytes_total", mirror="1") == sent, (m.samples, sent)
        assert m.get("image_received_bytes_total", image="img") == sent
        assert m.get("image_size_bytes", image="img") == len(data)
        assert m.get("image_reads_total", image="img") == m["read_seconds_count"] == 20
        assert m.get("image_read_bytes_total", image="img") == 20 * 16 * KIB
        assert m["open_files"] == m["opens_total"] == 1 and m["opens_refused_total"] == 0
        assert m["reads_waiting"] == m["reads_failed_total"] == 0
        assert m.get("image_cached_bytes", image="img") == f.present(), (m.samples, f.present())
        assert m.get("image_written_bytes_total", image="img") == f.present()
        assert 1 <= m["connections"] <= limit("connections")
        assert oct(os.stat(status_path(k)).st_mode & 0o777) == "0o600"


@scenario
def status_of_failures():
    """what fails is told by reason and by mirror: the first is set aside, READs of an outage are counted"""
    data = image("failing", 300000)
    with Server({"/img": data}) as s, Server({"/img": data}) as t, watched(s, f"url {t.url}", "timeout 2") as k:
        s.default["status"] = 503
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, PAGE)
        m = metrics(k)
        assert m.get("mirror_failures_total", mirror="1", reason="server busy") >= 1, m.samples
        assert m.sum("mirror_failures_total") == m.get("image_failures_total", image="img")
        assert 0 < m.get("mirror_set_aside_seconds", mirror="1") <= 60
        assert m.get("mirror_set_aside_seconds", mirror="2") == 0
        t.default["status"] = 404
        r = k.read(f, 131072, PAGE)
        until(k, lambda m: m.get("image_failing_seconds", image="img") > 0)
        assert metrics(k)["reads_waiting"] == 1
        assert k.wait_complete(r, 15) == 0
        k.open("erofs,other", b"other")
        m = until(k, lambda m: m["opens_refused_total"] == 1)
        assert m["reads_failed_total"] == m.get("image_reads_failed_total", image="img") == 1
        assert m["read_seconds_count"] == 1
        assert m.get("image_size_bytes", image="other") is None


@scenario
def status_of_holes():
    """what is cached is counted right where the cache file has hundreds of holes, over several turns"""
    data = image("holes", 4 * MIB)
    with Server({"/img": data}) as s, watched(s, "trace record {cache}/trace") as k:
        f = k.opened("erofs,img", b"img")
        for n in range(1, 300):         # a recorder fetches nothing but what is asked for
            need(k, f, data, n * 2 * PAGE, PAGE)
        assert len(f.extents()) > 2 * constant("COUNT_STEPS", "fetch/fetch.c"), len(f.extents())
        m = metrics(k)
        assert m.get("image_cached_bytes", image="img") == f.present(), (m.samples, f.present())
        assert m.states("img") == {"recording"}, m.states("img")


@scenario
def status_names():
    """hostile names and a URL with secrets: the text stays well-formed, JSON too, no secret is told"""
    data = image("names", 20000)
    names = [b'a"b', b"a\\b", b"a\\x22b", b"\xff\xfe", "üñí".encode(), b"x" * 240, b"}\n# EOF", b"a,b=\"c\"", b" ",
             b"\x1b[2J", b"%s%n", b"/a/b"]
    with Server() as s:
        s.default["image"] = data
        with watched(s.url.replace("http://", "http://user:secret@"), f"url {s.url}x?token=secret&name=%c") as k:
            for name in names:
                k.opened("erofs," + "v", name)
            k.opened("erofs,v\xff\"", b"a\"b")
            text = exposition.ask(status_path(k))
            m = exposition.Metrics(text)
            assert "secret" not in text and "user" not in text, text
            for name in names:
                size = m.get("image_size_bytes", image=exposition.name_in_labels(name), volume="erofs,v")
                assert size == len(data), (name, m.samples)
            status, out, err = show(status_path(k), "--json")
            assert (status, err) == (0, ""), (status, err)
            told = json.loads(out)
            assert {i["image"] for i in told["images"]} == {exposition.name_in_labels(n) for n in names}
            assert len(told["images"]) == len(names) + 1
            status, out, err = show(status_path(k))
            assert (status, err) == (0, ""), (status, err)
            assert re.fullmatch(r"[ -~\n]*", out) and max(len(line) for line in out.splitlines()) <= 80, out


@scenario
def status_json():
    """--status --json has every number that the socket has"""
    data = image("json", MIB)
    with Server({"/img": data, "/two": data}) as s, watched(s, "url http://127.0.0.1:1/") as k:
        k.wait_bound()
        s.paths["/img"] = {"status": 503}
        f = k.open("erofs,img", b"img")
        until(k, lambda m: m.get("mirror_failures_total", mirror="2", reason="server unreachable"))
        s.paths.clear()
        k.wait_copen(f)
        need(k, k.opened("erofs,two", b"two"), data, 0, 65536)
        quiet(s)
        m, told = metrics(k), json.loads(show(status_path(k), "--json")[1])
        seen = 0
        for (name, labels), n in m.samples.items():
            labels, part = dict(labels), told
            for label, of in ("image", "images"), ("mirror", "mirrors"):
                if label in labels:
                    part = next(x for x in told[of] if x[label] == labels[label])
                    del labels[label]
            if name in ("mirror_info", "build_info"):
                assert part.items() >= labels.items(), (labels, part)
            elif labels:
                (detail,) = labels.values()
                assert part[name][detail] == n, (name, detail, n, part)
            elif "seconds" not in name and not name.startswith("link"):
                assert part[name] == n, (name, n, part)
            else:
                assert name in part, name
            seen += 1
        assert seen == len(m.samples) > 60


@scenario
def status_readers():
    """slow, stuck, vanishing and many readers of the status socket hold up no READ, and nobody for long"""
    data = image("readers", MIB)
    with Server() as s:
        s.default["image"] = data
        with watched(s) as k:
            # Some 50 names of 240 bytes that take five each: more than a socket takes at once.
            files = [k.opened("erofs,v", b"%02d" % n + b"\xff" * 238) for n in range(50)]
            stuck = socket.socket(socket.AF_UNIX)
            stuck.connect(status_path(k))
            writer = socket.socket(socket.AF_UNIX)
            writer.connect(status_path(k))
            writer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            gone = socket.socket(socket.AF_UNIX)
            gone.connect(status_path(k))
            gone.close()
            start = time.monotonic()
            need(k, files[7], data, 65536, PAGE, 2)
            text = exposition.ask(status_path(k), 20)
            took = time.monotonic() - start
            patience = 2 * constant("CLIENT_TIME", "tools/status.c") / 1000   # the first two take nothing
            assert patience - 2 < took < patience + 3, f"answered after {took:.1f} s"
            assert len(exposition.Metrics(text).samples) > 500
            stuck.settimeout(5)
            assert not exposition.hear(stuck).endswith("# EOF\n"), "all of it went into the socket's buffer"

            callers = []
            for _ in range(8):
                callers.append(socket.socket(socket.AF_UNIX))
                callers[-1].settimeout(20)
                callers[-1].connect(status_path(k))
            need(k, files[9], data, 65536, PAGE, 2)
            for caller in callers:
                exposition.Metrics(exposition.hear(caller))
            slow = socket.socket(socket.AF_UNIX)
            slow.settimeout(20)
            slow.connect(status_path(k))
            parts = []
            while part := slow.recv(8192):
                parts.append(part)
                time.sleep(0.005)
            exposition.Metrics(b"".join(parts).decode())
            need(k, files[11], data, 65536, PAGE, 2)


@scenario
def status_tool():
    """--status: 0 and the facts; 1 and a sentence when nobody answers or nonsense comes; none; a bad path"""
    data = image("tool", MIB)
    with Server({"/img": data}) as s, watched(s) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, MIB)
        quiet(s)
        path = status_path(k)
        status, out, err = show(path)
        assert (status, err) == (0, ""), (status, err)
        for word in (r"(?m)^img *\n \[#{30}\] 100%$", r" cached +1\.0 MB ", r" reads failed +0\b", r" reads +1\b",
                     r"(?m)^mirror 1 http://127\.0\.0\.1:\d+/ *$", r"READs in \d+\.\d+ s +1\b", r" rate +0\.0 kB/s"):
            assert re.search(word, out), (word, out)
        for other, word in ((path + "x", "No such file"), ("none", "No such|Connection refused")):
            status, out, err = show(other)
            assert (status, out) == (1, "") and re.search(f"no daemon answers at .*({word})", err), (status, err)
        done = subprocess.run([*standin.EMULATOR, DAEMON, "-n", "-s", "-o", f"status {path}", s.url], stderr=subprocess.PIPE, text=True,
                              timeout=10, check=False)
        assert done.returncode == 1 and "another daemon answers there" in done.stderr, done
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path + "y")
            server.listen()
            text = exposition.ask(path).encode()
            for wrong in (b"", b"x\n", text[:-6], text[:200], text.replace(b"} 1\n", b"} \x1b[2J\n"), b"\0" + text,
                          text * 3, b"#" * 300000 + b"\n" + text + b"#"):
                with subprocess.Popen([*standin.EMULATOR, DAEMON, "-f", "/dev/null", "-o", f"status {path}y", "--status", "--json"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
                    client = server.accept()[0]
                    client.sendall(wrong)
                    client.close()
                    out, err = shown.communicate(timeout=20)
                assert (shown.returncode, out) == (1, b"") and err.count(b"\n") == 1 and b"\x1b" not in err, (out, err)
        k.stop()
        status, out, err = show(path)
        assert (status, out) == (1, "") and "no daemon answers" in err, (status, err)


@each("error", "warning", "info", "debug")
def log_level(level):
    """log LEVEL: what is less important is not told"""
    with Server({"/img": image(1, 5000)}, etag="") as s:
        with daemon(s, f"log {level}") as k:
            s.default["last_modified"] = ""
            k.opened("erofs,img", b"img")
            refused(k, k.open("erofs,missing", b"missing"))
            k.stop()
            k.wait_log_end()
            told = [bool(re.search(word, k.stderr)) for word in
                    ("cannot be opened", "neither ETag nor", "5000 bytes at", "opcode 0")]
            assert told == [True, level != "error", level in ("info", "debug"), level == "debug"], k.stderr


# -- what is remembered --------------------------------------------------------------------------

def remembered(k):
    """Paths of the files beside the cache."""
    return [entry.path for entry in os.scandir(os.path.join(k.cache, "cachefilesd-mini"))]


def session(s, data, *directives, lost=False, changed=False, **more):
    """One run of the daemon: /img opens, and all of it is right.  `lost`: what is remembered is taken away
    before; `changed`: the log names both versions.  Returns the stand-in and the bytes fetched."""
    k = daemon(s, *directives, keep=True, **more)
    if lost:
        shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"), ignore_errors=True)
    with k:
        before = len(s.requests)
        f = k.opened("erofs,img", b"img")
        for offset in range(0, len(data), 131072):
            if f.filled(offset, 131072) < min(131072, len(data) - offset):
                need(k, f, data, offset, 131072)    # as the kernel asks only for what is missing
        check(f, data)
        assert not changed or k.wait_log(r"img: was replaced .*became", 2)
        assert changed or "was replaced" not in k.stderr, k.stderr
        return k, f, s.bytes_sent(since=before)


def forgotten(k):
    shutil.rmtree(k.directory)


@each("etag", "weak etag", "last-modified only", "another size")
def replaced_between_runs(what):
    """an image that is replaced while no daemon runs: other size told, no old byte, all new ones; back again too"""
    old, new = image("old", 300000), image("new", 304096 if what == "another size" else 300000)
    versions = [{"etag": '"1"'}, {"etag": '"2"'}]
    if what == "weak etag":
        versions = [{"etag": 'W/"1"'}, {"etag": 'W/"2"'}]
    elif what == "last-modified only":
        versions = [{"etag": "", "last_modified": f"Wed, 06 Apr 2022 07:55:5{n} GMT"} for n in (1, 2)]
    elif what == "another size":
        versions = [{"etag": '"1"'}] * 2
    with Server({"/img": old}) as s:
        s.paths["/img"] = versions[0]
        k, f, fetched = session(s, old)
        assert f.size == told(old, versions[0]["etag"], versions[0].get("last_modified", told.__defaults__[1]))
        first, k = f.size, k
        k, f, again = session(s, old, after=k)
        assert f.size == first and fetched >= len(old) and again < 100000, (f.size, first, again)
        s.images["/img"], s.paths["/img"] = new, versions[1]
        k, f, fetched = session(s, new, after=k, changed=True)
        assert f.size != first and fetched >= len(new), (f.size, fetched)
        assert len(remembered(k)) == 1, remembered(k)
        s.images["/img"], s.paths["/img"] = old, versions[0]
        k, f, _ = session(s, old, after=k, changed=True)
        assert f.size == first
        forgotten(k)


@scenario
def state_lost():
    """what is remembered is lost: the same version is still told as the same size, another one as another"""
    old, new = image("old", 300000), image("new", 300000)
    with Server({"/img": old}) as s:
        k, f, _ = session(s, old)
        first = f.size
        k, f, fetched = session(s, old, lost=True, after=k)
        assert f.size == first and fetched < 100000, fetched
        s.images["/img"] = new
        k, f, _ = session(s, new, lost=True, after=k)
        assert f.size != first
        forgotten(k)


@scenario
def state_collides():
    """a version that would be told as the one before was: the next size"""
    old, new = image("old", 300000), image("new", 300000)
    with Server({"/img": old}) as s:
        k, f, _ = session(s, old)
        path, = remembered(k)
        with open(path) as file:
            text = file.read()
        text = re.sub(r"told \d+", f"told {told(new)}", text[:text.index("sum ")])
        with open(path, "w") as file:
            file.write(f"{text}sum {fnv(text):016x}\n")
        k.stored["erofs,img", b"img"] = (f.path, told(new))
        s.images["/img"] = new
        k, f, _ = session(s, new, after=k, changed=True)
        assert f.size == told(new) + 1, f.size
        forgotten(k)


@each("empty", "noise", "huge", "a link", "a folder", "a fifo", "nothing but its keys")
def state_hostile(what):
    """in the place of what is remembered lies something else: the image opens as if there were nothing"""
    data = image("hostile", 300000)
    with Server({"/img": data}) as s:
        k, f, _ = session(s, data)
        path, = remembered(k)
        with open(path) as file:
            text = file.read()
        os.unlink(path)
        if what == "a link":
            os.symlink("/etc/passwd", path)
        elif what == "a folder":
            os.mkdir(path)
        elif what == "a fifo":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.write({"empty": b"", "noise": random.Random(3).randbytes(900), "huge": text.encode() * 1000,
                            "nothing but its keys": "".join(text.splitlines(True)[:3]).encode()}[what])
        k, f, _ = session(s, data, after=k)
        assert f.size == told(data)
        if what != "a folder":
            with open(path) as file:
                assert re.sub("checked.*", "", file.read(), flags=re.S) == re.sub("checked.*", "", text, flags=re.S)
        forgotten(k)


@scenario
def state_cannot_be_kept():
    """no folder can be made: one warning, and all else works"""
    data = image("kept", 300000)
    with Server({"/img": data, "/two": data}) as s, daemon(s, keep=True) as k:
        k.wait_bound()
    shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
    with open(os.path.join(k.cache, "cachefilesd-mini"), "w"), Server({"/img": data, "/two": data}) as s, \
            daemon(s, after=k) as k:
        for name in ("img", "two"):
            f = k.opened(f"erofs,{name}", name.encode())
            assert f.size == told(data)
            need(k, f, data, 0, 300000)
        assert len(re.findall("remembered", k.stderr)) == 1, k.stderr


@scenario
def state_of_odd_names():
    """keys with all bytes, 254 and 250 long: remembered, and told apart"""
    names = [bytes(range(1, 251)), b"a\nsize 1", b"%41", b"A", "\u00fc".encode()]
    data = image("odd", 9000)
    with Server() as s:
        s.default["image"] = data
        for turn in range(2):
            with daemon(s, keep=turn == 0, after=k if turn else None) as k:
                for name in names:
                    for volume in ("erofs,x", "erofs," + "v" * 248):
                        assert k.opened(volume, name).size == told(data)
                assert len(remembered(k)) == 2 * len(names), remembered(k)
                assert "was replaced" not in k.stderr


# -- offline -------------------------------------------------------------------------------------

@each("stopped", "hangs", "no such host")
def offline_allow(how):
    """offline allow: an image opens from what is remembered; what is missing comes when the server is back"""
    data = image("offline", 4 * MIB)
    with Server({"/img": data}) as s:
        with daemon(s, keep=True) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 65536)
            first = f.size
        if how == "stopped":
            s.stop()
        elif how == "hangs":
            s.default["delay"] = 1000
        url = s.url.replace("127.0.0.1", "nowhere.invalid") if how == "no such host" else s.url
        with daemon(url, "offline allow", "timeout 6", after=k) as k:
            f = k.open("erofs,img", b"img")
            start = time.monotonic()
            assert k.wait_copen(f, 8) == first
            assert how != "stopped" or time.monotonic() - start < 3
            k.wait_log("opened offline", 2)
            assert f.filled(0, 65536) == 65536
            if how == "no such host":
                return
            assert f.filled(3 * MIB, 65536) == 0
            r = k.read(f, 3 * MIB, 65536)
            time.sleep(1)
            assert r.state != "done", "a missing part did not wait"
            s.default.pop("delay", None)
            s.stop()
            s.start()
            got(k, r, data, 10)


@each("retry hard", "timeout 2")
def full_for_long(policy):
    """a cache that is full for 9 s: with retry hard a READ waits, else it fails; the next one is right"""
    data = image("full", MIB)
    with Server({"/img": data}) as s, daemon(s, policy) as k:
        f = k.opened("erofs,img", b"img")
        full = time.monotonic() + 9
        k.on_write = lambda file, offset, length: -errno.ENOBUFS if time.monotonic() < full else None
        r = k.read(f, 524288, 65536)
        have = k.wait_complete(r, 20)
        assert have == (65536 if policy == "retry hard" else 0), have
        if policy != "retry hard":
            assert time.monotonic() < full
            k.wait_log("cannot write to the cache", 2)
            time.sleep(max(0, full - time.monotonic()))
        recovers(k, f, data, 524288, 65536)


@scenario
def offline_changed():
    """offline allow: the server comes back with another version: what is missing fails, nothing is mixed"""
    data, new = image("old", 4 * MIB), image("new", 4 * MIB)
    with Server({"/img": data}) as s:
        with daemon(s, keep=True) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 65536)
            first = f.size
        s.stop()
        with daemon(s, "offline allow", "timeout 6", after=k, keep=True) as k:
            f = k.opened("erofs,img", b"img")
            assert f.size == first
            s.images["/img"] = new
            s.start()
            assert f.filled(3 * MIB, 65536) == 0
            r = k.read(f, 3 * MIB, 65536)
            assert k.wait_complete(r, 10) == 0
            k.wait_log("cannot be read until it is mounted anew", 2)
            check(f, data)
        k, f, _ = session(s, new, after=k, changed=True)
        forgotten(k)


@each("deny", "nothing remembered", "a mirror that has it not", "a mirror that is back")
def offline_not(why):
    """no offline: where it is not allowed, nothing is remembered, or a server can be reached"""
    data = image("offline", 300000)
    with Server({"/img": data}) as s, Server({"/img": data} if why.endswith("back") else {}) as mirror:
        with daemon(s, keep=True) as k:
            f = k.opened("erofs,img", b"img")
        if why == "nothing remembered":
            shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
        s.stop()
        directives = ["timeout 2", "offline " + ("deny" if why == "deny" else "allow")]
        if "mirror" in why:
            directives.append(f"url {mirror.url}")
        with daemon(s, *directives, after=k) as k:
            f = k.open("erofs,img", b"img")
            if why.endswith("back"):
                assert k.wait_copen(f) == told(data)
            else:
                refused(k, f)
            assert "offline" not in k.stderr


SLOW = {cache_dies, status_readers, prefetch_into_a_full_cache, prefetch_rate, pipelining_is_not_borne}


# -- running them --------------------------------------------------------------------------------

def run(function, arguments):
    """None, or what went wrong; "# SKIP …"."""
    start = time.monotonic()
    try:
        function(*arguments)
        return None, time.monotonic() - start
    except Skip as reason:
        return f"# SKIP {reason}", time.monotonic() - start
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)
        lines = [f"{type(error).__name__}: {error}"]
        lines += [f"at {os.path.basename(x.filename)}:{x.lineno} {x.line}"
                  for x in place if x.filename.startswith(HERE)]
        for note in getattr(error, "__notes__", []):
            lines += note.splitlines()
        return "\n".join(lines), time.monotonic() - start


def main():
    global DAEMON, ASAN
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("daemon", nargs="?", default="./cachefilesd-mini")
    parser.add_argument("-k", metavar="PATTERN", default="", help="only scenarios whose name matches")
    parser.add_argument("-j", type=int, default=6, help="how many at once (they mostly wait)")
    parser.add_argument("-l", action="store_true", help="list the scenarios")
    parser.add_argument("-t", action="store_true", help="tell how long each took")
    parser.add_argument("--machine", metavar="TRIPLET", choices=MACHINES, help="what DAEMON is built for")
    options = parser.parse_args()
    if options.machine:
        standin.emulate(MACHINES[options.machine])
    chosen = [x for x in SCENARIOS if re.search(options.k, x[0])]
    if options.l:
        for name, function, _ in chosen:
            print(f"{name}: {function.__doc__}")
        return 0
    DAEMON = os.path.abspath(options.daemon)
    if not os.access(DAEMON, os.X_OK):
        print(f"Bail out! {options.daemon} is not there; run make")
        return 1
    with open(DAEMON, "rb") as f:
        ASAN = b"__asan_init" in f.read()
    # A disk's file system may tell of a hole for a moment where data are being written back.
    if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 1024 * MIB:
        tempfile.tempdir = "/dev/shm"
    print("TAP version 13")
    print(f"1..{len(chosen)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
        # The longest begin first; the order of the lines stays.
        results = {name: pool.submit(run, function, arguments)
                   for name, function, arguments in sorted(chosen, key=lambda x: x[1] not in SLOW)}
        for name, function, _ in chosen:
            faulthandler.dump_traceback_later(600, exit=True)
            wrong, seconds = results[name].result()
            text = f"standin: {name}: {function.__doc__}".replace("#", "no.")
            if options.t:
                text += f" ({seconds:.1f} s)"
            if wrong is None or wrong.startswith("# SKIP"):
                print(f"ok - {text}{' ' + wrong if wrong else ''}", flush=True)
                continue
            failed += 1
            print(f"not ok - {text}")
            for line in wrong.splitlines():
                print(f"# {line}")
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
