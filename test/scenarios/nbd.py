"""NBD: devices are made, READs answered with exactly their bytes; what is on both front ends alike."""
import ctypes
import json
import os
import random
import re
import shutil
import tempfile
import time

from lib import exposition, tap
from lib.commands import run
from lib.nbd import Nbd
from lib.nbd_control import CAP_SYS_ADMIN
from scenarios.common import (KIB, MIB, PAGE, Server, after_the_probe, each, image, large, quiet, scenario,
                              takes_long)
from scenarios.files import Tree
from scenarios.nbd_common import (SECTOR, Load, attached, blocks, both_ends, disconnected, fails, got, kill_worker,
                                  need, read_as_blkid, reload, whole)
from scenarios.status import show
from scenarios.verified_common import Made

KEEP_SIZE, PUNCH_HOLE = 1, 2    # of fallocate()


@scenario
def nbd_attach_and_read():
    """the device of an image has its size, in whole pages; what udev will read is fetched before"""
    data = image(1, 5 * MIB + 300)
    with attached(data) as (s, k, d):
        assert (d.index, d.size, d.block) == (0, whole(data), SECTOR), (d, d.size, d.block)
        k.wait_log(r"img.*/dev/nbd0|/dev/nbd0.*img")
        k.nbd.wait(lambda: both_ends(s, data), 10, "both ends")
        quiet(s)
        count = len(s.requests)
        for offset in (0, 2048, 64 * KIB, 172 * KIB, MIB, len(data) // SECTOR * SECTOR, d.size - 4096,
                       d.size - 128 * KIB):
            need(d, data, offset, SECTOR)
            need(d, data, offset // 4096 * 4096, 4096)
        assert len(s.requests) == count, s.requests[count:]
        need(d, data, 3 * MIB, 128 * KIB)
        disconnected(k)


def sent(server):
    return sum(r.sent for r in server.requests if r.path == "/img")


@each("auto", "thrifty", "none")
def nbd_attach_fetches_little(word):
    """an attachment fetches at most 256 KiB, and udev only what it asks for; the walk begins with another READ"""
    tree = Tree({**{f"f{n:04}": 100 for n in range(4000)}, "large": 6 * MIB})
    little = max(PAGE, 4096)
    with attached(tree.data, f"read-ahead {word}", "status {cache}/status") as (s, k, d):
        def number(name):
            return exposition.Metrics(exposition.ask(f"{k.cache}/status")).get(f"image_{name}", image="img")

        quiet(s)
        fetched = sent(s)
        if word == "auto":
            assert both_ends(s, tree.data) and (fetched <= 256 * KIB or PAGE > 4096), fetched
            assert number("ahead_bytes_total") + little >= fetched
            assert number("unasked_bytes") == number("ahead_bytes_total") > 0
        else:
            assert fetched <= little, fetched
        assert number("reads_total") == number("read_bytes_total") == 0
        asked = read_as_blkid(d, tree.data)
        quiet(s)
        assert fetched < sent(s) <= asked or PAGE > 4096, (fetched, sent(s), asked)
        assert number("unasked_bytes") == 0
        before = sent(s)
        # Far from both ends, around which more may have come than was asked for.
        first, last = tree.spans["large"][:2]
        page = max((page for page in tree.metadata() if not first <= page <= last),
                   key=lambda page: min(page, len(tree.data) - page))
        need(d, tree.data, page, PAGE)
        if word != "auto":
            quiet(s)
            assert sent(s) <= before + little, (before, sent(s))
            return
        # It fetches what the link carries in two round trips, at least 32 KiB (read_metadata(), bandwidth_per_rtt()).
        k.nbd.wait(lambda: sent(s) > before + 32 * KIB, 10, "the walk")


@scenario
def nbd_asked_and_not():
    """what was fetched on a guess and nobody asked for is counted down as it is read, once, whoever serves"""
    data = image("asked", 8 * MIB)
    with attached(data, "status {cache}/status") as (s, k, d):
        def number(name):
            m = exposition.Metrics(exposition.ask(f"{k.cache}/status"))
            return m.get(f"image_{name}", image="img")

        for n in range(40):
            need(d, data, 4 * MIB + n * 16 * KIB, 16 * KIB)
        quiet(s)
        unasked, ahead = number("unasked_bytes"), number("ahead_bytes_total")
        assert 0 < unasked < ahead, (unasked, ahead)
        for _ in range(2):
            need(d, data, 4 * MIB, 640 * KIB)       # again
        assert number("unasked_bytes") == unasked
        for _ in range(2):
            time.sleep(1.1)     # what a worker that is killed has left, see status_over_changes_of_worker()
            number("reads_total")
            kill_worker(k)
            now = number("unasked_bytes"), number("ahead_bytes_total")
            assert now == (unasked, ahead), (now, unasked, ahead)
        waited_for = number("written_bytes_total") - number("planned_bytes_total") - ahead
        assert 0 < waited_for <= 640 * KIB, waited_for


@each(1, 511, 512, 513, 4095, 4096, 4097, 70000)
def nbd_sizes(size):
    """... of any size: every sector is right, and zeros lie behind its end"""
    data = image("size", size)
    with attached(data) as (s, k, d):
        assert d.size == whole(data), d.size
        got(d, [d.read(offset, SECTOR) for offset in range(0, d.size, SECTOR)], data)
        need(d, data, 0, d.size)


@scenario
def nbd_exact_ranges():
    """READs of any multiple of 512 bytes at any such place, of up to 32 MiB: the exact range"""
    data = large("exact", 40 * MIB + 4097)
    rng = random.Random(3)
    with attached(data) as (s, k, d):
        reads = [d.read(rng.randrange(0, MIB // KIB) * KIB + offset, 129 * KIB) for offset in (0, 512, KIB, 3 * KIB)]
        for _ in range(100):
            length = rng.choice((1, 2, 3, 7, 8, 9, 16, 255, 256, 257, 258, 8192)) * SECTOR
            reads.append(d.read(rng.randrange(0, (d.size - length) // SECTOR + 1) * SECTOR, length))
        reads += [d.read(512, 32 * MIB), d.read(d.size - 4 * MIB, 4 * MIB)]
        got(d, reads, data, 100)


@scenario
def nbd_read_again():
    """what is cached is answered without the server, again and again, from the same descriptor"""
    data = image(1, 2 * MIB)
    with attached(data) as (s, k, d):
        need(d, data, 0, 2 * MIB, 20)
        s.stop()
        for _ in range(3):
            got(d, [d.read(n * 64 * KIB, 64 * KIB) for n in range(32)], data)


@scenario
def nbd_descriptors():
    """nothing is left open by READs and deaths of workers: the same number of descriptors in keeper and worker"""
    data = image(1, 2 * MIB)

    def count(pid):
        return len(os.listdir(f"/proc/{pid}/fd"))

    with attached(data) as (s, k, d):
        need(d, data, 0, 2 * MIB)
        before = count(k.pid), count(k.worker)
        for _ in range(4):
            kill_worker(k)
            need(d, data, 512, 4096)
        time.sleep(0.5)
        after = count(k.pid), count(k.worker)
        assert after[0] <= before[0] and after[1] <= before[1] + 1, (before, after)


@scenario
def nbd_capabilities():
    """the keeper keeps CAP_SYS_ADMIN, the worker and who holds the configuration do not, and no netlink socket"""
    def capabilities(pid):
        with open(f"/proc/{pid}/status") as file:
            return {kind: int(bits, 16) for kind, bits in re.findall(r"Cap(Prm|Eff|Bnd):\s+(\w+)", file.read())}

    with attached(image(1, 50000)) as (s, k, d):
        assert capabilities(k.pid)["Eff"] >> CAP_SYS_ADMIN & 1, capabilities(k.pid)
        assert not any(capabilities(k.worker).values()), capabilities(k.worker)
        netlink = {os.readlink(f"/proc/{k.pid}/fd/{fd}") for fd in k.netlink_fds}
        assert netlink, "no netlink socket"
        links = {os.readlink(f"/proc/{k.worker}/fd/{fd}") for fd in os.listdir(f"/proc/{k.worker}/fd")}
        assert not netlink & links, "the worker has the netlink socket"
        reload(k)
        k.wait(lambda: len(k.children()) == 2, 10, "the end of the earlier processes")
        for pid in k.children():
            assert not any(bits >> CAP_SYS_ADMIN & 1 for bits in capabilities(pid).values()), capabilities(pid)


@scenario
def nbd_many_images():
    """16 devices: each has its own bytes, also under load at once and after a worker's death"""
    images = {f"i{n}": image(n, 300000 + n * 1000) for n in range(16)}
    with Nbd() as n, Server({f"/{name}": data for name, data in images.items()}) as s, \
            blocks(s, n, attach=images) as k:
        devices = {name: k.attached(name, 30) for name in images}
        assert sorted(d.index for d in devices.values()) == list(range(16)), devices
        for turn in range(2):
            reads = [(devices[name].read(offset, 32 * KIB), data) for name, data in images.items()
                     for offset in (turn * 65536, 131072, 196608)]
            for r, data in reads:
                got(devices["i0"], r, data, 30)
            kill_worker(k)
        disconnected(k)


@each("a b", "ä:ö", "x%2fy", "name.with.dots", "255 bytes")
def nbd_names(name):
    """names with blanks, colons and other bytes, of up to 255 bytes"""
    name = "n" * 255 if name == "255 bytes" else name
    data = image(name, 50000)
    with Nbd() as n, Server({f"/{name}": data}) as s, blocks(s, n, attach=[name]) as k:
        need(k.attached(name), data, 512, 4096)
        kill_worker(k)
        need(k.attached(name), data, 8192, 4096)


@scenario
def nbd_out_of_order():
    """a READ that waits for the server holds up none of what is there, nor those of another device"""
    data, other = image(1, 4 * MIB), image(2, 300000)
    with Nbd() as n, Server({"/img": data, "/other": other}) as s, blocks(s, n, attach=["img", "other"]) as k:
        d, e = k.attached("img"), k.attached("other")
        n.wait(lambda: both_ends(s, data) and both_ends(s, other, "/other"), 10, "both ends")
        quiet(s)
        s.default["delay"] = 1000
        late = d.read(3 * MIB, 4096)
        time.sleep(0.1)
        for offset in range(0, 64 * KIB, 4096):
            need(d, data, offset, 4096)
            need(e, other, offset, 4096)
        assert late.state != "done"
        s.default["delay"] = 0
        s.stop()
        s.start()
        got(d, late, data)


@scenario
@takes_long
def nbd_replies_not_read():
    """the kernel takes no replies for a while, then in small pieces: all are right, and nothing spins meanwhile"""
    data = image(1, 4 * MIB)
    with attached(data) as (s, k, d):
        need(d, data, 0, 4 * MIB, 20)
        d.let(0)
        reads = [d.read(n * 31 * KIB, 31 * KIB) for n in range(128)]
        time.sleep(1)
        before = k.cpu()
        time.sleep(1)
        used = k.cpu() - before
        assert used < 0.2, f"{used:.2f} s of the processor's time while the socket is full"
        d.piece = 1000
        d.let(300000)
        d.wait_let()
        d.piece = 100001
        d.let(None)
        got(d, reads, data, 30)


@scenario
def nbd_load():
    """64 READs at once, of up to 128 KiB, while nothing is cached yet: each is right"""
    data = image(1, 6 * MIB)
    with attached(data, knobs={"delay": 0.01}) as (s, k, d):
        with Load(d, data, depth=64) as load:
            time.sleep(3)
        assert load.done > 20, load.done
        disconnected(k)


@scenario
def nbd_server_fails():
    """the server refuses parts: those READs fail, others and later ones do not; the kernel's handles stay in order"""
    data = image(1, 4 * MIB)
    with attached(data, "timeout 1", "retry soft 1") as (s, k, d):
        k.nbd.wait(lambda: both_ends(s, data), 10, "both ends")
        quiet(s)
        s.default["status"] = 500
        fails(d, 2 * MIB, 64 * KIB, 15)
        need(d, data, 512, 4096)
        del s.default["status"]
        end = time.monotonic() + 15
        while True:
            r = d.read(2 * MIB, 64 * KIB)
            k.nbd.wait_done(r)
            if not r.error or time.monotonic() > end:
                break
        got(d, r, data)


# -- as on the first front end -------------------------------------------------------------------

@scenario
def nbd_status():
    """--status and the socket show the device, the front end and the READs"""
    data = image(1, 2 * MIB)
    with attached(data, "status {cache}/status") as (s, k, d):
        for n in range(20):
            need(d, data, n * 64 * KIB, 16 * KIB)
        quiet(s)
        text = exposition.ask(f"{k.cache}/status")
        m = exposition.Metrics(text)
        assert m.get("image_reads_total", image="img") == 20, m.samples
        assert m.get("image_read_bytes_total", image="img") == 20 * 16 * KIB, m.samples
        assert m.get("image_size_bytes", image="img") == len(data), m.samples
        status, out, err = show(f"{k.cache}/status")
        assert status == 0 and "/dev/nbd0" in out, (out, err)
        status, out, err = show(f"{k.cache}/status", "--json")
        assert status == 0 and "nbd0" in json.dumps(json.loads(out)), (out, err)


@scenario
def nbd_trace():
    """a trace is played at the attach; READs are recorded as a trace of the same form, which any front end plays"""
    data = image(1, 6 * MIB)
    with Nbd() as n, Server({"/img": data, "/img.trace": b"3145728 65536\n4198400 4096\n"}) as s:
        with blocks(s, n, traced=True) as k:
            d = k.attached("img")
            n.wait(lambda: any(r.range and r.range[0] <= 4198400 < r.range[0] + r.sent for r in s.requests), 20,
                   "the trace's ranges")
            n.wait(lambda: both_ends(s, data), 20, "both ends")
            quiet(s)
            count = len(s.requests)
            need(d, data, 3 * MIB, 65536)
            need(d, data, 4198400, 4096)
            assert len(s.requests) == count, s.requests[count:]
        del s.images["/img.trace"]
        with blocks(s, n, "trace record {cache}/", traced=True) as k:
            d = k.attached("img")
            ranges = [(3 * MIB, 65536), (2 * MIB + 512, 1024), (2 * MIB + 64 * KIB, 4096)]
            for offset, length in ranges:
                need(d, data, offset, length)
            k.wait(lambda: any(x.endswith(".trace") for x in os.listdir(k.cache)), 15, "a recorded trace")
            k.stop()
            with open(f"{k.cache}/img.trace") as file:
                lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
            recorded = [(int(a), int(a) + int(b)) for a, b, *_ in lines]
            for offset, length in ranges:
                assert any(a <= offset and offset + length <= b for a, b in recorded), (offset, recorded)
            assert sum(b - a for a, b in recorded) < MIB, recorded


@scenario
def nbd_holes():
    """holes that are punched into the cache file are fetched again"""
    data = image(1, 2 * MIB)
    with attached(data) as (s, k, d):
        need(d, data, 0, 2 * MIB, 20)
        path = k.cache_file()
        assert os.stat(path).st_size >= len(data), os.stat(path)
        before = s.bytes_sent()
        with open(path, "r+b") as file:
            fallocate(file.fileno(), KEEP_SIZE | PUNCH_HOLE, 256 * KIB, 64 * KIB)
            fallocate(file.fileno(), KEEP_SIZE | PUNCH_HOLE, MIB, 4096)
        kill_worker(k)          # the worker before may remember where data are
        need(d, data, 0, 2 * MIB, 20)
        assert 68 * KIB <= s.bytes_sent() - before < MIB, s.bytes_sent() - before


@each("not verified", "verified", "after a backup")
def nbd_unwritten(how):
    """after a cut blocks of the cache file may be allocated and not written, which a file system calls a hole only until
    they are read: what is read ahead of a READ, or with it, is no wrong byte"""
    made = Made(1, 8 * MIB)
    lines = ["read-ahead none", *([made.directive()] if how == "verified" else [])]
    with Nbd() as n, Server(made.files()) as s, tempfile.TemporaryDirectory(dir="/var/tmp") as disk:
        with blocks(s, n, *lines, keep=True) as k:
            need(k.attached("img"), made.data, 0, 4 * MIB, 20)
            disconnected(k)
        memory, k.directory = k.directory, f"{disk}/machine"    # where SEEK_HOLE tells more than it does in memory
        run("cp", "-a", "--sparse=always", memory, k.directory)
        shutil.rmtree(memory)
        path = os.path.join(k.directory, os.path.relpath(k.cache_file(), memory))
        for begin, size in (4 * MIB, 128 * KIB), (5 * MIB, MIB):
            leave_unwritten(path, begin, size)
        if how == "after a backup":
            run("cat", path)
        with blocks(s, n, *lines, after=k) as k:
            d = k.attached("img")
            for offset in range(4 * MIB - 256 * KIB, 4 * MIB + 32 * KIB, 4096):
                need(d, made.data, offset, 4096)
            for offset, length in (5 * MIB, 128 * KIB), (5 * MIB + 512 * KIB, 64 * KIB), (0, 8 * MIB):
                need(d, made.data, offset, length, 20)


def leave_unwritten(path, offset, length):
    with open(path, "r+b") as file:
        fallocate(file.fileno(), KEEP_SIZE, offset, length)
        os.fsync(file.fileno())
        if os.lseek(file.fileno(), offset, os.SEEK_HOLE) != offset:
            raise tap.Skip("the file system of /var/tmp calls them data at once")
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fallocate(fd, mode, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    assert libc.fallocate(fd, mode, offset, length) == 0, os.strerror(ctypes.get_errno())


@scenario
def nbd_user():
    """`user`: the worker is another user, makes and opens the cache files, also those that root has made"""
    if os.geteuid():
        raise tap.Skip("only root has other users")
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data}) as s:
        with blocks(s, n, keep=True) as k:
            need(k.attached("img"), data, 0, 65536)
            disconnected(k)
        with blocks(s, n, "user 65534:65534", after=k, keep=True) as k:
            d = k.attached("img")
            assert "\nUid:\t65534\t" in k.proc("status"), k.proc("status")
            need(d, data, 0, 2 * MIB, 20)
            kill_worker(k)
            need(d, data, 4096, 4096)
            disconnected(k)
        s.stop()
        with blocks(s, n, "offline allow", "timeout 1", after=k) as k:      # what the other user has made
            need(k.attached("img"), data, 0, 2 * MIB)


@scenario
def nbd_next_session():
    """a later run has what an earlier one has cached, without --prime; offline, too"""
    data = image(1, 2 * MIB)
    with Nbd() as n, Server({"/img": data}) as s:
        with blocks(s, n, keep=True) as k:
            need(k.attached("img"), data, 0, 2 * MIB, 20)
            disconnected(k)
        sent = s.bytes_sent()
        with blocks(s, n, after=k, keep=True) as k:
            need(k.attached("img"), data, 0, 2 * MIB)
            assert s.bytes_sent() - sent < 100000, s.bytes_sent() - sent
            disconnected(k)
        s.stop()
        with blocks(s, n, "offline allow", "timeout 1", after=k) as k:
            need(k.attached("img", 20), data, 0, 2 * MIB)
            disconnected(k)


@scenario
def nbd_replaced():
    """the image is replaced on the server: cached parts are served, others fail; a new attach is another file"""
    old, new = image("old", 3 * MIB), image("new", 3 * MIB + 8192)
    with Nbd() as n, Server({"/img": old}) as s:
        with blocks(s, n, "timeout 1", "retry soft 1", keep=True) as k:
            d = k.attached("img")
            need(d, old, 0, 64 * KIB)
            n.wait(lambda: both_ends(s, old), 10, "both ends")
            first = k.cache_file()
            s.images["/img"] = new
            fails(d, 2 * MIB, 64 * KIB, 15)
            need(d, old, 0, 64 * KIB)
            need(d, old, 3 * MIB - 4096, 4096)
            kill_worker(k)
            need(d, old, 0, 64 * KIB)
            fails(d, 2 * MIB, 64 * KIB, 15)
            assert d.size == whole(old)
            backend = d.backend
            disconnected(k)
        with blocks(s, n, after=k) as k:
            d = k.attached("img")
            assert d.size == whole(new) and d.backend != backend, (d.size, d.backend)
            assert k.cache_file() != first, first
            need(d, new, 0, len(new) // SECTOR * SECTOR, 20)


@scenario
def nbd_offline_without_a_cache():
    """no server and nothing cached: the line waits, is told, and READY comes; the image is attached when it is there"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data, "/late": data}) as s:
        port = s.port
        s.stop()
        with blocks(s, n, "timeout 1", attach=["late"]) as k:
            k.wait_log("late: ", 20)
            assert s.port == port
            s.start()
            need(k.attached("late", 60), data, 0, 4096)


@scenario
def nbd_beside_a_missing_image():
    """an image that no server has: named, and counted once; the others are attached, and the start is ready"""
    data = image(1, 300000)
    with Nbd() as n, Server({"/img": data, "/two": data}) as s, \
            blocks(s, n, "status {cache}/status", attach=["none", "img", "two"]) as k:
        need(k.attached("img"), data, 0, 4096)
        need(k.attached("two"), data, 0, 4096)
        k.wait_log(r"none: .*(404|not found|Not Found)")
        assert len(n.connected()) == 2, n.connected()
        m = exposition.Metrics(exposition.ask(f"{k.cache}/status"))
        assert m.get("opens_total") == 3 and m.get("opens_refused_total") == 1, m.samples


@scenario
def nbd_small_file_waits():
    """READs of a part that comes slowly: what is asked for first comes first, and all is right"""
    data = image(1, 3 * MIB)
    with attached(data) as (s, k, d):
        s.rule = after_the_probe(rate=MIB)
        reads = [d.read(n * 128 * KIB, 128 * KIB) for n in range(8)]
        got(d, reads, data, 20)
