"""TLS 1.3 in the daemon: what is remembered of servers that refuse 1.2."""
import os
import signal
import ssl
import tempfile

from lib import certs
from scenarios.common import KIB, MIB, Server, daemon, each, image, kill_worker, need, reload, scenario


class Folder(tempfile.TemporaryDirectory):
    """With an authority, and a server's certificate of it."""

    def __enter__(self):
        folder = super().__enter__()
        certs.make_ca(folder)
        certs.make_server(folder)
        os.chmod(folder, 0o755)
        return folder


def context(folder, least, most):
    made = certs.server_context(folder)
    made.minimum_version, made.maximum_version = least, most
    return made


V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Changing:
    """A server's TLS, as ssl.SSLContext; its `context` may change. It notes the versions that were agreed upon, and
    the hellos that came to nothing."""

    def __init__(self, context):
        self.context, self.versions, self.refused = context, [], 0

    def wrap_socket(self, sock, server_side):
        try:
            wrapped = self.context.wrap_socket(sock, server_side=server_side)
        except ssl.SSLError:
            self.refused += 1
            raise
        self.versions.append(wrapped.version())
        return wrapped


@scenario
def server_goes_to_newer():
    """a server that goes from 1.2 to 1.3 only while an image is open costs a reconnect, and is remembered"""
    data = image("newer", 8 * MIB)
    with Folder() as folder:
        tls = Changing(context(folder, V12, V12))
        # Each answer ends its connection.
        with Server({"/img": data}, tls=tls, close=True) as s, \
                daemon(s, f"ca {folder}/ca.pem", "timeout 20", "read-ahead none") as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 64 * KIB)
            assert set(tls.versions) == {"TLSv1.2"} and tls.refused == 0, (tls.versions, tls.refused)
            tls.context, tls.versions = context(folder, V13, V13), []
            need(k, f, data, MIB, 64 * KIB)
            refused = tls.refused
            assert refused > 0 and set(tls.versions) == {"TLSv1.3"}, (tls.versions, refused)
            need(k, f, data, 2 * MIB, 64 * KIB)
            need(k, f, data, 5 * MIB, 64 * KIB)
            assert tls.refused == refused, "it was asked by 1.2 again"


@each("another worker", "SIGHUP")
def remembered_by_workers(how):
    """the next worker knows which servers refuse 1.2"""
    data = image("newer", 2 * MIB)
    with Folder() as folder:
        tls = Changing(context(folder, V13, V13))
        with Server({"/img": data}, tls=tls, close=True) as s, \
                daemon(s, f"ca {folder}/ca.pem", "read-ahead none") as k:
            f = k.opened("erofs,img", b"img")
            need(k, f, data, 0, 64 * KIB)
            refused = tls.refused
            assert refused > 0, "it was not asked by 1.2"
            if how == "SIGHUP":
                reload(k)
            else:
                kill_worker(k, signal.SIGKILL)
            need(k, f, data, MIB, 64 * KIB)
            assert tls.refused == refused, f"{tls.refused - refused} more hellos of 1.2"
