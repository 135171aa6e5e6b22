"""Updates of verified images: what the version before has is taken from its cache file."""
import contextlib
import os
import random
import tempfile
import time

from lib import verity
from lib.nbd import Nbd
from scenarios.common import KIB, MIB, Server, each, image, kill_worker, padded, scenario
from scenarios.nbd_common import blocks, need, recovers, reload

BLOCK = verity.BLOCK
SIZE = 2500                     # blocks
FOLDER = "cachefilesd-mini"


def versions(seed, size=SIZE, changed=12):
    """Two images as mkfs.erofs makes them of two builds: runs of blocks that are new, gone, or elsewhere. And the
    number of blocks of the second that the first does not have."""
    rng = random.Random(f"versions {seed}")
    old = [rng.randbytes(BLOCK) for _ in range(size)]
    new = list(old)
    for _ in range(changed):
        at, count = rng.randrange(len(new)), rng.randrange(1, 16)
        new[at:at + rng.randrange(16)] = [rng.randbytes(BLOCK) for _ in range(count)]
    a, b = sorted(rng.sample(range(len(new)), 2))
    new = new[b:] + new[a:b] + new[:a]                  # a folder that was renamed
    new[:2] = [rng.randbytes(BLOCK) for _ in range(2)]
    had = set(old)
    return b"".join(old), b"".join(new), sum(block not in had for block in new)


def publish(server, name, data, salt=b""):
    """Returns the directive."""
    tree, root = verity.tree(data, salt)
    server.images[f"/{name}"], server.images[f"/{name}.verity"] = data, tree
    return f"roothash {name} {root}"


@contextlib.contextmanager
def session(server, n, data, name="img", *directives, salt=b"", **more):
    """One run of the daemon, whose cache is kept. Yields the stand-in and the device."""
    with blocks(server, n, publish(server, name, data, salt), *directives, attach=(name,), keep=True, **more) as k:
        yield k, k.attached(name)


def read_all(d, data, step=128 * KIB):
    for offset in range(0, len(data), step):
        need(d, data, offset, min(step, len(data) - offset))


@contextlib.contextmanager
def fetched(data, name="img", **more):
    """One run of the daemon has fetched all of the image. Yields the server, the devices and the stand-in of that."""
    with Nbd() as n, Server() as s:
        with session(s, n, data, name, **more) as (k, d):
            read_all(d, data)
        yield s, n, k


def stored(k):
    """The cache files in the folder, and the trees."""
    names = os.listdir(os.path.join(k.cache, FOLDER))
    return {x for x in names if len(x) == 33}, {x for x in names if x.endswith(".verity")}


def path(k, name):
    return os.path.join(k.cache, FOLDER, name)


def sent(server, name, since):
    """Bytes of the image and its tree."""
    return sum(server.bytes_sent(f"/{name}{suffix}", since=since) for suffix in ("", ".verity"))


def bound(server, name, differ):
    """What an update may cost: the new blocks and the tree, an eighth more, and what an OPEN fetches unseen."""
    return 1.12 * (differ * BLOCK + len(server.images[f"/{name}.verity"])) + 64 * KIB


def all_taken(k):
    return k.wait_log(r"\d+ bytes came from the version before: all that both have", 30)


@each("img", "img-2.erofs", "next", "given")
def update(name):
    """a changed image, or the next name: what both have is not fetched, the old file goes when all is copied"""
    old, new, differ = versions(name)
    before = {"img-2.erofs": "img-10.erofs", "next": "last-7-base", "given": "other"}.get(name, name)
    directives = {"next": ("reuse last*base",), "given": ("reuse other",)}.get(name, ())
    with fetched(old, before) as (s, n, k):
        first, mark = stored(k), len(s.requests)
        with session(s, n, new, name, *directives, after=k) as (k, d):
            read_all(d, new)
            all_taken(k)
            second = stored(k)
            assert len(second[0]) == len(second[1]) == 1 and not first[0] & second[0] and not first[1] & second[1]
            s.stop()
            read_all(d, new)
        assert sent(s, name, mark) <= bound(s, name, differ), (sent(s, name, mark), differ * BLOCK)


@scenario
def update_of_a_part():
    """what the version before has not cached is fetched; the rest is copied meanwhile, its tree comes in long ranges"""
    old, new, differ = versions("part", 4 * SIZE)
    with Nbd() as n, Server() as s:
        with session(s, n, old, "img", "read-ahead none") as (k, d):
            for offset in range(0, len(old) // 2, 128 * KIB):
                need(d, old, offset, 128 * KIB)
        mark = len(s.requests)
        with session(s, n, new, after=k) as (k, d):
            k.wait_log("came from the version before", 60)      # the tree is fetched when nothing else is to do
            copied, size = sent(s, "img", mark), len(s.images["/img.verity"])
            assert copied <= size + 512 * KIB, copied
            asked = sum(r.path == "/img.verity" for r in s.requests[mark:])
            assert asked <= size / BLOCK / 8 + 5, asked         # 8 is the least for a link
            read_all(d, new)
        assert len(new) // 2 < sent(s, "img", mark) < len(new) // 2 + bound(s, "img", differ), sent(s, "img", mark)


REGION = 512 * KIB              # where no file is known, what is fetched near a READ lies in it


PIECE = 2 * BLOCK               # a READ of one block would be one of an inode


def sparsely(seed, regions=32):
    """Two images, and the places of the pieces that only the second has: in each region, at the end of what a READ may
    have with it. There are none in the last regions, so that the update waits for their digests."""
    old = random.Random(f"sparsely {seed}").randbytes(regions * REGION)
    new, places = bytearray(old), range(128 * KIB - PIECE, len(old) - 8 * REGION, REGION)
    for at in places:
        new[at:at + PIECE] = random.Random(f"{seed} {at}").randbytes(PIECE)
    return old, bytes(new), places


def passes_over(server, data, places, read):
    """With the new pieces that are read nothing is fetched of what the version before has not cached; with a READ of
    that something is."""
    mark = len(server.requests)
    for at in places:
        read(at, PIECE)
    time.sleep(0.5)
    # And what an OPEN fetches, and the first READ by cachefiles.
    most = len(places) * PIECE + 256 * KIB
    assert server.bytes_sent("/img", since=mark) <= most, (server.bytes_sent("/img", since=mark), most)
    mark = len(server.requests)
    read(len(data) - REGION // 2, PIECE)
    end = time.monotonic() + 20
    while server.bytes_sent("/img", since=mark) < REGION // 2:
        assert time.monotonic() < end, f"{server.bytes_sent('/img', since=mark)} bytes near a READ of a new reader"
        time.sleep(0.1)


@scenario
def update_guesses():
    """what the version before has and has not cached is fetched for READs only, and near READs of it"""
    old, new, places = sparsely("nbd")
    with Nbd() as n, Server() as s:
        with session(s, n, old, "img", "read-ahead none") as (k, d):
            for offset in range(0, len(old), REGION):
                need(d, old, offset, BLOCK)
        with session(s, n, new, after=k) as (k, d):
            passes_over(s, new, places, lambda offset, length: need(d, new, offset, length))


@scenario
def update_in_any_order():
    """READs at random places find as much"""
    old, new, differ = versions("random")
    with fetched(old) as (s, n, k):
        mark = len(s.requests)
        with session(s, n, new, after=k) as (k, d):
            offsets = list(range(0, len(new), 32 * KIB))
            random.Random(7).shuffle(offsets)
            for offset in offsets:
                need(d, new, offset, min(32 * KIB, len(new) - offset))
            all_taken(k)
        assert sent(s, "img", mark) <= bound(s, "img", differ), (sent(s, "img", mark), differ * BLOCK)


def spoil(k, what):
    """Changes what the version before has left."""
    files, trees = stored(k)
    file, tree, = path(k, *files), path(k, *trees)
    if what == "every byte changed":
        with open(file, "r+b") as f:
            data = f.read()
            f.seek(0)
            f.write(bytes(b ^ 1 for b in data))
    elif what == "truncated":
        os.truncate(file, os.path.getsize(file) // 2)
    elif what == "empty":
        os.truncate(file, 0)
    elif what == "missing":
        os.unlink(file)
    elif what == "a folder":
        os.unlink(file)
        os.mkdir(file)
    elif what == "no tree":
        os.unlink(tree)
    elif what == "another tree":
        with open(tree, "r+b") as f:
            size = os.path.getsize(tree)
            f.seek(8192)
            f.write(random.Random(1).randbytes(size - 8192))
    elif what == "digests elsewhere":
        with open(tree, "r+b") as f:
            data = f.read()
            f.seek(8192)
            f.write(data[8192 + 320:])


SPOILT = ("every byte changed", "truncated", "empty", "missing", "a folder", "no tree", "another tree",
          "digests elsewhere")


@each(*SPOILT)
def update_from_spoilt(what):
    """what lies in the place of the version before is not believed: all bytes are right"""
    old, new, differ = versions(what)
    with fetched(old) as (s, n, k):
        spoil(k, what)
        with session(s, n, new, after=k) as (k, d):
            read_all(d, new)
            k.wait_log("came from the version before", 30)
            s.stop()
            read_all(d, new)


@scenario
def update_with_another_salt():
    """trees with two salts: nothing is taken, which is said once"""
    old, new, differ = versions("salt")
    with fetched(old, salt=b"one") as (s, n, k):
        for _ in range(2):
            mark = len(s.requests)
            with session(s, n, new, salt=b"two", after=k) as (k, d):
                read_all(d, new)
            assert k.stderr.count("with this salt") == (0 if _ else 1), k.stderr
            assert _ or sent(s, "img", mark) >= len(new)


@scenario
def update_goes_on():
    """the worker is killed, the daemon begins again: what is left is still taken"""
    old, new, differ = versions("goes on")
    with fetched(old) as (s, n, k):
        mark = len(s.requests)
        with session(s, n, new, "img", "read-ahead none", after=k) as (k, d):
            need(d, new, 0, 1 * MIB)
            kill_worker(k)
            need(d, new, 1 * MIB, 2 * MIB)
            assert len(stored(k)[0]) == 2, stored(k)
        with session(s, n, new, after=k) as (k, d):
            read_all(d, new)
            all_taken(k)
            assert len(stored(k)[0]) == 1, stored(k)
        assert sent(s, "img", mark) <= bound(s, "img", differ) + 192 * KIB, (sent(s, "img", mark), differ * BLOCK)


@scenario
def update_taken_back():
    """back to the version before while it is there: nothing of it is fetched again, and it is right"""
    old, new, differ = versions("back")
    with fetched(old) as (s, n, k):
        with session(s, n, new, "img", "read-ahead none", after=k) as (k, d):
            need(d, new, 0, MIB)
        mark = len(s.requests)
        with session(s, n, old, after=k) as (k, d):
            read_all(d, old)
            k.wait_log("came from the version before", 30)
        assert sent(s, "img", mark) <= 192 * KIB, sent(s, "img", mark)


def none_is_wrong(d, data, end):
    """READs of single blocks: each fails, or has the bytes of the version that is mounted."""
    for offset in range(0, end, BLOCK):
        r = d.read(offset, BLOCK)
        d.driver.wait_done(r)
        assert r.error or r.data == padded(data, offset, offset + BLOCK), f"{r}: bytes of another version"


@scenario
def update_taken_back_while_mounted():
    """the root hash of the version before, while the new one is mounted: nothing is copied into the new one's file"""
    old, first = versions("mounted")[0], image("mounted", MIB)
    new = first + old[MIB:]                             # of the first blocks none is in the version before
    with tempfile.TemporaryDirectory() as folder, fetched(old) as (s, n, k):
        path = os.path.join(folder, "conf")

        def configure(data):
            with open(path, "w") as file:
                file.write(f"read-ahead none\n{publish(s, 'img', data)}\n")

        configure(new)
        with blocks(s, n, options=["-f", path], after=k) as k:
            d = k.attached("img")
            need(d, new, 0, BLOCK)
            configure(old)
            reload(k)
            k.wait_log("was mounted with another root hash", 30)
            for _ in range(3):
                none_is_wrong(d, new, MIB)
            assert len(stored(k)[0]) == 2, stored(k)    # the update is not finished
            configure(new)
            reload(k)
            none_is_wrong(d, new, MIB)
            recovers(d, new, MIB, BLOCK, 30)
            read_all(d, new)


@scenario
def update_while_culling():
    """too little space: the version before is not culled while blocks are taken from it, and may be afterwards"""
    old, new, differ = versions("cull")
    with fetched(old) as (s, n, k):
        mark, first = len(s.requests), stored(k)[0]
        with session(s, n, new, "img", "read-ahead none", "budget 1M", after=k) as (k, d):
            need(d, new, 0, 4 * MIB)
            k.wait_log("too many, and all images are in use", 10)
            assert first <= stored(k)[0], stored(k)
            read_all(d, new)
            all_taken(k)
            assert not first & stored(k)[0], stored(k)
        assert sent(s, "img", mark) <= bound(s, "img", differ) + 64 * KIB, (sent(s, "img", mark), differ * BLOCK)


@scenario
def update_that_stays_unread():
    """when the image is detached, the version before is not wanted any more if there is too little space"""
    old, new, _ = versions("unread")
    with fetched(old) as (s, n, k):
        first = stored(k)[0]
        with session(s, n, new, "img", "read-ahead none", after=k) as (k, d):
            need(d, new, 0, MIB)
        with session(s, n, new[:MIB], "another", "budget 2M", after=k) as (k, d):
            k.wait(lambda: not first & stored(k)[0], 10, "the old file goes")


def both(n, s, pairs, mark):
    """The second run of the daemon with two images, after the first has cached their first versions."""
    lines = [publish(s, name, pairs[name][0]) for name in pairs]
    with blocks(s, n, *lines, attach=pairs, keep=True) as k:
        for name, (old, _, _) in pairs.items():
            read_all(k.attached(name), old)
    mark.append(len(s.requests))
    lines = ["read-ahead none"] + [publish(s, name, pairs[name][1]) for name in pairs]
    return blocks(s, n, *lines, attach=pairs, keep=True, after=k)


def read_update(k, pairs, name):
    read_all(k.attached(name), pairs[name][1])
    k.wait_log(f"{name}: .*all that both have", 30)


@scenario
def update_of_two():
    """two images at once: one after the other is updated, the one that is read first"""
    pairs, mark = {name: versions(name) for name in ("one", "two")}, []
    with Nbd() as n, Server() as s:
        with both(n, s, pairs, mark) as k:
            for name in pairs:
                time.sleep(1.1)                         # as long an image has to be unread to make way
                read_update(k, pairs, name)
        for name, (_, _, differ) in pairs.items():
            assert sent(s, name, mark[0]) <= bound(s, name, differ) + 256 * KIB, (name, sent(s, name, mark[0]))


@scenario
def update_makes_way():
    """an image whose update waits for its tree makes way for another one that is read, and goes on afterwards"""
    pairs, mark = {name: versions(name) for name in ("one", "two")}, []
    with Nbd() as n, Server() as s:
        s.paths["/one.verity"], s.paths["/two.verity"] = {"rate": 16 * KIB}, {"delay": 2}   # so one opens first
        with both(n, s, pairs, mark) as k:
            k.attached("one"), k.attached("two")
            time.sleep(1.1)
            read_update(k, pairs, "two")
            s.paths.clear()
            read_update(k, pairs, "one")
        for name, (_, _, differ) in pairs.items():
            assert sent(s, name, mark[0]) <= bound(s, name, differ) + 256 * KIB, (name, sent(s, name, mark[0]))
