#!/usr/bin/python3
"""Machines with their root in an image on a web server, really booted: test/boot/boot.py [--only BOOT...] [DAEMON]

In QEMU, without KVM; as root, which debootstrap needs. A Debian with systemd is made an EROFS image and served by nginx
over HTTPS. The initramfs is that of contrib/minimal-initramfs (busybox), or that of contrib/initramfs-tools or
contrib/dracut, made in a chroot of the same Debian. A program in the image, started by systemd or as init, compares
files with their sums and prints the result to the console. For arm64, with pages of 4 and of 16 KiB, the root is a
small one of busybox.

Prints a TAP line for each boot, then a table. --list prints the names of the boots, --only picks some (a name, or its
beginning), --write FILE puts the tables there too and the picture beside it, --work DIR keeps the images and the
consoles' logs.
"""
import argparse
import collections
import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from boot import boot_images, boot_peers, followed
from lib import tap, vm
from lib.archive import STOCK, foreign_program
from lib.lying import LyingServer
from lib.nginx import Nginx, tls
from lib.ports import free_ports

CACHE_DISK = 1024
SMALL = {"arm64": 4096, "arm64-16k": 16384}     # machines with a small root of busybox: the size of their pages
TRIPLET = "aarch64-linux-gnu"
LOGIN = r"^from-the-web login: "
TIMEOUT = 900       # seconds to the login prompt; the machine may be busy
CHECKED = r"^.*boot-check: done"
# Seconds: longer than the file system delays its writes; by NBD the cache is written by way of the page cache, which
# delays them 30 and 5 s (vm.dirty_expire_centisecs, dirty_writeback_centisecs).
CUT_AFTER, CUT_AFTER_NBD = 20, 45
LATE = 20


class Server(Nginx):
    """nginx on two ports of the loopback interface, which it keeps when it is started again."""

    def __init__(self, work):
        super().__init__(work, "$status $body_bytes_sent $request_uri $http_range")
        self.port, self.plain_port = free_ports(2)
        self.beside = None      # a LyingServer, whose replies count too

    def start(self):
        # QEMU computes ChaCha20 faster than AES.
        super().start(f"""server {{
            listen 127.0.0.1:{self.port} ssl; listen 127.0.0.1:{self.plain_port};
            root {self.folder}/www; keepalive_requests 100000; {tls(f"{self.folder}/server")}
            ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305; }}""", (self.port, self.plain_port))

    def served(self):
        """(bytes of bodies, requests) since the last reset()."""
        lines = self.lines()
        beside = list(self.beside.requests) if self.beside else []
        return sum(int(words[1]) for words in lines) + sum(r.sent for r in beside), len(lines) + len(beside)

    def reset(self):
        open(self.log, "w").close()
        if self.beside:
            self.beside.requests.clear()


Row = collections.namedtuple("Row", "name seconds bytes_then fetched requests wrong")


class Bench:
    """The common part of all boots: the files, the server, the rows of the table."""

    def __init__(self, work, daemon, sums):
        self.work, self.daemon, self.sums, self.rows = work, daemon, sums, []
        self.compared = None
        os.makedirs(work, exist_ok=True)
        if not os.path.exists(f"{work}/server.key"):
            boot_images.make_certificates(work)
        self.server = Server(work)

    @functools.cache
    def image(self, name=boot_images.NAME):
        path = f"{self.work}/www/{name}"
        tree, make = ("sysvinit", boot_images.make_sysvinit) if name == boot_images.SYSVINIT else \
            ("root", boot_images.make_root)
        if not os.path.exists(f"{self.work}/{tree}"):
            make(self.work, self.daemon)
        return path if os.path.exists(path) else boot_images.make_image(self.work, name)

    @functools.cache
    def version(self, number):
        """The path of that version of the image, 1 or 2, and its root hash."""
        self.image()
        if number == 2 and not os.path.exists(f"{self.work}/next"):
            boot_images.make_next(self.work)
        return boot_images.publish(self.work, self.daemon, ("root", "next")[number - 1], number)

    @functools.cache
    def kernel(self, kind):
        return vm.Kernel(kind if kind in SMALL else "amd64", parts(kind)[1])

    @functools.cache
    def small_initrd(self, kind):
        """The initramfs with programs for that machine, our cross build and busybox; makes its image too."""
        subprocess.run(["make", "-s", "-C", boot_images.ROOT, f"CROSS={TRIPLET}"], check=True)
        daemon = f"{boot_images.ROOT}/build/{TRIPLET}/cachefilesd-mini"
        busybox = foreign_program("arm64", "busybox-static", "bin/busybox")
        if not os.path.exists(f"{self.work}/www/{kind}.erofs"):
            boot_images.make_small_image(self.work, daemon, busybox, f"{kind}.erofs", SMALL[kind])
        return boot_images.busybox_initrd(self.work, daemon, self.kernel(kind), busybox, MKE2FS="")

    def initrd(self, kind):
        if kind in SMALL:
            return self.small_initrd(kind)
        how, kernel = parts(kind)[0], self.kernel(kind)
        if how == "busybox":
            return boot_images.busybox_initrd(self.work, self.daemon, kernel)
        return boot_images.debian_initrd(self.work, self.daemon, kernel, how)

    def disk(self, name, new=False):
        path = f"{self.work}/{name}.disk"
        if new or not os.path.exists(path):
            vm.make_disk(path, CACHE_DISK, "cache")
        return path

    def words(self, kind, checks, *more, image=boot_images.NAME):
        name = f"{kind}.erofs" if kind in SMALL else image
        if kind not in SMALL:
            self.image(name)
        url = f"https://{vm.HOST}:{self.server.port}/{name}"
        return " ".join([f"root={name.split('.')[-1]}-http:{url}", f"boot-check={checks}", *more])


class Boot:
    """One boot and its failures, sentences in the list `wrong`. nbd: its root shall hang on NBD."""

    def __init__(self, bench, machine, nbd=False, timeout=TIMEOUT):
        self.bench, self.machine, self.nbd, self.timeout, self.wrong = bench, machine, nbd, timeout, []
        self.seconds = self.bytes_then = None

    def expect(self, right, what):
        if not right:
            self.wrong.append(what)
        return right

    def says(self, pattern, what, timeout=None):
        match, seconds = self.machine.wait_for(pattern, timeout or self.timeout)
        self.expect(match, what)
        return match, seconds

    def to_login(self):
        self.says(LOGIN, "no login prompt")
        self.reached()

    def reached(self):
        self.seconds = time.monotonic() - self.machine.started
        self.bytes_then = self.bench.server.served()[0]

    def to_verdict(self, sums=True, systemd=False):
        """Waits for the results of the image's program, and looks at them."""
        if not self.says(CHECKED, "no word of the check")[0]:
            return
        if not systemd:
            self.reached()
        said = self.machine.said
        self.expect(not systemd or "boot-check: failed units: none" in said,
                    "failed units: " + last(said, "failed units"))
        self.expect(re.search(r"boot-check: daemon @( @)*$", said, re.M), "daemon: " + last(said, "daemon"))
        root = last(said, "root")
        self.expect(("/dev/" in root) == self.nbd, "root: " + root)
        if sums:
            self.expect("boot-check: sums right" in said, "sums: " + last(said, "sums"))

    def started_again(self):
        """After the kills: it was, and no file is wrong that was read meanwhile."""
        said = self.machine.said
        self.expect(last(said, "started again") == "0", "started: " + last(said, "started again"))
        self.expect("boot-check: killed: right" in said, "killed: " + last(said, "killed"))

    def verified(self, version, root):
        """Whether this version runs, each block of it checked against that root hash. Returns by the mirrors' numbers
        how many blocks of each were refused."""
        said, refused, mirror = self.machine.said, {}, None
        self.expect(last(said, "version") == str(version), "version: " + last(said, "version"))
        self.expect(last(said, "status verified:") == root, "verified: " + last(said, "status verified:"))
        for line in re.findall(r"boot-check: status (.*)", said):
            if line.startswith("mirror "):
                mirror = int(line.split()[1])
            elif match := re.search(r"\bnot verified +(\d+)", line):
                refused[mirror] = int(match[1])
        return refused

    def upgraded(self):
        self.expect("boot-check: upgrade 0" in self.machine.said, "upgrade: " + last(self.machine.said, "upgrade"))

    def to_reboot(self):
        self.expect(self.machine.wait_end(120), "no reboot")
        failure = self.machine.failure()
        self.expect(not failure, f"the kernel: {failure}")


def last(said, what):
    found = re.findall(rf"boot-check: {what}(.*)", said)
    return found[-1].strip() if found else "nothing was said"


BOOTS = {}


def boot(kinds):
    """Registers a boot for each initramfs of kinds, as KIND-FUNCTION."""
    def register(function):
        for kind in kinds:
            BOOTS[f"{kind}-{function.__name__}"] = functools.partial(function, kind=kind)
        return function
    return register


KINDS = ("busybox", "initramfs-tools", "dracut")


def parts(kind):
    """Its initramfs; and the series of its kernel, if that is a stock one, where the root hangs on NBD."""
    how, _, series = kind.rpartition("-")
    return (how, series) if series in STOCK else (kind, None)


def stock(*series):
    return tuple(f"{kind}-{one}" for one in series for kind in KINDS)


DISK = "cachefilesd.cache=LABEL=cache"


@contextlib.contextmanager
def booted(bench, name, kind, words, initrd=None, **machine):
    """A machine of that initramfs, and its row of the table."""
    bench.server.reset()
    log = f"{bench.work}/{name.replace(': ', '-').replace(' ', '-')}.log"
    with vm.Machine(bench.kernel(kind), initrd or bench.initrd(kind), words, log=log, **machine) as m:
        b = Boot(bench, m, parts(kind)[1] is not None or "cachefilesd.front=nbd" in words)
        yield b
    fetched, requests = bench.server.served()
    bench.rows.append(Row(name, b.seconds, b.bytes_then, fetched, requests, b.wrong))
    tap.result(f"boot: {name}", "; ".join(b.wrong))


# The check as init: systemd takes an emulator minutes.
ALONE = f"init={boot_images.CHECK_PATH}"


@boot((*KINDS, *stock(*STOCK)))
def login(bench, name, kind):
    """A Debian with systemd, from power on to its login prompt: no unit fails, half of its files are compared. Before
    that the daemon becomes the image's program, and ends in order at the shutdown."""
    with logged_in(bench, name, kind, f"upgrade,{bench.sums},reboot") as b:
        b.upgraded()
        b.to_reboot()


@boot(stock(*STOCK))
def killed(bench, name, kind):
    """The same. While its files are compared the worker is killed, then keeper and worker, and the daemon is started
    again by the program in memory."""
    with logged_in(bench, name, kind, f"kill,{bench.sums},reboot") as b:
        b.started_again()
        b.to_reboot()


@contextlib.contextmanager
def logged_in(bench, name, kind, checks):
    """A Debian with systemd that has come to its login prompt, and made the checks. At its end the cache has been
    unmounted, and a block device disconnected."""
    bench.server.start()
    disk = bench.disk(f"{kind}-login", new=True)
    with booted(bench, name, kind, bench.words(kind, checks, DISK), disks=[disk]) as b:
        b.to_login()
        b.to_verdict(systemd=True)
        yield b
        # systemd prints it for a unit, at the shutdown too.
        b.expect("FAILED" not in b.machine.said, "a unit failed at the shutdown")
        state = subprocess.run(["/usr/sbin/dumpe2fs", "-h", disk], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, check=True).stdout
        b.expect("needs_recovery" not in state, "the cache was not unmounted")
        b.expect(not b.nbd or "NBD_DISCONNECT" in b.machine.said, "the device was not disconnected")


@boot((*KINDS, *SMALL, *stock("7")))
def cold(bench, name, kind):
    """An empty cache on a disk."""
    bench.server.start()
    words = bench.words(kind, "some,reboot", DISK, "cachefilesd.overlay=tmpfs", ALONE)
    with booted(bench, name, kind, words, disks=[bench.disk(kind, new=True)]) as b:
        b.to_verdict()
        b.to_reboot()


@boot((*KINDS, *SMALL, *stock("7")))
def warm(bench, name, kind):
    """Again: the bytes that the boot before has cached are not fetched again. The daemon is upgraded to the program in
    the image, and keeps the configuration of the initramfs that it was started in."""
    bench.server.start()
    words = bench.words(kind, "upgrade,some,reboot", DISK, ALONE)
    with booted(bench, name, kind, words, disks=[bench.disk(kind)]) as b:
        b.to_verdict()
        b.upgraded()
        b.to_reboot()
        # The upgrade and the check of it run programs that the first boot did not run.
        b.expect(bench.server.served()[0] <= 4 << 20, f"fetched again: {bench.server.served()[0]} bytes")


@boot((*KINDS, *stock("7")))
def offline(bench, name, kind):
    """Again, without a server."""
    words = bench.words(kind, "some,reboot", DISK, "cachefilesd.offline=allow", ALONE)
    with booted(bench, name, kind, words, disks=[bench.disk(kind)]) as b:
        b.to_verdict()
        b.to_reboot()


@boot(("busybox", "busybox-6.1", "busybox-7"))
def cut(bench, name, kind):
    """The power is cut while a first boot compares its files. The second boot finds most of the fetched bytes, and all
    of them right."""
    bench.server.start()
    disk = bench.disk(f"{kind}-cut", new=True)
    with booted(bench, f"{name}: until it", kind, bench.words(kind, "half", DISK, ALONE), disks=[disk]) as b:
        b.says(r"boot-check: written before", "no word of the check")
        b.reached()
        time.sleep(CUT_AFTER_NBD if b.nbd else CUT_AFTER)
    before = bench.rows[-1]
    with booted(bench, name, kind, bench.words(kind, "some,reboot", DISK, ALONE), disks=[disk]) as b:
        b.says(r"boot-check: written before", "no word of the check")
        b.reached()
        again = b.bytes_then
        b.to_verdict()
        b.to_reboot()
        b.expect(again < before.bytes_then / 4, f"fetched bytes are lost: {again} of {before.bytes_then}")


@boot(("busybox", "dracut", *stock("7")))
def ram(bench, name, kind):
    """Without a disk."""
    bench.server.start()
    with booted(bench, name, kind, bench.words(kind, "some,reboot", "cachefilesd.cache=ram:200M", ALONE)) as b:
        b.to_verdict()
        b.to_reboot()


@boot((*KINDS, *stock("7")))
def late(bench, name, kind):
    """The server starts late, and the clock is at 1970: the daemon waits, says so and goes on."""
    words = bench.words(kind, "some,reboot", DISK, ALONE)
    with booted(bench, name, kind, words, disks=[bench.disk(f"{kind}-late", new=True)], clock="1970-01-01") as b:
        if b.says(r"cachefilesd-mini.*refused", "no word of the server that is waited for")[0]:
            time.sleep(LATE)
            b.expect("boot-check: root" not in b.machine.said, "a root without a server")
            bench.server.start()
        b.to_verdict()
        b.expect("the clock" in b.machine.said, "no word of the clock")
        b.to_reboot()


@boot(("busybox", "busybox-7"))
def overlay(bench, name, kind):
    """Written files are kept on the cache's disk."""
    bench.server.start()
    disk = bench.disk(f"{kind}-overlay", new=True)
    for turn, there in (("first", "no"), ("second", "yes")):
        words = bench.words(kind, "reboot", DISK, "cachefilesd.overlay=LABEL=cache", ALONE)
        with booted(bench, f"{name}: {turn}", kind, words, disks=[disk]) as b:
            b.to_verdict(sums=False)
            before = last(b.machine.said, "written before")
            b.expect(before == there, f"what was written before: {before}")
            b.to_reboot()


def other_image(bench, name, kind, image):
    bench.server.start()
    words = bench.words(kind, "some,reboot", DISK, ALONE, image=image)
    with booted(bench, name, kind, words, disks=[bench.disk(f"{kind}-other", new=True)]) as b:
        b.to_verdict()
        b.to_reboot()


@boot(("busybox-6.1", "busybox-7"))
def lz4(bench, name, kind):
    """The root in a compressed EROFS image."""
    other_image(bench, name, kind, "debian-lz4.erofs")


@boot(("busybox-6.1", *stock("7")))
def squashfs(bench, name, kind):
    other_image(bench, name, kind, "debian.squashfs")


@boot(("busybox-6.1", *stock("7")))
def ext4(bench, name, kind):
    other_image(bench, name, kind, "debian.ext4")


@boot(("busybox-7",))
def verity(bench, name, kind):
    """The kernel's dm-verity checks the image, by a tree in a second device."""
    bench.server.start()
    root = boot_images.make_verity(bench.image())
    initrd = boot_images.busybox_initrd(bench.work, bench.daemon, bench.kernel(kind), name="verity",
                                        files=["/usr/sbin/veritysetup"])
    words = bench.words(kind, "some,reboot", DISK, f"cachefilesd.verity={root}", ALONE)
    with booted(bench, name, kind, words, initrd, disks=[bench.disk(f"{kind}-verity", new=True)]) as b:
        b.to_verdict()
        b.to_reboot()


def mirrors(bench, liar, number):
    """A version's URLs by plain HTTP: the first mirror lies."""
    name = os.path.basename(bench.version(number)[0])
    return ",".join(f"http://{vm.HOST}:{port}/{name}" for port in (liar.port, bench.server.plain_port))


def updated_words(bench, liar, root):
    """The second version's words, by a root hash, with the first as its fallback."""
    return [f"root=erofs-http:{mirrors(bench, liar, 2)}", f"cachefilesd.roothash={root}",
            f"cachefilesd.fallback={mirrors(bench, liar, 1)}", f"cachefilesd.fallback-roothash={bench.version(1)[1]}"]


def boot_version(bench, name, kind, liar, number, *words, systemd=False):
    """A version with its own root hash: no byte is wrong, what the first mirror has changed was refused."""
    root, before = bench.version(number)[1], liar.lies
    words = " ".join([*words, DISK, f"boot-check={bench.sums},status,reboot", *([] if systemd else [ALONE])])
    with booted(bench, name, kind, words, disks=[bench.disk(f"{kind}-verified")]) as b:
        if systemd:
            b.to_login()
        b.to_verdict(systemd=systemd)
        refused, lies = b.verified(number, root), liar.lies - before
        b.expect(1 <= refused.get(1, 0) <= lies and list(refused) == [1], f"refused by mirror: {refused} of {lies}")
        b.expect(last(b.machine.said, "errors") == "0", "errors: " + last(b.machine.said, "errors"))
        b.to_reboot()
    tap.note(f"the first mirror changed {lies} blocks, refused were {refused}")


@boot(("busybox-7", "initramfs-tools-7"))
def verified(bench, name, kind):
    """A verified root by plain HTTP from a mirror that lies and an honest one; then its next version; then one that
    does not fit its root hash, and the first in its place. The cache's disk is kept."""
    bench.server.start()
    disk = bench.disk(f"{kind}-verified", new=True)
    paths = [path + suffix for path, _ in map(bench.version, (1, 2)) for suffix in ("", ".verity")]
    with LyingServer(paths, data=0.02, tree=0.05) as liar:
        bench.server.beside = liar
        root = bench.version(1)[1]
        boot_version(bench, f"{name}: first", kind, liar, 1, f"root=erofs-http:{mirrors(bench, liar, 1)}",
                     f"cachefilesd.roothash={root}")
        boot_version(bench, f"{name}: updated", kind, liar, 2, *updated_words(bench, liar, bench.version(2)[1]))
        words = " ".join([*updated_words(bench, liar, root), DISK, "boot-check=some,status,reboot", ALONE])
        with booted(bench, f"{name}: gone back", kind, words, disks=[disk]) as b:
            b.to_verdict()
            b.verified(1, root)
            for what, right in (("fallback", mirrors(bench, liar, 1)), ("errors", "1")):
                b.expect(last(b.machine.said, what) == right, f"{what}: {last(b.machine.said, what)}")
            b.to_reboot()
            b.expect(last(b.machine.said, r"status cachefilesd-mini [0-9.]+ nbd") == "fallback",
                     "--status: no fallback")
            # The first boot has read more than this one.
            b.expect(bench.server.served()[0] <= 4 << 20, f"fetched again: {bench.server.served()[0]} bytes")
    bench.server.beside = None


@boot(("initramfs-tools-7", "dracut-7"))
def verified_login(bench, name, kind):
    """A Debian with systemd, verified, by plain HTTP from a mirror that lies and an honest one."""
    bench.server.start()
    bench.disk(f"{kind}-verified", new=True)
    path, root = bench.version(1)
    with LyingServer([path, f"{path}.verity"], data=0.02, tree=0.05) as liar:
        bench.server.beside = liar
        boot_version(bench, name, kind, liar, 1, f"root=erofs-http:{mirrors(bench, liar, 1)}",
                     f"cachefilesd.roothash={root}", systemd=True)
    bench.server.beside = None


@boot(("busybox-7", "dracut-7"))
def sysvinit(bench, name, kind):
    """The root's init is sysvinit: keeper and worker are killed, and the machine reboots. Its sendsigs lets live the
    keeper alone, and says after ten seconds that the worker has not ended; a new one serves what is read after that."""
    bench.server.start()
    words = bench.words(kind, f"kill,{bench.sums},reboot", DISK, image=boot_images.SYSVINIT)
    with booted(bench, name, kind, words, disks=[bench.disk(f"{kind}-sysvinit", new=True)]) as b:
        b.to_login()
        b.to_verdict()
        b.started_again()
        b.to_reboot()
        # As the scripts of rcS and rc6 print it; the kernel's log comes a little sooner or later.
        failed = re.findall(r"^(.*)\.\.\.\s*\S*failed[.!]", b.machine.said, re.M)
        b.expect(failed == ["Killing all remaining processes"], f"failed: {failed}")
        b.expect("a new one takes its place" in b.machine.said.split("Asking all")[-1], "the keeper did not live on")


@boot(("busybox",))
def front(bench, name, kind):
    """NBD on a kernel that has the on-demand mode."""
    bench.server.start()
    words = bench.words(kind, "some,reboot", DISK, "cachefilesd.front=nbd", ALONE)
    with booted(bench, name, kind, words, disks=[bench.disk(f"{kind}-front", new=True)]) as b:
        b.to_verdict()
        b.to_reboot()


@boot(("busybox",))
def peers(bench, name, kind):
    """Beside the programs that users might pick instead."""
    bench.compared = boot_peers.compare(bench)
    for wrong in bench.compared.wrong():
        tap.result(f"boot: {name}", wrong)


@boot(KINDS)
def page(_, name, kind):
    """docs/ten-minutes.md, followed to the letter."""
    tap.result(f"boot: {name}", *tap.attempt(lambda: tap.note(followed.follow(kind)), below=boot_images.ROOT))


def table(rows):
    def number(value, form):
        return "" if value is None else form.format(value)

    lines = ["| boot | until its prompt or verdict, s | fetched until then, MB | in all, MB | requests | |",
             "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        lines.append("| " + " | ".join((
            row.name, number(row.seconds, "{:.0f}"), number(row.bytes_then and row.bytes_then / 1e6, "{:.1f}"),
            f"{row.fetched / 1e6:.1f}", str(row.requests), "; ".join(row.wrong) or "right")) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="BOOT")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--work", metavar="DIR")
    parser.add_argument("--quick", action="store_true", help="compare a twentieth of the files instead of half")
    parser.add_argument("daemon", nargs="?", default=f"{boot_images.ROOT}/cachefilesd-mini")
    a = parser.parse_args()
    if a.list:
        print("\n".join(BOOTS))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))       # the machine and the server end too
    names = [name for name in BOOTS if not a.only or any(name.startswith(only) for only in a.only)]
    if not names:
        sys.exit(f"boot: there is no {' '.join(a.only)}; see --list")
    with contextlib.ExitStack() as stack:
        work = a.work or stack.enter_context(tempfile.TemporaryDirectory(prefix="cachefilesd-mini."))
        bench = Bench(os.path.realpath(work), os.path.realpath(a.daemon), "some" if a.quick else "half")
        stack.callback(bench.server.stop)
        if not all(name.endswith("-page") for name in names):
            bench.image()
        for name in names:
            try:
                BOOTS[name](bench, name)
            finally:
                bench.server.stop()
        report = table(bench.rows) if bench.rows else ""
        if bench.compared:
            report += ("\n" if report else "") + bench.compared.table()
    print(report)
    if a.write:
        with open(a.write, "w") as file:
            file.write(report)
        if bench.compared:
            bench.compared.draw(os.path.splitext(a.write)[0] + "-peers")
    sys.exit(tap.status())


if __name__ == "__main__":
    main()
