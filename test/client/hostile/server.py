"""A web server that misbehaves on purpose: the machinery of the misbehaviours.

A Server is one misbehaviour on one port of 127.0.0.1, with a thread for each connection. It works on raw sockets, with
TLS in memory, so that it can send any byte at any moment and stop at any. By default a Request is answered as RFC 9110
and RFC 9112 demand; a misbehaviour is a function that takes the place of that answer, or of the start of the connection
or of the listener.
"""
import random
import re
import select
import socket
import ssl
import struct
import threading
import time

PATH = "/image"


class Over(Exception):
    """The server has ended the connection."""


class Version:
    """One version of an image: its bytes and its validators."""

    def __init__(self, data, etag='"one"', modified="Wed, 06 Apr 2022 07:55:52 GMT"):
        self.data, self.etag, self.modified = data, etag, modified

    def but(self, **changes):
        return Version(**{**vars(self), **changes})


def make_data(seed, size):
    """The same bytes for the same seed everywhere; no two pieces are alike."""
    return random.Random(f"hostile {seed}").randbytes(size)


def end_with_reset(sock):
    """close() will send RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Connection:
    """One accepted connection. It counts raw bytes, below TLS, and ends after `budget` of them."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self.budget = None              # raw bytes that may still go out; None: any number
        self.cut_by = "close"           # how it ends when the budget is used up
        self.tls = None
        self.pending = b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- raw bytes -----------------------------------------------------------------------------

    def raw(self, data):
        """Sends bytes as they are."""
        if self.budget is not None:
            now, self.budget = data[:self.budget], max(0, self.budget - len(data))
            self.sock.sendall(now)
            if len(now) < len(data):
                self.end(self.cut_by)
        else:
            self.sock.sendall(data)

    def raw_recv(self):
        data = self.sock.recv(65536)
        if not data:
            raise Over
        return data

    # -- TLS, if the server has any --------------------------------------------------------------

    def start(self, context):
        """The TLS handshake."""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.until_done(self.tls.do_handshake)

    def until_done(self, operation):
        """Calls a TLS operation until it needs no more bytes, and sends its output."""
        while True:
            try:
                result = operation()
                self.raw(self.outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.raw(self.outgoing.read())
                self.incoming.write(self.raw_recv())
            except ssl.SSLError:
                self.raw(self.outgoing.read())      # a fatal alert
                raise

    def end_tls(self):
        """Sends close_notify and ends the connection."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.raw(self.outgoing.read())
        self.close()

    def fatal_alert(self):
        """Sends a fatal alert, properly encrypted: OpenSSL's answer to a broken record."""
        self.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.until_done(lambda: self.tls.read(1))

    # -- bytes for the peer ----------------------------------------------------------------------

    def send(self, data):
        if not self.tls:
            return self.raw(data)
        at = 0
        while at < len(data):
            at += self.tls.write(data[at:at + 65536])
            self.raw(self.outgoing.read())

    def send_slowly(self, data, step, seconds):
        """Sends `step` bytes at a time, each in its own record and segment, with a pause behind."""
        for at in range(0, len(data), step):
            self.send(data[at:at + step])
            if seconds:
                self.linger(seconds)

    def send_for_ever(self, data):
        """Sends until the peer ends the connection: a later send raises an exception."""
        end = time.monotonic() + 60
        while time.monotonic() < end and not self.server.stopped.is_set():
            self.send(data)
        raise Over

    def recv(self):
        return self.until_done(lambda: self.tls.read(65536)) if self.tls else self.raw_recv()

    def request(self):
        """The next request's head."""
        while b"\r\n\r\n" not in self.pending:
            data = self.recv()
            if not data:
                raise Over
            self.pending += data
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        return Request(self, head.decode("latin-1"))

    # -- ends ------------------------------------------------------------------------------------

    def linger(self, seconds=60):
        """Is silent for `seconds`, or until the peer or the server ends."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.stopped.is_set():
                raise Over
            readable, _, _ = select.select([self.sock], [], [], min(left, 0.2))
            if readable and not self.sock.recv(1, socket.MSG_PEEK):
                raise Over
            if readable:
                time.sleep(min(left, 0.05))     # another request, which can wait

    def close(self):
        raise Over

    def reset(self):
        end_with_reset(self.sock)
        raise Over

    def end(self, how):
        """By FIN ("close") or by RST ("reset")."""
        self.reset() if how == "reset" else self.close()

    def give_up(self):
        """Ends it a second later: the client has time to notice the mistake."""
        self.linger(1)
        self.close()


class Request:
    """A request, with right and nearly right answers."""

    def __init__(self, connection, head):
        self.c = connection
        line, *lines = head.split("\r\n")
        self.target = line.split(" ")[1]
        self.fields = {}
        for field in lines:
            name, _, value = field.partition(":")
            self.fields[name.lower()] = value.strip()
        self.number = 0                 # among the server's requests, from 1
        self.give_to(connection.server)

    def give_to(self, server):
        """Lets another server than that of the connection answer it."""
        self.server, self.version = server, server.version
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.fields.get("range", ""))
        self.ranged = match is not None
        self.first, self.last = map(int, match.groups()) if match else (0, 1 << 62)
        self.last = min(self.last, self.size - 1)

    @property
    def size(self):
        return len(self.version.data)

    def body(self, version=None):
        return (version or self.version).data[self.first:self.last + 1]

    def content_range(self, first=None, last=None, total=None):
        first = self.first if first is None else first
        last = self.last if last is None else last
        return f"bytes {first}-{last}/{self.size if total is None else total}"

    def head(self, status="206 Partial Content", protocol="HTTP/1.1", **changes):
        """The head of the right answer. `changes` are other fields: None omits one, a list repeats it."""
        fields = {"content_type": "application/octet-stream", "content_range": self.content_range(),
                  "content_length": self.last - self.first + 1, "etag": self.version.etag,
                  "last_modified": self.version.modified, **changes}
        lines = [f"{protocol} {status}"]
        for name, value in fields.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    lines.append(f"{name.replace('_', '-').title()}: {one}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def answer(self, body=None, **changes):
        """The right answer, with another body or other fields."""
        if not self.ranged or self.is_stale():
            return self.whole()
        if self.first >= self.size:
            return self.page("416 Range Not Satisfiable", content_range=f"bytes */{self.size}")
        self.c.send(self.head(**changes) + (self.body() if body is None else body))

    def is_stale(self):
        """Whether the client asks for the range of another version only (If-Range)."""
        return self.fields.get("if-range") not in (None, self.version.etag, self.version.modified)

    def whole(self, **changes):
        """200 and all of the image."""
        self.c.send(self.head("200 OK", **{"content_range": None, "content_length": self.size,
                                           **changes}) + self.version.data)

    def page(self, status, body=b"<html><title>no image</title></html>\n", **fields):
        """An error status with a web page."""
        self.c.send(self.head(status, **{
            "content_type": "text/html", "content_range": None, "content_length": len(body),
            "etag": None, "last_modified": None, **fields}) + body)

    def redirect(self, location, status="302 Found", **fields):
        self.page(status, location=location, **fields)

    def chunked(self, size=10000, body=None, extension=b"", trailers=b"", end=True, **changes):
        """The right answer in chunks."""
        body = self.body() if body is None else body
        chunks = [b"%x%b\r\n%b\r\n" % (len(body[at:at + size]), extension, body[at:at + size])
                  for at in range(0, len(body), size)]
        last = b"0\r\n" + trailers + b"\r\n" if end else b""
        self.c.send(self.head(content_length=None, transfer_encoding="chunked", **changes) +
                    b"".join(chunks) + last)

    def cut(self, after, how="close"):
        """The right head, `after` bytes of the body, and the end."""
        self.c.send(self.head() + self.body()[:after])
        self.c.end(how)


class Server:
    """One misbehaviour on one port, and a context manager. `context`: its TLS, or None.

    With `armed` False it answers rightly until arm(): an image can be mounted first."""

    def __init__(self, case, version, context=None, variant=None, port=0, armed=True, host="127.0.0.1"):
        self.case, self.version, self.variant, self.host = case, version, variant, host
        self.context = context if case.tls else None
        self.peer = None                # another Server, for a misbehaviour of two
        self.state = {}                 # the misbehaviour's own notes
        self.armed = armed
        self.requests = self.connections = self.misbehaved = 0
        self.base = 0
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.port = self.listener.getsockname()[1]
        # A misbehaviour of the listener cannot wait for arm().
        target = case.listen if case.listen else Server.serve
        if not case.listen:
            self.listener.listen(128)
        threading.Thread(target=target, args=(self,), daemon=True).start()

    def arm(self):
        """Begins to misbehave; the next request counts as the second."""
        self.base = self.requests - 1
        self.armed = True

    def disarm(self):
        self.armed = False

    def stop(self):
        self.stopped.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def url(self, path=PATH, userinfo="", scheme=None, host=None):
        scheme = scheme or ("https" if self.case.tls else "http")
        return f"{scheme}://{userinfo}{host or self.host}:{self.port}{path}"

    # -- the work --------------------------------------------------------------------------------

    def serve(self):
        """Takes connections until stop()."""
        while not self.stopped.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                connection = Connection(self, sock, self.connections)
            threading.Thread(target=self.connection, args=(connection,), daemon=True).start()

    def connection(self, c):
        try:
            if self.case.connect and self.armed:
                self.mark()
                self.case.connect(c)
            if self.context and not c.tls:
                c.start(self.context)
            while not self.stopped.is_set():
                self.reply(c.request())
        except (Over, OSError, ssl.SSLError):
            pass
        finally:
            c.sock.close()

    def mark(self):
        with self.lock:
            self.misbehaved += 1

    def reply(self, request):
        with self.lock:
            self.requests += 1
            request.number = self.requests - self.base
        if self.case.request and self.armed and self.case.is_time(request.number):
            self.mark()
            self.case.request(request)
        else:
            request.answer()
