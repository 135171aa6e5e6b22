"""NBD: a disk that does not keep the cache, or cannot read it."""
import errno
import os
import struct

from lib.standin_nbd import NbdStandIn
from scenarios.common import KIB, MIB, PAGE, each, image, scenario
from scenarios.nbd import PUNCH_HOLE, KEEP_SIZE, fallocate
from scenarios.nbd_common import attached, fails, kill_worker, need


class Disk(NbdStandIn):
    """The system calls on the cache file fail as with such a disk.

    lost        the next question whether bytes were lost is answered: they were
    bad         (from, end): these bytes cannot be read before they are written anew, which needs a hole
    read_only   nothing can be punched
    torn        of the page there only the first 1024 bytes are data, and zeros, until it is written: as ext4 with blocks
                of that size leaves it when it was full
    """
    lost = read_only = False
    bad = torn = None

    @staticmethod
    def further_calls():
        return [*NbdStandIn.further_calls(), "sync_file_range", "splice", "fallocate", "lseek",
                "pwrite64"]

    def call(self, cookie, name, a):
        if name == "sync_file_range":
            lost, self.lost = self.lost, False
            return -errno.EIO if lost else 0
        if name == "splice" and self.bad and a[1]:
            at, = struct.unpack("=q", self.get(a[1], 8))
            return -errno.EIO if self.bad[0] <= at < self.bad[1] else None
        if name == "pwrite64" and self.torn is not None and a[3] <= self.torn < a[3] + a[2]:
            self.torn = None
        if name == "lseek" and self.torn is not None and a[1] < self.torn + PAGE:
            hole = max(a[1], self.torn + KIB)
            return hole if a[2] == os.SEEK_HOLE else self.torn + PAGE if a[1] == hole else a[1]
        if name == "fallocate" and self.bad:
            if self.read_only:
                return -errno.EROFS
            self.bad = None
        return super().call(cookie, name, a)

    def lose(self, offset, length):
        """The disk fails while they are written back, and their pages go."""
        with open(self.cache_file(), "r+b") as file:
            fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, offset, length)
        self.lost = True


@each("4 KiB", "128 KiB", "2 MiB")
def nbd_disk_loses(size):
    """what the disk has failed to keep is fetched anew, and never read as zeros"""
    data, length = image(1, 4 * MIB), {"4": 4 * KIB, "128": 128 * KIB, "2": 2 * MIB}[size.split()[0]]
    with attached(data, "read-ahead none", stand_in=Disk) as (s, k, d):
        for _ in range(3):
            for at in range(0, 4 * MIB, length):
                need(d, data, at, length)
            k.lose(MIB, 1536 * KIB)
            waiting = [d.read(at, length) for at in range(MIB, 3 * MIB, length)]
            for r in waiting:
                d.driver.wait_done(r, timeout=20)
                assert not r.error and r.data == data[r.offset:r.offset + length], f"{r}: wrong"
        k.wait_log("nbd0: the disk has lost bytes of the cache: ")
        count = len(s.requests)
        kill_worker(k)
        need(d, data, MIB, length)
        assert len(s.requests) == count, s.requests[count:]


@scenario
def nbd_disk_cannot_read():
    """what the disk cannot read is fetched anew, also behind the beginning of a reply"""
    data = image(1, 4 * MIB)
    with attached(data, "read-ahead none", stand_in=Disk) as (s, k, d):
        need(d, data, 0, 4 * MIB)
        for at, length in (0, 128 * KIB), (0, 2 * MIB), (MIB // 2, 2 * MIB), (512, 3 * MIB):
            k.bad = (at + length * 2 // 3, 4 * MIB) if length > MIB else (at, at + 1)
            need(d, data, at, length)
            assert not k.bad


@scenario
def nbd_disk_is_no_good():
    """a disk that neither reads nor takes bytes: an error, and what it can read is read"""
    data = image(1, 2 * MIB)
    with attached(data, "read-ahead none", stand_in=Disk) as (s, k, d):
        need(d, data, 0, 2 * MIB)
        k.bad, k.read_only = (MIB, MIB + 1), True
        fails(d, MIB, 128 * KIB)
        need(d, data, 0, MIB)
        k.bad = None
        need(d, data, 0, 2 * MIB)


@each(512, 1024, 4096, 65536)
def nbd_disk_was_full(length):
    """of a page that a full disk has taken in part nothing is read before it is whole"""
    data = image(1, 2 * MIB)
    with attached(data, "read-ahead none", stand_in=Disk) as (s, k, d):
        need(d, data, 0, 2 * MIB)
        with open(k.cache_file(), "r+b") as file:
            file.seek(MIB)
            file.write(bytes(PAGE))
        kill_worker(k)                      # what it knows of holes goes with it
        k.torn = MIB
        need(d, data, 0, 4096)
        need(d, data, MIB, length)
        assert k.torn is None
        need(d, data, 0, 2 * MIB)
