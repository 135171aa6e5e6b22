"""The workloads that read a contender's mount. Their buffers are allocated and touched before the clock starts."""
import hashlib
import json
import os
import random
import threading
import time

from bench import recorded
from bench.contenders import RUN

BLOCK = 128 << 10
PIECE, PIECES = 16 << 10, 400

# A program's start: python with these modules, and one use of each.
PYTHON = """
import argparse, asyncio, csv, datetime, decimal, email.message, hashlib, http.client, io, json
import logging, sqlite3, ssl, sys, tempfile, unittest, urllib.request, xml.etree.ElementTree, zipfile
database = sqlite3.connect(":memory:")
database.execute("create table t(n)")
database.executemany("insert into t values(?)", ((n,) for n in range(1000)))
message = email.message.EmailMessage()
message["Subject"] = "cold"
async def answer():
    await asyncio.sleep(0)
    return 42
print(json.dumps({
    "python": sys.version.split()[0],
    "sum": database.execute("select sum(n) from t").fetchone()[0],
    "decimal": str(decimal.Decimal(1) / 7),
    "asyncio": asyncio.run(answer()),
    "message": str(message),
    "xml": xml.etree.ElementTree.fromstring("<a><b>c</b></a>")[0].text,
    "unittest": unittest.TestSuite().countTestCases(),
    "status": http.client.responses[206],
    "day": datetime.date.fromordinal(738000).isoformat(),
    "digest": hashlib.sha256(b"cold").hexdigest()}))
"""

# Then some thirty tools in a shell.
SHELL = """
set -e
ls /usr/bin | wc -l
find /usr/lib -maxdepth 1 | sort | head -n 5 | tail -n 2
seq 100 | awk '{ n += $1 } END { print n }'
echo one two three | cut -d' ' -f2 | tr a-z A-Z
printf 'b\\na\\na\\n' | sort | uniq -c | sed 's/ *//'
grep -c import /usr/lib/python3*/json/__init__.py
sha256sum /usr/bin/env; md5sum /usr/bin/env; cksum /usr/bin/env
basename /usr/bin/env; dirname /usr/bin/env
stat -c %s /usr/bin/env
od -A d -N 16 -t x1 /usr/bin/env
echo cold | gzip -c | gzip -dc | tee | base64
expr 6 '*' 7; factor 1001; date -u -d @0 +%F
seq 3 | paste -s -d, -; seq 3 | nl
"""


def read_file(path, into):
    """Reads the file in order, in blocks, into a memoryview of its size."""
    with open(path, "rb", buffering=0) as file:
        done = 0
        while count := file.readinto(into[done:done + BLOCK]):
            done += count
    if done != len(into):
        raise EOFError(f"{path}: {done} bytes of {len(into)}")


def touched(size):
    """A buffer whose pages are allocated: the first write to a page costs time."""
    buffer = bytearray(size)
    buffer[::4096] = b"1" * len(range(0, size, 4096))
    return memoryview(buffer)


class Sequential:
    """The large file from its beginning to its end."""

    def __init__(self, point):
        self.path, self.buffer = f"{point}/data/large", touched(32 << 20)

    def work(self):
        read_file(self.path, self.buffer)

    def outcome(self):
        return len(self.buffer), [self.buffer], None


class Program:
    """A cold start of python3 with some twenty modules, then of a shell with thirty tools: the files that they look at
    and read, in the order of their system calls, without their own time. One run of them is recorded for that."""

    steps_path = f"{RUN}/program.json"

    def __init__(self, point):
        self.point = point
        with open(self.steps_path) as file:
            self.steps = json.load(file)

    @classmethod
    def record(cls, point):
        recording = recorded.Recording(point, f"{RUN}/strace")
        for command in (["/usr/bin/python3", "-c", PYTHON], ["/bin/sh", "-c", SHELL]):
            recording.run(*command, environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"})
        recording.take_logs()
        with open(cls.steps_path, "w") as file:
            json.dump(recording.steps, file)

    def work(self):
        self.got = recorded.repeat(self.point, self.steps)

    def outcome(self):
        return None, self.got, f"{len(self.steps)} steps"


class Random:
    """Small pieces at pages that a fixed seed chooses."""

    def __init__(self, point):
        self.path, self.buffer = f"{point}/data/random", touched(PIECE * PIECES)
        pages = (10 << 20) - PIECE >> 12
        chooser = random.Random(1)
        self.offsets = [chooser.randrange(pages + 1) << 12 for _ in range(PIECES)]

    def work(self):
        with open(self.path, "rb", buffering=0) as file:
            for number, offset in enumerate(self.offsets):
                into = self.buffer[number * PIECE:(number + 1) * PIECE]
                if os.preadv(file.fileno(), [into], offset) != PIECE:
                    raise EOFError(f"{self.path}: less than was asked for at {offset}")

    def outcome(self):
        return len(self.buffer), [self.buffer], None


class Parallel:
    """Four readers at once, each of its own file."""

    def __init__(self, point):
        self.paths = [f"{point}/data/part{number}" for number in range(4)]
        self.buffers = [touched(4 << 20) for _ in self.paths]
        self.problems = []

    def read(self, path, buffer):
        try:
            read_file(path, buffer)
        except Exception as problem:
            self.problems.append(problem)

    def work(self):
        readers = [threading.Thread(target=self.read, args=pair)
                   for pair in zip(self.paths, self.buffers)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        if self.problems:
            raise self.problems[0]

    def outcome(self):
        return sum(map(len, self.buffers)), self.buffers, None


class Walk:
    """Every directory is listed and every file looked at, but none opened."""

    def __init__(self, point):
        self.point, self.seen = point, []

    def work(self):
        for directory, subdirectories, names in os.walk(self.point):
            subdirectories.sort()
            for name in subdirectories + sorted(names):
                path = os.path.join(directory, name)
                status = os.lstat(path)
                # The size of a directory depends on the file system; all contenders mount EROFS.
                self.seen.append((path[len(self.point):], status.st_mode, status.st_size,
                                  int(status.st_mtime)))

    def outcome(self):
        return None, [json.dumps(self.seen).encode()], f"{len(self.seen)} files"


class Small:
    """150 files of at most 64 KiB, each read whole, in a random order that a fixed seed chooses."""

    count, most = 150, 64 << 10

    def __init__(self, point):
        with open(f"{RUN}/small.json") as file:
            self.files = json.load(file)
        self.files = [(f"{point}/{path}", touched(size)) for path, size in self.files]

    @classmethod
    def choose(cls, point):
        found = []
        for directory, subdirectories, names in os.walk(f"{point}/usr/lib"):
            subdirectories.sort()
            for name in sorted(names):
                path = os.path.join(directory, name)
                size = os.lstat(path).st_size
                if os.path.isfile(path) and not os.path.islink(path) and 0 < size <= cls.most:
                    found.append((os.path.relpath(path, point), size))
        with open(f"{RUN}/small.json", "w") as file:
            json.dump(random.Random(1).sample(found, cls.count), file)

    def work(self):
        for path, buffer in self.files:
            read_file(path, buffer)

    def outcome(self):
        buffers = [buffer for _, buffer in self.files]
        return sum(map(len, buffers)), buffers, None


class Series(Parallel):
    """Files of 1 to 8 MiB, one after the other."""

    def __init__(self, point):
        sizes = 1, 2, 3, 5, 8
        self.paths = [f"{point}/data/series{n}" for n in sizes]
        self.buffers = [touched(n << 20) for n in sizes]

    def work(self):
        for path, buffer in zip(self.paths, self.buffers):
            read_file(path, buffer)


class Pages:
    """Pages of the large file that a fixed seed chooses, one after another."""

    count = 2000

    def __init__(self, point):
        self.path, self.buffer = f"{point}/data/large", touched(4096 * self.count)
        chooser = random.Random(1)
        self.offsets = [chooser.randrange(32 << 8) << 12 for _ in range(self.count)]

    def work(self):
        with open(self.path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for number, offset in enumerate(self.offsets):
                os.preadv(file.fileno(), [self.buffer[number * 4096:(number + 1) * 4096]], offset)

    def outcome(self):
        return len(self.buffer), [self.buffer], None


WORKLOADS = {"a": Sequential, "b": Program, "c": Random, "d": Parallel, "e": Walk, "f": Small, "g": Series}
# Read again, from a cache that has all of it.
CACHED = {"sequential": Sequential, "pages": Pages, "walk": Walk}
TITLES = {"a": "32 MiB in sequence", "b": "cold program start", "c": "400 random reads of 16 KiB",
          "d": "four readers, 4 MiB each", "e": "tree walk with stat",
          "f": "150 small files, random order", "g": "files of 1 to 8 MiB, one by one"}
CACHED_TITLES = {"sequential": "32 MiB in sequence, MB/s", "pages": "random pages of 4 KiB, µs",
                 "walk": "tree walk with lstat, s"}


def serve(name, point, pipe):
    """A workload's process. It sends "ready", waits for a message, works, and sends the times of its begin and end (the
    guest's monotonic clock), the bytes it asked for, a digest of the bytes it got, and a detail; or the problem.
    Digests are made after the clock has stopped."""
    os.setsid()
    workload = {**WORKLOADS, **CACHED}[name](point)
    pipe.send("ready")
    pipe.recv()
    try:
        begun = time.monotonic()
        workload.work()
        ended = time.monotonic()
        asked, parts, detail = workload.outcome()
    except Exception as problem:
        pipe.send({"problem": f"{type(problem).__name__}: {problem}"})
        return
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    pipe.send({"begun": begun, "ended": ended, "asked": asked, "detail": detail,
               "digest": digest.hexdigest()})
