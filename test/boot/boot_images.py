"""The images of the boot tests: a Debian root as an EROFS image, initramfs images made in a chroot of that Debian; and
the server's certificates. The two trees are kept in the user's cache directory."""
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from lib import certs, erofs
from lib.archive import CACHE, mirror
from lib.vm import HOST

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

SUITE = "bookworm"
# The packages of a root, by its init.
BASES = {"systemd": "systemd-sysv,udev,dbus", "sysvinit": "sysvinit-core,udev"}
# Without busybox an initramfs of initramfs-tools has only klibc's commands.
TOOLS = ["initramfs-tools", "dracut-core", "dracut-network", "zstd", "e2fsprogs"]
NAME = "debian.erofs"
SYSVINIT = "debian-sysvinit.erofs"
# The same root in others: an image's name, and the command that makes it of a tree.
IMAGES = {
    NAME: ["mkfs.erofs", "--quiet", "IMAGE", "TREE"],
    "debian-lz4.erofs": ["mkfs.erofs", "--quiet", "-zlz4", "IMAGE", "TREE"],
    "debian.squashfs": ["mksquashfs", "TREE", "IMAGE", "-quiet", "-no-progress"],
    SYSVINIT: ["mkfs.erofs", "--quiet", "IMAGE", "TREE"],
    "debian.ext4": ["mkfs.ext4", "-q", "-d", "TREE", "IMAGE", "600M"],
}

# Units may be slow: the machine may be busy.
SLOW = "[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n"

# Units that are left out, since an emulator is slow: for a disk and a screen that are missing, and others without use
# here.
MASKED = ["apt-daily.timer", "apt-daily-upgrade.timer", "dbus.service", "dbus.socket", "dev-hugepages.mount",
          "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service",
          "modprobe@.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-journal-flush.service",
          "systemd-logind.service", "systemd-pstore.service"]

# The image's program: it prints the system's state to the console, then does what boot-check= on the kernel's command
# line demands.
CHECK_PATH = "/usr/lib/boot-check/run"
CHECK = r"""#!/bin/sh
# A service; or, as init=, the only process.
export PATH=/usr/sbin:/usr/bin
say() { echo "boot-check: $*" >/dev/console; }
wanted=
read -r line </proc/cmdline
for word in $line; do
	case $word in boot-check=*) wanted=${word#*=} ;; esac
done
if [ -d /run/systemd/system ]; then
	# It waits until all units have been started.
	say "system $(systemctl is-system-running --wait)"
	failed=$(systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | tr '\n' ' ')
	say "failed units: ${failed:-none}"
fi
say "root $(stat -f -c %T /) of $(sed -n 's#^\([^ ]*\) [^ ]*/image \([^ ]*\) .*#\1 \2#p' /proc/mounts)"
# While the daemon is dead nothing is read: there is this shell, /proc, and a program in memory.
daemons()
{
	daemons=
	for at in /proc/[0-9]*; do
		read -r name 2>/dev/null <"$at/comm" || continue
		# By the name in memory too.
		case $name in cachefilesd-min | @cachefilesd-mi) daemons="$daemons ${at#/proc/}" ;; esac
	done
}
pause()
{
	read -r now rest </proc/uptime
	end=$((${now%%.*} + $1))
	while read -r now rest </proc/uptime && [ "${now%%.*}" -lt "$end" ]; do :; done
}
daemons
case $wanted in
*kill*)
	cat /etc/resolv.conf >/dev/null 2>&1
	read -r keeper </run/cachefilesd-mini/pid
	cd /
	case $wanted in *half*) sums=half ;; *) sums=some ;; esac
	sha256sum -c /usr/lib/boot-check/$sums >/run/killed 2>&1 &
	pause 2
	for pid in $daemons; do
		[ "$pid" = "$keeper" ] || kill -9 "$pid"
	done
	pause 2
	daemons
	echo "boot-check: killing worker, then$daemons" >/dev/kmsg
	kill -9 $daemons
	pause 4
	(
		# Else systemd ends it with this service.
		[ ! -w /sys/fs/cgroup/cgroup.procs ] || echo 0 >/sys/fs/cgroup/cgroup.procs
		PATH=/run/initramfs
		@cachefilesd-mini -p /run/cachefilesd-mini/pid -f /run/cachefilesd-mini/cachefilesd.conf
	)
	say "started again $?"
	wait
	wrong=$(grep -v ': OK$' /run/killed)
	say "killed: ${wrong:-right, $(wc -l </run/killed) files}"
	echo 3 >/proc/sys/vm/drop_caches
	daemons
	;;
esac
daemon=
for pid in $daemons; do
	daemon="$daemon $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c 1)"
done
say "daemon${daemon:- none}"
say "written before $([ -e /var/lib/boot-check ] && echo yes || echo no)"
touch /var/lib/boot-check
case $wanted in
*upgrade*)
	/usr/sbin/cachefilesd-mini -p /run/cachefilesd-mini/pid --upgrade 2>/run/upgrade
	say "upgrade $? $(head -n 1 /run/upgrade)$(dmesg | grep upgrade | tail -n 2)"
	;;
esac
for sums in some half; do
	case $wanted in *$sums*) ;; *) continue ;; esac
	cd /
	wrong=$(sha256sum -c /usr/lib/boot-check/$sums 2>&1 | grep -v ': OK$')
	if [ -z "$wrong" ]; then
		say "sums right, $(wc -l </usr/lib/boot-check/$sums) files"
	else
		say "sums WRONG: $(echo "$wrong" | head -n 3)"
	fi
done
case $wanted in
*status*)
	say "version $(cat /usr/lib/boot-check/version)"
	say "fallback $(cat /run/cachefilesd-mini/fallback 2>/dev/null)"
	say "errors $(dmesg -l err | grep -c 'is booted in its place')"
	/usr/sbin/cachefilesd-mini --status >/run/boot-check.status 2>&1
	while read -r line; do
		case $line in cachefilesd-mini* | mirror* | *verified*) say "status $line" ;; esac
	done </run/boot-check.status
	;;
esac
say "done"
case $wanted in
*reboot*) if [ $$ = 1 ]; then reboot -ff; else reboot; fi ;;
esac
[ $$ != 1 ] || sleep infinity
"""

# The program runs behind the scripts of runlevel 2.
INITTAB = """id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l2:2:wait:/etc/init.d/rc 2
l6:6:wait:/etc/init.d/rc 6
T0:2:respawn:/sbin/getty -L ttyS0 9600 vt100
bc:2:once:/usr/lib/boot-check/run
"""

UNIT = """[Unit]
Description=The check of the boot tests
[Service]
Type=exec
ExecStart=/usr/lib/boot-check/run
"""


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def chroot(tree, *command):
    """Runs a command in a tree with /proc, /sys and /dev, which are unmounted at its end."""
    mounts = 'mount -t proc proc "$0/proc"; mount -t sysfs sysfs "$0/sys"; mount --rbind /dev "$0/dev"; ' \
        'exec chroot "$0" "$@"'
    log = tree + ".log"
    with open(log, "ab") as out:
        done = subprocess.run(["unshare", "-mpf", "--propagation", "slave", "sh", "-c", mounts, tree, *command],
                              stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive",
                                   "LC_ALL": "C"})
    if done.returncode:
        print("".join(f"# {line}" for line in open(log, errors="replace").readlines()[-20:]), flush=True)
        raise SystemExit(f"boot: {' '.join(command)} failed")


def debian(kind):
    """The archive of a Debian tree, made once: "root" or "sysvinit", of which an image is made, or "tools", which makes
    initramfs images."""
    base = BASES["sysvinit" if kind == "sysvinit" else "systemd"]
    recipe = (SUITE, base, TOOLS) if kind == "tools" else (SUITE, base)
    key = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    archive = f"{CACHE}/boot-{kind}-{key}.tar"
    if os.path.exists(archive):
        return archive
    tree = f"{CACHE}/boot-{kind}.{os.getpid()}"
    try:
        if kind != "tools":
            os.makedirs(CACHE, exist_ok=True)
            print(f"# a Debian {SUITE} by debootstrap, some minutes the first time", flush=True)
            run("debootstrap", "--variant=minbase", f"--include={base}", SUITE, tree, mirror(),
                stdout=subprocess.DEVNULL)
        else:
            unpack(debian("root"), tree)
            print(f"# {' '.join(TOOLS)} in a chroot", flush=True)
            shutil.copy("/etc/resolv.conf", f"{tree}/etc/resolv.conf")
            chroot(tree, "apt-get", "-q", "update")
            chroot(tree, "apt-get", "-q", "install", "-y", "--no-install-recommends", *TOOLS)
        run("tar", "-C", tree, "-cf", archive + ".new", "--exclude=./var/cache/apt/archives/*.deb",
            "--exclude=./var/lib/apt/lists/*", ".")
        os.rename(archive + ".new", archive)
    finally:
        if os.path.exists(f"{tree}.log"):
            os.unlink(f"{tree}.log")
        shutil.rmtree(tree, ignore_errors=True)
    return archive


def unpack(archive, tree):
    os.makedirs(tree, exist_ok=True)
    run("tar", "-C", tree, "-xpf", archive)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def program_files(tree):
    """The paths of the files in /usr without documentation."""
    for folder, folders, names in os.walk(f"{tree}/usr"):
        folders[:] = sorted(name for name in folders if name not in ("doc", "man", "locale", "boot-check"))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def write_check(tree, version=1):
    """Writes the program, its sums, and a number by which the image's version is known."""
    write(f"{tree}{CHECK_PATH}", CHECK, 0o755)
    write(f"{tree}/usr/lib/boot-check/version", f"{version}\n")
    write_sums(tree)


def write_sums(tree):
    """Writes the sums that the booted system compares: of half of the files, or of some of them."""
    files = list(program_files(tree))
    for name, step in (("half", 2), ("some", 20)):
        with open(f"{tree}/usr/lib/boot-check/{name}", "w") as sums:
            for path in files[::step]:
                with open(path, "rb") as file:
                    sums.write(f"{hashlib.sha256(file.read()).hexdigest()}  {os.path.relpath(path, tree)}\n")


def make_image(work, name):
    """Makes the image work/www/name of the tree work/root or work/sysvinit."""
    tree = f"{work}/sysvinit" if name == SYSVINIT else f"{work}/root"
    path = f"{work}/www/{name}"
    os.makedirs(f"{work}/www", exist_ok=True)
    run(*({"IMAGE": path + ".new", "TREE": tree}.get(word, word) for word in IMAGES[name]),
        stdout=subprocess.DEVNULL, env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    os.rename(path + ".new", path)
    return path


def make_verity(image):
    """Makes dm-verity's tree IMAGE.verity. Returns the hash at its root."""
    made = run("/usr/sbin/veritysetup", "format", image, f"{image}.verity", stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^Root hash:\s*(\S+)", made, re.M)[1]


def make_root(work, daemon):
    """Makes the tree work/root, which stays for NFS."""
    tree = make_tree(work, daemon, "root")
    write(f"{tree}/etc/systemd/system/boot-check.service", UNIT)
    write(f"{tree}/etc/systemd/system.conf.d/slow.conf", SLOW)
    for unit in MASKED:
        os.symlink("/dev/null", f"{tree}/etc/systemd/system/{unit}")
    wants = f"{tree}/etc/systemd/system/multi-user.target.wants"
    os.makedirs(wants, exist_ok=True)
    os.symlink("../boot-check.service", f"{wants}/boot-check.service")


def make_sysvinit(work, daemon):
    """Makes the tree work/sysvinit."""
    write(f"{make_tree(work, daemon, 'sysvinit')}/etc/inittab", INITTAB)


def make_tree(work, daemon, kind):
    """Makes the tree work/kind of a Debian, with the daemon, the check and its sums. Returns its path."""
    tree = f"{work}/{kind}"
    unpack(debian(kind), tree)
    run("make", "-s", "-C", ROOT, "install", f"DESTDIR={tree}", "PREFIX=/usr")
    shutil.copy(daemon, f"{tree}/usr/sbin/cachefilesd-mini")
    write(f"{tree}/etc/hostname", "from-the-web\n")
    write(f"{tree}/etc/machine-id", "")
    if os.path.exists(f"{tree}/var/lib/dbus/machine-id"):
        os.unlink(f"{tree}/var/lib/dbus/machine-id")
    write(f"{tree}/etc/fstab", "")
    write_check(tree)
    return tree


def make_next(work):
    """Makes the tree work/next, the next version of work/root: each eighth file has some bytes more."""
    tree = f"{work}/next"
    run("cp", "-al", f"{work}/root", tree)
    # What is written must not be the other tree's too.
    for path in list(program_files(tree))[::8]:
        run("cp", "--preserve=all", "--remove-destination", path.replace(tree, f"{work}/root", 1), path)
        with open(path, "ab") as file:
            file.write(b"# the next version\n")
    shutil.rmtree(f"{tree}/usr/lib/boot-check")
    write_check(tree, 2)


def publish(work, daemon, tree, version):
    """Makes the image work/www/debian-VERSION.erofs of a tree, and its tree of digests. Returns its path and its root
    hash."""
    path = f"{work}/www/debian-{version}.erofs"
    if not os.path.exists(path):
        run(f"{ROOT}/contrib/publish/erofs-publish", "--name", "debian", "--version", str(version), f"{work}/www",
            f"{work}/{tree}", stdout=subprocess.DEVNULL, env={**os.environ, "CACHEFILESD_MINI": daemon})
    with open(f"{path}.roothash") as file:
        return path, file.read().strip()


def make_certificates(work):
    """Makes a root, an intermediate authority and the server's certificate, for the address by which the guest reaches
    the host: work/ca.pem; work/server.pem, with the chain, and work/server.key."""
    certs.make_ca(work, days=30)
    certs.make_ca(work, "middle", issuer="ca", days=30)
    certs.make_server(work, "leaf", issuer="middle", names=f"IP:{HOST},DNS:images.test", days=30)
    with open(f"{work}/server.pem", "w") as chain:
        for name in ("leaf", "middle"):
            chain.write(open(f"{work}/{name}.pem").read())
    os.rename(f"{work}/leaf.key", f"{work}/server.key")


DRIVERS = "virtio_pci virtio_blk virtio_net"


def busybox_initrd(work, daemon, kernel, busybox="/bin/busybox", name="busybox", files=(), **environment):
    output = f"{work}/{kernel.machine}-{name}-{kernel.release}.initrd"
    run(f"{ROOT}/contrib/minimal-initramfs/build", output, daemon, busybox, *files,
        env={**os.environ, "CERTIFICATES": f"{work}/ca.pem", "KERNEL": kernel.release, "KERNEL_ROOT": kernel.folder,
             "MODULES": DRIVERS, **environment})
    return output


def tools_tree(work, daemon):
    """Makes the tree work/tools, a Debian with our parts installed as a package does."""
    tree = f"{work}/tools"
    if os.path.exists(tree):
        return tree
    unpack(debian("tools"), tree)
    run("make", "-s", "-C", ROOT, "install", "install-initramfs-tools", "install-dracut",
        f"DESTDIR={tree}", "PREFIX=/usr")
    shutil.copy(daemon, f"{tree}/usr/sbin/cachefilesd-mini")
    os.makedirs(f"{tree}/etc/ssl/certs", exist_ok=True)
    shutil.copy(f"{work}/ca.pem", f"{tree}/etc/ssl/certs/ca-certificates.crt")
    return tree


def debian_initrd(work, daemon, kernel, how):
    """Makes it by mkinitramfs or by dracut, in a chroot."""
    release = kernel.release
    output = f"{work}/{how}-{release}.initrd"
    if os.path.exists(output):
        return output
    tree = tools_tree(work, daemon)
    shutil.copytree(f"{kernel.folder}/lib/modules/{release}", f"{tree}/usr/lib/modules/{release}",
                    symlinks=True, dirs_exist_ok=True)
    shutil.copy(kernel.config, f"{tree}/boot/config-{release}")
    if how == "dracut":
        chroot(tree, "dracut", "--force", "--no-hostonly", "--add", "cachefilesd-mini", "/initrd", release)
    else:
        chroot(tree, "mkinitramfs", "-o", "/initrd", release)
    shutil.move(f"{tree}/initrd", output)
    return output


def make_small_image(work, daemon, busybox, name, block):
    """Makes the image of a root with busybox and random files, in blocks of `block` bytes. A Debian of a foreign
    machine cannot be made here: the scripts of its packages would have to run."""
    tree = f"{work}/{name}.root"
    for folder in ("dev", "proc", "sys", "run", "tmp", "etc", "var/lib", "usr/bin", "usr/sbin", "usr/share/chance"):
        os.makedirs(f"{tree}/{folder}")
    for name_of_link in ("bin", "sbin"):
        os.symlink(f"usr/{name_of_link}", f"{tree}/{name_of_link}")
    shutil.copy(busybox, f"{tree}/usr/bin/busybox")
    for applet in ("sh", "cat", "cut", "dmesg", "grep", "head", "reboot", "sha256sum", "sleep", "stat", "tail", "touch",
                   "tr", "wc"):
        os.symlink("busybox", f"{tree}/usr/bin/{applet}")
    shutil.copy(daemon, f"{tree}/usr/sbin/cachefilesd-mini")
    for number in range(200):
        with open(f"{tree}/usr/share/chance/{number}", "wb") as file:
            file.write(os.urandom(number * 997))
    write_check(tree)
    erofs.make(f"{work}/www/{name}", tree, block)
    shutil.rmtree(tree)
