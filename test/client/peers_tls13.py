#!/usr/bin/python3
"""TLS 1.3 with servers that others have written: OpenSSL, also in FIPS mode, GnuTLS, nginx, Go. And an image of
one in FIPS mode in a real kernel, by both front ends.

    test/client/peers_tls13.py [-k WORD]

Each fetches a file, by build/unit/root/tls_client or, where the server has ranges, by `cachefilesd-mini --get`: with
each suite, group and kind of key, with our own certificate, long chains, cookies, records of any size. Prints TAP; exit
status 1 if a verdict is not the expected one.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

WORD = sys.argv[sys.argv.index("-k") + 1] if "-k" in sys.argv else ""
del sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from client import test_tls
from lib import nginx as web, ports, tap
from lib.archive import newer_root

TOP = os.path.join(sys.path[0], "..")
BINARY = os.path.abspath(os.path.join(TOP, "cachefilesd-mini"))
RIGHT = "ok .*, right"
SIZE = 1 << 20

SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
GROUPS = ("X25519", "P-256", "P-384", "P-521")
CLIENTS = ["-Verify", "3", "-verify_return_error", "-CAfile", "@clients"]
UNTRUSTED, REFUSED = 10, 7      # exit statuses of --get: base/outcome.c

# name of the case, certificate (and key), intermediate, s_server's options, environment, expected verdict
OPENSSL = [
    *((f"{suite}, {group}", "good", "inter", ["-ciphersuites", suite, "-groups", group], {}, RIGHT)
      for suite in SUITES for group in GROUPS),
    *((f"a key of {name}", f"{cert}:{key}", "inter", [], {}, RIGHT) for name, cert, key in (
        ("P-384", "p384", "leaf384"), ("P-521", "p521", "leaf521"), ("RSA 2048", "rsa", "rsa"),
        ("RSA 3072", "rsa3072", "rsa3072"))),
    *((f"signatures by {scheme}", "rsa:rsa", "inter", ["-sigalgs", scheme], {}, RIGHT)
      for scheme in ("RSA-PSS+SHA256", "RSA-PSS+SHA384", "RSA-PSS+SHA512")),
    ("a certificate signed with RSA-PSS", "by-pss-sha256", "inter-rsa", [], {}, RIGHT),
    ("the same with the longest salt", "by-pss", "inter-rsa", [], {}, "untrusted: .*of a kind that TLS does not have"),
    ("a certificate signed with PKCS#1", "by-rsa", "inter-rsa", [], {}, RIGHT),
    ("Ed25519", "ed25519:ed25519", "inter", [], {}, "untrusted: .*Ed25519"),
    ("an RSA-PSS key", "rsapss:rsapss", "inter", [], {}, "untrusted: "),
    ("X448", "good", "inter", ["-groups", "X448"], {}, "untrusted: .*post-quantum"),
    ("1.2 only", "good", "inter", ["-no_tls1_3"], {}, "untrusted: .*no TLS 1.3"),
    ("a cookie", "good", "inter", ["-stateless"], {}, RIGHT),
    ("a cookie and another group", "good", "inter", ["-stateless", "-groups", "P-521"], {}, RIGHT),
    ("records of 512 bytes", "good", "inter", ["-max_send_frag", "512"], {}, RIGHT),
    ("records that are padded", "good", "inter", ["-record_padding", "4096"], {}, RIGHT),
    ("no middlebox compatibility", "good", "inter", ["-no_middlebox"], {}, RIGHT),
    ("no tickets", "good", "inter", ["-num_tickets", "0"], {}, RIGHT),
    ("ten tickets", "good", "inter", ["-num_tickets", "10"], {}, RIGHT),
    ("a chain of ten", "long-leaf9", test_tls.LONG.partition(" ")[2], [], {}, RIGHT),
    ("a certificate of 40 KB", "huge", "inter", [], {}, RIGHT),
    ("a certificate asked for", "good", "inter", ["-verify", "1"], {}, RIGHT),
    ("a certificate demanded", "good", "inter", ["-Verify", "1"], {}, "untrusted: .*demands a client's certificate"),
    *((f"our certificate, {name}", "good", "inter", CLIENTS, {"CERT": f"@{cert}", "KEY": f"@{key}"}, RIGHT)
      for name, cert, key in (("P-256", "me.crt", "leaf.key"), ("P-384", "me384.crt", "leaf384.key"),
                              ("P-521", "me521.crt", "leaf521.key"), ("RSA 2048", "me-rsa.crt", "rsa.key"),
                              ("RSA 4096, a chain of three", "me-chain.pem", "rsa4096.key"))),
    ("our certificate, by PSS with SHA-512 only", "good", "inter", [*CLIENTS, "-client_sigalgs", "RSA-PSS+SHA512"],
     {"CERT": "@me-rsa.crt", "KEY": "@rsa.key"}, RIGHT),
    ("our certificate, by schemes that are not ours", "good", "inter", [*CLIENTS, "-client_sigalgs", "RSA-PSS+SHA256"],
     {"CERT": "@me.crt", "KEY": "@leaf.key"}, "untrusted: .*of a kind"),
    ("our certificate, expired", "good", "inter", CLIENTS, {"CERT": "@me-old.crt", "KEY": "@leaf.key"},
     "untrusted: .*refuses our certificate.*certificate_expired"),
]

ONLY_13 = "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3"
ASKS = ["--require-client-cert", "--x509cafile=@clients"]
# name of the case, gnutls-serv's options, certificate and key, environment, expected verdict
GNUTLS = [
    *((f"{cipher}, {group}", [f"{ONLY_13}:-CIPHER-ALL:+{cipher}:-GROUP-ALL:+GROUP-{group}"], "good", "leaf", {}, "ok ")
      for cipher, group in (("AES-128-GCM", "X25519"), ("AES-256-GCM", "SECP256R1"), ("AES-256-GCM", "SECP384R1"),
                            ("CHACHA20-POLY1305", "SECP521R1"), ("AES-128-GCM", "SECP521R1"))),
    ("RSA", [ONLY_13], "rsa", "rsa", {}, "ok "),
    ("P-521", [ONLY_13], "p521", "leaf521", {}, "ok "),
    ("our certificate demanded", [ONLY_13, "--verify-client-cert", *ASKS], "good", "leaf",
     {"CERT": "@me.crt", "KEY": "@leaf.key"}, "ok "),
    ("our certificate, RSA", [ONLY_13, "--verify-client-cert", *ASKS], "good", "leaf",
     {"CERT": "@me-rsa.crt", "KEY": "@rsa.key"}, "ok "),
    ("our certificate missing", [ONLY_13, *ASKS], "good", "leaf", {}, "untrusted: .*demands a client's certificate"),
]

NGINX = """
    server {{ listen 127.0.0.1:{0} ssl; ssl_protocols TLSv1.3; {common} }}
    server {{ listen 127.0.0.1:{1} ssl; ssl_protocols TLSv1.3; ssl_ecdh_curve secp384r1; {common} }}
    server {{ listen 127.0.0.1:{2} ssl; ssl_protocols TLSv1.3; ssl_verify_client on; ssl_verify_depth 3;
              ssl_client_certificate {clients}; {common} }}
    server {{ listen 127.0.0.1:{3} ssl; ssl_protocols TLSv1.3; ssl_buffer_size 1k; ssl_early_data on; {common} }}
"""

GO = """
package main

import ("crypto/tls"; "crypto/x509"; "fmt"; "net"; "net/http"; "os")

func main() {
	pair, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil { panic(err) }
	roots := x509.NewCertPool()
	pem, _ := os.ReadFile(os.Args[3])
	roots.AppendCertsFromPEM(pem)
	for _, c := range []tls.Config{
		{}, {CurvePreferences: []tls.CurveID{tls.CurveP256}}, {CurvePreferences: []tls.CurveID{tls.CurveP384}},
		{CurvePreferences: []tls.CurveID{tls.CurveP521}}, {ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots},
	} {
		config := c.Clone()
		config.Certificates = []tls.Certificate{pair}
		config.MinVersion = tls.VersionTLS13
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil { panic(err) }
		fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		go http.Serve(tls.NewListener(listener, config), http.FileServer(http.Dir(os.Args[4])))
	}
	select {}
}
"""


def files(a, words):
    """@NAME is a file of the authority's folder; @clients is whom servers trust."""
    return [word.replace("@clients", "@clients.pem").replace("@", a.folder + "/") for word in words]


def environment(a, env):
    return {"TLS": "1.3", **dict(zip(env, files(a, env.values())))}


def run_openssl(a, case):
    name, cert, chain, options, env, expected = case
    output = tempfile.mktemp(dir=a.folder)
    with test_tls.Server(a, cert, chain, files(a, options), mode="-WWW") as server:
        verdict = test_tls.ask(server.port, "example.test", a.path("root", "pem"), "/some.bin", output,
                               env=environment(a, env))
    if verdict.startswith("ok"):
        body = open(output, "rb").read().partition(b"\r\n\r\n")[2]
        verdict += ", right" if body == open(a.path("some", "bin"), "rb").read() else ", wrong"
    return "OpenSSL: " + name, expected, verdict


class Process:
    """A server on its port; it ends with the block."""

    def __init__(self, words, port):
        self.port = port
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        ports.wait_listening(port, process=self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def gnutls(a, options, cert="good", key="leaf", tree=""):
    """That of this machine, or of a tree."""
    port = ports.free_port()
    pair = [f"--x509certfile={a.chain(cert + ' inter')}", f"--x509keyfile={a.path(key, 'key')}"]
    words = ["gnutls-serv", "--quiet", "--http", f"--port={port}", *pair, *files(a, options)]
    return Process(["chroot", tree, *(word.replace(tree, "") for word in words)] if tree else words, port)


def run_gnutls(a, case, tree=""):
    name, options, cert, key, env, expected = case
    with gnutls(a, options, cert, key, tree) as server:
        verdict = test_tls.ask(server.port, "example.test", a.path("root", "pem"), env=environment(a, env))
    return f"GnuTLS{' 3.8' * bool(tree)}: {name}", expected, verdict


def run_newer_gnutls(a, case):
    return run_gnutls(a, case, a.tree)


def get(a, port, *lines, host="127.0.0.1"):
    """--get of the file: the verdict, and what it says."""
    words = [w for line in (f"ca {a.path('root', 'pem')}", "timeout 5", *lines) for w in ("-o", line)]
    run = subprocess.run([BINARY, *words, "--get", f"https://{host}:{port}/some.bin"], capture_output=True, timeout=60)
    right = run.stdout == open(a.path("some", "bin"), "rb").read()
    return f"{run.returncode}, {'right' if right else 'wrong'} {run.stderr.decode()}"


def run_session_hash(a, _):
    """GnuTLS 3.8 can demand the extended master secret in 1.2, as a server in FIPS mode does. It has but one web page:
    that this came shows that HTTP is spoken."""
    results, page = [], f"{REFUSED}, .*a web page came"
    for name, lines, expected in (("1.2 first", (), page), ("1.3", ("tls 1.3",), page),
                                  ("1.2 only", ("tls 1.2",), f"{UNTRUSTED}, .*extended master secret.*alert 71")):
        with gnutls(a, ["--priority=NORMAL:%FORCE_SESSION_HASH"], tree=a.tree) as server:
            results.append((f"GnuTLS 3.8, forced session hash: {name}", expected, get(a, server.port, *lines)))
    return results


def run_nginx(a, _):
    """Yields the verdicts about all its servers."""
    numbers = ports.free_ports(4)
    folder = tempfile.mkdtemp(dir=a.folder)
    common = f"root {a.folder}; ssl_certificate {a.chain('good inter')}; ssl_certificate_key {a.path('leaf', 'key')};"
    text = NGINX.format(*numbers, common=common, clients=a.path("clients", "pem"))
    with Process(web.command(folder, text), numbers[0]):
        mine = f"cert {a.path('me')}", f"key {a.path('leaf', 'key')}"
        return [("nginx: 1.3 only", "0, right", get(a, numbers[0])),
                ("nginx: secp384r1", "0, right", get(a, numbers[1])),
                ("nginx: our certificate", "0, right", get(a, numbers[2], *mine)),
                ("nginx: small records", "0, right", get(a, numbers[3], "tls 1.3"))]


def run_fips(a, _):
    """nginx with OpenSSL's FIPS provider, which demands the extended master secret in 1.2."""
    port = ports.free_port()
    folder = tempfile.mkdtemp(dir=a.folder)
    pair = f"ssl_certificate {a.chain('good inter')}; ssl_certificate_key {a.path('leaf', 'key')};"
    servers = f"server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; root {a.folder}; {pair} }}"
    with Process(web.command(folder.removeprefix(a.tree), servers.replace(a.tree, ""), tree=a.tree), port):
        return [("FIPS: 1.2 first", "0, right", get(a, port)), ("FIPS: 1.3", "0, right", get(a, port, "tls 1.3")),
                ("FIPS: 1.2 only", f"{UNTRUSTED}, .*extended master secret.*alert 80", get(a, port, "tls 1.2"))]


def run_guest(_, front):
    """An image of a server in FIPS mode, mounted in a real kernel: the scenario prints what has happened."""
    words = [f"{TOP}/test/guest/run", "6.12", "--front", front, "-k", "fips", BINARY]
    run = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return f"FIPS: an image in a real kernel, by {front}", "0, ok .*FIPS", f"{run.returncode}, {run.stdout}"


def run_go(a, _):
    source = a.path("server", "go")
    with open(source, "w") as f:
        f.write(GO)
    env = {**os.environ, "GOCACHE": a.path("go", "cache"), "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", a.path("server", "bin"), source], check=True, env=env)
    words = [a.path("server", "bin"), a.chain("good inter"), a.path("leaf", "key"), a.path("clients", "pem"), a.folder]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        numbers = [int(process.stdout.readline()) for _ in range(5)]
        mine = f"cert {a.path('me')}", f"key {a.path('leaf', 'key')}"
        names = "X25519", "P-256", "P-384", "P-521"
        results = [(f"Go: {name}", "0, right", get(a, number)) for name, number in zip(names, numbers)]
        return [*results, ("Go: our certificate", "0, right", get(a, numbers[4], *mine)),
                ("Go: our certificate missing", f"{UNTRUSTED}, .*demands", get(a, numbers[4]))]
    finally:
        process.kill()
        process.wait()


def make(a):
    test_tls.make(a)
    names = ",".join(f"DNS:host-{i:05}.example.test" for i in range(1590))
    for leaf, more in (("huge", {"extensions": test_tls.LEAF + f"subjectAltName=DNS:example.test,{names}\n"}),
                       ("me521", {"extensions": "extendedKeyUsage=clientAuth\n", "key": "leaf521"})):
        a.issue(leaf, **{"issuer": "inter", "issuer_key": "inter", **more})
    with open(a.path("some", "bin"), "wb") as f:
        f.write(os.urandom(SIZE))
    os.chmod(a.folder, 0o755)


def main():
    tree = newer_root()
    with tempfile.TemporaryDirectory(dir=f"{tree}/srv") as folder:      # the tree's programs can see it
        a = test_tls.Authority(folder)
        a.tree = tree
        make(a)
        jobs = [(run_openssl, case, case[0]) for case in OPENSSL]
        jobs += [(run, case, case[0]) for run in (run_gnutls, run_newer_gnutls) for case in GNUTLS]
        jobs += [(run_session_hash, None, "session hash"), (run_nginx, None, "nginx"), (run_fips, None, "FIPS"),
                 (run_go, None, "Go"), *((run_guest, front, "FIPS guest") for front in ("cachefiles", "nbd"))]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(run, a, case) for run, case, name in jobs if WORD in name]
        for future in futures:
            results = future.result()
            for name, expected, verdict in results if isinstance(results, list) else [results]:
                tap.result(f"TLS 1.3, {name}", None if re.match(expected, verdict, re.S) else f"expected: {expected}")
                tap.note(verdict.strip())
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
