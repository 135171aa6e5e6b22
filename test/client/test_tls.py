#!/usr/bin/python3
"""tls.c and x509.c against `openssl s_server` and against servers that misbehave.

    test/client/test_tls.py [TLS_CLIENT]    (default: build/unit/root/tls_client)

Makes certificate chains, starts a server for each case and compares the client's verdict with the expected one.
Prints TAP; exit status 1 if a case failed.
"""
import concurrent.futures
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import tap
from lib.certs import openssl, pin

CLIENT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/unit/root/tls_client")
ALWAYS = ("20200101000000Z", "20400101000000Z")
PAST = ("20200101000000Z", "20210203000000Z")
FUTURE = ("20390405000000Z", "20400101000000Z")

CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
LEAF = ("basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth\n")
SAN = "subjectAltName=DNS:example.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1\n"


class Authority:
    """The certificates of a folder, each with a name."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, name, end="crt"):
        return os.path.join(self.folder, "%s.%s" % (name, end))

    def key(self, name, *kind):
        if kind[0] == "EC":
            words = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + kind[1]]
        elif kind[0] in ("RSA", "RSA-PSS"):
            words = ["-algorithm", kind[0], "-pkeyopt", "rsa_keygen_bits:%d" % kind[1]]
            if kind[1] > 4096:      # of small primes, which are found soon
                words += ["-pkeyopt", "rsa_keygen_primes:5"]
        else:
            words = ["-algorithm", kind[0]]
        openssl("genpkey", "-out", self.path(name, "key"), *words)
        openssl("req", "-new", "-key", self.path(name, "key"), "-subj", "/CN=any",
                "-out", self.path(name, "request"))

    def issue(self, name, issuer, extensions, key="leaf", dates=ALWAYS, digest="sha256",
              subject=None, issuer_key=None, options=()):
        """Makes the certificate `name`, self-signed if `issuer` is None, of X.509 v1 if `extensions` is."""
        work = self.path(name, "")
        config = work + "conf"
        signer = self.path(issuer_key or key, "key")
        with open(work + "db", "w"), open(config, "w") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%sdb\nnew_certs_dir=%s\npolicy=p\n"
                    "rand_serial=yes\nunique_subject=no\nemail_in_dn=no\n[p]\n"
                    "organizationName=optional\ncommonName=optional\n" % (work, self.folder))
            if extensions:
                f.write("[v3]\n" + extensions)
        words = ["ca", "-batch", "-notext", "-config", config, "-in", self.path(key, "request"),
                 "-subj", subject or "/O=Test/CN=" + name, "-md", digest, "-keyfile", signer,
                 "-startdate", dates[0], "-enddate", dates[1], "-out", self.path(name)]
        words += options
        words += ["-extensions", "v3"] if extensions else []
        words += ["-cert", self.path(issuer)] if issuer else ["-selfsign"]
        openssl(*words)

    def forge(self, name, original, old, new, signer):
        """Makes a copy of a certificate with other bytes in it, signed again (ECDSA with SHA-256)."""
        body = ssl.PEM_cert_to_DER_cert(open(self.path(original)).read())
        assert body[:2] == body[4:6] == b"\x30\x82" and body.count(old) == 1
        tbs = body[4:8 + int.from_bytes(body[6:8], "big")].replace(old, new)
        signature = openssl("dgst", "-sha256", "-sign", self.path(signer, "key"), data=tbs)
        algorithm = bytes.fromhex("300a06082a8648ce3d040302")
        bits = bytes([3, len(signature) + 1, 0]) + signature
        inside = tbs + algorithm + bits
        with open(self.path(name), "w") as out:
            out.write(ssl.DER_cert_to_PEM_cert(
                b"\x30\x82" + len(inside).to_bytes(2, "big") + inside))

    def chain(self, names):
        """A file of the certificates "one two", or of one."""
        if " " not in names:
            return self.path(names)
        file = tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".pem", delete=False)
        with file:
            file.write("".join(open(self.path(name)).read() for name in names.split()))
        return file.name

    def bundle(self, name, *members, junk=""):
        with open(self.path(name, "pem"), "w") as out:
            out.write(junk)
            for member in members:
                out.write(open(self.path(member)).read())


def row(name, issuer=None, extensions=CA, **more):
    """A row of the tables below: the arguments of Authority.issue()."""
    return (name, issuer, extensions), more


def inter(name, extensions=CA, key="inter", **more):
    """An intermediate that the root signs; its subject is "inter", whatever its name here."""
    return row(name, "root", extensions, key=key, issuer_key="root", subject="/O=Test/CN=inter", **more)


def leaf(name, extensions=LEAF + SAN, issuer="inter", issuer_key="inter", **more):
    return row(name, issuer, extensions, issuer_key=issuer_key, **more)


KEYS = {"root": ("EC", "P-256"), "inter": ("EC", "P-256"), "leaf": ("EC", "P-256"),
        "other": ("EC", "P-256"), "leaf384": ("EC", "P-384"), "leaf521": ("EC", "P-521"),
        "secp256k1": ("EC", "secp256k1"), "rsa": ("RSA", 2048), "rsa1024": ("RSA", 1024),
        "rsa3072": ("RSA", 3072), "rsa4096": ("RSA", 4096), "ed25519": ("ED25519",),
        "rsapss": ("RSA-PSS", 2048), "rsaca": ("RSA", 2048), "rsa8192": ("RSA", 8192)}

# name constraints of the intermediates "inter-NAME"
CONSTRAINTS = {
    "name": "critical,permitted;DNS:test",
    "not-name": "critical,excluded;DNS:example.test",
    "wild": "critical,excluded;DNS:a.wild.test",
    "net": "critical,permitted;IP:127.0.0.0/255.0.0.0,permitted;IP:::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "not-net": "critical,excluded;IP:127.0.0.0/255.255.255.0",
    "dot": "critical,permitted;DNS:.test",
    "email": "critical,excluded;email:example.test",
    "mask": "critical,permitted;IP:127.0.0.0/255.0.255.0",
    # permitted is "example.test", with a minimum of 1
    "minimum": "critical,DER:3015a0133011820c" + b"example.test".hex() + "800101",
    "empty": "critical,DER:3000",
}

# These are made one after the other: an issuer stands before those that it signs.
AUTHORITIES = [
    row("root", key="root"),
    inter("inter"),
    inter("inter-noca", LEAF),
    inter("inter-usage", "basicConstraints=critical,CA:TRUE\nkeyUsage=digitalSignature\n"),
    inter("inter-client", CA + "extendedKeyUsage=clientAuth\n"),
    inter("inter-sha1", digest="sha1"),
    inter("inter-old", dates=PAST),
    inter("inter-rsa1024", key="rsa1024"),
    inter("inter-names", CA + "nameConstraints=permitted;DNS:example.test\n"),
    inter("inter-namesc", CA + "nameConstraints=critical,permitted;DNS:example.test\n"),
    *(inter("inter-" + name, CA + "nameConstraints=%s\n" % names) for name, names in CONSTRAINTS.items()),
    row("inter-rsa", "root", key="rsaca", issuer_key="root"),
    row("ca1", "root", key="other", issuer_key="root"),
    row("ca2", "ca1", key="inter", issuer_key="other"),
    row("ca2-old", "ca1", key="inter", issuer_key="other", dates=PAST, subject="/O=Test/CN=ca2"),
    row("ca2-other", "ca1", key="root", issuer_key="other", subject="/O=Test/CN=ca2"),
    row("ca1-loop", "ca2", key="other", issuer_key="inter", subject="/O=Test/CN=ca1"),
    row("ca2-within", "ca1", CA + "subjectAltName=DNS:ca.example.test\n", key="inter", issuer_key="other",
        subject="/O=Test/CN=ca2"),
    row("ca2-without", "ca1", CA + "subjectAltName=DNS:ca.other.test\n", key="inter", issuer_key="other",
        subject="/O=Test/CN=ca2"),
    row("ca1-names", "root", CA + "nameConstraints=critical,permitted;DNS:example.test\n", key="other",
        issuer_key="root", subject="/O=Test/CN=ca1"),
    row("ca1-more", "ca1-names", CA + "subjectAltName=DNS:other.test\n", key="other", issuer_key="other",
        subject="/O=Test/CN=ca1"),
    *(row("long%d" % n, "long%d" % (n - 1) if n > 1 else "root", key="other", issuer_key="other" if n > 1 else "root")
      for n in range(1, 11)),
    row("rsa8192-root", key="rsa8192"),
    row("old-root", key="root", dates=PAST),
    row("weak-root", key="rsa1024"),
    row("v1-root", None, None, key="root"),
    row("v1-inter", "root", None, key="inter", issuer_key="root"),
    row("short-root", None, CA.replace("CA:TRUE", "CA:TRUE,pathlen:0"), key="root"),
    row("short-inter", "short-root", key="inter", issuer_key="root"),
    row("names-root", None, CA + "nameConstraints=permitted;DNS:test\n", key="root"),
    row("names-not-root", None, CA + "nameConstraints=excluded;DNS:test\n", key="root",
        subject="/O=Test/CN=names-root"),
    *(row("twin%d" % n, key=key, subject="/O=Test/CN=twin") for n, key in enumerate(("other", "inter", "root"))),
    row("twin-old", key="root", subject="/O=Test/CN=twin", dates=PAST),
    row("stranger", key="other", subject="/O=Test/CN=root"),
]

# These sign nothing.
LEAVES = [
    leaf("good"),
    leaf("deep", issuer="ca2"),
    leaf("deep-plain", LEAF + "subjectAltName=DNS:example.test\n", issuer="ca2"),
    *(leaf("long-leaf%d" % n, issuer="long%d" % n, issuer_key="other") for n in (9, 10)),
    leaf("address", LEAF + "subjectAltName=IP:127.0.0.1\n"),
    leaf("rsa", key="rsa"),
    leaf("rsa3072", key="rsa3072"),
    leaf("rsa1024", key="rsa1024"),
    leaf("rsa8192", key="rsa8192"),
    leaf("by-8192", issuer="rsa8192-root", issuer_key="rsa8192"),
    leaf("p384", key="leaf384"),
    leaf("p521", key="leaf521"),
    leaf("secp256k1", key="secp256k1"),
    leaf("by-rsa", issuer="inter-rsa", issuer_key="rsaca"),
    leaf("by-pss", issuer="inter-rsa", issuer_key="rsaca", options=("-sigopt", "rsa_padding_mode:pss")),
    *(leaf("by-pss-" + sha, issuer="inter-rsa", issuer_key="rsaca",
           options=("-md", sha, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"))
      for sha in ("sha1", "sha256", "sha384", "sha512")),
    leaf("rsapss", key="rsapss"),
    leaf("cert-sign", LEAF.replace("digitalSignature", "keyEncipherment") + SAN, key="rsa"),
    leaf("me", "extendedKeyUsage=clientAuth\n", subject="/CN=me"),
    leaf("me-rsa", "extendedKeyUsage=clientAuth\n", key="rsa", subject="/CN=me"),
    leaf("me-rsa4096", "extendedKeyUsage=clientAuth\n", key="rsa4096", subject="/CN=me"),
    leaf("me384", "extendedKeyUsage=clientAuth\n", key="leaf384", subject="/CN=me"),
    leaf("me-old", "extendedKeyUsage=clientAuth\n", subject="/CN=me", dates=PAST),
    leaf("ed25519", key="ed25519"),
    leaf("no-usage", SAN),
    leaf("plain", LEAF + "subjectAltName=DNS:example.test\n"),
    leaf("cn-only", LEAF, subject="/CN=example.test"),
    leaf("email-only", LEAF + "subjectAltName=email:a@example.test\n", subject="/CN=example.test"),
    leaf("many", LEAF + "subjectAltName=" + ",".join("DNS:h%d.test" % i for i in range(300)) + "\n"),
    leaf("wild-top", LEAF + "subjectAltName=DNS:*.test,DNS:*,DNS:*.\n"),
    leaf("wild-part", LEAF + "subjectAltName=DNS:e*.wild.test,DNS:*a.wild.test,DNS:a.*.wild.test,"
         "DNS:*.*.wild.test,DNS:**.wild.test\n"),
    leaf("dns-address", LEAF + "subjectAltName=DNS:127.0.0.1\n", subject="/CN=127.0.0.1"),
    leaf("expired", dates=PAST),
    leaf("future", dates=FUTURE),
    leaf("sha1", digest="sha1"),
    leaf("sha384", digest="sha384"),
    leaf("ca", CA.replace("keyCertSign", "digitalSignature,keyCertSign") +
         "extendedKeyUsage=serverAuth\n" + SAN),
    leaf("client", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n" + SAN),
    leaf("any-use", "basicConstraints=CA:FALSE\nextendedKeyUsage=anyExtendedKeyUsage\n" + SAN),
    leaf("critical-use", "extendedKeyUsage=critical,serverAuth,clientAuth\n" + SAN),
    leaf("critical-client", "extendedKeyUsage=critical,clientAuth\n" + SAN),
    leaf("v1", None, subject="/CN=example.test"),
    leaf("two", LEAF + SAN + "1.2.3.4=DER:0500\n1.2.3.5=DER:0500\n"),
    leaf("unknown", LEAF + SAN + "1.2.3.4=DER:0500\n"),
    leaf("critical-unknown", LEAF + SAN + "1.2.3.4=critical,DER:0500\n"),
    leaf("leaf-names", LEAF + SAN + "nameConstraints=permitted;DNS:example.test\n"),
    leaf("direct", issuer="root", issuer_key="root"),
    leaf("old-leaf", issuer="old-root", issuer_key="root"),
    leaf("weak-leaf", issuer="weak-root", issuer_key="rsa1024"),
    leaf("v1-root-leaf", issuer="v1-root", issuer_key="root"),
    leaf("v1-inter-leaf", issuer="v1-inter"),
    leaf("short-leaf", issuer="short-inter"),
    leaf("short-direct", issuer="short-root", issuer_key="root"),
    leaf("names-leaf", issuer="names-root", issuer_key="root"),
    leaf("twin-leaf", issuer="twin2", issuer_key="root"),
    row("self", None, LEAF + SAN, subject="/CN=self"),
    row("self-ca", None, "basicConstraints=critical,CA:TRUE\n" + SAN, subject="/CN=self"),
    row("self-ca2", None, "basicConstraints=critical,CA:TRUE\n" + SAN, subject="/CN=self"),
    row("self-old", None, LEAF + SAN, subject="/CN=self", dates=PAST),
    row("self-v1", None, None, subject="/CN=example.test"),
    row("self-cn", None, LEAF, subject="/CN=example.test"),
]


def make(a):
    """Makes the certificates and bundles that the cases below name."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda k: a.key(k, *KEYS[k]), KEYS))
        for words, more in AUTHORITIES:
            a.issue(*words, **more)
        list(pool.map(lambda r: a.issue(*r[0], **r[1]), LEAVES))
    a.forge("twice", "two", b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x04", "inter")
    a.forge("forged", "two", b"\x06\x03\x2a\x03\x05", b"\x06\x03\x2a\x03\x06", "root")
    make_files(a)
    make_bundles(a)


def make_files(a):
    """Keys in other forms, and the file that a server sends."""
    for key in ("rsa", "rsa4096", "leaf", "leaf384"):
        with open(a.path(key + "-old", "key"), "wb") as f:
            f.write(openssl("pkey", "-traditional", "-in", a.path(key, "key")))
    with open(a.path("locked", "key"), "wb") as f:
        f.write(openssl("pkey", "-aes128", "-passout", "pass:x", "-in", a.path("leaf", "key")))
    for name in os.listdir(a.folder):
        if name.endswith(".key"):
            os.chmod(a.path(name[:-4], "key"), 0o600)
    with open(a.path("bulk", "bin"), "wb") as f:
        f.write(os.urandom(1 << 16) * 300)


def make_bundles(a):
    a.bundle("clients", "root", "inter")
    a.bundle("me-chain", "me-rsa4096", "inter", "root")
    a.bundle("junk", "stranger", "root", junk="# words\r\n-----BEGIN CERTIFICATE-----\r\n!!\r\n" +
             "x" * 100000 + "\n-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    text = open(a.path("root")).read()
    open(a.path("crlf", "pem"), "wb").write(text.replace("\n", "\r\n").rstrip().encode())
    open(a.path("marked", "pem"), "wb").write(b"\xef\xbb\xbf" + text.encode())
    open(a.path("x509", "pem"), "w").write(text.replace(" CERT", " X509 CERT"))
    for name, words in (("trusted", ("-addtrust", "serverAuth", "-addreject", "clientAuth", "-setalias", "me")),
                        ("rejected", ("-addreject", "serverAuth"))):
        openssl("x509", "-in", a.path("root"), "-trustout", *words, "-out", a.path(name, "pem"))
    open(a.path("empty", "pem"), "w").write("nothing here\n")
    a.bundle("root", "root")
    system = "/etc/ssl/certs/ca-certificates.crt"
    junk = open(system).read() if os.path.exists(system) else ""
    a.bundle("system", "root", junk=junk)
    for name in ("other", "old-root", "weak-root", "v1-root", "v1-inter", "rsa8192-root", "short-root", "names-root",
                 "names-not-root",
                 "self", "self-ca", "self-old", "self-v1", "self-cn", "inter", "good", "stranger"):
        if os.path.exists(a.path(name)):
            a.bundle(name, name)
    a.bundle("twins", "twin-old", "twin0", "twin1", "twin2")


OK = r"ok [1-9]\d* bytes"
BAD = r"untrusted: "
LONG = " ".join("long%d" % n for n in range(10, 0, -1))

# name of the case, certificate (and key, if not "leaf"), intermediate, bundle, host, expected verdict
CASES = [
    ("a good chain", "good", "inter", "root", "example.test", OK),
    ("capitals and a final dot in the host", "good", "inter", "root", "EXAMPLE.test.", OK),
    ("the root signs directly", "direct", "", "root", "example.test", OK),
    ("IPv4 address", "good", "inter", "root", "127.0.0.1", OK),
    ("IPv6 address", "good", "inter", "root", "::1", OK),
    ("another IPv4 address", "good", "inter", "root", "127.0.0.2",
     BAD + r".* is not for address 127\.0\.0\.2; "
     r"it is for example\.test, \*\.wild\.test, address 127\.0\.0\.1 and 1 more"),
    ("another IPv6 address", "good", "inter", "root", "::2", BAD + ".*is not for address ::2"),
    ("an address as dNSName", "dns-address", "inter", "root", "127.0.0.1",
     BAD + ".*not for address 127"),
    ("wildcard for one label", "good", "inter", "root", "a.wild.test", OK),
    ("wildcard for two labels", "good", "inter", "root", "a.b.wild.test", BAD + ".*not for"),
    ("wildcard for no label", "good", "inter", "root", "wild.test", BAD + ".*not for"),
    ("wildcard below a top-level name", "wild-top", "inter", "root", "example.test",
     BAD + ".*not for"),
    ("partial wildcards", "wild-part", "inter", "root", "ea.wild.test", BAD + ".*not for"),
    ("wrong name", "good", "inter", "root", "other.test", BAD + ".*not for other.test"),
    ("300 names, the last one", "many", "inter", "root", "h299.test", OK),
    ("300 names, none fits", "many", "inter", "root", "x.test",
     BAD + ".*h0.test, h1.test, h2.test and 297 more"),
    ("common name only", "cn-only", "inter", "root", "example.test",
     BAD + ".*no subject alternative name"),
    ("no host among the names", "email-only", "inter", "root", "example.test",
     BAD + ".*for no host at all"),
    ("expired", "expired", "inter", "root", "example.test",
     BAD + ".*expired: .*2021-02-03.*the clock says 20"),
    ("not valid yet", "future", "inter", "root", "example.test",
     BAD + ".*not valid yet: .*2039-04-05"),
    ("missing intermediate", "good", "", "root", "example.test",
     BAD + 'unknown CA: the issuer is "inter".*does not send'),
    ("unknown CA", "good", "inter", "self", "example.test",
     BAD + 'unknown CA: the issuer is "root"'),
    ("a root of the same name with another key", "good", "inter", "stranger", "example.test",
     BAD + '.*named "root", but has another key'),
    ("RSA 2048", "rsa:rsa", "inter", "root", "example.test", OK),
    ("RSA 3072", "rsa3072:rsa3072", "inter", "root", "example.test", OK),
    ("RSA 1024", "rsa1024:rsa1024", "inter", "root", "example.test", BAD + ".*weak key"),
    ("RSA 1024 in the intermediate", "good", "inter-rsa1024", "root", "example.test",
     BAD + ".*weak key"),
    ("RSA 1024 in the root", "weak-leaf", "", "weak-root", "example.test",
     BAD + '.*trusted root "weak-root" has a weak key'),
    ("P-384", "p384:leaf384", "inter", "root", "example.test", OK),
    ("P-521", "p521:leaf521", "inter", "root", "example.test", OK),
    ("secp256k1", "secp256k1:secp256k1", "inter", "root", "example.test", BAD),
    ("Ed25519", "ed25519:ed25519", "inter", "root", "example.test", BAD + ".*BearSSL lacks .*Ed25519"),
    ("signed by an RSA key", "by-rsa", "inter-rsa", "root", "example.test", OK),
    ("signed with RSA-PSS, a long salt", "by-pss", "inter-rsa", "root", "example.test", BAD + ".*RSA-PSS"),
    ("signed with RSA-PSS, SHA-1", "by-pss-sha1", "inter-rsa", "root", "example.test", BAD + ".*RSA-PSS"),
    *(("signed with RSA-PSS, " + sha, "by-pss-" + sha, "inter-rsa", "root", "example.test", OK)
      for sha in ("sha256", "sha384", "sha512")),
    ("an RSA-PSS key", "rsapss:rsapss", "inter", "root", "example.test", BAD + ".*BearSSL lacks .*PSS"),
    ("RSA 8192", "rsa8192:rsa8192", "inter", "root", "example.test", BAD + ".*RSA key of more than 4096 bits"),
    ("RSA 8192 in the root", "by-8192", "", "rsa8192-root", "example.test",
     BAD + '.*trusted root "rsa8192-root" has an RSA key of more than 4096 bits'),
    ("a key for key transport only", "cert-sign:rsa", "inter", "root", "example.test",
     BAD + r".*may not sign \(key usage\)"),
    ("SHA-1", "sha1", "inter", "root", "example.test", BAD + ".*SHA-1"),
    ("SHA-1 in the intermediate", "good", "inter-sha1", "root", "example.test", BAD + ".*SHA-1"),
    ("SHA-384", "sha384", "inter", "root", "example.test", OK),
    ("an intermediate that is no CA", "good", "inter-noca", "root", "example.test",
     BAD + ".*not marked as a CA"),
    ("an intermediate that may not sign", "good", "inter-usage", "root", "example.test",
     BAD + ".*may not sign"),
    ("an intermediate for clients", "good", "inter-client", "root", "example.test",
     BAD + ".*not meant"),
    ("an expired intermediate", "good", "inter-old", "root", "example.test",
     BAD + '.*"inter".*expired'),
    ("name constraints", "good", "inter-names", "root", "example.test", BAD + ".*name constraints"),
    ("name constraints that are kept", "plain", "inter-names", "root", "example.test", OK),
    ("a chain in the wrong order", "good", "root", "root", "example.test", BAD + 'unknown CA: the issuer is "inter"'),
    ("critical name constraints", "good", "inter-namesc", "root", "example.test",
     BAD + r".*name constraints that forbid \*\.wild\.test"),
    ("critical name constraints that are kept", "plain", "inter-namesc", "root", "example.test", OK),
    ("name constraints of all its names", "good", "inter-name", "root", "a.wild.test", OK),
    ("an excluded name", "good", "inter-not-name", "root", "127.0.0.1", BAD + ".*that forbid example.test"),
    ("an excluded name below a wildcard", "good", "inter-wild", "root", "b.wild.test",
     BAD + r".*that forbid \*\.wild"),
    ("permitted addresses", "good", "inter-net", "root", "::1", OK),
    ("an excluded address", "address", "inter-not-net", "root", "127.0.0.1", BAD + ".*that forbid address 127"),
    ("a name constraint with a dot before it", "plain", "inter-dot", "root", "example.test",
     BAD + ".*that is no host name"),
    ("constraints of other names", "plain", "inter-email", "root", "example.test", BAD + ".*not checked here"),
    ("a constraint whose mask has holes", "address", "inter-mask", "root", "127.0.0.1",
     BAD + ".*no address with a mask"),
    ("a constraint with a minimum", "plain", "inter-minimum", "root", "example.test", BAD + ".*minimum"),
    ("name constraints without any", "plain", "inter-empty", "root", "example.test", BAD + ".*malformed"),
    ("constraints above two CAs", "deep-plain", "ca2 ca1-names", "root", "example.test", OK),
    ("the same, broken", "deep", "ca2 ca1-names", "root", "example.test", BAD + ".*that forbid"),
    ("a CA's own name within constraints", "deep-plain", "ca2-within ca1-names", "root", "example.test", OK),
    ("a CA's own name outside", "deep-plain", "ca2-without ca1-names", "root", "example.test",
     BAD + ".*that forbid ca.other.test"),
    ("a self-issued CA's name outside", "deep-plain", "ca2 ca1-more ca1-names", "root", "example.test", OK),
    ("name constraints in the root", "names-leaf", "", "names-root", "example.test", OK),
    ("name constraints in the root, broken", "names-leaf", "", "names-not-root", "example.test",
     BAD + '.*trusted root "names-root" has name constraints that forbid example.test'),
    ("name constraints in the leaf", "leaf-names", "inter", "root", "example.test",
     BAD + ".*name constraints"),
    ("two intermediates", "deep", "ca2 ca1", "root", "example.test", OK),
    ("nine intermediates", "long-leaf9", LONG.partition(" ")[2], "root", "example.test", OK),
    ("ten intermediates, which are too many", "long-leaf10", LONG, "root", "example.test",
     BAD + ".*; its chain has more than 10 certificates"),
    ("two intermediates, the upper one first", "deep", "ca1 ca2", "root", "example.test", OK),
    ("all twice, and the root", "deep", "deep ca2 root ca2 ca1 ca1 root", "root", "example.test", OK),
    ("a stranger in the middle", "deep", "ca2 stranger ca1", "root", "example.test", OK),
    ("more than ten", "deep",
     "twin0 twin1 twin2 inter-rsa inter-sha1 inter-old rsa p384 p521 self ca1 ca2", "root", "example.test",
     OK),
    ("an expired one of the same name and key", "deep", "ca2-old ca2 ca1", "root", "example.test", OK),
    ("one of the same name with another key", "deep", "ca2-other ca2 ca1", "root", "example.test", OK),
    ("that one alone", "deep", "ca2-other ca1", "root", "example.test", BAD + ".*signature is wrong"),
    ("a way that goes round", "deep", "ca2 ca1-loop ca1", "root", "example.test", OK),
    ("only that way", "deep", "ca2 ca1-loop", "root", "example.test", BAD + 'unknown CA: the issuer is'),
    ("the upper one alone", "deep", "ca1", "root", "example.test", BAD + 'unknown CA: the issuer is "ca2"'),
    ("a CA's certificate as the server's", "ca", "inter", "root", "example.test",
     BAD + ".*marked as a CA's"),
    ("no usage at all", "no-usage", "inter", "root", "example.test", OK),
    ("for clients only", "client", "inter", "root", "example.test",
     BAD + ".*not meant for TLS servers"),
    ("for any use", "any-use", "inter", "root", "example.test",
     BAD + ".*not meant for TLS servers"),
    ("critical extended key usage", "critical-use", "inter", "root", "example.test", OK),
    ("the same for clients", "critical-client", "inter", "root", "example.test",
     BAD + ".*not meant"),
    ("X.509 v1", "v1", "inter", "root", "example.test", BAD + ".*not X.509 v3"),
    ("an extension twice", "twice", "inter", "root", "example.test",
     BAD + ".*same extension twice"),
    ("two unknown extensions", "two", "inter", "root", "example.test", OK),
    ("a wrong signature", "forged", "inter", "root", "example.test", BAD + ".*signature is wrong"),
    ("an unknown extension", "unknown", "inter", "root", "example.test", OK),
    ("an unknown critical extension", "critical-unknown", "inter", "root", "example.test",
     BAD + ".*critical extension that is unknown"),
    ("an expired root", "old-leaf", "", "old-root", "example.test",
     BAD + 'the trusted root "old-root" has expired on 2021-02-03'),
    ("a v1 root", "v1-root-leaf", "", "v1-root", "example.test", OK),
    ("a v1 root that is not trusted", "v1-root-leaf", "v1-root", "self", "example.test", BAD + ".*not marked as a CA"),
    ("a v1 intermediate as root", "v1-inter-leaf", "", "v1-inter", "example.test", BAD + ".*not marked as a CA"),
    ("a root's path length", "short-leaf", "short-inter", "short-root", "example.test",
     BAD + ".*length"),
    ("a root's path length, kept", "short-direct", "", "short-root", "example.test", OK),
    ("four roots of one name", "twin-leaf", "", "twins", "example.test", OK),
    ("an intermediate as root", "good", "", "inter", "example.test", OK),
    ("self-signed", "self", "", "root", "example.test",
     BAD + r".*self-signed.*\(ca FILE\).*\(pin sha256//\S{43}=, pin-only"),
    ("self-signed, marked as CA", "self-ca", "", "root", "example.test",
     BAD + r".*self-signed.*\(ca FILE\).*\(pin sha256//\S{43}=, pin-only"),
    ("self-signed and trusted", "self", "", "self", "example.test", OK),
    ("the same, for another host", "self", "", "self", "other.test", BAD + ".*not for"),
    ("the same, expired", "self-old", "", "self-old", "example.test", BAD + ".*expired"),
    ("the same, v1", "self-v1", "", "self-v1", "example.test", BAD + ".*not X.509 v3"),
    ("the same, common name only", "self-cn", "", "self-cn", "example.test",
     BAD + ".*alternative name"),
    ("the same, marked as CA", "self-ca", "", "self-ca", "example.test", OK),
    ("marked as CA, and another of its name and key is trusted", "self-ca2", "", "self-ca",
     "example.test", BAD + ".*self-signed"),
    ("a server's certificate trusted itself", "good", "", "good", "example.test", OK),
    ("a bundle with junk in it", "good", "inter", "junk", "example.test", OK),
    ("a bundle with CRLF and no final newline", "good", "inter", "crlf", "example.test", OK),
    ("a bundle with a byte-order mark", "good", "inter", "marked", "example.test", OK),
    ("X509 CERTIFICATE", "good", "inter", "x509", "example.test", OK),
    ("TRUSTED CERTIFICATE", "good", "inter", "trusted", "example.test", OK),
    ("TRUSTED CERTIFICATE, but not for servers", "good", "inter", "rejected", "example.test",
     "bundle: .*holds no certificate"),
    ("a bundle of nothing", "good", "inter", "empty", "example.test",
     "bundle: .*holds no certificate"),
    ("no bundle", "good", "inter", "absent", "example.test", "bundle: .*No such file"),
    ("the root at the end of the system's bundle", "good", "inter", "system", "example.test", OK),
    ("too large for the scratch area", "many", "inter", "root", "h0.test",
     OK, {"SCRATCH": "16384"}),
    ("too little scratch area", "good", "inter", "root", "example.test", BAD, {"SCRATCH": "16000"}),
]

# name of the case, s_server's options, expected verdict
PROTOCOLS = [
    ("TLS 1.0 only", ["-tls1", "-cipher", "ALL:@SECLEVEL=0"], BAD + ".*no TLS 1.2"),
    ("TLS 1.1 only", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], BAD + ".*no TLS 1.2"),
    ("TLS 1.3 only", ["-tls1_3"], BAD + ".*no TLS 1.2"),
    ("CBC only", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"], BAD + ".*handshake_failure"),
    ("AES-128-GCM", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], OK),
    ("AES-256-GCM", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], OK),
    ("ChaCha20-Poly1305", ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], OK),
    ("X25519", ["-named_curve", "X25519"], OK),
    ("X448", ["-named_curve", "X448"], BAD + ".*curves.*handshake_failure"),
    ("P-521 key exchange", ["-named_curve", "P-521"], OK),
    ("a server that asks for a client's certificate", ["-verify", "1"], OK),
    ("a server that demands one", ["-Verify", "1"], BAD + ".*demands a client's certificate"),
]


# name of the case, certificate, key, s_server's options, expected verdict
CLIENTS = [
    ("a client's certificate, EC", "me", "leaf", ["-tls1_2"], OK),
    ("the same, traditional key", "me", "leaf-old", ["-tls1_2"], OK),
    ("a client's certificate, P-384", "me384", "leaf384-old", ["-tls1_2"], OK),
    ("a client's certificate, RSA", "me-rsa", "rsa", ["-tls1_2"], OK),
    ("a client's certificate, RSA 4096, traditional", "me-rsa4096", "rsa4096-old", ["-tls1_2"], OK),
    ("only SHA-512 with RSA accepted", "me-rsa", "rsa",
     ["-client_sigalgs", "RSA+SHA512"], OK),
    ("only SHA-384 with ECDSA accepted", "me", "leaf", ["-client_sigalgs", "ECDSA+SHA384"], OK),
    ("another kind of key accepted", "me", "leaf", ["-client_sigalgs", "RSA+SHA256"],
     BAD + ".*demands a client's certificate.*of a kind"),
    ("an expired client's certificate", "me-old", "leaf", ["-tls1_2"],
     BAD + ".*refuses our certificate.*certificate_expired"),
    ("a client's certificate of an unknown CA", "self", "leaf", ["-tls1_2"],
     BAD + ".*refuses our certificate"),
    ("a key that is not the certificate's", "me", "other", [],
     "identity: the private key in .* is not that of the certificate"),
    ("another key of the same kind, RSA", "me-rsa", "rsaca", [], "identity: .* is not that of"),
    ("an encrypted key", "me", "locked", [], "identity: .*encrypted"),
    ("an Ed25519 key", "ed25519", "ed25519", [], "identity: "),
    ("no such key", "me", "absent", [], "identity: .*No such file"),
]


def run_client(a, case):
    name, cert, key, options, expected = case
    env = {"CERT": a.path(cert), "KEY": a.path(key, "key")}
    options = ["-Verify", "3", "-verify_return_error", "-CAfile", a.path("clients", "pem"), *options]
    with Server(a, "good", "inter", options) as server:
        verdict = ask(server.port, "example.test", a.path("root", "pem"), env=env)
    return name, expected, verdict


def run_client_chain(a):
    """The server knows only the root, so that the client has to send its intermediate."""
    env = {"CERT": a.path("me-chain", "pem"), "KEY": a.path("rsa4096", "key")}
    options = ["-Verify", "3", "-verify_return_error", "-CAfile", a.path("root", "pem")]
    with Server(a, "good", "inter", options) as server:
        verdict = ask(server.port, "example.test", a.path("root", "pem"), env=env)
    return "a client's chain of three", OK, verdict


# name of the case, server's certificate, pinned certificates, whether only pins count, bundle, host,
# expected verdict
PINS = [
    ("a pin beside the CA", "good", ["good"], False, "root", "example.test", OK),
    ("the second of two pins", "good", ["self-v1", "self", "rsa", "good"], False, "root",
     "example.test", OK),
    ("another pin", "good", ["rsa"], False, "root", "example.test",
     BAD + "the server's key is not a pinned one: it is sha256//"),
    ("the intermediate's pin", "good", ["inter"], False, "root", "example.test",
     BAD + "the server's key is not"),
    ("a pin, but an unknown CA", "good", ["good"], False, "stranger", "example.test",
     BAD + ".*has another key"),
    ("a pin, but another name", "good", ["good"], False, "root", "other.test", BAD + ".*not for"),
    ("a pin, but expired", "expired", ["good"], False, "root", "example.test", BAD + ".*expired"),
    ("only a pin", "self", ["self"], True, "absent", "example.test", OK),
    ("only a pin, another name", "good", ["good"], True, "absent", "other.test", OK),
    ("only a pin, an expired certificate", "expired", ["good"], True, "absent", "a.test", OK),
    ("only a pin, RSA", "rsa:rsa", ["rsa"], True, "absent", "127.0.0.1", OK),
    ("only a pin, which does not fit", "good", ["rsa"], True, "root", "example.test",
     BAD + "the server's key is not a pinned one"),
    ("only a pin, a weak key", "rsa1024:rsa1024", ["rsa1024"], True, "root", "example.test",
     BAD + ".*weak key"),
    ("only pins, and there are none", "good", [], True, "root", "example.test",
     BAD + "the server's key is not a pinned one"),
]


def run_pins(a, case):
    name, cert, pins, only, bundle, host, expected = case
    env = {"PIN": ",".join(pin(a.path(p)) for p in pins)}
    if only:
        env["PIN_ONLY"] = "1"
    with Server(a, cert, "inter") as server:
        verdict = ask(server.port, host, a.path(bundle, "pem"), env=env)
    return name, expected, verdict


# name of the case, certificate, intermediate, expected lines about the peer
FACTS = [
    ("facts of a good chain", "rsa3072:rsa3072", "inter",
     r"TLS 1\.2 ECDHE_RSA_WITH_AES_\d+_GCM_SHA\d+ (P-256|X25519)\n"
     r".*2 certificates for example\.test, \*\.wild\.test, address 127\.0\.0\.1 and 1 more, "
     r"@PIN@\n.*rsa3072 by inter, 1577836800 to 2208988800, RSA 3072, good\n"
     r".*inter by root, 1577836800 to 2208988800, ECDSA P-256 256, good"),
    ("facts of an expired one", "expired", "inter",
     r"TLS 1\.2 ECDHE_\S+ \(null\)\n.*2 certificates.*@PIN@\n.*expired by inter, 1577836800 to 1612310400, .*good\n"
     r".*inter by root"),
    ("facts of an odd one", "critical-unknown", "inter-rsa1024",
     r".*\n.*2 certificates.*@PIN@\n.*critical extension.*\n.*RSA 1024, good"),
]


def run_facts(a, case):
    name, cert, chain, expected = case
    expected = expected.replace("@PIN@", re.escape(pin(a.path(cert.split(":")[0]))))
    with Server(a, cert, chain) as server:
        run = subprocess.run([CLIENT, "example.test", str(server.port), a.path("root", "pem")],
                             capture_output=True, timeout=20, env={**os.environ, "FACTS": "1"})
    facts = "\n".join(re.findall("^fact: (.*)$", run.stdout.decode(), re.M))
    return name, expected, facts + run.stderr.decode()


def ask(port, host, bundle, *more, env=None):
    run = subprocess.run([CLIENT, host, str(port), bundle, *more], capture_output=True, timeout=20,
                         env={**os.environ, **(env or {})})
    out = run.stdout.decode() + run.stderr.decode()
    found = re.search("^verdict: (.*)$", out, re.M)
    return found.group(1) if found and run.returncode == 0 else "died: " + out[:3000]


class Server:
    """`openssl s_server` on a port that the system has chosen."""

    def __init__(self, a, cert, chain, options=(), mode="-www"):
        cert, _, key = cert.partition(":")
        words = ["openssl", "s_server", "-accept", "127.0.0.1:0", mode, "-cert", a.path(cert),
                 "-key", a.path(key or "leaf", "key"), *options]
        if not any("SECLEVEL" in o or o == "-cipher" for o in options):
            words += ["-cipher", "DEFAULT:@SECLEVEL=0"]
        if chain:
            words += ["-cert_chain", a.chain(chain)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, cwd=a.folder)
        self.port = 0
        for line in self.process.stdout:
            found = re.match(rb"ACCEPT .*:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def run_case(a, case):
    name, cert, chain, bundle, host, expected = case[:6]
    with Server(a, cert, chain) as server:
        verdict = ask(server.port, host, a.path(bundle, "pem"), env=case[6] if case[6:] else None)
    return name, expected, verdict


def run_protocol(a, case):
    name, options, expected = case
    with Server(a, "good", "inter", options) as server:
        verdict = ask(server.port, "example.test", a.path("root", "pem"))
    return name, expected, verdict


def run_bulk(a, mode):
    output = a.path("bulk" + mode, "out")
    options = ["-cipher", mode, "-tls1_2"]
    with Server(a, "good", "inter", options, mode="-WWW") as server:
        verdict = ask(server.port, "example.test", a.path("root", "pem"), "/bulk.bin", output)
    if verdict.startswith("ok"):
        body = open(output, "rb").read().partition(b"\r\n\r\n")[2]
        verdict += ", right" if body == open(a.path("bulk", "bin"), "rb").read() else ", wrong"
    return "20 MB by " + mode, OK + ".*right", verdict


def run_raw(a, name, expected, serve):
    """A server for one connection, on which it calls serve(socket)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def accept():
            connection, _ = listener.accept()
            with connection:
                try:
                    serve(connection)
                except OSError:
                    pass

        thread = threading.Thread(target=accept)
        thread.start()
        verdict = ask(listener.getsockname()[1], "example.test", a.path("root", "pem"))
        thread.join()
    return name, expected, verdict


def flood(record):
    def serve(connection):
        connection.recv(4096)
        while True:
            connection.sendall(record * 1000)
    return serve


def after_hello(data, reset=False):
    def serve(connection):
        connection.recv(4096)
        connection.sendall(data)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    return serve


def silent(connection):
    while connection.recv(4096):
        pass


def python_tls(a, clean):
    """A TLS server that ends its stream with or without close_notify."""
    chain = a.path("python", "chain")
    with open(chain, "w") as f:
        f.write(open(a.path("good")).read() + open(a.path("inter")).read())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, a.path("leaf", "key"))

    def serve(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(4096)
            for size in (1, 2, 3, 5000, 16384):
                tls.sendall(b"x" * size)
            if clean:
                tls.unwrap()
            else:
                os.close(tls.detach())
    return serve


RAW = [
    ("a plain HTTP server", BAD + ".*HTTP without TLS on this port",
     after_hello(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)),
    ("a server that closes at once", "transport: .*closed the connection", after_hello(b"")),
    ("a server that resets", "transport: .*(reset|broke)", after_hello(b"", reset=True)),
    ("half a record", "transport: .*closed the connection",
     after_hello(b"\x16\x03\x03\x00\x50\x02")),
    ("a silent server", "timeout", silent),
    ("empty records without end", "timeout", flood(b"\x16\x03\x03\x00\x00")),
    ("warning alerts without end", "timeout", flood(b"\x15\x03\x03\x00\x02\x01\x70")),
    ("hello requests without end", "(timeout|untrusted|transport)",
     flood(b"\x16\x03\x03\x00\x04\0\0\0\0")),
    ("alert handshake_failure", BAD + ".*handshake_failure",
     after_hello(b"\x15\x03\x03\x00\x02\x02\x28")),
    ("alert internal_error", BAD + ".*extended master secret.*internal_error",
     after_hello(b"\x15\x03\x03\x00\x02\x02\x50")),
    ("alert unrecognized_name", BAD + ".*unrecognized_name",
     after_hello(b"\x15\x03\x03\x00\x02\x02\x70")),
    ("close_notify in the handshake", "(transport|untrusted): ",
     after_hello(b"\x15\x03\x03\x00\x02\x01\x00")),
    ("a huge record", BAD, after_hello(b"\x16\x03\x03\xff\xff" + b"\0" * 65535)),
    ("junk", BAD, after_hello(bytes(range(256)) * 9)),
]


def main():
    jobs = []
    with tempfile.TemporaryDirectory() as folder:
        a = Authority(folder)
        make(a)
        with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
            for name, expected, serve in RAW:
                jobs.append(pool.submit(run_raw, a, name, expected, serve))
            jobs += [pool.submit(run_case, a, case) for case in CASES]
            jobs += [pool.submit(run_protocol, a, case) for case in PROTOCOLS]
            jobs += [pool.submit(run_client, a, case) for case in CLIENTS]
            jobs.append(pool.submit(run_client_chain, a))
            jobs += [pool.submit(run_pins, a, case) for case in PINS]
            jobs += [pool.submit(run_facts, a, case) for case in FACTS]
            for mode in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"):
                jobs.append(pool.submit(run_bulk, a, mode))
            for clean in (True, False):
                end = "closed cleanly" if clean else "cut"
                jobs.append(pool.submit(run_raw, a, "a stream that ends: " + end,
                                        "ok 21390 bytes, " + end, python_tls(a, clean)))
        for job in jobs:
            name, expected, verdict = job.result()
            tap.result(name, None if re.match(expected, verdict) else "expected: " + expected)
            tap.note(verdict)
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
