#!/usr/bin/python3
"""A server that misbehaves, and the daemon in a real kernel: test/client/hostile/guest.py [SERIES [DAEMON]]

Boots the test kernel (6.12 unless named), mounts a small EROFS image for each of some misbehaviours, lets
them begin, and reads: right bytes or EIO, never others, in bounded time. Then mounts an image over a
network that loses, reorders and duplicates packets. Prints TAP. Needs no root.

(In the guest it runs itself again, as root, with a third argument.)
"""
import errno
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))     # test/

from client.hostile import misbehaviours
from guest import test_guest
from lib import guest
from client.hostile.server import Server, Version, make_data

TIMEOUT = 150
BOUND = 20                      # seconds for all reads of an image, the client's time-out being 3
AT_A_TIME = 6                   # the guest has one processor
NETWORK_BOUND = 60
IMAGE, LOSSY = "small.erofs", "lossy.erofs"

# What misbehaves once the image is mounted, by its name in the table.
CHOSEN = (
    "200 to later ranges", "206 of a later range, always", "206 of less than asked",
    "multipart of the right length", "ETag changes, If-Range honoured", "ETag changes, If-Range ignored",
    "weak ETag changes", "it is shorter now", "body cut once after 2^n bytes", "body longer than promised",
    "status 503, once", "status 503", "gzip, forced, always", "captive portal later",
    "signed URL expires, 403", "stall before the head, always", "stall in the body, always",
    "reset in the body, once", "closed after each answer", "closed at the second request",
    "answers swapped", "two answers glued", "chunked 206")


# ---- on the host --------------------------------------------------------------------------------

def make_image(work, name, sizes):
    """An image of files with these sizes, and what is in it as NAME.json."""
    tree = f"{work}/tree"
    os.makedirs(f"{tree}/more")
    for number, size in enumerate(sizes):
        with open(f"{tree}/{'more/' * (number % 2)}{number}", "wb") as file:
            file.write(make_data(f"{name} {number}", size))
    with open(f"{work}/{name}.json", "w") as file:
        json.dump(test_guest.describe(tree), file)
    test_guest.mkfs(f"{work}/{name}", tree)
    subprocess.run(["rm", "-r", tree], check=True)


def main():
    series = sys.argv[1] if len(sys.argv) > 1 else "6.12"
    daemon = os.path.realpath(sys.argv[2] if len(sys.argv) > 2 else f"{HERE}/../../../cachefilesd-mini")
    with tempfile.TemporaryDirectory(prefix="hostile.") as work:
        test_guest.make_ca(work, "ca")
        test_guest.make_certificate(work, "ec", test_guest.EC)
        make_image(work, IMAGE, [0, 1, 150000, 5000, 4096, 4097, 60000, 100001])
        make_image(work, LOSSY, [4 << 20, 100000, 5000, 1 << 20])
        status = guest.run(series, work, [sys.executable, os.path.abspath(__file__), series, daemon, "inside"],
                           timeout=TIMEOUT, line_to=lambda line: print(line, flush=True))
    if status not in (0, 1):
        print(f"not ok - hostile, {series}: the guest ended with {status}")
    return 1 if status else 0


# ---- in the guest -------------------------------------------------------------------------------

class Router(Server):
    """One port for all: gives each request to the server of the misbehaviour that its path names."""

    def __init__(self, sites):
        self.sites = sites
        super().__init__(misbehaviours.FINE, Version(b""))

    def reply(self, request):
        site = self.sites[request.target.strip("/")]
        request.give_to(site)
        site.reply(request)


def read_all(point, image):
    """Reads until the end or EIO. A byte that is wrong, or another error, is an exception."""
    with open(f"{image}.json") as file:
        entries = sorted(json.load(file).items())
    try:
        for path, (kind, value) in entries:
            if g.seen(f"{point}/{path}", kind) != value:
                return f"WRONG: {path} differs"
    except OSError as problem:
        return "EIO" if problem.errno == errno.EIO else f"{problem}"
    return "right"


class Reader(threading.Thread):
    """read_all() in a thread: one that hangs is left behind. (A fork of all this takes a second here.)"""

    def __init__(self, point, image):
        super().__init__(daemon=True)
        self.point, self.image, self.answer = point, image, None
        self.start()

    def run(self):
        try:
            self.answer = read_all(self.point, self.image)
        except BaseException as problem:
            self.answer = f"{type(problem).__name__}: {problem}"

    def within(self, seconds):
        self.join(seconds)
        return self.answer or f"HANG: not over after {seconds} s"


def site_name(case):
    return "".join(c if c.isalnum() else "-" for c in case.name)


def judge(case, answer, seconds, site):
    """None, or what is wrong."""
    if not site.misbehaved:
        return "it was never asked what it does wrong"
    if answer not in ("right", "EIO"):
        return answer
    if answer == "right" and misbehaviours.RIGHT not in case.expect:
        return f"all bytes are right, but it should be an error ({', '.join(case.expect)})"
    if answer == "EIO" and case.expect == {misbehaviours.RIGHT}:
        return f"EIO after {seconds:.1f} s, but all bytes should have come"
    return None


def told(wrong, name, detail=""):
    print(f"{'not ok' if wrong else 'ok'} - hostile, {g.SERIES}: {name}{': ' if detail else ''}{detail}", flush=True)
    if wrong:
        g.note(wrong)
    return bool(wrong)


def read_each(sites, points):
    """Lets each site misbehave and reads its image, some at a time. name -> (answer, seconds)."""
    waiting, running, results = list(sites), {}, {}
    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            name = waiting.pop(0)
            sites[name].arm()
            running[name] = Reader(points[name], IMAGE), time.monotonic()
        for name, (reader, start) in list(running.items()):
            took = time.monotonic() - start
            if reader.answer or took > BOUND:
                results[name] = reader.answer or f"HANG: not over after {BOUND} s", took
                del running[name]
        time.sleep(0.01)
    return results


def misbehave():
    """Each misbehaviour with an image of its own, all of one daemon. The number that went wrong."""
    with open(IMAGE, "rb") as file:
        data = file.read()
    by_name = {case.name: case for case in misbehaviours.CASES}
    cases = {site_name(by_name[name]): by_name[name] for name in CHOSEN}
    sites = {name: Server(case, case.version.but(data=data), variant=12, armed=False)
             for name, case in cases.items()}
    with Router(sites) as router:
        daemon = g.Daemon(router.url("/"), "timeout 3", "connections 16", options=["--force"])
        points = {name: g.mount(name) for name in sites}
        results = read_each(sites, points)
        failed = 0
        for name, case in cases.items():
            answer, took = results[name]
            failed += told(judge(case, answer, took, sites[name]), f"{case.name} ({case.description})",
                           f"{answer}, {took:.1f} s")
        failed += told(recover(cases, sites, points, results),
                       "a server that behaves again serves the same mounts again")
        daemon.alive()
        if failed:
            for line in daemon.log().splitlines()[-80:]:
                g.note(line)
        daemon.stop()           # clean_up() unmounts faster than umount(8), one by one
    return failed


def recover(cases, sites, points, results):
    """Reads all again, after EIO. None, or what is wrong. A changed image stays an error."""
    for site in sites.values():
        site.disarm()
    for name, case in cases.items():
        if results[name][0] != "EIO":
            continue
        wanted = "EIO" if misbehaviours.CHANGED in case.expect and case.name != "captive portal later" else "right"
        start = time.monotonic()
        while (answer := Reader(points[name], IMAGE).within(BOUND)) != wanted:
            if answer.startswith("WRONG") or time.monotonic() - start > 10:
                return f"{case.name}: {answer}, not {wanted}"
    return None


def lossy_network():
    """5 % of the packets are lost, 5 % reordered, 2 % sent twice: right checksums. The number that failed."""
    with open(LOSSY, "rb") as file:
        version = Version(file.read())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("ec.pem", "ec.key")
    failed = 0
    for case, kind in (misbehaviours.FINE, "HTTP"), (misbehaviours.FINE_TLS, "HTTPS"):
        with Server(case, version, context) as server:
            daemon = g.Daemon(server.url("/"), g.CA, "timeout 30")
            start = time.monotonic()
            answer = Reader(g.mount(LOSSY), LOSSY).within(NETWORK_BOUND)
            took = time.monotonic() - start
            g.umount(f"{g.RUN}/mnt/{LOSSY}")
            failed += told(answer != "right" and answer,
                           f"{kind} over a network with 5 % loss, reordering, duplicates",
                           f"{len(version.data)} bytes, {server.requests} requests, {took:.1f} s")
            daemon.stop()
    return failed


def inside():
    global g
    from guest import inside as g                     # takes SERIES and DAEMON from the command line
    os.makedirs(g.RUN)
    failed = 0
    for part, network in (misbehave, None), (lossy_network, "delay 5ms loss 5% reorder 5% duplicate 2%"):
        try:
            if network:
                subprocess.run(f"tc qdisc add dev lo root netem {network}".split(), check=True)
            failed += part()
        except Exception as problem:
            failed += told(f"{type(problem).__name__}: {problem}", part.__name__)
        g.clean_up()
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) == 4:
        os._exit(inside())      # whatever threads are left
    sys.exit(main())
