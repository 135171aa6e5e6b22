"""An image, and the READs of a boot from it: the numbers are those of a Debian 12 up to its login prompt, whose image
of 167 MB has 2,264 files. It reads 66 of them, each once from its beginning, and 22 MB in all.
"""
import os
import random
import stat

from lib import erofs

BLOCK = 4096
FIRST_READS = 4, 16, 32     # blocks, as the kernel's read-ahead grows; then always the last


def make(folder, files, touched):
    """Writes folder/image. Returns [(offset, length)] of the READs of a boot that reads `touched` of its files."""
    rng = random.Random("a boot")
    for number in range(files):
        path = f"{folder}/tree/{number % 40}"
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/{number}", "wb") as file:
            file.write(rng.randbytes(min(int(rng.lognormvariate(9.9, 1.6)), 4 << 20)))
    root = erofs.make(f"{folder}/image", f"{folder}/tree", BLOCK)
    large = [node for node in root.all() if node.kind == stat.S_IFREG and len(node.data) > 100000]
    reads = [(0, BLOCK)]
    for node in rng.sample(large, touched):
        reads += metadata(root) + metadata(node.parent) + metadata(node) + contents(node)
    return list(dict.fromkeys(reads))


def metadata(node):
    """The page of an inode, and of a folder its names."""
    inode = BLOCK + node.number * erofs.SLOT
    return [(inode // BLOCK * BLOCK, BLOCK)] + (contents(node) if node.kind == stat.S_IFDIR else [])


def contents(node):
    reads, at, end = [], 0, -(-len(node.data) // BLOCK)
    while at < end:
        length = min(FIRST_READS[min(len(reads), len(FIRST_READS) - 1)], end - at)
        reads.append(((node.block + at) * BLOCK, length * BLOCK))
        at += length
    return reads
