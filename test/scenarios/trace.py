"""The boot trace: played and recorded."""
import contextlib
import os
import random
import tempfile
import threading
import time

from scenarios.common import (KIB, MIB, PAGE, Server, all_once, check, constant, daemon, each, image, joined,
                              kill_worker, large, need, quiet, reload, scenario, serving, spans, still_serves, touch)

TRACE = [(40960, 45056), (4096, 8192), (MIB, MIB + 300 * KIB), (262144, 266240), (3 * MIB, 3 * MIB + PAGE)]


def trace_text(extents=None):
    return "".join(f"{a} {b - a}\n" for a, b in extents or TRACE).encode()


def traces_asked(server):
    return [r for r in server.requests if "trace" in r.path]


@each("beside", "url", "url of another server", "redirect", "chunked", "HTTP/1.0", "as a whole")
def trace_is_played(how):
    """the ranges of the trace are fetched in its order, without any READ"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, Server() as other:
        words = ["connections 1", "header X-Token: secret"]
        source, path = s, "/img.trace"
        if how == "url":
            path = "/t/img.trace"
            words.append(f"trace {s.url}t/%c.trace")
        elif how == "url of another server":
            source, path = other, "/boot/img.trace"
            words.append(f"trace {other.url}boot/%c.trace")
        elif how == "redirect":
            source = other
            s.paths[path] = {"redirect": (302, other.url + "img.trace")}
        source.images[path] = trace_text()
        source.paths[path] = {"chunked": {"chunked": 10}, "HTTP/1.0": {"http10": True}}.get(how, {})
        if how == "as a whole":
            source.images[path] = b"# a comment\r\n\r\n" + trace_text().replace(b"\n", b"\r\n").rstrip()
        with daemon(s, *words, traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: f.present() >= sum(b - a for a, b in TRACE), 10, "the trace's ranges")
            quiet(s)
            assert joined(spans(s)) == TRACE, spans(s)
            check(f, data)
            assert len(traces_asked(source)) == 1, traces_asked(source)
            assert s.requests[0].headers.get("x-token") == "secret"
            assert all("x-token" not in r.headers for r in other.requests), "a token goes to another server"
            need(k, f, data, 2 * MIB, PAGE)


@scenario
def trace_of_another_server_without_credentials():
    """nor does it get the password of the url line"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, Server({"/img.trace": trace_text()}) as other:
        url = s.url.replace("http://", "http://joe:secret@")
        with daemon(url, f"trace {other.url}%c.trace") as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: f.present() >= sum(b - a for a, b in TRACE), 10, "the trace's ranges")
            assert all("authorization" in r.headers for r in s.requests), s.requests
            assert all("authorization" not in r.headers for r in other.requests)


@scenario
def trace_none():
    """trace none: nobody is asked for one"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, "trace none") as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 2 * MIB, PAGE)
        quiet(s)
        assert not traces_asked(s) and all_once(s) < MIB


@each(404, 403, 410)
def trace_is_missing(status):
    """no trace: nothing happens, nothing is said, and the connection is kept"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1", traced=True) as k:
        s.paths["/img.trace"] = {"status": status}
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: traces_asked(s), 5, "asking for the trace")
        time.sleep(0.3)
        need(k, f, data, 2 * MIB, PAGE)
        assert len(traces_asked(s)) == 1, traces_asked(s)
        assert "trace" not in k.stderr.replace("img.trace", "trace"), "there is a word of it in the log"
        assert s.connections == 1, f"{s.connections} connections: the answer cost one"


BAD_ANSWERS = {
    "500": {"status": 500}, "503": {"status": 503}, "drops": {"drop": True}, "resets": {"reset": True},
    "not HTTP": {"raw": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"}, "gzip": {"encoding": "gzip"}, "200": {"ignore_range": True},
    "wrong range": {"content_range": "bytes 5-9/10"}, "cut": {"cut": 20}, "loop": {"redirect": (302, "/img.trace")},
    "redirect to nowhere": {"redirect": (302, "ftp://127.0.0.1/")}, "empty": {"image": b""},
}


@each(*BAD_ANSWERS)
def trace_answered_badly(how):
    """answers that are no trace: the image is served all the same, and soon"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, "timeout 20", traced=True) as k:
        s.paths["/img.trace"] = BAD_ANSWERS[how]
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 2 * MIB, 64 * KIB, timeout=5)
        k.wait(lambda: traces_asked(s), 5, "asking for the trace")
        quiet(s)
        need(k, f, data, 3 * MIB + 512 * KIB, 64 * KIB, timeout=5)
        check(f, data)
        # The hops of a redirect, and a request that is lost on a kept-alive connection, are repeated.
        assert len(traces_asked(s)) <= constant("REDIRECT_HOPS") + 2, traces_asked(s)


@scenario
def trace_hangs():
    """a server that never answers for the trace: READs are served, even on the only connection"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data}) as s, daemon(s, "connections 1", "timeout 30", traced=True) as k:
        s.paths["/img.trace"] = {"delay": 1000}
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: traces_asked(s), 5, "asking for the trace")
        need(k, f, data, MIB, 64 * KIB, timeout=8)
        still_serves(k, s)


@scenario
def closed_while_the_trace_comes():
    """CLOSE while the trace is on its way, and while it is played; the next OPEN gets its own"""
    data = image("traced", 4 * MIB)
    with Server({"/img": data, "/img.trace": trace_text()}) as s, daemon(s, traced=True) as k:
        for knobs in ({"delay": 0.5}, {"rate": 100}, {}):
            s.paths["/img.trace"] = knobs
            f = k.opened("erofs,img", b"img")
            time.sleep(0.1)
            k.closed(f)
        s.paths["/img.trace"] = {}
        f = k.opened("erofs,img", b"img")
        k.wait(lambda: f.present() >= sum(b - a for a, b in TRACE), 10, "the trace's ranges")
        check(f, data)


@scenario
def reads_beside_a_trace():
    """READs of what the trace does not name: nothing is fetched around them, the trace knows better"""
    data, length = large("beside", 64 * MIB), 16 * KIB
    all_read = threading.Event()
    with Server({"/img": data, "/img.trace": trace_text([(32 * MIB, 40 * MIB)])}) as s:
        s.rule = lambda r: all_read.wait(60) and {} if r.path == "/img.trace" else {}
        with daemon(s, traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: traces_asked(s), 10, "asking for the trace")
            reads = sum(touch(k, f, data, n, length) for n in range(MIB, 24 * MIB, MIB))
            all_read.set()
            k.wait(lambda: f.present() >= 8 * MIB, 20, "the trace's range")
            quiet(s)
            fetched, most = all_once(s), 8 * MIB + reads * length + MIB
            assert fetched <= most, f"{fetched} bytes for a trace of 8 MiB and {reads} READs, more than {most}"
            check(f, data)


@scenario
def traces_of_several_images():
    """ten images with traces, opened together: all are played"""
    images = {f"/i{n}": image(n, 2 * MIB) for n in range(10)}
    want = [(MIB, MIB + 64 * KIB), (8192, 16384)]
    with Server(images) as s, daemon(s, traced=True) as k:
        s.images.update({f"/i{n}.trace": trace_text(want) for n in range(10)})
        files = [k.open(f"erofs,i{n}", b"i%d" % n) for n in range(10)]
        for n, f in enumerate(files):
            k.wait(lambda: f.present() >= sum(b - a for a, b in want), 20, f"the trace of i{n}")
            assert all_once(s, f"/i{n}") == sum(b - a for a, b in want)
            check(f, images[f"/i{n}"])


HOSTILE = {
    "garbage": lambda rng: rng.randbytes(5000),
    "text": lambda rng: b"<html><title>Not Found</title></html>\n",
    "numbers": lambda rng: b"1 2 3\n-5 7\n",
    "too large": lambda rng: b"0 4096\n99999999999999999999999 4096\n",
    "overflow": lambda rng: b"18446744073709547520 8192\n",
    "beyond the end": lambda rng: b"".join(b"%d 4096\n" % (5 * MIB + n * PAGE) for n in range(500)) +
                                  b"4190000 99999999\n",
    "a megabyte": lambda rng: b"".join(b"%d 512\n" % rng.randrange(4 * MIB) for _ in range(95000)),
    "a megabyte in one line": lambda rng: b"0 " + b"9" * MIB,
    "a megabyte of comments": lambda rng: b"#" * 1000 + b"\n#" * 500000,
    "overlapping": lambda rng: b"".join(b"%d 1000000\n" % (n * 3001) for n in range(100)),
    "overlapping backwards": lambda rng: b"".join(b"%d 1000000\n" % ((100 - n) * 3001) for n in range(100)),
    "whole, a thousand times": lambda rng: b"0 4194304\n4096 1\n" * 1000,
    "to and fro": lambda rng: b"0 4096\n4190208 4096\n" * 600,
    "each second page": lambda rng: b"".join(b"%d 4096\n" % (n * 8192) for n in range(511, -1, -1)),
    "NUL": lambda rng: b"0 4096\n\0\n8192 4096\n",
}


@each(*HOSTILE)
def hostile_trace(name):
    """traces that are wrong, or meant to harm: no byte is fetched twice, READs are served"""
    data = image("hostile", 4 * MIB)
    with Server({"/img": data, "/img.trace": HOSTILE[name](random.Random(3))}) as s:
        with daemon(s, traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: traces_asked(s), 5, "asking for the trace")
            need(k, f, data, 2 * MIB + PAGE, 64 * KIB, timeout=10)
            quiet(s)
            need(k, f, data, 3 * MIB + 5 * PAGE, 64 * KIB, timeout=10)
            assert all_once(s) <= len(data)
            check(f, data)
            sent = sum(r.range[1] + 1 - r.range[0] for r in traces_asked(s) if r.range)
            assert len(traces_asked(s)) == 1 and sent <= 128 * KIB, traces_asked(s)
            assert len(k.stderr.splitlines()) < 20, f"{len(k.stderr.splitlines())} lines in the log"


@scenario
def metadata_and_files():
    """a READ of one page, which is metadata, brings little beside it; a larger one, of a file, what is near"""
    data = image("metadata", 16 * MIB)
    with serving(data) as (s, k, f):
        quiet(s)
        need(k, f, data, 10 * MIB, PAGE)
        quiet(s)
        assert all_once(s) <= 20 * KIB, spans(s)
        need(k, f, data, 4 * MIB, 4 * PAGE)
        quiet(s)
        assert joined(sorted(spans(s)))[0] == (4 * MIB, 4 * MIB + 512 * KIB), spans(s)
        check(f, data)


@scenario
def trace_near_extents():
    """what comes soon in a trace and lies near is one request; what lies far or before is not"""
    data = image("near", 4 * MIB)
    extents = [(MIB, MIB + PAGE), (3 * MIB, 3 * MIB + PAGE), (MIB + 3 * PAGE, MIB + 4 * PAGE),
               (MIB - 2 * PAGE, MIB - PAGE), (MIB + 9 * PAGE, MIB + 10 * PAGE)]
    with Server({"/img": data, "/img.trace": trace_text(extents)}) as s:
        with daemon(s, "connections 1", traced=True) as k:
            f = k.opened("erofs,img", b"img")
            want = [(MIB, MIB + 4 * PAGE), (3 * MIB, 3 * MIB + PAGE), (MIB - 2 * PAGE, MIB - PAGE),
                    (MIB + 9 * PAGE, MIB + 10 * PAGE)]
            k.wait(lambda: f.present() >= sum(b - a for a, b in want), 10, "the trace's ranges")
            quiet(s)
            assert joined(spans(s)) == want, spans(s)
            check(f, data)


@each("file", "folder")
def trace_is_recorded(where):
    """trace record: the order of the READs is in the file after CLOSE; played by another daemon, it is the same"""
    data = image("recorded", 4 * MIB)
    order = [(40960, 4096), (4096, 4096), (MIB, 16384), (MIB + 16384, 16384), (4096, 4096), (3 * MIB + 512, 512),
             (len(data) - PAGE, PAGE), (2 * MIB, 4096)]
    want = [(40960, 45056), (4096, 8192), (MIB, MIB + 32768), (3 * MIB, 3 * MIB + PAGE), (4 * MIB - PAGE, 4 * MIB),
            (2 * MIB, 2 * MIB + PAGE)]
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data, "/two": data}) as s:
        path = folder + ("/img.trace" if where == "folder" else "/boot")
        with daemon(s, f"trace record {folder}/" if where == "folder" else f"trace record {path}") as k:
            f = k.opened("erofs,img", b"img")
            for offset, length in order:
                need(k, f, data, offset, length)
            assert not traces_asked(s)
            fetched = joined(sorted(spans(s)))
            assert fetched == joined(sorted(want)), f"more is fetched than is recorded: {fetched}"
            g = k.opened("erofs,two", b"two")
            need(k, g, data, MIB, PAGE)
            k.closed(f)
            k.closed(g)
            k.wait(lambda: os.path.exists(path), 5, "the trace's file")
            time.sleep(0.1)
            with open(path, "rb") as file:
                text = file.read()
            lines = [tuple(map(int, x.split())) for x in text.decode().splitlines() if x and x[0] != "#"]
            assert [(a, a + b) for a, b in lines] == want, lines
            there = sorted(os.listdir(folder))
            assert there == (["img.trace", "two.trace"] if where == "folder" else ["boot"]), there
        del s.requests[:]
        s.images["/img.trace"] = text
        with daemon(s, "connections 1", traced=True) as k:
            f = k.opened("erofs,img", b"img")
            k.wait(lambda: f.present() >= sum(b - a for a, b in want), 10, "the trace's ranges")
            quiet(s)
            assert joined(spans(s)) == want, spans(s)
            check(f, data)


@scenario
def trace_record_over_a_death():
    """the worker is killed while a trace is recorded: the next one goes on with it"""
    data = image("recorded", MIB)
    pages = [n * 37 % 251 * PAGE for n in range(0, 250, 3)]     # the text is longer than a buffer
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        path = folder + "/img.trace"

        def recorded():
            with contextlib.suppress(FileNotFoundError), open(path) as file:
                return [int(line.split()[0]) for line in file if line[0] != "#"]

        with daemon(s, f"trace record {folder}/") as k:
            f = k.opened("erofs,img", b"img")
            for page in pages[:-2]:
                need(k, f, data, page, PAGE)
            k.wait(lambda: recorded() == pages[:-2], 10, "the trace's file")
            kill_worker(k)
            for page in pages[-2:]:
                need(k, f, data, page, PAGE)
            k.closed(f)
            k.wait(lambda: recorded() == pages, 10, "the whole trace")
        with open(path, "w") as file:
            file.write("no trace\n" * 500)
        with daemon(s, f"trace record {folder}/") as k:
            k.wait(lambda: k.worker, 10, "a worker")
            kill_worker(k)
            f = k.opened("erofs,img", b"img")
            need(k, f, data, PAGE, PAGE)
            k.closed(f)
            k.wait(lambda: recorded() == [PAGE], 10, "a new trace")


@scenario
def trace_record_over_a_reload():
    """a worker that leaves in order writes what it has recorded, so that the next one goes on with all of it"""
    data = image("recorded", MIB)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        with daemon(s, f"trace record {folder}/") as k:
            f = k.opened("erofs,img", b"img")
            for page in range(5):
                need(k, f, data, page * 2 * PAGE, PAGE)
                reload(k)
            with open(folder + "/img.trace") as file:
                assert file.read().endswith("".join(f"{page * 2 * PAGE} {PAGE}\n" for page in range(5)))


@scenario
def trace_record_at_the_end():
    """a trace is written as well when the daemon ends with its image open; none where nothing was read"""
    data = image("recorded", MIB)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data, "/two": data}) as s:
        with daemon(s, f"trace record {folder}/") as k:
            f = k.opened("erofs,img", b"img")
            k.opened("erofs,two", b"two")
            need(k, f, data, 65536, 4096)
            assert k.stop() == 0
            assert os.listdir(folder) == ["img.trace"], os.listdir(folder)
            with open(folder + "/img.trace") as file:
                assert "65536 4096" in file.read()


@scenario
def trace_record_with_prefetch_all():
    """what is recorded is what is read, even while all is prefetched"""
    data = image("recorded", MIB)
    with tempfile.TemporaryDirectory() as folder, Server({"/img": data}) as s:
        with daemon(s, f"trace record {folder}/t", "prefetch all", "prefetch-rate 16K") as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 512 * KIB, 4096)
            k.closed(f)
            k.wait(lambda: os.path.exists(folder + "/t"), 5, "the trace's file")
            with open(folder + "/t") as file:
                lines = [x for x in file.read().splitlines() if x[0] != "#"]
            assert lines == ["524288 4096"], lines
