#!/usr/bin/python3
"""The client's policy, through --get: mirrors, retries, proxies, credentials, addresses.

    test/client/test_client.py [BINARY]     TAP on standard output; exit status 1 if a test failed
"""
import base64
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # test/
from lib import certs, tap
from lib.httpserver import REFUSED, Server, image

BINARY = sys.argv[1] if len(sys.argv) > 1 else "./cachefilesd-mini"
SIZE = 1 << 20
DATA = image(1, SIZE)
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def get(*urls, options=(), timeout=30, **environment):
    """Runs --get of the first URL; the others are its mirrors."""
    command = [BINARY, "--get", urls[0]]
    for line in (*options, *("url " + url for url in urls[1:])):
        command += ["-o", line]
    began = time.monotonic()
    result = subprocess.run(command, capture_output=True, timeout=timeout,
                            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0", **environment})
    result.seconds = time.monotonic() - began
    result.log = result.stderr.decode()
    return result


def right(result):
    assert result.returncode == 0, f"status {result.returncode}: {result.log}"
    assert result.stdout == DATA, f"{len(result.stdout)} other bytes: {result.log}"
    return result


def right_within(seconds, *urls, options=()):
    """Three runs at most, since a busy machine may hold up one or two. Returns how long the last one took."""
    for _ in range(3):
        took = right(get(*urls, options=options)).seconds
        if took < seconds:
            break
    assert took < seconds, took
    return took


# -- mirrors -----------------------------------------------------------------------------------

@test
def the_second_mirror_serves_when_the_first_is_down():
    with Server({"/img": DATA}) as s:
        right_within(2, REFUSED + "img", s.url + "img")


@test
def a_mirror_without_the_image_is_passed_over():
    with Server({"/img": DATA}) as first, Server({"/img": DATA}) as second:
        first.paths["/img"] = {"status": 404}
        right_within(2, first.url + "img", second.url + "img")


@test
def a_body_that_breaks_off_goes_on_at_the_byte_from_the_other_mirror():
    with Server({"/img": DATA}, etag='"1"') as first, Server({"/img": DATA}, etag='"1"') as second:
        first.rule = lambda r: {"cut": 300001} if r.range[1] > 8192 else {}
        right(get(first.url + "img", second.url + "img"))
        assert [r.range[0] for r in second.requests] == [300001], second.requests


@test
def a_mirror_of_another_size_is_dropped_by_name():
    with Server({"/img": DATA}) as first, Server({"/img": DATA + b"x"}) as second:
        first.rule = lambda r: {"cut": 100000} if r.range[1] > 8192 and r.range[0] == 0 else {}
        result = right(get(first.url + "img", second.url + "img"))
        assert "mirror 2 is not asked" in result.log, result.log


@test
def a_mirror_of_another_version_is_dropped_and_gives_no_byte():
    other = image(2, SIZE)
    with Server({"/img": DATA}, etag='"1"') as first, Server({"/img": other}, etag='"2"') as second:
        first.rule = lambda r: {"cut": 100000} if r.range[1] > 8192 and r.range[0] == 0 else {}
        result = right(get(first.url + "img", second.url + "img"))
        assert '"1" became "2"' in result.log, result.log
        assert sum(r.sent for r in second.requests if r.status == 206) == 0


# -- retries -----------------------------------------------------------------------------------

@test
def retry_soft_gives_up_after_its_seconds():
    result = get(REFUSED + "img", options=["retry soft 2"])
    assert result.returncode == 9 and 1.5 < result.seconds < 5, (result.returncode, result.seconds)


@test
def retry_hard_waits_for_longer_than_the_time_out():
    with Server({"/img": DATA}) as s:
        url = s.url + "img"
        s.stop()
        threading.Timer(3, s.start).start()
        result = right(get(url, options=["timeout 1", "retry hard"]))
        assert "until it works" in result.log and result.seconds > 2.5, result.log


@test
def retry_hard_waits_for_an_image_that_is_not_there_yet():
    with Server({"/img": DATA}) as s:
        began = time.monotonic()
        s.rule = lambda r: {"status": 404} if time.monotonic() - began < 2 else {}
        right(get(s.url + "img", options=["timeout 1", "retry hard"]))


def retry_after(s, header):
    s.queue.append({"status": 503, "headers": header})
    right(get(s.url + "img"))
    return s.requests[1].time - s.requests[0].time


@test
def retry_after_seconds_is_honoured():
    with Server({"/img": DATA}) as s:
        assert 1.9 < retry_after(s, ["Retry-After: 2"]) < 4


@test
def retry_after_date_is_counted_by_the_servers_clock():
    with Server({"/img": DATA}) as s:
        gap = retry_after(s, ["Date: Thu, 01 Jan 1970 00:00:10 GMT",
                              "Retry-After: Thu, 01 Jan 1970 00:00:12 GMT"])
        assert 1.9 < gap < 4, gap


@test
def a_body_that_trickles_is_cut_by_the_low_speed_rule():
    with Server({"/img": DATA}) as slow, Server({"/img": DATA}) as s:
        slow.rule = lambda r: {"rate": 100} if r.range[1] > 8192 else {}
        result = right(get(slow.url + "img", s.url + "img", options=["timeout 3"]))
        assert result.seconds < 10, result.seconds


@test
def parts_of_a_byte_do_not_go_on_for_ever():
    with Server({"/img": DATA}) as s:
        s.rule = lambda r: {"short": 1} if r.range[1] > 8192 else {}
        result = get(s.url + "img", options=["timeout 2"])
        # Which of the two it is first, that each part is so small or that few bytes have come in a second, is chance.
        last = {7: "next to nothing", 8: " bytes came in 1 s"}
        assert last.get(result.returncode, "neither") in result.log, (result.returncode, result.log)
        assert result.seconds < 10 and DATA.startswith(result.stdout)


LATE_NETWORK = """
import subprocess, sys, threading
from lib.httpserver import Server, image
with Server({"/img": image(1, 1 << 20)}) as s:
    threading.Timer(1.5, subprocess.run, [["ip", "link", "set", "lo", "up"]]).start()
    sys.exit(subprocess.run([sys.argv[1], "--get", s.url + "img"]).returncode)
"""


def get_in_namespaces(flags, program, expected):
    """Runs a Python program, which calls --get, in namespaces of its own, as at boot."""
    inside = ["unshare", flags]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        raise tap.Skip("no namespaces here")
    result = subprocess.run([*inside, sys.executable, "-c", program, os.path.abspath(BINARY)],
                            capture_output=True, timeout=30,
                            env={**os.environ, "PYTHONPATH": sys.path[0], "ASAN_OPTIONS": "detect_leaks=0"})
    result.log = result.stderr.decode()
    assert expected in right(result).log, result.log


@test
def a_network_that_is_not_up_yet_is_waited_for():
    """The loopback interface is down at first (ENETUNREACH)."""
    get_in_namespaces("-rn", LATE_NETWORK, "unreachable (127.0.0.1:")


NAMES = """
import socket, struct, subprocess, sys, threading, time
from lib.httpserver import Server, image

def serve_names():
    \"\"\"Answers A with 127.0.0.1 and AAAA with nothing, from START on, each one DELAY later.\"\"\"
    time.sleep(START)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    while True:
        query, peer = s.recvfrom(512)
        is_a = query[-4:-2] == b"\\0\\1"
        answer = query[:2] + b"\\x81\\x80" + struct.pack(">4H", 1, is_a, 0, 0) + query[12:]
        if is_a:
            answer += struct.pack(">3HIH4B", 0xc00c, 1, 1, 60, 4, 127, 0, 0, 1)
        threading.Timer(DELAY, s.sendto, [answer, peer]).start()

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "none", "/etc"], check=True)
open("/etc/resolv.conf", "w").write("nameserver 127.0.0.1\\n")
threading.Thread(target=serve_names, daemon=True).start()
with Server({"/img": image(1, 1 << 20)}) as s:
    url = s.url.replace("127.0.0.1", "images.example") + "img"
    sys.exit(subprocess.run([sys.argv[1], "--get", url]).returncode)
"""


@test
def a_name_server_that_is_down_at_first_is_waited_for():
    get_in_namespaces("-rnm", "START, DELAY = 5, 0" + NAMES, "no name server answered; trying again")


@test
def a_name_server_that_always_takes_four_seconds_is_heard():
    get_in_namespaces("-rnm", "START, DELAY = 0, 4" + NAMES, "no name server answered; trying again")


# -- credentials and header fields -------------------------------------------------------------

def authorization(s):
    return {r.headers.get("authorization") for r in s.requests}


@test
def userinfo_becomes_basic_credentials_and_is_not_logged():
    with Server({"/img": DATA}) as s:
        url = s.url.replace("http://", "http://us%40er:s3cret@") + "img"
        result = right(get(url, options=["connections 1"]))
        assert authorization(s) == {"Basic dXNAZXI6czNjcmV0"}, authorization(s)
        assert "s3cret" not in result.log


@test
def credentials_and_header_lines_do_not_follow_a_redirect_to_another_host():
    with Server({"/img": DATA}) as target, Server() as origin:
        origin.default = {"redirect": (302, target.url + "img")}
        url = origin.url.replace("http://", "http://user:pw@") + "img"
        right(get(url, options=["header X-Token: abc"]))
        assert origin.requests[0].headers.get("x-token") == "abc"
        assert origin.requests[0].headers.get("authorization")
        for r in target.requests:
            assert "x-token" not in r.headers and "authorization" not in r.headers, r.headers


@test
def netrc_gives_the_credentials_of_its_host_only():
    with Server({"/img": DATA}) as s, tempfile.NamedTemporaryFile("w") as netrc:
        netrc.write("machine other.example login a password b\n"
                    "machine 127.0.0.1\n\tlogin user\n\tpassword pw\n")
        netrc.flush()
        right(get(s.url + "img", options=["netrc " + netrc.name]))
        assert authorization(s) == {"Basic dXNlcjpwdw=="}, authorization(s)
        right(get(s.url.replace("127.0.0.1", "localhost") + "img", options=["netrc " + netrc.name]))
        assert None in authorization(s)


@test
def a_user_of_the_url_gets_the_password_of_the_netrc_file_or_none():
    with tempfile.NamedTemporaryFile("w") as netrc:
        netrc.write("Machine 127.0.0.1 login y password p\nmachine 127.0.0.1 password pw login z\n")
        netrc.flush()
        for user, sent in (("z", "Basic ejpwdw=="), ("x", "Basic eDo="), ("z:", "Basic ejo=")):
            with Server({"/img": DATA}) as s:
                right(get(s.url.replace("//", f"//{user}@") + "img", options=["netrc " + netrc.name]))
                assert authorization(s) == {sent}, authorization(s)


@test
def a_netrc_file_that_is_wrong_is_named():
    with tempfile.NamedTemporaryFile("w") as netrc:
        netrc.write("machine h login a passwort s3cret\n")
        netrc.flush()
        result = get(REFUSED + "img", options=["netrc " + netrc.name])
        assert result.returncode == 2 and netrc.name in result.log and "s3cret" not in result.log


@test
def a_signed_url_and_a_token_of_some_kib_fit_a_request_up_to_its_limit():
    with tempfile.NamedTemporaryFile("w", suffix=".netrc") as netrc, Server({"/img": DATA}) as s:
        netrc.write("machine 127.0.0.1 login u password " + "p" * 2000 + "\n")
        netrc.flush()
        token = base64.b64encode(b"u:" + b"p" * 2000).decode()
        url = s.url + "img?X-Amz-Security-Token=" + "A" * 4500
        right(get(url))
        right(get(s.url + "img", options=["netrc " + netrc.name, "header X-Y: " + "z" * 1900]))
        assert s.requests[-1].headers["authorization"] == "Basic " + token
        result = get(url, options=["netrc " + netrc.name, "header X-Y: " + "z" * 1900])
        assert result.returncode == 13 and "longer than 8191 bytes" in result.log, result.log
        result = get(s.url + "img?" + "A" * 4900)
        assert result.returncode == 2 and "longer than 4863 bytes" in result.log, result.log


# -- proxies -----------------------------------------------------------------------------------

class Proxy:
    """A proxy for CONNECT and for requests in absolute form; it keeps their heads. `answer`: its only word; `fields`:
    of its answer to CONNECT."""

    def __init__(self, answer=None, fields=b""):
        self.heads, self.answer, self.fields = [], answer, fields
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        self.heads.append(head.decode())
        method, target, _ = head.decode().split("\r\n")[0].split(" ")
        if self.answer:
            client.sendall(self.answer)
            client.close()
            return
        if method == "CONNECT":
            host, port = target.rsplit(":", 1)
            first = b""
            client.sendall(b"HTTP/1.1 200 Connection established\r\n" + self.fields + b"\r\n")
        else:
            host, port = target.split("/")[2].rsplit(":", 1)
            first = head.replace(target.encode(), b"/" + target.split("/", 3)[3].encode(), 1)
        server = socket.create_connection((host, int(port)))
        server.sendall(first)
        threading.Thread(target=self.copy, args=(client, server), daemon=True).start()
        self.copy(server, client)

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@test
def http_goes_through_a_proxy_in_absolute_form():
    proxy = Proxy()
    with Server({"/img": DATA}) as s:
        # This proxy understands only the first request of a connection.
        s.default = {"close": True}
        url = proxy.url.replace("http://", "http://pu:pp@")
        right(get(s.url + "img", options=["proxy " + url]))
        assert proxy.heads and len(proxy.heads) == len(s.requests)
        assert all(h.startswith(f"GET {s.url}img HTTP/1.1\r\n") for h in proxy.heads), proxy.heads
        assert all("Proxy-Authorization: Basic cHU6cHA=\r\n" in h for h in proxy.heads)


def certificate(directory):
    """A self-signed certificate, for a client too; a server's context with it."""
    certs.make(directory, "own", ("subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"))
    return certs.server_context(directory, "own")


@test
def https_goes_through_a_proxy_by_connect():
    """Content-Length and Transfer-Encoding of the answer to CONNECT say nothing (RFC 9110 section 9.3.6)."""
    for fields in (b"", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n"):
        by_connect(Proxy(fields=fields))


def by_connect(proxy):
    with tempfile.TemporaryDirectory() as d, Server({"/img": DATA}, tls=certificate(d)) as s:
        url = s.url.replace("http://", "https://") + "img"
        right(get(url, options=[f"ca {d}/own.pem", "proxy " + proxy.url]))
        port = s.url.strip("/").rsplit(":", 1)[1]
        assert proxy.heads and all(h.startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n")
                                   for h in proxy.heads), proxy.heads
        assert not any("Range" in h for h in proxy.heads)


@test
def pin_cert_and_key_words_reach_tls():
    pin = "sha256//" + base64.b64encode(bytes(32)).decode()
    with tempfile.TemporaryDirectory() as d:
        context = certificate(d)
        context.load_verify_locations(f"{d}/own.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with Server({"/img": DATA}, tls=context) as s:
            url, ca = s.url.replace("http://", "https://") + "img", f"ca {d}/own.pem"
            ours = [f"cert {d}/own.pem", f"key {d}/own.key"]
            right(get(url, options=[ca, *ours]))
            result = get(url, options=[ca, "timeout 1"])
            assert result.returncode == 10 and "demands a client's certificate" in result.log, result.log
            result = get(url, options=[ca, *ours, "pin " + pin, "timeout 1"])
            assert result.returncode == 10 and "pinned" in result.log, result.log


@test
def a_proxy_that_wants_a_password_or_refuses_is_named():
    wants = r"the proxy 127\.0\.0\.1.* wants a user name"
    no = r"the proxy 127\.0\.0\.1.* does not connect to 127\.0\.0\.2"
    for scheme, answer, status, text in (
            ("https", b"407 Proxy Authentication Required", 5, wants), ("https", b"401 Unauthorized", 5, no),
            ("https", b"403 Forbidden", 5, no), ("https", b"502 Bad Gateway", 9, no),
            ("http", b"407 Proxy Authentication Required", 5, wants)):
        proxy = Proxy(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")
        result = get(f"{scheme}://127.0.0.2:1/img", options=["proxy " + proxy.url, "timeout 1"])
        assert result.returncode == status and re.search(text, result.log), (answer, result.returncode, result.log)


@test
def no_proxy_names_hosts_that_are_asked_directly():
    proxy = Proxy()
    with Server({"/img": DATA}) as s:
        for hosts in ("x.org, 127.0.0.1", "127.0.0.0/8", "*"):
            right(get(s.url + "img", options=["proxy " + proxy.url, "no-proxy " + hosts]))
        assert not proxy.heads
        result = get(s.url + "img", options=["proxy " + proxy.url, "no-proxy 127.*"])
        assert result.returncode == 2 and "no-proxy '127.*'" in result.log, result.log


@test
def the_environment_names_proxies_as_for_curl():
    proxy, other = Proxy(), Proxy()
    with tempfile.TemporaryDirectory() as d, Server({"/img": DATA}, tls=certificate(d)) as tls, \
            Server({"/img": DATA}, close=True) as s, Server(redirect=(302, tls.url + "img"), close=True) as from_http:
        bare, ca = proxy.url.removeprefix("http://"), [f"ca {d}/own.pem"]
        for environment, url, used in (
                ({"http_proxy": proxy.url}, s.url, True), ({"http_proxy": bare}, s.url, True),
                ({"HTTP_PROXY": proxy.url}, s.url, False), ({"https_proxy": proxy.url}, s.url, False),
                ({"https_proxy": proxy.url}, tls.url, True), ({"HTTPS_PROXY": bare}, tls.url, True),
                ({"http_proxy": proxy.url}, tls.url, False), ({"all_proxy": proxy.url}, s.url, True),
                ({"ALL_PROXY": proxy.url}, tls.url, True), ({"http_proxy": ""}, s.url, False),
                ({"http_proxy": proxy.url, "no_proxy": "x.org,127.0.0.1"}, s.url, False),
                ({"http_proxy": proxy.url, "no_proxy": "*.example,127.*,x.org"}, s.url, True),
                ({"https_proxy": proxy.url, "NO_PROXY": "*"}, tls.url, False),
                ({"https_proxy": proxy.url, "http_proxy": other.url}, from_http.url, True)):
            right(get(url + "img", options=ca, **environment))
            assert bool(proxy.heads) == used, (environment, proxy.heads)
            proxy.heads.clear()
        assert [h.split()[:2] for h in other.heads] == [["GET", from_http.url + "img"]], other.heads
        other.heads.clear()
        url = proxy.url.replace("http://", "http://pu:geheim@")
        right(get(s.url + "img", options=["proxy " + url], http_proxy=other.url, all_proxy=other.url))
        assert not other.heads and "Proxy-Authorization" in proxy.heads[0]
        for wrong, reason in (("socks5://u:geheim@h:1", "only http:// proxies"), ("https://h", "no TLS to a proxy"),
                              ("h h", "no URL can hold"), ("http://" + "x" * 3000, "too long")):
            result = get(s.url + "img", http_proxy=wrong)
            assert result.returncode == 2 and result.log.count("\n") == 1, result.log
            assert "http_proxy: proxy '" in result.log and reason in result.log, result.log
            assert "geheim" not in result.log, result.log
        for environment, url, fails in (
                ({"https_proxy": "socks5://h"}, s.url, False), ({"http_proxy": "socks5://h"}, tls.url, False),
                ({"https_proxy": "socks5://h"}, tls.url, True), ({"all_proxy": "socks5://h"}, tls.url, True),
                ({"all_proxy": "socks5://h"}, s.url, True),
                ({"all_proxy": "socks5://h", "http_proxy": other.url}, s.url, False),
                ({"all_proxy": "socks5://h", "no_proxy": "127.0.0.1"}, s.url, False),
                ({"http_proxy": "a b", "https_proxy": "c d", "no_proxy": "*"}, s.url, False)):
            result = get(url + "img", options=ca, **environment)
            assert result.returncode == (2 if fails else 0), (environment, url, result.log)
            assert result.log.count("proxy '") == (2 if "c d" in environment.values() else 1), result.log
            assert fails or result.log.count("not used") == result.log.count("\n"), result.log
        right(get(s.url + "img", no_proxy="x" * 3000))


@test
def failures_name_server_address_and_proxy():
    def fails(url, *words, options=()):
        result = get(url, options=["timeout 1", *options])
        assert result.returncode != 0, result.log
        for word in words:
            assert word in result.log, (word, result.log)
        words_of_o = [w for o in options for w in ("-o", o)]
        checked = subprocess.run([BINARY, *words_of_o, "--check", url], capture_output=True)
        last = checked.stdout.decode().splitlines()[-1]
        assert words[0].strip("()") in last, (words, last)

    with Server() as s, Server(redirect=(302, s.url + "gone")) as away:
        port, far = f":{s.port}", f"resolve far.test:{s.port}:127.0.0.1"
        fails(s.url + "img", f"(127.0.0.1{port})", "status 404")
        fails(s.url.replace("127.0.0.1", "far.test") + "img", f"(far.test{port} at 127.0.0.1)", options=[far])
        fails(away.url + "img", f"(127.0.0.1{port})", "status 404")
        fails("http://far.test/img", f"(far.test by the proxy 127.0.0.1{port})", options=[f"proxy {s.url}"])
        fails("https://far.test/img", f"(far.test by the proxy far.test{port} at 127.0.0.1)",
              options=[far, f"proxy http://far.test{port}"])
        fails("http://none.invalid/img", "none.invalid: ", options=["resolve x:1:127.0.0.1"])
        s.default["drop"] = True
        fails(s.url + "img", f"(127.0.0.1{port})", "the connection was lost")
    fails("http://127.0.0.1:1/img", "(127.0.0.1:1)", "Connection refused")
    name = f"{'very-' * 8}long-name.{'mirror.' * 6}example"
    with tempfile.TemporaryDirectory() as d, Server({"/img": DATA}, tls=certificate(d)) as s, \
            Server(redirect=(302, "/" + "a" * 5000)) as far:
        # The whole sentence, with its remedy, and then the whole server.
        result = get(f"https://{name}:{s.port}/img", options=["timeout 1", f"resolve {name}:{s.port}:127.0.0.1"])
        found = re.search(rf"cannot be opened: (.*) \({name}:{s.port} at 127.0.0.1\) \(", result.log)
        assert found and found[1].endswith("it is for address 127.0.0.1"), result.log
        result = get(far.url + "img")
        assert result.returncode == 13 and f"(127.0.0.1:{far.port})" in result.log, result.log
    with Server({"/img": DATA}) as s:
        s.rule = lambda r: {"cut": 5000} if len(s.requests) > 1 else {}
        result = subprocess.run([BINARY, "-d", "--get", s.url + "img"], capture_output=True)
        assert f"bytes before the end (127.0.0.1:{s.port}); going on at" in result.stderr.decode(), result.stderr


# -- addresses ---------------------------------------------------------------------------------

class BlackHole:
    """A listener whose queue is full: it answers no SYN."""

    def __init__(self, host, port):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(0)
        self.fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((host, port))
            self.fillers.append(filler)
        time.sleep(0.2)

    def close(self):
        for s in (*self.fillers, self.listener):
            s.close()


@test
def the_next_address_is_tried_after_a_quarter_of_a_second():
    with Server({"/img": DATA}) as s:
        port = int(s.url.strip("/").rsplit(":", 1)[1])
        hole = BlackHole("127.0.0.2", port)
        options = [f"resolve images.example:{port}:127.0.0.2",
                   f"resolve images.example:{port}:127.0.0.1"]
        took = right_within(2, f"http://images.example:{port}/img", options=options)
        hole.close()
        assert took > 0.2, took


@test
def an_address_that_refuses_costs_no_time():
    with Server({"/img": DATA}) as s:
        port = int(s.url.strip("/").rsplit(":", 1)[1])
        options = [f"resolve images.example:{port}:127.0.0.3",
                   f"resolve images.example:{port}:127.0.0.1"]
        right_within(1, f"http://images.example:{port}/img", options=options)


@test
def what_one_of_several_addresses_denies_is_asked_of_another():
    for status in (403, 404):
        with Server({"/img": DATA}) as s:
            port = int(s.url.strip("/").rsplit(":", 1)[1])
            with Server(host="127.0.0.2", port=port, status=status) as behind:
                options = [f"resolve images.example:{port}:127.0.0.2",
                           f"resolve images.example:{port}:127.0.0.1"]
                right(get(f"http://images.example:{port}/img", options=options))
                assert len(behind.requests) == 1, behind.requests


def main():
    for function in TESTS:
        tap.result("client: " + function.__name__.replace("_", " "), *tap.attempt(function))
    return tap.status()


if __name__ == "__main__":
    sys.exit(main())
