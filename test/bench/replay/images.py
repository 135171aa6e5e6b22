"""Images for the replay bench: mkfs.erofs makes them of lists of names and sizes. The files hold nothing, the metadata
is as real as that of any image."""
import hashlib
import os
import random
import shutil
import subprocess

from lib.erofs import mkfs

LISTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lists")
KIB, MIB = 1 << 10, 1 << 20


def listed(name):
    """{path: size} of a list: "FOLDER/", then its "SIZE NAME"; "* N BYTES" are N small files of BYTES in all, whose
    names come behind the one before."""
    files, folder, before = {}, "", ""
    with open(f"{LISTS}/{name}.tree") as lines:
        for line in lines:
            words = line.rstrip("\n").split(" ", 1)
            if line.startswith("#"):
                continue
            if line.startswith("/"):
                folder, before = line.rstrip("\n"), ""
            elif words[0] == "*":
                count, size = map(int, words[1].split())
                files.update({f"{folder}{before}~{n:03}": size // count for n in range(count)})
            else:
                before = words[1]
                files[folder + before] = int(words[0])
    return files


def bench():
    """As test/bench/image.py has it, without its links."""
    files = {path: size for path, size in listed("python").items() if not path.startswith("/usr/share/zoneinfo/")}
    sizes = {"large": 32, "random": 10, "part0": 4, "part1": 4, "part2": 4, "part3": 4, "series1": 1, "series2": 2,
             "series3": 3, "series5": 5, "series8": 8}
    return {**files, **{f"/data/{name}": size * MIB for name, size in sizes.items()}}


def git():
    """A repository of 3,000 files in 200 folders, all of its past in one pack."""
    chooser = random.Random("git")
    files = {"/.git/HEAD": 23, "/.git/config": 270, "/.git/packed-refs": 9 * KIB, "/.git/info/exclude": 240,
             "/.git/index": 300 * KIB, "/.git/description": 73, "/.git/refs/heads/main": 41,
             "/.git/objects/pack/pack-0.idx": 6 * MIB, "/.git/objects/pack/pack-0.pack": 60 * MIB}
    for number in range(3000):
        folder = number // 15
        files[f"/src{folder % 20}/part{folder}/file{number}.c"] = int(chooser.lognormvariate(8.7, 1))
    return files


def packages():
    """A root, and what dpkg knows of 500 packages."""
    chooser = random.Random("packages")
    files = {**listed("python"), "/var/lib/dpkg/status": 700 * KIB, "/var/lib/dpkg/available": 0}
    for number in range(500):
        for suffix in "list", "md5sums", "postinst", "shlibs":
            size = min(60 * KIB, int(chooser.lognormvariate(6.5, 1.3)))
            files[f"/var/lib/dpkg/info/package{number}.{suffix}"] = size
    return files


def database():
    return {"/db/main.db": 64 * MIB, "/db/main.db-wal": 2 * MIB, "/etc/db.conf": 3000}


def folder():
    chooser = random.Random("folder")
    return {f"/photos/{number:05}.txt": chooser.randrange(KIB, 12 * KIB) for number in range(10000)}


def video():
    return {"/films/one.mp4": 30 * MIB, "/films/one.srt": 80 * KIB, "/films/two.mp4": 40 * MIB}


TREES = {"demo": lambda: listed("python"), "boot": lambda: listed("boot"), "bench": bench, "git": git,
         "packages": packages, "database": database, "folder": folder, "video": video}


def make(name, place):
    """The path of the image, which is made unless it is there, and the sizes of its files."""
    files = TREES[name]()
    digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
    image = f"{place}/{name}-{digest}.erofs"
    if os.path.exists(image):
        return image, files
    os.makedirs(place, exist_ok=True)
    top = f"{image}.tree"
    shutil.rmtree(top, ignore_errors=True)
    for path, size in files.items():
        os.makedirs(os.path.dirname(top + path), exist_ok=True)
        with open(top + path, "w") as file:
            file.truncate(size)
    # Where files have times of their own, inodes are twice as large.
    inodes = [] if name == "demo" else ["-Eforce-inode-extended"]
    mkfs(f"{image}.new", top, "-T0", "--all-root", "-U", "00000000-0000-4000-8000-000000000000", "--quiet", *inodes)
    shutil.rmtree(top)
    subprocess.run(["fallocate", "--dig-holes", f"{image}.new"], check=True)
    os.rename(f"{image}.new", image)
    return image, files
