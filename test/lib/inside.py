"""The common part of the programs that run inside a test kernel."""
import contextlib
import glob
import time


class Failed(Exception):
    """An expectation does not hold."""


def contents(path):
    with open(path, errors="replace") as file:
        return file.read()


def eventually(condition, text, limit=60.0):
    """Waits until condition() is true. Returns its value."""
    end = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > end:
            raise Failed(f"not within {limit:.0f} s: {text}")
        time.sleep(0.02)
    return value


def children(pid):
    """The pids of its living children, in rising order."""
    found = []
    for path in glob.glob("/proc/[0-9]*/status"):
        with contextlib.suppress(OSError):
            status = contents(path)
            if f"\nPPid:\t{pid}\n" in status and "\nState:\tZ" not in status:
                found.append(int(path.split("/")[2]))
    return sorted(found)
