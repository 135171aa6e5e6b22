#!/usr/bin/python3
"""Everything that can go wrong, again and again, while readers compare every byte.

    test/guest/chaos.py [--short] [--scale X] [--only ROW]... [--series SERIES]... [--front FRONT]... [--write FILE]
                        [DAEMON]

Boots the test kernels (6.12 and 6.1 by default) and runs the rows of test/guest/chaos_guest.py, and `cut`: the kernel
itself is killed (test/guest/test_cut.py); with block devices (nbd) those with which a front end has to do. Prints a
TAP line for each row, then all rows as a table in Markdown.
--short does little of each, in one boot; --scale X does X times as many disturbances. --write puts the tables of a
complete run into FILE, between its marks; the text around them is written by hand, and stays. DAEMON is
./cachefilesd-mini by default. Exits with 0 only if no byte was wrong and nothing was lost. Needs no root.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest import prepare, test_cut
from lib import guest, tap

SERIES = ("6.12", "6.1")

# The number of disturbances (for `stop` and `link`: of seconds), in full and in short; 0: test/check has them already,
# as test_cut.py.
COUNTS = {
    "worker": (500, 5), "keeper": (20, 1), "both": (20, 1), "stop": (30, 3), "upgrade": (50, 3), "server": (100, 3),
    "link": (60, 3), "names": (10, 1), "disk": (6, 1), "limits": (5, 1), "clock": (40, 3), "cut": (50, 0),
    "mounts": (10000, 100)}
# The same with block devices; what is not here has nothing to do with the front end.
DEVICE_COUNTS = {"worker": (500, 5), "both": (50, 2), "upgrade": (50, 3), "cut": (50, 2)}
FRONTS = {"cachefiles": COUNTS, "nbd": DEVICE_COUNTS}
MEMORY = 256            # MiB: little, since one row uses all of it
TIMEOUT = 3 * 3600      # seconds, of a guest; even a busy machine needs only a part of them


# ---- images -------------------------------------------------------------------------------------------


def make_images(work):
    """Makes plain.erofs, of odd files and a large one, and small.erofs. The trees stay."""
    os.makedirs(f"{work}/www")
    os.makedirs(f"{work}/small")
    os.makedirs(f"{work}/plain")
    prepare.big_file(f"{work}/plain/big")
    prepare.odd_files(f"{work}/plain")
    prepare.copy_some("/usr/share", f"{work}/plain/share", 3 << 20, 200)
    for number in range(8):
        with open(f"{work}/small/{number}", "wb") as file:
            file.write(os.urandom(number * 3000))
    for name in "plain", "small":
        prepare.describe_and_make(work, name, f"{work}/{name}", f"{work}/{name}.erofs")
    shutil.copy(f"{work}/plain.erofs", f"{work}/www")
    prepare.make_tree(work, "plain")


# ---- rows ---------------------------------------------------------------------------------------------


def label(series, front):
    return series + ", nbd" * (front == "nbd")


def run_guest(series, front, work, daemon, counts):
    """Runs rows in one boot. Returns their results; a row without one counts as lost, since the guest has ended."""
    missing, said, results = dict(counts), [], []

    def take(line):
        if line.startswith("chaos "):
            results.append(json.loads(line.removeprefix("chaos ")))
            tell(label(series, front), results[-1])
        elif line.startswith("# "):
            print(line, flush=True)
        else:
            said.append(line)

    guest.run(series, work, ["/usr/bin/python3", f"{guest.GUEST}/chaos_guest.py", series, daemon, front,
                             json.dumps(counts)], memory=MEMORY, timeout=TIMEOUT, line_to=take)
    for result in results:
        missing.pop(result["row"])
    for name in missing:
        results.append({"row": name, "title": name, "seconds": 0, "tried": 0, "survived": 0, "reads": 0, "wrong": 0,
                        "lost": 1, "refused": 0, "remarks": ["the guest ended before: " + " / ".join(said[-5:])]})
        tell(label(series, front), results[-1])
    return results


def run_cuts(series, front, work, daemon, count):
    """Kills the kernel at least `count` times. Every byte is compared after each time; at the end of a round all of
    them are cached."""
    result = {"row": "cut", "title": "guest: `kill -9` of the kernel with writes under way; mounted and compared",
              "tried": 0, "survived": 0, "reads": 0, "wrong": 0, "lost": 0, "refused": 0, "remarks": []}
    boots = 0
    start = time.monotonic()
    # The shortest round does if its kills are enough.
    scenarios = test_cut.BOOTS if count > 2 else [boot for boot in test_cut.BOOTS if boot[0] != "cut_again"]
    while result["tried"] < count and not result["lost"]:
        for scenario, expected in scenarios:
            right, said = test_cut.boot(series, daemon, front, work, scenario, expected)
            boots += 1
            result["tried"] += expected == guest.CUT
            result["survived"] += right and expected == guest.CUT
            result["lost"] += not right
            result["wrong"] += sum("differ" in line for line in said)
            if not right:
                result["remarks"] += said[-10:]
    result["remarks"].append(f"{boots} boots; a file that differs would count as one wrong byte")
    result["seconds"] = round(time.monotonic() - start)
    tell(label(series, front), result)
    return [result]


def run_series(series, front, daemon, counts, together):
    inside = {name: count for name, count in counts.items() if name != "cut"}
    boots = [inside] if together else [{name: count} for name, count in inside.items()]
    results = []
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        prepare.certificates(work)
        make_images(work)
        for rows in filter(None, boots):
            results += run_guest(series, front, work, daemon, rows)
        if "cut" in counts:
            results += run_cuts(series, front, work, daemon, counts["cut"])
    return results


# ---- results --------------------------------------------------------------------------------------------


def good(result):
    return result["tried"] > 0 and result["survived"] == result["tried"] and not result["wrong"] + result["lost"]


def tell(series, result):
    tap.result(f"chaos, {series}: {result['row']}: tried {result['tried']}, survived {result['survived']}, "
               f"wrong bytes {result['wrong']}, lost {result['lost']} ({result['reads']} reads, {result['seconds']} s)",
               None if good(result) else "not all were survived")
    tap.note("\n".join(result["remarks"]))


def table(results):
    lines = ["| kernel | what | tried | survived | wrong bytes | lost | reads compared | errors as said | seconds | |",
             "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for series, r in results:
        remarks = " ".join("; ".join(r["remarks"]).split()).replace("|", "\\|")
        lines.append(f"| {series} | {r['title']} | {r['tried']} | {r['survived']} | {r['wrong']} | {r['lost']} "
                     f"| {r['reads'] or ''} | {r['refused'] or ''} | {r['seconds']} | {remarks} |")
    return "\n".join(lines) + "\n"


# In the document each front end's table stands between two such lines.
MARK, END = "<!-- make chaos writes: {} -->", "<!-- end of what make chaos writes -->"


def with_tables(text, results):
    """The document with the tables of these results in place of those between the marks."""
    for front in FRONTS:
        before, mark, rest = text.partition(f"{MARK.format(front)}\n")
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"no line `{MARK.format(front)}`, or no `{END}` after it")
        rows = table([result for result in results if result[0].endswith(", nbd") == (front == "nbd")])
        text = f"{before}{mark}\n{rows}\n{end}{after}"
    return text


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="little of each, in one boot")
    parser.add_argument("--scale", type=float, default=1, help="times as many disturbances")
    parser.add_argument("--only", action="append", choices=COUNTS, help="this row; several allowed")
    parser.add_argument("--series", action="append", help="this kernel; several allowed")
    parser.add_argument("--front", action="append", choices=FRONTS, help="this front end; both allowed")
    parser.add_argument("--write", metavar="FILE", help="where the tables of a complete run go, between its marks")
    parser.add_argument("daemon", nargs="?", default=f"{guest.ROOT}/cachefilesd-mini")
    a = parser.parse_args()
    if a.write and (a.short or a.scale < 1 or a.only or a.series or a.front):
        parser.error("--write is for a complete run")
    if a.write:
        # Hours before it is needed.
        try:
            with open(a.write) as file:
                with_tables(file.read(), [])
        except (OSError, ValueError) as problem:
            parser.error(f"--write {a.write}: {problem}")
    a.daemon = guest.program(a.daemon)
    return a


def main():
    a = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("chaos: ended by SIGTERM"))     # the guest ends too
    results = []
    for front in a.front or FRONTS:
        counts = {name: max(1, round(both[a.short] * a.scale)) for name, both in FRONTS[front].items()
                  if (name in a.only if a.only else both[a.short])}
        results += [(label(series, front), result) for series in a.series or SERIES
                    for result in run_series(series, front, a.daemon, counts, a.short)]
    print(table(results), end="")
    if a.write:
        with open(a.write) as file:
            text = file.read()
        with open(a.write, "w") as file:
            file.write(with_tables(text, results))
        print(f"chaos: the tables of {a.write} are new; its text is by hand: does it still hold?", file=sys.stderr)
    sys.exit(tap.status())


if __name__ == "__main__":
    main()
