"""Block devices: what ends and what goes on when the daemon, its configuration or its cache does not."""
import contextlib
import os
import random
import shutil
import signal
import socket
import time

from guest import devices
from guest.common import (all_right, attach, BLOCK, CA, Child, compare, contents, DAEMON, Daemon, detach,
                          drop_caches, eventually, expect, kill_all, LIMIT, linked, mount_device, NEVER, nginx,
                          program, read_for, REDIRECT_302, RUN, scenario, SERIES, some_right, stored, unmount, URL,
                          URL_TLS)
from guest.scenarios.block_images import POINT, is_refused
from lib.tap import note


def number_of(device):
    return int(device.removeprefix("/dev/nbd"))


def is_closed(connection):
    """Whether the other end is shut; what has come is dropped."""
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False


def terminated(daemon):
    """SIGTERM: the daemon has to end, with status 0."""
    daemon.process.terminate()
    eventually(daemon.ended, f"SIGTERM ends the daemon: {daemon.log()[-1000:]}", 10)
    expect(daemon.process.returncode == 0, f"it ended with {daemon.process.returncode}")


@scenario("keeper and worker are killed: readers wait until the next daemon serves the same device, and read on",
          True, series=BLOCK)
def both_killed():
    daemon = Daemon(URL_TLS, CA, "attach plain.erofs")
    device = attach("plain.erofs")
    devices.set_timer(number_of(device))
    mount_device(device, POINT)
    readers = [Child(read_for, POINT, 12) for _ in range(2)] + [Child(compare, POINT, "plain", "random")]
    for turn in range(4):
        time.sleep(random.uniform(0.2, 1.5))
        kill_all(daemon)
        time.sleep(random.uniform(0, 1))
        # What was attached by a line, and what was attached by a person: both are taken over.
        lines = ["attach plain.erofs"] if turn % 2 else []
        daemon = Daemon(URL_TLS, CA, *lines, directory=daemon.directory)
        daemon.logs("plain.erofs: /dev/nbd[0-9]+ is served again", 10)
    for reader in readers:
        reader.succeed()
    all_right(POINT, "plain", "random")
    expect(attach("plain.erofs") == device, "it is another device")
    unmount(POINT)
    terminated(daemon)
    expect(not devices.connected(), "a device was left behind")


@scenario("the keeper is killed: the worker serves on; killed too, the next daemon goes on", True, series=BLOCK)
def keeper_killed():
    daemon = Daemon(URL)
    device = attach("plain.erofs")
    devices.set_timer(number_of(device))
    mount_device(device, POINT)
    worker = daemon.worker()
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait()
    daemon.logs("the keeper has died")
    some_right(POINT)
    reader = Child(read_for, POINT, 8)
    time.sleep(1)
    os.kill(worker, signal.SIGKILL)
    daemon = Daemon(URL, directory=daemon.directory)
    reader.succeed()
    all_right(POINT, "plain", "random")
    unmount(POINT)
    terminated(daemon)


@scenario("a start while another daemon serves the image, with another cache: it ends, and the first one serves on",
          series=BLOCK)
def served_by_another():
    daemon = Daemon(URL, "attach second.erofs")
    device = attach("second.erofs")
    mount_device(device, POINT)
    other = f"{RUN}/other"
    os.makedirs(other)
    start = time.monotonic()
    status, output = program(DAEMON, "-n", "-s", "-o", f"dir {other}", "-o", "front nbd", "-o", "attach second.erofs",
                             "-o", f"control {RUN}/other.control", "-o", f"status {RUN}/other.status", URL, limit=20)
    note(f"it ended after {time.monotonic() - start:.1f} s: {output.splitlines()[-1]}")
    expect(status == 1 and f"another daemon serves it as {device}" in output, f"status {status}: {output}")
    all_right(POINT, "second")
    unmount(POINT)
    terminated(daemon)


@scenario("somebody else disconnects devices, and connects one: that is told, and left alone; the images can be "
          "attached anew, one that was mounted too", True, series=BLOCK)
def disconnected_by_others():
    daemon = Daemon(URL, "attach plain.erofs", "attach second.erofs")
    taken, mounted = attach("plain.erofs"), attach("second.erofs")
    mount_device(mounted, POINT)
    for name, device in ("plain.erofs", taken), ("second.erofs", mounted):
        devices.disconnect(number_of(device))
        daemon.logs(f"{name}: not attached any more: {device} has been disconnected", 10)
    with devices.connect(number_of(taken), "another") as stranger:
        expect("is not attached" in is_refused(detach, "plain.erofs"), "what was lost is not attached")
        expect("is in use" in is_refused(attach, "plain.erofs", taken), "the stranger's device is not taken")
        expect("has it already: unmount" in is_refused(attach, "second.erofs"), "one that is still mounted")
        unmount(POINT)
        again = attach("second.erofs")
        expect(again == mounted, f"{again}, not {mounted}")
        mount_device(again, POINT)
        all_right(POINT, "second")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.logs("reloaded", 10)
        other = attach("plain.erofs")
        expect(other != taken, "SIGHUP has taken the stranger's device")
        mount_device(other, f"{POINT}.other")
        all_right(f"{POINT}.other", "plain", "random")
        unmount(f"{POINT}.other")
        unmount(POINT)
        terminated(daemon)
        expect(devices.connected() == [number_of(taken)] and devices.backend(number_of(taken)) == "another",
               f"connected: {devices.connected()}")
        stranger.setblocking(False)
        expect(not is_closed(stranger), "the stranger's socket was shut")
    devices.disconnect(number_of(taken))


@contextlib.contextmanager
def mapped(device):
    """A device of dm on this one."""
    sectors = int(contents(f"/sys/block/{os.path.basename(device)}/size"))
    status, output = program("dmsetup", "create", "claims", "--readonly", "--noudevsync", "--table",
                             f"0 {sectors} linear {device} 0")
    expect(status == 0, f"dmsetup: {output}")
    try:
        yield
    finally:
        program("dmsetup", "remove", "--noudevsync", "claims")


@scenario("SIGTERM: refused while a device is mounted, a partition of it, or dm is on it; forced, it leaves these to "
          "the next start, and disconnects the rest", True, series=BLOCK)
def claimed():
    daemon = Daemon(URL)
    device, disk, below = attach("second.erofs"), attach("disk"), attach("squashfs")
    free = attach("plain.erofs")
    os.close(os.open(disk, os.O_RDONLY))
    eventually(lambda: os.path.exists(f"{disk}p1"), "the partition is there")
    with mapped(below):
        mount_device(device, POINT)
        mount_device(f"{disk}p1", f"{POINT}.p1")
        daemon.process.terminate()
        daemon.logs("not stopping: it would break 3 mounted images", 10)
        expect("is in use" in is_refused(detach, "squashfs"), "why it cannot be detached")
        all_right(f"{POINT}.p1", "second")
        terminated(daemon)
        left = [number_of(path) for path in (device, disk, below)]
        expect(devices.connected() == sorted(left), f"left: {devices.connected()}, and {free} was free")
        for number in left:
            devices.set_timer(number)
        drop_caches()
        reader = Child(compare, POINT, "second", "random")
        time.sleep(1)
        expect(not reader.ended(), "the reader did not wait")
        daemon = Daemon(URL, directory=daemon.directory)
        reader.succeed()
        all_right(f"{POINT}.p1", "second", "random")
        unmount(POINT)
        unmount(f"{POINT}.p1")
    terminated(daemon)
    expect(not devices.connected(), "a device was left behind")


@scenario("SIGHUP: a new line is attached; what has no line any more is detached, unless it is in use", series=BLOCK)
def reload_lines():
    path = f"{RUN}/lines.conf"

    def configure(*names):
        with open(path, "w") as file:
            file.write(f"url {URL}\n" + "".join(f"attach {name}\n" for name in names))

    def reload():
        worker = daemon.worker()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_worker(worker)

    configure("second.erofs", "squashfs")
    daemon = Daemon(options=["-f", path])
    daemon.logs("squashfs: attached as", 20)
    device = attach("second.erofs")
    mount_device(device, POINT)
    asked = attach("disk")              # a person's: no line decides about it
    configure("plain.erofs")
    reload()
    daemon.logs("plain.erofs: attached as", 20)
    daemon.logs("squashfs: /dev/nbd[0-9]+ is detached", 10)
    daemon.logs(f"second.erofs: its attach line is gone, but {device} is in use", 10)
    all_right(POINT, "second")
    unmount(POINT)
    reload()
    daemon.logs("second.erofs: /dev/nbd[0-9]+ is detached", 10)
    expect(attach("disk") == asked, "what a person has attached was touched")
    terminated(daemon)


@scenario("an image whose server never answers holds up no other, nor SIGTERM; one that comes later is attached then",
          True, series=BLOCK)
def stuck_line():
    with socket.create_server(("127.0.0.1", NEVER)):
        daemon = Daemon(f"http://127.0.0.1:{REDIRECT_302}/", "timeout 60", "attach never.erofs", "attach second.erofs")
        daemon.logs("second.erofs: attached as", 15)
        mount_device(attach("second.erofs"), POINT)
        all_right(POINT, "second")
        daemon.logs("never.erofs: not attached yet: its server does not answer", 15)
        unmount(POINT)
        terminated(daemon)
    daemon = Daemon(URL, "attach later.erofs")
    daemon.logs("later.erofs: not attached yet", 15)
    shutil.copy("www/second.erofs", "www/later.erofs")
    try:
        worker = daemon.worker()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_worker(worker)
        daemon.logs("later.erofs: attached as", 15)
    finally:
        os.unlink("www/later.erofs")
    terminated(daemon)


# ---- the cache ----------------------------------------------------------------------------------------


def file_system(name, mebibytes, make, *options):
    """Makes a file system in a file and mounts it. Returns its folder."""
    path, folder = f"/run/disk/{name}.image", f"{RUN}/{name}"
    with open(path, "wb") as file:
        file.truncate(mebibytes << 20)
    status, output = program(*make, path)
    expect(status == 0, f"{make}: {output}")
    mount_again(folder, *options)
    return folder


def mount_again(folder, *options):
    path = f"/run/disk/{os.path.basename(folder)}.image"
    os.makedirs(folder, exist_ok=True)
    # mount(8) would keep the loop device open for writing, which a kernel without BLK_DEV_WRITE_MOUNTED refuses.
    status, device = program("losetup", "--find", "--show", path)
    expect(status == 0, f"losetup: {device}")
    status, output = program("mount", "-t", "ext4", "-o", ",".join(("user_xattr",) + options), device, folder)
    program("losetup", "--detach", device)      # at its umount
    expect(status == 0, f"mount of {folder}: {output}")


def remove_file_system(folder):
    unmount(folder)
    os.unlink(f"/run/disk/{os.path.basename(folder)}.image")


EXT4 = ("/usr/sbin/mkfs.ext4", "-q", "-F", "-b", "4096")


@scenario("file systems that cannot hold a cache are refused, with what to use; tmpfs can", series=BLOCK)
def backing():
    def start(folder):
        command = [DAEMON, "-n", "-s", "-o", f"dir {folder}", "-o", "front nbd"]
        status, output = program(*command, URL, limit=10)
        tested, test_output = program(*command, "--test", URL)
        expect(status == 1 and tested == 2, f"{folder}: status {status}, --test {tested}: {output}")
        for text in output, test_output:
            expect("a cache needs a directory on ext4" in text, f"{folder}: {text}")
        note(output.splitlines()[-1])
        return output

    for name, make, options, why in (("writeback", EXT4, ("data=writeback",), "data=writeback"),
                                     ("nojournal", EXT4 + ("-O", "^has_journal"), (), "no journal"),
                                     ("ext2", ("/usr/sbin/mkfs.ext2", *EXT4[1:]), (), "no journal")):
        folder = file_system(name, 32, make, *options)
        expect(why in start(folder), f"{name}: why")
        remove_file_system(folder)
    os.makedirs(f"{RUN}/huge", exist_ok=True)
    if program("mount", "-t", "tmpfs", "-o", "huge=always", "huge", f"{RUN}/huge")[0] == 0:
        if os.path.exists("/sys/kernel/mm/transparent_hugepage"):
            start(f"{RUN}/huge")
        unmount(f"{RUN}/huge")
    else:
        note("this kernel has no huge pages for tmpfs")
    os.makedirs(f"{RUN}/tmpfs", exist_ok=True)
    program("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", f"{RUN}/tmpfs")
    daemon = Daemon(URL, directory=f"{RUN}/tmpfs")
    mount_device(attach("second.erofs"), POINT)
    all_right(POINT, "second", "random")
    start = nginx.mark()
    drop_caches()
    all_right(POINT, "second")
    expect(nginx.sent(start) == 0, "what was cached was fetched again")
    unmount(POINT)
    terminated(daemon)
    unmount(f"{RUN}/tmpfs")


@scenario("a small disk that gets full: EIO, the log says why; when there is room readers read on", True, series=BLOCK)
def small_disk():
    folder = file_system("small", 24, EXT4)
    daemon = Daemon(URL, "timeout 2", directory=folder)
    mount_device(attach("plain.erofs"), POINT)
    # Each READ that finds no room fails after five seconds, and the kernel repeats a page that was read ahead.
    answer = Child(compare, POINT, "plain").answer(4 * LIMIT)
    expect("[Errno 5]" in answer, f"no EIO but: {answer}")
    daemon.logs("cannot write to the cache: less space is free than bstop demands", 10)
    daemon.alive()
    free = os.statvfs(folder)
    note(f"{free.f_bavail} of {free.f_blocks} blocks are free")
    expect(free.f_bavail >= free.f_blocks // 100, "more was written than bstop allows")
    unmount(POINT)
    detach("plain.erofs")
    mount_device(attach("second.erofs"), POINT)         # the other one is culled for it
    all_right(POINT, "second", "random")
    expect(not linked(daemon, "plain.erofs"), f"cache files: {stored(daemon)}")
    unmount(POINT)
    terminated(daemon)
    remove_file_system(folder)


@scenario("the cache's file system turns read-only: EIO, the log says why, the daemon lives; repaired, it is filled on",
          True, series=BLOCK)
def read_only_disk():
    folder = file_system("broken", 96, EXT4, "errors=remount-ro")
    daemon = Daemon(URL, "timeout 2", directory=folder)
    mount_device(attach("plain.erofs"), POINT)
    some_right(POINT)
    source, = (line.split()[0] for line in contents("/proc/mounts").splitlines() if line.split()[1] == folder)
    with open(f"/sys/fs/ext4/{os.path.basename(source)}/trigger_fs_error", "w") as file:
        file.write("a test")
    answer = Child(compare, POINT, "plain").answer(4 * LIMIT)
    # Linux 6.1 may take bytes into its memory for a while, which are right then.
    in_memory = SERIES == "6.1" and answer == "ok"
    expect("[Errno 5]" in answer or in_memory, f"no EIO but: {answer}")
    if not in_memory:
        daemon.logs("cannot write to the cache: (I/O error|Read-only file system); its readers get an error", 10)
    daemon.alive()
    unmount(POINT)
    terminated(daemon)
    unmount(folder)
    status, output = program("/usr/sbin/e2fsck", "-fy", f"/run/disk/{os.path.basename(folder)}.image")
    expect(status in (0, 1), f"e2fsck: {output}")
    mount_again(folder)
    daemon = Daemon(URL, directory=folder)
    mount_device(attach("plain.erofs"), POINT)
    all_right(POINT, "plain")
    unmount(POINT)
    terminated(daemon)
    remove_file_system(folder)


@scenario("culling takes only cache files in the daemon's own folder: no link, no folder, no other name", series=BLOCK)
def culling_confined():
    directory = "/run/disk/confined"
    shutil.rmtree(directory, ignore_errors=True)
    own = f"{directory}/cachefilesd-mini"
    os.makedirs(own)
    names = [f"{digit * 16}.{digit * 16}" for digit in "0123"]
    victim = f"{directory}/{names[0]}"
    kept = [victim, f"{own}/{names[0]}x", f"{own}/{'4' * 33}", f"{own}/notes"]
    for path in kept + [f"{own}/{names[1]}"]:
        with open(path, "wb") as file:
            file.write(bytes(1 << 20))
        os.utime(path, (1, 1))
    os.symlink(f"../{names[0]}", f"{own}/{names[2]}")
    os.mkdir(f"{own}/{names[3]}")
    daemon = Daemon(URL, "budget 512K", directory=directory)
    mount_device(attach("second.erofs"), POINT)
    all_right(POINT, "second", "random")
    eventually(lambda: not os.path.exists(f"{own}/{names[1]}"), "an old cache file is gone", 10)
    for path in kept + [f"{own}/{names[3]}"]:
        expect(os.path.exists(path), f"{path} is gone")
    all_right(POINT, "second")
    unmount(POINT)
    terminated(daemon)
    shutil.rmtree(directory)
