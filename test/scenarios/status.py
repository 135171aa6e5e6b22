"""The status socket, --status, the log's level."""
import json
import os
import re
import socket
import subprocess
import tempfile
import time

from lib import exposition, verity
from lib.machines import Target
from scenarios.common import (KIB, MIB, PAGE, Program, Server, constant, daemon, each, image, kill_worker, limit, need,
                              quiet, refused, reload, scenario, takes_long)


def status_path(k):
    return os.path.join(k.cache, "status")


def watched(url, *directives, **more):
    """The daemon with its status socket beside the cache."""
    return daemon(url, "status {cache}/status", *directives, **more)


def metrics(k):
    return exposition.Metrics(exposition.ask(status_path(k)))


def until(k, condition, timeout=15):
    """Waits until condition(metrics) is true. Returns the metrics."""
    end = time.monotonic() + timeout
    while not condition(m := metrics(k)):
        assert time.monotonic() < end, f"not within {timeout} s: {m.samples}"
        time.sleep(0.1)
    return m


def show(path, *options):
    """Runs --status. Returns its exit status, output and errors."""
    return Program.run("-f", "/dev/null", "-o", f"status {path}", "--status", *options)


@scenario
def status_agrees():
    """the status socket's numbers are those of the server's log, of the READs and of the cache file"""
    data = image("status", 3 * MIB)
    with Server({"/img": data}) as s, watched(s) as k:
        f = k.opened("erofs,img", b"img")
        for n in range(20):
            need(k, f, data, n * 100 * KIB // PAGE * PAGE, 16 * KIB)
        quiet(s)
        m = metrics(k)
        sent = sum(r.sent for r in s.requests)
        assert m.get("mirror_requests_total", mirror="1") == len(s.requests), (m.samples, len(s.requests))
        assert m.get("image_requests_total", image="img") == len(s.requests)
        assert m.get("mirror_received_bytes_total", mirror="1") == sent, (m.samples, sent)
        assert m.get("image_received_bytes_total", image="img") == sent
        assert m.get("image_size_bytes", image="img") == len(data)
        assert m.get("image_reads_total", image="img") == m["read_seconds_count"] == 20
        assert m.get("image_read_bytes_total", image="img") == 20 * 16 * KIB
        assert m["open_files"] == m["opens_total"] == 1 and m["opens_refused_total"] == 0
        assert m["reads_waiting"] == m["reads_failed_total"] == 0
        assert m.get("image_cached_bytes", image="img") == f.present(), (m.samples, f.present())
        assert m.get("image_written_bytes_total", image="img") == f.present()
        assert 1 <= m["connections"] <= limit("connections")
        assert oct(os.stat(status_path(k)).st_mode & 0o777) == "0o600"


@each("auto", "read-ahead none", "trace", "prefetch all")
def status_of_guesses(word):
    """written bytes are those that READs waited for, those of guesses, and those that were asked for otherwise"""
    data = image("guesses", 2 * MIB + 100)
    trace = {"/img.trace": b"524288 131072\n1048576 65536\n"} if word == "trace" else {}
    words = [] if word in ("auto", "trace") else [word]
    with Server({"/img": data, **trace}) as s, watched(s, *words, traced=bool(trace)) as k:
        f = k.opened("erofs,img", b"img")
        if word != "auto":
            quiet(s)
        for n in range(4):
            need(k, f, data, 256 * KIB + n * 16 * KIB, 16 * KIB)
        quiet(s)
        m = metrics(k)
        written, ahead, planned = (m.get(f"image_{name}_bytes_total", image="img")
                                   for name in ("written", "ahead", "planned"))
        assert m.get("image_unasked_bytes", image="img") is None
        if word == "prefetch all":
            assert (ahead, planned) == (0, written) and written >= len(data), (written, ahead, planned)
        elif word == "trace":
            assert 192 * KIB <= planned <= 192 * KIB + PAGE and written <= planned + ahead + 64 * KIB, m.samples
        else:
            assert planned <= PAGE and written - planned - ahead <= 64 * KIB, m.samples
            assert (ahead > 0) == (word == "auto"), m.samples


@scenario
def status_of_failures():
    """what fails is told by reason and by mirror: the first is set aside, READs of an outage are counted"""
    data = image("failing", 300000)
    with Server({"/img": data}) as s, Server({"/img": data}) as t, watched(s, f"url {t.url}", "timeout 2") as k:
        s.default["status"] = 503
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, PAGE)
        m = metrics(k)
        assert m.get("mirror_failures_total", mirror="1", reason="server busy") >= 1, m.samples
        assert m.sum("mirror_failures_total") == m.get("image_failures_total", image="img")
        assert 0 < m.get("mirror_set_aside_seconds", mirror="1") <= 60
        assert m.get("mirror_set_aside_seconds", mirror="2") == 0
        (key, ago), = [x for x in m.samples.items() if x[0][0] == "image_last_error_seconds"]
        assert dict(key[1])["error"].startswith("mirror 1: server busy: ") and ago < 10, m.samples
        assert re.search(r"(?m)^ last error \d\.\d+ s ago: mirror 1: server busy: ", show(status_path(k))[1])
        t.default["status"] = 404
        r = k.read(f, 131072, PAGE)
        until(k, lambda m: m.get("image_failing_seconds", image="img") > 0)
        assert metrics(k)["reads_waiting"] == 1
        assert k.wait_complete(r, 15) == 0
        k.open("erofs,other", b"other")
        m = until(k, lambda m: m["opens_refused_total"] == 1)
        assert m["reads_failed_total"] == m.get("image_reads_failed_total", image="img") == 1
        assert m["read_seconds_count"] == 1
        assert m.get("image_size_bytes", image="other") is None


@scenario
def status_of_verified_images():
    """an image that is verified is shown with its root hash, blocks that do not fit as failures of their mirror"""
    data = image("verified", 256 * PAGE)
    tree, root = verity.tree(data)
    bad = data[:100 * PAGE] + bytes([data[100 * PAGE] ^ 1]) + data[100 * PAGE + 1:]
    files = {"/img": data, "/img.verity": tree, "/plain": data}
    with Server({**files, "/img": bad}) as s, Server(files) as t, \
            watched(s, f"url {t.url}", f"roothash img {root}", "verity allow") as k:
        f = k.opened("erofs,img", b"img")
        k.opened("erofs,plain", b"plain")
        need(k, f, data, 96 * PAGE, 16 * PAGE)
        for again in False, True:
            m = until(k, lambda m: m.get("image_verified", image="img", roothash=root) == 1)
            assert m.get("mirror_failures_total", mirror="1", reason="not verified") >= 1, m.samples
            assert m.get("mirror_failures_total", mirror="2", reason="not verified") is None, m.samples
            assert m.sum("image_verified") == 1, m.samples
            told = json.loads(show(status_path(k), "--json")[1])
            shown = {i["image"]: i.get("image_verified") for i in told["images"]}
            assert shown == {"img": {root: 1}, "plain": None}, told
            text = show(status_path(k))[1]
            assert f"\n verified: {root} \n" in text and re.search(r" not verified +[1-9]", text), text
            if not again:
                time.sleep(1.1)     # what a worker that is killed has left
                kill_worker(k)


@scenario
def status_over_changes_of_worker():
    """after SIGHUP, or a death, all images and numbers are there before anything is read, and go on from there"""
    data = image("lasting", MIB)

    def numbers(m):
        return {key: n for key, n in m.samples.items() if re.search("_total$|image_size|cached|link|read_seconds", key[0])
                and not key[0].startswith("restores")}

    with tempfile.TemporaryDirectory() as folder, Server({"/a b%": data, "/two": data}) as s, Server() as other:
        path = os.path.join(folder, "conf")

        def configure(server):
            with open(path, "w") as file:
                file.write(f"url {server.url}\n")

        configure(s)
        with watched("-d", options=["-f", path]) as k:
            f, two = k.opened("erofs,vol\xe9", b"a b%"), k.opened("erofs,two", b"two")
            for n in range(8):
                need(k, f, data, n * 64 * KIB, PAGE)
            need(k, two, data, 0, PAGE)
            quiet(s)
            before = metrics(k)
            assert len(before.states("a b%")) == 0, before.samples
            for way in reload, reload, kill_worker:
                time.sleep(1.1)     # what a worker that is killed has left
                if way is kill_worker:
                    metrics(k)
                way(k)
                m = until(k, lambda m: m["restores_total"] > before["restores_total"])
                assert numbers(m) == numbers(before), (way, numbers(m), numbers(before))
                assert m["uptime_seconds"] > before["uptime_seconds"] and m["open_files"] == 0
                assert m.states("a b%") == m.states("two") == {"unread"}, m.samples
                before = m
            need(k, f, data, 512 * KIB, PAGE)
            m = metrics(k)
            assert m.states("a b%") == set() and m.states("two") == {"unread"}, m.samples
            assert m.get("image_reads_total", image="a b%", volume="erofs,vol\\xc3\\xa9") == 9, m.samples
            need(k, k.opened("erofs,two", b"two"), data, 0, PAGE)
            assert metrics(k).get("image_reads_total", image="two") == 1, "counters of an earlier mount"
            configure(other)
            reload(k)
            m = until(k, lambda m: m["restores_total"] == 4)
            assert m.get("mirror_requests_total", mirror="1") == 0, "counters of another url line"


@scenario
def status_of_holes():
    """what is cached is counted right where the cache file has hundreds of holes, over several turns"""
    data = image("holes", 4 * MIB)
    with Server({"/img": data}) as s, watched(s, "trace record {cache}/trace") as k:
        f = k.opened("erofs,img", b"img")
        for n in range(1, 300):         # a daemon that records fetches only the ranges of READs
            need(k, f, data, n * 2 * PAGE, PAGE)
        assert len(f.extents()) > 2 * constant("COUNT_STEPS"), len(f.extents())
        m = metrics(k)
        assert m.get("image_cached_bytes", image="img") == f.present(), (m.samples, f.present())
        assert m.states("img") == {"recording"}, m.states("img")


@scenario
def status_names():
    """hostile names and a URL with secrets: the text stays well-formed, JSON too, no secret is told"""
    data = image("names", 20000)
    names = [b'a"b', b"a\\b", b"a\\x22b", b"\xff\xfe", "üñí".encode(), b"x" * 240, b"}\n# EOF", b"a,b=\"c\"", b" ",
             b"\x1b[2J", b"%s%n", b"/a/b"]
    with Server() as s:
        s.default["image"] = data
        with watched(s.url.replace("http://", "http://user:secret@"), f"url {s.url}x?token=secret&name=%c") as k:
            for name in names:
                k.opened("erofs," + "v", name)
            k.opened("erofs,v\xff\"", b"a\"b")
            text = exposition.ask(status_path(k))
            m = exposition.Metrics(text)
            assert "secret" not in text and "user" not in text, text
            for name in names:
                size = m.get("image_size_bytes", image=exposition.name_in_labels(name), volume="erofs,v")
                assert size == len(data), (name, m.samples)
            status, out, err = show(status_path(k), "--json")
            assert (status, err) == (0, ""), (status, err)
            told = json.loads(out)
            assert {i["image"] for i in told["images"]} == {exposition.name_in_labels(n) for n in names}
            assert len(told["images"]) == len(names) + 1
            status, out, err = show(status_path(k))
            assert (status, err) == (0, ""), (status, err)
            assert re.fullmatch(r"[ -~\n]*", out) and max(len(line) for line in out.splitlines()) <= 80, out


@scenario
def status_json():
    """--status --json has every number that the socket has"""
    data = image("json", MIB)
    with Server({"/img": data, "/two": data}) as s, watched(s, "url http://127.0.0.1:1/") as k:
        k.wait(lambda: k.worker, 10, "a worker")
        s.paths["/img"] = {"status": 503}
        f = k.open("erofs,img", b"img")
        until(k, lambda m: m.get("mirror_failures_total", mirror="2", reason="server unreachable"))
        s.paths.clear()
        k.wait_copen(f)
        need(k, k.opened("erofs,two", b"two"), data, 0, 65536)
        quiet(s)
        m, told = metrics(k), json.loads(show(status_path(k), "--json")[1])
        seen = 0
        for (name, labels), n in m.samples.items():
            labels, part = dict(labels), told
            for label, of in ("image", "images"), ("mirror", "mirrors"):
                if label in labels:
                    part = next(x for x in told[of] if x[label] == labels[label])
                    del labels[label]
            if name in ("mirror_info", "build_info"):
                assert part.items() >= labels.items(), (labels, part)
            elif labels:
                (detail,) = labels.values()
                assert name == "image_last_error_seconds" or part[name][detail] == n, (name, detail, n, part)
                assert detail in part[name]
            elif "seconds" not in name and not name.startswith("link"):
                assert part[name] == n, (name, n, part)
            else:
                assert name in part, name
            seen += 1
        assert seen == len(m.samples) > 60


@scenario
@takes_long
def status_readers():
    """slow, stuck, vanishing and many readers of the status socket hold up no READ, and nobody for long"""
    data = image("readers", MIB)
    with Server() as s:
        s.default["image"] = data
        with watched(s) as k:
            # 50 names of 240 bytes, each byte written as four: more than the buffer of a socket takes.
            files = [k.opened("erofs,v", b"%02d" % n + b"\xff" * 238) for n in range(50)]
            stuck = socket.socket(socket.AF_UNIX)
            stuck.connect(status_path(k))
            writer = socket.socket(socket.AF_UNIX)
            writer.connect(status_path(k))
            writer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            gone = socket.socket(socket.AF_UNIX)
            gone.connect(status_path(k))
            gone.close()
            start = time.monotonic()
            need(k, files[7], data, 65536, PAGE, 2)
            text = exposition.ask(status_path(k), 20)
            took = time.monotonic() - start
            client = constant("CLIENT_TIME") / 1000         # the first two read nothing, no third one does
            assert 2 * client - 2 < took < 3 * client, f"answered after {took:.1f} s"
            assert len(exposition.Metrics(text).samples) > 500
            stuck.settimeout(5)
            assert not exposition.hear(stuck).endswith("# EOF\n"), "all of it went into the socket's buffer"

            callers = []
            for _ in range(8):
                callers.append(socket.socket(socket.AF_UNIX))
                callers[-1].settimeout(20)
                callers[-1].connect(status_path(k))
            need(k, files[9], data, 65536, PAGE, 2)
            for caller in callers:
                exposition.Metrics(exposition.hear(caller))
            slow = socket.socket(socket.AF_UNIX)
            slow.settimeout(20)
            slow.connect(status_path(k))
            parts = []
            while part := slow.recv(8192):
                parts.append(part)
                time.sleep(0.005)
            exposition.Metrics(b"".join(parts).decode())
            need(k, files[11], data, 65536, PAGE, 2)


@scenario
def status_tool():
    """--status: 0 and the facts; 1 and a sentence when nobody answers or nonsense comes; none; a bad path"""
    data = image("tool", MIB)
    with Server({"/img": data}) as s, watched(s) as k:
        f = k.opened("erofs,img", b"img")
        need(k, f, data, 0, MIB)
        quiet(s)
        path = status_path(k)
        status, out, err = show(path)
        assert (status, err) == (0, ""), (status, err)
        for word in (r"(?m)^img *\n \[#{30}\] 100%$", r" cached +1\.0 MB ", r" reads failed +0\b", r" reads +1\b",
                     r"(?m)^mirror 1 http://127\.0\.0\.1:\d+/ *$", r"READs in \d+\.\d+ s +1\b", r" rate +0\.0 kB/s"):
            assert re.search(word, out), (word, out)
        with socket.socket(socket.AF_UNIX) as ended:
            ended.bind(path + "z")
        for other, word in ((path + "x", "no daemon answers at .*x: there is no such socket"),
                            (path + "z", "no daemon answers at .*z: the socket was left there"),
                            ("none", "the daemon of this configuration has no socket")):
            status, out, err = show(other)
            assert (status, out) == (1, "") and re.search(word, err) and err.count("\n") == 1, (status, err)
        status, out, err = Program.run("-f", "/nonexistent", "--status")
        assert (status, out) == (2, "") and "-f /nonexistent: there is no such file\n" in err, (status, err)
        with daemon(s, f"status {path}", expect_exit=1) as other:
            other.wait_exit()
            other.wait_log_end()
            assert "another daemon answers there" in other.stderr, other.stderr
        assert show(path)[0] == 0
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path + "y")
            server.listen()
            text = exposition.ask(path).encode()
            for wrong in (b"", b"x\n", text[:-6], text[:200], text.replace(b"} 1\n", b"} \x1b[2J\n"), b"\0" + text,
                          text * 3, b"#" * 300000 + b"\n" + text + b"#"):
                with subprocess.Popen([*Target.emulator, Program.path, "-f", "/dev/null", "-o", f"status {path}y",
                                       "--status", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
                    client = server.accept()[0]
                    client.sendall(wrong)
                    client.close()
                    out, err = shown.communicate(timeout=20)
                assert (shown.returncode, out) == (1, b"") and err.count(b"\n") == 1 and b"\x1b" not in err, (out, err)
        k.stop()
        status, out, err = show(path)
        assert (status, out) == (1, "") and "no daemon answers" in err, (status, err)


@each("yes", "no")
def status_of_a_fallback(word):
    """images that are there in place of others: the first line of --status says so"""
    with Server({"/img": image(1, 5000)}) as s, watched(s, f"fallback {word}") as k:
        k.opened("erofs,img", b"img")
        title = show(status_path(k))[1].splitlines()[0]
        assert title.split()[2:] == ["cachefiles", *["fallback"] * (word == "yes")], title
        assert ('"role":"fallback"' in show(status_path(k), "--json")[1]) == (word == "yes")


@each("error", "warning", "info", "debug")
def log_level(level):
    """log LEVEL: what is less important is not told"""
    with Server({"/img": image(1, 5000)}, etag="") as s:
        with daemon(s, f"log {level}") as k:
            s.default["last_modified"] = ""
            k.opened("erofs,img", b"img")
            refused(k, k.open("erofs,missing", b"missing"))
            k.stop()
            k.wait_log_end()
            told = [bool(re.search(word, k.stderr)) for word in
                    ("cannot be opened", "neither ETag nor", "5000 bytes, ", "opcode 0", "GET .*/img, bytes 0-")]
            assert told == [True, level != "error", level in ("info", "debug"), *2 * [level == "debug"]], k.stderr


@scenario
def log_of_requests():
    """-d: each HTTP request that the server gets is in the log, pipelined ones too, without its query"""
    data = image(1, MIB)
    with Server() as s:
        s.default["image"] = data
        with daemon(f"{s.url}%c?token=secret", options=["-d"]) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, MIB)
            quiet(s)
            k.stop()
            k.wait_log_end()
            port = s.url.split(":")[-1].strip("/")
            told = re.findall(rf"GET http://127\.0\.0\.1:{port}/img, bytes (\d+)-(\d+)\n", k.stderr)
            asked = [tuple(map(str, r.range)) for r in s.requests]
            assert sorted(told) == sorted(asked), (told, asked)
            assert k.stderr.count("from 127.0.0.1: 206") == len(asked), k.stderr
            assert not re.search("GET .*secret", k.stderr), k.stderr
