#!/usr/bin/python3
"""p7s.c against signatures by openssl(1), and against some that no tool makes.

    test/client/test_p7s.py [P7S]       (default: build/unit/trust/p7s)

The program judges a signature by a file of keys; one that fits is also tried cut at each byte. Prints TAP; exit
status 1 if a case failed.
"""
import os
import subprocess
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import tap
from lib.certs import openssl

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/unit/trust/p7s")
ROOT = "777fbdcce84ed96f6bd53d5f528a9bcdbcf097765f28e9b6ea4dfd16dfe42590"
OTHER = "8" + ROOT[1:]
GOOD = {"RSA 2048": ("RSA", "rsa_keygen_bits:2048"), "RSA 4096": ("RSA", "rsa_keygen_bits:4096"),
        "P-256": ("EC", "ec_paramgen_curve:P-256"), "P-384": ("EC", "ec_paramgen_curve:P-384"),
        "P-521": ("EC", "ec_paramgen_curve:P-521")}
BAD = {"RSA 1024": ("RSA", "rsa_keygen_bits:1024"),
       "RSA 5120": ("RSA", "rsa_keygen_bits:5120", "rsa_keygen_primes:4"),      # small ones, which are found soon
       "secp256k1": ("EC", "ec_paramgen_curve:secp256k1"), "Ed25519": ("Ed25519",), "PSS": ("RSA-PSS",)}
PLAIN = ("-nocerts", "-noattr")
FAULTS = {"fit": "fault: does not fit the root hash and any key of verity-key",
          "form": "fault: is no detached CMS signature in DER",
          "long": "fault: is too long: it must be made without certificates (-nocerts)",
          "digest": "fault: is made with another digest than SHA-256",
          "kind": "fault: is signed with an algorithm that is unknown or weak"}


def path(name):
    """A file of the test's folder, in which it runs."""
    return name.replace(" ", "-")


def write(name, data):
    """Writes such a file. Returns its name."""
    with open(path(name), "wb") as f:
        f.write(data)
    return path(name)


def make_key(name, algorithm, *options):
    """Makes NAME.key, its certificate NAME.pem, whose common name is `Test NAME`, and NAME.pub."""
    words = [word for option in options for word in ("-pkeyopt", option)]
    openssl("genpkey", "-algorithm", algorithm, "-out", path(name + ".key"), *words)
    openssl("req", "-x509", "-new", "-key", path(name + ".key"), "-subj", f"/O=Test/CN=Test {name}", "-days", "2",
            "-out", path(name + ".pem"))
    openssl("pkey", "-in", path(name + ".key"), "-pubout", "-out", path(name + ".pub"))


def sign(key, *options, tool="smime", content=ROOT.encode()):
    """A signature of the content by openssl smime or cms."""
    return openssl(tool, "-sign", "-binary", "-outform", "der", "-signer", path(key + ".pem"), "-inkey",
                   path(key + ".key"), *options, data=content)


def judge(p7s, keys, root=ROOT):
    """The program's line about a signature, by a file of keys."""
    done = subprocess.run([PROGRAM, path(keys), write("p7s", p7s), root], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else f"status {done.returncode}: {done.stdout}{done.stderr}"


def expect(name, p7s, keys, line, root=ROOT):
    """One case: the line is this."""
    said = judge(p7s, keys, root)
    tap.result("p7s: " + name, said != line and f"{said}\nexpected: {line}")


def test_good():
    """What tools make, with each kind of key."""
    for kind in GOOD:
        for tool in "smime", "cms":
            expect(f"{kind} by {tool}, a certificate as key", sign(kind, *PLAIN, tool=tool), f"{kind}.pem",
                   f"signer: Test {kind}")
        expect(f"{kind}, certificates inside, a bare key", sign(kind, "-noattr"), f"{kind}.pub",
               f"signer: public key {path(kind)}.pub")
        expect(f"{kind}, named by the key's digest", sign(kind, *PLAIN, "-keyid", tool="cms"), f"{kind}.pem",
               f"signer: Test {kind}")
        expect(f"{kind}, another root hash", sign(kind, *PLAIN), f"{kind}.pem", FAULTS["fit"], OTHER)
    chain = sign("P-256", "-noattr", "-certfile", path("RSA 4096.pem"))
    expect("two certificates inside", chain, "P-256.pem", "signer: Test P-256")
    expect("a root hash in upper case is the same", sign("P-256", *PLAIN), "P-256.pem", "signer: Test P-256",
           ROOT.upper())


def test_keys():
    """Which of the keys has signed."""
    several = b"".join(open(path(name), "rb").read() for name in ("P-384.pem", "RSA 2048.pem", "P-256.pub"))
    write("several", several)
    expect("the second of three keys", sign("RSA 2048", *PLAIN), "several", "signer: Test RSA 2048")
    expect("the third of three keys", sign("P-256", *PLAIN), "several", "signer: public key several")
    expect("none of three keys", sign("P-521", *PLAIN), "several", FAULTS["fit"])
    expect("another key of the same kind", sign("P-256", *PLAIN), "other.pem", FAULTS["fit"])
    for name, words in {"RSA 1024": "has a weak key: RSA with less than 2048 bits",
                        "RSA 5120": "has an RSA key of more than 4096 bits",
                        "secp256k1": "has a key on an elliptic curve that BearSSL does not have",
                        "Ed25519": "has a kind of key that BearSSL does not have (only RSA and ECDSA)",
                        "PSS": "has a kind of key that BearSSL does not have (only RSA and ECDSA)"}.items():
        for end in "pem", "pub":
            file = path(f"{name}.{end}")
            expect(f"a key in {name}.{end}", b"", file, f"keys: {file} {words}")
    for name, file in ("a private key alone", "P-256.key"), ("DER, not PEM", "der"):
        openssl("x509", "-in", "P-256.pem", "-outform", "der", "-out", "der")
        expect(f"a key file of {name}", b"", file, f"keys: {file} has no certificate and no public key in PEM form")


def test_refused():
    """What other options of the tools make."""
    expect("a newline signed too", sign("P-256", *PLAIN, content=ROOT.encode() + b"\n"), "P-256.pem", FAULTS["fit"])
    expect("upper case signed", sign("P-256", *PLAIN, content=ROOT.upper().encode()), "P-256.pem", FAULTS["fit"])
    attributes = "fault: has attributes: it must be made without (-noattr)"
    for tool in "smime", "cms":
        expect(f"attributes by {tool}", sign("P-256", "-nocerts", tool=tool), "P-256.pem", attributes)
        expect(f"two signers by {tool}", sign("P-256", *PLAIN, "-signer", "P-384.pem", "-inkey", "P-384.key",
                                              tool=tool), "P-256.pem", "fault: has more than one signer")
        expect(f"the content inside, by {tool}", sign("P-256", *PLAIN, "-nodetach", tool=tool), "P-256.pem",
               "fault: has its content inside: it must be detached")
        for digest in "sha1", "sha384", "sha512":
            expect(f"{digest} with RSA by {tool}", sign("RSA 2048", *PLAIN, "-md", digest, tool=tool),
                   "RSA 2048.pem", FAULTS["digest"])
    expect("SHA-512 with ECDSA", sign("P-521", *PLAIN, "-md", "sha512"), "P-521.pem", FAULTS["digest"])
    expect("SHA-1 with ECDSA", sign("P-256", *PLAIN, "-md", "sha1"), "P-256.pem",
           "fault: is signed with SHA-1, which proves nothing any more")
    expect("RSA-PSS", sign("RSA 2048", *PLAIN, "-keyopt", "rsa_padding_mode:pss", tool="cms"), "RSA 2048.pem",
           "fault: is signed with RSA-PSS, which BearSSL does not have")
    expect("a signature in PEM", sign("P-256", *PLAIN, "-outform", "pem"), "P-256.pem", FAULTS["form"])
    expect("indefinite lengths", sign("P-256", *PLAIN, "-stream", tool="cms"), "P-256.pem", FAULTS["form"])
    expect("nothing", b"", "P-256.pem", FAULTS["form"])
    write("many.pem", open(path("RSA 4096.pem"), "rb").read() * 9)
    for last in 0, 1:       # as it comes from a server, of which no more is read
        many = (sign("P-256", "-noattr", "-certfile", "many.pem") + bytes(8192))[:8191 + last]
        expect(f"too many certificates, {len(many)} bytes", many, "P-256.pem", FAULTS["long" if last else "form"])
    expect("a web page", b"<html>" * 50, "P-256.pem", FAULTS["form"])
    expect("a certificate", open("der", "rb").read(), "P-256.pem", FAULTS["form"])
    expect("bytes behind it", sign("P-256", *PLAIN) + b"\n", "P-256.pem", FAULTS["form"])


def tlv(tag, *parts):
    """An element of DER."""
    body = b"".join(parts)
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes(
        (size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + length + body


def algorithm(oid, *parameters):
    """An AlgorithmIdentifier."""
    return tlv(0x30, tlv(6, bytes.fromhex(oid)), *parameters)


SHA256 = "608648016503040201"
RSA = "2a864886f70d010101"
ECDSA = "2a8648ce3d040302"


def build(signature, kind, digest=SHA256, *, who=tlv(0x30), before=b"", after=b"", signers=1, more=b"",
          content=algorithm("2a864886f70d010701"), outer="2a864886f70d010702"):
    """A signature by hand: with other algorithms, with elements before and after the signature's own, more behind
    the signers."""
    one = tlv(0x30, tlv(2, b"\1"), who, algorithm(digest, tlv(5)), before, algorithm(kind), tlv(4, signature), after)
    data = tlv(0x30, tlv(2, b"\1"), tlv(0x31, algorithm(digest)), content, tlv(0x31, one * signers), more)
    return tlv(0x30, tlv(6, bytes.fromhex(outer)), tlv(0xa0, data))


def test_by_hand():
    """What no tool makes."""
    ec = openssl("dgst", "-sha256", "-sign", "P-256.key", data=ROOT.encode())
    rsa = openssl("dgst", "-sha256", "-sign", path("RSA 2048.key"), data=ROOT.encode())
    ours = "signer: Test P-256"
    for name, p7s, line in (
            ("as the tools'", build(ec, ECDSA), ours),
            ("no signer", build(ec, ECDSA, signers=0), FAULTS["form"]),
            ("the same signer twice", build(ec, ECDSA, signers=2), "fault: has more than one signer"),
            ("nobody named", build(ec, ECDSA, who=b""), FAULTS["form"]),
            ("unsigned attributes", build(ec, ECDSA, after=tlv(0xa1)),
             "fault: has attributes: it must be made without (-noattr)"),
            ("an empty set of attributes", build(ec, ECDSA, before=tlv(0xa0)),
             "fault: has attributes: it must be made without (-noattr)"),
            ("an element too many in the signer", build(ec, ECDSA, after=tlv(5)), FAULTS["form"]),
            ("an element too many in the data", build(ec, ECDSA, more=tlv(5)), FAULTS["form"]),
            ("no content type", build(ec, ECDSA, content=tlv(0x30)), FAULTS["form"]),
            ("enveloped data", build(ec, ECDSA, outer="2a864886f70d010703"), FAULTS["form"]),
            ("ECDSA with SHA-384, the digest SHA-256", build(ec, "2a8648ce3d040303"), FAULTS["digest"]),
            ("ECDSA with SHA-256, the digest SHA-384", build(ec, ECDSA, "608648016503040202"), FAULTS["digest"]),
            ("ECDSA without a digest", build(ec, "2a8648ce3d0201"), FAULTS["kind"]),
            ("Ed25519", build(ec, "2b6570"), "fault: is signed with Ed25519, which BearSSL does not have"),
            ("Ed25519 with attributes", build(ec, "2b6570", before=tlv(0xa0)),
             "fault: is signed with Ed25519, which BearSSL does not have"),
            ("DSA", build(ec, "2a8648ce380401"), FAULTS["kind"]),
            ("no algorithm", build(ec, ""), FAULTS["kind"]),
            ("ECDSA's signature as RSA's", build(ec, RSA), FAULTS["fit"]),
            ("an empty signature", build(b"", ECDSA), FAULTS["fit"]),
            ("a signature of zeros", build(tlv(0x30, tlv(2, b"\0"), tlv(2, b"\0")), ECDSA), FAULTS["fit"]),
            ("a signature with bytes behind it", build(ec + b"\0", ECDSA), FAULTS["fit"])):
        expect("ECDSA by hand: " + name, p7s, "P-256.pem", line)
    for name, p7s, line in (
            ("rsaEncryption", build(rsa, RSA), "signer: Test RSA 2048"),
            ("sha256WithRSAEncryption", build(rsa, "2a864886f70d01010b"), "signer: Test RSA 2048"),
            ("sha512WithRSAEncryption", build(rsa, "2a864886f70d01010d"), FAULTS["digest"]),
            ("RSA's signature as ECDSA's", build(rsa, ECDSA), FAULTS["fit"]),
            ("an empty signature", build(b"", RSA), FAULTS["fit"]),
            ("a signature of zeros", build(bytes(256), RSA), FAULTS["fit"]),
            ("a signature of ones", build(b"\xff" * 256, RSA), FAULTS["fit"]),
            ("a longer signature", build(b"\0" + rsa, RSA), FAULTS["fit"]),
            ("a signature over 4096 bits", build(bytes(5000), RSA), FAULTS["fit"])):
        expect("RSA by hand: " + name, p7s, "RSA 2048.pem", line)


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, kind in {**GOOD, **BAD}.items():
            make_key(name, *kind)
        make_key("other", *GOOD["P-256"])
        test_good()
        test_keys()
        test_refused()
        test_by_hand()
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
