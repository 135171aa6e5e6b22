"""The cache's size: budget, full disks, culling."""
import glob
import os
import re
import shutil

from guest.common import (CACHEFILES, Child, compare, Daemon, device_free, drop_caches, eventually, expect,
                          expect_eio, linked, mount, nginx, remembered, RUN, scenario, some_right, umount,
                          URL)
from lib import exposition


def publish_more(count):
    """Publishes one image with several names. Returns its size."""
    for number in range(1, count + 1):
        shutil.copy("v1.erofs", f"www/more{number}")
    return os.path.getsize("v1.erofs")


def look_into(number, umounts=True):
    point = mount(f"more{number}")
    Child(compare, point, "v1", "random").succeed()
    if umounts:
        umount(point)
    return point


def cached(daemon, numbers=range(1, 9)):
    """The numbers of the images that have a file in the cache."""
    return [number for number in numbers if linked(daemon, f"more{number}")]


@scenario("budget: the images that were not used for longest go, with what is remembered of them; none in use",
          differs=True)
def budget():
    size = publish_more(6)
    daemon = Daemon(URL, f"budget {2 * size + size // 2}", "user nobody", f"status {RUN}/budget.status")
    for number in 1, 2:
        look_into(number)
    eventually(lambda: cached(daemon) == [1, 2], "two are in the cache")
    look_into(1)
    look_into(3)
    eventually(lambda: cached(daemon) == [1, 3], "the second, which was not used for longest, is gone", 10)
    eventually(lambda: len(remembered(daemon)) == 2, "nothing is remembered of it", 10)
    eventually(lambda: not glob.glob(f"{daemon.directory}/cache/I*more2"), "its folders are gone", 10)
    point = look_into(1, umounts=False)
    for number in 4, 5:
        look_into(number)
        eventually(lambda: cached(daemon) == [1, number], f"only 1, which is in use, and {number}", 10)
    start = nginx.mark()
    drop_caches()
    Child(compare, point, "v1").succeed()
    expect(nginx.sent(start) == 0, "an image in use was not left alone")
    two = look_into(5, umounts=False)
    look_into(6)
    eventually(lambda: cached(daemon) == [1, 5], "the one just used goes, if the others are in use", 10)
    three = look_into(6, umounts=False)
    umount(point)
    umount(two)
    umount(three)
    eventually(lambda: len(cached(daemon)) == 2, "two are left", 10)
    look_into(2)
    culls = exposition.Metrics(exposition.ask(f"{RUN}/budget.status"))["culls_total"]
    logged = len(re.findall(": culled, ", daemon.log()))
    expect(culls == logged >= 4, f"{culls} are counted of {logged}")
    daemon.stop()
    eventually(device_free, "the device is free", 2)


@scenario("-N: nothing is culled, and the log says what is too much")
def nocull():
    size = publish_more(3)
    daemon = Daemon(URL, f"budget {size}", options=("-N",))
    for number in 1, 2, 3:
        look_into(number)
    daemon.logs("budget: .* too many, and nothing may be culled", 10)
    expect(cached(daemon) == [1, 2, 3], f"left: {cached(daemon)}")
    daemon.stop()


@scenario("culling never leaves the cache: links to elsewhere, odd names, folders; the graveyard is emptied",
          series=CACHEFILES)
def cull_confined():
    size = publish_more(2)
    directory = f"{RUN}/../disk/confined"
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(f"{directory}/outside/@00")
    victims = [f"{directory}/outside/@00/Dvictim", f"{directory}/outside/Dvictim", f"{directory}/Dvictim"]
    for victim in victims:
        with open(victim, "wb") as file:
            file.write(bytes(1 << 20))
        os.utime(victim, (1, 1))
    os.makedirs(f"{directory}/graveyard/1234/@00/deep/deeper")
    for path in "loose", "1234/@00/Dfile", "1234/@00/deep/deeper/file":
        with open(f"{directory}/graveyard/{path}", "w") as file:
            file.write("buried")
    os.symlink("../outside", f"{directory}/graveyard/link")
    daemon = Daemon(URL, f"budget {size}", directory=directory)
    os.symlink("../outside", f"{directory}/cache/Ierofs,outside")
    os.makedirs(f"{directory}/cache/Ierofs,odd/@00")
    os.symlink("../../outside", f"{directory}/cache/Ierofs,odd/@01")
    os.symlink("../../../outside/Dvictim", f"{directory}/cache/Ierofs,odd/@00/Dlink")
    os.mkdir(f"{directory}/cache/Ierofs,odd/@00/Dfolder")
    with open(f"{directory}/cache/Ierofs,odd/@00/D\nx", "w") as file:
        file.write("x")
    for number in 1, 2:
        look_into(number)
    eventually(lambda: cached(daemon) == [2], "the first is gone", 10)
    eventually(lambda: os.listdir(f"{directory}/graveyard") == [], "the graveyard is empty", 10)
    for victim in victims:
        expect(os.path.exists(victim), f"{victim} is gone")
    daemon.stop()
    shutil.rmtree(directory)


@scenario("the disk is full: unused images go; then readers get EIO, the log says how much is missing, and when "
          "there is room all goes on", True)
def full():
    publish_more(2)
    daemon = Daemon(URL, "brun 30%", "bcull 20%", "bstop 10%")
    for number in 1, 2:
        look_into(number)
    point = mount("plain.erofs")
    os.listdir(point)
    space = os.statvfs("/run/disk")
    keep = space.f_blocks * 9 // 100
    filler = f"{daemon.directory}/filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, (space.f_bavail - keep) * space.f_frsize)
    try:
        expect_eio(Child(compare, point, "plain").answer())
        eventually(lambda: cached(daemon) == [], "what is not in use is culled", 10)
        daemon.logs("the cache is full: .* bytes are missing, and all images are in use", 10)
        daemon.logs("plain.erofs: cannot write to the cache: less space is free than bstop demands")
        daemon.alive()
    finally:
        os.unlink(filler)
    some_right(point)
    umount(point)
    daemon.stop()
