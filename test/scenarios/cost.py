"""Processor time and memory."""
import errno
import random
import re
import statistics
import time

from lib import tap
from lib.machines import Target
from scenarios.common import (KIB, MIB, Program, Server, after_the_probe, daemon, each, got, image, need, refused,
                              scenario, serving, still_serves)
from scenarios.hostile_kernel import garbage


@each("mainline", "v8")
def no_spin_on_old_kernels(layout):
    """POLLIN for as long as a READ is unanswered: no processor time, few read()s"""
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
    data, slow, took = image(1, 300000), image(2, 300000), []
    with Server({"/img": data, "/slow": slow}) as s, daemon(s, "timeout 60", old=True) as k:
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,img", b"img")
        s.paths["/slow"] = {"delay": 1000}
        r = k.read(f, 131072, 4096)     # behind what OPEN has fetched
        k.wait_taken(r)
        for n in range(10):
            time.sleep(0.02)
            start = time.monotonic()
            need(k, g, data, n * 28672, 4096)
            took.append(time.monotonic() - start)
        assert r.state != "done", r
        assert statistics.median(took) < 1, took     # of them all: the machine may stand still for a moment
        s.paths.clear()
        s.stop()
        s.start()
        got(k, r, slow, 20)


@scenario
def idle():
    """an idle daemon uses no processor time"""
    data = image(1, 300000)
    with serving(data) as (s, k, f):
        need(k, f, data, 0, 65536)
        time.sleep(0.5)
        cpu = k.cpu()
        time.sleep(2)
        cpu = k.cpu() - cpu
        assert cpu < 0.005, f"{cpu:.4f} s of processor time in 2 s"


@scenario
def no_memory_is_allocated():
    """no brk(), mmap(), mremap(), munmap() after start, whatever happens; resident memory stays below 1 MiB"""
    if Program.has_sanitizers:
        raise tap.Skip("a sanitizer allocates")
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
    with serving(data, options=["-d"], drain=False) as (s, k, f):
        rng = random.Random(3)
        for n in range(3000):
            k.raw(rng.randbytes(24))
        k.wait_taken(timeout=20)
        need(k, f, data, 0, 65536)
        still_serves(k, s)


@scenario
def emulator_can_have_memory():
    """of the emulator of another machine only the daemon is locked in memory: what is locked limits what it can get"""
    if not Target.emulator:
        raise tap.Skip("no emulator")
    with Server({"/img": image(1, 5000)}) as s, daemon(s) as k:
        k.opened("erofs,img", b"img")
        for pid in k.pid, k.worker:
            with open(f"/proc/{pid}/status") as file:
                locked = int(re.search(r"(?m)^VmLck:\s+(\d+) kB$", file.read())[1])
            assert locked < 1024, f"{locked} KiB of {pid} are locked"
