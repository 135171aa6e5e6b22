"""The kernel is killed while the cache is filled. Scenarios of test/guest/test_cut.py: each runs in a boot of its own,
on a disk that outlives it."""
import contextlib
import glob
import os
import random
import re
import shutil
import time

from guest.common import (all_right, attach, Child, compare, compare_big, Daemon, drop_caches, expect, flip, LIMIT,
                          linked, mount, NBD, nginx, prime, PROBE, program, scenario, serving, URL, verified)
from lib.inside import eventually
from lib.tap import note

CUT_DIRECTORY = "/run/disk/cut"


def cut():
    """Has this kernel killed, with all its processes."""
    print("guest: cut", flush=True)
    time.sleep(LIMIT)


def write_soon():
    """Has the kernel write to the disk what is a second old: cache files of block devices are written like any other,
    by way of the page cache."""
    for name in "dirty_expire_centisecs", "dirty_writeback_centisecs":
        with open(f"/proc/sys/vm/{name}", "w") as file:
            file.write("100")


def read_pieces(point):
    return Child(compare, point, "plain", "random")


def read_big(point):
    return Child(compare_big, point)


def linked_file():
    """The cache file that the boot before has left."""
    return linked(CUT_DIRECTORY, "plain.erofs")[0]


def unfit(daemon, flipped):
    """The number of blocks that the check has found: those that were flipped, and what the cut has torn."""
    found = eventually(lambda: re.search(r"plain.erofs: (\d+) blocks of the cache do not fit", daemon.log()), "a check")
    expect(int(found[1]) >= flipped, f"{found[1]} of {flipped} blocks were found")
    return int(found[1])


def mark_age():
    """Seconds since the image's mark was made; 0: there is none, as 10 s after the last write, nor anything to check."""
    for mark in glob.glob(f"{CUT_DIRECTORY}/cachefilesd-mini/*.mark"):
        with contextlib.suppress(FileNotFoundError):
            return time.time() - os.lstat(mark).st_mtime
    return 0


def read_and_cut(*directives, damaged=False):
    """`damaged`: bits of what is cached are flipped before, and the image is verified."""
    write_soon()
    flipped = flip(linked_file(), 20) if damaged else 0
    daemon = Daemon(URL, *directives, directory=CUT_DIRECTORY)
    expect(linked(daemon, "plain.erofs"), "the cache file is not there any more")
    point = mount("plain.erofs")
    if damaged:
        unfit(daemon, flipped)
    marked = any(directive.startswith("roothash") for directive in directives)
    if marked:
        eventually(mark_age, "a mark")
        os.sync()                       # it too, that is: what `cut` finds is another matter than what a cut leaves
    readers = [[start, start(point)] for start in (read_pieces, read_big)]
    program("mount", "-o", "remount,commit=1", "/run/disk")   # the journal is written every second
    end = time.monotonic() + random.uniform(0.2, 8)
    while time.monotonic() < end and (not marked or 0 < mark_age() < 7):
        for reader in readers:
            if reader[1].ended():
                reader[1].succeed()
                drop_caches()
                reader[1] = reader[0](point)
        time.sleep(0.02)
    cut()


@scenario("a new cache, primed, cut off while it is filled", series=())
def cut_first():
    shutil.rmtree(CUT_DIRECTORY, ignore_errors=True)
    daemon = Daemon(URL, directory=CUT_DIRECTORY)
    if NBD:
        attach("plain.erofs")
    else:
        prime(daemon, "plain.erofs")
    daemon.stop()
    os.sync()           # that there is a cache file; how far it is filled is what the cut decides
    read_and_cut()


@scenario("cut off again while the rest is fetched", series=())
def cut_again():
    read_and_cut("prefetch all")


@scenario("all bytes are compared, then again from the disk; a cut some seconds later", series=())
def cut_compare():
    write_soon()
    Daemon(URL, directory=CUT_DIRECTORY)
    start = nginx.mark()
    point = mount("plain.erofs")
    for _ in range(2):
        all_right(point, "plain")
        drop_caches()
    note(f"{nginx.sent(start)} bytes of {os.path.getsize('www/plain.erofs')} had to be fetched")
    time.sleep(7)                       # ext4 writes its journal every 5 s by default
    cut()


@scenario("all of it is still there", series=())
def cut_kept():
    start = nginx.mark()
    with serving("plain.erofs", URL, directory=CUT_DIRECTORY) as (_, point):
        all_right(point, "plain")
        fetched = nginx.sent(start)
        expect(fetched <= PROBE, f"{fetched} bytes had to be fetched again")


@scenario("a new cache of a verified image, cut off while it is filled", series=())
def cut_verified():
    shutil.rmtree(CUT_DIRECTORY, ignore_errors=True)
    daemon = Daemon(URL, *verified("plain"), directory=CUT_DIRECTORY)
    if NBD:
        attach("plain.erofs")
    else:
        prime(daemon, "plain.erofs")
    daemon.stop()
    os.sync()
    read_and_cut(*verified("plain"), "prefetch all")


@scenario("verified, with bits of the cache flipped while it is off: found, fetched anew, cut off again", series=())
def cut_damaged():
    read_and_cut(*verified("plain"), "prefetch all", damaged=True)


@scenario("... flipped again, and all of it is compared", series=())
def cut_repaired():
    write_soon()
    flipped = flip(linked_file(), 20)
    start = nginx.mark()
    with serving("plain.erofs", URL, *verified("plain"), directory=CUT_DIRECTORY) as (daemon, point):
        found = unfit(daemon, flipped)
        all_right(point, "plain")
        note(f"{nginx.sent(start)} bytes were fetched, {flipped} blocks were flipped, {found} did not fit")
    with serving("plain.erofs", URL, *verified("plain"), "cache-check all", directory=CUT_DIRECTORY) as (daemon, point):
        expect("do not fit" not in daemon.log(), daemon.log())
        all_right(point, "plain")
