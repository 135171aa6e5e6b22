"""The files that a program's start reads in a tree: recorded with strace, repeated without the program's own time.

A step is (`stat`, path), (`list`, path) or (`read`, path, offset, length); paths begin at the tree's top.
"""
import ctypes
import glob
import mmap
import os
import re
import subprocess

PAGE = mmap.PAGESIZE
CALLS = "execve,openat,read,pread64,mmap,newfstatat,access,readlink,getdents64"
CALL = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) = (\d+|0x[0-9a-f]+)(?:<(.*)>)?$")
NAMED = re.compile(r'(?:AT_FDCWD<[^>]*>, )?"([^"]*)"')


def resident(path):
    """The pages of a file that are in memory, as ranges of bytes."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size = os.path.getsize(path)
    pages = (size + PAGE - 1) // PAGE
    there = (ctypes.c_ubyte * pages)()
    with open(path, "rb") as file:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0) if size else None
    if at:
        libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), there)
        libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
    ranges = []
    for page in (number for number in range(pages) if there[number] & 1):
        if ranges and ranges[-1][1] == page * PAGE:
            ranges[-1][1] += PAGE
        else:
            ranges.append([page * PAGE, (page + 1) * PAGE])
    return ranges


class Recording:
    """The steps of commands that run in a tree as their root. Of a mapped file, the pages that are in memory afterwards
    count as read."""

    def __init__(self, point, log):
        self.point, self.log = os.path.realpath(point), log
        self.positions = {}             # of a descriptor of a process: the offset of its next read()
        self.memory = {}                # path -> resident()
        self.steps = []

    def run(self, *command, environment):
        subprocess.run(["strace", "-ff", "-ttt", "-y", "-e", f"trace={CALLS}", "-o", self.log,
                        "/usr/sbin/chroot", self.point, *command],
                       env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def take_logs(self):
        """Takes the steps of all commands so far, in order of time."""
        lines = []
        for path in glob.glob(f"{self.log}.*"):
            with open(path, errors="replace") as file:
                lines += [(line.split(" ", 1)[0], path, line.rstrip("\n")) for line in file]
        for _, process, line in sorted(lines):
            call = CALL.match(line)
            if call:
                self.take(process, *call.groups()[1:])

    def inside(self, path):
        """A path from the tree's top, or None if it is elsewhere."""
        return path[len(self.point):] if path.startswith(f"{self.point}/") else None

    def take(self, process, name, arguments, result, result_path):
        if name == "openat":
            self.positions[process, result] = 0
            self.look_at(self.inside(result_path or ""))
        elif name in ("newfstatat", "access", "readlink", "execve"):
            named = NAMED.match(arguments)
            self.look_at(named[1] if named and named[1].startswith("/") else None)
            if name == "execve" and named:
                self.mapped(os.path.realpath(self.point + named[1]), 0, 1 << 40)
        else:
            self.take_file(process, name, arguments, int(result, 0))

    def take_file(self, process, name, arguments, result):
        """Calls with a descriptor; its path is the one that strace sees, from outside."""
        file = re.search(r"(?:^|, )(\d+)<([^>]*)>", arguments)
        path = self.inside(file[2]) if file else None
        if path is None:
            return
        if name == "getdents64":
            self.steps.append(("list", path))
        elif name == "mmap":
            length, offset = arguments.split(", ")[1], arguments.rsplit(", ", 1)[1]
            self.mapped(file[2], int(offset, 0), int(length))
        elif name == "pread64":
            self.read(path, int(arguments.rsplit(", ", 1)[1], 0), result)
        elif name == "read":
            offset = self.positions.get((process, file[1]), 0)
            self.positions[process, file[1]] = offset + result
            self.read(path, offset, result)

    def look_at(self, path):
        if path and os.path.lexists(self.point + path):
            self.steps.append(("stat", path))

    def read(self, path, offset, length):
        if length:
            self.steps.append(("read", path, offset, length))

    def mapped(self, path, offset, length):
        """The pages count once: a later mapping finds them in memory."""
        if not self.inside(path):
            return
        if path not in self.memory:
            self.memory[path] = resident(path)
        for begin, end in self.memory[path]:
            begin, end = max(begin, offset), min(end, offset + length)
            step = "read", self.inside(path), begin, end - begin
            if begin < end and step not in self.steps:
                self.steps.append(step)


def repeat(point, steps):
    """Repeats the steps in a tree with the same files. Returns the bytes and names found."""
    got, files = [], {}
    for kind, path, *place in steps:
        if kind == "stat":
            got.append(str(os.lstat(point + path).st_size).encode())
        elif kind == "list":
            got.append(" ".join(sorted(os.listdir(point + path))).encode())
        else:
            if path not in files:
                files[path] = os.open(point + path, os.O_RDONLY)
            offset, length = place
            got.append(os.pread(files[path], length, offset))
    for file in files.values():
        os.close(file)
    return got
