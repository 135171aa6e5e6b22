"""The length of the body."""
from client.hostile.table import (FIRST, LOST, ONCE, REFUSED, RIGHT, TIMED_OUT, UNREACHABLE, both,
                                  case)


@case("body cut once after 2^n bytes", RIGHT, when=ONCE, variants=range(0, 21), about="n from 0 to 20; then it goes on")
@case("first body cut after 2^n bytes", RIGHT, when=FIRST, variants=range(0, 13),
      about="the body of the first request, by which the size is found")
def cut_at_power(r):
    r.cut(1 << r.server.variant)


@case("body cut after 1,500 bytes, always", RIGHT, n=1500, range=(10000, 12000), timeout=5, within=20,
      about="every body: eight attempts are needed")
@case("body cut after 0 bytes, always", UNREACHABLE, LOST, n=0, about="the head is always right, and nothing follows")
@case("body cut after one byte, always", {RIGHT, UNREACHABLE, TIMED_OUT}, LOST, n=1, range=(50000, 10000),
      about="a byte of progress with each request")
@case("reset in the body, once", RIGHT, when=ONCE, n=3000, how="reset", about="3,000 bytes, then RST")
@case("reset in the body, always", {RIGHT, UNREACHABLE}, LOST, n=3000, how="reset", range=(0, 20000),
      about="3,000 bytes, then RST; a client may not have got any of them")
@case("TLS cut in the body, once", RIGHT, tls=True, when=ONCE, n=5000, about="without close_notify")
def cut(r, n, how="close"):
    r.cut(n, how)


@case("body longer than promised", RIGHT)
def too_long(r):
    """1,000 bytes more than Content-Length says, then the connection is closed"""
    r.c.send(r.head() + r.body() + b"x" * 1000)
    r.c.close()


@case("garbage behind each body", RIGHT)
def garbage_behind(r):
    """1,000 bytes more than Content-Length says, on a connection that is kept alive"""
    r.c.send(r.head() + r.body() + b"x" * 1000)


CONTRADICTION = r"Content-Length|contradict"


@case("Content-Length too small", REFUSED, CONTRADICTION)
def length_small(r):
    """smaller by 10 than Content-Range; all bytes come"""
    r.answer(content_length=max(0, r.last - r.first - 9))


@case("Content-Length too large", REFUSED, CONTRADICTION)
def length_large(r):
    """larger by 10 than Content-Range; no more bytes come"""
    r.answer(content_length=r.last - r.first + 11)


@case("no Content-Length", RIGHT)
def until_close(r):
    """the body ends with the connection"""
    r.answer(content_length=None, connection="close")
    r.c.close()


@case("no Content-Length, kept open", TIMED_OUT, r"no byte")
def until_close_open(r):
    """nothing says where the body ends but Content-Range, and the connection stays open"""
    r.answer(content_length=None)
    r.c.linger()


def until_end(name, body, about, reason="contradict|lost", how="close", **more):
    """Two lines of the table: this body, which ends with the connection."""
    @both(f"no Content-Length, {name}", reason, {REFUSED, UNREACHABLE}, about=about, **more)
    def answer(r):
        r.c.send(r.head(content_length=None, connection="close") + body(r.body()))
        r.c.end(how)


until_end("cut", lambda body: body[:1000], "and too early")
until_end("a byte short", lambda body: body[:-1], "one byte before the range's end")
until_end("a byte too long", lambda body: body + b"x", "one byte behind the range's end")
until_end("a notice first", lambda body: b"Notice: undefined index\r\n" + body, "text before the bytes of the range")
until_end("a byte-order mark first", lambda body: b"\xef\xbb\xbf" + body, "three bytes too many, and the first ones")
until_end("a mark in the place of the end", lambda body: (b"\xef\xbb\xbf" + body)[:-4],
          "a byte-order mark first, and a byte too few")
until_end("reset at its end", lambda body: body, "all bytes of the range, then RST, which is no end", how="reset")
until_end("TLS, without close_notify", lambda body: body, "all bytes of the range, then FIN", tls=True)


@case("no Content-Length, TLS", RIGHT, tls=True)
def until_close_notify(r):
    """the body ends with the connection, by close_notify"""
    r.answer(content_length=None, connection="close")
    r.c.end_tls()


def lines(name, reason, text, about=None, protocol="HTTP/1.1"):
    """A line of the table: these further fields in the head, refused. %N stands for the right length."""
    def answer(r):
        start, _, rest = r.head(protocol=protocol, content_length=None).partition(b"\r\n")
        length = b"%d" % (r.last - r.first + 1)
        r.c.send(start + b"\r\n" + text.replace(b"%N", length) + rest + r.body())
    case(name, REFUSED, reason, about=about or text.decode().strip().replace("\r\n", "; "))(answer)


for name, text in (("twice, the same", b"Content-Length: %N\r\nContent-Length: %N\r\n"),
                   ("twice, different", b"Content-Length: %N\r\nContent-Length: 17\r\n"),
                   ("as a list", b"Content-Length: %N, %N\r\n"), ("negative", b"Content-Length: -%N\r\n"),
                   ("with a plus", b"Content-Length: +%N\r\n"), ("hexadecimal", b"Content-Length: 0x1000\r\n"),
                   ("overflows", b"Content-Length: 18446744073709555712\r\n"), ("empty", b"Content-Length:\r\n"),
                   ("with a fraction", b"Content-Length: %N.0\r\n"), ("a word", b"Content-Length: many\r\n")):
    lines(f"Content-Length {name}", r"Content-Length", text)

CODING = r"Transfer-Encoding"
lines("Content-Length and chunked", r"Content-Length|Transfer-Encoding",
      b"Content-Length: %N\r\nTransfer-Encoding: chunked\r\n", "the shape of request smuggling")
lines("Transfer-Encoding gzip", CODING, b"Transfer-Encoding: gzip\r\n", "a coding that was not offered")
lines("Transfer-Encoding gzip, chunked", CODING, b"Transfer-Encoding: gzip, chunked\r\n", "two codings")
lines("Transfer-Encoding unknown", CODING, b"Transfer-Encoding: rot13\r\n", "a coding nobody knows")
lines("Transfer-Encoding twice", CODING, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
      "chunked within chunked")
lines("Transfer-Encoding xchunked", CODING, b"Transfer-Encoding: xchunked\r\n", "nearly chunked")
lines("chunked in HTTP/1.0", CODING, b"Transfer-Encoding: chunked\r\n", "HTTP/1.0 has no chunks", "HTTP/1.0")
