"""The generic netlink family "nbd", by which a program makes a device of a socket (nbd_genl_connect() and its like).

What the program asks for is held to what it has to be for an image of this project: Nbd.violations has the rest.
"""
import ctypes
import errno
import os
import re
import select
import socket
import stat
import struct
import threading

from lib import netlink as nl

WIDTH = {nl.INDEX: 4, nl.SIZE_BYTES: 8, nl.BLOCK_SIZE: 8, nl.TIMEOUT: 8, nl.SERVER_FLAGS: 8, nl.CLIENT_FLAGS: 8,
         nl.DEAD_CONN_TIMEOUT: 8}
# What each command has to have, and what it may have.
NEEDED = {nl.CONNECT: {nl.BLOCK_SIZE: 512, nl.TIMEOUT: 0, nl.SERVER_FLAGS: 3, nl.DEAD_CONN_TIMEOUT: 2000000},
          nl.RECONFIGURE: {nl.DEAD_CONN_TIMEOUT: 2000000}}
ALLOWED = {nl.CONNECT: {nl.INDEX, nl.SIZE_BYTES, nl.CLIENT_FLAGS, nl.SOCKETS, nl.BACKEND_IDENTIFIER},
           nl.RECONFIGURE: {nl.INDEX, nl.TIMEOUT, nl.CLIENT_FLAGS, nl.SOCKETS, nl.BACKEND_IDENTIFIER},
           nl.DISCONNECT: {nl.INDEX}, nl.STATUS: {nl.INDEX}}
CAP_SYS_ADMIN = 21
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438      # on all architectures


class Refused(Exception):
    """The errno of a command."""

    def __init__(self, number):
        super().__init__(errno.errorcode[number])
        self.number = number


def descriptor_of(pid, fd):
    """A duplicate of another process's descriptor."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    process = call(SYS_PIDFD_OPEN, pid, 0)
    try:
        ours = call(SYS_PIDFD_GETFD, process, fd, 0) if process >= 0 else -1
        if ours < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"descriptor {fd} of process {pid}: {os.strerror(number)}")
        return ours
    finally:
        if process >= 0:
            os.close(process)


class Control:
    """Answers what programs send on their netlink sockets.

    missing     there is no family: the module is not loaded
    fails       {command: errno}: it is refused with that
    commands    (command, {attribute: value}, pid) of all that came
    """

    def __init__(self, driver):
        self.driver = driver
        self.missing, self.fails = False, {}
        self.commands = []

    def open(self):
        """A program's end of a new netlink socket, which the caller closes. SOCK_SEQPACKET has messages, and ignores
        the address of a sendto()."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        threading.Thread(target=self._serve, args=(ours,), daemon=True).start()
        return theirs.detach()

    def _serve(self, ours):
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        with ours:
            while not self.driver.ended.is_set():
                if not poll.poll(500):
                    continue
                try:
                    data, ancillary, _, _ = ours.recvmsg(65536, 64)
                    if not data:
                        return
                    pid = struct.unpack("=iII", ancillary[0][2])[0]
                    for part in self._answer(data, pid):
                        ours.send(part)
                except OSError:                 # the program has ended
                    return
                except Exception as mistake:    # a mistake here must not hang the program
                    self.driver.violation(f"stand-in: netlink: {mistake!r}")
                    return

    def _answer(self, data, pid):
        """The messages that answer one."""
        try:
            header, command, attributes = nl.parse(data)
        except nl.Malformed as why:
            self.driver.violation(f"netlink: {why}: {data.hex()}")
            return
        number = 0
        with self.driver.changed:
            try:
                yield from self._command(header, command, attributes, pid)
            except Refused as refused:
                number = refused.number
            except nl.Malformed as why:
                self.driver.violation(f"netlink: command {command}: {why}")
                number = errno.EINVAL
            self.driver.changed.notify_all()
        if number or header.flags & nl.ACK_WANTED:
            yield nl.error(data, header, number)

    def _command(self, header, command, attributes, pid):
        if header.type == nl.CTRL_ID:
            yield self._family(header, command, attributes)
            return
        if header.type != nl.FAMILY_ID:
            raise Refused(errno.ENOENT)
        values = self._values(attributes)
        names = {nl.NAMES[kind]: value for kind, value in values.items()}
        self.commands.append((command, names, pid))
        self.driver.event(f"command {command} of {pid}: {names}")
        self._check(command, values)
        if command != nl.STATUS and not has_capability(pid):
            raise Refused(errno.EPERM)
        if command in self.fails:
            raise Refused(self.fails[command])
        work = {nl.CONNECT: self._connect, nl.RECONFIGURE: self._reconfigure, nl.DISCONNECT: self._disconnect,
                nl.STATUS: self._status}.get(command)
        if not work:
            raise Refused(errno.EOPNOTSUPP)
        answer = work(values, pid)
        if answer:
            yield nl.message(header, nl.FAMILY_ID, command, answer)

    def _family(self, header, command, attributes):
        name = dict(attributes).get(nl.CTRL_FAMILY_NAME)
        if command != nl.CTRL_GETFAMILY or name != b"nbd\0":
            self.driver.violation(f"netlink: command {command} of the controller, name {name}")
            raise Refused(errno.EINVAL)
        if self.missing:
            raise Refused(errno.ENOENT)
        return nl.message(header, nl.CTRL_ID, nl.CTRL_NEWFAMILY, nl.attribute(nl.CTRL_FAMILY_NAME, name),
                          nl.attribute(nl.CTRL_FAMILY_ID, struct.pack("=H", nl.FAMILY_ID)),
                          nl.attribute(nl.CTRL_VERSION, 1), nl.attribute(4, 0), nl.attribute(5, 10),
                          nl.attribute(6, nl.attribute(1, nl.attribute(1, 1) + nl.attribute(2, 8))))

    # -- attributes ------------------------------------------------------------------------------

    def _values(self, attributes):
        values = {}
        for kind, data in attributes:
            if kind in values:
                raise nl.Malformed(f"{nl.NAMES[kind]} twice")
            if not 0 < kind < len(nl.NAMES):
                raise nl.Malformed(f"attribute {kind}")
            if kind in WIDTH:
                if len(data) != WIDTH[kind]:
                    raise nl.Malformed(f"{nl.NAMES[kind]} of {len(data)} bytes")
                values[kind] = int.from_bytes(data, "little" if struct.pack("=H", 1)[0] else "big")
            elif kind == nl.SOCKETS:
                values[kind] = [struct.unpack("=I", dict(nl.attributes(item))[1])[0]
                                for _, item in nl.attributes(data)]
            else:
                values[kind] = data.rstrip(b"\0").decode() if kind == nl.BACKEND_IDENTIFIER else data
        return values

    def _check(self, command, values):
        """Whether the daemon asks for what it has to."""
        def wrong(text):
            self.driver.violation(f"netlink: command {command}: {text}: {values}")
        for kind, value in NEEDED.get(command, {}).items():
            if values.get(kind) != value:
                wrong(f"{nl.NAMES[kind]} is not {value}")
        for kind in values.keys() - ALLOWED.get(command, set()) - NEEDED.get(command, {}).keys():
            wrong(f"{nl.NAMES[kind]} is there")
        if values.get(nl.CLIENT_FLAGS) or (command == nl.RECONFIGURE and values.get(nl.TIMEOUT)):
            wrong("a flag of the client, or a time-out")
        if command == nl.CONNECT and (not values.get(nl.SIZE_BYTES) or values[nl.SIZE_BYTES] % 4096):
            wrong("the size is no multiple of 4096")
        if command in (nl.CONNECT, nl.RECONFIGURE):
            identifier = values.get(nl.BACKEND_IDENTIFIER, "")
            if not re.fullmatch(r"(?s)cachefilesd-mini:.+:[^:]+\.[^:.]+", identifier):
                wrong("the identifier")
            if len(values.get(nl.SOCKETS, [])) != 1:
                wrong("not one socket")

    # -- commands --------------------------------------------------------------------------------

    def _named(self, values, create=False):
        if nl.INDEX not in values:
            raise Refused(errno.EINVAL)
        device = self.driver.device(values[nl.INDEX], create)
        if not device:
            raise Refused(errno.EINVAL)
        return device

    def _socket(self, values, pid):
        """A duplicate of the socket, as sockfd_lookup() and nbd_get_socket() take it."""
        try:
            fd = descriptor_of(pid, values[nl.SOCKETS][0])
        except OSError as error:
            if error.errno != errno.ESRCH:      # else it was killed meanwhile
                self.driver.violation(f"netlink: {error}")
            raise Refused(errno.EINVAL) from error
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.close(fd)
            self.driver.violation("netlink: SOCK_FD is no socket")
            raise Refused(errno.ENOTSOCK)
        with socket.socket(fileno=os.dup(fd)) as s:
            if s.type != socket.SOCK_STREAM or s.family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
                self.driver.violation(f"netlink: SOCK_FD is {s}")
                raise Refused(errno.EINVAL)
        return fd

    def _connect(self, values, pid):
        if nl.INDEX in values:
            device = self._named(values, create=True)
            if device.connected:
                raise Refused(errno.EBUSY)
        else:
            free = next((d for d in self.driver.devices if not d.connected), None)
            device = free or self.driver.device(len(self.driver.devices), True)
        fd = self._socket(values, pid)
        device.size, device.block = values[nl.SIZE_BYTES], values[nl.BLOCK_SIZE]
        device.backend, device.pid = values[nl.BACKEND_IDENTIFIER], pid
        device.connect(fd)
        device.publish()
        return nl.attribute(nl.INDEX, device.index)

    def _reconfigure(self, values, pid):
        device = self._named(values)
        if not device.bound or values.get(nl.BACKEND_IDENTIFIER) != device.backend:
            raise Refused(errno.EINVAL)
        fd = self._socket(values, pid)
        if not device.link.dead:        # it takes nothing, and says nothing of it (nbd_reconnect_socket())
            os.close(fd)
            self.driver.event(f"{device}: the socket lives, none is taken")
            return
        device.connect(fd)
        self.driver.event(f"{device}: another socket")

    def _disconnect(self, values, pid):
        device = self._named(values)
        if device.claimed:
            self.driver.violation(f"{device} is disconnected while it is claimed")
        if device.connected:
            device.disconnect()

    def _status(self, values, pid):
        wanted = [d for d in self.driver.devices if values.get(nl.INDEX) in (None, d.index)]
        items = [nl.attribute(1, nl.attribute(1, d.index) + nl.attribute(2, bytes([d.connected]))) for d in wanted]
        return nl.attribute(nl.DEVICE_LIST, b"".join(items))


def has_capability(pid):
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("CapEff:"))
    return int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1
