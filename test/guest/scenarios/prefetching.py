"""Bytes are fetched before readers ask for them: by a trace, all of an image, a directory's names."""
import os
import shutil

from guest.common import (at_once, CACHEFILES, checksum, Child, contents, eventually, expect, expected, LIMIT,
                          nginx, RUN, scenario, serving, URL)
from lib.tap import note


@scenario("a boot trace: recorded, published, fetched ahead of the readers on the next cold start", differs=True)
def trace():
    files = sorted(path for path, (kind, _) in expected("plain").items() if kind == "file")[::7]

    def read_some(point):
        for path in files:
            expect(checksum(f"{point}/{path}") == expected("plain")[path][1], f"{path} differs")

    recorded = f"{RUN}/recorded/"
    os.mkdir(recorded)
    with serving("plain.erofs", URL, f"trace record {recorded}") as (_, point):
        Child(read_some, point).succeed()
    lines = contents(f"{recorded}plain.erofs.trace").splitlines()
    total = sum(int(line.split()[1]) for line in lines if not line.startswith("#"))
    shutil.copy(f"{recorded}plain.erofs.trace", "www/plain.erofs.trace")
    try:
        before = nginx.mark()
        with serving("plain.erofs", URL) as (daemon, point):
            daemon.logs("its trace of [0-9]+ ranges is fetched first")
            eventually(lambda: nginx.sent(before, "/plain.erofs") >= total, "its bytes, unasked")
            Child(read_some, point).succeed()
    finally:
        os.unlink("www/plain.erofs.trace")


@scenario("prefetch all: the image is whole by itself; then the server can go, and all is right")
def prefetch():
    with serving("plain.erofs", URL, "prefetch all") as (daemon, point):
        daemon.logs("all [0-9]+ bytes are cached", LIMIT)
        nginx.kill()
        try:
            at_once(point)
        finally:
            nginx.start()


@scenario("a tree walk: names are known before they are looked up, also while the image is filled", series=CACHEFILES)
def walk():
    for words in (), ("prefetch all", "prefetch-rate 16K"):
        with serving("plain.erofs", URL, "trace none", *words, debug=True) as (daemon, point):
            count = Child(lambda: str(sum(len(os.lstat(os.path.join(d, n))[:1]) for d, _, names in
                                          os.walk(point) for n in names))).answer()
            asked = daemon.log().count("opcode 2")
            note(f"{' '.join(words)}: {count} files were looked at for {asked} READs")
        expect(asked * 4 < int(count), "each block of names was asked for by itself")
