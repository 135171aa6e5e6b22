"""An HTTP/1.1 range server for the tests: right by default, wrong on demand.

Images are bytes in memory, by path ("/img"). The mistakes of a reply are a dict of "knobs", merged, later over earlier,
from Server.default, Server.paths[path], the next of Server.queue, and Server.rule(request):

    delay S          wait before the reply's head          status N        an error page
    redirect (N, U)  status N, Location: U                 drop True       close, no answer
    reset True       close with RST                        raw B           these bytes, then close
    ignore_range     200 and the whole image               short N         a 206 of the first N bytes only
    content_range S  another Content-Range ("" for none)   cut N           close after N bytes of body
    stall N          nothing more after N bytes of body    rate N          bytes of body a second
    chunked N        chunks of N bytes                     encoding S      Content-Encoding: S, a gzip body
    close True       Connection: close                     http10 True     an HTTP/1.0 server
    idle_close S     close S seconds after a reply         headers L       more header lines
    etag S, last_modified S, size N, image B               another validator, size, image ("" for no field)

Server.pace is the bytes of body a second of all connections together, which take turns; 0: no limit.
"""
import collections
import gzip
import hashlib
import random
import re
import select
import socket
import struct
import threading
import time
import urllib.parse

# No server listens there (tcpmux), and the kernel gives this port to none that takes any port.
REFUSED = "http://127.0.0.1:1/"

REASONS = {200: "OK", 206: "Partial Content", 301: "Moved Permanently", 302: "Found",
           303: "See Other", 304: "Not Modified", 307: "Temporary Redirect",
           308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 410: "Gone", 412: "Precondition Failed", 416: "Range Not Satisfiable",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


def image(seed, size):
    """The same pseudo-random bytes for the same seed and size, everywhere."""
    return random.Random(f"image {seed}").randbytes(size)


class Request:
    """One request and its reply."""

    def __init__(self, head, connection):
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.method, self.target, self.version = (lines[0].split(" ") + ["", "", ""])[:3]
        self.path = urllib.parse.unquote(self.target.split("?")[0], errors="surrogateescape")
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        self.range = (int(match[1]), int(match[2]) if match[2] else None) if match else None
        self.connection = connection
        self.number = 0         # on its connection, from 1 on
        self.pipelined = False  # it arrived before the last bytes of the previous reply were sent
        self.behind = 0         # the number of requests that arrived before its own last bytes were sent
        self.pending = b""      # the bytes received behind it
        self.status = None
        self.sent = 0           # bytes of body
        self.time = time.monotonic()

    def __repr__(self):
        return f"{self.line} range={self.range} -> {self.status}, {self.sent} bytes"


class Server:
    """A server with a thread for each connection, and a context manager. `tls`: an ssl.SSLContext."""

    def __init__(self, images=None, host="127.0.0.1", port=0, tls=None, **default):
        self.images = dict(images or {})
        self.default = default
        self.paths = {}
        self.queue = collections.deque()
        self.rule = None
        self.pace, self.turn = 0, 0.0
        self.etags = {}
        self.requests = []
        self.connections = 0
        self.host, self.port, self.tls = host, port, tls
        self.lock = threading.Lock()
        self.open = set()
        self.listener = None
        self.start()

    # -- life ------------------------------------------------------------------------------------

    def start(self):
        """Listens, on the same port as before if there was one."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self.listener = listener
        self.stopped = threading.Event()
        threading.Thread(target=self._accept, args=(listener, self.stopped), daemon=True).start()

    def stop(self):
        """Closes the port and every connection."""
        if not self.listener:
            return
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    # -- for the tests ---------------------------------------------------------------------------

    @property
    def url(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    def bytes_sent(self, path=None, since=0):
        """Bytes of image bodies sent, for the requests from index `since` on."""
        return sum(r.sent for r in self.requests[since:] if path in (None, r.path) and r.status in (200, 206))

    def next(self, *knobs):
        """Queues the knobs of the next replies, one dict each."""
        self.queue.extend(knobs)

    # -- the work --------------------------------------------------------------------------------

    def _accept(self, listener, stopped):
        while not stopped.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                number = self.connections
            threading.Thread(target=self._connection, args=(sock, number, stopped), daemon=True).start()

    def _connection(self, sock, number, stopped):
        raw = sock
        with self.lock:
            self.open.add(raw)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            pending, count, behind = b"", 0, 0
            while not stopped.is_set():
                while b"\r\n\r\n" not in pending:
                    more = sock.recv(65536)
                    if not more:
                        return
                    pending += more
                head, _, pending = pending.partition(b"\r\n\r\n")
                request = Request(head, number)
                count += 1
                request.number, request.pending, request.pipelined = count, pending, behind > 0
                with self.lock:
                    self.requests.append(request)
                if not self._reply(sock, request, self._knobs(request), stopped):
                    return
                behind = max(request.behind, behind - 1)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(raw)
            try:
                sock.close()
            except OSError:
                pass

    def _knobs(self, request):
        knobs = dict(self.default)
        knobs.update(self.paths.get(request.path, {}))
        with self.lock:
            if self.queue:
                knobs.update(self.queue.popleft() or {})
        if self.rule:
            knobs.update(self.rule(request) or {})
        return knobs

    @staticmethod
    def _linger(sock, stopped, seconds):
        """Waits; ends early, and returns False, if the peer or the server has ended."""
        end = time.monotonic() + seconds
        while not stopped.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return True
            readable, _, _ = select.select([sock], [], [], min(left, 0.2))
            if readable:
                try:
                    if not sock.recv(1, socket.MSG_PEEK):
                        return False
                except (OSError, ValueError):
                    return False
                time.sleep(min(left, 0.05))     # a pipelined request, which comes later
        return False

    @staticmethod
    def _look_behind(sock, request):
        """Counts the requests that have arrived already; not with TLS, which cannot peek."""
        pending = request.pending
        if not hasattr(sock, "context"):
            try:
                pending += sock.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except OSError:
                pass
        request.behind = pending.count(b"\r\n\r\n")

    def _wait_turn(self, size):
        """Waits until all connections together may send `size` more bytes."""
        with self.lock:
            # A thread that has slept too long catches up.
            self.turn = max(self.turn, time.monotonic() - 0.1) + size / self.pace
            left = self.turn - time.monotonic()
        time.sleep(max(left, 0))

    def _reply(self, sock, request, knobs, stopped):
        """Answers. Returns whether the connection stays open."""
        if knobs.get("delay") and not self._linger(sock, stopped, knobs["delay"]):
            return False
        if knobs.get("reset"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if knobs.get("drop"):
            return False
        if "raw" in knobs:
            sock.sendall(knobs["raw"])
            return False

        lines, body, status = self._compose(request, knobs)
        version = "HTTP/1.0" if knobs.get("http10") else "HTTP/1.1"
        close = knobs.get("close") or knobs.get("http10") or \
            request.headers.get("connection", "").lower() == "close"
        if knobs.get("close"):
            lines.append("Connection: close")
        if knobs.get("chunked") and not knobs.get("http10"):
            lines.append("Transfer-Encoding: chunked")
        else:
            lines.append(f"Content-Length: {len(body)}")
        lines += knobs.get("headers", [])
        request.status = status
        head = f"{version} {status} {REASONS.get(status, 'Unknown')}\r\n" + "".join(f"{l}\r\n" for l in lines) + "\r\n"
        if status >= 300 and request.method != "HEAD" and not knobs.keys() & {"chunked", "cut", "stall", "rate"}:
            # As servers do: the page of an error comes together with its head.
            sock.sendall(head.encode("latin-1") + body)
            request.sent = len(body)
            body = body[len(body):]
        else:
            sock.sendall(head.encode("latin-1"))
        if request.method == "HEAD":
            return not close
        if not self._body(sock, request, knobs, body, stopped):
            return False
        if "idle_close" in knobs:
            self._linger(sock, stopped, knobs["idle_close"])
            return False
        return not close

    def _etag(self, data):
        """The ETag of the image's bytes; it is computed once."""
        known = self.etags.get(id(data))
        if not known or known[0] is not data:
            known = self.etags[id(data)] = (data, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
        return known[1]

    def _compose(self, request, knobs):
        """The header lines, body and status of a reply."""
        page = b"<html><title>no image</title></html>\n"
        if "status" in knobs:
            return ["Content-Type: text/html"], page, knobs["status"]
        if "redirect" in knobs:
            status, location = knobs["redirect"]
            return [f"Location: {location}"], page, status
        data = knobs.get("image", self.images.get(request.path))
        if data is None:
            return ["Content-Type: text/html"], page, 404
        if request.method not in ("GET", "HEAD"):
            return [], page, 400
        size = knobs.get("size", len(data))
        etag = knobs["etag"] if "etag" in knobs else self._etag(data)
        modified = knobs.get("last_modified", "Wed, 06 Apr 2022 07:55:52 GMT")
        lines = ["Content-Type: application/octet-stream", "Accept-Ranges: bytes"]
        lines += [f"ETag: {etag}"] if etag else []
        lines += [f"Last-Modified: {modified}"] if modified else []
        if "if-match" in request.headers and request.headers["if-match"] != etag:
            return lines, page, 412
        status, body = 200, memoryview(data)
        stale = "if-range" in request.headers and request.headers["if-range"] not in (etag, modified)
        if request.range and not knobs.get("ignore_range") and not stale:
            first, last = request.range
            if first >= size:
                return lines + [f"Content-Range: bytes */{size}"], page, 416
            last = size - 1 if last is None else min(last, size - 1)
            if "short" in knobs:
                last = min(last, first + knobs["short"] - 1)
            status, body = 206, body[first:last + 1]
            content_range = knobs.get("content_range", f"bytes {first}-{last}/{size}")
            lines += [f"Content-Range: {content_range}"] if content_range else []
        if "encoding" in knobs:
            body = memoryview(gzip.compress(bytes(body), 1))
            lines.append(f"Content-Encoding: {knobs['encoding']}")
        return lines, body, status

    def _body(self, sock, request, knobs, body, stopped):
        end = min(len(body), knobs.get("cut", len(body)), knobs.get("stall", len(body)))
        step = knobs.get("chunked") or 262144
        if knobs.get("rate"):
            step = min(step, max(1, int(knobs["rate"] / 20)))
        if self.pace:
            step = min(step, max(1, int(self.pace / 50)))
        chunked = knobs.get("chunked") and not knobs.get("http10")
        at = 0
        while at < end:
            part = body[at:min(at + step, end)]
            at += len(part)
            if self.pace:
                self._wait_turn(len(part))
            if at == end:
                self._look_behind(sock, request)
            request.sent = at
            if chunked:
                sock.sendall(b"%x\r\n" % len(part))
            sock.sendall(part)
            if chunked:
                sock.sendall(b"\r\n")
            if knobs.get("rate") and not self._linger(sock, stopped, len(part) / knobs["rate"]):
                return False
        if "stall" in knobs and end < len(body):
            self._linger(sock, stopped, 1e6)
            return False
        if end < len(body):
            sock.shutdown(socket.SHUT_RDWR)
            return False
        if chunked:
            sock.sendall(b"0\r\n\r\n")
        return True
