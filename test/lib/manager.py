"""systemd's part for a service: it takes notifications, and keeps descriptors over a restart (sd_notify(3),
sd_listen_fds(3))."""
import contextlib
import fcntl
import os
import socket


class ServiceManager:
    """Listens on the abstract socket of this name. `stored` are the descriptors by name, at most `most`,
    `lines` all that came."""

    def __init__(self, name, most=64):
        self.name, self.most = name, most
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name)
        self.socket.setblocking(False)
        self.stored, self.lines = {}, []

    def listen(self):
        """Takes all notifications that have arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                text, fds, _, _ = socket.recv_fds(self.socket, 4096, 8)
                lines = text.decode().split("\n")
                self.lines += lines
                name = next((line[7:] for line in lines if line.startswith("FDNAME=")), None)
                if "FDSTOREREMOVE=1" in lines:
                    self.forget(name)
                for fd in fds:
                    assert "FDSTORE=1" in lines, f"descriptors with {lines}"
                    self.forget(name)
                    if len(self.stored) < self.most:
                        self.stored[name] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
                    os.close(fd)

    def forget(self, name):
        if name in self.stored:
            os.close(self.stored.pop(name))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()
        while self.stored:
            os.close(self.stored.popitem()[1])

    def service(self):
        """The words before a program's argv by which it finds the stored descriptors from 3 on, its environment, and
        the descriptors that it has to inherit for that."""
        fds = list(self.stored.values())
        shell = "".join(f"exec {3 + i}<&{fd} {fd}<&-; " for i, fd in enumerate(fds))
        environment = dict(os.environ, NOTIFY_SOCKET="@" + self.name)
        if fds:
            environment |= {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(self.stored)}
        return ["/bin/bash", "-c", shell + "export LISTEN_PID=$$; exec \"$@\"", "sh"], environment, fds
