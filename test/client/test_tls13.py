#!/usr/bin/python3
"""TLS 1.3 where 1.2 is refused, and only there: cachefilesd-mini --get and --check with servers of OpenSSL, and with
some that say one thing and do another.

    test/client/test_tls13.py [BINARY]      (default: ./cachefilesd-mini)

Prints TAP; exit status 1 if a case failed.
"""
import concurrent.futures
import contextlib
import os
import queue
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import certs, httpserver, tap

BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "cachefilesd-mini")
IMAGE = httpserver.image("tls13", 300001)
FOLDER = tempfile.TemporaryDirectory(prefix="test_tls13.")
UNTRUSTED = 10      # exit status of --get: base/outcome.c
TRIES = 2           # an image that cannot be opened is tried twice
ONLY_13, ONLY_12 = (ssl.TLSVersion.TLSv1_3,) * 2, (ssl.TLSVersion.TLSv1_2,) * 2
BOTH = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
tests = []


def test(name):
    def add(function):
        tests.append((name, function))
        return function
    return add


def path(name):
    return os.path.join(FOLDER.name, name)


def check(condition, *details):
    if not condition:
        raise AssertionError(" ".join(str(d)[:800] for d in details))


def context(versions, name="leaf"):
    made = certs.server_context(FOLDER.name, name)
    made.minimum_version, made.maximum_version = versions
    return made


class Server(httpserver.Server):
    """A server of the image. `gate` is called with a connection and its number before TLS: it may take the
    connection's place (True), or give it another context."""

    def __init__(self, tls, gate=None, **default):
        self.gate, self.versions = gate, []
        super().__init__({"/img": IMAGE}, tls=self, **default)
        self.context = tls

    def wrap_socket(self, sock, server_side):
        """In the context's place."""
        tls = self.context
        if self.gate:
            with self.lock:
                number = self.connections
            answer = self.gate(sock, number)
            if answer is True:
                sock.close()
                raise OSError("the gate has taken it")
            tls = answer or tls
        wrapped = tls.wrap_socket(sock, server_side=server_side, suppress_ragged_eofs=False)
        self.versions.append(wrapped.version())
        return wrapped


def run(*words, lines=()):
    options = [word for line in (f"ca {path('ca.pem')}", "timeout 5", *lines) for word in ("-o", line)]
    return subprocess.run([BINARY, *options, *words], capture_output=True, timeout=60)


def get(server, *lines):
    result = run("--get", server.url + "img", lines=lines)
    check(b"Sanitizer" not in result.stderr, result.stderr)
    return result


def get_right(server, *lines):
    result = get(server, *lines)
    check(result.returncode == 0 and result.stdout == IMAGE, result.returncode, result.stderr.decode())


def get_refused(server, words, *lines):
    result = get(server, *lines)
    check(result.returncode == UNTRUSTED and not result.stdout, result.returncode, len(result.stdout), result.stderr)
    check(re.search(words, result.stderr.decode()), "no", words, "in", result.stderr.decode())


def connections(server, count):
    check(server.connections == count, server.connections, "connections, not", count, server.versions)


def hello_of(sock):
    """The ClientHello that has come, left in the socket."""
    size = 0
    while size < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
        data = sock.recv(2000, socket.MSG_PEEK)
        if not data or (len(data) == size and time.sleep(0.01)):
            break
        size = len(data)
    return data


def is_newer(sock):
    """Whether the client offers 1.3: supported_versions with nothing else."""
    return b"\0\x2b\0\3\2\3\4" in hello_of(sock)


def say_alert(sock, number):
    """Takes the hello, and refuses it."""
    sock.recv(len(hello_of(sock)))
    sock.sendall(bytes([21, 3, 3, 0, 2, 2, number]))


# -- which version ----------------------------------------------------------------------------------

@test("a server of 1.3 only costs one connection more, once")
def only_13():
    with Server(context(ONLY_13)) as server:
        get_right(server)
        connections(server, 2)
        check(server.versions == ["TLSv1.3"], server.versions)


@test("the next connections to it are of 1.3 at once")
def remembered():
    with Server(context(ONLY_13)) as server:
        server.next({}, {"cut": 100000}, {"cut": 50000})
        get_right(server)
        connections(server, 4)
        check(server.versions == ["TLSv1.3"] * 3, server.versions)


@test("a server of 1.2 only costs one connection")
def only_12():
    with Server(context(ONLY_12)) as server:
        get_right(server)
        connections(server, 1)


@test("a server of both is spoken to by 1.2")
def both():
    with Server(context(BOTH)) as server:
        get_right(server)
        connections(server, 1)
        check(server.versions == ["TLSv1.2"], server.versions)


@test("tls 1.3: at once, and nothing else")
def directive_13():
    for versions in (ONLY_13, BOTH):
        with Server(context(versions)) as server:
            get_right(server, "tls 1.3")
            connections(server, 1)
            check(server.versions == ["TLSv1.3"], server.versions)
    with Server(context(ONLY_12)) as server:
        get_refused(server, r"no TLS 1\.3", "tls 1.3")
        connections(server, TRIES)


@test("tls 1.2: nothing else")
def directive_12():
    for versions in (ONLY_12, BOTH):
        with Server(context(versions)) as server:
            get_right(server, "tls 1.2")
            check(server.versions == ["TLSv1.2"], server.versions)
    with Server(context(ONLY_13)) as server:
        get_refused(server, r"no TLS 1\.2 \(tls\)", "tls 1.2")
        connections(server, TRIES)


@test("tls any, and a word that is none")
def directive_any():
    with Server(context(ONLY_13)) as server:
        get_right(server, "tls any")
        result = get(server, "tls 1.1")
        check(result.returncode == 2 and b"any, 1.2 or 1.3" in result.stderr, result.returncode, result.stderr)


# -- refusals ---------------------------------------------------------------------------------------

def refuse_always(number):
    def gate(sock, _):
        say_alert(sock, number)
        return True
    return gate


@test("a server that always says an alert costs two connections each time, and no more")
def refused_always():
    for number, name in ((70, "protocol_version"), (40, "handshake_failure"), (71, "insufficient_security"),
                         (80, "internal_error")):
        with Server(context(BOTH), refuse_always(number)) as server:
            get_refused(server, f"alert {number}, {name}")
            connections(server, 2 * TRIES)


@test("a server that refuses 1.2 by another alert, as in FIPS mode, is spoken to by 1.3")
def refused_older():
    for number in (40, 71, 80):
        def gate(sock, _, number=number):
            if is_newer(sock):
                return None
            say_alert(sock, number)
            return True

        with Server(context(BOTH), gate) as server:
            get_right(server)
            connections(server, 2)


@test("an alert that is not about versions costs one")
def other_alerts():
    for number in (10, 20, 47, 50, 86, 112, 120):
        with Server(context(BOTH), refuse_always(number)) as server:
            get_refused(server, f"alert {number}, ")
            connections(server, TRIES)


def in_turn(*alerts):
    """The connections are refused by these alerts, in turn; None: not."""
    def gate(sock, number):
        if number > len(alerts) or alerts[number - 1] is None:
            return None
        say_alert(sock, alerts[number - 1])
        return True
    return gate


@test("alert 80 once, in the middle, leads to 1.3 if the server has it")
def alert_80():
    with Server(context(BOTH), in_turn(None, 80)) as server:
        server.next({}, {"cut": 100000})
        get_right(server)
        connections(server, 3)
        check(server.versions == ["TLSv1.2", "TLSv1.3"], server.versions)


@test("alert 80 once is not remembered by a server that has no 1.3")
def alert_80_not_remembered():
    hellos = []

    def gate(sock, number):
        hellos.append(is_newer(sock))
        if number != 2:
            return None
        say_alert(sock, 80)
        return True

    # Two mirrors would hide a failure; a second request of the same process shows what it has learnt.
    with Server(context(ONLY_12), gate) as server:
        server.next({}, {"cut": 100000})
        get(server)
        check(hellos[:3] == [False, False, True], hellos)
        check(not any(hellos[3:]), hellos)
        get_right(server)
        check(not hellos[-1], hellos)


@test("where 1.3 was spoken, 1.2 of a server that has 1.3 is refused: DOWNGRD")
def downgrade():
    """The third connection is refused by a forged alert, so that the client tries 1.2; then it is let through."""
    hellos = []

    def gate(sock, number):
        hellos.append(is_newer(sock))
        if number < 3:
            return context(ONLY_13)
        if number == 3:
            say_alert(sock, 70)
            return True
        return context(BOTH)

    with Server(context(BOTH), gate) as server:
        server.next({}, {"cut": 100000})
        result = get(server)
        check(hellos[:4] == [False, True, True, False], hellos)
        check(IMAGE.startswith(result.stdout), "wrong bytes")
        check("TLSv1.2" not in [r.version for r in server.requests], "a request by 1.2")
        check(len(server.requests) >= 1 and all(hellos[4:]), hellos)
        served = {r.connection for r in server.requests}
        check(4 not in served, "a request on the connection of 1.2", served)
        if result.returncode:
            check(re.search("1.3|downgrade|older", result.stderr.decode()), result.stderr)


@test("where 1.3 was spoken, a server that goes back to 1.2 only is believed")
def back():
    def gate(_, number):
        return context(ONLY_13 if number < 3 else ONLY_12)

    with Server(context(BOTH), gate) as server:
        server.next({}, {"cut": 100000})
        get_right(server)
        connections(server, 4)
        check(server.versions == ["TLSv1.3", "TLSv1.2"], server.versions)


@test("so is one that refuses 1.3 by handshake_failure, since it finds no suite of its own")
def back_without_suite():
    def gate(sock, number):
        if number < 3:
            return context(ONLY_13)
        if is_newer(sock):
            say_alert(sock, 40)
            return True
        return context(ONLY_12)

    with Server(context(BOTH), gate) as server:
        server.next({}, {"cut": 100000})
        get_right(server)
        connections(server, 4)
        check(server.versions == ["TLSv1.3", "TLSv1.2"], server.versions)


@test("a server that goes from 1.2 to 1.3 only costs a reconnect")
def forth():
    def gate(_, number):
        return context(ONLY_12 if number < 2 else ONLY_13)

    with Server(context(BOTH), gate) as server:
        server.next({}, {"cut": 100000})
        get_right(server)
        connections(server, 3)
        check(server.versions == ["TLSv1.2", "TLSv1.3"], server.versions)


# -- the end ----------------------------------------------------------------------------------------

@test("the server hears of the end: close_notify, by 1.2 and 1.3")
def close_notify():
    for versions in (ONLY_12, ONLY_13):
        ends = queue.Queue()

        class Listener(ssl.SSLSocket):
            def recv(self, *words, ends=ends):
                try:
                    data = super().recv(*words)
                except OSError as error:
                    ends.put(repr(error))
                    raise
                if not data:
                    ends.put("close_notify")
                return data

        tls = context(versions)
        tls.sslsocket_class = Listener
        with Server(tls) as server:
            get_right(server, "tls " + versions[0].name[-3:].replace("_", "."))
            said = ends.get(timeout=30)
            check(said == "close_notify", versions, said)


# -- who it is --------------------------------------------------------------------------------------

@test("by 1.3 the certificate has to be right, too")
def certificates():
    for name, words in (("other", "is not for address"), ("stranger-leaf", "unknown CA"), ("old", "expired")):
        with Server(context(ONLY_13, name)) as server:
            get_refused(server, words)
            connections(server, 2 * TRIES)
    with Server(context(ONLY_13, "stranger-leaf")) as server:
        get_right(server, f"pin {certs.pin(path('stranger-leaf.pem'))}", "pin-only yes")
        get_refused(server, "not a pinned one", f"pin {certs.pin(path('leaf.pem'))}", "pin-only yes")


@test("kinds of keys by 1.3")
def keys():
    for name in ("rsa", "p384", "p521"):
        with Server(context(ONLY_13, name)) as server:
            get_right(server)


def demanding():
    made = context(ONLY_13)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(path("ca.pem"))
    return made


@test("a client's certificate demanded by 1.3: shown, missing, wrong")
def client_certificate():
    for name in ("me", "me-rsa"):
        with Server(demanding()) as server:
            get_right(server, f"cert {path(name + '.pem')}", f"key {path(name + '.key')}")
    with Server(demanding()) as server:
        get_refused(server, "demands a client's certificate")
    with Server(demanding()) as server:
        get_refused(server, "refuses our certificate", f"cert {path('stranger-leaf.pem')}",
                    f"key {path('stranger-leaf.key')}")


# -- in the middle ----------------------------------------------------------------------------------

@test("a stream by 1.3 that is cut without close_notify in the body goes on")
def cut_body():
    with Server(context(ONLY_13)) as server:
        server.next({}, {"cut": 12345}, {"cut": 1}, {"cut": 200000})
        get_right(server)
        connections(server, 5)


@test("a stream by 1.3 that is always cut is a named error, with right bytes")
def always_cut():
    with Server(context(ONLY_13), cut=0) as server:
        result = get(server, "timeout 2")
        check(result.returncode not in (0, UNTRUSTED) and not result.stdout, result.returncode, result.stderr)
        check(re.search("lost|clos|before the end", result.stderr.decode()), result.stderr)


class Cutter:
    """Stands before a server, and ends each connection after so many of its bytes: all of them, or the first."""

    def __init__(self, server, limit, reset):
        self.server, self.limit, self.reset, self.count = server, limit, reset, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.count += 1
                threading.Thread(target=self.relay, args=(client, self.count), daemon=True).start()

    def relay(self, client, number):
        with contextlib.suppress(OSError), client, \
                socket.create_connection(("127.0.0.1", self.server.port)) as server:
            threading.Thread(target=self.pump, args=(client, server), daemon=True).start()
            left = self.limit if number == 1 else 1 << 60
            while left > 0 and (data := server.recv(65536)):
                client.sendall(data[:left])
                left -= len(data)
            if left <= 0 and self.reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)


@test("a connection by 1.3 that is cut at some of its bytes, by FIN or RST: right after a retry")
def cut_anywhere():
    with Server(context(ONLY_13)) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        def one(limit):
            cutter = Cutter(server, limit, limit % 2)
            result = run("--get", cutter.url + "img", "0", "9000", lines=("tls 1.3", "timeout 10"))
            cutter.listener.close()
            return limit, result
        for limit, result in pool.map(one, [*range(0, 1500, 101), *range(1500, 9000, 977)]):
            check(result.returncode == 0 and result.stdout == IMAGE[:9000], limit, result.returncode, result.stderr)


class Interactive:
    """`openssl s_server`, which takes letters for commands: K asks for new keys, k sends its own."""

    def __init__(self, *options):
        words = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-cert", path("leaf.pem"), "-key",
                 path("leaf.key"), *options]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        bufsize=0, cwd=FOLDER.name)
        self.port = next(int(found[1]) for line in self.process.stdout
                         if (found := re.match(rb"ACCEPT .*:(\d+)", line)))
        self.url = f"https://127.0.0.1:{self.port}/img"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def request(self):
        """The range of the next request; None: there is none any more."""
        span = None
        for line in self.process.stdout:
            if line.startswith(b"Range: bytes="):
                span = [int(number) for number in re.findall(rb"\d+", line)]
            if line == b"\r\n" and span:
                return span
        return None

    def say(self, *parts):
        """Each of them by itself."""
        for part in parts:
            self.process.stdin.write(part)
            time.sleep(0.2)


@test("the server's new keys, with and without a wish for ours, in the middle of an answer")
def key_update():
    body = b"0123456789" * 4000        # no part of which is a command

    def serve(server):
        while span := server.request():
            last = min(span[1], len(body) - 1)
            part = body[span[0]:last + 1]
            head = (f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {span[0]}-{last}/{len(body)}\r\n"
                    f"Content-Length: {len(part)}\r\nETag: \"a\"\r\n\r\n").encode()
            third = len(part) // 30 * 10
            server.say(head + part[:third], b"K\n", part[third:2 * third], b"k\n", b"K\n", part[2 * third:])

    with Interactive() as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        result = run("--get", server.url, lines=("tls 1.3", "timeout 10"))
    thread.join()
    check(result.returncode == 0 and result.stdout == body, result.returncode, len(result.stdout), result.stderr)


# -- words ------------------------------------------------------------------------------------------

@test("--check names the version, and why")
def words():
    for versions, line, lines in (
            (ONLY_13, r"TLS 1\.3, \w+_\w+, X25519 \(the server refuses 1\.2\)", ()),
            (BOTH, r"TLS 1\.2, .*\(it is tried first; the server has 1\.3 too\)", ()),
            (ONLY_12, r"TLS 1\.2, .*\(it is tried first\)", ()),
            (BOTH, r"TLS 1\.3, .*\(as tls 1\.3 says\)", ("tls 1.3",)),
            (BOTH, r"TLS 1\.2, .*\(as tls 1\.2 says\)", ("tls 1.2",))):
        with Server(context(versions)) as server:
            result = run("--check", server.url + "img", lines=lines)
            check(re.search(rb"^tls: +" + line.encode(), result.stdout, re.M), line, result.stdout, result.stderr)


@test("--version says that 1.3 is there")
def version():
    result = subprocess.run([BINARY, "--version"], capture_output=True, timeout=10)
    check(b"1.3" in result.stdout, result.stdout)


@test("what is still refused is named: post-quantum groups only, Ed25519 only")
def still_refused():
    for words, said in ((["-groups", "X448"], "post-quantum.*alert 40"),
                        (["-cert", path("ed.pem"), "-key", path("ed.key")], "Ed25519.*alert 40")):
        with Interactive(*words) as server:
            result = run("--get", server.url)
            check(result.returncode == UNTRUSTED, result.returncode, result.stderr)
            check(re.search(said, result.stderr.decode()), said, result.stderr)


# -- all --------------------------------------------------------------------------------------------

def make_certificates():
    """An authority and a stranger, servers' certificates with all kinds of keys, clients'."""
    curve = ("-newkey", "ec", "-pkeyopt")
    for name in ("ca", "stranger"):
        certs.make_ca(FOLDER.name, name)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(certs.make_server, FOLDER.name, name, issuer, **more) for name, issuer, more in (
            ("leaf", "ca", {}), ("stranger-leaf", "stranger", {}), ("other", "ca", {"names": "DNS:other.test"}),
            ("rsa", "ca", {"key": certs.RSA}), ("p384", "ca", {"key": (*curve, "ec_paramgen_curve:P-384")}),
            ("p521", "ca", {"key": (*curve, "ec_paramgen_curve:P-521")}),
            ("ed", "ca", {"key": ("-newkey", "ed25519")}))]
        jobs += [pool.submit(certs.make, FOLDER.name, name, ("extendedKeyUsage=clientAuth",), "ca", key=key)
                 for name, key in (("me", certs.EC), ("me-rsa", certs.RSA))]
        for job in jobs:
            job.result()
    make_old()


def make_old():
    """A certificate that has expired: openssl-req(1) makes none, openssl-x509(1) takes dates that are over."""
    certs.openssl("req", "-new", *certs.EC, "-nodes", "-keyout", path("old.key"), "-out", path("old.csr"),
                  "-subj", "/CN=old")
    with open(path("old.ext"), "w") as f:
        f.write(f"subjectAltName={certs.LOCALHOST}\nextendedKeyUsage=serverAuth\n")
    certs.openssl("x509", "-req", "-in", path("old.csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
                  "-days", "-1", "-set_serial", "7", "-extfile", path("old.ext"), "-out", path("old.pem"))


def main():
    make_certificates()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda entry: (entry[0], *tap.attempt(entry[1])), tests))
    for name, wrong, skipped in results:
        tap.result(f"tls13: {name}", wrong, skipped)
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
