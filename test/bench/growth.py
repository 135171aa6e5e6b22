#!/usr/bin/python3
"""How the daemon's cost grows, in the guest, as root: growth.py JOB.

Measures resident memory, and CPU time while idle, with 1, 4 and 16 images mounted and 1, 16 and 64 readers, and with
images of 1 GiB and 100 GiB, which are sparse on the server and have the data of a file at their end.
"""
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from bench import contenders, inside
from bench.contenders import IMAGE, POINT, RUN, WWW
from lib.erofs import mkfs
from lib.inside import contents, eventually

IDLE = 3                        # seconds
PIECE = 64 << 10
GIB = 1 << 30


class Images(contenders.Ours):
    """Several images, each at a mount point of its own."""

    def __init__(self, job, names):
        super().__init__("https", job["work"], job["daemon"])
        self.points = {name: f"{RUN}/points/{name}" for name in names}

    def attach(self, deadline):
        for name, point in self.points.items():
            os.makedirs(point, exist_ok=True)
            contenders.program("mount", "-t", "erofs", "-o", f"fsid={name}", "none", point,
                               deadline=deadline)

    def detach(self):
        contenders.unmount(*self.points.values())


def stretch(source, target, size):
    """Makes a sparse copy of an EROFS image, of `size` bytes, with the data of /far at its end. Returns their checksum.
    The offsets are those of struct erofs_super_block and of the inode (fs/erofs/erofs_fs.h)."""
    shown = subprocess.run(["dump.erofs", "--path=/far", source], stdout=subprocess.PIPE, text=True)
    nid = int(shown.stdout.split("NID:")[1].split()[0])
    with open(source, "rb") as file:
        image = bytearray(file.read())
    compatible, = struct.unpack_from("<I", image, 1024 + 8)
    struct.pack_into("<I", image, 1024 + 8, compatible & ~1)            # no checksum
    struct.pack_into("<I", image, 1024 + 36, size >> 12)                # blocks
    meta, = struct.unpack_from("<I", image, 1024 + 40)
    inode = (meta << 12) + 32 * nid
    block, = struct.unpack_from("<I", image, inode + 16)
    data = image[block << 12:(block << 12) + PIECE]
    struct.pack_into("<I", image, inode + 16, (size - PIECE) >> 12)
    with open(target, "wb") as file:
        file.write(image)
        file.seek(size - PIECE)
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def make_far(work):
    tree = f"{work}/far-tree"
    os.makedirs(tree, exist_ok=True)
    with open(f"{tree}/far", "wb") as file:
        file.write(random.Random("far").randbytes(PIECE))
    mkfs(f"{work}/far.erofs", tree)


def read_pieces(points, readers, problems):
    """`readers` threads at once, each reads another piece of the large file."""
    with open(f"{RUN}/local/data/large", "rb") as file:
        known = [file.read(PIECE) for _ in range(readers)]

    def read(number):
        point = points[number % len(points)]
        with open(f"{point}/data/large", "rb", buffering=0) as file:
            if os.pread(file.fileno(), PIECE, number * PIECE) != known[number]:
                problems.append(f"reader {number} got wrong bytes")

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def figures(contender):
    """Resident memory of the largest process, now and at most, in kB; and the CPU time of all processes, in ms for each
    second while idle. Idleness begins when all prefetched bytes are there."""
    def quiet():
        before = contender.cost()[0]
        time.sleep(1)
        return contender.cost()[0] == before

    eventually(quiet, "the daemon is idle", 30)
    before = contender.cost()[0]
    time.sleep(IDLE)
    after, peak = contender.cost()
    rss = max(int(re.search(r"VmRSS:\s+(\d+)", contents(f"/proc/{pid}/status"))[1]) for pid in contender.processes())
    return {"rss": rss, "peak": peak, "idle": 1000 * (after - before) / IDLE}


def case(job, names, title, work):
    """Mounts the images, works, and prints the cost. `work` returns a problem, or an empty text."""
    contender = Images(job, names)
    try:
        contender.start()
        contender.attach(time.monotonic() + 60)
        problem = work(list(contender.points.values()))
        inside.tell("growth", title=title, outcome=problem or "ok", **figures(contender))
    finally:
        contender.detach()
        contender.stop()


def grow_images(job, images, readers):
    names = [f"image{number}.erofs" for number in range(images)]
    for name in names:
        if not os.path.exists(f"{WWW}/{name}"):
            os.symlink(IMAGE, f"{WWW}/{name}")

    def work(points):
        problems = []
        read_pieces(points, readers, problems)
        return "; ".join(problems)

    plural = "s" if images > 1 else "", "s" if readers > 1 else ""
    case(job, names, f"{images} image{plural[0]}, {readers} reader{plural[1]}", work)


def grow_size(job, size):
    digest = stretch(f"{job['work']}/far.erofs", f"{WWW}/far.erofs", size)

    def work(points):
        with open(f"{points[0]}/far", "rb") as file:
            return "" if hashlib.sha256(file.read()).hexdigest() == digest else "wrong bytes"

    case(job, ["far.erofs"], f"an image of {size // GIB} GiB", work)


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    for directory in (RUN, POINT, WWW, f"{RUN}/local"):
        os.makedirs(directory)
    shutil.copy(f"{job['work']}/{IMAGE}", WWW)
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,loop", f"{WWW}/{IMAGE}", f"{RUN}/local"],
                   check=True)
    inside.start_nginx(job["work"])
    for images, readers in (1, 1), (4, 1), (16, 1), (1, 16), (1, 64), (16, 64):
        grow_images(job, images, readers)
    make_far(job["work"])
    for size in GIB, 100 * GIB:
        grow_size(job, size)
    inside.tell("done")


if __name__ == "__main__":
    main()
