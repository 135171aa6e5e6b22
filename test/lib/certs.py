#!/usr/bin/python3
"""Certificates for the tests, by openssl(1). NAME stands for the files FOLDER/NAME.pem and FOLDER/NAME.key.

    test/lib/certs.py FOLDER        makes an authority `ca` and a certificate `server` of it
"""
import base64
import hashlib
import os
import ssl
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))   # test/

from lib.commands import run

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-newkey", "rsa:2048")
LOCALHOST = "DNS:localhost,IP:127.0.0.1,IP:::1"
AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
SERVER = ("basicConstraints=critical,CA:FALSE", "keyUsage=digitalSignature", "extendedKeyUsage=serverAuth")


def openssl(*words, data=None):
    """Runs openssl(1). Returns its output."""
    return run("openssl", *words, data=data)


def make(folder, name, extensions, issuer=None, key=EC, days=2):
    """Makes a certificate of the authority `issuer`, or a self-signed one. `key`: the options that make its
    key, or the name of another certificate whose key it shares."""
    words = ["req", "-x509", "-nodes", "-days", str(days), "-subj", f"/CN=Test {name}",
             "-out", f"{folder}/{name}.pem"]
    words += ["-key", f"{folder}/{key}.key"] if isinstance(key, str) else [*key, "-keyout", f"{folder}/{name}.key"]
    if issuer:
        words += ["-CA", f"{folder}/{issuer}.pem", "-CAkey", f"{folder}/{issuer}.key"]
    for extension in extensions:
        words += ["-addext", extension]
    openssl(*words)


def make_ca(folder, name="ca", **more):
    """Makes an authority: a root, or one of its `issuer`."""
    make(folder, name, AUTHORITY, **more)


def make_server(folder, name="server", issuer="ca", names=LOCALHOST, **more):
    """Makes a server's certificate for these names and addresses."""
    make(folder, name, (*SERVER, f"subjectAltName={names}"), issuer=issuer, **more)


def pin(path):
    """The pin of the certificate in that file: the digest of its key, as the configuration has it."""
    key = openssl("x509", "-in", path, "-pubkey", "-noout")
    der = openssl("pkey", "-pubin", "-outform", "DER", data=key)
    return "sha256//" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def server_context(folder, name="server"):
    """A Python server's TLS with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/{name}.pem", f"{folder}/{name}.key")
    return context


if __name__ == "__main__":
    make_ca(sys.argv[1])
    make_server(sys.argv[1])
