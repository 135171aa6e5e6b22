#!/usr/bin/python3
"""The scenarios in the test kernel, as root: inside.py SERIES DAEMON FRONT [--differing] [-k WORD];
test/guest/run starts it.

Runs the functions of scenarios/ that are meant for the kernel SERIES and the front end FRONT (cachefiles or nbd), or of
them those whose name or title matches WORD; --differing leaves out those with which the front end has nothing to do.
Each passes if it returns. One that is not meant for them is run only if WORD is its whole name.
"""
import argparse
import os
import re
import sys
import time
import traceback

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from guest.common import NBD, RUN, SCENARIOS, SERIES, Daemon, Failed, clean_up, contents, nginx
from lib import find, tap


class KernelLog:
    """Lines about us of warning or worse since the last look; but for notes of deprecation."""

    harmless = re.compile(r"on-demand read feature in use|EXPERIMENTAL|nbd[0-9]+: shutting down sockets")
    about_us = re.compile(r"erofs|cachefiles|fscache|nbd|I/O error|BUG|Oops|WARNING|blocked for more", re.I)

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)

    def news(self):
        lines = []
        while True:
            try:
                head, _, text = os.read(self.fd, 8192).decode(errors="replace").partition(";")
            except BlockingIOError:
                return lines
            except BrokenPipeError:     # the ring has overrun us; the next read continues behind the gap
                continue
            text = text.splitlines()[0]
            if int(head.split(",")[0]) & 7 <= 4 and self.about_us.search(text):
                lines += [] if self.harmless.search(text) else [text]


def run(title, function, kernel_may_complain, kernel_log):
    """Runs one scenario. At its start nginx runs, no daemon does, and nothing is mounted."""
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
    if not tap.result(f"{SERIES}{', nbd' * NBD}: {title} ({took:.1f} s)", problem):
        report(complaints, range(logs + 1, Daemon.count + 1))
    nginx.kill()
    clean_up()


def report(complaints, daemons):
    for line in complaints[-20:]:
        tap.note(f"kernel: {line}")
    for number in daemons:
        for line in contents(f"{RUN}/daemon.{number}.log").splitlines()[-30:]:
            tap.note(f"daemon {number}: {line}")


def is_chosen(scenario, word, differing):
    title, function, _, kernels, differs = scenario
    if SERIES not in kernels:
        return word == function.__name__
    return re.search(word, function.__name__) or re.search(word, title) if word else differs or not differing


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("series")
    parser.add_argument("daemon")
    parser.add_argument("front", choices=("cachefiles", "nbd"))
    parser.add_argument("--differing", action="store_true")
    parser.add_argument("-k", metavar="WORD", default="")
    a = parser.parse_args()
    find.load("guest/scenarios")
    os.makedirs(RUN)
    kernel_log = KernelLog()
    chosen = [scenario for scenario in SCENARIOS if is_chosen(scenario, a.k, a.differing)]
    if not chosen:
        tap.result(f"{SERIES}: a scenario", f"none is called {a.k}")
    for scenario in chosen:
        run(*scenario[:3], kernel_log)
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
