"""The image that the contenders serve: EROFS, not compressed, of this machine's own files. A second one has the
same files, compressed.

It holds a root tree with a shell, the usual tools and python3 with its library; and below /data files that cannot be
compressed, for the workloads that read much.
"""
import os
import random
import re
import shutil
import subprocess

from lib.erofs import mkfs
from lib.verity import make_beside

PACKAGES = ("bash", "dash", "coreutils", "findutils", "grep", "sed", "mawk", "gzip", "diffutils")
NOT_WANTED = re.compile(r"/usr/share/(doc|man|info|locale|lintian)(/|$)")
NOT_OF_PYTHON = re.compile(r"/(test|config-[^/]*-linux-gnu)(/|$)")

MIB = 1 << 20
DATA = {"large": 32 * MIB, "random": 10 * MIB, **{f"part{n}": 4 * MIB for n in range(4)},
        **{f"series{n}": n * MIB for n in (1, 2, 3, 5, 8)}}


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True).stdout


def python_files():
    binary = os.path.realpath("/usr/bin/python3")
    yield from ("/usr/bin/python3", binary)
    for directory, _, names in os.walk(f"/usr/lib/{os.path.basename(binary)}"):
        for name in names:
            path = os.path.join(directory, name)
            if not NOT_OF_PYTHON.search(path):
                yield path


def listed():
    """The files of the packages, those of python, and the libraries that these are linked with."""
    paths = [p for p in output("dpkg", "-L", *PACKAGES).splitlines() if not NOT_WANTED.search(p)]
    paths += ["/usr/bin/awk", *python_files()]
    linked = [p for p in paths if "/bin/" in p or p.endswith(".so")]
    libraries = re.findall(r"(/\S+) \(0x", output("ldd", *linked))
    return paths + libraries


class Tree:
    """A copy of some of this machine's files. Links stay links, and their targets are copied too."""

    def __init__(self, top):
        self.top, self.seen = top, set()
        for directory in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(f"{top}/usr/{directory}")
            os.symlink(f"usr/{directory}", f"{top}/{directory}")
        for directory in ("dev", "proc", "sys", "tmp", "etc", "data"):
            os.mkdir(f"{top}/{directory}")

    def add(self, path):
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if path in self.seen or os.path.isdir(path) or not os.access(path, os.R_OK):
            return
        self.seen.add(path)
        copy = self.top + path
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy2(path, copy, follow_symlinks=False)
        if os.path.islink(path):
            self.add(os.path.join(os.path.dirname(path), os.readlink(path)))


def write_data(top):
    for name, size in DATA.items():
        with open(f"{top}/data/{name}", "wb") as file:
            file.write(random.Random(name).randbytes(size))


def make(image, packed, scratch):
    """Writes both images, and the hash tree of the first, by way of the directory `scratch`, which must not exist
    yet."""
    tree = Tree(scratch)
    for path in listed():
        tree.add(path)
    write_data(scratch)
    # Times stay as they are: python compares them with those in its compiled files.
    options = ["--all-root", "-U", "00000000-0000-4000-8000-000000000000"]
    mkfs(image, scratch, *options)
    make_beside(image)
    mkfs(packed, scratch, *options, "-zlz4hc")
    shutil.rmtree(scratch)
