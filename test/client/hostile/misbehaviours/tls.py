"""TLS: records, alerts and handshakes that are wrong."""
import os
import re
import subprocess
import threading
import time

from client.hostile.misbehaviours.connections import SLOW, STALL
from client.hostile.table import (LOST, NOT_FOUND, ONCE, OTHER, REFUSED, RIGHT, SIZE, TIMED_OUT, UNREACHABLE, UNTRUSTED,
                                  both, case)

TLS_WORDS = r"TLS|lost|record|alert|handshake|clos"
TLS_FAILURE = {UNREACHABLE, UNTRUSTED}
BROKEN = {"range": (0, 12000), "within": 20}    # some bytes with each attempt


@case("TLS, all right", RIGHT, tls=True)
def tls_right(r):
    """the reference"""
    r.answer()


@case("TLS, chunked", RIGHT, tls=True)
def tls_chunked(r):
    """the reference, in chunks"""
    r.chunked()


@case("TLS ends without close_notify", RIGHT, tls=True)
def tls_no_notify(r):
    """behind a body that is complete by its Content-Length"""
    r.answer()
    r.c.close()


@case("TLS, no length, no close_notify", UNREACHABLE, LOST, tls=True)
def tls_no_length(r):
    """behind a body that is complete by its Content-Range alone"""
    r.answer(content_length=None)
    r.c.close()


@case("TLS ends with close_notify", RIGHT, tls=True)
def tls_notify(r):
    """behind each answer"""
    r.answer()
    r.c.end_tls()


@case("TLS close_notify in the body", RIGHT, tls=True, when=ONCE)
def tls_notify_early(r):
    """a proper end, too early"""
    r.c.send(r.head() + r.body()[:5000])
    r.c.end_tls()


@case("TLS close_notify, no length", RIGHT, tls=True, when=ONCE)
def tls_notify_no_length(r):
    """a proper end, too early, of a body without Content-Length"""
    r.c.send(r.head(content_length=None, connection="close") + r.body()[:5000])
    r.c.end_tls()


@both("TLS garbage record in the body", TLS_WORDS, {RIGHT, UNREACHABLE, UNTRUSTED}, tls=True, **BROKEN)
def tls_garbage(r):
    """application data that is not encrypted"""
    r.c.send(r.head() + r.body()[:3000])
    r.c.raw(b"\x17\x03\x03\x01\x00" + bytes(256))
    r.c.give_up()


@both("TLS no record in the body", TLS_WORDS, {RIGHT, UNREACHABLE, UNTRUSTED}, tls=True, **BROKEN)
def tls_no_record(r):
    """plain bytes of the image between records"""
    r.c.send(r.head() + r.body()[:3000])
    r.c.raw(r.body()[3000:6000])
    r.c.give_up()


@both("TLS flipped bit in the body", TLS_WORDS, {RIGHT, UNREACHABLE, UNTRUSTED}, tls=True, **BROKEN)
def tls_flip(r):
    """a record that was changed on its way"""
    r.c.send(r.head() + r.body()[:3000])
    r.c.tls.write(r.body()[3000:])
    record = bytearray(r.c.outgoing.read())
    record[len(record) // 2] ^= 1
    r.c.raw(record)
    r.c.give_up()


@both("TLS record sent twice", TLS_WORDS, {RIGHT, UNREACHABLE, UNTRUSTED}, tls=True, **BROKEN)
def tls_replay(r):
    """a record of the body, and again"""
    r.c.send(r.head())
    r.c.tls.write(r.body()[:2000])
    record = r.c.outgoing.read()
    r.c.raw(record + record)
    r.c.give_up()


@both("TLS alert in the body", TLS_WORDS, {RIGHT, UNREACHABLE}, tls=True, **BROKEN)
def tls_alert(r):
    """a fatal one, properly encrypted"""
    r.c.send(r.head() + r.body()[:3000])
    r.c.fatal_alert()


@both("TLS alert for an answer", TLS_WORDS, UNREACHABLE, tls=True)
def tls_alert_head(r):
    """a fatal one, properly encrypted"""
    r.c.fatal_alert()


@case("TLS stall in the handshake", TIMED_OUT, STALL, tls=True, at="connect")
def tls_stall(c):
    """no ServerHello"""
    c.linger()


@case("TLS stall in the flight", TIMED_OUT, STALL, tls=True, at="connect")
def tls_stall_flight(c):
    """500 bytes of the server's first flight"""
    c.budget = 500
    c.close = c.linger
    c.start(c.server.context)


@case("TLS stall once", RIGHT, tls=True, at="connect", timeout=15, within=30)
def tls_stall_once(c):
    """the first connection only"""
    if c.number == 1:
        c.linger()


@case("TLS handshake of a byte a second", TIMED_OUT, STALL, tls=True, at="connect", **SLOW)
def tls_slow(c):
    """a ServerHello without end"""
    c.raw_recv()
    for byte in b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xf0\x03\x03" + bytes(100):
        c.sock.sendall(bytes([byte]))
        c.linger(1)


@case("plain HTTP on the HTTPS port", TLS_FAILURE, r"without TLS", tls=True, at="connect")
def plain_on_tls(c):
    """400 Bad Request, in the clear"""
    c.raw_recv()
    c.raw(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n")
    c.give_up()


@case("HTTPS on the plain port", {REFUSED, UNREACHABLE}, LOST, at="connect", scheme="http", tls=True)
def tls_on_plain(c):
    """a request in the clear ends the connection, as OpenSSL does it"""
    c.start(c.server.context)


@case("HTTPS on the plain port, alert", {REFUSED, UNREACHABLE}, "https://", at="connect", scheme="http", tls=True)
def alert_on_plain(c):
    """a request in the clear is answered by an alert"""
    c.raw_recv()
    c.raw(b"\x15\x03\x01\x00\x02\x02\x28")
    c.give_up()


@case("TLS bytes before the ClientHello", TLS_FAILURE, r"TLS", tls=True, at="connect")
def tls_pushed(c):
    """garbage on each new connection"""
    c.raw(b"\r\n" * 10)
    c.give_up()


@case("TLS empty records", {TIMED_OUT, UNREACHABLE, UNTRUSTED}, STALL + "|TLS", tls=True, at="connect",
      record=b"\x16\x03\x03\x00\x00")
@case("TLS warning alerts", {TIMED_OUT, UNREACHABLE, UNTRUSTED}, STALL + "|TLS", tls=True, at="connect",
      record=b"\x15\x03\x03\x00\x02\x01\x70")
@case("TLS hello requests", {TIMED_OUT, UNREACHABLE, UNTRUSTED}, STALL + "|TLS", tls=True, at="connect",
      record=b"\x16\x03\x03\x00\x04\0\0\0\0")
def flood(c, record):
    """without end, in the place of the handshake"""
    c.raw_recv()
    c.send_for_ever(record * 1000)


@case("TLS records of one byte", RIGHT, tls=True, range=(11111, 3000), within=20)
def tls_tiny(r):
    """each byte of the answer in a record of its own"""
    r.c.send_slowly(r.head() + r.body(), 1, 0)


@case("TLS segments of one byte", RIGHT, tls=True, range=(11111, 3000), within=20)
def tls_tiny_segments(r):
    """each byte of the answer's records in a segment of its own"""
    r.c.tls.write(r.head() + r.body())
    for byte in r.c.outgoing.read():
        r.c.raw(bytes([byte]))


@case("TLS renegotiation", {RIGHT, UNREACHABLE, UNTRUSTED}, "renegotiate", at="listen", tls=True,
      range=(100, 6000), timeout=6, within=20, newer=False)
def renegotiates(s):
    """openssl s_server asks for it (HelloRequest) before each answer"""
    s.listener.close()
    while not s.stopped.is_set():
        openssl = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"{s.host}:{s.port}", "-naccept", "1", "-tls1_2",
             "-cert", s.context.certificate, "-key", s.context.key],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=lambda p=openssl: (s.stopped.wait(60), p.kill()), daemon=True).start()
        seen = b""
        while data := os.read(openssl.stdout.fileno(), 65536):
            seen += data
            asked = re.search(rb"bytes=(\d+)-(\d+).*\r\n\r\n", seen, re.S)
            if asked:
                seen = b""
                s.mark()
                answer_over_pipe(s, openssl.stdin, int(asked[1]), int(asked[2]))
        openssl.wait()


def answer_over_pipe(s, pipe, first, last):
    """A renegotiation, then the right answer, of at most as many bytes as s_server reads at once."""
    last = min(last, first + 5999)
    body = s.version.data[first:last + 1]
    head = f"HTTP/1.1 206 OK\r\nContent-Range: bytes {first}-{last}/{SIZE}\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        pipe.write(b"r\n")
        pipe.flush()
        time.sleep(0.2)
        pipe.write(head.encode() + body)
        pipe.flush()
    except OSError:
        pass


@case("TLS answer behind an error page", RIGHT, tls=True, when=ONCE, status="503 Busy")
@case("TLS answer behind an absent page", {RIGHT, NOT_FOUND}, tls=True, when=ONCE, status="404 Absent")
def tls_unasked(r, status):
    """an error page in two records, and in the second also a 206 with other bytes"""
    page = r.head(status, content_range=None, etag=None, last_modified=None, content_length=100) + bytes(100)
    r.c.send(page[:-50])
    time.sleep(0.05)
    r.c.send(page[-50:] + r.head() + r.body(OTHER))
