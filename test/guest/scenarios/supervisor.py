"""The keeper and its worker: deaths, reload, upgrade, the service manager."""
import contextlib
import os
import random
import shutil
import signal
import time

from guest.common import (all_right, CACHEFILES, Child, compare, DAEMON, Daemon, descriptors, device_free,
                          eventually, expect, kill_all, kill_orphans, mount, NBD, NEVER, nginx, private_memory,
                          PROBE, program, read_for, RUN, scenario, serving, some_right, umount, URL)
from lib.manager import ServiceManager
from lib.tap import note

DEVICES = 16            # places of which the keeper holds a pair of sockets and a pipe


@scenario("the worker is killed again and again: readers see a pause, and all bytes are right", differs=True)
def killed_worker():
    daemon = Daemon(URL)
    point = mount("plain.erofs")
    readers = [Child(compare, point, "plain", "random") for _ in range(2)] + [Child(read_for, point, 15)]
    kills, killed = 0, 0
    while not all(reader.ended() for reader in readers):
        time.sleep(random.uniform(0, 0.7))
        worker = daemon.worker()
        if worker != killed:
            # Each worker forks its culler first; user-mode Linux 6.12 panics when SIGKILL meets fork().
            daemon.culler()
            with contextlib.suppress(ProcessLookupError):   # it has just been replaced, as a device is attached
                os.kill(worker, signal.SIGKILL)
                kills, killed = kills + 1, worker
    for reader in readers:
        reader.succeed()
    expect(kills > 5, "the readers were too fast")
    daemon.logs("the worker has died .*signal 9")
    # The pages of its code are private only while there is no worker to share them.
    eventually(lambda: private_memory(daemon.process.pid) < 100, "the keeper has little memory of its own", 10)
    note(f"{kills} workers were killed; the keeper's own memory: {private_memory(daemon.process.pid)} kB, "
         f"descriptors {descriptors(daemon.process.pid)}")
    most = 13 + NBD * (2 + 4 * DEVICES)
    # One more is open while it speaks with a worker or a client.
    eventually(lambda: descriptors(daemon.process.pid) <= most, "the keeper has no more descriptors", 10)
    all_right(point, "plain", "random")
    umount(point)
    start = nginx.mark()
    point = mount("plain.erofs")
    all_right(point, "plain")
    expect(nginx.sent(start) <= PROBE, "what was cached has been thrown away")
    umount(point)
    daemon.stop()


@scenario("the worker is killed, and the image unmounted and mounted before it is read again")
def killed_and_mounted():
    daemon = Daemon(URL)
    for _ in range(3):
        point = mount("second.erofs")
        Child(compare, point, "second", "random", 20).succeed()
        os.kill(daemon.worker(), signal.SIGKILL)
        umount(point)
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    daemon.stop()


@scenario("the keeper is killed: the worker serves on; killed too: the next daemon mounts anew", True,
          series=CACHEFILES)
def killed_keeper():
    daemon = Daemon(URL)
    point = mount("plain.erofs")
    worker = daemon.worker()
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.logs("the keeper has died")
    some_right(point)
    os.kill(worker, signal.SIGKILL)
    eventually(device_free, "the device is free again", 10)
    umount(point)
    again = Daemon(URL, directory=daemon.directory)
    start = nginx.mark()
    point = mount("plain.erofs")
    some_right(point)
    note(f"{nginx.sent(start)} bytes fetched anew")
    umount(point)
    again.stop()


@scenario("SIGTERM: refused while an image is mounted, unless it comes twice; obeyed with --force", True,
          series=CACHEFILES)
def refuses_to_stop():
    with serving("second.erofs", URL) as (daemon, point):
        daemon.process.terminate()
        daemon.logs("not stopping: it would break 1 mounted image;")
        all_right(point, "second")
        daemon.alive()

    daemon = Daemon(URL)
    point = mount("second.erofs")
    daemon.process.terminate()
    daemon.logs("not stopping")
    daemon.stop()
    umount(point)

    daemon = Daemon(URL, options=["--force"])
    point = mount("second.erofs")
    daemon.stop()
    umount(point)


@scenario("SIGHUP: a good configuration is taken, by its log; of a bad one the log says why, and the old one stays",
          differs=True)
def reload():
    path = f"{RUN}/reload.conf"

    def configure(*lines):
        with open(path, "w") as file:
            file.write("".join(f"{line}\n" for line in lines))

    configure(f"url http://127.0.0.1:{NEVER}/")
    daemon = Daemon(options=["-f", path])
    worker = daemon.worker()
    configure(f"url {URL}", "prefetch sometimes")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.logs("reload.conf:2: prefetch 'sometimes'")
    daemon.logs("not reloaded: exit status 2: the earlier configuration stays in force")
    expect(daemon.worker() == worker, "the worker was replaced")
    configure(f"url {URL}")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_worker(worker)
    daemon.logs("reloaded: ")
    point = mount("plain.erofs")
    reader = Child(compare, point, "plain", "random")
    for _ in range(5):
        worker = daemon.worker()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_worker(worker)
    reader.succeed()
    os.kill(daemon.worker(), signal.SIGKILL)    # the next one has the configuration that was read last
    all_right(point, "plain", "random")
    umount(point)
    daemon.stop()


@scenario("an upgrade, by SIGUSR2 and by --upgrade, while readers read; what is no such program is refused",
          differs=True)
def upgrade():
    program_path = f"{RUN}/cachefilesd-mini"
    pid_file = f"{RUN}/upgrade.pid"
    shutil.copy(DAEMON, program_path)
    with serving("plain.erofs", URL, program=program_path, options=["-p", pid_file]) as (daemon, point):
        readers = [Child(compare, point, "plain", "random"), Child(read_for, point, 10)]

        def replace(by):
            shutil.copy(by, program_path + ".new")
            os.chmod(program_path + ".new", 0o755)
            os.rename(program_path + ".new", program_path)

        for turn in range(6):
            worker = daemon.worker()
            replace(DAEMON)
            if turn % 2:
                status, output = program(program_path, "-p", pid_file, "--upgrade")
                expect(status == 0, f"--upgrade: {status} {output}")
            else:
                daemon.process.send_signal(signal.SIGUSR2)
            daemon.await_worker(worker)
            expect(os.readlink(f"/proc/{daemon.process.pid}/exe") == program_path, "it is the old program")
        worker = daemon.worker()
        for other in "/bin/true", "/bin/false", "/etc/passwd":
            replace(other)
            status, output = program(DAEMON, "-p", pid_file, "--upgrade")
            expect(status == 1 and "goes on as it was" in output, f"--upgrade to {other}: {status} {output}")
        daemon.logs("upgrade: .*: it is no cachefilesd-mini: all stays as it was")
        expect(daemon.workers() == [worker], "the worker was replaced")
        replace(DAEMON)
        for reader in readers:
            reader.succeed()
        note(f"the keeper's own memory: {private_memory(daemon.process.pid)} kB")
        expect(private_memory(daemon.process.pid) < 100, "the keeper has much memory of its own")
        all_right(point, "plain", "random")


@scenario("-F N: an inherited device, not yet bound, and then bound by an earlier daemon with images mounted",
          series=CACHEFILES)
def inherited_device():
    device = os.open("/dev/cachefiles", os.O_RDWR)
    try:
        options = ["-F", str(device)]
        first = Daemon(URL, options=options, pass_fds=[device])
        point = mount("plain.erofs")
        Child(compare, point, "plain", "random", 100).succeed()
        reader = Child(read_for, point, 5)
        os.kill(first.process.pid, signal.SIGKILL)
        for worker in first.workers():
            os.kill(worker, signal.SIGKILL)
        first.process.wait()
        kill_orphans()
        again = Daemon(URL, options=options, pass_fds=[device], directory=first.directory)
        reader.succeed()
        all_right(point, "plain", "random")
        umount(point)
        again.stop()
    finally:
        os.close(device)


class Manager(ServiceManager):
    """The service manager of a daemon that runs here."""

    def said(self, line, limit=10):
        eventually(lambda: self.listen() or line in self.lines, f"{line} of {self.lines}", limit)

    def start(self, *arguments, **more):
        """Runs the daemon as a service, with the stored descriptors."""
        self.lines = []
        through, environment, fds = self.service()
        return Daemon(*arguments, through=through, env=environment | {"WATCHDOG_USEC": "2000000"}, pass_fds=fds, **more)


@scenario("a service manager keeps the device: SIGKILL of all, SIGTERM, the watchdog; readers only wait", differs=True)
def service_manager():
    with Manager("cachefilesd-mini-test") as manager:
        restarts(manager)


def restarts(manager):
    daemon = manager.start(URL)
    directory = daemon.directory
    manager.said("READY=1")
    manager.said("WATCHDOG=1")
    point = mount("plain.erofs")
    manager.said("FDNAME=out0" if NBD else "FDNAME=state")
    expect(sorted(manager.stored) == (["in0", "out0", "socket0", "state"] if NBD else ["device", "state"]),
           f"stored: {manager.stored}")
    readers = [Child(compare, point, "plain", "random"), Child(read_for, point, 12)]
    for turn in range(4):
        time.sleep(1)
        manager.listen()        # the socket's queue is short
        if turn % 2:
            daemon.process.terminate()
            expect(daemon.process.wait(10) == 0, "SIGTERM with a stored device")
        else:
            kill_all(daemon)
        daemon = manager.start(URL, directory=directory)
        manager.said("READY=1")
    for reader in readers:
        reader.succeed()
    all_right(point, "plain", "random")
    os.kill(daemon.worker(), signal.SIGSTOP)
    time.sleep(1)
    manager.listen()
    manager.lines = []
    time.sleep(2)
    manager.listen()
    expect("WATCHDOG=1" not in manager.lines, "a stopped worker counts as alive")
    os.kill(daemon.worker(), signal.SIGCONT)
    manager.said("WATCHDOG=1")
    umount(point)
    daemon.stop()
