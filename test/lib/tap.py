"""Results as TAP lines (Test Anything Protocol), which test/check counts.

    tap.result("get: the whole file")              # ok - get: the whole file
    tap.result("get: a range", "17 wrong bytes")   # not ok - get: a range, and below it "# 17 wrong bytes"
    sys.exit(tap.status())
"""
import os
import traceback

failures = 0

# The machine's own proxies are not for the tests' servers.
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


def note(text):
    """Prints details, which are no result."""
    for line in text.splitlines():
        print(f"# {line}", flush=True)


def result(name, wrong=None, skipped=None):
    """Prints one result. `wrong` is the text of the failure; None or an empty text: none. Returns whether it passed."""
    global failures
    failures += bool(wrong)
    reason = f" # SKIP {skipped}" if skipped else ""
    print(f"{'not ok' if wrong else 'ok'} - {name.replace('#', 'no.')}{reason}", flush=True)
    note(wrong or "")
    return not wrong


def status():
    """The exit status of a test program that has printed all its results."""
    return 1 if failures else 0


def attempt(function, *arguments, below=""):
    """Calls a test. Returns (wrong, skipped) for result(). `wrong` has its exception, and of the traceback the lines in
    files below the folder `below`."""
    try:
        function(*arguments)
    except Skip as reason:
        return None, str(reason)
    except Exception as error:
        lines = [f"{type(error).__name__}: {error}"]
        lines += [f"at {os.path.basename(frame.filename)}:{frame.lineno} {frame.line}"
                  for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(below)]
        return "\n".join([*lines, *getattr(error, "__notes__", [])]), None
    return None, None
