"""Generic netlink as the kernel speaks it to a program: include/uapi/linux/netlink.h, genetlink.h and nbd-netlink.h.

A message is (header, command, attributes); attributes are (type, bytes), in their order.
"""
import collections
import struct

ERROR, ACK_WANTED, CTRL_ID, FAMILY_ID = 2, 4, 16, 0x1B
CTRL_GETFAMILY, CTRL_NEWFAMILY = 3, 1
CTRL_FAMILY_ID, CTRL_FAMILY_NAME, CTRL_VERSION = 1, 2, 3

CONNECT, DISCONNECT, RECONFIGURE, LINK_DEAD, STATUS = range(1, 6)
(INDEX, SIZE_BYTES, BLOCK_SIZE, TIMEOUT, SERVER_FLAGS, CLIENT_FLAGS, SOCKETS, DEAD_CONN_TIMEOUT, DEVICE_LIST,
 BACKEND_IDENTIFIER) = range(1, 11)
NAMES = ["", "INDEX", "SIZE_BYTES", "BLOCK_SIZE_BYTES", "TIMEOUT", "SERVER_FLAGS", "CLIENT_FLAGS", "SOCKETS",
         "DEAD_CONN_TIMEOUT", "DEVICE_LIST", "BACKEND_IDENTIFIER"]
TYPE_MASK = 0x3FFF              # of an attribute's type: without NLA_F_NESTED and NLA_F_NET_BYTEORDER

Header = collections.namedtuple("Header", "length type flags sequence port")


class Malformed(Exception):
    """No kernel could read it; the text says why."""


def align(n):
    return (n + 3) & ~3


def attributes(data):
    """Parses attributes that follow each other."""
    out = []
    while data:
        if len(data) < 4:
            raise Malformed(f"{len(data)} bytes behind the last attribute")
        length, kind = struct.unpack_from("=HH", data)
        if length < 4 or length > len(data):
            raise Malformed(f"an attribute of {length} bytes, {len(data)} are there")
        out.append((kind & TYPE_MASK, data[4:length]))
        data = data[align(length):]
    return out


def attribute(kind, value):
    body = value if isinstance(value, bytes) else struct.pack("=I", value)
    return struct.pack("=HH", 4 + len(body), kind) + body.ljust(align(len(body)), b"\0")


def parse(data):
    """A message of a program."""
    if len(data) < 20:
        raise Malformed(f"a message of {len(data)} bytes")
    header = Header(*struct.unpack_from("=IHHII", data))
    if header.length != len(data):
        raise Malformed(f"a length of {header.length} in a message of {len(data)} bytes")
    if not header.flags & 1:
        raise Malformed("no NLM_F_REQUEST")
    command, version = data[16], data[17]
    if version != 1:
        raise Malformed(f"version {version}")
    return header, command, attributes(data[20:])


def message(header, kind, command, *parts):
    """A message that belongs to that of `header`."""
    body = struct.pack("=BBH", command, 1, 0) + b"".join(parts)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, header.sequence, header.port) + body


def error(request, header, number):
    """The ACK (0) or the error that ends the answer to a request; an error repeats all of it, as netlink_ack() does."""
    body = struct.pack("=i", -number) + request[:None if number else 16]
    return struct.pack("=IHHII", 16 + len(body), ERROR, 0, header.sequence, header.port) + body
