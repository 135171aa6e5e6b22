#!/usr/bin/python3
"""The bench: test/bench/run.py [OPTIONS] [DAEMON]

Compares the daemon with the programs that users might pick instead: all contenders side by side in a guest (user-mode
Linux 6.12) for each link and scheme, and `--get` with curl on this machine. Prints tables in Markdown and lines `ok` or
`MISSED` for the bars, and draws pictures. By default a whole bench writes them to docs/, one that is narrowed by
options to build/bench.
"""
import argparse
import contextlib
import datetime
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/

from bench import contenders, get, image, plot, report, workloads
from lib import certs, guest

SERIES = "6.12"
MEMORY = 1024           # MiB: the image lies in the guest's tmpfs
CACHED_ROUNDS = 5
ATTEMPTS = 3            # boots in a row that bring nothing
SILENCE = 120           # seconds without a word, beyond the limit of a run: the guest hangs

# Round trip in ms, bits a second, loss in percent; the limit of a run in seconds. For each scheme: the
# contenders, their rounds, and the time of all in seconds.
ALL = [kind.name for kind in contenders.ALL]
MOST = [name for name in ALL if name not in ("httpdirfs", "rclone")]
FEW = ["ours", "ours trace", "ours nbd", "nbdkit", "download"]
QUICK = ["ours", "ours trace", "ours nbd", "ours nbd trace", "nbdkit"]
LINKS = {
    "20ms": {"rtt": 20, "rate": 100_000_000, "loss": 0, "limit": 45,
             "http": (ALL, {"ours": 5, "peers": 5}, 2700),
             "https": (MOST, {"ours": 5, "peers": 3}, 480)},
    "2ms": {"rtt": 2, "rate": 1_000_000_000, "loss": 0, "limit": 45,
            "http": (MOST, {"ours": 3, "peers": 1}, 300)},
    "100ms": {"rtt": 100, "rate": 20_000_000, "loss": 1, "limit": 60,
              "http": (FEW, {"ours": 3, "peers": 1}, 480)},
}
MAIN = "20ms"
SCHEMES = ("http", "https")
PACKAGES = ("nginx", "nbdkit", "nbd-client", "httpdirfs", "rclone", "curl", "erofs-utils", "gnuplot-nox")


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- guests -------------------------------------------------------------------------------------

class Table:
    """The results of one guest, on one link and with one scheme."""

    def __init__(self, job):
        self.job = job
        self.facts = {"check": None, "workloads": {}, "traces": {}, "notes": [], "growth": [], "cached": [],
                      "slow": [], "packed": []}
        self.runs, self.current, self.done = [], None, False
        self.died = []                  # runs in which a guest has died once

    def take(self, line):
        if not line.startswith("bench {"):
            say(f"  guest: {line}")
            return
        fact = json.loads(line[len("bench "):])
        getattr(self, f"take_{fact.pop('kind')}")(fact)

    def take_guest(self, fact):
        self.facts["kernel"] = fact["kernel"]

    def take_link(self, fact):
        self.facts["check"] = fact
        say(f"  the link: {1000 * fact['round_trip']:.1f} ms to connect, "
            f"{fact['rate'] / 1e6:.1f} Mbit/s of payload")

    def take_workload(self, fact):
        self.facts["workloads"][fact.pop("workload")] = fact

    def take_trace(self, fact):
        self.facts["traces"][fact.pop("workload")] = fact

    def take_note(self, fact):
        say(f"  {fact['text']}")
        if fact["text"] not in self.facts["notes"]:
            self.facts["notes"].append(fact["text"])

    def take_growth(self, fact):
        self.facts["growth"].append(fact)

    def take_cached(self, fact):
        self.facts["cached"].append(fact)
        say(f"  {fact['workload']}, {fact['contender']}: {fact['seconds']:.2f} s")

    def take_slow(self, fact):
        self.facts["slow"].append(fact)

    def take_packed(self, fact):
        self.facts["packed"].append(fact)
        say(f"  LZ4, {fact['workload']}: {fact['outcome']}")

    def take_begin(self, fact):
        self.current = fact

    def take_run(self, fact):
        self.current = None
        self.runs.append(fact)
        took = f"{fact['seconds']:.2f} s" if fact["outcome"] == "ok" else fact["outcome"]
        say(f"  {fact['workload']} {fact['round'] + 1} {fact['contender']}: {took}")

    def take_done(self, _):
        self.done = True

    def crashed(self):
        """The run in which a guest died or hung is tried once again, in another guest."""
        if self.current and self.current not in self.died:
            self.died.append(self.current)
            where = "{workload} {round}, {contender}".format_map({**self.current, "round": self.current["round"] + 1})
            self.take_note({"text": f"the guest ended in its middle and another one tried again: {where}"})
        elif self.current:
            self.take_run({**self.current, "outcome": "the guest crashed"})
        self.current = None

    def boot(self, script, timeout):
        """Runs the script in guests until one of them completes it."""
        start, seconds, failures = time.monotonic(), self.job.get("seconds", 0), 0
        passed, silence = 0, self.job["limit"] and self.job["limit"] + SILENCE
        while failures < ATTEMPTS and passed < timeout:
            before = len(self.runs)
            self.job.update(done=self.runs, seconds=seconds - passed)
            path = f"{self.job['work']}/job.json"
            with open(path, "w") as file:
                json.dump(self.job, file)
            guest.run(SERIES, self.job["work"], ["/usr/bin/python3", f"{HERE}/{script}", path],
                      memory=MEMORY, timeout=max(timeout - passed, 60), silence=silence, line_to=self.take)
            if self.done:
                return
            self.crashed()
            failures = 0 if len(self.runs) > before else failures + 1
            passed = time.monotonic() - start

    def result(self):
        return {**{key: self.job[key] for key in ("name", "scheme", "link", "limit")}, **self.facts,
                "runs": self.runs}


def jobs(options, work):
    """The guests' jobs. Only the main link has both schemes, unless an option names one."""
    for name in options.links:
        link = LINKS[name]
        for scheme in options.schemes or [scheme for scheme in SCHEMES if scheme in link]:
            chosen, rounds, seconds = link.get(scheme, link["http"])
            yield {"name": name, "work": work, "daemon": options.daemon, "scheme": scheme,
                   "main": name == MAIN and scheme == "http",
                   "link": {key: link[key] for key in ("rtt", "rate", "loss")},
                   "limit": link["limit"], "workloads": options.workloads, "seconds": seconds,
                   "contenders": options.contenders or chosen, "rounds": options.rounds or rounds}


def in_time(chosen, minutes):
    """The jobs; `minutes`, if given, are shared out among them."""
    scale = 60 * minutes / sum(job["seconds"] for job in chosen) if minutes else 1
    return [{**job, "seconds": job["seconds"] * scale} for job in chosen]


def run_guest(job):
    say(f"== {job['name']}, {job['scheme']}: {len(job['contenders'])} contenders, at most "
        f"{job['seconds'] / 60:.0f} min")
    table = Table(job)
    table.boot("inside.py", job["seconds"] + 3 * job["limit"] + 180)
    return table.result()


def run_without_link(options, work, name, title, timeout, scheme="http"):
    """The facts of a script that needs no slow link."""
    say(f"== {title}")
    table = Table({"name": name, "work": work, "daemon": options.daemon, "scheme": scheme, "link": None,
                   "limit": None, "rounds": 1 if options.quick else CACHED_ROUNDS})
    table.boot(f"{name}.py", timeout)
    return table.result()[name]


# ---- all together -------------------------------------------------------------------------------

def versions():
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES],
                           stdout=subprocess.PIPE, text=True)
    return dict(line.split() for line in shown.stdout.splitlines())


def words(known):
    def parse(text):
        chosen = text.split(",")
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of: {', '.join(known)}")
        return chosen
    return parse


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--links", type=words(LINKS), help=",".join(LINKS))
    parser.add_argument("--http", dest="schemes", action="store_const", const=["http"])
    parser.add_argument("--https", dest="schemes", action="store_const", const=["https"])
    parser.add_argument("--rounds", type=int, help="for all contenders, on all links")
    parser.add_argument("--workloads", type=words(workloads.WORKLOADS), help=",".join(workloads.WORKLOADS))
    parser.add_argument("--contenders", type=words(ALL), help=",".join(ALL))
    parser.add_argument("--minutes", type=float, help="for all guests together, shared as always; when a "
                        "guest's time is over, peers are not asked again")
    parser.add_argument("--quick", action="store_true", help="one round, main link, some contenders and workloads")
    parser.add_argument("--no-get", action="store_true", help="not: --get beside curl")
    parser.add_argument("--no-cached", action="store_true", help="not: reads of what is cached, and a slow disk")
    parser.add_argument("--no-growth", action="store_true", help="not: how cost grows")
    parser.add_argument("--resume", action="store_true", help="keep the guests that bench.json in --output has, if "
                        "it is of this daemon, and run the others")
    parser.add_argument("--redraw", action="store_true", help="from bench.json in --output, without a run")
    parser.add_argument("--output", help="directory for bench.md, bench.json and the pictures")
    parser.add_argument("daemon", nargs="?", default=f"{TOP}/cachefilesd-mini")
    return settle(parser.parse_args())


def settle(options):
    narrowed = options.quick or options.no_get or options.no_growth or options.no_cached or any(
        (options.links, options.schemes, options.rounds, options.workloads, options.contenders))
    options.output = options.output or (f"{TOP}/build/bench" if narrowed else f"{TOP}/docs")
    options.daemon = os.path.realpath(options.daemon)
    if options.quick:
        options.links = options.links or [MAIN]
        options.schemes = options.schemes or ["http"]
        options.rounds = options.rounds or 1
        options.contenders = options.contenders or QUICK
        options.workloads = options.workloads or ["a", "b", "e"]
        options.no_growth = options.no_get = True
    options.links = options.links or list(LINKS)
    options.workloads = options.workloads or list(workloads.WORKLOADS)
    if options.rounds:
        options.rounds = {"ours": options.rounds, "peers": options.rounds}
    return options


@contextlib.contextmanager
def one_processor():
    """Keeps the guest on one processor: user-mode Linux has one, and its processes wake each other faster there."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(everywhere)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


def beginning(options, sizes):
    """The results so far: those in --output, or none."""
    with open(options.daemon, "rb") as file:
        program = file.read()
    daemon = {"daemon": len(program), "sha256": hashlib.sha256(program).hexdigest(), **sizes}
    if options.resume and os.path.exists(f"{options.output}/bench.json"):
        with open(f"{options.output}/bench.json") as file:
            results = json.load(file)
        if any(results.get(key) != value for key, value in daemon.items()):
            sys.exit(f"bench: {options.output}/bench.json is of another daemon or image")
        return results
    return {"date": datetime.date.today().isoformat(), "versions": versions(), **daemon,
            "machine": os.uname().release, "load": os.getloadavg()[0], "tables": [], "minutes": 0}


def save(options, results):
    os.makedirs(options.output, exist_ok=True)
    with open(f"{options.output}/bench.json.new", "w") as file:
        # Each pair of a series on one line.
        file.write(re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", json.dumps(results, indent=1)))
    os.rename(f"{options.output}/bench.json.new", f"{options.output}/bench.json")


def parts(options, work, results):
    """All that is to be measured: where its results go, their key, and what measures them."""
    there = [(table["name"], table["scheme"]) for table in results["tables"]]
    for job in in_time(list(jobs(options, work)), options.minutes):
        if (job["name"], job["scheme"]) not in there:
            yield "tables", lambda job=job: [*results["tables"], run_guest(job)]
    others = [("cached", options.no_cached, ("reads of what is cached", 480)),
              ("slow", options.no_cached, ("a slow disk", 180)),
              ("growth", options.no_growth, ("how cost grows", 300, "https"))]
    for name, left_out, words in others:
        if not left_out and name not in results:
            yield name, lambda name=name, words=words: run_without_link(options, work, name, *words)


def measure(options):
    """Saves the results after each part, so that one that is broken off can be resumed."""
    if not os.access(options.daemon, os.X_OK):
        sys.exit(f"bench: there is no daemon {options.daemon}: run make first")
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        say("== the image and certificates")
        certs.make_ca(work)
        certs.make_server(work, "ec")
        paths = f"{work}/{contenders.IMAGE}", f"{work}/{contenders.PACKED}"
        image.make(*paths, f"{work}/tree")
        results = beginning(options, dict(zip(("image", "packed"), map(os.path.getsize, paths))))
        for name, part in parts(options, work, results):
            start = time.monotonic()
            with one_processor():
                results[name] = part()
            finish(options, results, start)
        if not options.no_get and "get" not in results:
            start = time.monotonic()
            try:
                results["handshakes"] = get.handshakes(options.daemon, work, say)
                results["get"] = get.compare(options.daemon, work, say)
            except get.Failed as problem:
                say(f"  --get beside curl: {problem}")
            finish(options, results, start)
    results["tables"].sort(key=lambda table: (list(LINKS).index(table["name"]), SCHEMES.index(table["scheme"])))
    save(options, results)
    return results


def finish(options, results, start):
    minutes = (time.monotonic() - start) / 60
    say(f"  {minutes:.1f} min")
    results["minutes"] = round(results["minutes"] + minutes, 1)
    results["load_after"] = os.getloadavg()[0]
    save(options, results)


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by SIGTERM"))       # the guest ends too
    if options.redraw:
        with open(f"{options.output}/bench.json") as file:
            results = json.load(file)
    else:
        results = measure(options)
    pictures = plot.draw(results, options.output)
    text = report.write(results, pictures)
    with open(f"{options.output}/bench.md", "w") as file:
        file.write(text)
    print(text)


if __name__ == "__main__":
    main()
