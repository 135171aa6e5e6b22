#!/usr/bin/python3
"""contrib/publish/erofs-publish: versions of an image in the folder of a web server; and the commands of
docs/publishing.md.

    test/package/test_erofs_publish.py [BINARY]    TAP on standard output; exit status 1 if a test failed

Each test has a folder of its own, and small trees. Programs that are stood in for kill their caller, or fail.
"""
import base64
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import certs, erofs, ports, tap
from lib.commands import run
from lib.nginx import Nginx

TOP = os.path.dirname(sys.path[0])
TOOL = f"{TOP}/contrib/publish/erofs-publish"
LOOPBACK = f"{TOP}/contrib/publish/on-loopback"
GUIDE = f"{TOP}/docs/publishing.md"
BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else f"{TOP}/cachefilesd-mini")
BLOCK = 4096
SIDECARS = (".roothash", ".roothash.p7s", ".verity")


def files_of(version):
    """The tree of a version: most files are in both, in other places of the image."""
    rng = random.Random(1)
    files = {f"lib/file{number:02}": rng.randbytes(rng.randrange(1, 60_000)) for number in range(40)}
    if version > 1:
        files.update({f"a{number}": random.Random(version * 100 + number).randbytes(9000) for number in range(version)})
        files["lib/file07"] = random.Random(version).randbytes(50_000)
    return files


def make_tree(folder, version, order=None):
    files = files_of(version)
    for name in sorted(files, key=order):
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "wb") as file:
            file.write(files[name])
    return folder


def heed_signals():
    """A shell cannot trap what was ignored when it began, as where the tests run in the background."""
    for number in signal.SIGINT, signal.SIGHUP, signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)


class Site:
    """A web server's folder, and trees and keys beside it."""

    def __init__(self, scratch):
        self.scratch = tempfile.mkdtemp(dir=scratch)
        self.www = f"{self.scratch}/www"
        os.mkdir(self.www)
        self.keys = scratch
        self.environment = {**os.environ, "CACHEFILESD_MINI": BINARY}

    def tree(self, version):
        folder = f"{self.scratch}/tree{version}"
        return folder if os.path.exists(folder) else make_tree(folder, version)

    def start(self, *words):
        return subprocess.Popen([TOOL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment, preexec_fn=heed_signals)

    def run(self, *words, status=0):
        process = self.start(*words)
        out, said = process.communicate(timeout=300)
        assert process.returncode == status, f"status {process.returncode}: {said}"
        for line in said.splitlines() if status in (1, 2, 3) else ():
            assert "erofs-publish: " not in line or re.match(r"erofs-publish: .+: .+: .+", line), line
        return out, said

    def publish(self, version, *words, status=0):
        return self.run("--name=img", "--key", f"{self.keys}/signer.key", "--cert", f"{self.keys}/signer.pem", *words,
                        self.www, self.tree(version), status=status)

    def names(self):
        return sorted(os.listdir(self.www))

    def read(self, name):
        with open(f"{self.www}/{name}", "rb") as file:
            return file.read()

    def snapshot(self):
        return {name: os.readlink(f"{self.www}/{name}") if os.path.islink(f"{self.www}/{name}") else self.read(name)
                for name in self.names()}

    def record(self, number, *paths):
        """Puts a trace of these files beside a version, as a daemon would record it."""
        image = f"{self.www}/img-{number}.erofs"
        with open(f"{image}.trace", "w") as file:
            for path in paths:
                said = run("dump.erofs", "-e", f"--path=/{path}", image).decode()
                for place, length in re.findall(r"^ *\d+: .*: *(\d+)\.\. *\d+ \| *(\d+)", said, re.M):
                    file.write(f"{place} {-(-int(length) // BLOCK) * BLOCK}\n")

    def stand_in(self, program, text):
        """A shell script that is found before the program of that name."""
        folder = f"{self.scratch}/bin"
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{program}", "w") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(f"{folder}/{program}", 0o755)
        self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
        return f"{folder}/{program}"

    def real(self):
        self.environment = {**os.environ, "CACHEFILESD_MINI": BINARY}


def verified(site, number):
    """By the tools that are not ours."""
    image = f"{site.www}/img-{number}.erofs"
    root = site.read(f"img-{number}.erofs.roothash").decode()
    assert re.fullmatch("[0-9a-f]{64}", root), root
    run("veritysetup", "verify", image, f"{image}.verity", root)
    run("fsck.erofs", image)
    for signer, good in ("signer", True), ("stranger", False):
        done = subprocess.run(["openssl", "smime", "-verify", "-binary", "-inform", "der", "-in",
                               f"{image}.roothash.p7s", "-content", f"{image}.roothash", "-certfile",
                               f"{site.keys}/{signer}.pem", "-nointern", "-noverify"], capture_output=True)
        assert (done.returncode == 0) == good, f"{signer}: {done.stderr}"
    return f"{root}:{os.path.getsize(image)}"


def first(site):
    out, said = site.publish(1)
    assert site.names() == ["img-1.erofs", *(f"img-1.erofs{sidecar}" for sidecar in SIDECARS)], site.names()
    assert out == f"roothash img-1.erofs {verified(site, 1)}\n", out
    assert "no version before has a trace: boot once with cachefilesd.trace=record" in said, said
    told = run("veritysetup", "dump", f"{site.www}/img-1.erofs.verity").decode()
    for line in ("Hash type:1", "Data block size:4096", "Hash block size:4096", "Hash algorithm:sha256", "Salt:-"):
        assert line in re.sub(r":\s+", ":", told), f"{line}: {told}"
    for name in site.names():
        assert os.stat(f"{site.www}/{name}").st_mode & 0o777 == 0o644, name


def reproducible(site):
    """Whatever the order in which files were made, their times and the folder's name."""
    site.publish(1)
    other = make_tree(f"{site.scratch}/other", 1, order=lambda name: name[::-1])
    for folder, _, names in os.walk(other):
        for name in names:
            os.utime(f"{folder}/{name}", (1e9, 1e9))
    out, said = site.run("--name", "img", site.www, other)
    assert "nothing is published" in said and out.startswith("roothash img-1.erofs "), (out, said)
    site.run("--name", "img", "--version", "2", site.www, other)
    for sidecar in ("", ".verity", ".roothash"):
        assert site.read(f"img-1.erofs{sidecar}") == site.read(f"img-2.erofs{sidecar}"), sidecar
    site.publish(1)         # the newest has no signature
    assert "img-3.erofs.roothash.p7s" in site.names() and verified(site, 3) == verified(site, 1)


def new_key(site):
    """A tree that is published already, with the key that devices will have from now on."""
    site.publish(1)
    stranger = ("--name=img", "--key", f"{site.keys}/stranger.key", "--cert", f"{site.keys}/stranger.pem", site.www,
                site.tree(1))
    assert site.run(*stranger)[0].startswith("roothash img-2.erofs "), site.names()
    said = site.run(*stranger)[1]
    assert "nothing is published" in said and "img-3.erofs" not in site.names(), said
    assert site.read("img-1.erofs.roothash") == site.read("img-2.erofs.roothash")


def blocks_of(data):
    return {data[at:at + BLOCK].ljust(BLOCK, b"\0") for at in range(0, len(data), BLOCK)}


def trace_is_carried(site):
    """Each range of the new trace has bytes of a file that the old one has, and all of them."""
    paths = ("lib/file03", "lib/file11", "lib/file30")
    site.publish(1)
    site.record(1, *paths)
    site.publish(2)
    wanted = set().union(*(blocks_of(files_of(2)[path]) for path in paths))
    for number in (2, 3):
        image, found = site.read(f"img-{number}.erofs"), set()
        lines = [line.split() for line in site.read(f"img-{number}.erofs.trace").decode().splitlines()[1:]]
        for offset, length in lines:
            found |= blocks_of(image[int(offset):int(offset) + int(length)])
        assert found == wanted, f"{len(found - wanted)} blocks too many, {len(wanted - found)} are missing"
        if number == 2:     # a version without a trace between them is no end
            assert site.read("img-1.erofs.trace") != site.read("img-2.erofs.trace"), "the files have not moved"
            site.publish(3)
    os.unlink(f"{site.www}/img-3.erofs.trace")
    site.publish(4)
    assert "img-4.erofs.trace" in site.names(), site.names()


def bad_trace_is_left_out(site):
    site.publish(1)
    with open(f"{site.www}/img-1.erofs.trace", "w") as file:
        file.write("nonsense\n")
    said = site.publish(2)[1]
    assert "gets no trace (" in said and "line 1 is not" in said, said
    assert "img-2.erofs" in site.names() and "img-2.erofs.trace" not in site.names(), site.names()


def never_replaced(site):
    site.publish(1)
    site.publish(2, "--version", "7.9")
    before = site.snapshot()
    for version in ("7.9", "7.8", "7", "1", "0"):
        assert "greater" in site.publish(3, "--version", version, status=1)[1], version
    assert site.snapshot() == before
    site.publish(3)
    assert "img-7.10.erofs" in site.names(), site.names()
    # What appears while the version is made: the sidecars that had their names already lose them.
    for sidecar in (*SIDECARS, ""):
        before = site.snapshot()
        foreign = f"{site.www}/img-8.erofs{sidecar}"
        site.environment["CACHEFILESD_MINI"] = site.stand_in("check", f"echo foreign >{foreign}")
        assert "cannot be published" in site.publish(4, "--version", "8", status=1)[1]
        assert site.snapshot() == {**before, f"img-8.erofs{sidecar}": b"foreign\n"}, site.names()
        os.unlink(foreign)
    os.mkdir(f"{site.www}/img-8.erofs")
    assert "is not replaced" in site.publish(4, "--version", "8", status=1)[1]


def interrupted_while_checking(site):
    site.publish(1)
    before = site.snapshot()
    reached, go = f"{site.scratch}/reached", f"{site.scratch}/go"
    stand_in = site.stand_in("check", f"touch {reached}; while [ ! -e {go} ]; do sleep 0.02; done")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        site.environment["CACHEFILESD_MINI"] = stand_in
        process = site.start("--name=img", site.www, site.tree(2))
        while not os.path.exists(reached):
            time.sleep(0.02)
        assert "at work" in site.publish(3, status=1)[1], "a second one began"
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()
            hidden = site.names()[0]
            assert re.fullmatch(r"\.img\.publish\.\w+", hidden) and len(site.names()) == len(before) + 1, site.names()
            assert os.stat(f"{site.www}/{hidden}").st_mode & 0o777 == 0o700, "a web server may see what is not checked"
        with open(go, "w"):
            pass
        process.communicate(timeout=300)
        wanted = -number if number == signal.SIGKILL else 128 + number
        assert process.returncode == wanted, process.returncode
        if number != signal.SIGKILL:
            assert site.snapshot() == before, site.names()
            os.unlink(reached)
            os.unlink(go)
    site.real()
    subprocess.run(["flock", site.www, "true"], timeout=300)     # the killed one's children hold it until they end
    assert "nothing is published" not in site.publish(2)[1]
    assert not [name for name in site.names() if name.startswith(".")] and verified(site, 2), site.names()


def interrupted_while_publishing(site):
    """At each of the five names."""
    site.publish(1)
    site.record(1, "lib/file03")
    count = f"{site.scratch}/count"
    for number, series in (signal.SIGTERM, 100), (signal.SIGKILL, 200):
        for nth in range(1, 6):
            before = site.snapshot()
            with open(count, "w"):
                pass
            site.stand_in("ln", f'echo >>{count}; /bin/ln "$@"; status=$?\n'
                                f'[ $(wc -l <{count}) -ne {nth} ] || kill -{number} $PPID; exit $status')
            version = series + nth
            process = site.start("--name=img", "--version", str(version), "--key", f"{site.keys}/signer.key", "--cert",
                                 f"{site.keys}/signer.pem", site.www, site.tree(2))
            process.communicate(timeout=300)
            assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), process.returncode
            site.real()
            new = {name for name in site.names() if not name.startswith(".")} - before.keys()
            assert (f"img-{version}.erofs" in new) == (nth == 5), new
            if nth == 5:
                assert len(new) == 5 and verified(site, version), new
            elif number == signal.SIGTERM:
                assert site.snapshot() == before, new
            else:
                assert len(new) == nth, new
                said = site.publish(2, "--version", str(version))[1]
                assert said.count("was killed, and is removed") == nth and verified(site, version), said
                assert not [name for name in site.names() if name.startswith(".")], site.names()
                for name in [name for name in site.names() if name.startswith(f"img-{version}.")]:
                    os.unlink(f"{site.www}/{name}")


def images(site):
    return [name for name in site.names() if re.fullmatch(r"img-[\d.]+\.erofs", name)]


def keep(site):
    for version in range(1, 6):
        site.publish(version, *(["--current", "stable.erofs"] if version == 2 else []),
                     *(["--current", "img.current"] if version == 3 else []))
    with open(f"{site.www}/img-extra-1.erofs", "w"), open(f"{site.www}/img-1.erofs.mine", "w"):
        pass
    said = site.publish(6, "--keep", "2")[1]
    assert images(site) == [f"img-{number}.erofs" for number in (2, 3, 5, 6)], images(site)
    assert said.count("it stays") == 2, said
    assert not [name for name in site.names() if re.match(r"img-[14]\.erofs\.[rtv]", name)], site.names()
    assert {"img-extra-1.erofs", "img-1.erofs.mine"} < set(site.names()), site.names()
    for number in range(7, 12):
        site.publish(number, "--keep=2", "--current", "stable.erofs")
    assert images(site) == ["img-10.erofs", "img-11.erofs", "img-3.erofs"], images(site)


def keep_all_current(site):
    """Files that a person made, without a newline at their end, or with that of another system."""
    for version in 1, 2, 3, 4:
        site.publish(version)
    for version, end in (1, ""), (2, ""), (3, " \r\n"):
        with open(f"{site.www}/{version}.current", "w", newline="") as file:
            file.write(f"img-{version}.erofs{end}")
    assert site.publish(5, "--keep", "1")[1].count("it stays") == 3
    assert images(site) == [f"img-{number}.erofs" for number in (1, 2, 3, 5)], images(site)
    assert site.run("--rollback", "--current", "3.current", site.www) == ("img-2.erofs\n", "")


def current_of_the_same(site):
    """A name that is not there yet, or not any more: an image that is published already gets it."""
    site.publish(1)
    for name in "img.erofs", "img.current":
        assert "nothing is published" in site.publish(1, "--current", name)[1]
    assert site.read("img.erofs") == site.read("img-1.erofs") and site.read("img.current") == b"img-1.erofs\n"
    site.publish(2)
    assert "img.erofs: it stays as it is" in site.publish(2, "--current", "img.erofs")[1]
    assert site.read("img.erofs") == site.read("img-1.erofs")
    os.unlink(f"{site.www}/img.erofs")
    site.publish(2, "--current", "img.erofs")
    assert site.read("img.erofs") == site.read("img-2.erofs") and len(images(site)) == 2


def current(site):
    """A name that goes over to each version, and back; links and a file."""
    site.publish(1, "--current", "img.erofs")
    site.record(1, "lib/file03")
    site.publish(2, "--current", "img.erofs")
    assert site.read("img.erofs.trace") == site.read("img-2.erofs.trace")
    site.run("--name=img", "--current", "img.erofs", site.www, site.tree(3))
    site.run("--name=img", "--current", "img.current", site.www, site.tree(4))
    assert site.read("img.current") == b"img-4.erofs\n"

    def stands_for(number, *sidecars):
        assert {name: os.readlink(f"{site.www}/{name}") for name in site.names() if name.startswith("img.erofs")} == \
            {f"img.erofs{sidecar}": f"img-{number}.erofs{sidecar}" for sidecar in ("", *sidecars)}, site.names()

    stands_for(3, ".roothash", ".trace", ".verity")     # no signature
    before = images(site)
    assert site.run("--rollback", "--current", "img.erofs", site.www) == ("img-2.erofs\n", "")
    stands_for(2, *SIDECARS, ".trace")
    assert "nothing is published" in site.run("--name=img", "--current", "img.erofs", site.www, site.tree(4))[1]
    stands_for(2, *SIDECARS, ".trace")      # an unchanged tree does not undo what a person did
    site.run("--rollback", "--current", "img.erofs", site.www)
    stands_for(1, *SIDECARS, ".trace")
    assert "1 is the oldest" in site.run("--rollback", "--current", "img.erofs", site.www, status=1)[1]
    assert site.run("--rollback", "--version", "4", "--current=img.erofs", site.www)[0] == "img-4.erofs\n"
    stands_for(4, ".roothash", ".trace", ".verity")
    assert site.run("--rollback", "--current", "img.current", site.www)[0] == "img-3.erofs\n"
    assert site.read("img.current") == b"img-3.erofs\n" and images(site) == before


def current_is_no_file(site):
    with open(f"{site.www}/img.erofs.verity", "w"):
        pass
    assert "is not replaced" in site.publish(1, "--current", "img.erofs", status=1)[1]
    os.unlink(f"{site.www}/img.erofs.verity")
    site.publish(1)
    before = site.snapshot()
    assert "name of a version" in site.publish(2, "--current", "img-1.erofs", status=2)[1]
    for name in ("img.erofs", "img-1.erofs", "none.current"):
        assert "stands for no version" in site.run("--rollback", "--current", name, site.www, status=1)[1], name
    with open(f"{site.www}/x.current", "w") as file:
        file.write("../../etc/img-1.erofs\n")
    assert "stands for no version" in site.run("--rollback", "--current", "x.current", site.www, status=1)[1]
    os.unlink(f"{site.www}/x.current")
    assert site.snapshot() == before


def words(site):
    tree, www = site.tree(1), site.www
    for status, said, line in (
            (2, "DIR: it is missing", []), (2, "TREE: it is missing", [www]),
            (2, "one word too many", [www, tree, "x"]),
            (2, "no such option", ["--kep", "2", www, tree]), (2, "has no value", [www, tree, "--name"]),
            (2, "numbers and dots", ["--version", "7a", www, tree]),
            (2, "numbers and dots", ["--version=7..1", www, tree]),
            (2, "no number above 0", ["--keep", "0", www, tree]), (2, "a URL cannot", ["--name", "a b", www, tree]),
            (2, "a URL cannot", ["--current", "../x.erofs", www, tree]),
            (2, "a URL cannot", ["--name", ".x", www, tree]), (2, "a URL cannot", [www, "."]),
            (2, "neither .erofs nor .current", ["--current", "x", www, tree]),
            (2, "what shall go back", ["--rollback", www]), (2, "publishes nothing",
                                                             ["--rollback", "--current", "x.erofs", www, tree]),
            (1, "it lies in", [www, www]), (1, "it lies in", ["--name=x", www, "/"]),
            (1, "it lies in", [www, f"{www}/../../{os.path.basename(site.scratch)}"]),
            (1, "no folder that can be written", [f"{www}/no", tree]), (1, "neither a folder", [www, f"{tree}/no"]),
            (1, "openssl cannot sign", ["--key", f"{site.keys}/none", www, tree]),
            (1, "openssl cannot sign", ["--key", f"{site.keys}/signer.key", "--cert", f"{site.keys}/stranger.pem", www,
                                        tree]),
            (2, "no signature that fits", ["--cert", f"{site.keys}/signer.pem", www, tree]),
            (1, "mkfs.erofs cannot pack it (mkfs.erofs: unrecognized", ["--mkfs", "--nonsense", www, tree]),
            (1, "(<E> erofs: ", ["--mkfs", "-zno-such", www, tree])):
        out, why = site.run(*line, status=status)
        assert said in why and not out, f"{line}: {why}"
        assert site.names() == [], f"{line}: {site.names()}"
    assert "usage: " in site.run("--help")[0]
    site.environment["CACHEFILESD_MINI"] = f"{www}/none"
    assert "there is no such program" in site.run(www, tree, status=1)[1]
    site.real()
    site.environment["http_proxy"] = "http://127.0.0.1:1"
    site.run("--mkfs", "-zlz4", www, tree)
    assert site.names()[0] == "tree1-1.erofs", site.names()


def built(site):
    """An image that another tool has made, with and without its tree."""
    image = f"{site.scratch}/built.erofs"
    erofs.mkfs(image, site.tree(1), "--quiet")
    size = os.path.getsize(image)
    os.truncate(image, -(-size // BLOCK) * BLOCK)

    def format(*options):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{image}.verity")
        run("veritysetup", "format", *options, f"--root-hash-file={image}.roothash", image, f"{image}.verity")

    site.run("--name=img", site.www, image)
    with open(image, "rb") as file:
        assert site.read("img-1.erofs") == file.read()
    format()
    with open(f"{image}.roothash") as file:
        plain = file.read()
    salted = site.run("--name=img", site.www, image)[1]
    assert "it has another salt than version 1" in salted, salted
    assert site.read("img-2.erofs.roothash").decode() == plain
    with open(f"{image}.roothash", "w") as file:
        file.write(f"{plain.upper()}\r\n")
    assert "nothing is published" in site.run("--name=img", site.www, image)[1], "the same in other letters"
    with open(f"{image}.roothash", "w") as file:
        file.write(plain)
    run("openssl", "smime", "-sign", "-nocerts", "-noattr", "-binary", "-in", f"{image}.roothash", "-inkey",
        f"{site.keys}/signer.key", "-signer", f"{site.keys}/signer.pem", "-outform", "der", "-out",
        f"{image}.roothash.p7s")
    assert "not of its key" in site.run("--name=img", "--cert", f"{site.keys}/stranger.pem", site.www, image,
                                        status=3)[1]
    assert "salt" not in site.run("--name=img", "--cert", f"{site.keys}/signer.pem", site.www, image)[1]
    verified(site, 3)
    before = site.snapshot()
    for options, said in (["--data-block-size=1024"], "Datablocksize:4096"), \
            (["--hash=sha512"], "Hashalgorithm:sha256"), (["--format=0"], "Hashtype:1"), \
            ([f"--data-blocks={size // BLOCK - 1}"], "Datablocks:"):
        format(*options)
        assert said in site.run("--name=img", site.www, image, status=3)[1], said
    format()
    with open(image, "r+b") as file:
        file.seek(2 * BLOCK)
        file.write(b"another")
    assert "do not belong together" in site.run("--name=img", site.www, image, status=3)[1]
    os.truncate(image, size - 1)
    assert "no whole blocks" in site.run("--name=img", site.www, image, status=1)[1]
    assert site.snapshot() == before


def unfit(site):
    """What --check does not take is not published."""
    image = f"{site.scratch}/noise.erofs"
    with open(image, "wb") as file:
        file.write(bytes(16 * BLOCK))
    said = site.run(site.www, image, status=3)[1]
    assert "--check does not take its image (verdict: " in said and site.names() == [], said


def on_loopback(site):
    with open(f"{site.www}/x", "wb") as file:
        file.write(bytes(range(200)))
    os.mkdir(f"{site.www}/sub")

    def curl(*more):
        done = subprocess.run([LOOPBACK, site.www, "curl", "-s", "--noproxy", "*", "--path-as-is", "-w", "%{http_code}",
                               *more], capture_output=True, timeout=300)
        return done.stdout[:-3], int(done.stdout[-3:])

    whole = bytes(range(200))
    assert curl("{}/x") == (whole, 200) and curl("{}/x", "-H", "If-Range: \"o\"", "-r", "0-1") == (whole, 200)
    assert curl("-r", "10-19", "{}/x") == (whole[10:20], 206) and curl("-r", "190-999", "{}/x") == (whole[190:], 206)
    for path, status in ("y", 404), ("../keys", 404), ("", 404), ("sub", 404):
        assert curl(f"{{}}/{path}")[1] == status, path
    assert curl("-r", "200-", "{}/x")[1] == 416
    for command, status in ("exit 7", 7), ("kill -9 $$", 137):
        assert subprocess.run([LOOPBACK, site.www, "sh", "-c", command]).returncode == status, command
    for line, status in ([site.www], 2), ([f"{site.www}/x", "true"], 1), ([site.www, "no-such-program"], 1):
        assert subprocess.run([LOOPBACK, *line], capture_output=True).returncode == status, line


def block_of(word):
    """The block of code in the guide that has this word."""
    with open(GUIDE) as file:
        found = [block for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", file.read(), re.M) if word in block]
    assert len(found) == 1, f"{len(found)} blocks have {word}"
    return re.sub("^    ", "", found[0], flags=re.M)


def guide_by_hand(site):
    """The commands of the guide, to the letter."""
    folder = f"{site.scratch}/hand"
    os.mkdir(folder)
    shutil.copytree(site.tree(1), f"{folder}/tree")
    for name in ("key", "pem"):
        shutil.copy(f"{site.keys}/signer.{name}", f"{folder}/{'key.pem' if name == 'key' else 'cert.pem'}")
    run("sh", "-ec", block_of("veritysetup format").replace("/var/www/html/erofs", site.www), cwd=folder,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"})
    out, said = site.run("--name=debian", site.www, site.tree(1))
    assert "same image" in said, "the tool makes another one"
    for name in site.names():
        os.rename(f"{site.www}/{name}", f"{site.www}/{name.replace('debian', 'img')}")
    assert out == f"roothash debian-1.erofs {verified(site, 1)}\n", out


def guide_of_partitions(site):
    """Root hash and signature out of a signature partition, as the Discoverable Partitions Specification has it."""
    site.publish(1)
    value = {"rootHash": site.read("img-1.erofs.roothash").decode(), "certificateFingerprint": "0" * 64,
             "signature": base64.b64encode(site.read("img-1.erofs.roothash.p7s")).decode()}
    with open(f"{site.scratch}/verity-sig.raw", "wb") as file:
        file.write(json.dumps(value).encode().ljust(BLOCK, b"\0"))
    run("sh", "-ec", block_of("jq"), cwd=site.scratch)
    os.symlink(f"{site.www}/img-1.erofs", f"{site.scratch}/root.erofs")
    os.symlink(f"{site.www}/img-1.erofs.verity", f"{site.scratch}/root.erofs.verity")
    site.run("--name=img", "--version=2", "--cert", f"{site.keys}/signer.pem", site.www, f"{site.scratch}/root.erofs")
    assert verified(site, 2) == verified(site, 1)


def guide_of_nginx(site):
    """By links and by the guide's redirect: devices get the version that is current, and their trees."""
    port = ports.free_port()
    os.rename(site.www, f"{site.scratch}/erofs")
    site.www = f"{site.scratch}/erofs"
    for version in (1, 2):
        site.publish(version, "--current", "debian.current")
    site.run("--rollback", "--current=debian.current", site.www)
    site.run("--name", "img", "--version", "3", "--current=link.erofs", site.www, site.tree(3))
    server = Nginx(site.scratch, "$request")
    block, included = block_of("location"), f"{site.scratch}/erofs-current.conf"
    block = block.replace("/etc/nginx/erofs-current.conf", included)
    run("sh", "-ec", block_of("printf").replace("/etc/nginx/erofs-current.conf", included).replace(
        "/var/www/html/erofs", site.www).replace("nginx -s reload", "true"))
    server.start(f"server {{ listen 127.0.0.1:{port}; root {site.scratch}; {block} }}", [port])
    try:
        for name, number in ("debian", 1), ("link", 3):
            url = f"http://127.0.0.1:{port}/erofs/{name}.erofs"
            for sidecar in ("", ".verity", ".roothash"):
                got = run(BINARY, "-f", "/dev/null", "--get", url + sidecar)
                assert got == site.read(f"img-{number}.erofs{sidecar}"), url + sidecar
            assert b"verdict: fit" in run(BINARY, "-f", "/dev/null", "--check", url, "0")
    finally:
        server.kill()


def main():
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o755)
        certs.make(scratch, "signer", ())
        certs.make(scratch, "stranger", ())
        for name, function in (
                ("a first version: tree, root hash and signature, as others verify them", first),
                ("the same tree is the same image", reproducible),
                ("the same tree with another key is a version", new_key),
                ("the trace has the same files' bytes", trace_is_carried),
                ("a trace that cannot be carried is left out", bad_trace_is_left_out),
                ("no file is ever replaced", never_replaced),
                ("a run that ends while it checks leaves nothing", interrupted_while_checking),
                ("a run that ends while it publishes leaves no half a version", interrupted_while_publishing),
                ("--keep", keep),
                ("--keep, and what .current files of a person name", keep_all_current),
                ("--current and --rollback", current),
                ("--current that is not there yet", current_of_the_same),
                ("--current replaces nothing but its own", current_is_no_file),
                ("exit statuses and reasons", words),
                ("an image of another tool, with its tree", built),
                ("an image that is not fit", unfit),
                ("on-loopback", on_loopback),
                ("the guide: by hand", guide_by_hand),
                ("the guide: root hash and signature of a partition", guide_of_partitions),
                ("the guide: nginx", guide_of_nginx)):
            tap.result(f"erofs-publish: {name}", *tap.attempt(function, Site(scratch), below=TOP))
    return tap.status()


sys.exit(main())
