#!/usr/bin/python3
"""The update bench's half in the guest, as root: update_guest.py JOB, where JOB is a JSON file from update.py.

Boots here are: a daemon begins, the image is mounted, the same programs run in it, the daemon ends. Nothing is in
memory before; what is on the disk is what earlier boots of the same cache have left there.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from bench import contenders, inside
from bench.contenders import IMAGE, POINT, RUN, WWW
from lib.guest import ROOT
from lib.inside import Failed, contents, eventually

LIMIT = 600                     # seconds for one boot, or for what the daemon does behind it
RECORDED, CARRIED = f"{RUN}/recorded", f"{RUN}/carried"
QUIET = 50                      # looks, 20 ms apart, without an answer
PROGRAMS = """
set -e
bash -c 'for n in 1 2 3; do echo $n; done'
python3 -c 'import asyncio, http.client, json, sqlite3, ssl, subprocess; print(json.dumps(ssl.OPENSSL_VERSION))'
python3 -c 'import requests, yaml; print(yaml.dump({"status": requests.codes.ok}))'
perl -e 'use POSIX; use Socket; use File::Spec; print floor(2.5), "\\n"'
git --version; apt-cache policy; dpkg -l; openssl version; openssl list -digest-algorithms; curl --version
sqlite3 :memory: 'select sqlite_version()'; jq -n 1; xmllint --version; nginx -v; ssh -V; sshd -t -f /dev/null || true
gpg --version; sudo -V; rsync --version; vim.tiny --version; systemctl --version; udevadm --version; ip -V
dig -v; tcpdump --version; file /bin/sh; xz --version; less --version
echo all ran
"""



class Kept:
    """A contender whose cache stays for the next boot; both roots are trusted."""

    def __init__(self, job, version, *directives):
        super().__init__("http", job["work"], job["daemon"])
        self.image = f"debian-{version}.erofs"
        self.directives = *self.front, *directives, *(
            f"roothash debian-{n}.erofs {contents(f'{WWW}/debian-{n}.erofs.roothash').strip()}" for n in (1, 2))

    def serves(self):
        return re.search("the cache in .* is (bound|in use)", contents(self.log))

    def has_updated(self):
        return "came from the version before" in contents(self.log)


class Cachefiles(Kept, contenders.Ours):
    front = ()


class Nbd(Kept, contenders.OursNbd):
    front = ("front nbd",)


def sent():
    """Bytes of the images and their trees that the server has sent."""
    return sum(int(size) for _, uri, size in inside.nginx.lines() if re.search(r"erofs(.verity)?$", uri))


def quiet():
    """Waits until no answer ends during QUIET looks; seconds would count those in which the guest stands still."""
    looks = []

    def same():
        looks.append(len(inside.nginx.lines()))
        return looks[-QUIET:].count(looks[-1]) == QUIET
    eventually(same, "nothing is under way", LIMIT)


def run_programs():
    done = subprocess.run(["/usr/sbin/chroot", POINT, "/bin/sh", "-c", PROGRAMS], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"})
    if done.returncode or "all ran" not in done.stdout:
        raise Failed(f"the programs end with {done.returncode}: {done.stdout[-500:]}")


def boot(name, contender, update=False):
    """One boot: tells seconds and bytes until the programs have run, and what had been sent when nothing was under way
    any more; behind an `update`, when all that both versions have was copied too."""
    contender.start()
    try:
        inside.cold()
        before, wire, start = sent(), inside.wire(), time.monotonic()
        contender.attach(start + LIMIT)
        run_programs()
        seconds, wire, cpu = time.monotonic() - start, inside.wire() - wire, contender.cost()[0]
        if update:
            eventually(contender.has_updated, f"the update ends: {contender.said()}", LIMIT)
        quiet()
        cpu_all, rss = contender.cost()
        inside.tell("boot", name=name, seconds=seconds, wire=wire, cpu=cpu, cpu_all=cpu_all, rss=rss,
                    all_seconds=time.monotonic() - start, sent=sent() - before)
    finally:
        contender.detach()
        os.sync()               # or ending takes longer than end() waits
        contender.end()


def forget(contender):
    shutil.rmtree(contender.store, ignore_errors=True)


def traces(shown):
    """Puts the traces beside the images, or takes them away."""
    for version, trace in (1, RECORDED), (2, CARRIED):
        if shown:
            shutil.copy(trace, f"{WWW}/debian-{version}.erofs.trace")
        else:
            os.unlink(f"{WWW}/debian-{version}.erofs.trace")


def record(kind, job):
    boot("recording", kind(job, 1, f"trace record {RECORDED}"))
    forget(kind(job, 1))
    subprocess.run([f"{ROOT}/contrib/publish/carry-trace", f"{WWW}/debian-1.erofs", RECORDED, f"{WWW}/debian-2.erofs",
                    "-o", CARRIED], check=True)


def plain(kind, job):
    boot("first", kind(job, 1, "trace none"))
    boot("update", kind(job, 2, "trace none"))
    forget(kind(job, 1))


def traced(kind, job):
    traces(True)
    boot("first, trace", kind(job, 1))
    boot("update, trace", kind(job, 2), update=True)
    boot("again, trace", kind(job, 2))
    traces(False)
    forget(kind(job, 1))


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for directory in (RUN, POINT, WWW):
        os.makedirs(directory)
    for name in os.listdir(job["images"]):
        shutil.copy(f"{job['images']}/{name}", WWW)
    os.symlink("debian-1.erofs", f"{WWW}/{IMAGE}")      # by which the link is measured
    inside.nginx.fields = "$bytes_sent $uri $body_bytes_sent"
    inside.start_nginx(job["work"])
    kind = {"cachefiles": Cachefiles, "nbd": Nbd}[job["front"]]
    inside.shape(job["link"])
    for number in range(job["rounds"]):
        plain(kind, job)
        if number == 0:
            record(kind, job)
        traced(kind, job)
    inside.tell("done")


if __name__ == "__main__":
    main()
