#!/usr/bin/python3
"""The machine loses its power: test/guest/test_cut.py SERIES [DAEMON [ROUNDS [FRONT]]]

Each round boots the test kernel SERIES four times on the same disk, and kills it three times: while
a new cache is filled, while the rest is fetched, and some seconds after all of it was compared; the
fourth boot must find everything there (scenarios/cut.py). Three more are of a verified image, of whose
cache bits are flipped after a cut. One result for each boot. DAEMON is ./cachefilesd-mini
by default, ROUNDS is 1, FRONT is cachefiles (or nbd). Exits with 1 unless all is right.
"""
import os
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest import prepare
from lib import guest, tap

BOOTS = (("cut_first", guest.CUT), ("cut_again", guest.CUT), ("cut_compare", guest.CUT), ("cut_kept", 0),
         ("cut_verified", guest.CUT), ("cut_damaged", guest.CUT), ("cut_repaired", 0))


def boot(series, daemon, front, work, scenario, expected):
    """One boot on the disk that `work` keeps. Returns whether its status was the expected one, and its lines."""
    lines = []
    status = guest.run(series, work, [*guest.SCENARIOS, series, daemon, front, "-k", scenario], line_to=lines.append,
                       timeout=300, keep=f"{work}/kept")
    return status == expected, lines


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    series = sys.argv[1]
    daemon = guest.program(sys.argv[2] if len(sys.argv) > 2 else f"{guest.ROOT}/cachefilesd-mini")
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    front = sys.argv[4] if len(sys.argv) > 4 else "cachefiles"
    label = series + ", nbd" * (front == "nbd")
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        prepare.certificates(work)
        prepare.images(work)
        for number in range(rounds):
            for scenario, expected in BOOTS:
                right, lines = boot(series, daemon, front, work, scenario, expected)
                tap.result(f"{label}: {scenario}, round {number + 1}", None if right else "it ended otherwise")
                tap.note("\n".join(line.removeprefix("# ") for line in lines if line.startswith("#") or not right))
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
