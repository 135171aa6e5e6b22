"""The directory walk, and the map of files, where directories and inodes were cached before they begin."""
import contextlib

from lib.holes import data_ranges
from lib.nbd import Nbd
from scenarios.cache_check import by_cachefiles, by_nbd
from scenarios.common import KIB, MIB, PAGE, Server, each, quiet
from scenarios.files import Tree

FRONTS = "cachefiles", "nbd"


class Machine:
    """A server with an image, and a machine on which the daemon runs again and again."""

    def __init__(self, front, tree):
        self.front, self.tree, self.kernel = front, tree, None

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.server = self.stack.enter_context(Server({"/img": self.tree.data}))
        self.n = self.stack.enter_context(Nbd())
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    @contextlib.contextmanager
    def session(self, policy):
        """A function that reads a page, waits until nothing is requested any more, and returns the pages that are
        cached then."""
        words = self.server, ["trace none", f"read-ahead {policy}"], self.kernel, False
        with by_nbd(*words, self.n) if self.front == "nbd" else by_cachefiles(*words) as one:
            self.kernel = one.kernel

            def read(page):
                assert one.read(page, PAGE) == self.tree.data[page:page + PAGE]
                quiet(self.server)
                with open(one.path, "rb") as file:
                    return {page for begin, end in data_ranges(file.fileno()) for page in range(begin, end, PAGE)}
            yield read


@each(*FRONTS)
def directories_that_were_cached(front):
    """a session that ended after the first page, as --prime makes one, keeps the next from no directory"""
    tree = Tree({f"{'/'.join(f'directory-{n:02}-{level}' for level in range(3))}/{'x' * 200}{file}": 10000
                 for n in range(60) for file in range(12)})
    with Machine(front, tree) as machine:
        with machine.session("none") as read:
            first = read(0)
        with machine.session("auto") as read:
            second = read(MIB + 3 * PAGE)   # a block device's reader begins with something else than blkid reads
    found = len(second.intersection(tree.metadata()))
    assert (len(first), found > 70) == (1, True), f"{found} pages after {len(first)}"


@each(*FRONTS)
def inodes_that_were_cached(front):
    """of a small file whose inode was cached in an earlier session the rest comes with its first READ, and no other"""
    tree = Tree({f"directory/f{n:02}": 100 * KIB for n in range(40)})
    with Machine(front, tree) as machine:
        with machine.session("none") as read:
            for page in tree.metadata():
                read(page)
        with machine.session("auto") as read:
            before = read(tree.spans["directory/f30"][0])
            begin, end = tree.spans["directory/f12"]
            after = read(begin + 32 * KIB)
    assert after - before == set(range(begin, end, PAGE)), sorted(after - before)
