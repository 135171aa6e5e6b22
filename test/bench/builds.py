"""Two builds of a Debian root, as two nights make them: the release's last point state, and the same with its security
archive and its updates applied. Each is made from nothing, as root, and published by contrib/publish/erofs-publish."""
import hashlib
import json
import os
import shutil
import subprocess
import tempfile

from lib.archive import CACHE, CONFIGURED, mirror
from lib.commands import run
from lib.guest import ROOT

PACKAGES = ("systemd-sysv,udev,dbus,python3,perl,git,openssl,ca-certificates,curl,nginx-light,openssh-server,gnupg,"
            "sqlite3,rsync,sudo,vim-tiny,less,iproute2,nftables,tzdata,locales,file,xz-utils,bind9-dnsutils,tcpdump,"
            "python3-requests,python3-yaml,libxml2-utils,bash-completion,jq,e2fsprogs,man-db")
NEWER = "-security", "-updates"         # what the second build has besides
# What a build leaves behind, and no image needs.
LEFTOVERS = ("var/cache/apt", "var/cache/debconf", "var/cache/ldconfig", "var/lib/apt/lists", "var/log",
             "etc/resolv.conf", "usr/sbin/policy-rc.d")
BLOCK = 4096
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
        os.mkdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def debian(tree, newer):
    """Makes the tree. Returns its packages: name -> version."""
    run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "--components=main", CONFIGURED, tree, mirror(),
        env={**os.environ, **ENVIRONMENT})
    if newer:
        with open(f"{tree}/etc/apt/sources.list", "a") as file:
            for suite in newer:
                file.write(f"deb {mirror(CONFIGURED + suite)} {CONFIGURED}{suite} main\n")
        with open(f"{tree}/usr/sbin/policy-rc.d", "w") as file:
            file.write("#!/bin/sh\nexit 101\n")       # no service is started
        os.chmod(file.name, 0o755)
        shutil.copy("/etc/resolv.conf", f"{tree}/etc/resolv.conf")
        for words in ("update",), ("-y", "dist-upgrade"):
            run("unshare", "-mpf", "chroot", tree, "apt-get", "-q", *words, env=ENVIRONMENT)
    shown = run("dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", text=True)
    for path in LEFTOVERS:
        remove(f"{tree}/{path}")
    return dict(line.split("\t") for line in shown.splitlines())


def publish(work, tree, version, daemon):
    run(f"{ROOT}/contrib/publish/erofs-publish", "--name", "debian", "--version", str(version), work, tree,
        env={**os.environ, "CACHEFILESD_MINI": daemon})


def make(daemon):
    """The folder with debian-1.erofs, debian-2.erofs, what belongs to them, and packages.json. It is kept in the user's
    cache directory."""
    key = hashlib.sha256(repr((PACKAGES, NEWER, LEFTOVERS)).encode()).hexdigest()[:12]
    kept = f"{CACHE}/update-{key}"
    if not os.path.exists(kept):
        os.makedirs(CACHE, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".update.", dir=CACHE) as work:
            os.mkdir(f"{work}/www")
            packages = []
            for version, newer in (1, ()), (2, NEWER):
                packages.append(debian(f"{work}/tree", newer))
                publish(f"{work}/www", f"{work}/tree", version, daemon)
                shutil.rmtree(f"{work}/tree")
            with open(f"{work}/www/packages.json", "w") as file:
                json.dump(packages, file)
            os.rename(f"{work}/www", kept)
    return kept


def blocks(path):
    with open(path, "rb") as file:
        return list(iter(lambda: file.read(BLOCK), b""))


def describe(folder):
    """What differs: packages, blocks, the size of the trees."""
    with open(f"{folder}/packages.json") as file:
        old, new = json.load(file)
    first, second = (blocks(f"{folder}/debian-{n}.erofs") for n in (1, 2))
    had = set(first)
    return {"packages": len(new), "changed": sum(old.get(name) != version for name, version in new.items()),
            "sizes": [len(first) * BLOCK, len(second) * BLOCK], "differ": sum(b not in had for b in second) * BLOCK,
            "trees": [os.path.getsize(f"{folder}/debian-{n}.erofs.verity") for n in (1, 2)]}
