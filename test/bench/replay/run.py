#!/usr/bin/python3
"""test/bench/replay/run.py [OPTION]... [WORKLOAD]...: the replay bench, `make bench-replay`.

READs of workloads over images made of lists, and the daemon's real engine (build/replay) behind a modelled link, in
virtual time: seconds, bytes and requests of each workload, the same at each run. Images stay in build/replay-images.

With --log, each READ and request of one workload, and what was fetched and never read.
"""
import argparse
import bisect
import collections
import concurrent.futures
import json
import os
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path[0] = f"{TOP}/test"
from bench.replay import images, kernel
from bench.replay.workloads import WORKLOADS
from lib import tap
from lib.verity import make_beside

POLICIES = "auto", "thrifty", "none"
ENGINE = f"{TOP}/build/replay"
PLACE = f"{TOP}/build/replay-images"
BLOCK = kernel.BLOCK


def blocks(offset, length):
    return range(offset // BLOCK, -(-(offset + length) // BLOCK))


def write_reads(name, path):
    """Writes the READs of a workload's readers for the engine. Returns the image's path."""
    picture, work, *_ = WORKLOADS[name]
    image, files = images.make(picture, PLACE)
    readers = work(kernel.carry_trace().Image(image), files)
    with open(path, "w") as out:
        for number, reader in enumerate(readers):
            out.writelines(f"{number} {' '.join(map(str, read))}\n" for read in reader.reads)
    return image


def tree(image):
    """Makes the tree of the image, unless it is there, and returns the words by which it is verified."""
    if not os.path.exists(f"{image}.roothash"):
        make_beside(image)
    return ["-v", f"{image}.verity", "-o", f"roothash image {open(f'{image}.roothash').read()}"]


def run(words, policy, image, reads, *options):
    with tempfile.TemporaryDirectory(prefix="replay-") as cache:
        command = [ENGINE, "-r", str(words.rtt), "-b", str(words.rate), "-w", str(words.window), "-c", cache,
                   *(word for line in (f"read-ahead {policy}", *words.option) for word in ("-o", line)),
                   *(tree(image) if words.verify else []), *options, image, reads]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}")
    return done.stdout.splitlines()


def figures(words, name):
    """The figures of a workload, by policy."""
    with tempfile.NamedTemporaryFile(prefix="replay-") as reads:
        image = write_reads(name, reads.name)
        return {policy: json.loads(run(words, policy, image, reads.name)[-1]) for policy in words.policy}


def measure(words, names):
    for picture in dict.fromkeys(WORKLOADS[name][0] for name in names):
        images.make(picture, PLACE)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(lambda name: figures(words, name), names)))


def table(results, policy):
    yield f"| read-ahead {policy} | s | readers waited | limit | s / limit | MB | needed | MB / needed | requests |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, found in results.items():
        f = found[policy]
        yield (f"| {name}: {WORKLOADS[name][2]} | {f['seconds']:.2f} | {f['waited']:.2f} | {f['limit']:.2f} "
               f"| {f['seconds'] / f['limit']:.2f} | {f['bytes'] / 1e6:.1f} | {f['needed'] / 1e6:.1f} "
               f"| {f['bytes'] / f['needed']:.2f} | {f['requests']} |")


# ---- the test -----------------------------------------------------------------------------------

def missed(name, found):
    """Which bounds a workload misses."""
    most = dict(zip(("seconds", "bytes"), WORKLOADS[name][3:]))
    most["bytes"] *= 1e6
    bounds = [("auto", what, bound) for what, bound in most.items()]
    bounds += [(policy, "bytes", found[policy]["needed"] * share) for policy, share in (("thrifty", 1.05), ("none", 1))]
    return "\n".join(f"{policy}: {found[policy][what]} {what}, bound {bound:.0f}" for policy, what, bound in bounds
                     if found[policy][what] > bound)


# What verification may cost of seconds and of bytes, over several links: on one, chance decides.
VERIFIED = {"program": (1.05, 1.08), "boot": (1.05, 1.08), "sequence": (1.015, 1.015)}
ROUND_TRIPS = range(17, 24, 2)


def cost_of_verification(words):
    """Which bounds it misses."""
    found = {}
    for verify in False, True:
        for rtt in ROUND_TRIPS:
            words.verify, words.rtt = verify, rtt
            for name, figures in measure(words, list(VERIFIED)).items():
                for what in "seconds", "bytes":
                    found[name, what, verify] = found.get((name, what, verify), 0) + figures["auto"][what]
    for name, shares in VERIFIED.items():
        for what, share in zip(("seconds", "bytes"), shares):
            cost = found[name, what, True] / found[name, what, False]
            print(f"# {name}: {what} times {cost:.3f}")
            if cost > share:
                yield f"{name}: {what} times {cost:.3f}, bound {share}"


def check(words):
    for name, found in measure(words, list(WORKLOADS)).items():
        tap.result(f"replay: {WORKLOADS[name][2]}", missed(name, found))
    words.rtt *= 3
    found = measure(words, ["demo"])["demo"]
    tap.result("replay: a longer round trip misses a bound", "" if missed("demo", found) else f"{found}")
    tap.result("replay: what it costs to verify an image", "\n".join(cost_of_verification(words)))
    return tap.status()


# ---- the log ------------------------------------------------------------------------------------

class Places:
    """What lies where in an image: the blocks of files and of folders; all else is metadata."""

    def __init__(self, image):
        self.extents, self.inodes, todo = [], {}, [("", image.root)]
        while todo:
            path, number = todo.pop()
            inode = image.inode(number)
            self.extents += [(extent.place, extent.place + extent.span, extent.offset, path or "/")
                             for extent in inode.data if extent.place % BLOCK == 0]
            self.inodes.setdefault(inode.metadata[0].place // BLOCK, path or "/")
            if inode.kind == stat.S_IFDIR:
                todo += [(f"{path}/{name.decode()}", child) for name, child in image.folder(inode).items()
                         if name not in (b".", b"..")]
        self.extents.sort()

    def find(self, place):
        """The path, or "metadata", and what lies there."""
        number = bisect.bisect_right(self.extents, (place, 1 << 62)) - 1
        begin, end, offset, path = self.extents[number] if number >= 0 else (0, 0, 0, "")
        if begin <= place < -(-end // BLOCK) * BLOCK:
            return path, f"{path} at {offset + place - begin}"
        return "metadata", f"inodes, that of {self.inodes.get(place // BLOCK, 'no file')} among them"


def show_log(words, name, policy):
    with tempfile.NamedTemporaryFile("r", prefix="replay-") as reads:
        image = write_reads(name, reads.name)
        *lines, end = run(words, policy, image, reads.name, "-l")
        wants = [line.rstrip("\n").split(" ", 4)[2:] for line in reads]
    wanted = {block for offset, length, _ in wants for block in blocks(int(offset), int(length))}
    metadata = {int(offset): what for offset, length, what in wants if " at " not in what}
    places, vain, waits = Places(kernel.carry_trace().Image(image)), collections.Counter(), collections.Counter()
    print(f"{name}, read-ahead {policy}\n"
          "READs as they end: came and waited, ms; reader; bytes; of these in flight; what\n"
          "Requests (get): when, ms; connection; bytes; of these never read; what is at their beginning")
    for kind, begun, *rest in map(str.split, lines):
        if kind == "get":
            connection, offset, length = map(int, rest)
            unread = [block for block in blocks(offset, length) if block not in wanted]
            vain.update(places.find(block * BLOCK)[0] for block in unread)
            print(f"{float(begun):8.1f}    get {connection:2} {length:8} {len(unread) * BLOCK:8} "
                  f"{places.find(offset)[1]}")
        else:
            reader, offset, length, flying = map(int, rest[1:])
            what = metadata.get(offset) or places.find(offset)[1]
            kind = ("metadata" if offset in metadata else "data") + (", in flight" if flying else "")
            waits.update({kind: float(rest[0]), f"{kind}, READs": 1})
            print(f"{float(begun):8.1f} {float(rest[0]):6.1f} {reader:2} {length:8} {flying:8} {what}")
    print("Waited, ms:", ", ".join(f"{kind} {count:.0f}" for kind, count in sorted(waits.items())))
    print("Fetched and never read, bytes:")
    for path, count in vain.most_common(40):
        print(f"{count * BLOCK:9} {path}")
    print(end)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage=argparse.SUPPRESS)
    parser.add_argument("workload", nargs="*", choices=[[], *WORKLOADS], metavar="WORKLOAD",
                        help="only these: " + ", ".join(WORKLOADS))
    parser.add_argument("--policy", action="append", choices=POLICIES, help="only this read-ahead")
    parser.add_argument("--rtt", type=float, default=20, help="round trip in milliseconds")
    parser.add_argument("--rate", type=float, default=100, help="of the link, in Mbit/s")
    parser.add_argument("--window", type=int, default=10, help="TCP's first, in segments; 10000: no slow start")
    parser.add_argument("-o", dest="option", action="append", default=[], metavar="LINE", help="of the configuration")
    parser.add_argument("--verify", action="store_true", help="the images, against their root hashes")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="compare all with generous bounds; prints TAP lines")
    parser.add_argument("--log", metavar="WORKLOAD", choices=WORKLOADS, help="each READ of one workload")
    words = parser.parse_args()
    words.policy = POLICIES if words.check else words.policy or POLICIES
    if words.check:
        sys.exit(check(words))
    if words.log:
        show_log(words, words.log, words.policy[0])
        return
    names = words.workload or list(WORKLOADS)
    results = measure(words, names)
    print(f"{words.rtt:g} ms, {words.rate:g} Mbit/s\n")
    for policy in words.policy:
        print("\n".join(table(results, policy)), "\n")
    if words.json:
        with open(words.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
