#!/usr/bin/python3
"""Which certificates and protocols our client trusts, beside curl.

    test/client/peers_tls.py [TLS_CLIENT]   (default: build/unit/root/tls_client)

The chains and servers are those of test_tls.py (`openssl s_server`). Prints a table and one TAP line; exit status
1 if our verdict is not the careful one. Where curl trusts more, the row says so.
"""
import concurrent.futures
import os
import subprocess
import sys
import tempfile

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from client import test_tls
from lib import tap

YES, NO = "trusted", "refused"

# case, certificate (and key), intermediate, bundle, host, s_server's options, the careful verdict:
# "cannot" deserves trust, but is refused since BearSSL or x509.c cannot verify it
ROWS = [
    ("a good chain", "good", "inter", "root", "example.test", [], YES),
    ("expired", "expired", "inter", "root", "example.test", [], NO),
    ("not yet valid", "future", "inter", "root", "example.test", [], NO),
    ("expired intermediate", "good", "inter-old", "root", "example.test", [], NO),
    ("expired root", "old-leaf", "", "old-root", "example.test", [], NO),
    ("wrong name", "good", "inter", "root", "other.test", [], NO),
    ("common name only", "cn-only", "inter", "root", "example.test", [], NO),
    ("wildcard, one label", "good", "inter", "root", "a.wild.test", [], YES),
    ("wildcard, two labels", "good", "inter", "root", "a.b.wild.test", [], NO),
    ("wildcard, no label", "good", "inter", "root", "wild.test", [], NO),
    ("wildcard *.test", "wild-top", "inter", "root", "example.test", [], NO),
    ("wildcard e*.wild.test", "wild-part", "inter", "root", "ea.wild.test", [], NO),
    ("IP address in the SAN", "good", "inter", "root", "127.0.0.1", [], YES),
    ("IP address as dNSName", "dns-address", "inter", "root", "127.0.0.1", [], NO),
    ("self-signed", "self", "", "root", "example.test", [], NO),
    ("self-signed and trusted", "self", "", "self", "example.test", [], YES),
    ("missing intermediate", "good", "", "root", "example.test", [], NO),
    ("unknown CA", "good", "inter", "stranger", "example.test", [], NO),
    ("wrong signature", "forged", "inter", "root", "example.test", [], NO),
    ("RSA 1024", "rsa1024:rsa1024", "inter", "root", "example.test", [], NO),
    ("RSA 1024 intermediate", "good", "inter-rsa1024", "root", "example.test", [], NO),
    ("RSA 3072", "rsa3072:rsa3072", "inter", "root", "example.test", [], YES),
    ("SHA-1", "sha1", "inter", "root", "example.test", [], NO),
    ("SHA-1 intermediate", "good", "inter-sha1", "root", "example.test", [], NO),
    ("signed with RSA-PSS", "by-pss-sha256", "inter-rsa", "root", "example.test", [], YES),
    ("signed with RSA-PSS, a long salt", "by-pss", "inter-rsa", "root", "example.test", [], "cannot"),
    ("P-384", "p384:leaf384", "inter", "root", "example.test", [], YES),
    ("P-521", "p521:leaf521", "inter", "root", "example.test", [], YES),
    ("Ed25519", "ed25519:ed25519", "inter", "root", "example.test", [], "cannot"),
    ("name constraints, broken", "good", "inter-names", "root", "example.test", [], NO),
    ("the same, critical", "good", "inter-namesc", "root", "example.test", [], NO),
    ("name constraints, kept", "plain", "inter-names", "root", "example.test", [], YES),
    ("name constraints of addresses, kept", "good", "inter-net", "root", "127.0.0.1", [], YES),
    ("the same, broken", "address", "inter-not-net", "root", "127.0.0.1", [], NO),
    ("name constraints, a CA's own name", "deep-plain", "ca2-without ca1-names", "root", "example.test", [], NO),
    ("name constraints of e-mail addresses", "plain", "inter-email", "root", "example.test", [], "cannot"),
    ("name constraint with a dot", "plain", "inter-dot", "root", "example.test", [], NO),
    ("name constraint below a wildcard", "good", "inter-wild", "root", "b.wild.test", [], NO),
    ("two intermediates, reversed", "deep", "ca1 ca2", "root", "example.test", [], YES),
    ("two intermediates, and more", "deep", "deep ca2-old stranger ca1 root ca2", "root", "example.test", [], YES),
    ("X.509 v1 root", "v1-root-leaf", "", "v1-root", "example.test", [], YES),
    ("TRUSTED CERTIFICATE", "good", "inter", "trusted", "example.test", [], YES),
    ("CA:FALSE intermediate", "good", "inter-noca", "root", "example.test", [], NO),
    ("intermediate may not certify", "good", "inter-usage", "root", "example.test", [], NO),
    ("intermediate for clients", "good", "inter-client", "root", "example.test", [], NO),
    ("path length", "short-leaf", "short-inter", "short-root", "example.test", [], NO),
    ("CA as the server's own", "ca", "inter", "root", "example.test", [], NO),
    ("for clients only", "client", "inter", "root", "example.test", [], NO),
    ("anyExtendedKeyUsage", "any-use", "inter", "root", "example.test", [], NO),
    ("X.509 v1", "v1", "inter", "root", "example.test", [], NO),
    ("the same extension twice", "twice", "inter", "root", "example.test", [], NO),
    ("unknown critical extension", "critical-unknown", "inter", "root", "example.test", [], NO),
    ("TLS 1.0 only", "good", "inter", "root", "example.test",
     ["-tls1", "-cipher", "ALL:@SECLEVEL=0"], NO),
    ("TLS 1.1 only", "good", "inter", "root", "example.test",
     ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], NO),
    ("TLS 1.2 only", "good", "inter", "root", "example.test", ["-tls1_2"], YES),
    ("TLS 1.3 only", "good", "inter", "root", "example.test", ["-tls1_3"], YES),
]


def curl(port, host, bundle):
    url = "https://%s:%d/" % (host, port)
    run = subprocess.run(["curl", "-sS", "-m", "10", "-o", "/dev/null", "--noproxy", "*", "--cacert",
                          bundle, "--connect-to", "::127.0.0.1:%d" % port, url],
                         capture_output=True, text=True)
    return YES if run.returncode == 0 else NO


def ours(port, host, bundle):
    verdict = test_tls.ask(port, host, bundle)
    if "no TLS 1.2" in verdict:      # as http.c does
        verdict = test_tls.ask(port, host, bundle, env={"TLS": "1.3"})
    return (YES if verdict.startswith("ok ") else NO if verdict.startswith("untrusted: ")
            else "broken"), verdict


def judge(a, row):
    _, cert, chain, bundle, host, options, _ = row
    bundle = a.path(bundle, "pem")
    with test_tls.Server(a, cert, chain, options) as server:
        return (*ours(server.port, host, bundle), curl(server.port, host, bundle))


def remark(verdict, other, careful):
    if verdict != (NO if careful == "cannot" else careful):
        return "WRONG"
    if careful == "cannot":
        return "beyond BearSSL or us" if other == YES else ""
    return "" if other == careful else "curl is laxer" if other == YES else "curl is stricter"


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        a = test_tls.Authority(folder)
        test_tls.make(a)
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            verdicts = list(pool.map(lambda row: judge(a, row), ROWS))
    print("%-36s %-8s %-8s %-8s %s" % ("case", "ours", "curl", "expected", ""))
    for row, (verdict, text, other) in zip(ROWS, verdicts):
        note = remark(verdict, other, row[6])
        expected = NO if row[6] == "cannot" else row[6]
        print("%-36s %-8s %-8s %-8s %s" % (row[0], verdict, other, expected, note))
        if note == "WRONG":
            print("    " + text)
            wrong += 1
    tap.result("TLS peers: %d cases, %d wrong" % (len(ROWS), wrong), wrong and "see the table")
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
