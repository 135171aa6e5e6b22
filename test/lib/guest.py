#!/usr/bin/python3
"""Runs a command inside a test kernel: user-mode Linux, a program like any other, without root.

    test/lib/guest.py [--memory 512M] [--timeout SECONDS] [--disk MIB] SERIES WORK COMMAND...

SERIES names the kernel (6.12, 6.1, or 6.12-patched: with the patches of contrib/kernel;
test/guest/kernel/build makes it if need be), WORK a directory that guest and host share under the same
path. In the guest COMMAND is root, sees the host's tree read-only, WORK and /run for writing, and a
fresh ext4 on /run/disk (test/guest/init). Its output is passed on line by line; the exit status is
COMMAND's, or 125 if the guest itself failed. When COMMAND prints "guest: cut", the kernel is killed at
once, as if the machine lost its power: status 124.
"""
import argparse
import glob
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = f"{ROOT}/test/guest"
SCENARIOS = ("/usr/bin/python3", f"{GUEST}/inside.py")
PATCHED = "-patched"
CUT = 124

# A healthy guest never prints these, whatever the outcome of its command.
KERNEL_FAILURE = re.compile(
    r"Kernel panic|\bOops\b|\bBUG:|WARNING: CPU|general protection|Call Trace|blocked for more than"
    r"|guest: could not set up")


def kernel(series):
    """The path of the test kernel; builds it if it is missing."""
    patches = []
    if series.endswith(PATCHED):
        patches = sorted(glob.glob(f"{ROOT}/contrib/kernel/*.patch"))
    command = [f"{GUEST}/kernel/build", series.removesuffix(PATCHED), *patches]
    build = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if build.returncode:
        sys.exit(f"guest: no test kernel {series}")
    return build.stdout.strip()


def program(path):
    """The absolute path of the daemon under test, which has to exist."""
    if not os.access(path, os.X_OK):
        sys.exit(f"there is no daemon {path}: run make first")
    return os.path.realpath(path)


def make_disk(path, mebibytes):
    with open(path, "wb") as disk:
        disk.truncate(mebibytes << 20)
    # With blocks smaller than a page (4096) the kernel would request parts of pages.
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", path], check=True)


def kernel_environment(work, memory):
    """UML keeps notes in ~/.uml, and its memory in an unlinked file: in /dev/shm, unless that is small as in
    containers."""
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": work}
    try:
        shm = os.statvfs("/dev/shm")
        roomy = shm.f_bavail * shm.f_frsize > memory << 21      # another guest may begin now
    except OSError:
        roomy = False
    environment["TMPDIR"] = "/dev/shm" if roomy else os.environ.get("TMPDIR", "/tmp")
    environment["LD_PRELOAD"] = f"{work}/xstate.so"
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"{GUEST}/kernel/xstate.c",
                    "-o", environment["LD_PRELOAD"], "-ldl"], check=True)
    return environment


def end(process):
    """Kills the kernel with all its threads and its guest's processes: they are one group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def used(group):
    """CPU seconds of the kernel, and of its guest's processes that live: to the machine they are processes too."""
    seconds = {True: 0.0, False: 0.0}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                pid, rest = file.read().split(" ", 1)
        except OSError:
            continue
        fields = rest.rsplit(")", 1)[1].split()
        if int(fields[2]) == group:
            seconds[int(pid) == group] += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return seconds[True], seconds[False]


class Watch(threading.Thread):
    """Ends the kernel when `timeout` seconds are over, or when it has printed nothing for `silence` seconds."""

    LOOK = 2                            # seconds for which its CPU time is looked at before

    def __init__(self, process, timeout, silence):
        super().__init__(daemon=True)
        self.process, self.timeout, self.silence = process, timeout, silence or timeout
        self.started = self.heard = time.monotonic()
        self.off, self.failure = threading.Event(), None
        self.start()

    def run(self):
        while not self.failure:
            now = time.monotonic()
            left = min(self.started + self.timeout, self.heard + self.silence) - now
            if left > 0:
                if self.off.wait(left):
                    return
            elif now >= self.started + self.timeout:
                self.failure = f"took longer than {self.timeout:.0f} s and was ended"
            else:
                self.failure = f"printed nothing for {self.silence:.0f} s{self.busy()} and was ended"
        end(self.process)

    def busy(self):
        """How it spends its time, which tells a loop from a wait."""
        before = used(self.process.pid)
        self.off.wait(self.LOOK)
        kernel, programs = (100 * (a - b) / self.LOOK for a, b in zip(used(self.process.pid), before))
        return f" (CPU: {kernel:.0f} % kernel, {programs:.0f} % programs)"


def show(line):
    print(line, flush=True)


def run(series, work, command, memory=512, timeout=90, disk=640, line_to=show, keep=None, silence=None):
    """Boots, runs `command` (a list) in the guest, and hands each line of its output to `line_to`. The disk is a new
    one; or it is at the path `keep`, made if it is missing, and stays there for the next guest. A guest that takes
    longer than `timeout` seconds, or prints nothing for `silence` seconds, is ended.

    Returns the command's exit status, CUT, or 125 after a line that says why the guest failed."""
    work = os.path.realpath(work)
    disk_path = keep or os.path.join(work, "disk")
    linux = kernel(series)
    if not keep or not os.path.exists(keep):
        make_disk(disk_path, disk)
    with open(os.path.join(work, "command"), "w") as file:
        file.write("exec " + shlex.join(command) + "\n")
    process = subprocess.Popen(
        [linux, f"mem={memory}M", f"ubda={disk_path}", "rootfstype=hostfs", "rootflags=/", "ro",
         f"init={GUEST}/init", f"WORK={work}", "con=null", "con0=fd:0,fd:1",
         "quiet", "loglevel=2"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=kernel_environment(work, memory), start_new_session=True)
    watch = Watch(process, timeout, silence)
    try:
        return follow(process, watch, line_to)
    finally:
        watch.off.set()
        end(process)
        process.wait()
        if not keep:
            os.unlink(disk_path)


def follow(process, watch, line_to):
    """Passes the guest's output on until its end. Returns the status, as run() does."""
    status, failure = None, None
    for raw in process.stdout:
        watch.heard = time.monotonic()
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        ended = re.fullmatch(r"guest: exit (\d+)", line)
        if ended:
            status = int(ended[1])
            continue
        if line == "guest: cut":
            end(process)
            status = CUT
            break
        if KERNEL_FAILURE.search(line):
            failure = failure or line
        if not line.startswith("reboot: "):
            line_to(line)
    if watch.failure:
        failure = watch.failure
    elif failure is None and status is None:
        failure = "ended without a word about its command"
    if failure is None:
        return status
    line_to(f"guest: failed: {failure}")
    return 125


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", type=int, default=512, help="MiB")
    parser.add_argument("--timeout", type=float, default=90, help="seconds")
    parser.add_argument("--disk", type=int, default=640, help="MiB")
    parser.add_argument("series")
    parser.add_argument("work")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    a = parser.parse_args()
    sys.exit(run(a.series, a.work, a.command, a.memory, a.timeout, a.disk))


if __name__ == "__main__":
    main()
