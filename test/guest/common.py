"""The common part of the scenarios in the test kernel: programs and their logs, mounts, comparison with the images.

inside.py and chaos_guest.py run as root inside the kernel, in a directory with the files that test/guest/run made:
www/ with the images, NAME.json with the contents of an image, ca.pem, other-ca.pem and the servers' certificates. A
real nginx serves the images, the real daemon fetches them, the kernel's EROFS mounts them: by the front end FRONT, the
third argument: `cachefiles`, where a mount names the image, or `nbd`, where it is attached as a block device first.
"""
import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from guest import devices
from lib import nginx as web
from lib.holes import data_ranges
from lib.inside import Failed, children, contents, eventually

SERIES, DAEMON, FRONT = sys.argv[1:4]
NBD = FRONT == "nbd"
RUN = "/run/guest"
HTTP, HTTPS, HTTPS_RSA, SLOW = 8080, 8443, 8444, 8081
REDIRECT_302, REDIRECT_308, NEVER, PYTHON_SERVER, HTTPS_13, HTTPS_FIPS = 8082, 8083, 8084, 8085, 8445, 8446
URL, URL_TLS = f"http://127.0.0.1:{HTTP}/", f"https://127.0.0.1:{HTTPS}/"
CA = f"ca {os.getcwd()}/ca.pem"
LIMIT = 60                      # seconds; a longer wait is a hang
RSS_LIMIT = 1024                # kB, while serving HTTPS
PROBE = 64 << 10                # bytes, at most, to find an image's size
TICK = 1000 // os.sysconf("SC_CLK_TCK")

# ---- scenarios --------------------------------------------------------------------------------

SCENARIOS = []
ALL = ("6.12", "6.1")
CACHEFILES, BLOCK = {"cachefiles": ALL}, {"nbd": ALL}


def scenario(title, kernel_may_complain=False, series=ALL, differs=None):
    """Decorator: a scenario for these kernels, with either front end, or {front end: kernels}. Others run it only if
    they are asked for it by its name. One that `differs` tests what a front end does itself, so that it is run with
    each of them even where time is short; so is, if nothing else is said, one that is meant for one of them."""
    own = isinstance(series, dict)

    def register(function):
        kernels = series.get(FRONT, ()) if own else series
        SCENARIOS.append((title, function, kernel_may_complain, kernels, own if differs is None else differs))
        return function
    return register


def expect(condition, text):
    if not condition:
        raise Failed(text)


# ---- programs ---------------------------------------------------------------------------------


class Child:
    """A Python function in a process of its own, which may be killed, or hang."""

    def __init__(self, function, *arguments):
        self.pipe, theirs = os.pipe()
        self.status = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            try:
                answer = function(*arguments) or "ok"
            except BaseException as problem:
                answer = f"{type(problem).__name__}: {problem}"
            os.write(theirs, answer.encode()[:4000])
            os._exit(0)
        os.close(theirs)

    def ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def answer(self, limit=LIMIT):
        """The function's value ("ok" for none), or its exception's name and text."""
        eventually(self.ended, "end of a reader", limit)
        with os.fdopen(self.pipe, "rb") as pipe:
            return pipe.read().decode()

    def succeed(self, limit=LIMIT):
        answer = self.answer(limit)
        expect(answer == "ok", answer)


def program(*command, limit=LIMIT):
    """Runs a program. Returns its exit status and output. A program that hangs is left alone: the kernel may not
    let go of it before the scenario's daemon ends."""
    path = f"{RUN}/output.{os.getpid()}"
    with open(path, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"hangs: {' '.join(command)}") from None
    return status, contents(path).strip()


SERVERS = """
    server {{ listen 127.0.0.1:{http}; listen [::1]:{http}; root {root}; }}
    server {{ listen 127.0.0.1:{https} ssl; listen 127.0.0.2:{https} ssl; root {root}; {ec} {protocols} }}
    server {{ listen 127.0.0.1:{https_13} ssl; root {root}; {ec} ssl_protocols TLSv1.3; }}
    server {{ listen 127.0.0.1:{https_rsa} ssl; listen [::1]:{https_rsa} ssl; root {root}; {rsa} }}
    server {{ listen 127.0.0.1:{slow}; root {root}; limit_rate {rate}; }}
    server {{ listen 127.0.0.1:{redirect_302};
              location = /never.erofs {{ return 302 http://127.0.0.1:{never}$request_uri; }}
              location / {{ return 302 http://127.0.0.1:{http}$request_uri; }} }}
    server {{ listen 127.0.0.1:{redirect_308} ssl; {ec} return 308 https://localhost:{https}$request_uri; }}
"""


class Nginx(web.Nginx):
    """The web server. Its access log has the bytes that the daemon really fetched."""

    def __init__(self):
        super().__init__(RUN, "$server_port $status $body_bytes_sent $request_uri $http_range")

    def start(self, rate="0", protocols=""):
        """`protocols`: the versions of TLS that the server at URL_TLS speaks, as nginx has them."""
        work = os.getcwd()
        protocols = protocols and f"ssl_protocols {protocols};"
        super().start(SERVERS.format(
            http=HTTP, https=HTTPS, https_13=HTTPS_13, https_rsa=HTTPS_RSA, slow=SLOW, protocols=protocols,
            redirect_302=REDIRECT_302, redirect_308=REDIRECT_308, never=NEVER, rate=rate, root=f"{work}/www",
            ec=web.tls(f"{work}/ec"), rsa=web.tls(f"{work}/rsa")))
        # An answer comes from the worker: nginx has then done its fork(). User-mode Linux 6.12 panics when SIGKILL
        # meets a process inside fork().
        eventually(answers, "nginx answers")

    def sent(self, since=0, uri=""):
        """Bytes of bodies sent since a mark(), of one URI or all."""
        return sum(int(words[2]) for words in self.lines()[since:] if uri in words[3])

    def mark(self):
        """The number of answers so far."""
        return len(self.lines())

    def quiet(self):
        """Waits until no answer ends during twenty looks; seconds would count those in which the guest stands still."""
        looks = []

        def same():
            looks.append(self.mark())
            return len(looks) >= 20 and looks[-20] == looks[-1]
        eventually(same, "nothing is under way")


def answers():
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", HTTP), 5) as probe:
        probe.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        return probe.recv(1)
    return False


nginx = Nginx()


def own_directives(given):
    """The front end's, which `auto` would not choose, as these kernels have both."""
    return ["front nbd"] if NBD and not any(directive.startswith("front ") for directive in given) else []


class Daemon:
    """One run of the daemon, its log in a file. Its cache directory is a new one, or that of an earlier run."""

    count = 0
    def __init__(self, *url_and_directives, debug=False, options=(), program=DAEMON, through=(),
                 directory=None, **more):
        url, directives = url_and_directives[:1], url_and_directives[1:]
        Daemon.count += 1
        self.directory = directory or f"/run/disk/{Daemon.count}"
        os.makedirs(self.directory, exist_ok=True)
        self.log_path = f"{RUN}/daemon.{Daemon.count}.log"
        command = [*through, program, "-n", "-s", *options] + ["-d"] * debug
        for directive in (f"dir {self.directory}", *own_directives(directives), *directives):
            command += ["-o", directive]
        self.command = command + list(url)
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdin=subprocess.DEVNULL, **more)
        eventually(lambda: self.ended() or re.search("the cache in .* is (bound|in use)", self.log()), "bind", 10)
        expect(not self.ended(), f"ended at once: {self.log()}")

    def log(self):
        return contents(self.log_path)

    def logs(self, pattern, limit=3):
        eventually(lambda: re.search(pattern, self.log(), re.I),
                   f"a line in the log like /{pattern}/", limit)

    def ended(self):
        return self.process.poll() is not None

    def workers(self):
        """The pids of the keeper's living children, in rising order, without the one that holds a configuration."""
        return [pid for pid in children(self.process.pid) if not self.holds(pid)]

    @staticmethod
    def holds(pid):
        with contextlib.suppress(OSError):
            return contents(f"/proc/{pid}/comm") == "cachefilesd-con\n"
        return False

    def worker(self):
        """The pid of the process that serves."""
        return eventually(self.workers, "a worker", 10)[0]

    def culler(self):
        """The pid of the worker's only child."""
        return eventually(lambda: children(self.worker()), "a culler", 10)[0]

    def await_worker(self, instead_of):
        """Waits until one worker serves and the one with this pid has ended."""
        eventually(lambda: instead_of not in self.workers() and len(self.workers()) == 1, "a new worker", 10)

    def alive(self):
        expect(not self.ended(), f"the daemon ended with {self.process.returncode}: {self.log()}")

    def ticks(self):
        """The worker's CPU time: utime and stime of /proc/PID/stat."""
        fields = contents(f"/proc/{self.worker()}/stat").rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def wakeups(self):
        status = contents(f"/proc/{self.worker()}/status")
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])

    def memory(self):
        status = contents(f"/proc/{self.worker()}/status")
        return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) for name in ("VmRSS", "VmHWM")]

    def stays_alive(self):
        """Demands that its pages are locked, and that the kernel spares it when memory is short."""
        for pid in self.process.pid, self.worker():
            status = contents(f"/proc/{pid}/status")
            locked = int(re.search(r"^VmLck:\s+(\d+)", status, re.M)[1])
            expect(locked > 0, "no page is locked")
            adjusted = contents(f"/proc/{pid}/oom_score_adj").strip()
            expect(adjusted == "-1000", f"oom_score_adj is {adjusted}")

    def stop(self):
        self.alive()
        self.process.terminate()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            raise Failed("SIGTERM does not end the daemon") from None
        expect(status == 0, f"SIGTERM ended the daemon with status {status}")


# ---- mounts -----------------------------------------------------------------------------------


# Block devices that mount() has attached: mount point -> image.
attached = {}


def attach(name, *device, limit=LIMIT):
    """Has the daemon attach the image. Returns its block device; raises Failed, with what the daemon says."""
    status, output = program(DAEMON, "--attach", name, *device, limit=limit)
    expect(status == 0, f"--attach: status {status}: {output}")
    expect(re.fullmatch("/dev/nbd[0-9]+", output), f"--attach: {output}")
    return output


def detach(name):
    status, output = program(DAEMON, "--detach", name)
    expect(status == 0, f"--detach: status {status}: {output}")


def mount_device(device, point, kind="erofs", options="ro", limit=LIMIT):
    """Mounts what is a device or has a name there. Returns the mount point; raises Failed if mount(8) fails."""
    os.makedirs(point, exist_ok=True)
    status, output = program("mount", "-t", kind, "-o", options, device, point, limit=limit)
    expect(status == 0, f"mount: {output}")
    return point


def mount(name, options="", at=None, limit=LIMIT):
    """Mounts the image, which is attached first if it has to be. Returns the mount point; raises Failed."""
    point = at or f"{RUN}/mnt/{name}"
    if not NBD:
        return mount_device("none", point, options=f"fsid={name}{options}", limit=limit)
    device = attach(name, limit=limit)
    attached[point] = name
    return mount_device(device, point, limit=limit)


def mount_fails(name, limit=10):
    start = time.monotonic()
    try:
        mount(name, limit=LIMIT)
    except Failed as failure:
        expect("hangs" not in str(failure), str(failure))
        took = time.monotonic() - start
        expect(took < limit, f"mount failed only after {took:.1f} s")
        return
    raise Failed(f"mount of {name} succeeded")


@contextlib.contextmanager
def serving(image, *url_and_directives, **more):
    """A daemon and its mount of an image; both end in order if nothing fails."""
    daemon = Daemon(*url_and_directives, **more)
    point = mount(image)
    yield daemon, point
    umount(point)
    daemon.stop()


def mount_is_refused(pattern, *url_and_directives):
    """A daemon that cannot open second.erofs: mount(8) fails, and the log says why."""
    daemon = Daemon(*url_and_directives)
    mount_fails("second.erofs")
    daemon.logs(pattern)
    daemon.stop()


def unmount(point):
    """umount(8) alone: what was attached stays so."""
    status, output = program("umount", point)
    expect(status == 0, f"umount: {output}")


def umount(point):
    unmount(point)
    if point in attached:
        detach(attached.pop(point))


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


# ---- reading and comparing ----------------------------------------------------------------------


def expected(name):
    """The contents of the image, path -> [kind, value], as images.describe() found them on the host."""
    with open(f"{name}.json") as file:
        return json.load(file)


def checksum(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def seen(path, kind):
    if kind == "link":
        return os.readlink(path)
    if kind == "directory":
        return sorted(os.listdir(path))
    return checksum(path)


def compare(point, name, order="sorted", count=None):
    """Compares the contents of the image, in sorted or random order; all, or `count` entries."""
    entries = sorted(expected(name).items())
    if order == "random":
        random.shuffle(entries)
    for path, (kind, value) in entries[:count]:
        expect(seen(os.path.join(point, path), kind) == value, f"{name}: {path} differs")


def compare_big(point):
    expect(checksum(f"{point}/big") == expected("plain")["big"][1], "the big file differs")


def compare_pieces(point, name, count=200):
    """Compares pieces of the big file, at random places, with the same file on the host."""
    with open(f"{point}/big", "rb", buffering=0) as ours, open(f"{name}.big", "rb") as theirs:
        size = os.fstat(ours.fileno()).st_size
        for _ in range(count):
            offset, length = random.randrange(size), random.choice((1, 100, 4096, 70000))
            theirs.seek(offset)
            expect(os.pread(ours.fileno(), length, offset) == theirs.read(length),
                   f"{name}: {length} bytes at {offset} differ")


def sprinkle(point, count=400):
    """Reads a few bytes at random places of random files: the cache then has holes."""
    files = [path for path, (kind, _) in expected("plain").items() if kind == "file"]
    for path in random.choices(files, k=count) + ["big"] * (count // 4):
        with open(f"{point}/{path}", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            os.pread(file.fileno(), random.choice((1, 100, 5000)), random.randrange(size + 1))


def at_once(point, readers=4):
    """Several readers compare an image of the plain tree, each in an order of its own."""
    for reader in [Child(compare, point, "plain", "random") for _ in range(readers)]:
        reader.succeed(4 * LIMIT)


def all_right(point, name, order="sorted"):
    Child(compare, point, name, order).succeed()


def some_right(point):
    """Compares a part of the plain image: quicker, for scenarios about something else."""
    for reader in Child(compare_big, point), Child(compare, point, "plain", "random", 100):
        reader.succeed()


def read_for(point, seconds):
    """Compares random pieces of the big file, and drops the kernel's cache after every ten."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compare_pieces(point, "plain", 10)
        drop_caches()


def expect_eio(answer):
    """Demands that a Child has got this error."""
    expect(f"[Errno {errno.EIO}]" in answer, f"no EIO but: {answer}")


# ---- the daemon's cache -------------------------------------------------------------------------


def extents(path):
    """Bytes of a file that are no hole."""
    with open(path, "rb") as file:
        return sum(end - start for start, end in data_ranges(file.fileno()))


def cached_by(daemon):
    """Bytes in all the files of its cache."""
    if NBD:
        return sum(map(extents, stored(daemon)))
    return sum(extents(os.path.join(folder, name))
               for folder, _, names in os.walk(f"{daemon.directory}/cache") for name in names)


def stored(daemon, key="*"):
    """The cache files of block devices: one for each version of an image."""
    directory = getattr(daemon, "directory", daemon)
    return sorted(glob.glob(f"{directory}/cachefilesd-mini/{key}.{'?' * 16}"))


def remembered(daemon):
    """The files in which the daemon remembers images."""
    return glob.glob(f"{daemon.directory}/cachefilesd-mini/{'?' * 16}")


def prime(daemon, *names):
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", *names)
    expect(status == 0 and not output, f"--prime: status {status}: {output}")


def linked(daemon, name):
    """The image's files in the cache of a daemon or in a directory, found by the image's name."""
    directory = getattr(daemon, "directory", daemon)
    if NBD:
        return stored(directory, f"{fnv1a(f'erofs,{name}'.encode() + bytes(1) + name.encode()):016x}")
    return glob.glob(f"{directory}/cache/I*/@*/D{name}")


def verified(name):
    """The directives by which the image is verified."""
    return [f"roothash {contents(f'{name}.root')}"]


def flip(path, count, behind=0):
    """Flips a bit in each of at most `count` blocks of a file that are no hole, the first one among them, from the byte
    `behind` on. Returns how many these are."""
    with open(path, "r+b", buffering=0) as file:
        size = os.path.getsize("www/plain.erofs")
        blocks = [block for start, end in data_ranges(file.fileno())
                  for block in range(start // 4096, end // 4096) if behind <= block * 4096 < size]
        chosen = {*blocks[:1], *random.sample(blocks, min(count - 1, len(blocks)))}
        for block in chosen:
            byte = os.pread(file.fileno(), 1, block * 4096 + 99)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 8]), block * 4096 + 99)
        os.fsync(file.fileno())
    return len(chosen)


def fnv1a(data):
    """As base/hash.h."""
    value = 14695981039346656037
    for byte in data:
        value = (value ^ byte) * 1099511628211 % 2 ** 64
    return value


# ---- processes ------------------------------------------------------------------------------------


def descriptors(pid):
    """The number of its open descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def private_memory(pid):
    """kB that no other process shares."""
    rollup = contents(f"/proc/{pid}/smaps_rollup")
    return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M))


def anonymous_memory(pid):
    """kB that are of no file, those too that it shares with a process that was forked: how many it has to itself
    depends on which of its buffers it has written to since, and so on chance."""
    return int(re.search(r"^Anonymous:\s+(\d+) kB", contents(f"/proc/{pid}/smaps_rollup"), re.M)[1])


# ---- the end --------------------------------------------------------------------------------------


def kill_all(daemon):
    """Kills the keeper and its worker at once, as a service manager does."""
    pids = [daemon.process.pid] + daemon.workers()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    daemon.process.wait()
    kill_orphans()


def kill_orphans():
    """Kills every process of the daemon. Keepers come first, so that no worker is started any more."""
    pids = []
    for comm in glob.glob("/proc/[0-9]*/comm"):
        pid = int(comm.split("/")[2])
        with contextlib.suppress(OSError):
            if os.path.basename(DAEMON) in os.path.basename(os.readlink(f"/proc/{pid}/exe")) or \
                    DAEMON in contents(f"/proc/{pid}/cmdline").split("\0")[:2]:
                pids.append(pid)
    for pid in sorted(pids):
        with contextlib.suppress(ProcessLookupError):   # it has ended with its keeper
            os.kill(pid, signal.SIGKILL)


def clean_up():
    """Removes the processes, mounts and files of a scenario. The daemon comes first: its waiters then fail."""
    kill_orphans()
    devices.disconnect_all()
    for line in reversed(contents("/proc/mounts").splitlines()):
        if line.split()[2] == "erofs" or line.startswith("/dev/nbd"):
            ctypes.CDLL(None).umount2(line.split()[1].encode(), 2)      # MNT_DETACH
    eventually(device_free, "the device is free again", 10)
    attached.clear()
    for directory in glob.glob("/run/disk/[0-9]*"):
        shutil.rmtree(directory, ignore_errors=True)


def device_free():
    """Whether no daemon has the device of cachefiles open, or a block device."""
    if NBD:
        return not devices.connected()
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/cachefiles", os.O_RDWR))
        return True
    return False
