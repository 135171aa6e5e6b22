"""cache-check: bits of the cache of a verified image are flipped while the daemon is off."""
import contextlib
import glob
import os

from guest.common import (all_right, attach, CACHEFILES, Daemon, detach, drop_caches, expect, flip, linked, mount, NBD,
                          nginx, PROBE, prime, RUN, scenario, serving, umount, URL, verified)
from lib import exposition
from lib.inside import eventually
from lib.tap import note

STATUS = f"status {RUN}/check.status"


def fill():
    """A daemon that has cached all of plain.erofs, and has ended. Returns its directory."""
    daemon = Daemon(URL, *verified("plain"))
    if NBD:
        attach("plain.erofs")
        detach("plain.erofs")
    else:
        prime(daemon, "plain.erofs")
    point = mount("plain.erofs")
    all_right(point, "plain")
    umount(point)
    daemon.stop()
    return daemon.directory


def unfit():
    return exposition.Metrics(exposition.ask(f"{RUN}/check.status"))["cache_unfit_blocks_total"]


@scenario("cache-check all: flipped bits are found before the image opens, counted, and fetched anew; no byte is wrong",
          series=("6.12",), differs=True)
def cache_check_all():
    directory = fill()
    flipped = flip(linked(directory, "plain.erofs")[0], 40)
    start = nginx.mark()
    with serving("plain.erofs", URL, *verified("plain"), "cache-check all", STATUS, directory=directory) as (d, point):
        expect(unfit() == flipped, f"{unfit()} of {flipped} were found")
        d.logs(f"plain.erofs: {flipped} blocks of the cache do not fit")
        all_right(point, "plain")
        drop_caches()
        all_right(point, "plain")
        sent = nginx.sent(start, "/plain.erofs")
        expect(sent <= PROBE + flipped * (512 << 10), f"{sent} bytes were fetched")


@scenario("cache-check all: a file whose name the kernel encodes is found", series=CACHEFILES)
def cache_check_encoded():
    for name in "ein Bild für alle.erofs", "zwei Bilder.erofs", "ö.erofs":
        with contextlib.ExitStack() as stack:
            for suffix in "", ".verity":
                os.link(f"www/plain.erofs{suffix}", f"www/{name}{suffix}")
                stack.callback(os.unlink, f"www/{name}{suffix}")
            daemon = Daemon(URL, *verified("plain"))
            prime(daemon, name)
            point = mount(name)
            all_right(point, "plain")
            umount(point)
            daemon.stop()
            flipped = flip(glob.glob(f"{daemon.directory}/cache/Ierofs,{name}/@*/E*")[0], 40)
            words = *verified("plain"), "cache-check all", STATUS
            with serving(name, URL, *words, directory=daemon.directory) as (_, point):
                expect(unfit() == flipped, f"{name}: {unfit()} of {flipped} were found")
                all_right(point, "plain")


@scenario("cache-check boot: what no trace names is written over while it is mounted, on the disk too",
          series=("6.12",), differs=True)
def cache_check_boot():
    directory = fill()
    path, = linked(directory, "plain.erofs")
    flipped = flip(path, 40, behind=8 << 20)
    with open("www/plain.erofs", "rb") as image:
        right = image.read()
    with open("www/plain.erofs.trace", "w") as trace:
        trace.write(f"0 {8 << 20}\n")
    try:
        daemon = Daemon(URL, *verified("plain"), "cache-check boot", STATUS, directory=directory)
        point = mount("plain.erofs")
        early = unfit()
        expect(early < flipped, "all was checked before the image opened")
        eventually(lambda: "do not fit the root hash" in daemon.log(), "the end of the check", 180)
        expect(unfit() == flipped, f"{unfit()} of {flipped} were found")
        drop_caches()
        all_right(point, "plain")
        umount(point)
        daemon.stop()
    finally:
        os.unlink("www/plain.erofs.trace")
    with open(path, "rb") as file:
        wrong = [n for n in range(len(right) // 4096) if file.read(4096) != right[n * 4096:n * 4096 + 4096]]
    expect(not wrong, f"blocks {wrong[:5]} are wrong on the disk")
    note(f"{early} of {flipped} blocks were found before mount(8) ended")
