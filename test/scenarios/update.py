"""Updates of verified images by /dev/cachefiles; nbd_update.py has the rest."""
import os
import struct
import tempfile

from lib import tap
from lib.commands import run
from scenarios.common import KIB, MIB, Server, check, daemon, each, image, need, recovers, reload, scenario
from scenarios.nbd_update import BLOCK, REGION, bound, passes_over, publish, sent, sparsely, versions


def commit(k, f, name):
    """What the kernel does with a new cache file at the end of its first session: it takes the place of the one before,
    and gets the size that was reported (fs/cachefiles/xattr.c). Here it is a copy, as the stand-in empties the file of
    a version that is not opened any more, where the kernel begins another."""
    folder = os.path.join(k.cache, "cache", f"Ierofs,{name}", "@42")
    path = os.path.join(folder, f"D{name}")
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    run("cp", "--sparse=always", f.path, path)
    try:
        os.setxattr(path, "user.CacheFiles.cache", struct.pack(">QQBB", f.size, 0, 0, 1))
    except OSError as error:
        raise tap.Skip(f"no extended attributes here: {error}") from error


def visit(s, data, name, *directives, after=None):
    """One run of the daemon, in which all is read. Returns the stand-in."""
    with daemon(s, publish(s, name, data), *directives, keep=True, after=after) as k:
        os.makedirs(os.path.join(k.cache, "cache"), exist_ok=True)
        f = k.opened(f"erofs,{name}", name.encode(), 20)
        for offset in range(0, len(data), 128 * KIB):
            if f.filled(offset, 128 * KIB) < min(128 * KIB, len(data) - offset):
                need(k, f, data, offset, 128 * KIB)
        check(f, data)
        if after:
            k.wait_log("came from the version before", 30)
        commit(k, f, name)
    return k


@each("img", "img-2.erofs")
def update_by_cachefiles(name):
    """a changed image, or the next name: what both have is taken from the kernel's cache file of the version before"""
    old, new, differ = versions(name)
    with Server() as s:
        k = visit(s, old, name.replace("2", "1"))
        mark = len(s.requests)
        k = visit(s, new, name, after=k)
        assert "all that both have" in k.stderr, k.stderr
        # The first READs come before the culler has opened the file.
        assert sent(s, name, mark) <= bound(s, name, differ) + 192 * KIB, (sent(s, name, mark), differ * BLOCK)
        mark = len(s.requests)
        k = visit(s, old, name, after=k)
        assert sent(s, name, mark) <= 2 * MIB, sent(s, name, mark)


@scenario
def update_by_cachefiles_guesses():
    """what the version before has and has not cached is fetched for READs only, and near READs of it"""
    old, new, places = sparsely("cachefiles")
    with Server() as s:
        with daemon(s, publish(s, "img", old), "read-ahead none", keep=True) as k:
            os.makedirs(os.path.join(k.cache, "cache"), exist_ok=True)
            f = k.opened("erofs,img", b"img", 20)
            for offset in range(0, len(old), REGION):
                need(k, f, old, offset, BLOCK)
            commit(k, f, "img")
        with daemon(s, publish(s, "img", new), after=k) as k:
            f = k.opened("erofs,img", b"img", 20)
            passes_over(s, new, places, lambda offset, length: need(k, f, new, offset, length))
            check(f, new)


@scenario
def update_by_cachefiles_of_nothing():
    """the cache file of the version before has gone, or is another version's: all is fetched, and right"""
    old, new, _ = versions("nothing")
    with Server() as s:
        k = visit(s, old, "img")
        os.unlink(os.path.join(k.cache, "cache", "Ierofs,img", "@42", "Dimg"))
        k = visit(s, new, "img", after=k)
        assert "it is gone" in k.stderr, k.stderr


@scenario
def update_by_cachefiles_taken_back_while_mounted():
    """the root hash of the version before, while the new one is mounted: nothing is copied into the new one's file"""
    old, first = versions("mounted")[0], image("mounted", MIB)
    new = first + old[MIB:]                             # of the first blocks none is in the version before
    with tempfile.TemporaryDirectory() as folder, Server() as s:
        path = os.path.join(folder, "conf")

        def configure(data):
            with open(path, "w") as file:
                file.write(f"read-ahead none\n{publish(s, 'img', data)}\n")

        k = visit(s, old, "img")
        configure(new)
        with daemon(s, options=["-f", path], after=k) as k:
            f = k.opened("erofs,img", b"img", 20)
            need(k, f, new, 0, BLOCK)
            configure(old)
            reload(k)
            k.read(f, MIB - BLOCK, BLOCK)               # so that the kernel opens the file again
            k.wait_log("was mounted with another root hash", 30)
            for offset in range(BLOCK, MIB, BLOCK):
                k.wait_complete(k.read(f, offset, BLOCK))
                check(f, new)
            assert "came from the version before" not in k.stderr, k.stderr     # the update is not finished
            configure(new)
            reload(k)
            recovers(k, f, new, MIB - BLOCK, BLOCK)
            for offset in range(0, len(new), 128 * KIB):
                need(k, f, new, offset, min(128 * KIB, len(new) - offset))
