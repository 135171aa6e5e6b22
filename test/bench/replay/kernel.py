"""What a kernel asks of an image, for files that are looked up and read: the first touches, in order.

Names, inodes and folders are read by blocks (fs/erofs/namei.c, inode.c, dir.c), files with mm/readahead.c and, where
they are mapped, mm/filemap.c, all as of Linux 6.1 by cachefiles, where a reader waits for each READ.
"""
import collections
import importlib.machinery
import importlib.util
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = 4096
READAHEAD = 32                  # pages: VM_READAHEAD_PAGES


def carry_trace():
    loader = importlib.machinery.SourceFileLoader("carry_trace", f"{HERE}/../../../contrib/publish/carry-trace")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("carry_trace", loader))
    loader.exec_module(module)
    return module


class File:
    """An open file: the pages that are in memory, and the state of its read-ahead (struct file_ra_state)."""

    def __init__(self, path, inode):
        self.path, self.inode, self.there = path, inode, set()
        self.pages = -(-inode.size // BLOCK)
        self.start = self.size = self.ahead = 0
        self.last = -2


class Kernel:
    """Its `reads` are (think time in microseconds, offset, length, what for)."""

    def __init__(self, image, think=0):
        self.image, self.reads, self.think, self.spent = image, [], think, 0
        self.blocks, self.files, self.names, self.folders = set(), {}, {}, {}
        self.block(0, "superblock")
        self.look_at_inode(image.root, "/")

    def ask(self, offset, length, what):
        self.reads.append((self.think + self.spent, offset, length, what))
        self.spent = 0

    def work(self, microseconds):
        self.spent += microseconds

    # ---- metadata

    def block(self, number, what):
        if number not in self.blocks:
            self.blocks.add(number)
            self.ask(number * BLOCK, BLOCK, what)

    def look_at_inode(self, number, path):
        inode = self.image.inode(number)
        place = inode.metadata[0].place
        size = 64 if self.image.bytes[place] & 1 else 32
        for block in self.image.blocks(place, size):
            self.block(block, f"inode of {path}")

    def folder_blocks(self, inode):
        """The places of a folder's blocks."""
        return [extent.place + start for extent in inode.data for start in range(0, extent.length, BLOCK)]

    def first_name(self, place):
        start, = struct.unpack_from("<8xH", self.image.bytes, place)
        second, = struct.unpack_from("<8xH", self.image.bytes, place + 12) if start > 12 else (start + 256,)
        return self.image.bytes[place + start:place + second].split(b"\0")[0]

    def search(self, inode, path, name):
        """By halves: erofs_find_target_block()."""
        places = self.folder_blocks(inode)
        head, back = 0, len(places) - 1
        while head <= back:
            middle = (head + back) // 2
            self.block(places[middle] // BLOCK, f"folder {path}/")
            first = self.first_name(places[middle])
            if name == first:
                return
            if name > first:
                head = middle + 1
            else:
                back = middle - 1

    def lookup(self, path):
        """The number of the path's inode, which is read."""
        number, done = self.image.root, ""
        for name in path.strip("/").split("/"):
            if not name:
                continue
            done += "/" + name
            if done not in self.names:
                inode = self.image.inode(number)
                self.search(inode, os.path.dirname(done).rstrip("/"), name.encode())
                if number not in self.folders:
                    self.folders[number] = self.image.folder(inode)
                self.names[done] = self.folders[number][name.encode()]
                self.look_at_inode(self.names[done], done)
            number = self.names[done]
        return number

    def list(self, path):
        for place in self.folder_blocks(self.image.inode(self.lookup(path))):
            self.block(place // BLOCK, f"folder {path}/")

    # ---- files

    def open(self, path):
        number = self.lookup(path)
        if number not in self.files:
            self.files[number] = File(path, self.image.inode(number))
        return self.files[number]

    def fetch(self, file, begin, end):
        """Pages that are not in memory: a READ for each run of them that lies together."""
        for extent in file.inode.data:
            first, behind = extent.offset // BLOCK, -(-(extent.offset + extent.length) // BLOCK)
            run = []
            for page in [*range(max(begin, first), min(end, behind)), None]:
                if page is not None and page not in file.there:
                    run.append(page)
                elif run:
                    place = extent.place + (run[0] - first) * BLOCK
                    if place % BLOCK:
                        self.block(place // BLOCK, f"tail of {file.path}")      # behind its inode
                    else:
                        self.ask(place, len(run) * BLOCK, f"{file.path} at {run[0] * BLOCK}")
                    run = []
        file.there.update(range(begin, min(end, file.pages)))

    def read(self, path, offset=0, length=1 << 40, at_once=128 << 10):
        """By calls of read() for so many bytes at once."""
        file = self.open(path)
        end = min(offset + length, file.inode.size)
        while offset < end:
            step = min(at_once, end - offset)
            self.read_once(file, offset // BLOCK, -(-(offset + step) // BLOCK))
            offset += step

    def read_once(self, file, begin, end):
        for page in range(begin, end):
            if page not in file.there:
                self.read_ahead(file, page, end - page)
            if page == file.ahead and file.size:
                file.start += file.size
                file.size = min(file.size * (4 if file.size < READAHEAD // 16 else 2), READAHEAD)
                file.ahead = file.start
                self.fetch(file, file.start, file.start + file.size)
        file.last = end - 1

    def read_ahead(self, file, page, wanted):
        """ondemand_readahead() for a page that is not there."""
        if page and page - file.last > 1 and page - 1 not in file.there:
            self.fetch(file, page, page + min(wanted, READAHEAD))       # here and there
            return
        size = 1 << (wanted - 1).bit_length()
        size = size * 4 if size <= READAHEAD // 32 else size * 2 if size <= READAHEAD // 4 else READAHEAD
        size = min(size, READAHEAD)
        file.start, file.size = page, size
        file.ahead = page + (wanted if size > wanted else size)
        self.fetch(file, page, page + size)

    def fault(self, path, offset):
        """A mapped page is touched: those around it come with it."""
        file = self.open(path)
        page = offset // BLOCK
        if page not in file.there:
            begin = max(0, page - READAHEAD // 2)
            self.fetch(file, begin, begin + READAHEAD)

    # ---- recordings

    def replay(self, name):
        """First touches that were recorded of another image of the same files: their data, and that a file was looked
        up. Folders are looked up on the way to it."""
        with open(f"{HERE}/lists/{name}.reads") as lines:
            for path, *places in (line.split() for line in lines if not line.startswith("#")):
                for place in places:
                    if place.startswith("@"):
                        self.lookup(path)
                    else:
                        begin, count = map(int, place.split("+"))
                        self.fetch(self.open(path), begin, begin + count)

    def follow(self, name):
        """The steps of programs, as test/bench/recorded.py has them."""
        with open(f"{HERE}/lists/{name}.steps") as lines:
            for path, *steps in (line.split() for line in lines if not line.startswith("#")):
                for step in steps:
                    if step == "s":
                        self.lookup(path)
                    elif step == "l":
                        self.list(path)
                    else:
                        self.read(path, *map(int, step.split("+")), at_once=1 << 30)
