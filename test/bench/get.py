#!/usr/bin/python3
"""`cachefilesd-mini --get` on this machine: throughput and CPU time beside curl's, verified, and by each cipher of both
versions of TLS; and what a handshake costs, by each version and kind of key.

    test/bench/get.py [DAEMON]

run.py runs this too. Alone it prints its two tables, in Markdown.
"""
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))   # test/

from lib import certs
from lib.nginx import Nginx, tls
from lib.ports import free_ports
from lib.verity import make_beside
from lib.vm import Link

SIZE = 1 << 30
ROUNDS = 5
SUITES = {"AES-128-GCM": ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"),
          "AES-256-GCM": ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_AES_256_GCM_SHA384"),
          "ChaCha20-Poly1305": ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_CHACHA20_POLY1305_SHA256")}
# What nginx speaks.
VERIFIED = "HTTP, verified"         # by ours; curl verifies nothing
CIPHERS = {"HTTP": None, VERIFIED: None,
           **{f"TLS 1.2 {name}": f"ssl_protocols TLSv1.2; ssl_ciphers {old};" for name, (old, _) in SUITES.items()},
           **{f"TLS 1.3 {name}": f"ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {new};"
              for name, (_, new) in SUITES.items()}}

# Handshakes: the key's certificate, what nginx speaks, and our directive.
BOTH = "ssl_protocols TLSv1.2 TLSv1.3;"
HANDSHAKES = {"HTTP": None,
              **{f"TLS {version}, {key}": (cert, BOTH, f"tls {version}") for key, cert in
                 (("P-256", "ec"), ("RSA 2048", "rsa")) for version in ("1.2", "1.3")},
              "TLS 1.3 after 1.2 was refused, P-256": ("ec", "ssl_protocols TLSv1.3;", "tls any")}
SMALL = 4096            # bytes of their file
CPU_ROUNDS, WALL_ROUNDS = 100, 20
DELAY = 0.01            # seconds, each way


class Failed(Exception):
    """A program did not write the whole file."""


@contextlib.contextmanager
def serving(work, spoken):
    """The port for each name, while nginx runs; `spoken` has for each the certificate and directives, or None."""
    ports = dict(zip(spoken, free_ports(len(spoken))))
    servers = "".join(f"server {{ listen 127.0.0.1:{ports[name]}"
                      f"{f' ssl; {tls(how[0])} {how[1]}' if how else ';'} }}\n" for name, how in spoken.items())
    nginx = Nginx(work, "$request_uri")
    nginx.start(servers, ports.values(), f"sendfile on; root {work}/get;")
    try:
        yield ports
    finally:
        nginx.stop()


def url(name, port, path):
    return f"http{'' if name.startswith('HTTP') else 's'}://127.0.0.1:{port}/{path}"


def fetch(command, expected=SIZE):
    """The seconds and CPU seconds of a program that writes the file to its standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    size = drain(process.stdout.fileno())
    status = process.wait()
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status or size != expected:
        raise Failed(f"{command[0]} ended with {status} after {size} bytes of {expected}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def drain(pipe):
    """Empties the pipe without a copy, at little cost, and the same for both programs."""
    null = os.open("/dev/null", os.O_WRONLY)
    try:
        size = 0
        while count := os.splice(pipe, null, 1 << 20):
            size += count
        return size
    finally:
        os.close(null)


def compare(daemon, work, say):
    """The medians of both programs for each of CIPHERS: bytes a second, and CPU seconds for a GiB."""
    say("== --get beside curl, on this machine")
    os.makedirs(f"{work}/get", exist_ok=True)
    with open(f"{work}/get/file", "wb") as file:
        file.truncate(SIZE)
    verified = ["-o", f"roothash {make_beside(f'{work}/get/file')}"]
    results = {}
    with serving(work, {name: how and (f"{work}/ec", how) for name, how in CIPHERS.items()}) as ports:
        for name, port in ports.items():
            commands = {"ours": [daemon, "-o", f"ca {work}/ca.pem", *(verified if name == VERIFIED else []), "--get"],
                        "curl": ["curl", "-sSf", "--cacert", f"{work}/ca.pem"]}
            taken = {program: [] for program in commands}
            for _ in range(ROUNDS):
                for program, command in commands.items():
                    taken[program].append(fetch([*command, url(name, port, "file")]))
            results[name] = {
                program: {"rate": SIZE / statistics.median(s for s, _ in runs),
                          "cpu": statistics.median(c for _, c in runs) / (SIZE / (1 << 30))}
                for program, runs in taken.items()}
            say(f"  {name}: " + ", ".join(f"{program} {figures['rate'] / 1e6:.0f} MB/s"
                                          for program, figures in results[name].items()))
    return results


def handshakes(daemon, work, say):
    """The medians for each of HANDSHAKES, of a run of `--get` for a small file: CPU seconds on the loopback interface,
    and seconds over a link with 20 ms of round trip."""
    say("== handshakes, on this machine")
    certs.make_server(work, "rsa", key=certs.RSA)
    os.makedirs(f"{work}/get", exist_ok=True)
    with open(f"{work}/get/small", "wb") as file:
        file.truncate(SMALL)
    command = {name: [daemon, "-o", f"ca {work}/ca.pem", *(["-o", how[2]] if how else []), "--get"]
               for name, how in HANDSHAKES.items()}
    cpu, wall = ({name: [] for name in HANDSHAKES} for _ in range(2))
    with serving(work, {name: how and (f"{work}/{how[0]}", how[1]) for name, how in HANDSHAKES.items()}) as ports:
        links = {name: Link(port, delay=DELAY) for name, port in ports.items()}
        for number in range(CPU_ROUNDS):
            for name, port in ports.items():
                cpu[name].append(fetch([*command[name], url(name, port, "small")], SMALL)[1])
                if number < WALL_ROUNDS:
                    wall[name].append(fetch([*command[name], url(name, links[name].port, "small")], SMALL)[0])
        for link in links.values():
            link.close()
    results = {name: {"cpu": statistics.median(cpu[name]), "wall": statistics.median(wall[name])}
               for name in HANDSHAKES}
    for name, figures in results.items():
        say(f"  {name}: {1000 * figures['cpu']:.1f} ms of CPU, {1000 * figures['wall']:.0f} ms over the link")
    return results


def main():
    from bench import report    # which run.py has, too
    daemon = os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else f"{sys.path[0]}/../cachefilesd-mini")
    with tempfile.TemporaryDirectory(prefix="cachefilesd-mini.") as work:
        certs.make_ca(work)
        certs.make_server(work, "ec")
        results = {part.__name__: part(daemon, work, lambda text: print(text, file=sys.stderr, flush=True))
                   for part in (handshakes, compare)}
    print("\n".join(report.get_section({"get": results["compare"], "handshakes": results["handshakes"]})))


if __name__ == "__main__":
    main()
