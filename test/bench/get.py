"""`cachefilesd-mini --get` beside curl, on this machine's loopback: throughput and CPU time."""
import contextlib
import os
import resource
import statistics
import subprocess
import time

from lib.nginx import Nginx, tls
from lib.ports import free_ports

SIZE = 1 << 30
ROUNDS = 5
CIPHERS = {"HTTP": None, "HTTPS AES-128-GCM": "ECDHE-ECDSA-AES128-GCM-SHA256",
           "HTTPS ChaCha20-Poly1305": "ECDHE-ECDSA-CHACHA20-POLY1305"}



class Failed(Exception):
    """A program did not write the whole file."""


@contextlib.contextmanager
def serving(work):
    """The URL for each of CIPHERS, while nginx runs."""
    ports = dict(zip(CIPHERS, free_ports(len(CIPHERS))))
    servers = "".join(f"server {{ listen 127.0.0.1:{ports[name]} {'ssl' if cipher else ''}; {tls(f'{work}/ec')} "
                      f"ssl_protocols TLSv1.2; ssl_ciphers {cipher or 'DEFAULT'}; }}\n"
                      for name, cipher in CIPHERS.items())
    nginx = Nginx(work, "$request_uri")
    nginx.start(servers, ports.values(), f"sendfile on; root {work}/get;")
    try:
        yield {name: f"http{'s' if cipher else ''}://127.0.0.1:{ports[name]}/file"
               for name, cipher in CIPHERS.items()}
    finally:
        nginx.stop()


def fetch(command):
    """The seconds and CPU seconds of a program that writes the file to its standard output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    size = drain(process.stdout.fileno())
    status = process.wait()
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status or size != SIZE:
        raise Failed(f"{command[0]} ended with {status} after {size} bytes of {SIZE}")
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
    commands = {"ours": [daemon, "-o", f"ca {work}/ca.pem", "--get"],
                "curl": ["curl", "-sSf", "--cacert", f"{work}/ca.pem"]}
    results = {}
    with serving(work) as urls:
        for name, url in urls.items():
            taken = {program: [] for program in commands}
            for _ in range(ROUNDS):
                for program, command in commands.items():
                    taken[program].append(fetch([*command, url]))
            results[name] = {
                program: {"rate": SIZE / statistics.median(s for s, _ in runs),
                          "cpu": statistics.median(c for _, c in runs) / (SIZE / (1 << 30))}
                for program, runs in taken.items()}
            say(f"  {name}: " + ", ".join(f"{program} {figures['rate'] / 1e6:.0f} MB/s"
                                          for program, figures in results[name].items()))
    return results
