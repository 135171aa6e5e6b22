"""The time from power to login prompt beside what users might pick instead, in the same machine, over the
same link (vm.Link): 20 ms round trip, 100 Mbit/s. All without TLS, since QEMU computes ciphers ten to
twenty times slower than a processor does, and for NBD that is how it is used."""
import os
import shutil
import subprocess
import sys

import boot_images
import vm

sys.path.insert(0, f"{vm.HERE}/bench")
import plot  # noqa: E402

PHASES = (  # what the console says at the end of each
    ("kernel", r"Run /init as init process"),
    ("initramfs: network, root", r"Welcome to "),
    ("systemd, to the login prompt", r"^from-the-web login: "),
)
COLOURS = ("#969696", "#3182bd", "#fd8d3c")
LIMIT = 400

TITLES = {
    "trace": "ours, a trace recorded before",
    "cold": "ours, nothing known",
    "warm": "ours, second boot",
    "download": "download of the image to RAM",
    "nbd": "NBD: nbdkit, nbd-client",
}


def peer_initrd(bench):
    """The busybox initramfs, and behind it what replaces its init, as a second archive."""
    base = bench.initrd("busybox")
    tree = f"{bench.work}/peer"
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(tree)
    shutil.copy(f"{vm.HERE}/boot-peer-init", f"{tree}/init")
    client = shutil.which("nbd-client", path="/usr/sbin:/sbin:/usr/bin:/bin")
    libraries = subprocess.run(["ldd", client], stdout=subprocess.PIPE, text=True, check=True).stdout
    for path in [client, *(word for word in libraries.split() if word.startswith("/"))]:
        target = f"{tree}/{'sbin/nbd-client' if path == client else path.lstrip('/')}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(path, target)
    more = subprocess.run("find . | cpio -o -H newc -R 0:0 --quiet | gzip -1", shell=True, cwd=tree,
                          stdout=subprocess.PIPE, check=True).stdout
    output = f"{bench.work}/peer.initrd"
    with open(output, "wb") as file:
        file.write(open(base, "rb").read() + more)
    return output


def timed(bench, name, initrd, words, link, disks=(), reboots=False):
    """One boot. Returns the seconds at the end of each phase, and the bytes of the server until then."""
    before = link.bytes
    with vm.Machine(bench.kernel, initrd, words, disks=disks, log=f"{bench.work}/peer-{name}.log") as m:
        ends = [m.wait_for(pattern, LIMIT)[1] for _, pattern in PHASES]
        fetched = link.bytes - before
        if reboots:
            m.wait_end(LIMIT)
    print(f"{'not ok' if None in ends else 'ok'} - boot: {name} over a link of 20 ms and 100 Mbit/s", flush=True)
    return ends, fetched


def compare(bench):
    """All contenders, in the order of TITLES."""
    bench.server.start()
    link = vm.Link(bench.server.plain_port)
    ours = f"root=erofs-http:http://{vm.HOST}:{link.port}/{boot_images.NAME} cachefilesd.cache=LABEL=cache"
    initrd, peers = bench.initrd("busybox"), peer_initrd(bench)
    trace = f"{bench.work}/www/{boot_images.NAME}.trace"
    if os.path.exists(trace):
        os.unlink(trace)
    results = {}
    disk = bench.disk("compare", new=True)
    results["cold"] = timed(bench, "cold", initrd, f"{ours} boot-check=reboot", link, [disk], reboots=True)
    results["warm"] = timed(bench, "warm", initrd, ours, link, [disk])
    recorded = bench.disk("record", new=True)
    record = f'{ours} "cachefilesd.trace=record /run/cachefilesd-mini/cache/" boot-check=reboot'
    timed(bench, "record", initrd, record, link, [recorded], reboots=True)
    subprocess.run(["/usr/sbin/debugfs", "-R", f"dump /{boot_images.NAME}.trace {trace}", recorded], check=True,
                   stderr=subprocess.DEVNULL)
    results["trace"] = timed(bench, "trace", initrd, ours, link, [bench.disk("compare", new=True)])
    os.unlink(trace)
    words = f"peer=download:{link.port} peer-image={boot_images.NAME}"
    results["download"] = timed(bench, "download", peers, words, link)
    link.close()
    results["nbd"] = over_nbd(bench, peers)
    return results


def over_nbd(bench, initrd):
    port = vm.free_port()
    server = subprocess.Popen(["nbdkit", "-f", "--ipaddr", "127.0.0.1", "--port", str(port), "--readonly",
                               "file", bench.image], stdin=subprocess.DEVNULL)
    link = vm.Link(port)
    try:
        return timed(bench, "nbd", initrd, f"peer=nbd:{link.port} peer-image=", link)
    finally:
        link.close()
        server.terminate()
        server.wait()


def table(results, image_size):
    lines = ["| | login prompt, s | fetched until then, MB |", "|---|---:|---:|"]
    for name, title in TITLES.items():
        ends, fetched = results[name]
        seconds = f"{ends[-1]:.1f}" if ends[-1] else f"not within {LIMIT}"
        lines.append(f"| {title} | {seconds} | {fetched / 1e6:.1f} |")
    return "\n".join(lines) + f"\n\nThe image has {image_size / 1e6:.1f} MB.\n"


def picture(results, output):
    """A line for each contender, parted at the ends of its phases: output.png and output.svg."""
    script = plot.STYLE + "unset grid\nset grid xtics linetype 1 linecolor rgb '#e4e4e4'\n"
    names = [name for name in TITLES if None not in results[name][0]]
    plots = []
    for number, (phase, _) in enumerate(PHASES):
        lines = []
        for place, name in enumerate(reversed(names)):
            ends = [0, *results[name][0]]
            lines.append(f"{ends[number]} {ends[number + 1]} {place - 0.35} {place + 0.35}")
        script += plot.block(f"phase{number}", lines)
        plots.append(f"$phase{number} using 1:3:1:2:3:4 with boxxyerror linecolor rgb '{COLOURS[number]}' "
                     f"title {plot.quoted(phase)}")
    ticks = ", ".join(f"{plot.quoted(TITLES[name])} {place}" for place, name in enumerate(reversed(names)))
    labels = [f'{results[name][0][-1]} {place} " {results[name][0][-1]:.0f} s, {results[name][1] / 1e6:.0f} MB"'
              for place, name in enumerate(reversed(names))]
    script += plot.block("labels", labels)
    plots.append("$labels using 1:2:3 with labels left font ',9' textcolor rgb '#404040' notitle")
    longest = max(results[name][0][-1] for name in names)
    script += f"""
set ytics ({ticks})
set xrange [0:{longest * 1.2}]
set yrange [-0.6:{len(names) + 0.2}]
set xlabel 'seconds since power on'
set key above
plot {", ".join(plots)}
"""
    plot.gnuplot(script, output, (900, 110 + 45 * len(names)))
