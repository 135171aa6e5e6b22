"""Verified images: the commands of cachefilesd-mini(8), to the letter; a mirror that lies."""
import os
import re
import shutil

from guest.common import (all_right, at_once, CACHEFILES, BLOCK, Child, checksum, contents, Daemon, DAEMON, detach,
                          drop_caches, eventually, expect, expect_eio, linked, mount, nginx, prime, program, RUN,
                          scenario, serving, umount, URL, verified)
from lib import find, verity
from lib.lying import LyingServer
from lib.tap import note

MANUAL = f"{find.TOP}/../man/cachefilesd-mini.8"
POINT, FOLDER = "/mnt", f"{RUN}/publish"


def recipe(name):
    """The commands below a comment in the manual."""
    text = contents(MANUAL).split(f'.\\" test: {name}\n')[1]
    block = re.match(r"\.Bd -literal -offset indent\n(.*?)\n\.Ed\n", text, re.S)[1]
    return re.sub(r"^[#$] ", "", block, flags=re.M).replace("\\e\n", "\\\n")


def obey(name, **environment):
    """Runs these commands, in FOLDER, with the daemon in PATH."""
    settings = [f"{key}={value}" for key, value in environment.items()]
    status, output = program("env", "-C", FOLDER, f"PATH={FOLDER}/bin:{os.environ['PATH']}", *settings, "sh", "-ec",
                             recipe(name))
    expect(status == 0, f"the commands of `{name}` end with {status}: {output}")


def prepare():
    """Makes FOLDER, with files in tree/, the program, and a key with its certificate."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(f"{FOLDER}/bin")
    os.symlink(DAEMON, f"{FOLDER}/bin/cachefilesd-mini")
    shutil.copytree(os.path.dirname(os.__file__) + "/encodings", f"{FOLDER}/tree/encodings")
    shutil.copy("plain.big", f"{FOLDER}/tree/big")
    shutil.copy("ec.pem", f"{FOLDER}/cert.pem")
    shutil.copy("ec.key", f"{FOLDER}/key.pem")


def compare():
    """Demands that all files at POINT are those of the tree."""
    for folder, _, names in os.walk(f"{FOLDER}/tree"):
        for name in names:
            path = os.path.join(folder, name)
            there = os.path.join(POINT, os.path.relpath(path, f"{FOLDER}/tree"))
            expect(checksum(there) == checksum(path), f"{there} differs")


def publish(*names):
    for name in names:
        shutil.copy(f"{FOLDER}/{name}", "www")


def take_down(*loops):
    """Ends what lies above the daemon's images, as far as it is there."""
    program("umount", POINT)
    for command in ("veritysetup", "close", "root"), *(("losetup", "-d", loop) for loop in loops):
        program(*command)


def damage(path, data):
    """Changes a bit of the middle of these bytes in a cache file, as a disk may."""
    at = contents_of(path).find(data)
    expect(at > 0, "what is damaged is not cached")
    with open(path, "r+b") as file:
        file.seek(at + len(data) // 2)
        byte = file.read(1)[0]
        file.seek(at + len(data) // 2)
        file.write(bytes([byte ^ 1]))
        os.fsync(file.fileno())
    drop_caches()


def contents_of(path):
    with open(path, "rb") as file:
        return file.read()


def is_found(cache_file, image):
    """Demands that a changed bit of an image that is cached is an error for who reads the big file, and no other."""
    data = contents_of(image)
    middle = len(data) // 8192 * 4096
    damage(cache_file, data[middle:middle + 4096])
    answer = Child(compare).answer()
    expect_eio(answer)
    log = program("dmesg")[1]
    expect(re.search(r"verity: .*: data block \d+ is corrupted", log), f"no word of it by the kernel: {log[-500:]}")


@scenario("a mirror that lies in 2 % of the data's blocks and 5 % of the tree's, and one that is honest: all is right")
def liar_and_honest():
    with LyingServer(["www/plain.erofs", "www/plain.erofs.verity"], 0.02, 0.05) as liar:
        with serving("plain.erofs", liar.url, f"url {URL}", *verified("plain"), "prefetch all") as (daemon, point):
            at_once(point)
            drop_caches()
            all_right(point, "plain")
            daemon.logs("does not fit the root hash")
            status, output = program(DAEMON, "--status")
            note(f"{liar.lies} blocks were changed of {liar.bytes_sent()} bytes: "
                 f"{re.search('verified:.*', output)[0]}")
            expect(liar.lies > 0 and liar.bytes_sent() > 0, "the liar was not asked")


@scenario("the manual's commands for publishing: tree, root hash, signature; the image is verified by them")
def published():
    prepare()
    obey("publish")
    obey("sign")
    publish(*(f"debian.erofs{end}" for end in ("", ".verity", ".roothash", ".roothash.p7s")))
    daemon = Daemon(URL, f"verity-key {FOLDER}/cert.pem", "trace none")
    point = mount("debian.erofs", at=POINT)
    compare()
    root = contents(f"{FOLDER}/debian.erofs.roothash")
    daemon.logs(f"debian.erofs: root hash {root}, signed by ")
    status, output = program(DAEMON, "--status")
    expect(f"verified: {root}" in output, output)
    umount(point)
    daemon.stop()


@scenario("the manual's dm-verity over an image in an image: compressed, in parts; a changed bit of the disk is EIO",
          True, series=CACHEFILES)
def nested():
    prepare()
    obey("nest")
    publish("outer.erofs")
    daemon = Daemon(URL, f"roothash outer.erofs {verity.make('www/outer.erofs')}", "trace none")
    os.makedirs("/run/outer", exist_ok=True)
    prime(daemon, "outer.erofs")
    start, size = nginx.mark(), os.path.getsize("www/outer.erofs")
    try:
        obey("nested", ROOTHASH=contents(f"{FOLDER}/root.roothash"))
        fetched = nginx.sent(start)
        note(f"{fetched} of {size} bytes were fetched to mount it")
        expect(fetched < size / 2, "the image was fetched whole")
        compare()
        drop_caches()
        compare()
        file, = linked(daemon, "outer.erofs")
        is_found(file, f"{FOLDER}/outer/root.erofs")
    finally:
        take_down("/dev/loop0", "/dev/loop1")
        program("umount", "/run/outer")
    daemon.stop()


@scenario("the manual's dm-verity over two block devices; a changed bit of the disk is EIO", True, series=BLOCK)
def below_verity():
    prepare()
    obey("publish")
    publish("debian.erofs", "debian.erofs.verity")
    root = contents(f"{FOLDER}/debian.erofs.roothash")
    daemon = Daemon(URL, f"roothash debian.erofs {root}", "verity allow", "trace none")
    try:
        obey("devices", ROOTHASH=root)
        compare()
        file, = linked(daemon, "debian.erofs")
        is_found(file, "www/debian.erofs")
    finally:
        take_down()
    eventually(lambda: not os.path.exists("/dev/mapper/root"), "the mapping is gone")
    for name in "debian.erofs", "debian.erofs.verity":
        detach(name)
    daemon.stop()
