#!/usr/bin/python3
"""Trees of digests as `veritysetup format` makes them (trust/verity.h), signatures of their root hashes, and servers
that lie.

    t = Tree(data)                      # t.file is IMAGE.verity, t.root the root hash in hexadecimal digits
    s = Server({"/img": data, "/img.verity": t.file})
    s.rule = Liar(s, 0.02, 0.05)        # changes a bit in 2 % of the data's blocks and in 5 % of the tree's

    test/lib/verity.py IMAGE            makes IMAGE.verity and prints its root hash
"""
import hashlib
import os
import random
import struct
import subprocess
import sys
import threading

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))   # test/

from lib.certs import openssl

BLOCK, DIGESTS = 4096, 128


def digest(block, salt=b""):
    return hashlib.sha256(salt + block).digest()


def levels(image, salt=b""):
    """The blocks of each level, the lowest first, and the digest of the top."""
    below, out = [image[i:i + BLOCK] for i in range(0, len(image), BLOCK)], []
    while len(below) > 1:
        digests = [digest(block, salt) for block in below]
        below = [b"".join(digests[i:i + DIGESTS]).ljust(BLOCK, b"\0") for i in range(0, len(digests), DIGESTS)]
        out.append(below)
    return out, digest(below[0], salt)


def superblock(blocks, salt=b"", hash_type=1):
    head = struct.pack("<8sII16s32sIIQH6x256s", b"verity", 1, hash_type, bytes(16), b"sha256", BLOCK, BLOCK, blocks,
                       len(salt), salt)
    return head.ljust(BLOCK, b"\0")


def tree(image, salt=b""):
    """The tree's file of an image of whole blocks, and the root hash in hexadecimal digits."""
    lower, root = levels(image, salt)
    blocks = [block for level in reversed(lower) for block in level]
    return superblock(len(image) // BLOCK, salt) + b"".join(blocks), root.hex()


def sign(root, key, certificate, *options):
    """IMAGE.roothash.p7s by openssl, with a private key and its certificate."""
    return openssl("smime", "-sign", "-nocerts", *(options or ["-noattr"]), "-binary", "-inkey", key, "-signer",
                   certificate, "-outform", "der", data=root.encode())


def make_beside(image):
    """Makes IMAGE.verity and IMAGE.roothash by veritysetup, without a salt, and returns the root hash."""
    subprocess.run(["veritysetup", "format", "--salt=-", f"--root-hash-file={image}.roothash", image,
                    f"{image}.verity"], stdout=subprocess.DEVNULL, check=True)
    os.chmod(f"{image}.verity", 0o644)
    with open(f"{image}.roothash") as file:
        return file.read()


class Tree:
    def __init__(self, image, salt=b"salt of the tests"):
        assert image and len(image) % BLOCK == 0
        self.blocks, self.salt = len(image) // BLOCK, salt
        lower, root = levels(image, salt)
        self.levels, self.root = [b"".join(level) for level in reversed(lower)], root.hex()     # the top first
        self.file = superblock(self.blocks, salt) + b"".join(self.levels)

    def begin(self, level):
        """The first byte of a level in the file, 0 being the top."""
        return BLOCK + sum(len(x) for x in self.levels[:level])

    def with_superblock(self, **other):
        return superblock(**{"blocks": self.blocks, "salt": self.salt, **other}) + self.file[BLOCK:]


class Liar:
    """A Server.rule: each time a block is requested it may have a changed bit. `always`: (path, block) that have one
    each time."""

    def __init__(self, server, data=0.0, tree=0.0, always=(), seed=1):
        self.server, self.data, self.tree, self.always = server, data, tree, set(always)
        self.random, self.lock = random.Random(f"liar {seed}"), threading.Lock()
        self.lies = 0           # blocks

    def __call__(self, request):
        data = self.server.images.get(request.path)
        if data is None or not request.range:
            return None
        first, last = request.range[0], min(request.range[1], len(data) - 1)
        share = self.tree if request.path.endswith(".verity") else self.data
        body = None
        with self.lock:
            for block in range(first // BLOCK, last // BLOCK + 1):
                if (request.path, block) not in self.always and self.random.random() >= share:
                    continue
                body = body or bytearray(data)
                at = self.random.randrange(max(first, block * BLOCK), min(last + 1, block * BLOCK + BLOCK))
                body[at] ^= 1 << self.random.randrange(8)
                self.lies += 1
        return {"image": bytes(body)} if body else None


def make(path):
    """Makes PATH.verity. Returns the root hash in hexadecimal digits."""
    with open(path, "rb") as image:
        made, root = tree(image.read())
    with open(f"{path}.verity", "wb") as file:
        file.write(made)
    return root


if __name__ == "__main__":
    print(make(sys.argv[1]))
