"""docs/ten-minutes.md, followed to the letter: its commands, read out of the page, in a copy of this tree, up to the
login prompt; then the boot from the cache alone, as the page says."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from lib.archive import CACHE
from lib.documents import run_by

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE, TEST = f"{TOP}/docs/ten-minutes.md", "test/boot/followed.py"
LIMIT = 1800            # seconds without the next thing that is waited for; the machine may be busy
BUILT = (".git", "build", "cachefilesd-mini")
ROOT, NAME, PASSWORD = "root=erofs-http:", "root", "boot"


def script(kind):
    """The commands of the page for that initramfs; then those behind its last boot, and that once more offline."""
    (machine,), (end,) = run_by(PAGE, TEST, "boot"), run_by(PAGE, TEST, "end")
    assert ROOT in machine, machine
    return "\n".join([*run_by(PAGE, TEST, "", kind), machine, end,
                      machine.replace(ROOT, f"cachefilesd.offline=allow {ROOT}")])


class Shell:
    """A shell with these commands, whose terminal is a pipe. said: what it has said so far."""

    def __init__(self, commands, folder):
        self.said, self.seen = "", 0
        self.news = threading.Condition()
        self.process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            with self.news:
                self.said += chunk.decode(errors="replace")
                self.news.notify_all()

    def tail(self):
        return self.said[-2000:]

    def wait_for(self, pattern):
        """Waits for it in what is said from now on; what the shell says is not looked at twice."""
        end = time.monotonic() + LIMIT
        with self.news:
            while not (match := re.compile(pattern, re.M).search(self.said, self.seen)):
                assert self.process.poll() is None, f"it ended before `{pattern}`:\n{self.tail()}"
                assert time.monotonic() < end, f"no `{pattern}` in {LIMIT} s:\n{self.tail()}"
                self.news.wait(1)
            self.seen = match.end()

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def log_in_and_reboot(self):
        # A line of the kernel's may follow each prompt at once.
        self.wait_for(r"^\S+ login: ")
        reached = time.monotonic()
        self.type(NAME)
        self.wait_for(r"^Password: ")
        self.type(PASSWORD)
        self.wait_for(r"root@\S+# ")
        self.type("reboot")
        return reached


def stop(shell, folder):
    if shell.process.poll() is None:
        os.killpg(shell.process.pid, signal.SIGKILL)
        shell.process.wait()
    # nginx is a daemon, and no part of that group.
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(open(f"{folder}/try/nginx.pid").read()), signal.SIGTERM)
    subprocess.run(["umount", "-q", f"{folder}/try/tools/proc"], check=False, stderr=subprocess.DEVNULL)


def follow(kind):
    """Follows the page for that initramfs. Returns a sentence that says how long it took."""
    os.makedirs(CACHE, exist_ok=True)
    # Not in /tmp, where debootstrap may not be able to make devices.
    with tempfile.TemporaryDirectory(prefix=".followed.", dir=CACHE) as work:
        folder = f"{work}/tree"
        # As it was cloned, without what was built of it. "build" is a file's name, too.
        shutil.copytree(TOP, folder, symlinks=True, ignore=lambda at, _: BUILT if at == TOP else ())
        started = time.monotonic()
        shell = Shell(script(kind), folder)
        try:
            shell.wait_for(r"Linux version ")
            machine = time.monotonic()
            first = shell.log_in_and_reboot()
            shell.wait_for(r"reboot: Restarting system")
            again = time.monotonic()
            second = shell.log_in_and_reboot()
            shell.wait_for(r"reboot: Restarting system")
            status = shell.process.wait(LIMIT)
            assert status == 0, f"exit status {status}:\n{shell.tail()}"
        finally:
            stop(shell, folder)
    return (f"{(first - started) / 60:.1f} minutes from the first command to the login prompt, of which "
            f"the boot took {first - machine:.0f} s; the one without a server took {second - again:.0f} s")
