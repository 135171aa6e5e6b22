"""Images that are verified, while something around them changes: what a publisher copies one file after the other,
mirrors of several versions, the configuration of a daemon whose images are open, its keys."""
import contextlib
import os
import signal
import tempfile
import time

from lib import tap
from lib.nbd import Nbd
from lib.standin_nbd import NbdStandIn
from lib.verity import BLOCK
from scenarios.common import MIB, PAGE, Program, Server, StandIn, daemon, each, refused, reload, takes_long, words
from scenarios.verified_common import FRONTS, Made, opened, started
from scenarios.verified_state import Signed, keys


def proof(signed):
    """What proves a root hash: the files of a server that are copied first."""
    return {path: data for path, data in signed.files().items() if ".roothash" in path}


def begin_open(front, k):
    """Has the image be opened, which may take as long as it wants to. Returns what waits until it is."""
    if front == "nbd":
        return lambda data: opened(front, k, data)
    f = k.open("erofs,img", b"img")

    def wait(data):
        assert k.wait_copen(f, 20) >= 0
        k.closed(f)
        return opened(front, k, data)
    return wait


@each(*FRONTS)
@takes_long
def verified_opened_between_copies(front):
    """the image is opened when its root hash is still the old one, and all else is new: the root hash is asked for
    again, and the new image opens once it is there"""
    with keys() as folder:
        old, new = Signed("old", folder), Signed("new", folder)
        with Server({**new.files(), **proof(old)}) as s, \
                started(front, s, f"verity-key {folder}/ours.pem", "retry hard") as k:
            wait = begin_open(front, k)
            k.wait_log(f"does not fit the root hash {old.tree.root}", 10)
            if front == "nbd":
                k.wait_log("img: not attached yet: its tree .*does not fit the root hash", 10)
            asked = len(s.requests)
            s.images.update(new.files())
            wait(new.data).need_all()
            assert asked < 60, asked


@each(*FRONTS)
@takes_long
def verified_mirror_with_an_old_root_hash(front):
    """the first mirror has the root hash of an old version, and its tree no more; the other all of the new one"""
    with keys() as folder:
        old, new = Signed("old", folder), Signed("new", folder)
        with Server(proof(old)) as s, Server(new.files()) as t, \
                started(front, s, f"verity-key {folder}/ours.pem", f"url {t.url}", "timeout 10") as k:
            opened(front, k, new.data).need_all()


@each(*((front, size) for front in FRONTS for size in ("the same size", "another size", "no end")))
@takes_long
def verified_mirror_changes_while_open(case):
    """the first mirror gets another version of an image that is open, or a tree without an end: it is set aside, for
    longer and longer, and the log has few lines of it"""
    front, size = case
    made, other = Made("made", 12 * MIB), Made("other", (8 if size == "another size" else 12) * MIB)
    with Server(made.files()) as s, Server(made.files()) as t:
        with started(front, s, f"url {t.url}", made.directive(), "read-ahead none", "prefetch none") as k:
            o = opened(front, k, made.data)
            o.need(0)
            bad = {"/img.verity": made.tree.file[:5 * BLOCK]} if size == "no end" else other.files()
            s.images.update(bad)
            asked, said, end = len(s.requests), k.stderr.count("\n"), time.monotonic() + 5
            for n in range(500):
                o.need(n * 20000 // PAGE * PAGE)
                time.sleep(max(0, 0.01 * n - 5 + end - time.monotonic()))
            asked = sum(r.path in bad for r in s.requests[asked:])
            assert 0 < asked < 20, f"{asked} requests"
            assert k.stderr.count("\n") - said < 15, k.stderr


@each(*((what, retry) for what in ("404", "403", "410", "200") for retry in ("retry hard", "timeout 5")))
def verified_allowed(case):
    """`verity allow`: the root hash is not there, denied as by a store of objects, or another page: the image opens"""
    what, retry = case
    made = Made("allowed")
    with keys() as folder, Server({"/img": made.data}) as s:
        page = {"ignore_range": True, "image": b"<html>"}
        s.paths["/img.roothash"] = page if what == "200" else {"status": int(what)}
        with daemon(s, f"verity-key {folder}/ours.pem", "verity allow", retry) as k:
            k.opened("erofs,img", b"img", timeout=10)
            k.wait_log("img: is opened without being verified")


@each("none", "of one mirror")
def verified_allowed_but_not_there(image):
    """`verity allow`, and mirrors that have neither root hash nor image: refused at once, said once; or one has it"""
    made = Made("allowed")
    with keys() as folder, Server({}) as s, Server({"/img": made.data} if image != "none" else {}) as t, \
            daemon(s, f"url {t.url}", f"verity-key {folder}/ours.pem", "verity allow", "timeout 10") as k:
        if image == "none":
            refused(k, k.open("erofs,img", b"img"), timeout=5)
        else:
            k.opened("erofs,img", b"img", timeout=5)
        assert k.stderr.count("is opened without being verified") == 1, k.stderr
        assert len(s.requests) + len(t.requests) < 12, (s.requests, t.requests)


@each(*FRONTS)
def verified_by_a_token(front):
    """a query that may be a signature goes with the tree and all that proves it, too"""
    with keys() as folder:
        made = Signed("token", folder)
        with Server(made.files()) as s, \
                started(front, f"{s.url}%c?token=secret", f"verity-key {folder}/ours.pem", "timeout 5") as k:
            opened(front, k, made.data).need_all()
            assert {r.target for r in s.requests} == {f"{path}?token=secret" for path in made.files()}, s.requests


@each(*((front, now) for front in FRONTS for now in ("root", "1234:1234")))
@takes_long
def verified_of_another_user(case):
    """the tree on the disk was made by a worker of another `user`: after a session with a server it opens offline"""
    front, now = case
    if os.geteuid():
        raise tap.Skip("only root has other users")
    with keys() as folder, Server((made := Signed("user", folder)).files()) as s:
        key = f"verity-key {folder}/ours.pem"
        user = () if now == "root" else (f"user {now}",)
        with started(front, s, key, "user 65534:65534", keep=True) as k:
            opened(front, k, made.data).need_all()
        with started(front, s, key, *user, after=k, keep=True) as k:
            opened(front, k, made.data).need_all()
        s.stop()
        with started(front, s, key, *user, "offline allow", "timeout 2", after=k) as k:
            opened(front, k, made.data).need_all()


# -- the configuration of a daemon whose image is open ------------------------------------------------------

MORE = ("read-ahead none", "prefetch none", "timeout 3")


@contextlib.contextmanager
def configured(front, *lines):
    """The daemon with a configuration file; yields it and what writes the file anew and reloads."""
    more = (*MORE, "attach img") if front == "nbd" else MORE
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = os.path.join(folder, "conf")

        def write(*these):
            with open(path, "w") as file:
                file.write("".join(f"{line}\n" for line in (*these, *more)))

        write(*lines)
        argv = [Program.path, "-n", "-s", "--force", "-f", path, *words("control {cache}/control")]
        k = stack.enter_context(NbdStandIn(argv, stack.enter_context(Nbd())) if front == "nbd" else StandIn(argv))
        yield k, lambda *these: (write(*these), reload(k))


def cached_is_read(o):
    """Of a device what is cached comes from the daemon too; the kernel reads the other cache itself."""
    o.need(0)
    o.need(MIB)


@each(*((front, what) for front in FRONTS for what in ("it is gone", "another", "another key")))
@takes_long
def verified_root_changes_while_open(case):
    """SIGHUP with another root hash, none, or a key that has signed none, while an image is open: what is cached is
    read, nothing else is; with the line as it was, or a signature by the new key, all is"""
    front, what = case
    with keys() as folder:
        made, other = Signed("made", folder), Made("other")
        again = Signed("made", folder, key="other")
        with Server(made.files()) as s:
            before = f"verity-key {folder}/ours.pem" if what == "another key" else made.directive()
            after = {"it is gone": (), "another": (other.directive(),),
                     "another key": (f"verity-key {folder}/other.pem",)}[what]
            with configured(front, f"url {s.url}", before) as (k, write):
                o = opened(front, k, made.data)
                cached_is_read(o)
                write(f"url {s.url}", *after)
                cached_is_read(o)
                assert not o.read(2 * MIB, PAGE, 15)
                cached_is_read(o)
                if what == "another key":
                    s.images.update(again.files())
                else:
                    write(f"url {s.url}", before)
                o.recovers(2 * MIB, 45)
                o.need_all()


@each(*((front, what) for front in FRONTS for what in ("a root hash", "require", "allow")))
def verified_is_demanded_while_open(case):
    """SIGHUP that begins to demand a root hash while an image without one is open, or allows images without one: what
    is open is read as it was opened"""
    front, what = case
    with keys() as folder:
        made = Signed("made", folder)
        key = f"verity-key {folder}/ours.pem"
        before, after = {"a root hash": ((), (made.directive(),)), "require": ((key, "verity allow"), (key,)),
                         "allow": ((key,), (key, "verity allow"))}[what]
        with Server(made.files() if what == "allow" else {"/img": made.data}) as s, \
                configured(front, f"url {s.url}", *before) as (k, write):
            o = opened(front, k, made.data)
            cached_is_read(o)
            write(f"url {s.url}", *after)
            o.need_all()
            assert what == "allow" or "was opened without being verified" in k.stderr, k.stderr


@each(*((front, path) for front in FRONTS for path in ("/img.roothash", "/img.roothash.p7s", "/img.verity", "/img")))
def verified_worker_dies_in_an_open(case):
    """kill -9 of the worker while an OPEN waits for the root hash, its signature, the tree or the image: the next one
    opens it"""
    front, path = case
    with keys() as folder:
        made = Signed("made", folder)
        with Server(made.files()) as s:
            s.paths[path] = {"stall": 10}
            with started(front, s, f"verity-key {folder}/ours.pem", "timeout 20") as k:
                wait = begin_open(front, k)
                k.wait(lambda: any(r.path == path for r in s.requests), 10, f"a request for {path}")
                os.kill(k.worker or min(k.children()), signal.SIGKILL)
                s.paths.clear()
                k.wait_log("a new one takes its place", 10)
                wait(made.data).need_all()
