"""Images that are verified: against servers that lie about their bytes, their trees, their sizes."""
import errno
import os
import time

from lib import tap
from lib.verity import BLOCK, Liar
from scenarios.common import KIB, MIB, PAGE, Program, Server, each, quiet, scenario, takes_long
from scenarios.verified_common import (FRONTS, Cachefiles, Made, Opened, kill_worker, opened, serving, started,
                                       tree_files)

LEVELS = ("superblock", "top", "leaves", "last block")


@each(*FRONTS)
def verified_whole(front):
    """an image that is verified: opened, read whole, in order and anywhere; the tree is fetched about once"""
    made = Made("whole")
    for seed in (None, 1):
        with serving(front, made) as (s, o):
            o.need_all(seed=seed)
            quiet(s)
            tree = s.bytes_sent("/img.verity")
            assert len(made.tree.file) <= tree <= 2 * len(made.tree.file), tree
            assert o.refused(1) == 0
            assert "http" not in o.k.stderr or "not verified" not in o.k.stderr, o.k.stderr


@each(1, 2, 127, 128, 129, 130)
def verified_small(blocks):
    """images of few blocks: no level, one, two"""
    made = Made("small", blocks * BLOCK)
    for front in FRONTS:
        with serving(front, made) as (s, o):
            o.need_all(step=PAGE)


@each(*FRONTS)
@takes_long
def verified_liar_and_honest(front):
    """a mirror that lies in 2 % of the data's blocks and 5 % of the tree's, and one that is honest: no wrong byte, all
    is read, the liar is set aside"""
    made = Made("liar", 12 * MIB)
    with Server(made.files()) as liar, Server(made.files()) as honest:
        liar.rule = lies = Liar(liar, 0.02, 0.05)
        with started(front, liar, made.directive(), f"url {honest.url}") as k:
            o = opened(front, k, made.data)
            o.need_all(seed=1)
            k.wait_log("does not fit the root hash " + made.tree.root, 5)
            m = o.metrics()
            refused = o.refused(1)
            assert 1 <= refused <= lies.lies, (refused, lies.lies)
            assert o.refused(2) == 0, m.samples
            assert honest.bytes_sent() > len(made.data) // 2, honest.bytes_sent()


@each(*FRONTS)
@takes_long
def verified_liar_first_a_little(front):
    """lies begin when an image is open: each block that is refused is asked of the other mirror, and not the rest"""
    made = Made("little", 6 * MIB)
    with Server(made.files()) as liar, Server(made.files()) as honest:
        with started(front, liar, made.directive(), f"url {honest.url}", "read-ahead none") as k:
            o = opened(front, k, made.data)
            liar.rule = lies = Liar(liar, 0.0, 0.0, always=[("/img", 700)])
            for block in (600, 700, 800):
                o.need(block * BLOCK, BLOCK)
            assert lies.lies >= 1 and o.refused(1) >= 1
            assert 0 < honest.bytes_sent("/img") <= 10 * PAGE, honest.requests
            assert o.metrics().get("mirror_set_aside_seconds", mirror="1") > 0


@each(*FRONTS)
@takes_long
def verified_liar_alone(front):
    """the same liar alone: each byte is right in the end, none is wrong"""
    made = Made("alone", 4 * MIB)
    with serving(front, made, "retry hard") as (s, o):
        s.rule = lies = Liar(s, 0.02, 0.05)
        o.need_all(seed=2)
        assert lies.lies > 0 and o.refused(1) >= 1


@each(*FRONTS)
@takes_long
def verified_always_bad(front):
    """a block that is bad each time: its READ fails after the time-out, the log names the root hash, others go on"""
    made = Made("bad")
    with serving(front, made, "timeout 6", "read-ahead none") as (s, o):
        s.rule = Liar(s, always=[("/img", 300)])
        bad = o.one.ask(300 * BLOCK // PAGE * PAGE, PAGE)
        for block in (100, 299 - PAGE // BLOCK, 301 + PAGE // BLOCK, 500, 700):
            began = time.monotonic()
            o.need(block * BLOCK // PAGE * PAGE, PAGE)
            assert time.monotonic() - began < 4, "others wait"
        assert not o.one.done(bad, 15), "a block that does not fit was read"
        o.k.wait_log(f"block 300 does not fit the root hash {made.tree.root}")
        assert 2 <= o.refused(1) <= 30, o.refused(1)
        s.rule = None
        o.recovers(300 * BLOCK // PAGE * PAGE)
        o.need_all()


@each(*FRONTS)
@takes_long
def verified_always_bad_in_a_stream(front):
    """the same in the midst of an image that is read in order: all but its own READ are answered"""
    made = Made("bad stream")
    with serving(front, made, "timeout 3") as (s, o):
        s.rule = Liar(s, always=[("/img", 300)])
        for at in range(0, len(made.data), 16 * KIB):
            bad = at <= 300 * BLOCK < at + 16 * KIB
            assert o.read(at, min(16 * KIB, len(made.data) - at)) != bad, at
        o.one.check()


@each(*FRONTS)
@takes_long
def verified_bad_leaves(front):
    """a block of the tree that is bad each time: what it stands for fails, the rest is read"""
    made = Made("bad leaves", 12 * MIB)
    block = made.tree.begin(1) // BLOCK + 20        # of data blocks 2560 to 2687
    with serving(front, made, "timeout 3", "read-ahead none") as (s, o):
        s.rule = Liar(s, always=[("/img.verity", block)])
        bad = [o.one.ask(n * BLOCK // PAGE * PAGE, PAGE) for n in (2560, 2600, 2687)]
        for n in (100, 2400, 2560 - 16, 2688, 3000):
            o.need(n * BLOCK // PAGE * PAGE, PAGE)
        assert not any(o.one.done(r, 15) for r in bad)
        o.k.wait_log(f"its tree .*block {block} does not fit the root hash {made.tree.root}")
        s.rule = None
        o.need_all(timeout=20)


def wrong(what, made, other):
    """The files of a server at which something is wrong, and a pattern of what the log says."""
    files, tree = made.files(), made.tree
    if what == "a tree of another image":
        files["/img.verity"] = other.tree.file
    elif what == "no tree":
        del files["/img.verity"]
        return files, r"its tree.*404"
    elif what == "an empty tree":
        files["/img.verity"] = b""
        return files, r"its tree.*empty"
    elif what == "a tree that is cut in the superblock":
        files["/img.verity"] = tree.file[:300]
        return files, "its tree"
    elif what == "a tree that is cut in the top":
        files["/img.verity"] = tree.file[:BLOCK + 100]
        return files, "its tree"
    elif what == "type 0":
        files["/img.verity"] = tree.with_superblock(hash_type=0)
        return files, "hash type 0 instead of 1"
    elif what == "a superblock of 5 blocks":
        files["/img.verity"] = tree.with_superblock(blocks=5)
        return files, f"a tree of 5 blocks of 4096 bytes|does not fit the root hash {tree.root}"
    elif what == "a superblock of 2^63 blocks":
        files["/img.verity"] = tree.with_superblock(blocks=1 << 63)
        return files, "its tree"
    elif what == "another salt":
        files["/img.verity"] = tree.with_superblock(salt=b"salz")
    elif what == "a larger image":
        files["/img"] = made.data + bytes(BLOCK)
        return files, f"a tree of {tree.blocks} blocks of 4096 bytes for an image of {len(made.data) + BLOCK} bytes"
    elif what == "an image that is no multiple of a block":
        files["/img"] = made.data[:-1]
        return files, f"a tree of {made.tree.blocks} blocks of 4096 bytes for an image of {len(made.data) - 1} bytes"
    elif what == "a block less, of tree and image":
        files = {"/img": made.data[:-BLOCK], "/img.verity": tree.with_superblock(blocks=tree.blocks - 1)}
    elif what == "a block more, of tree and image":
        files = {"/img": made.data + bytes(BLOCK), "/img.verity": tree.with_superblock(blocks=tree.blocks + 1)}
    elif what == "a smaller image, and no tree":
        return {"/img": made.data[:-BLOCK]}, r"its tree.*404"
    elif what == "another image of its size":
        files["/img"] = other.data
    elif what == "a wrong first block":
        files["/img"] = b"\xff" + made.data[1:]
    elif what == "all of another image":
        files = other.files()
    return files, "does not fit the root hash " + tree.root


WRONGS = ("a tree of another image", "no tree", "an empty tree", "a tree that is cut in the superblock",
          "a tree that is cut in the top", "type 0", "a superblock of 5 blocks", "a superblock of 2^63 blocks",
          "another salt", "a larger image", "an image that is no multiple of a block",
          "a block less, of tree and image", "a block more, of tree and image", "a smaller image, and no tree",
          "another image of its size", "a wrong first block", "all of another image")


@each(*WRONGS)
@takes_long
def verified_wrong(what):
    """what does not fit is refused by name at the OPEN; beside an honest mirror it is opened, and read whole"""
    made, other = Made("right"), Made("other")
    files, words = wrong(what, made, other)
    with Server(files) as s, started("cachefiles", s, made.directive(), "timeout 5") as k:
        f = k.open("erofs,img", b"img")
        size = k.wait_copen(f, 20)
        assert size in (-errno.EIO, -errno.ENOENT, -errno.ETIMEDOUT, -errno.EREMOTEIO), size
        assert len(s.requests) < 60, f"{len(s.requests)} requests"
        k.wait_log(words, 5)
    for front in FRONTS:
        with Server(files) as s, Server(made.files()) as honest, \
                started(front, s, made.directive(), f"url {honest.url}") as k:
            o = opened(front, k, made.data)
            o.need_all()


@each(*FRONTS)
@takes_long
def verified_tree_cut_while_open(front):
    """a tree that is cut behind some leaves while the image is open: what is known is read, the rest fails until it is
    mended; cut before, the image is not opened"""
    made = Made("cut leaves", 12 * MIB)
    for more in (0, 100):
        cut = made.tree.file[:made.tree.begin(1) + 18 * BLOCK + more]
        with serving(front, made, "timeout 3", "read-ahead none") as (s, o):
            o.need(100 * BLOCK)
            s.images["/img.verity"] = cut
            before = len(s.requests)
            assert not o.read(2400 * BLOCK, PAGE, 15)
            o.recovers(200 * BLOCK)
            assert len(s.requests) - before < 40, f"{len(s.requests) - before} requests"
            o.k.wait_log("its tree")
            s.images["/img.verity"] = made.tree.file
            o.recovers(2400 * BLOCK)
            o.need_all()
        with Server({**made.files(), "/img.verity": cut}) as s, started("cachefiles", s, made.directive()) as k:
            assert k.wait_copen(k.open("erofs,img", b"img"), 20) < 0
            k.wait_log("its tree")


@each(*FRONTS)
@takes_long
def verified_tree_replaced(front):
    """the tree becomes another image's while the image is open: what is there is read, the rest waits for the right
    one"""
    made, other = Made("replaced", 12 * MIB), Made("replacing", 12 * MIB)
    with serving(front, made, "timeout 3", "read-ahead none") as (s, o):
        o.need(10 * BLOCK // PAGE * PAGE)
        s.images["/img.verity"] = other.tree.file
        assert not o.read(2400 * BLOCK, PAGE, 15)
        s.images.update(other.files())
        assert not o.read(2500 * BLOCK, PAGE, 15)
        assert len(s.requests) < 60, f"{len(s.requests)} requests"
        s.images.update(made.files())
        o.recovers(2400 * BLOCK)
        o.need_all()


@scenario
def verified_smaller_superblock_of_a_new_worker():
    """a worker that takes an open image over is given a superblock of a smaller image, whose top fits: no byte of a
    liar is taken"""
    made, other = Made("taken over"), Made("liar's")
    with serving("cachefiles", made, "timeout 3", "read-ahead none", "prefetch none") as (s, o):
        o.need(0)
        quiet(s)
        s.images["/img"] = other.data
        s.images["/img.verity"] = made.tree.with_superblock(blocks=5)
        for path in tree_files(o.k):
            os.unlink(path)
        kill_worker("cachefiles", o.k)
        assert not o.read(700 * BLOCK // PAGE * PAGE, PAGE, 15)
        o.one.check()
        s.images.update(made.files())
        o.recovers(700 * BLOCK // PAGE * PAGE)
        o.need_all()


@scenario
def verified_tail_of_a_new_worker():
    """a worker that takes an open image over without its tree: a READ behind the end waits until that is proved"""
    made = Made("taken over")
    from scenarios.common import kill_worker
    from scenarios.verified_common import tree_files
    with serving("cachefiles", made, "read-ahead none", "prefetch none") as (s, o):
        quiet(s)
        s.images["/img.verity"] = Made("liar's").tree.file
        for path in tree_files(o.k):
            os.unlink(path)
        kill_worker(o.k)
        r = o.one.ask((len(made.data) // PAGE + 4) * PAGE, PAGE)
        o.k.wait_log("does not fit the root hash", 5)
        assert r.state != "done"
        s.images["/img.verity"] = made.tree.file
        assert o.k.wait_complete(r, 10) == PAGE


# -- servers of all kinds --------------------------------------------------------------------------

KINDS = {
    "no ETag": {"etag": "", "last_modified": ""},
    "chunked": {"chunked": 5000},
    "HTTP/1.0": {"http10": True},
    "Connection: close": {"close": True},
    "short parts": {"short": 10000},
    "bodies cut": {"cut": 70000},
    "slow": {"rate": 3 * MIB},
}


@each(*KINDS)
@takes_long
def verified_server_kinds(kind):
    """servers without ETag or Content-Length, of one request a connection, of short parts: read whole"""
    made = Made("kinds")
    for front in FRONTS:
        with serving(front, made, knobs=KINDS[kind]) as (s, o):
            o.need_all(seed=3 if front == "nbd" else None)
            assert o.refused(1) == 0


@each(*KINDS)
@takes_long
def verified_lies_of_kinds(kind):
    """such servers that lie, beside an honest one"""
    made = Made("lies of kinds")
    with Server(made.files(), **KINDS[kind]) as liar, Server(made.files(), **KINDS[kind]) as honest:
        liar.rule = Liar(liar, 0.02, 0.05)
        for front in FRONTS:
            with started(front, liar, made.directive(), f"url {honest.url}") as k:
                opened(front, k, made.data).need_all(seed=3)


@each(*FRONTS)
@takes_long
def verified_lies_in_chunks(front):
    """a tree without Content-Length of which each block but the first of a request is bad once: the rest is read"""
    made, seen = Made("chunks", 24 * MIB), set()
    with serving(front, made, "timeout 20", knobs={"chunked": 5000}) as (s, o):
        liar = Liar(s)

        def rule(request):
            blocks = range(request.range[0] // BLOCK + 1, request.range[1] // BLOCK + 1) if request.range else ()
            liar.always = {("/img.verity", b) for b in blocks if b not in seen}
            seen.update(blocks)
            return liar(request)

        s.rule = rule
        o.need_all()
        assert liar.lies > 0 and "has died" not in o.k.stderr


@each(*FRONTS)
def verified_answers_200(front):
    """a server that answers 200 with the whole image is refused as ever"""
    made = Made("200")
    with Server(made.files(), ignore_range=True) as s, Server(made.files()) as t, \
            started(front, s, made.directive(), f"url {t.url}") as k:
        opened(front, k, made.data).need_all()


@each(*FRONTS)
def verified_no_common_etag(front):
    """mirrors whose ETags differ, or that have none, serve one image together"""
    made = Made("etags")
    with Server(made.files(), etag='"a"') as a, Server(made.files(), etag='"b"') as b, \
            Server(made.files(), etag="", last_modified="") as c, \
            started(front, a, made.directive(), f"url {b.url}", f"url {c.url}") as k:
        o = opened(front, k, made.data)
        o.need(0)
        a.stop()
        o.need(MIB)
        b.stop()
        o.need_all()
        assert "another version" not in k.stderr and "not asked for it again" not in k.stderr, k.stderr


@each(*FRONTS)
def verified_etag_changes(front):
    """another ETag while the image is open is no other version"""
    made = Made("etag changes")
    with serving(front, made, "read-ahead none") as (s, o):
        o.need(0)
        s.default["etag"] = '"new"'
        o.need_all(seed=5)


@each(*FRONTS)
def verified_size_changes(front):
    """another size for a moment while the image is open is no other version"""
    made = Made("size changes")
    with serving(front, made, "read-ahead none", "prefetch none", "timeout 2") as (s, o):
        o.need(0)
        s.images["/img"] = made.data + bytes(BLOCK)
        assert not o.read(500 * BLOCK // PAGE * PAGE, PAGE, 15)
        s.images["/img"] = made.data
        o.recovers(500 * BLOCK // PAGE * PAGE)
        o.need_all(seed=5)


@each(*FRONTS)
def verified_redirects(front):
    """image and tree are redirected to hosts of their own; one that lies is left for the other mirror"""
    made = Made("redirects")
    with Server(made.files()) as data, Server(made.files()) as tree, Server(made.files()) as s, \
            Server(made.files()) as honest:
        s.paths["/img"] = {"redirect": (302, f"{data.url}img")}
        s.paths["/img.verity"] = {"redirect": (307, f"{tree.url}img.verity")}
        with started(front, s, made.directive()) as k:
            opened(front, k, made.data).need_all()
        assert data.bytes_sent("/img") >= len(made.data) and not data.bytes_sent("/img.verity")
        assert tree.bytes_sent("/img.verity") >= len(made.tree.file) and not tree.bytes_sent("/img")
        data.rule = Liar(data, 0.1)
        with started(front, s, made.directive(), f"url {honest.url}") as k:
            opened(front, k, made.data).need_all(seed=4)


@each(*FRONTS)
def verified_tree_elsewhere(front):
    """`verity URL`: the tree lies elsewhere, and is asked for nowhere else"""
    made = Made("elsewhere")
    with Server({"/img": made.data}) as s, Server({"/trees/img.verity": made.tree.file}) as t, \
            started(front, s, made.directive(), f"verity {t.url}trees/") as k:
        opened(front, k, made.data).need_all()
        assert not [r for r in s.requests if "verity" in r.path], s.requests
        assert not [r for r in t.requests if r.path == "/trees/img"], t.requests


@each("silent", "liar")
def verified_elsewhere_fails(how):
    """the host of `verity URL` fails, or lies: that is not counted against the mirrors, which have the data"""
    made = Made("elsewhere", 24 * MIB)
    with Server({"/img": made.data}) as s, Server({"/img": made.data}) as u, \
            Server({"/trees/img.verity": made.tree.file}) as t, \
            started("cachefiles", s, made.directive(), f"url {u.url}", f"verity {t.url}trees/", "timeout 2",
                    "read-ahead none") as k:
        o = opened("cachefiles", k, made.data)
        if how == "silent":
            t.paths["/trees/img.verity"] = {"drop": True}
        else:
            t.rule = Liar(t, 0, 1)
        assert not o.read(12 * MIB, PAGE)
        m = o.metrics()
        for mirror in "12":
            assert m.get("mirror_set_aside_seconds", mirror=mirror) == 0, m.samples
            assert not [x for x in m.samples if x[0].endswith("mirror_failures_total")], m.samples
        assert m.get("image_failures_total", image="img") > 0, m.samples


@each(*FRONTS)
def verified_connections(front):
    """`connections 1`, the least memory: read whole, anywhere, beside a liar too"""
    made = Made("one")
    for directives in (("connections 1",), ("memory 576K",), ("memory 576K", "connections 1"), ("connections 2",)):
        if Program.has_sanitizers and "memory 576K" in directives:
            continue
        with Server(made.files()) as s, Server(made.files()) as t, \
                started(front, s, made.directive(), f"url {t.url}", *directives) as k:
            o = opened(front, k, made.data)
            o.need_all(seed=6)
        with Server(made.files()) as s, Server(made.files()) as t, \
                started(front, s, made.directive(), f"url {t.url}", *directives) as k:
            s.rule = Liar(s, 0.02, 0.05)
            opened(front, k, made.data).need_all(seed=7)


@each(*FRONTS)
def verified_whole_prefetch(front):
    """`prefetch all` of an image that is verified, by a liar and an honest mirror: all is cached, and right"""
    made = Made("prefetch", 6 * MIB)
    with Server(made.files()) as s, Server(made.files()) as t:
        s.rule = Liar(s, 0.02, 0.05)
        with started(front, s, made.directive(), f"url {t.url}", "prefetch all") as k:
            o = opened(front, k, made.data)
            k.wait_log(f"all {len(made.data)} bytes are cached", 60)
            o.need_all()


@each(16, 64)
@takes_long
def verified_pages(size):
    """machines with larger pages: read whole, beside a liar too; of a page that is always bad no block is written"""
    if not Program.has_sanitizers:
        raise tap.Skip("the program with other pages has the sanitizers")
    more = {"program": f"{Program.path}.pages", "env": {**os.environ, "PAGE_SIZE": str(size * KIB)}}
    made = Made("pages")
    for share in (0.0, 0.01):
        with Server(made.files()) as s, Server(made.files()) as t, \
                started("cachefiles", s, made.directive(), f"url {t.url}", **more) as k:
            s.rule = Liar(s, share, share)
            Opened(Cachefiles(k, made.data)).need_all()
            assert all(offset % (size * KIB) == 0 for f in k.files for offset, _, _ in f.writes)
    with Server(made.files()) as s, started("cachefiles", s, made.directive(), "timeout 3", **more) as k:
        o = Opened(Cachefiles(k, made.data))
        s.rule = Liar(s, always=[("/img", 301)])
        page = 301 * BLOCK // (size * KIB) * size * KIB
        assert not o.read(page, size * KIB, 15)
        assert o.one.f.filled(page, size * KIB) == 0
        o.recovers(page + size * KIB)
        o.one.check()


@each("status", "stall", "lies")
@takes_long
def verified_prefetch_outage(what):
    """the tree cannot be had for some seconds while nothing but `prefetch all` is under way: it goes on by itself"""
    made = Made("outage", 12 * MIB)
    with Server(made.files(), rate=6 * MIB) as s, \
            started("cachefiles", s, made.directive(), "prefetch all", "timeout 3") as k:
        o = Opened(Cachefiles(k, made.data))
        s.paths["/img.verity"] = {"status": {"status": 503}, "stall": {"stall": 0}, "lies": {}}[what]
        if what == "lies":
            s.rule = Liar(s, tree=1.0)
        time.sleep(4)
        before = s.bytes_sent()
        assert before < len(made.data), "the outage came too late"
        cpu = k.cpu()
        time.sleep(1)
        assert k.cpu() - cpu < 0.2, "it does not wait"
        s.paths.clear()
        s.rule = None
        k.wait_log(f"all {len(made.data)} bytes are cached", 30)
        o.need_all()
        assert len(s.requests) < 300, len(s.requests)


@each(*FRONTS)
@takes_long
def verified_read_beside_prefetch(front):
    """one connection, which prefetching keeps busy: a READ whose block of the tree is lacking does not wait for it"""
    made = Made("beside prefetch", 12 * MIB)
    with serving(front, made, "connections 1", "prefetch all", knobs={"rate": 400 * KIB, "delay": 0.05}) as (s, o):
        o.need(0)
        for block in (2600, 1500, 2900):
            began = time.monotonic()
            o.need(block * BLOCK // PAGE * PAGE)
            assert time.monotonic() - began < 5, f"block {block}: {time.monotonic() - began:.1f} s"


@each(*FRONTS)
@takes_long
def verified_lies_beside_a_slow_mirror(front):
    """READs that wait for their turn longer than the time-out, while blocks of others do not fit: none fails"""
    made = Made("slow and honest", 6 * MIB)
    with Server(made.files()) as liar, Server(made.files(), rate=250 * KIB) as honest:
        with started(front, liar, made.directive(), f"url {honest.url}", "connections 1", "read-ahead none",
                     "prefetch none", "timeout 2") as k:
            o = opened(front, k, made.data)
            liar.rule = Liar(liar, 1.0)
            waiting = [o.one.ask(n * 512 * KIB, 128 * KIB) for n in range(10)]
            for n, r in enumerate(waiting):
                assert o.one.done(r, 30), f"READ {n} failed"
            assert liar.rule.lies > 0 and o.refused(1) > 0


BAD = {
    "data": ("/img", 300, range(300, 301)),
    "first data": ("/img", 1, range(1, 2)),
    "leaves": ("/img.verity", 8, range(6 * 128, 7 * 128)),
}


@each(*((what, connections) for what in BAD for connections in (1, 3)))
@takes_long
def verified_fill_of_a_bad_block(case):
    """`prefetch all` where a block of the only mirror is bad each time: the rest is fetched, it is said, and waited"""
    what, connections = case
    path, block, lost = BAD[what]
    made = Made("fill", 6 * MIB)
    with Server(made.files()) as s:
        s.rule = Liar(s, always=[(path, block)])
        with started("cachefiles", s, made.directive(), "prefetch all", f"connections {connections}") as k:
            o = Opened(Cachefiles(k, made.data))
            want = len(made.data) - len(lost) * BLOCK
            k.wait(lambda: o.one.f.present() >= want, 20, "the rest of the image")
            time.sleep(1)
            cpu, asked, said = k.cpu(), len(s.requests), k.stderr.count("\n")
            time.sleep(4)
            assert k.cpu() - cpu < 0.1, f"{k.cpu() - cpu} s of CPU"
            assert len(s.requests) - asked < 30, f"{len(s.requests) - asked} requests"
            assert k.stderr.count("\n") - said <= 2, k.stderr
            k.wait_log(f"block {block} does not fit the root hash", 1)
            assert k.stderr.count("does not fit the root hash") == 1, k.stderr
            assert "are cached" not in k.stderr
            s.rule = None
            k.wait_log(f"all {len(made.data)} bytes are cached", 20)
            o.need_all()
