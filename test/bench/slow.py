#!/usr/bin/python3
"""A cache on a slow disk, in the guest, as root: slow.py JOB.

The disk takes DELAY milliseconds for each request (dm-delay). Two images are attached, both cached whole. One reader
reads the first, whose bytes only the disk has; another reads pages of the second, whose cache file is in memory. What
the second waits for a page says whether the daemon's one loop is held up by the disk.
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from bench import contenders, inside, workloads
from bench.contenders import IMAGE, RUN, WWW
from lib.inside import Failed

DELAY = 100                     # ms
DISK, SIZE = f"{RUN}/slow", 320 << 20
NAMES = ("first.erofs", "second.erofs")
PAGES = 200


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def make_disk():
    with open(f"{RUN}/disk", "wb") as file:
        file.truncate(SIZE)
    loop = run("losetup", "-f", "--show", f"{RUN}/disk")
    run("mkfs.ext4", "-q", "-m", "0", loop)
    # Writes are not delayed.
    run("dmsetup", "create", "slow", "--table", f"0 {SIZE >> 9} delay {loop} 0 {DELAY} {loop} 0 0")
    os.makedirs(DISK)
    run("mount", "/dev/mapper/slow" if os.path.exists("/dev/mapper/slow") else "/dev/dm-0", DISK)


class TwoDevices(contenders.OursNbd):
    def attach(self, deadline):
        self.points = []
        for name in NAMES:
            point = f"{RUN}/{name}.mount"
            os.makedirs(point, exist_ok=True)
            contenders.program(self.daemon, "--attach", name, deadline=deadline)
            device = inside.contents(f"{RUN}/output").strip()
            contenders.program("mount", "-t", "erofs", "-o", "ro", device, point, deadline=deadline)
            self.points.append(point)

    def detach(self):
        contenders.unmount(*self.points)


def waits(point):
    """How long each page took, in ms."""
    pages = workloads.Pages(point)
    found = []
    with open(pages.path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in list(dict.fromkeys(pages.offsets))[:PAGES]:
            begun = time.monotonic()
            os.preadv(file.fileno(), [pages.buffer[:4096]], offset)
            found.append(1000 * (time.monotonic() - begun))
    return sorted(found)


def second_in_memory(contender, daemon_files):
    """The page cache has the second image's cache file, and nothing else of both."""
    inside.cold()
    with open(daemon_files[1], "rb") as file:
        while file.read(1 << 20):
            pass


def measure(contender, files, busy):
    second_in_memory(contender, files)
    ended = threading.Event()
    progress = [0]

    def read_first():
        with open(f"{contender.points[0]}/data/large", "rb", buffering=0) as file:
            while not ended.is_set() and (block := file.read(128 << 10)):
                progress[0] += len(block)

    def walk_first():
        for directory, _, names in os.walk(contender.points[0]):
            for name in names:
                if ended.is_set():
                    return
                os.lstat(os.path.join(directory, name))

    readers = [threading.Thread(target=t) for t in {"nobody": (), "data": (read_first,), "names": (walk_first,)}[busy]]
    for reader in readers:
        reader.start()
    if readers:
        time.sleep(0.3)
    begun = time.monotonic()
    found = waits(contender.points[1])
    took, went = time.monotonic() - begun, progress[0]
    lasted = all(reader.is_alive() for reader in readers)
    ended.set()
    for reader in readers:
        reader.join()
    inside.tell("slow", busy=busy, median=found[len(found) // 2], p90=found[len(found) * 9 // 10], most=found[-1],
                seconds=took, first=went, lasted=lasted)


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    for directory in (RUN, WWW):
        os.makedirs(directory)
    shutil.copy(f"{job['work']}/{IMAGE}", WWW)
    for name in NAMES:
        os.symlink(IMAGE, f"{WWW}/{name}")
    inside.start_nginx(job["work"])
    make_disk()
    contender = TwoDevices("http", job["work"], job["daemon"])
    contender.store = f"{DISK}/cache"
    contender.start()
    try:
        contender.attach(time.monotonic() + 60)
        for point in contender.points:
            run("sh", "-c", f"cat {point}/data/large >/dev/null; ls -lR {point} >/dev/null")
        largest = sorted(glob.glob(f"{contender.store}/cachefilesd-mini/*.*"), key=os.path.getsize)[-2:]
        files = sorted(largest, key=os.path.getmtime)       # the second's is the one that was written last
        for round in range(job["rounds"]):
            for busy in "nobody", "data", "names":
                measure(contender, files, busy)
    finally:
        contender.detach()
        contender.stop()
    inside.tell("done")


if __name__ == "__main__":
    main()
