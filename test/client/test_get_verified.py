#!/usr/bin/python3
"""`cachefilesd-mini --get` of images that are verified, from servers that are right and that lie.

    test/client/test_get_verified.py [BINARY]    TAP on standard output; exit status 1 if a test failed
"""
import os
import subprocess
import sys
import threading

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from client.tools import BINARY, check, expect, main, path, run, test
from lib import certs, httpserver, verity
from lib.verity import BLOCK, Liar, Tree

DATA = (httpserver.image("verified get", 1 << 20) + bytes(12288)) * 9       # nine MiB and more: two levels
DATA = DATA[:len(DATA) // BLOCK * BLOCK]
TREE = Tree(DATA)
FILES = {"/img": DATA, "/img.verity": TREE.file}
UNFIT = f"does not fit the root hash {TREE.root}"


def get(url, *words, timeout=5, root=TREE.root, mirror=None, options=(), **more):
    mirrors = ["-o", f"url {mirror}"] if mirror else []
    options = [x for o in options for x in ("-o", o)]
    return run("-o", f"timeout {timeout}", "-o", f"roothash {root}", *mirrors, *options, "--get", url, *words, **more)


@test("get: a verified image, whole and in parts that are no whole pages")
def _():
    with httpserver.Server(FILES) as s:
        expect(get(s.url + "img"), 0, DATA)
        for offset, length in ((0, 1), (1, 1), (4095, 2), (5, 4091), (12345, 200000), (len(DATA) - 1, 1),
                               (len(DATA) - 5000, 9999), (8 << 20, 300001), (7, 0), (len(DATA), 5)):
            expect(get(s.url + "img", str(offset), str(length)), 0, DATA[offset:offset + length])


@test("get: verified images of each size up to three blocks, and at 128 blocks")
def _():
    for blocks in (1, 2, 3, 127, 128, 129):
        data = DATA[:blocks * BLOCK]
        tree = Tree(data, b"")
        with httpserver.Server({"/img": data, "/img.verity": tree.file}) as s:
            expect(get(s.url + "img", root=tree.root), 0, data)
            expect(get(s.url + "img", str(len(data) - 7), root=tree.root), 0, data[-7:])


@test("get: one connection, the least memory, servers of other kinds")
def _():
    for options in (["connections 1"], ["memory 576K"], ["memory 576K", "connections 1"], ["connections 3"]):
        with httpserver.Server(FILES) as s:
            expect(get(s.url + "img", options=options), 0, DATA)
    for knobs in ({"chunked": 7000}, {"close": True}, {"http10": True}, {"short": 50000}, {"cut": 150000},
                  {"etag": "", "last_modified": ""}):
        with httpserver.Server(FILES, **knobs) as s:
            expect(get(s.url + "img", timeout=20), 0, DATA)


@test("get: a server that lies always in one block: what is before it is written, then status 10 and the root hash")
def _():
    for block in (0, 1, 127, 128, 1000, len(DATA) // BLOCK - 1):
        with httpserver.Server(FILES) as s:
            s.rule = Liar(s, always=[("/img", block)])
            result = get(s.url + "img", timeout=2)
            expect(result, 10, None, f"block {block} {UNFIT}")
            check(result.stdout == DATA[:block * BLOCK], block, len(result.stdout))
            if block:
                expect(get(s.url + "img", "0", str(block * BLOCK), timeout=2), 0, DATA[:block * BLOCK],
                       None if block else "")


@test("get: a bad block of the tree, a tree of another image, none, one that is cut: an error, no byte that is wrong")
def _():
    leaves = TREE.begin(1) // BLOCK
    with httpserver.Server(FILES) as s:
        s.rule = Liar(s, always=[("/img.verity", leaves + 16)])
        result = get(s.url + "img", timeout=2)
        expect(result, 10, None, f"its tree .*block {leaves + 16} {UNFIT}")
        check(DATA.startswith(result.stdout) and len(result.stdout) <= 16 * 128 * BLOCK, len(result.stdout))
    other = Tree(DATA[::-1])
    for tree, error in ((other.file, UNFIT), (b"", "its tree"), (TREE.file[:300], "its tree"),
                        (TREE.file[:BLOCK], "its tree"), (TREE.file[:BLOCK + 5], "its tree"),
                        (TREE.file[:2 * BLOCK], "its tree"), (TREE.with_superblock(hash_type=0), "hash type 0"),
                        (TREE.with_superblock(blocks=5), f"a tree of 5 blocks|{UNFIT}"),
                        (TREE.with_superblock(salt=b""), UNFIT)):
        with httpserver.Server({"/img": DATA, "/img.verity": tree}) as s:
            result = get(s.url + "img", timeout=2)
            check(result.returncode != 0 and result.stdout == b"", result.returncode, len(result.stdout))
            expect(result, result.returncode, None, error)
            check(len(s.requests) < 40, len(s.requests), "requests")
    for cut in (1, 2, 5, 8, leaves + 1, leaves + 9, len(TREE.file) // BLOCK - 1):
        with httpserver.Server({"/img": DATA, "/img.verity": TREE.file[:cut * BLOCK]}) as s:
            expect(get(s.url + "img", timeout=2), 10, b"", "its tree .*: the file ends before the tree does")
    with httpserver.Server({"/img": DATA}) as s:
        expect(get(s.url + "img", timeout=2), 4, b"", "its tree.*404")


@test("get: a level of the tree served as the image has the root hash too, but not the size that is told beside it")
def _():
    lower = TREE.levels[-1]
    lie = {"/img": lower, "/img.verity": verity.superblock(len(lower) // BLOCK, TREE.salt) + b"".join(TREE.levels[:-1])}
    told = f"{TREE.root}:{len(DATA)}"
    # Nothing; or, where the liar is asked again before the other has sent the rest, that its tree is too short.
    said = r"\A([^\n]*its tree \(\.verity\): the file ends before the tree does [^\n]*; trying again [^\n]*\n)?\Z"
    with httpserver.Server(lie) as s, httpserver.Server(FILES) as t:
        expect(get(s.url + "img", timeout=2, root=f"{TREE.root}:{len(lower)}"), 0, lower)
        for image, tree in (("/img", "/img.verity"), ("/img", None), (None, "/img.verity")):
            with httpserver.Server({**FILES, **{x: lie[x] for x in (image, tree) if x}}) as u:
                expect(get(u.url + "img", timeout=2, root=told), 10, b"", "")
                expect(get(u.url + "img", timeout=2, root=told, mirror=t.url + "img"), 0, DATA, said)
        expect(get(s.url + "img", timeout=2, root=told), 10, b"", "its tree.*not of the size that `roothash` has")
        expect(get(t.url + "img", root=f"{TREE.root}:{len(DATA) // 1024}K"), 0, DATA)


@test("get: a liar and an honest mirror: all is written, and right")
def _():
    for options in ([], ["connections 1"], ["memory 576K"]):
        for words, share in (((), 0.05), ((), 0.0), (("12345", "5000001"), 0.05), (("12345", "5000001"), 0.0)):
            offset, length = [int(w) for w in words] or (0, len(DATA))
            with httpserver.Server(FILES) as s, httpserver.Server(FILES) as t:
                s.rule = lies = Liar(s, 0.02, share)
                result = get(s.url + "img", *words, mirror=t.url + "img", options=options, timeout=20)
                check(result.returncode == 0 and result.stdout == DATA[offset:offset + length], result.stderr)
                check(lies.lies and t.requests, lies.lies, "lies,", len(t.requests), "requests to the honest one")


@test("get: a liar alone: each byte is right, the end is reached")
def _():
    with httpserver.Server(FILES) as s:
        s.rule = Liar(s, 0.004, 0.0, seed=5)
        result = get(s.url + "img", timeout=30)
        check(result.returncode == 0 and result.stdout == DATA, result.returncode, result.stderr)


@test("get: to a pipe whose reader is slow, from a liar and an honest mirror")
def _():
    with httpserver.Server(FILES) as s, httpserver.Server(FILES) as t:
        s.rule = Liar(s, 0.02, 0.05)
        with subprocess.Popen([BINARY, "-o", f"roothash {TREE.root}", "-o", f"url {t.url}img", "--get",
                               s.url + "img"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            errors = []
            drain = threading.Thread(target=lambda: errors.append(p.stderr.read()))
            drain.start()
            got = b""
            while part := p.stdout.read(100001):
                got += part
            drain.join()
            check(p.wait(60) == 0 and got == DATA, len(got), errors)


@test("get: the root hash of another image, images of other sizes: status 10, no byte")
def _():
    with httpserver.Server(FILES) as s:
        expect(get(s.url + "img", root="0" * 64, timeout=2), 10, b"", "does not fit the root hash 0000")
    for data in (DATA[:-BLOCK], DATA + bytes(BLOCK), DATA[:-1], DATA + b"x"):
        with httpserver.Server({**FILES, "/img": data}) as s:
            expect(get(s.url + "img", timeout=2), 10, b"", f"for an image of {len(data)} bytes")


@test("get: a signed root hash; an unsigned one: status 10")
def _():
    for name in ("ours", "theirs"):
        certs.make_ca(path("."), name)
    signed = {"/img.roothash": TREE.root.encode(),
              "/img.roothash.p7s": verity.sign(TREE.root, path("ours.key"), path("ours.pem"))}
    key = ("-o", "timeout 2", "-o", f"verity-key {path('ours.pem')}", "--get")
    with httpserver.Server({**FILES, **signed}) as s:
        expect(run(*key, s.url + "img"), 0, DATA)
        s.images["/img.roothash.p7s"] = verity.sign(TREE.root, path("theirs.key"), path("theirs.pem"))
        expect(run(*key, s.url + "img"), 10, b"", "its signature")
        del s.images["/img.roothash.p7s"]
        expect(run(*key, s.url + "img"), 4, b"", "its signature.*404")
        result = run("-o", "verity allow", *key, s.url + "img")
        expect(result, 0, DATA, "opened without being verified")


if __name__ == "__main__":
    sys.exit(main())
