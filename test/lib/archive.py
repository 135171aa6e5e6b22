"""Debian's package archive, as this machine is configured for it: packages of other releases and architectures, and
its stock kernels. Nothing is installed; what is made is kept in the user's cache directory."""
import contextlib
import glob
import os
import re
import shutil
import subprocess
import tempfile

from lib.commands import run

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cachefilesd-mini")

# Stock kernels for virtual machines: the suite that has the series.
STOCK = {"6.1": "bookworm", "6.12": "bookworm-backports", "7": "trixie-backports"}
CONFIGURED = "bookworm"     # the suite for which this machine has a line
NEWER = "trixie"            # one that has OpenSSL's FIPS provider, and GnuTLS 3.8
NEWER_TREE = f"{CACHE}/servers-{NEWER}"

FIPS_CONF = """openssl_conf = init
.include /etc/ssl/fipsmodule.cnf
[init]
providers = providers
alg_section = algorithms
[providers]
fips = fips_sect
base = base_sect
[base_sect]
activate = 1
[algorithms]
default_properties = fips=yes
"""


def mirror(suite=CONFIGURED):
    """The machine's own package archive of a suite: the address of the first list with it."""
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for entry in re.split(r"\n\s*\n", open(path).read()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", entry, re.M))
            if "deb" in fields.get("Types", "").split() and suite in fields.get("Suites", "").split():
                return fields["URIs"].split()[0]
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if os.path.exists(path):
            found = re.search(rf"^deb\s+(?:\[.*\]\s+)?(\S+)\s+{suite}\s", open(path).read(), re.M)
            if found:
                return found[1]
    raise SystemExit(f"no package archive of {suite} is configured in /etc/apt")


class Apt:
    """apt for one suite and architecture, with folders of its own in `work`."""

    def __init__(self, work, suite, machine="amd64"):
        self.work = work
        for folder in ("lists/partial", "cache/archives/partial", "tree", "debs"):
            os.makedirs(f"{work}/{folder}")
        with open(f"{work}/sources.list", "w") as file:
            file.write(f"deb {mirror()} {suite} main\n")
        self.options = [
            "-q", f"-oAPT::Architecture={machine}", f"-oAPT::Architectures={machine}",
            f"-oDir::Etc::sourcelist={work}/sources.list", "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={work}/lists", f"-oDir::Cache={work}/cache", "-oDir::State::status=/dev/null",
            "-oAcquire::Languages=none", "-oAPT::Sandbox::User=root"]
        run("apt-get", *self.options, "update")

    def field(self, package, field):
        """Of the newest version; "" if there is no such package."""
        shown = subprocess.run(["apt-cache", *self.options, "show", "--no-all-versions", package],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        return next(iter(re.findall(rf"^{field}: (.*)$", shown, re.M)), "")

    def unpack(self, *packages):
        """Downloads them and unpacks them into one tree, which it returns."""
        run("apt-get", *self.options, "download", *packages, cwd=f"{self.work}/debs")
        for deb in glob.glob(f"{self.work}/debs/*.deb"):
            run("dpkg-deb", "-x", deb, f"{self.work}/tree")
        return f"{self.work}/tree"


@contextlib.contextmanager
def apt(suite, machine="amd64"):
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".archive.", dir=CACHE) as work:
        yield Apt(work, suite, machine)


def foreign_program(machine, package, path):
    """A program of another architecture: the file `path` of its Debian package."""
    kept = f"{CACHE}/boot-{machine}-{CONFIGURED}-{package}"
    if not os.path.exists(kept):
        with apt(CONFIGURED, machine) as archive:
            shutil.copy(f"{archive.unpack(package)}/{path}", kept)
    return kept


def newer_root():
    """The tree of a Debian with nginx, whose OpenSSL in FIPS mode is as strict as it can be if OPENSSL_CONF is
    /etc/ssl/fips.cnf, and with GnuTLS 3.8. Made as root, some minutes the first time."""
    if not os.path.exists(NEWER_TREE):
        os.makedirs(CACHE, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".servers.", dir=CACHE) as tree:
            run("debootstrap", "--variant=minbase", "--include=nginx,openssl,openssl-provider-fips,gnutls-bin", NEWER,
                tree, mirror())
            module, = glob.glob(f"{tree}/usr/lib/*/ossl-modules/fips.so")
            run("chroot", tree, "openssl", "fipsinstall", "-quiet", "-pedantic", "-out", "/etc/ssl/fipsmodule.cnf",
                "-module", module.removeprefix(tree))
            with open(f"{tree}/etc/ssl/fips.cnf", "w") as file:
                file.write(FIPS_CONF)
            os.rename(tree, NEWER_TREE)
            os.mkdir(tree)      # which ends with the block
    return NEWER_TREE


def stock_kernel(series):
    """The folder of Debian's own kernel for virtual machines of that series (a key of STOCK), unmodified: vmlinuz,
    config and lib/modules/RELEASE. The newest that the suite has when it is first asked for."""
    kept = glob.glob(f"{CACHE}/linux-stock-{series}-*")
    if kept:
        return kept[0]
    with apt(STOCK[series]) as archive:
        release = re.search(r"linux-image-(\S+)", archive.field("linux-image-cloud-amd64", "Depends"))[1]
        # From 7 on a kernel is in several packages, all of it beside its modules.
        names = [f"linux-{part}-{release}" for part in ("image", "binary", "modules", "base")]
        tree = archive.unpack(*(name for name in names if archive.field(name, "Package")))
        kernel = f"{archive.work}/kernel"
        modules = next(path for path in (f"{tree}/usr/lib/modules", f"{tree}/lib/modules") if os.path.isdir(path))
        os.makedirs(f"{kernel}/lib")
        os.rename(modules, f"{kernel}/lib/modules")
        for name in ("vmlinuz", "config"):
            places = f"{tree}/boot/{name}-{release}", f"{kernel}/lib/modules/{release}/{name}"
            os.rename(next(path for path in places if os.path.exists(path)), f"{kernel}/{name}")
        run("/sbin/depmod", "-b", kernel, release)
        os.rename(kernel, f"{CACHE}/linux-stock-{series}-{release}")
    return f"{CACHE}/linux-stock-{series}-{release}"
