"""The kernel's block devices of NBD, asked by netlink: include/uapi/linux/nbd-netlink.h. Needs root in the kernel's
first namespaces."""
import contextlib
import glob
import os
import re
import socket
import struct

NETLINK_GENERIC, CTRL, GETFAMILY, FAMILY_ID, FAMILY_NAME = 16, 16, 3, 1, 2
CONNECT, DISCONNECT, RECONFIGURE = 1, 2, 3
INDEX, SIZE_BYTES, SERVER_FLAGS, SOCKETS, DEAD_CONN_TIMEOUT, BACKEND_IDENTIFIER = 1, 2, 5, 7, 8, 10
NESTED, SOCK_ITEM, SOCK_FD = 0x8000, 1, 1
REQUEST_AND_ACK, ERROR = 5, 2


def attribute(kind, value):
    """An attribute whose value is bytes or a number of 32 bits."""
    value = value if isinstance(value, bytes) else struct.pack("=I", value)
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust(4 + len(value) + -len(value) % 4, b"\0")


def call(netlink, family, command, *attributes):
    """Sends a command. Returns its answer without the headers; raises OSError if the kernel refuses."""
    body = struct.pack("=BBH", command, 1, 0) + b"".join(attributes)
    netlink.send(struct.pack("=IHHII", 16 + len(body), family, REQUEST_AND_ACK, 0, 0) + body)
    answer = b""
    while True:
        data = netlink.recv(8192)
        if struct.unpack_from("=H", data, 4)[0] != ERROR:
            answer = data[20:]
            continue
        error, = struct.unpack_from("=i", data, 16)
        if error:
            raise OSError(-error, os.strerror(-error))
        return answer


def ask(command, *attributes):
    """A command of the family `nbd`. Returns the value of the answer's first attribute."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as netlink:
        answer = call(netlink, CTRL, GETFAMILY, attribute(FAMILY_NAME, b"nbd\0"))
        family = None
        while answer:
            length, kind = struct.unpack_from("=HH", answer)
            if kind == FAMILY_ID:
                family, = struct.unpack_from("=H", answer, 4)
            answer = answer[length + -length % 4:]
        value = call(netlink, family, command, *attributes)
        return struct.unpack_from("=I", value, 4)[0] if value else None


def connect(number, identifier, size=1 << 20):
    """Another program's device. Returns our end of its socket, which nobody serves; the device lives no longer."""
    ours, theirs = socket.socketpair()
    with theirs:
        item = attribute(NESTED | SOCK_ITEM, attribute(SOCK_FD, theirs.fileno()))
        ask(CONNECT, attribute(INDEX, number), attribute(SIZE_BYTES, struct.pack("=Q", size)),
            attribute(SERVER_FLAGS, struct.pack("=Q", 3)), attribute(NESTED | SOCKETS, item),
            attribute(DEAD_CONN_TIMEOUT, struct.pack("=Q", 2000000)),
            attribute(BACKEND_IDENTIFIER, identifier.encode() + b"\0"))
    return ours


def disconnect(number):
    ask(DISCONNECT, attribute(INDEX, number))


def connected():
    """The numbers of the devices that have been configured, and not been disconnected."""
    return sorted(int(re.search("nbd([0-9]+)", path)[1]) for path in glob.glob("/sys/block/nbd*/pid"))


def backend(number):
    """The identifier of the program that has configured the device; "": none has."""
    with contextlib.suppress(OSError), open(f"/sys/block/nbd{number}/backend") as file:
        return file.read().strip()
    return ""


def disconnect_all():
    """Disconnects each device: what waits for one gets an error."""
    for number in connected():
        with contextlib.suppress(OSError):      # of one that another disconnects too
            disconnect(number)


def set_timer(number, milliseconds=200):
    """After the death of all that served a device, each request that it had is sent again so much later."""
    with open(f"/sys/block/nbd{number}/queue/io_timeout", "w") as file:
        file.write(str(milliseconds))
