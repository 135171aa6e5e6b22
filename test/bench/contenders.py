"""The contenders, in the guest: each makes the image of the web server readable at POINT.

start() launches its programs before the clock runs, attach() mounts, detach() and stop() undo both. A contender that
fails raises Failed with a reason.
"""
import contextlib
import ctypes
import glob
import os
import re
import shutil
import signal
import subprocess
import time

from lib.inside import Failed, contents, eventually

RUN, DISK = "/run/bench", "/run/disk"
POINT, BENEATH = f"{RUN}/image", f"{RUN}/beneath"
WWW = f"{RUN}/www"
IMAGE = "image.erofs"
PACKED = "image-lz4.erofs"       # the same files
PORTS = {"http": 8080, "https": 8443}
TICKS = os.sysconf("SC_CLK_TCK")


class Overrun(Failed):
    """A run takes longer than its limit."""


def end_group(leader, wait):
    """Ends a process and its descendants. User-mode Linux 6.12 panics when SIGKILL meets a process inside fork(); a
    stopped process, or one that waits for a file, is not there."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        time.sleep(0.2)
    with contextlib.suppress(subprocess.TimeoutExpired):
        wait(10)


def program(*command, deadline):
    """Runs a program until it ends, or raises Overrun at the run's deadline."""
    with open(f"{RUN}/output", "w+") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            end_group(process.pid, process.wait)
            raise Overrun(f"{command[0]} takes too long") from None
    if status:
        raise Failed(f"{command[0]}: {contents(f'{RUN}/output').strip()[-300:]}")


def mount(*options, deadline):
    program("mount", "-t", "erofs", *options, POINT, deadline=deadline)


def unmount(*points):
    """A mount that is busy is detached: the processes that serve it end next. No look at it before: one whose server is
    dead cannot be looked at."""
    for point in points:
        libc = ctypes.CDLL(None)
        for flags in (0, 2):                    # MNT_DETACH
            if libc.umount2(point.encode(), flags) == 0:
                break


def process_cost(pid):
    """CPU seconds of a process and the children that it has waited for; its peak RSS in kB."""
    fields = contents(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
    peak = re.search(r"VmHWM:\s+(\d+)", contents(f"/proc/{pid}/status"))
    return sum(map(int, fields[11:15])) / TICKS, int(peak[1]) if peak else 0


class Contender:
    """The common part. `peer` is false for ours; `lazy` is false if the whole image is fetched first."""

    peer, lazy = True, True
    helpers = ()        # names of programs that leave their parent

    def __init__(self, scheme, work, daemon):
        self.url = f"{scheme}://127.0.0.1:{PORTS[scheme]}/"
        self.ca, self.daemon = f"{work}/ca.pem", daemon
        self.process = None
        self.log = f"{RUN}/{self.name.replace(' ', '-')}.log"
        self.store = f"{DISK}/{self.name.replace(' ', '-')}"

    def launch(self, *command, environment=None):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True,
                                            env={**os.environ, **(environment or {})})

    def ready(self, condition):
        eventually(lambda: self.process.poll() is not None or condition(), f"{self.name} is ready", 20)
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended at once: {self.said()}")

    def said(self):
        return contents(self.log).strip()[-400:] if os.path.exists(self.log) else ""

    def start(self):
        os.makedirs(self.store, exist_ok=True)

    def attach(self, deadline):
        mount("-o", "ro,loop", f"{BENEATH}/{IMAGE}", deadline=deadline)

    def detach(self):
        unmount(POINT)

    def stop(self):
        self.end()
        shutil.rmtree(self.store, ignore_errors=True)

    def end(self):
        """Its cache stays for another start()."""
        if self.process:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    end_group(self.process.pid, self.process.wait)
            self.process = None

    def processes(self):
        return [self.process.pid] if self.process else []

    def cost(self):
        """CPU seconds since start() of all its processes, and the peak RSS in kB of the largest one: a sum would count
        shared pages twice."""
        pids = self.processes()
        for comm in glob.glob("/proc/[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if contents(comm).strip() in self.helpers:
                    pids.append(int(comm.split("/")[2]))
        costs = []
        for pid in pids:
            with contextlib.suppress(OSError):
                costs.append(process_cost(pid))
        return sum(c for c, _ in costs), max((peak for _, peak in costs), default=0)


class Ours(Contender):
    name, title = "ours", "cachefilesd-mini"
    peer = False
    directives = ("trace none",)
    image = IMAGE
    count = 0

    def start(self):
        super().start()
        Ours.count += 1
        command = [self.daemon, "-n", "-s"]
        for directive in (f"dir {self.store}", f"tag bench{Ours.count}", f"ca {self.ca}",
                          *self.directives):
            command += ["-o", directive]
        self.launch(*command, self.url)
        self.ready(self.serves)

    def serves(self):
        return os.path.isdir(f"{self.store}/cache")

    def processes(self):
        """The keeper and its descendants: the worker and the culler."""
        parents = {}
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(path.split("/")[2])] = int(contents(path).rsplit(")", 1)[1].split()[1])
        found = super().processes()
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def attach(self, deadline):
        mount("-o", f"fsid={self.image}", "none", deadline=deadline)


class OursNbd(Ours):
    """The second front end. The device is asked for while the clock runs, as nbd-client's is."""

    name, title = "ours nbd", "cachefilesd-mini, NBD"
    directives = ("front nbd", "trace none")
    control = "/run/cachefilesd-mini.control"

    def serves(self):
        return os.path.exists(self.control)

    def attach(self, deadline):
        program(self.daemon, "--attach", self.image, deadline=deadline)
        mount("-o", "ro", contents(f"{RUN}/output").strip(), deadline=deadline)


class OursNbdPacked(OursNbd):
    """No contender: it fetches parts of a compressed image."""

    name, title = "ours nbd lz4", "cachefilesd-mini, NBD, LZ4"
    image = PACKED


class OursRecording(Ours):
    """No contender: it makes the trace for the traced ones, whatever their front end."""

    name, title = "ours recording", "cachefilesd-mini, recording"
    trace = f"{RUN}/recorded"
    directives = (f"trace record {trace}",)


class OursTraced(Ours):
    name, title = "ours trace", "cachefilesd-mini, boot trace"
    directives = ()


class OursNbdTraced(OursNbd):
    name, title = "ours nbd trace", "cachefilesd-mini, NBD, boot trace"
    directives = ("front nbd",)


class OursVerified(Ours):
    name, title = "ours verified", "cachefilesd-mini, verified"

    def start(self):
        self.directives = ("trace none", f"roothash {contents(f'{WWW}/{IMAGE}.roothash')}")
        super().start()


class OursPrefetching(Ours):
    name, title = "ours prefetch", "cachefilesd-mini, prefetch all"
    directives = ("trace none", "prefetch all")


class Nbdkit(Contender):
    """nbdkit's curl plugin behind the kernel's NBD client; their UNIX socket is not on the slow link."""

    name, title = "nbdkit", "nbdkit curl + nbd-client"
    helpers = ("nbd-client",)
    filters = ()

    def start(self):
        super().start()
        self.socket = f"{self.store}/socket"
        self.launch("nbdkit", "-f", "-r", "-U", self.socket, *self.filters, *self.plugin(),
                    environment={"TMPDIR": self.store})
        self.ready(lambda: os.path.exists(self.socket))

    def plugin(self):
        return "curl", f"url={self.url}{IMAGE}", f"cainfo={self.ca}"

    def attach(self, deadline):
        program("nbd-client", "-unix", self.socket, "/dev/nbd0", "-b", "4096", "-readonly",
                deadline=deadline)
        eventually(lambda: contents("/sys/block/nbd0/size").strip() != "0", "nbd0 has a size", 10)
        mount("-o", "ro", "/dev/nbd0", deadline=deadline)

    def detach(self):
        super().detach()
        subprocess.run(["nbd-client", "-d", "/dev/nbd0"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        eventually(lambda: not os.path.exists("/sys/block/nbd0/pid"), "nbd0 is free", 10)


class NbdkitFilters(Nbdkit):
    name, title = "nbdkit filters", "nbdkit, readahead and cache filters"
    filters = ("--filter=readahead", "--filter=cache")


class Copied(Contender):
    """The image is a file on the disk where the others have their caches."""

    def start(self):
        super().start()
        self.copy = f"{self.store}/{IMAGE}"
        shutil.copy(f"{WWW}/{IMAGE}", self.copy)


class NbdkitFile(Nbdkit, Copied):
    name, title = "nbdkit file", "nbdkit file + nbd-client"

    def plugin(self):
        return "file", self.copy


class Loop(Copied):
    name, title = "loop", "*a loop device*"

    def attach(self, deadline):
        mount("-o", "ro,loop", self.copy, deadline=deadline)


class Fuse(Contender):
    """A file system in user space with the server's directory; the image is loop-mounted."""

    def start(self):
        super().start()
        os.makedirs(BENEATH, exist_ok=True)
        self.launch(*self.command())
        self.ready(lambda: os.path.ismount(BENEATH))

    def detach(self):
        unmount(POINT, BENEATH)


class Httpdirfs(Fuse):
    name, title = "httpdirfs", "httpdirfs"

    # Its check for ranges makes it exit with this nginx.
    def command(self):
        return ("httpdirfs", "-f", "--no-range-check", "--cacert", self.ca, *self.options(), self.url,
                BENEATH)

    def options(self):
        return ()


class HttpdirfsCache(Httpdirfs):
    name, title = "httpdirfs cache", "httpdirfs --cache"

    def options(self):
        return ("--cache", "--cache-location", self.store)


class Rclone(Fuse):
    name, title = "rclone", "rclone mount"
    mode = "off"

    def command(self):
        return ("rclone", "mount", "--read-only", "--config", "/dev/null", "--ca-cert", self.ca,
                "--vfs-cache-mode", self.mode, "--cache-dir", self.store, "--http-url", self.url,
                ":http:", BENEATH)


class RcloneFull(Rclone):
    name, title = "rclone full", "rclone mount --vfs-cache-mode full"
    mode = "full"


class Download(Contender):
    """The whole image is fetched first, and then is a local file."""

    name, title = "download", "curl, whole image first"
    lazy = False

    def start(self):
        super().start()
        self.used = None

    def attach(self, deadline):
        copy = f"{self.store}/{IMAGE}"
        with open(self.log, "w") as log:
            process = subprocess.Popen(["curl", "-sSf", "--cacert", self.ca, "-o", copy,
                                        "-m", f"{max(deadline - time.monotonic(), 0.1):.1f}",
                                        self.url + IMAGE], stdout=log, stderr=log)
            _, status, self.used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == 28:
            raise Overrun("curl takes too long")
        if process.returncode:
            raise Failed(self.said())
        mount("-o", "ro,loop", copy, deadline=deadline)

    def cost(self):
        if not self.used:
            return 0.0, 0
        return self.used.ru_utime + self.used.ru_stime, self.used.ru_maxrss


class Local(Contender):
    """No contender: the same image as a local file, the lower bound of all times."""

    name, title = "local", "(a local file)"

    def attach(self, deadline):
        mount("-o", "ro,loop", f"{WWW}/{IMAGE}", deadline=deadline)


ALL = (Ours, OursTraced, OursVerified, OursPrefetching, OursNbd, OursNbdTraced, Nbdkit, NbdkitFilters, Httpdirfs,
       HttpdirfsCache, Rclone, RcloneFull, Download)

# Those that read again what is there already: no link is needed.
CACHED = (OursNbd, Ours, NbdkitFile, Loop)
