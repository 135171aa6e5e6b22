"""An upgrade from an earlier program, and the way back."""
import os
import shutil
import signal
import time

from guest.common import (all_right, attach, BLOCK, CA, CACHEFILES, Child, compare, DAEMON, Daemon, drop_caches,
                          expect, mount, nginx, PROBE, program, read_for, RUN, scenario, umount, URL_TLS)
from lib.tap import note

EARLIER = f"{os.getcwd()}/earlier"          # test/guest/prepare.py has built it
PROGRAM, PID_FILE, CONF = f"{RUN}/cachefilesd-mini", f"{RUN}/earlier.pid", f"{RUN}/earlier.conf"


def put(program_path):
    """Puts the program in the place of the one that runs."""
    shutil.copy(program_path, f"{PROGRAM}.new")
    os.rename(f"{PROGRAM}.new", PROGRAM)


def configure(*lines):
    with open(CONF, "w") as file:
        file.write("".join(f"{line}\n" for line in (f"url {URL_TLS}", CA, *lines)))


def upgrade(daemon, by):
    worker = daemon.worker()
    put(by)
    status, output = program(DAEMON, "-p", PID_FILE, "--upgrade")
    expect(status == 0, f"--upgrade to {by}: {status} {output}: {daemon.log()[-2000:]}")
    daemon.await_worker(worker)


def is_refused(daemon, by):
    """Demands that the program does not take over. Returns what the log says."""
    worker, before = daemon.worker(), len(daemon.log())
    put(by)
    status, output = program(DAEMON, "-p", PID_FILE, "--upgrade")
    expect(status == 1 and "goes on as it was" in output, f"--upgrade to {by}: {status} {output}")
    expect(daemon.worker() == worker, "the worker was replaced")
    return daemon.log()[before:]


@scenario("from the earlier program to this one under load: no read fails, sizes and SIGTERM's refusal are kept; back, "
          "and again; block devices need a restart", series=CACHEFILES)
def from_earlier():
    configure()
    put(EARLIER)
    daemon = Daemon(program=PROGRAM, options=["-f", CONF, "-p", PID_FILE])
    point, other = mount("plain.erofs"), mount("second.erofs")
    Child(compare, other, "second", "random", 30).succeed()
    readers = [Child(compare, point, "plain", "random"), Child(read_for, point, 12)]
    for by in DAEMON, EARLIER, DAEMON, DAEMON:
        time.sleep(1)
        upgrade(daemon, by)
    os.kill(daemon.worker(), signal.SIGKILL)        # the next one tells the kernel the size of each file again
    for reader in readers:
        reader.succeed()
    drop_caches()
    all_right(other, "second", "random")
    all_right(point, "plain", "random")
    daemon.process.terminate()
    daemon.logs("not stopping: it would break 2 mounted images;")
    configure("attach second.erofs /dev/nbd0")
    worker = daemon.worker()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_worker(worker)
    daemon.logs("front: it stays cachefiles until the daemon is started again")
    daemon.alive()
    umount(point)
    umount(other)
    start = nginx.mark()
    for name, tree in ("plain.erofs", "plain"), ("second.erofs", "second"):
        point = mount(name)
        all_right(point, tree)
        umount(point)
    note(f"{nginx.sent(start)} bytes were fetched after all was unmounted and mounted")
    expect(nginx.sent(start) <= 2 * PROBE, "what was cached has been thrown away")
    daemon.stop()


@scenario("an earlier program is refused while devices are attached, also if the configuration has no word of them",
          series=BLOCK)
def no_way_back():
    configure("front nbd", "attach second.erofs")
    put(DAEMON)
    daemon = Daemon(program=PROGRAM, options=["-f", CONF, "-p", PID_FILE])
    point = mount("plain.erofs")
    reader = Child(read_for, point, 8)
    said = is_refused(daemon, EARLIER)
    note(said.splitlines()[-1])
    expect("all stays as it was" in said, f"the log: {said}")
    configure()
    said = is_refused(daemon, EARLIER)
    note(said.splitlines()[-1])
    expect("all stays as it was" in said, f"the log: {said}")
    upgrade(daemon, DAEMON)
    reader.succeed()
    all_right(point, "plain", "random")
    umount(point)
    daemon.stop()
