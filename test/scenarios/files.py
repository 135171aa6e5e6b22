"""What is fetched with a READ is decided by the file of the image that it lies in."""
import contextlib
import os
import random
import tempfile

from lib.erofs import mkfs
from scenarios.common import (KIB, MIB, PAGE, Server, all_once, check, daemon, each, kill_worker, quiet, scenario,
                              touch)

LENGTH = 16 * KIB


class Tree:
    """An EROFS image of files that have the given sizes and cannot be compressed, as mkfs.erofs lays it out."""

    def __init__(self, sizes, *options):
        self.sizes = sizes
        # Not in a tmpfs, where mkfs.erofs makes no chunks.
        with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
            contents = {name: random.Random(name).randbytes(size) for name, size in sizes.items()}
            for name, content in contents.items():
                os.makedirs(os.path.dirname(f"{scratch}/tree/{name}"), exist_ok=True)
                with open(f"{scratch}/tree/{name}", "wb") as file:
                    file.write(content)
            mkfs(f"{scratch}/image", f"{scratch}/tree", "-T0", "--quiet", *options)
            with open(f"{scratch}/image", "rb") as file:
                self.data = file.read()
        # Whole blocks; a tail may lie elsewhere.
        self.spans = {name: (at, at + len(content) // PAGE * PAGE) for name, content in contents.items()
                      for at in [self.data.index(content[:PAGE])]}

    def metadata(self):
        """The pages that are no file's."""
        taken = {page for at, end in self.spans.values() for page in range(at, end, PAGE)}
        return [page for page in range(0, len(self.data) // PAGE * PAGE, PAGE) if page not in taken]


@contextlib.contextmanager
def looked_up(tree, *words):
    """All inodes have been looked up, and nothing else read: the daemon knows the files."""
    with Server({"/img": tree.data}) as s, daemon(s, *words) as k:
        f = k.opened("erofs,img", b"img")
        for page in tree.metadata():
            touch(k, f, tree.data, page, PAGE)
        quiet(s)
        yield s, k, f
        quiet(s)
        all_once(s)
        check(f, tree.data)


def present(f, tree, name):
    begin, end = tree.spans[name]
    return sum(max(0, min(b, end) - max(a, begin)) for a, b in f.extents())


@each("extended", "chunks")
def small_files(kind):
    """of a small file the rest comes with its first READ; nothing of its neighbours"""
    options = {"extended": ["-Eforce-inode-extended"], "chunks": ["--chunksize=4096"]}[kind]
    tree = Tree({f"f{n:02}": 100 * KIB for n in range(40)}, *options)
    with looked_up(tree) as (s, k, f):
        before = {name: present(f, tree, name) for name in tree.spans}
        for name in "f07", "f21", "f35":
            touch(k, f, tree.data, tree.spans[name][0] + 32 * KIB, LENGTH)
        quiet(s)
        for name, (begin, end) in tree.spans.items():
            if name in ("f07", "f21", "f35"):
                assert present(f, tree, name) == end - begin, f"{name}: {present(f, tree, name)} bytes"
            else:
                assert present(f, tree, name) == before[name], f"{name} was fetched"


@each("in a row", "in turn")
def a_small_directory(order):
    """of a small directory the rest comes with the second of its files in a row, and nothing of the next directory"""
    tree = Tree({f"{folder}/f{n:02}": 20 * KIB for folder in ("a", "b") for n in range(16)})
    with looked_up(tree) as (s, k, f):
        before = {name: present(f, tree, name) for name in tree.spans}
        read = ["a/f05", "a/f11"] if order == "in a row" else ["a/f05", "b/f05", "a/f11", "b/f11"]
        for name in read:
            touch(k, f, tree.data, tree.spans[name][0], LENGTH)
            quiet(s)
        for name, (begin, end) in tree.spans.items():
            there = end - begin if name in read or (order == "in a row" and name[0] == "a") else before[name]
            assert present(f, tree, name) == there, f"{name}: {present(f, tree, name)} bytes, {there} expected"


@scenario
def files_after_a_restart():
    """a new worker knows no file, as no inode passes by that is cached: regions take their place"""
    tree = Tree({f"f{n:02}": 100 * KIB for n in range(40)})
    with looked_up(tree) as (s, k, f):
        kill_worker(k)
        begin, end = tree.spans["f21"]
        touch(k, f, tree.data, begin + 32 * KIB, LENGTH)
        quiet(s)
        near = [name for name, span in tree.spans.items() if abs(span[0] - begin) < 512 * KIB]
        assert sum(present(f, tree, name) for name in near) > end - begin, "nothing of its region was fetched"


@scenario
def a_large_file_at_random():
    """READs at random places of a large file: half as much is fetched beside what was asked for; of its neighbour 0"""
    tree = Tree({"a": 40 * MIB, "b": 2 * MIB})
    with looked_up(tree) as (s, k, f):
        before, other = present(f, tree, "a"), present(f, tree, "b")
        begin, end = tree.spans["a"]
        rng, count = random.Random(5), 100
        for _ in range(count):
            touch(k, f, tree.data, begin + rng.randrange((end - begin - LENGTH) // PAGE) * PAGE, LENGTH)
        quiet(s)
        fetched = present(f, tree, "a") - before
        assert fetched <= 1.6 * count * LENGTH, f"{fetched} bytes for {count * LENGTH}"
        assert present(f, tree, "b") == other


@scenario
def a_file_read_in_part():
    """READs in sequence fetch ahead up to the file's end, and nothing of the next file"""
    tree = Tree({"a": 3 * MIB, "b": 3 * MIB})
    with looked_up(tree) as (s, k, f):
        other = present(f, tree, "b")
        begin, end = tree.spans["a"]
        for at in range(begin + 2 * MIB, end, LENGTH):
            touch(k, f, tree.data, at, min(LENGTH, end - at))
        quiet(s)
        assert present(f, tree, "b") == other, f"{present(f, tree, 'b') - other} bytes of the next file"


@scenario
def files_in_order():
    """files that are read one behind the other are fetched ahead: most of them are there before they are read"""
    tree = Tree({f"f{n:02}": 100 * KIB for n in range(24)})
    with looked_up(tree) as (s, k, f):
        there = 0
        for begin, end in tree.spans.values():
            there += not touch(k, f, tree.data, begin, LENGTH)
            for at in range(begin + LENGTH, end, LENGTH):
                touch(k, f, tree.data, at, min(LENGTH, end - at))
            quiet(s)
        assert there >= 12, f"{there} of {len(tree.spans)}"


@each("thrifty", "none")
def guesses(word):
    """read-ahead thrifty fetches at most a twentieth more than was asked for, none nothing"""
    tree = Tree({**{f"f{n:02}": 50 * KIB for n in range(20)}, "large": 8 * MIB})
    with looked_up(tree, f"read-ahead {word}") as (s, k, f):
        asked = len(tree.metadata()) * PAGE
        begin, end = tree.spans["large"]
        for at in range(begin, end, LENGTH):
            asked += LENGTH * touch(k, f, tree.data, at, min(LENGTH, end - at))
        for name in "f03", "f11", "f17":
            asked += LENGTH * touch(k, f, tree.data, tree.spans[name][0], LENGTH)
        quiet(s)
        present_bytes = f.present()
        if word == "none":
            assert present_bytes <= asked, f"{present_bytes} bytes, {asked} were asked for"
        assert present_bytes <= 1.05 * (len(tree.metadata()) * PAGE + end - begin + 3 * LENGTH)
