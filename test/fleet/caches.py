"""The servers of a site, with the configurations of docs/fleet.md and nothing else: only the addresses, folders and
sizes in them are those of the test."""
import contextlib
import os
import re
import signal
import subprocess

from lib import nginx
from lib.find import TOP
from lib.ports import free_port, wait_listening

DOCUMENT = f"{TOP}/../docs/fleet.md"
ORIGIN = "images.example.org"
# What the package's own configuration has elsewhere.
SQUID = "pid_filename none\ncache_log {folder}/cache.log\naccess_log none\ncoredump_dir {folder}\npinger_enable off\n" \
        "shutdown_lifetime 0 seconds\ncache_effective_user nobody\n"


def configuration(language):
    """The block of the document in that language."""
    with open(DOCUMENT) as file:
        block, = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", file.read())
    return block


def filled_in(language, **others):
    """The configuration, with others in place of its addresses, folders and sizes. Each of these must stand in it."""
    text = configuration(language)
    for mine, other in others.items():
        assert mine in text, f"docs/fleet.md, {language}: {mine}"
        text = text.replace(mine, str(other))
    return text


class Cache:
    """A server in a session of its own, whose origin is a port of loopback. `port` is where it listens."""

    is_proxy = False
    directives = ()             # that devices have, too
    trace = False               # whether the image has a trace
    is_whole = False            # whether it fetches images whole, so that READs wait and time out

    def __init__(self, folder, origin):
        self.folder, self.port = folder, free_port()
        os.makedirs(folder)
        os.chmod(folder, 0o777)     # Squid becomes nobody
        self.log = f"{folder}/output"
        self.prepare(origin)

    def run(self, *words):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        wait_listening(self.port, process=self.process, log=self.log, timeout=60)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number):
        """Sends a signal to all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Nginx(Cache):
    name = "nginx"
    slice = "256k"

    def prepare(self, origin):
        servers = filled_in("nginx", **{"/var/cache/nginx": self.folder, "listen 80": f"listen 127.0.0.1:{self.port}",
                                        f"{ORIGIN}:80": f"127.0.0.1:{origin}", "slice 256k": f"slice {self.slice}"})
        self.words = nginx.command(self.folder, servers, workers=2)

    def start(self):
        self.run(*self.words)


class LargeSlices(Nginx):
    name, slice = "nginx, slices of 1 MiB", "1m"


class OneConnection(Nginx):
    name, directives = "nginx, `connections 1`", ("connections 1",)


class Trace(Nginx):
    name, trace = "nginx, with a trace", True


class Varnish(Cache):
    name = "Varnish"
    is_whole = True

    def prepare(self, origin):
        with open(f"{self.folder}/site.vcl", "w") as file:
            file.write(filled_in("vcl", **{f'"{ORIGIN}"': '"127.0.0.1"', '"80"': f'"{origin}"'}))

    def start(self):
        self.run("varnishd", "-F", "-j", "none", "-n", f"{self.folder}/work", "-a", f"127.0.0.1:{self.port}",
                 "-T", "none", "-f", f"{self.folder}/site.vcl", "-s", "malloc,1G")


class Squid(Cache):
    name = "Squid"
    is_proxy = is_whole = True

    def prepare(self, origin):
        text = filled_in("squid", **{"http_port 3128": f"http_port 127.0.0.1:{self.port}",
                                     "/var/spool/squid 20000": f"{self.folder}/spool 1000"})
        with open(f"{self.folder}/squid.conf", "w") as file:
            file.write(text + SQUID.format(folder=self.folder))

    def start(self):
        words = ["squid", "-N", "-n", f"fleet{os.getpid()}", "-f", f"{self.folder}/squid.conf"]
        with open(self.log, "ab") as log:
            subprocess.run([*words, "-z"], check=True, stdout=log, stderr=log)
        self.run(*words)
