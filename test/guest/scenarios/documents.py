"""README.md's commands, to the letter but for the addresses; what docs/device.md says of a disk's wear."""
import contextlib
import os
import shutil
import signal
import time

from guest.common import (all_right, at_once, BLOCK, CA, checksum, contents, DAEMON, eventually, expect, nginx, program,
                          RUN, scenario, serving, umount, URL, URL_TLS)
from lib.documents import run_by
from lib.find import TOP
from lib.tap import note

README, TEST = f"{TOP}/../README.md", "test/guest/scenarios/documents.py"
FOLDER, POINT = f"{RUN}/readme", "/mnt"
# In the order of the journal's writes: the kernel's own every 5 s, the daemon's look at its marks after 10 s.
QUIET = 12


def obey(word, **mine):
    """Runs the README's commands of that word in FOLDER, with these addresses in place of its own."""
    commands, = run_by(README, TEST, word)
    for theirs, own in mine.values():
        expect(theirs in commands, f"README.md, {word}: no {theirs}")
        commands = commands.replace(theirs, own)
    status, output = program("env", "-C", FOLDER, f"PATH={FOLDER}/bin:{os.environ['PATH']}:/usr/sbin",
                             f"CACHEFILESD_MINI={DAEMON}", "sh", "-ec", commands)
    expect(status == 0, f"the commands of `{word}` end with {status}: {output}")
    return output


def write_program(name, text):
    with open(f"{FOLDER}/bin/{name}", "w") as file:
        file.write(f"#!/bin/sh\n{text}\n")
    os.chmod(f"{FOLDER}/bin/{name}", 0o755)


@contextlib.contextmanager
def workplace():
    """FOLDER, where the daemon has a cache and this guest's authority, and modprobe nothing to do."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(f"{FOLDER}/bin")
    os.symlink(f"{TOP}/../contrib", f"{FOLDER}/contrib")
    directory = f"/run/disk/{os.getpid()}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{FOLDER}/conf", "w") as conf:
        conf.write(f"dir {directory}\n{CA}\ntrace none\n")
    write_program("cachefilesd-mini", f'exec {DAEMON} -f {FOLDER}/conf "$@"')
    write_program("modprobe", "[ $* = nbd ]")
    try:
        yield
        umount(POINT)
    finally:
        with contextlib.suppress(OSError, ValueError):
            pid = int(contents("/run/cachefilesd.pid"))
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not os.path.exists(f"/proc/{pid}"), "end of the daemon")


@scenario("README: an image on a running host", series=BLOCK)
def host():
    os.symlink("plain.erofs", "www/debian.erofs")
    try:
        with workplace():
            output = obey("host", server=("https://images.example.org/erofs/", URL_TLS))
            expect("debian.erofs" in output and "/dev/nbd0" in output, f"--status: {output}")
            all_right(POINT, "plain")
    finally:
        os.unlink("www/debian.erofs")


@scenario("README: a signed image from a mirror that nobody trusts", series=BLOCK)
def signed():
    with workplace():
        shutil.copytree(os.path.dirname(os.__file__) + "/encodings", f"{FOLDER}/debian")
        obey("publish", published=("/var/www/html/erofs", f"{os.getcwd()}/www"), tree=("/srv/build/", f"{FOLDER}/"))
        obey("device", key=("/etc/", f"{FOLDER}/"), mirror=("http://mirror.example.net/erofs/", URL))
        for name in os.listdir(f"{FOLDER}/debian"):
            path = f"{FOLDER}/debian/{name}"
            if os.path.isfile(path):
                expect(checksum(f"{POINT}/{name}") == checksum(path), f"{name} differs")
        status, output = program(f"{FOLDER}/bin/cachefilesd-mini", "--status")
        expect(contents("www/debian-1.erofs.roothash") in output, f"--status: {output}")


def written():
    """Bytes that the disk of the cache has been given to write so far."""
    os.sync()
    return int(contents("/sys/block/ubda/stat").split()[6]) * 512


@scenario("a disk's wear: for each byte fetched at most 1.1 are written, and none while nothing is read")
def wear():
    before, start = written(), nginx.mark()
    with serving("plain.erofs", URL, "trace none") as (_, point):
        at_once(point)
        taken, fetched = written() - before, nginx.sent(start)
        note(f"{taken} bytes were written for {fetched} that were fetched: {taken / fetched:.3f}")
        expect(fetched > 1 << 20 and taken <= 1.1 * fetched, f"{taken} bytes were written for {fetched}")
        quiet = written()
        time.sleep(QUIET)
        idle = written() - quiet
        expect(idle == 0, f"{idle} bytes were written while nothing was read")
