"""nginx for the tests, in the foreground: its configuration, its process, its access log."""
import os
import signal
import subprocess

from lib import ports as tcp

CONFIGURATION = """
daemon off; {user} worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
    client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi; uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    {http} access_log {log};
    {servers}
}}
"""


def tls(certificate):
    """The directives of a server with the certificate and key PATH.pem and PATH.key."""
    return f"ssl_certificate {certificate}.pem; ssl_certificate_key {certificate}.key;"


def command(folder, servers, http="", log="off", workers=1, user="user root;" if os.getuid() == 0 else "", tree=""):
    """Writes FOLDER/nginx.conf: `servers` are its server blocks, `http` other directives for all of them.
    Returns the command that runs nginx with it; that of lib.archive's newer_root(), with OpenSSL in FIPS mode, if that
    is the `tree`, in which all paths are then."""
    path = f"{folder}/nginx.conf"
    with open(tree + path, "w") as file:
        file.write(CONFIGURATION.format(folder=folder, servers=servers, http=http, log=log, workers=workers,
                                        user=user))
    inside = ["chroot", tree, "env", "OPENSSL_CONF=/etc/ssl/fips.cnf"] if tree else []
    return [*inside, "/usr/sbin/nginx", "-c", path, "-e", f"{folder}/error.log"]


class Nginx:
    """nginx with its files in `folder` of a `tree`. It may be stopped and started again, on the same ports; the lines
    of its access log have these `fields`."""

    def __init__(self, folder, fields, tree=""):
        self.folder, self.fields, self.tree = folder, fields, tree
        self.log = f"{tree}{folder}/access.log"
        self.process = None

    def start(self, servers, ports=(), http=""):
        """Returns once it listens on these ports."""
        words = command(self.folder, servers, f"log_format fields '{self.fields}'; {http}",
                        f"{self.folder}/access.log fields", tree=self.tree)
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
        tcp.wait_listening(*ports, process=self.process, log=f"{self.tree}{self.folder}/error.log")

    def stop(self):
        """Ends it in its own time."""
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def signal(self, number):
        """Sends a signal to all its processes."""
        os.killpg(self.process.pid, number)

    def kill(self):
        if self.process:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def lines(self):
        """The words of each line of the access log. One that is being written has no end yet."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, errors="replace") as file:
            return [line.split() for line in file if line.endswith("\n")]
