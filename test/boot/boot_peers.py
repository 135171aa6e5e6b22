"""The time from power on to the login prompt, beside the programs that users might pick instead: in the same machine,
over the same link (vm.Link) of 20 ms and 100 Mbit/s, with the same initramfs; only the root is mounted otherwise
(boot_peers.sh).

Nobody uses TLS here: QEMU computes ciphers ten to twenty times slower than a processor does, and NBD and NFS are used
without it."""
import collections
import contextlib
import os
import shutil
import statistics
import subprocess
import time

from boot import boot_images
from lib import picture, tap, vm
from lib.ports import free_port, wait_listening

ROUNDS = 3
LIMIT = 900
ROOT = f"root=erofs-http:http://{vm.HOST}:PORT/{boot_images.NAME}"
RECORDED = 12       # seconds, after which a trace is on the disk: longer than the daemon delays writing it

PHASES = (  # the last line of each on the console
    ("kernel", r"Run /init as init process", "#969696"),
    ("network, cache, root", r"^Welcome to ", "#3182bd"),
    ("systemd, login", r"^from-the-web login: ", "#fd8d3c"),
)

TITLES = {
    "trace": "ours, with a recorded trace",
    "cold": "ours, nothing known",
    "warm": "ours, second boot",
    "download": "the whole image to RAM",
    "nbd": "NBD: nbdkit, nbd-client",
    "nfs": "NFS 4.1: nfs-ganesha",
}
NO_COPY = ("trace", "cold", "nbd", "nfs")   # of the first boots, those that need no copy of the image

Result = collections.namedtuple("Result", "ends fetched")   # seconds at each phase's end; bytes until the last end


def peer_initrd(bench):
    """The busybox initramfs with the peers' programs. A second archive behind it has the script that mounts the
    root."""
    base = boot_images.busybox_initrd(bench.work, bench.daemon, bench.kernel("busybox"), name="peers",
                                      files=["/usr/sbin/nbd-client"],
                                      MODULES=f"{boot_images.DRIVERS} loop nbd nfsv4")
    tree = f"{bench.work}/peer"
    os.makedirs(tree, exist_ok=True)
    shutil.copy(f"{boot_images.HERE}/boot_peers.sh", f"{tree}/cachefilesd-boot.sh")
    shutil.copy(f"{boot_images.ROOT}/contrib/initramfs/cachefilesd-boot.sh", f"{tree}/ours.sh")
    more = subprocess.run("find . | cpio -o -H newc -R 0:0 --quiet | gzip -1", shell=True, cwd=tree,
                          stdout=subprocess.PIPE, check=True).stdout
    with open(base, "ab") as file:
        file.write(more)
    return base


@contextlib.contextmanager
def running(port, *command):
    """A server in the foreground that listens on the port."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_listening(port, process=server)
        yield
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def nbd(bench):
    port = free_port()
    with running(port, "nbdkit", "-f", "--ipaddr", "127.0.0.1", "--port", str(port), "--readonly",
                 "file", bench.image()):
        yield port


@contextlib.contextmanager
def nfs(bench):
    """The tree that the image was made of."""
    port = free_port()
    boot_images.write(f"{bench.work}/ganesha.conf", f"""
        NFS_CORE_PARAM {{
            Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;
        }}
        NFSv4 {{ Grace_Period = 0; Graceless = true; RecoveryRoot = {bench.work}/ganesha; }}
        EXPORT {{
            Export_Id = 1; Path = {bench.work}/root; Pseudo = /image; Protocols = 4; Transports = TCP;
            Access_Type = RO; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }}
        }}""")
    os.makedirs(f"{bench.work}/ganesha", exist_ok=True)
    with running(port, "ganesha.nfsd", "-F", "-f", f"{bench.work}/ganesha.conf", "-L", f"{bench.work}/ganesha.log",
                 "-p", f"{bench.work}/ganesha.pid"):
        yield port


class Comparison:
    """All boots of all contenders: self.results has a Result for each, in lists by their names in TITLES."""

    def __init__(self, bench):
        self.bench, self.results = bench, {name: [] for name in TITLES}
        self.trace = f"{bench.work}/www/{boot_images.NAME}.trace"
        self.peers = peer_initrd(bench)

    def timed(self, name, port, initrd, words, disks=(), then=0):
        """One boot over a link to that port; the power is cut `then` seconds after its end."""
        link = vm.Link(port)
        words = words.replace("PORT", str(link.port))
        log = f"{self.bench.work}/peers-{name}.log"
        with vm.Machine(self.bench.kernel("busybox"), initrd, words, disks=disks, log=log) as m:
            ends = [m.wait_for(pattern, LIMIT)[1] for _, pattern, _ in PHASES]
            result = Result(ends, link.bytes)
            time.sleep(then)
        link.close()
        right = None not in ends
        tap.result(f"boot: {name} over a link of 20 ms and 100 Mbit/s" +
                   (f": {ends[-1]:.1f} s, {result.fetched / 1e6:.1f} MB" if right else ""),
                   None if right else "no login prompt")
        return result

    def ours(self, name, disk, *more, then=0):
        words = " ".join([ROOT, "cachefilesd.cache=LABEL=cache", *more])
        return self.timed(name, self.bench.server.plain_port, self.bench.initrd("busybox"), words, [disk], then)

    def peer(self, name, port):
        return self.timed(name, port, self.peers, f"{ROOT} peer={name}")

    def record(self):
        """Takes the trace that a boot with an empty cache leaves on its disk."""
        for left in self.trace, f"{self.trace}.recorded":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)
        disk = self.bench.disk("record", new=True)
        self.ours("record", disk, '"cachefilesd.trace=record /run/initramfs/cachefilesd-mini/"', then=RECORDED)
        # The machine has lost its power: the journal has to be replayed.
        subprocess.run(["/usr/sbin/e2fsck", "-p", disk], stdout=subprocess.DEVNULL)
        subprocess.run(["/usr/sbin/debugfs", "-R", f"dump /{boot_images.NAME}.trace {self.trace}.recorded", disk],
                       check=True, stderr=subprocess.DEVNULL)
        if os.path.getsize(f"{self.trace}.recorded") == 0:
            raise ValueError("nothing was recorded")

    def round(self):
        bench, results = self.bench, self.results
        disk = bench.disk("compare", new=True)
        results["cold"].append(self.ours("cold", disk, then=RECORDED))
        results["warm"].append(self.ours("warm", disk))
        os.link(f"{self.trace}.recorded", self.trace)
        results["trace"].append(self.ours("trace", bench.disk("compare", new=True)))
        os.unlink(self.trace)
        results["download"].append(self.peer("download", bench.server.plain_port))
        with nbd(bench) as port:
            results["nbd"].append(self.peer("nbd", port))
        if not results["nfs"]:      # one boot takes minutes
            with nfs(bench) as port:
                results["nfs"].append(self.peer("nfs", port))

    def median(self, name):
        """The median of all rounds, or None if one has no prompt."""
        runs = self.results[name]
        if any(None in run.ends for run in runs):
            return None
        return Result([statistics.median(ends) for ends in zip(*(run.ends for run in runs))],
                      statistics.median(run.fetched for run in runs))

    def wrong(self):
        """Sentences about expectations that do not hold."""
        medians = {name: self.median(name) for name in TITLES}
        said = [f"{name}: no login prompt" for name in TITLES if not medians[name]]
        if said:
            return said
        first = min(NO_COPY + ("download",), key=lambda name: medians[name].ends[-1])
        least = min(NO_COPY, key=lambda name: medians[name].fetched)
        if first != "trace":
            said.append(f"{first} is faster than ours with a trace")
        if least != "trace":
            said.append(f"{least} fetches less than ours with a trace")
        return said

    def table(self):
        size = os.path.getsize(self.bench.image())
        lines = [f"Medians of {ROUNDS} boots, but one for NFS; the image has {size / 1e6:.1f} MB.", "",
                 "| | login prompt, s | all boots, s | fetched until then, MB |", "|---|---:|---:|---:|"]
        for name, title in TITLES.items():
            result = self.median(name)
            every = ", ".join(f"{run.ends[-1]:.1f}" if run.ends[-1] else "-" for run in self.results[name])
            seconds, fetched = (f"{result.ends[-1]:.1f}", f"{result.fetched / 1e6:.1f}") if result else ("-", "-")
            lines.append(f"| {title} | {seconds} | {every} | {fetched} |")
        return "\n".join(lines) + "\n"

    def draw(self, output):
        """Draws OUTPUT.svg: a bar for each contender, divided at the ends of its phases. A bar that is
        several times as long as the others is cut off."""
        shown = [(name, self.median(name)) for name in reversed(TITLES) if self.median(name)]
        if not shown:
            return
        whole = 4 * min(result.ends[-1] for _, result in shown)
        width = 1.4 * max(result.ends[-1] for _, result in shown if result.ends[-1] <= whole)
        script = picture.STYLE + "unset grid\nset grid xtics linetype 1 linecolor rgb '#e4e4e4'\nset ytics scale 0\n"
        plots = []
        for number, (phase, _, colour) in enumerate(PHASES):
            lines = []
            for place, (_, result) in enumerate(shown):
                ends = [0, *(min(end, width) for end in result.ends)]
                lines.append(f"{ends[number]} {place} {ends[number]} {ends[number + 1]} {place - 0.35} {place + 0.35}")
            script += picture.block(f"phase{number}", lines)
            plots.append(f"$phase{number} using 1:2:3:4:5:6 with boxxyerror linecolor rgb '{colour}' "
                         f"title {picture.quoted(phase)}")
        script += picture.block("labels", [
            f'{min(result.ends[-1], width * 0.72)} {place} "{result.ends[-1]:.1f} s, {result.fetched / 1e6:.0f} MB"'
            for place, (_, result) in enumerate(shown)])
        plots.append("$labels using 1:2:3 with labels left offset 0.6,0 notitle")
        ticks = ", ".join(f"{picture.quoted(TITLES[name])} {place}" for place, (name, _) in enumerate(shown))
        script += f"""
set title 'Seconds from power on to the login prompt; MB fetched'
set ytics ({ticks})
set xrange [0:{width}]
set yrange [-0.6:{len(shown) - 0.4}]
set key outside below center horizontal samplen 1.5 width -5 maxrows 1 reverse Left
plot {", ".join(plots)}
"""
        picture.gnuplot(script, output, (860, 130 + 45 * len(shown)))


def compare(bench):
    """All contenders in turn, ROUNDS times."""
    bench.server.start()
    comparison = Comparison(bench)
    comparison.record()
    for _ in range(ROUNDS):
        comparison.round()
    os.unlink(f"{comparison.trace}.recorded")
    return comparison
