"""The workloads of the replay bench: each is an image's name and what its readers do, a Kernel for each of them."""
import os
import random

from bench.replay.kernel import Kernel

MIB = 1 << 20


def demo(image, files):
    kernel = Kernel(image, think=2500)
    kernel.replay("demo")
    return [kernel]


def boot(image, files):
    kernel = Kernel(image, think=4000)
    kernel.replay("boot")
    return [kernel]


def sequence(image, files):
    kernel = Kernel(image)
    kernel.read("/data/large")
    return [kernel]


def program(image, files):
    kernel = Kernel(image)
    kernel.follow("program")
    return [kernel]


def pieces(image, files):
    kernel, chooser = Kernel(image), random.Random(1)
    for _ in range(400):
        kernel.read("/data/random", chooser.randrange((10 * MIB - 16384 >> 12) + 1) << 12, 16384)
    return [kernel]


def four(image, files):
    kernels = [Kernel(image) for _ in range(4)]
    for number, kernel in enumerate(kernels):
        kernel.read(f"/data/part{number}")
    return kernels


def walk(image, files):
    kernel, folders = Kernel(image), {}
    for path in files:
        while path != "/":
            above = os.path.dirname(path)
            folders.setdefault(above, set()).add(path)
            path = above

    def visit(folder):
        kernel.list(folder)
        below = sorted(path for path in folders[folder] if path in folders)
        for path in below + sorted(folders[folder] - folders.keys()):
            kernel.lookup(path)
        for path in below:
            visit(path)
    visit("/")
    return [kernel]


def small(image, files):
    kernel = Kernel(image)
    found = sorted(path for path, size in files.items() if path.startswith("/usr/lib/") and 0 < size <= 65536)
    for path in random.Random(1).sample(found, 150):
        kernel.read(path)
    return [kernel]


def series(image, files):
    kernel = Kernel(image)
    for size in 1, 2, 3, 5, 8:
        kernel.read(f"/data/series{size}")
    return [kernel]


def git_status(image, files):
    """The index, then each file's status, and each folder's names."""
    kernel = Kernel(image)
    for name in "HEAD", "config", "index", "info/exclude":
        kernel.read(f"/.git/{name}")
    tree = [path for path in files if not path.startswith("/.git/")]
    for path in sorted(tree):
        kernel.lookup(path)
        kernel.work(20)
    for folder in sorted({os.path.dirname(path) for path in tree}):
        kernel.list(folder)
    return [kernel]


def git_log(image, files):
    """300 commits: each is found in the index by halves, and unpacked from the pack's first part."""
    kernel, chooser = Kernel(image), random.Random("log")
    for name in "HEAD", "config", "packed-refs":
        kernel.read(f"/.git/{name}")
    index, pack = "/.git/objects/pack/pack-0.idx", "/.git/objects/pack/pack-0.pack"
    kernel.fault(index, 0)
    for number in range(300):
        place = chooser.random()
        kernel.fault(index, 1032 + int(place * 4 * MIB))
        kernel.fault(index, 4 * MIB + int(place * 2 * MIB) - 4096)
        kernel.fault(pack, max(0, number * 400 + chooser.randrange(-60000, 60000)))
        kernel.work(300)
    return [kernel]


def package_query(image, files):
    """Which package has a file: the status, then each list."""
    kernel = Kernel(image)
    kernel.read("/var/lib/dpkg/status")
    kernel.list("/var/lib/dpkg/info")
    for path in sorted(path for path in files if path.startswith("/var/") and path.endswith(".list")):
        kernel.read(path)
        kernel.work(50)
    return [kernel]


def rows(image, files):
    """300 rows by a tree of pages of 8 KiB: the root, one of 40 pages below it, a leaf."""
    kernel, chooser = Kernel(image), random.Random("rows")
    kernel.read("/etc/db.conf")
    kernel.read("/db/main.db-wal", 0, 4096)
    for _ in range(300):
        leaf = chooser.randrange(8192)
        for page in 0, 1 + leaf // 205 * 200, leaf:
            kernel.read("/db/main.db", page * 8192, 8192, at_once=8192)
        kernel.work(500)
    return [kernel]


def folder_in_order(image, files):
    kernel = Kernel(image)
    kernel.list("/photos")
    for path in sorted(files)[:2000]:
        kernel.read(path)
    return [kernel]


def folder_at_random(image, files):
    kernel = Kernel(image)
    for path in random.Random("folder").sample(sorted(files), 400):
        kernel.read(path)
    return [kernel]


def film(image, files):
    """From the middle: the table in front, then 8 s of 4 Mbit/s."""
    kernel = Kernel(image)
    kernel.read("/films/one.mp4", 0, 300 << 10, at_once=32 << 10)
    for number in range(64):
        kernel.read("/films/one.mp4", 15 * MIB + (number << 16), 65536, at_once=65536)
        kernel.work(131072)
    return [kernel]


# By name: the image, the readers, a title; and the most that test/check lets it take with read-ahead auto, in seconds
# and in MB, a fifth above what it took when that was written down.
WORKLOADS = {
    "demo": ("demo", demo, "the demo: python3", 4.3, 27.2),
    "boot": ("boot", boot, "Debian to its login prompt", 7.9, 45.5),
    "sequence": ("bench", sequence, "(a) 32 MiB in sequence", 3.3, 35.5),
    "program": ("bench", program, "(b) cold program start", 6.2, 37),
    "pieces": ("bench", pieces, "(c) 400 random reads of 16 KiB", 1.5, 12.5),
    "four": ("bench", four, "(d) four readers, 4 MiB each", 1.7, 18),
    "walk": ("bench", walk, "(e) tree walk with stat", 0.6, 4.2),
    "small": ("bench", small, "(f) 150 small files, random order", 2.8, 6),
    "series": ("bench", series, "(g) files of 1 to 8 MiB, one by one", 2.2, 21.5),
    "status": ("git", git_status, "git status, 3,000 files", 1.1, 8),
    "log": ("git", git_log, "git log, 300 commits of a 60 MiB pack", 1.1, 9),
    "packages": ("packages", package_query, "dpkg -S, 500 packages", 1.6, 8.7),
    "rows": ("database", rows, "300 random rows of 64 MiB", 8.5, 5.5),
    "order": ("folder", folder_in_order, "2,000 of 10,000 small files in order", 1.9, 17),
    "random": ("folder", folder_at_random, "400 of 10,000 small files at random", 14, 11.8),
    "video": ("video", film, "8 s of a video from its middle", 10.5, 8.5),
}
