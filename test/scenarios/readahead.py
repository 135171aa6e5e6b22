"""The bytes that are fetched around a READ and ahead of it."""
import random

from scenarios.common import (KIB, MIB, PAGE, Server, all_once, check, daemon, each, got, image, large, prefilled,
                              quiet, scenario, serving, spans, touch)


@each("mainline", "connections 1")
def sequential_reads(how):
    """READs in sequence: each byte is fetched once, ahead, in few requests, and not too far ahead"""
    data, length = large("sequence", 12 * MIB + 77), 16 * KIB
    with serving(data, *([how] if how != "mainline" else [])) as (s, k, f):
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
    with serving(data) as (s, k, f):
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
    # CREDIT_RATIO of fetch/: three bytes for each one that readers want, by a READ or, where a part is cached already,
    # without one; and a sixteenth of the image at first.
    count = 120 if link == "loopback" else 30
    data, length = large("random", 64 * MIB), 16 * KIB
    with serving(data) as (s, k, f):
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
    with serving(data) as (s, k, f):
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
    with serving(data) as (s, k, f):
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
    with serving(data, "connections 1") as (s, k, f):
        s.default["rate"] = 128 * KIB
        wide = k.read(f, 0, 256 * KIB)
        k.wait_taken(wide)
        first, middle = k.read(f, 0, PAGE), k.read(f, 128 * KIB, PAGE)
        for r in (first, middle, wide):
            got(k, r, data, 30)
        all_once(s)
        # The bytes between their ends take a second each.
        assert first.time < middle.time - 0.4 and middle.time < wide.time - 0.4, (first.time, middle.time, wide.time)
        assert first.done_at_bytes <= 128 * KIB, first.done_at_bytes
        assert middle.done_at_bytes <= 224 * KIB, middle.done_at_bytes


@scenario
def reads_across_two_ranges():
    """READs that begin in a range on its way and end behind it, or begin before it"""
    data = image("across", 2 * MIB)
    with serving(data) as (s, k, f):
        s.default["rate"] = 512 * KIB
        reads = [k.read(f, *span) for span in ((MIB, 128 * KIB), (MIB - 64 * KIB, 128 * KIB),
                                               (MIB + 64 * KIB, 128 * KIB),
                                               (MIB - 128 * KIB, 512 * KIB), (MIB + PAGE, PAGE))]
        for r in reads:
            got(k, r, data, 30)
        all_once(s)
