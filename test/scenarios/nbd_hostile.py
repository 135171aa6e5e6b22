"""NBD: requests that no kernel sends, and sockets that end. A daemon may fail the device, but lives, serves the others,
and uses no processor time."""
import errno
import random
import struct
import time

from lib import tap
from lib.nbd import DISC, FLUSH, READ, REQUEST_MAGIC, TRIM, WRITE, WRITE_ZEROES
from scenarios.common import MIB, Program, Server, each, image, limit, scenario
from scenarios.nbd_common import Load, Nbd, attached, blocks, both_ends, got, kill_worker, need


def header(kind=READ, handle=7 << 32, offset=0, length=4096, magic=REQUEST_MAGIC):
    return struct.pack(">IIQQI", magic, kind, handle, offset, length)


def idle(k, what, seconds=1.0):
    """Demands that the worker uses hardly any time of the processor."""
    before = k.cpu()
    time.sleep(seconds)
    used = k.cpu() - before
    assert used < 0.2 * seconds, f"{used:.2f} s of the processor's time in {seconds} s: {what}"


def two_devices(data):
    return Nbd(), Server({"/img": data, "/two": data})


@scenario
def nbd_refused_requests():
    """FLUSH, TRIM, unknown types; lengths and places that no device has: an error each, and READs go on"""
    data = image(1, 300001)
    with attached(data) as (s, k, d):
        end = d.size
        wrong = [(kind, 0, 4096) for kind in (FLUSH, TRIM, WRITE_ZEROES, 5, 7, 255, 0xFFFF)]
        wrong += [(READ, 0, 32 * MIB + 512), (READ, 0, 0xFFFFFE00), (READ, 0, 0xFFFFFFFF), (READ, end, 512),
                  (READ, end - 512, 1024), (READ, end + 512, 512), (READ, 1 << 40, 4096), (READ, 1 << 63, 4096),
                  (READ, (1 << 64) - 512, 512), (READ, (1 << 64) - 512, 4096), (READ, (1 << 64) - 4096, 0xFFFFF000)]
        for kind, offset, length in wrong:
            r = d.ask(kind, offset, length)
            k.nbd.wait_done(r, timeout=5)
            assert r.error, f"{r} has not failed"
            assert r.error in (errno.EINVAL, errno.EIO, errno.EPERM, errno.EROFS, errno.EOPNOTSUPP, errno.ENOTSUP), r
            need(d, data, 512, 1024)
        reads = [d.read(n * 512, 512) if n % 3 else d.ask(*wrong[n // 3 % len(wrong)]) for n in range(200)]
        for n, r in enumerate(reads):
            k.nbd.wait_done(r)
            assert n % 3 == 0 or r.error == 0, r
        kill_worker(k)
        need(d, data, 0, 65536)


@each("length 0", "not a multiple of 512", "an odd place")
def nbd_odd_reads(what):
    """READs that a kernel with another block size would send: an error, or exactly the bytes"""
    data = image(1, 300001)
    with attached(data) as (s, k, d):
        for offset, length in {"length 0": [(0, 0), (4096, 0), (d.size, 0)],
                               "not a multiple of 512": [(0, 1), (512, 511), (0, 4097)],
                               "an odd place": [(1, 512), (511, 4096), (100001, 3)]}[what]:
            r = d.read(offset, length)
            k.nbd.wait_done(r, timeout=5)
            assert r.error or r.data == data[offset:offset + length], f"{r}: wrong bytes"
            need(d, data, 4096, 4096)


@each("bad magic", "zeros", "ones", "random bytes", "a WRITE with its bytes", "129 READs")
def nbd_nonsense(what):
    """nonsense on the socket of one device: the daemon lives, and serves the other, also after a worker's death"""
    data = image(1, 600000)
    nonsense = {"bad magic": header(magic=0x12345678), "zeros": bytes(2800), "ones": b"\xff" * 2800,
                "random bytes": random.Random(4).randbytes(100000),
                "a WRITE with its bytes": header(WRITE, length=4096) + b"w" * 4096,
                "129 READs": b"".join(header(handle=h) for h in range(129))}[what]
    n, s = two_devices(data)
    with n, s, blocks(s, n, attach=["img", "two"], expect_exit=None) as k:
        d, e = k.attached("img"), k.attached("two")
        need(e, data, 0, 4096)
        n.violation = lambda text: n.event(f"answer to nonsense: {text}")
        d.link.socket.settimeout(2)
        if what == "129 READs":
            d.let(0)
        try:
            d.raw(nonsense)
        except OSError:
            pass
        time.sleep(0.3)
        need(e, data, 65536, 65536)
        idle(k, what)
        kill_worker(k)
        need(e, data, 131072, 65536)
        idle(k, what)
        assert k.status is None
        k.stop()


@scenario
def nbd_header_in_pieces():
    """a header in two, and in 28 pieces: it is one request; half of one, and nothing more, costs no time"""
    data = image(1, 600000)
    n, s = two_devices(data)
    with n, s, blocks(s, n, attach=["img", "two"]) as k:
        d, e = k.attached("img"), k.attached("two")
        raw, d.raw = d.raw, lambda bytes_: in_pieces(raw, bytes_, 14)
        need(d, data, 512, 4096)
        d.raw = lambda bytes_: in_pieces(raw, bytes_, 1)
        need(d, data, 8192, 4096)
        d.raw = raw
        for size in (1, 4, 8, 15, 16, 27):
            d.raw = lambda data_, n_=size: raw(data_[:n_])
            r = d.read(size * 512, 4096)
            d.raw = raw
            idle(k, f"{size} bytes of a header")
            need(e, data, size * 4096, 4096)
            if size == 8:
                kill_worker(k)
            raw(r.bytes()[size:])
            got(d, r, data)


def in_pieces(raw, data, size):
    for at in range(0, len(data), size):
        raw(data[at:at + size])
        time.sleep(0.01)


@scenario
def nbd_same_handle_twice():
    """the same request twice before it is answered, as after a kill between peek and read: one answer"""
    data = image(1, 4 * MIB)
    with attached(data) as (s, k, d):
        k.nbd.wait(lambda: both_ends(s, data), 10, "both ends")
        s.default["delay"] = 1000
        reads = [d.read(MIB + (n + 1) * 65536, 4096) for n in range(10)]
        for r in reads:
            d.again(r)
        time.sleep(0.2)
        for r in reads:
            d.again(r)
        time.sleep(0.2)
        kill_worker(k)
        for r in reads:
            d.again(r)
        time.sleep(0.5)
        s.default["delay"] = 0
        s.stop()
        s.start()
        got(d, reads, data)
        time.sleep(0.5)
        need(d, data, 0, 4096)


@scenario
def nbd_requests_at_once():
    """128 requests at once on each of two devices, more than the table of READs: all are answered"""
    if Program.has_sanitizers:
        raise tap.Skip("a sanitizer takes more than the least memory")
    data = image(1, 4 * MIB)
    n, s = two_devices(data)
    with n, s, blocks(s, n, "memory 600K", attach=["img", "two"]) as k:
        d, e = k.attached("img"), k.attached("two")
        n.wait(lambda: both_ends(s, data) and both_ends(s, data, "/two"), 10, "both ends")
        reads = [x.read(MIB + m * 8192, 4096) for m in range(300) for x in (d, e)]
        got(d, reads, data, 30)
        assert limit("waiting READs")


@scenario
def nbd_full_table():
    """the table of READs is full of those that wait for the server: none is lost, and waiting costs no time"""
    data = image(1, 4 * MIB)
    n, s = two_devices(data)
    with n, s, blocks(s, n, attach=["img", "two"]) as k:
        d, e = k.attached("img"), k.attached("two")
        n.wait(lambda: both_ends(s, data) and both_ends(s, data, "/two"), 10, "both ends")
        time.sleep(0.5)
        s.default["delay"] = 4
        reads = [x.read(MIB + m * 16384, 4096) for m in range(128) for x in (d, e)]
        time.sleep(0.5)
        idle(k, "READs that wait")
        s.default["delay"] = 0
        got(d, reads, data, 30)


@scenario
def nbd_killed_with_a_full_table():
    """... and the worker is killed meanwhile, three times"""
    data = image(1, 4 * MIB)
    n, s = two_devices(data)
    with n, s, blocks(s, n, attach=["img", "two"]) as k:
        d, e = k.attached("img"), k.attached("two")
        n.wait(lambda: both_ends(s, data) and both_ends(s, data, "/two"), 10, "both ends")
        s.default["delay"] = 1000
        reads = [x.read(MIB + m * 16384, 4096) for m in range(128) for x in (d, e)]
        for _ in range(3):
            time.sleep(0.2)
            kill_worker(k)
        s.default["delay"] = 0
        s.stop()
        s.start()
        got(d, reads, data, 40)


@each("a DISC", "a DISC, and the end of the socket", "the end of the socket")
def nbd_socket_ends(how):
    """the kernel ends the socket without a word of ours: that device is told and left, the other is served"""
    data = image(1, 600000)
    n, s = two_devices(data)
    with n, s, blocks(s, n, attach=["img", "two"], expect_exit=None) as k:
        d, e = k.attached("img"), k.attached("two")
        need(d, data, 0, 4096)
        if "DISC" in how:
            d.raw(header(DISC, 0, 0, 0))
        if "end" in how:
            d.link.end()
            k.wait_log(f"img: .*/dev/{d} has been disconnected", 5)
        else:
            need(d, data, 4096, 4096)
        idle(k, how)
        need(e, data, 65536, 65536)
        kill_worker(k)
        need(e, data, 131072, 65536)
        idle(k, how)


@scenario
def nbd_socket_dies_under_load():
    """the socket of a device dies, as by a fault of the kernel: that is told, and another device's READs go on"""
    data = image(1, 4 * MIB)
    n, s = two_devices(data)
    with n, s, blocks(s, n, attach=["img", "two"], expect_exit=None) as k:
        d, e = k.attached("img"), k.attached("two")
        with Load(e, data) as load:
            for _ in range(3):
                reads = [d.read(m * 4096, 4096) for m in range(20)]
                d.link.end()
                time.sleep(1)
        assert load.done and reads
        k.wait_log("nbd0|img: ", 10)
