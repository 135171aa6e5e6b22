"""The state of images that outlives the daemon; offline."""
import errno
import os
import random
import re
import shutil
import time

from scenarios.common import (MIB, Server, check, daemon, each, fails, fnv, got, image, need, recovers, refused,
                              reported, scenario, serving)


def remembered(k):
    """The paths of the files in which the daemon remembers images."""
    return [entry.path for entry in os.scandir(os.path.join(k.cache, "cachefilesd-mini"))]


def session(s, data, *directives, lost=False, changed=False, **more):
    """One run of the daemon: /img opens, and all of it is right. `lost`: the remembered files are removed before.
    `changed`: the log names both versions. Returns the stand-in, the file and the number of bytes fetched."""
    k = daemon(s, *directives, keep=True, **more)
    if lost:
        shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"), ignore_errors=True)
    with k:
        before = len(s.requests)
        f = k.opened("erofs,img", b"img")
        for offset in range(0, len(data), 131072):
            if f.filled(offset, 131072) < min(131072, len(data) - offset):
                need(k, f, data, offset, 131072)    # the kernel requests only missing bytes
        check(f, data)
        assert not changed or k.wait_log(r"img: was replaced .*became")
        assert changed or "was replaced" not in k.stderr, k.stderr
        return k, f, s.bytes_sent(since=before)


def forgotten(k):
    """Removes the cache of a run that was kept."""
    shutil.rmtree(k.directory)


@each("etag", "weak etag", "last-modified only", "another size")
def replaced_between_runs(what):
    """an image that is replaced while no daemon runs: other size told, no old byte, all new ones; back again too"""
    old, new = image("old", 300000), image("new", 304096 if what == "another size" else 300000)
    versions = [{"etag": '"1"'}, {"etag": '"2"'}]
    if what == "weak etag":
        versions = [{"etag": 'W/"1"'}, {"etag": 'W/"2"'}]
    elif what == "last-modified only":
        versions = [{"etag": "", "last_modified": f"Wed, 06 Apr 2022 07:55:5{n} GMT"} for n in (1, 2)]
    elif what == "another size":
        versions = [{"etag": '"1"'}] * 2
    with Server({"/img": old}) as s:
        s.paths["/img"] = versions[0]
        k, f, fetched = session(s, old)
        assert f.size == reported(old, versions[0]["etag"], versions[0].get("last_modified", reported.__defaults__[1]))
        first, k = f.size, k
        k, f, again = session(s, old, after=k)
        assert f.size == first and fetched >= len(old) and again < 100000, (f.size, first, again)
        s.images["/img"], s.paths["/img"] = new, versions[1]
        k, f, fetched = session(s, new, after=k, changed=True)
        assert f.size != first and fetched >= len(new), (f.size, fetched)
        assert len(remembered(k)) == 1, remembered(k)
        s.images["/img"], s.paths["/img"] = old, versions[0]
        k, f, _ = session(s, old, after=k, changed=True)
        assert f.size == first
        forgotten(k)


@scenario
def state_lost():
    """what is remembered is lost: the same version is still told as the same size, another one as another"""
    old, new = image("old", 300000), image("new", 300000)
    with Server({"/img": old}) as s:
        k, f, _ = session(s, old)
        first = f.size
        k, f, fetched = session(s, old, lost=True, after=k)
        assert f.size == first and fetched < 100000, fetched
        s.images["/img"] = new
        k, f, _ = session(s, new, lost=True, after=k)
        assert f.size != first
        forgotten(k)


@scenario
def state_collides():
    """a version that would be told as the one before was: the next size"""
    old, new = image("old", 300000), image("new", 300000)
    with Server({"/img": old}) as s:
        k, f, _ = session(s, old)
        path, = remembered(k)
        with open(path) as file:
            text = file.read()
        text = re.sub(r"told \d+", f"told {reported(new)}", text[:text.index("sum ")])
        with open(path, "w") as file:
            file.write(f"{text}sum {fnv(text):016x}\n")
        k.stored["erofs,img", b"img"] = (f.path, reported(new))
        s.images["/img"] = new
        k, f, _ = session(s, new, after=k, changed=True)
        assert f.size == reported(new) + 1, f.size
        forgotten(k)


@each("empty", "noise", "huge", "a link", "a folder", "a fifo", "nothing but its keys")
def state_hostile(what):
    """in the place of what is remembered lies something else: the image opens as if there were nothing"""
    data = image("hostile", 300000)
    with Server({"/img": data}) as s:
        k, f, _ = session(s, data)
        path, = remembered(k)
        with open(path) as file:
            text = file.read()
        os.unlink(path)
        if what == "a link":
            os.symlink("/etc/passwd", path)
        elif what == "a folder":
            os.mkdir(path)
        elif what == "a fifo":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.write({"empty": b"", "noise": random.Random(3).randbytes(900), "huge": text.encode() * 1000,
                            "nothing but its keys": "".join(text.splitlines(True)[:3]).encode()}[what])
        k, f, _ = session(s, data, after=k)
        assert f.size == reported(data)
        if what != "a folder":
            with open(path) as file:
                assert re.sub("checked.*", "", file.read(), flags=re.S) == re.sub("checked.*", "", text, flags=re.S)
        forgotten(k)


@scenario
def state_cannot_be_kept():
    """no folder can be made: one warning, and all else works"""
    data = image("kept", 300000)
    with Server({"/img": data, "/two": data}) as s, daemon(s, keep=True) as k:
        k.wait_bound()
    shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
    with open(os.path.join(k.cache, "cachefilesd-mini"), "w"), Server({"/img": data, "/two": data}) as s, \
            daemon(s, after=k) as k:
        for name in ("img", "two"):
            f = k.opened(f"erofs,{name}", name.encode())
            assert f.size == reported(data)
            need(k, f, data, 0, 300000)
        assert len(re.findall("remembered", k.stderr)) == 1, k.stderr


@scenario
def state_of_odd_names():
    """keys with all bytes, 254 and 250 long: remembered, and told apart"""
    names = [bytes(range(1, 251)), b"a\nsize 1", b"%41", b"A", "\u00fc".encode()]
    data = image("odd", 9000)
    with Server() as s:
        s.default["image"] = data
        k = None
        for turn in range(2):
            with daemon(s, keep=turn == 0, after=k) as k:
                for name in names:
                    for volume in ("erofs,x", "erofs," + "v" * 248):
                        assert k.opened(volume, name).size == reported(data)
                assert len(remembered(k)) == 2 * len(names), remembered(k)
                assert "was replaced" not in k.stderr


@each("stopped", "hangs", "no such host")
def offline_allow(how):
    """offline allow: an image opens from what is remembered; what is missing comes when the server is back"""
    data = image("offline", 4 * MIB)
    with Server({"/img": data}) as s:
        with daemon(s, keep=True) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 65536)
            first = f.size
        if how == "stopped":
            s.stop()
        elif how == "hangs":
            s.default["delay"] = 1000
        url = s.url.replace("127.0.0.1", "nowhere.invalid") if how == "no such host" else s.url
        with daemon(url, "offline allow", f"timeout {60 if how == 'stopped' else 6}", after=k) as k:
            f = k.open("erofs,img", b"img")
            assert k.wait_copen(f) == first         # a server that is stopped is not waited for
            k.wait_log("opened offline")
            assert f.filled(0, 65536) == 65536
            if how == "no such host":
                return
            assert f.filled(3 * MIB, 65536) == 0
            r = k.read(f, 3 * MIB, 65536)
            time.sleep(1)
            assert r.state != "done", "a missing part did not wait"
            s.default.pop("delay", None)
            s.stop()
            s.start()
            got(k, r, data, 10)


@each("retry hard", "timeout 2")
def full_for_long(policy):
    """a cache that is full for 9 s: with retry hard a READ waits, else it fails; the next one is right"""
    data = image("full", MIB)
    with serving(data, policy) as (s, k, f):
        full = time.monotonic() + 9
        k.on_write = lambda file, offset, length: -errno.ENOBUFS if time.monotonic() < full else None
        r = k.read(f, 524288, 65536)
        have = k.wait_complete(r, 20)
        assert have == (65536 if policy == "retry hard" else 0), have
        if policy != "retry hard":
            assert time.monotonic() < full
            k.wait_log("cannot write to the cache")
            time.sleep(max(0, full - time.monotonic()))
        recovers(k, f, data, 524288, 65536)


@scenario
def offline_changed():
    """offline allow: the server comes back with another version: what is missing fails, nothing is mixed"""
    data, new = image("old", 4 * MIB), image("new", 4 * MIB)
    with Server({"/img": data}) as s:
        with daemon(s, keep=True) as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 65536)
            first = f.size
        s.stop()
        with daemon(s, "offline allow", "timeout 6", after=k, keep=True) as k:
            f = k.opened("erofs,img", b"img")
            assert f.size == first
            s.images["/img"] = new
            s.start()
            assert f.filled(3 * MIB, 65536) == 0
            fails(k, f, 3 * MIB, 65536, 10)
            k.wait_log("cannot be read until it is mounted again")
            check(f, data)
        k, f, _ = session(s, new, after=k, changed=True)
        forgotten(k)


@each("deny", "nothing remembered", "a mirror that has it not", "a mirror that is back")
def offline_not(why):
    """no offline: where it is not allowed, nothing is remembered, or a server can be reached"""
    data = image("offline", 300000)
    with Server({"/img": data}) as s, Server({"/img": data} if why.endswith("back") else {}) as mirror:
        with daemon(s, keep=True) as k:
            f = k.opened("erofs,img", b"img")
        if why == "nothing remembered":
            shutil.rmtree(os.path.join(k.cache, "cachefilesd-mini"))
        s.stop()
        directives = ["timeout 2", "offline " + ("deny" if why == "deny" else "allow")]
        if "mirror" in why:
            directives.append(f"url {mirror.url}")
        with daemon(s, *directives, after=k) as k:
            f = k.open("erofs,img", b"img")
            if why.endswith("back"):
                assert k.wait_copen(f) == reported(data)
            else:
                refused(k, f)
            assert "offline" not in k.stderr
