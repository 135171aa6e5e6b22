"""EROFS images: by mkfs.erofs, and without it of any block size, not compressed.

The mkfs.erofs of Debian 12 makes blocks of 4 KiB only, and a kernel mounts on demand only images whose blocks are
as large as its pages (fs/erofs/super.c).
"""
import os
import stat
import struct

from lib.commands import run

MAGIC = 0xE0F5E1E2
SUPER_OFFSET = 1024
SLOT = 32                   # bytes: an inode's number counts slots from the start of the metadata
INODE_SIZE = 64             # of an extended inode: two slots
EXTENDED, FLAT_PLAIN = 1, 0 << 1
TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 7}     # the types in directory entries


def mkfs(image, tree, *options):
    run("mkfs.erofs", *options, image, tree)


class Node:
    """A file, folder or link, and its place in the image."""

    def __init__(self, path, parent):
        self.status = os.lstat(path)
        self.parent = parent or self
        self.kind = stat.S_IFMT(self.status.st_mode)
        self.children = {}
        self.data = b""
        self.number = self.block = None
        if self.kind == stat.S_IFDIR:
            self.children = {name: Node(os.path.join(path, name), self) for name in sorted(os.listdir(path))}
        elif self.kind == stat.S_IFLNK:
            self.data = os.fsencode(os.readlink(path))
        elif self.kind == stat.S_IFREG:
            with open(path, "rb") as file:
                self.data = file.read()
        else:
            raise ValueError(f"{path} is no file, folder or link")

    def all(self):
        yield self
        for child in self.children.values():
            yield from child.all()

    def entries(self):
        """(name, node) in the order of the names' bytes, as fs/erofs/namei.c searches them."""
        named = {".": self, "..": self.parent, **self.children}
        return sorted(((os.fsencode(name), node) for name, node in named.items()), key=lambda entry: entry[0])

    def directory(self, block):
        """Blocks of entries of 12 bytes; the names of a block's entries lie behind them in the same block."""
        blocks, group = [], []
        for entry in self.entries():
            if sum(12 + len(name) for name, _ in [*group, entry]) > block:
                blocks.append(group)
                group = []
            group.append(entry)
        blocks.append(group)
        out = b""
        for group in blocks:
            offset, head, names = 12 * len(group), b"", b""
            for name, node in group:
                head += struct.pack("<QHBB", node.number, offset + len(names), TYPES[node.kind], 0)
                names += name
            full = head + names
            out += full if group is blocks[-1] else full.ljust(block, b"\0")
        return out

    def inode(self, links):
        s = self.status
        return struct.pack("<HHHHQIIIIQII16x", EXTENDED | FLAT_PLAIN, 0, s.st_mode, 0, len(self.data), self.block,
                           self.number, s.st_uid, s.st_gid, int(s.st_mtime), 0, links)


def make(output, tree, block):
    """Writes the image `output` of the files, folders and links of `tree`, in blocks of `block` bytes. Returns its
    root, a Node."""
    root = Node(tree, None)
    nodes = list(root.all())
    slots = INODE_SIZE // SLOT
    for place, node in enumerate(nodes):
        node.number = place * slots
    inodes = -(-len(nodes) * INODE_SIZE // block)
    next_block = 1 + inodes
    with open(output, "wb") as file:
        for node in nodes:
            if node.kind == stat.S_IFDIR:
                node.data = node.directory(block)
            node.block = next_block
            file.seek(next_block * block)
            file.write(node.data)
            next_block += -(-len(node.data) // block)
        file.truncate(next_block * block)
        for node in nodes:
            file.seek(block + node.number * SLOT)
            folders = sum(child.kind == stat.S_IFDIR for child in node.children.values())
            file.write(node.inode(2 + folders if node.kind == stat.S_IFDIR else 1))
        file.seek(SUPER_OFFSET)
        file.write(struct.pack("<IIIBBHQQIIII16s16s", MAGIC, 0, 0, block.bit_length() - 1, 0, root.number,
                               len(nodes), 0, 0, next_block, 1, 0, os.urandom(16), b""))
    return root
