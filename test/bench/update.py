#!/usr/bin/python3
"""What an update costs: test/bench/update.py [--rounds N] [--front cachefiles|nbd] [--no-boots] [DAEMON]

Makes two builds of a Debian root, once (builds.py; needs root). Reads all of both, the second one from the cache of the
first, by block devices of the stand-in. Boots them in a guest, with each front end. Prints lines `ok` or `MISSED` for
the bars and tables in Markdown; exits with 1 if a bar is missed.
"""
import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[0] = os.path.dirname(HERE)      # test/

from bench import builds
from bench.contenders import process_cost
from lib import certs, guest
from lib.nbd import Nbd
from scenarios import nbd_update
from scenarios.common import Program, Server, choose_folder

SERIES = "6.12"
LINK = {"rtt": 20, "rate": 100_000_000, "loss": 0}
MEMORY, DISK = 2048, 2048       # MiB: both images lie in the guest's tmpfs, and a cache of both on its disk
TIMEOUT, SILENCE, LIMIT = 5400, 900, 600     # seconds: a guest; one that says nothing; the copying
FRONTS = ("cachefiles", "nbd")
# Boots in the order of the table: name -> title.
WITHOUT = {"first": "first build, empty cache", "update": "second build, behind that"}
TRACED = {"first, trace": "first build, empty cache, trace", "update, trace": "second build behind that, carried trace",
          "again, trace": "second build once more"}
SAME_PROGRAMS, WHOLE_IMAGE = 0.33, 1.12


def say(text):
    print(text, file=sys.stderr, flush=True)


class Front:
    """The boots with one front end: name -> the facts of each round."""

    def __init__(self, name):
        self.name, self.boots, self.is_done = name, {}, False

    def take(self, line):
        if not line.startswith("bench {"):
            say(f"  guest: {line}")
            return
        fact = json.loads(line[len("bench "):])
        kind = fact.pop("kind")
        if kind == "boot":
            say(f"  {fact['name']}: {fact['seconds']:.2f} s, {fact['wire'] / 1e6:.1f} MB; {fact['sent'] / 1e6:.1f} MB "
                f"after {fact['all_seconds']:.1f} s")
            self.boots.setdefault(fact.pop("name"), []).append(fact)
        self.is_done |= kind == "done"

    def all(self, name, key):
        return [facts[key] for facts in self.boots[name]]

    def median(self, name, key):
        return statistics.median(self.all(name, key))

    def span(self, name, key):
        values = self.all(name, key)
        return f"{min(values):.2f} to {max(values):.2f}"


def read_all(server, devices, folder, number, after=None):
    """All of a build is read, checked, and fetched or copied. Returns the stand-in, for the next one, and the facts."""
    name, start, mark = f"debian-{number}.erofs", time.monotonic(), len(server.requests)
    with open(f"{folder}/{name}", "rb") as file:
        data = file.read()
    with nbd_update.session(server, devices, data, name, **({"after": after} if after else {})) as (k, device):
        nbd_update.read_all(device, data)
        if after:
            k.wait_log("came from the version before: all that both have", LIMIT)
        seconds = time.monotonic() - start
        costs = [process_cost(pid) for pid in (k.process.pid, k.worker)]
    return k, {"seconds": seconds, "sent": nbd_update.sent(server, name, mark), "cpu": sum(cpu for cpu, _ in costs),
               "rss": max(rss for _, rss in costs)}


def whole(daemon, folder):
    """The facts of both builds, read as a whole."""
    say("== all of both builds")
    Program.path = daemon
    choose_folder()
    with Nbd() as devices, Server() as server:
        k, first = read_all(server, devices, folder, 1)
        return first, read_all(server, devices, folder, 2, k)[1]


def measure(front, options, images, work):
    say(f"== {front}: {options.rounds} rounds")
    result = Front(front)
    job = {"work": work, "images": images, "daemon": options.daemon, "front": front, "rounds": options.rounds,
           "link": LINK}
    with open(f"{work}/job.json", "w") as file:
        json.dump(job, file)
    guest.run(SERIES, work, ["/usr/bin/python3", f"{HERE}/update_guest.py", file.name], memory=MEMORY, timeout=TIMEOUT,
              disk=DISK, line_to=result.take, silence=SILENCE)
    if not result.is_done:
        sys.exit(f"update: the guest with {front} did not come to its end")
    return result


def bar(ok, text):
    print(f"    {'ok' if ok else 'MISSED'} - {text}")
    return ok


def bars(result, facts):
    """Prints the bars of one front end. Returns whether all hold."""
    first, update = (result.median(name, "wire") for name in WITHOUT)
    good = [bar(update <= SAME_PROGRAMS * first,
                f"{result.name}: bytes until the same programs have run: at most 33 % of the first build's: "
                f"{update / 1e6:.1f} of {first / 1e6:.1f} MB, {100 * update / first:.1f} %")]
    base, *others = TRACED
    for name in others:
        good.append(bar(result.median(name, "seconds") <= result.median(base, "seconds"),
                        f"{result.name}: {TRACED[name]}: no longer than the first with a trace, "
                        f"{result.median(base, 'seconds'):.2f} s ({result.span(base, 'seconds')}): "
                        f"{result.median(name, 'seconds'):.2f} s ({result.span(name, 'seconds')})"))
    return all(good)


def whole_bar(first, update, facts):
    least = facts["differ"] + facts["trees"][1]
    good = bar(update["sent"] <= WHOLE_IMAGE * least,
               "the whole second build: at most 1.12 times the bytes that differ and the tree: "
               f"{update['sent'] / 1e6:.1f} MB for {least / 1e6:.1f}, {update['sent'] / least:.3f}")
    print("\n| all of it | MB fetched | seconds | CPU seconds | peak RSS, kB |\n|---|---:|---:|---:|---:|")
    for title, fact in ("the first build", first), ("the second, behind that", update):
        print(f"| {title} | {fact['sent'] / 1e6:.1f} | {fact['seconds']:.1f} | {fact['cpu']:.2f} | {fact['rss']} |")
    return good


def table(result):
    print(f"\n| {result.name} | seconds (least to most) | MB on the wire until then | MB of image and tree in all "
          "| CPU seconds until then / in all | peak RSS, kB |\n|---|---:|---:|---:|---:|---:|")
    for name, title in {**WITHOUT, **TRACED}.items():
        if name in result.boots:
            median = {key: result.median(name, key) for key in result.boots[name][0]}
            print(f"| {title} | {median['seconds']:.2f} ({result.span(name, 'seconds')}) | {median['wire'] / 1e6:.1f} "
                  f"| {median['sent'] / 1e6:.1f} | {median['cpu']:.2f} / {median['cpu_all']:.2f} | {median['rss']} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--front", choices=FRONTS, help="only this one")
    parser.add_argument("--no-boots", action="store_true", help="only all of both builds")
    parser.add_argument("daemon", nargs="?", default=f"{guest.ROOT}/cachefilesd-mini")
    options = parser.parse_args()
    options.daemon = guest.program(options.daemon)
    images = builds.make(options.daemon)
    facts, load = builds.describe(images), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        certs.make_ca(work)
        certs.make_server(work, "ec")
        both = whole(options.daemon, images)
        fronts = [] if options.no_boots else [options.front] if options.front else FRONTS
        results = [measure(front, options, images, work) for front in fronts]
    size, new = (n / 1e6 for n in facts["sizes"])
    print(f"{datetime.date.today()}, {options.rounds} rounds, load of the machine {load:.1f} to "
          f"{os.getloadavg()[0]:.1f}. Builds of {size:.1f} and {new:.1f} MB, {facts['packages']} packages, of which "
          f"{facts['changed']} are newer in the second; {facts['differ'] / 1e6:.1f} MB of its blocks, "
          f"{facts['differ'] / new / 1e4:.1f} %, are new. Its tree has {facts['trees'][1] / 1e6:.1f} MB.\n")
    good = [whole_bar(*both, facts), *(bars(result, facts) for result in results)]
    for result in results:
        table(result)
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
