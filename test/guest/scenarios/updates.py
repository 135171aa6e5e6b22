"""Updates of verified images: the next build is read from the cache of the one before, and fetched where it is new."""
import os
import random

from guest.common import (BLOCK, CACHEFILES, Child, compare, contents, Daemon, drop_caches, expect, mount, nginx,
                          scenario, stored, umount, URL)
from lib.tap import note

BLOCK_SIZE = 4096


def root(build):
    return contents(f"update-{build}.roothash").strip()


def line(build):
    return f"roothash update-{build}.erofs {root(build)}"


def blocks_of(build):
    with open(f"www/update-{build}.erofs", "rb") as file:
        return list(iter(lambda: file.read(BLOCK_SIZE), b""))


def visit(build, count=None):
    """Mounts a build, compares all files with it, or the first `count`. Returns the bytes fetched for it."""
    start = nginx.mark()
    point = mount(f"update-{build}.erofs")
    Child(compare, point, f"update-{build}", "sorted", count).succeed()
    nginx.quiet()
    fetched = nginx.sent(start, f"/update-{build}.erofs")
    drop_caches()
    umount(point)
    return fetched


@scenario("the next build: the same files cost at most a third, the whole at most what differs and an eighth",
          series=BLOCK)
def next_build():
    daemon = Daemon(URL, line(1), line(2), "trace none")
    old, new = blocks_of(1), blocks_of(2)
    had = set(old)
    differ = sum(block not in had for block in new) * BLOCK_SIZE
    tree = os.path.getsize("www/update-2.erofs.verity")
    first, second = visit(1), visit(2)
    note(f"{len(new) * BLOCK_SIZE} bytes, of which {differ} differ, and a tree of {tree}: {first} and {second} were "
         "fetched")
    expect(second <= first / 3, f"{second} bytes of the next build, {first} of the first")
    expect(second <= 1.12 * (differ + tree), f"{second} bytes for {differ} and a tree of {tree}")
    daemon.logs("update-2.erofs: [0-9]+ bytes came from the version before: all that both have", 60)
    expect(len(stored(daemon)) == 1, f"cache files: {stored(daemon)}")
    back = visit(1)
    note(f"back: {back}")
    expect(back <= first / 3, f"{back} bytes of the first build, to which was gone back")
    daemon.stop()


@scenario("the next build, from the kernel's cache file of the one before", series=CACHEFILES)
def next_build_by_cachefiles():
    daemon = Daemon(URL, line(1), line(2), "trace none")
    first, second = visit(1), visit(2)
    note(f"{first} and {second} were fetched")
    daemon.logs("update-2.erofs: [0-9]+ bytes came from the version before: all that both have", 60)
    expect(second <= first / 3, f"{second} bytes of the next build, {first} of the first")
    daemon.stop()


@scenario("a build of which a part was read, changed on the disk: no byte of the next one is wrong", series=BLOCK)
def next_build_of_spoilt():
    daemon = Daemon(URL, line(1), line(2), "trace none", "read-ahead none")
    visit(1, 100)
    path, = stored(daemon)
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        for _ in range(size // BLOCK_SIZE // 4):
            file.seek(random.randrange(size))
            file.write(os.urandom(100))
    visit(2)
    daemon.stop()
