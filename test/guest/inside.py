#!/usr/bin/python3
"""The daemon in a real kernel: runs as root inside the test kernel, started by test/guest/test_guest.py.

    inside.py SERIES DAEMON [SCENARIO...]

In the current directory it finds what test/guest/test_guest.py made: www/ with the images, NAME.json with
what an image holds, ca.pem, other-ca.pem and the servers' certificates. A real nginx serves the
images, the real daemon fetches them, the kernel's EROFS mounts them, and every byte is compared.
Each scenario is one function below; it passes if it returns.
"""
import contextlib
import ctypes
import errno
import fcntl
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
import traceback

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import exposition

SERIES, DAEMON = sys.argv[1:3]
RUN = "/run/guest"
HTTP, HTTPS, HTTPS_RSA, SLOW = 8080, 8443, 8444, 8081
REDIRECT_302, REDIRECT_308, NEVER, PYTHON_SERVER = 8082, 8083, 8084, 8085
LIMIT = 60                      # seconds for one wait of any kind: beyond it something hangs
RSS_LIMIT = 1024                # kB, while serving HTTPS
PROBE = 64 << 10                # bytes that finding out an image's size may cost
TICK = 1000 // os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failed(text)


def note(text):
    print(f"# {text}", flush=True)


def eventually(condition, text, limit=LIMIT):
    """Waits until condition() is true; returns what it returned."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        expect(time.monotonic() < end, f"not within {limit} s: {text}")
        time.sleep(0.02)


def contents(path):
    with open(path, errors="replace") as file:
        return file.read()


# ---- programs ---------------------------------------------------------------------------------


class Child:
    """A Python function in a process of its own: it may be killed, or hang, without us."""

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
        """What the function returned ("ok" for nothing), or its exception's name and text."""
        eventually(self.ended, "end of a reader", limit)
        with os.fdopen(self.pipe, "rb") as pipe:
            return pipe.read().decode()

    def succeed(self, limit=LIMIT):
        answer = self.answer(limit)
        expect(answer == "ok", answer)


def program(*command, limit=LIMIT):
    """Runs a program, returns its exit status and output. One that hangs is left behind, since the
    kernel may not let go of it before the scenario's daemon is gone."""
    path = f"{RUN}/output"
    with open(path, "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"hangs: {' '.join(command)}") from None
    return status, contents(path).strip()


class Nginx:
    """The web server; its access log tells what the daemon really fetched."""

    log = f"{RUN}/access.log"
    server = """
        server {{ listen 127.0.0.1:{http}; listen [::1]:{http}; root {root}; }}
        server {{ listen 127.0.0.1:{https} ssl; listen 127.0.0.2:{https} ssl; root {root};
                  ssl_certificate {work}/ec.pem; ssl_certificate_key {work}/ec.key; }}
        server {{ listen 127.0.0.1:{https_rsa} ssl; listen [::1]:{https_rsa} ssl; root {root};
                  ssl_certificate {work}/rsa.pem; ssl_certificate_key {work}/rsa.key; }}
        server {{ listen 127.0.0.1:{slow}; root {root}; limit_rate {rate}; }}
        server {{ listen 127.0.0.1:{redirect_302};
                  location = /never.erofs {{ return 302 http://127.0.0.1:{never}$request_uri; }}
                  location / {{ return 302 http://127.0.0.1:{http}$request_uri; }} }}
        server {{ listen 127.0.0.1:{redirect_308} ssl;
                  ssl_certificate {work}/ec.pem; ssl_certificate_key {work}/ec.key;
                  return 308 https://localhost:{https}$request_uri; }}
    """
    configuration = """
        daemon off; worker_processes 1; user root; pid {run}/nginx.pid; error_log {run}/error.log;
        events {{ }}
        http {{
            log_format bytes '$server_port $status $body_bytes_sent $request_uri $http_range';
            access_log {log} bytes;
            client_body_temp_path {run}/b; proxy_temp_path {run}/p; fastcgi_temp_path {run}/f;
            uwsgi_temp_path {run}/u; scgi_temp_path {run}/s;
            {server}
        }}
    """

    def __init__(self):
        self.process = None

    def start(self, rate="0"):
        work = os.getcwd()
        server = self.server.format(
            http=HTTP, https=HTTPS, https_rsa=HTTPS_RSA, slow=SLOW, redirect_302=REDIRECT_302,
            redirect_308=REDIRECT_308, never=NEVER, rate=rate, work=work, root=f"{work}/www")
        with open(f"{RUN}/nginx.conf", "w") as file:
            file.write(self.configuration.format(run=RUN, log=self.log, server=server))
        self.process = subprocess.Popen(
            ["/usr/sbin/nginx", "-c", f"{RUN}/nginx.conf", "-e", f"{RUN}/error.log"],
            start_new_session=True)
        # An answer, not just a connection: it comes from the worker, so nginx is through with fork();
        # user-mode Linux 6.12 panics when SIGKILL meets a process inside fork().
        eventually(answers, "nginx answers")

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        if self.process:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def sent(self, since=0, uri=""):
        """Bytes of bodies sent, by the log's lines since a mark(), for one URI or all."""
        lines = [line.split() for line in contents(self.log).splitlines()[since:]]
        return sum(int(line[2]) for line in lines if uri in line[3])

    def mark(self):
        return len(contents(self.log).splitlines())

    def quiet(self):
        """Waits until no answer has ended for twenty looks; the guest may stand still for a second itself."""
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


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children(pid):
    """Pids of its children that live, oldest first."""
    found = []
    for path in glob.glob("/proc/[0-9]*/status"):
        with contextlib.suppress(OSError):
            status = contents(path)
            if f"\nPPid:\t{pid}\n" in status and "\nState:\tZ" not in status:
                found.append(int(path.split("/")[2]))
    return sorted(found)


class Daemon:
    """One run of the daemon on a cache directory of its own, or of a run before, its log in a file."""

    count = 0

    def __init__(self, *url_and_directives, debug=False, options=(), program=DAEMON, through=(),
                 directory=None, **more):
        url, directives = url_and_directives[:1], url_and_directives[1:]
        Daemon.count += 1
        self.directory = directory or f"/run/disk/{Daemon.count}"
        os.makedirs(self.directory, exist_ok=True)
        self.log_path = f"{RUN}/daemon.{Daemon.count}.log"
        command = [*through, program, "-n", "-s", *options] + ["-d"] * debug
        for directive in (f"dir {self.directory}",) + directives:
            command += ["-o", directive]
        self.command = command + list(url)
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdin=subprocess.DEVNULL, **more)
        eventually(lambda: self.ended() or "is bound" in self.log(), "bind", 10)
        expect(not self.ended(), f"ended at once: {self.log()}")

    def log(self):
        return contents(self.log_path)

    def logs(self, pattern, limit=3):
        eventually(lambda: re.search(pattern, self.log(), re.I),
                   f"a line in the log like /{pattern}/", limit)

    def ended(self):
        return self.process.poll() is not None

    def workers(self):
        """Pids of the keeper's children, oldest first."""
        return children(self.process.pid)

    def worker(self):
        """The pid of the process that serves."""
        return eventually(self.workers, "a worker", 10)[0]

    def culler(self):
        """The pid of the worker's only child."""
        return eventually(lambda: children(self.worker()), "a culler", 10)[0]

    def alive(self):
        expect(not self.ended(), f"the daemon ended with {self.process.returncode}: {self.log()}")

    def ticks(self):
        """CPU time used so far: utime and stime of /proc/PID/stat."""
        fields = contents(f"/proc/{self.worker()}/stat").rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def wakeups(self):
        status = contents(f"/proc/{self.worker()}/status")
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])

    def memory(self):
        status = contents(f"/proc/{self.worker()}/status")
        return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) for name in ("VmRSS", "VmHWM")]

    def stays_alive(self):
        """Their pages are locked, and others are to go first when memory is short."""
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


def mount(name, options="", at=None, limit=LIMIT):
    """Mounts the image, returns the mount point; a failure of mount(8) raises Failed."""
    point = at or f"{RUN}/mnt/{name}"
    os.makedirs(point, exist_ok=True)
    status, output = program("mount", "-t", "erofs", "-o", f"fsid={name}{options}", "none", point,
                             limit=limit)
    expect(status == 0, f"mount: {output}")
    return point


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


def umount(point):
    status, output = program("umount", point)
    expect(status == 0, f"umount: {output}")


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")


# ---- reading and comparing ----------------------------------------------------------------------


def expected(name):
    """What is in the image: path -> [kind, value], as test/guest/test_guest.py saw it on the host."""
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
    """Compares all that is in the image, in sorted or random order, or only count entries of it."""
    entries = sorted(expected(name).items())
    if order == "random":
        random.shuffle(entries)
    for path, (kind, value) in entries[:count]:
        expect(seen(os.path.join(point, path), kind) == value, f"{name}: {path} differs")


def compare_big(point):
    expect(checksum(f"{point}/big") == expected("plain")["big"][1], "the big file differs")


def compare_pieces(point, name, count=200):
    """Reads pieces of the big file at random places, against the same file on the host."""
    with open(f"{point}/big", "rb", buffering=0) as ours, open(f"{name}.big", "rb") as theirs:
        size = os.fstat(ours.fileno()).st_size
        for _ in range(count):
            offset, length = random.randrange(size), random.choice((1, 100, 4096, 70000))
            theirs.seek(offset)
            expect(os.pread(ours.fileno(), length, offset) == theirs.read(length),
                   f"{name}: {length} bytes at {offset} differ")


def sprinkle(point, count=400):
    """Reads a few bytes of random files at random places: what is cached of them then has holes."""
    files = [path for path, (kind, _) in expected("plain").items() if kind == "file"]
    for path in random.choices(files, k=count) + ["big"] * (count // 4):
        with open(f"{point}/{path}", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            os.pread(file.fileno(), random.choice((1, 100, 5000)), random.randrange(size + 1))


def at_once(point, readers=4):
    """Every file of an image of the plain tree, by several readers, each in an order of its own."""
    for reader in [Child(compare, point, "plain", "random") for _ in range(readers)]:
        reader.succeed()


def all_right(point, name, order="sorted"):
    Child(compare, point, name, order).succeed()


def some_right(point):
    """A quicker look at the plain image, for scenarios that are about something else."""
    for reader in Child(compare_big, point), Child(compare, point, "plain", "random", 100):
        reader.succeed()


# ---- the kernel's log -------------------------------------------------------------------------


class KernelLog:
    """Lines of warning or worse about us since the last look. Deprecation is no complaint."""

    harmless = re.compile(r"on-demand read feature in use|EXPERIMENTAL")
    about_us = re.compile(r"erofs|cachefiles|fscache|BUG|Oops|WARNING|blocked for more", re.I)

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)

    def news(self):
        lines = []
        while True:
            try:
                head, _, text = os.read(self.fd, 8192).decode(errors="replace").partition(";")
            except BlockingIOError:
                return lines
            except BrokenPipeError:     # the ring overran us; the next read goes on after the gap
                continue
            text = text.splitlines()[0]
            if int(head.split(",")[0]) & 7 <= 4 and self.about_us.search(text):
                lines += [] if self.harmless.search(text) else [text]


# ---- scenarios --------------------------------------------------------------------------------

SCENARIOS = []
nginx = Nginx()
CA = f"ca {os.getcwd()}/ca.pem"


def scenario(title, kernel_may_complain=False, series=("6.12", "6.1")):
    """Runs on the kernels named, or wherever it is asked for by its name."""
    def register(function):
        if function.__name__ in sys.argv[3:] or (SERIES in series and len(sys.argv) == 3):
            SCENARIOS.append((title, function, kernel_may_complain))
        return function
    return register


@scenario("HTTP: every file, again at random from the cache, again after umount and mount")
def http():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    start = nginx.mark()
    point = mount("plain.erofs")
    all_right(point, "plain")
    fetched = nginx.sent(start)
    size = os.path.getsize("www/plain.erofs")
    note(f"image of {size} bytes, {fetched} bytes fetched in {nginx.mark() - start} requests")
    expect(fetched < 1.5 * size, "much was fetched more than once")

    start = nginx.mark()
    drop_caches()
    all_right(point, "plain", "random")
    expect(nginx.sent(start) == 0, "cached data were fetched again after drop_caches")

    umount(point)
    point = mount("plain.erofs")
    all_right(point, "plain", "random")
    fetched = nginx.sent(start)
    note(f"after umount and mount: {fetched} bytes fetched")
    expect(fetched <= PROBE, f"{fetched} bytes of cached data were fetched again after umount, mount")
    umount(point)
    daemon.stop()


@scenario("HTTPS (EC certificate): random order on an empty cache; RSS, locked; idle costs no CPU time")
def https():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA)
    point = mount("plain.erofs")
    Child(compare_pieces, point, "plain").succeed()
    all_right(point, "plain", "random")
    rss, peak = daemon.memory()
    daemon.stays_alive()
    note(f"serving HTTPS: RSS {rss} kB, peak {peak} kB")
    other = mount("second.erofs")

    nginx.quiet()
    ticks, wakeups = daemon.ticks(), daemon.wakeups()
    time.sleep(5)
    used, wakeups = (daemon.ticks() - ticks) * TICK, daemon.wakeups() - wakeups
    note(f"idle for 5 s with two images mounted: {used} ms of CPU time, woken {wakeups} times")
    # On a busy host one tick may hit whoever runs; a loop that spins would collect hundreds.
    expect(used <= TICK and wakeups <= 2, "an idle daemon does something")

    umount(point)
    umount(other)
    daemon.stop()
    expect(peak <= RSS_LIMIT, f"RSS is over {RSS_LIMIT} kB")


def extents(path):
    """Bytes of a file that are no hole."""
    with open(path, "rb") as file:
        total, at, end = 0, 0, os.fstat(file.fileno()).st_size
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            total += at - start
        return total


def cached_by(daemon):
    """Bytes in all the files of its cache."""
    return sum(extents(os.path.join(folder, name))
               for folder, _, names in os.walk(f"{daemon.directory}/cache") for name in names)


def show_status(*options):
    status, output = program(DAEMON, "-f", f"{RUN}/empty", "--status", *options)
    expect(status == 0, f"--status: {status}: {output}")
    return output


@scenario("status: its numbers are nginx's, the cache file's and the READs'; small, idle; --status, --json")
def status():
    open(f"{RUN}/empty", "w").close()
    socket_path = "/run/cachefilesd-mini.status"        # where it is if nothing is said
    nginx.kill()
    nginx.start(rate="1m")              # so slow that something is to be seen
    daemon = Daemon(f"http://127.0.0.1:{SLOW}/", f"url http://127.0.0.1:{HTTP}/", "trace none")
    start = nginx.mark()
    point = mount("plain.erofs")
    reader = Child(compare_big, point)
    time.sleep(2)
    for line in show_status().splitlines():
        note(f"  {line}")
        expect(len(line) <= 80, "wider than 80 columns")
    for _ in range(50):         # while READs are under way
        exposition.Metrics(exposition.ask(socket_path))
    reader.succeed()
    Child(compare_pieces, point, "plain").succeed()
    other = mount("second.erofs")

    nginx.quiet()
    m = exposition.Metrics(exposition.ask(socket_path))
    sent, requests = nginx.sent(start), nginx.mark() - start
    note(f"{requests} requests and {sent} bytes by nginx's log, {m['read_seconds_count']} READs in "
         f"{m['read_seconds_sum']} s")
    expect(m.sum("mirror_requests_total") == requests, f"{m.sum('mirror_requests_total')} requests")
    expect(m.sum("mirror_received_bytes_total") == sent, f"{m.sum('mirror_received_bytes_total')} bytes")
    expect(m.get("image_received_bytes_total", image="plain.erofs") == nginx.sent(start, "/plain.erofs"), "by image")
    expect(m.get("image_size_bytes", image="plain.erofs") == os.path.getsize("www/plain.erofs"), "size")
    expect(m["read_seconds_count"] == m.sum("image_reads_total") > 20, f"READs: {m.samples}")
    expect(m["reads_failed_total"] == m["reads_waiting"] == 0 and m["open_files"] == 2, f"state: {m.samples}")
    cached = m.get("image_cached_bytes", image="plain.erofs")
    written = m.get("image_written_bytes_total", image="plain.erofs")   # what the walk has missed, twice
    expect(cached <= written <= 1.1 * cached, f"{cached} bytes are cached, {written} written")
    expect(12 << 20 < cached <= os.path.getsize("www/plain.erofs"), f"{cached} bytes are cached")
    images = {i["image"]: i for i in json.loads(show_status("--json"))["images"]}
    expect(set(images) == {"plain.erofs", "second.erofs"}, f"JSON: {images}")
    expect(images["plain.erofs"]["image_cached_bytes"] == cached, "JSON: cached")

    rss, peak = daemon.memory()
    note(f"RSS {rss} kB, peak {peak} kB")
    expect(peak <= RSS_LIMIT, f"RSS is over {RSS_LIMIT} kB")
    ticks, wakeups = daemon.ticks(), daemon.wakeups()
    time.sleep(3)
    expect(daemon.ticks() - ticks <= 1 and daemon.wakeups() - wakeups <= 2, "an idle daemon does something")

    umount(point)
    umount(other)
    on_disk = cached_by(daemon)
    point = mount("plain.erofs")
    m = exposition.Metrics(exposition.ask(socket_path))
    note(f"after umount and mount: {m.get('image_cached_bytes', image='plain.erofs')} of {on_disk} bytes on the disk")
    expect(m.get("image_cached_bytes", image="plain.erofs") == cached, "other bytes are cached after umount and mount")
    expect(m.get("image_written_bytes_total", image="plain.erofs") <= PROBE, "written again")
    expect(m.get("image_cached_bytes", image="second.erofs") is None, "an image that is not mounted is told")
    expect(cached < on_disk < cached + (8 << 20), "the disk has something else")
    umount(point)
    daemon.stop()


@scenario("HTTPS (RSA certificate) by name")
def https_rsa():
    daemon = Daemon(f"https://localhost:{HTTPS_RSA}/", CA)
    point = mount("second.erofs")
    all_right(point, "second", "random")
    umount(point)
    daemon.stop()


@scenario("LZ4 image: right bytes in random order, the whole image fetched first and the log says so",
          series=("6.12",))
def lz4():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA)
    point = mount("lz4.erofs")
    Child(compare_pieces, point, "plain").succeed()
    all_right(point, "plain", "random")
    daemon.logs(r"lz4\.erofs.*(whole|compress)|(whole|compress).*lz4\.erofs")
    fetched, size = nginx.sent(uri="/lz4.erofs"), os.path.getsize("www/lz4.erofs")
    expect(fetched >= size, f"{fetched} bytes of {size} were fetched")
    drop_caches()
    some_right(point)
    expect(nginx.sent(uri="/lz4.erofs") == fetched, "cached data were fetched again")
    umount(point)
    daemon.stop()


@scenario("compressed lazy: LZ4 in parts, four readers at once in random order on an empty cache",
          series=("6.12-patched",))
def lazy():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA, "compressed lazy")
    size = os.path.getsize("www/lz4.erofs")
    files = sum(kind == "file" for kind, _ in expected("plain").values())
    expect(files > 1000, f"only {files} files are in the image")
    start = nginx.mark()
    point = mount("lz4.erofs")
    expect(seen(f"{point}/odd/17", "file") == expected("plain")["odd/17"][1], "odd/17 differs")
    first = nginx.sent(start)
    note(f"{files} files in {size} bytes; {first} fetched for the mount and the first file")
    expect(first < size / 4, "much was fetched for one small file")
    Child(sprinkle, point).succeed()
    Child(compare_pieces, point, "plain").succeed()
    fetched = nginx.sent(start)
    drop_caches()                       # so that the readers' bios meet what is cached
    at_once(point)
    note(f"{fetched} bytes fetched for pieces, {nginx.sent(start)} for all")
    expect(nginx.sent(start) < 1.5 * size, "much was fetched more than once")
    start = nginx.mark()
    drop_caches()
    at_once(point, 2)
    expect(nginx.sent(start) == 0, "cached data were fetched again after drop_caches")
    umount(point)
    daemon.stop()


@scenario("compressed lazy: LZ4 in clusters of 64 KiB, partly cached in an earlier session",
          series=("6.12-patched",))
def lazy_again():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", "compressed lazy")
    size = os.path.getsize("www/lz4-64k.erofs")
    start = nginx.mark()
    for function, arguments in (compare_pieces, ("plain", 20)), (sprinkle, (4,)):
        point = mount("lz4-64k.erofs")
        Child(function, point, *arguments).succeed()
        fetched = nginx.sent(start)
        note(f"{fetched} bytes of {size} fetched when a session ends")
        umount(point)
    expect(fetched < size, "nothing was left to fetch")
    point = mount("lz4-64k.erofs")
    at_once(point)
    expect(nginx.sent(start) < 1.5 * size, "much was fetched more than once")
    umount(point)
    daemon.stop()


@scenario("compressed lazy: nginx gone while partly cached files are read: EIO, then all is well", True,
          series=("6.12-patched",))
def lazy_outage():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", "compressed lazy", "timeout 1")
    point = mount("lz4.erofs")
    Child(sprinkle, point).succeed()
    drop_caches()
    nginx.kill()
    readers = [Child(compare_big, point) for _ in range(3)]
    for answer in [reader.answer() for reader in readers]:
        expect(f"[Errno {errno.EIO}]" in answer, f"no EIO but: {answer}")
    daemon.alive()
    nginx.start()
    at_once(point, 2)
    umount(point)
    daemon.stop()


@scenario("memory 512K, 1M and 16M: right bytes over HTTPS, and no more resident memory than that")
def memory():
    for kilobytes in 512, 1024, 16384:
        daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA, f"memory {kilobytes}K")
        point = mount("plain.erofs")
        at_once(point)
        _, peak = daemon.memory()
        note(f"memory {kilobytes}K: peak {peak} kB")
        umount(point)
        daemon.stop()
        expect(peak <= kilobytes, f"memory {kilobytes}K: {peak} kB are resident")


@scenario("a boot trace: recorded, published, fetched ahead of the readers on the next cold start")
def trace():
    files = sorted(path for path, (kind, _) in expected("plain").items() if kind == "file")[::7]

    def read_some(point):
        for path in files:
            expect(checksum(f"{point}/{path}") == expected("plain")[path][1], f"{path} differs")

    recorded = f"{RUN}/recorded/"
    os.mkdir(recorded)
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", f"trace record {recorded}")
    point = mount("plain.erofs")
    Child(read_some, point).succeed()
    umount(point)
    daemon.stop()
    lines = contents(f"{recorded}plain.erofs.trace").splitlines()
    total = sum(int(line.split()[1]) for line in lines if not line.startswith("#"))
    shutil.copy(f"{recorded}plain.erofs.trace", "www/plain.erofs.trace")
    try:
        daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
        before = nginx.mark()
        point = mount("plain.erofs")
        daemon.logs("its trace of [0-9]+ ranges is fetched first")
        eventually(lambda: nginx.sent(before, "/plain.erofs") >= total, "its bytes, unasked")
        Child(read_some, point).succeed()
        umount(point)
        daemon.stop()
    finally:
        os.unlink("www/plain.erofs.trace")


@scenario("prefetch all: the image is whole by itself; then the server can go, and all is right")
def prefetch():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", "prefetch all")
    point = mount("plain.erofs")
    daemon.logs("all [0-9]+ bytes are cached", LIMIT)
    nginx.kill()
    try:
        at_once(point)
    finally:
        nginx.start()
    umount(point)
    daemon.stop()


@scenario("a tree walk: names are known before they are looked up, also while the image is filled")
def walk():
    for words in (), ("prefetch all", "prefetch-rate 16K"):
        daemon = Daemon(f"http://127.0.0.1:{HTTP}/", "trace none", *words, debug=True)
        point = mount("plain.erofs")
        count = Child(lambda: str(sum(len(os.lstat(os.path.join(d, n))[:1]) for d, _, names in
                                      os.walk(point) for n in names))).answer()
        asked = daemon.log().count("opcode 2")
        note(f"{' '.join(words)}: {count} files were looked at for {asked} READs")
        umount(point)
        daemon.stop()
        expect(asked * 4 < int(count), "each block of names was asked for by itself")


@scenario("two images at once, four readers")
def parallel():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA)
    points = {name: mount(f"{name}.erofs") for name in ("plain", "second")}
    readers = [Child(compare, points[name], name, "random", 200) for name in ("plain", "second") * 2]
    for reader in readers:
        reader.succeed()
    for point in points.values():
        umount(point)
    daemon.stop()


@scenario("a domain: two images share a blob, which is fetched once")
def domain():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    options = ",domain_id=dom,device=shared.blob"
    one = mount("shared1.erofs", options)
    all_right(one, "second", "random")
    start = nginx.mark()
    two = mount("shared2.erofs", options)
    drop_caches()
    all_right(two, "second", "random")
    fetched = nginx.sent(start, "/shared.blob")
    expect(fetched <= PROBE, f"{fetched} bytes of the shared blob were fetched again")
    umount(one)
    all_right(two, "second")
    umount(two)
    daemon.stop()


def boot(shell, line):
    """What an initramfs does with the kernel's command line; the root's place."""
    root = f"{RUN}/root"
    os.makedirs(root, exist_ok=True)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../contrib/initramfs/cachefilesd-boot.sh")
    status, output = program(*shell, "-c", f'. "{script}"; cfd_parse "$1" && cfd_boot "$2"', "sh", line, root)
    expect(status == 0, f"{' '.join(shell)}: status {status}: {output}")
    return root


def boot_ends(root):
    """The order of a shutdown: the root, the image, the daemon, the cache."""
    for point in root, "/run/cachefilesd-mini/image":
        umount(point)
    pid = int(contents("/run/cachefilesd-mini/pid"))
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "end of the daemon")
    umount("/run/initramfs/cachefilesd-mini")
    expect(os.access("/run/initramfs/shutdown", os.X_OK), "no program for the end of the machine")


@scenario("contrib/initramfs: cache, daemon, image and overlay by the kernel's command line; again, nothing twice", True)
def boot_words():
    os.environ.update(cfd_daemon=DAEMON, cfd_own_conf="/nonexistent")
    line = (f"quiet root=erofs-http:https://localhost:{HTTPS}/plain.erofs,http://127.0.0.1:{HTTP}/plain.erofs "
            f'"cachefilesd.{CA.replace(" ", "=", 1)}" cachefilesd.timeout=20 '
            "cachefilesd.cache=/dev/ubda cachefilesd.overlay=/dev/ubda -- single")
    shutil.rmtree("/run/disk/fscache", ignore_errors=True)
    start = nginx.mark()
    root = boot(["dash"], line)
    all_right(root, "plain")
    size = os.path.getsize("www/plain.erofs")
    expect(0 < nginx.sent(start) < 1.5 * size, f"{nginx.sent(start)} bytes fetched of {size}")
    with open(f"{root}/written", "w") as file:
        file.write("here")
    boot_ends(root)

    start = nginx.mark()
    root = boot(["busybox", "sh"], line)
    expect(contents(f"{root}/written") == "here", "what was written above the image is gone")
    os.unlink(f"{root}/written")
    all_right(root, "plain", "random")
    expect(nginx.sent(start) <= PROBE, f"{nginx.sent(start)} bytes of cached data were fetched again")
    boot_ends(root)


@scenario("missing image: mount fails at once, the log says why, the daemon lives", True)
def missing():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    mount_fails("no-such.erofs")
    daemon.logs(r"no-such\.erofs.*(404|not found|no such)")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("a CA that did not sign the server's certificate: mount fails, the log says why", True)
def wrong_ca():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", f"ca {os.getcwd()}/other-ca.pem", "timeout 3")
    mount_fails("second.erofs")
    daemon.logs(r"unknown CA|issuer")
    daemon.alive()
    daemon.stop()


@scenario("a certificate of another name: mount fails, the log says why", True)
def wrong_name():
    daemon = Daemon(f"https://127.0.0.2:{HTTPS}/", CA, "timeout 3")
    mount_fails("second.erofs")
    daemon.logs(r"not for .*127\.0\.0\.2")
    daemon.stop()


@scenario("nginx killed in the middle of a response and started again: right bytes")
def interrupted():
    nginx.kill()
    nginx.start(rate="32k")             # so slow that the reader cannot be through before the kill
    daemon = Daemon(f"http://127.0.0.1:{SLOW}/", "timeout 20")
    point = mount("plain.erofs")
    reader = Child(compare_big, point)
    time.sleep(1.5)
    expect(not reader.ended(), "the reader was faster than the server")
    nginx.kill()
    time.sleep(1)
    expect(not reader.ended(), "the reader did not wait for the server to come back")
    nginx.start()
    reader.succeed()
    some_right(point)
    umount(point)
    daemon.stop()


@scenario("nginx gone for longer than the timeout: EIO, then all is well again", True)
def outage():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", "timeout 2")
    point = mount("plain.erofs")
    os.listdir(point)
    nginx.kill()
    gives_eio(Child(compare_big, point), 2)
    daemon.alive()
    nginx.start()
    some_right(point)
    umount(point)
    daemon.stop()


@scenario("nginx hangs for longer than the timeout: EIO, then all is well; waiting costs no CPU", True)
def hanging():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA, "timeout 2")
    point = mount("plain.erofs")
    os.listdir(point)
    nginx.signal(signal.SIGSTOP)
    before = daemon.ticks()
    took = gives_eio(Child(compare_big, point), 2)
    used = (daemon.ticks() - before) * TICK
    note(f"a READ that waits until it fails: {used} ms of CPU time")
    expect(used < 1000 * took / 5, "the daemon spins while it waits for the server")
    nginx.signal(signal.SIGCONT)
    some_right(point)
    umount(point)
    daemon.stop()


def gives_eio(reader, timeout):
    """The kernel retries a failed READ page by page, so that the reader may wait twice."""
    start = time.monotonic()
    answer = reader.answer()
    took = time.monotonic() - start
    note(f"the reader got its error after {took:.1f} s")
    expect(f"[Errno {errno.EIO}]" in answer, f"no EIO but: {answer}")
    expect(timeout - 1 < took < 6 * timeout, f"EIO after {took:.1f} s at a timeout of {timeout} s")
    return took


@scenario("SIGKILL frees a reader that waits; the next one gets right bytes", True)
def killed_reader():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    point = mount("plain.erofs")
    os.listdir(point)
    nginx.signal(signal.SIGSTOP)
    readers = [Child(compare_big, point) for _ in range(3)]
    time.sleep(1)
    for reader in readers:
        expect(not reader.ended(), "a reader did not wait")
        os.kill(reader.pid, signal.SIGKILL)
    for reader in readers:
        eventually(reader.ended, "a killed reader is gone", 5)
    nginx.signal(signal.SIGCONT)
    some_right(point)
    umount(point)
    daemon.stop()


@scenario("a server that never answers for one image holds up neither another nor SIGTERM", True)
def stuck_image():
    with socket.create_server(("127.0.0.1", NEVER)):
        daemon = Daemon(f"http://127.0.0.1:{REDIRECT_302}/", "timeout 60")
        stuck = Child(mount, "never.erofs")
        time.sleep(0.5)
        start = time.monotonic()
        point = mount("second.erofs", limit=15)
        all_right(point, "second")
        note(f"the other image: mounted and read in {time.monotonic() - start:.1f} s")
        expect(not stuck.ended(), "the mount of the stuck image did not wait")
        umount(point)
        daemon.stop()
        answer = stuck.answer(10)
        expect(answer.startswith("Failed: mount:"), answer)


@scenario("IPv6")
def ipv6():
    daemon = Daemon(f"http://[::1]:{HTTP}/")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("redirects: 302 to another port, 308 to another host's name over HTTPS")
def redirects():
    for url in (f"http://127.0.0.1:{REDIRECT_302}/", f"https://127.0.0.1:{REDIRECT_308}/"):
        daemon = Daemon(url, CA)
        point = mount("second.erofs")
        all_right(point, "second")
        umount(point)
        daemon.stop()


@scenario("a server without ranges (200 only) is refused, the log says why", True)
def no_ranges():
    server = subprocess.Popen(
        ["/usr/bin/python3", "-m", "http.server", "-b", "127.0.0.1", "-d", "www", str(PYTHON_SERVER)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: listening(PYTHON_SERVER), "http.server listens")
        daemon = Daemon(f"http://127.0.0.1:{PYTHON_SERVER}/", "timeout 3")
        mount_fails("second.erofs")
        daemon.logs(r"range")
        daemon.stop()
    finally:
        server.kill()
        server.wait()


# ---- its own death ----------------------------------------------------------------------------


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def private_memory(pid):
    """kB that are this process's alone."""
    rollup = contents(f"/proc/{pid}/smaps_rollup")
    return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M))


def read_for(point, seconds):
    """Compares random pieces of the big file, whatever is cached of it dropped again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        compare_pieces(point, "plain", 10)
        drop_caches()


@scenario("the worker is killed again and again: readers see a pause, and all bytes are right")
def killed_worker():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    point = mount("plain.erofs")
    readers = [Child(compare, point, "plain", "random") for _ in range(2)] + [Child(read_for, point, 15)]
    kills, killed = 0, 0
    while not all(reader.ended() for reader in readers):
        time.sleep(random.uniform(0, 0.7))
        worker = daemon.worker()
        if worker != killed:
            daemon.culler()     # 6.12 in user mode panics when SIGKILL meets fork(), and each worker forks it first
            os.kill(worker, signal.SIGKILL)
            kills, killed = kills + 1, worker
    for reader in readers:
        reader.succeed()
    expect(kills > 5, "the readers were too fast")
    daemon.logs("the worker has died .*signal 9")
    # Its code is its own only while there is no worker.
    eventually(lambda: private_memory(daemon.process.pid) < 100, "the keeper has little memory of its own", 10)
    note(f"{kills} workers were killed; the keeper's own memory: {private_memory(daemon.process.pid)} kB, "
         f"descriptors {descriptors(daemon.process.pid)}")
    expect(descriptors(daemon.process.pid) <= 12, "the keeper collects descriptors")
    all_right(point, "plain", "random")
    umount(point)
    start = nginx.mark()
    point = mount("plain.erofs")
    all_right(point, "plain")
    expect(nginx.sent(start) <= PROBE, "what was cached has been thrown away")
    umount(point)
    daemon.stop()


@scenario("the worker is killed, and the image unmounted and mounted before it is read again")
def killed_and_mounted():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    for _ in range(3):
        point = mount("second.erofs")
        Child(compare, point, "second", "random", 20).succeed()
        os.kill(daemon.worker(), signal.SIGKILL)
        umount(point)
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("the keeper is killed: the worker serves on; killed too: the next daemon mounts anew", True)
def killed_keeper():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    point = mount("plain.erofs")
    worker = daemon.worker()
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.logs("the keeper has died")
    some_right(point)
    os.kill(worker, signal.SIGKILL)
    eventually(device_free, "the device is free again", 10)
    umount(point)
    again = Daemon(f"http://127.0.0.1:{HTTP}/", directory=daemon.directory)
    start = nginx.mark()
    point = mount("plain.erofs")
    some_right(point)
    note(f"{nginx.sent(start)} bytes fetched anew")
    umount(point)
    again.stop()


@scenario("SIGTERM: refused while an image is mounted, unless it comes twice; obeyed with --force", True)
def refuses_to_stop():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    point = mount("second.erofs")
    daemon.process.terminate()
    daemon.logs("not stopping: it would break 1 mounted image;")
    all_right(point, "second")
    daemon.alive()
    umount(point)
    daemon.stop()

    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    point = mount("second.erofs")
    daemon.process.terminate()
    daemon.logs("not stopping")
    daemon.stop()
    umount(point)

    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", options=["--force"])
    point = mount("second.erofs")
    daemon.stop()
    umount(point)


@scenario("SIGHUP: a good configuration is taken, by its log; of a bad one the log says why, and the old one stays")
def reload():
    path = f"{RUN}/reload.conf"

    def configure(*lines):
        with open(path, "w") as file:
            file.write("".join(f"{line}\n" for line in lines))

    configure(f"url http://127.0.0.1:{NEVER}/")
    daemon = Daemon(options=["-f", path])
    worker = daemon.worker()
    configure(f"url http://127.0.0.1:{HTTP}/", "prefetch sometimes")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.logs("reload.conf:2: prefetch 'sometimes'")
    daemon.logs("the old one goes on")
    expect(daemon.worker() == worker, "the worker was replaced")
    configure(f"url http://127.0.0.1:{HTTP}/")
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.workers() and daemon.worker() != worker and len(daemon.workers()) == 1, "a new worker", 10)
    point = mount("plain.erofs")
    reader = Child(compare, point, "plain", "random")
    for _ in range(5):
        worker = daemon.worker()
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: worker not in daemon.workers(), "a new worker", 10)
    reader.succeed()
    os.kill(daemon.worker(), signal.SIGKILL)    # the next one has what was read last
    all_right(point, "plain", "random")
    umount(point)
    daemon.stop()


@scenario("an upgrade, by SIGUSR2 and by --upgrade, while readers read; what is no such program is refused")
def upgrade():
    program_path = f"{RUN}/cachefilesd-mini"
    pid_file = f"{RUN}/upgrade.pid"
    shutil.copy(DAEMON, program_path)
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", program=program_path, options=["-p", pid_file])
    point = mount("plain.erofs")
    readers = [Child(compare, point, "plain", "random"), Child(read_for, point, 10)]

    def replace(by):
        shutil.copy(by, program_path + ".new")
        os.chmod(program_path + ".new", 0o755)
        os.rename(program_path + ".new", program_path)

    for turn in range(6):
        worker = daemon.worker()
        replace(DAEMON)
        if turn % 2:
            status, output = program(program_path, "-p", pid_file, "--upgrade")
            expect(status == 0, f"--upgrade: {status} {output}")
        else:
            daemon.process.send_signal(signal.SIGUSR2)
        eventually(lambda: worker not in daemon.workers() and len(daemon.workers()) == 1, "a new worker", 10)
        expect(os.readlink(f"/proc/{daemon.process.pid}/exe") == program_path, "it is the old program")
    worker = daemon.worker()
    for other in "/bin/true", "/bin/false", "/etc/passwd":
        replace(other)
        status, output = program(DAEMON, "-p", pid_file, "--upgrade")
        expect(status == 1 and "goes on as it was" in output, f"--upgrade to {other}: {status} {output}")
    daemon.logs("upgrade: .*: it is no cachefilesd-mini: all stays as it was")
    expect(daemon.workers() == [worker], "the worker was replaced")
    replace(DAEMON)
    for reader in readers:
        reader.succeed()
    note(f"the keeper's own memory: {private_memory(daemon.process.pid)} kB")
    expect(private_memory(daemon.process.pid) < 100, "the keeper has much memory of its own")
    all_right(point, "plain", "random")
    umount(point)
    daemon.stop()


@scenario("-F N: an inherited device, not yet bound, and then bound by an earlier daemon with images mounted")
def inherited_device():
    device = os.open("/dev/cachefiles", os.O_RDWR)
    try:
        options = ["-F", str(device)]
        first = Daemon(f"http://127.0.0.1:{HTTP}/", options=options, pass_fds=[device])
        point = mount("plain.erofs")
        Child(compare, point, "plain", "random", 100).succeed()
        reader = Child(read_for, point, 5)
        os.kill(first.process.pid, signal.SIGKILL)
        for worker in first.workers():
            os.kill(worker, signal.SIGKILL)
        first.process.wait()
        kill_orphans()
        again = Daemon(f"http://127.0.0.1:{HTTP}/", options=options, pass_fds=[device],
                       directory=first.directory)
        reader.succeed()
        all_right(point, "plain", "random")
        umount(point)
        again.stop()
    finally:
        os.close(device)


class ServiceManager:
    """systemd's side: notifications, and descriptors that are stored over a restart of the service."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0cachefilesd-mini-test")
        self.socket.setblocking(False)
        self.stored, self.lines = {}, []

    def listen(self):
        """Takes what has been sent."""
        with contextlib.suppress(BlockingIOError):
            while True:
                text, fds, _, _ = socket.recv_fds(self.socket, 4096, 8)
                lines = text.decode().split("\n")
                self.lines += lines
                name = next((line[7:] for line in lines if line.startswith("FDNAME=")), None)
                for fd in fds:
                    expect("FDSTORE=1" in lines, f"descriptors with {lines}")
                    if name in self.stored:
                        os.close(self.stored[name])
                    self.stored[name] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
                    os.close(fd)

    def end(self):
        """Also in the name of a scenario that has failed."""
        self.socket.close()
        while self.stored:
            os.close(self.stored.popitem()[1])

    def said(self, line, limit=10):
        eventually(lambda: self.listen() or line in self.lines, f"{line} of {self.lines}", limit)

    def start(self, *arguments, **more):
        """Runs the daemon as a service that is handed what it has stored, as descriptors 3 and up."""
        self.lines = []
        fds, names = list(self.stored.values()), list(self.stored)
        shell = "".join(f"exec {3 + i}<&{fd} {fd}<&-; " for i, fd in enumerate(fds))
        shell += "export LISTEN_PID=$$; exec \"$@\""
        environment = dict(os.environ, NOTIFY_SOCKET="@cachefilesd-mini-test", WATCHDOG_USEC="2000000")
        if fds:
            environment |= {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names)}
        return Daemon(*arguments, through=["/bin/bash", "-c", shell, "sh"], env=environment, pass_fds=fds,
                      **more)


@scenario("a service manager keeps the device: SIGKILL of all, SIGTERM, the watchdog; readers only wait")
def service_manager():
    manager = ServiceManager()
    try:
        restarts(manager)
    finally:
        manager.end()


def restarts(manager):
    daemon = manager.start(f"http://127.0.0.1:{HTTP}/")
    directory = daemon.directory
    manager.said("READY=1")
    manager.said("WATCHDOG=1")
    expect(sorted(manager.stored) == ["device", "state"], f"stored: {manager.stored}")
    point = mount("plain.erofs")
    readers = [Child(compare, point, "plain", "random"), Child(read_for, point, 12)]
    for turn in range(4):
        time.sleep(1)
        manager.listen()        # its queue is short
        if turn % 2:
            daemon.process.terminate()
            expect(daemon.process.wait(10) == 0, "SIGTERM with a stored device")
        else:
            kill_all(daemon)
        daemon = manager.start(f"http://127.0.0.1:{HTTP}/", directory=directory)
        manager.said("READY=1")
    for reader in readers:
        reader.succeed()
    all_right(point, "plain", "random")
    os.kill(daemon.worker(), signal.SIGSTOP)
    time.sleep(1)
    manager.listen()
    manager.lines = []
    time.sleep(2)
    manager.listen()
    expect("WATCHDOG=1" not in manager.lines, "a worker that stands still passes for alive")
    os.kill(daemon.worker(), signal.SIGCONT)
    manager.said("WATCHDOG=1")
    umount(point)
    daemon.stop()


def kill_all(daemon):
    """The keeper and its worker at once, as a service manager does."""
    pids = [daemon.process.pid] + daemon.workers()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    daemon.process.wait()
    kill_orphans()


# ---- intruders --------------------------------------------------------------------------------


def status_of(pid):
    """The lines of /proc/PID/status by their names."""
    return dict(line.split(":\t", 1) for line in contents(f"/proc/{pid}/status").splitlines() if ":\t" in line)


KEEPER_CAPABILITIES = 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8


@scenario("user NAME: the worker is that user, no process has a capability that it does not need, no core dump")
def least_privilege():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA, "user nobody")
    point = mount("second.erofs")
    all_right(point, "second")
    expect(os.readlink(f"/proc/{daemon.culler()}/cwd") == f"{daemon.directory}/cache", "the culler is elsewhere")
    for pid, uid, allowed in ((daemon.process.pid, 0, KEEPER_CAPABILITIES), (daemon.worker(), 65534, 0),
                              (daemon.culler(), 0, 0)):
        status = status_of(pid)
        expect(set(status["Uid"].split()) == {str(uid)}, f"uids {status['Uid']}")
        for name in "CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb":
            expect(int(status[name], 16) & ~allowed == 0, f"{name} of uid {uid} is {status[name]}")
        expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", f"uid {uid}: {status}")
        expect(re.search(r"^Max core file size +0 +0 ", contents(f"/proc/{pid}/limits"), re.M), "core dumps")
        expect(os.stat(f"/proc/{pid}/mem").st_uid == 0, f"uid {uid} is dumpable")
    kills = daemon.worker()
    os.kill(kills, signal.SIGKILL)
    drop_caches()
    all_right(point, "second", "random")
    worker = daemon.worker()
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: worker not in daemon.workers() and daemon.workers(), "a new worker", 10)
    expect(status_of(daemon.worker())["Uid"].split()[0] == "65534", "the next worker is another user")
    umount(point)
    daemon.stop()


HOSTILE_NAMES = ["..", ".", "../second.erofs", "a/../../second.erofs", "/etc/passwd", "\x01\x1b[31m\n", "%2e%2e/x",
                 "name with blanks", "\u00e4" * 100, "n" * 200, "-o", "second.erofs?x", "second.erofs#x", "\\\\..\\x"]


@scenario("hostile image names: none mounts, hangs, forges a log line or leaves the cache", True)
def hostile_names():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/", "timeout 2")
    outside = set(os.listdir("/run/disk"))
    libc = ctypes.CDLL(None, use_errno=True)
    os.makedirs(f"{RUN}/mnt/hostile", exist_ok=True)
    for name in HOSTILE_NAMES:
        for domain in b"", b",domain_id=dom":
            data = b"fsid=" + name.encode() + domain
            done = Child(lambda: str(libc.mount(b"none", f"{RUN}/mnt/hostile".encode(), b"erofs", 1, data)))
            expect(done.answer(20) == "-1", f"{name!r} was mounted")
    expect(set(os.listdir("/run/disk")) == outside, "something is beside the cache")
    expect(set(os.listdir(daemon.directory)) <= {"cache", "graveyard", "cachefilesd-mini"}, "something is in it")
    with open(daemon.log_path, "rb") as file:
        log = file.read()
    expect(all(32 <= byte < 127 or byte == 10 for byte in log), "a control byte is in the log")
    expect(all(line.startswith(b"cachefilesd-mini: ") for line in log.splitlines()), "a forged line is in the log")
    expect(not re.search(r"/\.\.?[/ ]", contents(nginx.log)), "the server was asked for a path that climbs")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("a second daemon: exit status 1, and its message names the holder of the device")
def second_daemon():
    daemon = Daemon(f"http://127.0.0.1:{HTTP}/")
    status, output = program(*daemon.command, limit=10)
    expect(status == 1, f"the second daemon ended with {status}: {output}")
    expect(re.search(rf"\b{daemon.process.pid}\b", output), f"no pid of the holder in: {output}")
    daemon.stop()


# ---- the cache over time ------------------------------------------------------------------------

URL = f"http://127.0.0.1:{HTTP}/"


def publish(version):
    """Puts that version of the image in the place of the other; nginx makes its ETag of the time."""
    shutil.copy(f"{version}.erofs", "www/new")
    when = 1600000000 + int(version[1:])
    os.utime("www/new", (when, when))
    os.rename("www/new", "www/versioned.erofs")


def visit(version, count=None, order="random"):
    """A session: mounts the image, compares all or count files of that version, unmounts. Returns
    what was fetched."""
    start = nginx.mark()
    point = mount("versioned.erofs")
    Child(compare, point, version, order, count).succeed()
    umount(point)
    return nginx.sent(start, "versioned")


def remembered(daemon):
    return glob.glob(f"{daemon.directory}/cachefilesd-mini/*")


@scenario("an image is replaced by one of the same size between mounts: no byte of the old one is read")
def replaced():
    daemon = Daemon(URL)
    size = os.path.getsize("v1.erofs")
    for version, count in ("v1", None), ("v2", 10), ("v1", 10):
        publish(version)
        visit(version, count)
    expect(len(re.findall("was replaced on the server", daemon.log())) == 2, "not each is told")
    publish("v2")
    fetched = visit("v2")
    expect(fetched >= size, f"only {fetched} bytes of the new version were fetched")
    expect(visit("v2") <= PROBE, "what is cached was fetched again")
    expect(len(remembered(daemon)) == 1, f"files: {remembered(daemon)}")
    daemon.stop()


@scenario("the same between runs of the daemon, with what is remembered, lost or damaged")
def replaced_between_runs():
    directory = None
    for state in "kept", "lost", "damaged":
        for version, count in ("v1", 10), ("v2", None):
            publish(version)
            daemon = Daemon(URL, directory=directory)
            directory = daemon.directory
            if state == "lost":
                shutil.rmtree(f"{directory}/cachefilesd-mini")
                os.mkdir(f"{directory}/cachefilesd-mini")
            for path in remembered(daemon) if state == "damaged" else []:
                with open(path, "r+b") as file:
                    file.seek(random.randrange(os.path.getsize(path)))
                    file.write(b"\0\1\2")
            visit(version, count)
            fetched = visit(version)
            expect(count or fetched <= PROBE, f"{fetched} bytes were fetched again")
            daemon.stop()
    daemon = Daemon(URL, directory=directory)
    fetched = visit("v2")
    expect(fetched <= PROBE, f"{fetched} bytes were fetched again after a restart")
    daemon.stop()


@scenario("offline allow: a cached image mounts and reads without a server; missing parts wait for it")
def offline():
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA)
    some = mount("second.erofs")
    Child(compare, some, "second", "random", 20).succeed()
    whole = mount("plain.erofs")
    all_right(whole, "plain")
    umount(some)
    umount(whole)
    daemon.stop()
    nginx.kill()
    daemon = Daemon(f"https://127.0.0.1:{HTTPS}/", CA, "offline allow", directory=daemon.directory)
    start = time.monotonic()
    mount("plain.erofs")
    note(f"mounted after {time.monotonic() - start:.2f} s")
    at_once(whole, 2)
    daemon.logs("plain.erofs: opened offline")
    mount("second.erofs")
    reader = Child(compare, some, "second")
    time.sleep(2)
    expect(not reader.ended(), "what is missing did not wait for the server")
    nginx.start()
    reader.succeed()
    umount(whole)
    umount(some)
    daemon.stop()


@scenario("offline allow: the server comes back with another version: what is missing fails, nothing is mixed",
          True)
def offline_replaced():
    publish("v1")
    daemon = Daemon(URL, "timeout 5")
    visit("v1", 3, "sorted")
    daemon.stop()
    nginx.kill()
    daemon = Daemon(URL, "offline allow", "timeout 5", directory=daemon.directory)
    point = mount("versioned.erofs")
    publish("v2")
    nginx.start()
    answer = Child(compare, point, "v1").answer()
    expect(f"[Errno {errno.EIO}]" in answer, f"no EIO but: {answer}")
    Child(compare, point, "v1", "sorted", 3).succeed()
    umount(point)
    visit("v2")
    daemon.stop()


@scenario("offline deny: without a server a cached image does not mount", True)
def offline_deny():
    daemon = Daemon(URL, "timeout 2")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    nginx.kill()
    mount_fails("second.erofs")
    daemon.stop()


@scenario("the worker is killed, the server gone, then back with another version: what is cached is read, the rest "
          "fails, nothing is mixed", True)
def killed_and_replaced():
    publish("v1")
    daemon = Daemon(URL, "timeout 3")
    point = mount("versioned.erofs")
    Child(compare, point, "v1", "sorted", 5).succeed()
    nginx.kill()
    worker = daemon.worker()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: daemon.workers() and daemon.worker() != worker, "a new worker", 10)
    drop_caches()
    Child(compare, point, "v1", "sorted", 5).succeed()
    reader = Child(compare, point, "v1")
    time.sleep(1)
    expect(not reader.ended(), "what is missing did not wait")
    publish("v2")
    nginx.start()
    answer = reader.answer()
    expect(f"[Errno {errno.EIO}]" in answer, f"no EIO but: {answer}")
    drop_caches()
    Child(compare, point, "v1", "sorted", 5).succeed()
    umount(point)
    visit("v2")
    daemon.stop()


def publish_more(count):
    """The same image under several names; returns its size."""
    for number in range(1, count + 1):
        shutil.copy("v1.erofs", f"www/more{number}")
    return os.path.getsize("v1.erofs")


def look_into(number, umounts=True):
    point = mount(f"more{number}")
    Child(compare, point, "v1", "random").succeed()
    if umounts:
        umount(point)
    return point


def cached(daemon, numbers=range(1, 9)):
    """Which of them have a file in the cache."""
    return [number for number in numbers if linked(daemon, f"more{number}")]


@scenario("budget: the images that were not used for longest go, with what is remembered of them; none in use")
def budget():
    size = publish_more(6)
    daemon = Daemon(URL, f"budget {2 * size + size // 2}", "user nobody", f"status {RUN}/budget.status")
    for number in 1, 2:
        look_into(number)
    eventually(lambda: cached(daemon) == [1, 2], "two are in the cache")
    look_into(1)
    look_into(3)
    eventually(lambda: cached(daemon) == [1, 3], "the second, which was not used for longest, is gone", 10)
    eventually(lambda: len(remembered(daemon)) == 2, "nothing is remembered of it", 10)
    eventually(lambda: not glob.glob(f"{daemon.directory}/cache/I*more2"), "its folders are gone", 10)
    point = look_into(1, umounts=False)
    for number in 4, 5:
        look_into(number)
        eventually(lambda: cached(daemon) == [1, number], f"only 1, which is in use, and {number}", 10)
    start = nginx.mark()
    drop_caches()
    Child(compare, point, "v1").succeed()
    expect(nginx.sent(start) == 0, "an image in use was not left alone")
    two = look_into(5, umounts=False)
    look_into(6)
    eventually(lambda: cached(daemon) == [1, 5], "the one just used goes, if the others are in use", 10)
    three = look_into(6, umounts=False)
    umount(point)
    umount(two)
    umount(three)
    eventually(lambda: len(cached(daemon)) == 2, "two are left", 10)
    look_into(2)
    culls = exposition.Metrics(exposition.ask(f"{RUN}/budget.status"))["culls_total"]
    expect(culls == len(re.findall(": culled, ", daemon.log())) >= 4, f"{culls} are counted")
    daemon.stop()
    eventually(device_free, "the device is free", 2)


@scenario("-N: nothing is culled, and the log says what is too much")
def nocull():
    size = publish_more(3)
    daemon = Daemon(URL, f"budget {size}", options=("-N",))
    for number in 1, 2, 3:
        look_into(number)
    daemon.logs("budget: .* too many, and nothing may be culled", 10)
    expect(cached(daemon) == [1, 2, 3], f"left: {cached(daemon)}")
    daemon.stop()


@scenario("culling never leaves the cache: links to elsewhere, odd names, folders; the graveyard is emptied")
def cull_confined():
    size = publish_more(2)
    directory = f"{RUN}/../disk/confined"
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(f"{directory}/outside/@00")
    victims = [f"{directory}/outside/@00/Dvictim", f"{directory}/outside/Dvictim", f"{directory}/Dvictim"]
    for victim in victims:
        with open(victim, "wb") as file:
            file.write(bytes(1 << 20))
        os.utime(victim, (1, 1))
    os.makedirs(f"{directory}/graveyard/1234/@00/deep/deeper")
    for path in "loose", "1234/@00/Dfile", "1234/@00/deep/deeper/file":
        with open(f"{directory}/graveyard/{path}", "w") as file:
            file.write("buried")
    os.symlink("../outside", f"{directory}/graveyard/link")
    daemon = Daemon(URL, f"budget {size}", directory=directory)
    os.symlink("../outside", f"{directory}/cache/Ierofs,outside")
    os.makedirs(f"{directory}/cache/Ierofs,odd/@00")
    os.symlink("../../outside", f"{directory}/cache/Ierofs,odd/@01")
    os.symlink("../../../outside/Dvictim", f"{directory}/cache/Ierofs,odd/@00/Dlink")
    os.mkdir(f"{directory}/cache/Ierofs,odd/@00/Dfolder")
    with open(f"{directory}/cache/Ierofs,odd/@00/D\nx", "w") as file:
        file.write("x")
    for number in 1, 2:
        look_into(number)
    eventually(lambda: cached(daemon) == [2], "the first is gone", 10)
    eventually(lambda: os.listdir(f"{directory}/graveyard") == [], "the graveyard is empty", 10)
    for victim in victims:
        expect(os.path.exists(victim), f"{victim} is gone")
    daemon.stop()
    shutil.rmtree(directory)


@scenario("the disk is full: unused images go; then readers get EIO, the log says how much is missing, and when "
          "there is room all goes on", True)
def full():
    publish_more(2)
    daemon = Daemon(URL, "brun 30%", "bcull 20%", "bstop 10%")
    for number in 1, 2:
        look_into(number)
    point = mount("plain.erofs")
    os.listdir(point)
    space = os.statvfs("/run/disk")
    keep = space.f_blocks * 9 // 100
    filler = f"{daemon.directory}/filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, (space.f_bavail - keep) * space.f_frsize)
    try:
        answer = Child(compare, point, "plain").answer()
        expect(f"[Errno {errno.EIO}]" in answer, f"no EIO but: {answer}")
        eventually(lambda: cached(daemon) == [], "what is not in use is culled", 10)
        daemon.logs("the cache is full: .* bytes are missing, and all images are in use", 10)
        daemon.logs("plain.erofs: cannot write to the cache: less space is free than bstop demands")
        daemon.alive()
    finally:
        os.unlink(filler)
    some_right(point)
    umount(point)
    daemon.stop()


def prime(daemon, *names):
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", *names)
    expect(status == 0 and not output, f"--prime: status {status}: {output}")


def linked(daemon, name):
    """The image's file in the cache, with its name."""
    return glob.glob(f"{daemon.directory}/cache/I*/@*/D{name}")


@scenario("--prime: the cache file is in its place before the first session, and that session goes into it",
          True)
def primed():
    daemon = Daemon(URL)
    point = mount("second.erofs")
    expect(not linked(daemon, "second.erofs"), "this kernel links new files at once: --prime has no use")
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "second.erofs")
    expect(status == 1 and "is mounted" in output, f"--prime of a mounted image: {status}, {output}")
    umount(point)
    start = nginx.mark()
    prime(daemon, "plain.erofs", "shared1.erofs,domain_id=dom,device=shared.blob")
    for name in "plain.erofs", "shared1.erofs", "shared.blob":
        expect(linked(daemon, name), f"{name} is not in its place")
    point = mount("plain.erofs")
    all_right(point, "plain")
    path, = linked(daemon, "plain.erofs")
    cached, size = os.stat(path).st_blocks * 512, os.path.getsize("www/plain.erofs")
    expect(cached >= size, f"only {cached} of {size} bytes are in the file that lasts")
    umount(point)
    one = mount("shared1.erofs", ",domain_id=dom,device=shared.blob")
    all_right(one, "second")
    umount(one)
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "no-such.erofs", "plain.erofs")
    expect(status == 1 and re.search("no-such.erofs: .*log", output) and "plain" not in output,
           f"--prime of a missing image: {status}, {output}")
    daemon.stop()
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "plain.erofs")
    expect(status == 1 and "not there" in output, f"--prime without a daemon: {status}, {output}")


# ---- the guest is cut off -----------------------------------------------------------------------
# Scenarios of test/guest/test_cut.py: each runs in a boot of its own, on a disk that outlives it.

CUT_DIRECTORY = "/run/disk/cut"


def cut():
    """Ends this kernel and all in it now."""
    print("guest: cut", flush=True)
    time.sleep(LIMIT)


def read_pieces(point):
    return Child(compare, point, "plain", "random")


def read_big(point):
    return Child(compare_big, point)


def read_and_cut(*directives):
    daemon = Daemon(URL, *directives, directory=CUT_DIRECTORY)
    expect(linked(daemon, "plain.erofs"), "the cache file is not there any more")
    point = mount("plain.erofs")
    readers = [[start, start(point)] for start in (read_pieces, read_big)]
    program("mount", "-o", "remount,commit=1", "/run/disk")   # its journal is written every second
    end = time.monotonic() + random.uniform(0.2, 8)
    while time.monotonic() < end:
        for reader in readers:
            if reader[1].ended():
                reader[1].succeed()
                drop_caches()
                reader[1] = reader[0](point)
        time.sleep(0.02)
    cut()


@scenario("a new cache, primed, cut off while it is filled", series=())
def cut_first():
    shutil.rmtree(CUT_DIRECTORY, ignore_errors=True)
    daemon = Daemon(URL, directory=CUT_DIRECTORY)
    prime(daemon, "plain.erofs")
    daemon.stop()
    read_and_cut()


@scenario("cut off again while the rest is fetched", series=())
def cut_again():
    read_and_cut("prefetch all")


@scenario("all bytes are compared, then again from the disk; a cut some seconds later", series=())
def cut_compare():
    daemon = Daemon(URL, directory=CUT_DIRECTORY)
    start = nginx.mark()
    point = mount("plain.erofs")
    for _ in range(2):
        all_right(point, "plain")
        drop_caches()
    note(f"{nginx.sent(start)} bytes of {os.path.getsize('www/plain.erofs')} had to be fetched")
    time.sleep(7)                       # ext4 writes its journal every 5 s, if nothing else is said
    cut()


@scenario("all of it is still there", series=())
def cut_kept():
    daemon = Daemon(URL, directory=CUT_DIRECTORY)
    start = nginx.mark()
    point = mount("plain.erofs")
    all_right(point, "plain")
    fetched = nginx.sent(start)
    expect(fetched <= PROBE, f"{fetched} bytes had to be fetched again")
    umount(point)
    daemon.stop()


# ---- running them -----------------------------------------------------------------------------


def kill_orphans():
    """Ends every process of the daemon. Keepers go first: nothing starts a worker then."""
    pids = []
    for comm in glob.glob("/proc/[0-9]*/comm"):
        pid = int(comm.split("/")[2])
        with contextlib.suppress(OSError):
            if os.path.basename(DAEMON) in os.path.basename(os.readlink(f"/proc/{pid}/exe")) or \
                    DAEMON in contents(f"/proc/{pid}/cmdline").split("\0")[:2]:
                pids.append(pid)
    for pid in sorted(pids):
        with contextlib.suppress(ProcessLookupError):   # it went with its keeper
            os.kill(pid, signal.SIGKILL)


def clean_up():
    """Ends what a scenario left. The daemon goes first: with it all that waits for it fails."""
    kill_orphans()
    eventually(device_free, "the device is free again", 10)
    for line in reversed(contents("/proc/mounts").splitlines()):
        if line.split()[2] == "erofs":
            ctypes.CDLL(None).umount2(line.split()[1].encode(), 2)      # MNT_DETACH
    for directory in glob.glob("/run/disk/[0-9]*"):
        shutil.rmtree(directory, ignore_errors=True)


def device_free():
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/cachefiles", os.O_RDWR))
        return True
    return False


def run(title, function, kernel_may_complain, kernel_log):
    """One scenario in an orderly world: nginx runs, no daemon, no mount. True if it passed."""
    nginx.kill()
    nginx.start()
    kernel_log.news()
    logs = Daemon.count
    start = time.monotonic()
    problem = None
    try:
        function()
    except Failed as failure:
        problem = str(failure)
    except Exception:
        problem = traceback.format_exc()
    complaints = kernel_log.news()
    if not problem and complaints and not kernel_may_complain:
        problem = "the kernel complains"
    took = time.monotonic() - start
    print(f"{'not ok' if problem else 'ok'} - {SERIES}: {title} ({took:.1f} s)", flush=True)
    if problem:
        report(problem, complaints, range(logs + 1, Daemon.count + 1))
    nginx.kill()
    clean_up()
    return not problem


def report(problem, complaints, daemons):
    for line in problem.splitlines():
        note(line)
    for line in complaints[-20:]:
        note(f"kernel: {line}")
    for number in daemons:
        for line in contents(f"{RUN}/daemon.{number}.log").splitlines()[-30:]:
            note(f"daemon {number}: {line}")


def main():
    os.makedirs(RUN)
    kernel_log = KernelLog()
    results = [run(title, function, may, kernel_log) for title, function, may in SCENARIOS]
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
