"""prefetch all: whole images are fetched."""
import errno
import random
import time

from scenarios.common import (KIB, MIB, PAGE, Server, after_the_probe, all_once, check, daemon, each, got, image,
                              joined, large, need, quiet, scenario, serving, spans, still_serves, takes_long)
from scenarios.trace import TRACE, trace_text


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
        k.closed(f)
        time.sleep(0.3)
        count = len(s.requests)
        quiet(s)
        assert len(s.requests) == count, f"{len(s.requests) - count} requests after CLOSE"
        still_serves(k, s)


@scenario
@takes_long
def prefetch_rate():
    """prefetch-rate is kept; READs are not held to it"""
    data, rate = image("rate", 1200 * KIB), 200 * KIB
    with serving(data, "prefetch all", "prefetch-rate 200K") as (s, k, f):
        k.wait_log("bytes are cached", 40)
        asked = [r for r in s.requests if r.path == "/img"][1:]
        seconds = asked[-1].time - asked[0].time
        have = sum(r.range[1] + 1 - r.range[0] for r in asked[:-1]) / seconds
        assert 0.7 * rate < have < 1.3 * rate, f"{have:.0f} bytes a second, not {rate}"
        all_once(s)
        check(f, data)
    with serving(data, "prefetch all", "prefetch-rate 16K") as (s, k, f):
        start = time.monotonic()
        for n in range(0, 512 * KIB, 64 * KIB):
            need(k, f, data, n, 64 * KIB)
        assert time.monotonic() - start < 10, "READs are slowed down"    # 512 KiB would take 32 s


@each("ENOSPC", "ENOBUFS")
@takes_long
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
        # 16 to 64 KiB of its own, and 30 ms of the link, are 0.1 s; prefetched data of a second would be 1 s.
        assert sorted(took)[4] < 0.5, [f"{x:.2f}" for x in took]
        assert f.present() > 2 * MIB, f"only {f.present()} bytes were prefetched meanwhile"


@scenario
def prefetch_beside_a_hanging_server():
    """prefetch all of two images on two servers, one of which hangs: the other is filled, and its READs are served"""
    slow, good = image("slow", 4 * MIB), large("good", 8 * MIB)
    with Server({"/slow": slow}) as other, Server({"/good": good}) as s:
        with daemon(s, "prefetch all", "timeout 200") as k:
            s.paths["/slow"] = {"redirect": (307, other.url + "slow")}
            other.rule = after_the_probe(delay=1000)
            f = k.opened("erofs,slow", b"slow")
            time.sleep(0.5)
            reads = [k.read(f, n * 400 * KIB // PAGE * PAGE + PAGE, 4096) for n in range(8)]
            s.pace = 4 * MIB
            g = k.opened("erofs,good", b"good")
            for n in range(5):
                need(k, g, good, n * 1500 * KIB // PAGE * PAGE, 65536, timeout=5)
            k.wait_log("good: all", 90)
            assert all_once(s, "/good") >= len(good) - PAGE
            other.rule = None
            other.stop()
            other.start()
            for r in reads:
                got(k, r, slow, 50)
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
        # Each turn requests 12 x 16 KiB, 0.1 s of the link, and the bytes that are fetched together with them.
        worst = {f.cookie: max(x) for f, x in took.items()}
        assert max(worst.values()) < 4, worst
        for n, f in enumerate(files):
            k.wait_log(f"i{n}: all", 60)
            assert f.present() >= 2 * MIB
            assert all_once(s, f"/i{n}") >= 2 * MIB - PAGE
