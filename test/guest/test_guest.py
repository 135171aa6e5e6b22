#!/usr/bin/python3
"""The daemon in a real kernel: test/guest/test_guest.py SERIES [DAEMON [SCENARIO...]]

Makes EROFS images of real files and certificates of a test CA, boots the test kernel SERIES (6.12,
6.1 or 6.12-patched) and passes on what test/guest/inside.py says in there: lines `ok - ...` and
`not ok - ...`.
DAEMON is ./cachefilesd-mini unless named. Needs no root; exits with 1 unless all passed.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import guest

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 1200          # seconds; an idle machine needs a quarter of it
BIG = 12 << 20


def quiet(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"test_guest: {' '.join(command)}\n{done.stdout}")


# ---- images -----------------------------------------------------------------------------------


def files_below(top):
    for directory, subdirectories, names in os.walk(top):
        subdirectories[:] = sorted(d for d in subdirectories if d != "__pycache__")
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.isfile(path) and os.access(path, os.R_OK):
                yield path


def copy_some(source, target, limit, count):
    """Copies files of source until limit bytes or count files are reached, links as links."""
    for path in files_below(source):
        size = os.lstat(path).st_size
        if size > limit or count == 0:
            continue
        limit, count = limit - size, count - 1
        copy = os.path.join(target, os.path.relpath(path, source))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy, follow_symlinks=False)


def big_file(path):
    """12 MiB and some bytes of what this machine's largest libraries are made of."""
    libraries = sorted(files_below("/usr/lib"), key=os.path.getsize, reverse=True)
    with open(path, "wb") as file:
        while file.tell() < BIG:
            with open(libraries.pop(0), "rb") as library:
                file.write(library.read(BIG - file.tell()))
        file.write(b"not a whole page")


def odd_files(tree):
    """What real trees seldom have: sizes around a page, depth, long and strange names."""
    os.makedirs(f"{tree}/odd/" + "/".join(["deep"] * 24))
    for size in (0, 1, 17, 4095, 4096, 4097, 131071, 131072, 131073):
        with open(f"{tree}/odd/{size}", "wb") as file:
            file.write(hashlib.shake_128(str(size).encode()).digest(size))
    with open(f"{tree}/odd/" + "deep/" * 24 + "bottom", "w") as file:
        file.write("the bottom\n")
    for name in ("a name with blanks", "üñí", "n" * 200):
        os.symlink(f"../big/{name}", f"{tree}/odd/{name}")
    os.symlink("/" + "t" * 1000, f"{tree}/odd/long target")


def describe(tree):
    """path -> [kind, value] of all that is below tree, which the guest compares with its mount."""
    entries = {}
    for directory, subdirectories, names in os.walk(tree):
        entries[os.path.relpath(directory, tree)] = ["directory", sorted(subdirectories + names)]
        for name in subdirectories + names:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                entries[os.path.relpath(path, tree)] = ["link", os.readlink(path)]
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
                entries[os.path.relpath(path, tree)] = ["file", digest]
    return entries


def mkfs(image, tree, *options):
    quiet("mkfs.erofs", "-T0", *options, image, tree)


def make_images(work):
    www = f"{work}/www"
    os.mkdir(www)
    plain, second = f"{work}/plain", f"{work}/second"
    os.mkdir(plain)
    big_file(f"{plain}/big")
    odd_files(plain)
    library = os.path.realpath("/usr/bin/python3").replace("/bin/", "/lib/")
    copy_some(library, f"{plain}/python", 24 << 20, 700)
    copy_some("/usr/share", f"{plain}/share", 8 << 20, 400)
    copy_some("/usr/lib", second, 8 << 20, 200)
    for name, tree in (("plain", plain), ("second", second)):
        with open(f"{work}/{name}.json", "w") as file:
            json.dump(describe(tree), file)
        mkfs(f"{www}/{name}.erofs", tree)
    mkfs(f"{www}/lz4.erofs", plain, "-zlz4")
    mkfs(f"{www}/lz4-64k.erofs", plain, "-zlz4", "-C65536")
    share_a_blob(www, second)
    make_versions(work)
    os.rename(f"{plain}/big", f"{work}/plain.big")
    shutil.rmtree(plain)
    shutil.rmtree(second)


def make_versions(work):
    """Two images of the same size, with the same files of the same sizes and not one byte in common."""
    for version in ("v1", "v2"):
        tree = f"{work}/{version}"
        os.mkdir(tree)
        for number in range(40):
            with open(f"{tree}/{number}", "wb") as file:
                file.write(hashlib.shake_128(f"{version} {number}".encode()).digest(number * 12345))
        with open(f"{work}/{version}.json", "w") as file:
            json.dump(describe(tree), file)
        mkfs(f"{work}/{version}.erofs", tree)
        shutil.rmtree(tree)
    if os.path.getsize(f"{work}/v1.erofs") != os.path.getsize(f"{work}/v2.erofs"):
        sys.exit("test_guest: the two versions differ in size")


def share_a_blob(www, tree):
    """Two images of one tree whose data are in one blob: mkfs.erofs makes the same blob each time."""
    for number in ("1", "2"):
        mkfs(f"{www}/shared{number}.erofs", tree, f"--blobdev={www}/blob{number}", "--chunksize=65536",
             "-U", f"0000000{number}-0000-4000-8000-000000000000")
    quiet("cmp", f"{www}/blob1", f"{www}/blob2")
    os.rename(f"{www}/blob1", f"{www}/shared.blob")
    os.unlink(f"{www}/blob2")


# ---- certificates -----------------------------------------------------------------------------

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-newkey", "rsa:2048")


def make_ca(work, name):
    quiet("openssl", "req", "-x509", "-nodes", *EC, "-days", "2", "-subj", f"/CN=test {name}",
          "-keyout", f"{work}/{name}.key", "-out", f"{work}/{name}.pem")


def make_certificate(work, name, key):
    """A server's certificate of the test CA, for localhost and its addresses."""
    quiet("openssl", "req", "-nodes", *key, "-subj", f"/CN=test server {name}",
          "-keyout", f"{work}/{name}.key", "-out", f"{work}/{name}.csr")
    with open(f"{work}/extensions", "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n"
                   "basicConstraints=critical,CA:false\nextendedKeyUsage=serverAuth\n")
    quiet("openssl", "x509", "-req", "-in", f"{work}/{name}.csr", "-CA", f"{work}/ca.pem",
          "-CAkey", f"{work}/ca.key", "-CAcreateserial", "-days", "2",
          "-extfile", f"{work}/extensions", "-out", f"{work}/{name}.pem")


def make_certificates(work):
    make_ca(work, "ca")
    make_ca(work, "other-ca")
    make_certificate(work, "ec", EC)
    make_certificate(work, "rsa", RSA)


# ---- all together -----------------------------------------------------------------------------


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    series = sys.argv[1]
    daemon = os.path.realpath(sys.argv[2] if len(sys.argv) > 2 else f"{HERE}/../../cachefilesd-mini")
    if not os.access(daemon, os.X_OK):
        sys.exit(f"test_guest: there is no daemon {daemon}: run make first")
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        make_certificates(work)
        make_images(work)
        command = ["/usr/bin/python3", f"{HERE}/inside.py", series, daemon, *sys.argv[3:]]
        status = guest.run(series, work, command, timeout=TIMEOUT,
                           line_to=lambda line: print(line, flush=True))
    if status not in (0, 1):
        print(f"not ok - {series}: the guest ended with {status}")
    sys.exit(1 if status else 0)


if __name__ == "__main__":
    main()
