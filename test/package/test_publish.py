#!/usr/bin/python3
"""contrib/publish/carry-trace: the trace of an image for its next build.

    test/package/test_publish.py    TAP on standard output; exit status 1 if a test failed

Images of several kinds are made of small trees by mkfs.erofs. What the tool reads of them is compared with dump.erofs
and with the bytes of the files.
"""
import functools
import importlib.machinery
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
sys.dont_write_bytecode = True      # not into contrib/
from lib import erofs, tap
from lib.commands import run

TOP = os.path.dirname(sys.path[0])
TOOL = f"{TOP}/contrib/publish/carry-trace"
BLOCK = 4096
PLAIN_KINDS = {
    "compact": ["-Eforce-inode-compact"],
    "extended, not inline": ["-Eforce-inode-extended,noinline_data"],
    "chunks": ["--chunksize=4096"],
    "chunks with indexes": ["--chunksize=8192", "-Eforce-chunk-indexes"],
}
PACKED_KINDS = {
    "lz4": ["-zlz4"],
    "lz4, large clusters": ["-zlz4hc", "-C65536"],
    "lz4, full index": ["-zlz4", "-Elegacy-compress"],
    "lz4, full index, large clusters": ["-zlz4", "-C16384", "-Elegacy-compress"],
    "lz4, packed tails": ["-zlz4", "-Eztailpacking"],
    "lz4, packed tails, large clusters": ["-zlz4hc", "-C65536", "-Eztailpacking"],
}


def load(path):
    loader = importlib.machinery.SourceFileLoader("carry_trace", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("carry_trace", loader))
    loader.exec_module(module)
    return module


tool = load(TOOL)


def text(seed, lines):
    """What compresses to a third or so."""
    rng = random.Random(seed)
    return b"".join(b"%d: a line of text %d\n" % (number, rng.getrandbits(24)) for number in range(lines))


def noise(seed, size):
    return random.Random(seed).randbytes(size)


# The two builds: the path of each file, and its bytes. Metadata and data of the new one lie elsewhere.
COMMON = {
    "empty": b"", "one": b"1", "block": noise(1, BLOCK), "tail": noise(2, 3 * BLOCK + 1000),
    "random": noise(3, 100_003), "text": text(4, 4000), "zeros": bytes(60_000),
    "mixed": bytes(30_000) + noise(5, 30_000) + b"ab" * 30_000, "a/b/c/d/deep": noise(6, 20_000),
    **{f"many/file-with-a-longer-name-{number:04}": b"%d\n" % number * 9 for number in range(150)},
}
OLD = {**COMMON, "gone": noise(7, 50_000), "grown": noise(8, 40_000), "shrunk": noise(9, 90_000),
       "lib/libx.so.3.0.11": noise(10, 60_000), "was-file": noise(11, 9000), "changed": text(12, 4000)}
NEW = {**COMMON, "aaa/first": noise(20, 70_000), "grown": OLD["grown"] + noise(21, 30_000),
       "shrunk": OLD["shrunk"][:50_000], "lib/libx.so.3.2.1": OLD["lib/libx.so.3.0.11"], "was-file/now": b"folder",
       "changed": text(12, 1000) + text(22, 100) + OLD["changed"][len(text(12, 1000)):],
       **{f"many/another{number:04}": b"" for number in range(50)}}


def make_tree(folder, files):
    for name, data in files.items():
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
    os.symlink("a/b/c/d/deep", f"{folder}/short-link")
    os.symlink("/".join(["x" * 200] * 10), f"{folder}/long-link")
    os.link(f"{folder}/random", f"{folder}/a/linked")
    for name in ("text", "random", "a", "one", "mixed"):
        # What three or more have is a shared attribute.
        os.setxattr(f"{folder}/{name}", "trusted.common", b"shared" * 9)
    os.setxattr(f"{folder}/tail", "trusted.own", b"x" * 500)


def everything(image):
    """All inodes by path."""
    found, todo = {}, [("", image.root)]
    while todo:
        path, nid = todo.pop()
        found[path or "/"] = inode = image.inode(nid)
        if inode.kind == tool.stat.S_IFDIR:
            todo += [(f"{path}/{os.fsdecode(name)}", child) for name, child in image.folder(inode).items()
                     if name not in (b".", b"..")]
    return found


@functools.cache
def told_extents(image, path):
    """What dump.erofs says: (offset, length, place, span)."""
    said = run("dump.erofs", "-e", f"--path={path}", image).decode()
    return [tuple(map(int, numbers)) for numbers in
            re.findall(r"^ *\d+: *(\d+)\.\. *\d+ \| *(\d+) : *(\d+)\.\. *\d+ \| *(\d+)", said, re.M)]


def joined(extents):
    """As the tool joins them: what is not packed and goes on in the file and in the image; holes are left out."""
    out = []
    for offset, length, place, span in extents:
        if length == 0 or span == 0:
            continue
        if out and length == span and out[-1][1] == out[-1][3] and \
                (out[-1][0] + out[-1][1], out[-1][2] + out[-1][3]) == (offset, place):
            before = out.pop()
            offset, length, place, span = before[0], before[1] + length, before[2], before[3] + span
        out.append((offset, length, place, span))
    return out


def carry(*words, status=0):
    done = subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, f"status {done.returncode}: {done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def parse(said):
    return [tuple(map(int, line.split())) for line in said.splitlines() if not line.startswith("#")]


def covered(ranges):
    return {block for offset, length in ranges for block in range(offset // BLOCK, -(-(offset + length) // BLOCK))}


def places(image, path, begin, end):
    """The blocks that hold bytes [begin, end) of a file, by dump.erofs."""
    found = []
    for offset, length, place, span in told_extents(image, path):
        low, high = max(begin, offset), min(end, offset + length)
        if low < high and length == span:
            found.append((place + low - offset, high - low))
        elif low < high:
            found.append((place, span))
    return covered(found)


class Builds:
    """Two builds of one kind, in a folder of their own, of the trees in the folder around it."""

    def __init__(self, folder, options):
        self.old, self.new, self.trace = (f"{folder}/{name}" for name in ("old.erofs", "new.erofs", "old.trace"))
        os.mkdir(folder)
        erofs.mkfs(self.old, f"{folder}/../old", "--quiet", *options)
        erofs.mkfs(self.new, f"{folder}/../new", "--quiet", *options)

    def carried(self, blocks):
        """What the command writes of these blocks, as extents."""
        old, new = tool.Image(self.old), tool.Image(self.new)
        return parse(tool.trace_text(tool.carry(old, new, dict.fromkeys(blocks))[0], BLOCK, len(new.bytes)))


def check_reading(builds, is_packed):
    image = tool.Image(builds.old)
    found = everything(image)
    assert not {f"/{path}" for path in [*OLD, "long-link", "short-link"]} - found.keys(), "files are missing"
    for path, inode in found.items():
        if path.startswith("/many/") and not path.endswith("140"):
            continue
        told, read = told_extents(builds.old, path), joined(extent[:4] for extent in inode.data)
        if not is_packed:       # it rounds up the last length
            told = [(offset, min(length, inode.size - offset), place, min(span, inode.size - offset))
                    for offset, length, place, span in told if place]       # a hole is at 0
        assert read == joined(told), f"{path}: {read}, dump.erofs has {told}"
        data = OLD.get(path[1:], b"")
        for extent in inode.data if data else ():
            if not extent.packed:
                part = bytes(image.bytes[extent.place:extent.place + extent.length])
                assert part == data[extent.offset:extent.offset + extent.length], f"{path}: other bytes"


def check_carrying(builds, is_packed):
    """Parts of files, in an order that is none of the image's."""
    whole = 1 << 30
    parts = [("changed", 0, 20_000), ("random", 8192, 40_000), ("tail", 0, whole), ("gone", 0, whole),
             ("lib/libx.so.3.0.11", 4096, 20_000), ("text", 20_000, 60_000), ("a/b/c/d/deep", 0, whole)]
    renamed = {"lib/libx.so.3.0.11": "lib/libx.so.3.2.1"}
    blocks, ends = [], []
    for path, begin, end in parts:
        blocks += sorted(places(builds.old, f"/{path}", begin, min(end, len(OLD[path]))))
        ends.append(len(blocks))
    got = builds.carried(blocks)
    allowed, position = set(), -1
    for path, begin, end in parts:
        if path == "gone":
            continue
        path = renamed.get(path, path)
        wanted = places(builds.new, f"/{path}", begin, min(end, len(NEW[path])))
        assert wanted <= covered(got), f"{path}: {sorted(wanted - covered(got))} of {sorted(wanted)} are missing"
        at = max(i for i, extent in enumerate(got) if covered([extent]) & wanted)
        assert at >= position, f"{path} comes too early"
        position, allowed = at, allowed | wanted
    more = len(covered(got) - allowed)
    assert more <= (len(allowed) if is_packed else 12), f"{more} blocks beside {len(allowed)}"


def check_ends(builds):
    """Who reads an old file to its end reads the new one to its end."""
    for path in ("grown", "shrunk"):
        size = len(OLD[path])
        got = covered(builds.carried(sorted(places(builds.old, f"/{path}", size - 2 * BLOCK, size))))
        wanted = places(builds.new, f"/{path}", min(size - 2 * BLOCK, len(NEW[path]) - 1), len(NEW[path]))
        assert wanted <= got, f"{path}: {sorted(wanted - got)} are missing"


def check_metadata(builds):
    """An inode, a folder's entries, a link and shared attributes are found again by their paths."""
    old, new = tool.Image(builds.old), tool.Image(builds.new)
    inodes, others = everything(old), everything(new)
    for path in ("/a/b/c/d", "/many", "/many/file-with-a-longer-name-0140", "/long-link", "/text", "/"):
        for one, other in (inodes[path].metadata, others[path].metadata), (inodes[path].data, others[path].data):
            got = covered(builds.carried(sorted(covered([(e.place, e.span) for e in one]))))
            wanted = covered([(e.place, e.span) for e in other])
            assert wanted <= got, f"{path}: {sorted(wanted - got)} of {sorted(wanted)} are missing"


def check_same(builds):
    """A build that has not changed keeps its trace."""
    image = tool.Image(builds.old)
    blocks = list(range(len(image.bytes) // BLOCK))
    random.Random(1).shuffle(blocks)
    with open(builds.trace, "w") as file:
        file.writelines(f"{block * BLOCK} {BLOCK}\n" for block in blocks[:500])
    before = parse(open(builds.trace).read())
    after = parse(carry(builds.old, builds.trace, builds.old).stdout)
    missing = covered(before) - covered(after)
    held = covered((e.place, e.span) for inode in everything(image).values() for e in (*inode.metadata, *inode.data))
    assert not missing & held, f"{sorted(missing & held)} are missing"


def check_damaged(all_builds):
    """Any image ends with a trace or with a reason."""
    rng, seen = random.Random(2), set()
    for builds in all_builds:
        bad = f"{os.path.dirname(builds.old)}/bad.erofs"
        good = open(builds.old, "rb").read()
        starts = sorted({e.place for inode in everything(tool.Image(builds.old)).values() for e in
                         (*inode.metadata, *(inode.data if inode.kind == tool.stat.S_IFDIR else ()))})
        for number in range(15):
            data = bytearray(good)
            for _ in range(rng.choice((1, 1, 4, 40))):
                at = rng.choice(starts) + rng.randrange(80) if number % 8 else tool.SUPER + rng.randrange(128)
                data[at % len(data)] = rng.choice((0, 255, rng.randrange(256)))
            if number % 10 == 0:
                del data[rng.randrange(len(data)):]
            with open(bad, "wb") as file:
                file.write(data)
            for pair in ((bad, builds.old), (builds.old, bad)):
                try:
                    old, new = map(tool.Image, pair)
                    tool.carry(old, new, dict.fromkeys(range(len(old.bytes) // BLOCK)))
                except tool.Wrong as reason:
                    assert re.search(r".: .+: .", str(reason)), reason
                    seen.add(re.sub(r"[0-9]+|^.*erofs", "0", str(reason)))
    assert len(seen) > 9, seen


def check_hostile(builds):
    """Folders that contain each other, and a file that claims all."""
    image = tool.Image(builds.old)
    good, bad = open(builds.old, "rb").read(), f"{os.path.dirname(builds.old)}/bad.erofs"
    inodes = everything(image)
    root, inner, file = inodes["/"], inodes["/a/b/c/d"], inodes["/random"]
    entry = inner.data[0].place + 12 * [b".", b"..", b"deep"].index(b"deep")
    for place, form, value, words in (
            (entry, "<Q", root.nid, None), (entry, "<Q", inner.nid, None),
            (entry, "<Q", 1 << 60, "behind the image's end"), (entry + 8, "<H", 0, "a name outside its block"),
            (file.metadata[0].place + 8, "<I", 0xFFFFFFFF, "behind the image's end"),
            (file.metadata[0].place + 16, "<I", 0xFFFFFFF0, "behind the image's end"),
            (file.metadata[0].place, "<H", 0x0A, "unknown layout 5"),
            (tool.SUPER + 80, "<I", 1 << 20, "features 0x100000")):
        data = bytearray(good)
        tool.struct.pack_into(form, data, place, value)
        with open(bad, "wb") as out:
            out.write(data)
        with open(builds.trace, "w") as out:
            out.write(f"0 {len(good)}\n")
        done = carry(bad, builds.trace, builds.new, status=1 if words else 0)
        assert (words or "") in done.stderr and bad in done.stderr or not words, f"{words}: {done.stderr}"


def check_words(builds):
    """Exit statuses, reasons, and where the trace goes."""
    folder = os.path.dirname(builds.old)
    with open(builds.trace, "w") as file:
        file.write("# a comment\r\n\n\t0 4096 \r\n65536\t131072\n")
    said = carry(builds.old, builds.trace, builds.new).stdout
    output = f"{folder}/new.trace"
    assert carry(builds.old, builds.trace, builds.new, "-o", output).stdout == ""
    assert open(output).read() == said and parse(said)[0][0] == 0, said
    assert os.stat(output).st_mode & 0o777 == 0o666 & ~UMASK, oct(os.stat(output).st_mode)
    assert "OLD.trace" in carry("--help").stdout
    carry(status=2)
    for bad, words in (("4096\n", "line 1 is not"), ("0 0\n", "line 1 is not"), ("0 1\n0x10 5\n", "line 2 is not"),
                       (f"{1 << 40} 4096\n", "line 1 begins behind the end")):
        with open(f"{folder}/bad.trace", "w") as file:
            file.write(bad)
        done = carry(builds.old, f"{folder}/bad.trace", builds.new, "-o", output, status=1)
        assert words in done.stderr and "bad.trace: " in done.stderr and done.stderr.count("\n") == 1, done.stderr
    for image, words in ((builds.trace, "too few"), (TOOL, "no EROFS image"), (f"{folder}/none", "No such file"),
                         (folder, "Is a directory")):
        for pair in ((image, builds.trace, builds.new), (builds.old, builds.trace, image)):
            done = carry(*pair, "-o", output, status=1)
            assert words in done.stderr and image in done.stderr, done.stderr
    assert open(output).read() == said, "a failure has changed the trace"
    assert "No such file" in carry(builds.old, builds.trace, builds.new, "-o", f"{folder}/no/x", status=1).stderr
    for path, status, words in ("/dev/full", 1, "standard output: No space left"), (output, 0, ""):
        with open(path, "w") as out:
            done = subprocess.run([TOOL, builds.old, builds.trace, builds.new], stdout=out, stderr=subprocess.PIPE,
                                  text=True)
        assert done.returncode == status and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert open(output).read() == said, "standard output that is a file"
    carry(builds.old, builds.trace, builds.new, "-o", "/dev/null")
    assert not os.path.isfile("/dev/null"), "a device was replaced"
    assert not [name for name in os.listdir(folder) if name.endswith(".new")], os.listdir(folder)


def check_limits():
    """A trace is no longer than the daemon's table, and gaps are closed as a recorder does."""
    limits = open(f"{TOP}/base/limits.h").read()
    for name in ("TRACE_EXTENTS_MAX", "TRACE_GAP_MAX"):
        assert re.search(rf"{name}\s+(\d+)", limits)[1] == str(getattr(tool, name)), name
    blocks = [number * (2 if number < 1500 else 3) for number in range(2000)]
    extents = parse(tool.trace_text(blocks, BLOCK, 1 << 40))
    assert len(extents) <= tool.TRACE_EXTENTS_MAX and set(blocks) <= covered(extents), len(extents)
    assert len(covered(extents)) <= 3000 + 1000, "gaps of two blocks were closed before those of one"
    far = parse(tool.trace_text([number * 1000 for number in range(2000)], BLOCK, 1 << 40))
    assert len(far) == 2000 == len(covered(far)), "gaps were closed that are too large"
    assert parse(tool.trace_text([2, 1, 0], BLOCK, 10_000)) == [(0, 10_000)]


UMASK = os.umask(0o022)
os.umask(UMASK)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        def test(name, function, *arguments):
            tap.result(f"publish: {name}", *tap.attempt(function, *arguments, below=TOP))

        make_tree(f"{scratch}/old", OLD)
        make_tree(f"{scratch}/new", NEW)
        every = {}
        for kind, options in {**PLAIN_KINDS, **PACKED_KINDS}.items():
            is_packed = kind in PACKED_KINDS
            every[kind] = builds = Builds(f"{scratch}/{len(every)}", options)
            test(f"{kind}: all files are where dump.erofs finds them", check_reading, builds, is_packed)
            test(f"{kind}: parts of files are found again", check_carrying, builds, is_packed)
            test(f"{kind}: a file's end is its end", check_ends, builds)
            test(f"{kind}: metadata are found by path", check_metadata, builds)
            test(f"{kind}: the same image keeps its trace", check_same, builds)
        test("damaged images end with a reason", check_damaged, every.values())
        test("hostile images end", check_hostile, every["compact"])
        test("exit statuses, reasons, output", check_words, every["compact"])
        test("the daemon's limits", check_limits)
    return tap.status()


sys.exit(main())
