"""`cachefilesd-mini --get` beside curl, on this machine's loopback: throughput and CPU time."""
import contextlib
import os
import resource
import socket
import statistics
import subprocess
import time

SIZE = 1 << 30
ROUNDS = 5
CIPHERS = {"HTTP": None, "HTTPS AES-128-GCM": "ECDHE-ECDSA-AES128-GCM-SHA256",
           "HTTPS ChaCha20-Poly1305": "ECDHE-ECDSA-CHACHA20-POLY1305"}

SERVER = """
    server {{ listen 127.0.0.1:{port} {ssl};
              ssl_certificate {work}/ec.pem; ssl_certificate_key {work}/ec.key;
              ssl_protocols TLSv1.2; ssl_ciphers {cipher}; }}
"""
NGINX = """
    daemon off; worker_processes 1; {user} pid {work}/nginx.pid; error_log {work}/error.log;
    events {{ }}
    http {{
        access_log off; sendfile on; root {work}/get;
        client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;
        uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
        {servers}
    }}
"""


class Failed(Exception):
    pass


def free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def nginx(work):
    """The URL for each of CIPHERS, while the server runs."""
    ports = dict(zip(CIPHERS, free_ports(len(CIPHERS))))
    servers = "".join(SERVER.format(port=ports[name], ssl="ssl" if cipher else "", work=work,
                                    cipher=cipher or "DEFAULT") for name, cipher in CIPHERS.items())
    with open(f"{work}/nginx.conf", "w") as file:
        file.write(NGINX.format(work=work, servers=servers,
                                user="" if os.getuid() else "user root;"))
    os.chmod(work, 0o755)       # as root nginx has its worker be somebody else
    process = subprocess.Popen(["/usr/sbin/nginx", "-c", f"{work}/nginx.conf", "-e",
                                f"{work}/error.log"])
    try:
        end = time.monotonic() + 10
        while not all(map(listening, ports.values())) and time.monotonic() < end:
            time.sleep(0.05)
        yield {name: f"http{'s' if cipher else ''}://127.0.0.1:{ports[name]}/file"
               for name, cipher in CIPHERS.items()}
    finally:
        process.terminate()
        process.wait()


def fetch(command):
    """Seconds and CPU seconds of a program that writes the file to its standard output."""
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
    """Empties the pipe without a copy: the reader is the same for both, and costs little."""
    null = os.open("/dev/null", os.O_WRONLY)
    try:
        size = 0
        while count := os.splice(pipe, null, 1 << 20):
            size += count
        return size
    finally:
        os.close(null)


def compare(daemon, work, say):
    """For each of CIPHERS the medians of both: bytes a second, and CPU seconds a GiB."""
    say("== --get beside curl, on this machine")
    os.makedirs(f"{work}/get", exist_ok=True)
    with open(f"{work}/get/file", "wb") as file:
        file.truncate(SIZE)
    commands = {"ours": [daemon, "-o", f"ca {work}/ca.pem", "--get"],
                "curl": ["curl", "-sSf", "--cacert", f"{work}/ca.pem"]}
    results = {}
    with nginx(work) as urls:
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
