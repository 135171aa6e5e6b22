#!/usr/bin/python3
"""The client against web servers and proxies that others have written.

    test/client/peers.py [CLIENT] [-k WORD]     (default: ./cachefilesd-mini, all peers)

Each peer serves, or stands in front of, an image of some 20 MB. `CLIENT --get` fetches all of it,
ranges at odd places and its tail; curl fetches the same. Then the image is replaced while it is
being fetched: the bytes that came must be the old image's, and the outcome "changed". Prints a table
and TAP; exit status 1 on a wrong byte or an unexpected outcome. Installs the peers' Debian
packages; runs them on loopback, in a temporary folder, as nobody if it can.
"""
import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import certs, nginx as web, tap
from lib.ports import free_port, wait_listening

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = 20 * 1024 * 1024 + 12345     # not whole pages
REFUSED, CHANGED = 7, 6             # exit statuses of --get: base/outcome.c
TIMEOUT = 120                       # seconds, of a fetch

# Offset and length: first and last byte, both sides of the end of a page and of a buffer, a long one.
RANGES = [(0, 1), (1, 1), (4095, 2), (65535, 65538), (SIZE // 2 + 17, 1234567), (SIZE - 1, 1)]
TAIL = SIZE - 100001

BEHIND_PROXY = "origin.test"        # only the proxy knows this name: no request can bypass it


class Wrong(Exception):
    """The bytes or the outcome are not the expected ones."""


# ---- servers ----

class Program:
    """A server in a session of its own; its children end with it."""

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
        wait_listening(*self.ports, process=self.process, log=self.log)

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
    """The temporary folder: documents, certificates, configurations; and the servers that run."""

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
        """Replaces a document by a rename."""
        new = self.path("new")
        with open(new, "wb") as f:
            f.write(content)
        os.utime(new, (time.time() - age,) * 2)
        os.rename(new, os.path.join(self.root, name))

    def certificates(self):
        """An authority, and a server's certificate for the hosts in the URLs."""
        certs.make_ca(self.folder, days=30)
        certs.make_server(self.folder, "leaf", names="IP:127.0.0.1,DNS:" + BEHIND_PROXY, days=30)
        with open(self.path("both.pem"), "w") as both:      # for HAProxy and lighttpd
            for part in ("leaf.pem", "leaf.key"):
                with open(self.path(part)) as f:
                    both.write(f.read())
        for secret in ("leaf.key", "both.pem"):
            os.chmod(self.path(secret), 0o644)              # for the user nobody

    def folder_of(self, name):
        """A folder in which that server may write."""
        folder = self.path(name)
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)
        return folder

    def config(self, name, text, **values):
        folder = self.folder_of(name)
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
SSLCertificateFile {top}/leaf.pem
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
    ssl.pemfile = "{top}/both.pem"
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
    bind 127.0.0.1:{tls} ssl crt {top}/both.pem
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
    server = f"server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; root {place.root}; " + \
        web.tls(place.path("leaf")) + " }"
    words = web.command(place.folder_of("nginx"), server, "sendfile on;", workers=2, user="")
    return place.run("nginx", words, plain, tls), plain, tls


def apache(place):
    plain, tls = free_port(), free_port()
    conf = place.config("apache", APACHE, plain=plain, tls=tls)
    words = ["apache2", "-D", "FOREGROUND", "-f", conf]
    return place.run("apache", words, plain, tls), plain, tls


# lighttpd sends ETag and Last-Modified only with a known type, and Debian's list has none for the name of an
# image.
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
    """A row of the table: a URL, how to request it, and the program that has the documents."""

    def __init__(self, name, origin, port, tls=False, proxy=None, ranges=True, validators=True):
        self.name, self.origin, self.proxy = name, origin, proxy
        self.ranges, self.validators = ranges, validators
        self.url = "%s://%s:%d/" % ("https" if tls else "http",
                                    BEHIND_PROXY if proxy else "127.0.0.1", port)
        self.cells = {}


def peers(place):
    """Yields each peer while its servers run."""
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
        words = [self.program, "-o", "ca " + self.place.path("ca.pem")]
        if peer.proxy:
            words += ["-o", "proxy http://127.0.0.1:%d" % peer.proxy]
        return words + ["--get", peer.url + name] + [str(n) for n in numbers]

    def get(self, peer, *numbers):
        """Fetches once. Returns the exit status, the bytes and the log."""
        try:
            run = subprocess.run(self.words(peer, "image", *numbers), capture_output=True,
                                 timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Wrong("hangs") from None
        return run.returncode, run.stdout, run.stderr.decode(errors="replace").strip()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def compare(what, got, expected):
    if digest(got) != digest(expected):
        same = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), "their end")
        raise Wrong("%s: WRONG BYTES: %d for %d, they differ at %s" % (
            what, len(got), len(expected), same))


def expect_get(client, peer, offset, length):
    """Demands right bytes, or from a server without ranges a refusal that says "range"."""
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
    """Replaces the image in the middle of a fetch. Reading stops until all buffers are full; the restart of the
    server cuts the connection, so that the client has to request the rest again. Without validators only another
    size shows the change. Each turn takes another name: lighttpd remembers a document for a second."""
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
        rest, log = run.communicate(timeout=TIMEOUT)
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
    run = subprocess.run(["curl", "-qsSf", "--cacert", client.place.path("ca.pem"), *proxy, *words,
                          peer.url + "image"], capture_output=True, timeout=TIMEOUT)
    if run.returncode:
        raise Wrong("curl: " + run.stderr.decode(errors="replace").strip())
    return run.stdout


def check_curl(client, peer):
    image = client.place.image
    compare("curl, whole", curl(client, peer), image)
    for offset, length in RANGES + [(TAIL, SIZE - TAIL)]:
        got = curl(client, peer, "-r", "%d-%d" % (offset, offset + length - 1))
        if len(got) == SIZE:    # busybox takes "0-0" for "0-" and says so, Python ignores ranges
            offset, length = 0, SIZE
        compare("curl, %d+%d" % (offset, length), got, image[offset:offset + length])


# curl comes after our client: Squid then holds the whole image and answers ranges itself, and so the ranges are
# checked again.
CHECKS = [("whole", check_whole), ("ranges", check_ranges), ("tail", check_tail),
          ("changed", check_changed), ("curl", check_curl), ("again", check_ranges)]


# ---- results ----

def cell(client, peer, name, check):
    """Runs one check and prints its result. Returns the table's word for it."""
    wrong = None
    try:
        check(client, peer)
    except Wrong as reason:
        wrong = str(reason)
    if not tap.result("%s: %s" % (peer.name, name), wrong):
        return "WRONG"
    if peer.ranges or name == "curl":
        return "ok"
    return "-" if name == "changed" else "refused"


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
                    for name, check in CHECKS:
                        peer.cells[name] = cell(Client(program, place), peer, name, check)
                    rows.append(peer)
        finally:
            place.stop()
    print_table(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("client", nargs="?", default=os.path.join(HERE, "..", "..", "cachefilesd-mini"))
    parser.add_argument("-k", metavar="WORD", default="", help="only peers whose name has WORD")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))       # so that the servers end too
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    subprocess.run([os.path.join(HERE, "..", "install"), "peers"], check=True)
    run_all(os.path.abspath(options.client), options.k)
    more = [] if options.k else ["peers_tls.py", "peers_tls13.py"]
    failed = [file for file in more if subprocess.run([sys.executable, os.path.join(HERE, file)]).returncode]
    return 1 if failed else tap.status()


if __name__ == "__main__":
    sys.exit(main())
