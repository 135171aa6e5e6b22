"""Machines with larger pages: the engine, with the size of a page from the environment (test/lib/pages.c)."""
import contextlib
import os
import random

from lib import tap
from scenarios.common import KIB, MIB, Program, Server, check, daemon, each, large, need, quiet

CASES = {f"{size} KiB, {link}": (size * KIB, pace) for size in (16, 64)
         for link, pace in (("loopback", 0), ("300 KiB/s", 300 * KIB))}


@contextlib.contextmanager
def serving_pages(size, data, *directives, pace=0):
    """Like serving(), by the daemon whose pages have this size."""
    if not Program.has_sanitizers:
        raise tap.Skip("the program with other pages has the sanitizers")
    with Server({"/img": data}) as s, \
            daemon(s, *directives, program=f"{Program.path}.pages", env={**os.environ, "PAGE_SIZE": str(size)}) as k:
        s.pace = pace
        yield s, k, k.opened("erofs,img", b"img")
        for r in s.requests:
            assert r.range and r.range[0] <= r.range[1], r
        assert all(offset % size == 0 for f in k.files for offset, _, _ in f.writes), "a write that is not at a page"
        asked = sum(r.range[1] + 1 - r.range[0] for r in s.requests if r.path == "/img")
        assert asked <= len(data) + 2 * size, f"{asked} bytes asked for"
        assert len(s.requests) <= 16 + 2 * len(data) // size, f"{len(s.requests)} requests"


@each(*CASES)
def pages_in_sequence(case):
    """READs in sequence with larger pages: right bytes, fetched ahead, none twice, on slow links too"""
    size, pace = CASES[case]
    data = large("pages", MIB + 777)
    with serving_pages(size, data, pace=pace) as (s, k, f):
        for at in range(0, len(data), size):
            need(k, f, data, at, size, timeout=20)
        quiet(s)
        check(f, data)


@each(*CASES)
def pages_at_random(case):
    """READs at random places with larger pages, while all of the image is prefetched"""
    size, pace = CASES[case]
    data, rng = large("pages", MIB + 777), random.Random(3)
    with serving_pages(size, data, "prefetch all", pace=pace) as (s, k, f):
        for _ in range(6):
            need(k, f, data, rng.randrange(MIB // size) * size, size, timeout=20)
        k.wait_log(f"all {len(data)} bytes are cached", 30)
        check(f, data)
