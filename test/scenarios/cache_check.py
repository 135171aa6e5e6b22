"""cache-check: what is cached of a verified image is read back and compared with its tree."""
import contextlib
import os
import re
import signal
import struct

from lib import exposition, tap
from lib.nbd import Nbd
from lib.verity import BLOCK, tree
from scenarios import nbd_common
from scenarios.common import KIB, MIB, Server, daemon, each, large, quiet, refused, reload, scenario, takes_long

FRONTS = "cachefiles", "nbd"
SIZE = 3 * MIB
OTHER_BOOT = "01234567-89ab-cdef-0123-456789abcdef\n"


class Session:
    """A run of the daemon with the image /img, by either front end."""

    def __init__(self, kernel, path, read):
        self.kernel = kernel
        self.path = path            # of the cache file
        self.read = read            # (offset, length): the bytes, as the kernel would give them to a reader

    def unfit(self):
        """The metric."""
        return exposition.Metrics(exposition.ask(f"{self.kernel.cache}/status"))["cache_unfit_blocks_total"]

    def marks(self):
        """As marks()."""
        return marks(self.kernel)


def mark_names(k):
    """The paths of all marks."""
    folder = os.path.join(k.cache, "cachefilesd-mini")
    return [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".mark")]


def marks(k):
    """What each mark leads to. The daemon may remove one meanwhile."""
    found = []
    for name in mark_names(k):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(name))
    return found


def commit(f, k):
    """What the kernel does with a new cache file at the end of its first session: it gets its name, and the size that
    was reported (fs/cachefiles/xattr.c)."""
    folder = os.path.join(k.cache, "cache", "Ierofs,img", "@42")
    os.makedirs(folder, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.link(f.path, os.path.join(folder, "Dimg"))
    try:
        os.setxattr(f.path, "user.CacheFiles.cache", struct.pack(">QQBB", f.size, 0, 0, 1))
    except OSError as error:
        raise tap.Skip(f"no extended attributes here: {error}") from error


@contextlib.contextmanager
def by_cachefiles(s, words, after, traced):
    with daemon(s, *words, keep=True, after=after, traced=traced) as k:
        os.makedirs(os.path.join(k.cache, "cache"), exist_ok=True)
        f = k.opened("erofs,img", b"img", 20)

        def read(offset, length):
            if f.filled(offset, length) < min(length, SIZE - offset):
                assert k.wait_complete(k.read(f, offset, length), 20) == length
            return f.bytes(offset, length)
        yield Session(k, f.path, read)
        commit(f, k)


@contextlib.contextmanager
def by_nbd(s, words, after, traced, n):
    with nbd_common.blocks(s, n, *words, keep=True, after=after, traced=traced) as k:
        d = k.attached("img")

        def read(offset, length):
            r = d.read(offset, length)
            d.driver.wait_done(r, timeout=20)
            assert r.error == 0, r
            return r.data
        yield Session(k, k.cache_file(), read)
        if k.expect_exit == 0:
            nbd_common.disconnected(k)


class Machine:
    """A server with a verified image, and a machine on which the daemon runs again and again."""

    def __init__(self, front, **images):
        self.front = front
        self.server = Server(images)
        self.publish("checked")
        self.kernel = self.n = None
        self.stack = contextlib.ExitStack()

    def publish(self, version):
        """The server has this version from now on, and the machine its root hash."""
        self.data = large(version, SIZE)
        hashes, self.root = tree(self.data, b"salt")
        self.server.images.update({"/img": self.data, "/img.verity": hashes})

    def __enter__(self):
        if self.front == "nbd":
            self.n = self.stack.enter_context(Nbd())
        self.stack.enter_context(self.server)
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    @contextlib.contextmanager
    def session(self, *words, traced=False):
        words = [f"roothash {self.root}", "status {cache}/status", "read-ahead none", *words]
        args = self.server, words, self.kernel, traced
        with by_nbd(*args, self.n) if self.n else by_cachefiles(*args) as session:
            self.kernel, self.path = session.kernel, session.path
            yield session

    def fill(self):
        """A session in which all is read."""
        with self.session() as one:
            self.all_right(one)
            self.mark, = mark_names(one.kernel)

    def put_mark(self, boot):
        """A mark of the version that was filled last."""
        os.symlink(boot, self.mark)

    def all_right(self, session):
        for offset in range(0, SIZE, 128 * KIB):
            have = session.read(offset, 128 * KIB)
            assert have == self.data[offset:offset + 128 * KIB], f"wrong bytes in {offset}+128K"

    def flip(self, *blocks):
        """A bit of each in the cache file."""
        with open(self.path, "r+b") as file:
            for block in blocks:
                file.seek(block * BLOCK + 77)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 4]))


BAD = (0, 5, 6, 300, SIZE // BLOCK - 1)


@each(*FRONTS)
def cache_check_all(front):
    """all: bits flipped while it is off are found before it opens, counted, fetched anew; no byte is wrong"""
    with Machine(front) as m:
        m.fill()
        m.flip(*BAD)
        before = m.server.bytes_sent()
        with m.session("cache-check all") as s:
            assert s.unfit() == len(BAD), s.unfit()
            assert s.kernel.wait_log(rf"img: {len(BAD)} blocks of the cache do not fit the root hash")
            m.all_right(s)
            assert m.server.bytes_sent() - before < MIB, m.server.bytes_sent() - before
        with m.session("cache-check all") as s:
            assert s.unfit() == 0 and "root hash:" not in s.kernel.stderr


@each(*FRONTS)
def cache_check_never(front):
    """never, and cut after an end in order: nothing is looked at, as the manual says"""
    with Machine(front) as m:
        m.fill()
        m.flip(300)
        for word in "never", "cut":
            with m.session(f"cache-check {word}") as s:
                assert s.unfit() == 0
                assert s.read(300 * BLOCK, BLOCK) != m.data[300 * BLOCK:301 * BLOCK]


@each(*FRONTS)
def cache_check_cut(front):
    """cut: a mark of another boot, and all that is cached is checked; after an end in order none is left"""
    with Machine(front) as m:
        m.fill()
        for boot in OTHER_BOOT, "?":
            m.flip(*BAD)
            m.put_mark(boot)
            with m.session() as s:
                assert s.unfit() == len(BAD), s.unfit()
                assert s.marks() != [boot]
                m.all_right(s)
            assert not marks(m.kernel), marks(m.kernel)


@scenario
def cache_check_cut_and_update():
    """cut: the version before is still to be checked when another one was opened in between"""
    with Machine("nbd") as m:
        m.fill()
        m.flip(*BAD)
        m.put_mark(OTHER_BOOT)
        before = m.path
        os.link(before, f"{before}.kept")
        m.publish("next")
        with m.session() as s:
            assert s.unfit() == 0
        os.replace(f"{before}.kept", before)        # as of an update that has not come to its end
        m.publish("checked")
        with m.session() as s:
            assert s.unfit() == len(BAD), s.unfit()
            m.all_right(s)
        assert not marks(m.kernel), marks(m.kernel)


@each(*FRONTS)
def cache_check_marks(front):
    """an image has a mark while it is written to, with the kernel's boot_id; within this boot nothing is checked;
    an end in order syncs and removes it"""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read()
    with Machine(front) as m:
        with m.session() as s:
            m.all_right(s)
            assert s.marks() == [boot], s.marks()
            m.mark, = mark_names(s.kernel)
        assert not marks(m.kernel), marks(m.kernel)
        m.flip(300)
        m.put_mark(boot)
        with m.session() as s:
            assert s.unfit() == 0
        assert not marks(m.kernel), marks(m.kernel)


@takes_long
@each(*FRONTS)
def cache_check_settles(front):
    """when nothing has been written for ten seconds the cache is synced, and the mark goes; the next write makes one"""
    with Machine(front) as m, m.session() as s:
        s.read(0, 128 * KIB)
        quiet(m.server)
        assert s.marks()
        s.kernel.wait(lambda: not s.marks(), 60, "the end of the mark")
        s.read(2 * MIB, 128 * KIB)
        assert s.marks()


@each(*FRONTS)
def cache_check_boot(front):
    """boot: what the trace names is right when the image opens, the rest is written over in the background, not
    punched"""
    trace = b"0 65536\n1048576 65536\n"
    with Machine(front, **{"/img.trace": trace}) as m:
        m.fill()
        m.flip(3, 256, 700)
        with m.session("cache-check boot", traced=True) as s:
            assert s.unfit() >= 2, s.unfit()
            assert s.read(0, 65536) == m.data[:65536] and s.read(MIB, 65536) == m.data[MIB:MIB + 65536]
            s.kernel.wait_log("img: 3 blocks of the cache do not fit the root hash", 20)
            assert s.unfit() == 3
            m.all_right(s)
        m.flip(3, 256, 700)
        with m.session("cache-check boot") as s:        # without a trace
            assert s.unfit() == 3, s.unfit()
            m.all_right(s)


@each(*FRONTS)
def cache_check_offline(front):
    """offline, with the tree on the disk: what does not fit is dropped, the rest can be read; a tree that is lacking in
    part takes its blocks with it"""
    with Machine(front) as m:
        m.fill()
        m.server.stop()
        m.flip(300)
        offline = "cache-check all", "offline allow", "timeout 1", "retry soft 1"
        with m.session(*offline) as s:
            assert s.unfit() == 1, s.unfit()
            assert s.read(0, MIB) == m.data[:MIB]
        folder = os.path.join(m.kernel.cache, "cachefilesd-mini")
        hashes, = (name for name in os.listdir(folder) if name.endswith(".verity"))
        with open(os.path.join(folder, hashes), "r+b") as file:
            file.seek(2 * BLOCK + BLOCK)    # behind superblock and root: of the second 512 KiB
            file.write(bytes(BLOCK))
        with m.session(*offline) as s:
            assert s.unfit() == 128, s.unfit()
            assert s.read(0, 512 * KIB) == m.data[:512 * KIB] and s.read(2 * MIB, MIB) == m.data[2 * MIB:]


@scenario
def cache_check_replaced():
    """the image was replaced: the old version's file is another version's to the kernel, and is left alone"""
    with Machine("cachefiles") as m:
        m.fill()
        m.data = large("another", SIZE)
        hashes, m.root = tree(m.data, b"salt")
        m.server.images.update({"/img": m.data, "/img.verity": hashes})
        with m.session("cache-check all") as s:
            assert s.unfit() == 0 and "do not fit the root" not in s.kernel.stderr
            m.all_right(s)


@each("all", "cut")
def cache_check_without_culler(word):
    """the process that opens cache files has died: an image that is to be checked is not opened, its mark stays, and
    another such process, after SIGHUP, opens it"""
    with Machine("cachefiles") as m:
        m.fill()
        m.flip(*BAD)
        m.put_mark(OTHER_BOOT)
        with daemon(m.server, f"roothash {m.root}", f"cache-check {word}", keep=True, after=m.kernel) as k:
            k.wait(lambda: k.worker and children(k.worker), 10, "the culler")
            culler, = children(k.worker)
            os.kill(culler, signal.SIGKILL)
            refused(k, k.open("erofs,img", b"img"), timeout=20)
            k.wait_log("img: its cache cannot be checked")
            assert marks(k) == [OTHER_BOOT], marks(k)
            reload(k)
            k.opened("erofs,img", b"img", timeout=20)
            k.wait_log(f"img: {len(BAD)} blocks of the cache do not fit the root hash")


def children(parent):
    """The processes of that parent."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
            if f"\nPPid:\t{parent}\n" in file.read():
                found.append(int(pid))
    return found


@each(*FRONTS)
def cache_check_user(front):
    """the worker is another user, who cannot open what the kernel has cached: the culler opens it for the check"""
    if os.geteuid():
        raise tap.Skip("only root has other users")
    with Machine(front) as m:
        m.fill()
        m.flip(*BAD)
        m.put_mark(OTHER_BOOT)
        with m.session("user 65534:65534") as s:
            assert "\nUid:\t65534\t" in s.kernel.proc("status"), s.kernel.proc("status")
            assert s.unfit() == len(BAD), s.unfit()
            m.all_right(s)
        assert not marks(m.kernel), marks(m.kernel)
