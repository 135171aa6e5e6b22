#!/usr/bin/python3
"""Everything that can go wrong, again and again, while readers compare every byte.

    test/guest/chaos.py [--short] [--scale X] [--only ROW]... [--series SERIES]... [--write FILE] [DAEMON]

Boots the test kernels (6.12 and 6.1 unless named) and runs the rows of test/guest/chaos_guest.py, and `cut`:
the kernel itself is killed (test/guest/test_cut.py). Prints a line `ok - ...` or `not ok - ...` for each row,
then all of them as a table, in Markdown. --short does little of each, in one boot; --scale X does X times
as much or little. --write puts the table of a complete run into FILE. DAEMON is ./cachefilesd-mini
unless named. Exits with 0 only if no byte was wrong and nothing was lost. Needs no root.
"""
import argparse
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest import test_cut, test_guest
from lib import guest

HERE = os.path.dirname(os.path.abspath(__file__))
SERIES = ("6.12", "6.1")

# How often, or for `stop` and `link` how many seconds: in full, and in short.
COUNTS = {
    "worker": (500, 5), "keeper": (20, 1), "both": (20, 1), "stop": (30, 3), "upgrade": (50, 3), "server": (100, 3),
    "link": (60, 3), "names": (10, 1), "disk": (6, 1), "limits": (5, 1), "clock": (40, 3), "cut": (50, 2),
    "mounts": (10000, 100)}
MEMORY = 256            # MiB: little, since one row takes all of it
TIMEOUT = 3 * 3600      # seconds for a guest: a busy machine needs a part of it


# ---- images -------------------------------------------------------------------------------------------


def make_images(work):
    """plain.erofs, of everything odd and a large file, and small.erofs. The trees stay."""
    os.makedirs(f"{work}/www")
    os.makedirs(f"{work}/small")
    os.makedirs(f"{work}/plain")
    test_guest.big_file(f"{work}/plain/big")
    test_guest.odd_files(f"{work}/plain")
    test_guest.copy_some("/usr/share", f"{work}/plain/share", 3 << 20, 200)
    for number in range(8):
        with open(f"{work}/small/{number}", "wb") as file:
            file.write(os.urandom(number * 3000))
    with open(f"{work}/plain.json", "w") as file:
        json.dump(test_guest.describe(f"{work}/plain"), file)
    for name in "plain", "small":
        test_guest.mkfs(f"{work}/{name}.erofs", f"{work}/{name}")
    shutil.copy(f"{work}/plain.erofs", f"{work}/www")


# ---- rows ---------------------------------------------------------------------------------------------


def run_guest(series, work, daemon, counts):
    """The rows in one boot: yields what each has said. One that the guest did not live to tell is lost."""
    missing, said, results = dict(counts), [], []

    def take(line):
        if line.startswith("chaos "):
            results.append(json.loads(line.removeprefix("chaos ")))
            tell(series, results[-1])
        elif line.startswith("# "):
            print(line, flush=True)
        else:
            said.append(line)

    guest.run(series, work, ["/usr/bin/python3", f"{HERE}/chaos_guest.py", series, daemon, json.dumps(counts)],
              memory=MEMORY, timeout=TIMEOUT, line_to=take)
    for result in results:
        missing.pop(result["row"])
    for name in missing:
        results.append({"row": name, "title": name, "seconds": 0, "tried": 0, "survived": 0, "reads": 0, "wrong": 0,
                        "lost": 1, "refused": 0, "remarks": ["the guest ended before: " + " / ".join(said[-5:])]})
        tell(series, results[-1])
    return results


def run_cuts(series, work, daemon, count):
    """The kernel is killed at least count times: every byte is compared after each, and at the end of a round
    all is there."""
    result = {"row": "cut", "title": "guest: `kill -9` of the kernel with writes under way; mounted and compared",
              "tried": 0, "survived": 0, "reads": 0, "wrong": 0, "lost": 0, "refused": 0, "remarks": []}
    boots = 0
    start = time.monotonic()
    # A round is as short as it may be if that is enough.
    scenarios = test_cut.BOOTS if count > 2 else [boot for boot in test_cut.BOOTS if boot[0] != "cut_again"]
    while result["tried"] < count and not result["lost"]:
        for scenario, expected in scenarios:
            right, said = test_cut.boot(series, daemon, work, scenario, expected)
            boots += 1
            result["tried"] += expected == guest.CUT
            result["survived"] += right and expected == guest.CUT
            result["lost"] += not right
            result["wrong"] += sum("differ" in line for line in said)
            if not right:
                result["remarks"] += said[-10:]
    result["remarks"].append(f"{boots} boots; a file that differs would count as one wrong byte")
    result["seconds"] = round(time.monotonic() - start)
    tell(series, result)
    return [result]


def run_series(series, daemon, counts, together):
    inside = {name: count for name, count in counts.items() if name != "cut"}
    boots = [inside] if together else [{name: count} for name, count in inside.items()]
    results = []
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        test_guest.make_certificates(work)
        make_images(work)
        for rows in filter(None, boots):
            results += run_guest(series, work, daemon, rows)
        if "cut" in counts:
            results += run_cuts(series, work, daemon, counts["cut"])
    return results


# ---- what is said ---------------------------------------------------------------------------------------


def good(result):
    return result["tried"] > 0 and result["survived"] == result["tried"] and not result["wrong"] + result["lost"]


def tell(series, result):
    print(f"{'ok' if good(result) else 'not ok'} - chaos, {series}: {result['row']}: tried {result['tried']}, "
          f"survived {result['survived']}, wrong bytes {result['wrong']}, lost {result['lost']} "
          f"({result['reads']} reads, {result['seconds']} s)", flush=True)
    for line in itertools.chain(*(remark.splitlines() for remark in result["remarks"])):
        print(f"# {line}", flush=True)


def table(results):
    lines = ["| kernel | what | tried | survived | wrong bytes | lost | reads compared | errors as said | seconds | |",
             "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for series, r in results:
        remarks = " ".join("; ".join(r["remarks"]).split()).replace("|", "\\|")
        lines.append(f"| {series} | {r['title']} | {r['tried']} | {r['survived']} | {r['wrong']} | {r['lost']} "
                     f"| {r['reads'] or ''} | {r['refused'] or ''} | {r['seconds']} | {remarks} |")
    return "\n".join(lines) + "\n"


HEAD = """# What it has outlived

Made by `make chaos` (`test/guest/chaos.py`, whose head says how): user-mode Linux kernels on one machine, a real
nginx, images over HTTPS on a link of 10 ms and 40 Mbit/s where that matters. *tried*: disturbances;
*survived*: those after which all readers read on; *lost*: reads and mounts that failed and must not,
disturbances that were not survived, growth of memory or descriptors; *errors as said*: reads and mounts
that failed as the README says they do, such as without the keeper or with a full disk.

"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="little of each, in one boot")
    parser.add_argument("--scale", type=float, default=1, help="times as many disturbances")
    parser.add_argument("--only", action="append", choices=COUNTS, help="this row; several allowed")
    parser.add_argument("--series", action="append", help="this kernel; several allowed")
    parser.add_argument("--write", metavar="FILE", help="where the table of a complete run goes")
    parser.add_argument("daemon", nargs="?", default=f"{HERE}/../../cachefilesd-mini")
    a = parser.parse_args()
    if a.write and (a.short or a.scale < 1 or a.only or a.series):
        parser.error("--write is for a complete run")
    if not os.access(a.daemon, os.X_OK):
        parser.error(f"there is no daemon {a.daemon}: run make first")
    return a


def main():
    a = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("chaos: ended by SIGTERM"))     # and the guest with us
    counts = {name: max(1, round(both[a.short] * a.scale)) for name, both in COUNTS.items()
              if not a.only or name in a.only}
    results = [(series, result) for series in a.series or SERIES
               for result in run_series(series, os.path.realpath(a.daemon), counts, a.short)]
    print(table(results), end="")
    if a.write:
        with open(a.write, "w") as file:
            file.write(HEAD + table(results))
    sys.exit(0 if all(good(result) for _, result in results) else 1)


if __name__ == "__main__":
    main()
