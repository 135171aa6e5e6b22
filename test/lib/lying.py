"""A mirror that lies about images that are too large for the copies of verity.Liar."""
import mmap
import os
import random

from lib.httpserver import Server
from lib.verity import BLOCK


def mapped(path):
    """The bytes of a file, which need no memory of their own."""
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class LyingServer(Server):
    """Serves files by their last names, with neither ETag nor date. Of each block that is sent a bit is changed with
    the probability `data`, of an image, or `tree`, of its tree of digests. self.lies counts these blocks."""

    def __init__(self, paths, data, tree, seed=1):
        self.data, self.tree, self.lies = data, tree, 0
        self.random = random.Random(f"liar {seed}")
        super().__init__({f"/{os.path.basename(path)}": mapped(path) for path in paths}, etag="", last_modified="")

    def _compose(self, request, knobs):
        lines, body, status = super()._compose(request, knobs)
        return lines, self.lie(request, body) if status == 206 else body, status

    def lie(self, request, body):
        share = self.tree if request.path.endswith(".verity") else self.data
        first = request.range[0]
        body = bytearray(body)
        with self.lock:
            for block in range(first // BLOCK * BLOCK, first + len(body), BLOCK):
                if self.random.random() < share:
                    at = self.random.randrange(max(first, block), min(first + len(body), block + BLOCK))
                    body[at - first] ^= 1 << self.random.randrange(8)
                    self.lies += 1
        return body
