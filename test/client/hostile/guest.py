#!/usr/bin/python3
"""A server that misbehaves, and the daemon in a real kernel: test/client/hostile/guest.py [SERIES [DAEMON]]

Boots the test kernel (6.12 by default) and mounts a small EROFS image for each of some misbehaviours. Then they begin,
and readers have to get right bytes or EIO, in bounded time. At last an image is mounted over a network that loses,
reorders and duplicates packets. Prints TAP. Needs no root.

In the guest this program runs again, as root, with a third argument.
"""
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))     # test/
from client.hostile import table
from client.hostile.server import Server, Version, make_data
from guest import prepare
from lib import certs, find, guest, tap

find.load("client/hostile/misbehaviours")

TIMEOUT, SILENCE = 600, 150     # seconds, of the guest, and without a word
BOUND = 20                      # seconds for all reads of an image; the client's time-out is 3
AT_A_TIME = 6                   # the guest has one processor
NETWORK_BOUND = 60
IMAGE, LOSSY = "small.erofs", "lossy.erofs"

# The misbehaviours that begin once the image is mounted, by their names in the table.
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
    """Makes an image of files with these sizes, and NAME.json with its contents."""
    tree = f"{work}/tree"
    os.makedirs(f"{tree}/more")
    for number, size in enumerate(sizes):
        with open(f"{tree}/{'more/' * (number % 2)}{number}", "wb") as file:
            file.write(make_data(f"{name} {number}", size))
    prepare.describe_and_make(work, name, tree, f"{work}/{name}")
    shutil.rmtree(tree)


def main():
    series = sys.argv[1] if len(sys.argv) > 1 else "6.12"
    daemon = guest.program(sys.argv[2] if len(sys.argv) > 2 else f"{guest.ROOT}/cachefilesd-mini")
    with tempfile.TemporaryDirectory(prefix="hostile.") as work:
        certs.make_ca(work)
        certs.make_server(work, "ec")
        make_image(work, IMAGE, [0, 1, 150000, 5000, 4096, 4097, 60000, 100001])
        make_image(work, LOSSY, [4 << 20, 100000, 5000, 1 << 20])
        status = guest.run(series, work, [sys.executable, os.path.abspath(__file__), series, daemon, "cachefiles"],
                           timeout=TIMEOUT, silence=SILENCE)
    if status not in (0, 1):
        tap.result(f"hostile, {series}: the guest", f"it ended with {status}")
    return 1 if status else 0


# ---- in the guest -------------------------------------------------------------------------------

class Router(Server):
    """One port for all misbehaviours. A request goes to the server of the one that its path names."""

    def __init__(self, sites):
        self.sites = sites
        super().__init__(table.FINE, Version(b""))

    def reply(self, request):
        site = self.sites.get(request.target.strip("/"))
        if not site:        # a boot trace: there is none
            return request.page("404 Not Found")
        request.give_to(site)
        return site.reply(request)


def read_all(point, image):
    """Compares all files until EIO. Returns "right", "EIO", or the failure."""
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
    """read_all() in a thread, which is left behind if it hangs. A fork of this process would take a second."""

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
    """Returns the failure, or None."""
    if not site.misbehaved:
        return "it was never asked what it does wrong"
    if answer not in ("right", "EIO"):
        return answer
    if answer == "right" and table.RIGHT not in case.expect:
        return f"all bytes are right, but it should be an error ({', '.join(case.expect)})"
    if answer == "EIO" and case.expect == {table.RIGHT}:
        return f"EIO after {seconds:.1f} s, but all bytes should have come"
    return None


def tell(wrong, name, detail=""):
    tap.result(f"hostile, {g.SERIES}: {name}{': ' if detail else ''}{detail}", wrong)


def read_each(sites, points):
    """Lets each site misbehave and reads its image, AT_A_TIME of them. Returns name -> (answer, seconds)."""
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
    """Each misbehaviour with an image of its own; one daemon serves all."""
    with open(IMAGE, "rb") as file:
        data = file.read()
    by_name = {case.name: case for case in table.CASES}
    cases = {site_name(by_name[name]): by_name[name] for name in CHOSEN}
    sites = {name: Server(case, case.version.but(data=data), variant=12, armed=False)
             for name, case in cases.items()}
    with Router(sites) as router:
        daemon = g.Daemon(router.url("/"), "timeout 3", "connections 16", options=["--force"])
        points = {name: g.mount(name) for name in sites}
        results = read_each(sites, points)
        for name, case in cases.items():
            answer, took = results[name]
            tell(judge(case, answer, took, sites[name]), f"{case.name} ({case.description})", f"{answer}, {took:.1f} s")
        tell(recover(cases, sites, points, results), "a server that behaves again serves the same mounts again")
        daemon.alive()
        if tap.failures:
            tap.note("\n".join(daemon.log().splitlines()[-80:]))
        daemon.stop()           # clean_up() unmounts all faster than umount(8) would one by one


def recover(cases, sites, points, results):
    """Reads again after EIO. Returns the failure, or None. A changed image stays an error."""
    for site in sites.values():
        site.disarm()
    for name, case in cases.items():
        if results[name][0] != "EIO":
            continue
        wanted = "EIO" if table.CHANGED in case.expect and case.name != "captive portal later" else "right"
        start = time.monotonic()
        while (answer := Reader(points[name], IMAGE).within(BOUND)) != wanted:
            if answer.startswith("WRONG") or time.monotonic() - start > 10:
                return f"{case.name}: {answer}, not {wanted}"
    return None


def lossy_network():
    """5 % of the packets are lost, 5 % reordered, 2 % sent twice: the checksums are right."""
    with open(LOSSY, "rb") as file:
        version = Version(file.read())
    context = certs.server_context(".", "ec")
    for case, kind in (table.FINE, "HTTP"), (table.FINE_TLS, "HTTPS"):
        with Server(case, version, context) as server:
            daemon = g.Daemon(server.url("/"), g.CA, "timeout 30")
            start = time.monotonic()
            answer = Reader(g.mount(LOSSY), LOSSY).within(NETWORK_BOUND)
            took = time.monotonic() - start
            g.umount(f"{g.RUN}/mnt/{LOSSY}")
            tell(answer != "right" and answer, f"{kind} over a network with 5 % loss, reordering, duplicates",
                 f"{len(version.data)} bytes, {server.requests} requests, {took:.1f} s")
            daemon.stop()


def inside():
    global g
    from guest import common as g       # it takes SERIES and DAEMON from the command line
    os.makedirs(g.RUN)
    for part, network in (misbehave, None), (lossy_network, "delay 5ms loss 5% reorder 5% duplicate 2%"):
        try:
            if network:
                subprocess.run(f"tc qdisc add dev lo root netem {network}".split(), check=True)
            part()
        except Exception as problem:
            tell(f"{type(problem).__name__}: {problem}", part.__name__)
        g.clean_up()
    return tap.status()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        os._exit(inside())      # threads may be left
    sys.exit(main())
