#!/usr/bin/python3
"""`cachefilesd-mini --get` against servers that are right and wrong.

    test/client/test_get.py [BINARY]    TAP on standard output; exit status 1 if a test failed

The right servers are nginx (tools.py), the wrong ones those of test/lib/httpserver.py.
"""
import hashlib
import os
import pty
import random
import re
import subprocess
import sys
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from client.tools import (BINARY, FOLDER, IMAGE, OTHER, check, expect, expect_prefix, get, has, main, nginx, path,
                          report, run, test, tls_context)
from lib import httpserver, tap
from lib.verity import Tree

# -- --get: the bytes ----------------------------------------------------------------------------

@test("get: the whole file")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        expect(get(s.url + "img"), 0, IMAGE)


@test("get: ranges at odd offsets, at the tail, of nothing")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        for offset, length in ((0, 1), (1, 1), (4095, 1), (4095, 2), (4096, 4096), (5, 4090), (5, 4091),
                               (5, 4092), (12345, 65536), (12345, 200000), (300000, 1), (299999, 5),
                               (300000, 2 ** 64 - 1), (0, 300001), (0, 999999), (300001, 1), (7, 0)):
            expect(get(s.url + "img", str(offset), str(length)), 0, IMAGE[offset:offset + length])


@test("get: from OFFSET to the end resumes a file")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        for offset in (0, 1, 4096, 77777, 300000, 300001):
            expect(get(s.url + "img", str(offset)), 0, IMAGE[offset:])
        with open(path("resumed"), "wb") as f:
            f.write(IMAGE[:123456])
        with open(path("resumed"), "ab") as f:
            expect(get(s.url + "img", "123456", stdout=f), 0)
        check(open(path("resumed"), "rb").read() == IMAGE)


@test("get: an OFFSET beyond the end is an error that names the size")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        expect(get(s.url + "img", "300002"), 2, b"", "img: .*300002.* has 300001 bytes")
        expect(get(s.url + "img", "9223372036854775807", "1"), 2, b"", "has 300001 bytes")
        expect(get(s.url + "img", "18446744073709551615", "18446744073709551615"), 2, b"", "has 300001")


@test("get: files of every size around a page")
def _():
    sizes = [1, 1151, 1152, 4095, 4096, 4097, 8191, 8192, 65535, 65536, 65537]
    with httpserver.Server({f"/{n}": IMAGE[:n] for n in sizes}) as s:
        for n in sizes:
            expect(get(f"{s.url}{n}"), 0, IMAGE[:n])
            expect(get(f"{s.url}{n}", str(n - 1)), 0, IMAGE[n - 1:n])


@test("get and check: an empty file is named, whatever the server answers")
def _():
    with httpserver.Server({"/img": b""}) as s:
        for knobs in ({}, {"ignore_range": True}):
            s.default = knobs
            expect(get(s.url + "img"), 7, b"", "img: .*empty")
            status, facts, last = report(s.url + "img")
            check(status == 1 and "empty" in last, status, last)
    expect(get(nginx.url("empty")), 7, b"", "empty: .*is empty")


@test("get: aws-chunked of a gateway is taken with the file's own bytes, and not with its own framing")
def _():
    with httpserver.Server({"/img": IMAGE}, headers=["Content-Encoding: aws-chunked"]) as s:
        expect(get(s.url + "img"), 0, IMAGE)
        framed = b"10;chunk-signature=" + b"0" * 64 + b"\r\n" + IMAGE[:16] + b"\r\n0;chunk-signature=0\r\n\r\n"
        s.default["raw"] = (b"HTTP/1.1 206 x\r\nContent-Encoding: aws-chunked\r\nContent-Range: bytes 0-15/16\r\n"
                            b"Content-Length: %d\r\n\r\n" % len(framed)) + framed
        expect(get(s.url + "img"), 7, b"", "img: .*contradicts")


@test("get: a 401 names the scheme that is wanted")
def _():
    for wanted, named in (("Basic realm=\"a b\"", "Basic"), ("Bearer realm=x, Digest qop=auth", "Bearer, Digest")):
        with httpserver.Server({}, status=401, headers=["WWW-Authenticate: " + wanted]) as s:
            expect(get(s.url + "img"), 5, b"", f"img: .*status 401: it wants {named} \\(see netrc, header\\)")


@test("get: 256 MiB through nginx, checksum")
def _():
    with subprocess.Popen([BINARY, "--get", nginx.url("big")], stdout=subprocess.PIPE) as p:
        digest, size = hashlib.sha256(), 0
        while part := p.stdout.read(1 << 20):
            digest.update(part)
            size += len(part)
    check(p.returncode == 0 and size == 256 << 20, p.returncode, size)
    with open(path("www/big"), "rb") as f:
        check(digest.digest() == hashlib.file_digest(f, "sha256").digest(), "checksum")


@test("get: nginx over http and https, whole and parts")
def _():
    for https in (False, True):
        for words in ((), ("5", "7"), ("299000",), ("4096", "65536")):
            first = int(words[0]) if words else 0
            size = int(words[1]) if len(words) > 1 else 1 << 30
            expect(run("-o", "ca " + path("ca.pem"), "--get", nginx.url("img", https), *words), 0,
                   IMAGE[first:first + size])
    expect(run("-o", "ca " + path("ca.pem"), "-o", f"resolve get.test:{nginx.https}:127.0.0.1",
               "--get", f"https://get.test:{nginx.https}/img"), 0, IMAGE)


# -- --get: trouble that it overcomes ------------------------------------------------------------

@test("get: goes on at the byte where a body broke off")
def _():
    rng = random.Random(2)
    for tls in (None, tls_context()):
        with httpserver.Server({"/img": IMAGE}, tls=tls) as s:
            s.rule = lambda request: {"cut": rng.randrange(1, 60000)}
            expect(get(s.url + "img", "-o", "ca " + path("ca.pem"), timeout=30), 0, IMAGE)
            check(len(s.requests) > 5, s.requests)


@test("get: prefixes, chunks, HTTP/1.0, closing servers, redirects")
def _():
    for knobs in ({"short": 10000}, {"chunked": 777}, {"http10": True}, {"close": True}, {"idle_close": 0}):
        with httpserver.Server({"/img": IMAGE}, **knobs) as s:
            expect(get(s.url + "img", "3", "290001"), 0, IMAGE[3:290004])
    with httpserver.Server({"/img": IMAGE}) as s:
        s.paths = {f"/{n}": {"redirect": (302, f"/{n + 1}" if n < 6 else "/img")} for n in range(7)}
        expect(get(s.url + "0"), 0, IMAGE)


@test("get: a server that is away, busy or silent for a moment")
def _():
    for knobs in ({"status": 503}, {"reset": True}, {"drop": True}):
        with httpserver.Server({"/img": IMAGE}) as s:
            s.next(knobs, {}, {"cut": 70000}, knobs, knobs)
            expect(get(s.url + "img", timeout=30), 0, IMAGE, "trying again")


@test("get: a stalled body is asked for again")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        s.next({}, {"stall": 100000})
        result = get(s.url + "img", timeout=40)
        check(result.returncode == 0 and result.stdout == IMAGE, result.returncode, result.stderr)


@test("get: standard output that waits is no fault of the server")
def _():
    big = httpserver.image("slow reader", 1 << 20)
    with httpserver.Server({"/img": big}) as s:
        with subprocess.Popen([BINARY, "-o", "timeout 1", "--get", s.url + "img"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            time.sleep(3)
            data, error = p.communicate(timeout=60)
        check(p.returncode == 0 and data == big and error == b"", p.returncode, len(data), error)
        check(len(s.requests) == 2, s.requests)


@test("get: of a verified image each block of the tree is requested about once")
def _():
    data = httpserver.image("verified", 16 << 20)
    tree = Tree(data)
    with httpserver.Server({"/img": data, "/img.verity": tree.file}) as s:
        expect(get("-o", f"roothash {tree.root}", s.url + "img"), 0, data)
        sent = s.bytes_sent("/img.verity")
        check(sent <= 3 * len(tree.file) // 2, sent, len(tree.file))


# -- --get: exit statuses ------------------------------------------------------------------------

@test("get: status 4 not found, 5 denied, 7 refused, at once")
def _():
    for knobs, status, words in (({"status": 404}, 4, "404"), ({"status": 410}, 4, "410"),
                                 ({"status": 403}, 5, "403"), ({"status": 401}, 5, "401"),
                                 ({"ignore_range": True}, 7, "ignores range"),
                                 ({"encoding": "gzip"}, 7, "compressed.*: gzip"),
                                 ({"content_range": ""}, 7, "Content-Range"),
                                 ({"content_range": "bytes 1-2/300001"}, 7, "Content-Range"),
                                 ({"raw": b"SSH-2.0-x\r\n\r\n"}, 7, "malformed"),
                                 ({"redirect": (302, "/img")}, 7, "redirects")):
        with httpserver.Server({"/img": IMAGE}, **knobs) as s:
            began = time.monotonic()
            result = get(s.url + "img", timeout=30)
            expect(result, status, b"", "img: .*" + words)
            check(result.stderr.count(b"\n") == 1, "one line:", result.stderr)
            check(time.monotonic() - began < 5, "took too long")


@test("get: a size that no file has is named, at once")
def _():
    for size in (2 ** 63 - 1, 2 ** 63 - 4096):
        with httpserver.Server({"/img": IMAGE}, size=size) as s:
            expect(get(s.url + "img"), 7, b"", f"img: only 0 of {size} bytes came")
            expect(get(s.url + "img", str(size)), 0, b"")


@test("get: status 6, the file was replaced on the way (7: it may have been), and no byte of the new one")
def _():
    for change, status, words in (({"image": OTHER}, 6, "replaced"), ({"image": OTHER[:200000]}, 6, "replaced"),
                                  ({"image": OTHER, "etag": ""}, 7, "not with the image's validator")):
        with httpserver.Server({"/img": IMAGE}) as s:
            replies = iter([{}, {"cut": 100000}])
            s.rule = lambda request: next(replies, change)
            expect_prefix(get(s.url + "img", timeout=2), status, "img: .*" + words)


@test("get: status 8 timed out, at the beginning and on the way")
def _():
    with httpserver.Server({"/img": IMAGE}, delay=60) as s:
        expect(get(s.url + "img", timeout=1), 8, b"", "img: .*no byte")
    with httpserver.Server({"/img": IMAGE}) as s:
        s.rule = lambda request: {"stall": 0} if len(s.requests) > 1 else {}
        expect_prefix(get(s.url + "img", timeout=2), 8, "img: ")


@test("get: status 9 unreachable, at the beginning and on the way")
def _():
    expect(get(f"{httpserver.REFUSED}img", timeout=1), 9, b"", "img: .*refused")
    expect(get("http://no-such-name.invalid/img", "-o", "resolve x:1:127.0.0.1", timeout=1), 9, b"", "img: ")
    with httpserver.Server({"/img": IMAGE}) as s:
        replies = iter([{}, {"cut": 100000}])
        s.rule = lambda request: next(replies, {"drop": True})
        expect_prefix(get(s.url + "img", timeout=2), 9, "img: .*lost")


@test("get: status 10, a certificate that proves nothing")
def _():
    with httpserver.Server({"/img": IMAGE}, tls=tls_context()) as s:
        expect(get(s.url + "img", "-o", "ca " + path("stranger.pem")), 10, b"", "img: .*TLS")
        expect(get(s.url.replace("127.0.0.1", "localhost") + "img", "-o", "ca " + path("ca.pem")), 10, b"",
               "img: .*TLS")


@test("get: status 11, busy for all of the time-out")
def _():
    with httpserver.Server({"/img": IMAGE}, status=503) as s:
        expect(get(s.url + "img", timeout=1), 11, b"", "img: .*503")


@test("get: status 2, wrong usage and configuration")
def _():
    url = "http://127.0.0.1:1/img"
    for words in (["--get"], ["--get", url, "1", "2", "3"], ["--get", url, "x"], ["--get", url, "1", "-2"],
                  ["--get", url, "1", "2x"], ["--get", url, "99999999999999999999"], ["--get", "ftp://x/y"],
                  ["--get", "-o", "nonsense", url], ["--get", "-f", "/nonexistent", url],
                  ["--check"], ["--check", url, "1", "2"], ["--check", url, "x"], ["--get", url, "--json"],
                  ["--check", url, "--output", "x"], ["--get", url, "--output"]):
        expect(run(*words), 2, b"", ".")


@test("the command line: -h, and what was meant by a misspelt option")
def _():
    check(run("-h").stdout == run("--help").stdout != b"" == run("-h").stderr)
    for word, meant in (("--chekc", "--check"), ("--Status", "--status"), ("--outptu=x", "--output"),
                        ("--nonsense", "--help"), ("-x", "--help"), ("-", None)):
        result = run(word, "http://127.0.0.1:1/")
        right = result.returncode == 2 and result.stderr.endswith(f"try cachefilesd-mini {meant}\n".encode())
        check(right or not meant, word, result.stderr)
    for words in ("-f", "-F", "-o", "-p", "-n -p", "-dsf", "--get http://a/ --output", "--force=x"):
        result = run(*words.split())
        option = words.split("-")[-1].removeprefix("ds").removesuffix("=x")
        said = result.stderr.decode().partition(": ")[2]
        check(result.returncode == 2 and "argument" in said and re.search(rf"\b{option}\b", said), words, result)
        check(b"try " not in result.stderr, words, result.stderr)
    expect(run("--get", "http://a/", "--output="), 2, b"", "--output: needs the name of a file")


@test("the configuration: all mistakes are told, of its file and of the command line")
def _():
    with open(path("wrong"), "w") as f:
        f.write("brun=9%\nurll http://a/\r\n\nconnections 0\ntag x\r\nfoo")
    for words in ("--get", "--check", "--test", "-n"):
        result = run("-f", path("wrong"), "-o", "timeout 0", words, "ftp://a/img", "-o", "bar")
        said = result.stderr.decode()
        check(result.returncode == 2 and said.count("\n") == 7, words, result.returncode, said)
        for word in (":1: brun", ":2: 'urll': unknown word; is 'url' meant", ":4: connections", ":6: 'foo'",
                     "-o: timeout '0'", "-o: 'bar'", "url 'ftp://a/img': "):
            check(word in said, word, said)


# -- --get: standard output and progress ---------------------------------------------------------

@test("get: a reader that has gone ends it quietly with status 1")
def _():
    with subprocess.Popen([BINARY, "--get", nginx.url("big")], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as p:
        p.stdout.read(100)
        p.stdout.close()
        check(p.wait(30) == 1 and p.stderr.read() == b"", p.returncode)


@test("get: a full device and a closed descriptor are named, status 1")
def _():
    with open("/dev/full", "wb") as full:
        expect(run("--get", nginx.url("img"), stdout=full), 1, None, "standard output: No space left")
        for words in (["--check", nginx.url("img")], ["--check", "--json", nginx.url("img")], ["--help"], ["-h"],
                      ["--version"]):
            expect(run(*words, stdout=full), 1, None, "standard output: No space left")
    for fds in ((1,), (0, 1), (0, 2)):
        result = run("--get", nginx.url("img"), stdout=subprocess.DEVNULL,
                     preexec_fn=lambda: [os.close(fd) for fd in fds])
        check(result.returncode == (1 if 1 in fds else 0), fds, result.returncode)
        check(1 not in fds or b"standard output: Bad file descriptor" in result.stderr, result.stderr)


def on_terminal(url, stdout, *words):
    """Runs --get with a terminal as standard error. Returns the status and the bytes shown there."""
    master, slave = pty.openpty()
    with subprocess.Popen([BINARY, "--get", url, *words], stdout=stdout or slave, stderr=slave) as p:
        os.close(slave)
        if stdout == subprocess.PIPE:
            p.stdout.read()
        shown = b""
        try:
            while part := os.read(master, 65536):
                shown += part
        except OSError:
            pass
    os.close(master)
    return p.returncode, shown


@test("get: progress on a terminal, and only there")
def _():
    big = httpserver.image("progress", 3000000)     # several buffers of it
    with httpserver.Server({"/img": big}, rate=1500000) as s:
        began = time.monotonic()
        status, shown = on_terminal(s.url + "img", subprocess.PIPE)
        most = (time.monotonic() - began) / 0.25 + 1
        lines = re.findall(rb"\rimg: ([\d.]+) ([kM])B of 3\.0 MB, (\d+) %, [\d.]+ [kM]B/s, ([\d:-]+) left *(?=\r)",
                           shown)
        check(status == 0 and 3 <= len(lines) <= most, status, shown)
        check(all(len(line) <= 79 for line in shown.split(b"\r")), shown)
        check(shown.endswith(b"\r" + b" " * 78 + b"\r"), "not cleared:", shown)
        done = [float(x[0]) * (1000 if x[1] == b"M" else 1) for x in lines]
        check(done == sorted(done) and done[-1] > 0, lines)
        check(all((n > 0) == (x[3] != b"-:--:--") for n, x in zip(done, lines)), lines)
        check(re.match(rb"0:00:0\d$", lines[-1][3]), lines)
        expect(get(s.url + "img"), 0, big)
    with httpserver.Server({"/img": b"x" * 5000}) as s:
        status, shown = on_terminal(s.url + "img", None)
        check(status == 0 and shown == b"x" * 5000, "progress among the bytes:", shown[:99])


@test("get: --output writes to a file, which is cut once the first answer is here")
def _():
    name = path("output")
    with httpserver.Server({"/img": IMAGE}) as s:
        expect(get(s.url + "img", "--output", name), 0, b"")
        check(open(name, "rb").read() == IMAGE, "new")
        expect(get(s.url + "img", "5", "4096", f"--output={name}"), 0, b"")
        check(open(name, "rb").read() == IMAGE[5:4101], "shorter than it was")
        expect(get(s.url + "none", "--output", name), 4, b"", "404")
        check(open(name, "rb").read() == IMAGE[5:4101], "a failure has cut it")
        expect(get(s.url + "img", "300001", "--output", path("output.new")), 0, b"")
        check(os.path.getsize(path("output.new")) == 0, "nothing was asked for")
        expect(get(s.url + "img", "--output", "-", cwd=FOLDER.name), 0, IMAGE)
        check(not os.path.exists(path("-")), "a file of the name -")
        expect(get(s.url + "img", "--output", "/dev/null"), 0, b"")
        expect(get(s.url + "img", "--output", "/dev/full"), 1, b"", "/dev/full: No space left on device")
        expect(get(s.url + "img", "--output", path("no/file")), 1, b"", "no/file: No such file or directory")
        expect(get(s.url + "img", "--output", path("")), 1, b"", ": Is a directory")
        expect(get(s.url + "img", "-o", "img.erofs"), 2, b"", "-o: 'img.erofs': .*--output img.erofs\n")
        expect(get(s.url + "img", "-o", "timeout x"), 2, b"", "-o: timeout 'x': needs a number of seconds.*86400\n$")
        status, shown = on_terminal(s.url + "img", subprocess.PIPE, "--output", name)
        check(status == 0 and open(name, "rb").read() == IMAGE, status)


# -- --get: the configuration --------------------------------------------------------------------

@test("get: words by -o and -f")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        expect(run("--get", s.url + "img", "-o", "user-agent tester/1"), 0, IMAGE)
        check(s.requests[-1].headers["user-agent"] == "tester/1", s.requests[-1].headers)
        with open(path("conf"), "w") as f:
            f.write("user-agent from-file\n")
        expect(run("-f", path("conf"), "--get", s.url + "img"), 0, IMAGE)
        check(s.requests[-1].headers["user-agent"] == "from-file", s.requests[-1].headers)


@test("get: other url lines are mirrors, exact or a base")
def _():
    with httpserver.Server({"/img": IMAGE, "/a/img": IMAGE, "/b": IMAGE}) as s:
        gone = f"{httpserver.REFUSED}x/img"
        for mirror in ("img", "a/", "b"):
            expect(get(gone, "-o", f"url {s.url}{mirror}", timeout=20), 0, IMAGE, "img: .*refused")
        with open(path("mirrors"), "w") as f:
            f.write(f"url {s.url}a/\n")
        expect(get(gone, "-f", path("mirrors"), timeout=20), 0, IMAGE, "img: .*refused")
        count = len(s.requests)
        expect(get(s.url + "b", "-f", path("mirrors")), 0, IMAGE)
        check([r.path for r in s.requests[count:]] == ["/b", "/b"], s.requests[count:])


@test("get and check: proxy and header words")
def _():
    with httpserver.Server({"http://far.test/img": IMAGE}) as s:
        words = ["-o", f"proxy {s.url}", "-o", "header X-Token: 17"]
        expect(get("http://far.test/img", *words), 0, IMAGE)
        check(s.requests[-1].headers.get("x-token") == "17", s.requests[-1].headers)
        status, facts, last = report(*words, "http://far.test/img")
        check(status == 14, status, last)
        has(facts, url="^http://far.test/img$", proxy="^127.0.0.1$", connected=f"port {s.port}", status="^206")
        check(s.requests[-1].headers.get("x-token") == "17", s.requests[-1].headers)
        s.default = {"redirect": (302, "http://other.test/img")}
        report(*words, "http://far.test/img")
        check("x-token" not in s.requests[-1].headers, "a header followed a redirect")


@test("get: the URL is taken as it is written")
def _():
    names = ["/", "/dir/", "/dir/?q=a/b", "/%41%2f?x=%20", "/x#fragment"]
    with httpserver.Server({}) as s:
        s.rule = lambda request: {"image": IMAGE}
        for name in names:
            expect(get(s.url + name[1:]), 0, IMAGE)
            check(s.requests[-1].target == name.partition("#")[0], s.requests[-1])


@test("get: the default configuration's words hold, its url lines do not")
def _():
    with httpserver.Server({"/img": IMAGE}) as s:
        script = f"mount -t tmpfs none /etc && cp {path('etc')} /etc/cachefilesd.conf && exec \"$@\""
        with open(path("etc"), "w") as f:
            f.write("".join(f"url http://127.0.0.1:1/{n}/\n" for n in range(8)) + "user-agent from-etc\n")
        words = ["unshare", "-rm", "sh", "-c", script, "sh"]
        if subprocess.run([*words, "true"], capture_output=True).returncode:
            raise tap.Skip("no mount namespace here")
        result = subprocess.run([*words, BINARY, "--get", s.url + "img"], capture_output=True, timeout=60)
        expect(result, 0, IMAGE)
        check(s.requests[-1].headers["user-agent"] == "from-etc", s.requests[-1].headers)
        s.default = {"status": 404}
        result = subprocess.run([*words, BINARY, "--get", s.url + "img"], capture_output=True, timeout=60)
        expect(result, 4, b"", "404")


@test("get: passwords go to the server, not to the log")
def _():
    for url in ("ftp://a/", "http://a/%zz", "http://a/ b"):
        for mode in ("--get", "--check"):       # a '#' of our own is not the user's
            expect(run(mode, url), 2, b"", f"argument: url '{url}': ")
    expect(run("--get", "http://a/" + "x" * 6000), 2, b"", "argument: url .*: it is longer than \\d+ bytes")
    with httpserver.Server({}) as s:
        url = s.url.replace("//", "//user:geheim@")
        expect(get(url + "img", "-d"), 4, b"", "404")
        check("authorization" in s.requests[-1].headers, s.requests[-1].headers)
        for words in (("--get", url + "img"), ("--check", url + "img"), ("-d", "--get", url + "img")):
            result = run(*words)
            check(b"geheim" not in result.stdout + result.stderr, result)


sys.exit(main())
