"""Trees of digests as `veritysetup format` makes them (trust/verity.h), and signatures of their root hashes."""
import hashlib
import struct

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
