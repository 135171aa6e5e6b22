#!/usr/bin/python3
"""docs/status.svg: what --status says while an image fills, recorded: test/guest/status_picture.py [DAEMON]

In the test kernel an nginx serves an image over HTTPS, 20 ms and 20 Mbit/s away; the daemon presents it as a block
device; a reader reads all of its files. The picture has a frame for each answer of --status.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from xml.sax.saxutils import escape

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import certs, erofs, guest
from lib.commands import run
from lib.inside import contents, eventually
from lib.nginx import Nginx, tls

SERIES, PICTURE = "6.12", f"{guest.ROOT}/docs/status.svg"
LINK = "20 ms, 20 Mbit/s"
NAME, POINT, FRAMES = "debian.erofs", "/run/image", "frames.json"
PORT, SHOWN = 443, 1.2         # seconds for which a frame is shown; its answer took one to measure rates
FONT, LINE, COLUMNS = 16, 21, 80
TOP = 72


def shape():
    run("ip", "link", "set", "lo", "mtu", "1500")
    run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "limit", "100000", "delay", "10ms", "rate", "20mbit")


def inside(daemon):
    """In the kernel, in the folder of the image and its certificates: writes the frames."""
    work = os.getcwd()
    server = Nginx("/run", "$status")
    server.start(f"server {{ listen 127.0.0.1:{PORT} ssl; root {work}/www; {tls(f'{work}/server')} }}", [PORT])
    shape()
    os.makedirs("/run/disk/cache")
    words = [daemon, "-n", "-s", "-o", "dir /run/disk/cache", "-o", f"ca {work}/ca.pem", "-o", "trace none", "-o",
             "front nbd", "https://localhost/"]
    process = subprocess.Popen(words)
    eventually(lambda: os.path.exists("/run/cachefilesd-mini.control"), "the control socket")
    os.makedirs(POINT)
    device = run(daemon, "--attach", NAME).decode().strip()
    run("mount", "-t", "erofs", "-o", "ro", device, POINT)
    reader = subprocess.Popen(["sh", "-c", f"find {POINT} -type f -exec cat {{}} + >/dev/null"])
    frames = []
    while reader.poll() is None:
        frames.append(run(daemon, "--status").decode())
    frames.append(run(daemon, "--status").decode())
    with open(f"{work}/{FRAMES}", "w") as file:
        json.dump(frames, file)
    run("umount", POINT)
    process.send_signal(signal.SIGTERM)
    process.wait()
    server.kill()


def frame(text, number, count):
    """The frame's lines, shown in their turn; where nothing moves, the last frame is seen."""
    lines = "".join(f'<text x="12" y="{TOP + LINE * row}" xml:space="preserve">{escape(line)}</text>'
                    for row, line in enumerate(text.splitlines()))
    begin, end = number / count, (number + 1) / count
    values, times = ["none", "inline", "none"], [0, begin, end]
    if number == 0:
        values, times = values[1:], times[1:]
    if number == count - 1:
        values, times = values[:-1], times[:-1]
    return (f'<g display="{"inline" if number == count - 1 else "none"}">'
            f'<animate attributeName="display" calcMode="discrete" dur="{SHOWN * count:.1f}s" repeatCount="indefinite" '
            f'values="{";".join(values)}" keyTimes="{";".join(f"{t:.4f}" for t in times)}"/>{lines}</g>\n')


def draw(frames, path):
    rows = max(len(text.splitlines()) for text in frames)
    width, height = COLUMNS * 10, TOP + LINE * (rows + 1)
    caption = f"test/guest/status_picture.py, {time.strftime('%B %-d, %Y')}: Linux {SERIES}, {LINK}"
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                   f'height="{height}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
                   f'font-size="{FONT}" fill="#1b1b1b">\n<title>cachefilesd-mini --status</title>\n'
                   f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
                   f'<text x="12" y="32" font-weight="bold"># cachefilesd-mini --status</text>\n'
                   f'<text x="12" y="{height - 12}" fill="#555">{escape(caption)}</text>\n')
        for number, text in enumerate(frames):
            file.write(frame(text, number, len(frames)))
        file.write("</svg>\n")


def main():
    if sys.argv[1:2] == ["--inside"]:
        return inside(sys.argv[2])
    daemon = guest.program(sys.argv[1] if len(sys.argv) > 1 else f"{guest.ROOT}/cachefilesd-mini")
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        certs.make_ca(work)
        certs.make_server(work)
        os.makedirs(f"{work}/www")
        erofs.mkfs(f"{work}/www/{NAME}", os.path.dirname(os.__file__), "-zlz4hc", "-T0", "--quiet")
        status = guest.run(SERIES, work, ["/usr/bin/python3", os.path.abspath(__file__), "--inside", daemon],
                           timeout=600)
        if status:
            return status
        draw(json.loads(contents(f"{work}/{FRAMES}")), PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
