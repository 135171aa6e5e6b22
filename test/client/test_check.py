#!/usr/bin/python3
"""`cachefilesd-mini --check` against servers that are right and wrong.

    test/client/test_check.py [BINARY]    TAP on standard output; exit status 1 if a test failed

The right servers are nginx (tools.py), the wrong ones those of test/lib/httpserver.py.
"""
import json
import os
import re
import sys
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from client.tools import FIT, IMAGE, check, get, has, main, nginx, path, report, run, test
from lib import certs, httpserver, verity

# -- --check -------------------------------------------------------------------------------------

@test("check: nginx over http, a plain image")
def _():
    status, facts, last = report(nginx.url("plain.erofs"))
    check(status == 0 and last == FIT, status, last)
    size = os.path.getsize(path("www/plain.erofs"))
    measured = min(size, 4 << 20)
    has(facts, fetched=rf"^{1152 + 5 + measured} \| {measured}$")
    has(facts, url="^" + re.escape(nginx.url("plain.erofs")) + "$", host="^127.0.0.1$", addresses="^127.0.0.1$",
        connected=rf"^to 127.0.0.1 port {nginx.http} in \d+\.\d\d ms$", status="^206, HTTP/1.1$", ranges="^honoured$",
        validator='^ETag "', encoding="^none$", size=f"^{size} bytes$", connection="^kept alive$",
        image="^EROFS, blocks of 4096 bytes, not compressed, 0 extra devices$",
        round_trip=r"^\d+\.\d\d ms, the median of 5$",
        throughput=rf"^[\d.]+ [kMG]B/s, {min(size, 4 << 20)} bytes in \d+\.\d\d ms$")
    check("tls" not in facts and "pin" not in facts, facts)


@test("check: nginx over https: session, certificates, pin")
def _():
    status, facts, last = report("-o", f"resolve get.test:{nginx.https}:127.0.0.1",
                                 f"https://get.test:{nginx.https}/plain.erofs")
    check(status == 0 and last == FIT, status, last)
    pin = certs.pin(path("leaf.pem"))
    has(facts, host="^get.test$", addresses="^127.0.0.1$", tls="^TLS 1.2, ECDHE_.*, ", pin="^" + re.escape(pin) + "$",
        certificate=r"^Test leaf, issued by Test ca, ECDSA P-256 .256 bits., valid 20..-..-.. to 20..-..-.. "
                    r"\(\d+ days left\)",
        names="^address 127.0.0.1, get.test$", status="206", throughput="[kM]B/s", round_trip="ms")


@test("check: a certificate that expires soon is a warning")
def _():
    status, facts, last = report(f"https://127.0.0.1:{nginx.soon}/plain.erofs")
    check(status == 0 and last.startswith(FIT + ", but: ") and "expires in 4 days" in last, status, last)


@test("check: a server that is not trusted is shown, and unfit")
def _():
    status, facts, last = report("-o", "ca " + path("stranger.pem"), nginx.url("plain.erofs", True))
    check(status == 1 and last.startswith("verdict: NOT fit: TLS: "), status, last)
    has(facts, certificate="^Test leaf, issued by Test ca", pin="^sha256//", connected="^to 127.0.0.1")
    check("status" not in facts, facts)


@test("check: a compressed image is a warning")
def _():
    status, facts, last = report(nginx.url("lz4.erofs"))
    check(status == 0 and last.startswith(FIT + ", but: ") and "6.9" in last, status, last)
    has(facts, image=", compressed, 0 extra")


@test("check: what a file is that is no EROFS image: status 1, unknown: 14")
def _():
    page = bytes(4096)
    files = {"squashfs": (b"hsqs" + page, 1), "ext2, ext3 or ext4": (page[:1080] + b"\x53\xef" + page, 1),
             "a partition table or boot sector": (page[:510] + b"\x55\xaa" + page, 1), "unknown": (IMAGE, 14)}
    for kind, (data, expected) in files.items():
        with httpserver.Server({"/img": data}) as s:
            status, facts, last = report(s.url + "img")
            check(status == expected, kind, status, last)
            has(facts, image=f"^not EROFS: {kind}$", throughput="B/s")
            check(re.match("verdict: " + (f"NOT fit: the file is {kind}: " if status == 1 else
                                          "the server is fit, but .*blob"), last), last)
    with httpserver.Server({"/img": b"short"}) as s:
        status, facts, last = report(s.url + "img")
        check(status == 14, status, last)


@test("check: a block device may hold a compressed image, and any file system")
def _():
    with httpserver.Server({"/img": b"hsqs" + bytes(8192)}) as s:
        for url in (nginx.url("lz4.erofs"), s.url + "img"):
            status, _, last = report("-o", "front nbd", url)
            check(status == 0 and last == FIT, status, last)
            status, _, last = report("-o", "front cachefiles", url)
            check(last != FIT, status, last)


@test("check: a server that sends less than was asked for shows the same")
def _():
    for name, image, expected in (("plain", "not compressed", 0), ("lz4", ", compressed", 0)):
        with httpserver.Server({"/img": open(path(f"www/{name}.erofs"), "rb").read()}) as s:
            for short in (1, 100, 1151):
                s.rule = lambda request: {"short": short}
                status, facts, last = report(s.url + "img")
                check(status == expected, short, status, last)
                has(facts, image=image)
                s.requests.clear()


@test("check: a server that takes the range 0-0 for the whole file, as busybox does")
def _():
    def whole(request):
        if request.range == (0, 0):
            request.range = (0, None)

    with httpserver.Server({"/img": open(path("www/plain.erofs"), "rb").read(), "/byte": b"1"}) as s:
        s.rule = whole
        status, facts, last = report(s.url + "img")
        check(status == 0 and last == FIT, status, last)
        has(facts, round_trip="the median of 5$")
        status, facts, last = report(s.url + "byte")
        check(status == 14, status, last)


@test("check: how much is read is said and bounded")
def _():
    with httpserver.Server({"/img": open(path("www/plain.erofs"), "rb").read()}) as s:
        for words, most in (([], 4194304), (["0"], 0), (["5000"], 5000), (["1"], 1)):
            s.requests.clear()
            status, facts, last = report(s.url + "img", *words)
            check(status == 0 and last == FIT, status, last)
            sent = sum(r.sent for r in s.requests)
            has(facts, fetched=rf"^{sent} \| {min(most, sent - 1157)}$")
            check(sent <= 1152 + 5 + most, sent, most)
            check(("throughput" in facts) == (most > 0), facts)


@test("check: --json")
def _():
    def told(status, *words):
        result = run("-o", "timeout 30", "-o", "ca " + path("ca.pem"), "--check", "--json", *words)
        told = json.loads(result.stdout)
        check(result.returncode == told["exit_status"] == status and not result.stderr, result)
        return told

    size = os.path.getsize(path("www/plain.erofs"))
    t = told(0, nginx.url("plain.erofs", True))
    check(t["size_bytes"] == size and t["block_bytes"] == 4096, t)
    check(t["received_bytes"] > t["throughput_bytes"] > size / 2, t)
    check(t["round_trip_microseconds"] > 0 and t["bytes_per_second"] > 0 and t["verdict"] == FIT[9:], t)
    (hop,) = t["hops"]
    check(hop["url"].endswith("/plain.erofs") and hop["pin"] == certs.pin(path("leaf.pem")), hop)
    check(len(hop["certificates"]) == 1 and 80 < hop["days_left"] < 90 and hop["tls"], hop)
    t = told(0, nginx.url("moved/plain.erofs"))
    check([list(h)[0] for h in t["hops"]] == ["url", "redirect"], t)
    told(14, nginx.url("img"), "0")
    told(1, nginx.url("none"))
    told(1, httpserver.REFUSED)
    with httpserver.Server({"/img": IMAGE}, etag='"a\\b\xff"', redirect=(301, "/img")) as s:
        check(len(told(1, s.url + "img")["hops"]) > 5, "hops")
        s.default.pop("redirect")
        check(told(14, s.url + "img")["validator"] == 'ETag "a\\b?"', "escapes")


@test("check: the block size is compared with this machine's pages")
def _():
    data = bytearray(open(path("www/plain.erofs"), "rb").read())
    data[1024 + 12] = 14
    with httpserver.Server({"/img": bytes(data)}) as s:
        status, facts, last = report(s.url + "img")
        check(status == 1 and "16384" in last and str(os.sysconf("SC_PAGESIZE")) in last, status, last)
        has(facts, image="blocks of 16384")


@test("check: redirects are named")
def _():
    status, facts, last = report(nginx.url("moved/plain.erofs"))
    check(status == 0 and last == FIT, status, last)
    has(facts, redirect="^302 to " + re.escape(nginx.url("plain.erofs")), url="moved", image="^EROFS")
    with httpserver.Server({"/img": IMAGE}, redirect=(301, "/img")) as s:
        status, facts, last = report(s.url + "img")
        check(status == 1 and "NOT fit" in last and "redirect" in last, status, last)


@test("check: a server that ignores ranges or compresses is unfit")
def _():
    for url, words in ((nginx.url("unranged/plain.erofs"), "range requests"),):
        status, facts, last = report(url)
        check(status == 1 and last.startswith("verdict: NOT fit: ") and words in last, status, last)
        has(facts, status="^200", ranges="^ignored$")
    with httpserver.Server({"/img": IMAGE}, encoding="gzip") as s:
        status, facts, last = report(s.url + "img")
        check(status == 1 and "NOT fit" in last and "compressed" in last, status, last)
        has(facts, encoding="^gzip$")


@test("check: no validator, a weak one, a closing server are warnings")
def _():
    with httpserver.Server({"/img": open(path("www/plain.erofs"), "rb").read()}, etag="", last_modified="") as s:
        status, facts, last = report(s.url + "img")
        check(status == 0 and "neither ETag nor" in last, status, last)
        has(facts, validator="^none$")
        s.default = {"etag": 'W/"x"'}
        status, facts, last = report(s.url + "img")
        check(status == 0 and "neither ETag nor" not in last and "weak" in last, status, last)
        has(facts, validator='^ETag W/"x"$')
        s.default = {"etag": ""}
        status, facts, last = report(s.url + "img")
        check(status == 0 and "neither ETag nor" not in last and "weak" not in last, status, last)
        has(facts, validator="^Last-Modified ")
    status, facts, last = report(nginx.url("closing/plain.erofs"))
    check(status == 0 and "closes" in last, status, last)
    has(facts, connection="^closed", round_trip="each with a new connection")


@test("check: exit statuses and reasons of what cannot be reached")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        for knobs, words in (({"status": 404}, "404"), ({"status": 403}, "403"),
                             ({"delay": 60}, "no byte"), ({"status": 503}, "503"),
                             ({"drop": True}, "lost"), ({"raw": b"garbage\xff\r\n\r\n"}, "malformed")):
            s.default = knobs
            status, facts, last = report(s.url + "img", timeout=3)
            check(status == 1 and last.startswith("verdict: NOT fit: ") and words in last, knobs, status, last)
            has(facts, connected="^to 127.0.0.1")
    status, facts, last = report(f"{httpserver.REFUSED}img")
    check(status == 1 and "refused" in last and "connected" not in facts, status, last)
    status, facts, last = report("-o", "resolve x:1:127.0.0.1", "http://no-such-name.invalid/img", timeout=3)
    check(status == 1 and "NOT fit" in last, status, last)


@test("check: what a server says cannot steer a terminal")
def _():
    with httpserver.Server({"/img": IMAGE}, etag='"\x1b[31m\xff"'.encode("latin-1").decode("latin-1")) as s:
        status, facts, last = report(s.url + "img")     # decodes ASCII
        check("\x1b" not in str(facts) + last, facts)
    with httpserver.Server({"/img": IMAGE}, etag='"\xff\x80"') as s:
        status, facts, last = report(s.url + "img")
        has(facts, validator=r'^ETag "\?\?"$')


@test("check: a slow server is measured for two seconds")
def _():
    big = open(path("www/plain.erofs"), "rb").read() * 8
    with httpserver.Server({"/img": big}, rate=100000) as s:
        began = time.monotonic()
        status, facts, last = report(s.url + "img")
        check(status == 0 and last == FIT, status, last)
        has(facts, throughput=r"^[\d.]+ kB/s, \d+ bytes in 2\.\d\d s$")
        check(time.monotonic() - began < 8, "took too long")


# -- root hashes and trees -------------------------------------------------------------------------

def verified(salt=b""):
    """An image of 600 blocks, whose tree has two levels, that tree and the root hash."""
    data = open(path("www/plain.erofs"), "rb").read()
    data += httpserver.image("behind", 600 * 4096 - len(data))
    return data, *verity.tree(data, salt)


def signed(root, name="leaf", *options):
    return verity.sign(root, path(f"{name}.key"), path(f"{name}.pem"), *options)


def asked(server):
    """What was requested beside the image."""
    return sorted({r.path for r in server.requests} - {"/img"})


@test("check: a root hash of the configuration: whose it is, the tree's form, a sample; its version is the root hash")
def _():
    data, tree, root = verified(b"salt")
    with httpserver.Server({"/img": data, "/img.verity": tree}, etag="", last_modified="") as s:
        for words in [f"roothash {root}"], [f"roothash img {root.upper()}", f"roothash {'0' * 64}"]:
            s.requests.clear()
            status, facts, last = report(*(x for w in words for x in ("-o", w)), s.url + "img", "0")
            check(status == 0 and last == FIT, status, last)
            has(facts, given_by="^the configuration$", root_hash=f"^{root}$", tree=f"^{s.url}img.verity$",
                geometry="^600 blocks of 4096 bytes, 2 levels, a salt of 4 bytes$", sample="^16 of 16 blocks fit$")
            blocks = [r.range[0] // 4096 for r in s.requests if r.path == "/img" and r.range[1] - r.range[0] == 4095]
            check(len(blocks) == 16 and blocks[0] == 0 and blocks[-1] == 599, blocks)
            tree_blocks = sorted(r.range[0] // 4096 for r in s.requests if r.path == "/img.verity")
            check(tree_blocks == list(range(7)), "each block of the tree once:", tree_blocks)
        result = run("-o", f"roothash {root}", "--check", "--json", s.url + "img", "0")
        told = json.loads(result.stdout)
        check(told["root_hash"] == root and told["given_by"] and told["sample"] == "16 of 16 blocks fit", told)
        s.requests.clear()
        status, facts, last = report(s.url + "img", "0")
        check(status == 0 and "neither ETag nor" in last and not asked(s) and "tree" not in facts, last, asked(s))


@test("check: an image of one block, a tree elsewhere, a tree behind a redirect, a tree that comes in pieces")
def _():
    data, tree, root = verified()
    one, tree_of_one, root_of_one = data[:4096], *verity.tree(data[:4096])
    with httpserver.Server({"/img": data, "/img.verity": tree, "/else/img.verity": tree, "/one": one,
                            "/one.verity": tree_of_one}) as s:
        status, facts, last = report("-o", f"roothash {root_of_one}", s.url + "one", "0")
        check(status == 0 and last == FIT, status, last)
        has(facts, geometry="^1 blocks of 4096 bytes, 0 levels", sample="^1 of 1 ")
        status, facts, last = report("-o", f"roothash {root}", "-o", f"verity {s.url}else/", s.url + "img", "0")
        check(status == 0 and last == FIT, status, last)
        has(facts, tree=f"^{s.url}else/img.verity$")
        s.paths["/img.verity"] = {"redirect": (302, "/else/img.verity")}
        status, facts, last = report("-o", f"roothash {root}", s.url + "img", "0")
        check(status == 0 and last == FIT, status, last)
        s.paths["/else/img.verity"] = {"short": 1000}
        status, facts, last = report("-o", f"roothash {root}", s.url + "img", "0")
        check(status == 0 and last == FIT, status, last)
        s.paths["/img.verity"] = {"redirect": (302, "/img.verity")}
        status, facts, last = report("-o", f"roothash {root}", s.url + "img", "0")
        check(status == 1 and "NOT fit: its tree (.verity): too many redirects" in last, status, last)


@test("check: what does not fit the root hash is unfit, and named")
def _():
    data, tree, root = verified()
    other, other_tree, _ = data[:4096 * 599], *verity.tree(data[:4096 * 599])
    last_bad = data[:-1] + bytes([data[-1] ^ 1])
    wrong_type = verity.superblock(600, hash_type=0) + tree[4096:]
    low = tree[:3 * 4096] + bytes([tree[3 * 4096] ^ 1]) + tree[3 * 4096 + 1:]   # of the second leaves' block
    for name, image, t, hash_, words, facts_ in (
            ("another root hash", data, tree, "0" * 64, "its tree .*: it does not fit the root hash", {}),
            ("no tree", data, None, root, "its tree .*: .*404", {}),
            ("a tree of another image", data, verity.tree(data[::-1])[0], root, "its tree .*: it does not fit", {}),
            ("a tree for another size", data, other_tree, root, "its tree .*: a tree of 599 blocks of 4096 bytes", {}),
            ("no tree at all", data, data, root, "its tree .*: no superblock", {}),
            ("hash type 0", data, wrong_type, root, "its tree .*: hash type 0 instead of 1", {}),
            ("a tree that is cut", data, tree[:5000], root, "its tree .*: it is cut off", {}),
            ("a tree without its end", data, tree[:4 * 4096], root, "its tree .*: .*416", {"sample": "^0 of 16"}),
            ("a bit of the tree", data, low, root, "its tree .*: it does not fit", {"sample": "^4 of 16"}),
            ("the first block", b"\1" + data[1:], tree, root, "NOT fit: it does not fit", {"not_fit": "^block 0$"}),
            ("the last block", last_bad, tree, root, "NOT fit: it does not fit", {"not_fit": "^block 599$"}),
            ("an image without its end", other, tree, root, "its tree .*: a tree of 600 blocks of 4096 bytes for", {})):
        with httpserver.Server({"/img": image, **({"/img.verity": t} if t else {})}) as s:
            status, facts, last = report("-o", f"roothash {hash_}", s.url + "img", "0")
            check(status == 1 and re.search("^verdict: NOT fit: ", last) and re.search(words, last), name, status, last)
            has(facts, **facts_)


@test("check: a signed root hash: by whom, or why it is not taken; verity allow")
def _():
    data, tree, root = verified()
    files = {"/img": data, "/img.verity": tree, "/img.roothash": root.encode() + b"\n",
             "/img.roothash.p7s": signed(root)}
    key = ("-o", "verity-key " + path("leaf.pem"))
    with httpserver.Server(files) as s:
        status, facts, last = report(*key, s.url + "img", "0")
        check(status == 0 and last == FIT, status, last)
        has(facts, signed_by="^Test leaf$", root_hash=f"^{root}$", sample="^16 of 16")
        s.requests.clear()
        status, facts, last = report(*key, "-o", f"roothash {root}", s.url + "img", "0")
        check(status == 0 and asked(s) == ["/img.verity"], "the configuration outranks it:", asked(s))
        allow = (*key, "-o", "verity allow")
        for name, changed, words in (
                ("another key", {"/img.roothash.p7s": signed(root, "stranger")}, "signature.*: does not fit"),
                ("attributes", {"/img.roothash.p7s": signed(root, "leaf", "-text")}, "signature.*: has attributes"),
                ("another root hash", {"/img.roothash": b"0" * 64}, "signature.*: does not fit the root hash"),
                ("no root hash", {"/img.roothash": b"<html>"}, "its root hash .*: it is not 64 hexadecimal digits"),
                ("no file", {"/img.roothash": None}, "its root hash .*: .*404"),
                ("no signature", {"/img.roothash.p7s": None}, "its signature .*: .*404")):
            s.images = {k: v for k, v in {**files, **changed}.items() if v is not None}
            status, facts, last = report(*key, s.url + "img", "0")
            check(status == 1 and re.search("NOT fit: .*" + words, last), name, status, last)
            check("root hash" not in facts and "tree" not in facts, name, facts)
            status, facts, last = report(*allow, s.url + "img", "0")
            check(status == 0 and re.search("fit .*, but: it is not verified: .*" + words, last), name, status, last)
        s.images = files
        s.paths["/img.roothash"] = {"status": 403}
        status, facts, last = report(*key, s.url + "img", "0")
        check(status == 1 and "its root hash (.roothash): the server answered with status 403" in last, status, last)
        status, facts, last = report(*allow, s.url + "img", "0")
        check(status == 0 and "but: it is not verified: its root hash (.roothash): the server answered" in last, last)
        s.paths.clear()
        status, facts, last = report("-o", f"roothash other {root}", s.url + "img", "0")
        check(status == 1 and "NOT fit: it has no root hash: see `roothash` and" in last, status, last)


sys.exit(main())
