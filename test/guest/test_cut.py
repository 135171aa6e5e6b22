#!/usr/bin/python3
"""The machine loses its power: test/guest/test_cut.py SERIES [DAEMON [ROUNDS]]

Each round boots the test kernel SERIES four times on the same disk, and kills it three times: while
a new cache is filled, while the rest is fetched, and some seconds after all of it was compared; the
last boot must find everything there (scenarios cut_... of inside.py). One line for each boot.
DAEMON is ./cachefilesd-mini unless named, ROUNDS is 1. Exits with 1 unless all is right.
"""
import os
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest import test_guest
from lib import guest

BOOTS = (("cut_first", guest.CUT), ("cut_again", guest.CUT), ("cut_compare", guest.CUT), ("cut_kept", 0))


def boot(series, daemon, work, scenario, expected):
    """One boot on the disk that work keeps. Returns whether it ended with the status expected, and its lines."""
    said = []
    command = ["/usr/bin/python3", f"{test_guest.HERE}/inside.py", series, daemon, scenario]
    status = guest.run(series, work, command, line_to=said.append, timeout=300, keep=f"{work}/kept")
    return status == expected, said


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    series = sys.argv[1]
    daemon = os.path.realpath(sys.argv[2] if len(sys.argv) > 2 else f"{test_guest.HERE}/../../cachefilesd-mini")
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    failed = 0
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        test_guest.make_certificates(work)
        test_guest.make_images(work)
        for number in range(rounds):
            for scenario, expected in BOOTS:
                right, said = boot(series, daemon, work, scenario, expected)
                failed += not right
                print(f"{'ok' if right else 'not ok'} - {series}: {scenario}, round {number + 1}", flush=True)
                for line in said:
                    if line.startswith("#") or not right:
                        print(f"# {line.removeprefix('# ')}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
