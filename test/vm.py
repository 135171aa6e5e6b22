"""A whole machine for the boot tests: QEMU without KVM, and its console."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "10.0.2.2"       # what QEMU's user network calls the host's loopback

# What a healthy kernel never says.
KERNEL_FAILURE = re.compile(r"Kernel panic|\bOops\b|\bBUG:|WARNING: CPU|general protection|blocked for more than")

QEMU = {
    "amd64": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,la57=off", "-machine", "q35"],
    "arm64": ["qemu-system-aarch64", "-accel", "tcg", "-cpu", "max,pauth-impdef=on", "-machine", "virt"],
}
# What costs an emulator much and shows nothing here is left out, as systemd's lines a second time, by way
# of the kernel; and its clock is not doubted when it has stood still for some seconds.
WORDS = "mitigations=off tsc=reliable lsm=landlock audit=0 systemd.log_target=journal"
CONSOLE = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


class Kernel:
    """Debian's for that machine, with the two modules that it takes; made first if it is not there."""

    def __init__(self, machine):
        made = subprocess.run([f"{HERE}/kernel/debian", machine], stdout=subprocess.PIPE, text=True, check=True)
        self.machine = machine
        self.folder = made.stdout.strip()
        self.release, = os.listdir(f"{self.folder}/lib/modules")
        self.image = f"{self.folder}/vmlinuz"
        self.config = f"{self.folder}/config"


def make_disk(path, mebibytes, label):
    with open(path, "wb") as disk:
        disk.truncate(mebibytes << 20)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-b", "4096", "-L", label, path], check=True)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Machine:
    """One boot. Its console is self.said, all of it, growing; self.started is the time of its start."""

    def __init__(self, kernel, initrd, words, disks=(), memory=1024, clock=None, log=None):
        self.said = ""
        self.changed = threading.Condition()
        self.ended = False
        command = QEMU[kernel.machine] + [
            "-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
            "-kernel", kernel.image, "-append", f"console={CONSOLE[kernel.machine]} {WORDS} {words}",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-rng-pci"]
        if initrd:
            command += ["-initrd", initrd]
        for number, disk in enumerate(disks):
            command += ["-drive", f"file={disk},format=raw,if=none,id=disk{number}",
                        "-device", f"virtio-blk-pci,drive=disk{number}"]
        if clock:
            command += ["-rtc", f"base={clock}"]
        self.log = open(log, "wb") if log else None
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()
        if self.log:
            self.log.close()

    def read(self):
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            if self.log:
                self.log.write(chunk)
                self.log.flush()
            with self.changed:
                self.said += chunk.decode("utf-8", "replace").replace("\r", "")
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, pattern, timeout):
        """Waits until the console has said pattern. Returns the match and the seconds since the start,
        or None and None after timeout seconds or at the machine's end."""
        pattern = re.compile(pattern, re.M)
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                match = pattern.search(self.said)
                if match:
                    return match, time.monotonic() - self.started
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    return None, None
                self.changed.wait(left)

    def wait_end(self, timeout):
        """Whether the machine ends by itself, as at a reboot."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        self.reader.join()
        return True

    def cut(self):
        """The power goes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join()

    def failure(self):
        """The first line of the console that no healthy kernel says, or None."""
        return next((line for line in self.said.split("\n") if KERNEL_FAILURE.search(line)), None)
