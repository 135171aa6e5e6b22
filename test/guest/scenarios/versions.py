"""The image is replaced, and the server is away."""
import os
import random
import re
import shutil
import signal
import time

from guest.common import (all_right, at_once, CA, Child, compare, Daemon, drop_caches, expect, expect_eio,
                          mount, mount_fails, NBD, nginx, PROBE, remembered, scenario, umount, URL, URL_TLS)
from lib.tap import note


def publish(version):
    """Puts that version of the image in the place of the other one; nginx makes its ETag of the file's time."""
    shutil.copy(f"{version}.erofs", "www/new")
    when = 1600000000 + int(version[1:])
    os.utime("www/new", (when, when))
    os.rename("www/new", "www/versioned.erofs")


def visit(version, count=None, order="random"):
    """A session: mounts the image, compares all or `count` files with that version, unmounts. Returns the bytes
    fetched."""
    start = nginx.mark()
    point = mount("versioned.erofs")
    Child(compare, point, version, order, count).succeed()
    umount(point)
    return nginx.sent(start, "versioned")


@scenario("an image is replaced by one of the same size between mounts: no byte of the old one is read", differs=True)
def replaced():
    daemon = Daemon(URL)
    size = os.path.getsize("v1.erofs")
    for version, count in ("v1", None), ("v2", 10), ("v1", 10):
        publish(version)
        visit(version, count)
    expect(len(re.findall("was replaced on the server", daemon.log())) == 2, "not each is told")
    publish("v2")
    fetched = visit("v2")
    # A block device's cache file is of one version: that of a few moments ago is found again.
    expect(NBD or fetched >= size, f"only {fetched} bytes of the new version were fetched")
    expect(visit("v2") <= PROBE, "what is cached was fetched again")
    expect(len(remembered(daemon)) == 1, f"files: {remembered(daemon)}")
    daemon.stop()


@scenario("the same between runs of the daemon, with what is remembered, lost or damaged")
def replaced_between_runs():
    directory = None
    for state in "kept", "lost", "damaged":
        for version, count in ("v1", 10), ("v2", None):
            publish(version)
            daemon = Daemon(URL, directory=directory)
            directory = daemon.directory
            if state == "lost":
                for path in remembered(daemon):
                    os.unlink(path)
            for path in remembered(daemon) if state == "damaged" else []:
                with open(path, "r+b") as file:
                    file.seek(random.randrange(os.path.getsize(path)))
                    file.write(b"\0\1\2")
            visit(version, count)
            fetched = visit(version)
            expect(count or fetched <= PROBE, f"{fetched} bytes were fetched again")
            daemon.stop()
    daemon = Daemon(URL, directory=directory)
    fetched = visit("v2")
    expect(fetched <= PROBE, f"{fetched} bytes were fetched again after a restart")
    daemon.stop()


@scenario("offline allow: a cached image mounts and reads without a server; missing parts wait for it", differs=True)
def offline():
    daemon = Daemon(URL_TLS, CA)
    some = mount("second.erofs")
    Child(compare, some, "second", "random", 3).succeed()
    whole = mount("plain.erofs")
    all_right(whole, "plain")
    umount(some)
    umount(whole)
    daemon.stop()
    nginx.kill()
    daemon = Daemon(URL_TLS, CA, "offline allow", directory=daemon.directory)
    start = time.monotonic()
    mount("plain.erofs")
    note(f"mounted after {time.monotonic() - start:.2f} s")
    at_once(whole, 2)
    daemon.logs("plain.erofs: opened offline")
    mount("second.erofs")
    reader = Child(compare, some, "second")
    time.sleep(2)
    expect(not reader.ended(), "what is missing did not wait for the server")
    nginx.start()
    reader.succeed()
    umount(whole)
    umount(some)
    daemon.stop()


@scenario("offline allow: the server comes back with another version: what is missing fails, nothing is mixed",
          True, differs=True)
def offline_replaced():
    publish("v1")
    daemon = Daemon(URL, "timeout 5")
    visit("v1", 3, "sorted")
    daemon.stop()
    nginx.kill()
    daemon = Daemon(URL, "offline allow", "timeout 5", directory=daemon.directory)
    point = mount("versioned.erofs")
    publish("v2")
    nginx.start()
    expect_eio(Child(compare, point, "v1").answer())
    Child(compare, point, "v1", "sorted", 3).succeed()
    umount(point)
    visit("v2")
    daemon.stop()


@scenario("offline deny: without a server a cached image does not mount", True)
def offline_deny():
    daemon = Daemon(URL, "timeout 2")
    point = mount("second.erofs")
    all_right(point, "second")
    umount(point)
    nginx.kill()
    mount_fails("second.erofs")
    daemon.stop()


@scenario("the worker is killed, the server gone, then back with another version: what is cached is read, the rest "
          "fails, nothing is mixed", True, differs=True)
def killed_and_replaced():
    publish("v1")
    daemon = Daemon(URL, "timeout 3")
    point = mount("versioned.erofs")
    Child(compare, point, "v1", "sorted", 5).succeed()
    nginx.kill()
    worker = daemon.worker()
    os.kill(worker, signal.SIGKILL)
    daemon.await_worker(worker)
    drop_caches()
    Child(compare, point, "v1", "sorted", 5).succeed()
    reader = Child(compare, point, "v1")
    time.sleep(1)
    expect(not reader.ended(), "what is missing did not wait")
    publish("v2")
    nginx.start()
    expect_eio(reader.answer())
    drop_caches()
    Child(compare, point, "v1", "sorted", 5).succeed()
    umount(point)
    visit("v2")
    daemon.stop()
