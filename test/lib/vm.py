"""A whole machine for the boot tests: QEMU without KVM, its console, and the link to its server."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

from lib import archive
from lib.find import TOP

HOST = "10.0.2.2"       # the host's loopback interface in QEMU's user network

# A healthy kernel never prints these.
KERNEL_FAILURE = re.compile(r"Kernel panic|\bOops\b|\bBUG:|WARNING: CPU|general protection|blocked for more than")

QEMU = {
    # Without ERMS the kernel fills and copies eight bytes at a time; with it one, and boots stood still for 20 s.
    # CMPXCHG16B of QEMU 7.2 leaves wrong flags behind, as the trap flag, on which 6.12 and later kernels die.
    "amd64": ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,la57=off,erms=off,fsrm=off,cx16=off",
              "-machine", "q35"],
    "arm64": ["qemu-system-aarch64", "-accel", "tcg", "-cpu", "max,pauth-impdef=on", "-machine", "virt"],
}
QEMU["arm64-16k"] = QEMU["arm64"]
# Costly parts without use here are off, such as a second copy of systemd's lines by way of the kernel; and the clock is
# trusted even after it has stood still for some seconds.
WORDS = "panic=-1 nosoftlockup mitigations=off tsc=reliable lsm=landlock audit=0 systemd.log_target=journal"
CONSOLE = {"amd64": "ttyS0", "arm64": "ttyAMA0", "arm64-16k": "ttyAMA0"}


class Kernel:
    """Debian's kernel for that machine with two modules of its own, which is made if it is missing; or the stock
    kernel of that series, for amd64."""

    def __init__(self, machine, series=None):
        self.machine, self.series = machine, series
        self.folder = archive.stock_kernel(series) if series else subprocess.run(
            [f"{TOP}/guest/kernel/debian", machine], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self.release, = os.listdir(f"{self.folder}/lib/modules")
        self.image = f"{self.folder}/vmlinuz"
        self.config = f"{self.folder}/config"


def make_disk(path, mebibytes, label):
    with open(path, "wb") as disk:
        disk.truncate(mebibytes << 20)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-b", "4096", "-L", label, path], check=True)


class Machine:
    """One boot. self.said is the text of its console, which grows; self.started is the time of its start."""

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
        """Waits until the console's text matches the pattern. Returns the match and the seconds since the start; or
        None and None after `timeout` seconds or at the machine's end."""
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
        """Whether the machine ends by itself, as it does at a reboot."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        self.reader.join()
        return True

    def cut(self):
        """Cuts the power."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join()

    def failure(self):
        """The first line of the console that no healthy kernel prints, or None."""
        return next((line for line in self.said.split("\n") if KERNEL_FAILURE.search(line)), None)


class Link:
    """TCP from a port of the loopback interface to another one: each way at most `rate` bytes a second for all
    connections together, and each byte `delay` seconds later. A new connection waits a round trip before its first
    byte, as for its handshake. self.bytes counts the bytes of the servers. QEMU's user network has no slow links, and
    this machine's kernel may have no netem."""

    CHUNK = 16384

    def __init__(self, to_port, rate=12_500_000, delay=0.01):
        self.to_port, self.rate, self.delay = to_port, rate, delay
        self.bytes = 0
        self.free = [0.0, 0.0]
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.to_port))
            except OSError:
                client.close()
                continue
            opened = time.monotonic() + 2 * self.delay
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for way, source, sink in ((0, client, server), (1, server, client)):
                threading.Thread(target=self.carry, args=(way, source, sink, opened), daemon=True).start()

    def carry(self, way, source, sink, opened):
        """One direction of a connection: its bytes wait in a queue for their time."""
        queue, changed = [], threading.Condition()

        def deliver():
            while True:
                with changed:
                    while not queue:
                        changed.wait()
                    at, data = queue.pop(0)
                    changed.notify_all()
                time.sleep(max(0, at - time.monotonic()))
                try:
                    if data:
                        sink.sendall(data)
                    else:
                        sink.shutdown(socket.SHUT_WR)
                except OSError:
                    source.close()
                if not data:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(self.CHUNK)
            except OSError:
                data = b""
            with self.lock:
                sent = max(time.monotonic(), self.free[way]) + len(data) / self.rate
                self.free[way] = sent
                self.bytes += len(data) if way else 0
            with changed:
                # No more bytes are under way than a window of TCP.
                while len(queue) >= 64:
                    changed.wait()
                queue.append((max(sent, opened) + self.delay, data))
                changed.notify_all()
            if not data:
                return
