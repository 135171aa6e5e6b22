"""HTTP: servers that are right in another way, slow, or wrong."""
import errno
import glob
import os
import re
import time

from scenarios.common import (KIB, MIB, PAGE, Program, Server, check, daemon, each, fails, got, image, limit, need,
                              quiet, recovers, refused, reported, scenario, serving, still_serves)

WAYS = {
    "chunked": {"chunked": 1000}, "chunks of one byte": {"chunked": 1}, "HTTP/1.0": {"http10": True},
    "Connection: close": {"close": True}, "closed when idle": {"idle_close": 0.05},
    "closed after each reply": {"idle_close": 0}, "no validators": {"etag": "", "last_modified": ""},
    "weak ETag": {"etag": 'W/"x"'}, "long ETag": {"etag": '"' + "e" * 500 + '"'},
    "slow": {"rate": 400000}, "many headers": {"headers": [f"X-{n}: {'x' * 50}" for n in range(60)]},
}


@each(*WAYS)
def server_of_another_way(name):
    """servers that are right in another way"""
    size = 20000 if name == "chunks of one byte" else 200000
    data = image("ways", size)
    with serving(data, "timeout 10", knobs=dict(**WAYS[name])) as (s, k, f):
        for offset in range(0, size, max(PAGE, size // 5 // PAGE * PAGE)):
            need(k, f, data, offset, 20480)
            time.sleep(0.07 if name == "closed when idle" else 0)


@scenario
def weak_etag_becomes_strong():
    """a weak ETag that becomes strong, as Apache's do once the file is a second old, is the same version"""
    data = image("young", 200000)
    with serving(data, "retry soft 3", "read-ahead none", knobs={"etag": 'W/"x"'}) as (s, k, f):
        s.default["etag"] = '"x"'
        need(k, f, data, 65536, 65536)
        s.default["etag"] = '"y"'
        fails(k, f, 131072, 4096, 8)


@each("chunked", "prefetch all")
def bodies_without_length(how):
    """a server without Content-Length: right bytes, none written before its body has ended, a buffer at a time"""
    size = int(re.search(r"with (\d+) bytes", Program.run("--version")[1])[1])
    data = image("no length", MIB + 77)
    with serving(data, *([how] if how != "chunked" else []), knobs={"chunked": 10000}) as (s, k, f):
        for at in range(0, MIB, 128 * KIB):
            need(k, f, data, at, 128 * KIB)
        need(k, f, data, MIB, 4096)
        large = [r for r in s.requests[2 * limit("connections"):] if r.range[1] - r.range[0] >= size]
        assert not large, f"{len(large)} requests for more than {size} bytes: {large[0]}"
        assert s.bytes_sent() < len(data) * 3 // 2, f"{s.bytes_sent()} bytes sent"


@each("cut", "malformed", "too long")
def body_without_length_fails(how):
    """of a body without Content-Length that does not end as announced, nothing is written"""
    data = image("no length", 300000)
    with serving(data, "retry soft 2") as (s, k, f):
        s.default.update({"chunked": 10000, "cut": 10001} if how == "cut" else {})
        if how != "cut":
            body = {"malformed": b"fffff\r\n%b\r\n0\r\n\r\n", "too long": b"10001\r\n%bx\r\n0\r\n\r\n"}[how]
            s.rule = lambda r: {"raw": (
                b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\nETag: %b\r\n"
                b"Content-Range: bytes %d-%d/300000\r\n\r\n" % (
                    s._etag(data).encode(), r.range[0], r.range[0] + 65535)) + body % bytes(65536)}
        fails(k, f, 131072, 65536, 8)
        assert f.present() <= PAGE, f"written: {f.writes}"      # OPEN has brought the first page
        s.default.clear()
        s.rule = None
        recovers(k, f, data, 131072, 65536)


@scenario
def kept_alive():
    """fifty READs, one after another, go over one connection"""
    data = image(1, 50 * PAGE)
    with serving(data) as (s, k, f):
        for n in range(50):
            need(k, f, data, (n * 7 % 50) * PAGE, PAGE)
        assert s.connections <= limit("connections"), f"{s.connections} connections"


@scenario
def stale_connection():
    """a kept-alive connection that the server has closed costs neither an error nor a wait"""
    data = image(1, 50 * PAGE)
    with serving(data, "timeout 5", knobs=dict(idle_close=0.1)) as (s, k, f):
        took = []
        for n in range(5):
            time.sleep(0.2)
            start = time.monotonic()
            need(k, f, data, n * 9 * PAGE, PAGE)
            took.append(time.monotonic() - start)
        assert sorted(took)[2] < 0.7, took


@each(301, 302, 303, 307, 308)
def redirected(status):
    """redirects are followed, to another port and within the server"""
    data = image(1, 100000)
    with Server({"/there/img": data}) as other, Server() as s, daemon(s) as k:
        s.paths["/img"] = {"redirect": (status, "/hop?x=1")}
        s.paths["/hop"] = {"redirect": (status, other.url + "there/img")}
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 65536)
        need(k, f, data, 65536, 34464)


@scenario
def redirected_relative():
    """a relative Location"""
    data = image(1, 100000)
    with Server({"/a/c/img": data}) as s, daemon(s.url + "a/b/") as k:
        s.paths["/a/b/img"] = {"redirect": (302, "../c/img")}
        need(k, k.opened("erofs,img", b"img"), data, 0, 65536)


@each("loop", "404", "no location", "ftp")
def redirected_nowhere(where):
    """redirects that lead nowhere are refused"""
    with Server() as s, daemon(s, "timeout 2") as k:
        target = {"loop": "/img", "404": "/missing", "no location": "", "ftp": "ftp://127.0.0.1/img"}[where]
        s.paths["/img"] = {"redirect": (302, target)}
        refused(k, k.open("erofs,img", b"img"), *([errno.ENOENT] if where == "404" else []))
        assert len(s.requests) < 100, f"{len(s.requests)} requests"
        still_serves(k, s)


@scenario
def no_secret_is_logged():
    """userinfo and query of url lines and redirects, at level debug and in the cache's state, whatever fails"""
    data = image(1, 300000)
    with Server({"/there": data}) as other, Server() as s:
        secret = s.url.replace("http://", "http://joe:s3cret@") + "%c?sig=s3cret"
        there = other.url.replace("http://", "http://joe:s3cret@") + "there?sig=s3cret"
        with daemon(secret, "timeout 1", "offline allow", options=["-d"]) as k:
            s.paths["/img"] = {"redirect": (302, there)}
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            other.default["status"] = 503
            fails(k, f, 200704, 4096, 8)
            for number, target in enumerate(("ftp://joe:s3cret@h/a?sig=s3cret", "/loop?sig=s3cret", "//h:0/?s3cret",
                                             "http://joe:s3cret@127.0.0.1:1/?s3cret", "/%zz?sig=s3cret")):
                s.paths[f"/bad{number}"] = s.paths["/loop"] = {"redirect": (302, target)}
                refused(k, k.open(f"erofs,bad{number}", b"bad%d" % number))
            files = filter(os.path.isfile, glob.glob(f"{k.cache}/cachefilesd-mini/**", recursive=True))
            state = "".join(open(path, errors="replace").read() for path in files)
            k.stop()
            k.wait_log_end()
            assert "at http://127.0.0.1" in k.stderr and "redirect (302): " in k.stderr, k.stderr
            assert not re.search("s3cret|joe", k.stderr + state), k.stderr + state


@scenario
def redirect_target_expires():
    """a redirect's target that ends with 403 is asked for anew (signed URLs)"""
    data = image(1, 300000)
    with Server({"/signed1": data, "/signed2": data}) as other, Server() as s, daemon(s, "timeout 5") as k:
        s.paths["/img"] = {"redirect": (307, other.url + "signed1")}
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        other.paths["/signed1"] = {"status": 403}
        s.paths["/img"] = {"redirect": (307, other.url + "signed2")}
        need(k, f, data, 200704, 4096)


DEATHS = {"400": {"status": 400}, "500": {"status": 500}, "a web page": {"ignore_range": True}, "drops": {"drop": True},
          "hangs": {"delay": 1000}, "another version": {"image": image("other", 300000)}}


@each(*DEATHS)
def redirect_target_dies(how):
    """whatever a redirect's target does: the next attempt asks the url line, which has another one"""
    data = image(1, 300000)
    with Server({"/a": data}) as old, Server({"/b": data}) as new, Server() as s, daemon(s, "timeout 20") as k:
        s.paths["/img"] = {"redirect": (307, old.url + "a")}
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, 4096)
        quiet(old)
        old.default = DEATHS[how]
        s.paths["/img"] = {"redirect": (307, new.url + "b")}
        need(k, f, data, 200704, 4096)


@each("404", "403", "200")
def redirect_target_of_an_open(status):
    """what one target says does not refuse an OPEN: another is asked for, once"""
    data = image(1, 300000)
    bad = {"ignore_range": True} if status == "200" else {"status": int(status)}
    with Server({"/a": data}, **bad) as old, Server({"/b": data}) as new, Server() as s, daemon(s, "timeout 20") as k:
        s.rule = lambda r: {"redirect": (302, (new.url + "b") if len(s.requests) > 1 else old.url + "a")}
        k.opened("erofs,img", b"img")
        s.rule = lambda r: {"redirect": (302, old.url + "a")}
        asked = len(old.requests)
        refused(k, k.open("erofs,other", b"other"))
        assert len(old.requests) == asked + 2, f"{len(old.requests) - asked} requests"


@each("at once", "Retry-After")
def busy_for_all(how):
    """attempts that fail together are not repeated together, nor before the server says; the first ones are not late"""
    names = [f"i{n}" for n in range(16)]
    told = 1 if how == "Retry-After" else 0
    with Server({f"/{name}": image(name, 4096) for name in names}) as s, daemon(s) as k:
        s.default.update(status=503, headers=[f"Retry-After: {told}"])
        k.wait_bound()
        begun = time.monotonic()
        files = [k.open(f"erofs,{name}", name.encode()) for name in names]
        k.wait(lambda: len(s.requests) >= 2 * len(names), 10, "second attempts")
        s.default.clear()
        times = {name: [r.time for r in s.requests if r.path == f"/{name}"] for name in names}
        assert max(t[0] for t in times.values()) - begun < 1, f"the first requests: {times}"
        pauses = [t[1] - t[0] for t in times.values() if len(t) > 1]
        assert min(pauses) > told - 0.05, pauses
        assert max(pauses) - min(pauses) > (0.2 if told else 0.04), pauses
        for f in files:
            assert k.wait_copen(f) > 0


@scenario
def read_fails_for_good():
    """500 for longer than the time-out: READ is answered without data, one line says so, the daemon goes on"""
    data = image(1, 300000)
    with serving(data, "timeout 2") as (s, k, f):
        need(k, f, data, 0, 4096)
        before = len(k.stderr.splitlines())
        s.default["status"] = 500
        start = time.monotonic()
        fails(k, f, 200704, 4096, 8)
        assert time.monotonic() - start > 1, "gave up at once"
        time.sleep(0.2)
        lines = k.stderr.splitlines()[before:]
        assert any("img" in x and "500" in x for x in lines), f"no line names image and reason: {lines}"
        assert len(lines) <= 6, f"{len(lines)} lines for one failure"
        requests = len([x for x in s.requests if x.status == 500])
        assert 2 <= requests < 60, f"{requests} attempts"
        s.default.clear()
        recovers(k, f, data, 200704, 4096)


@scenario
def read_waits_for_its_first_attempt():
    """a READ waits longer than the time-out for the only connection, and its first attempt fails: another is made"""
    slow, data = image("slow", MIB), image(1, 300000)
    with Server({"/slow": slow, "/img": data}) as s, daemon(s, "timeout 3", "connections 1", "read-ahead none") as k:
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,img", b"img")
        first = len(s.requests)
        s.paths["/slow"] = {"rate": 36 * KIB}
        before = k.read(f, 512 * KIB, 128 * KIB)
        k.wait(lambda: len(s.requests) > first, 10, "the request before")
        s.paths["/img"] = {"status": 503}
        r = k.read(g, 128 * KIB, PAGE)
        k.wait(lambda: [x for x in s.requests[first:] if x.status == 503], 20, "the first attempt")
        s.paths["/img"] = {}
        got(k, r, data)
        got(k, before, slow)


@each("refused", "500", "hangs", "resets")
def read_server_comes_back(how):
    """a server that is back within the time-out: right data, nothing lost"""
    data = image(1, 300000)
    with serving(data, "timeout 10") as (s, k, f):
        s.default = {"500": {"status": 500}, "hangs": {"delay": 1000}, "resets": {"reset": True}}.get(how, {})
        if how == "refused":
            s.stop()
        reads = [k.read(f, n * 50 * KIB // PAGE * PAGE, 8192) for n in range(5)]
        time.sleep(1)
        s.default = {}
        if how in ("refused", "hangs"):
            s.stop()
            s.start()
        for r in reads:
            got(k, r, data, 15)


@each("mainline", "v8")
def bodies_cut_off(layout):
    """bodies that end early: right data, and what came is not fetched again"""
    data = image("cut", MIB)
    cuts = (0, 1, 4095, 4096, 4097, 300000, 65536, 200001)
    with serving(data, "timeout 20", "connections 1", layout=layout) as (s, k, f):
        before = len(s.requests)
        s.next(*({"cut": n} for n in cuts))
        need(k, f, data, 0, MIB, 20)
        sent = s.bytes_sent("/img", before)
        assert sent <= MIB + len(cuts) * PAGE, f"{sent} bytes sent for {MIB}"


@scenario
def chunked_cut_off():
    """a chunked body that ends early, and one with broken chunks"""
    data = image("cut", MIB)
    with serving(data, "timeout 20") as (s, k, f):
        head = b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-%d/%d\r\nTransfer-Encoding: chunked\r\n\r\n"
        s.next({"chunked": 10000, "cut": 123456}, {"raw": head % (MIB - 1, MIB) + b"zz\r\nabc"},
               {"raw": head % (MIB - 1, MIB) + b"fffffffffffffffff\r\nabc"})
        need(k, f, data, 0, MIB, 20)


@scenario
def stalled_body():
    """a body that stops coming: the READ ends in time, with right bytes or none"""
    data = image("stall", MIB)
    with serving(data, "timeout 2") as (s, k, f):
        s.next({"stall": 100000})
        r = k.read(f, 0, MIB)
        k.wait_complete(r, 12)
        check(f, data)
        recovers(k, f, data, 0, MIB)


@scenario
def stalled_for_ever():
    """a server that sends the first bytes and no more, every time: answered without data"""
    data = image("stall", MIB)
    with serving(data, "timeout 2") as (s, k, f):
        s.default["stall"] = 10
        fails(k, f, 65536, 65536, 12)
        s.default.clear()
        recovers(k, f, data, 65536, 65536)


@scenario
def short_parts():
    """206s of less than was asked for: the rest is asked for"""
    data = image("short", 300000)
    with serving(data, "timeout 10", knobs=dict(short=10000)) as (s, k, f):
        assert f.size == reported(data)
        need(k, f, data, 0, 131072)
        need(k, f, data, 196608, len(data) - 196608)


@each("ignore_range", "content_range", "encoding", "more bytes", "other size")
def read_reply_wrong(how):
    """a reply to READ that proves nothing: right bytes or none; then it goes on"""
    data = image("wrong", 300000)
    knobs = {"ignore_range": {"ignore_range": True}, "content_range": {"content_range": "bytes 0-4095/300000"},
             "encoding": {"encoding": "gzip"}, "other size": {"content_range": "bytes 65536-131071/300001"},
             "more bytes": {"content_range": "bytes 65536-393215/300000"}}[how]
    with serving(data, "timeout 2") as (s, k, f):
        s.default = knobs
        r = k.read(f, 65536, 65536)
        k.wait_complete(r, 10)
        check(f, data)
        s.default = {}
        still_serves(k, s)


ONE_ANSWER = {"412": {"status": 412}, "416": {"status": 416}, "200": {"ignore_range": True}, "no ETag": {"etag": ""},
              "416 with the size": {"raw": b"HTTP/1.1 416 X\r\nContent-Range: bytes */300000\r\n"
                                           b"Content-Length: 0\r\n\r\n"}}


@each(*ONE_ANSWER)
def one_answer_proves_nothing(name):
    """a status or a missing validator that says nothing of another image, once: the READ is answered rightly"""
    data = image(1, 300000)
    with serving(data, "timeout 10", "connections 1") as (s, k, f):
        need(k, f, data, 0, 4096)
        quiet(s)
        s.next(ONE_ANSWER[name])
        need(k, f, data, 200704, 4096)
        assert "replaced" not in k.stderr, k.stderr
        still_serves(k, s)


@each("etag", "size", "last_modified", "shrunk")
def image_changed(how):
    """another image under the same name: no byte of it gets into the file, and the log says so"""
    data, other = image("old", 300000), image("new", 300000)
    knobs = {"etag": {"image": other}, "size": {"image": other + b"more"},
             "last_modified": {"image": other, "etag": "", "last_modified": "Thu, 07 Apr 2022 07:55:52 GMT"},
             "shrunk": {"image": other[:1000]}}[how]
    with Server({"/img": data}, **({"etag": ""} if how == "last_modified" else {})) as s:
        with daemon(s) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 4096)
            s.paths["/img"] = knobs
            fails(k, f, 131072, 65536, 10)
            check(f, data)
            k.wait_log(r"(?i)chang|replaced|version|differ|another")
            still_serves(k, s)


@scenario
def hanging_server():
    """an image on a server that hangs does not delay one on another server"""
    slow, good = image("slow", MIB), image("good", MIB)
    with Server({"/slow": slow}) as other, Server({"/good": good}) as s, daemon(s, "timeout 60") as k:
        s.paths["/slow"] = {"redirect": (307, other.url + "slow")}
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,good", b"good")
        need(k, f, slow, 0, 4096)
        other.default["delay"] = 1000
        reads = [k.read(f, n * 100 * KIB // PAGE * PAGE + PAGE, 4096) for n in range(8)]
        time.sleep(0.3)
        for n in range(5):
            need(k, g, good, n * 150 * KIB // PAGE * PAGE, 65536)
        assert not any(r.state == "done" for r in reads), "the server did not hang"
        other.default["delay"] = 0
        other.stop()
        other.start()
        for r in reads:
            got(k, r, slow, 15)


@scenario
def hanging_image():
    """nor do more hanging READs than there are connections, on the same server"""
    slow, good = image("slow", 4 * MIB), image("good", MIB)
    with Server({"/slow": slow, "/good": good}) as s, daemon(s, "timeout 60", "connections 3") as k:
        f, g = k.opened("erofs,slow", b"slow"), k.opened("erofs,good", b"good")
        s.paths["/slow"] = {"delay": 1000}
        reads = [k.read(f, n * 300 * KIB // PAGE * PAGE, 4096) for n in range(1, 11)]
        time.sleep(0.3)
        need(k, g, good, 0, 65536)
        need(k, g, good, 300 * PAGE - 50 * PAGE, 65536)
        h = k.open("erofs,good2", b"good2")
        refused(k, h, errno.ENOENT)
        assert not any(r.state == "done" for r in reads), "the server did not hang"
        k.closed(f)
        assert all(r.flushed for r in reads)
