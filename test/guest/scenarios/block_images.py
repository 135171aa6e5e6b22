"""Block devices: what lies on them, and what is read of the device itself."""
import mmap
import os
import random
import re

from guest import devices
from guest.common import (all_right, attach, BLOCK, cached_by, Child, compare, contents, DAEMON, Daemon, detach,
                          drop_caches, eventually, expect, expect_eio, linked, mount_device, nginx, PROBE,
                          program, RUN, scenario, stored, unmount, URL)
from guest.prepare import ODD, SECTOR
from guest.scenarios.versions import publish
from lib.tap import note

POINT = f"{RUN}/mnt/block"
LABEL = 256 << 10               # bytes: the longest that blkid reads at once


def device_size(device):
    with open(device, "rb") as file:
        return file.seek(0, os.SEEK_END)


def is_refused(function, *arguments):
    """Calls a function that has to fail. Returns why it did."""
    answer = Child(function, *arguments).answer()
    expect(answer.startswith("Failed: "), f"{function.__name__}{arguments} has answered {answer}")
    return answer


@scenario("squashfs, ext4, a partition of a disk: every file is right, lazily; what is in use cannot be detached",
          series=BLOCK)
def file_systems():
    daemon = Daemon(URL)
    for name, kind, options, part in (("squashfs", "squashfs", "ro", ""), ("ext4", "ext4", "ro,noload", ""),
                                      ("disk", "erofs", "ro", "p1")):
        start = nginx.mark()
        device = attach(name) + part
        os.close(os.open(device.removesuffix("p1"), os.O_RDONLY))       # the first open reads the table of partitions
        eventually(lambda: os.path.exists(device), f"{device} is there")
        mount_device(device, POINT, kind, options)
        fetched, size = nginx.sent(start, f"/{name}"), os.path.getsize(f"www/{name}")
        note(f"{name}: {fetched} of {size} bytes were fetched to mount it")
        # Both ends are fetched when a device is attached, as others look there.
        expect(size < 16 << 20 or fetched < size / 4, "much was fetched before anything was read")
        all_right(POINT, "second", "random")
        expect("is in use" in is_refused(detach, name), "why it cannot be detached")
        drop_caches()
        all_right(POINT, "second")
        expect(nginx.sent(start, f"/{name}") <= size + PROBE, "cached data were fetched again")
        unmount(POINT)
        detach(name)
    daemon.stop()


@scenario("blkid of a new device: at most 256 KiB are fetched before, and nothing that it does not read; guesses begin "
          "with a mount", series=BLOCK)
def attached_only():
    for word in "auto", "thrifty", "none":
        daemon = Daemon(URL, f"read-ahead {word}", "trace none")
        start = nginx.mark()
        device = attach("plain.erofs")
        nginx.quiet()
        before = nginx.sent(start, "/plain.erofs")
        expect(before <= (LABEL if word == "auto" else 4096), f"read-ahead {word}: {before} bytes were fetched")
        expect(program("blkid", "-p", "-o", "value", "-s", "TYPE", device) == (0, "erofs"), "blkid does not know it")
        nginx.quiet()
        fetched = nginx.sent(start, "/plain.erofs")
        note(f"read-ahead {word}: {before} bytes were fetched before blkid ran, {fetched} in all")
        # All of the label of ZFS, and some twenty pages.
        expect(fetched <= LABEL + 24 * 4096, f"read-ahead {word}: blkid had {fetched} bytes fetched")
        mount_device(device, POINT)
        expect(sum(len(files) for _, _, files in os.walk(POINT)) > 100, "files")
        nginx.quiet()
        more = nginx.sent(start, "/plain.erofs") - fetched
        expect(more > LABEL or word != "auto", f"{more} bytes were fetched for a mount")
        unmount(POINT)
        detach("plain.erofs")
        daemon.stop()


@scenario("an image and its extra blob: `-o device=/dev/nbd1`; two images share the blob, which is fetched once",
          series=BLOCK)
def extra_blob():
    daemon = Daemon(URL, "attach shared1.erofs", "attach shared2.erofs", "attach shared.blob /dev/nbd9")
    names = "shared1.erofs", "shared2.erofs", "shared.blob"
    one, two, blob = map(attach, names)
    expect(blob == "/dev/nbd9", f"the blob is {blob}")
    mount_device(one, POINT, options=f"ro,device={blob}")
    all_right(POINT, "second", "random")
    unmount(POINT)
    start = nginx.mark()
    mount_device(two, POINT, options=f"ro,device={blob}")
    all_right(POINT, "second", "random")
    expect(nginx.sent(start, "/shared.blob") == 0, "the shared blob was fetched again")
    unmount(POINT)
    daemon.stop()
    expect(not devices.connected(), "a device was left behind")


def odd_bytes():
    """The bytes of the image whose size is odd, and the zeros behind it."""
    with open("www/odd", "rb") as file:
        return file.read().ljust(-(-ODD // 4096) * 4096, b"\0")


def read_directly(device, count=150):
    """Compares sectors that are read without the page cache, of any number, at any place."""
    wanted, memory = odd_bytes(), mmap.mmap(-1, 1 << 20)
    file = os.open(device, os.O_RDONLY | os.O_DIRECT)
    for _ in range(count):
        offset = random.randrange(len(wanted) // SECTOR) * SECTOR
        length = min(random.choice((1, 3, 8, 129, 258, 2047)) * SECTOR, len(wanted) - offset)
        got = os.preadv(file, [memoryview(memory)[:length]], offset)
        expect(memory[:got] == wanted[offset:offset + length], f"{length} bytes at {offset} differ")
    os.close(file)


def write_to(device):
    file = os.open(device, os.O_RDWR)
    os.pwrite(file, bytes(4096), 0)
    os.fsync(file)


@scenario("the device itself, read directly: any sectors, exact; zeros from the image's end to the device's",
          series=BLOCK)
def sectors():
    daemon = Daemon(URL)
    device, wanted = attach("odd"), odd_bytes()
    expect(device_size(device) == len(wanted), f"the device has {device_size(device)} bytes")
    with open(device, "rb") as file:
        file.seek(-SECTOR * 16, os.SEEK_END)
        expect(file.read() == wanted[-SECTOR * 16:], "the end differs")
    for reader in [Child(read_directly, device) for _ in range(4)]:
        reader.succeed()
    with open(device, "rb") as file:
        expect(file.read() == wanted, "the whole differs")
    expect(linked(daemon, "odd"), "there is no cache file of that name")
    answer = Child(write_to, device).answer()
    expect(answer.startswith("PermissionError"), f"writing to it: {answer}")
    detach("odd")
    daemon.stop()


@scenario("another version on the server: what is attached goes on from its own cache file, what is missing fails; "
          "attached anew it is the other one, in another file", True, series=BLOCK)
def another_version():
    publish("v1")
    daemon = Daemon(URL, "timeout 3")
    device = attach("versioned.erofs")
    mount_device(device, POINT)
    Child(compare, POINT, "v1", "sorted", 6).succeed()
    publish("v2")
    drop_caches()
    expect(attach("versioned.erofs") == device, "attached already, it got another device")
    expect_eio(Child(compare, POINT, "v1").answer())
    drop_caches()
    Child(compare, POINT, "v1", "sorted", 6).succeed()
    unmount(POINT)
    detach("versioned.erofs")
    mount_device(attach("versioned.erofs"), POINT)
    all_right(POINT, "v2", "random")
    expect(len(linked(daemon, "versioned.erofs")) == 2, f"cache files: {stored(daemon)}")
    publish("v1")
    drop_caches()
    all_right(POINT, "v2")
    unmount(POINT)
    detach("versioned.erofs")
    start, before = nginx.mark(), cached_by(daemon)
    mount_device(attach("versioned.erofs"), POINT)
    Child(compare, POINT, "v1", "sorted", 6).succeed()
    expect(cached_by(daemon) - before <= nginx.sent(start), "more is cached than was fetched")
    note(f"the first version again: {nginx.sent(start)} bytes fetched for what was cached")
    expect(nginx.sent(start) < 6 * PROBE, "its cache file was not found again")
    unmount(POINT)
    detach("versioned.erofs")
    daemon.stop()


@scenario("lines of the configuration: each gets its device, and one that fails stops no other; a URL that names one "
          "file", True, series=BLOCK)
def lines():
    daemon = Daemon(f"{URL}second.erofs")
    daemon.logs("second.erofs: attached as /dev/nbd", 20)
    daemon.stop()
    daemon = Daemon(URL, "attach later.erofs", "attach plain.erofs /dev/nbd4", "attach second.erofs", "timeout 2")
    daemon.logs("plain.erofs: attached as /dev/nbd4", 20)
    daemon.logs("later.erofs: not attached yet: .*(404|not found|no such)", 20)
    mount_device(attach("second.erofs"), POINT)
    all_right(POINT, "second", "random")
    unmount(POINT)
    expect(devices.backend(4).startswith("cachefilesd-mini:plain.erofs:"), f"backend: {devices.backend(4)}")
    daemon.stop()


@scenario("--attach: what is refused, and why; hostile names", True, series=BLOCK)
def refused():
    daemon = Daemon(URL, "timeout 2")
    other = devices.connect(5, "another program")
    try:
        expect("/dev/nbd5 is in use" in is_refused(attach, "second.erofs", "/dev/nbd5"), "whose device it is")
    finally:
        devices.disconnect(5)
        other.close()
    expect("404" in is_refused(attach, "no-such.erofs") or "no-such" in daemon.log(), "no such image")
    first = attach("second.erofs", "/dev/nbd3")
    expect(first == "/dev/nbd3" == attach("second.erofs"), f"it is {first}")
    expect("/dev/nbd3" in is_refused(attach, "second.erofs", "/dev/nbd6"), "where it is attached")
    expect("not attached" in is_refused(detach, "plain.erofs"), "it is not attached")
    status, output = program(DAEMON, "-o", f"dir {daemon.directory}", "--prime", "second.erofs")
    expect(status == 0 and "nothing to do" in output, f"--prime: {status}: {output}")
    for name in "..", ".", "../second.erofs", "/etc/passwd", "\x01\x1b[31m\n", "a b c", "n" * 300, "second.erofs\nx":
        why = is_refused(attach, name)
        note(f"{name[:20]!r}: {why.splitlines()[-1][:100]}")
    with open(daemon.log_path, "rb") as file:
        log = file.read()
    expect(all(32 <= byte < 127 or byte == 10 for byte in log), "a control byte is in the log")
    expect(all(line.startswith(b"cachefilesd-mini: ") for line in log.splitlines()), "a forged line is in the log")
    expect(not re.search(r"/\.\.?[/ ]", contents(nginx.log)), "the server was asked for a path that climbs")
    expect(os.stat("/run/cachefilesd-mini.control").st_mode & 0o777 == 0o600, "others may use the control socket")
    daemon.stop()


@scenario("more images than places: the table is full, and says so; a place that is free again is used", series=BLOCK)
def places():
    for number in range(17):
        os.symlink("second.erofs", f"www/many{number}")
    try:
        daemon = Daemon(URL)
        names = [f"many{number}" for number in range(16)]
        found = [attach(name) for name in names]
        expect(len(set(found)) == 16, f"devices: {found}")
        expect("taken" in is_refused(attach, "many16"), "a seventeenth")
        for name, device in list(zip(names, found))[::5]:
            mount_device(device, POINT)
            Child(compare, POINT, "second", "random", 20).succeed()
            unmount(POINT)
        detach("many7")
        expect(attach("many16") in found, "another place was taken")
        daemon.stop()
        expect(not devices.connected(), "a device was left behind")
    finally:
        for number in range(17):
            os.unlink(f"www/many{number}")
