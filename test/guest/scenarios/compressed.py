"""LZ4 images: fetched whole, or in parts by a patched kernel."""
import errno
import os

from guest.common import (ALL, all_right, at_once, CA, Child, compare_big, compare_pieces, Daemon, drop_caches,
                          expect, expect_eio, expected, mount, nginx, scenario, seen, serving, some_right,
                          sprinkle, umount, URL, URL_TLS)
from lib.tap import note


# A block device needs no patched kernel.
IN_PARTS = {"cachefiles": ("6.12-patched",), "nbd": ALL}


@scenario("LZ4 image: right bytes in random order, the whole image fetched first and the log says so",
          series={"cachefiles": ("6.12",)})
def lz4():
    with serving("lz4.erofs", URL_TLS, CA) as (daemon, point):
        Child(compare_pieces, point, "plain").succeed()
        all_right(point, "plain", "random")
        daemon.logs(r"lz4\.erofs.*(whole|compress)|(whole|compress).*lz4\.erofs")
        fetched, size = nginx.sent(uri="/lz4.erofs"), os.path.getsize("www/lz4.erofs")
        expect(fetched >= size, f"{fetched} bytes of {size} were fetched")
        drop_caches()
        some_right(point)
        expect(nginx.sent(uri="/lz4.erofs") == fetched, "cached data were fetched again")


@scenario("LZ4 image on a kernel before 6.9: a compressed file gives EOPNOTSUPP, and the log has said so", 
          series={"cachefiles": ("6.1",)})
def lz4_too_early():
    with serving("lz4.erofs", URL) as (daemon, point):
        daemon.logs(r"lz4\.erofs: this kernel opens none of its compressed files \(EOPNOTSUPP\)")
        answer = Child(compare_big, point).answer()
        expect(f"[Errno {errno.EOPNOTSUPP}]" in answer, f"a compressed file: {answer}")


@scenario("compressed lazy: LZ4 in parts, four readers at once in random order on an empty cache",
          series=IN_PARTS)
def lazy():
    size = os.path.getsize("www/lz4.erofs")
    files = sum(kind == "file" for kind, _ in expected("plain").values())
    expect(files > 1000, f"only {files} files are in the image")
    start = nginx.mark()
    daemon = Daemon(URL_TLS, CA, "compressed lazy")
    point = mount("lz4.erofs")
    expect(seen(f"{point}/odd/17", "file") == expected("plain")["odd/17"][1], "odd/17 differs")
    first = nginx.sent(start)
    note(f"{files} files in {size} bytes; {first} fetched for the mount and the first file")
    expect(first < size / 4, "much was fetched for one small file")
    Child(sprinkle, point).succeed()
    Child(compare_pieces, point, "plain").succeed()
    fetched = nginx.sent(start)
    drop_caches()                       # the readers' bios then meet cached parts
    at_once(point)
    note(f"{fetched} bytes fetched for pieces, {nginx.sent(start)} for all")
    expect(nginx.sent(start) < 1.5 * size, "much was fetched more than once")
    start = nginx.mark()
    drop_caches()
    at_once(point, 2)
    expect(nginx.sent(start) == 0, "cached data were fetched again after drop_caches")
    umount(point)
    daemon.stop()


@scenario("compressed lazy: LZ4 in clusters of 64 KiB, partly cached in an earlier session",
          series=IN_PARTS, differs=False)
def lazy_again():
    daemon = Daemon(URL, "compressed lazy")
    size = os.path.getsize("www/lz4-64k.erofs")
    start = nginx.mark()
    for function, arguments in (compare_pieces, ("plain", 20)), (sprinkle, (4,)):
        point = mount("lz4-64k.erofs")
        Child(function, point, *arguments).succeed()
        fetched = nginx.sent(start)
        note(f"{fetched} bytes of {size} fetched when a session ends")
        umount(point)
    expect(fetched < size, "nothing was left to fetch")
    point = mount("lz4-64k.erofs")
    at_once(point)
    expect(nginx.sent(start) < 1.5 * size, "much was fetched more than once")
    umount(point)
    daemon.stop()


@scenario("compressed lazy: nginx gone while partly cached files are read: EIO, then all is well", True,
          series=IN_PARTS)
def lazy_outage():
    with serving("lz4.erofs", URL, "compressed lazy", "timeout 1") as (daemon, point):
        Child(sprinkle, point, 20).succeed()
        drop_caches()
        nginx.kill()
        readers = [Child(compare_big, point) for _ in range(3)]
        for answer in [reader.answer() for reader in readers]:
            expect_eio(answer)
        daemon.alive()
        nginx.start()
        at_once(point, 2)
