#!/usr/bin/env python3
"""peers.py - the client against web servers and proxies that others have written.

Usage: test/client/peers.py [CLIENT] [-k WORD]     (default: ./cachefilesd-mini, all peers)

Each peer serves, or stands in front of, an image of some 20 MB. `CLIENT --get` fetches all of it,
ranges at odd places and its tail; curl fetches the same. Then the image is replaced while it is
being fetched: what came must be of the old one, and the outcome "changed". Prints a table and TAP
lines; exits 1 on a wrong byte or an outcome that was not expected. Installs the peers' Debian
packages; runs them on loopback, in a temporary folder, as nobody if it can.
"""
import argparse
import contextlib
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = 20 * 1024 * 1024 + 12345     # not whole pages
REFUSED, CHANGED = 7, 6             # exit statuses of --get: outcome.c
PATIENCE = 120                      # seconds that no fetch may take

# Offset and length: first and last bytes, both sides of a page's and a buffer's end, a long one.
RANGES = [(0, 1), (1, 1), (4095, 2), (65535, 65538), (SIZE // 2 + 17, 1234567), (SIZE - 1, 1)]
TAIL = SIZE - 100001

BEHIND_PROXY = "origin.test"        # a name that only the proxy knows, so that no way leads past it


class Wrong(Exception):
    """What came is not what was expected."""


# ---- servers ----

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Program:
    """A server in a session of its own, so that its children end with it."""

    def __init__(self, folder, name, words, ports):
        self.words, self.ports = words, ports
        self.log = os.path.join(folder, name + ".out")
        self.start()

    def start(self):
        nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        user = nobody if os.getuid() == 0 else {}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, **user)
        for port in self.ports:
            self.await_port(port)

    def await_port(self, port):
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        with open(self.log, errors="replace") as log:
            raise SystemExit("%s did not start:\n%s" % (self.words[0], log.read()))

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Place:
    """The temporary folder: documents, certificates, configurations, and what runs."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []
        self.root = os.path.join(folder, "www")
        os.makedirs(self.root)
        os.chmod(folder, 0o755)
        self.image, self.other = (random.Random(seed).randbytes(SIZE) for seed in "ab")
        self.put("image", self.image)
        self.certificates()

    def path(self, name):
        return os.path.join(self.folder, name)

    def put(self, name, content, age=3600):
        """Replaces a document as one does: by a rename."""
        new = self.path("new")
        with open(new, "wb") as f:
            f.write(content)
        os.utime(new, (time.time() - age,) * 2)
        os.rename(new, os.path.join(self.root, name))

    def certificates(self):
        """A root, and a server's certificate for what the URLs name."""
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "30"]
        ca = ["-out", self.path("ca.crt"), "-keyout", self.path("ca.key"), "-subj", "/CN=Test CA",
              "-addext", "keyUsage=critical,keyCertSign"]
        leaf = ["-out", self.path("leaf.crt"), "-keyout", self.path("leaf.key"), "-subj", "/CN=any",
                "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"),
                "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "subjectAltName=IP:127.0.0.1,DNS:" + BEHIND_PROXY]
        for words in (ca, leaf):
            subprocess.run(new + words, check=True, capture_output=True)
        with open(self.path("leaf.pem"), "w") as both:      # as HAProxy and lighttpd want it
            for part in ("leaf.crt", "leaf.key"):
                with open(self.path(part)) as f:
                    both.write(f.read())
        for secret in ("leaf.key", "leaf.pem"):
            os.chmod(self.path(secret), 0o644)              # of a test, for nobody to read

    def config(self, name, text, **values):
        folder = self.path(name)
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)
        path = os.path.join(folder, "conf")
        with open(path, "w") as f:
            f.write(text.format(root=self.root, at=folder, top=self.folder, **values))
        return path

    def run(self, name, words, *ports):
        program = Program(self.folder, name, words, ports)
        self.running.append(program)
        return program

    def stop(self):
        while self.running:
            self.running.pop().stop()


NGINX = """
daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 2;
events {{}}
http {{
    access_log off; sendfile on;
    client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
    ssl_certificate {top}/leaf.crt; ssl_certificate_key {top}/leaf.key;
    server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; root {root}; }}
}}
"""

APACHE = """
ServerRoot {at}
ServerName 127.0.0.1
PidFile {at}/pid
ErrorLog {at}/error.log
Mutex pthread
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
DocumentRoot {root}
Listen 127.0.0.1:{plain}
Listen 127.0.0.1:{tls}
SSLCertificateFile {top}/leaf.crt
SSLCertificateKeyFile {top}/leaf.key
<VirtualHost 127.0.0.1:{tls}>
SSLEngine on
</VirtualHost>
"""

LIGHTTPD = """
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {plain}
server.errorlog = "{at}/error.log"
{types}
server.modules += ("mod_openssl")
$SERVER["socket"] == "127.0.0.1:{tls}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{top}/leaf.pem"
}}
"""

# Connections are kept alive on both sides, and shared.
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend front
    bind 127.0.0.1:{plain}
    bind 127.0.0.1:{tls} ssl crt {top}/leaf.pem
    default_backend origin
backend origin
    server nginx 127.0.0.1:{origin}
"""

SQUID = """
http_port 127.0.0.1:{plain} accel defaultsite=127.0.0.1 no-vhost
http_port 127.0.0.1:{forward}
cache_peer 127.0.0.1 parent {origin} 0 no-query originserver name=nginx
acl accelerated myportname 127.0.0.1:{plain}
cache_peer_access nginx allow accelerated
cache_peer_access nginx deny all
never_direct allow accelerated
http_access allow all
cache_mem 64 MB
maximum_object_size_in_memory 32 MB
pid_filename {at}/pid
cache_log {at}/cache.log
access_log none
hosts_file {at}/hosts
coredump_dir {at}
pinger_enable off
shutdown_lifetime 0 seconds
"""


def nginx(place):
    plain, tls = free_port(), free_port()
    conf = place.config("nginx", NGINX, plain=plain, tls=tls)
    return place.run("nginx", ["nginx", "-e", conf + ".log", "-c", conf], plain, tls), plain, tls


def apache(place):
    plain, tls = free_port(), free_port()
    conf = place.config("apache", APACHE, plain=plain, tls=tls)
    words = ["apache2", "-D", "FOREGROUND", "-f", conf]
    return place.run("apache", words, plain, tls), plain, tls


# lighttpd sends ETag and Last-Modified only with a type that is known, and Debian's list knows none
# for an image's name.
TYPES = 'mimetype.assign = ("" => "application/octet-stream")'


def lighttpd(place, types=TYPES):
    plain, tls = free_port(), free_port()
    conf = place.config("lighttpd", LIGHTTPD, plain=plain, tls=tls, types=types)
    return place.run("lighttpd", ["lighttpd", "-D", "-f", conf], plain, tls), plain, tls


def busybox(place):
    port = free_port()
    words = ["busybox", "httpd", "-f", "-p", "127.0.0.1:%d" % port, "-h", place.root]
    return place.run("busybox", words, port), port


def python(place):
    port = free_port()
    words = ["python3", "-m", "http.server", "-b", "127.0.0.1", "-d", place.root, str(port)]
    return place.run("python", words, port), port


def haproxy(place, origin):
    plain, tls = free_port(), free_port()
    conf = place.config("haproxy", HAPROXY, plain=plain, tls=tls, origin=origin)
    place.run("haproxy", ["haproxy", "-db", "-f", conf], plain, tls)
    return plain, tls


def squid(place, origin):
    plain, forward = free_port(), free_port()
    conf = place.config("squid", SQUID, plain=plain, forward=forward, origin=origin)
    with open(os.path.join(os.path.dirname(conf), "hosts"), "w") as f:
        f.write("127.0.0.1 %s\n" % BEHIND_PROXY)
    place.run("squid", ["squid", "-N", "-f", conf], plain, forward)
    return plain, forward


# ---- peers ----

class Peer:
    """One row of the table: a URL, how to ask for it, and the program that has the documents."""

    def __init__(self, name, origin, port, tls=False, proxy=None, ranges=True, validators=True):
        self.name, self.origin, self.proxy = name, origin, proxy
        self.ranges, self.validators = ranges, validators
        self.url = "%s://%s:%d/" % ("https" if tls else "http",
                                    BEHIND_PROXY if proxy else "127.0.0.1", port)
        self.cells = {}


def peers(place):
    """Starts them as they are asked for, and ends those that are no longer needed."""
    for name, start in (("Apache httpd", apache), ("lighttpd", lighttpd)):
        program, plain, tls = start(place)
        yield Peer(name, program, plain)
        yield Peer(name + ", TLS", program, tls, tls=True)
        place.stop()
    program, plain, _ = lighttpd(place, types="")
    yield Peer("lighttpd, no validators", program, plain, validators=False)
    place.stop()
    program, port = busybox(place)
    yield Peer("busybox httpd", program, port)
    place.stop()
    program, port = python(place)
    yield Peer("Python http.server", program, port, ranges=False)
    place.stop()
    program, origin, origin_tls = nginx(place)
    yield Peer("nginx", program, origin)
    yield Peer("nginx, TLS", program, origin_tls, tls=True)
    plain, tls = haproxy(place, origin)
    yield Peer("HAProxy, nginx behind", program, plain)
    yield Peer("HAProxy, TLS ends there", program, tls, tls=True)
    plain, forward = squid(place, origin)
    yield Peer("Squid, accelerator", program, plain)
    yield Peer("Squid, proxy", program, origin, proxy=forward)
    yield Peer("Squid, CONNECT", program, origin_tls, tls=True, proxy=forward)
    place.stop()


# ---- fetching ----

class Client:
    def __init__(self, program, place):
        self.program, self.place = program, place

    def words(self, peer, name, *numbers):
        words = [self.program, "-o", "ca " + self.place.path("ca.crt")]
        if peer.proxy:
            words += ["-o", "proxy http://127.0.0.1:%d" % peer.proxy]
        return words + ["--get", peer.url + name] + [str(n) for n in numbers]

    def get(self, peer, *numbers):
        """Exit status, bytes and log of one fetch."""
        try:
            run = subprocess.run(self.words(peer, "image", *numbers), capture_output=True,
                                 timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong("hangs") from None
        return run.returncode, run.stdout, run.stderr.decode(errors="replace").strip()

    def has_word(self, word):
        """Whether the configuration knows it: then it only misses the value."""
        run = subprocess.run([self.program, "-o", word, "--get", "http://127.0.0.1:1/"],
                             capture_output=True, text=True, timeout=PATIENCE)
        return "unknown" not in run.stderr


def digest(content):
    return hashlib.sha256(content).hexdigest()


def compare(what, got, expected):
    if digest(got) != digest(expected):
        same = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), "their end")
        raise Wrong("%s: WRONG BYTES: %d for %d, they differ at %s" % (
            what, len(got), len(expected), same))


def expect_get(client, peer, offset, length):
    """One fetch: right bytes, or from a server without ranges a refusal that names them."""
    numbers = [] if (offset, length) == (0, SIZE) else [offset, length]
    if offset == TAIL:
        numbers = [offset]                  # to the end
    status, got, log = client.get(peer, *numbers)
    what = "%d+%d" % (offset, length)
    if not peer.ranges:
        if status != REFUSED or got or "range" not in log:
            raise Wrong("%s: exit status %d, %d bytes: %s" % (what, status, len(got), log))
        return
    if status != 0:
        raise Wrong("%s: exit status %d: %s" % (what, status, log))
    compare(what, got, client.place.image[offset:offset + length])


def check_whole(client, peer):
    expect_get(client, peer, 0, SIZE)


def check_ranges(client, peer):
    for offset, length in RANGES:
        expect_get(client, peer, offset, length)


def check_tail(client, peer):
    expect_get(client, peer, TAIL, SIZE - TAIL)


def check_changed(client, peer):
    """Stops reading in the middle until all buffers are full, replaces the image, and starts its
    server anew, which cuts the connection: the rest has to be asked for again. Without validators
    only another size can tell. The name is a new one each time: lighttpd remembers what lay under
    one for a second."""
    if not peer.ranges:
        return
    place = client.place
    other = place.other if peer.validators else place.other + bytes(4096)
    name = "changing-%d" % time.monotonic_ns()
    place.put(name, place.image)
    run = subprocess.Popen(client.words(peer, name), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE)
    try:
        got = run.stdout.read(1 << 20)
        time.sleep(0.5)
        peer.origin.stop()
        place.put(name, other, age=10)
        peer.origin.start()
        rest, log = run.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Wrong("hangs") from None
    finally:
        run.kill()
        run.wait()
    got += rest
    compare("before the change", got, place.image[:len(got)])
    if run.returncode != CHANGED or len(got) == SIZE:
        raise Wrong("exit status %d after %d bytes: %s" % (run.returncode, len(got),
                                                           log.decode(errors="replace").strip()))


def curl(client, peer, *words):
    proxy = ["-x", "http://127.0.0.1:%d" % peer.proxy] if peer.proxy else ["--noproxy", "*"]
    run = subprocess.run(["curl", "-qsSf", "--cacert", client.place.path("ca.crt"), *proxy, *words,
                          peer.url + "image"], capture_output=True, timeout=PATIENCE)
    if run.returncode:
        raise Wrong("curl: " + run.stderr.decode(errors="replace").strip())
    return run.stdout


def check_curl(client, peer):
    image = client.place.image
    compare("curl, whole", curl(client, peer), image)
    for offset, length in RANGES + [(TAIL, SIZE - TAIL)]:
        got = curl(client, peer, "-r", "%d-%d" % (offset, offset + length - 1))
        if len(got) == SIZE:    # busybox takes "0-0" for "0-" and says so, Python ignores all
            offset, length = 0, SIZE
        compare("curl, %d+%d" % (offset, length), got, image[offset:offset + length])


# curl after our own: Squid would hold the image whole then, and answer ranges itself; so the ranges
# are asked for once more behind it.
CHECKS = [("whole", check_whole), ("ranges", check_ranges), ("tail", check_tail),
          ("changed", check_changed), ("curl", check_curl), ("again", check_ranges)]


# ---- telling ----

def cell(client, peer, name, check):
    """Runs one check; tells it in TAP, and the table's word for it."""
    try:
        check(client, peer)
    except Wrong as wrong:
        print("not ok - %s: %s\n# %s" % (peer.name, name, wrong), flush=True)
        return "WRONG"
    print("ok - %s: %s" % (peer.name, name), flush=True)
    if peer.ranges or name == "curl":
        return "ok"
    return "-" if name == "changed" else "refused"


def run_peer(client, peer):
    if peer.proxy and not client.has_word("proxy"):
        print("# %s: skipped, the client has no proxy yet" % peer.name)
        return
    for name, check in CHECKS:
        peer.cells[name] = cell(client, peer, name, check)


def print_table(rows):
    names = [name for name, _ in CHECKS]
    print("#\n# %-24s" % "origin" + "".join(" | %-7s" % name for name in names))
    for peer in rows:
        print("# %-24s" % peer.name + "".join(" | %-7s" % peer.cells.get(n, "-") for n in names))
    print("#", flush=True)


def run_all(program, word):
    rows = []
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        place = Place(folder)
        try:
            for peer in peers(place):
                if word.lower() in peer.name.lower():
                    run_peer(Client(program, place), peer)
                    rows.append(peer)
        finally:
            place.stop()
    print_table(rows)
    return all("WRONG" not in peer.cells.values() for peer in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("client", nargs="?", default=os.path.join(HERE, "..", "..", "cachefilesd-mini"))
    parser.add_argument("-k", metavar="WORD", default="", help="only peers whose name has WORD")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))       # so that the servers end too
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    subprocess.run([os.path.join(HERE, "..", "install"), "peers"], check=True)
    good = run_all(os.path.abspath(options.client), options.k)
    tls = os.path.join(HERE, "peers_tls.py")
    if os.path.exists(tls) and not options.k:
        good = subprocess.run([sys.executable, tls]).returncode == 0 and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
