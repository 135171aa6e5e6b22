"""Files that the host makes for the test kernel: images of its own files, descriptions of their contents, certificates,
and an earlier program."""
import hashlib
import json
import os
import shutil
import struct
import tempfile

from lib import archive, certs
from lib.commands import run
from lib.erofs import mkfs
from lib.guest import ROOT
from lib.verity import tree as verity_tree

BIG = 12 << 20
ODD = (3 << 20) + 777           # bytes of an image that ends in the middle of a sector
SECTOR = 512
EARLIER = "3dd679a"             # the last commit of the version 0.1, which knew no block devices


def files_below(top):
    for directory, subdirectories, names in os.walk(top):
        subdirectories[:] = sorted(d for d in subdirectories if d != "__pycache__")
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.isfile(path) and os.access(path, os.R_OK):
                yield path


def copy_some(source, target, limit, count):
    """Copies files of `source`, links as links: at most `limit` bytes and `count` files."""
    for path in files_below(source):
        size = os.lstat(path).st_size
        if size > limit or count == 0:
            continue
        limit, count = limit - size, count - 1
        copy = os.path.join(target, os.path.relpath(path, source))
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy, follow_symlinks=False)


def big_file(path):
    """Makes a file of 12 MiB and some bytes: the contents of this machine's largest libraries."""
    libraries = sorted(files_below("/usr/lib"), key=os.path.getsize, reverse=True)
    with open(path, "wb") as file:
        while file.tell() < BIG:
            with open(libraries.pop(0), "rb") as library:
                file.write(library.read(BIG - file.tell()))
        file.write(b"not a whole page")


def odd_files(tree):
    """Makes files that real trees seldom have: of sizes around a page, deep down, with long and strange names."""
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
    """path -> [kind, value] of the files, links and folders of a tree; the guest compares its mount with it."""
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


def make(path, tree, *options):
    """Makes the image at `path`."""
    mkfs(path, tree, "-T0", *options)


def describe_and_make(work, name, tree, path):
    """Makes the image at `path`, and NAME.json with its contents."""
    with open(f"{work}/{name}.json", "w") as file:
        json.dump(describe(tree), file)
    make(path, tree)


def make_tree(work, name):
    """Makes the tree of digests of an image, and NAME.root with its root hash."""
    with open(f"{work}/www/{name}.erofs", "rb") as file:
        hashes, root = verity_tree(file.read())
    with open(f"{work}/www/{name}.erofs.verity", "wb") as file:
        file.write(hashes)
    with open(f"{work}/{name}.root", "w") as file:
        file.write(root)


def images(work, front="cachefiles"):
    """Makes the images that the scenarios mount; for block devices also such as hold other file systems."""
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
        describe_and_make(work, name, tree, f"{www}/{name}.erofs")
    make_tree(work, "plain")
    make(f"{www}/lz4.erofs", plain, "-zlz4")
    make(f"{www}/lz4-64k.erofs", plain, "-zlz4", "-C65536")
    share_a_blob(www, second)
    if front == "nbd":
        other_images(www, second)
    make_updates(work)
    make_versions(work)
    os.rename(f"{plain}/big", f"{work}/plain.big")
    shutil.rmtree(plain)
    shutil.rmtree(second)


def make_versions(work):
    """Makes two images of one size, with files of the same names and sizes, of which no byte is the same."""
    for version in ("v1", "v2"):
        tree = f"{work}/{version}"
        os.mkdir(tree)
        for number in range(40):
            with open(f"{tree}/{number}", "wb") as file:
                file.write(hashlib.shake_128(f"{version} {number}".encode()).digest(number * 12345))
        describe_and_make(work, version, tree, f"{work}/{version}.erofs")
        shutil.rmtree(tree)
    assert os.path.getsize(f"{work}/v1.erofs") == os.path.getsize(f"{work}/v2.erofs"), "the versions differ in size"


def make_updates(work):
    """Makes two builds of a tree with their trees of digests: in the second a sixteenth of the files is new, one was
    removed and a folder has another name."""
    tree, www = f"{work}/update", f"{work}/www"
    copy_some("/usr/lib", tree, 24 << 20, 600)
    for build in "1", "2":
        image = f"{www}/update-{build}.erofs"
        if build == "2":
            for number, path in enumerate(files_below(tree)):
                if number % 16 == 0 and not os.path.islink(path):
                    with open(path, "wb") as file:
                        file.write(hashlib.shake_128(path.encode()).digest(os.path.getsize(path) + 5000))
            os.unlink(next(path for path in files_below(tree) if not os.path.islink(path)))
            folder = sorted(entry.path for entry in os.scandir(tree) if entry.is_dir())[0]
            os.rename(folder, f"{tree}/zzz")
        with open(f"{work}/update-{build}.json", "w") as file:
            json.dump(describe(tree), file)
        mkfs(image, tree, "-T0", "-Enoinline_data")
        run("/usr/sbin/veritysetup", "format", "--salt=-", f"--root-hash-file={work}/update-{build}.roothash", image,
            f"{image}.verity")
        os.chmod(f"{image}.verity", 0o644)
    shutil.rmtree(tree)


def other_images(www, tree):
    """Makes images of one tree in other file systems, and one with a table of partitions."""
    run("mksquashfs", tree, f"{www}/squashfs", "-noappend", "-all-root", "-quiet", "-no-progress")
    run("/usr/sbin/mkfs.ext4", "-q", "-b", "1024", "-d", tree, f"{www}/ext4", "32M")
    run("/usr/sbin/debugfs", "-w", "-R", "rmdir lost+found", f"{www}/ext4")
    with open(f"{www}/second.erofs", "rb") as file:
        image = file.read()
    start, end = 2048, 2048 + len(image) // SECTOR
    # One partition of the type 0x83 in a table of the old kind.
    entry = struct.pack("<B3sB3sII", 0, b"\xff\xff\xff", 0x83, b"\xff\xff\xff", start, end - start)
    with open(f"{www}/disk", "wb") as file:
        file.write((bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa")
        file.seek(start * SECTOR)
        file.write(image)
    with open(f"{www}/odd", "wb") as file:
        file.write(hashlib.shake_128(b"odd").digest(ODD))


def share_a_blob(www, tree):
    """Makes two images of one tree with their data in one blob: mkfs.erofs makes the same blob each time."""
    for number in ("1", "2"):
        make(f"{www}/shared{number}.erofs", tree, f"--blobdev={www}/blob{number}", "--chunksize=65536",
             "-U", f"0000000{number}-0000-4000-8000-000000000000")
    run("cmp", f"{www}/blob1", f"{www}/blob2")
    os.rename(f"{www}/blob1", f"{www}/shared.blob")
    os.unlink(f"{www}/blob2")


def earlier(work):
    """Copies the program of the commit EARLIER, which is built once and kept in the user's cache directory."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cachefilesd-mini")
    program = f"{cache}/daemon-{EARLIER}"
    if not os.path.exists(program):
        os.makedirs(cache, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as tree:
            run("tar", "-xC", tree, data=run("git", "-C", ROOT, "archive", EARLIER))
            run("make", "-s", "-C", tree, env=dict(os.environ, MAKEFLAGS=""))
            shutil.copy(f"{tree}/cachefilesd-mini", f"{program}.new")
        os.rename(f"{program}.new", program)
    shutil.copy(program, f"{work}/earlier")


def newer(work):
    """Links the tree of a newer Debian's servers, which test/client/peers_tls13.py makes, for the scenario that is run
    from there."""
    os.symlink(archive.NEWER_TREE, f"{work}/newer")


def certificates(work):
    """Makes two authorities, and for localhost a certificate of the first one with each kind of key."""
    certs.make_ca(work)
    certs.make_ca(work, "other-ca")
    certs.make_server(work, "ec")
    certs.make_server(work, "rsa", key=certs.RSA)
