"""The tools under test, `cachefilesd-mini --get` and `--check`, and what their tests share: nginx, the right server,
with its files and certificates. The program is the test's first argument."""
import atexit
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import time

from lib import certs, erofs, httpserver, ports, tap
from lib import nginx as web

BINARY = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "cachefilesd-mini")
IMAGE = httpserver.image("get", 300001)
OTHER = httpserver.image("other", 300001)
FOLDER = tempfile.TemporaryDirectory(prefix="test_tools.")
tests = []


def test(name):
    def add(function):
        tests.append((name, function))
        return function
    return add


def path(name):
    return os.path.join(FOLDER.name, name)


def run(*words, **more):
    more.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([BINARY, *words], stderr=subprocess.PIPE, timeout=120, **more)


def get(url, *words, timeout=5, **more):
    """--get with a time-out that fits tests."""
    return run("-o", f"timeout {timeout}", "--get", url, *words, **more)


def check(condition, *details):
    if not condition:
        raise AssertionError(" ".join(str(d)[:600] for d in details))


def expect(result, status, data=None, error=None):
    """Demands an exit status, the bytes, and a line on standard error that matches `error` (None: no line)."""
    text = result.stderr.decode()
    check(result.returncode == status, "status", result.returncode, "not", status, text)
    check(data is None or result.stdout == data, "wrong bytes:", len(result.stdout or b""), text)
    if error is None:
        check(text == "", "unexpected:", text)
    else:
        check(re.search(error, text), "no", error, "in", text)
        check("Sanitizer" not in text, text)


def expect_prefix(result, status, error, whole=IMAGE):
    """Demands an error in the middle, and right bytes before it."""
    expect(result, status, error=error)
    check(whole.startswith(result.stdout), "wrong bytes")
    check(len(result.stdout) < len(whole), "all bytes and an error")


# -- certificates and nginx ----------------------------------------------------------------------

def make_certificates():
    """Two authorities, and two certificates of the first one with the same key: one expires soon."""
    for name in ("ca", "stranger"):
        certs.make_ca(FOLDER.name, name, days=3650)
    names = "IP:127.0.0.1,DNS:get.test"
    certs.make_server(FOLDER.name, "leaf", names=names, days=90)
    certs.make(FOLDER.name, "short", (*certs.SERVER, f"subjectAltName={names}"), "ca", key="leaf", days=5)
    time.sleep(1)       # of five days four whole ones are left


def tls_context():
    return certs.server_context(FOLDER.name, "leaf")


SERVERS = """
    server {{ listen 127.0.0.1:{http}; root {www};
        location /closing/ {{ alias {www}/; keepalive_timeout 0; }}
        location /unranged/ {{ alias {www}/; max_ranges 0; }}
        location /moved/ {{ rewrite ^/moved/(.*) /$1 redirect; }}
        location /weak/ {{ alias {www}/; etag off; add_header Last-Modified ""; }} }}
    server {{ listen 127.0.0.1:{https} ssl; root {www}; {key} ssl_certificate {leaf}; }}
    server {{ listen 127.0.0.1:{soon} ssl; root {www}; {key} ssl_certificate {short}; }}
"""


class Nginx(web.Nginx):
    """nginx on three ports: HTTP, HTTPS, and HTTPS with a certificate that expires soon."""

    def __init__(self):
        super().__init__(FOLDER.name, "$request_uri")
        self.http, self.https, self.soon = listened = ports.free_ports(3)
        self.start(SERVERS.format(
            http=self.http, https=self.https, soon=self.soon, www=path("www"), leaf=path("leaf.pem"),
            short=path("short.pem"), key=f"ssl_protocols TLSv1.2; ssl_certificate_key {path('leaf.key')};"),
            listened, "sendfile on; gzip on; gzip_types *; gzip_min_length 1;")

    def url(self, name, https=False):
        port = self.https if https else self.http
        return f"http{'s' * https}://127.0.0.1:{port}/{name}"


def make_files():
    """Makes the files for nginx: a large sparse one, and EROFS images."""
    os.makedirs(path("www"))
    with open(path("www/big"), "wb") as f:
        rng = random.Random(1)
        for at in sorted(rng.randrange(256 << 20) for _ in range(200)):
            f.seek(at)
            f.write(rng.randbytes(5000))
        f.truncate(256 << 20)
    open(path("www/empty"), "w").close()
    with open(path("www/img"), "wb") as f:
        f.write(IMAGE)
    os.makedirs(path("tree"))
    with open(path("tree/file"), "wb") as f:
        f.write(b"compressible " * 20000 + IMAGE)
    for name, words in (("plain.erofs", []), ("lz4.erofs", ["-zlz4"])):
        erofs.mkfs(path("www/" + name), path("tree"), *words)


# -- the report of --check -------------------------------------------------------------------------

def report(*words, timeout=30):
    """Runs --check. Returns the status, {name: value or values} and the verdict. The two numbers of the last line are
    the value "fetched"."""
    result = run("-o", f"timeout {timeout}", "-o", "ca " + path("ca.pem"), "--check", *words)
    check(b"Sanitizer" not in result.stderr, result.stderr)
    lines = result.stdout.decode("ascii").splitlines()
    last = re.fullmatch(r"(verdict: .*) \(fetched (\d+) bytes, (\d+) of them only for the throughput\)", lines[-1])
    check(last, result.stdout, result.stderr)
    facts = {"fetched": [last[2], last[3]]}
    for line in lines[:-1]:
        check(re.fullmatch(r"[a-z ]+: +\S.*", line) and line[15:16] != " " and line[14] == " ", "form:", line)
        facts.setdefault(line.split(":")[0], []).append(line[15:])
    return result.returncode, {k: " | ".join(v) for k, v in facts.items()}, last[1]


FIT = "verdict: fit for cachefilesd-mini"


def has(facts, **patterns):
    for name, pattern in patterns.items():
        check(re.search(pattern, facts.get(name.replace("_", " "), "")), "no", name, pattern, "in", facts)


# -- all tests ---------------------------------------------------------------------------------------

def main():
    """Runs all tests of the file, some at a time."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda entry: (entry[0], *tap.attempt(entry[1])), tests))
    for result in results:
        tap.result(*result)
    return tap.status()


make_certificates()
make_files()
nginx = Nginx()
atexit.register(nginx.stop)
