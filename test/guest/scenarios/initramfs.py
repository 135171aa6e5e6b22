"""contrib/initramfs: the root of the kernel's command line."""
import os
import shutil
import signal
import socket
import time

from guest.common import (all_right, CA, CACHEFILES, contents, DAEMON, eventually, expect, FRONT, HTTP, HTTPS, NEVER,
                          nginx, PROBE, program, RUN, scenario, umount, URL)
from lib.find import TOP


def boot(shell, line):
    """Mounts the root as an initramfs does, by the kernel's command line. Returns its mount point."""
    root = f"{RUN}/root"
    os.makedirs(root, exist_ok=True)
    script = f"{TOP}/../contrib/initramfs/cachefilesd-boot.sh"
    status, output = program(*shell, "-c", f'. "{script}"; cfd_parse "$1" && cfd_boot "$2"', "sh", line, root)
    expect(status == 0, f"{' '.join(shell)}: status {status}: {output}")
    return root


def boot_ends(root):
    """Ends all in the order of a shutdown: the root, the image, the daemon, the cache."""
    for point in root, "/run/cachefilesd-mini/image":
        umount(point)
    pid = int(contents("/run/cachefilesd-mini/pid"))
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "end of the daemon")
    umount("/run/initramfs/cachefilesd-mini")
    expect(os.access("/run/initramfs/shutdown", os.X_OK), "no program for the end of the machine")


@scenario("contrib/initramfs: the command line makes cache, daemon, image, overlay; tried again; later, nothing twice",
          True, series=CACHEFILES)
def boot_words():
    os.environ.update(cfd_daemon=DAEMON, cfd_own_conf="/nonexistent")
    line = (f"quiet root=erofs-http:https://localhost:{HTTPS}/plain.erofs,http://127.0.0.1:{HTTP}/plain.erofs "
            f'"cachefilesd.{CA.replace(" ", "=", 1)}" cachefilesd.timeout=20 '
            "cachefilesd.cache=/dev/ubda cachefilesd.overlay=/dev/ubda -- single")
    shutil.rmtree("/run/disk/fscache", ignore_errors=True)
    start = nginx.mark()
    root = boot(["dash"], line)
    all_right(root, "plain")
    size = os.path.getsize("www/plain.erofs")
    expect(0 < nginx.sent(start) < 1.5 * size, f"{nginx.sent(start)} bytes fetched of {size}")
    with open(f"{root}/written", "w") as file:
        file.write("here")
    pid = contents("/run/cachefilesd-mini/pid")
    umount(root)        # as if the overlay had failed
    boot(["busybox", "sh"], line)
    expect(contents(f"{root}/written") == "here", "what was written above the image is gone")
    expect(contents("/run/cachefilesd-mini/pid") == pid, "another daemon")
    points = [mount.split()[1] for mount in contents("/proc/mounts").splitlines()]
    twice = {point for point in points if points.count(point) > 1}
    expect(not twice & {root, "/run/cachefilesd-mini/image", "/run/initramfs/cachefilesd-mini"}, f"twice: {twice}")
    boot_ends(root)

    start = nginx.mark()
    root = boot(["busybox", "sh"], line)
    expect(contents(f"{root}/written") == "here", "what was written above the image is gone")
    os.unlink(f"{root}/written")
    all_right(root, "plain", "random")
    expect(nginx.sent(start) <= PROBE, f"{nginx.sent(start)} bytes of cached data were fetched again")
    boot_ends(root)


@scenario("contrib/initramfs: a fallback is booted where the first image is not: its server is silent, or has none",
          True)
def boot_fallback():
    os.environ.update(cfd_daemon=DAEMON, cfd_own_conf="/nonexistent")
    more = (f"cachefilesd.fallback={URL}second.erofs cachefilesd.fallback-after=4 cachefilesd.front={FRONT} "
            "cachefilesd.retry=hard cachefilesd.cache=/dev/ubda cachefilesd.overlay=none")
    mark = "/run/cachefilesd-mini/fallback"
    for shell, first in (["dash"], f"http://127.0.0.1:{NEVER}/plain.erofs"), (["busybox", "sh"], f"{URL}none.erofs"):
        start = time.monotonic()
        with socket.create_server(("127.0.0.1", NEVER)):
            root = boot(shell, f"root=erofs-http:{first} {more}")
        took = time.monotonic() - start
        all_right(root, "second")
        expect(4 <= took < 30, f"{first}: the fallback was there after {took:.1f} s")
        expect(contents(mark).strip() == f"{URL}second.erofs", f"{mark}: {contents(mark)}")
        boot_ends(root)
        os.unlink(mark)
    root = boot(["dash"], f"root=erofs-http:{URL}plain.erofs {more}")
    all_right(root, "plain")
    expect(not os.path.exists(mark), "the fallback was booted beside a good server")
    boot_ends(root)
