"""Images that are verified: by which root hash, and what is remembered of it: signatures, `verity allow`, offline, a
worker's death, SIGHUP."""
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import tempfile

from lib import certs, verity
from lib.verity import BLOCK, Liar
from scenarios.common import (MIB, PAGE, Program, Server, StandIn, daemon, each, fnv, quiet, refused, reload, reported,
                              scenario, takes_long, words)
from scenarios.verified_common import FRONTS, Cachefiles, Made, Opened, kill_worker, opened, started, tree_files

SPREAD = 1 << 24        # STATE_SPREAD


@contextlib.contextmanager
def keys():
    """A folder with two keys and their certificates."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ours", "other"):
            certs.make_ca(folder, name)
        yield folder


class Signed(Made):
    """An image with a signed root hash."""

    def __init__(self, name, folder, key="ours", signed=None, **more):
        super().__init__(name, **more)
        self.p7s = verity.sign(signed or self.tree.root, f"{folder}/{key}.key", f"{folder}/{key}.pem")

    def files(self, name="img"):
        return {**super().files(name), f"/{name}.roothash": self.tree.root.encode(), f"/{name}.roothash.p7s": self.p7s}


@each(*FRONTS)
def verified_signed(front):
    """a root hash that is signed: read whole; by a certificate or a public key"""
    with keys() as folder:
        made = Signed("signed", folder)
        public = certs.openssl("x509", "-in", f"{folder}/ours.pem", "-pubkey", "-noout")
        with open(f"{folder}/public.pem", "wb") as file:
            file.write(public)
        for key in ("ours", "public"):
            with Server(made.files()) as s, started(front, s, f"verity-key {folder}/{key}.pem") as k:
                opened(front, k, made.data).need_all()
                k.wait_log(f"root hash {made.tree.root}, signed by")


WRONG = {
    "no root hash": (lambda m, f: m.pop("/img.roothash"), r"its root hash.*404"),
    "no signature": (lambda m, f: m.pop("/img.roothash.p7s"), r"its signature.*404"),
    "another key": (lambda m, f: m.update(Signed("signed", f, key="other").files()), "its signature"),
    "of another root hash": (lambda m, f: m.update(Signed("signed", f, signed="0" * 64).files()), "its signature"),
    "cut": (lambda m, f: m.update({"/img.roothash.p7s": m["/img.roothash.p7s"][:-1]}), "its signature"),
    "no signature at all": (lambda m, f: m.update({"/img.roothash.p7s": b"<html>"}), "its signature"),
    "63 digits": (lambda m, f: m.update({"/img.roothash": m["/img.roothash"][:63]}), "it is not 64 hexadecimal"),
    "65 digits": (lambda m, f: m.update({"/img.roothash": m["/img.roothash"] + b"0"}), "it is not 64 hexadecimal"),
    "a huge root hash": (lambda m, f: m.update({"/img.roothash": b"0" * 20000}), "it is not 64 hexadecimal"),
    "a huge signature": (lambda m, f: m.update({"/img.roothash.p7s": m["/img.roothash.p7s"] * 50}),
                         "its signature.* is too long: .*nocerts"),
    "an empty signature": (lambda m, f: m.update({"/img.roothash.p7s": b""}), "its signature"),
}


@each(*WRONG)
@takes_long
def verified_signature_wrong(what):
    """a signature that is wrong: not opened with require; with allow, with a warning, unless it was verified before"""
    change, pattern = WRONG[what]
    with keys() as folder:
        made = Signed("signed", folder)
        files = made.files()
        change(files, folder)
        key = f"verity-key {folder}/ours.pem"
        with Server(files) as s:
            with daemon(s, key, "timeout 5") as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)
                k.wait_log(pattern)
                assert len(s.requests) < 30, s.requests
            if what == "an empty signature":
                return      # a server that is broken
            with daemon(s, key, "verity allow", "timeout 5", keep=True) as k:
                f = k.opened("erofs,img", b"img", timeout=20)
                assert f.size == reported(made.data), f.size
                k.wait_log("opened without being verified")
                k.wait_complete(k.read(f, 0, 65536))
            s.images.update(made.files())
            with daemon(s, key, "verity allow", "timeout 5", keep=True, after=k) as k:
                f = k.opened("erofs,img", b"img", timeout=20)
                assert f.size >= len(made.data) + SPREAD, f.size
                assert f.filled(0, len(made.data)) <= 4 * PAGE, "what was not verified is kept"
                k.wait_log("was replaced")
            s.images = files
            with daemon(s, key, "verity allow", "timeout 5", after=k) as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)
                k.wait_log("img: cannot be opened")
                assert k.stderr.count("img: verity allow does not open it unverified, since it was verified") == 1
                assert "opened without being verified" not in k.stderr


@scenario
def verified_signature_beside_another_mirror():
    """a mirror whose signature is wrong, or that has only a root hash, and one whose are right: opened"""
    with keys() as folder:
        made, forged = Signed("right", folder), Signed("forged", folder, key="other")
        for front, files in itertools.product(FRONTS, (forged.files(), {"/img.roothash": b"0" * 64})):
            with Server(files) as s, Server(made.files()) as t, \
                    started(front, s, f"verity-key {folder}/ours.pem", f"url {t.url}") as k:
                opened(front, k, made.data).need_all()


@scenario
def verified_old_signed_image():
    """an earlier image that was signed by the same key is taken: a signature does not say how old it is"""
    with keys() as folder:
        old, new = Signed("old", folder), Signed("new", folder)
        with Server(new.files()) as s:
            with daemon(s, f"verity-key {folder}/ours.pem", keep=True) as k:
                Opened(Cachefiles(k, new.data)).need_all()
            s.images = old.files()
            with daemon(s, f"verity-key {folder}/ours.pem", after=k, keep=True) as k:
                Opened(Cachefiles(k, old.data)).need_all()
            # The pinned root hash outranks the signature.
            with daemon(s, f"verity-key {folder}/ours.pem", new.directive(), "timeout 5", after=k) as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)


@each(*FRONTS)
@takes_long
def verified_signed_replaced_while_open(front):
    """an image with a signed root hash is replaced while it is open: the log says so, no byte of the new one comes"""
    with keys() as folder:
        old, new = Signed("old", folder, size=12 * MIB), Signed("new", folder, size=12 * MIB)
        with Server(old.files()) as s, \
                started(front, s, f"verity-key {folder}/ours.pem", "read-ahead none", "timeout 2") as k:
            o = opened(front, k, old.data)
            o.need(PAGE)
            s.images = new.files()
            assert not o.read(8 * MIB, PAGE, 15)
            k.wait_log("replaced", 5)
            o.one.check()
            s.images = old.files()
            o.recovers(8 * MIB)


@scenario
def verified_wrong_roothash():
    """the root hash of another image, of one of another size, of none: nothing is opened"""
    made = Made("right")
    for root in (Made("other").tree.root, Made("smaller", BLOCK).tree.root, "0" * 64):
        with Server(made.files()) as s, daemon(s, f"roothash img {root}", "timeout 5") as k:
            refused(k, k.open("erofs,img", b"img"), timeout=20)
            k.wait_log(f"does not fit the root hash {root}")


@scenario
def verified_without_a_line():
    """an image that has no root hash is refused where others have one; with allow it is opened, with a warning"""
    made = Made("right")
    with Server({**made.files(), "/other": made.data}) as s:
        with daemon(s, made.directive()) as k:
            Opened(Cachefiles(k, made.data)).need_all()
            refused(k, k.open("erofs,other", b"other"))
            k.wait_log("other: .*it has no root hash")
        with daemon(s, made.directive(), "verity allow") as k:
            Opened(Cachefiles(k, made.data)).need_all()
            Opened(Cachefiles(k, made.data, "other")).need_all()
            k.wait_log("other: .*opened without being verified")
            assert "img: is opened without" not in k.stderr


@scenario
def verified_root_for_all():
    """a root hash without a name is that of each image without one of its own"""
    made, other = Made("all"), Made("one")
    with Server({**made.files(), **other.files("one")}) as s, \
            daemon(s, f"roothash {made.tree.root}", other.directive("one")) as k:
        Opened(Cachefiles(k, made.data)).need_all()
        Opened(Cachefiles(k, other.data, "one")).need_all()


# -- what is kept --------------------------------------------------------------------------------------

@each("roothash", "verity-key")
def verified_offline(by):
    """without a server an image opens with the tree and the root hash on the disk, each block is verified; another root
    hash or key: not"""
    with keys() as folder:
        made = Signed("offline", folder)
        line = made.directive() if by == "roothash" else f"verity-key {folder}/ours.pem"
        wrong = f"roothash img {'1' * 64}" if by == "roothash" else f"verity-key {folder}/other.pem"
        with Server(made.files()) as s:
            with daemon(s, line, keep=True) as k:
                o = Opened(Cachefiles(k, made.data))
                o.need(0, MIB)
                quiet(s)
            s.stop()
            with daemon(s, line, "timeout 2", "offline allow", keep=True, after=k) as k:
                o = Opened(Cachefiles(k, made.data))
                k.wait_log("opened offline")
                assert o.one.f.filled(0, MIB) == MIB
                assert not o.read(2 * MIB, PAGE, 15)
                s.start()
                o.recovers(2 * MIB)
                o.need_all()
                s.stop()
            with daemon(s, wrong, "timeout 2", "offline allow", keep=True, after=k) as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)
            with daemon(s, "timeout 2", "offline allow", after=k) as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)


HALVES = {"image last": {"/img": {"delay": 0.5}, "/img.verity": {"drop": True}},
          "tree last": {"/img.verity": {"delay": 0.3, "drop": True}},
          "image cut": {"/img": {"drop": True}, "/img.verity": {"delay": 0.5}}}


@each(*HALVES)
def verified_offline_half_reached(case):
    """offline allow, a signed root hash, and a server that cuts: what was to be judged by its tree is not taken as it
    is, whichever comes last; no worker dies"""
    with keys() as folder:
        made, other = Signed("half reached", folder), Made("liar's")
        with Server({**made.files(), "/img": other.data}) as s:
            lines = f"verity-key {folder}/ours.pem", "timeout 2", "offline allow", "connections 3"
            s.paths.update(HALVES[case])
            with daemon(s, *lines, keep=True) as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)
                assert "has died" not in k.stderr, k.stderr
            s.paths.clear()
            s.images["/img"] = made.data
            with daemon(s, *lines, after=k) as k:
                Opened(Cachefiles(k, made.data)).need_all()


@each("superblock", "top", "removed", "proof")
def verified_offline_tree_spoilt(what):
    """offline with a tree or a proof on the disk that has changed: not opened; with the server again it is"""
    with keys() as folder:
        made = Signed("spoilt", folder)
        line = f"verity-key {folder}/ours.pem"
        with Server(made.files()) as s:
            with daemon(s, line, keep=True) as k:
                Opened(Cachefiles(k, made.data)).need_all()
            path, = tree_files(k)
            if what == "proof":
                folder_of = os.path.dirname(path)
                path, = [os.path.join(folder_of, x) for x in os.listdir(folder_of) if x.endswith(".proof")]
            if what == "removed":
                os.unlink(path)
            else:
                with open(path, "r+b") as file:
                    file.seek({"superblock": 89, "top": BLOCK + 3, "proof": 40}[what])
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 1]))
            s.stop()
            with daemon(s, line, "timeout 2", "offline allow", keep=True, after=k) as k:
                refused(k, k.open("erofs,img", b"img"), timeout=20)
            s.start()
            with daemon(s, line, "timeout 2", after=k) as k:
                o = Opened(Cachefiles(k, made.data))
                o.need_all()


@each("pipe", "link")
def verified_tree_file_made_anew(what):
    """no plain file in the place of a tree's: it is made anew, so that the image opens offline again"""
    made = Made("anew")
    with Server(made.files()) as s:
        with daemon(s, made.directive(), keep=True) as k:
            Opened(Cachefiles(k, made.data)).need_all()
        path, = tree_files(k)
        os.unlink(path)
        if what == "pipe":
            os.mkfifo(path)
        else:
            os.symlink("elsewhere", path)
        with daemon(s, made.directive(), keep=True, after=k) as k:
            Opened(Cachefiles(k, made.data))
        s.stop()
        with daemon(s, made.directive(), "timeout 2", "offline allow", after=k) as k:
            Opened(Cachefiles(k, made.data)).need_all()


@each("at once", "later")
def verified_offline_published_in_part(cut):
    """a new root hash is published before its tree, and the line is cut: the version before opens offline; with the
    line again the new one"""
    with keys() as folder:
        old, new = Signed("whole", folder), Signed("in part", folder)
        lines = f"verity-key {folder}/ours.pem", "offline allow", "timeout 5"
        with Server(old.files()) as s:
            with daemon(s, *lines, keep=True) as first:
                Opened(Cachefiles(first, old.data)).need_all()
                quiet(s)
            s.images.update({path: data for path, data in new.files().items() if ".roothash" in path})
            s.paths["/img"] = s.paths["/img.verity"] = {"drop": True}
            if cut == "later":
                with daemon(s, *lines, "offline deny", keep=True, after=first) as k:
                    refused(k, k.open("erofs,img", b"img"), timeout=20)
                    assert f"root hash {new.tree.root}" in k.stderr
                s.stop()
            with daemon(s, *lines, keep=True, after=first) as k:
                o = Opened(Cachefiles(k, old.data))
                k.wait_log("opened offline")
                o.need_all()
            s.paths.clear()
            s.images.update(new.files())
            if cut == "later":
                s.start()
            with daemon(s, *lines, after=k) as k:
                Opened(Cachefiles(k, new.data)).need_all()
                assert len(tree_files(k)) == 1, tree_files(k)


@each(*FRONTS)
def verified_offline_same_twice(front):
    """two names of one image: one is replaced, and the other opens offline"""
    with keys() as folder:
        made, new = Signed("same", folder), Signed("next", folder)
        lines = f"verity-key {folder}/ours.pem", "offline allow", "timeout 2"
        with Server({**made.files("one"), **made.files("two")}) as s:
            with started(front, s, *lines, attach=("one", "two"), keep=True) as k:
                for name in "one", "two":
                    opened(front, k, made.data, name).need_all()
                quiet(s)
            s.images.update(new.files("one"))
            with started(front, s, *lines, attach=("one",), keep=True, after=k) as k:
                opened(front, k, new.data, "one").need_all()
                quiet(s)
            s.stop()
            with started(front, s, *lines, attach=("one", "two"), after=k) as k:
                opened(front, k, made.data, "two").need_all()
                opened(front, k, new.data, "one").need_all()


@scenario
def verified_offline_same_again():
    """the next name has the same image: it comes from the version before, and opens offline, too"""
    with keys() as folder:
        made = Signed("same", folder)
        lines = f"verity-key {folder}/ours.pem", "offline allow", "timeout 2"
        with Server({**made.files("img-1"), **made.files("img-2")}) as s:
            with started("nbd", s, *lines, attach=("img-1",), keep=True) as k:
                opened("nbd", k, made.data, "img-1").need_all()
                quiet(s)
            with started("nbd", s, *lines, attach=("img-2",), keep=True, after=k) as k:
                o = opened("nbd", k, made.data, "img-2")
                k.wait_log("came from the version before: all that both have", 20)
                o.need_all()
                assert len(tree_files(k)) == 1, tree_files(k)
            s.stop()
            with started("nbd", s, *lines, attach=("img-2",), after=k) as k:
                opened("nbd", k, made.data, "img-2").need_all()


@scenario
def verified_offline_unverified():
    """offline with allow: what was never verified opens as it did"""
    made = Made("never")
    with keys() as folder, Server({"/img": made.data}) as s:
        line = f"verity-key {folder}/ours.pem"
        with daemon(s, line, "verity allow", "timeout 5", keep=True) as k:
            Opened(Cachefiles(k, made.data)).need(0)
        s.stop()
        with daemon(s, line, "verity allow", "timeout 2", "offline allow", after=k) as k:
            k.opened("erofs,img", b"img", timeout=20)
            k.wait_log("opened without being verified")


@scenario
def verified_replaced_between_runs():
    """with a signed root hash a new image under the old name is opened as another version, and the old tree goes"""
    with keys() as folder:
        old, new = Signed("old", folder), Signed("new", folder)
        line = f"verity-key {folder}/ours.pem"
        with Server(old.files()) as s:
            with daemon(s, line, keep=True) as k:
                o = Opened(Cachefiles(k, old.data))
                o.need_all()
                first = o.one.f.size
            with daemon(s, line, keep=True, after=k) as k:
                before = s.bytes_sent()
                o = Opened(Cachefiles(k, old.data))
                assert o.one.f.size == first and o.one.f.filled(0, len(old.data)) >= len(old.data) - PAGE
                quiet(s)
                assert s.bytes_sent() - before < 100000
            s.images = new.files()
            with daemon(s, line, after=k) as k:
                o = Opened(Cachefiles(k, new.data))
                assert o.one.f.size != first
                o.need_all()
                k.wait_log("was replaced")
                assert len(tree_files(k)) == 1, tree_files(k)


@each(*FRONTS)
@takes_long
def verified_worker_dies(front):
    """kill -9 of the worker again and again beside a liar: the next one goes on, no byte is wrong"""
    made = Made("dies", 8 * MIB)
    with Server(made.files()) as s, Server(made.files()) as t, \
            started(front, s, made.directive(), f"url {t.url}") as k:
        o = opened(front, k, made.data)
        s.rule = Liar(s, 0.02, 0.05)
        for n in range(4):
            waiting = [o.one.ask(at, 128 * 1024) for at in range(n * 2 * MIB, (n + 1) * 2 * MIB, 256 * 1024)]
            kill_worker(front, k)
            for r in waiting:
                assert o.one.done(r, 60)
        o.need_all()


@contextlib.contextmanager
def configured(*lines):
    """The daemon with a configuration file; yields it and what writes the file anew and reloads."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "conf")

        def write(*these):
            with open(path, "w") as file:
                file.write("".join(f"{line}\n" for line in these))

        write(*lines)
        argv = [Program.path, "-n", "-s", "--force", "-f", path, *words()]
        with StandIn(argv) as k:
            yield k, lambda *these: (write(*these), reload(k))


@scenario
def verified_sighup_adds():
    """SIGHUP that brings a root hash while the image is open: it stays readable until it is mounted again"""
    made = Made("added")
    with Server(made.files()) as s, configured(f"url {s.url}") as (k, write):
        o = Opened(Cachefiles(k, made.data))
        o.need(0)
        write(f"url {s.url}", made.directive())
        o.need(MIB)
        o.need_all()
        k.wait_log("img: was opened without being verified: it is once it is mounted or attached anew")
        k.closed(o.one.f)
        o = Opened(Cachefiles(k, made.data))
        assert o.one.f.size >= len(made.data) + SPREAD, o.one.f.size
        o.need_all()


@scenario
def verified_sighup_removes():
    """SIGHUP that takes the root hash away while the image is open: what is cached is read, nothing unverified comes"""
    made, other = Made("removed"), Made("liar's")
    with Server(made.files()) as s, configured(f"url {s.url}", made.directive(), "read-ahead none", "timeout 2") as \
            (k, write):
        o = Opened(Cachefiles(k, made.data))
        o.need(0)
        s.images["/img"] = other.data
        write(f"url {s.url}", "timeout 2", "read-ahead none")
        assert not o.read(2 * MIB, PAGE, 15)
        k.wait_log("mounted with a root hash, and there is none now")
        o.one.check()
        s.images["/img"] = made.data
        write(f"url {s.url}", made.directive(), "timeout 2", "read-ahead none")
        o.recovers(2 * MIB)


@each("before", "beside", "never")
def verified_sighup_changes(image_is_replaced):
    """SIGHUP with another root hash while the image is open: what is cached is read, the log says why nothing else is,
    until it is mounted again or the line is as it was"""
    made, other = Made("changed"), Made("after it")
    more = ("read-ahead none", "timeout 2")
    with Server(made.files()) as s, configured(f"url {s.url}", made.directive(), *more) as (k, write):
        o = Opened(Cachefiles(k, made.data))
        o.need(0)
        if image_is_replaced == "before":
            s.images.update(other.files())
            assert not o.read(2 * MIB, PAGE, 15)
        elif image_is_replaced == "beside":
            s.images.update(other.files())
        write(f"url {s.url}", other.directive(), *more)
        assert not o.read(2 * MIB, PAGE, 15)
        if image_is_replaced == "never":
            k.wait_log(f"its tree .*does not fit the root hash {other.tree.root}", 2)
        else:
            k.wait_log("it was mounted with another root hash; what is not cached of it cannot be read until", 2)
            assert "the server has another version" not in k.stderr, k.stderr
        o.one.check()
        asked = len(s.requests)
        assert not o.read(MIB, PAGE, 15) and len(s.requests) - asked < 10
        s.images.update(made.files())
        write(f"url {s.url}", made.directive(), *more)
        o.recovers(2 * MIB)
        s.images.update(other.files())
        write(f"url {s.url}", other.directive(), *more)
        k.closed(o.one.f)
        Opened(Cachefiles(k, other.data)).need_all()


def rewrite_state(k, **fields):
    """Writes lines of the state of /img, the only image, anew, with a sum that is right."""
    folder = os.path.join(k.cache, "cachefilesd-mini")
    path, = (os.path.join(folder, name) for name in os.listdir(folder) if re.fullmatch("[0-9a-f]{16}", name))
    with open(path) as file:
        lines = [line.split(" ", 1) for line in file.read().splitlines()[:-1]]
    text = "".join(f"{word} {fields.get(word, value)}\n" for word, value in lines)
    with open(path, "w") as file:
        file.write(f"{text}sum {fnv(text):016x}\n")


def make_unverified(s, k, other):
    """Rewrites the state of the open image so that it had no root hash; the server has another image of that version."""
    quiet(s)
    rewrite_state(k, etag='"theirs"')
    s.images["/img"] = other.data
    s.default["etag"] = '"theirs"'


@each(*FRONTS)
def verified_state_rewritten(front):
    """a state file that somebody has rewritten under an open image: no new worker takes it for one without a root hash"""
    made, other = Made("believed"), Made("liar's")
    with Server(made.files()) as s, started(front, s, made.directive(), "read-ahead none", "timeout 2") as k:
        o = opened(front, k, made.data)
        o.need(0)
        make_unverified(s, k, other)
        os.kill(k.worker, signal.SIGKILL)
        k.wait_log("a new one takes its place")
        assert not o.read(2 * MIB, PAGE, 15)
        o.one.check()


@scenario
def verified_sighup_removes_and_state_rewritten():
    """the same when its root hash is gone from the configuration, and when that is there again"""
    made, other = Made("believed"), Made("liar's")
    more = ("read-ahead none", "timeout 2")
    with Server(made.files()) as s, configured(f"url {s.url}", made.directive(), *more) as (k, write):
        o = Opened(Cachefiles(k, made.data))
        o.need(0)
        make_unverified(s, k, other)
        for lines in ((), (made.directive(),)):
            write(f"url {s.url}", *lines, *more)
            assert not o.read(2 * MIB, PAGE, 15)
            o.one.check()
        del s.default["etag"]
        s.images["/img"] = made.data
        k.closed(o.one.f)
        Opened(Cachefiles(k, made.data)).need_all()


@scenario
def verified_sighup_keeps():
    """SIGHUP with the same root hash: the next worker goes on without fetching a block twice"""
    made = Made("kept")
    with Server(made.files()) as s, configured(f"url {s.url}", made.directive()) as (k, write):
        o = Opened(Cachefiles(k, made.data))
        o.need_all()
        quiet(s)
        before = s.bytes_sent()
        write(f"url {s.url}", made.directive(), "timeout 20")
        for at in range(0, len(made.data), MIB):
            assert o.one.f.filled(at, PAGE) == PAGE
        o.need(0)
        quiet(s)
        assert s.bytes_sent() - before < 100000, s.bytes_sent() - before


@each(*FRONTS)
def verified_replaced_by_many_blocks(front):
    """an image is replaced with all that proves it while it is open: many blocks do not fit at once, and the log says
    why"""
    with keys() as folder:
        made, other = Signed("first", folder), Signed("second", folder)
        with Server(made.files()) as s, \
                started(front, s, f"verity-key {folder}/ours.pem", "timeout 2", "connections 1",
                        "read-ahead none") as k:
            o = opened(front, k, made.data)
            o.need(2 * MIB)     # the tree's blocks of what follows
            s.images.update(other.files())
            assert not o.read(2 * MIB + 64 * 1024, 128 * 1024, 15)
            k.wait_log("has another root hash on the server now", 5)


@each(("memory 576K", 8), ("memory 576K", 1), ("connections 1", 12), ("connections 8", 16))
@takes_long
def verified_many_without_a_folder(case):
    """more images at once than memory has places for blocks of their trees, and no folder to keep them in: each READ
    is answered, and no block is fetched for ever"""
    directive, count = case
    if Program.has_sanitizers and directive == "memory 576K":
        return
    made = {chr(97 + n) * 3: Made(f"many {n}") for n in range(count)}
    roots = [m.directive(name) for name, m in made.items()]
    with Server({path: data for name, m in made.items() for path, data in m.files(name).items()}, delay=0.01) as s:
        with started("cachefiles", s, *roots[:1], keep=True) as k:
            k.wait_bound()
        folder = os.path.join(k.cache, "cachefilesd-mini")
        shutil.rmtree(folder)
        with open(folder, "w"), started("cachefiles", s, *roots, directive, "read-ahead none", after=k) as k:
            images = [opened("cachefiles", k, m.data, name) for name, m in made.items()]
            for seed in range(2):
                chance, waiting = random.Random(seed), []
                for o in images * (32 // count):
                    at = chance.choice((127, 383, 507, 639, chance.randrange(o.size // BLOCK - 8)))
                    waiting.append((o, o.one.ask(at * BLOCK // PAGE * PAGE, 8 * BLOCK)))
                for o, r in waiting:
                    assert o.one.done(r, 20), r
            for o in images:
                o.one.check()
            assert len(s.requests) < 1000, len(s.requests)
