"""OPEN and READ, in both layouts of messages."""
import os
import random
import struct
import time

from lib.seccomp import DEVICE_FD
from scenarios.common import (KIB, MIB, PAGE, Server, check, daemon, each, got, image, limit, need, padded,
                              reported, scenario, serving, spans, still_serves)


@each("mainline", "v8")
def read_sizes(layout):
    """READs small and large, overlapping, at the tail: right bytes, each answered once"""
    data = image("sizes", 3 * MIB + 1234)
    with serving(data, layout=layout) as (s, k, f):
        assert f.size == reported(data), f.size
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
            assert f.size == reported(images[f"/i{n}"]), f.size
            last = (n - 1) // PAGE * PAGE
            r = need(k, f, images[f"/i{n}"], last, PAGE)
            assert r.result == PAGE, f"{r.result} bytes of the last page of {n} are there"


@scenario
def past_the_end():
    """READs across and past the end, of no length, with numbers that overflow: all answered"""
    data = image("past", 100000)
    with serving(data, "timeout 2") as (s, k, f):
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
    with serving(data, layout=layout) as (s, k, f):
        for offset, length in ((512, 512), (5120, 1024), (12288 - 512, 1024), (299520, 512), (65536 + 1536, 65536)):
            need(k, f, data, offset, length)


@scenario
def zeros_are_written():
    """a part of the image that is all zeros is data, not a hole"""
    data = image("z", 8192) + bytes(200000) + image("y", 8192)
    with serving(data) as (s, k, f):
        need(k, f, data, 4096, 131072)
        need(k, f, data, 135168, len(data) - 135168)


@each("auto", "v8")
def v8_fills_whole_images(abi):
    """v8: the whole image is there before the first answer, and the log says so"""
    data = image("whole", 2 * MIB + 77)
    with serving(data, f"abi {abi}", layout="v8", old=True) as (s, k, f):
        r = need(k, f, data, MIB, 4096)
        k.wait_log(r"(?i)v8|whole")
        assert r.done_at_bytes >= len(data), f"{r.done_at_bytes} of {len(data)} bytes at the first answer"
        r = need(k, f, data, 0, 131072)
        assert s.bytes_sent() < 2 * len(data), "fetched more than once"


@scenario
def lengths_that_fit_both_layouts():
    """a first OPEN of the released layout whose lengths also add up in v8: object id = cookie size + 4"""
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
    """Random bytes behind the superblock of an EROFS image with this feature_incompat."""
    data = bytearray(image(f"erofs{features}", size))
    data[1024:1152] = bytes(128)
    struct.pack_into("<I", data, 1024, 0xE0F5E1E2)
    struct.pack_into("<I", data, 1024 + 80, features)
    return bytes(data)


@each("6.9.0", "6.12.117", "7.1.3")
def compressed_image(release):
    """an LZ4 image on Linux 6.9 and later is there as a whole before the first answer"""
    data = erofs_image(1)
    with serving(data, release=release) as (s, k, f):
        r = need(k, f, data, 0, 4096)
        assert r.done_at_bytes >= len(data), f"{r.done_at_bytes} of {len(data)} bytes at the first answer"
        k.wait_log(r"(?i)whole|compress")
        need(k, f, data, 500000, 70000)
        assert "EOPNOTSUPP" not in k.stderr, k.stderr


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
    """and on an earlier one it need not be; the log says at OPEN that the kernel opens none of its files"""
    data = erofs_image(1)
    with serving(data, release=release) as (s, k, f):
        k.wait_log(r"img: this kernel opens none of its compressed files \(EOPNOTSUPP\): .*6\.9")
        need(k, f, data, 0, 4096)
        need(k, f, data, 500000, 70000)


@scenario
def plain_image_before():
    """but not of an image without compression"""
    with serving(erofs_image(0), release="6.1.192") as (s, k, f):
        k.wait_log("plain EROFS")
        k.stop()
        k.wait_log_end()
        assert "EOPNOTSUPP" not in k.stderr, k.stderr


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
def beginning_in_flight():
    """a READ whose beginning is in flight: its rest is requested at once, but nothing that is cached"""
    data, length = image("rest", 6 * MIB), 16 * KIB
    with serving(data, "read-ahead none") as (s, k, f):
        need(k, f, data, 5 * MIB, length)
        s.next({"delay": 1000})
        k.read(f, MIB, 3 * MIB)
        k.wait(lambda: len(spans(s)) == 2, 10, "the request that is not answered")
        k.read(f, 3 * MIB, 3 * MIB)     # more than three round trips' worth is before it: not on the same connection
        k.wait(lambda: len(spans(s)) == 4, 9, "requests for the rest")
        assert sorted(spans(s)[2:]) == [(4 * MIB, 5 * MIB), (5 * MIB + length, 6 * MIB)], spans(s)


@scenario
def more_reads_than_the_table():
    """more READs than the table holds wait and are answered"""
    count = limit("waiting READs") + 190
    data = image("table", count * PAGE)
    with serving(data, knobs=dict(delay=0.001)) as (s, k, f):
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
        good = [f for f, size in zip(files, sizes) if size == reported(data)]
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
            k.closed(f)
        assert s.connections < 50, f"{s.connections} connections"


@scenario
def anonymous_fds_are_cloexec():
    """every cache file's descriptor gets FD_CLOEXEC"""
    with serving(image(1, 5000)) as (s, k, f):
        assert k.fd_flags(f.fd) & os.O_CLOEXEC, "the anonymous fd is inherited by exec()"
        assert k.fd_flags(DEVICE_FD) & os.O_CLOEXEC, "the device is inherited by exec()"
