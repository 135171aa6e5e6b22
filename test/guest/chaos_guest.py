#!/usr/bin/python3
"""The rows of `make chaos` that run inside the test kernel, as root, started by test/guest/chaos.py.

    chaos_guest.py SERIES DAEMON FRONT '{"ROW": COUNT, ...}'

In the current directory are the files that chaos.py made: www/ with the images, plain/ and small/ with the files in
them, and the servers' certificates. A row is one function below: it disturbs COUNT times, while readers compare
every byte that they read. Its result is a line `chaos {...}` on standard output, with the numbers of its Tally.
"""
import contextlib
import ctypes
import json
import mmap
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest import common as g, devices
from guest.common import Failed, eventually, expect, nginx
from lib import tap

LINK = ("delay", "5ms", "rate", "40mbit")       # each way
BLOCK = 128 << 10
MS_RDONLY = 1
MEMORY_GROWTH = 16      # kB that do not count as growth: some pages of stack
FD_GROWTH = 6           # descriptors that do not: connections that happen to be open, a folder that is being read
libc = ctypes.CDLL(None, use_errno=True)


class Tally:
    """The result of a row. tried: disturbances. survived: those after which the readers read on. reads: by the readers.
    wrong: bytes that were not the image's. lost: reads, mounts and disturbances that failed and must not. refused:
    reads and mounts that failed as documented, such as while the disk is full."""

    def __init__(self):
        self.tried = self.survived = self.reads = self.wrong = self.lost = self.refused = 0
        self.remarks = []

    def remark(self, text):
        self.remarks.append(text)


# ---- images ---------------------------------------------------------------------------------------


def contents_of(tree):
    """path -> bytes of the files in it."""
    found = {}
    for folder, _, names in os.walk(tree):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, tree)] = file.read()
    return found


def publish(name, image="plain.erofs"):
    """Puts a copy of the image on the server."""
    shutil.copy(image, f"www/{name}")
    return name


def renew(name):
    """Makes it another version to the server's clients: the next mount discards the cached bytes."""
    path = f"www/{name}"
    when = int(os.stat(path).st_mtime) + 1
    os.utime(path, (when, when))


def point_of(name):
    return f"{g.RUN}/mnt/{name}"


def attach(name):
    """mount(8) without the program: some of the rows do it ten thousand times. A block device is attached first, and
    what it was asked for is sent again soon when all who served it have died."""
    os.makedirs(point_of(name), exist_ok=True)
    source, options = "none", f"fsid={name}"
    if g.NBD:
        source, options = g.attach(name), ""
        devices.set_timer(int(source.removeprefix("/dev/nbd")))
    if libc.mount(source.encode(), point_of(name).encode(), b"erofs", MS_RDONLY, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount of {name}")


def detach(name):
    if libc.umount2(point_of(name).encode(), 0):
        raise OSError(ctypes.get_errno(), f"umount of {name}")
    if g.NBD:
        g.detach(name)


def difference(got, wanted):
    """The number of bytes that are wrong, missing or too many."""
    return abs(len(got) - len(wanted)) + sum(a != b for a, b in zip(got, wanted)) if got != wanted else 0


# ---- readers ----------------------------------------------------------------------------------------


class Reader:
    """One reader: its process, and its numbers in memory that it shares with this one."""

    READS, WRONG, FAILED, REFUSED = range(4)

    def __init__(self, readers, number, name):
        self.readers, self.name = readers, name
        self.numbers = readers.board[8 * number + 8:8 * number + 16]
        self.child = g.Child(self.work)

    def work(self):
        random.seed()
        while not self.readers.stopped():
            if self.readers.remounts:
                self.session()
            else:
                self.look_around()
                g.drop_caches()

    def session(self):
        """From mount to umount, mostly of a version that is not cached."""
        if random.random() < 0.7:
            renew(self.name)
        try:
            attach(self.name)
            self.look_around()
            detach(self.name)
        except (OSError, Failed) as problem:
            tap.note(f"{self.name}: {problem}")
            self.failed()

    def look_around(self):
        files = self.readers.files
        if random.random() < 0.3 and "big" in files:
            self.read_in_sequence("big")
        elif random.random() < 0.5:
            for path in random.choices(list(files) + ["big"] * len(files), k=150):
                self.read(path, random.randrange(len(files[path]) + 1), random.choice((1, 100, 5000, 70000)))
        else:
            for path in random.sample(list(files), len(files)):
                self.read_in_sequence(path)

    def read_in_sequence(self, path):
        for offset in range(0, len(self.readers.files[path]) or 1, BLOCK):
            self.read(path, offset, BLOCK)

    def read(self, path, offset, length):
        """Compares one piece. Reading goes on after an error: the next piece may be cached."""
        if self.readers.stopped():
            return
        wanted = self.readers.files[path][offset:offset + length]
        got, failed = b"", False
        try:
            with open(f"{point_of(self.name)}/{path}", "rb", buffering=0) as file:
                # The bytes before a page that fails come first, and the error with the next call.
                while more := os.pread(file.fileno(), length - len(got), offset + len(got)):
                    got += more
        except OSError:
            failed = True
            self.failed()
        wrong = difference(got, wanted[:len(got)] if failed else wanted)
        if wrong:
            tap.note(f"{self.name}: {path}: {length} bytes at {offset}: {wrong} of {len(got)} are wrong or missing")
        self.numbers[self.WRONG] += wrong
        self.numbers[self.READS] += not failed

    def failed(self):
        self.numbers[self.REFUSED if self.readers.may_fail() else self.FAILED] += 1
        time.sleep(0.02)


class Readers:
    """Readers of images of the plain tree, one for each name, until the end of a `with`. Each reads one mount, which is
    there already, or mounts its image again and again (`remounts`)."""

    STOP, MAY_FAIL = range(2)

    def __init__(self, tally, names, remounts=False):
        self.tally, self.remounts, self.files = tally, remounts, PLAIN
        self.board = memoryview(mmap.mmap(-1, 4096)).cast("Q")
        self.readers = [Reader(self, number, name) for number, name in enumerate(names)]

    def stopped(self):
        return self.board[self.STOP]

    def may_fail(self):
        return self.board[self.MAY_FAIL]

    def let_fail(self, whether):
        self.board[self.MAY_FAIL] = whether

    def total(self, which):
        return sum(reader.numbers[which] for reader in self.readers)

    def go_on(self, seconds=g.LIMIT):
        """Waits until each has read something from now on. Returns whether all have."""
        before = [reader.numbers[Reader.READS] for reader in self.readers]
        with contextlib.suppress(Failed):
            return eventually(lambda: all(reader.numbers[Reader.READS] > n for reader, n in zip(self.readers, before)),
                              "readers go on", seconds)
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.board[self.STOP] = 1
        for reader in self.readers:
            try:
                answer = reader.child.answer()
            except Failed as hang:
                os.kill(reader.child.pid, signal.SIGKILL)
                answer = str(hang)
            if answer != "ok":
                self.tally.lost += 1
                self.tally.remark(f"a reader: {answer}")
        self.tally.reads += self.total(Reader.READS)
        self.tally.wrong += self.total(Reader.WRONG)
        self.tally.lost += self.total(Reader.FAILED)
        self.tally.refused += self.total(Reader.REFUSED)


def disturb(tally, readers, action):
    """One disturbance. It is survived if action() raises nothing and all readers read on after it."""
    tally.tried += 1
    action()
    if readers.go_on():
        tally.survived += 1
    else:
        tally.lost += 1
    if tally.tried % 50 == 0:
        tap.note(f"{tally.tried} tried, {tally.survived} survived so far; {readers.total(Reader.READS)} reads, "
               f"{readers.total(Reader.WRONG)} wrong bytes, {readers.total(Reader.FAILED)} reads lost")


def readers_of_new_mounts(tally, count=2):
    """Readers of images that are mounted now, with empty caches."""
    names = [publish(f"chaos{number}") for number in range(count)]
    for name in names:
        renew(name)
        attach(name)
    return Readers(tally, names)


def remounting_readers(tally, count=2):
    return Readers(tally, [publish(f"chaos{number}") for number in range(count)], remounts=True)


def disturb_often(tally, count, action):
    """Disturbs readers that mount again and again, at random moments."""
    with remounting_readers(tally) as readers:
        for _ in range(count):
            disturb(tally, readers, action)
            time.sleep(random.uniform(0, 0.3))


# ---- the link ---------------------------------------------------------------------------------------


def netem(*options):
    subprocess.run(["tc", "qdisc", "replace", "dev", "lo", "root", "netem", *options], check=True)


def unshaped():
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def shaped():
    netem(*LINK)
    try:
        yield
    finally:
        unshaped()


# ---- rows: its own death ------------------------------------------------------------------------------

ROWS = {}


def row(title):
    def register(function):
        ROWS[function.__name__] = title, function
        return function
    return register


@row("worker: `kill -9`")
def worker(tally, count):
    """Without a culler, which each new worker would fork: user-mode Linux 6.12 panics when SIGKILL meets fork()."""
    killed = 0

    def kill():
        nonlocal killed
        killed = eventually(lambda: next((pid for pid in daemon.workers() if pid != killed), 0), "a new worker")
        time.sleep(random.choice((0, random.uniform(0, 0.05), random.uniform(0, 0.5))))
        with contextlib.suppress(ProcessLookupError):   # it has just been replaced, as a device is attached
            os.kill(killed, signal.SIGKILL)

    with shaped():
        daemon = g.Daemon(g.URL_TLS, g.CA, options=["-N"])
        start = nginx.mark()
        with remounting_readers(tally) as readers:
            for _ in range(count):
                disturb(tally, readers, kill)
        keeper = daemon.process.pid
        tally.remark(f"{nginx.sent(start) >> 20} MiB fetched meanwhile; keeper afterwards: "
                     f"{g.private_memory(keeper)} kB of its own, {g.descriptors(keeper)} descriptors")
        daemon.stop()


def die_and_return(tally, count, kill):
    """The last process with the device dies while readers read: a new daemon, a new mount, all bytes compared."""
    name = publish("chaos0")
    size = os.path.getsize(f"www/{name}")
    directory, again_fetched, reused = None, 0, 0
    for _ in range(count):
        tally.tried += 1
        renew(name)
        daemon = g.Daemon(g.URL_TLS, g.CA, "retry soft 5", directory=directory)
        directory = daemon.directory
        g.prime(daemon, name)
        attach(name)
        with Readers(tally, [name]) as readers:
            time.sleep(random.uniform(0.2, 2))
            kill(daemon, readers)
        eventually(g.device_free, "the device is free again", 10)
        detach(name)
        path, = g.linked(daemon, name)
        cached = g.extents(path)

        daemon = g.Daemon(g.URL_TLS, g.CA, directory=directory)
        start, lost = nginx.mark(), tally.lost
        attach(name)
        compare_all(tally, name)
        fetched = nginx.sent(start, name)
        # A directory walk may fetch a tenth twice, and a mount costs a PROBE.
        needless = fetched - (max(size - cached, 0) * 11 // 10 + g.PROBE)
        again_fetched, reused = again_fetched + max(needless, 0), reused + cached
        tally.lost += needless > 0
        tally.survived += needless <= 0 and tally.lost == lost
        detach(name)
        daemon.stop()
    tally.remark(f"{reused >> 20} MiB of cached data found again, {again_fetched} bytes of them fetched anew")


def compare_all(tally, name):
    """Compares every byte of the image once."""
    for path, wanted in PLAIN.items():
        tally.reads += 1
        try:
            with open(f"{point_of(name)}/{path}", "rb") as file:
                got = file.read()
        except OSError:
            tally.lost += 1
            continue
        tally.wrong += difference(got, wanted)


@row("keeper: `kill -9`; its worker serves on until it is killed; new start, new mount")
def keeper(tally, count):
    def kill(daemon, readers):
        worker_pid = daemon.worker()
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait()
        expect(readers.go_on(), "the worker does not serve on")
        time.sleep(random.uniform(0, 0.5))
        readers.let_fail(True)
        os.kill(worker_pid, signal.SIGKILL)

    with shaped():
        die_and_return(tally, count, kill)


def serve_on(tally, count):
    """Daemons die and begin while readers read the same devices, for ten of them in a row."""
    def die_and_begin():
        nonlocal daemon
        time.sleep(random.uniform(0, 1))
        g.kill_all(daemon)
        time.sleep(random.uniform(0, 0.5))
        daemon = g.Daemon(g.URL_TLS, g.CA, directory=daemon.directory)

    daemon = g.Daemon(g.URL_TLS, g.CA)
    while tally.tried < count:
        with readers_of_new_mounts(tally) as readers:
            for _ in range(min(10, count - tally.tried)):
                disturb(tally, readers, die_and_begin)
        for number in range(2):
            detach(f"chaos{number}")
    daemon.stop()


@row("keeper and worker: `kill -9` at once; new start, " + ("same devices" if g.NBD else "new mount"))
def both(tally, count):
    if g.NBD:
        with shaped():
            serve_on(tally, count)
        return

    def kill(daemon, readers):
        readers.let_fail(True)
        g.kill_all(daemon)

    with shaped():
        die_and_return(tally, count, kill)


@row("worker: SIGSTOP, then SIGCONT")
def stop(tally, seconds):
    def stand_still():
        pid = daemon.worker()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    with shaped():
        daemon = g.Daemon(g.URL_TLS, g.CA)
        with remounting_readers(tally) as readers:
            readers.go_on()
            disturb(tally, readers, stand_still)
        tally.remark(f"{seconds} s")
        daemon.stop()


@row("upgrade: SIGUSR2 and `--upgrade` in turn")
def upgrade(tally, count):
    program, pid_file = f"{g.RUN}/cachefilesd-mini", f"{g.RUN}/upgrade.pid"

    def replace():
        old = daemon.worker()
        shutil.copy(g.DAEMON, f"{program}.new")
        os.rename(f"{program}.new", program)
        if tally.tried % 2:
            daemon.process.send_signal(signal.SIGUSR2)
        else:
            status, output = g.program(program, "-p", pid_file, "--upgrade")
            expect(status == 0, f"--upgrade: {status} {output}")
        eventually(lambda: old not in daemon.workers() and len(daemon.workers()) == 1, "a new worker")

    shutil.copy(g.DAEMON, program)
    with shaped():
        daemon = g.Daemon(g.URL_TLS, g.CA, program=program, options=["-p", pid_file])
        disturb_often(tally, count, replace)
        daemon.stop()


# ---- rows: the network --------------------------------------------------------------------------------


@row("nginx: `kill -9`, started again")
def server(tally, count):
    def restart():
        nginx.kill()
        time.sleep(random.uniform(0, 0.5))
        nginx.start()

    with shaped():
        daemon = g.Daemon(g.URL_TLS, g.CA)
        disturb_often(tally, count, restart)
        daemon.stop()


@row("link: every packet lost")
def link(tally, seconds):
    def cut():
        netem("loss", "100%")
        time.sleep(seconds)
        netem(*LINK)

    with shaped():
        daemon = g.Daemon(g.URL_TLS, g.CA, "retry hard")
        with remounting_readers(tally) as readers:
            readers.go_on()
            disturb(tally, readers, cut)
        tally.remark(f"{seconds} s")
        daemon.stop()


class NameServer:
    """Answers each question for an A record with 127.0.0.1, valid for a second, and others with nothing. It has a
    process of its own: no reader inherits its socket."""

    def __init__(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            port.bind(("127.0.0.1", 53))
            self.child = g.Child(self.serve, port)

    @staticmethod
    def serve(port):
        asked = 0
        while True:
            message, client = port.recvfrom(512)
            if message == b"stop":
                return str(asked)
            asked += 1
            end = message.index(0, 12) + 5
            is_a = message[end - 4:end - 2] == b"\0\1"
            head = message[:2] + struct.pack(">5H", 0x8180, 1, is_a, 0, 0)
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + b"\x7f\0\0\1"
            port.sendto(head + message[12:end] + record * is_a, client)

    def stop(self):
        """Ends it. Returns the number of questions."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"stop", ("127.0.0.1", 53))
        return int(self.child.answer())


@row("name server gone and the web server's connections with it; back after some seconds")
def names(tally, count):
    with open(f"{g.RUN}/resolv.conf", "w") as file:
        file.write("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", f"{g.RUN}/resolv.conf", "/etc/resolv.conf"], check=True)
    server, asked = NameServer(), []

    def go_away():
        nonlocal server
        asked.append(server.stop())
        nginx.kill()
        time.sleep(random.uniform(1, 3))
        nginx.start()
        time.sleep(random.uniform(1, 3))
        server = NameServer()

    try:
        daemon = g.Daemon(f"http://images.test:{g.HTTP}/", "retry hard")
        with remounting_readers(tally) as readers:
            readers.go_on()
            for _ in range(count):
                disturb(tally, readers, go_away)
        daemon.stop()
        expect(asked[0], "the name server was not asked")
        tally.remark("an answer counts for as long as no other is to be had")
    finally:
        server.stop()
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)


# ---- rows: the machine --------------------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(directory):
    """Leaves 9 % of the disk free."""
    space = os.statvfs(directory)
    filler = f"{directory}/filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, (space.f_bavail - space.f_blocks * 9 // 100) * space.f_frsize)
    try:
        yield
    finally:
        os.unlink(filler)


@row("disk full, and freed")
def disk(tally, count):
    for turn in range(count):
        retry = "retry hard" if turn % 2 else "retry soft 60"
        daemon = g.Daemon(g.URL_TLS, g.CA, "brun 30%", "bcull 20%", "bstop 10%", retry)

        def fill():
            readers.let_fail(turn % 2 == 0)
            with full_disk(daemon.directory):
                daemon.logs("cannot write to the cache|the cache is full", g.LIMIT)
                time.sleep(7)
            # A worker tries to write every few seconds.
            expect(readers.go_on() and readers.go_on(), "readers do not go on when there is space")
            readers.let_fail(False)

        with remounting_readers(tally) as readers:
            readers.go_on()
            disturb(tally, readers, fill)
        daemon.stop()
        g.clean_up()
    tally.remark("in turn with errors after 5 s, as said, and with `retry hard`")


def hog():
    """Takes the machine's memory but for some MiB, so that the kernel reclaims that of others, and keeps it for 2 s."""
    taken = []
    while int(re.search(r"^MemAvailable:\s+(\d+)", g.contents("/proc/meminfo"), re.M)[1]) > 48 << 10:
        taken.append(mmap.mmap(-1, 4 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
    time.sleep(2)


@row("limits: cache files of `memory 600K`, descriptors, the machine's memory")
def limits(tally, count):
    daemon = g.Daemon(g.URL_TLS, g.CA, "memory 600K", "retry hard")
    edge = [publish(f"edge{number}", "small.erofs") for number in range(20)]

    def too_many_files():
        mounted = []
        try:
            for name in edge:
                attach(name)
                mounted.append(name)
        except OSError:
            daemon.logs("refused, since 10 cache files are open already")
        expect(len(mounted) == 8, f"{len(mounted)} more images were mounted")
        detach(mounted[0])
        attach(mounted[0])
        for name in mounted:
            detach(name)

    def no_descriptor():
        pid = daemon.worker()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        nginx.kill()
        nginx.start()                   # the daemon needs new connections
        others = [g.Child(attach, name) for name in edge[:5]]
        time.sleep(1)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        answers = [other.answer() for other in others]
        tally.remark(f"without a free descriptor {sum(answer != 'ok' for answer in answers)} of 5 mounts were refused, "
                     "the others waited")
        for name, answer in zip(edge, answers):
            if answer != "ok":
                attach(name)
            detach(name)

    def no_memory():
        g.Child(hog).succeed()

    with shaped(), readers_of_new_mounts(tally) as readers:
        for _ in range(count):
            for edge_of in too_many_files, no_descriptor, no_memory:
                disturb(tally, readers, edge_of)
    for name in "chaos0", "chaos1":
        detach(name)
    daemon.stop()


HOUR = 3600


@row("clock jumps: within the certificate's time, beyond it, 1970; new connections after each")
def clock(tally, count):
    start, real = time.monotonic(), time.time()

    def set_clock(ahead):
        """Sets the clock to the real time and `ahead` seconds."""
        # The kernel accepts no time that is less than the time since its boot.
        time.clock_settime(time.CLOCK_REALTIME, max(real + time.monotonic() - start + ahead, time.monotonic() + 1))

    def jump():
        ahead = random.choice((random.uniform(0, 40 * HOUR), random.uniform(0, 40 * HOUR), 30000 * HOUR, -real))
        set_clock(ahead)
        nginx.kill()
        nginx.start()
        time.sleep(random.uniform(0, 1))
        if ahead < 0 or ahead > 40 * HOUR:      # no certificate is valid now: the daemon waits
            time.sleep(1)
            set_clock(random.uniform(0, 40 * HOUR))

    with shaped():
        daemon = g.Daemon(g.URL_TLS, g.CA, "retry hard")
        try:
            with remounting_readers(tally) as readers:
                for _ in range(count):
                    disturb(tally, readers, jump)
        finally:
            set_clock(0)
        daemon.stop()


def sizes(daemon):
    """The memory in kB that is of no file, and the descriptors, of keeper, worker and culler."""
    pids = daemon.process.pid, daemon.worker(), daemon.culler()
    return [g.anonymous_memory(pid) for pid in pids], [g.descriptors(pid) for pid in pids]


@row("mount and umount")
def mounts(tally, count):
    daemon = g.Daemon(g.URL)
    name = publish("chaos0", "small.erofs")
    files = sorted(SMALL)
    memory = descriptors = None
    for cycle in range(20 + count):
        if cycle == 20:
            memory, descriptors = sizes(daemon)
        tally.tried += 1
        try:
            attach(name)
            path = files[cycle % len(files)]
            with open(f"{point_of(name)}/{path}", "rb") as file:
                got = file.read()
            detach(name)
        except OSError:
            tally.lost += 1
            continue
        tally.reads += 1
        tally.wrong += difference(got, SMALL[path])
        tally.survived += 1
    memory_now, descriptors_now = sizes(daemon)
    tally.remark(f"keeper, worker, culler: {memory} kB of no file before, {memory_now} after; "
                 f"descriptors {descriptors}, {descriptors_now}")
    tally.lost += any(now > before + FD_GROWTH for now, before in zip(descriptors_now, descriptors))
    tally.lost += any(now > before + MEMORY_GROWTH for now, before in zip(memory_now, memory))
    daemon.stop()


# ---- running them -------------------------------------------------------------------------------------


def run(name, count):
    """Runs one row. At its start nginx runs, no daemon does, and nothing is mounted."""
    title, function = ROWS[name]
    nginx.start()
    tally, daemons, start = Tally(), g.Daemon.count, time.monotonic()
    try:
        function(tally, count)
    except Failed as failure:
        tally.lost += 1
        tally.remark(str(failure))
    except Exception:
        tally.lost += 1
        tally.remark(traceback.format_exc())
    if tally.lost or tally.wrong:
        for number in range(daemons + 1, g.Daemon.count + 1):
            for line in g.contents(f"{g.RUN}/daemon.{number}.log").splitlines()[-40:]:
                tap.note(f"daemon {number}: {line}")
    took = time.monotonic() - start
    print("chaos", json.dumps({"row": name, "title": title, "seconds": round(took), **vars(tally)}), flush=True)
    nginx.kill()
    g.clean_up()


def main():
    global PLAIN, SMALL
    PLAIN, SMALL = contents_of("plain"), contents_of("small")
    os.makedirs(g.RUN)
    for name, count in json.loads(sys.argv[4]).items():
        run(name, count)


if __name__ == "__main__":
    main()
