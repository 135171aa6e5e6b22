#!/usr/bin/python3
"""A cache on a slow disk, in the guest, as root: slow.py JOB.

The disk takes DELAY milliseconds for each request (dm-delay). Two images are attached, both cached. One reader reads
the first, whose bytes only the disk has; another reads pages of the second, whose cache file is in memory. What the
second waits for a page says whether the daemon's one loop is held up by the disk.
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
from lib.inside import contents

DELAY = 100                     # ms
BEGIN = 0.3                     # seconds that the first reader is ahead
DISK, SIZE = f"{RUN}/slow", 320 << 20
NAMES = "first.erofs", "second.erofs"
PAGES = 200


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True).stdout.strip()


def make_disk():
    """Reads are delayed, writes are not."""
    with open(f"{RUN}/disk", "wb") as file:
        file.truncate(SIZE)
    loop = run("losetup", "-f", "--show", f"{RUN}/disk")
    run("mkfs.ext4", "-q", "-m", "0", loop)
    run("dmsetup", "create", "slow", "--table", f"0 {SIZE >> 9} delay {loop} 0 {DELAY} {loop} 0 0")
    os.makedirs(DISK)
    run("mount", "/dev/dm-0", DISK)         # no udev makes /dev/mapper/slow


class TwoDevices(contenders.OursNbd):
    def __init__(self, job):
        super().__init__("http", job["work"], job["daemon"])
        self.store = f"{DISK}/cache"
        self.points = [f"{RUN}/points/{name}" for name in NAMES]

    def attach(self, deadline):
        for name, point in zip(NAMES, self.points):
            os.makedirs(point)
            contenders.program(self.daemon, "--attach", name, deadline=deadline)
            device = contents(f"{RUN}/output").strip()
            contenders.program("mount", "-t", "erofs", "-o", "ro", device, point, deadline=deadline)

    def detach(self):
        contenders.unmount(*self.points)

    def cache_files(self):
        """The images' files, in the order in which they were written last."""
        found = glob.glob(f"{self.store}/cachefilesd-mini/*.*")
        return sorted(sorted(found, key=os.path.getsize)[-len(NAMES):], key=os.path.getmtime)


def waits(point):
    """How long each page took, in ms, in rising order."""
    pages = workloads.Pages(point)
    found = []
    with open(pages.path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in list(dict.fromkeys(pages.offsets))[:PAGES]:
            begun = time.monotonic()
            os.preadv(file.fileno(), [pages.buffer[:4096]], offset)
            found.append(1000 * (time.monotonic() - begun))
    return sorted(found)


def read_data(point, ended):
    with open(f"{point}/data/large", "rb", buffering=0) as file:
        while not ended.is_set() and file.read(128 << 10):
            pass


def read_names(point, ended):
    for directory, _, names in os.walk(point):
        for name in names:
            if ended.is_set():
                return
            os.lstat(os.path.join(directory, name))


def measure(points, in_memory, busy, reader):
    inside.cold()
    run("sh", "-c", f"cat {in_memory} >/dev/null")
    ended = threading.Event()
    threads = [threading.Thread(target=reader, args=(points[0], ended))] if reader else []
    for thread in threads:
        thread.start()
    time.sleep(BEGIN)
    found = waits(points[1])
    ended.set()
    for thread in threads:
        thread.join()
    inside.tell("slow", busy=busy, delay=DELAY, median=found[len(found) // 2], p90=found[len(found) * 9 // 10],
                most=found[-1])


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
    contender = TwoDevices(job)
    contender.start()
    try:
        contender.attach(time.monotonic() + 60)
        for point in contender.points:
            run("sh", "-c", f"cat {point}/data/large >/dev/null; ls -lR {point} >/dev/null")
        second = contender.cache_files()[-1]
        for busy, reader in ("nobody", None), ("data", read_data), ("names", read_names):
            measure(contender.points, second, busy, reader)
    finally:
        contender.detach()
        contender.stop()
    inside.tell("done")


if __name__ == "__main__":
    main()
