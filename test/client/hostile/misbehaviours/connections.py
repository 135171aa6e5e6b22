"""Connections: their ends, stalls, and bytes at the wrong time."""
import socket
import time

from client.hostile.table import (IMAGE, LATER, LOST, MALFORMED, MIB, ONCE, OTHER, REFUSED, RIGHT, SIZE,
                                  TIMED_OUT, UNREACHABLE, both, case)


@case("closed after each answer", RIGHT, how="close", about="though it was to be kept alive")
@case("closed 50 ms after each answer", RIGHT, how="close", pause=0.05, about="though it was to be kept alive")
@case("reset after each answer", RIGHT, how="reset", pause=0.2, about="once the client has read it")
def ends_when_idle(r, how, pause=0):
    r.answer()
    time.sleep(pause)
    r.c.end(how)


@case("closed at the second request", RIGHT, how="close", n=2,
      about="each connection answers one request and ends at the next")
@case("reset at the second request", RIGHT, how="reset", n=2,
      about="each connection answers one request and is reset at the next")
@both("closed at the request", LOST, UNREACHABLE, how="close", n=1, about="without an answer")
@both("reset at the request", LOST, UNREACHABLE, how="reset", n=1, about="without an answer")
@both("reset in the head", LOST, UNREACHABLE, how="reset", n=1, part=60, about="half a head, then RST")
def ends_at_request(r, how, n, part=0):
    """At the n-th request of each connection, behind `part` bytes of the head."""
    r.server.state[r.c] = r.server.state.get(r.c, 0) + 1
    if r.server.state[r.c] < n:
        return r.answer()
    r.c.send(r.head()[:part])
    r.c.end(how)


@case("closed at once", UNREACHABLE, LOST, at="connect", how="close", about="each connection")
@case("reset at once", UNREACHABLE, LOST, at="connect", how="reset", about="each connection")
@case("every second connection reset", RIGHT, at="connect", how="reset", step=2, timeout=10,
      about="the others are right")
def ends_at_once(c, how, step=1):
    if (c.number - 1) % step == 0:
        c.end(how)


@case("Connection: close, kept open", RIGHT)
def close_but_open(r):
    """it says close and does not"""
    r.answer(connection="close")
    r.c.linger(10)


@case("HTTP/1.0", RIGHT)
def old(r):
    """with ranges; the connection ends"""
    r.answer(protocol="HTTP/1.0")
    r.c.close()


@case("HTTP/1.0 keep-alive", RIGHT)
def old_alive(r):
    """with ranges; the connection is kept"""
    r.answer(protocol="HTTP/1.0", connection="Keep-Alive")


@case("connection refused, always", UNREACHABLE, r"refused", at="listen")
def refuses(s):
    """nobody listens"""
    s.mark()


@case("connection refused for 700 ms", RIGHT, at="listen", timeout=10)
def refuses_once(s):
    """the server is being restarted"""
    s.mark()
    time.sleep(0.7)
    s.listener.listen(128)
    s.serve()


@case("stall in connect", TIMED_OUT, r"connect|timed out|no byte", at="listen")
def blackhole(s):
    """a full backlog: no SYN is answered"""
    s.mark()
    s.listener.listen(0)
    fill = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((s.host, s.port))
        fill.append(sock)
    s.stopped.wait(60)


@case("stall in accept", TIMED_OUT, r"no byte|slow|timed out", at="listen")
def not_accepted(s):
    """the kernel connects, the program does not"""
    s.mark()
    s.listener.listen(128)
    s.stopped.wait(60)


STALL = r"no byte|slow|bytes came in"
SLOW = {"timeout": 3, "within": 20}


@both("stall before the head", STALL, TIMED_OUT, **SLOW)
def stalls(r):
    """nothing comes"""
    r.c.linger()


@both("stall in the head", STALL, TIMED_OUT, **SLOW)
def stalls_head(r):
    """60 bytes of it come"""
    r.c.send(r.head()[:60])
    r.c.linger()


@both("stall in the body", STALL, {TIMED_OUT, RIGHT}, **SLOW)
def stalls_body(r):
    """1,000 bytes of it come"""
    r.c.send(r.head() + r.body()[:1000])
    r.c.linger()


@both("head of a byte a second", STALL, TIMED_OUT, **SLOW)
def slow_head(r):
    """slow loris"""
    r.c.send_slowly(r.head(), 1, 1)


@both("body of a byte a second", STALL, TIMED_OUT, **SLOW)
def slow_body(r):
    """slow loris, behind a quick head"""
    r.c.send(r.head())
    r.c.send_slowly(r.body(), 1, 1)


@case("segments of one byte", RIGHT, range=(12345, 12345), within=20)
def tiny_segments(r):
    """the whole answer, each byte sent by itself"""
    r.c.send_slowly(r.head() + r.body(), 1, 0)


@case("bytes before any request", {REFUSED, UNREACHABLE}, MALFORMED + "|" + LOST, at="connect")
def pushed_garbage(c):
    """garbage on each new connection, then right answers"""
    c.raw(b"garbage\r\n\r\n")


@case("an answer before any request", REFUSED, r"Content-Range|asked", at="connect")
def pushed_answer(c):
    """206 of other bytes, honestly labelled, on each new connection"""
    body = IMAGE.data[500000:501000]
    c.raw(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 500000-500999/%d\r\nContent-Length: 1000\r\n\r\n" % SIZE + body)


@case("answers swapped", REFUSED, r"Content-Range", when=LATER)
def swapped(r):
    """each connection gets what was asked before it: honestly labelled"""
    with r.server.lock:
        before = r.server.state.get("before", (r.size - 2000, r.size - 1))
        r.server.state["before"] = r.first, r.last
    if before == (r.first, r.last):
        before = 1, 2
    r.first, r.last = before
    r.answer()


@case("answers swapped once", RIGHT, when=ONCE)
def swapped_once(r):
    """one answer is to another request: honestly labelled"""
    r.first, r.last = 7, 4007
    r.answer()


@case("two answers glued", RIGHT)
def glued(r):
    """behind each answer one that nobody asked for, of what comes next, with wrong bytes"""
    first, last = r.last + 1, min(r.size - 1, r.last + MIB)
    text = r.head() + r.body()
    if first < r.size:
        text += r.head(content_range=r.content_range(first, last), content_length=last - first + 1) + \
            OTHER.data[first:last + 1]
    r.c.send(text)


@case("a late second answer", {RIGHT, REFUSED}, r"Content-Range|malformed")
def late(r):
    """30 ms behind each answer comes one that nobody asked for, honestly labelled"""
    r.answer()
    r.c.linger(0.03)
    r.first, r.last = 3, 4003
    r.answer()
